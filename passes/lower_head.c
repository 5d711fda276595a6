/* lower_head.c - reductions and contractions, and the order in which they sum.
 *
 * The order is a function of the reduction and of how its operands lie in memory, never of the batch, the
 * threads or the target's lanes:
 *   - if the innermost folded axis is contiguous in what is read, and long, element i goes into partial
 *     result i % NND_LANES, and a fixed tree folds the partials (vectors run along the folded axis);
 *   - else elements are taken in order (vectors run along the results, schedule sees to that).
 * For a GPU they are all in order here: schedule shares them out among threads.
 * Folded axes that lie in memory as one are counted as one.
 */
#include "passes/lower.h"

#include <assert.h>
#include <math.h>

/* Shorter rows than these are summed in order: a fold costs about as much as so many additions. */
enum { LANE_MIN_REDUCE = 32, LANE_MIN_DOT = 8 };

typedef struct Fold {
    Lower  *lo;
    const Node *nd;
    int     var[MAX_RANK];          /* folded axes longer than 1, outermost first */
    int64_t extent[MAX_RANK];
    int     n;
    KList   body;                   /* the element's value */
    int     value[2];               /* one, or the two factors of a contraction */
    int     lanes;                  /* NND_LANES, or 1: in order */
} Fold;

static Affine new_var(Fold *f, int64_t extent)
{
    if (extent == 1)
        return aff_const(0);
    f->var[f->n] = f->lo->k->nvar++;
    f->extent[f->n] = extent;
    return aff_var(f->lo->mem, f->var[f->n++], 1);
}

/* ---- the element ---- */

static void reduce_element(Fold *f)
{
    const Node *nd = f->nd;
    const Type *t = &f->lo->g->node[nd->arg[0].id].type;
    Affine index[MAX_RANK];
    int kept = 0;

    for (int i = 0; i < t->rank; i++)
        index[i] = attr_has(nd->attr.v, nd->attr.n, i) ? new_var(f, t->dim[i]) : f->lo->index[kept++];
    Access at = access_make(t, index);

    f->value[0] = lower_value(f->lo, nd->arg[0].id, &at);
}

/* One factor's index: batch axes and free axes from the domain, folded ones from the loops. */
static int dot_factor(Fold *f, int which, int free_from, const int64_t *batch, const int64_t *folded, int nb, int nc,
                      const Affine *loop)
{
    int arg = f->nd->arg[which].id;
    const Type *t = &f->lo->g->node[arg].type;
    Affine index[MAX_RANK];

    for (int i = 0; i < t->rank; i++)
        if (!attr_has(batch, nb, i) && !attr_has(folded, nc, i))
            index[i] = f->lo->index[free_from++];
    for (int i = 0; i < nb; i++)
        index[batch[i]] = f->lo->index[i];
    for (int i = 0; i < nc; i++)
        index[folded[i]] = loop[i];
    Access at = access_make(t, index);

    return lower_value(f->lo, arg, &at);
}

/* x [N, G, C, S...] and w [G, O, C, K...] at [N, G, O, S'...]; nothing is padded, x is as it is (pass frame). */
static void conv_element(Fold *f)
{
    const Node *nd = f->nd;
    Arena *mem = f->lo->mem;
    const Type *x = &f->lo->g->node[nd->arg[0].id].type, *w = &f->lo->g->node[nd->arg[1].id].type;
    const Affine *y = f->lo->index;
    Affine xi[MAX_RANK] = { y[0], y[1] }, wi[MAX_RANK] = { y[1], y[2] };

    xi[2] = wi[2] = new_var(f, x->dim[2]);
    for (int i = 3; i < x->rank; i++) {
        ConvAxis c = attr_conv(&nd->attr, i - 3);

        assert(!c.before && c.behind <= 0 && c.dilate_x == 1 && "frame has made pads of padding");
        wi[i] = new_var(f, w->dim[i]);
        xi[i] = aff_add(mem, aff_scale(mem, y[i], c.stride), aff_scale(mem, wi[i], c.dilate_w));
    }
    Access xa = access_make(x, xi), wa = access_make(w, wi);

    f->value[0] = lower_value(f->lo, nd->arg[0].id, &xa);
    f->value[1] = lower_value(f->lo, nd->arg[1].id, &wa);
}

/* Windows stand at every place (pass frame): element h of an axis is in window h - k * dilation at k, if there is one. */
static void overlap_element(Fold *f)
{
    const Node *nd = f->nd;
    const Type *a = &f->lo->g->node[nd->arg[0].id].type;
    Affine index[MAX_RANK];
    Guard guard[MAX_RANK];
    int n = 0;

    for (int i = 0; i < nd->type.rank; i++)
        index[i] = f->lo->index[i];
    for (int i = 0; i < nd->attr.n / 5; i++) {
        const int64_t *v = nd->attr.v + 5 * i;

        assert(v[2] == 1 && "frame has put windows a step apart");
        index[nd->type.rank + i] = new_var(f, v[1]);
        index[v[0]] = aff_add(f->lo->mem, index[v[0]], aff_scale(f->lo->mem, index[nd->type.rank + i], -v[3]));
        if (v[1] > 1)
            guard[n++] = (Guard){ index[v[0]], a->dim[v[0]] };
    }
    Access at = access_make(a, index);

    f->value[0] = lower_guarded(f->lo, nd->arg[0].id, &at, guard, n, 0);
}

static void dot_element(Fold *f)
{
    const Node *nd = f->nd;
    const Type *a = &f->lo->g->node[nd->arg[0].id].type;
    DotAxes d = attr_dot(&nd->attr);
    Affine loop[MAX_RANK];

    for (int i = 0; i < d.nc; i++)
        loop[i] = new_var(f, a->dim[d.ac[i]]);
    f->value[0] = dot_factor(f, 0, d.nb, d.ab, d.ac, d.nb, d.nc, loop);
    f->value[1] = dot_factor(f, 1, a->rank - d.nc, d.bb, d.bc, d.nb, d.nc, loop);
}

/* ---- the order ---- */

static bool joins(Affine at, int outer, int inner, int64_t extent)
{
    return aff_coef(at, outer) == aff_coef(at, inner) * extent;
}

/* Two loops that every access sees as one become one. */
static bool join_last(Fold *f)
{
    int outer = f->var[f->n - 2], inner = f->var[f->n - 1];
    int64_t extent = f->extent[f->n - 1];

    for (Stmt *s = f->body.first; s; s = s->next)
        for (int i = 0; stmt_affine(s, i); i++)
            if (!joins(*stmt_affine(s, i), outer, inner, extent))
                return false;
    for (Stmt *s = f->body.first; s; s = s->next)
        for (int i = 0; stmt_affine(s, i); i++)
            *stmt_affine(s, i) = aff_subst(f->lo->mem, *stmt_affine(s, i), outer, aff_const(0));
    f->var[f->n - 2] = inner;
    f->extent[f->n - 2] *= extent;
    f->n--;
    return true;
}

static bool wants_lanes(const Fold *f)
{
    bool dot = op_info[f->nd->op].cls == CLASS_FOLD, contiguous = false;
    int inner = f->n ? f->var[f->n - 1] : -1;

    if (!f->n || f->nd->op == OP_argmax || f->nd->op == OP_argmin || !dt_is_float(f->nd->type.dtype)
        || f->extent[f->n - 1] < (dot ? LANE_MIN_DOT : LANE_MIN_REDUCE))
        return false;
    for (const Stmt *s = f->body.first; s; s = s->next) {
        if (s->kind == ST_PICK)
            return false;
        if (s->kind != ST_LOAD)
            continue;
        int64_t coef = aff_coef(s->at, inner);

        if (coef != 0 && coef != 1)
            return false;
        if (aff_coef(s->row, inner) != 0 || (dot && coef != 1))
            return false;
        contiguous |= coef == 1;
    }
    return contiguous;
}

/* ---- accumulation ---- */

static Op fold_op(const Node *nd)
{
    return nd->op == OP_max || nd->op == OP_first_max ? OP_maximum : nd->op == OP_min ? OP_minimum : OP_add;
}

static double fold_start(Op op, Dtype dtype)
{
    double most = dtype == DT_i32 ? INT32_MAX : dtype == DT_u8 ? 255 : dt_is_float(dtype) ? INFINITY : 0x1p62;
    double least = dtype == DT_u8 ? 0 : dt_is_float(dtype) ? -INFINITY : -most;

    return op == OP_max || op == OP_first_max || op == OP_argmax ? least : op == OP_min || op == OP_argmin ? most : 0;
}

static int add_local(Fold *f, Dtype dtype, int64_t count, double start)
{
    Stmt *s = low_add(f->lo, ST_LOCAL, f->nd->loc);

    s->id = f->lo->k->nlocal++;
    s->dtype = dtype;
    s->count = count;
    s->number = start;
    return s->id;
}

static int get_local(Fold *f, int local, Dtype dtype, Affine at)
{
    Stmt *s = low_add(f->lo, ST_GET, f->nd->loc);

    s->id = f->lo->k->nvalue++;
    s->dtype = dtype;
    s->local = local;
    s->at = at;
    return s->id;
}

static void set_local(Fold *f, int local, Dtype dtype, Affine at, int value)
{
    Stmt *s = low_add(f->lo, ST_SET, f->nd->loc);

    s->dtype = dtype;
    s->local = local;
    s->at = at;
    s->narg = 1;
    s->arg[0] = value;
}

/* best and index: the new element wins if it is greater, or the first nan. */
static void step_arg(Fold *f, const int *local, int value, Affine where)
{
    Lower *lo = f->lo;
    Loc loc = f->nd->loc;
    Dtype dt = lo->g->node[f->nd->arg[0].id].type.dtype;
    int best = get_local(f, local[0], dt, aff_const(0)), index = get_local(f, local[1], DT_i32, aff_const(0));
    int pair[2] = { f->nd->op == OP_argmax ? value : best, f->nd->op == OP_argmax ? best : value };
    int behind = low_let(lo, loc, OP_le, DT_bool, dt, 2, pair);
    int number = low_let(lo, loc, OP_eq, DT_bool, dt, 2, (int[]){ best, best });
    int wins = low_let(lo, loc, OP_and, DT_bool, DT_bool, 2,
                       (int[]){ low_let(lo, loc, OP_not, DT_bool, DT_bool, 1, &behind), number });
    int here = low_index(lo, loc, where);

    set_local(f, local[0], dt, aff_const(0), low_let(lo, loc, OP_select, dt, dt, 3, (int[]){ wins, value, best }));
    set_local(f, local[1], DT_i32, aff_const(0),
              low_let(lo, loc, OP_select, DT_i32, DT_i32, 3, (int[]){ wins, here, index }));
}

static int combine(Fold *f, int acc, const int *value)
{
    Lower *lo = f->lo;
    Dtype dt = f->nd->type.dtype;
    Loc loc = f->nd->loc;
    Op op = fold_op(f->nd);

    if (op_info[f->nd->op].cls == CLASS_FOLD && dt_is_float(dt))
        return low_let(lo, loc, OP_fma, dt, dt, 3, (int[]){ value[0], value[1], acc });
    if (f->nd->op == OP_dot) {
        int product = low_let(lo, loc, OP_mul, dt, dt, 2, value);

        return low_let(lo, loc, OP_add, dt, dt, 2, (int[]){ acc, product });
    }
    if (op == OP_add || dt_is_float(dt))
        return low_let(lo, loc, op, dt, dt, 2, (int[]){ acc, value[0] });
    int pair[2] = { op == OP_maximum ? acc : value[0], op == OP_maximum ? value[0] : acc };
    int less = low_let(lo, loc, OP_lt, DT_bool, dt, 2, pair);

    return low_let(lo, loc, OP_select, dt, dt, 3, (int[]){ less, value[0], acc });
}

/* The element's number among the folded ones, in row-major order. */
static Affine place(const Fold *f)
{
    Affine at = aff_const(0);

    for (int i = 0; i < f->n; i++)
        at = aff_add(f->lo->mem, aff_scale(f->lo->mem, at, f->extent[i]), aff_var(f->lo->mem, f->var[i], 1));
    return at;
}

/* The element with the innermost loop's variable as `inner`, combined into partial result `lane`.
 * The body stands on its own (no value from around it), so a copy renumbers all its values. */
static void step(Fold *f, const int *local, Affine inner, Affine lane, int value_base)
{
    Lower *lo = f->lo;
    Dtype dt = f->nd->type.dtype;
    int value[2] = { f->value[0] + value_base, f->value[1] + value_base };
    Affine *var = arena_array(lo->mem, Affine, lo->k->nvar + 1);

    for (int i = 0; i < lo->k->nvar; i++)
        var[i] = aff_var(lo->mem, i, 1);
    if (f->n)
        var[f->var[f->n - 1]] = inner;
    for (const Stmt *s = f->body.first; s; s = s->next)
        if (value_base && s->kind == ST_PICK)
            var[s->id] = aff_var(lo->mem, lo->k->nvar++, 1);
    kern_append(lo->out, kern_clone(lo->mem, f->body.first, var, value_base, 0));
    if (f->nd->op == OP_argmax || f->nd->op == OP_argmin)
        step_arg(f, local, value[0], place(f));
    else
        set_local(f, local[0], dt, lane, combine(f, get_local(f, local[0], dt, lane), value));
}

/* One group of up to NND_LANES elements from `from` on. */
static void lane_group(Fold *f, const int *local, Affine from, int64_t count, int value_base)
{
    int lane = f->lo->k->nvar++;
    Affine at = aff_var(f->lo->mem, lane, 1);
    Open o;

    low_open(f->lo, &o, f->nd->loc, lane, count);
    o.loop->lanes = NND_LANES;
    step(f, local, aff_add(f->lo->mem, from, at), at, value_base);
    low_close(f->lo, &o);
}

static void inner_loop(Fold *f, const int *local)
{
    Lower *lo = f->lo;
    int var = f->n ? f->var[f->n - 1] : -1;
    int64_t extent = f->n ? f->extent[f->n - 1] : 1, whole = extent / NND_LANES, rest = extent % NND_LANES;
    Open o;

    if (f->lanes == 1) {
        if (f->n)
            low_open(lo, &o, f->nd->loc, var, extent);
        step(f, local, f->n ? aff_var(lo->mem, var, 1) : aff_const(0), aff_const(0), 0);
        if (f->n)
            low_close(lo, &o);
        return;
    }
    if (whole) {
        low_open(lo, &o, f->nd->loc, var, whole);
        lane_group(f, local, aff_var(lo->mem, var, NND_LANES), NND_LANES, 0);
        low_close(lo, &o);
    }
    if (rest) {
        int base = whole ? lo->k->nvalue : 0;

        lo->k->nvalue += base;
        lane_group(f, local, aff_const(whole * NND_LANES), rest, base);
    }
}

static void loops(Fold *f, const int *local, int depth)
{
    Open o;

    if (depth >= f->n - 1) {
        inner_loop(f, local);
        return;
    }
    low_open(f->lo, &o, f->nd->loc, f->var[depth], f->extent[depth]);
    loops(f, local, depth + 1);
    low_close(f->lo, &o);
}

/* The element's value, written apart: the memo of values around it does not reach into it, nor its own out. */
static void write_element(Fold *f)
{
    Lower *lo = f->lo;
    KList *outer = lo->out;
    Memo *memo = lo->memo;
    Guards guards = lo->guards;
    int nmemo = lo->nmemo, cmemo = lo->cmemo;

    lo->out = &f->body;
    lo->memo = NULL;
    lo->nmemo = lo->cmemo = 0;
    lo->guards = (Guards){ .condition = -1 };
    if (f->nd->op == OP_dot)
        dot_element(f);
    else if (f->nd->op == OP_conv)
        conv_element(f);
    else if (f->nd->op == OP_overlap)
        overlap_element(f);
    else
        reduce_element(f);
    lo->out = outer;
    lo->memo = memo;
    lo->guards = guards;
    lo->nmemo = nmemo;
    lo->cmemo = cmemo;
}

int lower_head(Lower *lo, const Node *nd)
{
    Fold f = { .lo = lo, .nd = nd };
    bool arg = nd->op == OP_argmax || nd->op == OP_argmin;
    Dtype dt = arg ? lo->g->node[nd->arg[0].id].type.dtype : nd->type.dtype;
    int local[2] = { -1, -1 }, value;
    Stmt *fold;

    write_element(&f);
    while (f.n >= 2 && join_last(&f))
        ;
    f.lanes = !lo->in_order && wants_lanes(&f) ? NND_LANES : 1;
    local[0] = add_local(&f, dt, f.lanes, fold_start(nd->op, dt));
    if (arg)
        local[1] = add_local(&f, DT_i32, 1, 0);
    loops(&f, local, 0);
    if (arg)
        return get_local(&f, local[1], DT_i32, aff_const(0));
    if (f.lanes == 1)
        return get_local(&f, local[0], dt, aff_const(0));
    value = lo->k->nvalue++;
    fold = low_add(lo, ST_FOLD, nd->loc);
    fold->id = value;
    fold->op = fold_op(nd);
    fold->dtype = dt;
    fold->local = local[0];
    fold->at = aff_const(0);
    fold->count = NND_LANES;
    return value;
}
