/* cpu_turn.c - a transposed operand, a block at a time: rows are loaded as they lie and turned in registers.
 *
 *     for i < B unroll { for j < lanes vec { load b[.. + i + stride * j] .. } }
 *
 * Lane by lane that is a load for each number.  Here each of the vec loop's lanes loads its B neighbours at once, and log2(lanes) rounds of
 * interleaving make of them the B vectors that the iterations of i want.  In bits: a number's place is [j, i], as vectors and then lanes,
 * and a round moves the first bit to the end, so it becomes [i, j].
 */
#include "backends/cpu.h"

/* The vectors of a load for all iterations of the block. */
typedef struct Turned { const Stmt *load; LLVMValueRef *v; struct Turned *next; } Turned;
struct TurnBlock { const Stmt *side, *body; Turned *turned; };

/* ---- which loops, which loads ---- */

static bool is_power(int64_t n) { return n > 1 && !(n & (n - 1)); }

TurnBlock *cpu_turn_block(Emit *e, const Stmt *side)
{
    const Stmt *vec = side->body;

    if (!e->k->scheduled || e->target->wide || !vec || vec->kind != ST_FOR || vec->next || !vec->lanes || vec->extent > vec->lanes || side->extent > vec->lanes
        || !is_power(side->extent) || !is_power(vec->lanes))
        return NULL;
    TurnBlock *t = arena_new(e->mem, TurnBlock);

    t->side = side;
    t->body = vec->body;
    return t;
}

/* All is loaded before the first iteration stores. */
static bool is_stored(Emit *e, const Stmt *list, int buf)
{
    for (const Stmt *s = list; s; s = s->next)
        if ((s->kind == ST_STORE && (s->buf == buf || cpu_may_overlap(e->p, s->buf, buf))) || is_stored(e, s->body, buf))
            return true;
    return false;
}

static bool is_inside(const Stmt *list, const Stmt *load)
{
    for (; list; list = list->next)
        if (list == load)
            return true;
    return false;
}

static bool can_turn(Emit *e, const Stmt *s)
{
    const TurnBlock *t = e->turn;
    const Buffer    *b = &e->p->buf[s->buf];
    int64_t          stride = cpu_lane_stride(e, s->at);

    return t && !s->narg && b->seg != SEG_FIELD && b->seg != SEG_SCALAR && !cpu_is_picked(e, s->at) && stride != 0 && stride != 1
        && aff_coef(s->at, t->side->id) == 1 && is_inside(t->body, s) && !is_stored(e, t->body, s->buf);
}

/* ---- turning ---- */

static void interleave(Emit *e, LLVMValueRef *v, int n)
{
    LLVMValueRef from[64];
    int          lane[64];

    for (int i = 0; i < n; i++)
        from[i] = v[i];
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < e->lanes; k++)
            lane[k] = i % 2 * e->lanes / 2 + k / 2 + k % 2 * e->lanes;
        v[i] = cpu_shuffle(e, from[i / 2], from[i / 2 + n / 2], lane, e->lanes);
    }
}

/* The block of s: its row for each lane; lanes that don't count have none. */
static LLVMValueRef *turn(Emit *e, const Stmt *s)
{
    int          n = (int)e->turn->side->extent, together = e->lanes / n;
    LLVMValueRef *v = arena_array(e->mem, LLVMValueRef, n), row[64];

    for (int i = 0; i < n; i++) {
        for (int k = 0; k < together; k++)
            row[k] = cpu_load_row(e, s, i * together + k, n);
        v[i] = cpu_join(e, row, together);
    }
    for (int lanes = e->lanes; lanes > 1; lanes /= 2)
        interleave(e, v, n);
    return v;
}

LLVMValueRef cpu_turned(Emit *e, const Stmt *s)
{
    TurnBlock *t = e->turn;
    int64_t    i;
    Turned    *one;

    if (!can_turn(e, s))
        return NULL;
    i = LLVMConstIntGetSExtValue(e->var[t->side->id]);
    for (one = t->turned; one && one->load != s; one = one->next)
        ;
    if (!one && i == 0) {
        one = arena_new(e->mem, Turned);
        *one = (Turned){ s, turn(e, s), t->turned };
        t->turned = one;
    }
    return one ? one->v[i] : NULL;
}
