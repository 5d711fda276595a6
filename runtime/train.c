/* train.c - epochs of batches, and what they amounted to. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <time.h>

#include "runtime/nnd.h"

/* Batches a call: long enough to cost nothing, short enough to answer a signal soon. */
enum { CHUNK = 256, SMALL_EVAL = 64 };

/* ---- what has to be compiled ---- */

int64_t nnd_eval_batch(int64_t n, int64_t *rest)
{
    *rest = 0;
    for (int64_t b = n < NND_EVAL_BATCH ? n : NND_EVAL_BATCH; b >= SMALL_EVAL || b == n; b--)
        if (n % b == 0)
            return b;
    if (n < NND_EVAL_BATCH)
        return n;
    *rest = n % NND_EVAL_BATCH;
    return NND_EVAL_BATCH;
}

static void want(NndWant *list, int *n, NndEntryKind kind, int64_t batch)
{
    for (int i = 0; i < *n; i++)
        if (list[i].kind == kind && list[i].batch == batch)
            return;
    list[(*n)++] = (NndWant){ kind, batch };
}

int nnd_entries_wanted(int64_t batch, const int64_t nrow[NND_NSPLIT], NndWant list[NND_MAX_WANT], int *n, NndError *err)
{
    int64_t rest;

    *n = 0;
    if (nrow[NND_SPLIT_TRAIN] < 1)
        return nnd_fail(err, NND_E_ARG, "the data block names no training split");
    if (batch < 1 || batch > nrow[NND_SPLIT_TRAIN])
        return nnd_fail(err, NND_E_ARG, "a batch of %lld rows from a data set of %lld", (long long)batch,
                        (long long)nrow[NND_SPLIT_TRAIN]);
    want(list, n, NND_INIT, 0);
    want(list, n, NND_TRAIN, batch);
    if (nrow[NND_SPLIT_TRAIN] % batch)
        want(list, n, NND_TRAIN, nrow[NND_SPLIT_TRAIN] % batch);
    if (nrow[NND_SPLIT_TEST]) {
        want(list, n, NND_EVAL, nnd_eval_batch(nrow[NND_SPLIT_TEST], &rest));
        if (rest)
            want(list, n, NND_EVAL, rest);
    }
    return 0;
}

/* ---- runs of batches ---- */

typedef struct Run {
    NndSession    *s;
    const NndData *data;
    int            split;
    NndCall        call;
    double         sum[NND_MAX_METRIC];
    int64_t        rows;
    NndError      *err;
} Run;

static void run_open(Run *r, NndSession *s, const NndData *data, int split, NndError *err)
{
    *r = (Run){ .s = s, .data = data, .split = split, .err = err };
    r->call = (NndCall){ .state = s->state, .scratch = s->scratch, .field = data->field[split],
                         .metric_out = s->metric, .par = s->par };
}

/* nbatch batches from row number `from` of the order on; figures are weighted by rows. */
static int run_batches(Run *r, NndEntryKind kind, int64_t batch, int64_t from, int64_t nbatch)
{
    NndSession *s = r->s;
    const NndEntry *e = nnd_entry_find(s->image, kind, batch);
    int nmetric = s->image->train->nmetric;

    if (!e)
        return nnd_fail(r->err, NND_E_ARG, "the model was not compiled for batches of %lld", (long long)batch);
    r->call.row = s->row + from;
    r->call.nbatch = nbatch;
    r->call.step = s->step + 1;
    if (e->run(s->image, e, &r->call))
        return nnd_fail(r->err, NND_E_DEVICE, "the device failed in step %lld", (long long)r->call.step);
    for (int64_t i = 0; i < nbatch; i++) {
        const double *figure = s->metric + i * nmetric;

        if (kind == NND_TRAIN && !isfinite(figure[0]))
            return nnd_fail(r->err, NND_E_DIVERGED, "the loss became %s in step %lld", isnan(figure[0]) ? "nan" : "infinite",
                            (long long)(r->call.step + i));
        for (int m = 0; m < nmetric; m++)
            r->sum[m] += figure[m] * (double)batch;
    }
    r->rows += batch * nbatch;
    if (kind == NND_TRAIN)
        s->step += nbatch;
    return 0;
}

static void run_means(const Run *r, double *figure)
{
    for (int m = 0; m < r->s->image->train->nmetric; m++)
        figure[m] = r->rows ? r->sum[m] / (double)r->rows : 0;
}

int nnd_evaluate(NndSession *s, const NndData *data, int split, double figure[NND_MAX_METRIC], NndError *err)
{
    int64_t n = data->nrow[split], rest, batch = nnd_eval_batch(n, &rest);
    Run r;
    int rc;

    run_open(&r, s, data, split, err);
    for (int64_t i = 0; i < n; i++)
        s->row[i] = (int32_t)i;
    rc = run_batches(&r, NND_EVAL, batch, 0, n / batch);
    if (!rc && rest)
        rc = run_batches(&r, NND_EVAL, rest, n - rest, 1);
    run_means(&r, figure);
    return rc;
}

/* ---- epochs ---- */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* An epoch's steps, or as many as are left. */
static int train_epoch(Run *r, const NndFit *f, int64_t batch, int64_t left)
{
    int64_t n = r->data->nrow[NND_SPLIT_TRAIN], whole = least(n / batch, left), done = 0;
    int rc = 0;

    while (!rc && done < whole) {
        int64_t some = least(whole - done, CHUNK);

        if (f->stop && *f->stop)
            return nnd_fail(r->err, NND_E_STOPPED, "stopped after step %lld", (long long)r->s->step);
        rc = run_batches(r, NND_TRAIN, batch, done * batch, some);
        done += some;
    }
    if (!rc && n % batch && done < left)
        rc = run_batches(r, NND_TRAIN, n % batch, done * batch, 1);
    return rc;
}

int nnd_fit(NndSession *s, const NndData *data, const NndFit *f, NndError *err)
{
    const NndTrain *t = s->image->train;
    int64_t batch = f->batch ? f->batch : t->batch, epochs = f->epochs ? f->epochs : t->epochs;
    int64_t n = data->nrow[NND_SPLIT_TRAIN], each = (n + batch - 1) / batch, steps = nnd_mul(each, epochs);
    int rc = 0;

    if (steps < 0 || (f->max_steps && steps > f->max_steps))
        steps = f->max_steps ? f->max_steps : INT64_MAX;
    for (int64_t epoch = 1; !rc && epoch <= epochs && s->step < steps; epoch++) {
        NndEpoch e = { .epoch = epoch };
        Run r;
        double begun = now();

        run_open(&r, s, data, NND_SPLIT_TRAIN, err);
        r.call.seed = f->seed;
        r.call.epoch = epoch;
        r.call.steps = steps;
        r.call.scalar = f->scalar;
        nnd_shuffle(s->row, n, f->seed, epoch);
        rc = train_epoch(&r, f, batch, steps - s->step);
        e.seconds = now() - begun;
        e.steps = s->step;
        run_means(&r, e.train);
        if (!rc && data->nrow[NND_SPLIT_TEST]) {
            e.has_test = true;
            rc = nnd_evaluate(s, data, NND_SPLIT_TEST, e.test, err);
        }
        if (!rc && f->on_epoch)
            f->on_epoch(f->ctx, &e);
    }
    return rc;
}

bool nnd_expect_holds(const NndExpect *e, double figure)
{
    switch ((NndCompare)e->compare) {
    case NND_LT: return figure < e->value;
    case NND_LE: return figure <= e->value;
    case NND_EQ: return figure == e->value;
    case NND_GE: return figure >= e->value;
    case NND_GT: return figure > e->value;
    }
    return false;
}
