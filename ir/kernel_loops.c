/* kernel_loops.c - are the iterations of parallel and vector loops independent?
 *
 * Two iterations must not meet at one place that either of them writes.  For a write a and any access b of the same
 * array, in iterations p and q of a loop whose variable stands in both with the coefficient c, the distance of their
 * places is
 *
 *   c * (p - q) + small + large,      small: terms whose coefficients are at most c, and the constant
 *                                     large: terms that are multiples of some g > c
 *
 * If c * |p - q| + |small| < g for all that occurs, a distance of 0 needs large == 0; if |small| < c as well, it needs
 * p == q.  The constant may be taken modulo g.  Tiles, transposed and padded results all pass this; what passes can't
 * collide.  What has digits of numbers in its place is looked at in
 * ir/kernel_digits.c.  It runs on kernels whose indices are inside their arrays, so no sum here can overflow.
 */
#include "ir/kernel_digits.h"

/* What conditions around say: theirs and those of all further out. */
typedef struct Within Within;
struct Within { const Stmt *s; const Within *outer; int depth; Stmt all; };

typedef struct Access {
    const Stmt *s;
    Affine      at;
    int         array;              /* the buffer or local */
    bool        is_local, writes;
    int64_t     length;
    const Within *within;           /* holds there; NULL: nothing is known */
} Access;

typedef struct Loops {
    const Plan   *p;
    const Kernel *k;
    Arena        *mem;
    int64_t      *extent;           /* by loop variable */
    Digits        digits;
    bool         *inside;           /* by loop variable: of the loop looked at */
    bool         *own;              /* by local: declared in the loop looked at, so each iteration has one */
    const Stmt  **value;            /* by value: the `within` that defines it, NULL if none does */
    const Within *within;           /* holds where gather is */
    Within      **known; int nknown, cknown;
    Access       *access; int naccess, caccess;
} Loops;

/* What is known of a distance so far. */
typedef struct Distance { int64_t c, least, most, g; } Distance;

static int64_t size(int64_t x) { return x < 0 ? -x : x; }

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t r = a % b;

        a = b;
        b = r;
    }
    return a;
}

/* coef * x with x in 0..extent-1 */
static void add_term(Distance *d, int64_t coef, int64_t extent)
{
    if (extent == 1 || !coef)
        return;
    if (size(coef) > d->c)
        d->g = gcd(size(coef), d->g);
    else
        *(coef < 0 ? &d->least : &d->most) += coef * (extent - 1);
}

static void add_constant(Distance *d, int64_t x)
{
    if (d->g) {
        x %= d->g;
        if (size(x) > d->g / 2)
            x -= x < 0 ? -d->g : d->g;
    }
    d->least += x;
    d->most += x;
}

/* Loops inside run on their own in each iteration; those around stand still. */
static void add_terms(const Loops *l, const Stmt *loop, Distance *d, Affine a, Affine b)
{
    for (int i = 0; i < a.n; i++) {
        int var = a.term[i].var;

        if (var != loop->id)
            add_term(d, l->inside[var] ? a.term[i].coef : a.term[i].coef - aff_coef(b, var), l->extent[var]);
    }
    for (int i = 0; i < b.n; i++) {
        int var = b.term[i].var;

        if (var != loop->id && (l->inside[var] || !aff_coef(a, var)))
            add_term(d, -b.term[i].coef, l->extent[var]);
    }
}

static int64_t farthest(const Distance *d) { return -d->least > d->most ? -d->least : d->most; }

/* What holds at both. */
static const Stmt *both_within(const Within *a, const Within *b)
{
    while (a != b) {
        int depth = (a ? a->depth : 0) - (b ? b->depth : 0);

        a = depth >= 0 ? a->outer : a;
        b = depth <= 0 ? b->outer : b;
    }
    return a ? &a->all : NULL;
}

/* Without what stands still while the loop runs. */
static Affine moving(const Loops *l, const Stmt *loop, Affine a)
{
    Affine to = aff_const(a.base);

    for (int i = 0; i < a.n; i++)
        if (l->inside[a.term[i].var] || a.term[i].var == loop->id)
            to = aff_add(l->mem, to, aff_var(l->mem, a.term[i].var, a.term[i].coef));
    return to;
}

static bool digits_differ(const Loops *l, const Stmt *loop, const Access *a, const Access *b)
{
    return a->length == 1 && b->length == 1 && aff_equal(a->at, b->at)
        && digits_apart(&l->digits, loop->id, moving(l, loop, a->at), moving(l, loop, b->at), both_within(a->within, b->within));
}

static bool apart(const Loops *l, const Stmt *loop, const Access *a, const Access *b)
{
    Distance d = { .c = size(aff_coef(a->at, loop->id)) };

    if (digits_differ(l, loop, a, b))
        return true;
    if (!d.c || aff_coef(a->at, loop->id) != aff_coef(b->at, loop->id))
        return false;
    add_terms(l, loop, &d, a->at, b->at);
    add_constant(&d, a->at.base - b->at.base);
    d.most += a->length - 1;
    d.least -= b->length - 1;
    return farthest(&d) < d.c && (!d.g || d.c * (loop->extent - 1) + farthest(&d) < d.g);
}

/* ---- accesses ---- */

static bool same_array(const Loops *l, const Access *a, const Access *b)
{
    const Buffer *x, *y;

    if (a->is_local || b->is_local)
        return a->is_local && b->is_local && a->array == b->array;
    x = &l->p->buf[a->array];
    y = &l->p->buf[b->array];
    return a->array == b->array || (x->seg == SEG_STATE && y->seg == SEG_STATE && x->slot == y->slot);
}

/* Where value holds as well, if it is one of conditions on places. */
static const Within *also_within(Loops *l, int value)
{
    const Within *outer = l->within;
    const Stmt   *s = l->value[value];
    Within       *w;

    for (int i = 0; i < l->nknown; i++)
        if (l->known[i]->s == s && l->known[i]->outer == outer)
            return l->known[i];
    if (!s)
        return outer;
    w = arena_new(l->mem, Within);
    *w = (Within){ .s = s, .outer = outer, .depth = outer ? outer->depth + 1 : 1 };
    w->all.guard = arena_array(l->mem, Guard, s->nguard + (outer ? outer->all.nguard : 0));
    for (int i = 0; i < s->nguard; i++)
        w->all.guard[w->all.nguard++] = s->guard[i];
    for (int i = 0; outer && i < outer->all.nguard; i++)
        w->all.guard[w->all.nguard++] = outer->all.guard[i];
    arena_push(l->mem, l->known, l->nknown, l->cknown);
    l->known[l->nknown++] = w;
    return w;
}

static void add_access(Loops *l, Access a)
{
    if (a.is_local && l->own[a.array])
        return;
    arena_push(l->mem, l->access, l->naccess, l->caccess);
    l->access[l->naccess++] = a;
}

static void add_memory(Loops *l, const Stmt *s)
{
    const Within *within = s->kind == ST_LOAD && s->narg ? also_within(l, s->arg[0]) : l->within;

    add_access(l, (Access){ s, s->at, s->buf, false, s->kind == ST_STORE, 1, within });
}

static int64_t local_each(const Stmt *s, int local)
{
    int64_t each = 0;

    for (; s && !each; s = s->next)
        each = s->kind == ST_LOCAL && s->id == local ? s->each : local_each(s->body, local);
    return each;
}

/* Elements from the first of the second operand to its last. */
static int64_t mma_reach(const Stmt *s, int64_t depth)
{
    return s->turned ? 7 * s->guard[1].size + depth : (depth - 1) * s->guard[1].size + 8;
}

static void add_local(Loops *l, const Stmt *s)
{
    int64_t depth = s->bf16 ? 16 : 8, length = 1;

    if (s->kind == ST_FOLD)             /* in place, on all of its elements */
        length = s->count;
    if (s->kind == ST_MMA) {
        length = 31 * local_each(l->k->body, s->local) + 4;
        add_access(l, (Access){ s, s->guard[0].at, s->operand[0], true, false, 15 * s->guard[0].size + depth, NULL });
        add_access(l, (Access){ s, s->guard[1].at, s->operand[1], true, false, mma_reach(s, depth), NULL });
    }
    add_access(l, (Access){ s, s->at, s->local, true, s->kind != ST_GET, length, NULL });
}

static void gather(Loops *l, const Stmt *s);

static void gather_if(Loops *l, const Stmt *s)
{
    const Within *within = l->within;

    l->within = also_within(l, s->arg[0]);
    gather(l, s->body);
    l->within = within;
}

static void gather(Loops *l, const Stmt *s)
{
    for (; s; s = s->next)
        switch (s->kind) {
        case ST_FOR:
            l->inside[s->id] = true;
            gather(l, s->body);
            break;
        case ST_LOCAL:
            l->own[s->id] = true;
            break;
        case ST_PICK: case ST_PART:
            l->inside[s->id] = true;
            break;
        case ST_IF:
            gather_if(l, s);
            break;
        case ST_LOAD: case ST_STORE:
            add_memory(l, s);
            break;
        case ST_GET: case ST_SET: case ST_FOLD: case ST_MMA:
            add_local(l, s);
            break;
        case ST_LET: case ST_CONST: case ST_INDEX: case ST_RANDOM: case ST_WITHIN: case ST_WAIT:
            break;
        }
}

static const char *check_loop(Loops *l, const Stmt *loop)
{
    l->inside = arena_array(l->mem, bool, l->k->nvar + 1);
    l->own = arena_array(l->mem, bool, l->k->nlocal + 1);
    l->naccess = 0;
    l->within = NULL;
    gather(l, loop->body);
    for (int i = 0; i < l->naccess; i++)
        for (int j = 0; j < l->naccess; j++) {
            const Access *a = &l->access[i], *b = &l->access[j];

            if (!a->writes || !same_array(l, a, b) || apart(l, loop, a, b))
                continue;
            return arena_printf(l->mem, "iterations of the %s loop i%d %s the same place of %c%d",
                                loop->par ? "parallel" : loop->grid ? "grid" : loop->block ? "block" : "vec", loop->id,
                                b->writes ? "store to" : "store to and load from", a->is_local ? 'l' : 'b', a->array);
        }
    return NULL;
}

static const char *check_list(Loops *l, const Stmt *s)
{
    const char *why = NULL;

    for (; s && !why; s = s->next) {
        if (s->blas && (s->par || s->lanes || s->unroll || s->sieve || !kern_gemm(s, &(Gemm){ 0 })))
            why = arena_printf(l->mem, "the loop i%d is no matrix product that BLAS has", s->id);
        else if (s->kind == ST_FOR && s->extent > 1 && (s->par || s->lanes || s->grid || s->block))
            why = check_loop(l, s);
        if (!why)
            why = check_list(l, s->body);
    }
    return why;
}

static void find_extents(Loops *l, const Stmt *s)
{
    for (; s; s = s->next) {
        if (stmt_has_var(s))
            l->extent[s->id] = s->extent;
        if (s->kind == ST_WITHIN)
            l->value[s->id] = s;
        if (s->kind == ST_PART)
            l->digits.part[s->id] = s;
        find_extents(l, s->body);
    }
}

const char *kernel_check_loops(const Plan *p, const Kernel *k, Arena *mem)
{
    Loops l = { .p = p, .k = k, .mem = mem, .extent = arena_array(mem, int64_t, k->nvar + 1),
                .value = arena_array(mem, const Stmt *, k->nvalue + 1) };

    l.digits = (Digits){ mem, l.extent, arena_array(mem, const Stmt *, k->nvar + 1) };
    if (k->scan)
        l.extent[0] = k->steps;
    find_extents(&l, k->body);
    return check_list(&l, k->body);
}
