/* nvptx_mma.c - a product of tiles by the 32 threads of a warp: mma.sync m16n8k8 of tf32, m16n8k16 of bf16.
 *
 * Which thread holds what: PTX ISA, "Matrix Fragments for mma.m16n8k8" and "mma.m16n8k16".  With g = lane / 4 and t = lane % 4,
 * A has rows g and g + 8 and columns t and t + 4 (bf16: the pairs 2t, 2t + 1 and 8 on), B the same columns of A as rows and
 * column g, C rows g and g + 8 and columns 2t, 2t + 1.
 */
#include "backends/llvm_compat.h"
#include "backends/nvptx.h"

enum { WARP = 32, NRESULT = 4 };

typedef struct Tile { Emit *e; const Stmt *s; LLVMValueRef g, t; } Tile;

/* Of operand number `which`: across + its lane's g, k + `from`; what the lane gives first, so that the rest is a displacement. */
static LLVMValueRef element(Tile *t, int which, int across, LLVMValueRef k, int from)
{
    Emit        *e = t->e;
    const Guard *at = &t->s->guard[which];
    Place        first = nvptx_place(e, t->s->operand[which], at->at);
    LLVMTypeRef  real = LLVMFloatTypeInContext(e->C);
    LLVMValueRef row = which ? k : t->g, column = which ? t->g : k, v;
    LLVMValueRef lane = LLVMBuildAdd(e->B, LLVMBuildMul(e->B, row, cpu_i32(e, at->size), ""), column, "");
    LLVMValueRef rest = cpu_i64(e, which ? from * at->size + across : across * at->size + from);

    v = LLVMBuildGEP2(e->B, real, first.pointer, &lane, 1, "");
    v = LLVMBuildLoad2(e->B, real, LLVMBuildGEP2(e->B, real, v, &rest, 1, ""), "");
    LLVMSetAlignment(v, 4);
    return v;
}

/* What a thread passes of one row of A, or one column of B, at k from `from` on. */
static LLVMValueRef word(Tile *t, int which, int across, int from)
{
    Emit        *e = t->e;
    LLVMValueRef v[2], k = t->s->bf16 ? LLVMBuildShl(e->B, t->t, cpu_i32(e, 1), "") : t->t;

    for (int i = 0; i < (t->s->bf16 ? 2 : 1); i++)
        v[i] = element(t, which, across, k, from + i);
    if (!t->s->bf16)
        return nvptx_call(e, compat_to_tf32, v, 1);
    /* the second argument is the lower half, which is the lower k */
    return LLVMBuildBitCast(e->B, nvptx_call(e, compat_to_bf16, (LLVMValueRef[]){ v[1], v[0] }, 2), LLVMInt32TypeInContext(e->C), "");
}

static Stmt result(Tile *t, int i)
{
    Stmt s = nvptx_own(t->e, t->s);

    s.at.base += i;
    return s;
}

void nvptx_mma(Emit *e, const Stmt *s)
{
    Tile         t = { .e = e, .s = s };
    LLVMValueRef arg[10], out;
    int          n = 0, half = s->bf16 ? 8 : 4;

    if (!e->gpu->sm->mma || e->gpu->level.threads != WARP) {
        nvptx_refuse(e, "%s has no product of tiles by %lld threads", e->gpu->sm->name, (long long)e->gpu->level.threads);
        return;
    }
    t.g = LLVMBuildLShr(e->B, e->gpu->level.thread, cpu_i32(e, 2), "");
    t.t = LLVMBuildAnd(e->B, e->gpu->level.thread, cpu_i32(e, 3), "");
    for (int i = 0; i < 4; i++)
        arg[n++] = word(&t, 0, i % 2 * 8, i / 2 * half);
    for (int i = 0; i < 2; i++)
        arg[n++] = word(&t, 1, 0, i * half);
    for (int i = 0; i < NRESULT; i++) {
        Stmt from = result(&t, i);

        arg[n++] = cpu_get(e, &from);
    }
    out = nvptx_call(e, s->bf16 ? compat_mma_bf16 : compat_mma_tf32, arg, n);
    for (int i = 0; i < NRESULT; i++) {
        Stmt to = result(&t, i);

        cpu_put(e, &to, LLVMBuildExtractValue(e->B, out, (unsigned)i, ""));
    }
}
