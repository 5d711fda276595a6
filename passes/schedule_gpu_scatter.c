/* schedule_gpu_scatter.c - rows added up by number: sums of all numbers lie in group memory, a thread's own in a column of it.
 *
 * A thread has one column of the result, its neighbours the columns beside it; it walks over a slice of the rows, in order, and adds each
 * to the sum that its number says: nobody else touches its column, so nothing has to wait.  Slices are added up in order by a
 * second kernel.  Where there are more numbers than group memory holds, groups have a range of them each and leave out others.
 */
#include "passes/schedule_gpu.h"

enum { COLUMNS = 32, RANGE = 256, AHEAD = 8, LEAST_SLICE = 32, MOST_SLICES = 32, MOST_PARTIAL = 1 << 24 };

typedef struct Scatter {
    Gpu        *g;
    const Stmt *cell, *pick, *value;        /* the sum; what says the number; the row's element: the values that are added up */
    Stmt       *flat, *rest;                /* the loops' body in a straight line; what follows them */
    int         number, element;            /* values in flat */
    int         var[MAX_RANK], n;           /* the loops over rows */
    int64_t     extent[MAX_RANK], length;
    int         at;                         /* which loop of the domain counts the sums */
    int64_t     sums, columns, slices, slice, ranges;
    int64_t     wide;                       /* columns that groups have, with those beyond the last */
    int         buf;                        /* of partial sums */
    int         memory, held[2];            /* locals */
    Affine      thread, range, column;
} Scatter;

/* ---- what the kernel is ---- */

static void append_copy(Scatter *s, KList *l, const Stmt *list)
{
    for (; list; list = list->next) {
        Stmt *c = kern_add(s->g->mem, l, list->kind, list->loc);

        *c = *list;
        c->next = NULL;
    }
}

static const Stmt *last_of(const Stmt *s)
{
    while (s && s->next)
        s = s->next;
    return s;
}

static const Stmt *defines(const Stmt *s, int value)
{
    while (s && (s->id != value || stmt_has_var(s) || s->kind == ST_SET || s->kind == ST_IF))
        s = s->next;
    return s;
}

/* The list ends with `if picked == sum { cell += element }`. */
static bool take_condition(Scatter *s, const Stmt *list)
{
    const Stmt *test = last_of(list), *eq = test && test->kind == ST_IF ? defines(list, test->arg[0]) : NULL, *side[2], *set, *add;

    if (!eq || eq->kind != ST_LET || eq->op != OP_eq)
        return false;
    for (int i = 0; i < 2; i++)
        if (!(side[i] = defines(list, eq->arg[i])) || side[i]->kind != ST_INDEX || side[i]->at.n != 1 || side[i]->at.base || side[i]->at.term[0].coef != 1)
            return false;
    for (s->pick = list; s->pick && (s->pick->kind != ST_PICK || s->pick->id != side[0]->at.term[0].var); )
        s->pick = s->pick->next;
    for (s->at = 0; s->at < s->g->nest->n && s->g->nest->var[s->at] != side[1]->at.term[0].var; )
        s->at++;
    set = last_of(test->body);
    add = set && set->kind == ST_SET ? defines(test->body, set->arg[0]) : NULL;
    if (!s->pick || s->at == s->g->nest->n || !add || add->kind != ST_LET || add->op != OP_add)
        return false;
    s->number = s->pick->arg[0];
    s->element = add->arg[1];
    s->value = defines(test->body, add->arg[1]);
    return set->local == s->cell->id && (s->value || (s->value = defines(list, add->arg[1])));
}

static bool take_apart(Scatter *s)
{
    const Stmt *loop = s->cell->next, *list;
    KList       flat = { 0 };

    s->length = 1;
    for (list = loop; list && list->kind == ST_FOR; list = list->body) {
        if (s->n == MAX_RANK || (list != loop && list->next))
            return false;
        s->var[s->n] = list->id;
        s->extent[s->n++] = list->extent;
        s->length *= list->extent;
    }
    if (!s->n || stmt_has(list, ST_FOR) || stmt_has(list, ST_LOCAL) || !take_condition(s, list))
        return false;
    s->rest = loop->next;
    append_copy(s, &flat, list);
    append_copy(s, &flat, last_of(list)->body);
    s->flat = flat.first;
    return !stmt_has(s->rest, ST_FOR) && !stmt_has(s->rest, ST_IF) && s->pick->extent == s->g->nest->extent[s->at];
}

/* ---- a group's part ---- */

static Affine place(Scatter *s, Affine sum) { return aff_add(s->g->mem, aff_scale(s->g->mem, sum, COLUMNS), s->thread); }

static void copy_value(Scatter *s, int value, Dtype from, Dtype dtype, int local, Affine at, KList *l)
{
    Gpu *g = s->g;

    kern_append(l, gpu_copy(g, gpu_slice(g, s->flat, value)));
    value += g->value_base;
    gpu_set(g, l, local, dtype, at, from == dtype ? value : gpu_let(g, l, OP_cast, dtype, from, 1, &value));
}

/* Numbers and elements of some rows go to registers. */
static Stmt *fetch(Scatter *s, Affine row, int some)
{
    Gpu  *g = s->g;
    KList l = { 0 };
    Stmt *loop;

    gpu_count(g, &l, row, s->var, s->extent, s->n, true);
    copy_value(s, s->number, defines(s->flat, s->number)->dtype, DT_i32, s->held[0], aff_var(g->mem, some, 1), &l);
    copy_value(s, s->element, s->value->dtype, s->cell->dtype, s->held[1], aff_var(g->mem, some, 1), &l);
    loop = gpu_for(g, some, AHEAD, l.first);
    loop->unroll = true;
    return loop;
}

/* They are added to the sums that are the group's. */
static Stmt *add_up(Scatter *s, Affine row, int some)
{
    Gpu   *g = s->g;
    Affine at = aff_var(g->mem, some, 1), sum;
    Dtype  dt = s->cell->dtype;
    Guard  guard[2];
    int    value[2], n = 0;
    KList  l = { 0 }, body = { 0 };
    Stmt  *pick, *loop;

    value[0] = gpu_get(g, &l, s->held[0], DT_i32, at);
    pick = kern_add(g->mem, &l, ST_PICK, s->pick->loc);
    pick->id = gpu_var(g);
    pick->extent = s->sums;
    pick->narg = 1;
    pick->arg[0] = value[0];
    sum = aff_add(g->mem, aff_var(g->mem, pick->id, 1), aff_scale(g->mem, s->range, -RANGE));
    if (s->ranges > 1)
        guard[n++] = (Guard){ sum, RANGE };
    if (s->slice * s->slices != s->length)
        guard[n++] = (Guard){ row, s->length };
    value[0] = gpu_get(g, &body, s->memory, dt, place(s, sum));
    value[1] = gpu_get(g, &body, s->held[1], dt, at);
    gpu_set(g, &body, s->memory, dt, place(s, sum), gpu_let(g, &body, OP_add, dt, dt, 2, value));
    kern_append(&l, gpu_inside(g, guard, n, body.first));
    loop = gpu_for(g, some, AHEAD, l.first);
    loop->unroll = true;
    return loop;
}

static void walk_rows(Scatter *s, Affine slice, KList *l)
{
    Gpu   *g = s->g;
    int    turn = gpu_var(g), some[2] = { gpu_var(g), gpu_var(g) };
    Affine first = aff_add(g->mem, aff_scale(g->mem, slice, s->slice), aff_var(g->mem, turn, AHEAD));
    KList  body = { 0 };

    for (int i = 0; i < 2; i++)
        s->held[i] = gpu_local(g, l, i ? s->cell->dtype : DT_i32, AHEAD, SCOPE_OWN, 0, 0);
    kern_append(&body, fetch(s, aff_add(g->mem, first, aff_var(g->mem, some[0], 1)), some[0]));
    kern_append(&body, add_up(s, aff_add(g->mem, first, aff_var(g->mem, some[1], 1)), some[1]));
    kern_append(l, gpu_for(g, turn, s->slice / AHEAD, body.first));
}

static int64_t range_of(const Scatter *s) { return s->ranges > 1 ? RANGE : s->sums; }

static void clear(Scatter *s, KList *l)
{
    Gpu  *g = s->g;
    int   z = gpu_var(g);
    KList body = { 0 };

    gpu_set(g, &body, s->memory, s->cell->dtype, place(s, aff_var(g->mem, z, 1)), gpu_const(g, &body, s->cell->dtype, s->cell->number));
    kern_append(l, gpu_for(g, z, range_of(s), body.first));
}

/* The sums of the thread's column to the partial sums, [slice][sum][column]. */
static void leave(Scatter *s, Affine slice, KList *l)
{
    Gpu   *g = s->g;
    int    z = gpu_var(g);
    Affine sum = aff_add(g->mem, aff_var(g->mem, z, 1), aff_scale(g->mem, s->range, RANGE)), at;
    KList  body = { 0 }, end = { 0 };
    Stmt  *store = kern_add(g->mem, &end, ST_STORE, s->cell->loc);

    at = aff_add(g->mem, aff_scale(g->mem, slice, s->ranges * range_of(s)), sum);
    at = aff_add(g->mem, aff_scale(g->mem, at, s->wide), s->column);
    store->dtype = s->cell->dtype;
    store->buf = s->buf;
    store->at = at;
    store->narg = 1;
    store->arg[0] = gpu_get(g, &body, s->memory, s->cell->dtype, place(s, aff_var(g->mem, z, 1)));
    kern_append(&body, end.first);
    kern_append(l, gpu_for(g, z, range_of(s), body.first));
}

static void write_slices(Scatter *s)
{
    Gpu    *g = s->g;
    Nest   *nest = g->nest;
    int     slice = gpu_var(g), range = gpu_var(g), block = gpu_var(g), thread = gpu_var(g), var[MAX_RANK], n = 0;
    int64_t extent[MAX_RANK];
    KList   l = { 0 }, body = { 0 };
    Stmt   *top;

    for (int i = 0; i < nest->n; i++)
        if (i != s->at) {
            var[n] = nest->var[i];
            extent[n++] = nest->extent[i];
        }
    s->thread = aff_var(g->mem, thread, 1);
    s->range = s->ranges > 1 ? aff_var(g->mem, range, 1) : aff_const(0);
    s->column = aff_add(g->mem, aff_var(g->mem, block, COLUMNS), s->thread);
    s->memory = gpu_local(g, &l, s->cell->dtype, range_of(s) * COLUMNS, SCOPE_GROUP, 0, 0);
    clear(s, &body);
    gpu_count(g, &body, s->column, var, extent, n, s->columns % COLUMNS != 0);
    walk_rows(s, aff_var(g->mem, slice, 1), &body);
    leave(s, aff_var(g->mem, slice, 1), &body);
    kern_append(&l, gpu_block(g, thread, COLUMNS, body.first));
    top = gpu_grid(g, block, (s->columns + COLUMNS - 1) / COLUMNS, l.first);
    if (s->ranges > 1)
        top = gpu_grid(g, range, s->ranges, top);
    g->k->body = gpu_grid(g, slice, s->slices, top);
}

/* ---- the whole ---- */

static void settle(Scatter *s)
{
    const Nest *nest = s->g->nest;
    int64_t     room = nest->limits->shared_bytes / (COLUMNS * (int64_t)dt_bytes(s->cell->dtype)), most;

    s->sums = nest->extent[s->at];
    s->columns = gpu_results(nest) / s->sums;
    s->ranges = s->sums <= room ? 1 : (s->sums + RANGE - 1) / RANGE;
    s->wide = (s->columns + COLUMNS - 1) / COLUMNS * COLUMNS;
    most = MOST_PARTIAL / (s->sums * s->wide);
    s->slices = s->length / LEAST_SLICE;
    s->slices = s->slices > MOST_SLICES ? MOST_SLICES : s->slices;
    s->slices = s->slices > most ? most : s->slices;
    s->slices = s->slices < 1 ? 1 : s->slices;
    s->slice = ((s->length + s->slices - 1) / s->slices + AHEAD - 1) / AHEAD * AHEAD;
    s->slices = (s->length + s->slice - 1) / s->slice;
}

/* In the nest's own numbering: the sum's partial sums, [slice][sum][column]. */
static Affine partial_sum(const Scatter *s)
{
    Nest  *nest = s->g->nest;
    Affine a = aff_const(0);

    for (int i = 0; i < nest->n; i++)
        if (i != s->at)
            a = aff_add(nest->mem, aff_scale(nest->mem, a, nest->extent[i]), aff_var(nest->mem, nest->var[i], 1));
    return aff_add(nest->mem, a, aff_var(nest->mem, nest->var[s->at], s->wide));
}

bool gpu_scatter(Gpu *g)
{
    Scatter s = { .g = g, .cell = g->nest->body };
    int64_t each;

    if (g->nest->n < 2 || !s.cell || s.cell->kind != ST_LOCAL || s.cell->count != 1 || !take_apart(&s))
        return false;
    settle(&s);
    if (s.columns < COLUMNS / 2 || s.length < LEAST_SLICE)
        return false;
    each = s.ranges * range_of(&s) * s.wide;
    s.buf = plan_buffer(g->nest->p, (Buffer){ .seg = SEG_SCRATCH, .slot = -1, .offset = -1, .first = -1, .dtype = s.cell->dtype,
                                              .count = s.slices * each });
    gpu_open(g, 1);
    write_slices(&s);
    g->nest->body = gpu_add_parts(g, s.cell, OP_add, s.rest, s.buf, partial_sum(&s), each, s.slices);
    gpu_point(g);
    return true;
}
