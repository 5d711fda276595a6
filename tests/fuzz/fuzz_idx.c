/* fuzz_idx.c - any bytes as an IDX file, plain or packed: rows of the field asked for, or an error with a sentence.
 *
 * The input's first byte chooses the field.
 */
#define _GNU_SOURCE
#include "tests/fuzz/fuzz.h"

static const NndField field[] = {
    { .name = "image", .dtype = NND_U8, .rank = 2, .dim = { 2, 3 } }, { .name = "label", .dtype = NND_U8 },
    { .name = "index", .dtype = NND_I32, .rank = 1, .dim = { 2 } }, { .name = "x", .dtype = NND_F32 },
    { .name = "y", .dtype = NND_F64, .rank = 1, .dim = { 1 } },
};

static void check_array(const NndArray *a, const NndField *f)
{
    volatile unsigned char sum = 0;
    int64_t nbytes = nnd_dtype_bytes((NndDtype)a->dtype);

    for (int i = 0; i < a->rank; i++)
        nbytes *= a->dim[i];
    if (a->dtype != f->dtype || a->rank != f->rank + 1 || a->nbytes != nbytes)
        abort();
    for (int64_t i = 0; i < nbytes; i++)      /* so that a sanitizer sees all of them */
        sum = (unsigned char)(sum + ((const unsigned char *)a->data)[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const NndField *f = &field[n ? data[0] % (sizeof field / sizeof *field) : 0];
    char path[64];
    int fd = file_of(data + !!n, n - !!n, path);
    NndError err = { 0 };
    NndArray a;

    if (!nnd_idx_read(path, f, &a, &err))
        check_array(&a, f);
    else if (!err.code || !err.text[0] || a.data)
        abort();
    nnd_array_free(&a);
    close(fd);
    return 0;
}
