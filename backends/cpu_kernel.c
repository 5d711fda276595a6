/* cpu_kernel.c - one kernel, one function: its loops and statements.
 *
 * Unrolled loops and the last group of a vec loop are written out.  A running loop's body is written once; the
 * cells of locals that it changes go through phis.  Extents are known and not 0, so loops test at their ends.
 * In a kernel that is not scheduled marks are ignored: it runs one number at a time.
 */
#include "backends/cpu.h"
#include "backends/llvm_compat.h"

static void emit_list(Emit *e, const Stmt *s);
static void emit_statement(Emit *e, const Stmt *s);

int cpu_loop_lanes(const Emit *e, const Stmt *loop) { return e->k->scheduled ? loop->lanes : 0; }

bool cpu_is_unrolled(const Emit *e, const Stmt *loop)
{
    return !loop->par && (loop->extent == 1 || (e->k->scheduled && loop->unroll));
}

/* ---- running loops ---- */

typedef struct Phi { LLVMValueRef phi, *cell; } Phi;
typedef struct Loop { LLVMBasicBlockRef body; LLVMValueRef i; Phi *phi; int nphi; } Loop;

static bool sets(const Stmt *s, int local)
{
    for (; s; s = s->next)
        if (((s->kind == ST_SET || s->kind == ST_MMA) && s->local == local) || sets(s->body, local))
            return true;
    return false;
}

static int cell_count(const Emit *e)
{
    int n = 0;

    for (int i = 0; i < e->k->nlocal; i++)
        n += e->local[i].declared ? e->local[i].ncell : 0;
    return n;
}

static LLVMValueRef phi_of(Emit *e, LLVMValueRef start, LLVMBasicBlockRef before)
{
    LLVMValueRef phi = LLVMBuildPhi(e->B, LLVMTypeOf(start), "");

    LLVMAddIncoming(phi, &start, &before, 1);
    return phi;
}

static LLVMValueRef phi_of_two(Emit *e, LLVMValueRef a, LLVMBasicBlockRef from_a, LLVMValueRef b, LLVMBasicBlockRef from_b)
{
    LLVMValueRef phi = phi_of(e, a, from_a);

    LLVMAddIncoming(phi, &b, &from_b, 1);
    return phi;
}

static void carry_cells(Emit *e, Loop *loop, const Stmt *body, LLVMBasicBlockRef before)
{
    loop->phi = arena_array(e->mem, Phi, cell_count(e) + 1);
    for (int i = 0; i < e->k->nlocal; i++) {
        LocalRegs *l = &e->local[i];

        if (!l->declared || !l->ncell || !sets(body, i))
            continue;
        for (int j = 0; j < l->ncell; j++) {
            l->cell[j] = phi_of(e, l->cell[j], before);
            loop->phi[loop->nphi++] = (Phi){ l->cell[j], &l->cell[j] };
        }
    }
}

static void emit_body(Emit *e, const Stmt *s) { emit_list(e, s->body); }

/* for (var = from; var < to; var += step), at least once; from and to are of type index */
static void running_loop(Emit *e, const Stmt *s, LLVMValueRef from, LLVMValueRef to, int64_t step,
                         void (*body)(Emit *, const Stmt *))
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->B), latch, after;
    Loop loop = { .body = LLVMAppendBasicBlockInContext(e->C, e->fn, "") };
    LLVMValueRef next;

    LLVMBuildBr(e->B, loop.body);
    LLVMPositionBuilderAtEnd(e->B, loop.body);
    loop.i = phi_of(e, from, before);
    carry_cells(e, &loop, s->body, before);
    e->var[s->id] = loop.i;
    body(e, s);
    next = LLVMBuildNSWAdd(e->B, loop.i, cpu_number(e, step), "");
    latch = LLVMGetInsertBlock(e->B);
    after = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMBuildCondBr(e->B, LLVMBuildICmp(e->B, LLVMIntSLT, next, to, ""), loop.body, after);
    LLVMAddIncoming(loop.i, &next, &latch, 1);
    for (int j = 0; j < loop.nphi; j++)
        LLVMAddIncoming(loop.phi[j].phi, loop.phi[j].cell, &latch, 1);
    LLVMPositionBuilderAtEnd(e->B, after);
}

/* ---- conditions ---- */

/* Behind a body that may not have been run: cells as they were before it, or as its end leaves them. */
static void merge_cells(Emit *e, const Loop *loop, LLVMBasicBlockRef before, LLVMBasicBlockRef latch)
{
    for (int j = 0; j < loop->nphi; j++) {
        LLVMValueRef start = LLVMGetIncomingValue(loop->phi[j].phi, 0);

        LLVMAddIncoming(loop->phi[j].phi, loop->phi[j].cell, &latch, 1);
        *loop->phi[j].cell = phi_of_two(e, start, before, *loop->phi[j].cell, latch);
    }
}

/* The body, as often as `bits` (an integer) has ones, the loop's variable being `from` plus the number of each, lowest first. */
static void each_bit(Emit *e, const Stmt *loop, const Stmt *body, LLVMValueRef bits, LLVMValueRef from)
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->B), latch, after = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    Loop              l = { .body = LLVMAppendBasicBlockInContext(e->C, e->fn, "") };
    LLVMTypeRef       type = LLVMTypeOf(bits);
    LLVMValueRef      zero = LLVMConstNull(type), bit, rest;

    LLVMBuildCondBr(e->B, LLVMBuildICmp(e->B, LLVMIntNE, bits, zero, ""), l.body, after);
    LLVMPositionBuilderAtEnd(e->B, l.body);
    l.i = phi_of(e, bits, before);
    carry_cells(e, &l, body, before);
    bit = cpu_intrinsic(e, "llvm.cttz", &type, 1, (LLVMValueRef[]){ l.i, LLVMConstInt(LLVMInt1TypeInContext(e->C), 1, false) }, 2);
    e->var[loop->id] = LLVMBuildAdd(e->B, from, LLVMBuildZExtOrBitCast(e->B, bit, e->index, ""), "");
    emit_list(e, body);
    rest = LLVMBuildAnd(e->B, l.i, LLVMBuildSub(e->B, l.i, LLVMConstInt(type, 1, false), ""), "");
    latch = LLVMGetInsertBlock(e->B);
    LLVMBuildCondBr(e->B, LLVMBuildICmp(e->B, LLVMIntNE, rest, zero, ""), l.body, after);
    LLVMAddIncoming(l.i, &rest, &latch, 1);
    LLVMPositionBuilderAtEnd(e->B, after);
    merge_cells(e, &l, before, latch);
}

void cpu_if(Emit *e, LLVMValueRef condition, const Stmt *list)
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->B), body = LLVMAppendBasicBlockInContext(e->C, e->fn, ""), end, after;
    LLVMValueRef    **cell = arena_array(e->mem, LLVMValueRef *, cell_count(e) + 1);
    LLVMValueRef     *start = arena_array(e->mem, LLVMValueRef, cell_count(e) + 1), branch;
    int               n = 0;

    branch = LLVMBuildCondBr(e->B, condition, body, body);
    for (int i = 0; i < e->k->nlocal; i++)
        for (int j = 0; e->local[i].declared && sets(list, i) && j < e->local[i].ncell; j++) {
            cell[n] = &e->local[i].cell[j];
            start[n] = *cell[n];
            n++;
        }
    LLVMPositionBuilderAtEnd(e->B, body);
    emit_list(e, list);
    end = LLVMGetInsertBlock(e->B);
    after = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMBuildBr(e->B, after);
    LLVMSetSuccessor(branch, 1, after);
    LLVMPositionBuilderAtEnd(e->B, after);
    for (int j = 0; j < n; j++)
        *cell[j] = phi_of_two(e, start[j], before, *cell[j], end);
}

/* Conditions of a group as the bits of one integer, then the body for each of them. */
static void sieve_group(Emit *e, const Stmt *s, LLVMValueRef from, int active)
{
    const Stmt  *c = s->body;
    LLVMValueRef bits;

    e->vec_var = s->id;
    e->lanes = s->sieve;
    e->active = active;
    e->var[s->id] = from;
    for (; c->kind != ST_IF; c = c->next)
        emit_statement(e, c);
    bits = cpu_vector(e, e->value[c->arg[0]]);
    if (active < s->sieve)
        bits = LLVMBuildAnd(e->B, bits, cpu_mask(e), "");
    e->vec_var = -1;
    e->lanes = e->active = 0;
    bits = LLVMBuildBitCast(e->B, bits, LLVMIntTypeInContext(e->C, (unsigned)s->sieve), "");
    if (s->sieve < 32)
        bits = LLVMBuildZExt(e->B, bits, LLVMInt32TypeInContext(e->C), "");
    each_bit(e, s, c->body, bits, from);
}

static void full_group(Emit *e, const Stmt *s) { sieve_group(e, s, e->var[s->id], s->sieve); }

static void sieve_loop(Emit *e, const Stmt *s)
{
    int64_t whole = s->extent / s->sieve, rest = s->extent % s->sieve;

    if (whole > 1)
        running_loop(e, s, cpu_number(e, 0), cpu_number(e, whole * s->sieve), s->sieve, full_group);
    else if (whole)
        sieve_group(e, s, cpu_number(e, 0), s->sieve);
    if (rest)
        sieve_group(e, s, cpu_number(e, whole * s->sieve), (int)rest);
}

/* ---- loops ---- */

static void emit_group(Emit *e, const Stmt *s, int64_t from, int active)
{
    e->active = active;
    e->var[s->id] = cpu_number(e, from);
    emit_list(e, s->body);
}

/* Full groups of lanes, then the lanes that remain. */
static void vector_loop(Emit *e, const Stmt *s)
{
    int64_t whole = s->extent / s->lanes, rest = s->extent % s->lanes;

    e->vec_var = s->id;
    e->lanes = e->active = s->lanes;
    if (whole > 1 && !s->unroll && !cpu_is_cell_loop(e, s))
        running_loop(e, s, cpu_number(e, 0), cpu_number(e, whole * s->lanes), s->lanes, emit_body);
    else
        for (int64_t g = 0; g < whole; g++)
            emit_group(e, s, g * s->lanes, s->lanes);
    if (rest)
        emit_group(e, s, whole * s->lanes, (int)rest);
    e->vec_var = -1;
    e->lanes = e->active = 0;
}

static void written_out(Emit *e, const Stmt *s)
{
    TurnBlock *outer = e->turn, *own = cpu_turn_block(e, s);

    e->turn = own ? own : outer;
    for (int64_t i = 0; i < s->extent; i++) {
        e->var[s->id] = cpu_number(e, i);
        emit_list(e, s->body);
    }
    e->turn = outer;
}

static void emit_loop(Emit *e, const Stmt *s)
{
    Gemm g;

    if (s->blas && e->blas && kern_gemm(s, &g)) {
        cpu_gemm(e, &g);
    } else if (cpu_loop_lanes(e, s)) {
        vector_loop(e, s);
    } else if (e->k->scheduled && s->sieve) {
        sieve_loop(e, s);
    } else if (!cpu_is_unrolled(e, s)) {
        cpu_fetch_behind(e, s);
        running_loop(e, s, cpu_number(e, 0), cpu_number(e, s->extent), 1, emit_body);
    } else if (!cpu_fold_together(e, s)) {
        written_out(e, s);
    }
}

/* ---- statements ---- */

/* A shared kernel finds its streams behind its places. */
static LLVMValueRef random_stream(Emit *e, const Stmt *s)
{
    const Stmt **random;
    int         *buf, at = cpu_kernel_buffers(e, e->k, &buf);

    if (!e->shared)
        return cpu_i32(e, (int32_t)s->stream);
    cpu_kernel_streams(e, e->k, &random);
    while (*random++ != s)
        at++;
    return LLVMBuildTrunc(e->B, e->target->place(e, at), LLVMInt32TypeInContext(e->C), "");
}

static LLVMValueRef random_value(Emit *e, const Stmt *s)
{
    LLVMValueRef seed = e->target->step(e, STEP_SEED), step = e->target->step(e, STEP_NUMBER);

    return cpu_random(e, cpu_index(e, s->at, LLVMInt64TypeInContext(e->C)), seed, step, random_stream(e, s), s->dtype);
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

static void emit_statement(Emit *e, const Stmt *s)
{
    if (e->target->statement && e->target->statement(e, s))
        return;
    switch (s->kind) {
    case ST_FOR:    emit_loop(e, s); break;
    case ST_LET:    e->value[s->id] = let(e, s); break;
    case ST_CONST:  e->value[s->id] = cpu_const(e, s->dtype, s->number); break;
    case ST_LOAD:   e->value[s->id] = cpu_load(e, s); break;
    case ST_STORE:  cpu_store(e, s); break;
    case ST_INDEX:  e->value[s->id] = cpu_index(e, s->at, LLVMInt32TypeInContext(e->C)); break;
    case ST_RANDOM: e->value[s->id] = random_value(e, s); break;
    case ST_LOCAL:  cpu_local(e, s); break;
    case ST_GET:    e->value[s->id] = cpu_get(e, s); break;
    case ST_SET:    cpu_set(e, s); break;
    case ST_FOLD:   e->value[s->id] = cpu_fold(e, s); break;
    case ST_WITHIN: e->value[s->id] = cpu_within(e, s); break;
    case ST_PICK:   e->var[s->id] = cpu_pick(e, s); break;
    case ST_IF:     cpu_if(e, e->value[s->arg[0]], s->body); break;
    case ST_PART:   e->var[s->id] = cpu_digit(e, s); break;
    case ST_WAIT: case ST_MMA: break;                   /* of kernels for a GPU */
    }
}

static void emit_list(Emit *e, const Stmt *list)
{
    for (const Stmt *s = list; s; s = s->next)
        emit_statement(e, s);
    for (const Stmt *s = list; s; s = s->next)
        if (s->kind == ST_LOCAL)
            e->local[s->id].declared = false;
}

void cpu_statements(Emit *e, const Stmt *list) { emit_list(e, list); }

/* ---- kernels ---- */

bool cpu_is_parallel(const Kernel *k) { return k->body && k->body->kind == ST_FOR && k->body->par && !k->body->next; }

static LLVMValueRef add_function(Emit *e, const char *name, bool shared)
{
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->C), ptr = LLVMPointerTypeInContext(e->C, 0), param[3] = { ptr, i64, i64 };
    LLVMValueRef fn = LLVMAddFunction(e->M, name, LLVMFunctionType(LLVMVoidTypeInContext(e->C), param, 3, false));

    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(e->C, "prefer-vector-width", 19, "512", 3));
    /* scopes of loads and stores hold for one call alone */
    if (shared)
        LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex,
                                LLVMCreateEnumAttribute(e->C, LLVMGetEnumAttributeKindForName("noinline", 8), 0));
    return fn;
}

/* Iterations first..last-1 of the outermost loop; there may be none. */
static void parallel_loop(Emit *e, const Stmt *s)
{
    LLVMValueRef first = LLVMGetParam(e->fn, 1), last = LLVMGetParam(e->fn, 2);
    LLVMBasicBlockRef some = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMBasicBlockRef none = LLVMAppendBasicBlockInContext(e->C, e->fn, "");

    LLVMBuildCondBr(e->B, LLVMBuildICmp(e->B, LLVMIntSLT, first, last, ""), some, none);
    LLVMPositionBuilderAtEnd(e->B, some);
    running_loop(e, s, first, last, 1, emit_body);
    LLVMBuildBr(e->B, none);
    LLVMPositionBuilderAtEnd(e->B, none);
}

void cpu_open_kernel(Emit *e, const Kernel *k, bool shared, LLVMValueRef fn)
{
    e->k = k;
    e->fn = fn;
    e->step = LLVMGetParam(fn, 0);
    e->shared = shared;
    e->var = arena_array(e->mem, LLVMValueRef, k->nvar + 1);
    e->value = arena_array(e->mem, LLVMValueRef, k->nvalue + 1);
    e->vec_var = -1;
    e->lanes = e->active = 0;
    LLVMPositionBuilderAtEnd(e->B, LLVMAppendBasicBlockInContext(e->C, fn, ""));
    if (k->scan)
        e->var[0] = LLVMBuildTruncOrBitCast(e->B, e->target->step(e, STEP_TURN), e->index, "");
    cpu_bases(e);
    cpu_plan_locals(e);
}

LLVMValueRef cpu_kernel(Emit *e, const Kernel *k, bool shared, const char *name)
{
    cpu_open_kernel(e, k, shared, add_function(e, name, shared));
    if (cpu_is_parallel(k))
        parallel_loop(e, k->body);
    else
        emit_list(e, k->body);
    LLVMBuildRetVoid(e->B);
    return e->fn;
}
