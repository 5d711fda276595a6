/* eval.c - the oracle: each node by one obvious loop.
 *
 * Scalars go through double: every f32, and every integer up to 2^53, is exactly a double.  A point of f32
 * is computed in float, so it rounds as a compiled one does; sums and contractions are added up in double
 * and rounded once, so the oracle is more exact than what it judges.
 */
#include "ir/eval_nodes.h"
#include "ir/scan.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <tgmath.h>

#include "ir/philox.h"

/* ---- elements ---- */

/* Conversions beyond int64 are undefined in C: the nearest there is, and 0 for nan. */
static int64_t whole(double x)
{
    return x != x ? 0 : x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : (int64_t)x;
}

static bool is_wide(Dtype d, bool wide) { return d == DT_f64 || (d == DT_f32 && wide); }

int64_t tensor_bytes(const Type *t, bool wide)
{
    return ty_count(t) * (is_wide(t->dtype, wide) ? 8 : dt_bytes(t->dtype));
}

Tensor tensor_new(Arena *mem, const Type *t, bool wide)
{
    return (Tensor){ *t, arena_alloc(mem, (size_t)tensor_bytes(t, wide), 1) };
}

double tensor_get(const Tensor *t, int64_t i, bool wide)
{
    switch (t->type.dtype) {
    case DT_f32:  return wide ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
    case DT_f64:  return ((const double *)t->data)[i];
    case DT_i32:  return ((const int32_t *)t->data)[i];
    case DT_i64:  return (double)((const int64_t *)t->data)[i];
    case DT_u8:   return ((const uint8_t *)t->data)[i];
    case DT_bool: return ((const uint8_t *)t->data)[i] != 0;
    case NDTYPE:  break;
    }
    return 0;
}

void tensor_set(Tensor *t, int64_t i, double x, bool wide)
{
    switch (t->type.dtype) {
    case DT_f32:
        if (wide)
            ((double *)t->data)[i] = x;
        else
            ((float *)t->data)[i] = (float)x;
        return;
    case DT_f64:  ((double *)t->data)[i] = x; return;
    case DT_i32:  ((int32_t *)t->data)[i] = (int32_t)(uint32_t)whole(x); return;
    case DT_i64:  ((int64_t *)t->data)[i] = whole(x); return;
    case DT_u8:   ((uint8_t *)t->data)[i] = (uint8_t)whole(x); return;
    case DT_bool: ((uint8_t *)t->data)[i] = x != 0; return;
    case NDTYPE:  return;
    }
}

/* ---- points ---- */

static float  sigmoid_f(float a)  { return 1 / (1 + expf(-a)); }
static double sigmoid_d(double a) { return 1 / (1 + exp(-a)); }

#define sigmoid(a) _Generic((a), float: sigmoid_f, default: sigmoid_d)(a)
/* a nan in either argument is the result */
#define nan_max(a, b) ((a) != (a) ? (a) : (b) != (b) ? (b) : (a) > (b) ? (a) : (b))
#define nan_min(a, b) ((a) != (a) ? (a) : (b) != (b) ? (b) : (a) < (b) ? (a) : (b))
#define relu(a) ((a) != (a) || (a) > 0 ? (a) : 0)

static float point_f32(Op op, float a, float b, float c)
{
    (void)a, (void)b, (void)c;
    switch (op) {
#define OP(name, nargs, attr, props, type, cls, domain, eval, grad) case OP_##name: return (float)(eval);
#include "ir/ops.def"
#undef OP
    case NOP: break;
    }
    return 0;
}

static double point_f64(Op op, double a, double b, double c)
{
    (void)a, (void)b, (void)c;
    switch (op) {
#define OP(name, nargs, attr, props, type, cls, domain, eval, grad) case OP_##name: return (double)(eval);
#include "ir/ops.def"
#undef OP
    case NOP: break;
    }
    return 0;
}

/* What the type rule lets in of integers; arithmetic wraps. */
static double point_int(Op op, Dtype dtype, double a, double b, double c)
{
    uint64_t x = (uint64_t)whole(a), y = (uint64_t)whole(b), r;

    switch (op) {
    case OP_add: r = x + y; break;
    case OP_sub: r = x - y; break;
    case OP_mul: r = x * y; break;
    case OP_neg: r = 0 - x; break;
    default:     return point_f64(op, a, b, c);
    }
    return dtype == DT_i32 ? (double)(int32_t)(uint32_t)r : dtype == DT_u8 ? (double)(uint8_t)r : (double)(int64_t)r;
}

double eval_point(Op op, Dtype dtype, double a, double b, double c)
{
    if (dtype == DT_f32)
        return op == OP_select ? (a != 0 ? b : c) : (double)point_f32(op, (float)a, (float)b, (float)c);
    return dtype == DT_f64 || dtype == DT_bool ? point_f64(op, a, b, c) : point_int(op, dtype, a, b, c);
}

static double saturate(double x, double least, double most)
{
    return x != x ? 0 : x < least ? least : x > most ? most : trunc(x);
}

double eval_cast(Dtype from, Dtype to, double x)
{
    bool real = dt_is_float(from);

    switch (to) {
    case DT_f32:  return (float)x;
    case DT_f64:  return x;
    case DT_i32:  return real ? saturate(x, INT32_MIN, INT32_MAX) : (double)(int32_t)(uint32_t)whole(x);
    case DT_i64:  return real ? saturate(x, -0x1p63, 0x1p63) : x;
    case DT_u8:   return real ? saturate(x, 0, 255) : (double)(uint8_t)whole(x);
    case DT_bool: return x != 0;
    case NDTYPE:  break;
    }
    return x;
}

/* ---- nodes ---- */

void eval_strides(const Type *t, int64_t *stride)
{
    int64_t n = 1;

    for (int i = t->rank - 1; i >= 0; i--) {
        stride[i] = n;
        n *= t->dim[i];
    }
}

bool eval_advance(int rank, const int64_t *dim, int64_t *index, const int64_t *stride, int64_t *off)
{
    for (int i = rank - 1; i >= 0; i--) {
        *off += stride[i];
        if (++index[i] < dim[i])
            return true;
        *off -= stride[i] * dim[i];
        index[i] = 0;
    }
    return false;
}

/* The same for two offsets, each with an index of its own. */
static bool advance_both(int rank, const int64_t *dim, int64_t *index, const int64_t *sa, int64_t *a, int64_t *again,
                         const int64_t *sb, int64_t *b)
{
    bool more = eval_advance(rank, dim, index, sa, a);

    eval_advance(rank, dim, again, sb, b);
    return more;
}

static void eval_points(Eval *e, const Node *nd, Tensor *out)
{
    bool wide = e->env->wide;
    int64_t n = ty_count(&nd->type);
    Tensor *arg[3] = { 0 };

    for (int i = 0; i < nd->narg; i++)
        arg[i] = &e->value[nd->arg[i].id];
    Dtype from = arg[nd->op == OP_select]->type.dtype;
    Dtype as = from == DT_f32 && wide ? DT_f64 : from;

    for (int64_t i = 0; i < n; i++) {
        double a = tensor_get(arg[0], i, wide), b = arg[1] ? tensor_get(arg[1], i, wide) : 0,
               c = arg[2] ? tensor_get(arg[2], i, wide) : 0;
        double x = nd->op == OP_cast ? (wide && nd->type.dtype == DT_f32 ? a : eval_cast(from, nd->type.dtype, a))
                                     : eval_point(nd->op, as, a, b, c);

        tensor_set(out, i, x, wide);
    }
}

/* The place among the folded axes, in row-major order. */
static int64_t flat_index(const Type *t, const Attr *axes, const int64_t *index)
{
    int64_t at = 0;

    for (int i = 0; i < axes->n; i++)
        at = at * t->dim[axes->v[i]] + index[axes->v[i]];
    return at;
}

/* Every element of the argument goes to one of the result: stride[] 0 along folded axes. */
static void eval_reduce(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = &e->value[nd->arg[0].id];
    bool wide = e->env->wide, arg = nd->op == OP_argmax || nd->op == OP_argmin;
    int64_t index[MAX_RANK] = { 0 }, to[MAX_RANK], kept[MAX_RANK], off = 0, i = 0, n = ty_count(&nd->type);
    double *acc = arena_array(e->mem, double, n);
    bool *begun = arena_array(e->mem, bool, n);

    eval_strides(&nd->type, kept);
    for (int d = 0, k = 0; d < a->type.rank; d++)
        to[d] = attr_has(nd->attr.v, nd->attr.n, d) ? 0 : kept[k++];
    do {
        double x = tensor_get(a, i++, wide);
        bool first = !begun[off], greater = nd->op != OP_min && nd->op != OP_argmin;
        bool wins = first || (acc[off] == acc[off] && (x != x || (greater ? x > acc[off] : x < acc[off])));

        begun[off] = true;
        if (nd->op == OP_sum)
            acc[off] += x;
        else if (wins)
            acc[off] = x;
        if (arg && wins)
            tensor_set(out, off, (double)flat_index(&a->type, &nd->attr, index), wide);
    } while (eval_advance(a->type.rank, a->type.dim, index, to, &off));
    for (int64_t j = 0; j < n && !arg; j++)
        tensor_set(out, j, acc[j], wide);
}

static void eval_move(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = &e->value[nd->arg[0].id];
    int64_t index[MAX_RANK] = { 0 }, from[MAX_RANK] = { 0 }, own[MAX_RANK], off = 0, i = 0;

    eval_strides(nd->op == OP_reshape ? &nd->type : &a->type, own);
    for (int d = 0, k = 0; d < nd->type.rank; d++) {
        if (nd->op == OP_reshape)
            from[d] = own[d];
        else if (nd->op == OP_transpose)
            from[d] = own[nd->attr.v[d]];
        else if (!attr_has(nd->attr.v, nd->attr.n / 2, d))
            from[d] = own[k++];
    }
    do
        tensor_set(out, i++, tensor_get(a, off, e->env->wide), e->env->wide);
    while (eval_advance(nd->type.rank, nd->type.dim, index, from, &off));
}

static void eval_index(Eval *e, const Node *nd, Tensor *out)
{
    int64_t stride[MAX_RANK], n = ty_count(&nd->type);

    eval_strides(&nd->type, stride);
    for (int64_t i = 0; i < n; i++) {
        double x = 0;

        if (nd->op == OP_iota)
            x = (double)(i / stride[nd->attr.v[0]] % nd->type.dim[nd->attr.v[0]]);
        else if (nd->op == OP_one_hot)
            x = tensor_get(&e->value[nd->arg[0].id], i / nd->attr.v[0], e->env->wide) == (double)(i % nd->attr.v[0]);
        else
            x = philox_uniform(e->env->seed, (uint32_t)nd->attr.v[0], (uint32_t)e->env->step, (uint64_t)i);
        tensor_set(out, i, x, e->env->wide);
    }
}

/* How each axis of result and fold moves through one factor. */
static void dot_strides(const Type *t, int nb, int nc, const int64_t *batch, const int64_t *folded, int free_at,
                        int64_t *result, int64_t *fold)
{
    int64_t own[MAX_RANK];

    eval_strides(t, own);
    for (int i = 0; i < nb; i++)
        result[i] = own[batch[i]];
    for (int i = 0; i < t->rank; i++)
        if (!attr_has(batch, nb, i) && !attr_has(folded, nc, i))
            result[free_at++] = own[i];
    for (int i = 0; i < nc; i++)
        fold[i] = own[folded[i]];
}

static double dot_element(const Tensor *a, const Tensor *b, int64_t off_a, int64_t off_b, const DotAxes *d,
                          const int64_t *fold_a, const int64_t *fold_b, bool wide)
{
    int64_t index[MAX_RANK] = { 0 }, again[MAX_RANK] = { 0 }, dim[MAX_RANK];
    double sum = 0;

    for (int i = 0; i < d->nc; i++)
        dim[i] = a->type.dim[d->ac[i]];
    do
        sum += tensor_get(a, off_a, wide) * tensor_get(b, off_b, wide);
    while (advance_both(d->nc, dim, index, fold_a, &off_a, again, fold_b, &off_b));
    return sum;
}

static void eval_dot(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = &e->value[nd->arg[0].id], *b = &e->value[nd->arg[1].id];
    DotAxes d = attr_dot(&nd->attr);
    int64_t ra[MAX_RANK] = { 0 }, rb[MAX_RANK] = { 0 }, fa[MAX_RANK], fb[MAX_RANK];
    int64_t index[MAX_RANK] = { 0 }, again[MAX_RANK] = { 0 }, off_a = 0, off_b = 0, i = 0;

    dot_strides(&a->type, d.nb, d.nc, d.ab, d.ac, d.nb, ra, fa);
    dot_strides(&b->type, d.nb, d.nc, d.bb, d.bc, a->type.rank - d.nc, rb, fb);
    do
        tensor_set(out, i++, dot_element(a, b, off_a, off_b, &d, fa, fb, e->env->wide), e->env->wide);
    while (advance_both(nd->type.rank, nd->type.dim, index, ra, &off_a, again, rb, &off_b));
}

static void eval_edge(Eval *e, const Node *nd, Tensor *out)
{
    int64_t n = ty_count(&nd->type);
    bool wide = e->env->wide;
    double x = nd->op == OP_const ? attr_value(&nd->attr) : e->g->entry == ENTRY_TRAIN;

    assert(nd->op != OP_grad && "autodiff writes derivatives out before anything is evaluated");
    for (int64_t i = 0; i < n; i++)
        tensor_set(out, i, nd->op == OP_variable ? tensor_get(&e->value[nd->arg[0].id], i, wide) : x, wide);
}

static void eval_node(Eval *e, const Node *nd, Tensor *out)
{
    switch (nd->op) {
    case OP_slice:   eval_slice(e, nd, out); return;
    case OP_pad:     eval_pad(e, nd, out); return;
    case OP_window:  eval_window(e, nd, out); return;
    case OP_overlap: eval_overlap(e, nd, out); return;
    case OP_cumsum:  eval_cumsum(e, nd, out); return;
    case OP_conv:    eval_conv(e, nd, out); return;
    case OP_attention:     eval_attention(e, nd, out); return;
    case OP_attention_lse: eval_attention_lse(e, nd, out); return;
    case OP_gather:  eval_gather(e, nd, out); return;
    case OP_scatter: eval_scatter(e, nd, out); return;
    case OP_put:     eval_put(e, nd, out); return;
    case OP_spread:
    case OP_collect: eval_sparse(e, nd, out); return;
    case OP_element: eval_element(e, nd, out); return;
    default:         break;
    }
    switch (op_info[nd->op].cls) {
    case CLASS_POINT:  eval_points(e, nd, out); return;
    case CLASS_REDUCE: eval_reduce(e, nd, out); return;
    case CLASS_MOVE:   eval_move(e, nd, out); return;
    case CLASS_INDEX:  eval_index(e, nd, out); return;
    case CLASS_FOLD:   eval_dot(e, nd, out); return;
    case CLASS_EDGE:   eval_edge(e, nd, out); return;
    case CLASS_LOOP:   eval_carry(e, nd, out); return;
    }
}

void eval_one(Eval *e, int id)
{
    const Node *nd = &e->g->node[id];

    if (nd->op == OP_read) {
        e->value[id] = e->env->read(e->env->ctx, (int)nd->attr.v[0], &nd->type);
        return;
    }
    if (!e->value[id].data)
        e->value[id] = tensor_new(e->mem, &nd->type, e->env->wide);
    eval_node(e, nd, &e->value[id]);
}

void eval_graph(const Graph *g, const EvalEnv *env, Arena *mem, Tensor *value)
{
    bool *want = arena_array(mem, bool, g->nnode);
    Eval e = { .g = g, .env = env, .mem = mem, .value = value };

    graph_reach_ends(g, want);
    e.scan = scan_of_nodes(g);
    for (int id = 1; id < g->nnode; id++)
        value[id].data = NULL;
    for (int id = 1; id < g->nnode; id++) {
        if (!want[id] || e.scan[id])
            continue;
        if (!scan_is_result(g->node[id].op))
            eval_one(&e, id);
        else if (!value[id].data)
            eval_scan(&e, want, id);
    }
}
