/* channels.c - a convolution along whose output channels vectors run.
 *
 * Where the batch has no whole vectors of rows (layout.c), vectors run along the last spatial axis, and rows of 8 leave half the lanes empty.
 * Channels are more often a multiple of LANES.  With them last a convolution is a product of what stands in windows by w turned around: each window's
 * elements are numbers, w's columns the vectors.  Its terms are added in the order of channels and taps, as those of the conv are, so an
 * element has the same bits in either form (MAX_TAPS, as in layout.c).
 */
#include "passes/channels.h"
#include "passes/move.h"

/* Vectors are worth a copy of w from so many places on, and where they are so much fuller. */
enum { LANES = 16, MAX_TAPS = 7, PLACES = 16 };
static const double FULLER = 1.3;

static double fill(int64_t n) { return (double)n / (double)((n + LANES - 1) / LANES * LANES); }

static bool wants_channels(const Type *w, const Type *y)
{
    int64_t places = y->dim[0];

    for (int i = 3; i < y->rank; i++)
        places *= y->dim[i];
    return y->rank > 3 && 2 * y->rank - 4 <= MAX_RANK && y->dim[1] == 1 && dt_is_float(y->dtype) && w->dim[w->rank - 1] <= MAX_TAPS
        && places >= PLACES && fill(y->dim[2]) >= FULLER * fill(y->dim[y->rank - 1]);
}

/* Axis 1, which has one element, goes. */
static Ref without_groups(Graph *g, Loc loc, Ref a, int axis)
{
    Type t = graph_at(g, a)->type;

    t.rank--;
    for (int i = axis; i < t.rank; i++)
        t.dim[i] = t.dim[i + 1];
    return graph_reshape(g, loc, a, t.rank, t.dim);
}

/* x [N, C, S...] as [N, C, S'..., K...]. */
static Ref in_windows(Graph *g, const Node *nd, Ref x, const Type *w, const int64_t *windows)
{
    int64_t v[4 * MAX_RANK];
    int     d = nd->type.rank - 3;

    for (int i = 0; i < d; i++) {
        v[4 * i] = 2 + i;
        v[4 * i + 1] = w->dim[3 + i];
        v[4 * i + 2] = windows[5 * i];
        v[4 * i + 3] = windows[5 * i + 4];
    }
    x = graph_make(g, OP_window, nd->loc, 1, &x, (Attr){ 4 * d, v }, NULL, NULL);
    for (int i = 0; i < d; i++)         /* what the last window doesn't reach may have a window of its own */
        x = move_slice(g, nd->loc, x, 2 + i, 0, 1, nd->type.dim[3 + i]);
    return x;
}

/* w [O, C, K...] as [C, K..., O]. */
static Ref columns_last(Graph *g, Loc loc, Ref w)
{
    int     rank = graph_at(g, w)->type.rank;
    int64_t perm[MAX_RANK];

    for (int i = 0; i < rank; i++)
        perm[i] = (i + 1) % rank;
    return move_own_place(g, loc, graph_transpose(g, loc, w, perm));
}

Ref channels_last(Graph *g, const Node *nd, const Ref *arg, const int64_t *windows)
{
    Type    w = graph_at(g, arg[1])->type, y = nd->type;
    int     d = y.rank - 3;
    int64_t perm[MAX_RANK], fold[2][MAX_RANK];
    Ref     in[2], r;

    if (!wants_channels(&w, &y))
        return (Ref){ 0 };
    in[0] = in_windows(g, nd, without_groups(g, nd->loc, arg[0], 1), &w, windows);
    in[1] = columns_last(g, nd->loc, without_groups(g, nd->loc, arg[1], 0));
    for (int i = 0; i <= d; i++) {
        fold[0][i] = i ? 1 + d + i : 1;
        fold[1][i] = i;
    }
    r = graph_make(g, OP_dot, nd->loc, 2, in, attr_dot_make(&g->m->mem, 0, NULL, NULL, d + 1, fold[0], fold[1]), NULL, NULL);
    for (int i = 0; i < d + 2; i++)     /* [N, S'..., O] as [N, O, S'...] */
        perm[i] = i == 0 ? 0 : i == 1 ? d + 1 : i - 1;
    return graph_reshape(g, nd->loc, graph_transpose(g, nd->loc, r, perm), y.rank, y.dim);
}
