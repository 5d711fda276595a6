/* build_train.c - entries: the step of the train block, and the model alone. */
#include "frontend/build.h"

#include <string.h>

/* ---- figures ---- */

bool build_figure(Build *b, Loc loc, const char *name, const Value *v)
{
    Type t = ty_scalar(build_float(b));
    int slot = module_slot(b->m, name);
    Ref r;

    if (v->kind != VAL_NODE || v->step_scalar || value_type(b, v)->rank) {
        build_error(b, loc, "%s is one number a batch, got %s", name, build_describe(b, v));
        return false;
    }
    r = graph_cast(b->g, loc, v->ref, t.dtype);
    if (slot >= 0 && b->m->slot[slot].kind != SLOT_metric) {
        build_error(b, loc, "metric `%s` has the name of something else", name);
        return false;
    }
    if (slot < 0)
        slot = module_add_slot(b->m, name, SLOT_metric, t, loc);
    for (int i = 0; i < b->g->nwrite; i++)
        if (b->g->write[i].slot == slot) {
            build_error(b, loc, "metric `%s` is given twice", name);
            return false;
        }
    graph_write(b->g, loc, slot, r);
    return true;
}

/* Its value has a mistake, but its name is known to `expect`. */
static bool poison_figure(Build *b, const char *name)
{
    if (module_slot(b->m, name) < 0)
        module_add_slot(b->m, name, SLOT_metric, ty_scalar(build_float(b)), (Loc){ 0 });
    return false;
}

/* ---- entries ---- */

static bool train_statement(Build *b, const Decl *t, const Ast *a)
{
    Value v;

    if (a->kind == AST_SETTING || a->kind == AST_FREEZE)      /* freeze is looked for by minimize */
        return true;
    if (a->kind == AST_MINIMIZE)
        return build_minimize(b, t, a);
    if (a->kind == AST_THEN)
        return build_then(b, t, a);
    if (a->kind == AST_METRIC) {
        v = build_value(b, a->value);
        return v.kind ? build_figure(b, a->loc, a->name, &v) : poison_figure(b, a->name);
    }
    if (a->kind == AST_RETURN) {
        build_error(b, a->loc, "a train block returns nothing");
        return false;
    }
    if (a->kind == AST_ASSIGN && is_train_setting(a->name)) {
        build_error(b, a->loc, "`%s` is a setting, written `%s: ...`", a->name, a->name);
        return false;
    }
    Ast one = *a;

    one.next = NULL;
    return build_body(b, &one);
}

/* The loss is the first figure, wherever it stands. */
static void loss_first(Build *b)
{
    if (module_slot(b->m, "loss") < 0)
        module_add_slot(b->m, "loss", SLOT_metric, ty_scalar(build_float(b)), (Loc){ 0 });
}

static bool build_step(Build *b, const Decl *t)
{
    Scope own = { .prefix = "" };
    const Decl *data = wanted_decl(b, DECL_DATA, "data block", t->data, t->data_loc);
    bool ok = wanted_decl(b, DECL_MODEL, "model", t->name, t->loc) != NULL && data, learns = false;

    b->scope = &own;
    own.unsure = !data || !read_fields(b, data);
    ok = ok && !own.unsure;
    loss_first(b);
    for (const Ast *a = t->body; a; a = a->next) {
        ok &= train_statement(b, t, a);
        learns |= a->kind == AST_MINIMIZE;
    }
    if (!learns) {
        build_error(b, t->loc, "the train block minimizes nothing");
        ok = false;
    }
    if (ok && b->nmoved && b->nmoved == b->nlearn) {
        build_error(b, b->then, "no loss stands behind this `then`");
        ok = false;
    }
    ok = ok && check_frozen(b, t) && (b->g->entry != ENTRY_TRAIN || b->m->update || build_update(b, t));
    return build_settings(b, t) && ok;
}

/* All sizes of an input are numbers or constants, but for the batch. */
static bool input_type(Build *b, const Decl *d, const Param *p, Type *t)
{
    for (int i = 0; i < p->type.ndim; i++) {
        const Expr *e = p->type.dim[i];
        const Decl *c = e->kind == EXPR_NAME ? find_decl(b->md, e->name) : NULL;

        if (p->type.run[i] || (e->kind == EXPR_NAME && !scope_find(b->scope, e->name) && !(c && c->kind == DECL_CONST))) {
            build_error(b, e->loc, "only the batch of a model is left to its caller: `%s` is to be a number or a const", e->name);
            return false;
        }
    }
    if (!build_type(b, &p->type, t))
        return false;
    if (t->dim[0] == scope_find(b->scope, d->param[0].type.dim[0]->name)->value.integer)
        return true;
    build_error(b, p->type.loc, "every input of a model begins with the batch `%s`", d->param[0].type.dim[0]->name);
    return false;
}

/* The slot of an input or output, whose type is without the batch; -1 after a mistake. */
int build_row_slot(Build *b, Loc loc, const char *name, SlotKind kind, Type t)
{
    int slot = module_slot(b->m, name);
    int64_t first = 0;

    if (slot < 0)
        return module_add_slot(b->m, name, kind, ty_remove(t, 1, &first), loc);
    if (b->m->slot[slot].kind == kind)
        return slot;
    build_error(b, b->m->slot[slot].loc, "`%s` is the name of a model's %s, so no %s can have it", name,
                slot_kind_name[kind], slot_kind_name[b->m->slot[slot].kind]);
    return -1;
}

/* The model alone: contiguous inputs, one output. */
static bool build_infer(Build *b, const Decl *d, int64_t batch)
{
    Scope own = { .prefix = "" };
    Value *arg = arena_array(&b->md->mem, Value, d->nparam + 1), v;
    Expr call = { .kind = EXPR_CALL, .name = d->name, .loc = d->loc, .name_loc = d->loc };
    bool names_batch = d->nparam > 0;

    b->scope = &own;
    for (int i = 0; i < d->nparam && names_batch; i++)
        names_batch = d->param[i].type.ndim > 0 && !d->param[i].type.run[0] && d->param[i].type.dim[0]->kind == EXPR_NAME;
    if (!names_batch) {
        build_error(b, d->loc, "every input of a model begins with the batch: `x: f32[N, ...]`");
        return false;
    }
    scope_set(b, d->param[0].type.dim[0]->name, value_size(b, batch));
    for (int i = 0; i < d->nparam; i++) {
        const Param *p = &d->param[i];
        int slot;
        Type t;

        if (!input_type(b, d, p, &t)
            || (slot = build_row_slot(b, p->loc, arena_printf(&b->md->mem, "in.%s", p->name), SLOT_input, t)) < 0)
            return false;
        arg[i] = value_node(b, graph_read(b->g, p->loc, slot), p->loc);
    }
    v = build_instance(b, d, &call, arg, d->loc, "", false);
    if (v.kind != VAL_NODE || value_type(b, &v)->rank < 1 || value_type(b, &v)->dim[0] != batch) {
        if (v.kind)
            build_error(b, d->loc, "a model's result begins with the batch, this is %s", build_describe(b, &v));
        return false;
    }
    int slot = build_row_slot(b, d->loc, "out", SLOT_output, *value_type(b, &v));

    if (slot < 0)
        return false;
    graph_write(b->g, d->loc, slot, v.ref);
    return true;
}

/* Before anything is built, for messages: the model's batch name. */
static const char *batch_name(const Decl *d)
{
    const TypeExpr *t = d && d->nparam ? &d->param[0].type : NULL;

    return t && t->ndim && t->dim[0]->kind == EXPR_NAME ? t->dim[0]->name : "N";
}

bool build_entry(Build *b, EntryKind entry, int64_t batch)
{
    const Decl *t = train_decl(b->md), *model = model_decl(b->md);
    Graph *g = graph_new(b->m, entry, batch);
    bool ok;

    if (b->m->dim_probe)
        b->m->dim_name = batch_name(model);
    b->g = g;
    b->ndeclared = b->nunfolded = b->nlearn = b->nnoise = b->nvariable = b->nmoved = 0;
    b->training = entry == ENTRY_TRAIN;
    if (b->md->values) {
        ok = build_values(b);
        if (ok)
            module_add_graph(b->m, g);
        return ok;
    }
    if (entry == ENTRY_INFER && !model) {
        build_error(b, (Loc){ 0 }, "the file has no model");
        return false;
    }
    if (entry == ENTRY_INFER) {
        ok = build_infer(b, model, batch);
    } else if (!t) {
        build_error(b, (Loc){ 0 }, "the file has no train block");
        return false;
    } else {
        ok = build_step(b, t);
    }
    if (ok)
        module_add_graph(b->m, g);
    return ok;
}
