/* llvm_compat.h - all that differs between LLVM releases, and every name that LLVM knows by its spelling. */
#ifndef NND_BACKENDS_LLVM_COMPAT_H
#define NND_BACKENDS_LLVM_COMPAT_H

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm/Config/llvm-config.h>

/* From 22 on masked loads and stores have no alignment operand: it is an attribute of the pointer. */
#define COMPAT_MASKED_ALIGN_OPERAND (LLVM_VERSION_MAJOR < 22)

/* By opt_level.  Light: the IR is explicit vectors already; O3 costs twice the time and gains nothing on it. */
static const char *const compat_pipeline[] = {
    NULL,
    "function(early-cse)",
    "function(early-cse<memssa>,instcombine<no-verify-fixpoint>,loop-mssa(licm),early-cse<memssa>)",
    "default<O3>",
};

static const char compat_fma[] = "llvm.fma", compat_floor[] = "llvm.floor", compat_rint[] = "llvm.rint", compat_fabs[] = "llvm.fabs",
                  compat_copysign[] = "llvm.copysign",
                  compat_sqrt[] = "llvm.sqrt", compat_fptosi[] = "llvm.fptosi.sat", compat_fptoui[] = "llvm.fptoui.sat",
                  compat_masked_load[] = "llvm.masked.load", compat_masked_store[] = "llvm.masked.store";

/* A node unlike all others, !{!self, of}: an alias scope of a domain, or without `of` a domain.  From C only a
 * temporary node can be made to refer to the node it ends up in. */
static inline LLVMMetadataRef compat_distinct_node(LLVMContextRef C, LLVMMetadataRef of)
{
    LLVMMetadataRef self = LLVMTemporaryMDNode(C, NULL, 0), operand[2] = { self, of };
    LLVMMetadataRef node = LLVMMDNodeInContext2(C, operand, of ? 2 : 1);

    LLVMMetadataReplaceAllUsesWith(self, node);
    return node;
}

#endif
