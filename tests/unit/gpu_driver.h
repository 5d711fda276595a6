/* gpu_driver.h - launches on the stand-in driver of ptxrun (NND_PTXRUN: its folder).
 *
 * The driver checks what a GPU would not: every access against its own buffer, races, barriers, memory that nobody wrote.
 */
#ifndef NND_TESTS_GPU_DRIVER_H
#define NND_TESTS_GPU_DRIVER_H

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runtime/abi.h"

typedef struct GpuDriver {
    int (*init)(unsigned);
    int (*load)(void **module, const void *text);
    int (*unload)(void *module);
    int (*find)(void **function, void *module, const char *name);
    int (*alloc)(uint64_t *p, size_t n);
    int (*release)(uint64_t p);
    int (*up)(uint64_t to, const void *from, size_t n);
    int (*down)(void *to, uint64_t from, size_t n);
    int (*launch)(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream,
                  void **param, void **extra);
    const int *nwarning;
} GpuDriver;

/* false: there is no such driver, and the test says why it is left out. */
static inline bool gpu_open(GpuDriver *d)
{
    const char *folder = getenv("NND_PTXRUN");
    char        path[1024];
    void       *lib;

    if (!folder || !*folder)
        return false;
    snprintf(path, sizeof path, "%s/libcuda.so.1", folder);
    if (!(lib = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
        return false;
    *(void **)&d->init = dlsym(lib, "cuInit");
    *(void **)&d->load = dlsym(lib, "cuModuleLoadData");
    *(void **)&d->unload = dlsym(lib, "cuModuleUnload");
    *(void **)&d->find = dlsym(lib, "cuModuleGetFunction");
    *(void **)&d->alloc = dlsym(lib, "cuMemAlloc_v2");
    *(void **)&d->release = dlsym(lib, "cuMemFree_v2");
    *(void **)&d->up = dlsym(lib, "cuMemcpyHtoD_v2");
    *(void **)&d->down = dlsym(lib, "cuMemcpyDtoH_v2");
    *(void **)&d->launch = dlsym(lib, "cuLaunchKernel");
    *(void **)&d->nwarning = dlsym(lib, "ptx_nwarn");
    setenv("PTXRUN_RACE", "1", 1);
    return d->init && d->load && d->unload && d->find && d->alloc && d->release && d->up && d->down && d->launch;
}

/* A copy of n bytes on the device; NULL: of nothing. */
static inline uint64_t gpu_copy(GpuDriver *d, const void *from, size_t n)
{
    uint64_t p = 0;

    assert_int_equal(d->alloc(&p, n ? n : 1), 0);
    if (from && n)
        assert_int_equal(d->up(p, from, n), 0);
    return p;
}

typedef struct GpuMemory { uint64_t state, scratch, control; NndControl host; } GpuMemory;

enum { GPU_PARTS = 64 };

/* A module of the driver for each part of the image's code. */
typedef struct GpuCode { void *module[GPU_PARTS]; int n; char why[512]; } GpuCode;

/* NULL, or what went wrong. */
static inline const char *gpu_load(GpuDriver *d, const NndImage *im, GpuCode *c)
{
    *c = (GpuCode){ .n = 0 };
    assert_true(im->gpu->npart <= GPU_PARTS);
    for (; c->n < im->gpu->npart; c->n++) {
        if (im->gpu->make && im->gpu->make(im, c->n, c->why, sizeof c->why))
            return c->why;
        if (d->load(&c->module[c->n], im->gpu->part[c->n].ptx))
            return im->gpu->part[c->n].ptx;
    }
    return NULL;
}

static inline void gpu_unload(GpuDriver *d, GpuCode *c)
{
    while (c->n > 0)
        assert_int_equal(d->unload(c->module[--c->n]), 0);
}

static inline void gpu_launch(GpuDriver *d, const GpuCode *c, const NndLaunch *l, GpuMemory *g, uint32_t turn)
{
    void *function, *param[4 + 64] = { &g->state, &g->scratch, &g->control, &turn };

    assert_int_equal(d->find(&function, c->module[l->part], l->kernel), 0);
    for (int i = 0; i < l->nplace; i++)
        param[4 + i] = (void *)&l->place[i];
    assert_int_equal(d->launch(function, l->grid[0], l->grid[1], l->grid[2], l->block, 1, 1, l->shared_bytes, NULL, param, NULL), 0);
}

/* The launches of a batch: those of a scan as often as it has steps. */
static inline void gpu_batch(GpuDriver *d, const GpuCode *c, const NndGpuEntry *e, GpuMemory *g)
{
    NndLaunch advance = { .kernel = "nnd_advance", .grid = { 1, 1, 1 }, .block = 1 };
    void     *function, *param[1] = { &g->control };

    for (int i = 0, end; i < e->nlaunch; i = end) {
        for (end = i + 1; e->launch[i].scan && end < e->nlaunch && e->launch[end].scan == e->launch[i].scan; end++)
            ;
        for (int64_t turn = 0; turn < e->launch[i].steps; turn++)
            for (int j = i; j < end; j++)
                gpu_launch(d, c, &e->launch[j], g, (uint32_t)turn);
    }
    assert_int_equal(d->find(&function, c->module[0], advance.kernel), 0);
    assert_int_equal(d->launch(function, 1, 1, 1, 1, 1, 1, 0, NULL, param, NULL), 0);
}

#endif
