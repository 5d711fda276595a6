/* attention_gpu.h - how a group of threads takes attention: the tiles it has in its memory. */
#ifndef NND_PASSES_ATTENTION_GPU_H
#define NND_PASSES_ATTENTION_GPU_H

#include "ir/graph.h"
#include "ir/limits.h"
#include "passes/attention_group.h"

/* A group has `own` rows (queries, or keys) and walks over tiles of `other` ones.  Its threads are a matrix of down x across: thread (y, x) has the scores of
 * own rows y, y + down, ... by other rows x, x + across, ...; of results the same rows, by columns in runs of `lanes`.  Tiles are fetched by the same threads as a
 * matrix of fetch_down x fetch_across, in runs of fetch_lanes.  With tensor cores a warp is a row of threads, and has fragments of products meanwhile. */
typedef struct AttentionShape {
    bool    mma, bf16;
    int     lanes, fetch_lanes;       /* elements of 128 bits; of results by tensor cores 1 */
    int     down, across, fetch_down, fetch_across;
    int     own, other;
    int64_t length, width;            /* of a row of queries and keys, and of values, as they lie in group memory: whole runs of all threads across */
    int64_t step_length, step_width;  /* from row to row there; rows that follow lie in other banks */
    int64_t step_other;               /* of a matrix own x other */
} AttentionShape;

/* What is asked for: heads of [own, length] by [other, length] and values [.., width]. */
typedef struct AttentionSize { Dtype dtype; Precision precision; int64_t heads, own, other, length, width; bool gradient; } AttentionSize;

/* false: no tile of it fits into group memory.  Tensor cores are for what fits then, too. */
bool attention_shape(const Limits *limits, const AttentionSize *size, AttentionShape *shape);

/* The same of a node attention or attention_lse with these arguments; of a gradient in a graph, whose results must be products with what its scores are made of.
 * The second is true on a CPU. */
bool attention_fits(const Limits *limits, const Graph *g, Op op, const Ref *arg);
bool attention_gradient_fits(const Limits *limits, const Graph *g, const AttentionGradient *a);

AttentionSize attention_gradient_size(const Graph *g, const AttentionGradient *a);

#endif
