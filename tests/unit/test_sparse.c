/* test_sparse.c - the pass sparse changes what is computed and not what comes out: convolutions with values that stand in windows, in
 * all geometries, by the oracle before and after it, with whole numbers, whose sums are exact in any order.
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

enum { ROUNDS = 3000, MAX_COUNT = 1 << 15 };

static const Loc nowhere;

typedef struct Net { Module *m; Graph *g; Rng *r; } Net;

static Ref slot_of(Net *n, Type t)
{
    return graph_read(n->g, nowhere, module_add_slot(n->m, arena_printf(&n->m->mem, "s%d", n->m->nslot), SLOT_param, t, nowhere));
}

static Type type_of(const Net *n, Ref a) { return graph_at(n->g, a)->type; }

/* As pooling has it. */
static Ref place_of_most(Net *n, Type t, int spatial, const int64_t *put)
{
    for (int i = 0; i < spatial; i++)
        t.dim[t.rank++] = put[spatial + i];
    return graph_axes(n->g, OP_argmax, nowhere, slot_of(n, t), spatial, put);
}

/* Values in windows of [N, C, S..., L]: L are lanes of the batch, as the pass layout makes them, or nothing. */
static Ref standing(Net *n, int spatial, bool lanes, bool apart)
{
    int     rank = 2 + spatial + lanes;
    int64_t dim[MAX_RANK], put[2 * MAX_RANK], over[5 * MAX_RANK];
    Ref     arg[2];
    Type    t;

    for (int i = 0; i < rank; i++)
        dim[i] = 1 + rng_below(n->r, 4);
    for (int i = 0; i < spatial; i++) {
        int64_t size = 1 + rng_below(n->r, 3), stride = apart ? size + rng_below(n->r, 2) : size > 1 ? size - 1 : 1;

        put[i] = rank + i;
        put[spatial + i] = size;
        over[5 * i] = 2 + i;
        over[5 * i + 1] = size;
        over[5 * i + 2] = stride;
        over[5 * i + 3] = 1;
        over[5 * i + 4] = (dim[2 + i] - 1) * stride + size + rng_below(n->r, (int)stride);
    }
    t = ty_make(DT_f32, rank, dim);
    arg[0] = slot_of(n, t);
    arg[1] = rng_below(n->r, 2) ? slot_of(n, ty_with(t, DT_i32)) : place_of_most(n, t, spatial, put);
    arg[0] = graph_make(n->g, OP_put, nowhere, 2, arg, (Attr){ 2 * spatial, put }, NULL, NULL);
    return graph_make(n->g, OP_overlap, nowhere, 1, arg, (Attr){ 5 * spatial, over }, NULL, NULL);
}

/* [N, C, S..., L] as the operand of a conv: x [N, 1, C, S..., L], or w [1, C, N, S..., L]. */
static Ref operand(Net *n, Ref a, int which)
{
    Type    t = type_of(n, a);
    int64_t dim[MAX_RANK], perm[MAX_RANK];

    for (int i = t.rank; i > 1; i--)
        dim[i] = t.dim[i - 1], perm[i] = i;
    dim[0] = t.dim[0];
    dim[1] = 1;
    a = graph_reshape(n->g, nowhere, a, t.rank + 1, dim);
    perm[0] = 1, perm[1] = 2, perm[2] = 0;
    return which ? graph_transpose(n->g, nowhere, a, perm) : a;
}

/* The other operand, and an attribute that fits: as the gradients have it most of the time. */
static Ref some_conv(Net *n, Ref a, int which, int spatial, bool lanes)
{
    Type        t = type_of(n, a);
    int64_t     v[5 * MAX_RANK], dim[MAX_RANK];
    int         axes = spatial + lanes;
    const char *error;
    Ref         arg[2];

    dim[0] = which ? 1 + rng_below(n->r, 3) : 1;
    dim[1] = which ? 1 : 1 + rng_below(n->r, 3);
    dim[2] = t.dim[2];
    for (int i = 0; i < axes; i++) {
        bool    lane = i >= spatial, plain = rng_below(n->r, 4) || lane;
        int64_t one[5] = { plain ? 1 : 2, lane ? 0 : rng_below(n->r, 4) - 1, lane ? 0 : rng_below(n->r, 4) - 1,
                           plain || which ? 1 : 2, plain ? 1 : 2 };

        dim[3 + i] = lane ? (which ? t.dim[3 + i] : 1) : which ? t.dim[3 + i] + rng_below(n->r, 4) : 1 + rng_below(n->r, 3);
        for (int k = 0; k < 5; k++)
            v[5 * i + k] = one[k];
    }
    arg[which] = a;
    arg[!which] = slot_of(n, ty_make(DT_f32, t.rank, dim));
    return graph_make(n->g, OP_conv, nowhere, 2, arg, (Attr){ 5 * axes, v }, NULL, &error);
}

/* ---- comparing ---- */

static void fill(Net *n, Tensor *value)
{
    for (int i = 0; i < n->m->nslot; i++) {
        value[i] = tensor_new(&n->m->mem, &n->m->slot[i].type, true);
        for (int64_t j = 0; j < ty_count(&value[i].type); j++)
            tensor_set(&value[i], j, n->m->slot[i].type.dtype == DT_i32 ? rng_below(n->r, 11) - 1 : rng_below(n->r, 9) - 4, true);
    }
}

static Tensor result(const Graph *g, Tensor *slots, Arena *mem)
{
    EvalEnv env = { .wide = true, .seed = 1, .step = 1, .read = arb_read, .ctx = slots };
    Tensor *value = arena_array(mem, Tensor, g->nnode);

    eval_graph(g, &env, mem, value);
    return value[g->write[g->nwrite - 1].value.id];
}

/* What is left of the conv, or of a sum over all but the channels. */
static void check_same(Net *n, Ref y, Op *became)
{
    PassOptions o = { .rule_limit = -1 };
    int         out = module_add_slot(n->m, "out", SLOT_state, type_of(n, y), nowhere);
    Tensor     *slots = arena_array(&n->m->mem, Tensor, n->m->nslot), before, after;

    graph_write(n->g, nowhere, out, y);
    module_add_graph(n->m, n->g);
    fill(n, slots);
    before = result(n->m->graph[0], slots, &n->m->mem);
    sparse(n->m, &o);
    assert_null(graph_verify(n->m->graph[0]));
    after = result(n->m->graph[0], slots, &n->m->mem);
    for (int64_t i = 0; i < ty_count(&before.type); i++) {
        double want = tensor_get(&before, i, true), got = tensor_get(&after, i, true);

        if (want != got) {
            module_print(stderr, n->m);
            fail_msg("element %lld: %.17g, before the pass %.17g", (long long)i, got, want);
        }
    }
    *became = graph_holds(n->m->graph[0], OP_spread) ? OP_spread : graph_holds(n->m->graph[0], OP_collect) ? OP_collect : OP_conv;
}

static void test_convs(void **state)
{
    Rng r = { 5 };
    int done[2] = { 0 }, near = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        Net  n = { .m = module_new(), .r = &r };
        int  which = rng_below(&r, 2), spatial = 1 + rng_below(&r, 3);
        bool lanes = spatial < 3 && rng_below(&r, 2), apart = rng_below(&r, 8) != 0;
        Op   became = NOP;

        n.g = graph_new(n.m, ENTRY_TRAIN, 1);
        Ref y = some_conv(&n, operand(&n, standing(&n, spatial, lanes, apart), which), which, spatial, lanes);

        if (y.id && ty_count(&graph_at(n.g, y)->type) <= MAX_COUNT)
            check_same(&n, y, &became);
        done[which] += became == (which ? OP_collect : OP_spread);
        near += became == OP_conv;
        module_free(n.m);
    }
    assert_true(done[0] > ROUNDS / 10 && done[1] > ROUNDS / 10 && near > ROUNDS / 20);
}

static void test_sums(void **state)
{
    Rng r = { 6 };
    int taken = 0;

    (void)state;
    for (int round = 0; round < ROUNDS / 3; round++) {
        Net     n = { .m = module_new(), .r = &r };
        int64_t axis[MAX_RANK];
        int     spatial = 1 + rng_below(&r, 2), k = 0;
        Op      became;

        n.g = graph_new(n.m, ENTRY_TRAIN, 1);
        Ref  a = standing(&n, spatial, false, true), y = some_conv(&n, operand(&n, a, 0), 0, spatial, false);
        bool all = rng_below(&r, 2);

        if (y.id && rng_below(&r, 2))       /* whose copy of the values a sum may take */
            graph_write(n.g, nowhere, module_add_slot(n.m, "conv", SLOT_state, type_of(&n, y), nowhere), y);
        for (int i = 0; i < type_of(&n, a).rank; i++)
            if (i == 2 ? all : i > 2 || rng_below(&r, 2))
                axis[k++] = i;
        check_same(&n, graph_axes(n.g, OP_sum, nowhere, a, k, axis), &became);
        const Graph *g = n.m->graph[0];
        const Node  *sum = graph_at(g, g->write[g->nwrite - 1].value);

        taken += graph_at(g, sum->arg[0])->op == OP_cast;
        assert_int_equal(graph_at(g, sum->arg[0])->op == OP_overlap, !all);
        module_free(n.m);
    }
    assert_true(taken > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_convs), cmocka_unit_test(test_sums) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
