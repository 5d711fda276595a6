/* test_noise.c - text that no one would write: readers answer with messages, never with a crash.
 *
 * Models and module texts are damaged in a thousand ways (bytes changed, taken out, doubled, cut off) by random
 * numbers with a fixed seed, and read.  What must hold: either there are messages, or the result can be used.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"
#include "ir/graph.h"
#include "ir/kernel.h"

enum { ROUNDS = 1000, MAX_TEXT = 1 << 18, DEEP = 200000 };

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static size_t read_file(const char *path, char *text)
{
    const char *root = getenv("NND_ROOT");
    char        full[4096];

    snprintf(full, sizeof full, "%s/%s", root ? root : ".", path);
    FILE *f = fopen(full, "rb");
    assert_non_null(f);
    size_t len = fread(text, 1, MAX_TEXT - 1, f);
    fclose(f);
    text[len] = '\0';
    return len;
}

/* One damage at a random place: the length after it. */
static size_t damage(char *text, size_t len, uint64_t *state)
{
    static const char likely[] = "(){}[]:=,.'\"|@^-+*/ \n\tN0159eE#x\\";
    size_t            at = next_random(state) % (len + 1), n = 1 + next_random(state) % 12;

    n = n < len - at ? n : len - at;
    switch (next_random(state) % 5) {
    case 0:
        memmove(text + at, text + at + n, len - at - n);
        return len - n;
    case 1:
        memmove(text + at + n, text + at, len - at);
        return len + n;
    case 2:
        return next_random(state) % 8 ? len : at;
    case 3:
        if (at < len)
            text[at] = (char)next_random(state);
        return len;
    default:
        if (at < len)
            text[at] = likely[next_random(state) % (sizeof likely - 1)];
        return len;
    }
}

static void read_model(const char *text, size_t len)
{
    FrontOptions o = { 0 };
    Model       *md = model_parse("noise.nnd", text, len, &o);
    const Module *m = model_check(md);
    const Diag   *d = model_diag(md);

    assert_true((m != NULL) == (d->nerror == 0));
    assert_true(d->nerror == 0 || d->ntext > 0);
    model_free(md);
}

/* Whether it finds something is not the question, only that it returns. */
static void verify(Module *m)
{
    for (int i = 0; i < m->ngraph; i++)
        graph_verify(m->graph[i]);
    for (int i = 0; i < m->ngraph && m->plan; i++)
        if (m->plan[i])
            plan_verify(m->plan[i], &m->mem);
}

static void read_module(const char *text, size_t len)
{
    Module *m = module_read("noise.ir", text, len);

    assert_true(m->diag.nerror == 0 || m->diag.ntext > 0);
    if (m->diag.nerror == 0) {
        FILE *f = fopen("/dev/null", "w");

        module_print(f, m);
        fclose(f);
        verify(m);
    }
    module_free(m);
}

static void damaged(const char *path, void (*reader)(const char *text, size_t len), int rounds)
{
    static const int damages[] = { 1, 1, 2, 4, 16 };
    char    *whole = malloc(MAX_TEXT), *text = malloc(MAX_TEXT + 1024);
    size_t   len = read_file(path, whole);
    uint64_t state = len;

    reader(whole, len);
    for (int i = 0; i < rounds; i++) {
        size_t n = len;

        memcpy(text, whole, len);
        for (int j = 0; j < damages[i % 5]; j++)
            n = damage(text, n, &state);
        text[n] = '\0';
        reader(text, n);
    }
    free(whole);
    free(text);
}

static void damaged_models(void **unused)
{
    (void)unused;
    damaged("models/slp.nnd", read_model, ROUNDS);
    damaged("models/mlp.nnd", read_model, ROUNDS);
    damaged("tests/own.nnd", read_model, ROUNDS);
}

static void damaged_modules(void **unused)
{
    (void)unused;
    damaged("tests/unit/noise_graph.ir", read_module, ROUNDS);
    damaged("tests/unit/noise_plan.ir", read_module, ROUNDS);
}

static void cut_everywhere(void **unused)
{
    char  *text = malloc(MAX_TEXT);
    size_t len = read_file("models/mlp.nnd", text);

    (void)unused;
    for (size_t n = len; n-- > 0; ) {
        text[n] = '\0';
        read_model(text, n);
    }
    free(text);
}

static void bytes_at_random(void **unused)
{
    uint64_t state = 5;
    char     text[513];

    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        size_t n = next_random(&state) % 512;

        for (size_t j = 0; j < n; j++)
            text[j] = (char)next_random(&state);
        text[n] = '\0';
        read_model(text, n);
        read_module(text, n);
    }
}

/* open repeated, after a start that leads to where it is legal. */
static void nested(const char *start, const char *open, void (*reader)(const char *text, size_t len))
{
    size_t nstart = strlen(start), nopen = strlen(open), len = nstart + nopen * DEEP;
    char  *text = malloc(len + 1);

    memcpy(text, start, nstart + 1);
    for (size_t i = 0; i < DEEP; i++)
        memcpy(text + nstart + i * nopen, open, nopen + 1);
    reader(text, len);
    free(text);
}

static void nested_deep(void **unused)
{
    static const char *const open[] = { "(", "[", "{", "-", "not ", "f(", "x |> ", "2 ^ ", "if a { ", "for i in 0..2 {" };

    (void)unused;
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        nested("", open[i], read_model);
        nested("nnd 1\nconst a = ", open[i], read_model);
        nested("nnd 1\nfn f(x: f32[S...]) -> f32[S...] {\n", open[i], read_model);
        nested("nnd 1\nfn f(x: f32[S...]) -> f32[S...] {\nreturn ", open[i], read_model);
        nested("nnd 1\nfn f(x: f32[", open[i], read_model);
        nested("", open[i], read_module);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_models),
        cmocka_unit_test(damaged_modules),
        cmocka_unit_test(cut_everywhere),
        cmocka_unit_test(bytes_at_random),
        cmocka_unit_test(nested_deep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
