/* test_graph_mistakes.c - texts of graphs that are wrong: types, lines, and what only the verifier sees.
 *
 * A text's mistake is reported once, with its place in the text; a graph's fault is one sentence.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/graph.h"

static const Loc nowhere;

static Module *read_text(const char *text) { return module_read("test.ir", text, strlen(text)); }

/* mistakes: what stands in the text, and a part of the message */

static const char head[] = "nnd-ir 1\n"
                           "slot @x : field f32[784]\n"
                           "slot @w : param f32[780, 10]\n"
                           "slot @w.grad : grad f32[780, 10]\n"
                           "slot @b : param f32[10]\n"
                           "slot @label : field u8 < 10\n"
                           "slot @lr : scalar f64 = 0.5\n"
                           "slot @loss : metric f32\n"
                           "slot @n : state i32[10]\n";

static const char reads[] = "graph train 64 {\n"
                            "%1 = read @x : f32[64, 784]\n"
                            "%2 = read @w : f32[780, 10]\n"
                            "%3 = read @b : f32[10]\n"
                            "%4 = read @label : u8[64]\n"
                            "%5 = read @n : i32[10]\n";

typedef struct Mistake { const char *text, *message; } Mistake;

static void check_mistakes(const Mistake *mistake, int n, const char *before, const char *after)
{
    for (int i = 0; i < n; i++) {
        char *text;
        assert_true(asprintf(&text, "%s%s%s%s", head, before, mistake[i].text, after) > 0);

        Module *m = read_text(text);
        if (m->diag.nerror != 1 || !strstr(m->diag.text, mistake[i].message))
            fail_msg("%s\nwants one error, \"%s\", got %d: %s", mistake[i].text, mistake[i].message, m->diag.nerror,
                     m->diag.text ? m->diag.text : "");
        module_free(m);
        free(text);
    }
}

static void test_type_mistakes(void **state)
{
    static const Mistake mistake[] = {
        { "%9 = add %1, %2 : f32[64, 784]", "test.ir:16:6: error: add: wants equal types, got f32[64, 784] and f32[780, 10]" },
        { "%9 = mul %4, %4 : u8[64]", "mul: wants f32, f64, i32 or i64, got u8[64]" },
        { "%9 = exp %5 : i32[10]", "exp: wants f32 or f64, got i32[10]" },
        { "%9 = and %3, %3 : bool[10]", "and: wants bool, got f32[10]" },
        { "%9 = select %3, %3, %3 : f32[10]", "select: wants a bool to choose by, got f32[10]" },
        { "%9 = dot %1, %2 {fold 1:0} : f32[64, 10]", "dot: inner sizes differ, f32[64, 784] by f32[780, 10]" },
        { "%9 = dot %1, %2 {batch 0:0, fold 1:1} : f32[64]", "dot: batch sizes differ" },
        { "%9 = dot %1, %2 {fold 1:2} : f32[64, 10]", "dot: its axes are not axes of" },
        { "%9 = dot %1, %5 {fold 1:0} : f32[64, 10]", "dot: wants two f32 or two f64" },
        { "%9 = sum %1 {1, 0} : f32", "sum: wants ascending axes of f32[64, 784]" },
        { "%9 = sum %1 {2} : f32[64, 784]", "sum: wants ascending axes" },
        { "%9 = argmax %1 {2} : i32[64]", "argmax: wants ascending axes of f32[64, 784]" },
        { "%9 = reshape %1 {64, 28, 29} : f32[64, 28, 29]", "reshape: f32[64, 28, 29] does not hold as many" },
        { "%9 = transpose %1 {0, 0} : f32[64, 64]", "transpose: wants each axis of f32[64, 784] once" },
        { "%9 = expand %3 {2: 64} : f32[64, 10]", "expand: wants ascending axes of a result with 2 axes" },
        { "%9 = expand %3 {0: 9000000000000000000} : f32[10]", "expand: a result with sizes below 1 or too large" },
        { "%9 = one_hot %3 {10} : bool[10, 10]", "one_hot: wants integers, got f32[10]" },
        { "%9 = one_hot %4 {0} : bool[64, 1]", "one_hot: wants a depth from 1" },
        { "%9 = const 0.5 : i32[3]", "const: i32 can't hold 0.5" },
        { "%9 = const 256 : u8", "const: u8 can't hold 256" },
        { "%9 = const nan : bool", "const: bool can't hold nan" },
        { "%9 = training : f32", "training: gives bool, not f32" },
        { "%9 = iota {1} : i32[4]", "iota: i32[4] has no axis 1" },
        { "%9 = random {stream 7} : i32", "random: gives f32 or f64, not i32" },
        { "%9 = slice %3 {0 2 6} : f32[6]", "slice: 6 elements from 0 on in steps of 2 are not all in axis 0 of f32[10]" },
        { "%9 = slice %3 {9 -9223372036854775807 3} : f32[3]", "slice: 3 elements from 9 on" },
        { "%9 = slice %1 {0 1 6} : f32[6, 784]", "slice: wants start, step and count of each axis of f32[64, 784]" },
        { "%9 = pad %3 {1 -1} 0 : f32[10]", "pad: can't put 1 before and -1 behind axis 0 of f32[10]" },
        { "%9 = pad %4 {1 1} -inf : u8[66]", "pad: u8 can't hold -inf" },
        { "%9 = window %3 {0 11 1 1} : f32[1, 11]", "window: axis 0 of f32[10] is shorter than a window of 11" },
        { "%9 = window %3 {0 3 0 1} : f32[8, 3]", "window: a window of size 3, stride 0, dilation 1: each is at least 1" },
        { "%9 = window %3 {1 3 1 1} : f32[8, 3]", "window: wants ascending axes of f32[10]" },
        { "%9 = overlap %1 {0 784 1 1 64} : f32[64]", "overlap: f32[64, 784] are no windows of size 784 on an axis of 64" },
        { "%9 = conv %1, %2 {} : f32[64, 10]", "conv: wants [N, G, C, ...] and [G, O, C, ...] with 0 more axes" },
        { "%9 = gather %1, %3 {0} : f32[10, 784]", "gather: wants integers for numbers, got f32[10]" },
        { "%9 = gather %1, %5 {1} : f32[10]", "gather: the first 1 axes of f32[64, 784] and i32[10] are not the same" },
        { "%9 = scatter %5, %1 {0, 4} : f32[4, 784]", "scatter: the first 1 axes of i32[10] and f32[64, 784] are not the same" },
        { "%9 = scatter %5, %3 {0, 0} : f32[0]", "a size lies in 1.." },
        { "%9 = attention_lse %1, %3 {all} 1 : f32[64]", "attention_lse: wants [..., T, D] and [..., S, D], got f32[64, 784] by f32[10]" },
        { "%9 = attention %1, %1, %2 {causal} 1 : f32[64, 10]", "attention: wants as many values as keys, got f32[64, 784] and f32[780, 10]" },
        { "%9 = attention_lse %5, %5 {all} 1 : f32", "attention_lse: wants f32 or f64, the same for all, got i32[10] by i32[10]" },
        { "%9 = cumsum %3 {1} : f32[10]", "cumsum: f32[10] has no axis 1" },
        { "%9 = neg %1 : f32[64, 783]", "test.ir:16:15: error: neg gives f32[64, 784], not f32[64, 783]" },
    };

    (void)state;
    check_mistakes(mistake, sizeof mistake / sizeof *mistake, reads, "\n%10 = neg %9 : f32\nwrite @loss, %10\n}\n");
}

static void test_line_mistakes(void **state)
{
    static const Mistake mistake[] = {
        { "%9 = ad %1, %1 : f32[64, 784]", "there is no operation `ad`; do you mean `add`?" },
        { "%9 = add %1 : f32[64, 784]", "wants `,`, found `:`" },
        { "%9 = neg %8 : f32", "%8 is not defined above" },
        { "%1 = neg %3 : f32[10]", "%1 is defined twice" },
        { "%9 = neg %1", "wants `:`, found the end of the line" },
        { "%9 = neg %1 : f31[64]", "wants f32, f64, i32, i64, u8 or bool, found `f31`" },
        { "%9 = neg %1 : f32[64, 784] in j2", "wants a kernel, k1 to k1048576, found `j2`" },
        { "%9 = neg %1 : f32[64, 784] !0:1:1+1", "there is no line `file 0`" },
        { "%9 = neg %1 : f32[64, 784] %1", "wants the end of the line, found `%`" },
        { "%9 = read @weight : f32", "there is no slot @weight" },
        { "%99999999 = neg %1 : f32", "a node's number lies in 1..1048576" },
        { "%9 = neg %1 : f32[0]", "a size lies in 1.." },
        { "%9 = neg %1 : f32[1, 1, 1, 1, 1, 1, 1, 1, 1]", "a type has at most 8 axes" },
        { "%9 = neg %1 : f32[4611686018427387904, 8]", "a type too large for memory" },
        { "write @w %2", "wants `,`, found `%`" },
        { "minimize %1 over @w, @b -> @w.grad", "wants `->`, found `,`" },
        { "wrote @w, %2", "wants `%`, found `wrote`" },
    };
    static const Mistake outside[] = {
        { "graph tain 64 {\n%1 = read @x : f32\n}\n", "wants init, train, eval, infer or update, found `tain`" },
        { "graph eval 8 {\n}\ngraph eval 8 {\n%1 = read @x : f32\n}\n", "graph eval 8 stands above already" },
        { "slot @x : field f32\n", "slot @x stands above already" },
        { "slot @y : feild f32\n", "there is no kind of slot `feild`; do you mean `field`?" },
        { "slot @y : field u8[1, 1, 1, 1, 1, 1, 1, 1]\n", "with its batch axis @y has more than 8 axes" },
        { "slot y : field u8\n", "wants `@` and a name, found `y`" },
        { "file 1 \"late\"\n", "a file's number lies in 0..0" },
        { "train epochs 1 batch 1 seed x\n", "wants a seed, found `x`" },
        { "expect test @w >= 1 \"t\"\n", "@w is no metric" },
        { "expect test @loss ~ 1 \"t\"\n", "test.ir:10:" },
        { "plot x\n", "wants module, float64, file, slot, label, train, expect, graph or plan, found `plot`" },
        { "graph eval 8 {\n%1 = read @x : f32[8, 784]\n", "wants `}`, found the end of the text" },
    };

    (void)state;
    check_mistakes(mistake, sizeof mistake / sizeof *mistake, reads, "\n}\n");
    check_mistakes(outside, sizeof outside / sizeof *outside, "", "");
}

static void test_version(void **state)
{
    static const char *const text[] = { "", "module x\n", "nnd-ir 2\n", "nnd\n" };

    (void)state;
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        Module *m = read_text(text[i]);
        assert_int_equal(m->diag.nerror, 1);
        module_free(m);
    }
}

/* several mistakes show at once, and lines after them are read */
static void test_reading_goes_on(void **state)
{
    Module *m = read_text("nnd-ir 1\nslot @a : parm f32\nslot @b : param f32\nslot @loss : metric f32\n"
                          "graph eval 8 {\n  %1 = rad @b : f32\n  %2 = neg %1 : f32\n  %3 = read @b : f32\n"
                          "  %4 = nog %3 : f32\n  write @loss, %4\n}\n");

    (void)state;
    assert_int_equal(m->diag.nerror, 3);
    assert_non_null(strstr(m->diag.text, "test.ir:2:11:"));
    assert_non_null(strstr(m->diag.text, "test.ir:6:8:"));
    assert_non_null(strstr(m->diag.text, "test.ir:9:8:"));
    module_free(m);
}

/* verifier */

static void test_verify(void **state)
{
    static const Mistake bad[] = {
        { "write @x, %1", "a field can't be written" },
        { "%9 = const 1 : f64\nwrite @lr, %9", "a scalar can't be written" },
        { "write @b, %3\nwrite @b, %3", "write @b, %3: written before" },
        { "write @w, %3", "write @w, %3: wants f32[780, 10], got f32[10]" },
        { "%9 = read @w.grad : f32[780, 10]", " = read: gradients are read by the update alone" },
        { "%9 = read @loss : f32", "what flows out can't be read" },
        { "%9 = cast %4 {i32} : i32[64]\n%10 = one_hot %9 {9} : bool[64, 9]", "has 9 classes, but @label goes up to 9" },
        { "minimize %3 over @b -> @w.grad", "a loss is one float, got f32[10]" },
        { "%9 = const 1 : f32\nminimize %9 over @b -> @w.grad", "@w.grad is no gradient of a parameter @b" },
        { "%9 = neg %3 : f32[10] in k2\n%10 = exp %9 : f32[10]\n%11 = sin %10 : f32[10] in k1", "is in k1, but needs k2" },
    };
    static const char *const good[] = {
        "write @b, %3\nwrite @n, %5",
        "%9 = neg %3 : f32[10] in k1\n%10 = exp %9 : f32[10]\n%11 = sin %10 : f32[10] in k2",
        "%9 = one_hot %4 {10} : bool[64, 10]",
        "%9 = const 1 : f32\nminimize %9 over @w -> @w.grad",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad + sizeof good / sizeof *good; i++) {
        bool  is_bad = i < sizeof bad / sizeof *bad;
        char *text;
        assert_true(asprintf(&text, "%s%s%s\n}\n", head, reads, is_bad ? bad[i].text : good[i - sizeof bad / sizeof *bad]) > 0);

        Module *m = read_text(text);
        if (m->diag.nerror)
            fail_msg("%s", m->diag.text);

        const char *why = graph_verify(m->graph[0]);
        if (is_bad ? !why || !strstr(why, bad[i].message) : why != NULL)
            fail_msg("%s\ngot %s", text, why ? why : "no fault");
        module_free(m);
        free(text);
    }
}

/* What only a pass that breaks the rules could make. */
static void test_verify_broken_nodes(void **state)
{
    Module *m = module_new();
    Graph  *g = graph_new(m, ENTRY_EVAL, 0);
    Ref     x = graph_const(g, nowhere, ty_scalar(DT_f32), 3), y = graph_op1(g, OP_neg, nowhere, x);
    Ref     itself = y;

    (void)state;
    assert_null(graph_verify(g));
    Node good = g->node[y.id];

    g->node[y.id].arg = &itself;
    assert_non_null(strstr(graph_verify(g), "%2 = neg: arguments come before users"));
    g->node[y.id] = good;
    g->node[y.id].type = ty_scalar(DT_f64);
    assert_non_null(strstr(graph_verify(g), "gives f32, but is stored as f64"));
    g->node[y.id] = good;
    g->node[y.id].kernel = 1;
    assert_non_null(strstr(graph_verify(g), "there is no kernel k1"));
    g->node[y.id] = good;
    assert_null(graph_verify(g));
    module_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_type_mistakes),
        cmocka_unit_test(test_line_mistakes),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_reading_goes_on),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_verify_broken_nodes),
    };

    return cmocka_run_group_tests_name("graph_mistakes", tests, NULL, NULL);
}
