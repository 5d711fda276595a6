/* cmd_compile.c - nnd compile: a model as a program, or in the parts of one.
 *
 * A program is the model's object, one of two mains of runtime/ and the rest of that folder; the C compiler driver
 * links it.  LLVM stays here.
 */
#include "frontend/nnd.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef enum Product { MAKE_EXE, MAKE_OBJ, MAKE_ASM, MAKE_LLVM, MAKE_PTX, MAKE_HEADER } Product;
static const char *const product_name[] = { "exe", "obj", "asm", "llvm", "ptx", "header" };
static const char *const product_ending[] = { "", ".o", ".s", ".ll", ".ptx", ".h" };

typedef struct Make {
    Job         job;
    Product     product;
    bool        trains;           /* a program that trains, else one that predicts */
    const char *path;             /* where the product goes */
    EntryWant   want[NND_MAX_WANT];
    int         nwant;
    Compiled    init;             /* to fill the state that the weights are loaded into */
    NndSession  session;
    const void *weights;
    NndError    err;
} Make;

/* ---- what is asked ---- */

static Product product_of(const Options *o)
{
    for (int i = 0; i < (int)(sizeof product_name / sizeof *product_name); i++)
        if (o->value[OPTION_emit].given && strcmp(o->value[OPTION_emit].text, product_name[i]) == 0)
            return (Product)i;
    return MAKE_EXE;
}

static bool is_for_gpu(const Make *k) { return k->job.compile.backend == &backend_nvptx; }

static int check_options(Make *k)
{
    Options    *o = k->job.o;
    const char *entry = o->value[OPTION_entry].given ? o->value[OPTION_entry].text : "infer";

    k->product = product_of(o);
    k->trains = strcmp(entry, "train") == 0;
    if (!k->trains && strcmp(entry, "infer"))
        return complain(o, EXIT_USAGE, "--entry: a program trains or infers, it has no use for %s alone", entry);
    if (k->trains && o->value[OPTION_weights].given)
        return complain(o, EXIT_USAGE, "--weights goes into programs that predict; one that trains takes --init when it runs");
    if (!k->trains && k->product == MAKE_EXE && !o->value[OPTION_weights].given)
        return complain(o, EXIT_USAGE, "a program that predicts wants --weights FILE, as nnd train --save writes it");
    if (k->trains && !k->job.checked->train.present)
        return complain(o, EXIT_MODEL, "%s has no train block", o->file);
    if (model_has_values(k->job.model))
        return complain(o, EXIT_MODEL, "%s has values of its own and no model: nnd run evaluates it", o->file);
    if (!k->job.compile.backend->needs_plan)
        return complain(o, EXIT_USAGE, "the target %s makes no code", k->job.compile.backend->name);
    if (k->product == MAKE_PTX && !is_for_gpu(k))
        return complain(o, EXIT_USAGE, "--emit ptx: the target %s makes none, --target cuda does", k->job.compile.backend->name);
    if (k->product == MAKE_HEADER && is_for_gpu(k))
        return complain(o, EXIT_USAGE, "--emit header: what runs on a GPU is called through the runtime, not through a header of its own");
    k->path = o->value[OPTION_output].given ? o->value[OPTION_output].text
            : arena_printf(&o->mem, "%s%s", k->job.checked->name, product_ending[k->product]);
    return EXIT_WELL;
}

/* The entries that training on this data set calls. */
static int want_train(Make *k)
{
    Options        *o = k->job.o;
    int             nfield, n;
    const NndField *field = compile_fields(k->job.checked, &o->mem, &nfield);
    int64_t         nrow[NND_NSPLIT], batch;
    NndWant         want[NND_MAX_WANT];

    batch = o->value[OPTION_batch].given ? o->value[OPTION_batch].count : k->job.checked->train.batch;
    if (nnd_data_rows(field, nfield, o->value[OPTION_data].text, model_folder(o), nrow, &k->err) ||
        nnd_entries_wanted(batch, nrow, want, &n, &k->err))
        return complain_runtime(o, &k->err);
    for (int i = 0; i < n; i++)
        k->want[k->nwant++] = (EntryWant){ (EntryKind)want[i].kind, want[i].batch };
    return EXIT_WELL;
}

/* Rows in batches, and the rest one by one. */
static int want_infer(Make *k)
{
    const OptionValue *batch = &k->job.o->value[OPTION_batch];

    k->want[k->nwant++] = (EntryWant){ ENTRY_INFER, batch->given ? batch->count : PREDICT_BATCH };
    if (k->want[0].batch > 1)
        k->want[k->nwant++] = (EntryWant){ ENTRY_INFER, 1 };
    return EXIT_WELL;
}

/* The state with the weights in it, which the image begins with.  It lies alike on every target, and is made on this one. */
static int read_weights(Make *k)
{
    NndWant init = { NND_INIT, 0 };
    Job     here = k->job;
    int     status;

    if (!k->job.o->value[OPTION_weights].given)
        return EXIT_WELL;
    if ((status = target_here(&here)) || (status = compile_wanted(&here, &k->init, &init, 1)) ||
        (status = open_weights(&here, &k->session, k->init.image, 0)))
        return status;
    k->weights = k->session.state;
    return EXIT_WELL;
}

/* ---- writing ---- */

static int write_failed(Make *k, const char *path)
{
    return complain(k->job.o, EXIT_DATA, "%s: cannot be written: %s", path, strerror(errno));
}

/* The product's text or object at path, whole or not at all. */
static int write_part(Make *k, const char *path)
{
    static const EmitKind kind[] = { EMIT_OBJ, EMIT_OBJ, EMIT_ASM, EMIT_LLVM, EMIT_PTX };
    CompileOptions        c = k->job.compile;
    NndOut                out;
    const char           *why;

    c.target.with_image = true;
    c.target.as_program = k->product == MAKE_EXE;
    c.target.weights = k->weights;
    if (nnd_out_open(&out, path, &k->err))
        return complain_runtime(k->job.o, &k->err);
    if (k->product == MAKE_HEADER)
        why = compile_header(out.f, k->job.model, k->nwant, k->want, &c, &k->job.o->mem);
    else
        why = compile_emit(out.f, k->job.model, k->nwant, k->want, kind[k->product], &c, &k->job.o->mem);
    if (why) {
        int failed = ferror(out.f);

        nnd_out_drop(&out);
        return failed ? write_failed(k, path) : complain_ours(k->job.o, why);
    }
    return nnd_out_close(&out, &k->err) ? complain_runtime(k->job.o, &k->err) : EXIT_WELL;
}

/* ---- linking ---- */

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Where the runtime's archives are: beside this program as it was built, or as it is installed. */
static const char *runtime_folder(Options *o)
{
    static const char *const place[] = { "runtime", "../lib/nnd" };
    char                     self[4096];
    ssize_t                  n = readlink("/proc/self/exe", self, sizeof self - 1);
    const char              *slash;

    if (n < 0)
        return NULL;
    self[n] = 0;
    slash = strrchr(self, '/');
    for (int i = 0; slash && i < 2; i++) {
        const char *dir = arena_printf(&o->mem, "%.*s/%s", (int)(slash - self), self, place[i]);

        if (is_file(arena_printf(&o->mem, "%s/libruntime.a", dir)))
            return dir;
    }
    return NULL;
}

static int run_linker(Make *k, char *const *argv)
{
    pid_t pid;
    int   status, failed = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

    if (failed)
        return complain(k->job.o, EXIT_DEVICE, "cannot run %s to link the program: %s", argv[0], strerror(failed));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return complain(k->job.o, EXIT_OURS, "lost %s: %s", argv[0], strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return EXIT_WELL;
    return complain(k->job.o, EXIT_DEVICE, "%s could not link the program", argv[0]);
}

/* $CC or cc, the object, the main and the runtime; libraries that no one needs are left out. */
static int link_program(Make *k, const char *object, const char *program)
{
    Options    *o = k->job.o;
    const char *dir = runtime_folder(o), *cc = getenv("CC");
    char       *libraries = arena_strdup(&o->mem, NND_RUNTIME_LIBRARIES), *save = NULL, **argv = NULL;
    int         n = 0, cap = 0;

    if (!dir)
        return complain(o, EXIT_DEVICE, "the runtime's libraries lie neither beside this program nor in ../lib/nnd");
    const char *first[] = { cc && *cc ? cc : "cc", "-o", program, object,
                            arena_printf(&o->mem, "%s/lib%s.a", dir, k->trains ? "program_train" : "program_predict"),
                            arena_printf(&o->mem, "%s/libruntime.a", dir), "-Wl,--gc-sections", "-Wl,--as-needed" };

    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        arena_push(&o->mem, argv, n, cap);
        argv[n++] = arena_strdup(&o->mem, first[i]);
    }
    for (char *at = strtok_r(libraries, " ", &save); at; at = strtok_r(NULL, " ", &save)) {
        arena_push(&o->mem, argv, n, cap);
        argv[n++] = at;
    }
    arena_push(&o->mem, argv, n, cap);
    argv[n] = NULL;
    return run_linker(k, argv);
}

/* Both are made beside the program, so that an old one stays until the new one is whole. */
static int write_program(Make *k)
{
    Options    *o = k->job.o;
    const char *object = arena_printf(&o->mem, "%s.%ld.o", k->path, (long)getpid());
    const char *program = arena_printf(&o->mem, "%s.%ld", k->path, (long)getpid());
    int         status = write_part(k, object);

    if (!status)
        status = link_program(k, object, program);
    if (!status && rename(program, k->path))
        status = write_failed(k, k->path);
    unlink(object);
    if (status)
        unlink(program);
    return status;
}

/* ---- the command ---- */

static int make(Make *k)
{
    int status = check_options(k);

    if (status || (status = k->trains ? want_train(k) : want_infer(k)) || (status = read_weights(k)))
        return status;
    status = k->product == MAKE_EXE ? write_program(k) : write_part(k, k->path);
    if (!status)
        fprintf(stderr, "saved: %s\n", k->path);
    return status;
}

int cmd_compile(Options *o)
{
    Make k = { 0 };
    int status = job_open(&k.job, o);

    if (!status)
        status = make(&k);
    nnd_session_close(&k.session);
    compiled_free(&k.init);
    job_close(&k.job);
    return status;
}
