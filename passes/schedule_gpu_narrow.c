/* schedule_gpu_narrow.c - a kernel for groups of fewer threads, so that it can stand beside one whose groups have no more.
 *
 *   rows      a group has some, with a warp for each: then it has fewer of them, and there are more groups
 *   columns   threads have places in group memory: then they take those in several turns
 *
 * What is done for a row or a place stays as it was, and so does every bit of the results.
 */
#include "passes/schedule_gpu_merge.h"

typedef struct Narrow { Arena *mem; const Kernel *k; Kernel *to; Affine *var; int64_t threads; } Narrow;

static bool has_scope(const Stmt *s, Scope scope)
{
    for (; s; s = s->next)
        if ((s->kind == ST_LOCAL && s->scope == scope) || has_scope(s->body, scope))
            return true;
    return false;
}

static Narrow open_narrow(Arena *mem, const Kernel *k, int64_t threads)
{
    Narrow n = { .mem = mem, .k = k, .to = arena_new(mem, Kernel), .var = arena_array(mem, Affine, k->nvar + 1), .threads = threads };

    *n.to = *k;
    for (int i = 0; i < k->nvar; i++)
        n.var[i] = aff_var(mem, i, 1);
    return n;
}

static Stmt *again(Narrow *n, const Stmt *loop, int64_t extent, Stmt *body)
{
    Stmt *s = sched_for(n->mem, loop->loc, loop->id, extent, body);

    s->grid = loop->grid;
    s->block = loop->block;
    return s;
}

/* ---- rows ---- */

/* Registers are the thread's, whatever row its group begins with. */
static void fit_locals(Narrow *n, Stmt *s, const Stmt *grid, const Stmt *row, int64_t rows)
{
    for (; s; s = s->next) {
        bool own = s->kind == ST_GET || s->kind == ST_SET || s->kind == ST_FOLD;
        Affine a = aff_const(s->at.base);

        for (int i = 0; own && i < s->at.n; i++)
            if (s->at.term[i].var != grid->id)
                a = aff_add(n->mem, a, aff_var(n->mem, s->at.term[i].var, s->at.term[i].coef));
        if (own)
            s->at = a;
        if (s->kind == ST_LOCAL && s->scope == SCOPE_EACH)
            s->count = s->count / row->extent * rows;
        fit_locals(n, s->body, grid, row, rows);
    }
}

/* Does each form count rows through all groups, or none? */
static bool counts_rows(const Stmt *s, const Stmt *grid, const Stmt *row)
{
    for (; s; s = s->next) {
        bool own = s->kind == ST_GET || s->kind == ST_SET || s->kind == ST_FOLD;

        for (int i = 0; stmt_affine((Stmt *)s, i); i++) {
            Affine a = *stmt_affine((Stmt *)s, i);

            if (aff_coef(a, grid->id) != (own ? 0 : row->extent * aff_coef(a, row->id)))
                return false;
        }
        if (!counts_rows(s->body, grid, row))
            return false;
    }
    return true;
}

static const Stmt *row_loop(const Stmt *grid)
{
    const Stmt *s = grid->body;

    while (s && s->kind == ST_LOCAL && s->scope == SCOPE_EACH)
        s = s->next;
    return s && s->kind == ST_FOR && s->block && !s->async && !s->next ? s : NULL;
}

static Kernel *fewer_rows(Narrow *n, const Stmt *grid)
{
    Arena      *mem = n->mem;
    const Stmt *row = row_loop(grid);
    int64_t     lanes = row ? kernel_group(n->k).threads / row->extent : 0, rows = lanes ? n->threads / lanes : 0;
    KList       body = { 0 };

    if (!rows || row->extent % rows || lanes * row->extent != kernel_group(n->k).threads || has_scope(row->body, SCOPE_GROUP)
        || !counts_rows(row->body, grid, row))
        return NULL;
    n->var[grid->id] = aff_const(0);
    n->var[row->id] = aff_add(mem, aff_var(mem, grid->id, rows), aff_var(mem, row->id, 1));
    for (const Stmt *s = grid->body; s != row; s = s->next)
        gpu_append_copy(mem, &body, s);
    kern_append(&body, again(n, row, rows, kern_clone(mem, row->body, n->var, 0, 0)));
    fit_locals(n, body.first, grid, row, rows);
    n->to->body = again(n, grid, grid->extent * (row->extent / rows), body.first);
    return n->to;
}

/* ---- columns ---- */

/* The block loops of the list, longer ones in turns; NULL: they are not all there is. */
static Stmt *in_turns(Narrow *n, const Stmt *list)
{
    KList l = { 0 };

    for (; list; list = list->next) {
        bool        loop = list->kind == ST_FOR && list->block && !list->async;
        const Stmt *last = list;
        Stmt       *copy, one = *last;
        int         turn = n->to->nvar;

        if (!loop && list->kind != ST_LOCAL)
            return NULL;
        if (loop && list->extent > n->threads) {
            n->to->nvar++;
            n->var[list->id] = aff_add(n->mem, aff_var(n->mem, turn, n->threads), aff_var(n->mem, list->id, 1));
            copy = sched_for(n->mem, list->loc, turn, list->extent / n->threads,
                             again(n, list, n->threads, kern_clone(n->mem, list->body, n->var, 0, 0)));
        } else {
            one.next = NULL;
            copy = kern_clone(n->mem, &one, n->var, 0, 0);
        }
        kern_append(&l, copy);
    }
    return l.first;
}

static Kernel *more_turns(Narrow *n, const Stmt *grid)
{
    Stmt *body;

    if (has_scope(grid->body, SCOPE_EACH) || stmt_has(grid->body, ST_FOLD) || stmt_has(grid->body, ST_MMA) || kernel_group(n->k).inner[1]
        || kernel_group(n->k).threads % n->threads || !(body = in_turns(n, grid->body)))
        return NULL;
    n->to->body = again(n, grid, grid->extent, body);
    return n->to;
}

Kernel *gpu_narrow(Arena *mem, const Kernel *k, int64_t threads)
{
    const Stmt *grid = k->body;
    Narrow      n = open_narrow(mem, k, threads), m = open_narrow(mem, k, threads);
    Kernel     *to;

    if (k->scan || !grid || !grid->grid || !grid->body || grid->body->grid)
        return NULL;
    to = fewer_rows(&n, grid);
    return to ? to : more_turns(&m, grid);
}
