/* fuse_order.c - find an order in which fused kernels can run, or the slot write that prevents it. */
#include "passes/fuse.h"

#include <assert.h>

static bool is_point(const Node *nd) { return op_info[nd->op].cls == CLASS_POINT; }

/* ---- what a kernel reads ---- */

static bool reads_slot(const Fuse *f, int id, int slot, bool same_place, bool elsewhere)
{
    const Node *nd = &f->g->node[id];

    if (nd->op == OP_read)
        return (int)nd->attr.v[0] == slot && !(elsewhere && same_place);
    for (int i = 0; i < nd->narg; i++) {
        int a = nd->arg[i].id;

        if (!f->kernel[a] && reads_slot(f, a, slot, same_place && is_point(nd), elsewhere))
            return true;
    }
    return false;
}

bool fuse_reads(const Fuse *f, int k, int slot, bool elsewhere)
{
    for (int id = f->k[k].member; id; id = f->next[id])
        if (f->kernel[id] == k && reads_slot(f, id, slot, true, elsewhere))
            return true;
    return false;
}

bool fuse_slot_written(const Fuse *f, int slot)
{
    for (int i = 0; i < f->g->nwrite; i++)
        if (f->g->write[i].slot == slot)
            return true;
    return false;
}

void fuse_mark_inside(const Fuse *f, int id, int k, bool *inside, bool *stored)
{
    const Node *nd = &f->g->node[id];

    for (int i = 0; i < nd->narg; i++) {
        int a = nd->arg[i].id;

        if (f->kernel[a] && f->kernel[a] == k)
            inside[a] = true;
        else if (f->kernel[a])
            stored[a] = true;
        else
            fuse_mark_inside(f, a, k, inside, stored);
    }
}

/* ---- edges between kernels ---- */

typedef struct Edges { int n, cap; struct { int from, to; } *e; } Edges;

static void add_edge(Fuse *f, Edges *es, int from, int to)
{
    /* a kernel outside waits for the whole scan */
    if (f->k[from].scan && f->k[to].scan != f->k[from].scan)
        from = f->leave[f->k[from].scan];
    if (from == to)
        return;
    arena_push(f->mem, es->e, es->n, es->cap);
    es->e[es->n].from = from;
    es->e[es->n++].to = to;
}

static void data_edges(Fuse *f, Edges *es, int id, int k)
{
    const Node *nd = &f->g->node[id];

    for (int i = 0; i < nd->narg; i++) {
        int a = nd->arg[i].id;

        if (f->kernel[a])
            add_edge(f, es, f->kernel[a], k);
        else
            data_edges(f, es, a, k);
    }
}

/* Kernel k comes before those that write the slots which id reads, itself or through nodes that float. */
static void reads_before(Fuse *f, Edges *es, int id, int k, const int *writer)
{
    const Node *nd = &f->g->node[id];
    int slot = nd->op == OP_read ? (int)nd->attr.v[0] : -1;

    if (slot >= 0 && writer[slot] && slot_is_kept(f->g->m->slot[slot].kind))
        add_edge(f, es, k, writer[slot]);
    for (int i = 0; i < nd->narg; i++)
        if (!f->kernel[nd->arg[i].id])
            reads_before(f, es, nd->arg[i].id, k, writer);
}

/* Slots are read as they were before the step: readers first, then the kernel that writes. */
static void slot_edges(Fuse *f, Edges *es)
{
    int *writer = arena_array(f->mem, int, f->g->m->nslot + 1);

    for (int i = 0; i < f->g->nwrite; i++)
        writer[f->g->write[i].slot] = f->kernel[f->g->write[i].value.id];
    for (int id = 1; id < f->g->nnode; id++)
        if (f->kernel[id])
            reads_before(f, es, id, f->kernel[id], writer);
}

/* Carries change when all else of the step is done, and a scan is done when all its kernels are. */
static void scan_edges(Fuse *f, Edges *es, const bool *used)
{
    bool *changes = arena_array(f->mem, bool, f->nk + 1);

    for (int id = 1; id < f->g->nnode; id++)
        changes[f->kernel[id]] |= f->g->node[id].op == OP_next;
    for (int k = 1; k <= f->nk; k++) {
        if (!used[k] || !f->k[k].scan)
            continue;
        arena_push(f->mem, es->e, es->n, es->cap);
        es->e[es->n].from = k;
        es->e[es->n++].to = f->leave[f->k[k].scan];
        for (int next = 1; next <= f->nk && !changes[k]; next++)
            if (changes[next] && f->k[next].scan == f->k[k].scan)
                add_edge(f, es, k, next);
    }
}

/* Kahn's algorithm, the smallest ready kernel first.  order[k] is k's place from 1, 0 if it is in a cycle. */
static int sort_kernels(Fuse *f, const Edges *es, const bool *used, int *order)
{
    int *wait = arena_array(f->mem, int, f->nk + 1), *head = arena_array(f->mem, int, f->nk + 1);
    int *next = arena_array(f->mem, int, es->n + 1), placed = 0;
    bool *ready = arena_array(f->mem, bool, f->nk + 1);

    for (int i = 0; i < es->n; i++) {
        wait[es->e[i].to]++;
        next[i] = head[es->e[i].from];
        head[es->e[i].from] = i + 1;
    }
    for (int k = 1; k <= f->nk; k++)
        ready[k] = used[k] && !wait[k];
    for (int k = 1; k <= f->nk;) {
        if (!ready[k]) {
            k++;
            continue;
        }
        int lowest = k + 1;

        ready[k] = false;
        order[k] = ++placed;
        for (int i = head[k]; i; i = next[i - 1])
            if (!--wait[es->e[i - 1].to]) {
                ready[es->e[i - 1].to] = true;
                lowest = es->e[i - 1].to < lowest ? es->e[i - 1].to : lowest;
            }
        k = lowest;
    }
    return placed;
}

/* ---- the order, or what is in its way ---- */

static bool is_deferred(const Fuse *f, const Write *w) { return f->alone[w->value.id]; }

static int bad_in_place(const Fuse *f)
{
    for (int i = 0; i < f->g->nwrite; i++) {
        const Write *w = &f->g->write[i];

        if (slot_is_kept(f->g->m->slot[w->slot].kind) && !is_deferred(f, w)
            && fuse_reads(f, f->kernel[w->value.id], w->slot, true))
            return w->slot;
    }
    return -1;
}

static int blocked_write(const Fuse *f, const int *order)
{
    for (int i = 0; i < f->g->nwrite; i++) {
        const Write *w = &f->g->write[i];

        if (slot_is_kept(f->g->m->slot[w->slot].kind) && !is_deferred(f, w) && !order[f->kernel[w->value.id]])
            return w->slot;
    }
    return -1;
}

/* Numbers from places: the kernels of a scan come one behind the other where its end stands, whose number is their last one's. */
static int number_kernels(const Fuse *f, const int *order, int nused, int *number)
{
    int *at = arena_array(f->mem, int, nused + 1), n = 0, nscan = scan_free_number(f->g);

    for (int k = 1; k <= f->nk; k++)
        at[order[k]] = k;
    for (int i = 1; i <= nused; i++) {
        int scan = 0;

        for (int s = 1; s <= nscan && !scan; s++)
            scan = f->leave[s] == at[i] ? s : 0;
        if (!scan && !f->k[at[i]].scan)
            number[at[i]] = ++n;
        for (int j = 1; scan && j <= nused; j++)
            if (f->k[at[j]].scan == scan)
                number[at[j]] = ++n;
        if (scan)
            number[at[i]] = n;
    }
    return n;
}

int fuse_order(Fuse *f)
{
    Edges es = { 0 };
    int *order = arena_array(f->mem, int, f->nk + 1), nused = 0, slot = bad_in_place(f);
    int *number = arena_array(f->mem, int, f->nk + 1);
    bool *used = arena_array(f->mem, bool, f->nk + 1);

    if (slot >= 0)
        return slot;
    for (int id = 1; id < f->g->nnode; id++) {
        if (f->kernel[id])
            data_edges(f, &es, id, f->kernel[id]);
        nused += f->kernel[id] && !used[f->kernel[id]];
        used[f->kernel[id]] = true;
    }
    slot_edges(f, &es);
    scan_edges(f, &es, used);
    if (sort_kernels(f, &es, used, order) < nused) {
        slot = blocked_write(f, order);
        assert(slot >= 0 && "kernels are convex, so only the order of slots can be circular");
        return slot;
    }
    f->g->nkernel = number_kernels(f, order, nused, number);
    for (int id = 1; id < f->g->nnode; id++)
        f->g->node[id].kernel = number[f->kernel[id]];
    return -1;
}
