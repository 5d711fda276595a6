/* op_window.c - type rules of what looks at neighbours: slices, pads, windows, convolutions, rows by number, attention.
 *
 * Every number of an attribute may come from a file, so each is bounded before it meets another one: LIMIT keeps
 * products of two of them within 64 bits.
 */
#include <inttypes.h>
#include <string.h>

#include "ir/op_rules.h"

static const int64_t LIMIT = (int64_t)1 << 30;

static const Type no_type = { .rank = -1 };

int attr_group(AttrKind kind)
{
    switch (kind) {
    case ATTR_SLICE:   return 3;
    case ATTR_PAD:     return 2;
    case ATTR_WINDOW:  return 4;
    case ATTR_OVERLAP:
    case ATTR_CONV:    return 5;
    case ATTR_PATCH:   return 6;
    case ATTR_TAPS:    return 3;
    default:           return 0;
    }
}

bool attr_is_size(AttrKind kind, int n, int i)
{
    switch (kind) {
    case ATTR_SHAPE:
    case ATTR_DEPTH:   return true;
    case ATTR_EXPAND:  return i >= n / 2;
    case ATTR_SLICE:   return i % 3 == 2;
    case ATTR_OVERLAP: return i % 5 == 4;
    case ATTR_PATCH:   return i % 6 == 5;
    case ATTR_TAPS:    return i % 3 == 2;
    case ATTR_ROWS:
    case ATTR_LOOP:    return i == 1;
    default:           return false;
    }
}

double attr_pad_value(const Attr *a)
{
    return attr_value(&(Attr){ 1, a->v + a->n - 1 });
}

ConvAxis attr_conv(const Attr *a, int axis)
{
    const int64_t *v = a->v + attr_group(ATTR_CONV) * axis;

    return (ConvAxis){ v[0], v[1], v[2], v[3], v[4] };
}

int64_t span(int64_t n, int64_t apart) { return (n - 1) * apart + 1; }

static bool within(int64_t x, int64_t least, int64_t most) { return x >= least && x <= most; }

/* ---- slices and pads ---- */

Type type_slice(Infer *in)
{
    Type           t = in->arg[0];
    const int64_t *v = in->attr->v;

    if (in->attr->n != 3 * t.rank)
        return infer_error(in, "wants start, step and count of each axis of %s", infer_str(in, 0));
    for (int i = 0; i < t.rank; i++, v += 3) {
        int64_t reach;

        if (!within(v[0], 0, t.dim[i] - 1) || v[2] < 1 || __builtin_mul_overflow(v[2] - 1, v[1], &reach)
            || __builtin_add_overflow(v[0], reach, &reach) || !within(reach, 0, t.dim[i] - 1))
            return infer_error(in, "%" PRId64 " elements from %" PRId64 " on in steps of %" PRId64 " are not all in axis %d of %s",
                               v[2], v[0], v[1], i, infer_str(in, 0));
        t.dim[i] = v[2];
    }
    return t;
}

Type type_pad(Infer *in)
{
    Type           t = in->arg[0];
    const int64_t *v = in->attr->v;

    if (in->attr->n != 2 * t.rank + 1)
        return infer_error(in, "wants two numbers for each axis of %s", infer_str(in, 0));
    for (int i = 0; i < t.rank; i++, v += 2) {
        if (!within(v[0], 0, LIMIT) || !within(v[1], 0, LIMIT) || t.dim[i] > INT64_MAX / 4)
            return infer_error(in, "can't put %" PRId64 " before and %" PRId64 " behind axis %d of %s", v[0], v[1], i,
                               infer_str(in, 0));
        t.dim[i] += v[0] + v[1];
    }
    if (!dt_holds(t.dtype, attr_pad_value(in->attr)))
        return infer_error(in, "%s can't hold %.17g", dt_name(t.dtype), attr_pad_value(in->attr));
    return t;
}

/* ---- windows ---- */

/* Places of a window of this size on an axis; 0 if there is none. */
static int64_t places(int64_t dim, int64_t size, int64_t stride, int64_t dilation)
{
    return dim < span(size, dilation) ? 0 : (dim - span(size, dilation)) / stride + 1;
}

/* The i-th group of a window or overlap: fits an axis behind the last one. */
static bool window_fits(Infer *in, const int64_t *v, int64_t last, int rank)
{
    if (!within(v[0], last + 1, rank - 1)) {
        infer_error(in, "wants ascending axes of %s", infer_str(in, 0));
        return false;
    }
    if (within(v[1], 1, LIMIT) && within(v[2], 1, LIMIT) && within(v[3], 1, LIMIT))
        return true;
    infer_error(in, "a window of size %" PRId64 ", stride %" PRId64 ", dilation %" PRId64 ": each is at least 1", v[1], v[2], v[3]);
    return false;
}

Type type_window(Infer *in)
{
    Type           t = in->arg[0];
    const int64_t *v = in->attr->v;
    int            n = in->attr->n / 4, rank = t.rank;
    int64_t        last = -1;

    if (rank + n > MAX_RANK)
        return infer_error(in, "%s with %d more axes has more than %d", infer_str(in, 0), n, MAX_RANK);
    for (int i = 0; i < n; i++, v += 4) {
        if (!window_fits(in, v, last, rank))
            return no_type;
        last = v[0];
        t.dim[last] = places(in->arg[0].dim[last], v[1], v[2], v[3]);
        if (!t.dim[last])
            return infer_error(in, "axis %" PRId64 " of %s is shorter than a window of %" PRId64, last, infer_str(in, 0),
                               span(v[1], v[3]));
        t.dim[t.rank++] = v[1];
    }
    return t;
}

Type type_overlap(Infer *in)
{
    Type           t = in->arg[0];
    const int64_t *v = in->attr->v;
    int            n = in->attr->n / 5, rank = t.rank - n;
    int64_t        last = -1;

    if (!is_numeric(t.dtype))
        return infer_error(in, "wants f32, f64, i32 or i64, got %s", infer_str(in, 0));
    if (rank < 0)
        return infer_error(in, "%s has fewer than %d axes", infer_str(in, 0), n);
    for (int i = 0; i < n; i++, v += 5) {
        if (!window_fits(in, v, last, rank))
            return no_type;
        last = v[0];
        if (!within(v[4], 1, INT64_MAX / 4) || t.dim[rank + i] != v[1] || t.dim[last] != places(v[4], v[1], v[2], v[3]))
            return infer_error(in, "%s are no windows of size %" PRId64 " on an axis of %" PRId64, infer_str(in, 0), v[1], v[4]);
        t.dim[last] = v[4];
    }
    t.rank = rank;
    return t;
}

Type type_cumsum(Infer *in)
{
    if (!is_numeric(in->arg[0].dtype))
        return infer_error(in, "wants f32, f64, i32 or i64, got %s", infer_str(in, 0));
    if (!within(in->attr->v[0], 0, in->arg[0].rank - 1))
        return infer_error(in, "%s has no axis %" PRId64, infer_str(in, 0), in->attr->v[0]);
    return in->arg[0];
}

/* ---- conv ---- */

static bool conv_axis_fits(const ConvAxis *c, int64_t x, int64_t w)
{
    return within(c->stride, 1, LIMIT) && within(c->dilate_x, 1, LIMIT) && within(c->dilate_w, 1, LIMIT)
        && within(c->before, -LIMIT, LIMIT) && within(c->behind, -LIMIT, LIMIT) && x <= LIMIT && w <= LIMIT;
}

Type type_conv(Infer *in)
{
    const Type *x = &in->arg[0], *w = &in->arg[1];
    int         n = in->attr->n / 5;

    if (!dt_is_float(x->dtype) || x->dtype != w->dtype)
        return infer_error(in, "wants two f32 or two f64, got %s by %s", infer_str(in, 0), infer_str(in, 1));
    if (x->rank != n + 3 || w->rank != n + 3)
        return infer_error(in, "wants [N, G, C, ...] and [G, O, C, ...] with %d more axes, got %s by %s", n,
                           infer_str(in, 0), infer_str(in, 1));
    if (x->dim[1] != w->dim[0])
        return infer_error(in, "groups differ, %s by %s", infer_str(in, 0), infer_str(in, 1));
    if (x->dim[2] != w->dim[2])
        return infer_error(in, "channels differ, %s by %s", infer_str(in, 0), infer_str(in, 1));

    Type t = *x;
    t.dim[2] = w->dim[1];
    for (int i = 0; i < n; i++) {
        ConvAxis c = attr_conv(in->attr, i);
        int64_t  dim = x->dim[3 + i];

        if (!conv_axis_fits(&c, dim, w->dim[3 + i]))
            return infer_error(in, "strides and dilations are at least 1, and no number is beyond %" PRId64, LIMIT);
        t.dim[3 + i] = places(span(dim, c.dilate_x) + c.before + c.behind, w->dim[3 + i], c.stride, c.dilate_w);
        if (t.dim[3 + i] < 1)
            return infer_error(in, "the padded axis %d of %s is shorter than the kernel of %s", 3 + i, infer_str(in, 0),
                               infer_str(in, 1));
    }
    return t;
}

/* ---- rows by number ---- */

/* The first axes that both have; false after an error. */
static bool batch_fits(Infer *in, int64_t nb, const Type *a, const Type *b)
{
    bool ok = within(nb, 0, MAX_RANK) && nb <= a->rank && nb <= b->rank;

    for (int i = 0; ok && i < nb; i++)
        ok = a->dim[i] == b->dim[i];
    if (!ok)
        infer_error(in, "the first %" PRId64 " axes of %s and %s are not the same", nb, infer_str(in, 0), infer_str(in, 1));
    return ok;
}

static Type append(Type t, const Type *from, int first)
{
    for (int i = first; i < from->rank; i++)
        t.dim[t.rank++] = from->dim[i];
    return t;
}

/* a [B..., V, R...], numbers [B..., I...]: [B..., I..., R...] */
Type type_gather(Infer *in)
{
    const Type *a = &in->arg[0], *at = &in->arg[1];
    int64_t     nb = in->attr->v[0];

    if (!dt_is_int(at->dtype))
        return infer_error(in, "wants integers for numbers, got %s", infer_str(in, 1));
    if (!batch_fits(in, nb, a, at))
        return no_type;
    if (nb >= a->rank || a->dim[nb] > INT32_MAX)
        return infer_error(in, "%s has no axis %" PRId64 " that an i32 can count", infer_str(in, 0), nb);
    if (at->rank + a->rank - nb - 1 > MAX_RANK)
        return infer_error(in, "%s by %s gives more than %d axes", infer_str(in, 0), infer_str(in, 1), MAX_RANK);
    return append(ty_with(*at, a->dtype), a, (int)nb + 1);
}

/* numbers [B..., I...], rows [B..., I..., R...]: [B..., V, R...] */
Type type_scatter(Infer *in)
{
    const Type *at = &in->arg[0], *rows = &in->arg[1];
    int64_t     nb = in->attr->v[0], v = in->attr->v[1];
    Type        t = { .dtype = rows->dtype };

    if (!dt_is_int(at->dtype) || !is_numeric(rows->dtype))
        return infer_error(in, "wants integers and numbers, got %s by %s", infer_str(in, 0), infer_str(in, 1));
    if (!within(nb, 0, at->rank) || !batch_fits(in, at->rank, at, rows))
        return in->error ? no_type : infer_error(in, "%s has no %" PRId64 " axes in front", infer_str(in, 0), nb);
    if (!within(v, 1, INT32_MAX) || rows->rank - at->rank + nb + 1 > MAX_RANK)
        return infer_error(in, "wants a number of rows that an i32 can count, and at most %d axes", MAX_RANK);
    memcpy(t.dim, at->dim, (size_t)nb * sizeof *t.dim);
    t.dim[nb] = v;
    t.rank = (int)nb + 1;
    return append(t, rows, at->rank);
}

/* ---- attention ---- */

double attr_scale(const Attr *a) { return attr_value(&(Attr){ 1, a->v + 1 }); }

bool attr_causal(const Attr *a) { return a->v[0] != 0; }

Attr attr_scores(Arena *mem, bool causal, double scale)
{
    int64_t v[2] = { causal, attr_double(mem, scale).v[0] };

    return attr_make(mem, 2, v);
}

static bool scores_fit(Infer *in)
{
    const Type *q = &in->arg[0], *k = &in->arg[1];

    if (in->attr->v[0] < 0 || in->attr->v[0] > 1)
        infer_error(in, "is causal (1) or not (0), not %" PRId64, in->attr->v[0]);
    else if (!dt_is_float(q->dtype) || q->dtype != k->dtype)
        infer_error(in, "wants f32 or f64, the same for all, got %s by %s", infer_str(in, 0), infer_str(in, 1));
    else if (q->rank < 2 || k->rank != q->rank || q->dim[q->rank - 1] != k->dim[q->rank - 1])
        infer_error(in, "wants [..., T, D] and [..., S, D], got %s by %s", infer_str(in, 0), infer_str(in, 1));
    else
        return batch_fits(in, q->rank - 2, q, k);
    return false;
}

Type type_attention_lse(Infer *in)
{
    Type t = in->arg[0];

    if (!scores_fit(in))
        return no_type;
    t.rank--;
    return t;
}

Type type_attention(Infer *in)
{
    Type        t = in->arg[0];
    const Type *k = &in->arg[1], *v = &in->arg[2];

    if (!scores_fit(in))
        return no_type;
    if (v->dtype != t.dtype || v->rank != t.rank || v->dim[t.rank - 2] != k->dim[t.rank - 2])
        return infer_error(in, "wants as many values as keys, got %s and %s", infer_str(in, 1), infer_str(in, 2));
    if (!batch_fits(in, t.rank - 2, &t, v))
        return no_type;
    t.dim[t.rank - 1] = v->dim[t.rank - 1];
    return t;
}
