/* fold.c - what follows from constants alone.
 *
 * A constant is one number for all elements, so pointwise operations on constants give a constant,
 * movement leaves it as it is (a pad only if its own value is the same one), and so do the extreme over any axes and
 * rows by whatever number.  A sum is left alone: its rounding
 * is that of the loop.  Pointwise values come from the same scalar functions as the oracle's.
 */
#include <math.h>

#include "ir/eval.h"
#include "passes/rules.h"

static const Ref none = { 0 };

static bool is_const(const Graph *g, Ref r) { return graph_at(g, r)->op == OP_const; }

/* As a target sees it: constants of a graph are doubles whatever their dtype. */
static double value(const Graph *g, Ref r)
{
    const Node *nd = graph_at(g, r);
    double      x = attr_value(&nd->attr);

    return nd->type.dtype == DT_f32 ? (double)(float)x : x;
}

static Dtype arg_dtype(const Graph *g, const Node *nd)
{
    return graph_at(g, nd->arg[nd->op == OP_select ? 1 : 0])->type.dtype;
}

static Ref fold_point(Graph *g, const Node *nd)
{
    double x[3] = { 0 }, y;
    bool   finite = true;

    for (int i = 0; i < nd->narg; i++) {
        x[i] = value(g, nd->arg[i]);
        finite = finite && isfinite(x[i]);
    }
    if (nd->op == OP_cast)
        y = eval_cast(arg_dtype(g, nd), nd->type.dtype, x[0]);
    else
        y = eval_point(nd->op, arg_dtype(g, nd), x[0], x[1], x[2]);
    if (finite && !isfinite(y))
        return none;
    /* whole numbers above this may not be what they seem */
    if (dt_is_int(nd->type.dtype) && fabs(y) > 0x1p53)
        return none;
    return graph_const(g, nd->loc, nd->type, y);
}

/* The result is its first argument's elements, each as it is. */
static bool only_moves(const Graph *g, const Node *nd)
{
    if (nd->op == OP_pad)
        return attr_pad_value(&nd->attr) == value(g, nd->arg[0]) && signbit(attr_pad_value(&nd->attr)) == signbit(value(g, nd->arg[0]));
    return op_info[nd->op].cls == CLASS_MOVE || nd->op == OP_max || nd->op == OP_min || nd->op == OP_first_max;
}

Ref fold_constant(Graph *g, const Node *nd)
{
    if (nd->op == OP_gather && is_const(g, nd->arg[0]))
        return graph_const(g, nd->loc, nd->type, attr_value(&graph_at(g, nd->arg[0])->attr));
    if (nd->narg == 0 || nd->op == OP_stop_gradient)
        return none;
    for (int i = 0; i < nd->narg; i++) {
        if (!is_const(g, nd->arg[i]))
            return none;
    }
    if (op_info[nd->op].cls == CLASS_POINT)
        return fold_point(g, nd);
    if (only_moves(g, nd))
        return graph_const(g, nd->loc, nd->type, attr_value(&graph_at(g, nd->arg[0])->attr));
    return none;
}
