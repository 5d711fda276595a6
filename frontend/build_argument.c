/* build_argument.c - arguments of builtins: which there are, and tensors, axes and sizes among them. */
#include "frontend/build_builtin.h"

#include <string.h>

/* ---- which there are ---- */

const Expr *argument(const Expr *e, const char *name, int place)
{
    int at = 0;

    for (int i = 0; i < e->narg; i++) {
        if (e->argname && e->argname[i] ? !strcmp(e->argname[i], name) : at == place)
            return e->arg[i];
        at += !(e->argname && e->argname[i]);
    }
    return NULL;
}

static int param_count(const Builtin *f)
{
    int n = 0;

    while (n < (int)(sizeof f->param / sizeof *f->param) && f->param[n])
        n++;
    return n;
}

static int param_place(const Builtin *f, const char *name)
{
    int n = param_count(f);

    for (int i = 0; i < n; i++)
        if (!strcmp(f->param[i], name))
            return i;
    return -1;
}

bool is_parameter(const Builtin *f, const char *name) { return param_place(f, name) >= 0; }

static bool wrong_name(Build *b, const Expr *e, const Builtin *f, int i)
{
    const char *near = diag_near(e->argname[i], f->param, param_count(f));

    build_error(b, e->argname_loc[i], near ? "%s has no parameter `%s`; did you mean `%s`?" : "%s has no parameter `%s`", e->name,
                e->argname[i], near);
    return false;
}

bool arguments_fit(Build *b, const Expr *e, const Builtin *f)
{
    unsigned given = 0;
    int count = 0;

    for (int i = 0; i < e->narg; i++) {
        bool by_name = e->argname && e->argname[i];
        int at = by_name ? param_place(f, e->argname[i]) : count++;

        if (!by_name && f->ordered == ANY_NUMBER)
            continue;
        if (at < 0)
            return wrong_name(b, e, f, i);
        if (!by_name && at >= f->ordered) {
            build_error(b, e->arg[i]->loc, "%s takes %d argument%s, this is one more", e->name, f->ordered,
                        f->ordered == 1 ? "" : "s");
            return false;
        }
        if (given >> at & 1) {
            build_error(b, e->arg[i]->loc, "%s: `%s` is given twice", e->name, f->param[at]);
            return false;
        }
        given |= 1u << at;
    }
    return true;
}

/* ---- tensors and numbers ---- */

Value argument_tensor(Build *b, const Expr *e, const char *name, int place)
{
    const Expr *a = argument(e, name, place);
    Value v;

    if (!a)
        return place ? build_error(b, e->loc, "%s: `%s` is missing", e->name, name)
                     : build_error(b, e->loc, "%s wants a tensor", e->name);
    v = build_value(b, a);
    if (v.kind == VAL_NUMBER)
        v = build_node_of(b, a->loc, &v, &(Type){ .dtype = v.is_truth ? DT_bool : build_float(b) });
    if (v.kind && v.kind != VAL_NODE)
        return build_error(b, a->loc, "%s wants a tensor, got %s", e->name, build_describe(b, &v));
    return v;
}

bool argument_int(Build *b, const Expr *e, const char *name, int place, int64_t *out)
{
    const Expr *a = argument(e, name, place);

    return !a || build_int(b, a, arena_printf(&b->md->mem, "%s: `%s`", e->name, name), out);
}

/* Whole numbers of a list, evaluated where it stands. */
bool build_run(Build *b, const Expr *list, const char *what, Value *run)
{
    Value v = { .kind = VAL_RUN, .nrun = list->narg, .loc = list->loc };

    if (list->narg > MAX_RANK) {
        build_error(b, list->loc, "%s: more than %d numbers", what, MAX_RANK);
        return false;
    }
    for (int i = 0; i < list->narg; i++)
        if (!build_int(b, list->arg[i], what, &v.run[i]))
            return false;
    *run = v;
    return true;
}

bool argument_ints(Build *b, const Expr *e, const char *name, int place, int n, int64_t *out)
{
    const Expr *a = argument(e, name, place);
    const char *what = arena_printf(&b->md->mem, "%s: `%s`", e->name, name);
    Value v;

    if (!a)
        return true;
    v = build_value(b, a);
    if (!v.kind || (v.kind == VAL_LIST && !build_run(b, v.list, what, &v)) || !build_fixed(b, a->loc, what, &v))
        return false;
    if (v.kind == VAL_NUMBER && v.is_int) {
        for (int i = 0; i < n; i++)
            out[i] = v.integer;
        return true;
    }
    if (v.kind != VAL_RUN || v.nrun != n) {
        build_error(b, a->loc, v.kind == VAL_RUN ? "%s wants one number or %d, got %s" : "%s wants a whole number or a list of %d, got %s",
                    what, n, v.kind == VAL_RUN ? arena_printf(&b->md->mem, "%d", v.nrun) : build_describe(b, &v));
        return false;
    }
    memcpy(out, v.run, (size_t)n * sizeof *out);
    return true;
}

/* ---- axes and sizes ---- */

static bool axis_fits(Build *b, Loc at, int rank, int64_t *axis)
{
    if (*axis < -rank || *axis >= rank) {
        build_error(b, at, "there is no axis %lld in a tensor of %d", (long long)*axis, rank);
        return false;
    }
    *axis += *axis < 0 ? rank : 0;
    return true;
}

bool one_axis(Build *b, const Expr *e, int rank, int64_t *axis)
{
    return build_int(b, e, "an axis", axis) && axis_fits(b, e->loc, rank, axis);
}

bool axis_order(Build *b, const Expr *e, int rank, int *n, int64_t *axis)
{
    Value v = e ? build_value(b, e) : (Value){ .kind = VAL_ALL };
    unsigned used = 0;

    if (!v.kind)
        return false;
    *n = v.kind == VAL_LIST ? v.list->narg : v.kind == VAL_RUN ? v.nrun : v.kind == VAL_ALL ? rank : 1;
    if (*n > MAX_RANK) {
        build_error(b, e->loc, "more than %d axes", MAX_RANK);
        return false;
    }
    for (int i = 0; i < *n; i++) {
        const Expr *at = v.kind == VAL_LIST ? v.list->arg[i] : e;
        bool is_number = v.kind != VAL_RUN && v.kind != VAL_ALL;

        axis[i] = v.kind == VAL_RUN ? v.run[i] : i;
        if (is_number ? !one_axis(b, at, rank, &axis[i]) : e && !axis_fits(b, at->loc, rank, &axis[i]))
            return false;
        if (used >> axis[i] & 1) {
            build_error(b, at->loc, "axis %lld is named twice", (long long)axis[i]);
            return false;
        }
        used |= 1u << axis[i];
    }
    return true;
}

bool axis_list(Build *b, const Expr *e, int rank, int *n, int64_t *axis)
{
    bool used[MAX_RANK] = { 0 };

    if (!axis_order(b, e, rank, n, axis))
        return false;
    for (int i = 0; i < *n; i++)
        used[axis[i]] = true;
    for (int i = 0, at = 0; i < rank; i++)
        if (used[i])
            axis[at++] = i;
    return true;
}

bool size_list(Build *b, const Expr *e, int *n, int64_t *dim)
{
    *n = 0;
    if (!e || e->kind != EXPR_LIST) {
        build_error(b, e ? e->loc : (Loc){ 0 }, "a list of sizes is wanted: [2, 3]");
        return false;
    }
    for (int i = 0; i < e->narg; i++) {
        Value v = build_value(b, e->arg[i]);
        int more = v.kind == VAL_RUN ? v.nrun : 1;

        if (!v.kind)
            return false;
        if (v.kind != VAL_RUN && !size_of(b, e->arg[i]->loc, "a size", &v, &v.integer))
            return false;
        if (*n + more > MAX_RANK) {
            build_error(b, e->loc, "more than %d axes", MAX_RANK);
            return false;
        }
        for (int j = 0; j < more; j++)
            dim[(*n)++] = v.kind == VAL_RUN ? v.run[j] : v.integer;
    }
    return true;
}

/* A field's values reach a bounded use through casts and movement alone: the bound is the field's own. */
void bound_field(Build *b, Ref r, int64_t bound)
{
    const Node *nd = graph_at(b->g, r);

    while (nd->narg == 1 && (nd->op == OP_cast || op_info[nd->op].cls == CLASS_MOVE))
        nd = graph_at(b->g, nd->arg[0]);
    if (nd->op != OP_read)
        return;
    Slot *s = &b->m->slot[nd->attr.v[0]];

    if ((s->kind == SLOT_field || s->kind == SLOT_input) && (!s->bound || bound < s->bound))
        s->bound = bound;
}

