/* match.c - does a rule fit a node, and what does it make of it?
 *
 * A pattern is compared with the node from outside in, the node's arguments being in the graph already.
 * Letters are bound on the way.  The replacement is an expression over them; if its outermost operation
 * carries an attribute, the rule's condition has given that.
 */
#include <assert.h>
#include <string.h>

#include "ir/build.h"
#include "passes/rules.h"

/* ---- does a pattern fit? ---- */

/* One attempt: bit i of turned says whether the pattern's i-th commutative operation takes its
 * arguments the other way round. */
typedef struct Attempt {
    Match    *mt;
    unsigned  turned;
    int       ncomm, nnode;
} Attempt;

static bool fits(Attempt *at, const Expr *e, Ref r);

static bool fits_number(const Graph *g, double x, Ref r)
{
    const Node *nd = graph_at(g, r);

    if (nd->op != OP_const)
        return false;
    double value = attr_value(&nd->attr);
    return memcmp(&value, &x, sizeof x) == 0;    /* 0 is not -0 */
}

static bool fits_name(Match *mt, const char *name, Ref r)
{
    Ref *bound = &mt->bound[name[0] - 'a'];

    if (rules_is_const_name(name) && graph_at(mt->g, r)->op != OP_const)
        return false;
    if (bound->id)
        return bound->id == r.id;
    *bound = r;
    return true;
}

static bool fits_node(Attempt *at, const Expr *e, const Node *nd)
{
    Op  op;
    int turn = 0;

    if (!rules_op(e, &op) || op != nd->op)
        return false;
    assert(at->nnode < RULE_NODES && "a pattern has at most RULE_NODES operations");
    at->mt->node[at->nnode++] = nd;
    if (op_info[op].props & PROP_COMM)
        turn = at->turned >> at->ncomm++ & 1;
    for (int i = 0; i < nd->narg; i++) {
        if (!fits(at, e->arg[i], nd->arg[turn ? 1 - i : i]))
            return false;
    }
    return true;
}

static bool fits(Attempt *at, const Expr *e, Ref r)
{
    double x;

    if (e->kind == EXPR_NAME)
        return fits_name(at->mt, e->name, r);
    if (rules_number(e, &x))
        return fits_number(at->mt->g, x, r);
    return fits_node(at, e, graph_at(at->mt->g, r));
}

static int count_commutative(const Expr *e)
{
    Op  op;
    int n = rules_op(e, &op) && (op_info[op].props & PROP_COMM);

    for (int i = 0; i < e->narg; i++)
        n += count_commutative(e->arg[i]);
    return n;
}

bool rules_match(const RuleExpr *rule, Rule which, Graph *g, const Node *nd, bool arg_shared, Match *mt)
{
    const Expr *pattern = rule[which].pattern;

    if (rule[which].root != nd->op)
        return false;

    unsigned ways = 1u << count_commutative(pattern);
    for (unsigned turned = 0; turned < ways; turned++) {
        Attempt at = { .mt = mt, .turned = turned };

        *mt = (Match){ .g = g, .arg_shared = arg_shared };
        if (fits_node(&at, pattern, nd) && rule_info[which].condition(mt))
            return true;
    }
    return false;
}

/* ---- making the replacement ---- */

static Ref build(const Match *mt, const Expr *e)
{
    static const char letters[26][2] = {
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m",
        "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z",
    };
    Binding env[26];
    int     n = 0;

    for (int i = 0; i < 26; i++) {
        if (mt->bound[i].id)
            env[n++] = (Binding){ letters[i], mt->bound[i] };
    }
    return build_expr(mt->g, mt->node[0]->loc, e, n, env, mt->node[0]->arg[0]);
}

/* Of the pattern's operation of this name. */
static Attr pattern_attr(const Match *mt, Op op)
{
    for (int i = 0; i < RULE_NODES; i++)
        if (mt->node[i] && mt->node[i]->op == op)
            return mt->node[i]->attr;
    assert(!"an operation inside a replacement has its attribute from the pattern");
    return (Attr){ 0 };
}

static bool carries_attribute(const Expr *e)
{
    Op op;

    if (!rules_op(e, &op))
        return false;
    bool any = op_info[op].attr != ATTR_NONE;

    for (int i = 0; i < e->narg; i++)
        any |= carries_attribute(e->arg[i]);
    return any;
}

static Ref make(const Match *mt, const Expr *e, bool is_root)
{
    Op   op;
    Ref  arg[3];
    Attr attr = { 0 };

    if (!carries_attribute(e) || !rules_op(e, &op))
        return build(mt, e);
    for (int i = 0; i < e->narg; i++)
        arg[i] = make(mt, e->arg[i], false);
    if (op_info[op].attr != ATTR_NONE)
        attr = is_root ? mt->attr : pattern_attr(mt, op);
    return graph_make(mt->g, op, mt->node[0]->loc, e->narg, arg, attr, NULL, NULL);
}

Ref rules_replace(const RuleExpr *rule, Rule which, const Match *mt)
{
    return make(mt, rule[which].replacement, true);
}
