/* profile.c - kernels by the clock, beside what they compute and touch. */
#include "frontend/profile.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void run_noted(const NndPar *par, NndKernel *k, const NndStep *s, int64_t n)
{
    Profile *p = (Profile *)par;
    int64_t  at = p->done++ - p->warm * p->ncall;
    bool     noted = at >= 0 && at < p->steps * p->ncall;

    if (noted)
        p->begun[at] = now_us();
    if (p->inner && n > 1)
        p->inner->run(p->inner, k, s, n);
    else
        k(s, 0, n);
    if (noted)
        p->ended[at] = now_us();
}

/* Calls of a step, in order; of NULL: only their number. */
static int64_t list_calls(const Plan *plan, int *of)
{
    int64_t n = 0;

    for (int k = 0, end; k < plan->nkernel; k = end) {
        end = plan_scan_end(plan, k);
        for (int64_t step = 0; step < (plan->kernel[k]->scan ? plan->kernel[k]->steps : 1); step++)
            for (int i = k; i < end; i++, n++)
                if (of)
                    of[n] = i;
    }
    return n;
}

void profile_open(Profile *p, const Plan *plan, const NndPar *inner, int64_t warm, int64_t steps, Arena *mem)
{
    int *of;

    *p = (Profile){ .par = { run_noted }, .inner = inner, .plan = plan, .ncall = list_calls(plan, NULL), .warm = warm, .steps = steps };
    p->of = of = arena_array(mem, int, p->ncall + 1);
    list_calls(plan, of);
    p->begun = arena_array(mem, double, p->ncall * steps + 1);
    p->ended = arena_array(mem, double, p->ncall * steps + 1);
}

/* ---- what a kernel touches ---- */

typedef struct Touched { bool read, written; } Touched;

static void touch(const Stmt *s, Touched *t)
{
    for (; s; s = s->next) {
        if (s->kind == ST_LOAD)
            t[s->buf].read = true;
        if (s->kind == ST_STORE)
            t[s->buf].written = true;
        touch(s->body, t);
    }
}

/* Each of its buffers once, twice if it is read and written; of a data column, the batch's rows. */
double profile_bytes(const Plan *p, const Kernel *k, Arena *mem)
{
    Touched *t = arena_array(mem, Touched, p->nbuf + 1);
    double   sum = 0;

    touch(k->body, t);
    for (int i = 0; i < p->nbuf; i++) {
        const Buffer *b = &p->buf[i];
        double        bytes = (double)b->count * (double)dt_bytes(b->dtype) * (b->seg == SEG_FIELD ? (double)p->batch : 1);

        sum += bytes * (t[i].read + t[i].written);
    }
    return sum;
}

/* ---- the line of the model ---- */

static bool is_own(const Diag *d, Loc l) { return l.line && l.file < d->nsource && d->source[l.file].name[0] != '<'; }

static Loc own_line(const Diag *d, const Stmt *s)
{
    Loc found = { 0 };

    for (; s && !is_own(d, found); s = s->next)
        found = is_own(d, s->loc) ? s->loc : own_line(d, s->body);
    return found;
}

/* The param that it reads or writes, "" if there is none: what a layer of the prelude is called in the model. */
static const char *param_of(const Plan *p, const Stmt *s)
{
    for (; s; s = s->next) {
        const Buffer *b = s->kind == ST_LOAD || s->kind == ST_STORE ? &p->buf[s->buf] : NULL;
        const char   *within = b ? "" : param_of(p, s->body);

        if (b && b->seg == SEG_STATE && p->m->slot[b->slot].kind == SLOT_param)
            return p->m->slot[b->slot].name;
        if (*within)
            return within;
    }
    return "";
}

/* Its main operation's; of a layer of the prelude, the first of the model's own among what it computes, if there is one, and a param. */
const char *profile_place(const Plan *p, const Kernel *k, Arena *mem)
{
    const Diag *d = &p->m->diag;
    Loc         own = is_own(d, k->loc) ? k->loc : own_line(d, k->body), l = is_own(d, own) ? own : k->loc;

    const char *param = param_of(p, k->body);

    if (!l.line || l.file >= d->nsource)
        return param;
    return arena_printf(mem, "%s:%u%s%s", d->source[l.file].name, l.line, *param ? " " : "", param);
}

/* ---- the table ---- */

typedef struct Row { const Kernel *k; double us, calls, bytes; } Row;

static int longest_first(const void *a, const void *b)
{
    const Row *x = a, *y = b;

    return x->us < y->us ? 1 : x->us > y->us ? -1 : 0;
}

static void print_row(FILE *f, const Plan *p, const Row *r, double sum_us, const Peak *peak, Arena *mem)
{
    double flops = r->k->flops * r->calls, bytes = r->bytes * r->calls, s = r->us * 1e-6;
    double least = flops / peak->flops > bytes / peak->bytes ? flops / peak->flops : bytes / peak->bytes;

    fprintf(f, "%-8s %5.0f %10.1f %6.1f %9.1f %7.1f %6.0f  %-28.28s %s\n", r->k->name, r->calls, r->us, 100 * r->us / sum_us,
            flops / s / 1e9, bytes / s / 1e9, 100 * least / s, r->k->what, profile_place(p, r->k, mem));
}

void profile_print(FILE *f, const Profile *p, const Peak *peak, Arena *mem)
{
    int    n = p->plan->nkernel;
    Row   *row = arena_array(mem, Row, n + 1);
    double sum = 0, step = (p->ended[p->ncall * p->steps - 1] - p->begun[0]) / (double)p->steps;

    for (int i = 0; i < n; i++)
        row[i] = (Row){ .k = p->plan->kernel[i], .bytes = profile_bytes(p->plan, p->plan->kernel[i], mem) };
    for (int64_t i = 0; i < p->ncall * p->steps; i++) {
        Row *r = &row[p->of[i % p->ncall]];

        r->us += (p->ended[i] - p->begun[i]) / (double)p->steps;
        r->calls += 1 / (double)p->steps;
    }
    for (int i = 0; i < n; i++)
        sum += row[i].us;
    qsort(row, (size_t)n, sizeof *row, longest_first);
    fprintf(f, "%-8s %5s %10s %6s %9s %7s %6s  %-28s %s\n", "kernel", "calls", "us/step", "%", "GFLOP/s", "GB/s", "limit%", "computes", "line");
    for (int i = 0; i < n; i++)
        print_row(f, p->plan, &row[i], sum, peak, mem);
    fprintf(f, "step: %.1f us, %.1f in %d kernels; mean of %lld\n", step, sum, n, (long long)p->steps);
    fprintf(f, "limit: %.1f GFLOP/s (%s) and %.1f GB/s, measured; more than 100 %% of it is data that stay in a cache\n", peak->flops / 1e9, peak->unit,
            peak->bytes / 1e9);
}

/* ---- the trace ---- */

static json_t *event(const Profile *p, int64_t i)
{
    const Kernel *k = p->plan->kernel[p->of[i % p->ncall]];

    return json_pack("{s:s++, s:s, s:f, s:f, s:i, s:i, s:{s:s, s:f, s:I}}", "name", k->name, " ", k->what, "ph", "X", "ts", p->begun[i] - p->begun[0],
                     "dur", p->ended[i] - p->begun[i], "pid", 1, "tid", 1, "args", "computes", k->what, "flop", k->flops, "step",
                     (json_int_t)(i / p->ncall + 1));
}

static json_t *events(const Profile *p)
{
    json_t *list = json_array();

    for (int64_t i = 0; list && i < p->ncall * p->steps; i++)
        if (json_array_append_new(list, event(p, i))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

int profile_trace(const Profile *p, const char *path, NndError *err)
{
    json_t *all = json_pack("{s:o, s:s}", "traceEvents", events(p), "displayTimeUnit", "ms");
    NndOut  out;
    int     code;

    if (!all)
        return nnd_fail(err, NND_E_MEMORY, "%s: no memory for the trace", path);
    if (!(code = nnd_out_open(&out, path, err))) {
        json_dumpf(all, out.f, JSON_INDENT(1));
        code = nnd_out_close(&out, err);
    }
    json_decref(all);
    return code;
}
