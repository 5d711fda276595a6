/* build_grad.c - derivatives as expressions: grad(y, x), and variable(e) to differentiate by.
 *
 * Here they are only nodes; autodiff writes them out.  Equal nodes are one, so x is found on the way to y wherever it
 * is read or computed again, and two calls of variable are two nodes though their values are equal.
 */
#include "frontend/build.h"

#include <string.h>

bool *build_flow(Build *b, Ref y)
{
    bool *reached = arena_array(&b->md->mem, bool, b->g->nnode);

    reached[y.id] = true;
    for (int id = y.id; id > 0; id--) {
        const Node *nd = &b->g->node[id];
        bool passes = reached[id] && dt_is_float(nd->type.dtype) && strcmp(op_info[nd->op].gradient, "-");

        for (int i = 0; i < nd->narg && passes; i++)
            reached[nd->arg[i].id] = true;
    }
    return reached;
}

static bool no_names(Build *b, const Expr *e, int nwant, const char *wants)
{
    for (int i = 0; i < e->narg; i++)
        if (e->argname && e->argname[i]) {
            build_error(b, e->argname_loc[i], "%s has no parameter `%s`", e->name, e->argname[i]);
            return false;
        }
    if (e->narg != nwant)
        build_error(b, e->loc, "%s wants %s, got %d argument%s", e->name, wants, e->narg, e->narg == 1 ? "" : "s");
    return e->narg == nwant;
}

static bool float_tensor(Build *b, const Expr *e, const Expr *arg, const Value *v, const char *what)
{
    if (v->kind == VAL_NODE && dt_is_float(value_type(b, v)->dtype))
        return true;
    if (v->kind)
        build_error(b, arg->loc, "%s %s a tensor of f32 or f64, got %s", e->name, what, build_describe(b, v));
    return false;
}

Value build_grad(Build *b, const Expr *e, Op op)
{
    Value y, x, r;

    if (!no_names(b, e, 2, "y and x, what is differentiated and by what"))
        return (Value){ 0 };
    if (b->scan)
        return build_error(b, e->loc, "grad stands outside of scans: it can take the derivative of a whole one");
    y = build_value(b, e->arg[0]);
    x = build_value(b, e->arg[1]);
    if (!float_tensor(b, e, e->arg[0], &y, "differentiates") || !float_tensor(b, e, e->arg[1], &x, "differentiates by"))
        return (Value){ 0 };
    if (!build_flow(b, y.ref)[x.ref.id])
        build_warning(b, e->loc, "this does not depend on what it is differentiated by: zero");
    r = value_node(b, build_make(b, op, e->name_loc, 2, (Ref[]){ y.ref, x.ref }, 0, NULL, NULL), e->loc);
    r.kept = x.kept;
    return r;
}

Value build_variable(Build *b, const Expr *e, Op op)
{
    int64_t number;
    Value v, r;

    if (!no_names(b, e, 1, "one tensor"))
        return (Value){ 0 };
    v = build_value(b, e->arg[0]);
    if (v.kind == VAL_NUMBER && !v.is_truth)
        v = build_node_of(b, e->arg[0]->loc, &v, &(Type){ .dtype = build_float(b) });
    if (!float_tensor(b, e, e->arg[0], &v, "holds"))
        return (Value){ 0 };
    number = b->nvariable++;
    r = value_node(b, build_make(b, op, e->name_loc, 1, &v.ref, 1, &number, NULL), e->loc);
    r.kept = v.kept;
    return r;
}
