/* arena.h - memory with one lifetime: allocate, never free, drop all at once.
 *
 * Everything of a compilation lives in its module's arena.  Running out of
 * memory ends the allocation in abort(): a compiler's working set is small and
 * there is nothing to save.  Sizes are multiplied with overflow checks.
 */
#ifndef NND_IR_ARENA_H
#define NND_IR_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct ArenaChunk ArenaChunk;
typedef struct Arena { ArenaChunk *chunk; } Arena;      /* {0} is an empty arena */

void *arena_alloc(Arena *a, size_t count, size_t size); /* zeroed, 16-byte aligned, count * size bytes */
char *arena_strdup(Arena *a, const char *s);
char *arena_strndup(Arena *a, const char *s, size_t n);
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *a, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void  arena_free(Arena *a);

#define arena_new(a, T)       ((T *)arena_alloc((a), 1, sizeof(T)))
#define arena_array(a, T, n)  ((T *)arena_alloc((a), (size_t)(n), sizeof(T)))

/* arena_push - room for one more at the end of array v with n used of cap;
 * grows by doubling, the old copy stays in the arena.  v[n++] is then valid. */
#define arena_push(a, v, n, cap) \
    ((n) < (cap) ? (void)0 : (void)((v) = arena_grow((a), (v), (n), &(cap), sizeof *(v))))
void *arena_grow(Arena *a, const void *v, int n, int *cap, size_t size);

#endif
