/* cuda_driver.c - NVIDIA's driver, opened when it is asked for: a machine without it loses nothing. */
#include "runtime/cuda_driver.h"

#include <dlfcn.h>
#include <string.h>

enum { COMPUTE_CAPABILITY_MAJOR = 75, COMPUTE_CAPABILITY_MINOR = 76 };

typedef struct Wanted { const char *name; void **at; bool needed; } Wanted;

/* Older drivers have this function as well, so that a message can tell how old they are. */
static void ask_version(NndDriver *d)
{
    if (d->driver_version && d->driver_version(&d->version))
        d->version = 0;
}

static int too_old(NndDriver *d, const char *missing, NndError *err)
{
    ask_version(d);
    if (!d->version)
        return nnd_fail(err, NND_E_DEVICE, "libcuda.so.1 has no %s: the driver is too old (CUDA 11.4 is needed)", missing);
    return nnd_fail(err, NND_E_DEVICE, "libcuda.so.1 has no %s: the driver, of CUDA %d.%d, is too old (11.4 is needed)", missing,
                    d->version / 1000, d->version % 1000 / 10);
}

static int find_functions(NndDriver *d, NndError *err)
{
    const Wanted want[] = {
#define NEEDED(member, name, arguments) { #name, (void **)&d->member, true },
#define GRAPHS(member, name, arguments) { #name, (void **)&d->member, false },
#include "runtime/cuda_driver.def"
    };
    const char *missing = NULL;

    d->has_graphs = true;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        *want[i].at = dlsym(d->library, want[i].name);
        if (*want[i].at)
            continue;
        if (want[i].needed && !missing)
            missing = want[i].name;
        d->has_graphs = d->has_graphs && want[i].needed;
    }
    return missing ? too_old(d, missing, err) : 0;
}

const char *nnd_driver_text(const NndDriver *d, int result)
{
    const char *text = NULL;

    return d->error_text(result, &text) == CUDA_WELL && text ? text : "unknown error";
}

static int start(NndDriver *d, NndError *err)
{
    int result = d->init(0);

    ask_version(d);
    if (!result)
        result = d->device_count(&d->ndevice);
    if (!result || result == CUDA_NO_DEVICE)
        return 0;
    return nnd_fail(err, NND_E_DEVICE, "the NVIDIA driver does not start: %s (%d)", nnd_driver_text(d, result), result);
}

/* A library that is there, but can't be loaded, is another matter than none. */
static int no_library(NndError *err)
{
    const char *why = dlerror();

    if (!why || strstr(why, "No such file"))
        return nnd_fail(err, NND_E_DEVICE, "libcuda.so.1 not found (install the NVIDIA driver)");
    return nnd_fail(err, NND_E_DEVICE, "libcuda.so.1 cannot be loaded: %s", why);
}

int nnd_driver_open(NndDriver *d, NndError *err)
{
    int rc;

    *d = (NndDriver){ .library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) };
    if (!d->library)
        return no_library(err);
    if ((rc = find_functions(d, err)) || (rc = start(d, err)))
        nnd_driver_close(d);
    return rc;
}

void nnd_driver_close(NndDriver *d)
{
    if (d->library)
        dlclose(d->library);
    *d = (NndDriver){ 0 };
}

int nnd_driver_device(const NndDriver *d, int number, int *device, int *sm, NndError *err)
{
    int major = 0, minor = 0, result;

    if (!d->ndevice)
        return nnd_fail(err, NND_E_DEVICE, "cuda:%d: the driver (CUDA %d.%d) finds no device", number, d->version / 1000,
                        d->version % 1000 / 10);
    if (number < 0 || number >= d->ndevice)
        return nnd_fail(err, NND_E_DEVICE, "cuda:%d: there is no such device, only cuda:0%s%.0d", number,
                        d->ndevice > 1 ? " to cuda:" : "", d->ndevice - 1);
    if ((result = d->device_get(device, number)) || (result = d->device_attribute(&major, COMPUTE_CAPABILITY_MAJOR, *device))
        || (result = d->device_attribute(&minor, COMPUTE_CAPABILITY_MINOR, *device)))
        return nnd_fail(err, NND_E_DEVICE, "cuda:%d: %s (%d)", number, nnd_driver_text(d, result), result);
    *sm = 10 * major + minor;
    return 0;
}
