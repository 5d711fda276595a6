/* cmd_dump.c - nnd check, dump and opt: what the compiler makes of a text. */
#include "frontend/nnd.h"

#include <stdlib.h>
#include <string.h>

/* ---- check, dump ---- */

int cmd_check(Options *o)
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

int cmd_dump(Options *o)
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
        else if (s.stage == STAGE_PTX && j.compile.backend != &backend_nvptx)
            status = complain(o, EXIT_USAGE, "--after: the target %s makes no PTX, --target cuda does", j.compile.backend->name);
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
    if ((why = compile_opt(m, only, !lanes ? OPT_LANES : strcmp(lanes, "warp") ? atoi(lanes) : 0)))
        return complain_ours(o, why);
    module_print(stdout, m);
    return EXIT_WELL;
}

int cmd_opt(Options *o)
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

