/* threads.c - how much sooner a model is trained with a pool of threads than without.
 *
 * threads MODEL [THREADS [STEPS]]
 *
 * The two take turns in one run, on the same image, and the best of each counts: on a shared machine speed moves, and
 * what disturbs makes it slower.  Data is looked for as nnd train does.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/backend.h"
#include "frontend/compile.h"
#include "runtime/nnd.h"

enum { TURNS = 12, TEXT = 1 << 20 };

typedef struct Bench { Arena mem; Model *model; Compiled code; NndData data; NndSession session; NndError err; } Bench;

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *prepare(Bench *b, const char *file, char *text)
{
    CompileOptions o = { .backend = &backend_cpu, .target = { .opt_level = 2 }, .rule_limit = -1 };
    FrontOptions front = { 0 };
    EntryWant want[2] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, 0 } };
    char target[256], *why = b->err.text;
    FILE *f = fopen(file, "rb");
    const Module *m;
    const NndField *field;
    const char *fault;
    int nfield;

    if (!f)
        return "no such model";
    text[fread(text, 1, TEXT - 1, f)] = 0;
    fclose(f);
    b->model = model_parse(file, text, strlen(text), &front);
    if (!(m = model_check(b->model)) || !m->train.present)
        return "the model has mistakes or no train block";
    if (!backend_cpu.probe(&o.target, &o.limits, target, sizeof target, why, sizeof b->err.text))
        return why;
    field = compile_fields(m, &b->mem, &nfield);
    want[1].batch = m->train.batch;
    fault = compile_model(&b->code, b->model, 2, want, &o, &b->mem);
    if (fault)
        return fault;
    if (nnd_data_open(&b->data, field, nfield, NULL, ".", &b->err) ||
        nnd_session_open(&b->session, b->code.image, b->data.nrow[NND_SPLIT_TRAIN], &b->err) ||
        nnd_session_init(&b->session, 1, &b->err))
        return b->err.text;
    return NULL;
}

/* us a step, of nbatch whole batches in calls of at most NND_CHUNK. */
static double step_us(Bench *b, const NndPar *par, int64_t nbatch)
{
    const NndTrain *t = b->code.image->train;
    const NndEntry *e = nnd_entry_find(b->code.image, NND_TRAIN, t->batch);
    NndSession *s = &b->session;
    int64_t whole = b->data.nrow[NND_SPLIT_TRAIN] / t->batch, each = whole < NND_CHUNK ? whole : NND_CHUNK, done = 0;
    NndCall call = { .state = s->state, .scratch = s->scratch, .field = b->data.field[NND_SPLIT_TRAIN], .row = s->row,
                     .nbatch = each, .step = 1, .steps = nbatch, .epoch = 1, .seed = 1, .metric_out = s->metric,
                     .par = par };
    double start;

    nnd_shuffle(s->row, b->data.nrow[NND_SPLIT_TRAIN], 1, 1);
    start = now_s();
    for (; done < nbatch; done += each)
        e->run(b->code.image, e, &call);
    return (now_s() - start) * 1e6 / (double)done;
}

static void compare(Bench *b, const NndPool *pool, int threads, int64_t nbatch)
{
    double alone = 1e9, shared = 1e9, us;

    for (int i = 0; i < TURNS; i++) {
        us = step_us(b, NULL, nbatch);
        alone = us < alone ? us : alone;
        us = step_us(b, nnd_pool_par(pool), nbatch);
        shared = us < shared ? us : shared;
    }
    printf("1 thread %.1f us a step, %d threads %.1f us: %.2f times as fast\n", alone, threads, shared, alone / shared);
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 2;
    Bench b = { 0 };
    char *text = calloc(1, TEXT);
    const char *why = argc > 1 ? prepare(&b, argv[1], text) : "threads MODEL [THREADS [STEPS]]";
    NndPool *pool = why ? NULL : nnd_pool_open(threads, &b.err);

    if (pool)
        compare(&b, pool, threads, argc > 3 ? atoll(argv[3]) : 1000);
    else
        fprintf(stderr, "threads: %s\n", why ? why : b.err.text);
    nnd_pool_close(pool);
    nnd_session_close(&b.session);
    nnd_data_close(&b.data);
    compiled_free(&b.code);
    if (b.model)
        model_free(b.model);
    arena_free(&b.mem);
    free(text);
    return pool ? 0 : 1;
}
