/* count_alloc.c - preloaded into a program: counts its allocations, and writes how many there were at its end.
 *
 * A run of three epochs that allocates as often as a run of one allocates nothing in an epoch.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_long calls;

void *malloc(size_t n)
{
    static void *(*next)(size_t);

    if (!next)
        next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    calls++;
    return next(n);
}

void *realloc(void *p, size_t n)
{
    static void *(*next)(void *, size_t);

    if (!next)
        next = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    calls++;
    return next(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    static void *(*next)(size_t, size_t);

    if (!next)
        next = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
    calls++;
    return next(align, n);
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("NND_COUNT");
    long seen = calls;
    FILE *f = path ? fopen(path, "w") : NULL;

    if (!f)
        return;
    fprintf(f, "%ld allocations\n", seen);
    fclose(f);
}
