/* cuda.c - NVIDIA's driver, opened when it is asked for: a machine without it loses nothing.
 *
 * The prototypes are those of the driver API (CUDA Driver API reference, versions 12 and 13).
 */
#include "runtime/cuda.h"

#include <dlfcn.h>
#include <stdio.h>

enum { CUDA_SUCCESS = 0, COMPUTE_CAPABILITY_MAJOR = 75, COMPUTE_CAPABILITY_MINOR = 76 };

typedef int Result;

typedef struct Driver {
    void  *library;
    Result (*init)(unsigned);
    Result (*version)(int *);
    Result (*count)(int *);
    Result (*device)(int *, int);
    Result (*name)(char *, int, int);
    Result (*attribute)(int *, int, int);
    Result (*memory)(size_t *, int);
    Result (*error_text)(Result, const char **);
} Driver;

/* The driver's functions by name; false if one is missing. */
static int find_functions(Driver *d, const char **missing)
{
    const struct { const char *name; void **at; } want[] = {
        { "cuInit", (void **)&d->init }, { "cuDriverGetVersion", (void **)&d->version },
        { "cuDeviceGetCount", (void **)&d->count }, { "cuDeviceGet", (void **)&d->device },
        { "cuDeviceGetName", (void **)&d->name }, { "cuDeviceGetAttribute", (void **)&d->attribute },
        { "cuDeviceTotalMem_v2", (void **)&d->memory }, { "cuGetErrorString", (void **)&d->error_text },
    };

    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (!(*want[i].at = dlsym(d->library, want[i].name))) {
            *missing = want[i].name;
            return 0;
        }
    return 1;
}

static int failed(const Driver *d, Result r, const char *what, char *why, size_t nwhy)
{
    const char *text = NULL;

    if (r == CUDA_SUCCESS)
        return 0;
    if (d->error_text(r, &text) != CUDA_SUCCESS || !text)
        text = "unknown error";
    snprintf(why, nwhy, "%s: %s (%d)", what, text, r);
    return 1;
}

static int describe(const Driver *d, int number, NndCudaDevice *to, char *why, size_t nwhy)
{
    size_t bytes = 0;
    int handle;

    *to = (NndCudaDevice){ 0 };
    if (failed(d, d->device(&handle, number), "cuDeviceGet", why, nwhy)
        || failed(d, d->name(to->name, sizeof to->name, handle), "cuDeviceGetName", why, nwhy)
        || failed(d, d->attribute(&to->major, COMPUTE_CAPABILITY_MAJOR, handle), "cuDeviceGetAttribute", why, nwhy)
        || failed(d, d->attribute(&to->minor, COMPUTE_CAPABILITY_MINOR, handle), "cuDeviceGetAttribute", why, nwhy)
        || failed(d, d->memory(&bytes, handle), "cuDeviceTotalMem", why, nwhy))
        return 0;
    to->memory_bytes = (int64_t)bytes;
    return 1;
}

static int ask(const Driver *d, NndCudaDevice *device, int max, int *version, char *why, size_t nwhy)
{
    int n = 0;

    if (failed(d, d->init(0), "cuInit", why, nwhy) || failed(d, d->version(version), "cuDriverGetVersion", why, nwhy)
        || failed(d, d->count(&n), "cuDeviceGetCount", why, nwhy))
        return -1;
    for (int i = 0; i < n && i < max; i++)
        if (!describe(d, i, &device[i], why, nwhy))
            return -1;
    return n;
}

int nnd_cuda_devices(NndCudaDevice *device, int max, int *driver, char *why, size_t nwhy)
{
    Driver d = { .library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) };
    const char *missing = NULL;
    int n = -1;

    if (!d.library) {
        snprintf(why, nwhy, "libcuda.so.1 not found (install the NVIDIA driver)");
        return -1;
    }
    if (find_functions(&d, &missing))
        n = ask(&d, device, max, driver, why, nwhy);
    else
        snprintf(why, nwhy, "libcuda.so.1 has no %s: the driver is too old", missing);
    dlclose(d.library);
    return n;
}
