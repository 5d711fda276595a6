/* cpu_op.c - the scalar operations of ops.def, on single numbers and on vectors alike.
 *
 * Nothing here may be contracted, reassociated or assumed free of nan: LLVM is given no fast-math flag.
 * On a processor functions of f32 are polynomials (cpu_math.c, cpu_math64.c); those of f64 call the C library, lane by lane.
 */
#include <assert.h>
#include <math.h>

#include "backends/cpu.h"
#include "backends/llvm_compat.h"

/* Of f64.  Lanes that don't count are not computed. */
static LLVMValueRef libm(Emit *e, const char *name, LLVMValueRef *arg, int narg)
{
    LLVMTypeRef t = LLVMDoubleTypeInContext(e->C), param[2] = { t, t }, type = LLVMFunctionType(t, param, (unsigned)narg, false);
    LLVMValueRef fn = LLVMGetNamedFunction(e->M, name), result, lane[2];

    if (!fn)
        fn = LLVMAddFunction(e->M, name, type);
    if (!cpu_is_vector(arg[0]))
        return LLVMBuildCall2(e->B, type, fn, arg, (unsigned)narg, "");
    result = LLVMGetPoison(LLVMTypeOf(arg[0]));
    for (int i = 0; i < e->active; i++) {
        for (int j = 0; j < narg; j++)
            lane[j] = LLVMBuildExtractElement(e->B, arg[j], cpu_i64(e, i), "");
        lane[0] = LLVMBuildCall2(e->B, type, fn, lane, (unsigned)narg, "");
        result = LLVMBuildInsertElement(e->B, result, lane[0], cpu_i64(e, i), "");
    }
    return result;
}

/* ---- operations ---- */

static LLVMValueRef cast(Emit *e, Dtype from, Dtype to, LLVMValueRef a)
{
    LLVMTypeRef t = cpu_type_like(cpu_scalar_type(e, to), a), pair[2] = { t, LLVMTypeOf(a) };
    LLVMBuilderRef B = e->B;

    if (from == to)
        return a;
    if (to == DT_bool)
        return dt_is_float(from) ? LLVMBuildFCmp(B, LLVMRealUNE, a, LLVMConstNull(LLVMTypeOf(a)), "")
                                 : LLVMBuildICmp(B, LLVMIntNE, a, LLVMConstNull(LLVMTypeOf(a)), "");
    if (dt_is_float(from) && dt_is_float(to))
        return to == DT_f64 ? LLVMBuildFPExt(B, a, t, "") : LLVMBuildFPTrunc(B, a, t, "");
    if (dt_is_float(from))
        return cpu_intrinsic(e, to == DT_u8 ? compat_fptoui : compat_fptosi, pair, 2, &a, 1);
    bool is_unsigned = from == DT_bool || from == DT_u8;

    if (dt_is_float(to))
        return is_unsigned ? LLVMBuildUIToFP(B, a, t, "") : LLVMBuildSIToFP(B, a, t, "");
    if (dt_bytes(to) < dt_bytes(from) || (from != DT_bool && dt_bytes(to) == dt_bytes(from)))
        return LLVMBuildTrunc(B, a, t, "");
    return is_unsigned ? LLVMBuildZExt(B, a, t, "") : LLVMBuildSExt(B, a, t, "");
}

static LLVMValueRef compare(Emit *e, Op op, Dtype from, LLVMValueRef a, LLVMValueRef b)
{
    bool u = from == DT_u8 || from == DT_bool;

    if (dt_is_float(from)) {
        LLVMRealPredicate p = op == OP_lt ? LLVMRealOLT : op == OP_le ? LLVMRealOLE : op == OP_eq ? LLVMRealOEQ : LLVMRealUNE;

        return LLVMBuildFCmp(e->B, p, a, b, "");
    }
    LLVMIntPredicate p = op == OP_lt ? (u ? LLVMIntULT : LLVMIntSLT) : op == OP_le ? (u ? LLVMIntULE : LLVMIntSLE)
                         : op == OP_eq ? LLVMIntEQ : LLVMIntNE;

    return LLVMBuildICmp(e->B, p, a, b, "");
}

static LLVMValueRef whole_op(Emit *e, Op op, LLVMValueRef *a)
{
    switch (op) {
    case OP_add: return LLVMBuildAdd(e->B, a[0], a[1], "");
    case OP_sub: return LLVMBuildSub(e->B, a[0], a[1], "");
    case OP_mul: return LLVMBuildMul(e->B, a[0], a[1], "");
    case OP_neg: return LLVMBuildNeg(e->B, a[0], "");
    case OP_and: return LLVMBuildAnd(e->B, a[0], a[1], "");
    case OP_or:  return LLVMBuildOr(e->B, a[0], a[1], "");
    case OP_not: return LLVMBuildNot(e->B, a[0], "");
    default: assert(!"an operation of integers"); return a[0];
    }
}

/* The greater (OGT) or the less (OLT); a nan in either argument is the result.  With b's nan the comparison is
 * false; the compare and select of two is one instruction, which llvm.maximum with its order of zeros is not. */
static LLVMValueRef extremum(Emit *e, LLVMRealPredicate p, LLVMValueRef a, LLVMValueRef b)
{
    LLVMValueRef best = LLVMBuildSelect(e->B, LLVMBuildFCmp(e->B, p, a, b, ""), a, b, "");

    return LLVMBuildSelect(e->B, LLVMBuildFCmp(e->B, LLVMRealUNO, a, a, ""), a, best, "");
}

/* unordered, so that a nan stays one */
static LLVMValueRef relu(Emit *e, LLVMValueRef a)
{
    LLVMValueRef zero = cpu_float(a, 0);

    return LLVMBuildSelect(e->B, LLVMBuildFCmp(e->B, LLVMRealUGT, a, zero, ""), a, zero, "");
}

static LLVMValueRef fma3(Emit *e, LLVMValueRef *a)
{
    LLVMTypeRef t = LLVMTypeOf(a[0]);

    return cpu_intrinsic(e, compat_fma, &t, 1, a, 3);
}

static LLVMValueRef function32(Emit *e, Op op, LLVMValueRef *a)
{
    switch (op) {
    case OP_exp:     return cpu_exp(e, a[0]);
    case OP_log:     return cpu_log(e, a[0]);
    case OP_tanh:    return cpu_tanh(e, a[0]);
    case OP_sigmoid: return cpu_sigmoid(e, a[0]);
    case OP_erf:     return cpu_erf(e, a[0]);
    case OP_sin:     return cpu_sin(e, a[0]);
    case OP_cos:     return cpu_cos(e, a[0]);
    case OP_pow:     return cpu_pow(e, a[0], a[1]);
    default: assert(!"a row without code in the cpu backend"); return a[0];
    }
}

/* f32 by the polynomials, f64 by the C library. */
LLVMValueRef cpu_function(Emit *e, Op op, Dtype d, LLVMValueRef *a)
{
    LLVMValueRef x;

    if (d == DT_f32)
        return function32(e, op, a);
    if (op != OP_sigmoid)
        return libm(e, op_info[op].name, a, op_info[op].narg);
    x = LLVMBuildFNeg(e->B, a[0], "");
    x = LLVMBuildFAdd(e->B, libm(e, "exp", &x, 1), cpu_float(x, 1), "");
    return LLVMBuildFDiv(e->B, cpu_float(x, 1), x, "");
}

/* The constant that all lanes of an f32 value are; false if it is none. */
static bool constant_of(LLVMValueRef v, float *x)
{
    LLVMBool inexact;

    if (LLVMIsConstant(v) && cpu_is_vector(v))
        v = LLVMGetAggregateElement(v, 0);
    if (!v || !LLVMIsAConstantFP(v))
        return false;
    *x = (float)LLVMConstRealGetDouble(v, &inexact);
    return true;
}

static bool is_byte(LLVMValueRef v)
{
    LLVMTypeRef from;

    if (!LLVMIsAUIToFPInst(v))
        return false;
    from = LLVMTypeOf(LLVMGetOperand(v, 0));
    from = LLVMGetTypeKind(from) == LLVMVectorTypeKind ? LLVMGetElementType(from) : from;
    return LLVMGetIntTypeWidth(from) == 8;
}

/* x / c of every byte x as q + (x - q c) r with r = 1 / c, q = x r: P. Markstein, "Computation of elementary functions on the IBM RISC
 * System/6000 processor", 1990.  The bits of the quotient, for a third of its time; it is tried for all bytes whether they are. */
static bool divides_bytes(float c)
{
    float r = 1 / c;

    for (int x = 0; x < 256; x++) {
        float q = (float)x * r, by_steps = fmaf(fmaf(-q, c, (float)x), r, q);

        if (!(by_steps == (float)x / c) || signbit(by_steps) != signbit((float)x / c))
            return false;
    }
    return true;
}

static LLVMValueRef divide(Emit *e, Dtype d, LLVMValueRef *a)
{
    LLVMValueRef r, q, rest;
    float c;

    if (d != DT_f32 || !is_byte(a[0]) || !constant_of(a[1], &c) || !divides_bytes(c))
        return LLVMBuildFDiv(e->B, a[0], a[1], "");
    r = cpu_float(a[0], 1 / c);
    q = LLVMBuildFMul(e->B, a[0], r, "");
    rest = fma3(e, (LLVMValueRef[]){ LLVMBuildFNeg(e->B, q, ""), a[1], a[0] });
    return fma3(e, (LLVMValueRef[]){ rest, r, q });
}

static LLVMValueRef real_op(Emit *e, Op op, Dtype d, LLVMValueRef *a)
{
    LLVMBuilderRef B = e->B;

    switch (op) {
    case OP_add: return LLVMBuildFAdd(B, a[0], a[1], "");
    case OP_sub: return LLVMBuildFSub(B, a[0], a[1], "");
    case OP_mul: return LLVMBuildFMul(B, a[0], a[1], "");
    case OP_div: return divide(e, d, a);
    case OP_neg: return LLVMBuildFNeg(B, a[0], "");
    case OP_fma: return fma3(e, a);
    case OP_maximum: return extremum(e, LLVMRealOGT, a[0], a[1]);
    case OP_minimum: return extremum(e, LLVMRealOLT, a[0], a[1]);
    case OP_abs:   return cpu_intrinsic1(e, compat_fabs, a[0]);
    case OP_sqrt:  return cpu_intrinsic1(e, compat_sqrt, a[0]);
    case OP_floor: return cpu_intrinsic1(e, compat_floor, a[0]);
    case OP_round: return cpu_intrinsic1(e, compat_rint, a[0]);
    case OP_relu:  return relu(e, a[0]);
    default: return e->target->function(e, op, d, a);
    }
}

LLVMValueRef cpu_op(Emit *e, Op op, Dtype dtype, Dtype from, LLVMValueRef *arg, int narg)
{
    (void)narg;
    switch (op) {
    case OP_lt: case OP_le: case OP_eq: case OP_ne: return compare(e, op, from, arg[0], arg[1]);
    case OP_select: return LLVMBuildSelect(e->B, arg[0], arg[1], arg[2], "");
    case OP_cast: return cast(e, from, dtype, arg[0]);
    case OP_stop_gradient: return arg[0];
    default: return dt_is_float(dtype) ? real_op(e, op, dtype, arg) : whole_op(e, op, arg);
    }
}
