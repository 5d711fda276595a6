/* cmd_run.c - nnd run: a file's values computed and shown. */
#include "frontend/nnd.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* elements of a tensor that is printed whole, else those at each end of an axis; columns of a line */
enum { SHOWN_WHOLE = 1000, EDGE = 3, LINE = 100 };

typedef struct Run {
    Job        job;
    Compiled   code;
    NndSession session;
    NndPool   *pool;
    void     **out;
    NndError   err;
} Run;

/* ---- printing ---- */

/* How one tensor's numbers are written: all alike, in columns.  Its shown elements are walked three times: to know how
 * large they are, then how wide, and then to print them. */
typedef enum Walk { WALK_SIZE, WALK_WIDTH, WALK_PRINT } Walk;
typedef struct Look {
    const NndField *f;
    const void     *data;
    Walk            walk;
    double          least, most;     /* of the magnitudes that are neither 0 nor infinite */
    bool            scientific, cut;
    int             width, column;   /* of an element; where on the line the next one begins */
} Look;

static double number_at(const Look *l, int64_t i)
{
    switch ((NndDtype)l->f->dtype) {
    case NND_F32: return ((const float *)l->data)[i];
    case NND_F64: return ((const double *)l->data)[i];
    case NND_I32: return ((const int32_t *)l->data)[i];
    case NND_I64: return (double)((const int64_t *)l->data)[i];
    case NND_U8: case NND_BOOL: return ((const uint8_t *)l->data)[i];
    }
    return 0;
}

static int write_number(const Look *l, int64_t i, char text[64])
{
    if (l->f->dtype == NND_BOOL)
        return snprintf(text, 64, "%s", number_at(l, i) != 0 ? "true" : "false");
    if (l->f->dtype == NND_I64)
        return snprintf(text, 64, "%lld", (long long)((const int64_t *)l->data)[i]);
    if (l->f->dtype > NND_F64)
        return snprintf(text, 64, "%.0f", number_at(l, i));
    return snprintf(text, 64, l->scientific ? "%.4e" : "%.4f", number_at(l, i));
}

static int64_t element_count(const NndField *f)
{
    int64_t n = 1;

    for (int d = 0; d < f->rank; d++)
        n *= f->dim[d];
    return n;
}

static void show_number(Look *l, int64_t i, int indent, bool first)
{
    char   text[64];
    double x = fabs(number_at(l, i));
    int    width;

    if (l->walk == WALK_SIZE) {
        l->least = x > 0 && x < l->least ? x : l->least;
        l->most = isfinite(x) && x > l->most ? x : l->most;
        return;
    }
    width = write_number(l, i, text);
    if (l->walk == WALK_WIDTH) {
        l->width = width > l->width ? width : l->width;
        return;
    }
    if (l->column + l->width + 1 > LINE)
        l->column = printf("\n%*s", indent, "") - 1;
    else if (!first)
        l->column += printf(" ");
    l->column += printf("%*s", l->width, text);
}

static void show_text(Look *l, const char *text)
{
    if (l->walk == WALK_PRINT)
        l->column += (int)(fputs(text, stdout) < 0 ? 0 : strlen(text));
}

static void show_line(Look *l, int indent)
{
    if (l->walk == WALK_PRINT)
        l->column = printf("\n%*s", indent, "") - 1;
}

/* Axis d from element number `from` on; deeper axes stand in brackets of their own. */
static void show_axis(Look *l, int d, int64_t from, int64_t stride)
{
    int64_t n = l->f->dim[d];
    bool    inner = d + 1 == l->f->rank;

    stride /= n;
    show_text(l, "[");
    for (int64_t i = 0; i < n; i++) {
        if (i)
            show_text(l, ",");
        if (i && !inner)
            show_line(l, d + 1);
        if (l->cut && n > 2 * EDGE && i == EDGE) {
            show_text(l, inner ? " ..." : "...");
            i = n - EDGE - 1;
        } else if (inner) {
            show_number(l, from + i, d + 1, i == 0);
        } else {
            show_axis(l, d + 1, from + i * stride, stride);
        }
    }
    show_text(l, "]");
}

static void show_elements(Look *l, Walk walk)
{
    l->walk = walk;
    if (l->f->rank)
        show_axis(l, 0, 0, element_count(l->f));
    else
        show_number(l, 0, 0, true);
}

static void print_tensor(const NndField *f, const void *data)
{
    Look l = { .f = f, .data = data, .least = INFINITY, .cut = element_count(f) > SHOWN_WHOLE };

    show_elements(&l, WALK_SIZE);
    l.scientific = l.most >= 1e5 || (l.most > 0 && (l.most < 1e-3 || l.most / l.least > 1e5));
    show_elements(&l, WALK_WIDTH);
    printf("%s: %s", f->name, nnd_dtype_name((NndDtype)f->dtype));
    for (int d = 0; d < f->rank; d++)
        printf("%s%lld%s", d ? ", " : "[", (long long)f->dim[d], d == f->rank - 1 ? "]" : "");
    fputs(f->rank ? "\n" : " = ", stdout);
    show_elements(&l, WALK_PRINT);
    putchar('\n');
}

/* ---- files, times ---- */

static int write_files(Run *r)
{
    Options        *o = r->job.o;
    const NndImage *im = r->code.image;
    const char     *dir = o->value[OPTION_out].text;

    if (mkdir(dir, 0777) && errno != EEXIST)
        return complain(o, EXIT_DATA, "%s: cannot be made: %s", dir, strerror(errno));
    for (int i = 0; i < im->noutput; i++) {
        const NndField *f = &im->output[i];
        const char     *path = arena_printf(&o->mem, "%s/%s.npy", dir, f->name);

        if (nnd_npy_write(path, (NndDtype)f->dtype, f->rank, f->dim, r->out[i], &r->err))
            return complain_runtime(o, &r->err);
    }
    return EXIT_WELL;
}

static int evaluate(Run *r)
{
    if (nnd_infer(&r->session, 1, NULL, r->out, &r->err))
        return complain_runtime(r->job.o, &r->err);
    return EXIT_WELL;
}

/* The best of some runs: the first ones meet cold caches. */
static int print_time(Run *r)
{
    enum { LEAST_RUNS = 3, LEAST_MS = 300 };
    double flops = graph_flops(module_graph((Module *)r->job.checked, ENTRY_INFER, 1)), best = INFINITY, begun = compile_clock_ms();

    for (int i = 0; i < LEAST_RUNS || compile_clock_ms() - begun < LEAST_MS; i++) {
        double start = compile_clock_ms(), took;
        int    status = evaluate(r);

        if (status)
            return status;
        took = compile_clock_ms() - start;
        best = took < best ? took : best;
    }
    fprintf(stderr, "time: values     %8.3f ms, %.3f GFLOP, %.1f GFLOP/s\n", best, flops / 1e9, flops / best / 1e6);
    return EXIT_WELL;
}

/* ---- the command ---- */

static int open_run(Run *r)
{
    Options     *o = r->job.o;
    NndWant      want[] = { { NND_INIT, 0 }, { NND_INFER, 1 } };
    uint64_t     seed = o->value[OPTION_seed].seed;
    int          status = compile_wanted(&r->job, &r->code, want, 2);

    if (status || (status = open_pool(&r->job, &r->pool)))
        return status;
    if ((status = open_session(&r->job, &r->session, r->code.image, 0)))
        return status;
    r->session.par = nnd_pool_par(r->pool);
    if (nnd_session_init(&r->session, seed, &r->err))
        return complain_runtime(o, &r->err);
    r->out = arena_array(&o->mem, void *, r->code.image->noutput + 1);
    for (int i = 0; i < r->code.image->noutput; i++) {
        const NndField *f = &r->code.image->output[i];

        r->out[i] = arena_alloc(&o->mem, (size_t)(element_count(f) * nnd_dtype_bytes((NndDtype)f->dtype)), NND_ALIGN);
    }
    return EXIT_WELL;
}

static int run(Run *r)
{
    Options        *o = r->job.o;
    const NndImage *im;
    int             status = open_run(r);

    if (status || (status = evaluate(r)))
        return status;
    im = r->code.image;
    for (int i = 0; i < im->noutput; i++)
        print_tensor(&im->output[i], r->out[i]);
    if (o->value[OPTION_out].given)
        status = write_files(r);
    if (!status && o->value[OPTION_time].given)
        status = print_time(r);
    return status;
}

int cmd_run(Options *o)
{
    Run r = { 0 };
    int status = job_open(&r.job, o);

    if (!status)
        status = run(&r);
    nnd_pool_close(r.pool);
    nnd_session_close(&r.session);
    compiled_free(&r.code);
    job_close(&r.job);
    return status;
}
