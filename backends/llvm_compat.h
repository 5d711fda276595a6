/* llvm_compat.h - all that differs between LLVM releases, and every name that LLVM knows by its spelling. */
#ifndef NND_BACKENDS_LLVM_COMPAT_H
#define NND_BACKENDS_LLVM_COMPAT_H

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm/Config/llvm-config.h>
#include <stddef.h>

/* From 22 on masked loads and stores have no alignment operand: it is an attribute of the pointer. */
#define COMPAT_MASKED_ALIGN_OPERAND (LLVM_VERSION_MAJOR < 22)

/* By opt_level.  Light: the IR is explicit vectors already; O3 costs twice the time and gains nothing on it. */
static const char *const compat_pipeline[] = {
    NULL,
    "function(early-cse)",
    "function(early-cse<memssa>,instcombine<no-verify-fixpoint>,loop-mssa(licm),early-cse<memssa>)",
    "default<O3>",
};

/* Copies of 4, 8 and 16 bytes into group memory; with how many of them are there, the rest being 0. */
static const char *const compat_cp_async[3][2] = {
    { "llvm.nvvm.cp.async.ca.shared.global.4", "llvm.nvvm.cp.async.ca.shared.global.4.s" },
    { "llvm.nvvm.cp.async.ca.shared.global.8", "llvm.nvvm.cp.async.ca.shared.global.8.s" },
    { "llvm.nvvm.cp.async.cg.shared.global.16", "llvm.nvvm.cp.async.cg.shared.global.16.s" },
};

static const char compat_cp_commit[] = "llvm.nvvm.cp.async.commit.group", compat_cp_wait[] = "llvm.nvvm.cp.async.wait.group",
                  compat_shuffle[] = "llvm.nvvm.shfl.sync.bfly.i32", compat_shuffle_to[] = "llvm.nvvm.shfl.sync.idx.i32",
                  compat_meet_warp[] = "llvm.nvvm.bar.warp.sync", compat_meet_group[] = "llvm.nvvm.barrier.cta.sync.aligned.all",
                  compat_to_tf32[] = "llvm.nvvm.f2tf32.rna", compat_to_tf32_even[] = "llvm.nvvm.f2tf32.rn", compat_to_bf16[] = "llvm.nvvm.ff2bf16x2.rn",
                  compat_mma_tf32[] = "llvm.nvvm.mma.m16n8k8.row.col.tf32", compat_mma_bf16[] = "llvm.nvvm.mma.m16n8k16.row.col.bf16",
                  compat_thread[] = "llvm.nvvm.read.ptx.sreg.tid.x";
static const char *const compat_group[3] = { "llvm.nvvm.read.ptx.sreg.ctaid.x", "llvm.nvvm.read.ptx.sreg.ctaid.y",
                                             "llvm.nvvm.read.ptx.sreg.ctaid.z" };

/* The calling convention of a kernel for NVIDIA's GPUs, which the C API has no name for. */
enum { COMPAT_PTX_KERNEL = 71 };

/* Of a GPU: as above, and its own passes come with code generation. */
static const char compat_gpu_pipeline[] = "function(early-cse<memssa>,instcombine<no-verify-fixpoint>,loop-mssa(licm),early-cse<memssa>)";

static const char compat_fma[] = "llvm.fma", compat_floor[] = "llvm.floor", compat_rint[] = "llvm.rint", compat_fabs[] = "llvm.fabs",
                  compat_copysign[] = "llvm.copysign", compat_fshl[] = "llvm.fshl",
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
