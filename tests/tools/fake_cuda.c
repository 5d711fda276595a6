/* fake_cuda.c - a libcuda.so.1 for tests: a driver with graphs, and one with whatever is wrong.
 *
 * Kernels do nothing but nnd_advance, memory is this process's.  With $FAKE_CUDA_OVER, another libcuda.so.1 (an interpreter,
 * say), everything is done by that, and only graphs are added.  Words in $FAKE_CUDA: noinit, nodevice, small (1 MB is free),
 * noalloc, badlaunch, late (a kernel fails, which whatever is asked next tells), two (devices), sm88, sm61, refused (of the code), oldptx (too old for its text), capture (it fails).  -DOLD leaves functions
 * out.  At its end stderr is told what was launched.  Prototypes: CUDA Driver API reference.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/abi.h"

enum { WELL = 0, NO_MEMORY = 2, NO_DEVICE = 100, BAD_IMAGE = 218, OLD_FOR_PTX = 222, BAD_ADDRESS = 700, BROKEN_LAUNCH = 701, MISMATCH = 803, NOT_CAPTURED = 901,
       MAX_PARAM = 40 };

/* A module's text, and what it is to the library below. */
typedef struct Module { char *text; void *real; } Module;

/* A kernel of a module, and how many bytes each of its parameters has. */
typedef struct Function { struct Function *next; char name[128]; Module *module; void *real; int nparam, nbytes[MAX_PARAM]; } Function;

/* A launch with its parameters' values, as a graph keeps it. */
typedef struct Node { struct Node *next; Function *f; unsigned size[7]; uint64_t value[MAX_PARAM]; } Node;
typedef struct Graph { Node *first, **last; } Graph;

static void *over;                     /* the library that does the work */
static Graph *recording;
static Function *functions;
static int failed_late;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;       /* modules are loaded on several threads; the library below knows of one */
static struct { long asked, alone, graphs, captures, captured; } told;

static int asked(const char *word)
{
    const char *words = getenv("FAKE_CUDA");

    return words && strstr(words, word);
}

static void report(void)
{
    fprintf(stderr, "fake: %ld kernels alone, %ld graphs of %ld recorded with %ld kernels\n", told.alone, told.graphs, told.captures, told.captured);
}

/* The same function of the library below. */
#define REAL(name, ...) (over ? locked(((__typeof__(&name))dlsym((pthread_mutex_lock(&lock), over), #name))(__VA_ARGS__)) : WELL)
static int locked(int result) { return pthread_mutex_unlock(&lock), result; }

int cuInit(unsigned flags)
{
    const char *path = getenv("FAKE_CUDA_OVER");

    if (asked("noinit"))
        return MISMATCH;
    if (asked("nodevice"))
        return NO_DEVICE;
    if (path && !over && !(over = dlopen(path, RTLD_NOW | RTLD_LOCAL))) {
        fprintf(stderr, "fake: %s\n", dlerror());
        return 999;
    }
    if (getenv("FAKE_CUDA_TELL") && !told.asked++)
        atexit(report);
    return REAL(cuInit, flags);
}

int cuDriverGetVersion(int *version)
{
#ifdef OLD
    *version = 10020;
#else
    *version = 12080;
#endif
    return WELL;
}

int cuDeviceGetCount(int *n) { return *n = asked("two") ? 2 : 1, WELL; }
int cuDeviceGet(int *device, int number) { return *device = number, WELL; }
int cuDeviceGetName(char *name, int nname, int device) { return snprintf(name, (size_t)nname, "fake %d", device), WELL; }
int cuDeviceTotalMem_v2(size_t *n, int device) { return (void)device, *n = (size_t)4 << 30, WELL; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return (void)device, *context = &over, WELL; }
int cuCtxSetCurrent(void *context) { return (void)context, WELL; }
int cuStreamCreate(void **stream, unsigned flags) { return (void)flags, *stream = malloc(1), WELL; }
int cuStreamDestroy_v2(void *stream) { return free(stream), WELL; }
int cuFuncSetAttribute(void *f, int attribute, int value) { return (void)f, (void)attribute, (void)value, WELL; }
int cuEventCreate(void **event, unsigned flags) { return (void)flags, *event = malloc(1), WELL; }
int cuEventDestroy_v2(void *event) { return free(event), WELL; }
int cuEventRecord(void *event, void *stream) { return (void)event, (void)stream, WELL; }
int cuEventElapsedTime(float *ms, void *begun, void *ended) { return (void)begun, (void)ended, *ms = .5f, WELL; }
int cuStreamSynchronize(void *stream) { return (void)stream, failed_late ? BAD_ADDRESS : WELL; }

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    *value = attribute == 75 ? (asked("sm61") ? 6 : 8) : attribute == 76 ? (asked("sm61") ? 1 : asked("sm88") ? 8 : 0) : 0;
    return WELL;
}

int cuGetErrorString(int result, const char **said)
{
    switch (result) {
    case NO_MEMORY:     *said = "out of memory"; break;
    case BAD_IMAGE:     *said = "a PTX JIT compilation failed"; break;
    case OLD_FOR_PTX:   *said = "the provided PTX was compiled with an unsupported toolchain."; break;
    case BAD_ADDRESS:   *said = "an illegal memory access was encountered"; break;
    case BROKEN_LAUNCH: *said = "too many resources requested for launch"; break;
    case MISMATCH:      *said = "system has unsupported display driver / cuda driver combination"; break;
    default:            *said = NULL; return 1;
    }
    return WELL;
}

int cuMemGetInfo_v2(size_t *nfree, size_t *ntotal)
{
    *ntotal = (size_t)4 << 30;
    *nfree = asked("small") ? 1000000 : *ntotal;
    return WELL;
}

#ifndef OLD
int cuDevicePrimaryCtxRelease_v2(int device) { return (void)device, WELL; }

int cuMemAlloc_v2(uint64_t *at, size_t n)
{
    if (asked("noalloc"))
        return NO_MEMORY;
    if (over)
        return REAL(cuMemAlloc_v2, at, n);
    *at = (uint64_t)(uintptr_t)calloc(1, n);
    return WELL;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *stream)
{
    if (over)
        return REAL(cuMemcpyHtoDAsync_v2, to, from, n, stream);
    memcpy((void *)(uintptr_t)to, from, n);
    return WELL;
}
#endif

int cuMemFree_v2(uint64_t at)
{
    if (over)
        return REAL(cuMemFree_v2, at);
    free((void *)(uintptr_t)at);
    return WELL;
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *stream)
{
    if (over)
        return REAL(cuMemcpyDtoHAsync_v2, to, from, n, stream);
    memcpy(to, (void *)(uintptr_t)from, n);
    return WELL;
}

/* ---- modules ---- */

int cuModuleLoadDataEx(void **module, const void *code, unsigned n, int *option, void **value)
{
    if (asked("refused")) {
        for (unsigned i = 0; i < n; i++)
            if (option[i] == 5)
                strcpy(value[i], "ptxas application ptx input, line 7; error   : Unknown symbol 'x'\nptxas fatal   : Ptx assembly aborted\n");
        return BAD_IMAGE;
    }
    if (!memcmp(code, "\x7f" "ELF", 4))
        return 209;
    if (asked("oldptx"))
        return OLD_FOR_PTX;
    Module *m = calloc(1, sizeof *m);

    m->text = strdup(code);
    *module = m;
    return REAL(cuModuleLoadDataEx, &m->real, code, n, option, value);
}

int cuModuleUnload(void *module)
{
    Module *m = module;
    void   *real = m->real;

    for (Function **at = &functions, *f; (f = *at);) {
        if (f->module != m) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        free(f);
    }
    free(m->text);
    free(m);
    return REAL(cuModuleUnload, real);
}

/* What stands between the parentheses of ".entry NAME(". */
static void find_params(Function *f)
{
    char want[160], *at, *end;

    snprintf(want, sizeof want, ".entry %s(", f->name);
    if (!(at = strstr(f->module->text, want)))
        return;
    end = strchr(at, ')');
    while ((at = strstr(at + 1, ".param .")) && at < end)
        f->nbytes[f->nparam++] = strncmp(at, ".param .u32", 11) && strncmp(at, ".param .b32", 11) ? 8 : 4;
}

int cuModuleGetFunction(void **function, void *module, const char *name)
{
    Function *f = calloc(1, sizeof *f);
    int       result;

    snprintf(f->name, sizeof f->name, "%s", name);
    f->module = module;
    if ((result = REAL(cuModuleGetFunction, &f->real, f->module->real, name))) {
        free(f);
        return result;
    }
    find_params(f);
    f->next = functions;
    functions = f;
    *function = f;
    return WELL;
}

/* ---- launches and graphs ---- */

int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);

static int go(const Node *n)
{
    void *param[MAX_PARAM];

    if (over) {
        for (int i = 0; i < n->f->nparam; i++)
            param[i] = (void *)&n->value[i];
        return REAL(cuLaunchKernel, n->f->real, n->size[0], n->size[1], n->size[2], n->size[3], n->size[4], n->size[5], n->size[6], NULL, param,
                    NULL);
    }
    if (!strcmp(n->f->name, "nnd_advance")) {
        NndControl *c = (NndControl *)(uintptr_t)n->value[0];

        c->index++;
        c->step++;
    }
    return WELL;
}

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *stream, void **param, void **extra)
{
    Node *n = calloc(1, sizeof *n);
    int   result;

    (void)stream, (void)extra;
    if (failed_late) {
        free(n);
        return BAD_ADDRESS;
    }
    *n = (Node){ .f = function, .size = { gx, gy, gz, bx, by, bz, shared } };
    for (int i = 0; i < n->f->nparam; i++)
        memcpy(&n->value[i], param[i], (size_t)n->f->nbytes[i]);
    if (asked("badlaunch")) {
        free(n);
        return BROKEN_LAUNCH;
    }
    failed_late = asked("late");
    if (recording) {
        *recording->last = n;
        recording->last = &n->next;
        told.captured++;
        return WELL;
    }
    told.alone++;
    result = go(n);
    free(n);
    return result;
}

#ifndef OLD
int cuStreamBeginCapture_v2(void *stream, int mode)
{
    (void)stream, (void)mode;
    if (asked("capture"))
        return NOT_CAPTURED;
    recording = calloc(1, sizeof *recording);
    recording->last = &recording->first;
    return WELL;
}

int cuStreamEndCapture(void *stream, void **graph)
{
    (void)stream;
    *graph = recording;
    recording = NULL;
    told.captures++;
    return WELL;
}

int cuGraphInstantiateWithFlags(void **ready, void *graph, unsigned long long flags)
{
    Graph *copy = malloc(sizeof *copy);

    (void)flags;
    *copy = *(Graph *)graph;
    *ready = copy;
    return WELL;
}

int cuGraphLaunch(void *ready, void *stream)
{
    int result = WELL;

    (void)stream;
    told.graphs++;
    for (const Node *n = ((Graph *)ready)->first; n && !result; n = n->next)
        result = go(n);
    return result;
}

int cuGraphDestroy(void *graph) { return free(graph), WELL; }

int cuGraphExecDestroy(void *ready)
{
    for (Node *n = ((Graph *)ready)->first, *next; n; n = next) {
        next = n->next;
        free(n);
    }
    free(ready);
    return WELL;
}
#endif
