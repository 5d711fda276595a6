/* cuda.h - NVIDIA's devices, and a session's part on one of them.
 *
 * cuda.c lists devices and has the part's memory and module; cuda_run.c runs entries.
 */
#ifndef NND_RUNTIME_CUDA_H
#define NND_RUNTIME_CUDA_H

#include "runtime/nnd.h"

typedef struct NndCudaDevice {
    char    name[128];
    int     sm;                      /* 90 for compute capability 9.0 */
    int64_t memory_bytes;
} NndCudaDevice;

/* nnd_cuda_devices - the first max devices of the driver, and its version (13000 for 13.0).
 * Returns how many there are, or -1 with NND_E_DEVICE in err: no driver, an old one, what it says itself. */
int nnd_cuda_devices(NndCudaDevice *device, int max, int *version, NndError *err);
/* nnd_cuda_device - device number `number`; NND_E_DEVICE in err for the same reasons, and if there is no such. */
int nnd_cuda_device(int number, NndCudaDevice *device, int *version, NndError *err);
/* nnd_cuda_free - bytes of device number `number` that are free; -1 if it won't say.  This opens the device, which takes a while. */
int64_t nnd_cuda_free(int number);

/* nnd_cuda_open - the part of an open session whose image is for a GPU: code loaded, memory allocated.
 * NND_E_DEVICE (no such device, one that is too old, code that it refuses), NND_E_MEMORY (with the bytes wanted and free). */
int  nnd_cuda_open(NndCuda **c, const NndSession *s, int device, NndError *err);
void nnd_cuda_close(NndCuda *c);
/* nnd_cuda_hold - puts a data set's columns into the device's memory, those that are not there yet, and lets others go.
 * NND_E_MEMORY, with the bytes wanted and free. */
int  nnd_cuda_hold(NndCuda *c, const NndData *data, NndError *err);
/* nnd_cuda_run - as an entry's run; columns have to be held.  Waits until all is done.  NND_E_DEVICE. */
int  nnd_cuda_run(NndCuda *c, const NndEntry *e, const NndCall *call, NndError *err);
/* nnd_cuda_fetch - the host's state becomes the device's if that is newer.
 * nnd_cuda_changed - the host's state is newer: the next run begins with it. */
int  nnd_cuda_fetch(NndCuda *c, NndError *err);
void nnd_cuda_changed(NndCuda *c);

/* nnd_cuda_times - runs the first batch of call, kernel by kernel between events, and gives milliseconds for each row of e's
 * table (image->gpu->entry), those of a scan's turns added up.  Its figures are not read. */
int  nnd_cuda_times(NndCuda *c, const NndEntry *e, const NndCall *call, double *ms, NndError *err);

#endif
