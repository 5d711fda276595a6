/* test_turn.c - transposed operands, turned in registers a block at a time: every number arrives at its place, for whole and ragged vectors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/parity.h"

static const Loc nowhere;

/* y = -x with the last two axes changed, and z of y and of what lies as it does: [n, rows, columns] to [n, columns, rows]. */
static void make(Graph *g, int64_t n, int64_t rows, int64_t columns, Dtype dtype)
{
    const int64_t from[] = { n, rows, columns }, to[] = { n, columns, rows }, perm[] = { 0, 2, 1 };
    Type          t = ty_make(dtype, 3, from), u = ty_make(dtype, 3, to);
    Ref           x = graph_read(g, nowhere, module_add_slot(g->m, "x", SLOT_param, t, nowhere));
    Ref           w = graph_read(g, nowhere, module_add_slot(g->m, "w", SLOT_param, u, nowhere));
    Ref           y = graph_transpose(g, nowhere, graph_op1(g, OP_neg, nowhere, x), perm);

    graph_write(g, nowhere, module_add_slot(g->m, "z", SLOT_state, u, nowhere), graph_op2(g, OP_add, nowhere, y, w));
}

static void fill(Parity *p, const char *name)
{
    Tensor t = parity_tensor(p->m, p->start, module_slot(p->m, name));

    for (int64_t i = 0; i < ty_count(&t.type); i++)
        tensor_set(&t, i, (double)(i % 65521 - 30000), false);
}

static bool is_turned(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->kind == ST_FOR && ((s->unroll && s->body->kind == ST_FOR && s->body->lanes) || is_turned(s->body)))
            return true;
    return false;
}

static void check(int64_t n, int64_t rows, int64_t columns, Dtype dtype, int lanes, bool turned)
{
    Module *m = module_new();
    Graph  *g = graph_new(m, ENTRY_EVAL, 1);
    Arena   mem = { 0 };

    make(g, n, rows, columns, dtype);
    module_add_graph(m, g);
    Parity p = parity_new(m);

    fill(&p, "x");
    fill(&p, "w");
    assert_null(parity_compile(&p, lanes));
    assert_int_equal(is_turned(m->plan[0]->kernel[0]->body), turned);
    assert_int_equal(parity_run(&p, 0), 0);
    Tensor *want = parity_eval(&p, 0, &mem), got = parity_tensor(m, p.state, module_slot(m, "z"));

    assert_memory_equal(want[p.said[0]->write[0].value.id].data, got.data, (size_t)(n * rows * columns * dt_bytes(dtype)));
    arena_free(&mem);
    parity_free(&p);
}

static void test_turned(void **state)
{
    (void)state;
    for (int lanes = 8; lanes <= 16; lanes *= 2) {
        check(64, 32, 48, DT_f32, lanes, true);
        check(256, 16, 40, DT_f32, lanes, true);
        check(1024, 64, 4, DT_i32, lanes, true);
        check(128, 64, 32, DT_f64, lanes, true);
        check(512, 7, 32, DT_f32, lanes, true);
        check(8, 32, 48, DT_f32, lanes, false);         /* too little to be worth it */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_turned) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
