/* cmd_summary.c - nnd summary: what a model is made of, what it computes, and the bytes it needs.
 *
 * Layers are the labels of parameters.  A node belongs to the layer whose parameters it reads; what reads none, an
 * activation say, belongs to the layer that made the latest of its arguments, so every operation is counted once.
 */
#include "frontend/nnd.h"

#include <string.h>

enum { NO_LAYER = -1 };

typedef struct Layer {
    const char *name;        /* "fc1"; of row 0, which has no parameters: "" */
    const Node *out;         /* the last node that reads a parameter of it */
    int64_t     nparam;      /* numbers in its parameters */
    double      flops;       /* of all rows of the batch */
} Layer;

typedef struct Summary {
    Job         job;
    Module     *m;           /* as checked, its batch a size that nothing else has */
    const Graph *g;          /* the model alone */
    Layer      *layer; int nlayer, clayer;
    int        *of;          /* of each node: its layer */
    bool       *pure;        /* of each node: made of parameters and constants alone */
} Summary;

/* ---- layers ---- */

/* "blocks.0.fc1" of "blocks.0.fc1.weight"; a parameter of the model itself is a layer of its own. */
static const char *label_of(Arena *mem, const char *slot)
{
    const char *dot = strrchr(slot, '.');

    return dot ? arena_strndup(mem, slot, (size_t)(dot - slot)) : slot;
}

static int layer_named(Summary *s, const char *name)
{
    for (int i = 0; i < s->nlayer; i++)
        if (strcmp(s->layer[i].name, name) == 0)
            return i;
    arena_push(&s->job.o->mem, s->layer, s->nlayer, s->clayer);
    s->layer[s->nlayer] = (Layer){ .name = name };
    return s->nlayer++;
}

static void place_node(Summary *s, int id)
{
    const Node *nd = &s->g->node[id];
    int         own = NO_LAYER, latest = NO_LAYER, at = 0;
    bool        pure = nd->narg > 0;

    if (nd->op == OP_read && s->m->slot[nd->attr.v[0]].kind == SLOT_param) {
        s->of[id] = layer_named(s, label_of(&s->job.o->mem, s->m->slot[nd->attr.v[0]].name));
        s->pure[id] = true;
        return;
    }
    for (int i = 0; i < nd->narg; i++) {
        int arg = nd->arg[i].id;

        pure = pure && s->pure[arg];
        if (s->pure[arg] && s->of[arg] != NO_LAYER)
            own = s->of[arg];
        if (!s->pure[arg] && arg > at && s->of[arg] != NO_LAYER) {
            latest = s->of[arg];
            at = arg;
        }
    }
    s->pure[id] = pure || nd->op == OP_const;
    s->of[id] = own != NO_LAYER ? own : s->pure[id] ? NO_LAYER : latest != NO_LAYER ? latest : 0;
    if (own != NO_LAYER && !s->pure[id])
        s->layer[own].out = nd;
    if (s->of[id] != NO_LAYER)
        s->layer[s->of[id]].flops += node_flops(s->g, nd);
}

static void find_layers(Summary *s)
{
    Arena *mem = &s->job.o->mem;
    bool  *want = arena_array(mem, bool, s->g->nnode + 1);

    s->of = arena_array(mem, int, s->g->nnode + 1);
    s->pure = arena_array(mem, bool, s->g->nnode + 1);
    layer_named(s, "");
    graph_reach_ends(s->g, want);
    for (int id = 1; id < s->g->nnode; id++)
        if (want[id])
            place_node(s, id);
    for (int i = 0; i < s->m->nslot; i++)
        if (s->m->slot[i].kind == SLOT_param)
            s->layer[layer_named(s, label_of(mem, s->m->slot[i].name))].nparam += ty_count(&s->m->slot[i].type);
}

/* ---- printing ---- */

/* 39760 as "39,760" */
static const char *grouped(Arena *mem, double x)
{
    char  *digits = arena_printf(mem, "%.0f", x);
    size_t n = strlen(digits);
    char  *text = arena_alloc(mem, n + n / 3 + 2, 1), *to = text;

    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = 0;
    return text;
}

static const char *readable(Arena *mem, int64_t bytes)
{
    if (bytes < 1 << 10)
        return arena_printf(mem, "%lld B", (long long)bytes);
    if (bytes < 1 << 20)
        return arena_printf(mem, "%.1f KiB", (double)bytes / (1 << 10));
    return arena_printf(mem, "%.1f MiB", (double)bytes / (1 << 20));
}

static void print_head(Summary *s)
{
    printf("%s(", s->m->name);
    for (int i = 0, n = 0; i < s->m->nslot; i++) {
        const Slot *in = &s->m->slot[i];
        Type        t = slot_type(in, s->g->batch);

        if (in->kind == SLOT_input)
            printf("%s%s: %s", n++ ? ", " : "", in->name + strlen("in."), ty_str_in(s->m, &t));
    }
    fputs(")", stdout);
    for (int i = 0; i < s->g->nwrite; i++)
        printf(" -> %s", ty_str_in(s->m, &graph_at(s->g, s->g->write[i].value)->type));
    printf("    %s\n\n", s->job.o->file);
}

static void print_layers(Summary *s)
{
    Arena *mem = &s->job.o->mem;
    double params = 0, flops = 0, batch = (double)s->g->batch;
    int    wide = 5;

    for (int i = 0; i < s->nlayer; i++)
        wide = (int)strlen(s->layer[i].name) > wide ? (int)strlen(s->layer[i].name) : wide;
    printf("  %-*s  %-20s  %14s  %16s\n", wide, "layer", "output", "parameters", "FLOP a sample");
    for (int i = 0; i < s->nlayer; i++) {
        const Layer *l = &s->layer[i];

        if (!i && l->flops == 0)
            continue;
        printf("  %-*s  %-20s  %14s  %16s\n", wide, i ? l->name : "-", l->out ? ty_str_in(s->m, &l->out->type) : "", i ? grouped(mem, (double)l->nparam) : "",
               grouped(mem, l->flops / batch));
        params += (double)l->nparam;
        flops += l->flops / batch;
    }
    printf("  %-*s  %-20s  %14s  %16s\n\n", wide, "total", "", grouped(mem, params), grouped(mem, flops));
}

static bool is_trained(const Graph *g, int slot)
{
    for (int i = 0; g && i < g->nmin; i++)
        for (int k = 0; k < g->min[i].n; k++)
            if (g->min[i].param[k] == slot)
                return true;
    return false;
}

static void print_numbers(Summary *s)
{
    const Graph *train = s->job.checked->train.present ? module_graph(s->m, ENTRY_TRAIN, s->g->batch) : NULL;
    Arena       *mem = &s->job.o->mem;
    double       trained = 0, fixed = 0, states = 0, optim = 0;

    for (int i = 0; i < s->m->nslot; i++) {
        const Slot *v = &s->m->slot[i];
        double      n = (double)ty_count(&v->type);

        trained += v->kind == SLOT_param && is_trained(train, i) ? n : 0;
        fixed += v->kind == SLOT_param && !is_trained(train, i) ? n : 0;
        states += v->kind == SLOT_state ? n : 0;
        optim += v->kind == SLOT_optim ? n : 0;
    }
    printf("parameters   %s trained, %s not; %s numbers of state, %s of the optimizer\n", grouped(mem, trained), grouped(mem, fixed),
           grouped(mem, states), grouped(mem, optim));
}

/* ---- what code needs ---- */

static int64_t batch_of(const Summary *s)
{
    const OptionValue *given = &s->job.o->value[OPTION_batch];
    const TrainInfo   *train = &s->job.checked->train;

    return given->given ? given->count : train->present ? train->batch : DUMP_BATCH;
}

/* The compute of a training step is counted as it is compiled: what is not needed is gone by then. */
static void print_compiled(Summary *s, const Module *m, int64_t batch)
{
    Arena  *mem = &s->job.o->mem;
    int64_t state = module_state_bytes(m), most = 0;

    for (int i = 0; i < m->ngraph; i++)
        if (m->graph[i]->entry == ENTRY_TRAIN)
            printf("compute      %s FLOP a sample forward and backward, with the update, in batches of %lld\n",
                   grouped(mem, graph_flops(m->graph[i]) / (double)batch), (long long)batch);
    printf("memory       %s bytes of state (%s)\n", grouped(mem, (double)state), readable(mem, state));
    for (int i = 0; i < m->ngraph; i++) {
        int64_t scratch = m->plan[i]->scratch_bytes;

        most = scratch > most ? scratch : most;
        if (m->graph[i]->entry != ENTRY_INIT)
            printf("             %s bytes of scratch for %s in batches of %lld (%s)\n", grouped(mem, (double)scratch),
                   entry_name[m->graph[i]->entry], (long long)batch, readable(mem, scratch));
    }
    printf("             %s bytes in all", grouped(mem, (double)(state + most)));
    if (m->train.require_bytes)
        printf(", %s are allowed", grouped(mem, (double)m->train.require_bytes));
    puts("");
}

static int summarise(Summary *s)
{
    Options    *o = s->job.o;
    int64_t     batch = batch_of(s);
    EntryWant   want[MAX_WANT];
    const char *why;
    Module     *m;
    int         n = all_entries(&s->job, 1, &batch, want);

    for (int i = 0; i < s->job.checked->ngraph; i++)
        if (s->job.checked->graph[i]->entry == ENTRY_INFER)
            s->g = s->job.checked->graph[i];
    if (model_has_values(s->job.model) || !s->g)
        return complain(o, EXIT_MODEL, "%s has no model to sum up", o->file);
    if (!s->job.compile.backend->needs_plan)
        return complain(o, EXIT_USAGE, "the target %s makes no code, so it needs no memory", s->job.compile.backend->name);
    s->m = s->g->m;
    if (!(m = compile_lower(s->job.model, n, want, &s->job.compile, &o->mem, &why)))
        return complain_ours(o, why);
    find_layers(s);
    print_head(s);
    print_layers(s);
    print_numbers(s);
    print_compiled(s, m, batch);
    module_free(m);
    return EXIT_WELL;
}

int cmd_summary(Options *o)
{
    Summary s = { 0 };
    int     status = job_open(&s.job, o);

    if (!status)
        status = summarise(&s);
    job_close(&s.job);
    return status;
}
