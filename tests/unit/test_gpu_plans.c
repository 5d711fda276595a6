/* test_gpu_plans.c - whole models scheduled for a GPU: what the walker makes of the plans is what the oracle says.
 *
 * After each pass every entry is run and compared with what the pass before gave (passes/compare.h), so no GPU is needed: a plan that walks
 * right and passes plan_verify says what code for a GPU must do.  Files given as arguments are checked as well as the tests' own.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "frontend/frontend.h"
#include "passes/compare.h"

enum { MAX_TEXT = 1 << 16 };

static char *read_model(const char *path, size_t *len)
{
    const char *root = getenv("NND_ROOT");
    char        full[4096], *text = malloc(MAX_TEXT);
    FILE       *f;

    snprintf(full, sizeof full, "%s/%s", root && *path != '/' ? root : ".", path);
    f = fopen(*path == '/' ? path : full, "rb");
    assert_non_null(f);
    *len = fread(text, 1, MAX_TEXT, f);
    fclose(f);
    return text;
}

/* In place: `const NAME = NUMBER` with another number of as many digits. */
static void set_const(char *text, const char *name, const char *number)
{
    char line[64], *at;

    snprintf(line, sizeof line, "const %s = ", name);
    assert_non_null(at = strstr(text, line));
    memcpy(at + strlen(line), number, strlen(number));
}

static const char *after(void *ctx, Module *m, Pass p, double elapsed_ms)
{
    (void)elapsed_ms;
    return compare_pass(ctx, m, pass_info[p].name);
}

static void check_plans(const Module *m)
{
    for (int i = 0; i < m->ngraph; i++)
        for (int k = 0; k < m->plan[i]->nkernel; k++)
            assert_true(kernel_group(m->plan[i]->kernel[k]).threads > 0);
}

static void check_text(const char *path, char *text, size_t len, int64_t batch)
{
    EntryWant    want[] = { { ENTRY_TRAIN, batch }, { ENTRY_EVAL, batch }, { ENTRY_INFER, 1 } };
    FrontOptions front = { .float64 = false };
    Model       *md = model_parse(path, text, len, &front);
    Arena        mem = { 0 };
    Compare     *c = compare_new(&mem);
    Pipeline     p = { .options = { .limits = limits_gpu(), .rule_limit = -1 }, .after = after, .ctx = c };
    Module      *m;
    const char  *why;

    assert_non_null(model_check(md));
    assert_non_null(m = model_build(md, want, 3));
    if ((why = compare_pass(c, m, "build")) || (why = pipeline_run(m, &p)))
        fail_msg("%s, a batch of %lld: %s", path, (long long)batch, why);
    check_plans(m);
    module_free(m);
    model_free(md);
    arena_free(&mem);
    free(text);
}

static void check_model(const char *path, int64_t batch)
{
    size_t len;
    char  *text = read_model(path, &len);

    check_text(path, text, len, batch);
}

static void test_slp(void **state)   { (void)state; check_model("models/slp.nnd", 19); }
static void test_mlp(void **state)   { (void)state; check_model("models/mlp.nnd", 64); }
static void test_lenet(void **state) { (void)state; check_model("models/lenet.nnd", 3); }

static void test_gpt(void **state)
{
    size_t len;
    char  *text = read_model("models/gpt.nnd", &len);

    (void)state;
    set_const(text, "width", "016");
    set_const(text, "blocks", "1");
    set_const(text, "context", "012");
    check_text("models/gpt.nnd, small", text, len, 2);
}


/* ---- tensor cores ---- */

enum { M = 33, K = 70, N = 20 };

static const char product[] =
    "nnd-ir 1\nslot @x : param f32[33, 70]\nslot @w : param f32[70, 20]\nslot @y : state f32[33, 20]\ntrain epochs 1 batch 1 seed 0 precision %s\n"
    "graph train 1 {\n  %%1 = read @x : f32[33, 70]\n  %%2 = read @w : f32[70, 20]\n  %%3 = dot %%1, %%2 {fold 1:0} : f32[33, 20]\n  write @y, %%3\n}\n";

/* The largest error of a product of numbers up to 1, relative to the sum of its terms' sizes. */
static double product_error(const char *precision)
{
    static float state[4 * M * K];
    char     text[1024];
    int      n = snprintf(text, sizeof text, product, precision);
    Module  *m = module_read("<text>", text, (size_t)n);
    Pipeline p = { .options = { .limits = limits_gpu(), .rule_limit = -1 } };
    float   *x, *w, *y;
    double   worst = 0;
    WalkEnv  env = { .state = state };
    Arena    mem = { 0 };

    assert_int_equal(m->diag.nerror, 0);
    assert_null(pipeline_run(m, &p));
    assert_true(stmt_has(m->plan[0]->kernel[0]->body, ST_MMA) == (strcmp(precision, "f32") != 0));
    x = state + module_state_offset(m, 0) / 4;
    w = state + module_state_offset(m, 1) / 4;
    y = state + module_state_offset(m, 2) / 4;
    for (int i = 0; i < M * K; i++)
        x[i] = (float)(i * 7919 % 2003) / 2003;
    for (int i = 0; i < K * N; i++)
        w[i] = (float)(i * 104729 % 3001) / 3001;
    assert_null(plan_walk(m->plan[0], &env, &mem));
    for (int i = 0; i < M * N; i++) {
        double sum = 0;

        for (int k = 0; k < K; k++)
            sum += (double)x[i / N * K + k] * w[k * N + i % N];
        worst = fmax(worst, fabs(y[i] - sum) / sum);
    }
    arena_free(&mem);
    module_free(m);
    return worst;
}

/* Factors are rounded to 11 and 8 bits: each is off by half a unit at most, the product by two, and some are off by far more than an f32 is. */
static void test_precision(void **state)
{
    double f32 = product_error("f32"), tf32 = product_error("tf32"), bf16 = product_error("bf16");

    (void)state;
    assert_true(f32 < 0x1p-20);
    assert_true(tf32 > f32 && tf32 < 0x1p-10);
    assert_true(bf16 > tf32 && bf16 < 0x1p-7);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slp),
        cmocka_unit_test(test_mlp),
        cmocka_unit_test(test_lenet),
        cmocka_unit_test(test_gpt),
        cmocka_unit_test(test_precision),
    };

    if (argc == 3) {
        check_model(argv[1], atoll(argv[2]));
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
