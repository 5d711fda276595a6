/* scan.c - which nodes are the body of a scan, and what must hold of one. */
#include "ir/scan.h"

bool scan_is_result(Op op) { return op == OP_last || op == OP_stack; }

static bool is_of_scan(const Node *nd) { return op_info[nd->op].attr == ATTR_LOOP; }

static int own_number(const Node *nd) { return (int)nd->attr.v[SCAN_NUMBER] + 1; }

int *scan_of_nodes(const Graph *g)
{
    int *of = arena_array(&g->m->mem, int, g->nnode + 1);

    for (int id = 1; id < g->nnode; id++) {
        const Node *nd = &g->node[id];

        if (scan_is_result(nd->op))
            continue;
        of[id] = is_of_scan(nd) ? own_number(nd) : 0;
        for (int i = 0; i < nd->narg; i++) {
            int a = of[nd->arg[i].id];

            of[id] = !a || a == of[id] ? of[id] : of[id] ? -1 : a;
        }
    }
    return of;
}

int scan_free_number(const Graph *g)
{
    int n = 0;

    for (int id = 1; id < g->nnode; id++)
        if (is_of_scan(&g->node[id]) && own_number(&g->node[id]) > n)
            n = own_number(&g->node[id]);
    return n;
}

int64_t *scan_steps(const Graph *g)
{
    int64_t *steps = arena_array(&g->m->mem, int64_t, scan_free_number(g) + 1);

    steps[0] = 1;
    for (int id = 1; id < g->nnode; id++)
        if (is_of_scan(&g->node[id]))
            steps[own_number(&g->node[id])] = g->node[id].attr.v[SCAN_STEPS];
    return steps;
}

/* ---- what must hold ---- */

/* What verify knows of a scan so far. */
typedef struct Seen { int64_t steps; Ref end; int result; } Seen;

static const char *check_next(const Graph *g, int id, const Seen *s)
{
    const Node *nd = &g->node[id], *carry = graph_at(g, nd->arg[0]);

    if (carry->op != OP_carry || own_number(carry) != own_number(nd))
        return "gives a next value to what is no carry of its scan";
    if (nd->arg[2].id != (s->end.id ? s->end.id : nd->arg[0].id))
        return "does not follow the next before it";
    for (Ref r = s->end; r.id && graph_at(g, r)->op == OP_next; r = graph_at(g, r)->arg[2])
        if (graph_at(g, r)->arg[0].id == nd->arg[0].id)
            return "its carry has a next value already";
    return NULL;
}

static const char *check_result(const Graph *g, int id, const Seen *s)
{
    const Node *nd = &g->node[id];

    if (nd->op == OP_last && (graph_at(g, nd->arg[0])->op != OP_carry || own_number(graph_at(g, nd->arg[0])) != own_number(nd)))
        return "is the last value of what is no carry of its scan";
    if (nd->arg[1].id != (s->end.id ? s->end.id : nd->op == OP_stack ? nd->arg[0].id : 0))
        return "does not name the last next of its scan";
    return NULL;
}

static bool carries_go_on(const Graph *g, int number, Ref end)
{
    int carries = 0, nexts = 0;

    for (int id = 1; id < g->nnode; id++)
        carries += g->node[id].op == OP_carry && own_number(&g->node[id]) == number;
    for (Ref r = end; r.id && graph_at(g, r)->op == OP_next; r = graph_at(g, r)->arg[2])
        nexts++;
    return carries == nexts;
}

const char *scan_fault(Graph *g, int *at)
{
    int  *of = scan_of_nodes(g);
    Seen *seen = arena_array(&g->m->mem, Seen, scan_free_number(g) + 1);

    for (int id = 1; id < g->nnode; id++) {
        const Node *nd = &g->node[id];
        int         number = is_of_scan(nd) ? own_number(nd) : of[id];
        const char *why = NULL;

        *at = id;
        if (of[id] < 0)
            return "is in two scans: a scan can't be inside of another one";
        if (number && seen[number].result && of[id])
            return "belongs to the body of a scan, but stands behind what leaves it";
        if (scan_is_result(nd->op) && of[nd->arg[0].id] && of[nd->arg[0].id] != number)
            return "takes what leaves a scan out of another one";
        if (!is_of_scan(nd))
            continue;
        Seen *s = &seen[number];

        if (s->steps && s->steps != nd->attr.v[SCAN_STEPS])
            return "has another number of steps than its scan";
        s->steps = nd->attr.v[SCAN_STEPS];
        if (nd->op == OP_next)
            why = check_next(g, id, s);
        else if (scan_is_result(nd->op))
            why = check_result(g, id, s);
        if (why)
            return why;
        if (s->result && nd->arg[0].id > s->result)
            return "takes a value that stands behind what leaves the scan";
        if (nd->op == OP_next)
            s->end = (Ref){ id };
        if (scan_is_result(nd->op) && !s->result && !carries_go_on(g, number, s->end))
            return "leaves a scan with a carry that has no next value";
        if (scan_is_result(nd->op))
            s->result = id;
    }
    return NULL;
}

/* ---- makers ---- */

static Ref make(Graph *g, Op op, Loc loc, int narg, const Ref *arg, const int64_t v[4])
{
    return graph_make(g, op, loc, narg, arg, (Attr){ 4, v }, NULL, NULL);
}

Ref scan_element(Graph *g, Loc loc, Ref sequence, int64_t number, int64_t axis, bool back)
{
    return make(g, OP_element, loc, 1, &sequence, (int64_t[]){ number, graph_at(g, sequence)->type.dim[axis], axis, back });
}

Ref scan_carry(Graph *g, Loc loc, Ref init, int64_t number, int64_t steps, int64_t which)
{
    return make(g, OP_carry, loc, 1, &init, (int64_t[]){ number, steps, which, 0 });
}

Ref scan_next(Graph *g, Ref carry, Ref value, Ref before)
{
    Node nd = *graph_at(g, carry);

    return make(g, OP_next, nd.loc, 3, (Ref[]){ carry, value, before.id ? before : carry }, nd.attr.v);
}

Ref scan_last(Graph *g, Ref carry, Ref end)
{
    Node nd = *graph_at(g, carry);

    return make(g, OP_last, nd.loc, 2, (Ref[]){ carry, end }, nd.attr.v);
}

Ref scan_stack(Graph *g, Loc loc, Ref value, Ref end, int64_t number, int64_t steps, int64_t axis, bool back)
{
    return make(g, OP_stack, loc, 2, (Ref[]){ value, end.id ? end : value }, (int64_t[]){ number, steps, axis, back });
}
