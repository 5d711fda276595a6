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

enum { LEAST_SIDE = 4, LEAST_FOLD = 4 };

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
        if (stmt_has(t->side[i].list, ST_GET))
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

/* 4 if so many neighbours are one access. */
static int lanes_of(GpuTile *t, const GpuSide *s)
{
    const GpuAxis *a = s->along ? &t->fold : s->axis;

    return a->n && gpu_takes_vectors(t->g->nest, s->list, a->var[a->n - 1], innermost(a), 4) ? 4 : 1;
}

/* Which way a factor lies, and how many neighbours are one access, as far as that can be said without a shape. */
static void look_at_side(GpuTile *t, GpuSide *s)
{
    int fold = unit_loads(s->list, &t->fold), across = unit_loads(s->list, s->axis);

    s->along = fold && (!across || innermost(&t->fold) > innermost(s->axis));
    s->copied = t->g->nest->limits->async && s->list->kind == ST_LOAD && !s->list->next && !s->list->narg && s->list->dtype == DT_f32;
    s->lanes = s->along && s->copied ? 1 : lanes_of(t, s);
}

/* Where group memory has the other order, copies are of one element. */
static void settle_lanes(GpuTile *t, GpuSide *s)
{
    s->lanes = s->along && (t->shape.depth % 4 || (s->copied && s->step != 1)) ? 1 : lanes_of(t, s);
}

/* ---- products ---- */

Own gpu_own_elements(GpuTile *t, Affine thread, int each, int tile)
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
    Own    o = gpu_own_elements(t, thread, each, s->tile);
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

/* A warp has 8 threads across and 4 down where there are so many: 8 neighbours read 128 bytes of one row, which is no bank twice. */
Seat gpu_seat(GpuTile *t, Affine thread, KList *l)
{
    enum { ACROSS = 8 };
    Gpu *g = t->g;
    int  across = t->shape.columns / t->shape.n, down = t->shape.rows / t->shape.m, wide = across % ACROSS ? across : ACROSS, high = GPU_WARP / wide;
    Seat s;

    s.slice = gpu_part(g, l, thread, (int64_t)across * down, t->shape.slices);
    if (GPU_WARP % wide || down % high || across == wide) {
        s.column = gpu_part(g, l, thread, 1, across);
        s.row = gpu_part(g, l, thread, across, down);
        return s;
    }
    s.column = aff_add(g->mem, gpu_part(g, l, thread, 1, wide), aff_scale(g->mem, gpu_part(g, l, thread, GPU_WARP, across / wide), wide));
    s.row = gpu_part(g, l, thread, (int64_t)GPU_WARP * (across / wide), down / high);
    s.row = aff_add(g->mem, gpu_part(g, l, thread, wide, high), aff_scale(g->mem, s.row, high));
    return s;
}

/* Of the tiles that begin `place` behind the sides' own. */
static void own_part(GpuTile *t, Affine place, KList *l)
{
    Gpu   *g = t->g;
    int    thread = gpu_var_below(g, t->threads), k = gpu_var(g), each = t->shape.depth / t->shape.slices, a, b;
    Affine number = aff_var(g->mem, thread, 1), at;
    KList  body = { 0 }, one = { 0 };
    Seat   s = gpu_seat(t, number, &body);
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

/* ---- the kernel ---- */

/* Grid loops, innermost first; a number for those that run once. */
static Affine grid_number(GpuTile *t, int64_t extent, int *var)
{
    *var = extent > 1 ? gpu_var_below(t->g, extent) : -1;
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
    int   step = gpu_var_below(g, t->chunk / t->shape.depth);
    KList body = { 0 };

    from = aff_add(g->mem, from, aff_var(g->mem, step, t->shape.depth));
    for (int i = 0; i < 2; i++)
        gpu_load(t, &t->side[i], from, aff_const(0), NULL, 0, &body);
    add_products(t, aff_const(0), &body);
    kern_append(l, gpu_for(g, step, t->chunk / t->shape.depth, body.first));
}

static Affine stage_place(const GpuTile *t, int stage) { return aff_const(t->factors * (stage % t->shape.stages)); }

/* What holds of a step of the fold where there is one: it is one of the group's, and of all.  The number of conditions that say something. */
static int inside_fold(const GpuTile *t, Affine step, int64_t last, Affine from, Guard *guard)
{
    int64_t steps = t->chunk / t->shape.depth;
    int     n = 0;

    if (last >= steps)
        guard[n++] = (Guard){ step, steps };
    if (t->whole && t->chunk * t->splits != t->fold.count)
        guard[n++] = (Guard){ gpu_divided(t->g, from, t->shape.depth), t->fold.count / t->shape.depth };
    return n;
}

/* A step, counted from the group's first on; `last` is the highest that a stage of the loop can be. */
typedef struct Step { Affine number, from; int64_t last; } Step;

static Step later(const GpuTile *t, Step s, int by)
{
    s.number = aff_add(t->g->mem, s.number, aff_const(by));
    s.from = aff_add(t->g->mem, s.from, aff_const((int64_t)by * t->shape.depth));
    s.last += by;
    return s;
}

/* Tiles for later go to the place that was read last, which all threads have left when they met for this one. */
static void fetch(GpuTile *t, Step now, int stage, int copies, KList *l)
{
    Gpu  *g = t->g;
    int   early = t->shape.stages - 1, n;
    Step  then = later(t, now, early), next = later(t, now, 1);
    Guard guard[2];

    if (copies)
        kern_add(g->mem, l, ST_WAIT, g->nest->k->loc)->count = copies * (early - 1);
    n = inside_fold(t, then.number, then.last, then.from, guard);
    for (int i = 0; i < 2; i++)
        if (t->side[i].copied)
            gpu_load(t, &t->side[i], then.from, stage_place(t, stage + early), guard, n, l);
        else
            gpu_hold(t, &t->side[i], next.from, l);
}

static void stage_products(GpuTile *t, Step now, int stage, KList *l)
{
    Guard guard[2];
    KList body = { 0 };
    int   n = t->whole ? inside_fold(t, now.number, now.last, now.from, guard) : 0;

    add_products(t, stage_place(t, stage), &body);
    kern_append(l, gpu_inside(t->g, guard, n, body.first));
}

/* While products of one tile are made others are fetched: copied to their places, or the next held in registers. */
static void steps_ahead(GpuTile *t, Affine from, KList *l)
{
    Gpu    *g = t->g;
    int     stages = t->shape.stages, round = gpu_var(g), copies = t->side[0].copied + t->side[1].copied;
    int64_t rounds = (t->chunk / t->shape.depth + stages - 1) / stages;
    Step    first = { aff_var(g->mem, round, stages), aff_add(g->mem, from, aff_var(g->mem, round, (int64_t)stages * t->shape.depth)), (rounds - 1) * stages };
    KList   body = { 0 };

    for (int stage = 0; stage < stages - 1; stage++)
        for (int i = 0; i < 2; i++)
            if (!stage || t->side[i].copied)
                gpu_load(t, &t->side[i], aff_add(g->mem, from, aff_const((int64_t)stage * t->shape.depth)), stage_place(t, stage), NULL, 0, l);
    for (int stage = 0; stage < stages; stage++) {
        Step now = later(t, first, stage);

        fetch(t, now, stage, copies, &body);
        stage_products(t, now, stage, &body);
        for (int i = 0; i < 2; i++)
            if (!t->side[i].copied)
                gpu_release(t, &t->side[i], stage_place(t, stage + 1), &body);
    }
    kern_append(l, gpu_for(g, round, rounds, body.first));
    if (copies)         /* the place is used again */
        kern_add(g->mem, l, ST_WAIT, g->nest->k->loc)->count = 0;
}

static void declare(GpuTile *t, KList *l)
{
    Gpu    *g = t->g;
    int64_t each = (int64_t)t->shape.m * t->shape.n / (t->shape.mma ? GPU_WARP : 1);
    int64_t factors = t->factors * (t->ahead ? t->shape.stages : 1), results = gpu_tile_results(&t->shape);

    t->memory = gpu_local(g, l, DT_f32, factors > results ? factors : results, SCOPE_GROUP, 0, 0);
    t->acc = gpu_local(g, l, DT_f32, t->threads * each, SCOPE_EACH, each, 0);
    for (int i = 0; i < 2; i++) {
        GpuSide *s = &t->side[i];

        if (t->ahead && !s->copied)
            s->held = gpu_local(g, l, DT_f32, t->threads * s->each, SCOPE_EACH, s->each, 0);
    }
}

static void write_tile(GpuTile *t)
{
    Gpu    *g = t->g;
    int64_t extent[3] = { t->batch.count * t->splits, (t->row.count + t->shape.rows - 1) / t->shape.rows,
                          (t->column.count + t->shape.columns - 1) / t->shape.columns };
    int     var[3];
    Affine  first = grid_number(t, extent[0], &var[0]);
    KList   l = { 0 };

    t->group[0] = grid_number(t, extent[1], &var[1]);
    t->group[1] = grid_number(t, extent[2], &var[2]);
    declare(t, &l);
    t->split_at = t->splits > 1 ? gpu_part(g, &l, first, 1, t->splits) : aff_const(0);
    t->batch_at = t->splits > 1 ? gpu_part(g, &l, first, t->splits, t->batch.count) : first;
    gpu_count(g, &l, t->batch_at, t->batch.var, t->batch.extent, t->batch.n, false);
    (t->ahead ? steps_ahead : plain_steps)(t, aff_scale(g->mem, t->split_at, t->chunk), &l);
    gpu_finish(t, &l);
    g->k->body = wrap_grid(t, l.first, var, extent);
}

static void settle_shape(GpuTile *t)
{
    int64_t step[2], cross[2], by;

    gpu_shape(t, &t->shape, &t->splits);
    gpu_tile_steps(&t->shape, step, cross);
    t->threads = gpu_tile_threads(&t->shape);
    t->chunk = (t->fold.count + t->splits - 1) / t->splits;
    t->ahead = t->chunk > t->shape.depth;
    t->whole = gpu_piece_is_whole(&t->fold, t->shape.depth);
    by = t->shape.depth * (t->ahead && !t->whole ? t->shape.stages : 1);
    t->chunk = (t->chunk + by - 1) / by * by;
    t->splits = (int)((t->fold.count + t->chunk - 1) / t->chunk);
    t->factors = gpu_tile_factors(&t->shape);
    for (int i = 0; i < 2; i++) {
        GpuSide *s = &t->side[i];

        s->step = step[i];
        s->cross = cross[i];
        s->tile = i ? t->shape.columns : t->shape.rows;
        s->at = i ? t->factors - s->step * t->shape.depth : 0;
        settle_lanes(t, s);
        gpu_share_loads(t, s);
    }
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
