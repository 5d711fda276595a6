/* nvptx_group.c - what a thread group's loops and locals become.
 *
 * A block loop is no loop: each thread does the turn that has its number, and threads beyond the last skip the body.  What
 * stands at a level that threads share is done by all of them alike, but stores, which the first of them does.  Locals of the
 * group lie in shared memory, of `each` thread in its registers: a thread's number drops out of the place.
 */
#include "backends/nvptx.h"

#include "backends/llvm_compat.h"

/* ---- levels ---- */

static int64_t inner_threads(Emit *e, const Stmt *list, int depth);

/* Threads that share a block loop's body; depth: block loops around the body. */
static int64_t shared_by(Emit *e, const Stmt *loop, int depth)
{
    return stmt_is_shared(loop, e->k) ? e->gpu->group.inner[depth] * inner_threads(e, loop->body, depth) : 1;
}

/* Of the threads of one of a level's loops, the most. */
static int64_t inner_threads(Emit *e, const Stmt *s, int depth)
{
    int64_t most = 1;

    for (; s; s = s->next) {
        int64_t n = s->kind == ST_FOR && s->block ? (depth + 1 < BLOCK_LOOPS ? shared_by(e, s, depth + 1) : 1) : inner_threads(e, s->body, depth);

        most = n > most ? n : most;
    }
    return most;
}

static LLVMValueRef as_index(Emit *e, LLVMValueRef v) { return LLVMBuildZExtOrBitCast(e->B, v, e->index, ""); }

/* Each thread's own turn of the loop, or that of `threads` of them. */
static void block_loop(Emit *e, const Stmt *s)
{
    Level        around = e->gpu->level, *l = &e->gpu->level;
    int64_t      threads = shared_by(e, s, around.depth + 1);
    LLVMValueRef number = around.threads > 1 ? around.thread : cpu_i32(e, 0);
    bool         skips = s->extent * threads < around.threads;
    Meet        *outside = threads > 1 ? nvptx_meet_inside(e, s) : NULL;

    e->var[s->id] = as_index(e, threads > 1 ? LLVMBuildUDiv(e->B, number, cpu_i32(e, threads), "") : number);
    *l = (Level){ .depth = around.depth + 1, .threads = threads, .parted = around.parted || skips,
                  .thread = threads > 1 ? LLVMBuildURem(e->B, number, cpu_i32(e, threads), "") : NULL };
    if (skips)
        cpu_if(e, LLVMBuildICmp(e->B, LLVMIntULT, number, cpu_i32(e, s->extent * threads), ""), s->body);
    else
        cpu_statements(e, s->body);
    *l = around;
    if (outside)
        nvptx_meet_outside(e, s, outside);
    if (s->async && e->gpu->sm->async)
        nvptx_call(e, compat_cp_commit, NULL, 0);
}

/* Done by the first of the threads that share the level. */
static void first_alone(Emit *e, const Stmt *s, void (*what)(Emit *, const Stmt *))
{
    const Level      *l = &e->gpu->level;
    LLVMBasicBlockRef first, after;

    if (l->threads <= 1) {
        what(e, s);
        return;
    }
    first = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    after = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMBuildCondBr(e->B, LLVMBuildICmp(e->B, LLVMIntEQ, l->thread, cpu_i32(e, 0), ""), first, after);
    LLVMPositionBuilderAtEnd(e->B, first);
    what(e, s);
    LLVMBuildBr(e->B, after);
    LLVMPositionBuilderAtEnd(e->B, after);
}

/* An unrolled loop that threads share: each turn meets the others. */
static void written_out(Emit *e, const Stmt *s)
{
    for (int64_t i = 0; i < s->extent; i++) {
        e->var[s->id] = cpu_number(e, i);
        nvptx_meet_turn(e, s, i);
        cpu_statements(e, s->body);
    }
    nvptx_meet_turn(e, s, -1);
}

/* ---- group memory ---- */

static void find_locals(Emit *e, const Stmt *s, const Stmt **local)
{
    for (; s; s = s->next) {
        if (s->kind == ST_LOCAL)
            local[s->id] = s;
        find_locals(e, s->body, local);
    }
}

static int64_t padded(const Stmt *local) { return (local->count * dt_bytes(local->dtype) + 15) / 16 * 16; }

LLVMValueRef nvptx_shared(Emit *e, LLVMTypeRef type, const char *name)
{
    LLVMValueRef v = LLVMAddGlobalInAddressSpace(e->M, type, arena_printf(e->mem, "%s_%s", LLVMGetValueName2(e->fn, &(size_t){ 0 }), name), SPACE_SHARED);

    LLVMSetLinkage(v, LLVMInternalLinkage);
    LLVMSetInitializer(v, LLVMGetPoison(type));
    LLVMSetAlignment(v, 16);
    return v;
}

/* What a kernel may have without asking is declared; more is one block that the launch gives. */
void nvptx_locals(Emit *e)
{
    NvptxKernel  *g = e->gpu;
    LLVMTypeRef   byte = LLVMInt8TypeInContext(e->C);
    LLVMValueRef  block = NULL;
    const Stmt  **local = arena_array(e->mem, const Stmt *, e->k->nlocal + 1);
    int64_t       all = 0, at = 0;

    find_locals(e, e->k->body, local);
    g->local = local;
    g->group_local = arena_array(e->mem, LLVMValueRef, e->k->nlocal + 1);
    for (int i = 0; i < e->k->nlocal; i++)
        all += local[i] && local[i]->scope == SCOPE_GROUP ? padded(local[i]) : 0;
    g->group_bytes = all;
    if (all > NVPTX_SHARED) {
        g->shared_bytes = all;
        block = LLVMAddGlobalInAddressSpace(e->M, LLVMArrayType2(byte, 0), arena_printf(e->mem, "%s_group", LLVMGetValueName2(e->fn, &(size_t){ 0 })),
                                            SPACE_SHARED);
        LLVMSetLinkage(block, LLVMExternalLinkage);
        LLVMSetAlignment(block, 16);
    }
    if (all > g->sm->shared_bytes)
        nvptx_refuse(e, "needs %lld bytes of group memory, %s has %lld", (long long)all, g->sm->name, (long long)g->sm->shared_bytes);
    for (int i = 0; i < e->k->nlocal; i++) {
        if (!local[i] || local[i]->scope != SCOPE_GROUP)
            continue;
        g->group_local[i] = block ? cpu_bytes(e, block, cpu_i64(e, at))
                                  : nvptx_shared(e, LLVMArrayType2(cpu_memory_type(e, local[i]->dtype), (uint64_t)local[i]->count), arena_printf(e->mem, "l%d", i));
        at += padded(local[i]);
    }
}

Place nvptx_place(Emit *e, int local, Affine at)
{
    const Stmt *l = e->gpu->local[local];

    return (Place){ .pointer = cpu_element(e, e->gpu->group_local[local], cpu_memory_type(e, l->dtype), at, 1), .dtype = l->dtype,
                    .stride = cpu_lane_stride(e, at), .align = cpu_align(e, at, dt_bytes(l->dtype), 16), .scope = -1 };
}

static LLVMValueRef get_shared(Emit *e, const Stmt *s)
{
    LLVMValueRef v, *var = e->var;
    Place        at;

    if (!cpu_is_picked(e, s->at)) {
        at = nvptx_place(e, s->local, s->at);
        return cpu_load_place(e, &at);
    }
    v = LLVMGetPoison(LLVMVectorType(cpu_scalar_type(e, s->dtype), (unsigned)e->lanes));
    for (int i = 0; i < e->active; i++) {           /* each lane has an index of its own */
        e->var = cpu_lane_vars(e, s, i);
        at = nvptx_place(e, s->local, aff_add(e->mem, s->at, aff_const(i * cpu_lane_stride(e, s->at))));
        at.stride = 0;
        v = LLVMBuildInsertElement(e->B, v, cpu_load_place(e, &at), cpu_i64(e, i), "");
        e->var = var;
    }
    return v;
}

static void set_shared(Emit *e, const Stmt *s)
{
    Place at = nvptx_place(e, s->local, s->at);

    cpu_store_place(e, &at, e->value[s->arg[0]]);
}

/* ---- copies that are waited for ---- */

/* One copy of 4, 8 or 16 bytes; where the condition is false, zeros. */
static void copy(Emit *e, LLVMValueRef to, LLVMValueRef from, int nbytes, LLVMValueRef condition)
{
    LLVMValueRef arg[3] = { to, from, condition ? LLVMBuildSelect(e->B, condition, cpu_i32(e, nbytes), cpu_i32(e, 0), "") : NULL };

    nvptx_call(e, compat_cp_async[nbytes == 16 ? 2 : nbytes == 8 ? 1 : 0][condition ? 1 : 0], arg, condition ? 3 : 2);
}

/* Sets are done in the order of the loads: both places are known now. */
static void copy_async(Emit *e, const Stmt *set)
{
    const Stmt *load = e->gpu->copied[set->arg[0]];
    LLVMTypeRef real = LLVMFloatTypeInContext(e->C);
    Place       from, to = nvptx_place(e, set->local, set->at);
    int         lanes = e->vec_var >= 0 && to.stride ? e->lanes : 1, wide = 4 * lanes;

    if (!load || !cpu_source(e, load, &from) || (from.condition && cpu_is_vector(from.condition))) {
        nvptx_refuse(e, "an async loop copies what each lane has to look for");
        return;
    }
    if (from.condition)
        from.pointer = LLVMBuildSelect(e->B, from.condition, from.pointer, from.safe, "");
    if (lanes == 1 || (from.stride == 1 && to.stride == 1 && from.align % wide == 0 && to.align % wide == 0)) {
        copy(e, to.pointer, from.pointer, wide, from.condition);
        return;
    }
    for (int i = 0; i < lanes; i++) {
        LLVMValueRef f = cpu_i64(e, i * from.stride), t = cpu_i64(e, i * to.stride);

        copy(e, LLVMBuildGEP2(e->B, real, to.pointer, &t, 1, ""), LLVMBuildGEP2(e->B, real, from.pointer, &f, 1, ""), 4, from.condition);
    }
}

static bool async_statement(Emit *e, const Stmt *s)
{
    if (s->kind == ST_LOAD)
        e->gpu->copied[s->id] = s;
    else if (s->kind == ST_SET)
        copy_async(e, s);
    return s->kind == ST_LOAD || s->kind == ST_SET;
}

/* ---- registers of each thread ---- */

/* Of the place, what does not say which thread's it is. */
static Affine own_place(Emit *e, Affine at)
{
    Affine own = aff_const(at.base);

    for (int i = 0; i < at.n; i++)
        if (!e->gpu->is_block[at.term[i].var])
            own = aff_add(e->mem, own, aff_var(e->mem, at.term[i].var, at.term[i].coef));
    return own;
}

Stmt nvptx_own(Emit *e, const Stmt *s)
{
    Stmt own = *s;

    own.at = own_place(e, s->at);
    return own;
}

/* ---- statements ---- */

static bool access_local(Emit *e, const Stmt *s)
{
    Scope scope = e->gpu->local[s->local]->scope;
    Stmt  own;

    if (scope == SCOPE_OWN)
        return false;
    if (scope == SCOPE_GROUP && s->kind == ST_GET)
        e->value[s->id] = get_shared(e, s);
    else if (scope == SCOPE_GROUP)
        first_alone(e, s, set_shared);
    if (scope == SCOPE_GROUP)
        return true;
    own = nvptx_own(e, s);
    if (s->kind == ST_GET)
        e->value[s->id] = cpu_get(e, &own);
    else if (s->kind == ST_SET)
        cpu_set(e, &own);
    else
        e->value[s->id] = nvptx_fold(e, s);
    return true;
}

/* A loop: true if it is written. */
static bool loop(Emit *e, const Stmt *s)
{
    bool shared = e->gpu->level.threads > 1;

    if (s->block) {
        bool async = s->async && e->gpu->sm->async;

        e->gpu->in_async = async;
        block_loop(e, s);
        e->gpu->in_async = false;
        return true;
    }
    if (!shared)
        return false;
    if (cpu_is_unrolled(e, s))
        written_out(e, s);
    else
        nvptx_meet_loop(e, s);
    return cpu_is_unrolled(e, s);
}

/* Some of the group may go another way only below the grid's level, where each of its own turns decides. */
static void branch(Emit *e, const Stmt *s)
{
    NvptxKernel *g = e->gpu;
    bool         parted = g->level.parted;
    const Meet  *before = nvptx_meet_branch(e);

    g->level.parted |= g->level.depth > 0;
    cpu_if(e, e->value[s->arg[0]], s->body);
    g->level.parted = parted;
    nvptx_meet_rejoin(e, before);
}

static void wait(Emit *e, const Stmt *s)
{
    LLVMValueRef n = cpu_i32(e, s->count);

    if (e->gpu->sm->async)
        nvptx_call(e, compat_cp_wait, &n, 1);
}

bool nvptx_statement(Emit *e, const Stmt *s)
{
    NvptxKernel *g = e->gpu;

    if (g->level.threads > 1)
        nvptx_meet_before(e, s);
    if (g->in_async && async_statement(e, s))
        return true;
    switch (s->kind) {
    case ST_FOR:   return loop(e, s);
    case ST_LOCAL: return s->scope == SCOPE_GROUP;
    case ST_GET: case ST_SET: case ST_FOLD:
        return access_local(e, s);
    case ST_STORE:
        first_alone(e, s, cpu_store);
        return true;
    case ST_WAIT:  wait(e, s); return true;
    case ST_MMA:   nvptx_mma(e, s); return true;
    case ST_IF:
        if (g->level.threads > 1)
            branch(e, s);
        return g->level.threads > 1;
    case ST_LET: case ST_CONST: case ST_LOAD: case ST_INDEX: case ST_WITHIN: case ST_PICK: case ST_PART: case ST_RANDOM:
        return false;
    }
    return false;
}
