/* parity.h - a module's graphs run three ways: by the oracle, by the walker, as the cpu backend's code.
 *
 * Arguments are slots of kind param, results of kind state; both lie in the state segment, so one block of memory
 * is all that a run needs.  Only frame to memory run; the oracle evaluates the graphs as they were before.
 */
#ifndef NND_TESTS_PARITY_H
#define NND_TESTS_PARITY_H

#include <string.h>

#include "backends/backend.h"
#include "passes/pass.h"
#include "tests/unit/arbitrary.h"

enum { PARITY_SEED = 7, PARITY_STEP = 3 };

typedef struct Parity {
    Module   *m;
    Graph   **said;          /* the graphs before parity_compile; NULL before it ran */
    NndImage *image;
    char     *start;         /* the state segment before a run, 64-aligned like those that runs change */
    char     *state, *scratch;
} Parity;

static inline char *parity_block(Arena *mem, int64_t nbytes)
{
    uintptr_t p = (uintptr_t)arena_alloc(mem, (size_t)nbytes + 128, 1);

    return (char *)((p + 63) / 64 * 64);
}

static inline Tensor parity_tensor(const Module *m, char *state, int slot)
{
    return (Tensor){ m->slot[slot].type, state + module_state_offset(m, slot) };
}

/* What is scheduled for vectors of so many lanes; 0: for a GPU. */
static inline Limits parity_limits(int lanes)
{
    Limits l = { .lanes = lanes, .vregs = lanes == 16 ? 32 : 16, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20 };

    return lanes ? l : limits_gpu();
}

/* The sentence of the pipeline, or NULL. */
static inline const char *parity_lower(Module *m, int lanes)
{
    bool     only[NPASS] = { false };
    Pipeline p = { .options = { .limits = parity_limits(lanes), .rule_limit = -1 }, .only = only };

    for (int i = PASS_frame; i < NPASS; i++)
        only[i] = true;
    return pipeline_run(m, &p);
}

/* Memory for runs, zeroed; to be filled through parity_tensor(m, p->start, slot). */
static inline Parity parity_new(Module *m)
{
    int64_t nbytes = module_state_bytes(m);

    return (Parity){ .m = m, .start = parity_block(&m->mem, nbytes), .state = parity_block(&m->mem, nbytes) };
}

/* Passes and code, once all graphs stand in the module.  NULL, or what went wrong. */
static inline const char *parity_compile(Parity *p, int lanes)
{
    static char    why[512];
    BackendOptions target = { .opt_level = 1 };
    const char    *error;
    int64_t        scratch = 0;

    p->said = arena_array(&p->m->mem, Graph *, p->m->ngraph + 1);
    memcpy(p->said, p->m->graph, (size_t)p->m->ngraph * sizeof *p->said);
    if ((error = parity_lower(p->m, lanes)))
        return error;
    for (int i = 0; i < p->m->ngraph; i++)
        if (p->m->plan[i]->scratch_bytes > scratch)
            scratch = p->m->plan[i]->scratch_bytes;
    p->scratch = parity_block(&p->m->mem, scratch);
    if (!lanes)                                 /* only walked */
        return NULL;
    return (p->image = backend_cpu.load(p->m, &target, why, sizeof why)) ? NULL : why;
}

static inline Tensor parity_read(void *ctx, int slot, const Type *type)
{
    Parity *p = ctx;

    (void)type;
    return parity_tensor(p->m, p->start, slot);
}

/* values of the nodes of graph number i, in mem */
static inline Tensor *parity_eval(Parity *p, int i, Arena *mem)
{
    EvalEnv env = { .seed = PARITY_SEED, .step = PARITY_STEP, .read = parity_read, .ctx = p };
    const Graph *g = p->said ? p->said[i] : p->m->graph[i];
    Tensor *value = arena_array(mem, Tensor, g->nnode);

    eval_graph(g, &env, mem, value);
    return value;
}

/* Both start from p->start and leave results in p->state. */
static inline const char *parity_walk(Parity *p, int i, Arena *mem)
{
    WalkEnv env = { .state = p->state, .scratch = p->scratch, .seed = PARITY_SEED, .step = PARITY_STEP };

    memcpy(p->state, p->start, (size_t)module_state_bytes(p->m));
    return plan_walk(p->m->plan[i], &env, mem);
}

static inline int parity_run(Parity *p, int i)
{
    const NndEntry *e = &p->image->entry[i];
    double          metric[4];
    NndCall         call = { .state = p->state, .scratch = p->scratch, .nbatch = 1, .step = PARITY_STEP, .steps = 1,
                             .epoch = 1, .seed = PARITY_SEED, .metric_out = metric };

    memcpy(p->state, p->start, (size_t)module_state_bytes(p->m));
    return e->run(p->image, e, &call);
}

static inline void parity_free(Parity *p)
{
    if (p->image)
        backend_cpu.unload(p->image);
    module_free(p->m);
}

#endif
