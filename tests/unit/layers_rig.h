/* layers_rig.h - models of tests/layers compiled for a backend, one training step or prediction run, and the numbers compared. */
#ifndef NND_TESTS_LAYERS_RIG_H
#define NND_TESTS_LAYERS_RIG_H

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

typedef struct Case {
    char           path[MAX_PATH];      /* up to its CASE */
    Model         *md;
    Module        *m;
    const Backend *be;
    NndImage      *im;
    NndSession     run, want;           /* want: what should come out, if a file says so */
} Case;

static inline char *read_text(const char *path, size_t *len)
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
    text[*len] = '\0';
    fclose(f);
    return text;
}

/* The session with its initial values, and then those of the case's file with this ending, unless it is NULL. */
static inline void open_session(Case *c, NndSession *s, const char *ending)
{
    char     path[MAX_PATH + 32];
    NndError err;

    snprintf(path, sizeof path, "%s%s", c->path, ending ? ending : "");
    if (nnd_session_open(s, c->im, 1, &err) || nnd_session_init(s, 1, &err) || (ending && nnd_weights_load(s, path, &err)))
        fail_msg("%s: %s", c->path, err.text);
}

static inline const NndVar *find_var(const NndImage *im, const char *name)
{
    for (int i = 0; i < im->nvar; i++)
        if (!strcmp(im->var[i].name, name))
            return &im->var[i];
    fail_msg("no param or state %s", name);
    return NULL;
}

/* How many rows evaluation takes: the state `predicted` has as many; 0: there is none. */
static inline int64_t rows_of(const char *text)
{
    static const char declared[] = "state predicted: f32[";
    const char *at = strstr(text, declared);

    return at ? strtoll(at + strlen(declared), NULL, 10) : 0;
}

/* A text to an image.  path: of its file, or what it is called. */
static inline void compile_case(Case *c, const Backend *be, const char *path, const char *text, BackendOptions o, bool float64)
{
    const FrontOptions front = { .float64 = float64 };
    Pipeline    p = { .options = { .rule_limit = -1 } };
    char        info[256], why[512] = "";
    const char *fault;
    int64_t     rows = rows_of(text);
    EntryWant   want[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, 1 }, { ENTRY_INFER, rows } };

    *c = (Case){ .be = be };
    snprintf(c->path, sizeof c->path, "%.*s", (int)(strlen(path) - strlen(".nnd")), path);
    c->md = model_parse(path, text, strlen(text), &front);
    if (!model_check(c->md))
        fail_msg("%s", model_diag(c->md)->text);
    c->m = model_build(c->md, want, rows ? 3 : 2);
    assert_non_null(c->m);
    assert_true(be->probe(&o, &p.options.limits, info, sizeof info, why, sizeof why));
    if ((fault = pipeline_run(c->m, &p)))
        fail_msg("%s: %s", path, fault);
    if (!(c->im = be->load(c->m, &o, why, sizeof why)))
        fail_msg("%s: %s", path, why);
}

static inline void close_case(Case *c)
{
    nnd_session_close(&c->run);
    nnd_session_close(&c->want);
    c->be->unload(c->im);
    module_free(c->m);
    model_free(c->md);
}

/* ---- values ---- */

static inline double number(NndDtype dtype, const void *base, int64_t offset)
{
    switch (dtype) {
    case NND_F32: return ((const float *)base)[offset];
    case NND_F64: return ((const double *)base)[offset];
    case NND_I32: return ((const int32_t *)base)[offset];
    case NND_I64: return (double)((const int64_t *)base)[offset];
    case NND_U8: case NND_BOOL: return ((const uint8_t *)base)[offset];
    }
    return NAN;
}

/* Its elements in the order of a file; returns how many. */
static inline int64_t elements(const NndVar *v, const void *state, double out[MAX_ELEM])
{
    Walk    w = { .var = v };
    int64_t n = 1;

    for (int i = 0; i < v->rank; i++)
        n *= v->dim[i];
    assert_true(n <= MAX_ELEM);
    for (int64_t i = 0; i < n; i++, walk_on(&w))
        out[i] = number((NndDtype)v->dtype, (const char *)state + v->offset, w.offset);
    return n;
}

/* How far apart two numbers may be: a share of the one that is wanted, and a share of the largest one of its tensor. */
typedef struct Bound { double of_element, of_largest; } Bound;

static inline bool close_by(double got, double want, double largest, Bound b)
{
    if (!isfinite(want))
        return got == want || (isnan(got) && isnan(want));
    return fabs(got - want) <= b.of_element * fabs(want) + b.of_largest * largest;
}

/* Where the first of n numbers differs, or -1. */
static inline int64_t difference(int64_t n, const double *got, const double *want, Bound b)
{
    double largest = 0;

    for (int64_t i = 0; i < n; i++)
        if (isfinite(want[i]))
            largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!close_by(got[i], want[i], largest, b))
            return i;
    return -1;
}

static inline bool same(const Case *c, const char *name, int64_t n, const double *got, const double *want, Bound b)
{
    int64_t i = difference(n, got, want, b);

    if (i >= 0)
        print_message("# %s, %s: %s[%lld]: got %.17g, want %.17g\n", c->path, c->be->name, name, (long long)i, got[i], want[i]);
    return i < 0;
}

/* All of the params and states but what a step does not write. */
static inline bool same_states(const Case *c, const NndImage *im, const void *state, Bound b)
{
    double got[MAX_ELEM], want[MAX_ELEM];
    bool   good = true;

    for (int i = 0; i < c->im->nvar; i++) {
        const NndVar *v = &c->im->var[i];

        if (strcmp(v->name, "predicted") != 0)
            good &= same(c, v->name, elements(v, c->run.state, got), got, (elements(find_var(im, v->name), state, want), want), b);
    }
    return good;
}

/* ---- running ---- */

/* The step of this number, from 1; afterwards c->run.state is what it left. */
static inline void train(Case *c, int64_t step)
{
    const NndEntry *e = nnd_entry_find(c->im, NND_TRAIN, 1);
    double          unused[1] = { 0 };
    const void     *field[] = { unused };
    NndArray        column = { .dtype = c->im->field[0].dtype, .rank = 1, .dim = { 1 }, .data = unused };
    NndData         data = { .nfield = 1, .nrow = { 1 }, .column = { &column }, .field = { field } };
    int32_t         row[1] = { 0 };
    double          metric[1];
    NndCall         call = { .field = field, .row = row, .nbatch = 1, .step = step, .steps = 4, .epoch = step, .seed = 1, .metric_out = metric };
    NndError        err;

    column.nbytes = nnd_dtype_bytes((NndDtype)column.dtype);
    if (nnd_session_hold(&c->run, &data, &err) || nnd_session_run(&c->run, e, &call, &err) || nnd_session_fetch(&c->run, &err))
        fail_msg("%s: %s", c->path, err.text);
}

/* What evaluation makes of the params and states that are called like the net's inputs. */
static inline int64_t predict(Case *c, double out[MAX_ELEM])
{
    const NndVar   *predicted = find_var(c->im, "predicted");
    const NndEntry *e = nnd_entry_find(c->im, NND_INFER, predicted->dim[0]);
    const void     *input[MAX_INPUT];
    double          got[MAX_ELEM];
    void           *to[] = { got };
    NndCall         call = { .field = input, .out = to, .nbatch = 1, .step = 1 };
    int64_t         n = 1;
    NndError        err;

    for (int i = 0; i < predicted->rank; i++)
        n *= predicted->dim[i];
    assert_true(c->im->ninput <= MAX_INPUT && n <= MAX_ELEM);
    for (int i = 0; i < c->im->ninput; i++) {
        const NndVar *v = find_var(c->im, c->im->input[i].name);

        assert_true(is_row_major(v));
        input[i] = (const char *)c->run.state + v->offset;
    }
    if (nnd_session_run(&c->run, e, &call, &err))
        fail_msg("%s: %s", c->path, err.text);
    for (int64_t i = 0; i < n; i++)
        out[i] = number((NndDtype)c->im->output[0].dtype, got, i);
    return n;
}

#endif
