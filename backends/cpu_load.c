/* cpu_load.c - plans made into code in this process, each entry on its own.
 *
 * Making code takes longer than all that comes before it, and what a run calls first is a part of it.  So load starts
 * threads that compile the entries in their order, an LLVM context each, and returns; meanwhile the caller can read its
 * data.  An entry that is called and that no thread has begun is made by its caller; one that is being made is waited for.
 * With one processor there are no threads: what is never called is never made, and nothing competes with the first step.
 */
#define _GNU_SOURCE
#include "backends/cpu_load.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "backends/cpu.h"
#include "backends/cpu_jit.h"
#include "backends/cpu_target.h"

enum { MAX_THREADS = 8 };

typedef int Run(const NndImage *, const NndEntry *, const NndCall *);

typedef struct Loader {
    Module         *m;
    BackendOptions  options;
    CpuJit         *jit;
    pthread_t       thread[MAX_THREADS];
    int             nthread;
    pthread_mutex_t lock;
    pthread_cond_t  some_done;
    /* under the lock */
    bool           *taken, *done;
    Run           **run;           /* NULL once done: it failed, which is a fault of ours (nnd dump --after asm tells it) */
} Loader;

static Run *make_entry(Loader *l, int i, char *why, size_t nwhy)
{
    Arena mem = { 0 };
    const char *symbol = cpu_entry_symbol(&mem, l->m->plan[i]);
    LlvmTimes times = { 0 };
    LLVMMemoryBufferRef object = cpu_object(l->m, i, &l->options, &times, why, nwhy);
    double start = llvm_clock_ms();
    Run *run = NULL;

    if (object && cpu_jit_add(l->jit, object, why, nwhy))
        run = (Run *)cpu_jit_find(l->jit, symbol, why, nwhy);
    times.link_ms = llvm_clock_ms() - start;
    if (l->options.times)
        llvm_tell_times(l->options.times, symbol, &times);
    arena_free(&mem);
    return run;
}

/* Takes entry i and makes it; the lock is held before and after, but not meanwhile. */
static void take_entry(Loader *l, int i)
{
    char why[512] = "";
    Run *run;

    l->taken[i] = true;
    pthread_mutex_unlock(&l->lock);
    run = make_entry(l, i, why, sizeof why);
    pthread_mutex_lock(&l->lock);
    l->run[i] = run;
    l->done[i] = true;
    pthread_cond_broadcast(&l->some_done);
}

static void *make_entries(void *of)
{
    Loader *l = of;

    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < l->m->ngraph; i++)
        if (!l->taken[i])
            take_entry(l, i);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* What every entry of the image runs first, and always: a lock a call costs nothing beside its batches. */
static int run_when_done(const NndImage *im, const NndEntry *e, const NndCall *call)
{
    Loader *l = im->priv;
    ptrdiff_t i = e - im->entry;
    Run *run;

    pthread_mutex_lock(&l->lock);
    if (!l->taken[i])
        take_entry(l, (int)i);
    while (!l->done[i])
        pthread_cond_wait(&l->some_done, &l->lock);
    run = l->run[i];
    pthread_mutex_unlock(&l->lock);
    return run ? run(im, e, call) : NND_E_DEVICE;
}

/* Those that this process may use; one if there are more than a set of them holds. */
static int processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

/* A thread for each processor but the caller's, which has data to read meanwhile.  Fewer are no error. */
static void start_threads(Loader *l)
{
    int want = processors() - 1;

    want = want > MAX_THREADS ? MAX_THREADS : want;
    want = want > l->m->ngraph ? l->m->ngraph : want;
    while (l->nthread < want && !pthread_create(&l->thread[l->nthread], NULL, make_entries, l))
        l->nthread++;
}

static void loader_free(Loader *l)
{
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < l->m->ngraph; i++)
        l->taken[i] = true;          /* what no one has begun no one will need */
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->nthread; i++)
        pthread_join(l->thread[i], NULL);
    if (l->jit)
        cpu_jit_close(l->jit);
    pthread_cond_destroy(&l->some_done);
    pthread_mutex_destroy(&l->lock);
    free(l->taken);
    free(l->done);
    free(l->run);
    free(l);
}

static Loader *loader_new(Module *m, const BackendOptions *o)
{
    Loader *l = calloc(1, sizeof *l);

    if (!l || !(l->taken = calloc((size_t)m->ngraph + 1, sizeof *l->taken)) ||
        !(l->done = calloc((size_t)m->ngraph + 1, sizeof *l->done)) ||
        !(l->run = calloc((size_t)m->ngraph + 1, sizeof *l->run)))
        abort();
    l->m = m;
    l->options = *o;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->some_done, NULL);
    return l;
}

static bool runs_here(const BackendOptions *o, char *why, size_t nwhy)
{
    CpuTarget t;
    bool yes;

    if (!cpu_target_open(&t, o, why, nwhy))
        return false;
    yes = t.runs_here;
    if (!yes)
        snprintf(why, nwhy, "code for %s cannot run on this machine", t.name);
    cpu_target_close(&t);
    return yes;
}

NndImage *cpu_image_load(Module *m, const BackendOptions *o, char *why, size_t nwhy)
{
    Loader *l = loader_new(m, o);
    NndImage *im;

    if (!runs_here(o, why, nwhy) || !(l->jit = cpu_jit_open(o->blas, why, nwhy))) {
        loader_free(l);
        return NULL;
    }
    im = image_new(m);
    im->priv = l;
    for (int i = 0; i < im->nentry; i++)
        ((NndEntry *)&im->entry[i])->run = run_when_done;      /* the image's own memory, constant only to its users */
    start_threads(l);
    return im;
}

void cpu_image_unload(NndImage *im)
{
    loader_free(im->priv);
    image_free(im);
}
