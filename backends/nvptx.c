/* nvptx.c - plans as PTX through LLVM: kernels for thread groups, and a table of launches for each entry.
 *
 * No device is looked for or touched: runtime/ has the driver.  The emitter is the cpu backend's (cpu.h); the nvptx files hold what
 * a GPU does otherwise.
 */
#include "backends/nvptx.h"

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

typedef struct Code { NvptxTarget target; LlvmCode llvm; } Code;

static void code_close(Code *c)
{
    llvm_code_close(&c->llvm);
    nvptx_target_close(&c->target);
}

/* The kernel, and what its launches have to give. */
static void emit_item(Emit *e, NvptxLaunches *l, NvptxItem it)
{
    const Plan *p = e->p;

    nvptx_kernel(e, p->kernel[it.kernel], l->shared[it.plan][it.kernel], l->launch[it.plan][it.kernel].kernel);
    for (int i = it.kernel; i < p->nkernel; i++)
        if (l->as[it.plan][i] == it.kernel)
            l->launch[it.plan][i].shared_bytes = (uint32_t)e->gpu->shared_bytes;
}

static bool emit_items(Code *c, NvptxLaunches *l, int first, int n, char *why, size_t nwhy)
{
    Arena       scratch = { 0 };
    NvptxKernel gpu = { .sm = c->target.sm };
    Emit        e = { .target = &nvptx_emit_target, .gpu = &gpu, .m = l->m, .mem = &scratch, .C = c->llvm.C, .M = c->llvm.M,
                      .B = LLVMCreateBuilderInContext(c->llvm.C) };

    for (int i = first; i < first + n; i++) {
        if (i == first || l->item[i].plan != l->item[i - 1].plan)
            cpu_open_plan(&e, l->m->plan[l->item[i].plan]);
        emit_item(&e, l, l->item[i]);
    }
    if (!first)
        nvptx_advance(&e);
    LLVMDisposeBuilder(e.B);
    arena_free(&scratch);
    if (!gpu.why[0])
        return llvm_verify(c->llvm.M, why, nwhy);
    snprintf(why, nwhy, "%s", gpu.why);
    return false;
}

/* So many functions from the first on, optimised.  On success code_close. */
static bool code_open(Code *c, NvptxLaunches *l, int first, int n, LlvmTimes *times, char *why, size_t nwhy)
{
    double start = llvm_clock_ms(), written;

    *c = (Code){ 0 };
    if (!nvptx_target_open(&c->target, &l->options, why, nwhy))
        return false;
    llvm_code_open(&c->llvm, l->m->name, c->target.tm);
    if (emit_items(c, l, first, n, why, nwhy)) {
        written = llvm_clock_ms();
        times->write_ms = written - start;
        if (llvm_optimise(c->llvm.M, c->target.tm, compat_gpu_pipeline, why, nwhy)) {
            times->optimise_ms = llvm_clock_ms() - written;
            return true;
        }
    }
    code_close(c);
    return false;
}

/* ---- images ---- */

static bool make_part(NvptxLaunches *l, int part, char *why, size_t nwhy)
{
    const NvptxPart    *w = &l->work[part];
    LlvmTimes           times = { 0 };
    LLVMMemoryBufferRef text;
    double              start;
    char                what[32];
    Code                c;

    if (!code_open(&c, l, w->first, w->n, &times, why, nwhy))
        return false;
    start = llvm_clock_ms();
    text = llvm_bytes(c.llvm.M, c.target.tm, LLVMAssemblyFile, why, nwhy);
    times.code_ms = llvm_clock_ms() - start;
    code_close(&c);
    if (!text)
        return false;
    snprintf(what, sizeof what, "part %d of %d", part + 1, l->npart);
    if (l->options.times)
        llvm_tell_times(l->options.times, what, &times);
    nvptx_set_text(l, part, LLVMGetBufferStart(text), LLVMGetBufferSize(text));
    LLVMDisposeMemoryBuffer(text);
    return true;
}

/* NndGpu.make */
static int make(const NndImage *im, int part, char *why, int64_t nwhy)
{
    NvptxLaunches *l = im->priv;
    bool           well;

    pthread_mutex_lock(&l->work[part].lock);
    well = l->part[part].ptx || make_part(l, part, why, (size_t)nwhy);
    pthread_mutex_unlock(&l->work[part].lock);
    return well ? 0 : NND_E_DEVICE;
}

static NndImage *load(Module *m, const BackendOptions *o, char *why, size_t nwhy)
{
    BackendOptions own = *o;
    NvptxLaunches *l;
    NvptxTarget    t;

    if (!nvptx_target_open(&t, o, why, nwhy))
        return NULL;
    own.cpu = t.sm->name;
    l = nvptx_launches_new(m, &own);
    l->gpu.sm = t.sm->sm;
    l->gpu.make = make;
    nvptx_target_close(&t);
    return nvptx_image(l);
}

static bool emit_object(Module *m, const BackendOptions *o, FILE *f, char *why, size_t nwhy)
{
    NndImage *im = load(m, o, why, nwhy);
    bool      ok = im != NULL;

    for (int i = 0; ok && i < im->gpu->npart; i++)
        ok = !make(im, i, why, (int64_t)nwhy);
    if (ok) {
        im->weights = o->weights;
        ok = nvptx_assemble(im, why, nwhy) && cpu_write_image(im, o->as_program, f, why, nwhy);
    }
    if (im)
        nvptx_image_free(im);
    return ok;
}

/* As text, all parts are one. */
static bool emit(Module *m, const BackendOptions *o, EmitKind kind, FILE *f, char *why, size_t nwhy)
{
    NvptxLaunches *l;
    LlvmTimes      times;
    Code           c;
    bool           ok;

    if (kind == EMIT_OBJ)
        return emit_object(m, o, f, why, nwhy);
    l = nvptx_launches_new(m, o);
    ok = code_open(&c, l, 0, l->nitem, &times, why, nwhy);
    if (ok) {
        ok = kind == EMIT_LLVM ? llvm_write_text(c.llvm.M, f, why, nwhy) : llvm_write_code(c.llvm.M, c.target.tm, LLVMAssemblyFile, f, why, nwhy);
        code_close(&c);
    }
    nvptx_launches_free(l);
    return ok;
}

const Backend backend_nvptx = { .name = "cuda", .doc = "PTX for NVIDIA's GPUs", .needs_plan = true, .probe = probe, .load = load, .emit = emit,
                                .unload = nvptx_image_free };
