/* test_channels.c - a convolution along whose channels vectors run gives the bits of one along whose places they run: the first channels of
 * the one are the other.  All geometries, as the oracle has them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>

#include "tests/unit/parity.h"

enum { ROUNDS = 60, FEW = 3 };

static const Loc nowhere;

static Ref slot_of(Graph *g, const char *name, SlotKind kind, int rank, const int64_t *dim)
{
    return graph_read(g, nowhere, module_add_slot(g->m, name, kind, ty_make(DT_f32, rank, dim), nowhere));
}

static void write_out(Graph *g, const char *name, Ref a)
{
    Type t = graph_at(g, a)->type;

    graph_write(g, nowhere, module_add_slot(g->m, name, SLOT_state, t, nowhere), a);
}

/* conv(x, w), of whole vectors of channels, to @many, and of the first of them to @few. */
static void make_convs(Graph *g, Rng *r, int spatial)
{
    int64_t x[5] = { 1 + rng_below(r, 2), 1, 1 + rng_below(r, 4) }, w[5] = { 1, 16 * (1 + rng_below(r, 2)), x[2] }, v[10];
    int64_t part[15];
    Ref     arg[2];

    for (int i = 0; i < spatial; i++) {
        int64_t one[5] = { 1 + rng_below(r, 2), rng_below(r, 3), rng_below(r, 3), 1 + (rng_below(r, 4) == 0), 1 + rng_below(r, 2) };

        w[3 + i] = 1 + rng_below(r, 4);
        x[3 + i] = (w[3 + i] - 1) * one[4] + 1 + 2 * rng_below(r, 9);
        memcpy(v + 5 * i, one, sizeof one);
    }
    for (int i = 0; i < 3 + spatial; i++)
        memcpy(part + 3 * i, (const int64_t[]){ 0, 1, i == 1 ? FEW : w[i] }, 3 * sizeof *part);
    arg[0] = slot_of(g, "x", SLOT_param, 3 + spatial, x);
    arg[1] = slot_of(g, "w", SLOT_param, 3 + spatial, w);
    write_out(g, "many", graph_make(g, OP_conv, nowhere, 2, arg, (Attr){ 5 * spatial, v }, NULL, NULL));
    arg[1] = graph_make(g, OP_slice, nowhere, 1, arg + 1, (Attr){ 3 * (3 + spatial), part }, NULL, NULL);
    write_out(g, "few", graph_make(g, OP_conv, nowhere, 2, arg, (Attr){ 5 * spatial, v }, NULL, NULL));
}

static void fill(Parity *p, const char *name, Rng *r)
{
    Tensor t = parity_tensor(p->m, p->start, module_slot(p->m, name));

    for (int64_t i = 0; i < ty_count(&t.type); i++)
        tensor_set(&t, i, 2 * rng_unit(r) - 1, false);
}

/* Sums of up to 64 terms below 1 in f32. */
static void check_oracle(Parity *p, const Tensor *want, const Tensor *got)
{
    for (int64_t i = 0; i < ty_count(&want->type); i++) {
        double a = tensor_get(want, i, false), b = tensor_get(got, i, false);

        if (!(fabs(a - b) <= 64 * 64 * 0x1p-24))
            fail_msg("element %lld: %g, the oracle has %g", (long long)i, b, a);
    }
    (void)p;
}

static void check_bits(const Tensor *many, const Tensor *few)
{
    int64_t places = 1, n = many->type.dim[0], of = many->type.dim[2];
    const float *a = many->data, *b = few->data;

    for (int i = 3; i < many->type.rank; i++)
        places *= many->type.dim[i];
    for (int64_t i = 0; i < n; i++)
        assert_memory_equal(a + i * of * places, b + i * FEW * places, (size_t)(FEW * places) * sizeof *a);
}

static bool became_product(const Graph *g)
{
    for (int id = 1; id < g->nnode; id++)
        if (g->node[id].op == OP_dot)
            return true;
    return false;
}

static bool one_round(Rng *r)
{
    Module *m = module_new();
    Graph  *g = graph_new(m, ENTRY_EVAL, 1);
    Arena   mem = { 0 };
    bool    product;

    make_convs(g, r, 1 + rng_below(r, 2));
    module_add_graph(m, g);
    Parity p = parity_new(m);

    fill(&p, "x", r);
    fill(&p, "w", r);
    const char *why = parity_compile(&p, rng_below(r, 2) ? 16 : 8);

    if (why)
        fail_msg("%s", why);
    product = became_product(m->graph[0]);
    assert_int_equal(parity_run(&p, 0), 0);
    Tensor *want = parity_eval(&p, 0, &mem);
    Tensor  many = parity_tensor(m, p.state, module_slot(m, "many")), few = parity_tensor(m, p.state, module_slot(m, "few"));

    check_oracle(&p, &want[p.said[0]->write[0].value.id], &many);
    check_bits(&many, &few);
    arena_free(&mem);
    parity_free(&p);
    return product;
}

static void test_same_bits(void **state)
{
    Rng r = { 5 };
    int products = 0;

    (void)state;
    for (int i = 0; i < ROUNDS; i++)
        products += one_round(&r);
    assert_true(products > ROUNDS / 3 && products < ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_bits) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
