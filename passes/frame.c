/* frame.c - padding and strides become movement that loops can follow.
 *
 * Behind this pass
 *   a conv pads and dilates nothing itself: its first argument has the zeros already.  A loop over it needs no
 *     conditions then; fuse stores such an argument once, and nothing else that a window looks at;
 *   a conv's elements are neighbours along the last axis, where vectors run: with a stride there they are stored apart, and taps
 *     far apart become a batch; or vectors run along the channels (channels.c);
 *   windows of an overlap stand at every place, a step apart: an element is then in window h - k * dilation at k, which is
 *     affine.  Windows that don't overlap need no sum: they are put side by side;
 *   attention's keys lie as its kernel runs along them; for a GPU nothing is copied, and rows too long for group memory are written out;
 *   a dot with batch axes, as of heads, has operands that lie batch by batch, with columns last where the fold is short;
 *   a next's value and a stack's are computed, and the stack's in the scan: they are copied where they are not;
 *   what a cumsum or scatter gives is not written to a slot itself, since such a kernel reads what it has stored.
 */
#include <assert.h>

#include "ir/scan.h"
#include "passes/attention.h"
#include "passes/attention_gpu.h"
#include "passes/attention_group.h"
#include "passes/channels.h"
#include "passes/lower.h"
#include "passes/move.h"
#include "passes/pass.h"

/* ---- conv ---- */

/* Axis `axis` of a as [its length / by, by], the second part moved behind axis `to` and joined with it. */
static Ref in_phases(Graph *g, Loc loc, Ref a, int axis, int64_t by, int to)
{
    Type    t = graph_at(g, a)->type;
    int64_t dim[MAX_RANK], perm[MAX_RANK];
    int     n = 0;

    for (int i = 0; i < t.rank; i++) {
        dim[n++] = i == axis ? t.dim[i] / by : t.dim[i];
        if (i == axis)
            dim[n++] = by;
    }
    a = graph_reshape(g, loc, a, n, dim);
    n = 0;
    for (int i = 0; i <= t.rank; i++) {
        if (i != axis + 1)
            perm[n++] = i;
        if (i == to)
            perm[n++] = axis + 1;
    }
    t.dim[axis] /= by;
    t.dim[to] *= by;
    return graph_reshape(g, loc, graph_transpose(g, loc, a, perm), t.rank, t.dim);
}

/* a with the axis made as long as wanted: zeros behind, or less of it. */
static Ref of_length(Graph *g, Loc loc, Ref a, int axis, int64_t length)
{
    return move_pad(g, loc, a, axis, 0, length - graph_at(g, a)->type.dim[axis]);
}

/* Axis `last` of a as [its length / by, by]; of x, the elements that lie `by` apart are stored as neighbours. */
static Ref split_last(Graph *g, Loc loc, Ref a, int64_t by, bool store)
{
    Type    t = graph_at(g, a)->type;
    int64_t to[MAX_RANK], back[MAX_RANK];

    t.dim[t.rank - 1] /= by;
    t.dim[t.rank++] = by;
    a = graph_reshape(g, loc, a, t.rank, t.dim);
    for (int i = 0; i < t.rank; i++) {
        to[i] = i < 3 ? i : i == 3 ? t.rank - 1 : i - 1;
        back[i] = i < 3 ? i : i == t.rank - 1 ? 3 : i + 1;
    }
    return store ? graph_transpose(g, loc, move_own_place(g, loc, graph_transpose(g, loc, a, to)), back) : a;
}

/* A stride along the last axis: taps and elements whose places are equal modulo the stride meet, so that place is an axis of its own, behind
 * the last, and each such part is walked in steps of 1.  Taps keep their order. */
static Ref stride_apart(Graph *g, const Node *nd, Ref *a, int64_t *v)
{
    int     last = nd->type.rank - 1, n = nd->attr.n;
    int64_t taps = graph_at(g, a[1])->type.dim[last], stride = v[n - 5], groups = (taps + stride - 1) / stride;
    Ref     y;

    v[n - 5] = 1;
    if (taps == 1) {
        a[0] = move_slice(g, nd->loc, a[0], last, 0, stride, nd->type.dim[last]);
        return graph_make(g, OP_conv, nd->loc, 2, a, (Attr){ n, v }, NULL, NULL);
    }
    a[0] = of_length(g, nd->loc, a[0], last, (nd->type.dim[last] - 1 + groups) * stride);
    a[1] = of_length(g, nd->loc, a[1], last, groups * stride);
    a[0] = split_last(g, nd->loc, a[0], stride, true);
    a[1] = split_last(g, nd->loc, a[1], stride, false);
    for (int i = 0; i < 5; i++)
        v[n + i] = i == 0 || i > 2;
    y = graph_make(g, OP_conv, nd->loc, 2, a, (Attr){ n + 5, v }, NULL, NULL);
    return graph_reshape(g, nd->loc, y, nd->type.rank, nd->type.dim);
}

/* Many taps that lie apart, as in the gradient of a conv with a stride: the results that see the same elements are a batch
 * of their own, in which taps are neighbours. */
static Ref taps_together(Graph *g, const Node *nd, Ref *a, int64_t *v, int n)
{
    int     last = nd->type.rank - 1;
    Type    t = nd->type;
    int64_t apart = v[5 * n - 1], taps = graph_at(g, a[1])->type.dim[last], each = (t.dim[last] + apart - 1) / apart;
    int64_t dim[MAX_RANK], perm[MAX_RANK];
    Ref     y;

    v[5 * n - 1] = 1;
    a[0] = of_length(g, nd->loc, a[0], last, (each + taps - 1) * apart);
    a[0] = in_phases(g, nd->loc, a[0], last, apart, 0);
    y = graph_make(g, OP_conv, nd->loc, 2, a, (Attr){ 5 * n, v }, NULL, NULL);
    /* [N * apart, .., each] to [N, .., each * apart] */
    dim[0] = t.dim[0];
    dim[1] = apart;
    perm[0] = 0;
    for (int i = 1; i < t.rank; i++) {
        dim[i + 1] = i == last ? each : t.dim[i];
        perm[i] = i + 1;
    }
    perm[t.rank] = 1;
    y = graph_transpose(g, nd->loc, graph_reshape(g, nd->loc, y, t.rank + 1, dim), perm);
    t.dim[last] = each * apart;
    y = graph_reshape(g, nd->loc, y, t.rank, t.dim);
    return move_slice(g, nd->loc, y, last, 0, 1, nd->type.dim[last]);
}

/* Vectors run along the last axis, where they want neighbours. */
static Ref neighbours_last(Graph *g, const Node *nd, Ref *a, int64_t *v)
{
    int      n = nd->attr.n / 5, last = nd->type.rank - 1;
    ConvAxis c = n ? attr_conv(&(Attr){ 5 * n, v }, n - 1) : (ConvAxis){ 1, 0, 0, 1, 1 };
    int64_t  taps = graph_at(g, a[1])->type.dim[last];

    if (c.stride > 1 && (c.dilate_w == 1 || taps == 1) && last + 1 < MAX_RANK)
        return stride_apart(g, nd, a, v);
    if (c.stride == 1 && c.dilate_w > 1 && taps > nd->type.dim[last])
        return taps_together(g, nd, a, v, n);
    return graph_make(g, OP_conv, nd->loc, 2, a, (Attr){ nd->attr.n, v }, NULL, NULL);
}

/* plain: nothing is done for vectors. */
static Ref frame_conv(Graph *g, const Node *nd, const Ref *arg, bool plain)
{
    Type    x = graph_at(g, arg[0])->type, w = graph_at(g, arg[1])->type;
    int64_t before[MAX_RANK] = { 0 }, behind[MAX_RANK] = { 0 }, v[5 * MAX_RANK + 5];
    Ref     a[2] = { arg[0], arg[1] };

    for (int i = 0; i < x.rank - 3; i++) {
        ConvAxis c = attr_conv(&nd->attr, i);
        int64_t  have = span(x.dim[3 + i], c.dilate_x);
        int64_t  need = (nd->type.dim[3 + i] - 1) * c.stride + span(w.dim[3 + i], c.dilate_w);
        int64_t  one[5] = { c.stride, 0, 0, 1, c.dilate_w };

        a[0] = move_dilate(g, nd->loc, a[0], 3 + i, c.dilate_x);
        before[3 + i] = c.before;
        behind[3 + i] = need - c.before - have;
        /* what the last window doesn't reach may stay */
        if (behind[3 + i] < 0 && c.behind >= 0)
            behind[3 + i] = 0;
        for (int j = 0; j < 5; j++)
            v[5 * i + j] = one[j];
    }
    a[0] = move_frame(g, nd->loc, a[0], before, behind);
    if (plain)
        return graph_make(g, OP_conv, nd->loc, 2, a, (Attr){ nd->attr.n, v }, NULL, NULL);
    Ref r = channels_last(g, nd, a, v);

    return r.id ? r : neighbours_last(g, nd, a, v);
}

/* ---- overlap ---- */

typedef struct Windows { int64_t axis, size, stride, dilation, dim; } Windows;

static Windows windows(const Node *nd, int i)
{
    const int64_t *v = nd->attr.v + 5 * i;

    return (Windows){ v[0], v[1], v[2], v[3], v[4] };
}

static bool is_apart(const Windows *w) { return w->size <= w->stride && (w->dilation == 1 || w->size == 1); }

/* Windows that don't overlap, put side by side: [.., P, .., K] becomes [.., P * stride, ..]. */
static Ref side_by_side(Graph *g, const Node *nd, Ref a)
{
    Type    t = nd->type;
    int     n = nd->attr.n / 5, last = 0;
    int64_t behind[MAX_RANK] = { 0 }, none[MAX_RANK] = { 0 }, perm[MAX_RANK], at[MAX_RANK];
    bool    joined[MAX_RANK] = { false }, any = false;

    for (int d = 0; d < t.rank; d++)
        at[d] = -1, t.dim[d] = graph_at(g, a)->type.dim[d];
    for (int i = 0; i < n; i++) {
        Windows w = windows(nd, i);

        if (!is_apart(&w))
            continue;
        behind[nd->type.rank + i] = w.stride - w.size;
        joined[i] = any = true;
        at[w.axis] = nd->type.rank + i;
        t.dim[w.axis] *= w.stride;
    }
    if (!any)
        return a;
    a = move_frame(g, nd->loc, a, none, behind);
    for (int d = 0; d < nd->type.rank; d++) {
        perm[last++] = d;
        if (at[d] >= 0)
            perm[last++] = at[d];
    }
    for (int i = 0; i < n; i++) {
        if (joined[i])
            continue;
        perm[last++] = nd->type.rank + i;
        t.dim[t.rank++] = windows(nd, i).size;
    }
    return graph_reshape(g, nd->loc, graph_transpose(g, nd->loc, a, perm), t.rank, t.dim);
}

/* The others: windows that overlap are put a step apart, with zeros between, and added up. */
static Ref add_up(Graph *g, const Node *nd, Ref a)
{
    int64_t v[5 * MAX_RANK];
    int     n = 0;

    for (int i = 0; i < nd->attr.n / 5; i++) {
        Windows w = windows(nd, i);

        if (is_apart(&w))
            continue;
        a = move_dilate(g, nd->loc, a, (int)w.axis, w.stride);
        v[5 * n] = w.axis;
        v[5 * n + 1] = w.size;
        v[5 * n + 2] = 1;
        v[5 * n + 3] = w.dilation;
        v[5 * n++ + 4] = graph_at(g, a)->type.dim[w.axis] + span(w.size, w.dilation) - 1;
    }
    return n ? graph_make(g, OP_overlap, nd->loc, 1, &a, (Attr){ 5 * n, v }, NULL, NULL) : a;
}

static Ref frame_overlap(Graph *g, const Node *nd, Ref a)
{
    int64_t none[MAX_RANK] = { 0 }, behind[MAX_RANK];

    a = add_up(g, nd, side_by_side(g, nd, a));
    for (int d = 0; d < nd->type.rank; d++)
        behind[d] = nd->type.dim[d] - graph_at(g, a)->type.dim[d];
    return move_frame(g, nd->loc, a, none, behind);
}

/* ---- dot ---- */

/* Sizes that make a register tile worth a copy; a fold up to so long is better taken in order, along contiguous columns. */
enum { TILE_SIDE = 16, SHORT_FOLD = 64, FEW_PRODUCTS = 512, MANY_ROWS = 512 };

/* One operand of a contraction with batch axes: these axes, and the folded ones. */
typedef struct Operand { Ref arg; int nb, nc; const int64_t *batch, *fold; } Operand;

static int64_t free_count(Graph *g, const Operand *o)
{
    const Type *t = &graph_at(g, o->arg)->type;
    int64_t     n = 1;

    for (int i = 0; i < t->rank; i++)
        if (!attr_has(o->batch, o->nb, i) && !attr_has(o->fold, o->nc, i))
            n *= t->dim[i];
    return n;
}

static int64_t fold_count(Graph *g, const Operand *o)
{
    int64_t n = 1;

    for (int i = 0; i < o->nc; i++)
        n *= graph_at(g, o->arg)->type.dim[o->fold[i]];
    return n;
}

/* The operand with its batch axes in front and, if fold_first, then the folded ones; batch and fold say where they are then.  A copy of its own,
 * unless it lies so already: rows of heads that are 512 bytes apart share a few sets of the first cache. */
static Ref laid_out(Graph *g, Loc loc, const Operand *o, bool fold_first, int64_t *batch, int64_t *fold)
{
    int     rank = graph_at(g, o->arg)->type.rank, n = 0;
    int64_t perm[MAX_RANK], from[MAX_RANK];
    bool    as_it_is = true;

    for (int i = 0; i < o->nb; i++)
        perm[n++] = o->batch[i];
    for (int i = 0; i < o->nc && fold_first; i++)
        perm[n++] = o->fold[i];
    for (int i = 0; i < rank; i++)
        if (!attr_has(perm, n, i))
            perm[n++] = i;
    for (int i = 0; i < rank; i++) {
        from[perm[i]] = i;
        as_it_is &= perm[i] == i;
    }
    for (int i = 0; i < o->nb; i++)
        batch[i] = from[o->batch[i]];
    for (int i = 0; i < o->nc; i++)
        fold[i] = from[o->fold[i]];
    if (as_it_is && op_info[graph_at(g, o->arg)->op].cls != CLASS_MOVE)
        return o->arg;
    return move_own_place(g, loc, as_it_is ? o->arg : graph_transpose(g, loc, o->arg, perm));
}

/* Many rows of a short fold along which both operands are contiguous: each result would be folded from lanes, which costs as much as a quarter of
 * its products.  With columns last instead, vectors run along them.  Only where a step is trained: elsewhere a row alone, for which a
 * copy is too much, has the bits that it has among others. */
static bool wants_columns(Graph *g, const Operand *a, const Operand *b)
{
    int last[2] = { graph_at(g, a->arg)->type.rank - 1, graph_at(g, b->arg)->type.rank - 1 };

    return g->entry == ENTRY_TRAIN && a->nb == 0 && a->nc == 1 && a->fold[0] == last[0] && b->fold[0] == last[1]
        && fold_count(g, b) <= FEW_PRODUCTS && free_count(g, a) >= MANY_ROWS && free_count(g, b) >= TILE_SIDE;
}

static Ref frame_plain_dot(Graph *g, const Node *nd, const Ref *arg)
{
    DotAxes d = nd->op == OP_dot ? attr_dot(&nd->attr) : (DotAxes){ 0 };
    Operand a = { arg[0], d.nb, d.nc, d.ab, d.ac }, b = { arg[1], d.nb, d.nc, d.bb, d.bc };
    int64_t ab[MAX_RANK], ac[MAX_RANK], bb[MAX_RANK], bc[MAX_RANK];
    Ref     in[2];

    if (nd->op == OP_dot && wants_columns(g, &a, &b)) {
        in[0] = arg[0];
        in[1] = laid_out(g, nd->loc, &b, true, bb, bc);
        return graph_make(g, OP_dot, nd->loc, 2, in, attr_dot_make(&g->m->mem, 0, NULL, NULL, 1, d.ac, bc), NULL, NULL);
    }
    if (!d.nb || free_count(g, &a) < TILE_SIDE || free_count(g, &b) < TILE_SIDE)
        return graph_clone_node(g, nd, arg);
    in[0] = laid_out(g, nd->loc, &a, false, ab, ac);
    in[1] = laid_out(g, nd->loc, &b, fold_count(g, &b) <= SHORT_FOLD, bb, bc);
    return graph_make(g, OP_dot, nd->loc, 2, in, attr_dot_make(&g->m->mem, d.nb, ab, bb, d.nc, ac, bc), NULL, NULL);
}

/* The gradients of attention in the graph that is copied. */
typedef struct Dots { const Graph *from; AttentionGradient *gradient; int n; } Dots;

/* nd is a copy of a node, with that one's arguments. */
static bool is_node(const Dots *d, const Node *nd, int id) { return d->from->node[id].arg == nd->arg; }

/* A copy of the second operand, in which the axis that is not folded comes last. */
static Ref frame_turned(Graph *g, const Node *nd, const Ref *arg)
{
    DotAxes d = attr_dot(&nd->attr);
    Operand b = { arg[1], d.nb, d.nc, d.bb, d.bc };
    int64_t bb[MAX_RANK], bc[MAX_RANK];
    Ref     in[2] = { arg[0], laid_out(g, nd->loc, &b, true, bb, bc) };

    return graph_make(g, OP_dot, nd->loc, 2, in, attr_dot_make(&g->m->mem, d.nb, d.ab, bb, d.nc, d.ac, bc), NULL, NULL);
}

/* Of an attention's gradient products stay as they are, but where vectors run along the rows of an operand. */
static bool frame_gradient_dot(Graph *g, const Node *nd, const Ref *arg, const Dots *d, Ref *out)
{
    for (int i = 0; i < d->n; i++) {
        const AttentionGradient *a = &d->gradient[i];
        bool turned = is_node(d, nd, a->score) || is_node(d, nd, a->dp);

        if (!turned && !is_node(d, nd, a->dq) && !is_node(d, nd, a->dk) && !is_node(d, nd, a->dv))
            continue;
        *out = turned ? frame_turned(g, nd, arg) : graph_clone_node(g, nd, arg);
        return true;
    }
    return false;
}

static Ref frame_dot(Graph *g, const Node *nd, const Ref *arg, void *ctx)
{
    Ref out;

    return nd->op == OP_dot && frame_gradient_dot(g, nd, arg, ctx, &out) ? out : frame_plain_dot(g, nd, arg);
}

/* ---- graphs ---- */

static bool is_computed(const Node *nd)
{
    Class cls = op_info[nd->op].cls;

    return (cls == CLASS_POINT || cls == CLASS_REDUCE || cls == CLASS_FOLD) && !lower_is_rows(nd->op);
}

static Ref frame_kept(Graph *g, const Node *nd, const Ref *arg, bool inside)
{
    int        which = nd->op == OP_next;
    Ref        a[3] = { arg[0], arg[1] };
    const bool is_end = nd->op == OP_stack && arg[0].id == arg[1].id;

    if (nd->op == OP_next)
        a[2] = arg[2];
    if (nd->op == OP_stack && !inside)
        return graph_expand(g, nd->loc, arg[0], 1, &nd->attr.v[SCAN_AXIS], &nd->attr.v[SCAN_STEPS]);
    if (!is_computed(graph_at(g, a[which])))
        a[which] = move_own_place(g, nd->loc, a[which]);
    if (is_end)
        a[1] = a[0];
    return graph_clone_node(g, nd, a);
}

static bool is_in_body(const Node *nd, const int *scan)
{
    bool inside = nd->op == OP_element || nd->op == OP_carry;

    for (int i = 0; i < nd->narg && !scan_is_result(nd->op); i++)
        inside |= scan[nd->arg[i].id] > 0;
    return inside;
}

/* scan of each node of the graph before; plain: for a GPU, whose threads need no neighbours made for them. */
typedef struct Frame { const int *scan; const Limits *limits; bool plain; } Frame;

static Ref frame_node(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    const Frame *f = ctx;
    const int   *scan = f->scan;

    if (f->plain && lower_is_attention(nd->op))
        return attention_fits(f->limits, to, nd->op, arg) ? graph_clone_node(to, nd, arg) : attention_written(to, nd, arg);
    /* its copy too, since nothing may be added to a body behind what leaves it; who needs none leaves it dead */
    if (is_in_body(nd, scan) && !is_computed(nd) && nd->op != OP_next) {
        Ref r = graph_clone_node(to, nd, arg);

        move_own_place(to, nd->loc, r);
        return r;
    }
    if (nd->op == OP_next || nd->op == OP_stack)
        return frame_kept(to, nd, arg, scan[nd->arg[0].id] > 0);
    if (nd->op == OP_conv)
        return frame_conv(to, nd, arg, f->plain);
    if (nd->op == OP_overlap)
        return frame_overlap(to, nd, arg[0]);
    if (lower_is_attention(nd->op))
        return attention_laid_out(to, nd, arg);
    return graph_clone_node(to, nd, arg);
}

static void copy_written(Graph *g)
{
    for (int i = 0; i < g->nwrite; i++) {
        Ref *value = &g->write[i].value;

        if (lower_is_rows(graph_at(g, *value)->op))
            *value = move_own_place(g, g->write[i].loc, *value);
    }
}

void frame(Module *m, const PassOptions *o)
{
    for (int i = 0; i < m->ngraph; i++) {
        Frame f = { scan_of_nodes(m->graph[i]), &o->limits, o->limits.warp != 0 };

        m->graph[i] = graph_copy(m->graph[i], frame_node, &f);
        copy_written(m->graph[i]);
        if (f.plain)
            continue;
        Dots dots = { .from = m->graph[i] };

        dots.n = attention_gradients(m->graph[i], &dots.gradient);
        m->graph[i] = graph_copy(m->graph[i], frame_dot, &dots);
    }
}
