/* access.h - which element of a tensor a loop nest is looking at.
 *
 * An access is a mixed-radix number in row-major order: digits, outermost first, each an affine form
 * in the loop variables and the size it counts to.  A digit may stand for several axes at once (after a
 * reshape that joins axes); then those axes have no index of their own, but the offset in memory has.
 */
#ifndef NND_PASSES_ACCESS_H
#define NND_PASSES_ACCESS_H

#include "ir/kernel.h"

typedef struct Digit { Affine at; int64_t size; } Digit;
typedef struct Access { int n; Digit digit[MAX_RANK]; } Access;

/* One digit an axis: index[i] of axis i. */
Access access_make(const Type *t, const Affine *index);
/* The offset in elements of a row-major tensor. */
Affine access_offset(Arena *mem, const Access *a);
/* Each axis' own index; asserts that no digit joins axes of t (fuse stores such a value first). */
void   access_axes(Arena *mem, const Access *a, const Type *t, Affine *index);
/* No digit joins axes of t. */
bool   access_fits(const Access *a, const Type *t);
/* Splits off the first axis: its index, and the offset within a row.  A field's rows are picked by number. */
void   access_row(Arena *mem, const Access *a, const Type *t, Affine *row, Affine *offset);
/* Where this step's part is among all steps, for an element or a stack. */
Affine access_step(Arena *mem, const Node *nd);
bool   access_equal(const Access *a, const Access *b);

/* The access to the argument of a MOVE or one_hot node whose result is looked at through a.  Through a pad it may lie
 * outside: what must hold for it to be an element is put into guard, MAX_RANK of them at most; returns how many. */
Access access_arg(Arena *mem, const Node *nd, const Type *arg, const Access *a);
int    access_guards(Arena *mem, const Node *nd, const Type *arg, const Access *a, Guard *guard);

#endif
