/* cpu_image.c - an image as constants of an LLVM module, so that an object needs no compiler beside it.
 *
 * The source is the image that a JIT would hand out (image_new); here it is only copied, struct by struct, after
 * tables that say what each member is.  Everything is private to the object but the image itself, nnd_<model>, or
 * the pointer to it.
 */
#include <assert.h>
#include <llvm-c/Target.h>
#include <stddef.h>
#include <string.h>

#include "backends/cpu.h"

/* ---- what the structs of runtime/abi.h consist of ---- */

typedef enum Part {
    PART_INT, PART_REAL,
    PART_TEXT,               /* const char *, or NULL */
    PART_TEXTS, PART_LIST,   /* a pointer to so many texts, to so many structs */
    PART_BYTES,              /* a pointer to so many bytes, aligned for a segment */
    PART_WORDS,              /* a pointer to so many int64_t */
    PART_STRUCT,             /* a struct itself */
    PART_RUN,                /* the function of the entry */
    PART_NONE                /* NULL in an object */
} Part;

typedef struct Struct Struct;

typedef struct Member {
    Part          part;
    size_t        offset, nbytes, each;   /* of an array, each element has `each` bytes */
    size_t        count_at, count_bytes;  /* the member that counts what this one points to; 0 bytes: it is one */
    const Struct *of;                     /* what it points to */
} Member;

struct Struct { const char *name; size_t nbytes; int nmember; const Member *member; };

#define SIZE(S, m) sizeof ((S *)0)->m
#define MEMBER(part, S, m, each) part, offsetof(S, m), SIZE(S, m), each
#define ROW_INT(S, m)           { MEMBER(PART_INT, S, m, SIZE(S, m)), 0, 0, NULL },
#define ROW_INTS(S, m)          { MEMBER(PART_INT, S, m, SIZE(S, m[0])), 0, 0, NULL },
#define ROW_REAL(S, m)          { MEMBER(PART_REAL, S, m, SIZE(S, m)), 0, 0, NULL },
#define ROW_TEXT(S, m)          { MEMBER(PART_TEXT, S, m, SIZE(S, m)), 0, 0, NULL },
#define ROW_TEXTS(S, m, n)      { MEMBER(PART_TEXTS, S, m, SIZE(S, m)), offsetof(S, n), SIZE(S, n), NULL },
#define ROW_LIST(S, m, n, of)   { MEMBER(PART_LIST, S, m, SIZE(S, m)), offsetof(S, n), SIZE(S, n), &of },
#define ROW_ONE(S, m, of)       { MEMBER(PART_LIST, S, m, SIZE(S, m)), 0, 0, &of },
#define ROW_STRUCTS(S, m, of)   { MEMBER(PART_STRUCT, S, m, SIZE(S, m[0])), 0, 0, &of },
#define ROW_BYTES(S, m, n)      { MEMBER(PART_BYTES, S, m, SIZE(S, m)), offsetof(S, n), SIZE(S, n), NULL },
#define ROW_WORDS(S, m, n)      { MEMBER(PART_WORDS, S, m, SIZE(S, m)), offsetof(S, n), SIZE(S, n), NULL },
#define ROW_RUN(S, m)           { MEMBER(PART_RUN, S, m, SIZE(S, m)), 0, 0, NULL },
#define ROW_NONE(S, m)          { MEMBER(PART_NONE, S, m, SIZE(S, m)), 0, 0, NULL },

#define VAR(ROW, S) ROW(TEXT, S, name) ROW(INT, S, kind) ROW(INT, S, dtype) ROW(INT, S, rank) ROW(INTS, S, dim) \
    ROW(INTS, S, stride) ROW(INT, S, offset)
#define FIELD(ROW, S) ROW(TEXT, S, name) ROW(INT, S, dtype) ROW(INT, S, rank) ROW(INTS, S, dim) ROW(INT, S, bound) \
    ROW(STRUCTS, S, source, source_struct) ROW(TEXTS, S, label, nlabel) ROW(INT, S, nlabel)
#define SOURCE(ROW, S) ROW(INT, S, format) ROW(TEXT, S, file) ROW(TEXTS, S, part, npart) ROW(INT, S, npart) \
    ROW(INT, S, stride) ROW(INT, S, number) ROW(REAL, S, from) ROW(REAL, S, to)
#define SCALAR(ROW, S) ROW(TEXT, S, name) ROW(REAL, S, value)
#define EXPECT(ROW, S) ROW(INT, S, split) ROW(INT, S, metric) ROW(INT, S, compare) ROW(REAL, S, value) \
    ROW(TEXT, S, text)
#define TRAIN(ROW, S) ROW(TEXTS, S, metric, nmetric) ROW(INT, S, nmetric) \
    ROW(LIST, S, scalar, nscalar, scalar_struct) ROW(INT, S, nscalar) \
    ROW(LIST, S, expect, nexpect, expect_struct) ROW(INT, S, nexpect) \
    ROW(INT, S, epochs) ROW(INT, S, batch) ROW(INT, S, require_bytes) ROW(INT, S, seed)
#define ENTRY(ROW, S) ROW(INT, S, kind) ROW(INT, S, batch) ROW(INT, S, scratch_bytes) ROW(RUN, S, run)
#define LAUNCH(ROW, S) ROW(TEXT, S, kernel) ROW(INTS, S, grid) ROW(INT, S, block) ROW(INT, S, shared_bytes) ROW(INT, S, scan) \
    ROW(INT, S, steps) ROW(WORDS, S, place, nplace) ROW(INT, S, nplace) ROW(INT, S, part)
#define GPU_ENTRY(ROW, S) ROW(LIST, S, launch, nlaunch, launch_struct) ROW(INT, S, nlaunch)
#define GPU_PART(ROW, S) ROW(TEXT, S, ptx) ROW(INT, S, nptx) ROW(BYTES, S, cubin, ncubin) ROW(INT, S, ncubin)
#define GPU(ROW, S) ROW(LIST, S, part, npart, gpu_part_struct) ROW(INT, S, npart) ROW(INT, S, cubin_sm) ROW(INT, S, sm) \
    ROW(LIST, S, entry, nentry, gpu_entry_struct) ROW(INT, S, nentry) ROW(NONE, S, make)
#define IMAGE(ROW, S) ROW(INT, S, abi) ROW(INT, S, float64) ROW(TEXT, S, model) ROW(TEXT, S, text) \
    ROW(INT, S, state_bytes) ROW(BYTES, S, weights, state_bytes) \
    ROW(LIST, S, var, nvar, var_struct) ROW(INT, S, nvar) \
    ROW(LIST, S, field, nfield, field_struct) ROW(INT, S, nfield) \
    ROW(LIST, S, input, ninput, field_struct) ROW(INT, S, ninput) \
    ROW(LIST, S, output, noutput, field_struct) ROW(INT, S, noutput) \
    ROW(TEXTS, S, label, nlabel) ROW(INT, S, nlabel) \
    ROW(LIST, S, entry, nentry, entry_struct) ROW(INT, S, nentry) \
    ROW(ONE, S, train, train_struct) ROW(ONE, S, gpu, gpu_struct) ROW(NONE, S, priv)

/* A member that has no row is one without a value here, and the compiler says so (-Wmissing-field-initializers). */
#define ZERO_INT 0
#define ZERO_INTS { 0 }
#define ZERO_REAL 0
#define ZERO_TEXT NULL
#define ZERO_STRUCTS { { 0 } }
#define ZERO_TEXTS NULL
#define ZERO_LIST NULL
#define ZERO_ONE NULL
#define ZERO_BYTES NULL
#define ZERO_WORDS NULL
#define ZERO_RUN NULL
#define ZERO_NONE NULL
#define AS_ROW(part, ...) ROW_##part(__VA_ARGS__)
#define AS_ZERO(part, ...) ZERO_##part,
#define STRUCT(LIST, S, lower) \
    static const Member lower##_member[] = { LIST(AS_ROW, S) }; \
    static const Struct lower##_struct = { #S, sizeof(S), sizeof lower##_member / sizeof(Member), lower##_member }; \
    _Static_assert(sizeof((S){ LIST(AS_ZERO, S) }) == sizeof(S), "every member of " #S " has its row")

STRUCT(VAR, NndVar, var);
STRUCT(SOURCE, NndSource, source);
STRUCT(FIELD, NndField, field);
STRUCT(SCALAR, NndScalar, scalar);
STRUCT(EXPECT, NndExpect, expect);
STRUCT(TRAIN, NndTrain, train);
STRUCT(ENTRY, NndEntry, entry);
STRUCT(LAUNCH, NndLaunch, launch);
STRUCT(GPU_ENTRY, NndGpuEntry, gpu_entry);
STRUCT(GPU_PART, NndGpuPart, gpu_part);
STRUCT(GPU, NndGpu, gpu);
STRUCT(IMAGE, NndImage, image);

/* ---- structs to constants ---- */

typedef struct Writer {
    Arena             *mem;
    LLVMContextRef     C;
    LLVMModuleRef      M;
    LLVMTargetDataRef  layout;
    LLVMValueRef      *run;        /* of each entry; NULL: they run on a GPU */
} Writer;

static LLVMValueRef write_struct(Writer *w, const Struct *s, const char *at, int64_t i);

static LLVMValueRef null_pointer(Writer *w) { return LLVMConstNull(LLVMPointerTypeInContext(w->C, 0)); }

/* A constant that only this object sees. */
static LLVMValueRef keep(Writer *w, LLVMValueRef v, const char *name)
{
    LLVMValueRef g = LLVMAddGlobal(w->M, LLVMTypeOf(v), name);

    LLVMSetInitializer(g, v);
    LLVMSetGlobalConstant(g, true);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
    return g;
}

static uint64_t read_int(const char *at, size_t nbytes)
{
    uint64_t wide = 0;
    uint32_t half;

    if (nbytes == 1)
        return *(const uint8_t *)at;
    if (nbytes == 4) {
        memcpy(&half, at, 4);
        return half;
    }
    assert(nbytes == 8 && "integers of an image have 1, 4 or 8 bytes");
    memcpy(&wide, at, 8);
    return wide;
}

static const void *read_pointer(const char *at)
{
    const void *p;

    memcpy(&p, at, sizeof p);
    return p;
}

static LLVMValueRef write_real(Writer *w, const char *at)
{
    double x;

    memcpy(&x, at, sizeof x);
    return LLVMConstReal(LLVMDoubleTypeInContext(w->C), x);
}

static LLVMValueRef write_text(Writer *w, const char *text)
{
    return text ? keep(w, LLVMConstStringInContext2(w->C, text, strlen(text), false), "text") : null_pointer(w);
}

static LLVMValueRef write_bytes(Writer *w, const char *bytes, int64_t n)
{
    LLVMValueRef g;

    if (!bytes)
        return null_pointer(w);
    g = keep(w, LLVMConstStringInContext2(w->C, bytes, (size_t)n, true), "bytes");
    LLVMSetAlignment(g, NND_ALIGN);
    return g;
}

static LLVMValueRef write_words(Writer *w, const int64_t *word, int64_t n)
{
    LLVMTypeRef   i64 = LLVMInt64TypeInContext(w->C);
    LLVMValueRef *v = arena_array(w->mem, LLVMValueRef, (int)n + 1);

    if (!word || n < 1)
        return null_pointer(w);
    for (int64_t i = 0; i < n; i++)
        v[i] = LLVMConstInt(i64, (uint64_t)word[i], true);
    return keep(w, LLVMConstArray2(i64, v, (uint64_t)n), "words");
}

/* What a member points to: n structs, or n texts. */
static LLVMValueRef write_list(Writer *w, const Struct *of, const char *at, int64_t n)
{
    LLVMValueRef *v = arena_array(w->mem, LLVMValueRef, (int)n + 1);

    if (!at || n < 1)
        return null_pointer(w);
    for (int64_t i = 0; i < n; i++)
        v[i] = of ? write_struct(w, of, at + i * (int64_t)of->nbytes, i) : write_text(w, ((const char *const *)at)[i]);
    return keep(w, LLVMConstArray2(LLVMTypeOf(v[0]), v, (uint64_t)n), of ? of->name : "texts");
}

/* Member or array element at `at` of the struct at `base`, which is number i of its list. */
static LLVMValueRef write_part(Writer *w, const Member *m, const char *base, const char *at, int64_t i)
{
    int64_t n = m->count_bytes ? (int64_t)read_int(base + m->count_at, m->count_bytes) : 1;
    unsigned bits = (unsigned)m->each * 8;

    switch (m->part) {
    case PART_INT:   return LLVMConstInt(LLVMIntTypeInContext(w->C, bits), read_int(at, m->each), false);
    case PART_REAL:  return write_real(w, at);
    case PART_TEXT:  return write_text(w, read_pointer(at));
    case PART_TEXTS:
    case PART_LIST:  return write_list(w, m->of, read_pointer(at), n);
    case PART_STRUCT: return write_struct(w, m->of, at, 0);
    case PART_BYTES: return write_bytes(w, read_pointer(at), n);
    case PART_WORDS: return write_words(w, read_pointer(at), n);
    case PART_RUN:   return w->run ? w->run[i] : null_pointer(w);
    case PART_NONE:  return null_pointer(w);
    }
    return NULL;
}

static LLVMValueRef write_member(Writer *w, const Member *m, const char *base, int64_t i)
{
    int n = (int)(m->nbytes / m->each);
    LLVMValueRef *v = arena_array(w->mem, LLVMValueRef, n);

    for (int k = 0; k < n; k++)
        v[k] = write_part(w, m, base, base + m->offset + (size_t)k * m->each, i);
    return n == 1 ? v[0] : LLVMConstArray2(LLVMTypeOf(v[0]), v, (uint64_t)n);
}

/* The target lays a struct out as this program's compiler does. */
static void check_layout(const Writer *w, const Struct *s, LLVMTypeRef type)
{
    assert(LLVMABISizeOfType(w->layout, type) == s->nbytes && "a struct is as large as in C");
    for (int i = 0; i < s->nmember; i++)
        assert(LLVMOffsetOfElement(w->layout, type, (unsigned)i) == s->member[i].offset && "members lie as in C");
    (void)w, (void)s, (void)type;
}

static LLVMValueRef write_struct(Writer *w, const Struct *s, const char *at, int64_t i)
{
    LLVMValueRef *v = arena_array(w->mem, LLVMValueRef, s->nmember), value;

    for (int k = 0; k < s->nmember; k++)
        v[k] = write_member(w, &s->member[k], at, i);
    value = LLVMConstStructInContext(w->C, v, (unsigned)s->nmember, false);
    check_layout(w, s, LLVMTypeOf(value));
    return value;
}

static LLVMValueRef publish(Writer *w, LLVMValueRef value, const char *name)
{
    LLVMValueRef g = LLVMAddGlobal(w->M, LLVMTypeOf(value), name);

    LLVMSetInitializer(g, value);
    LLVMSetGlobalConstant(g, true);
    return g;
}

void cpu_image(LLVMModuleRef M, Arena *mem, const NndImage *im, LLVMValueRef *run, bool as_program)
{
    Writer w = { .mem = mem, .C = LLVMGetModuleContext(M), .M = M, .layout = LLVMGetModuleDataLayout(M), .run = run };
    LLVMValueRef value = write_struct(&w, &image_struct, (const char *)im, 0), image;

    image = publish(&w, value, arena_printf(mem, "nnd_%s", im->model));
    if (!as_program)
        return;
    LLVMSetLinkage(image, LLVMInternalLinkage);      /* a model called infer would get in the way of the runtime */
    publish(&w, image, "nnd_program_image");
}
