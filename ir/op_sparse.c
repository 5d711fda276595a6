/* op_sparse.c - type rules of values that stand at one place among several, and of products with them.
 *
 * A patch is what one value of g meets, rows of [X...]: `at`, where its first tap falls, and from there on, along each axis, k * tap for each
 * of its taps.  The values of a spread stand in windows: along each axis, value p's first tap falls on p * step + j * apart for a j below
 * `window`, and patches lie inside `size`; where `at` is no such row, nothing stands.  The rows of a collect are clamped so that patches lie inside.
 */
#include <inttypes.h>

#include "ir/op_rules.h"

static const Type no_type = { .rank = -1 };

Type type_put(Infer *in)
{
    const Type *a = &in->arg[0], *at = &in->arg[1];
    Type        t;

    if (!is_numeric(a->dtype) || at->dtype != DT_i32 || !ty_same_shape(a, at))
        return infer_error(in, "wants numbers and as many i32, got %s by %s", infer_str(in, 0), infer_str(in, 1));
    t = type_expand(in);
    if (t.rank >= 0 && (!ty_valid(&t) || ty_count(&t) / ty_count(a) > INT32_MAX))
        return infer_error(in, "wants axes with as many places as an i32 can count");
    return t;
}

int patch_axes(Op op, const Attr *a) { return a->n / attr_group(op_info[op].attr); }

PatchAxis attr_patch(Op op, const Attr *a, int axis)
{
    const int64_t *v = a->v + attr_group(op_info[op].attr) * axis;

    return op == OP_spread ? (PatchAxis){ v[0], v[1], v[2], v[3], v[4], v[5] } : (PatchAxis){ 1, 1, 1, v[0], v[1], v[2] };
}

/* Every number is at least 1 and at most 2^30, so a sum of three products of two of them fits. */
static bool axis_fits(Infer *in, int i, int64_t values)
{
    const int64_t most = (int64_t)1 << 30;
    int           group = attr_group(op_info[in->op].attr);
    PatchAxis     x = attr_patch(in->op, in->attr, i);

    for (int j = group * i; j < group * (i + 1); j++)
        if (in->attr->v[j] < 1 || in->attr->v[j] > most) {
            infer_error(in, "axis %d: %" PRId64 " is no number from 1 to 2^30", i, in->attr->v[j]);
            return false;
        }
    if (values <= most && (values - 1) * x.step + (x.window - 1) * x.apart + (x.taps - 1) * x.tap < x.size)
        return true;
    infer_error(in, "axis %d: patches reach beyond %" PRId64, i, x.size);
    return false;
}

/* g and at of the same axes, and a third argument with d + 2 axes. */
static bool values_fit(Infer *in, int d)
{
    const Type *g = &in->arg[0], *at = &in->arg[1];
    int64_t     places = 1;
    bool        spreads = in->op == OP_spread;

    if (!dt_is_float(g->dtype) || in->arg[2].dtype != g->dtype || at->dtype != DT_i32 || !ty_same_shape(g, at))
        infer_error(in, "wants f32 or f64 and as many i32, got %s by %s", infer_str(in, 0), infer_str(in, 1));
    else if (d < 1 || g->rank != (spreads ? d + 2 : 4) || in->arg[2].rank != d + 2)
        infer_error(in, "wants values and %d axes, got %s by %s", d + 2, infer_str(in, 0), infer_str(in, 2));
    for (int i = 0; !in->error && i < d; i++)
        if (axis_fits(in, i, spreads ? g->dim[1 + i] : 1)
            && (__builtin_mul_overflow(places, attr_patch(in->op, in->attr, i).size, &places) || places > INT32_MAX))
            infer_error(in, "wants as many rows as an i32 can count");
    return !in->error;
}

/* w [O, K..., C] gives [N, X..., C] */
Type type_spread(Infer *in)
{
    int  d = patch_axes(in->op, in->attr);
    Type t = in->arg[2];

    if (!values_fit(in, d))
        return no_type;
    if (t.dim[0] != in->arg[0].dim[d + 1])
        return infer_error(in, "%s and %s differ in the number of channels", infer_str(in, 0), infer_str(in, 2));
    t.dim[0] = in->arg[0].dim[0];
    for (int i = 0; i < d; i++) {
        if (t.dim[1 + i] != attr_patch(in->op, in->attr, i).taps)
            return infer_error(in, "%s has not the taps of its attribute", infer_str(in, 2));
        t.dim[1 + i] = attr_patch(in->op, in->attr, i).size;
    }
    return ty_valid(&t) ? t : infer_error(in, "its result is too large");
}

/* x [N, X..., C] gives [O, K..., C] */
Type type_collect(Infer *in)
{
    int  d = patch_axes(in->op, in->attr);
    Type t = in->arg[2];

    if (!values_fit(in, d))
        return no_type;
    if (t.dim[0] != in->arg[0].dim[0])
        return infer_error(in, "%s and %s differ in the batch", infer_str(in, 0), infer_str(in, 2));
    t.dim[0] = in->arg[0].dim[2];
    for (int i = 0; i < d; i++) {
        if (t.dim[1 + i] != attr_patch(in->op, in->attr, i).size)
            return infer_error(in, "%s has not the sizes of its attribute", infer_str(in, 2));
        t.dim[1 + i] = attr_patch(in->op, in->attr, i).taps;
    }
    return ty_valid(&t) ? t : infer_error(in, "its result is too large");
}
