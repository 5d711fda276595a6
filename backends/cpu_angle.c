/* cpu_angle.c - sin and cos of f64, of an argument of any size.
 *
 * x less a multiple of pi / 2, then a polynomial on what is left, at most pi / 4.  Up to 2^48 the multiple is taken away in three parts of
 * pi / 2.  Beyond, which is a branch that hardly any argument takes, x is multiplied by those bits of 2 / pi that matter: M. Payne and
 * R. Hanek, "Radian reduction for trigonometric functions", SIGNUM Newsletter, 1983.  Coefficients are those of Sun's fdlibm.
 */
#include <math.h>

#include "backends/cpu_math.h"

/* ---- large arguments ---- */

/* 2 / pi, 64 bits a word, behind a word of zeros. */
static const uint64_t two_over_pi[] = {
    0, 0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561,
    0xb7246e3a424dd2e0, 0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484,
    0xe99c7026b45f7e41, 0x3991d639835339f4, 0x9c845f8bbdf9283b, 0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d, 0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab,
};
enum { WORDS = sizeof two_over_pi / sizeof *two_over_pi };

/* Of an angle in quarter turns: how many whole ones, and the rest in radians. */
typedef struct Angle { V quarters, rest; } Angle;

/* Three words of numbers, the highest first. */
typedef struct Wide { V word[3]; } Wide;

static V low_product(Emit *e, V a, V b) { return LLVMBuildMul(e->B, a, b, ""); }

static V high_product(Emit *e, V a, V b)
{
    LLVMTypeRef i64 = LLVMTypeOf(a), i128 = LLVMIntTypeInContext(e->C, 128);
    V           p = LLVMBuildMul(e->B, LLVMBuildZExt(e->B, a, i128, ""), LLVMBuildZExt(e->B, b, i128, ""), "");

    return LLVMBuildTrunc(e->B, LLVMBuildLShr(e->B, p, LLVMConstInt(i128, 64, false), ""), i64, "");
}

/* The upper word of a and b, one behind the other, n bits further. */
static V shifted(Emit *e, V a, V b, V n)
{
    LLVMTypeRef i64 = LLVMTypeOf(a);
    V           arg[3] = { a, b, n };

    return cpu_intrinsic(e, compat_fshl, &i64, 1, arg, 3);
}

static V table(Emit *e)
{
    static const char name[] = "nnd_two_over_pi";
    LLVMTypeRef       i64 = LLVMInt64TypeInContext(e->C);
    V                 t = LLVMGetNamedGlobal(e->M, name), word[WORDS];

    if (t)
        return t;
    for (int i = 0; i < WORDS; i++)
        word[i] = LLVMConstInt(i64, two_over_pi[i], false);
    t = LLVMAddGlobalInAddressSpace(e->M, LLVMArrayType2(i64, WORDS), name, (unsigned)e->target->constants);
    LLVMSetInitializer(t, LLVMConstArray2(i64, word, WORDS));
    LLVMSetGlobalConstant(t, true);
    LLVMSetLinkage(t, LLVMPrivateLinkage);
    LLVMSetAlignment(t, 8);
    return t;
}

/* 192 bits of the table from bit number `at` on. */
static Wide window(Emit *e, V at)
{
    LLVMTypeRef i64 = LLVMTypeOf(at);
    V           word[4], first = LLVMBuildLShr(e->B, at, cpu_int(at, 6), "");
    Wide        w;

    for (int i = 0; i < 4; i++) {
        V index = LLVMBuildAdd(e->B, first, cpu_int(at, i), "");

        word[i] = LLVMBuildLoad2(e->B, i64, LLVMBuildInBoundsGEP2(e->B, i64, table(e), &index, 1, ""), "");
    }
    for (int i = 0; i < 3; i++)
        w.word[i] = shifted(e, word[i], word[i + 1], LLVMBuildAnd(e->B, at, cpu_int(at, 63), ""));
    return w;
}

/* m w, but for what is carried beyond the first word */
static Wide product(Emit *e, V m, const Wide *w)
{
    V carry = high_product(e, m, w->word[2]), middle = LLVMBuildAdd(e->B, low_product(e, m, w->word[1]), carry, ""), high;

    carry = LLVMBuildZExt(e->B, LLVMBuildICmp(e->B, LLVMIntULT, middle, carry, ""), LLVMTypeOf(m), "");
    high = LLVMBuildAdd(e->B, high_product(e, m, w->word[1]), carry, "");
    high = LLVMBuildAdd(e->B, low_product(e, m, w->word[0]), high, "");
    return (Wide){ { high, middle, low_product(e, m, w->word[2]) } };
}

static V real_of(Emit *e, V bits, double scale)
{
    V x = LLVMBuildUIToFP(e->B, bits, LLVMDoubleTypeInContext(e->C), "");

    return mul(e, x, cpu_float(x, scale));
}

/* pi / 2 times high 2^-64 + low 2^-128: of doubles none is nearer to a multiple of pi / 2 than 2^-62, so high has digits. */
static V radians(Emit *e, V high, V low)
{
    V a = real_of(e, LLVMBuildLShr(e->B, high, cpu_int(high, 32), ""), 0x1p-32);
    V b = real_of(e, LLVMBuildAnd(e->B, high, cpu_int(high, 0xffffffff), ""), 0x1p-64), sum = add(e, a, b), rest, y;
    V pi = cpu_float(a, 0x1.921fb54442d18p0), pi_low = cpu_float(a, 0x1.1a62633145c07p-54);

    rest = add(e, sub(e, b, sub(e, sum, a)), real_of(e, low, 0x1p-128));
    y = mul(e, sum, pi);
    rest = fma3(e, rest, pi, fma3(e, sum, pi_low, fma3(e, sum, pi, negative(e, y))));
    return add(e, y, rest);
}

/* Of a finite x from 2^48 on, by size. */
static Angle reduce_large(Emit *e, V x)
{
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->C);
    V           bits = LLVMBuildBitCast(e->B, x, i64, ""), exponent, m, sign, negated, q, high, low, rest;
    Wide        w;

    exponent = LLVMBuildAnd(e->B, LLVMBuildLShr(e->B, bits, cpu_int(bits, 52), ""), cpu_int(bits, 2047), "");
    m = LLVMBuildOr(e->B, LLVMBuildAnd(e->B, bits, cpu_int(bits, 0x000fffffffffffff), ""), cpu_int(bits, 0x0010000000000000), "");
    /* x = m 2^(exponent - 1075): from the bit on that makes two quarters; those before make whole turns */
    w = window(e, LLVMBuildSub(e->B, exponent, cpu_int(bits, 1013), ""));
    w = product(e, m, &w);
    q = LLVMBuildLShr(e->B, w.word[0], cpu_int(bits, 62), "");
    high = shifted(e, w.word[0], w.word[1], cpu_int(bits, 2));
    low = shifted(e, w.word[1], w.word[2], cpu_int(bits, 2));
    /* from half a quarter on, what is missing to the next one */
    sign = LLVMBuildAShr(e->B, high, cpu_int(bits, 63), "");
    q = LLVMBuildSub(e->B, q, sign, "");
    rest = radians(e, LLVMBuildXor(e->B, high, sign, ""), LLVMBuildXor(e->B, low, sign, ""));
    negated = LLVMBuildICmp(e->B, LLVMIntSLT, LLVMBuildXor(e->B, sign, bits, ""), cpu_int(bits, 0), "");
    rest = choose(e, negated, negative(e, rest), rest);
    q = choose(e, LLVMBuildICmp(e->B, LLVMIntSLT, bits, cpu_int(bits, 0), ""), LLVMBuildNeg(e->B, q, ""), q);
    return (Angle){ q, rest };
}

/* It as a function of the module, since it is long and hardly ever called. */
static V large_function(Emit *e)
{
    static const char name[] = "nnd_reduce_large";
    LLVMTypeRef       real = LLVMDoubleTypeInContext(e->C), member[2] = { LLVMInt64TypeInContext(e->C), real };
    LLVMBasicBlockRef back = LLVMGetInsertBlock(e->B);
    V                 fn = LLVMGetNamedFunction(e->M, name);
    Angle             angle;

    if (fn)
        return fn;
    fn = LLVMAddFunction(e->M, name, LLVMFunctionType(LLVMStructTypeInContext(e->C, member, 2, false), &real, 1, false));
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(e->C, LLVMGetEnumAttributeKindForName("noinline", 8), 0));
    LLVMPositionBuilderAtEnd(e->B, LLVMAppendBasicBlockInContext(e->C, fn, ""));
    angle = reduce_large(e, LLVMGetParam(fn, 0));
    LLVMBuildAggregateRet(e->B, (V[]){ angle.quarters, angle.rest }, 2);
    LLVMPositionBuilderAtEnd(e->B, back);
    return fn;
}

static Angle call_large(Emit *e, V x)
{
    V fn = large_function(e), both = LLVMBuildCall2(e->B, LLVMGlobalGetValueType(fn), fn, &x, 1, "");

    return (Angle){ LLVMBuildExtractValue(e->B, both, 0, ""), LLVMBuildExtractValue(e->B, both, 1, "") };
}

/* `otherwise`, but where x is huge. */
static Angle each_large(Emit *e, V x, V huge, Angle otherwise)
{
    Angle all = otherwise;

    if (!cpu_is_vector(x))
        return call_large(e, x);
    x = choose(e, huge, x, cpu_float(x, 0x1p49));          /* what is not may be too small for the table */
    for (unsigned i = 0; i < LLVMGetVectorSize(LLVMTypeOf(x)); i++) {
        V     at = cpu_i32(e, i);
        Angle one = call_large(e, LLVMBuildExtractElement(e->B, x, at, ""));

        all.quarters = LLVMBuildInsertElement(e->B, all.quarters, one.quarters, at, "");
        all.rest = LLVMBuildInsertElement(e->B, all.rest, one.rest, at, "");
    }
    return (Angle){ choose(e, huge, all.quarters, otherwise.quarters), choose(e, huge, all.rest, otherwise.rest) };
}

/* ---- all arguments ---- */

static V is_any(Emit *e, V condition)
{
    LLVMTypeRef type = LLVMTypeOf(condition);

    if (!cpu_is_vector(condition))
        return condition;
    condition = LLVMBuildBitCast(e->B, condition, LLVMIntTypeInContext(e->C, LLVMGetVectorSize(type)), "");
    return LLVMBuildICmp(e->B, LLVMIntNE, condition, cpu_int(condition, 0), "");
}

static V joined(Emit *e, V a, LLVMBasicBlockRef from_a, V b, LLVMBasicBlockRef from_b)
{
    V phi = LLVMBuildPhi(e->B, LLVMTypeOf(a), "");

    LLVMAddIncoming(phi, &a, &from_a, 1);
    LLVMAddIncoming(phi, &b, &from_b, 1);
    return phi;
}

/* What is computed where any x is huge, else `usual`. */
static Angle branch(Emit *e, V x, V huge, Angle usual)
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->B), large = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    Angle             found, all;

    LLVMBuildCondBr(e->B, is_any(e, huge), large, after);
    LLVMPositionBuilderAtEnd(e->B, large);
    found = each_large(e, x, huge, usual);
    LLVMBuildBr(e->B, after);
    LLVMPositionBuilderAtEnd(e->B, after);
    all.quarters = joined(e, usual.quarters, before, found.quarters, large);
    all.rest = joined(e, usual.rest, before, found.rest, large);
    return all;
}

/* pi / 2 in three parts: n times the first is exact up to 2^48, and what the third lacks is below 2^-160. */
static Angle reduce(Emit *e, V x)
{
    V     huge = LLVMBuildFCmp(e->B, LLVMRealOGT, magnitude(e, x), cpu_float(x, 0x1p48), ""), safe = choose(e, huge, cpu_float(x, 0), x), n, r;
    Angle a;

    n = cpu_intrinsic1(e, compat_rint, mul(e, safe, cpu_float(x, 0x1.45f306dc9c883p-1)));
    r = fma3(e, n, cpu_float(x, -0x1.921fb54442d18p0), safe);
    r = fma3(e, n, cpu_float(x, -0x1.1a62633145c07p-54), r);
    r = fma3(e, n, cpu_float(x, 0x1.f1976b7ed8fbcp-110), r);
    LLVMTypeRef pair[2] = { cpu_type_like(LLVMInt64TypeInContext(e->C), x), LLVMTypeOf(x) };

    a = branch(e, x, huge, (Angle){ cpu_intrinsic(e, compat_fptosi, pair, 2, &n, 1), r });
    a.rest = choose(e, equal(e, magnitude(e, x), cpu_float(x, INFINITY)), cpu_float(x, NAN), a.rest);
    return a;
}

V cpu_wave(Emit *e, V x, int shift)
{
    static const double s[] = { 1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06, -1.98412698298579493134e-04,
                                8.33333333332248946124e-03, -1.66666666666666324348e-01 };
    static const double c[] = { -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07, 2.48015872894767294178e-05,
                                -1.38888888888741095749e-03, 4.16666666666666019037e-02 };
    Angle a = reduce(e, x);
    V     q = a.quarters, r = a.rest, z = mul(e, r, r), one = cpu_float(x, 1), half = mul(e, z, cpu_float(x, .5)), sine, cosine, w, y;

    sine = fma3(e, mul(e, polynomial(e, z, s, 6), z), r, r);
    sine = choose(e, equal(e, x, cpu_float(x, 0)), x, sine);         /* the sign of a zero */
    w = sub(e, one, half);
    cosine = sub(e, sub(e, one, w), half);
    cosine = add(e, w, fma3(e, mul(e, z, z), polynomial(e, z, c, 6), cosine));
    q = LLVMBuildAdd(e->B, q, cpu_int(q, shift), "");
    y = choose(e, LLVMBuildICmp(e->B, LLVMIntNE, LLVMBuildAnd(e->B, q, cpu_int(q, 1), ""), cpu_int(q, 0), ""), cosine, sine);
    return choose(e, LLVMBuildICmp(e->B, LLVMIntNE, LLVMBuildAnd(e->B, q, cpu_int(q, 2), ""), cpu_int(q, 0), ""), negative(e, y), y);
}
