/* cpu_value.c - types, constants and vectors as LLVM has them. */
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

LLVMTypeRef cpu_type_like(LLVMTypeRef scalar, LLVMValueRef like)
{
    return cpu_is_vector(like) ? LLVMVectorType(scalar, LLVMGetVectorSize(LLVMTypeOf(like))) : scalar;
}

/* ---- constants and splats ---- */

LLVMValueRef cpu_i64(Emit *e, int64_t x) { return LLVMConstInt(LLVMInt64TypeInContext(e->C), (uint64_t)x, true); }
LLVMValueRef cpu_i32(Emit *e, int64_t x) { return LLVMConstInt(LLVMInt32TypeInContext(e->C), (uint64_t)x, true); }
LLVMValueRef cpu_number(Emit *e, int64_t x) { return LLVMConstInt(e->index, (uint64_t)x, true); }

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

static LLVMValueRef const_like(LLVMValueRef like, LLVMValueRef scalar)
{
    LLVMValueRef v[64];
    unsigned n;

    if (!cpu_is_vector(like))
        return scalar;
    n = LLVMGetVectorSize(LLVMTypeOf(like));
    assert(n <= 64);
    for (unsigned i = 0; i < n; i++)
        v[i] = scalar;
    return LLVMConstVector(v, n);
}

static LLVMTypeRef element_type(LLVMValueRef v)
{
    return cpu_is_vector(v) ? LLVMGetElementType(LLVMTypeOf(v)) : LLVMTypeOf(v);
}

LLVMValueRef cpu_float(LLVMValueRef like, double x) { return const_like(like, LLVMConstReal(element_type(like), x)); }

LLVMValueRef cpu_int(LLVMValueRef like, int64_t x) { return const_like(like, LLVMConstInt(element_type(like), (uint64_t)x, true)); }

/* ---- lanes ---- */

LLVMValueRef cpu_shuffle(Emit *e, LLVMValueRef a, LLVMValueRef b, const int *lane, int n)
{
    LLVMValueRef index[64];

    assert(n <= 64);
    for (int i = 0; i < n; i++)
        index[i] = cpu_i32(e, lane[i]);
    return LLVMBuildShuffleVector(e->B, a, b, LLVMConstVector(index, (unsigned)n), "");
}

LLVMValueRef cpu_part(Emit *e, LLVMValueRef v, int from, int n)
{
    int lane[64];

    for (int i = 0; i < n; i++)
        lane[i] = from + i;
    return cpu_shuffle(e, v, LLVMGetPoison(LLVMTypeOf(v)), lane, n);
}

/* ---- intrinsics ---- */

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

LLVMValueRef cpu_join(Emit *e, LLVMValueRef *v, int n)
{
    int lane[64];

    for (int i = 0; i < 64; i++)
        lane[i] = i;
    for (; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++)
            v[i] = cpu_shuffle(e, v[2 * i], v[2 * i + 1], lane, 2 * (int)LLVMGetVectorSize(LLVMTypeOf(v[2 * i])));
    return v[0];
}
