/* lower_attention_gpu.c - attention and its log-sum-exp by groups of threads: a tile of queries, and one of keys after the other.
 *
 * A group has some rows of queries in its memory.  Of each tile of keys and values that one of them sees:
 *
 *   score = scale * q k^T      peak' = max(peak, row's maximum)      shrink = exp(peak - peak')      p = exp(score - peak')
 *   sum = sum * shrink + row's sum of p                              y = y * shrink + p v
 *
 * and at last y / sum and peak' + log(sum) are stored (M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", 2018; T. Dao et al.,
 * "FlashAttention", 2022, algorithm 1).  p passes through group memory to the threads that have a row's results; they are those that have its scores, lanes of one
 * warp.  A row that sees no number above -inf keeps 0 for its maximum there, as -inf - -inf is none.
 */
#include <math.h>

#include "passes/lower_attention_gpu.h"

enum { MOST_ROWS = 16 };

typedef struct Attention {
    AttentionThreads a;
    const Node *nd;
    int     values, lse;            /* the nodes of the kernel; 0: there is none */
    TileMatrix q, k, v;
    int64_t queries, keys;
    AttentionRows own, other;
    int     tile_q, tile_k, tile_v, weight;         /* in group memory */
    int     score, peak, sum, result;               /* of each thread */
    int     products, results, product;             /* by tensor cores: fragments of scores and of p v; p v in group memory */
    int     fold[MOST_ROWS], most[MOST_ROWS];       /* locals of one number a thread, a row each; what they fold to */
} Attention;

static Attention attention_of(Lower *lo, const Node *nd)
{
    const Type   *type = &lo->g->node[nd->arg[0].id].type;
    Attention     f = { .a.t = { lo, lo->mem, nd->loc, type->dtype }, .nd = nd, .q = tile_matrix(lo, nd->arg[0].id), .k = tile_matrix(lo, nd->arg[1].id) };
    AttentionSize n = { .dtype = type->dtype, .precision = lo->m->train.precision, .heads = att_heads(&f.a), .length = type->dim[type->rank - 1] };

    lower_attention_nodes(lo, &f.values, &f.lse);
    f.queries = n.own = tile_rows(lo, &f.q);
    f.keys = n.other = tile_rows(lo, &f.k);
    n.width = n.length;
    if (f.values) {
        f.v = tile_matrix(lo, nd->arg[2].id);
        n.width = tile_columns(lo, &f.v);
    }
    attention_shape(lo->limits, &n, &f.a.s);
    f.own = (AttentionRows){ .count = f.queries, .whole = f.queries % f.a.s.own == 0 };
    f.other = (AttentionRows){ .count = f.keys, .whole = f.keys % f.a.s.other == 0 };
    return f;
}

static int64_t results_each(const Attention *f) { return att_rows(&f->a) * att_runs(&f->a, f->a.s.width) * f->a.s.lanes; }

static void declare(Attention *f)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    int64_t           threads = att_threads(a), rows = att_rows(a);

    f->tile_q = tile_declare(t, a->s.own * a->s.step_length, 0, SCOPE_GROUP);
    f->tile_k = tile_declare(t, a->s.other * a->s.step_length, 0, SCOPE_GROUP);
    f->score = tile_declare_each(t, threads, rows * att_scores(a), 0);
    f->peak = tile_declare_each(t, threads, rows, -INFINITY);
    f->sum = tile_declare_each(t, threads, rows, 0);
    for (int i = 0; i < rows; i++)
        f->fold[i] = tile_declare_each(t, threads, 1, 0);
    if (f->values || a->s.mma)
        f->weight = tile_declare(t, a->s.own * a->s.step_other, 0, SCOPE_GROUP);
    if (a->s.mma)
        f->products = tile_declare_each(t, threads, att_fragments_each(a, a->s.other), 0);
    if (!f->values)
        return;
    f->tile_v = tile_declare(t, a->s.other * a->s.step_width, 0, SCOPE_GROUP);
    f->result = tile_declare_each(t, threads, results_each(f), 0);
    if (!a->s.mma)
        return;
    f->product = tile_declare(t, a->s.own * a->s.step_width, 0, SCOPE_GROUP);
    f->results = tile_declare_each(t, threads, att_fragments_each(a, a->s.width), 0);
}

/* ---- a tile of keys ---- */

static int masked(Attention *f, int score, Affine own, Affine other)
{
    const Tiles *t = &f->a.t;
    Affine       query = tile_plus(t, f->own.first, own), key = tile_plus(t, f->other.first, other);
    Guard        guard[2];
    int          n = 0;

    if (!f->other.whole)
        guard[n++] = (Guard){ key, f->keys };
    if (attr_causal(&f->nd->attr))
        guard[n++] = (Guard){ tile_plus(t, query, aff_scale(t->mem, key, -1)), f->queries + f->a.s.own };
    return att_masked(&f->a, score, guard, n);
}

/* The thread's j-th score of its i-th row: its own row, the other, and where it is kept. */
typedef struct Score { Affine own, other, at; } Score;

static Score score_of(const AttentionThreads *a, Affine i, Affine j)
{
    const Tiles *t = &a->t;

    return (Score){ tile_plus(t, a->y, aff_scale(t->mem, i, a->s.down)), tile_plus(t, a->x, aff_scale(t->mem, j, a->s.across)),
                    att_own(a, (int64_t)att_rows(a) * att_scores(a), tile_place(t, i, att_scores(a), j)) };
}

/* The thread's scores of a row, scaled and masked, and the largest of them. */
static void finish_scores(Attention *f, int i)
{
    const Tiles *t = &f->a.t;
    Affine       at = att_own(&f->a, 1, aff_const(0)), j;
    Score        s;
    Open         o;
    int          x;

    tile_set(t, f->fold[i], at, tile_number(t, -INFINITY));
    tile_open_unrolled(t, &o, att_scores(&f->a), &j);
    s = score_of(&f->a, aff_const(i), j);
    x = tile_let(t, OP_mul, tile_get(t, f->score, s.at), tile_number(t, attr_scale(&f->nd->attr)), 0);
    x = masked(f, x, s.own, s.other);
    tile_set(t, f->score, s.at, x);
    tile_set(t, f->fold[i], at, tile_let(t, OP_maximum, tile_get(t, f->fold[i], at), x, 0));
    tile_close_all(t, &o, 1);
}

/* A row's results and sum are those of the maximum so far, which is `base` of what follows. */
static void shrink_row(Attention *f, int i, int base)
{
    const Tiles *t = &f->a.t;
    int64_t      each = f->values ? results_each(f) : 0, row = each / att_rows(&f->a);
    Affine       at = att_own(&f->a, att_rows(&f->a), aff_const(i)), c;
    int          before = tile_get(t, f->peak, at), peak = tile_let(t, OP_maximum, before, f->most[i], 0);
    int          none = low_let(t->lo, t->loc, OP_eq, DT_bool, t->dtype, 2, (int[]){ peak, tile_number(t, -INFINITY) }), by;
    Open         o;

    tile_set(t, f->peak, at, peak);
    peak = low_let(t->lo, t->loc, OP_select, t->dtype, t->dtype, 3, (int[]){ none, tile_number(t, 0), peak });
    tile_set(t, base, aff_const(i), peak);
    by = tile_let(t, OP_exp, tile_let(t, OP_sub, before, peak, 0), 0, 0);
    tile_set(t, f->sum, at, tile_let(t, OP_mul, tile_get(t, f->sum, at), by, 0));
    if (!f->values)
        return;
    tile_open_unrolled(t, &o, row, &c);
    at = att_own(&f->a, each, tile_plus(t, aff_const(i * row), c));
    tile_set(t, f->result, at, tile_let(t, OP_mul, tile_get(t, f->result, at), by, 0));
    tile_close_all(t, &o, 1);
}

/* The thread's scores become p. */
static void weigh_scores(Attention *f)
{
    const Tiles *t = &f->a.t;
    int          rows = att_rows(&f->a), base = tile_declare(t, rows, 0, SCOPE_OWN), p;
    Affine       i, j, sum;
    Score        s;
    Open         o[2];

    for (int k = 0; k < rows; k++)
        shrink_row(f, k, base);
    tile_open_unrolled(t, &o[0], rows, &i);
    tile_open_unrolled(t, &o[1], att_scores(&f->a), &j);
    s = score_of(&f->a, i, j);
    sum = att_own(&f->a, rows, i);
    p = tile_let(t, OP_exp, tile_let(t, OP_sub, tile_get(t, f->score, s.at), tile_get(t, base, i), 0), 0, 0);
    tile_set(t, f->sum, sum, tile_let(t, OP_add, tile_get(t, f->sum, sum), p, 0));
    if (f->values)
        tile_set(t, f->weight, tile_place(t, s.own, f->a.s.step_other, s.other), p);
    tile_close_all(t, o, 2);
}

static void fold_rows(Attention *f, Op op)
{
    const Tiles *t = &f->a.t;

    for (int i = 0; i < att_rows(&f->a); i++)
        f->most[i] = tile_fold(t, op, f->fold[i], aff_scale(t->mem, f->a.y, f->a.s.across), f->a.s.across);
}

/* By tensor cores: the product of x and y to group memory. */
static void multiply(Attention *f, const AttentionProduct *p, int to, int64_t step)
{
    AttentionThreads *a = &f->a;
    Open              o[2];

    att_open_down(a, &o[0]);
    att_open_across(a, &o[1]);
    att_clear(a, p->to, att_fragments_each(a, p->columns));
    tile_close_all(&a->t, o, 2);
    att_multiply(a, p);
    att_stage(a, p->to, p->columns, to, step);
}

static void add_results(Attention *f)
{
    AttentionThreads *a = &f->a;
    AttentionProduct  p = { f->weight, f->tile_v, a->s.step_other, a->s.step_width, false, a->s.other, a->s.width, f->results };
    Open              o[2];

    multiply(f, &p, f->product, a->s.step_width);
    att_open_down(a, &o[0]);
    att_open_across(a, &o[1]);
    att_take(a, f->product, a->s.step_width, (int)att_runs(a, a->s.width), f->result, true);
    tile_close_all(&a->t, o, 2);
}

static void find_scores(Attention *f)
{
    AttentionThreads *a = &f->a;

    if (a->s.mma)
        att_take(a, f->weight, a->s.step_other, att_scores(a), f->score, false);
    else
        att_products(a, f->tile_q, f->tile_k, a->s.step_length, tile_columns(a->t.lo, &f->q), f->score);
}

static void tile(Attention *f)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    AttentionProduct  qk = { f->tile_q, f->tile_k, a->s.step_length, a->s.step_length, true, tile_columns(t->lo, &f->q), a->s.other, f->products };
    Open              o[2];

    att_load(a, &f->k, f->tile_k, &f->other, a->s.other, a->s.length, a->s.step_length);
    if (f->values)
        att_load(a, &f->v, f->tile_v, &f->other, a->s.other, a->s.width, a->s.step_width);
    att_wait(a);
    if (a->s.mma)
        multiply(f, &qk, f->weight, a->s.step_other);
    att_open_down(a, &o[0]);
    att_open_across(a, &o[1]);
    find_scores(f);
    for (int i = 0; i < att_rows(a); i++)
        finish_scores(f, i);
    tile_close_all(t, &o[1], 1);
    fold_rows(f, OP_maximum);
    att_open_across(a, &o[1]);
    weigh_scores(f);
    tile_close_all(t, &o[1], 1);
    if (f->values && !a->s.mma) {
        att_open_across(a, &o[1]);
        att_add_up(a, f->weight, f->tile_v, a->s.step_width, a->s.width, f->result);
        tile_close_all(t, &o[1], 1);
    }
    tile_close_all(t, &o[0], 1);
    if (f->values && a->s.mma)
        add_results(f);
}

/* ---- all tiles ---- */

static void all_tiles(Attention *f)
{
    const Tiles *t = &f->a.t;
    Affine       i, last = tile_plus(t, f->own.first, aff_const(f->a.s.own - 1));
    Open         o[2];

    tile_open(t, &o[0], (f->keys + f->a.s.other - 1) / f->a.s.other, &i);
    f->other.first = aff_scale(t->mem, i, f->a.s.other);
    if (attr_causal(&f->nd->attr))          /* left out where the last query doesn't see the first key */
        tile_open_if(t, &o[1], tile_plus(t, last, aff_scale(t->mem, f->other.first, -1)), f->queries + f->a.s.own);
    tile(f);
    tile_close_all(t, o, attr_causal(&f->nd->attr) ? 2 : 1);
}

/* What the sums of rows have been folded to goes to all that follows. */
static void store_rows(Attention *f)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    int               rows = att_rows(a), sum = tile_declare(t, rows, 0, SCOPE_OWN), lse = tile_declare(t, rows, 0, SCOPE_OWN);

    for (int i = 0; i < rows; i++) {
        int peak = tile_get(t, f->peak, att_own(a, rows, aff_const(i)));

        tile_set(t, sum, aff_const(i), f->most[i]);
        tile_set(t, lse, aff_const(i), tile_let(t, OP_add, peak, tile_let(t, OP_log, f->most[i], 0, 0), 0));
    }
    if (f->lse)
        att_store_numbers(a, lse, f->lse, &f->own);
    if (f->values)
        att_store(a, f->result, a->s.width, f->values, &f->own, sum);
}

static void finish(Attention *f)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    Open              o[2];

    att_open_down(a, &o[0]);
    att_open_across(a, &o[1]);
    for (int i = 0; i < att_rows(a); i++)
        tile_set(t, f->fold[i], att_own(a, 1, aff_const(0)), tile_get(t, f->sum, att_own(a, att_rows(a), aff_const(i))));
    tile_close_all(t, &o[1], 1);
    fold_rows(f, OP_add);
    att_open_across(a, &o[1]);
    store_rows(f);
    tile_close_all(t, o, 2);
}

void lower_attention_groups(Lower *lo, const Node *nd)
{
    Attention    f = attention_of(lo, nd);
    const Tiles *t = &f.a.t;
    int64_t      tiles = (f.queries + f.a.s.own - 1) / f.a.s.own;
    Affine       number, tile_at;
    Open         o;

    tile_open_grid(t, &o, tiles * att_heads(&f.a), &number);
    tile_at = att_cut(&f.a, number, tiles);
    /* the last tiles see most, and begin first */
    f.own.first = tile_plus(t, aff_const((tiles - 1) * f.a.s.own), aff_scale(t->mem, tile_at, -f.a.s.own));
    declare(&f);
    att_load(&f.a, &f.q, f.tile_q, &f.own, f.a.s.own, f.a.s.length, f.a.s.step_length);
    all_tiles(&f);
    finish(&f);
    tile_close_all(t, &o, 1);
}
