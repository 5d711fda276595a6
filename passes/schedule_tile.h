/* schedule_tile.h - a contraction while it is written as tiles. */
#ifndef NND_PASSES_SCHEDULE_TILE_H
#define NND_PASSES_SCHEDULE_TILE_H

#include "passes/schedule.h"

enum { MAX_PACKED = 2 };

/* A load of the folded statements whose columns are copied, panel by panel, into a buffer of their own. */
typedef struct Packed { const Stmt *load; int buf; } Packed;

/* What is written of a tile: all of it; or of one whose fold is taken in parts, its first partial results, a part, what follows the last. */
typedef enum TileStage { TILE_WHOLE, TILE_BEGIN, TILE_PART, TILE_FINISH } TileStage;

typedef struct Tile {
    Nest   *nest;
    Kernel *k;              /* the kernel being written */
    Stmt   *local, *fold, *rest;   /* the element's one local; folded loops; what follows them */
    int     nfold;
    bool    along_fold;
    int     lanes;          /* of a vector of results */
    int     row, column;    /* places in nest->var; row -1: there is one row */
    int     m, n;           /* rows and columns of a tile (columns: results, not vectors) */
    int     block;          /* of these columns, so many are folded at once; all along columns */
    Affine *map;            /* the nest's loop variables in the kernel being written */
    Affine  fold_index;     /* of the folded loop being written, in its part */
    int     base;           /* added to the nest's value numbers in the tile being written */
    /* schedule_block.c */
    int64_t row_block;      /* rows that a block of columns passes over before the next rows; all of them if there is no such block */
    int64_t group;          /* column tiles that a tile of rows meets while it is in the first cache */
    int     npacked;
    Packed  packed[MAX_PACKED];
    int64_t part;           /* of the fold, so much at a time; all of it if it is not taken in parts */
    int     partials;       /* the buffer where partial results are until the next part */
    Affine  part_from;      /* where the part begins that is being written */
    TileStage stage;
} Tile;

/* tile_size - sets the rows and columns of a tile, m, n and block. */
void  tile_size(Tile *t);
/* tile_block - what stays in which cache: sets row_block, group, packed and part, once the size of a tile is known. */
void  tile_block(Tile *t);
/* The copy of n columns from `column` on into their panel, of the part of the fold that is being written. */
void  tile_pack(Tile *t, Affine column, int n, KList *l);
/* inner is a copy of the folded statements for n columns from `column` on, column v of them, fold is the folded loop's index in its part: it
 * loads from the panel. */
void  tile_unpack(Tile *t, Stmt *inner, Affine column, int n, Affine v, Affine fold);
/* Where partial results of column v of a tile's n, `column` on, are between parts. */
Affine tile_partial(const Tile *t, Affine row, Affine column, Affine v);

#endif
