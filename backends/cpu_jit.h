/* cpu_jit.h - an object in memory made runnable. */
#ifndef NND_BACKENDS_CPU_JIT_H
#define NND_BACKENDS_CPU_JIT_H

#include <llvm-c/Types.h>
#include <stddef.h>

typedef struct CpuJit CpuJit;

/* cpu_jit_open - links the object, which it takes, to the functions that code may call.  NULL with the reason in why. */
CpuJit *cpu_jit_open(LLVMMemoryBufferRef object, char *why, size_t nwhy);
/* The address of a symbol of the object, or NULL with the reason in why; valid until cpu_jit_close. */
void   *cpu_jit_find(CpuJit *jit, const char *symbol, char *why, size_t nwhy);
void    cpu_jit_close(CpuJit *jit);

#endif
