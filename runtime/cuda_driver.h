/* cuda_driver.h - the functions of NVIDIA's driver, found by name when they are asked for. */
#ifndef NND_RUNTIME_CUDA_DRIVER_H
#define NND_RUNTIME_CUDA_DRIVER_H

#include "runtime/nnd.h"

typedef struct NndDriver {
    void *library;
    int   version;                   /* 13000 for CUDA 13.0 */
    int   ndevice;
    bool  has_graphs;
#define NEEDED(member, name, arguments) int (*member) arguments;
#define GRAPHS(member, name, arguments) int (*member) arguments;
#include "runtime/cuda_driver.def"
} NndDriver;

/* What it answers; the rest has texts of its own. */
enum { CUDA_WELL = 0, CUDA_NO_MEMORY = 2, CUDA_NO_DEVICE = 100, CUDA_OLD_FOR_PTX = 222 };

/* nnd_driver_open - the driver, started.  NND_E_DEVICE: there is none, it is too old, it won't start; then nothing is open.
 * A driver without devices is one with ndevice 0.
 * nnd_driver_close - forgets it; its code stays in memory, as threads of its own may run in it. */
int  nnd_driver_open(NndDriver *d, NndError *err);
void nnd_driver_close(NndDriver *d);

/* nnd_driver_text - what the driver says of one of its results. */
const char *nnd_driver_text(const NndDriver *d, int result);

/* nnd_driver_device - the handle and the sm (90 for 9.0) of device number `number`; NND_E_DEVICE: there is no such. */
int nnd_driver_device(const NndDriver *d, int number, int *device, int *sm, NndError *err);

#endif
