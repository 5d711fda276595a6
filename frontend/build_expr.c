/* build_expr.c - expressions: numbers computed now, everything else as nodes. */
#include "frontend/build.h"

#include <math.h>
#include <string.h>

enum { NESTING = 500 };

/* ---- points ---- */

static const char *verb(const char *op)
{
    return !strcmp(op, "add") ? "add" : !strcmp(op, "sub") ? "subtract" : !strcmp(op, "mul") ? "multiply"
           : !strcmp(op, "div") ? "divide" : is_compare(op) ? "compare" : !strcmp(op, "and") || !strcmp(op, "or") ? "join" : op;
}

static bool all_steps(const Value *v, int n)
{
    for (int i = 0; i < n; i++)
        if (!v[i].step_scalar && !v[i].step_truth)
            return false;
    return true;
}

static const Expr *operand(const Expr *e, int i) { return i < e->narg ? e->arg[i] : NULL; }

/* Brings all arguments together pairwise, from argument `from` on. */
static bool unify_all(Build *b, const Expr *e, const char *what, Value *arg, int from, int n, bool compare)
{
    int model = -1;

    for (int i = from; i < n && model < 0; i++)
        if (arg[i].kind == VAL_NODE && !arg[i].step_scalar)
            model = i;
    for (int i = from; i < n && model < 0; i++)
        if (arg[i].kind == VAL_NODE)
            model = i;
    if (model < 0) {      /* numbers alone */
        for (int i = from; i < n; i++)
            arg[i] = build_node_of(b, e->loc, &arg[i], &(Type){ .dtype = arg[i].is_truth ? DT_bool : build_float(b) });
        return true;
    }
    for (int round = 0; round < 2; round++)
        for (int i = from; i < n; i++)
            if (i != model && !build_unify(b, e->name_loc, what, operand(e, model < i ? model : i), &arg[model < i ? model : i],
                                           operand(e, model < i ? i : model), &arg[model < i ? i : model], compare))
                return false;
    return true;
}

/* select(step < 100, 0.1, 0.01): a step scalar again, if nothing else takes part. */
static bool step_choice(Build *b, const Expr *e, Value *arg)
{
    Type real = ty_scalar(DT_f64);

    if (!arg[0].step_truth)
        return false;
    for (int i = 1; i < 3; i++)
        if (!arg[i].step_scalar && (arg[i].kind != VAL_NUMBER || arg[i].is_truth))
            return false;
    for (int i = 1; i < 3; i++)
        if (arg[i].kind == VAL_NUMBER) {
            arg[i] = value_node(b, graph_const(b->g, e->loc, real, arg[i].number), e->loc);
            arg[i].step_scalar = true;
        }
    return true;
}

/* Both alternatives get one shape; the choice may have more axes, or fewer. */
static bool unify_choice(Build *b, const Expr *e, Value *arg)
{
    Type like = *value_type(b, &arg[0]);

    if (step_choice(b, e, arg))
        return true;
    if (!unify_all(b, e, "choose between", arg, 1, 3, false))
        return false;
    like.dtype = value_type(b, &arg[1])->dtype;
    for (int i = 1; i < 3; i++) {
        Value shape = value_node(b, graph_const(b->g, e->loc, like, 0), e->loc);

        if (!build_unify(b, e->name_loc, "choose between", operand(e, i), &arg[i], NULL, &shape, false))
            return false;
        like = *value_type(b, &arg[i]);
    }
    Value truth = value_node(b, graph_const(b->g, e->loc, ty_with(like, DT_bool), 0), e->loc);

    return build_unify(b, e->name_loc, "choose by", operand(e, 0), &arg[0], NULL, &truth, false)
           && unify_all(b, e, "choose between", arg, 1, 3, false);
}

Value build_point(Build *b, const Expr *e, Op op, int narg, Value *arg)
{
    bool compare = op == OP_eq || op == OP_ne || op == OP_lt || op == OP_le, known = true;
    Ref ref[3] = { { 0 } };
    Value r;
    unsigned kept;

    for (int i = 0; i < narg; i++) {
        if (arg[i].kind != VAL_NODE && arg[i].kind != VAL_NUMBER)
            return arg[i].kind ? build_error(b, e->arg[i]->loc, "%s: wants a number or a tensor, got %s", op_info[op].name,
                                             build_describe(b, &arg[i])) : (Value){ 0 };
        known &= arg[i].kind == VAL_NUMBER;
    }
    if (known && known_point(b, e, op, arg, &r))
        return r;
    if (op == OP_select && value_known(&arg[0]))
        return build_fixed(b, e->loc, "a choice", &arg[0]) ? arg[arg[0].integer ? 1 : 2] : (Value){ 0 };
    if (op == OP_select) {
        if (!unify_choice(b, e, arg))
            return (Value){ 0 };
    } else if (narg > 1 && !unify_all(b, e, verb(op_info[op].name), arg, 0, narg, compare)) {
        return (Value){ 0 };
    }
    for (int i = 0; i < narg; i++)
        ref[i] = arg[i].ref;
    kept = arg[0].kept;
    for (int i = 1; i < narg; i++)
        kept &= arg[i].kept;
    r = value_node(b, build_make(b, op, e->name_loc, narg, ref, 0, NULL, NULL), e->loc);
    if (r.kind && all_steps(arg, narg)) {
        r.step_scalar = value_type(b, &r)->dtype == DT_f64;
        r.step_truth = !r.step_scalar && value_type(b, &r)->dtype == DT_bool;
    }
    r.kept = kept;
    return r;
}

/* ---- operators ---- */

/* a[..., M, K] @ b[K, N], or with equal leading axes on both sides */
static Value matmul(Build *b, const Expr *e, Value *v)
{
    const Type *x, *y;
    int64_t batch[MAX_RANK], attr[2 + 4 * MAX_RANK];
    int nb = 0, n = 0;

    for (int i = 0; i < 2; i++)
        if (v[i].kind != VAL_NODE || value_type(b, &v[i])->rank < 1)
            return build_error(b, e->arg[i]->loc, "`@` wants matrices, got %s", build_describe(b, &v[i]));
    x = value_type(b, &v[0]);
    y = value_type(b, &v[1]);
    if (y->rank > 2 && x->rank == y->rank)
        nb = x->rank - 2;
    else if (y->rank > 2)
        return build_error(b, e->name_loc, "cannot multiply %s by %s: `@` wants a matrix on the right, or equal leading axes",
                           build_describe(b, &v[0]), build_describe(b, &v[1]));
    int64_t ka = x->rank - 1, kb = y->rank > 1 ? y->rank - 2 : 0;

    if (x->dtype != y->dtype || x->dim[ka] != y->dim[kb] || memcmp(x->dim, y->dim, (size_t)nb * sizeof *x->dim)) {
        build_error(b, e->name_loc, "cannot multiply %s by %s: the last axis of the left must equal %s of the right",
                    build_describe(b, &v[0]), build_describe(b, &v[1]), nb ? "the last but one" : "the first");
        build_note_value(b, e->arg[0], &v[0]);
        build_note_value(b, e->arg[1], &v[1]);
        return (Value){ 0 };
    }
    for (int i = 0; i < nb; i++)
        batch[i] = i;
    attr[n++] = nb;
    attr[n++] = 1;
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < nb; i++)
            attr[n++] = batch[i];
    attr[n++] = ka;
    attr[n++] = kb;
    return value_node(b, build_make(b, OP_dot, e->name_loc, 2, (Ref[]){ v[0].ref, v[1].ref }, n, attr, NULL), e->loc);
}

/* x ^ 3 is x * x * x, by squaring; other exponents are the operation pow */
static Value power(Build *b, const Expr *e, Value *v)
{
    Value r = { 0 }, square = v[0];
    Op op = OP_mul;

    if (v[0].step_scalar || v[0].kind != VAL_NODE || v[1].kind != VAL_NUMBER || !v[1].is_int || v[1].integer < 1
        || v[1].integer > 16)
        return build_point(b, e, OP_pow, 2, v);
    for (int64_t n = v[1].integer; n; n /= 2) {
        Value pair[2] = { r, square }, twice[2] = { square, square };

        if (n % 2)
            r = r.kind ? build_point(b, e, op, 2, pair) : square;
        if (n > 1)
            square = build_point(b, e, op, 2, twice);
        if (!r.kind && !square.kind)
            return r;
    }
    return r;
}

static Value binary(Build *b, const Expr *e)
{
    Value v[2] = { build_value(b, e->arg[0]), build_value(b, e->arg[1]) };
    bool turned = !strcmp(e->name, "gt") || !strcmp(e->name, "ge");
    Op op;

    if (!v[0].kind || !v[1].kind)
        return (Value){ 0 };
    if (!strcmp(e->name, "matmul"))
        return matmul(b, e, v);
    if (v[0].kind == VAL_TEXT && v[1].kind == VAL_TEXT && (!strcmp(e->name, "eq") || !strcmp(e->name, "ne")))
        return value_truth(!strcmp(v[0].text, v[1].text) == !strcmp(e->name, "eq"));
    if (value_known(&v[0]) && value_known(&v[1]))
        return build_number_op(b, e, e->name, &v[0], &v[1]);
    if (!strcmp(e->name, "pow"))
        return power(b, e, v);
    if (turned) {
        Expr *swapped = arena_new(&b->md->mem, Expr);
        Value pair[2] = { v[1], v[0] };

        *swapped = *e;
        swapped->arg = arena_array(&b->md->mem, Expr *, 2);
        swapped->arg[0] = e->arg[1];
        swapped->arg[1] = e->arg[0];
        return build_point(b, swapped, e->name[1] == 't' ? OP_lt : OP_le, 2, pair);
    }
    op_parse(e->name, &op);
    return build_point(b, e, op, 2, v);
}

static Value unary(Build *b, const Expr *e)
{
    Value v = build_value(b, e->arg[0]);
    Op op = !strcmp(e->name, "not") ? OP_not : OP_neg;

    if (!v.kind)
        return v;
    return build_point(b, e, op, 1, &v);
}

/* ---- names ---- */

/* What can be called: functions, models, builtins, operations. */
static const char **callables(Build *b, int *n, int *cap)
{
    const char **list = NULL;

    for (const Decl *d = b->md->decl; d; d = d->next)
        if (d->kind == DECL_FN || d->kind == DECL_MODEL) {
            arena_push(&b->md->mem, list, *n, *cap);
            list[(*n)++] = d->name;
        }
    for (int i = 0; builtin_name(i); i++) {
        arena_push(&b->md->mem, list, *n, *cap);
        list[(*n)++] = builtin_name(i);
    }
    for (int i = 0; i < NOP; i++)
        if (is_builtin_op((Op)i)) {
            arena_push(&b->md->mem, list, *n, *cap);
            list[(*n)++] = op_info[i].name;
        }
    return list;
}

const char *near_callable(Build *b, const char *name)
{
    int n = 0, cap = 0;
    const char **list = callables(b, &n, &cap);

    return diag_near(name, list, n);
}

static const char *near_name(Build *b, const char *name)
{
    static const char *const words[] = { "training", "step", "steps", "epoch", "true", "false", "all", "pi", "inf" };
    const char **list = NULL, *near;
    int n = 0, cap = 0;

    for (int i = 0; i < b->scope->n; i++) {
        arena_push(&b->md->mem, list, n, cap);
        list[n++] = b->scope->name[i].name;
    }
    for (int i = 0; i < b->ndeclared && strchr(name, '.'); i++) {
        size_t own = strlen(b->scope->prefix);

        arena_push(&b->md->mem, list, n, cap);
        list[n++] = b->declared[i] + (strncmp(b->declared[i], b->scope->prefix, own) ? 0 : own);
    }
    for (const Decl *d = b->md->decl; d; d = d->next)
        if (d->kind == DECL_CONST) {
            arena_push(&b->md->mem, list, n, cap);
            list[n++] = d->name;
        }
    if ((near = diag_near(name, list, n)) || (near = diag_near(name, words, sizeof words / sizeof *words)))
        return near;
    return near_callable(b, name);
}

static Value constant(Build *b, const Decl *d)
{
    const FrontOptions *o = b->md->options;
    Scope *outer = b->scope, own = { .prefix = "" };
    Constant own_constant = { d, b->constant };
    Value v;

    for (int i = 0; o && i < o->ndefine; i++)
        if (!strcmp(o->define[i].name, d->name)) {
            double x = o->define[i].value;

            return x == floor(x) && fabs(x) < 0x1p53 ? value_int((int64_t)x) : value_float(x);
        }
    for (const Constant *c = b->constant; c; c = c->up)
        if (c->decl == d)
            return build_error(b, d->loc, "constant `%s` depends on itself", d->name);
    b->constant = &own_constant;
    b->scope = &own;
    v = build_value(b, d->value);
    b->scope = outer;
    b->constant = own_constant.up;
    if (v.kind == VAL_NODE)
        return build_error(b, d->value->loc, "a constant is known before anything runs");
    v.loc = d->loc;
    return v;
}

/* A node belongs to one graph; initial values and optimizers have their own. */
static Value usable(Build *b, const Expr *e, const Value *v)
{
    if (v->kind != VAL_NODE || v->graph == b->g)
        return *v;
    if (b->init_slot >= 0)
        return build_error(b, e->loc, "an initial value is computed before there are data: `%s` has no value then", e->name);
    return build_error(b, e->loc, "`%s` is computed elsewhere in the step: write its expression here", e->name);
}

/* tok.weight is the parameter or state of a labelled call before; its value at the start of the step, or behind
 * the `then` that moves it; what else has been written to it is not asked for here. */
static bool declared_value(Build *b, const Expr *e, Value *v)
{
    const char *name = arena_printf(&b->md->mem, "%s%s", b->scope->prefix, e->name);
    int slot = module_slot(b->m, name);

    if (slot < 0 || !slot_is_kept(b->m->slot[slot].kind) || b->init_slot >= 0)
        return false;
    for (int i = 0; i < b->ndeclared; i++)
        if (!strcmp(b->declared[i], name)) {
            *v = value_node(b, build_is_moved(b, slot) ? build_slot_now(b, e->loc, slot)
                                                       : graph_read(b->g, e->loc, slot), e->loc);
            return true;
        }
    return false;
}

static Value name_value(Build *b, const Expr *e)
{
    Name *n = scope_find(b->scope, e->name);
    const Decl *d;
    const char *near;
    Value v;

    if (n)
        return usable(b, e, &n->value);
    if (!strcmp(e->name, "true") || !strcmp(e->name, "false"))
        return value_truth(e->name[0] == 't');
    if (!strcmp(e->name, "all"))
        return (Value){ .kind = VAL_ALL };
    if (!strcmp(e->name, "pi"))
        return value_float(3.14159265358979323846);
    if (!strcmp(e->name, "inf"))
        return value_float(INFINITY);
    if (!strcmp(e->name, "training"))
        return value_node(b, build_make(b, OP_training, e->loc, 0, NULL, 0, NULL, &(Type){ .dtype = DT_bool }), e->loc);
    if (!strcmp(e->name, "step") || !strcmp(e->name, "steps") || !strcmp(e->name, "epoch"))
        return build_scalar(b, e->loc, e->name, 0);
    d = find_decl(b->md, e->name);
    if (d && d->kind == DECL_CONST)
        return constant(b, d);
    if (d && (d->kind == DECL_FN || d->kind == DECL_MODEL)) {
        bool all_default = true;

        for (int i = 0; i < d->nparam; i++)
            all_default &= d->param[i].init != NULL;
        if (all_default)
            return build_call(b, e);
        return build_error(b, e->loc, "`%s` is a function: call it as `%s(...)`", e->name, e->name);
    }
    if (strchr(e->name, '.') && declared_value(b, e, &v))
        return v;
    if (b->scope->unsure)
        return (Value){ 0 };
    near = near_name(b, e->name);
    return near ? build_error(b, e->loc, "unknown name `%s`; did you mean `%s`?", e->name, near)
                : build_error(b, e->loc, "unknown name `%s`", e->name);
}

static Value next_value(Build *b, const Expr *e)
{
    Name *n = scope_find(b->scope, e->name);

    if (n ? !n->value.kind : b->scope->unsure)
        return (Value){ 0 };
    if (!n || (n->slot < 0 && !build_is_carry(b, e->name)))
        return build_error(b, e->loc, "`%s'` is the next value of a parameter or state, and `%s` is none", e->name, e->name);
    if (!n->has_next)
        return build_error(b, e->loc, "`%s'` is used before it is given", e->name);
    return usable(b, e, &n->next);
}

/* ---- all ---- */

static Value number(Build *b, const Expr *e)
{
    (void)b;
    return e->is_int ? value_int(e->integer) : value_float(e->number);
}

static Value any_value(Build *b, const Expr *e)
{
    switch (e->kind) {
    case EXPR_NUMBER: return number(b, e);
    case EXPR_STRING: return (Value){ .kind = VAL_TEXT, .text = e->name };
    case EXPR_NAME:   return name_value(b, e);
    case EXPR_NEXT:   return next_value(b, e);
    case EXPR_CALL:   return build_call(b, e);
    case EXPR_UNARY:  return unary(b, e);
    case EXPR_BINARY: return binary(b, e);
    case EXPR_LIST:   return (Value){ .kind = VAL_LIST, .list = e };
    }
    return (Value){ 0 };
}

Value build_value(Build *b, const Expr *e)
{
    Value v;

    /* one nesting over all calls: each may be harmless, and all together deeper than the stack */
    if (b->nesting >= NESTING)
        return build_error(b, e->loc, "calls and expressions are nested more than %d deep", NESTING);
    b->nesting++;
    v = any_value(b, e);
    b->nesting--;
    if (!v.loc.line && e->kind != EXPR_NAME && e->kind != EXPR_NEXT)
        v.loc = e->loc;
    return v;
}

bool build_fixed(Build *b, Loc at, const char *what, const Value *v)
{
    if (v->of_batch)
        build_error(b, at, "%s can't depend on %s, whose size is the caller's choice", what, b->m->dim_name);
    return !v->of_batch;
}

bool build_int(Build *b, const Expr *e, const char *what, int64_t *out)
{
    Value v = build_value(b, e);

    if (!v.kind || !build_fixed(b, e->loc, what, &v))
        return false;
    if (v.kind == VAL_NUMBER && v.is_int) {
        *out = v.integer;
        return true;
    }
    build_error(b, e->loc, "%s wants a whole number, got %s", what, build_describe(b, &v));
    return false;
}

/* What fits the probe has to fit every batch, and only its multiples do. */
bool size_of(Build *b, Loc at, const char *what, const Value *v, int64_t *out)
{
    if (v->kind != VAL_NUMBER || (!v->is_int && !v->of_batch)) {
        if (v->kind)
            build_error(b, at, "%s is a whole number, got %s", what, build_describe(b, v));
        return false;
    }
    if (v->of_batch && (!v->is_int || v->integer % b->m->dim_probe)) {
        build_error(b, at, "%s that depends on %s is %s or a multiple of it", what, b->m->dim_name, b->m->dim_name);
        return false;
    }
    *out = v->integer;
    return true;
}

bool build_size(Build *b, const Expr *e, const char *what, int64_t *out)
{
    Value v = build_value(b, e);

    return size_of(b, e->loc, what, &v, out);
}

bool build_truth(Build *b, const Expr *e, bool *out)
{
    Value v;

    if (e->kind == EXPR_NAME && !strcmp(e->name, "training") && !scope_find(b->scope, "training")) {
        *out = b->training;
        return true;
    }
    if (e->kind == EXPR_UNARY && !strcmp(e->name, "not") && build_truth(b, e->arg[0], out)) {
        *out = !*out;
        return true;
    }
    v = build_value(b, e);
    if (v.kind == VAL_NUMBER && v.is_truth) {
        *out = v.integer != 0;
        return build_fixed(b, e->loc, "a condition", &v);
    }
    if (v.kind == VAL_NODE)
        build_error(b, e->loc, "`if` chooses before anything runs, and this is known only then; select(c, a, b) chooses values");
    else if (v.kind)
        build_error(b, e->loc, "a condition is wanted, got %s", build_describe(b, &v));
    return false;
}
