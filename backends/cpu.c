/* cpu.c - plans as machine code through LLVM: one object for all entries of a module.
 *
 * An object is made in memory; emit writes it or a stage before it, cpu_load.c links one for each entry into this process.
 */
#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>

#include "backends/cpu.h"
#include "backends/cpu_load.h"
#include "backends/cpu_target.h"
#include "backends/llvm_compat.h"

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

typedef struct Code { CpuTarget target; LLVMContextRef C; LLVMModuleRef M; } Code;

static void code_close(Code *c)
{
    if (c->M)
        LLVMDisposeModule(c->M);
    if (c->C)
        LLVMContextDispose(c->C);
    cpu_target_close(&c->target);
}

static void set_layout(Code *c)
{
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(c->target.tm);
    char *text = LLVMCopyStringRepOfTargetData(layout);

    LLVMSetTarget(c->M, c->target.triple);
    LLVMSetDataLayout(c->M, text);
    LLVMDisposeMessage(text);
    LLVMDisposeTargetData(layout);
}

/* Kernels are numbered: a plan may have several of one name. */
static void emit_plan(Emit *e, const Plan *p)
{
    LLVMValueRef *kernel = arena_array(e->mem, LLVMValueRef, p->nkernel + 1);
    LLVMValueRef *place = arena_array(e->mem, LLVMValueRef, p->nkernel + 1);
    bool *shared = arena_array(e->mem, bool, p->nkernel + 1);
    int *as;

    e->p = p;
    e->base = arena_array(e->mem, LLVMValueRef, p->nbuf + 1);
    e->scope = arena_array(e->mem, LLVMValueRef, p->nbuf + 1);
    e->apart = arena_array(e->mem, LLVMValueRef, p->nbuf + 1);
    as = cpu_share(e);
    for (int i = 0; i < p->nkernel; i++)
        shared[as[i]] |= as[i] != i;
    for (int i = 0; i < p->nkernel; i++) {
        const char *name = arena_printf(e->mem, "k%d_%s_%lld", i, entry_name[p->entry], (long long)p->batch);

        kernel[i] = as[i] == i ? cpu_kernel(e, p->kernel[i], shared[i], name) : kernel[as[i]];
        if (shared[as[i]])
            place[i] = cpu_places(e, p->kernel[i], arena_printf(e->mem, "%s_place", name));
    }
    cpu_entry(e, kernel, place, cpu_entry_symbol(e->mem, p));
}

static bool verify(Code *c, char *why, size_t nwhy)
{
    char *error = NULL;
    bool ok = !LLVMVerifyModule(c->M, LLVMReturnStatusAction, &error);

    if (!ok)
        snprintf(why, nwhy, "LLVM refuses the code: %s", error);
    LLVMDisposeMessage(error);
    return ok;
}

static bool emit_module(Code *c, Module *m, int only, const BackendOptions *o, char *why, size_t nwhy)
{
    Arena scratch = { 0 };
    Emit e = { .target = &cpu_emit_target, .index = LLVMInt64TypeInContext(c->C), .m = m, .mem = &scratch, .C = c->C, .M = c->M, .B = LLVMCreateBuilderInContext(c->C),
               .through_par = o->through_par };

    for (int i = 0; i < m->ngraph; i++)
        if (only < 0 || only == i)
            emit_plan(&e, m->plan[i]);
    LLVMDisposeBuilder(e.B);
    arena_free(&scratch);
    return verify(c, why, nwhy);
}

static bool optimise(Code *c, int level, char *why, size_t nwhy)
{
    const char *passes = compat_pipeline[level < 0 ? 0 : level > 3 ? 3 : level];
    LLVMPassBuilderOptionsRef options;
    LLVMErrorRef error;
    char *text;

    if (!passes)
        return true;
    options = LLVMCreatePassBuilderOptions();
    error = LLVMRunPasses(c->M, passes, c->target.tm, options);
    LLVMDisposePassBuilderOptions(options);
    if (!error)
        return true;
    text = LLVMGetErrorMessage(error);
    snprintf(why, nwhy, "LLVM: %s", text);
    LLVMDisposeErrorMessage(text);
    return false;
}

/* All plans, or one of them, as optimised IR; on success code_close. */
static bool code_open(Code *c, Module *m, int only, const BackendOptions *o, char *why, size_t nwhy)
{
    *c = (Code){ 0 };
    if (!cpu_target_open(&c->target, o, why, nwhy))
        return false;
    c->C = LLVMContextCreate();
    c->M = LLVMModuleCreateWithNameInContext(m->name, c->C);
    set_layout(c);
    if (emit_module(c, m, only, o, why, nwhy) && optimise(c, o->opt_level, why, nwhy))
        return true;
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
        run[i] = LLVMGetNamedFunction(c->M, cpu_entry_symbol(&scratch, m->plan[i]));
    for (LLVMValueRef fn = LLVMGetFirstFunction(c->M); fn; fn = LLVMGetNextFunction(fn))
        if (!LLVMIsDeclaration(fn))
            LLVMSetLinkage(fn, LLVMInternalLinkage);
    cpu_image(c->M, &scratch, im, run, o->as_program);
    image_free(im);
    arena_free(&scratch);
    return verify(c, why, nwhy);
}

/* ---- code to bytes ---- */

static LLVMMemoryBufferRef code_bytes(Code *c, LLVMCodeGenFileType kind, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef bytes = NULL;
    char *error = NULL;

    if (!LLVMTargetMachineEmitToMemoryBuffer(c->target.tm, c->M, kind, &error, &bytes))
        return bytes;
    snprintf(why, nwhy, "LLVM: %s", error);
    LLVMDisposeMessage(error);
    return NULL;
}

static bool write_bytes(FILE *f, const char *s, size_t n, char *why, size_t nwhy)
{
    if (fwrite(s, 1, n, f) == n)
        return true;
    snprintf(why, nwhy, "cannot write the code");
    return false;
}

static bool write_ir(Code *c, FILE *f, char *why, size_t nwhy)
{
    char *text = LLVMPrintModuleToString(c->M);
    bool ok = write_bytes(f, text, strlen(text), why, nwhy);

    LLVMDisposeMessage(text);
    return ok;
}

static bool write_code(Code *c, LLVMCodeGenFileType kind, FILE *f, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef bytes = code_bytes(c, kind, why, nwhy);
    bool ok = bytes && write_bytes(f, LLVMGetBufferStart(bytes), LLVMGetBufferSize(bytes), why, nwhy);

    if (bytes)
        LLVMDisposeMemoryBuffer(bytes);
    return ok;
}

static bool emit(Module *m, const BackendOptions *o, EmitKind kind, FILE *f, char *why, size_t nwhy)
{
    Code c;
    bool ok = false;

    if (!code_open(&c, m, -1, o, why, nwhy))
        return false;
    if ((kind == EMIT_OBJ || o->with_image) && !add_image(&c, m, o, why, nwhy)) {
        code_close(&c);
        return false;
    }
    switch (kind) {
    case EMIT_LLVM: ok = write_ir(&c, f, why, nwhy); break;
    case EMIT_ASM:  ok = write_code(&c, LLVMAssemblyFile, f, why, nwhy); break;
    case EMIT_OBJ:  ok = write_code(&c, LLVMObjectFile, f, why, nwhy); break;
    }
    code_close(&c);
    return ok;
}

LLVMMemoryBufferRef cpu_object(Module *m, int only, const BackendOptions *o, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef object = NULL;
    Code c;

    if (!code_open(&c, m, only, o, why, nwhy))
        return NULL;
    object = code_bytes(&c, LLVMObjectFile, why, nwhy);
    code_close(&c);
    return object;
}

const Backend backend_cpu = { .name = "cpu", .doc = "machine code through LLVM, for this processor or another",
                              .needs_plan = true, .probe = probe, .load = cpu_image_load, .emit = emit, .unload = cpu_image_unload };
