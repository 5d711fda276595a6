/* nvptx_mma.c - a product of tiles by the 32 threads of a warp: mma.sync m16n8k8 of tf32, m16n8k16 of bf16.
 *
 * Which thread holds what: PTX ISA, "Matrix Fragments for mma.m16n8k8" and "mma.m16n8k16".  With g = lane / 4 and t = lane % 4,
 * A has rows g and g + 8 and columns t and t + 4 (bf16: the pairs 2t, 2t + 1 and 8 on), B the same columns of A as rows and
 * column g, C rows g and g + 8 and columns 2t, 2t + 1.  Which place of the fold is which column is all the same to a sum, so of tf32 columns t
 * and t + 4 are places 2t and 2t + 1: neighbours in A, which are one access.
 */
#include "backends/llvm_compat.h"
#include "backends/nvptx.h"

enum { WARP = 32, NRESULT = 4 };

typedef struct Tile { Emit *e; const Stmt *s; LLVMValueRef g, t; } Tile;

/* Of an operand: its row of A or column of B, `across` + the lane's g, at place 2t + from of the fold. */
static LLVMValueRef address(Tile *t, int which, int across, int from)
{
    Emit        *e = t->e;
    const Guard *at = &t->s->guard[which];
    Place        first = nvptx_place(e, t->s->operand[which], at->at);
    LLVMTypeRef  real = LLVMFloatTypeInContext(e->C);
    bool         along = !which || t->s->turned;           /* the fold lies along rows */
    LLVMValueRef k = LLVMBuildShl(e->B, t->t, cpu_i32(e, 1), ""), row = along ? t->g : k, column = along ? k : t->g, v;
    LLVMValueRef lane = LLVMBuildAdd(e->B, LLVMBuildMul(e->B, row, cpu_i32(e, at->size), ""), column, "");
    LLVMValueRef rest = cpu_i64(e, along ? across * at->size + from : from * at->size + across);

    /* what the lane gives comes first, so that the rest is a displacement */
    v = LLVMBuildGEP2(e->B, real, first.pointer, &lane, 1, "");
    return LLVMBuildGEP2(e->B, real, v, &rest, 1, "");
}

static LLVMValueRef load(Emit *e, LLVMTypeRef type, LLVMValueRef at, unsigned align)
{
    LLVMValueRef v = LLVMBuildLoad2(e->B, type, at, "");

    LLVMSetAlignment(v, align);
    return v;
}

/* Places 2t + from and the next. */
static void load_pair(Tile *t, int which, int across, int from, LLVMValueRef pair[2])
{
    Emit        *e = t->e;
    const Guard *at = &t->s->guard[which];
    LLVMTypeRef  real = LLVMFloatTypeInContext(e->C);
    bool         together = (!which || t->s->turned) && at->size % 2 == 0 && cpu_align(e, at->at, 4, 8) == 8;
    LLVMValueRef v = together ? load(e, LLVMVectorType(real, 2), address(t, which, across, from), 8) : NULL;

    for (int i = 0; i < 2; i++)
        pair[i] = together ? LLVMBuildExtractElement(e->B, v, cpu_i32(e, i), "") : load(e, real, address(t, which, across, from + i), 4);
}

/* The words of one row of A, or one column of B. */
static void words(Tile *t, int which, int across, LLVMValueRef word[2])
{
    Emit        *e = t->e;
    LLVMValueRef pair[2];
    /* halves to even are one instruction where there is that, halves away from zero are three */
    const char  *round = e->gpu->sm->sm >= 90 ? compat_to_tf32_even : compat_to_tf32;

    if (!t->s->bf16) {
        load_pair(t, which, across, 0, pair);
        for (int i = 0; i < 2; i++)
            word[i] = nvptx_call(e, round, &pair[i], 1);
        return;
    }
    for (int i = 0; i < 2; i++) {
        load_pair(t, which, across, 8 * i, pair);
        /* the second argument is the lower half, which is the lower place */
        word[i] = LLVMBuildBitCast(e->B, nvptx_call(e, compat_to_bf16, (LLVMValueRef[]){ pair[1], pair[0] }, 2), LLVMInt32TypeInContext(e->C), "");
    }
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
    LLVMValueRef arg[10], word[2], out;
    int          n = 6;

    if (!e->gpu->sm->mma || e->gpu->level.threads != WARP) {
        nvptx_refuse(e, "%s has no product of tiles by %lld threads", e->gpu->sm->name, (long long)e->gpu->level.threads);
        return;
    }
    t.g = LLVMBuildLShr(e->B, e->gpu->level.thread, cpu_i32(e, 2), "");
    t.t = LLVMBuildAnd(e->B, e->gpu->level.thread, cpu_i32(e, 3), "");
    for (int row = 0; row < 2; row++) {
        words(&t, 0, 8 * row, word);
        arg[row] = word[0];
        arg[row + 2] = word[1];
    }
    words(&t, 1, 0, &arg[4]);
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
