/* llvm_module.h - an LLVM module made, checked, optimised and written, for any target. */
#ifndef NND_BACKENDS_LLVM_MODULE_H
#define NND_BACKENDS_LLVM_MODULE_H

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>
#include <stdbool.h>
#include <stdio.h>

/* A module and its context.  llvm_code_open - an empty one for the machine; llvm_code_close - what there is of it. */
typedef struct LlvmCode { LLVMContextRef C; LLVMModuleRef M; } LlvmCode;
void                llvm_code_open(LlvmCode *c, const char *name, LLVMTargetMachineRef tm);
void                llvm_code_close(LlvmCode *c);

/* Where the making of code spends its time, in milliseconds of its thread. */
typedef struct LlvmTimes {
    double write_ms;         /* plans as LLVM's text */
    double optimise_ms;      /* LLVM's passes */
    double code_ms;          /* machine code, or PTX */
    double link_ms;          /* into this process */
} LlvmTimes;

/* llvm_clock_ms - milliseconds of the calling thread's own work; llvm_tell_times - a line about what has been made. */
double              llvm_clock_ms(void);
void                llvm_tell_times(FILE *f, const char *what, const LlvmTimes *t);

/* llvm_machine - one of LLVM's targets; the first call settles, for all of them, what only LLVM's command line can say.
 * It and all below return false, or NULL, with the reason in why. */
LLVMTargetMachineRef llvm_machine(const char *triple, const char *name, const char *features, LLVMCodeGenOptLevel level, LLVMRelocMode reloc,
                                  char *why, size_t nwhy);
bool                llvm_verify(LLVMModuleRef M, char *why, size_t nwhy);
bool                llvm_optimise(LLVMModuleRef M, LLVMTargetMachineRef tm, const char *passes, char *why, size_t nwhy);        /* passes: NULL for none */
LLVMMemoryBufferRef llvm_bytes(LLVMModuleRef M, LLVMTargetMachineRef tm, LLVMCodeGenFileType kind, char *why, size_t nwhy);
bool                llvm_write(FILE *f, const char *s, size_t n, char *why, size_t nwhy);
bool                llvm_write_text(LLVMModuleRef M, FILE *f, char *why, size_t nwhy);
bool                llvm_write_code(LLVMModuleRef M, LLVMTargetMachineRef tm, LLVMCodeGenFileType kind, FILE *f, char *why, size_t nwhy);

#endif
