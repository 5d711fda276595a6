/* build_call.c - calls: arguments meet parameters, and the body is unfolded in a scope of its own.
 *
 * A call of a function that owns parameters is an instance with a name: its label, or its function's name and a
 * number.  Among arguments a label looks like a name of an argument; a name that no parameter has is a label.
 */
#include "frontend/build.h"

#include <string.h>

enum { CALL_DEPTH = 64 };

/* ---- types ---- */

static bool run_into(const Value *run, int64_t *dim, int *rank)
{
    if (*rank + run->nrun > MAX_RANK)
        return false;
    for (int i = 0; i < run->nrun; i++)
        dim[(*rank)++] = run->run[i];
    return true;
}

static bool type_dtype(Build *b, const TypeExpr *t, Dtype *d)
{
    static const char *const names[] = { "f32", "f64", "i32", "i64", "u8", "bool" };
    const char *near;

    if (dt_parse(t->name, d)) {
        if (*d == DT_f32)
            *d = build_float(b);
        return true;
    }
    near = diag_near(t->name, names, 6);
    Loc at = t->loc;

    at.len = (uint16_t)strlen(t->name);
    build_error(b, at, near ? "unknown type `%s`; did you mean `%s`?" : "unknown type `%s`", t->name, near);
    return false;
}

bool build_type(Build *b, const TypeExpr *t, Type *out)
{
    *out = (Type){ 0 };
    if (!type_dtype(b, t, &out->dtype))
        return false;
    for (int i = 0; i < t->ndim; i++) {
        Name *n = t->run[i] ? scope_find(b->scope, t->dim[i]->name) : NULL;

        if (t->run[i] && (!n || n->value.kind != VAL_RUN || !run_into(&n->value, out->dim, &out->rank))) {
            build_error(b, t->dim[i]->loc, "`%s...` is no run of axes known here", t->dim[i]->name);
            return false;
        }
        if (t->run[i])
            continue;
        if (out->rank >= MAX_RANK || !build_size(b, t->dim[i], "a size", &out->dim[out->rank])) {
            if (out->rank >= MAX_RANK)
                build_error(b, t->loc, "more than %d axes", MAX_RANK);
            return false;
        }
        out->rank++;
    }
    for (int i = 0; i < out->rank; i++)
        if (out->dim[i] < 1) {
            build_error(b, t->loc, "%s: an axis has at least size 1", ty_str_in(b->m, out));
            return false;
        }
    if (!ty_valid(out)) {
        build_error(b, t->loc, "%s is larger than any memory", ty_str_in(b->m, out));
        return false;
    }
    return true;
}

static int run_place(const TypeExpr *t)
{
    for (int i = 0; i < t->ndim; i++)
        if (t->run[i])
            return i;
    return -1;
}

static bool unfit(Build *b, const TypeExpr *t, const Value *v, Loc at, const char *who, const char *detail)
{
    char *s = arena_strdup(&b->md->mem, t->name);

    for (int i = 0; i < t->ndim; i++) {
        const Expr *e = t->dim[i];
        const char *dim = t->run[i] ? arena_printf(&b->md->mem, "%s...", e->name) : e->kind == EXPR_NAME || e->kind == EXPR_NUMBER
                          ? e->name : "..";

        s = arena_printf(&b->md->mem, "%s%s%s", s, i ? ", " : "[", dim);
    }
    build_error(b, at, "%s wants %s%s, got %s%s", who, s, t->ndim ? "]" : "", build_describe(b, v), detail);
    build_note(b, t->loc, "declared here");
    return false;
}

/* One dim against one size: a new name is bound, everything else must agree. */
static bool bind_dim(Build *b, const Expr *e, int64_t size, const char **detail)
{
    int64_t want;
    Name *n = e->kind == EXPR_NAME ? scope_find(b->scope, e->name) : NULL;
    const Decl *d = e->kind == EXPR_NAME ? find_decl(b->md, e->name) : NULL;

    if (e->kind == EXPR_NAME && !n && !(d && d->kind == DECL_CONST)) {
        scope_set(b, e->name, value_size(b, size))->value.loc = e->loc;
        return true;
    }
    if (!build_size(b, e, "a size", &want))
        return false;
    if (want == size)
        return true;
    Value w = value_int(want), s = value_int(size);

    *detail = !strcmp(e->name, build_describe(b, &w))
                  ? arena_printf(&b->md->mem, ": %s is not %s", build_describe(b, &s), e->name)
                  : arena_printf(&b->md->mem, ": %s is %s here, not %s", e->kind == EXPR_NAME ? e->name : "the size",
                                 build_describe(b, &w), build_describe(b, &s));
    return false;
}

static const char *run_text(Build *b, const Value *run)
{
    const char *s = "[";

    for (int i = 0; run->kind == VAL_RUN && i < run->nrun; i++) {
        Value v = value_int(run->run[i]);

        s = arena_printf(&b->md->mem, "%s%s%s", s, i ? ", " : "", build_describe(b, &v));
    }
    return arena_printf(&b->md->mem, "%s]", s);
}

static bool bind_run(Build *b, const char *name, const int64_t *dim, int n, const char **detail)
{
    Name *known = scope_find(b->scope, name);
    Value run = { .kind = VAL_RUN, .nrun = n };

    memcpy(run.run, dim, (size_t)n * sizeof *dim);
    if (!known) {
        scope_set(b, name, run);
        return true;
    }
    if (known->value.kind == VAL_RUN && known->value.nrun == n && !memcmp(known->value.run, dim, (size_t)n * sizeof *dim))
        return true;
    *detail = arena_printf(&b->md->mem, ": %s... is %s here", name, run_text(b, &known->value));
    return false;
}

static bool bind_dims(Build *b, const TypeExpr *t, const Type *have, const char **detail)
{
    int run = run_place(t), nrun = run < 0 ? 0 : have->rank - (t->ndim - 1);

    if (run < 0 ? have->rank != t->ndim : nrun < 0)
        return false;
    for (int i = 0, axis = 0; i < t->ndim; i++) {
        if (i == run) {
            if (!bind_run(b, t->dim[i]->name, have->dim + axis, nrun, detail))
                return false;
            axis += nrun;
        } else if (!bind_dim(b, t->dim[i], have->dim[axis++], detail)) {
            return false;
        }
    }
    return true;
}

bool bind_type(Build *b, const TypeExpr *t, const Value *v, Loc at, const char *who)
{
    const char *detail = "";
    Dtype d;

    if (v->kind != VAL_NODE)
        return unfit(b, t, v, at, who, detail);
    if (!strcmp(t->name, "int") && t->has_dims) {
        if (!dt_is_int(value_type(b, v)->dtype))
            return unfit(b, t, v, at, who, detail);
    } else if (!type_dtype(b, t, &d)) {
        return false;
    } else if (value_type(b, v)->dtype != d) {
        return unfit(b, t, v, at, who, detail);
    }
    if (bind_dims(b, t, value_type(b, v), &detail))
        return true;
    return unfit(b, t, v, at, who, detail);
}

/* ---- arguments ---- */

/* Settings: int, float, bool, text; `axis`: a whole number, a list of them, or `all`; `pair`: a whole number for both, or
 * a list of two.  `tensor` takes any node. */
static bool is_setting(const TypeExpr *t)
{
    return !t->has_dims && (!strcmp(t->name, "int") || !strcmp(t->name, "float") || !strcmp(t->name, "bool")
                            || !strcmp(t->name, "text") || !strcmp(t->name, "axis") || !strcmp(t->name, "pair"));
}

/* A list becomes its numbers where it is written: names in it are the caller's. */
static bool read_list(Build *b, const Decl *d, const Param *p, Value *v)
{
    if (v->kind != VAL_LIST || !is_setting(&p->type) || (strcmp(p->type.name, "axis") != 0 && strcmp(p->type.name, "pair") != 0))
        return true;
    return build_run(b, v->list, arena_printf(&b->md->mem, "%s: `%s`", d->name, p->name), v);
}

static bool setting_fits(const TypeExpr *t, const Value *v)
{
    bool number = v->kind == VAL_NUMBER && !v->is_truth;

    if (!strcmp(t->name, "int"))
        return number && v->is_int;
    if (!strcmp(t->name, "float"))
        return number || v->step_scalar;
    if (!strcmp(t->name, "bool"))
        return v->kind == VAL_NUMBER && v->is_truth;
    if (!strcmp(t->name, "axis"))
        return (number && v->is_int) || v->kind == VAL_ALL || v->kind == VAL_RUN;
    if (!strcmp(t->name, "pair"))
        return (number && v->is_int && !v->of_batch) || (v->kind == VAL_RUN && v->nrun == 2);
    return v->kind == VAL_TEXT;
}

bool bind_argument(Build *b, const Decl *d, const Param *p, Value *v, Loc at)
{
    const char *who = arena_printf(&b->md->mem, "%s: `%s`", d->name, p->name);

    if (is_setting(&p->type)) {
        bool pair = !strcmp(p->type.name, "pair");

        if (!setting_fits(&p->type, v)) {
            build_error(b, at, "%s wants %s%s, got %s", who, strchr("aio", p->type.name[0]) ? "an " : "a ",
                        pair ? "whole number or a list of two" : p->type.name, build_describe(b, v));
            return false;
        }
        if (pair && v->kind == VAL_NUMBER)
            *v = (Value){ .kind = VAL_RUN, .nrun = 2, .run = { v->integer, v->integer }, .loc = v->loc };
    } else if (!strcmp(p->type.name, "tensor")) {
        if (v->kind == VAL_NUMBER)
            *v = build_node_of(b, at, v, &(Type){ .dtype = v->is_truth ? DT_bool : build_float(b) });
        if (v->kind != VAL_NODE) {
            build_error(b, at, "%s wants a tensor, got %s", who, build_describe(b, v));
            return false;
        }
    } else {
        if (v->kind == VAL_NUMBER && !v->is_truth && !p->type.has_dims)
            *v = build_node_of(b, at, v, &(Type){ .dtype = build_float(b) });
        if (!bind_type(b, &p->type, v, at, who))
            return false;
    }
    scope_set(b, p->name, *v)->value.loc = at.line ? at : v->loc;
    return true;
}

static int param_index(const Decl *d, const char *name)
{
    for (int i = 0; i < d->nparam; i++)
        if (!strcmp(d->param[i].name, name))
            return i;
    return -1;
}

/* Which parameter each argument goes to; a name that is no parameter's labels a call. */
static bool match_arguments(Build *b, const Decl *d, const Expr *call, const Expr **given)
{
    int next = 0;

    for (int i = 0; i < call->narg; i++) {
        const char *name = call->argname ? call->argname[i] : NULL;
        int at = name ? param_index(d, name) : -1;

        if (name && at < 0 && call->arg[i]->kind == EXPR_CALL && !call->arg[i]->label) {
            call->arg[i]->label = name;
            name = call->argname[i] = NULL;
        }
        if (name && at < 0) {
            const char **names = arena_array(&b->md->mem, const char *, d->nparam + 1), *near;

            for (int j = 0; j < d->nparam; j++)
                names[j] = d->param[j].name;
            near = diag_near(name, names, d->nparam);
            build_error(b, call->argname_loc[i], near ? "%s has no parameter `%s`; did you mean `%s`?"
                                                      : "%s has no parameter `%s`", d->name, name, near);
            build_note_decl(b, d);
            return false;
        }
        if (!name)
            at = next++;
        if (at >= d->nparam || given[at]) {
            if (at >= d->nparam)
                build_error(b, call->arg[i]->loc, "%s takes %d argument%s, this is one more", d->name, d->nparam,
                            d->nparam == 1 ? "" : "s");
            else
                build_error(b, call->arg[i]->loc, "%s: `%s` is given twice", d->name, d->param[at].name);
            build_note_decl(b, d);
            return false;
        }
        given[at] = call->arg[i];
    }
    return true;
}

/* ---- instances ---- */

static bool expr_owns(const Model *md, const Expr *e)
{
    const Decl *d = e && e->kind == EXPR_CALL ? find_decl(md, e->name) : NULL;

    if (d && d->owns)
        return true;
    for (int i = 0; e && i < e->narg; i++)
        if (expr_owns(md, e->arg[i]))
            return true;
    return false;
}

static bool body_owns(const Model *md, const Ast *a)
{
    for (; a; a = a->next)
        if (a->kind == AST_PARAM || a->kind == AST_STATE || expr_owns(md, a->value) || body_owns(md, a->body)
            || body_owns(md, a->other))
            return true;
    return false;
}

void find_owners(Model *md)
{
    for (bool more = true; more;) {
        more = false;
        for (Decl *d = md->decl; d; d = d->next)
            if (!d->owns && (d->kind == DECL_FN || d->kind == DECL_MODEL) && body_owns(md, d->body))
                more = d->owns = true;
    }
}

static int count_layer(Build *b, const char *name)
{
    Scope *s = b->scope;
    int again = s->ccounted;

    for (int i = 0; i < s->ncounted; i++)
        if (!strcmp(s->counted[i], name))
            return ++s->count[i];
    arena_push(&b->md->mem, s->counted, s->ncounted, s->ccounted);
    if (again != s->ccounted)
        s->count = arena_grow(&b->md->mem, s->count, s->ncounted, &again, sizeof *s->count);
    s->counted[s->ncounted] = name;
    s->count[s->ncounted++] = 1;
    return 1;
}

/* A label names one instance: with the same function it is used again, with its parameters. */
static bool use_label(Build *b, const Expr *e, const char *label, const Decl *d, bool *again)
{
    Scope *s = b->scope;

    for (int i = 0; i < s->nlabel; i++)
        if (!strcmp(s->label[i].name, label)) {
            *again = s->label[i].fn == d;
            if (*again)
                return true;
            build_error(b, e->loc, "label `%s` is of another function: %s, not %s", label, s->label[i].fn->name, d->name);
            build_note(b, s->label[i].loc, "first here");
            return false;
        }
    arena_push(&b->md->mem, s->label, s->nlabel, s->clabel);
    s->label[s->nlabel++] = (struct Label){ label, e->loc, d };
    return true;
}

/* "fc1." for the parameters of this call; NULL after a mistake. */
static const char *instance_prefix(Build *b, const Decl *d, const Expr *e, bool *again)
{
    Arena *mem = &b->md->mem;
    const char *label = e->label;
    int64_t index;

    if (!d->owns) {
        if (label)
            build_error(b, e->loc, "`%s` owns no parameters, so a label has nothing to name", d->name);
        return label ? NULL : b->scope->prefix;
    }
    if (d->kind == DECL_MODEL && !label)
        return use_label(b, e, "", d, again) ? b->scope->prefix : NULL;
    if (e->label_index) {
        if (!build_int(b, e->label_index, "a label's index", &index))
            return NULL;
        if (index < 0) {
            build_error(b, e->label_index->loc, "a label's index is at least 0, got %lld", (long long)index);
            return NULL;
        }
        label = arena_printf(mem, "%s.%lld", label, (long long)index);
    }
    if (!label)
        label = arena_printf(mem, "%s%d", d->name, count_layer(b, d->name));
    if (!use_label(b, e, label, d, again))
        return NULL;
    return arena_printf(mem, "%s%s.", b->scope->prefix, label);
}

static Value default_value(Build *b, const Param *p)
{
    return build_value(b, p->init);
}

/* An `input float` given as a number becomes a scalar that may change between steps. */
static Value input_scalar(Build *b, const Param *p, const Value *v, Loc at)
{
    return p->input && v->kind == VAL_NUMBER ? build_scalar(b, at, p->name, v->number) : *v;
}

static bool fill_scope(Build *b, const Decl *d, const Expr *call, const Value *arg, const Loc *place)
{
    bool ok = true;

    b->scope->unsure = true;      /* a size that an argument did not bind is no new mistake */
    for (int i = 0; i < d->nparam; i++) {
        const Param *p = &d->param[i];
        Value v = arg[i];

        if (!v.kind && !p->init) {
            build_error(b, call->name_loc, "%s: `%s` is missing", d->name, p->name);
            build_note_decl(b, d);
            return false;
        }
        if (!v.kind)
            v = default_value(b, p);
        if (v.kind && !read_list(b, d, p, &v))
            return false;
        if (v.kind)
            v = input_scalar(b, p, &v, place[i].line ? place[i] : call->loc);
        ok &= v.kind && bind_argument(b, d, p, &v, place[i].line ? place[i] : call->loc);
    }
    return ok;
}

static Value check_result(Build *b, const Decl *d, Value v, Loc at)
{
    Type want;

    if (!b->scope->returned)
        return d->kind == DECL_OPTIMIZER ? value_truth(true) : build_error(b, d->loc, "`%s` has no `return`", d->name);
    if (!d->result.name || !strcmp(d->result.name, "tensor") || !v.kind)
        return v;
    if (!build_type(b, &d->result, &want))
        return (Value){ 0 };
    if (v.kind == VAL_NUMBER || v.step_scalar)
        v = build_node_of(b, at, &v, &want);
    if (v.kind == VAL_NODE && ty_equal(value_type(b, &v), &want))
        return v;
    if (v.kind) {
        build_error(b, v.loc, "`%s` returns %s, but says %s", d->name, build_describe(b, &v), ty_str_in(b->m, &want));
        build_note(b, d->result.loc, "declared here");
    }
    return (Value){ 0 };
}

Value build_instance(Build *b, const Decl *d, const Expr *call, const Value *arg, Loc at, const char *prefix, bool again)
{
    Scope *outer = b->scope, own = { .prefix = prefix, .is_optimizer = d->kind == DECL_OPTIMIZER, .shared = outer->shared || again };
    Frame frame = { d, at, b->frame };
    Loc *place = arena_array(&b->md->mem, Loc, d->nparam + 1);
    Value v = { 0 };

    for (const Frame *f = b->frame; f; f = f->up)
        if (f->fn == d)
            return build_error(b, at, "`%s` calls itself, and calls are unfolded before anything runs", d->name);
    if (!build_unfold(b, at))
        return v;
    if (b->depth >= CALL_DEPTH)
        return build_error(b, at, "calls are nested more than %d deep", CALL_DEPTH);
    for (int i = 0; i < d->nparam; i++)
        place[i] = arg[i].kind ? arg[i].loc : at;
    b->depth++;
    b->scope = &own;
    /* arguments are the caller's business, the body is the function's */
    if (fill_scope(b, d, call, arg, place)) {
        b->frame = &frame;
        own.unsure = false;
        if (build_body(b, d->body))
            v = check_result(b, d, own.result, at);
        b->frame = frame.up;
    }
    b->scope = outer;
    b->depth--;
    v.loc = at;
    return v;
}

/* The arguments' own mistakes are reported as well. */
static Value unknown_function(Build *b, const Expr *e)
{
    const char *near = near_callable(b, e->name);

    build_error(b, e->name_loc, near ? "unknown function `%s`; did you mean `%s`?" : "unknown function `%s`", e->name, near);
    find_labels(e);
    for (int i = 0; i < e->narg; i++)
        build_value(b, e->arg[i]);
    return (Value){ 0 };
}

Value build_call(Build *b, const Expr *e)
{
    const Decl *d = find_decl(b->md, e->name);
    const Expr **given;
    const char *prefix;
    Value *arg, v;
    bool ok = true, again = false;

    if (!d || (d->kind != DECL_FN && d->kind != DECL_MODEL)) {
        if (build_builtin(b, e, &v))
            return v;
        return d ? build_error(b, e->name_loc, "`%s` can't be called here", e->name) : unknown_function(b, e);
    }
    given = arena_array(&b->md->mem, const Expr *, d->nparam + 1);
    arg = arena_array(&b->md->mem, Value, d->nparam + 1);
    if (!match_arguments(b, d, e, given) || !(prefix = instance_prefix(b, d, e, &again)))
        return (Value){ 0 };
    for (int i = 0; i < d->nparam; i++)
        if (given[i]) {
            arg[i] = build_value(b, given[i]);
            ok &= arg[i].kind != VAL_NONE && read_list(b, d, &d->param[i], &arg[i]);
            arg[i].loc = given[i]->loc;
        }
    return ok ? build_instance(b, d, e, arg, e->loc, prefix, again) : (Value){ 0 };
}
