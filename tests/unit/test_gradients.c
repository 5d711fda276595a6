/* test_gradients.c - every gradient of ops.def against central differences, in double precision.
 *
 * For a row with arguments a, b, c the loss is sum(y * w), w arbitrary, so that every element of y has
 * its own adjoint.  Shapes are arbitrary, sizes of 1 among them; values come from the row's domain.
 *
 * To second order the loss is sum(grad(sum(y * w), a) * v) and the same of b and c, v arbitrary: its gradient
 * is the product of the Hessian with v.  Where a row is linear, or made of linear pieces, differences and gradient
 * are both zero, or those of w and v alone.
 *
 * Tolerance: with a step h of 1e-5 a central difference is wrong by h^2 f'''/6, below 1e-8 for what the
 * domains allow, and by rounding, 2^-53 * |loss| / h, below 1e-9 for losses up to 100.  1e-6, relative to
 * the larger of 1 and the derivative, is far from both, and far from a wrong factor or sign.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "passes/gradient.h"
#include "passes/pass.h"
#include "tests/unit/arbitrary.h"

enum { CASES = 24 };
static const double STEP = 1e-5, TOLERANCE = 1e-6;

/* One node, its loss, and the values it is looked at. */
typedef struct Case {
    Module *m;
    Op      op;
    int     narg, arg[GRAD_ARGS];      /* slots */
    int     grad[GRAD_ARGS];           /* slots of gradients; -1 if the argument has none */
    int     weight, loss;              /* slots */
    Tensor  value[4 * GRAD_ARGS];      /* by slot */
} Case;

/* ---- sampling ---- */

/* Kinks: values 0.05 apart from each other all over the case, and not near 0 or another whole number. */
static double sample_kink(Rng *r, int64_t i)
{
    double x = 0.13 + 0.1 * (double)i;

    return rng_below(r, 2) ? x : -x - 0.05;
}

static double sample(Rng *r, Domain d, int64_t i)
{
    double sign = rng_below(r, 2) ? 1 : -1;

    switch (d) {
    case DOM_ANY:  return 4 * rng_unit(r) - 2;
    case DOM_POS:  return 0.2 + 2 * rng_unit(r);
    case DOM_UNIT: return 1.9 * rng_unit(r) - 0.95;
    case DOM_NZ:   return sign * (0.4 + 2 * rng_unit(r));
    case DOM_KINK: return sample_kink(r, i);
    case DOM_INT:  return rng_below(r, 4);
    case DOM_BOOL: return rng_below(r, 2);
    case DOM_none: break;
    }
    return 0;
}

static void fill(Case *c, Rng *r, int slot, Domain d, int64_t *next)
{
    const Type *t = &c->m->slot[slot].type;
    int64_t     n = ty_count(t), order[4096];

    assert_true(n + *next < 4096);
    for (int64_t i = 0; i < n; i++)
        order[i] = *next + i;
    rng_shuffle(r, (int)n, order);
    c->value[slot] = tensor_new(&c->m->mem, t, true);
    for (int64_t i = 0; i < n; i++)
        tensor_set(&c->value[slot], i, sample(r, t->dtype == DT_bool ? DOM_BOOL : d, order[i]), true);
    *next += n;
}

/* ---- building ---- */

static Type arg_type(Rng *r, Op op, int i, const Type *first)
{
    Dtype d = i == 0 && rng_below(r, 2) ? DT_f64 : DT_f32;
    Type  t;

    if (op_info[op].cls != CLASS_POINT)
        return i == 0 ? arb_type(r, d, 1, 4) : arb_type(r, first->dtype, 1, 4);
    t = i == 0 ? arb_type(r, d, 0, 3) : *first;
    if (op == OP_select)
        return ty_with(t, i == 0 ? DT_bool : DT_f64);
    return t;
}

static Ref sum_all(Graph *g, Ref r)
{
    Type    t = graph_at(g, r)->type;
    int64_t axis[MAX_RANK];

    for (int i = 0; i < t.rank; i++)
        axis[i] = i;
    return t.rank ? graph_axes(g, OP_sum, (Loc){ 0 }, r, t.rank, axis) : r;
}

static Ref make_node(Case *c, Rng *r, Graph *g)
{
    const char *error = NULL;
    Ref         arg[GRAD_ARGS];
    Type        type[GRAD_ARGS];

    for (int i = 0; i < c->narg; i++)
        type[i] = arg_type(r, c->op, i, &type[0]);
    arb_fit(r, c->op, type);
    for (int i = 0; i < c->narg; i++) {
        c->arg[i] = module_add_slot(c->m, arena_printf(&c->m->mem, "p%d", i), SLOT_param, type[i], (Loc){ 0 });
        arg[i] = graph_read(g, (Loc){ 0 }, c->arg[i]);
    }
    Attr attr = arb_attr(r, &c->m->mem, op_info[c->op].attr, &type[0], &type[1]);
    return graph_make(g, c->op, (Loc){ 0 }, c->narg, arg, attr, NULL, &error);
}

static bool is_float_slot(const Case *c, int slot) { return dt_is_float(c->m->slot[slot].type.dtype); }

static Ref weighted(Graph *g, Ref y, int slot)
{
    return sum_all(g, graph_op2(g, OP_mul, (Loc){ 0 }, y, graph_read(g, (Loc){ 0 }, slot)));
}

/* The gradient of the loss along an arbitrary direction. */
static Ref along(Case *c, Rng *r, Graph *g, Ref loss, int64_t *next)
{
    Type type = graph_at(g, loss)->type;
    Ref  sum = graph_const(g, (Loc){ 0 }, type, 0);

    for (int i = 0; i < c->narg; i++) {
        if (!is_float_slot(c, c->arg[i]))
            continue;
        Ref slope = graph_op2(g, OP_grad, (Loc){ 0 }, loss, graph_read(g, (Loc){ 0 }, c->arg[i]));
        int v = module_add_slot(c->m, arena_printf(&c->m->mem, "v%d", i), SLOT_state, graph_at(g, slope)->type, (Loc){ 0 });

        fill(c, r, v, DOM_ANY, next);
        slope = graph_cast(g, (Loc){ 0 }, weighted(g, slope, v), type.dtype);
        sum = graph_op2(g, OP_add, (Loc){ 0 }, sum, slope);
    }
    return sum;
}

/* Returns false if the sample doesn't fit the row, or if its result has no derivative. */
static bool make_case(Case *c, Rng *r, Op op, int order)
{
    Graph *g;
    Ref    y, loss;
    int    param[GRAD_ARGS], grad[GRAD_ARGS], n = 0;
    int64_t next = 0;

    *c = (Case){ .m = module_new(), .op = op, .narg = op_info[op].narg };
    g = graph_new(c->m, ENTRY_TRAIN, 1);
    y = make_node(c, r, g);
    if (!y.id || !dt_is_float(graph_at(g, y)->type.dtype) || ty_count(&graph_at(g, y)->type) > 400)
        return false;
    c->weight = module_add_slot(c->m, "w", SLOT_state, graph_at(g, y)->type, (Loc){ 0 });
    loss = weighted(g, y, c->weight);
    if (order == 2)
        loss = along(c, r, g, loss, &next);
    c->loss = module_add_slot(c->m, "loss", SLOT_metric, graph_at(g, loss)->type, (Loc){ 0 });
    graph_write(g, (Loc){ 0 }, c->loss, loss);
    for (int i = 0; i < c->narg; i++) {
        c->grad[i] = -1;
        fill(c, r, c->arg[i], op_info[op].domain, &next);
        if (!is_float_slot(c, c->arg[i]))
            continue;
        c->grad[i] = module_add_slot(c->m, arena_printf(&c->m->mem, "g%d", i), SLOT_grad, c->m->slot[c->arg[i]].type, (Loc){ 0 });
        param[n] = c->arg[i];
        grad[n++] = c->grad[i];
    }
    fill(c, r, c->weight, DOM_ANY, &next);
    graph_minimize(g, (Loc){ 0 }, loss, n, param, grad);
    module_add_graph(c->m, g);
    return true;
}

/* ---- comparing ---- */

static double written(Case *c, int slot, int64_t i)
{
    const Graph *g = c->m->graph[0];
    EvalEnv      env = { .wide = true, .seed = 1, .step = 1, .read = arb_read, .ctx = c->value };
    Arena        mem = { 0 };
    Tensor      *value = arena_array(&mem, Tensor, g->nnode);
    double       x = NAN;

    eval_graph(g, &env, &mem, value);
    for (int k = 0; k < g->nwrite; k++) {
        if (g->write[k].slot == slot)
            x = tensor_get(&value[g->write[k].value.id], i, true);
    }
    arena_free(&mem);
    return x;
}

static double difference(Case *c, int slot, int64_t i)
{
    Tensor *t = &c->value[slot];
    double  x = tensor_get(t, i, true), up, down;

    tensor_set(t, i, x + STEP, true);
    up = written(c, c->loss, 0);
    tensor_set(t, i, x - STEP, true);
    down = written(c, c->loss, 0);
    tensor_set(t, i, x, true);
    return (up - down) / (2 * STEP);
}

static void compare_arg(Case *c, int k)
{
    int64_t n = ty_count(&c->m->slot[c->arg[k]].type);

    /* elements are alike, so some of a large argument stand for all */
    for (int64_t i = 0; i < n; i += n > 24 ? 5 : 1) {
        double want = difference(c, c->arg[k], i), got = written(c, c->grad[k], i);
        double error = fabs(got - want) / fmax(1, fabs(want));

        if (!(error <= TOLERANCE))
            fail_msg("%s: argument %d, element %lld: gradient %.9g, central difference %.9g", op_info[c->op].name, k,
                     (long long)i, got, want);
    }
}

static bool check_case(Rng *r, Op op, int order)
{
    Case              c;
    const PassOptions o = { .rule_limit = -1 };
    bool              fits = make_case(&c, r, op, order);

    if (fits) {
        autodiff(c.m, &o);
        assert_null(graph_verify(c.m->graph[0]));
        assert_int_equal(c.m->graph[0]->nmin, 0);
        assert_false(graph_holds(c.m->graph[0], OP_grad));
        for (int k = 0; k < c.narg; k++) {
            if (c.grad[k] >= 0)
                compare_arg(&c, k);
        }
    }
    module_free(c.m);
    return fits;
}

static bool is_row_sampled(Op op)
{
    bool by_number = op == OP_gather || op == OP_scatter || op == OP_put;

    return op_info[op].narg > 0 && (op_info[op].domain != DOM_INT || by_number) && op_info[op].domain != DOM_BOOL
        && op_info[op].domain != DOM_none;
}

/* Comparisons and positions have no derivative, and stop_gradient is untrue on purpose.  floor and round
 * have zeros for their gradient, so they are compared as well. */
static bool has_derivative(Op op)
{
    return is_row_sampled(op) && op != OP_stop_gradient && op != OP_lt && op != OP_le && op != OP_argmax && op != OP_argmin;
}

static void check_rows(int order)
{
    Rng r = { 20 };

    for (int op = 0; op < NOP; op++) {
        int done = 0, want = op_info[op].cls == CLASS_FOLD ? 8 * CASES : CASES;   /* many ways to pair axes */

        if (!has_derivative((Op)op))
            continue;
        for (int i = 0; i < 40 * want && done < want; i++)
            done += check_case(&r, (Op)op, order);
        if (done < want)
            fail_msg("%s: only %d samples fit", op_info[op].name, done);
    }
}

static void test_rows(void **state)
{
    (void)state;
    check_rows(1);
}

static void test_rows_twice(void **state)
{
    (void)state;
    check_rows(2);
}

/* ---- closure ---- */

/* No gradient, and why:
 *   floor, round, stop_gradient   zero where it exists; zero by definition
 *   results that are not floats have no derivative, nor have arguments that are not */
static bool needs_gradient(const Graph *g, const Node *nd, int i)
{
    return nd->op != OP_floor && nd->op != OP_round && nd->op != OP_stop_gradient && dt_is_float(nd->type.dtype)
        && dt_is_float(graph_at(g, nd->arg[i])->type.dtype);
}

/* Every node of every gradient can be differentiated again. */
static void test_closed(void **state)
{
    const PassOptions o = { .rule_limit = -1 };
    Arena             mem = { 0 };
    const Gradient   *table = gradient_table(&mem);
    Rng               r = { 7 };

    (void)state;
    for (int i = 0; i < 30 * NOP; i++) {
        Op   op = (Op)(i % NOP);
        Case c;

        if (!is_row_sampled(op))
            continue;
        if (make_case(&c, &r, op, 1)) {
            autodiff(c.m, &o);
            const Graph *g = c.m->graph[0];
            for (int id = 1; id < g->nnode; id++) {
                for (int k = 0; k < g->node[id].narg; k++) {
                    if (needs_gradient(g, &g->node[id], k) && !gradient_flows(table, g->node[id].op, k))
                        fail_msg("%s: its gradient uses %s, which has none", op_info[op].name, op_info[g->node[id].op].name);
                }
            }
        }
        module_free(c.m);
    }
    arena_free(&mem);
}

/* ---- what the walk does around the rows ---- */

static double write_value(Module *m, const char *slot, Tensor *value_by_slot)
{
    Case c = { .m = m };

    memcpy(c.value, value_by_slot, (size_t)m->nslot * sizeof *value_by_slot);
    return written(&c, module_slot(m, slot), 0);
}

static Tensor one_number(Module *m, const Type *t, double x)
{
    Tensor v = tensor_new(&m->mem, t, true);

    for (int64_t i = 0; i < ty_count(t); i++)
        tensor_set(&v, i, x, true);
    return v;
}

static Module *minimized(void (*build)(Graph *, const int *slot), const char *const *name, int n, double x, Tensor *value)
{
    Module           *m = module_new();
    Graph            *g = graph_new(m, ENTRY_TRAIN, 1);
    const PassOptions o = { .rule_limit = -1 };
    int               slot[3 * GRAD_ARGS];

    for (int i = 0; i < n; i++) {
        SlotKind kind = name[i][0] == 'g' ? SLOT_grad : SLOT_param;

        slot[i] = module_add_slot(m, name[i], kind, ty_scalar(DT_f64), (Loc){ 0 });
        value[slot[i]] = one_number(m, &m->slot[slot[i]].type, x + i);
    }
    build(g, slot);
    module_add_graph(m, g);
    autodiff(m, &o);
    assert_null(graph_verify(m->graph[0]));
    return m;
}

/* slots u, gu, v, gv: minimize u * u + u over u, v */
static void build_shared(Graph *g, const int *slot)
{
    Ref u = graph_read(g, (Loc){ 0 }, slot[0]);
    Ref loss = graph_op2(g, OP_add, (Loc){ 0 }, graph_op2(g, OP_mul, (Loc){ 0 }, u, u), u);

    graph_minimize(g, (Loc){ 0 }, loss, 2, (int[]){ slot[0], slot[2] }, (int[]){ slot[1], slot[3] });
}

static void test_uses_add_up(void **state)
{
    static const char *const name[] = { "u", "gu", "v", "gv" };
    Tensor  value[3 * GRAD_ARGS] = { 0 };
    Module *m = minimized(build_shared, name, 4, 3, value);

    (void)state;
    assert_true(write_value(m, "gu", value) == 7);
    assert_true(write_value(m, "gv", value) == 0);    /* not reached: zero */
    module_free(m);
}

/* two losses, each with its own parameter; u * stop_gradient(v), and v * v * u over v alone */
static void build_two(Graph *g, const int *slot)
{
    Ref u = graph_read(g, (Loc){ 0 }, slot[0]), v = graph_read(g, (Loc){ 0 }, slot[2]);
    Ref first = graph_op2(g, OP_mul, (Loc){ 0 }, u, graph_op1(g, OP_stop_gradient, (Loc){ 0 }, v));
    Ref second = graph_op2(g, OP_mul, (Loc){ 0 }, graph_op2(g, OP_mul, (Loc){ 0 }, v, v), u);

    graph_minimize(g, (Loc){ 0 }, first, 1, (int[]){ slot[0] }, (int[]){ slot[1] });
    graph_minimize(g, (Loc){ 0 }, second, 1, (int[]){ slot[2] }, (int[]){ slot[3] });
}

static void test_two_losses(void **state)
{
    static const char *const name[] = { "u", "gu", "v", "gv" };
    Tensor  value[3 * GRAD_ARGS] = { 0 };
    Module *m = minimized(build_two, name, 4, 2, value);

    (void)state;
    assert_true(write_value(m, "gu", value) == 4);         /* v */
    assert_true(write_value(m, "gv", value) == 2 * 4 * 2); /* 2 v u */
    module_free(m);
}

/* Equal extremes share the gradient; kinks give what the rows promise. */
static void test_ties(void **state)
{
    static const struct { Op op; double at, want; } tie[] = {
        { OP_relu, 0, 0 }, { OP_maximum, 0, 0.5 }, { OP_minimum, 0, 0.5 }, { OP_max, 0, 1.0 / 3 }, { OP_min, 0, 1.0 / 3 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof tie / sizeof *tie; i++) {
        Module           *m = module_new();
        Graph            *g = graph_new(m, ENTRY_TRAIN, 1);
        const PassOptions o = { .rule_limit = -1 };
        int64_t           three = 3, axis = 0;
        Type              t = ty_make(DT_f64, 1, &three);
        int               p = module_add_slot(m, "p", SLOT_param, t, (Loc){ 0 });
        int               q = module_add_slot(m, "g", SLOT_grad, t, (Loc){ 0 });
        Tensor            value[2] = { one_number(m, &t, tie[i].at) };
        Ref               a = graph_read(g, (Loc){ 0 }, p), y;

        if (op_info[tie[i].op].cls == CLASS_REDUCE)
            y = graph_axes(g, tie[i].op, (Loc){ 0 }, a, 1, &axis);
        else if (op_info[tie[i].op].narg == 1)
            y = sum_all(g, graph_op1(g, tie[i].op, (Loc){ 0 }, a));
        else
            y = sum_all(g, graph_op2(g, tie[i].op, (Loc){ 0 }, a, graph_const(g, (Loc){ 0 }, t, tie[i].at)));
        graph_minimize(g, (Loc){ 0 }, y, 1, &p, &q);
        module_add_graph(m, g);
        autodiff(m, &o);
        assert_true(write_value(m, "g", value) == tie[i].want);
        module_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rows_twice),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_uses_add_up),
        cmocka_unit_test(test_two_losses),
        cmocka_unit_test(test_ties),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
