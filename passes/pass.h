/* pass.h - from the graphs that the frontend built to plans that a backend can emit. */
#ifndef NND_PASSES_PASS_H
#define NND_PASSES_PASS_H

#include "ir/graph.h"
#include "ir/kernel.h"
#include "ir/limits.h"

typedef struct PassOptions {
    Limits limits;
    int    rule_limit;                   /* canonical and simplify each stop after so many rewrites; -1: never */
    double plain_flops;                  /* schedule leaves kernels of fewer operations as plain loops */
    bool (*blas)(void *ctx, const Gemm *g);      /* schedule: is this product left to BLAS?  NULL: none is */
    void  *blas_ctx;
} PassOptions;

typedef void PassFn(Module *m, const PassOptions *o);

/* The passes themselves, each in the file of its name: specialise, autodiff, ... */
#define PASS(name, level, without, doc) PassFn name;
#include "passes/passes.def"
#undef PASS
PassFn fuse_apart;                       /* a kernel for every node, in the place of fuse */

/* What a pass leaves behind: graphs, or plans as well. */
typedef enum PassLevel { LEVEL_GRAPH, LEVEL_PLAN } PassLevel;

typedef enum Pass {
#define PASS(name, level, without, doc) PASS_##name,
#include "passes/passes.def"
#undef PASS
    NPASS
} Pass;

typedef struct PassInfo {
    const char *name;
    PassFn     *run;
    PassLevel   level;
    bool        can_skip;
    PassFn     *without;                 /* runs in its place when it is skipped; NULL: nothing does */
    const char *doc;
} PassInfo;
extern const PassInfo pass_info[NPASS];
bool pass_parse(const char *name, Pass *p);
/* pass_parse_skip - "fuse,schedule" (what --skip is given; NULL or "": none) to marks by Pass.
 * Returns NULL, or one sentence, in mem: unknown `fsue`, or a pass that can't be left out and those that can. */
const char *pass_parse_skip(const char *list, bool skip[NPASS], Arena *mem);

/* The pipeline: every pass in order, verified after each.
 *
 * only     run just the passes marked (nnd opt); NULL: all
 * after    called after each pass that ran, for dumps, times and comparison; may be NULL.  elapsed_ms is the
 *          pass's own time, verification not counted.  Returns NULL, or one sentence that stops the pipeline.
 * Returns NULL, or one sentence "after fuse: ..." that names the pass: a fault of ours. */
typedef struct Pipeline {
    PassOptions  options;
    const bool  *only;
    const bool  *skip;                   /* passes left out, of those that can be; NULL: none */
    const char *(*after)(void *ctx, Module *m, Pass p, double elapsed_ms);
    void        *ctx;
} Pipeline;
const char *pipeline_run(Module *m, const Pipeline *p);

#endif
