/* target.c - what --target and --cpu ask for: a backend, a device of it, and what that can do.
 *
 * cpu and interp are this machine.  cuda is a GPU: only commands that run something need one to be here, the others
 * compile for the device that --cpu names, for the one that is here, or for a usual one.  auto is what there is.
 */
#include "frontend/nnd.h"

#include <stdlib.h>
#include <string.h>

enum { OLDEST_SM = 50 };

static const char cuda_name[] = "cuda", auto_name[] = "auto";

/* What is known of a GPU, if there is one. */
typedef struct Found { NndCudaDevice gpu; int version; bool here; NndError err; } Found;

static bool needs_device(const Options *o)
{
    switch (o->command) {
    case CMD_train: case CMD_eval: case CMD_predict: case CMD_run: case CMD_check:
        return true;
    case CMD_profile: case CMD_compile: case CMD_summary: case CMD_dump: case CMD_opt: case CMD_reduce: case CMD_devices: case CMD_ops:
    case CMD_rules: case CMD_passes: case CMD_targets: case CMD_help: case CMD_version: case NCOMMAND:
        break;
    }
    return false;
}

static void find_gpu(Job *j, Found *f)
{
    f->here = !nnd_cuda_device(j->compile.gpu, &f->gpu, &f->version, &f->err);
}

static bool probe(Job *j, char *why, size_t nwhy)
{
    return j->compile.backend->probe(&j->compile.target, &j->compile.limits, j->device, sizeof j->device, why, nwhy);
}

bool target_name_gpu(int sm, char *name, size_t nname)
{
    const Backend *b = backend_find(cuda_name);
    Limits         limits;
    char           device[256], why[256];

    for (; b && sm >= OLDEST_SM; sm--) {
        snprintf(name, nname, "sm_%d", sm);
        if (b->probe(&(BackendOptions){ .cpu = name, .opt_level = 1 }, &limits, device, sizeof device, why, sizeof why))
            return true;
    }
    return false;
}

static bool probe_gpu(Job *j, const Found *f, char *why, size_t nwhy)
{
    char name[16];

    if (!target_name_gpu(f->gpu.sm, name, sizeof name)) {
        snprintf(why, nwhy, "%s is sm_%d, which is too old: no code is made for it", f->gpu.name, f->gpu.sm);
        return false;
    }
    j->compile.target.cpu = arena_strdup(&j->o->mem, name);
    return probe(j, why, nwhy);
}

static void describe_gpu(Job *j, const Found *f)
{
    snprintf(j->device, sizeof j->device, "%s, sm_%d, %.1f GiB, driver CUDA %d.%d", f->gpu.name, f->gpu.sm,
             (double)f->gpu.memory_bytes / (1 << 30), f->version / 1000, f->version % 1000 / 10);
}

static int open_gpu(Job *j)
{
    char  why[256] = "";
    Found f;

    find_gpu(j, &f);
    if (!f.here && needs_device(j->o))
        return complain(j->o, EXIT_DEVICE, "%s", f.err.text);
    if (!(f.here && !j->compile.target.cpu ? probe_gpu(j, &f, why, sizeof why) : probe(j, why, sizeof why)))
        return complain(j->o, EXIT_DEVICE, "%s: %s", j->compile.backend->name, why);
    if (f.here)
        describe_gpu(j, &f);
    return EXIT_WELL;
}

static int open_here(Job *j)
{
    char why[256] = "";

    if (!probe(j, why, sizeof why))
        return complain(j->o, EXIT_DEVICE, "%s: %s", j->compile.backend->name, why);
    return EXIT_WELL;
}

/* A GPU if one is of use, else this processor; either is said. */
static int open_auto(Job *j)
{
    const char *cpu = j->compile.target.cpu;
    char        why[256] = "nnd was built without code for GPUs";
    Found       f;

    find_gpu(j, &f);
    if (f.here && (j->compile.backend = backend_find(cuda_name)) && (cpu ? probe(j, why, sizeof why) : probe_gpu(j, &f, why, sizeof why))) {
        describe_gpu(j, &f);
        fprintf(stderr, "target: cuda, as there is %s\n", j->device);
        return EXIT_WELL;
    }
    j->compile.target.cpu = cpu;
    j->compile.gpu = NO_GPU;
    j->compile.backend = &backend_cpu;
    fprintf(stderr, "target: cpu, as %s\n", f.here ? why : f.err.text);
    return open_here(j);
}

/* "cuda:1" is device 1; false if word is not of this kind. */
static bool parse_gpu(const char *word, int *number)
{
    size_t n = sizeof cuda_name - 1;
    char  *end = NULL;
    long   value = 0;

    if (strncmp(word, cuda_name, n) || (word[n] && word[n] != ':'))
        return false;
    if (word[n] == ':')
        value = strtol(word + n + 1, &end, 10);
    *number = (int)value;
    return !end || (word[n + 1] >= '0' && word[n + 1] <= '9' && !*end && value < INT16_MAX);
}

static int unknown_target(Job *j, const char *word)
{
    const char *known[MAX_NAMES];
    int         n = 0;

    for (; backend_list[n] && n < MAX_NAMES - 1; n++)
        known[n] = backend_list[n]->name;
    known[n++] = auto_name;
    return complain(j->o, EXIT_USAGE, "--target: unknown target `%s`%s", word, options_suggest(j->o, word, "", known, n));
}

int target_here(Job *j)
{
    j->compile.backend = &backend_cpu;
    j->compile.gpu = NO_GPU;
    j->compile.target.cpu = NULL;
    return open_here(j);
}

int target_open(Job *j)
{
    const char *word = j->o->value[OPTION_target].given ? j->o->value[OPTION_target].text : backend_cpu.name;

    j->compile.gpu = NO_GPU;
    if (parse_gpu(word, &j->compile.gpu) && (j->compile.backend = backend_find(cuda_name)))
        return open_gpu(j);
    if (strcmp(word, auto_name) == 0) {
        j->compile.gpu = 0;
        return open_auto(j);
    }
    if (!(j->compile.backend = backend_find(word)) || strcmp(word, cuda_name) == 0)
        return unknown_target(j, word);
    return open_here(j);
}
