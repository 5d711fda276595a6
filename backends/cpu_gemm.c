/* cpu_gemm.c - a loop with the mark `blas`, as a call of cblas_sgemm or cblas_dgemm. */
#include "backends/cpu.h"

/* of cblas.h */
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

static LLVMValueRef place(Emit *e, const GemmOperand *o)
{
    return cpu_element(e, e->base[o->buf], cpu_memory_type(e, e->p->buf[o->buf].dtype), aff_const(o->at), 1);
}

static LLVMValueRef function(Emit *e, Dtype d, LLVMTypeRef *type)
{
    const char *name = d == DT_f64 ? "cblas_dgemm" : "cblas_sgemm";
    LLVMTypeRef i = LLVMInt32TypeInContext(e->C), p = LLVMPointerTypeInContext(e->C, 0), x = cpu_scalar_type(e, d);
    LLVMTypeRef param[] = { i, i, i, i, i, i, x, p, i, p, i, x, p, i };
    LLVMValueRef f = LLVMGetNamedFunction(e->M, name);

    *type = LLVMFunctionType(LLVMVoidTypeInContext(e->C), param, 14, false);
    return f ? f : LLVMAddFunction(e->M, name, *type);
}

void cpu_gemm(Emit *e, const Gemm *g)
{
    LLVMTypeRef type;
    LLVMValueRef f = function(e, g->dtype, &type);
    LLVMValueRef arg[] = {
        cpu_i32(e, ROW_MAJOR), cpu_i32(e, g->a.turned ? TRANS : NO_TRANS), cpu_i32(e, g->b.turned ? TRANS : NO_TRANS),
        cpu_i32(e, g->m), cpu_i32(e, g->n), cpu_i32(e, g->k), cpu_const(e, g->dtype, 1), place(e, &g->a), cpu_i32(e, g->a.ld),
        place(e, &g->b), cpu_i32(e, g->b.ld), cpu_const(e, g->dtype, 0), place(e, &g->c), cpu_i32(e, g->c.ld),
    };

    LLVMBuildCall2(e->B, type, f, arg, 14, "");
}
