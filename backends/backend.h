/* backend.h - four functions: probe, load, emit, unload. */
#ifndef NND_BACKENDS_BACKEND_H
#define NND_BACKENDS_BACKEND_H

#include "ir/graph.h"
#include "ir/kernel.h"
#include "ir/limits.h"
#include "runtime/abi.h"

typedef struct BackendOptions {
    const char *cpu;                     /* NULL: this machine's; else an LLVM cpu name ("x86-64-v3", "x86-64-v4") */
    int         opt_level;               /* 0..3 */
} BackendOptions;

typedef enum EmitKind { EMIT_LLVM, EMIT_ASM, EMIT_OBJ } EmitKind;

typedef struct Backend {
    const char *name, *doc;
    bool        needs_plan;              /* false: works on graphs (interp) */
    /* What this machine offers.  Returns false with the reason in why. */
    bool      (*probe)(const BackendOptions *o, Limits *limits, char *describe, size_t ndescribe, char *why, size_t nwhy);
    /* Code in memory.  The image lives until unload and keeps what it needs of the module, except for interp,
     * whose image points into the module.  NULL with the reason in why. */
    NndImage *(*load)(Module *m, const BackendOptions *o, char *why, size_t nwhy);
    /* The module's code as text or object, to f.  false with the reason in why. */
    bool      (*emit)(Module *m, const BackendOptions *o, EmitKind kind, FILE *f, char *why, size_t nwhy);
    void      (*unload)(NndImage *im);
} Backend;

extern const Backend backend_interp, backend_cpu;
extern const Backend *const backend_list[];   /* NULL-terminated */
const Backend *backend_find(const char *name);

/* backends/image.c: the parts of an image that every backend fills alike, copied out of the module
 * into one allocation; entry[].run and priv are left for the caller.  Freed with image_free. */
NndImage *image_new(const Module *m);
void      image_free(NndImage *im);

#endif
