/* program_predict.c - the main of a program that predicts: a compiled model, its weights, and this folder. */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/nnd.h"

extern const NndImage *const nnd_program_image;      /* in the model's object */

typedef struct Asked { const char *program, *input, *output; int threads, device; bool help; } Asked;

static int64_t scratch_bytes(const NndImage *im)
{
    int64_t most = 0;

    for (int i = 0; i < im->nentry; i++)
        most = im->entry[i].scratch_bytes > most ? im->entry[i].scratch_bytes : most;
    return most;
}

static void help(const char *program, const NndImage *im)
{
    char text[256];

    printf("%s predicts with the model %s, whose weights it holds.\n\n  %s --input X.npy --output Y.npy\n\n", program,
           im->model, program);
    for (int i = 0; i < im->ninput; i++)
        printf("  --input    %s: %s\n", im->input[i].name, nnd_field_text(text, sizeof text, &im->input[i], "n"));
    for (int i = 0; i < im->noutput; i++)
        printf("  --output   %s: %s\n", im->output[i].name, nnd_field_text(text, sizeof text, &im->output[i], "n"));
    printf("             several files are joined by commas\n"
           "%s\n"
           "memory: %lld bytes of state, %lld of scratch, beside the rows\n",
           im->gpu ? "  --device   number of the GPU (otherwise 0)\n"
                   : "  --threads  processors to use (otherwise all); results don't depend on it\n", (long long)im->state_bytes,
           (long long)scratch_bytes(im));
}

/* A number from least to most; false after a complaint. */
static bool read_number(const char *program, const char *name, const char *text, int least, int most, int *number)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (*text && !*end && n >= least && n <= most) {
        *number = (int)n;
        return true;
    }
    fprintf(stderr, "%s: error: --%s wants a whole number from %d to %d, got `%s`\n", program, name, least, most, text);
    return false;
}

static bool read_options(Asked *a, int argc, char **argv)
{
    static const struct option option[] = { { "input", 1, NULL, 'i' }, { "output", 1, NULL, 'o' },
                                            { "threads", 1, NULL, 't' }, { "device", 1, NULL, 'd' }, { "help", 0, NULL, 'h' }, { 0 } };

    for (int c; (c = getopt_long(argc, argv, "i:o:h", option, NULL)) >= 0;) {
        if (c == 'i')
            a->input = optarg;
        else if (c == 'o')
            a->output = optarg;
        else if (c == 'h')
            a->help = true;
        else if (!(c == 't' && read_number(a->program, "threads", optarg, 1, NND_MAX_THREADS, &a->threads))
                 && !(c == 'd' && read_number(a->program, "device", optarg, 0, NND_MAX_DEVICE, &a->device)))
            return false;
    }
    if (optind < argc)
        fprintf(stderr, "%s: error: unexpected `%s`\n", a->program, argv[optind]);
    else if (!a->help && (!a->input || !a->output))
        fprintf(stderr, "%s: error: wants --input X.npy --output Y.npy; --help tells their shapes\n", a->program);
    return optind == argc && (a->help || (a->input && a->output));
}

static int predict(const Asked *a, const NndImage *im, NndError *err)
{
    int threads = im->gpu ? 1 : a->threads ? a->threads : nnd_threads_here(), rc;
    NndPool *pool = NULL;
    NndSession s;

    if ((rc = nnd_session_open_on(&s, im, a->device, 0, err)))
        return rc;
    if (threads > 1 && !(pool = nnd_pool_open(threads, err))) {
        rc = err->code;
    } else {
        s.par = nnd_pool_par(pool);
        rc = nnd_predict_files(&s, a->input, a->output, err);
    }
    nnd_pool_close(pool);
    nnd_session_close(&s);
    return rc;
}

int main(int argc, char **argv)
{
    const NndImage *im = nnd_program_image;
    Asked a = { .program = argv[0] };
    NndError err;

    if (!read_options(&a, argc, argv))
        return nnd_exit_status(NND_E_ARG);
    if (a.help) {
        help(a.program, im);
        return 0;
    }
    signal(SIGXFSZ, SIG_IGN);      /* a file that may not grow is a failed write, told like others */
    if (!predict(&a, im, &err))
        return 0;
    fprintf(stderr, "%s: error: %s\n", a.program, err.text);
    return nnd_exit_status(err.code);
}
