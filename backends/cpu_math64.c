/* cpu_math64.c - functions of f64, and sin, cos and pow of f32, as code without a library: what a GPU has.
 *
 * Coefficients are those of Sun's fdlibm (log, sin, cos) and of S. Moshier's Cephes library (tanh, erf); exp is Taylor's series
 * on |r| <= ln 2 / 2.  Whatever a function does for nan, infinities and zeros is chosen at its end, as everything is: no branch.
 * Error bounds are in backends/README.md.
 */
#include <assert.h>

#include "backends/cpu_math.h"

static const double exp_terms[] = { 1 / 6227020800.0, 1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0, 1 / 5040.0,
                                    1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, .5 };

const RealFormat real64 = { .bits = 64, .digits = 52, .bias = 1023, .most = 710, .least = -746, .ln2_high = 0x1.62e42fefa39efp-1,
                            .ln2_low = 0x1.abc9e3b39803fp-56, .exp = exp_terms, .nexp = 12 };

static V exp64(Emit *e, V x) { return real_exp(e, x, &real64); }

static const double log_tail[] = { 1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01, 2.222219843214978396e-01,
                                   2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01 };

static V log64(Emit *e, V x)
{
    V k, f = sub(e, real_split(e, x, &k, &real64), cpu_float(x, 1)), s = divide(e, f, add(e, f, cpu_float(x, 2))), z = mul(e, s, s), half, r;

    half = mul(e, mul(e, f, f), cpu_float(x, .5));
    r = mul(e, polynomial(e, z, log_tail, 7), z);
    r = fma3(e, s, add(e, half, r), mul(e, k, cpu_float(x, 1.90821492927058770002e-10)));
    r = sub(e, f, sub(e, half, r));
    return real_log_edges(e, x, fma3(e, k, cpu_float(x, 6.93147180369123816490e-01), r));
}

static V tanh64(Emit *e, V x)
{
    static const double p[] = { -9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3 };
    static const double q[] = { 1, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3 };
    V z = mul(e, x, x);

    return real_tanh(e, x, divide(e, polynomial(e, z, p, 3), polynomial(e, z, q, 4)), &real64);
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
    V   k, m = real_split(e, x, &k, &real64), z, rest;
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

/* a^y for a >= 0, but for the edges */
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

/* The same, far within what f32 can tell. */
static V near_power(Emit *e, V a, V y) { return exp64(e, mul(e, y, log64(e, a))); }

static V power(Emit *e, V x, V y, V (*of_size)(Emit *, V, V))
{
    V zero = cpu_float(x, 0), one = cpu_float(x, 1), inf = cpu_float(x, __builtin_inf()), a = magnitude(e, x), r, half, whole, odd, bad;

    r = of_size(e, a, y);
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
    case OP_sigmoid: return real_sigmoid(e, a[0], &real64);
    case OP_erf:     return erf64(e, a[0]);
    case OP_sin:     return cpu_wave(e, a[0], 0);
    case OP_cos:     return cpu_wave(e, a[0], 1);
    case OP_pow:     return power(e, a[0], a[1], plain_power);
    default: assert(!"a row without code for a GPU"); return a[0];
    }
}

/* Of f32: computed as f64, and rounded once. */
static V through64(Emit *e, Op op, V *a)
{
    LLVMTypeRef real = LLVMDoubleTypeInContext(e->C);
    V           wide[2], y;

    for (int i = 0; i < op_info[op].narg; i++)
        wide[i] = LLVMBuildFPExt(e->B, a[i], cpu_type_like(real, a[i]), "");
    y = op == OP_pow ? power(e, wide[0], wide[1], near_power) : function64(e, op, wide);
    return LLVMBuildFPTrunc(e->B, y, LLVMTypeOf(a[0]), "");
}

V cpu_sin(Emit *e, V x) { return through64(e, OP_sin, &x); }
V cpu_cos(Emit *e, V x) { return through64(e, OP_cos, &x); }
V cpu_pow(Emit *e, V x, V y) { return through64(e, OP_pow, (V[]){ x, y }); }

V cpu_own_function(Emit *e, Op op, Dtype d, V *arg) { return d == DT_f64 ? function64(e, op, arg) : cpu_function(e, op, d, arg); }
