/* program_train.c - the main of a program that trains: a compiled model and this folder, the same run as nnd train. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/nnd.h"

extern const NndImage *const nnd_program_image;      /* in the model's object */

/* The one mutable global of a training program: set by Ctrl-C, asked for between batches. */
static volatile int interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

typedef struct Asked { const char *program, *data, *order; NndRunOptions run; bool help, changed; } Asked;

static void help(const char *program, const NndImage *im)
{
    printf("%s trains the model %s.\n\n"
           "  --data DIR             where the data files are (otherwise: $NND_DATA, this folder, Debian's data sets)\n"
           "  --epochs N             epochs to train (otherwise %lld)\n"
           "  --steps N              stop after so many steps\n"
           "  --seed N               seed of all that is random (otherwise %llu)\n"
           "  --init F.safetensors   begin with these weights\n"
           "  --save F.safetensors   write the trained weights and states\n"
           "  --order F.npy          rows of each epoch, i64[epochs, n], instead of shuffling\n"
           "  --log F.csv            write the figures of each epoch\n"
           "  --log-steps F.csv      write the loss of each step, before its update\n"
           "%s"
           "  --quiet                print only the last epoch's line\n\n"
           "batch: %lld rows a step\nmemory: %lld bytes of state\nmodel:\n\n%s", program, im->model,
           (long long)im->train->epochs, (unsigned long long)im->train->seed,
           im->gpu ? "  --device N             number of the GPU (otherwise 0)\n"
                   : "  --threads N            processors to use (otherwise all); results don't depend on it\n", (long long)im->train->batch,
           (long long)im->state_bytes, im->text);
}

/* A whole number from least on; false after a complaint. */
static bool read_number(const Asked *a, const char *name, const char *text, int64_t least, int64_t most, int64_t *n)
{
    char *end;

    errno = 0;
    *n = strtoll(text, &end, 10);
    if (*text && !*end && !errno && *n >= least && *n <= most)
        return true;
    fprintf(stderr, "%s: error: --%s wants a whole number from %lld, got `%s`\n", a->program, name, (long long)least, text);
    return false;
}

static bool read_seed(const Asked *a, const char *text, uint64_t *seed)
{
    char *end;

    errno = 0;
    *seed = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && !errno)
        return true;
    fprintf(stderr, "%s: error: --seed wants a whole number from 0 to 2^64 - 1, got `%s`\n", a->program, text);
    return false;
}

enum { DATA = 256, EPOCHS, STEPS, SEED, INIT, SAVE, ORDER, LOG, LOG_STEPS, THREADS, DEVICE, QUIET, HELP };
static const struct option option[] = {
    { "data", 1, NULL, DATA },   { "epochs", 1, NULL, EPOCHS }, { "steps", 1, NULL, STEPS },
    { "seed", 1, NULL, SEED },   { "init", 1, NULL, INIT },     { "save", 1, NULL, SAVE },
    { "order", 1, NULL, ORDER }, { "log", 1, NULL, LOG },       { "log-steps", 1, NULL, LOG_STEPS },
    { "threads", 1, NULL, THREADS }, { "device", 1, NULL, DEVICE }, { "quiet", 0, NULL, QUIET }, { "help", 0, NULL, HELP }, { 0 },
};

static bool take_option(Asked *a, int which, const char *text)
{
    NndRunOptions *o = &a->run;
    int64_t n = 0;

    a->changed = a->changed || which == EPOCHS || which == STEPS || which == INIT || which == ORDER;
    switch (which) {
    case DATA:      a->data = text; return true;
    case INIT:      o->init = text; return true;
    case SAVE:      o->save = text; return true;
    case ORDER:     a->order = text; return true;
    case LOG:       o->log = text; return true;
    case LOG_STEPS: o->log_steps = text; return true;
    case EPOCHS:    return read_number(a, "epochs", text, 1, INT32_MAX, &o->epochs);
    case STEPS:     return read_number(a, "steps", text, 1, INT32_MAX, &o->steps);
    case SEED:      return read_seed(a, text, &o->seed);
    case THREADS:
        if (!read_number(a, "threads", text, 1, NND_MAX_THREADS, &n))
            return false;
        o->threads = (int)n;
        return true;
    case DEVICE:
        if (!read_number(a, "device", text, 0, NND_MAX_DEVICE, &n))
            return false;
        o->device = (int)n;
        return true;
    case QUIET:     o->quiet = true; return true;
    case HELP:      a->help = true; return true;
    }
    return false;                                     /* getopt_long has said what was wrong */
}

static bool read_options(Asked *a, int argc, char **argv)
{
    for (int c; (c = getopt_long(argc, argv, "", option, NULL)) >= 0;)
        if (!take_option(a, c, optarg))
            return false;
    if (optind < argc)
        fprintf(stderr, "%s: error: unexpected `%s`\n", a->program, argv[optind]);
    return optind == argc;
}

static void on_complaint(void *ctx, const NndError *err)
{
    const Asked *a = ctx;

    fprintf(stderr, "%s: error: %s\n", a->program, err->text);
}

static int train(Asked *a, const NndImage *im)
{
    NndArray order = { 0 };
    NndData data;
    NndError err;
    int rc;

    if ((rc = nnd_data_open(&data, im->field, im->nfield, a->data, ".", &err))) {
        on_complaint(a, &err);
        return rc;
    }
    if (!a->run.quiet)
        nnd_print_data(stderr, &data);
    if (a->order && (rc = nnd_order_open(&order, a->order, data.nrow[NND_SPLIT_TRAIN], &err)))
        on_complaint(a, &err);
    else
        rc = nnd_run_train(im, &data, a->order ? &order : NULL, &a->run);
    nnd_array_free(&order);
    nnd_data_close(&data);
    return rc;
}

int main(int argc, char **argv)
{
    const NndImage *im = nnd_program_image;
    struct sigaction once = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND };
    Asked a = { .program = argv[0], .run = { .seed = im->train->seed, .stop = &interrupted, .out = stdout, .talk = stderr,
                                             .complain = on_complaint, .ctx = &a } };
    int status;

    if (!read_options(&a, argc, argv))
        return nnd_exit_status(NND_E_ARG);
    if (a.help) {
        help(a.program, im);
        return 0;
    }
    a.run.judged = !a.changed;
    signal(SIGXFSZ, SIG_IGN);                /* a file that may not grow is a failed write, told like others */
    sigaction(SIGINT, &once, NULL);          /* a second Ctrl-C ends the program at once */
    status = nnd_exit_status(train(&a, im));
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "%s: error: cannot write the results: %s\n", a.program, strerror(errno));
        status = status ? status : nnd_exit_status(NND_E_FILE);
    }
    return status;
}
