/* attention_group.h - the gradient of attention, found among the nodes of a graph. */
#ifndef NND_PASSES_ATTENTION_GROUP_H
#define NND_PASSES_ATTENTION_GROUP_H

#include "ir/graph.h"

/* Nodes as attention.c makes them.  p = exp(s - lse), s = scale * score, -inf where causal says so; ds = p * (dp - own) * scale. */
typedef struct AttentionGradient {
    int    rank;               /* of q, k and v; batch axes are the first rank - 2 */
    int    score, dp;          /* dot: q k^T, do v^T */
    int    p, lse, own;        /* exp; a number of each row */
    int    ds;
    int    dq, dk, dv;         /* dot: ds k, ds^T q, p^T do */
    bool   causal;
    double scale, scale_ds;
} AttentionGradient;

/* All of a graph, those whose parts have no other use. */
int attention_gradients(const Graph *g, AttentionGradient **found);

/* The nodes that are p, ds, the three results, and lie between: n of them. */
enum { ATTENTION_NODES = 16 };
int attention_members(const Graph *g, const AttentionGradient *a, int *id);

#endif
