/* list.c - every backend, in the order they are shown. */
#include <string.h>

#include "backends/backend.h"
#include "backends/blas.h"

const Backend *const backend_list[] = { &backend_cpu, &backend_nvptx, &backend_interp, NULL };

const Backend *backend_find(const char *name)
{
    for (int i = 0; backend_list[i]; i++)
        if (!strcmp(backend_list[i]->name, name))
            return backend_list[i];
    return NULL;
}

bool backend_has_blas(const char **why) { return blas_function("cblas_sgemm", why) && blas_function("cblas_dgemm", why); }
