/* lower_rows.c - running sums and rows added up by number: kernels that store as they go.
 *
 * The domain is the result without the axis that they walk along; its iterations are independent.  Elements are taken in
 * order, so results are the same bits whatever runs in parallel.  For a GPU, which has a thread for each element of a sum, the domain of
 * a sum by number is all of the result: each looks at all numbers and adds up the rows that are its own, in the same order.  Nothing joins such a kernel (fuse), and its result is in
 * scratch (frame), so it may be read while it is made.
 */
#include <string.h>

#include "passes/lower.h"

bool lower_is_rows(Op op) { return op == OP_cumsum || op == OP_scatter || lower_is_sparse(op) || lower_is_attention(op); }

Type lower_rows_domain(const Lower *lo, const Node *nd)
{
    Type t = nd->type;

    if (lower_is_sparse(nd->op))
        return lower_sparse_domain(lo, nd);
    if (lo->in_order && nd->op == OP_scatter)
        return t;
    if (lower_is_attention(nd->op))
        return lower_attention_domain(lo, nd);
    t.dim[nd->attr.v[0]] = 1;
    return t;
}

/* value + element, in the result's dtype */
static int plus(Lower *lo, const Node *nd, int a, int b)
{
    return low_let(lo, nd->loc, OP_add, nd->type.dtype, nd->type.dtype, 2, (int[]){ a, b });
}

static Stmt *local(Lower *lo, const Node *nd, StmtKind kind, int number)
{
    Stmt *s = low_add(lo, kind, nd->loc);

    s->dtype = nd->type.dtype;
    *(kind == ST_LOCAL ? &s->id : &s->local) = number;
    return s;
}

static void running_sum(Lower *lo, const Node *nd)
{
    int     axis = (int)nd->attr.v[0], var = lo->k->nvar++, cell = lo->k->nlocal++, sum, value;
    Affine  index[MAX_RANK];
    Open    o;
    Stmt   *s;

    local(lo, nd, ST_LOCAL, cell)->count = 1;
    memcpy(index, lo->index, sizeof index);
    index[axis] = nd->type.dim[axis] == 1 ? aff_const(0) : aff_var(lo->mem, var, 1);
    low_open(lo, &o, nd->loc, var, nd->type.dim[axis]);
    Access at = access_make(&nd->type, index);

    value = lower_value(lo, nd->arg[0].id, &at);
    s = local(lo, nd, ST_GET, cell);
    s->id = lo->k->nvalue++;
    sum = plus(lo, nd, s->id, value);
    s = local(lo, nd, ST_SET, cell);
    s->narg = 1;
    s->arg[0] = sum;
    low_store(lo, nd, lo->home[nd - lo->g->node], &at, sum);
    low_close(lo, &o);
}

static void clear_rows(Lower *lo, const Node *nd, Affine *index)
{
    int  axis = (int)nd->attr.v[0], var = lo->k->nvar++;
    Open o;

    index[axis] = aff_var(lo->mem, var, 1);
    low_open(lo, &o, nd->loc, var, nd->type.dim[axis]);
    Access at = access_make(&nd->type, index);

    low_store(lo, nd, lo->home[nd - lo->g->node], &at, low_const(lo, nd->loc, nd->type.dtype, 0));
    low_close(lo, &o);
}

/* Loops over the numbers of a scatter, behind the axes that go along: from is the index of the row that each stands for.  Returns how many loops. */
static int open_numbers(Lower *lo, const Node *nd, const Affine *index, Affine *from, Open *o)
{
    const Type *numbers = &lo->g->node[nd->arg[0].id].type, *rows = &lo->g->node[nd->arg[1].id].type;
    int         nb = (int)nd->attr.v[0], n = 0;

    for (int i = 0; i < rows->rank; i++)
        from[i] = i < nb ? index[i] : i < numbers->rank ? aff_const(0) : index[nb + 1 + i - numbers->rank];
    for (int i = nb; i < numbers->rank; i++) {
        int var = lo->k->nvar++;

        from[i] = aff_var(lo->mem, var, 1);
        low_open(lo, &o[n++], nd->loc, var, numbers->dim[i]);
    }
    return n;
}

/* numbers [B..., I...], rows [B..., I..., R...]: each row is added to the one of [B..., V, R...] that its number says. */
static void add_rows(Lower *lo, const Node *nd)
{
    const Type *numbers = &lo->g->node[nd->arg[0].id].type, *rows = &lo->g->node[nd->arg[1].id].type;
    int         nb = (int)nd->attr.v[0], n = 0, home = lo->home[nd - lo->g->node], value;
    Affine      index[MAX_RANK], from[MAX_RANK];
    Open        o[MAX_RANK];

    memcpy(index, lo->index, sizeof index);
    clear_rows(lo, nd, index);
    n = open_numbers(lo, nd, index, from, o);
    Access which = access_make(numbers, from), row = access_make(rows, from);

    index[nb] = aff_var(lo->mem, low_pick(lo, nd->loc, lower_value(lo, nd->arg[0].id, &which), nd->type.dim[nb]), 1);
    value = lower_value(lo, nd->arg[1].id, &row);
    Access at = access_make(&nd->type, index);

    low_store(lo, nd, home, &at, plus(lo, nd, low_load(lo, nd, home, &at), value));
    while (n > 0)
        low_close(lo, &o[--n]);
}

/* Where condition holds, value is added to the local. */
static void add_where(Lower *lo, const Node *nd, int cell, int condition, const Access *row)
{
    Open  o;
    int   value;
    Stmt *s;

    low_open(lo, &o, nd->loc, -1, 0);
    o.loop->kind = ST_IF;
    o.loop->narg = 1;
    o.loop->arg[0] = condition;
    value = lower_value(lo, nd->arg[1].id, row);
    s = local(lo, nd, ST_GET, cell);
    s->id = lo->k->nvalue++;
    value = plus(lo, nd, s->id, value);
    s = local(lo, nd, ST_SET, cell);
    s->narg = 1;
    s->arg[0] = value;
    low_close(lo, &o);
}

static void sum_of_rows(Lower *lo, const Node *nd)
{
    const Type *numbers = &lo->g->node[nd->arg[0].id].type, *rows = &lo->g->node[nd->arg[1].id].type;
    int         nb = (int)nd->attr.v[0], n = 0, cell = lo->k->nlocal++, eq[2];
    Affine      from[MAX_RANK], index[MAX_RANK];
    Open        o[MAX_RANK];
    Stmt       *s;

    local(lo, nd, ST_LOCAL, cell)->count = 1;
    memcpy(index, lo->index, sizeof index);
    n = open_numbers(lo, nd, index, from, o);
    Access which = access_make(numbers, from), row = access_make(rows, from), here = access_make(&nd->type, index);
    int    picked = low_pick(lo, nd->loc, lower_value(lo, nd->arg[0].id, &which), nd->type.dim[nb]);

    eq[0] = low_index(lo, nd->loc, aff_var(lo->mem, picked, 1));
    eq[1] = low_index(lo, nd->loc, index[nb]);
    add_where(lo, nd, cell, low_let(lo, nd->loc, OP_eq, DT_bool, DT_i32, 2, eq), &row);
    while (n > 0)
        low_close(lo, &o[--n]);
    s = local(lo, nd, ST_GET, cell);
    s->id = lo->k->nvalue++;
    low_store(lo, nd, lo->home[nd - lo->g->node], &here, s->id);
}

void lower_rows(Lower *lo, const Node *nd)
{
    if (lower_is_sparse(nd->op))
        lower_sparse(lo, nd);
    else if (lower_is_attention(nd->op))
        (lo->limits->warp ? lower_attention_groups : lower_attention)(lo, nd);
    else if (nd->op == OP_cumsum)
        running_sum(lo, nd);
    else if (lo->in_order)
        sum_of_rows(lo, nd);
    else
        add_rows(lo, nd);
}
