/* fuzz_npz.c - any bytes as an NPZ file: a column whose elements are all there, or an error with a sentence. */
#define _GNU_SOURCE
#include "runtime/column.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const part[] = { "x" };
    static const NndSource source = { .format = NND_NPZ, .part = part, .npart = 1 };
    static const NndField field = { .name = "x", .dtype = NND_F64, .rank = 1, .dim = { 2 } };
    char path[64];
    int fd = file_of(data, n, path);
    NndError err = { 0 };
    NndNames names = { 0 };
    NndArray a;
    NndColumn c = { .path = path, .field = &field, .source = &source, .nfield = 1, .names = &names, .out = &a, .err = &err };

    if (!nnd_column_read(&c)) {
        if (a.dtype != NND_F64 || a.rank != 2 || a.dim[0] < 1 || a.dim[1] != 2 || a.nbytes != 16 * a.dim[0])
            abort();
    } else if (!err.code || !err.text[0] || a.data) {
        abort();
    }
    nnd_array_free(&a);
    close(fd);
    return 0;
}
