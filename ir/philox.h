/* philox.h - counter-based random bits: a pure function of who asks.
 *
 * J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011: Philox4x32-10.
 * key      (low, high) words of the seed
 * counter  (index low, index high, stream, step)
 * result   the first of the four words; a uniform number is (word >> 8) * 2^-24, exact in f32 and f64
 *
 * The compiled kernels compute the same in vectors; this is what they are compared with.
 */
#ifndef NND_IR_PHILOX_H
#define NND_IR_PHILOX_H

#include <stdint.h>

static inline uint32_t philox(uint64_t seed, uint32_t stream, uint32_t step, uint64_t index)
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = stream, c3 = step;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;

        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c0;
}

static inline double philox_uniform(uint64_t seed, uint32_t stream, uint32_t step, uint64_t index)
{
    return (double)(philox(seed, stream, step, index) >> 8) * 0x1p-24;
}

#endif
