/* nvptx.c - plans as PTX through LLVM: kernels for thread groups, and a table of launches for each entry.
 *
 * No device is looked for or touched: runtime/ has the driver.  The emitter is the cpu backend's (cpu.h); the nvptx files hold what
 * a GPU does otherwise.
 */
#include "backends/nvptx.h"

#include <stdlib.h>
#include <string.h>

#include "backends/llvm_compat.h"
#include "backends/llvm_module.h"
#include "backends/nvptx_image.h"

static bool probe(const BackendOptions *o, Limits *limits, char *describe, size_t ndescribe, char *why, size_t nwhy)
{
    NvptxTarget t;

    if (!nvptx_target_open(&t, o, why, nwhy))
        return false;
    nvptx_target_limits(&t, limits);
    nvptx_target_describe(&t, describe, ndescribe);
    nvptx_target_close(&t);
    return true;
}

/* ---- plans to LLVM IR ---- */

typedef struct Code {
    NvptxTarget    target;
    LLVMContextRef C;
    LLVMModuleRef  M;
    NvptxLaunches *to;
} Code;

static void code_close(Code *c)
{
    if (c->M)
        LLVMDisposeModule(c->M);
    if (c->C)
        LLVMContextDispose(c->C);
    nvptx_target_close(&c->target);
}

static void fill_launch(Emit *e, Arena *mem, const Kernel *k, const char *symbol, int64_t shared_bytes, bool shared, NndLaunch *l)
{
    int64_t *value;

    *l = (NndLaunch){ .kernel = arena_strdup(mem, symbol), .shared_bytes = (uint32_t)shared_bytes, .scan = k->scan, .steps = k->scan ? k->steps : 1 };
    nvptx_launch(k, l);
    if (!shared)
        return;
    l->nplace = cpu_place_values(e, k, &value);
    l->place = arena_array(mem, int64_t, l->nplace + 1);
    memcpy((int64_t *)l->place, value, (size_t)l->nplace * sizeof *value);
}

/* The kernels of a plan, equal ones once, and its launches. */
static void emit_plan(Emit *e, const Plan *p, Arena *mem, NndGpuEntry *entry)
{
    NndLaunch *launch = arena_array(mem, NndLaunch, p->nkernel + 1);
    int64_t   *nbytes = arena_array(e->mem, int64_t, p->nkernel + 1);
    bool      *shared = arena_array(e->mem, bool, p->nkernel + 1);
    int       *as;

    cpu_open_plan(e, p);
    as = cpu_share(e, shared);
    for (int i = 0; i < p->nkernel; i++) {
        const char *symbol = cpu_kernel_symbol(e->mem, p, as[i]);

        if (as[i] == i) {
            nvptx_kernel(e, p->kernel[i], shared[i], symbol);
            nbytes[i] = e->gpu->shared_bytes;
        }
        fill_launch(e, mem, p->kernel[i], symbol, nbytes[as[i]], shared[as[i]], &launch[i]);
    }
    *entry = (NndGpuEntry){ launch, p->nkernel };
}

static bool emit_module(Code *c, Module *m, NvptxLaunches *to, char *why, size_t nwhy)
{
    Arena       scratch = { 0 };
    NvptxKernel gpu = { .sm = c->target.sm };
    Emit        e = { .target = &nvptx_emit_target, .gpu = &gpu, .m = m, .mem = &scratch, .C = c->C, .M = c->M,
                      .B = LLVMCreateBuilderInContext(c->C) };

    to->entry = arena_array(&to->mem, NndGpuEntry, m->ngraph + 1);
    for (int i = 0; i < m->ngraph; i++)
        emit_plan(&e, m->plan[i], &to->mem, &to->entry[i]);
    nvptx_advance(&e);
    LLVMDisposeBuilder(e.B);
    arena_free(&scratch);
    if (!gpu.why[0])
        return llvm_verify(c->M, why, nwhy);
    snprintf(why, nwhy, "%s", gpu.why);
    return false;
}

/* On success code_close. */
static bool code_open(Code *c, Module *m, const BackendOptions *o, NvptxLaunches *to, char *why, size_t nwhy)
{
    *c = (Code){ 0 };
    if (!nvptx_target_open(&c->target, o, why, nwhy))
        return false;
    c->C = LLVMContextCreate();
    c->M = LLVMModuleCreateWithNameInContext(m->name, c->C);
    llvm_set_target(c->M, c->target.tm);
    if (emit_module(c, m, to, why, nwhy) && llvm_optimise(c->M, c->target.tm, compat_gpu_pipeline, why, nwhy))
        return true;
    code_close(c);
    return false;
}

/* ---- images ---- */

static NndImage *load(Module *m, const BackendOptions *o, char *why, size_t nwhy)
{
    NvptxLaunches      *to = nvptx_launches_new();
    LLVMMemoryBufferRef text = NULL;
    Code                c;

    if (code_open(&c, m, o, to, why, nwhy)) {
        text = llvm_bytes(c.M, c.target.tm, LLVMAssemblyFile, why, nwhy);
        code_close(&c);
    }
    if (!text) {
        nvptx_launches_free(to);
        return NULL;
    }
    nvptx_set_text(to, LLVMGetBufferStart(text), LLVMGetBufferSize(text));
    to->gpu.sm = c.target.sm->sm;
    LLVMDisposeMemoryBuffer(text);
    return nvptx_image(m, to);
}

static bool emit_object(Module *m, const BackendOptions *o, FILE *f, char *why, size_t nwhy)
{
    NndImage *im = load(m, o, why, nwhy);
    bool      ok;

    if (!im)
        return false;
    im->weights = o->weights;
    ok = nvptx_assemble(im, why, nwhy) && cpu_write_image(im, o->as_program, f, why, nwhy);
    nvptx_image_free(im);
    return ok;
}

static bool emit(Module *m, const BackendOptions *o, EmitKind kind, FILE *f, char *why, size_t nwhy)
{
    NvptxLaunches *to;
    Code           c;
    bool           ok;

    if (kind == EMIT_OBJ)
        return emit_object(m, o, f, why, nwhy);
    to = nvptx_launches_new();
    ok = code_open(&c, m, o, to, why, nwhy);
    if (ok) {
        ok = kind == EMIT_LLVM ? llvm_write_text(c.M, f, why, nwhy) : llvm_write_code(c.M, c.target.tm, LLVMAssemblyFile, f, why, nwhy);
        code_close(&c);
    }
    nvptx_launches_free(to);
    return ok;
}

const Backend backend_nvptx = { .name = "cuda", .doc = "PTX for NVIDIA's GPUs", .needs_plan = true, .probe = probe, .load = load, .emit = emit,
                                .unload = nvptx_image_free };
