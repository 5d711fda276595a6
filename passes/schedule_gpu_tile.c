/* schedule_gpu_tile.c - contractions as products of matrices, in tiles that the threads of a group share.
 *
 * Loops of the domain on which one factor depends are counted as rows, those of the other as columns, those of both as a batch, and all folded
 * loops as one; so dot, its gradients, heads and convolutions are all products of matrices.  A group computes a tile of the result: for
 * each piece of the fold both factors' tiles go to group memory (schedule_gpu_load.c), and each thread adds products to its own
 * results in registers.  At last the results go through group memory, to be finished and stored as neighbours.
 *
 * Where results are few and the fold is long, slices of threads share each piece of the fold, and groups share the fold: these write
 * what they have to scratch memory, and a kernel of its own adds it up, in order.
 */
#include "passes/schedule_gpu_tile.h"

enum { LEAST_SIDE = 4, LEAST_FOLD = 4, PAD = 4, MOST_STAGED = 4 };

/* ---- recognition ---- */

static bool depends(Stmt *list, int var)
{
    for (; list; list = list->next)
        for (int i = 0; stmt_affine(list, i); i++)
            if (aff_coef(*stmt_affine(list, i), var))
                return true;
    return false;
}

static void axis_add(GpuAxis *a, int var, int64_t extent)
{
    a->var[a->n] = var;
    a->extent[a->n++] = extent;
    a->count *= extent;
}

/* The two factors of the fold. */
static bool take_factors(GpuTile *t)
{
    const Stmt *fma = NULL;

    for (const Stmt *s = t->head.body; s; s = s->next)
        if (s->kind == ST_LET && s->op == OP_fma)
            fma = s;
    for (const Stmt *s = t->head.body; s; s = s->next)
        if (s->kind == ST_SET && (!fma || s->arg[0] != fma->id))
            return false;
    for (int i = 0; fma && i < 2; i++) {
        t->side[i].value = fma->arg[i];
        t->side[i].list = gpu_slice(t->g, t->head.body, fma->arg[i]);
        if (gpu_has(t->side[i].list, ST_GET))
            return false;
    }
    return fma && t->head.local[0]->dtype == DT_f32;
}

static void take_axes(GpuTile *t)
{
    Nest *nest = t->g->nest;
    int   last = nest->n - 1;

    /* results that are neighbours are columns */
    if (last >= 0 && depends(t->side[0].list, nest->var[last]) && !depends(t->side[1].list, nest->var[last])) {
        GpuSide side = t->side[0];

        t->side[0] = t->side[1];
        t->side[1] = side;
    }
    t->row.count = t->column.count = t->batch.count = t->fold.count = 1;
    for (int i = 0; i < nest->n; i++) {
        bool of_row = depends(t->side[0].list, nest->var[i]), of_column = depends(t->side[1].list, nest->var[i]);

        axis_add(of_row == of_column ? &t->batch : of_row ? &t->row : &t->column, nest->var[i], nest->extent[i]);
    }
    for (int i = 0; i < t->head.n; i++)
        axis_add(&t->fold, t->head.var[i], t->head.extent[i]);
    t->side[0].axis = &t->row;
    t->side[1].axis = &t->column;
}

static int64_t innermost(const GpuAxis *a) { return a->n ? a->extent[a->n - 1] : 1; }

static int unit_loads(const Stmt *list, const GpuAxis *a)
{
    Strides s = { 0 };

    if (a->n)
        strides_of(list, a->var[a->n - 1], &s);
    return s.unit;
}

/* Which way a factor lies, and whether 4 of its neighbours are one access. */
static void look_at_side(GpuTile *t, GpuSide *s)
{
    int            fold = unit_loads(s->list, &t->fold), across = unit_loads(s->list, s->axis);
    const GpuAxis *a;

    s->along = fold && (!across || innermost(&t->fold) > innermost(s->axis));
    a = s->along ? &t->fold : s->axis;
    s->copied = t->g->nest->limits->async && s->list->kind == ST_LOAD && !s->list->next && !s->list->narg && s->list->dtype == DT_f32;
    s->lanes = !(s->along && s->copied && s->step != 1) && a->n && gpu_takes_vectors(t->g->nest, s->list, a->var[a->n - 1], innermost(a), 4) ? 4 : 1;
}

/* ---- products ---- */

/* Where element v of the thread's m or n lies along its side: neighbours in fours. */
typedef struct Own { Affine at; int four, half; } Own;

static Own own_elements(GpuTile *t, Affine thread, int each, int tile)
{
    Gpu *g = t->g;
    Own  o = { .four = gpu_var(g), .half = each > 4 ? gpu_var(g) : -1 };

    o.at = aff_add(g->mem, aff_scale(g->mem, thread, 4), aff_var(g->mem, o.four, 1));
    if (o.half >= 0)
        o.at = aff_add(g->mem, o.at, aff_var(g->mem, o.half, tile / (each / 4)));
    return o;
}

/* The thread's elements of a factor at place k of the piece, as registers. */
static int own_factor(GpuTile *t, const GpuSide *s, Affine place, Affine k, Affine thread, int each, KList *l)
{
    Gpu   *g = t->g;
    int    local = gpu_local(g, l, DT_f32, each, SCOPE_OWN, 0, 0);
    Own    o = own_elements(t, thread, each, s->tile);
    Affine to = aff_var(g->mem, o.four, 1), from = aff_add(g->mem, aff_add(g->mem, aff_scale(g->mem, k, s->step), o.at), aff_const(s->at));
    KList  body = { 0 };
    Stmt  *loop;

    from = aff_add(g->mem, from, place);
    if (o.half >= 0)
        to = aff_add(g->mem, to, aff_var(g->mem, o.half, 4));
    gpu_set(g, &body, local, DT_f32, to, gpu_get(g, &body, t->memory, DT_f32, from));
    loop = gpu_for(g, o.four, 4, body.first);
    loop->lanes = 4;
    if (o.half >= 0) {
        loop = gpu_for(g, o.half, each / 4, loop);
        loop->unroll = true;
    }
    kern_append(l, loop);
    return local;
}

/* acc[i, j] += a[i] * b[j] */
static void own_products(GpuTile *t, int a, int b, Affine thread, KList *l)
{
    Gpu   *g = t->g;
    int    m = t->shape.m, n = t->shape.n, i = gpu_var(g), j = gpu_var(g), value[3];
    Affine at = aff_add(g->mem, aff_scale(g->mem, thread, (int64_t)m * n), aff_add(g->mem, aff_var(g->mem, i, n), aff_var(g->mem, j, 1)));
    KList  body = { 0 };
    Stmt  *loop;

    value[0] = gpu_get(g, &body, a, DT_f32, aff_var(g->mem, i, 1));
    value[1] = gpu_get(g, &body, b, DT_f32, aff_var(g->mem, j, 1));
    value[2] = gpu_get(g, &body, t->acc, DT_f32, at);
    gpu_set(g, &body, t->acc, DT_f32, at, gpu_let(g, &body, OP_fma, DT_f32, DT_f32, 3, value));
    loop = gpu_for(g, j, n, body.first);
    loop->unroll = true;
    loop = gpu_for(g, i, m, loop);
    loop->unroll = true;
    kern_append(l, loop);
}

/* A thread's number as slice, and as row and column of threads in it. */
typedef struct Seat { Affine slice, row, column; } Seat;

static Seat seat_of(GpuTile *t, Affine thread, KList *l)
{
    int  across = t->shape.columns / t->shape.n, down = t->shape.rows / t->shape.m;
    Seat s;

    s.column = gpu_part(t->g, l, thread, 1, across);
    s.row = gpu_part(t->g, l, thread, across, down);
    s.slice = gpu_part(t->g, l, thread, (int64_t)across * down, t->shape.slices);
    return s;
}

/* Of the tiles that begin `place` behind the sides' own. */
static void own_part(GpuTile *t, Affine place, KList *l)
{
    Gpu   *g = t->g;
    int    thread = gpu_var(g), k = gpu_var(g), each = t->shape.depth / t->shape.slices, a, b;
    Affine number = aff_var(g->mem, thread, 1), at;
    KList  body = { 0 }, one = { 0 };
    Seat   s = seat_of(t, number, &body);
    Stmt  *loop;

    at = aff_add(g->mem, aff_scale(g->mem, s.slice, each), aff_var(g->mem, k, 1));
    a = own_factor(t, &t->side[0], place, at, s.row, t->shape.m, &one);
    b = own_factor(t, &t->side[1], place, at, s.column, t->shape.n, &one);
    own_products(t, a, b, number, &one);
    loop = gpu_for(g, k, each, one.first);
    loop->unroll = true;
    kern_append(&body, loop);
    kern_append(l, gpu_block(g, thread, t->threads, body.first));
}

static void add_products(GpuTile *t, Affine place, KList *l)
{
    (t->shape.mma ? gpu_mma_products : own_part)(t, place, l);
}

/* ---- results ---- */

/* Fours of rows of all threads' results (part h of them) to group memory, [slice][row][column]. */
static void stage(GpuTile *t, Affine part, int rows, KList *l)
{
    Gpu   *g = t->g;
    int    thread = gpu_var(g), i = gpu_var(g), n = t->shape.n;
    Affine number = aff_var(g->mem, thread, 1), at, own;
    KList  body = { 0 }, one = { 0 };
    Seat   s = seat_of(t, number, &body);
    Own    o = own_elements(t, s.column, n, t->shape.columns);
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

static void finish_results(GpuTile *t, Affine part, int rows, KList *l)
{
    Gpu    *g = t->g;
    int     thread = gpu_var(g), turn = gpu_var(g), columns = t->shape.columns;
    Affine  at = aff_add(g->mem, aff_var(g->mem, turn, t->threads), aff_var(g->mem, thread, 1)), down, across;
    Guard   guard[2];
    int     n = 0;
    KList   one = { 0 };

    across = gpu_part(g, &one, at, 1, columns);
    down = gpu_part(g, &one, at, columns, rows);
    down = aff_add(g->mem, aff_add(g->mem, aff_scale(g->mem, t->group[0], t->shape.rows), down), aff_scale(g->mem, part, rows));
    across = aff_add(g->mem, aff_scale(g->mem, t->group[1], columns), across);
    gpu_count(g, &one, down, t->row.var, t->row.extent, t->row.n, t->row.count % t->shape.rows != 0);
    gpu_count(g, &one, across, t->column.var, t->column.extent, t->column.n, t->column.count % columns != 0);
    take_result(t, at, rows, &one);
    if (t->split_var >= 0)
        g->map[t->split_var] = t->split_at;
    if (t->row.count % t->shape.rows)
        guard[n++] = (Guard){ down, t->row.count };
    if (t->column.count % columns)
        guard[n++] = (Guard){ across, t->column.count };
    kern_append(&one, gpu_inside(g, guard, n, gpu_copy(g, t->rest)));
    Stmt *loop = gpu_for(g, turn, (int64_t)rows * columns / t->threads, one.first);

    kern_append(l, gpu_block(g, thread, t->threads, loop));
}

/* ---- the kernel ---- */

/* Rows whose results are in group memory together. */
static int staged_rows(const GpuTile *t) { return t->shape.mma ? t->shape.rows : t->shape.rows / (t->shape.m / 4); }

static int64_t memory_needed(const GpuTile *t)
{
    int64_t factors = t->factors * (1 + t->ahead);
    int64_t results = (int64_t)t->shape.slices * staged_rows(t) * t->shape.columns;

    return factors > results ? factors : results;
}

/* Grid loops, innermost first; a number for those that run once. */
static Affine grid_number(GpuTile *t, int64_t extent, int *var)
{
    *var = extent > 1 ? gpu_var(t->g) : -1;
    return extent > 1 ? aff_var(t->g->mem, *var, 1) : aff_const(0);
}

static Stmt *wrap_grid(GpuTile *t, Stmt *body, const int *var, const int64_t *extent)
{
    bool any = false;

    for (int i = 2; i >= 0; i--) {
        if (var[i] >= 0 || (i == 0 && !any))
            body = gpu_grid(t->g, var[i] >= 0 ? var[i] : gpu_var(t->g), extent[i], body);
        any |= var[i] >= 0;
    }
    return body;
}

/* One piece of the fold after another. */
static void plain_steps(GpuTile *t, Affine from, KList *l)
{
    Gpu  *g = t->g;
    int   step = gpu_var(g);
    KList body = { 0 };

    from = aff_add(g->mem, from, aff_var(g->mem, step, t->shape.depth));
    gpu_load(t, &t->side[0], from, aff_const(0), &body);
    gpu_load(t, &t->side[1], from, aff_const(0), &body);
    add_products(t, aff_const(0), &body);
    kern_append(l, gpu_for(g, step, t->chunk / t->shape.depth, body.first));
}

/* While products of one tile are made the next is fetched: copied to the other place, or held in registers. */
static void steps_ahead(GpuTile *t, Affine from, KList *l)
{
    Gpu   *g = t->g;
    int    pair = gpu_var(g), side = gpu_var(g), copies = 0;
    Affine here = aff_var(g->mem, side, t->factors), there = aff_add(g->mem, aff_const(t->factors), aff_var(g->mem, side, -t->factors)), next;
    KList  body = { 0 };
    Stmt  *loop;

    for (int i = 0; i < 2; i++)
        gpu_load(t, &t->side[i], from, aff_const(0), l);
    next = aff_add(g->mem, aff_var(g->mem, pair, 2 * t->shape.depth), aff_var(g->mem, side, t->shape.depth));
    next = aff_add(g->mem, aff_add(g->mem, from, next), aff_const(t->shape.depth));
    for (int i = 0; i < 2; i++) {
        copies += t->side[i].copied;
        if (t->side[i].copied)
            gpu_load(t, &t->side[i], next, there, &body);
        else
            gpu_hold(t, &t->side[i], next, &body);
    }
    if (copies)
        kern_add(g->mem, &body, ST_WAIT, g->nest->k->loc)->count = copies;
    add_products(t, here, &body);
    for (int i = 0; i < 2; i++)
        if (!t->side[i].copied)
            gpu_release(t, &t->side[i], there, &body);
    loop = gpu_for(g, side, 2, body.first);
    loop->unroll = true;
    kern_append(l, gpu_for(g, pair, t->chunk / t->shape.depth / 2, loop));
    if (copies)         /* what was fetched last is not used, but the place is used again */
        kern_add(g->mem, l, ST_WAIT, g->nest->k->loc)->count = 0;
}

static void declare(GpuTile *t, KList *l)
{
    Gpu    *g = t->g;
    int64_t each = (int64_t)t->shape.m * t->shape.n / (t->shape.mma ? GPU_WARP : 1);

    t->memory = gpu_local(g, l, DT_f32, memory_needed(t), SCOPE_GROUP, 0, 0);
    t->acc = gpu_local(g, l, DT_f32, t->threads * each, SCOPE_EACH, each, 0);
    for (int i = 0; i < 2; i++) {
        GpuSide *s = &t->side[i];
        int      threads;

        s->each = (int64_t)gpu_load_units(t, s, &threads) * s->lanes;
        if (t->ahead && !s->copied)
            s->held = gpu_local(g, l, DT_f32, t->threads * s->each, SCOPE_EACH, s->each, 0);
    }
}

static void write_tile(GpuTile *t)
{
    Gpu    *g = t->g;
    int64_t extent[3] = { t->batch.count * t->splits, (t->row.count + t->shape.rows - 1) / t->shape.rows,
                          (t->column.count + t->shape.columns - 1) / t->shape.columns };
    int     var[3], rows = staged_rows(t), parts = t->shape.rows / rows, part;
    Affine  first = grid_number(t, extent[0], &var[0]), part_at;
    KList   l = { 0 }, body = { 0 };

    t->group[0] = grid_number(t, extent[1], &var[1]);
    t->group[1] = grid_number(t, extent[2], &var[2]);
    declare(t, &l);
    t->split_at = t->splits > 1 ? gpu_part(g, &l, first, 1, t->splits) : aff_const(0);
    t->batch_at = t->splits > 1 ? gpu_part(g, &l, first, t->splits, t->batch.count) : first;
    gpu_count(g, &l, t->batch_at, t->batch.var, t->batch.extent, t->batch.n, false);
    (t->ahead ? steps_ahead : plain_steps)(t, aff_scale(g->mem, t->split_at, t->chunk), &l);
    part = gpu_var(g);
    part_at = parts > 1 ? aff_var(g->mem, part, 1) : aff_const(0);
    if (t->shape.mma)
        gpu_mma_stage(t, &body);
    else
        stage(t, part_at, rows, &body);
    finish_results(t, part_at, rows, &body);
    if (parts > 1) {
        body.first = gpu_for(g, part, parts, body.first);
        body.first->unroll = true;
    }
    kern_append(&l, body.first);
    g->k->body = wrap_grid(t, l.first, var, extent);
}

/* Lanes of a warp read rows of the first factor and columns of the second from banks of their own. */
static void settle_steps(GpuTile *t)
{
    gpu_shape(t, &t->shape, &t->splits);
    t->side[0].step = t->shape.mma ? 1 : t->shape.rows + PAD;
    t->side[0].cross = t->shape.mma ? t->shape.depth + PAD : 1;
    t->side[1].step = t->shape.columns + (t->shape.mma ? 2 * PAD : PAD);
    t->side[1].cross = 1;
}

static void settle_shape(GpuTile *t)
{
    t->threads = t->shape.rows / t->shape.m * (t->shape.columns / t->shape.n) * t->shape.slices * (t->shape.mma ? GPU_WARP : 1);
    t->chunk = (t->fold.count + t->splits - 1) / t->splits;
    t->ahead = t->chunk > t->shape.depth;
    t->chunk = (t->chunk + t->shape.depth * (1 + t->ahead) - 1) / (t->shape.depth * (1 + t->ahead)) * (t->shape.depth * (1 + t->ahead));
    t->side[0].tile = t->shape.rows;
    t->side[1].tile = t->shape.columns;
    t->side[1].at = t->shape.mma ? t->side[0].cross * t->shape.rows : t->side[0].step * t->shape.depth;
    t->factors = t->side[1].at + t->side[1].step * t->shape.depth;
}

/* ---- the whole ---- */

static void write_split(GpuTile *t)
{
    Gpu    *g = t->g;
    int64_t count = gpu_results(g->nest) * t->splits;
    Stmt   *sum;
    int     buf = plan_buffer(g->nest->p, (Buffer){ .seg = SEG_SCRATCH, .slot = -1, .offset = -1, .dtype = DT_f32, .count = count });

    gpu_split_rest(t, buf, &t->rest, &sum);
    write_tile(t);
    g->nest->body = sum;
    gpu_point(g);
}

bool gpu_tile(Gpu *g)
{
    GpuTile t = { .g = g, .split_var = -1 };
    GpuHead head[GPU_HEADS];
    int     n;

    for (int i = 0; i < GPU_HEADS; i++)
        head[i] = (GpuHead){ 0 };
    if (!g->nest->n || !gpu_take_heads(g, head, &n, &t.rest) || n != 1 || head[0].nlocal != 1)
        return false;
    t.head = head[0];
    if (!take_factors(&t))
        return false;
    move_last(g->nest, vector_loop(g->nest));
    take_axes(&t);
    if (t.row.count < LEAST_SIDE || t.column.count < LEAST_SIDE || t.fold.count < LEAST_FOLD)
        return false;
    t.bf16 = g->nest->p->m->train.precision == PRECISION_bf16;
    settle_steps(&t);
    look_at_side(&t, &t.side[0]);
    look_at_side(&t, &t.side[1]);
    settle_shape(&t);
    gpu_open(g, 1);
    g->k->nlocal = g->nest->k->nlocal;
    if (t.splits > 1)
        write_split(&t);
    else
        write_tile(&t);
    return true;
}
