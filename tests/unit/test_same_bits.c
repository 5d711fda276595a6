/* test_same_bits.c - functions of the compiled code within their bounds, and bits that depend on nothing but the model.
 *
 * Functions are compared with double precision over all exponents; the bounds are those of backends/README.md.
 * The rest trains the perceptron for some steps on made-up rows in several ways that must give the same bits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "frontend/compile.h"
#include "runtime/nnd.h"

/* ---- functions ---- */

enum { SAMPLES = 1 << 20, BITS_APART = 4093 };      /* 4093 is prime: every exponent, all sorts of fractions */

static float from_bits(uint32_t b)
{
    float x;

    memcpy(&x, &b, sizeof x);
    return x;
}

/* Units in the last place of the float nearest to want, denormals' own below the smallest normal. */
static double ulps(float got, double want)
{
    int e;

    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    if ((float)want == got)
        return 0;
    if (isinf((float)want) || isinf(got))
        return INFINITY;
    frexp(want, &e);
    return fabs((double)got - want) / ldexp(1, e - 24 < -149 ? -149 : e - 24);
}

static double exact(Op op, double x)
{
    switch (op) {
    case OP_exp:     return exp(x);
    case OP_log:     return log(x);
    case OP_tanh:    return tanh(x);
    case OP_erf:     return erf(x);
    case OP_sigmoid: return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
    default:         return x;
    }
}

/* y = op(x), compiled: one parameter in, one state out. */
static Module *function_module(Op op, int64_t n)
{
    Module *m = module_new();
    Loc none = { 0 };
    Type t = ty_make(DT_f32, 1, &n);
    int x = module_add_slot(m, "x", SLOT_param, t, none), y = module_add_slot(m, "y", SLOT_state, t, none);
    Graph *g = graph_new(m, ENTRY_TRAIN, 1);

    graph_write(g, none, y, graph_op1(g, op, none, graph_read(g, none, x)));
    module_add_graph(m, g);
    return m;
}

static Limits host_limits(const BackendOptions *o)
{
    Limits l;
    char text[256], why[256];

    assert_true(backend_cpu.probe(o, &l, text, sizeof text, why, sizeof why));
    return l;
}

static NndImage *compile(Module *m, const BackendOptions *o)
{
    Pipeline p = { .options = { .limits = host_limits(o), .rule_limit = -1 } };
    char why[512] = "";
    const char *fault = pipeline_run(m, &p);
    NndImage *im;

    assert_null(fault);
    im = backend_cpu.load(m, o, why, sizeof why);
    if (!im)
        print_message("# %s\n", why);
    assert_non_null(im);
    return im;
}

static void run_image(const NndImage *im, void *state)
{
    void *scratch = aligned_alloc(NND_ALIGN, (size_t)im->entry[0].scratch_bytes + NND_ALIGN);
    NndCall call = { .state = state, .scratch = scratch, .nbatch = 1, .step = 1 };

    assert_int_equal(im->entry[0].run(im, &im->entry[0], &call), 0);
    free(scratch);
}

static void check_function(Op op, double bound)
{
    BackendOptions o = { .opt_level = 2 };
    Module *m = function_module(op, SAMPLES);
    NndImage *im = compile(m, &o);
    char *state = aligned_alloc(NND_ALIGN, (size_t)im->state_bytes);
    float *x = (float *)(state + im->var[0].offset), *y = (float *)(state + im->var[1].offset);
    static const float special[] = { 0.f, -0.f, INFINITY, -INFINITY, NAN, 1, -1, 88.72284f, 88.7229f, -87.3365f, -103.9721f,
                                     -104.f, 0x1p-149f, -0x1p-149f, 0x1p-126f, 0x1.fffffep127f, -0x1.fffffep127f, .625f, -.625f };
    double worst = 0;
    float at = 0;

    for (uint32_t i = 0; i < SAMPLES; i++)
        x[i] = from_bits(i * BITS_APART);
    memcpy(x, special, sizeof special);
    run_image(im, state);
    for (int i = 0; i < SAMPLES; i++) {
        double d = ulps(y[i], exact(op, x[i]));

        if (d > worst) {
            worst = d;
            at = x[i];
        }
    }
    print_message("# %s: at most %.2f ulp, at %.9g\n", op_info[op].name, worst, (double)at);
    assert_true(worst <= bound);
    free(state);
    backend_cpu.unload(im);
    module_free(m);
}

static void test_functions(void **state)
{
    (void)state;
    check_function(OP_exp, 1.5);
    check_function(OP_log, 1.5);
    check_function(OP_tanh, 3);
    check_function(OP_sigmoid, 3);
    check_function(OP_erf, 1.5);
}

/* gelu as the library composes it: x / 2 * (1 + erf(x / sqrt 2)). */
static Module *gelu_module(int64_t n)
{
    Module *m = module_new();
    Loc none = { 0 };
    Type t = ty_make(DT_f32, 1, &n);
    int in = module_add_slot(m, "x", SLOT_param, t, none), out = module_add_slot(m, "y", SLOT_state, t, none);
    Graph *g = graph_new(m, ENTRY_TRAIN, 1);
    Ref x = graph_read(g, none, in), e = graph_op1(g, OP_erf, none, graph_op2(g, OP_mul, none, x, graph_const(g, none, t, 0.7071067811865476)));
    Ref half = graph_op2(g, OP_mul, none, x, graph_const(g, none, t, .5));

    graph_write(g, none, out, graph_op2(g, OP_mul, none, half, graph_op2(g, OP_add, none, e, graph_const(g, none, t, 1))));
    module_add_graph(m, g);
    return m;
}

/* Below 0 the sum 1 + erf cancels, so what is bounded there is the error as a part of x; from 0 on, that of the result. */
static void test_gelu(void **state)
{
    BackendOptions o = { .opt_level = 2 };
    Module *m = gelu_module(SAMPLES);
    NndImage *im = compile(m, &o);
    char *memory = aligned_alloc(NND_ALIGN, (size_t)im->state_bytes);
    float *x = (float *)(memory + im->var[0].offset), *y = (float *)(memory + im->var[1].offset);
    double worst = 0, worst_below = 0;

    (void)state;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        x[i] = from_bits(i * BITS_APART);
        x[i] = isfinite(x[i]) ? x[i] : 1;
    }
    run_image(im, memory);
    for (int i = 0; i < SAMPLES; i++) {
        double want = x[i] * .5 * erfc(-x[i] * 0.70710678118654752440), ratio = fabs(y[i] - want) / (0x1p-23 * fabs((double)x[i]) + 0x1p-149);

        if (x[i] >= 0)
            worst = fmax(worst, ulps(y[i], want));
        else
            worst_below = fmax(worst_below, ratio);
    }
    print_message("# gelu: at most %.2f ulp from 0 on, below 0 %.2f ulp of x\n", worst, worst_below);
    assert_true(worst <= 3 && worst_below <= 1);
    free(memory);
    backend_cpu.unload(im);
    module_free(m);
}

/* ---- a fold in parts ---- */

enum { FOLD = 768, GRAD_ROWS = 100, GRAD_COLUMNS = 140 };

static Module *gradient_module(void)
{
    static const char text[] = "nnd-ir 1\nmodule gradient\nslot @x : param f32[768, 100]\nslot @g : param f32[768, 140]\nslot @w : state f32[100, 140]\n"
                               "graph train 1 {\n  %1 = read @x : f32[768, 100]\n  %2 = read @g : f32[768, 140]\n"
                               "  %3 = dot %1, %2 {fold 0:0} : f32[100, 140]\n  %4 = neg %3 : f32[100, 140]\n  write @w, %4\n}\n";
    Module *m = module_read("gradient", text, strlen(text));

    assert_non_null(m);
    return m;
}

/* A part of such a fold ends here and the next begins there (passes/schedule_block.c), and the sum is still that of the rows in their order. */
static void test_parts(void **state)
{
    static const char *const cpus[] = { NULL, "x86-64-v3" };

    (void)state;
    for (int c = 0; c < 2; c++) {
        BackendOptions o = { .opt_level = 1, .cpu = cpus[c] };
        Module *m = gradient_module();
        NndImage *im = compile(m, &o);
        char *memory = aligned_alloc(NND_ALIGN, (size_t)im->state_bytes);
        float *x = (float *)(memory + im->var[0].offset), *g = (float *)(memory + im->var[1].offset), *w = (float *)(memory + im->var[2].offset);

        for (int i = 0; i < FOLD * GRAD_ROWS; i++)
            x[i] = sinf((float)i);
        for (int i = 0; i < FOLD * GRAD_COLUMNS; i++)
            g[i] = cosf((float)i * .7f);
        run_image(im, memory);
        for (int r = 0; r < GRAD_ROWS; r++)
            for (int k = 0; k < GRAD_COLUMNS; k++) {
                float sum = 0;

                for (int i = 0; i < FOLD; i++)
                    sum = fmaf(x[i * GRAD_ROWS + r], g[i * GRAD_COLUMNS + k], sum);
                assert_true(w[r * GRAD_COLUMNS + k] == -sum);
            }
        free(memory);
        backend_cpu.unload(im);
        module_free(m);
    }
}

/* ---- the perceptron, in several ways ---- */

enum { ROWS = 100, BATCH = 16, STEPS = 12 };

static char *read_model(void)
{
    const char *root = getenv("NND_ROOT");
    char path[1024], *text = calloc(1, 1 << 16);
    FILE *f;

    snprintf(path, sizeof path, "%s/models/mlp.nnd", root ? root : ".");
    f = fopen(path, "rb");
    assert_non_null(f);
    assert_true(fread(text, 1, (1 << 16) - 1, f) > 0);
    fclose(f);
    return text;
}

typedef struct Run { char *state; int64_t nbytes; double metric[STEPS * 2]; } Run;

static void made_up_rows(uint8_t *image, uint8_t *label, int32_t *row)
{
    uint64_t s = 1;

    for (int i = 0; i < ROWS * 784; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        image[i] = (uint8_t)(s >> 56);
    }
    for (int i = 0; i < ROWS; i++)
        label[i] = (uint8_t)(i * 7 % 10);
    for (int i = 0; i < BATCH * STEPS; i++)
        row[i] = (i * 37 + 5) % ROWS;
}

/* init, then STEPS steps in one call. */
static Run train(const Backend *be, const BackendOptions *o, const NndPar *par)
{
    FrontOptions front = { 0 };
    EntryWant want[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, BATCH } };
    char *text = read_model(), why[512] = "";
    static uint8_t image[ROWS * 784], label[ROWS];
    static int32_t row[BATCH * STEPS];
    const void *field[] = { image, label };
    Model *md = model_parse("mlp.nnd", text, strlen(text), &front);
    Module *m;
    NndImage *im;
    NndSession s;
    Run r = { 0 };

    made_up_rows(image, label, row);
    assert_non_null(model_check(md));
    m = model_build(md, want, 2);
    assert_non_null(m);
    Pipeline p = { .options = { .limits = host_limits(o), .rule_limit = -1 } };
    assert_null(pipeline_run(m, &p));
    im = be->load(m, o, why, sizeof why);
    assert_non_null(im);
    assert_int_equal(nnd_session_open(&s, im, ROWS, NULL), 0);
    s.par = par;
    assert_int_equal(nnd_session_init(&s, 5, NULL), 0);
    NndCall call = { .state = s.state, .scratch = s.scratch, .field = field, .row = row, .nbatch = STEPS, .step = 1,
                     .steps = STEPS, .epoch = 1, .seed = 5, .metric_out = r.metric, .par = par };
    const NndEntry *e = nnd_entry_find(im, NND_TRAIN, BATCH);
    assert_int_equal(e->run(im, e, &call), 0);
    r.nbytes = im->state_bytes;
    r.state = malloc((size_t)r.nbytes);
    memcpy(r.state, s.state, (size_t)r.nbytes);
    nnd_session_close(&s);
    be->unload(im);
    module_free(m);
    model_free(md);
    free(text);
    return r;
}

static void same_bits(const Run *a, const Run *b)
{
    assert_int_equal(a->nbytes, b->nbytes);
    assert_memory_equal(a->state, b->state, (size_t)a->nbytes);
    assert_memory_equal(a->metric, b->metric, sizeof a->metric);
}

/* Pieces in an order and of sizes that a careless kernel would notice. */
static void backwards(const NndPar *par, NndKernel *k, const NndStep *s, int64_t n)
{
    int64_t piece = n / 3 + 1;

    (void)par;
    for (int64_t last = n; last > 0; last -= piece)
        k(s, last > piece ? last - piece : 0, last);
}

static void test_parallel(void **state)
{
    BackendOptions o = { .opt_level = 2 };
    NndPar par = { backwards };
    Run serial = train(&backend_cpu, &o, NULL), pieces = train(&backend_cpu, &o, &par);

    (void)state;
    same_bits(&serial, &pieces);
    free(serial.state);
    free(pieces.state);
}

/* Pools of more threads than there are pieces or processors too. */
static void test_threads(void **state)
{
    BackendOptions o = { .opt_level = 2 };
    Run serial = train(&backend_cpu, &o, NULL);

    (void)state;
    for (int threads = 2; threads <= 4; threads++) {
        NndPool *pool = nnd_pool_open(threads, NULL);

        assert_non_null(pool);
        Run shared = train(&backend_cpu, &o, nnd_pool_par(pool));

        same_bits(&serial, &shared);
        nnd_pool_close(pool);
        free(shared.state);
    }
    free(serial.state);
}

static void test_levels(void **state)
{
    BackendOptions fast = { .opt_level = 3 }, plain = { .opt_level = 0 };
    Run a = train(&backend_cpu, &fast, NULL), b = train(&backend_cpu, &plain, NULL);

    (void)state;
    same_bits(&a, &b);
    free(a.state);
    free(b.state);
}

/* Vectors half as long and half as many registers: other tiles, the same sums. */
static void test_narrow(void **state)
{
    BackendOptions host = { .opt_level = 2 }, narrow = { .cpu = "x86-64-v3", .opt_level = 2 };

    (void)state;
    if (host_limits(&host).lanes < 8)
        skip();
    Run a = train(&backend_cpu, &host, NULL), b = train(&backend_cpu, &narrow, NULL);

    same_bits(&a, &b);
    free(a.state);
    free(b.state);
}

/* The oracle rounds elsewhere: losses agree to some ulps of f32, which STEPS steps hardly widen. */
static void test_oracle(void **state)
{
    BackendOptions o = { .opt_level = 2 };
    Run a = train(&backend_cpu, &o, NULL), b = train(&backend_interp, &o, NULL);

    (void)state;
    for (int i = 0; i < STEPS * 2; i += 2)
        assert_true(fabs(a.metric[i] - b.metric[i]) <= 1e-5 * fabs(b.metric[i]));
    free(a.state);
    free(b.state);
}

/* ---- targets and files ---- */

static void test_unknown_cpu(void **state)
{
    BackendOptions o = { .cpu = "znver44" };
    Limits l;
    char text[64], why[128] = "";

    (void)state;
    assert_false(backend_cpu.probe(&o, &l, text, sizeof text, why, sizeof why));
    assert_non_null(strstr(why, "znver44"));
}

static char *emitted(Module *m, const BackendOptions *o, EmitKind kind, size_t *n)
{
    char why[256], *text = NULL;
    FILE *f = open_memstream(&text, n);

    assert_true(backend_cpu.emit(m, o, kind, f, why, sizeof why));
    fclose(f);
    return text;
}

static void test_emit(void **state)
{
    BackendOptions wide = { .cpu = "x86-64-v4", .opt_level = 2 }, narrow = { .cpu = "x86-64-v3", .opt_level = 2 };
    size_t n;

    (void)state;
    for (int i = 0; i < 2; i++) {
        const BackendOptions *o = i ? &narrow : &wide;
        Module *m = function_module(OP_exp, 1024);
        Pipeline p = { .options = { .limits = host_limits(o), .rule_limit = -1 } };

        assert_null(pipeline_run(m, &p));
        char *llvm = emitted(m, o, EMIT_LLVM, &n), *text = emitted(m, o, EMIT_ASM, &n);

        assert_non_null(strstr(llvm, i ? "<8 x float>" : "<16 x float>"));
        assert_non_null(strstr(text, i ? "ymm" : "zmm"));
        free(llvm);
        free(text);
        text = emitted(m, o, EMIT_OBJ, &n);
        assert_true(n > 64 && !memcmp(text, "\x7f" "ELF", 4));
        free(text);
        module_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions), cmocka_unit_test(test_gelu), cmocka_unit_test(test_parts), cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_levels),
        cmocka_unit_test(test_narrow),    cmocka_unit_test(test_oracle),   cmocka_unit_test(test_unknown_cpu),
        cmocka_unit_test(test_emit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
