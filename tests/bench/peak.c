/* peak.c - the most that one thread of this machine can multiply and add, in GFLOP/s, and its memory, in GB/s. */
#include <stdio.h>

#include "frontend/machine.h"

int main(void)
{
    const char *unit;
    double      flops = machine_flops(1000, &unit);

    printf("%.1f GFLOP/s %s, %.1f GB/s\n", flops / 1e9, unit, machine_bandwidth() / 1e9);
    return 0;
}
