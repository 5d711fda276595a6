/* build_train.c - the train block: entries, settings, the optimiser's graph. */
#include "frontend/build.h"

#include <string.h>

/* ---- finding ---- */

static const Decl *train_decl(const Model *md)
{
    for (const Decl *d = md->decl; d; d = d->next)
        if (d->kind == DECL_TRAIN)
            return d;
    return NULL;
}

static const Decl *model_decl(const Model *md)
{
    const Decl *t = train_decl(md);

    for (const Decl *d = md->decl; d; d = d->next)
        if (d->kind == DECL_MODEL && (!t || !strcmp(d->name, t->name)))
            return d;
    return NULL;
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

static const Decl *wanted_decl(Build *b, DeclKind kind, const char *word, const char *name, Loc loc)
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

static bool data_files(Build *b, const Decl *d, int first, const Ast *a, int split)
{
    const Expr *e = a->value->narg == 1 ? a->value->arg[0] : NULL;

    if (!e || e->kind != EXPR_CALL || strcmp(e->name, "idx")) {
        build_error(b, a->value->loc, "%s wants idx(\"file\", ...), a file for each field", a->name);
        return false;
    }
    if (e->narg != d->nparam) {
        build_error(b, e->loc, "%s: %d files for %d fields", a->name, e->narg, d->nparam);
        build_note(b, d->loc, "the fields of `%s`", d->name);
        return false;
    }
    for (int i = 0; i < e->narg; i++) {
        if (e->arg[i]->kind != EXPR_STRING) {
            build_error(b, e->arg[i]->loc, "a file's name is a text");
            return false;
        }
        b->m->slot[first + i].file[split] = arena_strdup(&b->m->mem, e->arg[i]->name);
    }
    return true;
}

static bool data_setting(Build *b, const Decl *d, int first, const Ast *a)
{
    static const char *const names[] = { "train", "test", "labels" };
    const char *near;

    if (!strcmp(a->name, "train") || !strcmp(a->name, "test"))
        return data_files(b, d, first, a, a->name[1] == 'r' ? 0 : 1);
    if (!strcmp(a->name, "labels")) {
        const Expr *e = a->value->narg == 1 ? a->value->arg[0] : NULL;

        for (int i = 0; e && e->kind == EXPR_LIST && i < e->narg; i++)
            if (e->arg[i]->kind != EXPR_STRING)
                e = NULL;
        if (!e || e->kind != EXPR_LIST)
            build_error(b, a->value->loc, "labels wants a list of texts");
        return e && e->kind == EXPR_LIST;
    }
    near = diag_near(a->name, names, 3);
    build_error(b, a->loc, near ? "unknown setting `%s` of a data block; did you mean `%s`?"
                                : "unknown setting `%s` of a data block: train, test and labels are known", a->name, near);
    return false;
}

/* The fields as slots, once a module. */
static bool data_slots(Build *b, const Decl *d)
{
    Scope *outer = b->scope, own = { .prefix = "" };
    int first = b->m->nslot;
    bool ok = true;

    if (d->nparam && module_slot(b->m, d->param[0].name) >= 0)
        return true;
    b->scope = &own;
    for (int i = 0; i < d->nparam && ok; i++) {
        Type t;

        ok = build_type(b, &d->param[i].type, &t);
        if (ok && t.rank >= MAX_RANK) {
            build_error(b, d->param[i].type.loc, "a field has at most %d axes of its own", MAX_RANK - 1);
            ok = false;
        }
        if (ok && module_slot(b->m, d->param[i].name) >= 0) {
            build_error(b, d->param[i].loc, "field `%s` is declared twice", d->param[i].name);
            ok = false;
        }
        if (ok)
            module_add_slot(b->m, d->param[i].name, SLOT_field, t, d->param[i].loc);
    }
    if (ok && !d->nparam) {
        build_error(b, d->loc, "data block `%s` has no fields", d->name);
        ok = false;
    }
    for (const Ast *a = d->body; a && ok; a = a->next)
        ok = data_setting(b, d, first, a);
    b->scope = outer;
    return ok;
}

static bool read_fields(Build *b, const Decl *d)
{
    if (!data_slots(b, d))
        return false;
    for (int i = 0; i < d->nparam; i++)
        scope_set(b, d->param[i].name,
                  value_node(b, graph_read(b->g, d->param[i].loc, module_slot(b->m, d->param[i].name)), d->param[i].loc));
    return true;
}

/* ---- figures ---- */

static bool write_figure(Build *b, Loc loc, const char *name, const Value *v)
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

/* ---- minimize ---- */

typedef struct Trained { int n; int *param, *grad; } Trained;

static Trained reached_params(Build *b, Ref loss)
{
    bool *want = arena_array(&b->md->mem, bool, b->g->nnode);
    Trained t = { 0, arena_array(&b->md->mem, int, b->m->nslot + 1), arena_array(&b->md->mem, int, b->m->nslot + 1) };
    int nslot = b->m->nslot;

    graph_reach(b->g, loss, want);
    for (int slot = 0; slot < nslot; slot++) {
        bool used = false;

        for (int id = 1; id < b->g->nnode && b->m->slot[slot].kind == SLOT_param; id++)
            used |= want[id] && b->g->node[id].op == OP_read && b->g->node[id].attr.v[0] == slot;
        if (used)
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

/* One parameter's new value: the optimizer's body with w and g. */
static bool update_param(Build *b, const Decl *d, const Expr *call, const Value *setting, int param, int grad)
{
    Value *arg = arena_array(&b->md->mem, Value, d->nparam + 1);
    const char *prefix = arena_printf(&b->md->mem, "%s.", b->m->slot[param].name);
    Scope *outer = b->scope, own = { .prefix = prefix, .is_optimizer = true };
    Frame frame = { d, call->loc, b->frame };
    bool ok = true;

    memcpy(arg, setting, (size_t)d->nparam * sizeof *arg);
    arg[0] = value_node(b, graph_read(b->g, call->loc, param), call->loc);
    arg[1] = value_node(b, graph_read(b->g, call->loc, grad), call->loc);
    b->scope = &own;
    for (int i = 0; i < d->nparam && ok; i++) {
        Value v = arg[i];

        if (!v.kind && d->param[i].init)
            v = build_value(b, d->param[i].init);
        if (d->param[i].input && v.kind == VAL_NUMBER)
            v = build_scalar(b, d->param[i].loc, d->param[i].name, v.number);
        if (i < 2)
            ok = bind_type(b, &d->param[i].type, &v, call->loc, d->name);
        if (ok && v.kind)
            scope_set(b, d->param[i].name, v);
        ok = ok && v.kind;
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
        build_note(b, d->loc.file >= b->md->user ? d->loc : (Loc){ 0 }, "declared here");
        ok = false;
    }
    return ok;
}

/* The settings of the optimizer's call, by parameter; w and g come from the step. */
static bool optimizer_settings(Build *b, const Decl *d, const Expr *call, Value *setting)
{
    const char **names = arena_array(&b->md->mem, const char *, d->nparam + 1), *near;

    for (int i = 2; i < d->nparam; i++)
        names[i - 2] = d->param[i].name;
    for (int i = 0; i < call->narg; i++) {
        int at = -1;

        for (int j = 2; j < d->nparam; j++)
            if (call->argname[i] ? !strcmp(call->argname[i], d->param[j].name) : j == i + 2)
                at = j;
        if (at < 0) {
            near = call->argname[i] ? diag_near(call->argname[i], names, d->nparam - 2) : NULL;
            build_error(b, call->argname[i] ? call->argname_loc[i] : call->arg[i]->loc,
                        near ? "%s has no setting `%s`; did you mean `%s`?" : "%s has no setting `%s`", d->name,
                        call->argname[i] ? call->argname[i] : "of this place", near);
            return false;
        }
        setting[at] = build_value(b, call->arg[i]);
        if (!setting[at].kind)
            return false;
        if (setting[at].kind != VAL_NUMBER && !setting[at].step_scalar) {
            build_error(b, call->arg[i]->loc, "%s: `%s` wants a number, got %s", d->name, d->param[at].name,
                        build_describe(b, &setting[at]));
            return false;
        }
    }
    return true;
}

static const Ast *find_setting(const Decl *t, const char *name)
{
    for (const Ast *a = t->body; a; a = a->next)
        if (a->kind == AST_SETTING && !strcmp(a->name, name))
            return a;
    return NULL;
}

static bool build_update(Build *b, const Decl *t, const Trained *tr)
{
    const Ast *a = find_setting(t, "optimizer");
    const Expr *call = a && a->value->narg == 1 ? a->value->arg[0] : NULL;
    Graph *g = b->g;
    const Decl *d;
    Value *setting;
    bool ok;

    if (!a) {
        build_error(b, t->loc, "a loss is minimized, but no `optimizer:` is set");
        return false;
    }
    if (!call || (call->kind != EXPR_CALL && call->kind != EXPR_NAME)) {
        build_error(b, a->value->loc, "optimizer wants a call such as sgd(lr: 0.1)");
        return false;
    }
    if (!(d = wanted_decl(b, DECL_OPTIMIZER, "optimizer", call->name, call->name_loc)))
        return false;
    if (d->nparam < 2) {
        build_error(b, d->loc, "an optimizer's first parameters are the weight and its gradient");
        return false;
    }
    b->g = b->m->update = graph_new(b->m, ENTRY_UPDATE, 0);
    setting = arena_array(&b->md->mem, Value, d->nparam + 1);
    ok = optimizer_settings(b, d, call, setting);
    for (int i = 0; i < tr->n && ok; i++)
        ok = update_param(b, d, call, setting, tr->param[i], tr->grad[i]);
    b->g = g;
    return ok;
}

static bool build_minimize(Build *b, const Decl *t, const Ast *a)
{
    Value v = build_value(b, a->value);
    Trained tr;

    if (!v.kind || !write_figure(b, a->value->loc, "loss", &v))
        return false;
    if (b->g->nmin) {
        build_error(b, a->loc, "several losses are not supported yet: add them up");
        return false;
    }
    if (!dt_is_float(value_type(b, &v)->dtype)) {
        build_error(b, a->value->loc, "a loss is a float, got %s", build_describe(b, &v));
        return false;
    }
    tr = reached_params(b, v.ref);
    if (!tr.n) {
        build_error(b, a->value->loc, "the loss depends on no parameter");
        return false;
    }
    for (int i = 0; i < tr.n; i++)
        tr.grad[i] = grad_slot(b, tr.param[i], a->loc);
    graph_minimize(b->g, a->loc, v.ref, tr.n, tr.param, tr.grad);
    return b->g->entry != ENTRY_TRAIN || b->m->update || build_update(b, t, &tr);
}

/* ---- settings ---- */

static bool whole_setting(Build *b, const Ast *a, int64_t least, int64_t *out)
{
    if (a->value->narg != 1 || !build_int(b, a->value->arg[0], a->name, out))
        return false;
    if (*out < least) {
        build_error(b, a->value->loc, "%s is at least %lld, got %lld", a->name, (long long)least, (long long)*out);
        return false;
    }
    return true;
}

static int metric_number(Build *b, const char *name)
{
    int n = 0;

    for (int i = 0; i < b->m->nslot; i++) {
        if (b->m->slot[i].kind != SLOT_metric)
            continue;
        if (!strcmp(b->m->slot[i].name, name))
            return n;
        n++;
    }
    return -1;
}

/* test.accuracy >= 0.78 */
static bool build_expect(Build *b, const Expr *e)
{
    static const char *const ops[] = { "lt", "le", "eq", "ge", "gt" };
    Expect x = { .compare = -1, .loc = e->loc };
    const Source *src = &b->md->diag.source[e->loc.file];
    const char *dot = e->kind == EXPR_BINARY && e->arg[0]->kind == EXPR_NAME ? strchr(e->arg[0]->name, '.') : NULL;
    TrainInfo *t = &b->m->train;
    Value v;

    for (int i = 0; dot && i < 5; i++)
        if (!strcmp(e->name, ops[i]))
            x.compare = i;
    if (x.compare < 0 || (strncmp(e->arg[0]->name, "test.", 5) && strncmp(e->arg[0]->name, "train.", 6))) {
        build_error(b, e->loc, "expect wants a comparison such as test.accuracy >= 0.9");
        return false;
    }
    x.split = e->arg[0]->name[1] == 'e';
    if ((x.metric = metric_number(b, dot + 1)) < 0) {
        build_error(b, e->arg[0]->loc, "no metric has the name `%s`", dot + 1);
        return false;
    }
    v = build_value(b, e->arg[1]);
    if (v.kind != VAL_NUMBER) {
        if (v.kind)
            build_error(b, e->arg[1]->loc, "expect wants a number on the right");
        return false;
    }
    x.value = v.number;
    const char *line = src->text;

    for (uint32_t i = 1; i < e->loc.line; i++)
        line = strchr(line, '\n') + 1;
    x.text = arena_strndup(&b->m->mem, line + e->loc.col - 1, e->loc.len);
    Expect *more = arena_array(&b->m->mem, Expect, t->nexpect + 1);

    if (t->nexpect)
        memcpy(more, t->expect, (size_t)t->nexpect * sizeof *more);
    more[t->nexpect++] = x;
    t->expect = more;
    return true;
}

static bool build_setting(Build *b, const Ast *a)
{
    static const char *const names[] = { "optimizer", "batch", "epochs", "seed", "expect" };
    TrainInfo *t = &b->m->train;
    const char *near;
    int64_t x;

    if (!strcmp(a->name, "optimizer"))
        return true;
    if (!strcmp(a->name, "batch"))
        return whole_setting(b, a, 1, &t->batch);
    if (!strcmp(a->name, "epochs"))
        return whole_setting(b, a, 1, &t->epochs);
    if (!strcmp(a->name, "seed")) {
        if (!whole_setting(b, a, 0, &x))
            return false;
        t->seed = (uint64_t)x;
        return true;
    }
    if (!strcmp(a->name, "expect")) {
        for (int i = 0; i < a->value->narg; i++)
            if (!build_expect(b, a->value->arg[i]))
                return false;
        return true;
    }
    near = diag_near(a->name, names, 5);
    build_error(b, a->loc, near ? "unknown setting `%s` of a train block; did you mean `%s`?"
                                : "unknown setting `%s` of a train block: optimizer, batch, epochs, seed and expect are known",
                a->name, near);
    return false;
}

/* Settings are read once a module, after all figures are known. */
static bool build_settings(Build *b, const Decl *t)
{
    bool ok = true;

    if (b->m->train.present)
        return true;
    b->m->train = (TrainInfo){ .present = true, .epochs = 1, .batch = 64 };
    for (const Ast *a = t->body; a; a = a->next) {
        if (a->kind != AST_SETTING)
            continue;
        ok &= build_setting(b, a);
        for (const Ast *c = a->next; c; c = c->next)
            if (c->kind == AST_SETTING && !strcmp(a->name, c->name) && strcmp(a->name, "expect")) {
                build_error(b, c->loc, "`%s` is set twice", c->name);
                build_note(b, a->loc, "first here");
                ok = false;
            }
    }
    return ok;
}

/* ---- entries ---- */

static bool train_statement(Build *b, const Decl *t, const Ast *a)
{
    Value v;

    if (a->kind == AST_SETTING)
        return true;
    if (a->kind == AST_MINIMIZE)
        return build_minimize(b, t, a);
    if (a->kind == AST_METRIC) {
        v = build_value(b, a->value);
        return v.kind && write_figure(b, a->loc, a->name, &v);
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
    ok = ok && read_fields(b, data);
    if (ok)
        loss_first(b);
    for (const Ast *a = t->body; a && ok; a = a->next) {
        ok = train_statement(b, t, a);
        learns |= a->kind == AST_MINIMIZE;
    }
    if (ok && !learns) {
        build_error(b, t->loc, "the train block minimizes nothing");
        ok = false;
    }
    return ok;
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
        build_error(b, d->loc, "a model's inputs begin with the batch: x: f32[N, ...]");
        return false;
    }
    scope_set(b, d->param[0].type.dim[0]->name, value_int(batch));
    for (int i = 0; i < d->nparam; i++) {
        const Param *p = &d->param[i];
        int slot = module_slot(b->m, arena_printf(&b->md->mem, "in.%s", p->name));
        int64_t first = 0;
        Type t;

        if (!build_type(b, &p->type, &t))
            return false;
        if (slot < 0)
            slot = module_add_slot(b->m, arena_printf(&b->md->mem, "in.%s", p->name), SLOT_input, ty_remove(t, 1, &first), p->loc);
        arg[i] = value_node(b, graph_read(b->g, p->loc, slot), p->loc);
    }
    v = build_instance(b, d, &call, arg, d->loc, "");
    if (v.kind != VAL_NODE || value_type(b, &v)->rank < 1 || value_type(b, &v)->dim[0] != batch) {
        if (v.kind)
            build_error(b, d->loc, "a model's result begins with the batch, this is %s", build_describe(b, &v));
        return false;
    }
    int64_t first = 0;
    int slot = module_slot(b->m, "out");

    if (slot < 0)
        slot = module_add_slot(b->m, "out", SLOT_output, ty_remove(*value_type(b, &v), 1, &first), d->loc);
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
    b->ndeclared = 0;
    b->training = entry == ENTRY_TRAIN;
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
        ok = build_step(b, t) && build_settings(b, t);
    }
    if (ok)
        module_add_graph(b->m, g);
    return ok;
}
