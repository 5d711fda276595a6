/* cpu_share.c - kernels that differ only in where their buffers lie are one function.
 *
 * The blocks of a deep net are alike, and making machine code is nearly all of a compilation; so code is made once
 * for each distinct kernel, and compiling takes as long as the kinds of kernels, not as their number.  A kernel
 * that others share finds the bytes at which its buffers of state and scratch begin in NndStep.place, a table that
 * the entry sets before the call; behind them, the numbers of its random streams.
 *
 * Two kernels are equal if their statements are, with one buffer for another throughout; buffers are of the same
 * segment, dtype and size (in other segments than those two: the same place), and overlap each other where the
 * others do, because that is what loads and stores have been told about each other.
 */
#include <string.h>

#include "backends/cpu.h"

/* ---- the buffers of a kernel, in the order in which it touches them ---- */

typedef struct Buffers { int *buf, n, cap; } Buffers;

static void list_buffers(Arena *mem, const Stmt *s, Buffers *l)
{
    for (; s; s = s->next) {
        bool known = s->kind != ST_LOAD && s->kind != ST_STORE;

        for (int i = 0; i < l->n && !known; i++)
            known = l->buf[i] == s->buf;
        if (!known) {
            arena_push(mem, l->buf, l->n, l->cap);
            l->buf[l->n++] = s->buf;
        }
        list_buffers(mem, s->body, l);
    }
}

int cpu_kernel_buffers(Emit *e, const Kernel *k, int **buf)
{
    Buffers l = { 0 };

    list_buffers(e->mem, k->body, &l);
    *buf = l.buf;
    return l.n;
}

static void list_streams(Arena *mem, const Stmt *s, const Stmt ***list, int *n, int *cap)
{
    for (; s; s = s->next) {
        if (s->kind == ST_RANDOM) {
            arena_push(mem, *list, *n, *cap);
            (*list)[(*n)++] = s;
        }
        list_streams(mem, s->body, list, n, cap);
    }
}

int cpu_kernel_streams(Emit *e, const Kernel *k, const Stmt ***random)
{
    int n = 0, cap = 0;

    *random = NULL;
    list_streams(e->mem, k->body, random, &n, &cap);
    return n;
}

bool cpu_is_placed(const Buffer *b) { return b->seg == SEG_STATE || b->seg == SEG_SCRATCH; }

/* ---- equality ---- */

typedef struct Kind { const Kernel *k; uint64_t hash; int *buf, nbuf; } Kind;

static int number_of(const Kind *k, int buf)
{
    int i = 0;

    while (k->buf[i] != buf)
        i++;
    return i;
}

static bool same_affines(const Stmt *a, const Stmt *b)
{
    for (int i = 0; i < a->nguard; i++)
        if (a->guard[i].size != b->guard[i].size || !aff_equal(a->guard[i].at, b->guard[i].at))
            return false;
    return aff_equal(a->at, b->at) && aff_equal(a->row, b->row);
}

static bool same_list(const Kind *x, const Kind *y, const Stmt *a, const Stmt *b)
{
    for (; a && b; a = a->next, b = b->next) {
        bool touches = a->kind == ST_LOAD || a->kind == ST_STORE;

        if (a->kind != b->kind || a->id != b->id || a->op != b->op || a->dtype != b->dtype || a->from != b->from
            || a->narg != b->narg || a->local != b->local || a->extent != b->extent
            || a->count != b->count || a->par != b->par || a->unroll != b->unroll || a->lanes != b->lanes || a->sieve != b->sieve
            || a->nguard != b->nguard || a->grid != b->grid || a->block != b->block || a->async != b->async || a->scope != b->scope
            || a->each != b->each || a->bf16 != b->bf16 || a->turned != b->turned || a->operand[0] != b->operand[0] || a->operand[1] != b->operand[1] || a->blas != b->blas)
            return false;
        if (memcmp(a->arg, b->arg, (size_t)a->narg * sizeof *a->arg) || memcmp(&a->number, &b->number, sizeof a->number)
            || !same_affines(a, b) || (touches && number_of(x, a->buf) != number_of(y, b->buf)))
            return false;
        if (!same_list(x, y, a->body, b->body))
            return false;
    }
    return !a && !b;
}

static bool same_buffers(const Plan *p, const Kind *x, const Kind *y)
{
    if (x->nbuf != y->nbuf)
        return false;
    for (int i = 0; i < x->nbuf; i++) {
        const Buffer *a = &p->buf[x->buf[i]], *b = &p->buf[y->buf[i]];

        if (a->seg != b->seg || a->dtype != b->dtype || a->count != b->count || (!cpu_is_placed(a) && a->offset != b->offset))
            return false;
        for (int j = 0; j < i; j++)
            if (cpu_may_overlap(p, x->buf[i], x->buf[j]) != cpu_may_overlap(p, y->buf[i], y->buf[j]))
                return false;
    }
    return true;
}

static bool same_kernel(const Plan *p, const Kind *x, const Kind *y)
{
    return x->hash == y->hash && x->k->scheduled == y->k->scheduled && x->k->nvalue == y->k->nvalue && x->k->nvar == y->k->nvar
        && x->k->nlocal == y->k->nlocal && same_buffers(p, x, y) && same_list(x, y, x->k->body, y->k->body);
}

/* Equal kernels have equal hashes: nothing of buffers takes part. */
static uint64_t hash_list(uint64_t h, const Stmt *s)
{
    for (; s; s = s->next) {
        uint64_t x = (uint64_t)s->kind << 56 ^ (uint64_t)s->op << 40 ^ (uint64_t)s->extent << 16 ^ (uint64_t)s->id ^ (uint64_t)s->at.base << 8;

        h = (h ^ x) * 0x100000001b3u;
        h = hash_list(h ^ h >> 29, s->body);
    }
    return h;
}

/* ---- plans ---- */

int *cpu_share(Emit *e, bool *shared)
{
    int  *as = arena_array(e->mem, int, e->p->nkernel + 1);
    Kind *kind = arena_array(e->mem, Kind, e->p->nkernel + 1);
    int   room = 16, *first, *next = arena_array(e->mem, int, e->p->nkernel + 1);      /* chains of one hash, by number + 1 */

    while (room < 2 * e->p->nkernel)
        room *= 2;
    first = arena_array(e->mem, int, room);
    for (int i = 0; i < e->p->nkernel; i++) {
        Kind *k = &kind[i];

        k->k = e->p->kernel[i];
        k->hash = hash_list(0xcbf29ce484222325u, k->k->body);
        k->nbuf = cpu_kernel_buffers(e, k->k, &k->buf);
        as[i] = i;
        for (int j = first[k->hash % (uint64_t)room]; j && as[i] == i; j = next[j - 1])
            if (same_kernel(e->p, k, &kind[j - 1]))
                as[i] = j - 1;
        if (as[i] < i) {
            shared[as[i]] = true;
            continue;
        }
        next[i] = first[k->hash % (uint64_t)room];
        first[k->hash % (uint64_t)room] = i + 1;
    }
    return as;
}

int cpu_place_values(Emit *e, const Kernel *k, int64_t **value)
{
    const Stmt **random;
    int         *buf, n = cpu_kernel_buffers(e, k, &buf), nrandom = cpu_kernel_streams(e, k, &random);

    *value = arena_array(e->mem, int64_t, n + nrandom + 1);
    for (int i = 0; i < n; i++)
        (*value)[i] = cpu_is_placed(&e->p->buf[buf[i]]) ? e->p->buf[buf[i]].offset : 0;
    for (int i = 0; i < nrandom; i++)
        (*value)[n + i] = random[i]->stream;
    return n + nrandom;
}

LLVMValueRef cpu_places(Emit *e, const Kernel *k, const char *name)
{
    int64_t      *value;
    int           n = cpu_place_values(e, k, &value);
    LLVMTypeRef   i64 = LLVMInt64TypeInContext(e->C);
    LLVMValueRef *at = arena_array(e->mem, LLVMValueRef, n + 1), table;

    for (int i = 0; i < n; i++)
        at[i] = cpu_i64(e, value[i]);
    table = LLVMAddGlobal(e->M, LLVMArrayType2(i64, (uint64_t)n), name);
    LLVMSetInitializer(table, LLVMConstArray2(i64, at, (uint64_t)n));
    LLVMSetGlobalConstant(table, true);
    LLVMSetLinkage(table, LLVMPrivateLinkage);
    return table;
}
