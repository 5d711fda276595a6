/* cpu_load.h - plans made into code in this process, each entry on its own. */
#ifndef NND_BACKENDS_CPU_LOAD_H
#define NND_BACKENDS_CPU_LOAD_H

#include "backends/backend.h"
#include "backends/llvm_module.h"

/* cpu_object - the code of plan number `only`, or of all plans if it is negative, as an object in memory; all of times but
 * link_ms is filled in.  NULL with the reason in why (cpu.c). */
LLVMMemoryBufferRef cpu_object(Module *m, int only, const BackendOptions *o, LlvmTimes *times, char *why, size_t nwhy);

/* cpu_image_load - an image whose entries wait for their code, which threads make in the entries' order.  m must outlive the
 * image.  NULL with the reason in why. */
NndImage *cpu_image_load(Module *m, const BackendOptions *o, char *why, size_t nwhy);
void      cpu_image_unload(NndImage *im);

#endif
