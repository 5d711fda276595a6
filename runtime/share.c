/* share.c - a split that takes a share of the rows of train: validation rows without files of their own. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/column.h"

int64_t nnd_share_rows(double share, int64_t n, int split, NndError *err)
{
    int64_t taken = (int64_t)floor(share * (double)n + 0.5);

    if (taken >= 1 && taken < n)
        return taken;
    nnd_fail(err, NND_E_DATA, "the %s split takes %g of %lld rows, which leaves %s", nnd_split_name[split], share, (long long)n,
             taken < 1 ? "it none" : "none to train on");
    return -1;
}

/* Seed and epoch 0 belong to no run's order of rows. */
static char *choose(int64_t n, int64_t taken)
{
    int32_t *row = malloc((size_t)n * sizeof *row);
    char *is_taken = calloc((size_t)n, 1);

    if (row && is_taken) {
        nnd_shuffle(row, n, 0, 0);
        for (int64_t i = 0; i < taken; i++)
            is_taken[row[i]] = 1;
        free(row);
        return is_taken;
    }
    free(row);
    free(is_taken);
    return NULL;
}

/* The rows that stay move up to the front of their own array. */
static bool part_column(NndArray *from, NndArray *to, const char *is_taken, int64_t taken)
{
    int64_t n = from->dim[0], nbytes = from->nbytes / n, kept = 0, moved = 0;
    char *own = malloc((size_t)(taken * nbytes));

    if (!own)
        return false;
    for (int64_t i = 0; i < n; i++) {
        const char *row = (const char *)from->data + i * nbytes;

        if (is_taken[i])
            memcpy(own + moved++ * nbytes, row, (size_t)nbytes);
        else
            memmove((char *)from->data + kept++ * nbytes, row, (size_t)nbytes);
    }
    *to = *from;
    to->data = own;
    to->base = NULL;
    to->dim[0] = taken;
    to->nbytes = taken * nbytes;
    from->dim[0] = kept;
    from->nbytes = kept * nbytes;
    return true;
}

int nnd_share_take(NndData *data, double share, int split, NndError *err)
{
    int64_t n = data->nrow[NND_SPLIT_TRAIN], taken = nnd_share_rows(share, n, split, err);
    char *is_taken;
    bool well = true;

    if (taken < 0)
        return NND_E_DATA;
    if (!(is_taken = choose(n, taken)))
        return nnd_fail(err, NND_E_MEMORY, "out of memory for the numbers of %lld rows", (long long)n);
    for (int i = 0; i < data->nfield && well; i++) {
        well = part_column(&data->column[NND_SPLIT_TRAIN][i], &data->column[split][i], is_taken, taken);
        data->field[split][i] = data->column[split][i].data;
    }
    free(is_taken);
    if (!well)
        return nnd_fail(err, NND_E_MEMORY, "out of memory for the %lld rows of the %s split", (long long)taken,
                        nnd_split_name[split]);
    data->nrow[split] = taken;
    data->nrow[NND_SPLIT_TRAIN] = n - taken;
    return 0;
}
