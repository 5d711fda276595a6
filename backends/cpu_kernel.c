/* cpu_kernel.c - one kernel, one function: loops, and locals as registers.
 *
 * Locals are SSA values: unrolled loops are written out, so every place in a local is known, and a loop that runs
 * carries the cells it changes through phis.  Nothing is ever put on the stack.
 */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "backends/cpu.h"
#include "backends/llvm_compat.h"

static void emit_list(Emit *e, const Stmt *s);

/* ---- locals ---- */

/* The lanes with which a local that is declared outside is reached along a vec loop's variable; 0: never. */
static int vector_lanes(const Stmt *s, int local, int vec_var, int lanes)
{
    for (; s; s = s->next) {
        bool here = (s->kind == ST_GET || s->kind == ST_SET) && s->local == local;
        int found;

        if (here && vec_var >= 0 && aff_coef(s->at, vec_var))
            return lanes;
        if (s->kind != ST_FOR)
            continue;
        found = s->lanes ? vector_lanes(s->body, local, s->id, s->lanes) : vector_lanes(s->body, local, vec_var, lanes);
        if (found)
            return found;
    }
    return 0;
}

static void declare_local(Emit *e, const Stmt *s)
{
    LocalRegs *l = &e->local[s->id];
    LLVMValueRef start = cpu_const(e, s->dtype, s->number);

    l->decl = s;
    l->lanes = vector_lanes(s->next, s->id, -1, 0);
    l->ncell = l->lanes ? (int)((s->count + l->lanes - 1) / l->lanes) : (int)s->count;
    l->cell = arena_array(e->mem, LLVMValueRef, l->ncell);
    /* inside a vec loop each lane has its own copy */
    if (l->lanes || e->vec_var >= 0)
        start = cpu_splat(e, start, l->lanes ? l->lanes : e->lanes);
    for (int i = 0; i < l->ncell; i++)
        l->cell[i] = start;
}

/* Which element: known, since only unrolled variables and the vec loop's group take part. */
static int64_t element(Emit *e, Affine at)
{
    LLVMValueRef x = cpu_affine(e, at);

    assert(LLVMIsAConstantInt(x) && "places in a local are known");
    return LLVMConstIntGetSExtValue(x);
}

static LLVMValueRef get_local(Emit *e, const Stmt *s)
{
    const LocalRegs *l = &e->local[s->local];
    int64_t i = element(e, s->at);

    if (!l->lanes)
        return l->cell[i];
    if (e->vec_var >= 0 && aff_coef(s->at, e->vec_var)) {
        assert(l->lanes == e->lanes && i % l->lanes == 0 && "a group of lanes is a register");
        return l->cell[i / l->lanes];
    }
    return LLVMBuildExtractElement(e->B, l->cell[i / l->lanes], cpu_i64(e, i % l->lanes), "");
}

static void set_local(Emit *e, const Stmt *s)
{
    LocalRegs *l = &e->local[s->local];
    int64_t i = element(e, s->at);
    LLVMValueRef v = e->value[s->arg[0]], *cell = &l->cell[l->lanes ? i / l->lanes : i];

    if (!l->lanes) {
        *cell = cpu_is_vector(*cell) ? cpu_vector(e, v) : v;
    } else if (e->vec_var >= 0 && aff_coef(s->at, e->vec_var)) {
        v = cpu_vector(e, v);
        *cell = e->active < e->lanes ? LLVMBuildSelect(e->B, cpu_mask(e), v, *cell, "") : v;
    } else {
        *cell = LLVMBuildInsertElement(e->B, *cell, v, cpu_i64(e, i % l->lanes), "");
    }
}

/* The upper half of a vector's first n lanes. */
static LLVMValueRef part(Emit *e, LLVMValueRef v, int from, int n)
{
    LLVMValueRef index[64];

    for (int i = 0; i < n; i++)
        index[i] = cpu_i32(e, from + i);
    return LLVMBuildShuffleVector(e->B, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(index, (unsigned)n), "");
}

static LLVMValueRef fold2(Emit *e, const Stmt *s, LLVMValueRef a, LLVMValueRef b)
{
    LLVMValueRef pair[2] = { a, b };

    return cpu_op(e, s->op, s->dtype, s->dtype, pair, 2);
}

/* l[i] = op(l[i], l[i + n/2]), halving n: first whole registers, then halves of one. */
static LLVMValueRef fold_local(Emit *e, const Stmt *s)
{
    const LocalRegs *l = &e->local[s->local];
    int64_t at = element(e, s->at);
    int width = l->lanes ? l->lanes : 1, n = (int)s->count;
    LLVMValueRef v[64];

    assert(n <= 64 && at % width == 0 && (n % width == 0 || n < width));
    for (int i = 0; i < (n + width - 1) / width; i++)
        v[i] = l->cell[at / width + i];
    for (; n > width; n /= 2)
        for (int i = 0; i < n / width / 2; i++)
            v[i] = fold2(e, s, v[i], v[i + n / width / 2]);
    if (width == 1)
        return v[0];
    for (; n > 1; n /= 2)
        v[0] = fold2(e, s, part(e, v[0], 0, n / 2), part(e, v[0], n / 2, n / 2));
    return LLVMBuildExtractElement(e->B, v[0], cpu_i64(e, 0), "");
}

/* ---- loops ---- */

static bool sets(const Stmt *s, int local)
{
    for (; s; s = s->next)
        if ((s->kind == ST_SET && s->local == local) || (s->body && sets(s->body, local)))
            return true;
    return false;
}

typedef struct Phi { LLVMValueRef phi, *cell; } Phi;

static int open_phis(Emit *e, const Stmt *body, LLVMBasicBlockRef from, Phi *phi)
{
    int n = 0;

    for (int i = 0; i < e->k->nlocal; i++) {
        LocalRegs *l = &e->local[i];

        if (!l->decl || !sets(body, i))
            continue;
        for (int j = 0; j < l->ncell; j++) {
            LLVMValueRef p = LLVMBuildPhi(e->B, LLVMTypeOf(l->cell[j]), "");

            LLVMAddIncoming(p, &l->cell[j], &from, 1);
            l->cell[j] = p;
            phi[n++] = (Phi){ p, &l->cell[j] };
        }
    }
    return n;
}

static int cell_count(const Emit *e)
{
    int n = 0;

    for (int i = 0; i < e->k->nlocal; i++)
        n += e->local[i].decl ? e->local[i].ncell : 0;
    return n;
}

/* for (var = from; var < to; var += step), at least once; from and to are i64 */
static void running_loop(Emit *e, const Stmt *s, LLVMValueRef from, LLVMValueRef to, int64_t step)
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->B), body = LLVMAppendBasicBlockInContext(e->C, e->fn, "loop");
    LLVMBasicBlockRef latch, after;
    Phi *phi = arena_array(e->mem, Phi, cell_count(e) + 1);
    LLVMValueRef i, next;
    int n;

    LLVMBuildBr(e->B, body);
    LLVMPositionBuilderAtEnd(e->B, body);
    i = LLVMBuildPhi(e->B, LLVMInt64TypeInContext(e->C), "");
    LLVMAddIncoming(i, &from, &before, 1);
    n = open_phis(e, s->body, before, phi);
    e->var[s->id] = i;
    emit_list(e, s->body);
    next = LLVMBuildAdd(e->B, i, cpu_i64(e, step), "");
    latch = LLVMGetInsertBlock(e->B);
    after = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMBuildCondBr(e->B, LLVMBuildICmp(e->B, LLVMIntSLT, next, to, ""), body, after);
    LLVMAddIncoming(i, &next, &latch, 1);
    for (int j = 0; j < n; j++)
        LLVMAddIncoming(phi[j].phi, phi[j].cell, &latch, 1);
    LLVMPositionBuilderAtEnd(e->B, after);
}

/* Full groups of lanes, then the lanes that remain. */
static void vector_loop(Emit *e, const Stmt *s)
{
    int64_t whole = s->extent / s->lanes, rest = s->extent % s->lanes;

    e->vec_var = s->id;
    e->lanes = e->active = s->lanes;
    if (s->unroll || whole <= 1) {
        for (int64_t g = 0; g < whole; g++) {
            e->var[s->id] = cpu_i64(e, g * s->lanes);
            emit_list(e, s->body);
        }
    } else {
        running_loop(e, s, cpu_i64(e, 0), cpu_i64(e, whole * s->lanes), s->lanes);
    }
    if (rest) {
        e->active = (int)rest;
        e->var[s->id] = cpu_i64(e, whole * s->lanes);
        emit_list(e, s->body);
    }
    e->vec_var = -1;
    e->lanes = e->active = 0;
}

static void emit_loop(Emit *e, const Stmt *s)
{
    if (s->lanes) {
        vector_loop(e, s);
    } else if (s->unroll || s->extent == 1) {
        for (int64_t i = 0; i < s->extent; i++) {
            e->var[s->id] = cpu_i64(e, i);
            emit_list(e, s->body);
        }
    } else {
        running_loop(e, s, cpu_i64(e, 0), cpu_i64(e, s->extent), 1);
    }
}

/* ---- statements ---- */

static LLVMValueRef random_value(Emit *e, const Stmt *s)
{
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->C);
    LLVMValueRef seed = cpu_field_of_step(e, e->step, offsetof(NndStep, seed), i64);
    LLVMValueRef step = cpu_field_of_step(e, e->step, offsetof(NndStep, step), i64);

    return cpu_random(e, cpu_index(e, s->at, i64), seed, step, s->stream, s->dtype);
}

static LLVMValueRef let(Emit *e, const Stmt *s)
{
    LLVMValueRef arg[3];
    bool vec = false;

    for (int i = 0; i < s->narg; i++)
        vec |= cpu_is_vector(arg[i] = e->value[s->arg[i]]);
    for (int i = 0; vec && i < s->narg; i++)
        arg[i] = cpu_vector(e, arg[i]);
    return cpu_op(e, s->op, s->dtype, s->from, arg, s->narg);
}

static void emit_list(Emit *e, const Stmt *s)
{
    for (; s; s = s->next)
        switch (s->kind) {
        case ST_FOR:    emit_loop(e, s); break;
        case ST_LET:    e->value[s->id] = let(e, s); break;
        case ST_CONST:  e->value[s->id] = cpu_const(e, s->dtype, s->number); break;
        case ST_LOAD:   e->value[s->id] = cpu_load(e, s); break;
        case ST_STORE:  cpu_store(e, s); break;
        case ST_INDEX:  e->value[s->id] = cpu_index(e, s->at, LLVMInt32TypeInContext(e->C)); break;
        case ST_RANDOM: e->value[s->id] = random_value(e, s); break;
        case ST_LOCAL:  declare_local(e, s); break;
        case ST_GET:    e->value[s->id] = get_local(e, s); break;
        case ST_SET:    set_local(e, s); break;
        case ST_FOLD:   e->value[s->id] = fold_local(e, s); break;
        }
}

/* ---- kernels ---- */

LLVMValueRef cpu_field_of_step(Emit *e, LLVMValueRef step, size_t offset, LLVMTypeRef type)
{
    LLVMValueRef at = cpu_i64(e, (int64_t)offset);

    return LLVMBuildLoad2(e->B, type, LLVMBuildGEP2(e->B, LLVMInt8TypeInContext(e->C), step, &at, 1, ""), "");
}

static LLVMValueRef bytes_from(Emit *e, LLVMValueRef p, LLVMValueRef at)
{
    return LLVMBuildGEP2(e->B, LLVMInt8TypeInContext(e->C), p, &at, 1, "");
}

/* step, steps and epoch are integers of the step; a kernel reads scalars as doubles in memory. */
static LLVMValueRef scalar_base(Emit *e, int64_t which)
{
    static const size_t own[] = { offsetof(NndStep, step), offsetof(NndStep, steps), offsetof(NndStep, epoch) };
    LLVMTypeRef ptr = LLVMPointerTypeInContext(e->C, 0), real = LLVMDoubleTypeInContext(e->C);
    LLVMValueRef x, slot;

    if (which >= 3)
        return bytes_from(e, cpu_field_of_step(e, e->step, offsetof(NndStep, scalar), ptr), cpu_i64(e, (which - 3) * 8));
    x = cpu_field_of_step(e, e->step, own[which], LLVMInt64TypeInContext(e->C));
    slot = LLVMBuildAlloca(e->B, real, "");
    LLVMBuildStore(e->B, LLVMBuildSIToFP(e->B, x, real, ""), slot);
    return slot;
}

static LLVMValueRef column(Emit *e, size_t offset, int64_t which)
{
    LLVMTypeRef ptr = LLVMPointerTypeInContext(e->C, 0);
    LLVMValueRef list = cpu_field_of_step(e, e->step, offset, ptr);

    return LLVMBuildLoad2(e->B, ptr, bytes_from(e, list, cpu_i64(e, which * (int64_t)sizeof(void *))), "");
}

static LLVMValueRef buffer_base(Emit *e, const Buffer *b)
{
    LLVMTypeRef ptr = LLVMPointerTypeInContext(e->C, 0);
    LLVMValueRef index;

    switch (b->seg) {
    case SEG_STATE:   return bytes_from(e, cpu_field_of_step(e, e->step, offsetof(NndStep, state), ptr), cpu_i64(e, b->offset));
    case SEG_SCRATCH: return bytes_from(e, cpu_field_of_step(e, e->step, offsetof(NndStep, scratch), ptr), cpu_i64(e, b->offset));
    case SEG_FIELD:   return column(e, offsetof(NndStep, field), b->offset);
    case SEG_INPUT:
    case SEG_OUTPUT:
        index = cpu_field_of_step(e, e->step, offsetof(NndStep, index), LLVMInt64TypeInContext(e->C));
        index = LLVMBuildMul(e->B, index, cpu_i64(e, b->count * dt_bytes(b->dtype)), "");
        return bytes_from(e, column(e, b->seg == SEG_INPUT ? offsetof(NndStep, field) : offsetof(NndStep, out), b->offset), index);
    case SEG_SCALAR:  return scalar_base(e, b->offset);
    case SEG_METRIC:  return bytes_from(e, cpu_field_of_step(e, e->step, offsetof(NndStep, metric), ptr), cpu_i64(e, b->offset * 8));
    case NSEG:        break;
    }
    return NULL;
}

static void find_bases(Emit *e, const Stmt *s)
{
    for (; s; s = s->next) {
        if ((s->kind == ST_LOAD || s->kind == ST_STORE) && !e->base[s->buf])
            e->base[s->buf] = buffer_base(e, &e->p->buf[s->buf]);
        find_bases(e, s->body);
    }
}

static void open_function(Emit *e, const char *name)
{
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->C), ptr = LLVMPointerTypeInContext(e->C, 0), param[3] = { ptr, i64, i64 };
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->C), param, 3, false);

    e->fn = LLVMAddFunction(e->M, name, type);
    LLVMSetLinkage(e->fn, LLVMInternalLinkage);
    LLVMAddAttributeAtIndex(e->fn, LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(e->C, "prefer-vector-width", 19, "512", 3));
    e->step = LLVMGetParam(e->fn, 0);
    e->first = LLVMGetParam(e->fn, 1);
    e->last = LLVMGetParam(e->fn, 2);
    LLVMPositionBuilderAtEnd(e->B, LLVMAppendBasicBlockInContext(e->C, e->fn, ""));
}

LLVMValueRef cpu_kernel(Emit *e, const Plan *p, const Kernel *k, const char *name)
{
    e->p = p;
    e->k = k;
    e->base = arena_array(e->mem, LLVMValueRef, p->nbuf + 1);
    e->var = arena_array(e->mem, LLVMValueRef, k->nvar + 1);
    e->value = arena_array(e->mem, LLVMValueRef, k->nvalue + 1);
    e->local = arena_array(e->mem, LocalRegs, k->nlocal + 1);
    e->vec_var = -1;
    e->lanes = e->active = 0;
    open_function(e, name);
    e->rows = cpu_field_of_step(e, e->step, offsetof(NndStep, row), LLVMPointerTypeInContext(e->C, 0));
    find_bases(e, k->body);
    if (k->body && k->body->par && !k->body->next)
        running_loop(e, k->body, e->first, e->last, 1);
    else
        emit_list(e, k->body);
    LLVMBuildRetVoid(e->B);
    return e->fn;
}
