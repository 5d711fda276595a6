/* cpu.c - native code through LLVM: one object for all entries of a module, run in this process or written out.
 *
 * The module is compiled once to an object in memory; the JIT links that object, `emit` writes it or the
 * stages before it.
 */
#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/cpu.h"
#include "backends/llvm_compat.h"

/* ---- the machine ---- */

typedef struct Target { char *triple, *cpu, *features; LLVMTargetMachineRef tm; } Target;

static void target_close(Target *t)
{
    if (t->tm)
        LLVMDisposeTargetMachine(t->tm);
    LLVMDisposeMessage(t->triple);
    LLVMDisposeMessage(t->cpu);
    LLVMDisposeMessage(t->features);
}

static LLVMCodeGenOptLevel code_level(int level)
{
    return level <= 0 ? LLVMCodeGenLevelNone : level == 1 ? LLVMCodeGenLevelLess : level == 2 ? LLVMCodeGenLevelDefault
                                                                                              : LLVMCodeGenLevelAggressive;
}

/* LLVM only warns about a cpu it doesn't know, and on the process's own stderr. */
static bool cpu_known(const char *cpu)
{
    static const char *const known[] = { "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "haswell", "skylake",
                                         "skylake-avx512", "icelake-server", "sapphirerapids", "znver1", "znver2",
                                         "znver3", "znver4", "znver5" };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(cpu, known[i]))
            return true;
    return false;
}

static bool target_open(Target *t, const BackendOptions *o, char *why, size_t nwhy)
{
    LLVMTargetRef target;
    char *error = NULL;

    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    t->triple = LLVMGetDefaultTargetTriple();
    t->cpu = o && o->cpu ? LLVMCreateMessage(o->cpu) : LLVMGetHostCPUName();
    t->features = o && o->cpu ? LLVMCreateMessage("") : LLVMGetHostCPUFeatures();
    t->tm = NULL;
    if (o && o->cpu && !cpu_known(o->cpu)) {
        snprintf(why, nwhy, "unknown cpu `%s`", o->cpu);
        target_close(t);
        return false;
    }
    if (LLVMGetTargetFromTriple(t->triple, &target, &error)) {
        snprintf(why, nwhy, "%s", error);
        LLVMDisposeMessage(error);
        target_close(t);
        return false;
    }
    t->tm = LLVMCreateTargetMachine(target, t->triple, t->cpu, t->features, code_level(o ? o->opt_level : 2), LLVMRelocPIC,
                                    LLVMCodeModelDefault);
    return true;
}

static bool has(const Target *t, const char *feature, const char *const *cpu, int n)
{
    if (strstr(t->features, feature))
        return true;
    for (int i = 0; i < n && !t->features[0]; i++)
        if (!strcmp(t->cpu, cpu[i]))
            return true;
    return false;
}

static void find_limits(const Target *t, Limits *l, const char **vectors)
{
    static const char *const wide[] = { "x86-64-v4", "skylake-avx512", "icelake-server", "sapphirerapids", "znver4", "znver5" };
    static const char *const middle[] = { "x86-64-v3", "haswell", "skylake", "znver1", "znver2", "znver3" };

    *l = (Limits){ .lanes = 4, .vregs = 16, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20 };
    *vectors = "SSE";
    if (has(t, "+avx512f", wide, 6)) {
        *l = (Limits){ .lanes = 16, .vregs = 32, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20 };
        *vectors = "AVX-512";
    } else if (has(t, "+avx2", middle, 6)) {
        l->lanes = 8;
        *vectors = "AVX2";
    }
}

static bool probe(const BackendOptions *o, Limits *limits, char *describe, size_t ndescribe, char *why, size_t nwhy)
{
    Target t;
    const char *vectors;

    if (!target_open(&t, o, why, nwhy))
        return false;
    find_limits(&t, limits, &vectors);
    snprintf(describe, ndescribe, "%s, %s, %ld threads", t.cpu, vectors, sysconf(_SC_NPROCESSORS_ONLN));
    target_close(&t);
    return true;
}

/* ---- the module ---- */

typedef struct Code { Target target; LLVMContextRef C; LLVMModuleRef M; } Code;

static void code_close(Code *c)
{
    if (c->M)
        LLVMDisposeModule(c->M);
    LLVMContextDispose(c->C);
    target_close(&c->target);
}

static void emit_plan(Emit *e, const Plan *p)
{
    LLVMValueRef *kernel = arena_array(e->mem, LLVMValueRef, p->nkernel + 1);

    for (int i = 0; i < p->nkernel; i++)
        kernel[i] = cpu_kernel(e, p, p->kernel[i], arena_printf(e->mem, "%s_%s_%lld", p->kernel[i]->name,
                                                               entry_name[p->entry], (long long)p->batch));
    cpu_entry(e, p, kernel, cpu_entry_symbol(e->mem, p));
}

static bool optimise(Code *c, int level, char *why, size_t nwhy)
{
    const char *passes = compat_pipeline[level < 0 ? 0 : level > 3 ? 3 : level];
    LLVMPassBuilderOptionsRef options;
    LLVMErrorRef error;

    if (!passes)
        return true;
    options = LLVMCreatePassBuilderOptions();
    error = LLVMRunPasses(c->M, passes, c->target.tm, options);
    LLVMDisposePassBuilderOptions(options);
    if (error) {
        char *text = LLVMGetErrorMessage(error);

        snprintf(why, nwhy, "LLVM: %s", text);
        LLVMDisposeErrorMessage(text);
    }
    return !error;
}

/* IR of all plans, verified and optimised. */
static bool code_open(Code *c, Module *m, const BackendOptions *o, bool optimised, char *why, size_t nwhy)
{
    Emit e = { .m = m, .mem = &m->mem };
    LLVMTargetDataRef layout;
    char *text, *error = NULL;
    bool ok;

    if (!target_open(&c->target, o, why, nwhy))
        return false;
    e.C = c->C = LLVMContextCreate();
    e.M = c->M = LLVMModuleCreateWithNameInContext(m->name, c->C);
    e.B = LLVMCreateBuilderInContext(c->C);
    LLVMSetTarget(c->M, c->target.triple);
    layout = LLVMCreateTargetDataLayout(c->target.tm);
    text = LLVMCopyStringRepOfTargetData(layout);
    LLVMSetDataLayout(c->M, text);
    LLVMDisposeMessage(text);
    LLVMDisposeTargetData(layout);
    for (int i = 0; i < m->ngraph; i++)
        emit_plan(&e, m->plan[i]);
    LLVMDisposeBuilder(e.B);
    ok = !LLVMVerifyModule(c->M, LLVMReturnStatusAction, &error);
    if (!ok)
        snprintf(why, nwhy, "LLVM refuses the code: %s", error);
    LLVMDisposeMessage(error);
    if (ok && optimised)
        ok = optimise(c, o ? o->opt_level : 2, why, nwhy);
    if (!ok)
        code_close(c);
    return ok;
}

static LLVMMemoryBufferRef code_file(Code *c, LLVMCodeGenFileType kind, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef buf = NULL;
    char *error = NULL;

    if (!LLVMTargetMachineEmitToMemoryBuffer(c->target.tm, c->M, kind, &error, &buf))
        return buf;
    snprintf(why, nwhy, "LLVM: %s", error);
    LLVMDisposeMessage(error);
    return NULL;
}

static bool write_text(FILE *f, const char *s, size_t n, char *why, size_t nwhy)
{
    if (fwrite(s, 1, n, f) == n)
        return true;
    snprintf(why, nwhy, "the code cannot be written");
    return false;
}

static bool emit(Module *m, const BackendOptions *o, EmitKind kind, FILE *f, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef buf;
    Code c = { 0 };
    bool ok = false;

    if (!code_open(&c, m, o, true, why, nwhy))
        return false;
    if (kind == EMIT_LLVM) {
        char *text = LLVMPrintModuleToString(c.M);

        ok = write_text(f, text, strlen(text), why, nwhy);
        LLVMDisposeMessage(text);
    } else if ((buf = code_file(&c, kind == EMIT_ASM ? LLVMAssemblyFile : LLVMObjectFile, why, nwhy))) {
        ok = write_text(f, LLVMGetBufferStart(buf), LLVMGetBufferSize(buf), why, nwhy);
        LLVMDisposeMemoryBuffer(buf);
    }
    code_close(&c);
    return ok;
}

/* ---- in this process ---- */

static bool failed(LLVMErrorRef error, char *why, size_t nwhy)
{
    char *text;

    if (!error)
        return false;
    text = LLVMGetErrorMessage(error);
    snprintf(why, nwhy, "LLVM: %s", text);
    LLVMDisposeErrorMessage(text);
    return true;
}

/* Code calls the C library's functions where it has none of its own. */
static LLVMOrcLLJITRef link_object(LLVMMemoryBufferRef obj, char *why, size_t nwhy)
{
    LLVMOrcLLJITRef jit;
    LLVMOrcJITDylibRef lib;
    LLVMOrcDefinitionGeneratorRef process;

    if (failed(LLVMOrcCreateLLJIT(&jit, NULL), why, nwhy)) {
        LLVMDisposeMemoryBuffer(obj);
        return NULL;
    }
    lib = LLVMOrcLLJITGetMainJITDylib(jit);
    if (failed(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(jit), NULL, NULL),
               why, nwhy)) {
        LLVMDisposeMemoryBuffer(obj);
    } else {
        LLVMOrcJITDylibAddGenerator(lib, process);
        if (!failed(LLVMOrcLLJITAddObjectFile(jit, lib, obj), why, nwhy))
            return jit;
    }
    LLVMConsumeError(LLVMOrcDisposeLLJIT(jit));
    return NULL;
}

static bool find_entries(NndImage *im, const Module *m, Arena *mem, LLVMOrcLLJITRef jit, char *why, size_t nwhy)
{
    for (int i = 0; i < im->nentry; i++) {
        LLVMOrcExecutorAddress at = 0;

        if (failed(LLVMOrcLLJITLookup(jit, &at, cpu_entry_symbol(mem, m->plan[i])), why, nwhy))
            return false;
        /* the entries are the image's own memory, constant only to those who use it */
        ((NndEntry *)im->entry)[i].run = (int (*)(const NndImage *, const NndEntry *, const NndCall *))(uintptr_t)at;
    }
    return true;
}

static NndImage *load(Module *m, const BackendOptions *o, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef obj;
    LLVMOrcLLJITRef jit;
    NndImage *im;
    Code c = { 0 };

    if (!code_open(&c, m, o, true, why, nwhy))
        return NULL;
    obj = code_file(&c, LLVMObjectFile, why, nwhy);
    code_close(&c);
    if (!obj || !(jit = link_object(obj, why, nwhy)))
        return NULL;
    im = image_new(m);
    im->priv = jit;
    if (find_entries(im, m, &m->mem, jit, why, nwhy))
        return im;
    backend_cpu.unload(im);
    return NULL;
}

static void unload(NndImage *im)
{
    LLVMConsumeError(LLVMOrcDisposeLLJIT(im->priv));
    image_free(im);
}

const Backend backend_cpu = { .name = "cpu", .doc = "native code through LLVM", .needs_plan = true, .probe = probe,
                              .load = load, .emit = emit, .unload = unload };
