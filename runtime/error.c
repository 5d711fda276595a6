/* error.c - one sentence and a code; names and sizes of dtypes; products that can't overflow. */
#include <stdarg.h>
#include <stdio.h>

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
