/* schedule.h - a kernel taken apart into its loops. */
#ifndef NND_PASSES_SCHEDULE_H
#define NND_PASSES_SCHEDULE_H

#include "passes/pass.h"

typedef struct Nest {
    Plan       *p;
    Arena      *mem;
    const Limits *limits;
    Kernel     *k;
    int         var[MAX_RANK];       /* the domain's loops, outermost first */
    int64_t     extent[MAX_RANK];
    int         n;
    Stmt       *body;                /* of the innermost */
    bool        turned;              /* the last loop but one is a block of a transposed operand, to be unrolled */
} Nest;

Nest   nest_open(Plan *p, Kernel *k, const Limits *limits);

/* How statements lie in memory along a loop. */
typedef struct Strides { int unit, none, other; } Strides;
void   strides_of(const Stmt *s, int var, Strides *st);

/* Lanes of a vector of this dtype. */
int    lanes_for(const Limits *l, Dtype d);
Dtype  widest_float(const Stmt *s);

/* The loops of the nest again around body, as they stand in it; returns the outermost. */
Stmt  *nest_wrap(Nest *nest, Stmt *body, int nloops);
Stmt  *sched_for(Arena *mem, Loc loc, int var, int64_t extent, Stmt *body);

/* The loop of the nest along which neighbours lie side by side, and that one moved to the last place. */
int    vector_loop(const Nest *nest);
void   move_last(Nest *nest, int i);
/* Does a form in the list hold an index variable that is picked by a value which changes with var? */
bool   pick_varies(const Stmt *list, Affine a, int var);

/* schedule_tile.c: a contraction as register tiles; may give several kernels, appended to out.
 * false: not a contraction that can be tiled. */
typedef struct KernelList { Kernel **k; int n, cap; } KernelList;
bool   schedule_tile(Nest *nest, KernelList *out);
/* schedule_blas.c: a product for BLAS, if the options want it; its kernel is appended to out.  BLAS_PART: the nest has become what follows it. */
typedef enum BlasResult { BLAS_NOT, BLAS_ALL, BLAS_PART } BlasResult;
BlasResult schedule_blas(Nest *nest, const PassOptions *o, KernelList *out);
/* schedule_gpu.c: the kernel for groups of threads; may give several kernels, appended to out. */
void   schedule_gpu(Nest *nest, KernelList *out);

/* schedule_sums.c: sums down columns, several vectors of columns together, the last loop being along columns; NULL: something else. */
Stmt  *schedule_sums(Nest *nest, int lanes);

/* schedule_merge.c: kernels that run over the same rows, one behind the other, become one. */
void   schedule_merge(Plan *p);
/* schedule_gpu_rows.c: the same for a GPU, before others are scheduled. */
void   schedule_gpu_rows(Plan *p, const Limits *limits);
/* schedule_gpu_merge.c: for a GPU, kernels of points behind each other, any beside each other. */
void   schedule_gpu_merge(Plan *p);

#endif
