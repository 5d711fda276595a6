/* compare.c - run a module's entries on made-up values after every stage, and see that nothing changed.
 *
 * Values are drawn by slot, so every stage sees the same.  Graphs are evaluated by the oracle, plans by the walker.
 *
 * Tolerance: a stage may change the order of sums and take rules of a few ulps.  A sum of n f32 terms is off by at
 * most n * 2^-24 of its terms' sizes, which are not the result's where they cancel; so a difference is measured
 * against the largest value of its slot.  Models under the cap fold fewer than 2^12 terms at a time on the whole,
 * 2^12 * 2^-24 is 2.4e-4, and a mistake of a pass is far above 1e-3.  With f64 the same with 2^-53.
 */
#include "passes/compare.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ir/eval.h"

enum { SEED = 1, STEP = 3, STEPS = 100, EPOCH = 1 };
static const double FLOP_CAP = 5e7, TOLERANCE = 1e-3, TOLERANCE_F64 = 1e-9;

/* What a slot held after the last stage. */
typedef struct Result { int64_t n; double *value; } Result;
typedef struct Entry { EntryKind entry; int64_t batch; Result *slot; int nslot; } Entry;

struct Compare { Arena *mem; Entry *entry; int nentry, centry; };

Compare *compare_new(Arena *mem)
{
    Compare *c = arena_new(mem, Compare);

    c->mem = mem;
    return c;
}

/* ---- made-up values ---- */

/* S. Vigna, splitmix64. */
static double uniform(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static double draw(const Slot *s, uint64_t *state)
{
    double u = uniform(state);

    if (s->type.dtype == DT_bool)
        return u < 0.5;
    if (dt_is_int(s->type.dtype))
        return floor(u * (double)(s->bound ? s->bound : s->type.dtype == DT_u8 ? 256 : 10));
    /* an optimiser's sums of squares are not negative */
    return s->kind == SLOT_param || s->kind == SLOT_state ? u - 0.5 : s->kind == SLOT_optim ? u / 2 : u;
}

static void fill(Module *m, int slot, Type type, void *data)
{
    Tensor   t = { type, data };
    uint64_t state = (uint64_t)slot << 32;

    for (int64_t i = 0; i < ty_count(&type); i++)
        tensor_set(&t, i, draw(&m->slot[slot], &state), false);
}

static int own_scalar(const char *name)
{
    return !strcmp(name, "step") ? 0 : !strcmp(name, "steps") ? 1 : !strcmp(name, "epoch") ? 2 : -1;
}

static int64_t scalar_number(const Module *m, int slot)
{
    int64_t n = 3;

    if (own_scalar(m->slot[slot].name) >= 0)
        return own_scalar(m->slot[slot].name);
    for (int i = 0; i < slot; i++)
        n += m->slot[i].kind == SLOT_scalar && own_scalar(m->slot[i].name) < 0;
    return n;
}

/* Places for segments and columns are multiples of 64. */
static void *block(Arena *mem, int64_t nbytes)
{
    uintptr_t p = (uintptr_t)arena_alloc(mem, (size_t)nbytes + 128, 1);

    return (void *)((p + 63) / 64 * 64);
}

static void place_slot(Module *m, const Graph *g, int slot, Arena *mem, CompareData *d)
{
    const Slot *s = &m->slot[slot];
    int64_t     number = slot_index(m, slot);
    Type        type = slot_has_rows(s->kind) && g->batch ? slot_type(s, g->batch) : s->type;
    SlotKind    columns = g->entry == ENTRY_INFER ? SLOT_input : SLOT_field;

    if (slot_is_kept(s->kind)) {
        fill(m, slot, type, (char *)d->env.state + module_state_offset(m, slot));
    } else if (s->kind == columns && g->batch) {
        void *column = block(mem, tensor_bytes(&type, false));

        fill(m, slot, type, column);
        d->field[number] = column;
    } else if (s->kind == SLOT_output && g->batch) {
        d->out[number] = block(mem, tensor_bytes(&type, false));
    } else if (s->kind == SLOT_scalar) {
        d->scalar[scalar_number(m, slot)] = s->value;
    } else if (s->kind == SLOT_metric) {
        d->nmetric++;
    }
}

bool compare_data(Module *m, int i, Arena *mem, CompareData *d)
{
    const Graph *g = m->graph[i];

    if (graph_flops(g) > FLOP_CAP)
        return false;
    *d = (CompareData){ .field = arena_array(mem, const void *, m->nslot + 1),
                        .out = arena_array(mem, void *, m->nslot + 1),
                        .row = arena_array(mem, int32_t, g->batch + 1),
                        .metric = arena_array(mem, double, m->nslot + 1),
                        .scalar = arena_array(mem, double, m->nslot + 4) };
    d->env = (WalkEnv){ .state = block(mem, module_state_bytes(m)), .field = d->field, .out = d->out, .row = d->row,
                        .scalar = d->scalar, .metric = d->metric, .seed = SEED, .step = STEP };
    for (int slot = 0; slot < m->nslot; slot++)
        place_slot(m, g, slot, mem, d);
    d->scalar[0] = STEP;
    d->scalar[1] = STEPS;
    d->scalar[2] = EPOCH;
    for (int64_t r = 0; r < g->batch; r++)
        d->row[r] = (int32_t)(g->batch - 1 - r);
    return true;
}

/* ---- running ---- */

typedef struct Reader { Module *m; const Graph *g; const CompareData *d; Arena *mem; } Reader;

static Tensor read_field(const Reader *r, int slot, const Type *type)
{
    Tensor      t = tensor_new(r->mem, type, false);
    int64_t     nbytes = tensor_bytes(&r->m->slot[slot].type, false);
    const char *from = r->d->field[slot_index(r->m, slot)];

    for (int64_t i = 0; i < r->g->batch; i++)
        memcpy((char *)t.data + i * nbytes, from + r->d->row[i] * nbytes, (size_t)nbytes);
    return t;
}

static Tensor read_slot(void *ctx, int slot, const Type *type)
{
    const Reader *r = ctx;
    const Slot   *s = &r->m->slot[slot];
    Tensor        t = { .type = *type };

    switch (s->kind) {
    case SLOT_param: case SLOT_state: case SLOT_optim:
        t.data = (char *)r->d->env.state + module_state_offset(r->m, slot);
        return t;
    case SLOT_field:
        return read_field(r, slot, type);
    case SLOT_input:
        t.data = (void *)r->d->field[slot_index(r->m, slot)];
        return t;
    case SLOT_scalar:
        t = tensor_new(r->mem, type, false);
        tensor_set(&t, 0, r->d->scalar[scalar_number(r->m, slot)], false);
        return t;
    case SLOT_grad: case SLOT_output: case SLOT_metric: case NSLOT:
        break;
    }
    t = tensor_new(r->mem, type, false);          /* gradients, made up like parameters */
    fill(r->m, slot, *type, t.data);
    return t;
}

/* p with a place for every buffer, its own for each in scratch, where memory has not run yet. */
static Plan placed(const Plan *p, Arena *mem)
{
    Plan q = *p;

    if (p->scratch_bytes >= 0)
        return q;
    q.buf = arena_array(mem, Buffer, p->nbuf);
    q.scratch_bytes = 0;
    for (int i = 0; i < p->nbuf; i++) {
        Buffer *b = &q.buf[i];

        *b = p->buf[i];
        if (b->seg == SEG_STATE)
            b->offset = module_state_offset(p->m, b->slot);
        if (b->seg != SEG_SCRATCH)
            continue;
        b->offset = q.scratch_bytes;
        q.scratch_bytes += (b->count * dt_bytes(b->dtype) + 63) / 64 * 64;
    }
    return q;
}

/* ---- comparing ---- */

static Entry *find_entry(Compare *c, const Graph *g)
{
    for (int i = 0; i < c->nentry; i++)
        if (c->entry[i].entry == g->entry && c->entry[i].batch == g->batch)
            return &c->entry[i];
    arena_push(c->mem, c->entry, c->nentry, c->centry);
    c->entry[c->nentry] = (Entry){ .entry = g->entry, .batch = g->batch };
    return &c->entry[c->nentry++];
}

static const char *entry_text(Compare *c, const Graph *g)
{
    if (!g->batch)
        return entry_name[g->entry];
    return arena_printf(c->mem, "%s %" PRId64, entry_name[g->entry], g->batch);
}

static double largest(const Result *r)
{
    double most = 0;

    for (int64_t i = 0; i < r->n; i++)
        if (isfinite(r->value[i]) && fabs(r->value[i]) > most)
            most = fabs(r->value[i]);
    return most;
}

static bool agree(const Module *m, Dtype d, double scale, double x, double y)
{
    if (x == y || (isnan(x) && isnan(y)))
        return true;
    return dt_is_float(d) && fabs(x - y) <= (m->float64 ? TOLERANCE_F64 : TOLERANCE) * scale;
}

static const char *compare_slot(Compare *c, Module *m, const Graph *g, const char *stage, int slot, const Result *was,
                                const Result *is)
{
    double scale = largest(was);

    for (int64_t i = 0; i < was->n && was->n == is->n; i++)
        if (!agree(m, m->slot[slot].type.dtype, scale, was->value[i], is->value[i]))
            return arena_printf(c->mem, "%s: entry %s: write @%s element %" PRId64 " differs: %.9g before, %.9g after",
                                stage, entry_text(c, g), m->slot[slot].name, i, was->value[i], is->value[i]);
    return NULL;
}

/* Gradients end in update, and specialise takes what outlives a step from entries that only look. */
static bool may_go(SlotKind kind, EntryKind entry)
{
    return kind == SLOT_grad || (slot_is_kept(kind) && (entry == ENTRY_EVAL || entry == ENTRY_INFER));
}

static const char *compare_gone(Compare *c, Module *m, const Graph *g, const char *stage, int slot)
{
    if (may_go(m->slot[slot].kind, g->entry))
        return NULL;
    return arena_printf(c->mem, "%s: entry %s: write @%s is gone", stage, entry_text(c, g), m->slot[slot].name);
}

/* Keeps what was written, once it agrees with the stage before. */
static const char *take(Compare *c, Module *m, const Graph *g, const char *stage, const Result *now)
{
    Entry      *e = find_entry(c, g);
    const char *why;

    for (int i = 0; i < e->nslot && i < m->nslot; i++) {
        if (!e->slot[i].n)
            continue;
        why = now[i].n ? compare_slot(c, m, g, stage, i, &e->slot[i], &now[i]) : compare_gone(c, m, g, stage, i);
        if (why)
            return why;
    }
    e->slot = arena_array(c->mem, Result, m->nslot + 1);
    e->nslot = m->nslot;
    memcpy(e->slot, now, (size_t)m->nslot * sizeof *now);
    return NULL;
}

static Result numbers(Compare *c, const Tensor *t)
{
    Result r = { ty_count(&t->type), NULL };

    r.value = arena_array(c->mem, double, r.n);
    for (int64_t i = 0; i < r.n; i++)
        r.value[i] = tensor_get(t, i, false);
    return r;
}

/* A written slot as it lies in memory after a run. */
static Tensor written(Module *m, const Graph *g, int slot, const CompareData *d)
{
    const Slot *s = &m->slot[slot];
    int64_t     number = slot_index(m, slot);

    if (slot_is_kept(s->kind))
        return (Tensor){ s->type, (char *)d->env.state + module_state_offset(m, slot) };
    if (s->kind == SLOT_output)
        return (Tensor){ slot_type(s, g->batch), d->out[number] };
    return (Tensor){ ty_scalar(DT_f64), &d->metric[number] };
}

const char *compare_ran(Compare *c, Module *m, int i, const char *stage, const CompareData *d)
{
    const Graph *g = m->graph[i];
    Result      *now = arena_array(c->mem, Result, m->nslot + 1);

    for (int w = 0; w < g->nwrite; w++) {
        Tensor t = written(m, g, g->write[w].slot, d);

        now[g->write[w].slot] = numbers(c, &t);
    }
    return take(c, m, g, stage, now);
}

static const char *evaluate(Compare *c, Module *m, int i, const char *stage, const CompareData *d, Arena *mem)
{
    const Graph *g = m->graph[i];
    Reader       r = { m, g, d, mem };
    EvalEnv      env = { .seed = SEED, .step = STEP, .read = read_slot, .ctx = &r };
    Tensor      *value = arena_array(mem, Tensor, g->nnode);
    Result      *now = arena_array(c->mem, Result, m->nslot + 1);

    eval_graph(g, &env, mem, value);
    for (int w = 0; w < g->nwrite; w++)
        now[g->write[w].slot] = numbers(c, &value[g->write[w].value.id]);
    return take(c, m, g, stage, now);
}

static const char *walk(Compare *c, Module *m, int i, const char *stage, CompareData *d, Arena *mem)
{
    Plan        p = placed(m->plan[i], mem);
    const char *why;

    d->env.scratch = block(mem, p.scratch_bytes);
    if ((why = plan_walk(&p, &d->env, mem)))
        return arena_printf(c->mem, "%s: entry %s: %s", stage, entry_text(c, m->graph[i]), why);
    return compare_ran(c, m, i, stage, d);
}

const char *compare_pass(Compare *c, Module *m, const char *stage)
{
    const char *why = NULL;

    for (int i = 0; i < m->ngraph && !why; i++) {
        Arena       mem = { 0 };
        CompareData d;

        if (graph_holds(m->graph[i], OP_grad))        /* it has values once autodiff has written it out */
            continue;
        if (compare_data(m, i, &mem, &d))
            why = m->plan ? walk(c, m, i, stage, &d, &mem) : evaluate(c, m, i, stage, &d, &mem);
        arena_free(&mem);
    }
    return why;
}
