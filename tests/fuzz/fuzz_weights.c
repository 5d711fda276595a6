/* fuzz_weights.c - any bytes as a safetensors file: a session filled, or one that is as it was, and a sentence. */
#define _GNU_SOURCE
#include "tests/fuzz/fuzz.h"

enum { STATE = 320 };

static const NndVar var[] = {
    { .name = "w", .kind = NND_PARAM, .dtype = NND_F32, .rank = 2, .dim = { 2, 3 }, .stride = { 1, 2 } },
    { .name = "b", .kind = NND_PARAM, .dtype = NND_BOOL, .rank = 1, .dim = { 3 }, .stride = { 1 }, .offset = 64 },
    { .name = "n", .kind = NND_STATE, .dtype = NND_I64, .rank = 0, .offset = 128 },
    { .name = "d", .kind = NND_STATE, .dtype = NND_F64, .rank = 1, .dim = { 1 }, .stride = { 1 }, .offset = 192 },
    { .name = "m", .kind = NND_OPTIM, .dtype = NND_F32, .rank = 1, .dim = { 2 }, .stride = { 1 }, .offset = 256 },
};
static const NndImage image = { .abi = NND_ABI, .state_bytes = STATE, .var = var, .nvar = sizeof var / sizeof *var };

/* What was loaded is saved and loaded again: the same state. */
static void check_again(NndSession *s)
{
    char path[64], before[STATE];
    int fd = file_of(NULL, 0, path);
    NndError err = { 0 };

    memcpy(before, s->state, STATE);
    if (nnd_weights_save(s, path, &err) || nnd_weights_load(s, path, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    if (memcmp(s->state, before, STATE))
        abort();
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[64], before[STATE];
    int fd = file_of(data, n, path);
    NndError err = { 0 };
    NndSession s;

    if (nnd_session_open(&s, &image, 0, &err))
        abort();
    memcpy(before, s.state, STATE);
    if (!nnd_weights_load(&s, path, &err))
        check_again(&s);
    else if (!err.code || !err.text[0] || memcmp(s.state, before, STATE))
        abort();
    nnd_session_close(&s);
    close(fd);
    return 0;
}
