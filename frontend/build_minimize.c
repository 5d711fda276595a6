/* build_minimize.c - losses: which parameters each of them trains, and by which figure it is known. */
#include "frontend/build.h"

#include <string.h>

/* Does a parameter's name lie under one of the names, or is it one of them? */
static bool is_under(const char *slot, const Expr *names)
{
    for (int i = 0; names && i < names->narg; i++)
        if (name_matches(slot, names->arg[i]->name))
            return true;
    return false;
}

static bool is_frozen(const Decl *t, const char *slot)
{
    for (const Ast *a = t->body; a; a = a->next)
        if (a->kind == AST_FREEZE && is_under(slot, a->value))
            return true;
    return false;
}

bool build_is_moved(const Build *b, int slot)
{
    for (int i = 0; i < b->nmoved; i++)
        for (int k = 0; k < b->learn[i].trained.n && b->g->entry == ENTRY_TRAIN; k++)
            if (b->learn[i].trained.param[k] == slot)
                return true;
    return false;
}

/* Each of the names stands for parameters that the step has met. */
bool build_check_names(Build *b, const Expr *names)
{
    bool ok = true;

    for (int i = 0; names && i < names->narg; i++) {
        const Expr *e = names->arg[i], one = { .narg = 1, .arg = &names->arg[i] };
        const char **known = arena_array(&b->md->mem, const char *, 2 * b->m->nslot + 1), *near;
        bool found = false;
        int n = 0;

        for (int slot = 0; slot < b->m->nslot; slot++)
            if (b->m->slot[slot].kind == SLOT_param) {
                char *label = arena_strdup(&b->md->mem, b->m->slot[slot].name);

                found = found || is_under(label, &one);
                if (strrchr(label, '.'))
                    *strrchr(label, '.') = 0;
                known[n++] = label;
                known[n++] = b->m->slot[slot].name;
            }
        near = diag_near(e->name, known, n);
        if (!found)
            build_error(b, e->loc, near ? "no parameter lies under `%s`; did you mean `%s`?" : "no parameter lies under `%s`",
                        e->name, near);
        ok &= found;
    }
    return ok;
}

/* The parameters that the loss depends on, under the names in over unless that is NULL, but for the frozen ones. */
static Trained reached_params(Build *b, const Decl *train, Ref loss, const Expr *over)
{
    const bool *reached = build_flow(b, loss);
    Trained t = { .param = arena_array(&b->md->mem, int, b->m->nslot + 1),
                  .grad = arena_array(&b->md->mem, int, b->m->nslot + 1) };
    bool *used = arena_array(&b->md->mem, bool, b->m->nslot + 1);

    for (int id = 1; id < b->g->nnode; id++)
        if (reached[id] && b->g->node[id].op == OP_read)
            used[b->g->node[id].attr.v[0]] = true;
    for (int slot = 0; slot < b->m->nslot; slot++) {
        const Slot *s = &b->m->slot[slot];

        used[slot] &= s->kind == SLOT_param;
        t.reached |= used[slot];
        if (used[slot] && (!over || is_under(s->name, over)) && !is_frozen(train, s->name))
            t.param[t.n++] = slot;
    }
    return t;
}

static int grad_slot(Build *b, int param, Loc loc)
{
    const char *name = arena_printf(&b->m->mem, "%s.grad", b->m->slot[param].name);
    int slot = module_slot(b->m, name);

    return slot >= 0 ? slot : module_add_slot(b->m, name, SLOT_grad, b->m->slot[param].type, loc);
}

bool check_frozen(Build *b, const Decl *t)
{
    bool ok = true;

    for (const Ast *a = t->body; a; a = a->next)
        ok &= a->kind != AST_FREEZE || build_check_names(b, a->value);
    return ok;
}

/* The first loss is the figure "loss", another one "loss_" and what it trains. */
static const char *figure_name(Build *b, const Ast *a)
{
    char *name;

    if (!b->nlearn)
        return "loss";
    if (!a->limit) {
        build_error(b, a->loc, "another loss says which parameters it trains: minimize ... over ...");
        build_note(b, b->learn[0].loc, "the first is here");
        return NULL;
    }
    name = arena_printf(&b->m->mem, "loss_%s", a->limit->arg[0]->name);
    for (char *c = name; *c; c++)
        *c = *c == '.' ? '_' : *c;
    return name;
}

/* A parameter has one gradient. */
static bool check_disjoint(Build *b, const Ast *a, const Trained *tr)
{
    for (int i = 0; i < b->nlearn; i++)
        for (int j = 0; j < b->learn[i].trained.n; j++)
            for (int k = 0; k < tr->n; k++)
                if (b->learn[i].trained.param[j] == tr->param[k]) {
                    build_error(b, a->loc, "`%s` is trained by two losses", b->m->slot[tr->param[k]].name);
                    build_note(b, b->learn[i].loc, "the other is here");
                    return false;
                }
    return true;
}

static bool reached_some(Build *b, const Ast *a, const Trained *tr)
{
    if (tr->n)
        return true;
    build_error(b, a->value->loc, !tr->reached ? "the loss depends on no parameter"
                                  : a->limit   ? "the loss depends on no parameter under these names that is not frozen"
                                               : "every parameter that the loss depends on is frozen");
    return false;
}

bool build_minimize(Build *b, const Decl *t, const Ast *a)
{
    Value v = build_value(b, a->value);
    const char *name = v.kind ? figure_name(b, a) : NULL;
    Trained tr;

    if (!name || !build_figure(b, a->value->loc, name, &v))
        return false;
    if (!dt_is_float(value_type(b, &v)->dtype)) {
        build_error(b, a->value->loc, "a loss is a float, got %s", build_describe(b, &v));
        return false;
    }
    if (!build_check_names(b, a->limit))
        return false;
    tr = reached_params(b, t, v.ref, a->limit);
    if (!reached_some(b, a, &tr) || !check_disjoint(b, a, &tr))
        return false;
    for (int i = 0; i < tr.n; i++)
        tr.grad[i] = grad_slot(b, tr.param[i], a->loc);
    graph_minimize(b->g, a->loc, v.ref, tr.n, tr.param, tr.grad);
    arena_push(&b->md->mem, b->learn, b->nlearn, b->clearn);
    b->learn[b->nlearn++] = (Learning){ .trained = tr, .loss = v.ref, .with = a->with, .loc = a->loc,
                                        .label = a->limit ? a->limit->arg[0]->name : NULL };
    return true;
}
