/* gpu_driver.h - launches through NVIDIA's driver API, for tests: on ptxrun's stand-in, or on a GPU.
 *
 * NND_PTXRUN is the stand-in's folder.  It checks what a GPU would not: every access against its own buffer, races, barriers,
 * memory that nobody wrote.  With NND_GPU=real a test runs on the first device of the machine's own driver instead, and fails
 * if there is none.
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
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_driver.h"

typedef struct GpuDriver {
    NndDriver  cuda;
    int        device;
    const int *nwarning;         /* of the stand-in; NULL: a GPU gives none */
} GpuDriver;

/* The stand-in's library, once it is in memory, is the libcuda.so.1 that is found by that name. */
static inline bool gpu_load_standin(void)
{
    const char *folder = getenv("NND_PTXRUN");
    char        path[1024];

    if (!folder || !*folder)
        return false;
    snprintf(path, sizeof path, "%s/libcuda.so.1", folder);
    setenv("PTXRUN_RACE", "1", 1);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static inline bool gpu_is_real(void)
{
    const char *gpu = getenv("NND_GPU");

    return gpu && !strcmp(gpu, "real");
}

/* false: there is no such driver, and a test that wants one is left out.  A context is current afterwards. */
static inline bool gpu_open(GpuDriver *d)
{
    NndError err;
    void    *context;
    int      sm;

    if (!gpu_is_real() && !gpu_load_standin())
        return false;
    if (nnd_driver_open(&d->cuda, &err) || nnd_driver_device(&d->cuda, 0, &d->device, &sm, &err))
        fail_msg("%s", err.text);
    if (d->cuda.context_retain(&context, d->device) || d->cuda.context_use(context))
        fail_msg("the device cannot be used");
    d->nwarning = dlsym(d->cuda.library, "ptx_nwarn");
    return true;
}

static inline void gpu_close(GpuDriver *d)
{
    d->cuda.context_use(NULL);
    d->cuda.context_release(d->device);
    nnd_driver_close(&d->cuda);
}

/* For a test without a driver. */
static inline void gpu_left_out(void)
{
    print_message("# left out: NND_PTXRUN names no folder with ptxrun's libcuda.so.1\n");
    skip();
}

static inline void gpu_well(const GpuDriver *d, int result, const char *what)
{
    if (result)
        fail_msg("%s: %s (%d)", what, nnd_driver_text(&d->cuda, result), result);
}

/* A copy of n bytes on the device; NULL: of nothing. */
static inline uint64_t gpu_copy(GpuDriver *d, const void *from, size_t n)
{
    uint64_t p = 0;

    gpu_well(d, d->cuda.memory_new(&p, n ? n : 1), "memory");
    if (from && n) {
        gpu_well(d, d->cuda.upload(p, from, n, NULL), "a copy to the device");
        gpu_well(d, d->cuda.stream_wait(NULL), "a copy to the device");
    }
    return p;
}

/* Brings n bytes here, of all that was launched; a kernel that failed is told now at the latest. */
static inline void gpu_fetch(GpuDriver *d, void *to, uint64_t from, size_t n)
{
    gpu_well(d, d->cuda.download(to, from, n, NULL), "a copy from the device");
    gpu_well(d, d->cuda.stream_wait(NULL), "a copy from the device");
}

typedef struct GpuMemory { uint64_t state, scratch, control; NndControl host; } GpuMemory;

enum { GPU_PARTS = 64 };

/* A module of the driver for each part of the image's code. */
typedef struct GpuCode { void *module[GPU_PARTS]; int n; char why[2000]; } GpuCode;

/* NULL, or what went wrong: what the compiler of the part says, or the driver's. */
static inline const char *gpu_load(GpuDriver *d, const NndImage *im, GpuCode *c)
{
    enum { LOG = 5, LOG_BYTES = 6 };
    int   option[] = { LOG, LOG_BYTES };
    void *value[] = { c->why, (void *)sizeof c->why };

    *c = (GpuCode){ .why = "the driver refuses the code" };
    assert_true(im->gpu->npart <= GPU_PARTS);
    for (; c->n < im->gpu->npart; c->n++)
        if ((im->gpu->make && im->gpu->make(im, c->n, c->why, sizeof c->why))
            || d->cuda.module_load(&c->module[c->n], im->gpu->part[c->n].ptx, 2, option, value))
            return c->why;
    return NULL;
}

static inline void gpu_unload(GpuDriver *d, GpuCode *c)
{
    while (c->n > 0)
        gpu_well(d, d->cuda.module_unload(c->module[--c->n]), "unload");
}

static inline void gpu_launch(GpuDriver *d, const GpuCode *c, const NndLaunch *l, GpuMemory *g, uint32_t turn)
{
    enum { STATIC_SHARED_BYTES = 48 << 10, MAX_DYNAMIC_SHARED = 8 };
    void *function, *param[4 + 64] = { &g->state, &g->scratch, &g->control, &turn };

    gpu_well(d, d->cuda.module_function(&function, c->module[l->part], l->kernel), l->kernel);
    if (l->shared_bytes > STATIC_SHARED_BYTES)
        gpu_well(d, d->cuda.function_set(function, MAX_DYNAMIC_SHARED, (int)l->shared_bytes), l->kernel);
    for (int i = 0; i < l->nplace; i++)
        param[4 + i] = (void *)&l->place[i];
    gpu_well(d, d->cuda.launch(function, l->grid[0], l->grid[1], l->grid[2], l->block, 1, 1, l->shared_bytes, NULL, param, NULL), l->kernel);
    gpu_well(d, d->cuda.stream_wait(NULL), l->kernel);
}

/* The launches of a batch: those of a scan as often as it has steps. */
static inline void gpu_batch(GpuDriver *d, const GpuCode *c, const NndGpuEntry *e, GpuMemory *g)
{
    void *function, *param[1] = { &g->control };

    for (int i = 0, end; i < e->nlaunch; i = end) {
        for (end = i + 1; e->launch[i].scan && end < e->nlaunch && e->launch[end].scan == e->launch[i].scan; end++)
            ;
        for (int64_t turn = 0; turn < e->launch[i].steps; turn++)
            for (int j = i; j < end; j++)
                gpu_launch(d, c, &e->launch[j], g, (uint32_t)turn);
    }
    gpu_well(d, d->cuda.module_function(&function, c->module[0], "nnd_advance"), "nnd_advance");
    gpu_well(d, d->cuda.launch(function, 1, 1, 1, 1, 1, 1, 0, NULL, param, NULL), "nnd_advance");
    gpu_well(d, d->cuda.stream_wait(NULL), "nnd_advance");
}

#endif
