/* test_skip.c - passes left out in every way that is allowed: the models' entries give the oracle's results.
 *
 * compile_verify runs each entry as it was built, after each pass, and as the cpu's code, on the same made-up
 * rows, with the tolerance that passes/compare.c argues for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "frontend/compile.h"
#include "tests/unit/few.h"

enum { MAX_TEXT = 1 << 16 };

static size_t read_model(const char *path, char *text)
{
    const char *root = getenv("NND_ROOT");
    char        full[4096];
    FILE       *f;
    size_t      len;

    snprintf(full, sizeof full, "%s/%s", root ? root : ".", path);
    f = fopen(full, "rb");
    assert_non_null(f);
    len = fread(text, 1, MAX_TEXT, f);
    fclose(f);
    return len;
}

static void check_skipped(Model *md, const char *path, const bool *skip, const char *names)
{
    EntryWant      want[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, 1 }, { ENTRY_TRAIN, 19 }, { ENTRY_EVAL, 19 },
                              { ENTRY_INFER, 1 } };
    CompileOptions o = { .backend = &backend_cpu, .target = { .opt_level = 1 }, .skip = skip, .rule_limit = -1 };
    char           device[256], why[256];
    Arena          mem = { 0 };
    const char    *error;

    assert_true(backend_cpu.probe(&o.target, &o.limits, device, sizeof device, why, sizeof why));
    if ((error = compile_verify(md, 5, want, &o, &mem)))
        fail_msg("%s without %s: %s", path, names, error);
    arena_free(&mem);
}

/* What has nothing to do in a perceptron: convolutions and attention are theirs. */
static bool idles(int pass) { return pass == PASS_attend || pass == PASS_layout || pass == PASS_sparse; }

/* Every set of passes that can be left out; those that idle each alone, as a set with one of them is that without it. */
static void check_model(const char *path, bool float64)
{
    FrontOptions front = { .float64 = float64 };
    char        *text = malloc(MAX_TEXT), names[256];
    Model       *md = model_parse(path, text, read_model(path, text), &front);

    assert_non_null(model_check(md));
    for (int set = 0; set < 1 << NPASS; set++) {
        bool skip[NPASS], allowed = true, idle = false;

        names[0] = '\0';
        for (int i = 0; i < NPASS; i++) {
            skip[i] = set >> i & 1;
            allowed &= !skip[i] || pass_info[i].can_skip;
            idle |= skip[i] && idles(i);
            if (skip[i])
                snprintf(names + strlen(names), sizeof names - strlen(names), " %s", pass_info[i].name);
        }
        if (allowed && (!idle || !(set & (set - 1))))
            check_skipped(md, path, skip, names);
    }
    model_free(md);
    free(text);
}

static void test_slp(void **state)    { (void)state; check_model("models/slp.nnd", false); }
static void test_mlp(void **state)    { (void)state; check_model("models/mlp.nnd", false); }
static void test_mlp_64(void **state) { (void)state; check_model("models/mlp.nnd", true); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slp),
        cmocka_unit_test(test_mlp),
        cmocka_unit_test(test_mlp_64),
    };

    if (few())
        cmocka_set_skip_filter("test_mlp");      /* test_mlp_64 is much the same */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
