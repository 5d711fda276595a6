/* infer_gpu.c - how long nnd_infer takes of a model for a GPU, its rows in memory of this processor, its results as well.
 *
 *     infer_gpu ROWS CALLS INPUT.bin    INPUT.bin: as many rows; prints seconds a call, and a sum of results
 *
 * gpu.sh links it with the model's object, whose image is IMAGE, and the runtime.
 */
#include <stdlib.h>
#include <time.h>

#include "runtime/nnd.h"

enum { WARM = 20 };

extern const NndImage IMAGE;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t row_bytes(const NndField *f)
{
    int64_t n = nnd_dtype_bytes((NndDtype)f->dtype);

    for (int i = 0; i < f->rank; i++)
        n *= f->dim[i];
    return (size_t)n;
}

static int run(NndSession *s, int64_t rows, int calls, const void *in, void *out, NndError *err)
{
    double begun = 0, sum = 0;

    for (int i = -WARM; i < calls; i++) {
        if (i == 0)
            begun = now();
        if (nnd_infer(s, rows, &in, &out, err))
            return 1;
        sum += ((const float *)out)[i & 7];
    }
    printf("%.9g %.9g\n", (now() - begun) / calls, sum);
    return 0;
}

int main(int argc, char **argv)
{
    int64_t    rows = argc == 4 ? atoll(argv[1]) : 0;
    size_t     nin = row_bytes(&IMAGE.input[0]) * (size_t)rows, nout = row_bytes(&IMAGE.output[0]) * (size_t)rows;
    char      *in = malloc(nin), *out = malloc(nout);
    FILE      *f = argc == 4 ? fopen(argv[3], "rb") : NULL;
    NndSession s;
    NndError   err;

    if (!rows || !in || !out || !f || fread(in, nin, 1, f) != 1) {
        fprintf(stderr, "wants ROWS CALLS INPUT.bin, found no such rows\n");
        return 1;
    }
    if (nnd_session_open(&s, &IMAGE, 0, &err) || run(&s, rows, atoi(argv[2]), in, out, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    nnd_session_close(&s);
    fclose(f);
    free(in);
    free(out);
    return 0;
}
