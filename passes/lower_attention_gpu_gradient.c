/* lower_attention_gpu_gradient.c - the gradient of attention by groups of threads: some of them have keys, the others queries.
 *
 * Each group has tiles of its own rows, and walks over tiles of other ones that they see, or are seen by:
 *
 *   p = exp(scale * q k^T - lse)     ds = scale * p * (do v^T - own)
 *   of keys      dv += p^T do, dk += ds^T q, over tiles of queries
 *   of queries   dq += ds k, over tiles of keys
 *
 * (T. Dao et al., "FlashAttention-2", 2023, section 3.1).  p and ds are found twice, but nothing is added up by more than one group, so results have the same
 * bits every time.  All groups are of one launch; those of keys, which have more to do, come first.
 */
#include <math.h>

#include "passes/lower_attention_gpu.h"

typedef struct Gradient {
    AttentionThreads a;
    const AttentionGradient *of;
    TileMatrix q, k, v, dy, lse, row;
    int64_t queries, keys;
    bool    by_keys;                /* own rows are keys */
    AttentionRows own, other;
    int     own1, own2, other1, other2, p, ds;        /* in group memory: factors of scores and of dp; p, ds */
    int     number[2];                                        /* there too: of each query, the log-sum-exp and the row sum */
    int     score, dp, sum1, sum2;                            /* of each thread */
    int     part, part1, part2;                               /* by tensor cores: fragments of scores or dp, and of the sums */
} Gradient;

static Gradient gradient_of(Lower *lo, const AttentionGradient *of)
{
    const Node   *score = &lo->g->node[of->score];
    Gradient      f = { .a.t = { lo, lo->mem, score->loc, score->type.dtype }, .of = of, .q = tile_operand(lo, of->score, 0), .k = tile_operand(lo, of->score, 1),
                        .dy = tile_operand(lo, of->dp, 0), .v = tile_operand(lo, of->dp, 1), .lse = tile_matrix(lo, of->lse), .row = tile_matrix(lo, of->own) };
    AttentionSize n = attention_gradient_size(lo->g, of);

    f.queries = n.own;
    f.keys = n.other;
    attention_shape(lo->limits, &n, &f.a.s);
    return f;
}

static int64_t results_each(const Gradient *f, int64_t columns) { return att_rows(&f->a) * att_runs(&f->a, columns) * f->a.s.lanes; }

static int most_rows(const Gradient *f) { return f->a.s.own > f->a.s.other ? f->a.s.own : f->a.s.other; }

static void declare(Gradient *f)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    int64_t           threads = att_threads(a), scores = (int64_t)att_rows(a) * att_scores(a);

    f->own1 = tile_declare(t, a->s.own * a->s.step_length, 0, SCOPE_GROUP);
    f->own2 = tile_declare(t, a->s.own * a->s.step_width, 0, SCOPE_GROUP);
    f->other1 = tile_declare(t, a->s.other * a->s.step_length, 0, SCOPE_GROUP);
    f->other2 = tile_declare(t, a->s.other * a->s.step_width, 0, SCOPE_GROUP);
    f->p = tile_declare(t, a->s.own * a->s.step_other, 0, SCOPE_GROUP);
    f->ds = tile_declare(t, a->s.own * a->s.step_other, 0, SCOPE_GROUP);
    for (int i = 0; i < 2; i++)
        f->number[i] = tile_declare(t, most_rows(f), 0, SCOPE_GROUP);
    f->score = tile_declare_each(t, threads, scores, 0);
    f->dp = tile_declare_each(t, threads, scores, 0);
    f->sum1 = tile_declare_each(t, threads, results_each(f, a->s.length), 0);
    f->sum2 = tile_declare_each(t, threads, results_each(f, a->s.width), 0);
    if (!a->s.mma)
        return;
    f->part = tile_declare_each(t, threads, att_fragments_each(a, a->s.other), 0);
    f->part1 = tile_declare_each(t, threads, att_fragments_each(a, a->s.length), 0);
    f->part2 = tile_declare_each(t, threads, att_fragments_each(a, a->s.width), 0);
}

/* The log-sum-exp and the row sum of n queries. */
static void load_numbers(Gradient *f, const AttentionRows *rows, int n)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    int64_t           threads = att_threads(a) < n ? att_threads(a) : n;
    Affine            thread, i;
    Guard             guard;
    Open              o[2];

    tile_open_block(t, &o[0], threads, &thread);
    tile_open_unrolled(t, &o[1], n / threads, &i);
    i = tile_plus(t, thread, aff_scale(t->mem, i, threads));
    guard = (Guard){ tile_plus(t, rows->first, i), rows->count };
    tile_set(t, f->number[0], i, tile_value(t, &f->lse, guard.at, aff_const(0), &guard, !rows->whole));
    tile_set(t, f->number[1], i, tile_value(t, &f->row, guard.at, aff_const(0), &guard, !rows->whole));
    tile_close_all(t, o, 2);
}

static void load_tiles(Gradient *f, bool own)
{
    AttentionThreads    *a = &f->a;
    const AttentionRows *rows = own ? &f->own : &f->other;
    bool                 keys = own == f->by_keys;
    int                  n = own ? a->s.own : a->s.other;

    att_load(a, keys ? &f->k : &f->q, own ? f->own1 : f->other1, rows, n, a->s.length, a->s.step_length);
    att_load(a, keys ? &f->v : &f->dy, own ? f->own2 : f->other2, rows, n, a->s.width, a->s.step_width);
    if (!keys)
        load_numbers(f, rows, n);
}

/* ---- p and ds ---- */

static int masked(Gradient *f, int score, Affine own, Affine other)
{
    const Tiles *t = &f->a.t;
    Affine       key = f->by_keys ? own : other, query = f->by_keys ? other : own;
    Guard        guard[2];
    int          n = 0;

    if (!f->by_keys && !f->other.whole)
        guard[n++] = (Guard){ key, f->keys };
    if (f->of->causal)
        guard[n++] = (Guard){ tile_plus(t, query, aff_scale(t->mem, key, -1)), f->queries + most_rows(f) };
    return att_masked(&f->a, score, guard, n);
}

/* The thread's score of its i-th row and j-th other one becomes p, and ds. */
static void finish_score(Gradient *f, Affine i, Affine j)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    Affine            own = tile_plus(t, a->y, aff_scale(t->mem, i, a->s.down)), other = tile_plus(t, a->x, aff_scale(t->mem, j, a->s.across));
    Affine            at = att_own(a, (int64_t)att_rows(a) * att_scores(a), tile_place(t, i, att_scores(a), j)), query = f->by_keys ? other : own;
    Affine            to = tile_place(t, own, a->s.step_other, other);
    int               x = tile_let(t, OP_mul, tile_get(t, f->score, at), tile_number(t, f->of->scale), 0), p, ds;

    x = masked(f, x, tile_plus(t, f->own.first, own), tile_plus(t, f->other.first, other));
    p = tile_let(t, OP_exp, tile_let(t, OP_sub, x, tile_get(t, f->number[0], query), 0), 0, 0);
    ds = tile_let(t, OP_sub, tile_get(t, f->dp, at), tile_get(t, f->number[1], query), 0);
    ds = tile_let(t, OP_mul, tile_let(t, OP_mul, p, ds, 0), tile_number(t, f->of->scale_ds), 0);
    if (f->by_keys)
        tile_set(t, f->p, to, p);
    tile_set(t, f->ds, to, ds);
}

/* By tensor cores: scores, or dp, to group memory. */
static void multiply(Gradient *f, int own, int other, int64_t step, int64_t fold, int to)
{
    AttentionThreads *a = &f->a;
    AttentionProduct  p = { own, other, step, step, true, fold, a->s.other, f->part };
    Open              o[2];

    att_open_down(a, &o[0]);
    att_open_across(a, &o[1]);
    att_clear(a, f->part, att_fragments_each(a, a->s.other));
    tile_close_all(&a->t, o, 2);
    att_multiply(a, &p);
    att_stage(a, f->part, a->s.other, to, a->s.step_other);
}

static void find_scores(Gradient *f)
{
    AttentionThreads *a = &f->a;

    if (a->s.mma) {
        att_take(a, f->p, a->s.step_other, att_scores(a), f->score, false);
        att_take(a, f->ds, a->s.step_other, att_scores(a), f->dp, false);
    } else {
        att_products(a, f->own1, f->other1, a->s.step_length, tile_columns(a->t.lo, &f->q), f->score);
        att_products(a, f->own2, f->other2, a->s.step_width, tile_columns(a->t.lo, &f->v), f->dp);
    }
}

/* For the thread; p and ds come from threads of the same row alone. */
static void add_results(Gradient *f)
{
    AttentionThreads *a = &f->a;
    Open              o;

    att_open_across(a, &o);
    if (f->by_keys)
        att_add_up(a, f->p, f->other2, a->s.step_width, a->s.width, f->sum2);
    att_add_up(a, f->ds, f->other1, a->s.step_length, a->s.length, f->sum1);
    tile_close_all(&a->t, &o, 1);
}

static void multiply_results(Gradient *f)
{
    AttentionThreads *a = &f->a;
    AttentionProduct  one = { f->ds, f->other1, a->s.step_other, a->s.step_length, false, a->s.other, a->s.length, f->part1 };
    AttentionProduct  two = { f->p, f->other2, a->s.step_other, a->s.step_width, false, a->s.other, a->s.width, f->part2 };

    att_multiply(a, &one);
    if (f->by_keys)
        att_multiply(a, &two);
}

static void tile(Gradient *f)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    Affine            i, j;
    Open              o[4];

    load_tiles(f, false);
    att_wait(a);
    if (a->s.mma) {
        multiply(f, f->own1, f->other1, a->s.step_length, tile_columns(t->lo, &f->q), f->p);
        multiply(f, f->own2, f->other2, a->s.step_width, tile_columns(t->lo, &f->v), f->ds);
    }
    att_open_down(a, &o[0]);
    att_open_across(a, &o[1]);
    find_scores(f);
    tile_open_unrolled(t, &o[2], att_rows(a), &i);
    tile_open_unrolled(t, &o[3], att_scores(a), &j);
    finish_score(f, i, j);
    tile_close_all(t, &o[1], 3);
    if (!a->s.mma)
        add_results(f);
    tile_close_all(t, &o[0], 1);
    if (a->s.mma)
        multiply_results(f);
}

/* ---- groups ---- */

/* Queries from the tile's first to its last see keys from the first to the last of the other. */
static void all_tiles(Gradient *f)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    Affine            i, last;
    Open              o[2];

    tile_open(t, &o[0], (f->other.count + a->s.other - 1) / a->s.other, &i);
    f->other.first = aff_scale(t->mem, i, a->s.other);
    last = f->by_keys ? tile_plus(t, f->other.first, aff_const(a->s.other - 1)) : tile_plus(t, f->own.first, aff_const(a->s.own - 1));
    if (f->of->causal)
        tile_open_if(t, &o[1], tile_plus(t, last, aff_scale(t->mem, f->by_keys ? f->own.first : f->other.first, -1)), f->queries + most_rows(f));
    tile(f);
    tile_close_all(t, o, f->of->causal ? 2 : 1);
    if (f->of->causal)          /* keys behind the last query are seen by none, and their own tiles still under way */
        att_wait(a);
}

static void store(Gradient *f)
{
    AttentionThreads *a = &f->a;
    Open              o[2];

    if (a->s.mma)
        att_stage(a, f->part1, a->s.length, f->own1, a->s.step_length);
    if (a->s.mma && f->by_keys)
        att_stage(a, f->part2, a->s.width, f->own2, a->s.step_width);
    att_open_down(a, &o[0]);
    att_open_across(a, &o[1]);
    if (a->s.mma)
        att_take(a, f->own1, a->s.step_length, (int)att_runs(a, a->s.length), f->sum1, false);
    if (a->s.mma && f->by_keys)
        att_take(a, f->own2, a->s.step_width, (int)att_runs(a, a->s.width), f->sum2, false);
    att_store(a, f->sum1, a->s.length, f->by_keys ? f->of->dk : f->of->dq, &f->own, -1);
    if (f->by_keys)
        att_store(a, f->sum2, a->s.width, f->of->dv, &f->own, -1);
    tile_close_all(&a->t, o, 2);
}

/* Groups whose own rows are keys, or queries: those from `first` on. */
static void groups(Gradient *f, bool by_keys, Affine number, int64_t tiles)
{
    AttentionThreads *a = &f->a;
    const Tiles      *t = &a->t;
    Affine            at;
    Open              o;

    f->by_keys = by_keys;
    f->own = (AttentionRows){ .count = by_keys ? f->keys : f->queries };
    f->other = (AttentionRows){ .count = by_keys ? f->queries : f->keys };
    f->own.whole = f->own.count % a->s.own == 0;
    f->other.whole = f->other.count % a->s.other == 0;
    a->group = (Guard){ number, tiles * att_heads(a) };
    tile_open_where(t, &o, &a->group, 1);
    at = att_cut(a, number, tiles);
    /* of causal tiles the first keys are seen by most, and the last queries see most: those that begin together have as much to do together as others */
    f->own.first = aff_scale(t->mem, at, a->s.own);
    load_tiles(f, true);
    all_tiles(f);
    store(f);
    tile_close_all(t, &o, 1);
}

void lower_attention_gradient_groups(Lower *lo, const AttentionGradient *of)
{
    Gradient     f = gradient_of(lo, of);
    const Tiles *t = &f.a.t;
    int64_t      by_keys = (f.keys + f.a.s.own - 1) / f.a.s.own, by_queries = (f.queries + f.a.s.own - 1) / f.a.s.own, heads = att_heads(&f.a);
    Affine       number;
    Open         o;

    tile_open_grid(t, &o, (by_keys + by_queries) * heads, &number);
    declare(&f);
    groups(&f, true, number, by_keys);
    groups(&f, false, tile_plus(t, number, aff_const(-by_keys * heads)), by_queries);
    tile_close_all(t, &o, 1);
}
