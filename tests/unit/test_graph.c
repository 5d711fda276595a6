/* test_graph.c - the graph without its text: memory, types, sharing, rewriting, copying. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/graph.h"
#include "ir/philox.h"
#include "runtime/abi.h"

static const Loc nowhere;

/* tables of the same things in two places */

static void test_order_of_abi(void **state)
{
    static const int dtype[] = { NND_F32, NND_F64, NND_I32, NND_I64, NND_U8, NND_BOOL };
    static const char *const dtype_is[] = { "f32", "f64", "i32", "i64", "u8", "bool" };
    static const int entry[] = { NND_INIT, NND_TRAIN, NND_EVAL, NND_INFER };
    static const char *const entry_is[] = { "init", "train", "eval", "infer" };

    (void)state;
    assert_int_equal(sizeof dtype / sizeof *dtype, NDTYPE);
    for (int i = 0; i < NDTYPE; i++)
        assert_string_equal(dt_name((Dtype)dtype[i]), dtype_is[i]);
    assert_int_equal(sizeof entry / sizeof *entry, ENTRY_UPDATE);
    for (int i = 0; i < ENTRY_UPDATE; i++)
        assert_string_equal(entry_name[entry[i]], entry_is[i]);
    assert_int_equal(NND_PARAM, SLOT_param);
    assert_int_equal(NND_STATE, SLOT_state);
    assert_int_equal(NND_OPTIM, SLOT_optim);
    assert_int_equal(NND_RANK, MAX_RANK);
}

static void test_type_sizes(void **state)
{
    Type zero = ty_make(DT_u8, 1, (int64_t[]){ 0 });
    Type huge = ty_make(DT_u8, 2, (int64_t[]){ INT64_C(1) << 40, INT64_C(1) << 40 });
    Type edge = ty_make(DT_u8, 1, (int64_t[]){ (INT64_C(1) << 59) - 1 }), over = ty_make(DT_u8, 1, (int64_t[]){ INT64_C(1) << 59 });
    Type t = ty_make(DT_f32, 2, (int64_t[]){ 5, 7 });

    (void)state;
    assert_false(ty_valid(&zero));
    assert_false(ty_valid(&huge));
    assert_false(ty_valid(&over));
    assert_true(ty_valid(&edge));

    Type more = ty_insert(t, 2, (int64_t[]){ 0, 3 }, (int64_t[]){ 2, 9 });
    assert_int_equal(ty_count(&more), 2 * 5 * 7 * 9);
    assert_int_equal(more.dim[3], 9);
    Type less = ty_remove(more, 2, (int64_t[]){ 0, 3 });
    assert_true(ty_equal(&less, &t));
}

static void test_arena(void **state)
{
    Arena a = { 0 };
    int  *v = NULL, cap = 0;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        size_t         nbytes = (size_t)philox(3, 0, 0, (uint64_t)i) % (i % 100 ? 200 : 200000);
        unsigned char *p = arena_alloc(&a, nbytes, 1);

        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t j = 0; j < nbytes; j++)
            assert_int_equal(p[j], 0);
        if (nbytes)
            memset(p, 0xff, nbytes);
        arena_push(&a, v, i, cap);
        v[i] = i;
    }
    for (int i = 0; i < 5000; i++)
        assert_int_equal(v[i], i);
    assert_string_equal(arena_printf(&a, "%s %d", "k", 2), "k 2");
    arena_free(&a);
    assert_null(a.chunk);
}

static void same_loc(Loc a, Loc b)
{
    assert_int_equal(a.file, b.file);
    assert_int_equal(a.line, b.line);
    assert_int_equal(a.col, b.col);
    assert_int_equal(a.len, b.len);
}

/* sharing, rewriting, copying */

static void test_equal_nodes_are_one(void **state)
{
    Module *m = module_new();
    Type    t = ty_make(DT_f32, 1, (int64_t[]){ 8 });
    int     x = module_add_slot(m, "x", SLOT_param, t, nowhere), y = module_add_slot(m, "y", SLOT_param, t, nowhere);
    Graph  *g = graph_new(m, ENTRY_EVAL, 0);
    Ref     a = graph_read(g, nowhere, x), b = graph_read(g, nowhere, y);
    Loc     here = { 0, 1, 2, 3 };

    (void)state;
    Ref sum = graph_op2(g, OP_add, here, a, b), difference = graph_op2(g, OP_sub, here, a, b);
    assert_int_equal(graph_op2(g, OP_add, nowhere, a, b).id, sum.id);
    assert_int_equal(graph_op2(g, OP_add, nowhere, b, a).id, sum.id);
    assert_int_not_equal(graph_op2(g, OP_sub, nowhere, b, a).id, difference.id);
    same_loc(graph_at(g, sum)->loc, here);

    Ref zero = graph_const(g, nowhere, t, 0.0);
    assert_int_equal(graph_const(g, nowhere, t, 0.0).id, zero.id);
    assert_int_not_equal(graph_const(g, nowhere, t, -0.0).id, zero.id);
    assert_int_not_equal(graph_const(g, nowhere, ty_scalar(DT_f32), 0.0).id, zero.id);
    assert_int_equal(graph_const(g, nowhere, t, NAN).id, graph_const(g, nowhere, t, -NAN).id);
    assert_int_equal(graph_cast(g, nowhere, a, DT_f32).id, a.id);

    /* past several growths of the table */
    Ref many[1000];
    for (int i = 0; i < 1000; i++)
        many[i] = graph_const(g, nowhere, t, 7 + i);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(graph_const(g, nowhere, t, 7 + i).id, many[i].id);
    module_free(m);
}

typedef struct Asked { int times; } Asked;

static Ref drop_neg(Graph *g, const Node *nd, void *ctx)
{
    (void)g;
    ((Asked *)ctx)->times++;
    return nd->op == OP_neg ? nd->arg[0] : (Ref){ 0 };
}

static void test_rewrite_is_asked_first(void **state)
{
    Module *m = module_new();
    Graph  *g = graph_new(m, ENTRY_EVAL, 0);
    Ref     x = graph_const(g, nowhere, ty_scalar(DT_f32), 3);
    Asked   asked = { 0 };

    (void)state;
    g->rewrite = drop_neg;
    g->rewrite_ctx = &asked;
    assert_int_equal(graph_op1(g, OP_neg, nowhere, x).id, x.id);
    assert_int_equal(graph_op1(g, OP_exp, nowhere, x).id, x.id + 1);
    assert_int_equal(asked.times, 2);
    assert_int_equal(graph_op1(g, OP_exp, nowhere, x).id, x.id + 1);
    assert_int_equal(asked.times, 2);
    assert_int_equal(g->nnode, x.id + 2);
    module_free(m);
}

static Ref double_neg(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    (void)ctx;
    return nd->op == OP_neg ? graph_op2(to, OP_add, nd->loc, arg[0], arg[0]) : graph_clone_node(to, nd, arg);
}

static void test_copy_drops_the_dead(void **state)
{
    Module *m = module_new();
    Type    f32 = ty_scalar(DT_f32);
    int     w = module_add_slot(m, "w", SLOT_param, f32, nowhere), grad = module_add_slot(m, "g", SLOT_grad, f32, nowhere);
    int     out = module_add_slot(m, "loss", SLOT_metric, f32, nowhere);
    Graph  *g = graph_new(m, ENTRY_TRAIN, 4);

    (void)state;
    Ref x = graph_read(g, nowhere, w), dead = graph_op1(g, OP_exp, nowhere, x);
    Ref y = graph_op1(g, OP_neg, nowhere, x), loss = graph_op1(g, OP_sin, nowhere, x);
    graph_op1(g, OP_cos, nowhere, dead);
    graph_write(g, nowhere, out, y);
    graph_minimize(g, nowhere, loss, 1, &w, &grad);
    g->nkernel = 2;
    g->node[y.id].kernel = 1;
    g->node[loss.id].kernel = 2;

    Graph *copy = graph_copy(g, NULL, NULL);
    assert_int_equal(copy->nnode, 4);
    assert_int_equal(copy->node[1].op, OP_read);
    assert_int_equal(copy->node[2].op, OP_neg);
    assert_int_equal(copy->node[3].op, OP_sin);
    assert_int_equal(copy->node[2].kernel, 1);
    assert_int_equal(copy->node[3].kernel, 2);
    assert_int_equal(copy->nkernel, 2);
    assert_int_equal(copy->write[0].value.id, 2);
    assert_int_equal(copy->min[0].loss.id, 3);
    assert_int_equal(copy->min[0].grad[0], grad);

    Graph *made = graph_copy(g, double_neg, NULL);
    assert_int_equal(made->node[2].op, OP_add);
    assert_int_equal(made->node[2].arg[1].id, 1);
    assert_int_equal(made->nkernel, 0);
    assert_int_equal(made->node[3].kernel, 0);
    module_free(m);
}

static void test_batch_prints_by_name(void **state)
{
    Module     *m = module_new();
    Graph      *g = graph_new(m, ENTRY_TRAIN, 1009);
    int         x = module_add_slot(m, "x", SLOT_field, ty_make(DT_f32, 1, (int64_t[]){ 784 }), nowhere);
    Type        t = ty_make(DT_f32, 3, (int64_t[]){ 1009, 2018, 1008 });
    const char *error;

    (void)state;
    assert_string_equal(ty_str_in(m, &t), "f32[1009, 2018, 1008]");
    m->dim_name = "N";
    m->dim_probe = 1009;
    assert_string_equal(ty_str_in(m, &t), "f32[N, 2*N, 1008]");
    assert_string_equal(ty_str(&m->mem, &t), "f32[1009, 2018, 1008]");

    Ref arg[2] = { graph_read(g, nowhere, x), graph_const(g, nowhere, ty_scalar(DT_f32), 1) };
    assert_int_equal(graph_make(g, OP_add, nowhere, 2, arg, (Attr){ 0 }, NULL, &error).id, 0);
    assert_string_equal(error, "add: wants equal types, got f32[N, 784] and f32");
    module_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_abi),
        cmocka_unit_test(test_type_sizes),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_equal_nodes_are_one),
        cmocka_unit_test(test_rewrite_is_asked_first),
        cmocka_unit_test(test_copy_drops_the_dead),
        cmocka_unit_test(test_batch_prints_by_name),
    };

    return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
