/* lower_attention_gradient.c - the gradient of attention by queries, keys and values in one kernel: a tile of p and ds at a time.
 *
 * For each block of keys, and each tile of some rows of queries that look at it:
 *
 *   p = exp(scale * q k^T - lse)     ds = scale * p * (do v^T - own)     dq += ds k     dk += ds^T q     dv += p^T do
 *
 * (T. Dao et al., "FlashAttention", 2022, algorithm 4).  p and ds of a tile are in locals; the three results are added up in their buffers, of which a
 * block's rows of dk and dv stay in the first cache.  An element of dq adds up in the order of keys, one of dk or dv in that of
 * queries, as if it were a product of its own.
 */
#include <math.h>

#include "passes/attention_group.h"
#include "passes/lower_tile.h"

/* Rows of a tile, keys of a block; vectors of NND_LANES that a tile keeps where there are 32 registers as wide, and where not. */
enum { MOST_ROWS = 8, BLOCK = 2 * NND_LANES, MOST_VECTORS = 16, FEW_VECTORS = 4 };

typedef struct Gradient {
    Tiles   t;
    Lower  *lo;
    const AttentionGradient *a;
    int64_t queries, keys;
    int     most;              /* vectors of a tile */
    int     rows;              /* of the tile */
    int64_t count;             /* keys of the block */
    Affine  query, key;        /* the tile's first, the block's first */
    int     p, ds;             /* locals, rows x BLOCK */
} Gradient;

static const Node *node(const Gradient *g, int id) { return &g->lo->g->node[id]; }

static int64_t last_dim(const Node *nd) { return nd->type.dim[nd->type.rank - 1]; }

static int64_t whole_lanes(int64_t n) { return (n + NND_LANES - 1) / NND_LANES * NND_LANES; }

double lower_attention_gradient_flops(const Lower *lo, const AttentionGradient *a)
{
    const Node *score = &lo->g->node[a->score];
    double      length = (double)last_dim(&lo->g->node[a->dq]), width = (double)last_dim(&lo->g->node[a->dv]);

    return 2 * (double)ty_count(&score->type) * (3 * length + 2 * width);
}

/* ---- elements ---- */

static int element(Gradient *g, int id, Affine row)
{
    TileMatrix m = tile_matrix(g->lo, id);

    return tile_value(&g->t, &m, row, aff_const(0), NULL, 0);
}

/* Of a dot's operand, the element at `fold` of the axis that is folded, and at `free` of the other that is no batch's. */
static int operand(Gradient *g, int dot, int which, Affine free, Affine fold)
{
    TileMatrix m = tile_operand(g->lo, dot, which);

    return tile_value(&g->t, &m, free, fold, NULL, 0);
}

static int64_t folded(const Gradient *g, int dot)
{
    return node(g, node(g, dot)->arg[0].id)->type.dim[attr_dot(&node(g, dot)->attr).ac[0]];
}

static int number(Gradient *g, double x) { return tile_number(&g->t, x); }

static void clear(Gradient *g, int id)
{
    const Type *t = &node(g, id)->type;
    Affine      row, column;
    Open        o[2];

    tile_open(&g->t, &o[0], t->dim[t->rank - 2], &row);
    tile_open_lanes(&g->t, &o[1], t->dim[t->rank - 1], &column);
    tile_store(&g->t, id, row, column, number(g, 0));
    tile_close_all(&g->t, o, 2);
}

/* ---- p and ds ---- */

/* A local of rows x BLOCK: of a tile's rows and a block's keys, the products over what the dot folds. */
static int products(Gradient *g, int dot)
{
    const Tiles *t = &g->t;
    int          sum = tile_declare(t, (int64_t)g->rows * BLOCK, 0, SCOPE_OWN);
    Affine       d, row, lane;
    Open         o[3];

    tile_open(t, &o[0], folded(g, dot), &d);
    tile_open_unrolled(t, &o[1], g->rows, &row);
    tile_open_lanes(t, &o[2], g->count, &lane);
    Affine at = tile_place(t, row, BLOCK, lane);
    int    x = operand(g, dot, 0, tile_plus(t, g->query, row), d), y = operand(g, dot, 1, tile_plus(t, g->key, lane), d);

    tile_set(t, sum, at, tile_let(t, OP_fma, x, y, tile_get(t, sum, at)));
    tile_close_all(t, o, 3);
    return sum;
}

static int masked(Gradient *g, int score, Affine query, Affine key)
{
    Lower *lo = g->lo;

    if (!g->a->causal)
        return score;
    int seen = low_let(lo, g->t.loc, OP_le, DT_bool, DT_i32, 2, (int[]){ low_index(lo, g->t.loc, key), low_index(lo, g->t.loc, query) });

    return low_let(lo, g->t.loc, OP_select, g->t.dtype, g->t.dtype, 3, (int[]){ seen, score, number(g, -INFINITY) });
}

static void keep_p(Gradient *g, int score)
{
    const Tiles *t = &g->t;
    Affine       row, lane;
    Open         o[2];

    tile_open_unrolled(t, &o[0], g->rows, &row);
    tile_open_lanes(t, &o[1], g->count, &lane);
    Affine query = tile_plus(t, g->query, row), at = tile_place(t, row, BLOCK, lane);
    int    lse = element(g, g->a->lse, query), x = tile_get(t, score, at);

    x = masked(g, tile_let(t, OP_mul, x, number(g, g->a->scale), 0), query, tile_plus(t, g->key, lane));
    tile_set(t, g->p, at, tile_let(t, OP_exp, tile_let(t, OP_sub, x, lse, 0), 0, 0));
    tile_close_all(t, o, 2);
}

static void keep_ds(Gradient *g, int dp)
{
    const Tiles *t = &g->t;
    Affine       row, lane;
    Open         o[2];

    tile_open_unrolled(t, &o[0], g->rows, &row);
    tile_open_lanes(t, &o[1], g->count, &lane);
    Affine at = tile_place(t, row, BLOCK, lane);
    int    own = element(g, g->a->own, tile_plus(t, g->query, row));
    int    x = tile_let(t, OP_mul, tile_get(t, g->p, at), tile_let(t, OP_sub, tile_get(t, dp, at), own, 0), 0);

    tile_set(t, g->ds, at, tile_let(t, OP_mul, x, number(g, g->a->scale_ds), 0));
    tile_close_all(t, o, 2);
}

/* ---- results ---- */

/* n elements of p or ds, one behind the other along a row of the local, or if `turned` down a column, times rows of an operand. */
typedef struct Sum { int dot, local; bool turned; Affine row, from; int rows; int64_t n; } Sum;

static void move_sums(Gradient *g, const Sum *s, int sum, bool back)
{
    const Tiles *t = &g->t;
    int64_t      width = last_dim(node(g, s->dot));
    Affine       row, lane;
    Open         o[2];

    tile_open_unrolled(t, &o[0], s->rows, &row);
    tile_open_lanes(t, &o[1], width, &lane);
    Affine at = tile_place(t, row, whole_lanes(width), lane), to = tile_plus(t, s->row, row);

    if (back)
        tile_store(&g->t, s->dot, to, lane, tile_get(t, sum, at));
    else
        tile_set(t, sum, at, tile_load(&g->t, s->dot, to, lane));
    tile_close_all(t, o, 2);
}

/* first: where the sum's first element of the local is */
static void add_up(Gradient *g, const Sum *s, Affine first)
{
    const Tiles *t = &g->t;
    int64_t      width = last_dim(node(g, s->dot));
    int          sum = tile_declare(t, s->rows * whole_lanes(width), 0, SCOPE_OWN);
    Affine       i, row, lane;
    Open         o[3];

    move_sums(g, s, sum, false);
    tile_open(t, &o[0], s->n, &i);
    o[0].loop->unroll = s->turned;
    tile_open_unrolled(t, &o[1], s->rows, &row);
    tile_open_lanes(t, &o[2], width, &lane);
    Affine at = tile_place(t, row, whole_lanes(width), lane);
    Affine from = tile_plus(t, first, s->turned ? tile_place(t, i, BLOCK, row) : tile_place(t, row, BLOCK, i));
    int    x = tile_get(t, s->local, from), y = operand(g, s->dot, 1, lane, tile_plus(t, s->from, i));

    tile_set(t, sum, at, tile_let(t, OP_fma, x, y, tile_get(t, sum, at)));
    tile_close_all(t, o, 3);
    move_sums(g, s, sum, true);
}

static int rows_of(const Gradient *g, int dot, int64_t most)
{
    int64_t vectors = whole_lanes(last_dim(node(g, dot))) / NND_LANES, rows = g->most / (vectors < 2 ? 2 : vectors);

    rows = rows > MOST_ROWS ? MOST_ROWS : rows < 1 ? 1 : rows;
    return (int)(rows < most ? rows : most);
}

/* The block's rows of dk or dv, some at a time. */
static void add_to_keys(Gradient *g, int dot, int local)
{
    const Tiles *t = &g->t;
    Sum          s = { dot, local, true, g->key, g->query, rows_of(g, dot, g->count), g->rows };
    int64_t      whole = g->count / s.rows, rest = g->count % s.rows;
    Affine       i;
    Open         o;

    tile_open(t, &o, whole, &i);
    i = aff_scale(t->mem, i, s.rows);
    s.row = tile_plus(t, g->key, i);
    add_up(g, &s, i);
    tile_close_all(t, &o, 1);
    if (!rest)
        return;
    s.rows = (int)rest;
    s.row = tile_plus(t, g->key, aff_const(g->count - rest));
    add_up(g, &s, aff_const(g->count - rest));
}

static void tile(Gradient *g)
{
    const Tiles *t = &g->t;
    Sum          dq = { g->a->dq, 0, false, g->query, g->key, g->rows, g->count };

    g->p = tile_declare(t, (int64_t)g->rows * BLOCK, 0, SCOPE_MEMORY);
    g->ds = dq.local = tile_declare(t, (int64_t)g->rows * BLOCK, 0, SCOPE_MEMORY);
    keep_p(g, products(g, g->a->score));
    keep_ds(g, products(g, g->a->dp));
    add_to_keys(g, g->a->dv, g->p);
    add_to_keys(g, g->a->dk, g->ds);
    add_up(g, &dq, aff_const(0));
}

/* ---- tiles and blocks ---- */

/* Done if the tile's last query sees the block's first key. */
static void tile_if_seen(Gradient *g, Affine query, int rows)
{
    Open o;

    g->query = query;
    g->rows = rows;
    if (g->a->causal)
        tile_open_if(&g->t, &o, tile_plus(&g->t, tile_plus(&g->t, query, aff_const(rows - 1)), aff_scale(g->t.mem, g->key, -1)), g->queries);
    tile(g);
    if (g->a->causal)
        tile_close_all(&g->t, &o, 1);
}

static void block(Gradient *g, Affine key, int64_t count)
{
    int     rows = rows_of(g, g->a->dq, g->queries);
    int64_t whole = g->queries / rows;
    Affine  i;
    Open    o;

    g->key = key;
    g->count = count;
    tile_open(&g->t, &o, whole, &i);
    tile_if_seen(g, aff_scale(g->t.mem, i, rows), rows);
    tile_close_all(&g->t, &o, 1);
    if (g->queries % rows)
        tile_if_seen(g, aff_const(whole * rows), (int)(g->queries % rows));
}

void lower_attention_gradient(Lower *lo, const AttentionGradient *a)
{
    const Type *score = &lo->g->node[a->score].type;
    Gradient    g = { .t = { lo, lo->mem, lo->g->node[a->score].loc, score->dtype }, .lo = lo, .a = a,
                      .queries = score->dim[score->rank - 2], .keys = score->dim[score->rank - 1] };
    int64_t     whole = g.keys / BLOCK;
    Affine      i;
    Open        o;

    g.most = lo->limits->vregs >= 32 && lo->limits->lanes >= NND_LANES ? MOST_VECTORS : FEW_VECTORS;
    clear(&g, a->dq);
    clear(&g, a->dk);
    clear(&g, a->dv);
    if (whole) {
        tile_open(&g.t, &o, whole, &i);
        block(&g, aff_scale(lo->mem, i, BLOCK), BLOCK);
        tile_close_all(&g.t, &o, 1);
    }
    if (g.keys % BLOCK)
        block(&g, aff_const(whole * BLOCK), g.keys % BLOCK);
}
