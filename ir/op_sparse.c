/* op_sparse.c - type rules of values that stand at one place among several, and of products with them.
 *
 * A patch is what one value of g meets: along each axis, value p at the place j among `window` meets tap k at
 *
 *     p * step + j * apart + k * tap,      which is below `size` for all of them.
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

PatchAxis attr_patch(const Attr *a, int axis)
{
    const int64_t *v = a->v + attr_group(ATTR_PATCH) * axis;

    return (PatchAxis){ v[0], v[1], v[2], v[3], v[4], v[5] };
}

int64_t patch_places(const Attr *a)
{
    int64_t n = 1;

    for (int i = 0; i < a->n / attr_group(ATTR_PATCH); i++)
        n *= attr_patch(a, i).window;
    return n;
}

/* Every number is at least 1 and at most 2^30, so a sum of three products of two of them fits. */
static bool axis_fits(Infer *in, int i, int64_t values)
{
    const int64_t most = (int64_t)1 << 30;
    PatchAxis     x = attr_patch(in->attr, i);

    for (int j = 0; j < 6; j++)
        if (in->attr->v[6 * i + j] < 1 || in->attr->v[6 * i + j] > most) {
            infer_error(in, "axis %d: %" PRId64 " is no number from 1 to 2^30", i, in->attr->v[6 * i + j]);
            return false;
        }
    if (values > most || (values - 1) * x.step + (x.window - 1) * x.apart + (x.taps - 1) * x.tap < x.size)
        return true;
    infer_error(in, "axis %d: %" PRId64 " patches reach beyond %" PRId64, i, values, x.size);
    return false;
}

/* g [N, P..., O] and at of the same axes; d is how many axes P has. */
static bool values_fit(Infer *in, int d)
{
    const Type *g = &in->arg[0], *at = &in->arg[1];
    int64_t     places = 1;

    if (!dt_is_float(g->dtype) || in->arg[2].dtype != g->dtype || at->dtype != DT_i32 || !ty_same_shape(g, at))
        infer_error(in, "wants f32 or f64 and as many i32, got %s by %s", infer_str(in, 0), infer_str(in, 1));
    else if (d < 1 || g->rank != d + 2 || in->arg[2].rank != d + 2)
        infer_error(in, "wants %d axes of %s and %s, got an attribute for %d", d + 2, infer_str(in, 0), infer_str(in, 2), d);
    for (int i = 0; !in->error && i < d; i++)
        if (axis_fits(in, i, g->dim[1 + i]) && __builtin_mul_overflow(places, attr_patch(in->attr, i).window, &places))
            infer_error(in, "wants windows with as many places as an i32 can count");
    if (!in->error && places > INT32_MAX)
        infer_error(in, "wants windows with as many places as an i32 can count");
    return !in->error;
}

/* w [O, K..., C] gives [N, X..., C] */
Type type_spread(Infer *in)
{
    int  d = in->attr->n / attr_group(ATTR_PATCH);
    Type t = in->arg[2];

    if (!values_fit(in, d))
        return no_type;
    if (t.dim[0] != in->arg[0].dim[d + 1])
        return infer_error(in, "%s and %s differ in the number of channels", infer_str(in, 0), infer_str(in, 2));
    t.dim[0] = in->arg[0].dim[0];
    for (int i = 0; i < d; i++) {
        if (t.dim[1 + i] != attr_patch(in->attr, i).taps)
            return infer_error(in, "%s has not the taps of its attribute", infer_str(in, 2));
        t.dim[1 + i] = attr_patch(in->attr, i).size;
    }
    return ty_valid(&t) ? t : infer_error(in, "its result is too large");
}

/* x [N, X..., C] gives [O, K..., C] */
Type type_collect(Infer *in)
{
    int  d = in->attr->n / attr_group(ATTR_PATCH);
    Type t = in->arg[2];

    if (!values_fit(in, d))
        return no_type;
    if (t.dim[0] != in->arg[0].dim[0])
        return infer_error(in, "%s and %s differ in the batch", infer_str(in, 0), infer_str(in, 2));
    t.dim[0] = in->arg[0].dim[d + 1];
    for (int i = 0; i < d; i++) {
        if (t.dim[1 + i] != attr_patch(in->attr, i).size)
            return infer_error(in, "%s has not the sizes of its attribute", infer_str(in, 2));
        t.dim[1 + i] = attr_patch(in->attr, i).taps;
    }
    return ty_valid(&t) ? t : infer_error(in, "its result is too large");
}
