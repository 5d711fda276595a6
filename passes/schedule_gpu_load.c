/* schedule_gpu_load.c - tiles of a contraction's factors, from buffers to group memory.
 *
 * Whatever makes an element of a factor is done here, once an element of the tile: the batch's rows are picked, bytes become floats, padding
 * is zero, channels and taps of a convolution are cut out of the fold's count.  In group memory rows or columns are neighbours, and
 * the fold goes from row to row, whichever way the factor lies in its buffer.
 */
#include "passes/schedule_gpu_tile.h"

/* The axis' number, a multiple of lanes, cut into its indices; the innermost is lane behind what that says. */
static void count_axis(GpuTile *t, KList *l, const GpuAxis *a, Affine number, bool wraps, int lanes, Affine lane)
{
    Gpu    *g = t->g;
    int64_t extent[MAX_RANK];
    int     last = a->n - 1;

    for (int i = 0; i < a->n; i++)
        extent[i] = a->extent[i];
    if (a->n == 0)
        return;
    extent[last] /= lanes;
    gpu_count(g, l, number, a->var, extent, a->n, wraps);
    if (lanes > 1)
        g->map[a->var[last]] = aff_add(g->mem, aff_scale(g->mem, g->map[a->var[last]], lanes), lane);
}

bool gpu_piece_is_whole(const GpuAxis *fold, int64_t depth)
{
    for (int i = fold->n - 1; i >= 0 && depth > 1; i--) {
        int64_t extent = fold->extent[i];

        if (depth % extent && extent % depth)
            return false;
        depth = depth % extent ? 1 : depth / extent;
    }
    return depth == 1;
}

/* What says something of the number below n: all but multiples of n. */
static Affine below(const GpuTile *t, Affine a, int64_t n)
{
    Affine r = aff_const(a.base % n);

    for (int i = 0; i < a.n; i++)
        if (a.term[i].coef % n)
            r = aff_add(t->g->mem, r, aff_var(t->g->mem, a.term[i].var, a.term[i].coef));
    return r;
}

/* Place k of a piece that is whole: inner indices, and a part of one more, are digits of k; the others are the same for all of the piece, whose
 * number is `piece`. */
static void count_piece(GpuTile *t, KList *l, Affine piece, Affine k, int lanes, Affine lane)
{
    Gpu           *g = t->g;
    const GpuAxis *a = &t->fold;
    int64_t        rest = t->shape.depth / lanes, by = 1, outer = 1;

    for (int i = a->n - 1; i >= 0; i--) {
        int64_t extent = a->extent[i] / (i == a->n - 1 ? lanes : 1), inside = rest % extent ? rest : extent;
        Affine  at = gpu_part(g, l, below(t, k, by * inside), by, inside);

        if (inside < extent) {
            at = aff_add(g->mem, at, aff_scale(g->mem, gpu_part(g, l, piece, outer, extent / inside), inside));
            outer *= extent / inside;
        }
        by *= inside;
        rest /= inside;
        g->map[a->var[i]] = i == a->n - 1 && lanes > 1 ? aff_add(g->mem, aff_scale(g->mem, at, lanes), lane) : at;
    }
}

/* How a tile's unit gets where it belongs. */
typedef enum Way { WAY_STORE, WAY_COPY, WAY_HOLD } Way;

/* What one thread does: unit `unit` of the tile, s->lanes elements along the fold or across it. */
typedef struct Unit {
    Affine thread;
    int    turn[2];             /* variables: of the thread's units along the fold, and across it; -1: there is one */
    Affine k, x, lane;          /* where it is in the tile, in units and lanes */
    Affine from, place;
    Way    way;
    const Guard *guard;         /* where all of them hold */
    int    nguard;
} Unit;

static Affine place_of(GpuTile *t, const GpuSide *s, const Unit *u)
{
    Arena *mem = t->g->mem;
    int    deep = s->along ? s->lanes : 1, wide = s->along ? 1 : s->lanes;
    Affine at = aff_add(mem, aff_scale(mem, u->k, s->step * deep), aff_scale(mem, u->x, s->cross * wide));

    at = aff_add(mem, at, aff_scale(mem, u->lane, s->along ? s->step : s->cross));
    return aff_add(mem, aff_add(mem, at, aff_const(s->at)), u->place);
}

static Affine turn_of(GpuTile *t, const Unit *u, int which) { return u->turn[which] < 0 ? aff_const(0) : aff_var(t->g->mem, u->turn[which], 1); }

static Affine held_at(GpuTile *t, const GpuSide *s, const Unit *u)
{
    Arena *mem = t->g->mem;
    Affine unit = aff_add(mem, aff_scale(mem, turn_of(t, u, 0), s->wide / s->tx), turn_of(t, u, 1));

    return aff_add(mem, aff_add(mem, aff_scale(mem, u->thread, s->each), aff_scale(mem, unit, s->lanes)), u->lane);
}

/* The element, or 0 behind the end of the fold. */
static void store_element(GpuTile *t, const GpuSide *s, const Unit *u, int within, KList *l)
{
    Gpu  *g = t->g;
    Stmt *made = gpu_copy(g, s->list);
    int   value[3] = { within, s->value + g->value_base };

    if (within >= 0 && u->way == WAY_COPY) {
        made->narg = 1;
        made->arg[0] = within;
    }
    kern_append(l, made);
    if (within >= 0 && u->way != WAY_COPY) {
        value[2] = gpu_const(g, l, DT_f32, 0);
        value[1] = gpu_let(g, l, OP_select, DT_f32, DT_f32, 3, value);
    }
    if (u->way == WAY_HOLD)
        gpu_set(g, l, s->held, DT_f32, held_at(t, s, u), value[1]);
    else
        gpu_set(g, l, t->memory, DT_f32, place_of(t, s, u), value[1]);
}

/* Lanes of a unit around its element. */
static void lanes_around(GpuTile *t, const GpuSide *s, const Unit *u, Stmt *element, KList *l)
{
    Stmt *loop = element;

    if (s->lanes > 1) {
        loop = gpu_for(t->g, u->lane.term[0].var, s->lanes, element);
        loop->lanes = s->lanes;
    }
    kern_append(l, loop);
}

/* Threads that are neighbours have units that are neighbours in memory. */
static void cut_unit(GpuTile *t, const GpuSide *s, Unit *u, KList *l)
{
    Gpu  *g = t->g;
    bool  along = s->along;

    u->lane = s->lanes > 1 ? aff_var(g->mem, gpu_var_below(g, s->lanes), 1) : aff_const(0);
    u->k = gpu_part(g, l, u->thread, along ? 1 : s->tx, s->tk);
    u->x = gpu_part(g, l, u->thread, along ? s->tk : 1, s->tx);
    /* neighbours along the fold: the digits of a thread's are those of its turn */
    u->k = aff_add(g->mem, u->k, aff_scale(g->mem, gpu_part(g, l, u->thread, (int64_t)s->tk * s->tx, s->far), s->tk));
    u->k = s->tk < s->deep && !along ? aff_add(g->mem, aff_scale(g->mem, u->k, s->deep / s->tk), turn_of(t, u, 0))
                                     : aff_add(g->mem, u->k, aff_scale(g->mem, turn_of(t, u, 0), (int64_t)s->tk * s->far));
    u->x = aff_add(g->mem, u->x, aff_scale(g->mem, turn_of(t, u, 1), s->tx));
}

static void load_unit(GpuTile *t, const GpuSide *s, Unit *u, KList *l)
{
    Gpu    *g = t->g;
    int     which = s == &t->side[1], deep = s->along ? s->lanes : 1, within = -1;
    KList   element = { 0 };
    Affine  number;

    cut_unit(t, s, u, l);
    number = aff_add(g->mem, gpu_divided(g, u->from, deep), u->k);
    if (t->whole)
        count_piece(t, l, gpu_divided(g, u->from, t->shape.depth), u->k, deep, u->lane);
    else
        count_axis(t, l, &t->fold, number, true, deep, u->lane);
    if (!t->whole && t->chunk * t->splits != t->fold.count)
        within = gpu_within(g, l, &(Guard){ number, t->fold.count / deep }, 1);
    number = aff_add(g->mem, aff_scale(g->mem, t->group[which], s->tile / (s->along ? 1 : s->lanes)), u->x);
    count_axis(t, l, s->axis, number, s->axis->count % s->tile != 0, s->along ? 1 : s->lanes, u->lane);
    store_element(t, s, u, within, &element);
    lanes_around(t, s, u, element.first, l);
}

static void release_unit(GpuTile *t, const GpuSide *s, Unit *u, KList *l)
{
    Gpu  *g = t->g;
    KList element = { 0 };

    cut_unit(t, s, u, l);
    gpu_set(g, &element, t->memory, DT_f32, place_of(t, s, u), gpu_get(g, &element, s->held, DT_f32, held_at(t, s, u)));
    lanes_around(t, s, u, element.first, l);
}

static int most_divisor(int n, int most)
{
    int d = most < n ? most : n;

    while (n % d)
        d--;
    return d;
}

/* What lies one way in a buffer and another in group memory is moved by 8 neighbours of one row, beside 4 other rows: in the buffer these are whole
 * sectors, in group memory banks of their own.  Where k has to be cut into digits a thread has one k, for which it does that once; else neighbours
 * across the fold are side by side as far as there are any. */
void gpu_share_loads(const GpuTile *t, GpuSide *s)
{
    enum { LEAST_RUN = 16, SECTOR = 8, ODD_SECTOR = 9 };
    int run;

    s->far = 1;
    s->wide = s->along ? s->tile : s->tile / s->lanes;
    s->deep = s->along ? t->shape.depth / s->lanes : t->shape.depth;
    if (s->along) {
        run = s->step == 1 ? t->threads : s->lanes > 1 ? SECTOR / s->lanes : s->deep % ODD_SECTOR ? SECTOR : ODD_SECTOR;
        s->tk = most_divisor(s->deep, run);
        s->tk = s->tk > 1 ? s->tk : most_divisor(s->deep, SECTOR);
        s->tx = most_divisor(s->wide, t->threads / s->tk);
        s->far = most_divisor(s->deep / s->tk, t->threads / (s->tx * s->tk));
    } else if (s->cross != 1) {
        s->tx = most_divisor(s->wide, SECTOR / s->lanes);
        s->tk = most_divisor(s->deep, t->threads / s->tx);
    } else {
        run = t->whole || s->wide < LEAST_RUN / s->lanes ? s->wide : LEAST_RUN / s->lanes;
        s->tk = most_divisor(s->deep, t->threads / (run < t->threads ? run : t->threads));
        s->tx = most_divisor(s->wide, t->threads / s->tk);
    }
    s->each = (int64_t)(s->wide / s->tx) * (s->deep / s->tk / s->far) * s->lanes;
}

static Stmt *turns(GpuTile *t, int var, int64_t extent, Stmt *body)
{
    Stmt *loop = var < 0 ? body : gpu_for(t->g, var, extent, body);

    loop->unroll |= var >= 0;
    return loop;
}

static void all_units(GpuTile *t, const GpuSide *s, Unit *u, void (*one)(GpuTile *, const GpuSide *, Unit *, KList *), KList *l)
{
    Gpu  *g = t->g;
    int   threads = s->tx * s->tk * s->far, across = s->wide / s->tx, along = s->deep / s->tk / s->far, thread = gpu_var_below(g, threads);
    KList body = { 0 };
    Stmt *loop;

    u->thread = aff_var(g->mem, thread, 1);
    u->turn[0] = along > 1 ? gpu_var_below(g, along) : -1;
    u->turn[1] = across > 1 ? gpu_var_below(g, across) : -1;
    one(t, s, u, &body);
    loop = turns(t, u->turn[0], along, turns(t, u->turn[1], across, body.first));
    loop = gpu_inside(g, u->guard, u->nguard, loop);
    loop = gpu_block(g, thread, threads, loop);
    loop->async = u->way == WAY_COPY;
    kern_append(l, loop);
}

void gpu_load(GpuTile *t, const GpuSide *s, Affine from, Affine place, const Guard *guard, int n, KList *l)
{
    Unit u = { .from = from, .place = place, .guard = guard, .nguard = n, .way = t->ahead && s->copied ? WAY_COPY : WAY_STORE };

    all_units(t, s, &u, load_unit, l);
}

void gpu_hold(GpuTile *t, const GpuSide *s, Affine from, KList *l)
{
    Unit u = { .from = from, .way = WAY_HOLD };

    all_units(t, s, &u, load_unit, l);
}

void gpu_release(GpuTile *t, const GpuSide *s, Affine place, KList *l)
{
    Unit u = { .place = place, .way = WAY_STORE };

    all_units(t, s, &u, release_unit, l);
}
