/* llvm_module.c - an LLVM module made, checked, optimised and written, for any target. */
#include "backends/llvm_module.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

/* Loop strength reduction is off, for all that this process makes: so code for one target doesn't depend on whether another one was
 * opened before.  On processors it is a sixth of the time and gains nothing that can be measured, as addresses are a base and a
 * constant already; for GPUs it is a third to a half of it, and ptxas takes more registers for what it makes. */
static void start(void)
{
    static const char *const option[] = { "nnd", "-disable-lsr" };

    LLVMParseCommandLineOptions((int)(sizeof option / sizeof *option), option, NULL);
}

LLVMTargetMachineRef llvm_machine(const char *triple, const char *name, const char *features, LLVMCodeGenOptLevel level, LLVMRelocMode reloc,
                                  char *why, size_t nwhy)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    LLVMTargetMachineRef  tm;
    LLVMTargetRef         target;
    char                 *error = NULL;

    pthread_once(&once, start);
    if (LLVMGetTargetFromTriple(triple, &target, &error)) {
        snprintf(why, nwhy, "%s", error);
        LLVMDisposeMessage(error);
        return NULL;
    }
    tm = LLVMCreateTargetMachine(target, triple, name, features, level, reloc, LLVMCodeModelDefault);
    if (!tm)
        snprintf(why, nwhy, "LLVM has no code for %s", triple);
    return tm;
}

static void set_target(LLVMModuleRef M, LLVMTargetMachineRef tm)
{
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
    char *text = LLVMCopyStringRepOfTargetData(layout), *triple = LLVMGetTargetMachineTriple(tm);

    LLVMSetTarget(M, triple);
    LLVMSetDataLayout(M, text);
    LLVMDisposeMessage(triple);
    LLVMDisposeMessage(text);
    LLVMDisposeTargetData(layout);
}

void llvm_code_open(LlvmCode *c, const char *name, LLVMTargetMachineRef tm)
{
    c->C = LLVMContextCreate();
    c->M = LLVMModuleCreateWithNameInContext(name, c->C);
    set_target(c->M, tm);
}

void llvm_code_close(LlvmCode *c)
{
    if (c->M)
        LLVMDisposeModule(c->M);
    if (c->C)
        LLVMContextDispose(c->C);
    *c = (LlvmCode){ 0 };
}

double llvm_clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

void llvm_tell_times(FILE *f, const char *what, const LlvmTimes *t)
{
    fprintf(f, "time: %-14s %8.2f ms: write %.2f, optimise %.2f, code %.2f, link %.2f\n", what,
            t->write_ms + t->optimise_ms + t->code_ms + t->link_ms, t->write_ms, t->optimise_ms, t->code_ms, t->link_ms);
}

bool llvm_verify(LLVMModuleRef M, char *why, size_t nwhy)
{
    char *error = NULL;
    bool ok = !LLVMVerifyModule(M, LLVMReturnStatusAction, &error);

    if (!ok)
        snprintf(why, nwhy, "LLVM refuses the code: %s", error);
    LLVMDisposeMessage(error);
    return ok;
}

bool llvm_optimise(LLVMModuleRef M, LLVMTargetMachineRef tm, const char *passes, char *why, size_t nwhy)
{
    LLVMPassBuilderOptionsRef options;
    LLVMErrorRef error;
    char *text;

    if (!passes)
        return true;
    options = LLVMCreatePassBuilderOptions();
    error = LLVMRunPasses(M, passes, tm, options);
    LLVMDisposePassBuilderOptions(options);
    if (!error)
        return true;
    text = LLVMGetErrorMessage(error);
    snprintf(why, nwhy, "LLVM: %s", text);
    LLVMDisposeErrorMessage(text);
    return false;
}

LLVMMemoryBufferRef llvm_bytes(LLVMModuleRef M, LLVMTargetMachineRef tm, LLVMCodeGenFileType kind, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef bytes = NULL;
    char *error = NULL;

    if (!LLVMTargetMachineEmitToMemoryBuffer(tm, M, kind, &error, &bytes))
        return bytes;
    snprintf(why, nwhy, "LLVM: %s", error);
    LLVMDisposeMessage(error);
    return NULL;
}

bool llvm_write(FILE *f, const char *s, size_t n, char *why, size_t nwhy)
{
    if (fwrite(s, 1, n, f) == n)
        return true;
    snprintf(why, nwhy, "cannot write the code");
    return false;
}

bool llvm_write_text(LLVMModuleRef M, FILE *f, char *why, size_t nwhy)
{
    char *text = LLVMPrintModuleToString(M);
    bool ok = llvm_write(f, text, strlen(text), why, nwhy);

    LLVMDisposeMessage(text);
    return ok;
}

bool llvm_write_code(LLVMModuleRef M, LLVMTargetMachineRef tm, LLVMCodeGenFileType kind, FILE *f, char *why, size_t nwhy)
{
    LLVMMemoryBufferRef bytes = llvm_bytes(M, tm, kind, why, nwhy);
    bool ok = bytes && llvm_write(f, LLVMGetBufferStart(bytes), LLVMGetBufferSize(bytes), why, nwhy);

    if (bytes)
        LLVMDisposeMemoryBuffer(bytes);
    return ok;
}
