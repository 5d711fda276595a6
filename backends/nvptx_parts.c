/* nvptx_parts.c - the launches of a module's plans, and the parts that its code is made in.
 *
 * A driver translates a module on one thread, and LLVM too; so the kernels of an entry are several modules, of about the same work each,
 * cut where their order and their size say, never the number of threads: a text is the same wherever it is made, and what a driver keeps of
 * it is found again.
 */
#include <stdlib.h>
#include <string.h>

#include "backends/nvptx.h"
#include "backends/nvptx_image.h"

/* Statements of a part, written out: some 40 ms of LLVM's time, and as much of the driver's. */
enum { PART_STATEMENTS = 3000 };

static int64_t statements(const Stmt *s)
{
    int64_t n = 0;

    for (; s; s = s->next)
        n += 1 + statements(s->body) * (s->kind == ST_FOR && s->unroll ? s->extent : s->kind == ST_FOR && s->lanes ? s->lanes : 1);
    return n;
}

static void fill_launch(Emit *e, Arena *mem, const Kernel *k, int as, bool shared, NndLaunch *l)
{
    int64_t *value;

    *l = (NndLaunch){ .kernel = cpu_kernel_symbol(mem, e->p, as), .scan = k->scan, .steps = k->scan ? k->steps : 1 };
    nvptx_launch(k, l);
    if (!shared)
        return;
    l->nplace = cpu_place_values(e, k, &value);
    l->place = value;
}

static void open_part(NvptxLaunches *l, int *room)
{
    arena_push(&l->mem, l->work, l->npart, *room);
    l->work[l->npart++] = (NvptxPart){ .first = l->nitem };
}

/* Kernels in their order; a part ends where it is large enough, and with its plan. */
static void cut_plan(NvptxLaunches *l, const Plan *p, int plan, int *room)
{
    int64_t size = PART_STATEMENTS;

    for (int i = 0; i < p->nkernel; i++) {
        NndLaunch *row = &l->launch[plan][i];

        if (l->as[plan][i] < i) {
            row->part = l->launch[plan][l->as[plan][i]].part;
            continue;
        }
        if (size >= PART_STATEMENTS) {
            open_part(l, room);
            size = 0;
        }
        size += statements(p->kernel[i]->body);
        arena_push(&l->mem, l->item, l->nitem, l->room);
        l->item[l->nitem++] = (NvptxItem){ plan, i };
        l->work[l->npart - 1].n++;
        row->part = l->npart - 1;
    }
}

static void add_plan(NvptxLaunches *l, int i, int *room)
{
    const Plan *p = l->m->plan[i];
    Emit        e = { .m = l->m, .mem = &l->mem };

    cpu_open_plan(&e, p);
    l->launch[i] = arena_array(&l->mem, NndLaunch, p->nkernel + 1);
    l->shared[i] = arena_array(&l->mem, bool, p->nkernel + 1);
    l->as[i] = cpu_share(&e, l->shared[i]);
    for (int k = 0; k < p->nkernel; k++)
        fill_launch(&e, &l->mem, p->kernel[k], l->as[i][k], l->shared[i][l->as[i][k]], &l->launch[i][k]);
    l->entry[i] = (NndGpuEntry){ l->launch[i], p->nkernel };
    cut_plan(l, p, i, room);
}

NvptxLaunches *nvptx_launches_new(Module *m, const BackendOptions *o)
{
    NvptxLaunches *l = calloc(1, sizeof *l);
    int            room = 0;

    if (!l)
        abort();
    l->m = m;
    l->options = *o;
    pthread_mutex_init(&l->lock, NULL);
    l->entry = arena_array(&l->mem, NndGpuEntry, m->ngraph + 1);
    l->launch = arena_array(&l->mem, NndLaunch *, m->ngraph + 1);
    l->as = arena_array(&l->mem, int *, m->ngraph + 1);
    l->shared = arena_array(&l->mem, bool *, m->ngraph + 1);
    for (int i = 0; i < m->ngraph; i++)
        add_plan(l, i, &room);
    if (!l->npart)                   /* nothing to do still has its nnd_advance */
        open_part(l, &room);
    for (int i = 0; i < l->npart; i++)
        pthread_mutex_init(&l->work[i].lock, NULL);
    l->part = arena_array(&l->mem, NndGpuPart, l->npart);
    return l;
}

void nvptx_launches_free(NvptxLaunches *l)
{
    for (int i = 0; i < l->npart; i++)
        pthread_mutex_destroy(&l->work[i].lock);
    pthread_mutex_destroy(&l->lock);
    arena_free(&l->mem);
    free(l);
}

void nvptx_set_text(NvptxLaunches *l, int part, const char *text, size_t n)
{
    char *copy;

    pthread_mutex_lock(&l->lock);
    copy = arena_array(&l->mem, char, n + 1);
    pthread_mutex_unlock(&l->lock);
    memcpy(copy, text, n);
    copy[n] = 0;
    l->part[part].nptx = (int64_t)n;
    l->part[part].ptx = copy;
}
