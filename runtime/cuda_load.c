/* cuda_load.c - a model's code on a GPU, part by part.
 *
 * Each part is a module of the driver.  What the driver is given is text, which it has to translate, and that text may not be there before
 * the image makes it: both take longer than all else before the first step.  So from when a session is opened threads make the parts in
 * their order, one after the other.  An entry that is called waits for its own parts, which threads then have translated beside each other,
 * and its caller does what no thread has begun.  What nobody calls is not translated: a driver may do that one module at a time, and launches
 * may have to wait for it.  With one processor there are no threads, and the code of what is never called is never made.
 *
 * A driver without graphs is taken for one that can't be called by two threads at a time (an interpreter of PTX): then threads make
 * text, and the caller loads it.
 */
#include "runtime/cuda_part.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { JIT_ERROR_LOG = 5, JIT_ERROR_LOG_BYTES = 6 };

/* ---- a part ---- */

static double clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void tell_time(const NndCuda *c, int i, const char *what, double start)
{
    if (c->how.times)
        fprintf(stderr, "cuda:%d: part %d of %d %s in %.1f ms\n", c->number, i + 1, c->image->gpu->npart, what, clock_ms() - start);
}

/* The first lines of a log, joined to one. */
static void one_line(char *log)
{
    int lines = 0;

    for (char *at = log; *at; at++)
        if (*at == '\n') {
            *at = at[1] && ++lines < 3 ? ' ' : '\0';
            if (!*at)
                return;
        }
}

static int load_text(NndCuda *c, const NndGpuPart *p, void **module, NndError *err)
{
    char log[600] = "";
    int option[] = { JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES }, result;
    void *value[] = { log, (void *)(uintptr_t)(sizeof log - 1) };

    if (!(result = c->driver.module_load(module, p->ptx, 2, option, value)))
        return 0;
    if (result == CUDA_OLD_FOR_PTX)
        return nnd_fail(err, NND_E_DEVICE, "cuda:%d: the driver, of CUDA %d.%d, is too old for the model's PTX: %s", c->number,
                        c->driver.version / 1000, c->driver.version % 1000 / 10, nnd_driver_text(&c->driver, result));
    one_line(log);
    return cuda_failed(c, result, err, "the model's PTX is refused%s%s", *log ? ": " : "", log);
}

/* Code of ptxas is for one sm alone; the driver makes the same of text, in some more time. */
static int load(NndCuda *c, int i, NndError *err)
{
    const NndGpu *gpu = c->image->gpu;
    const NndGpuPart *p = &gpu->part[i];
    double start = clock_ms();
    void *module = NULL;
    int rc = 0;

    if (!p->cubin || gpu->cubin_sm != c->sm || c->driver.module_load(&module, p->cubin, 0, NULL, NULL))
        rc = load_text(c, p, &module, err);
    if (!rc)
        c->module[i].module = module;
    tell_time(c, i, "loaded", start);
    return rc;
}

static int make(const NndCuda *c, int i, NndError *err)
{
    const NndGpu *gpu = c->image->gpu;
    double start = clock_ms();
    char why[256] = "";
    int rc = gpu->make ? gpu->make(c->image, i, why, sizeof why) : 0;

    tell_time(c, i, "made", start);
    return rc ? nnd_fail(err, rc, "cuda:%d: the model's code can't be made: %s", c->number, why) : 0;
}

static void set_stage(NndCuda *c, int i, CudaStage stage)
{
    c->module[i].stage = stage;
    pthread_cond_broadcast(&c->changed);
}

/* What is next for part i, if this thread can do it.  The lock is held before and after, but not meanwhile. */
static bool do_next(NndCuda *c, int i, bool loads)
{
    CudaModule *m = &c->module[i];

    if (m->stage == STAGE_NONE) {
        m->stage = STAGE_MAKING;
        pthread_mutex_unlock(&c->lock);
        make(c, i, &m->error);
        pthread_mutex_lock(&c->lock);
        set_stage(c, i, m->error.code ? STAGE_DONE : STAGE_MADE);
    } else if (m->stage == STAGE_MADE && loads && m->called) {
        m->stage = STAGE_LOADING;
        pthread_mutex_unlock(&c->lock);
        if (!cuda_failed(c, c->driver.context_use(c->context), &m->error, "context"))
            load(c, i, &m->error);
        pthread_mutex_lock(&c->lock);
        set_stage(c, i, STAGE_DONE);
    } else {
        return false;
    }
    return true;
}

/* ---- all of them ---- */

static bool do_first(NndCuda *c, bool loads)
{
    for (int i = 0; i < c->image->gpu->npart; i++)
        if (do_next(c, i, loads))
            return true;
    return false;
}

static bool all_begun(const NndCuda *c, bool loads)
{
    for (int i = 0; i < c->image->gpu->npart; i++)
        if (c->module[i].stage < (loads ? STAGE_LOADING : STAGE_MAKING))
            return false;
    return true;
}

static void *work(void *of)
{
    NndCuda *c = of;
    bool loads = c->driver.has_graphs;

    pthread_mutex_lock(&c->lock);
    while (!c->stop && !all_begun(c, loads))
        if (!do_first(c, loads))
            pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* A thread for each processor but the caller's.  Fewer are no error. */
static void start_threads(NndCuda *c)
{
    int want = nnd_threads_here() - 1;
    sigset_t all, before;

    want = want > CUDA_THREADS ? CUDA_THREADS : want;
    want = want > c->image->gpu->npart ? c->image->gpu->npart : want;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (c->nthread < want && !pthread_create(&c->thread[c->nthread], NULL, work, c))
        c->nthread++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int cuda_load_begin(NndCuda *c, NndError *err)
{
    const NndGpu *gpu = c->image->gpu;

    if (c->sm < gpu->sm)
        return nnd_fail(err, NND_E_DEVICE, "cuda:%d: the model was compiled for sm_%d, the device (%s) is sm_%d", c->number, gpu->sm,
                        c->name, c->sm);
    if (!(c->module = calloc((size_t)gpu->npart, sizeof *c->module)))
        return nnd_fail(err, NND_E_MEMORY, "out of memory for %d modules", gpu->npart);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    start_threads(c);
    return 0;
}

void cuda_load_end(NndCuda *c)
{
    if (!c->module)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < c->nthread; i++)
        pthread_join(c->thread[i], NULL);
    for (int i = 0; i < c->image->gpu->npart; i++)
        if (c->module[i].module)
            c->driver.module_unload(c->module[i].module);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c->module);
}

/* The parts that e needs: the launches' own, and the first. */
static int part_of(const CudaEntry *e, int i) { return i < 0 ? 0 : e->launch[i].row->part; }

static bool do_first_of(NndCuda *c, const CudaEntry *e)
{
    for (int i = -1; i < e->nlaunch; i++)
        if (do_next(c, part_of(e, i), true))
            return true;
    return false;
}

static bool all_done(const NndCuda *c, const CudaEntry *e)
{
    for (int i = -1; i < e->nlaunch; i++)
        if (c->module[part_of(e, i)].stage != STAGE_DONE)
            return false;
    return true;
}

int cuda_load_entry(NndCuda *c, const CudaEntry *e, NndError *err)
{
    const NndError *first = NULL;

    pthread_mutex_lock(&c->lock);
    for (int i = -1; i < e->nlaunch; i++)
        c->module[part_of(e, i)].called = true;
    pthread_cond_broadcast(&c->changed);
    while (!all_done(c, e))
        if (!do_first_of(c, e))
            pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
    for (int i = -1; i < e->nlaunch && !first; i++)
        if (c->module[part_of(e, i)].error.code)
            first = &c->module[part_of(e, i)].error;
    if (first && err)
        *err = *first;
    return first ? (int)first->code : 0;
}
