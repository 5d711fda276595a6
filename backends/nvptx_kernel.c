/* nvptx_kernel.c - a kernel as a function of a GPU's module, and where it finds its buffers.
 *
 * k(state, scratch, control, turn, place...): segments by pointer, all else through the control block in device memory
 * (NndControl), so that every launch of an entry has the same parameters, whatever the batch.
 */
#include "backends/nvptx.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "backends/llvm_compat.h"

enum { PARAM_STATE, PARAM_SCRATCH, PARAM_CONTROL, PARAM_TURN, PARAM_PLACE };

/* A plain kernel's par loop takes a thread for each turn; such kernels are what no schedule was made for. */
enum { PLAIN_THREADS = 32, MOST_GROUPS = 65535 };

/* ptxas may take as many registers as let so many groups run side by side: by its own reckoning it takes fewer, and spills, or
 * so many that only one group fits. */
enum { SMALL_GROUP = 128, PAIRED_GROUP = 256, GROUP_BYTES = 160 << 10, OWN_BYTES = 1 << 10 };

static int64_t side_by_side(int64_t threads, int64_t nbytes)
{
    int64_t n = threads <= SMALL_GROUP ? 3 : threads <= PAIRED_GROUP ? 2 : 1, by_memory = GROUP_BYTES / (nbytes + OWN_BYTES);

    return by_memory < n ? (by_memory < 1 ? 1 : by_memory) : n;
}

/* ---- what is in the control block ---- */

static LLVMTypeRef global_pointer(Emit *e) { return LLVMPointerTypeInContext(e->C, SPACE_GLOBAL); }

/* Nothing but nnd_advance writes it, in a launch of its own. */
static LLVMValueRef member(Emit *e, size_t offset, LLVMTypeRef type)
{
    LLVMValueRef v = cpu_member(e, e->gpu->control, offset, type);

    LLVMSetAlignment(v, 8);
    LLVMSetMetadata(v, LLVMGetMDKindIDInContext(e->C, "invariant.load", 14),
                    LLVMMetadataAsValue(e->C, LLVMMDNodeInContext2(e->C, NULL, 0)));
    return v;
}

static LLVMValueRef index_times(Emit *e, int64_t nbytes)
{
    return LLVMBuildMul(e->B, member(e, offsetof(NndControl, index), LLVMInt64TypeInContext(e->C)), cpu_i64(e, nbytes), "");
}

static LLVMValueRef scalar_value(Emit *e, int64_t which)
{
    static const size_t own[] = { offsetof(NndControl, step), offsetof(NndControl, steps), offsetof(NndControl, epoch) };
    LLVMTypeRef real = LLVMDoubleTypeInContext(e->C);

    if (which >= 3)
        return member(e, offsetof(NndControl, scalar) + (size_t)(which - 3) * 8, real);
    return LLVMBuildSIToFP(e->B, member(e, own[which], LLVMInt64TypeInContext(e->C)), real, "");
}

static int metric_count(const Module *m)
{
    int n = 0;

    for (int i = 0; i < m->nslot; i++)
        n += m->slot[i].kind == SLOT_metric;
    return n;
}

static LLVMValueRef column(Emit *e, size_t offset, int64_t which)
{
    return member(e, offset + (size_t)which * 8, global_pointer(e));
}

/* infer's inputs and outputs hold all batches of the call, one behind another. */
static LLVMValueRef batch_of(Emit *e, const Buffer *b, size_t offset)
{
    return cpu_bytes(e, column(e, offset, b->offset), index_times(e, b->count * dt_bytes(b->dtype)));
}

static LLVMValueRef figures(Emit *e, const Buffer *b)
{
    LLVMValueRef at = LLVMBuildAdd(e->B, index_times(e, metric_count(e->m) * 8), cpu_i64(e, b->offset * 8), "");

    return cpu_bytes(e, member(e, offsetof(NndControl, metric), global_pointer(e)), at);
}

static LLVMValueRef place(Emit *e, int i) { return LLVMGetParam(e->fn, (unsigned)(PARAM_PLACE + i)); }

static LLVMValueRef segment(Emit *e, unsigned param, const Buffer *b, int i)
{
    return cpu_bytes(e, LLVMGetParam(e->fn, param), e->shared ? place(e, i) : cpu_i64(e, b->offset));
}

static LLVMValueRef base(Emit *e, const Buffer *b, int i)
{
    switch (b->seg) {
    case SEG_STATE:   return segment(e, PARAM_STATE, b, i);
    case SEG_SCRATCH: return segment(e, PARAM_SCRATCH, b, i);
    case SEG_FIELD:   return column(e, offsetof(NndControl, field), b->offset);
    case SEG_INPUT:   return batch_of(e, b, offsetof(NndControl, field));
    case SEG_OUTPUT:  return batch_of(e, b, offsetof(NndControl, out));
    case SEG_SCALAR:  return scalar_value(e, b->offset);
    case SEG_METRIC:  return figures(e, b);
    case NSEG:        break;
    }
    return NULL;
}

static LLVMValueRef rows(Emit *e, bool next)
{
    (void)next;
    return cpu_bytes(e, member(e, offsetof(NndControl, row), global_pointer(e)), index_times(e, e->p->batch * 4));
}

static LLVMValueRef step(Emit *e, StepPart part)
{
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->C);

    switch (part) {
    case STEP_SEED:   return member(e, offsetof(NndControl, seed), i64);
    case STEP_NUMBER: return member(e, offsetof(NndControl, step), i64);
    case STEP_TURN:   return LLVMBuildZExt(e->B, LLVMGetParam(e->fn, PARAM_TURN), i64, "");
    }
    return NULL;
}

const EmitTarget nvptx_emit_target = { .constants = SPACE_GLOBAL, .wide = true, .base = base, .rows = rows, .step = step, .place = place,
                                       .function = cpu_own_function, .statement = nvptx_statement };

/* ---- functions ---- */

static void attribute(Emit *e, LLVMValueRef fn, unsigned at, const char *name, uint64_t value)
{
    LLVMAddAttributeAtIndex(fn, at, LLVMCreateEnumAttribute(e->C, LLVMGetEnumAttributeKindForName(name, strlen(name)), value));
}

static void text_attribute(Emit *e, LLVMValueRef fn, const char *name, const char *value)
{
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(e->C, name, (unsigned)strlen(name), value, (unsigned)strlen(value)));
}

static LLVMValueRef add_function(Emit *e, const char *name, LLVMTypeRef *param, int nparam)
{
    LLVMValueRef fn = LLVMAddFunction(e->M, name, LLVMFunctionType(LLVMVoidTypeInContext(e->C), param, (unsigned)nparam, false));

    LLVMSetFunctionCallConv(fn, COMPAT_PTX_KERNEL);
    return fn;
}

static LLVMValueRef add_kernel(Emit *e, const char *name, const Kernel *k, bool shared, int64_t threads)
{
    const Stmt **random;
    int         *buf, nplace = shared ? cpu_kernel_buffers(e, k, &buf) + cpu_kernel_streams(e, k, &random) : 0;
    LLVMTypeRef *param = arena_array(e->mem, LLVMTypeRef, PARAM_PLACE + nplace);
    LLVMValueRef fn;

    param[PARAM_STATE] = param[PARAM_SCRATCH] = param[PARAM_CONTROL] = global_pointer(e);
    param[PARAM_TURN] = LLVMInt32TypeInContext(e->C);
    for (int i = 0; i < nplace; i++)
        param[PARAM_PLACE + i] = LLVMInt64TypeInContext(e->C);
    fn = add_function(e, name, param, PARAM_PLACE + nplace);
    for (unsigned i = PARAM_STATE; i <= PARAM_CONTROL; i++) {
        attribute(e, fn, i + 1, "noalias", 0);
        attribute(e, fn, i + 1, "align", NND_ALIGN);
    }
    text_attribute(e, fn, "nvvm.reqntid", arena_printf(e->mem, "%lld", (long long)threads));
    return fn;
}

LLVMValueRef nvptx_call(Emit *e, const char *name, LLVMValueRef *arg, int narg) { return cpu_intrinsic(e, name, NULL, 0, arg, narg); }

void nvptx_refuse(Emit *e, const char *fmt, ...)
{
    va_list ap;

    if (e->gpu->why[0])
        return;
    va_start(ap, fmt);
    vsnprintf(e->gpu->why, sizeof e->gpu->why, arena_printf(e->mem, "kernel %s: %s", e->k->name, fmt), ap);
    va_end(ap);
}

/* ---- grids ---- */

static bool is_plain_parallel(const Kernel *k, const Group *g) { return !g->threads && k->scheduled && cpu_is_parallel(k); }

/* Grid loops are the dimensions of the launch, the innermost x, unless one is too long for that: then x is all of them. */
static bool fits_grid(const Group *g) { return g->ngrid < 2 || (g->grid[0] <= MOST_GROUPS && (g->ngrid < 3 || g->grid[1] <= MOST_GROUPS)); }

void nvptx_launch(const Kernel *k, NndLaunch *to)
{
    Group   g = kernel_group(k);
    int64_t all = g.grid[0] * g.grid[1] * g.grid[2];

    to->block = (uint32_t)(g.threads ? g.threads : 1);
    to->grid[0] = to->grid[1] = to->grid[2] = 1;
    if (is_plain_parallel(k, &g)) {
        to->block = PLAIN_THREADS;
        to->grid[0] = (uint32_t)((k->body->extent + PLAIN_THREADS - 1) / PLAIN_THREADS);
    }
    if (!fits_grid(&g))
        to->grid[0] = (uint32_t)all;
    for (int i = 0; i < g.ngrid && fits_grid(&g); i++)
        to->grid[g.ngrid - 1 - i] = (uint32_t)g.grid[i];
}

static LLVMValueRef as_index(Emit *e, LLVMValueRef v) { return LLVMBuildZExtOrBitCast(e->B, v, e->index, ""); }

static LLVMValueRef digit(Emit *e, LLVMValueRef v, int64_t inside, int64_t extent, bool first)
{
    if (inside > 1)
        v = LLVMBuildUDiv(e->B, v, cpu_int(v, inside), "");
    return first ? v : LLVMBuildURem(e->B, v, cpu_int(v, extent), "");
}

/* The variables of grid loops; what stands in them is what is left. */
static const Stmt *grid_loops(Emit *e, const Kernel *k)
{
    const Group *g = &e->gpu->group;
    const Stmt  *s = k->body;

    for (int i = 0; i < g->ngrid; i++, s = s->body) {
        int64_t      inside = 1;
        LLVMValueRef v = nvptx_call(e, compat_group[fits_grid(g) ? g->ngrid - 1 - i : 0], NULL, 0);

        for (int j = i + 1; j < g->ngrid; j++)
            inside *= g->grid[j];
        e->var[s->id] = as_index(e, fits_grid(g) ? v : digit(e, v, inside, s->extent, i == 0));
    }
    return s;
}

/* ---- kernels ---- */

static void find_vars(NvptxKernel *g, const Stmt *s)
{
    for (; s; s = s->next) {
        if (stmt_has_var(s)) {
            g->extent[s->id] = s->extent;
            g->is_block[s->id] = s->kind == ST_FOR && s->block;
        }
        find_vars(g, s->body);
    }
}

static bool affine_fits(const int64_t *extent, Affine a)
{
    double most = (double)(a.base < 0 ? -a.base : a.base);

    for (int i = 0; i < a.n; i++)
        most += (double)(a.term[i].coef < 0 ? -a.term[i].coef : a.term[i].coef) * (double)extent[a.term[i].var];
    return most < 0x1p31;
}

/* Do all places and the sums on the way to them fit 32 bits?  Numbers of random streams have 64 of their own. */
static bool fits_32_bits(const int64_t *extent, const Stmt *s)
{
    for (; s; s = s->next) {
        Affine *a;

        for (int i = 0; s->kind != ST_RANDOM && (a = stmt_affine((Stmt *)s, i)); i++)
            if (!affine_fits(extent, *a))
                return false;
        if (!fits_32_bits(extent, s->body))
            return false;
    }
    return true;
}

/* One thread a turn. */
static void plain_parallel(Emit *e, const Stmt *loop)
{
    LLVMValueRef block = as_index(e, nvptx_call(e, compat_group[0], NULL, 0));
    LLVMValueRef thread = as_index(e, nvptx_call(e, compat_thread, NULL, 0)), i;

    i = LLVMBuildAdd(e->B, LLVMBuildMul(e->B, block, cpu_number(e, PLAIN_THREADS), ""), thread, "");
    e->var[loop->id] = i;
    cpu_if(e, LLVMBuildICmp(e->B, LLVMIntULT, i, cpu_number(e, loop->extent), ""), loop->body);
}

static void open_state(Emit *e, const Kernel *k)
{
    NvptxKernel *g = e->gpu;

    g->group = kernel_group(k);
    g->extent = arena_array(e->mem, int64_t, k->nvar + 1);
    g->is_block = arena_array(e->mem, bool, k->nvar + 1);
    g->copied = arena_array(e->mem, const Stmt *, k->nvalue + 1);
    g->fold_array = arena_array(e->mem, LLVMValueRef, k->nvalue + 1);
    g->shared_bytes = 0;
    g->in_async = false;
    g->meet = NULL;
    find_vars(g, k->body);
    if (k->scan)
        g->extent[0] = k->steps;
    e->index = fits_32_bits(g->extent, k->body) ? LLVMInt32TypeInContext(e->C) : LLVMInt64TypeInContext(e->C);
}

LLVMValueRef nvptx_kernel(Emit *e, const Kernel *k, bool shared, const char *name)
{
    NvptxKernel *g = e->gpu;
    NndLaunch    launch;
    LLVMValueRef fn;

    open_state(e, k);
    nvptx_launch(k, &launch);
    fn = add_kernel(e, name, k, shared, launch.block);
    g->control = LLVMGetParam(fn, PARAM_CONTROL);
    cpu_open_kernel(e, k, shared, fn);
    if (is_plain_parallel(k, &g->group)) {
        g->level = (Level){ .threads = 1 };
        nvptx_locals(e);
        plain_parallel(e, k->body);
    } else {
        const Stmt *body = grid_loops(e, k);

        g->level = (Level){ .threads = g->group.threads ? g->group.threads : 1 };
        if (g->level.threads > 1)
            g->level.thread = nvptx_call(e, compat_thread, NULL, 0);
        nvptx_locals(e);
        text_attribute(e, fn, "nvvm.minctasm", arena_printf(e->mem, "%lld", (long long)side_by_side(launch.block, g->group_bytes)));
        g->meet = nvptx_meet_new(e);
        cpu_statements(e, body);
    }
    LLVMBuildRetVoid(e->B);
    return fn;
}

/* The next batch: index and step are one more. */
void nvptx_advance(Emit *e)
{
    static const size_t counted[] = { offsetof(NndControl, index), offsetof(NndControl, step) };
    LLVMTypeRef param[1] = { global_pointer(e) }, i64 = LLVMInt64TypeInContext(e->C);
    LLVMValueRef fn = add_function(e, "nnd_advance", param, 1), at, v;

    LLVMPositionBuilderAtEnd(e->B, LLVMAppendBasicBlockInContext(e->C, fn, ""));
    for (int i = 0; i < 2; i++) {
        at = cpu_bytes(e, LLVMGetParam(fn, 0), cpu_i64(e, (int64_t)counted[i]));
        v = LLVMBuildLoad2(e->B, i64, at, "");
        LLVMBuildStore(e->B, LLVMBuildAdd(e->B, v, cpu_i64(e, 1), ""), at);
    }
    LLVMBuildRetVoid(e->B);
}
