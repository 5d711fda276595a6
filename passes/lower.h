/* lower.h - the state of lower while it writes one graph's plan. */
#ifndef NND_PASSES_LOWER_H
#define NND_PASSES_LOWER_H

#include "ir/scan.h"
#include "passes/access.h"
#include "passes/attention_group.h"
#include "passes/pass.h"

typedef struct Memo { int node; Access at; int condition, value; } Memo;

/* What must hold where an element is looked at; condition is the value of the `within`, -1 if there is none. */
typedef struct Guards { int condition, n; Guard *guard; } Guards;

typedef struct Lower {
    Module      *m;
    const Limits *limits;
    const Graph *g;
    bool        in_order;     /* elements of a fold: threads, not lanes, will share them out */
    Arena       *mem;
    Plan        *p;
    int         *home;        /* buffer that holds a node's value, -1 if none does */
    const int   *scan;        /* of each node, as scan_of_nodes */
    const int64_t *steps;     /* of each scan */
    int         *stack, *next_stack;     /* of each node: a stack of it; another stack of the same; 0 ends */
    AttentionGradient *gradient; int ngradient;    /* in the graph; those that are one kernel each */
    int         *slot_buf;    /* buffer of each slot, -1 if it isn't used */

    /* the kernel being written */
    Kernel      *k;
    int          number;      /* Node.kernel of its nodes */
    Type         domain;
    Affine       index[MAX_RANK];   /* of the domain's axes */
    KList       *out;         /* where statements go */
    Memo        *memo; int nmemo, cmemo;
    Guards       guards;
} Lower;

/* The value of node id at the element a, as statements in lo->out. */
int   lower_value(Lower *lo, int id, const Access *a);
/* The value of the kernel's head (a reduction or contraction) at lo->index. */
int   lower_head(Lower *lo, const Node *nd);

/* Gives buffers to the plan: home, slot_buf and the stacks (lower_buffer.c). */
void  lower_buffers(Lower *lo);

/* A kernel whose body is a loop of its own that stores as it goes: cumsum, scatter (lower_rows.c). */
bool  lower_is_rows(Op op);
Type  lower_rows_domain(const Lower *lo, const Node *nd);
void  lower_rows(Lower *lo, const Node *nd);

/* Of those, spread and collect (lower_sparse.c).  FLOPs as if every value stood somewhere. */
bool  lower_is_sparse(Op op);
Type  lower_sparse_domain(const Lower *lo, const Node *nd);
void  lower_sparse(Lower *lo, const Node *nd);
double lower_sparse_flops(const Lower *lo, const Node *nd);

/* And attention, with its log-sum-exp if that is in the kernel (lower_attention.c). */
bool  lower_is_attention(Op op);
Type  lower_attention_domain(const Lower *lo, const Node *nd);
void  lower_attention(Lower *lo, const Node *nd);
void  lower_attention_nodes(const Lower *lo, int *values, int *lse);    /* of the kernel; 0: there is none */
double lower_attention_flops(const Lower *lo, const Node *nd);
void  lower_attention_gradient(Lower *lo, const AttentionGradient *a);
/* The same for a GPU, whose kernels are written for groups of threads at once; lo->domain is the batch, of which no loops are open. */
void  lower_attention_groups(Lower *lo, const Node *nd);
void  lower_attention_gradient_groups(Lower *lo, const AttentionGradient *a);
double lower_attention_gradient_flops(const Lower *lo, const AttentionGradient *a);

/* The value of node id at the element a where guards hold, `otherwise` elsewhere. */
int   lower_guarded(Lower *lo, int id, const Access *a, const Guard *guard, int n, double otherwise);

/* A loop around what is added next. */
typedef struct Open { KList *outer, body; Stmt *loop; } Open;
void  low_open(Lower *lo, Open *o, Loc loc, int var, int64_t extent);
void  low_close(Lower *lo, Open *o);

/* statements */
Stmt *low_add(Lower *lo, StmtKind kind, Loc loc);             /* appended to lo->out */
int   low_let(Lower *lo, Loc loc, Op op, Dtype dtype, Dtype from, int narg, const int *arg);
int   low_const(Lower *lo, Loc loc, Dtype dtype, double x);
int   low_index(Lower *lo, Loc loc, Affine at);
int   low_load(Lower *lo, const Node *nd, int buf, const Access *a);
void  low_store(Lower *lo, const Node *nd, int buf, const Access *a, int value);
int   low_pick(Lower *lo, Loc loc, int value, int64_t extent);       /* the index variable */
int   low_cast(Lower *lo, Loc loc, int value, Dtype from, Dtype to);

#endif
