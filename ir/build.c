/* build.c - nodes from the expressions of ops.def and rules.def. */
#include "ir/build.h"

#include <assert.h>
#include <string.h>

typedef struct Builder {
    Graph         *g;
    Loc            loc;
    const Binding *env;
    int            n;
} Builder;

static Ref build(Builder *b, const Expr *e, Ref like);

static Ref bound(const Builder *b, const char *name)
{
    for (int i = 0; i < b->n; i++)
        if (!strcmp(b->env[i].name, name))
            return b->env[i].ref;
    assert(!"a table's expression uses only what it is given");
    return (Ref){ 0 };
}

static bool is_number(const Expr *e)
{
    return e->kind == EXPR_NUMBER || (e->kind == EXPR_UNARY && !strcmp(e->name, "neg") && is_number(e->arg[0]));
}

/* > and >= are < and <= turned round; everything else is a row's own name. */
static Op operation(const char *name, bool *turned)
{
    Op op;
    bool ok;

    *turned = !strcmp(name, "gt") || !strcmp(name, "ge");
    ok = op_parse(!strcmp(name, "gt") ? "lt" : !strcmp(name, "ge") ? "le" : name, &op);
    assert(ok && op_info[op].cls == CLASS_POINT && op_info[op].attr == ATTR_NONE && "tables compute with points");
    (void)ok;
    return op;
}

/* Numbers take dtype and shape of the argument they meet: so those that are no numbers are built first.
 * The bool that select chooses by is no model for its other arguments. */
static Ref build_op(Builder *b, const Expr *e, Ref like)
{
    Ref arg[3] = { { 0 } };
    bool turned;
    Op op = operation(e->name, &turned);
    int first = op == OP_select;

    assert(e->narg == op_info[op].narg && e->narg <= 3);
    if (first)
        arg[0] = build(b, e->arg[0], like);
    for (int i = first; i < e->narg; i++)
        if (!is_number(e->arg[i]))
            arg[i] = build(b, e->arg[i], like);
    for (int i = first; i < e->narg; i++)
        if (arg[i].id) {
            like = arg[i];
            break;
        }
    for (int i = first; i < e->narg; i++)
        if (!arg[i].id)
            arg[i] = build(b, e->arg[i], like);
    if (turned) {
        Ref a = arg[0];

        arg[0] = arg[1];
        arg[1] = a;
    }
    return graph_make(b->g, op, b->loc, e->narg, arg, (Attr){ 0 }, NULL, NULL);
}

static double number(const Expr *e) { return e->kind == EXPR_NUMBER ? e->number : -number(e->arg[0]); }

static Ref build(Builder *b, const Expr *e, Ref like)
{
    if (is_number(e))
        return graph_const(b->g, b->loc, graph_at(b->g, like)->type, number(e));
    if (e->kind == EXPR_NAME)
        return bound(b, e->name);
    assert((e->kind == EXPR_CALL || e->kind == EXPR_UNARY || e->kind == EXPR_BINARY) && "tables hold expressions");
    return build_op(b, e, like);
}

Ref build_expr(Graph *g, Loc loc, const Expr *e, int n, const Binding *env, Ref like)
{
    Builder b = { g, loc, env, n };

    return build(&b, e, like);
}
