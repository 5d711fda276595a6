/* test_parity.c - the oracle, the walker, the cpu's code and a GPU's agree: every row of ops.def, and small graphs at random.
 *
 * Whole graphs come from tests/random, which has their tolerances; tests/random_graphs runs more of them.
 *
 * Tolerances, with u = 2^-24 for f32 and 2^-53 for f64:
 *   points but functions, movement, counting   none: each is one operation that IEEE 754 rounds, or none at all
 *   functions (MATH)                           the walker uses the oracle's; the cpu's polynomials are within 4 ulps
 *   sums and contractions of n terms           the oracle adds in double; in another order and precision the result is
 *                                              off by n u times the terms' sizes, on the whole sqrt(n) of it.  Terms
 *                                              are below 4, so 16 n u is generous, and a missing term is far above it
 *   the walker against the cpu                 none unless a function takes part, as it does in attention: no mark changes a bit
 * Zeros of either sign are equal, and so are nans.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/random/random_graph.h"
#include "tests/unit/few.h"
#include "tests/unit/parity_gpu.h"

enum { SHAPES = 64, ULPS = 4, MOST = 1 << 14, BLOCKS = 8 };

/* The oracle and the walker hold integers as doubles: beyond 2^53 an i64 is only near. */
static bool same(double x, double y)
{
    return x == y || (isnan(x) && isnan(y)) || (fabs(x) > 0x1p62 && fabs(x) < 0x1p64 && fabs(x - y) <= 0x1p11);
}

/* One unit in the last place of x. */
static double ulp(Dtype d, double x)
{
    int exp;

    if (!isfinite(x))
        return 0;
    frexp(x, &exp);
    return d == DT_f32 ? ldexp(1, exp < -125 ? -149 : exp - 24) : ldexp(1, exp < -1021 ? -1074 : exp - 53);
}

/* ---- one node of a row ---- */

typedef struct RowCase { int arg[3], narg, out; Ref node; } RowCase;

static int64_t arb_size(Rng *r)
{
    static const int64_t size[] = { 1, 1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64 };

    return size[rng_below(r, (int)(sizeof size / sizeof *size))];
}

static Type arb_shape_type(Rng *r, Dtype d, int least, int most, const Type *like)
{
    int64_t dim[MAX_RANK];
    Type    t;

    do {
        int rank = least + rng_below(r, most - least + 1);

        for (int i = 0; i < rank; i++)
            dim[i] = like && like->rank && rng_below(r, 4) ? like->dim[rng_below(r, like->rank)] : arb_size(r);
        t = ty_make(d, rank, dim);
    } while (ty_count(&t) > (like ? MOST / 16 : MOST / 8));
    return t;
}

/* Made behind autodiff alone. */
static bool is_sparse(Op op) { return op == OP_spread || op == OP_collect; }

static Dtype arb_dtype(Rng *r, Op op, int i, Dtype first)
{
    static const Dtype number[] = { DT_f32, DT_f32, DT_f32, DT_f64, DT_i32, DT_u8, DT_i64, DT_bool };

    if (i > 0 && op != OP_select)
        return first;
    if (op == OP_select)
        return i == 0 ? DT_bool : i == 1 ? number[rng_below(r, 8)] : first;
    if (op_info[op].domain == DOM_BOOL)
        return DT_bool;
    if (op == OP_one_hot)
        return rng_below(r, 2) ? DT_i32 : DT_u8;
    return number[rng_below(r, 8)];
}

static double sample(Rng *r, Op op, Dtype d, bool edges)
{
    double sign = rng_below(r, 2) ? 1 : -1;

    if (d == DT_bool)
        return rng_below(r, 2);
    if (op == OP_one_hot)
        return rng_below(r, 4);
    if ((op == OP_put || is_sparse(op)) && d == DT_i32)
        return rng_below(r, rng_below(r, 2) ? 8 : 60) - 1;
    if (edges)
        return arb_special(r, d);
    if (dt_is_int(d))
        return d == DT_u8 ? rng_below(r, 256) : rng_below(r, 2001) - 1000;
    switch (op_info[op].domain) {
    case DOM_POS:  return 0.1 + 2 * rng_unit(r);
    case DOM_NZ:   return sign * (0.4 + 1.5 * rng_unit(r));
    case DOM_INT:  return rng_below(r, 4);
    case DOM_BOOL: return rng_below(r, 2);
    case DOM_ANY: case DOM_UNIT: case DOM_KINK: case DOM_none: break;
    }
    return 4 * rng_unit(r) - 2;
}

static Ref make_row(Module *m, Graph *g, Rng *r, Op op, RowCase *c)
{
    const char *error = NULL;
    bool        point = op_info[op].cls == CLASS_POINT;
    Ref         arg[3];
    Type        type[3], given = arb_shape_type(r, op == OP_iota ? DT_i32 : DT_f32, 1, 3, NULL);
    int64_t     stream = 5;

    *c = (RowCase){ .narg = op_info[op].narg };
    for (int i = 0; i < c->narg; i++) {
        Dtype d = arb_dtype(r, op, i, type[i ? i - 1 : 0].dtype);

        type[i] = point && i ? ty_with(type[0], d) : arb_shape_type(r, d, point ? 0 : 1, 4, i ? &type[0] : NULL);
    }
    arb_fit(r, op, type);
    for (int i = 0; i < c->narg; i++) {
        c->arg[i] = module_add_slot(m, arena_printf(&m->mem, "s%d", m->nslot), SLOT_param, type[i], (Loc){ 0 });
        arg[i] = graph_read(g, (Loc){ 0 }, c->arg[i]);
    }
    if (op == OP_const)
        return graph_const(g, (Loc){ 0 }, given, sample(r, OP_add, DT_f32, true));
    Attr attr = op == OP_random ? attr_make(&m->mem, 1, &stream) : is_sparse(op) ? arb_patch(r, &m->mem, op, &type[0], &type[2])
                                : arb_attr(r, &m->mem, op_info[op].attr, c->narg ? &type[0] : &given, &type[1]);

    return graph_make(g, op, (Loc){ 0 }, c->narg, arg, attr, c->narg ? NULL : &given, &error);
}

/* A graph of one node, or false if the sample doesn't fit the row. */
static bool add_row(Module *m, Rng *r, Op op, RowCase *c, int number)
{
    Graph *g = graph_new(m, ENTRY_TRAIN, number + 1);
    Ref    y = make_row(m, g, r, op, c);

    if (!y.id || ty_count(&graph_at(g, y)->type) > MOST)
        return false;
    c->node = y;
    c->out = module_add_slot(m, arena_printf(&m->mem, "s%d", m->nslot), SLOT_state, graph_at(g, y)->type, (Loc){ 0 });
    graph_write(g, (Loc){ 0 }, c->out, y);
    module_add_graph(m, g);
    return true;
}

static void check_row(Parity *p, ParityGpu *gpu, int i, const RowCase *c, Op op, int lanes)
{
    Arena   mem = { 0 };
    Tensor  want = parity_eval(p, i, &mem)[c->node.id], got = parity_tensor(p->m, p->state, c->out);
    Dtype   d = want.type.dtype;
    int64_t n = ty_count(&want.type);
    double *walked = arena_array(&mem, double, n);
    double  tolerance = dt_is_float(d) ? 16 * random_terms(p->said[i], graph_at(p->said[i], c->node)) * (d == DT_f32 ? 0x1p-24 : 0x1p-53) : 0;
    bool    math = op_info[op].props & PROP_MATH && dt_is_float(d);
    const char *type = ty_str(&mem, &p->m->slot[c->narg ? c->arg[0] : c->out].type), *why = parity_walk(p, i, &mem);

    if (why)
        fail_msg("%s %s: %s", op_info[op].name, type, why);
    for (int64_t j = 0; j < n; j++) {
        double x = tensor_get(&want, j, false), y = walked[j] = tensor_get(&got, j, false);

        if (!same(x, y) && !(fabs(x - y) <= tolerance))
            fail_msg("%s of %s, %d lanes, element %lld: oracle %.9g, walker %.9g", op_info[op].name, type, lanes,
                     (long long)j, x, y);
    }
    if (gpu)
        parity_gpu_run(gpu, p, i);
    else if (p->image)
        assert_int_equal(parity_run(p, i), 0);
    for (int64_t j = 0; j < n && (p->image || gpu); j++) {
        double x = walked[j], y = tensor_get(&got, j, false);

        if (!same(x, y) && !(math && op != OP_random && fabs(x - y) <= fmax(tolerance, ULPS * ulp(d, x))))
            fail_msg("%s of %s, %d lanes, element %lld: walker %.9g, %s %.9g", op_info[op].name, type, lanes,
                     (long long)j, x, gpu ? "GPU" : "cpu", y);
    }
    arena_free(&mem);
}

static void fill_row(Parity *p, Rng *r, Op op, const RowCase *c, bool edges)
{
    for (int k = 0; k < c->narg; k++) {
        Tensor t = parity_tensor(p->m, p->start, c->arg[k]);

        for (int64_t j = 0; j < ty_count(&t.type); j++)
            tensor_set(&t, j, sample(r, op, t.type.dtype, edges), false);
    }
}

/* PARITY_PRINT=1 prints the module whose passes failed. */
static void fail_plan(const Module *m, const char *name, const char *why)
{
    if (getenv("PARITY_PRINT"))
        module_print(stderr, m);
    fail_msg("%s: %s", name, why);
}

/* n samples of a row, each a graph of the module from number m->ngraph on. */
static void add_rows(Module *m, Rng *r, Op op, RowCase *c, int n)
{
    int from = m->ngraph;

    for (int tries = 0; m->ngraph < from + n; tries++) {
        assert_true(tries < 100 * SHAPES);
        add_row(m, r, op, &c[m->ngraph - from], m->ngraph);
    }
}

/* gpu: run on its driver, else by the cpu's code, or for 0 lanes only walked. */
static void check_op(Op op, int lanes, bool edges, ParityGpu *gpu)
{
    Rng         r = { (uint64_t)op * 3 + 1 };
    RowCase     c[SHAPES];
    Parity      p;
    Module     *m = module_new();
    const char *why;
    int         n = edges || gpu ? (few() ? 2 : 8) : few() ? SHAPES / 4 : SHAPES;

    add_rows(m, &r, op, c, n);
    p = parity_new(m);
    for (int i = 0; i < n; i++)
        fill_row(&p, &r, op, &c[i], edges);
    if ((why = parity_compile(&p, lanes)) || (gpu && (why = parity_gpu_open(gpu, &p))))
        fail_plan(m, op_info[op].name, why);
    for (int i = 0; i < n; i++)
        check_row(&p, gpu, i, &c[i], op, lanes);
    if (gpu)
        parity_gpu_close(gpu);
    parity_free(&p);
}

/* Settled before, all but read, which is in every case, and what only makes sense in a whole scan, which random graphs have. */
static bool has_code(Op op)
{
    return op != OP_training && op != OP_variable && op != OP_grad && op != OP_read && op_info[op].attr != ATTR_LOOP;
}

static void test_rows_8(void **state)
{
    (void)state;
    for (int op = 0; op < NOP; op++)
        if (has_code((Op)op))
            check_op((Op)op, 8, false, NULL);
}

static void test_rows_16(void **state)
{
    (void)state;
    for (int op = 0; op < NOP; op++)
        if (has_code((Op)op))
            check_op((Op)op, 16, false, NULL);
}

static void test_rows_gpu(void **state)
{
    (void)state;
    for (int op = 0; op < NOP; op++)
        if (has_code((Op)op) && !is_sparse((Op)op))       /* which the pass sparse makes for a CPU alone */
            check_op((Op)op, 0, false, NULL);
}

/* On the stand-in driver, with races looked for and warps in the order of two seeds, or on a GPU. */
static void test_rows_ptx(void **state)
{
    static const char *const seed[] = { "1", "7" };
    ParityGpu gpu = { 0 };

    (void)state;
    if (!gpu_open(&gpu.driver))
        gpu_left_out();
    for (int op = 0; op < NOP; op++)
        if (has_code((Op)op) && !is_sparse((Op)op)) {
            setenv("PTXRUN_SEED", seed[op % 2], 1);
            check_op((Op)op, 0, false, &gpu);
            if (op_info[op].cls == CLASS_POINT)
                check_op((Op)op, 0, true, &gpu);
            if (gpu.driver.nwarning && *gpu.driver.nwarning)
                fail_msg("%s: %d warnings of ptxrun", op_info[op].name, *gpu.driver.nwarning);
        }
    gpu_close(&gpu.driver);
}

/* Two samples of every row as code of four generations. */
static void test_rows_ptxas(void **state)
{
    static const char *const sm[] = { "sm_75", "sm_80", "sm_90", "sm_100" };
    Module  *m = module_new();
    RowCase  c[2];
    int      status = 0;

    (void)state;
    for (int op = 0; op < NOP; op++) {
        Rng r = { (uint64_t)op * 5 + 1 };

        if (has_code((Op)op) && !is_sparse((Op)op))
            add_rows(m, &r, (Op)op, c, 2);
    }
    if (parity_lower(m, 0))
        fail_plan(m, "all rows", "the passes fail");
    for (int i = few() ? 3 : 0; i < 4 && !status; i++)
        if ((status = parity_ptxas(m, sm[i])) && status != 127)
            fail_msg("ptxas refuses the rows for %s", sm[i]);
    module_free(m);
    if (status == 127) {
        print_message("# left out: there is no ptxas\n");
        skip();
    }
}

/* Functions keep their 4 ulps where results are numbers; sums of infinities are for the rows without edges. */
static void test_edges(void **state)
{
    (void)state;
    for (int op = 0; op < NOP; op++)
        if (op_info[op].cls == CLASS_POINT)
            check_op((Op)op, 8, true, NULL);
    for (Op op = OP_max; op <= OP_argmin; op++)
        check_op(op, 8, true, NULL);
}

/* ---- whole graphs ---- */

static int add_param(Module *m, const char *name, int rank, int64_t n0, int64_t n1)
{
    int64_t dim[2] = { n0, n1 };

    return module_add_slot(m, name, SLOT_param, ty_make(DT_f32, rank, dim), (Loc){ 0 });
}

/* Graphs that once went wrong: slots that change places, and a contraction over two folded axes, of which the inner
 * one leaves a remainder of lanes. */
static void add_known(Module *m)
{
    int64_t axis[2] = { 1, 2 }, size[2] = { 2, 3 }, ac[2] = { 2, 3 }, bc[2] = { 0, 1 };
    int     a = add_param(m, "a", 1, 3, 0), b = add_param(m, "b", 1, 3, 0), x = add_param(m, "x", 2, 3, 31);
    int     w = add_param(m, "w", 2, 3, 31), y = add_param(m, "y", 2, 3, 2);
    Graph  *swap = graph_new(m, ENTRY_TRAIN, 1), *dot = graph_new(m, ENTRY_TRAIN, 2);
    Ref     arg[2];

    graph_write(swap, (Loc){ 0 }, a, graph_read(swap, (Loc){ 0 }, b));
    graph_write(swap, (Loc){ 0 }, b, graph_read(swap, (Loc){ 0 }, a));
    arg[0] = graph_expand(dot, (Loc){ 0 }, graph_read(dot, (Loc){ 0 }, x), 2, axis, size);
    arg[1] = graph_read(dot, (Loc){ 0 }, w);
    Attr attr = attr_dot_make(&m->mem, 0, NULL, NULL, 2, ac, bc);
    graph_write(dot, (Loc){ 0 }, y, graph_make(dot, OP_dot, (Loc){ 0 }, 2, arg, attr, NULL, NULL));
    module_add_graph(m, swap);
    module_add_graph(m, dot);
}

static void check_module(Module *m, RandomMode mode)
{
    Arena       mem = { 0 };
    const char *why = random_check(m, mode, &mem);

    if (why)
        fail_plan(m, "whole graphs", why);
    arena_free(&mem);
    module_free(m);
}

static void test_known(void **state)
{
    static const RandomMode mode[] = { { .lanes = 8 }, { .lanes = 16 }, { .lanes = 8, .skip_fuse = true },
                                       { .lanes = 8, .skip_schedule = true }, { .lanes = 0 } };

    (void)state;
    for (size_t i = 0; i < sizeof mode / sizeof *mode; i++) {
        Module *m = module_new();

        add_known(m);
        check_module(m, mode[i]);
    }
}

/* Contractions that small caches do not hold: panels, groups of them, and blocks of rows, each with remainders. */
static void add_large(Module *m)
{
    int64_t one = 1, zero = 0;
    int     x = add_param(m, "x", 2, 210, 40), v = add_param(m, "v", 2, 40, 1045), w = add_param(m, "w", 2, 7, 40);
    int     panels = add_param(m, "panels", 2, 210, 1045), blocks = add_param(m, "blocks", 2, 210, 7);
    Graph  *g = graph_new(m, ENTRY_TRAIN, 1);
    Ref     arg[2] = { graph_read(g, (Loc){ 0 }, x), graph_read(g, (Loc){ 0 }, v) };
    Attr    rows = attr_dot_make(&m->mem, 0, NULL, NULL, 1, &one, &zero), both = attr_dot_make(&m->mem, 0, NULL, NULL, 1, &one, &one);

    graph_write(g, (Loc){ 0 }, panels, graph_make(g, OP_dot, (Loc){ 0 }, 2, arg, rows, NULL, NULL));
    arg[1] = graph_read(g, (Loc){ 0 }, w);
    graph_write(g, (Loc){ 0 }, blocks, graph_make(g, OP_dot, (Loc){ 0 }, 2, arg, both, NULL, NULL));
    module_add_graph(m, g);
}

static void test_large(void **state)
{
    static const RandomMode mode[] = { { .lanes = 8, .small_caches = true }, { .lanes = 16, .small_caches = true } };

    (void)state;
    for (size_t i = 0; i < sizeof mode / sizeof *mode; i++) {
        Module *m = module_new();

        add_large(m);
        check_module(m, mode[i]);
    }
}

/* One module of them. */
static Module *random_block(uint64_t first, bool float64)
{
    Module *m = module_new();

    m->float64 = float64;
    for (int i = 0; i < RANDOM_BLOCK; i++)
        random_graph(m, first + (uint64_t)i, i);
    return m;
}

static void test_graphs(void **state)
{
    (void)state;
    for (uint64_t block = 0; block < BLOCKS; block++) {
        uint64_t first = block * RANDOM_BLOCK;

        check_module(random_block(first, block % 5 == 4), random_mode(first));
    }
}


/* Every product by BLAS: the shapes of test_large, and graphs at random. */
static void test_blas(void **state)
{
    const char *why;

    (void)state;
    if (!backend_has_blas(&why)) {
        print_message("# %s\n", why);
        skip();
    }
    for (uint64_t block = 0; block <= BLOCKS; block++) {
        RandomMode mode = { .lanes = block % 2 ? 8 : 16, .simplify = true, .blas = true };
        Module    *m = block < BLOCKS ? random_block(block * RANDOM_BLOCK, block % 5 == 4) : module_new();

        if (block == BLOCKS)
            add_large(m);
        check_module(m, mode);
    }
}

static void test_graphs_gpu(void **state)
{
    (void)state;
    for (uint64_t block = 0; block < BLOCKS; block++) {
        RandomMode mode = { .simplify = block % 2, .skip_fuse = block % 4 == 3 };

        check_module(random_block(block * RANDOM_BLOCK, block % 5 == 4), mode);
    }
}

/* Every row comes up in what is written, so that it is run. */
static void test_all_rows(void **state)
{
    int n[NOP] = { 0 };

    (void)state;
    for (uint64_t block = 0; block < BLOCKS; block++) {
        Module *m = random_block(block * RANDOM_BLOCK, false);

        for (int i = 0; i < m->ngraph; i++) {
            const Graph *g = graph_copy(m->graph[i], NULL, NULL);

            for (int id = 1; id < g->nnode; id++)
                n[g->node[id].op]++;
        }
        module_free(m);
    }
    for (int op = 0; op < NOP; op++)
        if (!n[op] && op != OP_variable && op != OP_grad && !is_sparse((Op)op))      /* gone before random graphs begin, or made in nets */
            fail_msg("no graph has a %s", op_info[op].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_8),
        cmocka_unit_test(test_rows_16),
        cmocka_unit_test(test_rows_gpu),
        cmocka_unit_test(test_rows_ptx),
        cmocka_unit_test(test_rows_ptxas),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_blas),
        cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_graphs_gpu),
        cmocka_unit_test(test_all_rows),
    };

    if (gpu_is_real())
        cmocka_set_test_filter("test_rows_ptx");      /* what runs there */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
