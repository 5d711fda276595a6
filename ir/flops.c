/* flops.c - how much a graph computes, counted from its nodes as they stand.
 *
 * A multiplication and an addition count each, so a product [m, k] @ [k, n] has 2 m n k.  Of what is no contraction, each
 * element that a point makes or a reduction takes counts one, a function such as exp too; moves and integers count nothing.
 */
#include "ir/scan.h"

/* Elements of a patch. */
static int64_t patch_taps(const Node *nd)
{
    int64_t n = nd->type.dim[nd->type.rank - 1];

    for (int i = 0; i < patch_axes(nd->op, &nd->attr); i++)
        n *= attr_patch(nd->op, &nd->attr, i).taps;
    return n;
}

/* Products that an element of a contraction sums up. */
static double folded(const Graph *g, const Node *nd)
{
    const Type *w = &graph_at(g, nd->arg[1])->type;
    double      n = 1;

    if (nd->op == OP_conv)
        return (double)ty_count(w) / (double)(w->dim[0] * w->dim[1]);
    if (nd->op == OP_spread || nd->op == OP_collect)      /* each value of g with each of a patch */
        return (double)ty_count(&graph_at(g, nd->arg[0])->type) * (double)patch_taps(nd) / (double)ty_count(&nd->type);
    if (nd->op == OP_attention_lse)
        return (double)(w->dim[w->rank - 2] * w->dim[w->rank - 1]);
    if (nd->op == OP_attention) {           /* scores serve all of a row's results */
        n = (double)nd->type.dim[nd->type.rank - 1];
        return (double)w->dim[w->rank - 2] * ((double)w->dim[w->rank - 1] + n) / n;
    }
    DotAxes x = attr_dot(&nd->attr);

    for (int i = 0; i < x.nc; i++)
        n *= (double)w->dim[x.bc[i]];
    return n;
}

double node_flops(const Graph *g, const Node *nd)
{
    const Type *a = nd->narg ? &graph_at(g, nd->arg[0])->type : NULL;
    double      n = (double)ty_count(&nd->type);

    switch (op_info[nd->op].cls) {
    case CLASS_POINT:  return dt_is_float(nd->type.dtype) && nd->op != OP_cast ? n : 0;
    case CLASS_REDUCE: return dt_is_float(a->dtype) ? (double)ty_count(a) : 0;
    case CLASS_FOLD:   return 2 * n * folded(g, nd);
    case CLASS_MOVE: case CLASS_INDEX: case CLASS_LOOP: case CLASS_EDGE: break;
    }
    return 0;
}

double graph_flops(const Graph *g)
{
    Arena  mem = { 0 };
    bool  *want = arena_array(&mem, bool, g->nnode + 1);
    int   *of = scan_of_nodes(g);
    int64_t *steps = scan_steps(g);
    double sum = 0;

    graph_reach_ends(g, want);
    for (int id = 1; id < g->nnode; id++)
        sum += want[id] ? node_flops(g, &g->node[id]) * (double)steps[of[id]] : 0;
    arena_free(&mem);
    return sum;
}
