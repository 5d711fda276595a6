/* test_eval.c - the oracle against arithmetic done by hand, and against definitions written another way.
 *
 * Everything else is compared with the oracle, so nothing here comes from it: points and casts have tables of results,
 * movement, reductions and contractions are computed again from coordinates, and random bits from the known answers
 * of Random123.  The backend interp, which is the oracle with slots, is run on a module small enough to follow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backends/backend.h"
#include "ir/philox.h"
#include "tests/unit/arbitrary.h"

enum { ROUNDS = 400, MAX_SLOTS = 8 };

static const Loc nowhere;

static bool same(double x, double y) { return (x == y && signbit(x) == signbit(y)) || (isnan(x) && isnan(y)); }

/* ---- points ---- */

typedef struct PointCase { Op op; Dtype dtype; double a, b, c, want; } PointCase;

static const PointCase point[] = {
    { OP_add, DT_f32, 1, 0x1p-24, 0, 1 },                             /* f32 rounds, ties to even */
    { OP_add, DT_f64, 1, 0x1p-24, 0, 1 + 0x1p-24 },
    { OP_add, DT_u8, 250, 10, 0, 4 },
    { OP_add, DT_i32, INT32_MAX, 1, 0, INT32_MIN },
    { OP_sub, DT_u8, 3, 5, 0, 254 },
    { OP_mul, DT_i32, 65536, 65537, 0, 65536 },
    { OP_mul, DT_f32, 0x1p100, 0x1p100, 0, INFINITY },
    { OP_mul, DT_f32, 0x1p-149, 0.5, 0, 0 },
    { OP_mul, DT_f32, 0, INFINITY, 0, NAN },
    { OP_neg, DT_u8, 1, 0, 0, 255 },
    { OP_neg, DT_f32, 0, 0, 0, -0.0 },
    { OP_div, DT_f32, 1, 3, 0, (double)(1.0f / 3.0f) },
    { OP_div, DT_f64, -1, 0, 0, -INFINITY },
    { OP_fma, DT_f32, 1 + 0x1p-12, 1 + 0x1p-12, -(1 + 0x1p-11), 0x1p-24 },       /* the square is not rounded first */
    { OP_fma, DT_f64, 1 + 0x1p-30, 1 + 0x1p-30, -(1 + 0x1p-29), 0x1p-60 },
    { OP_maximum, DT_f32, NAN, 1, 0, NAN }, { OP_maximum, DT_f32, 1, NAN, 0, NAN }, { OP_maximum, DT_f32, 2, 1, 0, 2 },
    { OP_minimum, DT_f64, NAN, 1, 0, NAN }, { OP_minimum, DT_f64, 1, NAN, 0, NAN }, { OP_minimum, DT_f64, 2, 1, 0, 1 },
    { OP_relu, DT_f32, -2, 0, 0, 0 }, { OP_relu, DT_f32, -0.0, 0, 0, 0 }, { OP_relu, DT_f32, NAN, 0, 0, NAN },
    { OP_relu, DT_f64, 3, 0, 0, 3 },
    { OP_abs, DT_f32, -0.0, 0, 0, 0 }, { OP_floor, DT_f32, -0.5, 0, 0, -1 },
    { OP_sigmoid, DT_f32, 0, 0, 0, 0.5 }, { OP_sigmoid, DT_f32, -100, 0, 0, 0 }, { OP_sigmoid, DT_f64, 800, 0, 0, 1 },
    { OP_sigmoid, DT_f32, -INFINITY, 0, 0, 0 },
    { OP_sqrt, DT_f32, -1, 0, 0, NAN }, { OP_sqrt, DT_f32, 2, 0, 0, 0x1.6a09e6p0 }, { OP_log, DT_f64, 0, 0, 0, -INFINITY },
    { OP_exp, DT_f32, -INFINITY, 0, 0, 0 }, { OP_pow, DT_f32, NAN, 0, 0, 1 }, { OP_tanh, DT_f32, INFINITY, 0, 0, 1 },
    { OP_lt, DT_f32, NAN, 1, 0, 0 }, { OP_le, DT_f32, 1, NAN, 0, 0 }, { OP_eq, DT_f32, NAN, NAN, 0, 0 },
    { OP_ne, DT_f32, NAN, NAN, 0, 1 }, { OP_eq, DT_f64, 0, -0.0, 0, 1 }, { OP_lt, DT_i32, -3, 2, 0, 1 },
    { OP_and, DT_bool, 1, 0, 0, 0 }, { OP_or, DT_bool, 1, 0, 0, 1 }, { OP_not, DT_bool, 0, 0, 0, 1 },
    { OP_select, DT_f32, 1, -0.0, 7, -0.0 }, { OP_select, DT_f32, 0, 7, NAN, NAN }, { OP_select, DT_i32, 0, 7, -9, -9 },
};

static void test_points(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof point / sizeof *point; i++) {
        const PointCase *p = &point[i];
        double           y = eval_point(p->op, p->dtype, p->a, p->b, p->c);

        if (!same(y, p->want))
            fail_msg("%s of %s: %g %g %g gives %.17g, wanted is %.17g", op_info[p->op].name, dt_name(p->dtype), p->a, p->b,
                     p->c, y, p->want);
    }
}

typedef struct CastCase { Dtype from, to; double x, want; } CastCase;

static const CastCase cast[] = {
    { DT_f32, DT_u8, 255.9, 255 },  { DT_f32, DT_u8, 256, 255 },    { DT_f32, DT_u8, -0.9, 0 },  { DT_f32, DT_u8, -5, 0 },
    { DT_f32, DT_i32, -2.7, -2 },   { DT_f32, DT_i32, NAN, 0 },     { DT_f64, DT_i32, 1e300, INT32_MAX },
    { DT_f64, DT_i32, -INFINITY, INT32_MIN },                       { DT_f64, DT_i64, 1e300, 0x1p63 },
    { DT_i32, DT_u8, -1, 255 },     { DT_i32, DT_u8, 300, 44 },     { DT_i64, DT_i32, 0x1p32 + 5, 5 },
    { DT_i64, DT_i32, 0x1p31, INT32_MIN },                          { DT_u8, DT_i64, 200, 200 },
    { DT_i32, DT_f32, 16777217, 16777216 },                         { DT_f64, DT_f32, 0.1, (double)0.1f },
    { DT_f32, DT_bool, 0.25, 1 },   { DT_f32, DT_bool, -0.0, 0 },   { DT_f32, DT_bool, NAN, 1 }, { DT_i32, DT_bool, 256, 1 },
    { DT_bool, DT_f32, 1, 1 },      { DT_bool, DT_u8, 1, 1 },       { DT_f32, DT_f64, 0.5, 0.5 },
};

static void test_casts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cast / sizeof *cast; i++) {
        double y = eval_cast(cast[i].from, cast[i].to, cast[i].x);

        if (!same(y, cast[i].want))
            fail_msg("%s to %s: %g gives %.17g, wanted is %.17g", dt_name(cast[i].from), dt_name(cast[i].to), cast[i].x, y,
                     cast[i].want);
    }
}

/* Every number of every dtype goes in and comes out; nothing beyond a dtype is undefined. */
static void test_elements(void **state)
{
    static const double x[] = { 0, 1, -1, 255, 256, -300, 1e10, -1e10, 1e300, -1e300, INFINITY, -INFINITY, NAN };
    Arena mem = { 0 };

    (void)state;
    for (int d = 0; d < NDTYPE; d++) {
        Type   t = ty_scalar((Dtype)d);
        Tensor e = tensor_new(&mem, &t, false);

        assert_int_equal(tensor_bytes(&t, true), d == DT_f32 ? 8 : dt_bytes((Dtype)d));
        for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
            tensor_set(&e, 0, eval_cast(DT_f64, (Dtype)d, x[i]), false);
            assert_true(same(tensor_get(&e, 0, false), eval_cast(DT_f64, (Dtype)d, x[i])) || d == DT_i64);
            tensor_set(&e, 0, x[i], false);
        }
    }
    int64_t big;
    Type    t = ty_scalar(DT_i64);
    Tensor  e = tensor_new(&mem, &t, false);
    tensor_set(&e, 0, eval_cast(DT_f64, DT_i64, 1e300), false);
    memcpy(&big, e.data, sizeof big);
    assert_true(big == INT64_MAX);
    arena_free(&mem);
}

/* ---- graphs of one node ---- */

/* A module with one graph; slot i's value is slot[i]. */
typedef struct One { Module *m; Graph *g; Tensor slot[MAX_SLOTS]; Tensor *value; bool wide; } One;

static One one_new(bool wide)
{
    One o = { .m = module_new(), .wide = wide };

    o.g = graph_new(o.m, ENTRY_TRAIN, 1);
    module_add_graph(o.m, o.g);
    return o;
}

/* A read of a new slot of this type; x NULL: small whole numbers of either sign, whose sums are exact. */
static Ref one_arg(One *o, Rng *r, Type t, const double *x)
{
    int slot = module_add_slot(o->m, arena_printf(&o->m->mem, "s%d", o->m->nslot), SLOT_param, t, nowhere);

    o->slot[slot] = tensor_new(&o->m->mem, &t, o->wide);
    for (int64_t i = 0; i < ty_count(&t); i++)
        tensor_set(&o->slot[slot], i, x ? x[i] : rng_below(r, t.dtype == DT_bool ? 2 : 19) - (dt_is_float(t.dtype) ? 9 : 0),
                   o->wide);
    return graph_read(o->g, nowhere, slot);
}

static const Tensor *one_eval(One *o, Ref y)
{
    EvalEnv env = { .wide = o->wide, .seed = 0x299f31d0a4093822u, .step = 0x03707344, .read = arb_read, .ctx = o->slot };
    int     out = module_add_slot(o->m, "out", SLOT_state, graph_at(o->g, y)->type, nowhere);

    graph_write(o->g, nowhere, out, y);
    o->value = arena_array(&o->m->mem, Tensor, o->g->nnode);
    eval_graph(o->g, &env, &o->m->mem, o->value);
    return &o->value[y.id];
}

static void expect(const Tensor *t, bool wide, int n, const double *want)
{
    assert_int_equal(ty_count(&t->type), n);
    for (int i = 0; i < n; i++)
        if (!same(tensor_get(t, i, wide), want[i]))
            fail_msg("element %d is %.17g, wanted is %.17g", i, tensor_get(t, i, wide), want[i]);
}

static Type vector(Dtype d, int64_t n) { return ty_make(d, 1, &n); }

/* One vector, reduced to one number. */
static void check_vector(Op op, Dtype d, int n, const double *x, double want)
{
    One     o = one_new(false);
    int64_t axis = 0;
    Ref     a = one_arg(&o, NULL, vector(d, n), x), y;

    y = graph_make(o.g, op, nowhere, 1, &a, attr_make(&o.m->mem, 1, &axis), NULL, NULL);
    expect(one_eval(&o, y), false, 1, &want);
    module_free(o.m);
}

static void test_reduced_vectors(void **state)
{
    static const double tie[] = { 1, 3, 3, 2, 1 }, no[] = { 1, NAN, 9, NAN, -1 }, low[] = { -INFINITY, -INFINITY };
    static const double near[] = { 0x1p24, 1, 1, -0x1p24 }, thirds[] = { 0.1, 0.2, -0.3 };

    (void)state;
    check_vector(OP_max, DT_f32, 5, tie, 3);
    check_vector(OP_min, DT_f32, 5, tie, 1);
    check_vector(OP_argmax, DT_f32, 5, tie, 1);
    check_vector(OP_argmin, DT_f32, 5, tie, 0);
    check_vector(OP_max, DT_f32, 5, no, NAN);
    check_vector(OP_min, DT_f64, 5, no, NAN);
    check_vector(OP_argmax, DT_f32, 5, no, 1);
    check_vector(OP_argmin, DT_f32, 5, no, 1);
    check_vector(OP_max, DT_f32, 2, low, -INFINITY);
    check_vector(OP_argmax, DT_f32, 2, low, 0);
    check_vector(OP_sum, DT_f32, 4, near, 2);                          /* in f32 one by one it would be 0 */
    check_vector(OP_sum, DT_f64, 3, thirds, 0.1 + 0.2 - 0.3);          /* in order */
}

/* A constant is a double that is rounded once. */
static void test_constants(void **state)
{
    static const double x[NDTYPE] = { [DT_f32] = 0.1, [DT_f64] = 0.1, [DT_i32] = -7, [DT_i64] = 0x1p40, [DT_u8] = 255,
                                      [DT_bool] = 1 };

    (void)state;
    for (int d = 0; d < NDTYPE; d++) {
        One    o = one_new(false);
        double want = d == DT_f32 ? (double)0.1f : x[d], both[2] = { want, want };

        expect(one_eval(&o, graph_const(o.g, nowhere, vector((Dtype)d, 2), x[d])), false, 2, both);
        module_free(o.m);
    }
}

/* ---- from coordinates ---- */

static void coordinates(const Type *t, int64_t i, int64_t *at)
{
    for (int d = t->rank - 1; d >= 0; d--) {
        at[d] = i % t->dim[d];
        i /= t->dim[d];
    }
}

static double at(const One *o, Ref a, const int64_t *index)
{
    const Tensor *t = &o->value[a.id];
    int64_t       i = 0;

    for (int d = 0; d < t->type.rank; d++)
        i = i * t->type.dim[d] + index[d];
    return tensor_get(t, i, o->wide);
}

/* The element of a that is the result's at index. */
static double moved(const One *o, const Node *nd, Ref a, const int64_t *index, int64_t number)
{
    const Type *from = &graph_at(o->g, a)->type;
    int64_t     it[MAX_RANK] = { 0 };
    int         k = 0;

    if (nd->op == OP_reshape)
        coordinates(from, number, it);
    for (int d = 0; d < nd->type.rank && nd->op == OP_transpose; d++)
        it[nd->attr.v[d]] = index[d];
    for (int d = 0; d < nd->type.rank && nd->op == OP_expand; d++)
        if (!attr_has(nd->attr.v, nd->attr.n / 2, d))
            it[k++] = index[d];
    return at(o, a, it);
}

static int fold_number(double *y, int64_t *place, bool first, Op op, double x, int64_t i)
{
    if (op == OP_sum)
        *y += x;
    else if (first || (op == OP_min || op == OP_argmin ? x < *y : x > *y)) {
        *y = x;
        *place = i;
    }
    return 1;
}

/* Over all elements of a whose kept coordinates are index. */
static double reduced(const One *o, const Node *nd, Ref a, const int64_t *index)
{
    const Type *from = &graph_at(o->g, a)->type;
    double      y = 0;
    int64_t     it[MAX_RANK], place = 0;
    int         n = 0;

    for (int64_t i = 0; i < ty_count(from); i++) {
        bool here = true;

        coordinates(from, i, it);
        for (int d = 0, k = 0; d < from->rank; d++)
            if (!attr_has(nd->attr.v, nd->attr.n, d))
                here = here && it[d] == index[k++];
        if (here)
            n += fold_number(&y, &place, n == 0, nd->op, at(o, a, it), n);
    }
    return nd->op == OP_argmax || nd->op == OP_argmin ? (double)place : y;
}

/* Puts the coordinates of one factor together; free axes start at result axis `first`. */
static void factor(const Type *t, int nb, const int64_t *batch, int nc, const int64_t *fold, const int64_t *index, int first,
                   const int64_t *step, int64_t *it)
{
    for (int i = 0; i < nb; i++)
        it[batch[i]] = index[i];
    for (int i = 0; i < nc; i++)
        it[fold[i]] = step[i];
    for (int d = 0; d < t->rank; d++)
        if (!attr_has(batch, nb, d) && !attr_has(fold, nc, d))
            it[d] = index[first++];
}

static double contracted(const One *o, const Node *nd, Ref a, Ref b, const int64_t *index)
{
    const Type *ta = &graph_at(o->g, a)->type, *tb = &graph_at(o->g, b)->type;
    DotAxes     d = attr_dot(&nd->attr);
    Type        folds = { DT_f32, d.nc, { 0 } };
    int64_t     ia[MAX_RANK], ib[MAX_RANK], step[MAX_RANK];
    double      y = 0;

    for (int i = 0; i < d.nc; i++)
        folds.dim[i] = ta->dim[d.ac[i]];
    for (int64_t i = 0; i < ty_count(&folds); i++) {
        coordinates(&folds, i, step);
        factor(ta, d.nb, d.ab, d.nc, d.ac, index, d.nb, step, ia);
        factor(tb, d.nb, d.bb, d.nc, d.bc, index, ta->rank - d.nc, step, ib);
        y += at(o, a, ia) * at(o, b, ib);
    }
    return y;
}

static void check_result(const One *o, const Node *nd, const Tensor *y)
{
    for (int64_t i = 0; i < ty_count(&nd->type); i++) {
        int64_t index[MAX_RANK] = { 0 };
        double  want;

        coordinates(&nd->type, i, index);
        if (op_info[nd->op].cls == CLASS_MOVE)
            want = moved(o, nd, nd->arg[0], index, i);
        else if (nd->op == OP_dot)
            want = contracted(o, nd, nd->arg[0], nd->arg[1], index);
        else
            want = reduced(o, nd, nd->arg[0], index);
        if (tensor_get(y, i, o->wide) != want)
            fail_msg("%s, element %lld: %.17g, from coordinates %.17g", op_info[nd->op].name, (long long)i,
                     tensor_get(y, i, o->wide), want);
    }
}

/* Small whole numbers, so sums are exact in any order. */
static int check_shape(Rng *r, Op op)
{
    const char *error = NULL;
    One         o = one_new(rng_below(r, 2));
    Type        a = arb_type(r, op == OP_dot ? DT_f32 : rng_below(r, 2) ? DT_f32 : DT_i32, 1, 4), b = arb_type(r, DT_f32, 0, 3);
    Ref         arg[2] = { one_arg(&o, r, a, NULL) }, y;

    if (op == OP_dot)
        arg[1] = one_arg(&o, r, b, NULL);
    y = graph_make(o.g, op, nowhere, op_info[op].narg, arg, arb_attr(r, &o.m->mem, op_info[op].attr, &a, &b), NULL, &error);
    if (y.id) {
        const Tensor *t = one_eval(&o, y);

        check_result(&o, graph_at(o.g, y), t);
    }
    module_free(o.m);
    return y.id != 0;
}

/* Rows that tests/unit/test_window.c and test_scan.c check. */
static bool is_neighbourly(Op op)
{
    AttrKind a = op_info[op].attr;

    return attr_group(a) || a == ATTR_AXIS || a == ATTR_ROWS || a == ATTR_SCORES || a == ATTR_LOOP;
}

static void test_shapes(void **state)
{
    (void)state;
    for (int op = 0; op < NOP; op++) {
        Class cls = op_info[op].cls;
        Rng   r = { (uint64_t)op };
        int   n = 0;

        if ((cls != CLASS_MOVE && cls != CLASS_REDUCE && cls != CLASS_FOLD) || is_neighbourly((Op)op))
            continue;
        for (int i = 0; i < ROUNDS; i++)
            n += check_shape(&r, (Op)op);
        assert_true(n > ROUNDS / 2);
    }
}

/* ---- counting ---- */

static void test_iota_one_hot(void **state)
{
    static const double klass[] = { 2, 0, 3 }, hot[] = { 0, 0, 1, 1, 0, 0, 0, 0, 0 }, count[] = { 0, 0, 1, 1, 2, 2 };
    One     o = one_new(false);
    int64_t depth = 3, axis = 0, dim[2] = { 3, 2 };
    Ref     a = one_arg(&o, NULL, vector(DT_u8, 3), klass);
    Type    grid = ty_make(DT_i32, 2, dim);

    (void)state;
    expect(one_eval(&o, graph_make(o.g, OP_one_hot, nowhere, 1, &a, attr_make(&o.m->mem, 1, &depth), NULL, NULL)), false, 9,
           hot);
    module_free(o.m);
    o = one_new(false);
    expect(one_eval(&o, graph_make(o.g, OP_iota, nowhere, 0, NULL, attr_make(&o.m->mem, 1, &axis), &grid, NULL)), false, 6,
           count);
    module_free(o.m);
}

/* Random123's known answers for philox4x32-10, the first of the four words; then the same through a graph. */
static void test_random(void **state)
{
    One     o = one_new(false);
    int64_t stream = 0x13198a2e;
    Type    t = vector(DT_f32, 5);

    (void)state;
    assert_int_equal(philox(0, 0, 0, 0), 0x6627e8d5);
    assert_int_equal(philox(UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX), 0x408f276d);
    assert_int_equal(philox(0x299f31d0a4093822u, 0x13198a2e, 0x03707344, 0x85a308d3243f6a88u), 0xd16cfe09);
    const Tensor *y = one_eval(&o, graph_make(o.g, OP_random, nowhere, 0, NULL, attr_make(&o.m->mem, 1, &stream), &t, NULL));
    for (int i = 0; i < 5; i++) {
        double x = tensor_get(y, i, false);

        assert_true(x == (philox(0x299f31d0a4093822u, 0x13198a2e, 0x03707344, (uint64_t)i) >> 8) / 16777216.0);
        assert_true(x >= 0 && x < 1);
    }
    module_free(o.m);
}

/* ---- whole graphs ---- */

/* wide keeps what f32 would round away; both evaluate only what a write needs. */
static void test_wide(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        static const double x[] = { 1, 2 };
        One  o = one_new(wide);
        Type t = vector(DT_f32, 2);
        Ref  a = one_arg(&o, NULL, t, x), tiny = graph_const(o.g, nowhere, t, 0x1p-40);
        Ref  unused = graph_op1(o.g, OP_exp, nowhere, a), y = graph_op2(o.g, OP_add, nowhere, a, tiny);

        double want[2] = { wide ? 1 + 0x1p-40 : 1, wide ? 2 + 0x1p-40 : 2 };
        expect(one_eval(&o, y), wide, 2, want);
        assert_null(o.value[unused.id].data);
        module_free(o.m);
    }
}

/* The same random points in f32 and as doubles: within an ulp times the function's condition, which DOM keeps small. */
static void test_f32_near_wide(void **state)
{
    Rng r = { 5 };

    (void)state;
    for (int op = 0; op < NOP; op++) {
        if (op_info[op].cls != CLASS_POINT || !strcmp(op_info[op].type_name, "compare") || op == OP_cast || op == OP_select ||
            op_info[op].domain == DOM_BOOL || op == OP_floor || op == OP_round)
            continue;
        for (int i = 0; i < 1000; i++) {
            bool   positive = op_info[op].domain == DOM_POS;
            float  a = (float)(positive ? 0.1 + rng_unit(&r) : 2 * rng_unit(&r) - 1);
            float  b = (float)(op == OP_div ? 0.5 + rng_unit(&r) : 2 * rng_unit(&r) - 1), c = (float)rng_unit(&r);
            double narrow = eval_point((Op)op, DT_f32, a, b, c), wide = eval_point((Op)op, DT_f64, a, b, c);

            if (!(fabs(narrow - wide) <= 4 * 0x1p-23 * fmax(1, fabs(wide))))
                fail_msg("%s of %.9g %.9g %.9g: f32 %.9g, f64 %.17g", op_info[op].name, a, b, c, narrow, wide);
        }
    }
}

/* ---- the backend interp ---- */

/* w' = w + rate * sum of the batch's pixels; loss = old w; seen = step; output = 2 * in + w */
static Module *small_module(void)
{
    Module *m = module_new();
    int64_t both[2] = { 0, 1 };
    int     w = module_add_slot(m, "fc.weight", SLOT_param, ty_scalar(DT_f32), nowhere);
    int     seen = module_add_slot(m, "seen", SLOT_state, ty_scalar(DT_f64), nowhere);
    int     step = module_add_slot(m, "step", SLOT_scalar, ty_scalar(DT_f64), nowhere);
    int     rate = module_add_slot(m, "rate", SLOT_scalar, ty_scalar(DT_f64), nowhere);
    int     x = module_add_slot(m, "image", SLOT_field, vector(DT_u8, 2), nowhere);
    int     loss = module_add_slot(m, "loss", SLOT_metric, ty_scalar(DT_f32), nowhere);
    int     in = module_add_slot(m, "in", SLOT_input, vector(DT_f32, 2), nowhere);
    int     out = module_add_slot(m, "out", SLOT_output, vector(DT_f32, 2), nowhere);
    Graph  *g = graph_new(m, ENTRY_TRAIN, 2), *f = graph_new(m, ENTRY_INFER, 1);
    Ref     rw = graph_read(g, nowhere, w), pixels = graph_cast(g, nowhere, graph_read(g, nowhere, x), DT_f32);
    Ref     sum = graph_axes(g, OP_sum, nowhere, pixels, 2, both), lr = graph_read(g, nowhere, rate);

    m->slot[rate].value = 0.5;
    m->name = m->text = "small";
    m->train.present = true;
    graph_write(g, nowhere, w, graph_op2(g, OP_add, nowhere, rw,
                                         graph_op2(g, OP_mul, nowhere, graph_cast(g, nowhere, lr, DT_f32), sum)));
    graph_write(g, nowhere, loss, rw);
    graph_write(g, nowhere, seen, graph_read(g, nowhere, step));
    module_add_graph(m, g);

    int64_t size[2] = { 1, 2 };
    Ref     ri = graph_read(f, nowhere, in), old = graph_expand(f, nowhere, graph_read(f, nowhere, w), 2, both, size);
    graph_write(f, nowhere, out, graph_op2(f, OP_add, nowhere, graph_op2(f, OP_add, nowhere, ri, ri), old));
    module_add_graph(m, f);
    return m;
}

static void check_image(const NndImage *im)
{
    assert_int_equal(im->abi, NND_ABI);
    assert_int_equal(im->state_bytes, 128);
    assert_int_equal(im->nvar, 2);
    assert_string_equal(im->var[0].name, "fc.weight");
    assert_int_equal(im->var[1].offset, 64);
    assert_int_equal(im->var[1].dtype, NND_F64);
    assert_int_equal(im->nfield, 1);
    assert_int_equal(im->field[0].dim[0], 2);
    assert_int_equal(im->ninput, 1);
    assert_int_equal(im->noutput, 1);
    assert_int_equal(im->nentry, 2);
    assert_int_equal(im->train->nscalar, 1);
    assert_string_equal(im->train->scalar[0].name, "rate");
    assert_int_equal(im->train->nmetric, 1);
}

static void test_interp(void **state)
{
    static const uint8_t pixels[5][2] = { { 1, 2 }, { 3, 4 }, { 5, 6 }, { 7, 8 }, { 9, 10 } };
    static const int32_t row[4] = { 4, 0, 2, 2 };
    _Alignas(64) char memory[128] = { 0 };
    const void *field[1] = { pixels };
    double      metric[2], rate[1] = { 2 }, seen;
    float       w = 100, in[4] = { 1, 2, 3, 4 }, out[4];
    void       *outs[1] = { out };
    char        why[100];
    Module     *m = small_module();
    NndImage   *im = backend_interp.load(m, &(BackendOptions){ 0 }, why, sizeof why);
    NndCall     call = { .state = memory, .field = field, .row = row, .nbatch = 2, .step = 7, .steps = 9, .epoch = 1,
                         .metric_out = metric };

    (void)state;
    check_image(im);
    memcpy(memory, &w, sizeof w);
    assert_int_equal(im->entry[0].run(im, &im->entry[0], &call), 0);
    memcpy(&w, memory, sizeof w);
    memcpy(&seen, memory + 64, sizeof seen);
    assert_true(w == 100 + 0.5f * (19 + 3) + 0.5f * (11 + 11));        /* the model's own rate, both batches */
    assert_true(metric[0] == 100 && metric[1] == 100 + 0.5 * (19 + 3)); /* before each update */
    assert_true(seen == 8);

    call.scalar = rate;
    call.nbatch = 1;
    assert_int_equal(im->entry[0].run(im, &im->entry[0], &call), 0);
    assert_true(*(float *)memory == w + 2.0f * (19 + 3));

    w = 10;
    memcpy(memory, &w, sizeof w);
    field[0] = in;
    NndCall infer = { .state = memory, .field = field, .out = outs, .nbatch = 2, .step = 1 };
    assert_int_equal(im->entry[1].run(im, &im->entry[1], &infer), 0);
    for (int i = 0; i < 4; i++)
        assert_true(out[i] == 2 * in[i] + 10);
    backend_interp.unload(im);
    module_free(m);
}

/* What an image says does not depend on the module any more. */
static void test_image_outlives(void **state)
{
    Module   *m = small_module();
    NndImage *im = image_new(m);

    (void)state;
    module_free(m);
    check_image(im);
    image_free(im);
    image_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points),         cmocka_unit_test(test_casts),     cmocka_unit_test(test_elements),
        cmocka_unit_test(test_reduced_vectors), cmocka_unit_test(test_constants), cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_iota_one_hot),   cmocka_unit_test(test_random),    cmocka_unit_test(test_wide),
        cmocka_unit_test(test_f32_near_wide),  cmocka_unit_test(test_interp),    cmocka_unit_test(test_image_outlives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
