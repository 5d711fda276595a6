/* cpu_jit.h - objects in memory made runnable. */
#ifndef NND_BACKENDS_CPU_JIT_H
#define NND_BACKENDS_CPU_JIT_H

#include <llvm-c/Types.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct CpuJit CpuJit;

/* cpu_jit_open - a place for objects, with the functions that code may call.  NULL with the reason in why.
 * cpu_jit_add - puts an object there and takes it, from any thread; false with the reason in why. */
CpuJit *cpu_jit_open(bool blas, char *why, size_t nwhy);
bool    cpu_jit_add(CpuJit *jit, LLVMMemoryBufferRef object, char *why, size_t nwhy);
/* The address of a symbol of the objects, or NULL with the reason in why; valid until cpu_jit_close. */
void   *cpu_jit_find(CpuJit *jit, const char *symbol, char *why, size_t nwhy);
void    cpu_jit_close(CpuJit *jit);

#endif
