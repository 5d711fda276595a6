/* schedule_gpu_merge.h - kernels of a plan for a GPU that become one launch: what its parts share. */
#ifndef NND_PASSES_SCHEDULE_GPU_MERGE_H
#define NND_PASSES_SCHEDULE_GPU_MERGE_H

#include "passes/schedule_gpu.h"

/* Kernels of points: a thread for each number below `units`. */
typedef struct Points { int group, thread; int64_t threads, units; const Stmt *list; } Points;
bool gpu_take_points(const Kernel *k, Points *x);

/* Kernels of chunks of a sum: a local of each thread, what they add to it, the fold, and where it goes: one place of a group's own. */
typedef struct Sums { int group; const Stmt *local, *block, *fold, *store; } Sums;
bool gpu_take_sums(const Kernel *k, Sums *x);

/* Kernels beside each other: points; chunks of sums that are alike; else any (schedule_gpu_beside.c). */
typedef struct Item {
    Kernel **k; int n, cap;
    bool     points, sums;
    int64_t  threads;           /* of a group; 0: they can do with any number */
    int64_t  groups, shared;    /* at most; numbers of f32 in group memory of the kernel that has most */
    int64_t  nstmt;
} Item;

typedef struct Merge {
    Plan  *p;
    Arena *mem;
    Item  *item; int n, cap;
} Merge;

/* A kernel that is written of several: group and thread are loop variables of it. */
typedef struct Join { Merge *m; Kernel *k; int group, thread, total; int64_t threads; int pool; int64_t pooled; } Join;

Join    gpu_join(Merge *m, const Kernel *first, int64_t threads);
/* The kernel's statements where the thread's number in it is this. */
Stmt   *gpu_renumbered(Join *j, const Kernel *k, const Points *x, Affine number);
/* The thread's number, counted from that of the group's first. */
Affine  gpu_number_from(const Join *j, int64_t group);
/* schedule_gpu_narrow.c: the kernel for groups of so many threads, a part of those it has; NULL: it is none of those that can do with less. */
Kernel *gpu_narrow(Arena *mem, const Kernel *k, int64_t threads);

/* The statements where at is 0 .. size - 1. */
Stmt   *gpu_where(Join *j, Affine at, int64_t size, Stmt *body);
/* The grid around; NULL: the verifier finds iterations that meet. */
Kernel *gpu_close_groups(Join *j, int64_t groups, Stmt *body);
Kernel *gpu_close_join(Join *j, int64_t groups, Stmt *body);

/* schedule_gpu_forward.c: a thread's list of a kernel of points, for its number, which is below units, in which what it has stored or loaded is not loaded again; and what the plan
 * stores in scratch and never loads is not stored. */
Stmt   *gpu_forward(const Plan *p, const Kernel *k, Affine number, int64_t units, Stmt *list);
void    gpu_drop_stores(Plan *p);

/* May the kernel stand beside those of the item, and is that worth it?  Then it is added. */
Item    gpu_item(Merge *m, Kernel *k);
bool    gpu_fits_item(const Item *item, const Item *one);
void    gpu_add_to_item(Merge *m, Item *item, const Item *one);
/* Appends the item's kernel to the plan; kernels, if they can't be one. */
void    gpu_list_item(Merge *m, const Item *item);

#endif
