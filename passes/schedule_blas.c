/* schedule_blas.c - a contraction as a call of BLAS, where that is asked for.
 *
 * The kernel's folded part becomes a nest of its own, a plain matrix product with the mark `blas`; what follows the fold runs behind it, over a
 * buffer that holds the product.  BLAS adds up in an order of its own, so results are outside the promise of equal bits.
 */
#include "passes/schedule.h"

typedef struct Split {
    Nest       *nest;
    const Stmt *load[2];     /* what the fold multiplies */
    Affine      at[2];       /* where, the fold's place being var k */
    const Stmt *rest;
    Dtype       dtype;
    int64_t     depth;
    int         row, column; /* places in the nest */
} Split;

/* load, load, get, fma, set */
static bool is_product(Split *b, const Stmt *s)
{
    const Stmt *first = s;
    int n = 0;

    for (; s; s = s->next, n++)
        if (s->kind != (const StmtKind[]){ ST_LOAD, ST_LOAD, ST_GET, ST_LET, ST_SET, ST_IF }[n < 5 ? n : 5])
            return false;
    if (n != 5 || first->narg || first->next->narg)
        return false;
    b->load[0] = first;
    b->load[1] = first->next;
    return true;
}

/* In order: one loop.  In partial results: whole groups of lanes, then those that remain. */
static bool read_fold(Split *b, const Stmt *fold, bool in_lanes)
{
    Arena *mem = b->nest->mem;
    const Stmt *lanes = in_lanes && !fold->lanes ? fold->body : fold;
    int k = b->nest->k->nvar;

    if (lanes->kind != ST_FOR || (in_lanes && !lanes->lanes) || !is_product(b, lanes->body))
        return false;
    b->depth = lanes == fold ? fold->extent : fold->extent * NND_LANES + (fold->next->kind == ST_FOR ? fold->next->extent : 0);
    for (int i = 0; i < 2; i++) {
        int64_t step = aff_coef(b->load[i]->at, lanes->id);

        b->at[i] = aff_subst(mem, aff_subst(mem, b->load[i]->at, lanes->id, aff_const(0)), fold->id, aff_const(0));
        b->at[i] = aff_add(mem, b->at[i], aff_var(mem, k, step));
    }
    return true;
}

static bool take_apart(Split *b)
{
    const Stmt *local = b->nest->body, *s;
    bool in_lanes;

    if (b->nest->n != 2 || b->nest->k->scan || !local || local->kind != ST_LOCAL || !local->next || local->next->kind != ST_FOR)
        return false;
    in_lanes = local->count == NND_LANES;
    b->dtype = local->dtype;
    if (!read_fold(b, local->next, in_lanes))
        return false;
    s = local->next->next;
    if (in_lanes && s && s->kind == ST_FOR)
        s = s->next;
    b->rest = s;
    for (; s; s = s->next)
        if (s->kind == ST_FOR || s->kind == ST_LOCAL || s->kind == ST_IF || s->kind == ST_PICK)
            return false;
    return b->rest && (b->rest->kind == ST_GET || b->rest->kind == ST_FOLD);
}

/* The row is the loop on which the first factor depends; else the factors change places. */
static void choose_axes(Split *b)
{
    Strides st = { 0 };

    strides_of(b->rest, b->nest->var[1], &st);
    b->column = st.other ? 0 : 1;
    b->row = 1 - b->column;
    if (!aff_coef(b->at[0], b->nest->var[b->row])) {
        const Stmt *load = b->load[0];
        Affine at = b->at[0];

        b->load[0] = b->load[1];
        b->at[0] = b->at[1];
        b->load[1] = load;
        b->at[1] = at;
    }
}

/* ---- writing ---- */

static Stmt *add_value(Nest *n, KList *l, StmtKind kind, Dtype d, int id)
{
    Stmt *s = kern_add(n->mem, l, kind, n->k->loc);

    s->id = id;
    s->dtype = d;
    return s;
}

/* The nest i, j, k of kern_gemm, into buffer c at `at`. */
static Stmt *product_nest(Split *b, int c, Affine at)
{
    Nest *n = b->nest;
    KList fold = { 0 }, body = { 0 };
    Stmt *s;

    for (int i = 0; i < 2; i++) {
        s = add_value(n, &fold, ST_LOAD, b->dtype, i);
        s->buf = b->load[i]->buf;
        s->at = b->at[i];
    }
    add_value(n, &fold, ST_GET, b->dtype, 2);
    s = add_value(n, &fold, ST_LET, b->dtype, 3);
    s->op = OP_fma;
    s->from = b->dtype;
    s->narg = 3;
    s->arg[1] = 1;
    s->arg[2] = 2;
    s = add_value(n, &fold, ST_SET, b->dtype, -1);
    s->narg = 1;
    s->arg[0] = 3;
    s = add_value(n, &body, ST_LOCAL, b->dtype, 0);
    s->count = 1;
    kern_append(&body, sched_for(n->mem, n->k->loc, n->k->nvar, b->depth, fold.first));
    add_value(n, &body, ST_GET, b->dtype, 4);
    s = add_value(n, &body, ST_STORE, b->dtype, -1);
    s->buf = c;
    s->at = at;
    s->narg = 1;
    s->arg[0] = 4;
    s = sched_for(n->mem, n->k->loc, n->var[b->column], n->extent[b->column], body.first);
    s = sched_for(n->mem, n->k->loc, n->var[b->row], n->extent[b->row], s);
    s->blas = true;
    return s;
}

static void add_kernel(Nest *n, Stmt *body, KernelList *out)
{
    Kernel *k = arena_new(n->mem, Kernel);

    *k = *n->k;
    k->body = body;
    k->nvar++;
    k->nvalue = 5;
    k->nlocal = 1;
    k->scheduled = true;
    arena_push(n->mem, out->k, out->n, out->cap);
    out->k[out->n++] = k;
}

/* What follows the fold reads the product from its buffer. */
static void keep_rest(Split *b, int c, Affine at)
{
    Stmt *first = arena_new(b->nest->mem, Stmt);

    *first = *b->rest;
    first->kind = ST_LOAD;
    first->buf = c;
    first->at = at;
    first->count = 0;
    b->nest->body = first;
    b->nest->k->name = arena_printf(b->nest->mem, "%sr", b->nest->k->name);
    b->nest->k->nlocal = 0;
    b->nest->k->flops = 0;
}

BlasResult schedule_blas(Nest *nest, const PassOptions *o, KernelList *out)
{
    Split b = { .nest = nest };
    const Stmt *store;
    Stmt *loop;
    Gemm g;

    if (!o->blas || !take_apart(&b))
        return BLAS_NOT;
    choose_axes(&b);
    store = b.rest->next;
    if (store && store->kind == ST_STORE && !store->next && store->arg[0] == b.rest->id && store->dtype == b.dtype) {
        loop = product_nest(&b, store->buf, store->at);
        if (!kern_gemm(loop, &g) || !o->blas(o->blas_ctx, &g))
            return BLAS_NOT;
        add_kernel(nest, loop, out);
        return BLAS_ALL;
    }
    Affine at = aff_add(nest->mem, aff_var(nest->mem, nest->var[b.row], nest->extent[b.column]), aff_var(nest->mem, nest->var[b.column], 1));

    loop = product_nest(&b, 0, at);
    if (!kern_gemm(loop, &g) || !o->blas(o->blas_ctx, &g))
        return BLAS_NOT;
    int c = plan_buffer(nest->p, (Buffer){ .seg = SEG_SCRATCH, .slot = -1, .offset = -1, .dtype = b.dtype, .count = g.m * g.n });

    add_kernel(nest, product_nest(&b, c, at), out);
    keep_rest(&b, c, at);
    return BLAS_PART;
}
