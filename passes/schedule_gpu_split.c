/* schedule_gpu_split.c - a fold that groups share: what each of them stores, and the kernel that adds it up, in order. */
#include "passes/schedule_gpu_tile.h"

/* The result's number in row-major order of the domain. */
static Affine result_number(const GpuTile *t)
{
    Nest  *nest = t->g->nest;
    Affine a = aff_const(0);

    for (int i = 0; i < nest->n; i++)
        a = aff_add(nest->mem, aff_scale(nest->mem, a, nest->extent[i]), aff_var(nest->mem, nest->var[i], 1));
    return a;
}

static Stmt *memory_stmt(Gpu *g, KList *l, StmtKind kind, Dtype dtype, int buf, Affine at)
{
    Stmt *s = kern_add(g->mem, l, kind, g->nest->k->loc);

    s->dtype = dtype;
    s->buf = buf;
    s->at = at;
    return s;
}

static Stmt *local_stmt(Gpu *g, KList *l, StmtKind kind, const Stmt *local)
{
    Stmt *s = kern_add(g->mem, l, kind, g->nest->k->loc);

    s->dtype = local->dtype;
    s->local = local->id;
    return s;
}

/* One part more in the local. */
static Stmt *add_part(Gpu *g, const Stmt *local, Op op, int buf, Affine at)
{
    Kernel *k = g->nest->k;
    KList   l = { 0 };
    int     value = k->nvalue;
    Stmt   *s;

    k->nvalue += 3;
    memory_stmt(g, &l, ST_LOAD, local->dtype, buf, at)->id = value;
    local_stmt(g, &l, ST_GET, local)->id = value + 1;
    s = kern_add(g->mem, &l, ST_LET, k->loc);
    s->id = value + 2;
    s->op = op;
    s->dtype = s->from = local->dtype;
    s->narg = 2;
    s->arg[0] = value + 1;
    s->arg[1] = value;
    s = local_stmt(g, &l, ST_SET, local);
    s->narg = 1;
    s->arg[0] = value + 2;
    return l.first;
}

/* How many parts are looked up at a time. */
static int64_t at_a_time(int64_t parts)
{
    enum { MOST = 16 };
    int64_t n = MOST;

    while (parts % n)
        n--;
    return n;
}

Stmt *gpu_add_parts(Gpu *g, const Stmt *local, Op op, Stmt *rest, int buf, Affine at, int64_t step, int64_t parts)
{
    Kernel *k = g->nest->k;
    Arena  *mem = g->mem;
    int     turn = k->nvar++, some = k->nvar++;
    int64_t together = at_a_time(parts);
    KList   whole = { 0 };
    Stmt   *one;

    at = aff_add(mem, at, aff_var(mem, turn, together * step));
    at = together > 1 ? aff_add(mem, at, aff_var(mem, some, step)) : at;
    gpu_declare(g, &whole, local);
    one = add_part(g, local, op, buf, at);
    if (together > 1) {
        one = sched_for(mem, k->loc, some, together, one);
        one->unroll = true;
    }
    kern_append(&whole, sched_for(mem, k->loc, turn, parts / together, one));
    kern_append(&whole, rest);
    g->map = arena_array(mem, Affine, k->nvar + 1);
    if (k->scan)
        g->map[0] = aff_var(mem, 0, 1);
    return whole.first;
}

/* In the nest's own numbering: the rest of a group's kernel is a store of what it has, that of the second all else. */
void gpu_split_rest(GpuTile *t, int buf, Stmt **store, Stmt **sum)
{
    Gpu    *g = t->g;
    Kernel *k = g->nest->k;
    int     split = k->nvar++;
    int64_t results = gpu_results(g->nest);
    Affine  number = result_number(t);
    KList   l = { 0 };
    Stmt   *s;

    t->split_var = split;
    local_stmt(g, &l, ST_GET, t->head.local[0])->id = k->nvalue;
    s = memory_stmt(g, &l, ST_STORE, DT_f32, buf, aff_add(g->mem, number, aff_var(g->mem, split, results)));
    s->narg = 1;
    s->arg[0] = k->nvalue++;
    *sum = gpu_add_parts(g, t->head.local[0], OP_add, t->rest, buf, number, results, t->splits);
    *store = l.first;
}
