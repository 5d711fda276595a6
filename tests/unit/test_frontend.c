/* test_frontend.c - the language: the reference's examples compile, modules hold what models say, text prints back.
 *
 * Mistakes are tested as text, by tests/bad.sh; here is what must work, and that nothing crashes on what can't.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/build.h"

enum { MAX_TEXT = 1 << 18 };

static const char data[] = "data digits(image: u8[28, 28], label: u8) {\n"
                           "    train: idx(\"a\", \"b\")\n    test: idx(\"c\", \"d\")\n}\n";
static const char slp[] = "model slp(image: u8[N, 28, 28]) -> f32[N, 10] {\n"
                          "    return fc: linear(flatten(f32(image)) / 255, 10)\n}\n";

/* ---- text ---- */

static char *read_file(const char *path)
{
    const char *root = getenv("NND_ROOT");
    char        full[4096], *text = malloc(MAX_TEXT);

    snprintf(full, sizeof full, "%s/%s", root ? root : ".", path);
    FILE *f = fopen(full, "rb");
    assert_non_null(f);
    size_t len = fread(text, 1, MAX_TEXT - 1, f);
    fclose(f);
    assert_true(len < MAX_TEXT - 1);
    text[len] = '\0';
    return text;
}

/* The next block between ```nnd and ```, copied; *at moves behind it.  NULL: there is none. */
static char *next_example(const char **at)
{
    const char *start = strstr(*at, "\n```nnd\n");

    if (!start)
        return NULL;
    start += strlen("\n```nnd\n");
    const char *end = strstr(start, "\n```");

    assert_non_null(end);
    *at = end;
    return strndup(start, (size_t)(end - start) + 1);
}

static char *printed(const char *text)
{
    FrontOptions o = { 0 };
    Model       *md = model_parse("text.nnd", text, strlen(text), &o);
    char        *out = NULL;
    size_t       len;
    FILE        *f = open_memstream(&out, &len);

    if (model_diag(md)->nerror)
        fail_msg("%s", model_diag(md)->text);
    model_print(f, md);
    fclose(f);
    model_free(md);
    return out;
}

/* What is printed prints the same again. */
static void fixed_point(const char *text)
{
    char *once = printed(text), *twice = printed(once);

    assert_string_equal(once, twice);
    free(once);
    free(twice);
}

/* ---- models ---- */

static Model *checked(const char *text, const FrontOptions *o)
{
    Model *md = model_parse("text.nnd", text, strlen(text), o);

    if (!model_check(md))
        fail_msg("%s", model_diag(md)->text);
    assert_int_equal(model_diag(md)->nerror, 0);
    return md;
}

static void compiles(const char *text)
{
    FrontOptions o = { 0 }, wide = { .float64 = true };

    model_free(checked(text, &o));
    model_free(checked(text, &wide));
    fixed_point(text);
}

/* A file with the usual data and model, what is between, and a train block with this body. */
static char *with_train(const char *between, const char *body)
{
    char *text = malloc(MAX_TEXT);

    snprintf(text, MAX_TEXT, "nnd 1\n%s%s%s\ntrain slp on digits {\n%s\n}\n", data, slp, between, body);
    return text;
}

static const Slot *slot_of(const Module *m, const char *name)
{
    int i = module_slot((Module *)m, name);

    if (i < 0)
        fail_msg("no slot is called %s", name);
    return &m->slot[i];
}

static void is_slot(Module *m, const char *name, SlotKind kind, const char *type)
{
    const Slot *s = slot_of(m, name);

    assert_int_equal(s->kind, kind);
    assert_string_equal(ty_str(&m->mem, &s->type), type);
}

static void reference_examples(void **unused)
{
    char       *text = read_file("frontend/README.md"), *one;
    const char *at = text;
    int         n = 0;

    (void)unused;
    for (; (one = next_example(&at)); n++) {
        compiles(one);
        free(one);
    }
    assert_true(n >= 6);
    free(text);
}

static void shipped_models(void **unused)
{
    static const char *const path[] = { "models/slp.nnd", "models/mlp.nnd" };

    (void)unused;
    for (size_t i = 0; i < sizeof path / sizeof *path; i++) {
        char *text = read_file(path[i]);

        compiles(text);
        free(text);
    }
}

static void prelude_prints(void **unused)
{
    (void)unused;
    for (int i = 0; prelude_name(i); i++)
        fixed_point(prelude_text(i));
}

static void module_of_mlp(void **unused)
{
    static const EntryWant want[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, 64 }, { ENTRY_TRAIN, 32 }, { ENTRY_EVAL, 400 },
                                      { ENTRY_INFER, 7 } };
    FrontOptions o = { 0 };
    char        *text = read_file("models/mlp.nnd");
    Model       *md = checked(text, &o);
    Module      *m = model_build(md, want, 5);

    (void)unused;
    assert_non_null(m);
    is_slot(m, "image", SLOT_field, "u8[28, 28]");
    is_slot(m, "label", SLOT_field, "u8");
    is_slot(m, "fc1.weight", SLOT_param, "f32[50, 784]");
    is_slot(m, "fc1.bias", SLOT_param, "f32[50]");
    is_slot(m, "fc2.weight", SLOT_param, "f32[10, 50]");
    is_slot(m, "fc2.bias", SLOT_param, "f32[10]");
    is_slot(m, "loss", SLOT_metric, "f32");
    is_slot(m, "accuracy", SLOT_metric, "f32");
    is_slot(m, "in.image", SLOT_input, "u8[28, 28]");
    is_slot(m, "out", SLOT_output, "f32[10]");
    assert_int_equal(slot_of(m, "label")->bound, 10);
    assert_int_equal(slot_of(m, "image")->bound, 0);
    assert_true(slot_of(m, "lr")->value == 0.5);
    assert_string_equal(slot_of(m, "label")->source[SPLIT_TEST].file, "t10k-labels-idx1-ubyte");
    assert_int_equal(m->ngraph, 5);
    for (int i = 0; i < 5; i++) {
        assert_non_null(module_graph(m, want[i].entry, want[i].batch));
        assert_null(graph_verify(module_graph(m, want[i].entry, want[i].batch)));
    }
    assert_int_equal(m->train.batch, 64);
    assert_int_equal(m->train.epochs, 10);
    assert_int_equal(m->train.seed, 1);
    assert_int_equal(m->train.nexpect, 1);
    assert_string_equal(m->train.expect[0].text, "test.accuracy >= 0.78");
    module_free(m);
    model_free(md);
    free(text);
}

static void batch_has_its_name(void **unused)
{
    static const char text[] = "nnd 1\nmodel net(x: f32[Rows, 3]) -> f32[Rows, 3] {\n"
                               "    y = reshape(x, [3 * Rows])\n    return y + x\n}\n";
    FrontOptions o = { 0 };
    Model       *md = model_parse("text.nnd", text, strlen(text), &o);

    (void)unused;
    assert_null(model_check(md));
    assert_non_null(strstr(model_diag(md)->text, "f32[3*Rows] and f32[Rows, 3]"));
    model_free(md);
}

static void states_outlive_the_step(void **unused)
{
    static const char norm[] = "fn count(x: f32[S...]) -> f32[S...] {\n    state seen: f32 = 0\n"
                               "    if training { seen' = seen + 1 }\n    return x * (seen + 1)\n}\n";
    static const EntryWant want[] = { { ENTRY_TRAIN, 4 }, { ENTRY_EVAL, 4 } };
    char   *text = with_train(norm, "    p = rows: count(slp(image))\n    minimize cross_entropy(p, label)\n    optimizer: sgd");
    FrontOptions o = { 0 };
    Model  *md = checked(text, &o);
    Module *m = model_build(md, want, 2);
    int     written[2] = { 0 };

    (void)unused;
    is_slot(m, "rows.seen", SLOT_state, "f32");
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < m->graph[i]->nwrite; j++)
            written[i] += m->graph[i]->write[j].slot == module_slot(m, "rows.seen");
    assert_int_equal(written[0], 1);
    assert_int_equal(written[1], 0);
    module_free(m);
    model_free(md);
    free(text);
}

static void optimizers_keep_states(void **unused)
{
    static const char adam[] = "optimizer nadir(w: f32[S...], g: f32[S...], lr: input float = 1e-3, beta: float = 0.9) {\n"
                               "    state m: f32[S...] = zeros\n    m' = beta*m + (1 - beta)*g\n"
                               "    w' = w - lr * m' / (1 - beta^step)\n}\n";
    static const EntryWant want[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, 4 } };
    char   *text = with_train(adam, "    minimize cross_entropy(slp(image), label)\n    optimizer: nadir(lr: 0.25)");
    FrontOptions o = { 0 };
    Model  *md = checked(text, &o);
    Module *m = model_build(md, want, 2);

    (void)unused;
    is_slot(m, "fc.weight.m", SLOT_optim, "f32[10, 784]");
    is_slot(m, "fc.bias.m", SLOT_optim, "f32[10]");
    is_slot(m, "lr", SLOT_scalar, "f64");
    assert_true(slot_of(m, "lr")->value == 0.25);
    assert_int_equal(m->update->nwrite, 4);
    assert_int_equal(slot_of(m, "label")->bound, 10);
    module_free(m);
    model_free(md);
    free(text);
}

static void constants_are_defined_outside(void **unused)
{
    static const char text[] = "nnd 1\nconst width = 3\nconst half = width / 2\n"
                               "model net(x: f32[N, 4]) -> f32[N, half] { return fc: linear(x, half) }\n";
    static const EntryWant want = { ENTRY_INFER, 2 };
    Define       four = { "width", 4 }, wrong = { "widht", 4 };
    FrontOptions o = { .define = &four, .ndefine = 1 }, typo = { .define = &wrong, .ndefine = 1 };
    Model       *md = checked(text, &o);
    Module      *m = model_build(md, &want, 1);

    (void)unused;
    is_slot(m, "fc.weight", SLOT_param, "f32[2, 4]");
    module_free(m);
    model_free(md);
    md = model_parse("text.nnd", text, strlen(text), &typo);
    assert_null(model_check(md));
    assert_non_null(strstr(model_diag(md)->text, "did you mean `width`?"));
    model_free(md);
}

/* What only evaluation owns has its initial value too. */
static void evaluation_owns_states(void **unused)
{
    static const char odd[] = "fn odd(x: f32[S...]) -> f32[S...] {\n    if not training {\n        state k: f32 = 3\n"
                              "        return k * x\n    }\n    return x\n}\n";
    static const EntryWant want[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, 4 }, { ENTRY_EVAL, 4 } };
    char   *text = with_train(odd, "    p = rows: odd(slp(image))\n    minimize cross_entropy(p, label)\n    optimizer: sgd");
    FrontOptions o = { 0 };
    Model  *md = checked(text, &o);
    Module *m = model_build(md, want, 3);
    const Graph *init = module_graph(m, ENTRY_INIT, 0);
    int     written = 0, all = 0;

    (void)unused;
    is_slot(m, "rows.k", SLOT_state, "f32");
    for (int i = 0; i < init->nwrite; i++) {
        written += init->write[i].slot == module_slot(m, "rows.k");
        all += m->slot[init->write[i].slot].kind == SLOT_param;
    }
    assert_int_equal(written, 1);
    assert_int_equal(all, 2);
    module_free(m);
    model_free(md);
    free(text);
}

/* A schedule may choose; what it chooses stays a step scalar of f64. */
static void schedules_choose(void **unused)
{
    static const EntryWant want = { ENTRY_TRAIN, 4 };
    char   *text = with_train("fn warm(lr: float) -> tensor { return select(step < 10 and epoch < 2, lr * step / 10, lr) }\n",
                              "    minimize cross_entropy(slp(image), label)\n    optimizer: sgd(lr: warm(0.5))");
    FrontOptions o = { 0 };
    Model  *md = checked(text, &o);
    Module *m = model_build(md, &want, 1);
    int     choices = 0;

    (void)unused;
    assert_int_equal(module_slot(m, "lr"), -1);
    for (int i = 1; i < m->update->nnode; i++)
        if (m->update->node[i].op == OP_select) {
            assert_string_equal(ty_str(&m->mem, &m->update->node[i].type), "f64");
            choices++;
        }
    assert_int_equal(choices, 1);
    module_free(m);
    model_free(md);
    free(text);
}

/* The last batch of an epoch may have one row, and a number made of it no value. */
static void every_batch_builds(void **unused)
{
    static const char text[] = "nnd 1\nmodel net(x: f32[N, 4]) -> f32[N, 4] {\n"
                               "    return x * (1 + 1 / (N - 1)) + maximum(dim(x, 1), 2) / N + sum(f32(iota(2 * N))) / size(x)\n}\n";
    FrontOptions o = { 0 };
    Model       *md = checked(text, &o);

    (void)unused;
    for (int64_t batch = 1; batch <= 1000; batch += 333) {
        EntryWant want = { ENTRY_INFER, batch };
        Module   *m = model_build(md, &want, 1);

        assert_non_null(m);
        is_slot(m, "out", SLOT_output, "f32[4]");
        module_free(m);
    }
    model_free(md);
}

/* Integers compare by value, whatever their width; random numbers have the dtype of what they fill. */
static void numbers_meet_their_dtypes(void **unused)
{
    FrontOptions o = { 0 };

    (void)unused;
    model_free(checked("nnd 1\nmodel net(x: i32[N], y: u8[N], z: i64[N]) -> bool[N] {\n"
                       "    return (x < 3000000000) and (y == 300) and (y == x) and (z >= y) and (y > -1)\n}\n", &o));
    model_free(checked("nnd 1\nmodel net(x: f64[N, 3]) -> f64[N, 3] {\n    param w: f64[3] = normal(std: 2)\n    return x * w\n}\n",
                       &o));
}

/* One message a mistake, though every entry meets it. */
static void mistakes_are_counted_once(void **unused)
{
    char *text = with_train("", "    p = slp(imgae)\n    q = mean(p) + mean(p)\n    minimize cross_entropy(p, label)\n"
                                "    metric share = mean(argmax(p) == lable)\n    optimizer: sgd(rl: 1)\n"
                                "    bacth: 3\n    expect: test.share > 0");
    FrontOptions o = { 0 };
    Model *md = model_parse("text.nnd", text, strlen(text), &o);

    (void)unused;
    assert_null(model_check(md));
    if (model_diag(md)->nerror != 4)
        fail_msg("%s", model_diag(md)->text);
    model_free(md);
    free(text);
}

/* ---- noise ---- */

static void survives(const char *text)
{
    FrontOptions o = { 0 };
    Model       *md = model_parse("text.nnd", text, strlen(text), &o);
    bool         ok = model_check(md) != NULL;

    assert_true(ok == (model_diag(md)->nerror == 0));
    model_free(md);
}

/* Every example and every mistake, with one line left out, doubled, or in another's place. */
static void shuffled_lines(const char *text)
{
    const char *line[512];
    int         n = 0;
    char       *out = malloc(2 * strlen(text) + 3);

    for (const char *p = text; p && *p && n < 512; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        line[n++] = p;
    for (int round = 0; round < 3 * n; round++) {
        size_t len = 0;

        for (int i = 0; i < n; i++) {
            int    from = round / n == 2 && i == round % n ? (i * 7 + 3) % n : i;
            size_t bytes = strcspn(line[from], "\n");
            int    times = i != round % n || round / n == 2 ? 1 : round / n == 0 ? 0 : 2;

            for (int j = 0; j < times; j++) {
                memcpy(out + len, line[from], bytes);
                out[len + bytes] = '\n';
                len += bytes + 1;
            }
            if (len > strlen(text) + 1)
                break;
        }
        out[len] = '\0';
        survives(out);
    }
    free(out);
}

static void lines_in_disorder(void **unused)
{
    char       *text = read_file("frontend/README.md"), *one;
    const char *at = text;

    (void)unused;
    while ((one = next_example(&at))) {
        shuffled_lines(one);
        free(one);
    }
    free(text);
}

static void numbers_at_the_edge(void **unused)
{
    static const char *const value[] = {
        "-(-9223372036854775807 - 1)", "(-9223372036854775807 - 1) / -1", "abs(-9223372036854775807 - 1)", "floor(1e300)",
        "9223372036854775807 * 2", "1 / 0", "0 ^ -1", "2 ^ 2000", "10 ^ 18 * 10", "1e999", "-1e999 / 1e999", "log(-1)",
        "iota(-1)", "iota(0)", "iota(9223372036854775807)", "reshape(x, [-1, -1])", "reshape(x, [0])", "reshape(x, [])",
        "expand(x, [])", "transpose(x, [])", "sum(x, axis: [])", "sum()", "size()", "dim(x)", "f32()", "is_class(x, 0)",
        "is_class(i32(x), -1)", "i32(x) @ i32(x)", "x @ 3", "select(true, x, 1)", "select(x, 1, 2)", "not x", "-true",
        "\"text\" + 1", "[1, 2] + x", "all + 1", "x.y", "x[1]", "linear", "zeros + x", "net(x)", "slp", "x |> 3", "'", "x''",
        "step + x", "training + 1", "epoch @ x", "-step ^ -2", "select(training, x, 2 * x)", "x ^ 17", "x ^ -1", "2 ^ x",
    };
    char text[1024];

    (void)unused;
    for (size_t i = 0; i < sizeof value / sizeof *value; i++) {
        snprintf(text, sizeof text, "nnd 1\nmodel net(x: f32[N, 3]) -> f32[N, 3] {\n    y = %s\n    return x\n}\n", value[i]);
        survives(text);
        snprintf(text, sizeof text, "nnd 1\nconst c = %s\nmodel net(x: f32[N, 3]) -> f32[N, 3] {\n    for i in c..c { y = i }\n"
                 "    param w: f32[3] = %s\n    return x * w * c\n}\n", value[i], value[i]);
        survives(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_examples),
        cmocka_unit_test(shipped_models),
        cmocka_unit_test(prelude_prints),
        cmocka_unit_test(module_of_mlp),
        cmocka_unit_test(batch_has_its_name),
        cmocka_unit_test(states_outlive_the_step),
        cmocka_unit_test(optimizers_keep_states),
        cmocka_unit_test(constants_are_defined_outside),
        cmocka_unit_test(evaluation_owns_states),
        cmocka_unit_test(schedules_choose),
        cmocka_unit_test(every_batch_builds),
        cmocka_unit_test(numbers_meet_their_dtypes),
        cmocka_unit_test(mistakes_are_counted_once),
        cmocka_unit_test(lines_in_disorder),
        cmocka_unit_test(numbers_at_the_edge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
