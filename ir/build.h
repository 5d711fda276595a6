/* build.h - nodes from a table's expression. */
#ifndef NND_IR_BUILD_H
#define NND_IR_BUILD_H

#include "ir/expr.h"
#include "ir/graph.h"

typedef struct Binding { const char *name; Ref ref; } Binding;

/* build_expr - the node that e computes, with names bound to nodes.
 *
 * Calls and operators name pointwise rows of ops.def; > and >= are < and <= turned round.
 * A number takes dtype and shape of the node it meets (like: of the binding `like` if it meets none).
 * Asserts that the table's text makes sense: a test builds every row. */
Ref build_expr(Graph *g, Loc loc, const Expr *e, int n, const Binding *env, Ref like);

#endif
