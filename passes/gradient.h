/* gradient.h - the gradient column of ops.def, ready for use. */
#ifndef NND_PASSES_GRADIENT_H
#define NND_PASSES_GRADIENT_H

#include "ir/expr.h"
#include "ir/graph.h"

enum { GRAD_ARGS = 3 };                  /* the most arguments an operation has */

/* gradient_fn - the adjoints of nd's arguments, for "@name" columns.
 * y, adj   nd itself and its adjoint, of the same type
 * want     which arguments' adjoints to make; out[i] of the others is left alone */
typedef void GradientFn(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out);

/* One row: an expression for each argument (NULL: nothing flows), or fn for all of them. */
typedef struct Gradient {
    Expr       *expr[GRAD_ARGS];
    GradientFn *fn;
} Gradient;

/* gradient_table - NOP rows in mem; a caller makes it once and hands it to the others. */
const Gradient *gradient_table(Arena *mem);

/* Does anything flow back from an operation to its argument i? */
bool gradient_flows(const Gradient *table, Op op, int i);

/* gradient_of_node - the same for a node that may stand nowhere: nd's arguments, attribute and type, and its value y. */
void gradient_of_node(const Gradient *table, Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out);

/* gradient_build - the adjoints of the arguments of node y, appended to g with y's Loc.
 * Made for arguments with want[i] only, of which gradient_flows and whose dtype is a float's. */
void gradient_build(const Gradient *table, Graph *g, Ref y, Ref adj, const bool *want, Ref *out);

#endif
