/* llvm_compat.h - all that differs between LLVM releases, and the names of intrinsics. */
#ifndef NND_BACKENDS_LLVM_COMPAT_H
#define NND_BACKENDS_LLVM_COMPAT_H

#include <llvm-c/Core.h>
#include <llvm/Config/llvm-config.h>

/* From 22 on masked loads and stores have no alignment operand: it is an attribute of the pointer. */
#define COMPAT_MASKED_ALIGN_OPERAND (LLVM_VERSION_MAJOR < 22)

/* Light: the IR is explicit vectors already; O3 costs twice the time and gains nothing on it. */
static const char *const compat_pipeline[] = {
    NULL,
    "function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg)",
    "function(early-cse<memssa>,instcombine<no-verify-fixpoint>,loop-mssa(licm),early-cse<memssa>,simplifycfg)",
    "default<O3>",
};

static const char compat_fma[] = "llvm.fma", compat_maximum[] = "llvm.maximum", compat_minimum[] = "llvm.minimum",
                  compat_floor[] = "llvm.floor", compat_fabs[] = "llvm.fabs", compat_sqrt[] = "llvm.sqrt",
                  compat_fptosi[] = "llvm.fptosi.sat", compat_fptoui[] = "llvm.fptoui.sat",
                  compat_masked_load[] = "llvm.masked.load", compat_masked_store[] = "llvm.masked.store";

#endif
