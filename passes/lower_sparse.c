/* lower_sparse.c - products with values that stand at one place of each window: spread and collect.
 *
 * A value meets a patch of taps, of which those along the last axis and the channels lie side by side in memory: that is what
 * vectors run along.  Which values stand somewhere is found for many at a time (a sieve), and only these cost anything.
 *
 *   spread    for each place of a window the channels whose values stand there are summed up in registers, and the patch is
 *             added to the result once
 *   collect   for each channel its values, one behind the other; the patch stays in registers along a row of them
 *
 * Elements of the result are sums in the order of samples, places and channels, whatever runs in parallel.  Both store as
 * they go (lower_rows.c), and a result that is 0 first never becomes -0, so that leaving out what stands nowhere is exact.
 */
#include <string.h>

#include "passes/lower.h"

/* Accumulators of a patch; more taps than these hold run one group after the other. */
enum { MOST_VECTORS = 20, MOST_TOGETHER = 64, MOST_CHANNELS = 16, NEAR_BYTES = 16384 };

typedef struct Sparse {
    Lower      *lo;
    const Node *nd;
    Arena      *mem;
    int         d;                        /* axes of a patch */
    PatchAxis   axis[MAX_RANK];
    int64_t     row[MAX_RANK];            /* rows of x between neighbours along an axis */
    int64_t     rows, channels;           /* of x: rows of a sample, elements of a row */
    int         outer;                    /* tap axes that are not side by side: the first so many */
    int64_t     run, taps;                /* elements side by side; outer taps */
    int64_t     patch;                    /* elements of a patch: taps * run */
    int         lanes;                    /* of the vectors that run along a patch: no wider than a short run needs */
    Affine      index[MAX_RANK];          /* of g: sample, place along each axis, channel */
    Affine      corner;                   /* the row where the window begins */
} Sparse;

bool lower_is_sparse(Op op) { return op == OP_spread || op == OP_collect; }

static Sparse sparse_of(Lower *lo, const Node *nd)
{
    const Type *x = nd->op == OP_spread ? &nd->type : &lo->g->node[nd->arg[2].id].type;
    Sparse      s = { .lo = lo, .nd = nd, .mem = lo->mem, .d = patch_axes(nd->op, &nd->attr), .rows = 1, .taps = 1 };

    s.channels = s.run = x->dim[s.d + 1];
    s.outer = s.d;
    for (int i = s.d - 1; i >= 0; i--) {
        s.axis[i] = attr_patch(nd->op, &nd->attr, i);
        s.row[i] = s.rows;
        s.rows *= s.axis[i].size;
    }
    if (s.axis[s.d - 1].tap == 1 || s.axis[s.d - 1].taps == 1) {
        s.outer--;
        s.run *= s.axis[s.d - 1].taps;
    }
    for (int i = 0; i < s.outer; i++)
        s.taps *= s.axis[i].taps;
    s.patch = s.taps * s.run;
    s.lanes = s.run <= NND_LANES / 2 ? NND_LANES / 2 : NND_LANES;
    s.corner = aff_const(0);
    return s;
}

static const Type *values_type(const Sparse *s) { return &s->lo->g->node[s->nd->arg[0].id].type; }

double lower_sparse_flops(const Lower *lo, const Node *nd)
{
    Sparse s = sparse_of((Lower *)lo, nd);

    return 2 * (double)ty_count(values_type(&s)) * (double)s.patch;
}

/* Spread takes samples apart; collect groups of channels, as many as let a sample's rows stay in the first cache. */
static int64_t group_of(int64_t channels)
{
    int64_t n = channels > 2 * MOST_CHANNELS ? MOST_CHANNELS : (channels + 1) / 2;

    while (channels % n)
        n--;
    return n;
}

Type lower_sparse_domain(const Lower *lo, const Node *nd)
{
    Type t = nd->type;

    (void)lo;
    t.rank = 1;
    if (nd->op == OP_collect)
        t.dim[0] /= group_of(t.dim[0]);
    return t;
}

/* ---- statements ---- */

static int next_var(Sparse *s, int64_t extent, Affine *index)
{
    int var = s->lo->k->nvar++;

    *index = extent == 1 ? aff_const(0) : aff_var(s->mem, var, 1);
    return var;
}

/* A loop around what is added next; index is where it is. */
static void open(Sparse *s, Open *o, int64_t extent, Affine *index)
{
    int var = next_var(s, extent, index);

    low_open(s->lo, o, s->nd->loc, var, extent);
}

static void open_lanes(Sparse *s, Open *o, int64_t extent, Affine *index)
{
    open(s, o, extent, index);
    o->loop->lanes = s->lanes;
    o->loop->unroll = true;
    *index = aff_var(s->mem, o->loop->id, 1);
}

static void close_all(Sparse *s, Open *o, int n)
{
    while (n > 0)
        low_close(s->lo, &o[--n]);
}

static Affine plus(Sparse *s, Affine a, Affine b, int64_t times) { return aff_add(s->mem, a, aff_scale(s->mem, b, times)); }

/* The element of an argument at an offset.  A value of its own: no other may be seen where this one is. */
static int element(Sparse *s, int which, Affine at)
{
    int         id = s->nd->arg[which].id;
    int64_t     n = ty_count(&s->lo->g->node[id].type);
    Access      a = { .n = n > 1, .digit = { { at, n } } };

    s->lo->nmemo = 0;
    return lower_value(s->lo, id, &a);
}

/* g or at where index says */
static int value_here(Sparse *s, int which)
{
    const Type *t = values_type(s);
    Affine      at = aff_const(0);

    for (int i = 0; i < t->rank; i++)
        at = plus(s, s->index[i], at, t->dim[i]);
    return element(s, which, at);
}

static Stmt *result(Sparse *s, StmtKind kind, Affine at)
{
    Stmt *m = low_add(s->lo, kind, s->nd->loc);

    m->buf = s->lo->home[s->nd - s->lo->g->node];
    m->dtype = s->nd->type.dtype;
    m->at = at;
    return m;
}

static int load_result(Sparse *s, Affine at)
{
    Stmt *m = result(s, ST_LOAD, at);

    return m->id = s->lo->k->nvalue++;
}

static void store_result(Sparse *s, Affine at, int value)
{
    Stmt *m = result(s, ST_STORE, at);

    m->narg = 1;
    m->arg[0] = value;
}

static int get(Sparse *s, int local, Affine at)
{
    Stmt *m = low_add(s->lo, ST_GET, s->nd->loc);

    m->dtype = s->nd->type.dtype;
    m->local = local;
    m->at = at;
    return m->id = s->lo->k->nvalue++;
}

static void set(Sparse *s, int local, Affine at, int value)
{
    Stmt *m = low_add(s->lo, ST_SET, s->nd->loc);

    m->dtype = s->nd->type.dtype;
    m->local = local;
    m->at = at;
    m->narg = 1;
    m->arg[0] = value;
}

static int declare(Sparse *s, int64_t count)
{
    Stmt *m = low_add(s->lo, ST_LOCAL, s->nd->loc);

    m->dtype = s->nd->type.dtype;
    m->count = count;
    return m->id = s->lo->k->nlocal++;
}

static int let(Sparse *s, Op op, Dtype to, Dtype from, int n, const int *arg) { return low_let(s->lo, s->nd->loc, op, to, from, n, arg); }

static void clear(Sparse *s, Affine from, int64_t n)
{
    Affine at;
    Open   o;

    open(s, &o, n, &at);
    o.loop->lanes = NND_LANES;
    at = aff_var(s->mem, o.loop->id, 1);
    store_result(s, aff_add(s->mem, from, at), low_const(s->lo, s->nd->loc, s->nd->type.dtype, 0));
    low_close(s->lo, &o);
}

/* Opens a loop of n iterations whose conditions are found together; what follows, up to `sieve_if`, is the condition. */
static void open_sieve(Sparse *s, Open *o, int64_t n, Affine *index)
{
    int together = 2;

    while (together < n && together < MOST_TOGETHER)
        together *= 2;
    open(s, o, n, index);
    o->loop->sieve = together;
    *index = aff_var(s->mem, o->loop->id, 1);
}

static void open_if(Sparse *s, Open *o, int condition)
{
    o->loop = low_add(s->lo, ST_IF, s->nd->loc);
    o->loop->narg = 1;
    o->loop->arg[0] = condition;
    o->outer = s->lo->out;
    o->body = (KList){ 0 };
    s->lo->out = &o->body;
}

/* acc[at] += g * b, along `count` lanes */
static void accumulate(Sparse *s, int local, Affine at, int g, int b)
{
    Dtype dt = s->nd->type.dtype;

    set(s, local, at, let(s, OP_fma, dt, dt, 3, (int[]){ g, b, get(s, local, at) }));
}

static int64_t padded_to_lanes(const Sparse *s, int64_t n) { return (n + s->lanes - 1) / s->lanes * s->lanes; }

/* From a patch's first row to that of the k-th of all outer taps. */
static int64_t rows_to_tap(const Sparse *s, int64_t k)
{
    int64_t rows = 0;

    for (int i = s->outer - 1; i >= 0; i--) {
        rows += k % s->axis[i].taps * s->axis[i].tap * s->row[i];
        k /= s->axis[i].taps;
    }
    return rows;
}

/* ---- spread ---- */

/* What stands at a row, over all channels: g times `taps` taps of w, `count` elements each from w_at on, added to the result from y_at on. */
static void spread_patch(Sparse *s, Affine row, Affine w_at, Affine y_at, int64_t taps, int64_t count)
{
    int64_t padded = padded_to_lanes(s, count);
    int     channel = s->d + 1, acc = declare(s, taps * padded), arg[2];
    Open    o[3];
    Affine  l;

    open_sieve(s, &o[0], values_type(s)->dim[channel], &s->index[channel]);
    arg[0] = value_here(s, 1);
    arg[1] = low_index(s->lo, s->nd->loc, row);
    open_if(s, &o[1], let(s, OP_eq, DT_bool, DT_i32, 2, arg));
    int g = value_here(s, 0);

    for (int64_t k = 0; k < taps; k++) {
        open_lanes(s, &o[2], count, &l);
        Affine w = aff_add(s->mem, plus(s, w_at, s->index[channel], s->patch), aff_const(k * s->run));

        accumulate(s, acc, aff_add(s->mem, l, aff_const(k * padded)), g, element(s, 2, aff_add(s->mem, w, l)));
        low_close(s->lo, &o[2]);
    }
    close_all(s, o, 2);
    for (int64_t k = 0; k < taps; k++) {
        open_lanes(s, &o[0], count, &l);
        Affine y = aff_add(s->mem, aff_add(s->mem, y_at, l), aff_const(rows_to_tap(s, k) * s->channels));

        arg[0] = load_result(s, y);
        arg[1] = get(s, acc, aff_add(s->mem, l, aff_const(k * padded)));
        store_result(s, y, let(s, OP_add, s->nd->type.dtype, s->nd->type.dtype, 2, arg));
        low_close(s->lo, &o[0]);
    }
}

/* Each place of a window, written out. */
static void spread_places(Sparse *s, Affine tap, Affine tap_row, int64_t from, int64_t taps, int64_t count)
{
    Affine w_at = plus(s, aff_const(from), tap, s->run);
    int64_t n = 1;

    for (int i = 0; i < s->d; i++)
        n *= s->axis[i].window;
    for (int64_t place = 0; place < n; place++) {
        int64_t row = 0, left = place;

        for (int i = s->d - 1; i >= 0; i--) {
            row += left % s->axis[i].window * s->axis[i].apart * s->row[i];
            left /= s->axis[i].window;
        }
        Affine y = plus(s, s->index[0], s->index[0], s->rows - 1);       /* rows of the samples before */

        Affine first = aff_add(s->mem, s->corner, aff_const(row));

        y = aff_add(s->mem, aff_add(s->mem, y, first), tap_row);
        spread_patch(s, first, w_at, plus(s, aff_const(from), y, s->channels), taps, count);
    }
}

/* Loops over places of g along the first n axes. */
static int open_places(Sparse *s, Open *o, int n)
{
    s->corner = aff_const(0);
    for (int i = 0; i < n; i++) {
        open(s, &o[i], values_type(s)->dim[1 + i], &s->index[1 + i]);
        s->corner = plus(s, s->corner, s->index[1 + i], s->axis[i].step * s->row[i]);
    }
    return n;
}

/* Loops over the outer taps; which tap it is, and the rows to it from the patch's first. */
static int open_taps(Sparse *s, Open *o, Affine *tap, Affine *row)
{
    *tap = *row = aff_const(0);
    for (int i = 0; i < s->outer; i++) {
        Affine k;

        open(s, &o[i], s->axis[i].taps, &k);
        *tap = plus(s, k, *tap, s->axis[i].taps);
        *row = plus(s, *row, k, s->axis[i].tap * s->row[i]);
    }
    return s->outer;
}

static int64_t weight_bytes(const Sparse *s)
{
    return values_type(s)->dim[s->d + 1] * s->patch * dt_bytes(s->nd->type.dtype);
}

/* All taps have accumulators if there are enough and all of w stays in the first cache. */
static void spread(Sparse *s)
{
    const int64_t most = MOST_VECTORS * s->lanes;
    Open          o[2 * MAX_RANK];
    const bool    together = s->taps * padded_to_lanes(s, s->run) <= most && weight_bytes(s) <= NEAR_BYTES;
    Affine        tap = aff_const(0), row = aff_const(0);

    s->index[0] = s->lo->index[0];
    clear(s, aff_scale(s->mem, s->index[0], s->rows * s->channels), s->rows * s->channels);
    for (int64_t from = 0; from < s->run; from += most) {
        int n = together ? 0 : open_taps(s, o, &tap, &row);

        n += open_places(s, o + n, s->d);
        spread_places(s, tap, row, from, together ? s->taps : 1, s->run - from < most ? s->run - from : most);
        close_all(s, o, n);
    }
}

/* ---- collect ---- */

/* The value at `at`, an offset in g, with the rows it falls on, into `taps` accumulators of `count` lanes; x_row: rows to the first tap. */
static void collect_value(Sparse *s, int acc, Affine at, Affine x_row, int64_t from, int64_t taps, int64_t count)
{
    int64_t last = 0, padded = padded_to_lanes(s, count);
    int     g = element(s, 0, at);

    for (int i = 0; i < s->d; i++)
        last += s->row[i] * (s->axis[i].size - 1 - (s->axis[i].taps - 1) * s->axis[i].tap);
    Affine row = aff_var(s->mem, low_pick(s->lo, s->nd->loc, element(s, 1, at), last + 1), 1), l;
    Open   o;

    row = plus(s, aff_add(s->mem, row, x_row), s->index[0], s->rows);
    for (int64_t k = 0; k < taps; k++) {
        open_lanes(s, &o, count, &l);
        Affine x = plus(s, aff_const(from), aff_add(s->mem, row, aff_const(rows_to_tap(s, k))), s->channels);

        accumulate(s, acc, aff_add(s->mem, l, aff_const(k * padded)), g, element(s, 2, aff_add(s->mem, x, l)));
        low_close(s->lo, &o);
    }
}

/* Accumulators of `taps` taps to or from the result, from y_at on. */
static void move_patch(Sparse *s, int acc, Affine y_at, int64_t taps, int64_t count, bool store)
{
    int64_t padded = padded_to_lanes(s, count);

    for (int64_t k = 0; k < taps; k++) {
        Affine l, at, y;
        Open   o;

        open_lanes(s, &o, count, &l);
        at = aff_add(s->mem, l, aff_const(k * padded));
        y = aff_add(s->mem, aff_add(s->mem, y_at, l), aff_const(k * s->run));
        if (store)
            store_result(s, y, get(s, acc, at));
        else
            set(s, acc, at, load_result(s, y));
        low_close(s->lo, &o);
    }
}

/* One channel, and `n` values that lie one behind the other from g_at on. */
static void collect_row(Sparse *s, Affine g_at, int64_t n, Affine y_at, Affine x_row, int64_t from, int64_t taps, int64_t count)
{
    int    acc = declare(s, taps * padded_to_lanes(s, count)), arg[2];
    Open   o[2];
    Affine q;

    move_patch(s, acc, y_at, taps, count, false);
    open_sieve(s, &o[0], n, &q);
    arg[0] = low_const(s->lo, s->nd->loc, DT_i32, 0);
    arg[1] = element(s, 1, aff_add(s->mem, g_at, q));
    open_if(s, &o[1], let(s, OP_le, DT_bool, DT_i32, 2, arg));
    collect_value(s, acc, aff_add(s->mem, g_at, q), x_row, from, taps, count);
    close_all(s, o, 2);
    move_patch(s, acc, y_at, taps, count, true);
}

static void collect(Sparse *s)
{
    const Type *t = values_type(s);
    int64_t     group = group_of(t->dim[2]), most = MOST_VECTORS * s->lanes;
    bool        together = s->taps * padded_to_lanes(s, s->run) <= most;      /* all taps have accumulators */
    Affine      first = aff_scale(s->mem, s->lo->index[0], group), tap = aff_const(0), row = aff_const(0), channel, p;
    Open        o[3 * MAX_RANK];

    clear(s, aff_scale(s->mem, first, s->patch), group * s->patch);
    for (int64_t from = 0; from < s->run; from += most) {
        int64_t count = s->run - from < most ? s->run - from : most;
        int     n = 0;

        open(s, &o[n++], t->dim[0], &s->index[0]);
        open(s, &o[n++], t->dim[1], &p);
        if (!together)
            n += open_taps(s, o + n, &tap, &row);
        open(s, &o[n++], group, &channel);
        channel = aff_add(s->mem, first, channel);
        Affine g = aff_scale(s->mem, plus(s, channel, plus(s, p, s->index[0], t->dim[1]), t->dim[2]), t->dim[3]);

        collect_row(s, g, t->dim[3], plus(s, plus(s, aff_const(from), tap, s->run), channel, s->patch), row, from, together ? s->taps : 1, count);
        close_all(s, o, n);
    }
}

void lower_sparse(Lower *lo, const Node *nd)
{
    Sparse s = sparse_of(lo, nd);

    if (nd->op == OP_spread)
        spread(&s);
    else
        collect(&s);
}
