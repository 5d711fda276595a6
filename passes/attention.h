/* attention.h - attention in terms of other operations. */
#ifndef NND_PASSES_ATTENTION_H
#define NND_PASSES_ATTENTION_H

#include "ir/graph.h"

/* The node attention or attention_lse written out: scores, their maximum, exponentials, sums. */
Ref attention_written(Graph *g, const Node *nd, const Ref *arg);

/* The last two axes of x lie the other way around: a copy. */
Ref attention_turned(Graph *g, Loc loc, Ref x);

/* The node itself, with keys and values laid out as its kernel runs along them. */
Ref attention_laid_out(Graph *g, const Node *nd, const Ref *arg);

#endif
