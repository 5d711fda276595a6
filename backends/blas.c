/* blas.c - OpenBLAS, if this machine has it: opened when it is asked for, so that nothing is linked with it. */
#include "backends/blas.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

typedef void SetThreads(int n);

/* POSIX has dlsym return functions as void *, C has no cast for that. */
static BlasFunction *find(void *library, const char *name)
{
    void         *at = dlsym(library, name);
    BlasFunction *f;

    memcpy(&f, &at, sizeof f);
    return f;
}

BlasFunction *blas_function(const char *name, const char **why)
{
    void         *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    BlasFunction *threads, *f;

    *why = "there is no libopenblas.so.0";
    if (!library)
        return NULL;
    *why = "libopenblas.so.0 lacks what nnd calls";
    threads = find(library, "openblas_set_num_threads");
    f = find(library, name);
    if (!threads || !f)
        return NULL;
    ((SetThreads *)threads)(1);
    return f;
}
