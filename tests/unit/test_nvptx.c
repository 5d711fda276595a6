/* test_nvptx.c - kernels as PTX against the walker, bit for bit: operations, thread groups, group memory, folds, copies,
 * tensor cores; on ptxrun's stand-in driver, with races looked for and warps in the order of two seeds, or on a GPU.
 */
#include "tests/unit/gpu_rig.h"

#include "tests/unit/op_sweep.h"

static int open_driver(void **state)
{
    GpuDriver *d = calloc(1, sizeof *d);

    if (d && !gpu_open(d)) {
        free(d);
        d = NULL;
    }
    *state = d;
    return 0;
}

static int close_driver(void **state)
{
    if (*state)
        gpu_close(*state);
    free(*state);
    return 0;
}

/* With two seeds of the order in which warps and groups run. */
static void same(void **state, bool extreme, const char *text)
{
    static const char *const seed[] = { "1", "7" };
    GpuDriver *d = *state;

    if (!d)
        gpu_left_out();
    for (int i = 0; i < 2; i++) {
        Rig            r = { .rng = { 1 }, .extreme = extreme };
        BackendOptions o = { .cpu = "sm_80", .opt_level = 1 };

        setenv("PTXRUN_SEED", seed[i], 1);
        gpu_same(d, &r, text, &o);
    }
}

#define HEAD "nnd-ir 1\nmodule t\n"
#define GRAPH "graph infer 1 {\n}\nplan infer 1 {\n"

static void test_operations(void **state)
{
    char *text;

    text = sweep_text("", 37, false);
    same(state, true, text);
    free(text);
}

/* Pointwise: 128 bits at once, groups beyond the last of which skip. */
static void test_pointwise(void **state)
{
    same(state, false, HEAD "slot @x : input f32[1200]\nslot @y : output f32[1200]\n" GRAPH
         "  buffer b0 : input 0 f32[1200] @x\n  buffer b1 : output 0 f32[1200] @y\n  scratch 0\n"
         "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 3 grid {\n      for i1 < 100 block {\n        for i2 < 4 vec 4 {\n"
         "          %0 = load b0[400*i0 + 4*i1 + i2] : f32\n          %1 = div %0, %0 : f32\n          store b1[400*i0 + 4*i1 + i2], %1\n"
         "        }\n      }\n    }\n  }\n}\n");
}

/* A sum and a largest over the group, both used by all its threads; a store by the first. */
static void test_group_folds(void **state)
{
    same(state, false, HEAD "slot @x : input f32[5, 300]\nslot @y : output f32[5, 300]\nslot @z : output f32[5]\n" GRAPH
         "  buffer b0 : input 0 f32[1500] @x\n  buffer b1 : output 0 f32[1500] @y\n  buffer b2 : output 1 f32[5] @z\n  scratch 0\n"
         "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 5 grid {\n      local l0 : f32[128] each 1 = 0\n      local l1 : f32[128] each 1 = -inf\n"
         "      for i1 < 100 block {\n        for i2 < 3 {\n          %0 = load b0[300*i0 + i1 + 100*i2] : f32\n          %1 = get l0[i1] : f32\n"
         "          %2 = add %0, %1 : f32\n          set l0[i1], %2\n          %3 = get l1[i1] : f32\n          %4 = maximum %0, %3 : f32\n          set l1[i1], %4\n        }\n      }\n"
         "      for i3 < 128 block {\n        %5 = get l0[i3] : f32\n        set l0[i3], %5\n      }\n"
         "      %6 = fold add l0[0 .. 128] : f32\n      %7 = fold maximum l1[0 .. 128] : f32\n      %8 = sub %6, %7 : f32\n      store b2[i0], %8\n"
         "      for i4 < 100 block {\n        for i5 < 3 {\n          %9 = load b0[300*i0 + i4 + 100*i5] : f32\n          %10 = mul %9, %8 : f32\n"
         "          store b1[300*i0 + i4 + 100*i5], %10\n        }\n      }\n    }\n  }\n}\n");
}

/* A fold in a loop that runs, and warps of their own: rows by warps of 32. */
static void test_warps(void **state)
{
    same(state, false, HEAD "slot @x : state f32[24, 32]\nslot @y : output f32[24]\nslot @z : output f32[3, 4]\n" GRAPH
         "  buffer b0 : state+0 f32[768] @x\n  buffer b1 : output 0 f32[24] @y\n  buffer b2 : output 1 f32[12] @z\n  scratch 0\n"
         "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 3 grid {\n      local l0 : f32[256] each 1 = 0\n"
         "      for i1 < 8 block {\n        for i2 < 32 block {\n          %0 = load b0[256*i0 + 32*i1 + i2] : f32\n          set l0[32*i1 + i2], %0\n        }\n"
         "        %1 = fold minimum l0[32*i1 .. 32] : f32\n        store b1[8*i0 + i1], %1\n"
         "        for i3 < 32 block {\n          %2 = load b0[256*i0 + 32*i1 + i3] : f32\n          %3 = sub %2, %1 : f32\n          store b0[256*i0 + 32*i1 + i3], %3\n        }\n      }\n"
         "    }\n  }\n"
         "  kernel k1 \"\" scheduled flops 0 {\n    for i0 < 3 grid {\n      for i4 < 4 {\n        local l1 : f32[64] each 1 = 0\n        for i5 < 64 block {\n"
         "          %4 = load b0[256*i0 + 64*i4 + i5] : f32\n          set l1[i5], %4\n        }\n        %5 = fold add l1[0 .. 64] : f32\n        store b2[4*i0 + i4], %5\n"
         "      }\n    }\n  }\n}\n");
}

/* A product tiled through group memory: 32 x 32 of it a group, 4 x 4 a thread; copies in flight one tile ahead if `async`. */
static void test_tiles(void **state)
{
    static const char *const text =
        HEAD "slot @a : input f32[64, 48]\nslot @b : input f32[48, 64]\nslot @c : output f32[64, 64]\n" GRAPH
        "  buffer b0 : input 0 f32[3072] @a\n  buffer b1 : input 1 f32[3072] @b\n  buffer b2 : output 0 f32[4096] @c\n  scratch 0\n"
        "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 2 grid {\n      for i1 < 2 grid {\n        local l0 : f32[512] group\n        local l1 : f32[512] group\n        local l2 : f32[1024] each 16 = 0\n"
        "        for i2 < 3 {\n"
        "          for i3 < 64 block {\n            part i4 < 32 = i3 / 2\n            part i5 < 2 = i3 / 1\n            for i6 < 8 vec 4 unroll {\n"
        "              %0 = load b0[1536*i0 + 16*i2 + 48*i4 + 8*i5 + i6] : f32\n              set l0[16*i4 + 8*i5 + i6], %0\n            }\n          }\n"
        "          for i7 < 64 block async {\n            part i8 < 16 = i7 / 4\n            part i9 < 4 = i7 / 1\n            for i10 < 8 vec 4 unroll {\n"
        "              %1 = load b1[32*i1 + 1024*i2 + 64*i8 + 8*i9 + i10] : f32\n              set l1[32*i8 + 8*i9 + i10], %1\n            }\n          }\n          wait 0\n"
        "          for i11 < 8 block {\n            for i12 < 8 block {\n              for i13 < 16 {\n                for i14 < 4 unroll {\n                  %2 = get l0[64*i11 + i13 + 16*i14] : f32\n"
        "                  for i15 < 4 vec 4 unroll {\n                    %3 = get l1[4*i12 + 32*i13 + i15] : f32\n                    %4 = get l2[128*i11 + 16*i12 + 4*i14 + i15] : f32\n"
        "                    %5 = fma %2, %3, %4 : f32\n                    set l2[128*i11 + 16*i12 + 4*i14 + i15], %5\n                  }\n                }\n              }\n            }\n          }\n        }\n"
        "        for i16 < 8 block {\n          for i17 < 8 block {\n            for i18 < 4 unroll {\n              for i19 < 4 vec 4 unroll {\n"
        "                %6 = get l2[128*i16 + 16*i17 + 4*i18 + i19] : f32\n                store b2[2048*i0 + 32*i1 + 256*i16 + 4*i17 + 64*i18 + i19], %6\n              }\n            }\n          }\n        }\n"
        "      }\n    }\n  }\n}\n";

    same(state, false, text);
}

/* A warp's product of 16 x 16 by 16 x 8, as it is and turned, by tensor cores.  Small whole numbers, so that rounding takes part in neither. */
static void test_mma(void **state)
{
    static const char *const form[] = { "tf32", "bf16" };

    for (int i = 0; i < 4; i++) {
        bool  turned = i / 2;
        int   k = i % 2 ? 16 : 8;
        Arena mem = { 0 };

        same(state, false, arena_printf(&mem,
             HEAD "slot @a : input u8[16, %d]\nslot @b : input u8[%d, 8]\nslot @c : output f32[16, 8]\n" GRAPH
             "  buffer b0 : input 0 u8[%d] @a\n  buffer b1 : input 1 u8[%d] @b\n  buffer b2 : output 0 f32[128] @c\n  scratch 0\n"
             "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 1 grid {\n      local l0 : f32[%d] group\n      local l1 : f32[%d] group\n      local l2 : f32[128] each 4 = 1\n"
             "      for i1 < 32 block {\n        for i2 < %d {\n          %%0 = load b0[i1 + 32*i2] : u8\n          %%1 = cast %%0 : f32 from u8\n          set l0[i1 + 32*i2], %%1\n        }\n"
             "        for i3 < %d {\n          %%2 = load b1[i1 + 32*i3] : u8\n          %%3 = cast %%2 : f32 from u8\n          set l1[i1 + 32*i3], %%3\n        }\n      }\n"
             "      for i4 < 1 block {\n        mma %s l2[128*i4], l0[0 : %d], l1[0 : %d%s]\n      }\n"
             "      for i5 < 1 block {\n        for i6 < 32 block {\n          part i7 < 8 = i6 / 4\n          part i8 < 4 = i6 / 1\n"
             "          for i9 < 2 unroll {\n            for i10 < 2 unroll {\n              %%4 = get l2[128*i5 + 4*i6 + 2*i9 + i10] : f32\n"
             "              store b2[8*i7 + 2*i8 + 64*i9 + i10], %%4\n            }\n          }\n        }\n      }\n    }\n  }\n}\n",
             k, k, 16 * k, 8 * k, 16 * k, 8 * k, k / 2, k / 4, form[i % 2], k, turned ? k : 8, turned ? " turned" : ""));
        arena_free(&mem);
    }
}

/* Random numbers, row numbers, an index, a figure and steps of a scan. */
static void test_step(void **state)
{
    same(state, false, HEAD "slot @x : field u8[8] \"a\" \"b\"\nslot @w : state f32[64]\nslot @n : state i32[64]\nslot @step : scalar f64\nslot @lr : scalar f64 = 0.5\nslot @loss : metric f32\n"
         "graph eval 8 {\n}\nplan eval 8 {\n  buffer b0 : field 0 u8[8] @x\n  buffer b1 : state+0 f32[64] @w\n  buffer b2 : state+256 i32[64] @n\n"
         "  buffer b3 : scalar 0 f64[1] @step\n  buffer b4 : scalar 3 f64[1] @lr\n  buffer b5 : metric 0 f64[1] @loss\n  scratch 0\n"
         "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < 2 grid {\n      for i1 < 32 block {\n        part i2 < 4 = i1 / 8\n        part i3 < 8 = i1 / 1\n"
         "        %0 = load b0[row 4*i0 + i2][i3] : u8\n        %1 = cast %0 : f32 from u8\n        %2 = random 77 [3*i1 + 4294967290] : f32\n        %3 = add %1, %2 : f32\n"
         "        %4 = load b4[0] : f64\n        %5 = cast %4 : f32 from f64\n        %6 = mul %3, %5 : f32\n        store b1[32*i0 + i1], %6\n"
         "        %7 = index -7*i1 + 1000 : i32\n        store b2[32*i0 + i1], %7\n      }\n    }\n  }\n"
         "  kernel k1 \"\" scheduled flops 0 {\n    %8 = load b3[0] : f64\n    store b5[0], %8\n  }\n}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations), cmocka_unit_test(test_pointwise), cmocka_unit_test(test_group_folds), cmocka_unit_test(test_warps),
        cmocka_unit_test(test_tiles), cmocka_unit_test(test_mma), cmocka_unit_test(test_step),
    };

    return cmocka_run_group_tests(tests, open_driver, close_driver);
}
