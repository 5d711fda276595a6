/* build_builtin.c - what functions of the language are made of: operations of ops.def and questions about shapes. */
#include "frontend/build_builtin.h"

#include <string.h>

/* ---- reductions ---- */

static Value keep_axes(Build *b, const Expr *e, Value v, int n, const int64_t *axis)
{
    int64_t one[MAX_RANK];

    for (int i = 0; i < n; i++) {
        one[i] = 1;
        v.kept |= 1u << axis[i];
    }
    v.ref = graph_expand(b->g, e->loc, v.ref, n, axis, one);
    return v;
}

static bool wants_keep(Build *b, const Expr *e, bool *keep)
{
    const Expr *k = argument(e, "keep", 99);

    *keep = false;
    return !k || build_truth(b, k, keep);
}

static Value reduce(Build *b, const Expr *e, Op op)
{
    int64_t axis[MAX_RANK];
    bool keep;
    int n;
    Value v;

    if (!(v = argument_tensor(b, e, "x", 0)).kind
        || !axis_list(b, argument(e, "axis", 1), value_type(b, &v)->rank, &n, axis) || !wants_keep(b, e, &keep))
        return (Value){ 0 };
    if (op == OP_sum && value_type(b, &v)->dtype == DT_bool)
        v.ref = graph_cast(b->g, e->loc, v.ref, DT_i32);
    v.kept = 0;
    if (n)
        v.ref = build_make(b, op, e->name_loc, 1, &v.ref, n, axis, NULL);
    if (!v.ref.id)
        return (Value){ 0 };
    v.step_scalar = v.step_truth = false;
    return keep && n ? keep_axes(b, e, v, n, axis) : v;
}

/* argmax(x), of the last axis; argmax(x, axis: [1, 2]), the place among all of these, counted in row-major order */
static Value arg_reduce(Build *b, const Expr *e, Op op)
{
    const Expr *which = argument(e, "axis", 1);
    int64_t axis[MAX_RANK];
    int n = 1, rank;
    Value v = argument_tensor(b, e, "x", 0);

    if (!v.kind)
        return v;
    rank = value_type(b, &v)->rank;
    axis[0] = rank - 1;
    if (!rank)
        return build_error(b, e->loc, "%s wants an axis, got %s", e->name, build_describe(b, &v));
    if (which && !axis_list(b, which, rank, &n, axis))
        return (Value){ 0 };
    return value_node(b, build_make(b, op, e->name_loc, 1, &v.ref, n, axis, NULL), e->loc);
}

/* ---- movement ---- */

/* reshape(x, [2, -1]): one size may be left to the others */
static Value reshape(Build *b, const Expr *e, Op op)
{
    int64_t dim[MAX_RANK], known = 1;
    int n, open = -1;
    Value v;

    if (!(v = argument_tensor(b, e, "x", 0)).kind || !size_list(b, argument(e, "shape", 1), &n, dim))
        return (Value){ 0 };
    for (int i = 0; i < n; i++) {
        if (dim[i] == -1 && open < 0)
            open = i;
        else if (dim[i] < 1 || __builtin_mul_overflow(known, dim[i], &known))
            return build_error(b, e->loc, "reshape: a size below 1, or too large");
    }
    if (open >= 0) {
        int64_t count = ty_count(value_type(b, &v));

        if (count % known)
            return build_error(b, e->loc, "reshape: %s can't be split so", build_describe(b, &v));
        dim[open] = count / known;
    }
    return value_node(b, build_make(b, op, e->name_loc, 1, &v.ref, n, dim, NULL), e->loc);
}

/* transpose(x): the last two axes; transpose(x, [1, 0, 2]) */
static Value transpose(Build *b, const Expr *e, Op op)
{
    const Expr *list;
    int64_t perm[MAX_RANK];
    int rank;
    Value v;

    if (!(v = argument_tensor(b, e, "x", 0)).kind)
        return (Value){ 0 };
    rank = value_type(b, &v)->rank;
    list = argument(e, "axes", 1);
    if (!list && rank < 2)
        return build_error(b, e->loc, "transpose wants two axes, got %s", build_describe(b, &v));
    for (int i = 0; i < rank; i++)
        perm[i] = list || i < rank - 2 ? i : 2 * rank - 3 - i;
    if (list) {
        if (list->kind != EXPR_LIST || list->narg != rank)
            return build_error(b, list->loc, "transpose wants a list of all %d axes", rank);
        for (int i = 0; i < rank; i++)
            if (!one_axis(b, list->arg[i], rank, &perm[i]))
                return (Value){ 0 };
    }
    return value_node(b, build_make(b, op, e->name_loc, 1, &v.ref, rank, perm, NULL), e->loc);
}

/* expand(x, [4, 3]): x stands at the end, or has size 1 where it is stretched */
static Value expand(Build *b, const Expr *e, Op op)
{
    int64_t dim[MAX_RANK];
    int n;
    Value v, shape;

    (void)op;
    if (!(v = argument_tensor(b, e, "x", 0)).kind || !size_list(b, argument(e, "shape", 1), &n, dim))
        return (Value){ 0 };
    Type to = ty_make(value_type(b, &v)->dtype, n, dim);

    if (!ty_valid(&to) || to.rank < value_type(b, &v)->rank)
        return build_error(b, e->loc, "expand: %s does not fit into %s", build_describe(b, &v), ty_str_in(b->m, &to));
    for (int i = 0; i < value_type(b, &v)->rank; i++)
        if (value_type(b, &v)->dim[i] == 1)
            v.kept |= 1u << i;
    shape = value_node(b, graph_const(b->g, e->loc, to, 0), e->loc);
    if (!build_unify(b, e->loc, "expand", NULL, &v, NULL, &shape, false))
        return v;
    v.kept = 0;
    return v;
}

/* ---- counting ---- */

static Value is_class(Build *b, const Expr *e, Op op)
{
    const Expr *classes;
    int64_t k;
    Value v;

    if (!(v = argument_tensor(b, e, "x", 0)).kind)
        return (Value){ 0 };
    if (!(classes = argument(e, "classes", 1)))
        return build_error(b, e->loc, "is_class wants a number of classes");
    if (!build_int(b, classes, "the number of classes", &k))
        return (Value){ 0 };
    v = value_node(b, build_make(b, op, e->name_loc, 1, &v.ref, 1, &k, NULL), e->loc);
    if (v.kind)
        bound_field(b, graph_at(b->g, v.ref)->arg[0], k);
    return v;
}

static Value iota(Build *b, const Expr *e, Op op)
{
    int64_t n, axis = 0;
    Type t = { .dtype = DT_i32, .rank = 1 };

    if (e->narg != 1)
        return build_error(b, e->loc, "iota wants one size");
    if (!build_size(b, e->arg[0], "a size", &n))
        return (Value){ 0 };
    if (n < 1)
        return build_error(b, e->arg[0]->loc, "iota: a size is at least 1, got %lld", (long long)n);
    t.dim[0] = n;
    return value_node(b, build_make(b, op, e->name_loc, 0, NULL, 1, &axis, &t), e->loc);
}

static uint32_t stream_of(const char *name, int n)
{
    uint32_t h = 2166136261u;      /* FNV-1a */

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return (h ^ (uint32_t)n) * 16777619u;
}

/* random(): numbers in [0, 1), one for each element of the parameter that is being filled */
/* random(x): new numbers in every step, one for each element of x.  The stream is the layer's and the place among all
 * such calls of the step, so two dropouts differ, and entries of other batches draw alike. */
static Value step_noise(Build *b, const Expr *e, Op op)
{
    Value v = argument_tensor(b, e, "x", 0);
    int64_t stream = stream_of(arena_printf(&b->md->mem, "%srandom(x)", b->scope->prefix), b->nnoise++);
    Type t;

    if (!v.kind)
        return v;
    if (b->init_slot >= 0 || b->g->entry == ENTRY_UPDATE)
        return build_error(b, e->loc, "random(x) stands in a step; an initial value has its numbers from random()");
    if (b->scan)
        return build_error(b, e->loc, "in a scan random(x) would draw the same numbers in every step: draw those of all steps before it,"
                                      " and scan over them");
    t = ty_with(*value_type(b, &v), dt_is_float(value_type(b, &v)->dtype) ? value_type(b, &v)->dtype : build_float(b));
    return value_node(b, build_make(b, op, e->name_loc, 0, NULL, 1, &stream, &t), e->loc);
}

static Value random_numbers(Build *b, const Expr *e, Op op)
{
    int64_t stream;
    Type t;

    if (e->narg)
        return step_noise(b, e, op);
    if (b->init_slot < 0)
        return build_error(b, e->loc, "random() fills parameters and states; in a step write random(x), a number for each element of x");
    t = b->m->slot[b->init_slot].type;
    if (!dt_is_float(t.dtype))
        t.dtype = build_float(b);
    stream = stream_of(b->m->slot[b->init_slot].name, b->nrandom++);
    return value_node(b, build_make(b, op, e->name_loc, 0, NULL, 1, &stream, &t), e->loc);
}

/* ---- questions about shapes ---- */

/* of a tensor, or of a pair, whose size is the product of its two numbers */
static Value shape_argument(Build *b, const Expr *e, Type *t)
{
    const Expr *a = e->narg ? e->arg[0] : NULL;
    Value v = a && a->kind == EXPR_NAME ? build_value(b, a) : (Value){ 0 };

    if (v.kind == VAL_RUN) {
        *t = ty_make(DT_i32, v.nrun, v.run);
        return v;
    }
    v = argument_tensor(b, e, "x", 0);
    if (v.kind)
        *t = *value_type(b, &v);
    return v;
}

static Value size(Build *b, const Expr *e, Op op)
{
    Type t;
    Value v = shape_argument(b, e, &t);

    (void)op;
    return v.kind ? value_size(b, ty_count(&t)) : v;
}

static Value axis_size(Build *b, const Expr *e, Op op)
{
    Type t;
    Value v = shape_argument(b, e, &t);
    int64_t axis;

    (void)op;
    if (!v.kind)
        return v;
    if (e->narg != 2)
        return build_error(b, e->loc, "dim wants a tensor and an axis");
    if (!one_axis(b, e->arg[1], t.rank, &axis))
        return (Value){ 0 };
    return value_size(b, t.dim[axis]);
}

/* real(x): whole numbers and truths as floats, floats as they are */
static Value real(Build *b, const Expr *e, Op op)
{
    Value v = argument_tensor(b, e, "x", 0);

    (void)op;
    if (v.kind && !dt_is_float(value_type(b, &v)->dtype))
        v.ref = graph_cast(b->g, e->name_loc, v.ref, build_float(b));
    v.step_truth = false;
    return v;
}

static Value sum_each(Build *b, const Expr *e, Op op)
{
    (void)op;
    return build_sum_each(b, e);
}

/* ---- the table ---- */

static const Builtin builtins[] = {
    { "sum", reduce, OP_sum, 2, { "x", "axis", "keep" } },
    { "max", reduce, OP_max, 2, { "x", "axis", "keep" } },
    { "min", reduce, OP_min, 2, { "x", "axis", "keep" } },
    { "first_max", reduce, OP_first_max, 2, { "x", "axis", "keep" } },
    { "argmax", arg_reduce, OP_argmax, 2, { "x", "axis" } },
    { "argmin", arg_reduce, OP_argmin, 2, { "x", "axis" } },
    { "cumsum", build_cumsum, OP_cumsum, 2, { "x", "axis" } },
    { "reshape", reshape, OP_reshape, 2, { "x", "shape" } },
    { "transpose", transpose, OP_transpose, 2, { "x", "axes" } },
    { "expand", expand, OP_expand, 2, { "x", "shape" } },
    { "slice", build_slice, OP_slice, 5, { "x", "axis", "from", "to", "step" } },
    { "part", build_part, OP_slice, 4, { "x", "axis", "index", "count" } },
    { "reverse", build_reverse, OP_slice, 2, { "x", "axis" } },
    { "pad", build_pad, OP_pad, 5, { "x", "axis", "before", "behind", "value" } },
    { "concat", build_concat, OP_pad, ANY_NUMBER, { "axis" } },
    { "stack", build_stack, OP_pad, ANY_NUMBER, { "axis" } },
    { "window", build_window, OP_window, 5, { "x", "axis", "size", "stride", "dilation" } },
    { "conv", build_conv, OP_conv, 2, { "x", "w", "stride", "padding", "padding_behind", "dilation", "dilation_x" } },
    { "gather", build_gather, OP_gather, 3, { "x", "numbers", "axis" } },
    { "scatter_add", build_scatter, OP_scatter, 4, { "x", "numbers", "size", "axis" } },
    { "is_class", is_class, OP_one_hot, 2, { "x", "classes" } },
    { "iota", iota, OP_iota, OWN_CHECKS, { NULL } },
    { "random", random_numbers, OP_random, OWN_CHECKS, { "x" } },
    { "size", size, NOP, OWN_CHECKS, { "x" } },
    { "dim", axis_size, NOP, OWN_CHECKS, { "x" } },
    { "real", real, NOP, OWN_CHECKS, { "x" } },
    { "sum_each", sum_each, NOP, OWN_CHECKS, { NULL } },
    { "grad", build_grad, OP_grad, OWN_CHECKS, { NULL } },
    { "variable", build_variable, OP_variable, OWN_CHECKS, { NULL } },
};
enum { NBUILTIN = sizeof builtins / sizeof *builtins };

const char *builtin_name(int i) { return i < NBUILTIN ? builtins[i].name : NULL; }

static const Builtin *find_builtin(const char *name)
{
    for (int i = 0; i < NBUILTIN; i++)
        if (!strcmp(builtins[i].name, name))
            return &builtins[i];
    return NULL;
}

/* f32(x): the only way from one dtype to another */
static Value cast(Build *b, const Expr *e, Dtype d)
{
    Value v;

    if (d == DT_f32)
        d = build_float(b);
    if (e->narg != 1)
        return build_error(b, e->loc, "%s(...) wants one tensor", e->name);
    v = build_value(b, e->arg[0]);
    if (v.kind == VAL_NUMBER)
        return build_node_of(b, e->loc, &v, &(Type){ .dtype = d });
    if (v.kind != VAL_NODE)
        return v.kind ? build_error(b, e->loc, "%s(...) wants a tensor, got %s", e->name, build_describe(b, &v)) : v;
    v.ref = graph_cast(b->g, e->name_loc, v.ref, d);
    v.step_scalar = v.step_scalar && d == DT_f64 && b->m->float64;
    v.step_truth = false;
    return v;
}

static Value point(Build *b, const Expr *e, Op op)
{
    Value arg[3];
    bool ok = true;

    for (int i = 0; i < e->narg; i++)
        if (e->argname && e->argname[i])
            return build_error(b, e->argname_loc[i], "%s has no parameter `%s`", e->name, e->argname[i]);
    if (e->narg != op_info[op].narg)
        return build_error(b, e->loc, "%s wants %d argument%s, got %d", e->name, op_info[op].narg,
                           op_info[op].narg == 1 ? "" : "s", e->narg);
    for (int i = 0; i < e->narg; i++) {
        arg[i] = build_value(b, e->arg[i]);
        ok &= arg[i].kind != VAL_NONE;
    }
    return ok ? build_point(b, e, op, e->narg, arg) : (Value){ 0 };
}

/* sigmoid(fc1: linear(x, 50)): what the builtin does not take as a parameter labels the call behind it */
void find_labels(const Expr *e)
{
    static const Builtin none = { "", NULL, NOP, 0, { NULL } };
    const Builtin *f = find_builtin(e->name);

    for (int i = 0; i < e->narg; i++) {
        if (!e->argname || !e->argname[i] || e->arg[i]->kind != EXPR_CALL || e->arg[i]->label
            || is_parameter(f ? f : &none, e->argname[i]))
            continue;
        e->arg[i]->label = e->argname[i];
        e->argname[i] = NULL;
    }
}

bool is_builtin_op(Op op) { return op_info[op].cls == CLASS_POINT && op_info[op].attr == ATTR_NONE; }

bool build_builtin(Build *b, const Expr *e, Value *out)
{
    const Builtin *f;
    Dtype d;
    Op op;

    find_labels(e);

    if (e->label && (dt_parse(e->name, &d) || op_parse(e->name, &op))) {
        *out = build_error(b, e->loc, "`%s` owns no parameters, so a label has nothing to name", e->name);
        return true;
    }
    if (dt_parse(e->name, &d)) {
        *out = cast(b, e, d);
        return true;
    }
    if ((f = find_builtin(e->name))) {
        bool fit = f->ordered == OWN_CHECKS || arguments_fit(b, e, f);

        *out = fit ? f->make(b, e, f->op) : (Value){ 0 };
        return true;
    }
    if (op_parse(e->name, &op) && is_builtin_op(op)) {
        *out = point(b, e, op);
        return true;
    }
    return false;
}
