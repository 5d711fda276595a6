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

static Affine divided(Gpu *g, Affine a, int64_t by)
{
    Affine r = aff_const(a.base / by);

    for (int i = 0; i < a.n; i++)
        r = aff_add(g->mem, r, aff_var(g->mem, a.term[i].var, a.term[i].coef / by));
    return r;
}

/* How a tile's unit gets where it belongs. */
typedef enum Way { WAY_STORE, WAY_COPY, WAY_HOLD } Way;

/* What one thread does: unit `unit` of the tile, s->lanes elements along the fold or across it. */
typedef struct Unit {
    Affine number, thread;      /* of the unit; of the thread */
    Affine turn;                /* of the thread's units */
    Affine k, x, lane;          /* where it is in the tile, in units and lanes */
    Affine from, place;
    Way    way;
} Unit;

static Affine place_of(GpuTile *t, const GpuSide *s, const Unit *u)
{
    Arena *mem = t->g->mem;
    int    deep = s->along ? s->lanes : 1, wide = s->along ? 1 : s->lanes;
    Affine at = aff_add(mem, aff_scale(mem, u->k, s->step * deep), aff_scale(mem, u->x, s->cross * wide));

    at = aff_add(mem, at, aff_scale(mem, u->lane, s->along ? s->step : s->cross));
    return aff_add(mem, aff_add(mem, at, aff_const(s->at)), u->place);
}

static Affine held_at(GpuTile *t, const GpuSide *s, const Unit *u)
{
    Arena *mem = t->g->mem;

    return aff_add(mem, aff_add(mem, aff_scale(mem, u->thread, s->each), aff_scale(mem, u->turn, s->lanes)), u->lane);
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

static void cut_unit(GpuTile *t, const GpuSide *s, Unit *u, KList *l)
{
    int deep = s->along ? t->shape.depth / s->lanes : t->shape.depth, wide = s->along ? s->tile : s->tile / s->lanes;

    u->lane = s->lanes > 1 ? aff_var(t->g->mem, gpu_var(t->g), 1) : aff_const(0);
    u->k = gpu_part(t->g, l, u->number, s->along ? 1 : wide, deep);
    u->x = gpu_part(t->g, l, u->number, s->along ? deep : 1, wide);
}

static void load_unit(GpuTile *t, const GpuSide *s, Unit *u, KList *l)
{
    Gpu    *g = t->g;
    int     which = s == &t->side[1], deep = s->along ? s->lanes : 1, within = -1;
    int64_t covered = t->chunk * t->splits;
    bool    wraps = covered != t->fold.count;
    KList   element = { 0 };
    Affine  number;

    cut_unit(t, s, u, l);
    number = aff_add(g->mem, divided(g, u->from, deep), u->k);
    count_axis(t, l, &t->fold, number, wraps || t->ahead, deep, u->lane);
    if (wraps)
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

int gpu_load_units(const GpuTile *t, const GpuSide *s, int *threads)
{
    int units = s->tile * t->shape.depth / s->lanes;

    *threads = units < t->threads ? units : t->threads;
    return units / *threads;
}

static void all_units(GpuTile *t, const GpuSide *s, Unit *u, void (*one)(GpuTile *, const GpuSide *, Unit *, KList *), KList *l)
{
    Gpu  *g = t->g;
    int   threads, each = gpu_load_units(t, s, &threads), thread = gpu_var(g), turn = each > 1 ? gpu_var(g) : -1;
    KList body = { 0 };
    Stmt *loop;

    u->thread = aff_var(g->mem, thread, 1);
    u->turn = each > 1 ? aff_var(g->mem, turn, 1) : aff_const(0);
    u->number = aff_add(g->mem, u->thread, aff_scale(g->mem, u->turn, threads));
    one(t, s, u, &body);
    if (each > 1) {
        loop = gpu_for(g, turn, each, body.first);
        loop->unroll = true;
        body.first = loop;
    }
    loop = gpu_block(g, thread, threads, body.first);
    loop->async = u->way == WAY_COPY;
    kern_append(l, loop);
}

void gpu_load(GpuTile *t, const GpuSide *s, Affine from, Affine place, KList *l)
{
    Unit u = { .from = from, .place = place, .way = t->ahead && s->copied ? WAY_COPY : WAY_STORE };

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
