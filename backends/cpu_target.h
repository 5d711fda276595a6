/* cpu_target.h - the machine that code is for. */
#ifndef NND_BACKENDS_CPU_TARGET_H
#define NND_BACKENDS_CPU_TARGET_H

#include <llvm-c/TargetMachine.h>

#include "backends/backend.h"

typedef struct CpuTarget {
    char                *triple, *name, *features;
    int                  level;      /* of its vectors: 1 SSE2, 3 AVX2 and fma, 4 AVX-512; 0: 128 bits of another kind */
    bool                 runs_here;
    LLVMTargetMachineRef tm;
} CpuTarget;

/* cpu_target_open - the machine that o names, or this one.  false with the reason in why; else cpu_target_close. */
bool cpu_target_open(CpuTarget *t, const BackendOptions *o, char *why, size_t nwhy);
void cpu_target_close(CpuTarget *t);

/* What schedule has to know of it, and one line for people. */
void cpu_target_limits(const CpuTarget *t, Limits *l);
void cpu_target_describe(const CpuTarget *t, char *text, size_t ntext);

#endif
