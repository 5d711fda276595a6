/* build_number.c - numbers known before anything runs: whole ones exactly, others as double. */
#include "frontend/build.h"

#include <math.h>
#include <string.h>

static Value whole_op(Build *b, const Expr *e, const char *op, int64_t x, int64_t y)
{
    int64_t r = 0;
    bool over = false;

    if (!strcmp(op, "add"))
        over = __builtin_add_overflow(x, y, &r);
    else if (!strcmp(op, "sub"))
        over = __builtin_sub_overflow(x, y, &r);
    else if (!strcmp(op, "mul"))
        over = __builtin_mul_overflow(x, y, &r);
    if (over)
        return build_error(b, e->loc, "the number is too large");
    return value_int(r);
}

static Value compare_numbers(const char *op, double x, double y)
{
    return value_truth(!strcmp(op, "eq") ? x == y : !strcmp(op, "ne") ? x != y : !strcmp(op, "lt") ? x < y
                       : !strcmp(op, "le") ? x <= y : !strcmp(op, "gt") ? x > y : x >= y);
}

bool is_compare(const char *op)
{
    return !strcmp(op, "eq") || !strcmp(op, "ne") || !strcmp(op, "lt") || !strcmp(op, "le") || !strcmp(op, "gt")
           || !strcmp(op, "ge");
}

/* Once the check has passed, only a batch can make a zero: N - 1 of the last row of an epoch. */
static Value divide(Build *b, const Expr *e, const Value *x, const Value *y)
{
    if (y->number == 0)
        return b->m->dim_probe ? build_error(b, e->loc, "division by zero") : value_float(x->number / y->number);
    if (!x->is_int || !y->is_int || y->integer == -1)
        return y->is_int && x->is_int ? whole_op(b, e, "sub", 0, x->integer) : value_float(x->number / y->number);
    if (x->integer % y->integer)      /* a fraction of two whole numbers: a float, and no dimension any more */
        return value_float(x->number / y->number);
    return value_int(x->integer / y->integer);
}

static Value number_op(Build *b, const Expr *e, const char *op, const Value *x, const Value *y)
{
    if (!strcmp(op, "maximum") || !strcmp(op, "minimum"))
        return (x->number > y->number) == (op[1] == 'a') ? *x : *y;
    if (is_compare(op))
        return compare_numbers(op, x->number, y->number);
    if (!strcmp(op, "and") || !strcmp(op, "or")) {
        if (!x->is_truth || !y->is_truth)
            return build_error(b, e->loc, "`%s` joins truths, got %s and %s", op, build_describe(b, x), build_describe(b, y));
        return value_truth(!strcmp(op, "and") ? x->integer && y->integer : x->integer || y->integer);
    }
    if (x->is_truth || y->is_truth)
        return build_error(b, e->loc, "cannot compute with a truth");
    if (!strcmp(op, "div"))
        return divide(b, e, x, y);
    if (!strcmp(op, "pow")) {
        double r = pow(x->number, y->number);

        return x->is_int && y->is_int && y->integer >= 0 && fabs(r) < 0x1p53 ? value_int((int64_t)r) : value_float(r);
    }
    if (x->is_int && y->is_int)
        return whole_op(b, e, op, x->integer, y->integer);
    return value_float(!strcmp(op, "add") ? x->number + y->number : !strcmp(op, "sub") ? x->number - y->number
                                                                                      : x->number * y->number);
}

Value build_number_op(Build *b, const Expr *e, const char *op, const Value *x, const Value *y)
{
    Value v = number_op(b, e, op, x, y);

    v.of_batch = x->of_batch || y->of_batch;
    return v;
}

/* A function of numbers, computed now, in double; false: only the graph knows it. */
static bool known_function(Build *b, const Expr *e, Op op, const Value *a, Value *out)
{
    double x = a->number;

    switch (op) {
    case OP_neg:     *out = a->is_int ? whole_op(b, e, "sub", 0, a->integer) : value_float(-x); return true;
    case OP_exp:     *out = value_float(exp(x)); return true;
    case OP_log:     *out = value_float(log(x)); return true;
    case OP_sqrt:    *out = value_float(sqrt(x)); return true;
    case OP_tanh:    *out = value_float(tanh(x)); return true;
    case OP_erf:     *out = value_float(erf(x)); return true;
    case OP_sigmoid: *out = value_float(1 / (1 + exp(-x))); return true;
    case OP_sin:     *out = value_float(sin(x)); return true;
    case OP_cos:     *out = value_float(cos(x)); return true;
    case OP_floor:   *out = fabs(x) < 0x1p53 ? value_int((int64_t)floor(x)) : value_float(floor(x)); return true;
    case OP_abs:
        *out = !a->is_int ? value_float(fabs(x)) : a->integer < 0 ? whole_op(b, e, "sub", 0, a->integer) : *a;
        return true;
    case OP_relu:    *out = x > 0 ? *a : value_int(0); return true;
    case OP_stop_gradient: *out = *a; return true;
    default:         return false;
    }
}

static bool known_pair(Op op)
{
    return op == OP_add || op == OP_sub || op == OP_mul || op == OP_div || op == OP_pow || op == OP_maximum || op == OP_minimum
           || op == OP_lt || op == OP_le || op == OP_eq || op == OP_ne || op == OP_and || op == OP_or;
}

bool known_point(Build *b, const Expr *e, Op op, const Value *a, Value *out)
{
    bool of_batch = a->of_batch;

    if (known_pair(op)) {
        *out = build_number_op(b, e, op_info[op].name, &a[0], &a[1]);
        return true;
    }
    if (op_info[op].narg != 1)
        return false;
    if (a->is_truth != (op == OP_not)) {
        *out = build_error(b, e->loc, "%s: wants a %s, got %s", op_info[op].name, op == OP_not ? "truth" : "number",
                           build_describe(b, a));
        return true;
    }
    if (op == OP_not)
        *out = value_truth(!a->integer);
    else if (!known_function(b, e, op, a, out))
        return false;
    out->of_batch = of_batch;
    return true;
}
