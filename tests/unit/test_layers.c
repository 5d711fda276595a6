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
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backends/backend.h"
#include "frontend/compile.h"
#include "runtime/weights.h"

enum { MAX_PATH = 1024, MAX_INPUT = 4, MAX_ELEM = 4096 };

static const double of_element = 1e-10, of_largest = 1e-14;

/* ---- a case, compiled for one backend ---- */

typedef struct Case {
    char           path[MAX_PATH];      /* up to its CASE */
    Model         *md;
    Module        *m;
    const Backend *be;
    NndImage      *im;
    NndSession     run, want;
} Case;

static char *read_text(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *text;

    if (!f)
        fail_msg("%s: can't be read", path);
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    text = malloc(*len + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *len, f), *len);
    fclose(f);
    return text;
}

static void open_session(Case *c, NndSession *s, const char *ending)
{
    char     path[MAX_PATH + 32];
    NndError err;

    snprintf(path, sizeof path, "%s%s", c->path, ending);
    if (nnd_session_open(s, c->im, 1, &err) || nnd_session_init(s, 1, &err) || nnd_weights_load(s, path, &err))
        fail_msg("%s", err.text);
}

static const NndVar *find_var(const NndImage *im, const char *name)
{
    for (int i = 0; i < im->nvar; i++)
        if (!strcmp(im->var[i].name, name))
            return &im->var[i];
    fail_msg("no param or state %s", name);
    return NULL;
}

/* How many rows evaluation takes: the state `predicted` has as many. */
static int64_t rows_of(const char *text)
{
    static const char declared[] = "state predicted: f32[";
    const char *at = strstr(text, declared);

    assert_non_null(at);
    return strtoll(at + strlen(declared), NULL, 10);
}

static void open_case(Case *c, const Backend *be, const char *path)
{
    static const FrontOptions front = { .float64 = true };
    BackendOptions o = { .opt_level = 1 };
    Pipeline       p = { .options = { .rule_limit = -1 } };
    char           info[256], why[512] = "";
    const char    *fault;
    size_t         len;
    char          *text = read_text(path, &len);
    EntryWant      want[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, 1 }, { ENTRY_INFER, rows_of(text) } };

    *c = (Case){ .be = be };
    snprintf(c->path, sizeof c->path, "%.*s", (int)(strlen(path) - strlen(".nnd")), path);
    c->md = model_parse(path, text, len, &front);
    if (!model_check(c->md))
        fail_msg("%s", model_diag(c->md)->text);
    c->m = model_build(c->md, want, 3);
    assert_non_null(c->m);
    assert_true(be->probe(&o, &p.options.limits, info, sizeof info, why, sizeof why));
    if ((fault = pipeline_run(c->m, &p)))
        fail_msg("%s: %s", path, fault);
    if (!(c->im = be->load(c->m, &o, why, sizeof why)))
        fail_msg("%s: %s", path, why);
    open_session(c, &c->run, ".safetensors");
    open_session(c, &c->want, ".want.safetensors");
    free(text);
}

static void close_case(Case *c)
{
    nnd_session_close(&c->run);
    nnd_session_close(&c->want);
    c->be->unload(c->im);
    module_free(c->m);
    model_free(c->md);
}

/* ---- values ---- */

static double element(const NndVar *v, const char *state, int64_t offset)
{
    const char *base = state + v->offset;

    switch ((NndDtype)v->dtype) {
    case NND_F32: return ((const float *)base)[offset];
    case NND_F64: return ((const double *)base)[offset];
    case NND_I32: return ((const int32_t *)base)[offset];
    case NND_I64: return (double)((const int64_t *)base)[offset];
    case NND_U8: case NND_BOOL: return ((const uint8_t *)base)[offset];
    }
    return NAN;
}

/* Its elements in the order of a file; returns how many. */
static int64_t elements(const NndVar *v, const void *state, double out[MAX_ELEM])
{
    Walk    w = { .var = v };
    int64_t n = 1;

    for (int i = 0; i < v->rank; i++)
        n *= v->dim[i];
    assert_true(n <= MAX_ELEM);
    for (int64_t i = 0; i < n; i++, walk_on(&w))
        out[i] = element(v, state, w.offset);
    return n;
}

static bool close_by(double got, double want, double largest)
{
    if (!isfinite(want))
        return got == want || (isnan(got) && isnan(want));
    return fabs(got - want) <= of_element * fabs(want) + of_largest * largest;
}

/* Where the first of n numbers differs, or -1. */
static int64_t difference(int64_t n, const double *got, const double *want)
{
    double largest = 0;

    for (int64_t i = 0; i < n; i++)
        if (isfinite(want[i]))
            largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!close_by(got[i], want[i], largest))
            return i;
    return -1;
}

static bool same(const Case *c, const char *name, int64_t n, const double *got, const double *want)
{
    int64_t i = difference(n, got, want);

    if (i >= 0)
        print_message("# %s, %s: %s[%lld]: got %.17g, want %.17g\n", c->path, c->be->name, name, (long long)i, got[i], want[i]);
    return i < 0;
}

/* ---- running ---- */

static void train(Case *c)
{
    const NndEntry *e = nnd_entry_find(c->im, NND_TRAIN, 1);
    const double    unused[1] = { 0 };
    const void     *field[] = { unused };
    int32_t         row[1] = { 0 };
    double          metric[1];
    NndCall call = { .state = c->run.state, .scratch = c->run.scratch, .field = field, .row = row, .nbatch = 1, .step = 1,
                     .steps = 1, .epoch = 1, .seed = 1, .metric_out = metric };

    assert_int_equal(e->run(c->im, e, &call), 0);
}

/* The inputs of the net are the params and states of their names. */
static bool predicts(Case *c)
{
    const NndVar   *predicted = find_var(c->im, "predicted");
    const NndEntry *e = nnd_entry_find(c->im, NND_INFER, predicted->dim[0]);
    const void     *input[MAX_INPUT];
    double          got[MAX_ELEM], want[MAX_ELEM];
    void           *out[] = { got };
    NndCall call = { .state = c->run.state, .scratch = c->run.scratch, .field = input, .out = out, .nbatch = 1, .step = 1 };

    assert_true(c->im->ninput <= MAX_INPUT);
    for (int i = 0; i < c->im->ninput; i++) {
        const NndVar *v = find_var(c->im, c->im->input[i].name);

        assert_true(is_row_major(v));
        input[i] = (const char *)c->run.state + v->offset;
    }
    assert_int_equal(e->run(c->im, e, &call), 0);
    return same(c, "predicted", elements(predicted, c->want.state, want), got, want);
}

/* All of the params and states but what the step does not write. */
static bool same_states(const Case *c)
{
    double got[MAX_ELEM], want[MAX_ELEM];
    bool   good = true;

    for (int i = 0; i < c->im->nvar; i++) {
        const NndVar *v = &c->im->var[i];

        elements(v, c->run.state, got);
        if (strcmp(v->name, "predicted") != 0)
            good &= same(c, v->name, elements(v, c->want.state, want), got, want);
    }
    return good;
}

static void check_case(const Backend *be, const char *path)
{
    Case c;
    bool good;

    open_case(&c, be, path);
    good = predicts(&c);
    train(&c);
    good &= same_states(&c);
    close_case(&c);
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
        assert_true(difference(4, got, want) == -1);
        got[i] += 1e-9 * fmax(fabs(want[i]), 1);
        assert_true(difference(4, got, want) == i);
        got[i] = NAN;
        assert_true(difference(4, got, want) == i && difference(4, want, got) == i);
        got[i] = INFINITY;
        assert_true(difference(4, got, want) == i && difference(4, want, got) == i);
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
