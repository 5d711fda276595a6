/* machine.h - what this machine's one thread can do at most, measured. */
#ifndef NND_FRONTEND_MACHINE_H
#define NND_FRONTEND_MACHINE_H

/* Multiplications and additions of float a second, an fma counted as two, with the widest vectors there are; `unit` is their
 * name.  The best of `tries` runs of a fraction of a millisecond, since everything that disturbs makes it slower. */
double machine_flops(int tries, const char **unit);

/* Bytes a second of a[i] = b[i] + s * c[i] over arrays larger than most caches, 24 counted a line, as J. McCalpin's STREAM does
 * (a store may read its line as well); the best of some runs, 0.1 s in all.  0: no memory for it. */
double machine_bandwidth(void);

#endif
