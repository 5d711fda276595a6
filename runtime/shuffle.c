/* shuffle.c - the order of an epoch: a pure function of the number of rows, the seed and the epoch.
 *
 * J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011: Philox4x32-10, keyed with the seed,
 * counter (index low, index high, stream, epoch), first word.  It is the function of ir/philox.h; a compiled program
 * links this folder and nothing of the compiler, so it stands here again, and a test holds the two together.
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

/* A word becomes a number in 0..i by multiplication.  Some of these numbers are then likelier than others by a
 * factor of at most 1 + (i+1) / 2^32: 1.000014 for 60000 rows. */
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
