/* arbitrary.h - arbitrary types, attributes and values for tests that walk the tables.
 *
 * Everything comes from a seeded generator, so a failure can be run again.
 */
#ifndef NND_TESTS_ARBITRARY_H
#define NND_TESTS_ARBITRARY_H

#include <float.h>
#include <math.h>

#include "ir/eval.h"
#include "ir/graph.h"

typedef struct Rng { uint64_t state; } Rng;

/* S. Vigna, splitmix64. */
static inline uint64_t rng_next(Rng *r)
{
    uint64_t z = r->state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline int    rng_below(Rng *r, int n) { return (int)(rng_next(r) % (uint64_t)n); }
static inline double rng_unit(Rng *r)         { return (double)(rng_next(r) >> 11) * 0x1p-53; }

static inline void rng_shuffle(Rng *r, int n, int64_t *v)
{
    for (int i = n - 1; i > 0; i--) {
        int     j = rng_below(r, i + 1);
        int64_t t = v[i];

        v[i] = v[j];
        v[j] = t;
    }
}

/* Small sizes, 1 among them; rank least..most. */
static inline Type arb_type(Rng *r, Dtype d, int least, int most)
{
    static const int64_t size[] = { 1, 2, 3, 3, 5 };
    int64_t dim[MAX_RANK];
    int     rank = least + rng_below(r, most - least + 1);

    for (int i = 0; i < rank; i++)
        dim[i] = size[rng_below(r, 5)];
    return ty_make(d, rank, dim);
}

/* ---- attributes; now and then one that doesn't fit, which graph_make then refuses ---- */

/* Some of the numbers 0..n-1, ascending, at least one if there is one. */
static inline int arb_subset(Rng *r, int n, int64_t *v)
{
    int k = 0;

    for (int i = 0; i < n; i++) {
        if (rng_below(r, 2))
            v[k++] = i;
    }
    if (k == 0 && n > 0)
        v[k++] = rng_below(r, n);
    return k;
}

static inline Attr arb_expand(Rng *r, Arena *mem, const Type *a)
{
    int64_t v[4];
    int     k = 1 + (a->rank < MAX_RANK - 3 ? rng_below(r, 2) : 0);
    bool    units = rng_below(r, 3) == 0;

    v[0] = rng_below(r, a->rank + 1);
    v[1] = v[0] + 1;
    for (int i = 0; i < k; i++)
        v[k + i] = units ? 1 : 1 + rng_below(r, 3);
    return attr_make(mem, 2 * k, v);
}

static inline Attr arb_shape(Rng *r, Arena *mem, const Type *a)
{
    int64_t v[MAX_RANK + 1] = { 1 };

    switch (rng_below(r, 3)) {
    case 0:                                           /* as it is */
        return attr_make(mem, a->rank, a->dim);
    case 1:                                           /* flat */
        v[0] = ty_count(a);
        return attr_make(mem, 1, v);
    default:                                          /* another axis of size 1 */
        for (int i = 0; i < a->rank; i++)
            v[i + 1] = a->dim[i];
        return attr_make(mem, a->rank + 1, v);
    }
}

static inline Attr arb_perm(Rng *r, Arena *mem, const Type *a)
{
    int64_t v[MAX_RANK];

    for (int i = 0; i < a->rank; i++)
        v[i] = i;
    if (rng_below(r, 4))
        rng_shuffle(r, a->rank, v);
    return attr_make(mem, a->rank, v);
}

/* An axis of b of this size that has no partner yet, looked for from an arbitrary one on; -1 if there is none. */
static inline int arb_partner(Rng *r, const Type *b, int64_t size, const bool *used)
{
    int first = b->rank ? rng_below(r, b->rank) : 0;

    for (int i = 0; i < b->rank; i++) {
        int j = (first + i) % b->rank;

        if (!used[j] && b->dim[j] == size)
            return j;
    }
    return -1;
}

/* Pairs axes of equal size: most are folded, some are batch axes, some stay free. */
static inline Attr arb_dot(Rng *r, Arena *mem, const Type *a, const Type *b)
{
    int64_t axis[MAX_RANK], ab[MAX_RANK], bb[MAX_RANK], ac[MAX_RANK], bc[MAX_RANK];
    bool    used[MAX_RANK] = { false };
    int     nb = 0, nc = 0;

    for (int i = 0; i < a->rank; i++)
        axis[i] = i;
    rng_shuffle(r, a->rank, axis);
    for (int i = 0; i < a->rank; i++) {
        int j = arb_partner(r, b, a->dim[axis[i]], used), what = rng_below(r, 4);

        if (j < 0 || what == 0)
            continue;
        used[j] = true;
        if (what == 1)
            ab[nb] = axis[i], bb[nb++] = j;
        else
            ac[nc] = axis[i], bc[nc++] = j;
    }
    return attr_dot_make(mem, nb, ab, bb, nc, ac, bc);
}

/* ---- what looks at neighbours ---- */

static inline Attr arb_slice(Rng *r, Arena *mem, const Type *a)
{
    int64_t v[3 * MAX_RANK];

    for (int i = 0; i < a->rank; i++) {
        int64_t step = 1 + rng_below(r, 2), count = 1 + rng_below(r, (int)a->dim[i]);

        if ((count - 1) * step >= a->dim[i])
            step = 1;
        int64_t room = a->dim[i] - (count - 1) * step, start = rng_below(r, (int)room);
        bool    back = rng_below(r, 2);

        v[3 * i] = back ? start + (count - 1) * step : start;
        v[3 * i + 1] = back ? -step : step;
        v[3 * i + 2] = count;
    }
    return attr_make(mem, 3 * a->rank, v);
}

static inline Attr arb_pad(Rng *r, Arena *mem, const Type *a)
{
    int64_t v[2 * MAX_RANK + 1];
    double  value = dt_is_float(a->dtype) && rng_below(r, 2) ? -3.5 : rng_below(r, 2);

    for (int i = 0; i < 2 * a->rank; i++)
        v[i] = rng_below(r, 3) ? rng_below(r, 3) : 0;
    v[2 * a->rank] = attr_double(mem, value).v[0];
    return attr_make(mem, 2 * a->rank + 1, v);
}

/* Windows of any size, stride and dilation; those of an overlap stand on an axis that ends where it likes. */
static inline Attr arb_window(Rng *r, Arena *mem, const Type *a, bool overlap)
{
    int64_t axis[MAX_RANK], v[5 * MAX_RANK];
    int     group = overlap ? 5 : 4, n = 0, windows = overlap ? 1 + rng_below(r, 2) : 0, kept = a->rank - windows;

    for (int first = kept > windows ? rng_below(r, kept - windows + 1) : 0; n < windows && first + n < kept; n++)
        axis[n] = first + n;
    if (!overlap)
        n = arb_subset(r, a->rank, axis);
    for (int i = 0; i < n; i++) {
        int64_t *g = v + group * i;

        g[0] = axis[i];
        g[1] = overlap ? a->dim[kept + i] : 1 + rng_below(r, 3);
        g[2] = 1 + rng_below(r, 3);
        g[3] = 1 + rng_below(r, 2);
        if (overlap)
            g[4] = (a->dim[axis[i]] - 1) * g[2] + span(g[1], g[3]) + rng_below(r, (int)g[2]);
    }
    return attr_make(mem, group * n, v);
}

static inline Attr arb_conv(Rng *r, Arena *mem, const Type *x)
{
    int64_t v[5 * MAX_RANK];
    int     n = x->rank > 3 ? x->rank - 3 : 0;

    for (int i = 0; i < n; i++) {
        v[5 * i] = 1 + rng_below(r, 3);
        v[5 * i + 1] = rng_below(r, 4) - 1;
        v[5 * i + 2] = rng_below(r, 4) - 1;
        v[5 * i + 3] = 1 + rng_below(r, 2);
        v[5 * i + 4] = 1 + rng_below(r, 2);
    }
    return attr_make(mem, 5 * n, v);
}

/* Of a spread or collect, by its third argument: w's taps or x's sizes. */
static inline Attr arb_patch(Rng *r, Arena *mem, Op op, const Type *g, const Type *third)
{
    int64_t v[6 * MAX_RANK];
    int     d = third->rank - 2;

    for (int i = 0; i < d; i++) {
        int64_t dim = third->dim[1 + i], *x = v + 6 * i;

        if (op == OP_collect) {
            v[3 * i] = 1 + rng_below(r, 2);
            v[3 * i + 1] = 1 + rng_below(r, (int)((dim - 1) / v[3 * i] + 1));
            v[3 * i + 2] = dim;
            continue;
        }
        x[0] = 1 + rng_below(r, 3);
        x[1] = 1 + rng_below(r, 3);
        x[2] = 1 + rng_below(r, 2);
        x[3] = 1 + rng_below(r, 2);
        x[4] = dim;
        x[5] = (g->dim[1 + i] - 1) * x[0] + (x[1] - 1) * x[2] + (dim - 1) * x[3] + 1 + rng_below(r, 2);
    }
    return attr_make(mem, (op == OP_collect ? 3 : 6) * d, v);
}

/* Makes arbitrary types into arguments that go together, for operations that ask for more than equal axes. */
static inline void arb_fit(Rng *r, Op op, Type *arg)
{
    Type numbers;

    switch (op) {
    case OP_conv:                                    /* [N, G, C, S...] and [G, O, C, K...] */
        arg[0].dtype = dt_is_float(arg[0].dtype) ? arg[0].dtype : DT_f32;
        arg[0].rank = arg[1].rank = 3 + rng_below(r, 3);
        for (int i = 0; i < arg[0].rank; i++) {
            arg[0].dim[i] = 1 + rng_below(r, i < 3 ? 3 : 6);
            arg[1].dim[i] = 1 + rng_below(r, 3);
        }
        arg[1].dtype = arg[0].dtype;
        arg[1].dim[0] = arg[0].dim[1];
        arg[1].dim[2] = arg[0].dim[2];
        break;
    case OP_attention:                               /* [B..., T, D], [B..., S, D], [B..., S, E] */
    case OP_attention_lse:
        arg[0].dtype = dt_is_float(arg[0].dtype) ? arg[0].dtype : DT_f32;
        arg[0].rank = 2 + rng_below(r, 3);
        for (int i = 0; i < arg[0].rank; i++)
            arg[0].dim[i] = 1 + rng_below(r, 4);
        arg[1] = arg[0];
        arg[1].dim[arg[0].rank - 2] = 1 + rng_below(r, 5);
        if (op == OP_attention) {
            arg[2] = arg[1];
            arg[2].dim[arg[0].rank - 1] = 1 + rng_below(r, 5);
        }
        break;
    case OP_put:
        arg[0].dtype = arg[0].dtype == DT_bool ? DT_f32 : arg[0].dtype;
        arg[1] = ty_with(arg[0], DT_i32);
        break;
    case OP_spread:                                  /* [N, P..., O] twice and [O, K..., C] */
        arg[0].dtype = dt_is_float(arg[0].dtype) ? arg[0].dtype : DT_f32;
        arg[0].rank = 3 + rng_below(r, 2);
        for (int i = 0; i < arg[0].rank; i++)
            arg[0].dim[i] = 1 + rng_below(r, i == arg[0].rank - 1 ? 20 : 3);
        arg[1] = ty_with(arg[0], DT_i32);
        arg[2] = arg[0];
        for (int i = 0; i < arg[0].rank; i++)
            arg[2].dim[i] = i ? 1 + rng_below(r, i == arg[0].rank - 1 ? 20 : 3) : arg[0].dim[arg[0].rank - 1];
        break;
    case OP_collect:                                 /* [N, P, O, Q] twice and [N, X..., C] */
        arg[0].dtype = dt_is_float(arg[0].dtype) ? arg[0].dtype : DT_f32;
        arg[0].rank = 4;
        arg[2] = arg[0];
        arg[2].rank = 3 + rng_below(r, 2);
        for (int i = 0; i < 4; i++) {
            arg[0].dim[i] = 1 + rng_below(r, i == 3 ? 20 : i == 2 ? 5 : 3);
            arg[2].dim[i] = i ? 1 + rng_below(r, i == arg[2].rank - 1 ? 20 : 6) : arg[0].dim[0];
        }
        arg[1] = ty_with(arg[0], DT_i32);
        break;
    case OP_gather:
        arg[1].dtype = DT_i32;
        if (arg[0].rank > 1 && arg[1].rank > 0 && rng_below(r, 2))
            arg[1].dim[0] = arg[0].dim[0];
        break;
    case OP_scatter:
        numbers = ty_with(arg[0], DT_i32);
        if (numbers.rank > 2)
            numbers.rank = 2;
        arg[1] = arg[0];
        if (arg[1].dtype == DT_bool || arg[1].dtype == DT_u8)
            arg[1].dtype = DT_f32;
        arg[0] = numbers;
        break;
    default:
        break;
    }
}

static inline Attr arb_attr(Rng *r, Arena *mem, AttrKind kind, const Type *a, const Type *b)
{
    int64_t v[MAX_RANK] = { 0 };

    switch (kind) {
    case ATTR_AXES:   return attr_make(mem, arb_subset(r, a->rank, v), v);
    case ATTR_EXPAND: return arb_expand(r, mem, a);
    case ATTR_SHAPE:  return arb_shape(r, mem, a);
    case ATTR_PERM:   return arb_perm(r, mem, a);
    case ATTR_DOT:    return arb_dot(r, mem, a, b);
    case ATTR_DTYPE:  v[0] = rng_below(r, NDTYPE); return attr_make(mem, 1, v);
    case ATTR_AXIS:   v[0] = a->rank ? rng_below(r, a->rank) : 0; return attr_make(mem, 1, v);
    case ATTR_DEPTH:  v[0] = 4; return attr_make(mem, 1, v);
    case ATTR_STREAM: v[0] = rng_below(r, 1000); return attr_make(mem, 1, v);
    case ATTR_SLICE:   return arb_slice(r, mem, a);
    case ATTR_PAD:     return arb_pad(r, mem, a);
    case ATTR_WINDOW:  return arb_window(r, mem, a, false);
    case ATTR_OVERLAP: return arb_window(r, mem, a, true);
    case ATTR_CONV:    return arb_conv(r, mem, a);
    case ATTR_SCORES:  return attr_scores(mem, rng_below(r, 2), 0.25 + rng_unit(r));
    case ATTR_ROWS:    v[0] = rng_below(r, a->rank + 1), v[1] = 4; return attr_make(mem, 2, v);
    case ATTR_LOOP:    return attr_make(mem, 4, (int64_t[]){ 0, 1, 0, 0 });      /* whole scans are random graphs of their own */
    case ATTR_NONE: case ATTR_SLOT: case ATTR_VALUE: case NATTR: break;
    case ATTR_PATCH: case ATTR_TAPS: break;          /* arb_patch: the third argument decides */
    }
    return (Attr){ 0, NULL };
}

/* ---- values ---- */

/* A number to trip over: zeros, ones, infinities, nan, the extremes of the dtype, powers of two, any bits. */
static inline double arb_special(Rng *r, Dtype d)
{
    static const double common[] = { 0.0, -0.0, 1, -1, 2, 0.5, 3, -4, 255, 0.1, INFINITY, -INFINITY, NAN };
    double most = d == DT_f32 ? FLT_MAX : DBL_MAX, least = d == DT_f32 ? FLT_MIN : DBL_MIN;
    double tiny = d == DT_f32 ? FLT_TRUE_MIN : DBL_TRUE_MIN;
    double sign = rng_below(r, 2) ? 1 : -1;

    if (d == DT_bool)
        return rng_below(r, 2);
    if (d == DT_u8)
        return rng_below(r, 256);
    if (dt_is_int(d))
        return rng_below(r, 2001) - 1000;
    switch (rng_below(r, 8)) {
    case 0:  return sign * most;
    case 1:  return sign * least;
    case 2:  return sign * tiny * rng_below(r, 10);
    case 3:  return sign * ldexp(1 + rng_unit(r), rng_below(r, 80) - 40);
    case 4:  return sign * ldexp(1, rng_below(r, 20) - 10);
    case 5:  return sign * (rng_unit(r) * 4);
    default: return common[rng_below(r, (int)(sizeof common / sizeof *common))];
    }
}

/* ctx is an array of tensors by slot. */
static inline Tensor arb_read(void *ctx, int slot, const Type *type)
{
    (void)type;
    return ((const Tensor *)ctx)[slot];
}

#endif
