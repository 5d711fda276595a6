/* schedule_gpu_finish.c - what a group has of a contraction is finished and stored.
 *
 * The threads' results go through group memory, [slice][row][column]: then neighbours are threads' that are neighbours, slices are added up, and
 * what follows the contraction in its kernel is done; 4 columns are one thread's where what it loads and stores can be one access.
 */
#include "passes/schedule_gpu_tile.h"

/* Fours of rows of all threads' results (part h of them). */
static void stage(GpuTile *t, Affine part, int rows, KList *l)
{
    Gpu   *g = t->g;
    int    thread = gpu_var_below(g, t->threads), i = gpu_var(g), n = t->shape.n;
    Affine number = aff_var(g->mem, thread, 1), at, own;
    KList  body = { 0 }, one = { 0 };
    Seat   s = gpu_seat(t, number, &body);
    Own    o = gpu_own_elements(t, s.column, n, t->shape.columns);
    Stmt  *loop;

    own = aff_add(g->mem, aff_scale(g->mem, number, (int64_t)t->shape.m * n), aff_scale(g->mem, part, 4 * n));
    own = aff_add(g->mem, own, aff_add(g->mem, aff_var(g->mem, i, n), aff_var(g->mem, o.four, 1)));
    if (o.half >= 0)
        own = aff_add(g->mem, own, aff_var(g->mem, o.half, 4));
    at = aff_add(g->mem, aff_scale(g->mem, s.slice, (int64_t)rows * t->shape.columns), aff_scale(g->mem, s.row, 4 * t->shape.columns));
    at = aff_add(g->mem, aff_add(g->mem, at, aff_var(g->mem, i, t->shape.columns)), o.at);
    gpu_set(g, &one, t->memory, DT_f32, at, gpu_get(g, &one, t->acc, DT_f32, own));
    loop = gpu_for(g, o.four, 4, one.first);
    loop->lanes = 4;
    if (o.half >= 0) {
        loop = gpu_for(g, o.half, n / 4, loop);
        loop->unroll = true;
    }
    loop = gpu_for(g, i, 4, loop);
    loop->unroll = true;
    kern_append(&body, loop);
    kern_append(l, gpu_block(g, thread, t->threads, body.first));
}

/* The sum of a result's slices, into the local that the rest looks at. */
static void take_result(GpuTile *t, Affine at, int rows, KList *l)
{
    Gpu *g = t->g;
    int  sum = gpu_get(g, l, t->memory, DT_f32, at);

    for (int i = 1; i < t->shape.slices; i++) {
        Affine next = aff_add(g->mem, at, aff_const((int64_t)i * rows * t->shape.columns));
        int    value[2] = { sum, gpu_get(g, l, t->memory, DT_f32, next) };

        sum = gpu_let(g, l, OP_add, DT_f32, DT_f32, 2, value);
    }
    gpu_declare(g, l, t->head.local[0]);
    gpu_set(g, l, t->head.local[0]->id, DT_f32, aff_const(0), sum);
}

/* Threads for which neighbours are one unit of `lanes` columns, and each of which keeps its columns in all turns. */
static int finish_threads(const GpuTile *t, int rows, int units)
{
    int down = rows < t->threads / units ? rows : t->threads / units;

    while (rows % down)
        down--;
    return units * down;
}

static int lanes_of_rest(const GpuTile *t)
{
    const GpuAxis *a = &t->column;
    int            last = a->n - 1;

    return last >= 0 && t->shape.columns / 4 <= t->threads && gpu_takes_vectors(t->g->nest, t->rest, a->var[last], a->extent[last], 4) ? 4 : 1;
}

/* Of the unit `across` columns and `down` rows from the tile's first on. */
static Stmt *finish_unit(GpuTile *t, Affine down, Affine across, Affine at, int rows, int lanes, KList *l)
{
    Gpu    *g = t->g;
    int     lane = lanes > 1 ? gpu_var_below(g, lanes) : -1, last = t->column.n - 1;
    int64_t extent[MAX_RANK];
    Guard   guard[2];
    int     n = 0;
    KList   one = { 0 };
    Stmt   *unit;

    for (int i = 0; i < t->column.n; i++)
        extent[i] = t->column.extent[i] / (i == last ? lanes : 1);
    gpu_count(g, l, down, t->row.var, t->row.extent, t->row.n, t->row.count % t->shape.rows != 0);
    gpu_count(g, l, across, t->column.var, extent, t->column.n, t->column.count % t->shape.columns != 0);
    if (lanes > 1) {
        g->map[t->column.var[last]] = aff_add(g->mem, aff_scale(g->mem, g->map[t->column.var[last]], lanes), aff_var(g->mem, lane, 1));
        at = aff_add(g->mem, at, aff_var(g->mem, lane, 1));
    }
    if (t->split_var >= 0)
        g->map[t->split_var] = t->split_at;
    take_result(t, at, rows, &one);
    kern_append(&one, gpu_copy(g, t->rest));
    unit = one.first;
    if (lanes > 1) {
        unit = gpu_for(g, lane, lanes, unit);
        unit->lanes = lanes;
    }
    if (t->row.count % t->shape.rows)
        guard[n++] = (Guard){ down, t->row.count };
    if (t->column.count % t->shape.columns)
        guard[n++] = (Guard){ across, t->column.count / lanes };
    return gpu_inside(g, guard, n, unit);
}

/* What is loaded in several turns is asked for at once where that doesn't make too much code of it. */
static int turns_together(const GpuTile *t, int turns, int lanes)
{
    enum { MOST = 4, MOST_CODE = 320 };
    int n = 0, together = turns < MOST ? turns : MOST;

    if (!stmt_has(t->rest, ST_LOAD))
        return 1;
    for (const Stmt *s = t->rest; s; s = s->next)
        n++;
    while (turns % together || (together > 1 && together * n * lanes > MOST_CODE))
        together--;
    return together;
}

static void finish_results(GpuTile *t, Affine part, int rows, KList *l)
{
    Gpu    *g = t->g;
    int     lanes = lanes_of_rest(t), units = t->shape.columns / lanes, threads = finish_threads(t, rows, units), turns = rows * units / threads;
    int     together = turns_together(t, turns, lanes), thread = gpu_var_below(g, threads), turn = gpu_var_below(g, turns / together), some = -1;
    Affine  number = aff_var(g->mem, thread, 1), down, across, at;
    KList   body = { 0 }, one = { 0 };

    across = gpu_part(g, &body, number, 1, units);
    down = aff_add(g->mem, gpu_part(g, &body, number, units, threads / units), aff_var(g->mem, turn, together * threads / units));
    if (together > 1) {
        some = gpu_var_below(g, together);
        down = aff_add(g->mem, down, aff_var(g->mem, some, threads / units));
    }
    at = aff_add(g->mem, aff_scale(g->mem, down, t->shape.columns), aff_scale(g->mem, across, lanes));
    down = aff_add(g->mem, aff_add(g->mem, aff_scale(g->mem, t->group[0], t->shape.rows), down), aff_scale(g->mem, part, rows));
    across = aff_add(g->mem, aff_scale(g->mem, t->group[1], units), across);
    kern_append(&one, finish_unit(t, down, across, at, rows, lanes, &one));
    if (together > 1) {
        one.first = gpu_for(g, some, together, one.first);
        one.first->unroll = true;
    }
    kern_append(&body, gpu_for(g, turn, turns / together, one.first));
    kern_append(l, gpu_block(g, thread, threads, body.first));
}

void gpu_finish(GpuTile *t, KList *l)
{
    Gpu   *g = t->g;
    int    rows = gpu_staged_rows(&t->shape), parts = t->shape.rows / rows, part = gpu_var_below(g, parts);
    Affine at = parts > 1 ? aff_var(g->mem, part, 1) : aff_const(0);
    KList  body = { 0 };

    if (t->shape.mma)
        gpu_mma_stage(t, &body);
    else
        stage(t, at, rows, &body);
    finish_results(t, at, rows, &body);
    if (parts > 1) {
        body.first = gpu_for(g, part, parts, body.first);
        body.first->unroll = true;
    }
    kern_append(l, body.first);
}
