/* cpu_index.c - indices that loops can't say: guards, and variables picked by a value.
 *
 * A variable picked by a value that differs from lane to lane is a vector.  Addresses with such a variable are made
 * lane by lane, from a copy of the variables in which each stands for the lane's own.
 */
#include <string.h>

#include "backends/cpu.h"
#include "backends/llvm_compat.h"

bool cpu_is_picked(const Emit *e, Affine a)
{
    for (int i = 0; i < a.n; i++)
        if (cpu_is_vector(e->var[a.term[i].var]))
            return true;
    return false;
}

static void lane_of_terms(Emit *e, Affine a, int lane, LLVMValueRef *var)
{
    for (int i = 0; i < a.n; i++) {
        LLVMValueRef *v = &var[a.term[i].var];

        if (cpu_is_vector(*v))
            *v = LLVMBuildExtractElement(e->B, *v, cpu_i64(e, lane), "");
    }
}

LLVMValueRef *cpu_lane_vars(Emit *e, const Stmt *s, int lane)
{
    LLVMValueRef *var = arena_array(e->mem, LLVMValueRef, e->k->nvar + 1);

    memcpy(var, e->var, (size_t)e->k->nvar * sizeof *var);
    lane_of_terms(e, s->at, lane, var);
    lane_of_terms(e, s->row, lane, var);
    return var;
}

/* The terms that loops give, and each picked one on top of that. */
LLVMValueRef cpu_picked_index(Emit *e, Affine at, LLVMTypeRef type)
{
    Affine       plain = aff_const(at.base);
    LLVMValueRef x;

    for (int i = 0; i < at.n; i++)
        if (!cpu_is_vector(e->var[at.term[i].var]))
            plain = aff_add(e->mem, plain, aff_var(e->mem, at.term[i].var, at.term[i].coef));
    x = cpu_vector(e, cpu_index(e, plain, type));
    for (int i = 0; i < at.n; i++) {
        LLVMValueRef v = e->var[at.term[i].var];

        if (!cpu_is_vector(v))
            continue;
        v = LLVMBuildMul(e->B, v, cpu_int(v, at.term[i].coef), "");
        x = LLVMBuildAdd(e->B, x, LLVMBuildIntCast2(e->B, v, LLVMTypeOf(x), true, ""), "");
    }
    return x;
}

/* Unsigned, an index below 0 is a large one. */
LLVMValueRef cpu_within(Emit *e, const Stmt *s)
{
    LLVMValueRef all = NULL;

    for (int i = 0; i < s->nguard; i++) {
        LLVMValueRef at = cpu_index(e, s->guard[i].at, e->index);
        LLVMValueRef one = LLVMBuildICmp(e->B, LLVMIntULT, at, cpu_int(at, s->guard[i].size), "");

        if (all && cpu_is_vector(one) != cpu_is_vector(all)) {
            one = cpu_vector(e, one);
            all = cpu_vector(e, all);
        }
        all = all ? LLVMBuildAnd(e->B, all, one, "") : one;
    }
    return all;
}

/* The number is never negative. */
LLVMValueRef cpu_digit(Emit *e, const Stmt *s)
{
    LLVMValueRef v = cpu_index(e, s->at, e->index);

    if (s->count > 1)
        v = LLVMBuildUDiv(e->B, v, cpu_int(v, s->count), "");
    return LLVMBuildURem(e->B, v, cpu_int(v, s->extent), "");
}

LLVMValueRef cpu_pick(Emit *e, const Stmt *s)
{
    LLVMValueRef v = e->value[s->arg[0]];
    LLVMTypeRef  element = cpu_is_vector(v) ? LLVMGetElementType(LLVMTypeOf(v)) : LLVMTypeOf(v);
    LLVMTypeRef  wide = cpu_type_like(e->index, v);
    unsigned     bits = LLVMGetIntTypeWidth(element);

    if (bits == 8)          /* a u8 */
        v = LLVMBuildZExt(e->B, v, wide, "");
    else if (bits < LLVMGetIntTypeWidth(e->index))
        v = LLVMBuildSExt(e->B, v, wide, "");
    v = LLVMBuildSelect(e->B, LLVMBuildICmp(e->B, LLVMIntSLT, v, cpu_int(v, 0), ""), cpu_int(v, 0), v, "");
    v = LLVMBuildSelect(e->B, LLVMBuildICmp(e->B, LLVMIntSLT, v, cpu_int(v, s->extent), ""), v, cpu_int(v, s->extent - 1), "");
    return LLVMBuildTruncOrBitCast(e->B, v, wide, "");
}
