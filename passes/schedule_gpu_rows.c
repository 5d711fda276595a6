/* schedule_gpu_rows.c - kernels over the same rows, which become one for a GPU: a layer norm, a softmax, their gradients.
 *
 * Each of them reduces the rows (a mean), makes all their elements from such numbers (the points), or a number of each row (a root).
 * Threads of a warp, or of a group where rows are long, have a row for all of them: what one stage makes of an element the next
 * finds in a register of the same thread, and what was made of a row all its threads have.  So a row is fetched once, and what
 * nothing else looks at is not stored.
 *
 * A kernel joins an earlier one if all places that both touch, and one of them writes, are the same element or number of the row
 * for both; and if it uses what that one makes or loads.  It moves there, over others that it has nothing to do with.
 */
#include "passes/schedule_gpu_rows.h"

enum { SHORT_ROW = 32, LONG_ROW = 1024, MOST_LENGTH = 8192, MOST_SHORT = 1 << 14, MOST_KEPT = 80, WARP_ROWS = 8, GROUP = 256, FAR = 24, MOST_STAGES = 24 };

/* ---- places ---- */

/* The coefficient of a number of which the loops are digits; false: the form is not of that kind. */
static bool digit_coef(Affine at, const int *var, const int64_t *extent, int n, int64_t *coef, int *terms)
{
    int64_t by = 1;
    bool    known = false;

    *coef = 0;
    for (int i = n - 1; i >= 0; i--) {
        int64_t c = aff_coef(at, var[i]);

        *terms += c != 0;
        if (extent[i] == 1)
            continue;
        if (!known)
            *coef = c / by;
        if (c != *coef * by)
            return false;
        known = true;
        by *= extent[i];
    }
    return true;
}

RowForm gpu_row_form(const RowStage *s, const GpuHead *head, Affine at)
{
    const Nest *nest = &s->nest;
    RowForm     f = { .base = at.base };
    int         terms = 0;
    bool        rows = digit_coef(at, nest->var, nest->extent, s->nrow, &f.a, &terms), elements = true;

    if (head)
        elements = digit_coef(at, head->var, head->extent, head->n, &f.b, &terms);
    else if (s->element)
        elements = digit_coef(at, nest->var + s->nrow, nest->extent + s->nrow, nest->n - s->nrow, &f.b, &terms);
    f.linear = rows && elements && terms == at.n;
    return f;
}

bool gpu_row_equal(RowForm a, RowForm b) { return a.linear && b.linear && a.a == b.a && a.b == b.b && a.base == b.base; }

static int64_t size(int64_t x) { return x < 0 ? -x : x; }

/* Is each element's place its own; or each row's, which is done for rows? */
static bool is_own(const RowGroup *g, RowForm f)
{
    if (!f.linear || !f.a)
        return false;
    return !f.b || size(f.b) * (g->length - 1) < size(f.a) || size(f.a) * (g->rows - 1) < size(f.b);
}

/* ---- stages ---- */

static void gather(Plan *p, RowStage *s, const GpuHead *head, const Stmt *list)
{
    for (; list; list = list->next) {
        RowUse u = { .buf = list->buf, .store = list->kind == ST_STORE, .element = head || s->element, .in_head = head };

        if (list->kind != ST_LOAD && list->kind != ST_STORE)
            continue;
        u.plain = p->buf[list->buf].seg != SEG_FIELD && (u.store || !list->narg);
        u.at = gpu_row_form(s, head, list->at);
        arena_push(&p->m->mem, s->use, s->nuse, s->cuse);
        s->use[s->nuse++] = u;
    }
}

static bool is_straight(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->body || s->kind == ST_LOCAL || s->kind == ST_GET || s->kind == ST_SET || s->kind == ST_FOLD)
            return false;
    return true;
}

/* How many outer loops make that many rows, of which the rest are elements; -1: none. */
static int split_loops(const Nest *nest, int64_t rows, int64_t length)
{
    int64_t n = 1, rest = 1;
    int     outer = 0;

    while (outer < nest->n && n < rows)
        n *= nest->extent[outer++];
    for (int i = outer; i < nest->n; i++)
        rest *= nest->extent[i];
    return n == rows && (rest == length || rest == 1) ? outer : -1;
}

/* Sums of products of rows and columns are contractions, and elements that lie side by side in different rows are columns. */
static bool takes_head(const RowStage *s, const GpuHead *h, const Plan *p)
{
    const Nest *nest = &s->nest;

    for (const Stmt *b = h->body; b; b = b->next) {
        RowForm f;

        if (b->kind != ST_LOAD || p->buf[b->buf].seg == SEG_FIELD)
            continue;
        f = gpu_row_form(s, h, b->at);
        if (!f.linear || (f.a == 1 && f.b != 1 && f.b != 0) || pick_varies(h->body, b->at, h->var[h->n - 1]))
            return false;
    }
    return nest->n > 0;
}

static bool take_reduction(Plan *p, RowStage *s, int64_t length)
{
    Gpu g = { .nest = &s->nest, .mem = s->nest.mem };

    s->nrow = s->nest.n;
    if (!gpu_take_heads(&g, s->head, &s->nhead, &s->rest))
        return false;
    for (int i = 0; i < s->nhead; i++)
        if (s->head[i].length != (length ? length : s->head[0].length) || !takes_head(s, &s->head[i], p))
            return false;
    return true;
}

static bool take_points(RowStage *s, int64_t rows, int64_t length)
{
    s->nrow = split_loops(&s->nest, rows, length);
    if (gpu_results(&s->nest) == rows)
        s->nrow = s->nest.n;
    s->nhead = 0;
    s->rest = s->nest.body;
    s->element = s->nrow >= 0 && s->nrow < s->nest.n && gpu_results(&s->nest) == rows * length;
    return s->nrow >= 0 && is_straight(s->rest);
}

bool gpu_row_stage(Plan *p, const Limits *limits, Kernel *k, int64_t rows, int64_t length, RowStage *s)
{
    *s = (RowStage){ .k = k, .nest = nest_open(p, k, limits) };
    if (k->scan || k->scheduled || gpu_results(&s->nest) == 1)
        return false;
    if (!rows) {
        if (!take_reduction(p, s, 0))
            return false;
    } else if (stmt_has(s->nest.body, ST_FOR) ? gpu_results(&s->nest) != rows || !take_reduction(p, s, length) : !take_points(s, rows, length)) {
        return false;
    }
    for (int i = 0; i < s->nhead; i++)
        gather(p, s, &s->head[i], s->head[i].body);
    gather(p, s, NULL, s->rest);
    return true;
}

/* ---- what is kept in registers ---- */

RowKeep *gpu_row_keep(RowGroup *g, int buf, RowForm at)
{
    for (int i = 0; i < g->nkeep; i++)
        if (g->keep[i].buf == buf && gpu_row_equal(g->keep[i].at, at))
            return &g->keep[i];
    return NULL;
}

static void keep_use(RowGroup *g, const RowUse *u, int stage)
{
    RowKeep *k = gpu_row_keep(g, u->buf, u->at);

    if (!u->plain || !u->at.linear || (!u->at.b && (u->store ? u->element : !k)) || (!u->store && !u->element && u->at.b))
        return;
    if (!k) {
        arena_push(&g->p->m->mem, g->keep, g->nkeep, g->ckeep);
        k = &g->keep[g->nkeep++];
        *k = (RowKeep){ .buf = u->buf, .at = u->at, .element = u->at.b, .local = -1, .nstage = -1 };
    }
    k->stored |= u->store;
    k->used |= !u->store;
    k->in_head |= u->in_head;
    k->nstage = k->nstage < 0 ? stage : k->nstage == stage ? stage : INT32_MAX;
}

static bool is_kept(const RowKeep *k)
{
    return k->used && (k->stored || (k->element && (k->in_head || k->nstage == INT32_MAX)));
}

/* Room for what is kept; local -1: it isn't. */
static void find_kept(RowGroup *g)
{
    int n = 0;

    g->nkeep = 0;
    for (int i = 0; i < g->n; i++)
        for (int j = 0; j < g->stage[i]->nuse; j++)
            keep_use(g, &g->stage[i]->use[j], i);
    for (int i = 0; i < g->nkeep; i++)
        if (is_kept(&g->keep[i]))
            g->keep[n++] = g->keep[i];
    g->nkeep = n;
}

static int64_t kept_numbers(const RowGroup *g)
{
    RowShape shape = gpu_row_shape(g);
    int64_t  n = 0;

    for (int i = 0; i < g->nkeep; i++)
        n += g->keep[i].element ? shape.vec * shape.turns : 1;
    return n;
}

/* ---- threads ---- */

/* May 4 neighbours be one access, wherever elements are touched? */
static bool takes_lanes(const RowStage *s, const Stmt *list, const int *var, const int64_t *extent, int n, int lanes)
{
    int last = n - 1;

    while (last > 0 && extent[last] == 1)
        last--;
    for (int i = 0; i < last; i++)
        if (extent[i] > 1)
            return false;
    for (const Stmt *b = list; b; b = b->next)
        if (b->kind == ST_PICK && pick_varies(list, aff_var(s->nest.mem, b->id, 1), var[last]))
            return false;
    return gpu_side_by_side(&s->nest, list, var[last], lanes);
}

static bool all_take_lanes(const RowGroup *g, int lanes)
{
    for (int i = 0; i < g->n; i++) {
        const RowStage *s = g->stage[i];

        for (int j = 0; j < s->nhead; j++)
            if (!takes_lanes(s, s->head[j].body, s->head[j].var, s->head[j].extent, s->head[j].n, lanes))
                return false;
        if (s->element && !takes_lanes(s, s->rest, s->nest.var + s->nrow, s->nest.extent + s->nrow, s->nest.n - s->nrow, lanes))
            return false;
        if (widest_float(s->nest.body) == DT_f64 && lanes > 2)
            return false;
    }
    return true;
}

RowShape gpu_row_shape(const RowGroup *g)
{
    RowShape shape = { .lanes = GPU_WARP, .rows = WARP_ROWS, .vec = 4 };

    if (g->length > LONG_ROW || (g->rows < GPU_GROUPS && g->length >= GROUP)) {
        shape.lanes = GROUP;
        shape.rows = 1;
    }
    while (shape.vec > 1 && (g->length % ((int64_t)shape.lanes * shape.vec) || !all_take_lanes(g, shape.vec)))
        shape.vec /= 2;
    shape.turns = (g->length + (int64_t)shape.lanes * shape.vec - 1) / ((int64_t)shape.lanes * shape.vec);
    return shape;
}

/* ---- who joins whom ---- */

static bool clash(const RowGroup *g, const RowUse *u, const RowUse *v)
{
    if ((!u->store && !v->store) || !gpu_same_memory(g->p, u->buf, v->buf))
        return false;
    if (u->buf != v->buf || !u->plain || !v->plain || !gpu_row_equal(u->at, v->at) || !is_own(g, u->at))
        return true;
    return u->at.b ? !u->element || !v->element : (u->store && u->element) || (v->store && v->element);
}

static bool shares(const RowUse *u, const RowUse *v)
{
    return u->buf == v->buf && (u->store || (u->element && v->element && u->at.a && gpu_row_equal(u->at, v->at)));
}

/* Does it fold what is in no memory but a number of each row, like the sum of a row of a one-hot? */
static bool is_light(const RowStage *s)
{
    for (int i = 0; i < s->nuse; i++)
        if (s->use[i].element && (!s->use[i].at.linear || s->use[i].at.b))
            return false;
    return s->nhead > 0;
}

static bool joins(const RowGroup *g, const RowStage *s)
{
    bool share = is_light(s);

    for (int i = 0; i < g->n; i++)
        for (int j = 0; j < g->stage[i]->nuse; j++)
            for (int k = 0; k < s->nuse; k++) {
                if (clash(g, &g->stage[i]->use[j], &s->use[k]))
                    return false;
                share |= shares(&g->stage[i]->use[j], &s->use[k]);
            }
    return share && g->n < MOST_STAGES;
}

static bool add_stage(RowGroup *g, const RowStage *s)
{
    RowStage *own = arena_new(&g->p->m->mem, RowStage);

    if (g->n && !joins(g, s))
        return false;
    *own = *s;
    arena_push(&g->p->m->mem, g->stage, g->n, g->cap);
    g->stage[g->n++] = own;
    find_kept(g);
    if (kept_numbers(g) <= MOST_KEPT)
        return true;
    g->n--;
    find_kept(g);
    return false;
}

static bool is_worth(int64_t rows, int64_t length)
{
    return rows > 1 && length > 1 && length <= MOST_LENGTH && (length >= SHORT_ROW || rows <= MOST_SHORT);
}

/* Both as a group, over the rows that one of them reduces. */
static bool make_group(RowGroup *g, Kernel *a, Kernel *b)
{
    for (int i = 0; i < 2; i++) {
        RowStage anchor, s;

        if (!gpu_row_stage(g->p, g->limits, i ? b : a, 0, 0, &anchor))
            continue;
        g->rows = gpu_results(&anchor.nest);
        g->length = anchor.head[0].length;
        if (!is_worth(g->rows, g->length) || !gpu_row_stage(g->p, g->limits, i ? a : b, g->rows, g->length, &s))
            continue;
        g->n = 0;
        if (add_stage(g, i ? &s : &anchor) && add_stage(g, i ? &anchor : &s))
            return true;
    }
    g->n = 0;
    return false;
}

/* ---- the plan ---- */

typedef struct RowItem { Kernel *k; RowGroup group; } RowItem;     /* a kernel, or a group, which has stages */
typedef struct RowItems { RowItem *item; int n, cap; } RowItems;

static bool item_depends(const Plan *p, const RowItem *item, const Kernel *k)
{
    bool any = !item->group.n && ((k->scan && item->k->scan == k->scan) || gpu_depends(p, item->k->body, k->body));

    for (int i = 0; i < item->group.n && !any; i++)
        any = gpu_depends(p, item->group.stage[i]->k->body, k->body);
    return any;
}

static bool joins_item(RowItem *item, Kernel *k)
{
    RowStage s;

    if (!item->group.n)
        return make_group(&item->group, item->k, k);
    return gpu_row_stage(item->group.p, item->group.limits, k, item->group.rows, item->group.length, &s) && add_stage(&item->group, &s);
}

static void list_item(Plan *p, Arena *mem, const Limits *limits, RowItems *items, Kernel *k)
{
    for (int i = items->n - 1; i >= 0 && i > items->n - FAR && !k->scan; i--) {
        if (joins_item(&items->item[i], k))
            return;
        if (item_depends(p, &items->item[i], k))
            break;
    }
    arena_push(mem, items->item, items->n, items->cap);
    items->item[items->n++] = (RowItem){ k, { .p = p, .limits = limits } };
}

static bool touches(const Stmt *s, int buf)
{
    for (; s; s = s->next)
        if (((s->kind == ST_LOAD || s->kind == ST_STORE) && s->buf == buf) || touches(s->body, buf))
            return true;
    return false;
}

/* Is a buffer of the plan touched by another kernel than the group's? */
static bool *used_elsewhere(const Plan *p, const RowItems *items, int group)
{
    bool *used = arena_array(&p->m->mem, bool, p->nbuf + 1);

    for (int i = 0; i < p->nbuf; i++)
        used[i] = p->buf[i].seg != SEG_SCRATCH;
    for (int j = 0; j < items->n; j++) {
        const RowItem *item = &items->item[j];

        for (int i = 0; j != group && i < p->nbuf; i++) {
            used[i] = used[i] || (!item->group.n && touches(item->k->body, i));
            for (int s = 0; s < item->group.n && !used[i]; s++)
                used[i] = touches(item->group.stage[s]->k->body, i);
        }
    }
    return used;
}

void schedule_gpu_rows(Plan *p, const Limits *limits)
{
    RowItems items = { 0 };
    int      n = p->nkernel;

    for (int i = 0; i < n; i++)
        list_item(p, &p->m->mem, limits, &items, p->kernel[i]);
    p->nkernel = 0;
    for (int i = 0; i < items.n; i++) {
        RowGroup *g = &items.item[i].group;
        Kernel   *k = g->n ? gpu_row_kernel(g, used_elsewhere(p, &items, i)) : items.item[i].k;

        if (k)
            p->kernel[p->nkernel++] = k;
        for (int s = 0; s < g->n && !k; s++)
            p->kernel[p->nkernel++] = g->stage[s]->k;
    }
}
