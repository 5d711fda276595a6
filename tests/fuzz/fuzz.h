/* fuzz.h - what the targets that read files share: bytes as a file. */
#ifndef NND_TESTS_FUZZ_H
#define NND_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/nnd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A file of these bytes that has no name: its path goes to path, its descriptor is returned. */
static inline int file_of(const uint8_t *data, size_t n, char path[64])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        abort();
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

#endif
