/* autodiff.c - derivatives, by reverse mode: those that the model writes as grad(y, x), and of each minimized loss.
 *
 * One walk a y or loss, from it back to the nodes that are asked for.  Each node on the way has an
 * adjoint, d y / d node: the sum of what its users hand down.  What a user hands down is the
 * gradient column of its row in ops.def, so no operation is known by name here.  A node's users stand
 * behind it, so a walk from the last node to the first meets an adjoint when it is complete, and adds
 * up in the same order every time.
 *
 * Grads go first, while the graph is copied: their arguments stand before them, so the innermost is written out
 * when an outer one is met, and is differentiated again like any other expression.
 *
 * Adjoints are appended to a copy of the graph as the table has them: simplify tidies up later.
 * A. Griewank, A. Walther, "Evaluating Derivatives", SIAM 2008, section 3.2.
 */
#include <assert.h>

#include "passes/autodiff.h"
#include "passes/pass.h"

bool walk_leads(const Walk *w, const Node *nd, int i)
{
    return w->on_path[nd->arg[i].id] && gradient_flows(w->table, nd->op, i);
}

/* Integers and bools have no derivative; nodes that no target reaches need none. */
static void mark_path(Walk *w, Ref y, const bool *target)
{
    bool *reached = arena_array(&w->g->m->mem, bool, w->g->nnode), again;

    graph_reach(w->g, y, reached);
    do {
        again = false;      /* a carry that its next puts on the path stands before it */
        for (int id = 1; id <= y.id; id++) {
            const Node *nd = graph_at(w->g, (Ref){ id });

            if (!reached[id] || !dt_is_float(nd->type.dtype))
                continue;
            w->on_path[id] |= target[id];
            for (int i = 0; i < nd->narg && !w->on_path[id]; i++)
                w->on_path[id] = walk_leads(w, nd, i);
            if (nd->op == OP_next && w->on_path[id] && !w->on_path[nd->arg[0].id])
                again = w->on_path[nd->arg[0].id] = true;
        }
    } while (again);
}

void walk_add(Walk *w, Ref to, Ref part, Loc loc)
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
        want[i] = walk_leads(w, &nd, i);
    gradient_build(w->table, w->g, y, w->adjoint[y.id], want, part);
    for (int i = 0; i < nd.narg; i++) {
        if (want[i])
            walk_add(w, nd.arg[i], part[i], nd.loc);
    }
}

/* The adjoints of d sum(y), by node up to y: complete for targets, none where y does not depend on them. */
static Ref *walk_back(const Gradient *table, Graph *g, Ref y, const bool *target)
{
    Arena *mem = &g->m->mem;
    Walk   w = { .table = table, .g = g, .y = y, .on_path = arena_array(mem, bool, y.id + 1), .adjoint = arena_array(mem, Ref, y.id + 1) };
    Node   last = *graph_at(g, y);

    mark_path(&w, y, target);
    if (w.on_path[y.id])
        w.adjoint[y.id] = graph_const(g, last.loc, last.type, 1);
    w.scan = scan_of_nodes(g);
    w.first = walk_first_results(&w, y);
    for (int id = y.id; id > 0; id--) {
        const Node *nd = graph_at(g, (Ref){ id });

        if (scan_is_result(nd->op) && w.first[nd->attr.v[SCAN_NUMBER]] == id)
            walk_scan(&w, id);
        else if (w.adjoint[id].id && !w.scan[id] && !scan_is_result(nd->op))
            hand_down(&w, (Ref){ id });
    }
    return w.adjoint;
}

/* ---- grad(y, x) ---- */

typedef struct Expand {
    const Gradient *table;
    const Graph    *from;
    const bool     *want;
    const Ref      *map;
    Ref           **adjoint;   /* by a y in from: its walk in the copy; NULL: not made yet */
} Expand;

/* The copies of all x by which y is differentiated.  One that stands behind y is not on the way to it. */
static bool *targets_of(const Expand *e, const Graph *to, Ref y)
{
    bool *target = arena_array(&to->m->mem, bool, to->nnode);

    for (int id = y.id; id < e->from->nnode; id++) {
        const Node *nd = &e->from->node[id];

        if (e->want[id] && nd->op == OP_grad && nd->arg[0].id == y.id && nd->arg[1].id <= y.id)
            target[e->map[nd->arg[1].id].id] = true;
    }
    return target;
}

static Ref expand_grad(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    const Expand *e = ctx;

    if (nd->op != OP_grad)
        return graph_clone_node(to, nd, arg);

    Ref **adjoint = &e->adjoint[nd->arg[0].id], dx = { 0 };
    if (!*adjoint)
        *adjoint = walk_back(e->table, to, arg[0], targets_of(e, to, nd->arg[0]));
    if (arg[1].id <= arg[0].id)
        dx = (*adjoint)[arg[1].id];
    return dx.id ? dx : graph_const(to, nd->loc, nd->type, 0);
}

static Graph *expand_grads(const Gradient *table, Graph *from)
{
    Arena *mem = &from->m->mem;
    Graph *to = graph_new(from->m, from->entry, from->batch);
    Ref   *map = arena_array(mem, Ref, from->nnode);
    Expand e = { table, from, graph_live(from), map, arena_array(mem, Ref *, from->nnode) };

    graph_copy_into(to, from, map, e.want, expand_grad, &e);
    graph_copy_ends(to, from, map);
    return to;
}

/* ---- losses ---- */

static bool is_param(const Minimize *min, const Node *nd)
{
    for (int i = 0; i < min->n; i++) {
        if (nd->op == OP_read && nd->attr.v[0] == min->param[i])
            return true;
    }
    return false;
}

/* The adjoint of the parameter's only read; zero if the loss does not depend on it. */
static Ref gradient_of(Graph *g, const Minimize *min, const Ref *adjoint, int param)
{
    for (int id = 1; id <= min->loss.id; id++) {
        const Node *nd = graph_at(g, (Ref){ id });

        if (nd->op == OP_read && nd->attr.v[0] == param && adjoint[id].id)
            return adjoint[id];
    }
    return graph_const(g, min->loc, g->m->slot[param].type, 0);
}

static void differentiate(const Gradient *table, Graph *g, const Minimize *min)
{
    bool *target = arena_array(&g->m->mem, bool, min->loss.id + 1);
    Type  loss = graph_at(g, min->loss)->type;
    Ref  *adjoint;

    assert(loss.rank == 0 && dt_is_float(loss.dtype) && "a loss is one number");
    for (int id = 1; id <= min->loss.id; id++)
        target[id] = is_param(min, graph_at(g, (Ref){ id }));
    adjoint = walk_back(table, g, min->loss, target);
    for (int i = 0; i < min->n; i++)
        graph_write(g, min->loc, min->grad[i], gradient_of(g, min, adjoint, min->param[i]));
}

void autodiff(Module *m, const PassOptions *o)
{
    const Gradient *table = gradient_table(&m->mem);

    (void)o;
    for (int i = 0; i < m->ngraph; i++) {
        Graph *g = expand_grads(table, m->graph[i]);

        for (int j = 0; j < g->nmin; j++)
            differentiate(table, g, &g->min[j]);
        g->nmin = 0;
        m->graph[i] = graph_copy(g, NULL, NULL);   /* without what only the minimizers held */
    }
    if (m->update)
        m->update = expand_grads(table, m->update);
}
