/* cpu_step.c - what a kernel on a processor finds in its NndStep: where buffers begin, scalars, the batch. */
#include <stddef.h>

#include "backends/cpu.h"

static LLVMValueRef pointer_member(Emit *e, size_t offset)
{
    return cpu_member(e, e->step, offset, LLVMPointerTypeInContext(e->C, 0));
}

/* step, steps and epoch are integers of the step. */
static LLVMValueRef scalar_value(Emit *e, int64_t which)
{
    static const size_t own[] = { offsetof(NndStep, step), offsetof(NndStep, steps), offsetof(NndStep, epoch) };
    LLVMTypeRef real = LLVMDoubleTypeInContext(e->C);

    if (which >= 3)
        return cpu_member(e, pointer_member(e, offsetof(NndStep, scalar)), (size_t)(which - 3) * 8, real);
    return LLVMBuildSIToFP(e->B, cpu_member(e, e->step, own[which], LLVMInt64TypeInContext(e->C)), real, "");
}

static LLVMValueRef column(Emit *e, size_t offset, int64_t which)
{
    return cpu_member(e, pointer_member(e, offset), (size_t)which * sizeof(void *), LLVMPointerTypeInContext(e->C, 0));
}

/* infer's inputs and outputs hold all batches of the call, one behind another. */
static LLVMValueRef batch_of(Emit *e, const Buffer *b, size_t offset)
{
    LLVMValueRef index = cpu_member(e, e->step, offsetof(NndStep, index), LLVMInt64TypeInContext(e->C));

    return cpu_bytes(e, column(e, offset, b->offset), LLVMBuildMul(e->B, index, cpu_i64(e, b->count * dt_bytes(b->dtype)), ""));
}

static LLVMValueRef place(Emit *e, int i)
{
    return cpu_member(e, pointer_member(e, offsetof(NndStep, place)), (size_t)i * 8, LLVMInt64TypeInContext(e->C));
}

/* The byte of its segment at which buffer number i of the kernel begins. */
static LLVMValueRef place_of(Emit *e, const Buffer *b, int i) { return e->shared ? place(e, i) : cpu_i64(e, b->offset); }

static LLVMValueRef base(Emit *e, const Buffer *b, int i)
{
    switch (b->seg) {
    case SEG_STATE:   return cpu_bytes(e, pointer_member(e, offsetof(NndStep, state)), place_of(e, b, i));
    case SEG_SCRATCH: return cpu_bytes(e, pointer_member(e, offsetof(NndStep, scratch)), place_of(e, b, i));
    case SEG_FIELD:   return column(e, offsetof(NndStep, field), b->offset);
    case SEG_INPUT:   return batch_of(e, b, offsetof(NndStep, field));
    case SEG_OUTPUT:  return batch_of(e, b, offsetof(NndStep, out));
    case SEG_SCALAR:  return scalar_value(e, b->offset);
    case SEG_METRIC:  return cpu_bytes(e, pointer_member(e, offsetof(NndStep, metric)), cpu_i64(e, b->offset * 8));
    case NSEG:        break;
    }
    return NULL;
}

static LLVMValueRef rows(Emit *e, bool next)
{
    return pointer_member(e, next ? offsetof(NndStep, next) : offsetof(NndStep, row));
}

static LLVMValueRef step(Emit *e, StepPart part)
{
    static const size_t offset[] = { [STEP_SEED] = offsetof(NndStep, seed), [STEP_NUMBER] = offsetof(NndStep, step),
                                     [STEP_TURN] = offsetof(NndStep, turn) };

    return cpu_member(e, e->step, offset[part], LLVMInt64TypeInContext(e->C));
}

const EmitTarget cpu_emit_target = { .hints = true, .base = base, .rows = rows, .step = step, .place = place, .function = cpu_function };
