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

/* Of one value: its sample, its channel, and the row of x, all samples counted, where its first tap falls. */
typedef struct Value { int64_t n, channel, row; double g; } Value;

/* Is the row where a value of a spread with this index may stand? */
static bool stands(const Node *nd, const int64_t *index, int64_t row)
{
    for (int i = patch_axes(nd->op, &nd->attr) - 1; i >= 0; i--) {
        PatchAxis x = attr_patch(nd->op, &nd->attr, i);
        int64_t   beyond = row % x.size - index[1 + i] * x.step;

        if (beyond < 0 || beyond % x.apart || beyond / x.apart >= x.window)
            return false;
        row /= x.size;
    }
    return row == 0;
}

static bool value_at(const Eval *e, const Node *nd, int64_t i, const int64_t *index, Value *v)
{
    int     d = patch_axes(nd->op, &nd->attr);
    double  at = tensor_get(arg(e, nd, 1), i, e->env->wide);
    int64_t rows = 1, last = 0;

    for (int k = d - 1; k >= 0; k--) {
        PatchAxis x = attr_patch(nd->op, &nd->attr, k);

        last += rows * (x.size - 1 - (x.taps - 1) * x.tap);
        rows *= x.size;
    }
    if (!(at >= 0) || (nd->op == OP_spread && !stands(nd, index, (int64_t)at)))
        return false;
    *v = (Value){ .n = index[0], .channel = index[nd->op == OP_spread ? d + 1 : 2], .g = tensor_get(arg(e, nd, 0), i, e->env->wide) };
    v->row = v->n * rows + (at > (double)last ? last : (int64_t)at);
    return true;
}

/* The row that tap k of the value meets. */
static int64_t row_of(const Node *nd, const Value *v, const int64_t *k)
{
    int64_t row = v->row, rows = 1;

    for (int i = patch_axes(nd->op, &nd->attr) - 1; i >= 0; i--) {
        PatchAxis x = attr_patch(nd->op, &nd->attr, i);

        row += k[i] * x.tap * rows;
        rows *= x.size;
    }
    return row;
}

/* Adds up a value's products: w's or the result's row (channel, k) with the result's or x's row in its patch. */
static void add_patch(Eval *e, const Node *nd, const Value *v, double *sum)
{
    const Tensor *b = arg(e, nd, 2);
    int           d = patch_axes(nd->op, &nd->attr);
    int64_t       k[MAX_RANK] = { 0 }, taps[MAX_RANK], each = 1, row = 0, length = nd->type.dim[d + 1];

    for (int i = 0; i < d; i++)
        each *= taps[i] = attr_patch(nd->op, &nd->attr, i).taps;
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
