/* attention_group.c - the gradient of attention, found among the nodes of a graph.
 *
 * attention.c writes gradients in terms of other operations, so that they have gradients themselves.  Where all of one is there and nothing else
 * looks at its T x S numbers, it can be one kernel that never has more than a few of them (lower_attention_gradient.c).  Looked for
 * is exp(s - lse): what it is made of, and who uses it.
 */
#include <math.h>

#include "passes/attention_group.h"

/* Uses that no node has so many of. */
enum { WRITTEN = 1 << 24 };

typedef struct Search {
    const Graph *g;
    int         *nuse;         /* of each node; a write is one too */
    int        (*user)[2];     /* the first two */
    AttentionGradient a;
} Search;

static const Node *at(const Search *s, int id) { return &s->g->node[id]; }

static int argument(const Search *s, int id, int i) { return at(s, id)->arg[i].id; }

static Search count_uses(const Graph *g)
{
    Search s = { .g = g, .nuse = arena_array(&g->m->mem, int, g->nnode) };

    s.user = arena_alloc(&g->m->mem, (size_t)g->nnode, sizeof *s.user);
    for (int id = 1; id < g->nnode; id++)
        for (int i = 0; i < g->node[id].narg; i++) {
            int arg = g->node[id].arg[i].id;

            if (s.nuse[arg] < 2)
                s.user[arg][s.nuse[arg]] = id;
            s.nuse[arg]++;
        }
    for (int i = 0; i < g->nwrite; i++)
        s.nuse[g->write[i].value.id] += WRITTEN;
    return s;
}

/* ---- shapes of nodes ---- */

/* The number of each row that x is along rows; 0: it is something else. */
static int along_rows(const Search *s, int x)
{
    const Node *nd = at(s, x);

    return nd->op == OP_expand && nd->attr.n == 2 && nd->attr.v[0] == s->a.rank - 1 ? nd->arg[0].id : 0;
}

/* A product over one axis of each, all axes of a result but the last two being batch. */
static bool is_product(const Search *s, int id)
{
    const Node *nd = at(s, id);

    if (nd->op != OP_dot || nd->type.rank != s->a.rank || at(s, nd->arg[0].id)->type.rank != s->a.rank
        || at(s, nd->arg[1].id)->type.rank != s->a.rank)
        return false;
    return attr_dot(&nd->attr).nb == s->a.rank - 2 && attr_dot(&nd->attr).nc == 1;
}

/* Of a [B..., T, S] as it lies: over the queries (0) or the keys (1). */
static bool is_product_over(const Search *s, int id, int axis)
{
    if (!is_product(s, id))
        return false;
    DotAxes d = attr_dot(&at(s, id)->attr);

    for (int i = 0; i < d.nb; i++)
        if (d.ab[i] != i)
            return false;
    return d.ac[0] == d.nb + axis;
}

static bool counts_along(const Search *s, int id, int axis)
{
    return at(s, id)->op == OP_iota && at(s, id)->attr.v[0] == axis;
}

/* Of x * number, x; x itself if it is no such product. */
static int without_scale(const Search *s, int id, double *scale)
{
    *scale = 1;
    for (int i = 0; at(s, id)->op == OP_mul && i < 2; i++)
        if (at(s, argument(s, id, i))->op == OP_const) {
            *scale = attr_value(&at(s, argument(s, id, i))->attr);
            return argument(s, id, 1 - i);
        }
    return id;
}

/* ---- from p to q and k ---- */

static int without_mask(Search *s, int id)
{
    const Node *nd = at(s, id), *seen, *out;

    s->a.causal = false;
    if (nd->op != OP_select || s->nuse[id] != 1)
        return id;
    seen = at(s, nd->arg[0].id);
    out = at(s, nd->arg[2].id);
    if (seen->op != OP_le || !counts_along(s, seen->arg[0].id, s->a.rank - 1) || !counts_along(s, seen->arg[1].id, s->a.rank - 2)
        || out->op != OP_const || attr_value(&out->attr) != -INFINITY)
        return 0;
    s->a.causal = true;
    return nd->arg[1].id;
}

static bool take_scores(Search *s, int p)
{
    int minus = argument(s, p, 0), x;

    s->a.rank = at(s, p)->type.rank;
    s->a.p = p;
    if (s->a.rank < 2 || at(s, minus)->op != OP_sub || s->nuse[minus] != 1 || !(s->a.lse = along_rows(s, argument(s, minus, 1))))
        return false;
    x = without_mask(s, argument(s, minus, 0));
    if (!x || s->nuse[x] != 1)
        return false;
    s->a.score = without_scale(s, x, &s->a.scale);
    return s->nuse[s->a.score] == 1 && is_product(s, s->a.score);
}

/* ---- from p to the results ---- */

/* p * (dp - own), of which p is one factor */
static bool take_difference(Search *s, int product)
{
    int minus = argument(s, product, argument(s, product, 0) == s->a.p);

    if (at(s, minus)->op != OP_sub || s->nuse[minus] != 1)
        return false;
    s->a.dp = argument(s, minus, 0);
    s->a.own = along_rows(s, argument(s, minus, 1));
    return s->a.own && s->nuse[s->a.dp] == 1 && is_product(s, s->a.dp);
}

/* What id is the first factor of: two products, over the keys and over the queries. */
static bool take_products(const Search *s, int id, int *keys, int *queries)
{
    for (int i = 0; i < s->nuse[id]; i++) {
        int user = s->user[id][i];

        if (argument(s, user, 0) != id || s->nuse[user] >= WRITTEN)
            return false;
        if (is_product_over(s, user, 0))
            *queries = user;
        else if (is_product_over(s, user, 1))
            *keys = user;
    }
    return *queries && *keys;
}

static bool take_results(Search *s)
{
    int p = s->a.p, product;

    if (s->nuse[p] != 2)
        return false;
    product = s->user[p][at(s, s->user[p][0])->op != OP_mul];
    s->a.dv = s->user[p][s->user[p][0] == product];
    if (at(s, product)->op != OP_mul || argument(s, s->a.dv, 0) != p || !is_product_over(s, s->a.dv, 0) || s->nuse[s->a.dv] >= WRITTEN
        || !take_difference(s, product))
        return false;
    s->a.ds = product;
    s->a.scale_ds = 1;
    if (s->nuse[product] == 1) {
        s->a.ds = s->user[product][0];
        if (without_scale(s, s->a.ds, &s->a.scale_ds) != product)
            return false;
    }
    return s->nuse[s->a.ds] == 2 && take_products(s, s->a.ds, &s->a.dq, &s->a.dk);
}

int attention_gradients(const Graph *g, AttentionGradient **found)
{
    Search s = count_uses(g);
    int    n = 0, cap = 0;

    *found = NULL;
    for (int id = 1; id < g->nnode; id++) {
        s.a = (AttentionGradient){ 0 };
        if (g->node[id].op != OP_exp || !take_scores(&s, id) || !take_results(&s))
            continue;
        arena_push(&g->m->mem, *found, n, cap);
        (*found)[n++] = s.a;
    }
    return n;
}

static int add_members(const Graph *g, int id, int end, int *member, int n)
{
    const Node *nd = &g->node[id];

    if (nd->op == OP_const || op_info[nd->op].cls == CLASS_MOVE || op_info[nd->op].cls == CLASS_INDEX || nd->op == OP_le)
        return n;
    for (int i = 0; i < n; i++)
        if (member[i] == id)
            return n;
    for (int i = 0; id != end && i < nd->narg; i++)
        n = add_members(g, nd->arg[i].id, end, member, n);
    member[n++] = id;
    return n;
}

int attention_members(const Graph *g, const AttentionGradient *a, int *id)
{
    int n = add_members(g, a->p, a->score, id, 0);

    n = add_members(g, a->ds, a->dp, id, n);
    id[n++] = a->dq;
    id[n++] = a->dk;
    id[n++] = a->dv;
    return n;
}
