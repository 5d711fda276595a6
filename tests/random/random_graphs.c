/* random_graphs.c - graphs at random, as many as one likes, until the oracle, the walker and the cpu differ.
 *
 * Work is done in children, a few blocks of graphs each, so an assertion or a signal is a failure like any other.
 * A failing child's graphs are run again one at a time; the one that fails is printed, written to a file, and
 * shrunk if asked for.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "passes/reduce.h"
#include "tests/random/random_graph.h"

enum { BLOCKS = 16, MAX_TEXT = 1 << 20 };              /* blocks a child; bytes of a file */

typedef struct Command {
    const char *program, *file;
    uint64_t    first, count;
    bool        float64, reduce, verbose, only_walk, quiet;
} Command;

static Module *random_module(const Command *c, uint64_t first, uint64_t count)
{
    Module *m = module_new();

    m->float64 = c->float64;
    for (uint64_t i = 0; i < count; i++)
        random_graph(m, first + i, (int)i);
    return m;
}

static RandomMode mode_of(const Command *c, uint64_t number)
{
    RandomMode mode = random_mode(number);

    mode.only_walk = c->only_walk;
    return mode;
}

/* One module of neighbours that share a mode; does it agree? */
static bool check_block(const Command *c, uint64_t first, uint64_t count)
{
    Module     *m = random_module(c, first, count);
    Arena       mem = { 0 };
    const char *why = random_check(m, mode_of(c, first), &mem);

    if (why && !c->quiet)
        fprintf(stderr, "graphs from %" PRIu64 " on: %s\n", first, why);
    module_free(m);
    arena_free(&mem);
    return !why;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static bool check_range(const Command *c, uint64_t first, uint64_t count)
{
    for (uint64_t i = first, n; i < first + count; i += n) {
        n = least(RANDOM_BLOCK - i % RANDOM_BLOCK, first + count - i);
        if (!check_block(c, i, n))
            return false;
    }
    return true;
}

/* ---- children ---- */

static bool child_agrees(pid_t pid, const char **signal)
{
    int status = 0;

    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        perror("fork");
        exit(2);
    }
    *signal = WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : NULL;
    return status == 0;
}

/* Messages of a quiet child are not seen. */
static bool check_in_child(const Command *c, uint64_t first, uint64_t count, const char **signal)
{
    pid_t pid = fork();

    if (pid == 0) {
        if (c->quiet && !freopen("/dev/null", "w", stderr))
            _exit(2);
        _exit(!check_range(c, first, count));
    }
    return child_agrees(pid, signal);
}

typedef struct Reducing { RandomMode mode; } Reducing;

static bool still_differs(Module *m, void *ctx)
{
    const Reducing *r = ctx;
    const char     *signal;
    pid_t           pid = fork();

    if (pid == 0) {
        Arena mem = { 0 };

        if (!freopen("/dev/null", "w", stderr))
            _exit(0);
        _exit(random_check(m, r->mode, &mem) != NULL);
    }
    return !child_agrees(pid, &signal);
}

/* ---- reports ---- */

static void write_module(const Module *m, const char *path)
{
    FILE *f = fopen(path, "w");

    if (!f || (module_print(f, m), fclose(f))) {
        perror(path);
        exit(2);
    }
    fprintf(stderr, "written to %s\n", path);
}

static void report_graph(const Command *c, uint64_t number, const char *signal)
{
    Module *m = random_module(c, number, 1);
    char    path[64];

    if (signal)
        fprintf(stderr, "graph %" PRIu64 ": %s\n", number, signal);
    fprintf(stderr, "repeat with: %s --first %" PRIu64 " --count 1%s\n", c->program, number,
            c->float64 ? " --float64" : "");
    snprintf(path, sizeof path, "random-%" PRIu64 ".ir", number);
    write_module(m, path);
    fprintf(stderr, "repeat with: %s --file %s --first %" PRIu64 "\n", c->program, path, number);
    if (c->reduce) {
        Reducing    r = { mode_of(c, number) };
        Reduction   n;
        const char *why = reduce_module(&m, still_differs, &r, 0, &n);

        snprintf(path, sizeof path, "random-%" PRIu64 "-small.ir", number);
        if (why) {
            fprintf(stderr, "%s\n", why);
        } else {
            write_module(m, path);
            module_print(stderr, m);
        }
    }
    module_free(m);
}

/* The first graph that fails alone; 1 in any case. */
static int report_failure(const Command *c, uint64_t first, uint64_t count)
{
    const char *signal;
    Command     quiet = *c;

    quiet.quiet = true;
    for (uint64_t i = first; i < first + count; i++) {
        if (check_in_child(&quiet, i, 1, &signal))
            continue;
        check_in_child(c, i, 1, &signal);
        report_graph(c, i, signal);
        return 1;
    }
    fprintf(stderr, "no graph fails alone; repeat with: %s --first %" PRIu64 " --count %" PRIu64 "\n", c->program,
            first, count);
    return 1;
}

static void count_ops(const Command *c)
{
    uint64_t n[NOP] = { 0 }, nodes = 0;

    for (uint64_t i = 0; i < least(c->count, 10000); i++) {
        Module *m = random_module(c, c->first + i, 1);
        Graph  *g = graph_copy(m->graph[0], NULL, NULL);      /* what is written only */

        for (int id = 1; id < g->nnode; id++, nodes++)
            n[g->node[id].op]++;
        module_free(m);
    }
    for (int op = 0; op < NOP; op++)
        printf("%-14s %8" PRIu64 "  %5.2f%%\n", op_info[op].name, n[op], 100.0 * (double)n[op] / (double)nodes);
}

/* ---- commands ---- */

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int run(const Command *c)
{
    double   begin = seconds(), said = begin;
    uint64_t end = c->first + c->count;

    for (uint64_t i = c->first, n; i < end; i += n) {
        const char *signal;

        n = least(BLOCKS * RANDOM_BLOCK - i % (BLOCKS * RANDOM_BLOCK), end - i);
        if (!check_in_child(c, i, n, &signal))
            return report_failure(c, i, n);
        if (seconds() - said > 30) {
            said = seconds();
            printf("%" PRIu64 " graphs, up to %" PRIu64 ", %.0f a second\n", i + n - c->first, i + n - 1,
                   (double)(i + n - c->first) / (said - begin));
            fflush(stdout);
        }
    }
    printf("%" PRIu64 " graphs from %" PRIu64 " on agree, %.0f a second\n", c->count, c->first,
           (double)c->count / (seconds() - begin));
    return 0;
}

/* A module's text instead: for `nnd reduce`, and to look into what was written.  --first N gives the mode. */
static int run_file(const Command *c)
{
    Arena        mem = { 0 };
    char        *text = arena_alloc(&mem, MAX_TEXT, 1);
    FILE        *f = fopen(c->file, "r");
    size_t       len = f ? fread(text, 1, MAX_TEXT - 1, f) : 0;
    Module      *m = module_read(c->file, text, len);
    const char  *why = m->diag.nerror || !m->ngraph ? "not a module" : random_check(m, mode_of(c, c->first), &mem);

    if (f)
        fclose(f);
    if (why)
        fprintf(stderr, "%s: %s\n", c->file, why);
    module_free(m);
    arena_free(&mem);
    return why != NULL;
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [--first N] [--count N] [--float64] [--walk] [--reduce] [--verbose] [--file F.ir]\n"
                    "  graphs N to N + count - 1 run by the oracle, the walker and the cpu; 1 if they differ\n"
                    "  --walk     leave the cpu out: fifty times as fast\n"
                    "  --reduce   shrink the graph that fails\n"
                    "  --verbose  how often each operation comes up in the first 10000\n"
                    "  --file     a module's text instead, compiled as graph --first is\n", program);
    return 2;
}

int main(int argc, char **argv)
{
    Command c = { .program = argv[0], .count = 10000 };

    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";

        if (!strcmp(argv[i], "--float64"))
            c.float64 = true;
        else if (!strcmp(argv[i], "--walk"))
            c.only_walk = true;
        else if (!strcmp(argv[i], "--reduce"))
            c.reduce = true;
        else if (!strcmp(argv[i], "--verbose"))
            c.verbose = true;
        else if (!strcmp(argv[i], "--first") && *next)
            c.first = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--count") && *next)
            c.count = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--file") && *next)
            c.file = argv[++i];
        else
            return usage(argv[0]);
    }
    if (c.verbose)
        count_ops(&c);
    return c.file ? run_file(&c) : run(&c);
}
