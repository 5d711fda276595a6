/* fuzz_npy.c - any bytes as an NPY file: an array whose elements are all there, or an error with a sentence. */
#define _GNU_SOURCE
#include "tests/fuzz/fuzz.h"

/* What was read is written and read again: the same array. */
static void check_again(const NndArray *a)
{
    char path[64];
    int fd = file_of(NULL, 0, path);
    NndError err = { 0 };
    NndArray b;

    if (nnd_npy_write(path, (NndDtype)a->dtype, a->rank, a->dim, a->data, &err) || nnd_npy_read(path, &b, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    if (b.dtype != a->dtype || b.rank != a->rank || memcmp(b.dim, a->dim, sizeof b.dim) || b.nbytes != a->nbytes
        || memcmp(b.data, a->data, (size_t)b.nbytes))
        abort();
    nnd_array_free(&b);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[64];
    int fd = file_of(data, n, path);
    NndError err = { 0 };
    NndArray a;

    if (!nnd_npy_read(path, &a, &err))
        check_again(&a);
    else if (!err.code || !err.text[0] || a.data)
        abort();
    nnd_array_free(&a);
    close(fd);
    return 0;
}
