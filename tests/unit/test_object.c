/* test_object.c - a model's object and header without a compiler beside them: tables, bits, symbols.
 *
 * The object is linked into a shared library, and into a program through its header; both must hold and compute what
 * the image in memory does.  That needs a C compiler: $CC, or cc; without one the tests are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/compile.h"
#include "runtime/nnd.h"

/* Something of everything that an image holds; inputs are called what C and C++ have other plans for. */
static const char model_text[] =
    "nnd 1\n"
    "data points(register: u8[4, 5], weight: f32[3], class: u8) {\n"
    "    train: idx(\"a-images\", \"a-weights\", \"a-classes\")\n"
    "    test:  idx(\"b-images\", \"b-weights\", \"b-classes\")\n"
    "    labels: [\"one\", \"two \\\"quoted\\\"\", \"three\"]\n"
    "}\n"
    "optimizer heavy(w: f32[S...], g: f32[S...], lr: input float = 0.25, beta: float = 0.9) {\n"
    "    state v: f32[S...] = zeros\n"
    "    v' = beta*v + g\n"
    "    w' = w - lr * v'\n"
    "}\n"
    "model tiny(register: u8[N, 4, 5], class: f32[N, 3]) -> f32[N, 3] {\n"
    "    x = flatten(f32(register)) / 255\n"
    "    h = tanh(a: linear(x, 7))\n"
    "    return softmax(b: linear(h, 3)) * class\n"
    "}\n"
    "train tiny on points {\n"
    "    p = tiny(register, weight)\n"
    "    minimize mse(p, one_hot(class, 3))\n"
    "    metric accuracy = mean(argmax(p) == class)\n"
    "    optimizer: heavy(lr: 0.25)\n"
    "    batch: 8\n"
    "    epochs: 3\n"
    "    seed: 7\n"
    "    expect: test.accuracy >= 0.25\n"
    "}\n";

/* Calls both functions of the header on made-up rows and writes what comes out. */
static const char main_text[] =
    "#include \"tiny.h\"\n"
    "#include \"runtime/abi.h\"\n"
    "#include <stdio.h>\n"
    "int main(void)\n"
    "{\n"
    "    static unsigned char room[NND_TINY_INFER_5_SCRATCH_BYTES + NND_TINY_INFER_1_SCRATCH_BYTES + NND_ALIGN];\n"
    "    void *scratch = room + (NND_ALIGN - (uintptr_t)room % NND_ALIGN) % NND_ALIGN;\n"
    "    uint8_t x[NND_TINY_INFER_5_BATCH * 20];\n"
    "    float y[NND_TINY_INFER_5_BATCH * 3], out[NND_TINY_INFER_5_BATCH * 3], one[3];\n"
    "    for (int i = 0; i < 100; i++) x[i] = (uint8_t)(i * 37 + 11);\n"
    "    for (int i = 0; i < 15; i++) y[i] = (float)i * 0.25f - 1;\n"
    "    if (NND_TINY_STATE_BYTES != nnd_tiny.state_bytes) return 3;\n"
    "    if (nnd_tiny_infer_5(NULL, scratch, x, y, out)) return 1;\n"
    "    if (nnd_tiny_infer_1(nnd_tiny.weights, scratch, x, y, one)) return 2;\n"
    "    fwrite(out, sizeof out, 1, stdout);\n"
    "    fwrite(one, sizeof one, 1, stdout);\n"
    "    return 0;\n"
    "}\n";

enum { BATCH = 5, TRAIN_BATCH = 8, ROWS = 24, STEPS = 3 };

static const EntryWant wanted[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, TRAIN_BATCH }, { ENTRY_INFER, BATCH },
                                    { ENTRY_INFER, 1 } };
enum { NWANTED = sizeof wanted / sizeof *wanted };

typedef struct World {
    Arena           mem;
    Model          *md;
    CompileOptions  o;
    Compiled        jit;
    NndSession      session;       /* initialised; its state is the object's weights */
    char            dir[64];
    char           *object;        /* its bytes */
    size_t          nobject;
    void           *library;
    const NndImage *image;         /* in the library */
} World;

/* ---- files and commands ---- */

static const char *at(World *w, const char *name) { return arena_printf(&w->mem, "%s/%s", w->dir, name); }

static void put(World *w, const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(at(w, name), "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static char *get(World *w, const char *name, size_t *n)
{
    FILE *f = fopen(at(w, name), "rb");
    char *bytes = arena_alloc(&w->mem, 1 << 20, 1);

    assert_non_null(f);
    *n = fread(bytes, 1, 1 << 20, f);
    fclose(f);
    return bytes;
}

/* A command in the folder of the files; its exit status. */
static int shell(World *w, const char *command)
{
    return system(arena_printf(&w->mem, "cd '%s' && %s", w->dir, command));
}

static const char *root(void) { return getenv("NND_ROOT") ? getenv("NND_ROOT") : "."; }
static const char *cc(void) { return getenv("CC") && *getenv("CC") ? getenv("CC") : "cc"; }

static void need_compiler(World *w)
{
    if (!shell(w, arena_printf(&w->mem, "%s --version >/dev/null 2>&1", cc())))
        return;
    print_message("# skipped: no C compiler `%s` here\n", cc());
    skip();
}

static void compiler(World *w, const char *arguments)
{
    assert_int_equal(shell(w, arena_printf(&w->mem, "%s %s", cc(), arguments)), 0);
}

/* ---- the model, in memory and as files ---- */

static void emit(World *w, EmitKind kind, const BackendOptions *target, char **bytes, size_t *n)
{
    CompileOptions o = w->o;
    FILE *f = open_memstream(bytes, n);
    const char *why;

    o.target = *target;
    if ((why = compile_emit(f, w->md, NWANTED, wanted, kind, &o, &w->mem)))
        fail_msg("%s", why);
    fclose(f);
}

static int open_world(void **state)
{
    static const FrontOptions front = { 0 };
    World *w = calloc(1, sizeof *w);
    char text[128], why[256] = "";
    FILE *f;

    *state = w;
    strcpy(w->dir, "/tmp/nnd_object_XXXXXX");
    w->md = model_parse("tiny.nnd", model_text, strlen(model_text), &front);
    w->o = (CompileOptions){ .backend = &backend_cpu, .target = { .opt_level = 1 }, .rule_limit = -1 };
    if (!mkdtemp(w->dir) || !backend_cpu.probe(&w->o.target, &w->o.limits, text, sizeof text, why, sizeof why))
        return -1;
    if (!model_check(w->md)) {
        print_message("# %s\n", model_diag(w->md)->text);
        return -1;
    }
    if (compile_model(&w->jit, w->md, NWANTED, wanted, &w->o, &w->mem) ||
        nnd_session_open(&w->session, w->jit.image, ROWS, NULL) || nnd_session_init(&w->session, 7, NULL))
        return -1;
    BackendOptions target = { .opt_level = 1, .weights = w->session.state };

    emit(w, EMIT_OBJ, &target, &w->object, &w->nobject);
    put(w, "tiny.o", w->object, w->nobject);
    put(w, "main.c", main_text, strlen(main_text));
    f = fopen(at(w, "tiny.h"), "w");
    return !f || compile_header(f, w->md, NWANTED, wanted, &w->o, &w->mem) || fclose(f);
}

static int close_world(void **state)
{
    World *w = *state;

    if (w->library)
        dlclose(w->library);
    shell(w, "rm -f tiny.o tiny.h tiny.so main.c main main.out alone.c alone.cc program.o program.so");
    rmdir(w->dir);
    free(w->object);
    nnd_session_close(&w->session);
    compiled_free(&w->jit);
    model_free(w->md);
    arena_free(&w->mem);
    free(w);
    return 0;
}

/* No text relocations, nothing undefined but the C library and its maths, no warning of the linker. */
static void *link_shared(World *w, const char *name)
{
    void *library;

    compiler(w, arena_printf(&w->mem, "-shared -o %s.so %s.o -lm -Wl,--no-undefined -Wl,-z,text -Wl,--fatal-warnings",
                             name, name));
    library = dlopen(at(w, arena_printf(&w->mem, "%s.so", name)), RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail_msg("%s", dlerror());
    return library;
}

static void link_library(World *w)
{
    if (w->library)
        return;
    need_compiler(w);
    w->library = link_shared(w, "tiny");
    w->image = dlsym(w->library, "nnd_tiny");
    assert_non_null(w->image);
}

/* ---- tables ---- */

#define SAME(member) assert_true(a->member == b->member)
#define SAME_BYTES(member) assert_memory_equal(a->member, b->member, sizeof a->member)
#define SAME_TEXT(member) same_text(a->member, b->member)

static void same_text(const char *a, const char *b)
{
    if (a && b)
        assert_string_equal(a, b);
    else
        assert_true(!a && !b);
}

static void same_vars(const NndVar *a, const NndVar *b, int n)
{
    for (; n-- > 0; a++, b++) {
        SAME_TEXT(name);
        SAME(kind), SAME(dtype), SAME(rank), SAME(offset);
        SAME_BYTES(dim);
        SAME_BYTES(stride);
    }
}

static void same_fields(const NndField *a, const NndField *b, int n)
{
    for (; n-- > 0; a++, b++) {
        SAME_TEXT(name);
        SAME(dtype), SAME(rank), SAME(bound);
        SAME_BYTES(dim);
        SAME(nlabel);
        for (int i = 0; i < a->nlabel; i++)
            SAME_TEXT(label[i]);
        for (int i = 0; i < NND_NSPLIT; i++) {
            SAME(source[i].format), SAME(source[i].npart), SAME(source[i].stride), SAME(source[i].number);
            SAME_TEXT(source[i].file);
            for (int j = 0; j < a->source[i].npart; j++)
                SAME_TEXT(source[i].part[j]);
            assert_true(a->source[i].from == b->source[i].from && a->source[i].to == b->source[i].to);
        }
    }
}

static void same_entries(const NndEntry *a, const NndEntry *b, int n)
{
    for (; n-- > 0; a++, b++) {
        SAME(kind), SAME(batch), SAME(scratch_bytes);
        assert_true(b->run != NULL);
    }
}

static void same_train(const NndTrain *a, const NndTrain *b)
{
    SAME(nmetric), SAME(nscalar), SAME(nexpect), SAME(epochs), SAME(batch), SAME(require_bytes), SAME(seed);
    assert_true(a->nmetric == 2 && a->nscalar == 1 && a->nexpect == 1);
    for (int i = 0; i < a->nmetric; i++)
        SAME_TEXT(metric[i]);
    for (int i = 0; i < a->nscalar; i++) {
        SAME_TEXT(scalar[i].name);
        SAME(scalar[i].value);
    }
    for (int i = 0; i < a->nexpect; i++) {
        SAME(expect[i].split), SAME(expect[i].metric), SAME(expect[i].compare), SAME(expect[i].value);
        SAME_TEXT(expect[i].text);
    }
}

static void test_tables(void **state)
{
    World *w = *state;

    link_library(w);
    const NndImage *a = w->jit.image, *b = w->image;

    SAME(abi), SAME(float64), SAME(state_bytes);
    SAME_TEXT(model);
    SAME_TEXT(text);
    assert_string_equal(b->text, model_text);
    assert_int_equal((uintptr_t)b->weights % NND_ALIGN, 0);
    assert_memory_equal(b->weights, w->session.state, (size_t)a->state_bytes);
    SAME(nvar), SAME(nfield), SAME(ninput), SAME(noutput), SAME(nlabel), SAME(nentry);
    assert_true(b->nvar == 8 && b->nfield == 3 && b->ninput == 2 && b->noutput == 1 && b->nentry == NWANTED);
    same_vars(a->var, b->var, a->nvar);
    same_fields(a->field, b->field, a->nfield);
    same_fields(a->input, b->input, a->ninput);
    same_fields(a->output, b->output, a->noutput);
    same_entries(a->entry, b->entry, a->nentry);
    same_train(a->train, b->train);
    for (int i = 0; i < a->nlabel; i++)
        SAME_TEXT(label[i]);
    assert_null(b->priv);
}

/* ---- bits ---- */

typedef struct Result { float out[BATCH * 3], one[3]; } Result;

/* The rows of main_text. */
static void made_up(uint8_t *x, float *y, int n)
{
    for (int i = 0; i < n * 20; i++)
        x[i] = (uint8_t)(i * 37 + 11);
    for (int i = 0; i < n * 3; i++)
        y[i] = (float)i * 0.25f - 1;
}

static void run(World *w, const NndImage *im, NndEntryKind kind, int64_t batch, NndCall *call)
{
    const NndEntry *e = nnd_entry_find(im, kind, batch);

    assert_non_null(e);
    call->scratch = w->session.scratch;
    assert_int_equal(e->run(im, e, call), 0);
}

static Result infer(World *w, const NndImage *im, const void *weights)
{
    uint8_t x[BATCH * 20];
    float y[BATCH * 3];
    Result r = { 0 };
    NndCall call = { .state = (void *)weights, .field = (const void *[]){ x, y }, .nbatch = 1 };

    made_up(x, y, BATCH);
    call.out = (void *[]){ r.out };
    run(w, im, NND_INFER, BATCH, &call);
    call.out = (void *[]){ r.one };
    run(w, im, NND_INFER, 1, &call);
    return r;
}

static void test_infer(void **state)
{
    World *w = *state;

    link_library(w);
    Result a = infer(w, w->jit.image, w->session.state), b = infer(w, w->image, w->image->weights);

    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_equal(a.out, a.one, sizeof a.one);
    assert_true(a.out[0] != 0);
}

/* The state after some steps from the weights, with the model's own scalars; figures. */
static char *train(World *w, const NndImage *im, double *figure)
{
    uint8_t x[ROWS * 20], class[ROWS];
    float y[ROWS * 3];
    int32_t row[TRAIN_BATCH * STEPS];
    size_t n = (size_t)im->state_bytes;
    char *s = aligned_alloc(NND_ALIGN, (n + NND_ALIGN - 1) / NND_ALIGN * NND_ALIGN);
    NndCall call = { .state = s, .field = (const void *[]){ x, y, class }, .row = row, .nbatch = STEPS, .step = 1,
                     .steps = STEPS, .epoch = 1, .seed = 7, .metric_out = figure };

    memcpy(s, w->session.state, n);
    made_up(x, y, ROWS);
    for (int i = 0; i < ROWS; i++) {
        class[i] = (uint8_t)(i % 3);
        row[i] = (i * 7 + 2) % ROWS;
    }
    run(w, im, NND_TRAIN, TRAIN_BATCH, &call);
    return s;
}

static void test_train(void **state)
{
    World *w = *state;
    double fa[STEPS * 2], fb[STEPS * 2];

    link_library(w);
    size_t n = (size_t)w->image->state_bytes;
    char *a = train(w, w->jit.image, fa), *b = train(w, w->image, fb);

    assert_memory_equal(a, b, n);
    assert_memory_equal(fa, fb, sizeof fa);
    assert_true(memcmp(a, w->session.state, n) != 0);
    free(a);
    free(b);
}

/* A session of the runtime takes the object's image as any other, and begins with its weights or its init entry. */
static void test_session(void **state)
{
    World *w = *state;
    NndSession s;

    link_library(w);
    assert_int_equal(nnd_session_open(&s, w->image, ROWS, NULL), 0);
    assert_int_equal(nnd_session_init(&s, 7, NULL), 0);
    assert_memory_equal(s.state, w->session.state, (size_t)w->image->state_bytes);
    nnd_session_close(&s);
}

/* ---- symbols ---- */

static bool is_listed(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(name, *list))
            return true;
    return false;
}

/* What backends/README.md says an object may ask for. */
static const char *const imports[] = {
    "exp", "log", "tanh", "erf", "sin", "cos", "pow", "fma", "floor",
    "fmaf", "floorf",
    "memset", "memcpy", "memmove", "_GLOBAL_OFFSET_TABLE_", NULL
};

/* Of all symbols that an object exports there is this one. */
static void check_symbols(const char *object, const char *export)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)object;
    const Elf64_Shdr *section = (const Elf64_Shdr *)(object + head->e_shoff);
    int nexport = 0;

    for (int i = 0; i < head->e_shnum; i++) {
        const Elf64_Sym *sym = (const Elf64_Sym *)(object + section[i].sh_offset);
        const char *names = object + section[section[i].sh_link].sh_offset;

        for (size_t k = 1; section[i].sh_type == SHT_SYMTAB && k < section[i].sh_size / sizeof *sym; k++) {
            const char *name = names + sym[k].st_name;
            bool is_local = ELF64_ST_BIND(sym[k].st_info) == STB_LOCAL, is_import = sym[k].st_shndx == SHN_UNDEF;

            if (!is_local && !(is_import ? is_listed(name, imports) : !strcmp(name, export)))
                fail_msg("the object %s %s", is_import ? "needs" : "exports", name);
            nexport += !is_local && !is_import;
        }
    }
    assert_int_equal(nexport, 1);
}

static void test_symbols(void **state)
{
    World *w = *state;

    check_symbols(w->object, "nnd_tiny");
}

/* A program's model may be called anything, infer and fit of the runtime too. */
static void test_program_object(void **state)
{
    World *w = *state;
    BackendOptions target = { .opt_level = 1, .as_program = true };
    const NndImage *im;
    void *library;
    char *object;
    size_t n;

    emit(w, EMIT_OBJ, &target, &object, &n);
    check_symbols(object, "nnd_program_image");
    put(w, "program.o", object, n);
    free(object);
    need_compiler(w);
    library = link_shared(w, "program");
    im = *(const NndImage *const *)dlsym(library, "nnd_program_image");
    assert_string_equal(im->model, "tiny");
    assert_null(im->weights);
    dlclose(library);
}

/* The image is constant: nothing of an object is written to but by the loader. */
static void test_sections(void **state)
{
    World *w = *state;
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)w->object;
    const Elf64_Shdr *section = (const Elf64_Shdr *)(w->object + head->e_shoff);
    const char *names = w->object + section[head->e_shstrndx].sh_offset;

    for (int i = 0; i < head->e_shnum; i++) {
        const char *name = names + section[i].sh_name;

        if ((section[i].sh_flags & SHF_WRITE) && section[i].sh_size && strncmp(name, ".data.rel.ro", 12))
            fail_msg("section %s is writable", name);
    }
}

static void test_text(void **state)
{
    World *w = *state;
    BackendOptions bare = { .opt_level = 1 }, whole = { .opt_level = 1, .with_image = true };
    char *text;
    size_t n;

    emit(w, EMIT_LLVM, &bare, &text, &n);
    assert_null(strstr(text, "nnd_tiny"));
    free(text);
    emit(w, EMIT_LLVM, &whole, &text, &n);
    assert_non_null(strstr(text, "@nnd_tiny = constant"));
    assert_non_null(strstr(text, "define internal i32 @run_infer_5("));
    assert_null(strstr(text, "nnd_program_image"));
    free(text);
    emit(w, EMIT_ASM, &whole, &text, &n);
    assert_non_null(strstr(text, "nnd_tiny:"));
    free(text);
}

/* ---- the header ---- */

static void test_header(void **state)
{
    static const char alone[] = "#include \"tiny.h\"\nint vars(void);\nint vars(void) { return nnd_tiny.nvar; }\n";
    World *w = *state;
    size_t n;

    need_compiler(w);
    put(w, "alone.c", alone, strlen(alone));
    put(w, "alone.cc", alone, strlen(alone));
    compiler(w, "-std=c99 -Wall -Wextra -Werror -fsyntax-only alone.c");
    if (!shell(w, "c++ --version >/dev/null 2>&1"))
        assert_int_equal(shell(w, "c++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only alone.cc"), 0);
    else
        print_message("# no C++ compiler here: the header is not tried as C++\n");
    assert_non_null(strstr(get(w, "tiny.h", &n), "const uint8_t *in_register, const float *in_class, float *out)"));
}

/* Without a second batch there is no number in names. */
static void test_header_of_one(void **state)
{
    World *w = *state;
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    assert_null(compile_header(f, w->md, 1, &wanted[2], &w->o, &w->mem));
    fclose(f);
    assert_non_null(strstr(text, "static inline int nnd_tiny_infer(const void *state, void *scratch,"));
    assert_non_null(strstr(text, "#define NND_TINY_INFER_BATCH 5\n"));
    free(text);
}

static void test_program(void **state)
{
    World *w = *state;
    Result want = infer(w, w->jit.image, w->session.state);
    char *got;
    size_t n;

    need_compiler(w);
    compiler(w, arena_printf(&w->mem, "-std=c99 -Wall -Wextra -Werror -I'%s' -o main main.c tiny.o -lm", root()));
    assert_int_equal(shell(w, "./main >main.out"), 0);
    got = get(w, "main.out", &n);
    assert_int_equal(n, sizeof want);
    assert_memory_equal(got, &want, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables), cmocka_unit_test(test_infer), cmocka_unit_test(test_train),
        cmocka_unit_test(test_session), cmocka_unit_test(test_symbols), cmocka_unit_test(test_program_object),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_text), cmocka_unit_test(test_header), cmocka_unit_test(test_header_of_one),
        cmocka_unit_test(test_program),
    };

    return cmocka_run_group_tests_name("object", tests, open_world, close_world);
}
