/* pool.c - parallel loops on threads of our own.
 *
 * A step of a small model is a dozen loops of some microseconds each, so what counts is how soon a loop begins on the
 * other cores and how soon it is known to be over.  Each worker has one word, alone in its cache line with the piece
 * it is about; every change of the word is one atomic exchange, and who made it owns the piece until the next:
 *
 *     IDLE -> POSTED      by the caller: here is a piece           POSTED -> TAKEN    by the worker
 *     POSTED -> IDLE      by the caller: took it back, does it itself
 *     TAKEN -> IDLE       by the worker: done
 *     IDLE -> ASLEEP      by the worker: waited for long           ASLEEP -> POSTED   by the caller, and wakes it
 *     TAKEN -> AWAITED    by the caller: waited for long           AWAITED -> IDLE    by the worker, and wakes it
 *
 * Taking back is what makes it good on a busy machine: a loop never waits for a worker that has not begun, so more
 * threads than cores, or workers still asleep, cost little more than running the loop alone.
 *
 * Pieces depend on the loop and the number of threads alone, and iterations are independent: who runs a piece
 * doesn't show in the results.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/nnd.h"

enum { IDLE, POSTED, TAKEN, ASLEEP, AWAITED, QUIT };

enum {
    LINE = 128,              /* bytes; caches fetch lines of 64 in pairs */
    SPIN_NS = 50000,         /* longer than what lies between two loops of a step, shorter than anyone minds */
    CROWDED_NS = 2000,       /* where others need the core */
    LOOKS = 64               /* at the word, between two at the clock */
};

typedef struct Worker {
    _Alignas(LINE) _Atomic uint32_t word;
    NndKernel     *kernel;
    const NndStep *step;
    int64_t        first, last;
    int64_t        spin_ns;
    pthread_t      thread;
} Worker;

struct NndPool {
    NndPar  par;             /* first: run finds its pool by it */
    int     nworker;
    int64_t spin_ns;
    Worker  worker[];
};

/* ---- waiting ---- */

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t look(Worker *w) { return atomic_load_explicit(&w->word, memory_order_acquire); }

static uint32_t change(Worker *w, uint32_t to) { return atomic_exchange_explicit(&w->word, to, memory_order_acq_rel); }

static bool change_if(Worker *w, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong_explicit(&w->word, &from, to, memory_order_acq_rel, memory_order_acquire);
}

/* Returns at once if the word is no longer that; also returns for no reason, so callers look again. */
static void sleep_while(Worker *w, uint32_t word)
{
    syscall(SYS_futex, &w->word, FUTEX_WAIT_PRIVATE, word, NULL, NULL, 0);
}

static void wake(Worker *w) { syscall(SYS_futex, &w->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }

/* Until the word is another, but not for longer than some microseconds; then sleeps, which the word `asleep` tells. */
static void wait_while(Worker *w, uint32_t word, uint32_t asleep)
{
    int64_t end = 0;

    do {
        for (int i = 0; i < LOOKS; i++) {
            if (look(w) != word)
                return;
            relax();
        }
        end = end ? end : now_ns() + w->spin_ns;
    } while (now_ns() < end);
    if (!change_if(w, word, asleep))
        return;
    while (look(w) == asleep)
        sleep_while(w, asleep);
}

/* ---- loops ---- */

static void *work(void *arg)
{
    Worker *w = arg;

    for (;;) {
        wait_while(w, IDLE, ASLEEP);
        if (look(w) == QUIT)
            return NULL;
        if (!change_if(w, POSTED, TAKEN))
            continue;
        w->kernel(w->step, w->first, w->last);
        if (change(w, IDLE) == AWAITED)
            wake(w);
    }
}

static void post(Worker *w, NndKernel *k, const NndStep *s, int64_t first, int64_t last)
{
    w->kernel = k;
    w->step = s;
    w->first = first;
    w->last = last;
    if (change(w, POSTED) == ASLEEP)
        wake(w);
}

/* Pieces differ by at most one iteration; the last, one of the shorter, is the caller's: it has posting to do too. */
static void run(const NndPar *par, NndKernel *k, const NndStep *s, int64_t n)
{
    NndPool *p = (NndPool *)par;
    int64_t piece = p->nworker + 1 < n ? p->nworker + 1 : n, first = 0;
    int posted = piece > 0 ? (int)piece - 1 : 0;

    if (n <= 0)
        return;
    for (int i = 0; i < posted; i++) {
        int64_t last = first + n / piece + (i < n % piece);

        post(&p->worker[i], k, s, first, last);
        first = last;
    }
    k(s, first, n);
    for (int i = 0; i < posted; i++)
        if (change_if(&p->worker[i], POSTED, IDLE))
            k(s, p->worker[i].first, p->worker[i].last);
    for (int i = 0; i < posted; i++)
        wait_while(&p->worker[i], TAKEN, AWAITED);
}

/* ---- pools ---- */

int nnd_threads_here(void)
{
    /* Room for 8192 processors, more than any kernel is built for, so the call can't fail for want of it. */
    enum { SETS = 8 };
    cpu_set_t set[SETS];

    memset(set, 0, sizeof set);
    if (sched_getaffinity(0, sizeof set, set))
        return 1;
    return CPU_COUNT_S(sizeof set, set) > 0 ? CPU_COUNT_S(sizeof set, set) : 1;
}

/* Workers take no signals: handlers belong to the program, which raises the stop flag in them. */
static int start_workers(NndPool *p, int n)
{
    sigset_t all, before;
    int fault = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; p->nworker < n; p->nworker++) {
        Worker *w = &p->worker[p->nworker];

        w->spin_ns = p->spin_ns;
        fault = pthread_create(&w->thread, NULL, work, w);
        if (fault)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return fault;
}

NndPool *nnd_pool_open(int threads, NndError *err)
{
    NndPool *p;
    size_t nbytes;
    int fault;

    if (threads < 1 || threads > NND_MAX_THREADS) {
        nnd_fail(err, NND_E_ARG, "threads: wants 1 to %d, got %d", NND_MAX_THREADS, threads);
        return NULL;
    }
    nbytes = sizeof *p + (size_t)(threads - 1) * sizeof(Worker);
    p = aligned_alloc(LINE, (nbytes + LINE - 1) / LINE * LINE);
    if (!p) {
        nnd_fail(err, NND_E_MEMORY, "threads: no memory for %d", threads);
        return NULL;
    }
    memset(p, 0, nbytes);
    p->par.run = run;
    p->spin_ns = threads <= nnd_threads_here() ? SPIN_NS : CROWDED_NS;
    fault = start_workers(p, threads - 1);
    if (fault) {
        nnd_fail(err, NND_E_MEMORY, "threads: cannot start number %d of %d: %s", p->nworker + 2, threads,
                 strerror(fault));
        nnd_pool_close(p);
        return NULL;
    }
    return p;
}

const NndPar *nnd_pool_par(const NndPool *pool) { return pool && pool->nworker ? &pool->par : NULL; }

void nnd_pool_close(NndPool *pool)
{
    if (!pool)
        return;
    for (int i = 0; i < pool->nworker; i++)
        if (change(&pool->worker[i], QUIT) == ASLEEP)
            wake(&pool->worker[i]);
    for (int i = 0; i < pool->nworker; i++)
        pthread_join(pool->worker[i].thread, NULL);
    free(pool);
}
