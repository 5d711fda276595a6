/* job.c - what every command does first: its text read, checked, and a target found for it. */
#include "frontend/nnd.h"

#include <errno.h>
#include <string.h>

int complain(const Options *o, int status, const char *fmt, ...)
{
    const char *command = command_name(o->command);
    va_list     ap;

    fprintf(stderr, "nnd%s%s: error: ", command ? " " : "", command ? command : "");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return status;
}

int complain_runtime(const Options *o, const NndError *err)
{
    return complain(o, nnd_exit_status(err->code), "%s", err->text);
}

/* A fault of ours, with what is needed to look into it. */
int complain_ours(const Options *o, const char *why)
{
    return complain(o, EXIT_OURS, "%s\nThis is a fault of nnd, not of %s; please report it with that file.", why, o->file);
}

/* A file whole, in mem; NULL with errno set. */
static char *file_text(Arena *mem, const char *path, size_t *len)
{
    size_t cap = 1 << 16;
    FILE  *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char  *text = NULL;
    int    failed;

    *len = 0;
    if (!f)
        return NULL;
    text = arena_alloc(mem, cap, 1);
    for (size_t got; (got = fread(text + *len, 1, cap - *len - 1, f)) > 0; ) {
        *len += got;
        if (*len == cap - 1) {
            char *more = arena_alloc(mem, cap *= 2, 1);
            text = memcpy(more, text, *len);
        }
    }
    failed = ferror(f) ? errno : 0;
    if (f != stdin)
        fclose(f);
    errno = failed;
    return failed ? NULL : text;
}

char *read_text(Options *o, size_t *len)
{
    char *text = file_text(&o->mem, o->file, len);

    if (!text)
        complain(o, EXIT_MODEL, "cannot read %s: %s", o->file, strerror(errno));
    return text;
}

int report(const Diag *d)
{
    fwrite(d->text ? d->text : "", 1, d->ntext, stderr);
    return d->nerror;
}

static int parse_skip(Job *j)
{
    const char *why = pass_parse_skip(j->o->value[OPTION_skip].text, j->skip, &j->o->mem);

    return why ? complain(j->o, EXIT_USAGE, "--skip: %s", why) : EXIT_WELL;
}

/* An imported file, for the frontend. */
static const char *open_import(void *ctx, Arena *mem, const char *path, size_t *len, const char **why)
{
    char *text = file_text(mem, path, len);

    (void)ctx;
    if (!text)
        *why = strerror(errno);
    return text;
}

/* From the options to a checked model; a status. */
int job_open(Job *j, Options *o)
{
    size_t len;
    char  *text;
    int    status;
    double start_ms, parsed_ms;

    *j = (Job){ .o = o, .begun_ms = compile_clock_ms(), .compile = { .target = { .opt_level = 1, .cpu = o->value[OPTION_cpu].text }, .rule_limit = -1 } };
    if (o->value[OPTION_optimise].given)
        j->compile.target.opt_level = *o->value[OPTION_optimise].text - '0';
    if (o->value[OPTION_rule_limit].given)
        j->compile.rule_limit = o->value[OPTION_rule_limit].seed > INT32_MAX ? -1 : (int64_t)o->value[OPTION_rule_limit].seed;
    j->front = (FrontOptions){ .define = o->define, .ndefine = o->ndefine, .open = open_import,
                               .values = o->command == CMD_run };
    j->front.float64 = o->value[OPTION_float].given && strcmp(o->value[OPTION_float].text, "64") == 0;
    j->compile.skip = j->skip;
    if ((status = parse_skip(j)))
        return status;
    /* looking for mistakes needs no device */
    j->compile.backend = &backend_cpu;
    if ((o->command != CMD_check || o->value[OPTION_verify].given) && ((status = target_open(j)) || (status = blas_open(j))))
        return status;
    if (j->compile.backend == &backend_cpu && j->compile.target.opt_level == 0)
        j->compile.plain_flops = PLAIN_FLOPS;
    if (!(text = read_text(o, &len)))
        return EXIT_MODEL;
    if (o->value[OPTION_time].given)
        j->compile.times = j->compile.target.times = stderr;
    start_ms = compile_clock_ms();
    j->model = model_parse(o->file, text, len, &j->front);
    parsed_ms = compile_clock_ms();
    j->checked = model_check(j->model);
    compile_time(j->compile.times, "parse", parsed_ms - start_ms);
    compile_time(j->compile.times, "check", compile_clock_ms() - parsed_ms);
    return report(model_diag(j->model)) || !j->checked ? EXIT_MODEL : EXIT_WELL;
}

void job_close(Job *j)
{
    blas_close(j);
    if (j->model)
        model_free(j->model);
}


int all_entries(const Job *j, int nbatch, const int64_t *batch, EntryWant *want)
{
    int n = 0;

    want[n++] = (EntryWant){ ENTRY_INIT, 0 };
    if (model_has_values(j->model)) {
        want[n++] = (EntryWant){ ENTRY_INFER, 1 };
        return n;
    }
    for (int i = 0; i < nbatch; i++) {
        if (j->checked->train.present) {
            want[n++] = (EntryWant){ ENTRY_TRAIN, batch[i] };
            want[n++] = (EntryWant){ ENTRY_EVAL, batch[i] };
        }
        want[n++] = (EntryWant){ ENTRY_INFER, batch[i] };
    }
    return n;
}

const char *model_folder(Options *o)
{
    const char *slash = strrchr(o->file, '/');

    return slash ? arena_strndup(&o->mem, o->file, (size_t)(slash - o->file + 1)) : ".";
}

/* ---- what several commands do next ---- */

int open_data(Job *j, NndData *data, bool quiet)
{
    Options        *o = j->o;
    double          start = compile_clock_ms();
    int             nfield;
    const NndField *field = compile_fields(j->checked, &o->mem, &nfield);
    NndError        err;

    if (!nfield)
        return complain(o, EXIT_MODEL, "%s has no train block, so it reads no data", o->file);
    if (nnd_data_open(data, field, nfield, o->value[OPTION_data].text, model_folder(o), &err))
        return complain_runtime(o, &err);
    compile_time(j->compile.times, "data", compile_clock_ms() - start);
    if (!quiet)
        nnd_print_data(stderr, data);
    return EXIT_WELL;
}

int compile_wanted(Job *j, Compiled *code, const NndWant *needs, int n)
{
    EntryWant   want[NND_MAX_WANT];
    const char *why;

    for (int i = 0; i < n; i++)
        want[i] = (EntryWant){ (EntryKind)needs[i].kind, needs[i].batch };
    why = compile_model(code, j->model, n, want, &j->compile, &j->o->mem);
    return why ? complain_ours(j->o, why) : EXIT_WELL;
}

int open_session(Job *j, NndSession *s, const NndImage *im, int64_t max_rows)
{
    NndError err;

    if (nnd_session_open_on(s, im, j->compile.gpu, max_rows, &err))
        return complain_runtime(j->o, &err);
    return EXIT_WELL;
}

int open_weights(Job *j, NndSession *s, const NndImage *im, int64_t max_rows)
{
    const OptionValue *weights = &j->o->value[OPTION_weights];
    NndError           err;
    int                status;

    if (!weights->given)
        return complain(j->o, EXIT_USAGE, "wants --weights FILE, as nnd train --save writes it");
    if ((status = open_session(j, s, im, max_rows)))
        return status;
    if (nnd_session_init(s, 0, &err) || nnd_weights_load(s, weights->text, &err))
        return complain_runtime(j->o, &err);
    return EXIT_WELL;
}

int open_pool(Job *j, NndPool **pool)
{
    const OptionValue *given = &j->o->value[OPTION_threads];
    int                threads = j->compile.gpu != NO_GPU ? 1 : given->given ? (int)given->count : nnd_threads_here();
    NndError           err;

    *pool = NULL;
    if (threads > 1 && !(*pool = nnd_pool_open(threads, &err)))
        return complain_runtime(j->o, &err);
    return EXIT_WELL;
}
