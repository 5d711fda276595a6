/* attention_gpu.c - how large the tiles of attention are that a group of threads has in its memory, and whether they fit.
 *
 * A function of the sizes alone, so the same on every GPU.  Own rows are 64 where that still gives work to all of a GPU, else 32; fewer
 * where there are no more, or where the rows are so long that no more fit.  Other rows are 64, but 32 of a gradient, which has twice as many numbers of each score in
 * registers, and three or four products for one exponential.
 */
#include "passes/attention_gpu.h"
#include "passes/schedule_gpu.h"

enum { ACROSS = 8, FEW_DOWN = 8, MANY_DOWN = 16, LEAST = 8, MOST = 64, LANE_BYTES = 16 };

/* By tensor cores: warps; rows of a fragment; other rows at least, of which each warp has a fragment's columns; numbers from a row to the next beyond its own,
 * so that the 16 pairs of half a warp are in banks of their own. */
enum { WARPS = 4, FRAGMENT_ROWS = 16, LEAST_OTHER = 32, PAD = 8 };

static int64_t whole(int64_t n, int64_t of) { return (n + of - 1) / of * of; }

static int64_t bytes_of(const AttentionSize *n, const AttentionShape *s)
{
    int64_t row = s->step_length + s->step_width, count;

    if (n->gradient)
        count = (s->own + s->other) * row + 2 * s->own * s->step_other + 2 * MOST;
    else
        count = s->own * s->step_length + s->other * row + s->own * s->step_other + (s->mma ? s->own * s->step_width : 0);
    return count * dt_bytes(n->dtype);
}

/* Rows beyond the last are worth less than a tile's half. */
static int rows_for(int64_t count, int most)
{
    while (most > LEAST && most / 2 >= count)
        most /= 2;
    return most;
}

static void settle(AttentionShape *s)
{
    s->down = s->mma ? WARPS : s->own > MOST / 2 ? MANY_DOWN : FEW_DOWN;
    s->fetch_down = s->down * s->across / s->fetch_across;
    s->step_other = s->other + ACROSS;
}

static bool shrink(const Limits *limits, const AttentionSize *n, AttentionShape *s)
{
    int least = s->mma ? FRAGMENT_ROWS : LEAST, least_other = s->mma ? LEAST_OTHER : LEAST;

    s->own = s->own < least ? least : s->own;
    s->other = s->other < least_other ? least_other : s->other;
    for (settle(s); bytes_of(n, s) > limits->shared_bytes; settle(s)) {
        if (s->own == least && s->other == least_other)
            return false;
        *((s->other >= s->own && s->other > least_other) || s->own == least ? &s->other : &s->own) /= 2;
    }
    return true;
}

bool attention_shape(const Limits *limits, const AttentionSize *n, AttentionShape *s)
{
    int64_t rows = n->gradient && n->other > n->own ? n->other : n->own, columns = n->gradient ? rows : n->other;
    bool    many = n->heads * (rows / MOST) >= 2 * GPU_GROUPS;
    int     lanes = LANE_BYTES / (int)dt_bytes(n->dtype);

    *s = (AttentionShape){ .lanes = lanes, .fetch_lanes = lanes, .across = ACROSS, .fetch_across = ACROSS };
    s->length = whole(n->length, ACROSS * lanes);
    s->width = whole(n->width, ACROSS * lanes);
    s->step_length = s->length + lanes;
    s->step_width = s->width + lanes;
    s->own = rows_for(rows, many ? MOST : MOST / 2);
    s->other = rows_for(columns, n->gradient ? MOST / 2 : MOST);
    if (n->precision != PRECISION_f32 && n->dtype == DT_f32 && limits->mma) {
        AttentionShape by_warps = *s;

        by_warps.mma = true;
        by_warps.bf16 = n->precision == PRECISION_bf16;
        by_warps.lanes = 1;
        by_warps.across = GPU_WARP;
        by_warps.step_length = s->length + PAD;
        by_warps.step_width = s->width + PAD;
        if (shrink(limits, n, &by_warps)) {
            *s = by_warps;
            return true;
        }
    }
    return shrink(limits, n, s);
}

static int64_t dim(const Graph *g, int id, int from_last)
{
    const Type *t = &g->node[id].type;

    return t->dim[t->rank - from_last];
}

bool attention_fits(const Limits *limits, const Graph *g, Op op, const Ref *arg)
{
    int            q = arg[0].id, k = arg[1].id;
    AttentionSize  n = { .dtype = g->node[q].type.dtype, .own = dim(g, q, 2), .other = dim(g, k, 2), .length = dim(g, q, 1),
                         .width = op == OP_attention ? dim(g, arg[2].id, 1) : dim(g, q, 1) };
    AttentionShape s;

    return attention_shape(limits, &n, &s);
}

AttentionSize attention_gradient_size(const Graph *g, const AttentionGradient *a)
{
    const Type   *score = &g->node[a->score].type;
    AttentionSize n = { .dtype = score->dtype, .heads = 1, .own = dim(g, a->score, 2), .other = dim(g, a->score, 1), .length = dim(g, a->dq, 1),
                        .precision = g->m->train.precision, .width = dim(g, a->dv, 1), .gradient = true };

    for (int i = 0; i < score->rank - 2; i++)
        n.heads *= score->dim[i];
    return n;
}

/* Is what the second product has as its second operand that which the first has as operand `which`, rows being the axis that it folds? */
static bool same_operand(const Graph *g, int first, int which, int second)
{
    DotAxes        x = attr_dot(&g->node[first].attr), y = attr_dot(&g->node[second].attr);
    const int64_t *batch = which ? x.bb : x.ab, *fold = which ? x.bc : x.ac;

    if (g->node[first].arg[which].id != g->node[second].arg[1].id || fold[0] == y.bc[0])
        return false;
    for (int i = 0; i < x.nb; i++)
        if (batch[i] != y.bb[i])
            return false;
    return true;
}

bool attention_gradient_fits(const Limits *limits, const Graph *g, const AttentionGradient *a)
{
    AttentionSize  n = attention_gradient_size(g, a);
    AttentionShape s;

    if (!limits->warp)
        return true;
    return same_operand(g, a->score, 1, a->dq) && same_operand(g, a->score, 0, a->dk) && same_operand(g, a->dp, 0, a->dv)
        && attention_shape(limits, &n, &s);
}
