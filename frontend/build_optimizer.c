/* build_optimizer.c - which optimizer a parameter has: that of its loss, or the first of the train block's that is on it. */
#include "frontend/build.h"

#include <string.h>

static int setting_place(const Decl *d, const Expr *call, int arg)
{
    for (int i = 2; i < d->nparam; i++)
        if (call->argname[arg] ? !strcmp(call->argname[arg], d->param[i].name) : i == arg + 2)
            return i;
    return -1;
}

static Value unknown_setting(Build *b, const Decl *d, const Expr *call, int arg)
{
    const char **names = arena_array(&b->md->mem, const char *, d->nparam + 1), *name = call->argname[arg], *near;

    for (int i = 2; i < d->nparam; i++)
        names[i - 2] = d->param[i].name;
    if (!name) {
        build_error(b, call->arg[arg]->loc, "%s has %d setting%s, this is one more", d->name, d->nparam - 2,
                    d->nparam == 3 ? "" : "s");
    } else {
        near = diag_near(name, names, d->nparam - 2);
        build_error(b, call->argname_loc[arg], near ? "%s has no setting `%s`; did you mean `%s`?" : "%s has no setting `%s`",
                    d->name, name, near);
    }
    build_note_decl(b, d);
    return (Value){ 0 };
}

/* The settings of the optimizer's call, by parameter; w and g come from the step. */
static bool optimizer_settings(Build *b, const Decl *d, const Expr *call, Value *setting)
{
    Scope own = { .prefix = "" }, *outer = b->scope;
    bool ok = true;

    for (int i = 0; i < call->narg; i++) {
        int at = setting_place(d, call, i);
        Value v = at < 0 ? unknown_setting(b, d, call, i) : build_value(b, call->arg[i]);

        if (v.kind && setting[at].kind)
            v = build_error(b, call->arg[i]->loc, "%s: `%s` is given twice", d->name, d->param[at].name);
        b->scope = &own;
        ok &= v.kind && bind_argument(b, d, &d->param[at], &v, call->arg[i]->loc);
        b->scope = outer;
        if (at >= 0)
            setting[at] = v;
    }
    for (int i = 2; i < d->nparam && ok; i++)
        if (!setting[i].kind && !d->param[i].init) {
            build_error(b, call->loc, "%s: `%s` is missing", d->name, d->param[i].name);
            build_note_decl(b, d);
            ok = false;
        }
    return ok;
}

static bool read_optimizer(Build *b, const Expr *e, Optimizer *o)
{
    if (e->kind != EXPR_CALL && e->kind != EXPR_NAME) {
        build_error(b, e->loc, "optimizer wants a call such as sgd(lr: 0.1)");
        return false;
    }
    if (!(o->fn = wanted_decl(b, DECL_OPTIMIZER, "optimizer", e->name, e->name_loc)))
        return false;
    if (o->fn->nparam < 2) {
        build_error(b, o->fn->loc, "an optimizer's first parameters are the weight and its gradient");
        return false;
    }
    o->call = e;
    o->setting = arena_array(&b->md->mem, Value, o->fn->nparam + 1);
    return optimizer_settings(b, o->fn, e, o->setting);
}

/* A mistake unless it was written as an equation, which is reported. */
static bool no_optimizer(Build *b, const Decl *t)
{
    const Ast *a = t->body;

    while (a && !(a->kind == AST_ASSIGN && !strcmp(a->name, "optimizer")))
        a = a->next;
    if (!a)
        build_error(b, t->loc, "a loss is minimized, but no `optimizer:` is set");
    return false;
}

bool build_optimizers(Build *b, const Decl *t, const Learning *l, Optimizer **list, int *n)
{
    const Ast *a = find_setting(t, "optimizer");
    bool ok = true;

    *n = l && l->with ? 1 : a ? a->value->narg : 0;
    *list = arena_array(&b->md->mem, Optimizer, *n + 1);
    if (!*n)
        return no_optimizer(b, t);
    if (l && l->with) {
        (*list)->label = l->label;
        return read_optimizer(b, l->with, *list);
    }
    for (int i = 0; i < *n; i++) {
        (*list)[i].on = a->limit && a->limit->arg[i]->narg ? a->limit->arg[i] : NULL;
        ok &= read_optimizer(b, a->value->arg[i], &(*list)[i]);
    }
    return ok;
}

bool name_matches(const char *slot, const char *pattern)
{
    size_t n = strlen(pattern), length = strlen(slot);

    if (*pattern != '*')
        return !strncmp(slot, pattern, n) && (!slot[n] || slot[n] == '.');
    return n == 1 || (length >= n && !strcmp(slot + length - (n - 1), pattern + 1));
}

const Optimizer *optimizer_of(Build *b, const Optimizer *list, int n, int param)
{
    const char *name = b->m->slot[param].name;

    for (int i = 0; i < n; i++) {
        const Expr *on = list[i].on;

        for (int k = 0; on && k < on->narg; k++)
            if (name_matches(name, on->arg[k]->name))
                return &list[i];
        if (!on)
            return &list[i];
    }
    build_error(b, list[n - 1].call->loc, "no optimizer is on `%s`: the last one may go without `on`", name);
    return NULL;
}
