/* schedule_gpu_beside.c - kernels that have nothing to do with each other share one grid.
 *
 * Groups are dealt out: the first so many to the first kernel, and so on; a group finds out by halves whose it is.
 *
 *   points           any number of threads will do: each group takes so many of a kernel's numbers
 *   chunks of sums   each group adds up one chunk of one of the kernels, all in the same local, folded once (schedule_gpu_reduce.c)
 *   others           have groups of as many threads, or can do with as many (schedule_gpu_narrow.c).  Their loops stand side by side, each under
 *                    its condition.  What they have in group memory lies at the same place, as a group is one kernel's alone
 *
 * A joint kernel has the registers and the group memory of the part that needs most.  So one with many groups takes no part that
 * needs more than it does.
 */
#include "passes/schedule_gpu_merge.h"

enum { MOST_KERNELS = 64, MOST_STMTS = 4000, FULL = 2 * GPU_GROUPS, LIGHT = 1 << 10, WIDE = 256, NARROW = 32 };

/* ---- kernels of chunks of a sum ---- */

/* Does the list hold what threads do together, or stores? */
static bool has_threads(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->block || s->kind == ST_FOLD || s->kind == ST_STORE || has_threads(s->body))
            return true;
    return false;
}

bool gpu_take_sums(const Kernel *k, Sums *x)
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

    return gpu_take_sums(a, &x) && gpu_take_sums(b, &y) && x.local->dtype == y.local->dtype && x.local->number == y.local->number
        && x.block->extent == y.block->extent && x.fold->op == y.fold->op;
}

/* ---- who stands beside whom ---- */

static int64_t count(const Stmt *s)
{
    int64_t n = 0;

    for (; s; s = s->next)
        n += 1 + count(s->body);
    return n;
}

static bool is_pooled(const Stmt *s) { return s->kind == ST_LOCAL && s->scope == SCOPE_GROUP && s->dtype == DT_f32; }

static int64_t shared_numbers(const Stmt *s)
{
    int64_t n = 0;

    for (; s; s = s->next)
        n += (s->kind == ST_LOCAL && s->scope == SCOPE_GROUP ? s->count : 0) + shared_numbers(s->body);
    return n;
}

Item gpu_item(Merge *m, Kernel *k)
{
    Points x;
    Sums   y;
    Group  g = kernel_group(k);
    Item   item = { .points = gpu_take_points(k, &x), .sums = gpu_take_sums(k, &y), .nstmt = count(k->body) };

    item.threads = item.points || (g.threads == WIDE && gpu_narrow(m->mem, k, NARROW)) ? 0 : g.threads;
    item.groups = item.points ? (x.units + WIDE - 1) / WIDE : g.grid[0] * g.grid[1] * g.grid[2];
    item.shared = shared_numbers(k->body);
    arena_push(m->mem, item.k, item.n, item.cap);
    item.k[item.n++] = k;
    return item;
}

/* Would a's many groups have less room because of b? */
static bool narrows(const Item *a, const Item *b) { return a->groups > FULL && b->shared > LIGHT && b->shared > a->shared; }

bool gpu_fits_item(const Item *item, const Item *one)
{
    if (item->n == MOST_KERNELS || item->k[0]->scan || one->k[0]->scan)
        return false;
    if (item->points && one->points)
        return true;
    if (item->sums || one->sums)
        return item->sums && one->sums && alike(item->k[0], one->k[0]);
    if (item->threads && one->threads && item->threads != one->threads)
        return false;
    if (!item->k[0]->body->grid || !one->k[0]->body->grid || (item->groups > FULL && one->groups > FULL) || item->nstmt + one->nstmt > MOST_STMTS)
        return false;
    return !narrows(item, one) && !narrows(one, item);
}

void gpu_add_to_item(Merge *m, Item *item, const Item *one)
{
    arena_push(m->mem, item->k, item->n, item->cap);
    item->k[item->n++] = one->k[0];
    item->points &= one->points;
    item->sums &= one->sums;
    item->threads = one->threads ? one->threads : item->threads;
    item->groups = one->groups > item->groups ? one->groups : item->groups;
    item->shared = one->shared > item->shared ? one->shared : item->shared;
    item->nstmt += one->nstmt;
}

/* ---- dealing out ---- */

typedef struct Share { const Kernel *k; bool points; Points x; Sums sum; int64_t first, groups; } Share;
typedef Stmt *ShareBody(Join *j, const Share *share);

/* Whose group it is, by halves; a share of its own has its condition in what makes its body. */
static Stmt *dealt_out(Join *j, const Share *share, int n, ShareBody *one)
{
    KList l = { 0 };

    if (n == 1)
        return one(j, share);
    for (int i = 0; i < 2; i++) {
        const Share *part = i ? share + n / 2 : share;
        int          number = i ? n - n / 2 : n / 2;
        Affine       at = aff_add(j->m->mem, aff_var(j->m->mem, j->group, 1), aff_const(-part->first));
        Stmt        *body = dealt_out(j, part, number, one);

        kern_append(&l, number == 1 ? body : gpu_where(j, at, part[number - 1].first + part[number - 1].groups - part->first, body));
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

static Affine group_from(const Join *j, const Share *s) { return aff_add(j->m->mem, aff_var(j->m->mem, j->group, 1), aff_const(-s->first)); }

/* Variables for a kernel's own, numbered behind those that are there. */
static Affine *own_vars(Join *j, const Kernel *k)
{
    Affine *var = arena_array(j->m->mem, Affine, k->nvar + 1);

    for (int i = 0; i < k->nvar; i++)
        var[i] = aff_var(j->m->mem, j->k->nvar + i, 1);
    j->k->nvar += k->nvar;
    return var;
}

/* A list of k's, with values and locals behind those that are there. */
static Stmt *own_copy(Join *j, const Kernel *k, const Stmt *list, const Affine *var)
{
    Kernel *to = j->k;
    Stmt   *copy = kern_clone(j->m->mem, list, var, to->nvalue, to->nlocal);

    to->nvalue += k->nvalue;
    to->nlocal += k->nlocal;
    to->flops += k->flops;
    return copy;
}

/* ---- points ---- */

static Stmt *points_of(Join *j, const Share *s)
{
    return gpu_where(j, gpu_number_from(j, s->first), s->x.units, gpu_renumbered(j, s->k, &s->x, gpu_number_from(j, s->first)));
}

static void share_points(Share *s, int64_t threads) { s->groups = (s->x.units + threads - 1) / threads; }

static Kernel *points_beside(Merge *m, Share *share, int n)
{
    int64_t units = 0, groups;
    Join    j;

    for (int i = 0; i < n; i++)
        units += share[i].x.units;
    j = gpu_join(m, share[0].k, gpu_threads(units));
    for (int i = 0; i < n; i++)
        share_points(&share[i], j.threads);
    groups = deal(share, n);
    return gpu_close_join(&j, groups, dealt_out(&j, share, n, points_of));
}

/* ---- chunks of sums ---- */

/* What a thread adds up goes to the one local of all. */
static Stmt *elements_of(Join *j, const Share *s)
{
    int     base = j->k->nlocal;
    Affine *var = own_vars(j, s->k);
    Stmt   *list;

    var[s->sum.group] = group_from(j, s);
    var[s->sum.block->id] = aff_var(j->m->mem, j->thread, 1);
    list = own_copy(j, s->k, s->sum.block->body, var);
    gpu_retarget(list, s->sum.local->id + base, 0, aff_var(j->m->mem, j->thread, 1));
    return gpu_where(j, group_from(j, s), s->groups, list);
}

static Stmt *store_of(Join *j, const Share *s)
{
    KList l = { 0 };
    Stmt *store = kern_add(j->m->mem, &l, ST_STORE, s->sum.store->loc);

    *store = *s->sum.store;
    store->at = group_from(j, s);
    store->arg[0] = j->total;
    return gpu_where(j, group_from(j, s), s->groups, store);
}

static Kernel *sums_beside(Merge *m, Share *share, int n)
{
    Join    j = gpu_join(m, share[0].k, share[0].sum.block->extent);
    KList   l = { 0 };
    Stmt   *s;
    int64_t groups = deal(share, n);

    s = kern_add(m->mem, &l, ST_LOCAL, j.k->loc);
    *s = *share[0].sum.local;
    s->next = NULL;
    s->id = j.k->nlocal++;
    s = sched_for(m->mem, j.k->loc, j.thread, share[0].sum.block->extent, dealt_out(&j, share, n, elements_of));
    s->block = true;
    kern_append(&l, s);
    s = kern_add(m->mem, &l, ST_FOLD, j.k->loc);
    *s = *share[0].sum.fold;
    s->next = NULL;
    s->local = 0;
    s->id = j.total = j.k->nvalue++;
    kern_append(&l, dealt_out(&j, share, n, store_of));
    return gpu_close_groups(&j, groups, l.first);
}

/* ---- others ---- */

/* What was the local is the pool from `first` on. */
static void to_pool(const Join *j, Stmt *s, int local, int64_t first)
{
    Arena *mem = j->m->mem;

    for (; s; s = s->next) {
        if ((s->kind == ST_GET || s->kind == ST_SET) && s->local == local) {
            s->local = j->pool;
            s->at = aff_add(mem, s->at, aff_const(first));
        }
        for (int i = 0; s->kind == ST_MMA && i < 2; i++)
            if (s->operand[i] == local) {
                s->operand[i] = j->pool;
                s->guard[i].at = aff_add(mem, s->guard[i].at, aff_const(first));
            }
        to_pool(j, s->body, local, first);
    }
}

/* Takes the locals of the group out of the list. */
static Stmt *pooled(Join *j, Stmt *list)
{
    int64_t at = 0;

    for (Stmt **s = &list; *s;) {
        if (!is_pooled(*s)) {
            s = &(*s)->next;
            continue;
        }
        to_pool(j, list, (*s)->id, at);
        at += ((*s)->count + 3) / 4 * 4;
        *s = (*s)->next;
    }
    j->pooled = at > j->pooled ? at : j->pooled;
    return list;
}

/* The indices of a kernel's grid from the number of one of its groups: the innermost is the lowest digit. */
static Stmt *grid_parts(Join *j, const Stmt *grid, Affine number, Affine *var, const Stmt **inside)
{
    const Stmt *loop[GRID_LOOPS];
    KList       l = { 0 };
    int         n = 0;
    int64_t     by = 1;

    for (; grid && grid->kind == ST_FOR && grid->grid; grid = grid->body)
        loop[n++] = grid;
    *inside = grid;
    if (n == 1)
        var[loop[0]->id] = number;
    for (int i = n - 1; i >= 0 && n > 1; by *= loop[i--]->extent) {
        Stmt *s;

        if (loop[i]->extent == 1) {
            var[loop[i]->id] = aff_const(0);
            continue;
        }
        s = kern_add(j->m->mem, &l, ST_PART, loop[i]->loc);
        s->id = j->k->nvar++;
        s->extent = loop[i]->extent;
        s->count = by;
        s->at = number;
        var[loop[i]->id] = aff_var(j->m->mem, s->id, 1);
    }
    return l.first;
}

static Stmt *group_of(Join *j, const Share *s)
{
    Affine     *var = own_vars(j, s->k);
    const Stmt *inside;
    KList       l = { 0 };

    kern_append(&l, grid_parts(j, s->k->body, group_from(j, s), var, &inside));
    kern_append(&l, pooled(j, own_copy(j, s->k, inside, var)));
    return gpu_where(j, group_from(j, s), s->groups, l.first);
}

static Stmt *group_of_points(Join *j, const Share *s)
{
    Stmt *block;

    j->thread = j->k->nvar++;
    block = sched_for(j->m->mem, s->k->loc, j->thread, j->threads, points_of(j, s));
    block->block = true;
    return gpu_where(j, group_from(j, s), s->groups, block);
}

static Stmt *group_of_any(Join *j, const Share *s) { return s->points ? group_of_points(j, s) : group_of(j, s); }

static void make_narrow(Merge *m, Share *s, int64_t threads)
{
    const Kernel *k = kernel_group(s->k).threads > threads ? gpu_narrow(m->mem, s->k, threads) : NULL;

    if (!k)
        return;
    s->k = k;
    s->groups = k->body->extent;
}

static Kernel *any_beside(Merge *m, const Item *item, Share *share)
{
    int64_t threads = item->threads ? item->threads : WIDE;
    Join    j = gpu_join(m, item->k[0], threads);
    KList   l = { 0 };
    Stmt   *pool, *body;
    int64_t groups;

    for (int i = 0; i < item->n; i++)
        if (share[i].points)
            share_points(&share[i], threads);
        else if (threads < WIDE)
            make_narrow(m, &share[i], threads);
    groups = deal(share, item->n);
    pool = kern_add(m->mem, &l, ST_LOCAL, j.k->loc);
    pool->dtype = DT_f32;
    pool->scope = SCOPE_GROUP;
    pool->id = j.pool = j.k->nlocal++;
    body = dealt_out(&j, share, item->n, group_of_any);
    pool->count = j.pooled;
    if (!j.pooled)
        l = (KList){ 0 };
    kern_append(&l, body);
    return gpu_close_groups(&j, groups, l.first);
}

/* ---- the whole ---- */

static Kernel *all_beside(Merge *m, const Item *item)
{
    Share *share = arena_array(m->mem, Share, item->n);

    for (int i = 0; i < item->n; i++) {
        Group g = kernel_group(item->k[i]);

        share[i].k = item->k[i];
        share[i].points = gpu_take_points(item->k[i], &share[i].x);
        share[i].groups = g.grid[0] * g.grid[1] * g.grid[2];
        gpu_take_sums(item->k[i], &share[i].sum);
    }
    return item->points ? points_beside(m, share, item->n) : item->sums ? sums_beside(m, share, item->n) : any_beside(m, item, share);
}

/* If the verifier refuses all of them together, each half may pass. */
static void list_kernels(Merge *m, const Item *item, int first, int n)
{
    Item    part = *item;
    Kernel *k;

    part.k += first;
    part.n = n;
    k = n == 1 ? part.k[0] : all_beside(m, &part);
    if (!k) {
        list_kernels(m, item, first, n / 2);
        list_kernels(m, item, first + n / 2, n - n / 2);
        return;
    }
    if (n > 1)
        k->what = arena_printf(m->mem, "%s, and %d more beside it", part.k[0]->what, n - 1);
    m->p->kernel[m->p->nkernel++] = k;
}

void gpu_list_item(Merge *m, const Item *item) { list_kernels(m, item, 0, item->n); }
