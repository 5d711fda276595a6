/* lower_tile.h - statements of kernels that write their own tiles. */
#ifndef NND_PASSES_LOWER_TILE_H
#define NND_PASSES_LOWER_TILE_H

#include "passes/lower.h"

typedef struct Tiles { Lower *lo; Arena *mem; Loc loc; Dtype dtype; } Tiles;

/* A loop around what is added next; index is its variable. */
void   tile_open(const Tiles *t, Open *o, int64_t extent, Affine *index);
void   tile_open_unrolled(const Tiles *t, Open *o, int64_t extent, Affine *index);
void   tile_open_lanes(const Tiles *t, Open *o, int64_t extent, Affine *index);        /* in vectors of NND_LANES, written out */
void   tile_open_if(const Tiles *t, Open *o, Affine at, int64_t size);                /* done where 0 <= at < size */
void   tile_close_all(const Tiles *t, Open *o, int n);

Affine tile_plus(const Tiles *t, Affine x, Affine y);
Affine tile_place(const Tiles *t, Affine row, int64_t width, Affine column);           /* width * row + column */

int    tile_declare(const Tiles *t, int64_t count, double start, Scope scope);
int    tile_get(const Tiles *t, int local, Affine at);
void   tile_set(const Tiles *t, int local, Affine at, int value);
int    tile_fold(const Tiles *t, Op op, int local, Affine at);                         /* NND_LANES of a local folded to one */
int    tile_let(const Tiles *t, Op op, int x, int y, int z);

#endif
