/* test_rules.c - every rule of rules.def on random, extreme and special values, and simplify as a whole.
 *
 * A rule's pattern is made into a graph with arbitrary shapes, attributes and dtypes; that rule alone
 * rewrites a copy; both are evaluated and must agree as the row promises.  Near misses are made from the
 * pattern too: another number, another node where a name is used twice, something between two operations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "passes/pass.h"
#include "passes/rules.h"
#include "tests/unit/arbitrary.h"

enum { CASES = 150, MOST_SLOTS = 16 };

typedef enum Miss { MISS_NONE, MISS_NUMBER, MISS_NAME, MISS_INNER, NMISS } Miss;

typedef struct Case {
    Module *m;
    Graph  *g;
    Rng    *r;
    Rule    rule;
    Type    type;                      /* of names, unless each has its own */
    Ref     bound[26];
    Tensor  value[MOST_SLOTS];         /* by slot */
    Miss    miss;
    bool    missed;                    /* the pattern had a place for that */
    bool    failed;                    /* the sample doesn't fit the operations' types */
} Case;

static const PassOptions options = { .rule_limit = -1 };

/* ---- from a pattern to a graph ---- */

static Ref read_special(Case *c, Type t)
{
    int slot = module_add_slot(c->m, arena_printf(&c->m->mem, "s%d", c->m->nslot), SLOT_state, t, (Loc){ 0 });

    assert_true(slot < MOST_SLOTS);
    c->value[slot] = tensor_new(&c->m->mem, &t, false);
    for (int64_t i = 0; i < ty_count(&t); i++)
        tensor_set(&c->value[slot], i, arb_special(c->r, t.dtype), false);
    return graph_read(c->g, (Loc){ 0 }, slot);
}

static Type name_type(Case *c, bool is_bool, bool is_own)
{
    if (is_own)
        return arb_type(c->r, c->type.dtype, 1, 4);
    return is_bool ? ty_with(c->type, DT_bool) : c->type;
}

static Ref grow_name(Case *c, const char *name, Type t)
{
    Ref *bound = &c->bound[name[0] - 'a'];

    if (bound->id && c->miss != MISS_NAME)
        return *bound;
    c->missed |= bound->id != 0;
    if (rules_is_const_name(name))
        *bound = graph_const(c->g, (Loc){ 0 }, t, arb_special(c->r, t.dtype));
    else
        *bound = read_special(c, t);
    return *bound;
}

static Ref grow_number(Case *c, double x, Type t)
{
    if (c->miss == MISS_NUMBER) {
        c->missed = true;
        x = t.dtype == DT_bool ? 1 - x : x == 0 && dt_is_float(t.dtype) && rng_below(c->r, 2) ? -x : x + 1;
    }
    const char *error = NULL;
    Ref         r = graph_make(c->g, OP_const, (Loc){ 0 }, 0, NULL, attr_double(&c->m->mem, x), &t, &error);

    c->failed |= !r.id;                /* u8 can't hold -1 */
    return r;
}

/* Something that changes no value but is not what the pattern has there. */
static Ref grow_between(Case *c, Ref r)
{
    Dtype d = graph_at(c->g, r)->type.dtype;

    if (dt_is_float(d)) {
        c->missed = true;
        return graph_op1(c->g, OP_stop_gradient, (Loc){ 0 }, r);
    }
    if (d == DT_bool) {
        c->missed = true;
        return graph_op2(c->g, OP_and, (Loc){ 0 }, r, r);
    }
    return r;
}

static Ref grow(Case *c, const Expr *e, bool is_bool, bool is_own);

static Ref grow_op(Case *c, const Expr *e, Op op, bool is_bool)
{
    const char *error = NULL;
    Ref         arg[3] = { { 0 } };
    Type        type[3] = { { 0 } };

    is_bool = is_bool || op == OP_not;
    for (int i = 0; i < e->narg && !c->failed; i++) {
        Op inner;

        arg[i] = grow(c, e->arg[i], is_bool || (op == OP_select && i == 0), op == OP_dot);
        if (c->failed)
            return arg[i];
        if (c->miss == MISS_INNER && rules_op(e->arg[i], &inner))
            arg[i] = grow_between(c, arg[i]);
        type[i] = graph_at(c->g, arg[i])->type;
    }
    if ((op_info[op].props & PROP_COMM) && rng_below(c->r, 2)) {
        Ref t = arg[0];

        arg[0] = arg[1];
        arg[1] = t;
    }
    Attr attr = arb_attr(c->r, &c->m->mem, op_info[op].attr, &type[0], &type[1]);
    Ref  r = graph_make(c->g, op, (Loc){ 0 }, e->narg, arg, attr, NULL, &error);
    c->failed = !r.id;
    return r;
}

static Ref grow(Case *c, const Expr *e, bool is_bool, bool is_own)
{
    double x;
    Op     op = NOP;

    if (e->kind == EXPR_NAME)
        return grow_name(c, e->name, name_type(c, is_bool, is_own));
    if (rules_number(e, &x))
        return grow_number(c, x, name_type(c, is_bool, false));
    assert_true(rules_op(e, &op));
    if (op == OP_transpose && is_own)              /* an argument of dot: a name inside has a type of its own */
        c->type = arb_type(c->r, c->type.dtype, 1, 4);
    return grow_op(c, e, op, is_bool);
}

static bool make_case(Case *c, Rng *r, const RuleExpr *rule, Rule which)
{
    static const Dtype dtype[] = { DT_f32, DT_f64, DT_f32, DT_f64, DT_i32, DT_u8, DT_i64 };
    Ref root;

    *c = (Case){ .m = module_new(), .r = r, .rule = which, .type = arb_type(r, dtype[rng_below(r, 7)], 0, 4) };
    c->miss = rng_below(r, 2) ? MISS_NONE : (Miss)rng_below(r, NMISS);
    c->g = graph_new(c->m, ENTRY_TRAIN, 1);
    root = grow(c, rule[which].pattern, false, false);
    if (c->failed)
        return false;
    graph_write(c->g, (Loc){ 0 }, module_add_slot(c->m, "y", SLOT_state, graph_at(c->g, root)->type, (Loc){ 0 }), root);
    return true;
}

/* ---- one rule alone ---- */

typedef struct OneRule { const RuleExpr *rule; Rule which; bool arg_shared; int fired; } OneRule;

static Ref apply_one(Graph *g, const Node *nd, void *ctx)
{
    OneRule *one = ctx;
    Match    mt;
    Ref      known = fold_constant(g, nd);

    if (known.id)                      /* as simplify does it: replacements count on it */
        return known;
    if (!rules_match(one->rule, one->which, g, nd, one->arg_shared, &mt))
        return (Ref){ 0 };
    one->fired++;
    return rules_replace(one->rule, one->which, &mt);
}

static Ref copy_rewriting(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    to->rewrite = apply_one;
    to->rewrite_ctx = ctx;
    return graph_clone_node(to, nd, arg);
}

/* ---- comparing ---- */

static Tensor *evaluate(Case *c, const Graph *g)
{
    EvalEnv env = { .seed = 1, .step = 1, .read = arb_read, .ctx = c->value };
    Tensor *value = arena_array(&c->m->mem, Tensor, g->nnode);

    eval_graph(g, &env, &c->m->mem, value);
    return value;
}

/* The reals' order as integers, both zeros 0: neighbours differ by one. */
static int64_t place(double x, Dtype d)
{
    double  wide = fabs(x);
    float   narrow = (float)wide;
    int32_t narrow_bits;
    int64_t bits;

    memcpy(&narrow_bits, &narrow, sizeof narrow);
    memcpy(&bits, &wide, sizeof wide);
    if (d == DT_f32)
        bits = narrow_bits;
    return signbit(x) ? -bits : bits;
}

static bool agrees(double a, double b, Dtype d, int ulps)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (ulps == EXACT)
        return a == b && signbit(a) == signbit(b);
    return a == b || llabs(place(a, d) - place(b, d)) <= ulps;
}

/* Is element i of every float node an ordinary number?  (Rules with a bound are pointwise.) */
static bool is_ordinary(const Graph *g, const Tensor *value, int64_t i)
{
    for (int id = 1; id < g->nnode; id++) {
        Dtype  d = g->node[id].type.dtype;
        double x;

        if (!value[id].data || !dt_is_float(d))
            continue;
        x = fabs(tensor_get(&value[id], i, false));
        if (!(x >= (d == DT_f32 ? FLT_MIN : DBL_MIN) && x <= (d == DT_f32 ? FLT_MAX : DBL_MAX)))
            return false;
    }
    return true;
}

/* Elements compared. */
static int64_t compare(Case *c, const Graph *before, const Graph *after)
{
    Tensor *va = evaluate(c, before), *vb = evaluate(c, after);
    Tensor *a = &va[before->write[0].value.id], *b = &vb[after->write[0].value.id];
    int     ulps = rule_info[c->rule].ulps;
    int64_t n = 0;

    assert_true(ty_equal(&a->type, &b->type));
    for (int64_t i = 0; i < ty_count(&a->type); i++) {
        double x = tensor_get(a, i, false), y = tensor_get(b, i, false);

        if (ulps > 0 && !is_ordinary(before, va, i))
            continue;
        n++;
        if (!agrees(x, y, a->type.dtype, ulps))
            fail_msg("%s (%s): %.17g became %.17g", rule_info[c->rule].name, dt_name(a->type.dtype), x, y);
    }
    return n;
}

/* ---- every row ---- */

typedef struct Tally { int fired, missed; int64_t compared[NDTYPE]; } Tally;

static void check_case(Case *c, const RuleExpr *rule, Tally *t)
{
    OneRule one = { rule, c->rule, false, 0 };
    Graph  *after = graph_copy(c->g, copy_rewriting, &one);
    bool    is_always = strcmp(rule_info[c->rule].condition_name, "always") == 0;

    after->rewrite = NULL;
    if (c->missed && one.fired)
        fail_msg("%s: a near miss was hit", rule_info[c->rule].name);
    if (!c->missed && is_always && !one.fired)
        fail_msg("%s: its own pattern was not hit", rule_info[c->rule].name);
    assert_null(graph_verify(after));
    if (one.fired)
        t->compared[graph_at(c->g, c->g->write[0].value)->type.dtype] += compare(c, c->g, after);
    t->fired += one.fired > 0;
    t->missed += !one.fired;
}

static void test_rows(void **state)
{
    Arena           mem = { 0 };
    const RuleExpr *rule = rules_parse(&mem);
    Rng             r = { 3 };

    (void)state;
    for (int i = 0; i < NRULE; i++) {
        Tally t = { 0 };

        for (int k = 0; k < 200 * CASES && (t.fired < CASES || t.missed < CASES / 10); k++) {
            Case c;

            if (make_case(&c, &r, rule, (Rule)i))
                check_case(&c, rule, &t);
            module_free(c.m);
        }
        if (t.fired < CASES || t.missed < CASES / 10)
            fail_msg("%s: %d hits, %d near misses are too few", rule_info[i].name, t.fired, t.missed);
        if (i != RULE_add_zero && !(t.compared[DT_f32] && t.compared[DT_f64]) && !t.compared[DT_bool])
            fail_msg("%s: not compared in both f32 and f64", rule_info[i].name);
    }
    arena_free(&mem);
}

/* ---- termination ---- */

static void test_order(void **state)
{
    Arena           mem = { 0 };
    const RuleExpr *rule = rules_parse(&mem);

    (void)state;
    for (int i = 0; i < NRULE; i++) {
        double weight[26], before, after;

        for (int k = 0; k < 26; k++)
            weight[k] = 1;
        before = rules_weight(rule[i].pattern, weight);
        after = rules_weight(rule[i].replacement, weight);
        if (after >= before)
            fail_msg("%s: weight %g becomes %g", rule_info[i].name, before, after);
        for (int k = 0; k < 26; k++) {
            weight[k] = 2;
            if (rules_weight(rule[i].replacement, weight) - after > rules_weight(rule[i].pattern, weight) - before)
                fail_msg("%s: uses %c more heavily than before", rule_info[i].name, 'a' + k);
            weight[k] = 1;
        }
    }
    arena_free(&mem);
}

/* ---- what simplify does besides rows ---- */

static Case special_point(Rng *r, Op op, bool as_const)
{
    Case  c = { .m = module_new(), .r = r };
    Ref   arg[3], y;
    Dtype d = rng_below(r, 2) ? DT_f32 : DT_f64;
    Attr  attr = { 0 };
    int64_t to = rng_below(r, NDTYPE);

    c.g = graph_new(c.m, ENTRY_TRAIN, 1);
    if (op_info[op].type_name[0] == 'l')           /* logic */
        d = DT_bool;
    if (op == OP_cast)
        attr = attr_make(&c.m->mem, 1, &to);
    for (int i = 0; i < op_info[op].narg; i++) {
        Type t = ty_scalar(op == OP_select && i == 0 ? DT_bool : d);

        arg[i] = as_const ? graph_const(c.g, (Loc){ 0 }, t, arb_special(r, t.dtype)) : read_special(&c, t);
    }
    y = graph_make(c.g, op, (Loc){ 0 }, op_info[op].narg, arg, attr, NULL, NULL);
    graph_write(c.g, (Loc){ 0 }, module_add_slot(c.m, "y", SLOT_state, graph_at(c.g, y)->type, (Loc){ 0 }), y);
    module_add_graph(c.m, c.g);
    return c;
}

static double first_value(Case *c, const Graph *g)
{
    return tensor_get(&evaluate(c, g)[g->write[0].value.id], 0, false);
}

/* Constants fold to what the operation gives, and arguments change places without a trace (of 0 and -0
 * maximum and minimum may give either). */
static void test_fold_and_order(void **state)
{
    Rng r = { 11 };

    (void)state;
    for (int op = 0; op < NOP; op++) {
        if (op_info[op].cls != CLASS_POINT)
            continue;
        for (int i = 0; i < 400; i++) {
            Case   c = special_point(&r, (Op)op, i % 2 == 0);
            Dtype  d = graph_at(c.g, c.g->write[0].value)->type.dtype;
            double before = first_value(&c, c.g), after;

            if (i % 2 && (op_info[op].props & PROP_COMM)) {
                Ref     y = c.g->write[0].value, turned[2] = { graph_at(c.g, y)->arg[1], graph_at(c.g, y)->arg[0] };
                Attr    none = { 0 };
                Graph  *g = graph_copy(c.g, NULL, NULL);

                y = graph_make(g, (Op)op, (Loc){ 0 }, 2, turned, none, NULL, NULL);
                g->write[0].value = y;
                after = first_value(&c, g);
            } else {
                simplify(c.m, &options);
                after = first_value(&c, c.m->graph[0]);
            }
            if (!agrees(before, after, d, op == OP_maximum || op == OP_minimum ? 0 : EXACT))
                fail_msg("%s: %.17g became %.17g", op_info[op].name, before, after);
            module_free(c.m);
        }
    }
}

/* A heap of arbitrary nodes over f64 values near 1, each made from earlier ones. */
static Case make_heap(Rng *r)
{
    static const Op use[] = { OP_add, OP_sub, OP_mul, OP_neg, OP_neg, OP_transpose, OP_transpose, OP_expand,
                              OP_reshape, OP_sum, OP_max, OP_dot, OP_dot, OP_tanh };
    Case  c = { .m = module_new(), .r = r };
    Ref   heap[64];
    int   n = 0;

    c.g = graph_new(c.m, ENTRY_TRAIN, 1);
    for (; n < 4; n++) {
        int64_t two[] = { 2, 2, 2 };

        c.type = ty_make(DT_f64, n, two);
        heap[n] = read_special(&c, c.type);
        for (int64_t i = 0; i < ty_count(&c.type); i++)
            tensor_set(&c.value[n], i, 1 + 0.5 * rng_unit(r), false);
    }
    heap[n++] = graph_const(c.g, (Loc){ 0 }, ty_scalar(DT_f64), 1);
    heap[n++] = graph_const(c.g, (Loc){ 0 }, ty_scalar(DT_f64), -2);
    for (int tries = 0; n < 40 && tries < 4000; tries++) {
        const char *error = NULL;
        Op          op = use[rng_below(r, (int)(sizeof use / sizeof *use))];
        Ref         arg[2] = { heap[rng_below(r, n)], heap[rng_below(r, n)] };
        Type        a = graph_at(c.g, arg[0])->type, b = graph_at(c.g, arg[1])->type;
        Attr        attr = arb_attr(r, &c.m->mem, op_info[op].attr, &a, &b);
        Ref         y = graph_make(c.g, op, (Loc){ 0 }, op_info[op].narg, arg, attr, NULL, &error);

        if (y.id && ty_count(&graph_at(c.g, y)->type) < 200)
            heap[n++] = y;
    }
    c.type = graph_at(c.g, heap[n - 1])->type;
    graph_write(c.g, (Loc){ 0 }, module_add_slot(c.m, "y", SLOT_state, c.type, (Loc){ 0 }), heap[n - 1]);
    module_add_graph(c.m, c.g);
    return c;
}

/* All rules at once end, leave a graph that verifies, and keep the value.  Tolerance: forty operations
 * without a division, so relative to the largest value on the way each adds a rounding of 1e-16 or so, which
 * later products may scale by that value; where it is below 1e3 the sum of that stays far below 1e-9. */
static void test_together(void **state)
{
    Rng r = { 5 };
    int compared = 0;

    (void)state;
    for (int i = 0; i < 600; i++) {
        Case    c = make_heap(&r);
        Tensor *va = evaluate(&c, c.g), *vb;
        double  scale = 1;

        simplify(c.m, &options);
        assert_null(graph_verify(c.m->graph[0]));
        vb = evaluate(&c, c.m->graph[0]);
        for (int id = 1; id < c.g->nnode; id++) {
            for (int64_t k = 0; va[id].data && k < ty_count(&va[id].type); k++)
                scale = fmax(scale, fabs(tensor_get(&va[id], k, false)));
        }
        const Tensor *a = &va[c.g->write[0].value.id], *b = &vb[c.m->graph[0]->write[0].value.id];
        for (int64_t k = 0; k < ty_count(&a->type) && scale < 1e3; k++, compared++)
            assert_true(fabs(tensor_get(a, k, false) - tensor_get(b, k, false)) <= 1e-9 * scale);
        module_free(c.m);
    }
    assert_true(compared > 1000);
}

/* -(-(x + (-y))) takes two rewrites, each saves a node and the last two */
static void test_limit(void **state)
{
    static const int nodes[] = { 6, 5, 3, 3 };

    (void)state;
    for (int limit = 0; limit < 4; limit++) {
        PassOptions o = { .rule_limit = limit };
        Rng         r = { 1 };
        Case        c = { .m = module_new(), .r = &r };

        c.g = graph_new(c.m, ENTRY_TRAIN, 1);
        Ref x = read_special(&c, ty_scalar(DT_f32)), y = read_special(&c, ty_scalar(DT_f32));
        Ref sum = graph_op2(c.g, OP_add, (Loc){ 0 }, x, graph_op1(c.g, OP_neg, (Loc){ 0 }, y));
        Ref root = graph_op1(c.g, OP_neg, (Loc){ 0 }, graph_op1(c.g, OP_neg, (Loc){ 0 }, sum));
        graph_write(c.g, (Loc){ 0 }, 0, root);
        module_add_graph(c.m, c.g);
        simplify(c.m, &o);
        assert_int_equal(c.m->graph[0]->nnode - 1, nodes[limit]);
        module_free(c.m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_fold_and_order),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
