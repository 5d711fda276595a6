/* build_update.c - what becomes of the gradients: functions of all of them, then the optimizer of each parameter. */
#include "frontend/build.h"

#include <string.h>

/* ---- the optimizer ---- */

/* Two optimizers may give their lr different values: then the later one's has its name as well. */
static Value input_of(Build *b, const Optimizer *o, const Param *p, double value)
{
    int slot = module_slot(b->m, p->name);
    bool taken = slot >= 0 && b->m->slot[slot].kind == SLOT_scalar && b->m->slot[slot].value != value;
    const char *apart = o->label ? o->label : taken ? o->fn->name : NULL;

    return build_scalar(b, o->call->loc, apart ? arena_printf(&b->md->mem, "%s.%s", apart, p->name) : p->name, value);
}

/* One parameter's new value: the optimizer's body with w and g. */
static bool update_param(Build *b, const Optimizer *o, int param, const Value *grad)
{
    const Decl *d = o->fn;
    const Expr *call = o->call;
    Value *arg = arena_array(&b->md->mem, Value, d->nparam + 1);
    const char *prefix = arena_printf(&b->md->mem, "%s.", b->m->slot[param].name);
    Scope *outer = b->scope, own = { .prefix = prefix, .is_optimizer = true };
    Frame frame = { d, call->loc, b->frame };
    bool ok = true;

    memcpy(arg, o->setting, (size_t)d->nparam * sizeof *arg);
    arg[0] = value_node(b, graph_read(b->g, call->loc, param), call->loc);
    arg[1] = *grad;
    b->scope = &own;
    for (int i = 0; i < d->nparam && ok; i++) {
        const Param *p = &d->param[i];
        Value v = arg[i];

        if (!v.kind && p->init)
            v = build_value(b, p->init);
        if (p->input && v.kind == VAL_NUMBER && !v.is_truth)
            v = input_of(b, o, p, v.number);
        ok = v.kind && bind_argument(b, d, p, &v, call->loc);
    }
    Name *w = scope_find(&own, d->param[0].name);

    if (w)
        w->slot = param;
    b->frame = &frame;
    ok = ok && build_body(b, d->body);
    b->frame = frame.up;
    b->scope = outer;
    w = scope_find(&own, d->param[0].name);
    if (ok && !w->has_next) {
        build_error(b, call->loc, "%s never gives `%s'`", d->name, d->param[0].name);
        build_note_decl(b, d);
        ok = false;
    }
    return ok;
}

/* ---- functions of all gradients ---- */

static int value_count(const Ast *a) { return a->value->narg; }

/* The values of a setting such as `clip_norm: 1.0`, by the function's parameters. */
static bool gradient_settings(Build *b, const Decl *d, const Ast *a, Value *setting)
{
    if (value_count(a) > d->nparam) {
        build_error(b, a->value->arg[d->nparam]->loc, "%s takes %d value%s, this is one more", d->name, d->nparam,
                    d->nparam == 1 ? "" : "s");
        build_note_decl(b, d);
        return false;
    }
    for (int i = 0; i < d->nparam; i++) {
        const Expr *e = i < value_count(a) ? a->value->arg[i] : d->param[i].init;

        if (!e) {
            build_error(b, a->loc, "%s: `%s` is missing", d->name, d->param[i].name);
            build_note_decl(b, d);
            return false;
        }
        setting[i] = build_value(b, e);
        setting[i].loc = e->loc;
        if (!setting[i].kind)
            return false;
    }
    return true;
}

/* A scope that knows the settings and one gradient as g, and nothing else. */
static bool open_gradient(Build *b, Scope *s, const Each *each, int i)
{
    const Decl *d = each->fn;

    *s = (Scope){ .prefix = "" };
    b->scope = s;
    for (int k = 0; k < d->nparam; k++) {
        const Param *p = &d->param[k];
        Value v = each->setting[k];
        Loc at = v.loc;

        if (p->input && v.kind == VAL_NUMBER && !v.is_truth)
            v = build_scalar(b, at, p->name, v.number);
        if (!v.kind || !bind_argument(b, d, p, &v, at))
            return false;
    }
    scope_set(b, "g", each->g[i])->slot = each->slot[i];
    return true;
}

/* e of each gradient, added up. */
static Value add_each(Build *b, Each *each, const Expr *e)
{
    Scope *outer = b->scope, own;
    Value sum = { 0 };

    for (int i = 0; i < each->n; i++) {
        Value v = { 0 }, term[2];

        b->each = NULL;      /* sums of sums over all would be unfolded n^2 times */
        if (open_gradient(b, &own, each, i))
            v = build_value(b, e->arg[0]);
        b->each = each;
        b->scope = outer;
        if (v.kind == VAL_NUMBER)
            v = build_node_of(b, e->loc, &v, &(Type){ .dtype = build_float(b) });
        if (v.kind == VAL_NODE && value_type(b, &v)->rank)
            v = build_error(b, e->arg[0]->loc, "sum_each adds numbers, one of each gradient, got %s", build_describe(b, &v));
        if (!v.kind)
            return v;
        term[0] = sum;
        term[1] = v;
        sum = i ? build_point(b, e, OP_add, 2, term) : v;
    }
    return sum;
}

/* The function is unfolded for each gradient, but its sums see only what is the same for all: they are built once. */
Value build_sum_each(Build *b, const Expr *e)
{
    Each *each = b->each;
    Value sum;

    if (!each)
        return build_error(b, e->name_loc, "sum_each adds over all gradients, so it stands in a `gradients` function");
    if (e->narg != 1)
        return build_error(b, e->loc, "sum_each takes one expression in g, got %d", e->narg);
    for (int i = 0; i < each->nsum; i++)
        if (each->sum[i].e == e)
            return each->sum[i].sum;
    sum = add_each(b, each, e);
    if (sum.kind) {
        arena_push(&b->md->mem, each->sum, each->nsum, each->csum);
        each->sum[each->nsum++] = (EachSum){ e, sum };
    }
    return sum;
}

/* One gradient's next value: the function's body with it as g. */
static bool change_gradient(Build *b, const Each *each, int i, Loc at, Value *next)
{
    const Decl *d = each->fn;
    Scope *outer = b->scope, own;
    Frame frame = { d, at, b->frame };
    bool ok = open_gradient(b, &own, each, i);
    Name *g;

    b->frame = &frame;
    ok = ok && build_body(b, d->body);
    b->frame = frame.up;
    b->scope = outer;
    g = scope_find(&own, "g");
    if (ok && !g->has_next) {
        build_error(b, at, "%s never gives `g'`", d->name);
        build_note_decl(b, d);
        ok = false;
    }
    *next = g ? g->next : (Value){ 0 };
    return ok;
}

/* All gradients through one function at once: each sees all others as they came. */
static bool change_gradients(Build *b, const Decl *d, const Ast *a, const Trained *tr, Value *g)
{
    Value *setting = arena_array(&b->md->mem, Value, d->nparam + 1), *next = arena_array(&b->md->mem, Value, tr->n + 1);
    Each each = { .fn = d, .setting = setting, .g = g, .slot = tr->grad, .n = tr->n };
    bool ok = gradient_settings(b, d, a, setting);

    b->each = &each;
    for (int i = 0; i < tr->n && ok; i++)
        ok = change_gradient(b, &each, i, a->loc, &next[i]);
    b->each = NULL;
    if (ok)
        memcpy(g, next, (size_t)tr->n * sizeof *g);
    return ok;
}

/* The parameters of all losses together, but for those that have moved. */
static Trained all_trained(Build *b)
{
    Trained all = { 0 };

    for (int i = b->nmoved; i < b->nlearn; i++)
        all.n += b->learn[i].trained.n;
    all.param = arena_array(&b->md->mem, int, all.n + 1);
    all.grad = arena_array(&b->md->mem, int, all.n + 1);
    all.n = 0;
    for (int i = b->nmoved; i < b->nlearn; i++) {
        const Trained *tr = &b->learn[i].trained;

        memcpy(all.param + all.n, tr->param, (size_t)tr->n * sizeof *tr->param);
        memcpy(all.grad + all.n, tr->grad, (size_t)tr->n * sizeof *tr->grad);
        all.n += tr->n;
    }
    return all;
}

/* The new values of what one loss trains; each reads what stood before the step. */
static bool update_trained(Build *b, const Decl *t, const Learning *l, const Value *grad)
{
    Optimizer *list;
    int n;
    bool ok = build_optimizers(b, t, l, &list, &n);

    for (int i = 0; i < l->trained.n && ok; i++) {
        const Optimizer *o = optimizer_of(b, list, n, l->trained.param[i]);

        ok = o && update_param(b, o, l->trained.param[i], &grad[i]);
    }
    return ok;
}

/* The functions of all gradients, and then the new values of all that has not moved. */
static bool update_all(Build *b, const Decl *t, const Trained *all, Value *grad)
{
    Scope *scope = b->scope, own = { .prefix = "" };
    const Decl *d;
    bool ok = true;

    b->scope = &own;
    for (const Ast *a = t->body; a && ok; a = a->next)
        if (a->kind == AST_SETTING && (d = gradient_function(b->md, a->name)))
            ok = change_gradients(b, d, a, all, grad);
    b->scope = scope;
    for (int i = b->nmoved, at = 0; i < b->nlearn && ok; at += b->learn[i++].trained.n)
        ok = update_trained(b, t, &b->learn[i], grad + at);
    return ok;
}

bool build_update(Build *b, const Decl *t)
{
    Graph *g = b->g;
    Trained all = all_trained(b);
    Value *grad = arena_array(&b->md->mem, Value, all.n + 1);
    bool ok;

    b->g = b->m->update = graph_new(b->m, ENTRY_UPDATE, 0);
    for (int i = 0; i < all.n; i++)
        grad[i] = value_node(b, graph_read(b->g, t->loc, all.grad[i]), t->loc);
    ok = update_all(b, t, &all, grad);
    b->g = g;
    return ok;
}

/* ---- then ---- */

/* The names of the block go on to the new values. */
static void move_names(Build *b, Loc at)
{
    for (int i = 0; i < b->scope->n; i++) {
        Name *n = &b->scope->name[i];

        if (n->slot >= 0 && build_is_moved(b, n->slot))
            n->value = value_node(b, build_slot_now(b, at, n->slot), n->value.loc);
    }
}

/* What stands behind is computed from the new values, so they are computed here and not in the update graph: from
 * gradients that the step itself has, as grad(loss, param). */
bool build_then(Build *b, const Decl *t, const Ast *a)
{
    Trained all = all_trained(b);
    Value *grad = arena_array(&b->md->mem, Value, all.n + 1);
    bool ok = true;
    int n = 0;

    if (b->nmoved == b->nlearn) {
        build_error(b, a->loc, "`then` stands between two losses, and no loss comes before it");
        return false;
    }
    for (int i = b->nmoved; i < b->nlearn; i++)
        for (int k = 0; k < b->learn[i].trained.n; k++) {
            Ref w = graph_read(b->g, a->loc, b->learn[i].trained.param[k]);

            grad[n++] = value_node(b, graph_op2(b->g, OP_grad, b->learn[i].loc, b->learn[i].loss, w), a->loc);
        }
    b->g->nmin = 0;
    if (b->g->entry == ENTRY_TRAIN)
        ok = update_all(b, t, &all, grad);
    b->nmoved = b->nlearn;
    b->then = a->loc;
    move_names(b, a->loc);
    return ok;
}
