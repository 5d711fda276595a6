/* cpu_jit.c - objects in memory made runnable, by ORC.
 *
 * An object sees only the functions of the table below: those of the C library that cpu_op.c calls, and those
 * that LLVM may call for an instruction the machine lacks or for a run of stores.
 */
#include "backends/cpu_jit.h"
#include "backends/blas.h"

#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void Function(void);
typedef struct Import { const char *name; Function *at; } Import;

#define MATH(name) { #name, (Function *)(name) }
static const Import import[] = {
    MATH(exp), MATH(log), MATH(tanh), MATH(erf), MATH(sin), MATH(cos), MATH(pow), MATH(fma), MATH(fmaf), MATH(floor), MATH(floorf),
    { "memset", (Function *)memset }, { "memcpy", (Function *)memcpy }, { "memmove", (Function *)memmove },
};
#undef MATH
enum { NIMPORT = sizeof import / sizeof *import };

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

static LLVMErrorRef add_imports(LLVMOrcLLJITRef jit, const Import *of, size_t n)
{
    LLVMOrcCSymbolMapPair pair[NIMPORT];

    assert(n <= NIMPORT);
    for (size_t i = 0; i < n; i++)
        pair[i] = (LLVMOrcCSymbolMapPair){ LLVMOrcLLJITMangleAndIntern(jit, of[i].name),
                                           { (LLVMOrcExecutorAddress)(uintptr_t)of[i].at,
                                             { LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable, 0 } } };
    LLVMOrcMaterializationUnitRef unit = LLVMOrcAbsoluteSymbols(pair, n);
    LLVMErrorRef error = LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(jit), unit);

    if (error)
        LLVMOrcDisposeMaterializationUnit(unit);
    return error;
}

static bool add_blas(LLVMOrcLLJITRef jit, char *why, size_t nwhy)
{
    Import blas[] = { { "cblas_sgemm", NULL }, { "cblas_dgemm", NULL } };

    for (int i = 0; i < 2; i++) {
        const char *reason;

        if (!(blas[i].at = blas_function(blas[i].name, &reason))) {
            snprintf(why, nwhy, "BLAS: %s", reason);
            return false;
        }
    }
    return !failed(add_imports(jit, blas, 2), why, nwhy);
}

CpuJit *cpu_jit_open(bool blas, char *why, size_t nwhy)
{
    LLVMOrcLLJITRef jit = NULL;

    if (failed(LLVMOrcCreateLLJIT(&jit, NULL), why, nwhy))
        return NULL;
    if (!failed(add_imports(jit, import, NIMPORT), why, nwhy) && (!blas || add_blas(jit, why, nwhy)))
        return (CpuJit *)jit;
    cpu_jit_close((CpuJit *)jit);
    return NULL;
}

bool cpu_jit_add(CpuJit *jit, LLVMMemoryBufferRef object, char *why, size_t nwhy)
{
    LLVMOrcLLJITRef j = (LLVMOrcLLJITRef)jit;

    return !failed(LLVMOrcLLJITAddObjectFile(j, LLVMOrcLLJITGetMainJITDylib(j), object), why, nwhy);
}

void *cpu_jit_find(CpuJit *jit, const char *symbol, char *why, size_t nwhy)
{
    LLVMOrcExecutorAddress at = 0;

    if (failed(LLVMOrcLLJITLookup((LLVMOrcLLJITRef)jit, &at, symbol), why, nwhy))
        return NULL;
    return (void *)(uintptr_t)at;
}

void cpu_jit_close(CpuJit *jit)
{
    LLVMConsumeError(LLVMOrcDisposeLLJIT((LLVMOrcLLJITRef)jit));
}
