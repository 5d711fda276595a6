/* peak.c - the most this machine's one thread can multiply and add, in GFLOP/s.
 *
 * Independent chains of fused multiply-adds, as many as hide their latency and fit the registers, with the widest
 * vectors there are; the best of some tries, since everything that disturbs makes it slower.  An fma counts as two.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <time.h>

enum { CHAINS = 12, ROUNDS = 1 << 20, TRIES = 100 };

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

int main(void)
{
    Unit           unit = widest();
    volatile float x = 0.5f, keep;
    double         best_s = 1e9;

    for (int i = 0; i < TRIES; i++) {
        double start = now_s();
        keep = unit.run(x, x);
        double elapsed_s = now_s() - start;

        best_s = elapsed_s < best_s ? elapsed_s : best_s;
    }
    (void)keep;
    printf("%.1f GFLOP/s %s\n", 2.0 * ROUNDS * CHAINS * unit.lanes / best_s / 1e9, unit.name);
    return 0;
}
