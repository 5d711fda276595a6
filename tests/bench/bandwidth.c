/* bandwidth.c - what this machine's memory gives one thread: a[i] = b[i] + s * c[i] over arrays larger than any cache, GB/s of the best of some
 * runs.  24 bytes a line of the loop are counted, as the program STREAM does (J. McCalpin), though a store may read its line as well.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { COUNT = 1 << 25, RUNS = 5 };     /* 256 MB an array */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void)
{
    double *a = malloc(sizeof *a * COUNT), *b = malloc(sizeof *b * COUNT), *c = malloc(sizeof *c * COUNT), best = 0;

    if (!a || !b || !c)
        return 1;
    for (int i = 0; i < COUNT; i++)
        a[i] = 0, b[i] = i, c[i] = 2;
    for (int run = 0; run < RUNS; run++) {
        double begun = now(), s = run + 1, rate;

        for (int i = 0; i < COUNT; i++)
            a[i] = b[i] + s * c[i];
        rate = 24e-9 * COUNT / (now() - begun);
        best = rate > best ? rate : best;
    }
    printf("%.1f GB/s%s\n", best, a[COUNT - 1] > 0 ? "" : "?");
    free(a);
    free(b);
    free(c);
    return 0;
}
