/* cpu_random.c - random bits: ir/philox.h, lane by lane the same. */
#include "backends/cpu.h"

enum { ROUNDS = 10 };

/* Words in the low halves of i64, whatever is above them: so the products need no shuffles. */
typedef struct Philox { LLVMValueRef c[4], key[2]; } Philox;

static LLVMValueRef high_half(Emit *e, LLVMValueRef wide) { return LLVMBuildLShr(e->B, wide, cpu_int(wide, 32), ""); }

static LLVMValueRef product(Emit *e, LLVMValueRef c, int64_t by)
{
    return LLVMBuildMul(e->B, LLVMBuildAnd(e->B, c, cpu_int(c, 0xffffffff), ""), cpu_int(c, by), "");
}

static LLVMValueRef xor3(Emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
    return LLVMBuildXor(e->B, LLVMBuildXor(e->B, a, b, ""), c, "");
}

/* Keys are the same in all lanes. */
static LLVMValueRef like(Emit *e, LLVMValueRef scalar, LLVMValueRef of)
{
    return cpu_is_vector(of) && !cpu_is_vector(scalar) ? cpu_splat(e, scalar, (int)LLVMGetVectorSize(LLVMTypeOf(of))) : scalar;
}

static Philox next_round(Emit *e, const Philox *p)
{
    LLVMValueRef p0 = product(e, p->c[0], 0xD2511F53), p1 = product(e, p->c[2], 0xCD9E8D57);
    LLVMValueRef c0 = xor3(e, high_half(e, p1), p->c[1], like(e, p->key[0], p1));
    LLVMValueRef c2 = xor3(e, high_half(e, p0), p->c[3], like(e, p->key[1], p0));

    return (Philox){ { c0, p1, c2, p0 }, { LLVMBuildAdd(e->B, p->key[0], cpu_int(p->key[0], 0x9E3779B9), ""),
                                           LLVMBuildAdd(e->B, p->key[1], cpu_int(p->key[1], 0xBB67AE85), "") } };
}

static void incoming(LLVMValueRef phi, LLVMValueRef value, LLVMBasicBlockRef from) { LLVMAddIncoming(phi, &value, &from, 1); }

static void philox_phis(Emit *e, Philox *p, const Philox *start, LLVMBasicBlockRef from)
{
    for (int i = 0; i < 4; i++)
        incoming(p->c[i] = LLVMBuildPhi(e->B, LLVMTypeOf(start->c[i]), ""), start->c[i], from);
    for (int i = 0; i < 2; i++)
        incoming(p->key[i] = LLVMBuildPhi(e->B, LLVMTypeOf(start->key[i]), ""), start->key[i], from);
}

/* The rounds as a loop: written out they are more code than most kernels. */
static LLVMValueRef run_rounds(Emit *e, const Philox *start)
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->B), body = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMValueRef i, left;
    Philox p, next;

    LLVMBuildBr(e->B, body);
    LLVMPositionBuilderAtEnd(e->B, body);
    i = LLVMBuildPhi(e->B, LLVMInt32TypeInContext(e->C), "");
    philox_phis(e, &p, start, before);
    next = next_round(e, &p);
    left = LLVMBuildSub(e->B, i, cpu_i32(e, 1), "");
    LLVMBuildCondBr(e->B, LLVMBuildICmp(e->B, LLVMIntNE, left, cpu_i32(e, 0), ""), body, after);
    incoming(i, cpu_i32(e, ROUNDS), before);
    incoming(i, left, body);
    for (int j = 0; j < 4; j++)
        incoming(p.c[j], next.c[j], body);
    for (int j = 0; j < 2; j++)
        incoming(p.key[j], next.key[j], body);
    LLVMPositionBuilderAtEnd(e->B, after);
    return next.c[0];
}

LLVMValueRef cpu_random(Emit *e, LLVMValueRef index, LLVMValueRef seed, LLVMValueRef step, LLVMValueRef stream, Dtype d)
{
    LLVMBuilderRef B = e->B;
    LLVMValueRef wide = LLVMBuildZExt(B, stream, LLVMInt64TypeInContext(e->C), ""), bits;

    bits = run_rounds(e, &(Philox){ { index, high_half(e, index), like(e, wide, index), like(e, step, index) },
                                    { seed, high_half(e, seed) } });
    bits = LLVMBuildTrunc(B, bits, cpu_type_like(LLVMInt32TypeInContext(e->C), bits), "");
    bits = LLVMBuildLShr(B, bits, cpu_int(bits, 8), "");
    bits = LLVMBuildUIToFP(B, bits, cpu_type_like(cpu_scalar_type(e, d), index), "");
    return LLVMBuildFMul(B, bits, cpu_float(bits, 0x1p-24), "");
}
