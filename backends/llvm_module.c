/* llvm_module.c - an LLVM module checked, optimised and written, for any target. */
#include "backends/llvm_module.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>

void llvm_set_target(LLVMModuleRef M, LLVMTargetMachineRef tm)
{
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
    char *text = LLVMCopyStringRepOfTargetData(layout), *triple = LLVMGetTargetMachineTriple(tm);

    LLVMSetTarget(M, triple);
    LLVMSetDataLayout(M, text);
    LLVMDisposeMessage(triple);
    LLVMDisposeMessage(text);
    LLVMDisposeTargetData(layout);
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
