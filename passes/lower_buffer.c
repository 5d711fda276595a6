/* lower_buffer.c - which values get a buffer of their own, and which slot or scratch it is.
 *
 * A buffer is for what a write stores, for what another kernel reads, and for the carries of scans: a next and a last are
 * where their carry is.
 */
#include "passes/lower.h"

#include <assert.h>
#include <string.h>

static Seg slot_seg(SlotKind kind)
{
    switch (kind) {
    case SLOT_param: case SLOT_state: case SLOT_optim: return SEG_STATE;
    case SLOT_field:  return SEG_FIELD;
    case SLOT_input:  return SEG_INPUT;
    case SLOT_output: return SEG_OUTPUT;
    case SLOT_scalar: return SEG_SCALAR;
    case SLOT_metric: return SEG_METRIC;
    case SLOT_grad: case NSLOT: break;
    }
    assert(!"gradients are gone by now");
    return SEG_SCRATCH;
}

static void use_slot(Lower *lo, int slot)
{
    const Slot *s = &lo->m->slot[slot];
    Seg seg = slot_seg(s->kind);
    bool whole_batch = seg == SEG_INPUT || seg == SEG_OUTPUT;
    Buffer b = { .seg = seg, .slot = slot, .offset = -1, .dtype = s->type.dtype };

    if (lo->slot_buf[slot] >= 0)
        return;
    b.count = ty_count(&s->type) * (whole_batch ? lo->g->batch : 1);
    if (seg == SEG_SCALAR)
        b.offset = slot_scalar_number(lo->m, slot);
    else if (seg != SEG_STATE)
        b.offset = slot_index(lo->m, slot);
    if (seg == SEG_METRIC || seg == SEG_SCALAR)
        b.dtype = DT_f64;
    lo->slot_buf[slot] = plan_buffer(lo->p, b);
}

static bool scan_shares(Op op) { return op == OP_next || op == OP_last; }

/* Marks the nodes of other kernels that node id of kernel k reads. */
static void mark_read(const Graph *g, int id, int k, bool *read)
{
    bool is_next = g->node[id].op == OP_next;

    for (int i = is_next; i < (is_next ? 2 : g->node[id].narg); i++) {
        int a = g->node[id].arg[i].id, of = g->node[a].kernel;

        if (!of)
            mark_read(g, a, k, read);
        else if (of != k)
            read[a] = true;
    }
}

/* A value's home is the slot it is written to, else scratch if another kernel reads it. */
static void give_homes(Lower *lo)
{
    const Graph *g = lo->g;
    bool *read = arena_array(lo->mem, bool, g->nnode);

    for (int id = 1; id < g->nnode; id++)
        if (g->node[id].kernel && !scan_is_result(g->node[id].op))
            mark_read(g, id, g->node[id].kernel, read);
    for (int i = 0; i < g->nwrite; i++) {
        const Write *w = &g->write[i];

        if (slot_is_kept(lo->m->slot[w->slot].kind) && lo->home[w->value.id] < 0)
            lo->home[w->value.id] = lo->slot_buf[w->slot];
    }
    for (int id = 1; id < g->nnode; id++) {
        const Type *t = &g->node[id].type;

        if ((read[id] || g->node[id].op == OP_carry) && lo->home[id] < 0 && !scan_shares(g->node[id].op))
            lo->home[id] = plan_buffer(lo->p, (Buffer){ .seg = SEG_SCRATCH, .slot = -1, .offset = -1, .node = id,
                                                        .dtype = t->dtype, .count = ty_count(t) });
    }
}

/* A next and a last are where their carry is; what is stacked knows its stacks. */
static void give_scan_homes(Lower *lo)
{
    const Graph *g = lo->g;

    for (int id = 1; id < g->nnode; id++) {
        const Node *nd = &g->node[id];

        if (scan_shares(nd->op))
            lo->home[id] = lo->home[nd->arg[0].id];
        if (nd->op != OP_stack || lo->home[id] < 0)
            continue;
        lo->next_stack[id] = lo->stack[nd->arg[0].id];
        lo->stack[nd->arg[0].id] = id;
    }
}

void lower_buffers(Lower *lo)
{
    const Graph *g = lo->g;

    lo->home = arena_array(lo->mem, int, g->nnode);
    lo->slot_buf = arena_array(lo->mem, int, lo->m->nslot + 1);
    memset(lo->home, -1, (size_t)g->nnode * sizeof *lo->home);
    memset(lo->slot_buf, -1, (size_t)lo->m->nslot * sizeof *lo->slot_buf);
    for (int id = 1; id < g->nnode; id++)
        if (g->node[id].op == OP_read)
            use_slot(lo, (int)g->node[id].attr.v[0]);
    for (int i = 0; i < g->nwrite; i++)
        use_slot(lo, g->write[i].slot);
    give_homes(lo);
    lo->stack = arena_array(lo->mem, int, g->nnode);
    lo->next_stack = arena_array(lo->mem, int, g->nnode);
    give_scan_homes(lo);
}
