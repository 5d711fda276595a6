/* cpu_math64.c - functions of f64, and sin, cos and pow of f32, as code without a library: what a GPU has.
 *
 * Coefficients are those of Sun's fdlibm (log, sin, cos) and of S. Moshier's Cephes library (tanh, erf); exp is Taylor's series
 * on |r| <= ln 2 / 2.  Whatever a function does for nan, infinities and zeros is chosen at its end, as everything is: no branch.
 * Error bounds are in backends/README.md.
 */
#include <assert.h>

#include "backends/cpu.h"
#include "backends/llvm_compat.h"

typedef LLVMValueRef V;

/* ---- arithmetic ---- */

static V add(Emit *e, V a, V b) { return LLVMBuildFAdd(e->B, a, b, ""); }
static V sub(Emit *e, V a, V b) { return LLVMBuildFSub(e->B, a, b, ""); }
static V mul(Emit *e, V a, V b) { return LLVMBuildFMul(e->B, a, b, ""); }
static V divide(Emit *e, V a, V b) { return LLVMBuildFDiv(e->B, a, b, ""); }
static V negative(Emit *e, V a) { return LLVMBuildFNeg(e->B, a, ""); }
static V magnitude(Emit *e, V a) { return cpu_intrinsic1(e, compat_fabs, a); }
static V choose(Emit *e, V condition, V a, V b) { return LLVMBuildSelect(e->B, condition, a, b, ""); }
static V less(Emit *e, V a, V b) { return LLVMBuildFCmp(e->B, LLVMRealOLT, a, b, ""); }
static V equal(Emit *e, V a, V b) { return LLVMBuildFCmp(e->B, LLVMRealOEQ, a, b, ""); }
static V is_nan(Emit *e, V a) { return LLVMBuildFCmp(e->B, LLVMRealUNO, a, a, ""); }
static V both(Emit *e, V a, V b) { return LLVMBuildAnd(e->B, a, b, ""); }

static V fma3(Emit *e, V a, V b, V c)
{
    LLVMTypeRef t = LLVMTypeOf(a);
    V arg[3] = { a, b, c };

    return cpu_intrinsic(e, compat_fma, &t, 1, arg, 3);
}

static V with_sign(Emit *e, V a, V sign)
{
    LLVMTypeRef t = LLVMTypeOf(a);
    V arg[2] = { a, sign };

    return cpu_intrinsic(e, compat_copysign, &t, 1, arg, 2);
}

static V polynomial(Emit *e, V x, const double *c, int n)
{
    V y = cpu_float(x, c[0]);

    for (int i = 1; i < n; i++)
        y = fma3(e, y, x, cpu_float(x, c[i]));
    return y;
}

static LLVMTypeRef whole_like(Emit *e, V x) { return cpu_type_like(LLVMInt64TypeInContext(e->C), x); }

/* 2^n for n in -1022..1023, an integer */
static V power_of_two(Emit *e, V n, LLVMTypeRef type)
{
    n = LLVMBuildAdd(e->B, n, cpu_int(n, 1023), "");
    return LLVMBuildBitCast(e->B, LLVMBuildShl(e->B, n, cpu_int(n, 52), ""), type, "");
}

/* ---- exp, log ---- */

/* exp(x) = 2^n exp(r); 2^n in two factors, so that denormal results come out right. */
static V exp64(Emit *e, V x)
{
    static const double c[] = { 1 / 6227020800.0, 1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0, 1 / 5040.0,
                                1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, .5 };
    V most = cpu_float(x, 710), least = cpu_float(x, -746), magic = cpu_float(x, 0x1.8p52), t, n, r, p, half, in = x;

    x = choose(e, less(e, most, x), most, x);
    x = choose(e, less(e, x, least), least, x);
    /* adding 1.5 * 2^52 leaves the nearest integer in the low bits */
    t = fma3(e, x, cpu_float(x, 0x1.71547652b82fep0), magic);
    n = LLVMBuildSub(e->B, LLVMBuildBitCast(e->B, t, whole_like(e, x), ""), LLVMBuildBitCast(e->B, magic, whole_like(e, x), ""), "");
    t = sub(e, t, magic);
    r = fma3(e, t, cpu_float(x, -0x1.62e42fefa39efp-1), x);
    r = fma3(e, t, cpu_float(x, -0x1.abc9e3b39803fp-56), r);
    p = polynomial(e, r, c, 12);
    p = add(e, fma3(e, mul(e, r, r), p, r), cpu_float(x, 1));
    half = LLVMBuildAShr(e->B, n, cpu_int(n, 1), "");
    p = mul(e, p, power_of_two(e, half, LLVMTypeOf(x)));
    p = mul(e, p, power_of_two(e, LLVMBuildSub(e->B, n, half, ""), LLVMTypeOf(x)));
    return choose(e, is_nan(e, in), in, p);
}

/* x = m 2^k with m in [sqrt(1/2), sqrt(2)), x > 0 and finite; denormals are scaled up first. */
static V split(Emit *e, V x, V *k)
{
    LLVMTypeRef type = LLVMTypeOf(x), wtype = whole_like(e, x);
    V tiny = less(e, x, cpu_float(x, 0x1p-1022)), bits, n, m, small;

    x = choose(e, tiny, mul(e, x, cpu_float(x, 0x1p54)), x);
    bits = LLVMBuildBitCast(e->B, x, wtype, "");
    n = LLVMBuildSub(e->B, LLVMBuildLShr(e->B, bits, cpu_int(bits, 52), ""), cpu_int(bits, 1022), "");
    n = LLVMBuildSub(e->B, n, choose(e, tiny, cpu_int(bits, 54), cpu_int(bits, 0)), "");
    m = LLVMBuildOr(e->B, LLVMBuildAnd(e->B, bits, cpu_int(bits, 0x000fffffffffffff), ""), cpu_int(bits, 0x3fe0000000000000), "");
    m = LLVMBuildBitCast(e->B, m, type, "");
    small = less(e, m, cpu_float(x, 0.70710678118654752440));
    n = LLVMBuildSub(e->B, n, LLVMBuildZExt(e->B, small, wtype, ""), "");
    *k = LLVMBuildSIToFP(e->B, n, type, "");
    return choose(e, small, add(e, m, m), m);
}

/* 0, below 0, infinity and nan */
static V log_edges(Emit *e, V x, V y)
{
    y = choose(e, LLVMBuildFCmp(e->B, LLVMRealUEQ, x, cpu_float(x, __builtin_inf()), ""), x, y);
    y = choose(e, equal(e, x, cpu_float(x, 0)), cpu_float(x, -__builtin_inf()), y);
    return choose(e, less(e, x, cpu_float(x, 0)), cpu_float(x, __builtin_nan("")), y);
}

static const double log_tail[] = { 1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01, 2.222219843214978396e-01,
                                   2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01 };

static V log64(Emit *e, V x)
{
    V k, f = sub(e, split(e, x, &k), cpu_float(x, 1)), s = divide(e, f, add(e, f, cpu_float(x, 2))), z = mul(e, s, s), half, r;

    half = mul(e, mul(e, f, f), cpu_float(x, .5));
    r = mul(e, polynomial(e, z, log_tail, 7), z);
    r = fma3(e, s, add(e, half, r), mul(e, k, cpu_float(x, 1.90821492927058770002e-10)));
    r = sub(e, f, sub(e, half, r));
    return log_edges(e, x, fma3(e, k, cpu_float(x, 6.93147180369123816490e-01), r));
}

/* ---- tanh, sigmoid, erf ---- */

static V tanh64(Emit *e, V x)
{
    static const double p[] = { -9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3 };
    static const double q[] = { 1, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3 };
    V one = cpu_float(x, 1), a = magnitude(e, x), z = mul(e, a, a), small, big;

    small = divide(e, polynomial(e, z, p, 3), polynomial(e, z, q, 4));
    small = fma3(e, mul(e, small, z), a, a);
    big = add(e, exp64(e, add(e, a, a)), one);
    big = sub(e, one, divide(e, cpu_float(x, 2), big));
    return with_sign(e, choose(e, less(e, a, cpu_float(x, .625)), small, big), x);
}

static V sigmoid64(Emit *e, V x)
{
    V one = cpu_float(x, 1), y = exp64(e, negative(e, magnitude(e, x)));

    return divide(e, choose(e, less(e, x, cpu_float(x, 0)), y, one), add(e, one, y));
}

/* x T(x^2) / U(x^2) up to 1, else 1 - exp(-x^2) P(x) / Q(x); from 6 on it is 1 */
static V erf64(Emit *e, V x)
{
    static const double t[] = { 9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
                                5.55923013010394962768e4 };
    static const double u[] = { 1, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
                                4.92673942608635921086e4 };
    static const double p[] = { 2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
                                1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
                                5.57535335369399327526e2 };
    static const double q[] = { 1, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
                                1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3, 5.57535340817727675546e2 };
    V one = cpu_float(x, 1), six = cpu_float(x, 6), a = magnitude(e, x), z = mul(e, a, a), small, big;

    small = mul(e, a, divide(e, polynomial(e, z, t, 5), polynomial(e, z, u, 6)));
    a = choose(e, less(e, six, a), six, a);
    big = mul(e, exp64(e, negative(e, mul(e, a, a))), divide(e, polynomial(e, a, p, 9), polynomial(e, a, q, 9)));
    big = sub(e, one, big);
    big = choose(e, is_nan(e, x), x, big);
    return with_sign(e, choose(e, LLVMBuildFCmp(e->B, LLVMRealOLE, a, one, ""), small, big), x);
}

/* ---- sin, cos ---- */

/* x less a multiple of pi / 2, at most pi / 4 in size; *quarter is the multiple.  pi / 2 in three parts: right up to 2^48, where the
 * parts end; what is beyond counts as nothing. */
static V reduce(Emit *e, V x, V *quarter)
{
    V huge = LLVMBuildFCmp(e->B, LLVMRealOGT, magnitude(e, x), cpu_float(x, 0x1p48), ""), n, r;
    V safe = choose(e, huge, mul(e, x, cpu_float(x, 0)), x);         /* of infinity: nan */

    n = cpu_intrinsic1(e, compat_rint, mul(e, safe, cpu_float(x, 0x1.45f306dc9c883p-1)));
    r = fma3(e, n, cpu_float(x, -0x1.921fb54442d18p0), safe);
    r = fma3(e, n, cpu_float(x, -0x1.1a62633145c07p-54), r);
    r = fma3(e, n, cpu_float(x, 0x1.f1976b7ed8fbcp-110), r);
    LLVMTypeRef pair[2] = { whole_like(e, x), LLVMTypeOf(x) };

    *quarter = cpu_intrinsic(e, compat_fptosi, pair, 2, &n, 1);
    return r;
}

/* sin of x + shift * pi / 2 */
static V wave(Emit *e, V x, int shift)
{
    static const double s[] = { 1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06, -1.98412698298579493134e-04,
                                8.33333333332248946124e-03, -1.66666666666666324348e-01 };
    static const double c[] = { -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07, 2.48015872894767294178e-05,
                                -1.38888888888741095749e-03, 4.16666666666666019037e-02 };
    V q, r = reduce(e, x, &q), z = mul(e, r, r), one = cpu_float(x, 1), half = mul(e, z, cpu_float(x, .5)), sine, cosine, w, y;

    sine = fma3(e, mul(e, polynomial(e, z, s, 6), z), r, r);
    sine = choose(e, equal(e, x, cpu_float(x, 0)), x, sine);         /* the sign of a zero */
    w = sub(e, one, half);
    cosine = sub(e, sub(e, one, w), half);
    cosine = add(e, w, fma3(e, mul(e, z, z), polynomial(e, z, c, 6), cosine));
    q = LLVMBuildAdd(e->B, q, cpu_int(q, shift), "");
    y = choose(e, LLVMBuildICmp(e->B, LLVMIntNE, LLVMBuildAnd(e->B, q, cpu_int(q, 1), ""), cpu_int(q, 0), ""), cosine, sine);
    return choose(e, LLVMBuildICmp(e->B, LLVMIntNE, LLVMBuildAnd(e->B, q, cpu_int(q, 2), ""), cpu_int(q, 0), ""), negative(e, y), y);
}

/* ---- pow ---- */

/* A number in two parts, whose sum has twice the digits. */
typedef struct Two { V high, low; } Two;

static Two two_sum(Emit *e, V a, V b)         /* |a| >= |b| or a is 0 */
{
    V s = add(e, a, b);

    return (Two){ s, sub(e, b, sub(e, s, a)) };
}

static Two two_product(Emit *e, V a, V b)
{
    V p = mul(e, a, b);

    return (Two){ p, fma3(e, a, b, negative(e, p)) };
}

static Two times(Emit *e, Two a, Two b)
{
    Two p = two_product(e, a.high, b.high);

    return two_sum(e, p.high, add(e, p.low, fma3(e, a.high, b.low, mul(e, a.low, b.high))));
}

/* (m - 1) / (m + 1) */
static Two atanh_argument(Emit *e, V m)
{
    V one = cpu_float(m, 1), top = sub(e, m, one);                  /* exact, as m is within a factor 2 of 1 */
    Two bottom = two_sum(e, one, m);
    V s, rest;

    s = divide(e, top, bottom.high);
    rest = fma3(e, negative(e, s), bottom.high, top);
    rest = fma3(e, negative(e, s), bottom.low, rest);
    return (Two){ s, divide(e, rest, bottom.high) };
}

/* log(x) of x > 0: 2 atanh(s) = 2 s + 2 s^3 / 3 + ..., the first two terms in two parts. */
static Two log_two(Emit *e, V x)
{
    /* 2 / (2 i + 1) from i = 12 down to 2 */
    static const double c[] = { 2 / 25.0, 2 / 23.0, 2 / 21.0, 2 / 19.0, 2 / 17.0, 2 / 15.0, 2 / 13.0, 2 / 11.0, 2 / 9.0, 2 / 7.0, 2 / 5.0 };
    V   k, m = split(e, x, &k), z, rest;
    Two s = atanh_argument(e, m), square = times(e, s, s), cube = times(e, square, s), third, y, l;

    third = times(e, cube, (Two){ cpu_float(x, 0x1.5555555555555p-1), cpu_float(x, 0x1.5555555555555p-55) });
    z = square.high;
    rest = mul(e, mul(e, polynomial(e, z, c, 11), z), cube.high);
    l = two_product(e, k, cpu_float(x, 0x1.62e42fefa39efp-1));
    l.low = fma3(e, k, cpu_float(x, 0x1.abc9e3b39803fp-56), l.low);
    y = two_sum(e, add(e, s.high, s.high), third.high);
    y.low = add(e, y.low, add(e, add(e, s.low, s.low), add(e, third.low, rest)));
    s = two_sum(e, l.high, y.high);                                  /* |k ln 2| is above what is added, or 0 */
    return two_sum(e, s.high, add(e, s.low, add(e, l.low, y.low)));
}

/* |x|^y, but for the edges */
static V plain_power(Emit *e, V a, V y)
{
    V   zero = cpu_float(a, 0), inf = cpu_float(a, __builtin_inf()), single = log64(e, a), p, edge, finite, most = cpu_float(a, 0x1p10);
    Two l = log_two(e, a), t;

    t = two_product(e, y, l.high);
    t.low = fma3(e, y, l.low, t.low);
    edge = mul(e, y, single);
    /* where the exponent overflows, or a is 0 or infinite, one part says all */
    finite = both(e, less(e, magnitude(e, edge), most), both(e, less(e, zero, a), less(e, a, inf)));
    p = exp64(e, choose(e, finite, t.high, edge));
    return choose(e, both(e, finite, less(e, p, inf)), fma3(e, p, t.low, p), p);
}

static V pow64(Emit *e, V x, V y)
{
    V zero = cpu_float(x, 0), one = cpu_float(x, 1), inf = cpu_float(x, __builtin_inf()), a = magnitude(e, x), r, half, whole, odd, bad;

    r = plain_power(e, a, y);
    half = mul(e, y, cpu_float(x, .5));
    whole = equal(e, cpu_intrinsic1(e, compat_floor, y), y);
    odd = both(e, whole, LLVMBuildFCmp(e->B, LLVMRealUNE, cpu_intrinsic1(e, compat_floor, half), half, ""));
    r = choose(e, equal(e, a, one), choose(e, is_nan(e, y), y, one), r);          /* also to the power of infinity */
    bad = both(e, both(e, less(e, x, zero), less(e, a, inf)), LLVMBuildNot(e->B, whole, ""));
    r = choose(e, bad, cpu_float(x, __builtin_nan("")), r);
    r = choose(e, odd, with_sign(e, r, x), r);
    r = choose(e, LLVMBuildOr(e->B, is_nan(e, x), is_nan(e, y), ""), add(e, x, y), r);
    return choose(e, LLVMBuildOr(e->B, equal(e, y, zero), equal(e, x, one), ""), one, r);
}

/* ---- all of them ---- */

static V function64(Emit *e, Op op, V *a)
{
    switch (op) {
    case OP_exp:     return exp64(e, a[0]);
    case OP_log:     return log64(e, a[0]);
    case OP_tanh:    return tanh64(e, a[0]);
    case OP_sigmoid: return sigmoid64(e, a[0]);
    case OP_erf:     return erf64(e, a[0]);
    case OP_sin:     return wave(e, a[0], 0);
    case OP_cos:     return wave(e, a[0], 1);
    case OP_pow:     return pow64(e, a[0], a[1]);
    default: assert(!"a row without code for a GPU"); return a[0];
    }
}

LLVMValueRef cpu_own_function(Emit *e, Op op, Dtype d, LLVMValueRef *arg)
{
    LLVMTypeRef real = LLVMDoubleTypeInContext(e->C);
    V wide[2], y;

    if (d == DT_f64)
        return function64(e, op, arg);
    switch (op) {
    case OP_exp: case OP_log: case OP_tanh: case OP_sigmoid: case OP_erf: return cpu_function(e, op, d, arg);
    default: break;
    }
    for (int i = 0; i < op_info[op].narg; i++)
        wide[i] = LLVMBuildFPExt(e->B, arg[i], cpu_type_like(real, arg[i]), "");
    y = function64(e, op, wide);
    return LLVMBuildFPTrunc(e->B, y, LLVMTypeOf(arg[0]), "");
}
