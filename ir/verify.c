/* verify.c - what must hold of a graph, whoever made it.
 *
 * Runs after every pass and on what the reader made.  A failure in a compilation is a fault of ours; the
 * sentence names the node and its place in the model, and the caller puts the pass before it.
 */
#include <inttypes.h>

#include "ir/scan.h"

static const char *place(Graph *g, Loc loc)
{
    Module *m = g->m;

    if (!loc.line || loc.file >= m->diag.nsource)
        return "";
    return arena_printf(&m->mem, " (%s:%" PRIu32 ":%" PRIu32 ")", m->diag.source[loc.file].name, loc.line, loc.col);
}

static const char *fault(Graph *g, const char *who, Loc loc, const char *what)
{
    return arena_printf(&g->m->mem, "graph %s: %s%s: %s", entry_name[g->entry], who, place(g, loc), what);
}

static const char *node_fault(Graph *g, int id, const char *what)
{
    const Node *nd = &g->node[id];
    const char *name = nd->op < NOP ? op_info[nd->op].name : "?";

    return fault(g, arena_printf(&g->m->mem, "%%%d = %s", id, name), nd->loc, what);
}

/* nodes */

static const char *check_args(Graph *g, int id)
{
    const Node *nd = &g->node[id];

    if (nd->op >= NOP)
        return node_fault(g, id, "no such operation");
    if (nd->narg != op_info[nd->op].narg)
        return node_fault(g, id, "wrong number of arguments");
    for (int i = 0; i < nd->narg; i++) {
        if (nd->arg[i].id < 1 || nd->arg[i].id >= id)
            return node_fault(g, id, "arguments come before users");
    }
    return NULL;
}

static bool slot_known(const Graph *g, int64_t slot) { return slot >= 0 && slot < g->m->nslot; }

static const char *check_read(Graph *g, int id, int64_t slot)
{
    if (!slot_known(g, slot))
        return node_fault(g, id, "no such slot");

    SlotKind kind = g->m->slot[slot].kind;
    if (slot_has_rows(kind) && g->batch < 1)
        return node_fault(g, id, "this graph has no rows to read");
    if (kind == SLOT_output || kind == SLOT_metric)
        return node_fault(g, id, "what flows out can't be read");
    if (kind == SLOT_grad && g->entry != ENTRY_UPDATE)
        return node_fault(g, id, "gradients are read by the update alone");
    return NULL;
}

static const char *check_type(Graph *g, int id)
{
    Module     *m = g->m;
    const Node *nd = &g->node[id];
    Type        type[3], given = nd->type;
    Infer       in = { .mem = &m->mem, .op = nd->op, .narg = nd->narg, .arg = type, .attr = &nd->attr, .given = &given };

    for (int i = 0; i < nd->narg; i++)
        type[i] = g->node[nd->arg[i].id].type;
    if (op_info[nd->op].attr == ATTR_SLOT) {
        const char *why = nd->attr.n == 1 ? check_read(g, id, nd->attr.v[0]) : node_fault(g, id, "reads no slot");

        if (why)
            return why;
        given = slot_type(&m->slot[nd->attr.v[0]], g->batch);
    }

    Type t = op_type(&in);
    if (t.rank < 0)
        return node_fault(g, id, in.error);
    if (!ty_equal(&t, &nd->type))
        return node_fault(g, id, arena_printf(&m->mem, "gives %s, but is stored as %s", ty_str(&m->mem, &t),
                                              ty_str(&m->mem, &nd->type)));
    return NULL;
}

/* The slot whose values a node holds, seen through casts and shapes; NULL if it computes them. */
static const Slot *source_slot(const Graph *g, Ref r)
{
    const Node *nd = graph_at(g, r);

    while (nd->op == OP_cast || op_info[nd->op].cls == CLASS_MOVE)
        nd = graph_at(g, nd->arg[0]);
    return nd->op == OP_read ? &g->m->slot[nd->attr.v[0]] : NULL;
}

/* The loader checks a field against its bound, so that no kernel has to. */
static const char *check_bound(Graph *g, int id)
{
    const Node *nd = &g->node[id];

    if (nd->op != OP_one_hot)
        return NULL;

    const Slot *s = source_slot(g, nd->arg[0]);
    if (!s || s->bound <= nd->attr.v[0])
        return NULL;
    return node_fault(g, id, arena_printf(&g->m->mem, "has %" PRId64 " classes, but @%s goes up to %" PRId64,
                                          nd->attr.v[0], s->name, s->bound - 1));
}

/* kernels */

/* Kernels run in order of their numbers, and a node of none is computed in those that use it: so whatever
 * a kernel reaches through such nodes must have run by then.  last[id] is the last kernel that id waits for. */
static const char *check_kernels(Graph *g)
{
    int *last = arena_array(&g->m->mem, int, g->nnode);

    for (int id = 1; id < g->nnode; id++) {
        const Node *nd = &g->node[id];

        if (nd->kernel < 0 || nd->kernel > g->nkernel)
            return node_fault(g, id, arena_printf(&g->m->mem, "there is no kernel k%d", nd->kernel));
        for (int i = 0; i < nd->narg; i++) {
            if (last[id] < last[nd->arg[i].id])
                last[id] = last[nd->arg[i].id];
        }
        if (nd->kernel && last[id] > nd->kernel)
            return node_fault(g, id, arena_printf(&g->m->mem, "is in k%d, but needs k%d", nd->kernel, last[id]));
        if (nd->kernel)
            last[id] = nd->kernel;
    }
    return NULL;
}

/* what flows out */

static bool is_writable(SlotKind kind)
{
    switch (kind) {
    case SLOT_param:
    case SLOT_state:
    case SLOT_optim:
    case SLOT_grad:
    case SLOT_output:
    case SLOT_metric: return true;
    case SLOT_field:
    case SLOT_input:
    case SLOT_scalar:
    case NSLOT:       break;
    }
    return false;
}

static bool node_known(const Graph *g, Ref r) { return r.id > 0 && r.id < g->nnode; }

static const char *check_write(Graph *g, const Write *w, bool *written)
{
    Module *m = g->m;

    if (!slot_known(g, w->slot) || !node_known(g, w->value))
        return fault(g, "write", w->loc, "no such slot or node");

    const Slot *s = &m->slot[w->slot];
    const char *who = arena_printf(&m->mem, "write @%s, %%%d", s->name, w->value.id);
    if (!is_writable(s->kind))
        return fault(g, who, w->loc, arena_printf(&m->mem, "a %s can't be written", slot_kind_name[s->kind]));
    if (written[w->slot])
        return fault(g, who, w->loc, "written before");
    if (slot_has_rows(s->kind) && g->batch < 1)
        return fault(g, who, w->loc, "this graph has no rows to write");
    written[w->slot] = true;

    Type want = slot_type(s, g->batch), *got = &g->node[w->value.id].type;
    if (!ty_equal(&want, got))
        return fault(g, who, w->loc, arena_printf(&m->mem, "wants %s, got %s", ty_str(&m->mem, &want),
                                                  ty_str(&m->mem, got)));
    return NULL;
}

static const char *check_minimize(Graph *g, const Minimize *min)
{
    Module *m = g->m;

    if (!node_known(g, min->loss))
        return fault(g, "minimize", min->loc, "no such node");

    const Type *loss = &g->node[min->loss.id].type;
    const char *who = arena_printf(&m->mem, "minimize %%%d", min->loss.id);
    if (loss->rank || !dt_is_float(loss->dtype))
        return fault(g, who, min->loc, arena_printf(&m->mem, "a loss is one float, got %s", ty_str(&m->mem, loss)));
    for (int i = 0; i < min->n; i++) {
        if (!slot_known(g, min->param[i]) || !slot_known(g, min->grad[i]))
            return fault(g, who, min->loc, "no such slot");

        const Slot *param = &m->slot[min->param[i]], *grad = &m->slot[min->grad[i]];
        if (param->kind != SLOT_param || grad->kind != SLOT_grad || !ty_equal(&param->type, &grad->type))
            return fault(g, who, min->loc, arena_printf(&m->mem, "@%s is no gradient of a parameter @%s", grad->name,
                                                        param->name));
    }
    return NULL;
}

static const char *check_scalars(Graph *g)
{
    for (int i = 0; i < g->m->nslot; i++) {
        const Slot *s = &g->m->slot[i];

        if (s->kind == SLOT_scalar && (s->type.rank || s->type.dtype != DT_f64))
            return fault(g, arena_printf(&g->m->mem, "slot @%s", s->name), s->loc, "a scalar is one f64");
        if (s->kind == SLOT_metric && (s->type.rank || !dt_is_float(s->type.dtype)))
            return fault(g, arena_printf(&g->m->mem, "slot @%s", s->name), s->loc, "a metric is one float");
    }
    return NULL;
}

static const char *check_scans(Graph *g)
{
    int         id = 0;
    const char *what = scan_fault(g, &id);

    return what ? node_fault(g, id, what) : NULL;
}

const char *graph_verify(Graph *g)
{
    bool       *written = arena_array(&g->m->mem, bool, g->m->nslot);
    const char *why = check_scalars(g);

    for (int id = 1; !why && id < g->nnode; id++) {
        why = check_args(g, id);
        if (!why)
            why = check_type(g, id);
        if (!why)
            why = check_bound(g, id);
    }
    if (!why)
        why = check_scans(g);
    if (!why)
        why = check_kernels(g);
    for (int i = 0; !why && i < g->nwrite; i++)
        why = check_write(g, &g->write[i], written);
    for (int i = 0; !why && i < g->nmin; i++)
        why = check_minimize(g, &g->min[i]);
    return why;
}
