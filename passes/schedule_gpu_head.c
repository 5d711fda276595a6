/* schedule_gpu_head.c - a kernel taken apart into its folds and what follows them. */
#include "passes/schedule_gpu.h"

enum { MOST_INDEX = 1 << 24 };      /* an index that a float holds */

static const Stmt *defined(const Stmt *s, int value)
{
    while (s && (s->id != value || stmt_has_var(s) || s->kind == ST_LOCAL))
        s = s->next;
    return s;
}

/* How the accumulator takes an element. */
static bool find_op(GpuHead *h)
{
    const Stmt *s = h->body, *op;

    if (h->nlocal == 2) {
        h->op = h->local[0]->number < 0 ? OP_maximum : OP_minimum;
        return dt_is_float(h->local[0]->dtype) && h->length < MOST_INDEX;
    }
    while (s && s->kind != ST_SET)
        s = s->next;
    op = s && !s->next ? defined(h->body, s->arg[0]) : NULL;
    if (!op || op->kind != ST_LET)
        return false;
    h->op = op->op == OP_fma ? OP_add : op->op;
    return h->op == OP_add || h->op == OP_maximum || h->op == OP_minimum;
}

static bool take_head(GpuHead *h, const Stmt *loop)
{
    h->length = 1;
    for (h->body = loop; h->body && h->body->kind == ST_FOR && !h->body->next; h->body = h->body->body) {
        if (h->n == MAX_RANK)
            return false;
        h->var[h->n] = h->body->id;
        h->extent[h->n++] = h->body->extent;
        h->length *= h->body->extent;
    }
    return h->nlocal > 0 && !stmt_has(h->body, ST_FOR) && !stmt_has(h->body, ST_LOCAL) && !stmt_has(h->body, ST_IF)
        && !stmt_has(h->body, ST_STORE) && find_op(h);
}

/* Locals and loops of each head; what is left stands in straight lines. */
bool gpu_take_heads(Gpu *g, GpuHead *head, int *n, Stmt **straight)
{
    KList    rest = { 0 };
    GpuHead *h = &head[0];

    *n = 0;
    for (const Stmt *s = g->nest->body; s; s = s->next) {
        if (s->kind == ST_LOCAL) {
            if (h->nlocal == 2 || s->count != 1)
                return false;
            h->local[h->nlocal++] = s;
        } else if (s->kind == ST_FOR) {
            Stmt *alone = arena_new(g->mem, Stmt);

            *alone = *s;
            alone->next = NULL;
            if (!take_head(h, alone) || ++*n == GPU_HEADS)
                return false;
            h = &head[*n];
        } else if (s->kind == ST_IF) {
            return false;
        } else {
            Stmt *c = kern_add(g->mem, &rest, s->kind, s->loc);

            *c = *s;
            c->next = NULL;
        }
    }
    *straight = rest.first;
    return *n > 0 && h->nlocal == 0;
}

void gpu_retarget(Stmt *s, int local, int to, Affine at)
{
    for (; s; s = s->next) {
        if ((s->kind == ST_GET || s->kind == ST_SET) && s->local == local) {
            s->local = to;
            s->at = at;
        }
        gpu_retarget(s->body, local, to, at);
    }
}

void gpu_declare(Gpu *g, KList *l, const Stmt *local)
{
    Stmt *s = kern_add(g->mem, l, ST_LOCAL, local->loc), *last = l->last;

    *s = *local;
    s->next = NULL;
    l->last = last;
}
