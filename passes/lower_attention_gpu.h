/* lower_attention_gpu.h - pieces of attention by groups of threads: tiles in group memory, and products of them. */
#ifndef NND_PASSES_LOWER_ATTENTION_GPU_H
#define NND_PASSES_LOWER_ATTENTION_GPU_H

#include "passes/attention_gpu.h"
#include "passes/lower_tile.h"

typedef struct AttentionThreads {
    Tiles          t;
    AttentionShape s;
    Affine         y, x;       /* the thread's place, where block loops over both are open */
    Guard          group;      /* holds for the group's number where not all groups come; size 0: they do.  Said again where results are stored,
                                * so that the verifier sees whose they are */
} AttentionThreads;

/* Rows of a matrix from `first` on, below `count`; count is whole if the tiles are. */
typedef struct AttentionRows { Affine first; int64_t count; bool whole; } AttentionRows;

/* A group's number is that of a tile times the heads plus that of a head, which is cut into the batch's indices;
 * returns that of the tile. */
int64_t att_heads(const AttentionThreads *a);
Affine  att_cut(AttentionThreads *a, Affine number, int64_t tiles);

int64_t att_threads(const AttentionThreads *a);
/* Place in a local of `each` registers a thread, of the thread at hand. */
Affine att_own(const AttentionThreads *a, int64_t each, Affine rest);
/* own rows a thread has; scores in one of them; results: runs of lanes, of so many columns */
int    att_rows(const AttentionThreads *a);
int    att_scores(const AttentionThreads *a);
int64_t att_runs(const AttentionThreads *a, int64_t columns);

/* Loops over the threads down, and over those across. */
void   att_open_down(AttentionThreads *a, Open *o);
void   att_open_across(AttentionThreads *a, Open *o);

/* To group memory: n rows of m, and zeros where it ends; `columns` are whole runs, step from row to row. */
void   att_load(AttentionThreads *a, const TileMatrix *m, int local, const AttentionRows *rows, int n, int64_t columns, int64_t step);
void   att_wait(AttentionThreads *a);          /* what is copied straight from buffers is under way until then */

/* For the thread: to[row, score] = sum over columns of x[own row] * y[other row]; `count` of the columns are not 0. */
void   att_products(AttentionThreads *a, int x, int y, int64_t step, int64_t count, int to);
/* to[row, column] += sum over other rows of weight[own row, other row] * y[other row, column] */
void   att_add_up(AttentionThreads *a, int weight, int y, int64_t step, int64_t columns, int to);
/* The thread's results, of own rows that are there, each by its row's divisor (a local of one number a row; -1: as they are); such a local. */
void   att_store(AttentionThreads *a, int from, int64_t columns, int to, const AttentionRows *rows, int divisor);
void   att_store_numbers(AttentionThreads *a, int from, int to, const AttentionRows *rows);

/* By tensor cores (lower_attention_mma.c).  to[own row, column] += x[own row, k] * y[k, column], k < fold, in fragments; turned: y[column, k].  Zeros lie behind the last k. */
typedef struct AttentionProduct { int x, y; int64_t x_step, y_step; bool turned; int64_t fold, columns; int to; } AttentionProduct;
int64_t att_fragments_each(const AttentionThreads *a, int64_t columns);        /* numbers that a thread has of such a product */
void   att_multiply(AttentionThreads *a, const AttentionProduct *p);
void   att_stage(AttentionThreads *a, int from, int64_t columns, int to, int64_t step);       /* fragments to group memory */
/* For the thread, from there: its n numbers of each own row, instead of what it has or added to that. */
void   att_take(AttentionThreads *a, int from, int64_t step, int n, int to, bool add);
void   att_clear(AttentionThreads *a, int local, int64_t each);

/* A score, -inf where the query doesn't see the key. */
int    att_masked(AttentionThreads *a, int score, const Guard *guard, int n);

#endif
