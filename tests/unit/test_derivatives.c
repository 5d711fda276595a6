/* test_derivatives.c - grad(y, x) in models, as the language, the passes and both targets make it, against central differences.
 *
 * A net gives its value or its derivatives by the input; a train block has as figures the loss, its derivative along a direction
 * in one parameter, and how that changes along a direction in another: a gradient, and a Hessian times a vector.
 *
 * Tolerance: in double precision, with a step h of 1e-5, a central difference is wrong by h^2 f'''/6 and, by rounding,
 * 2^-53 |f| / h; both are below 1e-9 for values and derivatives of some ten.  1e-7 relative to the larger of 1 and the derivative
 * is far from that, and far from a missing term.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backends/backend.h"
#include "frontend/compile.h"
#include "runtime/nnd.h"

enum { MAX_TEXT = 4096, ROWS = 4 };
static const double STEP = 1e-5, TOLERANCE = 1e-7;

static const Backend *const backends[] = { &backend_interp, &backend_cpu };
enum { NBACKEND = sizeof backends / sizeof *backends };

/* A model, compiled. */
typedef struct Rig {
    Model         *md;
    Module        *m;
    const Backend *be;
    NndImage      *im;
    NndSession     s;
} Rig;

static void open_rig(Rig *r, const Backend *be, const char *text)
{
    static const FrontOptions front = { .float64 = true };
    static const EntryWant want[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, ROWS }, { ENTRY_EVAL, ROWS }, { ENTRY_INFER, ROWS } };
    BackendOptions o = { .opt_level = 1 };
    Pipeline       p = { .options = { .rule_limit = -1 } };
    char           info[256], why[512] = "";
    const char    *fault;

    *r = (Rig){ .be = be };
    r->md = model_parse("text.nnd", text, strlen(text), &front);
    if (!model_check(r->md))
        fail_msg("%s", model_diag(r->md)->text);
    r->m = model_build(r->md, want, 4);
    assert_non_null(r->m);
    assert_true(be->probe(&o, &p.options.limits, info, sizeof info, why, sizeof why));
    if ((fault = pipeline_run(r->m, &p)))
        fail_msg("%s", fault);
    if (!(r->im = be->load(r->m, &o, why, sizeof why)))
        fail_msg("%s", why);
    assert_int_equal(nnd_session_open(&r->s, r->im, ROWS, NULL), 0);
    assert_int_equal(nnd_session_init(&r->s, 3, NULL), 0);
}

static void close_rig(Rig *r)
{
    nnd_session_close(&r->s);
    r->be->unload(r->im);
    module_free(r->m);
    model_free(r->md);
}

static bool near(const char *what, double got, double want)
{
    if (fabs(got - want) <= TOLERANCE * fmax(1, fabs(want)))
        return true;
    print_message("# %s: got %.17g, the difference is %.17g\n", what, got, want);
    return false;
}

/* ---- by the input ---- */

static void infer(Rig *r, const double t[ROWS], double y[ROWS])
{
    const NndEntry *e = nnd_entry_find(r->im, NND_INFER, ROWS);
    const void     *field[] = { t };
    void           *out[] = { y };
    NndCall call = { .state = r->s.state, .scratch = r->s.scratch, .field = field, .out = out, .nbatch = 1, .step = 1 };

    assert_int_equal(e->run(r->im, e, &call), 0);
}

/* The net of models/pinn.nnd, and what it returns; the train block is there because a model has one. */
static void open_net(Rig *r, const Backend *be, const char *returned)
{
    char text[MAX_TEXT];
    int  n = snprintf(text, sizeof text, "nnd 1\ndata moments(number: i32) { train: rows(8) }\n"
                      "model net(given: f32[N, 1]) -> f32[N, 1] {\n    t = variable(given)\n"
                      "    u = t |> fc1: linear(8) |> tanh() |> fc2: linear(8) |> tanh() |> fc3: linear(1)\n    return %s\n}\n"
                      "train net on moments {\n    minimize mean(net(reshape(f32(number), [-1, 1]))^2)\n    optimizer: sgd()\n}\n",
                      returned);

    assert_true(n < MAX_TEXT);
    open_rig(r, be, text);
}

/* Each is the derivative of the one before. */
static const char *const orders[] = { "u", "grad(u, t)", "grad(grad(u, t), t)", "grad(grad(grad(u, t), t), t)" };

static void check_order(const Backend *be, int order)
{
    static const double t[ROWS] = { -0.7, 0, 0.4, 1.9 };
    double left[ROWS], right[ROWS], before[ROWS], after[ROWS], got[ROWS];
    Rig    lower, upper;
    bool   good = true;

    open_net(&lower, be, orders[order - 1]);
    open_net(&upper, be, orders[order]);
    for (int i = 0; i < ROWS; i++) {
        left[i] = t[i] - STEP;
        right[i] = t[i] + STEP;
    }
    infer(&lower, left, before);
    infer(&lower, right, after);
    infer(&upper, t, got);
    for (int i = 0; i < ROWS; i++) {
        good &= near(orders[order], got[i], (after[i] - before[i]) / (2 * STEP));
        assert_true(fabs(got[i]) > 1e-4);      /* there is something to compare */
    }
    close_rig(&lower);
    close_rig(&upper);
    assert_true(good);
}

static void test_by_input(void **state)
{
    (void)state;
    for (int i = 0; i < NBACKEND; i++)
        for (int order = 1; order < 4; order++)
            check_order(backends[i], order);
}

/* ---- by parameters ---- */

/* What the net makes of x, f32[N, 6], and the loss of that, p, and of three classes; two of its parameters, a and b, and their sizes. */
typedef struct Net { const char *name, *body; int wide; const char *loss, *a, *shape_a, *b, *shape_b; } Net;

static const Net nets[] = {
    { "tanh", "x |> fc1: linear(5) |> tanh() |> fc2: linear(3)", 3, "mse(p, one_hot(class, 3))",
      "fc1.weight", "[5, 6]", "fc2.weight", "[3, 5]" },
    { "one parameter", "x |> fc1: linear(5) |> sigmoid() |> fc2: linear(3)", 3, "mse(p, one_hot(class, 3))",
      "fc1.weight", "[5, 6]", "fc1.weight", "[5, 6]" },
    { "cross-entropy", "x |> fc1: linear(5) |> gelu() |> fc2: linear(3)", 3, "cross_entropy(p, class)",
      "fc2.weight", "[3, 5]", "fc1.bias", "[5]" },
    { "layer norm", "x |> fc1: linear(3) |> ln: layer_norm()", 3, "cross_entropy(p, class)",
      "fc1.weight", "[3, 6]", "ln.weight", "[3]" },
    { "batch norm", "x |> fc1: linear(3) |> bn: batch_norm()", 3, "cross_entropy(p, class)",
      "fc1.weight", "[3, 6]", "fc1.weight", "[3, 6]" },
    { "attention", "reshape(x, [-1, 3, 2]) |> attn: multi_head_attention(1, causal: true) |> flatten()", 6, "mean((p + x)^3)",
      "attn.in_proj_weight", "[6, 2]", "attn.out_proj.weight", "[2, 2]" },
    { "a derivative in the loss", "x |> fc1: linear(5) |> silu() |> fc2: linear(2)", 2, "mean(sum(grad(p, x)^2, axis: 1)) + mean(p^2)",
      "fc1.weight", "[5, 6]", "fc2.weight", "[2, 5]" },
    { "rnn", "reshape(x, [-1, 3, 2]) |> l: rnn(2) |> flatten()", 6, "mean((p + x)^3)", "l.weight_hh_l0", "[2, 2]", "l.weight_ih_l0", "[2, 2]" },
    { "lstm", "reshape(x, [-1, 3, 2]) |> l: lstm(2) |> flatten()", 6, "mean((p + x)^3)", "l.weight_hh_l0", "[8, 2]", "l.bias_ih_l0", "[8]" },
    { "gru", "reshape(x, [-1, 3, 2]) |> l: gru(2) |> flatten()", 6, "mean((p + x)^3)", "l.weight_hh_l0", "[6, 2]", "l.weight_hh_l0", "[6, 2]" },
    { "last values of a scan", "reshape(x, [-1, 3, 2]) |> l: path()", 2, "mean(p^2) + mean(sum(grad(p, x)^2, axis: 1))",
      "l.w", "[2, 2]", "l.first", "[2]" },
    { "gradient descent in the loss", "x |> fc1: linear(3)", 3, "mse(x @ descended(transpose(fc1.weight), x, sin(p)), tanh(p))",
      "fc1.weight", "[3, 6]", "fc1.bias", "[3]" },
};
enum { NNET = sizeof nets / sizeof *nets, LOSS = 0, ALONG_A, ALONG_B, NFIGURE };

/* Element i of the direction in a is cos(i), in b cos(i + 1). */
static void open_loss(Rig *r, const Backend *be, const Net *n)
{
    char text[MAX_TEXT];
    int  len = snprintf(text, sizeof text, "nnd 1\ndata rows(row: i32) { train: rows(4)\n test: rows(4) }\n"
                        "model net(x: f32[N, 6]) -> f32[N, %d] { return %s }\n"
                        "fn turned(w: tensor, by: float) -> tensor { return cos(f32(iota(size(w))) + by) }\n"
                        "fn descended(v: tensor, x: tensor, y: tensor) -> tensor {\n"
                        "    for i in 0..3 { v = v - 0.3 * grad(mse(x @ v, y), v) }\n    return v\n}\n"
                        "fn path(x: f32[N, T, I]) -> f32[N, I] {\n"
                        "    param w: f32[I, I] = uniform(-1, 1)\n    param first: f32[I] = uniform(-1, 1)\n"
                        "    scan a in x, b in sin(x) {\n        carry h: f32[N, I] = expand(first, [N, I])\n        carry s: f32[N] = zeros\n"
                        "        h' = sin(h @ w + a * expand(reshape(s, [N, 1]), [N, I]))\n        s' = 0.5 * s + sum(tanh(h') * b, axis: 1)\n    }\n"
                        "    return h * expand(reshape(s, [N, 1]), [N, I])\n}\n"
                        "train net on rows {\n"
                        "    far = expand(reshape(f32(row), [-1, 1]), [dim(row, 0), 6]) * 1.3\n"
                        "    x = variable(sin(far + 0.7 * f32(iota(6))^2 + 1))\n"
                        "    class = select(row > 2, row * 0, row)\n    p = net(x)\n    loss = %s\n"
                        "    slope = sum(grad(loss, %s) * reshape(turned(%s, 0), %s))\n"
                        "    minimize loss\n    metric along_a = slope\n"
                        "    metric along_b = sum(grad(slope, %s) * reshape(turned(%s, 1), %s))\n"
                        "    optimizer: sgd(lr: 0.1)\n    batch: 4\n}\n",
                        n->wide, n->body, n->loss, n->a, n->a, n->shape_a, n->b, n->b, n->shape_b);

    assert_true(len < MAX_TEXT);
    open_rig(r, be, text);
}

static void figures(Rig *r, NndEntryKind kind, double figure[NFIGURE])
{
    static const int32_t row[ROWS] = { 0, 1, 2, 3 };
    const NndEntry *e = nnd_entry_find(r->im, kind, ROWS);
    const void     *field[] = { row };
    NndCall call = { .state = r->s.state, .scratch = r->s.scratch, .field = field, .row = row, .nbatch = 1, .step = 1,
                     .steps = 1, .epoch = 1, .seed = 3, .metric_out = figure };

    assert_int_equal(r->im->train->nmetric, NFIGURE);
    assert_int_equal(e->run(r->im, e, &call), 0);
}

/* The parameter goes so far along its direction. */
static void move(Rig *r, const char *name, double turn, double far)
{
    const NndVar *v = r->im->var;
    int64_t       columns, n = 1;

    while (v < r->im->var + r->im->nvar && strcmp(v->name, name) != 0)
        v++;
    assert_true(v < r->im->var + r->im->nvar && v->dtype == NND_F64 && v->rank <= 2);
    for (int i = 0; i < v->rank; i++)
        n *= v->dim[i];
    columns = v->rank == 2 ? v->dim[1] : 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i / columns * v->stride[0] + (v->rank == 2 ? i % columns * v->stride[1] : 0);

        ((double *)((char *)r->s.state + v->offset))[at] += far * cos((double)i + turn);
    }
}

/* How a figure of evaluation, which changes nothing, changes along a direction. */
static double along(Rig *r, const char *name, double turn, int figure)
{
    double before[NFIGURE], after[NFIGURE];

    move(r, name, turn, -STEP);
    figures(r, NND_EVAL, before);
    move(r, name, turn, 2 * STEP);
    figures(r, NND_EVAL, after);
    move(r, name, turn, -STEP);
    return (after[figure] - before[figure]) / (2 * STEP);
}

/* In a step that trains there are gradients of the loss as well.  Batch norm is another function there, so it is not compared. */
static bool check_net(const Backend *be, const Net *n)
{
    double eval[NFIGURE], train[NFIGURE];
    Rig    r;
    bool   good;

    open_loss(&r, be, n);
    figures(&r, NND_EVAL, eval);
    good = near("a gradient", eval[ALONG_A], along(&r, n->a, 0, LOSS));
    good &= near("a Hessian times a vector", eval[ALONG_B], along(&r, n->b, 1, ALONG_A));
    good &= fabs(eval[ALONG_A]) > 1e-4 && fabs(eval[ALONG_B]) > 1e-4;      /* there is something to compare */
    figures(&r, NND_TRAIN, train);
    for (int i = 0; i < NFIGURE && strcmp(n->name, "batch norm") != 0; i++)
        good &= near("the same in a training step", train[i], eval[i]);
    close_rig(&r);
    if (!good)
        print_message("# %s on %s\n", n->name, be->name);
    return good;
}

static void test_by_parameters(void **state)
{
    bool good = true;

    (void)state;
    for (int i = 0; i < NBACKEND; i++)
        for (int k = 0; k < NNET; k++)
            good &= check_net(backends[i], &nets[k]);
    assert_true(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_input),
        cmocka_unit_test(test_by_parameters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
