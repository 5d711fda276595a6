/* kernel_read.h - what the readers of plans and of kernels share. */
#ifndef NND_IR_KERNEL_READ_H
#define NND_IR_KERNEL_READ_H

#include "ir/kernel.h"
#include "ir/text.h"

typedef struct KernelReader {
    TextReader t;
    Plan      *p;
    Kernel    *k;
    Dtype     *local;   int nlocal, clocal;        /* dtypes of the locals read so far */
    int        depth;
} KernelReader;

/* b3, i0, l1: a letter and a number up to most. */
bool kernel_read_numbered(KernelReader *r, char letter, int64_t most, int *number);
/* f32[16]: a dtype and how many of it. */
bool kernel_read_array(KernelReader *r, Dtype *d, int64_t *count);
/* Statements of the kernel r->k to the closing brace. */
bool kernel_read_list(KernelReader *r, Stmt **first);

#endif
