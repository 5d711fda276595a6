/* test_prelude.c - activations, losses, optimizers, schedules and initial values of the prelude against PyTorch's.
 *
 * Numbers marked so come from PyTorch 2.15 in float64 (torch.set_default_dtype), printed with 17 digits: functions and
 * their gradients by backward() of the sum, losses by backward(), optimizers after five steps, schedules as learning
 * rates.  The others are formulas written here.  Models run with --float 64, by the oracle and as code.
 *
 * Both sides round some ten operations near 2^-53, so 1e-11 relative to the larger of 1 and the value is far from both.
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

enum { MAX_TEXT = 4096, POINTS = 8 };

static const Backend *const backends[] = { &backend_interp, &backend_cpu };
enum { NBACKEND = sizeof backends / sizeof *backends };

static void near(const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fmax(1, fabs(want))))
        fail_msg("%s: got %.17g, want %.17g", what, got, want);
}

/* ---- a model with one parameter w, compiled ---- */

typedef struct Rig {
    FrontOptions   front;
    Model         *md;
    Module        *m;
    const Backend *be;
    NndImage      *im;
    NndSession     s;
} Rig;

/* net(x) is the body, x one row of n numbers; trained is what is minimized. */
static char *model_text(int n, const char *initial, const char *body, const char *trained, const char *optimizer)
{
    char *text = malloc(MAX_TEXT);
    int   len = snprintf(text, MAX_TEXT, "nnd 1\ndata rows(x: f32[%d]) { train: idx(\"a\") }\n"
                         "model net(x: f32[N, %d]) -> f32[N, %d] {\n    param w: f32[%d] = %s\n    return %s\n}\n"
                         "train net on rows {\n    minimize %s\n    optimizer: %s\n    batch: 1\n}\n",
                         n, n, n, n, initial, body, trained, optimizer);

    assert_true(len < MAX_TEXT);
    return text;
}

/* Takes the text. */
static void open_rig(Rig *r, const Backend *be, char *text)
{
    static const EntryWant want[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, 1 }, { ENTRY_INFER, 1 } };
    BackendOptions o = { .opt_level = 1 };
    Pipeline       p = { .options = { .rule_limit = -1 } };
    char           info[256], why[512] = "";
    const char    *fault;

    *r = (Rig){ .front = { .float64 = true }, .be = be };
    r->md = model_parse("text.nnd", text, strlen(text), &r->front);
    if (!model_check(r->md))
        fail_msg("%s", model_diag(r->md)->text);
    r->m = model_build(r->md, want, 3);
    assert_non_null(r->m);
    assert_true(be->probe(&o, &p.options.limits, info, sizeof info, why, sizeof why));
    if ((fault = pipeline_run(r->m, &p)))
        fail_msg("%s", fault);
    if (!(r->im = be->load(r->m, &o, why, sizeof why)))
        fail_msg("%s", why);
    assert_int_equal(nnd_session_open(&r->s, r->im, 8, NULL), 0);
    assert_int_equal(nnd_session_init(&r->s, 3, NULL), 0);
    free(text);
}

static void close_rig(Rig *r)
{
    nnd_session_close(&r->s);
    r->be->unload(r->im);
    module_free(r->m);
    model_free(r->md);
}

static double *weights(Rig *r)
{
    assert_string_equal(r->im->var[0].name, "w");
    return (double *)((char *)r->s.state + r->im->var[0].offset);
}

/* Steps `first` to `last` of `steps` on one row each, from the rows of x; returns the first one's loss. */
static double train(Rig *r, const double *x, int first, int last, int steps, int epoch)
{
    const NndEntry *e = nnd_entry_find(r->im, NND_TRAIN, 1);
    const void     *field[] = { x };
    int32_t         row[64];
    double          metric[64];
    NndCall call = { .state = r->s.state, .scratch = r->s.scratch, .field = field, .row = row,
                     .nbatch = last - first + 1, .step = first, .steps = steps, .epoch = epoch, .seed = 3,
                     .metric_out = metric };

    assert_true(call.nbatch <= 64);
    for (int i = 0; i < call.nbatch; i++)
        row[i] = i;
    assert_int_equal(e->run(r->im, e, &call), 0);
    return metric[0];
}

static void infer(Rig *r, const double *x, double *y)
{
    const NndEntry *e = nnd_entry_find(r->im, NND_INFER, 1);
    const void     *field[] = { x };
    void           *out[] = { y };
    NndCall call = { .state = r->s.state, .scratch = r->s.scratch, .field = field, .out = out, .nbatch = 1, .step = 1 };

    assert_int_equal(e->run(r->im, e, &call), 0);
}

/* ---- activations ---- */

typedef struct Curve { const char *body; double y[POINTS], slope[POINTS]; } Curve;

static const double at[POINTS] = { -30, -4, -1.5, -0.25, 0, 0.75, 2.5, 40 };

/* PyTorch: F.gelu, F.silu, F.softplus, F.leaky_relu, torch.erf */
static const Curve curves[] = {
    { "gelu(w)",
      { -0, -0.00012668496733247991, -0.10021080190328704, -0.10032341857926907, 0, 0.58002948571734891,
        2.4844758366855597, 40 },
      { -4.420938404635643e-195, -0.00050364966122642149, -0.1274691922299796, 0.304626645116364, 0.5,
        0.99922572173923518, 1.0376110859081451, 1 } },
    { "gelu(w, approximate: \"none\")",
      { -0, -0.00012668496733247991, -0.10021080190328704, -0.10032341857926907, 0, 0.58002948571734891,
        2.4844758366855597, 40 },
      { -4.420938404635643e-195, -0.00050364966122642149, -0.1274691922299796, 0.304626645116364, 0.5,
        0.99922572173923518, 1.0376110859081451, 1 } },
    { "gelu(w, approximate: \"tanh\")",
      { -0, -7.0245948192271257e-05, -0.10042842301976707, -0.100324649298315, 0, 0.57996055516562028,
        2.4849157339100012, 40 },
      { 0, -0.00033512319712218684, -0.12771079315143308, 0.30464590484893955, 0.5, 0.99893825613741427,
        1.0379515762126661, 1 } },
    { "silu(w)",
      { -2.8072868906517896e-12, -0.071944839848366235, -0.27363828570953452, -0.10945587477855048, 0,
        0.50938402438154473, 2.3103545499468914, 40 },
      { -2.7137106609631341e-12, -0.052664614891072908, -0.041294154299142946, 0.37628997842980233, 0.5,
        0.84259994449675357, 1.0994011113415267, 1 } },
    { "softplus(w)",
      { 9.3576229688397368e-14, 0.018149927917809738, 0.20141327798275241, 0.57593941987884356, 0.69314718055994529,
        1.1368710061148999, 2.5788897342925496, 40 },
      { 9.3576229688393001e-14, 0.017986209962091555, 0.18242552380635632, 0.43782349911420188, 0.5,
        0.67917869917539297, 0.92414181997875644, 1 } },
    { "leaky_relu(w)", { -0.3, -0.04, -0.015, -0.0025, 0, 0.75, 2.5, 40 }, { 0.01, 0.01, 0.01, 0.01, 0.01, 1, 1, 1 } },
    { "leaky_relu(w, 0.2)", { -6, -0.8, -0.3, -0.05, 0, 0.75, 2.5, 40 }, { 0.2, 0.2, 0.2, 0.2, 0.2, 1, 1, 1 } },
    { "erf(w)",
      { -1, -0.99999998458274209, -0.96610514647531076, -0.27632639016823696, 0, 0.71115563365351508,
        0.99959304798255499, 1 },
      { 0, 1.2698234671866558e-07, 0.11893028922362936, 1.0600141293761143, 1.1283791670955126, 0.64293106919520737,
        0.0021782842303527099, 0 } },
};

/* One step of sgd(lr: 1) takes the slope from w. */
static void check_curve(const Backend *be, const Curve *c)
{
    static const double zero[POINTS];
    char   body[256];
    double y[POINTS];
    Rig    r;

    snprintf(body, sizeof body, "%s + 0 * x", c->body);
    open_rig(&r, be, model_text(POINTS, "zeros", body, "sum(net(x))", "sgd(lr: 1)"));
    memcpy(weights(&r), at, sizeof at);
    infer(&r, zero, y);
    train(&r, zero, 1, 1, 1, 1);
    for (int i = 0; i < POINTS; i++) {
        near(c->body, y[i], c->y[i], 1e-11);
        near(c->body, at[i] - weights(&r)[i], c->slope[i], 1e-11);
    }
    close_rig(&r);
}

static void test_activations(void **state)
{
    (void)state;
    for (int b = 0; b < NBACKEND; b++)
        for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
            check_curve(backends[b], &curves[i]);
}

/* Functions of numbers are computed before anything runs. */
static void test_numbers(void **state)
{
    static const double zero[POINTS];
    double y[POINTS];
    Rig    r;

    (void)state;
    open_rig(&r, &backend_interp, model_text(POINTS, "zeros", "x + w + erf(0.75) + select(\"a\" == \"a\", 1, 2) + "
                                             "select(\"a\" != \"b\", 4, 8)", "sum(net(x))", "sgd"));
    infer(&r, zero, y);
    near("erf(0.75)", y[0], 5 + erf(0.75), 1e-15);
    close_rig(&r);
}

/* ---- losses ---- */

typedef struct Loss { const char *call; double p[POINTS], value, slope[POINTS]; bool no_slope; } Loss;

static const double truth[POINTS] = { 0, 1, 0.3, 0.25, 1, 0, 0.9, 1 };

/* PyTorch: F.binary_cross_entropy, F.binary_cross_entropy_with_logits.  Where p is wrong by 1 its gradient is 1e12 / 8;
 * here that is 0, like the slope of a logarithm that ends, so only that it is finite is checked. */
static const Loss losses[] = {
    { "bce_with_logits", { -30, -4, -1.5, -0.25, 0, 0.75, 2.5, 40 }, 0.93336381834336157,
      { 1.1697028711049124e-14, -0.12275172375473856, -0.014696809524205455, 0.023477937389275241, -0.0625,
        0.084897337396924122, 0.0030177274973445661, 0 }, false },
    { "bce", { 0.5, 0.001, 0.25, 0.9, 0.75, 0.125, 0.5, 0.99 }, 1.3869822685930049,
      { 0.25, -124.99999999999999, -0.033333333333333326, 0.90277777777777801, -0.16666666666666666,
        0.14285714285714285, -0.20000000000000001, -0.12626262626262624 }, false },
    { "bce", { 0, 0, 1, 1, 0.5, 0, 1, 1 }, 31.961643397569993, { 0 }, true },
};

static void check_loss(const Backend *be, const Loss *l)
{
    char body[128];
    Rig  r;

    snprintf(body, sizeof body, "%s(w + 0 * x, x) + 0 * x", l->call);
    open_rig(&r, be, model_text(POINTS, "zeros", body, "mean(net(x))", "sgd(lr: 1)"));
    memcpy(weights(&r), l->p, sizeof l->p);
    near(l->call, train(&r, truth, 1, 1, 1, 1), l->value, 1e-11);
    for (int i = 0; i < POINTS; i++) {
        assert_true(isfinite(weights(&r)[i]));
        if (!l->no_slope)
            near(l->call, l->p[i] - weights(&r)[i], l->slope[i], 1e-11);
    }
    close_rig(&r);
}

static void test_losses(void **state)
{
    (void)state;
    for (int b = 0; b < NBACKEND; b++)
        for (size_t i = 0; i < sizeof losses / sizeof *losses; i++)
            check_loss(backends[b], &losses[i]);
}

/* ---- optimizers ---- */

enum { K = 3, STEPS = 5 };

typedef struct Descent { const char *optimizer; int states; double w[K]; } Descent;

static const double rows[STEPS][K] = { { 1, 0.5, -2 }, { 0.25, -1, 1.5 }, { -0.75, 2, 0.5 }, { 1.25, 0.125, -1 },
                                       { 0.5, -1.5, 0.75 } };
static const double start[K] = { 0.5, -1.25, 2 };

/* PyTorch: torch.optim.SGD, Adam, AdamW from `start`, five steps on sum((w * row - 1)^2). */
static const Descent descents[] = {
    { "sgd(lr: 0.1)", 0, { 0.61195537109374998, -0.1842696875, 0.24584999999999999 } },
    { "sgd(lr: 0.1, weight_decay: 0.3)", 0, { 0.55574438899062506, -0.17208825987500001, 0.20781086639999996 } },
    { "sgd(lr: 0.1, momentum: 0.9)", 1, { 0.60441330078125, 1.6127699804687503, -3.5155312500000004 } },
    { "sgd(lr: 0.1, momentum: 0.9, dampening: 0.4)", 1,
      { 0.70458486515625007, 0.9840705289687498, -4.4713923900000001 } },
    { "sgd(lr: 0.1, momentum: 0.9, weight_decay: 0.3, nesterov: true)", 1,
      { 0.55924474094053356, 0.447523855208943, -0.95667021929906448 } },
    { "adam", 2, { 0.50189837165876772, -1.2462348224968913, 1.9962076145679166 } },
    { "adam(lr: 0.1, beta1: 0.8, beta2: 0.95, eps: 1e-3, weight_decay: 0.3)", 2,
      { 0.60132369727039114, -0.86684199437705167, 1.633737111910837 } },
    { "adamw(lr: 0.1)", 2, { 0.65178472373385599, -0.87881884250792219, 1.6180451693780837 } },
    { "adamw(lr: 0.1, beta1: 0.8, beta2: 0.95, eps: 1e-3, weight_decay: 0.3)", 2,
      { 0.56646752731409034, -0.73690729397298405, 1.3896473694266556 } },
    { "adamw(lr: 0.1, weight_decay: 0)", 2, { 0.65456268104556736, -0.88405656192647053, 1.627038054345239 } },
};

static int count_states(const Module *m)
{
    int n = 0;

    for (int i = 0; i < m->nslot; i++)
        n += m->slot[i].kind == SLOT_optim;
    return n;
}

static void check_descent(const Backend *be, const Descent *d)
{
    Rig r;

    open_rig(&r, be, model_text(K, "zeros", "w * x", "sum((net(x) - 1)^2)", d->optimizer));
    assert_int_equal(count_states(r.m), d->states);
    memcpy(weights(&r), start, sizeof start);
    train(&r, rows[0], 1, STEPS, STEPS, 1);
    for (int i = 0; i < K; i++)
        near(d->optimizer, weights(&r)[i], d->w[i], 1e-11);
    close_rig(&r);
}

static void test_optimizers(void **state)
{
    (void)state;
    for (int b = 0; b < NBACKEND; b++)
        for (size_t i = 0; i < sizeof descents / sizeof *descents; i++)
            check_descent(backends[b], &descents[i]);
}

/* Settings that are off leave no trace: w - lr * g is two operations, and what brings lr to the shape of w. */
static void test_plain_sgd(void **state)
{
    static const EntryWant want = { ENTRY_TRAIN, 1 };
    FrontOptions o = { 0 };
    char        *text = model_text(K, "zeros", "w * x", "sum(net(x))", "sgd(lr: 0.1)");
    Model       *md = model_parse("text.nnd", text, strlen(text), &o);
    int          count[NOP] = { 0 }, all = 0;

    (void)state;
    assert_non_null(model_check(md));
    Module *m = model_build(md, &want, 1);

    for (int i = 1; i < m->update->nnode; i++, all++)
        count[m->update->node[i].op]++;
    assert_int_equal(count[OP_read], 3);
    assert_int_equal(count[OP_mul], 1);
    assert_int_equal(count[OP_sub], 1);
    assert_int_equal(all, 5 + count[OP_cast] + count[OP_expand]);
    assert_true(count[OP_cast] <= 1 && count[OP_expand] <= 1);
    module_free(m);
    model_free(md);
    free(text);
}

/* ---- schedules ---- */

/* What the step subtracts from w is lr, as the gradient is 1. */
static double rate(Rig *r, int step, int steps, int epoch)
{
    static const double zero[1];
    double before = weights(r)[0];

    train(r, zero, step, step, steps, epoch);
    return before - weights(r)[0];
}

static void open_schedule(Rig *r, const Backend *be, const char *schedule)
{
    char optimizer[128];

    snprintf(optimizer, sizeof optimizer, "sgd(lr: %s)", schedule);
    open_rig(r, be, model_text(1, "zeros", "w + x", "sum(net(x))", optimizer));
}

/* The formula of the reference, from the beginning of the run to its end. */
static double half_cosine(int step, int warmup, int steps, double lr, double min)
{
    if (step <= warmup)
        return lr * step / warmup;
    return min + (lr - min) * (1 + cos(acos(-1) * (step - warmup) / (steps - warmup))) / 2;
}

static void check_schedules(const Backend *be)
{
    /* PyTorch: StepLR(lr 0.4, step_size 2, gamma 0.5), epochs 1 to 6; CosineAnnealingLR(lr 0.4, T_max 8, eta_min 0.1)
     * after its 1st to 8th step */
    static const double decay[] = { 0.4, 0.4, 0.2, 0.2, 0.1, 0.1 };
    static const double down[] = { 0.38858192987669304, 0.35606601717798214, 0.30740251485476355, 0.25000000000000006,
                                   0.19259748514523656, 0.14393398282201789, 0.111418070123307, 0.1 };
    Rig r;

    open_schedule(&r, be, "step_decay(0.4, 2, factor: 0.5)");
    for (int i = 0; i < 6; i++)
        near("step_decay", rate(&r, i + 1, 6, i + 1), decay[i], 1e-12);
    close_rig(&r);
    open_schedule(&r, be, "cosine(0.4, min: 0.1)");
    for (int i = 0; i < 8; i++)
        near("cosine", rate(&r, i + 1, 8, 1), down[i], 1e-12);
    close_rig(&r);
    open_schedule(&r, be, "cosine(0.4, warmup: 4)");
    for (int i = 1; i <= 20; i++)
        near("cosine after a warm-up", rate(&r, i, 20, 1), half_cosine(i, 4, 20, 0.4, 0), 1e-12);
    for (int i = 1; i <= 4; i++)      /* the run ends within or with the warm-up */
        near("cosine of a short run", rate(&r, i, i < 4 ? 3 : 4, 1), 0.1 * i, 1e-12);
    close_rig(&r);
    open_schedule(&r, be, "warmup(0.4, 4)");
    for (int i = 1; i <= 8; i++)
        near("warmup", rate(&r, i, 8, 1), i < 4 ? 0.1 * i : 0.4, 1e-12);
    close_rig(&r);
}

static void test_schedules(void **state)
{
    (void)state;
    for (int b = 0; b < NBACKEND; b++)
        check_schedules(backends[b]);
}

/* ---- initial values ---- */

enum { DRAWN = 40000 };

/* Mean, deviation and, if it is not 0, the bound, by the formulas of torch.nn.init.  40000 draws leave the mean within
 * deviation / 200 and the deviation of normal ones within a share of 1/280: five times as much is allowed. */
static void check_initial(const char *initial, double deviation, double bound)
{
    double sum = 0, squares = 0, most = 0;
    Rig    r;

    open_rig(&r, &backend_interp, model_text(DRAWN, initial, "w * x", "sum(net(x))", "sgd"));
    for (int i = 0; i < DRAWN; i++) {
        double w = weights(&r)[i];

        sum += w;
        squares += w * w;
        most = fmax(most, fabs(w));
    }
    near(initial, sum / DRAWN / deviation, 0, 5. / 200);
    near(initial, sqrt(squares / DRAWN) / deviation, 1, 5. / 280);
    if (bound != 0)
        assert_true(most <= bound && most > 0.999 * bound);
    else
        assert_true(most > 3.5 * deviation);
    close_rig(&r);
}

static void test_initial(void **state)
{
    double xavier = 2 * sqrt(2. / (300 + 500)), kaiming = sqrt(2 / (1 + 0.5 * 0.5)) / sqrt(500), relu = sqrt(2. / 500);

    (void)state;
    check_initial("xavier_uniform(300, 500, gain: 2)", xavier, sqrt(3) * xavier);
    check_initial("xavier_uniform(300, 500)", xavier / 2, sqrt(3) * xavier / 2);
    check_initial("xavier_normal(300, 500, gain: 2)", xavier, 0);
    check_initial("kaiming_uniform(500, a: 0.5)", kaiming, sqrt(3) * kaiming);
    check_initial("kaiming_uniform(500)", relu, sqrt(3) * relu);
    check_initial("kaiming_normal(500, a: 0.5)", kaiming, 0);
}

/* The layer's weight and bias lie within 1/sqrt(fan), and come within a tenth of it. */
static void check_bound(const char *layer, double fan)
{
    static const char *const names[] = { "layer.weight", "layer.bias" };
    char body[256];
    Rig  r;

    snprintf(body, sizeof body, "w * x + sum(layer: %s)", layer);
    open_rig(&r, &backend_interp, model_text(64, "ones", body, "sum(net(x))", "sgd"));
    for (int i = 0, found = 0; i < 2; i++) {
        for (int j = 0; j < r.im->nvar; j++) {
            const NndVar *v = &r.im->var[j];
            int64_t       n = 1;
            double        most = 0;

            if (strcmp(v->name, names[i]) != 0)
                continue;
            for (int k = 0; k < v->rank; k++)
                n *= v->dim[k];
            for (int64_t k = 0; k < n; k++)
                most = fmax(most, fabs(((double *)((char *)r.s.state + v->offset))[k]));
            if (!(most * sqrt(fan) <= 1 && most * sqrt(fan) > 0.9))
                fail_msg("%s, %s: the largest is %g, wanted just below %g", layer, v->name, most, 1 / sqrt(fan));
            found++;
        }
        assert_int_equal(found, i + 1);
    }
    close_rig(&r);
}

/* As torch.nn.modules.conv has them: fan is how many numbers of a weight belong to its second axis and the kernel. */
static void test_bounds(void **state)
{
    (void)state;
    check_bound("linear(x, 128)", 64);
    check_bound("conv1d(reshape(x, [N, 8, 8]), 128, 3, groups: 4)", 2 * 3);
    check_bound("conv2d(reshape(x, [N, 4, 4, 4]), 128, [3, 2], groups: 2)", 2 * 6);
    check_bound("conv_transpose2d(reshape(x, [N, 4, 4, 4]), 128, [3, 2], groups: 2)", 64 * 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations), cmocka_unit_test(test_numbers),   cmocka_unit_test(test_losses),
        cmocka_unit_test(test_optimizers),  cmocka_unit_test(test_plain_sgd), cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_initial),     cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
