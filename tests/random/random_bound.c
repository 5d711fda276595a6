/* random_bound.c - how far a node's value may be from the oracle's, by running error analysis in the max norm.
 *
 * Sums are the source: the oracle adds in double, plans in the format and in another order, so a sum of n terms is
 * off by n u times the terms' sizes, u = 2^-24 or 2^-53 (N. Higham, "Accuracy and Stability of Numerical
 * Algorithms", sections 3.3 and 4.2).  Functions are within 4 units, sigmoid within 6.  From there errors pass
 * through the rows: a point with exact arguments is exact, since both sides round the same number.
 * What jumps (comparisons, floor, casts to integers, argmax) may give anything of an argument that isn't exact.
 */
#include "tests/random/random_graph.h"

/* Of |x| the most and the least; of x the lowest. */
typedef struct Span { double most, least, low; bool finite, zero; int64_t n; } Span;

static Span span_of(const Tensor *t)
{
    Span s = { .least = INFINITY, .low = INFINITY, .finite = true, .n = ty_count(&t->type) };

    for (int64_t i = 0; i < s.n; i++) {
        double x = tensor_get(t, i, false);

        s.finite &= isfinite(x) != 0;
        s.zero |= x == 0;
        s.most = fmax(s.most, fabs(x));
        s.least = fmin(s.least, fabs(x));
        s.low = fmin(s.low, x);
    }
    return s;
}

/* Terms that one result sums, at most; 0: it is no sum. */
double random_terms(const Graph *g, const Node *nd)
{
    const Type *t = nd->narg ? &graph_at(g, nd->arg[0])->type : NULL;
    double      n = 1;

    switch (nd->op) {
    case OP_sum:
        return (double)ty_count(t) / (double)ty_count(&nd->type);
    case OP_dot:
        for (int i = 0; i < attr_dot(&nd->attr).nc; i++)
            n *= (double)t->dim[attr_dot(&nd->attr).ac[i]];
        return n;
    case OP_conv:
        for (int i = 2; i < t->rank; i++)
            n *= (double)graph_at(g, nd->arg[1])->type.dim[i];
        return n;
    case OP_overlap:
        for (int i = nd->type.rank; i < t->rank; i++)
            n *= (double)t->dim[i];
        return n;
    case OP_attention_lse: case OP_attention:        /* each term of a score counts with its factors' size, 4 */
        return 16 * (double)t->dim[t->rank - 1] + (double)graph_at(g, nd->arg[1])->type.dim[t->rank - 2];
    case OP_cumsum:
        return (double)t->dim[nd->attr.v[0]];
    case OP_scatter:
        for (int i = (int)nd->attr.v[0]; i < t->rank; i++)
            n *= (double)t->dim[i];
        return n;
    default:
        return 0;
    }
}

static double jump(double e) { return e > 0 ? INFINITY : 0; }

/* How rows pass on what their arguments a, b, c are off by; v: their values, y: the result's. */
static double passed_on(Op op, const double *e, const Span *v, const Span *y)
{
    double any = e[0] + e[1] + e[2];

    switch (op) {
    case OP_add: case OP_sub: return e[0] + e[1];
    case OP_mul:     return e[0] * v[1].most + e[1] * v[0].most + e[0] * e[1];
    case OP_fma:     return e[0] * v[1].most + e[1] * v[0].most + e[0] * e[1] + e[2];
    case OP_div:     return e[1] == 0 && v[1].least > 0 ? e[0] / v[1].least
                          : v[1].least <= 2 * e[1] ? jump(any) : (e[0] + y->most * e[1]) / (v[1].least - e[1]);
    case OP_neg: case OP_abs: case OP_relu: case OP_stop_gradient: case OP_tanh: case OP_sigmoid: case OP_sin:
    case OP_cos: case OP_expand: case OP_reshape: case OP_transpose: case OP_max: case OP_min:
    case OP_first_max: case OP_slice: case OP_pad: case OP_window:
        return e[0];
    case OP_gather: case OP_put: return e[1] > 0 ? INFINITY : e[0];
    case OP_erf:     return 2 * e[0];
    case OP_maximum: case OP_minimum: return fmax(e[0], e[1]);
    case OP_exp:     return y->most * expm1(e[0]) * 2;
    case OP_log:     return v[0].low <= 2 * e[0] ? jump(any) : e[0] / (v[0].low - e[0]);
    case OP_sqrt:    return v[0].low <= 2 * e[0] ? jump(any) : e[0] / sqrt(v[0].low - e[0]);
    case OP_select:  return e[0] > 0 ? INFINITY : fmax(e[1], e[2]);
    default:         return jump(any);         /* and of rows to come nothing is known */
    }
}

/* What a reduction or a contraction makes of it: n terms, each off by e and at most most large; among denormals
 * each step is off by up to tiny. */
static double summed(double n, double e, double most, double u, double tiny, double limit)
{
    return n * most > limit ? INFINITY : n * e + 2 * n * u * n * most + 2 * n * tiny;
}

/* Scores are sums of products; where they are off by es < 1/2, probabilities are by 4 es of their size, and lse by es. */
static double attended(const Graph *g, const Node *nd, const double *e, const Span *v, double u, double tiny, double limit)
{
    const Type *q = &graph_at(g, nd->arg[0])->type, *k = &graph_at(g, nd->arg[1])->type;
    double      keys = (double)k->dim[k->rank - 2], scale = fabs(attr_scale(&nd->attr));
    double      es = scale * summed((double)q->dim[q->rank - 1], e[0] * v[1].most + e[1] * v[0].most + e[0] * e[1],
                                    v[0].most * v[1].most, u, tiny, limit);

    es += 8 * u * (1 + scale * (double)q->dim[q->rank - 1] * v[0].most * v[1].most) + 8 * keys * u;
    if (!(es < .5))
        return INFINITY;
    return nd->op == OP_attention_lse ? 4 * es + keys * 8 * u : 8 * es * v[2].most + e[2] + 16 * keys * u * v[2].most;
}

static double node_error(const Graph *g, const Node *nd, const double *e, const Span *v, const Span *y, bool rounded)
{
    Dtype  d = nd->type.dtype;
    double u = d == DT_f64 ? 0x1p-53 : 0x1p-24, tiny = d == DT_f64 ? 0x1p-1074 : 0x1p-149;
    double limit = d == DT_f64 ? 1e300 : 1e37, err;
    bool   is_float = dt_is_float(d), finite = y->finite;

    for (int i = 0; i < nd->narg; i++)
        finite &= v[i].finite;
    bool   by_number = nd->op == OP_scatter;

    if (op_info[nd->op].cls == CLASS_REDUCE && random_terms(g, nd) > 0 && is_float)
        err = by_number && e[0] > 0 ? INFINITY
              : finite ? summed(random_terms(g, nd), e[by_number], v[by_number].most, u, tiny, limit) : INFINITY;
    else if (op_info[nd->op].attr == ATTR_SCORES)
        err = finite ? attended(g, nd, e, v, u, tiny, limit) : INFINITY;
    else if (op_info[nd->op].cls == CLASS_FOLD && is_float)
        err = finite ? summed(random_terms(g, nd), e[0] * v[1].most + e[1] * v[0].most + e[0] * e[1],
                              v[0].most * v[1].most, u, tiny, limit) : INFINITY;
    else if (nd->op == OP_cast && is_float)
        err = e[0];
    else
        err = nd->narg ? passed_on(nd->op, e, v, y) : 0;
    if (is_float && op_info[nd->op].props & PROP_MATH && nd->narg)
        err += 24 * u * y->most + 8 * tiny;
    if (is_float && rounded && op_info[nd->op].cls == CLASS_POINT)
        err += 16 * u * y->most + 8 * tiny;
    if (err > 0 && is_float)
        err += 4 * u * (y->most + err) + 2 * tiny;
    return err > 0 && (!finite || y->most + err > limit) ? INFINITY : isnan(err) ? INFINITY : err;
}

/* Of zeros of either sign either may come out, and another zero divides into another infinity. */
static bool picks_a_zero(const Node *nd, const Span *y)
{
    return y->zero && dt_is_float(nd->type.dtype)
        && (nd->op == OP_max || nd->op == OP_first_max || nd->op == OP_min || nd->op == OP_maximum || nd->op == OP_minimum || nd->op == OP_relu);
}

void random_bounds(const Graph *g, const Tensor *value, bool rounded, RandomBound *bound)
{
    for (int id = 1; id < g->nnode; id++) {
        const Node *nd = &g->node[id];
        double      e[3] = { 0 };
        Span        v[3] = { { 0 } }, y;

        bound[id] = (RandomBound){ 0 };
        if (!value[id].data)
            continue;
        y = span_of(&value[id]);
        for (int i = 0; i < nd->narg; i++) {
            v[i] = span_of(&value[nd->arg[i].id]);
            e[i] = bound[nd->arg[i].id].err;
            bound[id].loose |= bound[nd->arg[i].id].loose;
            bound[id].wild |= bound[nd->arg[i].id].wild;
        }
        bound[id].err = node_error(g, nd, e, v, &y, rounded);
        bound[id].loose |= nd->narg && op_info[nd->op].props & PROP_MATH;
        bound[id].wild |= nd->type.dtype == DT_i64 && y.most > 0x1p53;
        if (picks_a_zero(nd, &y)) {
            bound[id].loose = true;
            bound[id].err += nd->type.dtype == DT_f64 ? 0x1p-1074 : 0x1p-149;
        }
    }
}
