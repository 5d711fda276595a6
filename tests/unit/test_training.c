/* test_training.c - sessions and the loop over epochs, with an image whose entries are C functions that keep a log. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/nnd.h"

enum { MAX_LOG = 4096, MAX_TEST = 1031 };

/* A batch as an entry saw it. */
typedef struct Batch { int kind; int64_t batch, step, steps, epoch; uint64_t seed; int32_t first; } Batch;

/* What the fake image knows: its log, and when to misbehave. */
typedef struct Fake {
    Batch    log[MAX_LOG];
    int      nlog;
    int32_t  row[MAX_LOG * 4];     /* trained on, in order */
    int      nrow;
    int64_t  bad_step;             /* the loss of this step is bad_loss */
    double   bad_loss, test_loss;  /* test_loss is added to that of every eval batch */
    int      fail_code;            /* returned by every train call */
    int     *raise;                /* set to 1 by the first train call */
    double   scalar;               /* what the last batch saw; -1: the model's own */
} Fake;

static int fake_init(const NndImage *im, const NndEntry *e, const NndCall *c)
{
    Fake *f = im->priv;

    f->log[f->nlog++] = (Batch){ .kind = e->kind, .seed = c->seed };
    memset(c->state, 1, (size_t)im->state_bytes);
    return 0;
}

/* The loss of a batch is the mean of the field's values over its rows, the metric 1 in every step. */
static int fake_batches(const NndImage *im, const NndEntry *e, const NndCall *c)
{
    Fake *f = im->priv;
    const uint8_t *x = c->field[0];

    assert_true((uintptr_t)c->state % NND_ALIGN == 0 && (uintptr_t)c->scratch % NND_ALIGN == 0);
    assert_true(c->nbatch >= 1 && c->nbatch <= NND_CHUNK);
    memset(c->scratch, 0xA5, (size_t)e->scratch_bytes);
    for (int64_t i = 0; i < c->nbatch; i++) {
        const int32_t *row = c->row + i * e->batch;
        double sum = 0;
        int64_t step = c->step + i;

        f->log[f->nlog++] = (Batch){ e->kind, e->batch, step, c->steps, c->epoch, c->seed, row[0] };
        for (int64_t r = 0; r < e->batch; r++) {
            sum += x[row[r]];
            if (e->kind == NND_TRAIN)
                f->row[f->nrow++] = row[r];
        }
        c->metric_out[2 * i] = e->kind == NND_TRAIN && step == f->bad_step ? f->bad_loss : sum / (double)e->batch;
        c->metric_out[2 * i] += e->kind == NND_EVAL ? f->test_loss : 0;
        c->metric_out[2 * i + 1] = 1;
    }
    f->scalar = c->scalar ? c->scalar[0] : -1;
    if (f->raise && e->kind == NND_TRAIN)
        *f->raise = 1;
    return e->kind == NND_TRAIN ? f->fail_code : 0;
}

/* 10 rows in batches of 4, and 1031 rows to test on, in 1024 and 7. */
typedef struct World {
    Fake          fake;
    NndScalar     scalar;
    NndTrain      train;
    NndEntry      entry[5];
    NndField      field;
    NndImage      image;
    uint8_t       train_x[10], test_x[MAX_TEST];
    const void   *train_field[1], *test_field[1];
    NndData       data;
    NndSession    session;
    NndError      err;
    NndEpoch      told[8];
    int           ntold;
} World;

static const char *const metric_name[] = { "loss", "accuracy" };

static int open_world(void **state)
{
    World *w = calloc(1, sizeof *w);

    w->scalar = (NndScalar){ "lr", 0.5 };
    w->train = (NndTrain){ .metric = metric_name, .nmetric = 2, .scalar = &w->scalar, .nscalar = 1, .epochs = 2,
                           .batch = 4 };
    w->entry[0] = (NndEntry){ NND_INIT, 0, 0, fake_init };
    w->entry[1] = (NndEntry){ NND_TRAIN, 4, 1000, fake_batches };
    w->entry[2] = (NndEntry){ NND_TRAIN, 2, 8, fake_batches };
    w->entry[3] = (NndEntry){ NND_EVAL, 1024, 100, fake_batches };
    w->entry[4] = (NndEntry){ NND_EVAL, 7, 100, fake_batches };
    w->field = (NndField){ .name = "x", .dtype = NND_U8 };
    w->image = (NndImage){ .abi = NND_ABI, .state_bytes = 100, .field = &w->field, .nfield = 1, .entry = w->entry,
                           .nentry = 5, .train = &w->train, .priv = &w->fake };
    for (int i = 0; i < 10; i++)
        w->train_x[i] = (uint8_t)(i * i);
    for (int i = 0; i < MAX_TEST; i++)
        w->test_x[i] = (uint8_t)i;
    w->train_field[0] = w->train_x;
    w->test_field[0] = w->test_x;
    w->data = (NndData){ .nfield = 1, .nrow = { 10, MAX_TEST }, .field = { w->train_field, w->test_field } };
    *state = w;
    return nnd_session_open(&w->session, &w->image, MAX_TEST, &w->err) || nnd_session_init(&w->session, 3, &w->err);
}

static int close_world(void **state)
{
    World *w = *state;

    nnd_session_close(&w->session);
    nnd_session_close(&w->session);
    free(w);
    return 0;
}

static void on_epoch(void *ctx, const NndEpoch *e)
{
    World *w = ctx;

    w->told[w->ntold++] = *e;
}

static int fit(World *w, NndFit f)
{
    f.on_epoch = on_epoch;
    f.ctx = w;
    w->fake.nlog = w->fake.nrow = w->ntold = 0;
    return nnd_fit(&w->session, &w->data, &f, &w->err);
}

static void check_batch(const Batch *b, int kind, int64_t batch, int64_t step, int64_t epoch)
{
    assert_int_equal(b->kind, kind);
    assert_int_equal(b->batch, batch);
    assert_int_equal(b->step, step);
    assert_int_equal(b->epoch, epoch);
}

static void test_session(void **state)
{
    World *w = *state;
    NndSession s;

    assert_int_equal(w->fake.nlog, 1);
    assert_int_equal(w->fake.log[0].kind, NND_INIT);
    assert_int_equal(w->fake.log[0].seed, 3);
    assert_int_equal(((unsigned char *)w->session.state)[99], 1);
    assert_ptr_equal(nnd_entry_find(&w->image, NND_TRAIN, 2), &w->entry[2]);
    assert_ptr_equal(nnd_entry_find(&w->image, NND_INIT, 77), &w->entry[0]);
    assert_null(nnd_entry_find(&w->image, NND_EVAL, 4));

    w->image.abi = NND_ABI + 1;
    assert_int_equal(nnd_session_open(&s, &w->image, 1, &w->err), NND_E_ARG);
    w->image.abi = NND_ABI;
    w->image.state_bytes = INT64_MAX;
    assert_int_equal(nnd_session_open(&s, &w->image, 1, &w->err), NND_E_MEMORY);
    w->image.state_bytes = 100;
    assert_int_equal(nnd_session_open(&s, &w->image, INT64_MAX / 2, &w->err), NND_E_MEMORY);
    assert_null(s.state);
}

/* Two epochs: two whole batches and a short one each, rows in shuffled order, then the test split in two pieces. */
static void test_order(void **state)
{
    World *w = *state;
    int32_t order[10];

    assert_int_equal(fit(w, (NndFit){ .seed = 9 }), 0);
    assert_int_equal(w->session.step, 6);
    assert_int_equal(w->fake.nlog, 10);
    for (int e = 0; e < 2; e++) {
        const Batch *b = w->fake.log + 5 * e;

        check_batch(&b[0], NND_TRAIN, 4, 3 * e + 1, e + 1);
        check_batch(&b[1], NND_TRAIN, 4, 3 * e + 2, e + 1);
        check_batch(&b[2], NND_TRAIN, 2, 3 * e + 3, e + 1);
        assert_int_equal(b[3].kind, NND_EVAL);
        assert_int_equal(b[3].batch, 1024);
        assert_int_equal(b[3].first, 0);
        assert_int_equal(b[4].batch, 7);
        assert_int_equal(b[4].first, 1024);
        assert_int_equal(b[0].steps, 6);
        assert_int_equal(b[0].seed, 9);
        nnd_shuffle(order, 10, 9, e + 1);
        assert_memory_equal(w->fake.row + 10 * e, order, sizeof order);
    }
}

/* Each batch's figure counts with its rows: the mean of a mean over batches of 4, 4 and 2 is the mean of all. */
static void test_means(void **state)
{
    World *w = *state;
    double train = 0, test = 0, figure[NND_MAX_METRIC];

    for (int i = 0; i < 10; i++)
        train += w->train_x[i] / 10.;
    for (int i = 0; i < MAX_TEST; i++)
        test += w->test_x[i] / (double)MAX_TEST;
    assert_int_equal(fit(w, (NndFit){ .seed = 1 }), 0);
    assert_int_equal(w->ntold, 2);
    for (int e = 0; e < 2; e++) {
        assert_int_equal(w->told[e].epoch, e + 1);
        assert_int_equal(w->told[e].steps, 3 * (e + 1));
        assert_true(w->told[e].has_test && w->told[e].seconds >= 0);
        /* sums of a few small integers and at most 1031 terms in double: far below 1e-9 */
        assert_true(fabs(w->told[e].train[0] - train) < 1e-9);
        assert_true(fabs(w->told[e].test[0] - test) < 1e-9);
        assert_true(w->told[e].train[1] == 1 && w->told[e].test[1] == 1);
    }
    assert_int_equal(nnd_evaluate(&w->session, &w->data, NND_SPLIT_TEST, figure, &w->err), 0);
    assert_true(figure[0] == w->told[1].test[0]);
}

static void test_no_test_split(void **state)
{
    World *w = *state;
    double figure[NND_MAX_METRIC];

    w->data.nrow[NND_SPLIT_TEST] = 0;
    assert_int_equal(fit(w, (NndFit){ .epochs = 1 }), 0);
    assert_int_equal(w->fake.nlog, 3);
    assert_int_equal(w->ntold, 1);
    assert_false(w->told[0].has_test);
    assert_int_equal(nnd_evaluate(&w->session, &w->data, NND_SPLIT_TEST, figure, &w->err), NND_E_ARG);
}

/* A limit within an epoch: it is evaluated and told all the same, with means over what was trained on. */
static void test_steps(void **state)
{
    World *w = *state;
    double mean = 0;

    assert_int_equal(fit(w, (NndFit){ .max_steps = 5 }), 0);
    assert_int_equal(w->session.step, 5);
    assert_int_equal(w->fake.nrow, 18);
    assert_int_equal(w->ntold, 2);
    assert_int_equal(w->told[1].steps, 5);
    assert_true(w->told[1].has_test);
    assert_int_equal(w->fake.log[0].steps, 5);
    for (int i = 10; i < 18; i++)
        mean += w->train_x[w->fake.row[i]] / 8.;
    assert_true(fabs(w->told[1].train[0] - mean) < 1e-9);
    assert_int_equal(fit(w, (NndFit){ .max_steps = 5 }), 0);      /* nothing is left to do */
    assert_int_equal(w->fake.nlog, 0);
}

/* Stopped at any step and continued, a run sees the rows that an undisturbed one sees. */
static void test_resume(void **state)
{
    World *w = *state;
    int32_t whole[20];

    assert_int_equal(fit(w, (NndFit){ .seed = 4 }), 0);
    assert_int_equal(w->fake.nrow, 20);
    memcpy(whole, w->fake.row, sizeof whole);
    for (int at = 1; at < 6; at++) {
        int before;

        assert_int_equal(nnd_session_init(&w->session, 4, &w->err), 0);
        assert_int_equal(fit(w, (NndFit){ .seed = 4, .max_steps = at }), 0);
        before = w->fake.nrow;
        assert_memory_equal(w->fake.row, whole, (size_t)before * sizeof *whole);
        assert_int_equal(fit(w, (NndFit){ .seed = 4 }), 0);
        assert_int_equal(w->fake.nrow, 20 - before);
        assert_memory_equal(w->fake.row, whole + before, (size_t)(20 - before) * sizeof *whole);
        assert_int_equal(w->told[w->ntold - 1].epoch, 2);
    }
}

static void test_diverged(void **state)
{
    World *w = *state;

    w->fake.bad_step = 5;
    w->fake.bad_loss = NAN;
    assert_int_equal(fit(w, (NndFit){ 0 }), NND_E_DIVERGED);
    assert_string_equal(w->err.text, "the loss became nan in step 5");
    assert_int_equal(w->ntold, 1);
    assert_int_equal(nnd_session_init(&w->session, 1, &w->err), 0);
    w->fake.bad_loss = -INFINITY;
    assert_int_equal(fit(w, (NndFit){ 0 }), NND_E_DIVERGED);
    assert_string_equal(w->err.text, "the loss became infinite in step 5");
}

/* The last update of an epoch may ruin the weights: only the test split shows it. */
static void test_diverged_at_the_end(void **state)
{
    World *w = *state;

    w->fake.test_loss = NAN;
    assert_int_equal(fit(w, (NndFit){ .max_steps = 1 }), NND_E_DIVERGED);
    assert_string_equal(w->err.text, "the loss on the test split is nan after step 1");
    assert_int_equal(w->ntold, 1);
}

static void test_stop_and_failure(void **state)
{
    World *w = *state;
    int stop = 1;

    assert_int_equal(fit(w, (NndFit){ .stop = &stop }), NND_E_STOPPED);
    assert_int_equal(w->fake.nlog, 0);
    assert_string_equal(w->err.text, "stopped after step 0");
    stop = 0;
    w->fake.raise = &stop;
    assert_int_equal(fit(w, (NndFit){ .stop = &stop }), NND_E_STOPPED);
    assert_string_equal(w->err.text, "stopped after step 2");      /* after the call that was running */
    w->fake.raise = NULL;
    w->fake.fail_code = NND_E_DEVICE;
    assert_int_equal(fit(w, (NndFit){ 0 }), NND_E_DEVICE);
    assert_string_equal(w->err.text, "the device failed in step 3");
}

static void test_misuse(void **state)
{
    World *w = *state;

    assert_int_equal(fit(w, (NndFit){ .batch = 3 }), NND_E_ARG);
    assert_string_equal(w->err.text, "the model was not compiled to train on batches of 3 rows");
    assert_int_equal(fit(w, (NndFit){ .batch = 11 }), NND_E_ARG);
    assert_int_equal(fit(w, (NndFit){ .batch = -1 }), NND_E_ARG);
    assert_int_equal(fit(w, (NndFit){ .epochs = INT64_MAX }), NND_E_ARG);
    w->data.nrow[NND_SPLIT_TEST] = MAX_TEST + 1;
    assert_int_equal(fit(w, (NndFit){ 0 }), NND_E_ARG);
    w->data.nrow[NND_SPLIT_TEST] = 8;
    assert_int_equal(fit(w, (NndFit){ 0 }), NND_E_ARG);
    assert_string_equal(w->err.text, "the model was not compiled to evaluate batches of 8 rows");
    w->data.nfield = 2;
    assert_int_equal(fit(w, (NndFit){ 0 }), NND_E_ARG);
    w->image.train = NULL;
    assert_int_equal(fit(w, (NndFit){ 0 }), NND_E_ARG);
    assert_int_equal(w->fake.nlog, 0);
}

/* More batches than one call holds. */
static void test_many_batches(void **state)
{
    World *w = *state;
    enum { N = 3001 };
    uint8_t x[N];
    double mean = 0;

    for (int i = 0; i < N; i++)
        mean += (x[i] = (uint8_t)(i * 7)) / (double)N;
    w->train_field[0] = x;
    w->data.nrow[NND_SPLIT_TRAIN] = N;
    w->data.nrow[NND_SPLIT_TEST] = 0;
    w->entry[2].batch = 1;
    w->session.nrow = 0;
    assert_int_equal(fit(w, (NndFit){ .epochs = 1 }), NND_E_ARG);      /* no room for the order */
    nnd_session_close(&w->session);
    assert_int_equal(nnd_session_open(&w->session, &w->image, N, &w->err), 0);
    assert_int_equal(fit(w, (NndFit){ .epochs = 1, .scalar = (double[]){ 0.25 } }), 0);
    assert_int_equal(w->fake.nlog, 751);
    for (int i = 0; i < 751; i++)
        assert_int_equal(w->fake.log[i].step, i + 1);
    assert_true(fabs(w->told[0].train[0] - mean) < 1e-9);
    assert_true(w->fake.scalar == 0.25);
}

static void test_expect(void **state)
{
    static const struct { NndCompare c; bool below, equal, above; } want[] = {
        { NND_LT, true, false, false }, { NND_LE, true, true, false }, { NND_EQ, false, true, false },
        { NND_GE, false, true, true }, { NND_GT, false, false, true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        NndExpect e = { .compare = (uint8_t)want[i].c, .value = 0.5 };

        assert_int_equal(nnd_expect_holds(&e, 0.4), want[i].below);
        assert_int_equal(nnd_expect_holds(&e, 0.5), want[i].equal);
        assert_int_equal(nnd_expect_holds(&e, 0.6), want[i].above);
        assert_false(nnd_expect_holds(&e, NAN));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_session, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_order, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_means, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_no_test_split, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_steps, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_resume, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_diverged, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_diverged_at_the_end, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_stop_and_failure, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_misuse, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_many_batches, open_world, close_world),
        cmocka_unit_test(test_expect),
    };

    return cmocka_run_group_tests_name("training", tests, NULL, NULL);
}
