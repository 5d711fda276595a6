/* build_builtin.h - what the builtins share: rows of their table, and reading arguments. */
#ifndef NND_FRONTEND_BUILD_BUILTIN_H
#define NND_FRONTEND_BUILD_BUILTIN_H

#include "frontend/build.h"

typedef Value BuiltinFn(Build *b, const Expr *e, Op op);

/* ordered: so many of the parameters may stand without their names; ANY_NUMBER: any tensors, all parameters by name;
 * OWN_CHECKS: make looks at its arguments itself. */
enum { ANY_NUMBER = -1, OWN_CHECKS = -2 };
typedef struct Builtin { const char *name; BuiltinFn *make; Op op; int ordered; const char *param[8]; } Builtin;

/* arguments (build_argument.c): false or VAL_NONE after a mistake */
bool arguments_fit(Build *b, const Expr *e, const Builtin *f);        /* no other names, none twice, not too many */
bool is_parameter(const Builtin *f, const char *name);
const Expr *argument(const Expr *e, const char *name, int place);     /* by name or by place; NULL: it is not given */
Value argument_tensor(Build *b, const Expr *e, const char *name, int place);
bool  argument_int(Build *b, const Expr *e, const char *name, int place, int64_t *out);       /* out as it is if not given */
/* A whole number for all of n, or a list or pair of n; out as it is if not given. */
bool  argument_ints(Build *b, const Expr *e, const char *name, int place, int n, int64_t *out);
bool  one_axis(Build *b, const Expr *e, int rank, int64_t *axis);     /* -1 is the last one */
bool  axis_order(Build *b, const Expr *e, int rank, int *n, int64_t *axis);   /* one, a list, or all: NULL and `all` */
bool  axis_list(Build *b, const Expr *e, int rank, int *n, int64_t *axis);    /* the same, ascending */
bool  size_list(Build *b, const Expr *e, int *n, int64_t *dim);       /* a list of sizes and runs of axes */
void  bound_field(Build *b, Ref r, int64_t bound);                    /* if r are a field's values they lie below bound */

/* slices, pads, windows, convolutions, rows by number (build_window.c) */
BuiltinFn build_slice, build_part, build_reverse, build_pad, build_concat, build_stack, build_window, build_conv, build_gather,
          build_scatter, build_cumsum;

#endif
