/* test_gpu_layers.c - everything of the prelude as code for a GPU, forward and backward, beside the oracle.
 *
 * A folder of tests/layers is a test, with all of its cases; optimizers, schedules, functions of all gradients and initial
 * values have texts below.  They run through the runtime, on ptxrun's stand-in driver, with races looked for and warps in the
 * order of two seeds, which may not change a bit, or on a GPU (gpu_driver.h).  What the prelude has and no text uses fails.
 *
 * Both compute in f32: the oracle adds in double, a GPU in another order, its functions are within 4 ulps, and a fused kernel
 * rounds less often.  A normalised value is some ten operations behind its input, a gradient some more, u = 2^-24 each; what
 * cancels is off by that share of what it was made of, which the largest element of a tensor stands for.
 */
#include <ctype.h>
#include <glob.h>

#include "tests/unit/few.h"
#include "tests/unit/gpu_driver.h"
#include "tests/unit/layers_rig.h"

enum { MAX_TEST = 128, MAX_TEXT = 1 << 20 };

static const Bound bound = { 1e-5, 4e-6 };

/* Scores of about a thousand, whose last place is 6e-5: so far off are the shares that softmax makes of them. */
static const char  large_scores[] = "multi_head_attention/large_scores";
static const Bound bound_of_large = { 6e-4, 2e-4 };

typedef struct World { GpuDriver driver; bool tried, has; } World;

/* A test of a folder, or of a text. */
typedef struct Item { World *world; char name[64]; const char *folder, *setting; } Item;

/* ---- texts beside those of tests/layers ---- */

/* What the train block of step_text says of its optimizer. */
static const struct { const char *name, *setting; } step_of[] = {
    { "sgd", "optimizer: sgd(lr: 0.1)" },
    { "sgd, momentum", "optimizer: sgd(lr: 0.1, momentum: 0.9, dampening: 0.1, weight_decay: 0.01)" },
    { "sgd, nesterov", "optimizer: sgd(lr: 0.1, momentum: 0.9, nesterov: true)" },
    { "adam", "optimizer: adam(weight_decay: 0.01)" },
    { "adamw", "optimizer: adamw(lr: 0.01)" },
    { "adagrad", "optimizer: adagrad(lr_decay: 0.1, weight_decay: 0.01)" },
    { "rmsprop", "optimizer: rmsprop(momentum: 0.9, centered: true, eps: 0.01)" },
    { "lion", "optimizer: lion(weight_decay: 0.1)" },
    { "step_decay", "optimizer: sgd(lr: step_decay(0.1, 2))" },
    { "exponential", "optimizer: sgd(lr: exponential(0.1, 0.5))" },
    { "multi_step", "optimizer: sgd(lr: multi_step(0.1, 1, second: 2))" },
    { "warmup", "optimizer: sgd(lr: warmup(0.1, 2))" },
    { "cosine", "optimizer: sgd(lr: cosine(0.1, warmup: 1, min: 0.01))" },
    { "one_cycle", "optimizer: sgd(lr: one_cycle(0.1))" },
    { "clip_norm", "optimizer: sgd(lr: 0.1)\n    clip_norm: 0.1" },
    { "clip_value", "optimizer: sgd(lr: 0.1)\n    clip_value: 0.01" },
};

static const char step_text[] =
    "nnd 1\n"
    "data none(unused: f32) { train: idx(\"none\") }\n"
    "model net(x: f32[N, 9]) -> f32[N, 5] { return fc2: linear(tanh(fc1: linear(x, 33)), 5) }\n"
    "train net on none {\n"
    "    state x: f32[7, 9] = normal()\n"
    "    state y: f32[7, 5] = uniform(-1, 1)\n"
    "    minimize mse(net(x), y)\n"
    "    %s\n"
    "    batch: 1\n"
    "}\n";

/* A parameter for each kind of initial value, and functions that no case of tests/layers has. */
static const char initial_text[] =
    "nnd 1\n"
    "data none(unused: f32) { train: idx(\"none\") }\n"
    "model net(x: f32[N, 4]) -> f32[N, 4] {\n"
    "    param a: f32[4] = zeros\n"
    "    param b: f32[4] = ones\n"
    "    param c: f32[9, 4] = uniform(-2, 3)\n"
    "    param d: f32[9, 4] = normal(1, 0.5)\n"
    "    param e: f32[9, 4] = xavier_uniform(9, 4)\n"
    "    param f: f32[9, 4] = xavier_normal(9, 4)\n"
    "    param g: f32[9, 4] = kaiming_uniform(9)\n"
    "    param h: f32[9, 4] = kaiming_normal(9)\n"
    "    noise = randn(x) * bernoulli(x, 0.4)\n"
    "    return x * a + b * noise + sum(c * d + e * f + g * h, axis: 0)\n"
    "}\n"
    "train net on none {\n"
    "    state x: f32[7, 4] = normal()\n"
    "    minimize sum(net(x)^2)\n"
    "    optimizer: sgd(lr: 0.01)\n"
    "    batch: 1\n"
    "}\n";

/* ---- on the device, and by the oracle ---- */

/* Numbers of all params and states, one behind another. */
static double *all_states(const Case *c, int64_t *n)
{
    double *to = calloc((size_t)c->im->nvar * MAX_ELEM, sizeof *to);

    assert_non_null(to);
    *n = 0;
    for (int i = 0; i < c->im->nvar; i++)
        *n += elements(&c->im->var[i], c->run.state, to + *n);
    return to;
}

/* Initial values, the prediction of evaluation if there is one, and steps; c->run stays open. */
static bool run_beside(Case *c, Case *oracle, const char *ending, int steps)
{
    double   got[MAX_ELEM], want[MAX_ELEM];
    Bound    most = strstr(c->path, large_scores) ? bound_of_large : bound;
    NndError err;
    bool     good;

    open_session(c, &c->run, ending);
    open_session(oracle, &oracle->run, ending);
    assert_int_equal(nnd_session_fetch(&c->run, &err), 0);
    good = same_states(c, oracle->im, oracle->run.state, most);
    if (ending) {
        int64_t n = predict(oracle, want);

        assert_int_equal(predict(c, got), n);
        good &= same(c, "predicted", n, got, want, most);
    }
    for (int step = 1; step <= steps; step++) {
        train(c, step);
        train(oracle, step);
    }
    return good & same_states(c, oracle->im, oracle->run.state, most);
}

static void shut(Case *c)
{
    nnd_session_close(&c->run);
    c->run = (NndSession){ 0 };
}

/* Two runs, each beside the oracle's; neither seed changes a bit. */
static bool check(World *w, const char *path, const char *text, const char *ending, int steps)
{
    static const char *const seed[] = { "1", "7" };
    Case     device, oracle;
    double  *first = NULL, *again;
    int64_t  n;
    bool     good = true;

    compile_case(&device, &backend_nvptx, path, text, (BackendOptions){ .cpu = "sm_80", .opt_level = 1 }, false);
    compile_case(&oracle, &backend_interp, path, text, (BackendOptions){ .opt_level = 1 }, false);
    for (int i = 0; i < (few() ? 1 : 2) && good; i++) {
        setenv("PTXRUN_SEED", seed[i], 1);
        good = run_beside(&device, &oracle, ending, steps);
        again = all_states(&device, &n);
        for (int64_t k = 0; first && k < n && good; k++)
            good = first[k] == again[k] || (first[k] != first[k] && again[k] != again[k]);
        shut(&device);
        shut(&oracle);
        free(first);
        first = again;
    }
    free(first);
    close_case(&device);
    close_case(&oracle);
    if (w->driver.nwarning && *w->driver.nwarning) {
        print_message("# %s: %d warnings of ptxrun\n", path, *w->driver.nwarning);
        return false;
    }
    return good;
}

static void want_driver(World *w)
{
    if (!w->tried)
        w->has = gpu_open(&w->driver);
    w->tried = true;
    if (!w->has)
        gpu_left_out();
}

/* The cases of a folder, or all of tests/layers. */
static void find_cases(const char *folder, glob_t *found)
{
    const char *root = getenv("NND_ROOT");
    char        pattern[MAX_PATH];

    snprintf(pattern, sizeof pattern, "%s/tests/layers/%s/*.nnd", root ? root : ".", folder);
    assert_int_equal(glob(pattern, 0, NULL, found), 0);
}

static void test_folder(void **state)
{
    const Item *item = *state;
    glob_t      found;
    bool        good = true;

    want_driver(item->world);
    find_cases(item->folder, &found);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        size_t len;
        char  *text = read_text(found.gl_pathv[i], &len);

        good &= check(item->world, found.gl_pathv[i], text, ".safetensors", 1);
        free(text);
    }
    globfree(&found);
    assert_true(good);
}

static void test_setting(void **state)
{
    const Item *item = *state;
    char        text[2048];

    want_driver(item->world);
    snprintf(text, sizeof text, step_text, item->setting);
    assert_true(check(item->world, item->name, text, NULL, 3));
}

static void test_initial(void **state)
{
    const Item *item = *state;

    want_driver(item->world);
    assert_true(check(item->world, "initial.nnd", initial_text, NULL, 1));
}

/* ---- is it everything? ---- */

typedef struct Declared { const char *name, *body, *end; int nname; bool covered; } Declared;

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Is the name called in the text from here to there: `name(`, `= name` without an argument, or `name: ` as a setting? */
static bool calls(const char *text, const char *end, const Declared *d)
{
    for (const char *at = text; at + d->nname < end; at++) {
        if (*at == '#')                          /* a comment calls nothing */
            while (at + 1 < end && at[1] != '\n')
                at++;
        else if (!strncmp(at, d->name, (size_t)d->nname) && !is_word(at[d->nname]) && (at == text || !is_word(at[-1]))
                 && (at[d->nname] == '(' || (at > text + 1 && at[-2] == '=') || (at > text && at[-1] == ' ' && !strncmp(at + d->nname, ": ", 2))))
            return true;
    }
    return false;
}

/* What the prelude's text declares, each with all that stands before the next one. */
static int declarations(const char *text, Declared *to, int most)
{
    static const char *const kind[] = { "fn ", "optimizer ", "gradients " };
    int n = 0;

    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        for (int i = 0; i < 3; i++)
            if (!strncmp(line, kind[i], strlen(kind[i]))) {
                assert_true(n < most);
                if (n)
                    to[n - 1].end = line;
                to[n] = (Declared){ .name = line + strlen(kind[i]) };
                to[n].nname = (int)strcspn(to[n].name, "(");
                to[n].body = to[n].name + to[n].nname;
                to[n++].end = text + strlen(text);
            }
    return n;
}

static char *read_all(const char *pattern)
{
    char  *all = calloc(1, MAX_TEXT);
    glob_t found;

    assert_non_null(all);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        size_t len;
        char  *text = read_text(found.gl_pathv[i], &len);

        assert_true(strlen(all) + len < MAX_TEXT - 1);
        strcat(all, text);
        free(text);
    }
    globfree(&found);
    return all;
}

/* Marks what the text calls, and what that calls. */
static void cover(Declared *d, int n, const char *text, const char *end)
{
    for (int i = 0; i < n; i++)
        if (!d[i].covered && calls(text, end, &d[i])) {
            d[i].covered = true;
            cover(d, n, d[i].body, d[i].end);
        }
}

static void test_everything(void **state)
{
    const char *root = getenv("NND_ROOT");
    char        pattern[MAX_PATH], *prelude, *cases;
    Declared    d[256], none = { .name = "nothing(", .nname = 7 };
    int         n, missing = 0;

    (void)state;
    snprintf(pattern, sizeof pattern, "%s/frontend/prelude/*.nnd", root ? root : ".");
    prelude = read_all(pattern);
    snprintf(pattern, sizeof pattern, "%s/tests/layers/*/*.nnd", root ? root : ".");
    cases = read_all(pattern);
    n = declarations(prelude, d, 256);
    assert_true(n > 50 && !calls(cases, cases + strlen(cases), &none));
    cover(d, n, cases, cases + strlen(cases));
    cover(d, n, initial_text, initial_text + strlen(initial_text));
    for (size_t i = 0; i < sizeof step_of / sizeof *step_of; i++)
        cover(d, n, step_of[i].setting, step_of[i].setting + strlen(step_of[i].setting));
    for (int i = 0; i < n; i++)
        if (!d[i].covered) {
            print_message("# %.*s: no text here and no case of tests/layers uses it\n", d[i].nname, d[i].name);
            missing++;
        }
    free(prelude);
    free(cases);
    assert_int_equal(missing, 0);
}

/* ---- the table ---- */

static int add_folders(struct CMUnitTest *test, Item *item, World *w)
{
    static const char skipped[] = "models";              /* whole nets, for tests/models.sh */
    const char *root = getenv("NND_ROOT");
    char        pattern[MAX_PATH];
    glob_t      found;
    int         n = 0;

    snprintf(pattern, sizeof pattern, "%s/tests/layers/*/", root ? root : ".");
    if (glob(pattern, 0, NULL, &found))
        return 0;
    for (size_t i = 0; i < found.gl_pathc && n < MAX_TEST / 2; i++) {
        const char *name = strstr(found.gl_pathv[i], "tests/layers/") + strlen("tests/layers/");

        snprintf(item[n].name, sizeof item[n].name, "%.*s", (int)strcspn(name, "/"), name);
        if (!strcmp(item[n].name, skipped) || *name == '_')
            continue;
        item[n].world = w;
        item[n].folder = item[n].name;
        test[n] = (struct CMUnitTest){ item[n].name, test_folder, NULL, NULL, &item[n] };
        n++;
    }
    globfree(&found);
    return n;
}

/* NND_PART=2/8: the second of eight parts, so that several processes share the work. */
static int part_of(struct CMUnitTest *test, int n)
{
    const char *text = getenv("NND_PART");
    int         part, parts, kept = 0;

    if (!text || sscanf(text, "%d/%d", &part, &parts) != 2 || parts < 1)
        return n;
    for (int i = 0; i < n; i++)
        if (i % parts == part - 1)
            test[kept++] = test[i];
    return kept;
}

int main(void)
{
    struct CMUnitTest test[MAX_TEST];
    Item              item[MAX_TEST] = { 0 };
    World             world = { 0 };
    int               n = add_folders(test, item, &world), failed;

    for (size_t i = 0; i < sizeof step_of / sizeof *step_of; i++, n++) {
        item[n] = (Item){ .world = &world, .setting = step_of[i].setting };
        snprintf(item[n].name, sizeof item[n].name, "%s.nnd", step_of[i].name);
        test[n] = (struct CMUnitTest){ item[n].name, test_setting, NULL, NULL, &item[n] };
    }
    item[n].world = &world;
    test[n] = (struct CMUnitTest){ "initial", test_initial, NULL, NULL, &item[n] };
    test[n + 1] = (struct CMUnitTest)cmocka_unit_test(test_everything);
    n = part_of(test, n + 2);
    failed = _cmocka_run_group_tests("gpu layers", test, (size_t)n, NULL, NULL);
    if (world.has)
        gpu_close(&world.driver);
    return failed;
}
