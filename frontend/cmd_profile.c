/* cmd_profile.c - nnd profile: where a training step's time goes. */
#include "frontend/machine.h"
#include "frontend/nnd.h"
#include "frontend/profile.h"

enum { WARM_STEPS = 5, NOTED_STEPS = 20, PEAK_TRIES = 100 };

typedef struct Profiled {
    Job        job;
    NndData    data;
    Compiled   code;
    NndSession session;
    NndPool   *pool;
    Profile    profile;
    NndError   err;
} Profiled;

static const Plan *train_plan(const Module *m, int64_t batch)
{
    for (int i = 0; i < m->ngraph; i++)
        if (m->graph[i]->entry == ENTRY_TRAIN && m->graph[i]->batch == batch)
            return m->plan[i];
    return NULL;
}

static int compile_noted(Profiled *r, int64_t batch)
{
    NndWant needs[2] = { { NND_INIT, 0 }, { NND_TRAIN, batch } };

    if (!r->job.compile.backend->needs_plan)
        return complain(r->job.o, EXIT_USAGE, "--target: the target %s has no kernels", r->job.compile.backend->name);
    r->job.compile.target.through_par = r->job.compile.gpu == NO_GPU;
    return compile_wanted(&r->job, &r->code, needs, 2);
}

/* Whole batches of one epoch alone, so every step is the same entry's. */
static int run_steps(Profiled *r, int64_t batch, int64_t warm, int64_t steps)
{
    Options *o = r->job.o;
    NndFit   fit = { .batch = batch, .epochs = 1, .max_steps = warm + steps, .seed = r->job.checked->train.seed };
    NndData  train = r->data;
    int      status;

    train.nrow[NND_SPLIT_TRAIN] -= train.nrow[NND_SPLIT_TRAIN] % batch;
    train.nrow[NND_SPLIT_TEST] = train.nrow[NND_SPLIT_VALID] = 0;
    if ((status = open_session(&r->job, &r->session, r->code.image, train.nrow[NND_SPLIT_TRAIN])))
        return status;
    if (nnd_session_init(&r->session, fit.seed, &r->err))
        return complain_runtime(o, &r->err);
    if ((status = open_pool(&r->job, &r->pool)))
        return status;
    profile_open(&r->profile, train_plan(r->code.module, batch), r->pool ? nnd_pool_par(r->pool) : NULL, warm, steps, &o->mem);
    r->session.par = &r->profile.par;
    return nnd_fit(&r->session, &train, &fit, &r->err) ? complain_runtime(o, &r->err) : EXIT_WELL;
}

static int tell(Profiled *r)
{
    Options    *o = r->job.o;
    Peak        peak = { 0 };
    const char *trace = o->value[OPTION_trace].text;

    peak.flops = machine_flops(PEAK_TRIES, &peak.unit);
    peak.bytes = machine_bandwidth();
    profile_print(stdout, &r->profile, &peak, &o->mem);
    if (trace && profile_trace(&r->profile, trace, &r->err))
        return complain_runtime(o, &r->err);
    return EXIT_WELL;
}

/* ---- on a GPU ---- */

static int train_entry(const NndImage *im)
{
    int i = 0;

    while (im->entry[i].kind != NND_TRAIN)
        i++;
    return i;
}

/* The mean of some batches' milliseconds, launch by launch; rows in their order. */
static int measure_gpu(Profiled *r, int entry, int64_t steps, double *ms)
{
    Options        *o = r->job.o;
    NndSession     *s = &r->session;
    const NndEntry *e = &r->code.image->entry[entry];
    int             n = r->code.image->gpu->entry[entry].nlaunch, status;
    int64_t         nrow = r->data.nrow[NND_SPLIT_TRAIN], seed = (int64_t)r->job.checked->train.seed;
    double         *one = arena_array(&o->mem, double, n + 1);

    if ((status = open_session(&r->job, s, r->code.image, nrow)))
        return status;
    if (nnd_session_hold(s, &r->data, &r->err) || nnd_session_init(s, (uint64_t)seed, &r->err))
        return complain_runtime(o, &r->err);
    for (int64_t i = 0; i < nrow; i++)
        s->row[i] = (int32_t)i;
    for (int64_t i = 0; i < WARM_STEPS + steps; i++) {
        NndCall call = { .field = r->data.field[NND_SPLIT_TRAIN], .row = s->row + i % (nrow / e->batch) * e->batch, .nbatch = 1, .step = i + 1,
                         .steps = WARM_STEPS + steps, .epoch = 1, .seed = (uint64_t)seed };

        if (nnd_cuda_times(s->cuda, e, &call, one, &r->err))
            return complain_runtime(o, &r->err);
        for (int k = 0; k < n && i >= WARM_STEPS; k++)
            ms[k] += one[k] / (double)steps;
    }
    return EXIT_WELL;
}

/* The entry's code, which else is made when it is called. */
static int make_code(Profiled *r, int entry)
{
    const NndImage    *im = r->code.image;
    const NndGpuEntry *e = &im->gpu->entry[entry];
    char               why[256] = "";

    for (int i = 0; i < e->nlaunch; i++)
        if (im->gpu->make(im, e->launch[i].part, why, sizeof why))
            return complain_ours(r->job.o, why);
    return EXIT_WELL;
}

/* Without a device there is a prediction alone. */
static int profile_gpu(Profiled *r, int64_t batch)
{
    Options      *o = r->job.o;
    int64_t       steps = o->value[OPTION_steps].given ? o->value[OPTION_steps].count : NOTED_STEPS;
    int           version, status, entry;
    NndCudaDevice gpu;
    double       *ms = NULL;

    if ((status = compile_noted(r, batch)))
        return status;
    entry = train_entry(r->code.image);
    if ((status = make_code(r, entry)))
        return status;
    if (nnd_cuda_device(r->job.compile.gpu, &gpu, &version, &r->err)) {
        fprintf(stderr, "not measured: %s\n", r->err.text);
    } else {
        ms = arena_array(&o->mem, double, r->code.image->gpu->entry[entry].nlaunch + 1);
        if ((status = open_data(&r->job, &r->data, false)) || (status = measure_gpu(r, entry, steps, ms)))
            return status;
    }
    profile_gpu_print(stdout, train_plan(r->code.module, batch), r->code.image->gpu, entry, ms, ms ? gpu.name : NULL, &o->mem);
    return EXIT_WELL;
}

/* ---- the command ---- */

static int profile(Profiled *r)
{
    Options           *o = r->job.o;
    const OptionValue *batch_given = &o->value[OPTION_batch], *steps_given = &o->value[OPTION_steps];
    int64_t            batch, steps = steps_given->given ? steps_given->count : NOTED_STEPS, whole;
    int                status;

    if (!r->job.checked->train.present)
        return complain(o, EXIT_MODEL, "%s has no train block", o->file);
    batch = batch_given->given ? batch_given->count : r->job.checked->train.batch;
    if (r->job.compile.gpu != NO_GPU)
        return o->value[OPTION_trace].given ? complain(o, EXIT_USAGE, "--trace: calls on a GPU are not noted") : profile_gpu(r, batch);
    if ((status = compile_noted(r, batch)) || (status = open_data(&r->job, &r->data, false)))
        return status;
    whole = r->data.nrow[NND_SPLIT_TRAIN] / batch;
    if (whole < WARM_STEPS + 1)
        return complain(o, EXIT_USAGE, "an epoch has %lld whole batches of %lld rows, profile wants %d", (long long)whole, (long long)batch,
                        WARM_STEPS + 1);
    steps = steps > whole - WARM_STEPS ? whole - WARM_STEPS : steps;
    if ((status = run_steps(r, batch, WARM_STEPS, steps)))
        return status;
    return tell(r);
}

int cmd_profile(Options *o)
{
    Profiled r = { 0 };
    int      status = job_open(&r.job, o);

    if (!status)
        status = profile(&r);
    nnd_session_close(&r.session);
    nnd_pool_close(r.pool);
    compiled_free(&r.code);
    nnd_data_close(&r.data);
    job_close(&r.job);
    return status;
}
