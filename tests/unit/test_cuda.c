/* test_cuda.c - the runtime's part on a GPU: an image with kernels written by hand, through whatever libcuda.so.1 is found.
 *
 * Run by tests/cuda.sh with a stand-in for the driver that interprets PTX, with and without graphs.
 * The model: w becomes w + rate * (the batch's sum of x), its loss is that sum plus w; a scan adds 0, 1 and 2 to s.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda.h"

enum { BATCH = 2, NROW = 600, SUM_PLACE = 64, SEED = 5 };

_Static_assert(offsetof(NndControl, index) == 16 && offsetof(NndControl, step) == 24 && offsetof(NndControl, seed) == 48
               && offsetof(NndControl, scalar) == 56 && offsetof(NndControl, field) == 184 && offsetof(NndControl, out) == 440,
               "the kernels below know where they are");

#define HEAD(name) ".visible .entry " name "(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 t"
#define BEGIN ")\n{ .reg .b64 %a<20>; .reg .b32 %r<10>; .reg .f32 %f<10>; .reg .f64 %d<10>; .reg .pred %p<3>;\n" \
    "ld.param.u64 %a0, [a]; ld.param.u64 %a1, [b]; ld.param.u64 %a2, [c]; ld.param.u32 %r0, [t];\n" \
    "ld.global.u64 %a3, [%a2]; ld.global.u64 %a4, [%a2+8]; ld.global.s64 %a5, [%a2+16];\n"
#define END "ret; }\n"

#define FILE_HEAD ".version 7.0\n.target sm_80\n.address_size 64\n"

/* Three parts, in which the entries are: init; train and eval; infer. */
static const char *const text[] = {
    FILE_HEAD ".visible .entry nnd_advance(.param .u64 c)\n{ .reg .b64 %a<4>;\n"
    "ld.param.u64 %a0, [c]; ld.global.s64 %a1, [%a0+16]; add.s64 %a1, %a1, 1; st.global.s64 [%a0+16], %a1;\n"
    "ld.global.s64 %a1, [%a0+24]; add.s64 %a1, %a1, 1; st.global.s64 [%a0+24], %a1;\n" END
    HEAD("init") BEGIN "ld.global.u64 %a6, [%a2+48]; cvt.rn.f32.u64 %f0, %a6; st.global.f32 [%a0], %f0;\n"
    "mov.f32 %f1, 0f00000000; st.global.f32 [%a0+4], %f1;\n" END,
    /* a thread a row adds through the place; one thread sums: scratch[place] */
    FILE_HEAD HEAD("sum") ", .param .u64 place" BEGIN "ld.param.u64 %a6, [place]; add.s64 %a6, %a1, %a6;\n"
    "shl.b64 %a7, %a5, 3; add.s64 %a7, %a3, %a7; ld.global.s32 %r1, [%a7]; ld.global.s32 %r2, [%a7+4];\n"
    "ld.global.u64 %a8, [%a2+184]; mul.wide.s32 %a9, %r1, 4; add.s64 %a9, %a8, %a9; ld.global.f32 %f0, [%a9];\n"
    "mul.wide.s32 %a9, %r2, 4; add.s64 %a9, %a8, %a9; ld.global.f32 %f1, [%a9]; add.f32 %f0, %f0, %f1;\n"
    "st.global.f32 [%a6], %f0; ld.global.f32 %f2, [%a0]; add.f32 %f2, %f0, %f2; cvt.f64.f32 %d0, %f2;\n"
    "shl.b64 %a9, %a5, 3; add.s64 %a9, %a4, %a9; st.global.f64 [%a9], %d0;\n" END
    HEAD("update") ", .param .u64 place" BEGIN "ld.param.u64 %a6, [place]; add.s64 %a6, %a1, %a6; ld.global.f32 %f0, [%a6];\n"
    "ld.global.f64 %d0, [%a2+56]; cvt.rn.f32.f64 %f1, %d0; ld.global.f32 %f2, [%a0]; fma.rn.f32 %f2, %f0, %f1, %f2;\n"
    "st.global.f32 [%a0], %f2;\n" END
    HEAD("turn") BEGIN "cvt.rn.f32.s32 %f0, %r0; ld.global.f32 %f1, [%a0+4]; add.f32 %f1, %f1, %f0; st.global.f32 [%a0+4], %f1;\n" END,
    FILE_HEAD HEAD("infer") BEGIN "mov.u32 %r1, %tid.x; cvt.u64.u32 %a6, %r1; shl.b64 %a7, %a5, 1; add.s64 %a6, %a6, %a7; shl.b64 %a6, %a6, 2;\n"
    "ld.global.u64 %a8, [%a2+184]; add.s64 %a8, %a8, %a6; ld.global.f32 %f0, [%a8]; ld.global.f32 %f1, [%a0]; mul.f32 %f0, %f0, %f1;\n"
    "ld.global.u64 %a8, [%a2+440]; add.s64 %a8, %a8, %a6; st.global.f32 [%a8], %f0;\n" END,
};

static const int64_t    place[] = { SUM_PLACE };
static const NndLaunch  launch_init[] = { { .kernel = "init", .grid = { 1, 1, 1 }, .block = 1, .steps = 1 } };
static const NndLaunch  launch_train[] = {
    { .kernel = "sum", .grid = { 1, 1, 1 }, .block = 1, .steps = 1, .place = place, .nplace = 1, .part = 1 },
    { .kernel = "turn", .grid = { 1, 1, 1 }, .block = 1, .scan = 1, .steps = 3, .part = 1 },
    { .kernel = "update", .grid = { 1, 1, 1 }, .block = 1, .steps = 1, .place = place, .nplace = 1, .part = 1 },
};
static const NndLaunch   launch_infer[] = { { .kernel = "infer", .grid = { 1, 1, 1 }, .block = BATCH, .steps = 1, .part = 2 } };
static const NndGpuEntry gpu_entry[] = { { launch_init, 1 }, { launch_train, 3 }, { launch_train, 1 }, { launch_infer, 1 } };
enum { NPART = sizeof text / sizeof *text };

static NndGpuPart      part[NPART];
static int             refused = -1;         /* this part can't be made */
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

static int make(const NndImage *im, int i, char *why, int64_t nwhy)
{
    (void)im;
    if (i == refused)
        return snprintf(why, (size_t)nwhy, "part %d has no text", i), NND_E_DEVICE;
    pthread_mutex_lock(&making);
    part[i] = (NndGpuPart){ .ptx = text[i], .nptx = (int64_t)strlen(text[i]) };
    pthread_mutex_unlock(&making);
    return 0;
}

static const NndGpu      gpu = { .part = part, .npart = NPART, .make = make, .sm = 80, .entry = gpu_entry, .nentry = 4 };

static const NndVar   var[] = { { .name = "w", .dtype = NND_F32, .offset = 0 }, { .name = "s", .kind = NND_STATE, .dtype = NND_F32, .offset = 4 } };
static const NndField field[] = { { .name = "x", .dtype = NND_F32 } }, output[] = { { .name = "y", .dtype = NND_F32 } };
static const NndEntry entry[] = {
    { .kind = NND_INIT }, { .kind = NND_TRAIN, .batch = BATCH, .scratch_bytes = 128 },
    { .kind = NND_EVAL, .batch = BATCH, .scratch_bytes = 128 }, { .kind = NND_INFER, .batch = BATCH },
};
static const char *const metric[] = { "loss" };
static const NndScalar   scalar[] = { { "rate", .25 } };
static const NndTrain    train = { .metric = metric, .nmetric = 1, .scalar = scalar, .nscalar = 1, .epochs = 1, .batch = BATCH };
static const NndImage    image = { .abi = NND_ABI, .model = "m", .state_bytes = 64, .var = var, .nvar = 2, .field = field, .nfield = 1,
                                   .input = field, .ninput = 1, .output = output, .noutput = 1, .entry = entry, .nentry = 4,
                                   .train = &train, .gpu = &gpu };

typedef struct World {
    NndSession  s;
    NndData     data;
    NndArray    column;
    const void *columns[1];
    float       x[NROW];
    NndError    err;
    double      figure[NROW];
    int         ntold;
} World;

/* Small whole numbers and a power of two: sums have one value, whatever rounds. */
static float value(int i) { return (float)(i % 7 - 3); }

static int set_up(void **state)
{
    World *w = calloc(1, sizeof *w);

    for (int i = 0; i < NROW; i++)
        w->x[i] = value(i);
    w->column = (NndArray){ .dtype = NND_F32, .rank = 1, .dim = { NROW }, .nbytes = sizeof w->x, .data = w->x };
    w->columns[0] = w->x;
    w->data = (NndData){ .nfield = 1, .nrow = { NROW }, .column = { &w->column }, .field = { w->columns } };
    *state = w;
    if (nnd_session_open(&w->s, &image, NROW, &w->err) || nnd_session_init(&w->s, SEED, &w->err)) {
        print_error("%s\n", w->err.text);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    World *w = *state;

    nnd_session_close(&w->s);
    free(w);
    return 0;
}

static float var_of(World *w, int i)
{
    assert_int_equal(nnd_session_fetch(&w->s, &w->err), 0);
    return ((float *)w->s.state)[i];
}

static void test_init(void **state)
{
    World *w = *state;

    assert_true(var_of(w, 0) == SEED);
    assert_true(var_of(w, 1) == 0);
}

static void on_step(void *ctx, int64_t step, const double *figure)
{
    World *w = ctx;

    assert_int_equal(step, ++w->ntold);
    w->figure[step - 1] = figure[0];
}

/* Calls of 8, 16, 32 ... batches, so single ones and graphs of several; each batch's figure is its own. */
static void test_train(void **state)
{
    World  *w = *state;
    int32_t row[NROW];
    double  want = SEED;

    assert_int_equal(nnd_fit(&w->s, &w->data, &(NndFit){ .seed = 3, .on_step = on_step, .ctx = w }, &w->err), 0);
    nnd_shuffle(row, NROW, 3, 1);
    assert_int_equal(w->ntold, NROW / BATCH);
    for (int i = 0; i < NROW; i += BATCH) {
        double sum = value(row[i]) + value(row[i + 1]);

        assert_true(w->figure[i / BATCH] == sum + want);
        want += .25 * sum;
    }
    assert_true(var_of(w, 0) == want);
    assert_true(var_of(w, 1) == 3 * NROW / BATCH);
}

/* What the host writes is what the next batch begins with, and what a batch leaves is what the host reads. */
static void test_state_goes_both_ways(void **state)
{
    World *w = *state;

    ((float *)w->s.state)[0] = 100;
    nnd_session_changed(&w->s);
    assert_int_equal(nnd_fit(&w->s, &w->data, &(NndFit){ .max_steps = 1, .on_step = on_step, .ctx = w }, &w->err), 0);
    assert_true(var_of(w, 0) == (float)(100 + .25 * (w->figure[0] - 100)));
    assert_int_equal(w->ntold, 1);
}

static void test_evaluate(void **state)
{
    World *w = *state;
    double figure[NND_MAX_METRIC], sum = 0;

    w->data.nrow[NND_SPLIT_TEST] = w->data.nrow[NND_SPLIT_TRAIN] = w->column.dim[0] = BATCH;
    w->data.column[NND_SPLIT_TEST] = w->data.column[NND_SPLIT_TRAIN];
    w->data.field[NND_SPLIT_TEST] = w->data.field[NND_SPLIT_TRAIN];
    assert_int_equal(nnd_evaluate(&w->s, &w->data, NND_SPLIT_TEST, figure, &w->err), 0);
    for (int i = 0; i < BATCH; i++)
        sum += value(i);
    assert_true(figure[0] == sum + SEED);
    assert_true(var_of(w, 0) == SEED);
}

static void test_infer(void **state)
{
    World *w = *state;
    enum { MANY = 600 * BATCH };                         /* more than are sent at once */
    float *x = malloc(MANY * sizeof *x), *y = malloc(MANY * sizeof *y);

    for (int i = 0; i < MANY; i++)
        x[i] = (float)i;
    assert_int_equal(nnd_infer(&w->s, MANY, (const void *[]){ x }, (void *[]){ y }, &w->err), 0);
    for (int i = 0; i < MANY; i++)
        assert_true(y[i] == (float)(SEED * i));
    free(x);
    free(y);
}

static void test_columns_not_held(void **state)
{
    World  *w = *state;
    int32_t row[BATCH] = { 0, 1 };

    assert_int_equal(nnd_session_run(&w->s, &entry[1], &(NndCall){ .field = w->columns, .row = row, .nbatch = 1, .step = 1 }, &w->err), NND_E_ARG);
    assert_string_equal(w->err.text, "the column x is not held by the session");
}

/* Other data take the place of those that were held. */
static void test_other_data(void **state)
{
    World *w = *state;
    float  other[BATCH] = { 10, 20 };
    double figure[NND_MAX_METRIC];

    assert_int_equal(nnd_session_hold(&w->s, &w->data, &w->err), 0);
    w->column.data = other;
    w->column.nbytes = sizeof other;
    w->columns[0] = other;
    w->data.nrow[NND_SPLIT_TRAIN] = BATCH;
    assert_int_equal(nnd_evaluate(&w->s, &w->data, NND_SPLIT_TRAIN, figure, &w->err), 0);
    assert_true(figure[0] == 30 + SEED);
}

static void test_times(void **state)
{
    World  *w = *state;
    int32_t row[BATCH] = { 3, 4 };
    double  ms[3] = { -1, -1, -1 };

    assert_int_equal(nnd_session_hold(&w->s, &w->data, &w->err), 0);
    assert_int_equal(nnd_cuda_times(w->s.cuda, &entry[1], &(NndCall){ .field = w->columns, .row = row, .nbatch = 1, .step = 1 }, ms, &w->err), 0);
    for (int i = 0; i < 3; i++)
        assert_true(ms[i] >= 0);
    assert_true(var_of(w, 0) == (float)(SEED + .25 * (value(3) + value(4))));
    assert_true(var_of(w, 1) == 3);
}

/* Files have what the device has, and it gets what they have. */
static void test_weights(void **state)
{
    World *w = *state;
    char   path[] = "/tmp/nnd-cuda-XXXXXX";
    int    fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(nnd_fit(&w->s, &w->data, &(NndFit){ .max_steps = 9 }, &w->err), 0);
    assert_int_equal(nnd_weights_save(&w->s, path, &w->err), 0);
    float was = var_of(w, 0);
    assert_int_equal(nnd_session_init(&w->s, SEED + 1, &w->err), 0);
    assert_int_equal(nnd_weights_load(&w->s, path, &w->err), 0);
    assert_true(var_of(w, 0) == was && var_of(w, 1) == 27);
    assert_int_equal(nnd_fit(&w->s, &w->data, &(NndFit){ .max_steps = 1, .on_step = on_step, .ctx = w }, &w->err), 0);
    assert_true(var_of(w, 1) == 30);
    remove(path);
}

static void test_two_sessions(void **state)
{
    World     *w = *state;
    NndSession t;

    assert_int_equal(nnd_session_open(&t, &image, NROW, &w->err), 0);
    assert_int_equal(nnd_session_init(&t, 77, &w->err), 0);
    assert_int_equal(nnd_session_fetch(&t, &w->err), 0);
    assert_true(*(float *)t.state == 77 && var_of(w, 0) == SEED);
    nnd_session_close(&t);
}

/* An entry wants its own parts alone; one that can't be made is told of every time. */
static void test_not_made(void **state)
{
    World     *w = *state;
    NndSession t;

    refused = 1;
    assert_int_equal(nnd_session_open(&t, &image, NROW, &w->err), 0);
    assert_int_equal(nnd_session_init(&t, 77, &w->err), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(nnd_fit(&t, &w->data, &(NndFit){ .max_steps = 1 }, &w->err), NND_E_DEVICE);
        assert_string_equal(w->err.text, "cuda:0: the model's code can't be made: part 1 has no text");
    }
    nnd_session_close(&t);
    refused = -1;
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(init), CASE(train), CASE(state_goes_both_ways), CASE(evaluate), CASE(infer), CASE(columns_not_held), CASE(other_data),
        CASE(times), CASE(weights), CASE(two_sessions), CASE(not_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
