/* gradient.c - the gradient column of ops.def: reading it, and the rows that need more than an expression.
 *
 * Where the adjoint needs attributes (axes, shapes), the column names one of the functions here.  They
 * build ordinary nodes whose operations have gradients themselves, so what they build can be
 * differentiated again.
 */
#include "passes/gradient_rows.h"

#include <assert.h>
#include <string.h>

#include "ir/build.h"

Type arg_type(const Graph *g, const Node *nd, int i)
{
    return graph_at(g, nd->arg[i])->type;
}

Ref expand_over(Graph *g, Loc loc, Ref x, const Type *a, const Attr *axes)
{
    int64_t size[MAX_RANK];

    for (int i = 0; i < axes->n; i++)
        size[i] = a->dim[axes->v[i]];
    return graph_expand(g, loc, x, axes->n, axes->v, size);
}

static void grad_sum(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Type a = arg_type(g, nd, 0);

    (void)y, (void)want;
    out[0] = expand_over(g, nd->loc, adj, &a, &nd->attr);
}

/* Equal extremes share the adjoint, each the same part of it, so the sum over them is right and the
 * order of elements doesn't matter.  The part of a row with a nan is anything; select keeps it out. */
static void grad_extremum(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Type a = arg_type(g, nd, 0);
    Loc  loc = nd->loc;
    Ref  hit = graph_op2(g, OP_eq, loc, nd->arg[0], expand_over(g, loc, y, &a, &nd->attr));
    Ref  count = graph_axes(g, OP_sum, loc, graph_cast(g, loc, hit, a.dtype), nd->attr.n, nd->attr.v);
    Ref  part = expand_over(g, loc, graph_op2(g, OP_div, loc, adj, count), &a, &nd->attr);

    (void)want;
    out[0] = graph_op3(g, OP_select, loc, hit, part, graph_const(g, loc, a, 0));
}

static void grad_expand(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    (void)y, (void)want;
    out[0] = graph_axes(g, OP_sum, nd->loc, adj, nd->attr.n / 2, nd->attr.v);
}

static void grad_reshape(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Type a = arg_type(g, nd, 0);

    (void)y, (void)want;
    out[0] = graph_reshape(g, nd->loc, adj, a.rank, a.dim);
}

static void grad_transpose(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    int64_t inverse[MAX_RANK];

    (void)y, (void)want;
    for (int i = 0; i < nd->attr.n; i++)
        inverse[nd->attr.v[i]] = i;
    out[0] = graph_transpose(g, nd->loc, adj, inverse);
}

static void grad_cast(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    (void)y, (void)want;
    out[0] = graph_cast(g, nd->loc, adj, arg_type(g, nd, 0).dtype);
}

/* ---- dot ---- */

/* One side of a dot: its type, its batch axes and its folded axes. */
typedef struct Side { Type type; const int64_t *batch, *fold; int nb, nc; } Side;

static int free_axes(const Side *s, int64_t *axis)
{
    int n = 0;

    for (int i = 0; i < s->type.rank; i++) {
        if (!attr_has(s->batch, s->nb, i) && !attr_has(s->fold, s->nc, i))
            axis[n++] = i;
    }
    return n;
}

static int rank_in(const int64_t *v, int n, int64_t x)
{
    int below = 0;

    for (int i = 0; i < n; i++)
        below += v[i] < x;
    return below;
}

static bool is_identity(const int64_t *perm, int n)
{
    for (int i = 0; i < n; i++) {
        if (perm[i] != i)
            return false;
    }
    return true;
}

/* dot(adj, other) folded over the axes that adj has from other has the axes
 *     batch, x's free axes, other's folded axes in other's order,
 * and each folded axis of other stands for the axis of x that it was folded with. */
static Ref to_side(Graph *g, Loc loc, Ref r, const Side *x, const Side *other)
{
    int64_t perm[MAX_RANK];
    int     nfree = 0;

    for (int i = 0; i < x->type.rank; i++) {
        if (!attr_has(x->batch, x->nb, i) && !attr_has(x->fold, x->nc, i))
            perm[i] = x->nb + nfree++;
    }
    for (int k = 0; k < x->nb; k++)
        perm[x->batch[k]] = k;
    for (int k = 0; k < x->nc; k++)
        perm[x->fold[k]] = x->nb + nfree + rank_in(other->fold, other->nc, other->fold[k]);
    return is_identity(perm, x->type.rank) ? r : graph_transpose(g, loc, r, perm);
}

/* The adjoint of side x.  first: where other's free axes begin in adj. */
static Ref dot_side(Graph *g, Loc loc, Ref adj, Ref other_ref, const Side *x, const Side *other, int first)
{
    int64_t batch[MAX_RANK], in_adj[MAX_RANK], in_other[MAX_RANK];
    int     n = free_axes(other, in_other);
    Ref     arg[2] = { adj, other_ref };

    for (int i = 0; i < other->nb; i++)
        batch[i] = i;
    for (int i = 0; i < n; i++)
        in_adj[i] = first + i;

    Attr attr = attr_dot_make(&g->m->mem, other->nb, batch, other->batch, n, in_adj, in_other);
    return to_side(g, loc, graph_make(g, OP_dot, loc, 2, arg, attr, NULL, NULL), x, other);
}

static void grad_dot(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    DotAxes d = attr_dot(&nd->attr);
    Side    a = { arg_type(g, nd, 0), d.ab, d.ac, d.nb, d.nc };
    Side    b = { arg_type(g, nd, 1), d.bb, d.bc, d.nb, d.nc };
    int     nfree_a = a.type.rank - d.nb - d.nc;

    (void)y;
    if (want[0])
        out[0] = dot_side(g, nd->loc, adj, nd->arg[1], &a, &b, d.nb + nfree_a);
    if (want[1])
        out[1] = dot_side(g, nd->loc, adj, nd->arg[0], &b, &a, d.nb);
}

/* ---- the table ---- */

static const struct { const char *name; GradientFn *fn; } functions[] = {
    { "@sum",       grad_sum },
    { "@extremum",  grad_extremum },
    { "@expand",    grad_expand },
    { "@reshape",   grad_reshape },
    { "@transpose", grad_transpose },
    { "@cast",      grad_cast },
    { "@dot",       grad_dot },
    { "@first",     grad_first },
    { "@put",       grad_put },
    { "@overlap",   grad_overlap },
    { "@cumsum",    grad_cumsum },
    { "@scatter",   grad_scatter },
    { "@slice",     grad_slice },
    { "@pad",       grad_pad },
    { "@window",    grad_window },
    { "@conv",      grad_conv },
    { "@attention", grad_attention },
    { "@attention_lse", grad_attention_lse },
    { "@gather",    grad_gather },
};

static GradientFn *find_function(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].name, name) == 0)
            return functions[i].fn;
    }
    assert(!"a gradient column names a function of gradient.c");
    return NULL;
}

static Gradient parse_row(Arena *mem, const OpInfo *info)
{
    Gradient row = { 0 };
    int      n;

    if (info->narg == 0)
        return row;
    if (info->gradient[0] == '@') {
        row.fn = find_function(info->gradient);
        return row;
    }
    Expr **e = expr_table(mem, info->gradient, &n);
    assert(n == info->narg && n <= GRAD_ARGS && "one gradient an argument");
    for (int i = 0; i < n; i++)
        row.expr[i] = e[i];
    return row;
}

const Gradient *gradient_table(Arena *mem)
{
    Gradient *table = arena_array(mem, Gradient, NOP);

    for (int i = 0; i < NOP; i++)
        table[i] = parse_row(mem, &op_info[i]);
    return table;
}

bool gradient_flows(const Gradient *table, Op op, int i)
{
    return table[op].fn || table[op].expr[i];
}

void gradient_of_node(const Gradient *table, Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    static const char *const arg_name[GRAD_ARGS] = { "a", "b", "c" };
    const Gradient *row;
    Binding         env[GRAD_ARGS + 2];
    int             n = 0;

    row = &table[nd->op];
    if (row->fn) {
        row->fn(g, nd, y, adj, want, out);
        return;
    }
    for (; n < nd->narg; n++)
        env[n] = (Binding){ arg_name[n], nd->arg[n] };
    env[n++] = (Binding){ "y", y };
    env[n++] = (Binding){ "g", adj };
    for (int i = 0; i < nd->narg; i++) {
        if (want[i] && row->expr[i])
            out[i] = build_expr(g, nd->loc, row->expr[i], n, env, adj);
    }
}

void gradient_build(const Gradient *table, Graph *g, Ref y, Ref adj, const bool *want, Ref *out)
{
    Node nd = *graph_at(g, y);

    gradient_of_node(table, g, &nd, y, adj, want, out);
}
