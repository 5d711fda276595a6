/* cpu.c - plans as machine code through LLVM: one object for all entries of a module.
 *
 * The object is made once, in memory; load links it into this process, emit writes it or a stage before it.
 */
#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>

#include "backends/cpu.h"
#include "backends/cpu_jit.h"
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

    e->p = p;
    cpu_scopes(e);
    for (int i = 0; i < p->nkernel; i++)
        kernel[i] = cpu_kernel(e, p->kernel[i], arena_printf(e->mem, "k%d_%s_%lld", i, entry_name[p->entry], (long long)p->batch));
    cpu_entry(e, kernel, cpu_entry_symbol(e->mem, p));
}

static bool emit_module(Code *c, Module *m, char *why, size_t nwhy)
{
    Arena scratch = { 0 };
    Emit e = { .m = m, .mem = &scratch, .C = c->C, .M = c->M, .B = LLVMCreateBuilderInContext(c->C) };
    char *error = NULL;
    bool ok;

    for (int i = 0; i < m->ngraph; i++)
        emit_plan(&e, m->plan[i]);
    LLVMDisposeBuilder(e.B);
    arena_free(&scratch);
    ok = !LLVMVerifyModule(c->M, LLVMReturnStatusAction, &error);
    if (!ok)
        snprintf(why, nwhy, "LLVM refuses the code: %s", error);
    LLVMDisposeMessage(error);
    return ok;
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

/* All plans as optimised IR; on success code_close. */
static bool code_open(Code *c, Module *m, const BackendOptions *o, char *why, size_t nwhy)
{
    *c = (Code){ 0 };
    if (!cpu_target_open(&c->target, o, why, nwhy))
        return false;
    c->C = LLVMContextCreate();
    c->M = LLVMModuleCreateWithNameInContext(m->name, c->C);
    set_layout(c);
    if (emit_module(c, m, why, nwhy) && optimise(c, o->opt_level, why, nwhy))
        return true;
    code_close(c);
    return false;
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

    if (!code_open(&c, m, o, why, nwhy))
        return false;
    switch (kind) {
    case EMIT_LLVM: ok = write_ir(&c, f, why, nwhy); break;
    case EMIT_ASM:  ok = write_code(&c, LLVMAssemblyFile, f, why, nwhy); break;
    case EMIT_OBJ:  ok = write_code(&c, LLVMObjectFile, f, why, nwhy); break;
    }
    code_close(&c);
    return ok;
}

/* ---- in this process ---- */

static LLVMMemoryBufferRef make_object(Module *m, const BackendOptions *o, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef object = NULL;
    Code c;

    if (!code_open(&c, m, o, why, nwhy))
        return NULL;
    if (c.target.runs_here)
        object = code_bytes(&c, LLVMObjectFile, why, nwhy);
    else
        snprintf(why, nwhy, "code for %s cannot run on this machine", c.target.name);
    code_close(&c);
    return object;
}

typedef int Run(const NndImage *, const NndEntry *, const NndCall *);

static bool find_entries(NndImage *im, Module *m, CpuJit *jit, char *why, size_t nwhy)
{
    for (int i = 0; i < im->nentry; i++) {
        NndEntry *entry = (NndEntry *)&im->entry[i];      /* the image's own memory, constant only to its users */

        entry->run = (Run *)cpu_jit_find(jit, cpu_entry_symbol(&m->mem, m->plan[i]), why, nwhy);
        if (!entry->run)
            return false;
    }
    return true;
}

static void unload(NndImage *im)
{
    cpu_jit_close(im->priv);
    image_free(im);
}

static NndImage *load(Module *m, const BackendOptions *o, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef object = make_object(m, o, why, nwhy);
    CpuJit *jit = object ? cpu_jit_open(object, why, nwhy) : NULL;
    NndImage *im;

    if (!jit)
        return NULL;
    im = image_new(m);
    im->priv = jit;
    if (find_entries(im, m, jit, why, nwhy))
        return im;
    unload(im);
    return NULL;
}

const Backend backend_cpu = { .name = "cpu", .doc = "machine code through LLVM, for this processor or another",
                              .needs_plan = true, .probe = probe, .load = load, .emit = emit, .unload = unload };
