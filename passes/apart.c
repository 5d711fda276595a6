/* apart.c - a kernel for every node: what --skip fuse puts in the place of fuse.
 *
 * It shares no code with fuse, so a mistake that stays when fuse is skipped is not fuse's.  Slots are copied
 * before anything else runs and written after everything else has, each by a kernel of its own; so neither the
 * order of kernels nor where they read can matter, and they run in the order in which the nodes stand.
 */
#include <assert.h>

#include "ir/scan.h"
#include "passes/move.h"
#include "passes/pass.h"

static Ref copy_node(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    Ref r = graph_clone_node(to, nd, arg);

    (void)ctx;
    return nd->op == OP_read ? move_own_place(to, nd->loc, r) : r;
}

/* Behind all that is computed: equal nodes are one, so a copy of a copy is taken until it is a new one. */
static void write_last(Graph *to, const Write *w, Ref value, int nnode)
{
    while (value.id < nnode)
        value = move_own_place(to, w->loc, value);
    graph_write(to, w->loc, w->slot, value);
}

/* A scan's nodes, the nexts last, and their last number for all that leaves it. */
static void number_scan(Graph *g, const int *scan, int first)
{
    int64_t number = g->node[first].attr.v[SCAN_NUMBER];

    for (int next = 0; next < 2; next++)
        for (int id = 1; id < first; id++)
            if (scan[id] == number + 1 && (g->node[id].op == OP_next) == next && g->node[id].op != OP_carry)
                g->node[id].kernel = ++g->nkernel;
    for (int id = first; id < g->nnode; id++)
        if (scan_is_result(g->node[id].op) && g->node[id].attr.v[SCAN_NUMBER] == number)
            g->node[id].kernel = g->nkernel;
}

static void give_numbers(Graph *g, const int *scan)
{
    for (int id = 1; id < g->nnode; id++) {
        Node *nd = &g->node[id];

        if (op_info[nd->op].cls == CLASS_EDGE || (scan[id] && nd->op != OP_carry))
            continue;
        if (!scan_is_result(nd->op))
            nd->kernel = ++g->nkernel;
        else if (!nd->kernel)
            number_scan(g, scan, id);
    }
}

static Graph *apart_graph(const Graph *from)
{
    Arena *mem = &from->m->mem;
    Graph *to = graph_new(from->m, from->entry, from->batch);
    Ref   *map = arena_array(mem, Ref, from->nnode);
    bool  *want = arena_array(mem, bool, from->nnode);
    int    nnode;

    assert(!from->nmin && "autodiff takes the losses away");
    graph_reach_ends(from, want);
    /* the reads first: nothing that is computed may come before them */
    for (int id = 1; id < from->nnode; id++)
        if (want[id] && from->node[id].op == OP_read)
            map[id] = copy_node(to, &from->node[id], NULL, NULL);
    graph_copy_into(to, from, map, want, copy_node, NULL);
    nnode = to->nnode;
    for (int i = 0; i < from->nwrite; i++)
        write_last(to, &from->write[i], map[from->write[i].value.id], nnode);
    give_numbers(to, scan_of_nodes(to));
    return to;
}

void fuse_apart(Module *m, const PassOptions *o)
{
    (void)o;
    for (int i = 0; i < m->ngraph; i++)
        m->graph[i] = apart_graph(m->graph[i]);
}
