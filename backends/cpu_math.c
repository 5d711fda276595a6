/* cpu_math.c - exp, log, tanh, sigmoid, erf of f32 as vector code, and what functions of f32 and f64 have in common.
 *
 * The same operations on every width, so a lane's bits don't depend on the target.  Coefficients are those of
 * S. Moshier's Cephes library (expf, logf, tanhf); those of erf interpolate at Chebyshev's nodes.  nan and
 * infinities pass through the arithmetic or are chosen at the end; nothing converts a nan to an integer.
 */
#include "backends/cpu_math.h"

#include <math.h>

/* ---- of either format ---- */

static LLVMTypeRef whole_like(Emit *e, V x, const RealFormat *f) { return cpu_type_like(LLVMIntTypeInContext(e->C, (unsigned)f->bits), x); }

static V bits_of(Emit *e, V x, const RealFormat *f) { return LLVMBuildBitCast(e->B, x, whole_like(e, x, f), ""); }

/* p 2^n for an integer n of which 2^(n/2) has an exponent: in two factors, so that denormal results come out right. */
static V times_power_of_two(Emit *e, V p, V n, const RealFormat *f)
{
    V half = LLVMBuildAShr(e->B, n, cpu_int(n, 1), ""), part[2] = { half, LLVMBuildSub(e->B, n, half, "") };

    for (int i = 0; i < 2; i++) {
        V power = LLVMBuildShl(e->B, LLVMBuildAdd(e->B, part[i], cpu_int(n, f->bias), ""), cpu_int(n, f->digits), "");

        p = mul(e, p, LLVMBuildBitCast(e->B, power, LLVMTypeOf(p), ""));
    }
    return p;
}

/* exp(x) = 2^n exp(r), |r| <= ln 2 / 2.  What rounds to 0, such as the places that attention doesn't look at, is chosen and not
 * computed: a product that small takes a processor a hundred cycles and more. */
V real_exp(Emit *e, V x, const RealFormat *f)
{
    /* adding 1.5 * 2^digits leaves the nearest integer in the low bits */
    V most = cpu_float(x, f->most), zero = cpu_float(x, 0), magic = cpu_float(x, ldexp(1.5, f->digits)), t, n, r, p;
    V gone = less(e, x, cpu_float(x, f->least));

    x = choose(e, less(e, most, x), most, x);
    x = choose(e, gone, zero, x);
    t = fma3(e, x, cpu_float(x, 0x1.71547652b82fep0), magic);
    n = LLVMBuildSub(e->B, bits_of(e, t, f), bits_of(e, magic, f), "");
    t = sub(e, t, magic);
    r = fma3(e, t, cpu_float(x, -f->ln2_high), x);
    r = fma3(e, t, cpu_float(x, -f->ln2_low), r);
    p = polynomial(e, r, f->exp, f->nexp);
    p = add(e, fma3(e, mul(e, r, r), p, r), cpu_float(x, 1));
    return choose(e, gone, zero, times_power_of_two(e, p, n, f));
}

/* y = exp(-|x|) can't overflow: 1 / (1 + y) for x >= 0, y / (1 + y) below. */
V real_sigmoid(Emit *e, V x, const RealFormat *f)
{
    V one = cpu_float(x, 1), y = real_exp(e, negative(e, magnitude(e, x)), f);

    return divide(e, choose(e, less(e, x, cpu_float(x, 0)), y, one), add(e, one, y));
}

/* Of |x|, then the sign: below .625 1 - 2/(exp(2x) + 1) would lose all digits. */
V real_tanh(Emit *e, V x, V small, const RealFormat *f)
{
    V one = cpu_float(x, 1), a = magnitude(e, x), big;

    small = fma3(e, mul(e, small, mul(e, a, a)), a, a);
    big = add(e, real_exp(e, add(e, a, a), f), one);
    big = sub(e, one, divide(e, cpu_float(x, 2), big));
    return with_sign(e, choose(e, less(e, a, cpu_float(x, .625)), small, big), x);
}

/* Denormals are scaled up first. */
V real_split(Emit *e, V x, V *k, const RealFormat *f)
{
    int up = f->digits + 2;
    V   tiny = less(e, x, cpu_float(x, ldexp(1, 1 - f->bias))), bits, n, m, small;

    x = choose(e, tiny, mul(e, x, cpu_float(x, ldexp(1, up))), x);
    bits = bits_of(e, x, f);
    n = LLVMBuildSub(e->B, LLVMBuildLShr(e->B, bits, cpu_int(bits, f->digits), ""), cpu_int(bits, f->bias - 1), "");
    n = LLVMBuildSub(e->B, n, choose(e, tiny, cpu_int(bits, up), cpu_int(bits, 0)), "");
    m = LLVMBuildOr(e->B, LLVMBuildAnd(e->B, bits, cpu_int(bits, (INT64_C(1) << f->digits) - 1), ""),
                    cpu_int(bits, (int64_t)(f->bias - 1) << f->digits), "");
    m = LLVMBuildBitCast(e->B, m, LLVMTypeOf(x), "");
    small = less(e, m, cpu_float(x, 0.70710678118654752440));
    n = LLVMBuildSub(e->B, n, LLVMBuildZExt(e->B, small, LLVMTypeOf(n), ""), "");
    *k = LLVMBuildSIToFP(e->B, n, LLVMTypeOf(x), "");
    return choose(e, small, add(e, m, m), m);
}

/* 0, below 0, infinity and nan */
V real_log_edges(Emit *e, V x, V y)
{
    y = choose(e, LLVMBuildFCmp(e->B, LLVMRealUEQ, x, cpu_float(x, INFINITY), ""), x, y);
    y = choose(e, equal(e, x, cpu_float(x, 0)), cpu_float(x, -INFINITY), y);
    return choose(e, less(e, x, cpu_float(x, 0)), cpu_float(x, NAN), y);
}

/* ---- of f32 ---- */

static const double exp32[] = { 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1 };

const RealFormat real32 = { .bits = 32, .digits = 23, .bias = 127, .most = 89, .least = -104, .ln2_high = 0x1.63p-1, .ln2_low = -2.12194440e-4,
                            .exp = exp32, .nexp = 6 };

V cpu_exp(Emit *e, V x) { return real_exp(e, x, &real32); }
V cpu_sigmoid(Emit *e, V x) { return real_sigmoid(e, x, &real32); }

V cpu_tanh(Emit *e, V x)
{
    static const double c[] = { -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1 };

    return real_tanh(e, x, polynomial(e, mul(e, x, x), c, 5), &real32);
}

/* Of |x|, then the sign: x + x P(x^2) below 1, and 1 - exp(Q(|x|)) above, where Q is log(erfc) on [1, 4]: what is
 * beyond rounds to 1.  P and Q were computed with 40 digits and then rounded to f32. */
V cpu_erf(Emit *e, V x)
{
    static const double p[] = { 7.875874871388078e-05, -0.000801686430349946, 0.005189087241888046,
                                -0.02685421146452427, 0.11283594369888306, -0.3761262595653534, 0.12837916612625122 };
    static const double q[] = { -7.582681860185403e-08, 3.321684516777168e-06, -6.229834980331361e-05,
                                0.0006858366541564465, -0.005064947064965963, 0.027099523693323135,
                                -0.11105501651763916, -0.6309530138969421, -1.130675196647644,
                                0.00041632921784184873 };
    V one = cpu_float(x, 1), four = cpu_float(x, 4), a = magnitude(e, x), small, big;

    small = fma3(e, a, polynomial(e, mul(e, a, a), p, 7), a);
    big = choose(e, less(e, four, a), four, a);
    big = sub(e, one, cpu_exp(e, polynomial(e, big, q, 10)));
    return with_sign(e, choose(e, less(e, a, one), small, big), x);
}

V cpu_log(Emit *e, V x)
{
    static const double c[] = { 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
                                -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1 };
    V k, z = sub(e, real_split(e, x, &k, &real32), cpu_float(x, 1)), z2 = mul(e, z, z), y;

    y = mul(e, mul(e, polynomial(e, z, c, 9), z), z2);
    y = fma3(e, k, cpu_float(x, real32.ln2_low), y);
    y = fma3(e, z2, cpu_float(x, -.5), y);
    y = add(e, z, y);
    return real_log_edges(e, x, fma3(e, k, cpu_float(x, real32.ln2_high), y));
}
