/* test_own_functions.c - functions without a library, as a GPU has them, against long double precision, on this processor.
 *
 * Arguments are of every exponent, and more of them where a function changes its ways; the bounds are those of backends/README.md.
 * The first half of the arguments goes one by one, the other in vectors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "tests/unit/arbitrary.h"

enum { SAMPLES = 1 << 18, HALF = SAMPLES / 2 };

typedef struct Function { Op op; Dtype dtype; double bound; } Function;

static const Function functions[] = {
    { OP_exp, DT_f64, 1 },       { OP_log, DT_f64, 1 },       { OP_tanh, DT_f64, 2 },      { OP_sigmoid, DT_f64, 3 },
    { OP_erf, DT_f64, 3 },       { OP_sin, DT_f64, 1.5 }, { OP_cos, DT_f64, 1.5 },  { OP_pow, DT_f64, 2 },
    { OP_sin, DT_f32, .51 }, { OP_cos, DT_f32, .51 }, { OP_pow, DT_f32, .51 },
};

static long double exact(Op op, long double x, long double y)
{
    switch (op) {
    case OP_exp:     return expl(x);
    case OP_log:     return logl(x);
    case OP_tanh:    return tanhl(x);
    case OP_erf:     return erfl(x);
    case OP_sigmoid: return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
    case OP_sin:     return sinl(x);
    case OP_cos:     return cosl(x);
    case OP_pow:     return powl(x, y);
    default:         return x;
    }
}

/* Units in the last place of the number nearest to want. */
static double ulps(Dtype d, double got, long double want)
{
    int    digits = d == DT_f32 ? FLT_MANT_DIG : DBL_MANT_DIG, least = d == DT_f32 ? -149 : -1074, e;
    double near = d == DT_f32 ? (float)want : (double)want;

    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (near == got)
        return signbit(near) == signbit(got) ? 0 : INFINITY;
    if (isinf(near) || isinf(got))
        return INFINITY;
    frexpl(want, &e);
    return (double)(fabsl((long double)got - want) / ldexpl(1, e - digits < least ? least : e - digits));
}

static const double special[] = { 0, -0.0, INFINITY, -INFINITY, NAN, 1, -1, 2, -2, .5, -.5, 3, -3, .625, -.625, 6, -6, 709.78, 709.79, -745.1, -745.2, 0x1p-1074,
                                  -0x1p-1074, 0x1p-1022, DBL_MAX, -DBL_MAX, 0x1p53, -0x1p53, 0x1p52 + .5, M_PI, M_PI_2, -M_PI_4, 1e5, .999, 1.001, 0x1p48, -0x1.0000000000001p48,
                                  FLT_MAX, 0x1.6ac5b262ca1ffp849 /* of all doubles the one nearest to a multiple of pi / 2 */ };
enum { NSPECIAL = sizeof special / sizeof *special };

/* Some of any size, some of everyday ones. */
static double argument(Rng *r, const Function *f)
{
    double x = ldexp(rng_unit(r) + 1, rng_below(r, 3) ? rng_below(r, 24) - 14 : rng_below(r, 2090) - 1070);

    if (f->dtype == DT_f32)
        x = (float)x;
    return rng_below(r, 2) ? -x : x;
}

/* Every special argument with every other, then any. */
static void fill(const Function *f, double *x, double *y)
{
    Rng r = { 7 };

    for (int i = 0; i < SAMPLES; i++) {
        int  k = i % HALF;
        bool is_special = k < NSPECIAL * NSPECIAL;

        x[i] = is_special ? special[k % NSPECIAL] : argument(&r, f);
        y[i] = is_special ? special[k / NSPECIAL] : argument(&r, f);
        /* powers of numbers near 1, that neither overflow nor vanish */
        if (f->op == OP_pow && i % 2 && !is_special) {
            x[i] = exp((rng_unit(&r) - .5) / (1 << rng_below(&r, 20)));
            y[i] = (rng_unit(&r) - .5) * (double)(2 << rng_below(&r, 24));
        }
    }
}

static NndImage *compile(const Function *f, Module **m)
{
    static const char text[] = "nnd-ir 1\nmodule t\nslot @x : param %s[%d]\nslot @y : param %s[%d]\nslot @z : state %s[%d]\ngraph train 1 {\n}\nplan train 1 {\n"
                               "  buffer b0 : state+0 %s[%d] @x\n  buffer b1 : state+%d %s[%d] @y\n  buffer b2 : state+%d %s[%d] @z\n  scratch 0\n"
                               "  kernel k0 \"\" scheduled flops 0 {\n    for i0 < %d {\n      %%0 = load b0[i0] : %s\n      %%1 = load b1[i0] : %s\n"
                               "      %%2 = %s %%0%s : %s\n      store b2[i0], %%2\n    }\n"
                               "    for i1 < %d vec 8 {\n      %%3 = load b0[i1 + %d] : %s\n      %%4 = load b1[i1 + %d] : %s\n"
                               "      %%5 = %s %%3%s : %s\n      store b2[i1 + %d], %%5\n    }\n  }\n}\n";
    BackendOptions o = { .opt_level = 2, .own_functions = true };
    Arena          mem = { 0 };
    const char    *d = dt_name(f->dtype);
    int            n = SAMPLES, nbytes = n * dt_bytes(f->dtype);
    char           why[512] = "", *filled;

    filled = arena_printf(&mem, text, d, n, d, n, d, n, d, n, nbytes, d, n, 2 * nbytes, d, n, HALF, d, d, op_info[f->op].name, op_info[f->op].narg == 2 ? ", %1" : "", d,
                          HALF, HALF, d, HALF, d, op_info[f->op].name, op_info[f->op].narg == 2 ? ", %4" : "", d, HALF);
    *m = module_read("test", filled, strlen(filled));
    if ((*m)->diag.nerror)
        fail_msg("%s", (*m)->diag.text);
    NndImage *im = backend_cpu.load(*m, &o, why, sizeof why);

    if (!im)
        fail_msg("%s", why);
    arena_free(&mem);
    return im;
}

static void check_function(const Function *f)
{
    Module   *m;
    NndImage *im = compile(f, &m);
    char     *state = aligned_alloc(NND_ALIGN, (size_t)im->state_bytes);
    double   *x = calloc(SAMPLES, sizeof *x), *y = calloc(SAMPLES, sizeof *y), worst = 0, at = 0, by = 0;
    Tensor    part[3];
    NndCall   call = { .state = state, .nbatch = 1, .step = 1 };

    for (int i = 0; i < 3; i++)
        part[i] = (Tensor){ { .dtype = f->dtype }, state + im->var[i].offset };
    fill(f, x, y);
    for (int i = 0; i < SAMPLES; i++) {
        tensor_set(&part[0], i, x[i], false);
        tensor_set(&part[1], i, y[i], false);
    }
    assert_int_equal(im->entry[0].run(im, &im->entry[0], &call), 0);
    for (int i = 0; i < SAMPLES; i++) {
        double a = tensor_get(&part[0], i, false), b = tensor_get(&part[1], i, false);
        double d = ulps(f->dtype, tensor_get(&part[2], i, false), exact(f->op, a, b));

        if (d > worst) {
            worst = d;
            at = a;
            by = b;
        }
    }
    print_message("# %s of %s: at most %.3f ulp, at %.17g, %.17g\n", op_info[f->op].name, dt_name(f->dtype), worst, at, by);
    if (!(worst <= f->bound))
        fail_msg("%s of %s: %.3f ulp, at most %.2f are allowed", op_info[f->op].name, dt_name(f->dtype), worst, f->bound);
    free(x);
    free(y);
    free(state);
    backend_cpu.unload(im);
    module_free(m);
}

static void test_own_functions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        check_function(&functions[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_own_functions) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
