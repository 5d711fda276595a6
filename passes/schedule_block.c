/* schedule_block.c - which operand of a contraction stays in which cache while tiles pass over the result.
 *
 *   rows in blocks     a tile along the fold keeps a panel of columns in the first cache while rows pass over it.  More rows than the second
 *                      cache holds come from further away for every panel, so they are taken in blocks that it holds
 *   packed panels      a tile along columns meets a few vectors of each row of its operand.  Rows that lie far apart are as many pages,
 *                      and fall into few sets of a cache, so the panel is copied once into a buffer where it is contiguous
 *   folds in parts     where both operands lie in rows along the fold, as of a weight's gradient by a batch of thousands, each tile walks from line
 *                      to line through as many pages as there are rows.  So the fold is taken part by part: all tiles of a panel do one part
 *                      before the next, and their partial results wait in a buffer
 *   groups of columns  where the rows are more than the second cache holds, a tile of rows meets several packed panels while it is in the first
 *
 * None of it changes the order in which an element is summed.
 */
#include "passes/schedule_tile.h"

/* Tiles of rows that make a copy worth its time; the least iterations to share among threads; bytes that lie so far apart are in different pages
 * or in the same set. */
enum { PACK_ROWS = 32, SHARES = 8, FAR_APART = 1024 };

/* Of a fold in parts: tiles of rows that make it worth its time; bytes apart from which on a panel is copied; the shortest part; a line of a cache. */
enum { PART_ROWS = 8, PART_APART = 512, PART_MIN = 32, LINE = 64 };

static int64_t row_count(const Tile *t) { return t->row < 0 ? 1 : t->nest->extent[t->row]; }

static int64_t largest_divisor(int64_t n, int64_t most)
{
    int64_t d = most < n ? most : n;

    while (d > 1 && n % d)
        d--;
    return d > 1 ? d : 1;
}

/* Bytes of a row of the operand that changes with var, over the whole fold. */
static int64_t operand_bytes(const Tile *t, const Stmt *s, int var, int64_t times)
{
    int64_t n = 0;

    for (; s; s = s->next) {
        if (s->kind == ST_LOAD && (aff_coef(s->at, var) || aff_coef(s->row, var)))
            n += times * dt_bytes(s->dtype);
        if (s->kind == ST_FOR)
            n += operand_bytes(t, s->body, var, times * s->extent);
    }
    return n;
}

static int64_t row_bytes(const Tile *t)
{
    int64_t n = 0;
    const Stmt *s = t->fold;

    for (int i = 0; i < t->nfold; i++, s = s->next)
        n += operand_bytes(t, s->body, t->nest->var[t->row], s->extent);
    return n;
}

/* ---- packed panels ---- */

static bool in_parts(const Tile *t) { return t->part < t->fold->extent; }

static bool is_straight(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->kind == ST_FOR || s->kind == ST_PICK || s->kind == ST_IF)
            return false;
    return true;
}

/* One folded loop of straight lines over rows and columns, for vectors of results. */
static bool is_plain(const Tile *t)
{
    return !t->along_fold && t->nest->n == 2 && t->row >= 0 && t->nfold == 1 && !t->nest->k->scan && is_straight(t->fold->body);
}

/* An operand of columns alone: contiguous along them, its rows far apart, and not so few that the first cache keeps it anyhow. */
static bool wants_panel(const Tile *t, const Stmt *s)
{
    const Buffer *b = s->kind == ST_LOAD ? &t->nest->p->buf[s->buf] : NULL;
    int column = t->nest->var[t->column];

    if (!b || s->narg || (b->seg != SEG_STATE && b->seg != SEG_SCRATCH && b->seg != SEG_INPUT) || s->at.n != 2)
        return false;
    return aff_coef(s->at, column) == 1 && aff_coef(s->at, t->fold->id) * dt_bytes(b->dtype) >= (in_parts(t) ? PART_APART : FAR_APART)
           && (in_parts(t) || t->fold->extent * t->n * dt_bytes(b->dtype) >= t->nest->limits->l1_bytes / 2);
}

static void choose_packed(Tile *t)
{
    const Nest *nest = t->nest;

    if (!is_plain(t) || row_count(t) < (in_parts(t) ? PART_ROWS : PACK_ROWS) * t->m || nest->extent[t->column] < 2 * t->n)
        return;
    for (const Stmt *s = t->fold->body; s && t->npacked < MAX_PACKED; s = s->next) {
        if (!wants_panel(t, s))
            continue;
        Buffer b = { .seg = SEG_SCRATCH, .slot = -1, .offset = -1, .dtype = nest->p->buf[s->buf].dtype,
                     .count = t->part * nest->extent[t->column] };

        t->packed[t->npacked++] = (Packed){ s, plan_buffer(nest->p, b) };
    }
}

/* Panels stand one behind the other; element k of the fold at column v of n. */
static Affine panel_place(const Tile *t, Affine column, int n, Affine v, Affine fold)
{
    Arena *mem = t->nest->mem;

    return aff_add(mem, aff_add(mem, aff_scale(mem, column, t->part), aff_scale(mem, fold, n)), v);
}

void tile_pack(Tile *t, Affine column, int n, KList *l)
{
    Arena *mem = t->nest->mem;

    for (int i = 0; i < t->npacked; i++) {
        int fold = t->k->nvar++, v = t->k->nvar++;
        Affine at = aff_var(mem, v, 1), k = aff_var(mem, fold, 1);
        KList body = { 0 };
        Stmt *s = kern_add(mem, &body, ST_LOAD, t->packed[i].load->loc);

        s->id = t->k->nvalue++;
        s->buf = t->packed[i].load->buf;
        s->dtype = t->packed[i].load->dtype;
        s->at = aff_subst(mem, t->packed[i].load->at, t->nest->var[t->column], aff_const(0));
        s->at = aff_subst(mem, s->at, t->fold->id, t->part_from);
        s->at = aff_add(mem, s->at, aff_add(mem, column, at));
        s->at = aff_add(mem, s->at, aff_scale(mem, k, aff_coef(t->packed[i].load->at, t->fold->id)));
        int value = s->id;

        s = kern_add(mem, &body, ST_STORE, t->packed[i].load->loc);
        s->buf = t->packed[i].buf;
        s->dtype = t->packed[i].load->dtype;
        s->at = panel_place(t, column, n, at, k);
        s->narg = 1;
        s->arg[0] = value;
        s = sched_for(mem, t->k->loc, v, n, body.first);
        s->lanes = t->lanes;
        s->unroll = true;
        kern_append(l, sched_for(mem, t->k->loc, fold, t->part, s));
    }
}

void tile_unpack(Tile *t, Stmt *inner, Affine column, int n, Affine v, Affine fold)
{
    for (const Stmt *s = t->fold->body; t->npacked && s; s = s->next, inner = inner->next)
        for (int i = 0; i < t->npacked; i++)
            if (t->packed[i].load == s) {
                inner->buf = t->packed[i].buf;
                inner->at = panel_place(t, column, n, v, fold);
            }
}

/* ---- a fold in parts ---- */

/* Does an operand of the rows walk from line to line along the fold? */
static bool rows_stride(const Tile *t)
{
    for (const Stmt *s = t->fold->body; s; s = s->next)
        if (s->kind == ST_LOAD && aff_coef(s->at, t->nest->var[t->row]) && aff_coef(s->at, t->fold->id) * dt_bytes(s->dtype) >= LINE)
            return true;
    return false;
}

/* The panel of a part stays in the first cache while all rows pass over it, and they walk within as much of their operand as the second keeps. */
static void choose_part(Tile *t)
{
    int64_t most = t->nest->limits->l1_bytes / 2 / (t->n * dt_bytes(t->local->dtype));

    if (!is_plain(t) || t->n % t->lanes || t->nest->extent[t->column] < 2 * t->n || t->fold->extent < 2 * most || row_count(t) < PART_ROWS * t->m)
        return;
    if (!rows_stride(t) || largest_divisor(t->fold->extent, most) < PART_MIN)
        return;
    t->part = largest_divisor(t->fold->extent, most);
    t->partials = plan_buffer(t->nest->p, (Buffer){ .seg = SEG_SCRATCH, .slot = -1, .offset = -1, .dtype = t->local->dtype,
                                                    .count = row_count(t) * t->nest->extent[t->column] });
}

Affine tile_partial(const Tile *t, Affine row, Affine column, Affine v)
{
    Arena *mem = t->nest->mem;

    return aff_add(mem, aff_add(mem, aff_scale(mem, column, row_count(t)), aff_scale(mem, row, t->n)), v);
}

/* ---- blocks ---- */

void tile_block(Tile *t)
{
    int64_t rows = row_count(t), l2 = t->nest->limits->l2_bytes, whole = t->nest->extent[t->column] / t->n, most;

    t->row_block = rows;
    t->group = 1;
    t->npacked = 0;
    t->part = t->fold->extent;
    t->part_from = aff_const(0);
    if (t->nest->n != 2 || t->row < 0)
        return;
    choose_part(t);
    choose_packed(t);
    if (in_parts(t) || rows * row_bytes(t) <= l2 / 2)
        return;
    if (t->along_fold && rows / t->m > 2 * SHARES) {
        most = l2 / 4 / (row_bytes(t) * t->m);
        t->row_block = t->m * (most < 1 ? 1 : most);
        if (rows / t->row_block < SHARES)
            t->row_block = rows / SHARES / t->m * t->m;
    } else if (t->npacked) {
        most = l2 / 2 / (t->fold->extent * t->n * dt_bytes(t->packed[0].load->dtype));
        t->group = largest_divisor(whole, most < whole / SHARES ? most : whole / SHARES);
    }
}
