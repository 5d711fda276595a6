/* csv.c - columns of a text file of cells: numbers, or texts that name classes.
 *
 *   cell, "quoted, cell with ""quotes"" and line ends", cell
 *
 * Lines end with LF or CRLF; one without any character is passed over.  Every record has as many cells as the first.
 * Y. Shafranovich, RFC 4180, "Common format and MIME type for comma-separated values (CSV) files", 2005.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/column.h"

/* text: unquoted in its place, with a zero behind it; line and column: of its first character, from 1 */
typedef struct Cell { char *text; int64_t line, column; } Cell;

typedef struct Csv {
    NndColumn *c;
    char      *text, *at, *end, *line_begin;
    int64_t    line;
    Cell      *cell; int ncell, ccell;         /* of the record that was read last */
    int        nwant;                          /* cells of the first record */
    int       *which;                          /* the field's columns */
    int32_t   *code; int64_t ccode;            /* classes: of each row, before they are in order */
    int64_t    nrow, crow;
} Csv;

/* ---- records ---- */

static int unquote(Csv *v, Cell *cell)
{
    char *to = ++v->at;

    cell->text = to;
    for (; v->at < v->end; v->at++) {
        if (*v->at == '"' && v->at + 1 < v->end && v->at[1] == '"') {
            v->at++;
        } else if (*v->at == '"') {
            v->at++;
            if (v->at < v->end && *v->at == '\r' && (v->at + 1 == v->end || v->at[1] == '\n'))
                v->at++;
            if (v->at < v->end && *v->at != ',' && *v->at != '\n')
                break;
            *to = 0;
            return 0;
        } else if (*v->at == '\n') {
            v->line++;
            v->line_begin = v->at + 1;
        }
        *to++ = *v->at;
    }
    if (v->at == v->end)
        return nnd_fail(v->c->err, NND_E_FORMAT, "%s:%lld:%lld: a quoted cell that does not end", v->c->path,
                        (long long)cell->line, (long long)cell->column);
    return nnd_fail(v->c->err, NND_E_FORMAT, "%s:%lld:%lld: wanted a comma or the end of the line behind a quoted cell",
                    v->c->path, (long long)v->line, (long long)(v->at - v->line_begin + 1));
}

/* Up to the comma or line end that ends it, which *ending tells; the place of the latter may get the cell's zero. */
static int read_cell(Csv *v, char *ending)
{
    Cell *cell = &v->cell[v->ncell++];
    int rc;

    *cell = (Cell){ v->at, v->line, v->at - v->line_begin + 1 };
    if (v->at < v->end && *v->at == '"') {
        if ((rc = unquote(v, cell)))
            return rc;
    } else {
        while (v->at < v->end && *v->at != ',' && *v->at != '\n')
            v->at++;
    }
    *ending = v->at < v->end ? *v->at : '\n';
    if (*ending == '\n' && v->at > cell->text && v->at[-1] == '\r')
        v->at[-1] = 0;
    if (v->at <= v->end)
        *v->at = 0;
    if (v->at < v->end)
        v->at++;
    if (*ending == '\n') {
        v->line++;
        v->line_begin = v->at;
    }
    return 0;
}

static bool grow(void **p, int64_t *cap, int64_t n, size_t each)
{
    int64_t more = *cap ? *cap : 16;
    void *grown;

    while (more < n)
        more *= 2;
    if (*p && more == *cap)
        return true;
    if (!(grown = realloc(*p, (size_t)more * each)))
        return false;
    *p = grown;
    *cap = more;
    return true;
}

static int out_of_memory(Csv *v)
{
    return nnd_fail(v->c->err, NND_E_MEMORY, "%s: out of memory for its cells", v->c->path);
}

static void skip_empty(Csv *v)
{
    while (v->at < v->end && (*v->at == '\n' || (*v->at == '\r' && (v->at + 1 == v->end || v->at[1] == '\n')))) {
        v->at += *v->at == '\r' && v->at + 1 < v->end ? 2 : 1;
        v->line++;
        v->line_begin = v->at;
    }
}

/* The next record into v->cell; ncell is 0 at the end. */
static int next_record(Csv *v)
{
    char ending = ',';
    int rc;

    v->ncell = 0;
    skip_empty(v);
    if (v->at == v->end)
        return 0;
    while (ending == ',') {
        int64_t cap = v->ccell;

        if (!grow((void **)&v->cell, &cap, v->ncell + 1, sizeof *v->cell) || cap > INT32_MAX / 2)
            return out_of_memory(v);
        v->ccell = (int)cap;
        if ((rc = read_cell(v, &ending)))
            return rc;
    }
    if (!v->nwant)
        v->nwant = v->ncell;
    if (v->ncell != v->nwant)
        return nnd_fail(v->c->err, NND_E_FORMAT, "%s:%lld: wanted %d cells, as the first line has, found %d", v->c->path,
                        (long long)v->cell[0].line, v->nwant, v->ncell);
    return 0;
}

/* ---- columns ---- */

static int by_name(Csv *v, const char *name, int *which)
{
    char known[256] = "";
    size_t at = 0;

    for (*which = 0; *which < v->ncell; ++*which)
        if (!strcmp(v->cell[*which].text, name))
            return 0;
    for (int i = 0; i < v->ncell && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", v->cell[i].text);
    return nnd_fail(v->c->err, NND_E_DATA, "%s: no column is called `%s`; its first line has: %s", v->c->path, name, known);
}

static int by_number(Csv *v, const char *number, int *which)
{
    *which = atoi(number);
    return *which < v->ncell ? 0 : nnd_fail(v->c->err, NND_E_DATA, "%s: wanted a column %s, counted from 0, found %d columns",
                                            v->c->path, number, v->ncell);
}

/* After the first record, which has the names if columns go by them. */
static int find_columns(Csv *v)
{
    const NndSource *s = v->c->source;
    int rc = 0;

    if (!(v->which = calloc((size_t)s->npart + 1, sizeof *v->which)))
        return out_of_memory(v);
    for (int i = 0; i < s->npart && !rc; i++)
        rc = s->number ? by_number(v, s->part[i], &v->which[i]) : by_name(v, s->part[i], &v->which[i]);
    return rc;
}

/* ---- values ---- */

/* Spaces around a number are none of it. */
static char *trimmed(const Cell *cell)
{
    char *text = cell->text, *end;

    while (isspace((unsigned char)*text))
        text++;
    for (end = text + strlen(text); end > text && isspace((unsigned char)end[-1]); )
        *--end = 0;
    return text;
}

static int wrong_cell(Csv *v, const Cell *cell, const char *wanted)
{
    char found[48];

    nnd_in_text(found, sizeof found, cell->text, strlen(cell->text));
    return nnd_fail(v->c->err, NND_E_DATA, "%s:%lld:%lld: wanted %s for field %s, found %s%s%s", v->c->path,
                    (long long)cell->line, (long long)cell->column, wanted, v->c->field->name, *found ? "`" : "an empty cell",
                    found, *found ? "`" : "");
}

static bool read_whole(const char *text, int64_t *x)
{
    char *end;

    errno = 0;
    *x = strtoll(text, &end, 10);
    return *text && !*end && !errno;
}

static int set_number(Csv *v, int64_t i, const Cell *cell)
{
    NndDtype d = (NndDtype)v->c->field->dtype;
    char wanted[40], *text = trimmed(cell), *end;
    int64_t whole;
    double x;

    if (d != NND_F32 && d != NND_F64) {
        snprintf(wanted, sizeof wanted, "a whole number that %s holds", nnd_dtype_name(d));
        return read_whole(text, &whole) && nnd_column_set(v->c, i, whole) ? 0 : wrong_cell(v, cell, wanted);
    }
    x = strtod(text, &end);
    if (!*text || *end || !isfinite(x))
        return wrong_cell(v, cell, "a number");
    if (d == NND_F32)
        ((float *)v->c->out->data)[i] = (float)x;
    else
        ((double *)v->c->out->data)[i] = x;
    return 0;
}

static int set_class(Csv *v, const Cell *cell)
{
    NndNames *names = v->c->names;
    int at = names->settled ? nnd_names_find(names, cell->text) : nnd_names_add(names, cell->text);
    char wanted[64];

    if (at < 0 && names->settled) {
        snprintf(wanted, sizeof wanted, "one of the %d classes known", names->n);
        return wrong_cell(v, cell, wanted);
    }
    if (at < 0)
        return nnd_fail(v->c->err, NND_E_DATA, "%s: field %s has too many different texts for classes", v->c->path,
                        v->c->field->name);
    if (!grow((void **)&v->code, &v->ccode, v->nrow + 1, sizeof *v->code))
        return out_of_memory(v);
    v->code[v->nrow] = at;
    return 0;
}

/* The first row tells whether a column of whole numbers has them as numbers or as names of classes. */
static bool has_classes(Csv *v)
{
    const NndField *f = v->c->field;
    NndNames *names = v->c->names;
    int64_t x;

    if (f->rank || f->dtype == NND_F32 || f->dtype == NND_F64)
        return false;
    if (v->nrow || names->in_use)
        return names->in_use;
    names->in_use = nnd_names_find(names, v->cell[v->which[0]].text) >= 0 || !read_whole(trimmed(&v->cell[v->which[0]]), &x);
    return names->in_use;
}

static int set_row(Csv *v)
{
    NndArray *a = v->c->out;
    int64_t width = v->c->source->npart, each = nnd_dtype_bytes((NndDtype)v->c->field->dtype) * width;
    int rc = 0;

    if (v->nrow == INT32_MAX)
        return nnd_fail(v->c->err, NND_E_FORMAT, "%s: wanted at most %d rows, found more", v->c->path, INT32_MAX);
    if (has_classes(v)) {
        rc = set_class(v, &v->cell[v->which[0]]);
    } else {
        if (!grow(&a->data, &v->crow, v->nrow + 1, (size_t)each))
            return out_of_memory(v);
        for (int64_t j = 0; j < width && !rc; j++)
            rc = set_number(v, v->nrow * width + j, &v->cell[v->which[j]]);
    }
    v->nrow++;
    return rc;
}

/* ---- the file ---- */

/* Classes get their numbers: in order, if it is here that they are met first. */
static int number_classes(Csv *v)
{
    NndNames *names = v->c->names;
    int32_t *to = NULL;
    int rc;

    if ((rc = nnd_column_fits(v->c)) || (rc = nnd_column_alloc(v->c, v->nrow)))
        return rc;
    if (!names->settled && !nnd_names_sort(names, &to))
        return out_of_memory(v);
    for (int64_t i = 0; i < v->nrow; i++)
        nnd_column_set(v->c, i, to ? to[v->code[i]] : v->code[i]);
    names->settled = true;
    free(to);
    return 0;
}

static int finish(Csv *v)
{
    const NndField *f = v->c->field;
    NndArray *a = v->c->out;

    if (!v->nrow)
        return nnd_fail(v->c->err, NND_E_FORMAT, "%s: wanted at least one row, found none", v->c->path);
    if (v->code)
        return number_classes(v);
    a->dtype = f->dtype;
    a->rank = (uint8_t)(f->rank + 1);
    a->dim[0] = v->nrow;
    memcpy(a->dim + 1, f->dim, (size_t)f->rank * sizeof *f->dim);
    a->nbytes = v->nrow * v->c->source->npart * nnd_dtype_bytes((NndDtype)f->dtype);
    return 0;
}

static int read_records(Csv *v)
{
    int rc = next_record(v);

    if (rc)
        return rc;
    if (!v->ncell)
        return nnd_fail(v->c->err, NND_E_FORMAT, "%s: wanted lines of cells, found none", v->c->path);
    if ((rc = find_columns(v)) || (v->c->source->number && (rc = set_row(v))))
        return rc;
    while (!(rc = next_record(v)) && v->ncell)
        if ((rc = set_row(v)))
            return rc;
    return rc ? rc : finish(v);
}

int nnd_column_csv(NndColumn *c)
{
    Csv v = { .c = c, .line = 1 };
    int64_t n;
    int rc;

    if (!(v.text = nnd_in_whole(c->path, &n, c->err)))
        return c->err->code;
    v.at = v.line_begin = v.text + (n >= 3 && !memcmp(v.text, "\xEF\xBB\xBF", 3) ? 3 : 0);     /* UTF-8's mark */
    v.end = v.text + n;
    if (memchr(v.text, 0, (size_t)n))
        rc = nnd_fail(c->err, NND_E_FORMAT, "%s: wanted a text, found a zero byte", c->path);
    else if (!(rc = nnd_names_given(c->names, c->field, c->err)))
        rc = read_records(&v);
    free(v.code);
    free(v.which);
    free(v.cell);
    free(v.text);
    return rc;
}
