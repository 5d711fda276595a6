/* lower_attention_part.c - pieces of attention by groups of threads: tiles in group memory, and products of them.
 *
 * Tiles lie in group memory as they do in their buffers, row by row.  Where two of them meet along their rows a thread reads runs of its own and of other rows;
 * where weights meet rows it reads a run of weights, and of each of these rows a run of columns.  So all reads are of 128 bits, and the eight that go
 * together are in banks of their own, as rows are an odd number of runs apart.
 */
#include <math.h>

#include "passes/lower_attention_gpu.h"

/* Multiply-adds written out at most. */
enum { WRITTEN_OUT = 512 };

int64_t att_threads(const AttentionThreads *a) { return (int64_t)a->s.down * a->s.across; }

int att_rows(const AttentionThreads *a) { return a->s.own / a->s.down; }

int att_scores(const AttentionThreads *a) { return a->s.other / a->s.across; }

int64_t att_runs(const AttentionThreads *a, int64_t columns) { return columns / a->s.across / a->s.lanes; }

static Affine plus3(const Tiles *t, Affine x, Affine y, Affine z) { return tile_plus(t, tile_plus(t, x, y), z); }

static Affine times(const Tiles *t, Affine x, int64_t by) { return aff_scale(t->mem, x, by); }

Affine att_own(const AttentionThreads *a, int64_t each, Affine rest)
{
    const Tiles *t = &a->t;

    return plus3(t, times(t, a->y, each * a->s.across), times(t, a->x, each), rest);
}

void att_open_down(AttentionThreads *a, Open *o) { tile_open_block(&a->t, o, a->s.down, &a->y); }

void att_open_across(AttentionThreads *a, Open *o) { tile_open_block(&a->t, o, a->s.across, &a->x); }

int64_t att_heads(const AttentionThreads *a)
{
    int64_t n = 1;

    for (int i = 0; i < a->t.lo->domain.rank; i++)
        n *= a->t.lo->domain.dim[i];
    return n;
}

Affine att_cut(AttentionThreads *a, Affine number, int64_t tiles)
{
    Lower  *lo = a->t.lo;
    int64_t by = 1;

    for (int i = lo->domain.rank - 1; i >= 0; i--) {
        lo->index[i] = tile_part(&a->t, number, by, lo->domain.dim[i]);
        by *= lo->domain.dim[i];
    }
    return tile_part(&a->t, number, by, tiles);
}

/* ---- tiles ---- */

/* Where an element of the tile is, in runs of lanes that are one access if the row ends with a whole run. */
typedef struct Element { Affine row, run, lane; bool vector; } Element;

static int guards_of(const AttentionThreads *a, const TileMatrix *m, const AttentionRows *rows, int64_t columns, const Element *e, Guard *guard)
{
    const Tiles *t = &a->t;
    int64_t      width = tile_columns(t->lo, m);
    int          n = 0;

    if (!rows->whole)
        guard[n++] = (Guard){ tile_plus(t, rows->first, e->row), rows->count };
    if (width != columns && e->vector)
        guard[n++] = (Guard){ e->run, width / a->s.fetch_lanes };
    else if (width != columns)
        guard[n++] = (Guard){ tile_place(t, e->run, a->s.fetch_lanes, e->lane), width };
    return n;
}

static void load_element(AttentionThreads *a, const TileMatrix *m, int local, const AttentionRows *rows, int64_t columns, int64_t step, const Element *e)
{
    const Tiles *t = &a->t;
    Guard        guard[2];
    int          n = guards_of(a, m, rows, columns, e, guard);
    Affine       column = tile_place(t, e->run, a->s.fetch_lanes, e->lane);
    int          value = tile_value(t, m, tile_plus(t, rows->first, e->row), column, guard, n);

    tile_set(t, local, tile_place(t, e->row, step, column), value);
}

/* Is an element what one load finds? */
static bool only_copies(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->kind == ST_FOR ? !only_copies(s->body) : s->kind != ST_PART && s->kind != ST_WITHIN && s->kind != ST_SET && (s->kind != ST_LOAD || s->dtype != DT_f32))
            return false;
    return true;
}

void att_load(AttentionThreads *a, const TileMatrix *m, int local, const AttentionRows *rows, int n, int64_t columns, int64_t step)
{
    const Tiles *t = &a->t;
    Affine       thread, i, v, across;
    Element      e = { .vector = tile_columns(t->lo, m) % a->s.fetch_lanes == 0 };
    Open         o[4];
    Stmt        *threads;

    tile_open_block(t, &o[0], att_threads(a), &thread);
    threads = o[0].loop;
    across = tile_part(t, thread, 1, a->s.fetch_across);
    e.row = tile_part(t, thread, a->s.fetch_across, a->s.fetch_down);
    tile_open_unrolled(t, &o[1], n / a->s.fetch_down, &i);
    tile_open_unrolled(t, &o[2], columns / a->s.fetch_across / a->s.fetch_lanes, &v);
    tile_open_unrolled(t, &o[3], a->s.fetch_lanes, &e.lane);
    if (e.vector) {
        o[3].loop->unroll = false;
        o[3].loop->lanes = a->s.fetch_lanes;
    }
    e.row = tile_plus(t, e.row, times(t, i, a->s.fetch_down));
    e.run = tile_plus(t, across, times(t, v, a->s.fetch_across));
    load_element(a, m, local, rows, columns, step, &e);
    tile_close_all(t, o, 4);
    threads->async = t->lo->limits->async && t->dtype == DT_f32 && only_copies(threads->body);
}

void att_wait(AttentionThreads *a)
{
    if (a->t.lo->limits->async)
        low_add(a->t.lo, ST_WAIT, a->t.loc)->count = 0;
}

/* ---- products ---- */

/* A run of each of n rows, `apart` from each other, from group memory into registers: [row][lane]. */
static int take_runs(AttentionThreads *a, int local, Affine at, int64_t n, int64_t apart)
{
    const Tiles *t = &a->t;
    int          to = tile_declare(t, n * a->s.lanes, 0, SCOPE_OWN);
    Affine       i, lane;
    Open         o[2];

    tile_open_unrolled(t, &o[0], n, &i);
    tile_open(t, &o[1], a->s.lanes, &lane);
    o[1].loop->lanes = a->s.lanes;
    tile_set(t, to, tile_place(t, i, a->s.lanes, lane), tile_get(t, local, plus3(t, at, times(t, i, apart), lane)));
    tile_close_all(t, o, 2);
    return to;
}

void att_clear(AttentionThreads *a, int local, int64_t each)
{
    Affine i;
    Open   o;

    tile_open_unrolled(&a->t, &o, each, &i);
    tile_set(&a->t, local, att_own(a, each, i), tile_number(&a->t, 0));
    low_close(a->t.lo, &o);
}

static void add_product(AttentionThreads *a, int to, Affine at, int x, Affine x_at, int y, Affine y_at)
{
    const Tiles *t = &a->t;
    int          p = tile_get(t, x, x_at), q = tile_get(t, y, y_at);

    tile_set(t, to, at, tile_let(t, OP_fma, p, q, tile_get(t, to, at)));
}

/* n turns, of `each` multiply-adds, as a loop over loops that are written out; returns how many loops are open. */
static int open_turns(AttentionThreads *a, Open *o, int64_t n, int64_t each, Affine *turn)
{
    const Tiles *t = &a->t;
    int64_t      some = n;
    Affine       i, j;

    while (some > 1 && (n % some || some * each > WRITTEN_OUT))
        some--;
    tile_open(t, &o[0], n / some, &i);
    tile_open_unrolled(t, &o[1], some, &j);
    *turn = tile_place(t, i, some, j);
    return 2;
}

void att_products(AttentionThreads *a, int x, int y, int64_t step, int64_t count, int to)
{
    const Tiles *t = &a->t;
    int          m = att_rows(a), n = att_scores(a), lanes = a->s.lanes, own, other;
    Affine       turn, i, j, lane, at;
    Open         o[2], p[3];

    att_clear(a, to, (int64_t)m * n);
    open_turns(a, o, (count + lanes - 1) / lanes, (int64_t)m * n * lanes, &turn);
    own = take_runs(a, x, tile_plus(t, times(t, a->y, step), times(t, turn, lanes)), m, step * a->s.down);
    other = take_runs(a, y, tile_plus(t, times(t, a->x, step), times(t, turn, lanes)), n, step * a->s.across);
    tile_open_unrolled(t, &p[0], lanes, &lane);
    tile_open_unrolled(t, &p[1], m, &i);
    tile_open_unrolled(t, &p[2], n, &j);
    at = att_own(a, (int64_t)m * n, tile_place(t, i, n, j));
    add_product(a, to, at, own, tile_place(t, i, lanes, lane), other, tile_place(t, j, lanes, lane));
    tile_close_all(t, p, 3);
    tile_close_all(t, o, 2);
}

void att_add_up(AttentionThreads *a, int weight, int y, int64_t step, int64_t columns, int to)
{
    const Tiles *t = &a->t;
    int          m = att_rows(a), lanes = a->s.lanes, own, other;
    int64_t      runs = att_runs(a, columns), each = m * runs * lanes;
    Affine       turn, i, v, row, lane, at;
    Open         o[2], p[4];

    open_turns(a, o, a->s.other / lanes, each * lanes, &turn);
    own = take_runs(a, weight, tile_plus(t, times(t, a->y, a->s.step_other), times(t, turn, lanes)), m, a->s.step_other * a->s.down);
    tile_open_unrolled(t, &p[0], lanes, &row);
    at = tile_plus(t, times(t, turn, lanes * step), times(t, row, step));
    other = take_runs(a, y, tile_plus(t, at, times(t, a->x, lanes)), runs, (int64_t)lanes * a->s.across);
    tile_open_unrolled(t, &p[1], m, &i);
    tile_open_unrolled(t, &p[2], runs, &v);
    tile_open_unrolled(t, &p[3], lanes, &lane);
    at = att_own(a, each, tile_place(t, tile_place(t, i, runs, v), lanes, lane));
    add_product(a, to, at, own, tile_place(t, i, lanes, row), other, tile_place(t, v, lanes, lane));
    tile_close_all(t, p, 4);
    tile_close_all(t, o, 2);
}

/* ---- results ---- */

/* A number of which only those below count are there is a digit of its own then: places tell it (ir/kernel_digits.c). */
static Affine counted(AttentionThreads *a, Affine number, int64_t count, bool whole, Guard *guard, int *n)
{
    if (whole)
        return number;
    guard[(*n)++] = (Guard){ number, count };
    return tile_part(&a->t, number, 1, count);
}

/* Opens the loop over the lanes of a run, where the run and its row are there. */
static int open_run(AttentionThreads *a, Open *o, const AttentionRows *rows, Affine *row, Affine *run, Affine *lane, int64_t width, bool whole)
{
    const Tiles *t = &a->t;
    bool         vector = a->s.lanes > 1 && width % a->s.lanes == 0;
    Guard        guard[3];
    int          n = 0, open = 0;

    *row = counted(a, *row, rows->count, rows->whole, guard, &n);
    if (vector)
        *run = times(t, counted(a, *run, width / a->s.lanes, whole, guard, &n), a->s.lanes);
    else {
        tile_open_unrolled(t, &o[open++], a->s.lanes, lane);
        *run = counted(a, tile_place(t, *run, a->s.lanes, *lane), width, whole, guard, &n);
    }
    if (n && a->group.size)
        guard[n++] = a->group;
    if (n)
        tile_open_where(t, &o[open++], guard, n);
    if (vector) {
        tile_open(t, &o[open], a->s.lanes, lane);
        o[open++].loop->lanes = a->s.lanes;
        *run = tile_plus(t, *run, *lane);
    }
    return open;
}

void att_store(AttentionThreads *a, int from, int64_t columns, int to, const AttentionRows *rows, int divisor)
{
    const Tiles *t = &a->t;
    const Type  *type = &t->lo->g->node[to].type;
    int64_t      width = type->dim[type->rank - 1], runs = att_runs(a, columns), each = att_rows(a) * runs * a->s.lanes;
    Affine       row, i, v, run, lane;
    Open         o[5];
    int          n, value;

    tile_open_unrolled(t, &o[0], att_rows(a), &i);
    tile_open_unrolled(t, &o[1], runs, &v);
    row = plus3(t, rows->first, a->y, times(t, i, a->s.down));
    run = tile_plus(t, a->x, times(t, v, a->s.across));
    n = open_run(a, &o[2], rows, &row, &run, &lane, width, width == columns);
    value = tile_get(t, from, att_own(a, each, tile_place(t, tile_place(t, i, runs, v), a->s.lanes, lane)));
    if (divisor >= 0)
        value = tile_let(t, OP_div, value, tile_get(t, divisor, i), 0);
    tile_store(t, to, row, run, value);
    tile_close_all(t, o, 2 + n);
}

void att_store_numbers(AttentionThreads *a, int from, int to, const AttentionRows *rows)
{
    const Tiles *t = &a->t;
    Guard        guard[2] = { { a->x, 1 } };
    int          n = 1;
    Affine       row, i;
    Open         o[2];

    tile_open_unrolled(t, &o[0], att_rows(a), &i);
    row = counted(a, plus3(t, rows->first, a->y, times(t, i, a->s.down)), rows->count, rows->whole, guard, &n);
    tile_open_where(t, &o[1], guard, n);
    tile_store(t, to, row, aff_const(0), tile_get(t, from, i));
    tile_close_all(t, o, 2);
}

int att_masked(AttentionThreads *a, int score, const Guard *guard, int n)
{
    const Tiles *t = &a->t;

    if (!n)
        return score;
    return low_let(t->lo, t->loc, OP_select, t->dtype, t->dtype, 3, (int[]){ tile_within(t, guard, n), score, tile_number(t, -INFINITY) });
}
