/* test_graph_text.c - graphs as text: what is printed reads back as the same module, node by node.
 *
 * One graph holds every row of ops.def, made from a pool of arguments, attributes and types by asking the
 * type rules which of them fit: a new row is tested by being there.
 */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/graph.h"
#include "ir/scan.h"
#include "ir/philox.h"
#include "ir/text.h"
#include "runtime/abi.h"

enum { NARGS = 3, MAX_TRIES = 4096 };

static const Loc nowhere;

static char *printed(const Module *m)
{
    char  *text = NULL;
    size_t len = 0;
    FILE  *f = open_memstream(&text, &len);

    assert_non_null(f);
    module_print(f, m);
    fclose(f);
    return text;
}

static Module *read_text(const char *text) { return module_read("test.ir", text, strlen(text)); }

/* every row */

static int add_slots(Module *m, int *slot)
{
    static const struct { const char *name; SlotKind kind; Type type; } want[] = {
        { "fc1.weight", SLOT_param, { DT_f32, 2, { 4, 6 } } },   { "blocks.0.ln1.bias", SLOT_state, { DT_f32, 2, { 6, 5 } } },
        { "count", SLOT_optim, { DT_i32, 2, { 4, 6 } } },        { "label", SLOT_field, { DT_u8, 0, { 0 } } },
        { "mask", SLOT_state, { DT_bool, 2, { 4, 6 } } },        { "image", SLOT_field, { DT_f32, 2, { 4, 6 } } },
        { "other", SLOT_field, { DT_f32, 2, { 6, 5 } } },        { "lr", SLOT_scalar, { DT_f64, 0, { 0 } } },
        { "planes", SLOT_state, { DT_f32, 4, { 2, 2, 3, 5 } } }, { "taps", SLOT_state, { DT_f32, 4, { 2, 4, 3, 2 } } },
        { "table", SLOT_state, { DT_f32, 3, { 4, 6, 2 } } },     { "values", SLOT_state, { DT_f32, 3, { 4, 2, 4 } } },
        { "places", SLOT_state, { DT_i32, 3, { 4, 2, 4 } } },   { "rows", SLOT_state, { DT_f32, 4, { 4, 1, 3, 4 } } },
        { "at", SLOT_state, { DT_i32, 4, { 4, 1, 3, 4 } } },
    };
    static const char *columns[] = { "petal \"length\"", "width" };
    const int n = (int)(sizeof want / sizeof *want);

    for (int i = 0; i < n; i++) {
        slot[i] = module_add_slot(m, want[i].name, want[i].kind, want[i].type, (Loc){ 1, 4, (uint32_t)i + 1, 3 });
        m->slot[slot[i]].value = want[i].kind == SLOT_scalar ? 0.1 : 0;
    }
    m->slot[module_slot(m, "label")].bound = 10;
    m->slot[module_slot(m, "label")].source[0] = (FieldSource){ .format = SOURCE_IDX, .file = "train \"labels\"\\.idx" };
    m->slot[module_slot(m, "image")].source[0] = (FieldSource){ .format = SOURCE_IDX, .file = "train-images" };
    m->slot[module_slot(m, "image")].source[1] = (FieldSource){ .format = SOURCE_CSV, .file = "test.csv", .part = columns,
        .npart = 2, .number = 1, .stride = 3, .from = 0.25, .to = 1 };
    m->slot[module_slot(m, "image")].source[2] = (FieldSource){ .format = SOURCE_ROWS, .file = "", .number = 1000 };
    m->slot[module_slot(m, "other")].source[1] = (FieldSource){ .format = SOURCE_IDX, .file = "only-test" };
    m->slot[module_slot(m, "other")].source[2] = (FieldSource){ .format = SOURCE_SHARE, .file = "", .to = 0.5 };
    module_add_slot(m, "loss", SLOT_metric, ty_scalar(DT_f32), nowhere);
    module_add_slot(m, "accuracy", SLOT_metric, ty_scalar(DT_f32), nowhere);
    module_add_slot(m, "fc1.weight.grad", SLOT_grad, m->slot[slot[0]].type, nowhere);
    module_add_slot(m, "p", SLOT_output, ty_make(DT_f32, 1, (int64_t[]){ 10 }), nowhere);
    return n;
}

static int some_attrs(Arena *mem, AttrKind kind, int nslot, Attr *out)
{
    static const double value[] = { 0.5, 1, -0.0, 0.1, 1e-320, 1e300, -3e9, INFINITY, -INFINITY, NAN };
    static const struct { AttrKind kind; int n; int64_t v[10]; } list[] = {
        { ATTR_NONE, 0, { 0 } },          { ATTR_AXES, 0, { 0 } },           { ATTR_AXES, 1, { 1 } },
        { ATTR_AXES, 2, { 0, 2 } },       { ATTR_EXPAND, 2, { 0, 64 } },     { ATTR_EXPAND, 4, { 1, 3, 2, 7 } },
        { ATTR_SHAPE, 1, { 24 } },        { ATTR_SHAPE, 3, { 2, 1, 12 } },   { ATTR_SHAPE, 0, { 0 } },
        { ATTR_PERM, 2, { 1, 0 } },       { ATTR_PERM, 3, { 2, 0, 1 } },     { ATTR_PERM, 0, { 0 } },
        { ATTR_DOT, 4, { 0, 1, 1, 0 } },  { ATTR_DOT, 6, { 1, 1, 0, 0, 2, 1 } }, { ATTR_DOT, 2, { 0, 0 } },
        { ATTR_DOT, 4, { 1, 0, 0, 0 } },  { ATTR_STREAM, 1, { 77 } },        { ATTR_STREAM, 1, { UINT32_MAX } },
        { ATTR_AXIS, 1, { 0 } },          { ATTR_AXIS, 1, { 1 } },           { ATTR_DEPTH, 1, { 10 } },
        { ATTR_SLICE, 6, { 3, -1, 4, 0, 2, 3 } },          { ATTR_SLICE, 6, { 1, 1, 1, 5, -2, 2 } },
        { ATTR_WINDOW, 0, { 0 } },        { ATTR_WINDOW, 4, { 1, 3, 2, 1 } },  { ATTR_WINDOW, 8, { 0, 2, 1, 2, 1, 2, 1, 1 } },
        { ATTR_OVERLAP, 0, { 0 } },       { ATTR_OVERLAP, 5, { 0, 6, 1, 1, 9 } },
        { ATTR_CONV, 0, { 0 } },          { ATTR_CONV, 5, { 2, 1, -1, 1, 2 } }, { ATTR_CONV, 5, { 1, 1, 1, 1, 1 } },
        { ATTR_ROWS, 2, { 0, 5 } },       { ATTR_ROWS, 2, { 1, 256 } },        { ATTR_PATCH, 6, { 2, 2, 1, 1, 6, 9 } },
        { ATTR_TAPS, 3, { 1, 3, 6 } },
    };
    if (kind == ATTR_SCORES) {
        out[0] = attr_scores(mem, true, 0.125);
        out[1] = attr_scores(mem, false, -0.1);
        return 2;
    }
    const int64_t none = attr_double(mem, -INFINITY).v[0], half = attr_double(mem, 0.5).v[0], zero = 0;
    int           n = 0;

    if (kind == ATTR_PAD) {
        out[n++] = attr_make(mem, 5, (int64_t[]){ 0, 0, 1, 2, none });
        out[n++] = attr_make(mem, 5, (int64_t[]){ 3, 0, 0, 0, zero });
        out[n++] = attr_make(mem, 1, &half);
    }

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (list[i].kind == kind)
            out[n++] = attr_make(mem, list[i].n, list[i].v);
    }
    for (size_t i = 0; kind == ATTR_VALUE && i < sizeof value / sizeof *value; i++)
        out[n++] = attr_double(mem, value[i]);
    for (int64_t i = 0; kind == ATTR_DTYPE && i < NDTYPE; i++)
        out[n++] = attr_make(mem, 1, &i);
    for (int64_t i = 0; kind == ATTR_SLOT && i < nslot; i++)
        out[n++] = attr_make(mem, 1, &i);
    assert_true(n > 0);
    return n;
}

/* Every choice of arguments from the pool for which op's rule has a type; returns their number. */
static int make_all(Graph *g, Op op, const Ref *pool, int npool, const Attr *attr, uint32_t *serial)
{
    static const Type given[] = { { DT_f32, 2, { 2, 3 } }, { DT_i32, 2, { 4, 2 } }, { DT_bool, 0, { 0 } }, { DT_f64, 0, { 0 } } };
    int               nfit = 0, ntry = op_info[op].narg ? 1 : 4;

    for (int i = 0; i < op_info[op].narg; i++)
        ntry *= npool;
    for (int try = 0; try < ntry && try < MAX_TRIES; try++) {
        Ref         arg[NARGS] = { { 0 } };
        const char *error;

        for (int i = 0, rest = try; i < op_info[op].narg; i++, rest /= npool)
            arg[i] = pool[rest % npool];

        uint32_t line = ++*serial;
        Loc      loc = line % 3 ? (Loc){ (uint16_t)(line % 2), (uint16_t)(line % 40), line, line % 90 } : nowhere;
        Ref      r = graph_make(g, op, loc, op_info[op].narg, arg, *attr, &given[try % 4], &error);
        assert_true(r.id ? !error : error && *error);
        nfit += r.id != 0;
    }
    return nfit;
}

/* The rows of scans fit only together. */
static void a_scan(Graph *g, Ref a)
{
    Ref step = scan_element(g, (Loc){ 0, 7, 1, 2 }, a, 4, 0, true);
    Ref zero = graph_const(g, nowhere, graph_at(g, step)->type, 0);
    Ref carry = scan_carry(g, nowhere, zero, 4, graph_at(g, a)->type.dim[0], 0);
    Ref next = scan_next(g, carry, graph_op2(g, OP_add, nowhere, step, carry), (Ref){ 0 });

    scan_last(g, carry, next);
    scan_stack(g, nowhere, step, next, 4, graph_at(g, a)->type.dim[0], 1, false);
}

static Module *every_row(void)
{
    Module *m = module_new();
    int     slot[16], nslot = add_slots(m, slot);
    Graph  *g = graph_new(m, ENTRY_TRAIN, 3);
    Ref     pool[16];
    Attr    attr[32];
    uint32_t serial = 0;

    m->name = "every_row";
    m->float64 = true;
    diag_source(&m->diag, "models/every row.nnd", "", 0);
    diag_source(&m->diag, "<prelude/\"odd\".nnd>", "", 0);
    m->train = (TrainInfo){ .present = true, .epochs = 10, .batch = 3, .seed = UINT64_MAX - 5, .nexpect = 2 };
    m->train.expect = arena_array(&m->mem, Expect, 2);
    m->train.expect[0] = (Expect){ 1, 1, NND_GE, 0.78, "test.accuracy >= 0.78", { 0, 3, 2, 1 } };
    m->train.expect[1] = (Expect){ 0, 0, NND_LT, -INFINITY, "loss", nowhere };
    for (int i = 0; i < nslot; i++)
        pool[i] = graph_read(g, (Loc){ 0, 5, 100, (uint32_t)i }, slot[i]);
    a_scan(g, pool[0]);
    for (Op op = 0; op < NOP; op++) {
        if (op_info[op].attr == ATTR_LOOP)
            continue;
        int nattr = some_attrs(&m->mem, op_info[op].attr, nslot, attr), nfit = 0;

        for (int i = 0; i < nattr; i++)
            nfit += make_all(g, op, pool, nslot, &attr[i], &serial);
        if (!nfit)
            fail_msg("no arguments fit %s", op_info[op].name);
    }

    Ref loss = graph_const(g, nowhere, ty_scalar(DT_f32), 2.5);
    graph_write(g, (Loc){ 1, 2, 3, 4 }, module_slot(m, "loss"), loss);
    graph_write(g, nowhere, module_slot(m, "count"), pool[2]);
    graph_minimize(g, (Loc){ 0, 8, 9, 9 }, loss, 1, &slot[0], (int[]){ module_slot(m, "fc1.weight.grad") });
    g->nkernel = 1 + (g->nnode - 1) / 2 * 2 / 50;
    for (int id = 2; id < g->nnode; id += 2)
        g->node[id].kernel = 1 + id / 50;
    module_add_graph(m, g);

    Graph *update = graph_new(m, ENTRY_UPDATE, 0);
    graph_write(update, nowhere, slot[0], graph_read(update, nowhere, module_slot(m, "fc1.weight.grad")));
    module_add_graph(m, update);
    return m;
}

static void same_loc(Loc a, Loc b)
{
    assert_int_equal(a.file, b.file);
    assert_int_equal(a.line, b.line);
    assert_int_equal(a.col, b.col);
    assert_int_equal(a.len, b.len);
}

static void same_node(const Node *a, const Node *b)
{
    assert_int_equal(a->op, b->op);
    assert_int_equal(a->narg, b->narg);
    for (int i = 0; i < a->narg; i++)
        assert_int_equal(a->arg[i].id, b->arg[i].id);
    assert_int_equal(a->attr.n, b->attr.n);
    for (int i = 0; i < a->attr.n; i++)
        assert_int_equal(a->attr.v[i], b->attr.v[i]);
    assert_true(ty_equal(&a->type, &b->type));
    assert_int_equal(a->kernel, b->kernel);
    same_loc(a->loc, b->loc);
}

static void same_graph(const Graph *a, const Graph *b)
{
    assert_int_equal(a->entry, b->entry);
    assert_int_equal(a->batch, b->batch);
    assert_int_equal(a->nnode, b->nnode);
    assert_int_equal(a->nkernel, b->nkernel);
    for (int id = 1; id < a->nnode; id++)
        same_node(&a->node[id], &b->node[id]);
    assert_int_equal(a->nwrite, b->nwrite);
    for (int i = 0; i < a->nwrite; i++) {
        assert_int_equal(a->write[i].slot, b->write[i].slot);
        assert_int_equal(a->write[i].value.id, b->write[i].value.id);
        same_loc(a->write[i].loc, b->write[i].loc);
    }
    assert_int_equal(a->nmin, b->nmin);
    for (int i = 0; i < a->nmin; i++) {
        assert_int_equal(a->min[i].loss.id, b->min[i].loss.id);
        assert_int_equal(a->min[i].n, b->min[i].n);
        for (int j = 0; j < a->min[i].n; j++) {
            assert_int_equal(a->min[i].param[j], b->min[i].param[j]);
            assert_int_equal(a->min[i].grad[j], b->min[i].grad[j]);
        }
        same_loc(a->min[i].loc, b->min[i].loc);
    }
}

static void same_text(const char *a, const char *b)
{
    assert_int_equal(!a, !b);
    if (a)
        assert_string_equal(a, b);
}

static void same_source(const FieldSource *a, const FieldSource *b)
{
    assert_int_equal(a->format, b->format);
    same_text(a->file, b->file);
    assert_int_equal(a->npart, b->npart);
    for (int i = 0; i < a->npart; i++)
        assert_string_equal(a->part[i], b->part[i]);
    assert_int_equal(a->stride, b->stride);
    assert_int_equal(a->number, b->number);
    assert_true(a->from == b->from && a->to == b->to);
}

static void same_head(const Module *a, const Module *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->float64, b->float64);
    assert_int_equal(a->diag.nsource, b->diag.nsource);
    for (int i = 0; i < a->diag.nsource; i++)
        assert_string_equal(a->diag.source[i].name, b->diag.source[i].name);
    assert_int_equal(a->nslot, b->nslot);
    for (int i = 0; i < a->nslot; i++) {
        const Slot *s = &a->slot[i], *t = &b->slot[i];

        assert_string_equal(s->name, t->name);
        assert_int_equal(s->kind, t->kind);
        assert_true(ty_equal(&s->type, &t->type));
        assert_int_equal(s->bound, t->bound);
        assert_true(s->value == t->value);
        for (int k = 0; k < NSPLIT; k++)
            same_source(&s->source[k], &t->source[k]);
        same_loc(s->loc, t->loc);
    }
}

static void same_train(const TrainInfo *a, const TrainInfo *b)
{
    assert_int_equal(a->present, b->present);
    assert_int_equal(a->epochs, b->epochs);
    assert_int_equal(a->batch, b->batch);
    assert_true(a->seed == b->seed);
    assert_int_equal(a->nexpect, b->nexpect);
    for (int i = 0; i < a->nexpect; i++) {
        assert_int_equal(a->expect[i].split, b->expect[i].split);
        assert_int_equal(a->expect[i].metric, b->expect[i].metric);
        assert_int_equal(a->expect[i].compare, b->expect[i].compare);
        assert_true(a->expect[i].value == b->expect[i].value);
        assert_string_equal(a->expect[i].text, b->expect[i].text);
        same_loc(a->expect[i].loc, b->expect[i].loc);
    }
}

static void test_text_of_every_row(void **state)
{
    Module *m = every_row();
    char   *first = printed(m);
    Module *back = read_text(first);

    (void)state;
    if (back->diag.nerror)
        fail_msg("%s", back->diag.text);
    same_head(m, back);
    same_train(&m->train, &back->train);
    assert_int_equal(back->ngraph, 1);
    same_graph(m->graph[0], back->graph[0]);
    same_graph(m->update, back->update);

    char *second = printed(back);
    assert_string_equal(first, second);
    free(first);
    free(second);
    module_free(back);
    module_free(m);
}

static void test_every_row_verifies(void **state)
{
    Module     *m = every_row();
    const char *why = graph_verify(m->graph[0]);

    (void)state;
    if (why)
        fail_msg("%s", why);
    assert_null(graph_verify(m->update));
    module_free(m);
}

static void test_doubles_read_back(void **state)
{
    static const double special[] = { 0, 1, 10, 60000, 1e15, 123456789012345680.0, 0.1, 1e-7, 5e-324, 1.7976931348623157e308 };
    const int           nspecial = sizeof special / sizeof *special;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = (uint64_t)philox(1, 2, 0, (uint64_t)i) << 32 | philox(1, 3, 0, (uint64_t)i);
        double   x, y;
        char     buf[64] = { 0 };
        FILE    *f = fmemopen(buf, sizeof buf, "w");

        memcpy(&x, &bits, sizeof x);
        if (i < 2 * nspecial)
            x = i % 2 ? -special[i / 2] : special[i / 2];
        text_double(f, x);
        fclose(f);
        y = strtod(buf, NULL);
        assert_true(isnan(x) ? isnan(y) : !memcmp(&x, &y, sizeof x));
    }
}

/* The example of ir/README.md is what would be printed, and holds. */
static void test_example_of_readme(void **state)
{
    const char *root = getenv("NND_ROOT");
    char        path[4096], readme[64 * 1024];

    (void)state;
    assert_non_null(root);
    snprintf(path, sizeof path, "%s/ir/README.md", root);

    FILE *f = fopen(path, "r");
    assert_non_null(f);
    readme[fread(readme, 1, sizeof readme - 1, f)] = '\0';
    fclose(f);

    char *example = strstr(readme, "```\nnnd-ir 1\n"), *end = example ? strstr(example + 4, "```") : NULL;
    assert_non_null(end);
    *end = '\0';

    Module *m = read_text(example + 4);
    if (m->diag.nerror)
        fail_msg("%s", m->diag.text);

    const char *why = graph_verify(m->graph[0]);
    if (why)
        fail_msg("%s", why);

    char *again = printed(m);
    assert_string_equal(example + 4, again);
    free(again);
    module_free(m);
}

/* noise */

static void read_and_drop(const char *text, size_t len)
{
    Module *m = module_read("noise.ir", text, len);

    if (!m->diag.nerror) {
        for (int i = 0; i < m->ngraph; i++)
            graph_verify(m->graph[i]);
        free(printed(m));
    }
    module_free(m);
}

static void test_random_bytes(void **state)
{
    static const char some[] = "nnd-ir 1\n%@!{}[]():,0123456789.-+=<> graph train slot add \"x\" in k1\n";

    (void)state;
    for (int i = 0; i < 2000; i++) {
        char   text[300];
        size_t len = philox(7, 0, 0, (uint64_t)i) % sizeof text;

        for (size_t j = 0; j < len; j++) {
            uint32_t bits = philox(7, 1, (uint32_t)i, j);
            text[j] = i % 2 ? (char)bits : some[bits % (sizeof some - 1)];
        }
        if (i % 4 > 1 && len > 10)
            memcpy(text, "nnd-ir 1\n", 9);
        read_and_drop(text, len);
    }
}

static void test_mutations(void **state)
{
    Module *m = every_row();
    Graph  *small = graph_new(m, ENTRY_EVAL, 3);
    bool   *want = arena_array(&m->mem, bool, m->graph[0]->nnode);
    Ref    *map = arena_array(&m->mem, Ref, m->graph[0]->nnode);

    (void)state;
    for (int id = 1; id < m->graph[0]->nnode; id += 23)
        graph_reach(m->graph[0], (Ref){ id }, want);
    graph_copy_into(small, m->graph[0], map, want, NULL, NULL);
    m->graph[0] = small;

    char  *text = printed(m);
    size_t len = strlen(text);
    for (int i = 0; i < 3000; i++) {
        char    *copy = malloc(len);
        uint32_t at = philox(9, 0, 0, (uint64_t)i) % (uint32_t)len, n = 1 + philox(9, 1, 0, (uint64_t)i) % 4;
        size_t   end = len;

        assert_non_null(copy);
        memcpy(copy, text, len);
        for (uint32_t j = at; j < at + n && j < len; j++)
            copy[j] = i % 3 ? text[philox(9, 2, (uint32_t)i, j) % len] : (char)philox(9, 3, (uint32_t)i, j);
        if (i % 5 == 0)
            end = at;
        read_and_drop(copy, end);
        free(copy);
    }
    free(text);
    module_free(m);
}

static void test_open_brackets(void **state)
{
    static const char bracket[] = "([{%@!";
    enum { N = 200000 };
    char *text = malloc(N + 64);

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < strlen(bracket); i++) {
        for (int inside = 0; inside < 2; inside++) {
            size_t len = (size_t)sprintf(text, "nnd-ir 1\n%s", inside ? "graph eval 1 {\n%1 = sum %2 " : "slot ");

            memset(text + len, bracket[i], N);
            Module *m = module_read("brackets.ir", text, len + N);
            assert_true(m->diag.nerror > 0);
            module_free(m);
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_of_every_row),
        cmocka_unit_test(test_every_row_verifies),
        cmocka_unit_test(test_doubles_read_back),
        cmocka_unit_test(test_example_of_readme),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_open_brackets),
    };

    return cmocka_run_group_tests_name("graph_text", tests, NULL, NULL);
}
