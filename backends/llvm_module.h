/* llvm_module.h - an LLVM module checked, optimised and written, for any target. */
#ifndef NND_BACKENDS_LLVM_MODULE_H
#define NND_BACKENDS_LLVM_MODULE_H

#include <llvm-c/TargetMachine.h>
#include <stdbool.h>
#include <stdio.h>

/* All but the first return false, or NULL, with the reason in why. */
void                llvm_set_target(LLVMModuleRef M, LLVMTargetMachineRef tm);        /* triple and layout */
bool                llvm_verify(LLVMModuleRef M, char *why, size_t nwhy);
bool                llvm_optimise(LLVMModuleRef M, LLVMTargetMachineRef tm, const char *passes, char *why, size_t nwhy);        /* passes: NULL for none */
LLVMMemoryBufferRef llvm_bytes(LLVMModuleRef M, LLVMTargetMachineRef tm, LLVMCodeGenFileType kind, char *why, size_t nwhy);
bool                llvm_write(FILE *f, const char *s, size_t n, char *why, size_t nwhy);
bool                llvm_write_text(LLVMModuleRef M, FILE *f, char *why, size_t nwhy);
bool                llvm_write_code(LLVMModuleRef M, LLVMTargetMachineRef tm, LLVMCodeGenFileType kind, FILE *f, char *why, size_t nwhy);

#endif
