/* op.c - the table of operations, their type rules, and attributes.
 *
 * A rule is given argument types and the attribute and says the result's type, or what does not fit.
 * It is the only place where shapes are checked: the frontend, the passes and the reader all make
 * nodes through it.  u8 and bool are for storage and comparison; arithmetic wants a cast first.
 */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ir/op_rules.h"

static const Type no_type = { .rank = -1 };

Type infer_error(Infer *in, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *what = arena_vprintf(in->mem, fmt, ap);
    va_end(ap);
    in->error = arena_printf(in->mem, "%s: %s", op_info[in->op].name, what);
    return no_type;
}

char *infer_str(Infer *in, int i) { return ty_str_named(in->mem, &in->arg[i], &in->dim); }

/* pointwise */

static bool equal_types(Infer *in)
{
    for (int i = 1; i < in->narg; i++) {
        if (!ty_equal(&in->arg[0], &in->arg[i])) {
            infer_error(in, "wants equal types, got %s and %s", infer_str(in, 0), infer_str(in, i));
            return false;
        }
    }
    return true;
}

bool is_numeric(Dtype d) { return dt_is_float(d) || d == DT_i32 || d == DT_i64; }

static Type type_numeric(Infer *in)
{
    for (int i = 0; i < in->narg; i++) {
        if (!is_numeric(in->arg[i].dtype))
            return infer_error(in, "wants f32, f64, i32 or i64, got %s", infer_str(in, i));
    }
    return equal_types(in) ? in->arg[0] : no_type;
}

static Type type_floats(Infer *in)
{
    for (int i = 0; i < in->narg; i++) {
        if (!dt_is_float(in->arg[i].dtype))
            return infer_error(in, "wants f32 or f64, got %s", infer_str(in, i));
    }
    return equal_types(in) ? in->arg[0] : no_type;
}

static Type type_compare(Infer *in) { return equal_types(in) ? ty_with(in->arg[0], DT_bool) : no_type; }

static Type type_logic(Infer *in)
{
    for (int i = 0; i < in->narg; i++) {
        if (in->arg[i].dtype != DT_bool)
            return infer_error(in, "wants bool, got %s", infer_str(in, i));
    }
    return equal_types(in) ? in->arg[0] : no_type;
}

static Type type_select(Infer *in)
{
    if (in->arg[0].dtype != DT_bool)
        return infer_error(in, "wants a bool to choose by, got %s", infer_str(in, 0));
    if (!ty_equal(&in->arg[1], &in->arg[2]))
        return infer_error(in, "wants two equal types to choose from, got %s and %s", infer_str(in, 1), infer_str(in, 2));
    if (!ty_same_shape(&in->arg[0], &in->arg[1]))
        return infer_error(in, "chooses elements of %s by %s: shapes differ", infer_str(in, 1), infer_str(in, 0));
    return in->arg[1];
}

static Type type_cast(Infer *in)
{
    int64_t d = in->attr->v[0];

    if (d < 0 || d >= NDTYPE)
        return infer_error(in, "%" PRId64 " is no dtype", d);
    return ty_with(in->arg[0], (Dtype)d);
}

/* axes */

bool attr_has(const int64_t *v, int n, int64_t x)
{
    for (int i = 0; i < n; i++) {
        if (v[i] == x)
            return true;
    }
    return false;
}

static bool axes_distinct(const int64_t *v, int n, int rank)
{
    for (int i = 0; i < n; i++) {
        if (v[i] < 0 || v[i] >= rank || attr_has(v, i, v[i]))
            return false;
    }
    return true;
}

static bool axes_ascend(const int64_t *v, int n, int rank)
{
    for (int i = 1; i < n; i++) {
        if (v[i] <= v[i - 1])
            return false;
    }
    return axes_distinct(v, n, rank);
}

static Type type_reduce(Infer *in)
{
    const Type *a = &in->arg[0];

    if (!is_numeric(a->dtype))
        return infer_error(in, "wants f32, f64, i32 or i64, got %s", infer_str(in, 0));
    if (!axes_ascend(in->attr->v, in->attr->n, a->rank))
        return infer_error(in, "wants ascending axes of %s", infer_str(in, 0));
    return ty_remove(*a, in->attr->n, in->attr->v);
}

/* Room for an index of this axis in an i32. */
static bool axis_countable(const Type *t, int64_t axis)
{
    return axis >= 0 && axis < t->rank && t->dim[axis] <= INT32_MAX;
}

static Type type_arg(Infer *in)
{
    const Type *a = &in->arg[0];
    int64_t     n = 1;

    if (!is_numeric(a->dtype))
        return infer_error(in, "wants f32, f64, i32 or i64, got %s", infer_str(in, 0));
    if (in->attr->n < 1 || !axes_ascend(in->attr->v, in->attr->n, a->rank))
        return infer_error(in, "wants ascending axes of %s", infer_str(in, 0));
    for (int i = 0; i < in->attr->n; i++)
        if (__builtin_mul_overflow(n, a->dim[in->attr->v[i]], &n) || n > INT32_MAX)
            return infer_error(in, "%s has axes with more elements than an i32 can count", infer_str(in, 0));
    return ty_with(ty_remove(*a, in->attr->n, in->attr->v), DT_i32);
}

Type type_expand(Infer *in)
{
    int            n = in->attr->n / 2, rank = in->arg[0].rank + n;
    const int64_t *axis = in->attr->v, *size = axis + n;

    if (rank > MAX_RANK)
        return infer_error(in, "%s with %d more axes has more than %d", infer_str(in, 0), n, MAX_RANK);
    if (!axes_ascend(axis, n, rank))
        return infer_error(in, "wants ascending axes of a result with %d axes", rank);
    return ty_insert(in->arg[0], n, axis, size);
}

static Type type_reshape(Infer *in)
{
    Type t = { .dtype = in->arg[0].dtype, .rank = in->attr->n };

    if (in->attr->n > MAX_RANK)
        return infer_error(in, "wants at most %d axes, got %d", MAX_RANK, in->attr->n);
    for (int i = 0; i < t.rank; i++)
        t.dim[i] = in->attr->v[i];
    if (!ty_valid(&t) || ty_count(&t) != ty_count(&in->arg[0]))
        return infer_error(in, "%s does not hold as many elements as %s", ty_str_named(in->mem, &t, &in->dim),
                           infer_str(in, 0));
    return t;
}

static Type type_permute(Infer *in)
{
    Type t = in->arg[0];

    if (in->attr->n != t.rank || !axes_distinct(in->attr->v, in->attr->n, t.rank))
        return infer_error(in, "wants each axis of %s once", infer_str(in, 0));
    for (int i = 0; i < t.rank; i++)
        t.dim[i] = in->arg[0].dim[in->attr->v[i]];
    return t;
}

static Type type_one_hot(Infer *in)
{
    Type    t = ty_with(in->arg[0], DT_bool);
    int64_t depth = in->attr->v[0], last = t.rank;

    if (!dt_is_int(in->arg[0].dtype))
        return infer_error(in, "wants integers, got %s", infer_str(in, 0));
    if (t.rank == MAX_RANK)
        return infer_error(in, "%s has no room for another axis", infer_str(in, 0));
    if (depth < 1 || depth > INT32_MAX)
        return infer_error(in, "wants a depth from 1 to %d, got %" PRId64, INT32_MAX, depth);
    return ty_insert(t, 1, &last, &depth);
}

/* dot */

DotAxes attr_dot(const Attr *a)
{
    int            nb = (int)a->v[0], nc = (int)a->v[1];
    const int64_t *v = a->v + 2;

    return (DotAxes){ nb, nc, v, v + nb, v + 2 * nb, v + 2 * nb + nc };
}

static bool dot_axes_fit(const Attr *a, int rank_a, int rank_b)
{
    if (a->v[0] < 0 || a->v[0] > MAX_RANK || a->v[1] < 0 || a->v[1] > MAX_RANK ||
        a->n != 2 + 2 * (a->v[0] + a->v[1]))
        return false;

    /* batch and folded axes of one argument together must be distinct */
    DotAxes x = attr_dot(a);
    int64_t of_a[2 * MAX_RANK], of_b[2 * MAX_RANK];
    memcpy(of_a, x.ab, sizeof *of_a * (size_t)x.nb);
    memcpy(of_b, x.bb, sizeof *of_b * (size_t)x.nb);
    memcpy(of_a + x.nb, x.ac, sizeof *of_a * (size_t)x.nc);
    memcpy(of_b + x.nb, x.bc, sizeof *of_b * (size_t)x.nc);
    return axes_distinct(of_a, x.nb + x.nc, rank_a) && axes_distinct(of_b, x.nb + x.nc, rank_b);
}

static bool sizes_agree(const Type *a, const Type *b, int n, const int64_t *axis_a, const int64_t *axis_b)
{
    for (int i = 0; i < n; i++) {
        if (a->dim[axis_a[i]] != b->dim[axis_b[i]])
            return false;
    }
    return true;
}

static void append_free(Type *t, const Type *a, int nb, const int64_t *batch, int nc, const int64_t *fold)
{
    for (int i = 0; i < a->rank; i++) {
        if (!attr_has(batch, nb, i) && !attr_has(fold, nc, i))
            t->dim[t->rank++] = a->dim[i];
    }
}

static Type type_dot(Infer *in)
{
    const Type *a = &in->arg[0], *b = &in->arg[1];

    if (!dt_is_float(a->dtype) || a->dtype != b->dtype)
        return infer_error(in, "wants two f32 or two f64, got %s by %s", infer_str(in, 0), infer_str(in, 1));
    if (!dot_axes_fit(in->attr, a->rank, b->rank))
        return infer_error(in, "its axes are not axes of %s and %s", infer_str(in, 0), infer_str(in, 1));

    DotAxes x = attr_dot(in->attr);
    Type    t = { .dtype = a->dtype };
    if (!sizes_agree(a, b, x.nb, x.ab, x.bb))
        return infer_error(in, "batch sizes differ, %s by %s", infer_str(in, 0), infer_str(in, 1));
    if (!sizes_agree(a, b, x.nc, x.ac, x.bc))
        return infer_error(in, "inner sizes differ, %s by %s", infer_str(in, 0), infer_str(in, 1));
    if (a->rank + b->rank - x.nb - 2 * x.nc > MAX_RANK)
        return infer_error(in, "%s by %s gives more than %d axes", infer_str(in, 0), infer_str(in, 1), MAX_RANK);
    for (int i = 0; i < x.nb; i++)
        t.dim[t.rank++] = a->dim[x.ab[i]];
    append_free(&t, a, x.nb, x.ab, x.nc, x.ac);
    append_free(&t, b, x.nb, x.bb, x.nc, x.bc);
    return t;
}

/* what the maker states */

static Type given_value(Infer *in)
{
    double x = attr_value(in->attr);

    if (!dt_holds(in->given->dtype, x))
        return infer_error(in, "%s can't hold %.17g", dt_name(in->given->dtype), x);
    return *in->given;
}

static Type given_stream(Infer *in)
{
    if (!dt_is_float(in->given->dtype))
        return infer_error(in, "gives f32 or f64, not %s", dt_name(in->given->dtype));
    if (in->attr->v[0] < 0 || in->attr->v[0] > UINT32_MAX)
        return infer_error(in, "%" PRId64 " is no stream: it has 32 bits", in->attr->v[0]);
    return *in->given;
}

static Type given_axis(Infer *in)
{
    if (in->given->dtype != DT_i32)
        return infer_error(in, "gives i32, not %s", dt_name(in->given->dtype));
    if (!axis_countable(in->given, in->attr->v[0]))
        return infer_error(in, "%s has no axis %" PRId64 " that an i32 can count",
                           ty_str_named(in->mem, in->given, &in->dim), in->attr->v[0]);
    return *in->given;
}

static Type type_given(Infer *in)
{
    AttrKind kind = op_info[in->op].attr;

    if (!in->given || !ty_valid(in->given))
        return infer_error(in, "wants a type to give");
    if (kind == ATTR_VALUE)
        return given_value(in);
    if (kind == ATTR_STREAM)
        return given_stream(in);
    if (kind == ATTR_AXIS)
        return given_axis(in);
    if (in->given->dtype != DT_bool || in->given->rank)
        return infer_error(in, "gives bool, not %s", ty_str_named(in->mem, in->given, &in->dim));
    return *in->given;
}

/* scans */

static bool loop_fits(Infer *in)
{
    const int64_t *v = in->attr->v;

    if (v[0] >= 0 && v[0] < MAX_LOOPS && v[1] >= 1 && v[1] <= INT32_MAX && v[2] >= 0 && v[2] <= INT32_MAX && (v[3] == 0 || v[3] == 1))
        return true;
    infer_error(in, "wants the number of a scan below %d, its steps, an axis or number, and 0 or 1", MAX_LOOPS);
    return false;
}

static Type type_element(Infer *in)
{
    const Type    *a = &in->arg[0];
    const int64_t *v = in->attr->v;

    if (!loop_fits(in))
        return no_type;
    if (v[2] >= a->rank || a->dim[v[2]] != v[1])
        return infer_error(in, "%s has no axis %" PRId64 " of %" PRId64 " steps", infer_str(in, 0), v[2], v[1]);
    return ty_remove(*a, 1, &v[2]);
}

static Type type_carry(Infer *in) { return loop_fits(in) ? in->arg[0] : no_type; }

static Type type_next(Infer *in)
{
    if (!loop_fits(in))
        return no_type;
    if (!ty_equal(&in->arg[0], &in->arg[1]))
        return infer_error(in, "a carry stays %s, its next value is %s", infer_str(in, 0), infer_str(in, 1));
    return in->arg[0];
}

static Type type_last(Infer *in) { return type_carry(in); }

static Type type_stack(Infer *in)
{
    const Type    *a = &in->arg[0];
    const int64_t *v = in->attr->v;

    if (!loop_fits(in))
        return no_type;
    if (a->rank == MAX_RANK || v[2] > a->rank)
        return infer_error(in, "%s has no room for an axis %" PRId64, infer_str(in, 0), v[2]);
    return ty_insert(*a, 1, &v[2], &v[1]);
}

/* what passes take out */

static Type type_variable(Infer *in)
{
    if (in->attr->v[0] < 0 || in->attr->v[0] > UINT32_MAX)
        return infer_error(in, "%" PRId64 " is no number of a variable: it has 32 bits", in->attr->v[0]);
    return type_floats(in);
}

static Type type_grad(Infer *in)
{
    if (!dt_is_float(in->arg[0].dtype) || !dt_is_float(in->arg[1].dtype))
        return infer_error(in, "differentiates f32 or f64 by f32 or f64, got %s by %s", infer_str(in, 0), infer_str(in, 1));
    return in->arg[1];
}

static Type type_slot(Infer *in)
{
    return in->given ? *in->given : infer_error(in, "slot %" PRId64 " has no value here", in->attr->v[0]);
}

/* the table */

enum { COMM = PROP_COMM, CHEAP = PROP_CHEAP, MATH = PROP_MATH };

const OpInfo op_info[NOP] = {
#define OP(name, nargs, attr, props, type, cls, domain, eval, grad) \
    { #name, nargs, ATTR_##attr, props, CLASS_##cls, DOM_##domain, type_##type, #type, grad },
#include "ir/ops.def"
#undef OP
};

const char *const class_name[] = { "POINT", "REDUCE", "MOVE", "INDEX", "FOLD", "LOOP", "EDGE" };
const char *const domain_name[] = { "ANY", "POS", "UNIT", "NZ", "KINK", "INT", "BOOL", "none" };

bool op_parse(const char *name, Op *op)
{
    for (int i = 0; i < NOP; i++) {
        if (!strcmp(name, op_info[i].name)) {
            *op = (Op)i;
            return true;
        }
    }
    return false;
}

static bool attr_counts(AttrKind kind, int n)
{
    switch (kind) {
    case ATTR_NONE:   return n == 0;
    case ATTR_AXES:
    case ATTR_SHAPE:
    case ATTR_PERM:   return n >= 0;
    case ATTR_EXPAND: return n >= 0 && n % 2 == 0;
    case ATTR_DOT:    return n >= 2;
    case ATTR_DTYPE:
    case ATTR_SLOT:
    case ATTR_VALUE:
    case ATTR_STREAM:
    case ATTR_AXIS:
    case ATTR_DEPTH:   return n == 1;
    case ATTR_PAD:     return n % 2 == 1;
    case ATTR_ROWS:
    case ATTR_SCORES:  return n == 2;
    case ATTR_LOOP:    return n == 4;
    case ATTR_SLICE:
    case ATTR_WINDOW:
    case ATTR_OVERLAP:
    case ATTR_CONV:
    case ATTR_TAPS:
    case ATTR_PATCH:   return n >= 0 && n % attr_group(kind) == 0;
    case NATTR:        break;
    }
    return false;
}

Type op_type(Infer *in)
{
    const OpInfo *info = &op_info[in->op];

    assert(in->op < NOP);
    in->error = NULL;
    if (in->narg != info->narg)
        return infer_error(in, "wants %d argument%s, got %d", info->narg, info->narg == 1 ? "" : "s", in->narg);
    if (!attr_counts(info->attr, in->attr->n))
        return infer_error(in, "has an attribute of the wrong length, %d", in->attr->n);

    Type t = info->type(in);
    if (t.rank >= 0 && !ty_valid(&t))
        return infer_error(in, "a result with sizes below 1 or too large for memory, %s",
                           ty_str_named(in->mem, &t, &in->dim));
    return t;
}

/* attributes */

Attr attr_make(Arena *mem, int n, const int64_t *v)
{
    int64_t *copy = arena_array(mem, int64_t, n);

    if (n)
        memcpy(copy, v, sizeof *copy * (size_t)n);
    return (Attr){ n, copy };
}

double attr_value(const Attr *a)
{
    double x;

    memcpy(&x, a->v, sizeof x);
    return x;
}

Attr attr_double(Arena *mem, double x)
{
    int64_t bits;

    /* One nan, whatever made it: equal constants are one node, and the text has no payload. */
    if (isnan(x))
        x = (double)NAN;
    memcpy(&bits, &x, sizeof bits);
    return attr_make(mem, 1, &bits);
}

Attr attr_dot_make(Arena *mem, int nb, const int64_t *ab, const int64_t *bb, int nc, const int64_t *ac,
                   const int64_t *bc)
{
    int64_t *v = arena_array(mem, int64_t, 2 + 2 * nb + 2 * nc);
    int      n = 0;

    v[n++] = nb;
    v[n++] = nc;
    for (int i = 0; i < nb; i++)
        v[n++] = ab[i];
    for (int i = 0; i < nb; i++)
        v[n++] = bb[i];
    for (int i = 0; i < nc; i++)
        v[n++] = ac[i];
    for (int i = 0; i < nc; i++)
        v[n++] = bc[i];
    return (Attr){ n, v };
}
