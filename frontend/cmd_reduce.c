/* cmd_reduce.c - nnd reduce: a module's text, shrunk for as long as a command fails on it. */
#include "frontend/nnd.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The command, and the file that candidates are written to, one after the other. */
typedef struct While {
    Options    *o;
    const char *line;          /* what the shell is given */
    const char *path;
    char       *error;         /* why asking itself failed */
} While;

static bool write_candidate(While *w, const Module *m)
{
    FILE *f = fopen(w->path, "w");
    bool  ok = f != NULL;

    if (f) {
        module_print(f, m);
        ok = !ferror(f);
        ok = fclose(f) == 0 && ok;
    }
    if (!ok && !w->error)
        w->error = arena_printf(&w->o->mem, "cannot write %s: %s", w->path, strerror(errno));
    return ok;
}

/* A command that can't be found fails on everything, and would shrink a module to nothing. */
static bool command_fails(Module *m, void *ctx)
{
    While *w = ctx;
    int    status;

    if (w->error || !write_candidate(w, m))
        return false;
    status = system(w->line);
    if (status < 0)
        w->error = arena_printf(&w->o->mem, "cannot run a shell: %s", strerror(errno));
    else if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGQUIT))
        w->error = "interrupted";
    else if (WIFEXITED(status) && (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127))
        w->error = arena_printf(&w->o->mem, "the shell can't run `%s`", w->o->value[OPTION_while].text);
    return status != 0 && !w->error;
}

static int write_result(Options *o, const Module *m)
{
    const char *path = o->value[OPTION_output].text;
    FILE       *f = path ? fopen(path, "w") : stdout;
    bool        ok = f != NULL;

    if (f) {
        module_print(f, m);
        ok = !ferror(f);
        ok = (f == stdout || fclose(f) == 0) && ok;
    }
    return ok ? EXIT_WELL : complain(o, EXIT_DATA, "cannot write %s: %s", path ? path : "the result", strerror(errno));
}

static const char *verify_graphs(Module *m)
{
    const char *why = NULL;

    for (int i = 0; i < m->ngraph && !why; i++)
        why = graph_verify(m->graph[i]);
    return why || !m->update ? why : graph_verify(m->update);
}

static int reduce(Options *o, Module **m, While *w)
{
    Reduction   r;
    const char *why = verify_graphs(*m);

    if (why)
        return complain(o, EXIT_MODEL, "%s: %s", o->file, why);
    why = reduce_module(m, command_fails, w, 0, &r);
    if (w->error)
        return complain(o, EXIT_DATA, "%s", w->error);
    if (why)
        return complain(o, EXIT_MODEL, "%s: `%s` succeeds on it", o->file, o->value[OPTION_while].text);
    fprintf(stderr, "%d candidates, %d of them smaller and still failing\n", r.tried, r.kept);
    return write_result(o, *m);
}

/* The file's name ends in .ir, as commands may want it. */
static int reduce_in_folder(Options *o, Module **m)
{
    char  folder[] = "/tmp/nnd-reduce-XXXXXX";
    While w = { .o = o };
    int   status;

    if (!mkdtemp(folder))
        return complain(o, EXIT_DATA, "cannot make a folder in /tmp: %s", strerror(errno));
    w.path = arena_printf(&o->mem, "%s/candidate.ir", folder);
    w.line = arena_printf(&o->mem, "%s %s", o->value[OPTION_while].text, w.path);
    status = reduce(o, m, &w);
    unlink(w.path);
    rmdir(folder);
    return status;
}

int cmd_reduce(Options *o)
{
    size_t  len;
    char   *text;
    Module *m;
    int     status;

    if (!o->value[OPTION_while].given)
        return complain(o, EXIT_USAGE, "wants --while 'COMMAND': what fails on the module,"
                        " given a file as its last argument");
    if (!(text = read_text(o, &len)))
        return EXIT_MODEL;
    m = module_read(o->file, text, len);
    status = report(&m->diag) ? EXIT_MODEL : reduce_in_folder(o, &m);
    module_free(m);
    return status;
}
