/* build_scan.c - scans: a body that is read once and computed once a step.
 *
 *   scan g in gates {                       # the axis behind the batch is time
 *       carry h: f32[N, H] = zeros          # in the first step; h' is its value in the next one
 *       h' = tanh(g + h @ w)
 *       collect y = h'                      # behind the scan: y of all steps, h as the last one left it
 *   }
 *
 * The body's own names end with it.  Inside, a carry whose next value is given may be asked for it, as h'.
 */
#include "frontend/build.h"
#include "ir/scan.h"

#include <string.h>

enum { MAX_SCANS = 256 };      /* of a model's own: each derivative has as many again */

bool build_in_body(Build *b, Ref r) { return b->scan && scan_of_nodes(b->g)[r.id] > 0; }

static ScanName *find_carry(const Build *b, const char *name)
{
    for (int i = 0; b->scan && b->scan->scope == b->scope && i < b->scan->ncarry; i++)
        if (!strcmp(b->scan->carry[i].name, name))
            return &b->scan->carry[i];
    return NULL;
}

bool build_is_carry(const Build *b, const char *name) { return find_carry(b, name); }

static bool in_scan(Build *b, const Ast *a, const char *what)
{
    if (b->scan && b->scan->scope == b->scope)
        return true;
    build_error(b, a->loc, "`%s` stands in a scan", what);
    return false;
}

/* The value as a node of type t, or an error. */
static bool value_of_type(Build *b, const Ast *a, const Type *t, const char *what, Value *v)
{
    *v = build_value(b, a->value);
    if (v->kind == VAL_NUMBER || v->step_scalar)
        *v = build_node_of(b, a->value->loc, v, t);
    if (!v->kind || (v->kind == VAL_NODE && ty_equal(value_type(b, v), t)))
        return v->kind != VAL_NONE;
    build_error(b, a->value->loc, "`%s` is %s, its %s value is %s", a->name, ty_str_in(b->m, t), what, build_describe(b, v));
    return false;
}

/* ---- statements of a body ---- */

bool build_carry(Build *b, const Ast *a)
{
    ScanBody *s = b->scan;
    Type t;
    Value v;

    if (!in_scan(b, a, "carry") || !build_type(b, &a->type, &t))
        return false;
    if (find_carry(b, a->name)) {
        build_error(b, a->loc, "`%s` is carried already", a->name);
        return false;
    }
    scope_set(b, a->name, (Value){ .loc = a->loc });
    arena_push(&b->md->mem, s->carry, s->ncarry, s->ccarry);
    s->carry[s->ncarry++] = (ScanName){ .name = a->name, .loc = a->loc };
    if (!value_of_type(b, a, &t, "first", &v))
        return false;
    if (build_in_body(b, v.ref)) {
        build_error(b, a->value->loc, "what is carried into the first step is computed before the scan");
        return false;
    }
    s->carry[s->ncarry - 1].ref = scan_carry(b->g, a->loc, v.ref, s->number, s->steps, s->ncarry - 1);
    scope_set(b, a->name, value_node(b, s->carry[s->ncarry - 1].ref, a->loc));
    return true;
}

bool build_carry_next(Build *b, const Ast *a)
{
    ScanName *c = find_carry(b, a->name);
    Name *n = scope_find(b->scope, a->name);
    Value v;

    if (c->next.loc.line) {
        build_error(b, a->loc, "`%s'` is given twice", a->name);
        build_note(b, c->next.loc, "first here");
        return false;
    }
    c->next.loc = a->loc;
    n->has_next = true;
    n->next = (Value){ .loc = a->loc };
    if (!c->ref.id) {
        build_value(b, a->value);
        return false;
    }
    if (!value_of_type(b, a, &graph_at(b->g, c->ref)->type, "next", &v))
        return false;
    c = find_carry(b, a->name);
    c->next = v;
    c->next.loc = a->loc;
    n = scope_find(b->scope, a->name);
    n->has_next = true;
    n->next = c->next;
    return true;
}

bool build_collect(Build *b, const Ast *a)
{
    ScanBody *s = b->scan;
    Value v;

    if (!in_scan(b, a, "collect"))
        return false;
    v = build_value(b, a->value);
    if (v.kind && v.kind != VAL_NODE) {
        build_error(b, a->value->loc, "collect wants a tensor of each step, got %s", build_describe(b, &v));
        v.kind = VAL_NONE;
    }
    if (v.kind && value_type(b, &v)->rank == MAX_RANK) {
        build_error(b, a->value->loc, "%s has no room for another axis", build_describe(b, &v));
        v.kind = VAL_NONE;
    }
    for (int i = 0; i < s->ncollect; i++)
        if (!strcmp(s->collect[i].name, a->name)) {
            build_error(b, a->loc, "`%s` is collected twice", a->name);
            build_note(b, s->collect[i].loc, "first here");
            return false;
        }
    arena_push(&b->md->mem, s->collect, s->ncollect, s->ccollect);
    s->collect[s->ncollect++] = (ScanName){ .name = a->name, .loc = a->loc, .ref = v.kind ? v.ref : (Ref){ 0 } };
    return v.kind != VAL_NONE;
}

/* ---- the scan ---- */

static bool may_stand_here(Build *b, const Ast *a)
{
    if (b->scan)
        build_error(b, a->loc, "a scan can't stand inside of another one");
    else if (b->init_slot >= 0 || b->g->entry == ENTRY_UPDATE)
        build_error(b, a->loc, "a scan stands in a model or a step");
    else if (scan_free_number(b->g) >= MAX_SCANS)
        build_error(b, a->loc, "a graph has no room for more than %d scans", MAX_SCANS);
    else
        return true;
    return false;
}

/* One of the sequences: its part of a step gets its name. */
static bool enter_sequence(Build *b, const Ast *a, int i, ScanBody *s)
{
    const Expr *e = a->value->arg[i], *name = a->limit->arg[i];
    Value v = build_value(b, e);
    const Type *t = v.kind == VAL_NODE ? value_type(b, &v) : NULL;

    scope_set(b, name->name, (Value){ .loc = name->loc });
    if (!v.kind)
        return false;
    if (!t || t->rank < 2) {
        build_error(b, e->loc, "a scan goes along the axis behind the batch, and this is %s", build_describe(b, &v));
        return false;
    }
    if (s->steps && s->steps != t->dim[1]) {
        build_error(b, e->loc, "this is %s, and the scan has %lld steps by its first sequence", build_describe(b, &v), (long long)s->steps);
        return false;
    }
    s->steps = t->dim[1];
    scope_set(b, name->name, value_node(b, scan_element(b->g, name->loc, v.ref, s->number, 1, false), name->loc));
    return true;
}

static bool leave(Build *b, ScanBody *s)
{
    Ref end = { 0 };
    bool ok = true;

    for (int i = 0; i < s->ncarry; i++)
        if (!s->carry[i].next.loc.line) {
            build_error(b, s->carry[i].loc, "`%s` has no next value: `%s' = ...`", s->carry[i].name, s->carry[i].name);
            ok = false;
        }
    for (int i = 0; i < s->ncarry && ok; i++)
        end = scan_next(b->g, s->carry[i].ref, s->carry[i].next.ref, end);
    for (int i = 0; i < s->ncarry; i++)
        scope_set(b, s->carry[i].name, ok ? value_node(b, scan_last(b->g, s->carry[i].ref, end), s->carry[i].loc)
                                          : (Value){ .loc = s->carry[i].loc });
    for (int i = 0; i < s->ncollect; i++) {
        const ScanName *c = &s->collect[i];
        int64_t axis = graph_at(b->g, c->ref)->type.rank > 0;
        Ref all = !ok ? c->ref : build_in_body(b, c->ref) ? scan_stack(b->g, c->loc, c->ref, end, s->number, s->steps, axis, false)
                                                          : graph_expand(b->g, c->loc, c->ref, 1, &axis, &s->steps);

        scope_set(b, c->name, ok ? value_node(b, all, c->loc) : (Value){ .loc = c->loc });
    }
    return ok;
}

static void forget(Build *b, const Name *kept, int n)
{
    b->scope->n = n;
    memcpy(b->scope->name, kept, (size_t)n * sizeof *kept);
}

static void poison(Build *b, const ScanBody *s)
{
    for (int i = 0; i < s->ncarry; i++)
        scope_set(b, s->carry[i].name, (Value){ .loc = s->carry[i].loc });
    for (int i = 0; i < s->ncollect; i++)
        scope_set(b, s->collect[i].name, (Value){ .loc = s->collect[i].loc });
}

bool build_scan(Build *b, const Ast *a)
{
    ScanBody s = { .loc = a->loc, .scope = b->scope };
    int n = b->scope->n;
    Name *kept = arena_array(&b->md->mem, Name, n + 1);
    bool ok = true;

    if (!may_stand_here(b, a)) {
        b->scope->unsure = true;
        return false;
    }
    s.number = scan_free_number(b->g);
    memcpy(kept, b->scope->name, (size_t)n * sizeof *kept);
    for (int i = 0; i < a->value->narg; i++)
        ok &= enter_sequence(b, a, i, &s);
    b->scan = &s;
    if (s.steps)
        ok &= build_body(b, a->body);
    if (ok) {
        forget(b, kept, n);
        ok = leave(b, &s);
    } else {
        forget(b, kept, n);
        poison(b, &s);
        b->scope->unsure = true;
    }
    b->scan = NULL;
    return ok;
}
