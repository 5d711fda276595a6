/* test_parse.c - from .nnd text to its tree and back, and what the parser says of text that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/ast.h"

enum { MAX_TEXT = 1 << 16, MANY = 200000, ROUNDS = 2000, DAMAGES = 3000 };

typedef struct Parsed { Arena mem; Diag d; Decl *decl; } Parsed;

static void parse(Parsed *p, const char *text, size_t len)
{
    *p = (Parsed){ 0 };
    diag_init(&p->d, &p->mem);
    p->decl = ast_parse(&p->mem, &p->d, diag_source(&p->d, "t", text, len));
}

static const char *messages(const Parsed *p) { return p->d.text ? p->d.text : ""; }

/* ---- a tree as words ---- */

static void show_expr(FILE *f, const Expr *e)
{
    if (!e) {
        fputs(" -", f);
        return;
    }
    fprintf(f, " (%d %s %s", e->kind, e->name, e->label ? e->label : "-");
    show_expr(f, e->label_index);
    for (int i = 0; i < e->narg; i++) {
        fprintf(f, " %s:", e->argname && e->argname[i] ? e->argname[i] : "");
        show_expr(f, e->arg[i]);
    }
    fputs(")", f);
}

static void show_type(FILE *f, const TypeExpr *t)
{
    fprintf(f, " %s %d[", t->name ? t->name : "-", t->has_dims);
    for (int i = 0; i < t->ndim; i++) {
        show_expr(f, t->dim[i]);
        fputs(t->run[i] ? "..." : "", f);
    }
    fputs("]", f);
}

static void show_body(FILE *f, const Ast *a)
{
    fputs(" {", f);
    for (; a; a = a->next) {
        fprintf(f, "\n<%d %s", a->kind, a->name ? a->name : "-");
        show_type(f, &a->type);
        show_expr(f, a->value);
        show_expr(f, a->limit);
        if (a->body)
            show_body(f, a->body);
        if (a->other)
            show_body(f, a->other);
        fputs(">", f);
    }
    fputs("}", f);
}

static char *show(const Decl *d)
{
    char  *text;
    size_t size;
    FILE  *f = open_memstream(&text, &size);

    for (; d; d = d->next) {
        fprintf(f, "\n%d %s %s", d->kind, d->name, d->data ? d->data : "-");
        for (int i = 0; i < d->nparam; i++) {
            fprintf(f, " %s%s", d->param[i].name, d->param[i].input ? " input" : "");
            show_type(f, &d->param[i].type);
            show_expr(f, d->param[i].init);
        }
        show_type(f, &d->result);
        show_expr(f, d->value);
        show_body(f, d->body);
    }
    fclose(f);
    return text;
}

static char *print(const Decl *d)
{
    char  *text;
    size_t size;
    FILE  *f = open_memstream(&text, &size);

    ast_print(f, d);
    fclose(f);
    return text;
}

/* What is printed is legal, gives the same tree, and prints the same again. */
static void expect_same(const Decl *d)
{
    char  *text = print(d), *tree = show(d), *text2, *tree2;
    Parsed p;

    parse(&p, text, strlen(text));
    assert_string_equal(messages(&p), "");
    text2 = print(p.decl);
    tree2 = show(p.decl);
    assert_string_equal(tree2, tree);
    assert_string_equal(text2, text);
    free(text), free(text2), free(tree), free(tree2);
    arena_free(&p.mem);
}

/* ---- legal text ---- */

static const char everything[] =
    "nnd 1\n"
    "# all that the grammar has\n"
    "const A = -(2^3)^2 + 10 / 4\n"
    "data d(image: u8[28, 28], label: u8) {\n"
    "    train: idx(\"a \\\"b\\\"\\\\\", \"c\")   # names\n"
    "    labels: [\"x\\ty\", \"z\\n\"]\n"
    "}\n"
    "\n"
    "model m(x: u8[N, 2*D, D/H]) -> f32[N, 10] {\n"
    "    h = fc1: linear(f32(x) |> flatten, 50)\n"
    "    for l in 0..2*K { h = blocks[l + 1]: block(h) }\n"
    "    if not bias and (a or b) { y = 1 } else if c == 2 { y = 2 } else { y = 3 }\n"
    "    if c { }\n"
    "    return fc1.weight @ transpose(blocks.0.ln1.weight) - (a - (b - c)) * -d^2\n"
    "}\n"
    "fn f(x: f32[S..., K], O: int, flag: bool = true, lr: input float = 1e-3, t: tensor) -> f32 {\n"
    "    param weight: f32[O, K] = uniform(-1/sqrt(K), 1/sqrt(K))\n"
    "    state mean: f32[] = zeros\n"
    "    mean' = (a < b) == (c >= d)\n"
    "    data = state + param\n"
    "    return max(x, axis: -1,\n        keep: true)\n"
    "}\n"
    "optimizer o(w: f32[S...], g: f32[S...]) { w' = w - g }\n"
    "train m on d {\n"
    "    p = m(image)\n"
    "    minimize mse(p, one_hot(label, 10))\n"
    "    metric accuracy = mean(argmax(p) == label)\n"
    "    optimizer: sgd(lr: 0.5), 2\n"
    "    expect: test.accuracy >= 0.78\n"
    "}";

static void the_whole_grammar(void **state)
{
    Parsed p;

    (void)state;
    parse(&p, everything, sizeof everything - 1);
    assert_string_equal(messages(&p), "");
    expect_same(p.decl);
    arena_free(&p.mem);
}

static const Decl *nth(const Decl *d, int n)
{
    while (n--)
        d = d->next;
    return d;
}

static void the_tree(void **state)
{
    Parsed p;
    const Decl *d;
    const Ast *a;

    (void)state;
    parse(&p, everything, sizeof everything - 1);
    d = nth(p.decl, 1);
    assert_int_equal(d->kind, DECL_DATA);
    assert_int_equal(d->nparam, 2);
    assert_string_equal(d->body->value->arg[0]->arg[0]->name, "a \"b\"\\");
    d = nth(p.decl, 2);
    assert_int_equal(d->kind, DECL_MODEL);
    assert_int_equal(d->loc.line, 9);
    assert_int_equal(d->loc.col, 7);
    assert_string_equal(d->param[0].type.dim[1]->name, "mul");
    a = d->body->next;
    assert_int_equal(a->kind, AST_FOR);
    assert_string_equal(a->body->value->label, "blocks");
    a = a->next;
    assert_int_equal(a->kind, AST_IF);
    assert_int_equal(a->other->kind, AST_IF);
    assert_string_equal(a->other->other->value->name, "3");
    d = nth(p.decl, 3);
    assert_true(d->param[0].type.run[0]);
    assert_true(d->param[3].input);
    assert_int_equal(d->body->next->next->kind, AST_NEXT);
    assert_int_equal(d->body->next->next->next->kind, AST_ASSIGN);
    d = nth(p.decl, 5);
    assert_int_equal(d->kind, DECL_TRAIN);
    assert_string_equal(d->data, "d");
    assert_int_equal(d->body->next->kind, AST_MINIMIZE);
    assert_int_equal(d->body->next->next->kind, AST_METRIC);
    assert_int_equal(d->body->next->next->next->value->narg, 2);
    assert_null(d->next);
    arena_free(&p.mem);
}

static size_t read_file(const char *path, char *text)
{
    const char *root = getenv("NND_ROOT");
    char        full[4096];
    size_t      len;
    FILE       *f;

    snprintf(full, sizeof full, "%s/%s", root ? root : ".", path);
    f = fopen(full, "rb");
    assert_non_null(f);
    len = fread(text, 1, MAX_TEXT, f);
    fclose(f);
    return len;
}

static void shipped_text(void **state)
{
    static const char *const paths[] = { "models/slp.nnd", "models/mlp.nnd", "frontend/prelude/functions.nnd",
                                         "frontend/prelude/initial.nnd", "frontend/prelude/layers.nnd",
                                         "frontend/prelude/losses.nnd", "frontend/prelude/optimizers.nnd" };
    char *text = malloc(MAX_TEXT);

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        size_t len = read_file(paths[i], text);
        Parsed p;

        parse(&p, text, len);
        assert_string_equal(messages(&p), "");
        assert_non_null(p.decl);
        expect_same(p.decl);
        arena_free(&p.mem);
    }
    free(text);
}

/* ---- random text ---- */

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void write_expr(FILE *f, uint64_t *r, int depth);

static void write_args(FILE *f, uint64_t *r, int depth, bool named)
{
    for (uint32_t i = 0, n = next_random(r) % 4; i < n; i++) {
        fputs(i ? next_random(r) % 4 ? ", " : ",\n  " : "", f);
        fputs(named && next_random(r) % 3 == 0 ? "key: " : "", f);
        write_expr(f, r, depth - 1);
    }
}

/* Comparisons, `not` and pipes in brackets: where these may stand without them is another test's matter. */
static void write_expr(FILE *f, uint64_t *r, int depth)
{
    static const char *const leaf[] = { "1", "0.5", "1e-3", "a", "fc1.weight", "b.0.w", "m'", "\"t \\\" t\"", "99999999999999999999" };
    static const char *const weak[] = { " or ", " and ", "==", " <= ", ">" };
    static const char *const op[] = { " + ", "-", " * ", "/", " @ ", "^", "^-", " - -" };
    uint32_t kind = depth > 0 ? next_random(r) % 8 : 0;

    if (kind < 2) {
        fputs(leaf[next_random(r) % (sizeof leaf / sizeof *leaf)], f);
    } else if (kind < 5) {
        write_expr(f, r, depth - 1);
        fputs(op[next_random(r) % (sizeof op / sizeof *op)], f);
        write_expr(f, r, depth - 1);
    } else if (kind == 5) {
        bool list = next_random(r) % 3 == 0;

        fputs(list ? "[" : "f(", f);
        write_args(f, r, depth, !list);
        fputs(list ? "]" : ")", f);
    } else {
        static const char *const open[] = { "(", "-(", "(not ", "(" };
        uint32_t pair = next_random(r) % 3;

        fputs(open[next_random(r) % (sizeof open / sizeof *open)], f);
        write_expr(f, r, depth - 1);
        if (pair == 0) {
            fputs(weak[next_random(r) % (sizeof weak / sizeof *weak)], f);
            write_expr(f, r, depth - 1);
        }
        fputs(pair == 1 ? " |> g(2))" : ")", f);
    }
}

static void random_expressions(void **state)
{
    uint64_t r = 1;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        char  *text;
        size_t size;
        FILE  *f = open_memstream(&text, &size);
        Parsed p;

        fputs(next_random(&r) % 2 ? "nnd 1\nconst a = " : "nnd 1\nconst a = lab[1]: g(2) * ", f);
        write_expr(f, &r, 5);
        fclose(f);
        parse(&p, text, size);
        assert_string_equal(messages(&p), "");
        expect_same(p.decl);
        arena_free(&p.mem);
        free(text);
    }
}

/* Damaged text that is still legal prints and reads back; of other text something is said. */
static void damaged_text(void **state)
{
    static const char likely[] = "(){}[]:=,.'\"|@^-+*/ \n\tN0159eE#x\\";
    uint64_t r = 2;
    int      nlegal = 0;

    (void)state;
    for (int i = 0; i < DAMAGES; i++) {
        char   text[sizeof everything];
        Parsed p;

        memcpy(text, everything, sizeof text);
        for (uint32_t j = next_random(&r) % 3; j < 3; j++)
            text[next_random(&r) % (sizeof text - 1)] = likely[next_random(&r) % (sizeof likely - 1)];
        parse(&p, text, sizeof text - 1);
        assert_true((p.d.nerror == 0) == (p.d.ntext == 0));
        if (p.d.nerror == 0) {
            expect_same(p.decl);
            nlegal++;
        }
        arena_free(&p.mem);
    }
    assert_true(nlegal > DAMAGES / 20);
}

/* ---- mistakes ---- */

/* All errors of a text: "line:col: message" each, without the excerpts and notes. */
static char *errors_of(const Parsed *p)
{
    char  *text;
    size_t size;
    FILE  *f = open_memstream(&text, &size);

    for (const char *s = messages(p); *s; ) {
        const char *end = strchr(s, '\n'), *mark = strstr(s, ": error: ");

        if (!strncmp(s, "t:", 2) && mark && mark < end)
            fprintf(f, "%.*s %.*s\n", (int)(mark - s - 2), s + 2, (int)(end - mark - 9), mark + 9);
        s = end + 1;
    }
    fclose(f);
    return text;
}

typedef struct Mistakes { const char *text, *want; } Mistakes;

static void expect_errors(const Mistakes *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        Parsed p;
        char  *got;

        parse(&p, cases[i].text, strlen(cases[i].text));
        got = errors_of(&p);
        assert_string_equal(got, cases[i].want);
        free(got);
        arena_free(&p.mem);
    }
}

static void versions(void **state)
{
    static const Mistakes cases[] = {
        { "nnd 1", "" },
        { "# why\n\nnnd 1 # one\n", "" },
        { "\xEF\xBB\xBFnnd 1\r\nconst a = 1\r\n", "" },
        { "", "1:1 a model file begins with its version: `nnd 1`\n" },
        { "const a = 1\nconst b = )\n", "1:1 a model file begins with its version: `nnd 1`\n2:11 expected an expression, found `)`\n" },
        { "nnd\nconst a = 1\n", "1:1 a model file begins with its version: `nnd 1`\n" },
        { "nnd 2\nconst a = 1\n", "1:5 this is version 2 of the language; this program knows version 1\n" },
        { "nnd 1.0\n", "1:5 this is version 1.0 of the language; this program knows version 1\n" },
        { "nnd 1 2\n", "1:7 expected the end of the line, found `2`\n" },
    };

    (void)state;
    expect_errors(cases, sizeof cases / sizeof *cases);
}

/* One mistake, one message; and the next mistake is found. */
static void declarations_go_on(void **state)
{
    static const Mistakes cases[] = {
        { "nnd 1\nfn f(x: f32) -> f32\n    y = x\n    return y\n}\nfn g(x: f32) { return x + }\n",
          "2:20 expected `{`, found end of line\n6:27 expected an expression, found `}`\n" },
        { "nnd 1\nfn f(x: f32[N 3]) { return x }\nconst a = )\n",
          "2:15 expected `,` or `]`, found `3`\n3:11 expected an expression, found `)`\n" },
        { "nnd 1\nfn f(x: f32[N, 3) -> f32 { return x }\nmodle m(x: f32) { }\nimport \"a\"\n",
          "2:12 this `[` is never closed\n3:1 unknown declaration `modle`; did you mean `model`?\n" },
        { "nnd 1\nimport a\nimport \"\"\nimport \"b\" as c\nshow\na: f32[2\nb: f32[2] = \nshow b c\ngradients g { }\n",
          "2:8 expected a file's name in quotes, found `a`\n3:8 expected a file's name in quotes, found a string\n"
          "4:12 expected the end of the line, found `as`\n5:5 expected an expression, found end of line\n"
          "6:7 this `[` is never closed\n"
          "8:8 expected the end of the line, found `c`\n9:13 expected `(` and parameters, found `{`\n" },
        { "nnd 1\nfn f(x: f32 { return x }\nfn g(x: f32 { return x }\n",
          "2:5 this `(` is never closed\n3:5 this `(` is never closed\n" },
        { "nnd 1\nfn f(x: f32) {\n    if x {\n        return x\nfn g(x: f32) { return x + }\n",
          "3:10 this `{` is never closed\n5:27 expected an expression, found `}`\n" },
        { "nnd 1\nfn f(x: f32) { for i in 0..4 { if x {\n", "2:37 this `{` is never closed\n" },
        { "nnd 1\n}\n}\n]\nconst a = 1\nconst b: 2\nconst 3 = 4\n",
          "2:1 expected const, data, model, fn, optimizer, gradients, train, import, show or a value's name, found `}`\n"
          "6:8 `:` configures a block; a constant is written `const b = ...`\n7:7 expected the constant's name, found `3`\n" },
        { "nnd 1\nfn f(x f32) { }\nfn g(x = 3) { }\nfn (x: f32) { }\ntrain a { }\n",
          "2:8 expected `: type` after the parameter's name, found `f32`\n"
          "3:8 expected `: type` before a default value, found `=`\n4:4 expected the function's name, found `(`\n"
          "5:9 expected `on` and a data block's name, found `{`\n" },
        { "nnd 1\n$ % &\nconst a = \xff\xff\n", "2:1 unexpected character `$`\n3:11 unexpected bytes, not text of a model\n" },
    };

    (void)state;
    expect_errors(cases, sizeof cases / sizeof *cases);
}

#define BODY(statements) "nnd 1\nfn f(x: f32) {\n" statements "}\nconst a = )\n"
#define LAST(line)       #line ":11 expected an expression, found `)`\n"

static void statements_go_on(void **state)
{
    static const Mistakes cases[] = {
        { BODY("y = = 2\nz = 3 4\nw = *\n"),
          "3:5 expected an expression, found `=`\n4:7 expected the end of the line, found `4`\n5:5 expected an expression, found `*`\n" LAST(7) },
        { BODY("y = g(x, [1, 2\nz = 2 +\n* 3\n"),
          "3:10 this `[` is never closed\n5:1 expected an expression, found `*`\n" LAST(7) },
        { BODY("y = g(x\nz\nretrun x\n"),
          "3:6 this `(` is never closed\n5:1 unknown statement `retrun`; did you mean `return`?\n" LAST(7) },
        { BODY("y = g(a b,\n  c)\nz = )\n"), "3:9 expected `,` or `)`, found `b`\n5:5 expected an expression, found `)`\n" LAST(7) },
        { BODY("if x {\ny = )\n}\nz: 2\n"),
          "4:5 expected an expression, found `)`\n6:2 `:` configures a block; a value is computed with `z = ...`\n" LAST(8) },
        { BODY("for i in 0 4 { y = x }\nfor i = 0..4 { y = x }\nif x y = 2\n"),
          "3:12 expected `..` and the limit, found `4`\n4:7 expected `in`, found `=`\n5:6 expected `{`, found `y`\n" LAST(7) },
        { BODY("parm w: f32 = 1\nparam w f32 = 1\nstate v: f32\nretrun x\n"),
          "3:1 unknown statement `parm`; did you mean `param`?\n4:9 expected `: type` after the name, found `f32`\n"
          "5:13 expected `= initial value`, found end of line\n6:1 unknown statement `retrun`; did you mean `return`?\n" LAST(8) },
        { BODY("freeze fc1,\nb\nscan t in 0..4 { }\n  show x\nshow = 2\nminimize x over g, 3\nfreeze f(x), y\n"),
          "5:12 expected `{`, found `..`\n6:3 `show` stands outside of blocks\n"
          "8:20 wants the name of a label or a parameter, such as fc1 or fc1.weight\n"
          "9:8 wants the name of a label or a parameter, such as fc1 or fc1.weight\n" LAST(11) },
        { "nnd 1\ntrain a on b {\nrequire: memory <= 64MiBs\nbatch 64\nfreeze\n}\n",
          "3:20 a number ends before letters begin: 64MiBs\n4:7 expected `=` after the name, found `64`\n"
          "5:7 expected an expression, found end of line\n" },
        { BODY("y = \"open\nz = 2x + 3x\n"), "3:5 this string is never closed\n4:5 a number ends before letters begin: 2x\n" LAST(6) },
    };

    (void)state;
    expect_errors(cases, sizeof cases / sizeof *cases);
}

/* ---- depth and length ---- */

/* before, part n times, then after; what is said about it. */
static void expect_of_many(const char *before, const char *part, const char *after, size_t n, const char *want)
{
    size_t nb = strlen(before), np = strlen(part), na = strlen(after), len = nb + n * np + na;
    char  *s = malloc(len + 1);
    Parsed p;

    memcpy(s, before, nb);
    for (size_t i = 0; i < n; i++)
        memcpy(s + nb + i * np, part, np);
    memcpy(s + len - na, after, na + 1);
    parse(&p, s, len);
    if (want) {
        assert_int_equal(p.d.nerror, 1);
        assert_non_null(strstr(messages(&p), want));
    } else {
        assert_string_equal(messages(&p), "");
    }
    arena_free(&p.mem);
    free(s);
}

static void deep_text(void **state)
{
    static const char fn[] = "nnd 1\nfn f(x: f32) {\n", deep[] = ": error: nested more than 256 deep\n";

    (void)state;
    expect_of_many(fn, "if a { ", "", MANY, deep);
    expect_of_many(fn, "for i in 0..2 {\n", "", MANY, deep);
    expect_of_many("nnd 1\nfn f(x: f32) { if a { }", " else if a { }", "\n}\n", MANY, deep);
    expect_of_many("nnd 1\nconst a = ", "(", "", MANY, deep);
    expect_of_many("nnd 1\nconst a = 1", " + 1", "\n", MANY, deep);
    expect_of_many("nnd 1\nfn f(x: f32[", "(", "", MANY, deep);
    expect_of_many(fn, "if a { ", "} } } }", EXPR_DEPTH, deep);
    expect_of_many("nnd 1\nfn f(x: f32) { if a { }", " else if a { }", "\n}\n", EXPR_DEPTH - 2, NULL);
    expect_of_many("nnd 1\nfn f(x: f32) { if a { }", " else if a { }", "\n}\n", EXPR_DEPTH - 1, deep);
}

static void long_text(void **state)
{
    static const char nothing[] = "expected const, data, model, fn, optimizer, gradients, train, import, show or a value's name, found";

    (void)state;
    expect_of_many("nnd 1\n", "const a = 1\n", "", MANY, NULL);
    expect_of_many("nnd 1\nfn f(x: f32) {\n", "y = x\n", "}\n", MANY, NULL);
    expect_of_many("nnd 1\nfn f(", "x: f32, ", ") { }\n", MANY, NULL);
    expect_of_many("nnd 1\nconst a = [", "1, ", "]\n", MANY, NULL);
    expect_of_many("nnd 1\nconst a = b", ".c", "\n", MANY, NULL);
    expect_of_many("nnd 1\n", "} ", "", MANY, nothing);
    expect_of_many("nnd 1\n", "]\n", "", MANY, nothing);
    expect_of_many("nnd 1\n", "x\n", "", MANY, nothing);
    expect_of_many("nnd 1\n", "\n", "const a = )", MANY, "200002:11: error: expected an expression, found `)`\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_grammar),
        cmocka_unit_test(the_tree),
        cmocka_unit_test(shipped_text),
        cmocka_unit_test(random_expressions),
        cmocka_unit_test(damaged_text),
        cmocka_unit_test(versions),
        cmocka_unit_test(declarations_go_on),
        cmocka_unit_test(statements_go_on),
        cmocka_unit_test(deep_text),
        cmocka_unit_test(long_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
