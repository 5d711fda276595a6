/* move.c - movements that several passes are made of; none but a place of its own makes a node that would change nothing. */
#include "passes/move.h"

Ref move_slice(Graph *g, Loc loc, Ref a, int axis, int64_t start, int64_t step, int64_t count)
{
    Type    t = graph_at(g, a)->type;
    int64_t v[3 * MAX_RANK];

    if (start == 0 && step == 1 && count == t.dim[axis])
        return a;
    for (int i = 0; i < t.rank; i++) {
        v[3 * i] = i == axis ? start : 0;
        v[3 * i + 1] = i == axis ? step : 1;
        v[3 * i + 2] = i == axis ? count : t.dim[i];
    }
    return graph_make(g, OP_slice, loc, 1, &a, (Attr){ 3 * t.rank, v }, NULL, NULL);
}

Ref move_reverse(Graph *g, Loc loc, Ref a, int axis)
{
    int64_t n = graph_at(g, a)->type.dim[axis];

    return n == 1 ? a : move_slice(g, loc, a, axis, n - 1, -1, n);
}

/* What of an axis of n is left when so much is taken away before and behind. */
static int64_t kept(int64_t n, int64_t before, int64_t behind)
{
    return n + (before < 0 ? before : 0) + (behind < 0 ? behind : 0);
}

/* Zeros all over, if nothing is left of some axis. */
static bool is_empty(Type *t, const int64_t *before, const int64_t *behind)
{
    bool empty = false;

    for (int i = 0; i < t->rank; i++) {
        empty = empty || kept(t->dim[i], before[i], behind[i]) < 1;
        t->dim[i] += before[i] + behind[i];
    }
    return empty;
}

Ref move_frame(Graph *g, Loc loc, Ref a, const int64_t *before, const int64_t *behind)
{
    Type    framed = graph_at(g, a)->type;
    int     rank = framed.rank;
    int64_t v[2 * MAX_RANK + 1] = { 0 };
    bool    pads = false;

    if (is_empty(&framed, before, behind))
        return graph_const(g, loc, framed, 0);
    for (int i = 0; i < rank; i++) {
        int64_t n = kept(graph_at(g, a)->type.dim[i], before[i], behind[i]);

        a = move_slice(g, loc, a, i, before[i] < 0 ? -before[i] : 0, 1, n);
        v[2 * i] = before[i] > 0 ? before[i] : 0;
        v[2 * i + 1] = behind[i] > 0 ? behind[i] : 0;
        pads = pads || v[2 * i] || v[2 * i + 1];
    }
    v[2 * rank] = attr_double(&g->m->mem, 0).v[0];
    return pads ? graph_make(g, OP_pad, loc, 1, &a, (Attr){ 2 * rank + 1, v }, NULL, NULL) : a;
}

Ref move_pad(Graph *g, Loc loc, Ref a, int axis, int64_t before, int64_t behind)
{
    int64_t in_front[MAX_RANK] = { 0 }, at_end[MAX_RANK] = { 0 };

    in_front[axis] = before;
    at_end[axis] = behind;
    return move_frame(g, loc, a, in_front, at_end);
}

Ref move_dilate(Graph *g, Loc loc, Ref a, int axis, int64_t by)
{
    Type    t = graph_at(g, a)->type;
    int64_t n = t.dim[axis], behind[MAX_RANK + 1], one = 1, at = axis + 1;

    if (by == 1 || n == 1)
        return a;
    t.dim[axis] *= by;
    if (t.rank < MAX_RANK) {
        a = move_pad(g, loc, graph_expand(g, loc, a, 1, &at, &one), axis + 1, 0, by - 1);
        a = graph_reshape(g, loc, a, t.rank, t.dim);
        return move_slice(g, loc, a, axis, 0, 1, span(n, by));
    }
    /* no room for another axis: all that stands behind this one becomes a single one for the while */
    for (int i = 0; i <= axis; i++)
        behind[i] = graph_at(g, a)->type.dim[i];
    behind[axis + 1] = 1;
    for (int i = axis + 1; i < t.rank; i++)
        behind[axis + 1] *= t.dim[i];
    a = graph_reshape(g, loc, a, axis + 2, behind);
    a = move_dilate(g, loc, a, axis, by);
    t.dim[axis] = span(n, by);
    return graph_reshape(g, loc, a, t.rank, t.dim);
}

Ref move_own_place(Graph *g, Loc loc, Ref a)
{
    int64_t dtype = graph_at(g, a)->type.dtype;

    return graph_make(g, OP_cast, loc, 1, &a, (Attr){ 1, &dtype }, NULL, NULL);
}
