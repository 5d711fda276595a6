/* build_value.c - values, how two of them meet, and messages about them. */
#include "frontend/build.h"

#include <assert.h>
#include <string.h>

/* ---- messages ---- */

/* The place in the user's file: a mistake inside built-in text belongs to the call that led there. */
static Loc user_place(Build *b, Loc at, const Decl **inside, Loc *there)
{
    *inside = NULL;
    for (Frame *f = b->frame; f && (at.file < b->md->user || !at.line); f = f->up) {
        if (!*inside)
            *there = at;
        *inside = f->fn;
        at = f->call;
    }
    return at;
}

static bool is_at(Loc a, Loc c) { return a.file == c.file && a.line == c.line && a.col == c.col; }

/* How the user's text got to the place.  A model has a signature of its own, so its caller is no part of the story. */
static void note_callers(Build *b, Loc place)
{
    int shown = 0;

    for (Frame *f = b->frame; f && shown < 3; f = f->up) {
        if (f->call.file < b->md->user || !f->call.line || f->fn->kind == DECL_MODEL || is_at(f->call, place)
            || f->fn->loc.file < b->md->user)
            continue;
        diag_note(&b->md->diag, f->call, "`%s` is called here", f->fn->name);
        shown++;
    }
}

void build_note_decl(Build *b, const Decl *d)
{
    build_note(b, d->loc, "`%s` is declared here", d->name);
}

Value build_error(Build *b, Loc at, const char *fmt, ...)
{
    const Decl *inside;
    Loc there = at, place = user_place(b, at, &inside, &there);
    va_list ap;

    va_start(ap, fmt);
    const char *text = arena_vprintf(&b->md->mem, fmt, ap);
    va_end(ap);
    b->failed = true;
    if (!diag_error(&b->md->diag, place, "%s", text))
        return (Value){ 0 };
    if (inside && there.line)
        diag_note(&b->md->diag, there, "in `%s`, which this calls", inside->name);
    note_callers(b, place);
    return (Value){ 0 };
}

void build_warning(Build *b, Loc at, const char *fmt, ...)
{
    const Decl *inside;
    Loc there = at, place = user_place(b, at, &inside, &there);
    va_list ap;

    va_start(ap, fmt);
    diag_warning(&b->md->diag, place, "%s", arena_vprintf(&b->md->mem, fmt, ap));
    va_end(ap);
}

void build_note(Build *b, Loc at, const char *fmt, ...)
{
    va_list ap;

    if (!at.line)
        return;
    va_start(ap, fmt);
    diag_note(&b->md->diag, at, "%s", arena_vprintf(&b->md->mem, fmt, ap));
    va_end(ap);
}

void build_note_value(Build *b, const Expr *e, const Value *v)
{
    if (e && e->kind == EXPR_NAME && v->loc.line && v->loc.file >= b->md->user)
        build_note(b, v->loc, "`%s` is %s, from here", e->name, build_describe(b, v));
}

const char *build_describe(Build *b, const Value *v)
{
    Arena *mem = &b->md->mem;

    switch (v->kind) {
    case VAL_NONE:   return "nothing";
    case VAL_NUMBER:
        if (v->is_truth)
            return v->integer ? "true" : "false";
        if (v->is_int && b->m->dim_name && v->integer % b->m->dim_probe == 0 && v->integer)
            return dim_str(mem, v->integer, &(DimName){ b->m->dim_name, b->m->dim_probe });
        return v->is_int ? arena_printf(mem, "%lld", (long long)v->integer) : arena_printf(mem, "%g", v->number);
    case VAL_TEXT:   return "a text";
    case VAL_LIST:   return "a list";
    case VAL_RUN:    return arena_printf(mem, "a run of %d", v->nrun);
    case VAL_ALL:    return "all axes";
    case VAL_NODE:   return v->step_scalar ? "a step scalar" : ty_str_in(b->m, value_type(b, v));
    }
    return "?";
}

/* ---- making ---- */

Value value_int(int64_t i) { return (Value){ .kind = VAL_NUMBER, .is_int = true, .integer = i, .number = (double)i }; }
Value value_size(const Build *b, int64_t n)
{
    Value v = value_int(n);

    v.of_batch = n && b->m->dim_probe && n % b->m->dim_probe == 0;
    return v;
}

Value value_float(double x) { return (Value){ .kind = VAL_NUMBER, .number = x }; }

Value value_truth(bool t)
{
    return (Value){ .kind = VAL_NUMBER, .is_truth = true, .integer = t, .number = t };
}

Value value_node(Build *b, Ref r, Loc loc)
{
    if (!r.id)
        return (Value){ 0 };
    return (Value){ .kind = VAL_NODE, .ref = r, .graph = b->g, .loc = loc };
}

bool value_known(const Value *v) { return v->kind == VAL_NUMBER; }

const Type *value_type(const Build *b, const Value *v) { return &graph_at(b->g, v->ref)->type; }

Dtype build_float(const Build *b) { return b->m->float64 ? DT_f64 : DT_f32; }

Ref build_make(Build *b, Op op, Loc at, int narg, const Ref *arg, int nattr, const int64_t *attr, const Type *given)
{
    const char *error = NULL;
    Ref r = graph_make(b->g, op, at, narg, arg, (Attr){ nattr, attr }, given, &error);

    if (!r.id)
        build_error(b, at, "%s", error);
    return r;
}

/* ---- meeting ---- */

/* Numbers become doubles on their way into the graph, so large ones have to be exact there. */
static bool int_fits(Dtype d, int64_t x)
{
    int64_t exact = (int64_t)1 << 53;

    return d == DT_u8 ? x >= 0 && x <= UINT8_MAX : d == DT_i32 ? x >= INT32_MIN && x <= INT32_MAX : x >= -exact && x <= exact;
}

static const char *a_or_an(const Value *v) { return v->is_truth ? "a truth" : "a fraction"; }

Value build_node_of(Build *b, Loc at, const Value *v, const Type *like)
{
    Value r = *v;
    int64_t axis[MAX_RANK];

    if (v->kind == VAL_NUMBER) {
        if (dt_is_int(like->dtype) && !v->is_int)
            return build_error(b, at, "%s (%s) where %s is wanted", a_or_an(v), build_describe(b, v), dt_name(like->dtype));
        if ((like->dtype == DT_bool) != v->is_truth)
            return build_error(b, at, "%s where %s is wanted", build_describe(b, v), ty_str_in(b->m, like));
        if (dt_is_int(like->dtype) && !int_fits(like->dtype, v->integer))
            return build_error(b, at, like->dtype == DT_i64 ? "%s is too large to be held exactly" : "%s does not fit into %s",
                               build_describe(b, v), dt_name(like->dtype));
        return value_node(b, graph_const(b->g, at, *like, v->number), v->loc);
    }
    if (!v->step_scalar)
        return *v;
    if (!dt_is_float(like->dtype))
        return build_error(b, at, "a step scalar is a float, and meets %s", ty_str_in(b->m, like));
    r.ref = graph_cast(b->g, at, v->ref, like->dtype);
    for (int i = 0; i < like->rank; i++)
        axis[i] = i;
    if (like->rank)
        r.ref = graph_expand(b->g, at, r.ref, like->rank, axis, like->dim);
    r.step_scalar = false;
    return r;
}

/* Kept axes of size 1 that meet a longer axis, taken away and put back at that size. */
static Ref stretch(Build *b, Loc at, Ref r, unsigned which, const Type *to)
{
    const Type *t = &graph_at(b->g, r)->type;
    int64_t axis[MAX_RANK], size[MAX_RANK], dim[MAX_RANK];
    int n = 0, rank = 0;

    for (int i = 0; i < t->rank; i++) {
        if (which >> i & 1) {
            axis[n] = i;
            size[n++] = to->dim[i + to->rank - t->rank];
        } else {
            dim[rank++] = t->dim[i];
        }
    }
    if (!n)
        return r;
    const Node *nd = graph_at(b->g, r);

    /* keep made it by inserting just these axes: what it inserted them into is at hand */
    if (nd->op == OP_expand && nd->attr.n == 2 * n && !memcmp(nd->attr.v, axis, (size_t)n * sizeof *axis))
        r = nd->arg[0];
    else
        r = graph_reshape(b->g, at, r, rank, dim);
    return graph_expand(b->g, at, r, n, axis, size);
}

/* The shape of both together, or rank -1: equal from the right, kept axes stretch. */
static Type joint_shape(const Type *a, unsigned ka, const Type *c, unsigned kc)
{
    Type r = a->rank >= c->rank ? *a : *c;

    for (int i = 1; i <= a->rank && i <= c->rank; i++) {
        int x = a->rank - i, y = c->rank - i;

        if (a->dim[x] == c->dim[y])
            continue;
        if (ka >> x & 1)
            r.dim[r.rank - i] = c->dim[y];
        else if (kc >> y & 1)
            r.dim[r.rank - i] = a->dim[x];
        else
            return (Type){ .rank = -1 };
    }
    return r;
}

static void widen(Build *b, Loc at, Value *v, const Type *to)
{
    const Type *t = value_type(b, v);
    int64_t axis[MAX_RANK];
    unsigned which = 0;
    int extra = to->rank - t->rank;

    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] != to->dim[i + extra])
            which |= 1u << i;
    v->ref = stretch(b, at, v->ref, which, to);
    v->kept = extra ? 0 : v->kept & ~which;
    for (int i = 0; i < extra; i++)
        axis[i] = i;
    if (extra)
        v->ref = graph_expand(b->g, at, v->ref, extra, axis, to->dim);
}

static bool mismatch(Build *b, Loc at, const char *what, const char *why, const Expr *ea, const Value *va, const Expr *eb,
                     const Value *vb)
{
    build_error(b, at, "cannot %s %s %s %s: %s", what, build_describe(b, va), strcmp(what, "expand") ? "and" : "to",
                build_describe(b, vb), why);
    build_note_value(b, ea, va);
    build_note_value(b, eb, vb);
    return false;
}

static const char *wider(Dtype a, Dtype c)
{
    return dt_is_float(a) ? dt_name(a) : dt_is_float(c) ? dt_name(c) : dt_name(a > c ? c : a);
}

static const char *shape_reason(const Type *a, const Type *c)
{
    bool ones = false;

    for (int i = 1; i <= a->rank && i <= c->rank; i++) {
        int64_t x = a->dim[a->rank - i], y = c->dim[c->rank - i];

        if (x != y && x != 1 && y != 1)
            return "the shapes differ, and neither is the other's end";
        ones |= x != y;
    }
    assert(ones && "called on shapes that don't meet");
    return "an axis of size 1 stretches only after `keep: true` or by expand(x, [...])";
}

static bool whole(Dtype d) { return dt_is_int(d); }

/* Integers of any width compare by value. */
static void common_int(Build *b, Loc at, Value *va, Value *vb)
{
    Dtype x = value_type(b, va)->dtype, y = value_type(b, vb)->dtype;
    Dtype to = x == DT_i64 || y == DT_i64 ? DT_i64 : DT_i32;

    va->ref = graph_cast(b->g, at, va->ref, to);
    vb->ref = graph_cast(b->g, at, vb->ref, to);
}

bool build_unify(Build *b, Loc at, const char *what, const Expr *ea, Value *va, const Expr *eb, Value *vb, bool compare)
{
    Type real = ty_scalar(DT_f64), to;
    Value *scalar = va->kind == VAL_NUMBER || va->step_scalar ? va : vb, *other = scalar == va ? vb : va;

    if (va->step_scalar && vb->step_scalar)
        return true;
    if (scalar->kind == VAL_NUMBER || scalar->step_scalar) {
        if (scalar->step_scalar && other->kind == VAL_NUMBER) {
            Value *t = scalar;

            scalar = other;
            other = t;
        }
        bool step = other->step_scalar;
        Type like = step ? real : *value_type(b, other);

        /* a comparison with a number wider than the integer's type is by value too */
        if (compare && scalar->kind == VAL_NUMBER && scalar->is_int && whole(like.dtype)
            && (like.dtype == DT_u8 || !int_fits(like.dtype, scalar->integer))) {
            like.dtype = int_fits(DT_i32, scalar->integer) ? DT_i32 : DT_i64;
            other->ref = graph_cast(b->g, at, other->ref, like.dtype);
        }
        if (step && scalar->kind == VAL_NUMBER) {
            *scalar = value_node(b, graph_const(b->g, at, real, scalar->number), scalar->loc);
            scalar->step_scalar = true;
            return true;
        }
        *scalar = build_node_of(b, at, scalar, &like);
        scalar->kept = other->kept;
        scalar->step_truth = other->step_truth;
        return scalar->kind == VAL_NODE;
    }
    if (compare && whole(value_type(b, va)->dtype) && whole(value_type(b, vb)->dtype))
        common_int(b, at, va, vb);
    if (value_type(b, va)->dtype != value_type(b, vb)->dtype)
        return mismatch(b, at, what, arena_printf(&b->md->mem, "their dtypes differ, and none is changed by itself: write %s(...)",
                                                  wider(value_type(b, va)->dtype, value_type(b, vb)->dtype)), ea, va, eb, vb);
    to = joint_shape(value_type(b, va), va->kept, value_type(b, vb), vb->kept);
    if (to.rank < 0)
        return mismatch(b, at, what, shape_reason(value_type(b, va), value_type(b, vb)), ea, va, eb, vb);
    widen(b, at, va, &to);
    widen(b, at, vb, &to);
    return true;
}

/* ---- names ---- */

Name *scope_find(Scope *s, const char *name)
{
    for (int i = s->n - 1; i >= 0; i--)
        if (!strcmp(s->name[i].name, name))
            return &s->name[i];
    return NULL;
}

Name *scope_set(Build *b, const char *name, Value v)
{
    Scope *s = b->scope;
    Name *n = scope_find(s, name);

    if (!n) {
        arena_push(&b->md->mem, s->name, s->n, s->cap);
        n = &s->name[s->n++];
    }
    *n = (Name){ .name = name, .value = v, .slot = -1 };
    return n;
}

Value build_scalar(Build *b, Loc at, const char *name, double value)
{
    int slot = module_slot(b->m, name);
    Value v;

    if (slot < 0) {
        slot = module_add_slot(b->m, name, SLOT_scalar, ty_scalar(DT_f64), at);
        b->m->slot[slot].value = value;
    }
    const Slot *s = &b->m->slot[slot];

    if (s->kind != SLOT_scalar || s->value != value) {
        v = s->kind != SLOT_scalar
                ? build_error(b, at, "`%s` is an input of the step, and the name of a %s already", name, slot_kind_name[s->kind])
                : build_error(b, at, "input `%s` is %g already, so it can't be %g as well", name, s->value, value);
        build_note(b, s->loc, "declared here");
        return v;
    }
    v = value_node(b, graph_read(b->g, at, slot), at);
    v.step_scalar = true;
    return v;
}

const Decl *find_decl(const Model *md, const char *name)
{
    const Decl *found = NULL;

    for (const Decl *d = md->decl; d; d = d->next)
        if (d->kind != DECL_TRAIN && !strcmp(d->name, name))
            found = d;
    return found;
}
