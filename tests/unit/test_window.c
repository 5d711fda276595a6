/* test_window.c - slices, pads, windows, convolutions, rows by number, attention: each element against its definition by
 * coordinates, on arbitrary shapes and attributes; values are small whole numbers, so sums are exact in any order,
 * and attention, which isn't, has a tolerance of 1e-12.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/arbitrary.h"

enum { WANTED = 200, MOST = 1 << 14 };

static const Loc nowhere;

typedef struct One {
    Module     *m;
    Graph      *g;
    Type        type[3];
    Tensor      slot[3];
    const Node *nd;
    Tensor      y;
} One;

static void coordinates(const Type *t, int64_t i, int64_t *at)
{
    for (int d = t->rank - 1; d >= 0; d--) {
        at[d] = i % t->dim[d];
        i /= t->dim[d];
    }
}

static double at(const Tensor *t, const int64_t *index)
{
    int64_t i = 0;

    for (int d = 0; d < t->type.rank; d++)
        i = i * t->type.dim[d] + index[d];
    return tensor_get(t, i, true);
}

/* ---- one row on arbitrary arguments ---- */

static void fill(One *o, Rng *r, int k, bool numbers)
{
    o->slot[k] = tensor_new(&o->m->mem, &o->type[k], true);
    for (int64_t i = 0; i < ty_count(&o->type[k]); i++) {
        double x = rng_below(r, 19) - 9;

        tensor_set(&o->slot[k], i, o->type[k].dtype == DT_bool ? x > 0 : o->type[k].dtype == DT_u8 || numbers ? fabs(x) / 2 : x, true);
    }
}

static bool one_make(One *o, Rng *r, Op op)
{
    static const Dtype dtype[] = { DT_f32, DT_f32, DT_i32, DT_f64, DT_u8 };
    const char        *error = NULL;
    int                narg = op_info[op].narg;
    Ref                arg[3], y;

    *o = (One){ .m = module_new() };
    o->g = graph_new(o->m, ENTRY_TRAIN, 1);
    o->type[0] = arb_type(r, dtype[rng_below(r, op_info[op].cls == CLASS_MOVE ? 5 : 3)], 1, 4);
    o->type[1] = o->type[2] = arb_type(r, DT_i32, 0, 3);
    arb_fit(r, op, o->type);
    for (int k = 0; k < narg; k++) {
        module_add_slot(o->m, arena_printf(&o->m->mem, "a%d", k), SLOT_param, o->type[k], nowhere);
        arg[k] = graph_read(o->g, nowhere, k);
    }
    Attr attr = op == OP_spread || op == OP_collect ? arb_patch(r, &o->m->mem, op, &o->type[0], &o->type[2])
                                               : arb_attr(r, &o->m->mem, op_info[op].attr, &o->type[0], &o->type[1]);

    y = graph_make(o->g, op, nowhere, narg, arg, attr, NULL, &error);
    if (!y.id || ty_count(&graph_at(o->g, y)->type) > MOST)
        return false;
    for (int k = 0; k < narg; k++)
        fill(o, r, k, (op == OP_gather && k == 1) || (op == OP_scatter && k == 0));

    EvalEnv env = { .wide = true, .read = arb_read, .ctx = o->slot };
    Tensor *value = arena_array(&o->m->mem, Tensor, o->g->nnode);

    o->nd = graph_at(o->g, y);
    graph_write(o->g, nowhere, 0, y);
    eval_graph(o->g, &env, &o->m->mem, value);
    o->y = value[y.id];
    return true;
}

/* ---- what an element is, by the coordinates of the result ---- */

static double by_slice(const One *o, const int64_t *y)
{
    int64_t x[MAX_RANK];

    for (int d = 0; d < o->nd->type.rank; d++)
        x[d] = o->nd->attr.v[3 * d] + y[d] * o->nd->attr.v[3 * d + 1];
    return at(&o->slot[0], x);
}

static double by_pad(const One *o, const int64_t *y)
{
    int64_t x[MAX_RANK];

    for (int d = 0; d < o->nd->type.rank; d++) {
        x[d] = y[d] - o->nd->attr.v[2 * d];
        if (x[d] < 0 || x[d] >= o->type[0].dim[d])
            return attr_pad_value(&o->nd->attr);
    }
    return at(&o->slot[0], x);
}

static double by_window(const One *o, const int64_t *y)
{
    int64_t x[MAX_RANK];

    memcpy(x, y, sizeof x);
    for (int i = 0; i < o->nd->attr.n / 4; i++) {
        const int64_t *v = o->nd->attr.v + 4 * i;

        x[v[0]] = y[v[0]] * v[2] + y[o->type[0].rank + i] * v[3];
    }
    return at(&o->slot[0], x);
}

/* All elements of a that lie at y. */
static double by_overlap(const One *o, const int64_t *y)
{
    double sum = 0;

    for (int64_t i = 0; i < ty_count(&o->type[0]); i++) {
        int64_t x[MAX_RANK];
        bool    here = true;

        coordinates(&o->type[0], i, x);
        for (int k = 0; k < o->nd->attr.n / 5; k++) {
            const int64_t *v = o->nd->attr.v + 5 * k;

            x[v[0]] = x[v[0]] * v[2] + x[o->nd->type.rank + k] * v[3];
        }
        for (int d = 0; d < o->nd->type.rank; d++)
            here = here && x[d] == y[d];
        sum += here ? tensor_get(&o->slot[0], i, true) : 0;
    }
    return sum;
}

static double by_cumsum(const One *o, const int64_t *y)
{
    int64_t x[MAX_RANK], axis = o->nd->attr.v[0];
    double  sum = 0;

    memcpy(x, y, sizeof x);
    for (x[axis] = 0; x[axis] <= y[axis]; x[axis]++)
        sum += at(&o->slot[0], x);
    return sum;
}

static int64_t clamped(double x, int64_t n) { return x < 0 ? 0 : x > (double)(n - 1) ? n - 1 : (int64_t)x; }

static double by_gather(const One *o, const int64_t *y)
{
    int64_t x[MAX_RANK], nb = o->nd->attr.v[0];

    memcpy(x, y, (size_t)nb * sizeof *x);
    x[nb] = clamped(at(&o->slot[1], y), o->type[0].dim[nb]);
    memcpy(x + nb + 1, y + o->type[1].rank, (size_t)(o->type[0].rank - nb - 1) * sizeof *x);
    return at(&o->slot[0], x);
}

static double by_scatter(const One *o, const int64_t *y)
{
    int64_t nb = o->nd->attr.v[0];
    double  sum = 0;

    for (int64_t i = 0; i < ty_count(&o->type[1]); i++) {
        int64_t x[MAX_RANK];

        coordinates(&o->type[1], i, x);
        bool here = !memcmp(x, y, (size_t)nb * sizeof *x) && clamped(at(&o->slot[0], x), o->nd->attr.v[1]) == y[nb];

        for (int d = o->type[0].rank, k = (int)nb + 1; d < o->type[1].rank; d++, k++)
            here = here && x[d] == y[k];
        sum += here ? tensor_get(&o->slot[1], i, true) : 0;
    }
    return sum;
}

/* The argument's element where `at` is the place among the new axes. */
static double by_put(const One *o, const int64_t *y)
{
    int64_t x[MAX_RANK] = { 0 }, place = 0;
    int     n = 0;

    for (int d = 0; d < o->nd->type.rank; d++)
        if (attr_has(o->nd->attr.v, o->nd->attr.n / 2, d))
            place = place * o->nd->type.dim[d] + y[d];
        else
            x[n++] = y[d];
    return at(&o->slot[1], x) == (double)place ? at(&o->slot[0], x) : 0;
}

/* All values of g, each where it stands: what its products add to the element y. */
static double by_patch(const One *o, const int64_t *y)
{
    Op     op = o->nd->op;
    int    d = patch_axes(op, &o->nd->attr);
    bool   spreads = op == OP_spread;
    double sum = 0;

    for (int64_t i = 0; i < ty_count(&o->type[0]); i++) {
        int64_t index[MAX_RANK], other[MAX_RANK], first = 0, rows = 1, last = 0;
        double  place = tensor_get(&o->slot[1], i, true);
        bool    here = place >= 0;

        coordinates(&o->type[0], i, index);
        here = here && y[0] == index[spreads ? 0 : 2];
        other[0] = index[spreads ? d + 1 : 0];
        other[d + 1] = y[d + 1];
        for (int k = d - 1; k >= 0; k--) {
            PatchAxis x = attr_patch(op, &o->nd->attr, k);

            last += rows * (x.size - 1 - (x.taps - 1) * x.tap);
            rows *= x.size;
        }
        first = place > (double)last && !spreads ? last : (int64_t)place;
        here = here && first < rows;
        for (int k = d - 1, step = 1; here && k >= 0; k--) {
            PatchAxis x = attr_patch(op, &o->nd->attr, k);
            int64_t   corner = first / step % x.size, beyond = y[1 + k] - corner, j = corner - index[1 + k] * x.step;

            other[1 + k] = beyond / x.tap;
            here = !spreads || (beyond >= 0 && beyond % x.tap == 0 && beyond / x.tap < x.taps && j >= 0 && j % x.apart == 0 && j / x.apart < x.window);
            step *= (int)x.size;
        }
        if (here && !spreads) {                 /* a patch is rows: what a row too far is on the next line */
            int64_t row = first;

            for (int k = d - 1, step = 1; k >= 0; k--) {
                row += y[1 + k] * attr_patch(op, &o->nd->attr, k).tap * step;
                step *= (int)attr_patch(op, &o->nd->attr, k).size;
            }
            for (int k = d - 1; k >= 0; k--) {
                other[1 + k] = row % attr_patch(op, &o->nd->attr, k).size;
                row /= attr_patch(op, &o->nd->attr, k).size;
            }
        }
        sum += here ? tensor_get(&o->slot[0], i, true) * at(&o->slot[2], other) : 0;
    }
    return sum;
}

/* Where x and w meet, o * stride + k * dilate_w - before is a multiple of dilate_x within x. */
static double by_conv(const One *o, const int64_t *y)
{
    double sum = 0;

    for (int64_t i = 0; i < ty_count(&o->type[1]); i++) {
        int64_t w[MAX_RANK], x[MAX_RANK] = { y[0], y[1] };
        bool    here = true;

        coordinates(&o->type[1], i, w);
        here = w[0] == y[1] && w[1] == y[2];
        x[2] = w[2];
        for (int d = 3; d < o->nd->type.rank; d++) {
            ConvAxis c = attr_conv(&o->nd->attr, d - 3);
            int64_t  place = y[d] * c.stride + w[d] * c.dilate_w - c.before;

            x[d] = place / c.dilate_x;
            here = here && place >= 0 && place % c.dilate_x == 0 && x[d] < o->type[0].dim[d];
        }
        sum += here ? tensor_get(&o->slot[1], i, true) * at(&o->slot[0], x) : 0;
    }
    return sum;
}

/* exp(s_j) over the keys that row i of the queries looks at; what it weighs: 1, or a column of the values. */
static double weighed(const One *o, const int64_t *y, int64_t column)
{
    int     rank = o->type[0].rank;
    int64_t q[MAX_RANK], k[MAX_RANK];
    double  sum = 0;

    memcpy(q, y, sizeof q);
    memcpy(k, y, sizeof k);
    for (k[rank - 2] = 0; k[rank - 2] < o->type[1].dim[rank - 2]; k[rank - 2]++) {
        double s = 0, by = 1;

        if (attr_causal(&o->nd->attr) && k[rank - 2] > y[rank - 2])
            continue;
        for (int64_t d = 0; d < o->type[0].dim[rank - 1]; d++) {
            q[rank - 1] = k[rank - 1] = d;
            s += at(&o->slot[0], q) * at(&o->slot[1], k);
        }
        k[rank - 1] = column;
        by = column >= 0 ? at(&o->slot[2], k) : 1;
        sum += exp(s * attr_scale(&o->nd->attr)) * by;
    }
    return sum;
}

static double defined(const One *o, const int64_t *y)
{
    switch (o->nd->op) {
    case OP_slice:   return by_slice(o, y);
    case OP_pad:     return by_pad(o, y);
    case OP_window:  return by_window(o, y);
    case OP_overlap: return by_overlap(o, y);
    case OP_cumsum:  return by_cumsum(o, y);
    case OP_gather:  return by_gather(o, y);
    case OP_scatter: return by_scatter(o, y);
    case OP_put:     return by_put(o, y);
    case OP_spread:
    case OP_collect: return by_patch(o, y);
    case OP_conv:    return by_conv(o, y);
    case OP_attention:     return weighed(o, y, y[o->nd->type.rank - 1]) / weighed(o, y, -1);
    case OP_attention_lse: return log(weighed(o, y, -1));
    default:         fail_msg("%s has no definition here", op_info[o->nd->op].name);
    }
    return NAN;
}

static bool check_one(Rng *r, Op op)
{
    One  o;
    bool fits = one_make(&o, r, op);

    for (int64_t i = 0; fits && i < ty_count(&o.nd->type); i++) {
        int64_t y[MAX_RANK] = { 0 };
        double  want, got = tensor_get(&o.y, i, true);

        coordinates(&o.nd->type, i, y);
        want = defined(&o, y);
        bool is_sum = op_info[op].attr != ATTR_SCORES;

        if (is_sum ? got != want : !(fabs(got - want) <= 1e-12 * fmax(1, fabs(want))))
            fail_msg("%s of %s, element %lld: %.17g, by definition %.17g", op_info[op].name,
                     ty_str(&o.m->mem, &o.type[0]), (long long)i, got, want);
    }
    module_free(o.m);
    return fits;
}

static void test_definitions(void **state)
{
    static const Op op[] = { OP_slice, OP_pad, OP_window, OP_overlap, OP_cumsum, OP_gather, OP_scatter, OP_put, OP_spread, OP_collect, OP_conv,
                             OP_attention, OP_attention_lse };

    (void)state;
    for (size_t i = 0; i < sizeof op / sizeof *op; i++) {
        Rng r = { 100 + i };
        int done = 0;

        for (int tries = 0; done < WANTED && tries < 20 * WANTED; tries++)
            done += check_one(&r, op[i]);
        if (done < WANTED)
            fail_msg("%s: only %d samples fit", op_info[op[i]].name, done);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_definitions) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
