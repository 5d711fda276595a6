/* cpu.c - plans as machine code through LLVM: one object for all entries of a module.
 *
 * An object is made in memory; emit writes it or a stage before it, cpu_load.c links one for each entry into this process.
 */
#include "backends/cpu.h"
#include "backends/cpu_load.h"
#include "backends/cpu_target.h"
#include "backends/llvm_compat.h"
#include "backends/llvm_module.h"

static bool probe(const BackendOptions *o, Limits *limits, char *describe, size_t ndescribe, char *why, size_t nwhy)
{
    CpuTarget t;

    if (!cpu_target_open(&t, o, why, nwhy))
        return false;
    cpu_target_limits(&t, limits);
    cpu_target_describe(&t, describe, ndescribe);
    cpu_target_close(&t);
    return true;
}

/* ---- plans to LLVM IR ---- */

typedef struct Code { CpuTarget target; LlvmCode llvm; } Code;

static void code_close(Code *c)
{
    llvm_code_close(&c->llvm);
    cpu_target_close(&c->target);
}

static void emit_plan(Emit *e, const Plan *p)
{
    LLVMValueRef *kernel = arena_array(e->mem, LLVMValueRef, p->nkernel + 1);
    LLVMValueRef *place = arena_array(e->mem, LLVMValueRef, p->nkernel + 1);
    bool *shared = arena_array(e->mem, bool, p->nkernel + 1);
    int *as;

    cpu_open_plan(e, p);
    as = cpu_share(e, shared);
    for (int i = 0; i < p->nkernel; i++) {
        const char *name = cpu_kernel_symbol(e->mem, p, i);

        kernel[i] = as[i] == i ? cpu_kernel(e, p->kernel[i], shared[i], name) : kernel[as[i]];
        if (shared[as[i]])
            place[i] = cpu_places(e, p->kernel[i], arena_printf(e->mem, "%s_place", name));
    }
    cpu_entry(e, kernel, place, cpu_entry_symbol(e->mem, p));
}

static bool emit_module(Code *c, Module *m, int only, const BackendOptions *o, char *why, size_t nwhy)
{
    EmitTarget target = cpu_emit_target;
    Arena scratch = { 0 };
    Emit e = { .target = &cpu_emit_target, .index = LLVMInt64TypeInContext(c->llvm.C), .m = m, .mem = &scratch, .C = c->llvm.C, .M = c->llvm.M, .B = LLVMCreateBuilderInContext(c->llvm.C),
               .through_par = o->through_par, .blas = o->blas };

    if (o->own_functions) {
        target.function = cpu_own_function;
        e.target = &target;
    }
    for (int i = 0; i < m->ngraph; i++)
        if (only < 0 || only == i)
            emit_plan(&e, m->plan[i]);
    LLVMDisposeBuilder(e.B);
    arena_free(&scratch);
    return llvm_verify(c->llvm.M, why, nwhy);
}

static const char *pipeline(int level) { return compat_pipeline[level < 0 ? 0 : level > 3 ? 3 : level]; }

/* All plans, or one of them, as optimised IR; on success code_close. */
static bool code_open(Code *c, Module *m, int only, const BackendOptions *o, LlvmTimes *times, char *why, size_t nwhy)
{
    double start = llvm_clock_ms(), written;

    *c = (Code){ 0 };
    if (!cpu_target_open(&c->target, o, why, nwhy))
        return false;
    llvm_code_open(&c->llvm, m->name, c->target.tm);
    if (emit_module(c, m, only, o, why, nwhy)) {
        written = llvm_clock_ms();
        times->write_ms = written - start;
        if (llvm_optimise(c->llvm.M, c->target.tm, pipeline(o->opt_level), why, nwhy)) {
            times->optimise_ms = llvm_clock_ms() - written;
            return true;
        }
    }
    code_close(c);
    return false;
}

/* The image beside its code, which from then on is seen through it alone.  The code is optimised before, so that it
 * is the same as without. */
static bool add_image(Code *c, Module *m, const BackendOptions *o, char *why, size_t nwhy)
{
    Arena scratch = { 0 };
    LLVMValueRef *run = arena_array(&scratch, LLVMValueRef, m->ngraph + 1);
    NndImage *im = image_new(m);

    im->weights = o->weights;
    for (int i = 0; i < m->ngraph; i++)
        run[i] = LLVMGetNamedFunction(c->llvm.M, cpu_entry_symbol(&scratch, m->plan[i]));
    for (LLVMValueRef fn = LLVMGetFirstFunction(c->llvm.M); fn; fn = LLVMGetNextFunction(fn))
        if (!LLVMIsDeclaration(fn))
            LLVMSetLinkage(fn, LLVMInternalLinkage);
    cpu_image(c->llvm.M, &scratch, im, run, o->as_program);
    image_free(im);
    arena_free(&scratch);
    return llvm_verify(c->llvm.M, why, nwhy);
}

/* ---- code to bytes ---- */

static bool emit(Module *m, const BackendOptions *o, EmitKind kind, FILE *f, char *why, size_t nwhy)
{
    LlvmTimes times;
    Code c;
    bool ok = false;

    if (!code_open(&c, m, -1, o, &times, why, nwhy))
        return false;
    if ((kind == EMIT_OBJ || o->with_image) && !add_image(&c, m, o, why, nwhy)) {
        code_close(&c);
        return false;
    }
    switch (kind) {
    case EMIT_LLVM: ok = llvm_write_text(c.llvm.M, f, why, nwhy); break;
    case EMIT_ASM:  ok = llvm_write_code(c.llvm.M, c.target.tm, LLVMAssemblyFile, f, why, nwhy); break;
    case EMIT_PTX:  snprintf(why, nwhy, "a processor runs no PTX, --target cuda makes it"); break;
    case EMIT_OBJ:  ok = llvm_write_code(c.llvm.M, c.target.tm, LLVMObjectFile, f, why, nwhy); break;
    }
    code_close(&c);
    return ok;
}

bool cpu_write_image(const NndImage *im, bool as_program, FILE *f, char *why, size_t nwhy)
{
    BackendOptions here = { 0 };
    Arena          mem = { 0 };
    Code           c = { 0 };
    bool           ok;

    if (!cpu_target_open(&c.target, &here, why, nwhy))
        return false;
    llvm_code_open(&c.llvm, im->model, c.target.tm);
    cpu_image(c.llvm.M, &mem, im, NULL, as_program);
    ok = llvm_verify(c.llvm.M, why, nwhy) && llvm_write_code(c.llvm.M, c.target.tm, LLVMObjectFile, f, why, nwhy);
    arena_free(&mem);
    code_close(&c);
    return ok;
}

LLVMMemoryBufferRef cpu_object(Module *m, int only, const BackendOptions *o, LlvmTimes *times, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef object = NULL;
    double start;
    Code c;

    if (!code_open(&c, m, only, o, times, why, nwhy))
        return NULL;
    start = llvm_clock_ms();
    object = llvm_bytes(c.llvm.M, c.target.tm, LLVMObjectFile, why, nwhy);
    times->code_ms = llvm_clock_ms() - start;
    code_close(&c);
    return object;
}

const Backend backend_cpu = { .name = "cpu", .doc = "machine code through LLVM, for this processor or another",
                              .needs_plan = true, .probe = probe, .load = cpu_image_load, .emit = emit, .unload = cpu_image_unload };
