/* cpu_memory.c - loads and stores of a kernel: one number outside vec loops, a vector inside.
 *
 * A vector whose elements lie side by side is one access, masked by a constant where the last group of a loop is
 * not full, so nothing outside a buffer is touched.  Of a few places apart, as in windows, all that lies between is loaded and the
 * lanes are picked from it.  Other strides go lane by lane: that is faster than the gather instructions of the machines at hand.
 */
#include "backends/cpu.h"
#include "backends/llvm_compat.h"

/* Lanes so far apart are picked from whole vectors: a load and a shuffle for each instead of one for each lane. */
enum { NEAR_LANES = 4 };

/* ---- affine forms ---- */

int64_t cpu_lane_stride(const Emit *e, Affine a) { return e->vec_var < 0 ? 0 : aff_coef(a, e->vec_var); }

/* What unrolled loops and constants contribute; *running is the rest, NULL if there is none.  So copies of an
 * unrolled body share the rest, and differ by a displacement. */
static int64_t split_affine(Emit *e, Affine a, LLVMValueRef *running)
{
    int64_t known = a.base;

    *running = NULL;
    for (int i = 0; i < a.n; i++) {
        LLVMValueRef v = e->var[a.term[i].var];

        if (LLVMIsAConstantInt(v)) {
            known += a.term[i].coef * LLVMConstIntGetSExtValue(v);
            continue;
        }
        if (a.term[i].coef != 1)
            v = LLVMBuildMul(e->B, v, cpu_number(e, a.term[i].coef), "");
        *running = *running ? LLVMBuildAdd(e->B, *running, v, "") : v;
    }
    return known;
}

bool cpu_known(Emit *e, Affine at, int64_t *x)
{
    for (int i = 0; i < at.n; i++)
        if (!LLVMIsAConstantInt(e->var[at.term[i].var]))
            return false;

    LLVMValueRef running;

    *x = split_affine(e, at, &running);
    return true;
}

static LLVMValueRef affine_value(Emit *e, Affine a)
{
    LLVMValueRef running;
    int64_t known = split_affine(e, a, &running);

    if (!running)
        return cpu_number(e, known);
    return known ? LLVMBuildAdd(e->B, running, cpu_number(e, known), "") : running;
}

/* Wider than the variables are: from variables of that width. */
static LLVMValueRef wide_index(Emit *e, Affine at, LLVMTypeRef type)
{
    LLVMTypeRef   index = e->index;
    LLVMValueRef *var = e->var, *wide = arena_array(e->mem, LLVMValueRef, e->k->nvar + 1), x;

    for (int i = 0; i < at.n; i++) {
        LLVMValueRef v = var[at.term[i].var];

        wide[at.term[i].var] = LLVMBuildSExt(e->B, v, cpu_type_like(type, v), "");
    }
    e->index = type;
    e->var = wide;
    x = cpu_index(e, at, type);
    e->index = index;
    e->var = var;
    return x;
}

LLVMValueRef cpu_index(Emit *e, Affine at, LLVMTypeRef type)
{
    if (LLVMGetIntTypeWidth(type) > LLVMGetIntTypeWidth(e->index))
        return wide_index(e, at, type);
    if (cpu_is_picked(e, at))
        return cpu_picked_index(e, at, type);

    LLVMValueRef x = LLVMBuildTruncOrBitCast(e->B, affine_value(e, at), type, ""), lane[64];
    int64_t stride = cpu_lane_stride(e, at);

    if (!stride)
        return x;
    for (int i = 0; i < e->lanes; i++)
        lane[i] = LLVMConstInt(type, (uint64_t)(i * stride), true);
    return LLVMBuildAdd(e->B, cpu_splat(e, x, e->lanes), LLVMConstVector(lane, (unsigned)e->lanes), "");
}

static LLVMValueRef first_lanes(Emit *e, int64_t n)
{
    LLVMValueRef lane[64];

    for (int i = 0; i < e->lanes; i++)
        lane[i] = LLVMConstInt(LLVMInt1TypeInContext(e->C), i < n, false);
    return LLVMConstVector(lane, (unsigned)e->lanes);
}

LLVMValueRef cpu_mask(Emit *e) { return first_lanes(e, e->active); }

/* ---- places ---- */

static LLVMValueRef elements_on(Emit *e, LLVMTypeRef type, LLVMValueRef pointer, int64_t n)
{
    LLVMValueRef by = cpu_i64(e, n);

    return n ? LLVMBuildGEP2(e->B, type, pointer, &by, 1, "") : pointer;
}

LLVMValueRef cpu_element(Emit *e, LLVMValueRef pointer, LLVMTypeRef type, Affine at, int64_t scale)
{
    LLVMValueRef running;
    int64_t known = split_affine(e, at, &running);

    if (running && scale != 1)
        running = LLVMBuildMul(e->B, running, cpu_number(e, scale), "");
    if (running)
        pointer = LLVMBuildGEP2(e->B, type, pointer, &running, 1, "");
    return elements_on(e, type, pointer, known * scale);
}

static LLVMValueRef from_memory(Emit *e, Dtype d, LLVMValueRef v)
{
    return d == DT_bool ? LLVMBuildICmp(e->B, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "") : v;
}

static LLVMValueRef to_memory(Emit *e, Dtype d, LLVMValueRef v)
{
    return d == DT_bool ? LLVMBuildZExt(e->B, v, cpu_type_like(LLVMInt8TypeInContext(e->C), v), "") : v;
}

/* A masked load or store, by the intrinsic `name`. */
static LLVMValueRef masked_by(Emit *e, const char *name, LLVMTypeRef vec, const Place *at, LLVMValueRef mask, LLVMValueRef stored)
{
    LLVMTypeRef over[2] = { vec, LLVMPointerTypeInContext(e->C, 0) };
    unsigned kind = LLVMGetEnumAttributeKindForName("align", 5), pointer;
    uint64_t align = (uint64_t)dt_bytes(at->dtype);
    LLVMValueRef arg[4], call;
    int n = 0;

    if (stored)
        arg[n++] = stored;
    arg[n++] = at->pointer;
    pointer = (unsigned)n;                  /* attributes count parameters from 1 */
    if (COMPAT_MASKED_ALIGN_OPERAND)
        arg[n++] = cpu_i32(e, (int64_t)align);
    arg[n++] = mask;
    if (!stored)
        arg[n++] = LLVMConstNull(vec);
    call = cpu_intrinsic(e, name, over, 2, arg, n);
    if (!COMPAT_MASKED_ALIGN_OPERAND)
        LLVMAddCallSiteAttribute(call, pointer, LLVMCreateEnumAttribute(e->C, kind, align));
    cpu_set_scope(e, call, at->scope);
    return call;
}

/* Of the vec loop's active lanes. */
static LLVMValueRef masked(Emit *e, const char *name, LLVMTypeRef vec, const Place *at, LLVMValueRef stored)
{
    LLVMValueRef mask = at->condition ? LLVMBuildAnd(e->B, cpu_mask(e), cpu_vector(e, at->condition), "") : cpu_mask(e);

    return masked_by(e, name, vec, at, mask, stored);
}

/* Of all lanes, or of one. */
static int access_align(const Place *at, LLVMValueRef v) { return cpu_is_vector(v) ? at->align : dt_bytes(at->dtype); }

static LLVMValueRef load_one(Emit *e, const Place *at, LLVMTypeRef type, LLVMValueRef pointer)
{
    LLVMValueRef v = LLVMBuildLoad2(e->B, type, pointer, "");

    LLVMSetAlignment(v, (unsigned)access_align(at, v));
    cpu_set_scope(e, v, at->scope);
    return v;
}

static void store_one(Emit *e, const Place *at, LLVMValueRef v, LLVMValueRef pointer)
{
    LLVMValueRef store = LLVMBuildStore(e->B, v, pointer);

    LLVMSetAlignment(store, (unsigned)access_align(at, v));
    cpu_set_scope(e, store, at->scope);
}

/* The condition of one lane. */
static LLVMValueRef lane_condition(Emit *e, const Place *at, int lane)
{
    if (!at->condition || !cpu_is_vector(at->condition))
        return at->condition;
    return LLVMBuildExtractElement(e->B, at->condition, cpu_i64(e, lane), "");
}

/* Where the condition is false, something that is there is loaded, and 0 is the value: no branch. */
static LLVMValueRef load_if(Emit *e, const Place *at, LLVMTypeRef type, LLVMValueRef pointer, LLVMValueRef condition)
{
    if (!condition)
        return load_one(e, at, type, pointer);
    pointer = LLVMBuildSelect(e->B, condition, pointer, at->safe, "");
    return LLVMBuildSelect(e->B, condition, load_one(e, at, type, pointer), LLVMConstNull(type), "");
}

static LLVMValueRef load_each_lane(Emit *e, const Place *at, LLVMTypeRef type)
{
    LLVMValueRef v = LLVMConstNull(LLVMVectorType(type, (unsigned)e->lanes));

    for (int i = 0; i < e->active; i++) {
        LLVMValueRef x = load_if(e, at, type, elements_on(e, type, at->pointer, i * at->stride), lane_condition(e, at, i));

        v = LLVMBuildInsertElement(e->B, v, x, cpu_i64(e, i), "");
    }
    return v;
}

/* Where all lanes have one condition, a branch costs less than choosing each lane's pointer. */
static LLVMValueRef load_lanes(Emit *e, const Place *at, LLVMTypeRef type)
{
    LLVMValueRef zero = LLVMConstNull(LLVMVectorType(type, (unsigned)e->lanes)), v[2];
    LLVMBasicBlockRef from[2], load, after;
    Place held = *at;

    if (!at->condition || cpu_is_vector(at->condition) || e->active < 4)
        return load_each_lane(e, at, type);
    held.condition = NULL;
    load = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    after = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    from[0] = LLVMGetInsertBlock(e->B);
    LLVMBuildCondBr(e->B, at->condition, load, after);
    LLVMPositionBuilderAtEnd(e->B, load);
    v[1] = load_each_lane(e, &held, type);
    v[0] = zero;
    from[1] = LLVMGetInsertBlock(e->B);
    LLVMBuildBr(e->B, after);
    LLVMPositionBuilderAtEnd(e->B, after);
    LLVMValueRef phi = LLVMBuildPhi(e->B, LLVMTypeOf(zero), "");

    LLVMAddIncoming(phi, v, from, 2);
    return phi;
}

/* A vector from `from` on, of a run of n elements. */
static LLVMValueRef load_part(Emit *e, const Place *at, LLVMTypeRef type, int64_t from, int64_t n)
{
    LLVMTypeRef vec = LLVMVectorType(type, (unsigned)e->lanes);
    Place       part = *at;

    part.pointer = elements_on(e, type, at->pointer, from);
    if (n - from >= e->lanes)
        return load_one(e, &part, vec, part.pointer);
    if (n - from > 1)
        return masked_by(e, compat_masked_load, vec, &part, first_lanes(e, n - from), NULL);
    return LLVMBuildInsertElement(e->B, LLVMConstNull(vec), load_one(e, &part, type, part.pointer), cpu_i64(e, 0), "");
}

/* Lanes a few places apart: whole vectors of what lies there, and of each of them the lanes that it has. */
static LLVMValueRef load_between(Emit *e, const Place *at, LLVMTypeRef type)
{
    int64_t      n = (e->active - 1) * at->stride + 1;
    LLVMValueRef v = load_part(e, at, type, 0, n);
    int          lane[64], have = 0, from;

    for (int i = 0; i < e->lanes; i++)
        lane[i] = i * at->stride < e->lanes ? (int)(i * at->stride) : i;
    v = cpu_shuffle(e, v, LLVMGetPoison(LLVMTypeOf(v)), lane, e->lanes);
    while (have < e->active && have * at->stride < e->lanes)
        have++;
    for (from = e->lanes; have < e->active; from += e->lanes) {
        for (int i = 0; i < e->lanes; i++)
            lane[i] = i;
        for (; have < e->active && have * at->stride < from + e->lanes; have++)
            lane[have] = e->lanes + (int)(have * at->stride) - from;
        v = cpu_shuffle(e, v, load_part(e, at, type, from, n), lane, e->lanes);
    }
    return v;
}

LLVMValueRef cpu_load_place(Emit *e, const Place *at)
{
    LLVMTypeRef type = cpu_memory_type(e, at->dtype), vec;
    LLVMValueRef v;

    if (!at->stride && !(at->condition && cpu_is_vector(at->condition)))
        return from_memory(e, at->dtype, load_if(e, at, type, at->pointer, at->condition));
    vec = LLVMVectorType(type, (unsigned)e->lanes);
    if (at->stride > 1 && at->stride <= NEAR_LANES && e->active > at->stride && !at->condition && !e->target->wide
        && dt_bytes(at->dtype) >= 4) {
        v = load_between(e, at, type);
    } else if (at->stride != 1 || e->active == 1) {
        v = load_lanes(e, at, type);
    } else if (e->active == e->lanes && (!at->condition || (e->target->wide && !cpu_is_vector(at->condition)))) {
        v = load_if(e, at, vec, at->pointer, at->condition);
    } else if (e->target->wide) {
        v = load_each_lane(e, at, type);
    } else {
        v = masked(e, compat_masked_load, vec, at, NULL);
    }
    return from_memory(e, at->dtype, v);
}

/* One lane is stored as one number: of a narrowing masked store with one lane LLVM 22 makes a store of the wide
 * element. */
void cpu_store_place(Emit *e, const Place *at, LLVMValueRef value)
{
    LLVMTypeRef type = cpu_memory_type(e, at->dtype);
    LLVMValueRef v = to_memory(e, at->dtype, at->stride ? cpu_vector(e, value) : value);

    if (!at->stride) {
        if (cpu_is_vector(v))        /* every iteration stores to one place: the last one's stays */
            v = LLVMBuildExtractElement(e->B, v, cpu_i64(e, e->active - 1), "");
        store_one(e, at, v, at->pointer);
    } else if (at->stride != 1 || e->active == 1 || (e->active < e->lanes && e->target->wide)) {
        for (int i = 0; i < e->active; i++)
            store_one(e, at, LLVMBuildExtractElement(e->B, v, cpu_i64(e, i), ""),
                      elements_on(e, type, at->pointer, i * at->stride));
    } else if (e->active == e->lanes) {
        store_one(e, at, v, at->pointer);
    } else {
        masked(e, compat_masked_store, LLVMTypeOf(v), at, v);
    }
}

/* ---- buffers ---- */

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a < 0 ? -a : a; }

int cpu_align(const Emit *e, Affine at, int64_t nbytes, int64_t from_align)
{
    int64_t n = gcd(from_align, at.base * nbytes);

    if (!e->target->wide || cpu_lane_stride(e, at) != 1)
        return (int)nbytes;
    for (int i = 0; i < at.n; i++) {
        LLVMValueRef v = e->var[at.term[i].var];
        int64_t      by = LLVMIsAConstantInt(v) ? LLVMConstIntGetSExtValue(v) : at.term[i].var == e->vec_var ? e->lanes : 1;

        n = gcd(n, at.term[i].coef * by * nbytes);
    }
    return (int)n;
}

/* Rows and batches stand one behind another. */
static int buffer_align(Emit *e, const Stmt *s)
{
    const Buffer *b = &e->p->buf[s->buf];
    int64_t       bytes = dt_bytes(b->dtype);

    return cpu_align(e, s->at, bytes, b->seg == SEG_STATE || b->seg == SEG_SCRATCH ? NND_ALIGN : gcd(NND_ALIGN, b->count * bytes));
}

static Place buffer_place(Emit *e, const Stmt *s, LLVMValueRef base)
{
    const Buffer *b = &e->p->buf[s->buf];

    return (Place){ cpu_element(e, base, cpu_memory_type(e, b->dtype), s->at, 1), cpu_lane_stride(e, s->at), buffer_align(e, s), b->dtype, s->buf,
                    s->kind == ST_LOAD && s->narg ? e->value[s->arg[0]] : NULL, base };
}

/* Where the row begins whose number the batch's `rows` list `lane` places on; the condition is this lane's. */
static LLVMValueRef row_base(Emit *e, const Stmt *s, LLVMValueRef rows, int64_t lane, LLVMValueRef condition)
{
    const Buffer *b = &e->p->buf[s->buf];
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->C);
    Place at = { cpu_element(e, rows, i32, s->row, 1), 0, 4, DT_i32, e->p->nbuf, NULL, rows };
    LLVMValueRef row;

    row = load_if(e, &at, i32, elements_on(e, i32, at.pointer, lane * cpu_lane_stride(e, s->row)), condition);
    row = LLVMBuildSExt(e->B, row, LLVMInt64TypeInContext(e->C), "");
    row = LLVMBuildMul(e->B, row, cpu_i64(e, b->count * dt_bytes(b->dtype)), "");
    return cpu_bytes(e, e->base[s->buf], row);
}

/* Every lane reads another row, or has an index of its own. */
static LLVMValueRef load_apart(Emit *e, const Stmt *s)
{
    const Buffer *b = &e->p->buf[s->buf];
    LLVMTypeRef type = cpu_memory_type(e, b->dtype);
    LLVMValueRef v = LLVMConstNull(LLVMVectorType(type, (unsigned)e->lanes)), *var = e->var;
    Place of = { .condition = s->narg ? e->value[s->arg[0]] : NULL };

    for (int i = 0; i < e->active; i++) {
        LLVMValueRef condition = lane_condition(e, &of, i), x;

        e->var = cpu_lane_vars(e, s, i);
        Place at = buffer_place(e, s, b->seg == SEG_FIELD ? row_base(e, s, e->rows, i, condition) : e->base[s->buf]);

        x = load_if(e, &at, type, elements_on(e, type, at.pointer, i * at.stride), condition);
        v = LLVMBuildInsertElement(e->B, v, x, cpu_i64(e, i), "");
        e->var = var;
    }
    return from_memory(e, b->dtype, v);
}

/* Each lane stores to a place of its own. */
static void store_apart(Emit *e, const Stmt *s)
{
    Dtype d = e->p->buf[s->buf].dtype;
    LLVMValueRef v = to_memory(e, d, cpu_vector(e, e->value[s->arg[0]])), *var = e->var;

    for (int i = 0; i < e->active; i++) {
        e->var = cpu_lane_vars(e, s, i);
        Place at = buffer_place(e, s, e->base[s->buf]);

        store_one(e, &at, LLVMBuildExtractElement(e->B, v, cpu_i64(e, i), ""),
                  elements_on(e, cpu_memory_type(e, d), at.pointer, i * at.stride));
        e->var = var;
    }
}

/* n neighbours from where the lane is; nothing for a lane that doesn't count. */
LLVMValueRef cpu_load_row(Emit *e, const Stmt *s, int lane, int64_t n)
{
    Place        at = buffer_place(e, s, e->base[s->buf]);
    LLVMTypeRef  type = cpu_memory_type(e, at.dtype), vec = LLVMVectorType(type, (unsigned)n);
    LLVMValueRef v = LLVMGetPoison(vec);

    if (lane < e->active)
        v = load_one(e, &at, vec, elements_on(e, type, at.pointer, lane * at.stride));
    return from_memory(e, at.dtype, v);
}

bool cpu_source(Emit *e, const Stmt *s, Place *at)
{
    bool by_row = e->p->buf[s->buf].seg == SEG_FIELD, own_condition = s->narg && cpu_is_vector(e->value[s->arg[0]]);

    if (cpu_is_picked(e, s->at) || (by_row && (cpu_lane_stride(e, s->row) || cpu_is_picked(e, s->row) || own_condition)))
        return false;
    if (by_row && e->target->hints && !s->narg && cpu_lane_stride(e, s->at) == 1)
        cpu_fetch_row(e, s, row_base(e, s, e->next_rows, 0, NULL));
    *at = buffer_place(e, s, by_row ? row_base(e, s, e->rows, 0, s->narg ? e->value[s->arg[0]] : NULL) : e->base[s->buf]);
    return true;
}

LLVMValueRef cpu_load(Emit *e, const Stmt *s)
{
    LLVMValueRef turned = cpu_turned(e, s);
    Place        at;

    if (turned)
        return turned;
    if (e->p->buf[s->buf].seg == SEG_SCALAR)
        return e->base[s->buf];
    return cpu_source(e, s, &at) ? cpu_load_place(e, &at) : load_apart(e, s);
}

void cpu_store(Emit *e, const Stmt *s)
{
    if (cpu_is_picked(e, s->at)) {
        store_apart(e, s);
        return;
    }
    Place at = buffer_place(e, s, e->base[s->buf]);

    cpu_store_place(e, &at, e->value[s->arg[0]]);
}
