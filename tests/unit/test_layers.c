/* test_layers.c - layers, activations and losses of the prelude against PyTorch's, outputs and gradients.
 *
 * A case is three files in a folder of tests/layers: CASE.nnd, and the params and states of its one training step
 * before it and after it, as PyTorch computed them in float64 (tests/layers/record.py).  The step puts the gradient
 * of sum(output * adjoint) in the place of each param, so what there is to compare are two states.  What evaluation
 * predicts before the step is there as the state `predicted`.  Models run with --float 64, by the oracle and as code.
 *
 * Sums of some ten terms, each rounded near 2^-53, may cancel to a ten-thousandth of the largest: 1e-10 of an
 * element, and 1e-14 of the largest one of its tensor, where PyTorch adds in another order.
 */
#include <glob.h>

#include "tests/unit/layers_rig.h"

static const Bound bound = { 1e-10, 1e-14 };

static bool predicts(Case *c)
{
    double got[MAX_ELEM], want[MAX_ELEM];

    elements(find_var(c->im, "predicted"), c->want.state, want);
    return same(c, "predicted", predict(c, got), got, want, bound);
}

static void check_case(const Backend *be, const char *path)
{
    Case   c;
    bool   good;
    size_t len;
    char  *text = read_text(path, &len);

    assert_true(rows_of(text) > 0);
    compile_case(&c, be, path, text, (BackendOptions){ .opt_level = 1 }, true);
    open_session(&c, &c.run, ".safetensors");
    open_session(&c, &c.want, ".want.safetensors");
    good = predicts(&c);
    train(&c, 1);
    good &= same_states(&c, c.im, c.want.state, bound);
    close_case(&c);
    free(text);
    assert_true(good);
}

static void test_case(void **state)
{
    check_case(&backend_interp, *state);
    check_case(&backend_cpu, *state);
}

/* What would pass here must not: a number off by a part in 10^9, nan, an infinity. */
static void test_told_apart(void **state)
{
    const double want[] = { 1e3, -2, 0, 1e-3 };

    (void)state;
    for (int i = 0; i < 4; i++) {
        double got[4];

        memcpy(got, want, sizeof got);
        assert_true(difference(4, got, want, bound) == -1);
        got[i] += 1e-9 * fmax(fabs(want[i]), 1);
        assert_true(difference(4, got, want, bound) == i);
        got[i] = NAN;
        assert_true(difference(4, got, want, bound) == i && difference(4, want, got, bound) == i);
        got[i] = INFINITY;
        assert_true(difference(4, got, want, bound) == i && difference(4, want, got, bound) == i);
    }
}

/* Every CASE.nnd is a test of that name. */
int main(void)
{
    const char        *root = getenv("NND_ROOT");
    char               pattern[MAX_PATH];
    struct CMUnitTest *tests;
    glob_t             found;
    int                failed;

    snprintf(pattern, sizeof pattern, "%s/tests/layers/*/*.nnd", root ? root : ".");
    if (glob(pattern, 0, NULL, &found) != 0)
        return EXIT_FAILURE;
    tests = calloc(found.gl_pathc + 1, sizeof *tests);
    for (size_t i = 0; tests && i < found.gl_pathc; i++)
        tests[i] = (struct CMUnitTest){ strstr(found.gl_pathv[i], "tests/layers/") + strlen("tests/layers/"), test_case, NULL, NULL,
                                        found.gl_pathv[i] };
    if (tests)
        tests[found.gl_pathc] = (struct CMUnitTest)cmocka_unit_test(test_told_apart);
    failed = tests ? _cmocka_run_group_tests("layers", tests, found.gl_pathc + 1, NULL, NULL) : EXIT_FAILURE;
    free(tests);
    globfree(&found);
    return failed;
}
