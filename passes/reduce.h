/* reduce.h - shrink a module for as long as something still goes wrong with it. */
#ifndef NND_PASSES_REDUCE_H
#define NND_PASSES_REDUCE_H

#include "ir/graph.h"

/* Does it still go wrong?  The module is a copy of its own: run passes over it, change it, but don't free it. */
typedef bool ReduceFails(Module *m, void *ctx);

typedef struct Reduction { int tried, kept; } Reduction;       /* candidates; those that failed as well */

/* reduce_module - the smallest module found that still fails.
 *
 * m      graphs without plans, verified; freed when a smaller one takes its place
 * fails  asked for each candidate, and for the module itself to begin with; candidates verify
 * most   candidates at most; 0: any number
 * r      may be NULL
 *
 * Each candidate is one step smaller: without an entry's graph, the train block, a write or a loss; with a node
 * replaced by an argument of its type, by a constant, or by a parameter of its type; or with a size replaced by
 * a smaller one wherever it stands.  Places and unused slots go at once.  So a failure that needs those, or the
 * text of the module rather than its graphs, isn't one to be reduced here.
 *
 * Returns NULL, or one sentence: the module doesn't fail to begin with.
 * A. Zeller and R. Hildebrandt, "Simplifying and isolating failure-inducing input", IEEE TSE 28(2), 2002. */
const char *reduce_module(Module **m, ReduceFails *fails, void *ctx, int most, Reduction *r);

/* A module of its own with the same graphs, and with the slots that they use. */
Module *reduce_copy(const Module *m);

#endif
