/* cmd_predict.c - nnd eval and predict: what trained weights are worth, and what they say. */
#include "frontend/nnd.h"

#include <stdlib.h>
#include <string.h>

/* One use of trained weights, in the order in which its parts come to be. */
typedef struct Use {
    Job        job;
    NndData    data;
    Compiled   code;
    NndSession session;
    NndPool   *pool;
    NndError   err;
} Use;

static int split_of(const Options *o)
{
    const OptionValue *split = &o->value[OPTION_split];

    for (int i = 0; split->given && i < NND_NSPLIT; i++)
        if (strcmp(split->text, nnd_split_name[i]) == 0)
            return i;
    return NND_SPLIT_TEST;
}

static void use_close(Use *u)
{
    nnd_pool_close(u->pool);
    nnd_session_close(&u->session);
    compiled_free(&u->code);
    nnd_data_close(&u->data);
    job_close(&u->job);
}

/* Code for these entries and init, and the weights in a session with room for rows. */
static int use_open(Use *u, const NndWant *needs, int n, int64_t rows)
{
    NndWant want[NND_MAX_WANT] = { { NND_INIT, 0 } };
    int     status;

    memcpy(want + 1, needs, (size_t)n * sizeof *want);
    if ((status = compile_wanted(&u->job, &u->code, want, n + 1)) ||
        (status = open_weights(&u->job, &u->session, u->code.image, rows)) || (status = open_pool(&u->job, &u->pool)))
        return status;
    u->session.par = nnd_pool_par(u->pool);
    return EXIT_WELL;
}

/* The entries of this kind that work n rows off: whole batches, and what remains. */
static int entries_for(NndEntryKind kind, int64_t n, NndWant want[2])
{
    int64_t rest, batch = nnd_eval_batch(n, &rest);

    want[0] = (NndWant){ kind, batch };
    want[1] = (NndWant){ kind, rest };
    return rest ? 2 : 1;
}

static int split_rows(Use *u, int64_t *n)
{
    int split = split_of(u->job.o), status = open_data(&u->job, &u->data, true);

    if (status)
        return status;
    if ((*n = u->data.nrow[split]) < 1)
        return complain(u->job.o, EXIT_DATA, "the data set has no %s split", nnd_split_name[split]);
    return EXIT_WELL;
}

/* ---- eval ---- */

static int evaluate(Use *u)
{
    Options *o = u->job.o;
    double   figure[NND_MAX_METRIC];
    NndWant  want[2];
    int64_t  n;
    int      status;

    if ((status = split_rows(u, &n)) || (status = use_open(u, want, entries_for(NND_EVAL, n, want), n)))
        return status;
    if (nnd_evaluate(&u->session, &u->data, split_of(o), figure, &u->err))
        return complain_runtime(o, &u->err);
    printf("%s:", nnd_split_name[split_of(o)]);
    nnd_print_figures(stdout, u->code.image->train, figure);
    printf("  %lld rows\n", (long long)n);
    return EXIT_WELL;
}

int cmd_eval(Options *o)
{
    Use u = { 0 };
    int status = job_open(&u.job, o);

    if (!status && !o->value[OPTION_weights].given)
        status = complain(o, EXIT_USAGE, "wants --weights FILE, as nnd train --save writes it");
    if (!status && !u.job.checked->train.present)
        status = complain(o, EXIT_MODEL, "%s has no train block, so there is no loss to evaluate", o->file);
    if (!status)
        status = evaluate(&u);
    use_close(&u);
    return status;
}

/* ---- predict: arrays ---- */

static int predict_files(Use *u)
{
    Options *o = u->job.o;
    NndWant  want[2] = { { NND_INFER, PREDICT_BATCH }, { NND_INFER, 1 } };
    int      status;

    if (!o->value[OPTION_output].given)
        return complain(o, EXIT_USAGE, "wants --output FILE.npy beside --input");
    if ((status = use_open(u, want, 2, 0)))
        return status;
    if (nnd_predict_files(&u->session, o->value[OPTION_input].text, o->value[OPTION_output].text, &u->err))
        return complain_runtime(o, &u->err);
    return EXIT_WELL;
}

/* ---- predict: pictures ---- */

/* Columns of the data set by the part they play in a picture. */
typedef struct Columns { int image, truth; } Columns;

static bool same_type(const NndField *a, const NndField *b)
{
    return a->dtype == b->dtype && a->rank == b->rank && !memcmp(a->dim, b->dim, (size_t)a->rank * sizeof *a->dim);
}

/* The one input is the column of its name, or else the first of its type; the class is the first column of numbers with a bound. */
static bool find_columns(const NndImage *im, Columns *c)
{
    *c = (Columns){ -1, -1 };
    for (int i = 0; i < im->nfield; i++) {
        const NndField *f = &im->field[i];

        if (same_type(f, &im->input[0]) && (c->image < 0 || !strcmp(f->name, im->input[0].name)))
            c->image = i;
        else if (f->rank == 0 && f->bound && c->truth < 0)
            c->truth = i;
    }
    return c->image >= 0 && c->truth >= 0;
}

static int64_t class_at(const NndArray *a, int64_t row)
{
    switch ((NndDtype)a->dtype) {
    case NND_U8: case NND_BOOL: return ((const uint8_t *)a->data)[row];
    case NND_I32: return ((const int32_t *)a->data)[row];
    case NND_I64: return ((const int64_t *)a->data)[row];
    case NND_F32: case NND_F64: break;
    }
    return 0;
}

/* The names of the data block, or else those that the data have themselves. */
static const char *label_of(Options *o, const NndImage *im, const NndData *data, int64_t k)
{
    const char *const *label = im->nlabel ? im->label : (const char *const *)data->label;

    return k >= 0 && k < (im->nlabel ? im->nlabel : data->nlabel) ? label[k] : arena_printf(&o->mem, "%lld", (long long)k);
}

static double output_at(const NndField *f, const void *out, int64_t i)
{
    return f->dtype == NND_F64 ? ((const double *)out)[i] : ((const float *)out)[i];
}

/* The class with the largest output; share is that output if all of them are shares of one, else -1. */
static int64_t predicted(const NndField *f, const void *out, int64_t row, double *share)
{
    int64_t n = f->dim[0], best = 0;
    double  sum = 0;
    bool    shares = true;

    for (int64_t k = 0; k < n; k++) {
        double y = output_at(f, out, row * n + k);

        sum += y;
        shares = shares && y >= 0;
        if (y > output_at(f, out, row * n + best))
            best = k;
    }
    *share = shares && sum > 0.999 && sum < 1.001 ? output_at(f, out, row * n + best) : -1;
    return best;
}

/* The chosen rows side by side, as infer wants them. */
static void gather(char *to, const NndArray *column, int64_t row_bytes, const int32_t *row, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * row_bytes, (const char *)column->data + row[i] * row_bytes, (size_t)row_bytes);
}

static int draw(Use *u, const Columns *c, const int32_t *row, int64_t n, const uint8_t *pixel, const void *out)
{
    Options        *o = u->job.o;
    const NndImage *im = u->code.image;
    const NndField *f = &im->field[c->image];
    const NndArray *truth = &u->data.column[split_of(o)][c->truth];
    NndPicture     *picture = arena_array(&o->mem, NndPicture, (int)n);
    const char     *path = o->value[OPTION_output].given ? o->value[OPTION_output].text : "grid.png";
    const char     *title;
    int64_t         right = 0;

    for (int64_t i = 0; i < n; i++) {
        double  share;
        int64_t is = class_at(truth, row[i]), says = predicted(&im->output[0], out, i, &share);

        right += is == says;
        picture[i] = (NndPicture){ .height = f->dim[0], .width = f->dim[1], .pixel = pixel + i * f->dim[0] * f->dim[1],
                                   .truth = label_of(o, im, &u->data, is), .predicted = label_of(o, im, &u->data, says),
                                   .right = is == says, .share = share };
        printf("row %d: %s%s%s%s\n", row[i], picture[i].predicted, is == says ? "" : " (is ",
               is == says ? "" : picture[i].truth, is == says ? "" : ")");
    }
    printf("%lld of %lld right\n", (long long)right, (long long)n);
    title = arena_printf(&o->mem, "%s: %lld of %lld right", im->model, (long long)right, (long long)n);
    if (nnd_plot_grid(path, title, picture, (int)n, GRID_COLUMNS, &u->err))
        return complain_runtime(o, &u->err);
    fprintf(stderr, "saved: %s\n", path);
    return EXIT_WELL;
}

/* A picture needs one grey image in, and one number a class out. */
static int check_pictures(Use *u, Columns *c)
{
    const NndImage *im = u->code.image;
    const NndField *in = &im->input[0], *out = &im->output[0];

    if (im->ninput != 1 || im->noutput != 1 || in->dtype != NND_U8 || in->rank != 2 || out->rank != 1 || out->dtype > NND_F64)
        return complain(u->job.o, EXIT_MODEL, "--grid draws models from u8[N, height, width] to a float a class; "
                        "`%s` is none", im->model);
    if (!find_columns(im, c))
        return complain(u->job.o, EXIT_MODEL, "--grid wants a column of images and one of class numbers in the data block");
    return EXIT_WELL;
}

static int predict_grid(Use *u)
{
    Options *o = u->job.o;
    int64_t  n = o->value[OPTION_grid].count, nrow, image_bytes;
    uint64_t seed;
    int32_t *row;
    uint8_t *pixel;
    double  *out;
    Columns  c = { 0, 0 };
    int      status;

    if ((status = split_rows(u, &nrow)))
        return status;
    if (n > nrow || n > MAX_GRID)
        return complain(o, EXIT_USAGE, "--grid: at most %lld pictures, got %lld",
                        (long long)(nrow < MAX_GRID ? nrow : MAX_GRID), (long long)n);
    if ((status = use_open(u, &(NndWant){ NND_INFER, n }, 1, 0)) || (status = check_pictures(u, &c)))
        return status;
    row = arena_array(&o->mem, int32_t, (int)nrow);
    image_bytes = u->code.image->input[0].dim[0] * u->code.image->input[0].dim[1];
    pixel = arena_alloc(&o->mem, (size_t)(n * image_bytes), 1);
    out = arena_array(&o->mem, double, (int)(n * u->code.image->output[0].dim[0]));
    seed = o->value[OPTION_seed].given ? o->value[OPTION_seed].seed : u->job.checked->train.seed;
    nnd_shuffle(row, nrow, seed, 1);
    gather((char *)pixel, &u->data.column[split_of(o)][c.image], image_bytes, row, n);
    if (nnd_infer(&u->session, n, (const void *[]){ pixel }, (void *[]){ out }, &u->err))
        return complain_runtime(o, &u->err);
    return draw(u, &c, row, n, pixel, out);
}

int cmd_predict(Options *o)
{
    Use u = { 0 };
    int status = job_open(&u.job, o);

    if (!status && !o->value[OPTION_weights].given)
        status = complain(o, EXIT_USAGE, "wants --weights FILE, as nnd train --save writes it");
    else if (!status && o->value[OPTION_input].given == o->value[OPTION_grid].given)
        status = complain(o, EXIT_USAGE, "wants either --input X.npy --output Y.npy, or --grid N");
    else if (!status)
        status = o->value[OPTION_grid].given ? predict_grid(&u) : predict_files(&u);
    use_close(&u);
    return status;
}
