/* make_files.c - binary files for the tests of data sets.
 *
 *   make_files zip OUT stored|deflated NAME=FILE...      a zip file of these files
 *   make_files png OUT WIDTH HEIGHT PLANES VALUE...      8 bits a colour; PLANES 1 grey, 3 colour, 4 with transparency
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MOST = 1 << 20 };

static void fail(const char *what)
{
    fprintf(stderr, "make_files: %s\n", what);
    exit(1);
}

static void put(FILE *f, uint32_t x, int nbytes, int big)
{
    for (int i = 0; i < nbytes; i++)
        fputc((int)(x >> 8 * (big ? nbytes - 1 - i : i) & 255), f);
}

/* ---- zip ---- */

typedef struct Entry { const char *name; uint32_t crc, packed, nbytes, at; } Entry;

static uint32_t deflate_bytes(const unsigned char *from, uint32_t n, unsigned char *to)
{
    z_stream z = { .next_in = (Bytef *)from, .avail_in = n, .next_out = to, .avail_out = MOST };

    if (deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK || deflate(&z, Z_FINISH) != Z_STREAM_END)
        fail("deflate");
    deflateEnd(&z);
    return (uint32_t)z.total_out;
}

/* What the local header and the directory share. */
static void put_entry(FILE *f, const Entry *e, int deflated)
{
    put(f, 20, 2, 0), put(f, 0, 2, 0), put(f, deflated ? 8 : 0, 2, 0), put(f, 0, 4, 0);
    put(f, e->crc, 4, 0), put(f, e->packed, 4, 0), put(f, e->nbytes, 4, 0);
    put(f, (uint32_t)strlen(e->name), 2, 0), put(f, 0, 2, 0);
}

static void add_entry(FILE *f, Entry *e, char *arg, int deflated)
{
    static unsigned char from[MOST], to[MOST];
    char *file = strchr(arg, '=');
    FILE *in = file ? fopen(file + 1, "rb") : NULL;

    if (!in)
        fail(arg);
    *file = 0;
    *e = (Entry){ .name = arg, .nbytes = (uint32_t)fread(from, 1, MOST, in), .at = (uint32_t)ftell(f) };
    fclose(in);
    e->crc = (uint32_t)crc32(0, from, e->nbytes);
    e->packed = deflated ? deflate_bytes(from, e->nbytes, to) : e->nbytes;
    fputs("PK\3\4", f);
    put_entry(f, e, deflated);
    fputs(e->name, f);
    fwrite(deflated ? to : from, 1, e->packed, f);
}

static void make_zip(FILE *f, int deflated, char **arg, int n)
{
    Entry entry[16];
    uint32_t at, end;

    for (int i = 0; i < n && i < 16; i++)
        add_entry(f, &entry[i], arg[i], deflated);
    at = (uint32_t)ftell(f);
    for (int i = 0; i < n; i++) {
        fputs("PK\1\2", f);
        put(f, 20, 2, 0);
        put_entry(f, &entry[i], deflated);
        put(f, 0, 2, 0), put(f, 0, 4, 0), put(f, 0, 4, 0), put(f, entry[i].at, 4, 0);
        fputs(entry[i].name, f);
    }
    end = (uint32_t)ftell(f);
    fputs("PK\5\6", f);
    put(f, 0, 4, 0), put(f, (uint32_t)n, 2, 0), put(f, (uint32_t)n, 2, 0);
    put(f, end - at, 4, 0), put(f, at, 4, 0), put(f, 0, 2, 0);
}

/* ---- PNG ---- */

static void put_chunk(FILE *f, const char *kind, const unsigned char *bytes, uint32_t n)
{
    uLong crc = crc32(crc32(0, (const Bytef *)kind, 4), bytes, n);

    put(f, n, 4, 1);
    fputs(kind, f);
    fwrite(bytes, 1, n, f);
    put(f, (uint32_t)crc, 4, 1);
}

static void make_png(FILE *f, int width, int height, int planes, char **value, int n)
{
    static unsigned char row[MOST], packed[MOST];
    unsigned char head[13] = { 0, 0, 0, (unsigned char)width, 0, 0, 0, (unsigned char)height, 8,
                               planes == 1 ? 0 : planes == 3 ? 2 : 6 };
    uLongf npacked = MOST;
    int at = 0, k = 0;

    if (n != width * height * planes)
        fail("another number of values than the sizes want");
    for (int y = 0; y < height; y++) {
        row[at++] = 0;
        for (int x = 0; x < width * planes; x++)
            row[at++] = (unsigned char)atoi(value[k++]);
    }
    if (compress(packed, &npacked, row, (uLong)at) != Z_OK)
        fail("compress");
    fputs("\x89PNG\r\n\x1a\n", f);
    put_chunk(f, "IHDR", head, 13);
    put_chunk(f, "IDAT", packed, (uint32_t)npacked);
    put_chunk(f, "IEND", packed, 0);
}

int main(int argc, char **argv)
{
    FILE *f = argc > 4 ? fopen(argv[2], "wb") : NULL;

    if (!f)
        fail("make_files zip OUT stored|deflated NAME=FILE..., or png OUT WIDTH HEIGHT PLANES VALUE...");
    if (!strcmp(argv[1], "zip"))
        make_zip(f, !strcmp(argv[3], "deflated"), argv + 4, argc - 4);
    else if (argc > 6)
        make_png(f, atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), argv + 6, argc - 6);
    return fclose(f) ? 1 : 0;
}
