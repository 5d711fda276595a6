/* schedule_gpu_shape.c - how large a group's tile is, how it is shared among threads, and over how many groups the fold is split.
 *
 * All shapes of a list are tried, and an estimate of the time in cycles decides: what instructions of a step take, what group memory and the
 * second cache give meanwhile, and what a step waits at least; for the groups that share a multiprocessor, round after round.  Nothing here asks
 * for the device, so sums have one order on all.  The figures are an H100's; other generations differ by factors that all shapes share.
 */
#include "passes/schedule_gpu_tile.h"

#include <stdlib.h>

enum { PAD = 4, MOST_STAGES = 4, LEAST_THREADS = 128, MOST_THREADS = 256, MOST_WRITTEN = 1280, LEAST_EACH = 4 };

/* Of a multiprocessor: registers, bytes of group memory that all generations from sm_80 on have, and bytes of the second cache a cycle. */
enum { REGISTERS = 1 << 16, GROUP_BYTES = 160 << 10, CACHE_BYTES = 20 };

/* Cycles: until what is asked for is there; a launch; until a group works. */
enum { LATENCY = 900, LAUNCH = 5000, START = 1500 };

static const int tiles[][2] = { { 128, 128 }, { 128, 64 }, { 64, 128 }, { 64, 96 }, { 64, 64 }, { 128, 32 }, { 32, 128 }, { 64, 32 }, { 32, 64 },
                                { 32, 32 }, { 16, 64 }, { 64, 16 }, { 16, 32 }, { 32, 16 }, { 16, 16 } };
static const int parts[][2] = { { 8, 8 }, { 8, 4 }, { 4, 8 }, { 4, 4 } };
static const int warps[][2] = { { 64, 32 }, { 32, 64 }, { 32, 32 }, { 32, 16 }, { 16, 16 }, { 16, 8 } };
static const int depths[] = { 8, 16, 32, 64, 128 };
static const int counts[] = { 1, 2, 3, 4, 6, 8, 16, 24, 32, 40, 48, 64 };

#define LENGTH(a) (int)(sizeof(a) / sizeof *(a))

static int64_t up(int64_t n, int64_t by) { return (n + by - 1) / by; }
static double larger(double a, double b) { return a > b ? a : b; }

/* ---- what follows from a shape ---- */

int gpu_tile_threads(const GpuShape *s) { return s->rows / s->m * (s->columns / s->n) * s->slices * (s->mma ? GPU_WARP : 1); }

/* Lanes of a warp read from banks of their own: of tensor cores' factors pairs along the fold, of 8 rows and of 8 columns. */
void gpu_tile_steps(const GpuShape *s, int64_t step[2], int64_t cross[2])
{
    step[0] = s->mma ? 1 : s->rows + PAD;
    cross[0] = s->mma ? s->depth + (s->depth % 16 ? 0 : 2 * PAD) : 1;
    step[1] = s->columns + PAD;
    cross[1] = 1;
}

int64_t gpu_tile_factors(const GpuShape *s)
{
    int64_t step[2], cross[2];

    gpu_tile_steps(s, step, cross);
    return (s->mma ? cross[0] * s->rows : step[0] * s->depth) + step[1] * s->depth;
}

/* Rows whose results are in group memory together. */
int     gpu_staged_rows(const GpuShape *s) { return s->mma ? s->rows : s->rows / (s->m / 4); }
int64_t gpu_tile_results(const GpuShape *s) { return (int64_t)s->slices * gpu_staged_rows(s) * s->columns; }

static int64_t group_bytes(const GpuShape *s)
{
    int64_t factors = gpu_tile_factors(s) * s->stages, results = gpu_tile_results(s);

    return 4 * (factors > results ? factors : results);
}

/* ---- time ---- */

/* Instructions of a thread in a step, and those of them that read group memory, 128 bits each; of a warp with tensor cores, where a product of
 * 16 x 8 x 8 takes as long as 6 instructions and factors are read in words and rounded. */
static void count_instructions(const GpuShape *s, double *all, double *reads)
{
    double each = (double)s->depth / s->slices, a = s->m / 4.0 * each / 8, b = s->n / 4.0 * each / 8;

    if (s->mma) {
        *reads = (a + b) / 2;
        *all = s->m * s->n / 128.0 * 6 * each / 8 + 1.5 * a + 2 * b;
        return;
    }
    *reads = (s->m + s->n) / 4.0 * each;
    *all = s->m * s->n * each + *reads;
}

/* A step of so many groups that share a multiprocessor. */
static double step_cycles(const GpuTile *t, const GpuShape *s, int groups)
{
    int    threads = gpu_tile_threads(s);
    double nwarp = threads / (double)GPU_WARP, all, reads, moves = 0, bytes = 4.0 * (s->rows + s->columns) * s->depth, time, latency;
    bool   held = !t->side[0].copied || !t->side[1].copied;

    count_instructions(s, &all, &reads);
    for (int i = 0; i < 2; i++)
        moves += (double)(i ? s->columns : s->rows) * s->depth / threads / t->side[i].lanes;
    all += (gpu_piece_is_whole(&t->fold, s->depth) ? 3 : 5) * moves + 24;
    time = larger(groups * nwarp * all / 4, groups * nwarp * (3.2 * reads + 2 * moves));
    time = larger(time, groups * bytes / CACHE_BYTES);
    latency = LATENCY / (held ? 1.0 : s->stages - 1.0) + 100;
    return larger(time, larger(latency, all * (double)up((int64_t)nwarp, 4) + 150));
}

static int count_loads(const Stmt *s)
{
    int n = 0;

    for (; s; s = s->next)
        n += s->kind == ST_LOAD;
    return n;
}

/* What follows the contraction: instructions, and what turns of a thread wait for memory if they ask for more than a bias. */
static double finish_cycles(const GpuTile *t, const GpuShape *s, int groups)
{
    double results = (double)s->rows * s->columns, turns = results / (4 * gpu_tile_threads(s));

    return groups * results * (16 + 4 * s->slices) / 128 + LATENCY * (count_loads(t->rest) > 1 ? 1 + turns / 4 : 1);
}

/* Registers of a thread: results, factors of this place of the fold and of the next, what is held of the next tile and its place, and where units lie:
 * if they are many, if their places are not one behind the other, and if each place of the fold has to be cut into indices. */
static double registers(const GpuTile *t, const GpuShape *s)
{
    enum { FEW_UNITS = 12 };
    double n = s->mma ? 96 : s->m * s->n + 2 * (s->m + s->n) + 57, all = 0;
    bool   whole = gpu_piece_is_whole(&t->fold, s->depth);

    n += whole || t->fold.n < 2 ? 0 : 3 * t->fold.n;
    for (int i = 0; i < 2; i++) {
        const GpuSide *side = &t->side[i];
        double units = (double)(i ? s->columns : s->rows) * s->depth / gpu_tile_threads(s) / side->lanes;

        n += side->copied ? 0 : 2 * units * side->lanes;
        n += side->axis->n > 1 && (side->along || !whole) ? units / 2 : 0;
        all += units;
    }
    return all > FEW_UNITS ? n + all - FEW_UNITS : n;
}

static int most_registers(const GpuShape *s) { return gpu_tile_threads(s) == MOST_THREADS ? 128 : 168; }

/* Groups that fit side by side. */
static int resident(const GpuTile *t, const GpuShape *s)
{
    double  n = registers(t, s);
    int64_t by_memory = GROUP_BYTES / (group_bytes(s) + 1024), most = (int64_t)(REGISTERS / (gpu_tile_threads(s) * n));

    most = by_memory < most ? by_memory : most;
    return most < 1 ? 1 : (int)most;
}

static double groups_cycles(const GpuTile *t, const GpuShape *s, int64_t steps, int groups)
{
    return groups ? START + (double)steps * step_cycles(t, s, groups) + finish_cycles(t, s, groups) : 0;
}

static double cycles(const GpuTile *t, const GpuShape *s, int splits)
{
    int64_t groups = t->batch.count * up(t->row.count, s->rows) * up(t->column.count, s->columns) * splits;
    int64_t chunk = up(t->fold.count, splits), steps = up(chunk, s->depth);
    int64_t each = up(groups, GPU_GROUPS), together = resident(t, s);
    double  time = (double)(each / together) * groups_cycles(t, s, steps, (int)(each < together ? each : together))
                 + groups_cycles(t, s, steps, (int)(each % together));

    if (splits > 1)
        time += LAUNCH + 250.0 * splits + 8.0 * splits * (double)(t->batch.count * t->row.count * t->column.count) / (GPU_GROUPS * CACHE_BYTES);
    return time;
}

/* ---- the least of all ---- */

typedef struct Best { GpuShape shape; int splits; double time; } Best;

/* A depth near the one wanted of which pieces of the fold are whole, so that threads needn't cut each place of it into indices. */
static int near_depth(const GpuTile *t, int depth, int by)
{
    int best = depth;

    if (gpu_piece_is_whole(&t->fold, depth))
        return depth;
    for (int d = depth / 2 / by * by; d <= depth * 7 / 4; d += by)
        if (d > 0 && gpu_piece_is_whole(&t->fold, d) && (best == depth || abs(d - depth) < abs(best - depth)))
            best = d;
    return best;
}

static void try_splits(const GpuTile *t, const GpuShape *s, Best *best)
{
    int least = s->stages > 2 ? s->stages : 2;

    for (int i = 0; i < LENGTH(counts) && (i == 0 || t->fold.count >= (int64_t)least * counts[i] * s->depth); i++) {
        double time = cycles(t, s, counts[i]);

        if (!best->splits || time < best->time)
            *best = (Best){ *s, counts[i], time };
    }
}

static void try_stages(const GpuTile *t, GpuShape s, Best *best)
{
    int each = s.depth / s.slices, written = s.mma ? s.m * s.n / GPU_WARP * each / 8 : s.m * s.n * each;

    for (s.stages = 2; s.stages == 2 || (s.stages <= MOST_STAGES && s.stages * written <= MOST_WRITTEN && (s.stages - 1) * s.depth < t->fold.count); s.stages++)
        if (group_bytes(&s) <= t->g->nest->limits->shared_bytes && registers(t, &s) < most_registers(&s))
            try_splits(t, &s, best);
}

/* A thread's or a warp's part of the tile. */
static void try_part(const GpuTile *t, GpuShape s, Best *best)
{
    int by = s.mma ? t->bf16 ? 16 : 8 : 1, threads;

    for (s.slices = 1; s.slices <= 16; s.slices *= 2) {
        threads = gpu_tile_threads(&s);
        if (threads < LEAST_THREADS || threads > MOST_THREADS)
            continue;
        for (int i = 0; i < LENGTH(depths); i++) {
            s.depth = near_depth(t, depths[i], by * s.slices);
            if (s.depth % (by * s.slices) || s.depth / s.slices < LEAST_EACH || (!s.mma && s.m * s.n * (s.depth / s.slices) > MOST_WRITTEN / 2))
                continue;
            try_stages(t, s, best);
        }
    }
}

static void try_parts(const GpuTile *t, bool mma, const int (*part)[2], int n, Best *best)
{
    for (int i = 0; i < LENGTH(tiles); i++)
        for (int j = 0; j < n; j++) {
            GpuShape s = { .rows = tiles[i][0], .columns = tiles[i][1], .m = part[j][0], .n = part[j][1], .mma = mma };

            if (s.rows % s.m == 0 && s.columns % s.n == 0)
                try_part(t, s, best);
        }
}

/* Where factors may be rounded they are if that is faster. */
void gpu_shape(const GpuTile *t, GpuShape *shape, int *splits)
{
    Best best = { .splits = 0 };

    if (t->g->nest->limits->mma && t->g->nest->p->m->train.precision)
        try_parts(t, true, warps, LENGTH(warps), &best);
    try_parts(t, false, parts, LENGTH(parts), &best);
    *shape = best.shape;
    *splits = best.splits;
}
