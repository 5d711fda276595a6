/* profile_gpu.c - a training step's kernels on a GPU: what they should take, and what they took if there is one.
 *
 * A prediction, marked as such: a launch, and the longer of a kernel's arithmetic and its memory's traffic on a device of the
 * generation that the code is for, as far as its groups fill that.  Registers and shared memory are those that ptxas tells.
 */
#include "frontend/profile.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a usual device of each generation, by its data sheet: multiprocessors; FLOP and bytes a second; what a multiprocessor holds. */
typedef struct Device { int sm; const char *name; int units; double flops, bytes; int threads, groups; int64_t shared; } Device;

static const Device known[] = {
    { 70, "V100", 80, 15.7e12, 0.90e12, 2048, 32, 96 << 10 },      { 75, "T4", 40, 8.1e12, 0.32e12, 1024, 16, 64 << 10 },
    { 80, "A100", 108, 19.5e12, 1.56e12, 2048, 32, 164 << 10 },    { 86, "RTX 3090", 82, 35.6e12, 0.94e12, 1536, 16, 100 << 10 },
    { 89, "RTX 4090", 128, 82.6e12, 1.01e12, 1536, 24, 100 << 10 }, { 90, "H100", 132, 66.9e12, 3.35e12, 2048, 32, 228 << 10 },
    { 100, "B200", 148, 80e12, 8.0e12, 2048, 32, 228 << 10 },      { 120, "RTX 5090", 170, 104.8e12, 1.79e12, 1536, 32, 100 << 10 },
};
enum { NKNOWN = sizeof known / sizeof *known, REGISTERS = 65536, REGISTER_UNIT = 256, WARP = 32 };

/* A launch behind another in a graph; the share of a multiprocessor's threads that hides what its arithmetic waits for; threads
 * of it that keep its share of the memory busy; the share of a loop's instructions that are products (.4 to .7 in machine code). */
static const double LAUNCH_US = 2, ENOUGH_THREADS = .25, BUSY_THREADS = 512, PRODUCTS = .6;

static const Device *device_of(int sm)
{
    const Device *d = &known[0];

    for (int i = 0; i < NKNOWN; i++)
        if (known[i].sm <= sm)
            d = &known[i];
    return d;
}

/* ---- what ptxas says ---- */

typedef struct Use { int registers; int64_t shared, spilled; } Use;      /* registers 0: not known */

static const char *after(const char *text, const char *word)
{
    const char *at = strstr(text, word);

    return at ? at + strlen(word) : NULL;
}

/* Lines about one function after the other: its name; spills; "Used 40 registers, ..., 8192 bytes smem, ...". */
static void read_line(const char *line, const NndGpuEntry *e, Use *use, int *row)
{
    const char *name = after(line, "Compiling entry function '"), *used = after(line, "Used "), *smem = strstr(line, " bytes smem");
    const char *spill = strstr(line, " bytes spill stores");

    if (name) {
        for (*row = 0; *row < e->nlaunch; ++*row)
            if (!strncmp(name, e->launch[*row].kernel, strlen(e->launch[*row].kernel)) && name[strlen(e->launch[*row].kernel)] == '\'')
                break;
    }
    if (*row < 0 || *row >= e->nlaunch)
        return;
    if (used)
        use[*row].registers = atoi(used);
    while (smem && smem > line && smem[-1] >= '0' && smem[-1] <= '9')
        smem--;
    while (spill && spill > line && spill[-1] >= '0' && spill[-1] <= '9')
        spill--;
    if (smem)
        use[*row].shared = atoll(smem);
    if (spill)
        use[*row].spilled = atoll(spill);
}

/* Kernels that are one function share its lines. */
static void share_lines(const NndGpuEntry *e, Use *use)
{
    for (int i = 0; i < e->nlaunch; i++)
        for (int k = 0; k < i && !use[i].registers; k++)
            if (!strcmp(e->launch[i].kernel, e->launch[k].kernel))
                use[i] = use[k];
}

/* What ptxas says of a text. */
static bool ask_about(const NndGpuPart *part, int sm, const NndGpuEntry *e, Use *use, Arena *mem)
{
    char  path[] = "/tmp/nnd-XXXXXX", line[512];
    int   fd = mkstemp(path), row = -1;
    FILE *f;
    bool  well = fd >= 0 && write(fd, part->ptx, (size_t)part->nptx) == part->nptx;

    if (fd >= 0)
        close(fd);
    f = well ? popen(arena_printf(mem, "PATH=\"$PATH:${CUDA_HOME:-/usr/local/cuda}/bin:/usr/local/cuda/bin\" ptxas -v -arch=sm_%d -o /dev/null %s 2>&1",
                                  sm, path), "r") : NULL;
    while (f && fgets(line, sizeof line, f))
        read_line(line, e, use, &row);
    well = f && pclose(f) == 0;
    if (fd >= 0)
        unlink(path);
    return well;
}

/* Parts of an entry stand one behind the other. */
static bool ask_ptxas(const NndGpu *gpu, const NndGpuEntry *e, Use *use, Arena *mem)
{
    bool well = true;
    int  last = -1;

    for (int i = 0; i < e->nlaunch && well; i++)
        if (e->launch[i].part > last) {
            last = e->launch[i].part;
            well = ask_about(&gpu->part[last], gpu->sm, e, use, mem);
        }
    share_lines(e, use);
    return well;
}

/* ---- the prediction ---- */

typedef struct Row {
    const Kernel    *k;
    const NndLaunch *launch;
    Use              use;
    double           bytes, occupancy, us, took;
    const char      *limit;
} Row;

/* Threads that a multiprocessor holds, of those that it has room for. */
static double occupancy(const Row *r, const Device *d)
{
    int64_t warps = (r->launch->block + WARP - 1) / WARP, groups = d->groups, shared = r->use.shared + r->launch->shared_bytes;
    int64_t registers = ((int64_t)r->use.registers * WARP + REGISTER_UNIT - 1) / REGISTER_UNIT * REGISTER_UNIT * warps;

    if (d->threads / (warps * WARP) < groups)
        groups = d->threads / (warps * WARP);
    if (registers && REGISTERS / registers < groups)
        groups = REGISTERS / registers;
    if (shared && d->shared / shared < groups)
        groups = d->shared / shared;
    return (double)(groups * warps * WARP) / d->threads;
}

static double least(double a, double b) { return a < b ? a : b; }

static void predict(Row *r, const Device *d)
{
    double groups = (double)r->launch->grid[0] * r->launch->grid[1] * r->launch->grid[2], threads = groups * r->launch->block;
    double busy = least(groups, d->units), here = threads / busy / d->threads, compute, memory;      /* multiprocessors; how full they are */

    r->occupancy = occupancy(r, d);
    compute = r->k->flops / (PRODUCTS * d->flops * busy / d->units * least(least(here, r->occupancy) / ENOUGH_THREADS, 1)) * 1e6;
    memory = r->bytes / (d->bytes * least(threads / d->units / BUSY_THREADS, 1)) * 1e6;
    r->limit = compute < LAUNCH_US && memory < LAUNCH_US ? "launch" : compute > memory ? "FLOP" : "bytes";
    r->us = (LAUNCH_US + (compute > memory ? compute : memory)) * (double)r->launch->steps;
}

/* ---- the table ---- */

static int longest_first(const void *a, const void *b)
{
    const Row *x = a, *y = b;
    double     p = x->took > 0 || y->took > 0 ? x->took : x->us, q = x->took > 0 || y->took > 0 ? y->took : y->us;

    return p < q ? 1 : p > q ? -1 : 0;
}

static void print_row(FILE *f, const Plan *p, const Row *r, bool took, Arena *mem)
{
    const NndLaunch *l = r->launch;
    const char      *use = r->use.registers ? arena_printf(mem, "%d", r->use.registers) : "-";
    const char      *grid = arena_printf(mem, "%u,%u,%u", l->grid[0], l->grid[1], l->grid[2]);

    fprintf(f, "%-6s %5lld %9.1f ", r->k->name, (long long)l->steps, r->us);
    if (took)
        fprintf(f, "%9.1f ", r->took);
    fprintf(f, "%-6s %9.3f %9.3f %12s %5u %5s %7lld %6lld %6.0f  %-26.26s %s\n", r->limit, r->k->flops / 1e6, r->bytes / 1e6, grid, l->block, use,
            (long long)(r->use.shared + l->shared_bytes), (long long)r->use.spilled, 100 * r->occupancy, r->k->what, profile_place(p, r->k, mem));
}

void profile_gpu_print(FILE *f, const Plan *plan, const NndGpu *gpu, int entry, const double *ms, const char *device, Arena *mem)
{
    const NndGpuEntry *e = &gpu->entry[entry];
    const Device      *d = device_of(gpu->sm);
    Row               *row = arena_array(mem, Row, e->nlaunch + 1);
    Use               *use = arena_array(mem, Use, e->nlaunch + 1);
    bool               asked = ask_ptxas(gpu, e, use, mem);
    double             us = LAUNCH_US, took = 0;

    for (int i = 0; i < e->nlaunch; i++) {
        row[i] = (Row){ .k = plan->kernel[i], .launch = &e->launch[i], .use = use[i], .bytes = profile_bytes(plan, plan->kernel[i], mem),
                        .took = ms ? ms[i] * 1e3 : 0 };
        predict(&row[i], d);
        us += row[i].us;
        took += row[i].took;
    }
    qsort(row, (size_t)e->nlaunch, sizeof *row, longest_first);
    fprintf(f, "%-6s %5s %9s %s%-6s %9s %9s %12s %5s %5s %7s %6s %6s  %-26s %s\n", "kernel", "calls", "predicted", ms ? " measured " : "", "limit", "MFLOP",
            "MB", "groups", "block", "regs", "shared", "spills", "occ.%", "computes", "line");
    for (int i = 0; i < e->nlaunch; i++)
        print_row(f, plan, &row[i], ms != NULL, mem);
    fprintf(f, "prediction, microseconds: %.1f a step in %d kernels on %s (sm_%d: %.1f TFLOP/s, %.2f TB/s by its data sheet)%s\n", us, e->nlaunch, d->name, d->sm,
            d->flops / 1e12, d->bytes / 1e12, asked ? "" : "; no ptxas: registers are not known, and occupancy is a guess");
    if (ms)
        fprintf(f, "measured, kernel by kernel between events: %.1f a step on %s\n", took, device);
}
