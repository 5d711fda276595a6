/* shuffle.c - the order of an epoch: a pure function of seed and epoch.
 *
 * Philox4x32-10 (J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) keyed with the seed,
 * counted with (index, 0, stream, epoch).  The compiler has the same function in ir/philox.h; a compiled
 * program links this folder alone, so it has its own.
 */
#include "runtime/nnd.h"

enum { STREAM = 0x73687566 };     /* "shuf" */

static uint32_t philox(uint64_t seed, uint32_t epoch, uint64_t index)
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = STREAM, c3 = epoch;
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

/* Fisher and Yates, from the end; a 32-bit word scaled to 0..i by multiplication (bias below 2^-15 for the
 * longest data set that has 32-bit row numbers in sensible use, and the same everywhere). */
void nnd_shuffle(int32_t *row, int64_t n, uint64_t seed, int64_t epoch)
{
    for (int64_t i = 0; i < n; i++)
        row[i] = (int32_t)i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)((uint64_t)philox(seed, (uint32_t)epoch, (uint64_t)i) * (uint64_t)(i + 1) >> 32);
        int32_t t = row[i];

        row[i] = row[j];
        row[j] = t;
    }
}
