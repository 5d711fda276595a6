/* lower_attention_mma.c - products of attention's tiles by tensor cores.
 *
 * A warp has fragments of 16 x 8 of a product: of one block of 16 own rows, and of those columns that no other warp with the same rows has.  As nothing but
 * such products knows where a fragment's numbers are, they go through group memory to the threads that go on with them.
 */
#include "passes/lower_attention_gpu.h"

enum { ROWS = 16, COLUMNS = 8, NUMBERS = 4, WARP = 32, WRITTEN_OUT = 32 };

/* Warps that have the same rows. */
static int warps_across(const AttentionThreads *a) { return a->s.down / (a->s.own / ROWS); }

static int64_t fragments(const AttentionThreads *a, int64_t columns) { return columns / COLUMNS / warps_across(a); }

int64_t att_fragments_each(const AttentionThreads *a, int64_t columns) { return NUMBERS * fragments(a, columns); }

static Affine times(const Tiles *t, Affine x, int64_t by) { return aff_scale(t->mem, x, by); }

/* A warp's first row, and its first column of so many fragments. */
static void seat(AttentionThreads *a, Affine warp, int64_t n, Affine *row, Affine *column)
{
    const Tiles *t = &a->t;

    *row = times(t, tile_part(t, warp, warps_across(a), a->s.own / ROWS), ROWS);
    *column = times(t, tile_part(t, warp, 1, warps_across(a)), n * COLUMNS);
}

static void add_fragment(AttentionThreads *a, const AttentionProduct *p, Affine row, Affine column, Affine k, Affine at)
{
    const Tiles *t = &a->t;
    Stmt        *s = low_add(t->lo, ST_MMA, t->loc);

    s->dtype = DT_f32;
    s->bf16 = a->s.bf16;
    s->turned = p->turned;
    s->local = p->to;
    s->at = at;
    s->operand[0] = p->x;
    s->operand[1] = p->y;
    s->nguard = 2;
    s->guard = arena_array(t->mem, Guard, 2);
    s->guard[0] = (Guard){ tile_place(t, row, p->x_step, k), p->x_step };
    s->guard[1] = (Guard){ p->turned ? tile_place(t, column, p->y_step, k) : tile_place(t, k, p->y_step, column), p->y_step };
}

void att_multiply(AttentionThreads *a, const AttentionProduct *p)
{
    const Tiles *t = &a->t;
    int64_t      n = fragments(a, p->columns), deep = a->s.bf16 ? 16 : 8, turns = (p->fold + deep - 1) / deep;
    Affine       warp, row, column, k, j;
    Open         o[3];

    tile_open_block(t, &o[0], a->s.down, &warp);
    seat(a, warp, n, &row, &column);
    tile_open(t, &o[1], turns, &k);
    o[1].loop->unroll = turns * n <= WRITTEN_OUT;
    tile_open_unrolled(t, &o[2], n, &j);
    add_fragment(a, p, row, tile_plus(t, column, times(t, j, COLUMNS)), times(t, k, deep), tile_plus(t, times(t, warp, WARP * NUMBERS * n), times(t, j, NUMBERS)));
    tile_close_all(t, o, 3);
}

void att_stage(AttentionThreads *a, int from, int64_t columns, int to, int64_t step)
{
    const Tiles *t = &a->t;
    int64_t      n = fragments(a, columns);
    Affine       row, column, j, half, pair, at;
    Open         o[5];

    att_open_down(a, &o[0]);
    seat(a, a->y, n, &row, &column);
    att_open_across(a, &o[1]);
    row = tile_plus(t, row, tile_part(t, a->x, 4, ROWS / 2));
    column = tile_plus(t, column, times(t, tile_part(t, a->x, 1, 4), 2));
    tile_open_unrolled(t, &o[2], n, &j);
    tile_open_unrolled(t, &o[3], 2, &half);
    tile_open(t, &o[4], 2, &pair);
    o[4].loop->lanes = 2;
    row = tile_plus(t, row, times(t, half, ROWS / 2));
    column = tile_plus(t, column, tile_plus(t, times(t, j, COLUMNS), pair));
    at = att_own(a, NUMBERS * n, tile_plus(t, times(t, j, NUMBERS), tile_plus(t, times(t, half, 2), pair)));
    tile_set(t, to, tile_place(t, row, step, column), tile_get(t, from, at));
    tile_close_all(t, o, 5);
}

void att_take(AttentionThreads *a, int from, int64_t step, int n, int to, bool add)
{
    const Tiles *t = &a->t;
    int64_t      each = (int64_t)att_rows(a) * n;
    Affine       i, j, at;
    Open         o[2];
    int          x;

    tile_open_unrolled(t, &o[0], att_rows(a), &i);
    tile_open_unrolled(t, &o[1], n, &j);
    at = att_own(a, each, tile_place(t, i, n, j));
    x = tile_get(t, from, tile_place(t, tile_plus(t, a->y, times(t, i, a->s.down)), step, tile_plus(t, a->x, times(t, j, a->s.across))));
    tile_set(t, to, at, add ? tile_let(t, OP_add, tile_get(t, to, at), x, 0) : x);
    tile_close_all(t, o, 2);
}
