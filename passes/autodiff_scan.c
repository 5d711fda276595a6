/* autodiff_scan.c - the reverse of a scan is a scan that runs backwards.
 *
 * Its carries are the adjoints of the forward carries behind a step, its body hands a step's adjoints down, and what it looks
 * up of the forward body comes from stacks that the forward scan gets for that: a scan may be given more to leave behind at any
 * time.  What comes from outside and is the same in all steps (a weight) has as its adjoint the sum over the steps.  That
 * needs no carry: for a contraction of two values the steps are one more folded axis of a single contraction behind the loop.
 */
#include <assert.h>
#include <string.h>

#include "passes/autodiff.h"

/* What the steps hand down to a node outside. */
typedef struct Outside { Ref to, part; Loc loc; } Outside;

typedef struct Reverse {
    Walk    *w;
    Graph   *g;
    int      number;           /* the forward scan's, from 1, as in w->scan */
    int      first;            /* first of what leaves it */
    int64_t  back, steps;      /* the number of the scan that is made */
    Ref      forward_end;      /* the forward scan's last next; 0: it has no carries */
    Ref      end;              /* the made one's, so far */
    Ref     *shadow;           /* of forward nodes: their value in the same step, in the made scan */
    bool    *made; int nmade, cmade;     /* of the graph's nodes: is it in the made scan's body? */
    Outside *outside; int noutside, coutside;
} Reverse;

const int *walk_first_results(const Walk *w, Ref y)
{
    int *first = arena_array(&w->g->m->mem, int, scan_free_number(w->g) + 1);

    for (int id = y.id; id > 0; id--) {
        const Node *nd = graph_at(w->g, (Ref){ id });

        if (scan_is_result(nd->op) && w->on_path[id])
            first[nd->attr.v[SCAN_NUMBER]] = id;
    }
    return first;
}

/* ---- between the scans ---- */

static bool is_inside(const Reverse *r, int id) { return id <= r->w->y.id && r->w->scan[id] == r->number; }

/* The graph grows all the time, and what is known of its nodes with it. */
static bool in_made(Reverse *r, Ref a)
{
    while (r->nmade < r->g->nnode) {
        const Node *nd = &r->g->node[r->nmade];
        bool        inside = r->nmade && op_info[nd->op].attr == ATTR_LOOP && nd->attr.v[SCAN_NUMBER] == r->back;

        for (int i = 0; r->nmade && i < nd->narg && !inside; i++)
            inside = r->made[nd->arg[i].id];
        arena_push(&r->g->m->mem, r->made, r->nmade, r->cmade);
        r->made[r->nmade] = inside && !scan_is_result(nd->op);
        r->nmade++;
    }
    return r->made[a.id];
}

static Ref stack_forward(Reverse *r, Ref a, Loc loc)
{
    return scan_stack(r->g, loc, a, r->forward_end, r->number - 1, r->steps, 0, false);
}

/* The forward node's value in the step that is being reversed. */
static Ref shadow(Reverse *r, Ref a)
{
    Node nd = *graph_at(r->g, a);

    if (!is_inside(r, a.id))
        return a;
    if (!r->shadow[a.id].id)
        r->shadow[a.id] = nd.op == OP_element
            ? scan_element(r->g, nd.loc, nd.arg[0], r->back, nd.attr.v[SCAN_AXIS], !nd.attr.v[SCAN_BACK])
            : scan_element(r->g, nd.loc, stack_forward(r, a, nd.loc), r->back, 0, true);
    return r->shadow[a.id];
}

static Ref repeat(Reverse *r, Ref a, int64_t axis, Loc loc)
{
    return graph_expand(r->g, loc, a, 1, &axis, &r->steps);
}

/* All steps of a value of the made scan, in the forward scan's order. */
static Ref stack_made(Reverse *r, Ref a, int64_t axis, bool back, Loc loc)
{
    Node nd = *graph_at(r->g, a);

    if (!in_made(r, a))
        return repeat(r, a, axis, loc);
    if (nd.op == OP_element && nd.attr.v[SCAN_AXIS] == axis && nd.attr.v[SCAN_BACK] == back)
        return nd.arg[0];
    return scan_stack(r->g, loc, a, r->end, r->back, r->steps, axis, back);
}

/* ---- sums over the steps ---- */

static Ref sum_dot(Reverse *r, const Node *nd)
{
    DotAxes d = attr_dot(&nd->attr);
    int64_t a[MAX_RANK] = { 0 }, b[MAX_RANK] = { 0 };
    Ref     arg[2];

    for (int i = 0; i < d.nc; i++) {
        a[i + 1] = d.ac[i] + 1;
        b[i + 1] = d.bc[i] + 1;
    }
    arg[0] = stack_made(r, nd->arg[0], 0, true, nd->loc);
    arg[1] = stack_made(r, nd->arg[1], 0, true, nd->loc);
    return graph_make(r->g, OP_dot, nd->loc, 2, arg, attr_dot_make(&r->g->m->mem, 0, NULL, NULL, d.nc + 1, a, b), NULL, NULL);
}

static bool has_room(const Reverse *r, const Node *nd)
{
    return graph_at(r->g, nd->arg[0])->type.rank < MAX_RANK && graph_at(r->g, nd->arg[1])->type.rank < MAX_RANK;
}

static Ref sum_steps(Reverse *r, Ref a)
{
    Node    nd = *graph_at(r->g, a);
    int64_t axis[MAX_RANK] = { 0 };

    if (!in_made(r, a))
        return graph_op2(r->g, OP_mul, nd.loc, a, graph_const(r->g, nd.loc, nd.type, (double)r->steps));
    if (nd.op == OP_dot && !nd.attr.v[0] && has_room(r, &nd))
        return sum_dot(r, &nd);
    if (nd.op == OP_transpose || nd.op == OP_reshape || nd.op == OP_expand || nd.op == OP_neg) {
        Ref sum = sum_steps(r, nd.arg[0]);

        return graph_make(r->g, nd.op, nd.loc, 1, &sum, nd.attr, NULL, NULL);
    }
    if (nd.op == OP_sum && graph_at(r->g, nd.arg[0])->type.rank < MAX_RANK) {
        for (int i = 0; i < nd.attr.n; i++)
            axis[i + 1] = nd.attr.v[i] + 1;
        return graph_axes(r->g, OP_sum, nd.loc, stack_made(r, nd.arg[0], 0, true, nd.loc), nd.attr.n + 1, axis);
    }
    return graph_axes(r->g, OP_sum, nd.loc, stack_made(r, a, 0, true, nd.loc), 1, axis);
}

/* ---- the body ---- */

static Ref zero_like(Reverse *r, Ref a)
{
    Node nd = *graph_at(r->g, a);

    return graph_const(r->g, nd.loc, nd.type, 0);
}

static Ref or_zero(Reverse *r, Ref adjoint, Ref of) { return adjoint.id ? adjoint : zero_like(r, of); }

static void hand_down_inside(Reverse *r, Ref y)
{
    Node nd = *graph_at(r->g, y), at = nd;
    bool want[GRAD_ARGS] = { false };
    Ref  part[GRAD_ARGS] = { { 0 } }, arg[GRAD_ARGS];

    for (int i = 0; i < nd.narg; i++) {
        want[i] = walk_leads(r->w, &nd, i);
        arg[i] = shadow(r, nd.arg[i]);
    }
    at.arg = arg;
    gradient_of_node(r->w->table, r->g, &at, shadow(r, y), r->w->adjoint[y.id], want, part);
    for (int i = 0; i < nd.narg; i++) {
        if (!want[i])
            continue;
        if (is_inside(r, nd.arg[i].id)) {
            walk_add(r->w, nd.arg[i], part[i], nd.loc);
            continue;
        }
        arena_push(&r->g->m->mem, r->outside, r->noutside, r->coutside);
        r->outside[r->noutside++] = (Outside){ nd.arg[i], part[i], nd.loc };
    }
}

/* What leaves the scan hands its adjoint in: of all steps, or of a carry behind the last one. */
static void enter_stacks(Reverse *r)
{
    for (int id = r->first; id <= r->w->y.id; id++) {
        Node nd = *graph_at(r->g, (Ref){ id });

        if (nd.op != OP_stack || nd.attr.v[SCAN_NUMBER] + 1 != r->number || !r->w->adjoint[id].id)
            continue;
        if (!is_inside(r, nd.arg[0].id))
            walk_add(r->w, nd.arg[0], graph_axes(r->g, OP_sum, nd.loc, r->w->adjoint[id], 1, &nd.attr.v[SCAN_AXIS]), nd.loc);
        else
            walk_add(r->w, nd.arg[0], scan_element(r->g, nd.loc, r->w->adjoint[id], r->back, nd.attr.v[SCAN_AXIS],
                                                   !nd.attr.v[SCAN_BACK]), nd.loc);
    }
}

static Ref last_adjoint(Reverse *r, int carry)
{
    for (int id = r->first; id <= r->w->y.id; id++) {
        Node nd = *graph_at(r->g, (Ref){ id });

        if (nd.op == OP_last && nd.arg[0].id == carry && r->w->adjoint[id].id)
            return r->w->adjoint[id];
    }
    return zero_like(r, (Ref){ carry });
}

/* carry[id] of a forward next: the carry of the adjoint behind the step. */
static Ref *enter_carries(Reverse *r)
{
    Ref *carry = arena_array(&r->g->m->mem, Ref, r->first + 1);
    int  n = 0;

    for (int id = 1; id < r->first; id++) {
        Node nd = *graph_at(r->g, (Ref){ id });

        if (nd.op != OP_next || !is_inside(r, id) || !r->w->on_path[nd.arg[0].id])
            continue;
        carry[id] = scan_carry(r->g, nd.loc, last_adjoint(r, nd.arg[0].id), r->back, r->steps, n++);
        if (r->w->on_path[nd.arg[1].id] && is_inside(r, nd.arg[1].id)) {
            walk_add(r->w, nd.arg[1], carry[id], nd.loc);
            continue;
        }
        if (!r->w->on_path[nd.arg[1].id])
            continue;
        arena_push(&r->g->m->mem, r->outside, r->noutside, r->coutside);
        r->outside[r->noutside++] = (Outside){ nd.arg[1], carry[id], nd.loc };
    }
    return carry;
}

static void close_carries(Reverse *r, const Ref *carry)
{
    for (int id = 1; id < r->first; id++) {
        Ref of = carry[id].id ? graph_at(r->g, (Ref){ id })->arg[0] : (Ref){ 0 };

        if (carry[id].id)
            r->end = scan_next(r->g, carry[id], or_zero(r, r->w->adjoint[of.id], of), r->end);
    }
    for (int id = 1; id < r->first; id++) {
        Node nd = *graph_at(r->g, (Ref){ id });
        Ref  init = carry[id].id ? graph_at(r->g, nd.arg[0])->arg[0] : (Ref){ 0 };

        if (carry[id].id && r->w->on_path[init.id])
            walk_add(r->w, init, scan_last(r->g, carry[id], r->end), nd.loc);
    }
}

static void leave(Reverse *r)
{
    for (int id = 1; id < r->first; id++) {
        Node nd = *graph_at(r->g, (Ref){ id });

        if (nd.op == OP_element && is_inside(r, id) && r->w->on_path[nd.arg[0].id] && r->w->adjoint[id].id)
            walk_add(r->w, nd.arg[0], stack_made(r, r->w->adjoint[id], nd.attr.v[SCAN_AXIS], !nd.attr.v[SCAN_BACK], nd.loc), nd.loc);
    }
    for (int i = 0; i < r->noutside; i++)
        walk_add(r->w, r->outside[i].to, sum_steps(r, r->outside[i].part), r->outside[i].loc);
}

void walk_scan(Walk *w, int first)
{
    Node    nd = *graph_at(w->g, (Ref){ first });
    Reverse r = { .w = w, .g = w->g, .first = first, .number = (int)nd.attr.v[SCAN_NUMBER] + 1, .steps = nd.attr.v[SCAN_STEPS],
                  .back = scan_free_number(w->g), .shadow = arena_array(&w->g->m->mem, Ref, w->y.id + 1) };
    Ref    *carry;

    assert(r.back < MAX_LOOPS);
    if (graph_at(w->g, nd.arg[1])->op == OP_next)
        r.forward_end = nd.arg[1];
    enter_stacks(&r);
    carry = enter_carries(&r);
    for (int id = first - 1; id > 0; id--) {
        Op op = graph_at(w->g, (Ref){ id })->op;

        if (is_inside(&r, id) && w->adjoint[id].id && op != OP_element && op_info[op].cls != CLASS_LOOP)
            hand_down_inside(&r, (Ref){ id });
    }
    close_carries(&r, carry);
    leave(&r);
}
