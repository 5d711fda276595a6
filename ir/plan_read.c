/* plan_read.c - plans of .ir text: buffers, and kernels (ir/kernel_read.c).
 *
 * The first mistake in a plan ends it: what follows would mean something else.
 */
#include <string.h>

#include "ir/kernel_read.h"

static bool read_scan(KernelReader *r)
{
    int64_t number;

    if (!lex_take(r->t.lx, "scan"))
        return true;
    if (!read_int(&r->t, "a scan's number", 1, MAX_LOOPS, &number) || !read_int(&r->t, "steps", 1, INT32_MAX, &r->k->steps))
        return false;
    r->k->scan = (int)number;
    r->k->nvar = 1;
    return true;
}

static bool read_kernel(KernelReader *r)
{
    Arena *mem = &r->t.m->mem;
    Token  name;

    r->k = arena_new(mem, Kernel);
    r->nlocal = r->depth = 0;
    if (!read_word(&r->t, "a kernel's name", &name) || !read_string(&r->t, "what the kernel does", &r->k->what))
        return false;
    r->k->name = name.text;
    if (!read_scan(r))
        return false;
    r->k->scheduled = lex_take(r->t.lx, "scheduled");
    if (!read_punct(&r->t, "flops") || !read_double(&r->t, "a number", &r->k->flops) ||
        !read_place(&r->t, &r->k->loc) || !read_punct(&r->t, "{") || !kernel_read_list(r, &r->k->body))
        return false;
    arena_push(mem, r->p->kernel, r->p->nkernel, r->p->ckernel);
    r->p->kernel[r->p->nkernel++] = r->k;
    return read_line_end(&r->t);
}

static bool read_seg(KernelReader *r, Seg *seg)
{
    Token word;

    if (!read_word(&r->t, "a segment", &word))
        return false;
    for (int i = 0; i < NSEG; i++) {
        if (!strcmp(word.text, seg_name[i])) {
            *seg = (Seg)i;
            return true;
        }
    }
    return read_error(&r->t, word.loc, "there is no segment `%s`", word.text);
}

static bool read_offset(KernelReader *r, Buffer *b)
{
    b->offset = -1;
    if ((b->seg == SEG_STATE || b->seg == SEG_SCRATCH) && !read_punct(&r->t, "+"))
        return false;
    return lex_take(r->t.lx, "?") || read_int(&r->t, "an offset", 0, INT64_MAX, &b->offset);
}

static bool read_life(KernelReader *r, Buffer *b)
{
    int64_t first, last;

    if (!lex_take(r->t.lx, "live"))
        return true;
    if (!read_int(&r->t, "a kernel's number", -1, NODE_LIMIT, &first) || !read_punct(&r->t, "..") ||
        !read_int(&r->t, "a kernel's number", -1, NODE_LIMIT, &last))
        return false;
    b->first = (int)first;
    b->last = (int)last;
    return true;
}

static bool read_buffer(KernelReader *r)
{
    Buffer  b = { .slot = -1 };
    Loc     at = lex_peek(r->t.lx, 0).loc;
    int64_t node = 0;
    int     number;

    if (!kernel_read_numbered(r, 'b', NODE_LIMIT, &number))
        return false;
    if (number != r->p->nbuf)
        return read_error(&r->t, at, "wants b%d, buffers stand in order", r->p->nbuf);
    if (!read_punct(&r->t, ":") || !read_seg(r, &b.seg) || !read_offset(r, &b) || !kernel_read_array(r, &b.dtype, &b.count) ||
        (lex_is(r->t.lx, "@") && !read_slot(&r->t, &b.slot)) || !read_life(r, &b) ||
        (lex_take(r->t.lx, "node") && !read_int(&r->t, "a node's number", 1, NODE_LIMIT, &node)))
        return false;
    b.node = (int)node;
    plan_buffer(r->p, b);
    return read_line_end(&r->t);
}

static bool read_head(KernelReader *r)
{
    Token word;
    int   e = 0;

    if (!read_word(&r->t, "an entry", &word))
        return false;
    while (e < NENTRY && strcmp(word.text, entry_name[e]))
        e++;
    if (e == NENTRY)
        return read_error(&r->t, word.loc, "there is no entry `%s`", word.text);
    r->p->entry = (EntryKind)e;
    if (lex_peek(r->t.lx, 0).kind == TOK_NUMBER && !read_int(&r->t, "a batch", 1, INT32_MAX, &r->p->batch))
        return false;
    r->p->graph = module_graph(r->t.m, r->p->entry, r->p->batch);
    return read_punct(&r->t, "{");
}

static bool read_item(KernelReader *r)
{
    if (lex_take(r->t.lx, "buffer"))
        return read_buffer(r);
    if (lex_take(r->t.lx, "scratch"))
        return read_int(&r->t, "a number of bytes", 0, INT64_MAX, &r->p->scratch_bytes) && read_line_end(&r->t);
    return read_punct(&r->t, "kernel") && read_kernel(r);
}

/* Names with dots are cut out of the text, so it must be known where its lines start. */
static void find_text(TextReader *t)
{
    const Source *s = &t->m->diag.source[lex_peek(t->lx, 0).loc.file];
    int           n = 1;

    for (size_t i = 0; i < s->len; i++)
        n += s->text[i] == '\n';
    t->text = s->text;
    t->line = arena_array(&t->m->mem, size_t, n);
    t->nline = 1;
    for (size_t i = 0; i < s->len; i++)
        if (s->text[i] == '\n')
            t->line[t->nline++] = i + 1;
}

/* The files that places may name are known to the caller only, so any number is taken. */
Plan *plan_read(Module *m, struct Lexer *lx)
{
    KernelReader r = { .t = { .m = m, .lx = lx, .nfile = UINT16_MAX + 1 }, .p = plan_new(m, NULL) };

    find_text(&r.t);
    if (!read_head(&r))
        return NULL;
    while (!text_at_end(&r.t, "}")) {
        if (!read_item(&r))
            return NULL;
    }
    return read_punct(&r.t, "}") ? r.p : NULL;
}
