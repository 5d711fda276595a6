/* schedule_size.c - how many rows and columns a tile of a contraction has.
 *
 * All sizes that the registers hold are compared by the cycles that they would take, remainders and uneven shares of threads included.
 */
#include "passes/schedule_tile.h"

enum { MAX_ROWS = 14, MAX_COLUMNS = 8, FMA_LATENCY = 4, THREADS = 4 };

static const double REMAINDER_COST = .03;
static const double RAGGED_COST = .06;      /* of pieces of an outer loop that are missing to share it evenly */

/* Cycles of one folded element (or lane group) of an m x v tile: multiply-adds, but no less than their latency, and
 * half a cycle a load, since loads and multiply-adds overlap but not fully (measured: 2 x 2 reaches 60 % of the peak,
 * 4 x 5 90 %).  A number broadcast from memory costs about half a vector load. */
static double tile_cost(const Tile *t, int m, int v, int regs)
{
    double fma = (double)m * v * regs, loads = t->along_fold ? (double)(m + v) * regs : v + m / 2.0;

    return (fma > FMA_LATENCY ? fma : FMA_LATENCY) + loads / 2;
}

/* How much longer the longest share of a loop is than an even one, on four threads; a short loop isn't worth sharing. */
static double ragged(int64_t extent)
{
    return extent <= THREADS ? 0 : (double)((extent + THREADS - 1) / THREADS * THREADS - extent) / (double)extent;
}

static double split_cost(const Tile *t, int64_t rows, int64_t columns, int m, int v, int regs)
{
    double full = tile_cost(t, m, v, regs), cost = (double)(rows / m) * (double)(columns / v) * full;
    int mr = (int)(rows % m), vr = (int)(columns % v);

    if (mr)
        cost += (double)(columns / v) * tile_cost(t, mr, v, regs);
    if (vr)
        cost += (double)(rows / m) * tile_cost(t, m, vr, regs);
    if (mr && vr)
        cost += tile_cost(t, mr, vr, regs);
    /* a remainder is code written out once more: sizes that divide are worth a little */
    return cost * (1 + REMAINDER_COST * ((mr > 0) + (vr > 0)) + RAGGED_COST * ragged(columns / v > 1 ? columns / v : rows / m));
}

static bool calls_functions(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->kind == ST_LET && op_info[s->op].props & PROP_MATH)
            return true;
    return false;
}

void tile_size(Tile *t)
{
    int64_t rows = t->row < 0 ? 1 : t->nest->extent[t->row], width = t->nest->extent[t->column];
    int64_t columns = t->along_fold ? width : (width + t->lanes - 1) / t->lanes;
    /* registers of one partial result; a vector of NND_LANES doubles, or of floats on a narrow target, is several */
    int regs = t->along_fold ? (NND_LANES + t->lanes - 1) / t->lanes : 1;
    double best = 0;
    int v_best = 1;

    t->m = 1;
    for (int m = 1; m <= MAX_ROWS && m <= rows; m++)
        for (int v = 1; v <= MAX_COLUMNS && v <= columns; v++) {
            double cost = split_cost(t, rows, columns, m, v, regs);

            if ((m * v + v + 1) * regs > t->nest->limits->vregs || (best > 0 && cost > best * 0.999))
                continue;
            best = cost;
            t->m = m;
            v_best = v;
        }
    t->n = t->along_fold ? v_best : v_best * t->lanes;
    if (t->n > width)
        t->n = (int)width;
    t->block = t->n;
    if (t->along_fold && calls_functions(t->rest) && t->n < t->lanes)
        t->n = t->lanes / t->n * t->n < width ? t->lanes / t->n * t->n : (int)width;
}
