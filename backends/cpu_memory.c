/* cpu_memory.c - loads and stores of a kernel: one number outside vec loops, a vector inside.
 *
 * A vector whose elements lie side by side is one access, masked by a constant where the last group of a loop is
 * not full, so nothing outside a buffer is touched.  Other strides go lane by lane.
 */
#include "backends/cpu.h"
#include "backends/llvm_compat.h"

/* At lane 0: the vec loop's variable stands for its group's first iteration. */
LLVMValueRef cpu_affine(Emit *e, Affine a)
{
    LLVMValueRef x = cpu_i64(e, a.base);

    for (int i = 0; i < a.n; i++) {
        LLVMValueRef t = LLVMBuildMul(e->B, e->var[a.term[i].var], cpu_i64(e, a.term[i].coef), "");

        x = LLVMBuildAdd(e->B, x, t, "");
    }
    return x;
}

static int64_t lane_stride(const Emit *e, Affine a) { return e->vec_var < 0 ? 0 : aff_coef(a, e->vec_var); }

LLVMValueRef cpu_index(Emit *e, Affine at, LLVMTypeRef type)
{
    LLVMValueRef x = LLVMBuildTruncOrBitCast(e->B, cpu_affine(e, at), type, ""), lane[64];
    int64_t stride = lane_stride(e, at);

    if (!stride)
        return x;
    for (int i = 0; i < e->lanes; i++)
        lane[i] = LLVMConstInt(type, (uint64_t)(i * stride), true);
    return LLVMBuildAdd(e->B, cpu_splat(e, x, e->lanes), LLVMConstVector(lane, (unsigned)e->lanes), "");
}

LLVMValueRef cpu_mask(Emit *e)
{
    LLVMValueRef lane[64];

    for (int i = 0; i < e->lanes; i++)
        lane[i] = LLVMConstInt(LLVMInt1TypeInContext(e->C), i < e->active, false);
    return LLVMConstVector(lane, (unsigned)e->lanes);
}

/* The address at lane `lane`.  A field's rows are picked by number. */
static LLVMValueRef address(Emit *e, const Stmt *s, int lane)
{
    const Buffer *b = &e->p->buf[s->buf];
    LLVMTypeRef type = cpu_memory_type(e, b->dtype);
    LLVMValueRef at = LLVMBuildAdd(e->B, cpu_affine(e, s->at), cpu_i64(e, lane * lane_stride(e, s->at)), ""), row;

    if (b->seg == SEG_FIELD) {
        LLVMTypeRef i32 = LLVMInt32TypeInContext(e->C);

        row = LLVMBuildAdd(e->B, cpu_affine(e, s->row), cpu_i64(e, lane * lane_stride(e, s->row)), "");
        row = LLVMBuildLoad2(e->B, i32, LLVMBuildGEP2(e->B, i32, e->rows, &row, 1, ""), "");
        row = LLVMBuildSExt(e->B, row, LLVMInt64TypeInContext(e->C), "");
        at = LLVMBuildAdd(e->B, at, LLVMBuildMul(e->B, row, cpu_i64(e, b->count), ""), "");
    }
    return LLVMBuildGEP2(e->B, type, e->base[s->buf], &at, 1, "");
}

static LLVMValueRef from_memory(Emit *e, Dtype d, LLVMValueRef v)
{
    return d == DT_bool ? LLVMBuildICmp(e->B, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "") : v;
}

static LLVMValueRef to_memory(Emit *e, Dtype d, LLVMValueRef v)
{
    return d == DT_bool ? LLVMBuildZExt(e->B, v, cpu_type_like(e, LLVMInt8TypeInContext(e->C), v), "") : v;
}

static void align_pointer(Emit *e, LLVMValueRef call, unsigned arg, int64_t bytes)
{
    unsigned kind = LLVMGetEnumAttributeKindForName("align", 5);

    LLVMAddCallSiteAttribute(call, arg + 1, LLVMCreateEnumAttribute(e->C, kind, (uint64_t)bytes));
}

static LLVMValueRef masked_load(Emit *e, LLVMTypeRef vec, LLVMValueRef p, int64_t bytes)
{
    LLVMTypeRef over[2] = { vec, LLVMTypeOf(p) };
    LLVMValueRef arg[4] = { p }, call;
    int n = 1;

    if (COMPAT_MASKED_ALIGN_OPERAND)
        arg[n++] = cpu_i32(e, bytes);
    arg[n++] = cpu_mask(e);
    arg[n++] = LLVMConstNull(vec);
    call = cpu_intrinsic(e, compat_masked_load, over, 2, arg, n);
    if (!COMPAT_MASKED_ALIGN_OPERAND)
        align_pointer(e, call, 0, bytes);
    return call;
}

static void masked_store(Emit *e, LLVMValueRef v, LLVMValueRef p, int64_t bytes)
{
    LLVMTypeRef over[2] = { LLVMTypeOf(v), LLVMTypeOf(p) };
    LLVMValueRef arg[4] = { v, p }, call;
    int n = 2;

    if (COMPAT_MASKED_ALIGN_OPERAND)
        arg[n++] = cpu_i32(e, bytes);
    arg[n++] = cpu_mask(e);
    call = cpu_intrinsic(e, compat_masked_store, over, 2, arg, n);
    if (!COMPAT_MASKED_ALIGN_OPERAND)
        align_pointer(e, call, 1, bytes);
}

static LLVMValueRef load_lanes(Emit *e, const Stmt *s, LLVMTypeRef type)
{
    LLVMValueRef v = LLVMConstNull(LLVMVectorType(type, (unsigned)e->lanes));

    for (int i = 0; i < e->active; i++) {
        LLVMValueRef x = LLVMBuildLoad2(e->B, type, address(e, s, i), "");

        v = LLVMBuildInsertElement(e->B, v, x, cpu_i64(e, i), "");
    }
    return v;
}

LLVMValueRef cpu_load(Emit *e, const Stmt *s)
{
    Dtype d = e->p->buf[s->buf].dtype;
    LLVMTypeRef type = cpu_memory_type(e, d), vec;
    LLVMValueRef v;

    if (!lane_stride(e, s->at) && !lane_stride(e, s->row))
        return from_memory(e, d, LLVMBuildLoad2(e->B, type, address(e, s, 0), ""));
    vec = LLVMVectorType(type, (unsigned)e->lanes);
    if (lane_stride(e, s->at) != 1 || lane_stride(e, s->row)) {
        v = load_lanes(e, s, type);
    } else if (e->active < e->lanes) {
        v = masked_load(e, vec, address(e, s, 0), dt_bytes(d));
    } else {
        v = LLVMBuildLoad2(e->B, vec, address(e, s, 0), "");
        LLVMSetAlignment(v, (unsigned)dt_bytes(d));
    }
    return from_memory(e, d, v);
}

static void store_lanes(Emit *e, const Stmt *s, LLVMValueRef v)
{
    for (int i = 0; i < e->active; i++)
        LLVMBuildStore(e->B, LLVMBuildExtractElement(e->B, v, cpu_i64(e, i), ""), address(e, s, i));
}

void cpu_store(Emit *e, const Stmt *s)
{
    Dtype d = e->p->buf[s->buf].dtype;
    LLVMValueRef v = to_memory(e, d, e->value[s->arg[0]]), st;

    if (!lane_stride(e, s->at)) {
        if (cpu_is_vector(v))        /* every iteration stores to one place: the last one's stays */
            v = LLVMBuildExtractElement(e->B, v, cpu_i64(e, e->active - 1), "");
        LLVMBuildStore(e->B, v, address(e, s, 0));
        return;
    }
    v = cpu_vector(e, v);
    if (lane_stride(e, s->at) != 1) {
        store_lanes(e, s, v);
    } else if (e->active < e->lanes) {
        masked_store(e, v, address(e, s, 0), dt_bytes(d));
    } else {
        st = LLVMBuildStore(e->B, v, address(e, s, 0));
        LLVMSetAlignment(st, (unsigned)dt_bytes(d));
    }
}
