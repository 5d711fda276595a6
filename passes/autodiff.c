/* autodiff.c - gradients of each minimized loss, by reverse mode.
 *
 * One walk a loss, from the loss back to the reads of its parameters.  Each node on the way has an
 * adjoint, d loss / d node: the sum of what its users hand down.  What a user hands down is the
 * gradient column of its row in ops.def, so no operation is known by name here.  A node's users stand
 * behind it, so a walk from the last node to the first meets an adjoint when it is complete, and adds
 * up in the same order every time.
 *
 * Adjoints are appended to a copy of the graph as the table has them: simplify tidies up later.
 * A. Griewank, A. Walther, "Evaluating Derivatives", SIAM 2008, section 3.2.
 */
#include <assert.h>

#include "passes/gradient.h"
#include "passes/pass.h"

typedef struct Walk {
    const Gradient *table;
    Graph          *g;
    bool           *on_path;   /* of nodes up to the loss: lies between the loss and a parameter */
    Ref            *adjoint;
} Walk;

static bool is_param(const Minimize *min, const Node *nd)
{
    for (int i = 0; i < min->n; i++) {
        if (nd->op == OP_read && nd->attr.v[0] == min->param[i])
            return true;
    }
    return false;
}

/* Does an adjoint of nd's argument i help to get at a parameter? */
static bool leads_to_param(const Walk *w, const Node *nd, int i)
{
    return w->on_path[nd->arg[i].id] && gradient_flows(w->table, nd->op, i);
}

/* Integers and bools have no derivative; nodes that no parameter reaches need none. */
static void mark_path(Walk *w, const Minimize *min)
{
    int   n = min->loss.id + 1;
    bool *reached = arena_array(&w->g->m->mem, bool, w->g->nnode);

    graph_reach(w->g, min->loss, reached);
    for (int id = 1; id < n; id++) {
        const Node *nd = graph_at(w->g, (Ref){ id });

        if (!reached[id] || !dt_is_float(nd->type.dtype))
            continue;
        w->on_path[id] = is_param(min, nd);
        for (int i = 0; i < nd->narg && !w->on_path[id]; i++)
            w->on_path[id] = leads_to_param(w, nd, i);
    }
}

static void accumulate(Walk *w, Ref to, Ref part, Loc loc)
{
    Ref *sum = &w->adjoint[to.id];

    *sum = sum->id ? graph_op2(w->g, OP_add, loc, *sum, part) : part;
}

static void hand_down(Walk *w, Ref y)
{
    Node nd = *graph_at(w->g, y);
    bool want[GRAD_ARGS] = { false };
    Ref  part[GRAD_ARGS] = { { 0 } };

    for (int i = 0; i < nd.narg; i++)
        want[i] = leads_to_param(w, &nd, i);
    gradient_build(w->table, w->g, y, w->adjoint[y.id], want, part);
    for (int i = 0; i < nd.narg; i++) {
        if (want[i])
            accumulate(w, nd.arg[i], part[i], nd.loc);
    }
}

/* The adjoint of the parameter's only read; zero if the loss does not depend on it. */
static Ref gradient_of(const Walk *w, const Minimize *min, int param)
{
    for (int id = 1; id <= min->loss.id; id++) {
        const Node *nd = graph_at(w->g, (Ref){ id });

        if (nd->op == OP_read && nd->attr.v[0] == param && w->adjoint[id].id)
            return w->adjoint[id];
    }
    return graph_const(w->g, min->loc, w->g->m->slot[param].type, 0);
}

static void differentiate(const Gradient *table, Graph *g, const Minimize *min)
{
    int  n = min->loss.id + 1;
    Walk w = { table, g, arena_array(&g->m->mem, bool, n), arena_array(&g->m->mem, Ref, n) };
    Type loss = graph_at(g, min->loss)->type;

    assert(loss.rank == 0 && dt_is_float(loss.dtype) && "a loss is one number");
    mark_path(&w, min);
    if (w.on_path[min->loss.id])
        w.adjoint[min->loss.id] = graph_const(g, graph_at(g, min->loss)->loc, loss, 1);
    for (int id = min->loss.id; id > 0; id--) {
        if (w.adjoint[id].id)
            hand_down(&w, (Ref){ id });
    }
    for (int i = 0; i < min->n; i++)
        graph_write(g, min->loc, min->grad[i], gradient_of(&w, min, min->param[i]));
}

void autodiff(Module *m, const PassOptions *o)
{
    const Gradient *table = gradient_table(&m->mem);

    (void)o;
    for (int i = 0; i < m->ngraph; i++) {
        Graph *g = graph_copy(m->graph[i], NULL, NULL);

        for (int j = 0; j < g->nmin; j++)
            differentiate(table, g, &g->min[j]);
        g->nmin = 0;
        m->graph[i] = graph_copy(g, NULL, NULL);   /* without what only the minimizes held */
    }
}
