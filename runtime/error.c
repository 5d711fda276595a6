/* error.c - one sentence and a code; names and sizes of dtypes; products that can't overflow; the end of an array. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/nnd.h"

int nnd_fail(NndError *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return code;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return code;
}

int nnd_exit_status(int code)
{
    switch (code) {
    case NND_OK:         return 0;
    case NND_E_ARG:      return 2;
    case NND_E_FILE:
    case NND_E_FORMAT:
    case NND_E_DATA:     return 3;
    case NND_E_EXPECT:   return 4;
    case NND_E_DIVERGED: return 5;
    case NND_E_MEMORY:
    case NND_E_DEVICE:   return 6;
    case NND_E_STOPPED:  return 130;
    }
    return 70;
}

int64_t nnd_dtype_bytes(NndDtype d)
{
    switch (d) {
    case NND_F32: case NND_I32: return 4;
    case NND_F64: case NND_I64: return 8;
    case NND_U8: case NND_BOOL: return 1;
    }
    return 0;
}

const char *nnd_dtype_name(NndDtype d)
{
    switch (d) {
    case NND_F32:  return "f32";
    case NND_F64:  return "f64";
    case NND_I32:  return "i32";
    case NND_I64:  return "i64";
    case NND_U8:   return "u8";
    case NND_BOOL: return "bool";
    }
    return "?";
}

int64_t nnd_mul(int64_t a, int64_t b)
{
    int64_t r;

    return a < 0 || b < 0 || __builtin_mul_overflow(a, b, &r) ? -1 : r;
}

void nnd_array_free(NndArray *a)
{
    free(a->base ? a->base : a->data);
    *a = (NndArray){ 0 };
}
