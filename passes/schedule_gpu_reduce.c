/* schedule_gpu_reduce.c - reductions whose rows are long: the threads of a warp or of a group share a row out.
 *
 *   rows      elements of a row lie side by side: element e is thread e % P's, P the threads of a row; partial results are
 *             registers, folded by the fixed tree of `fold`
 *   columns   those of different rows do: threads that are neighbours have different rows, each slices of one, which are added up in order
 *             through group memory
 *   chunks    of one row alone, which groups have; a second kernel adds up what they leave, in order
 *
 * P and the number of slices follow from the length of a row and how many there are.  All heads of a kernel (a max and its argmax) run
 * one behind the other, then what follows them.
 */
#include "passes/schedule_gpu.h"

#include <math.h>

enum { LEAST_ROW = 32, LONG_ROW = 2048, VERY_LONG_ROW = 8192, GROUP = 256, COLUMNS = 32, FEW_COLUMNS = 8, AHEAD = 4, FAR_AHEAD = 16, CHUNK = 16 };

typedef struct Reduce {
    Gpu    *g;
    GpuHead    head[GPU_HEADS];
    int     nhead;
    Stmt   *rest;
    int64_t results;
    int     lanes, rows;        /* threads of a row, which are its slices among columns; rows of a group */
} Reduce;

/* ---- pieces ---- */

/* One element of a row, e: it is there, unless size says that it may not be. */
static Stmt *element(Reduce *r, const GpuHead *h, Affine e, int64_t size, const int *local, Affine at)
{
    Gpu  *g = r->g;
    KList l = { 0 };
    Stmt *body;

    gpu_count(g, &l, e, h->var, h->extent, h->n, false);
    body = gpu_copy(g, h->body);
    for (int i = 0; i < h->nlocal; i++)
        gpu_retarget(body, h->local[i]->id, local[i], at);
    kern_append(&l, body);
    return gpu_below(g, e, size, size == 0, l.first);
}

static Stmt *written_out(Gpu *g, int var, int64_t n, Stmt *body)
{
    Stmt *loop = gpu_for(g, var, n, body);

    loop->unroll = true;
    return loop;
}

/* Elements first, first + by, ... of a row: some of them are looked up together, and only the last may be missing. */
static void elements(Reduce *r, const GpuHead *h, Affine first, int64_t by, const int *local, Affine at, KList *l)
{
    Gpu    *g = r->g;
    int64_t whole = h->length / by, ahead = whole >= 2 * FAR_AHEAD ? FAR_AHEAD : AHEAD;
    Affine  e;

    if (whole >= ahead) {
        int turn = gpu_var(g), some = gpu_var(g);

        e = aff_add(g->mem, first, aff_add(g->mem, aff_var(g->mem, turn, ahead * by), aff_var(g->mem, some, by)));
        kern_append(l, gpu_for(g, turn, whole / ahead, written_out(g, some, ahead, element(r, h, e, 0, local, at))));
    }
    if (whole % ahead) {
        int some = gpu_var(g);

        e = aff_add(g->mem, aff_add(g->mem, first, aff_const(whole / ahead * ahead * by)), aff_var(g->mem, some, by));
        kern_append(l, written_out(g, some, whole % ahead, element(r, h, e, 0, local, at)));
    }
    if (h->length % by) {
        e = aff_add(g->mem, first, aff_const(whole * by));
        kern_append(l, element(r, h, e, h->length, local, at));
    }
}

int gpu_fold(Gpu *g, KList *l, Op op, Dtype dtype, int local, Affine at, int64_t count)
{
    Stmt *s = kern_add(g->mem, l, ST_FOLD, g->nest->k->loc);

    s->id = gpu_value(g);
    s->op = op;
    s->dtype = dtype;
    s->local = local;
    s->at = at;
    s->count = count;
    return s->id;
}

/* ---- rows ---- */

/* at: the thread's own place, around: that of the first of its row. */
typedef struct Place { Affine at, around; int row, thread; } Place;

static Place new_threads(Gpu *g, int lanes, int row)
{
    Place p = { .row = row, .thread = gpu_var(g) };

    p.around = row < 0 ? aff_const(0) : aff_var(g->mem, row, lanes);
    p.at = aff_add(g->mem, p.around, aff_var(g->mem, p.thread, 1));
    return p;
}

static void fold_elements(Reduce *r, GpuHead *h, int row, KList *l)
{
    Gpu    *g = r->g;
    Place   p = new_threads(g, r->lanes, row);
    int     local[2] = { h->each[0], h->each[2] };
    KList   body = { 0 };

    elements(r, h, aff_var(g->mem, p.thread, 1), r->lanes, local, p.at, &body);
    if (h->nlocal == 2)         /* a fold spends what it folds, and who has the best is asked behind it */
        gpu_set(g, &body, h->each[1], h->local[0]->dtype, p.at, gpu_get(g, &body, h->each[0], h->local[0]->dtype, p.at));
    kern_append(l, gpu_block(g, p.thread, r->lanes, body.first));
}

/* Of all threads that have the best, or a nan if that is the best, the least index. */
int gpu_least_index(Gpu *g, const GpuHead *h, int lanes, int row, int best, KList *l)
{
    Place p = new_threads(g, lanes, row);
    Dtype dt = h->local[0]->dtype;
    KList body = { 0 };
    int   own = gpu_get(g, &body, h->each[1], dt, p.at), index = gpu_get(g, &body, h->each[2], DT_i32, p.at), choice[3];

    choice[0] = gpu_let(g, &body, OP_or, DT_bool, DT_bool, 2,
                        (int[]){ gpu_let(g, &body, OP_eq, DT_bool, dt, 2, (int[]){ own, best }),
                                 gpu_let(g, &body, OP_ne, DT_bool, dt, 2, (int[]){ own, own }) });
    choice[1] = gpu_let(g, &body, OP_cast, dt, DT_i32, 1, &index);
    Stmt *none = kern_add(g->mem, &body, ST_CONST, h->local[0]->loc);

    choice[2] = none->id = gpu_value(g);
    none->dtype = dt;
    none->number = INFINITY;
    gpu_set(g, &body, h->each[0], dt, p.at, gpu_let(g, &body, OP_select, dt, dt, 3, choice));
    kern_append(l, gpu_block(g, p.thread, lanes, body.first));
    index = gpu_fold(g, l, OP_minimum, dt, h->each[0], p.around, lanes);
    return gpu_let(g, l, OP_cast, DT_i32, dt, 1, &index);
}

/* One row: partial results, their folds, and what follows. */
static void write_row(Reduce *r, Affine number, int row, bool whole, KList *l)
{
    Gpu *g = r->g;

    gpu_count(g, l, number, g->nest->var, g->nest->extent, g->nest->n, !whole);
    for (int i = 0; i < r->nhead; i++) {
        GpuHead  *h = &r->head[i];
        Affine around = row < 0 ? aff_const(0) : aff_var(g->mem, row, r->lanes);
        int    value;

        fold_elements(r, h, row, l);
        value = gpu_fold(g, l, h->op, h->local[0]->dtype, h->each[0], around, r->lanes);
        for (int j = 0; j < h->nlocal; j++)
            gpu_declare(g, l, h->local[j]);
        gpu_set(g, l, h->local[0]->id, h->local[0]->dtype, aff_const(0), value);
        if (h->nlocal == 2)
            gpu_set(g, l, h->local[1]->id, DT_i32, aff_const(0), gpu_least_index(g, h, r->lanes, row, value, l));
    }
    kern_append(l, gpu_below(g, number, r->results, whole, gpu_copy(g, r->rest)));
}

static void declare_each(Reduce *r, KList *l)
{
    int64_t n = (int64_t)r->lanes * r->rows;

    for (int i = 0; i < r->nhead; i++) {
        GpuHead *h = &r->head[i];

        h->each[0] = gpu_local(r->g, l, h->local[0]->dtype, n, SCOPE_EACH, 1, h->local[0]->number);
        if (h->nlocal == 1)
            continue;
        h->each[1] = gpu_local(r->g, l, h->local[0]->dtype, n, SCOPE_EACH, 1, 0);
        h->each[2] = gpu_local(r->g, l, DT_i32, n, SCOPE_EACH, 1, 0);
    }
}

static void write_rows(Reduce *r)
{
    Gpu    *g = r->g;
    int     group = gpu_var(g), row = r->rows > 1 ? gpu_var(g) : -1;
    int64_t groups = (r->results + r->rows - 1) / r->rows;
    Affine  number = aff_var(g->mem, group, r->rows);
    KList   l = { 0 }, one = { 0 };

    declare_each(r, &l);
    if (row >= 0)
        number = aff_add(g->mem, number, aff_var(g->mem, row, 1));
    write_row(r, number, row, groups * r->rows == r->results, row < 0 ? &l : &one);
    if (row >= 0)
        kern_append(&l, gpu_block(g, row, r->rows, one.first));
    g->k->body = gpu_grid(g, group, groups, l.first);
}

/* ---- columns ---- */

/* The slices of one row, in order, into the local that the rest looks at. */
static void add_slices(Reduce *r, const GpuHead *h, int partial, Affine column, KList *l)
{
    Gpu  *g = r->g;
    int   z = gpu_var(g), value[2];
    Dtype dt = h->local[0]->dtype;
    KList body = { 0 };

    gpu_declare(g, l, h->local[0]);
    value[0] = gpu_get(g, &body, h->local[0]->id, dt, aff_const(0));
    value[1] = gpu_get(g, &body, partial, dt, aff_add(g->mem, column, aff_var(g->mem, z, r->rows)));
    gpu_set(g, &body, h->local[0]->id, dt, aff_const(0), gpu_let(g, &body, h->op, dt, dt, 2, value));
    kern_append(l, gpu_for(g, z, r->lanes, body.first));
}

static void write_slices(Reduce *r, Affine row, int thread, const int *partial, KList *l)
{
    Gpu   *g = r->g;
    Affine t = aff_var(g->mem, thread, 1), column = gpu_part(g, l, t, 1, r->rows), slice = gpu_part(g, l, t, r->rows, r->lanes);

    gpu_count(g, l, aff_add(g->mem, row, column), g->nest->var, g->nest->extent, g->nest->n, true);
    for (int i = 0; i < r->nhead; i++) {
        GpuHead *h = &r->head[i];
        int      own = gpu_local(g, l, h->local[0]->dtype, 1, SCOPE_OWN, 0, h->local[0]->number);

        elements(r, h, slice, r->lanes, &own, aff_const(0), l);
        gpu_set(g, l, partial[i], h->local[0]->dtype, t, gpu_get(g, l, own, h->local[0]->dtype, aff_const(0)));
    }
}

static void write_columns(Reduce *r)
{
    Gpu   *g = r->g;
    int    group = gpu_var(g), thread = gpu_var(g), last = gpu_var(g), partial[GPU_HEADS];
    Affine row = aff_var(g->mem, group, r->rows), column = aff_var(g->mem, last, 1), number = aff_add(g->mem, row, column);
    KList  l = { 0 }, body = { 0 }, end = { 0 };

    for (int i = 0; i < r->nhead; i++)
        partial[i] = gpu_local(g, &l, r->head[i].local[0]->dtype, (int64_t)r->lanes * r->rows, SCOPE_GROUP, 0, 0);
    write_slices(r, row, thread, partial, &body);
    kern_append(&l, gpu_block(g, thread, (int64_t)r->lanes * r->rows, body.first));
    gpu_count(g, &end, number, g->nest->var, g->nest->extent, g->nest->n, true);
    for (int i = 0; i < r->nhead; i++)
        add_slices(r, &r->head[i], partial[i], column, &end);
    kern_append(&end, gpu_below(g, number, r->results, false, gpu_copy(g, r->rest)));
    kern_append(&l, gpu_block(g, last, r->rows, end.first));
    g->k->body = gpu_grid(g, group, (r->results + r->rows - 1) / r->rows, l.first);
}

/* ---- one sum ---- */

/* Each group has a chunk of the row, and a second kernel adds up what they leave. */
static void write_chunks(Reduce *r)
{
    Gpu     *g = r->g;
    GpuHead *h = &r->head[0], part = *h;
    Dtype    dt = h->local[0]->dtype;
    int64_t  chunk = r->lanes * ((h->length + r->lanes - 1) / r->lanes), groups;
    int      group = gpu_var(g), thread = gpu_var(g), turn = gpu_var(g), buf, value;
    Affine   at = aff_var(g->mem, thread, 1), e;
    KList    l = { 0 }, body = { 0 };
    Stmt    *store;

    chunk = chunk > (int64_t)r->lanes * CHUNK ? (int64_t)r->lanes * CHUNK : chunk;
    groups = (h->length + chunk - 1) / chunk;
    buf = plan_buffer(g->nest->p, (Buffer){ .seg = SEG_SCRATCH, .slot = -1, .offset = -1, .dtype = dt, .count = groups });
    part.each[0] = gpu_local(g, &l, dt, r->lanes, SCOPE_EACH, 1, h->local[0]->number);
    e = aff_add(g->mem, at, aff_add(g->mem, aff_var(g->mem, group, chunk), aff_var(g->mem, turn, r->lanes)));
    kern_append(&body, written_out(g, turn, chunk / r->lanes, element(r, h, e, h->length % chunk ? h->length : 0, part.each, at)));
    kern_append(&l, gpu_block(g, thread, r->lanes, body.first));
    value = gpu_fold(g, &l, h->op, dt, part.each[0], aff_const(0), r->lanes);
    store = kern_add(g->mem, &l, ST_STORE, h->local[0]->loc);
    store->dtype = dt;
    store->buf = buf;
    store->at = aff_var(g->mem, group, 1);
    store->narg = 1;
    store->arg[0] = value;
    g->k->body = gpu_grid(g, group, groups, l.first);
    g->nest->body = gpu_add_parts(g, h->local[0], h->op, r->rest, buf, aff_const(0), 1, groups);
    gpu_point(g);
}

/* A long row, or one whose sum is only a part of what follows: the sums of several such kernels are then one launch (schedule_gpu_merge.c). */
static bool takes_chunks(const Reduce *r)
{
    return r->results == 1 && r->nhead == 1 && r->head[0].nlocal == 1
        && (r->head[0].length > VERY_LONG_ROW || stmt_has(r->rest, ST_LOAD));
}

/* ---- choice ---- */

static int64_t longest(const Reduce *r)
{
    int64_t most = 0;

    for (int i = 0; i < r->nhead; i++)
        most = r->head[i].length > most ? r->head[i].length : most;
    return most;
}

/* Are elements of different rows side by side, those of one not? */
static bool runs_down(const Reduce *r)
{
    const Nest *nest = r->g->nest;
    Strides     along = { 0 }, across = { 0 };

    for (int i = 0; i < r->nhead; i++) {
        const GpuHead *h = &r->head[i];

        if (h->nlocal == 2 || !nest->n)
            return false;
        strides_of(h->body, h->var[h->n - 1], &along);
        strides_of(h->body, nest->var[nest->n - 1], &across);
    }
    return across.unit > 0 && along.unit == 0 && nest->extent[nest->n - 1] >= 8;
}

static void choose_threads(Reduce *r)
{
    int64_t length = longest(r);

    r->rows = 1;
    r->lanes = GROUP;
    if (length > LONG_ROW)
        return;
    r->lanes = GPU_WARP;
    r->rows = GROUP / GPU_WARP;
}

/* 32 bytes that are neighbours are one access as well as 128 are: where rows are few, 8 of them are a group's. */
static void choose_columns(Reduce *r)
{
    r->rows = r->results >= COLUMNS * GPU_GROUPS ? COLUMNS : FEW_COLUMNS;
    r->lanes = GROUP / r->rows;
}

bool gpu_reduce(Gpu *g)
{
    Reduce  r = { .g = g, .results = gpu_results(g->nest) };

    if (!gpu_take_heads(g, r.head, &r.nhead, &r.rest) || longest(&r) < LEAST_ROW)
        return false;
    gpu_open(g, 1);
    g->k->nlocal = g->nest->k->nlocal;
    if (g->nest->n)
        move_last(g->nest, vector_loop(g->nest));
    if (runs_down(&r)) {
        choose_columns(&r);
        write_columns(&r);
        return true;
    }
    r.rows = 1;
    r.lanes = GROUP;
    if (takes_chunks(&r)) {
        write_chunks(&r);
        return true;
    }
    choose_threads(&r);
    write_rows(&r);
    return true;
}
