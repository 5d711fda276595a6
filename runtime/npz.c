/* npz.c - one array of NumPy's .npz: a zip file of .npy files, stored or deflated.
 *
 * The directory at the file's end is read, which has the sizes even where the entries' own headers put them off; nothing
 * in it is believed until it fits the file.  Files beyond 4 GiB, which want 64-bit records, are refused.
 * PKWARE, "APPNOTE.TXT - .ZIP file format specification", sections 4.3.7, 4.3.12 and 4.3.16.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "runtime/column.h"

enum {
    END_BYTES = 22, ENTRY_BYTES = 46, LOCAL_BYTES = 30,
    MAX_COMMENT = 65535,     /* what may stand behind the record of the end */
    MAX_RATIO = 1032         /* deflate packs 258 bytes into two bits at best (zlib, technical details) */
};

typedef struct Entry { int64_t packed, nbytes, at; uint32_t crc; int method, flags; } Entry;

static uint32_t u16(const unsigned char *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const unsigned char *p) { return u16(p) | u16(p + 2) << 16; }

/* Where the directory lies, from the record that ends the file, behind which a comment may stand. */
static int find_directory(const NndIn *in, int64_t *at, int64_t *nbytes, NndError *err)
{
    int64_t tail = in->nbytes < END_BYTES + MAX_COMMENT ? in->nbytes : END_BYTES + MAX_COMMENT;
    unsigned char *p = malloc((size_t)tail + 1);
    bool found = false;
    int rc;

    if (!p)
        return nnd_fail(err, NND_E_MEMORY, "%s: out of memory for reading it", in->path);
    if ((rc = nnd_in_read(in, in->nbytes - tail, p, tail, err))) {
        free(p);
        return rc;
    }
    for (int64_t i = tail - END_BYTES; i >= 0 && !found; i--)
        if ((found = !memcmp(p + i, "PK\5\6", 4))) {
            *nbytes = u32(p + i + 12);
            *at = u32(p + i + 16);
        }
    free(p);
    if (!found)
        return nnd_fail(err, NND_E_FORMAT, "%s: not an NPZ file: it has no zip directory", in->path);
    if (*at == UINT32_MAX || *nbytes == UINT32_MAX)
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted a zip file below 4 GiB, found one with 64-bit records", in->path);
    if (*at > in->nbytes || *nbytes > in->nbytes - *at)
        return nnd_fail(err, NND_E_FORMAT, "%s: damaged: its zip directory lies beyond its end", in->path);
    return 0;
}

/* The entry of this name in n bytes of directory; the names there are, for a message, go to known. */
static int find_entry(const char *path, const unsigned char *p, int64_t n, const char *name, Entry *e, NndError *err)
{
    char known[256] = "";
    size_t at = 0;

    while (n >= ENTRY_BYTES && !memcmp(p, "PK\1\2", 4)) {
        int64_t nname = u16(p + 28), next = ENTRY_BYTES + nname + u16(p + 30) + u16(p + 32);
        const char *is = (const char *)p + ENTRY_BYTES;
        char text[64];

        if (next > n)
            break;
        if (nname == (int64_t)strlen(name) && !memcmp(is, name, (size_t)nname)) {
            *e = (Entry){ .packed = u32(p + 20), .nbytes = u32(p + 24), .at = u32(p + 42), .crc = u32(p + 16),
                          .method = (int)u16(p + 10), .flags = (int)u16(p + 8) };
            return 0;
        }
        if (at < sizeof known)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "",
                                   nnd_in_text(text, sizeof text, is, (size_t)nname));
        p += next;
        n -= next;
    }
    if (n)
        return nnd_fail(err, NND_E_FORMAT, "%s: damaged: its zip directory is cut off", path);
    return nnd_fail(err, NND_E_DATA, "%s: has no array %s; it has: %s", path, name, known);
}

static int inflate_into(const char *path, const void *from, const Entry *e, char *to, NndError *err)
{
    z_stream z = { .next_in = (Bytef *)from, .avail_in = (uInt)e->packed, .next_out = (Bytef *)to,
                   .avail_out = (uInt)e->nbytes };
    int rc;

    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return nnd_fail(err, NND_E_MEMORY, "%s: out of memory for unpacking it", path);
    rc = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    if (rc == Z_STREAM_END && !z.avail_out && !z.avail_in)
        return 0;
    return nnd_fail(err, NND_E_FORMAT, "%s: damaged: wanted %lld bytes from its packed ones", path, (long long)e->nbytes);
}

/* Before anything is allocated. */
static int check_entry(const NndIn *in, const Entry *e, NndError *err)
{
    if (e->flags & 1)
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted an array in plain text, found an encrypted one", in->path);
    if (e->method != 0 && e->method != 8)
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted an array stored or deflated, found the zip method %d", in->path, e->method);
    if (e->packed == UINT32_MAX || e->nbytes == UINT32_MAX || e->at == UINT32_MAX)
        return nnd_fail(err, NND_E_FORMAT, "%s: wanted an array below 4 GiB, found a 64-bit record", in->path);
    if (e->packed > in->nbytes || (e->method == 0 && e->packed != e->nbytes) || e->nbytes > e->packed * MAX_RATIO)
        return nnd_fail(err, NND_E_FORMAT, "%s: damaged: its directory promises %lld bytes from %lld", in->path,
                        (long long)e->nbytes, (long long)e->packed);
    return 0;
}

/* The entry's bytes, unpacked and checked, to be freed; NULL with err. */
static char *unpack(const NndIn *in, const Entry *e, NndError *err)
{
    unsigned char local[LOCAL_BYTES];
    char *packed = malloc((size_t)e->packed + 1), *to = malloc((size_t)e->nbytes + 1);
    int rc = packed && to ? 0 : nnd_fail(err, NND_E_MEMORY, "%s: out of memory for %lld bytes", in->path, (long long)e->nbytes);

    if (!rc && !(rc = nnd_in_read(in, e->at, local, LOCAL_BYTES, err)) && memcmp(local, "PK\3\4", 4))
        rc = nnd_fail(err, NND_E_FORMAT, "%s: damaged: there is no array where its directory says", in->path);
    if (!rc && !(rc = nnd_in_read(in, e->at + LOCAL_BYTES + u16(local + 26) + u16(local + 28), packed, e->packed, err))) {
        if (e->method == 8)
            rc = inflate_into(in->path, packed, e, to, err);
        else
            memcpy(to, packed, (size_t)e->nbytes);
    }
    if (!rc && crc32(crc32(0, NULL, 0), (Bytef *)to, (uInt)e->nbytes) != e->crc)
        rc = nnd_fail(err, NND_E_FORMAT, "%s: damaged: incorrect data check", in->path);
    free(packed);
    if (rc)
        free(to);
    return rc ? NULL : to;
}

static int read_array(NndColumn *c, const NndIn *in, const unsigned char *directory, int64_t nbytes)
{
    char name[256], path[1024], *bytes;
    NndIn array = { .fd = -1, .path = path };
    Entry e = { 0 };
    int rc;

    snprintf(name, sizeof name, "%s.npy", c->source->part[0]);
    snprintf(path, sizeof path, "%s: %s", in->path, name);
    if ((rc = find_entry(in->path, directory, nbytes, name, &e, c->err)) || (rc = check_entry(in, &e, c->err)))
        return rc;
    if (!(bytes = unpack(in, &e, c->err)))
        return c->err->code;
    array.memory = bytes;
    array.nbytes = e.nbytes;
    rc = nnd_npy_read_in(&array, c->out, c->err);
    free(bytes);
    return rc;
}

int nnd_column_npz(NndColumn *c)
{
    unsigned char *directory = NULL;
    int64_t at = 0, nbytes = 0;
    NndIn in;
    int rc;

    if ((rc = nnd_in_open(&in, c->path, c->err)))
        return rc;
    if (!(rc = find_directory(&in, &at, &nbytes, c->err)) && !(directory = malloc((size_t)nbytes + 1)))
        rc = nnd_fail(c->err, NND_E_MEMORY, "%s: out of memory for its directory", c->path);
    if (!rc && !(rc = nnd_in_read(&in, at, directory, nbytes, c->err)))
        rc = read_array(c, &in, directory, nbytes);
    free(directory);
    nnd_in_close(&in);
    return rc;
}
