/* schedule_tile.h - a contraction while it is written as tiles. */
#ifndef NND_PASSES_SCHEDULE_TILE_H
#define NND_PASSES_SCHEDULE_TILE_H

#include "passes/schedule.h"

enum { MAX_PACKED = 2 };

/* A load of the folded statements whose columns are copied, panel by panel, into a buffer of their own. */
typedef struct Packed { const Stmt *load; int buf; } Packed;

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
    int     base;           /* added to the nest's value numbers in the tile being written */
    /* schedule_block.c */
    int64_t row_block;      /* rows that a block of columns passes over before the next rows; all of them if there is no such block */
    int64_t group;          /* column tiles that a tile of rows meets while it is in the first cache */
    int     npacked;
    Packed  packed[MAX_PACKED];
} Tile;

/* tile_block - what stays in which cache: sets row_block, group and packed, once the size of a tile is known. */
void  tile_block(Tile *t);
/* The copy of n columns from `column` on into their panel. */
void  tile_pack(Tile *t, Affine column, int n, KList *l);
/* inner is a copy of the folded statements for n columns from `column` on, column v of them, fold is the folded loop's index: it loads
 * from the panel. */
void  tile_unpack(Tile *t, Stmt *inner, Affine column, int n, Affine v, Affine fold);

#endif
