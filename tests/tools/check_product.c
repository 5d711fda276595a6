/* check_product.c - check_product A.npy B.npy C.npy: is C the product of A and B?  All f32 [n, n].
 *
 * The product is computed again in double.  A sum of n products that are rounded to f32 one by one, in any order, differs
 * by at most n * 2^-24 of the sum of their magnitudes.
 */
#include <math.h>
#include <stdio.h>

#include "runtime/nnd.h"

static int product(const NndArray *a, const NndArray *b, const NndArray *c)
{
    const float *x = a->data, *y = b->data, *z = c->data;
    int64_t n = a->dim[0];

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0, size = 0;

            for (int64_t k = 0; k < n; k++) {
                sum += (double)x[i * n + k] * y[k * n + j];
                size += fabs((double)x[i * n + k] * y[k * n + j]);
            }
            if (!(fabs(sum - z[i * n + j]) <= (double)n * size / (1 << 24))) {
                fprintf(stderr, "[%lld, %lld]: wanted %.9g, found %.9g\n", (long long)i, (long long)j, sum, z[i * n + j]);
                return 1;
            }
        }
    return 0;
}

int main(int argc, char **argv)
{
    NndArray m[3] = { 0 };
    NndError err;
    int status = argc != 4;

    for (int i = 0; i < 3 && !status; i++) {
        if (nnd_npy_read(argv[i + 1], &m[i], &err)) {
            fprintf(stderr, "%s\n", err.text);
            status = 2;
        } else if (m[i].dtype != NND_F32 || m[i].rank != 2 || m[i].dim[0] != m[0].dim[0] || m[i].dim[1] != m[0].dim[0]) {
            fprintf(stderr, "%s: wanted f32 [n, n]\n", argv[i + 1]);
            status = 2;
        }
    }
    if (!status)
        status = product(&m[0], &m[1], &m[2]);
    for (int i = 0; i < 3; i++)
        nnd_array_free(&m[i]);
    return status;
}
