/* test_attention.c - attention and its gradient as kernels of their own: in all shapes, beside the oracle, and in memory that does
 * not grow with the square of their length.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "passes/attention_group.h"
#include "passes/gradient_rows.h"
#include "tests/unit/parity_gpu.h"

enum { ROUNDS = 40, GPU_ROUNDS = 24, PTX_ROUNDS = 6, MMA_ROUNDS = 8, MMA_PTX_ROUNDS = 4 };

static const Loc nowhere;

typedef struct Shape { int nb; int64_t batch[2], queries, keys, length, width; bool causal, turned; Dtype dtype; Precision precision; } Shape;

static Ref new_slot(Graph *g, SlotKind kind, Type t)
{
    int slot = module_add_slot(g->m, arena_printf(&g->m->mem, "s%d", g->m->nslot), kind, t, nowhere);

    return kind == SLOT_param ? graph_read(g, nowhere, slot) : (Ref){ slot };
}

/* [B..., rows, columns]; turned: the last two axes of what is stored lie the other way around. */
static Ref argument(Graph *g, const Shape *s, int64_t rows, int64_t columns)
{
    int64_t dim[4], perm[4];
    Type    t;

    for (int i = 0; i < s->nb; i++)
        dim[i] = s->batch[i], perm[i] = i;
    dim[s->nb] = s->turned ? columns : rows;
    dim[s->nb + 1] = s->turned ? rows : columns;
    perm[s->nb] = s->nb + 1;
    perm[s->nb + 1] = s->nb;
    t = ty_make(s->dtype, s->nb + 2, dim);
    return s->turned ? graph_transpose(g, nowhere, new_slot(g, SLOT_param, t), perm) : new_slot(g, SLOT_param, t);
}

static void write_result(Graph *g, Ref value)
{
    /* not the results themselves: what a slot gets is no part of a group */
    Ref half = graph_op1(g, OP_neg, nowhere, value);

    graph_write(g, nowhere, new_slot(g, SLOT_state, graph_at(g, value)->type).id, half);
}

/* attention of q, k and v, and what its gradient is for an adjoint: four results. */
static Module *net(const Shape *s)
{
    const bool want[3] = { true, true, true };
    Module    *m = module_new();
    Graph     *g = graph_new(m, ENTRY_TRAIN, 1);
    Ref        arg[3], adjoint, y, out[3];

    m->train.precision = s->precision;
    arg[0] = argument(g, s, s->queries, s->length);
    arg[1] = argument(g, s, s->keys, s->length);
    arg[2] = argument(g, s, s->keys, s->width);
    adjoint = argument(g, s, s->queries, s->width);
    y = graph_make(g, OP_attention, nowhere, 3, arg, attr_scores(&m->mem, s->causal, .3), NULL, NULL);
    Node nd = *graph_at(g, y);

    write_result(g, y);
    grad_attention(g, &nd, y, adjoint, want, out);
    for (int i = 0; i < 3; i++)
        write_result(g, out[i]);
    module_add_graph(m, g);
    return m;
}

/* Kernels whose products are made by tensor cores. */
static int count_mma(const Plan *p)
{
    int n = 0;

    for (int i = 0; i < p->nkernel; i++)
        n += stmt_has(p->kernel[i]->body, ST_MMA);
    return n;
}

static void check_near(const Parity *p, const Tensor *value, double most, const char *how)
{
    const Graph *g = p->said[0];

    for (int i = 0; i < g->nwrite; i++) {
        Tensor got = parity_tensor(p->m, p->state, g->write[i].slot), want = value[g->write[i].value.id];

        for (int64_t j = 0; j < ty_count(&want.type); j++) {
            double a = tensor_get(&got, j, false), b = tensor_get(&want, j, false);

            if (!(fabs(a - b) <= most * (1 + fabs(b))))
                fail_msg("%s: result %d at %lld: %.9g, by the oracle %.9g", how, i, (long long)j, a, b);
        }
    }
}

/* The whole gradient is one kernel. */
static bool is_one_kernel(const Graph *g)
{
    AttentionGradient *a;
    int                member[ATTENTION_NODES];

    if (attention_gradients(g, &a) != 1)
        return false;
    for (int n = attention_members(g, a, member) - 1; n >= 0; n--)
        if (g->node[member[n]].kernel != g->node[a->p].kernel)
            return false;
    return true;
}

/* Sums of at most 90 terms below 10, rounded in whatever order.  By tensor cores p and ds, which are numbers up to 1, are rounded to 11 or 8 bits before they are factors;
 * the others are some of few bits then. */
static const double tolerance[NPRECISION] = { 1e-4, 90 * 0x1p-12 / 4, 90 * 0x1p-9 / 4 };

/* lanes 0: for a GPU, on whose driver it runs if there is one. */
static void check_shape(Rng *r, const Shape *s, int lanes, ParityGpu *gpu)
{
    Parity p = parity_new(net(s));
    double most = tolerance[s->precision];
    const char *error;

    for (int i = 0; i < p.m->nslot; i++) {
        Tensor t = parity_tensor(p.m, p.start, i);

        for (int64_t j = 0; j < ty_count(&t.type); j++)
            tensor_set(&t, j, s->precision ? (rng_below(r, 9) - 4) / 4.0 : (rng_below(r, 2001) - 1000) / 500.0, false);
    }
    error = parity_compile(&p, lanes);
    if (error)
        fail_msg("%s", error);
    assert_true(is_one_kernel(p.m->graph[0]));
    assert_int_equal(count_mma(p.m->plan[0]), s->precision ? 2 : 0);
    Tensor *value = parity_eval(&p, 0, &p.m->mem);

    error = parity_walk(&p, 0, &p.m->mem);
    if (error)
        fail_msg("%s", error);
    check_near(&p, value, most, "walker");
    if (lanes) {
        assert_int_equal(parity_run(&p, 0), 0);
        check_near(&p, value, most, "cpu");
    }
    if (gpu) {
        if ((error = parity_gpu_open(gpu, &p)))
            fail_msg("%s", error);
        parity_gpu_run(gpu, &p, 0);
        check_near(&p, value, most, "GPU");
        parity_gpu_close(gpu);
        if (gpu->driver.nwarning && *gpu->driver.nwarning)
            fail_msg("%d warnings of ptxrun", *gpu->driver.nwarning);
    }
    parity_free(&p);
}

static void test_shapes(void **state)
{
    Rng r = { 3 };

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        Shape s = { .nb = rng_below(&r, 3), .batch = { 1 + rng_below(&r, 2), 1 + rng_below(&r, 3) }, .queries = 1 + rng_below(&r, 40),
                    .keys = 1 + rng_below(&r, 90), .length = 1 + rng_below(&r, 40), .width = 1 + rng_below(&r, 40),
                    .causal = rng_below(&r, 2), .turned = rng_below(&r, 2), .dtype = DT_f32 };

        check_shape(&r, &s, round % 2 ? 16 : 8, NULL);
    }
}

/* Tiles of a GPU's groups: whole ones and not, of rows that are runs of 128 bits and not, of all sizes that fit. */
static Shape gpu_shape(Rng *r, int round, int most)
{
    Shape s = { .nb = rng_below(r, 3), .batch = { 1 + rng_below(r, 2), 1 + rng_below(r, 3) }, .queries = 1 + rng_below(r, most),
                .keys = 1 + rng_below(r, most), .length = 1 + rng_below(r, 40), .width = 1 + rng_below(r, 40), .causal = rng_below(r, 2),
                .turned = rng_below(r, 2), .dtype = round % 4 == 3 ? DT_f64 : DT_f32 };

    if (round % 3 == 0)
        s.queries = s.keys = most - most % 32;
    if (round % 3 == 0)
        s.length = s.width = round % 2 ? 32 : 64;
    return s;
}

static void test_shapes_gpu(void **state)
{
    Rng r = { 5 };

    (void)state;
    for (int round = 0; round < GPU_ROUNDS; round++) {
        Shape s = gpu_shape(&r, round, round == 6 ? 128 : 70);

        check_shape(&r, &s, 0, NULL);
    }
    for (int round = 0; round < MMA_ROUNDS; round++) {
        Shape s = gpu_shape(&r, 4 * round, 70);

        s.precision = round % 2 ? PRECISION_bf16 : PRECISION_tf32;
        check_shape(&r, &s, 0, NULL);
    }
}

static void test_shapes_ptx(void **state)
{
    static const char *const seed[] = { "1", "7" };
    ParityGpu gpu = { 0 };
    Rng       r = { 9 };

    (void)state;
    if (!gpu_open(&gpu.driver))
        gpu_left_out();
    for (int round = 0; round < PTX_ROUNDS; round++) {
        Shape s = gpu_shape(&r, round, 40);

        setenv("PTXRUN_SEED", seed[round % 2], 1);
        check_shape(&r, &s, 0, &gpu);
    }
    for (int round = 0; round < MMA_PTX_ROUNDS; round++) {
        Shape s = gpu_shape(&r, 4 * round, 40);

        s.precision = round % 2 ? PRECISION_bf16 : PRECISION_tf32;
        check_shape(&r, &s, 0, &gpu);
    }
    for (int round = 0; round < NPRECISION; round++) {      /* tiles of keys that no query sees */
        Shape s = { .queries = 20, .keys = 70, .length = 8, .width = 4, .causal = true, .dtype = DT_f32, .precision = (Precision)round };

        check_shape(&r, &s, 0, &gpu);
    }
    gpu_close(&gpu.driver);
}

/* A head so wide that not even the smallest tiles fit into group memory is written out, and comes to the same. */
static void test_too_wide(void **state)
{
    Shape       s = { .queries = 20, .keys = 24, .length = 1200, .width = 1200, .causal = true, .dtype = DT_f32 };
    Module     *m = net(&s);
    int         n = 0;

    (void)state;
    assert_null(parity_lower(m, 0));
    assert_false(is_one_kernel(m->graph[0]));
    for (int id = 1; id < m->graph[0]->nnode; id++)
        n += m->graph[0]->node[id].op == OP_attention;
    assert_int_equal(n, 0);
    module_free(m);
}

/* So many heads that a group takes 64 rows; too much to be walked, but the verifier looks at every place. */
static void test_many_heads(void **state)
{
    (void)state;
    for (int round = 0; round < 2 * NPRECISION; round++) {
        Shape   s = { .nb = 2, .batch = { 33, 8 }, .queries = round % 2 ? 70 : 64, .keys = round % 2 ? 65 : 64, .length = 32, .width = 32, .causal = true, .dtype = DT_f32,
                      .precision = (Precision)(round / 2) };
        Module *m = net(&s);

        assert_null(parity_lower(m, 0));
        assert_true(is_one_kernel(m->graph[0]));
        module_free(m);
    }
}

static int64_t scratch_of(int64_t length, int lanes)
{
    Shape   s = { .nb = 1, .batch = { 2 }, .queries = length, .keys = length, .length = 8, .width = 8, .causal = true, .dtype = DT_f32 };
    Module *m = net(&s);
    int64_t bytes;

    assert_null(parity_lower(m, lanes));
    bytes = m->plan[0]->scratch_bytes;
    module_free(m);
    return bytes;
}

/* Twice as long, at most twice as much, and far less than the scores of one head. */
static void test_memory(void **state)
{
    (void)state;
    for (int lanes = 0; lanes <= 16; lanes += 16)
        for (int64_t length = 256; length <= 2048; length *= 2) {
            int64_t once = scratch_of(length, lanes), twice = scratch_of(2 * length, lanes);

            assert_true(twice <= 2 * once);
            assert_true(once < 2 * length * length);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_shapes), cmocka_unit_test(test_shapes_gpu), cmocka_unit_test(test_shapes_ptx),
                                        cmocka_unit_test(test_too_wide), cmocka_unit_test(test_many_heads), cmocka_unit_test(test_memory) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
