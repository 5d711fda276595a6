/* build_window.c - builtins that look at neighbours: slices, pads, joins, windows, convolutions, rows by number.
 *
 * None of them cuts or lengthens the batch, whose size is the caller's choice; the type rules of ir/op_window.c say
 * what else does not fit.
 */
#include "frontend/build_builtin.h"

#include <math.h>
#include <string.h>

/* ---- arguments ---- */

static Value node_of(Build *b, const Expr *e, Op op, int narg, const Ref *arg, int n, const int64_t *attr)
{
    return value_node(b, build_make(b, op, e->name_loc, narg, arg, n, attr, NULL), e->loc);
}

static bool fixed_axis(Build *b, const Expr *e, const Type *t, int64_t axis)
{
    Value size = value_size(b, t->dim[axis]);

    return build_fixed(b, e->loc, arena_printf(&b->md->mem, "%s: the size of axis %lld", e->name, (long long)axis), &size);
}

/* The argument x and the axes that the call names, none of them the batch. */
static Value with_axes(Build *b, const Expr *e, int *n, int64_t *axis)
{
    const Expr *which = argument(e, "axis", 1);
    Value v = argument_tensor(b, e, "x", 0);

    if (!v.kind)
        return v;
    if (!which)
        return build_error(b, e->loc, "%s: `axis` is missing", e->name);
    if (!axis_order(b, which, value_type(b, &v)->rank, n, axis))
        return (Value){ 0 };
    for (int i = 0; i < *n; i++)
        if (!fixed_axis(b, e, value_type(b, &v), axis[i]))
            return (Value){ 0 };
    return v;
}

/* The same for one axis. */
static Value with_axis(Build *b, const Expr *e, int64_t *axis)
{
    int64_t list[MAX_RANK];
    int n = 0;
    Value v = with_axes(b, e, &n, list);

    if (v.kind && n != 1)
        return build_error(b, argument(e, "axis", 1)->loc, "%s wants one axis, got %d", e->name, n);
    *axis = list[0];
    return v;
}

static bool given(Build *b, const Expr *e, const char *name, int place)
{
    if (argument(e, name, place))
        return true;
    build_error(b, e->loc, "%s: `%s` is missing", e->name, name);
    return false;
}

/* ---- slices ---- */

/* Every axis whole: start, step, count. */
static void whole(const Type *t, int64_t *attr)
{
    for (int i = 0; i < t->rank; i++) {
        attr[3 * i] = 0;
        attr[3 * i + 1] = 1;
        attr[3 * i + 2] = t->dim[i];
    }
}

static Value cut(Build *b, const Expr *e, const Value *v, int64_t axis, int64_t from, int64_t step, int64_t count)
{
    const Type *t = value_type(b, v);
    int64_t attr[3 * MAX_RANK];

    whole(t, attr);
    attr[3 * axis] = from;
    attr[3 * axis + 1] = step;
    attr[3 * axis + 2] = count;
    return node_of(b, e, OP_slice, 1, &v->ref, 3 * t->rank, attr);
}

/* slice(x, axis, from: 0, to: its size, step: 1): up to `to`, without it; negative numbers count from the end */
Value build_slice(Build *b, const Expr *e, Op op)
{
    int64_t axis = 0, size, from = 0, to, step = 1, begin, end;
    Value v = with_axis(b, e, &axis);

    (void)op;
    if (!v.kind)
        return v;
    size = to = value_type(b, &v)->dim[axis];
    if (!argument_int(b, e, "from", 2, &from) || !argument_int(b, e, "to", 3, &to) || !argument_int(b, e, "step", 4, &step))
        return (Value){ 0 };
    begin = from + (from < 0 ? size : 0);
    end = to + (to < 0 ? size : 0);
    if (begin < 0 || end > size || begin >= end)
        return build_error(b, e->loc, "slice: an axis of %lld has no elements from %lld up to %lld", (long long)size, (long long)from,
                           (long long)to);
    if (step < 1)
        return build_error(b, e->loc, "slice: a step is at least 1, got %lld; reverse(x, axis) turns an axis around", (long long)step);
    return cut(b, e, &v, axis, begin, step, (end - begin - 1) / step + 1);
}

/* part(x, axis, i, n): the i-th of n equal parts */
Value build_part(Build *b, const Expr *e, Op op)
{
    int64_t axis = 0, size, index = 0, count = 0;
    Value v = with_axis(b, e, &axis);

    (void)op;
    if (!v.kind || !given(b, e, "index", 2) || !given(b, e, "count", 3) || !argument_int(b, e, "index", 2, &index)
        || !argument_int(b, e, "count", 3, &count))
        return (Value){ 0 };
    size = value_type(b, &v)->dim[axis];
    if (count < 1 || size % count)
        return build_error(b, e->loc, "part: an axis of %lld has no %lld equal parts", (long long)size, (long long)count);
    if (index < 0 || index >= count)
        return build_error(b, e->loc, "part: there is no part %lld of %lld, they count from 0", (long long)index, (long long)count);
    return cut(b, e, &v, axis, index * (size / count), 1, size / count);
}

/* reverse(x, axes): the rows of a batch, too */
Value build_reverse(Build *b, const Expr *e, Op op)
{
    int64_t axis[MAX_RANK], attr[3 * MAX_RANK];
    Value v = argument_tensor(b, e, "x", 0);
    int n;

    if (!v.kind || !given(b, e, "axis", 1) || !axis_order(b, argument(e, "axis", 1), value_type(b, &v)->rank, &n, axis))
        return (Value){ 0 };
    whole(value_type(b, &v), attr);
    for (int i = 0; i < n; i++) {
        attr[3 * axis[i]] = value_type(b, &v)->dim[axis[i]] - 1;
        attr[3 * axis[i] + 1] = -1;
    }
    return node_of(b, e, op, 1, &v.ref, 3 * value_type(b, &v)->rank, attr);
}

/* ---- pads and joins ---- */

static Ref padded(Build *b, Loc at, Ref x, const int64_t *before, const int64_t *behind, double value)
{
    int64_t attr[2 * MAX_RANK + 1];
    int rank = graph_at(b->g, x)->type.rank;

    for (int i = 0; i < rank; i++) {
        attr[2 * i] = before[i];
        attr[2 * i + 1] = behind[i];
    }
    memcpy(&attr[2 * rank], &value, sizeof value);
    return build_make(b, OP_pad, at, 1, &x, 2 * rank + 1, attr, NULL);
}

/* What a pad is filled with: a number that is known now, of x's dtype. */
static bool pad_value(Build *b, const Expr *e, const Value *x, double *value)
{
    const Expr *a = argument(e, "value", 4);
    Value v;

    *value = 0;
    if (!a)
        return true;
    v = build_value(b, a);
    if (v.kind && v.kind != VAL_NUMBER)
        build_error(b, a->loc, "pad: `value` wants a number, got %s", build_describe(b, &v));
    if (v.kind != VAL_NUMBER || !build_fixed(b, a->loc, "pad: `value`", &v))
        return false;
    *value = v.number;
    return build_node_of(b, a->loc, &v, &(Type){ .dtype = value_type(b, x)->dtype }).kind;
}

/* pad(x, axes, before, behind, value: 0) */
Value build_pad(Build *b, const Expr *e, Op op)
{
    int64_t axis[MAX_RANK], more[2][MAX_RANK], all[2][MAX_RANK] = { { 0 } };
    double value;
    int n;
    Value v = with_axes(b, e, &n, axis);

    (void)op;
    if (!v.kind || !given(b, e, "before", 2) || !given(b, e, "behind", 3) || !argument_ints(b, e, "before", 2, n, more[0])
        || !argument_ints(b, e, "behind", 3, n, more[1]) || !pad_value(b, e, &v, &value))
        return (Value){ 0 };
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < n; i++)
            all[side][axis[i]] = more[side][i];
    return value_node(b, padded(b, e->name_loc, v.ref, all[0], all[1], value), e->loc);
}

/* The tensors of concat and stack: of one type but along the axis.  total: their sizes there together. */
static bool joined(Build *b, const Expr *e, const Ref *x, const Expr **place, int n, int64_t axis, int64_t *total)
{
    bool of_batch = false;

    *total = 0;
    for (int i = 0; i < n; i++) {
        Type t = graph_at(b->g, x[i])->type, first = graph_at(b->g, x[0])->type, same = t;

        if (same.rank == first.rank)
            same.dim[axis] = first.dim[axis];
        if (!ty_equal(&same, &first)) {
            build_error(b, place[i]->loc, "%s: %s and %s differ in more than axis %lld", e->name, ty_str_in(b->m, &first),
                        ty_str_in(b->m, &t), (long long)axis);
            return false;
        }
        if (__builtin_add_overflow(*total, t.dim[axis], total)) {
            build_error(b, e->loc, "%s: the sizes together are too large", e->name);
            return false;
        }
        of_batch |= value_size(b, t.dim[axis]).of_batch;
    }
    return !of_batch || value_size(b, *total).of_batch
        || build_fixed(b, e->loc, arena_printf(&b->md->mem, "%s: the size of axis %lld", e->name, (long long)axis), &(Value){ .of_batch = true });
}

/* Each tensor in its place among n, and then the choice by place: no sum, which would lose the sign of -0. */
static Value join(Build *b, const Expr *e, const Ref *x, const Expr **place, int n, int64_t axis)
{
    int64_t total, at = 0, before[MAX_RANK] = { 0 }, behind[MAX_RANK] = { 0 };
    Ref r = { 0 };

    if (!joined(b, e, x, place, n, axis, &total))
        return (Value){ 0 };
    for (int i = 0; i < n; i++) {
        int64_t size = graph_at(b->g, x[i])->type.dim[axis];

        before[axis] = at;
        behind[axis] = total - at - size;
        Ref own = padded(b, e->name_loc, x[i], before, behind, 0);

        if (!own.id)
            return (Value){ 0 };
        if (i) {
            Type counts = ty_with(graph_at(b->g, own)->type, DT_i32);
            Ref index = build_make(b, OP_iota, e->name_loc, 0, NULL, 1, &axis, &counts);

            r = graph_op3(b->g, OP_select, e->name_loc,
                          graph_op2(b->g, OP_lt, e->name_loc, index, graph_const(b->g, e->name_loc, counts, (double)at)), r, own);
        } else {
            r = own;
        }
        at += size;
    }
    return value_node(b, r, e->loc);
}

/* The tensors that stand in order; how many there are, or 0 after a mistake. */
static int tensors(Build *b, const Expr *e, Ref **x, const Expr ***place)
{
    int n = 0;

    *x = arena_array(&b->md->mem, Ref, e->narg + 1);
    *place = arena_array(&b->md->mem, const Expr *, e->narg + 1);
    for (int i = 0; i < e->narg; i++) {
        if (e->argname && e->argname[i])
            continue;
        Value v = argument_tensor(b, e, "x", n);

        if (!v.kind)
            return 0;
        (*place)[n] = e->arg[i];
        (*x)[n++] = v.ref;
    }
    if (!n)
        build_error(b, e->loc, "%s wants tensors", e->name);
    return n;
}

/* concat(a, b, ..., axis: 0) */
Value build_concat(Build *b, const Expr *e, Op op)
{
    const Expr *which = argument(e, "axis", e->narg), **place;
    int64_t axis = 0;
    Ref *x;
    int n = tensors(b, e, &x, &place), rank = n ? graph_at(b->g, x[0])->type.rank : 0;

    (void)op;
    if (!n || (which && !one_axis(b, which, rank, &axis)))
        return (Value){ 0 };
    if (!rank)
        return build_error(b, e->loc, "concat wants tensors with an axis; stack(a, b) makes one of numbers");
    return join(b, e, x, place, n, axis);
}

/* stack(a, b, ..., axis: 0): equal types, a new axis */
Value build_stack(Build *b, const Expr *e, Op op)
{
    const Expr *which = argument(e, "axis", e->narg), **place;
    int64_t axis = 0, one = 1;
    Ref *x;
    int n = tensors(b, e, &x, &place), rank = n ? graph_at(b->g, x[0])->type.rank : 0;

    (void)op;
    if (!n || (which && !one_axis(b, which, rank + 1, &axis)))
        return (Value){ 0 };
    for (int i = 0; i < n; i++) {
        if (!ty_equal(&graph_at(b->g, x[i])->type, &graph_at(b->g, x[0])->type))
            return build_error(b, place[i]->loc, "stack: %s and %s differ", ty_str_in(b->m, &graph_at(b->g, x[0])->type),
                               ty_str_in(b->m, &graph_at(b->g, x[i])->type));
    }
    for (int i = 0; i < n; i++)
        if (!(x[i] = build_make(b, OP_expand, e->name_loc, 1, &x[i], 2, (int64_t[]){ axis, one }, NULL)).id)
            return (Value){ 0 };
    return join(b, e, x, place, n, axis);
}

/* ---- windows and convolutions ---- */

/* window(x, axes, size, stride: 1, dilation: 1): the places within a window are axes at the end, in the order of the axes */
Value build_window(Build *b, const Expr *e, Op op)
{
    int64_t axis[MAX_RANK], size[MAX_RANK], stride[MAX_RANK], dilation[MAX_RANK], attr[4 * MAX_RANK];
    int n, at = 0;
    Value v = with_axes(b, e, &n, axis);

    for (int i = 0; i < MAX_RANK; i++)
        stride[i] = dilation[i] = 1;
    if (!v.kind || !given(b, e, "size", 2) || !argument_ints(b, e, "size", 2, n, size)
        || !argument_ints(b, e, "stride", 3, n, stride) || !argument_ints(b, e, "dilation", 4, n, dilation))
        return (Value){ 0 };
    for (int k = 0; k < value_type(b, &v)->rank; k++)
        for (int i = 0; i < n; i++)
            if (axis[i] == k) {
                attr[at++] = k;
                attr[at++] = size[i];
                attr[at++] = stride[i];
                attr[at++] = dilation[i];
            }
    return node_of(b, e, op, 1, &v.ref, at, attr);
}

/* conv(x, w): x [N, G, C, ...] with w [G, O, C, ...] gives [N, G, O, ...] */
Value build_conv(Build *b, const Expr *e, Op op)
{
    static const char *const names[] = { "stride", "padding", "padding_behind", "dilation_x", "dilation" };
    int64_t number[5][MAX_RANK], attr[5 * MAX_RANK];
    Value x = argument_tensor(b, e, "x", 0), w = x.kind ? argument_tensor(b, e, "w", 1) : x;
    int n = x.kind ? value_type(b, &x)->rank - 3 : 0;

    if (!x.kind || !w.kind)
        return (Value){ 0 };
    if (n < 1)
        return build_error(b, e->loc, "conv wants [N, G, C, ...] and [G, O, C, ...], groups G and channels C, got %s",
                           build_describe(b, &x));
    for (int k = 0; k < 5; k++) {
        for (int i = 0; i < n; i++)
            number[k][i] = k == 2 ? number[1][i] : k != 1;
        if (!argument_ints(b, e, names[k], 2 + k, n, number[k]))
            return (Value){ 0 };
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 5; k++)
            attr[5 * i + k] = number[k][i];
    return node_of(b, e, op, 2, (Ref[]){ x.ref, w.ref }, 5 * n, attr);
}

/* ---- rows by number ---- */

/* gather(x, numbers, axis: 0): x [B..., V, R...] and numbers [B..., I...] give [B..., I..., R...], V at the axis */
Value build_gather(Build *b, const Expr *e, Op op)
{
    const Expr *which = argument(e, "axis", 2);
    int64_t axis = 0;
    Value x = argument_tensor(b, e, "x", 0), at = x.kind ? argument_tensor(b, e, "numbers", 1) : x, r;

    if (!x.kind || !at.kind || (which && !one_axis(b, which, value_type(b, &x)->rank, &axis)))
        return (Value){ 0 };
    r = node_of(b, e, op, 2, (Ref[]){ x.ref, at.ref }, 1, &axis);
    Value rows = r.kind ? value_size(b, value_type(b, &x)->dim[axis]) : r;

    if (r.kind && !rows.of_batch)
        bound_field(b, at.ref, rows.integer);
    return r;
}

/* scatter_add(x, numbers, size, axis: 0): x [B..., I..., R...] and numbers [B..., I...] give [B..., size, R...] */
Value build_scatter(Build *b, const Expr *e, Op op)
{
    const Expr *which = argument(e, "axis", 3);
    int64_t attr[2] = { 0, 0 };
    Value x = argument_tensor(b, e, "x", 0), at = x.kind ? argument_tensor(b, e, "numbers", 1) : x, r;

    if (!x.kind || !at.kind || !given(b, e, "size", 2) || !argument_int(b, e, "size", 2, &attr[1])
        || (which && !one_axis(b, which, value_type(b, &at)->rank + 1, &attr[0])))
        return (Value){ 0 };
    if (attr[1] < 1)
        return build_error(b, e->loc, "scatter_add: `size` is at least 1, got %lld", (long long)attr[1]);
    r = node_of(b, e, op, 2, (Ref[]){ at.ref, x.ref }, 2, attr);
    if (r.kind)
        bound_field(b, at.ref, attr[1]);
    return r;
}

/* cumsum(x, axis): running sums */
Value build_cumsum(Build *b, const Expr *e, Op op)
{
    int64_t axis;
    Value v = argument_tensor(b, e, "x", 0);

    if (!v.kind || !given(b, e, "axis", 1) || !one_axis(b, argument(e, "axis", 1), value_type(b, &v)->rank, &axis))
        return (Value){ 0 };
    return node_of(b, e, op, 1, &v.ref, 1, &axis);
}
