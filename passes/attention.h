/* attention.h - attention in terms of other operations. */
#ifndef NND_PASSES_ATTENTION_H
#define NND_PASSES_ATTENTION_H

#include "ir/graph.h"

/* The node attention or attention_lse written out: scores, their maximum, exponentials, sums. */
Ref attention_written(Graph *g, const Node *nd, const Ref *arg);

#endif
