/* schedule_gpu_shape.c - how large a group's tile is, and over how many groups the fold is split.
 *
 * An estimate of the time in cycles of a multiprocessor: the multiply-adds of all groups that it gets, or what it waits for memory in each
 * step of the fold, whichever is longer.  Nothing here asks for the device, so sums have one order on all.
 */
#include "passes/schedule_gpu_tile.h"

enum { STEP_CYCLES = 700, SECOND_CYCLES = 6000, MOST_SPLITS = 32 };

static const GpuShape shapes[] = {
    { 128, 128, 8, 8, 8, 1, false }, { 128, 64, 8, 8, 4, 1, false }, { 64, 64, 16, 4, 4, 1, false },
    { 32, 32, 64, 4, 4, 4, false }, { 16, 64, 32, 4, 4, 4, false }, { 64, 16, 32, 4, 4, 4, false }, { 16, 16, 128, 4, 4, 16, false },
};

static const GpuShape mma_shapes[] = {
    { 128, 64, 16, 32, 32, 1, true }, { 64, 64, 32, 32, 16, 1, true }, { 32, 32, 64, 16, 8, 1, true },
};

static int64_t up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/* Cycles of one step of a group that has the multiprocessor for itself, multiply-adds and loads from group memory. */
static double work_cycles(const GpuShape *s)
{
    double warps = (double)s->rows * s->columns / (s->m * s->n) * s->slices / GPU_WARP, fma = s->m * s->n / 4.0, load = (s->m + s->n) / 2.0;

    return warps * s->depth / s->slices * (fma > load ? fma : load) + s->depth * (s->rows + s->columns) / 64.0;
}

/* Tensor cores make eight times as many products as threads do, if group memory gives them their factors. */
static double mma_cycles(const GpuShape *s)
{
    double warps = (double)s->rows * s->columns / (s->m * s->n), load = (s->m + s->n) / 8.0, products = s->m * s->n / 64.0;

    return warps * s->depth * (load > products ? load : products) / 4 + s->depth * (s->rows + s->columns) / 64.0;
}

static double work_of(const GpuShape *s) { return s->mma ? mma_cycles(s) : work_cycles(s); }

static double cycles(const GpuTile *t, const GpuShape *s, int splits)
{
    int64_t groups = t->batch.count * up(t->row.count, s->rows) * up(t->column.count, s->columns) * splits;
    int64_t steps = up(up(t->fold.count, splits), s->depth), waves = up(groups, GPU_GROUPS);
    double  work = (double)waves * work_of(s), step = work > STEP_CYCLES ? work : STEP_CYCLES;

    return (double)(steps + 2) * step + (splits > 1 ? SECOND_CYCLES + 100 * splits : 0);
}

void gpu_shape(const GpuTile *t, GpuShape *shape, int *splits)
{
    bool            mma = t->g->nest->limits->mma && t->g->nest->p->m->train.precision;
    const GpuShape *of = mma ? mma_shapes : shapes;
    size_t          nshape = mma ? sizeof mma_shapes / sizeof *of : sizeof shapes / sizeof *of;
    double          best = 0;

    *splits = 0;
    for (size_t i = 0; i < nshape; i++)
        for (int n = 1; n <= MOST_SPLITS && (n == 1 || t->fold.count >= 2 * n * of[i].depth); n *= 2) {
            double time = cycles(t, &of[i], n);

            if (*splits && time >= best)
                continue;
            best = time;
            *shape = of[i];
            *splits = n;
        }
}
