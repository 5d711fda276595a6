/* gpu_rig.h - a plan's PTX through the driver (gpu_driver.h) against the walker of ir/walk.c. */
#ifndef NND_TESTS_GPU_RIG_H
#define NND_TESTS_GPU_RIG_H

#include "tests/unit/cpu_rig.h"
#include "tests/unit/gpu_driver.h"

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
        gpu_fetch(d, to, *p, n);
    d->cuda.memory_free(*p);
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
            d->cuda.memory_free(g->host.field[b->offset]);
    }
    d->cuda.memory_free(g->host.row);
    d->cuda.memory_free(g->control);
}

static inline void gpu_run(GpuDriver *d, Rig *r, const BackendOptions *o)
{
    char      why[512] = "";
    NndImage *im = backend_nvptx.load(r->m, o, why, sizeof why);
    const char *fault;
    GpuMemory g;
    GpuCode   code;

    if (!im)
        fail_msg("%s", why);
    if ((fault = gpu_load(d, im, &code)))
        fail_msg("%s", fault);
    gpu_upload(d, r, &g);
    for (int i = 0; i < RIG_BATCHES; i++)
        gpu_batch(d, &code, &im->gpu->entry[0], &g);
    gpu_download(d, r, &g);
    gpu_unload(d, &code);
    if (d->nwarning && *d->nwarning)
        fail_msg("%d warnings of ptxrun in:\n%s", *d->nwarning, im->gpu->part[0].ptx);
    backend_nvptx.unload(im);
}

/* The plan of the text, on the device and walked, does the same, bit for bit. */
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
