/* test_pass.c - the pipeline: which passes run, who is told, and who is blamed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "passes/pass.h"

typedef struct Seen { Pass pass[NPASS]; int n; const char *stop; } Seen;

static const char *see(void *ctx, Module *m, Pass p, double elapsed_ms)
{
    Seen *s = ctx;

    (void)m;
    assert_true(elapsed_ms >= 0);
    s->pass[s->n++] = p;
    return s->stop;
}

/* one graph that writes x to y */
static Module *small_module(Dtype y)
{
    Module *m = module_new();
    Graph  *g = graph_new(m, ENTRY_EVAL, 1);
    int     from = module_add_slot(m, "x", SLOT_state, ty_scalar(DT_f32), (Loc){ 0 });
    int     to = module_add_slot(m, "loss", SLOT_metric, ty_scalar(y), (Loc){ 0 });

    graph_write(g, (Loc){ 0 }, to, graph_read(g, (Loc){ 0 }, from));
    module_add_graph(m, g);
    return m;
}

static void test_only_and_skip(void **state)
{
    Module  *m = small_module(DT_f32);
    bool     only[NPASS] = { false }, skip[NPASS] = { false };
    Seen     seen = { .n = 0 };
    Pipeline p = { .options = { .rule_limit = -1 }, .only = only, .skip = skip, .after = see, .ctx = &seen };

    (void)state;
    only[PASS_update] = only[PASS_specialise] = only[PASS_simplify] = true;
    skip[PASS_simplify] = true;
    assert_null(pipeline_run(m, &p));
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.pass[0], PASS_specialise);
    assert_int_equal(seen.pass[1], PASS_update);
    module_free(m);
}

static void test_callback_stops(void **state)
{
    Module  *m = small_module(DT_f32);
    Seen     seen = { .stop = "results differ" };
    Pipeline p = { .options = { .rule_limit = -1 }, .after = see, .ctx = &seen };

    (void)state;
    assert_string_equal(pipeline_run(m, &p), "results differ");
    assert_int_equal(seen.n, 1);
    module_free(m);
}

/* A graph that doesn't verify is blamed on the pass that left it, and nobody is told of it as a result. */
static void test_blame(void **state)
{
    Module     *m = small_module(DT_f64);
    bool        only[NPASS] = { false };
    Seen        seen = { .n = 0 };
    Pipeline    p = { .options = { .rule_limit = -1 }, .only = only, .after = see, .ctx = &seen };
    const char *why;

    (void)state;
    only[PASS_simplify] = true;
    why = pipeline_run(m, &p);
    assert_non_null(why);
    assert_int_equal(strncmp(why, "after simplify: ", 16), 0);
    assert_non_null(strstr(why, "@loss"));
    assert_int_equal(seen.n, 0);
    module_free(m);
}

static void test_names(void **state)
{
    Pass p;

    (void)state;
    for (int i = 0; i < NPASS; i++) {
        assert_true(pass_parse(pass_info[i].name, &p));
        assert_int_equal(p, i);
    }
    assert_false(pass_parse("simplfy", &p));
}

static void test_parse_skip(void **state)
{
    Arena mem = { 0 };
    bool  skip[NPASS] = { false };

    (void)state;
    assert_null(pass_parse_skip(NULL, skip, &mem));
    assert_null(pass_parse_skip("fuse,simplify", skip, &mem));
    for (int i = 0; i < NPASS; i++)
        assert_int_equal(skip[i], i == PASS_fuse || i == PASS_simplify);
    assert_string_equal(pass_parse_skip("fuse,lower", skip, &mem),
                        "lower can't be left out, only attend, canonical, layout, simplify, sparse, fuse, schedule can");
    assert_string_equal(pass_parse_skip("fsue", skip, &mem), "unknown pass `fsue`");
    arena_free(&mem);
}

/* With fuse left out another pass stands in, and is told of as fuse; a pass that is needed is not left out. */
static void test_without(void **state)
{
    Module  *m = small_module(DT_f32);
    bool     only[NPASS] = { false }, skip[NPASS] = { false };
    Seen     seen = { .n = 0 };
    Pipeline p = { .options = { .rule_limit = -1 }, .only = only, .skip = skip, .after = see, .ctx = &seen };

    (void)state;
    only[PASS_fuse] = skip[PASS_fuse] = true;
    assert_null(pipeline_run(m, &p));
    assert_int_equal(seen.n, 1);
    assert_int_equal(m->graph[0]->nkernel, 2);              /* the slot is copied, then written */
    only[PASS_lower] = skip[PASS_lower] = true;
    assert_string_equal(pipeline_run(m, &p), "lower can't be left out");
    module_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_and_skip),
        cmocka_unit_test(test_callback_stops),
        cmocka_unit_test(test_blame),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_parse_skip),
        cmocka_unit_test(test_without),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
