/* cmd_train.c - nnd train: a model compiled and trained. */
#include "frontend/nnd.h"

#include <string.h>

/* A training run, in the order in which its parts come to be. */
typedef struct Run {
    Job      job;
    NndData  data;
    NndArray order;
    Compiled code;
    NndError err;
    int      status;           /* of the first thing that went wrong */
} Run;

static void on_complaint(void *ctx, const NndError *err)
{
    const Run *r = ctx;

    complain_runtime(r->job.o, err);
}

static void on_first_step(void *ctx)
{
    const Run *r = ctx;

    compile_time(r->job.compile.times, "first step", compile_clock_ms() - r->job.begun_ms);
}

/* The weights are saved by now: a picture that can't be drawn costs only itself. */
static void draw_curves(void *ctx, const NndEpoch *epoch, int nepoch)
{
    Run            *r = ctx;
    const NndImage *im = r->code.image;

    if (nnd_plot_curves(r->job.o->value[OPTION_plot].text, im->model, im->train->metric, im->train->nmetric, epoch, nepoch,
                        &r->err))
        r->status = complain_runtime(r->job.o, &r->err);
}

/* A run with other epochs, order, weights, batch or constants is not the one that the file makes promises about. */
static bool is_judged(const Options *o)
{
    return !o->value[OPTION_epochs].given && !o->value[OPTION_steps].given && !o->value[OPTION_batch].given &&
           !o->value[OPTION_order].given && !o->value[OPTION_init].given && !o->value[OPTION_define].given;
}

static int64_t batch_of(const Run *r)
{
    const OptionValue *given = &r->job.o->value[OPTION_batch];

    return given->given ? given->count : r->job.checked->train.batch;
}

/* What has to be compiled is known from the headers of the data and from the order. */
static int find_rows(Run *r, int64_t nrow[NND_NSPLIT])
{
    Options        *o = r->job.o;
    const char     *order = o->value[OPTION_order].text;
    int             nfield;
    const NndField *field = compile_fields(r->job.checked, &o->mem, &nfield);
    int64_t         have[NND_NSPLIT];

    if (nnd_data_rows(field, nfield, o->value[OPTION_data].text, model_folder(o), have, &r->err) ||
        (order && nnd_order_open(&r->order, order, have[NND_SPLIT_TRAIN], &r->err)))
        return complain_runtime(o, &r->err);
    nnd_rows_trained(have, r->order.data ? &r->order : NULL, nrow);
    return EXIT_WELL;
}

static int compile_run(Run *r)
{
    NndWant needs[NND_MAX_WANT];
    int64_t nrow[NND_NSPLIT];
    int     n, status = find_rows(r, nrow);

    if (status)
        return status;
    if (nnd_entries_wanted(batch_of(r), nrow, needs, &n, &r->err))
        return complain_runtime(r->job.o, &r->err);
    return compile_wanted(&r->job, &r->code, needs, n);
}

static int fit(Run *r, volatile const int *interrupted)
{
    const OptionValue *v = r->job.o->value;
    NndRunOptions      o = { .init = v[OPTION_init].text, .save = v[OPTION_save].text, .log = v[OPTION_log].text,
                             .log_steps = v[OPTION_log_steps].text, .batch = batch_of(r), .epochs = v[OPTION_epochs].count,
                             .steps = v[OPTION_steps].count, .threads = (int)v[OPTION_threads].count, .device = r->job.compile.gpu,
                             .seed = v[OPTION_seed].given ? v[OPTION_seed].seed : r->job.checked->train.seed,
                             .quiet = v[OPTION_quiet].given, .judged = is_judged(r->job.o), .stop = interrupted,
                             .out = stdout, .talk = stderr, .complain = on_complaint,
                             .first_step = v[OPTION_time].given ? on_first_step : NULL,
                             .at_end = v[OPTION_plot].given ? draw_curves : NULL, .ctx = r };
    int                code = nnd_run_train(r->code.image, &r->data, r->order.data ? &r->order : NULL, &o);

    return code ? nnd_exit_status(code) : r->status;
}

static int train(Run *r, volatile const int *interrupted)
{
    Options *o = r->job.o;
    int      status;

    if (!r->job.checked->train.present)
        return complain(o, EXIT_MODEL, "%s has no train block", o->file);
    if (!o->value[OPTION_quiet].given)
        fprintf(stderr, "device: %s, %s\n", r->job.compile.backend->name, r->job.device);
    /* code is made in the background while the data are read */
    if ((status = compile_run(r)) || (status = open_data(&r->job, &r->data, o->value[OPTION_quiet].given)))
        return status;
    return fit(r, interrupted);
}

int cmd_train(Options *o, volatile const int *interrupted)
{
    Run r = { 0 };
    int status = job_open(&r.job, o);

    if (!status)
        status = train(&r, interrupted);
    compiled_free(&r.code);
    nnd_array_free(&r.order);
    nnd_data_close(&r.data);
    job_close(&r.job);
    return status;
}
