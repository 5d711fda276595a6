/* machine.c - independent chains of fused multiply-adds, as many as hide their latency and fit the registers; and a
 * loop over memory.  This file alone is compiled with contraction of a * b + c.
 */
#define _POSIX_C_SOURCE 200809L
#include "frontend/machine.h"

#include <stdlib.h>
#include <time.h>

enum { CHAINS = 12, ROUNDS = 1 << 16, COUNT = 1 << 22, RUNS = 4 };     /* COUNT: 32 MB an array */

/* Chains by name, not in an array: an array might live in memory. */
#define EACH(DO)  DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define START(c)  Vector v##c = plus * (float)c;
#define STEP(c)   v##c = v##c * mul + plus;
#define ADD(c)    sum += v##c;

#define PEAK(function, features, bytes)                                        \
    features static float function(float x, float y)                           \
    {                                                                          \
        typedef float Vector __attribute__((vector_size(bytes)));              \
        Vector mul = x - (Vector){ 0 }, plus = y - (Vector){ 0 }, sum = plus;  \
        EACH(START)                                                            \
        for (int i = 0; i < ROUNDS; i++) {                                     \
            EACH(STEP)                                                         \
        }                                                                      \
        EACH(ADD)                                                              \
        return sum[0];                                                         \
    }

typedef struct Unit { const char *name; int lanes; float (*run)(float x, float y); } Unit;

#if defined(__x86_64__)
PEAK(peak_avx512, __attribute__((target("avx512f,fma"))), 64)
PEAK(peak_avx2, __attribute__((target("avx2,fma"))), 32)
PEAK(peak_sse, , 16)

static Unit widest(void)
{
    if (__builtin_cpu_supports("avx512f"))
        return (Unit){ "avx512", 16, peak_avx512 };
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (Unit){ "avx2", 8, peak_avx2 };
    return (Unit){ "sse", 4, peak_sse };
}
#else
PEAK(peak_vector, , 16)

static Unit widest(void)
{
    return (Unit){ "vector", 4, peak_vector };
}
#endif

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double machine_flops(int tries, const char **unit)
{
    Unit           widest_unit = widest();
    volatile float x = 0.5f, keep;
    double         best_s = 1e9;

    for (int i = 0; i < tries; i++) {
        double start = now_s();
        keep = widest_unit.run(x, x);
        double elapsed_s = now_s() - start;

        best_s = elapsed_s < best_s ? elapsed_s : best_s;
    }
    (void)keep;
    *unit = widest_unit.name;
    return 2.0 * ROUNDS * CHAINS * widest_unit.lanes / best_s;
}

double machine_bandwidth(void)
{
    double         *a = malloc(sizeof *a * COUNT), *b = malloc(sizeof *b * COUNT), *c = malloc(sizeof *c * COUNT), best_s = 1e9;
    volatile double keep = 0;

    for (int i = 0; a && b && c && i < COUNT; i++)
        a[i] = 0, b[i] = i, c[i] = 2;
    for (int run = 0; a && b && c && run < RUNS; run++) {
        double start = now_s(), s = run + 1;

        for (int i = 0; i < COUNT; i++)
            a[i] = b[i] + s * c[i];
        double elapsed_s = now_s() - start;

        keep = a[COUNT / 2];
        best_s = elapsed_s < best_s ? elapsed_s : best_s;
    }
    (void)keep;
    free(a);
    free(b);
    free(c);
    return best_s < 1e9 ? 24.0 * COUNT / best_s : 0;
}
