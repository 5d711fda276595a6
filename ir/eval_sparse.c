/* eval_sparse.c - the oracle for values that stand at one place among several, and products with them. */
#include "ir/eval_nodes.h"

static const Tensor *arg(const Eval *e, const Node *nd, int i) { return &e->value[nd->arg[i].id]; }

/* Steps index through dim in row-major order; false at the end. */
static bool next_index(int rank, const int64_t *dim, int64_t *index)
{
    for (int i = rank - 1; i >= 0; i--) {
        if (++index[i] < dim[i])
            return true;
        index[i] = 0;
    }
    return false;
}

void eval_put(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = arg(e, nd, 0), *at = arg(e, nd, 1);
    int64_t       index[MAX_RANK] = { 0 }, i = 0;
    bool          wide = e->env->wide;

    do {
        int64_t from = 0, place = 0;

        for (int d = 0; d < nd->type.rank; d++) {
            int64_t *x = attr_has(nd->attr.v, nd->attr.n / 2, d) ? &place : &from;

            *x = *x * nd->type.dim[d] + index[d];
        }
        tensor_set(out, i++, tensor_get(at, from, wide) == (double)place ? tensor_get(a, from, wide) : 0, wide);
    } while (next_index(nd->type.rank, nd->type.dim, index));
}

/* Of one value: its sample, its channel, and where its patch begins, an index along each axis.  False: it stands nowhere. */
typedef struct Value { int64_t n, channel, corner[MAX_RANK]; double g; } Value;

static bool value_at(const Eval *e, const Node *nd, int64_t i, const int64_t *index, Value *v)
{
    int    d = nd->attr.n / attr_group(ATTR_PATCH);
    double at = tensor_get(arg(e, nd, 1), i, e->env->wide);

    if (!(at >= 0) || at >= (double)patch_places(&nd->attr))
        return false;
    int64_t place = (int64_t)at;

    *v = (Value){ .n = index[0], .channel = index[d + 1], .g = tensor_get(arg(e, nd, 0), i, e->env->wide) };
    for (int k = d - 1; k >= 0; k--) {
        PatchAxis x = attr_patch(&nd->attr, k);

        v->corner[k] = index[1 + k] * x.step + place % x.window * x.apart;
        place /= x.window;
    }
    return true;
}

/* The row of [N, X...] that tap k of the value meets. */
static int64_t row_of(const Node *nd, const Value *v, const int64_t *k)
{
    int64_t row = v->n;

    for (int i = 0; i < nd->attr.n / attr_group(ATTR_PATCH); i++) {
        PatchAxis x = attr_patch(&nd->attr, i);

        row = row * x.size + v->corner[i] + k[i] * x.tap;
    }
    return row;
}

/* Adds up a value's products: w's or the result's row (channel, k) with the result's or x's row in its patch. */
static void add_patch(Eval *e, const Node *nd, const Value *v, double *sum)
{
    const Tensor *b = arg(e, nd, 2);
    int           d = nd->attr.n / attr_group(ATTR_PATCH);
    int64_t       k[MAX_RANK] = { 0 }, taps[MAX_RANK], each = 1, row = 0, length = nd->type.dim[d + 1];

    for (int i = 0; i < d; i++)
        each *= taps[i] = attr_patch(&nd->attr, i).taps;
    do {
        int64_t in_patch = row_of(nd, v, k) * length, in_taps = (v->channel * each + row++) * length;
        int64_t to = nd->op == OP_spread ? in_patch : in_taps, from = nd->op == OP_spread ? in_taps : in_patch;

        for (int64_t c = 0; c < length; c++)
            sum[to + c] += v->g * tensor_get(b, from + c, e->env->wide);
    } while (next_index(d, taps, k));
}

void eval_sparse(Eval *e, const Node *nd, Tensor *out)
{
    const Type *g = &arg(e, nd, 0)->type;
    int64_t     index[MAX_RANK] = { 0 }, i = 0, n = ty_count(&nd->type);
    double     *sum = arena_array(e->mem, double, n);
    Value       v;

    do {
        if (value_at(e, nd, i++, index, &v))
            add_patch(e, nd, &v, sum);
    } while (next_index(g->rank, g->dim, index));
    for (int64_t j = 0; j < n; j++)
        tensor_set(out, j, sum[j], e->env->wide);
}
