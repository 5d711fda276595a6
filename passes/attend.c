/* attend.c - attention that is written out becomes the operation.
 *
 * It runs before autodiff, so that the gradient is the operation's own, which keeps the result and the log-sum-exp and none
 * of the T x S numbers between.  Seen are, from the product with the values up:
 *
 *   dot(p, v)    p = e / sum(e)    e = exp(s - max(s))    s = select(seen, score, -1e9 or less)    score = q k^T [/ or * number]
 *
 * the sum, the maximum and `seen` stretched along the other axes in whatever steps, k as it is or transposed.  `seen` is
 * causal where it compares the number of a key with that of a query: key <= query.  If p has another use, as when it
 * is shown or dropped out, nothing is replaced.
 */
#include <math.h>

#include "passes/pass.h"

typedef struct Attend {
    Graph *g;                  /* a copy of its own, whose nodes are overwritten */
    int   *nuse;
    int    rank;
    bool   causal;
    double scale;
    Ref    q, k, v;
} Attend;

static const Node *at(const Attend *a, Ref r) { return graph_at(a->g, r); }

static bool number(const Attend *a, Ref r, double *x)
{
    *x = at(a, r)->op == OP_const ? attr_value(&at(a, r)->attr) : 0;
    return at(a, r)->op == OP_const;
}

/* ---- axes ---- */

/* Does the node insert axes in front of these only, or just one behind the others? */
static bool inserts(const Node *nd, int first, int last)
{
    if (nd->op != OP_expand)
        return false;
    for (int i = 0; i < nd->attr.n / 2; i++)
        if (nd->attr.v[i] < first || nd->attr.v[i] > last)
            return false;
    return true;
}

/* The same elements in the same order: what only gives them other shapes, or stops a gradient. */
static Ref as_they_are(const Attend *a, Ref r)
{
    const Node *nd = at(a, r);

    while (nd->op == OP_reshape || nd->op == OP_stop_gradient
           || (nd->op == OP_expand && ty_count(&nd->type) == ty_count(&at(a, nd->arg[0])->type))) {
        r = nd->arg[0];
        nd = at(a, r);
    }
    return r;
}

/* The reduction by op over the last axis of x, stretched along it; {0}: something else. */
static Ref row_reduction(const Attend *a, Ref r, Op op)
{
    const Node *nd = at(a, r);

    if (!inserts(nd, a->rank - 1, a->rank - 1))
        return (Ref){ 0 };
    nd = at(a, as_they_are(a, nd->arg[0]));
    if (nd->op != op || nd->attr.n != 1 || nd->attr.v[0] != a->rank - 1)
        return (Ref){ 0 };
    return nd->arg[0];
}

/* The axis along which r counts, from the last one as 0; -1: it counts none, or no one knows which. */
static int counts(const Attend *a, Ref r)
{
    const Node *nd = at(a, r);
    int         axis, from;

    if (nd->op == OP_iota)
        return nd->type.rank - 1 - (int)nd->attr.v[0];
    if ((nd->op != OP_expand && nd->op != OP_reshape) || (axis = counts(a, nd->arg[0])) < 0)
        return -1;
    from = at(a, nd->arg[0])->type.rank - 1 - axis;
    if (nd->op == OP_reshape) {             /* of axes of size 1 some come and go, so the one that is longer is the one */
        int64_t n = at(a, nd->arg[0])->type.dim[from];

        if (n == 1 || ty_count(&nd->type) != n)
            return -1;
        for (int i = 0; i < nd->type.rank; i++)
            if (nd->type.dim[i] == n)
                return nd->type.rank - 1 - i;
        return -1;
    }
    for (int i = 0, k = 0; i < nd->type.rank; i++)
        if (!attr_has(nd->attr.v, nd->attr.n / 2, i) && k++ == from)
            return nd->type.rank - 1 - i;
    return -1;
}

/* ---- the parts, each reading on from what the last one left ---- */

static bool take_seen(Attend *a, Ref seen)
{
    const Node *nd = at(a, seen);

    if (inserts(nd, 0, a->rank - 3))
        nd = at(a, nd->arg[0]);
    return nd->op == OP_le && counts(a, nd->arg[0]) == 0 && counts(a, nd->arg[1]) == 1;
}

static bool take_mask(Attend *a, Ref *s)
{
    const Node *nd = at(a, *s);
    double      out;

    if (nd->op != OP_select)
        return true;
    if (!number(a, nd->arg[2], &out) || !(out <= -1e9) || !take_seen(a, nd->arg[0]))
        return false;
    a->causal = true;
    *s = nd->arg[1];
    return true;
}

static void take_scale(Attend *a, Ref *s)
{
    const Node *nd = at(a, *s);
    double      x;

    a->scale = 1;
    if (nd->op == OP_div && number(a, nd->arg[1], &x)) {
        a->scale = 1 / x;
        *s = nd->arg[0];
    } else if (nd->op == OP_mul && (number(a, nd->arg[0], &x) || number(a, nd->arg[1], &x))) {
        a->scale = x;
        *s = nd->arg[at(a, nd->arg[0])->op == OP_const];
    }
}

/* A product over one axis of each, with all axes in front of the last two going along. */
static bool is_product(const Attend *a, const Node *nd, int64_t fold_x, int64_t *fold_y)
{
    if (nd->op != OP_dot || nd->type.rank != a->rank || at(a, nd->arg[0])->type.rank != a->rank
        || at(a, nd->arg[1])->type.rank != a->rank)
        return false;
    DotAxes d = attr_dot(&nd->attr);

    if (d.nb != a->rank - 2 || d.nc != 1 || d.ac[0] != fold_x || d.bc[0] < a->rank - 2)
        return false;
    for (int i = 0; i < d.nb; i++)
        if (d.ab[i] != i || d.bb[i] != i)
            return false;
    *fold_y = d.bc[0];
    return true;
}

static bool swaps_last(const Node *nd)
{
    int n = nd->type.rank;

    if (nd->op != OP_transpose || nd->attr.v[n - 1] != n - 2)
        return false;
    for (int i = 0; i < n - 2; i++)
        if (nd->attr.v[i] != i)
            return false;
    return true;
}

static bool take_scores(Attend *a, Ref s)
{
    const Node *nd = at(a, s);
    int64_t     fold;

    if (!is_product(a, nd, a->rank - 1, &fold))
        return false;
    a->q = nd->arg[0];
    a->k = nd->arg[1];
    if (fold == a->rank - 1)
        return true;
    if (!swaps_last(at(a, a->k)))
        return false;
    a->k = at(a, a->k)->arg[0];
    return true;
}

static bool matches(Attend *a, const Node *nd)
{
    int64_t fold;
    Ref     p, e, s;

    a->rank = nd->type.rank;
    a->causal = false;
    if (a->rank < 2 || !is_product(a, nd, a->rank - 1, &fold) || fold != a->rank - 2)
        return false;
    p = nd->arg[0];
    a->v = nd->arg[1];
    if (at(a, p)->op != OP_div || a->nuse[p.id] > 1)
        return false;
    e = at(a, p)->arg[0];
    if (at(a, e)->op != OP_exp || row_reduction(a, at(a, p)->arg[1], OP_sum).id != e.id)
        return false;
    e = at(a, e)->arg[0];
    if (at(a, e)->op != OP_sub)
        return false;
    s = at(a, e)->arg[0];
    if (row_reduction(a, at(a, e)->arg[1], OP_max).id != s.id || !take_mask(a, &s))
        return false;
    take_scale(a, &s);
    return take_scores(a, s);
}

/* ---- graphs ---- */

static int *count_uses(const Graph *g)
{
    int *nuse = arena_array(&g->m->mem, int, g->nnode);

    for (int id = 1; id < g->nnode; id++)
        for (int i = 0; i < g->node[id].narg; i++)
            nuse[g->node[id].arg[i].id]++;
    for (int i = 0; i < g->nwrite; i++)
        nuse[g->write[i].value.id]++;
    return nuse;
}

static const Ref *attend_args(const Attend *a)
{
    Ref *arg = arena_array(&a->g->m->mem, Ref, 3);

    arg[0] = a->q;
    arg[1] = a->k;
    arg[2] = a->v;
    return arg;
}

static Graph *attend_graph(const Graph *from)
{
    Attend a = { .g = graph_copy(from, NULL, NULL) };
    bool   any = false;

    a.nuse = count_uses(a.g);
    for (int id = 1; id < a.g->nnode; id++) {
        Node *nd = &a.g->node[id];

        if (!matches(&a, nd))
            continue;
        nd->op = OP_attention;
        nd->narg = 3;
        nd->arg = attend_args(&a);
        nd->attr = attr_scores(&a.g->m->mem, a.causal, a.scale);
        any = true;
    }
    return any ? graph_copy(a.g, NULL, NULL) : a.g;
}

void attend(Module *m, const PassOptions *o)
{
    (void)o;
    for (int i = 0; i < m->ngraph; i++)
        m->graph[i] = attend_graph(m->graph[i]);
}
