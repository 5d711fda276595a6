/* cpu_local.c - locals: registers wherever every place in them is known.
 *
 * A local's elements are cells: SSA values that get and set read and replace while a kernel is written out, and
 * that running loops carry through phis (cpu_kernel.c).  A cell is a vector of `width` elements where the kernel
 * reaches the local along a vec loop, else one element; a local declared inside a vec loop has in each cell a
 * vector of the lanes' own copies.  Places that depend on a running loop put a local on the stack; that
 * happens in kernels that are not scheduled, for locals too large for any register file, and for those that say so.
 */
#include <assert.h>

#include "backends/cpu.h"

enum { MAX_CELLS = 256 };

/* ---- registers or stack ---- */

typedef struct Scan { Emit *e; bool *is_running; int vec_var, lanes; int64_t extent; } Scan;

/* May cells of `lanes` elements hold what s reaches along the vec loop's variable? */
static bool reaches_cell(const Scan *c, const Stmt *s, const LocalRegs *l)
{
    if (s->kind == ST_FOLD || l->copies || aff_coef(s->at, c->vec_var) != 1 || s->at.base % c->lanes)
        return false;
    for (int i = 0; i < s->at.n; i++)
        if (s->at.term[i].var != c->vec_var && s->at.term[i].coef % c->lanes)
            return false;
    return true;
}

/* Vec loops of different lanes may share a local if the wider vector is two, four, ... of the narrower. */
static bool splits(int a, int b)
{
    int narrow = a < b ? a : b, ratio = (a > b ? a : b) / narrow;

    return a == 1 || (a + b - narrow == ratio * narrow && !(ratio & (ratio - 1)));
}

/* Is what s reaches one of the runs that others reach, each with the cells behind its last lane to itself? */
static bool keeps_run(const Scan *c, const Stmt *s, const LocalRegs *l)
{
    int64_t whole = c->vec_var < 0 ? 0 : (c->extent + c->lanes - 1) / c->lanes * c->lanes;

    if (!whole || s->kind == ST_FOLD || aff_coef(s->at, c->vec_var) != 1 || s->at.base % whole || (l->run && (l->run != c->extent || l->width != c->lanes)))
        return false;
    for (int i = 0; i < s->at.n; i++)
        if (s->at.term[i].var != c->vec_var && s->at.term[i].coef % whole)
            return false;
    return true;
}

static void scan_access(Scan *c, const Stmt *s)
{
    LocalRegs *l = &c->e->local[s->local];

    if (l->in_group)
        return;
    l->run = keeps_run(c, s, l) ? c->extent : -1;
    for (int i = 0; i < s->at.n; i++)
        l->on_stack |= s->at.term[i].var != c->vec_var && c->is_running[s->at.term[i].var];
    if (c->vec_var < 0 || !aff_coef(s->at, c->vec_var))
        return;
    if (!reaches_cell(c, s, l) || !splits(l->width, c->lanes))
        l->on_stack = true;
    else if (l->width == 1 || c->lanes < l->width)
        l->width = c->lanes;
}

static void scan_list(Scan *c, const Stmt *s)
{
    for (; s; s = s->next) {
        Scan inner = *c;

        if (s->kind == ST_LOCAL)
            c->e->local[s->id] = (LocalRegs){ .width = 1, .copies = c->lanes, .dtype = s->dtype, .in_group = s->scope == SCOPE_GROUP,
                                              .on_stack = s->scope == SCOPE_MEMORY,
                                              .ncell = (int)(s->scope == SCOPE_GROUP ? 0 : s->scope == SCOPE_EACH ? s->each : s->count) };
        if (s->kind == ST_GET || s->kind == ST_SET || s->kind == ST_FOLD)
            scan_access(c, s);
        if (s->kind == ST_IF)
            scan_list(&inner, s->body);
        if (s->kind != ST_FOR)
            continue;
        if (cpu_loop_lanes(c->e, s)) {
            inner.vec_var = s->id;
            inner.lanes = cpu_loop_lanes(c->e, s);
            inner.extent = s->extent;
        }
        c->is_running[s->id] = !cpu_is_unrolled(c->e, s) && !s->grid && !s->block;      /* of `each` locals those name the thread */
        scan_list(&inner, s->body);
    }
}

void cpu_plan_locals(Emit *e)
{
    Scan c = { .e = e, .is_running = arena_array(e->mem, bool, e->k->nvar + 1), .vec_var = -1 };

    e->local = arena_array(e->mem, LocalRegs, e->k->nlocal + 1);
    scan_list(&c, e->k->body);
    for (int i = 0; i < e->k->nlocal; i++) {
        LocalRegs *l = &e->local[i];
        int count = l->ncell;

        if (!l->width)          /* a number that no local has */
            continue;
        l->ncell = (count + l->width - 1) / l->width;
        if (!l->on_stack && l->ncell <= MAX_CELLS) {
            l->cell = arena_array(e->mem, LLVMValueRef, l->ncell);
            continue;
        }
        l->on_stack = true;
        l->ncell = 0;
        l->stack = LLVMBuildArrayAlloca(e->B, cpu_memory_type(e, l->dtype), cpu_i64(e, (int64_t)count * (l->copies ? l->copies : 1)), "");
        LLVMSetAlignment(l->stack, NND_ALIGN);
    }
}

static bool reaches_cells(const Emit *e, const Stmt *s, int var)
{
    for (; s; s = s->next) {
        if ((s->kind == ST_GET || s->kind == ST_SET) && !e->local[s->local].on_stack && !e->local[s->local].in_group
            && aff_coef(s->at, var))
            return true;
        if (reaches_cells(e, s->body, var))
            return true;
    }
    return false;
}

bool cpu_is_cell_loop(const Emit *e, const Stmt *loop) { return reaches_cells(e, loop->body, loop->id); }

/* ---- the stack ---- */

static Place stack_place(Emit *e, const LocalRegs *l, Affine at)
{
    int64_t copies = l->copies ? l->copies : 1, stride = cpu_lane_stride(e, at) * copies + (l->copies ? 1 : 0);

    return (Place){ cpu_element(e, l->stack, cpu_memory_type(e, l->dtype), at, copies), stride, dt_bytes(l->dtype), l->dtype, -1, NULL, NULL };
}

/* for (i = 0; i < n; i++) stack[i] = start */
static void fill_stack(Emit *e, const LocalRegs *l, int64_t n, LLVMValueRef start)
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->B), body = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->C, e->fn, "");
    LLVMTypeRef type = cpu_memory_type(e, l->dtype);
    LLVMValueRef zero = cpu_i64(e, 0), i, next;

    LLVMBuildBr(e->B, body);
    LLVMPositionBuilderAtEnd(e->B, body);
    i = LLVMBuildPhi(e->B, LLVMTypeOf(zero), "");
    LLVMBuildStore(e->B, start, LLVMBuildGEP2(e->B, type, l->stack, &i, 1, ""));
    next = LLVMBuildAdd(e->B, i, cpu_i64(e, 1), "");
    LLVMBuildCondBr(e->B, LLVMBuildICmp(e->B, LLVMIntSLT, next, cpu_i64(e, n), ""), body, after);
    LLVMAddIncoming(i, (LLVMValueRef[]){ zero, next }, (LLVMBasicBlockRef[]){ before, body }, 2);
    LLVMPositionBuilderAtEnd(e->B, after);
}

/* ---- declaring, reading, writing ---- */

void cpu_local(Emit *e, const Stmt *s)
{
    LocalRegs *l = &e->local[s->id];
    LLVMValueRef start = cpu_const(e, s->dtype, s->number);

    l->declared = true;
    if (s->scope == SCOPE_MEMORY)
        return;
    if (l->on_stack) {
        if (s->dtype == DT_bool)
            start = cpu_const(e, DT_u8, s->number != 0);
        fill_stack(e, l, s->count * (l->copies ? l->copies : 1), start);
        return;
    }
    if (l->copies || l->width > 1)
        start = cpu_splat(e, start, l->copies ? l->copies : l->width);
    for (int i = 0; i < l->ncell; i++)
        l->cell[i] = start;
}

int64_t cpu_known_place(Emit *e, Affine at)
{
    int64_t i = -1;

    if (!cpu_known(e, at, &i))
        assert(!"places in registers are known");
    return i;
}

static bool along_cells(Emit *e, const LocalRegs *l, Affine at) { return !l->copies && cpu_lane_stride(e, at); }

/* The vec loop's lanes, from as many cells as they take; lanes behind the local's end hold nothing. */
static LLVMValueRef get_cells(Emit *e, const LocalRegs *l, int64_t cell)
{
    LLVMValueRef v[64];
    int n = e->lanes / l->width;

    for (int i = 0; i < n; i++)
        v[i] = cell + i < l->ncell ? l->cell[cell + i] : LLVMGetPoison(LLVMTypeOf(l->cell[cell]));
    return cpu_join(e, v, n);
}

static void set_cells(Emit *e, LocalRegs *l, int64_t cell, LLVMValueRef v)
{
    int n = e->lanes / l->width;

    if (e->active < e->lanes && l->run < 0)
        v = LLVMBuildSelect(e->B, cpu_mask(e), v, get_cells(e, l, cell), "");
    for (int i = 0; i < n && cell + i < l->ncell; i++)
        l->cell[cell + i] = n == 1 ? v : cpu_part(e, v, i * l->width, l->width);
}

LLVMValueRef cpu_get(Emit *e, const Stmt *s)
{
    const LocalRegs *l = &e->local[s->local];
    int64_t i;

    if (l->on_stack) {
        Place at = stack_place(e, l, s->at);

        return cpu_load_place(e, &at);
    }
    i = cpu_known_place(e, s->at);
    if (along_cells(e, l, s->at))
        return get_cells(e, l, i / l->width);
    return l->width > 1 ? LLVMBuildExtractElement(e->B, l->cell[i / l->width], cpu_i64(e, i % l->width), "") : l->cell[i];
}

void cpu_put(Emit *e, const Stmt *s, LLVMValueRef v)
{
    LocalRegs *l = &e->local[s->local];
    LLVMValueRef *cell;
    int64_t i;

    if (l->on_stack) {
        Place at = stack_place(e, l, s->at);

        cpu_store_place(e, &at, v);
        return;
    }
    i = cpu_known_place(e, s->at);
    cell = &l->cell[i / l->width];
    if (along_cells(e, l, s->at))
        set_cells(e, l, i / l->width, cpu_vector(e, v));
    else if (l->width > 1)
        *cell = LLVMBuildInsertElement(e->B, *cell, v, cpu_i64(e, i % l->width), "");
    else
        *cell = l->copies ? cpu_vector(e, v) : v;
}

void cpu_set(Emit *e, const Stmt *s) { cpu_put(e, s, e->value[s->arg[0]]); }

/* ---- folds ---- */

LLVMValueRef cpu_fold2(Emit *e, const Stmt *s, LLVMValueRef a, LLVMValueRef b)
{
    LLVMValueRef pair[2] = { a, b };

    return cpu_op(e, s->op, s->dtype, s->dtype, pair, 2);
}

/* Element i of what is folded, as a value of its own. */
static LLVMValueRef fold_element(Emit *e, const Stmt *s, int64_t i)
{
    Stmt get = *s;

    get.at.base += i;
    return cpu_get(e, &get);
}

/* v[i] = op(v[i], v[i + n/2]) until n vectors are one. */
static void fold_vectors(Emit *e, const Stmt *s, LLVMValueRef *v, int64_t n)
{
    for (; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++)
            v[i] = cpu_fold2(e, s, v[i], v[i + n / 2]);
}

LLVMValueRef cpu_fold_cells(Emit *e, const Stmt *s)
{
    const LocalRegs *l = &e->local[s->local];
    LLVMValueRef *v;
    int64_t at, n = s->count / l->width;

    if (l->on_stack || l->copies || l->width == 1 || s->count % l->width || !cpu_known(e, s->at, &at) || at % l->width)
        return NULL;
    v = arena_array(e->mem, LLVMValueRef, n);
    for (int i = 0; i < n; i++)
        v[i] = l->cell[at / l->width + i];
    fold_vectors(e, s, v, n);
    return v[0];
}

LLVMValueRef cpu_fold(Emit *e, const Stmt *s)
{
    LLVMValueRef cell = cpu_fold_cells(e, s), *v;

    if (!cell) {
        v = arena_array(e->mem, LLVMValueRef, s->count);
        for (int64_t i = 0; i < s->count; i++)
            v[i] = fold_element(e, s, i);
        fold_vectors(e, s, v, s->count);
        return v[0];
    }
    for (int n = e->local[s->local].width / 2; n >= 1; n /= 2)
        cell = cpu_fold2(e, s, cpu_part(e, cell, 0, n), cpu_part(e, cell, n, n));
    return LLVMBuildExtractElement(e->B, cell, cpu_i64(e, 0), "");
}
