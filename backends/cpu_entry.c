/* cpu_entry.c - an entry's run: for each batch, fill an NndStep and call the kernels in order. */
#include <stddef.h>

#include "backends/cpu.h"

typedef struct Entry {
    Emit        *e;
    LLVMTypeRef  ptr, i64, i8;
    LLVMValueRef fn, call, step;     /* the function; its NndCall; the NndStep on its stack */
} Entry;

static LLVMValueRef field(Entry *n, size_t offset, LLVMTypeRef type)
{
    return cpu_member(n->e, n->call, offset, type);
}

static LLVMValueRef bytes(Entry *n, LLVMValueRef p, LLVMValueRef at) { return LLVMBuildGEP2(n->e->B, n->i8, p, &at, 1, ""); }

static void set(Entry *n, size_t offset, LLVMValueRef v)
{
    LLVMBuildStore(n->e->B, v, bytes(n, n->step, cpu_i64(n->e, (int64_t)offset)));
}

/* What the model text says about its `input float`s, for a call that doesn't. */
static LLVMValueRef own_scalars(Entry *n)
{
    const Module *m = n->e->m;
    LLVMTypeRef real = LLVMDoubleTypeInContext(n->e->C);
    LLVMValueRef *v = arena_array(n->e->mem, LLVMValueRef, m->nslot + 1), list, g;
    unsigned count = 0;

    for (int i = 0; i < m->nslot; i++)
        if (m->slot[i].kind == SLOT_scalar && slot_scalar_number(m, i) >= 3)
            v[count++] = LLVMConstReal(real, m->slot[i].value);
    list = LLVMConstArray2(real, v, count);
    g = LLVMAddGlobal(n->e->M, LLVMTypeOf(list), "scalars");
    LLVMSetInitializer(g, list);
    LLVMSetGlobalConstant(g, true);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    return g;
}

static void fill_fixed(Entry *n)
{
    LLVMBuilderRef B = n->e->B;
    LLVMValueRef scalar = field(n, offsetof(NndCall, scalar), n->ptr);

    set(n, offsetof(NndStep, state), field(n, offsetof(NndCall, state), n->ptr));
    set(n, offsetof(NndStep, scratch), field(n, offsetof(NndCall, scratch), n->ptr));
    set(n, offsetof(NndStep, field), field(n, offsetof(NndCall, field), n->ptr));
    set(n, offsetof(NndStep, out), field(n, offsetof(NndCall, out), n->ptr));
    set(n, offsetof(NndStep, steps), field(n, offsetof(NndCall, steps), n->i64));
    set(n, offsetof(NndStep, epoch), field(n, offsetof(NndCall, epoch), n->i64));
    set(n, offsetof(NndStep, seed), field(n, offsetof(NndCall, seed), n->i64));
    set(n, offsetof(NndStep, scalar), LLVMBuildSelect(B, LLVMBuildIsNull(B, scalar, ""), own_scalars(n), scalar, ""));
}

static int metric_count(const Module *m)
{
    int n = 0;

    for (int i = 0; i < m->nslot; i++)
        n += m->slot[i].kind == SLOT_metric;
    return n;
}

static void fill_batch(Entry *n, LLVMValueRef i)
{
    LLVMBuilderRef B = n->e->B;
    LLVMValueRef row = LLVMBuildMul(B, i, cpu_i64(n->e, n->e->p->batch * 4), ""), next = LLVMBuildAdd(B, i, cpu_i64(n->e, 1), "");

    next = LLVMBuildICmp(B, LLVMIntSLT, next, field(n, offsetof(NndCall, nbatch), n->i64), "");
    next = LLVMBuildSelect(B, next, LLVMBuildAdd(B, row, cpu_i64(n->e, n->e->p->batch * 4), ""), row, "");
    set(n, offsetof(NndStep, next), bytes(n, field(n, offsetof(NndCall, row), n->ptr), next));
    LLVMValueRef metric = LLVMBuildMul(B, i, cpu_i64(n->e, metric_count(n->e->m) * 8), "");

    set(n, offsetof(NndStep, index), i);
    set(n, offsetof(NndStep, row), bytes(n, field(n, offsetof(NndCall, row), n->ptr), row));
    set(n, offsetof(NndStep, step), LLVMBuildAdd(B, field(n, offsetof(NndCall, step), n->i64), i, ""));
    set(n, offsetof(NndStep, metric), bytes(n, field(n, offsetof(NndCall, metric_out), n->ptr), metric));
}

/* ---- which loops are shared among threads ---- */

/* What a kernel must take alone, in cycles, to be shared: a fork and join is some hundred of them on two threads and
 * more on many (runtime/README.md), and what another core has written has to come over.  Between 1500 and 8000 it
 * hardly matters to models/mlp.nnd; at 30000 a third of what it gains is lost. */
static const double SHARED_CYCLES = 4000;

static double list_cycles(const Emit *e, const Stmt *s);

/* Cycles of a statement, for one scalar or one vector.  Values of locals are in registers. */
static double statement_cycles(const Emit *e, const Stmt *s)
{
    switch (s->kind) {
    case ST_FOR:    break;
    case ST_LET:    return op_info[s->op].props & PROP_MATH ? 12 : 1;
    case ST_LOAD:
    case ST_STORE:  return .5;
    case ST_RANDOM: return 40;
    case ST_FOLD:   return 6;
    case ST_WITHIN:
    case ST_PART:
    case ST_PICK:   return 2;
    case ST_IF:     return 4 + list_cycles(e, s->body) / 4;     /* most conditions that are worth a branch are false */
    case ST_CONST: case ST_INDEX: case ST_LOCAL: case ST_GET: case ST_SET: case ST_WAIT: case ST_MMA: break;
    }
    return 0;
}

/* An estimate, right within a factor of two or so: a matter of speed, never of results. */
static double list_cycles(const Emit *e, const Stmt *s)
{
    double cycles = 0;

    for (; s; s = s->next) {
        int lanes = s->kind == ST_FOR ? cpu_loop_lanes(e, s) : 0;

        if (s->kind == ST_FOR)
            cycles += (double)(lanes ? (s->extent + lanes - 1) / lanes : s->extent) * list_cycles(e, s->body);
        else
            cycles += statement_cycles(e, s);
    }
    return cycles;
}

static bool worth_sharing(Emit *e, const Kernel *k)
{
    e->k = k;
    return cpu_is_parallel(k) && k->body->extent > 1 && list_cycles(e, k->body) >= SHARED_CYCLES;
}

/* ---- calling the kernels ----
 *
 * A constant table has a row for each kernel, and a loop calls one after another: the code of an entry is as long for a
 * thousand kernels as for ten.
 */

enum { ROW_KERNEL, ROW_PLACE, ROW_EXTENT, ROW_SHARED, NROW };

static LLVMBasicBlockRef block(Entry *n) { return LLVMAppendBasicBlockInContext(n->e->C, n->fn, ""); }

static LLVMTypeRef row_type(Entry *n)
{
    LLVMTypeRef member[NROW] = { n->ptr, n->ptr, n->i64, n->i64 };

    return LLVMStructTypeInContext(n->e->C, member, NROW, false);
}

/* {kernel, its places or NULL, iterations of its outermost loop, is it worth sharing} */
static LLVMValueRef kernel_table(Entry *n, LLVMValueRef *kernel, LLVMValueRef *place)
{
    const Plan   *p = n->e->p;
    LLVMValueRef *row = arena_array(n->e->mem, LLVMValueRef, p->nkernel + 1), list, table;

    for (int k = 0; k < p->nkernel; k++) {
        const Kernel *of = p->kernel[k];
        LLVMValueRef  v[NROW] = { kernel[k], place[k] ? place[k] : LLVMConstNull(n->ptr),
                                  cpu_i64(n->e, cpu_is_parallel(of) ? of->body->extent : 1), cpu_i64(n->e, n->e->through_par || worth_sharing(n->e, of)) };

        row[k] = LLVMConstStructInContext(n->e->C, v, NROW, false);
    }
    list = LLVMConstArray2(row_type(n), row, (uint64_t)p->nkernel);
    table = LLVMAddGlobal(n->e->M, LLVMTypeOf(list), "kernels");
    LLVMSetInitializer(table, list);
    LLVMSetGlobalConstant(table, true);
    LLVMSetLinkage(table, LLVMPrivateLinkage);
    return table;
}

static LLVMValueRef row_member(Entry *n, LLVMValueRef row, unsigned member, LLVMTypeRef type)
{
    return LLVMBuildLoad2(n->e->B, type, LLVMBuildStructGEP2(n->e->B, row_type(n), row, member, ""), "");
}

/* One kernel: through call->par where there is one and the kernel is worth it, else all of it here. */
static void call_kernel(Entry *n, LLVMValueRef row)
{
    LLVMBuilderRef B = n->e->B;
    LLVMBasicBlockRef alone = block(n), shared = block(n), after = block(n);
    LLVMTypeRef param[4] = { n->ptr, n->i64, n->i64 }, nothing = LLVMVoidTypeInContext(n->e->C);
    LLVMTypeRef kernel_type = LLVMFunctionType(nothing, param, 3, false);
    LLVMTypeRef run_type = LLVMFunctionType(nothing, (LLVMTypeRef[]){ n->ptr, n->ptr, n->ptr, n->i64 }, 4, false);
    LLVMValueRef kernel = row_member(n, row, ROW_KERNEL, n->ptr), extent = row_member(n, row, ROW_EXTENT, n->i64);
    LLVMValueRef par = field(n, offsetof(NndCall, par), n->ptr), run, shares;

    set(n, offsetof(NndStep, place), row_member(n, row, ROW_PLACE, n->ptr));
    shares = LLVMBuildICmp(B, LLVMIntNE, row_member(n, row, ROW_SHARED, n->i64), cpu_i64(n->e, 0), "");
    shares = LLVMBuildAnd(B, shares, LLVMBuildIsNotNull(B, par, ""), "");
    LLVMBuildCondBr(B, shares, shared, alone);
    LLVMPositionBuilderAtEnd(B, alone);
    LLVMBuildCall2(B, kernel_type, kernel, (LLVMValueRef[]){ n->step, cpu_i64(n->e, 0), extent }, 3, "");
    LLVMBuildBr(B, after);
    LLVMPositionBuilderAtEnd(B, shared);
    run = cpu_member(n->e, par, offsetof(NndPar, run), n->ptr);
    LLVMBuildCall2(B, run_type, run, (LLVMValueRef[]){ par, kernel, n->step, extent }, 4, "");
    LLVMBuildBr(B, after);
    LLVMPositionBuilderAtEnd(B, after);
}

/* Kernels first .. last-1 of the table, at least one. */
static void call_kernels(Entry *n, LLVMValueRef table, int first, int last)
{
    LLVMBuilderRef B = n->e->B;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(B), body = block(n), after;
    LLVMValueRef k, next, row;

    LLVMBuildBr(B, body);
    LLVMPositionBuilderAtEnd(B, body);
    k = LLVMBuildPhi(B, n->i64, "");
    row = LLVMBuildGEP2(B, row_type(n), table, &k, 1, "");
    call_kernel(n, row);
    next = LLVMBuildAdd(B, k, cpu_i64(n->e, 1), "");
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(B);

    after = block(n);
    LLVMBuildCondBr(B, LLVMBuildICmp(B, LLVMIntSLT, next, cpu_i64(n->e, last), ""), body, after);
    LLVMAddIncoming(k, (LLVMValueRef[]){ cpu_i64(n->e, first), next }, (LLVMBasicBlockRef[]){ before, latch }, 2);
    LLVMPositionBuilderAtEnd(B, after);
}

/* The kernels of a scan, once a step. */
static void call_scan(Entry *n, LLVMValueRef table, int first, int last, int64_t steps)
{
    LLVMBuilderRef B = n->e->B;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(B), body = block(n), after = block(n), latch;
    LLVMValueRef turn, next;

    LLVMBuildBr(B, body);
    LLVMPositionBuilderAtEnd(B, body);
    turn = LLVMBuildPhi(B, n->i64, "");
    set(n, offsetof(NndStep, turn), turn);
    call_kernels(n, table, first, last);
    next = LLVMBuildAdd(B, turn, cpu_i64(n->e, 1), "");
    latch = LLVMGetInsertBlock(B);
    LLVMBuildCondBr(B, LLVMBuildICmp(B, LLVMIntSLT, next, cpu_i64(n->e, steps), ""), body, after);
    LLVMAddIncoming(turn, (LLVMValueRef[]){ cpu_i64(n->e, 0), next }, (LLVMBasicBlockRef[]){ before, latch }, 2);
    LLVMPositionBuilderAtEnd(B, after);
}

/* All kernels in order: runs of those that are in no scan, and scans. */
static void call_plan(Entry *n, LLVMValueRef table)
{
    const Plan *p = n->e->p;

    for (int k = 0, end; k < p->nkernel; k = end) {
        end = plan_scan_end(p, k);
        while (!p->kernel[k]->scan && end < p->nkernel && !p->kernel[end]->scan)
            end++;
        if (p->kernel[k]->scan)
            call_scan(n, table, k, end, p->kernel[k]->steps);
        else
            call_kernels(n, table, k, end);
    }
}

static void open_run(Entry *n, const char *name)
{
    Emit *e = n->e;
    LLVMTypeRef param[3] = { n->ptr, n->ptr, n->ptr };

    n->fn = LLVMAddFunction(e->M, name, LLVMFunctionType(LLVMInt32TypeInContext(e->C), param, 3, false));
    n->call = LLVMGetParam(n->fn, 2);
    LLVMPositionBuilderAtEnd(e->B, LLVMAppendBasicBlockInContext(e->C, n->fn, ""));
    n->step = LLVMBuildAlloca(e->B, LLVMArrayType2(n->i64, (sizeof(NndStep) + 7) / 8), "");
}

const char *cpu_entry_symbol(Arena *mem, const Plan *p)
{
    return arena_printf(mem, "run_%s_%lld", entry_name[p->entry], (long long)p->batch);
}

void cpu_entry(Emit *e, LLVMValueRef *kernel, LLVMValueRef *place, const char *name)
{
    Entry n = { .e = e, .ptr = LLVMPointerTypeInContext(e->C, 0), .i64 = LLVMInt64TypeInContext(e->C),
                .i8 = LLVMInt8TypeInContext(e->C) };
    LLVMBasicBlockRef before, head, body, after;
    LLVMValueRef i, next, nbatch;

    open_run(&n, name);
    fill_fixed(&n);
    nbatch = field(&n, offsetof(NndCall, nbatch), n.i64);
    before = LLVMGetInsertBlock(e->B);
    head = block(&n);
    body = block(&n);
    after = block(&n);
    LLVMBuildBr(e->B, head);
    LLVMPositionBuilderAtEnd(e->B, head);
    i = LLVMBuildPhi(e->B, n.i64, "");
    LLVMBuildCondBr(e->B, LLVMBuildICmp(e->B, LLVMIntSLT, i, nbatch, ""), body, after);
    LLVMPositionBuilderAtEnd(e->B, body);
    fill_batch(&n, i);
    if (e->p->nkernel)
        call_plan(&n, kernel_table(&n, kernel, place));
    next = LLVMBuildAdd(e->B, i, cpu_i64(e, 1), "");
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->B);

    LLVMBuildBr(e->B, head);
    LLVMAddIncoming(i, (LLVMValueRef[]){ cpu_i64(e, 0), next }, (LLVMBasicBlockRef[]){ before, latch }, 2);
    LLVMPositionBuilderAtEnd(e->B, after);
    LLVMBuildRet(e->B, cpu_i32(e, 0));
}
