/* interp.c - the oracle as a backend: each batch evaluates the graph.
 *
 * Slow and obvious.  Its image points into the module, which must outlive it.
 */
#include <string.h>

#include "backends/backend.h"
#include "ir/eval.h"

typedef struct Batch {
    const Module  *m;
    const Graph   *g;
    const NndCall *call;
    int64_t        index;      /* which batch of the call */
    Arena          mem;
} Batch;

static double scalar_value(const Batch *b, int slot)
{
    const double own[] = { (double)(b->call->step + b->index), (double)b->call->steps, (double)b->call->epoch };
    int64_t number = slot_scalar_number(b->m, slot);

    if (number < 3)
        return own[number];
    return b->call->scalar ? b->call->scalar[number - 3] : b->m->slot[slot].value;
}

/* A field's rows, picked by number. */
static Tensor gather(Batch *b, int slot, const Type *type)
{
    Tensor t = tensor_new(&b->mem, type, false);
    int64_t row = tensor_bytes(&b->m->slot[slot].type, false);
    const char *from = b->call->field[slot_index(b->m, slot)];

    for (int64_t i = 0; i < b->g->batch; i++)
        memcpy((char *)t.data + i * row, from + b->call->row[b->index * b->g->batch + i] * row, (size_t)row);
    return t;
}

static Tensor read_slot(void *ctx, int slot, const Type *type)
{
    Batch *b = ctx;
    Tensor t = { .type = *type };

    switch (b->m->slot[slot].kind) {
    case SLOT_param: case SLOT_state: case SLOT_optim:
        t.data = (char *)b->call->state + module_state_offset(b->m, slot);
        return t;
    case SLOT_field:
        return gather(b, slot, type);
    case SLOT_input:
        t.data = (char *)b->call->field[slot_index(b->m, slot)] + b->index * tensor_bytes(type, false);
        return t;
    case SLOT_scalar:
        t = tensor_new(&b->mem, type, false);
        tensor_set(&t, 0, scalar_value(b, slot), false);
        return t;
    case SLOT_grad: case SLOT_output: case SLOT_metric: case NSLOT:
        break;
    }
    return tensor_new(&b->mem, type, false);
}

static int metric_count(const Module *m)
{
    int n = 0;

    for (int i = 0; i < m->nslot; i++)
        n += m->slot[i].kind == SLOT_metric;
    return n;
}

static void write_slot(Batch *b, int slot, const Tensor *value)
{
    int64_t nbytes = tensor_bytes(&value->type, false), at = slot_index(b->m, slot);

    switch (b->m->slot[slot].kind) {
    case SLOT_param: case SLOT_state: case SLOT_optim:
        memcpy((char *)b->call->state + module_state_offset(b->m, slot), value->data, (size_t)nbytes);
        return;
    case SLOT_output:
        memcpy((char *)b->call->out[at] + b->index * nbytes, value->data, (size_t)nbytes);
        return;
    case SLOT_metric:
        b->call->metric_out[b->index * metric_count(b->m) + at] = tensor_get(value, 0, false);
        return;
    case SLOT_grad: case SLOT_field: case SLOT_input: case SLOT_scalar: case NSLOT:
        return;
    }
}

/* Values may be the state's own memory, so all that is written is copied before the first write. */
static void run_batch(Batch *b)
{
    EvalEnv env = { .seed = b->call->seed, .step = b->call->step + b->index, .read = read_slot, .ctx = b };
    Tensor *value = arena_array(&b->mem, Tensor, b->g->nnode), *out = arena_array(&b->mem, Tensor, b->g->nwrite + 1);

    eval_graph(b->g, &env, &b->mem, value);
    for (int i = 0; i < b->g->nwrite; i++) {
        const Tensor *v = &value[b->g->write[i].value.id];

        out[i] = tensor_new(&b->mem, &v->type, false);
        memcpy(out[i].data, v->data, (size_t)tensor_bytes(&v->type, false));
    }
    for (int i = 0; i < b->g->nwrite; i++)
        write_slot(b, b->g->write[i].slot, &out[i]);
}

static int run(const NndImage *im, const NndEntry *e, const NndCall *call)
{
    Module *m = im->priv;

    for (int64_t i = 0; i < call->nbatch; i++) {
        Batch b = { .m = m, .g = m->graph[e - im->entry], .call = call, .index = i };

        run_batch(&b);
        arena_free(&b.mem);
    }
    return 0;
}

static bool probe(const BackendOptions *o, Limits *limits, char *describe, size_t ndescribe, char *why, size_t nwhy)
{
    (void)o, (void)why, (void)nwhy;
    *limits = (Limits){ .lanes = 8, .vregs = 16, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20 };
    snprintf(describe, ndescribe, "evaluates graphs, one loop an operation");
    return true;
}

static NndImage *load(Module *m, const BackendOptions *o, char *why, size_t nwhy)
{
    NndImage *im = image_new(m);

    (void)o, (void)why, (void)nwhy;
    for (int i = 0; i < im->nentry; i++)
        ((NndEntry *)im->entry)[i].run = run;
    im->priv = m;
    return im;
}

static bool emit(Module *m, const BackendOptions *o, EmitKind kind, FILE *f, char *why, size_t nwhy)
{
    (void)m, (void)o, (void)kind, (void)f;
    snprintf(why, nwhy, "the interpreter has no code to write");
    return false;
}

const Backend backend_interp = { .name = "interp", .doc = "evaluates the graphs: slow, the reference", .needs_plan = false,
                                 .probe = probe, .load = load, .emit = emit, .unload = image_free };
