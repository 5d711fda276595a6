/* gradient_rows.h - the functions that a row of ops.def names in its gradient column. */
#ifndef NND_PASSES_GRADIENT_ROWS_H
#define NND_PASSES_GRADIENT_ROWS_H

#include "passes/gradient.h"

/* passes/gradient.c */
Type arg_type(const Graph *g, const Node *nd, int i);
/* Undoes a reduction over axes of a: x gets a's shape, with the same element all along them. */
Ref  expand_over(Graph *g, Loc loc, Ref x, const Type *a, const Attr *axes);

/* passes/gradient_window.c */
GradientFn grad_first, grad_put, grad_overlap, grad_cumsum, grad_scatter, grad_slice, grad_pad, grad_window, grad_conv, grad_gather;

/* passes/attention.c */
GradientFn grad_attention, grad_attention_lse;

#endif
