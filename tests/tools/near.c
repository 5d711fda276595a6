/* near.c - near WANT.npy FOUND.npy BOUND: are two arrays of floats the same but for BOUND of the larger of 1 and the wanted?
 *
 * f32 and f64 may meet; shapes are equal.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/nnd.h"

static double element(const NndArray *a, int64_t i)
{
    return a->dtype == NND_F64 ? ((const double *)a->data)[i] : ((const float *)a->data)[i];
}

static int compare(const NndArray *want, const NndArray *found, double bound)
{
    int64_t n = 1;

    for (int i = 0; i < want->rank; i++)
        n *= want->dim[i];
    for (int64_t i = 0; i < n; i++) {
        double w = element(want, i), f = element(found, i);

        if (!(fabs(f - w) <= bound * fmax(1, fabs(w)))) {
            fprintf(stderr, "element %lld: wanted %.17g, found %.17g\n", (long long)i, w, f);
            return 1;
        }
    }
    return 0;
}

static int same_shape(const NndArray *a, const NndArray *b)
{
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return 0;
    return a->rank == b->rank;
}

int main(int argc, char **argv)
{
    NndArray a[2] = { 0 };
    NndError err;
    int status = argc == 4 ? 0 : 2;

    for (int i = 0; i < 2 && !status; i++) {
        if (nnd_npy_read(argv[i + 1], &a[i], &err)) {
            fprintf(stderr, "%s\n", err.text);
            status = 2;
        } else if (a[i].dtype != NND_F32 && a[i].dtype != NND_F64) {
            fprintf(stderr, "%s: wanted floats\n", argv[i + 1]);
            status = 2;
        }
    }
    if (!status && !same_shape(&a[0], &a[1])) {
        fprintf(stderr, "%s, %s: shapes differ\n", argv[1], argv[2]);
        status = 1;
    }
    if (!status)
        status = compare(&a[0], &a[1], strtod(argv[3], NULL));
    for (int i = 0; i < 2; i++)
        nnd_array_free(&a[i]);
    return status;
}
