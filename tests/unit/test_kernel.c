/* test_kernel.c - plans as text and under verification.
 *
 * Plans come from graphs of dots, reductions and points at sizes with and without remainders, as lower, schedule and
 * memory leave them.  Reading back what was printed must give the same plan, statement by statement; each planted
 * mistake must be found; no text at all may do worse than give messages;
 * and the comparison of stages sees what the verifier can't.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "passes/compare.h"
#include "tests/unit/arbitrary.h"

static const Loc nowhere;

/* ---- modules ---- */

static int add_slot(Module *m, const char *name, SlotKind kind, Dtype d, int rank, int64_t n0, int64_t n1)
{
    int64_t dim[2] = { n0, n1 };

    return module_add_slot(m, name, kind, ty_make(d, rank, dim), nowhere);
}

static Ref dot_of(Graph *g, Ref a, Ref b, int64_t axis_a, int64_t axis_b)
{
    const char *error = NULL;
    Ref         arg[2] = { a, b };

    return graph_make(g, OP_dot, nowhere, 2, arg, attr_dot_make(&g->m->mem, 0, NULL, NULL, 1, &axis_a, &axis_b), NULL,
                      &error);
}

/* sigmoid(x @ w), its sum, its largest row's place, w changed in place, and random numbers */
static Module *make_module(int64_t batch, int64_t in, int64_t out, int64_t folded_of_w)
{
    Module *m = module_new();
    int     x = add_slot(m, "x.0", SLOT_field, DT_u8, 1, in, 0);
    int     w = add_slot(m, "fc1.weight", SLOT_param, DT_f32, 2, folded_of_w ? out : in, folded_of_w ? in : out);
    int     loss = add_slot(m, "loss", SLOT_metric, DT_f32, 0, 0, 0), noise = add_slot(m, "noise", SLOT_state, DT_f32, 1, out, 0);
    int     best = add_slot(m, "best", SLOT_state, DT_i32, 1, batch, 0);
    int     rate = add_slot(m, "rate", SLOT_scalar, DT_f64, 0, 0, 0);
    Graph  *g = graph_new(m, ENTRY_TRAIN, batch);
    Loc     at = { 0, 3, 12, 9 };
    Ref     rw = graph_read(g, at, w), rx = graph_cast(g, at, graph_read(g, at, x), DT_f32);
    Ref     y = graph_op1(g, OP_sigmoid, at, dot_of(g, rx, rw, 1, folded_of_w));
    int64_t axes[2] = { 0, 1 }, stream = 77, last = 1;
    Type    row = ty_make(DT_f32, 1, &out), whole = graph_at(g, rw)->type;

    diag_source(&m->diag, "model.nnd", "", 0);
    graph_write(g, at, loss, graph_axes(g, OP_sum, at, y, 2, axes));
    graph_write(g, at, best, graph_make(g, OP_argmax, at, 1, &y, attr_make(&m->mem, 1, &last), NULL, NULL));
    graph_write(g, at, noise, graph_make(g, OP_random, at, 0, NULL, attr_make(&m->mem, 1, &stream), &row, NULL));
    Ref step = graph_expand(g, at, graph_cast(g, at, graph_read(g, at, rate), DT_f32), 2, axes, whole.dim);
    graph_write(g, at, w, graph_op2(g, OP_sub, at, rw, graph_op2(g, OP_mul, at, rw, step)));
    module_add_graph(m, g);
    return m;
}

static void run_passes(Module *m, Pass last, int lanes)
{
    Limits      l = { .lanes = lanes, .vregs = lanes == 16 ? 32 : 16, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20 };
    bool        only[NPASS] = { false };
    Pipeline    p = { .options = { .limits = l, .rule_limit = -1 }, .only = only };
    const char *why;

    for (int i = PASS_fuse; i <= (int)last; i++)
        only[i] = true;
    if ((why = pipeline_run(m, &p)))
        fail_msg("%s", why);
}

/* Not inlined: gcc 12 takes what open_memstream gives for the address of the variable that holds it. */
__attribute__((noinline)) static char *module_text(const Module *m, size_t *n)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, n);

    module_print(f, m);
    fclose(f);
    return text;
}

/* ---- text ---- */

static void same_list(const Stmt *a, const Stmt *b)
{
    for (; a && b; a = a->next, b = b->next) {
        assert_int_equal(a->kind, b->kind);
        assert_int_equal(a->id, b->id);
        assert_memory_equal(&a->loc, &b->loc, sizeof a->loc);
        assert_int_equal(a->dtype, b->kind == ST_FOR ? a->dtype : b->dtype);
        assert_int_equal(a->narg, b->narg);
        assert_memory_equal(a->arg, b->arg, (size_t)a->narg * sizeof *a->arg);
        assert_true(aff_equal(a->at, b->at) && aff_equal(a->row, b->row));
        assert_int_equal(a->nguard, b->nguard);
        for (int i = 0; i < a->nguard; i++)
            assert_true(aff_equal(a->guard[i].at, b->guard[i].at) && a->guard[i].size == b->guard[i].size);
        assert_int_equal(a->stream, b->stream);
        assert_true(a->buf == b->buf && a->local == b->local && a->extent == b->extent && a->count == b->count);
        assert_true(a->par == b->par && a->unroll == b->unroll && a->lanes == b->lanes);
        assert_true(a->grid == b->grid && a->block == b->block && a->async == b->async && a->scope == b->scope && a->each == b->each);
        assert_true(a->bf16 == b->bf16 && a->operand[0] == b->operand[0] && a->operand[1] == b->operand[1]);
        if (a->kind == ST_LET)
            assert_true(a->op == b->op && a->from == b->from);
        if (a->kind == ST_FOLD)
            assert_int_equal(a->op, b->op);
        assert_true(a->number == b->number || (isnan(a->number) && isnan(b->number)));
        same_list(a->body, b->body);
    }
    assert_true(!a && !b);
}

static void same_plan(const Plan *a, const Plan *b)
{
    assert_true(a->entry == b->entry && a->batch == b->batch && a->scratch_bytes == b->scratch_bytes);
    assert_int_equal(a->nbuf, b->nbuf);
    for (int i = 0; i < a->nbuf; i++) {
        const Buffer *x = &a->buf[i], *y = &b->buf[i];

        assert_true(x->seg == y->seg && x->slot == y->slot && x->offset == y->offset && x->dtype == y->dtype);
        assert_true(x->count == y->count && x->node == y->node);
        if (x->seg == SEG_SCRATCH)
            assert_true(x->first == y->first && x->last == y->last);
    }
    assert_int_equal(a->nkernel, b->nkernel);
    for (int i = 0; i < a->nkernel; i++) {
        const Kernel *x = a->kernel[i], *y = b->kernel[i];

        assert_string_equal(x->name, y->name);
        assert_string_equal(x->what, y->what);
        assert_true(x->flops == y->flops && x->scheduled == y->scheduled);
        assert_memory_equal(&x->loc, &y->loc, sizeof x->loc);
        same_list(x->body, y->body);
    }
}

static void check_text(Module *m)
{
    size_t  n, again;
    char   *text = module_text(m, &n);
    Module *back = module_read("<text>", text, n);

    if (back->diag.nerror)
        fail_msg("%s%s", back->diag.text, text);
    assert_non_null(back->plan);
    for (int i = 0; i < m->ngraph; i++)
        same_plan(m->plan[i], back->plan[i]);
    const char *why = plan_verify(back->plan[0], &back->mem);
    if (why)
        fail_msg("read back: %s", why);
    char *second = module_text(back, &again);
    assert_string_equal(text, second);
    free(text);
    free(second);
    module_free(back);
}

static void test_text(void **state)
{
    static const int64_t size[][3] = { { 64, 784, 50 }, { 1, 1, 1 }, { 5, 17, 3 }, { 7, 64, 33 }, { 33, 8, 64 } };

    (void)state;
    for (int i = 0; i < 5 * 2 * 3 * 2; i++) {
        const int64_t *s = size[i % 5];
        Module        *m = make_module(s[0], s[1], s[2], i / 5 % 2);

        run_passes(m, (Pass)(PASS_lower + i / 10 % 3), i / 30 ? 16 : 8);
        check_text(m);
        module_free(m);
    }
}

/* numbers that are hard to print, and rows of loads */
static void test_numbers(void **state)
{
    static const char text[] =
        "nnd-ir 1\nslot @p : state f32[8]\ngraph eval 2 {\n  %1 = read @p : f32[8]\n}\n"
        "plan eval 2 {\n  buffer b0 : state+0 f32[8] @p\n  scratch 0\n  kernel k1 \"a \\\"b\\\"\" flops 0.5 {\n"
        "    for i0 < 8 {\n      %0 = -inf : f32\n      %1 = nan : f32\n      %2 = -0 : f32\n      %3 = 1e-45 : f64\n"
        "      %4 = index -3*i0 - 4 : i32\n      %5 = load b0[-i0 + 7] : f32\n      %6 = lt %0, %5 : bool from f32\n"
        "      store b0[i0], %5\n      %7 = within i0 - 1 < 8, -i0 + 2 < 3 : bool\n      %8 = load b0[i0 - 1] : f32 if %7\n"
        "      pick i1 < 8 = %4\n      %9 = load b0[i1] : f32\n      if %6 {\n        store b0[i0], %9\n      }\n    }\n"
        "    for i2 < 8 sieve 4 {\n      %10 = load b0[i2] : f32\n      %11 = lt %10, %10 : bool from f32\n"
        "      if %11 {\n        %12 = load b0[i2] : f32\n        store b0[i2], %12\n      }\n    }\n  }\n}\n";
    Module *m = module_read("<text>", text, sizeof text - 1);
    char    *again;
    size_t  n;

    (void)state;
    assert_int_equal(m->diag.nerror, 0);
    assert_null(plan_verify(m->plan[0], &m->mem));
    again = module_text(m, &n);
    assert_non_null(strstr(again, "%4 = index -3*i0 - 4 : i32\n"));
    assert_non_null(strstr(again, "%2 = -0 : f32\n"));
    assert_non_null(strstr(again, "load b0[-i0 + 7] : f32\n"));
    assert_non_null(strstr(again, "bool from f32\n"));
    assert_non_null(strstr(again, "%7 = within i0 - 1 < 8, -i0 + 2 < 3 : bool\n"));
    assert_non_null(strstr(again, "%8 = load b0[i0 - 1] : f32 if %7\n"));
    assert_non_null(strstr(again, "pick i1 < 8 = %4\n"));
    assert_non_null(strstr(again, "      if %6 {\n        store b0[i0], %9\n      }\n"));
    assert_non_null(strstr(again, "    for i2 < 8 sieve 4 {\n"));
    check_text(m);
    free(again);
    module_free(m);
}

/* ---- thread groups ---- */

static const char group_text[] =
    "nnd-ir 1\nslot @x : state f32[512]\nslot @y : state f32[512]\ngraph train 1 {\n  %1 = read @x : f32[512]\n}\nplan train 1 {\n"
    "  buffer b0 : state+0 f32[512] @x\n  buffer b1 : state+2048 f32[512] @y\n  scratch 0\n  kernel k1 \"\" scheduled flops 0 {\n"
    "    for i0 < 1 grid {\n      for i1 < 2 grid {\n        local l0 : f32[512] group\n        local l1 : f32[64] each 1 = 0\n"
    "        local l2 : f32[256] each 4 = 0\n        for i2 < 64 block async {\n          for i3 < 8 vec 4 {\n"
    "            %0 = load b0[8*i2 + i3] : f32\n            set l0[8*i2 + i3], %0\n          }\n        }\n        wait 0\n"
    "        for i4 < 2 block {\n          mma tf32 l2[128*i4], l0[128*i4 : 8], l0[256 : 8]\n        }\n"
    "        for i5 < 2 block {\n          for i6 < 32 block {\n            %1 = get l2[128*i5 + 4*i6 + 3] : f32\n"
    "            set l1[32*i5 + i6], %1\n          }\n          %2 = fold add l1[32*i5 .. 32] : f32\n          store b1[256*i1 + i5], %2\n        }\n"
    "        for i7 < 64 block {\n          part i8 < 8 = i7 / 1\n          part i9 < 8 = i7 / 8\n          %3 = get l0[8*i8 + i9] : f32\n"
    "          set l1[i7], %3\n        }\n        %4 = fold add l1[0 .. 64] : f32\n        store b1[256*i1 + 2], %4\n      }\n    }\n  }\n}\n";

/* With the second operand as it is, or turned. */
static char *turned_text(bool turned)
{
    const char *end = strstr(group_text, "]\n        }\n        for i5");
    char       *text = malloc(sizeof group_text + 16);

    assert_non_null(end);
    snprintf(text, sizeof group_text + 16, "%.*s%s%s", (int)(end - group_text), group_text, turned ? " turned" : "", end);
    return text;
}

/* Every word of it, read, printed, read again, and walked: x is 1, 2, 3, ... in rows of 8; A is rows of it, B begins at 256. */
static void check_group(bool turned)
{
    char   *text = turned_text(turned);
    Module *m = module_read("<text>", text, strlen(text));
    float   memory[1024] = { 0 }, *y = memory + 512;
    double  fold[2] = { 0 };
    WalkEnv env = { .state = memory };

    if (m->diag.nerror)
        fail_msg("%s", m->diag.text);
    const char *why = plan_verify(m->plan[0], &m->mem);
    if (why)
        fail_msg("%s", why);
    check_text(m);
    for (int i = 0; i < 512; i++)
        memory[i] = (float)(i + 1);
    assert_null(plan_walk(m->plan[0], &env, &m->mem));
    for (int w = 0; w < 2; w++)                         /* result 3 of a lane: rows 8 .. 15, odd columns */
        for (int i = 8; i < 16; i++)
            for (int j = 1; j < 8; j += 2)
                for (int k = 0; k < 8; k++)
                    fold[w] += (128.0 * w + 8 * i + k + 1) * (256.0 + (turned ? 8 * j + k : 8 * k + j) + 1);
    for (int i = 0; i < 2; i++) {
        assert_true(fabs(y[256 * i] - fold[0]) <= 1e-6 * fold[0] && fabs(y[256 * i + 1] - fold[1]) <= 1e-6 * fold[1]);
        assert_true(y[256 * i + 2] == 64 * 65 / 2);
    }
    Group g = kernel_group(m->plan[0]->kernel[0]);
    assert_true(g.threads == 64 && g.inner[1] == 32 && g.ngrid == 2 && g.grid[0] == 1 && g.grid[1] == 2);
    module_free(m);
    free(text);
}

static void test_group(void **state)
{
    (void)state;
    check_group(false);
    check_group(true);
}

/* ---- mistakes ---- */

/* One kernel over @p : f32[8] and the scratch b1 : f32[16], and what the verifier says of it. */
typedef struct Mistake { const char *body, *says; } Mistake;

static const Mistake mistake[] = {
    { "%0 = load b0[8] : f32", "b0 is touched at 8 .. 8, it has 8 elements" },
    { "for i0 < 9 {\n%0 = load b0[i0] : f32\n}", "b0 is touched at 0 .. 8" },
    { "for i0 < 4 {\n%0 = load b0[i0 - 1] : f32\n}", "b0 is touched at -1 .. 2" },
    { "for i0 < 4 {\n%0 = load b0[-i0 + 2] : f32\n}", "b0 is touched at -1 .. 2" },
    { "%0 = load b0[i0] : f32", "no loop around it" },
    { "for i0 < 2 {\n%0 = 1 : f32\n}\nstore b0[0], %0", "where it can't be seen" },
    { "store b0[0], %1\n%1 = 1 : f32", "where it can't be seen" },
    { "%0 = 1 : f32\n%0 = 2 : f32", "%0 is defined twice" },
    { "for i0 < 2 {\nfor i0 < 2 {\n}\n}", "i0 is defined twice" },
    { "for i0 < 2 blas {\n}", "i0 is no matrix product that BLAS has" },
    { "for i0 < 2 blas {\nfor i1 < 2 {\nlocal l0 : f32[1] = 0\nfor i2 < 2 {\n%0 = load b0[2*i0 + i2] : f32\n%1 = load b0[2*i1 + 2*i2] : f32\n%2 = get l0[0] : f32\n"
      "%3 = fma %0, %1, %2 : f32\nset l0[0], %3\n}\n%4 = get l0[0] : f32\nstore b1[2*i0 + i1], %4\n}\n}", "i0 is no matrix product that BLAS has" },
    { "local l0 : f32[1] = 0\nlocal l0 : f32[1] = 0", "l0 is defined twice" },
    { "for i0 < 2 {\nlocal l0 : f32[1] = 0\n}\n%0 = get l0[0] : f32", "l0 is used where it can't be seen" },
    { "local l0 : f32[4] = 0\n%0 = get l0[4] : f32", "l0 is touched at 4 .. 4" },
    { "local l0 : f32[16] = 0\n%0 = fold add l0[8 .. 16] : f32", "l0 is touched at 8 .. 23" },
    { "local l0 : f32[16] = 0\n%0 = fold add l0[0 .. 12] : f32", "no power of two" },
    { "local l0 : f32[16] = 0\n%0 = fold sub l0[0 .. 16] : f32", "a fold by sub" },
    { "%0 = load b0[0] : i32", "b0 holds f32, not i32" },
    { "%0 = 1 : i32\nstore b0[0], %0", "%0 is i32, wanted is f32" },
    { "%0 = 1 : f32\n%1 = 1 : f64\n%2 = add %0, %1 : f32", "%1 is f64, wanted is f32" },
    { "%0 = 1 : f32\n%1 = exp %0 : f32\n%2 = lt %0, %1 : f32", "lt from f32 to f32" },
    { "%0 = 1 : i32\n%1 = exp %0 : i32", "exp from i32 to i32" },
    { "%0 = 1 : f32\n%1 = and %0, %0 : f32", "and from f32 to f32" },
    { "for i0 < 4 par {\n%0 = 1 : f32\nstore b0[0], %0\n}", "store to the same place" },
    { "%0 = 1 : f32\nfor i0 < 4 par {\nstore b0[i0], %0\n}", "not all of its kernel" },
    { "for i0 < 3 par {\n%0 = 1 : f32\nfor i1 < 4 {\nstore b0[2*i0 + i1], %0\n}\n}", "store to the same place" },
    { "for i0 < 2 {\nfor i1 < 2 par {\n}\n}", "not all of its kernel" },
    { "for i0 < 2 par unroll {\n}", "has another mark" },
    { "for i0 < 2 par vec 8 {\n}", "has another mark" },
    { "for i0 < 2 vec 1 {\n}", "has 1 lanes" },
    { "for i0 < 2 vec 65 {\n}", "has 65 lanes" },
    { "for i0 < 2 vec 8 {\nfor i1 < 2 {\nfor i2 < 2 vec 8 {\n}\n}\n}", "stands in the vec loop i0" },
    { "local l0 : f32[8] = 0\nfor i0 < 8 {\n%0 = get l0[i0] : f32\n}", "i0, which is not unrolled" },
    { "local l0 : f32[16] = 0\nfor i0 < 8 vec 8 {\n%0 = get l0[2*i0] : f32\n}", "not reached lane by lane" },
    { "local l0 : f32[16] = 0\nfor i0 < 8 vec 8 {\n%0 = get l0[i0 + 4] : f32\n}", "across vectors" },
    { "local l0 : f32[16] = 0\nfor i0 < 16 vec 8 {\n%0 = get l0[i0] : f32\n}", "vec loop that is not unrolled" },
    { "for i0 < 8 vec 8 {\nlocal l0 : f32[8] = 0\n%0 = get l0[i0] : f32\n}", "not reached lane by lane" },
    { "%0 = load b2[row 0][2] : u8", "b2 is touched at 2 .. 2" },
    { "%0 = load b2[row 3][0] : u8", "the row of b2 is touched at 3 .. 3" },
    { "%0 = 1 : u8\nstore b2[row 0][0], %0", NULL },
    { "%0 = 1 : u8\nstore b2[0], %0", "it only flows in" },
    { "%0 = load b3[0] : f64", "it only flows out" },
    { "for i0 < 9 {\n%0 = within i0 < 9 : bool\n%1 = load b0[i0] : f32 if %0\n}", "b0 is touched at 0 .. 8" },
    { "for i0 < 9 {\n%0 = within i0 - 1 < 8 : bool\n%1 = load b0[i0] : f32 if %0\n}", "b0 is touched at 1 .. 8" },
    { "for i0 < 9 {\nfor i1 < 3 {\n%0 = within i0 - i1 < 4 : bool\n%1 = load b0[3*i0 - 2*i1] : f32 if %0\n}\n}",
      "b0 is touched at 0 .. 11" },
    { "%0 = 1 : bool\n%1 = load b0[0] : f32 if %0", "%0, a load's condition, is no `within`" },
    { "%0 = load b0[0] : f32 if %1", "%1 is used where it can't be seen" },
    { "%0 = within i0 < 4 : bool", "no loop around it" },
    { "for i0 < 2 {\n%0 = within i0 < 4 : i32\n}", "is no bool of guards" },
    { "%0 = 1 : f32\npick i0 < 4 = %0", "i0 is picked by f32" },
    { "pick i0 < 4 = %0", "by a value that can't be seen" },
    { "%0 = 1 : i32\npick i0 < 9 = %0\n%1 = load b0[i0] : f32", "b0 is touched at 0 .. 8" },
    { "for i0 < 2 {\n%0 = 1 : i32\npick i1 < 4 = %0\n}\n%1 = load b0[i1] : f32", "no loop around it" },
    { "for i0 < 8 par {\n%0 = index i0 : i32\npick i1 < 8 = %0\n%1 = 1 : f32\nstore b0[i1], %1\n}", "store to the same place" },
    { "%0 = 1 : f32\nif %0 {\n}", "%0 is f32, wanted is bool" },
    { "%0 = 1 : bool\nif %0 {\n%1 = 1 : f32\n}\nstore b0[0], %1", "where it can't be seen" },
    { "%0 = 1 : bool\nfor i0 < 8 vec 8 {\nif %0 {\n}\n}", "an `if` stands in the vec loop i0" },
    { "for i0 < 8 sieve 1 {\n%0 = 1 : bool\nif %0 {\n}\n}", "is a sieve of 1" },
    { "for i0 < 8 sieve 65 {\n%0 = 1 : bool\nif %0 {\n}\n}", "is a sieve of 65" },
    { "for i0 < 8 vec 4 sieve 4 {\n%0 = 1 : bool\nif %0 {\n}\n}", "and something else" },
    { "for i0 < 8 sieve 4 {\n%0 = 1 : bool\n}", "does not end with one `if`" },
    { "for i0 < 8 sieve 4 {\n%0 = 1 : bool\nif %0 {\n}\n%1 = 1 : f32\n}", "does not end with one `if`" },
    { "for i0 < 8 sieve 4 {\n%0 = 1 : bool\n%1 = 1 : f32\nstore b0[i0], %1\nif %0 {\n}\n}", "more than values and an `if`" },
    { "for i0 < 8 sieve 4 {\n%0 = 1 : bool\n%1 = 1 : f32\nif %0 {\nstore b0[i0], %1\n}\n}", "where it can't be seen" },
    { "for i0 < 8 par {\n%0 = 1 : bool\nif %0 {\n%1 = 1 : f32\nstore b0[0], %1\n}\n}", "store to the same place" },
    { "for i0 < 2 {\nfor i1 < 2 grid {\n}\n}", "where there is no thread group" },
    { "wait 0", "no thread group" },
    { "for i0 < 2 grid {\nfor i1 < 2 grid {\n}\n%0 = 1 : f32\n}", "the grid loop i1 is not all that stands there" },
    { "for i0 < 2 grid {\nfor i1 < 2 grid {\n}\n}\n%0 = 1 : f32", "is not all that stands there" },
    { "for i0 < 2 grid unroll {\n}", "has another mark" },
    { "for i0 < 2 grid {\nfor i1 < 2 sieve 4 {\n%0 = 1 : bool\nif %0 {\n}\n}\n}", "i1 is sieve" },
    { "for i0 < 2 grid {\nfor i1 < 2048 block {\n}\n}", "2048 threads, more than 1024" },
    { "for i0 < 2 grid {\nfor i1 < 2 block {\nfor i2 < 8 block {\n}\n}\nfor i3 < 2 block {\nfor i4 < 4 block {\n}\n}\n}", "has 4 threads where another has 8" },
    { "for i0 < 2 grid {\nfor i1 < 8 vec 4 {\n}\nfor i2 < 8 block {\n}\n}", "is not of one thread" },
    { "for i0 < 2 grid {\nfor i2 < 8 block {\nfor i1 < 6 vec 4 {\n}\n}\n}", "runs 6 times, 4 at a time" },
    { "for i0 < 2 grid {\nfor i1 < 8 block {\nlocal l0 : f32[8] group\n}\n}", "declared in the block loop i1" },
    { "for i0 < 2 grid {\nlocal l0 : f32[8] each 2 = 0\nfor i1 < 8 block {\n}\n}", "8 threads have 2 each" },
    { "for i0 < 2 grid {\nlocal l0 : f32[16] each 2 = 0\nfor i1 < 8 block {\n%0 = get l0[i1] : f32\n}\n}", "stands there 1 times, not 2" },
    { "for i0 < 2 grid {\nlocal l0 : f32[16] each 2 = 0\nfor i1 < 7 block {\n%0 = get l0[2*i1 + 2] : f32\n}\nfor i2 < 8 block {\n}\n}", "beyond the thread's own 2" },
    { "for i0 < 2 grid {\nlocal l0 : f32[16] each 2 = 0\nfor i1 < 8 block {\nfor i2 < 2 {\n%0 = get l0[2*i1 + i2] : f32\n}\n}\n}", "i2, which is not unrolled" },
    { "for i0 < 2 grid {\nlocal l0 : f32[8] each 1 = 0\n%0 = get l0[0] : f32\nfor i1 < 8 block {\n}\n}", "reached by many alike" },
    { "for i0 < 2 grid {\nlocal l0 : f32[8] each 1 = 0\n%0 = fold add l0[0 .. 4] : f32\nfor i1 < 8 block {\n}\n}", "over 4 threads, there are 8" },
    { "for i0 < 2 grid {\nlocal l0 : f32[8] group\n%0 = 1 : f32\nset l0[0], %0\nfor i1 < 8 block {\n}\n}", "l0 is set by no thread" },
    { "for i0 < 2 grid {\nfor i1 < 8 block {\nwait 0\n}\n}", "a wait in the block loop i1" },
    { "for i0 < 1 grid {\nfor i1 < 8 block async {\n%0 = 1 : f32\n}\n}", "does more than copy" },
    { "for i0 < 1 grid {\nlocal l0 : f32[512] group\nlocal l1 : f32[8192] each 8 = 0\nfor i1 < 32 block {\nmma tf32 l1[8*i1], l0[0 : 8], l0[0 : 8]\n}\n}",
      "8 times, not 256" },
    { "for i0 < 1 grid {\nlocal l0 : f32[248] group\nlocal l1 : f32[128] each 4 = 0\nfor i1 < 1 block {\nmma tf32 l1[128*i1], l0[0 : 8], l0[0 : 36 turned]\n}\n}",
      "l0 is touched at 0 .. 259" },
    { "for i0 < 1 grid {\nlocal l0 : f32[64] group\nlocal l1 : f32[128] each 4 = 0\nfor i1 < 1 block {\nmma tf32 l1[128*i1], l0[0 : 8], l0[0 : 8]\n}\n}",
      "l0 is touched at 0 .. 127" },
    { "for i0 < 4 {\npart i1 < 2 = i0 - 1 / 2\n}", "a number that may be -1" },
    { "for i0 < 9 {\npart i1 < 9 = i0 / 1\n%0 = load b0[i1] : f32\n}", "b0 is touched at 0 .. 8" },
    { "for i0 < 1000000000000 {\nfor i1 < 1000000000000 {\n%0 = index 100000000000000*i0 + i1 : i32\n}\n}", "too large" },
};

static Module *read_kernel(const char *body)
{
    char text[2048];
    int  n = snprintf(text, sizeof text,
                      "nnd-ir 1\nslot @p : state f32[8]\nslot @x : field u8[2]\nslot @loss : metric f32\n"
                      "graph train 3 {\n  %%1 = read @p : f32[8]\n}\nplan train 3 {\n  buffer b0 : state+0 f32[8] @p\n"
                      "  buffer b1 : scratch+0 f32[16] live 0..0\n  buffer b2 : field 0 u8[2] @x\n"
                      "  buffer b3 : metric 0 f64[1] @loss\n  scratch 64\n  kernel k1 \"\" scheduled flops 0 {\n%s\n}\n}\n",
                      body);

    return module_read("<text>", text, (size_t)n);
}

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistake / sizeof *mistake; i++) {
        Module *m = read_kernel(mistake[i].body);

        if (!mistake[i].says) {                   /* no sentence of the reader's language */
            assert_true(m->diag.nerror > 0);
        } else {
            if (m->diag.nerror)
                fail_msg("%s\n%s", mistake[i].body, m->diag.text);
            const char *why = plan_verify(m->plan[0], &m->mem);
            if (!why || !strstr(why, mistake[i].says) || !strstr(why, "plan train 3, kernel k1"))
                fail_msg("%s\nwants \"%s\", says \"%s\"", mistake[i].body, mistake[i].says, why ? why : "nothing");
        }
        module_free(m);
    }
}

/* Mistakes in places: buffers that overlap, lie askew, or are touched when they are not alive. */
static void test_buffers(void **state)
{
    Module *m = make_module(7, 64, 33, 0);
    Plan   *p;
    int     first = -1, second = -1;

    (void)state;
    run_passes(m, PASS_memory, 8);
    p = m->plan[0];
    for (int i = 0; i < p->nbuf; i++) {
        if (p->buf[i].seg == SEG_SCRATCH) {
            second = first;
            first = i;
        }
    }
    assert_true(first >= 0);
    Buffer was = p->buf[first];
    p->buf[first].offset += 4;
    assert_non_null(strstr(plan_verify(p, &m->mem), "no multiple of 64"));
    p->buf[first].offset = p->scratch_bytes;
    assert_non_null(strstr(plan_verify(p, &m->mem), "ends behind its segment"));
    p->buf[first] = was;
    p->buf[first].first = p->buf[first].last = p->nkernel;
    assert_non_null(strstr(plan_verify(p, &m->mem), "when it is not alive"));
    p->buf[first] = was;
    if (second >= 0) {
        p->buf[first].offset = p->buf[second].offset;
        p->buf[first].first = p->buf[second].first;
        p->buf[first].last = p->buf[second].last;
        assert_non_null(plan_verify(p, &m->mem));
        p->buf[first] = was;
    }
    assert_null(plan_verify(p, &m->mem));
    module_free(m);
}

/* ---- noise ---- */

/* A plan's text with some of its bytes or lines changed: read, and verified if it still reads. */
static void test_noise(void **state)
{
    static const char junk[] = "%[](){}<>+-*:=@!\"?.\n 0123456789bilkf";
    Rng               r = { 11 };
    Module           *m = make_module(5, 17, 3, 1);
    size_t            n;

    (void)state;
    run_passes(m, PASS_memory, 8);
    char *text = module_text(m, &n), *noisy = malloc(n + 1);
    char *plan = strstr(text, "\nplan ");
    assert_non_null(plan);
    for (int i = 0; i < 3000; i++) {
        size_t from = (size_t)(plan - text), len = n;

        memcpy(noisy, text, n + 1);
        for (int k = rng_below(&r, 4); k >= 0; k--)
            noisy[from + rng_next(&r) % (n - from)] = junk[rng_below(&r, sizeof junk - 1)];
        if (rng_below(&r, 4) == 0)
            len = from + rng_next(&r) % (n - from);
        Module *back = module_read("<noise>", noisy, len);
        for (int k = 0; !back->diag.nerror && back->plan && k < back->ngraph; k++)
            if (back->plan[k])
                plan_verify(back->plan[k], &back->mem);
        module_free(back);
    }
    free(noisy);
    free(text);
    module_free(m);
}

/* ---- comparison ---- */

static const char *after_pass(void *ctx, Module *m, Pass p, double elapsed_ms)
{
    (void)elapsed_ms;
    return compare_pass(ctx, m, pass_info[p].name);
}

static Stmt *find_fma(Stmt *s)
{
    for (; s; s = s->next) {
        Stmt *inner = s->kind == ST_FOR ? find_fma(s->body) : NULL;

        if (inner || (s->kind == ST_LET && s->op == OP_fma))
            return inner ? inner : s;
    }
    return NULL;
}

/* Every pass keeps the results; a contraction that forgets its partial sum does not, nor a write that is dropped. */
static void test_compare(void **state)
{
    Limits      l = { .lanes = 8, .vregs = 16, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20 };
    Arena       mem = { 0 };
    Module     *m = make_module(5, 17, 3, 1);
    Compare    *c = compare_new(&mem);
    Pipeline    p = { .options = { .limits = l, .rule_limit = -1 }, .after = after_pass, .ctx = c };
    Stmt       *fma = NULL;
    const char *why;
    int         accumulator;

    (void)state;
    assert_null(compare_pass(c, m, "build"));
    if ((why = pipeline_run(m, &p)))
        fail_msg("%s", why);
    for (int k = 0; k < m->plan[0]->nkernel && !fma; k++)
        fma = find_fma(m->plan[0]->kernel[k]->body);
    assert_non_null(fma);
    accumulator = fma->arg[2];
    fma->arg[2] = fma->arg[0];
    assert_null(plan_verify(m->plan[0], &m->mem));
    why = compare_pass(c, m, "planted");
    assert_non_null(why);
    assert_ptr_equal(strstr(why, "planted: entry train 5: write @"), why);
    assert_non_null(strstr(why, " differs: "));
    fma->arg[2] = accumulator;
    assert_null(compare_pass(c, m, "healed"));
    m->graph[0]->nwrite--;
    assert_string_equal(compare_pass(c, m, "planted"), "planted: entry train 5: write @fc1.weight is gone");
    arena_free(&mem);
    module_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_compare),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
