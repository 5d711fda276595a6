/* attention.c - attention in terms of other operations: its gradients, and what runs where no kernel of its own does.
 *
 * With scores s = scale * q k^T, lse_t = log sum_j exp(s_tj) and p = exp(s - lse), the result is o = p v and
 *
 *   dv = p^T do,    ds = p * (do v^T - sum(do * o)),    dq = scale * ds k,    dk = scale * ds^T q
 *
 * (T. Dao et al., "FlashAttention", 2022, appendix B): of all T x S numbers nothing is kept from forward to backward, each
 * score is computed again from q, k and lse.  A place that isn't looked at has the score -inf, and so p = 0.
 */
#include "passes/attention.h"
#include "passes/gradient_rows.h"
#include "passes/move.h"

#include <math.h>

typedef struct Attention {
    Graph *g;
    Loc    loc;
    int    rank;               /* of q, k and v; batch axes are the first rank - 2 */
    double scale;
    bool   causal;
    Ref    q, k;
    Type   type;               /* of the scores, [B..., T, S] */
} Attention;

static Attention attention_of(Graph *g, const Node *nd, const Ref *arg)
{
    Attention a = { .g = g, .loc = nd->loc, .scale = attr_scale(&nd->attr), .causal = attr_causal(&nd->attr), .q = arg[0], .k = arg[1] };

    a.type = graph_at(g, a.q)->type;
    a.rank = a.type.rank;
    a.type.dim[a.rank - 1] = graph_at(g, a.k)->type.dim[a.rank - 2];
    return a;
}

/* Products over one axis of each, axes counted from the first behind the batch's. */
static Ref product(const Attention *a, Ref x, int fold_x, Ref y, int fold_y)
{
    int     nb = a->rank - 2;
    int64_t batch[MAX_RANK], fx = nb + fold_x, fy = nb + fold_y;
    Ref     arg[2] = { x, y };

    for (int i = 0; i < nb; i++)
        batch[i] = i;
    return graph_make(a->g, OP_dot, a->loc, 2, arg, attr_dot_make(&a->g->m->mem, nb, batch, batch, 1, &fx, &fy), NULL, NULL);
}

static Ref scaled(const Attention *a, Ref x)
{
    return graph_op2(a->g, OP_mul, a->loc, x, graph_const(a->g, a->loc, graph_at(a->g, x)->type, a->scale));
}

static Ref counted(const Attention *a, int64_t axis)
{
    Type t = ty_with(a->type, DT_i32);

    return graph_make(a->g, OP_iota, a->loc, 0, NULL, (Attr){ 1, &axis }, &t, NULL);
}

static Ref scores(const Attention *a)
{
    Ref s = scaled(a, product(a, a->q, 1, a->k, 1));

    if (!a->causal)
        return s;
    Ref seen = graph_op2(a->g, OP_le, a->loc, counted(a, a->rank - 1), counted(a, a->rank - 2));

    return graph_op3(a->g, OP_select, a->loc, seen, s, graph_const(a->g, a->loc, a->type, -INFINITY));
}

/* A number of each row all along it. */
static Ref along_rows(const Attention *a, Ref x)
{
    int64_t last = a->rank - 1;

    return expand_over(a->g, a->loc, x, &a->type, &(Attr){ 1, &last });
}

static Ref row_sum(const Attention *a, Ref x)
{
    int64_t last = a->rank - 1;

    return graph_axes(a->g, OP_sum, a->loc, x, 1, &last);
}

Ref attention_written(Graph *g, const Node *nd, const Ref *arg)
{
    Attention a = attention_of(g, nd, arg);
    int64_t   last = a.rank - 1;
    Ref       s = scores(&a), most = graph_axes(g, OP_max, a.loc, s, 1, &last);
    Ref       e = graph_op1(g, OP_exp, a.loc, graph_op2(g, OP_sub, a.loc, s, along_rows(&a, most))), sum = row_sum(&a, e);

    if (nd->op == OP_attention_lse)
        return graph_op2(g, OP_add, a.loc, most, graph_op1(g, OP_log, a.loc, sum));
    return product(&a, graph_op2(g, OP_div, a.loc, e, along_rows(&a, sum)), 1, arg[2], 0);
}

Ref attention_turned(Graph *g, Loc loc, Ref x)
{
    int     rank = graph_at(g, x)->type.rank;
    int64_t swap[MAX_RANK], perm[MAX_RANK];
    Ref     from = x;

    for (int i = 0; i < rank; i++)
        swap[i] = perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    for (; graph_at(g, from)->op == OP_transpose; from = graph_at(g, from)->arg[0])
        for (int i = 0; i < rank; i++)
            perm[i] = graph_at(g, from)->attr.v[perm[i]];
    return graph_transpose(g, loc, move_own_place(g, loc, graph_transpose(g, loc, from, perm)), swap);
}

/* Keys with their axes the other way around, values as they are, each a copy unless it lies so. */
Ref attention_laid_out(Graph *g, const Node *nd, const Ref *arg)
{
    Ref in[3] = { arg[0], arg[1] };

    in[1] = attention_turned(g, nd->loc, arg[1]);
    if (nd->narg > 2)
        in[2] = op_info[graph_at(g, arg[2])->op].cls == CLASS_MOVE ? move_own_place(g, nd->loc, arg[2]) : arg[2];
    return graph_clone_node(g, nd, in);
}

/* ---- gradients ---- */

static Ref probabilities(const Attention *a, Ref lse)
{
    return graph_op1(a->g, OP_exp, a->loc, graph_op2(a->g, OP_sub, a->loc, scores(a), along_rows(a, lse)));
}

/* Through the scores to q and k. */
static void grad_scores(const Attention *a, Ref ds, const bool *want, Ref *out)
{
    ds = scaled(a, ds);
    if (want[0])
        out[0] = product(a, ds, 1, a->k, 0);
    if (want[1])
        out[1] = product(a, ds, 0, a->q, 0);
}

/* sum(x * y) of each row, as a contraction: it adds up as that of do v^T does, so where a place looks at one key alone the
 * two are equal to the bit, and their difference is 0. */
static Ref row_product(const Attention *a, Ref x, Ref y)
{
    int64_t batch[MAX_RANK], last = a->rank - 1;
    Ref     arg[2] = { x, y };

    for (int i = 0; i < a->rank - 1; i++)
        batch[i] = i;
    return graph_make(a->g, OP_dot, a->loc, 2, arg, attr_dot_make(&a->g->m->mem, a->rank - 1, batch, batch, 1, &last, &last),
                      NULL, NULL);
}

void grad_attention(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Attention a = attention_of(g, nd, nd->arg);
    Ref       lse = graph_make(g, OP_attention_lse, a.loc, 2, nd->arg, nd->attr, NULL, NULL), p = probabilities(&a, lse);

    if (want[2])
        out[2] = product(&a, p, 0, adj, 0);
    if (!want[0] && !want[1])
        return;
    Ref dp = product(&a, adj, 1, nd->arg[2], 1), own = row_product(&a, adj, y);

    grad_scores(&a, graph_op2(g, OP_mul, a.loc, p, graph_op2(g, OP_sub, a.loc, dp, along_rows(&a, own))), want, out);
}

void grad_attention_lse(Graph *g, const Node *nd, Ref y, Ref adj, const bool *want, Ref *out)
{
    Attention a = attention_of(g, nd, nd->arg);

    grad_scores(&a, graph_op2(g, OP_mul, a.loc, probabilities(&a, y), along_rows(&a, adj)), want, out);
}
