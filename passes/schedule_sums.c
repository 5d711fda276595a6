/* schedule_sums.c - sums down columns: several vectors of columns together.
 *
 * A bias' gradient adds up thousands of rows.  With one vector of columns at a time each row is a line of a cache here and a line there; with
 * several it is a run of them, which memory gives faster, and as many sums that don't wait for each other.  Each column
 * is added up in the order of rows, as before.
 */
#include "passes/schedule.h"

/* Vectors of columns together at most; rows from which on that is worth it. */
enum { MOST_VECTORS = 8, FEW_ROWS = 32 };

typedef struct Sums { Nest *nest; int lanes; int64_t width; Stmt *local, *fold, *rest; } Sums;

static bool is_plain(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->kind != ST_LOAD && s->kind != ST_LET && s->kind != ST_CONST && s->kind != ST_GET && s->kind != ST_SET && s->kind != ST_STORE)
            return false;
    return true;
}

/* Loops in each other, then straight lines: how often these run, 0: something else. */
static int64_t rows_of(const Stmt *fold)
{
    int64_t n = 1;

    for (; fold->kind == ST_FOR; fold = fold->body) {
        if (fold->lanes || fold->unroll || fold->sieve || !fold->body || (fold->body->kind == ST_FOR && fold->body->next))
            return 0;
        n *= fold->extent;
    }
    return is_plain(fold) ? n : 0;
}

/* One local of one number, loops that change it, what is done with it. */
static bool take_apart(Sums *s)
{
    Stmt   *first = s->nest->body;
    Strides st = { 0 };

    if (first->kind != ST_LOCAL || first->count != 1 || !first->next || first->next->kind != ST_FOR)
        return false;
    s->local = first;
    s->fold = first->next;
    s->rest = s->fold->next;
    strides_of(first, s->nest->var[s->nest->n - 1], &st);
    return s->rest && is_plain(s->rest) && rows_of(s->fold) >= FEW_ROWS && st.unit && !st.other;
}

/* At least two pieces, that threads have something to share. */
static bool choose_width(Sums *s)
{
    int64_t columns = s->nest->extent[s->nest->n - 1];

    for (s->width = MOST_VECTORS * s->lanes; s->width > s->lanes; s->width /= 2)
        if (columns % s->width == 0 && columns > s->width)
            return true;
    return false;
}

static void move_places(Arena *mem, Stmt *s, int column)
{
    for (; s; s = s->next)
        if (s->kind == ST_GET || s->kind == ST_SET)
            s->at = aff_add(mem, s->at, aff_var(mem, column, 1));
}

/* Straight lines for all columns of the piece. */
static Stmt *along_columns(Sums *s, const Stmt *list, Affine piece)
{
    Nest   *nest = s->nest;
    int     column = nest->k->nvar++;
    Affine *var = arena_array(nest->mem, Affine, nest->k->nvar);
    Stmt   *body, *loop;

    for (int i = 0; i < nest->k->nvar; i++)
        var[i] = aff_var(nest->mem, i, 1);
    var[nest->var[nest->n - 1]] = aff_add(nest->mem, piece, aff_var(nest->mem, column, 1));
    body = kern_clone(nest->mem, list, var, 0, 0);
    move_places(nest->mem, body, column);
    loop = sched_for(nest->mem, nest->k->loc, column, s->width, body);
    loop->lanes = s->lanes;
    loop->unroll = true;
    return loop;
}

static Stmt *folded(Sums *s, const Stmt *fold, Affine piece)
{
    if (fold->kind != ST_FOR)
        return along_columns(s, fold, piece);
    return sched_for(s->nest->mem, fold->loc, fold->id, fold->extent, folded(s, fold->body, piece));
}

Stmt *schedule_sums(Nest *nest, int lanes)
{
    Sums   s = { .nest = nest, .lanes = lanes };
    KList  body = { 0 };
    int    last = nest->n - 1, piece;
    Stmt  *local;

    if (!nest->body || !take_apart(&s) || !choose_width(&s))
        return NULL;
    piece = nest->k->nvar++;
    Affine at = aff_var(nest->mem, piece, s.width);

    local = kern_add(nest->mem, &body, ST_LOCAL, s.local->loc);
    local->id = s.local->id;
    local->dtype = s.local->dtype;
    local->number = s.local->number;
    local->count = s.width;
    kern_append(&body, folded(&s, s.fold, at));
    kern_append(&body, along_columns(&s, s.rest, at));
    nest->var[last] = piece;
    nest->extent[last] /= s.width;
    return nest_wrap(nest, body.first, nest->n);
}
