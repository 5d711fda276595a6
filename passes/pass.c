/* pass.c - the table of passes, and the pipeline that runs them.
 *
 * What a pass leaves behind is verified at once, so a mistake is named after the pass that made it and
 * not after the one that tripped over it.
 */
#define _POSIX_C_SOURCE 200809L
#include "passes/pass.h"

#include <string.h>
#include <time.h>

/* The column `without`. */
#define WITHOUT_needed     false, NULL
#define WITHOUT_nothing    true, NULL
#define WITHOUT_fuse_apart true, fuse_apart

const PassInfo pass_info[NPASS] = {
#define PASS(name, level, without, doc) { #name, name, LEVEL_##level, WITHOUT_##without, doc },
#include "passes/passes.def"
#undef PASS
};

bool pass_parse(const char *name, Pass *p)
{
    for (int i = 0; i < NPASS; i++) {
        if (strcmp(pass_info[i].name, name) == 0) {
            *p = (Pass)i;
            return true;
        }
    }
    return false;
}

static const char *skippable(Arena *mem)
{
    const char *names = "";

    for (int i = 0; i < NPASS; i++)
        if (pass_info[i].can_skip)
            names = arena_printf(mem, "%s%s%s", names, *names ? ", " : "", pass_info[i].name);
    return names;
}

const char *pass_parse_skip(const char *list, bool skip[NPASS], Arena *mem)
{
    char *rest = arena_strdup(mem, list ? list : ""), *save = NULL;
    Pass  p;

    for (char *name = strtok_r(rest, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        if (!pass_parse(name, &p))
            return arena_printf(mem, "unknown pass `%s`", name);
        if (!pass_info[p].can_skip)
            return arena_printf(mem, "%s can't be left out, only %s can", name, skippable(mem));
        skip[p] = true;
    }
    return NULL;
}

/* The clock that no one can set: a pass never takes negative time. */
static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* No node is left of what a pass before this one takes out. */
static const char *verify_gone(const Graph *g, Pass p)
{
    static const struct { Op op; Pass pass; } gone[] = { { OP_grad, PASS_autodiff }, { OP_variable, PASS_update } };

    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (p >= gone[i].pass && graph_holds(g, gone[i].op))
            return arena_printf(&g->m->mem, "graph %s: %s is left, which %s takes out", entry_name[g->entry],
                                op_info[gone[i].op].name, pass_info[gone[i].pass].name);
    return NULL;
}

static const char *verify_graph(Graph *g, Pass p)
{
    const char *why = graph_verify(g);

    return why ? why : verify_gone(g, p);
}

static const char *verify_module(Module *m, Pass p)
{
    const char *why = NULL;

    for (int i = 0; i < m->ngraph && !why; i++)
        why = verify_graph(m->graph[i], p);
    if (m->update && !why)
        why = verify_graph(m->update, p);
    for (int i = 0; i < m->ngraph && pass_info[p].level == LEVEL_PLAN && !why; i++)
        why = plan_verify(m->plan[i], &m->mem);
    return why ? arena_printf(&m->mem, "after %s: %s", pass_info[p].name, why) : NULL;
}

const char *pipeline_run(Module *m, const Pipeline *p)
{
    for (int i = 0; i < NPASS; i++) {
        bool    skip = p->skip && p->skip[i];
        PassFn *run = skip ? pass_info[i].without : pass_info[i].run;

        if (p->only && !p->only[i])
            continue;
        if (skip && !pass_info[i].can_skip)
            return arena_printf(&m->mem, "%s can't be left out", pass_info[i].name);
        if (!run)
            continue;

        double start = now_ms();
        run(m, &p->options);
        double elapsed_ms = now_ms() - start;

        const char *why = verify_module(m, (Pass)i);
        if (!why && p->after)
            why = p->after(p->ctx, m, (Pass)i, elapsed_ms);
        if (why)
            return why;
    }
    return NULL;
}
