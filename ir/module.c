/* module.c - what a compilation holds: slots by name, graphs by entry and batch. */
#include <assert.h>
#include <string.h>

#include "ir/graph.h"

const char *const entry_name[NENTRY] = { "init", "train", "eval", "infer", "update" };

const char *const precision_name[NPRECISION] = { "f32", "tf32", "bf16" };

const char *const split_name[NSPLIT] = { "train", "test", "valid" };

const char *const source_name[NSOURCE] = { "-", "idx", "npy", "npz", "csv", "bytes", "characters", "images", "rows",
                                           "share" };

const char *const slot_kind_name[NSLOT] = {
    "param", "state", "optim", "grad", "field", "input", "output", "scalar", "metric",
};

Module *module_new(void)
{
    Arena   mem = { 0 };
    Module *m = arena_new(&mem, Module);

    m->mem = mem;
    m->name = m->text = "";
    diag_init(&m->diag, &m->mem);
    return m;
}

void module_free(Module *m)
{
    if (!m)
        return;

    Arena mem = m->mem;   /* the module lies in it */
    arena_free(&mem);
}

/* The place of name in the table: its slot's, or the free one where it would be. */
static int *name_place(const Module *m, const char *name)
{
    uint32_t h = 2166136261u;        /* FNV-1a */

    for (const char *c = name; *c; c++)
        h = (h ^ (unsigned char)*c) * 16777619u;
    for (uint32_t i = h;; i++) {
        int *place = &m->slot_by_name[i % (uint32_t)m->nname];

        if (!*place || !strcmp(m->slot[*place - 1].name, name))
            return place;
    }
}

int module_slot(Module *m, const char *name) { return m->nname ? *name_place(m, name) - 1 : -1; }

/* At most half of the table is in use. */
static void note_name(Module *m, int slot)
{
    if (2 * (slot + 1) > m->nname) {
        m->nname = m->nname ? 2 * m->nname : 64;
        m->slot_by_name = arena_array(&m->mem, int, m->nname);
        for (int i = 0; i < slot; i++)
            *name_place(m, m->slot[i].name) = i + 1;
    }
    *name_place(m, m->slot[slot].name) = slot + 1;
}

bool slot_has_rows(SlotKind kind) { return kind == SLOT_field || kind == SLOT_input || kind == SLOT_output; }

bool slot_is_kept(SlotKind kind) { return kind == SLOT_param || kind == SLOT_state || kind == SLOT_optim; }

/* -1 for an `input float` */
static int own_scalar(const Slot *s)
{
    static const char *const own[] = { "step", "steps", "epoch" };

    for (int i = 0; i < 3; i++)
        if (!strcmp(s->name, own[i]))
            return i;
    return -1;
}

int64_t slot_scalar_number(const Module *m, int slot)
{
    int64_t n = 3;

    if (own_scalar(&m->slot[slot]) >= 0)
        return own_scalar(&m->slot[slot]);
    for (int i = 0; i < slot; i++)
        n += m->slot[i].kind == SLOT_scalar && own_scalar(&m->slot[i]) < 0;
    return n;
}

int module_add_slot(Module *m, const char *name, SlotKind kind, Type type, Loc loc)
{
    assert(module_slot(m, name) < 0 && "slots have names of their own");
    assert(ty_valid(&type) && type.rank + slot_has_rows(kind) <= MAX_RANK);
    arena_push(&m->mem, m->slot, m->nslot, m->cslot);
    m->slot[m->nslot] = (Slot){ .name = arena_strdup(&m->mem, name), .kind = kind, .type = type, .loc = loc };
    note_name(m, m->nslot);
    return m->nslot++;
}

Type slot_type(const Slot *s, int64_t batch)
{
    int64_t first = 0;

    if (!slot_has_rows(s->kind))
        return s->type;
    return ty_insert(s->type, 1, &first, &batch);
}

Graph *module_graph(Module *m, EntryKind e, int64_t batch)
{
    if (e == ENTRY_UPDATE)
        return m->update;
    for (int i = 0; i < m->ngraph; i++) {
        if (m->graph[i]->entry == e && m->graph[i]->batch == batch)
            return m->graph[i];
    }
    return NULL;
}

void module_add_graph(Module *m, Graph *g)
{
    assert(!module_graph(m, g->entry, g->batch) && "one graph an entry and batch");
    if (g->entry == ENTRY_UPDATE) {
        m->update = g;
        return;
    }
    arena_push(&m->mem, m->graph, m->ngraph, m->cgraph);
    m->graph[m->ngraph++] = g;
}

char *ty_str_in(Module *m, const Type *t)
{
    return ty_str_named(&m->mem, t, &(DimName){ m->dim_name, m->dim_probe });
}

FieldSource source_copy(Arena *mem, const FieldSource *s)
{
    FieldSource to = *s;

    to.file = s->file ? arena_strdup(mem, s->file) : NULL;
    to.part = arena_array(mem, const char *, s->npart + 1);
    for (int i = 0; i < s->npart; i++)
        to.part[i] = arena_strdup(mem, s->part[i]);
    return to;
}
