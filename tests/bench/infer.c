/* infer.c - how long a call of a compiled model's infer takes: run.py compiles it with the model's object and header.
 *
 *     infer ROWS.bin CALLS    ROWS.bin: the pixels of a batch; prints seconds a call
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model.h"

static uint8_t image[BATCH * 28 * 28];
static float   p[BATCH * 10];
static _Alignas(64) char scratch[SCRATCH + 64];

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    FILE  *f = argc == 3 ? fopen(argv[1], "rb") : NULL;
    int    calls = argc == 3 ? atoi(argv[2]) : 0;
    double begun = 0, sum = 0;

    if (!f || fread(image, sizeof image, 1, f) != 1 || calls < 1)
        return 1;
    fclose(f);
    for (int i = -20; i < calls; i++) {
        if (i == 0)
            begun = now();
        if (INFER(NULL, scratch, image, p))
            return 1;
        sum += p[i & 7];
    }
    printf("%.9g %.9g\n", (now() - begun) / calls, sum);
    return 0;
}
