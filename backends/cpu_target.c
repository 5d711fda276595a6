/* cpu_target.c - the machine that code is for: by default this one, as LLVM finds it.
 *
 * LLVM only warns about a name it doesn't know, and on the process's own stderr; so names are checked here
 * against a list that says how wide each machine's vectors are.
 */
#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/cpu_target.h"
#include "backends/llvm_module.h"

typedef struct KnownCpu { const char *name; int level; } KnownCpu;

/* The levels of the x86-64 psABI, then processors in order of age. */
static const KnownCpu known_cpu[] = {
    { "x86-64", 1 }, { "x86-64-v2", 1 }, { "x86-64-v3", 3 }, { "x86-64-v4", 4 },
    { "haswell", 3 }, { "broadwell", 3 }, { "skylake", 3 }, { "skylake-avx512", 4 }, { "cascadelake", 4 },
    { "cooperlake", 4 }, { "icelake-client", 4 }, { "icelake-server", 4 }, { "tigerlake", 4 }, { "alderlake", 3 },
    { "sapphirerapids", 4 }, { "emeraldrapids", 4 }, { "graniterapids", 4 },
    { "znver1", 3 }, { "znver2", 3 }, { "znver3", 3 }, { "znver4", 4 }, { "znver5", 4 },
};
enum { NKNOWN = sizeof known_cpu / sizeof *known_cpu };

static int feature_level(const char *triple, const char *features)
{
    if (strncmp(triple, "x86_64", 6))
        return 0;
    if (strstr(features, "+avx512f") && strstr(features, "+avx512bw") && strstr(features, "+avx512dq")
        && strstr(features, "+avx512vl"))
        return 4;
    return strstr(features, "+avx2") && strstr(features, "+fma") ? 3 : 1;
}

static const KnownCpu *find_cpu(const char *name)
{
    for (int i = 0; i < NKNOWN; i++)
        if (!strcmp(known_cpu[i].name, name))
            return &known_cpu[i];
    return NULL;
}

/* Another machine than this one: its name stands for its features. */
static bool choose(CpuTarget *t, const char *name, char *why, size_t nwhy)
{
    const KnownCpu *cpu = strncmp(t->triple, "x86_64", 6) ? NULL : find_cpu(name);
    const char *words[NKNOWN], *near;

    for (int i = 0; i < NKNOWN; i++)
        words[i] = known_cpu[i].name;
    if (!cpu) {
        near = diag_near(name, words, NKNOWN);
        snprintf(why, nwhy, "unknown processor `%s`%s%s%s", name, near ? ", did you mean `" : "", near ? near : "", near ? "`?" : "");
        return false;
    }
    t->runs_here = !strncmp(name, "x86-64", 6) && cpu->level <= t->level;
    t->level = cpu->level;
    LLVMDisposeMessage(t->name);
    LLVMDisposeMessage(t->features);
    t->name = LLVMCreateMessage(name);
    t->features = LLVMCreateMessage("");
    return true;
}

static LLVMCodeGenOptLevel code_level(int level)
{
    static const LLVMCodeGenOptLevel of[] = { LLVMCodeGenLevelNone, LLVMCodeGenLevelLess, LLVMCodeGenLevelDefault,
                                              LLVMCodeGenLevelAggressive };

    return of[level < 0 ? 0 : level > 3 ? 3 : level];
}

bool cpu_target_open(CpuTarget *t, const BackendOptions *o, char *why, size_t nwhy)
{
    if (LLVMInitializeNativeTarget() || LLVMInitializeNativeAsmPrinter()) {
        snprintf(why, nwhy, "LLVM was built without this machine's target");
        return false;
    }
    *t = (CpuTarget){ .triple = LLVMGetDefaultTargetTriple(), .name = LLVMGetHostCPUName(),
                      .features = LLVMGetHostCPUFeatures(), .runs_here = true };
    t->level = feature_level(t->triple, t->features);
    if ((o->cpu && strcmp(o->cpu, t->name) && !choose(t, o->cpu, why, nwhy))
        || !(t->tm = llvm_machine(t->triple, t->name, t->features, code_level(o->opt_level), LLVMRelocPIC, why, nwhy))) {
        cpu_target_close(t);
        return false;
    }
    return true;
}

void cpu_target_close(CpuTarget *t)
{
    if (t->tm)
        LLVMDisposeTargetMachine(t->tm);
    LLVMDisposeMessage(t->triple);
    LLVMDisposeMessage(t->name);
    LLVMDisposeMessage(t->features);
}

/* ---- what is known of it ---- */

static int64_t cache_bytes(const CpuTarget *t, int which, int64_t otherwise)
{
    long found = t->runs_here ? sysconf(which) : 0;

    return found > 0 ? found : otherwise;
}

void cpu_target_limits(const CpuTarget *t, Limits *l)
{
    *l = (Limits){ .lanes = t->level == 4 ? 16 : t->level == 3 ? 8 : 4 };
    l->vregs = t->level == 4 || t->level == 0 ? 32 : 16;
    l->l1_bytes = cache_bytes(t, _SC_LEVEL1_DCACHE_SIZE, 32 << 10);
    l->l2_bytes = cache_bytes(t, _SC_LEVEL2_CACHE_SIZE, 512 << 10);
}

/* What the processor calls itself, "" if the system doesn't say. */
static void brand(char *text, size_t ntext)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256], *colon;

    text[0] = 0;
    while (f && !text[0] && fgets(line, sizeof line, f))
        if (!strncmp(line, "model name", 10) && (colon = strchr(line, ':')))
            snprintf(text, ntext, "%s", colon + 2);
    text[strcspn(text, "\n")] = 0;
    if (f)
        fclose(f);
}

void cpu_target_describe(const CpuTarget *t, char *text, size_t ntext)
{
    static const char *const vectors[] = { "128-bit vectors", "SSE", "", "AVX2", "AVX-512" };
    char *host = LLVMGetHostCPUName(), name[128] = "";
    long threads = sysconf(_SC_NPROCESSORS_ONLN);

    if (strcmp(t->name, host)) {
        snprintf(text, ntext, "%s, %s", t->name, vectors[t->level]);
    } else {
        brand(name, sizeof name);
        snprintf(text, ntext, "%s%s%s%s, %s, %ld thread%s", name, name[0] ? " (" : "", t->name, name[0] ? ")" : "",
                 vectors[t->level], threads, threads == 1 ? "" : "s");
    }
    LLVMDisposeMessage(host);
}
