/* schedule_gpu_mma.c - a group's products by tensor cores.
 *
 * Each warp has a part of the tile's results, as fragments of 16 x 8: 4 numbers a thread.  The first factor lies in group memory with the fold
 * along its rows, the second with the fold from row to row; both stay f32 there and are rounded on the way in.
 */
#include "passes/schedule_gpu_tile.h"

enum { ROWS = 16, COLUMNS = 8, FRAGMENT = 4 };

/* A warp's number as slice, and as row and column of warps in it. */
static Seat seat_of_warp(GpuTile *t, Affine warp, KList *l)
{
    int  across = t->shape.columns / t->shape.n, down = t->shape.rows / t->shape.m;
    Seat s;

    s.column = gpu_part(t->g, l, warp, 1, across);
    s.row = gpu_part(t->g, l, warp, across, down);
    s.slice = gpu_part(t->g, l, warp, (int64_t)across * down, t->shape.slices);
    return s;
}

static Stmt *written_out(GpuTile *t, int var, int n, Stmt *body)
{
    Stmt *loop = gpu_for(t->g, var, n, body);

    loop->unroll = true;
    return loop;
}

static Affine sum(GpuTile *t, Affine a, int var, int64_t by) { return aff_add(t->g->mem, a, aff_var(t->g->mem, var, by)); }

void gpu_mma_products(GpuTile *t, Affine place, KList *l)
{
    Gpu     *g = t->g;
    GpuSide *a = &t->side[0], *b = &t->side[1];
    int      deep = t->bf16 ? 16 : 8, part = t->shape.depth / t->shape.slices, warp = gpu_var_below(g, t->threads / GPU_WARP), k = gpu_var(g), i = gpu_var(g), j = gpu_var(g), across = t->shape.n / COLUMNS;
    int64_t  each = (int64_t)t->shape.m * t->shape.n / GPU_WARP;
    Affine   row, column;
    KList    body = { 0 }, one = { 0 };
    Seat     seat = seat_of_warp(t, aff_var(g->mem, warp, 1), &body);
    Stmt    *s;

    s = kern_add(g->mem, &one, ST_MMA, g->nest->k->loc);
    s->dtype = DT_f32;
    s->bf16 = t->bf16;
    s->local = t->acc;
    s->at = sum(t, sum(t, aff_var(g->mem, warp, GPU_WARP * each), i, FRAGMENT * across), j, FRAGMENT);
    s->operand[0] = s->operand[1] = t->memory;
    s->nguard = 2;
    s->guard = arena_array(g->mem, Guard, 2);
    row = sum(t, sum(t, aff_scale(g->mem, seat.row, t->shape.m * a->cross), i, ROWS * a->cross), k, deep * a->step);
    row = aff_add(g->mem, row, aff_scale(g->mem, seat.slice, part * a->step));
    column = sum(t, sum(t, aff_scale(g->mem, seat.column, t->shape.n), j, COLUMNS), k, deep * b->step);
    column = aff_add(g->mem, column, aff_scale(g->mem, seat.slice, part * b->step));
    s->guard[0] = (Guard){ aff_add(g->mem, aff_add(g->mem, row, place), aff_const(a->at)), a->cross };
    s->guard[1] = (Guard){ aff_add(g->mem, aff_add(g->mem, column, place), aff_const(b->at)), b->step };
    s = written_out(t, i, t->shape.m / ROWS, written_out(t, j, across, one.first));
    kern_append(&body, written_out(t, k, part / deep, s));
    kern_append(l, gpu_block(g, warp, t->threads / GPU_WARP, body.first));
}

void gpu_mma_stage(GpuTile *t, KList *l)
{
    Gpu    *g = t->g;
    int     thread = gpu_var_below(g, t->threads), i = gpu_var(g), j = gpu_var(g), half = gpu_var(g), pair = gpu_var(g), across = t->shape.n / COLUMNS;
    int64_t each = (int64_t)t->shape.m * t->shape.n / GPU_WARP, columns = t->shape.columns;
    Affine  number = aff_var(g->mem, thread, 1), at, own;
    KList   body = { 0 }, one = { 0 };
    Seat    seat = seat_of_warp(t, gpu_part(g, &body, number, GPU_WARP, t->threads / GPU_WARP), &body);
    Stmt   *s;

    at = aff_add(g->mem, aff_scale(g->mem, seat.row, t->shape.m * columns), aff_scale(g->mem, seat.column, t->shape.n));
    at = aff_add(g->mem, at, aff_scale(g->mem, seat.slice, t->shape.rows * columns));
    at = aff_add(g->mem, at, aff_scale(g->mem, gpu_part(g, &body, number, 4, 8), columns));
    at = aff_add(g->mem, at, aff_scale(g->mem, gpu_part(g, &body, number, 1, 4), 2));
    at = sum(t, sum(t, sum(t, sum(t, at, i, ROWS * columns), j, COLUMNS), half, ROWS / 2 * columns), pair, 1);
    own = sum(t, sum(t, aff_scale(g->mem, number, each), i, FRAGMENT * across), j, FRAGMENT);
    own = sum(t, sum(t, own, half, 2), pair, 1);
    gpu_set(g, &one, t->memory, DT_f32, at, gpu_get(g, &one, t->acc, DT_f32, own));
    s = gpu_for(g, pair, 2, one.first);
    s->lanes = 2;
    s = written_out(t, i, t->shape.m / ROWS, written_out(t, j, across, written_out(t, half, 2, s)));
    kern_append(&body, s);
    kern_append(l, gpu_block(g, thread, t->threads, body.first));
}
