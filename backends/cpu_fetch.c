/* cpu_fetch.c - memory asked for before it is needed: hints, which change no result.
 *
 * What a tile of a contraction meets behind its fold (weights and an optimizer's states in the kernel of a gradient, and where its results
 * go) is asked for before the fold, which takes long enough for it to come; else it would be waited for with nothing to do.  And a data column's rows come in any
 * order, so only the code knows what the next batch reads.
 */
#include "backends/cpu.h"

/* Buffers that no cache holds from step to step; folds shorter than this end before anything has come. */
enum { LARGE_BYTES = 1 << 18, LONG_FOLD = 32 };

static void fetch(Emit *e, LLVMValueRef place, bool to_write)
{
    LLVMTypeRef pointer = LLVMPointerTypeInContext(e->C, 0);

    /* into the second cache, data */
    cpu_intrinsic(e, "llvm.prefetch", &pointer, 1, (LLVMValueRef[]){ place, cpu_i32(e, to_write), cpu_i32(e, 2), cpu_i32(e, 1) }, 4);
}

void cpu_fetch_row(Emit *e, const Stmt *s, LLVMValueRef row)
{
    fetch(e, cpu_element(e, row, cpu_memory_type(e, e->p->buf[s->buf].dtype), s->at, 1), false);
}

static void fetch_access(Emit *e, const Stmt *s)
{
    const Buffer *b = &e->p->buf[s->buf];

    if ((b->seg == SEG_STATE || b->seg == SEG_SCRATCH) && !(s->kind == ST_LOAD && s->narg) && b->count * dt_bytes(b->dtype) >= LARGE_BYTES && !cpu_is_picked(e, s->at)
        && cpu_lane_stride(e, s->at) == 1)
        fetch(e, cpu_element(e, e->base[s->buf], cpu_memory_type(e, b->dtype), s->at, 1), s->kind == ST_STORE);
}

/* The loads and stores of statements that are written out, a line each. */
static void fetch_list(Emit *e, const Stmt *s)
{
    for (; s; s = s->next) {
        int     lanes = s->kind == ST_FOR ? cpu_loop_lanes(e, s) : 0;
        int64_t step = lanes ? lanes : 1;

        if ((s->kind == ST_LOAD || s->kind == ST_STORE) && e->vec_var >= 0)
            fetch_access(e, s);
        if (s->kind != ST_FOR || !(cpu_is_unrolled(e, s) || (lanes && (s->unroll || s->extent <= lanes))))
            continue;
        e->vec_var = lanes ? s->id : e->vec_var;
        for (int64_t i = 0; i < s->extent; i += step) {
            e->var[s->id] = cpu_number(e, i);
            fetch_list(e, s->body);
        }
        e->vec_var = lanes ? -1 : e->vec_var;
    }
}

static double iterations(const Emit *e, const Stmt *s)
{
    double n = 0;

    for (const Stmt *in = s->body; in; in = in->next)
        if (in->kind == ST_FOR && !cpu_is_unrolled(e, in) && !cpu_loop_lanes(e, in))
            n += iterations(e, in);
    return (double)s->extent * (n > 1 ? n : 1);
}

static bool folds(const Stmt *s)
{
    for (; s; s = s->next)
        if (s->kind == ST_SET || folds(s->body))
            return true;
    return false;
}

void cpu_fetch_behind(Emit *e, const Stmt *loop)
{
    if (e->target->hints && e->k->scheduled && e->vec_var < 0 && loop->next && !loop->sieve && folds(loop->body) && iterations(e, loop) >= LONG_FOLD)
        fetch_list(e, loop->next);
}
