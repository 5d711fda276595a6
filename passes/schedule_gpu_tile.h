/* schedule_gpu_tile.h - a contraction as a product of matrices. */
#ifndef NND_PASSES_SCHEDULE_GPU_TILE_H
#define NND_PASSES_SCHEDULE_GPU_TILE_H

#include "passes/schedule_gpu.h"

/* Loops that are counted together, outermost first. */
typedef struct GpuAxis { int var[MAX_RANK]; int64_t extent[MAX_RANK]; int n; int64_t count; } GpuAxis;

/* A group's results are rows x columns; it takes `depth` of the fold at a time, of which each of `slices` has a share; a thread has m x n
 * results of one slice.  With tensor cores a warp has m x n.  Group memory has places for `stages` pieces of the fold. */
typedef struct GpuShape { int rows, columns, depth, m, n, slices, stages; bool mma; } GpuShape;

/* One of the two factors. */
typedef struct GpuSide {
    Stmt    *list;              /* what makes an element */
    int      value;
    GpuAxis *axis;              /* rows, or columns */
    int      tile;              /* of these so many are in group memory */
    int64_t  at, step, cross;   /* where, and from one element to the next along the fold and across it */
    bool     along;             /* neighbours in memory run along the fold */
    int      lanes;             /* 4 of them are one access, or 1 */
    bool     copied;            /* an element is one number as it lies in a buffer, so tiles are copied while products are made */
    int      held; int64_t each;    /* else registers have the next tile meanwhile, each of so many a thread */
    int      wide, deep;        /* units of `lanes` across the fold and along it */
    int      tx, tk, far;       /* threads that load them, across and along; so many times those, further along */
} GpuSide;

typedef struct GpuTile {
    Gpu     *g;
    GpuHead  head;
    Stmt    *rest;
    GpuAxis  row, column, batch, fold;
    GpuSide  side[2];
    GpuShape shape;
    int      threads, splits;
    int      split_var;         /* of the nest: the split's number in what is stored; -1 where there is one */
    int64_t  chunk;             /* of the fold, in each split; a multiple of depth, and of all stages' unless pieces are whole */
    bool     ahead;             /* tiles are fetched while products of others are made */
    bool     whole;             /* pieces of the fold are whole ones of its inner loops: outer indices are the same for all of a piece */
    int64_t  factors;           /* elements of group memory that a tile of both takes */
    bool     bf16;              /* of mma */
    int      memory, acc;       /* locals */
    Affine   group[2], batch_at, split_at;
} GpuTile;

/* schedule_gpu_shape.c: the shape of a group's tile and the number of splits, a function of the contraction alone. */
void gpu_shape(const GpuTile *t, GpuShape *shape, int *splits);
int  gpu_tile_threads(const GpuShape *s);
/* From one element to the next along the fold and across it, of both sides; what group memory has for a piece, and for results. */
void gpu_tile_steps(const GpuShape *s, int64_t step[2], int64_t cross[2]);
int64_t gpu_tile_factors(const GpuShape *s);
int64_t gpu_tile_results(const GpuShape *s);
int  gpu_staged_rows(const GpuShape *s);
/* schedule_gpu_load.c: tiles of one factor.
 * load    from `from` on in the fold into group memory, `place` behind the side's own: copied where it can be; where the n guards hold
 * hold    into the registers held
 * release from there into group memory */
void gpu_load(GpuTile *t, const GpuSide *s, Affine from, Affine place, const Guard *guard, int n, KList *l);
void gpu_hold(GpuTile *t, const GpuSide *s, Affine from, KList *l);
void gpu_release(GpuTile *t, const GpuSide *s, Affine place, KList *l);
/* Which thread loads what. */
void gpu_share_loads(const GpuTile *t, GpuSide *s);
/* Are pieces of so many whole ones of the fold's inner loops? */
bool gpu_piece_is_whole(const GpuAxis *fold, int64_t depth);

/* Where a thread sits: its slice, and as row and column of threads in it; and of its m or n elements of a side, neighbours in fours. */
typedef struct Seat { Affine slice, row, column; } Seat;
Seat gpu_seat(GpuTile *t, Affine thread, KList *l);
typedef struct Own { Affine at; int four, half; } Own;
Own  gpu_own_elements(GpuTile *t, Affine thread, int each, int tile);
/* schedule_gpu_finish.c: results go through group memory, and are finished as neighbours. */
void gpu_finish(GpuTile *t, KList *l);

/* schedule_gpu_mma.c: the same by warps, with tensor cores: products of the tiles that begin `place` behind the sides' own, and all
 * results to group memory, [row][column]. */
void gpu_mma_products(GpuTile *t, Affine place, KList *l);
void gpu_mma_stage(GpuTile *t, KList *l);
/* schedule_gpu_split.c: in the nest's own numbering, for splits whose number is then split_var: what stores a group's results to
 * the buffer, and the body of the kernel that adds them up and goes on with t->rest. */
void gpu_split_rest(GpuTile *t, int buf, Stmt **store, Stmt **sum);

#endif
