/* build_data.c - which declarations belong together, and the data block: its fields. */
#include "frontend/build.h"

#include <string.h>

/* ---- finding ---- */

const Decl *train_decl(const Model *md)
{
    for (const Decl *d = md->decl; d; d = d->next)
        if (d->kind == DECL_TRAIN)
            return d;
    return NULL;
}

const Decl *model_decl(const Model *md)
{
    const Decl *t = train_decl(md);

    const Decl *first = NULL;

    for (const Decl *d = md->decl; d; d = d->next) {
        if (d->kind == DECL_MODEL && t && !strcmp(d->name, t->name))
            return d;
        if (d->kind == DECL_MODEL && !first)
            first = d;
    }
    return first;
}

static const char *near_decl(Build *b, DeclKind kind, const char *name)
{
    const char **list = NULL;
    int n = 0, cap = 0;

    for (const Decl *d = b->md->decl; d; d = d->next)
        if (d->kind == kind) {
            arena_push(&b->md->mem, list, n, cap);
            list[n++] = d->name;
        }
    return diag_near(name, list, n);
}

const Decl *wanted_decl(Build *b, DeclKind kind, const char *word, const char *name, Loc loc)
{
    const Decl *d = find_decl(b->md, name);
    const char *near;

    if (d && d->kind == kind)
        return d;
    near = near_decl(b, kind, name);
    build_error(b, loc, near ? "unknown %s `%s`; did you mean `%s`?" : "unknown %s `%s`", word, name, near);
    return NULL;
}

/* ---- data ---- */

static bool data_labels(Build *b, const Ast *a)
{
    const Expr *e = a->value->narg == 1 ? a->value->arg[0] : NULL;
    Module *m = b->m;

    for (int i = 0; e && e->kind == EXPR_LIST && i < e->narg; i++)
        if (e->arg[i]->kind != EXPR_STRING)
            e = NULL;
    if (!e || e->kind != EXPR_LIST) {
        build_error(b, a->value->loc, "labels wants a list of texts");
        return false;
    }
    m->nlabel = 0;
    for (int i = 0; i < e->narg; i++) {
        arena_push(&m->mem, m->label, m->nlabel, m->clabel);
        m->label[m->nlabel++] = arena_strdup(&m->mem, e->arg[i]->name);
    }
    return true;
}

static bool data_setting(Build *b, const Decl *d, int first, const Ast *a)
{
    static const char *const names[] = { "train", "test", "valid", "labels" };
    const char *near;

    if (a->kind == AST_ASSIGN) {
        build_error(b, a->loc, "a data block computes nothing: a setting is written `%s: ...`", a->name);
        return false;
    }
    if (a->kind != AST_SETTING) {
        build_error(b, a->loc, "a data block holds settings alone: train, test, valid and labels");
        return false;
    }
    for (int i = 0; i < NSPLIT; i++)
        if (!strcmp(a->name, split_name[i]))
            return build_source(b, d, first, a, i);
    if (!strcmp(a->name, "labels"))
        return data_labels(b, a);
    near = diag_near(a->name, names, 4);
    build_error(b, a->loc, near ? "unknown setting `%s` of a data block; did you mean `%s`?"
                                : "unknown setting `%s` of a data block: train, test, valid and labels are known", a->name, near);
    return false;
}

static bool set_once(Build *b, const Decl *d, const Ast *a)
{
    for (const Ast *c = d->body; c != a; c = c->next)
        if (c->kind == AST_SETTING && a->kind == AST_SETTING && !strcmp(a->name, c->name)) {
            build_error(b, a->loc, "`%s` is set twice", a->name);
            build_note(b, c->loc, "first here");
            return false;
        }
    return true;
}

static bool data_field(Build *b, const Param *p)
{
    Type t;

    if (!build_type(b, &p->type, &t))
        return false;
    if (t.rank >= MAX_RANK) {
        build_error(b, p->type.loc, "a field has at most %d axes of its own", MAX_RANK - 1);
        return false;
    }
    if (module_slot(b->m, p->name) >= 0) {
        build_error(b, p->loc, "`%s` is declared twice", p->name);
        return false;
    }
    module_add_slot(b->m, p->name, SLOT_field, t, p->loc);
    return true;
}

/* The fields as slots, once a module; after a mistake in a field the files are looked at but not kept. */
static bool data_slots(Build *b, const Decl *d)
{
    Scope *outer = b->scope, own = { .prefix = "" };
    int first = b->m->nslot;
    bool ok = true;

    if (d->nparam && module_slot(b->m, d->param[0].name) >= 0)
        return true;
    b->scope = &own;
    for (int i = 0; i < d->nparam; i++)
        ok &= data_field(b, &d->param[i]);
    if (ok && !d->nparam) {
        build_error(b, d->loc, "data block `%s` has no fields", d->name);
        ok = false;
    }
    if (!ok)
        first = -1;
    for (const Ast *a = d->body; a; a = a->next)
        ok &= set_once(b, d, a) && data_setting(b, d, first, a);
    b->scope = outer;
    return ok;
}

bool read_fields(Build *b, const Decl *d)
{
    if (!data_slots(b, d))
        return false;
    for (int i = 0; i < d->nparam; i++) {
        const Param *p = &d->param[i];
        int          slot = module_slot(b->m, p->name);

        if (slot < 0)
            return false;             /* its mistake was reported with the first entry */
        scope_set(b, p->name, value_node(b, graph_read(b->g, p->loc, slot), p->loc));
    }
    return true;
}
