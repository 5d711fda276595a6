/* nvptx_target.h - the GPU that code is for. */
#ifndef NND_BACKENDS_NVPTX_TARGET_H
#define NND_BACKENDS_NVPTX_TARGET_H

#include <llvm-c/TargetMachine.h>

#include "backends/backend.h"

/* What a generation of GPUs can do: nothing else may reach LLVM, which ends the process where it has no instruction. */
typedef struct NvptxSm {
    const char *name;            /* "sm_80" */
    int         sm;
    const char *features;        /* the version of PTX: at least what the sm and our instructions need */
    bool        async, mma;      /* cp.async; mma.sync of tf32 and bf16 */
    int64_t     shared_bytes;    /* of a group at most, if asked for at the launch; 48 KiB need no asking */
} NvptxSm;

enum { NVPTX_THREADS = 1024, NVPTX_SHARED = 48 << 10 };

typedef struct NvptxTarget {
    const NvptxSm       *sm;
    LLVMTargetMachineRef tm;
} NvptxTarget;

/* nvptx_target_open - the GPU that o names, sm_80 if none.  false with the reason in why; else nvptx_target_close. */
bool nvptx_target_open(NvptxTarget *t, const BackendOptions *o, char *why, size_t nwhy);
void nvptx_target_close(NvptxTarget *t);

void nvptx_target_limits(const NvptxTarget *t, Limits *l);
void nvptx_target_describe(const NvptxTarget *t, char *text, size_t ntext);

#endif
