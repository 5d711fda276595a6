/* eval_nodes.h - what ir/eval.c and ir/eval_window.c share. */
#ifndef NND_IR_EVAL_NODES_H
#define NND_IR_EVAL_NODES_H

#include "ir/eval.h"

typedef struct Eval {
    const Graph   *g;
    const EvalEnv *env;
    Arena         *mem;
    Tensor        *value;
    const int     *scan;       /* of each node, 0: none */
    int64_t        step;       /* of the scan that runs */
} Eval;

/* The value of node id, whose arguments' values are there. */
void eval_one(Eval *e, int id);

/* Row-major strides of t. */
void eval_strides(const Type *t, int64_t *stride);
/* Steps index through dim in row-major order; off follows with the given strides.  false at the end. */
bool eval_advance(int rank, const int64_t *dim, int64_t *index, const int64_t *stride, int64_t *off);

/* ir/eval_window.c */
void eval_slice(Eval *e, const Node *nd, Tensor *out);
void eval_pad(Eval *e, const Node *nd, Tensor *out);
void eval_window(Eval *e, const Node *nd, Tensor *out);
void eval_overlap(Eval *e, const Node *nd, Tensor *out);
void eval_cumsum(Eval *e, const Node *nd, Tensor *out);
void eval_conv(Eval *e, const Node *nd, Tensor *out);
void eval_gather(Eval *e, const Node *nd, Tensor *out);
void eval_scatter(Eval *e, const Node *nd, Tensor *out);

/* ir/eval_sparse.c: the last is spread and collect */
void eval_put(Eval *e, const Node *nd, Tensor *out);
void eval_sparse(Eval *e, const Node *nd, Tensor *out);

/* ir/eval_attention.c */
void eval_attention(Eval *e, const Node *nd, Tensor *out);
void eval_attention_lse(Eval *e, const Node *nd, Tensor *out);
/* ir/eval_scan.c */
void eval_element(Eval *e, const Node *nd, Tensor *out);
void eval_carry(Eval *e, const Node *nd, Tensor *out);       /* its value is there: nexts put it */
/* The whole scan of which node first is a result, and all its results. */
void eval_scan(Eval *e, const bool *want, int first);

#endif
