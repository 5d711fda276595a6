/* cuda.h - what is known of NVIDIA's driver and devices, asked of the driver itself. */
#ifndef NND_RUNTIME_CUDA_H
#define NND_RUNTIME_CUDA_H

#include <stddef.h>
#include <stdint.h>

typedef struct NndCudaDevice { char name[128]; int major, minor; int64_t memory_bytes; } NndCudaDevice;

/* nnd_cuda_devices - the first max devices of the driver, and its version (13000 for 13.0).
 * Returns how many there are, or -1 with the reason in why: no driver, an old one, what it says itself. */
int nnd_cuda_devices(NndCudaDevice *device, int max, int *driver, char *why, size_t nwhy);

#endif
