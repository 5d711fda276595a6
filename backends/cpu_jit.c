/* cpu_jit.c - objects in memory made runnable, by ORC.
 *
 * An object sees only the functions of the table below: those of the C library that cpu_op.c calls, and those
 * that LLVM may call for an instruction the machine lacks or for a run of stores.
 */
#include "backends/cpu_jit.h"

#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void Function(void);
typedef struct Import { const char *name; Function *at; } Import;

#define MATH(name) { #name, (Function *)(name) }, { #name "f", (Function *)(name##f) }
static const Import import[] = {
    MATH(exp), MATH(log), MATH(tanh), MATH(erf), MATH(sin), MATH(cos), MATH(pow), MATH(fma), MATH(floor),
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

static LLVMErrorRef add_imports(LLVMOrcLLJITRef jit)
{
    LLVMOrcCSymbolMapPair pair[NIMPORT];

    for (int i = 0; i < NIMPORT; i++)
        pair[i] = (LLVMOrcCSymbolMapPair){ LLVMOrcLLJITMangleAndIntern(jit, import[i].name),
                                           { (LLVMOrcExecutorAddress)(uintptr_t)import[i].at,
                                             { LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable, 0 } } };
    LLVMOrcMaterializationUnitRef unit = LLVMOrcAbsoluteSymbols(pair, NIMPORT);
    LLVMErrorRef error = LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(jit), unit);

    if (error)
        LLVMOrcDisposeMaterializationUnit(unit);
    return error;
}

CpuJit *cpu_jit_open(char *why, size_t nwhy)
{
    LLVMOrcLLJITRef jit = NULL;

    if (failed(LLVMOrcCreateLLJIT(&jit, NULL), why, nwhy))
        return NULL;
    if (!failed(add_imports(jit), why, nwhy))
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
