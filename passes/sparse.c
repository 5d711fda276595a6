/* sparse.c - convolutions with values that stand at one place of each window.
 *
 * The adjoint of pooling is at most one part in a window's places: overlap(put(g, at)), windows side by side.  What a convolution does with it, in
 * the gradients by its input and by its weights, is done with the values and their places alone: conv becomes spread or collect.  Behind a relu many
 * values are 0 too, and stand nowhere: -1 is their place.  (A weight or input that is not finite has reached the loss before, and g with it; so no nan is
 * lost here by leaving out 0 times infinity.)  A sum over all places, of a bias' gradient, is the sum of the values.
 *
 * Both want a sample's places with the channels last, as loops then run along channels, and taps of an axis lie side by side.
 */
#include "passes/access.h"
#include "passes/move.h"
#include "passes/pass.h"

enum { NEAR_BYTES = 16384 };

/* Values behind an operand, and the operand's axis along which each of their axes runs, -1 if it has one element. */
typedef struct Values { const Node *put, *overlap; int along[MAX_RANK]; } Values;

/* ---- finding them ---- */

typedef struct Window { int64_t size, stride; } Window;

static Window window_of(const Node *overlap, int axis)
{
    const int64_t *v = overlap->attr.v;

    for (int i = 0; i < overlap->attr.n / 5; i++, v += 5)
        if (v[0] == axis)
            return (Window){ v[1], v[2] };
    return (Window){ 1, 1 };
}

/* Windows side by side, and their places are the axes that put made. */
static bool stands_in_windows(const Graph *g, const Node *overlap)
{
    const Node *put = graph_at(g, overlap->arg[0]);
    int         n = overlap->attr.n / 5;

    if (put->op != OP_put || put->attr.n / 2 != n || !dt_is_float(put->type.dtype))
        return false;
    for (int i = 0; i < n; i++) {
        const int64_t *v = overlap->attr.v + 5 * i;

        if (put->attr.v[i] != overlap->type.rank + i || v[1] > v[2] || (v[3] != 1 && v[1] > 1))
            return false;
    }
    return n > 0;
}

/* The axes of `operand` that the overlap's run along: through axes that change places or are split and joined whole. */
static bool find_axes(const Graph *g, const Type *operand, Access a, Values *v)
{
    Affine index[MAX_RANK];

    if (!access_fits(&a, &v->overlap->type))
        return false;
    access_axes(&g->m->mem, &a, &v->overlap->type, index);
    for (int i = 0; i < v->overlap->type.rank; i++) {
        v->along[i] = index[i].n ? index[i].term[0].var : -1;
        if (index[i].n > 1 || (index[i].n && operand->dim[v->along[i]] != v->overlap->type.dim[i]))
            return false;
    }
    return true;
}

static bool find_values(const Graph *g, Ref operand, Values *v)
{
    const Node *nd = graph_at(g, operand);
    const Type  type = nd->type;
    Affine      index[MAX_RANK];

    for (int i = 0; i < type.rank; i++)
        index[i] = aff_var(&g->m->mem, i, 1);
    Access a = access_make(&type, index);

    for (; nd->op != OP_overlap; nd = graph_at(g, nd->arg[0])) {
        if (nd->op != OP_reshape && (nd->op != OP_transpose || !access_fits(&a, &nd->type)))
            return false;
        a = access_arg(&g->m->mem, nd, &graph_at(g, nd->arg[0])->type, &a);
    }
    v->overlap = nd;
    v->put = graph_at(g, nd->arg[0]);
    return stands_in_windows(g, nd) && find_axes(g, &type, a, v);
}

/* ---- what the axes of a convolution become ---- */

typedef struct Sparse {
    Graph      *g;
    const Node *conv;
    Ref         arg[2];
    int         which;                    /* the operand with the values */
    Values      v;
    int         nbatch, batch[MAX_RANK];  /* the operand's axes that become samples */
    int         d, place[MAX_RANK];       /* its axes with places */
    int         channel;
    PatchAxis   axis[MAX_RANK];
    int64_t     shift[MAX_RANK];          /* where the result (spread) or x (collect) begins along an axis, in elements of a patch's axis */
} Sparse;

static const Type *arg_type(const Sparse *s, int i) { return &graph_at(s->g, s->arg[i])->type; }

/* The axis of the values that runs along the operand's axis, -1: it has one element. */
static int axis_along(const Values *v, int axis)
{
    for (int i = 0; i < v->overlap->type.rank; i++)
        if (v->along[i] == axis)
            return i;
    return -1;
}

/* Nothing meets a neighbour along the i-th spatial axis: it is a part of the batch. */
static bool is_batch(const Sparse *s, int i, Window w)
{
    ConvAxis c = attr_conv(&s->conv->attr, i);
    int64_t  x = arg_type(s, 0)->dim[3 + i], k = arg_type(s, 1)->dim[3 + i], y = s->conv->type.dim[3 + i];

    return w.size == 1 && w.stride == 1 && !c.before && c.dilate_x == 1
        && (s->which == 0 ? k == 1 && c.stride == 1 && x == y : y == 1 && c.dilate_w == 1 && x == k);
}

/* A place y, counted in the windowed axis, meets tap k of the patch at y * along + k * tap, which is `shift` before the element. */
static bool set_place(Sparse *s, int i, Window w, int64_t places)
{
    ConvAxis   c = attr_conv(&s->conv->attr, i);
    int64_t    taps = s->which == 0 ? arg_type(s, 1)->dim[3 + i] : s->conv->type.dim[3 + i];
    int64_t    along = s->which == 0 ? c.dilate_x : c.dilate_w, tap = s->which == 0 ? c.dilate_w : c.stride;
    PatchAxis *p = &s->axis[s->d];

    if (s->which == 0 ? c.stride != 1 : c.dilate_x != 1)
        return false;
    *p = (PatchAxis){ w.stride * along, w.size, along, tap, taps, 0 };
    p->size = (places - 1) * p->step + (p->window - 1) * p->apart + (p->taps - 1) * p->tap + 1;
    s->shift[s->d] = s->which == 0 ? c.before - (taps - 1) * tap : -c.before;
    s->place[s->d++] = 3 + i;
    return true;
}

static int64_t places_along(const Sparse *s, int axis)
{
    int of = axis_along(&s->v, axis);

    return of < 0 ? 1 : graph_at(s->g, s->v.put->arg[0])->type.dim[of];
}

static bool set_axes(Sparse *s)
{
    int     last = -1;
    int64_t many = 1;

    if (arg_type(s, 0)->dim[1] != 1 || s->conv->type.rank < 4)
        return false;
    s->batch[s->nbatch++] = s->which == 0 ? 0 : 2;
    s->channel = s->which == 0 ? 2 : 1;
    for (int i = 0; i < s->conv->type.rank - 3; i++) {
        int    of = axis_along(&s->v, 3 + i);
        Window w = of < 0 ? (Window){ 1, 1 } : window_of(s->v.overlap, of);

        if (is_batch(s, i, w))
            s->batch[s->nbatch++] = 3 + i;
        else if (!set_place(s, i, w, places_along(s, 3 + i)))
            return false;
        /* places are numbered in the order of the overlap's axes */
        if (w.size > 1 && of < last)
            return false;
        last = w.size > 1 ? of : last;
        many *= w.size;
    }
    for (int i = 0; i < s->v.overlap->attr.n / 5; i++)      /* no window on the batch or the channels */
        many /= s->v.overlap->attr.v[5 * i + 1];
    return many == 1 && s->d > 0;
}

/* ---- making it ---- */

/* Of collect, the places walked around the channels, so that the rows that the others fall on stay in the first cache. */
static int places_around(const Sparse *s)
{
    int64_t bytes = arg_type(s, 0)->dim[0] * dt_bytes(s->conv->type.dtype);
    int     n = 0;

    for (int i = 0; i < s->d; i++)
        bytes *= s->axis[i].size;
    for (; n < s->d - 1 && bytes > NEAR_BYTES; n++)
        bytes /= places_along(s, s->place[n]);
    return n;
}

/* The values' axes in the order [N, P..., O] for spread, [N, P, O, Q] for collect, and these sizes. */
static void sample_axes(const Sparse *s, int64_t *perm, int64_t *dim)
{
    int n = 0, order[MAX_RANK], m = 0, around = s->which == 0 ? s->d : places_around(s);

    for (int i = 0; i < (s->d + 2 > 4 ? s->d + 2 : 4); i++)
        dim[i] = 1;
    for (int i = 0; i < s->nbatch; i++)
        order[m++] = s->batch[i], dim[0] *= places_along(s, s->batch[i]);
    for (int i = 0; i < s->d + 1; i++) {
        int axis = i == around ? s->channel : s->place[i - (i > around)];

        order[m++] = axis;
        dim[s->which == 0 ? 1 + i : i < around ? 1 : i == around ? 2 : 3] *= places_along(s, axis);
    }
    for (int i = 0; i < s->v.overlap->type.rank; i++)
        if (s->v.along[i] < 0)
            perm[n++] = i;
    for (int i = 0; i < m; i++)
        if (axis_along(&s->v, order[i]) >= 0)
            perm[n++] = axis_along(&s->v, order[i]);
}

/* A copy with axes as listed, then all that are left, which have one element; as [N, .., last] with the first n joined. */
static Ref in_order(Sparse *s, Ref a, int nbatch, const int *batch, int n, const int *then, int last)
{
    Type    t = graph_at(s->g, a)->type;
    int64_t perm[MAX_RANK], dim[MAX_RANK] = { 1 };
    int     m = 0;

    for (int i = 0; i < nbatch; i++)
        dim[0] *= t.dim[perm[m++] = batch[i]];
    for (int i = 0; i < n; i++)
        dim[1 + i] = t.dim[perm[m++] = then[i]];
    dim[n + 1] = t.dim[perm[m++] = last];
    for (int i = 0; i < t.rank; i++)
        if (!attr_has(perm, m, i))
            perm[m++] = i;
    a = move_own_place(s->g, s->conv->loc, graph_transpose(s->g, s->conv->loc, a, perm));
    return graph_reshape(s->g, s->conv->loc, a, n + 2, dim);
}

/* w turned around as [O, K..., C], or x as [N, X..., C], with zeros where patches reach beyond it. */
static Ref other_operand(Sparse *s)
{
    const int out = 2;
    Ref       a = s->arg[!s->which];

    for (int i = 0; i < s->d; i++) {
        int axis = s->place[i];

        if (s->which == 0)
            a = move_reverse(s->g, s->conv->loc, a, axis);
        else
            a = move_pad(s->g, s->conv->loc, a, axis, -s->shift[i],
                         s->axis[i].size + s->shift[i] - graph_at(s->g, a)->type.dim[axis]);
    }
    if (s->which == 0)
        return in_order(s, a, 1, &out, s->d, s->place, 1);
    return in_order(s, a, s->nbatch, s->batch, s->d, s->place, 0);
}

/* [N, X..., C], or [O, K..., C], as the convolution's result. */
static Ref as_result(Sparse *s, Ref a)
{
    const Type *t = &s->conv->type;
    int64_t     dim[MAX_RANK + 1], perm[MAX_RANK], at[MAX_RANK] = { 0 };
    int         n = 0;

    for (int i = 0; i < s->d && s->which == 0; i++)
        a = move_pad(s->g, s->conv->loc, a, 1 + i, s->shift[i],
                     t->dim[s->place[i]] - s->axis[i].size - s->shift[i]);
    for (int i = 0; i < t->rank; i++)
        at[i] = -1;
    if (s->which == 1)
        at[2] = n, dim[n++] = t->dim[2];
    for (int i = 0; i < s->nbatch; i++)
        if (s->which == 0 || s->batch[i] >= 3)
            at[s->batch[i]] = n, dim[n++] = t->dim[s->batch[i]];
    for (int i = 0; i < s->d; i++)
        at[s->place[i]] = n, dim[n++] = t->dim[s->place[i]];
    at[s->which == 0 ? 2 : 0] = n, dim[n++] = t->dim[s->which == 0 ? 2 : 0];
    at[1] = n, dim[n++] = 1;
    for (int i = 0; i < t->rank; i++)
        perm[i] = at[i];
    return graph_transpose(s->g, s->conv->loc, graph_reshape(s->g, s->conv->loc, a, n, dim), perm);
}

/* ---- where values stand ---- */

static Ref times(Graph *g, Loc loc, Ref a, int64_t by)
{
    return by == 1 ? a : graph_op2(g, OP_mul, loc, a, graph_const(g, loc, graph_at(g, a)->type, (double)by));
}

/* The values that put puts somewhere, 0 for the others: those whose place is none of the axes'.  An argmax always is. */
static Ref standing_values(Graph *g, const Node *put)
{
    Loc     loc = put->loc;
    Ref     at = put->arg[1];
    Type    t = graph_at(g, at)->type;
    int64_t places = ty_count(&put->type) / ty_count(&t);

    if (graph_at(g, at)->op == OP_argmax)
        return put->arg[0];
    Ref from = graph_op2(g, OP_le, loc, graph_const(g, loc, t, 0), at);
    Ref to = graph_op2(g, OP_lt, loc, at, graph_const(g, loc, t, (double)places));

    return graph_op3(g, OP_select, loc, graph_op2(g, OP_and, loc, from, to), put->arg[0],
                     graph_const(g, loc, graph_at(g, put->arg[0])->type, 0));
}

/* The row of a place of the window, relative to its corner: a staircase over places. */
static Ref row_of_place(Sparse *s, Ref at, const int64_t *row)
{
    Graph  *g = s->g;
    Loc     loc = s->conv->loc;
    Type    t = graph_at(g, at)->type;
    Ref     sum = times(g, loc, at, s->axis[s->d - 1].apart);
    int64_t places = 1, before = 0;

    for (int i = 0; i < s->d; i++)
        places *= s->axis[i].window;
    for (int64_t p = 1; p < places; p++) {
        int64_t to = 0, left = p;

        for (int i = s->d - 1; i >= 0; i--) {
            to += left % s->axis[i].window * s->axis[i].apart * row[i];
            left /= s->axis[i].window;
        }
        to -= p * s->axis[s->d - 1].apart;
        if (to == before)
            continue;
        Ref reached = graph_op2(g, OP_le, loc, graph_const(g, loc, t, (double)p), at);

        sum = graph_op2(g, OP_add, loc, sum, graph_op3(g, OP_select, loc, reached, graph_const(g, loc, t, (double)(to - before)),
                                                       graph_const(g, loc, t, 0)));
        before = to;
    }
    return sum;
}

/* For each value the row of [X...] where its patch begins, -1 if it is 0.  Axes are in the order of perm, as those of the values are, so
 * that both are computed at once. */
static Ref rows_of_values(Sparse *s, Ref value, const int64_t *perm)
{
    Graph  *g = s->g;
    Loc     loc = s->conv->loc;
    Ref     at = graph_transpose(g, loc, s->v.put->arg[1], perm), sum;
    Type    t = graph_at(g, at)->type;
    int64_t row[MAX_RANK], rows = 1;

    for (int i = s->d - 1; i >= 0; i--) {
        row[i] = rows;
        rows *= s->axis[i].size;
    }
    sum = row_of_place(s, at, row);
    for (int i = 0; i < s->d; i++) {
        int     of = axis_along(&s->v, s->place[i]);
        int64_t axis = 0;

        while (of >= 0 && perm[axis] != of)
            axis++;
        if (of >= 0)
            sum = graph_op2(g, OP_add, loc, sum, times(g, loc, graph_make(g, OP_iota, loc, 0, NULL, (Attr){ 1, &axis }, &t, NULL),
                                                       s->axis[i].step * row[i]));
    }
    Ref stands = graph_op2(g, OP_ne, loc, value, graph_const(g, loc, graph_at(g, value)->type, 0));

    return graph_op3(g, OP_select, loc, stands, sum, graph_const(g, loc, t, -1));
}

/* conv, whose operand `which` has values that stand in windows; its id is 0 if it is no case for us. */
static Ref sparse_conv(Graph *g, const Node *nd, const Ref *arg, int which)
{
    Sparse      s = { .g = g, .conv = nd, .arg = { arg[0], arg[1] }, .which = which };
    int64_t     v[6 * MAX_RANK], rows = 1, perm[MAX_RANK], dim[MAX_RANK];
    int         group = attr_group(which == 0 ? ATTR_PATCH : ATTR_TAPS);
    const char *error;
    Ref         in[3], r;

    if (!find_values(g, arg[which], &s.v) || !set_axes(&s))
        return (Ref){ 0 };
    for (int i = 0; i < s.d; i++) {
        const PatchAxis *p = &s.axis[i];
        const int64_t    axis[6] = { p->step, p->window, p->apart, p->tap, p->taps, p->size };

        for (int j = 0; j < group; j++)
            v[group * i + j] = axis[6 - group + j];
        rows *= p->size;
    }
    if (rows > 1 << 24)
        return (Ref){ 0 };
    sample_axes(&s, perm, dim);
    in[0] = move_own_place(g, nd->loc, graph_transpose(g, nd->loc, standing_values(g, s.v.put), perm));
    in[1] = rows_of_values(&s, in[0], perm);
    for (int i = 0; i < 2; i++)
        in[i] = graph_reshape(g, nd->loc, in[i], which == 0 ? s.d + 2 : 4, dim);
    in[2] = other_operand(&s);
    r = graph_make(g, which == 0 ? OP_spread : OP_collect, nd->loc, 3, in, (Attr){ group * s.d, v }, NULL, &error);
    return r.id ? as_result(&s, r) : r;
}

/* A copy of the values in which the kept axis lies last, made for a convolution: a node of the graph from; NULL if there is none. */
static const Node *laid_out_values(const Graph *from, int values, int kept)
{
    for (int id = values + 1; id < from->nnode; id++) {
        const Node *own = &from->node[id], *turned = own->op == OP_cast ? graph_at(from, own->arg[0]) : own;

        if (turned->op == OP_transpose && own->op == OP_cast && own->type.dtype == turned->type.dtype && turned->arg[0].id == values
            && turned->attr.v[turned->type.rank - 1] == kept)
            return turned;
    }
    return NULL;
}

/* A sum over windows and all else that is summed, of values that are kept as they stand: of the copy that has one axis left, and it last, if
 * there is one, as vectors run along it then. */
static Ref sum_of_values(Graph *g, const Graph *from, const Node *sum, int values, Ref a)
{
    int         rank = graph_at(g, a)->type.rank, kept = -1, n = 0;
    int64_t     axes[MAX_RANK];
    const Node *turned;

    for (int i = 0; i < rank; i++)
        if (!attr_has(sum->attr.v, sum->attr.n, i))
            kept = kept < 0 ? i : rank;
    turned = kept >= 0 && kept < rank ? laid_out_values(from, values, kept) : NULL;
    for (int i = 0; i < rank; i++)
        if (turned ? i < rank - 1 : attr_has(sum->attr.v, sum->attr.n, i))
            axes[n++] = i;
    if (turned)
        a = move_own_place(g, turned->loc, graph_transpose(g, turned->loc, a, turned->attr.v));
    return graph_axes(g, OP_sum, sum->loc, a, n, axes);
}

static bool sums_windows(const Graph *g, const Node *sum)
{
    const Node *overlap = graph_at(g, sum->arg[0]);

    if (overlap->op != OP_overlap || !stands_in_windows(g, overlap))
        return false;
    for (int i = 0; i < overlap->attr.n / 5; i++)
        if (!attr_has(sum->attr.v, sum->attr.n, overlap->attr.v[5 * i]))
            return false;
    return true;
}

/* Behind the convolutions, whose copies of the values sums may take. */
static Ref sparse_sum(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    const Graph *from = ctx;

    if (nd->op == OP_sum && sums_windows(from, nd)) {
        const Node *put = graph_at(from, graph_at(from, nd->arg[0])->arg[0]), *copy = graph_at(to, graph_at(to, arg[0])->arg[0]);

        if (graph_at(from, put->arg[1])->op == OP_argmax)
            return sum_of_values(to, from, nd, put->arg[0].id, copy->arg[0]);
        return graph_axes(to, OP_sum, nd->loc, standing_values(to, copy), nd->attr.n, nd->attr.v);
    }
    return graph_clone_node(to, nd, arg);
}

static Ref sparse_node(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    Ref r = { 0 };

    (void)ctx;
    for (int which = 0; nd->op == OP_conv && !r.id && which < 2; which++)
        r = sparse_conv(to, nd, arg, which);
    return r.id ? r : graph_clone_node(to, nd, arg);
}

void sparse(Module *m, const PassOptions *o)
{
    for (int i = 0; i < m->ngraph && !o->limits.warp; i++) {
        m->graph[i] = graph_copy(m->graph[i], sparse_node, NULL);
        m->graph[i] = graph_copy(m->graph[i], sparse_sum, m->graph[i]);
    }
}
