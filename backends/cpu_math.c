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

typedef struct Words { LLVMValueRef low, high; } Words;

static Words split(Emit *e, LLVMValueRef wide)
{
    LLVMTypeRef t = int_like(e, wide);

    return (Words){ LLVMBuildTrunc(e->B, wide, t, ""),
                    LLVMBuildTrunc(e->B, LLVMBuildLShr(e->B, wide, cpu_int(wide, 32), ""), t, "") };
}

static Words multiply(Emit *e, LLVMValueRef c, uint32_t by)
{
    LLVMValueRef wide = LLVMBuildZExt(e->B, c, cpu_type_like(LLVMInt64TypeInContext(e->C), c), "");

    return split(e, LLVMBuildMul(e->B, wide, cpu_int(wide, by), ""));
}

static LLVMValueRef xor3(Emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
    return LLVMBuildXor(e->B, LLVMBuildXor(e->B, a, b, ""), c, "");
}

LLVMValueRef cpu_random(Emit *e, LLVMValueRef index, LLVMValueRef seed, LLVMValueRef step, LLVMValueRef stream, Dtype d)
{
    LLVMBuilderRef B = e->B;
    bool vec = cpu_is_vector(index);
    int lanes = vec ? (int)LLVMGetVectorSize(LLVMTypeOf(index)) : 1;
    Words c01 = split(e, index), key = split(e, vec ? cpu_splat(e, seed, lanes) : seed);
    LLVMValueRef c0 = c01.low, c1 = c01.high, c2 = cpu_is_vector(c01.low) ? cpu_vector(e, stream) : stream;
    LLVMValueRef c3 = split(e, vec ? cpu_splat(e, step, lanes) : step).low;

    for (int round = 0; round < 10; round++) {
        Words p0 = multiply(e, c0, 0xD2511F53u), p1 = multiply(e, c2, 0xCD9E8D57u);

        c0 = xor3(e, p1.high, c1, key.low);
        c2 = xor3(e, p0.high, c3, key.high);
        c1 = p1.low;
        c3 = p0.low;
        key.low = LLVMBuildAdd(B, key.low, cpu_int(c01.low, (int32_t)0x9E3779B9u), "");
        key.high = LLVMBuildAdd(B, key.high, cpu_int(c01.low, (int32_t)0xBB67AE85u), "");
    }
    c0 = LLVMBuildLShr(B, c0, cpu_int(c01.low, 8), "");
    c0 = LLVMBuildUIToFP(B, c0, cpu_type_like(cpu_scalar_type(e, d), index), "");
    return LLVMBuildFMul(B, c0, cpu_float(c0, 0x1p-24), "");
}
