/* arena.c - chunks of zeroed memory, handed out from the front and freed together.
 *
 * What does not fit the current chunk gets a new one; what is larger than a chunk gets one of its own,
 * put behind the current one so that the room left there is still used.
 */
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ir/arena.h"

enum { ALIGN = 16, CHUNK_BYTES = 64 * 1024 };

struct ArenaChunk {
    ArenaChunk *next;
    size_t      used, size;          /* bytes of data */
    _Alignas(ALIGN) unsigned char data[];
};

static ArenaChunk *chunk_new(size_t nbytes)
{
    ArenaChunk *c = nbytes > SIZE_MAX - sizeof *c ? NULL : calloc(1, sizeof *c + nbytes);

    if (!c)
        abort();
    c->size = nbytes;
    return c;
}

static void *chunk_take(ArenaChunk *c, size_t nbytes)
{
    void *p = c->data + c->used;

    c->used += nbytes;
    return p;
}

static void *alloc_large(Arena *a, size_t nbytes)
{
    ArenaChunk *c = chunk_new(nbytes);

    if (a->chunk) {
        c->next = a->chunk->next;
        a->chunk->next = c;
    } else {
        a->chunk = c;
    }
    return chunk_take(c, nbytes);
}

void *arena_alloc(Arena *a, size_t count, size_t size)
{
    size_t nbytes;

    if (__builtin_mul_overflow(count, size, &nbytes) || nbytes > SIZE_MAX - ALIGN)
        abort();
    nbytes = nbytes ? (nbytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    if (a->chunk && nbytes <= a->chunk->size - a->chunk->used)
        return chunk_take(a->chunk, nbytes);
    if (nbytes > CHUNK_BYTES / 4)
        return alloc_large(a, nbytes);

    ArenaChunk *c = chunk_new(CHUNK_BYTES);
    c->next = a->chunk;
    a->chunk = c;
    return chunk_take(c, nbytes);
}

char *arena_strndup(Arena *a, const char *s, size_t n)
{
    char *copy = arena_alloc(a, n + 1, 1);

    if (n)
        memcpy(copy, s, n);
    return copy;
}

char *arena_strdup(Arena *a, const char *s) { return arena_strndup(a, s, strlen(s)); }

char *arena_vprintf(Arena *a, const char *fmt, va_list ap)
{
    va_list again;

    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    assert(n >= 0 && "the format is our own");

    char *s = arena_alloc(a, (size_t)n + 1, 1);
    vsnprintf(s, (size_t)n + 1, fmt, ap);
    return s;
}

char *arena_printf(Arena *a, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return s;
}

void *arena_grow(Arena *a, const void *v, int n, int *cap, size_t size)
{
    assert(n >= 0 && n <= *cap);
    if (*cap > INT_MAX / 2)
        abort();
    *cap = *cap ? 2 * *cap : 8;

    void *grown = arena_alloc(a, (size_t)*cap, size);
    if (n)
        memcpy(grown, v, (size_t)n * size);
    return grown;
}

void arena_free(Arena *a)
{
    for (ArenaChunk *c = a->chunk, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    a->chunk = NULL;
}
