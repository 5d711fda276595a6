/* test_gpu_plans.c - whole models scheduled for a GPU: what the walker makes of the plans is what the oracle says.
 *
 * After each pass every entry is run and compared with what the pass before gave (passes/compare.h), so no GPU is needed: a plan that walks
 * right and passes plan_verify says what code for a GPU must do.  Files given as arguments are checked as well as the tests' own.
 */
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


int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slp),
        cmocka_unit_test(test_mlp),
        cmocka_unit_test(test_lenet),
        cmocka_unit_test(test_gpt),
    };

    if (argc == 3) {
        check_model(argv[1], atoll(argv[2]));
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
