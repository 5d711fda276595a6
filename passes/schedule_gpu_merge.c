/* schedule_gpu_merge.c - kernels of points become fewer: a launch takes a GPU some microseconds, whatever there is to do.
 *
 * A kernel of points has a thread for each number below its `units`.
 *   behind each other   as many units, and one uses what the other makes: a thread does both for its number, if the verifier finds no
 *                       number that meets what another writes (ir/kernel_loops.c)
 *   beside each other   nothing that one writes is touched by the other: groups are dealt out, the first so many to the first kernel;
 *                       chunks of sums (schedule_gpu_reduce.c) as well: each group adds up one of those of all kernels
 * A kernel moves to an earlier one that it joins, over others that it has nothing to do with.  So the updates of all weights
 * are one launch.
 */
#include "passes/schedule_gpu.h"

#include <string.h>

enum { MOST_KERNELS = 64, FARTHEST = 256, LONG_WHAT = 60 };

typedef struct Item {
    Kernel **k; int n, cap;     /* beside each other */
    bool     points, sums;
} Item;

typedef struct Merge {
    Plan  *p;
    Arena *mem;
    Item  *item; int n, cap;
} Merge;

/* ---- what touches what ---- */

static bool same_memory(const Plan *p, int a, int b)
{
    const Buffer *x = &p->buf[a], *y = &p->buf[b];

    return a == b || (x->seg != SEG_SCRATCH && x->seg == y->seg && x->slot == y->slot);
}

static bool touches(const Plan *p, const Stmt *s, int buf, bool write_only)
{
    for (; s; s = s->next) {
        if ((s->kind == ST_STORE || (s->kind == ST_LOAD && !write_only)) && same_memory(p, s->buf, buf))
            return true;
        if (touches(p, s->body, buf, write_only))
            return true;
    }
    return false;
}

/* Does b touch what a writes, or write what a loads? */
static bool depends(const Plan *p, const Stmt *a, const Stmt *b)
{
    for (; b; b = b->next) {
        if ((b->kind == ST_LOAD || b->kind == ST_STORE) && touches(p, a, b->buf, b->kind == ST_LOAD))
            return true;
        if (depends(p, a, b->body))
            return true;
    }
    return false;
}

static bool item_depends(const Merge *m, const Item *item, const Kernel *k)
{
    for (int i = 0; i < item->n; i++)
        if (depends(m->p, item->k[i]->body, k->body))
            return true;
    return false;
}

/* ---- kernels of points ---- */

typedef struct Points { int group, thread; int64_t threads, units; const Stmt *list; } Points;

/* Threads are told by their number alone, and what runs in a loop stores nothing. */
static bool by_number(const Points *x, const Stmt *s, bool in_loop)
{
    for (; s; s = s->next) {
        for (int i = 0; stmt_affine((Stmt *)s, i); i++) {
            Affine a = *stmt_affine((Stmt *)s, i);

            if (aff_coef(a, x->group) != x->threads * aff_coef(a, x->thread))
                return false;
        }
        if ((s->kind == ST_STORE && in_loop) || s->kind == ST_FOLD || s->block
            || !by_number(x, s->body, in_loop || (s->kind == ST_FOR && !s->lanes)))
            return false;
    }
    return true;
}

static bool is_number(const Points *x, Affine a)
{
    return !a.base && aff_coef(a, x->thread) == 1 && aff_coef(a, x->group) == x->threads && a.n == 2;
}

static bool take_points(const Kernel *k, Points *x)
{
    const Stmt *grid = k->body, *block = grid ? grid->body : NULL, *s;

    if (k->scan || !grid || grid->kind != ST_FOR || !grid->grid || !block || block->kind != ST_FOR || !block->block || block->next || block->async)
        return false;
    *x = (Points){ grid->id, block->id, block->extent, grid->extent * block->extent, block->body };
    s = x->list;
    if (s && s->kind == ST_WITHIN && s->nguard == 1 && is_number(x, s->guard[0].at) && s->next && s->next->kind == ST_IF && !s->next->next
        && s->next->arg[0] == s->id) {
        x->units = s->guard[0].size;
        x->list = s->next->body;
    }
    return by_number(x, x->list, false);
}

/* Does the list hold what threads do together, or stores? */
static bool has_threads(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->block || s->kind == ST_FOLD || s->kind == ST_STORE || has_threads(s->body))
            return true;
    return false;
}

/* ---- kernels of chunks of a sum ---- */

typedef struct Sums { int group; const Stmt *local, *block, *fold, *store; } Sums;

/* A local of each thread, what they add to it, the fold, and where it goes: one place of a group's own. */
static bool take_sums(const Kernel *k, Sums *x)
{
    const Stmt *grid = k->body, *s = grid && grid->kind == ST_FOR && grid->grid ? grid->body : NULL;

    if (k->scan || !s || s->kind != ST_LOCAL || s->scope != SCOPE_EACH || s->each != 1)
        return false;
    *x = (Sums){ .group = grid->id, .local = s, .block = s->next };
    x->fold = x->block ? x->block->next : NULL;
    x->store = x->fold ? x->fold->next : NULL;
    return x->store && !x->store->next && x->block->kind == ST_FOR && x->block->block && x->fold->kind == ST_FOLD && x->store->kind == ST_STORE
        && x->store->arg[0] == x->fold->id && !x->store->at.base && x->store->at.n == 1 && x->store->at.term[0].var == grid->id
        && x->store->at.term[0].coef == 1 && !has_threads(x->block->body);
}

static bool alike(const Kernel *a, const Kernel *b)
{
    Sums x, y;

    return take_sums(a, &x) && take_sums(b, &y) && x.local->dtype == y.local->dtype && x.local->number == y.local->number
        && x.block->extent == y.block->extent && x.fold->op == y.fold->op;
}

/* ---- a kernel of several ---- */

typedef struct Join { Merge *m; Kernel *k; int group, thread, total; int64_t threads; } Join;

static Join open_join(Merge *m, const Kernel *first, int64_t units)
{
    Join j = { .m = m, .k = arena_new(m->mem, Kernel), .threads = gpu_threads(units) };

    *j.k = *first;
    j.k->nvar = 2;
    j.k->nvalue = j.k->nlocal = 0;
    j.k->flops = 0;
    j.group = 0;
    j.thread = 1;
    return j;
}

/* The kernel's statements where the thread's number in it is this. */
static Stmt *renumbered(Join *j, const Kernel *k, const Points *x, Affine number)
{
    Kernel *to = j->k;
    Affine *var = arena_array(j->m->mem, Affine, k->nvar + 1);
    Stmt   *list;

    for (int i = 0; i < k->nvar; i++)
        var[i] = aff_var(j->m->mem, to->nvar + i, 1);
    var[x->group] = aff_const(0);
    var[x->thread] = number;
    list = kern_clone(j->m->mem, x->list, var, to->nvalue, to->nlocal);
    to->nvar += k->nvar;
    to->nvalue += k->nvalue;
    to->nlocal += k->nlocal;
    to->flops += k->flops;
    return list;
}

static Affine number_from(const Join *j, int64_t group)
{
    Arena *mem = j->m->mem;

    return aff_add(mem, aff_add(mem, aff_var(mem, j->group, j->threads), aff_var(mem, j->thread, 1)), aff_const(-group * j->threads));
}

/* The statements where at is 0 .. size - 1. */
static Stmt *where(Join *j, Affine at, int64_t size, Stmt *body)
{
    Arena *mem = j->m->mem;
    KList  l = { 0 };
    Stmt  *s = kern_add(mem, &l, ST_WITHIN, j->k->loc);

    s->id = j->k->nvalue++;
    s->dtype = DT_bool;
    s->nguard = 1;
    s->guard = arena_new(mem, Guard);
    *s->guard = (Guard){ at, size };
    s = kern_add(mem, &l, ST_IF, j->k->loc);
    s->narg = 1;
    s->arg[0] = l.first->id;
    s->body = body;
    return l.first;
}

static Kernel *close_groups(Join *j, int64_t groups, Stmt *body)
{
    Arena *mem = j->m->mem;

    j->k->body = sched_for(mem, j->k->loc, j->group, groups, body);
    j->k->body->grid = true;
    return kernel_check_loops(j->m->p, j->k, mem) ? NULL : j->k;
}

static Kernel *close_join(Join *j, int64_t groups, Stmt *body)
{
    Stmt *block = sched_for(j->m->mem, j->k->loc, j->thread, j->threads, body);

    block->block = true;
    return close_groups(j, groups, block);
}

/* ---- behind each other ---- */

static Kernel *behind(Merge *m, const Kernel *a, const Kernel *b)
{
    Points  x, y;
    Join    j;
    KList   body = { 0 };
    int64_t groups;

    if (!take_points(a, &x) || !take_points(b, &y) || x.units != y.units)
        return NULL;
    j = open_join(m, a, x.units);
    j.threads = x.units < j.threads ? x.units : j.threads;
    groups = (x.units + j.threads - 1) / j.threads;
    kern_append(&body, renumbered(&j, a, &x, number_from(&j, 0)));
    kern_append(&body, renumbered(&j, b, &y, number_from(&j, 0)));
    if (groups * j.threads != x.units)
        body.first = where(&j, number_from(&j, 0), x.units, body.first);
    j.k->what = strlen(a->what) > LONG_WHAT ? a->what : arena_printf(m->mem, "%s, %s", a->what, b->what);
    return close_join(&j, groups, body.first);
}

static void add_item(Merge *m, Kernel *k)
{
    Points x;
    Sums   y;
    Item   item = { .points = take_points(k, &x), .sums = take_sums(k, &y) };

    arena_push(m->mem, item.k, item.n, item.cap);
    item.k[item.n++] = k;
    arena_push(m->mem, m->item, m->n, m->cap);
    m->item[m->n++] = item;
}

/* The last item that k needs has as many units: both are one. */
static bool goes_behind(Merge *m, const Kernel *k)
{
    for (int i = m->n - 1; i >= 0 && i > m->n - FARTHEST; i--) {
        Item   *item = &m->item[i];
        Kernel *both;

        if (!item_depends(m, item, k))
            continue;
        both = item->n == 1 && item->points ? behind(m, item->k[0], k) : NULL;
        if (both)
            item->k[0] = both;
        return both;
    }
    return false;
}

/* ---- beside each other ---- */

/* The first item that it can stand beside, so that what follows it finds as few items as can be. */
static void join_beside(Merge *m, Kernel *k)
{
    Points x;
    bool   points = take_points(k, &x);
    Item  *to = NULL;

    for (int i = m->n - 1; i >= 0 && i > m->n - FARTHEST && !item_depends(m, &m->item[i], k); i--) {
        Item *item = &m->item[i];

        if (item->n < MOST_KERNELS && (item->points ? points : item->sums && alike(item->k[0], k)))
            to = item;
    }
    if (!to) {
        add_item(m, k);
        return;
    }
    arena_push(m->mem, to->k, to->n, to->cap);
    to->k[to->n++] = k;
}

typedef struct Share { const Kernel *k; Points x; Sums sum; int64_t first, groups; } Share;
typedef Stmt *ShareBody(Join *j, const Share *share);

/* Whose group it is, by halves; a share of its own has its condition in what makes its body. */
static Stmt *dealt_out(Join *j, const Share *share, int n, ShareBody *one)
{
    KList l = { 0 };

    if (n == 1)
        return one(j, share);
    for (int i = 0; i < 2; i++) {
        const Share *part = i ? share + n / 2 : share;
        int          count = i ? n - n / 2 : n / 2;
        Affine       at = aff_add(j->m->mem, aff_var(j->m->mem, j->group, 1), aff_const(-part->first));
        Stmt        *body = dealt_out(j, part, count, one);

        kern_append(&l, count == 1 ? body : where(j, at, part[count - 1].first + part[count - 1].groups - part->first, body));
    }
    return l.first;
}

static int64_t deal(Share *share, int n)
{
    int64_t groups = 0;

    for (int i = 0; i < n; i++) {
        share[i].first = groups;
        groups += share[i].groups;
    }
    return groups;
}

static Stmt *points_of(Join *j, const Share *s)
{
    return where(j, number_from(j, s->first), s->x.units, renumbered(j, s->k, &s->x, number_from(j, s->first)));
}

static Kernel *points_beside(Merge *m, const Item *item)
{
    Share  *share = arena_array(m->mem, Share, item->n);
    int64_t units = 0, groups;
    Join    j;

    for (int i = 0; i < item->n; i++) {
        share[i].k = item->k[i];
        take_points(item->k[i], &share[i].x);
        units += share[i].x.units;
    }
    j = open_join(m, item->k[0], units);
    for (int i = 0; i < item->n; i++)
        share[i].groups = (share[i].x.units + j.threads - 1) / j.threads;
    groups = deal(share, item->n);
    return close_join(&j, groups, dealt_out(&j, share, item->n, points_of));
}

/* ---- chunks of sums beside each other ---- */

static Affine group_from(const Join *j, const Share *s) { return aff_add(j->m->mem, aff_var(j->m->mem, j->group, 1), aff_const(-s->first)); }

/* What a thread adds up goes to the one local of all. */
static Stmt *elements_of(Join *j, const Share *s)
{
    Kernel *to = j->k;
    Affine *var = arena_array(j->m->mem, Affine, s->k->nvar + 1);
    Stmt   *list;

    for (int i = 0; i < s->k->nvar; i++)
        var[i] = aff_var(j->m->mem, to->nvar + i, 1);
    var[s->sum.group] = group_from(j, s);
    var[s->sum.block->id] = aff_var(j->m->mem, j->thread, 1);
    list = kern_clone(j->m->mem, s->sum.block->body, var, to->nvalue, to->nlocal);
    gpu_retarget(list, s->sum.local->id + to->nlocal, 0, aff_var(j->m->mem, j->thread, 1));
    to->nvar += s->k->nvar;
    to->nvalue += s->k->nvalue;
    to->nlocal += s->k->nlocal;
    to->flops += s->k->flops;
    return where(j, group_from(j, s), s->groups, list);
}

static Stmt *store_of(Join *j, const Share *s)
{
    KList l = { 0 };
    Stmt *store = kern_add(j->m->mem, &l, ST_STORE, s->sum.store->loc);

    *store = *s->sum.store;
    store->at = group_from(j, s);
    store->arg[0] = j->total;
    return where(j, group_from(j, s), s->groups, store);
}

static Kernel *sums_beside(Merge *m, const Item *item)
{
    Share  *share = arena_array(m->mem, Share, item->n);
    Join    j = open_join(m, item->k[0], 0);
    KList   l = { 0 };
    Stmt   *s;
    int64_t groups;

    for (int i = 0; i < item->n; i++) {
        share[i].k = item->k[i];
        take_sums(item->k[i], &share[i].sum);
        share[i].groups = item->k[i]->body->extent;
    }
    groups = deal(share, item->n);
    s = kern_add(m->mem, &l, ST_LOCAL, j.k->loc);
    *s = *share[0].sum.local;
    s->next = NULL;
    s->id = j.k->nlocal++;
    s = sched_for(m->mem, j.k->loc, j.thread, share[0].sum.block->extent, dealt_out(&j, share, item->n, elements_of));
    s->block = true;
    kern_append(&l, s);
    s = kern_add(m->mem, &l, ST_FOLD, j.k->loc);
    *s = *share[0].sum.fold;
    s->next = NULL;
    s->local = 0;
    s->id = j.total = j.k->nvalue++;
    kern_append(&l, dealt_out(&j, share, item->n, store_of));
    return close_groups(&j, groups, l.first);
}

/* ---- the whole ---- */

static void list_item(Merge *m, const Item *item)
{
    Plan   *p = m->p;
    Kernel *k = item->n == 1 ? item->k[0] : item->points ? points_beside(m, item) : sums_beside(m, item);

    for (int i = 0; i < item->n && !k; i++)
        p->kernel[p->nkernel++] = item->k[i];
    if (!k)
        return;
    if (item->n > 1)
        k->what = arena_printf(m->mem, "%s, and %d more beside it", item->k[0]->what, item->n - 1);
    p->kernel[p->nkernel++] = k;
}

static void one_pass(Plan *p, bool beside)
{
    Merge m = { .p = p, .mem = &p->m->mem };

    for (int i = 0; i < p->nkernel; i++)
        if (beside)
            join_beside(&m, p->kernel[i]);
        else if (!goes_behind(&m, p->kernel[i]))
            add_item(&m, p->kernel[i]);
    p->nkernel = 0;
    for (int i = 0; i < m.n; i++)
        list_item(&m, &m.item[i]);
}

/* What stood between two kernels may be gone once others are beside each other. */
void schedule_gpu_merge(Plan *p)
{
    one_pass(p, false);
    one_pass(p, true);
    one_pass(p, false);
}
