/* lower_attention.c - attention and its log-sum-exp: a few queries at a time, with all their scores near.
 *
 * A tile is some rows of queries.  Their scores, a block of keys at a time, go into a local; each row's maximum is known then, and in
 * a second pass over the blocks scores become exp(score - maximum), are summed up, and meet the values:
 *
 *   score[r, j] = scale * sum_d q[r, d] k[j, d]      most[r] = max_j score[r, j]
 *   p[r, j] = exp(score[r, j] - most[r])             sum[r] = sum_j p[r, j]        y[r, c] = sum_j p[r, j] v[j, c] / sum[r]
 *
 * So of all T x S numbers there are never more than the rows of one tile.  (With the rows whole nothing is ever scaled again, as it would
 * be with a running maximum.)  Blocks behind a causal tile's last row are left out.  The order of sums is that of lower_head.c: over d and j
 * one by one, over a row's p in NND_LANES parts; it depends on neither the size of tiles nor that of blocks.
 */
#include <math.h>

#include "passes/lower_tile.h"

/* Rows of a tile at most; keys of a block; vectors of NND_LANES results that a tile keeps, where there are 32 registers as wide, and where not. */
enum { MOST_ROWS = 8, BLOCK = 2 * NND_LANES, MOST_VECTORS = 16, FEW_VECTORS = 4 };

typedef struct Attention {
    Tiles       t;
    Lower      *lo;
    Arena      *mem;
    const Node *nd;
    int         values, lse;              /* the nodes of the kernel; 0: there is none */
    int64_t     queries, keys, length, width;
    int64_t     padded;                   /* elements of a row of scores in its local */
    int64_t     padded_width;             /* of a row of results */
    int         rows;                     /* of the tile */
    Affine      first;                    /* its first query */
    int         score, most, sum, result; /* locals */
    int         peak;                     /* each row's maximum */
} Attention;

bool lower_is_attention(Op op) { return op == OP_attention || op == OP_attention_lse; }

static int64_t whole_lanes(int64_t n) { return (n + NND_LANES - 1) / NND_LANES * NND_LANES; }

void lower_attention_nodes(const Lower *lo, int *values, int *lse)
{
    for (int id = 1; id < lo->g->nnode; id++)
        if (lo->g->node[id].kernel == lo->number && lower_is_attention(lo->g->node[id].op))
            *(lo->g->node[id].op == OP_attention ? values : lse) = id;
}

static Attention attention_of(Lower *lo, const Node *nd)
{
    const Type *q = &lo->g->node[nd->arg[0].id].type, *k = &lo->g->node[nd->arg[1].id].type;
    Attention   a = { .t = { lo, lo->mem, nd->loc, q->dtype }, .lo = lo, .mem = lo->mem, .nd = nd, .queries = q->dim[q->rank - 2],
                      .keys = k->dim[q->rank - 2], .length = q->dim[q->rank - 1], .width = 1 };

    lower_attention_nodes(lo, &a.values, &a.lse);
    if (a.values)
        a.width = lo->g->node[a.values].type.dim[q->rank - 1];
    a.padded = whole_lanes(a.keys);
    a.padded_width = whole_lanes(a.width);
    return a;
}

double lower_attention_flops(const Lower *lo, const Node *nd)
{
    Attention a = attention_of((Lower *)lo, nd);
    double    rows = (double)ty_count(&lo->g->node[nd->arg[0].id].type) / (double)a.length;

    return 2 * rows * (double)a.keys * (double)(a.length + (a.values ? a.width : 0));
}

Type lower_attention_domain(const Lower *lo, const Node *nd)
{
    Type t = lo->g->node[nd->arg[0].id].type;

    t.rank -= 2;
    return t;
}

/* An element of an argument. */
static int element(Attention *a, int which, Affine row, Affine column)
{
    TileMatrix m = tile_matrix(a->lo, a->nd->arg[which].id);

    return tile_value(&a->t, &m, row, column, NULL, 0);
}

/* ---- a block of keys ---- */

/* Of a group of keys: row, the block's first key, the group's place in it, lane. */
typedef void GroupBody(Attention *a, Affine row, Affine from, int64_t group, Affine lane);

/* A loop for each group of lanes, so that each is a vector. */
static void each_group(Attention *a, int64_t count, GroupBody *body, Affine row, Affine from)
{
    for (int64_t i = 0; i < count; i += NND_LANES) {
        Affine lane;
        Open   o;

        tile_open_lanes(&a->t, &o, count - i < NND_LANES ? count - i : NND_LANES, &lane);
        body(a, row, from, i, lane);
        low_close(a->lo, &o);
    }
}

static int masked(Attention *a, int score, Affine query, Affine key)
{
    Lower *lo = a->lo;
    Loc    loc = a->nd->loc;

    if (!attr_causal(&a->nd->attr))
        return score;
    int seen = low_let(lo, loc, OP_le, DT_bool, DT_i32, 2, (int[]){ low_index(lo, loc, key), low_index(lo, loc, query) });

    return low_let(lo, loc, OP_select, a->t.dtype, a->t.dtype, 3, (int[]){ seen, score, low_const(lo, loc, a->t.dtype, -INFINITY) });
}

/* What the block's products leave in a->result becomes scores. */
static void keep_scores(Attention *a, Affine row, Affine from, int64_t group, Affine lane)
{
    int    number = low_const(a->lo, a->nd->loc, a->t.dtype, attr_scale(&a->nd->attr));
    Affine column = tile_plus(&a->t, lane, aff_const(group)), key = tile_plus(&a->t, from, column), at = tile_place(&a->t, row, NND_LANES, lane);
    int    x = tile_let(&a->t, OP_mul, tile_get(&a->t, a->result, tile_place(&a->t, row, BLOCK, column)), number, 0);

    x = masked(a, x, tile_plus(&a->t, a->first, row), key);
    tile_set(&a->t, a->score, tile_place(&a->t, row, a->padded, key), x);
    tile_set(&a->t, a->most, at, tile_let(&a->t, OP_maximum, tile_get(&a->t, a->most, at), x, 0));
}

static void score_block(Attention *a, Affine from, int64_t count)
{
    Affine d, row, lane;
    Open   o[3];

    a->result = tile_declare(&a->t, (int64_t)a->rows * BLOCK, 0, SCOPE_OWN);
    tile_open(&a->t, &o[0], a->length, &d);
    tile_open_unrolled(&a->t, &o[1], a->rows, &row);
    tile_open_lanes(&a->t, &o[2], count, &lane);
    Affine at = tile_place(&a->t, row, BLOCK, lane);
    int    q = element(a, 0, tile_plus(&a->t, a->first, row), d), k = element(a, 1, tile_plus(&a->t, from, lane), d);

    tile_set(&a->t, a->result, at, tile_let(&a->t, OP_fma, q, k, tile_get(&a->t, a->result, at)));
    tile_close_all(&a->t, o, 3);
    tile_open_unrolled(&a->t, &o[0], a->rows, &row);
    each_group(a, count, keep_scores, row, from);
    low_close(a->lo, &o[0]);
}

static void weigh_group(Attention *a, Affine row, Affine from, int64_t group, Affine lane)
{
    Affine at = tile_place(&a->t, row, a->padded, tile_plus(&a->t, from, tile_plus(&a->t, lane, aff_const(group)))), part = tile_place(&a->t, row, NND_LANES, lane);
    int    p = tile_let(&a->t, OP_exp, tile_let(&a->t, OP_sub, tile_get(&a->t, a->score, at), tile_get(&a->t, a->peak, row), 0), 0, 0);

    tile_set(&a->t, a->score, at, p);
    tile_set(&a->t, a->sum, part, tile_let(&a->t, OP_add, tile_get(&a->t, a->sum, part), p, 0));
}

static void weigh_block(Attention *a, Affine from, int64_t count)
{
    Affine j, row, lane;
    Open   o[3];

    tile_open_unrolled(&a->t, &o[0], a->rows, &row);
    each_group(a, count, weigh_group, row, from);
    low_close(a->lo, &o[0]);
    if (!a->values)
        return;
    tile_open(&a->t, &o[0], count, &j);
    tile_open_unrolled(&a->t, &o[1], a->rows, &row);
    tile_open_lanes(&a->t, &o[2], a->width, &lane);
    Affine at = tile_place(&a->t, row, a->padded_width, lane), key = tile_plus(&a->t, from, j);
    int    p = tile_get(&a->t, a->score, tile_place(&a->t, row, a->padded, key)), v = element(a, 2, key, lane);

    tile_set(&a->t, a->result, at, tile_let(&a->t, OP_fma, p, v, tile_get(&a->t, a->result, at)));
    tile_close_all(&a->t, o, 3);
}

/* Done if the tile's last query sees the block's first key. */
static void block_if_seen(Attention *a, void (*block)(Attention *, Affine, int64_t), Affine from, int64_t count)
{
    Affine last = tile_plus(&a->t, a->first, aff_const(a->rows - 1));
    Open   o;

    if (attr_causal(&a->nd->attr))
        tile_open_if(&a->t, &o, tile_plus(&a->t, last, aff_scale(a->mem, from, -1)), a->queries);
    block(a, from, count);
    if (attr_causal(&a->nd->attr))
        low_close(a->lo, &o);
}

static void all_blocks(Attention *a, void (*block)(Attention *, Affine, int64_t))
{
    int64_t whole = a->keys / BLOCK, rest = a->keys % BLOCK;
    Affine  i;
    Open    o;

    if (whole) {
        tile_open(&a->t, &o, whole, &i);
        block_if_seen(a, block, aff_scale(a->mem, i, BLOCK), BLOCK);
        low_close(a->lo, &o);
    }
    if (rest)
        block_if_seen(a, block, aff_const(whole * BLOCK), rest);
}

/* ---- tiles ---- */

static void finish_row(Attention *a, Affine row)
{
    int    sum = tile_fold(&a->t, OP_add, a->sum, aff_scale(a->mem, row, NND_LANES), NND_LANES);
    Affine query = tile_plus(&a->t, a->first, row), lane;
    Open   o;

    if (a->lse)
        tile_store(&a->t, a->lse, query, aff_const(0), tile_let(&a->t, OP_add, tile_get(&a->t, a->peak, row), tile_let(&a->t, OP_log, sum, 0, 0), 0));
    if (!a->values)
        return;
    tile_open_lanes(&a->t, &o, a->width, &lane);
    tile_store(&a->t, a->values, query, lane, tile_let(&a->t, OP_div, tile_get(&a->t, a->result, tile_place(&a->t, row, a->padded_width, lane)), sum, 0));
    low_close(a->lo, &o);
}

static void tile(Attention *a, Affine first, int rows)
{
    Affine row;
    Open   o;

    a->first = first;
    a->rows = rows;
    a->score = tile_declare(&a->t, rows * a->padded, 0, SCOPE_MEMORY);
    a->most = tile_declare(&a->t, (int64_t)rows * NND_LANES, -INFINITY, SCOPE_OWN);
    all_blocks(a, score_block);
    a->peak = tile_declare(&a->t, rows, 0, SCOPE_OWN);
    tile_open_unrolled(&a->t, &o, rows, &row);
    tile_set(&a->t, a->peak, row, tile_fold(&a->t, OP_maximum, a->most, aff_scale(a->mem, row, NND_LANES), NND_LANES));
    low_close(a->lo, &o);
    a->sum = tile_declare(&a->t, (int64_t)rows * NND_LANES, 0, SCOPE_OWN);
    a->result = tile_declare(&a->t, rows * a->padded_width, 0, SCOPE_OWN);
    all_blocks(a, weigh_block);
    tile_open_unrolled(&a->t, &o, rows, &row);
    finish_row(a, row);
    low_close(a->lo, &o);
}

static int rows_of_tile(const Attention *a, const Limits *limits)
{
    int64_t vectors = a->padded_width / NND_LANES, most = limits->vregs >= 32 && limits->lanes >= NND_LANES ? MOST_VECTORS : FEW_VECTORS;
    int64_t rows = most / (vectors < BLOCK / NND_LANES ? BLOCK / NND_LANES : vectors);

    rows = rows > MOST_ROWS ? MOST_ROWS : rows < 1 ? 1 : rows;
    return (int)(rows > a->queries ? a->queries : rows);
}

void lower_attention(Lower *lo, const Node *nd)
{
    Attention a = attention_of(lo, nd);
    int       rows = rows_of_tile(&a, lo->limits);
    int64_t   whole = a.queries / rows;
    Affine    i;
    Open      o;

    tile_open(&a.t, &o, whole, &i);
    tile(&a, aff_scale(a.mem, i, rows), rows);
    low_close(lo, &o);
    if (a.queries % rows)
        tile(&a, aff_const(whole * rows), (int)(a.queries % rows));
}
