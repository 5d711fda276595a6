/* idx.c - read IDX files, the format of the MNIST database, plain or packed.
 *
 *   2 bytes 0, 1 byte dtype, 1 byte number of axes, then each axis' size as a big-endian 32-bit number,
 *   then the elements, big-endian, row-major
 *
 * A file is not believed: what its header promises is compared with the bytes that are there before it is allocated.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#ifdef NND_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "runtime/column.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "swap_bytes turns big-endian into what the machine has");

enum {
    PIECE = 1 << 20,         /* bytes asked of zlib at once, and the first allocation for a packed file */
    HUGE_PAGE = 2 << 20,
    MAX_RATIO = 1032         /* deflate packs 258 bytes into two bits at best (zlib, technical details) */
};

/* The third byte of a file.  Two dtypes of the format have no name in a model. */
static const struct { uint8_t code; int8_t dtype; const char *name; } idx_dtype[] = {
    { 0x08, NND_U8, "u8" }, { 0x09, -1, "i8" }, { 0x0B, -1, "i16" },
    { 0x0C, NND_I32, "i32" }, { 0x0D, NND_F32, "f32" }, { 0x0E, NND_F64, "f64" },
};
enum { NIDX = sizeof idx_dtype / sizeof *idx_dtype };

typedef struct Source {
    gzFile          f;
    const char     *path;
    int64_t         nbytes;  /* of the file */
    bool            is_plain;
    const NndField *want;
    NndError       *err;
} Source;

/* ---- bytes ---- */

static int source_open(Source *s)
{
    struct stat st;
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return nnd_fail(s->err, NND_E_FILE, "%s: cannot be read: %s", s->path, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return nnd_fail(s->err, NND_E_FILE, "%s: cannot be read: not a regular file", s->path);
    }
    s->nbytes = st.st_size;
    if (!(s->f = gzdopen(fd, "rb"))) {
        close(fd);
        return nnd_fail(s->err, NND_E_MEMORY, "%s: out of memory for reading it", s->path);
    }
    gzbuffer(s->f, 1 << 17);
    s->is_plain = gzdirect(s->f);
    return 0;
}

/* Up to n bytes; -1 after a reported error. */
static int64_t read_some(Source *s, void *to, int64_t n)
{
    int64_t got = 0;

    while (got < n) {
        int code, r = gzread(s->f, (char *)to + got, n - got > PIECE ? PIECE : (unsigned)(n - got));

        if (r < 0) {
            const char *why = gzerror(s->f, &code), *reason = strstr(why, ": ");    /* "<fd:3>: reason" */

            if (code == Z_ERRNO)
                nnd_fail(s->err, NND_E_FILE, "%s: cannot be read: %s", s->path, strerror(errno));
            else
                nnd_fail(s->err, NND_E_FORMAT, "%s: damaged: %s", s->path, reason ? reason + 2 : why);
            return -1;
        }
        if (r == 0)
            break;
        got += r;
    }
    return got;
}

/* Has a packed stream ended before its own end? */
static bool is_cut_off(Source *s)
{
    int code;

    gzerror(s->f, &code);
    return code == Z_BUF_ERROR;
}

/* ---- header ---- */

static int find_code(unsigned char code)
{
    int k = 0;

    while (k < NIDX && idx_dtype[k].code != code)
        k++;
    return k;
}

static int read_magic(Source *s, NndArray *out)
{
    const NndField *want = s->want;
    unsigned char h[4] = { 0 };
    char shape[128];
    int64_t got = read_some(s, h, 4);
    int k = find_code(h[2]);

    if (got < 0)
        return s->err->code;
    if (got < 4)
        return nnd_fail(s->err, NND_E_FORMAT, "%s: not an IDX file: wanted a header of %d bytes, found %lld", s->path,
                        8 + 4 * want->rank, (long long)got);
    if (h[0] || h[1] || k == NIDX)
        return nnd_fail(s->err, NND_E_FORMAT, "%s: not an IDX file: wanted 00 00 and a dtype's number at its start, "
                        "found %02x %02x %02x %02x", s->path, h[0], h[1], h[2], h[3]);
    if (!nnd_dtype_serves(idx_dtype[k].dtype, (NndDtype)want->dtype))
        return nnd_fail(s->err, NND_E_FORMAT, "%s: wanted %s for field %s, found %s", s->path,
                        nnd_dtype_name((NndDtype)want->dtype), want->name, idx_dtype[k].name);
    if (h[3] != want->rank + 1)
        return nnd_fail(s->err, NND_E_FORMAT, "%s: wanted %d axes for field %s (rows of %s), found %d", s->path,
                        want->rank + 1, want->name, nnd_shape_text(shape, sizeof shape, want->rank, want->dim), h[3]);
    out->dtype = (uint8_t)idx_dtype[k].dtype;
    out->rank = h[3];
    return 0;
}

static int read_sizes(Source *s, NndArray *out)
{
    const NndField *want = s->want;
    char declared[128], found[128];

    for (int i = 0; i < out->rank; i++) {
        unsigned char d[4];
        int64_t got = read_some(s, d, 4);

        if (got < 4)
            return got < 0 ? s->err->code : nnd_fail(s->err, NND_E_FORMAT, "%s: ends within its header", s->path);
        out->dim[i] = (int64_t)d[0] << 24 | d[1] << 16 | d[2] << 8 | d[3];
    }
    if (memcmp(out->dim + 1, want->dim, (size_t)want->rank * sizeof *want->dim))
        return nnd_fail(s->err, NND_E_FORMAT, "%s: wanted rows of %s for field %s, found %s", s->path,
                        nnd_shape_text(declared, sizeof declared, want->rank, want->dim), want->name,
                        nnd_shape_text(found, sizeof found, want->rank, out->dim + 1));
    if (out->dim[0] < 1 || out->dim[0] > INT32_MAX)
        return nnd_fail(s->err, NND_E_FORMAT, "%s: wanted 1 to %d rows, found a header that promises %lld", s->path,
                        INT32_MAX, (long long)out->dim[0]);
    out->nbytes = nnd_dtype_bytes((NndDtype)out->dtype);
    for (int i = 0; i < out->rank; i++)
        out->nbytes = nnd_mul(out->nbytes, out->dim[i]);
    return 0;
}

/* ---- elements ---- */

static int wrong_length(Source *s, const NndArray *out, const char *found, int64_t n)
{
    char number[24] = "";

    if (n >= 0)
        snprintf(number, sizeof number, "%lld", (long long)n);
    return nnd_fail(s->err, NND_E_FORMAT, "%s: wanted %lld bytes, as its header promises %lld rows, found %s%s",
                    s->path, (long long)out->nbytes, (long long)out->dim[0], found, number);
}

static int check_length(Source *s, const NndArray *out)
{
    int64_t there = s->nbytes - 4 - 4 * out->rank, most = nnd_mul(s->nbytes, MAX_RATIO);

    if (out->nbytes < 0)
        return nnd_fail(s->err, NND_E_FORMAT, "%s: its header promises more bytes than can be counted", s->path);
    if (s->is_plain && there != out->nbytes)
        return wrong_length(s, out, "", there);
    if (!s->is_plain && most >= 0 && most < out->nbytes)
        return wrong_length(s, out, "packed ones that can't unpack to more than ", most);
    return 0;
}

/* Pages of 4 KB cost more to come by than the bytes to read, and rows are looked up all over them. */
static void *large_room(int64_t nbytes)
{
    int64_t whole = (nbytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *p = nbytes < HUGE_PAGE ? malloc((size_t)nbytes) : aligned_alloc(HUGE_PAGE, (size_t)whole);

#ifdef MADV_HUGEPAGE
    if (p && nbytes >= HUGE_PAGE)
        madvise(p, (size_t)whole, MADV_HUGEPAGE);
#endif
    return p;
}

static int grow(NndArray *out, int64_t *cap, int64_t nbytes, NndError *err)
{
    int64_t most = nbytes < out->nbytes ? nbytes : out->nbytes;
    void *p = out->data || most < out->nbytes ? realloc(out->data, (size_t)most) : large_room(most);

    if (!p)
        return nnd_fail(err, NND_E_MEMORY, "out of memory: %lld bytes for a data file", (long long)most);
    out->data = p;
    *cap = most;
    return 0;
}

/* libdeflate unpacks twice as fast as zlib, but all or nothing.  What it can't do is left to zlib, which says why. */
#ifdef NND_LIBDEFLATE
static bool unpack_file(int fd, int64_t nbytes, char *to, size_t nto)
{
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    void *packed = mmap(NULL, (size_t)nbytes, PROT_READ, MAP_PRIVATE, fd, 0);
    size_t used = 0;
    bool well = d && packed != MAP_FAILED
                && libdeflate_gzip_decompress_ex(d, packed, (size_t)nbytes, to, nto, &used, NULL) == LIBDEFLATE_SUCCESS
                && used == (size_t)nbytes;

    if (packed != MAP_FAILED)
        munmap(packed, (size_t)nbytes);
    libdeflate_free_decompressor(d);
    return well;
}

static bool unpack_whole(Source *s, NndArray *out)
{
    size_t head = 4 + 4 * (size_t)out->rank, nto = head + (size_t)out->nbytes;
    bool aligned = head % (size_t)nnd_dtype_bytes((NndDtype)out->dtype) == 0;
    int fd = s->is_plain || !aligned ? -1 : open(s->path, O_RDONLY | O_CLOEXEC);
    char *to = fd < 0 ? NULL : large_room((int64_t)nto);

    if (to && unpack_file(fd, s->nbytes, to, nto)) {
        out->base = to;
        out->data = to + head;
    } else {
        free(to);
    }
    if (fd >= 0)
        close(fd);
    return out->data != NULL;
}
#else
static bool unpack_whole(Source *s, NndArray *out)
{
    (void)s;
    return out->data != NULL;
}
#endif

static int read_elements(Source *s, NndArray *out)
{
    int64_t have = 0, cap = 0, got;
    unsigned char extra;
    int rc;

    while (have < out->nbytes) {
        int64_t next = s->is_plain ? out->nbytes : cap ? 2 * cap : PIECE;

        if ((rc = grow(out, &cap, next, s->err)))
            return rc;
        if ((got = read_some(s, (char *)out->data + have, cap - have)) < 0)
            return s->err->code;
        have += got;
        if (have < cap)
            return wrong_length(s, out, is_cut_off(s) ? "a packed stream that is cut off after " : "", have);
    }
    if ((got = read_some(s, &extra, 1)) < 0)
        return s->err->code;
    if (got > 0)
        return wrong_length(s, out, "more", -1);
    return is_cut_off(s) ? nnd_fail(s->err, NND_E_FORMAT, "%s: damaged: its last bytes are cut off", s->path) : 0;
}

static void swap_bytes(NndArray *a)
{
    int64_t n = nnd_dtype_bytes((NndDtype)a->dtype);
    unsigned char *p = a->data;

    for (int64_t i = 0; n > 1 && i < a->nbytes; i += n)
        for (int64_t j = 0; j < n / 2; j++) {
            unsigned char c = p[i + j];

            p[i + j] = p[i + n - 1 - j];
            p[i + n - 1 - j] = c;
        }
}

int64_t nnd_idx_rows(const char *path, const NndField *want, NndError *err)
{
    NndError own;
    NndArray head = { 0 };
    Source s = { .path = path, .want = want, .err = err ? err : &own };

    if (source_open(&s))
        return -1;
    if (read_magic(&s, &head) || read_sizes(&s, &head) || check_length(&s, &head))
        head.dim[0] = -1;
    gzclose(s.f);
    return head.dim[0];
}

int nnd_idx_read(const char *path, const NndField *want, NndArray *out, NndError *err)
{
    NndError own;
    Source s = { .path = path, .want = want, .err = err ? err : &own };
    int rc;

    *out = (NndArray){ 0 };
    if ((rc = source_open(&s)))
        return rc;
    if (!(rc = read_magic(&s, out)) && !(rc = read_sizes(&s, out)) && !(rc = check_length(&s, out)) && !unpack_whole(&s, out))
        rc = read_elements(&s, out);
    gzclose(s.f);
    if (!rc)
        swap_bytes(out);
    if (!rc && out->dtype != want->dtype)
        rc = nnd_array_widen(out, err);
    if (rc)
        nnd_array_free(out);
    return rc;
}
