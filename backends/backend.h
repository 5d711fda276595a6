/* backend.h - four functions: probe, load, emit, unload. */
#ifndef NND_BACKENDS_BACKEND_H
#define NND_BACKENDS_BACKEND_H

#include "ir/graph.h"
#include "ir/kernel.h"
#include "ir/limits.h"
#include "runtime/abi.h"

typedef struct BackendOptions {
    const char *cpu;                     /* NULL: this machine's; else an LLVM cpu name ("x86-64-v3", "x86-64-v4", "sm_80") */
    int         opt_level;               /* 0..3 */
    bool        through_par;             /* every kernel is called through NndCall.par, whatever it costs: for who measures them */
    FILE       *times;                   /* load: gets a line an entry, how long its code took; NULL: none */
    bool        own_functions;           /* no function of the C library's maths is called: what a GPU has, for who measures it */
    bool        blas;                    /* loops with the mark `blas` are calls of OpenBLAS, which this machine must have */
    /* Of emit alone.  An object always has its image, nnd_<model>; text has it on demand. */
    bool        with_image;
    bool        as_program;              /* exports nnd_program_image instead, a pointer for a program's main */
    const void *weights;                 /* for the image: module_state_bytes of state to begin with; NULL: none */
} BackendOptions;

typedef enum EmitKind { EMIT_LLVM, EMIT_ASM, EMIT_OBJ, EMIT_PTX } EmitKind;

typedef struct Backend {
    const char *name, *doc;
    bool        needs_plan;              /* false: works on graphs (interp) */
    /* What this machine offers.  Returns false with the reason in why. */
    bool      (*probe)(const BackendOptions *o, Limits *limits, char *describe, size_t ndescribe, char *why, size_t nwhy);
    /* Code in memory, or in the making: an entry that is called waits for its own.  The module must outlive the
     * image, which lives until unload.  NULL with the reason in why. */
    NndImage *(*load)(Module *m, const BackendOptions *o, char *why, size_t nwhy);
    /* The module's code as text or object, to f.  false with the reason in why.  An object needs the C library and -lm,
     * goes into programs and shared libraries alike, and exports nothing but its image. */
    bool      (*emit)(Module *m, const BackendOptions *o, EmitKind kind, FILE *f, char *why, size_t nwhy);
    void      (*unload)(NndImage *im);
} Backend;

extern const Backend backend_interp, backend_cpu, backend_nvptx;
extern const Backend *const backend_list[];   /* NULL-terminated */
const Backend *backend_find(const char *name);

/* Has this machine an OpenBLAS?  false with the reason in *why. */
bool backend_has_blas(const char **why);

/* backends/image.c: the parts of an image that every backend fills alike, copied out of the module
 * into one allocation; entry[].run and priv are left for the caller.  Freed with image_free. */
NndImage *image_new(const Module *m);
/* A field, input or output of an image; its texts are in mem. */
NndField  image_field(Arena *mem, const Module *m, const Slot *s);
void      image_free(NndImage *im);

/* header_print - a C header (C99, C++) for the object of the model that im describes: it needs no other header.
 * The image may be one of image_new, once the module has its plans, or a loaded one.  Errors are left in f. */
void      header_print(FILE *f, const NndImage *im);
extern const char header_abi_text[];          /* runtime/abi.h, put in by embed.sh */

#endif
