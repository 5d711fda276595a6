/* cuda_load.c - a model's code on a GPU, part by part.
 *
 * Each part is a module of the driver.  What the driver is given is text, which it has to translate, and that text may not be there before
 * the image makes it: both take longer than all else before the first step.  So from when a session is opened threads take the parts in
 * their order, one after the other, while the caller reads its data; an entry that is called waits for its own parts, and its caller makes
 * those that no thread has begun.  With one processor there are no threads, and the code of what is never called is never made.
 *
 * A driver without graphs is taken for one that can't be called by two threads at a time (an interpreter of PTX): then threads make
 * text, and the caller loads it.
 */
#include "runtime/cuda_part.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { JIT_ERROR_LOG = 5, JIT_ERROR_LOG_BYTES = 6 };

/* ---- a part ---- */

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
    void *module = NULL;
    int rc = 0;

    if (!p->cubin || gpu->cubin_sm != c->sm || c->driver.module_load(&module, p->cubin, 0, NULL, NULL))
        rc = load_text(c, p, &module, err);
    if (!rc)
        c->module[i].module = module;
    return rc;
}

static int make(const NndCuda *c, int i, NndError *err)
{
    const NndGpu *gpu = c->image->gpu;
    char why[256] = "";
    int rc = gpu->make ? gpu->make(c->image, i, why, sizeof why) : 0;

    return rc ? nnd_fail(err, rc, "cuda:%d: the model's code can't be made: %s", c->number, why) : 0;
}

/* The lock is held before and after, but not meanwhile. */
static void take(NndCuda *c, int i, bool loads)
{
    CudaModule *m = &c->module[i];

    m->taken = true;
    pthread_mutex_unlock(&c->lock);
    if (!make(c, i, &m->error) && loads)
        load(c, i, &m->error);
    pthread_mutex_lock(&c->lock);
    m->done = true;
    pthread_cond_broadcast(&c->some_done);
}

/* ---- all of them ---- */

static void *work(void *of)
{
    NndCuda *c = of;
    bool loads = c->driver.has_graphs && !c->driver.context_use(c->context);

    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < c->image->gpu->npart && !c->stop; i++)
        if (!c->module[i].taken)
            take(c, i, loads);
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
    pthread_cond_init(&c->some_done, NULL);
    start_threads(c);
    return 0;
}

void cuda_load_end(NndCuda *c)
{
    if (!c->module)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < c->nthread; i++)
        pthread_join(c->thread[i], NULL);
    for (int i = 0; i < c->image->gpu->npart; i++)
        if (c->module[i].module)
            c->driver.module_unload(c->module[i].module);
    pthread_cond_destroy(&c->some_done);
    pthread_mutex_destroy(&c->lock);
    free(c->module);
}

/* What another thread has begun is waited for; a module that no thread may load is loaded here. */
static int end_part(NndCuda *c, int i, NndError *err)
{
    CudaModule *m = &c->module[i];

    pthread_mutex_lock(&c->lock);
    while (!m->done)
        pthread_cond_wait(&c->some_done, &c->lock);
    pthread_mutex_unlock(&c->lock);
    if (!m->error.code && !m->module)
        load(c, i, &m->error);
    if (m->error.code && err)
        *err = m->error;
    return m->error.code;
}

int cuda_load_entry(NndCuda *c, const CudaEntry *e, NndError *err)
{
    int rc;

    pthread_mutex_lock(&c->lock);
    for (int i = -1; i < e->nlaunch; i++) {
        int part = i < 0 ? 0 : e->launch[i].row->part;

        if (!c->module[part].taken)
            take(c, part, true);
    }
    pthread_mutex_unlock(&c->lock);
    rc = end_part(c, 0, err);
    for (int i = 0; i < e->nlaunch && !rc; i++)
        rc = end_part(c, e->launch[i].row->part, err);
    return rc;
}
