/* cpu_load.h - plans made into code in this process, each entry on its own. */
#ifndef NND_BACKENDS_CPU_LOAD_H
#define NND_BACKENDS_CPU_LOAD_H

#include <llvm-c/Core.h>

#include "backends/backend.h"

/* Where the making of an entry's code spends its time, in milliseconds of its thread. */
typedef struct CpuTimes {
    double write_ms;         /* the plan as LLVM's text */
    double optimise_ms;      /* LLVM's passes */
    double code_ms;          /* machine code */
    double link_ms;          /* into this process */
} CpuTimes;

/* Milliseconds of the calling thread's own work. */
double cpu_clock_ms(void);

/* cpu_object - the code of plan number `only`, or of all plans if it is negative, as an object in memory; all of times but
 * link_ms is filled in.  NULL with the reason in why (cpu.c). */
LLVMMemoryBufferRef cpu_object(Module *m, int only, const BackendOptions *o, CpuTimes *times, char *why, size_t nwhy);

/* cpu_image_load - an image whose entries wait for their code, which threads make in the entries' order.  m must outlive the
 * image.  NULL with the reason in why. */
NndImage *cpu_image_load(Module *m, const BackendOptions *o, char *why, size_t nwhy);
void      cpu_image_unload(NndImage *im);

#endif
