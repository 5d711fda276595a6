/* memory.c - turn lifetimes into offsets.
 *
 * A scratch buffer is alive from the first kernel that touches it to the last, through the whole of a scan if it is alive
 * before or behind it.  Buffers are placed largest
 * first at the lowest offset where no buffer alive at the same time lies; so nothing is allocated after
 * start, and the bytes needed are known before.  Slots have the offsets that the module gives them, the
 * same for every entry.
 */
#include "passes/pass.h"

#include <stdlib.h>

enum { ALIGN = 64 };

static int64_t round_up(int64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

static int64_t buffer_bytes(const Buffer *b) { return round_up(b->count * dt_bytes(b->dtype)); }

static void touch(Plan *p, const Stmt *s, int kernel)
{
    for (; s; s = s->next) {
        if (s->kind == ST_LOAD || s->kind == ST_STORE) {
            Buffer *b = &p->buf[s->buf];

            b->first = b->first < 0 ? kernel : b->first;
            b->last = kernel;
        }
        touch(p, s->body, kernel);
    }
}

/* What lies in a buffer when a scan begins is there in every step, and so is what it leaves behind when it ends. */
static void live_through_scans(Plan *p)
{
    for (int k = 0, end; k < p->nkernel; k = end) {
        end = plan_scan_end(p, k);
        for (int i = 0; p->kernel[k]->scan && i < p->nbuf; i++) {
            Buffer *b = &p->buf[i];
            bool touched = b->first >= 0 && b->first < end && b->last >= k;

            if (!touched || (b->first >= k && b->last < end))
                continue;
            b->first = b->first < k ? b->first : k;
            b->last = b->last >= end ? b->last : end - 1;
        }
    }
}

typedef struct Item { int buf; int64_t bytes; } Item;

static int by_size(const void *a, const void *b)
{
    const Item *x = a, *y = b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->buf - y->buf;
}

static bool alive_together(const Buffer *a, const Buffer *b) { return a->first <= b->last && b->first <= a->last; }

/* The lowest place that is free while b is alive: tried behind each placed neighbour until nothing overlaps. */
static int64_t place(const Plan *p, const Item *placed, int n, const Buffer *b, int64_t bytes)
{
    int64_t at = 0;

    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < n; i++) {
            const Buffer *o = &p->buf[placed[i].buf];

            if (alive_together(o, b) && at < o->offset + placed[i].bytes && o->offset < at + bytes) {
                at = o->offset + placed[i].bytes;
                moved = true;
            }
        }
    }
    return at;
}

static void plan_memory(Plan *p)
{
    Arena *mem = &p->m->mem;
    Item *item = arena_array(mem, Item, p->nbuf + 1);
    int n = 0;

    for (int i = 0; i < p->nbuf; i++)
        p->buf[i].first = p->buf[i].last = -1;
    for (int k = 0; k < p->nkernel; k++)
        touch(p, p->kernel[k]->body, k);
    live_through_scans(p);
    p->scratch_bytes = 0;
    for (int i = 0; i < p->nbuf; i++) {
        if (p->buf[i].seg == SEG_SCRATCH)
            item[n++] = (Item){ i, buffer_bytes(&p->buf[i]) };
        else if (p->buf[i].seg == SEG_STATE)
            p->buf[i].offset = module_state_offset(p->m, p->buf[i].slot);
    }
    qsort(item, (size_t)n, sizeof *item, by_size);
    for (int i = 0; i < n; i++) {
        Buffer *b = &p->buf[item[i].buf];

        b->offset = place(p, item, i, b, item[i].bytes);
        if (b->offset + item[i].bytes > p->scratch_bytes)
            p->scratch_bytes = b->offset + item[i].bytes;
    }
}

void memory(Module *m, const PassOptions *o)
{
    (void)o;
    for (int i = 0; i < m->ngraph; i++)
        plan_memory(m->plan[i]);
}
