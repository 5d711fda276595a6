/* type.c - dtypes and static shapes: names, sizes, comparison. */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ir/type.h"

static const struct { const char *name; int nbytes; } dtype_info[NDTYPE] = {
    [DT_f32] = { "f32", 4 }, [DT_f64] = { "f64", 8 }, [DT_i32] = { "i32", 4 },
    [DT_i64] = { "i64", 8 }, [DT_u8] = { "u8", 1 },   [DT_bool] = { "bool", 1 },
};

const char *dt_name(Dtype d)
{
    assert(d < NDTYPE);
    return dtype_info[d].name;
}

int64_t dt_bytes(Dtype d)
{
    assert(d < NDTYPE);
    return dtype_info[d].nbytes;
}

bool dt_parse(const char *s, Dtype *d)
{
    for (int i = 0; i < NDTYPE; i++) {
        if (!strcmp(s, dtype_info[i].name)) {
            *d = (Dtype)i;
            return true;
        }
    }
    return false;
}

Type ty_scalar(Dtype d) { return (Type){ .dtype = d }; }

Type ty_make(Dtype d, int rank, const int64_t *dim)
{
    Type t = { .dtype = d, .rank = rank };

    assert(rank >= 0 && rank <= MAX_RANK);
    for (int i = 0; i < rank; i++)
        t.dim[i] = dim[i];
    return t;
}

Type ty_with(Type t, Dtype d)
{
    t.dtype = d;
    return t;
}

bool ty_same_shape(const Type *a, const Type *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] != b->dim[i])
            return false;
    }
    return true;
}

bool ty_equal(const Type *a, const Type *b) { return a->dtype == b->dtype && ty_same_shape(a, b); }

int64_t ty_count(const Type *t)
{
    int64_t n = 1;

    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

bool ty_valid(const Type *t)
{
    int64_t nbytes = 8;

    if (t->dtype >= NDTYPE || t->rank < 0 || t->rank > MAX_RANK)
        return false;
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] < 1 || __builtin_mul_overflow(nbytes, t->dim[i], &nbytes))
            return false;
    }
    return nbytes < INT64_C(1) << 62;
}

char *dim_str(Arena *a, int64_t dim, const DimName *dn)
{
    if (!dn || !dn->name || dn->probe <= 1 || dim < dn->probe || dim % dn->probe)
        return arena_printf(a, "%" PRId64, dim);
    if (dim == dn->probe)
        return arena_strdup(a, dn->name);
    return arena_printf(a, "%" PRId64 "*%s", dim / dn->probe, dn->name);
}

char *ty_str_named(Arena *a, const Type *t, const DimName *dn)
{
    char *s = arena_strdup(a, dt_name(t->dtype));

    for (int i = 0; i < t->rank; i++)
        s = arena_printf(a, "%s%s%s", s, i ? ", " : "[", dim_str(a, t->dim[i], dn));
    return t->rank ? arena_printf(a, "%s]", s) : s;
}

char *ty_str(Arena *a, const Type *t) { return ty_str_named(a, t, NULL); }

Type ty_insert(Type t, int n, const int64_t *axis, const int64_t *size)
{
    Type r = { .dtype = t.dtype, .rank = t.rank + n };

    assert(r.rank <= MAX_RANK);
    for (int i = 0, from = 0, k = 0; i < r.rank; i++) {
        if (k < n && axis[k] == i)
            r.dim[i] = size[k++];
        else
            r.dim[i] = t.dim[from++];
    }
    return r;
}

Type ty_remove(Type t, int n, const int64_t *axis)
{
    Type r = { .dtype = t.dtype };

    for (int i = 0, k = 0; i < t.rank; i++) {
        if (k < n && axis[k] == i)
            k++;
        else
            r.dim[r.rank++] = t.dim[i];
    }
    return r;
}

bool dt_holds(Dtype d, double x)
{
    switch (d) {
    case DT_f32:
    case DT_f64:  return true;
    case DT_i32:  return x == floor(x) && x >= INT32_MIN && x <= INT32_MAX;
    case DT_i64:  return x == floor(x) && x >= -0x1p63 && x < 0x1p63;
    case DT_u8:   return x == floor(x) && x >= 0 && x <= UINT8_MAX;
    case DT_bool: return x == 0 || x == 1;
    case NDTYPE:  break;
    }
    return false;
}
