/* gpu_rig.h - a plan's PTX on the stand-in driver of ptxrun (NND_PTXRUN: its folder) against the walker of ir/walk.c.
 *
 * The driver checks what a GPU would not: every access against its own buffer, races, barriers, memory that nobody wrote.
 */
#ifndef NND_TESTS_GPU_RIG_H
#define NND_TESTS_GPU_RIG_H

#include <dlfcn.h>

#include "tests/unit/cpu_rig.h"

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

static inline void gpu_upload(GpuDriver *d, const Rig *r, GpuMemory *g)
{
    g->host = (NndControl){ .step = 7, .steps = 20, .epoch = 3, .seed = 0x123456789abcdefu };
    g->state = gpu_copy(d, r->code.state, (size_t)module_state_bytes(r->m));
    g->scratch = gpu_copy(d, r->code.scratch, (size_t)(r->p->scratch_bytes + 63) / 64 * 64);
    g->host.row = gpu_copy(d, r->row, (size_t)(r->p->batch * RIG_BATCHES) * 4);
    g->host.metric = gpu_copy(d, r->code.metric, sizeof r->code.metric);
    for (int i = 0; i < RIG_SLOTS; i++)
        g->host.scalar[i] = r->scalar[3 + i];
    for (int i = 0; i < r->p->nbuf; i++) {
        const Buffer *b = &r->p->buf[i];
        size_t        n = (size_t)(b->count * dt_bytes(b->dtype)) * (b->seg == SEG_FIELD ? RIG_ROWS : RIG_BATCHES);

        if (b->seg == SEG_FIELD || b->seg == SEG_INPUT)
            g->host.field[b->offset] = gpu_copy(d, r->field[b->offset], n);
        else if (b->seg == SEG_OUTPUT)
            g->host.out[b->offset] = gpu_copy(d, r->code.out[b->offset], n);
    }
    g->control = gpu_copy(d, &g->host, sizeof g->host);
}

static inline void gpu_take(GpuDriver *d, uint64_t *p, void *to, size_t n)
{
    if (to && n)
        assert_int_equal(d->down(to, *p, n), 0);
    d->release(*p);
}

static inline void gpu_download(GpuDriver *d, const Rig *r, GpuMemory *g)
{
    gpu_take(d, &g->state, r->code.state, (size_t)module_state_bytes(r->m));
    gpu_take(d, &g->scratch, r->code.scratch, (size_t)(r->p->scratch_bytes + 63) / 64 * 64);
    gpu_take(d, &g->host.metric, (void *)r->code.metric, sizeof r->code.metric);
    for (int i = 0; i < r->p->nbuf; i++) {
        const Buffer *b = &r->p->buf[i];

        if (b->seg == SEG_OUTPUT)
            gpu_take(d, &g->host.out[b->offset], r->code.out[b->offset], (size_t)(b->count * dt_bytes(b->dtype)) * RIG_BATCHES);
        else if (b->seg == SEG_FIELD || b->seg == SEG_INPUT)
            d->release(g->host.field[b->offset]);
    }
    d->release(g->host.row);
    d->release(g->control);
}

static inline void gpu_launch(GpuDriver *d, void *module, const NndLaunch *l, GpuMemory *g, uint32_t turn)
{
    void *function, *param[4 + 64] = { &g->state, &g->scratch, &g->control, &turn };

    assert_int_equal(d->find(&function, module, l->kernel), 0);
    for (int i = 0; i < l->nplace; i++)
        param[4 + i] = (void *)&l->place[i];
    assert_int_equal(d->launch(function, l->grid[0], l->grid[1], l->grid[2], l->block, 1, 1, l->shared_bytes, NULL, param, NULL), 0);
}

/* The launches of a batch: those of a scan as often as it has steps. */
static inline void gpu_batch(GpuDriver *d, void *module, const NndGpuEntry *e, GpuMemory *g)
{
    NndLaunch advance = { .kernel = "nnd_advance", .grid = { 1, 1, 1 }, .block = 1 };
    void     *function, *param[1] = { &g->control };

    for (int i = 0, end; i < e->nlaunch; i = end) {
        for (end = i + 1; e->launch[i].scan && end < e->nlaunch && e->launch[end].scan == e->launch[i].scan; end++)
            ;
        for (int64_t turn = 0; turn < e->launch[i].steps; turn++)
            for (int j = i; j < end; j++)
                gpu_launch(d, module, &e->launch[j], g, (uint32_t)turn);
    }
    assert_int_equal(d->find(&function, module, advance.kernel), 0);
    assert_int_equal(d->launch(function, 1, 1, 1, 1, 1, 1, 0, NULL, param, NULL), 0);
}

static inline void gpu_run(GpuDriver *d, Rig *r, const BackendOptions *o)
{
    char      why[512] = "";
    NndImage *im = backend_nvptx.load(r->m, o, why, sizeof why);
    GpuMemory g;
    void     *module;

    if (!im)
        fail_msg("%s", why);
    assert_int_equal(d->init(0), 0);
    if (d->load(&module, im->gpu->ptx))
        fail_msg("%s", im->gpu->ptx);
    gpu_upload(d, r, &g);
    for (int i = 0; i < RIG_BATCHES; i++)
        gpu_batch(d, module, &im->gpu->entry[0], &g);
    gpu_download(d, r, &g);
    assert_int_equal(d->unload(module), 0);
    if (d->nwarning && *d->nwarning)
        fail_msg("%d warnings of ptxrun in:\n%s", *d->nwarning, im->gpu->ptx);
    backend_nvptx.unload(im);
}

/* The plan of the text, on the stand-in and walked, does the same, bit for bit. */
static inline void gpu_same(GpuDriver *d, Rig *r, const char *text, const BackendOptions *o)
{
    rig_open(r, text);
    gpu_run(d, r, o);
    for (int i = 0; i < RIG_BATCHES; i++)
        rig_walk_batch(r, i);
    rig_compare_all(r);
    rig_close(r);
}

#endif
