/* simplify.c - rewrite by rules.def while copying, before gradients are taken (canonical) and behind.
 *
 * Each graph is copied with Graph.rewrite set, so every node is looked at just before it is made, when
 * its arguments are in their final form.  In turn: constants fold, the constant argument of a commutative
 * operation comes second, and the rules are tried from the first.  What a rule gives is made the same way
 * and so looked at again; rules_weight says why that ends.
 *
 * Some rules ask whether a node has other users, which is known only of the graph that is copied, so copies
 * are made until one of them changes nothing.
 */
#include "passes/pass.h"
#include "passes/rules.h"

static const Ref none = { 0 };

typedef struct Simplify {
    const RuleExpr *rule;
    int             left;          /* rewrites that may still be made; negative: any number */
    const Graph    *from;          /* the graph that is copied */
    const int      *nuse;          /* users of each of its nodes */
    bool            changed;       /* a rule applied in this copy */
    const Node     *source;        /* its node that is being copied; NULL once a rule has replaced that */
} Simplify;

/* ---- one node ---- */

/* Of a node that is copied as it was, the users of its argument are known. */
static bool arg_shared(const Simplify *s, const Graph *g, const Node *nd)
{
    const Node *was = s->source;

    if (!was || nd->narg == 0 || was->op != nd->op)
        return true;
    return s->nuse[was->arg[0].id] > 1 || graph_at(s->from, was->arg[0])->op != graph_at(g, nd->arg[0])->op;
}

/* Before the replacement is made: its nodes may be rewritten as well. */
static void spend(Simplify *s)
{
    s->source = NULL;
    s->changed = true;
    if (s->left > 0)
        s->left--;
}

static Ref apply_rules(Simplify *s, Graph *g, const Node *nd)
{
    bool shared = arg_shared(s, g, nd);

    for (int i = 0; i < NRULE; i++) {
        Match mt;

        if (!rules_match(s->rule, (Rule)i, g, nd, shared, &mt))
            continue;
        spend(s);
        return rules_replace(s->rule, (Rule)i, &mt);
    }
    return none;
}

/* Equal up to the order of arguments is equal (graph.c), so the order is for readers: constants second. */
static bool is_turned(const Graph *g, const Node *nd)
{
    return (op_info[nd->op].props & PROP_COMM) && graph_at(g, nd->arg[0])->op == OP_const
        && graph_at(g, nd->arg[1])->op != OP_const;
}

static Ref rewrite(Graph *g, const Node *nd, void *ctx)
{
    Simplify *s = ctx;
    Ref       r;

    if (s->left == 0)
        return none;
    if ((r = fold_constant(g, nd)).id) {
        spend(s);
        return r;
    }
    if (is_turned(g, nd)) {
        Ref turned[2] = { nd->arg[1], nd->arg[0] };

        spend(s);
        return graph_make(g, nd->op, nd->loc, 2, turned, nd->attr, NULL, NULL);
    }
    return apply_rules(s, g, nd);
}

/* ---- the pass ---- */

static const int *count_uses(const Graph *g)
{
    int  *nuse = arena_array(&g->m->mem, int, g->nnode);
    bool *want = arena_array(&g->m->mem, bool, g->nnode);

    graph_reach_ends(g, want);
    for (int i = 0; i < g->nwrite; i++)
        nuse[g->write[i].value.id]++;
    for (int i = 0; i < g->nmin; i++)
        nuse[g->min[i].loss.id]++;
    for (int id = 1; id < g->nnode; id++) {
        for (int i = 0; want[id] && i < g->node[id].narg; i++)
            nuse[g->node[id].arg[i].id]++;
    }
    return nuse;
}

static Ref copy_node(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    Simplify *s = ctx;

    s->source = nd;
    to->rewrite = rewrite;
    to->rewrite_ctx = s;
    return graph_clone_node(to, nd, arg);
}

/* Without what rules made superfluous. */
static Graph *copy_once(Simplify *s, const Graph *g)
{
    Graph *to;

    s->from = g;
    s->nuse = count_uses(g);
    s->changed = false;
    to = graph_copy(g, copy_node, s);
    to->rewrite = NULL;
    to->rewrite_ctx = NULL;
    return graph_copy(to, NULL, NULL);
}

static Graph *simplify_graph(Simplify *s, const Graph *g)
{
    Graph *to = copy_once(s, g);

    while (s->changed && s->left != 0)
        to = copy_once(s, to);
    return to;
}

void simplify(Module *m, const PassOptions *o)
{
    Simplify s = { .rule = rules_parse(&m->mem), .left = o->rule_limit };

    for (int i = 0; i < m->ngraph; i++)
        m->graph[i] = simplify_graph(&s, m->graph[i]);
    if (m->update)
        m->update = simplify_graph(&s, m->update);
}

void canonical(Module *m, const PassOptions *o)
{
    simplify(m, o);
}
