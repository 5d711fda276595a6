/* parity_gpu.h - a module's graphs run a fourth way: as PTX through the driver (gpu_driver.h). */
#ifndef NND_TESTS_PARITY_GPU_H
#define NND_TESTS_PARITY_GPU_H

#include <unistd.h>

#include "tests/unit/gpu_driver.h"
#include "tests/unit/parity.h"

typedef struct ParityGpu { GpuDriver driver; NndImage *image; GpuCode code; } ParityGpu;

/* After parity_compile for 0 lanes.  NULL, or what went wrong. */
static inline const char *parity_gpu_open(ParityGpu *g, const Parity *p)
{
    static char    why[512];
    BackendOptions target = { .cpu = "sm_80", .opt_level = 1 };

    if (!(g->image = backend_nvptx.load(p->m, &target, why, sizeof why)))
        return why;
    return gpu_load(&g->driver, g->image, &g->code);
}

/* From p->start to p->state. */
static inline void parity_gpu_run(ParityGpu *g, Parity *p, int i)
{
    size_t    nstate = (size_t)module_state_bytes(p->m), nscratch = (size_t)p->m->plan[i]->scratch_bytes;
    double    metric[4];
    GpuMemory memory = { .host = { .step = PARITY_STEP, .steps = 1, .epoch = 1, .seed = PARITY_SEED } };

    memory.state = gpu_copy(&g->driver, p->start, nstate);
    memory.scratch = gpu_copy(&g->driver, NULL, nscratch);
    memory.host.metric = gpu_copy(&g->driver, NULL, sizeof metric);
    memory.control = gpu_copy(&g->driver, &memory.host, sizeof memory.host);
    gpu_batch(&g->driver, &g->code, &g->image->gpu->entry[i], &memory);
    gpu_fetch(&g->driver, p->state, memory.state, nstate);
    g->driver.cuda.memory_free(memory.state);
    g->driver.cuda.memory_free(memory.scratch);
    g->driver.cuda.memory_free(memory.host.metric);
    g->driver.cuda.memory_free(memory.control);
}

static inline void parity_gpu_close(ParityGpu *g)
{
    gpu_unload(&g->driver, &g->code);
    if (g->image)
        backend_nvptx.unload(g->image);
}

/* ptxas takes the module's code for the generation: its exit status, 127 if there is no ptxas. */
static inline int parity_ptxas(const Module *m, const char *sm)
{
    BackendOptions target = { .cpu = sm, .opt_level = 1 };
    char           why[512] = "", path[] = "/tmp/nnd-rows-XXXXXX", command[256];
    int            fd = mkstemp(path), status;
    FILE          *f = fd < 0 ? NULL : fdopen(fd, "w");

    assert_non_null(f);
    if (!backend_nvptx.emit((Module *)m, &target, EMIT_PTX, f, why, sizeof why))
        fail_msg("%s: %s", sm, why);
    assert_int_equal(fclose(f), 0);
    snprintf(command, sizeof command, "PATH=\"$PATH:/usr/local/cuda/bin\" && command -v ptxas >/dev/null || exit 127; ptxas -O1 -arch=%s -o /dev/null %s", sm, path);
    status = system(command);
    unlink(path);
    return status < 0 ? status : status >> 8;
}

#endif
