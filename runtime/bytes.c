/* bytes.c - a text file in windows: row i is so many bytes from i * stride on, field j begins j bytes later.
 *
 * characters() numbers the bytes that occur, in the order of their values, so that a model has one class for each.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/column.h"

/* The part of the file that is meant. */
static void part_of(const NndSource *s, int64_t nbytes, int64_t *begin, int64_t *end)
{
    *begin = (int64_t)(s->from * (double)nbytes);
    *end = (int64_t)(s->to * (double)nbytes);
}

int64_t nnd_bytes_rows(NndColumn *c, int64_t nbytes)
{
    int64_t begin, end, need = c->field->dim[0] + c->nfield - 1;

    part_of(c->source, nbytes, &begin, &end);
    if (end - begin < need) {
        nnd_fail(c->err, NND_E_DATA, "%s: wanted at least %lld bytes for a row of %lld fields, found %lld", c->path,
                 (long long)need, (long long)c->nfield, (long long)(end - begin));
        return -1;
    }
    return (end - begin - need) / c->source->stride + 1;
}

/* Whatever part is read, the whole file counts: train and test of one file have the same numbers. */
static int settle(NndColumn *c, const unsigned char *text, int64_t n)
{
    bool there[256] = { false };

    if (c->names->settled)
        return 0;
    for (int64_t i = 0; i < n; i++)
        there[text[i]] = true;
    for (int i = 0; i < 256; i++) {
        char name[8];

        snprintf(name, sizeof name, i >= ' ' && i < 127 ? "%c" : "\\x%02x", i);
        if (there[i] && nnd_names_add(c->names, name) < 0)
            return nnd_fail(c->err, NND_E_MEMORY, "%s: out of memory for its characters", c->path);
    }
    c->names->settled = c->names->in_use = true;
    return nnd_column_fits(c);
}

/* Each byte's number; -1: it has none. */
static void number_bytes(const NndNames *names, int number[256])
{
    for (int i = 0; i < 256; i++) {
        char name[8];

        snprintf(name, sizeof name, i >= ' ' && i < 127 ? "%c" : "\\x%02x", i);
        number[i] = names ? nnd_names_find(names, name) : i;
    }
}

static int fill(NndColumn *c, const unsigned char *text, int64_t begin, int64_t nrow)
{
    int64_t width = c->field->dim[0];
    int number[256];

    number_bytes(c->source->format == NND_CHARACTERS ? c->names : NULL, number);
    for (int64_t i = 0; i < nrow; i++) {
        const unsigned char *from = text + begin + i * c->source->stride + c->source->number;

        for (int64_t j = 0; j < width; j++) {
            if (number[from[j]] < 0)
                return nnd_fail(c->err, NND_E_DATA, "%s: byte %lld is 0x%02x, which does not occur in the file that numbers the "
                                "characters", c->path, (long long)(from + j - text), from[j]);
            nnd_column_set(c, i * width + j, number[from[j]]);
        }
    }
    return 0;
}

int nnd_column_bytes(NndColumn *c)
{
    int64_t n, begin, end, nrow;
    char *text = nnd_in_whole(c->path, &n, c->err);
    int rc;

    if (!text)
        return c->err->code;
    part_of(c->source, n, &begin, &end);
    if ((nrow = nnd_bytes_rows(c, n)) < 0)
        rc = c->err->code;
    else if ((c->source->format != NND_CHARACTERS || !(rc = settle(c, (unsigned char *)text, n)))
             && !(rc = nnd_column_alloc(c, nrow)))
        rc = fill(c, (unsigned char *)text, begin, nrow);
    free(text);
    return rc;
}
