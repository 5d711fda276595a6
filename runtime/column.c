/* column.c - a field's rows of one split, from a file of any format: from source to an array of the field's type. */
#include <stdlib.h>
#include <string.h>

#include "runtime/column.h"

/* ---- shared ---- */

bool nnd_dtype_serves(int dtype, NndDtype want) { return dtype == (int)want || (dtype == NND_F32 && want == NND_F64); }

const char *nnd_shape_text(char *s, size_t n, int rank, const int64_t *dim)
{
    size_t at = 0;

    for (int i = 0; i < rank && at < n; i++)
        at += (size_t)snprintf(s + at, n - at, "%s%lld", i ? " x " : "", (long long)dim[i]);
    return rank ? s : "one number";
}

int nnd_array_widen(NndArray *a, NndError *err)
{
    int64_t n = a->nbytes / 4, nbytes = nnd_mul(a->nbytes, 2);
    const float *from = a->data;
    double *to = nbytes < 0 ? NULL : malloc((size_t)nbytes);

    if (!to)
        return nnd_fail(err, NND_E_MEMORY, "out of memory: %lld numbers of a data file", (long long)n);
    for (int64_t i = 0; i < n; i++)
        to[i] = from[i];
    free(a->base ? a->base : a->data);
    a->base = NULL;
    a->data = to;
    a->nbytes = nbytes;
    a->dtype = NND_F64;
    return 0;
}

static int check_rows(const NndColumn *c, int64_t n)
{
    return n >= 1 && n <= INT32_MAX ? 0 : nnd_fail(c->err, NND_E_FORMAT, "%s: wanted 1 to %d rows, found %lld", c->path,
                                                   INT32_MAX, (long long)n);
}

int nnd_column_alloc(NndColumn *c, int64_t nrow)
{
    const NndField *f = c->field;
    NndArray *a = c->out;
    int rc = check_rows(c, nrow);

    if (rc)
        return rc;
    *a = (NndArray){ .dtype = f->dtype, .rank = (uint8_t)(f->rank + 1), .dim = { nrow } };
    memcpy(a->dim + 1, f->dim, (size_t)f->rank * sizeof *f->dim);
    a->nbytes = nnd_mul(nnd_in_count(a->rank, a->dim), nnd_dtype_bytes((NndDtype)f->dtype));
    a->data = a->nbytes < 0 ? NULL : calloc((size_t)a->nbytes, 1);
    return a->data ? 0 : nnd_fail(c->err, NND_E_MEMORY, "%s: out of memory for %lld rows", c->path, (long long)nrow);
}

bool nnd_column_set(NndColumn *c, int64_t i, int64_t value)
{
    void *to = c->out->data;

    switch ((NndDtype)c->field->dtype) {
    case NND_U8:   ((uint8_t *)to)[i] = (uint8_t)value; return value >= 0 && value <= UINT8_MAX;
    case NND_BOOL: ((uint8_t *)to)[i] = (uint8_t)value; return value >= 0 && value <= 1;
    case NND_I32:  ((int32_t *)to)[i] = (int32_t)value; return value >= INT32_MIN && value <= INT32_MAX;
    case NND_I64:  ((int64_t *)to)[i] = value; return true;
    case NND_F32:  ((float *)to)[i] = (float)value; return true;
    case NND_F64:  ((double *)to)[i] = (double)value; return true;
    }
    return false;
}

int nnd_column_fits(NndColumn *c)
{
    const NndField *f = c->field;
    int64_t room = f->bound;

    if (f->dtype == NND_U8 && (!room || room > UINT8_MAX + 1))
        room = UINT8_MAX + 1;
    if (!room || c->names->n <= room)
        return 0;
    return nnd_fail(c->err, NND_E_DATA, "%s: wanted at most %lld classes for field %s, as the model has, found %d (`%s`, `%s`, ...)",
                    c->path, (long long)room, f->name, c->names->n, c->names->name[0], c->names->name[1]);
}

/* ---- arrays of a file, which have a type of their own ---- */

static int check_array(NndColumn *c)
{
    const NndField *f = c->field;
    const NndArray *a = c->out;
    char declared[128], found[128];

    if (!nnd_dtype_serves(a->dtype, (NndDtype)f->dtype))
        return nnd_fail(c->err, NND_E_FORMAT, "%s: wanted %s for field %s, found %s", c->path,
                        nnd_dtype_name((NndDtype)f->dtype), f->name, nnd_dtype_name((NndDtype)a->dtype));
    if (a->rank != f->rank + 1 || memcmp(a->dim + 1, f->dim, (size_t)f->rank * sizeof *f->dim))
        return nnd_fail(c->err, NND_E_FORMAT, "%s: wanted rows of %s for field %s, found %s%s", c->path,
                        nnd_shape_text(declared, sizeof declared, f->rank, f->dim), f->name,
                        a->rank ? "" : "a single number, without rows: ",
                        nnd_shape_text(found, sizeof found, a->rank ? a->rank - 1 : 0, a->dim + 1));
    return check_rows(c, a->dim[0]);
}

static int read_array(NndColumn *c)
{
    int rc = c->source->format == NND_NPZ ? nnd_column_npz(c) : nnd_npy_read(c->path, c->out, c->err);

    if (rc || (rc = check_array(c)))
        return rc;
    return c->out->dtype == c->field->dtype ? 0 : nnd_array_widen(c->out, c->err);
}

/* ---- no file ---- */

static int count_rows(NndColumn *c)
{
    int rc = nnd_column_alloc(c, c->source->number);

    for (int64_t i = 0; !rc && i < c->source->number; i++)
        if (!nnd_column_set(c, i, i))
            rc = nnd_fail(c->err, NND_E_DATA, "%s: %s has no number for row %lld of field %s", c->path,
                          nnd_dtype_name((NndDtype)c->field->dtype), (long long)i, c->field->name);
    return rc;
}

/* ---- any ---- */

int nnd_column_read(NndColumn *c)
{
    int rc = 0;

    *c->out = (NndArray){ 0 };
    switch ((NndFormat)c->source->format) {
    case NND_ABSENT:
    case NND_SHARE:      break;
    case NND_IDX:        rc = nnd_idx_read(c->path, c->field, c->out, c->err); break;
    case NND_NPY:
    case NND_NPZ:        rc = read_array(c); break;
    case NND_CSV:        rc = nnd_column_csv(c); break;
    case NND_BYTES:
    case NND_CHARACTERS: rc = nnd_column_bytes(c); break;
    case NND_IMAGES:     rc = nnd_column_images(c); break;
    case NND_ROWS:       rc = count_rows(c); break;
    }
    if (rc)
        nnd_array_free(c->out);
    return rc;
}

static int64_t text_rows(NndColumn *c)
{
    NndIn in;

    if (nnd_in_open(&in, c->path, c->err))
        return -1;
    nnd_in_close(&in);
    return nnd_bytes_rows(c, in.nbytes);
}

int64_t nnd_column_rows(NndColumn *c)
{
    /* how many images there are is what their classes tell without opening one */
    static const NndField number = { .name = "image", .dtype = NND_I32 };
    NndSource classes = *c->source;
    NndColumn counted = *c;
    NndArray all = { 0 };
    int64_t n;

    if (c->source->format == NND_IDX)
        return nnd_idx_rows(c->path, c->field, c->err);
    if (c->source->format == NND_NPY) {
        n = nnd_npy_rows(c->path, c->err);
        return n >= 0 && check_rows(c, n) ? -1 : n;
    }
    if (c->source->format == NND_BYTES || c->source->format == NND_CHARACTERS)
        return text_rows(c);
    if (c->source->format == NND_ROWS)
        return check_rows(c, c->source->number) ? -1 : c->source->number;
    counted.out = &all;
    if (c->source->format == NND_IMAGES) {
        classes.number = 1;
        counted.source = &classes;
        counted.field = &number;
    }
    if (nnd_column_read(&counted))
        return -1;
    n = all.dim[0];
    nnd_array_free(&all);
    return n;
}
