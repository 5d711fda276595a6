/* build_builtin.c - what functions of the language are made of: operations of ops.def and questions about shapes. */
#include "frontend/build.h"

#include <string.h>

typedef Value BuiltinFn(Build *b, const Expr *e, Op op);
typedef struct Builtin { const char *name; BuiltinFn *make; Op op; } Builtin;

/* ---- arguments ---- */

static const Expr *named(const Expr *e, const char *name, int place)
{
    int at = 0;

    for (int i = 0; i < e->narg; i++) {
        if (e->argname && e->argname[i] ? !strcmp(e->argname[i], name) : at == place)
            return e->arg[i];
        at += !(e->argname && e->argname[i]);
    }
    return NULL;
}

/* Only these names, at most so many arguments in order. */
static bool only(Build *b, const Expr *e, int max, const char *const *name, int n)
{
    int count = 0;

    for (int i = 0; i < e->narg; i++) {
        bool known = !e->argname || !e->argname[i];

        count += known;
        for (int j = 0; j < n && !known; j++)
            known = !strcmp(e->argname[i], name[j]);
        if (!known || count > max) {
            const char *near = known ? NULL : diag_near(e->argname[i], name, n);

            if (known)
                build_error(b, e->arg[i]->loc, "%s takes %d argument%s, this is one more", e->name, max, max == 1 ? "" : "s");
            else
                build_error(b, e->argname_loc[i], near ? "%s has no parameter `%s`; did you mean `%s`?"
                                                       : "%s has no parameter `%s`", e->name, e->argname[i], near);
            return false;
        }
    }
    return true;
}

static Value tensor(Build *b, const Expr *e, int place)
{
    const Expr *a = named(e, "x", place);
    Value v;

    if (!a)
        return build_error(b, e->loc, "%s wants a tensor", e->name);
    v = build_value(b, a);
    if (v.kind == VAL_NUMBER)
        v = build_node_of(b, a->loc, &v, &(Type){ .dtype = v.is_truth ? DT_bool : build_float(b) });
    if (v.kind && v.kind != VAL_NODE)
        return build_error(b, a->loc, "%s wants a tensor, got %s", e->name, build_describe(b, &v));
    return v;
}

/* A whole number from -rank to rank - 1, counted from the end if it is negative. */
static bool one_axis(Build *b, const Expr *e, int rank, int64_t *axis)
{
    if (!build_int(b, e, "an axis", axis))
        return false;
    if (*axis < -rank || *axis >= rank) {
        build_error(b, e->loc, "there is no axis %lld in a tensor of %d", (long long)*axis, rank);
        return false;
    }
    *axis += *axis < 0 ? rank : 0;
    return true;
}

static bool axis_list(Build *b, const Expr *e, int rank, int *n, int64_t *axis)
{
    bool used[MAX_RANK] = { 0 };
    Value v = { .kind = VAL_ALL };

    *n = 0;
    if (e && e->kind != EXPR_LIST && !(v = build_value(b, e)).kind)
        return false;
    if (!e || v.kind == VAL_ALL) {
        bool list = e && e->kind == EXPR_LIST;

        for (int i = 0; i < rank && !list; i++)
            axis[(*n)++] = i;
        if (!list)
            return true;
    }
    for (int i = 0; i < (e->kind == EXPR_LIST ? e->narg : 1); i++) {
        int64_t x;

        if (!one_axis(b, e->kind == EXPR_LIST ? e->arg[i] : e, rank, &x))
            return false;
        used[x] = true;
    }
    for (int i = 0; i < rank; i++)
        if (used[i])
            axis[(*n)++] = i;
    return true;
}

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
    const Expr *k = named(e, "keep", 99);

    *keep = false;
    return !k || build_truth(b, k, keep);
}

static Value reduce(Build *b, const Expr *e, Op op)
{
    static const char *const names[] = { "x", "axis", "keep" };
    int64_t axis[MAX_RANK];
    bool keep;
    int n;
    Value v;

    if (!only(b, e, 2, names, 3) || !(v = tensor(b, e, 0)).kind
        || !axis_list(b, named(e, "axis", 1), value_type(b, &v)->rank, &n, axis) || !wants_keep(b, e, &keep))
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

static Value arg_reduce(Build *b, const Expr *e, Op op)
{
    static const char *const names[] = { "x", "axis" };
    const Expr *which;
    int64_t axis;
    Value v;

    if (!only(b, e, 2, names, 2) || !(v = tensor(b, e, 0)).kind)
        return (Value){ 0 };
    axis = value_type(b, &v)->rank - 1;
    which = named(e, "axis", 1);
    if (axis < 0)
        return build_error(b, e->loc, "%s wants an axis, got %s", e->name, build_describe(b, &v));
    if (which && !one_axis(b, which, (int)axis + 1, &axis))
        return (Value){ 0 };
    return value_node(b, build_make(b, op, e->name_loc, 1, &v.ref, 1, &axis, NULL), e->loc);
}

/* ---- movement ---- */

/* One number or a run of axes in a list of sizes. */
static bool size_list(Build *b, const Expr *e, int *n, int64_t *dim)
{
    *n = 0;
    if (!e || e->kind != EXPR_LIST) {
        build_error(b, e ? e->loc : (Loc){ 0 }, "a list of sizes is wanted: [2, 3]");
        return false;
    }
    for (int i = 0; i < e->narg; i++) {
        Value v = build_value(b, e->arg[i]);
        int more = v.kind == VAL_RUN ? v.nrun : 1;

        if (!v.kind)
            return false;
        if (v.kind != VAL_RUN && !size_of(b, e->arg[i]->loc, "a size", &v, &v.integer))
            return false;
        if (*n + more > MAX_RANK) {
            build_error(b, e->loc, "more than %d axes", MAX_RANK);
            return false;
        }
        for (int j = 0; j < more; j++)
            dim[(*n)++] = v.kind == VAL_RUN ? v.run[j] : v.integer;
    }
    return true;
}

/* reshape(x, [2, -1]): one size may be left to the others */
static Value reshape(Build *b, const Expr *e, Op op)
{
    static const char *const names[] = { "x", "shape" };
    int64_t dim[MAX_RANK], known = 1;
    int n, open = -1;
    Value v;

    if (!only(b, e, 2, names, 2) || !(v = tensor(b, e, 0)).kind || !size_list(b, named(e, "shape", 1), &n, dim))
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
    static const char *const names[] = { "x", "axes" };
    const Expr *list;
    int64_t perm[MAX_RANK];
    int rank;
    Value v;

    if (!only(b, e, 2, names, 2) || !(v = tensor(b, e, 0)).kind)
        return (Value){ 0 };
    rank = value_type(b, &v)->rank;
    list = named(e, "axes", 1);
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
    static const char *const names[] = { "x", "shape" };
    int64_t dim[MAX_RANK];
    int n;
    Value v, shape;

    (void)op;
    if (!only(b, e, 2, names, 2) || !(v = tensor(b, e, 0)).kind || !size_list(b, named(e, "shape", 1), &n, dim))
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

/* A field's values reach a bounded use through casts and movement alone: the bound is the field's own. */
static void bound_field(Build *b, Ref r, int64_t bound)
{
    const Node *nd = graph_at(b->g, r);

    while (nd->narg == 1 && (nd->op == OP_cast || op_info[nd->op].cls == CLASS_MOVE))
        nd = graph_at(b->g, nd->arg[0]);
    if (nd->op != OP_read)
        return;
    Slot *s = &b->m->slot[nd->attr.v[0]];

    if ((s->kind == SLOT_field || s->kind == SLOT_input) && (!s->bound || bound < s->bound))
        s->bound = bound;
}

static Value is_class(Build *b, const Expr *e, Op op)
{
    static const char *const names[] = { "x", "classes" };
    const Expr *classes;
    int64_t k;
    Value v;

    if (!only(b, e, 2, names, 2) || !(v = tensor(b, e, 0)).kind)
        return (Value){ 0 };
    if (!(classes = named(e, "classes", 1)))
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
    Value v = tensor(b, e, 0);
    int64_t stream = stream_of(arena_printf(&b->md->mem, "%srandom(x)", b->scope->prefix), b->nnoise++);
    Type t;

    if (!v.kind)
        return v;
    if (b->init_slot >= 0 || b->g->entry == ENTRY_UPDATE)
        return build_error(b, e->loc, "random(x) stands in a step; an initial value has its numbers from random()");
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

static Value size(Build *b, const Expr *e, Op op)
{
    Value v = tensor(b, e, 0);

    (void)op;
    return v.kind ? value_size(b, ty_count(value_type(b, &v))) : v;
}

static Value axis_size(Build *b, const Expr *e, Op op)
{
    Value v = tensor(b, e, 0);
    int64_t axis;

    (void)op;
    if (!v.kind)
        return v;
    if (e->narg != 2)
        return build_error(b, e->loc, "dim wants a tensor and an axis");
    if (!one_axis(b, e->arg[1], value_type(b, &v)->rank, &axis))
        return (Value){ 0 };
    return value_size(b, value_type(b, &v)->dim[axis]);
}

/* real(x): whole numbers and truths as floats, floats as they are */
static Value real(Build *b, const Expr *e, Op op)
{
    Value v = tensor(b, e, 0);

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
    { "sum", reduce, OP_sum },         { "max", reduce, OP_max },           { "min", reduce, OP_min },
    { "argmax", arg_reduce, OP_argmax }, { "argmin", arg_reduce, OP_argmin }, { "reshape", reshape, OP_reshape },
    { "transpose", transpose, OP_transpose }, { "expand", expand, OP_expand }, { "is_class", is_class, OP_one_hot },
    { "iota", iota, OP_iota },         { "random", random_numbers, OP_random }, { "size", size, NOP },
    { "dim", axis_size, NOP },         { "real", real, NOP },               { "sum_each", sum_each, NOP },
    { "grad", build_grad, OP_grad },   { "variable", build_variable, OP_variable },
};
enum { NBUILTIN = sizeof builtins / sizeof *builtins };

const char *const *builtin_names(int *n)
{
    static const char *const names[] = { "sum",    "max",  "min",    "argmax", "argmin", "reshape", "transpose", "expand",
                                         "is_class", "iota", "random", "size",   "dim",    "real",
                                         "sum_each", "grad", "variable" };

    _Static_assert(sizeof names / sizeof *names == NBUILTIN, "a name for each builtin");
    *n = NBUILTIN;
    return names;
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

/* sigmoid(fc1: linear(x, 50)): what no builtin takes as a parameter labels the call behind it */
void find_labels(const Expr *e)
{
    static const char *const parameter[] = { "x", "axis", "keep", "shape", "axes", "classes" };

    for (int i = 0; i < e->narg; i++) {
        bool known = !e->argname || !e->argname[i] || e->arg[i]->kind != EXPR_CALL || e->arg[i]->label;

        for (size_t j = 0; j < sizeof parameter / sizeof *parameter && !known; j++)
            known = !strcmp(e->argname[i], parameter[j]);
        if (known)
            continue;
        e->arg[i]->label = e->argname[i];
        e->argname[i] = NULL;
    }
}

bool is_builtin_op(Op op) { return op_info[op].cls == CLASS_POINT && op_info[op].attr == ATTR_NONE; }

bool build_builtin(Build *b, const Expr *e, Value *out)
{
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
    for (int i = 0; i < NBUILTIN; i++)
        if (!strcmp(builtins[i].name, e->name)) {
            *out = builtins[i].make(b, e, builtins[i].op);
            return true;
        }
    if (op_parse(e->name, &op) && is_builtin_op(op)) {
        *out = point(b, e, op);
        return true;
    }
    return false;
}
