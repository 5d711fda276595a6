/* limits.h - what schedule has to know of a target. */
#ifndef NND_IR_LIMITS_H
#define NND_IR_LIMITS_H

#include <stdint.h>

typedef struct Limits {
    int     lanes;         /* f32 lanes of a vector register: 4, 8, 16 */
    int     vregs;         /* vector registers: 16 or 32 */
    int64_t l1_bytes, l2_bytes;
} Limits;

#endif
