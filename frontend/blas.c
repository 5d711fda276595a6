/* blas.c - --blas: which matrix products are left to OpenBLAS.
 *
 * never is the default; always takes every product that is one.  auto takes those for which OpenBLAS measures faster: both are run once for each
 * shape, on one thread, and the result is kept in a table, a text file with a line a shape:
 *
 *   nnd-blas 1
 *   f32 128 512 784 n t own 592.1 709.3        dtype, m n k, operands turned or not, the choice, microseconds of our kernel and of BLAS
 *
 * A table may be pinned with --blas-table: what stands in it is not measured again.  It is written whole, beside, and renamed.
 */
#include "frontend/nnd.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINE = 256, LEAST_RUNS = 3, LEAST_MS = 20 };

static const char head[] = "nnd-blas 1\n";
static const double SURELY = 0.97;       /* of our kernel's time: a smaller gain may be noise */

typedef struct Row { Dtype dtype; long long m, n, k; char a, b; bool blas; double own_us, blas_us; } Row;

struct BlasTable {
    Job        *job;
    const char *path;
    Row        *row;
    int         nrow, crow;
    bool        changed;
};

static bool same_shape(const Row *r, const Gemm *g)
{
    return r->dtype == g->dtype && r->m == g->m && r->n == g->n && r->k == g->k && r->a == (g->a.turned ? 't' : 'n')
           && r->b == (g->b.turned ? 't' : 'n');
}

/* ---- the file ---- */

static bool parse_row(const char *line, Row *r)
{
    char dtype[4], choice[5];
    int  end = 0;

    if (sscanf(line, "%3s %lld %lld %lld %c %c %4s %lf %lf%n", dtype, &r->m, &r->n, &r->k, &r->a, &r->b, choice, &r->own_us, &r->blas_us, &end) != 9
        || strcmp(line + end, "\n") || (strcmp(dtype, "f32") && strcmp(dtype, "f64")) || (strcmp(choice, "own") && strcmp(choice, "blas")))
        return false;
    r->dtype = strcmp(dtype, "f32") ? DT_f64 : DT_f32;
    r->blas = !strcmp(choice, "blas");
    return r->m > 0 && r->n > 0 && r->k > 0 && strchr("nt", r->a) && strchr("nt", r->b);
}

/* A table that is not there yet is empty. */
static int read_table(BlasTable *t)
{
    FILE *f = fopen(t->path, "r");
    char  line[MAX_LINE];
    Row   r;
    int   number = 1;

    if (!f)
        return errno == ENOENT ? EXIT_WELL : complain(t->job->o, EXIT_DATA, "cannot read %s: %s", t->path, strerror(errno));
    bool well = fgets(line, sizeof line, f) && !strcmp(line, head);

    while (well && fgets(line, sizeof line, f)) {
        number++;
        if ((well = parse_row(line, &r))) {
            arena_push(&t->job->o->mem, t->row, t->nrow, t->crow);
            t->row[t->nrow++] = r;
        }
    }
    fclose(f);
    return well ? EXIT_WELL : complain(t->job->o, EXIT_DATA, "%s: line %d is not of a table of --blas auto", t->path, number);
}

static bool print_table(const BlasTable *t, FILE *f)
{
    fputs(head, f);
    for (int i = 0; i < t->nrow; i++) {
        const Row *r = &t->row[i];

        fprintf(f, "%s %lld %lld %lld %c %c %s %.1f %.1f\n", dt_name(r->dtype), r->m, r->n, r->k, r->a, r->b, r->blas ? "blas" : "own", r->own_us,
                r->blas_us);
    }
    return !ferror(f);
}

/* What can't be written is only measured again. */
static void write_table(const BlasTable *t)
{
    const char *beside = arena_printf(&t->job->o->mem, "%s.%ld", t->path, (long)getpid());
    FILE       *f = fopen(beside, "w");
    bool        well = f && print_table(t, f);

    if (f)
        well &= !fclose(f);
    if (well && !rename(beside, t->path))
        return;
    complain(t->job->o, EXIT_DATA, "cannot write %s: %s", t->path, strerror(errno));
    unlink(beside);
}

/* $XDG_CACHE_HOME/nnd/blas-sapphirerapids.txt */
static const char *own_path(Job *j)
{
    Arena      *mem = &j->o->mem;
    const char *home = getenv("HOME"), *cache = getenv("XDG_CACHE_HOME");
    char       *cpu = arena_strdup(mem, j->device), *folder;

    if (!cache || !*cache)
        cache = home ? arena_printf(mem, "%s/.cache", home) : ".";
    folder = arena_printf(mem, "%s/nnd", cache);
    mkdir(cache, 0777);
    mkdir(folder, 0777);
    cpu[strcspn(cpu, ",")] = 0;
    for (char *c = cpu; *c; c++)
        *c = strchr(" /", *c) ? '-' : *c;
    return arena_printf(mem, "%s/blas-%s.txt", folder, cpu);
}

/* ---- measuring ---- */

static bool always(void *ctx, const Gemm *g)
{
    (void)ctx;
    (void)g;
    return true;
}

static int add_matrix(Module *m, const char *name, SlotKind kind, Dtype d, int64_t rows, int64_t columns)
{
    return module_add_slot(m, name, kind, ty_make(d, 2, (int64_t[]){ rows, columns }), (Loc){ 0 });
}

/* A module that multiplies two matrices as g does. */
static Module *product_module(const Gemm *g)
{
    Module *m = module_new();
    bool    a = g->a.turned, b = g->b.turned;
    Loc     at = { 0 };

    m->name = "product";
    m->float64 = g->dtype == DT_f64;
    int64_t ac = !a, bc = b;
    int     x = add_matrix(m, "a", SLOT_param, g->dtype, a ? g->k : g->m, a ? g->m : g->k);
    int     y = add_matrix(m, "b", SLOT_param, g->dtype, b ? g->n : g->k, b ? g->k : g->n);
    int     z = add_matrix(m, "c", SLOT_state, g->dtype, g->m, g->n);
    Graph  *graph = graph_new(m, ENTRY_TRAIN, 1);
    Ref     arg[2] = { graph_read(graph, at, x), graph_read(graph, at, y) };

    graph_write(graph, at, z, graph_make(graph, OP_dot, at, 2, arg, attr_dot_make(&m->mem, 0, NULL, NULL, 1, &ac, &bc), NULL, NULL));
    module_add_graph(m, graph);
    return m;
}

static double time_code(const Module *m, const NndImage *im)
{
    size_t  state = (size_t)(module_state_bytes(m) + NND_ALIGN) / NND_ALIGN * NND_ALIGN;
    size_t  scratch = (size_t)(m->plan[0]->scratch_bytes + NND_ALIGN) / NND_ALIGN * NND_ALIGN;
    double  best = INFINITY, begun = compile_clock_ms(), start, took;
    NndCall call = { .state = aligned_alloc(NND_ALIGN, state), .scratch = aligned_alloc(NND_ALIGN, scratch), .nbatch = 1, .step = 1, .steps = 1,
                     .epoch = 1 };

    if (!call.state || !call.scratch)
        abort();
    memset(call.state, 0, state);
    memset(call.scratch, 0, scratch);
    for (int i = 0; i < LEAST_RUNS || compile_clock_ms() - begun < LEAST_MS; i++) {
        start = compile_clock_ms();
        if (im->entry[0].run(im, &im->entry[0], &call))
            break;
        took = compile_clock_ms() - start;
        best = took < best ? took : best;
    }
    free(call.state);
    free(call.scratch);
    return best * 1e3;
}

/* Microseconds of the product, ours or BLAS's; infinite if there is no code for it. */
static double measure(const Job *j, const Gemm *g, bool blas)
{
    bool      only[NPASS] = { false };
    Pipeline  p = { .options = { .limits = j->compile.limits, .rule_limit = -1, .blas = blas ? always : NULL }, .only = only };
    Module   *m = product_module(g);
    char      why[256];
    double    us = INFINITY;

    for (int i = PASS_frame; i < NPASS; i++)
        only[i] = true;
    NndImage *im = pipeline_run(m, &p) ? NULL : j->compile.backend->load(m, &j->compile.target, why, sizeof why);

    if (im) {
        us = time_code(m, im);
        j->compile.backend->unload(im);
    }
    module_free(m);
    return us;
}

static bool faster(void *ctx, const Gemm *g)
{
    BlasTable *t = ctx;

    for (int i = 0; i < t->nrow; i++)
        if (same_shape(&t->row[i], g))
            return t->row[i].blas;
    Row r = { .dtype = g->dtype, .m = g->m, .n = g->n, .k = g->k, .a = g->a.turned ? 't' : 'n', .b = g->b.turned ? 't' : 'n' };

    r.own_us = measure(t->job, g, false);
    r.blas_us = measure(t->job, g, true);
    r.blas = r.blas_us < SURELY * r.own_us;
    arena_push(&t->job->o->mem, t->row, t->nrow, t->crow);
    t->row[t->nrow++] = r;
    t->changed = true;
    return r.blas;
}

/* ---- the option ---- */

static int open_table(Job *j)
{
    const OptionValue *given = &j->o->value[OPTION_blas_table];

    j->blas = arena_new(&j->o->mem, BlasTable);
    *j->blas = (BlasTable){ .job = j, .path = given->given ? given->text : own_path(j) };
    j->compile.blas = faster;
    j->compile.blas_ctx = j->blas;
    return read_table(j->blas);
}

int blas_open(Job *j)
{
    const Options *o = j->o;
    const char    *choice = o->value[OPTION_blas].given ? o->value[OPTION_blas].text : "never", *why;

    if (o->value[OPTION_blas_table].given && strcmp(choice, "auto"))
        return complain(o, EXIT_USAGE, "--blas-table: a table is for --blas auto");
    if (!strcmp(choice, "never"))
        return EXIT_WELL;
    if (o->command == CMD_compile)
        return complain(o, EXIT_USAGE, "--blas: a compiled program needs nothing but the C library, so it calls no BLAS");
    if (j->compile.backend != &backend_cpu)
        return complain(o, EXIT_USAGE, "--blas: the target %s calls no BLAS", j->compile.backend->name);
    if (!backend_has_blas(&why))
        return complain(o, EXIT_DEVICE, "--blas: %s", why);
    j->compile.target.blas = true;
    if (!strcmp(choice, "auto"))
        return open_table(j);
    j->compile.blas = always;
    return EXIT_WELL;
}

void blas_close(Job *j)
{
    if (j->blas && j->blas->changed)
        write_table(j->blas);
}
