/* graph_copy.c - what is reached, and copies of it: how every pass writes a new graph.
 *
 * Ids ascend from arguments to users, so one walk downwards marks what a set of nodes needs, and one
 * walk upwards copies it.  What is not marked is dead and stays behind.
 */
#include <assert.h>

#include "ir/graph.h"

/* Marks what the marked nodes up to last depend on. */
static void reach_down(const Graph *g, int last, bool *want)
{
    for (int id = last; id > 0; id--) {
        const Node *nd = &g->node[id];

        for (int i = 0; want[id] && i < nd->narg; i++)
            want[nd->arg[i].id] = true;
    }
}

void graph_reach(const Graph *g, Ref r, bool *want)
{
    assert(r.id > 0 && r.id < g->nnode);
    want[r.id] = true;
    reach_down(g, r.id, want);
}

void graph_reach_ends(const Graph *g, bool *want)
{
    for (int i = 0; i < g->nwrite; i++)
        want[g->write[i].value.id] = true;
    for (int i = 0; i < g->nmin; i++)
        want[g->min[i].loss.id] = true;
    reach_down(g, g->nnode - 1, want);
}

Ref graph_clone_node(Graph *to, const Node *nd, const Ref *arg)
{
    return graph_make(to, nd->op, nd->loc, nd->narg, arg, nd->attr, &nd->type, NULL);
}

void graph_copy_into(Graph *to, const Graph *from, Ref *map, const bool *want, GraphMake *make, void *ctx)
{
    for (int id = 1; id < from->nnode; id++) {
        Node nd = from->node[id];   /* a copy: make may grow the graph it comes from */
        Ref  arg[3];

        if (!want[id])
            continue;
        assert(nd.narg <= 3);
        for (int i = 0; i < nd.narg; i++)
            arg[i] = map[nd.arg[i].id];
        map[id] = make ? make(to, &nd, arg, ctx) : graph_clone_node(to, &nd, arg);
        assert(map[id].id && "every wanted node has a copy");
    }
}

static void copy_kernels(Graph *to, const Graph *from, const Ref *map, const bool *want)
{
    to->nkernel = from->nkernel;
    for (int id = 1; id < from->nnode; id++) {
        if (want[id])
            to->node[map[id].id].kernel = from->node[id].kernel;
    }
}

bool *graph_live(const Graph *g)
{
    bool *want = arena_array(&g->m->mem, bool, g->nnode);

    for (int i = 0; i < g->nwrite; i++)
        want[g->write[i].value.id] = true;
    for (int i = 0; i < g->nmin; i++)
        want[g->min[i].loss.id] = true;
    reach_down(g, g->nnode - 1, want);
    return want;
}

void graph_copy_ends(Graph *to, const Graph *from, const Ref *map)
{
    for (int i = 0; i < from->nwrite; i++)
        graph_write(to, from->write[i].loc, from->write[i].slot, map[from->write[i].value.id]);
    for (int i = 0; i < from->nmin; i++) {
        const Minimize *min = &from->min[i];

        graph_minimize(to, min->loc, map[min->loss.id], min->n, min->param, min->grad);
    }
}

bool graph_holds(const Graph *g, Op op)
{
    for (int id = 1; id < g->nnode; id++)
        if (g->node[id].op == op)
            return true;
    return false;
}

Graph *graph_copy(const Graph *from, GraphMake *make, void *ctx)
{
    Graph *to = graph_new(from->m, from->entry, from->batch);
    Ref   *map = arena_array(&from->m->mem, Ref, from->nnode);
    bool  *want = graph_live(from);

    graph_copy_into(to, from, map, want, make, ctx);
    if (!make)
        copy_kernels(to, from, map, want);
    graph_copy_ends(to, from, map);
    return to;
}
