/* update.c - join the optimiser to the training step.
 *
 * Until here the optimiser is a graph of its own, from slots "grad" to the next values of parameters and
 * of its own state, built once however many batch sizes a model trains at.  Each train graph gets a copy
 * in which the gradients that autodiff wrote stand where the optimiser reads them.  So one graph holds
 * the whole step, and an update can be fused with the gradient that it uses.
 *
 * Every stop_gradient and every variable is taken out as well: autodiff has been here, and identities
 * would only be in the way of rules and fusion.
 */
#include <assert.h>

#include "passes/pass.h"

static Ref drop_identity(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    (void)ctx;
    return nd->op == OP_stop_gradient || nd->op == OP_variable ? arg[0] : graph_clone_node(to, nd, arg);
}

static bool is_grad(const Graph *g, int slot) { return g->m->slot[slot].kind == SLOT_grad; }

/* Moves the writes of gradients out of g; grad[slot] is what was written. */
static Ref *take_gradients(Graph *g)
{
    Ref *grad = arena_array(&g->m->mem, Ref, g->m->nslot);
    int  n = 0;

    for (int i = 0; i < g->nwrite; i++) {
        if (is_grad(g, g->write[i].slot))
            grad[g->write[i].slot] = g->write[i].value;
        else
            g->write[n++] = g->write[i];
    }
    g->nwrite = n;
    return grad;
}

static Ref join(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    const Ref *grad = ctx;

    if (nd->op != OP_read || !is_grad(to, (int)nd->attr.v[0]))
        return drop_identity(to, nd, arg, NULL);
    assert(grad[nd->attr.v[0]].id && "autodiff wrote every gradient that the optimiser reads");
    return grad[nd->attr.v[0]];
}

static void splice(Graph *to, const Graph *update, Ref *grad)
{
    Arena *mem = &to->m->mem;
    Ref   *map = arena_array(mem, Ref, update->nnode);
    bool  *want = arena_array(mem, bool, update->nnode);

    graph_reach_ends(update, want);
    graph_copy_into(to, update, map, want, join, grad);
    for (int i = 0; i < update->nwrite; i++)
        graph_write(to, update->write[i].loc, update->write[i].slot, map[update->write[i].value.id]);
}

static Graph *whole_step(const Graph *train, const Graph *update)
{
    Graph *g = graph_copy(train, drop_identity, NULL);
    Ref   *grad = take_gradients(g);

    if (update)
        splice(g, update, grad);
    return graph_copy(g, NULL, NULL);   /* without gradients that nothing uses */
}

void update(Module *m, const PassOptions *o)
{
    (void)o;
    for (int i = 0; i < m->ngraph; i++) {
        bool trains = m->graph[i]->entry == ENTRY_TRAIN;

        m->graph[i] = trains ? whole_step(m->graph[i], m->update) : graph_copy(m->graph[i], drop_identity, NULL);
    }
    m->update = NULL;
}
