/* compile.c - the map: from a checked model to an image, and every landing on the way.
 *
 * This file and nnd.c are the only ones that see all folders.  Nothing is decided here: the frontend builds the
 * module, passes/ turn its graphs into plans, a backend turns plans into an image; what is here is the order, the
 * clock, and the printing of what stands after each stage.
 */
#include "frontend/compile.h"
#include "ir/kernel.h"
#include "passes/compare.h"
#include "passes/rules.h"
#include "runtime/nnd.h"

#include <string.h>
#include <time.h>

static const char *const stage_name[] = { "parse", "build", "llvm", "asm", "ptx", "all" };
static const Stage       stage_of[] = { STAGE_PARSE, STAGE_BUILD, STAGE_LLVM, STAGE_ASM, STAGE_PTX, STAGE_ALL };
enum { NSTAGE_NAME = sizeof stage_of / sizeof *stage_of };

bool stage_parse(const char *name, StageWant *s)
{
    *s = (StageWant){ STAGE_PASS, NPASS };
    for (int i = 0; i < NSTAGE_NAME; i++) {
        if (strcmp(stage_name[i], name) == 0) {
            s->stage = stage_of[i];
            return true;
        }
    }
    return pass_parse(name, &s->pass);
}

int stage_names(const char *name[], int max)
{
    int n = 0;

    for (int i = 0; i < NSTAGE_NAME && n < max; i++)
        name[n++] = stage_name[i];
    for (int i = 0; i < NPASS && n < max; i++)
        name[n++] = pass_info[i].name;
    return n;
}

double compile_clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

void compile_time(FILE *f, const char *stage, double elapsed_ms)
{
    if (f)
        fprintf(f, "time: %-10s %8.2f ms\n", stage, elapsed_ms);
}

/* What the pipeline's hook is told. */
typedef struct Watch {
    FILE    *times;        /* NULL: no times */
    FILE    *dump;         /* every pass's result is printed here; NULL: none is */
    Compare *compare;      /* every pass's result is run and compared; NULL: none is */
    double   ms[NPASS];    /* of each pass */
} Watch;

static const char *after_pass(void *ctx, Module *m, Pass p, double elapsed_ms)
{
    Watch *w = ctx;

    w->ms[p] = elapsed_ms;
    if (w->dump) {
        fprintf(w->dump, "\n# after %s\n", pass_info[p].name);
        module_print(w->dump, m);
    }
    return w->compare ? compare_pass(w->compare, m, pass_info[p].name) : NULL;
}

/* A line a pass, with its share of all of them. */
static void tell_times(const Watch *w, Pass last)
{
    double sum = 0;

    for (int i = 0; i <= (int)last; i++)
        sum += w->ms[i];
    for (int i = 0; w->times && i <= (int)last; i++)
        fprintf(w->times, "time: %-10s %8.2f ms %5.1f %%\n", pass_info[i].name, w->ms[i], sum > 0 ? 100 * w->ms[i] / sum : 0);
}

/* The oracle evaluates what the model says before anything is made faster: it stops where update has joined
 * the optimiser. */
static Pass last_pass(const Backend *b)
{
    return b->needs_plan ? (Pass)(NPASS - 1) : PASS_update;
}

static const char *run_passes(Module *m, Pass last, const CompileOptions *o, Watch *w)
{
    bool     only[NPASS];
    Pipeline p = { .options = { .limits = o->limits, .rule_limit = o->rule_limit, .plain_flops = o->plain_flops, .blas = o->blas,
                                .blas_ctx = o->blas_ctx },
                   .only = only, .skip = o->skip, .after = after_pass, .ctx = w };

    for (int i = 0; i < NPASS; i++)
        only[i] = i <= (int)last;
    const char *why = pipeline_run(m, &p);

    if (!why)
        tell_times(w, last);
    return why;
}

static const char *build_failed(Model *md, Arena *mem)
{
    return arena_printf(mem, "build: a model that passed the check has errors\n%s",
                        model_diag(md)->text ? model_diag(md)->text : "");
}

static const char *build(Module **m, Model *md, int nwant, const EntryWant *want, const CompileOptions *o, Arena *mem)
{
    double start = compile_clock_ms();

    *m = model_build(md, want, nwant);
    compile_time(o->times, "build", compile_clock_ms() - start);
    return *m ? NULL : build_failed(md, mem);
}

static const char *load(Compiled *c, const CompileOptions *o, Arena *mem)
{
    char   why[512] = "";
    double start = compile_clock_ms();

    c->image = o->backend->load(c->module, &o->target, why, sizeof why);
    compile_time(o->times, "load", compile_clock_ms() - start);
    return c->image ? NULL : arena_printf(mem, "%s: %s", o->backend->name, why);
}

const char *compile_model(Compiled *c, Model *md, int nwant, const EntryWant *want, const CompileOptions *o, Arena *mem)
{
    double      start = compile_clock_ms();
    Watch       w = { .times = o->times };
    const char *why;

    *c = (Compiled){ .backend = o->backend };
    if ((why = build(&c->module, md, nwant, want, o, mem)))
        return why;
    if ((why = run_passes(c->module, last_pass(o->backend), o, &w)))
        why = arena_strdup(mem, why);              /* it lies in the module, which goes now */
    else
        why = load(c, o, mem);
    if (why)
        compiled_free(c);
    compile_time(o->times, "compile", compile_clock_ms() - start);
    return why;
}

void compiled_free(Compiled *c)
{
    if (c->image)
        c->backend->unload(c->image);
    if (c->module)
        module_free(c->module);
    *c = (Compiled){ 0 };
}

NndField *compile_fields(const Module *m, Arena *mem, int *n)
{
    NndField *field = arena_array(mem, NndField, m->nslot + 1);

    *n = 0;
    for (int i = 0; i < m->nslot; i++) {
        if (m->slot[i].kind == SLOT_field)
            field[(*n)++] = image_field(mem, m, &m->slot[i]);
    }
    return field;
}

static const char *emit(FILE *f, Module *m, EmitKind kind, const CompileOptions *o, Arena *mem)
{
    char why[512] = "";

    if (o->backend->emit(m, &o->target, kind, f, why, sizeof why))
        return NULL;
    return arena_printf(mem, "%s: %s", o->backend->name, why);
}

static Pass dump_last(StageWant s, const Backend *b)
{
    return s.stage == STAGE_PASS ? s.pass : last_pass(b);
}

static const char *dump_all(FILE *f, Model *md, Module *m, const CompileOptions *o, Arena *mem)
{
    Watch       w = { .dump = f };
    const char *why;

    fputs("# after parse\n", f);
    model_print(f, md);
    fputs("\n# after build\n", f);
    module_print(f, m);
    if ((why = run_passes(m, last_pass(o->backend), o, &w)) || !o->backend->needs_plan)
        return why;
    fputs("\n# llvm\n", f);
    if ((why = emit(f, m, EMIT_LLVM, o, mem)))
        return why;
    fputs("\n# asm\n", f);
    return emit(f, m, EMIT_ASM, o, mem);
}

static const char *dump_stage(FILE *f, Module *m, StageWant s, const CompileOptions *o, Arena *mem)
{
    Watch       w = { 0 };
    const char *why = s.stage == STAGE_BUILD ? NULL : run_passes(m, dump_last(s, o->backend), o, &w);

    if (why)
        return why;
    if (s.stage == STAGE_LLVM || s.stage == STAGE_ASM || s.stage == STAGE_PTX)
        return emit(f, m, s.stage == STAGE_LLVM ? EMIT_LLVM : s.stage == STAGE_ASM ? EMIT_ASM : EMIT_PTX, o, mem);
    m->explain = s.stage == STAGE_PASS && s.pass == PASS_fuse;
    module_print(f, m);
    return NULL;
}

const char *compile_dump(FILE *f, Model *md, int nwant, const EntryWant *want, StageWant s, const CompileOptions *o,
                         Arena *mem)
{
    const char *why;
    Module     *m;

    if (s.stage == STAGE_PARSE) {
        model_print(f, md);
        return NULL;
    }
    if ((why = build(&m, md, nwant, want, o, mem)))
        return why;
    if (s.stage == STAGE_ALL)
        why = dump_all(f, md, m, o, mem);
    else
        why = dump_stage(f, m, s, o, mem);
    if (why)
        why = arena_strdup(mem, why);
    module_free(m);
    return why;
}

Module *compile_lower(Model *md, int nwant, const EntryWant *want, const CompileOptions *o, Arena *mem, const char **why)
{
    Watch   w = { .times = o->times };
    Module *m;

    if ((*why = build(&m, md, nwant, want, o, mem)))
        return NULL;
    if (!(*why = run_passes(m, last_pass(o->backend), o, &w)))
        return m;
    *why = arena_strdup(mem, *why);
    module_free(m);
    return NULL;
}

const char *compile_emit(FILE *f, Model *md, int nwant, const EntryWant *want, EmitKind kind, const CompileOptions *o,
                         Arena *mem)
{
    const char *why;
    Module     *m = compile_lower(md, nwant, want, o, mem, &why);

    if (!m)
        return why;
    why = emit(f, m, kind, o, mem);
    module_free(m);
    return why;
}

const char *compile_header(FILE *f, Model *md, int nwant, const EntryWant *want, const CompileOptions *o, Arena *mem)
{
    const char *why;
    Module     *m = compile_lower(md, nwant, want, o, mem, &why);
    NndImage   *im;

    if (!m)
        return why;
    im = image_new(m);
    header_print(f, im);
    image_free(im);
    module_free(m);
    return NULL;
}

/* ---- verify ---- */

static const NndEntry *image_entry(const NndImage *im, const Graph *g)
{
    for (int i = 0; i < im->nentry; i++)
        if (im->entry[i].kind == (uint8_t)g->entry && im->entry[i].batch == g->batch)
            return &im->entry[i];
    return NULL;
}

/* Made-up columns of n rows as a data set. */
static void as_data(NndData *data, const NndImage *im, const void **field, int64_t n, Arena *mem)
{
    NndArray *column = arena_array(mem, NndArray, im->nfield + 1);

    *data = (NndData){ .nfield = im->nfield, .nrow = { n }, .column = { column }, .field = { field } };
    for (int i = 0; i < im->nfield; i++) {
        const NndField *f = &im->field[i];

        column[i] = (NndArray){ .dtype = f->dtype, .rank = (uint8_t)(f->rank + 1), .dim = { n }, .data = (void *)field[i],
                                .nbytes = n * nnd_dtype_bytes((NndDtype)f->dtype) };
        for (int k = 0; k < f->rank; k++)
            column[i].nbytes *= column[i].dim[k + 1] = f->dim[k];
    }
}

/* A call on a GPU, whose state goes there and comes back. */
static int run_on_gpu(const NndImage *im, int gpu, const NndEntry *e, const NndCall *call, Arena *mem, NndError *err)
{
    size_t     nstate = (size_t)im->state_bytes;
    NndData    data;
    NndSession s;
    int        rc = nnd_session_open_on(&s, im, gpu, e->batch, err);

    if (rc)
        return rc;
    memcpy(s.state, call->state, nstate);
    nnd_session_changed(&s);
    if (e->kind == NND_TRAIN || e->kind == NND_EVAL) {
        as_data(&data, im, (const void **)call->field, e->batch, mem);
        rc = nnd_session_hold(&s, &data, err);
    }
    if (!rc && !(rc = nnd_session_run(&s, e, call, err)) && !(rc = nnd_session_fetch(&s, err)))
        memcpy(call->state, s.state, nstate);
    nnd_session_close(&s);
    return rc;
}

/* One batch of graph number i as compiled code. */
static const char *verify_entry(Compare *c, Module *m, int i, const NndImage *im, const CompileOptions *o)
{
    const char     *backend = o->backend->name;
    const NndEntry *e = image_entry(im, m->graph[i]);
    Arena           mem = { 0 };
    CompareData     d;
    const char     *why = NULL;

    if (!e)
        return arena_printf(&m->mem, "%s: entry %s is missing", backend, entry_name[m->graph[i]->entry]);
    if (compare_data(m, i, &mem, &d)) {
        size_t  nbytes = (size_t)e->scratch_bytes;
        char   *room = arena_alloc(&mem, nbytes + 2 * NND_ALIGN, 1);
        NndCall call = { .state = d.env.state, .scratch = room + NND_ALIGN - (uintptr_t)room % NND_ALIGN,
                         .field = d.field, .row = d.row, .out = d.out, .nbatch = 1, .step = d.env.step,
                         .steps = (int64_t)d.scalar[1], .epoch = (int64_t)d.scalar[2], .seed = d.env.seed,
                         .scalar = d.scalar + 3, .metric_out = d.metric };

        NndError err = { .text = "failed" };

        if (im->gpu ? run_on_gpu(im, o->gpu, e, &call, &mem, &err) : e->run(im, e, &call))
            why = arena_printf(&m->mem, "%s: entry %s: %s", backend, entry_name[m->graph[i]->entry], err.text);
        else
            why = compare_ran(c, m, i, backend, &d);
    }
    arena_free(&mem);
    return why;
}

static const char *verify_code(Compare *c, Module *m, const CompileOptions *o, Arena *mem)
{
    char        reason[512] = "";
    NndImage   *im = o->backend->load(m, &o->target, reason, sizeof reason);
    const char *why = NULL;

    if (!im)
        return arena_printf(mem, "%s: %s", o->backend->name, reason);
    for (int i = 0; i < m->ngraph && !why; i++)
        why = verify_entry(c, m, i, im, o);
    if (why)
        why = arena_strdup(mem, why);
    o->backend->unload(im);
    return why;
}

const char *compile_verify(Model *md, int nwant, const EntryWant *want, const CompileOptions *o, Arena *mem)
{
    Watch       w = { .times = o->times, .compare = compare_new(mem) };
    const char *why;
    Module     *m;

    if ((why = build(&m, md, nwant, want, o, mem)))
        return why;
    if ((why = compare_pass(w.compare, m, "build")) || (why = run_passes(m, last_pass(o->backend), o, &w)))
        why = arena_strdup(mem, why);
    else
        why = verify_code(w.compare, m, o, mem);
    module_free(m);
    return why;
}

/* ---- modules read from text ---- */

const char *compile_verify_module(Module *m, const bool only[NPASS])
{
    const char *why = NULL;

    for (int i = 0; i < m->ngraph && !why; i++)
        why = graph_verify(m->graph[i]);
    for (int i = 0; i < m->ngraph && m->plan && !why; i++)
        why = m->plan[i] ? plan_verify(m->plan[i], &m->mem) : NULL;
    if (m->update && !why)
        why = graph_verify(m->update);
    for (int p = PASS_lower + 1; p < NPASS && !why; p++)
        if (only[p] && !only[PASS_lower] && !m->plan)
            why = arena_printf(&m->mem, "%s wants a plan, and there is none: run lower as well", pass_info[p].name);
    return why;
}

const char *compile_opt(Module *m, const bool only[NPASS], int lanes)
{
    Limits   cpu = { .lanes = lanes, .vregs = lanes == 16 ? 32 : 16, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20 };
    Pipeline p = { .options = { .limits = lanes ? cpu : limits_gpu(), .rule_limit = -1 }, .only = only };

    return pipeline_run(m, &p);
}

/* ---- tables ---- */

void list_ops(FILE *f)
{
    static const char *const attr[NOP] = {
#define OP(name, nargs, attr, props, type, cls, domain, eval, grad) #attr,
#include "ir/ops.def"
#undef OP
    };

    fprintf(f, "%-13s  %4s  %-6s  %-6s  %-6s  %-7s  %s\n", "operation", "args", "attr", "class", "domain", "type", "gradient");
    for (int i = 0; i < NOP; i++) {
        const OpInfo *op = &op_info[i];

        fprintf(f, "%-13s  %4d  %-6s  %-6s  %-6s  %-7s  %s\n", op->name, op->narg, attr[i], class_name[op->cls],
               domain_name[op->domain], op->type_name, op->gradient);
    }
}

void list_rules(FILE *f)
{
    for (int i = 0; i < NRULE; i++) {
        const RuleInfo *r = &rule_info[i];
        char            kind[32] = "exact";

        if (r->ulps != EXACT)
            snprintf(kind, sizeof kind, "%d ulp", r->ulps);
        fprintf(f, "%-14s  %-6s  %-28s -> %-24s  %s\n", r->name, kind, r->pattern, r->replacement, r->condition_name);
    }
}

void list_passes(FILE *f)
{
    for (int i = 0; i < NPASS; i++)
        fprintf(f, "%-10s  %s  %s\n", pass_info[i].name, pass_info[i].level == LEVEL_PLAN ? "plan " : "graph",
               pass_info[i].doc);
}

void list_targets(FILE *f)
{
    for (int i = 0; backend_list[i]; i++) {
        const Backend *b = backend_list[i];
        BackendOptions target = { .opt_level = 1 };
        Limits         limits;
        char           device[256] = "", why[256] = "";
        bool           here = b->probe(&target, &limits, device, sizeof device, why, sizeof why);

        fprintf(f, "%-8s  %s\n          %s%s\n", b->name, b->doc, here ? "here: " : "not here: ", here ? device : why);
    }
}
