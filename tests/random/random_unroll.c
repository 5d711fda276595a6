/* random_unroll.c - a graph's scans written out, step behind step: what a scan means, said with other rows.
 *
 * An element is a slice; a stack chooses by its index along the new axis, so values go through untouched.
 */
#include <string.h>

#include "ir/scan.h"
#include "passes/gradient.h"
#include "passes/move.h"
#include "tests/random/random_graph.h"

typedef struct Unroll {
    Graph       *to;
    const Graph *from;
    const int   *scan;
    Ref         *map;          /* of nodes outside, and of those of the step that is being written */
    bool        *want;
} Unroll;

static int number_of(const Node *nd) { return (int)nd->attr.v[SCAN_NUMBER] + 1; }

static int64_t place_of(const Node *nd, int64_t step) { return nd->attr.v[SCAN_BACK] ? nd->attr.v[SCAN_STEPS] - 1 - step : step; }

static Ref element_of(Unroll *u, const Node *nd, int64_t step)
{
    int axis = (int)nd->attr.v[SCAN_AXIS];
    Ref part = move_slice(u->to, nd->loc, u->map[nd->arg[0].id], axis, place_of(nd, step), 1, 1);

    return graph_reshape(u->to, nd->loc, part, nd->type.rank, nd->type.dim);
}

static Ref stack_step(Unroll *u, const Node *nd, Ref before, int64_t step)
{
    Graph  *g = u->to;
    int64_t axis = nd->attr.v[SCAN_AXIS];
    Type    whole = ty_with(nd->type, DT_i32);
    Ref     here, at = graph_make(g, OP_iota, nd->loc, 0, NULL, attr_make(&g->m->mem, 1, &axis), &whole, NULL);

    here = graph_op2(g, OP_eq, nd->loc, at, graph_const(g, nd->loc, whole, (double)place_of(nd, step)));
    return graph_op3(g, OP_select, nd->loc, here, graph_expand(g, nd->loc, u->map[nd->arg[0].id], 1, &axis, &nd->attr.v[SCAN_STEPS]), before);
}

static void clone(Unroll *u, int id)
{
    const Node *nd = &u->from->node[id];
    Ref         arg[GRAD_ARGS];

    for (int i = 0; i < nd->narg; i++)
        arg[i] = u->map[nd->arg[i].id];
    u->map[id] = graph_clone_node(u->to, nd, arg);
}

static void one_step(Unroll *u, int first, int number, int64_t step)
{
    const Node *node = u->from->node;

    for (int id = 1; id < first; id++) {
        if (u->scan[id] != number || !u->want[id])
            continue;
        if (node[id].op == OP_element)
            u->map[id] = element_of(u, &node[id], step);
        else if (node[id].op == OP_next)
            u->map[id] = u->map[node[id].arg[1].id];
        else if (node[id].op != OP_carry)
            clone(u, id);
        else if (!step)
            u->map[id] = u->map[node[id].arg[0].id];
    }
    for (int id = first; id < u->from->nnode; id++)
        if (u->want[id] && node[id].op == OP_stack && number_of(&node[id]) == number)
            u->map[id] = stack_step(u, &node[id], step ? u->map[id] : graph_const(u->to, node[id].loc, node[id].type, 0), step);
    for (int id = 1; id < first; id++)
        if (u->want[id] && node[id].op == OP_next && u->scan[id] == number)
            u->map[node[id].arg[0].id] = u->map[id];
}

static void write_out(Unroll *u, int first)
{
    const Node *node = u->from->node;
    int         number = number_of(&node[first]);

    for (int64_t step = 0; step < node[first].attr.v[SCAN_STEPS]; step++)
        one_step(u, first, number, step);
    for (int id = first; id < u->from->nnode; id++)
        if (node[id].op == OP_last && number_of(&node[id]) == number)
            u->map[id] = u->map[node[id].arg[0].id];
}

Graph *random_unroll(const Graph *from)
{
    Arena *mem = &from->m->mem;
    Unroll u = { .to = graph_new(from->m, from->entry, from->batch), .from = from, .scan = scan_of_nodes(from),
                 .map = arena_array(mem, Ref, from->nnode), .want = graph_live(from) };
    bool  *done = arena_array(mem, bool, scan_free_number(from) + 1);

    for (int id = 1; id < from->nnode; id++) {
        const Node *nd = &from->node[id];

        if (!u.want[id] || u.scan[id])
            continue;
        if (!scan_is_result(nd->op))
            clone(&u, id);
        else if (!done[number_of(nd)])
            write_out(&u, id);
        if (scan_is_result(nd->op))
            done[number_of(nd)] = true;
    }
    graph_copy_ends(u.to, from, u.map);
    return u.to;
}
