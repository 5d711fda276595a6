/* cpu_fold.c - several folds at once.
 *
 * A tile that runs along the fold ends with 16 partials of each of its results.  The same tree, a step for all results
 * together: of two vectors with blocks of 2d lanes, whose halves are to meet, comes one whose blocks hold d lanes of the one
 * and d of the other.  So n results of `width` partials take about n steps on full vectors, and none of the additions
 * is another one.
 */
#include "backends/cpu.h"

#include <assert.h>

typedef struct Result { LLVMValueRef cell; int64_t place; int vector, lane; } Result;     /* place: where it goes */

typedef struct Folds {
    Emit         *e;
    const Stmt   *fold, *set;
    Result       *r;
    LLVMValueRef *v;         /* vectors that are left */
    int           n, nv, width;
} Folds;

/* ---- which loops ---- */

/* for u < m unroll { for v < n unroll { %x = fold op a[..]; set b[..], %x } }, or one such loop, between registers: the fold. */
static const Stmt *find_fold(Emit *e, const Stmt *loop)
{
    const Stmt *fold = loop->body, *set;
    const LocalRegs *to;

    if (loop->lanes || !cpu_is_unrolled(e, loop) || !fold || e->vec_var >= 0)
        return NULL;
    if (fold->kind == ST_FOR)
        return fold->next ? NULL : find_fold(e, fold);
    set = fold->next;
    if (fold->kind != ST_FOLD || !set || set->kind != ST_SET || set->next || set->arg[0] != fold->id)
        return NULL;
    to = &e->local[set->local];
    return set->local != fold->local && !to->on_stack && to->width > 1 && !to->copies ? fold : NULL;
}

static int count_results(const Stmt *s)
{
    return s->kind == ST_FOR ? (int)s->extent * count_results(s->body) : 1;
}

/* false: some fold does not fall into whole cells */
static bool collect(Folds *f, const Stmt *s)
{
    if (s->kind != ST_FOR) {
        Result *r = &f->r[f->n];

        *r = (Result){ cpu_fold_cells(f->e, s), cpu_known_place(f->e, f->set->at), f->n, 0 };
        f->n++;
        return r->cell != NULL;
    }
    for (int64_t i = 0; i < s->extent; i++) {
        f->e->var[s->id] = cpu_number(f->e, i);
        if (!collect(f, s->body))
            return false;
    }
    return true;
}

/* ---- the tree ---- */

/* Blocks of 2d lanes of a and b: the halves of a's meet in the lower d lanes of the result's blocks, those of b's in the upper.  A sum has
 * no order of its two terms, so one of its vectors needs no lane moved; b may be NULL. */
static LLVMValueRef meet(Folds *f, LLVMValueRef a, LLVMValueRef b, int d)
{
    LLVMValueRef other = b ? b : a;
    int one[64], two[64];

    for (int i = 0; i < f->width; i++) {
        bool upper = i & d;
        int  low = upper ? i - d : i;

        one[i] = !upper ? i : f->width + (f->fold->op == OP_add ? i : low);
        two[i] = !upper ? i + d : f->width + (f->fold->op == OP_add ? low : i);
    }
    return cpu_fold2(f->e, f->fold, cpu_shuffle(f->e, a, other, one, f->width), cpu_shuffle(f->e, a, other, two, f->width));
}

static void fold_all(Folds *f)
{
    for (int d = f->width / 2; d >= 1; d /= 2) {
        int half = (f->nv + 1) / 2;

        for (int i = 0; i < half; i++)
            f->v[i] = meet(f, f->v[i], i + half < f->nv ? f->v[i + half] : NULL, d);
        for (int i = 0; i < f->n; i++)
            if (f->r[i].vector >= half) {
                f->r[i].vector -= half;
                f->r[i].lane += d;
            }
        f->nv = half;
    }
}

/* ---- where results go ---- */

/* The lanes of vector `from` that belong into cell `to`, put there. */
static void put(Folds *f, LocalRegs *l, int to, int from)
{
    int move[64] = { 0 }, blend[64];
    bool any = false;

    for (int i = 0; i < l->width; i++)
        blend[i] = i;
    for (int i = 0; i < f->n; i++)
        if (f->r[i].vector == from && f->r[i].place / l->width == to) {
            int64_t at = f->r[i].place % l->width;

            move[at] = f->r[i].lane;
            blend[at] = l->width + (int)at;
            any = true;
        }
    if (any)
        l->cell[to] = cpu_shuffle(f->e, l->cell[to], cpu_shuffle(f->e, f->v[from], LLVMGetPoison(LLVMTypeOf(f->v[from])), move, l->width),
                                  blend, l->width);
}

bool cpu_fold_together(Emit *e, const Stmt *loop)
{
    const Stmt *fold = find_fold(e, loop);
    Folds f = { .e = e, .fold = fold, .set = fold ? fold->next : NULL };
    LocalRegs *to;

    if (!fold)
        return false;
    f.r = arena_array(e->mem, Result, count_results(loop));
    if (!collect(&f, loop))
        return false;
    f.width = (int)LLVMGetVectorSize(LLVMTypeOf(f.r[0].cell));
    f.v = arena_array(e->mem, LLVMValueRef, f.nv = f.n);
    for (int i = 0; i < f.n; i++)
        f.v[i] = f.r[i].cell;
    fold_all(&f);
    to = &e->local[f.set->local];
    for (int cell = 0; cell < to->ncell; cell++)
        for (int i = 0; i < f.nv; i++)
            put(&f, to, cell, i);
    return true;
}
