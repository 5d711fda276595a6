/* random_check.c - a module's graphs by the oracle, the walker and the cpu's code, compared.
 *
 * The oracle evaluates what stands there, once `training` is settled and, where there are some, derivatives are written out; the walker and the
 * cpu run what the passes made of it.  The walker must agree with the oracle within the node's bound, and the cpu with the walker to the
 * bit, or within the bound where a function or a zero of either sign takes part.
 */
#include "tests/random/random_graph.h"
#include "tests/unit/parity.h"

/* What the oracle says of a write. */
typedef struct Want { int slot; Tensor value; RandomBound bound; } Want;
typedef struct Oracle { Want *want; int nwant; } Oracle;

static bool every_product(void *ctx, const Gemm *g)
{
    (void)ctx;
    (void)g;
    return true;
}

/* The marked passes; NULL or the pipeline's sentence. */
static const char *run_passes(Module *m, RandomMode mode, Pass first, Pass last)
{
    bool     only[NPASS], skip[NPASS] = { false };
    Pipeline p = { .options = { .limits = parity_limits(mode.lanes), .rule_limit = -1 }, .only = only, .skip = skip };

    if (mode.small_caches) {
        p.options.limits.l1_bytes = 4 << 10;
        p.options.limits.l2_bytes = 64 << 10;
    }
    p.options.blas = mode.blas ? every_product : NULL;
    for (int i = 0; i < NPASS; i++)
        only[i] = i >= (int)first && i <= (int)last;
    skip[PASS_simplify] = !mode.simplify;
    skip[PASS_fuse] = mode.skip_fuse;
    skip[PASS_schedule] = mode.skip_schedule;
    return pipeline_run(m, &p);
}

static bool same(double x, double y) { return x == y || (isnan(x) && isnan(y)); }

/* Is what the oracle makes of a graph with scans what it makes of the graph without them? */
static bool same_unrolled(Parity *p, int i, const Graph *unrolled, const Tensor *value, Arena *mem)
{
    const Graph  *g = p->m->graph[i];
    const Tensor *scanned = parity_eval(p, i, mem);

    for (int k = 0; k < g->nwrite; k++) {
        const Tensor *x = &scanned[g->write[k].value.id], *y = &value[unrolled->write[k].value.id];

        for (int64_t j = 0; j < ty_count(&x->type); j++)
            if (!same(tensor_get(x, j, false), tensor_get(y, j, false)))
                return false;
    }
    return true;
}

/* Bounds are those of the graph without scans, whose nodes have one value. */
static const char *ask_oracle(Parity *p, int i, bool rounded, Oracle *o, Arena *mem)
{
    Graph       *g = random_unroll(p->m->graph[i]);
    EvalEnv      env = { .seed = PARITY_SEED, .step = PARITY_STEP, .read = parity_read, .ctx = p };
    Tensor      *value = arena_array(mem, Tensor, g->nnode);
    RandomBound *bound = arena_array(mem, RandomBound, g->nnode);

    *o = (Oracle){ .want = arena_array(mem, Want, g->nwrite + 1), .nwant = g->nwrite };
    eval_graph(g, &env, mem, value);
    random_bounds(g, value, rounded, bound);
    for (int k = 0; k < g->nwrite; k++) {
        int id = g->write[k].value.id;

        o->want[k] = (Want){ g->write[k].slot, value[id], bound[id] };
    }
    return same_unrolled(p, i, g, value, mem) ? NULL : arena_printf(mem, "graph %d: a scan is not what its steps are", i);
}

static const char *compare(Parity *p, int i, const Want *w, const Tensor *want, double err, const char *who, Arena *mem)
{
    Tensor got = parity_tensor(p->m, p->state, w->slot);

    for (int64_t j = 0; j < ty_count(&got.type); j++) {
        double x = tensor_get(want, j, false), y = tensor_get(&got, j, false);

        if (!same(x, y) && !(fabs(x - y) <= err) && !isinf(err))
            return arena_printf(mem, "graph %d, @%s element %lld: %s %.9g and %.9g, off by no more than %.3g", i,
                                p->m->slot[w->slot].name, (long long)j, who, x, y, err);
    }
    return NULL;
}

static Tensor keep(const Parity *p, int slot, Arena *mem)
{
    Tensor t = parity_tensor(p->m, p->state, slot), kept = tensor_new(mem, &t.type, false);

    memcpy(kept.data, t.data, (size_t)tensor_bytes(&t.type, false));
    return kept;
}

/* BLAS adds up in an order of its own, within the bound of any order. */
static const char *check_graph(Parity *p, int i, const Oracle *o, bool only_walk, bool blas, Arena *mem)
{
    Tensor     *walked = arena_array(mem, Tensor, o->nwant + 1);
    const char *why = parity_walk(p, i, mem);

    if (why)
        return arena_printf(mem, "graph %d: walker: %s", i, why);
    for (int k = 0; k < o->nwant && !why; k++) {
        const Want *w = &o->want[k];

        walked[k] = keep(p, w->slot, mem);
        why = w->bound.wild ? NULL : compare(p, i, w, &w->value, w->bound.err, "oracle and walker", mem);
    }
    if (why || only_walk)
        return why;
    if (parity_run(p, i))
        return arena_printf(mem, "graph %d: the code returns a failure", i);
    for (int k = 0; k < o->nwant && !why; k++) {
        const Want *w = &o->want[k];

        if (!w->bound.wild)
            why = w->bound.loose || blas ? compare(p, i, w, &w->value, w->bound.err, "oracle and cpu", mem)
                                 : compare(p, i, w, &walked[k], 0, "walker and cpu", mem);
    }
    return why;
}

static const char *load(Parity *p, RandomMode mode, Arena *mem)
{
    BackendOptions target = { .opt_level = 1, .blas = mode.blas };
    char          *why = arena_array(mem, char, 512);
    const char    *error = run_passes(p->m, mode, PASS_simplify, (Pass)(NPASS - 1));
    int64_t        scratch = 0;

    if (error)
        return arena_strdup(mem, error);
    for (int i = 0; i < p->m->ngraph; i++)
        if (p->m->plan[i]->scratch_bytes > scratch)
            scratch = p->m->plan[i]->scratch_bytes;
    p->scratch = parity_block(&p->m->mem, scratch);
    return mode.only_walk || !mode.lanes || (p->image = backend_cpu.load(p->m, &target, why, 512)) ? NULL : why;
}

const char *random_check(Module *m, RandomMode mode, Arena *mem)
{
    Parity      p = parity_new(m);
    Arena       work = { 0 };
    Oracle     *o = arena_array(&work, Oracle, m->ngraph + 1);
    const char *why = run_passes(m, mode, PASS_specialise, PASS_specialise);

    for (int s = 0; s < m->nslot; s++) {
        Tensor t = parity_tensor(m, p.start, s);

        random_fill(&m->slot[s], &t);
    }
    for (int derived = 0; derived < 2; derived++) {
        for (int i = 0; i < m->ngraph && !why; i++)
            if (!o[i].want && !graph_holds(m->graph[i], OP_grad))
                why = ask_oracle(&p, i, mode.simplify, &o[i], &work);
        if (!why && !derived)
            why = run_passes(m, mode, PASS_specialise + 1, PASS_autodiff);
    }
    if (!why)
        why = load(&p, mode, &work);
    for (int i = 0; i < m->ngraph && !why; i++)
        why = check_graph(&p, i, &o[i], mode.only_walk || !mode.lanes, mode.blas, &work);
    why = why ? arena_strdup(mem, why) : NULL;
    if (p.image)
        backend_cpu.unload(p.image);
    arena_free(&work);
    return why;
}
