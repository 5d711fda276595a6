/* schedule_gpu_merge.c - kernels become fewer: a launch takes a GPU some microseconds, whatever there is to do.
 *
 *   behind each other   kernels of points with as many units, of which one uses what the other makes: a thread does both for its number,
 *                       if the verifier finds no number that meets what another writes (ir/kernel_loops.c)
 *   beside each other   nothing that one writes is touched by the other: groups are dealt out, the first so many to the first kernel
 *                       (schedule_gpu_beside.c)
 *
 * A kernel moves to an earlier one that it joins, over others that it has nothing to do with.  So the updates of all weights
 * are one launch, and so are the products, sums and points that one step of the way back needs.
 */
#include "passes/schedule_gpu_merge.h"
#include "passes/schedule_gpu_rows.h"

#include <string.h>

enum { FARTHEST = 256, FAR = 32, LONG_WHAT = 60 };

/* ---- what touches what ---- */

bool gpu_same_memory(const Plan *p, int a, int b)
{
    const Buffer *x = &p->buf[a], *y = &p->buf[b];

    return a == b || (x->seg != SEG_SCRATCH && x->seg == y->seg && x->slot == y->slot);
}

static bool touches(const Plan *p, const Stmt *s, int buf, bool write_only)
{
    for (; s; s = s->next) {
        if ((s->kind == ST_STORE || (s->kind == ST_LOAD && !write_only)) && gpu_same_memory(p, s->buf, buf))
            return true;
        if (touches(p, s->body, buf, write_only))
            return true;
    }
    return false;
}

/* Does b touch what a writes, or write what a loads? */
bool gpu_depends(const Plan *p, const Stmt *a, const Stmt *b)
{
    for (; b; b = b->next) {
        if ((b->kind == ST_LOAD || b->kind == ST_STORE) && touches(p, a, b->buf, b->kind == ST_LOAD))
            return true;
        if (gpu_depends(p, a, b->body))
            return true;
    }
    return false;
}

static bool item_depends(const Merge *m, const Item *item, const Kernel *k)
{
    for (int i = 0; i < item->n; i++)
        if ((k->scan && item->k[i]->scan == k->scan) || gpu_depends(m->p, item->k[i]->body, k->body))
            return true;
    return false;
}

/* ---- kernels of points ---- */

/* Threads are told by their number alone, and what runs in a loop stores nothing. */
static bool by_number(const Points *x, const Stmt *s, bool in_loop)
{
    for (; s; s = s->next) {
        for (int i = 0; stmt_affine((Stmt *)s, i); i++) {
            Affine a = *stmt_affine((Stmt *)s, i);

            if (aff_coef(a, x->group) != x->threads * aff_coef(a, x->thread))
                return false;
        }
        if ((s->kind == ST_STORE && in_loop) || s->kind == ST_FOLD || s->block || (s->kind == ST_LOCAL && s->scope != SCOPE_OWN)
            || !by_number(x, s->body, in_loop || (s->kind == ST_FOR && !s->lanes)))
            return false;
    }
    return true;
}

static bool is_number(const Points *x, Affine a)
{
    return !a.base && aff_coef(a, x->thread) == 1 && aff_coef(a, x->group) == x->threads && a.n == 2;
}

bool gpu_take_points(const Kernel *k, Points *x)
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

/* ---- a kernel of several ---- */

Join gpu_join(Merge *m, const Kernel *first, int64_t threads)
{
    Join j = { .m = m, .k = arena_new(m->mem, Kernel), .threads = threads, .pool = -1 };

    *j.k = *first;
    j.k->nvar = 2;
    j.k->nvalue = j.k->nlocal = 0;
    j.k->flops = 0;
    j.group = 0;
    j.thread = 1;
    return j;
}

Stmt *gpu_renumbered(Join *j, const Kernel *k, const Points *x, Affine number)
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

Affine gpu_number_from(const Join *j, int64_t group)
{
    Arena *mem = j->m->mem;

    return aff_add(mem, aff_add(mem, aff_var(mem, j->group, j->threads), aff_var(mem, j->thread, 1)), aff_const(-group * j->threads));
}

Stmt *gpu_where(Join *j, Affine at, int64_t size, Stmt *body)
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

Kernel *gpu_close_groups(Join *j, int64_t groups, Stmt *body)
{
    Arena *mem = j->m->mem;

    j->k->body = sched_for(mem, j->k->loc, j->group, groups, body);
    j->k->body->grid = true;
    return kernel_check_group(j->k, mem) || kernel_check_loops(j->m->p, j->k, mem) ? NULL : j->k;
}

Kernel *gpu_close_join(Join *j, int64_t groups, Stmt *body)
{
    Stmt *block = sched_for(j->m->mem, j->k->loc, j->thread, j->threads, body);

    block->block = true;
    return gpu_close_groups(j, groups, block);
}

/* ---- behind each other ---- */

static Kernel *behind(Merge *m, const Kernel *a, const Kernel *b)
{
    Points  x, y;
    Join    j;
    KList   body = { 0 };
    int64_t groups;

    if (!gpu_take_points(a, &x) || !gpu_take_points(b, &y) || x.units != y.units)
        return NULL;
    j = gpu_join(m, a, gpu_threads(x.units));
    j.threads = x.units < j.threads ? x.units : j.threads;
    groups = (x.units + j.threads - 1) / j.threads;
    kern_append(&body, gpu_renumbered(&j, a, &x, gpu_number_from(&j, 0)));
    kern_append(&body, gpu_renumbered(&j, b, &y, gpu_number_from(&j, 0)));
    body.first = gpu_forward(m->p, j.k, gpu_number_from(&j, 0), x.units, body.first);
    if (groups * j.threads != x.units)
        body.first = gpu_where(&j, gpu_number_from(&j, 0), x.units, body.first);
    j.k->what = strlen(a->what) > LONG_WHAT ? a->what : arena_printf(m->mem, "%s, %s", a->what, b->what);
    return gpu_close_join(&j, groups, body.first);
}

static void add_item(Merge *m, Item item)
{
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

/* The first item that it can stand beside, so that what follows it finds as few items as can be; of others than points a near one, as what
 * is made early is kept for long. */
static void join_beside(Merge *m, Kernel *k)
{
    Item  one = gpu_item(m, k);
    Item *to = NULL;

    for (int i = m->n - 1; i >= 0 && i > m->n - FARTHEST && !item_depends(m, &m->item[i], k); i--)
        if ((i > m->n - FAR || one.points || one.sums) && gpu_fits_item(&m->item[i], &one))
            to = &m->item[i];
    if (to)
        gpu_add_to_item(m, to, &one);
    else
        add_item(m, one);
}

static void one_pass(Plan *p, bool beside)
{
    Merge m = { .p = p, .mem = &p->m->mem };

    for (int i = 0; i < p->nkernel; i++)
        if (beside)
            join_beside(&m, p->kernel[i]);
        else if (!goes_behind(&m, p->kernel[i]))
            add_item(&m, gpu_item(&m, p->kernel[i]));
    p->nkernel = 0;
    for (int i = 0; i < m.n; i++)
        gpu_list_item(&m, &m.item[i]);
}

/* What stood between two kernels may be gone once others are beside each other. */
void schedule_gpu_merge(Plan *p)
{
    one_pass(p, false);
    gpu_drop_stores(p);
    one_pass(p, true);
    one_pass(p, false);
    gpu_drop_stores(p);
}
