/* cpu_value.c - types, constants, and the operations of ops.def on scalars and vectors alike. */
#include <assert.h>
#include <string.h>

#include "backends/cpu.h"
#include "backends/llvm_compat.h"

/* ---- types ---- */

LLVMTypeRef cpu_scalar_type(Emit *e, Dtype d)
{
    switch (d) {
    case DT_f32:  return LLVMFloatTypeInContext(e->C);
    case DT_f64:  return LLVMDoubleTypeInContext(e->C);
    case DT_i32:  return LLVMInt32TypeInContext(e->C);
    case DT_i64:  return LLVMInt64TypeInContext(e->C);
    case DT_u8:   return LLVMInt8TypeInContext(e->C);
    case DT_bool: return LLVMInt1TypeInContext(e->C);
    case NDTYPE:  break;
    }
    return NULL;
}

LLVMTypeRef cpu_memory_type(Emit *e, Dtype d)
{
    return d == DT_bool ? LLVMInt8TypeInContext(e->C) : cpu_scalar_type(e, d);
}

bool cpu_is_vector(LLVMValueRef v) { return LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind; }

LLVMTypeRef cpu_type_like(Emit *e, LLVMTypeRef scalar, LLVMValueRef like)
{
    (void)e;
    return cpu_is_vector(like) ? LLVMVectorType(scalar, LLVMGetVectorSize(LLVMTypeOf(like))) : scalar;
}

/* ---- constants and splats ---- */

LLVMValueRef cpu_i64(Emit *e, int64_t x) { return LLVMConstInt(LLVMInt64TypeInContext(e->C), (uint64_t)x, true); }
LLVMValueRef cpu_i32(Emit *e, int64_t x) { return LLVMConstInt(LLVMInt32TypeInContext(e->C), (uint64_t)x, true); }

LLVMValueRef cpu_splat(Emit *e, LLVMValueRef v, int lanes)
{
    LLVMTypeRef vec = LLVMVectorType(LLVMTypeOf(v), (unsigned)lanes);
    LLVMTypeRef index = LLVMVectorType(LLVMInt32TypeInContext(e->C), (unsigned)lanes);
    LLVMValueRef one = LLVMBuildInsertElement(e->B, LLVMGetPoison(vec), v, cpu_i64(e, 0), "");

    return LLVMBuildShuffleVector(e->B, one, LLVMGetPoison(vec), LLVMConstNull(index), "");
}

LLVMValueRef cpu_vector(Emit *e, LLVMValueRef v) { return cpu_is_vector(v) ? v : cpu_splat(e, v, e->lanes); }

LLVMValueRef cpu_const(Emit *e, Dtype d, double x)
{
    LLVMTypeRef t = cpu_scalar_type(e, d);

    if (dt_is_float(d))
        return LLVMConstReal(t, x);
    return LLVMConstInt(t, (uint64_t)(int64_t)(d == DT_bool ? x != 0 : x), d != DT_u8);
}

static LLVMValueRef const_like(Emit *e, LLVMValueRef like, LLVMValueRef scalar)
{
    LLVMValueRef v[64];
    unsigned n;

    (void)e;
    if (!cpu_is_vector(like))
        return scalar;
    n = LLVMGetVectorSize(LLVMTypeOf(like));
    assert(n <= 64);
    for (unsigned i = 0; i < n; i++)
        v[i] = scalar;
    return LLVMConstVector(v, n);
}

LLVMValueRef cpu_float(Emit *e, LLVMValueRef like, double x)
{
    LLVMTypeRef t = LLVMTypeOf(like);

    return const_like(e, like, LLVMConstReal(cpu_is_vector(like) ? LLVMGetElementType(t) : t, x));
}

/* ---- intrinsics and library functions ---- */

LLVMValueRef cpu_intrinsic(Emit *e, const char *name, LLVMTypeRef *overload, int noverload, LLVMValueRef *arg, int narg)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef fn;

    assert(id && "llvm_compat.h names intrinsics that exist");
    fn = LLVMGetIntrinsicDeclaration(e->M, id, overload, (size_t)noverload);
    return LLVMBuildCall2(e->B, LLVMGlobalGetValueType(fn), fn, arg, (unsigned)narg, "");
}

LLVMValueRef cpu_intrinsic1(Emit *e, const char *name, LLVMValueRef a)
{
    LLVMTypeRef t = LLVMTypeOf(a);

    return cpu_intrinsic(e, name, &t, 1, &a, 1);
}

/* Lane by lane through the C library: expf for f32, exp for f64. */
static LLVMValueRef libm(Emit *e, const char *name, Dtype d, const LLVMValueRef *arg, int narg)
{
    LLVMTypeRef t = cpu_scalar_type(e, d), param[2] = { t, t }, type = LLVMFunctionType(t, param, (unsigned)narg, false);
    const char *symbol = d == DT_f32 ? arena_printf(e->mem, "%sf", name) : name;
    LLVMValueRef fn = LLVMGetNamedFunction(e->M, symbol), result, lane[2];

    if (!fn)
        fn = LLVMAddFunction(e->M, symbol, type);
    if (!cpu_is_vector(arg[0]))
        return LLVMBuildCall2(e->B, type, fn, (LLVMValueRef *)arg, (unsigned)narg, "");
    result = LLVMGetPoison(LLVMTypeOf(arg[0]));
    for (unsigned i = 0; i < LLVMGetVectorSize(LLVMTypeOf(arg[0])); i++) {
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
    LLVMTypeRef t = cpu_type_like(e, cpu_scalar_type(e, to), a), pair[2] = { t, LLVMTypeOf(a) };
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

static LLVMValueRef whole_op(Emit *e, Op op, const LLVMValueRef *a)
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

static LLVMValueRef binary_intrinsic(Emit *e, const char *name, const LLVMValueRef *a, int n)
{
    LLVMTypeRef t = LLVMTypeOf(a[0]);

    return cpu_intrinsic(e, name, &t, 1, (LLVMValueRef *)a, n);
}

/* f32 by the polynomials, f64 by the C library. */
static LLVMValueRef function(Emit *e, Op op, Dtype d, const LLVMValueRef *a)
{
    LLVMValueRef x;

    switch (op) {
    case OP_exp:  return d == DT_f32 ? cpu_exp(e, a[0]) : libm(e, "exp", d, a, 1);
    case OP_log:  return d == DT_f32 ? cpu_log(e, a[0]) : libm(e, "log", d, a, 1);
    case OP_tanh: return d == DT_f32 ? cpu_tanh(e, a[0]) : libm(e, "tanh", d, a, 1);
    case OP_sigmoid:
        if (d == DT_f32)
            return cpu_sigmoid(e, a[0]);
        x = LLVMBuildFNeg(e->B, a[0], "");
        x = LLVMBuildFAdd(e->B, libm(e, "exp", d, &x, 1), cpu_float(e, x, 1), "");
        return LLVMBuildFDiv(e->B, cpu_float(e, x, 1), x, "");
    case OP_sin:  return libm(e, "sin", d, a, 1);
    case OP_cos:  return libm(e, "cos", d, a, 1);
    case OP_pow:  return libm(e, "pow", d, a, 2);
    default: assert(!"a row without code in the cpu backend"); return a[0];
    }
}

static LLVMValueRef real_op(Emit *e, Op op, Dtype d, const LLVMValueRef *a)
{
    LLVMBuilderRef B = e->B;

    switch (op) {
    case OP_add: return LLVMBuildFAdd(B, a[0], a[1], "");
    case OP_sub: return LLVMBuildFSub(B, a[0], a[1], "");
    case OP_mul: return LLVMBuildFMul(B, a[0], a[1], "");
    case OP_div: return LLVMBuildFDiv(B, a[0], a[1], "");
    case OP_neg: return LLVMBuildFNeg(B, a[0], "");
    case OP_fma: return binary_intrinsic(e, compat_fma, a, 3);
    case OP_maximum: return binary_intrinsic(e, compat_maximum, a, 2);
    case OP_minimum: return binary_intrinsic(e, compat_minimum, a, 2);
    case OP_abs:   return cpu_intrinsic1(e, compat_fabs, a[0]);
    case OP_sqrt:  return cpu_intrinsic1(e, compat_sqrt, a[0]);
    case OP_floor: return cpu_intrinsic1(e, compat_floor, a[0]);
    case OP_relu:  /* unordered, so that a nan stays one */
        return LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealUGT, a[0], cpu_float(e, a[0], 0), ""), a[0],
                               cpu_float(e, a[0], 0), "");
    default: return function(e, op, d, a);
    }
}

LLVMValueRef cpu_op(Emit *e, Op op, Dtype dtype, Dtype from, const LLVMValueRef *arg, int narg)
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
