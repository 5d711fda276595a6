/* train.c - epochs of batches: from a session and a data set to updated state and figures.
 *
 * One call of an entry runs many batches, so that the loop over them is compiled code; between calls the stop flag is
 * asked and figures are added up, batch by batch, so that no result depends on how many batches a call had.
 */
#include <math.h>
#include <string.h>
#include <time.h>

#include "runtime/nnd.h"

enum { SMALL_EVAL = 64, EVEN_EVAL = 16, FIRST_CHUNK = 8 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what has to be compiled ---- */

int64_t nnd_eval_batch(int64_t n, int64_t *rest)
{
    *rest = 0;
    if (n <= NND_EVAL_BATCH)
        return n;
    for (int64_t by = EVEN_EVAL; by >= 1; by -= EVEN_EVAL - 1)
        for (int64_t b = NND_EVAL_BATCH; b >= SMALL_EVAL; b -= by)
            if (n % b == 0)
                return b;
    *rest = n % NND_EVAL_BATCH;
    return NND_EVAL_BATCH;
}

/* Two splits may want the same one. */
static void add_eval(int64_t batch, NndWant want[NND_MAX_WANT], int *n)
{
    for (int i = 0; i < *n; i++)
        if (want[i].kind == NND_EVAL && want[i].batch == batch)
            return;
    want[(*n)++] = (NndWant){ NND_EVAL, batch };
}

int nnd_entries_wanted(int64_t batch, const int64_t nrow[NND_NSPLIT], NndWant want[NND_MAX_WANT], int *n,
                       NndError *err)
{
    int64_t ntrain = nrow[NND_SPLIT_TRAIN], rest;

    *n = 0;
    if (ntrain < 1)
        return nnd_fail(err, NND_E_ARG, "the data set has no train split");
    if (batch < 1)
        return nnd_fail(err, NND_E_ARG, "batch: wanted at least 1 row, found %lld", (long long)batch);
    if (batch > ntrain)
        return nnd_fail(err, NND_E_ARG, "batch: %lld is larger than the train split of %lld rows", (long long)batch,
                        (long long)ntrain);
    want[(*n)++] = (NndWant){ NND_INIT, 0 };
    want[(*n)++] = (NndWant){ NND_TRAIN, batch };
    if (ntrain % batch)
        want[(*n)++] = (NndWant){ NND_TRAIN, ntrain % batch };
    for (int split = NND_SPLIT_TRAIN + 1; split < NND_NSPLIT; split++) {
        if (nrow[split] < 1)
            continue;
        add_eval(nnd_eval_batch(nrow[split], &rest), want, n);
        if (rest)
            add_eval(rest, want, n);
    }
    return 0;
}

/* ---- runs of batches ---- */

/* Batches over (a part of) a split, and their figures so far, weighted by rows. */
typedef struct Run {
    NndSession   *s;
    const NndFit *fit;
    NndCall       call;
    double        sum[NND_MAX_METRIC];
    int64_t       rows;
    NndError     *err;
} Run;

static void run_open(Run *r, NndSession *s, const NndData *data, int split, const NndFit *fit, NndError *err)
{
    *r = (Run){ .s = s, .fit = fit, .err = err };
    r->call = (NndCall){ .field = data->field[split], .seed = fit->seed, .scalar = fit->scalar, .metric_out = s->metric };
}

/* The first figure is the loss; others may be called after what they train: loss_generator. */
static bool is_loss(const NndSession *s, int m) { return !m || !strncmp(s->image->train->metric[m], "loss_", 5); }

/* One call: nbatch batches from row number `from` of the order on. */
static int run_call(Run *r, const NndEntry *e, int64_t from, int64_t nbatch)
{
    NndSession *s = r->s;
    int nmetric = s->image->train->nmetric, rc;

    r->call.row = s->row + from;
    r->call.nbatch = nbatch;
    r->call.step = s->step + 1;
    if ((rc = nnd_session_run(s, e, &r->call, r->err)))
        return rc;
    for (int64_t i = 0; i < nbatch; i++) {
        const double *figure = s->metric + i * nmetric;

        if (e->kind == NND_TRAIN && r->fit->on_step)
            r->fit->on_step(r->fit->ctx, r->call.step + i, figure);
        for (int m = 0; m < nmetric; m++) {
            if (e->kind == NND_TRAIN && is_loss(s, m) && !isfinite(figure[m]))
                return nnd_fail(r->err, NND_E_DIVERGED, "the %s became %s in step %lld", s->image->train->metric[m],
                                isnan(figure[m]) ? "nan" : "infinite", (long long)(r->call.step + i));
            r->sum[m] += figure[m] * (double)e->batch;
        }
    }
    r->rows += e->batch * nbatch;
    if (e->kind == NND_TRAIN)
        s->step += nbatch;
    return 0;
}

/* Long enough to cost nothing, short enough to answer a signal soon. */
static int64_t next_chunk(int64_t some, double seconds)
{
    if (seconds < 0.1)
        return least(2 * some, NND_CHUNK);
    return seconds > 0.4 && some > 1 ? some / 2 : some;
}

static int run_batches(Run *r, NndEntryKind kind, int64_t batch, int64_t from, int64_t nbatch)
{
    const NndEntry *e = nnd_entry_find(r->s->image, kind, batch);
    int64_t chunk = FIRST_CHUNK;
    int rc = 0;

    if (!e)
        return nnd_fail(r->err, NND_E_ARG, "the model was not compiled for batches of %lld rows", (long long)batch);
    for (int64_t done = 0; !rc && done < nbatch;) {
        int64_t some = least(chunk, nbatch - done);
        double begun = now();

        if (r->fit->stop && *r->fit->stop)
            return nnd_fail(r->err, NND_E_STOPPED, "stopped after step %lld", (long long)r->s->step);
        rc = run_call(r, e, from + done * batch, some);
        done += some;
        chunk = next_chunk(chunk, now() - begun);
    }
    return rc;
}

static void run_means(const Run *r, double *figure)
{
    for (int m = 0; m < r->s->image->train->nmetric; m++)
        figure[m] = r->rows ? r->sum[m] / (double)r->rows : 0;
}

/* ---- evaluation ---- */

static int check_split(const NndSession *s, const NndData *data, int split, NndError *err)
{
    int64_t n = data->nrow[split];

    if (!s->image->train)
        return nnd_fail(err, NND_E_ARG, "the model has no train block");
    if (data->nfield != s->image->nfield)
        return nnd_fail(err, NND_E_ARG, "wanted a data set of %d fields, as the model was compiled for, found %d",
                        s->image->nfield, data->nfield);
    if (n < 1)
        return nnd_fail(err, NND_E_ARG, "the data set has no %s split", nnd_split_name[split]);
    if (n > s->nrow)
        return nnd_fail(err, NND_E_ARG, "the session has room for %lld rows, the %s split has %lld", (long long)s->nrow,
                        nnd_split_name[split], (long long)n);
    return 0;
}

static int evaluate(NndSession *s, const NndData *data, int split, const NndFit *fit, int64_t epoch, double *figure,
                    NndError *err)
{
    int64_t n = data->nrow[split], rest, batch = nnd_eval_batch(n, &rest);
    Run r;
    int rc;

    run_open(&r, s, data, split, fit, err);
    r.call.epoch = epoch;
    for (int64_t i = 0; i < n; i++)
        s->row[i] = (int32_t)i;
    rc = run_batches(&r, NND_EVAL, batch, 0, n / batch);
    if (!rc && rest)
        rc = run_batches(&r, NND_EVAL, rest, n - rest, 1);
    run_means(&r, figure);
    return rc;
}

int nnd_evaluate(NndSession *s, const NndData *data, int split, double figure[NND_MAX_METRIC], NndError *err)
{
    int rc = check_split(s, data, split, err);

    if (rc || (rc = nnd_session_hold(s, data, err)))
        return rc;
    return evaluate(s, data, split, &(NndFit){ 0 }, 0, figure, err);
}

/* ---- epochs ---- */

int nnd_order_open(NndArray *order, const char *path, int64_t nrow, NndError *err)
{
    const int64_t *row;
    int64_t n;
    int rc = nnd_npy_read(path, order, err);

    if (rc)
        return rc;
    row = order->data;
    if (order->dtype != NND_I64 || order->rank != 2 || order->dim[0] < 1 || order->dim[1] < 1)
        rc = nnd_fail(err, NND_E_DATA, "%s: wanted row numbers i64[epochs, n], found %s with %d axes%s", path,
                      nnd_dtype_name((NndDtype)order->dtype), order->rank, order->nbytes ? "" : " and no elements");
    n = rc ? 0 : order->nbytes / (int64_t)sizeof *row;
    for (int64_t i = 0; i < n && !rc; i++)
        if (row[i] < 0 || row[i] >= nrow)
            rc = nnd_fail(err, NND_E_DATA, "%s: wanted rows 0..%lld of the train split, found %lld in epoch %lld", path,
                          (long long)nrow - 1, (long long)row[i], (long long)(i / order->dim[1] + 1));
    if (rc)
        nnd_array_free(order);
    return rc;
}

void nnd_rows_trained(const int64_t have[NND_NSPLIT], const NndArray *order, int64_t nrow[NND_NSPLIT])
{
    for (int split = 0; split < NND_NSPLIT; split++)
        nrow[split] = have[split];
    if (order)
        nrow[NND_SPLIT_TRAIN] = order->dim[1];
}

/* Everything that a run asks of session and image, before any of it is done; nrow gets the rows of an epoch. */
static int check_fit(const NndSession *s, const NndData *data, const NndArray *order, int64_t batch, int64_t *nrow,
                     NndError *err)
{
    NndWant want[NND_MAX_WANT];
    int n, rc = check_split(s, data, NND_SPLIT_TRAIN, err);

    nnd_rows_trained(data->nrow, order, nrow);
    if (!rc && nrow[NND_SPLIT_TRAIN] > s->nrow)
        rc = nnd_fail(err, NND_E_ARG, "the session has room for %lld rows, an epoch of the order has %lld", (long long)s->nrow,
                      (long long)nrow[NND_SPLIT_TRAIN]);
    for (int split = NND_SPLIT_TRAIN + 1; !rc && split < NND_NSPLIT; split++)
        if (data->nrow[split])
            rc = check_split(s, data, split, err);
    if (rc || (rc = nnd_entries_wanted(batch, nrow, want, &n, err)))
        return rc;
    for (int i = 0; i < n; i++)
        if (want[i].kind != NND_INIT && !nnd_entry_find(s->image, want[i].kind, want[i].batch))
            return nnd_fail(err, NND_E_ARG, "the model was not compiled to %s batches of %lld rows",
                            want[i].kind == NND_TRAIN ? "train on" : "evaluate", (long long)want[i].batch);
    return 0;
}

/* An epoch of n rows from its batch number `done` on, but at most `left` steps. */
static int train_epoch(Run *r, int64_t n, int64_t batch, int64_t done, int64_t left)
{
    int64_t whole = n / batch, some = least(whole - done, left);
    int rc = run_batches(r, NND_TRAIN, batch, done * batch, some);

    if (!rc && n % batch && some < left)
        rc = run_batches(r, NND_TRAIN, n % batch, whole * batch, 1);
    return rc;
}

const double *nnd_epoch_figures(const NndEpoch *e, int split)
{
    switch (split) {
    case NND_SPLIT_TEST:  return e->has_test ? e->test : NULL;
    case NND_SPLIT_VALID: return e->has_valid ? e->valid : NULL;
    }
    return e->train;
}

static void epoch_rows(int32_t *row, int64_t n, const NndFit *f, int64_t epoch)
{
    if (!f->order) {
        nnd_shuffle(row, n, f->seed, epoch);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        row[i] = (int32_t)((const int64_t *)f->order->data)[(epoch - 1) * n + i];
}

/* One epoch, evaluated and told; `steps` is where the run ends. */
static int fit_epoch(NndSession *s, const NndData *data, const NndFit *f, int64_t n, int64_t batch, int64_t steps,
                     NndError *err)
{
    int64_t each = (n + batch - 1) / batch, before = s->step / each;
    NndEpoch e = { .epoch = before + 1, .has_valid = data->nrow[NND_SPLIT_VALID] > 0,
                   .has_test = data->nrow[NND_SPLIT_TEST] > 0 };
    double begun = now();
    Run r;
    int rc;

    run_open(&r, s, data, NND_SPLIT_TRAIN, f, err);
    r.call.epoch = e.epoch;
    r.call.steps = steps;
    epoch_rows(s->row, n, f, e.epoch);
    if ((rc = train_epoch(&r, n, batch, s->step % each, steps - s->step)))
        return rc;
    e.seconds = now() - begun;
    e.steps = s->step;
    run_means(&r, e.train);
    if ((e.has_valid && (rc = evaluate(s, data, NND_SPLIT_VALID, f, e.epoch, e.valid, err)))
        || (e.has_test && (rc = evaluate(s, data, NND_SPLIT_TEST, f, e.epoch, e.test, err))))
        return rc;
    if (f->on_epoch)
        f->on_epoch(f->ctx, &e);
    for (int split = NND_SPLIT_TRAIN + 1; split < NND_NSPLIT; split++) {
        const double *figure = nnd_epoch_figures(&e, split);

        if (figure && !isfinite(figure[0]))
            return nnd_fail(err, NND_E_DIVERGED, "the loss on the %s split is %s after step %lld", nnd_split_name[split],
                            isnan(figure[0]) ? "nan" : "infinite", (long long)s->step);
    }
    return 0;
}

int nnd_fit(NndSession *s, const NndData *data, const NndFit *f, NndError *err)
{
    const NndTrain *t = s->image->train;
    int64_t batch, epochs, steps, nrow[NND_NSPLIT], n;
    int rc;

    batch = f->batch || !t ? f->batch : t->batch;
    epochs = f->epochs || !t ? f->epochs : f->order ? f->order->dim[0] : t->epochs;
    if ((rc = check_fit(s, data, f->order, batch, nrow, err)))
        return rc;
    if (f->order && epochs > f->order->dim[0])
        return nnd_fail(err, NND_E_ARG, "epochs: wanted %lld, the order has %lld", (long long)epochs,
                        (long long)f->order->dim[0]);
    n = nrow[NND_SPLIT_TRAIN];
    steps = nnd_mul((n + batch - 1) / batch, epochs);
    if (steps < 0)
        return nnd_fail(err, NND_E_ARG, "epochs: %lld are more than can be counted", (long long)epochs);
    if (f->max_steps > 0)
        steps = least(steps, f->max_steps);
    rc = nnd_session_hold(s, data, err);
    while (!rc && s->step < steps)
        rc = fit_epoch(s, data, f, n, batch, steps, err);
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
