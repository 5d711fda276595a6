/* nnd.c - the program: a command line in, an exit status out.
 *
 * Results go to stdout, conversation to stderr.  Everything below returns its failures; only here do they become
 * text and a status.
 */
#include "frontend/compile.h"
#include "frontend/options.h"
#include "runtime/nnd.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* What the shell is told. */
enum {
    EXIT_WELL = 0, EXIT_MODEL = 1, EXIT_USAGE = 2, EXIT_DATA = 3, EXIT_EXPECT = 4, EXIT_DIVERGED = 5,
    EXIT_DEVICE = 6, EXIT_OURS = 70, EXIT_INTERRUPTED = 130
};

enum { DUMP_BATCH = 64, OPT_LANES = 16, MAX_WANT = 8, MAX_NAMES = 64 };

/* The one mutable global of the project: set by Ctrl-C, asked for between batches. */
static volatile int interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

static int complain(const Options *o, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int complain(const Options *o, int status, const char *fmt, ...)
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

/* A fault of ours, with what is needed to look into it. */
static int complain_ours(const Options *o, const char *why)
{
    return complain(o, EXIT_OURS, "%s\nThis is a fault of nnd, not of %s; please report it with that file.", why, o->file);
}

/* The whole file, and its length; NULL after a complaint. */
static char *read_text(Options *o, size_t *len)
{
    size_t cap = 1 << 16;
    FILE  *f = strcmp(o->file, "-") == 0 ? stdin : fopen(o->file, "rb");
    char  *text = NULL;

    *len = 0;
    if (f) {
        text = arena_alloc(&o->mem, cap, 1);
        for (size_t got; (got = fread(text + *len, 1, cap - *len - 1, f)) > 0; ) {
            *len += got;
            if (*len == cap - 1) {
                char *more = arena_alloc(&o->mem, cap *= 2, 1);
                text = memcpy(more, text, *len);
            }
        }
    }
    if (!f || ferror(f)) {
        complain(o, EXIT_MODEL, "cannot read %s: %s", o->file, strerror(errno));
        text = NULL;
    }
    if (f && f != stdin)
        fclose(f);
    return text;
}

static int report(const Diag *d)
{
    fwrite(d->text ? d->text : "", 1, d->ntext, stderr);
    return d->nerror;
}

/* A model that has been checked, and what it is compiled for. */
typedef struct Job {
    Options       *o;
    FrontOptions   front;
    Model         *model;
    const Module  *checked;
    CompileOptions compile;
    bool           skip[NPASS];
    char           device[256];
} Job;

static int parse_skip(Job *j)
{
    const char *name = j->o->value[OPTION_skip].text;
    Pass        p;

    if (!name)
        return EXIT_WELL;
    if (!pass_parse(name, &p) || p != PASS_simplify)
        return complain(j->o, EXIT_USAGE, "--skip: only simplify can be left out, got `%s`", name);
    j->skip[p] = true;
    return EXIT_WELL;
}

static int find_target(Job *j)
{
    const char *name = j->o->value[OPTION_target].text, *known[MAX_NAMES];
    int         n = 0;

    for (; backend_list[n] && n < MAX_NAMES; n++)
        known[n] = backend_list[n]->name;
    name = name ? name : backend_cpu.name;
    if (!(j->compile.backend = backend_find(name)))
        return complain(j->o, EXIT_USAGE, "--target: unknown target `%s`%s", name,
                        options_suggest(j->o, name, "", known, n));
    return EXIT_WELL;
}

static int probe_target(Job *j)
{
    char why[256] = "";

    if (!j->compile.backend->probe(&j->compile.target, &j->compile.limits, j->device, sizeof j->device, why, sizeof why))
        return complain(j->o, EXIT_DEVICE, "%s: %s", j->compile.backend->name, why);
    return EXIT_WELL;
}

/* From the options to a checked model; a status. */
static int job_open(Job *j, Options *o)
{
    size_t len;
    char  *text;
    int    status;
    double start_ms, parsed_ms;

    *j = (Job){ .o = o, .compile = { .target = { .opt_level = 1 } } };
    j->front = (FrontOptions){ .define = o->define, .ndefine = o->ndefine };
    j->front.float64 = o->value[OPTION_float].given && strcmp(o->value[OPTION_float].text, "64") == 0;
    j->compile.skip = j->skip;
    if ((status = parse_skip(j)) || (status = find_target(j)))
        return status;
    /* looking for mistakes needs no device */
    if ((o->command != CMD_check || o->value[OPTION_verify].given) && (status = probe_target(j)))
        return status;
    if (!(text = read_text(o, &len)))
        return EXIT_MODEL;
    if (o->value[OPTION_time].given)
        j->compile.times = stderr;
    start_ms = compile_clock_ms();
    j->model = model_parse(o->file, text, len, &j->front);
    parsed_ms = compile_clock_ms();
    j->checked = model_check(j->model);
    compile_time(j->compile.times, "parse", parsed_ms - start_ms);
    compile_time(j->compile.times, "check", compile_clock_ms() - parsed_ms);
    return report(model_diag(j->model)) || !j->checked ? EXIT_MODEL : EXIT_WELL;
}

static void job_close(Job *j)
{
    if (j->model)
        model_free(j->model);
}

/* ---- train ---- */

/* A training run, in the order in which its parts come to be. */
typedef struct Run {
    Job        job;
    NndData    data;
    Compiled   code;
    NndSession session;
    NndError   err;
    bool       quiet, ran;
    NndEpoch   last;           /* if ran */
} Run;

static int status_of(int code)
{
    switch (code) {
    case NND_OK:         return EXIT_WELL;
    case NND_E_FILE:
    case NND_E_FORMAT:
    case NND_E_DATA:     return EXIT_DATA;
    case NND_E_ARG:      return EXIT_USAGE;
    case NND_E_DIVERGED: return EXIT_DIVERGED;
    case NND_E_STOPPED:  return EXIT_INTERRUPTED;
    case NND_E_MEMORY:
    case NND_E_DEVICE:   return EXIT_DEVICE;
    }
    return EXIT_OURS;
}

static int complain_runtime(const Run *r)
{
    return complain(r->job.o, status_of(r->err.code), "%s", r->err.text);
}

static void print_figures(const NndTrain *t, const double *figure)
{
    for (int i = 0; i < t->nmetric; i++)
        printf(i ? " %s=%.3f" : " %s=%.4f", t->metric[i], figure[i]);
}

static void print_epoch(const NndTrain *t, const NndEpoch *e)
{
    printf("epoch %lld:", (long long)e->epoch);
    print_figures(t, e->train);
    if (e->has_test) {
        printf("  test");
        print_figures(t, e->test);
    }
    printf("  %.2f s\n", e->seconds);
    fflush(stdout);
}

static void on_epoch(void *ctx, const NndEpoch *e)
{
    Run *r = ctx;

    r->last = *e;
    r->ran = true;
    if (!r->quiet)
        print_epoch(r->code.image->train, e);
}

/* The folder of the model's file, where its data may lie as well. */
static const char *model_folder(Options *o)
{
    const char *slash = strrchr(o->file, '/');

    return slash ? arena_strndup(&o->mem, o->file, (size_t)(slash - o->file + 1)) : ".";
}

static int open_data(Run *r)
{
    Options        *o = r->job.o;
    double          start = compile_clock_ms();
    int             nfield;
    const NndField *field = compile_fields(r->job.checked, &o->mem, &nfield);

    if (nnd_data_open(&r->data, field, nfield, o->value[OPTION_data].text, model_folder(o), &r->err))
        return complain_runtime(r);
    compile_time(r->job.compile.times, "data", compile_clock_ms() - start);
    if (!r->quiet)
        fprintf(stderr, "data: %s, %lld rows to train on, %lld to test\n", r->data.directory,
                (long long)r->data.nrow[NND_SPLIT_TRAIN], (long long)r->data.nrow[NND_SPLIT_TEST]);
    return EXIT_WELL;
}

static int64_t batch_of(const Run *r)
{
    const OptionValue *given = &r->job.o->value[OPTION_batch];

    return given->given ? given->count : r->job.checked->train.batch;
}

static int compile_run(Run *r)
{
    NndWant     needs[NND_MAX_WANT];
    EntryWant   want[NND_MAX_WANT];
    const char *why;
    int         n;

    if (nnd_entries_wanted(batch_of(r), r->data.nrow, needs, &n, &r->err))
        return complain_runtime(r);
    for (int i = 0; i < n; i++)
        want[i] = (EntryWant){ (EntryKind)needs[i].kind, needs[i].batch };
    why = compile_model(&r->code, r->job.model, n, want, &r->job.compile, &r->job.o->mem);
    return why ? complain_ours(r->job.o, why) : EXIT_WELL;
}

/* A run with other epochs, steps, batch or constants is not the one that the file makes promises about. */
static bool is_judged(const Options *o)
{
    return !o->value[OPTION_epochs].given && !o->value[OPTION_steps].given && !o->value[OPTION_batch].given &&
           !o->value[OPTION_define].given;
}

static int judge(const Run *r)
{
    const NndTrain *t = r->code.image->train;
    const Options  *o = r->job.o;
    bool            all_hold = true;

    for (int i = 0; i < t->nexpect && r->ran; i++) {
        const NndExpect *e = &t->expect[i];
        double           figure = (e->split == NND_SPLIT_TEST ? r->last.test : r->last.train)[e->metric];
        bool             holds = nnd_expect_holds(e, figure);

        all_hold = all_hold && holds;
        if (!r->quiet || (!holds && is_judged(o)))
            fprintf(stderr, "expect: %s: %s with %.6g%s\n", e->text, holds ? "holds" : "missed", figure,
                    is_judged(o) ? "" : " (not judged: the command line changed the run)");
    }
    return all_hold || !is_judged(o) ? EXIT_WELL : EXIT_EXPECT;
}

static int fit(Run *r)
{
    const Options   *o = r->job.o;
    struct sigaction once = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND };
    NndFit           f = { .batch = batch_of(r), .epochs = o->value[OPTION_epochs].count,
                           .max_steps = o->value[OPTION_steps].count,
                           .seed = o->value[OPTION_seed].given ? o->value[OPTION_seed].seed : r->job.checked->train.seed,
                           .on_epoch = on_epoch, .ctx = r, .stop = &interrupted };
    int64_t          rows = r->data.nrow[NND_SPLIT_TRAIN] > r->data.nrow[NND_SPLIT_TEST]
                          ? r->data.nrow[NND_SPLIT_TRAIN] : r->data.nrow[NND_SPLIT_TEST];
    int              failed;

    if (nnd_session_open(&r->session, r->code.image, rows, &r->err) || nnd_session_init(&r->session, f.seed, &r->err))
        return complain_runtime(r);
    sigaction(SIGINT, &once, NULL);          /* a second Ctrl-C ends the program at once */
    failed = nnd_fit(&r->session, &r->data, &f, &r->err);
    if (r->quiet && r->ran)
        print_epoch(r->code.image->train, &r->last);
    return failed ? complain_runtime(r) : judge(r);
}

static int train(Run *r)
{
    Options *o = r->job.o;
    int      status;

    if (!r->job.checked->train.present)
        return complain(o, EXIT_MODEL, "%s has no train block", o->file);
    if (!r->quiet)
        fprintf(stderr, "device: %s, %s\n", r->job.compile.backend->name, r->job.device);
    if ((status = open_data(r)) || (status = compile_run(r)))
        return status;
    return fit(r);
}

static int cmd_train(Options *o)
{
    Run r = { .quiet = o->value[OPTION_quiet].given };
    int status = job_open(&r.job, o);

    if (!status)
        status = train(&r);
    nnd_session_close(&r.session);
    compiled_free(&r.code);
    nnd_data_close(&r.data);
    job_close(&r.job);
    return status;
}

/* ---- check, dump ---- */

/* The entries that a model has, those with rows at each of the batch sizes. */
static int all_entries(const Job *j, int nbatch, const int64_t *batch, EntryWant *want)
{
    int n = 0;

    want[n++] = (EntryWant){ ENTRY_INIT, 0 };
    for (int i = 0; i < nbatch; i++) {
        if (j->checked->train.present) {
            want[n++] = (EntryWant){ ENTRY_TRAIN, batch[i] };
            want[n++] = (EntryWant){ ENTRY_EVAL, batch[i] };
        }
        want[n++] = (EntryWant){ ENTRY_INFER, batch[i] };
    }
    return n;
}

static int cmd_check(Options *o)
{
    static const int64_t batch[] = { 1, 19 };       /* one row, and more than a vector holds with some left over */
    EntryWant            want[MAX_WANT];
    Job                  j;
    int                  status = job_open(&j, o);

    if (!status && o->value[OPTION_verify].given) {
        const char *why = compile_verify(j.model, all_entries(&j, 2, batch, want), want, &j.compile, &o->mem);

        status = why ? complain_ours(o, why) : EXIT_WELL;
    }
    job_close(&j);
    return status;
}

static int dump_stage(Options *o, StageWant *s)
{
    const char *name = o->value[OPTION_after].text ? o->value[OPTION_after].text : "build", *known[MAX_NAMES];

    if (stage_parse(name, s))
        return EXIT_WELL;
    return complain(o, EXIT_USAGE, "--after: unknown stage `%s`%s", name,
                    options_suggest(o, name, "", known, stage_names(known, MAX_NAMES)));
}

/* What --entry leaves of the model's entries, at --batch, the model's batch, or one of its own. */
static int dump_entries(const Job *j, EntryWant *want)
{
    const Options   *o = j->o;
    const TrainInfo *train = &j->checked->train;
    const char      *only = o->value[OPTION_entry].text;
    int64_t          batch = o->value[OPTION_batch].given ? o->value[OPTION_batch].count
                           : train->present && train->batch ? train->batch : DUMP_BATCH;
    int              all = all_entries(j, 1, &batch, want), n = 0;

    for (int i = 0; i < all; i++)
        if (!only || strcmp(entry_name[want[i].entry], only) == 0)
            want[n++] = want[i];
    return n;
}

static int cmd_dump(Options *o)
{
    EntryWant   want[MAX_WANT];
    StageWant   s;
    Job         j;
    int         status, n;
    const char *why;

    if ((status = dump_stage(o, &s)))
        return status;
    if (!(status = job_open(&j, o))) {
        if ((s.stage == STAGE_LLVM || s.stage == STAGE_ASM) && !j.compile.backend->needs_plan)
            status = complain(o, EXIT_USAGE, "--after: the target %s makes no code", j.compile.backend->name);
        else if ((n = dump_entries(&j, want)) == 0)
            status = complain(o, EXIT_MODEL, "%s has no entry %s", o->file, o->value[OPTION_entry].text);
        else if ((why = compile_dump(stdout, j.model, n, want, s, &j.compile, &o->mem)))
            status = complain_ours(o, why);
    }
    job_close(&j);
    return status;
}

/* ---- opt ---- */

/* The passes named in --run, marked; they run in the order of the table, so they must be named in it. */
static int parse_run(Options *o, bool only[NPASS])
{
    const char *names[NPASS];
    int         before = -1;
    char       *list = arena_strdup(&o->mem, o->value[OPTION_run].given ? o->value[OPTION_run].text : ""), *save = NULL;
    Pass        p;

    for (int i = 0; i < NPASS; i++)
        names[i] = pass_info[i].name;
    for (char *name = strtok_r(list, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        if (!pass_parse(name, &p))
            return complain(o, EXIT_USAGE, "--run: unknown pass `%s`%s", name,
                            options_suggest(o, name, "", names, NPASS));
        if ((int)p <= before)
            return complain(o, EXIT_USAGE, "--run: %s runs before %s", name, names[before]);
        only[before = (int)p] = true;
    }
    return EXIT_WELL;
}

static int run_opt(Options *o, Module *m, const bool only[NPASS])
{
    const char *lanes = o->value[OPTION_lanes].text, *why;

    if (report(&m->diag))
        return EXIT_MODEL;
    if ((why = compile_verify_module(m, only)))
        return complain(o, EXIT_MODEL, "%s: %s", o->file, why);
    if ((why = compile_opt(m, only, lanes ? atoi(lanes) : OPT_LANES)))
        return complain_ours(o, why);
    module_print(stdout, m);
    return EXIT_WELL;
}

static int cmd_opt(Options *o)
{
    bool    only[NPASS] = { false };
    size_t  len;
    int     status = parse_run(o, only);
    char   *text;
    Module *m;

    if (status)
        return status;
    if (!(text = read_text(o, &len)))
        return EXIT_MODEL;
    m = module_read(o->file, text, len);
    status = run_opt(o, m, only);
    module_free(m);
    return status;
}

/* ---- the rest ---- */

static int cmd_version(Options *o)
{
    (void)o;
    puts("nnd " NND_VERSION);
    return EXIT_WELL;
}

static int run(Options *o)
{
    switch (o->command) {
    case CMD_train:   return cmd_train(o);
    case CMD_check:   return cmd_check(o);
    case CMD_dump:    return cmd_dump(o);
    case CMD_opt:     return cmd_opt(o);
    case CMD_ops:     return list_ops(stdout), EXIT_WELL;
    case CMD_rules:   return list_rules(stdout), EXIT_WELL;
    case CMD_passes:  return list_passes(stdout), EXIT_WELL;
    case CMD_targets: return list_targets(stdout), EXIT_WELL;
    case CMD_version: return cmd_version(o);
    case CMD_help:    /* options_parse answers it */
    case NCOMMAND:    break;
    }
    return EXIT_OURS;
}

/* What was printed must have arrived: a full disk is not a success. */
static int flush_results(const Options *o, int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    return complain(o, status ? status : EXIT_DATA, "cannot write the results: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    Options o;
    int     status = EXIT_WELL;

    switch (options_parse(&o, argc, argv)) {
    case OPTIONS_RUN:   status = run(&o); break;
    case OPTIONS_HELP:  options_help(stdout, o.command); break;
    case OPTIONS_WRONG: status = complain(&o, EXIT_USAGE, "%s", o.error); break;
    }
    status = flush_results(&o, status);
    options_free(&o);
    return status;
}
