/* specialise.c - settle what each entry already knows.
 *
 * A model asks `training` to tell a training step from an evaluation.  The graph "train" is always the
 * one and "eval" never, so the question becomes a constant here, and simplify drops the branch that
 * can't be taken.  eval and infer share the text of a training step, too, but may not learn from what
 * they see: their losses are not minimized and the slots that outlive a step are not written.
 *
 * Runs before autodiff: an adjoint of dead work would be dead work too.
 */
#include "passes/pass.h"

static bool trains(const Graph *g)
{
    return g->entry == ENTRY_TRAIN || g->entry == ENTRY_UPDATE;
}

static Ref settle(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    (void)ctx;
    if (nd->op == OP_training)
        return graph_const(to, nd->loc, nd->type, trains(to));
    return graph_clone_node(to, nd, arg);
}

static bool outlives_step(SlotKind kind)
{
    return kind == SLOT_param || kind == SLOT_state || kind == SLOT_optim;
}

/* A view of g for the copy: what an entry that only looks still writes. */
static Graph without_learning(Module *m, const Graph *g)
{
    Graph view = *g;

    view.nmin = 0;
    view.nwrite = 0;
    view.write = arena_array(&m->mem, Write, g->nwrite);
    for (int i = 0; i < g->nwrite; i++) {
        if (!outlives_step(m->slot[g->write[i].slot].kind))
            view.write[view.nwrite++] = g->write[i];
    }
    return view;
}

static Graph *specialise_graph(Module *m, const Graph *g)
{
    if (g->entry != ENTRY_EVAL && g->entry != ENTRY_INFER)
        return graph_copy(g, settle, NULL);

    Graph view = without_learning(m, g);
    return graph_copy(&view, settle, NULL);
}

void specialise(Module *m, const PassOptions *o)
{
    (void)o;
    for (int i = 0; i < m->ngraph; i++)
        m->graph[i] = specialise_graph(m, m->graph[i]);
    if (m->update)
        m->update = specialise_graph(m, m->update);
}
