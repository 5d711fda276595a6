/* schedule.c - mark and split each kernel's loops for the target's limits.
 *
 * Domain loops are independent and perfectly nested, so they may be joined, reordered and split freely;
 * folded loops keep the order that lower gave them.  Contractions become register tiles
 * (schedule_tile.c).  Everything else gets vectors along the domain's loop with the most unit strides,
 * innermost, and its outermost other loop may run in parallel.
 */
#include "passes/schedule.h"

/* Elements of a parallel piece of a one-dimensional kernel: a few microseconds of work. */
enum { CHUNK_MIN = 512, CHUNK_MAX = 8192 };

/* Elements of a kernel whose transposed operands are turned in blocks, which is some hundred instructions. */
enum { TURN_MIN = 1 << 16 };

/* ---- taking apart ---- */

Nest nest_open(Plan *p, Kernel *k, const Limits *limits)
{
    Nest nest = { .p = p, .mem = &p->m->mem, .limits = limits, .k = k, .body = k->body };

    while (nest.body && nest.body->kind == ST_FOR && !nest.body->next && nest.n < MAX_RANK) {
        nest.var[nest.n] = nest.body->id;
        nest.extent[nest.n++] = nest.body->extent;
        nest.body = nest.body->body;
    }
    return nest;
}

Stmt *sched_for(Arena *mem, Loc loc, int var, int64_t extent, Stmt *body)
{
    KList one = { 0 };
    Stmt *loop = kern_add(mem, &one, ST_FOR, loc);

    loop->id = var;
    loop->extent = extent;
    loop->body = body;
    return loop;
}

Stmt *nest_wrap(Nest *nest, Stmt *body, int nloops)
{
    for (int i = nloops - 1; i >= 0; i--)
        body = sched_for(nest->mem, nest->k->loc, nest->var[i], nest->extent[i], body);
    return body;
}

/* ---- joining loops that every access sees as one ---- */

static bool all_join(Stmt *s, int outer, int inner, int64_t extent)
{
    for (; s; s = s->next) {
        for (int i = 0; stmt_affine(s, i); i++)
            if (aff_coef(*stmt_affine(s, i), outer) != aff_coef(*stmt_affine(s, i), inner) * extent)
                return false;
        if (!all_join(s->body, outer, inner, extent))
            return false;
    }
    return true;
}

static void drop_var(Arena *mem, Stmt *s, int var)
{
    for (; s; s = s->next) {
        for (int i = 0; stmt_affine(s, i); i++)
            *stmt_affine(s, i) = aff_subst(mem, *stmt_affine(s, i), var, aff_const(0));
        drop_var(mem, s->body, var);
    }
}

static void join_loops(Nest *nest)
{
    for (int i = nest->n - 2; i >= 0; i--) {
        if (!all_join(nest->body, nest->var[i], nest->var[i + 1], nest->extent[i + 1]))
            continue;
        drop_var(nest->mem, nest->body, nest->var[i]);
        nest->extent[i] *= nest->extent[i + 1];
        nest->var[i] = nest->var[i + 1];
        nest->n--;
        for (int j = i + 1; j < nest->n; j++) {
            nest->var[j] = nest->var[j + 1];
            nest->extent[j] = nest->extent[j + 1];
        }
    }
}

/* ---- vectors ---- */

static bool value_varies(const Stmt *list, int value, int var);

/* Does a form hold an index variable that is picked by a value which changes with var? */
bool pick_varies(const Stmt *list, Affine a, int var)
{
    for (const Stmt *s = list; s; s = s->next)
        if (s->kind == ST_PICK && aff_coef(a, s->id) && value_varies(list, s->arg[0], var))
            return true;
    return false;
}

/* The value is defined in the list itself: it stands in straight lines before the pick. */
static bool value_varies(const Stmt *list, int value, int var)
{
    for (const Stmt *s = list; s; s = s->next) {
        if (s->kind == ST_FOR || s->kind == ST_LOCAL || s->kind == ST_PICK || s->id != value)
            continue;
        if (aff_coef(s->at, var) || aff_coef(s->row, var) || pick_varies(list, s->at, var) || pick_varies(list, s->row, var))
            return true;
        for (int i = 0; i < s->narg; i++)
            if (value_varies(list, s->arg[i], var))
                return true;
        return false;
    }
    return false;
}

void strides_of(const Stmt *list, int var, Strides *st)
{
    for (const Stmt *s = list; s; s = s->next) {
        if (s->kind == ST_LOAD || s->kind == ST_STORE) {
            int64_t coef = aff_coef(s->at, var);
            bool along = aff_coef(s->row, var) || pick_varies(list, s->at, var) || pick_varies(list, s->row, var);

            if (coef == 1 && !along)
                st->unit++;
            else if (coef == 0 && !along)
                st->none++;
            else
                st->other++;
        }
        strides_of(s->body, var, st);
    }
}

static bool has_lanes(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->lanes || has_lanes(s->body))
            return true;
    return false;
}

Dtype widest_float(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->dtype == DT_f64 || (s->body && widest_float(s->body) == DT_f64))
            return DT_f64;
    return DT_f32;
}

int lanes_for(const Limits *l, Dtype d)
{
    return l->lanes * 4 / (int)dt_bytes(d) > 1 ? l->lanes * 4 / (int)dt_bytes(d) : 2;
}

/* The loop along which vectors run: most unit strides, fewest scattered ones; the inner one of equals. */
int vector_loop(const Nest *nest)
{
    int best = -1, best_score = 0;

    for (int i = 0; i < nest->n; i++) {
        Strides st = { 0 };
        int64_t fill = nest->extent[i] < nest->limits->lanes ? nest->extent[i] : nest->limits->lanes;

        strides_of(nest->body, nest->var[i], &st);
        int score = (int)fill * (4 * st.unit + st.none + 1) / (1 + 4 * st.other);

        if (score >= best_score) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

void move_last(Nest *nest, int i)
{
    int var = nest->var[i];
    int64_t extent = nest->extent[i];

    for (; i < nest->n - 1; i++) {
        nest->var[i] = nest->var[i + 1];
        nest->extent[i] = nest->extent[i + 1];
    }
    nest->var[i] = var;
    nest->extent[i] = extent;
}

/* A long single loop in pieces that divide it, so that pieces can run in parallel. */
static void split_chunks(Nest *nest, int lanes)
{
    int64_t n = nest->extent[0], chunk = CHUNK_MAX;
    int outer = nest->k->nvar, inner = nest->k->nvar + 1;
    Affine *var;

    while (chunk >= CHUNK_MIN && (n % chunk || chunk % lanes))
        chunk -= lanes;
    if (n < 2 * CHUNK_MAX || chunk < CHUNK_MIN)
        return;
    var = arena_array(nest->mem, Affine, nest->k->nvar);
    for (int i = 0; i < nest->k->nvar; i++)
        var[i] = aff_var(nest->mem, i, 1);
    var[nest->var[0]] = aff_add(nest->mem, aff_var(nest->mem, outer, chunk), aff_var(nest->mem, inner, 1));
    nest->k->nvar += 2;
    nest->body = kern_clone(nest->mem, nest->body, var, 0, 0);
    nest->var[0] = outer;
    nest->extent[0] = n / chunk;
    nest->var[1] = inner;
    nest->extent[1] = chunk;
    nest->n = 2;
}

/* Votes for the loop along which accesses that are scattered along var lie side by side. */
static void count_sides(const Nest *nest, const Stmt *list, int var, int *votes)
{
    for (const Stmt *s = list; s; s = s->next) {
        int64_t coef = s->kind == ST_LOAD || s->kind == ST_STORE ? aff_coef(s->at, var) : 0;

        for (int i = 0; coef && coef != 1 && i < nest->n; i++)
            votes[i] += aff_coef(s->at, nest->var[i]) == 1;
        count_sides(nest, s->body, var, votes);
    }
}

static int side_loop(const Nest *nest)
{
    int votes[MAX_RANK] = { 0 }, best = -1;

    count_sides(nest, nest->body, nest->var[nest->n - 1], votes);
    for (int i = 0; i < nest->n - 1; i++)
        if (votes[i] && (best < 0 || votes[i] > votes[best]))
            best = i;
    return best;
}

/* A loop in two: its whole vectors, and the lanes. */
static void split_loop(Nest *nest, int last, int lanes)
{
    int outer = nest->k->nvar++, inner = nest->k->nvar++;
    Affine *var = arena_array(nest->mem, Affine, nest->k->nvar);

    for (int i = 0; i < nest->k->nvar; i++)
        var[i] = aff_var(nest->mem, i, 1);
    var[nest->var[last]] = aff_add(nest->mem, aff_var(nest->mem, outer, lanes), aff_var(nest->mem, inner, 1));
    nest->body = kern_clone(nest->mem, nest->body, var, 0, 0);
    for (int i = nest->n++; i > last; i--) {
        nest->var[i] = nest->var[i - 1];
        nest->extent[i] = nest->extent[i - 1];
    }
    nest->var[last] = outer;
    nest->extent[last] /= lanes;
    nest->var[last + 1] = inner;
    nest->extent[last + 1] = lanes;
}

/* Does a load that is scattered along the lanes lie side by side along that loop, with no condition of its own? */
static bool turns(const Nest *nest, const Stmt *list, int side, int lanes)
{
    for (const Stmt *s = list; s; s = s->next)
        if (s->kind == ST_LOAD && !s->narg && !aff_coef(s->row, side) && nest->p->buf[s->buf].seg != SEG_FIELD && aff_coef(s->at, side) == 1
            && aff_coef(s->at, lanes) != 0 && aff_coef(s->at, lanes) != 1)
            return true;
    return false;
}

/* Of so much that it is worth the code: so many neighbours of each row are loaded at once and turned in registers: the largest power of two that divides the loop. */
static void turn_blocks(Nest *nest, int lanes)
{
    int     side = nest->n - 2;
    int64_t by = lanes, count = 1;

    for (int i = 0; i < nest->n; i++)
        count *= nest->extent[i];
    while (by > 2 && nest->extent[side] % by)
        by /= 2;
    if (count < TURN_MIN || nest->extent[side] % by || nest->extent[side + 1] > lanes || !turns(nest, nest->body, nest->var[side], nest->var[side + 1]))
        return;
    if (nest->extent[side] > by && nest->n == MAX_RANK)
        return;
    if (nest->extent[side] > by)
        split_loop(nest, side, (int)by);
    nest->turned = true;
}

/* Loop `from` to an outer place. */
static void move_out(Nest *nest, int from, int to)
{
    int     var = nest->var[from];
    int64_t extent = nest->extent[from];

    for (int i = from; i > to; i--) {
        nest->var[i] = nest->var[i - 1];
        nest->extent[i] = nest->extent[i - 1];
    }
    nest->var[to] = var;
    nest->extent[to] = extent;
}

/* Is there a load that lies side by side along a third loop? */
static bool has_third_order(const Nest *nest, int side, int lanes)
{
    for (const Stmt *s = nest->body; s; s = s->next) {
        int64_t a = s->kind == ST_LOAD ? aff_coef(s->at, side) : 0, b = s->kind == ST_LOAD ? aff_coef(s->at, lanes) : 0;

        for (int i = 0; a > 1 && b > 1 && i < nest->n; i++)
            if (nest->var[i] != side && nest->var[i] != lanes && aff_coef(s->at, nest->var[i]) == 1)
                return true;
    }
    return false;
}

/* A transposed operand: the loop along which it lies side by side goes next to the lanes, so that what one line of a cache holds
 * is taken while it is there; and lanes are one vector, or the lines would be too many: the loop over vectors goes around, and around all but the
 * first loop if lines of a third order would wait for it too. */
static void take_lines_whole(Nest *nest, int lanes)
{
    int side = side_loop(nest), last = nest->n - 1;

    if (side < 0)
        return;
    move_last(nest, side);
    if (nest->extent[last - 1] % lanes || nest->extent[last - 1] == lanes || nest->n == MAX_RANK) {
        move_last(nest, last - 1);
        return;
    }
    move_last(nest, last - 1);
    split_loop(nest, last, lanes);
    move_out(nest, last, last - 1);
    if (last > 2 && has_third_order(nest, nest->var[last], nest->var[last + 1]))
        move_out(nest, last - 1, 1);
}

static Stmt *plain_nest(Nest *nest)
{
    int lanes = lanes_for(nest->limits, widest_float(nest->body)), vec = -1;
    Stmt *top, *s;

    if (nest->n && !has_lanes(nest->body)) {
        move_last(nest, vector_loop(nest));
        if ((top = schedule_sums(nest, lanes))) {
            top->par = true;
            return top;
        }
        if (nest->n == 1)
            split_chunks(nest, lanes);
        else
            take_lines_whole(nest, lanes);
        if (nest->n > 1)
            turn_blocks(nest, lanes);
        vec = nest->var[nest->n - 1];
    }
    top = nest_wrap(nest, nest->body, nest->n);
    for (s = top; vec >= 0 && s->id != vec; s = s->body)
        ;
    if (vec >= 0)
        s->lanes = lanes;
    for (s = top; nest->turned && s->id != vec; s = s->body)
        s->unroll = s->id == nest->var[nest->n - 2];
    if (nest->n && top->kind == ST_FOR && !top->lanes && !top->unroll)
        top->par = true;
    return top;
}

static void list_kernel(Plan *p, Kernel *k, KernelList *out)
{
    arena_push(&p->m->mem, out->k, out->n, out->cap);
    out->k[out->n++] = k;
}

static void schedule_kernel(Plan *p, Kernel *k, const PassOptions *o, KernelList *out)
{
    Nest nest = nest_open(p, k, &o->limits);
    BlasResult blas;

    join_loops(&nest);
    k->scheduled = true;
    if (o->limits.warp) {
        schedule_gpu(&nest, out);
        return;
    }
    blas = schedule_blas(&nest, o, out);
    if (blas == BLAS_ALL || (blas == BLAS_NOT && schedule_tile(&nest, out)))
        return;
    k->body = plain_nest(&nest);
    list_kernel(p, k, out);
}

void schedule(Module *m, const PassOptions *o)
{
    for (int i = 0; i < m->ngraph; i++) {
        Plan *p = m->plan[i];
        KernelList out = { 0 };

        if (o->limits.warp)
            schedule_gpu_rows(p, &o->limits);
        for (int k = 0; k < p->nkernel; k++)
            if (p->kernel[k]->scheduled || (!o->limits.warp && p->kernel[k]->flops < o->plain_flops))
                list_kernel(p, p->kernel[k], &out);
            else
                schedule_kernel(p, p->kernel[k], o, &out);
        p->kernel = out.k;
        p->nkernel = out.n;
        p->ckernel = out.cap;
        (o->limits.warp ? schedule_gpu_merge : schedule_merge)(p);
    }
}
