/* test_share.c - kernels that differ only in where their buffers lie are one function, and compute what they should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/parity.h"

static const Loc nowhere;

typedef struct Case { Module *m; Graph *g; int out[8], nout; } Case;

static Case case_new(void)
{
    Case c = { .m = module_new() };

    c.m->name = "share";
    c.g = graph_new(c.m, ENTRY_TRAIN, 1);
    return c;
}

static Ref arg(Case *c, int64_t n)
{
    int slot = module_add_slot(c->m, arena_printf(&c->m->mem, "x%d", c->m->nslot), SLOT_param, ty_make(DT_f32, 1, &n), nowhere);

    return graph_read(c->g, nowhere, slot);
}

/* To a slot of its own, or in place to the slot that `to` reads. */
static void result(Case *c, Ref value, Ref to)
{
    Type t = graph_at(c->g, value)->type;
    int  slot = to.id ? (int)graph_at(c->g, to)->attr.v[0]
                      : module_add_slot(c->m, arena_printf(&c->m->mem, "y%d", c->m->nslot), SLOT_state, t, nowhere);

    graph_write(c->g, nowhere, slot, value);
    c->out[c->nout++] = slot;
}

static Ref scaled(Case *c, Ref x, double by)
{
    return graph_op2(c->g, OP_mul, nowhere, graph_op1(c->g, OP_exp, nowhere, x), graph_const(c->g, nowhere, graph_at(c->g, x)->type, by));
}

static Ref noisy(Case *c, Ref x, int64_t stream)
{
    Type t = graph_at(c->g, x)->type;

    return graph_op2(c->g, OP_add, nowhere, x,
                     graph_make(c->g, OP_random, nowhere, 0, NULL, attr_make(&c->m->mem, 1, &stream), &t, NULL));
}

static int count_functions(Module *m)
{
    BackendOptions o = { .opt_level = 1 };
    char           why[512] = "", *text = NULL;
    size_t         size = 0;
    FILE          *f = open_memstream(&text, &size);
    int            n = 0;

    assert_non_null(f);
    if (!backend_cpu.emit(m, &o, EMIT_LLVM, f, why, sizeof why))
        fail_msg("%s", why);
    fclose(f);
    for (const char *at = text; (at = strstr(at, "define void @k")); at++)
        n++;
    free(text);
    return n;
}

/* The graph as code: so many functions, and every result as the oracle has it. */
static void check(Case *c, int functions)
{
    Arena       mem = { 0 };
    Rng         r = { 3 };
    Parity      p;
    const char *why;

    module_add_graph(c->m, c->g);
    p = parity_new(c->m);
    for (int s = 0; s < c->m->nslot; s++) {
        Tensor t = parity_tensor(c->m, p.start, s);

        for (int64_t i = 0; i < ty_count(&t.type); i++)
            tensor_set(&t, i, rng_unit(&r), false);
    }
    if ((why = parity_compile(&p, 16)))
        fail_msg("%s", why);
    assert_int_equal(count_functions(c->m), functions);

    Tensor *want = parity_eval(&p, 0, &mem);
    assert_int_equal(parity_run(&p, 0), 0);
    for (int k = 0; k < c->nout; k++) {
        Tensor got = parity_tensor(c->m, p.state, c->out[k]), *w = &want[p.said[0]->write[k].value.id];

        for (int64_t i = 0; i < ty_count(&got.type); i++) {
            double x = tensor_get(w, i, false), y = tensor_get(&got, i, false);

            if (!(fabs(x - y) <= 4 * 0x1p-23 * fabs(x)))
                fail_msg("result %d, element %lld: oracle %.9g, cpu %.9g", k, (long long)i, x, y);
        }
    }
    arena_free(&mem);
    parity_free(&p);
}

static const Ref nothing;

static void test_alike(void **state)
{
    Case c = case_new();

    (void)state;
    for (int i = 0; i < 5; i++)
        result(&c, scaled(&c, arg(&c, 37), 0.5), nothing);
    check(&c, 1);
}

/* Streams are not part of the code. */
static void test_streams(void **state)
{
    Case c = case_new();

    (void)state;
    for (int i = 0; i < 4; i++)
        result(&c, noisy(&c, arg(&c, 37), 70 + i), nothing);
    check(&c, 1);
}

/* Near misses: another constant, another size, a result in place of the argument. */
static void test_near_misses(void **state)
{
    Case c = case_new();
    Ref  x = arg(&c, 37);

    (void)state;
    result(&c, scaled(&c, arg(&c, 37), 0.5), nothing);
    result(&c, scaled(&c, arg(&c, 37), 0.25), nothing);
    result(&c, scaled(&c, arg(&c, 38), 0.5), nothing);
    result(&c, scaled(&c, x, 0.5), x);
    check(&c, 4);
}

/* One argument twice, or two: the buffers are not the same in number. */
static void test_arguments(void **state)
{
    Case c = case_new();
    Ref  x = arg(&c, 20), y = arg(&c, 20);

    (void)state;
    result(&c, graph_op2(c.g, OP_add, nowhere, scaled(&c, x, 2), y), nothing);
    result(&c, graph_op2(c.g, OP_add, nowhere, scaled(&c, y, 2), x), nothing);
    result(&c, graph_op2(c.g, OP_add, nowhere, scaled(&c, y, 2), y), nothing);
    check(&c, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alike),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_near_misses),
        cmocka_unit_test(test_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
