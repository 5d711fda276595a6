/* fork_join.c - what it costs to share a loop among threads and to know that it is over.
 *
 * A loop of as many iterations as threads, each of some microseconds, so that all of them take part; what it takes
 * longer than one iteration alone is the cost.  Back to back, and with some work of the caller's own between loops.
 * The best of some tries, since everything that disturbs makes it slower.  Compiled with OpenMP, its own loops stand
 * beside ours.
 *
 * fork_join [THREADS]: 2 if nothing is said.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "runtime/nnd.h"

enum { LOOPS = 2000, TRIES = 50, CELL = 16, PIECE = 2000, OWN = 5000 };

typedef void Fork(const NndPar *par, const NndStep *s, int64_t n);

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* A chain of multiplications: it takes its time wherever it stands, alone or in a piece. */
static uint64_t spend(int turns, uint64_t x)
{
    for (int i = 0; i < turns; i++)
        x = x * 6364136223846793005 + 1442695040888963407;
    return x;
}

/* Each iteration has a cache line of its own. */
static void touch(const NndStep *s, int64_t first, int64_t last)
{
    volatile uint64_t *cell = s->scratch;

    for (int64_t i = first; i < last; i++) {
        cell[i * CELL] = spend(PIECE, cell[i * CELL]);
    }
}

static void one_alone(const NndPar *par, const NndStep *s, int64_t n)
{
    (void)par;
    touch(s, n - 1, n);
}

static void pool_fork(const NndPar *par, const NndStep *s, int64_t n) { par->run(par, touch, s, n); }

#ifdef _OPENMP
static void openmp_fork(const NndPar *par, const NndStep *s, int64_t n)
{
    (void)par;
#pragma omp parallel for num_threads((int)n) schedule(static)
    for (int64_t i = 0; i < n; i++)
        touch(s, i, i + 1);
}
#endif

/* us a loop, with the caller's own work after each. */
static double loop_us(Fork *fork, const NndPar *par, const NndStep *s, int64_t n, int turns)
{
    double best = 1e9;
    volatile uint64_t own = 1;

    for (int t = 0; t < TRIES; t++) {
        double start = now_us(), took;

        for (int i = 0; i < LOOPS; i++) {
            fork(par, s, n);
            own = spend(turns, own);
        }
        took = (now_us() - start) / LOOPS;
        best = took < best ? took : best;
    }
    return best;
}

static void report(const char *who, Fork *fork, const NndPar *par, const NndStep *s, int64_t n)
{
    static const int turns[] = { 0, OWN };

    printf("%-8s", who);
    for (int i = 0; i < 2; i++) {
        double alone = loop_us(one_alone, NULL, s, n, turns[i]);

        printf("  %6.2f us beside %4.1f us", loop_us(fork, par, s, n, turns[i]) - alone, alone);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 2;
    NndError err;
    NndPool *pool = nnd_pool_open(threads, &err);
    uint64_t *cell;
    NndStep s = { 0 };

    if (!pool || !nnd_pool_par(pool)) {
        fprintf(stderr, "fork_join: %s\n", pool ? "wants 2 threads or more" : err.text);
        nnd_pool_close(pool);
        return 2;
    }
    cell = calloc((size_t)threads * CELL, sizeof *cell);
    s.scratch = cell;
    printf("%d threads, %d processors\n", threads, nnd_threads_here());
    report("pool", pool_fork, nnd_pool_par(pool), &s, threads);
    nnd_pool_close(pool);
#ifdef _OPENMP
    report("openmp", openmp_fork, NULL, &s, threads);
#endif
    free(cell);
    return 0;
}
