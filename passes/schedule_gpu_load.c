/* schedule_gpu_load.c - tiles of a contraction's factors, from buffers to group memory.
 *
 * Whatever makes an element of a factor is done here, once an element of the tile: the batch's rows are picked, bytes become floats, padding
 * is zero, channels and taps of a convolution are cut out of the fold's count.  In group memory rows or columns are neighbours, and
 * the fold goes from row to row, whichever way the factor lies in its buffer.
 */
#include "passes/schedule_gpu_tile.h"

enum { MOST_UNROLLED = 8 };

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

/* The element, or 0 behind the end of the fold; into its place. */
static void store_element(GpuTile *t, const GpuSide *s, int within, Affine at, KList *l)
{
    Gpu  *g = t->g;
    Dtype dt = t->head.local[0]->dtype;
    int   value[3];

    kern_append(l, gpu_copy(g, s->list));
    value[1] = s->value + g->value_base;
    if (within >= 0) {
        value[0] = within;
        value[2] = gpu_const(g, l, dt, 0);
        value[1] = gpu_let(g, l, OP_select, dt, dt, 3, value);
    }
    gpu_set(g, l, t->memory, dt, at, value[1]);
}

/* Unit `unit` of the tile: s->lanes elements along the fold or across it. */
static void load_unit(GpuTile *t, const GpuSide *s, Affine from, Affine unit, KList *l)
{
    Gpu    *g = t->g;
    int     which = s == &t->side[1], lane = s->lanes > 1 ? gpu_var(g) : -1, within = -1;
    int     deep = s->along ? t->shape.depth / s->lanes : t->shape.depth, wide = s->along ? s->tile : s->tile / s->lanes;
    Affine  k = gpu_part(g, l, unit, s->along ? 1 : wide, deep), x = gpu_part(g, l, unit, s->along ? deep : 1, wide), at;
    Affine  lanes = lane < 0 ? aff_const(0) : aff_var(g->mem, lane, 1), number;
    int64_t covered = t->chunk * t->splits;
    KList   body = { 0 };
    Stmt   *loop;

    number = aff_add(g->mem, s->along ? divided(g, from, s->lanes) : from, k);
    count_axis(t, l, &t->fold, number, covered != t->fold.count, s->along ? s->lanes : 1, lanes);
    if (covered != t->fold.count)
        within = gpu_within(g, l, &(Guard){ number, t->fold.count / (s->along ? s->lanes : 1) }, 1);
    number = aff_add(g->mem, aff_scale(g->mem, t->group[which], wide), x);
    count_axis(t, l, s->axis, number, s->axis->count % s->tile != 0, s->along ? 1 : s->lanes, lanes);
    at = aff_add(g->mem, aff_scale(g->mem, k, s->step * (s->along ? s->lanes : 1)), aff_scale(g->mem, x, s->along ? 1 : s->lanes));
    at = aff_add(g->mem, aff_add(g->mem, at, aff_const(s->at)), aff_scale(g->mem, lanes, s->along ? s->step : 1));
    store_element(t, s, within, at, lane < 0 ? l : &body);
    if (lane < 0)
        return;
    loop = gpu_for(g, lane, s->lanes, body.first);
    loop->lanes = s->lanes;
    kern_append(l, loop);
}

void gpu_load(GpuTile *t, const GpuSide *s, Affine from, KList *l)
{
    Gpu   *g = t->g;
    int    units = s->tile * t->shape.depth / s->lanes, threads = units < t->threads ? units : t->threads, each = units / threads;
    int    thread = gpu_var(g), unit = each > 1 ? gpu_var(g) : -1;
    Affine at = aff_var(g->mem, thread, 1);
    KList  body = { 0 };
    Stmt  *loop;

    if (each > 1)
        at = aff_add(g->mem, at, aff_var(g->mem, unit, threads));
    load_unit(t, s, from, at, &body);
    if (each > 1) {
        loop = gpu_for(g, unit, each, body.first);
        loop->unroll = each <= MOST_UNROLLED;
        body.first = loop;
    }
    kern_append(l, gpu_block(g, thread, threads, body.first));
}
