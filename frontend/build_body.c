/* build_body.c - statements: names get values, parameters get slots. */
#include "frontend/build.h"

#include <string.h>

enum { UNROLL_LIMIT = 4096, UNFOLD_LIMIT = 1 << 17 };      /* steps of one `for`; calls and steps of a graph */

bool build_unfold(Build *b, Loc at)
{
    if (b->nunfolded == UNFOLD_LIMIT)
        build_error(b, at, "calls and loops are written out, and these are more than %d", UNFOLD_LIMIT);
    return b->nunfolded <= UNFOLD_LIMIT && ++b->nunfolded <= UNFOLD_LIMIT;
}

/* ---- slots ---- */

static bool declare(Build *b, const Ast *a, const char *name)
{
    for (int i = 0; i < b->ndeclared; i++)
        if (!strcmp(b->declared[i], name)) {
            if (b->scope->shared)
                return true;
            build_error(b, a->loc, "`%s` is declared twice", name);
            build_note(b, b->m->slot[module_slot(b->m, name)].loc, "first here");
            return false;
        }
    if (b->scope->shared) {
        build_error(b, a->loc, "`%s` is new in a layer that is used again: its first use had other settings", name);
        return false;
    }
    arena_push(&b->md->mem, b->declared, b->ndeclared, b->cdeclared);
    b->declared[b->ndeclared++] = name;
    return true;
}

/* The initial value, computed in the init graph, with shape and stream of the slot at hand. */
static bool initial_value(Build *b, const Ast *a, int slot)
{
    Graph *g = b->g;
    int outer = b->init_slot, nrandom = b->nrandom;
    const Type *t = &b->m->slot[slot].type;
    Value v;

    b->g = b->init;
    b->init_slot = slot;
    b->nrandom = 0;
    v = build_value(b, a->value);
    if (v.kind == VAL_NUMBER || v.step_scalar)
        v = build_node_of(b, a->value->loc, &v, t);
    if (v.kind && (v.kind != VAL_NODE || !ty_equal(value_type(b, &v), t))) {
        build_error(b, a->value->loc, "`%s` is %s, its initial value is %s", a->name, ty_str_in(b->m, t), build_describe(b, &v));
        v.kind = VAL_NONE;
    }
    if (v.kind)
        graph_write(b->init, a->loc, slot, v.ref);
    b->g = g;
    b->init_slot = outer;
    b->nrandom = nrandom;
    return v.kind != VAL_NONE;
}

/* Evaluation meets most declarations again. */
static bool has_initial(const Build *b, int slot)
{
    for (int i = 0; i < b->init->nwrite; i++)
        if (b->init->write[i].slot == slot)
            return true;
    return false;
}

/* Where a layer is used again its slots are what the use before has made of them.  What a loss before `then` has
 * trained is its new value everywhere, a value as if it came from outside. */
Ref build_slot_now(Build *b, Loc loc, int slot)
{
    bool moved = build_is_moved(b, slot);

    for (int i = 0; i < b->g->nwrite && (moved || b->scope->shared); i++) {
        Ref now = b->g->write[i].value;

        if (b->g->write[i].slot == slot)
            return moved ? graph_op1(b->g, OP_stop_gradient, loc, now) : now;
    }
    return graph_read(b->g, loc, slot);
}

static void write_slot(Build *b, Loc loc, int slot, Ref value)
{
    for (int i = 0; i < b->g->nwrite; i++)
        if (b->g->write[i].slot == slot) {
            b->g->write[i].value = value;      /* of a layer that is used again */
            return;
        }
    graph_write(b->g, loc, slot, value);
}

static bool add_slot(Build *b, const Ast *a)
{
    const char *name = arena_printf(&b->md->mem, "%s%s", b->scope->prefix, a->name);
    SlotKind kind = a->kind == AST_PARAM ? SLOT_param : b->scope->is_optimizer ? SLOT_optim : SLOT_state;
    int slot = module_slot(b->m, name);
    Type t;

    if (a->kind == AST_PARAM && b->scope->is_optimizer) {
        build_error(b, a->loc, "an optimizer keeps states, it has no parameters of its own");
        return false;
    }
    if (!build_type(b, &a->type, &t) || !declare(b, a, name))
        return false;
    for (int i = 0; i < t.rank; i++) {
        Value size = value_size(b, t.dim[i]);

        if (!build_fixed(b, a->type.loc, "what outlives the step", &size))
            return false;
    }
    if (slot >= 0 && b->m->slot[slot].kind != kind) {
        build_error(b, a->loc, "`%s` is the name of a %s already", name, slot_kind_name[b->m->slot[slot].kind]);
        build_note(b, b->m->slot[slot].loc, "declared here");
        return false;
    }
    if (slot >= 0 && !ty_equal(&b->m->slot[slot].type, &t)) {
        build_error(b, a->loc, b->scope->shared ? "`%s` is %s here and %s in the first use of the layer"
                                                : "`%s` is %s here and %s in another entry", name, ty_str_in(b->m, &t),
                    ty_str_in(b->m, &b->m->slot[slot].type));
        return false;
    }
    if (kind == SLOT_param && !dt_is_float(t.dtype)) {
        build_error(b, a->type.loc, "a parameter is learnt, so it is f32 or f64, not %s", dt_name(t.dtype));
        return false;
    }
    if (slot < 0)
        slot = module_add_slot(b->m, name, kind, t, a->loc);
    bool ok = !b->init || has_initial(b, slot) || initial_value(b, a, slot);

    scope_set(b, a->name, value_node(b, build_slot_now(b, a->loc, slot), a->loc))->slot = slot;
    return ok;
}

static bool build_slot(Build *b, const Ast *a)
{
    Name *n = scope_find(b->scope, a->name);

    if (add_slot(b, a))
        return true;
    if (!n)
        scope_set(b, a->name, (Value){ .loc = a->loc });
    return false;
}

/* x' = value: what the slot holds after the step */
static bool build_next(Build *b, const Ast *a)
{
    Name *n = scope_find(b->scope, a->name);
    Value v;

    if (build_is_carry(b, a->name))
        return build_carry_next(b, a);
    if (n && !n->value.kind) {
        build_value(b, a->value);
        return false;
    }
    if (!n || n->slot < 0) {
        if (!n && b->scope->unsure)
            return false;
        build_error(b, a->loc, "`%s'` is the next value of a parameter or state, and `%s` is none", a->name, a->name);
        return false;
    }
    if (n->has_next) {
        build_error(b, a->loc, "`%s'` is given twice", a->name);
        build_note(b, n->next.loc, "first here");
        return false;
    }
    v = build_value(b, a->value);
    n = scope_find(b->scope, a->name);
    const Type *t = &b->m->slot[n->slot].type;

    n->has_next = true;
    n->next = (Value){ .loc = a->loc };
    if (v.kind == VAL_NUMBER || v.step_scalar)
        v = build_node_of(b, a->value->loc, &v, t);
    if (v.kind != VAL_NODE || !ty_equal(value_type(b, &v), t)) {
        if (v.kind)
            build_error(b, a->value->loc, "`%s` is %s, its next value is %s", a->name, ty_str_in(b->m, t), build_describe(b, &v));
        return false;
    }
    if (build_in_body(b, v.ref)) {
        build_error(b, a->value->loc, "`%s` changes once, at the end of the step, and this is another value in each step of the scan",
                    a->name);
        return false;
    }
    n->next = v;
    n->next.loc = a->loc;
    if (b->m->slot[n->slot].kind != SLOT_grad)      /* a changed gradient goes on to the optimizer, it is no slot's value */
        write_slot(b, a->loc, n->slot, v.ref);
    return true;
}

/* ---- equations ---- */

static bool build_assign(Build *b, const Ast *a)
{
    Value v = build_value(b, a->value);
    Name *n = scope_find(b->scope, a->name);

    if (build_is_carry(b, a->name)) {
        build_error(b, a->loc, "`%s` is carried from step to step: it changes at the end of one, by `%s' = ...`", a->name, a->name);
        return false;
    }
    if (n && n->slot >= 0) {
        build_error(b, a->loc, "`%s` is a parameter or state: it changes at the end of the step, by `%s' = ...`", a->name, a->name);
        return false;
    }
    v.loc = a->loc;
    scope_set(b, a->name, v);
    return v.kind != VAL_NONE;
}

/* What a statement would have named, had it no mistake: users of these names have nothing new to say. */
static void poison_body(Build *b, const Ast *a)
{
    for (; a; a = a->next) {
        Name *n = a->kind == AST_NEXT ? scope_find(b->scope, a->name) : NULL;

        if (a->kind == AST_ASSIGN || a->kind == AST_PARAM || a->kind == AST_STATE || a->kind == AST_CARRY || a->kind == AST_COLLECT)
            scope_set(b, a->name, (Value){ .loc = a->loc });
        if (n && !n->has_next) {
            n->has_next = true;
            n->next = (Value){ .loc = a->loc };
        }
        poison_body(b, a->body);
        poison_body(b, a->other);
        b->scope->returned |= a->kind == AST_RETURN;
    }
}

static bool loop_fits(Build *b, const Ast *a, int64_t from, int64_t to)
{
    int64_t steps;

    if (to > from && (__builtin_sub_overflow(to, from, &steps) || steps > UNROLL_LIMIT)) {
        build_error(b, a->limit->loc, "a loop is written out, and this one has more than %d steps", UNROLL_LIMIT);
        return false;
    }
    return true;
}

static bool build_for(Build *b, const Ast *a)
{
    int64_t from, to;

    if (!build_int(b, a->value, "a loop's start", &from) || !build_int(b, a->limit, "a loop's limit", &to)
        || !loop_fits(b, a, from, to)) {
        poison_body(b, a->body);
        return false;
    }
    for (int64_t i = from; i < to; i++) {
        scope_set(b, a->name, value_int(i))->value.loc = a->loc;
        if (!build_unfold(b, a->loc) || !build_body(b, a->body))
            return false;
    }
    return true;
}

static bool build_if(Build *b, const Ast *a)
{
    bool yes;

    if (build_truth(b, a->value, &yes))
        return build_body(b, yes ? a->body : a->other);
    poison_body(b, a->body);
    poison_body(b, a->other);
    return false;
}

static bool build_return(Build *b, const Ast *a)
{
    Value v = build_value(b, a->value);

    if (b->scan && b->scan->scope == b->scope) {
        build_error(b, a->loc, "a scan collects its results, `return` stands behind it");
        return false;
    }
    v.loc = a->value->loc;
    b->scope->result = v;
    b->scope->returned = true;
    return v.kind != VAL_NONE;
}

static bool misplaced(Build *b, const Ast *a, const char *what)
{
    build_error(b, a->loc, "%s stands in a train block, outside of `if` and `for`", what);
    return false;
}

static bool build_statement(Build *b, const Ast *a)
{
    switch (a->kind) {
    case AST_ASSIGN:   return build_assign(b, a);
    case AST_NEXT:     return build_next(b, a);
    case AST_PARAM:
    case AST_STATE:    return build_slot(b, a);
    case AST_RETURN:   return build_return(b, a);
    case AST_FOR:      return build_for(b, a);
    case AST_SCAN:     return build_scan(b, a);
    case AST_CARRY:    return build_carry(b, a);
    case AST_COLLECT:  return build_collect(b, a);
    case AST_IF:       return build_if(b, a);
    case AST_MINIMIZE: return misplaced(b, a, "`minimize`");
    case AST_THEN:     return misplaced(b, a, "`then`");
    case AST_METRIC:   return misplaced(b, a, "`metric`");
    case AST_SETTING:  return misplaced(b, a, "a setting");
    case AST_FREEZE:   return misplaced(b, a, "`freeze`");
    case AST_SHOW:     break;      /* build_run.c's own */
    }
    return false;
}

/* A mistake leaves the statement's name without a value, which says nothing where it is used. */
bool build_body(Build *b, const Ast *a)
{
    bool ok = true;

    for (; a && !b->scope->returned; a = a->next)
        ok &= build_statement(b, a);
    return ok;
}
