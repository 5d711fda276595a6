/* npy.c - arrays in NumPy's own file format.
 *
 *   "\x93NUMPY", major, minor, the header's length (2 bytes little-endian in version 1, 4 in 2 and 3), the header:
 *   {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 28, 28), } and spaces, then the elements
 *
 * The header is a Python literal; this reads the one dictionary that the format has, and nothing else of Python.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/in.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and memory is written as it is");

enum {
    MAX_HEADER = 1 << 16,    /* version 1 has no longer ones, and what needs one is no dtype of ours */
    MAX_AXES = NND_RANK + 1
};

static const char *const descr[] = {
    [NND_F32] = "<f4", [NND_F64] = "<f8", [NND_I32] = "<i4", [NND_I64] = "<i8", [NND_U8] = "|u1", [NND_BOOL] = "|b1",
};
enum { NDESCR = sizeof descr / sizeof *descr };

/* ---- the header's text ---- */

typedef struct Header {
    const char *path, *text, *at, *end;
    NndArray   *out;
    NndError   *err;
} Header;

static int unexpected(Header *h, const char *wanted)
{
    char found[32];

    nnd_in_text(found, sizeof found, h->at, (size_t)(h->end - h->at));
    return nnd_fail(h->err, NND_E_FORMAT, "%s: damaged header: wanted %s at its byte %lld, found %s%s%s", h->path,
                    wanted,
                    (long long)(h->at - h->text), h->at < h->end ? "`" : "its end", found, h->at < h->end ? "`" : "");
}

static void skip_space(Header *h)
{
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t' || *h->at == '\r'))
        h->at++;
}

static bool accept(Header *h, char c)
{
    skip_space(h);
    if (h->at == h->end || *h->at != c)
        return false;
    h->at++;
    return true;
}

static bool accept_word(Header *h, const char *word)
{
    size_t n = strlen(word);

    skip_space(h);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, word, n))
        return false;
    h->at += n;
    return true;
}

/* A quoted text without escapes, cut to size; false and nothing read if there is none. */
static bool accept_text(Header *h, char *to, size_t size)
{
    const char *from, *close;

    skip_space(h);
    if (h->at == h->end || (*h->at != '\'' && *h->at != '"'))
        return false;
    from = h->at + 1;
    if (!(close = memchr(from, *h->at, (size_t)(h->end - from))) || memchr(from, '\\', (size_t)(close - from)))
        return false;
    nnd_in_text(to, size, from, (size_t)(close - from));
    h->at = close + 1;
    return true;
}

/* ---- its three entries ---- */

static int read_descr(Header *h)
{
    char found[16];

    if (accept(h, '['))
        return nnd_fail(h->err, NND_E_FORMAT, "%s: wanted elements of one dtype, found records of several", h->path);
    if (!accept_text(h, found, sizeof found))
        return unexpected(h, "a dtype in quotes");
    for (int d = 0; d < NDESCR; d++) {
        /* '=' is the machine's own order, and one byte has none */
        bool order = found[0] == '<' || found[0] == '=' || (found[0] == '|' && descr[d][0] == '|');

        if (order && !strcmp(found + 1, descr[d] + 1)) {
            h->out->dtype = (uint8_t)d;
            return 0;
        }
    }
    return nnd_fail(h->err, NND_E_FORMAT, "%s: wanted one of the dtypes <f4 <f8 <i4 <i8 |u1 |b1, found %s%s", h->path,
                    found, found[0] == '>' ? ", which is big-endian" : "");
}

static int read_order(Header *h)
{
    if (accept_word(h, "False"))
        return 0;
    if (accept_word(h, "True"))
        return nnd_fail(h->err, NND_E_FORMAT,
                        "%s: wanted C order, found Fortran order: save numpy.ascontiguousarray of it",
                        h->path);
    return unexpected(h, "True or False");
}

static int read_size(Header *h, int64_t *n)
{
    int digits = 0;

    skip_space(h);
    for (*n = 0; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++, digits++)
        if (__builtin_mul_overflow(*n, 10, n) || __builtin_add_overflow(*n, *h->at - '0', n))
            return nnd_fail(h->err, NND_E_FORMAT, "%s: its header promises more bytes than can be counted", h->path);
    return digits ? 0 : unexpected(h, "a size");
}

/* (), (3,) or (3, 4, ...) */
static int read_shape(Header *h)
{
    NndArray *out = h->out;
    bool comma = true;
    int rc;

    if (!accept(h, '('))
        return unexpected(h, "a shape in parentheses");
    for (out->rank = 0; !accept(h, ')'); out->rank++) {
        if (!comma)
            return unexpected(h, "`,` or `)`");
        if (out->rank == MAX_AXES)
            return nnd_fail(h->err, NND_E_FORMAT, "%s: wanted at most %d axes, found more", h->path, MAX_AXES);
        if ((rc = read_size(h, &out->dim[out->rank])))
            return rc;
        comma = accept(h, ',');
    }
    return out->rank == 1 && !comma ? unexpected(h, "a tuple, which has a comma even for one axis,") : 0;
}

static int read_entries(Header *h)
{
    static const struct { const char *name; int (*read)(Header *h); } key[] = {
        { "descr", read_descr }, { "fortran_order", read_order }, { "shape", read_shape },
    };
    bool seen[3] = { false };
    int rc;

    if (!accept(h, '{'))
        return unexpected(h, "`{`");
    for (bool comma = true; !accept(h, '}'); comma = accept(h, ',')) {
        char name[32];
        int k = 0;

        if (!comma)
            return unexpected(h, "`,` or `}`");
        if (!accept_text(h, name, sizeof name))
            return unexpected(h, "a name in quotes");
        while (k < 3 && strcmp(name, key[k].name))
            k++;
        if (k == 3 || seen[k])
            return nnd_fail(h->err, NND_E_FORMAT, "%s: wanted descr, fortran_order and shape in its header, found %s%s",
                            h->path, name, k < 3 ? " twice" : "");
        seen[k] = true;
        if (!accept(h, ':'))
            return unexpected(h, "`:`");
        if ((rc = key[k].read(h)))
            return rc;
    }
    for (int k = 0; k < 3; k++)
        if (!seen[k])
            return nnd_fail(h->err, NND_E_FORMAT, "%s: wanted %s in its header, found none", h->path, key[k].name);
    skip_space(h);
    return h->at < h->end ? unexpected(h, "nothing but spaces") : 0;
}

/* ---- files ---- */

/* Where the header begins and ends. */
static int read_magic(const NndIn *in, int64_t *begin, int64_t *end, NndError *err)
{
    unsigned char b[12] = { 0 };
    int64_t n = in->nbytes < 12 ? in->nbytes : 12, length;
    int rc = nnd_in_read(in, 0, b, n, err);

    if (rc)
        return rc;
    if (n < 10 || memcmp(b, "\x93NUMPY", 6))
        return nnd_fail(err, NND_E_FORMAT, "%s: not an NPY file: wanted 93 4e 55 4d 50 59 at its start, found "
                        "%02x %02x %02x %02x %02x %02x in %lld bytes", in->path, b[0], b[1], b[2], b[3], b[4], b[5],
                        (long long)in->nbytes);
    if (b[6] < 1 || b[6] > 3 || b[7])
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted format version 1.0, 2.0 or 3.0, found %d.%d", in->path, b[6],
                        b[7]);
    *begin = b[6] == 1 ? 10 : 12;
    length = b[8] | b[9] << 8;
    if (b[6] > 1)
        length |= (int64_t)b[10] << 16 | (int64_t)b[11] << 24;
    if (length > MAX_HEADER)
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted a header of at most %d bytes, found %lld", in->path, MAX_HEADER,
                        (long long)length);
    *end = *begin + length;
    if (*end > in->nbytes)
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted a header of %lld bytes, found %lld", in->path, (long long)length,
                        (long long)(in->nbytes > *begin ? in->nbytes - *begin : 0));
    return 0;
}

static int read_header(const NndIn *in, int64_t begin, int64_t end, NndArray *out, NndError *err)
{
    char *text = malloc((size_t)(end - begin) + 1);
    Header h = { .path = in->path, .text = text, .at = text, .end = text + (end - begin), .out = out, .err = err };
    int rc;

    if (!text)
        return nnd_fail(err, NND_E_MEMORY, "%s: out of memory for its header", in->path);
    if (!(rc = nnd_in_read(in, begin, text, end - begin, err)))
        rc = read_entries(&h);
    free(text);
    return rc;
}

static int read_elements(const NndIn *in, int64_t at, NndArray *out, NndError *err)
{
    int64_t bad;
    int rc;

    out->nbytes = nnd_mul(nnd_in_count(out->rank, out->dim), nnd_dtype_bytes((NndDtype)out->dtype));
    if (out->nbytes < 0)
        return nnd_fail(err, NND_E_FORMAT, "%s: its header promises more bytes than can be counted", in->path);
    if (out->nbytes != in->nbytes - at)
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted %lld bytes of elements, as its header promises, found %lld",
                        in->path,
                        (long long)out->nbytes, (long long)(in->nbytes - at));
    if (!(out->data = malloc((size_t)out->nbytes + !out->nbytes)))
        return nnd_fail(err, NND_E_MEMORY, "%s: out of memory for %lld bytes of elements", in->path,
                        (long long)out->nbytes);
    if ((rc = nnd_in_read(in, at, out->data, out->nbytes, err)))
        return rc;
    if (out->dtype == NND_BOOL && !nnd_in_bools(out->data, out->nbytes, &bad))
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted 0 or 1 in every bool, found %d in element %lld", in->path,
                        ((unsigned char *)out->data)[bad], (long long)bad);
    return 0;
}

int nnd_npy_read_in(const NndIn *in, NndArray *out, NndError *err)
{
    int64_t begin = 0, end = 0;
    int rc;

    *out = (NndArray){ 0 };
    if (!(rc = read_magic(in, &begin, &end, err)) && !(rc = read_header(in, begin, end, out, err)))
        rc = read_elements(in, end, out, err);
    if (rc)
        nnd_array_free(out);
    return rc;
}

int nnd_npy_read(const char *path, NndArray *out, NndError *err)
{
    NndIn in;
    int rc;

    *out = (NndArray){ 0 };
    if ((rc = nnd_in_open(&in, path, err)))
        return rc;
    rc = nnd_npy_read_in(&in, out, err);
    nnd_in_close(&in);
    return rc;
}

int64_t nnd_npy_rows(const char *path, NndError *err)
{
    int64_t begin = 0, end = 0;
    NndArray head = { 0 };
    NndIn in;
    bool well;

    if (nnd_in_open(&in, path, err))
        return -1;
    well = !read_magic(&in, &begin, &end, err) && !read_header(&in, begin, end, &head, err);
    nnd_in_close(&in);
    if (well && head.rank < 1)
        nnd_fail(err, NND_E_FORMAT, "%s: wanted an array whose first axis counts rows, found one number", path);
    return well && head.rank > 0 ? head.dim[0] : -1;
}

/* Version 1.0; as NumPy does it, the elements begin at a multiple of 64 and the header ends its line. */
static size_t make_header(char *to, size_t size, NndDtype d, int rank, const int64_t *dim)
{
    size_t at = 10, total;

    at += (size_t)snprintf(to + at, size - at, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr[d]);
    for (int i = 0; i < rank; i++)
        at += (size_t)snprintf(to + at, size - at, "%lld%s", (long long)dim[i],
                               rank == 1 ? "," : i < rank - 1 ? ", " : "");
    at += (size_t)snprintf(to + at, size - at, "), }");
    total = (at + 1 + 63) / 64 * 64;
    memset(to + at, ' ', total - at - 1);
    to[total - 1] = '\n';
    memcpy(to, "\x93NUMPY\1\0", 8);
    to[8] = (char)(total - 10);
    to[9] = (char)((total - 10) >> 8);
    return total;
}

int nnd_npy_write(const char *path, NndDtype d, int rank, const int64_t *dim, const void *data, NndError *err)
{
    char header[512];        /* 9 axes of 19 digits need below 256 */
    int64_t nbytes;
    NndOut o;
    int rc;

    if (rank < 0 || rank > MAX_AXES)
        return nnd_fail(err, NND_E_ARG, "%s: wanted at most %d axes, got %d", path, MAX_AXES, rank);
    if ((nbytes = nnd_mul(nnd_in_count(rank, dim), nnd_dtype_bytes(d))) < 0)
        return nnd_fail(err, NND_E_ARG, "%s: wanted sizes that can be counted", path);
    if ((rc = nnd_out_open(&o, path, err)))
        return rc;
    fwrite(header, 1, make_header(header, sizeof header, d, rank, dim), o.f);
    if (nbytes && !ferror(o.f))
        fwrite(data, 1, (size_t)nbytes, o.f);
    return nnd_out_close(&o, err);
}
