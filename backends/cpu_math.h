/* cpu_math.h - what functions are written with (cpu_math.c, cpu_math64.c, cpu_angle.c): values of f32 or f64, single or lanes. */
#ifndef NND_BACKENDS_CPU_MATH_H
#define NND_BACKENDS_CPU_MATH_H

#include "backends/cpu.h"
#include "backends/llvm_compat.h"

typedef LLVMValueRef V;

static inline V add(Emit *e, V a, V b) { return LLVMBuildFAdd(e->B, a, b, ""); }
static inline V sub(Emit *e, V a, V b) { return LLVMBuildFSub(e->B, a, b, ""); }
static inline V mul(Emit *e, V a, V b) { return LLVMBuildFMul(e->B, a, b, ""); }
static inline V divide(Emit *e, V a, V b) { return LLVMBuildFDiv(e->B, a, b, ""); }
static inline V negative(Emit *e, V a) { return LLVMBuildFNeg(e->B, a, ""); }
static inline V magnitude(Emit *e, V a) { return cpu_intrinsic1(e, compat_fabs, a); }
static inline V choose(Emit *e, V condition, V a, V b) { return LLVMBuildSelect(e->B, condition, a, b, ""); }
static inline V less(Emit *e, V a, V b) { return LLVMBuildFCmp(e->B, LLVMRealOLT, a, b, ""); }
static inline V equal(Emit *e, V a, V b) { return LLVMBuildFCmp(e->B, LLVMRealOEQ, a, b, ""); }
static inline V is_nan(Emit *e, V a) { return LLVMBuildFCmp(e->B, LLVMRealUNO, a, a, ""); }
static inline V both(Emit *e, V a, V b) { return LLVMBuildAnd(e->B, a, b, ""); }

static inline V fma3(Emit *e, V a, V b, V c)
{
    LLVMTypeRef t = LLVMTypeOf(a);
    V           arg[3] = { a, b, c };

    return cpu_intrinsic(e, compat_fma, &t, 1, arg, 3);
}

static inline V with_sign(Emit *e, V a, V sign)
{
    LLVMTypeRef t = LLVMTypeOf(a);
    V           arg[2] = { a, sign };

    return cpu_intrinsic(e, compat_copysign, &t, 1, arg, 2);
}

/* c[0] x^(n-1) + ... + c[n-1] */
static inline V polynomial(Emit *e, V x, const double *c, int n)
{
    V y = cpu_float(x, c[0]);

    for (int i = 1; i < n; i++)
        y = fma3(e, y, x, cpu_float(x, c[i]));
    return y;
}

/* A format of numbers, and what exp needs to know of it. */
typedef struct RealFormat {
    int           bits, digits, bias;      /* digits: of the fraction, without the first */
    double        most, least;       /* exp is infinite above, 0 below */
    double        ln2_high, ln2_low;
    const double *exp;               /* (exp(r) - 1 - r) / r^2 */
    int           nexp;
} RealFormat;

extern const RealFormat real32, real64;

/* Of either format (cpu_math.c). */
V   real_exp(Emit *e, V x, const RealFormat *f);
V   real_sigmoid(Emit *e, V x, const RealFormat *f);
V   real_tanh(Emit *e, V x, V small, const RealFormat *f);      /* small: (tanh(x) / x - 1) / x^2, right below .625 */
/* x = m 2^k with m in [sqrt(1/2), sqrt(2)), which is returned; x > 0 and finite.  real_log_edges: log(x) = y, but for the other x. */
V   real_split(Emit *e, V x, V *k, const RealFormat *f);
V   real_log_edges(Emit *e, V x, V y);

/* sin of x + shift * pi / 2, of f64 (cpu_angle.c) */
V   cpu_wave(Emit *e, V x, int shift);

#endif
