/* fuzz_csv.c - any bytes as a CSV file: numbers, classes by name and by number, or an error with a sentence. */
#define _GNU_SOURCE
#include "runtime/column.h"
#include "tests/fuzz/fuzz.h"

static void read_as(const char *path, const NndSource *source, const NndField *field)
{
    NndError err = { 0 };
    NndNames names = { 0 };
    NndArray a;
    NndColumn c = { .path = path, .field = field, .source = source, .nfield = 1, .names = &names, .out = &a, .err = &err };

    if (nnd_column_read(&c)) {
        if (!err.code || !err.text[0] || a.data)
            abort();
    } else {
        if (a.dim[0] < 1 || a.nbytes != nnd_mul(nnd_in_count(a.rank, a.dim), nnd_dtype_bytes((NndDtype)a.dtype)))
            abort();
        for (int64_t i = 0; names.in_use && i < a.dim[0]; i++)
            if (((int32_t *)a.data)[i] < 0 || ((int32_t *)a.data)[i] >= names.n)
                abort();
    }
    nnd_array_free(&a);
    nnd_names_free(&names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const named[] = { "a", "b" }, *const numbered[] = { "0", "2" };
    static const NndField class = { .name = "y", .dtype = NND_I32 }, pair = { .name = "x", .rank = 1, .dim = { 2 } };
    static const char *const label[] = { "one", "two" };
    static const NndField known = { .name = "y", .dtype = NND_I32, .label = label, .nlabel = 2 };
    char path[64];
    int fd = file_of(data, n, path);

    read_as(path, &(NndSource){ .format = NND_CSV, .part = named, .npart = 2 }, &pair);
    read_as(path, &(NndSource){ .format = NND_CSV, .part = named, .npart = 1 }, &class);
    read_as(path, &(NndSource){ .format = NND_CSV, .part = numbered, .npart = 2, .number = 1 }, &pair);
    read_as(path, &(NndSource){ .format = NND_CSV, .part = numbered, .npart = 1, .number = 1 }, &known);
    close(fd);
    return 0;
}
