/* run.c - a whole training run as a program does it: begun, told about, logged, judged and saved.
 *
 * The driver's train and a compiled training program are the same run over another image.  A file that can't be
 * written costs its contents and the exit status, never the training.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/nnd.h"

/* Splits in the order in which their figures are told. */
static const int shown[] = { NND_SPLIT_TRAIN, NND_SPLIT_VALID, NND_SPLIT_TEST };
enum { NSHOWN = sizeof shown / sizeof *shown };

typedef struct Log { FILE *f; const char *path; } Log;

typedef struct Run {
    const NndImage      *image;
    const NndRunOptions *o;
    const NndData       *data;
    const NndArray      *order;
    NndSession           session;
    NndPool             *pool;
    Log                  log, log_steps;
    NndEpoch            *epoch;       /* all of them, if someone wants them at the end */
    int                  nepoch;
    NndEpoch             last;
    bool                 stepped, ran;
    int                  code;        /* of the first thing that went wrong */
    NndError             err;
} Run;

static void complain(Run *r)
{
    if (!r->code)
        r->code = r->err.code;
    r->o->complain(r->o->ctx, &r->err);
}

/* ---- logs ---- */

static void log_failed(Run *r, Log *log)
{
    nnd_fail(&r->err, NND_E_FILE, "%s: cannot be written: %s", log->path, strerror(errno));
    complain(r);
    if (log->f)
        fclose(log->f);
    log->f = NULL;
}

static void log_open(Run *r, Log *log, const char *path)
{
    log->path = path;
    if (path && !(log->f = fopen(path, "w")))
        log_failed(r, log);
}

/* Lines reach the file an epoch at a time, so a run can be watched and a full disk is noticed. */
static void log_flush(Run *r, Log *log)
{
    if (log->f && (ferror(log->f) || fflush(log->f)))
        log_failed(r, log);
}

static void log_close(Run *r, Log *log)
{
    log_flush(r, log);
    if (log->f && fclose(log->f)) {
        log->f = NULL;
        log_failed(r, log);
    }
}

static void log_names(FILE *f, const NndTrain *t, const char *split)
{
    for (int i = 0; i < t->nmetric; i++)
        fprintf(f, ",%s_%s", split, t->metric[i]);
}

static void log_figures(FILE *f, const NndTrain *t, const double *figure)
{
    for (int i = 0; i < t->nmetric; i++)
        fprintf(f, ",%.9g", figure[i]);
}

static void logs_begin(Run *r)
{
    const NndTrain *t = r->image->train;

    log_open(r, &r->log, r->o->log);
    log_open(r, &r->log_steps, r->o->log_steps);
    if (r->log.f) {
        fputs("epoch,steps", r->log.f);
        for (int i = 0; i < NSHOWN; i++)
            if (r->data->nrow[shown[i]])
                log_names(r->log.f, t, nnd_split_name[shown[i]]);
        fputs(",seconds\n", r->log.f);
    }
    if (r->log_steps.f)
        fputs("step,loss\n", r->log_steps.f);
    log_flush(r, &r->log);
    log_flush(r, &r->log_steps);
}

static void log_epoch(Run *r, const NndEpoch *e)
{
    if (r->log.f) {
        fprintf(r->log.f, "%lld,%lld", (long long)e->epoch, (long long)e->steps);
        for (int i = 0; i < NSHOWN; i++)
            if (nnd_epoch_figures(e, shown[i]))
                log_figures(r->log.f, r->image->train, nnd_epoch_figures(e, shown[i]));
        fprintf(r->log.f, ",%.3f\n", e->seconds);
    }
    log_flush(r, &r->log);
    log_flush(r, &r->log_steps);
}

/* Nine digits tell two f32 apart, seventeen two f64. */
static void on_step(void *ctx, int64_t step, const double *figure)
{
    Run *r = ctx;

    if (!r->stepped && r->o->first_step)
        r->o->first_step(r->o->ctx);
    r->stepped = true;
    if (r->log_steps.f)
        fprintf(r->log_steps.f, "%lld,%.*g\n", (long long)step, r->image->float64 ? 17 : 9, figure[0]);
}

/* ---- what is told ---- */

void nnd_print_figures(FILE *f, const NndTrain *t, const double *figure)
{
    for (int i = 0; i < t->nmetric; i++)
        fprintf(f, strncmp(t->metric[i], "loss", 4) ? " %s=%.3f" : " %s=%.4f", t->metric[i], figure[i]);
}

static void print_epoch(const Run *r, const NndEpoch *e)
{
    FILE *f = r->o->out;

    fprintf(f, "epoch %lld:", (long long)e->epoch);
    for (int i = 0; i < NSHOWN; i++) {
        const double *figure = nnd_epoch_figures(e, shown[i]);

        if (figure && i)
            fprintf(f, "  %s", nnd_split_name[shown[i]]);
        if (figure)
            nnd_print_figures(f, r->image->train, figure);
    }
    fprintf(f, "  %.2f s\n", e->seconds);
    fflush(f);
}

static void on_epoch(void *ctx, const NndEpoch *e)
{
    Run *r = ctx;

    r->last = *e;
    r->ran = true;
    if (r->epoch)
        r->epoch[r->nepoch++] = *e;
    if (!r->o->quiet)
        print_epoch(r, e);
    log_epoch(r, e);
}

static void judge(Run *r)
{
    const NndTrain *t = r->image->train;
    bool judged = r->o->judged;

    for (int i = 0; i < t->nexpect && r->ran; i++) {
        const NndExpect *e = &t->expect[i];
        const double *figures = nnd_epoch_figures(&r->last, e->split);
        double figure = figures ? figures[e->metric] : NAN;       /* no comparison holds of rows that aren't there */
        bool holds = nnd_expect_holds(e, figure);

        if (!r->o->quiet || (!holds && judged))
            fprintf(r->o->talk, "expect: %s: %s with %.6g%s\n", e->text, holds ? "holds" : "missed", figure,
                    judged ? "" : " (not judged: the command line changed the run)");
        if (!holds && judged && !r->code)
            r->code = NND_E_EXPECT;
    }
}

/* ---- the run ---- */

static int64_t epochs_of(const Run *r)
{
    return r->o->epochs ? r->o->epochs : r->order ? r->order->dim[0] : r->image->train->epochs;
}

static bool keep_epochs(Run *r)
{
    int64_t nbytes = nnd_mul(epochs_of(r), sizeof *r->epoch);

    if (!r->o->at_end)
        return true;
    r->epoch = nbytes < 0 ? NULL : malloc((size_t)nbytes);
    if (!r->epoch)
        nnd_fail(&r->err, NND_E_MEMORY, "out of memory for the figures of %lld epochs", (long long)epochs_of(r));
    return r->epoch != NULL;
}

/* All memory of the run, and the weights that it begins with. */
static bool begin(Run *r)
{
    const NndRunOptions *o = r->o;
    int threads = r->image->gpu ? 1 : o->threads ? o->threads : nnd_threads_here();
    int64_t nrow[NND_NSPLIT], rows;

    nnd_rows_trained(r->data->nrow, r->order, nrow);
    rows = r->data->nrow[NND_SPLIT_TRAIN];
    for (int split = 0; split < NND_NSPLIT; split++)
        rows = rows > nrow[split] ? rows : nrow[split];
    if (!keep_epochs(r) || nnd_session_open_on(&r->session, r->image, o->device, rows, &r->err)
        || nnd_session_hold(&r->session, r->data, &r->err) || nnd_session_init(&r->session, o->seed, &r->err)
        || (o->init && nnd_weights_load(&r->session, o->init, &r->err)))
        return false;
    if (threads > 1 && !(r->pool = nnd_pool_open(threads, &r->err)))
        return false;
    r->session.par = nnd_pool_par(r->pool);
    return true;
}

static void save(Run *r)
{
    if (!r->o->save)
        return;
    if (nnd_weights_save(&r->session, r->o->save, &r->err))
        complain(r);
    else if (!r->o->quiet)
        fprintf(r->o->talk, "saved: %s\n", r->o->save);
}

static void fit(Run *r)
{
    const NndRunOptions *o = r->o;
    NndFit f = { .batch = o->batch, .epochs = o->epochs, .max_steps = o->steps, .seed = o->seed, .order = r->order,
                 .on_epoch = on_epoch, .on_step = o->log_steps || o->first_step ? on_step : NULL, .ctx = r, .stop = o->stop };
    int failed = nnd_fit(&r->session, r->data, &f, &r->err);

    if (o->quiet && r->ran)
        print_epoch(r, &r->last);
    if (failed)
        complain(r);
    if (!failed || failed == NND_E_STOPPED)
        save(r);
    if (!failed)
        judge(r);
}

int nnd_run_train(const NndImage *im, const NndData *data, const NndArray *order, const NndRunOptions *o)
{
    Run r = { .image = im, .o = o, .data = data, .order = order };

    if (!im->train) {
        nnd_fail(&r.err, NND_E_ARG, "the model has no train block");
        complain(&r);
        return r.code;
    }
    if (begin(&r)) {
        logs_begin(&r);
        fit(&r);
        log_close(&r, &r.log);
        log_close(&r, &r.log_steps);
        if (o->at_end && r.nepoch)
            o->at_end(o->ctx, r.epoch, r.nepoch);
    } else {
        complain(&r);
    }
    nnd_session_close(&r.session);
    nnd_pool_close(r.pool);
    free(r.epoch);
    return r.code;
}
