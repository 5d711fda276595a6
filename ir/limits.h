/* limits.h - what schedule has to know of a target. */
#ifndef NND_IR_LIMITS_H
#define NND_IR_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Limits {
    int     lanes;         /* f32 lanes of a vector register: 4, 8, 16 */
    int     vregs;         /* vector registers: 16 or 32 */
    int64_t l1_bytes, l2_bytes;
    int     warp;          /* of a GPU: threads that run as one, 32; 0: a CPU, and all that follows is 0 */
    int     threads;       /* of a group at most */
    int64_t shared_bytes;  /* of a group's memory at most */
    bool    async, mma;    /* copies to group memory that are waited for; products of tiles by tensor cores */
} Limits;

/* Of any GPU that code is made for: what is scheduled for one is the same on all, and so are the bits of its results. */
static inline Limits limits_gpu(void)
{
    return (Limits){ .lanes = 4, .vregs = 32, .l1_bytes = 128 << 10, .l2_bytes = 4 << 20,
                     .warp = 32, .threads = 1024, .shared_bytes = 48 << 10, .async = true, .mma = true };
}

#endif
