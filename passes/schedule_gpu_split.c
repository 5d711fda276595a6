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

static Stmt *memory_stmt(GpuTile *t, KList *l, StmtKind kind, int buf, Affine at)
{
    Stmt *s = kern_add(t->g->mem, l, kind, t->g->nest->k->loc);

    s->dtype = DT_f32;
    s->buf = buf;
    s->at = at;
    return s;
}

/* In the nest's own numbering: the rest of a group's kernel is a store of what it has, that of the second all else. */
void gpu_split_rest(GpuTile *t, int buf, Stmt **store, Stmt **sum)
{
    Kernel *k = t->g->nest->k;
    Arena  *mem = t->g->mem;
    int     local = t->head.local[0]->id, var = k->nvar++, split = k->nvar++, value = k->nvalue;
    int64_t results = gpu_results(t->g->nest);
    Affine  number = result_number(t);
    KList   l = { 0 }, body = { 0 }, whole = { 0 };
    Stmt   *s, *rest = t->rest;

    k->nvalue += 4;
    s = kern_add(mem, &l, ST_GET, k->loc);
    s->id = value;
    s->dtype = DT_f32;
    s->local = local;
    s = memory_stmt(t, &l, ST_STORE, buf, aff_add(mem, number, aff_var(mem, split, results)));
    s->narg = 1;
    s->arg[0] = value;
    *store = l.first;
    memory_stmt(t, &body, ST_LOAD, buf, aff_add(mem, number, aff_var(mem, var, results)))->id = value + 1;
    s = kern_add(mem, &body, ST_GET, k->loc);
    s->id = value + 2;
    s->dtype = DT_f32;
    s->local = local;
    s = kern_add(mem, &body, ST_LET, k->loc);
    *s = (Stmt){ .kind = ST_LET, .loc = k->loc, .id = value + 3, .op = OP_add, .dtype = DT_f32, .from = DT_f32, .narg = 2,
                 .arg = { value + 2, value + 1 } };
    s = kern_add(mem, &body, ST_SET, k->loc);
    s->dtype = DT_f32;
    s->local = local;
    s->narg = 1;
    s->arg[0] = value + 3;
    gpu_declare(t->g, &whole, t->head.local[0]);
    kern_append(&whole, sched_for(mem, k->loc, var, t->splits, body.first));
    kern_append(&whole, rest);
    *sum = whole.first;
}
