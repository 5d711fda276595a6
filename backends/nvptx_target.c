/* nvptx_target.c - a table of what generations of GPUs can do, and LLVM's target for one of them.
 *
 * Code for one runs on every later one: the driver translates PTX.  No device is looked for here.
 */
#include "backends/nvptx_target.h"
#include "backends/llvm_module.h"

#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <string.h>

static const NvptxSm known_sm[] = {
    { "sm_70", 70, "+ptx60", false, false, 96 << 10 },
    { "sm_72", 72, "+ptx61", false, false, 96 << 10 },
    { "sm_75", 75, "+ptx63", false, false, 64 << 10 },
    { "sm_80", 80, "+ptx70", true, true, 163 << 10 },
    { "sm_86", 86, "+ptx71", true, true, 99 << 10 },
    { "sm_87", 87, "+ptx74", true, true, 163 << 10 },
    { "sm_89", 89, "+ptx78", true, true, 99 << 10 },
    { "sm_90", 90, "+ptx78", true, true, 227 << 10 },
    { "sm_100", 100, "+ptx86", true, true, 227 << 10 },
    { "sm_103", 103, "+ptx88", true, true, 227 << 10 },
    { "sm_120", 120, "+ptx87", true, true, 99 << 10 },
    { "sm_121", 121, "+ptx88", true, true, 99 << 10 },
};
enum { NKNOWN = sizeof known_sm / sizeof *known_sm };

static const char usual_sm[] = "sm_80";
static const char triple[] = "nvptx64-nvidia-cuda";

static const NvptxSm *find(const char *name, char *why, size_t nwhy)
{
    size_t n;

    for (int i = 0; i < NKNOWN; i++)
        if (!strcmp(known_sm[i].name, name))
            return &known_sm[i];
    n = (size_t)snprintf(why, nwhy, "unknown GPU `%s`, known are", name);
    for (int i = 0; i < NKNOWN && n < nwhy; i++)
        n += (size_t)snprintf(why + n, nwhy - n, "%s %s", i ? "," : "", known_sm[i].name);
    return NULL;
}

bool nvptx_target_open(NvptxTarget *t, const BackendOptions *o, char *why, size_t nwhy)
{
    *t = (NvptxTarget){ .sm = find(o->cpu ? o->cpu : usual_sm, why, nwhy) };
    if (!t->sm)
        return false;
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    t->tm = llvm_machine(triple, t->sm->name, t->sm->features, o->opt_level > 2 ? LLVMCodeGenLevelAggressive : LLVMCodeGenLevelDefault,
                         LLVMRelocDefault, why, nwhy);
    return t->tm != NULL;
}

void nvptx_target_close(NvptxTarget *t) { LLVMDisposeTargetMachine(t->tm); }

void nvptx_target_limits(const NvptxTarget *t, Limits *l)
{
    *l = (Limits){ .lanes = 4, .vregs = 32, .l1_bytes = 128 << 10, .l2_bytes = 4 << 20, .warp = 32, .threads = NVPTX_THREADS,
                   .shared_bytes = NVPTX_SHARED, .async = t->sm->async, .mma = t->sm->mma };
}

void nvptx_target_describe(const NvptxTarget *t, char *text, size_t ntext)
{
    snprintf(text, ntext, "%s, PTX %c.%s", t->sm->name, t->sm->features[4], t->sm->features + 5);
}
