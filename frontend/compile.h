/* compile.h - the map: from a checked model to an image, and every landing on the way. */
#ifndef NND_FRONTEND_COMPILE_H
#define NND_FRONTEND_COMPILE_H

#include "backends/backend.h"
#include "frontend/frontend.h"
#include "passes/pass.h"

enum { NO_GPU = -1 };

typedef struct CompileOptions {
    const Backend *backend;
    BackendOptions target;
    int            gpu;            /* number of the device that code runs on; NO_GPU: this processor */
    Limits         limits;         /* what the backend's probe said of this machine */
    const bool    *skip;           /* by Pass: left out; NULL: none */
    double         plain_flops;    /* kernels of fewer operations stay plain loops: less code, made sooner, that runs slower */
    int64_t        rule_limit;     /* rewrites of simplify at most; -1: no limit */
    bool         (*blas)(void *ctx, const Gemm *g);      /* which products are left to BLAS, as PassOptions has it */
    void          *blas_ctx;
    FILE          *times;          /* gets a line a stage, "time: fuse 0.31 ms"; NULL: none are printed */
} CompileOptions;

/* A compiled model.  The image of some backends points into the module, so they go together. */
typedef struct Compiled {
    Module        *module;
    NndImage      *image;
    const Backend *backend;
} Compiled;

/* compile_model - builds the wanted entries, runs the passes, loads the code.
 *
 * md    passed model_check
 * o     what it is compiled for
 *
 * Returns NULL and the image in *c, to be freed with compiled_free; or one sentence, in mem, about a fault of
 * ours: a model that passed model_check compiles. */
const char *compile_model(Compiled *c, Model *md, int nwant, const EntryWant *want, const CompileOptions *o, Arena *mem);
void        compiled_free(Compiled *c);

/* The data columns that a module reads, for the loader; all in mem. */
NndField *compile_fields(const Module *m, Arena *mem, int *n);

/* Milliseconds of a clock that no one can set, and the line about a stage: none if f is NULL. */
double compile_clock_ms(void);
void   compile_time(FILE *f, const char *stage, double elapsed_ms);

/* Which landing dump prints. */
typedef enum Stage { STAGE_PARSE, STAGE_BUILD, STAGE_PASS, STAGE_LLVM, STAGE_ASM, STAGE_PTX, STAGE_ALL } Stage;
typedef struct StageWant { Stage stage; Pass pass; } StageWant;

bool stage_parse(const char *name, StageWant *s);
/* All names that stage_parse knows, and their number: for suggestions. */
int  stage_names(const char *name[], int max);

/* compile_dump - prints a stage's text to f.  The text of a module reads back through nnd opt; STAGE_ALL prints every
 * stage, each under a comment line that names it.  Returns NULL or one sentence as compile_model. */
const char *compile_dump(FILE *f, Model *md, int nwant, const EntryWant *want, StageWant s, const CompileOptions *o,
                         Arena *mem);

/* compile_lower - the module of the wanted entries after all passes, to be freed with module_free; NULL with one sentence
 * in *why, as compile_model. */
Module *compile_lower(Model *md, int nwant, const EntryWant *want, const CompileOptions *o, Arena *mem, const char **why);

/* compile_emit - the wanted entries' code as text or object, with the image as o->target says, to f.
 * compile_header - the C header of that object.
 * NULL, or one sentence as compile_model; f's own errors are for the caller to ask for. */
const char *compile_emit(FILE *f, Model *md, int nwant, const EntryWant *want, EmitKind kind, const CompileOptions *o,
                         Arena *mem);
const char *compile_header(FILE *f, Model *md, int nwant, const EntryWant *want, const CompileOptions *o, Arena *mem);

/* compile_verify - runs the model's entries after every pass, and as compiled code, on made-up rows, and compares.
 * Returns NULL, or one sentence that names the first pass (or the backend) after which results differ. */
const char *compile_verify(Model *md, int nwant, const EntryWant *want, const CompileOptions *o, Arena *mem);

/* For nnd opt, on a module that was read from text: what must hold before the passes marked in only may rely on it
 * (NULL, or one sentence about the text), and the passes, for a made-up target with vectors of so many lanes (0: a GPU)
 * instead of this machine's limits, so that the same text gives the same result everywhere. */
const char *compile_verify_module(Module *m, const bool only[NPASS]);
const char *compile_opt(Module *m, const bool only[NPASS], int lanes);

/* The tables, a line a row. */
void list_ops(FILE *f);
void list_rules(FILE *f);
void list_passes(FILE *f);
void list_targets(FILE *f);

#endif
