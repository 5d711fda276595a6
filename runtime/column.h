/* column.h - a field's rows of one split, from a file of any format: what the readers share. */
#ifndef NND_RUNTIME_COLUMN_H
#define NND_RUNTIME_COLUMN_H

#include "runtime/in.h"

/* Texts, or bytes, that have numbers: classes in the order of their numbers.  They are settled by the first split that is
 * read, or by the data block, so that all splits number alike. */
typedef struct NndNames {
    char  **name;
    int     n, cap;
    bool    settled;
    bool    in_use;          /* the rows hold names; else numbers */
} NndNames;

enum { NND_MAX_NAMES = 1 << 16 };

/* nnd_names_find - its number, or -1.  nnd_names_add - its number, added at the end if it is new; -1 without memory or
 * beyond NND_MAX_NAMES.  nnd_names_sort - by bytes; to[old number] is the new one.
 * nnd_names_given - those of the data block, if it has any. */
int  nnd_names_find(const NndNames *names, const char *name);
int  nnd_names_add(NndNames *names, const char *name);
bool nnd_names_sort(NndNames *names, int32_t **to);
int  nnd_names_given(NndNames *names, const NndField *f, NndError *err);
void nnd_names_free(NndNames *names);

typedef struct NndColumn {
    const char      *path;       /* where the source's file was found */
    const NndField  *field;
    const NndSource *source;
    int              nfield;     /* of the data block */
    NndNames        *names;      /* of the field, in all splits */
    NndArray        *out;
    NndError        *err;
} NndColumn;

/* nnd_column_read - all rows into out, which has the field's dtype and shape; after an error it is empty.
 * nnd_column_rows - how many there are, by as little reading as the format allows; -1 with err. */
int     nnd_column_read(NndColumn *c);
int64_t nnd_column_rows(NndColumn *c);

/* Readers of the formats: as nnd_column_read, but leave what out holds after an error to the caller. */
int nnd_column_npz(NndColumn *c);
int nnd_column_csv(NndColumn *c);
int nnd_column_bytes(NndColumn *c);
int nnd_column_images(NndColumn *c);
int64_t nnd_bytes_rows(NndColumn *c, int64_t nbytes);

/* nnd_png_read - a PNG file's pixels: planes of height x width bytes, 1 grey or 3 red, green, blue; other sizes and
 * kinds are NND_E_FORMAT.  Built without libpng: NND_E_DEVICE. */
int nnd_png_read(const char *path, int planes, int64_t height, int64_t width, uint8_t *to, NndError *err);

/* nnd_column_alloc - room for so many rows in out, zero; 1 to 2147483647 of them.  NND_E_DATA, NND_E_MEMORY.
 * nnd_column_set - element i = value; false if the field's dtype, a whole one, has no such value.
 * nnd_column_fits - are the names as few as the model has classes?  Else an error. */
int  nnd_column_alloc(NndColumn *c, int64_t nrow);
bool nnd_column_set(NndColumn *c, int64_t i, int64_t value);
int  nnd_column_fits(NndColumn *c);

/* A file of f32 serves an f64 field: no value is lost. */
bool nnd_dtype_serves(int dtype, NndDtype want);
int  nnd_array_widen(NndArray *a, NndError *err);              /* f32 to f64 */
const char *nnd_shape_text(char *s, size_t n, int rank, const int64_t *dim);      /* "28 x 28", "one number" */

/* nnd_share_rows - how many of n rows a share takes: at least one is taken, at least one is left; -1 with err.
 * nnd_share_take - these rows of train become the split's own, in their order.
 * Which rows depends on n alone, so every run, and eval, has the same ones. */
int64_t nnd_share_rows(double share, int64_t n, int split, NndError *err);
int     nnd_share_take(NndData *data, double share, int split, NndError *err);

#endif
