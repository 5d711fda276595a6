/* cuda_run.c - an entry's batches on a GPU: what they need put there, their kernels launched, their figures read back.
 *
 * What changes from batch to batch lies in the control block, which a kernel of one thread puts on at a batch's end.  So
 * all batches of a call are launched alike, and where the driver has graphs the launches of a batch, and of several, are
 * recorded once and repeated as one.
 */
#include "runtime/cuda_part.h"

#include <stdlib.h>
#include <string.h>

/* Kernels of a graph of several batches, about, and the most batches of one: launching it has to cost little beside running
 * it, recording it must not take long, and a call of few batches should still have use for it. */
enum { GRAPH_KERNELS = 256, GRAPH_BATCHES = 16 };

enum { STATIC_SHARED_BYTES = 48 << 10, MAX_DYNAMIC_SHARED = 8, CAPTURE_OF_THREAD = 1 };

/* ---- the tables, ready to launch ---- */

static int ready_launch(NndCuda *c, CudaLaunch *l, NndError *err)
{
    const NndLaunch *row = l->row;
    int rc = cuda_failed(c, c->driver.module_function(&l->function, c->module[row->part].module, row->kernel), err, "kernel %s", row->kernel);

    if (rc || row->shared_bytes <= STATIC_SHARED_BYTES)
        return rc;
    return cuda_failed(c, c->driver.function_set(l->function, MAX_DYNAMIC_SHARED, (int)row->shared_bytes), err,
                       "kernel %s: %u bytes of shared memory", row->kernel, row->shared_bytes);
}

int cuda_ready(NndCuda *c, CudaEntry *e, NndError *err)
{
    int rc;

    if (e->ready)
        return 0;
    if ((rc = cuda_load_entry(c, e, err)))
        return rc;
    if (!c->advance)
        rc = cuda_failed(c, c->driver.module_function(&c->advance, c->module[0].module, "nnd_advance"), err, "kernel nnd_advance");
    for (int i = 0; i < e->nlaunch && !rc; i++)
        rc = ready_launch(c, &e->launch[i], err);
    e->ready = !rc;
    return rc;
}

static int choose_unroll(const NndCuda *c, int64_t count)
{
    int64_t n = c->how.unroll > 0 ? c->how.unroll : GRAPH_KERNELS / (count + 1);

    return (int)(n < 1 ? 1 : n > GRAPH_BATCHES && c->how.unroll <= 0 ? GRAPH_BATCHES : n);
}

static void add_launch(NndCuda *c, CudaLaunch *l, const NndLaunch *row, void **param)
{
    *l = (CudaLaunch){ .row = row, .param = param };
    param[0] = &c->at[ROOM_STATE];
    param[1] = &c->at[ROOM_SCRATCH];
    param[2] = &c->at[ROOM_CONTROL];
    param[3] = &c->turn;
    for (int i = 0; i < row->nplace; i++)
        param[4 + i] = (void *)&row->place[i];
}

int cuda_entries(NndCuda *c, NndError *err)
{
    const NndGpu *gpu = c->image->gpu;
    size_t nlaunch = 0, nparam = 0;
    CudaLaunch *launch;
    void **param;

    for (int i = 0; i < gpu->nentry; i++)
        for (int k = 0; k < gpu->entry[i].nlaunch; k++, nlaunch++)
            nparam += 4 + (size_t)gpu->entry[i].launch[k].nplace;
    c->entry = calloc((size_t)gpu->nentry + 1, sizeof *c->entry);
    c->launch = launch = calloc(nlaunch + 1, sizeof *launch);
    c->param = param = calloc(nparam + 1, sizeof *param);
    if (!c->entry || !launch || !param)
        return nnd_fail(err, NND_E_MEMORY, "out of memory for the tables of %zu kernels", nlaunch);
    for (int i = 0; i < gpu->nentry; i++) {
        const NndGpuEntry *from = &gpu->entry[i];
        CudaEntry *e = &c->entry[i];

        *e = (CudaEntry){ .launch = launch, .nlaunch = from->nlaunch };
        for (int k = 0; k < from->nlaunch; k++) {
            add_launch(c, launch++, &from->launch[k], param);
            param += 4 + from->launch[k].nplace;
            e->count += from->launch[k].steps;
        }
        e->unroll = choose_unroll(c, e->count);
    }
    return 0;
}

void cuda_entries_free(NndCuda *c)
{
    for (int i = 0; c->entry && i < c->image->gpu->nentry; i++) {
        if (c->entry[i].one.ready)
            c->driver.ready_free(c->entry[i].one.ready);
        if (c->entry[i].several.ready)
            c->driver.ready_free(c->entry[i].several.ready);
    }
    free(c->launch);
    free(c->entry);
    free(c->param);
}

/* ---- kernels one by one ---- */

static int launch_kernel(NndCuda *c, const CudaLaunch *l, int64_t turn, NndError *err)
{
    const NndLaunch *row = l->row;
    int rc;

    c->turn = (int32_t)turn;
    rc = cuda_failed(c, c->driver.launch(l->function, row->grid[0], row->grid[1], row->grid[2], row->block, 1, 1, row->shared_bytes,
                                         c->stream, l->param, NULL), err, "kernel %s", row->kernel);
    if (rc || !c->how.sync)
        return rc;
    return cuda_failed(c, c->driver.stream_wait(c->stream), err, "kernel %s", row->kernel);
}

static int launch_advance(NndCuda *c, NndError *err)
{
    void *param[] = { &c->at[ROOM_CONTROL] };

    return cuda_failed(c, c->driver.launch(c->advance, 1, 1, 1, 1, 1, 1, 0, c->stream, param, NULL), err, "kernel nnd_advance");
}

/* Where the launches end that belong to the scan of number i; i + 1 if it is in none. */
static int scan_end(const CudaEntry *e, int i)
{
    int end = i + 1;

    while (e->launch[i].row->scan && end < e->nlaunch && e->launch[end].row->scan == e->launch[i].row->scan)
        end++;
    return end;
}

static int launch_batch(NndCuda *c, const CudaEntry *e, NndError *err)
{
    int rc = 0;

    for (int i = 0, end; i < e->nlaunch; i = end) {
        end = scan_end(e, i);
        for (int64_t turn = 0; turn < e->launch[i].row->steps; turn++)
            for (int k = i; k < end; k++)
                if ((rc = launch_kernel(c, &e->launch[k], turn, err)))
                    return rc;
    }
    return launch_advance(c, err);
}

/* ---- graphs ---- */

/* n batches as a graph.  Without one, for whatever reason, kernels are launched one by one, which tells the reason if it is one
 * of theirs. */
static void record(NndCuda *c, const CudaEntry *e, int n, CudaGraph *g)
{
    const NndDriver *d = &c->driver;
    void *graph = NULL;
    int failed = 0;

    g->tried = true;
    if (d->capture_begin(c->stream, CAPTURE_OF_THREAD))
        return;
    for (int i = 0; i < n && !failed; i++)
        failed = launch_batch(c, e, NULL);
    if (d->capture_end(c->stream, &graph) || !graph)
        return;
    if (failed || d->graph_ready(&g->ready, graph, 0))
        g->ready = NULL;
    d->graph_free(graph);
}

static bool has_graph(NndCuda *c, const CudaEntry *e, int n, CudaGraph *g)
{
    if (!c->driver.has_graphs || c->how.no_graphs || c->how.sync)
        return false;
    if (!g->ready && !g->tried)
        record(c, e, n, g);
    return g->ready;
}

/* A call of a single batch is not worth a recording, as init is such a one; the next such call is, as of predictions row by row. */
static int run_batches(NndCuda *c, CudaEntry *e, int64_t n, NndError *err)
{
    bool worth = n > 1 || e->called;
    int rc = 0;

    e->called = true;
    for (int64_t done = 0; done < n && !rc;) {
        if (n - done >= e->unroll && e->unroll > 1 && has_graph(c, e, e->unroll, &e->several)) {
            rc = cuda_failed(c, c->driver.graph_launch(e->several.ready, c->stream), err, "a graph of %d batches", e->unroll);
            done += e->unroll;
        } else if (worth && has_graph(c, e, 1, &e->one)) {
            rc = cuda_failed(c, c->driver.graph_launch(e->one.ready, c->stream), err, "a graph of a batch");
            done++;
        } else {
            rc = launch_batch(c, e, err);
            done++;
        }
    }
    return rc;
}

/* ---- calls ---- */

static int up(NndCuda *c, uint64_t to, const void *from, int64_t nbytes, const char *what, NndError *err)
{
    return nbytes ? cuda_failed(c, c->driver.upload(to, from, (size_t)nbytes, c->stream), err, "%s", what) : 0;
}

/* What a part of a call is about. */
typedef struct Part {
    const NndEntry *entry;
    const NndCall  *call;
    int64_t         from, n;         /* batches of the call */
} Part;

static int set_fields(NndCuda *c, const Part *p, NndError *err)
{
    for (int i = 0; i < c->image->nfield; i++) {
        int k = 0;

        while (k < c->ncolumn && c->column[k].host != p->call->field[i])
            k++;
        if (k == c->ncolumn)
            return nnd_fail(err, NND_E_ARG, "the column %s is not held by the session", c->image->field[i].name);
        c->control.field[i] = c->column[k].at;
    }
    return 0;
}

/* The inputs of these batches, and where they and the outputs are. */
static int set_ports(NndCuda *c, const Part *p, NndError *err)
{
    const NndImage *im = c->image;
    int64_t first = p->from * p->entry->batch, rows = p->n * p->entry->batch;
    int rc = 0;

    for (int i = 0; i < im->ninput && !rc; i++) {
        int64_t each = cuda_row_bytes(&im->input[i]);

        c->control.field[i] = c->port[i];
        rc = up(c, c->port[i], (const char *)p->call->field[i] + first * each, rows * each, "inputs", err);
    }
    for (int i = 0; i < im->noutput; i++)
        c->control.out[i] = c->port[im->ninput + i];
    return rc;
}

static int set_rows(NndCuda *c, const Part *p, NndError *err)
{
    int64_t batch = p->entry->batch;

    return up(c, c->at[ROOM_ROWS], p->call->row + p->from * batch, p->n * batch * (int64_t)sizeof *p->call->row, "row numbers", err);
}

static int set_control(NndCuda *c, const Part *p, NndError *err)
{
    const NndCall *call = p->call;
    const NndTrain *t = c->image->train;
    NndControl *to = &c->control;
    int rc = 0;

    to->row = c->at[ROOM_ROWS];
    to->metric = c->at[ROOM_FIGURES];
    to->index = 0;
    to->step = call->step + p->from;
    to->steps = call->steps;
    to->epoch = call->epoch;
    to->seed = call->seed;
    for (int i = 0; t && i < t->nscalar; i++)
        to->scalar[i] = call->scalar ? call->scalar[i] : t->scalar[i].value;
    switch ((NndEntryKind)p->entry->kind) {
    case NND_INIT:  break;
    case NND_TRAIN:
    case NND_EVAL:
        if (!(rc = set_fields(c, p, err)))
            rc = set_rows(c, p, err);
        break;
    case NND_INFER: rc = set_ports(c, p, err); break;
    }
    return rc ? rc : up(c, c->at[ROOM_CONTROL], to, sizeof *to, "the control block", err);
}

static int down(NndCuda *c, void *to, uint64_t from, int64_t nbytes, NndError *err)
{
    return nbytes ? cuda_failed(c, c->driver.download(to, from, (size_t)nbytes, c->stream), err, "results") : 0;
}

static int get_results(NndCuda *c, const Part *p, NndError *err)
{
    const NndImage *im = c->image;
    int64_t nmetric = im->train ? im->train->nmetric : 0, batch = p->entry->batch;
    bool has_figures = p->entry->kind == NND_TRAIN || p->entry->kind == NND_EVAL;
    int rc = 0;

    if (has_figures && p->call->metric_out)
        rc = down(c, p->call->metric_out + p->from * nmetric, c->at[ROOM_FIGURES], p->n * nmetric * (int64_t)sizeof(double), err);
    for (int i = 0; p->entry->kind == NND_INFER && i < im->noutput && !rc; i++) {
        int64_t each = cuda_row_bytes(&im->output[i]);

        rc = down(c, (char *)p->call->out[i] + p->from * batch * each, c->port[im->ninput + i], p->n * batch * each, err);
    }
    return rc;
}

/* As many batches of what remains as there is room for. */
static int64_t part_size(const NndCuda *c, const NndEntry *e, int64_t rest)
{
    int64_t most = 1;

    switch ((NndEntryKind)e->kind) {
    case NND_INIT:  break;
    case NND_TRAIN:
    case NND_EVAL:  most = c->most_rows / e->batch < NND_CHUNK ? c->most_rows / e->batch : NND_CHUNK; break;
    case NND_INFER: most = c->port_rows / e->batch; break;
    }
    return rest < most ? rest : most;
}

/* The entry's code, and the host's state if it is newer. */
static int begin(NndCuda *c, const NndEntry *e, NndError *err)
{
    int rc = cuda_failed(c, c->driver.context_use(c->context), err, "context");

    c->running = (NndEntryKind)e->kind;
    if (!rc)
        rc = cuda_ready(c, &c->entry[e - c->image->entry], err);
    if (!rc && c->host_newer)
        rc = up(c, c->at[ROOM_STATE], c->host_state, c->nbytes[ROOM_STATE], "the state", err);
    if (!rc)
        c->host_newer = false;
    return rc;
}

/* ---- times ---- */

static int note(NndCuda *c, void *event, NndError *err) { return cuda_failed(c, c->driver.event_record(event, c->stream), err, "an event"); }

/* Every launch of a batch between two events of its own; ms: of each row of the table. */
static int launch_noted(NndCuda *c, const CudaEntry *e, void **event, double *ms, NndError *err)
{
    int64_t n = 0;
    float took;
    int rc = 0;

    for (int i = 0, end; i < e->nlaunch; i = end) {
        end = scan_end(e, i);
        for (int64_t turn = 0; turn < e->launch[i].row->steps; turn++)
            for (int k = i; k < end; k++, n++)
                if ((rc = note(c, event[2 * n], err)) || (rc = launch_kernel(c, &e->launch[k], turn, err))
                    || (rc = note(c, event[2 * n + 1], err)))
                    return rc;
    }
    if ((rc = launch_advance(c, err)) || (rc = cuda_failed(c, c->driver.stream_wait(c->stream), err, "a kernel")))
        return rc;
    n = 0;
    for (int i = 0, end; i < e->nlaunch && !rc; i = end) {
        end = scan_end(e, i);
        for (int64_t turn = 0; turn < e->launch[i].row->steps; turn++)
            for (int k = i; k < end && !rc; k++, n++) {
                rc = cuda_failed(c, c->driver.event_ms(&took, event[2 * n], event[2 * n + 1]), err, "the time of a kernel");
                ms[k] += took;
            }
    }
    return rc;
}

static int run_noted(NndCuda *c, const CudaEntry *e, double *ms, NndError *err)
{
    int64_t n = 2 * e->count, made = 0;
    void **event = calloc((size_t)n + 1, sizeof *event);
    int rc = event ? 0 : nnd_fail(err, NND_E_MEMORY, "out of memory for %lld events", (long long)n);

    while (!rc && made < n)
        if (!(rc = cuda_failed(c, c->driver.event_new(&event[made], 0), err, "an event")))
            made++;
    if (!rc)
        rc = launch_noted(c, e, event, ms, err);
    while (made > 0)
        c->driver.event_free(event[--made]);
    free(event);
    return rc;
}

int nnd_cuda_times(NndCuda *c, const NndEntry *e, const NndCall *call, double *ms, NndError *err)
{
    Part p = { .entry = e, .call = call, .n = 1 };
    CudaEntry *own = &c->entry[e - c->image->entry];
    int rc = begin(c, e, err);

    for (int i = 0; i < own->nlaunch; i++)
        ms[i] = 0;
    if (!rc && !(rc = set_control(c, &p, err)))
        rc = run_noted(c, own, ms, err);
    c->device_newer = true;
    return rc;
}

int nnd_cuda_run(NndCuda *c, const NndEntry *e, const NndCall *call, NndError *err)
{
    CudaEntry *own = &c->entry[e - c->image->entry];
    int rc = begin(c, e, err);

    for (int64_t done = 0, some; done < call->nbatch && !rc; done += some) {
        Part p = { .entry = e, .call = call, .from = done };

        some = p.n = part_size(c, e, call->nbatch - done);
        if (some < 1)
            return nnd_fail(err, NND_E_ARG, "a batch of %lld rows is more than the session has room for", (long long)e->batch);
        if (!(rc = set_control(c, &p, err)) && !(rc = run_batches(c, own, some, err))
            && !(rc = get_results(c, &p, err)))
            rc = cuda_failed(c, c->driver.stream_wait(c->stream), err, "waiting");
    }
    if (e->kind == NND_INIT || e->kind == NND_TRAIN)
        c->device_newer = true;
    return rc;
}
