/* schedule_merge.c - kernels that run over the same rows, one behind the other, become one.
 *
 * A layer norm is a kernel for the mean, one for the variance, one for the points; a softmax has a maximum, exponentials and their sum.  Each
 * runs over all rows.  Where their parallel loops are as long, one loop does for a row what all of them do, and a row is
 * fetched once and stays in the first cache.  That changes nothing if no iteration of the joint loop meets what another writes, which is
 * what the verifier asks of a parallel loop (ir/kernel_loops.c): so it is asked.
 */
#include "passes/schedule.h"

/* Of a row: statements done that may still be called little.  Contractions have tiles of their own. */
enum { MOST_WORK = 1 << 14 };

static int64_t work(const Stmt *s)
{
    int64_t n = 0;

    for (; s && n <= MOST_WORK; s = s->next)
        n += s->kind == ST_FOR ? s->extent * work(s->body) : s->kind == ST_LET && s->op == OP_fma ? MOST_WORK + 1 : 1 + work(s->body);
    return n;
}

static bool is_straight(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->body || s->kind == ST_LOCAL || s->kind == ST_PICK)
            return false;
    return true;
}

/* A loop over rows; a vec loop that does one number of each, too. */
static bool is_rows(const Kernel *k)
{
    const Stmt *s = k->body;

    return s && s->kind == ST_FOR && !s->next && !k->scan && work(s->body) <= MOST_WORK && (s->par || (s->lanes && is_straight(s->body)));
}

static bool touches(const Stmt *s, int buf)
{
    for (; s; s = s->next)
        if (((s->kind == ST_LOAD || s->kind == ST_STORE) && s->buf == buf) || touches(s->body, buf))
            return true;
    return false;
}

/* Does b load from a buffer that is touched in a, so that there is something to keep near? */
static bool shares(const Plan *p, const Stmt *a, const Stmt *b)
{
    for (; b; b = b->next)
        if ((b->kind == ST_LOAD && p->buf[b->buf].seg == SEG_SCRATCH && touches(a, b->buf)) || shares(p, a, b->body))
            return true;
    return false;
}

/* b's statements with a's row, numbered behind a's. */
static Stmt *renumbered(Arena *mem, const Kernel *a, const Kernel *b)
{
    Affine *var = arena_array(mem, Affine, b->nvar + 1);

    for (int i = 0; i < b->nvar; i++)
        var[i] = aff_var(mem, i == b->body->id ? a->body->id : a->nvar + i, 1);
    return kern_clone(mem, b->body->body, var, a->nvalue, a->nlocal);
}

/* a and b as one kernel, or NULL. */
static Kernel *merged(const Plan *p, const Kernel *a, const Kernel *b)
{
    Arena  *mem = &p->m->mem;
    Kernel *k = arena_new(mem, Kernel);
    Affine *same = arena_array(mem, Affine, a->nvar + 1);
    KList   body = { 0 };

    for (int i = 0; i < a->nvar; i++)
        same[i] = aff_var(mem, i, 1);
    *k = *a;
    k->body = sched_for(mem, a->loc, a->body->id, a->body->extent, NULL);
    k->body->par = true;
    kern_append(&body, kern_clone(mem, a->body->body, same, 0, 0));
    kern_append(&body, renumbered(mem, a, b));
    k->body->body = body.first;
    k->nvar += b->nvar;
    k->nvalue += b->nvalue;
    k->nlocal += b->nlocal;
    k->flops += b->flops;
    k->what = arena_printf(mem, "%s, %s", a->what, b->what);
    return kernel_check_loops(p, k, mem) ? NULL : k;
}

static Kernel *try_merge(const Plan *p, const Kernel *a, const Kernel *b)
{
    if (!is_rows(a) || !is_rows(b) || a->body->extent != b->body->extent || (!a->body->par && !b->body->par)
        || work(a->body->body) + work(b->body->body) > MOST_WORK || !shares(p, a->body->body, b->body->body))
        return NULL;
    return merged(p, a, b);
}

void schedule_merge(Plan *p)
{
    int n = 0;

    for (int i = 0; i < p->nkernel; i++) {
        Kernel *k = n ? try_merge(p, p->kernel[n - 1], p->kernel[i]) : NULL;

        if (k)
            p->kernel[n - 1] = k;
        else
            p->kernel[n++] = p->kernel[i];
    }
    p->nkernel = n;
}
