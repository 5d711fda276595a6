/* test_text.c - from bytes to tokens to expressions to nodes, and the messages about all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/build.h"
#include "ir/lex.h"

enum { MANY = 200000 };

typedef struct Text { Arena mem; Diag d; int source; Lexer *lx; } Text;

static void start(Text *t, const char *text, size_t len)
{
    *t = (Text){ 0 };
    diag_init(&t->d, &t->mem);
    t->source = diag_source(&t->d, "t", text, len);
    t->lx = lex_new(&t->mem, &t->d, t->source);
}

static void stop(Text *t) { arena_free(&t->mem); }

static const char *messages(const Text *t) { return t->d.text ? t->d.text : ""; }

/* ---- tokens ---- */

/* Every token as a word: names and numbers as they are, line ends as `~`, the rest quoted by its kind. */
static void expect_tokens(const char *text, const char *want)
{
    static const char mark[] = { [TOK_NEWLINE] = '~', [TOK_NAME] = 'n', [TOK_NUMBER] = '0', [TOK_STRING] = '"',
                                 [TOK_PUNCT] = 'p', [TOK_BAD] = '!' };
    char   *got;
    size_t  size;
    FILE   *f = open_memstream(&got, &size);
    Text    t;

    start(&t, text, strlen(text));
    for (Token k = lex_next(t.lx); k.kind != TOK_END; k = lex_next(t.lx))
        fprintf(f, "%c%s ", mark[k.kind], k.kind == TOK_NEWLINE || k.kind == TOK_BAD ? "" : k.text);
    fclose(f);
    if (size)
        got[size - 1] = '\0';
    assert_string_equal(got, want);
    free(got);
    stop(&t);
}

static void tokens_of_models(void **state)
{
    (void)state;
    expect_tokens("", "");
    expect_tokens("x' = 2*D # why\n", "nx p' p= 02 p* nD ~");
    expect_tokens("a==b != c<=d>=e", "na p== nb p!= nc p<= nd p>= ne");
    expect_tokens("a |> f ^ g @ h", "na p|> nf p^ ng p@ nh");
    expect_tokens("f32[S..., K] -> x", "nf32 p[ nS p... p, nK p] p-> nx");
    expect_tokens("0..4 a..b", "00 p.. 04 na p.. nb");
    expect_tokens("fc1.weight 0.5", "nfc1 p. nweight 00.5");
    expect_tokens("blocks.0.ln1.weight", "nblocks p. 00 p. nln1 p. nweight");
    expect_tokens("a.0.5 + 0.5", "na p. 00 p. 05 p+ 00.5");
    expect_tokens("%3 = read @fc1.b : f32[-8] ! {<}", "p% 03 p= nread p@ nfc1 p. nb p: nf32 p[ p- 08 p] p! p{ p< p}");
    expect_tokens("\"a\\\"b\\\\\\n\" x", "\"a\"b\\\n nx");
    expect_tokens("x $ y", "nx ! ny");
    expect_tokens("x \xff\xfe\x80 y", "nx ! ny");
    expect_tokens("12ab c", "! nc");
}

static void line_ends_end_statements(void **state)
{
    (void)state;
    expect_tokens("a\n\n # no\nb\r\nc", "na ~ nb ~ nc");
    expect_tokens("\n\na", "na");
    expect_tokens("f(a,\n b\n)\nc", "nf p( na p, nb p) ~ nc");
    expect_tokens("[1\n,2]\nc", "p[ 01 p, 02 p] ~ nc");
    expect_tokens("a +  # more\n b\n", "na p+ nb ~");
    expect_tokens("a and\nb or\nnot\nc\nd", "na nand nb nor nnot nc ~ nd");
    expect_tokens("x =\n 1\ny", "nx p= 01 ~ ny");
    expect_tokens(")\na", "p) ~ na");
    expect_tokens("{\na\n}\n", "p{ ~ na ~ p} ~");
}

typedef struct NumberCase { const char *text; bool is_int; int64_t integer; double number; } NumberCase;

static void numbers(void **state)
{
    static const NumberCase cases[] = {
        { "0", true, 0, 0 },
        { "007", true, 7, 7 },
        { "9223372036854775807", true, INT64_MAX, 9223372036854775807.0 },
        { "9223372036854775808", false, 0, 9223372036854775808.0 },
        { "100000000000000000000000000", false, 0, 1e26 },
        { "0.25", false, 0, 0.25 },
        { "1e-3", false, 0, 1e-3 },
        { "2.5E+2", false, 0, 250 },
        { "1e3", false, 0, 1000 },
        { "1e999", false, 0, 1.0 / 0.0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Text  t;
        Token k;

        start(&t, cases[i].text, strlen(cases[i].text));
        k = lex_next(t.lx);
        assert_int_equal(k.kind, TOK_NUMBER);
        assert_int_equal(k.is_int, cases[i].is_int);
        if (k.is_int)
            assert_true(k.integer == cases[i].integer);
        assert_true(k.number == cases[i].number);
        assert_int_equal(lex_next(t.lx).kind, TOK_END);
        stop(&t);
    }
}

static void places(void **state)
{
    static const char text[] = "ab = \"x\"\n\tlong_name";
    static const Loc  want[] = { { 0, 2, 1, 1 }, { 0, 1, 1, 4 }, { 0, 3, 1, 6 }, { 0, 9, 2, 2 } };
    Text   t;
    size_t i = 0;

    (void)state;
    start(&t, text, strlen(text));
    assert_string_equal(lex_peek(t.lx, 2).text, "x");
    for (Token k = lex_next(t.lx); k.kind != TOK_END; k = lex_next(t.lx)) {
        if (k.kind == TOK_NEWLINE)
            continue;
        assert_true(i < sizeof want / sizeof *want);
        assert_memory_equal(&k.loc, &want[i], sizeof want[i]);
        assert_int_equal(k.first, i == 0 || i == 3);
        i++;
    }
    assert_int_equal(i, sizeof want / sizeof *want);
    assert_true(lex_is(t.lx, "x") == false && lex_take(t.lx, "x") == false);
    stop(&t);
}

/* ---- messages ---- */

/* What one error at a place looks like. */
static void expect_excerpt(const char *text, size_t len, Loc at, const char *want)
{
    Text t;

    start(&t, text, len);
    assert_true(diag_error(&t.d, at, "wrong"));
    assert_string_equal(messages(&t), want);
    stop(&t);
}

static void excerpts(void **state)
{
    static const char nul[] = "a\0\x01z";

    (void)state;
    expect_excerpt("one\ntwo x\nthree", 15, (Loc){ 0, 3, 2, 1 }, "t:2:1: error: wrong\n    2 | two x\n      | ^^^\n");
    expect_excerpt("one\r\ntwo\r\n", 10, (Loc){ 0, 1, 2, 3 }, "t:2:3: error: wrong\n    2 | two\n      |   ^\n");
    expect_excerpt("last", 4, (Loc){ 0, 1, 1, 5 }, "t:1:5: error: wrong\n    1 | last\n      |     ^\n");
    expect_excerpt("", 0, (Loc){ 0, 0, 1, 1 }, "t:1:1: error: wrong\n    1 | \n      | ^\n");
    expect_excerpt("\ta\tb", 4, (Loc){ 0, 1, 1, 4 }, "t:1:4: error: wrong\n    1 |     a    b\n      |          ^\n");
    expect_excerpt("\"\xC3\xA9\xE2\x82\xAC\" +", 9, (Loc){ 0, 1, 1, 9 },
                   "t:1:9: error: wrong\n    1 | \"\xC3\xA9\xE2\x82\xAC\" +\n      |      ^\n");
    expect_excerpt("\xED\xA0\x80\xC0\x80\xF4\x90\x80\x80 x", 11, (Loc){ 0, 1, 1, 11 },
                   "t:1:11: error: wrong\n    1 | ????????? x\n      |           ^\n");
    expect_excerpt(nul, 4, (Loc){ 0, 1, 1, 4 }, "t:1:4: error: wrong\n    1 | a??z\n      |    ^\n");
    expect_excerpt("\xEF\xBB\xBF" "ab", 5, (Loc){ 0, 1, 1, 2 }, "t:1:2: error: wrong\n    1 | ab\n      |  ^\n");
    expect_excerpt("abc", 3, (Loc){ 0 }, "t: error: wrong\n");
    expect_excerpt("abc", 3, (Loc){ 0, 1, 1000, 1 }, "t:1000:1: error: wrong\n 1000 | \n      | ^\n");
}

/* Of a long line the part around the place is shown, and the caret stands under it. */
static void long_lines(void **state)
{
    enum { LONG = 1000 };
    static const uint32_t at[] = { 1, 80, 81, 82, 500, LONG };
    char text[LONG];

    (void)state;
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        Text t;

        memset(text, '.', LONG);
        text[at[i] - 1] = 'X';
        start(&t, text, LONG);
        diag_error(&t.d, (Loc){ 0, 1, 1, at[i] }, "wrong");
        const char *line = strchr(messages(&t), '\n') + 1, *under = strchr(line, '\n') + 1;
        assert_true(under - line <= 8 + 3 + 120 + 3 + 1);
        assert_int_equal(strchr(line, 'X') - line, strchr(under, '^') - under);
        stop(&t);
    }
}

static void one_mistake_one_message(void **state)
{
    Text t;

    (void)state;
    start(&t, "a b\n", 4);
    assert_true(diag_error(&t.d, (Loc){ 0, 1, 1, 1 }, "first"));
    diag_note(&t.d, (Loc){ 0, 1, 1, 3 }, "of the first");
    assert_false(diag_error(&t.d, (Loc){ 0, 1, 1, 1 }, "again"));
    diag_note(&t.d, (Loc){ 0, 1, 1, 3 }, "of what was dropped");
    assert_int_equal(t.d.nerror, 1);
    assert_string_equal(messages(&t), "t:1:1: error: first\n    1 | a b\n      | ^\n"
                                      "t:1:3: note: of the first\n    1 | a b\n      |   ^\n");
    stop(&t);
}

static void many_mistakes(void **state)
{
    Text t;
    int  n = 0;

    (void)state;
    start(&t, "a", 1);
    for (uint32_t i = 1; i <= 100; i++)
        diag_error(&t.d, (Loc){ 0, 1, i, 1 }, "wrong");
    for (const char *s = messages(&t); (s = strstr(s, "error: wrong")); s++)
        n++;
    assert_int_equal(n, 20);
    assert_non_null(strstr(messages(&t), "there are more errors\n"));
    assert_int_equal(strlen(strstr(messages(&t), "there are more")), strlen("there are more errors\n"));
    stop(&t);
}

static void near_words(void **state)
{
    static const char *const names[] = { "batch", "epochs", "seed", "optimizer", "expect", "lr" };
    static const struct { const char *word, *want; } cases[] = {
        { "bacth", "batch" },          /* neighbours swapped */
        { "epoch", "epochs" },         { "seeed", "seed" },     { "optimiser", "optimizer" }, { "except", "expect" },
        { "learning_rate", NULL },     { "x", NULL },           { "", NULL },                 { "momentum", NULL },
    };
    char huge[5000];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *near = diag_near(cases[i].word, names, sizeof names / sizeof *names);

        assert_int_equal(near == NULL, cases[i].want == NULL);
        if (near)
            assert_string_equal(near, cases[i].want);
    }
    memset(huge, 'a', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    assert_null(diag_near(huge, names, sizeof names / sizeof *names));
    assert_null(diag_near("seed", NULL, 0));
}

static void spans(void **state)
{
    Loc a = { 0, 3, 2, 5 }, b = { 0, 4, 2, 10 }, other = { 0, 1, 3, 1 }, far = { 0, 9, 2, 100000 };

    (void)state;
    assert_int_equal(loc_span(a, b).len, 9);
    assert_int_equal(loc_span(a, b).col, 5);
    assert_int_equal(loc_span(a, other).len, 3);
    assert_int_equal(loc_span(a, far).len, UINT16_MAX);
}

/* ---- expressions ---- */

static void show(FILE *f, const Expr *e)
{
    const char *open = e->kind == EXPR_LIST ? "[" : "(", *close = e->kind == EXPR_LIST ? "]" : ")";

    if (e->kind == EXPR_NUMBER || e->kind == EXPR_NAME || e->kind == EXPR_NEXT || e->kind == EXPR_STRING) {
        fprintf(f, e->kind == EXPR_STRING ? "\"%s\"" : e->kind == EXPR_NEXT ? "%s'" : "%s", e->name);
        return;
    }
    fprintf(f, "%s%s%s", open, e->label ? e->label : "", e->label_index ? "[" : "");
    if (e->label_index)
        show(f, e->label_index);
    fprintf(f, "%s%s%s", e->label_index ? "]" : "", e->label ? ":" : "", e->kind == EXPR_LIST ? "" : e->name);
    for (int i = 0; i < e->narg; i++) {
        fprintf(f, "%s%s", i || e->kind != EXPR_LIST ? " " : "", e->argname && e->argname[i] ? e->argname[i] : "");
        fputs(e->argname && e->argname[i] ? "=" : "", f);
        show(f, e->arg[i]);
    }
    fputs(close, f);
}

static void expect_expr(const char *text, const char *want)
{
    char  *got;
    size_t size;
    FILE  *f = open_memstream(&got, &size);
    Text   t;
    Expr  *e;

    start(&t, text, strlen(text));
    e = expr_parse(t.lx, &t.mem, &t.d, false);
    if (e)
        show(f, e);
    fclose(f);
    assert_string_equal(messages(&t), "");
    assert_int_equal(lex_peek(t.lx, 0).kind, TOK_END);
    assert_string_equal(got, want);
    free(got);
    stop(&t);
}

static void precedence(void **state)
{
    (void)state;
    expect_expr("a + b * c - d", "(sub (add a (mul b c)) d)");
    expect_expr("a / b / c @ d", "(matmul (div (div a b) c) d)");
    expect_expr("-a^b^c", "(neg (pow a (pow b c)))");
    expect_expr("2^-x * 3", "(mul (pow 2 (neg x)) 3)");
    expect_expr("a * -b", "(mul a (neg b))");
    expect_expr("not a == b and c or d", "(or (and (not (eq a b)) c) d)");
    expect_expr("a + 1 < b", "(lt (add a 1) b)");
    expect_expr("(a + b)*c", "(mul (add a b) c)");
    expect_expr("m' / (1 - beta1^step)", "(div m' (sub 1 (pow beta1 step)))");
    expect_expr("a |> f(b) |> g", "(g (f a b))");
    expect_expr("a + b |> f", "(f (add a b))");
}

static void calls_and_labels(void **state)
{
    (void)state;
    expect_expr("f()", "(f)");
    expect_expr("max(x, axis: -1, keep: true)", "(max x axis=(neg 1) keep=true)");
    expect_expr("fc1: linear(x, 50)", "(fc1:linear x 50)");
    expect_expr("blocks[l+1]: block(h)", "(blocks[(add l 1)]:block h)");
    expect_expr("x |> fc1: linear(50)", "(fc1:linear x 50)");
    expect_expr("fc1.weight + blocks.0.ln1.weight", "(add fc1.weight blocks.0.ln1.weight)");
    expect_expr("f([1, 2,\n 3], \"a\\tb\")", "(f [1 2 3] \"a\tb\")");
    expect_expr("[]", "[]");
    expect_expr("f(g: h(x), 2)", "(f g=(h x) 2)");
}

/* Text of a message, and where; the rest of the line that it stands on. */
typedef struct Mistake { const char *text, *want; } Mistake;

static void expect_mistake(const char *text, size_t len, const char *want)
{
    Text t;

    start(&t, text, len);
    assert_null(expr_parse(t.lx, &t.mem, &t.d, false));
    assert_int_equal(t.d.nerror, 1);
    assert_memory_equal(messages(&t), want, strlen(want));
    stop(&t);
}

static void mistakes(void **state)
{
    static const Mistake cases[] = {
        { "a +", "t:1:4: error: expected an expression, found end of file\n" },
        { "a + )", "t:1:5: error: expected an expression, found `)`\n" },
        { "f(a", "t:1:2: error: this `(` is never closed\n" },
        { "f(a, [1, 2)", "t:1:6: error: this `[` is never closed\n" },
        { "f(a b)", "t:1:5: error: expected `,` or `)`, found `b`\n" },
        { "f(lr = 1)", "t:1:6: error: an argument's name is followed by `:`, as in `lr: ...`\n" },
        { "a < b < c", "t:1:7: error: comparisons don't chain: join two with `and`\n" },
        { "x |> 3", "t:1:6: error: `|>` wants a call after it\n" },
        { "x[1]", "t:1:1: error: `x[...]` is a label's index and wants `: call(...)` after it\n" },
        { "fc: w", "t:1:5: error: a label names a call, and `w` is none\n" },
        { "\"abc", "t:1:1: error: this string is never closed\n" },
        { "3 + 4x", "t:1:5: error: a number ends before letters begin: 4x\n" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_mistake(cases[i].text, strlen(cases[i].text), cases[i].want);
    expect_mistake("\"a\0b\"", 5, "t:1:1: error: this string has a NUL byte in it\n");
}

/* before, then part n times, then after. */
static char *repeat(const char *before, const char *part, size_t n, const char *after)
{
    size_t nb = strlen(before), np = strlen(part);
    char  *s = malloc(nb + n * np + strlen(after) + 1);

    memcpy(s, before, nb);
    for (size_t i = 0; i < n; i++)
        memcpy(s + nb + i * np, part, np);
    strcpy(s + nb + n * np, after);
    return s;
}

/* Whoever walks a tree recurses: so a tree is never higher than EXPR_DEPTH, however it was written. */
static void trees_have_a_height(void **state)
{
    static const Mistake cases[] = { { "1 + ", "1" }, { "- ", "1" }, { "not ", "a" }, { "2 ^ ", "2" }, { "f(", "" },
                                     { "x |> f |> ", "f" }, { "[", "" }, { "1 * 2 @ ", "3" }, { "b: f(", "" }, { "b[", "" } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *s = repeat("", cases[i].text, MANY, cases[i].want);
        Text  t;

        start(&t, s, strlen(s));
        assert_null(expr_parse(t.lx, &t.mem, &t.d, false));
        assert_int_equal(t.d.nerror, 1);
        assert_non_null(strstr(messages(&t), ": error: nested more than 256 deep\n"));
        stop(&t);
        free(s);
    }
}

static void height_at_the_limit(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        char *s = repeat("1", " + 1", (size_t)(EXPR_DEPTH - 1 + more), "");
        Text  t;

        start(&t, s, strlen(s));
        assert_int_equal(expr_parse(t.lx, &t.mem, &t.d, false) == NULL, more);
        stop(&t);
        free(s);
    }
}

/* The quadratic way, a new copy for each part, would need 40 GB. */
static void dotted_names_are_joined_once(void **state)
{
    char *s = repeat("a", ".b", MANY, "");
    Text  t;

    (void)state;
    start(&t, s, strlen(s));
    assert_string_equal(expr_parse(t.lx, &t.mem, &t.d, false)->name, s);
    stop(&t);
    free(s);
}

/* ---- tables ---- */

static void columns_of_tables(void **state)
{
    Arena  mem = { 0 };
    int    n;
    Expr **e = expr_table(&mem, "g * y; -; -g / (b^2)", &n);

    (void)state;
    assert_int_equal(n, 3);
    assert_string_equal(e[0]->name, "mul");
    assert_null(e[1]);
    assert_int_equal(e[2]->kind, EXPR_BINARY);
    assert_string_equal(e[2]->name, "div");
    expr_table(&mem, "-", &n);
    assert_int_equal(n, 1);
    expr_table(&mem, "", &n);
    assert_int_equal(n, 0);
    arena_free(&mem);
}

static Ref build_text(Graph *g, const char *text, int n, const Binding *env)
{
    int nexpr;

    return build_expr(g, (Loc){ 0 }, expr_table(&g->m->mem, text, &nexpr)[0], n, env, env[0].ref);
}

static void nodes_of_tables(void **state)
{
    static const int64_t dims[] = { 3 };
    Module *m = module_new();
    Graph  *g = graph_new(m, ENTRY_EVAL, 1);
    int     sa = module_add_slot(m, "a", SLOT_param, ty_make(DT_f64, 1, dims), (Loc){ 0 });
    int     sb = module_add_slot(m, "b", SLOT_param, ty_make(DT_f64, 1, dims), (Loc){ 0 });
    Binding env[] = { { "a", graph_read(g, (Loc){ 0 }, sa) }, { "b", graph_read(g, (Loc){ 0 }, sb) } };
    const Node *nd, *c;

    (void)state;
    module_add_graph(m, g);
    assert_int_equal(build_text(g, "a", 2, env).id, env[0].ref.id);
    nd = graph_at(g, build_text(g, "2 * a", 2, env));
    assert_int_equal(nd->op, OP_mul);
    c = graph_at(g, nd->arg[0].id == env[0].ref.id ? nd->arg[1] : nd->arg[0]);
    assert_int_equal(c->op, OP_const);
    assert_true(ty_equal(&c->type, &graph_at(g, env[0].ref)->type));
    /* a > b is b < a */
    nd = graph_at(g, build_text(g, "a > b", 2, env));
    assert_int_equal(nd->op, OP_lt);
    assert_int_equal(nd->arg[0].id, env[1].ref.id);
    assert_int_equal(nd->arg[1].id, env[0].ref.id);
    /* the numbers of a choice take its type, not that of the truth it depends on */
    nd = graph_at(g, build_text(g, "select(a >= 0, 1, -1)", 2, env));
    assert_int_equal(nd->op, OP_select);
    assert_int_equal(nd->type.dtype, DT_f64);
    assert_int_equal(graph_at(g, nd->arg[0])->type.dtype, DT_bool);
    assert_int_equal(build_text(g, "a * b", 2, env).id, build_text(g, "b * a", 2, env).id);
    module_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_of_models),
        cmocka_unit_test(line_ends_end_statements),
        cmocka_unit_test(numbers),
        cmocka_unit_test(places),
        cmocka_unit_test(excerpts),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(one_mistake_one_message),
        cmocka_unit_test(many_mistakes),
        cmocka_unit_test(near_words),
        cmocka_unit_test(spans),
        cmocka_unit_test(precedence),
        cmocka_unit_test(calls_and_labels),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(trees_have_a_height),
        cmocka_unit_test(height_at_the_limit),
        cmocka_unit_test(dotted_names_are_joined_once),
        cmocka_unit_test(columns_of_tables),
        cmocka_unit_test(nodes_of_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
