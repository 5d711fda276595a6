/* infer.c - the model alone on rows that come contiguous: from inputs, or files of them, to outputs. */
#include <stdlib.h>
#include <string.h>

#include "runtime/nnd.h"

enum { MAX_PORT = 16 };      /* inputs or outputs of a model */

static int64_t row_bytes(const NndField *f)
{
    int64_t n = nnd_dtype_bytes((NndDtype)f->dtype);

    for (int i = 0; i < f->rank; i++)
        n = nnd_mul(n, f->dim[i]);
    return n;
}

/* The largest infer batch of at most n rows. */
static const NndEntry *widest(const NndImage *im, int64_t n)
{
    const NndEntry *best = NULL;

    for (int i = 0; i < im->nentry; i++) {
        const NndEntry *e = &im->entry[i];

        if (e->kind == NND_INFER && e->batch <= n && (!best || e->batch > best->batch))
            best = e;
    }
    return best;
}

int nnd_infer(NndSession *s, int64_t n, const void *const *input, void *const *output, NndError *err)
{
    const NndImage *im = s->image;
    const void *in[MAX_PORT];
    void *out[MAX_PORT];
    int rc;

    if (im->ninput > MAX_PORT || im->noutput > MAX_PORT)
        return nnd_fail(err, NND_E_ARG, "wanted at most %d inputs and outputs, the model has %d and %d", MAX_PORT,
                        im->ninput, im->noutput);
    for (int64_t done = 0, some; done < n; done += some) {
        const NndEntry *e = widest(im, n - done);

        if (!e)
            return nnd_fail(err, NND_E_ARG, "the model was not compiled for a rest of %lld rows", (long long)(n - done));
        some = (n - done) / e->batch * e->batch;
        for (int i = 0; i < im->ninput; i++)
            in[i] = (const char *)input[i] + done * row_bytes(&im->input[i]);
        for (int i = 0; i < im->noutput; i++)
            out[i] = (char *)output[i] + done * row_bytes(&im->output[i]);
        if ((rc = nnd_session_run(s, e, &(NndCall){ .field = in, .out = out, .nbatch = some / e->batch, .step = 1, .steps = 1,
                                                    .epoch = 1 }, err)))
            return rc;
    }
    return 0;
}

/* ---- files ---- */

const char *nnd_field_text(char *text, size_t size, const NndField *f, const char *rows)
{
    int at = snprintf(text, size, "%s[%s", nnd_dtype_name((NndDtype)f->dtype), rows);

    for (int i = 0; i < f->rank && at < (int)size; i++)
        at += snprintf(text + at, size - (size_t)at, "%s%lld", i || *rows ? ", " : "", (long long)f->dim[i]);
    if (at < (int)size)
        snprintf(text + at, size - (size_t)at, "]");
    return text;
}

/* "a.npy,b.npy" in its n parts; *copy is to be freed. */
static int split_list(const char *list, const char *what, int n, char **copy, const char **part, NndError *err)
{
    char *save = NULL;
    int found = 0;

    if (!(*copy = strdup(list)))
        return nnd_fail(err, NND_E_MEMORY, "out of memory for names of files");
    for (char *at = strtok_r(*copy, ",", &save); at; at = strtok_r(NULL, ",", &save), found++)
        if (found < n)
            part[found] = at;
    if (found == n)
        return 0;
    return nnd_fail(err, NND_E_ARG, "%s: wanted %d file%s, joined by commas, found %d", what, n, n == 1 ? "" : "s", found);
}

/* A file's rows are those of the input: [n, ...] of its dtype. */
static int check_input(const char *path, const NndField *f, const NndArray *a, NndError *err)
{
    NndField is = { .dtype = a->dtype, .rank = a->rank < NND_RANK ? a->rank : NND_RANK };
    char want[256], found[256];
    bool fits = a->dtype == f->dtype && a->rank == f->rank + 1
                && !memcmp(a->dim + 1, f->dim, (size_t)f->rank * sizeof *f->dim);

    if (fits && a->dim[0] > 0)
        return 0;
    memcpy(is.dim, a->dim, (size_t)is.rank * sizeof *is.dim);
    return nnd_fail(err, NND_E_DATA, "%s: wanted %s for the input %s%s, found %s%s", path,
                    nnd_field_text(want, sizeof want, f, "n"), f->name, fits ? " with n at least 1" : "",
                    nnd_field_text(found, sizeof found, &is, ""), a->rank > NND_RANK ? " and more" : "");
}

static int read_inputs(const NndImage *im, const char *const *path, NndArray *a, const void **data, NndError *err)
{
    for (int i = 0; i < im->ninput; i++) {
        int rc = nnd_npy_read(path[i], &a[i], err);

        if (rc || (rc = check_input(path[i], &im->input[i], &a[i], err)))
            return rc;
        if (a[i].dim[0] != a[0].dim[0])
            return nnd_fail(err, NND_E_DATA, "%s: wanted %lld rows, as %s has, found %lld", path[i],
                            (long long)a[0].dim[0], path[0], (long long)a[i].dim[0]);
        data[i] = a[i].data;
    }
    return 0;
}

static int write_output(const char *path, const NndField *f, int64_t n, const void *data, NndError *err)
{
    int64_t dim[NND_RANK + 1] = { n };

    memcpy(dim + 1, f->dim, (size_t)f->rank * sizeof *dim);
    return nnd_npy_write(path, (NndDtype)f->dtype, f->rank + 1, dim, data, err);
}

static int predict(NndSession *s, int64_t n, const void *const *in, void **out, const char *const *path, NndError *err)
{
    const NndImage *im = s->image;
    int rc;

    for (int i = 0; i < im->noutput; i++) {
        int64_t nbytes = nnd_mul(n, row_bytes(&im->output[i]));

        if (nbytes < 0 || !(out[i] = malloc((size_t)nbytes + 1)))
            return nnd_fail(err, NND_E_MEMORY, "out of memory for the output %s of %lld rows", im->output[i].name, (long long)n);
    }
    rc = nnd_infer(s, n, in, out, err);
    for (int i = 0; i < im->noutput && !rc; i++)
        rc = write_output(path[i], &im->output[i], n, out[i], err);
    return rc;
}

int nnd_predict_files(NndSession *s, const char *input, const char *output, NndError *err)
{
    const NndImage *im = s->image;
    NndArray a[MAX_PORT] = { 0 };
    const char *from[MAX_PORT], *to[MAX_PORT];
    char *inputs = NULL, *outputs = NULL;
    const void *in[MAX_PORT];
    void *out[MAX_PORT] = { 0 };
    int rc;

    if (im->ninput < 1 || im->ninput > MAX_PORT || im->noutput > MAX_PORT)
        return nnd_fail(err, NND_E_ARG, "wanted 1 to %d inputs and outputs, the model has %d and %d", MAX_PORT, im->ninput,
                        im->noutput);
    if (!(rc = split_list(input, "input", im->ninput, &inputs, from, err))
        && !(rc = split_list(output, "output", im->noutput, &outputs, to, err)) && !(rc = read_inputs(im, from, a, in, err)))
        rc = predict(s, a[0].dim[0], in, out, to, err);
    for (int i = 0; i < im->ninput; i++)
        nnd_array_free(&a[i]);
    for (int i = 0; i < im->noutput; i++)
        free(out[i]);
    free(inputs);
    free(outputs);
    return rc;
}
