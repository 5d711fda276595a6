/* cpu_buffer.c - where a kernel's buffers are, and which share memory.
 *
 * Bases are computed once, at the top of a kernel.  Every access carries an alias scope, its
 * buffer's, and the list of scopes it can't touch; so LLVM may keep a value in a register across stores to
 * other buffers.  Two scratch buffers may share memory, but then no kernel uses both.
 */
#include "backends/cpu.h"
#include "backends/llvm_compat.h"

LLVMValueRef cpu_bytes(Emit *e, LLVMValueRef p, LLVMValueRef nbytes)
{
    return LLVMBuildGEP2(e->B, LLVMInt8TypeInContext(e->C), p, &nbytes, 1, "");
}

LLVMValueRef cpu_member(Emit *e, LLVMValueRef object, size_t offset, LLVMTypeRef type)
{
    return LLVMBuildLoad2(e->B, type, cpu_bytes(e, object, cpu_i64(e, (int64_t)offset)), "");
}

void cpu_open_plan(Emit *e, const Plan *p)
{
    e->p = p;
    e->base = arena_array(e->mem, LLVMValueRef, p->nbuf + 1);
    e->scope = arena_array(e->mem, LLVMValueRef, p->nbuf + 1);
    e->apart = arena_array(e->mem, LLVMValueRef, p->nbuf + 1);
    e->constant = arena_array(e->mem, bool, p->nbuf + 1);
}

const char *cpu_kernel_symbol(Arena *mem, const Plan *p, int i)
{
    return arena_printf(mem, "k%d_%s_%lld", i, entry_name[p->entry], (long long)p->batch);
}

/* ---- alias scopes ---- */

bool cpu_may_overlap(const Plan *p, int i, int j)
{
    const Buffer *a = &p->buf[i], *b = &p->buf[j];

    if (i == j)
        return true;
    if (i == p->nbuf || j == p->nbuf || a->seg != b->seg)       /* the row numbers lie apart from everything */
        return false;
    if (a->seg != SEG_SCRATCH && a->seg != SEG_STATE)
        return a->offset == b->offset;
    return a->offset < b->offset + b->count * dt_bytes(b->dtype) && b->offset < a->offset + a->count * dt_bytes(a->dtype);
}

/* Of the kernel's n buffers, and last of the row numbers. */
static void make_scopes(Emit *e, const int *buf, int n)
{
    LLVMMetadataRef domain = compat_distinct_node(e->C, NULL), *node = arena_array(e->mem, LLVMMetadataRef, n + 1);
    LLVMMetadataRef *list = arena_array(e->mem, LLVMMetadataRef, n + 1);

    for (int i = 0; i <= n; i++)
        node[i] = compat_distinct_node(e->C, domain);
    for (int i = 0; i <= n; i++) {
        int of = i < n ? buf[i] : e->p->nbuf;
        size_t napart = 0;

        for (int j = 0; j <= n; j++)
            if (!cpu_may_overlap(e->p, of, j < n ? buf[j] : e->p->nbuf))
                list[napart++] = node[j];
        e->scope[of] = LLVMMetadataAsValue(e->C, LLVMMDNodeInContext2(e->C, &node[i], 1));
        e->apart[of] = LLVMMetadataAsValue(e->C, LLVMMDNodeInContext2(e->C, list, napart));
    }
}

/* Which of the kernel's buffers no statement of it writes. */
static void find_constant(Emit *e, const Stmt *s, const int *buf, int n)
{
    for (; s; s = s->next) {
        for (int i = 0; s->kind == ST_STORE && i < n; i++)
            if (cpu_may_overlap(e->p, buf[i], s->buf))
                e->constant[buf[i]] = false;
        find_constant(e, s->body, buf, n);
    }
}

void cpu_bases(Emit *e)
{
    int *buf, n = cpu_kernel_buffers(e, e->k, &buf);

    for (int i = 0; i < n; i++)
        e->constant[buf[i]] = true;
    e->constant[e->p->nbuf] = true;
    find_constant(e, e->k->body, buf, n);

    e->rows = NULL;
    for (int i = 0; i < n; i++) {
        const Buffer *b = &e->p->buf[buf[i]];

        e->base[buf[i]] = e->target->base(e, b, i);
        if (b->seg != SEG_FIELD || e->rows)
            continue;
        e->rows = e->target->rows(e, false);
        if (e->target->hints)
            e->next_rows = e->target->rows(e, true);
    }
    make_scopes(e, buf, n);
}

void cpu_set_scope(Emit *e, LLVMValueRef access, int scope)
{
    if (scope < 0)
        return;
    LLVMSetMetadata(access, LLVMGetMDKindIDInContext(e->C, "alias.scope", 11), e->scope[scope]);
    LLVMSetMetadata(access, LLVMGetMDKindIDInContext(e->C, "noalias", 7), e->apart[scope]);
    /* a GPU reads what a whole launch leaves alone by another way */
    if (e->target->wide && e->constant[scope])
        LLVMSetMetadata(access, LLVMGetMDKindIDInContext(e->C, "invariant.load", 14),
                        LLVMMetadataAsValue(e->C, LLVMMDNodeInContext2(e->C, NULL, 0)));
}
