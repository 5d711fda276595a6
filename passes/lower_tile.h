/* lower_tile.h - statements of kernels that write their own tiles. */
#ifndef NND_PASSES_LOWER_TILE_H
#define NND_PASSES_LOWER_TILE_H

#include "passes/lower.h"

typedef struct Tiles { Lower *lo; Arena *mem; Loc loc; Dtype dtype; } Tiles;

/* A loop around what is added next; index is its variable. */
void   tile_open(const Tiles *t, Open *o, int64_t extent, Affine *index);
void   tile_open_unrolled(const Tiles *t, Open *o, int64_t extent, Affine *index);
void   tile_open_lanes(const Tiles *t, Open *o, int64_t extent, Affine *index);        /* in vectors of NND_LANES, written out */
void   tile_open_block(const Tiles *t, Open *o, int64_t extent, Affine *index);       /* threads of a group */
void   tile_open_grid(const Tiles *t, Open *o, int64_t extent, Affine *index);        /* groups */
int    tile_within(const Tiles *t, const Guard *guard, int n);
void   tile_open_where(const Tiles *t, Open *o, const Guard *guard, int n);           /* done where all hold */
void   tile_open_if(const Tiles *t, Open *o, Affine at, int64_t size);                /* done where 0 <= at < size */
void   tile_close_all(const Tiles *t, Open *o, int n);

Affine tile_plus(const Tiles *t, Affine x, Affine y);
Affine tile_place(const Tiles *t, Affine row, int64_t width, Affine column);           /* width * row + column */

int    tile_declare(const Tiles *t, int64_t count, double start, Scope scope);
int    tile_declare_each(const Tiles *t, int64_t threads, int64_t each, double start);
Affine tile_part(const Tiles *t, Affine number, int64_t by, int64_t extent);           /* number / by % extent */
int    tile_number(const Tiles *t, double x);
int    tile_get(const Tiles *t, int local, Affine at);
void   tile_set(const Tiles *t, int local, Affine at, int value);
int    tile_fold(const Tiles *t, Op op, int local, Affine at, int64_t count);
int    tile_let(const Tiles *t, Op op, int x, int y, int z);

/* A node's value as a matrix: which of its axes are rows and columns; the others are the domain's, batch[i] the domain's axis i. */
typedef struct TileMatrix { int node, batch[MAX_RANK], row, column; } TileMatrix;

TileMatrix tile_matrix(const Lower *lo, int id);                /* the last two axes, or the last of a number a row */
TileMatrix tile_operand(const Lower *lo, int dot, int which);   /* of a product over one axis: that one is the columns */
TileMatrix tile_turned(const Lower *lo, int id);                /* what a transpose of such a one makes of it */
int64_t tile_rows(const Lower *lo, const TileMatrix *m);
int64_t tile_columns(const Lower *lo, const TileMatrix *m);

/* An element, 0 where the guards don't hold.  A value of its own: no other may be seen where this one is. */
int    tile_value(const Tiles *t, const TileMatrix *m, Affine row, Affine column, const Guard *guard, int n);
/* In the kernel's own result; stored where others read it, and where they read its transposes that are in the kernel. */
int    tile_load(const Tiles *t, int id, Affine row, Affine column);
void   tile_store(const Tiles *t, int id, Affine row, Affine column, int value);

#endif
