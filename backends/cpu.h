/* cpu.h - the state of the LLVM backend while it emits. */
#ifndef NND_BACKENDS_CPU_H
#define NND_BACKENDS_CPU_H

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#include "backends/backend.h"

/* The registers of a local: one value an element, or one vector for each run of `lanes` elements. */
typedef struct LocalRegs {
    const Stmt   *decl;
    int           lanes;       /* 0: one value an element */
    int           ncell;
    LLVMValueRef *cell;
} LocalRegs;

typedef struct Emit {
    Module            *m;
    Arena             *mem;
    LLVMContextRef     C;
    LLVMModuleRef      M;
    LLVMBuilderRef     B;
    const Plan        *p;

    /* the kernel being emitted */
    const Kernel      *k;
    LLVMValueRef       fn, step, first, last;
    LLVMValueRef      *base;       /* of each buffer used: a pointer to its first element */
    LLVMValueRef       rows;
    LLVMValueRef      *var;        /* each loop variable, i64; inside a vec loop: of lane 0 */
    LLVMValueRef      *value;      /* scalar, or a vector of `lanes` */
    LocalRegs         *local;

    /* the vec loop around, if any */
    int                vec_var;    /* -1: none */
    int                lanes, active;    /* lanes of its vectors; how many of them count */
} Emit;

/* types (cpu_value.c) */
LLVMTypeRef  cpu_scalar_type(Emit *e, Dtype d);            /* of a value; bool is i1 */
LLVMTypeRef  cpu_memory_type(Emit *e, Dtype d);            /* in memory; bool is i8 */
LLVMTypeRef  cpu_type_like(Emit *e, LLVMTypeRef scalar, LLVMValueRef like);   /* scalar, or a vector as long as like's */
bool         cpu_is_vector(LLVMValueRef v);
LLVMValueRef cpu_splat(Emit *e, LLVMValueRef v, int lanes);
LLVMValueRef cpu_vector(Emit *e, LLVMValueRef v);          /* splat to the vec loop's lanes unless it is a vector */
LLVMValueRef cpu_i64(Emit *e, int64_t x);
LLVMValueRef cpu_i32(Emit *e, int64_t x);
LLVMValueRef cpu_float(Emit *e, LLVMValueRef like, double x);                 /* a constant of like's type */
LLVMValueRef cpu_const(Emit *e, Dtype d, double x);
LLVMValueRef cpu_intrinsic(Emit *e, const char *name, LLVMTypeRef *overload, int noverload, LLVMValueRef *arg, int narg);
LLVMValueRef cpu_intrinsic1(Emit *e, const char *name, LLVMValueRef a);       /* overloaded on its argument's type */

/* one operation of ops.def on values of equal length */
LLVMValueRef cpu_op(Emit *e, Op op, Dtype dtype, Dtype from, const LLVMValueRef *arg, int narg);

/* functions of f32 as polynomials (cpu_math.c); error bounds in backends/README.md */
LLVMValueRef cpu_exp(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_log(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_tanh(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_sigmoid(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_random(Emit *e, LLVMValueRef index, LLVMValueRef seed, LLVMValueRef step, uint32_t stream, Dtype d);

/* memory (cpu_memory.c): inside a vec loop, vectors */
LLVMValueRef cpu_affine(Emit *e, Affine a);                /* i64, at lane 0 */
LLVMValueRef cpu_load(Emit *e, const Stmt *s);
void         cpu_store(Emit *e, const Stmt *s);
LLVMValueRef cpu_index(Emit *e, Affine at, LLVMTypeRef type);       /* the affine form itself, a vector if it varies */
LLVMValueRef cpu_mask(Emit *e);                            /* which lanes count; constant */

/* kernels (cpu_kernel.c) and entries (cpu_entry.c) */
LLVMValueRef cpu_kernel(Emit *e, const Plan *p, const Kernel *k, const char *name);
void         cpu_entry(Emit *e, const Plan *p, LLVMValueRef *kernel, const char *name);
LLVMValueRef cpu_field_of_step(Emit *e, LLVMValueRef step, size_t offset, LLVMTypeRef type);   /* loads it */
const char  *cpu_entry_symbol(Arena *mem, const Plan *p);

#endif
