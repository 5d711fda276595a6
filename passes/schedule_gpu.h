/* schedule_gpu.h - kernels written for groups of threads: what their schedules share. */
#ifndef NND_PASSES_SCHEDULE_GPU_H
#define NND_PASSES_SCHEDULE_GPU_H

#include "passes/schedule.h"

/* Thread groups that fill any GPU that matters; not one device's number, or the order of sums would be that device's. */
enum { GPU_GROUPS = 132, GPU_WARP = 32 };

typedef struct Gpu {
    Nest       *nest;        /* the kernel as lower wrote it */
    Arena      *mem;
    KernelList *out;
    Kernel     *k;           /* the kernel being written */
    Affine     *map;         /* the nest's index variables where statements are being written */
    int         value_base;  /* of the values last copied */
    int64_t    *below; int nbelow, below_cap;     /* what index variables of the kernel being written stay below; 0: not known */
} Gpu;

/* A kernel of the same name and a numbering of its own, appended to out; share is its part of the work. */
void   gpu_open(Gpu *g, double share);
int    gpu_var(Gpu *g);
int    gpu_var_below(Gpu *g, int64_t extent);
int    gpu_value(Gpu *g);
int    gpu_local(Gpu *g, KList *l, Dtype dtype, int64_t count, Scope scope, int64_t each, double start);

/* A number is cut into the indices of loops, outermost first, as `part`s in l; map has them.  A number beyond the last iteration
 * begins again, so it is an iteration in any case; wraps: there may be such a one.  No `part` where variables' bounds say what the digit is. */
void   gpu_count(Gpu *g, KList *l, Affine number, const int *var, const int64_t *extent, int n, bool wraps);
/* All coefficients are multiples of by. */
Affine gpu_divided(const Gpu *g, Affine a, int64_t by);
Affine gpu_part(Gpu *g, KList *l, Affine number, int64_t by, int64_t extent);

/* The statement, with what is in it, at the end of the list, as it is. */
void   gpu_append_copy(Arena *mem, KList *l, const Stmt *s);

/* The list with fresh values and variables, where index variables of the nest are what map says. */
Stmt  *gpu_copy(Gpu *g, const Stmt *list);
/* Of the list, what value needs. */
Stmt  *gpu_slice(Gpu *g, const Stmt *list, int value);

Stmt  *gpu_for(Gpu *g, int var, int64_t extent, Stmt *body);
Stmt  *gpu_block(Gpu *g, int var, int64_t extent, Stmt *body);
Stmt  *gpu_grid(Gpu *g, int var, int64_t extent, Stmt *body);
/* The body where number < size; as it is where that always holds. */
Stmt  *gpu_below(Gpu *g, Affine number, int64_t size, bool always, Stmt *body);
/* The same for several numbers. */
Stmt  *gpu_inside(Gpu *g, const Guard *guard, int n, Stmt *body);
int    gpu_within(Gpu *g, KList *l, const Guard *guard, int n);
int    gpu_const(Gpu *g, KList *l, Dtype dtype, double x);
int    gpu_get(Gpu *g, KList *l, int local, Dtype dtype, Affine at);
void   gpu_set(Gpu *g, KList *l, int local, Dtype dtype, Affine at, int value);

int    gpu_let(Gpu *g, KList *l, Op op, Dtype dtype, Dtype from, int narg, const int *arg);
/* May `lanes` neighbours along a loop with this variable be one access of all that the list loads and stores along it? */
bool   gpu_takes_vectors(const Nest *nest, Stmt *list, int var, int64_t extent, int lanes);
/* Do they stand side by side, wherever they stand? */
bool   gpu_side_by_side(const Nest *nest, const Stmt *list, int var, int lanes);
int64_t gpu_results(const Nest *nest);

enum { GPU_HEADS = 4 };

/* One fold: lower's locals, loops and innermost body. */
typedef struct GpuHead {
    const Stmt *local[2];       /* the accumulator; of argmax and argmin the best, and its index */
    int         nlocal;
    int         var[MAX_RANK];
    int64_t     extent[MAX_RANK], length;
    int         n;
    const Stmt *body;
    Op          op;             /* add, maximum or minimum */
    int         each[3];        /* for reduce: locals of each thread */
} GpuHead;

/* The folds of the kernel's body, GPU_HEADS - 1 of them at most, and what is left in straight lines; false: it is not made of them. */
bool   gpu_take_heads(Gpu *g, GpuHead *head, int *n, Stmt **straight);
/* Where a local of the kernel as lower wrote it is reached, another is from now on. */
void   gpu_retarget(Stmt *s, int local, int to, Affine at);
/* A local as lower declared it, under the same number. */
void   gpu_declare(Gpu *g, KList *l, const Stmt *local);

/* In the nest's own numbering, a body for it: the local takes parts buf[at + step * part] in order, then comes the rest (schedule_gpu_split.c).
 * The map is made anew, as there are more variables. */
Stmt  *gpu_add_parts(Gpu *g, const Stmt *local, Op op, Stmt *rest, int buf, Affine at, int64_t step, int64_t parts);

/* The fold of an `each 1` local, from `at` on; and where a best stands: the least index of the row's threads that have it.  row: the loop over
 * the rows of a group, -1: it has one. */
int    gpu_fold(Gpu *g, KList *l, Op op, Dtype dtype, int local, Affine at, int64_t count);
int    gpu_least_index(Gpu *g, const GpuHead *h, int lanes, int row, int best, KList *l);

/* Threads of a group where each has one of so many units. */
int    gpu_threads(int64_t units);

/* The schedules; false: not a kernel for it.  What none takes is one thread a result. */
bool   gpu_tile(Gpu *g);
bool   gpu_reduce(Gpu *g);
bool   gpu_scatter(Gpu *g);
void   gpu_point(Gpu *g);

#endif
