/* blas.h - OpenBLAS, if this machine has it. */
#ifndef NND_BACKENDS_BLAS_H
#define NND_BACKENDS_BLAS_H

/* The function of that name, from libopenblas.so.0, which is opened at the first call and stays open; NULL with *why if there is none.
 * It computes on the thread that calls it: openblas_set_num_threads(1) is called first. */
typedef void BlasFunction(void);
BlasFunction *blas_function(const char *name, const char **why);

#endif
