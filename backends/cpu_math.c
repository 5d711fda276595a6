/* cpu_math.c - exp, log, tanh, sigmoid, erf of f32, and random bits, as vector code.
 *
 * The same operations on every width, so a lane's bits don't depend on the target.  Coefficients are those of
 * S. Moshier's Cephes library (expf, logf, tanhf); those of erf interpolate at Chebyshev's nodes.  nan and
 * infinities pass through the arithmetic or are chosen at the end; nothing converts a nan to an integer.
 */
#include "backends/cpu.h"
#include "backends/llvm_compat.h"

static LLVMValueRef fma3(Emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
    LLVMTypeRef t = LLVMTypeOf(a);
    LLVMValueRef arg[3] = { a, b, c };

    return cpu_intrinsic(e, compat_fma, &t, 1, arg, 3);
}

static LLVMValueRef polynomial(Emit *e, LLVMValueRef x, const double *c, int n)
{
    LLVMValueRef y = cpu_float(x, c[0]);

    for (int i = 1; i < n; i++)
        y = fma3(e, y, x, cpu_float(x, c[i]));
    return y;
}

static LLVMTypeRef int_like(Emit *e, LLVMValueRef x) { return cpu_type_like(LLVMInt32TypeInContext(e->C), x); }

static LLVMValueRef less(Emit *e, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFCmp(e->B, LLVMRealOLT, a, b, ""); }

/* 2^n for n in -126..127, by its exponent bits */
static LLVMValueRef power_of_two(Emit *e, LLVMValueRef n, LLVMTypeRef type)
{
    n = LLVMBuildAdd(e->B, n, cpu_int(n, 127), "");
    return LLVMBuildBitCast(e->B, LLVMBuildShl(e->B, n, cpu_int(n, 23), ""), type, "");
}

/* exp(x) = 2^n exp(r), |r| <= ln 2 / 2; 2^n in two factors, so that denormal results come out right.  What rounds to 0, such as the
 * places that attention doesn't look at, is chosen and not computed: a product that small takes a processor a hundred cycles and more. */
LLVMValueRef cpu_exp(Emit *e, LLVMValueRef x)
{
    static const double c[] = { 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
                                4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1 };
    LLVMBuilderRef B = e->B;
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef hi = cpu_float(x, 89), zero = cpu_float(x, 0), magic = cpu_float(x, 0x1.8p23), t, n, r, p, half;
    LLVMValueRef gone = less(e, x, cpu_float(x, -104));

    x = LLVMBuildSelect(B, less(e, hi, x), hi, x, "");
    x = LLVMBuildSelect(B, gone, zero, x, "");
    /* adding 1.5 * 2^23 leaves the nearest integer in the low bits */
    t = fma3(e, x, cpu_float(x, 0x1.715476p0), magic);
    n = LLVMBuildSub(B, LLVMBuildBitCast(B, t, int_like(e, x), ""), LLVMBuildBitCast(B, magic, int_like(e, x), ""), "");
    t = LLVMBuildFSub(B, t, magic, "");
    r = fma3(e, t, cpu_float(x, -0x1.63p-1), x);
    r = fma3(e, t, cpu_float(x, 2.12194440e-4), r);
    p = polynomial(e, r, c, 6);
    p = fma3(e, LLVMBuildFMul(B, r, r, ""), p, r);
    p = LLVMBuildFAdd(B, p, cpu_float(x, 1), "");
    half = LLVMBuildAShr(B, n, cpu_int(n, 1), "");
    p = LLVMBuildFMul(B, p, power_of_two(e, half, type), "");
    p = LLVMBuildFMul(B, p, power_of_two(e, LLVMBuildSub(B, n, half, ""), type), "");
    return LLVMBuildSelect(B, gone, zero, p, "");
}

/* e = exp(-|x|) can't overflow: 1 / (1 + e) for x >= 0, e / (1 + e) below. */
LLVMValueRef cpu_sigmoid(Emit *e, LLVMValueRef x)
{
    LLVMValueRef one = cpu_float(x, 1), zero = cpu_float(x, 0);
    LLVMValueRef ex = cpu_exp(e, LLVMBuildFNeg(e->B, cpu_intrinsic1(e, compat_fabs, x), ""));
    LLVMValueRef top = LLVMBuildSelect(e->B, less(e, x, zero), ex, one, "");

    return LLVMBuildFDiv(e->B, top, LLVMBuildFAdd(e->B, one, ex, ""), "");
}

/* Of |x|, then the sign: an odd polynomial below .625, where 1 - 2/(exp(2x) + 1) would lose all digits. */
LLVMValueRef cpu_tanh(Emit *e, LLVMValueRef x)
{
    static const double c[] = { -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1 };
    LLVMBuilderRef B = e->B;
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef one = cpu_float(x, 1), a = cpu_intrinsic1(e, compat_fabs, x), z = LLVMBuildFMul(B, a, a, ""), big, pair[2];

    pair[0] = fma3(e, LLVMBuildFMul(B, polynomial(e, z, c, 5), z, ""), a, a);
    big = LLVMBuildFAdd(B, cpu_exp(e, LLVMBuildFAdd(B, a, a, "")), one, "");
    big = LLVMBuildFSub(B, one, LLVMBuildFDiv(B, cpu_float(x, 2), big, ""), "");
    pair[0] = LLVMBuildSelect(B, less(e, a, cpu_float(x, .625)), pair[0], big, "");
    pair[1] = x;
    return cpu_intrinsic(e, compat_copysign, &type, 1, pair, 2);
}

/* Of |x|, then the sign: x + x P(x^2) below 1, and 1 - exp(Q(|x|)) above, where Q is log(erfc) on [1, 4]: what is
 * beyond rounds to 1.  P and Q were computed with 40 digits and then rounded to f32. */
LLVMValueRef cpu_erf(Emit *e, LLVMValueRef x)
{
    static const double p[] = { 7.875874871388078e-05, -0.000801686430349946, 0.005189087241888046,
                                -0.02685421146452427, 0.11283594369888306, -0.3761262595653534, 0.12837916612625122 };
    static const double q[] = { -7.582681860185403e-08, 3.321684516777168e-06, -6.229834980331361e-05,
                                0.0006858366541564465, -0.005064947064965963, 0.027099523693323135,
                                -0.11105501651763916, -0.6309530138969421, -1.130675196647644,
                                0.00041632921784184873 };
    LLVMBuilderRef B = e->B;
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef one = cpu_float(x, 1), four = cpu_float(x, 4), a = cpu_intrinsic1(e, compat_fabs, x), small, pair[2];

    small = fma3(e, a, polynomial(e, LLVMBuildFMul(B, a, a, ""), p, 7), a);
    pair[0] = LLVMBuildSelect(B, less(e, four, a), four, a, "");
    pair[0] = LLVMBuildFSub(B, one, cpu_exp(e, polynomial(e, pair[0], q, 10)), "");
    pair[0] = LLVMBuildSelect(B, less(e, a, one), small, pair[0], "");
    pair[1] = x;
    return cpu_intrinsic(e, compat_copysign, &type, 1, pair, 2);
}

/* x = m 2^k with m in [sqrt(1/2), sqrt(2)); denormals are scaled up first. */
LLVMValueRef cpu_log(Emit *e, LLVMValueRef x)
{
    static const double c[] = { 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
                                -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1 };
    LLVMBuilderRef B = e->B;
    LLVMTypeRef type = LLVMTypeOf(x), itype = int_like(e, x);
    LLVMValueRef zero = cpu_float(x, 0), one = cpu_float(x, 1), tiny = less(e, x, cpu_float(x, 0x1p-126));
    LLVMValueRef bits, k, m, small, z, z2, y, in = x;

    x = LLVMBuildSelect(B, tiny, LLVMBuildFMul(B, x, cpu_float(x, 0x1p25), ""), x, "");
    bits = LLVMBuildBitCast(B, x, itype, "");
    k = LLVMBuildSub(B, LLVMBuildLShr(B, bits, cpu_int(bits, 23), ""), cpu_int(bits, 126), "");
    k = LLVMBuildSub(B, k, LLVMBuildSelect(B, tiny, cpu_int(bits, 25), cpu_int(bits, 0), ""), "");
    m = LLVMBuildOr(B, LLVMBuildAnd(B, bits, cpu_int(bits, 0x007fffff), ""), cpu_int(bits, 0x3f000000), "");
    m = LLVMBuildBitCast(B, m, type, "");
    small = less(e, m, cpu_float(x, 0.70710678118654752440));
    k = LLVMBuildSub(B, k, LLVMBuildZExt(B, small, itype, ""), "");
    z = LLVMBuildFSub(B, LLVMBuildSelect(B, small, LLVMBuildFAdd(B, m, m, ""), m, ""), one, "");
    k = LLVMBuildSIToFP(B, k, type, "");
    z2 = LLVMBuildFMul(B, z, z, "");
    y = LLVMBuildFMul(B, LLVMBuildFMul(B, polynomial(e, z, c, 9), z, ""), z2, "");
    y = fma3(e, k, cpu_float(x, -2.12194440e-4), y);
    y = fma3(e, z2, cpu_float(x, -.5), y);
    y = LLVMBuildFAdd(B, z, y, "");
    y = fma3(e, k, cpu_float(x, .693359375), y);
    /* 0, below 0, infinity and nan */
    y = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealUEQ, in, cpu_float(x, __builtin_inf()), ""), in, y, "");
    y = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOEQ, in, zero, ""), cpu_float(x, -__builtin_inf()), y, "");
    return LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealULT, in, zero, ""), cpu_float(x, __builtin_nan("")), y, "");
}

/* ---- random bits: ir/philox.h, lane by lane the same ---- */

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
    bits = LLVMBuildTrunc(B, bits, int_like(e, bits), "");
    bits = LLVMBuildLShr(B, bits, cpu_int(bits, 8), "");
    bits = LLVMBuildUIToFP(B, bits, cpu_type_like(cpu_scalar_type(e, d), index), "");
    return LLVMBuildFMul(B, bits, cpu_float(bits, 0x1p-24), "");
}
