/* eval_window.c - the oracle for what looks at neighbours: each by one obvious loop over elements. */
#include "ir/eval_nodes.h"

/* index of the i-th element, axis by axis */
static void unravel(const Type *t, int64_t i, int64_t *index)
{
    for (int d = t->rank - 1; d >= 0; d--) {
        index[d] = i % t->dim[d];
        i /= t->dim[d];
    }
}

/* The element's number, or -1 if the index is outside. */
static int64_t ravel(const Type *t, const int64_t *index)
{
    int64_t at = 0;

    for (int d = 0; d < t->rank; d++) {
        if (index[d] < 0 || index[d] >= t->dim[d])
            return -1;
        at = at * t->dim[d] + index[d];
    }
    return at;
}

static const Tensor *arg(const Eval *e, const Node *nd, int i) { return &e->value[nd->arg[i].id]; }

void eval_slice(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = arg(e, nd, 0);
    int64_t       n = ty_count(&nd->type), index[MAX_RANK];

    for (int64_t i = 0; i < n; i++) {
        unravel(&nd->type, i, index);
        for (int d = 0; d < nd->type.rank; d++)
            index[d] = nd->attr.v[3 * d] + nd->attr.v[3 * d + 1] * index[d];
        tensor_set(out, i, tensor_get(a, ravel(&a->type, index), e->env->wide), e->env->wide);
    }
}

void eval_pad(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = arg(e, nd, 0);
    int64_t       n = ty_count(&nd->type), index[MAX_RANK];

    for (int64_t i = 0; i < n; i++) {
        unravel(&nd->type, i, index);
        for (int d = 0; d < nd->type.rank; d++)
            index[d] -= nd->attr.v[2 * d];

        int64_t from = ravel(&a->type, index);
        tensor_set(out, i, from < 0 ? attr_pad_value(&nd->attr) : tensor_get(a, from, e->env->wide), e->env->wide);
    }
}

/* From an index among windows to the element that stands there; group numbers an axis in the attribute. */
static void window_source(const Attr *attr, int group, int rank, int64_t *index)
{
    for (int i = 0; i < attr->n / group; i++) {
        const int64_t *v = attr->v + group * i;

        index[v[0]] = index[v[0]] * v[2] + index[rank + i] * v[3];
    }
}

void eval_window(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = arg(e, nd, 0);
    int64_t       n = ty_count(&nd->type), index[MAX_RANK];

    for (int64_t i = 0; i < n; i++) {
        unravel(&nd->type, i, index);
        window_source(&nd->attr, 4, a->type.rank, index);
        tensor_set(out, i, tensor_get(a, ravel(&a->type, index), e->env->wide), e->env->wide);
    }
}

/* Sums in double, rounded once. */
static double *accumulator(Eval *e, const Node *nd) { return arena_array(e->mem, double, ty_count(&nd->type)); }

static void round_sums(const Eval *e, const Node *nd, const double *sum, Tensor *out)
{
    for (int64_t i = 0; i < ty_count(&nd->type); i++)
        tensor_set(out, i, sum[i], e->env->wide);
}

void eval_overlap(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = arg(e, nd, 0);
    int64_t       n = ty_count(&a->type), index[MAX_RANK];
    double       *sum = accumulator(e, nd);

    for (int64_t i = 0; i < n; i++) {
        unravel(&a->type, i, index);
        window_source(&nd->attr, 5, nd->type.rank, index);
        sum[ravel(&nd->type, index)] += tensor_get(a, i, e->env->wide);
    }
    round_sums(e, nd, sum, out);
}

void eval_cumsum(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = arg(e, nd, 0);
    int64_t       n = ty_count(&nd->type), step = 1, dim = nd->type.dim[nd->attr.v[0]];
    double       *sum = accumulator(e, nd);

    for (int d = nd->type.rank - 1; d > nd->attr.v[0]; d--)
        step *= nd->type.dim[d];
    for (int64_t i = 0; i < n; i++)
        sum[i] = tensor_get(a, i, e->env->wide) + (i / step % dim ? sum[i - step] : 0);
    round_sums(e, nd, sum, out);
}

/* ---- conv ---- */

/* Where the kernel's element k (an index from axis 3 on) meets x for the result's index; false in the padding. */
static bool conv_source(const Node *nd, const Type *x, const int64_t *result, const int64_t *k, int64_t *from)
{
    for (int i = 0; i < x->rank - 3; i++) {
        ConvAxis c = attr_conv(&nd->attr, i);
        int64_t  at = result[3 + i] * c.stride + k[3 + i] * c.dilate_w - c.before;

        if (at < 0 || at % c.dilate_x || at / c.dilate_x >= x->dim[3 + i])
            return false;
        from[3 + i] = at / c.dilate_x;
    }
    return true;
}

static double conv_element(Eval *e, const Node *nd, const int64_t *result)
{
    const Tensor *x = arg(e, nd, 0), *w = arg(e, nd, 1);
    int64_t       k[MAX_RANK], from[MAX_RANK] = { result[0], result[1] };
    int64_t       each = ty_count(&w->type) / (w->type.dim[0] * w->type.dim[1]);
    int64_t       first = (result[1] * w->type.dim[1] + result[2]) * each;
    double        sum = 0;

    for (int64_t i = first; i < first + each; i++) {
        unravel(&w->type, i, k);
        from[2] = k[2];
        if (conv_source(nd, &x->type, result, k, from))
            sum += tensor_get(x, ravel(&x->type, from), e->env->wide) * tensor_get(w, i, e->env->wide);
    }
    return sum;
}

void eval_conv(Eval *e, const Node *nd, Tensor *out)
{
    int64_t n = ty_count(&nd->type), index[MAX_RANK];

    for (int64_t i = 0; i < n; i++) {
        unravel(&nd->type, i, index);
        tensor_set(out, i, conv_element(e, nd, index), e->env->wide);
    }
}

/* ---- rows by number ---- */

/* The number that stands for the i-th row, clamped to 0..rows-1. */
static int64_t row_number(const Tensor *at, int64_t i, int64_t rows, bool wide)
{
    double x = tensor_get(at, i, wide);

    return x < 0 ? 0 : x >= (double)rows ? rows - 1 : (int64_t)x;
}

/* Elements of the axes from first on. */
static int64_t count_from(const Type *t, int first)
{
    int64_t n = 1;

    for (int i = first; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

void eval_gather(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = arg(e, nd, 0), *at = arg(e, nd, 1);
    int           nb = (int)nd->attr.v[0];
    int64_t       rows = a->type.dim[nb], length = count_from(&a->type, nb + 1);
    int64_t       each = count_from(&at->type, nb), n = ty_count(&at->type);

    for (int64_t i = 0; i < n; i++) {
        int64_t from = (i / each * rows + row_number(at, i, rows, e->env->wide)) * length;

        for (int64_t j = 0; j < length; j++)
            tensor_set(out, i * length + j, tensor_get(a, from + j, e->env->wide), e->env->wide);
    }
}

void eval_scatter(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *at = arg(e, nd, 0), *a = arg(e, nd, 1);
    int64_t       rows = nd->attr.v[1], n = ty_count(&at->type), length = ty_count(&a->type) / n;
    int64_t       each = count_from(&at->type, (int)nd->attr.v[0]);
    double       *sum = accumulator(e, nd);

    for (int64_t i = 0; i < n; i++) {
        int64_t to = (i / each * rows + row_number(at, i, rows, e->env->wide)) * length;

        for (int64_t j = 0; j < length; j++)
            sum[to + j] += tensor_get(a, i * length + j, e->env->wide);
    }
    round_sums(e, nd, sum, out);
}
