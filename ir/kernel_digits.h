/* kernel_digits.h - places that are made of digits of numbers (ST_PART). */
#ifndef NND_IR_KERNEL_DIGITS_H
#define NND_IR_KERNEL_DIGITS_H

#include "ir/kernel.h"

typedef struct Digits {
    Arena         *mem;
    const int64_t *extent;          /* by index variable */
    const Stmt   **part;            /* by index variable: the `part` that defines it, NULL if none does */
} Digits;

/* digits_apart - do two accesses of one array never meet in different iterations of the loop with this variable?
 *
 * a, b      their places
 * within    holds at both of them; NULL: nothing is known
 *
 * True only if both are the same form and no two values of its digits are one place, so the place tells each digit; all digits of a number
 * tell the number, whose own digits are known then; and at last the loop's variable is. */
bool digits_apart(const Digits *d, int var, Affine a, Affine b, const Stmt *within);

#endif
