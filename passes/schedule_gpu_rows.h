/* schedule_gpu_rows.h - kernels over the same rows that become one for a GPU: what its parts share. */
#ifndef NND_PASSES_SCHEDULE_GPU_ROWS_H
#define NND_PASSES_SCHEDULE_GPU_ROWS_H

#include "passes/schedule_gpu.h"

/* A place as a * row + b * element + base, if it is one. */
typedef struct RowForm { bool linear; int64_t a, b, base; } RowForm;

/* A load or store of a stage. */
typedef struct RowUse {
    int     buf;
    bool    store, element, in_head;    /* done for each element of a row, in a fold */
    bool    plain;                      /* neither under a condition nor by row numbers of the batch */
    RowForm at;
} RowUse;

/* A kernel that reduces each row, makes its elements, or a number of each row. */
typedef struct RowStage {
    Kernel *k;
    Nest    nest;
    int     nrow;                       /* loops of the nest over rows; those behind are over elements */
    GpuHead head[GPU_HEADS];
    int     nhead;
    Stmt   *rest;                       /* behind the heads, or all there is */
    bool    element;                    /* no heads, and done for each element */
    RowUse *use; int nuse, cuse;
} RowStage;

/* What a thread keeps of a row in registers: elements of a buffer; or a number of the row. */
typedef struct RowKeep { int buf; RowForm at; bool element, stored, used, in_head; int nstage, local; bool filled; } RowKeep;

typedef struct RowGroup {
    Plan      *p;
    const Limits *limits;
    int64_t    rows, length;
    RowStage **stage; int n, cap;
    RowKeep   *keep; int nkeep, ckeep;
} RowGroup;

/* rows 0: those of the kernel, which must reduce them. */
bool    gpu_row_stage(Plan *p, const Limits *limits, Kernel *k, int64_t rows, int64_t length, RowStage *s);
RowForm gpu_row_form(const RowStage *s, const GpuHead *head, Affine at);
RowKeep *gpu_row_keep(RowGroup *g, int buf, RowForm at);
bool    gpu_row_equal(RowForm a, RowForm b);
/* Threads of a row, rows of a group, neighbours that a thread takes at once, and how many of those it has. */
typedef struct RowShape { int lanes, rows, vec; int64_t turns; } RowShape;
RowShape gpu_row_shape(const RowGroup *g);

/* The kernel of all stages, the verifier willing; NULL if it isn't.  used: by buffer, something else than the group touches it. */
Kernel *gpu_row_kernel(RowGroup *g, const bool *used);

/* schedule_gpu_merge.c: does b touch what a writes, or write what a loads? */
bool    gpu_depends(const Plan *p, const Stmt *a, const Stmt *b);
bool    gpu_same_memory(const Plan *p, int a, int b);

#endif
