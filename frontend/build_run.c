/* build_run.c - a file's own values, for nnd run: bindings in their order, an output for each show.
 *
 * A binding with a type is a state that the init entry fills, so it may be random; the others are computed by an infer
 * entry of batch 1 that has no inputs.
 */
#include "frontend/build.h"

#include <string.h>

bool has_values(const Model *md)
{
    for (const Decl *d = md->decl; d; d = d->next)
        if (d->kind == DECL_VALUE)
            return true;
    return false;
}

static bool has_show(const Model *md)
{
    for (const Decl *d = md->decl; d; d = d->next)
        if (d->kind == DECL_VALUE && d->body->kind == AST_SHOW)
            return true;
    return false;
}

/* An output has rows in front: one row. */
static bool show_node(Build *b, const Ast *a, const char *name, const Value *v)
{
    Type t = *value_type(b, v);
    int64_t dim[MAX_RANK] = { 1 };
    int slot;

    if (t.rank >= MAX_RANK) {
        build_error(b, a->value->loc, "show prints at most %d axes", MAX_RANK - 1);
        return false;
    }
    memcpy(dim + 1, t.dim, (size_t)t.rank * sizeof *dim);
    Ref r = graph_reshape(b->g, a->loc, v->ref, t.rank + 1, dim);

    /* a state may have the name itself */
    if ((slot = build_row_slot(b, a->loc, arena_printf(&b->md->mem, "out.%s", name), SLOT_output, graph_at(b->g, r)->type)) < 0)
        return false;
    for (int i = 0; i < b->g->nwrite; i++)
        if (b->g->write[i].slot == slot) {
            build_error(b, a->loc, "`%s` is shown twice", name);
            return false;
        }
    graph_write(b->g, a->loc, slot, r);
    return true;
}

/* A name is shown under it, what has none by its number. */
static bool show(Build *b, const Ast *a, int number)
{
    bool named = a->value->kind == EXPR_NAME && (scope_find(b->scope, a->value->name) || find_decl(b->md, a->value->name));
    const char *name = named ? a->value->name : arena_printf(&b->md->mem, "show%d", number);
    Value v = build_value(b, a->value);

    if (!v.kind)
        return false;
    if (v.kind != VAL_NODE && v.kind != VAL_NUMBER) {
        build_error(b, a->value->loc, "show wants a tensor or a number, got %s", build_describe(b, &v));
        return false;
    }
    if (v.step_scalar || v.step_truth) {
        build_error(b, a->value->loc, "there are no steps here, so a step scalar has no value");
        return false;
    }
    if (v.kind == VAL_NUMBER)
        v = build_node_of(b, a->loc, &v, &(Type){ .dtype = v.is_truth ? DT_bool : v.is_int ? DT_i64 : build_float(b) });
    return v.kind && show_node(b, a, name, &v);
}

bool build_values(Build *b)
{
    Scope *outer = b->scope, own = { .prefix = "" };
    bool ok = true;
    int number = 0;

    b->scope = &own;
    if (!b->init && !has_show(b->md)) {
        build_error(b, (Loc){ .file = (uint16_t)b->md->user }, "the file shows nothing: `show name` prints a value");
        return false;
    }
    for (const Decl *d = b->md->decl; d; d = d->next) {
        if (d->kind != DECL_VALUE)
            continue;
        number += d->body->kind == AST_SHOW;
        ok &= d->body->kind == AST_SHOW ? show(b, d->body, number) : build_body(b, d->body);
    }
    b->scope = outer;
    return ok;
}
