/* schedule_gpu_row_write.c - the kernel of a group of stages over the same rows (schedule_gpu_rows.c).
 *
 *   for i0 < 256 grid {
 *     local l0 : f32[1024] each 4 = 0              what threads keep of a row: 4 elements each
 *     local l1 : f32[256] each 1 = 0
 *     for i1 < 8 block {                           a warp has a row
 *       for i2 < 32 block { ... load x, set l0 }
 *       for i2 < 32 block { ... get l0, set l1 }
 *       %9 = fold add l1[32*i1 .. 32]              and all its threads have the sum
 *       for i3 < 32 block { ... get l0, %9, store y }
 *     }
 *   }
 *
 * Thread t has elements vec * (lanes * turn + t) .. + vec - 1 of its row, in every stage.  What a stage does for each element, but does not
 * change with it, is done once a row.
 */
#include "passes/schedule_gpu_rows.h"

#include <string.h>

enum { LONG_WHAT = 60 };

typedef struct RowWriter {
    Gpu         g;
    RowGroup   *group;
    RowShape    shape;
    const bool *used;           /* by buffer */
    int         row;            /* loop over the rows of a group; -1: it has one */
    Affine      number;         /* of the row */
    KList       top;            /* locals of threads */
    RowStage   *s;
    int         value_base, local_base;
    bool       *fixed;          /* by value of the stage: the same for all elements of a row */
    bool       *fixed_var;      /* by variable of the stage */
} RowWriter;

/* A loop over the elements that a thread has. */
typedef struct Elements { int thread, turn, lane; Affine element, at; } Elements;

static Arena *mem_of(const RowWriter *w) { return w->g.mem; }

/* ---- elements ---- */

/* That of the first thread of the row. */
static Affine first_thread(const RowWriter *w) { return w->row < 0 ? aff_const(0) : aff_var(mem_of(w), w->row, w->shape.lanes); }

static Affine own_thread(const RowWriter *w, int thread) { return aff_add(mem_of(w), first_thread(w), aff_var(mem_of(w), thread, 1)); }

static Elements new_elements(RowWriter *w)
{
    Arena   *mem = mem_of(w);
    Elements e = { .thread = gpu_var(&w->g), .turn = -1, .lane = -1 };
    int64_t  vec = w->shape.vec, each = vec * w->shape.turns;

    e.element = aff_var(mem, e.thread, vec);
    e.at = aff_scale(mem, own_thread(w, e.thread), each);
    if (w->shape.turns > 1) {
        e.turn = gpu_var(&w->g);
        e.element = aff_add(mem, e.element, aff_var(mem, e.turn, vec * w->shape.lanes));
        e.at = aff_add(mem, e.at, aff_var(mem, e.turn, vec));
    }
    if (vec > 1) {
        e.lane = gpu_var(&w->g);
        e.element = aff_add(mem, e.element, aff_var(mem, e.lane, 1));
        e.at = aff_add(mem, e.at, aff_var(mem, e.lane, 1));
    }
    return e;
}

/* The loops around what is done for an element; as one access of neighbours, or one after the other. */
static Stmt *all_elements(RowWriter *w, const Elements *e, bool together, Stmt *body)
{
    const RowShape *shape = &w->shape;
    Gpu            *g = &w->g;

    if (e->lane >= 0) {
        body = gpu_for(g, e->lane, shape->vec, body);
        body->lanes = together ? shape->vec : 0;
        body->unroll = !together;
    }
    body = gpu_below(g, e->element, w->group->length, w->group->length % (shape->lanes * (int64_t)shape->vec) == 0, body);
    if (e->turn >= 0) {
        body = gpu_for(g, e->turn, shape->turns, body);
        body->unroll = true;
    }
    return gpu_block(g, e->thread, shape->lanes, body);
}

/* ---- a stage's statements ---- */

static void open_stage(RowWriter *w, RowStage *s)
{
    Kernel *k = w->g.k;

    w->s = s;
    w->g.nest = &s->nest;
    w->value_base = k->nvalue;
    w->local_base = k->nlocal;
    k->nvalue += s->k->nvalue;
    k->nlocal += s->k->nlocal;
    w->g.map = arena_array(mem_of(w), Affine, s->k->nvar + 1);
    w->fixed = arena_array(mem_of(w), bool, s->k->nvalue + 1);
    w->fixed_var = arena_array(mem_of(w), bool, s->k->nvar + 1);
    for (int i = 0; i < s->nrow; i++)
        w->fixed_var[s->nest.var[i]] = true;
}

static bool is_fixed(const RowWriter *w, const Stmt *s)
{
    if (s->kind == ST_GET || s->kind == ST_SET || s->kind == ST_STORE)
        return false;
    for (int i = 0; i < s->narg; i++)
        if (!w->fixed[s->arg[i]])
            return false;
    for (int i = 0; stmt_affine((Stmt *)s, i); i++) {
        Affine a = *stmt_affine((Stmt *)s, i);

        for (int j = 0; j < a.n; j++)
            if (!w->fixed_var[a.term[j].var])
                return false;
    }
    return true;
}

/* The list in two: what is done once a row, and what for each element. */
static void part_list(RowWriter *w, const Stmt *list, KList *once, KList *each)
{
    for (; list; list = list->next) {
        bool fixed = is_fixed(w, list);

        gpu_append_copy(mem_of(w), fixed ? once : each, list);
        if (stmt_has_var(list))
            w->fixed_var[list->id] = fixed;
        else
            w->fixed[list->id] = fixed;
    }
}

/* A form that is linear, in terms of the row's number and the element. */
static Affine place(const RowWriter *w, RowForm f, Affine element)
{
    Arena *mem = mem_of(w);

    return aff_add(mem, aff_add(mem, aff_scale(mem, w->number, f.a), aff_scale(mem, element, f.b)), aff_const(f.base));
}

static Affine kept_at(const RowKeep *k, const Elements *e) { return k->element ? e->at : aff_const(0); }

static void rewrite_load(RowWriter *w, Stmt *copy, RowForm f, const Elements *e)
{
    RowKeep *k = copy->narg ? NULL : gpu_row_keep(w->group, copy->buf, f);

    copy->at = place(w, f, e ? e->element : aff_const(0));
    if (!k || !k->filled)
        return;
    copy->kind = ST_GET;
    copy->local = k->local;
    copy->at = kept_at(k, e);
}

/* Goes to registers, and to memory only if it is looked at there. */
static void rewrite_store(RowWriter *w, Stmt *copy, RowForm f, const Elements *e)
{
    RowKeep *k = gpu_row_keep(w->group, copy->buf, f);

    copy->at = place(w, f, e ? e->element : aff_const(0));
    if (!k)
        return;
    k->filled = true;
    if (w->used[copy->buf]) {
        Stmt *set = arena_new(mem_of(w), Stmt);

        *set = *copy;
        copy->next = set;
        copy = set;
    }
    copy->kind = ST_SET;
    copy->local = k->local;
    copy->at = kept_at(k, e);
}

/* The list's copy, in which what is kept is looked up and left where it is kept. */
static Stmt *stage_copy(RowWriter *w, const GpuHead *head, const Stmt *list, const Elements *e)
{
    Plan *p = w->group->p;
    Stmt *copy = kern_clone(mem_of(w), list, w->g.map, w->value_base, w->local_base), *c = copy;

    for (; list; list = list->next) {
        Stmt   *next = c->next;
        bool    memory = (list->kind == ST_LOAD || list->kind == ST_STORE) && p->buf[list->buf].seg != SEG_FIELD;
        RowForm f = memory ? gpu_row_form(w->s, head, list->at) : (RowForm){ .linear = false };

        if (f.linear && (!f.b || e))
            (list->kind == ST_LOAD ? rewrite_load : rewrite_store)(w, c, f, e);
        c = next;
    }
    return copy;
}

/* Picks and parts are variables of their own. */
static void give_vars(RowWriter *w, const Stmt *list)
{
    for (; list; list = list->next)
        if (stmt_has_var(list))
            w->g.map[list->id] = aff_var(mem_of(w), gpu_var(&w->g), 1);
}

/* The element's number as the indices of loops. */
static void count_elements(RowWriter *w, KList *l, const Elements *e, const int *var, const int64_t *extent, int n)
{
    int many = 0, last = 0;

    for (int i = 0; i < n; i++) {
        w->g.map[var[i]] = aff_const(0);
        many += extent[i] > 1;
        last = extent[i] > 1 ? i : last;
    }
    if (many == 1)
        w->g.map[var[last]] = e->element;
    else
        gpu_count(&w->g, l, e->element, var, extent, n, false);
}

/* Elements that are looked at for the first time, to the registers that keep them. */
static void fetch(RowWriter *w, KList *l)
{
    Gpu *g = &w->g;

    for (int i = 0; i < w->s->nuse; i++) {
        const RowUse *u = &w->s->use[i];
        RowKeep      *k = u->plain && !u->store ? gpu_row_keep(w->group, u->buf, u->at) : NULL;
        Dtype         dt = w->group->p->buf[u->buf].dtype;
        Elements      e;
        KList         body = { 0 };
        Stmt         *load;

        if (!k || !k->element || k->filled)
            continue;
        e = new_elements(w);
        load = kern_add(g->mem, &body, ST_LOAD, w->s->k->loc);
        load->id = gpu_value(g);
        load->dtype = dt;
        load->buf = u->buf;
        load->at = place(w, u->at, e.element);
        gpu_set(g, &body, k->local, dt, e.at, load->id);
        kern_append(l, all_elements(w, &e, true, body.first));
        k->filled = true;
    }
}

/* ---- heads ---- */

static void declare(RowWriter *w, KList *l, const Stmt *local)
{
    gpu_declare(&w->g, l, local);
    l->last->id += w->local_base;
}

static void fold_elements(RowWriter *w, GpuHead *h, const Stmt *each, KList *l)
{
    Gpu     *g = &w->g;
    Elements e = new_elements(w);
    Affine   own = own_thread(w, e.thread);
    KList    body = { 0 };
    Stmt    *copy, *loop;

    for (int i = 0; i < h->nlocal; i++)
        h->each[2 * i] = gpu_local(g, &w->top, h->local[i]->dtype, (int64_t)w->shape.lanes * w->shape.rows, SCOPE_EACH, 1, h->local[i]->number);
    count_elements(w, &body, &e, h->var, h->extent, h->n);
    copy = stage_copy(w, h, each, &e);
    for (int i = 0; i < h->nlocal; i++)
        gpu_retarget(copy, h->local[i]->id + w->local_base, h->each[2 * i], own);
    kern_append(&body, copy);
    loop = all_elements(w, &e, false, body.first);
    if (h->nlocal == 2) {
        KList best = { 0 };

        h->each[1] = gpu_local(g, &w->top, h->local[0]->dtype, (int64_t)w->shape.lanes * w->shape.rows, SCOPE_EACH, 1, 0);
        gpu_set(g, &best, h->each[1], h->local[0]->dtype, own, gpu_get(g, &best, h->each[0], h->local[0]->dtype, own));
        for (Stmt *s = loop->body; ; s = s->next)
            if (!s->next) {
                s->next = best.first;
                break;
            }
    }
    kern_append(l, loop);
}

/* The locals as lower wrote them have what the row's threads found. */
static void write_head(RowWriter *w, GpuHead *h, const Stmt *each, KList *l)
{
    Gpu *g = &w->g;
    int  value;

    fold_elements(w, h, each, l);
    value = gpu_fold(g, l, h->op, h->local[0]->dtype, h->each[0], first_thread(w), w->shape.lanes);
    for (int j = 0; j < h->nlocal; j++)
        declare(w, l, h->local[j]);
    gpu_set(g, l, h->local[0]->id + w->local_base, h->local[0]->dtype, aff_const(0), value);
    if (h->nlocal == 2)
        gpu_set(g, l, h->local[1]->id + w->local_base, DT_i32, aff_const(0), gpu_least_index(g, h, w->shape.lanes, w->row, value, l));
}

/* ---- stages ---- */

static void write_heads(RowWriter *w, KList *l)
{
    for (int i = 0; i < w->s->nhead; i++) {
        GpuHead *h = &w->s->head[i];
        KList    once = { 0 }, each = { 0 };

        part_list(w, h->body, &once, &each);
        give_vars(w, h->body);
        kern_append(l, stage_copy(w, h, once.first, NULL));
        write_head(w, h, each.first, l);
    }
    give_vars(w, w->s->rest);
    kern_append(l, stage_copy(w, NULL, w->s->rest, NULL));
}

static void write_points(RowWriter *w, KList *l)
{
    const RowStage *s = w->s;
    Elements        e;
    KList           once = { 0 }, each = { 0 }, body = { 0 };

    part_list(w, s->rest, &once, &each);
    give_vars(w, s->rest);
    kern_append(l, stage_copy(w, NULL, once.first, NULL));
    if (!s->element) {
        kern_append(l, stage_copy(w, NULL, each.first, NULL));
        return;
    }
    e = new_elements(w);
    count_elements(w, &body, &e, s->nest.var + s->nrow, s->nest.extent + s->nrow, s->nest.n - s->nrow);
    kern_append(&body, stage_copy(w, NULL, each.first, &e));
    kern_append(l, all_elements(w, &e, true, body.first));
}

static void write_stage(RowWriter *w, RowStage *s, KList *l)
{
    open_stage(w, s);
    gpu_count(&w->g, l, w->number, s->nest.var, s->nest.extent, s->nrow, false);
    fetch(w, l);
    if (s->nhead)
        write_heads(w, l);
    else
        write_points(w, l);
}

/* Registers for what is kept: elements of each thread; numbers of a row. */
static void declare_kept(RowWriter *w, KList *row)
{
    int64_t each = w->shape.vec * w->shape.turns, threads = (int64_t)w->shape.lanes * w->shape.rows;

    for (int i = 0; i < w->group->nkeep; i++) {
        RowKeep *k = &w->group->keep[i];
        Dtype    dt = w->group->p->buf[k->buf].dtype;

        k->filled = false;
        k->local = k->element ? gpu_local(&w->g, &w->top, dt, each * threads, SCOPE_EACH, each, 0) : gpu_local(&w->g, row, dt, 1, SCOPE_OWN, 0, 0);
    }
}

static void open_kernel(RowWriter *w)
{
    RowGroup *group = w->group;
    Kernel   *k = arena_new(mem_of(w), Kernel);

    *k = *group->stage[0]->k;
    k->nvar = k->nvalue = k->nlocal = 0;
    k->scheduled = true;
    for (int i = 1; i < group->n; i++) {
        k->flops += group->stage[i]->k->flops;
        if (strlen(k->what) < LONG_WHAT)
            k->what = arena_printf(mem_of(w), "%s, %s", k->what, group->stage[i]->k->what);
    }
    w->g.k = k;
    w->g.nest = &group->stage[0]->nest;
}

Kernel *gpu_row_kernel(RowGroup *group, const bool *used)
{
    Arena  *mem = &group->p->m->mem;
    RowWriter   w = { .g = { .mem = mem }, .group = group, .shape = gpu_row_shape(group), .used = used, .row = -1 };
    int64_t groups = (group->rows + w.shape.rows - 1) / w.shape.rows;
    KList   row = { 0 };
    Stmt   *body;
    int     grid;

    open_kernel(&w);
    grid = gpu_var(&w.g);
    w.number = aff_var(mem, grid, w.shape.rows);
    if (w.shape.rows > 1) {
        w.row = gpu_var(&w.g);
        w.number = aff_add(mem, w.number, aff_var(mem, w.row, 1));
    }
    declare_kept(&w, &row);
    for (int i = 0; i < group->n; i++)
        write_stage(&w, group->stage[i], &row);
    body = gpu_below(&w.g, w.number, group->rows, group->rows % w.shape.rows == 0, row.first);
    kern_append(&w.top, w.row < 0 ? body : gpu_block(&w.g, w.row, w.shape.rows, body));
    w.g.k->body = gpu_grid(&w.g, grid, groups, w.top.first);
    return kernel_check_group(w.g.k, mem) || kernel_check_loops(group->p, w.g.k, mem) ? NULL : w.g.k;
}
