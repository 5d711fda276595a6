/* fuse_attention.c - which nodes belong to a kernel of attention.
 *
 * Its gradient is one kernel, found as attention_group.c says.  The log-sum-exp of scores is found where these are.  And a GPU's groups, which have a result in
 * registers, store it a second time as others want it: heads behind places, as the layer behind attention sees them.
 */
#include "passes/attention_gpu.h"
#include "passes/fuse.h"
#include "passes/lower.h"

static const Node *at(const Fuse *f, int id) { return &f->g->node[id]; }

void fuse_attention(Fuse *f)
{
    AttentionGradient *a;
    int n = attention_gradients(f->g, &a), member[ATTENTION_NODES];

    f->group = arena_array(f->mem, int, f->g->nnode);
    for (int i = 0; i < n; i++) {
        if (f->scan[a[i].p] || !attention_gradient_fits(f->limits, f->g, &a[i]))
            continue;
        for (int j = attention_members(f->g, &a[i], member) - 1; j >= 0; j--)
            f->group[member[j]] = i + 1;
    }
}

static bool same_scores(const Node *a, const Node *b)
{
    return a->arg[0].id == b->arg[0].id && a->arg[1].id == b->arg[1].id && attr_causal(&a->attr) == attr_causal(&b->attr)
        && attr_scale(&a->attr) == attr_scale(&b->attr);
}

static int scores_of(const Fuse *f, int id)
{
    for (int j = 1; j < id; j++)
        if (at(f, j)->op == OP_attention && same_scores(at(f, j), at(f, id)) && f->scan[j] == f->scan[id])
            return f->kernel[j];
    return 0;
}

static bool is_written(const Fuse *f, int id)
{
    for (int i = 0; i < f->g->nwrite; i++)
        if (f->g->write[i].value.id == id)
            return true;
    return false;
}

/* A result with its axes in another order, that has to be stored.  What a slot gets is not: the kernel reads until its end. */
static int turned_result(const Fuse *f, int id)
{
    int from = at(f, id)->arg[0].id;

    if (!f->limits->warp || !f->must[id] || is_written(f, id) || f->scan[from] != f->scan[id])
        return 0;
    return at(f, from)->op == OP_attention || (f->group[from] && at(f, from)->op == OP_dot) ? f->kernel[from] : 0;
}

int fuse_with_attention(const Fuse *f, int id)
{
    return at(f, id)->op == OP_attention_lse ? scores_of(f, id) : at(f, id)->op == OP_transpose ? turned_result(f, id) : 0;
}
