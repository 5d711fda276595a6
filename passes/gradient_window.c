/* gradient_window.c - gradients of what looks at neighbours: slices, pads, windows, convolutions, rows by number. */
#include "passes/gradient_rows.h"
#include "passes/move.h"

/* Elements go back to where they were taken; a slice that left some out puts zeros there. */
void grad_slice(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Type    a = arg_type(g, nd, 0);
    int64_t before[MAX_RANK], behind[MAX_RANK];

    (void)y, (void)want;
    for (int i = 0; i < a.rank; i++) {
        int64_t start = nd->attr.v[3 * i], step = nd->attr.v[3 * i + 1], count = nd->attr.v[3 * i + 2];
        int64_t last = start + step * (count - 1), least = step < 0 ? last : start, most = step < 0 ? start : last;

        if (step < 0)
            adj = move_reverse(g, nd->loc, adj, i);
        adj = move_dilate(g, nd->loc, adj, i, count == 1 ? 1 : step < 0 ? -step : step);
        before[i] = least;
        behind[i] = a.dim[i] - 1 - most;
    }
    out[0] = move_frame(g, nd->loc, adj, before, behind);
}

void grad_pad(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Type a = arg_type(g, nd, 0);

    (void)y, (void)want;
    for (int i = 0; i < a.rank; i++)
        adj = move_slice(g, nd->loc, adj, i, nd->attr.v[2 * i], 1, a.dim[i]);
    out[0] = adj;
}

void grad_window(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Type    a = arg_type(g, nd, 0);
    int64_t v[5 * MAX_RANK];
    int     n = nd->attr.n / 4;

    (void)y, (void)want;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < 4; j++)
            v[5 * i + j] = nd->attr.v[4 * i + j];
        v[5 * i + 4] = a.dim[v[5 * i]];
    }
    out[0] = graph_make(g, OP_overlap, nd->loc, 1, &adj, (Attr){ 5 * n, v }, NULL, NULL);
}

void grad_overlap(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    int64_t v[4 * MAX_RANK];
    int     n = nd->attr.n / 5;

    (void)y, (void)want;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < 4; j++)
            v[4 * i + j] = nd->attr.v[5 * i + j];
    out[0] = graph_make(g, OP_window, nd->loc, 1, &adj, (Attr){ 4 * n, v }, NULL, NULL);
}

void grad_cumsum(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    int axis = (int)nd->attr.v[0];
    Ref from_end = move_reverse(g, nd->loc, adj, axis);

    (void)y, (void)want;
    from_end = graph_make(g, OP_cumsum, nd->loc, 1, &from_end, nd->attr, NULL, NULL);
    out[0] = move_reverse(g, nd->loc, from_end, axis);
}

/* The place of each element of a among the axes, in row-major order. */
static Ref flat_place(Graph *g, Loc loc, const Type *a, const Attr *axes)
{
    Type    t = ty_with(*a, DT_i32);
    int64_t by = 1;
    Ref     sum = { 0 };

    for (int i = axes->n - 1; i >= 0; i--) {
        Ref at = graph_make(g, OP_iota, loc, 0, NULL, (Attr){ 1, axes->v + i }, &t, NULL);

        if (by > 1)
            at = graph_op2(g, OP_mul, loc, at, graph_const(g, loc, t, (double)by));
        sum = sum.id ? graph_op2(g, OP_add, loc, at, sum) : at;
        by *= a->dim[axes->v[i]];
    }
    return sum.id ? sum : graph_const(g, loc, t, 0);
}

void grad_first(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Type a = arg_type(g, nd, 0);
    Loc  loc = nd->loc;

    (void)y, (void)want;
    if (nd->attr.n == 0) {
        out[0] = adj;
        return;
    }
    int64_t v[2 * MAX_RANK];
    Ref     arg[2] = { adj, graph_make(g, OP_argmax, loc, 1, nd->arg, nd->attr, NULL, NULL) };

    for (int i = 0; i < nd->attr.n; i++) {
        v[i] = nd->attr.v[i];
        v[nd->attr.n + i] = a.dim[v[i]];
    }
    out[0] = graph_make(g, OP_put, loc, 2, arg, (Attr){ 2 * nd->attr.n, v }, NULL, NULL);
}

void grad_put(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Attr axes = { nd->attr.n / 2, nd->attr.v };
    Loc  loc = nd->loc;

    (void)y;
    if (!want[0])
        return;
    Ref hit = graph_op2(g, OP_eq, loc, expand_over(g, loc, nd->arg[1], &nd->type, &axes), flat_place(g, loc, &nd->type, &axes));

    out[0] = graph_axes(g, OP_sum, loc, graph_op3(g, OP_select, loc, hit, adj, graph_const(g, loc, nd->type, 0)), axes.n, axes.v);
}

/* ---- rows by number ---- */

void grad_gather(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    int64_t nb = nd->attr.v[0], v[2] = { nb, arg_type(g, nd, 0).dim[nb] };
    Ref     arg[2] = { nd->arg[1], adj };

    (void)y;
    if (want[0])
        out[0] = graph_make(g, OP_scatter, nd->loc, 2, arg, (Attr){ 2, v }, NULL, NULL);
}

void grad_scatter(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Ref arg[2] = { adj, nd->arg[0] };

    (void)y;
    if (want[1])
        out[1] = graph_make(g, OP_gather, nd->loc, 2, arg, (Attr){ 1, nd->attr.v }, NULL, NULL);
}

/* ---- conv ----
 *
 * With sizes I of x, O of the result and K of w along an axis, x and w meet where
 *     o * stride + k * dilate_w - before == i * dilate_x.
 * Solved for the two others, that is a convolution again: of the adjoint dilated by stride with w turned around, and of
 * x with the adjoint, whose elements stand stride apart.  The padding behind is what makes the result as long as it is.
 */

static Ref swap_axes(Graph *g, Loc loc, Ref a, int64_t first, int64_t second, int64_t third)
{
    int64_t perm[MAX_RANK] = { first, second, third };

    for (int i = 3; i < MAX_RANK; i++)
        perm[i] = i;
    return graph_transpose(g, loc, a, perm);
}

static Ref make_conv(Graph *g, const Node *nd, Ref x, Ref w, const int64_t *v)
{
    Ref arg[2] = { x, w };

    return graph_make(g, OP_conv, nd->loc, 2, arg, (Attr){ nd->attr.n, v }, NULL, NULL);
}

static Ref conv_x(Graph *g, const Node *nd, Ref adj)
{
    Type    x = arg_type(g, nd, 0), w = arg_type(g, nd, 1);
    Ref     turned = swap_axes(g, nd->loc, nd->arg[1], 0, 2, 1);
    int64_t v[5 * MAX_RANK];

    for (int i = 0; i < x.rank - 3; i++) {
        ConvAxis c = attr_conv(&nd->attr, i);
        int64_t  k = span(w.dim[3 + i], c.dilate_w), before = k - 1 - c.before;
        int64_t  behind = span(x.dim[3 + i], c.dilate_x) - 1 - before + k - span(nd->type.dim[3 + i], c.stride);
        int64_t  axis[5] = { c.dilate_x, before, behind, c.stride, c.dilate_w };

        turned = move_reverse(g, nd->loc, turned, 3 + i);
        for (int j = 0; j < 5; j++)
            v[5 * i + j] = axis[j];
    }
    return make_conv(g, nd, adj, turned, v);
}

static Ref conv_w(Graph *g, const Node *nd, Ref adj)
{
    Type    x = arg_type(g, nd, 0), w = arg_type(g, nd, 1);
    int64_t v[5 * MAX_RANK];

    for (int i = 0; i < x.rank - 3; i++) {
        ConvAxis c = attr_conv(&nd->attr, i);
        int64_t  behind = span(w.dim[3 + i], c.dilate_w) - 1 + span(nd->type.dim[3 + i], c.stride)
                        - span(x.dim[3 + i], c.dilate_x) - c.before;
        int64_t  axis[5] = { c.dilate_w, c.before, behind, c.dilate_x, c.stride };

        for (int j = 0; j < 5; j++)
            v[5 * i + j] = axis[j];
    }
    Ref channels = swap_axes(g, nd->loc, nd->arg[0], 2, 1, 0), results = swap_axes(g, nd->loc, adj, 1, 2, 0);

    return swap_axes(g, nd->loc, make_conv(g, nd, channels, results, v), 1, 2, 0);
}

void grad_conv(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    (void)y;
    if (want[0])
        out[0] = conv_x(g, nd, adj);
    if (want[1])
        out[1] = conv_w(g, nd, adj);
}
