/* nvptx_meet.c - where the threads of a group must meet.
 *
 * Statements at a level that threads share are walked in order, block loops as wholes: iterations of one never touch what
 * another writes.  What was read and written since all met last is kept, as ranges of places; a statement that touches
 * a place that others wrote, or writes one that others touched, waits until all have come.  Before a loop that runs is
 * written its body is walked without writing it, so that its first statements know what its last ones do.  Copies that are in
 * flight are no writes yet: what they wrote is written when it is waited for.
 */
#include <string.h>

#include "backends/llvm_compat.h"
#include "backends/nvptx.h"

/* Elements from..to of a local or a buffer, on top of a place that all threads have in common. */
typedef struct Touch { bool is_buffer, is_write; int id; int64_t from, to; Affine common; } Touch;
typedef struct Touches { Touch *t; int n, cap; } Touches;

enum { MAX_FLIGHTS = 8 };

struct Meet {
    Emit     *e;
    Touches   now;
    Touches   flight[MAX_FLIGHTS]; int nflight;      /* loops of copies that are not waited for, oldest first */
    int64_t  *low, *high;                            /* what each index variable can be */
    bool     *is_common;                             /* index variables of loops around the level: all its threads have one value of them */
    bool     *written;                               /* of each buffer: the kernel stores to it */
};

/* ---- what statements touch ---- */

static void add(Meet *m, Touches *to, Touch t)
{
    arena_push(m->e->mem, to->t, to->n, to->cap);
    to->t[to->n++] = t;
}

static bool known(const Touches *in, const Touch *t)
{
    for (int i = 0; i < in->n; i++) {
        const Touch *o = &in->t[i];

        if (o->is_buffer == t->is_buffer && o->is_write == t->is_write && o->id == t->id && o->from == t->from && o->to == t->to
            && aff_equal(o->common, t->common))
            return true;
    }
    return false;
}

/* What is known already is not added: two ways that join have most in common. */
static void add_all(Meet *m, Touches *to, const Touches *from)
{
    for (int i = 0; i < from->n; i++)
        if (!known(to, &from->t[i]))
            add(m, to, from->t[i]);
}

static void touch(Meet *m, Touches *to, bool is_buffer, int id, Affine at, int64_t more, bool is_write)
{
    Touch t = { is_buffer, is_write, id, at.base, at.base + more, aff_const(0) };

    for (int i = 0; i < at.n; i++) {
        int     var = at.term[i].var;
        int64_t coef = at.term[i].coef, a = coef * m->low[var], b = coef * m->high[var];

        if (m->is_common[var]) {
            t.common = aff_add(m->e->mem, t.common, aff_var(m->e->mem, var, coef));
            continue;
        }
        t.from += a < b ? a : b;
        t.to += a < b ? b : a;
    }
    add(m, to, t);
}

static bool is_group(Meet *m, int local) { return m->e->gpu->local[local]->scope == SCOPE_GROUP; }

static void touch_tile(Meet *m, Touches *to, const Stmt *s)
{
    int depth = s->bf16 ? 16 : 8, rows[2] = { 16, s->turned ? 8 : depth }, columns[2] = { depth, s->turned ? depth : 8 };

    for (int i = 0; i < 2; i++)
        touch(m, to, false, s->operand[i], s->guard[i].at, (rows[i] - 1) * s->guard[i].size + columns[i] - 1, false);
}

static void touch_list(Meet *m, Touches *to, const Stmt *s);

/* What s and all in it touch. */
static void touch_one(Meet *m, Touches *to, const Stmt *s)
{
    switch (s->kind) {
    case ST_LOAD:  if (m->written[s->buf]) touch(m, to, true, s->buf, s->at, 0, false); break;
    case ST_STORE: touch(m, to, true, s->buf, s->at, 0, true); break;
    case ST_GET:   if (is_group(m, s->local)) touch(m, to, false, s->local, s->at, 0, false); break;
    case ST_SET:   if (is_group(m, s->local)) touch(m, to, false, s->local, s->at, 0, true); break;
    case ST_MMA:   touch_tile(m, to, s); break;
    case ST_FOR: case ST_IF: touch_list(m, to, s->body); break;
    case ST_LET: case ST_CONST: case ST_INDEX: case ST_WITHIN: case ST_PICK: case ST_PART: case ST_RANDOM: case ST_LOCAL: case ST_FOLD:
    case ST_WAIT: break;
    }
}

static void touch_list(Meet *m, Touches *to, const Stmt *s)
{
    for (; s; s = s->next)
        touch_one(m, to, s);
}

static bool same_array(Meet *m, const Touch *a, const Touch *b)
{
    if (a->is_buffer != b->is_buffer)
        return false;
    return a->is_buffer ? cpu_may_overlap(m->e->p, a->id, b->id) : a->id == b->id;
}

static bool meets(Meet *m, const Touch *a, const Touch *b)
{
    if ((!a->is_write && !b->is_write) || !same_array(m, a, b))
        return false;
    if (a->id != b->id || !aff_equal(a->common, b->common))
        return true;
    return a->from <= b->to && b->from <= a->to;
}

static bool any_meet(Meet *m, const Touches *a, const Touches *b)
{
    for (int i = 0; i < a->n; i++)
        for (int j = 0; j < b->n; j++)
            if (meets(m, &a->t[i], &b->t[j]))
                return true;
    return false;
}

/* ---- states ---- */

static void forget(Touches *t) { *t = (Touches){ 0 }; }

static Meet copy_of(Meet *m)
{
    Meet c = *m;

    forget(&c.now);
    add_all(m, &c.now, &m->now);
    for (int i = 0; i < m->nflight; i++) {
        forget(&c.flight[i]);
        add_all(m, &c.flight[i], &m->flight[i]);
    }
    return c;
}

/* What may hold behind two ways that join; the latest flights of both are the latest. */
static void join(Meet *m, const Meet *other)
{
    Touches flight[MAX_FLIGHTS] = { 0 };
    int     n = m->nflight > other->nflight ? m->nflight : other->nflight;

    add_all(m, &m->now, &other->now);
    for (int i = 0; i < n; i++) {
        if (i < m->nflight)
            add_all(m, &flight[n - 1 - i], &m->flight[m->nflight - 1 - i]);
        if (i < other->nflight)
            add_all(m, &flight[n - 1 - i], &other->flight[other->nflight - 1 - i]);
    }
    memcpy(m->flight, flight, sizeof flight);
    m->nflight = n;
}

static void land(Meet *m, int64_t still)
{
    int n = m->nflight > still ? m->nflight - (int)still : 0;

    for (int i = 0; i < n; i++)
        add_all(m, &m->now, &m->flight[i]);
    memmove(m->flight, m->flight + n, (size_t)(m->nflight - n) * sizeof *m->flight);
    m->nflight -= n;
}

static void take_off(Meet *m, const Touches *of)
{
    if (m->nflight == MAX_FLIGHTS)
        land(m, MAX_FLIGHTS - 1);           /* it may have: what follows is careful */
    m->flight[m->nflight++] = *of;
}

/* ---- one statement ---- */

static bool folds_warps(Meet *m, const Stmt *s)
{
    return s->kind == ST_FOLD && m->e->gpu->local[s->local]->scope == SCOPE_EACH && s->count > 32;
}

/* Must all meet before s?  Then they have.  A fold over warps writes an array of its own, makes all meet and reads it. */
static bool pass(Meet *m, const Stmt *s)
{
    Touches t = { 0 };
    bool    must;

    if (folds_warps(m, s))
        add(m, &t, (Touch){ .id = m->e->k->nlocal + s->id, .is_write = true });
    touch_one(m, &t, s);
    must = any_meet(m, &t, &m->now);
    if (must || folds_warps(m, s))
        forget(&m->now);
    if (folds_warps(m, s))
        t.t[0].is_write = false;
    if (s->kind == ST_FOR && s->async)
        take_off(m, &t);
    else
        add_all(m, &m->now, &t);
    return must;
}

/* Is s walked by its parts? */
static bool has_parts(const Stmt *s) { return s->kind == ST_IF || (s->kind == ST_FOR && !s->block); }

/* ---- bodies that are not written yet ---- */

static void dry_list(Meet *m, const Stmt *s);

static void dry_loop(Meet *m, const Stmt *s)
{
    Meet before;

    if (cpu_is_unrolled(m->e, s)) {
        for (int64_t i = 0; i < s->extent; i++) {
            m->low[s->id] = m->high[s->id] = i;
            dry_list(m, s->body);
        }
        m->low[s->id] = 0;
        m->high[s->id] = s->extent - 1;
        return;
    }
    before = copy_of(m);
    dry_list(m, s->body);
    join(m, &before);
    dry_list(m, s->body);
}

static void dry_list(Meet *m, const Stmt *s)
{
    for (; s; s = s->next) {
        if (s->kind == ST_FOR && !s->block) {
            dry_loop(m, s);
        } else if (s->kind == ST_IF) {
            Meet before = copy_of(m);

            dry_list(m, s->body);
            join(m, &before);
        } else if (s->kind == ST_WAIT) {
            land(m, s->count);
        } else {
            pass(m, s);
        }
    }
}

/* ---- while code is written ---- */

static void find_written(Meet *m, const Stmt *s)
{
    for (; s; s = s->next) {
        for (int i = 0; s->kind == ST_STORE && i < m->e->p->nbuf; i++)
            m->written[i] |= cpu_may_overlap(m->e->p, i, s->buf);
        if (s->kind == ST_FOR && s->grid)
            m->is_common[s->id] = true;
        find_written(m, s->body);
    }
}

Meet *nvptx_meet_new(Emit *e)
{
    Meet *m = arena_new(e->mem, Meet);

    *m = (Meet){ .e = e, .low = arena_array(e->mem, int64_t, e->k->nvar + 1), .high = arena_array(e->mem, int64_t, e->k->nvar + 1),
                 .is_common = arena_array(e->mem, bool, e->k->nvar + 1), .written = arena_array(e->mem, bool, e->p->nbuf + 1) };
    for (int i = 0; i < e->k->nvar; i++)
        m->high[i] = e->gpu->extent[i] - 1;
    find_written(m, e->k->body);
    return m;
}

/* Its threads have all of the loop's variable in common, and nothing to wait for that was before it. */
Meet *nvptx_meet_inside(Emit *e, const Stmt *block)
{
    Meet *outside = e->gpu->meet, *m = arena_new(e->mem, Meet);

    *m = *outside;
    forget(&m->now);
    m->nflight = 0;
    m->is_common[block->id] = true;
    e->gpu->meet = m;
    return outside;
}

void nvptx_meet_outside(Emit *e, const Stmt *block, Meet *outside)
{
    outside->is_common[block->id] = false;
    e->gpu->meet = outside;
}

void nvptx_meet_before(Emit *e, const Stmt *s)
{
    Meet *m = e->gpu->meet;

    if (has_parts(s))
        return;
    if (s->kind == ST_WAIT)
        land(m, s->count);
    else if (pass(m, s))
        nvptx_barrier(e);
}

void nvptx_meet_turn(Emit *e, const Stmt *loop, int64_t i)
{
    e->gpu->meet->low[loop->id] = i < 0 ? 0 : i;
    e->gpu->meet->high[loop->id] = i < 0 ? loop->extent - 1 : i;
}

void nvptx_meet_loop(Emit *e, const Stmt *loop)
{
    Meet *m = e->gpu->meet, before = copy_of(m);

    dry_list(m, loop->body);
    join(m, &before);
}

Meet *nvptx_meet_branch(Emit *e)
{
    Meet *before = arena_new(e->mem, Meet);

    *before = copy_of(e->gpu->meet);
    return before;
}

void nvptx_meet_rejoin(Emit *e, const Meet *before) { join(e->gpu->meet, before); }

/* Threads of a level that all came: the group's barrier, or the warp's, of the lanes that share the level. */
void nvptx_barrier(Emit *e)
{
    const Level *l = &e->gpu->level;
    LLVMValueRef arg = cpu_i32(e, 0);

    if (!l->depth && !l->parted) {
        nvptx_call(e, compat_meet_group, &arg, 1);
    } else if (32 % l->threads == 0) {
        arg = nvptx_lanes(e, l->threads);
        nvptx_call(e, compat_meet_warp, &arg, 1);
    } else {
        nvptx_refuse(e, "%lld threads of a level must meet", (long long)l->threads);
    }
}
