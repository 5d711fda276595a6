/* cmd_devices.c - nnd devices: what this machine has, what nnd uses of it, and why not the rest. */
#include "frontend/nnd.h"
#include "frontend/compile.h"

#include <unistd.h>

enum { MAX_GPUS = 16 };

static void show_cpu(void)
{
    BackendOptions target = { .opt_level = 1 };
    Limits         limits;
    char           device[256] = "", why[256] = "";
    long           pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);

    if (!backend_cpu.probe(&target, &limits, device, sizeof device, why, sizeof why)) {
        printf("cpu       not available: %s\n", why);
        return;
    }
    printf("cpu       %s, %d usable", device, nnd_threads_here());
    if (pages > 0 && page > 0)
        printf(", %.1f GiB", (double)pages * (double)page / (1 << 30));
    puts("  (default)");
}

/* A GPU that someone else has filled up is of no use: so what is free is told as well. */
static void show_gpu(int i, const NndCudaDevice *gpu, int version)
{
    int64_t nfree = nnd_cuda_free(i);
    char    name[16];

    printf("cuda:%-3d  %s, sm_%d, %.1f GiB", i, gpu->name, gpu->sm, (double)gpu->memory_bytes / (1 << 30));
    if (nfree >= 0)
        printf(" (%.1f free)", (double)nfree / (1 << 30));
    printf(", driver CUDA %d.%d%s\n", version / 1000, version % 1000 / 10,
           target_name_gpu(gpu->sm, name, sizeof name) ? "" : "  (not used: too old, no code is made for it)");
}

static void show_cuda(void)
{
    NndCudaDevice gpu[MAX_GPUS];
    NndError      err;
    int           version = 0, n = nnd_cuda_devices(gpu, MAX_GPUS, &version, &err);

    if (n < 0)
        printf("cuda      not available: %s\n", err.text);
    if (n == 0)
        printf("cuda      not available: the driver (CUDA %d.%d) finds no device\n", version / 1000, version % 1000 / 10);
    for (int i = 0; i < n && i < MAX_GPUS; i++)
        show_gpu(i, &gpu[i], version);
}

int cmd_devices(Options *o)
{
    const char *plots = nnd_plot_version();

    (void)o;
    show_cpu();
    show_cuda();
#ifdef __APPLE__
    puts("mps       Metal  (not used: nnd makes no code for it)");
#endif
    printf("images    PGM%s%s\n", nnd_png_version() ? ", PNG by libpng " : " alone: built without libpng",
           nnd_png_version() ? nnd_png_version() : "");
    printf("pictures  %s\n", plots ? plots : "not available: built without cairo");
    return EXIT_WELL;
}
