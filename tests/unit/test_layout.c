/* test_layout.c - the pass layout changes where numbers lie and nothing else: nets of images at random, by the oracle before
 * and after it, in double precision.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "ir/eval.h"
#include "passes/pass.h"
#include "tests/unit/arbitrary.h"

enum { ROUNDS = 600, STEPS = 12, MAX_COUNT = 1 << 16 };

static const Loc nowhere;

typedef struct Net { Module *m; Graph *g; Rng *r; int64_t batch; } Net;

static Ref slot_of(Net *n, Type t)
{
    return graph_read(n->g, nowhere, module_add_slot(n->m, arena_printf(&n->m->mem, "s%d", n->m->nslot), SLOT_param, t, nowhere));
}

static Type type_of(const Net *n, Ref a) { return graph_at(n->g, a)->type; }

/* ---- one step of a net ---- */

static Ref step_conv(Net *n, Ref a)
{
    Type    t = type_of(n, a);
    int     spatial = t.rank > 3 ? 2 : 1;
    int64_t x[5], w[5], v[10], groups = t.rank > 2 && t.dim[1] % 2 == 0 && rng_below(n->r, 3) == 0 ? 2 : 1;
    Ref     arg[2];

    if (t.rank < 3)
        return a;
    x[0] = t.dim[0], x[1] = groups, x[2] = t.dim[1] / groups;
    w[0] = groups, w[1] = 1 + rng_below(n->r, 3), w[2] = x[2];
    for (int i = 0; i < spatial; i++) {
        int64_t one[5] = { 1 + rng_below(n->r, 2), rng_below(n->r, 2), rng_below(n->r, 2), 1, 1 };

        x[3 + i] = t.dim[t.rank - spatial + i];
        w[3 + i] = x[3 + i] < 2 ? 1 : 1 + rng_below(n->r, 2);
        for (int k = 0; k < 5; k++)
            v[5 * i + k] = one[k];
    }
    for (int i = 2; i < t.rank - spatial; i++)
        x[2] *= t.dim[i], w[2] *= t.dim[i];
    arg[0] = graph_reshape(n->g, nowhere, a, 3 + spatial, x);
    arg[1] = slot_of(n, ty_make(t.dtype, 3 + spatial, w));
    a = graph_make(n->g, OP_conv, nowhere, 2, arg, (Attr){ 5 * spatial, v }, NULL, NULL);
    t = type_of(n, a);
    t.dim[1] *= t.dim[2];
    for (int i = 2; i < t.rank - 1; i++)
        t.dim[i] = t.dim[i + 1];
    return graph_reshape(n->g, nowhere, a, t.rank - 1, t.dim);
}

/* Something of a's type is added: a number, a value for each place of an axis, a row for all, or as many numbers. */
static Ref step_add(Net *n, Ref a)
{
    Type    t = type_of(n, a);
    int64_t axis[MAX_RANK], size[MAX_RANK];
    int     keep = rng_below(n->r, t.rank), k = 0, kind = rng_below(n->r, 4);
    Ref     b;

    for (int i = 0; i < t.rank; i++)
        if (kind == 0 ? i != keep : i == 0)
            axis[k] = i, size[k++] = t.dim[i];
    if (kind == 2)
        b = graph_const(n->g, nowhere, t, 0.5);
    else if (kind == 3)
        b = slot_of(n, t);
    else
        b = graph_expand(n->g, nowhere, slot_of(n, ty_remove(t, k, axis)), k, axis, size);
    return graph_op2(n->g, rng_below(n->r, 2) ? OP_add : OP_mul, nowhere, a, b);
}

static Ref step_window(Net *n, Ref a)
{
    Type    t = type_of(n, a);
    int64_t axis = rng_below(n->r, t.rank), v[4] = { axis, 2, 1 + rng_below(n->r, 2), 1 }, last = t.rank;

    if (t.dim[axis] < 2)
        return a;
    a = graph_make(n->g, OP_window, nowhere, 1, &a, (Attr){ 4, v }, NULL, NULL);
    return rng_below(n->r, 3) ? graph_axes(n->g, rng_below(n->r, 2) ? OP_max : OP_first_max, nowhere, a, 1, &last) : a;
}

static Ref step_move(Net *n, Ref a, Op op)
{
    Type t = type_of(n, a);
    Attr attr = arb_attr(n->r, &n->m->mem, op_info[op].attr, &t, &t);
    const char *error;
    Ref  r = graph_make(n->g, op, nowhere, 1, &a, attr, NULL, &error);

    return r.id ? r : a;
}

static Ref step_reshape(Net *n, Ref a)
{
    Type t = type_of(n, a);
    int  at = 1 + rng_below(n->r, t.rank);

    if (at >= t.rank)
        return a;
    t.dim[at - 1] *= t.dim[at];
    for (int i = at; i < t.rank - 1; i++)
        t.dim[i] = t.dim[i + 1];
    return graph_reshape(n->g, nowhere, a, t.rank - 1, t.dim);
}

static Ref step(Net *n, Ref a)
{
    static const Op moves[] = { OP_pad, OP_slice, OP_transpose, OP_expand }, points[] = { OP_tanh, OP_relu, OP_neg };
    static const Op reductions[] = { OP_sum, OP_max, OP_min, OP_first_max };
    int64_t axis = rng_below(n->r, type_of(n, a).rank);

    switch (rng_below(n->r, 8)) {
    case 0: case 1: return step_conv(n, a);
    case 2:  return step_add(n, a);
    case 3:  return step_window(n, a);
    case 4:  return step_move(n, a, moves[rng_below(n->r, 4)]);
    case 5:  return step_reshape(n, a);
    case 6:  return graph_op1(n->g, points[rng_below(n->r, 3)], nowhere, a);
    default: return rng_below(n->r, 2) ? graph_axes(n->g, reductions[rng_below(n->r, 4)], nowhere, a, 1, &axis) : a;
    }
}

/* ---- nets ---- */

static void write_out(Net *n, Ref a)
{
    Type t = type_of(n, a);
    int  slot = module_add_slot(n->m, arena_printf(&n->m->mem, "y%d", n->m->nslot), SLOT_state, t, nowhere);

    graph_write(n->g, nowhere, slot, a);
}

static bool is_fit(const Net *n, Ref a)
{
    Type t = type_of(n, a);

    return t.rank > 0 && t.rank < 6 && ty_count(&t) <= MAX_COUNT;
}

static void make_net(Net *n)
{
    int64_t dim[4] = { n->batch, 1 + rng_below(n->r, 3), 3 + rng_below(n->r, 4), 2 + rng_below(n->r, 5) };
    Ref     a = slot_of(n, ty_make(DT_f32, 4, dim)), same = a;

    a = graph_op1(n->g, OP_tanh, nowhere, step_conv(n, a));
    for (int i = 0; i < STEPS && is_fit(n, a); i++) {
        Type t = type_of(n, same), u = type_of(n, a);

        if (ty_equal(&t, &u))
            a = graph_op2(n->g, OP_sub, nowhere, a, same);
        if (rng_below(n->r, 3) == 0)
            same = a;
        if (rng_below(n->r, 6) == 0)
            write_out(n, a);
        Ref b = step(n, a);
        a = is_fit(n, b) ? b : a;
    }
    write_out(n, a);
}

static Tensor read_slot(void *ctx, int slot, const Type *type)
{
    Arena *mem = ctx;
    Tensor t = tensor_new(mem, type, true);
    Rng    r = { (uint64_t)slot + 1 };

    for (int64_t i = 0; i < ty_count(type); i++)
        tensor_set(&t, i, 2 * rng_unit(&r) - 1, true);
    return t;
}

static Tensor *evaluated(const Graph *g, Arena *mem)
{
    EvalEnv env = { .wide = true, .read = read_slot, .ctx = mem };
    Tensor *value = arena_array(mem, Tensor, g->nnode);

    eval_graph(g, &env, mem, value);
    return value;
}

/* Sums over the batch may be added up in another order; nothing else changes. */
static void compare(const Graph *before, const Graph *after, uint64_t number)
{
    Arena   mem = { 0 };
    Tensor *want = evaluated(before, &mem), *got = evaluated(after, &mem);

    for (int i = 0; i < before->nwrite; i++) {
        const Tensor *x = &want[before->write[i].value.id], *y = &got[after->write[i].value.id];

        assert_true(ty_equal(&x->type, &y->type));
        for (int64_t k = 0; k < ty_count(&x->type); k++) {
            double a = tensor_get(x, k, true), b = tensor_get(y, k, true);

            if (!(fabs(a - b) <= 1e-11 * (1 + fabs(a))))
                fail_msg("net %llu, write %d, element %lld: %.17g became %.17g", (unsigned long long)number, i, (long long)k, a, b);
        }
    }
    arena_free(&mem);
}

static bool has_blocks(const Graph *g)
{
    for (int id = 1; id < g->nnode; id++)
        if (g->node[id].op == OP_conv && g->node[id].type.dim[g->node[id].type.rank - 1] == 16 && g->node[id].type.rank > 4)
            return true;
    return false;
}

static void test_same(void **state)
{
    Rng r = { 11 };
    int blocked = 0;

    (void)state;
    for (uint64_t number = 0; number < ROUNDS; number++) {
        static const int64_t batch[] = { 16, 16, 32, 48, 8 };
        Module *m = module_new();
        Net     n = { m, graph_new(m, ENTRY_EVAL, 1), &r, batch[rng_below(&r, 5)] };

        make_net(&n);
        module_add_graph(m, n.g);
        layout(m, &(PassOptions){ .rule_limit = -1 });
        assert_null(graph_verify(m->graph[0]));
        blocked += has_blocks(m->graph[0]);
        compare(n.g, m->graph[0], number);
        module_free(m);
    }
    assert_true(blocked > ROUNDS / 3 && blocked < ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
