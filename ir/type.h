/* type.h - dtypes and static shapes. */
#ifndef NND_IR_TYPE_H
#define NND_IR_TYPE_H

#include "ir/arena.h"

enum { MAX_RANK = 8 };

/* The order is that of NndDtype in runtime/abi.h; a test holds them together. */
typedef enum Dtype { DT_f32, DT_f64, DT_i32, DT_i64, DT_u8, DT_bool, NDTYPE } Dtype;

typedef struct Type { Dtype dtype; int rank; int64_t dim[MAX_RANK]; } Type;

static inline bool dt_is_float(Dtype d) { return d == DT_f32 || d == DT_f64; }
static inline bool dt_is_int(Dtype d)   { return d == DT_i32 || d == DT_i64 || d == DT_u8; }

const char *dt_name(Dtype d);                       /* "f32" */
bool        dt_parse(const char *s, Dtype *d);
int64_t     dt_bytes(Dtype d);
bool        dt_holds(Dtype d, double x);            /* x is one of its values, or (floats) is rounded to one */

Type    ty_scalar(Dtype d);
Type    ty_make(Dtype d, int rank, const int64_t *dim);
Type    ty_with(Type t, Dtype d);                   /* the same shape, another dtype */
bool    ty_equal(const Type *a, const Type *b);
bool    ty_same_shape(const Type *a, const Type *b);
/* elements; every Type that a graph holds has been checked by ty_valid, so this can't overflow */
int64_t ty_count(const Type *t);
/* rank within MAX_RANK, dims >= 1, count * 8 bytes below 2^62 */
bool    ty_valid(const Type *t);
char   *ty_str(Arena *a, const Type *t);            /* "f32[64, 784]", "f32" for rank 0 */

/* A dimension that messages call by name: multiples of probe print as "N", "2*N".  name NULL: numbers. */
typedef struct DimName { const char *name; int64_t probe; } DimName;
char   *dim_str(Arena *a, int64_t dim, const DimName *dn);            /* dn may be NULL */
char   *ty_str_named(Arena *a, const Type *t, const DimName *dn);

/* ty_insert - t with axes of the given sizes inserted so that they stand at axis[] (ascending) of the result;
 * ty_remove - t without the axes axis[] (ascending).  The caller has checked the ranges. */
Type ty_insert(Type t, int n, const int64_t *axis, const int64_t *size);
Type ty_remove(Type t, int n, const int64_t *axis);

#endif
