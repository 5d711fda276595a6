/* schedule_tile.c - contractions as register tiles of vectors.
 *
 * lower wrote, for one element of the result: locals, folded loops, then what follows.  A tile does that
 * for a block of rows x columns at once: its partial results stay in registers while the folded loops run
 * once, so each load serves several multiply-adds.
 *
 *   along columns   partials are vectors of results; one operand is contiguous along the columns, the other
 *                   is one number a row
 *   along the fold  partials are NND_LANES partial sums of one result (lower chose that because both operands
 *                   are contiguous along the folded axis); folded, then the rest runs in vectors of columns.  A
 *                   rest with functions in it waits until several such blocks have filled its vectors
 *
 * Neither changes the order in which an element is summed.  A remainder of rows or columns is a tile of its
 * own size; where it can't stand inside the kernel's parallel loop it becomes a kernel of its own.
 */
#include "passes/schedule_tile.h"

#include <assert.h>
#include <math.h>

/* ---- recognition ---- */

static bool folds_products(const Stmt *s)
{
    for (; s; s = s->next)
        if ((s->kind == ST_LET && s->op == OP_fma) || (s->kind == ST_FOR && folds_products(s->body)))
            return true;
    return false;
}

static bool has_loop(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->kind == ST_FOR)
            return true;
    return false;
}

/* The body is one local, then folded loops, then straight lines. */
static bool take_apart(Tile *t)
{
    Stmt *s = t->nest->body;

    if (!s || s->kind != ST_LOCAL || !s->next || s->next->kind != ST_FOR)
        return false;
    t->local = s;
    t->fold = s->next;
    for (s = t->fold; s && s->kind == ST_FOR; s = s->next) {
        if (!folds_products(s->body))
            return false;
        t->nfold++;
    }
    t->rest = s;
    for (; s; s = s->next)
        if (s->kind == ST_FOR || s->kind == ST_LOCAL)
            return false;
    t->along_fold = t->local->count == NND_LANES;
    return t->rest && t->nest->n >= 1;
}

/* No load depends on both: then each serves a whole row or a whole column of a tile. */
static bool is_shared(const Stmt *s, int row, int column)
{
    for (; s; s = s->next) {
        if (s->kind == ST_LOAD && (aff_coef(s->at, row) || aff_coef(s->row, row))
            && (aff_coef(s->at, column) || aff_coef(s->row, column)))
            return false;
        if (!is_shared(s->body, row, column))
            return false;
    }
    return true;
}

/* Rows: the last other loop along which loads are shared, else the last one. */
static int choose_row(const Tile *t)
{
    const Nest *nest = t->nest;
    int row = -1, shared = -1;

    for (int i = 0; i < nest->n; i++) {
        if (i == t->column)
            continue;
        row = i;
        if (is_shared(t->fold, nest->var[i], nest->var[t->column]))
            shared = i;
    }
    return shared >= 0 ? shared : row;
}

/* Columns: the loop along which results, and for vectors of results one operand, are contiguous. */
static bool choose_axes(Tile *t)
{
    Nest *nest = t->nest;

    t->column = -1;
    for (int i = 0; i < nest->n; i++) {
        Strides fold = { 0 }, rest = { 0 };

        strides_of(t->fold->body, nest->var[i], &fold);
        strides_of(t->rest, nest->var[i], &rest);
        if (rest.other == 0 && rest.unit > 0 && (t->along_fold || (fold.unit > 0 && fold.other == 0)))
            t->column = i;
    }
    if (t->column < 0)
        return false;
    t->row = choose_row(t);
    return true;
}

/* ---- writing a tile ---- */

static int new_var(Tile *t) { return t->k->nvar++; }

static Affine affine(Tile *t, int var) { return aff_var(t->nest->mem, var, 1); }

static Affine sum(Tile *t, Affine a, Affine b) { return aff_add(t->nest->mem, a, b); }

static Stmt *vec_for(Tile *t, int var, int64_t extent, int lanes, bool unroll, Stmt *body)
{
    Stmt *s = sched_for(t->nest->mem, t->k->loc, var, extent, body);

    s->lanes = lanes;
    s->unroll = unroll;
    return s;
}

static void move_local(Tile *t, Stmt *s, int local, Affine by)
{
    for (; s; s = s->next) {
        if (s->kind == ST_GET || s->kind == ST_SET || s->kind == ST_FOLD) {
            s->local = local;
            s->at = sum(t, s->at, by);
        }
        move_local(t, s->body, local, by);
    }
}

static void rename_loops(Tile *t, const Stmt *s)
{
    for (; s; s = s->next)
        if (stmt_has_var(s)) {
            t->map[s->id] = affine(t, new_var(t));
            rename_loops(t, s->body);
        }
}

/* A copy of statements for row `row` and column `column` of the result; the element's local becomes the part
 * of `local` from `at` on. */
static Stmt *copy(Tile *t, const Stmt *s, Affine row, Affine column, int local, Affine at)
{
    Stmt *c;

    rename_loops(t, s);
    if (t->row >= 0)
        t->map[t->nest->var[t->row]] = row;
    t->map[t->nest->var[t->column]] = column;
    c = kern_clone(t->nest->mem, s, t->map, t->base, 0);
    move_local(t, c, local, at);
    return c;
}

typedef struct Block { Affine row, column; int m, n, local, width; } Block;   /* width: results a row of the local */

/* The innermost folded statements, for all rows and columns of the block. */
static Stmt *fold_body(Tile *t, const Block *b, const Stmt *s)
{
    int u = new_var(t), v = new_var(t);
    Affine row = sum(t, b->row, affine(t, u)), column = sum(t, b->column, affine(t, v));
    Affine at = sum(t, aff_scale(t->nest->mem, affine(t, u), b->width), affine(t, v));
    Stmt *inner;

    if (t->along_fold)
        at = aff_scale(t->nest->mem, at, NND_LANES);
    inner = copy(t, s, row, column, b->local, at);
    if (t->npacked)
        tile_unpack(t, inner, b->column, b->n, affine(t, v), t->fold_index);
    inner = vec_for(t, v, b->n, t->along_fold ? 0 : t->lanes, true, inner);
    return vec_for(t, u, b->m, 0, true, inner);
}

/* Only this statement, not what follows it. */
static Stmt alone(const Stmt *s)
{
    Stmt one = *s;

    one.next = NULL;
    return one;
}

static Stmt *fold_loops(Tile *t, const Block *b, const Stmt *s)
{
    Stmt one = alone(s);
    KList body = { 0 };
    int var;

    if (s->kind != ST_FOR)
        return fold_body(t, b, s);
    if (s->lanes)
        return fold_body(t, b, &one);
    var = new_var(t);
    t->fold_index = affine(t, var);
    t->map[s->id] = t->stage == TILE_PART ? sum(t, t->part_from, t->fold_index) : t->fold_index;
    if (s->body->kind != ST_FOR)
        return sched_for(t->nest->mem, s->loc, var, t->stage == TILE_PART ? t->part : s->extent, fold_body(t, b, s->body));
    /* whole groups of lanes, then those that remain */
    for (const Stmt *in = s->body; in; in = in->next)
        kern_append(&body, fold_loops(t, b, in));
    return sched_for(t->nest->mem, s->loc, var, s->extent, body.first);
}

static int declare(Tile *t, KList *l, int64_t count)
{
    Stmt *s = kern_add(t->nest->mem, l, ST_LOCAL, t->local->loc);

    s->id = t->k->nlocal++;
    s->dtype = t->local->dtype;
    s->count = count;
    s->number = t->local->number;
    return s->id;
}

/* Along the fold: the block's results go into a second local, row by row from `at` on, so that the rest runs in vectors. */
static void fold_partials(Tile *t, const Block *b, int results, int padded, Affine from, KList *l)
{
    Arena *mem = t->nest->mem;
    int u = new_var(t), v = new_var(t), value = t->k->nvalue++;
    Affine at = sum(t, aff_scale(mem, affine(t, u), b->width), affine(t, v));
    KList body = { 0 };
    Stmt *s = kern_add(mem, &body, ST_FOLD, t->rest->loc);

    s->id = value;
    s->op = t->rest->op;
    s->dtype = t->local->dtype;
    s->local = b->local;
    s->at = aff_scale(mem, at, NND_LANES);
    s->count = NND_LANES;
    s = kern_add(mem, &body, ST_SET, t->rest->loc);
    s->dtype = t->local->dtype;
    s->local = results;
    s->at = sum(t, sum(t, aff_scale(mem, affine(t, u), padded), affine(t, v)), from);
    s->narg = 1;
    s->arg[0] = value;
    kern_append(l, vec_for(t, u, b->m, 0, true, vec_for(t, v, b->n, 0, true, body.first)));
}

/* The rest of the element with its fold turned into a read of the folded result. */
static Stmt *rest_of(Tile *t)
{
    Stmt *s = arena_new(t->nest->mem, Stmt);

    if (!t->along_fold)
        return t->rest;
    *s = *t->rest;
    s->kind = ST_GET;
    s->at = aff_const(0);
    s->count = 0;
    return s;
}

/* Partial results from the buffer into the local, or from there into the buffer. */
static void move_partials(Tile *t, const Block *b, bool back, KList *l)
{
    Arena *mem = t->nest->mem;
    int u = new_var(t), v = new_var(t), value = t->k->nvalue++;
    Affine place = tile_partial(t, sum(t, b->row, affine(t, u)), b->column, affine(t, v));
    Affine at = sum(t, aff_scale(mem, affine(t, u), b->width), affine(t, v));
    KList body = { 0 };
    Stmt *from = kern_add(mem, &body, back ? ST_GET : ST_LOAD, t->local->loc);
    Stmt *to = kern_add(mem, &body, back ? ST_STORE : ST_SET, t->local->loc);

    from->id = value;
    to->narg = 1;
    to->arg[0] = value;
    from->dtype = to->dtype = t->local->dtype;
    from->buf = to->buf = t->partials;
    from->local = to->local = b->local;
    from->at = back ? at : place;
    to->at = back ? place : at;
    kern_append(l, vec_for(t, u, b->m, 0, true, vec_for(t, v, b->n, t->lanes, true, body.first)));
}

/* The folded loops of a block, or the part of them whose turn it is, in values of its own. */
static void write_fold(Tile *t, Block *b, KList *l)
{
    const Stmt *fold = t->fold;

    t->base = t->k->nvalue;
    t->k->nvalue += t->nest->k->nvalue;
    b->local = declare(t, l, (int64_t)b->m * b->width * (t->along_fold ? NND_LANES : 1));
    if (t->stage == TILE_PART || t->stage == TILE_FINISH)
        move_partials(t, b, false, l);
    for (int i = 0; i < t->nfold && (t->stage == TILE_PART || t->stage == TILE_WHOLE); i++, fold = fold->next)
        kern_append(l, fold_loops(t, b, fold));
    if (t->stage == TILE_PART || t->stage == TILE_BEGIN)
        move_partials(t, b, true, l);
}

/* Along the fold: columns in blocks, whose results stand side by side in a local; returns it. */
static int write_blocks(Tile *t, const Block *tile, int padded, KList *l)
{
    int results = -1;

    for (int from = 0, n; from < tile->n; from += n) {
        n = tile->n - from < t->block ? tile->n - from : t->block;
        Block b = { tile->row, sum(t, tile->column, aff_const(from)), tile->m, n, 0, n };

        write_fold(t, &b, l);
        if (results < 0)
            results = declare(t, l, (int64_t)tile->m * padded);
        fold_partials(t, &b, results, padded, aff_const(from), l);
    }
    return results;
}

static void write_tile(Tile *t, Affine row, Affine column, int m, int n, KList *l)
{
    int padded = (n + t->lanes - 1) / t->lanes * t->lanes, u, v;
    Block b = { row, column, m, n, 0, padded };

    if (t->along_fold)
        b.local = write_blocks(t, &b, padded, l);
    else
        write_fold(t, &b, l);
    if (t->stage == TILE_BEGIN || t->stage == TILE_PART)
        return;
    u = new_var(t);
    v = new_var(t);
    Affine at = sum(t, aff_scale(t->nest->mem, affine(t, u), padded), affine(t, v));
    Stmt *rest = copy(t, rest_of(t), sum(t, row, affine(t, u)), sum(t, column, affine(t, v)), b.local, at);

    kern_append(l, vec_for(t, u, m, 0, true, vec_for(t, v, n, t->lanes, true, rest)));
}

/* ---- tiles over the result ---- */

static int64_t row_count(const Tile *t) { return t->row < 0 ? 1 : t->nest->extent[t->row]; }

static Stmt *tile_alone(Tile *t, Affine row, Affine column, int m, int n)
{
    KList l = { 0 };

    write_tile(t, row, column, m, n, &l);
    return l.first;
}

/* Tiles of m rows: `count` of them from row `from` on. */
static Stmt *row_loop(Tile *t, Affine from, int64_t count, Affine column, int n)
{
    int var = new_var(t);
    Affine row = sum(t, from, aff_var(t->nest->mem, var, t->m));
    Stmt *body = tile_alone(t, row, column, t->m, n);

    return sched_for(t->nest->mem, t->k->loc, var, count, body);
}

/* Rows from `from` on in tiles, and the tile of those that remain. */
static Stmt *all_rows(Tile *t, Affine from, int64_t count, Affine column, int n)
{
    KList l = { 0 };
    int rest = (int)(count % t->m);

    if (count == t->m)
        return tile_alone(t, from, column, t->m, n);
    if (count / t->m)
        kern_append(&l, row_loop(t, from, count / t->m, column, n));
    if (rest)
        kern_append(&l, tile_alone(t, sum(t, from, aff_const(count - rest)), column, rest, n));
    return l.first;
}

/* Whole tiles of columns, over `count` rows from `from` on. */
static Stmt *column_loop(Tile *t, Affine from, int64_t count)
{
    int var = new_var(t);
    Affine column = aff_var(t->nest->mem, var, t->n);
    KList l = { 0 };

    tile_pack(t, column, t->n, &l);
    kern_append(&l, all_rows(t, from, count, column, t->n));
    return sched_for(t->nest->mem, t->k->loc, var, t->nest->extent[t->column] / t->n, l.first);
}

static Stmt *stage_rows(Tile *t, TileStage stage, Affine column)
{
    t->stage = stage;
    return all_rows(t, aff_const(0), row_count(t), column, t->n);
}

/* Whole tiles of columns, whose fold is taken part by part: all rows pass over the part of a panel before the next. */
static Stmt *part_loop(Tile *t)
{
    int var = new_var(t), part = new_var(t);
    Affine column = aff_var(t->nest->mem, var, t->n);
    KList l = { 0 }, one = { 0 };

    t->part_from = aff_var(t->nest->mem, part, t->part);
    tile_pack(t, column, t->n, &one);
    kern_append(&one, stage_rows(t, TILE_PART, column));
    kern_append(&l, stage_rows(t, TILE_BEGIN, column));
    kern_append(&l, sched_for(t->nest->mem, t->k->loc, part, t->fold->extent / t->part, one.first));
    kern_append(&l, stage_rows(t, TILE_FINISH, column));
    t->stage = TILE_WHOLE;
    return sched_for(t->nest->mem, t->k->loc, var, t->nest->extent[t->column] / t->n, l.first);
}

/* The tiles of one group of columns, for m rows. */
static Stmt *group_tiles(Tile *t, Affine row, int m, Affine column)
{
    int var = new_var(t);
    Stmt *tile = tile_alone(t, row, sum(t, column, aff_var(t->nest->mem, var, t->n)), m, t->n);

    return sched_for(t->nest->mem, t->k->loc, var, t->group, tile);
}

/* Whole tiles of columns, a group at a time: its panels, then rows, and for each tile of rows all of the group. */
static Stmt *group_loop(Tile *t)
{
    int64_t rows = row_count(t);
    int var = new_var(t), pack = new_var(t), row = new_var(t);
    Affine column = aff_var(t->nest->mem, var, t->n * t->group);
    KList l = { 0 }, panels = { 0 };

    tile_pack(t, sum(t, column, aff_var(t->nest->mem, pack, t->n)), t->n, &panels);
    kern_append(&l, sched_for(t->nest->mem, t->k->loc, pack, t->group, panels.first));
    kern_append(&l, sched_for(t->nest->mem, t->k->loc, row, rows / t->m, group_tiles(t, aff_var(t->nest->mem, row, t->m), t->m, column)));
    if (rows % t->m)
        kern_append(&l, group_tiles(t, aff_const(rows - rows % t->m), (int)(rows % t->m), column));
    return sched_for(t->nest->mem, t->k->loc, var, t->nest->extent[t->column] / t->n / t->group, l.first);
}

/* Blocks of rows: all columns pass over one before the next. */
static Stmt *block_loop(Tile *t)
{
    int64_t width = t->nest->extent[t->column];
    int var = new_var(t), rest = (int)(width % t->n);
    Affine row = aff_var(t->nest->mem, var, t->row_block);
    KList l = { 0 };

    kern_append(&l, column_loop(t, row, t->row_block));
    if (rest)
        kern_append(&l, all_rows(t, row, t->row_block, aff_const(width - rest), rest));
    return sched_for(t->nest->mem, t->k->loc, var, row_count(t) / t->row_block, l.first);
}

/* ---- kernels ---- */

/* A kernel of the same name with its own numbering; share is its part of the work. */
static void open_kernel(Tile *t, KernelList *out, double share)
{
    Kernel *k = arena_new(t->nest->mem, Kernel), *from = t->nest->k;

    *k = *from;
    k->flops = rint(from->flops * share);
    k->nvalue = k->nlocal = 0;
    k->nvar = k->scan ? 1 : 0;      /* the step keeps its place */
    if (out->n && t->k == out->k[out->n - 1])
        k->name = arena_printf(t->nest->mem, "%st", t->k->name);
    t->k = k;
    arena_push(t->nest->mem, out->k, out->n, out->cap);
    out->k[out->n++] = k;
}

static void mark_par(Stmt *s)
{
    if (s && s->kind == ST_FOR && !s->next && !s->unroll && !s->lanes)
        s->par = true;
}

/* With further domain loops (batches) around, everything is in the outermost one. */
static void one_kernel(Tile *t, KernelList *out)
{
    Nest *nest = t->nest;
    KList l = { 0 };
    int n = nest->n, var[MAX_RANK], rest = (int)(nest->extent[t->column] % t->n);

    open_kernel(t, out, 1);
    for (int i = 0; i < n; i++)
        if (i != t->row && i != t->column)
            t->map[nest->var[i]] = affine(t, var[i] = new_var(t));
    kern_append(&l, column_loop(t, aff_const(0), row_count(t)));
    if (rest)
        kern_append(&l, all_rows(t, aff_const(0), row_count(t), aff_const(nest->extent[t->column] - rest), rest));
    t->k->body = l.first;
    for (int i = n - 1; i >= 0; i--)
        if (i != t->row && i != t->column)
            t->k->body = sched_for(nest->mem, t->k->loc, var[i], nest->extent[i], t->k->body);
    mark_par(t->k->body);
}

static void rows_of_columns(Tile *t, KernelList *out, int64_t from, int n)
{
    int64_t rows = row_count(t), rest = rows % t->m;
    double share = (double)n / (double)t->nest->extent[t->column];

    open_kernel(t, out, share * (double)(rows - rest) / (double)rows);
    t->k->body = row_loop(t, aff_const(0), rows / t->m, aff_const(from), n);
    mark_par(t->k->body);
    if (rest) {
        open_kernel(t, out, share * (double)rest / (double)rows);
        t->k->body = tile_alone(t, aff_const(rows - rest), aff_const(from), (int)rest, n);
    }
}

/* Rows in blocks, then those that no block has taken. */
static void block_kernels(Tile *t, KernelList *out)
{
    int64_t rows = row_count(t), rest = rows % t->row_block;
    KList l = { 0 };
    int64_t width = t->nest->extent[t->column], over = width % t->n;

    open_kernel(t, out, (double)(rows - rest) / (double)rows);
    t->k->body = block_loop(t);
    mark_par(t->k->body);
    if (!rest)
        return;
    open_kernel(t, out, (double)rest / (double)rows);
    kern_append(&l, column_loop(t, aff_const(rows - rest), rest));
    mark_par(l.first);
    if (over)
        kern_append(&l, all_rows(t, aff_const(rows - rest), rest, aff_const(width - over), (int)over));
    t->k->body = l.first;
    t->k->body->par = t->k->body->par && !t->k->body->next;
}

/* The columns' panel of one operand stays in the first cache while rows pass over it. */
static void plain_kernels(Tile *t, KernelList *out)
{
    int64_t width = t->nest->extent[t->column], whole = width / t->n;
    int rest = (int)(width % t->n);

    if (whole > 1) {
        open_kernel(t, out, (double)(whole * t->n) / (double)width);
        t->k->body = t->part < t->fold->extent ? part_loop(t) : t->group > 1 ? group_loop(t) : column_loop(t, aff_const(0), row_count(t));
        mark_par(t->k->body);
    } else {
        rows_of_columns(t, out, 0, t->n);
    }
    t->npacked = 0;         /* what remains is too narrow to be worth a panel */
    if (rest)
        rows_of_columns(t, out, width - rest, rest);
}

bool schedule_tile(Nest *nest, KernelList *out)
{
    Tile t = { .nest = nest };

    if (!take_apart(&t) || has_loop(t.rest))
        return false;
    t.lanes = lanes_for(nest->limits, t.local->dtype);
    if (!choose_axes(&t))
        return false;
    tile_size(&t);
    t.map = arena_array(nest->mem, Affine, nest->k->nvar + 1);
    if (nest->k->scan)
        t.map[0] = aff_var(nest->mem, 0, 1);
    tile_block(&t);
    if (nest->n > 2)
        one_kernel(&t, out);
    else if (t.row_block < row_count(&t))
        block_kernels(&t, out);
    else
        plain_kernels(&t, out);
    return true;
}
