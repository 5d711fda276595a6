/* kernel_group.c - kernels for groups of threads: their shape, and what must hold of their loops and locals.
 *
 * A part of verifying.  It runs on kernels whose indices are inside their arrays; that threads never meet where one of them
 * writes is ir/kernel_loops.c's question.
 */
#include <inttypes.h>

#include "ir/kernel.h"

enum { MAX_THREADS = 1024 };

/* ---- the shape ---- */

static const Stmt *find_local(const Stmt *s, int id)
{
    for (; s; s = s->next) {
        const Stmt *inside = s->kind == ST_LOCAL && s->id == id ? s : find_local(s->body, id);

        if (inside)
            return inside;
    }
    return NULL;
}

static bool folds_threads(const Stmt *s, const Kernel *k)
{
    const Stmt *local = s->kind == ST_FOLD ? find_local(k->body, s->local) : NULL;

    return local && local->scope == SCOPE_EACH;
}

static bool list_is_shared(const Stmt *s, const Kernel *k)
{
    for (; s; s = s->next)
        if ((s->kind == ST_FOR && s->block) || s->kind == ST_MMA || folds_threads(s, k) || list_is_shared(s->body, k))
            return true;
    return false;
}

bool stmt_is_shared(const Stmt *block, const Kernel *k) { return list_is_shared(block->body, k); }

static void find_inner(const Stmt *s, const Kernel *k, int depth, Group *g)
{
    for (; s; s = s->next) {
        bool block = s->kind == ST_FOR && s->block;

        if (block && depth > 0 && depth < BLOCK_LOOPS && !g->inner[depth])
            g->inner[depth] = s->extent;
        if (depth > 0 && depth < BLOCK_LOOPS && !g->inner[depth] && (s->kind == ST_MMA || folds_threads(s, k)))
            g->inner[depth] = s->kind == ST_MMA ? 32 : s->count;
        find_inner(s->body, k, depth + block, g);
    }
}

/* Threads of the longest nest, where `threads` are those of the loops around. */
static void find_threads(const Stmt *s, const Kernel *k, int depth, int64_t threads, Group *g)
{
    for (; s; s = s->next) {
        int64_t here = threads;

        if (s->kind == ST_FOR && s->block) {
            here *= s->extent;
            if (depth + 1 < BLOCK_LOOPS && stmt_is_shared(s, k) && here * g->inner[depth + 1] > g->threads)
                g->threads = here * g->inner[depth + 1];
            if (here > g->threads)
                g->threads = here;
        }
        if (here <= MAX_THREADS)
            find_threads(s->body, k, depth + (s->kind == ST_FOR && s->block), here, g);
    }
}

Group kernel_group(const Kernel *k)
{
    Group       g = { .grid = { 1, 1, 1 } };
    const Stmt *s = k->body;

    for (; s && s->kind == ST_FOR && s->grid && g.ngrid < GRID_LOOPS; s = s->body)
        g.grid[g.ngrid++] = s->extent;
    find_inner(s, k, 0, &g);
    find_threads(s, k, 0, 1, &g);
    if (g.ngrid && !g.threads)
        g.threads = 1;
    return g;
}

/* ---- what must hold ---- */

typedef struct Check {
    const Kernel *k;
    Arena        *mem;
    Group         group;
    const Stmt   *around[BLOCK_LOOPS]; int n;     /* block loops, outermost first */
    const Stmt   *vec, *async;
    const Stmt  **var, **local;                 /* by number; var: NULL unless a loop */
    const char   *error;
} Check;

static bool fault(Check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fault(Check *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    c->error = arena_vprintf(c->mem, fmt, ap);
    va_end(ap);
    return false;
}

static bool is_around(const Check *c, int var)
{
    for (int i = 0; i < c->n; i++)
        if (c->around[i]->id == var)
            return true;
    return false;
}

/* Do the block loops around stand in `at` as their number times each, and what is left as a number in 0 .. room - 1 known when code is made? */
static bool check_place(Check *c, const Stmt *s, Affine at, int64_t each, int64_t room)
{
    int64_t by = each, least = at.base, most = at.base;

    for (int i = c->n - 1; i >= 0; i--) {
        if (aff_coef(at, c->around[i]->id) != by && c->around[i]->extent > 1)
            return fault(c, "l%d is reached beyond the thread's own: i%d stands there %" PRId64 " times, not %" PRId64, s->local,
                         c->around[i]->id, aff_coef(at, c->around[i]->id), by);
        by *= i ? c->around[i]->extent : 1;
    }
    for (int i = 0; i < at.n; i++) {
        const Stmt *loop = c->var[at.term[i].var];

        if (is_around(c, at.term[i].var))
            continue;
        if (!loop || (!loop->unroll && loop != c->vec))
            return fault(c, "the place in l%d depends on i%d, which is not unrolled", s->local, at.term[i].var);
        *(at.term[i].coef < 0 ? &least : &most) += at.term[i].coef * (loop->extent - 1);
    }
    return (least >= 0 && most < room) || fault(c, "l%d is reached beyond the thread's own %" PRId64, s->local, each);
}

static bool check_each(Check *c, const Stmt *s)
{
    const Stmt *l = c->local[s->local];

    if (c->n == 0 || stmt_is_shared(c->around[c->n - 1], c->k))
        return fault(c, "l%d is of each thread, and reached by many alike", s->local);
    return check_place(c, s, s->at, l->each, l->each);
}

static bool check_fold(Check *c, const Stmt *s)
{
    int64_t n = c->n == 0 ? c->group.threads : c->n < BLOCK_LOOPS ? c->group.inner[c->n] : 0;

    if (c->local[s->local]->each != 1)
        return fault(c, "a fold of l%d, of which each thread has more than one", s->local);
    if (s->count != n)
        return fault(c, "a fold over %" PRId64 " threads, there are %" PRId64, s->count, n);
    if (c->n && n > 32)
        return fault(c, "a fold over %" PRId64 " threads of a level", n);
    return check_place(c, s, s->at, s->count, 1);
}

static bool check_mma(Check *c, const Stmt *s)
{
    const Stmt *l = c->local[s->local];

    if (c->n == 0 || c->n >= BLOCK_LOOPS || c->group.inner[c->n] != 32)
        return fault(c, "an mma that is not of 32 threads");
    if (l->scope != SCOPE_EACH)
        return fault(c, "an mma into l%d, which is not of each thread", s->local);
    for (int i = 0; i < 2; i++)
        if (c->local[s->operand[i]]->scope != SCOPE_GROUP)
            return fault(c, "an mma of l%d, which is not in group memory", s->operand[i]);
    return check_place(c, s, s->at, 32 * l->each, l->each - 3);
}

static bool check_declaration(Check *c, const Stmt *s)
{
    c->local[s->id] = s;
    if (s->scope == SCOPE_OWN)
        return true;
    if (s->scope == SCOPE_MEMORY)
        return fault(c, "l%d is in memory, which threads of a group have none of", s->id);
    if (c->n)
        return fault(c, "l%d is of the group, and declared in the block loop i%d", s->id, c->around[c->n - 1]->id);
    if (s->scope == SCOPE_EACH && (s->each < 1 || s->count != s->each * c->group.threads))
        return fault(c, "l%d has %" PRId64 " elements, %" PRId64 " threads have %" PRId64 " each", s->id, s->count, c->group.threads, s->each);
    return true;
}

static bool is_copy(const Check *c, const Stmt *s)
{
    return s->kind == ST_WITHIN || s->kind == ST_PART || s->kind == ST_IF || (s->kind == ST_LOAD && s->dtype == DT_f32)
        || (s->kind == ST_SET && c->local[s->local]->scope == SCOPE_GROUP) || (s->kind == ST_FOR && (s->lanes || s->unroll));
}

static bool check_block(Check *c, const Stmt *s)
{
    if (c->n == BLOCK_LOOPS)
        return fault(c, "the block loop i%d stands in %d others", s->id, BLOCK_LOOPS);
    if (c->vec || c->async)
        return fault(c, "the block loop i%d stands in the loop i%d", s->id, c->vec ? c->vec->id : c->async->id);
    if (c->n && s->extent != c->group.inner[c->n])
        return fault(c, "the block loop i%d has %" PRId64 " threads where another has %" PRId64, s->id, s->extent, c->group.inner[c->n]);
    c->around[c->n++] = s;
    if (s->async)
        c->async = s;
    return true;
}

static bool check_vec(Check *c, const Stmt *s)
{
    if (c->n == 0 || stmt_is_shared(c->around[c->n - 1], c->k))
        return fault(c, "the vec loop i%d is not of one thread", s->id);
    if ((s->lanes != 2 && s->lanes != 4) || s->extent % s->lanes)
        return fault(c, "the vec loop i%d runs %" PRId64 " times, %d at a time", s->id, s->extent, s->lanes);
    c->vec = s;
    return true;
}

static bool check_list(Check *c, const Stmt *s);

static bool check_for(Check *c, const Stmt *s)
{
    const Stmt *vec = c->vec, *async = c->async;
    int         n = c->n;

    c->var[s->id] = s;
    if (s->grid || s->par || s->sieve)
        return fault(c, "the loop i%d is %s, and stands in a thread group", s->id, s->grid ? "grid" : s->par ? "par" : "sieve");
    if ((s->block && !check_block(c, s)) || (s->lanes && !check_vec(c, s)) || !check_list(c, s->body))
        return false;
    c->n = n;
    c->vec = vec;
    c->async = async;
    return true;
}

static bool check_access(Check *c, const Stmt *s)
{
    Scope scope = c->local[s->local]->scope;

    if (s->kind == ST_MMA)
        return check_mma(c, s);
    if (scope == SCOPE_EACH)
        return s->kind == ST_FOLD ? check_fold(c, s) : check_each(c, s);
    if (scope == SCOPE_GROUP && s->kind == ST_FOLD)
        return fault(c, "a fold of l%d, which is in group memory", s->local);
    return scope != SCOPE_GROUP || s->kind == ST_GET || c->n || fault(c, "l%d is set by no thread", s->local);
}

static bool check_stmt(Check *c, const Stmt *s)
{
    if (c->async && !is_copy(c, s))
        return fault(c, "the async loop i%d does more than copy", c->async->id);
    switch (s->kind) {
    case ST_FOR:   return check_for(c, s);
    case ST_IF:    return check_list(c, s->body);
    case ST_LOCAL: return check_declaration(c, s);
    case ST_WAIT:  return c->n == 0 || fault(c, "a wait in the block loop i%d", c->around[c->n - 1]->id);
    case ST_GET: case ST_SET: case ST_FOLD: case ST_MMA:
        return check_access(c, s);
    case ST_LET: case ST_CONST: case ST_LOAD: case ST_STORE: case ST_INDEX: case ST_WITHIN: case ST_PICK: case ST_PART: case ST_RANDOM:
        return true;
    }
    return true;
}

static bool check_list(Check *c, const Stmt *s)
{
    for (; s; s = s->next)
        if (!check_stmt(c, s))
            return false;
    return true;
}

/* Words of thread groups in a kernel that has none. */
static const char *check_plain(const Stmt *s, Arena *mem)
{
    const char *why = NULL;

    for (; s && !why; s = s->next) {
        if (s->kind == ST_FOR && (s->grid || s->block))
            why = arena_printf(mem, "the loop i%d is grid or block, where there is no thread group", s->id);
        else if ((s->kind == ST_LOCAL && s->scope != SCOPE_OWN && s->scope != SCOPE_MEMORY) || s->kind == ST_WAIT || s->kind == ST_MMA)
            why = "there is group memory, but no thread group";
        else
            why = check_plain(s->body, mem);
    }
    return why;
}

const char *kernel_check_group(const Kernel *k, Arena *mem)
{
    Check       c = { .k = k, .mem = mem, .group = kernel_group(k) };
    const Stmt *s = k->body;

    if (!c.group.threads)
        return check_plain(s, mem);
    if (c.group.threads > MAX_THREADS)
        return arena_printf(mem, "a group has %" PRId64 " threads, more than %d", c.group.threads, MAX_THREADS);
    c.var = arena_array(mem, const Stmt *, k->nvar + 1);
    c.local = arena_array(mem, const Stmt *, k->nlocal + 1);
    for (int i = 0; i < c.group.ngrid; i++, s = s->body) {
        if (s->next)
            return arena_printf(mem, "the grid loop i%d is not all that stands there", s->id);
        if (s->par || s->block || s->lanes || s->sieve || s->unroll)
            return arena_printf(mem, "the grid loop i%d has another mark", s->id);
        c.var[s->id] = s;
    }
    check_list(&c, s);
    return c.error;
}
