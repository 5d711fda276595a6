/* test_reduce.c - what reduce_module leaves: still failing, verified, and nothing that could go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "passes/reduce.h"
#include "tests/random/random_graph.h"

enum { GRAPHS = 20 };

static int count_in(const Graph *g, Op op)
{
    int n = 0;

    for (int id = 1; id < g->nnode; id++)
        n += g->node[id].op == op;
    return n;
}

static int count_op(const Module *m, Op op)
{
    int n = 0;

    for (int i = 0; i < m->ngraph; i++)
        n += count_in(m->graph[i], op);
    return n;
}

/* A made-up failure: a contraction and a sum in one graph. */
static bool has_dot_and_sum(Module *m, void *ctx)
{
    ++*(int *)ctx;
    for (int i = 0; i < m->ngraph; i++)
        assert_null(graph_verify(m->graph[i]));
    for (int i = 0; i < m->ngraph; i++)
        if (count_in(m->graph[i], OP_dot) && count_in(m->graph[i], OP_sum))
            return true;
    return false;
}

static Module *some_graphs(uint64_t first)
{
    Module *m = module_new();

    for (int i = 0; i < GRAPHS; i++)
        random_graph(m, first + (uint64_t)i, i);
    return m;
}

static void test_small(void **state)
{
    Module   *m = some_graphs(0);
    int       asked = 0;
    Reduction r;

    (void)state;
    assert_null(reduce_module(&m, has_dot_and_sum, &asked, 0, &r));
    assert_int_equal(count_op(m, OP_dot), 1);
    assert_int_equal(count_op(m, OP_sum), 1);
    assert_int_equal(m->ngraph, 1);
    assert_true(m->graph[0]->nnode <= 6);              /* both, an argument or two for each, and no. 0 */
    assert_true(m->nslot <= 3);
    for (int id = 1; id < m->graph[0]->nnode; id++)
        assert_true(ty_count(&m->graph[0]->node[id].type) <= 4);
    assert_int_equal(asked, r.tried + 1);
    assert_true(r.kept > 0 && r.kept <= r.tried);
    module_free(m);
}

static void test_limit(void **state)
{
    Module   *m = some_graphs(0);
    int       asked = 0;
    Reduction r;

    (void)state;
    assert_null(reduce_module(&m, has_dot_and_sum, &asked, 7, &r));
    assert_int_equal(r.tried, 7);
    assert_true(count_op(m, OP_dot) && count_op(m, OP_sum));
    module_free(m);
}

static bool never(Module *m, void *ctx) { (void)m; (void)ctx; return false; }

static void test_not_failing(void **state)
{
    Module *m = some_graphs(0), *before = m;

    (void)state;
    assert_string_equal(reduce_module(&m, never, NULL, 0, NULL), "the module does not fail to begin with");
    assert_ptr_equal(m, before);
    module_free(m);
}

static char *text_of(const Module *m)
{
    char  *text;
    size_t len;
    FILE  *f = open_memstream(&text, &len);

    module_print(f, m);
    fclose(f);
    return text;
}

/* Slots that nothing uses apart, a copy says the same. */
static void test_copy(void **state)
{
    (void)state;
    for (uint64_t first = 0; first < 200; first += GRAPHS) {
        Module *m = some_graphs(first), *once = reduce_copy(m), *twice = reduce_copy(once);
        char   *a = text_of(once), *b = text_of(twice);

        assert_string_equal(a, b);
        for (int i = 0; i < m->ngraph; i++)
            assert_int_equal(graph_copy(m->graph[i], NULL, NULL)->nnode, once->graph[i]->nnode);
        free(a);
        free(b);
        module_free(m);
        module_free(once);
        module_free(twice);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_not_failing),
        cmocka_unit_test(test_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
