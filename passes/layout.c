/* layout.c - around convolutions the batch runs along the lanes of vectors.
 *
 * Images are rarely as wide as a number of vectors, and rows of 8 or 28 leave lanes empty.  Batches are chosen to be.  So where a
 * batch divides into blocks of LANES rows, what a convolution reads and gives is written [N / LANES, C, H, W, LANES] instead of
 * [N, C, H, W], and with it everything that follows of it element by element, by padding, or by reducing windows and channels, up to what can't
 * follow.  A convolution needs nothing new for that: the lanes are one more spatial axis, over which its kernel has size 1.
 *
 * A value has its old form beside it, made by movement, for those who can't follow; nobody reads it, it is not there.  The pass runs
 * before autodiff, whose adjoints then have the form of the values.
 *
 * Sums keep their order, so that a row alone gives the bits it gives in a batch: of a convolution, it is that of the channels and taps as
 * long as lower would not give the taps lanes of their own (MAX_TAPS).
 */
#include <string.h>

#include "passes/pass.h"

enum { LANES = 16, MAX_TAPS = 7 };

/* A value's other form: its axis `place` are the lanes, the others follow in order, the first divided. */
typedef struct Blocked { Ref ref; int place; } Blocked;

typedef struct Layout {
    Graph   *to;
    Blocked *blocked;          /* of the new graph's nodes */
    int      n, cap;
} Layout;

static const Type *type_of(const Layout *l, Ref a) { return &graph_at(l->to, a)->type; }

static Blocked *entry(Layout *l, Ref a)
{
    while (l->n <= a.id) {
        arena_push(&l->to->m->mem, l->blocked, l->n, l->cap);
        l->blocked[l->n++] = (Blocked){ { 0 }, 0 };
    }
    return &l->blocked[a.id];
}

/* ---- from one form to the other ---- */

static Type blocked_type(const Type *t, int place)
{
    Type b = *t;

    b.rank++;
    b.dim[0] /= LANES;
    for (int i = b.rank - 1; i > place; i--)
        b.dim[i] = b.dim[i - 1];
    b.dim[place] = LANES;
    return b;
}

static Ref block(Layout *l, Loc loc, Ref a, int place)
{
    Type    t = *type_of(l, a), apart = blocked_type(&t, 1);
    int64_t perm[MAX_RANK];

    for (int i = 0; i <= t.rank; i++)
        perm[i] = i == 0 ? 0 : i < place ? i + 1 : i == place ? 1 : i;
    return graph_transpose(l->to, loc, graph_reshape(l->to, loc, a, apart.rank, apart.dim), perm);
}

/* The old form of a node of type t whose new form is b. */
static Ref unblock(Layout *l, Loc loc, const Type *t, Ref b, int place)
{
    int64_t perm[MAX_RANK];
    Ref     old;

    for (int i = 0; i <= t->rank; i++)
        perm[i] = i == 0 ? 0 : i == 1 ? place : i <= place ? i - 1 : i;
    old = graph_reshape(l->to, loc, graph_transpose(l->to, loc, b, perm), t->rank, t->dim);
    *entry(l, old) = (Blocked){ b, place };
    return old;
}

/* Is the batch among the axes that the node inserts or takes away? */
static bool is_first(const Node *nd) { return nd->attr.n > 0 && nd->attr.v[0] == 0; }

static int64_t shifted(int64_t axis, int place) { return axis < place ? axis : axis + 1; }

/* An expand along the batch as well, made in the new form at once. */
static Ref block_expand(Layout *l, const Node *nd, int place)
{
    int     n = nd->attr.n / 2, k = 0;
    int64_t v[2 * MAX_RANK];

    while (k < n && nd->attr.v[k] < place)
        k++;
    for (int i = 0; i < n; i++) {
        int to = i < k ? i : i + 1;

        v[to] = shifted(nd->attr.v[i], place);
        v[n + 1 + to] = i ? nd->attr.v[n + i] : nd->attr.v[n] / LANES;
    }
    v[k] = place;
    v[n + 1 + k] = LANES;
    return graph_make(l->to, OP_expand, nd->loc, 1, nd->arg, (Attr){ 2 * (n + 1), v }, NULL, NULL);
}

static Ref in_blocks(Layout *l, Loc loc, Ref a, int place);

/* A point is computed in the new form, and so is what it is computed from, down to what it reads: what is stored of it then has
 * that form. */
static Ref block_point(Layout *l, const Node *nd, int place)
{
    Ref in[3];

    for (int i = 0; i < nd->narg; i++)
        in[i] = in_blocks(l, nd->loc, nd->arg[i], place);
    return graph_make(l->to, nd->op, nd->loc, nd->narg, in, nd->attr, NULL, NULL);
}

/* What was found once is that value's new form from now on. */
static Ref known(Layout *l, Ref a, Ref b, int place)
{
    *entry(l, a) = (Blocked){ b, place };
    return b;
}

static bool keeps_batch(const Layout *l, const Node *nd)
{
    const Type *a = type_of(l, nd->arg[0]);

    return a->rank && nd->type.rank && a->dim[0] == nd->type.dim[0];
}

static Ref block_reshape(Layout *l, const Node *nd)
{
    Ref  x = in_blocks(l, nd->loc, nd->arg[0], type_of(l, nd->arg[0])->rank);
    Type b = blocked_type(&nd->type, nd->type.rank);

    return graph_reshape(l->to, nd->loc, x, b.rank, b.dim);
}

/* A value in its new form with the lanes there. */
static Ref in_blocks(Layout *l, Loc loc, Ref a, int place)
{
    const Blocked *b = entry(l, a);
    Node           nd = *graph_at(l->to, a);

    if (b->ref.id && b->place == place)
        return b->ref;
    if (nd.op == OP_const)
        return graph_const(l->to, nd.loc, blocked_type(&nd.type, place), attr_value(&nd.attr));
    if (nd.op == OP_expand && is_first(&nd))
        return block_expand(l, &nd, place);
    if (op_info[nd.op].cls == CLASS_POINT)
        return known(l, a, block_point(l, &nd, place), place);
    if (nd.op == OP_reshape && place == nd.type.rank && keeps_batch(l, &nd))
        return known(l, a, block_reshape(l, &nd), place);
    return block(l, loc, a, place);
}

/* ---- what follows ---- */

static Ref made(Layout *l, const Node *nd, Ref r, int place) { return unblock(l, nd->loc, &nd->type, r, place); }

static const Ref none;

static Ref follow_point(Layout *l, const Node *nd, const Ref *arg)
{
    Ref in[3];
    int place = 0;

    for (int i = 0; i < nd->narg && !place; i++)
        place = entry(l, arg[i])->place;
    for (int i = 0; i < nd->narg; i++)
        in[i] = in_blocks(l, nd->loc, arg[i], place);
    return made(l, nd, graph_make(l->to, nd->op, nd->loc, nd->narg, in, nd->attr, NULL, NULL), place);
}

/* Axes that a group of numbers begins with, shifted: of a window. */
static Ref follow_window(Layout *l, const Node *nd, Blocked x)
{
    int     size = attr_group(op_info[nd->op].attr);
    int64_t v[5 * MAX_RANK];

    memcpy(v, nd->attr.v, (size_t)nd->attr.n * sizeof *v);
    for (int i = 0; i < nd->attr.n; i += size) {
        if (v[i] == 0)
            return none;
        v[i] = shifted(v[i], x.place);
    }
    return made(l, nd, graph_make(l->to, nd->op, nd->loc, 1, &x.ref, (Attr){ nd->attr.n, v }, NULL, NULL), x.place);
}

/* Numbers for each axis, which the lanes get as well: of a pad and a slice. */
static Ref follow_axes(Layout *l, const Node *nd, Blocked x, int size, const int64_t *same)
{
    int     rank = type_of(l, x.ref)->rank, n = 0;
    int64_t v[3 * MAX_RANK + 1];

    for (int i = 0; i < rank; i++)
        for (int k = 0; k < size; k++)
            v[n++] = i == x.place ? same[k] : nd->attr.v[(i < x.place ? i : i - 1) * size + k];
    if (memcmp(nd->attr.v, same, (size_t)(size > 2 ? 2 : size) * sizeof *same) || (size > 2 && nd->attr.v[2] != type_of(l, x.ref)->dim[0] * LANES))
        return none;
    if (size > 2)
        v[2] /= LANES;
    for (int i = (rank - 1) * size; i < nd->attr.n; i++)        /* what a pad puts there */
        v[n++] = nd->attr.v[i];
    return made(l, nd, graph_make(l->to, nd->op, nd->loc, 1, &x.ref, (Attr){ n, v }, NULL, NULL), x.place);
}

/* Over the batch it is a sum over the lanes too, and the result has neither. */
static Ref follow_reduce(Layout *l, const Node *nd, Blocked x)
{
    int64_t v[MAX_RANK];
    int     n = 0, place = x.place;
    bool    batch = is_first(nd), lanes = false;

    if (batch && nd->op == OP_first_max)        /* the first would be another one */
        return none;
    for (int i = 0; i < nd->attr.n; i++) {
        int64_t axis = shifted(nd->attr.v[i], x.place);

        if (batch && !lanes && axis > x.place)
            v[n++] = x.place, lanes = true;
        place -= axis < x.place;
        v[n++] = axis;
    }
    if (batch && !lanes)
        v[n++] = x.place;
    Ref r = graph_make(l->to, nd->op, nd->loc, 1, &x.ref, (Attr){ n, v }, NULL, NULL);
    return batch ? r : made(l, nd, r, place);
}

/* The batch stays in front and the lanes behind. */
static Ref follow_reshape(Layout *l, const Node *nd, Blocked x)
{
    Type b;

    if (x.place != type_of(l, x.ref)->rank - 1 || nd->type.rank == MAX_RANK || !nd->type.rank || nd->type.dim[0] != type_of(l, x.ref)->dim[0] * LANES)
        return none;
    b = blocked_type(&nd->type, nd->type.rank);
    return made(l, nd, graph_reshape(l->to, nd->loc, x.ref, b.rank, b.dim), nd->type.rank);
}

static Ref follow_transpose(Layout *l, const Node *nd, Blocked x)
{
    int64_t perm[MAX_RANK];
    int     rank = nd->type.rank;

    if (x.place != rank || nd->attr.v[0] != 0)
        return none;
    for (int i = 0; i < rank; i++)
        perm[i] = nd->attr.v[i];
    perm[rank] = rank;
    return made(l, nd, graph_transpose(l->to, nd->loc, x.ref, perm), rank);
}

/* Lanes that are last stay last, and the axes that are inserted keep their places. */
static Ref follow_expand(Layout *l, const Node *nd, Blocked x)
{
    if (x.place != type_of(l, x.ref)->rank - 1 || is_first(nd) || nd->type.rank == MAX_RANK)
        return none;
    return made(l, nd, graph_make(l->to, OP_expand, nd->loc, 1, &x.ref, nd->attr, NULL, NULL), nd->type.rank);
}

/* ---- where it begins ---- */

static bool has_batch(const Type *t) { return t->rank > 0 && t->rank < MAX_RANK && t->dim[0] % LANES == 0; }

static bool can_begin(const Layout *l, const Node *nd, const Ref *arg)
{
    const Type *x = type_of(l, arg[0]), *w = type_of(l, arg[1]);

    return has_batch(x) && x->rank + 1 < MAX_RANK && nd->type.dim[nd->type.rank - 1] > 1 && w->dim[w->rank - 1] <= MAX_TAPS;
}

static Ref begin(Layout *l, const Node *nd, const Ref *arg)
{
    Type    w = *type_of(l, arg[1]);
    int     rank = nd->type.rank;
    int64_t v[5 * MAX_RANK];
    Ref     in[2] = { in_blocks(l, nd->loc, arg[0], rank) };

    memcpy(v, nd->attr.v, (size_t)nd->attr.n * sizeof *v);
    memcpy(v + nd->attr.n, (const int64_t[]){ 1, 0, 0, 1, 1 }, 5 * sizeof *v);
    w.dim[w.rank++] = 1;
    in[1] = graph_reshape(l->to, nd->loc, arg[1], w.rank, w.dim);
    return made(l, nd, graph_make(l->to, OP_conv, nd->loc, 2, in, (Attr){ nd->attr.n + 5, v }, NULL, NULL), rank);
}

/* The node's new form, id 0 where it has none. */
static Ref follow(Layout *l, const Node *nd, const Ref *arg)
{
    static const int64_t no_pad[] = { 0, 0 }, all_lanes[] = { 0, 1, LANES };
    Blocked x = *entry(l, arg[0]);

    switch (nd->op) {
    case OP_pad:       return follow_axes(l, nd, x, 2, no_pad);
    case OP_slice:     return follow_axes(l, nd, x, 3, all_lanes);
    case OP_expand:    return follow_expand(l, nd, x);
    case OP_window:    return follow_window(l, nd, x);
    case OP_reshape:   return follow_reshape(l, nd, x);
    case OP_transpose: return follow_transpose(l, nd, x);
    case OP_sum: case OP_max: case OP_min: case OP_first_max: return follow_reduce(l, nd, x);
    default:           return none;
    }
}

static Ref layout_node(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    Layout *l = ctx;
    bool    any = false;
    Ref     r = { 0 };

    l->to = to;
    for (int i = 0; i < nd->narg; i++)
        any |= entry(l, arg[i])->ref.id != 0;
    if (nd->op == OP_conv && can_begin(l, nd, arg))
        r = begin(l, nd, arg);
    else if (any && op_info[nd->op].cls == CLASS_POINT)
        r = follow_point(l, nd, arg);
    else if (any && nd->narg == 1)
        r = follow(l, nd, arg);
    return r.id ? r : graph_clone_node(to, nd, arg);
}

/* A derivative by a value between would not see what reads the value's other form; in a scan nothing may be added behind its end. */
static bool can_change(const Graph *g)
{
    for (int id = 1; id < g->nnode; id++) {
        const Node *nd = &g->node[id];

        if (op_info[nd->op].attr == ATTR_LOOP || (nd->op == OP_grad && op_info[graph_at(g, nd->arg[1])->op].cls != CLASS_EDGE))
            return false;
    }
    return graph_holds(g, OP_conv);
}

void layout(Module *m, const PassOptions *o)
{
    for (int i = 0; i < m->ngraph && !o->limits.warp; i++) {
        Layout l = { 0 };

        if (can_change(m->graph[i]))
            m->graph[i] = graph_copy(graph_copy(m->graph[i], layout_node, &l), NULL, NULL);
    }
}
