/* eval_attention.c - attention and its log-sum-exp, place by place, in double. */
#include <math.h>

#include "ir/eval_nodes.h"

typedef struct Scores {
    const Tensor *q, *k;
    int64_t       queries, keys, length;      /* T, S, D */
    double        scale;
    bool          causal, wide;
    double       *row;                        /* the scores of one query where it looks */
    int64_t       seen;                       /* of the keys, the query looks at so many */
    double        most, sum;                  /* of the row: its maximum, and sum of exp(score - most) */
} Scores;

static Scores scores_of(Eval *e, const Node *nd)
{
    const Tensor *q = &e->value[nd->arg[0].id], *k = &e->value[nd->arg[1].id];
    int           rank = q->type.rank;

    return (Scores){ .q = q, .k = k, .queries = q->type.dim[rank - 2], .keys = k->type.dim[rank - 2],
                     .length = q->type.dim[rank - 1], .scale = attr_scale(&nd->attr), .causal = attr_causal(&nd->attr),
                     .wide = e->env->wide, .row = arena_array(e->mem, double, k->type.dim[rank - 2]) };
}

/* The scores of query i, counted over all axes in front of the last. */
static void score_row(Scores *s, int64_t i)
{
    int64_t first = i / s->queries * s->keys;

    s->most = -INFINITY;
    s->seen = s->causal && i % s->queries < s->keys ? i % s->queries + 1 : s->keys;
    for (int64_t j = 0; j < s->seen; j++) {
        double x = 0;

        for (int64_t d = 0; d < s->length; d++)
            x += tensor_get(s->q, i * s->length + d, s->wide) * tensor_get(s->k, (first + j) * s->length + d, s->wide);
        s->row[j] = x * s->scale;
        if (!(s->row[j] <= s->most))          /* a nan stays */
            s->most = s->row[j];
    }
    s->sum = 0;
    for (int64_t j = 0; j < s->seen; j++)
        s->sum += exp(s->row[j] - s->most);
}

void eval_attention(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *v = &e->value[nd->arg[2].id];
    Scores        s = scores_of(e, nd);
    int64_t       width = nd->type.dim[nd->type.rank - 1], n = ty_count(&nd->type) / width;

    for (int64_t i = 0; i < n; i++) {
        score_row(&s, i);
        for (int64_t c = 0; c < width; c++) {
            double x = 0;

            for (int64_t j = 0; j < s.seen; j++)
                x += exp(s.row[j] - s.most) / s.sum * tensor_get(v, (i / s.queries * s.keys + j) * width + c, s.wide);
            tensor_set(out, i * width + c, x, s.wide);
        }
    }
}

void eval_attention_lse(Eval *e, const Node *nd, Tensor *out)
{
    Scores s = scores_of(e, nd);

    for (int64_t i = 0; i < ty_count(&nd->type); i++) {
        score_row(&s, i);
        tensor_set(out, i, s.most + log(s.sum), s.wide);
    }
}
