/* test_cpu.c - kernels as machine code against the walker, bit for bit: operations, strides, marks, locals.
 *
 * Kernels are text that a test fills in with lanes and extents: full groups, tails of every length, one element.
 */
#include "tests/unit/cpu_rig.h"
#include "tests/unit/op_sweep.h"

static const int lane_counts[] = { 0, 4, 8, 16 };
static const int extents[] = { 1, 2, 7, 8, 15, 16, 17, 31, 33, 48, 50 };

#define EACH(i, v) (size_t i = 0; i < sizeof(v) / sizeof *(v); i++)

static void run_text(const char *text, bool extreme, const BackendOptions *o)
{
    Rig r = { .rng = { 1 }, .extreme = extreme };

    rig_same(&r, text, o);
}

/* The text filled in by the arguments. */
static void same(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void same(const char *fmt, ...)
{
    BackendOptions o = { .opt_level = 2 };
    Arena mem = { 0 };
    va_list ap;

    va_start(ap, fmt);
    run_text(arena_vprintf(&mem, fmt, ap), false, &o);
    va_end(ap);
    arena_free(&mem);
}

/* "vec 8 unroll", or nothing */
static const char *marks(int lanes, bool unroll)
{
    static const char *const text[][2] = { { "", "unroll" }, { "vec 4", "vec 4 unroll" }, { "vec 8", "vec 8 unroll" },
                                           { "vec 16", "vec 16 unroll" } };

    return text[lanes == 4 ? 1 : lanes == 8 ? 2 : lanes == 16 ? 3 : 0][unroll];
}

/* ---- operations ---- */

static void run_sweep(const char *how, int n, const BackendOptions *o)
{
    char *text = sweep_text(how, n, true);

    run_text(text, true, o);
    free(text);
}

static void test_operations(void **state)
{
    BackendOptions o = { .opt_level = 2 };

    (void)state;
    for EACH(i, lane_counts)
        run_sweep(marks(lane_counts[i], false), 37, &o);
    run_sweep("vec 16 unroll", 250, &o);
}

/* Levels that this machine has, too; what is missing (fma, rounding) comes from the C library. */
static void test_operations_on_other_cpus(void **state)
{
    static const char *const cpu[] = { "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4" };
    char text[200], why[200];
    Limits limits;

    (void)state;
    for EACH(i, cpu) {
        BackendOptions o = { .cpu = cpu[i], .opt_level = 1 }, host = { 0 };
        int width;

        assert_true(backend_cpu.probe(&host, &limits, text, sizeof text, why, sizeof why));
        width = limits.lanes;
        assert_true(backend_cpu.probe(&o, &limits, text, sizeof text, why, sizeof why));
        if (limits.lanes <= width)
            run_sweep("vec 16", 37, &o);
    }
}

/* ---- memory ---- */

#define HEAD "nnd-ir 1\nmodule t\n"
#define GRAPH "graph infer 6 {\n}\nplan infer 6 {\n"

/* Loads and stores by every stride; b2 ends at the end of its page. */
static void test_strides(void **state)
{
    (void)state;
    for EACH(l, lane_counts)
        for EACH(x, extents)
            for (int c = -2; c <= 3; c++)
                same(HEAD "slot @x : input f32[%d]\nslot @y : output f32[%d]\n" GRAPH
                     "  buffer b0 : input 0 f32[%d] @x\n  buffer b1 : output 0 f32[%d] @y\n  scratch 0\n"
                     "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 6 par {\n      for i1 < %d %s {\n"
                     "        %%0 = load b0[%d*i0 %s %d*i1 + %d] : f32\n        %%1 = load b0[%d*i0 + i1] : f32\n"
                     "        %%2 = load b0[%d*i0] : f32\n        %%3 = fma %%0, %%1, %%2 : f32\n"
                     "        store b1[%d*i0 + %d*i1], %%3\n      }\n    }\n  }\n}\n",
                     extents[x] * 4, extents[x] * 4, extents[x] * 24, extents[x] * 24, extents[x], marks(lane_counts[l], c & 1),
                     extents[x] * 4, c < 0 ? "-" : "+", c == 0 ? 1 : abs(c), c < 0 ? (extents[x] - 1) * 2 : 0, extents[x] * 4,
                     extents[x] * 4, extents[x] * 4, abs(c) > 0 ? abs(c) : 1);
}

/* A u8 column by row numbers: rows as they come along the lanes, or lanes along a row. */
static void test_rows(void **state)
{
    (void)state;
    for EACH(l, lane_counts)
        for EACH(x, extents)
            same(HEAD "slot @x : field u8[%d] \"a\" \"b\"\nslot @y : output f32[%d]\n" "graph eval %d {\n}\nplan eval %d {\n"
                 "  buffer b0 : field 0 u8[%d] @x\n  buffer b1 : scratch+0 f32[%d] live 0..1\n"
                 "  buffer b2 : scratch+%d f32[%d] live 0..1\n  scratch %d\n"
                 "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < %d {\n      for i1 < %d %s {\n"
                 "        %%0 = load b0[row i0][i1] : u8\n        %%1 = cast %%0 : f32 from u8\n        store b1[%d*i0 + i1], %%1\n      }\n    }\n  }\n"
                 "  kernel k1 \"\" scheduled flops 0 {\n    for i0 < %d %s {\n      %%0 = load b0[row i0][%d] : u8\n"
                 "      %%1 = cast %%0 : f32 from u8\n      store b2[i0], %%1\n    }\n  }\n}\n",
                 extents[x], extents[x], extents[x], extents[x], extents[x], extents[x] * extents[x], 64 * 256, extents[x], 64 * 300,
                 extents[x], extents[x], marks(lane_counts[l], false), extents[x], extents[x], marks(lane_counts[l], x & 1), extents[x] / 2);
}

/* Bytes divided by a number: all 256, by numbers for which the quotient is made of products, and by others (0, tiny, no number). */
static void test_bytes_divided(void **state)
{
    static const char *const by[] = { "255", "3", "-7", "0.1", "256", "1e-45", "1e38", "0", "-0", "inf", "nan", "127.5" };

    (void)state;
    for EACH(l, lane_counts)
        for EACH(k, by)
            same(HEAD "slot @y : output f32[256]\n" "graph infer 1 {\n}\nplan infer 1 {\n  buffer b0 : output 0 f32[256] @y\n  scratch 0\n"
                 "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 256 %s {\n      %%0 = index i0 : i32\n      %%1 = cast %%0 : u8 from i32\n"
                 "      %%2 = cast %%1 : f32 from u8\n      %%3 = %s : f32\n      %%4 = div %%2, %%3 : f32\n      store b0[i0], %%4\n    }\n  }\n}\n",
                 marks(lane_counts[l], false), by[k]);
}

/* Scalars, metrics, state, an index and random bits. */
static void test_step(void **state)
{
    (void)state;
    for EACH(l, lane_counts)
        same(HEAD "slot @w : param f32[50]\nslot @n : state i32[50]\nslot @step : scalar f64\nslot @lr : scalar f64 = 0.5\n"
             "slot @loss : metric f32\nslot @other : metric f32\n" GRAPH
             "  buffer b0 : state+0 f32[50] @w\n  buffer b1 : state+256 i32[50] @n\n  buffer b2 : scalar 0 f64[1] @step\n"
             "  buffer b3 : scalar 3 f64[1] @lr\n  buffer b4 : metric 1 f64[1] @other\n  buffer b5 : scratch+0 f64[50] live 0..0\n  scratch 448\n"
             "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 50 %s {\n"
             "      %%0 = load b0[i0] : f32\n      %%1 = load b3[0] : f64\n      %%2 = cast %%1 : f32 from f64\n      %%3 = mul %%0, %%2 : f32\n"
             "      %%4 = random 77 [3*i0 + 4294967290] : f32\n      %%5 = add %%3, %%4 : f32\n      store b0[i0], %%5\n"
             "      %%6 = index -7*i0 + 1000 : i32\n      store b1[i0], %%6\n"
             "      %%7 = random 4000000000 [i0] : f64\n      store b5[i0], %%7\n    }\n"
             "    %%8 = load b2[0] : f64\n    store b4[0], %%8\n  }\n}\n",
             marks(lane_counts[l], false));
}

/* ---- locals ---- */

/* A register tile along columns: 3 x 2 vectors, a running fold, bias and relu behind it. */
static void test_tile(void **state)
{
    (void)state;
    for EACH(x, extents) {
        int n = extents[x] < 2 ? 3 : extents[x] < 32 ? extents[x] : 32;

        same(HEAD "slot @a : input f32[5]\nslot @b : param f32[5, %d]\nslot @c : output f32[%d]\n" GRAPH
             "  buffer b0 : input 0 f32[30] @a\n  buffer b1 : state+0 f32[%d] @b\n  buffer b2 : output 0 f32[%d] @c\n  scratch 0\n"
             "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 2 par {\n      local l0 : f32[96] = 0\n      for i1 < 5 {\n"
             "        for i2 < 3 unroll {\n          for i3 < %d vec 16 unroll {\n"
             "            %%0 = load b0[15*i0 + i1 + 5*i2] : f32\n            %%1 = load b1[%d*i1 + i3] : f32\n"
             "            %%2 = get l0[32*i2 + i3] : f32\n            %%3 = fma %%0, %%1, %%2 : f32\n            set l0[32*i2 + i3], %%3\n"
             "          }\n        }\n      }\n"
             "      for i4 < 3 unroll {\n        for i5 < %d vec 16 unroll {\n          %%4 = get l0[32*i4 + i5] : f32\n"
             "          %%5 = relu %%4 : f32\n          store b2[%d*i0 + %d*i4 + i5], %%5\n        }\n      }\n    }\n  }\n}\n",
             n, n, 5 * n, 6 * n, n, n, n, 3 * n, n);
    }
}

/* A sum over what a comparison leaves, in two accumulators, one of them a vector; groups of all sizes, none or all left. */
static void test_sieves(void **state)
{
    static const int sieves[] = { 0, 2, 8, 16, 64 };
    static const char *const least[] = { "-inf", "0", "0.7", "inf" };

    (void)state;
    for EACH(v, sieves)
        for EACH(x, extents)
            for EACH(k, least) {
                int n = extents[x] * 4 + (int)x % 4;
                char sieve[32] = "";

                if (sieves[v])
                    snprintf(sieve, sizeof sieve, "sieve %d", sieves[v]);
                same(HEAD "slot @a : param f32[%d, 16]\nslot @c : output f32[20]\n" "graph infer 1 {\n}\nplan infer 1 {\n"
                     "  buffer b0 : state+0 f32[%d] @a\n  buffer b1 : output 0 f32[20] @c\n  scratch 0\n"
                     "  kernel k0 \"\" scheduled flops 0 {\n    local l0 : f32[17] = 0.5\n    local l1 : f32[1] = 0\n    for i0 < %d %s {\n"
                     "      %%0 = load b0[16*i0] : f32\n      %%1 = %s : f32\n      %%2 = lt %%1, %%0 : bool from f32\n"
                     "      if %%2 {\n        %%3 = load b0[16*i0] : f32\n        for i1 < 17 vec 16 unroll {\n"
                     "          %%4 = get l0[i1] : f32\n          %%5 = fma %%3, %%3, %%4 : f32\n          set l0[i1], %%5\n        }\n"
                     "        %%6 = get l1[0] : f32\n        %%7 = index i0 : i32\n        %%8 = cast %%7 : f32 from i32\n        %%9 = add %%6, %%8 : f32\n"
                     "        set l1[0], %%9\n      }\n    }\n"
                     "    %%10 = get l1[0] : f32\n    %%11 = 1 : f32\n    %%12 = lt %%11, %%10 : bool from f32\n    if %%12 {\n      set l1[0], %%11\n    }\n"
                     "    for i2 < 17 vec 16 unroll {\n      %%13 = get l0[i2] : f32\n      store b1[i2], %%13\n    }\n"
                     "    %%14 = get l1[0] : f32\n    store b1[17], %%14\n    store b1[18], %%10\n  }\n}\n",
                     n, n * 16, n, sieve, least[k]);
            }
}

/* Along the fold: m x n results in 16 partials each, folded into rows of another local. */
static void test_folds(void **state)
{
    static const char *const op[] = { "add", "maximum", "minimum" };

    (void)state;
    for (int m = 1; m <= 3; m++)
        for (int n = 1; n <= 9; n++) {
            int lanes = n % 2 ? 16 : 8, rest = 1 + n * 5 % 16;

            same(HEAD "slot @a : param f32[%d, 64]\nslot @b : param f32[%d, 64]\nslot @c : output f32[%d]\n" "graph infer %d {\n}\nplan infer %d {\n"
                 "  buffer b0 : state+0 f32[%d] @a\n  buffer b1 : state+%d f32[%d] @b\n  buffer b2 : output 0 f32[%d] @c\n  scratch 0\n"
                 "  kernel k0 \"\" scheduled flops 0 {\n    local l0 : f32[%d] = -1\n    for i1 < 3 {\n      for i2 < %d unroll {\n        for i3 < %d unroll {\n"
                 "          for i4 < 16 vec %d unroll {\n            %%0 = load b0[16*i1 + 64*i2 + i4] : f32\n            %%1 = load b1[16*i1 + 64*i3 + i4] : f32\n"
                 "            %%2 = get l0[%d*i2 + 16*i3 + i4] : f32\n            %%3 = fma %%0, %%1, %%2 : f32\n            set l0[%d*i2 + 16*i3 + i4], %%3\n"
                 "          }\n        }\n      }\n    }\n"
                 "    for i5 < %d unroll {\n      for i6 < %d unroll {\n        for i7 < %d vec 16 {\n"
                 "          %%4 = load b0[64*i5 + i7 + 48] : f32\n          %%5 = get l0[%d*i5 + 16*i6 + i7] : f32\n          %%6 = add %%4, %%5 : f32\n"
                 "          set l0[%d*i5 + 16*i6 + i7], %%6\n        }\n      }\n    }\n"
                 "    local l1 : f32[%d] = 5\n    for i8 < %d unroll {\n      for i9 < %d unroll {\n        %%7 = fold %s l0[%d*i8 + 16*i9 .. 16] : f32\n"
                 "        set l1[16*i8 + i9], %%7\n      }\n    }\n"
                 "    for i10 < %d unroll {\n      for i11 < %d vec %d unroll {\n        %%8 = get l1[16*i10 + i11] : f32\n        store b2[%d*i10 + i11], %%8\n"
                 "      }\n    }\n  }\n}\n",
                 m, n, n, m, m, m * 64, m * 256, n * 64, m * n, m * n * 16, m, n, lanes, n * 16, n * 16, m, n, rest, n * 16, n * 16, m * 16, m, n,
                 op[n % 3], n * 16, m, n, lanes, n);
        }
}

/* Two vec loops of different lanes over one local: cells of the narrower, or the stack if those don't fit. */
static void test_mixed_lanes(void **state)
{
    static const int lanes[] = { 2, 3, 4, 6, 8, 12, 16 };

    (void)state;
    for EACH(i, lanes)
        for EACH(j, lanes)
            same(HEAD "slot @a : param f32[16]\nslot @c : output f32[14]\n" "graph infer 1 {\n}\nplan infer 1 {\n"
                 "  buffer b0 : state+0 f32[16] @a\n  buffer b1 : output 0 f32[14] @c\n  scratch 0\n"
                 "  kernel k0 \"\" scheduled flops 0 {\n    local l0 : f32[16] = 2\n    for i0 < 15 vec %d unroll {\n"
                 "      %%0 = load b0[i0] : f32\n      %%1 = get l0[i0] : f32\n      %%2 = mul %%0, %%1 : f32\n      set l0[i0], %%2\n    }\n"
                 "    %%4 = get l0[11] : f32\n    %%3 = fold add l0[0 .. 16] : f32\n    %%5 = add %%3, %%4 : f32\n    local l1 : f32[14] = 1\n"
                 "    for i1 < 14 vec %d unroll {\n      %%6 = get l1[i1] : f32\n      %%7 = add %%6, %%5 : f32\n      store b1[i1], %%7\n    }\n"
                 "    for i2 < 14 vec %d unroll {\n      %%8 = load b0[i2] : f32\n      %%9 = get l1[i2] : f32\n      %%10 = sub %%8, %%9 : f32\n      set l1[i2], %%10\n    }\n"
                 "    for i3 < 14 unroll {\n      %%11 = get l1[i3] : f32\n      set l0[i3], %%11\n    }\n"
                 "    for i4 < 12 vec %d unroll {\n      %%12 = get l0[i4] : f32\n      store b0[i4], %%12\n    }\n  }\n}\n",
                 lanes[i], lanes[j], lanes[i], lanes[j]);
}

/* A local inside a vec loop: each lane has its own, also on the stack; folds of it, and an argmax. */
static void test_lane_locals(void **state)
{
    (void)state;
    for EACH(l, lane_counts)
        for EACH(x, extents)
            for (int scheduled = 0; scheduled < 2; scheduled++)
                same(HEAD "slot @a : param f32[%d, 8]\nslot @c : output f32[%d]\nslot @d : output i32[%d]\n" "graph infer 1 {\n}\nplan infer 1 {\n"
                     "  buffer b0 : state+0 f32[%d] @a\n  buffer b1 : output 0 f32[%d] @c\n  buffer b2 : output 1 i32[%d] @d\n  scratch 0\n"
                     "  kernel k0 \"\" %s flops 0 {\n    for i0 < %d %s {\n      local l0 : f32[8] = 1\n      local l1 : f32[1] = -inf\n      local l2 : i32[1] = 0\n"
                     "      for i1 < 8 unroll {\n        %%0 = load b0[8*i0 + i1] : f32\n        set l0[-i1 + 7], %%0\n      }\n"
                     "      for i2 < 8 {\n        %%1 = load b0[8*i0 + i2] : f32\n        %%2 = get l1[0] : f32\n        %%3 = lt %%2, %%1 : bool from f32\n"
                     "        %%4 = select %%3, %%1, %%2 : f32\n        set l1[0], %%4\n        %%5 = index i2 : i32\n        %%6 = get l2[0] : i32\n"
                     "        %%7 = select %%3, %%5, %%6 : i32\n        set l2[0], %%7\n      }\n"
                     "      %%8 = get l1[0] : f32\n      %%9 = fold add l0[0 .. 8] : f32\n      %%10 = sub %%8, %%9 : f32\n      store b1[i0], %%10\n"
                     "      %%11 = get l2[0] : i32\n      store b2[i0], %%11\n    }\n  }\n}\n",
                     extents[x], extents[x], extents[x], extents[x] * 8, extents[x], extents[x], scheduled ? "scheduled" : "", extents[x],
                     marks(lane_counts[l], x & 1));
}

/* Not scheduled: places in locals that running loops decide, a bool among them, and marks that mean nothing. */
static void test_unscheduled(void **state)
{
    (void)state;
    for EACH(x, extents)
        same(HEAD "slot @a : param f32[%d]\nslot @c : output f32[%d]\n" "graph infer 1 {\n}\nplan infer 1 {\n"
             "  buffer b0 : state+0 f32[%d] @a\n  buffer b1 : output 0 f32[%d] @c\n  scratch 0\n  kernel k0 \"\" flops 0 {\n"
             "    local l0 : f32[%d] = 0.5\n    local l1 : bool[%d] = 1\n    local l2 : f32[16] = 0\n"
             "    for i0 < %d vec 16 {\n      %%0 = load b0[i0] : f32\n      set l0[-i0 + %d], %%0\n      %%1 = 0 : f32\n"
             "      %%2 = lt %%0, %%1 : bool from f32\n      set l1[i0], %%2\n    }\n"
             "    for i1 < 3 {\n      for i2 < 16 vec 8 {\n        %%3 = get l2[i2] : f32\n        %%4 = get l0[0] : f32\n        %%5 = add %%3, %%4 : f32\n        set l2[i2], %%5\n      }\n    }\n"
             "    %%6 = fold add l2[0 .. 16] : f32\n"
             "    for i3 < %d {\n      %%7 = get l0[i3] : f32\n      %%8 = get l1[i3] : bool\n      %%9 = select %%8, %%7, %%6 : f32\n      store b1[i3], %%9\n    }\n  }\n}\n",
             extents[x], extents[x], extents[x], extents[x], extents[x], extents[x], extents[x], extents[x] - 1, extents[x]);
}

/* Two loops over one buffer in place, a row's largest and the sum of its differences: as in softmax. */
static void test_rows_in_place(void **state)
{
    (void)state;
    for EACH(l, lane_counts)
        for EACH(x, extents) {
            int n = extents[x], whole = n / 16, rest = n % 16;
            Arena mem = { 0 };
            const char *first;

            if (!rest || !whole)
                continue;
            first = arena_printf(&mem, "      for i1 < %d {\n        for i2 < 16 vec 16 {\n          %%0 = load b0[%d*i0 + 16*i1 + i2] : f32\n"
                                         "          %%1 = get l0[i2] : f32\n          %%2 = maximum %%0, %%1 : f32\n          set l0[i2], %%2\n        }\n      }\n"
                                         "      for i3 < %d vec 16 {\n        %%3 = load b0[%d*i0 + i3 + %d] : f32\n        %%4 = get l0[i3] : f32\n"
                                         "        %%5 = maximum %%3, %%4 : f32\n        set l0[i3], %%5\n      }\n",
                                 whole, n, rest, n, whole * 16);
            same(HEAD "slot @a : state f32[4, %d]\n" "graph infer 1 {\n}\nplan infer 1 {\n  buffer b0 : state+0 f32[%d] @a\n  scratch 0\n"
                 "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 4 par {\n      local l0 : f32[16] = -inf\n%s      %%6 = fold maximum l0[0 .. 16] : f32\n"
                 "      for i4 < %d %s {\n        %%7 = load b0[%d*i0 + i4] : f32\n        %%8 = sub %%7, %%6 : f32\n        store b0[%d*i0 + i4], %%8\n      }\n"
                 "    }\n  }\n}\n", n, 4 * n, first, n, marks(lane_counts[l], false), n, n);
            arena_free(&mem);
        }
}

/* ---- the image ---- */

static const char small_plan[] =
    HEAD "slot @x : input f32[20]\nslot @y : output f32[20]\nslot @lr : scalar f64 = 0.125\n" GRAPH
    "  buffer b0 : input 0 f32[120] @x\n  buffer b1 : output 0 f32[120] @y\n  buffer b2 : scalar 3 f64[1] @lr\n  scratch 0\n"
    "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 6 par {\n      for i1 < 20 vec 16 {\n        %0 = load b0[20*i0 + i1] : f32\n"
    "        %1 = load b2[0] : f64\n        %2 = cast %1 : f32 from f64\n        %3 = mul %0, %2 : f32\n        store b1[20*i0 + i1], %3\n      }\n    }\n  }\n}\n";

static void in_pieces(const NndPar *par, NndKernel *k, const NndStep *s, int64_t n)
{
    (void)par;
    assert_int_equal(n, 6);
    k(s, 4, n);
    k(s, 1, 1);
    k(s, 0, 1);
    k(s, 1, 4);
}

static void test_pieces(void **state)
{
    NndPar par = { in_pieces };
    Rig r = { .rng = { 5 }, .par = &par };
    BackendOptions o = { .opt_level = 2 };

    (void)state;
    rig_same(&r, small_plan, &o);
}

/* Without scalars in the call, the model's own; two images of one module at a time; every level of optimisation. */
static void test_own_scalars(void **state)
{
    (void)state;
    for (int level = 0; level <= 3; level++) {
        BackendOptions o = { .opt_level = level };
        Module *m = module_read("test", small_plan, strlen(small_plan));
        float x[120], y[120] = { 0 };
        const void *field[1] = { x };
        void *out[1] = { y };
        NndCall call = { .field = field, .out = out, .nbatch = 1 };
        char why[200];
        NndImage *one = backend_cpu.load(m, &o, why, sizeof why), *two = backend_cpu.load(m, &o, why, sizeof why);

        assert_non_null(one);
        assert_non_null(two);
        for (int i = 0; i < 120; i++)
            x[i] = (float)i;
        backend_cpu.unload(one);
        assert_int_equal(two->entry[0].run(two, &two->entry[0], &call), 0);
        for (int i = 0; i < 120; i++)
            assert_true(y[i] == (float)i / 8);
        backend_cpu.unload(two);
        module_free(m);
    }
}

/* ---- the machine ---- */

static void test_unknown_cpu(void **state)
{
    BackendOptions o = { .cpu = "x86-64-v33", .opt_level = 2 };
    Module *m = module_read("test", small_plan, strlen(small_plan));
    Limits limits;
    char text[200], why[200] = "";

    (void)state;
    assert_false(backend_cpu.probe(&o, &limits, text, sizeof text, why, sizeof why));
    assert_string_equal(why, "unknown processor `x86-64-v33`, did you mean `x86-64-v3`?");
    assert_null(backend_cpu.load(m, &o, why, sizeof why));
    o.cpu = "sapphirerapids";
    assert_true(backend_cpu.probe(&o, &limits, text, sizeof text, why, sizeof why));
    assert_string_equal(text, "sapphirerapids, AVX-512");
    assert_int_equal(limits.lanes, 16);
    assert_int_equal(limits.vregs, 32);
    o.cpu = "haswell";
    assert_true(backend_cpu.probe(&o, &limits, text, sizeof text, why, sizeof why));
    assert_int_equal(limits.lanes, 8);
    assert_int_equal(limits.vregs, 16);
    assert_null(backend_cpu.load(m, &o, why, sizeof why));
    assert_string_equal(why, "code for haswell cannot run on this machine");
    module_free(m);
}

static char *emitted(Module *m, EmitKind kind, const char *cpu, size_t *n)
{
    BackendOptions o = { .cpu = cpu, .opt_level = 2 };
    char why[200], *text;
    FILE *f = open_memstream(&text, n);

    if (!backend_cpu.emit(m, &o, kind, f, why, sizeof why))
        fail_msg("%s", why);
    fclose(f);
    return text;
}

static void test_emit(void **state)
{
    Module *m = module_read("test", small_plan, strlen(small_plan));
    size_t n;
    char *ir = emitted(m, EMIT_LLVM, "x86-64-v4", &n), *wide = emitted(m, EMIT_ASM, "x86-64-v4", &n);
    char *narrow = emitted(m, EMIT_ASM, "x86-64-v3", &n), *object;

    (void)state;
    assert_non_null(strstr(ir, "<16 x float>"));
    assert_non_null(strstr(ir, "define i32 @run_infer_6("));
    assert_non_null(strstr(ir, "@k0_infer_6("));
    assert_non_null(strstr(wide, "%zmm"));
    assert_null(strstr(narrow, "%zmm"));
    assert_non_null(strstr(narrow, "%ymm"));
    object = emitted(m, EMIT_OBJ, "x86-64-v3", &n);
    assert_true(n > 500);
    assert_memory_equal(object, "\177ELF", 4);
    free(ir);
    free(wide);
    free(narrow);
    free(object);
    module_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations), cmocka_unit_test(test_operations_on_other_cpus), cmocka_unit_test(test_strides),
        cmocka_unit_test(test_rows), cmocka_unit_test(test_bytes_divided), cmocka_unit_test(test_step), cmocka_unit_test(test_tile), cmocka_unit_test(test_folds), cmocka_unit_test(test_sieves), cmocka_unit_test(test_mixed_lanes),
        cmocka_unit_test(test_lane_locals), cmocka_unit_test(test_unscheduled), cmocka_unit_test(test_rows_in_place),
        cmocka_unit_test(test_pieces), cmocka_unit_test(test_own_scalars), cmocka_unit_test(test_unknown_cpu),
        cmocka_unit_test(test_emit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
