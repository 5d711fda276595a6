/* expr.c - one expression grammar, for models and for tables. */
#include "ir/expr.h"

#include <assert.h>
#include <string.h>

typedef struct Reader {
    Lexer *lx;
    Arena *mem;
    Diag  *d;
    bool   tables;
    int    depth;
} Reader;

static Expr *read_level(Reader *r, int level);
static Expr *read_pipe(Reader *r);

/* ---- making ---- */

static Expr *make(Reader *r, ExprKind kind, const char *name, Loc loc, int narg)
{
    Expr *e = arena_new(r->mem, Expr);

    e->kind = kind;
    e->name = name;
    e->loc = e->name_loc = loc;
    e->height = 1;
    e->narg = narg;
    if (narg) {
        e->arg = arena_array(r->mem, Expr *, narg);
        e->argname = arena_array(r->mem, const char *, narg);
        e->argname_loc = arena_array(r->mem, Loc, narg);
    }
    return e;
}

/* The finished expression, or NULL if it has become too high: a sum of n terms is n high. */
static Expr *limited(Reader *r, Expr *e)
{
    int height = e->label_index ? e->label_index->height : 0;

    for (int i = 0; i < e->narg; i++)
        height = e->arg[i]->height > height ? e->arg[i]->height : height;
    e->height = height + 1;
    if (e->height <= EXPR_DEPTH)
        return e;
    diag_error(r->d, e->name_loc, "nested more than %d deep", EXPR_DEPTH);
    return NULL;
}

static Expr *unexpected(Reader *r, const char *wanted)
{
    Token t = lex_peek(r->lx, 0);

    if (t.kind != TOK_BAD)
        diag_error(r->d, t.loc, "expected %s, found %s%s%s", wanted, t.kind == TOK_PUNCT || t.kind == TOK_NAME ? "`" : "",
                   t.kind == TOK_STRING ? "a string" : t.text,
                   t.kind == TOK_PUNCT || t.kind == TOK_NAME ? "`" : "");
    return NULL;
}

static bool expect_close(Reader *r, const char *close, Loc open, const char *open_text)
{
    Token t = lex_peek(r->lx, 0);

    if (lex_take(r->lx, close))
        return true;
    if (t.kind == TOK_BAD)
        return false;
    bool outside = t.kind == TOK_END || t.kind == TOK_NEWLINE || (t.kind == TOK_PUNCT && strchr(")]}{", t.text[0]));

    if (!outside && !t.first) {
        unexpected(r, close[0] == ')' ? "`,` or `)`" : "`,` or `]`");
        return false;
    }
    if (diag_error(r->d, open, "this `%s` is never closed", open_text) && !outside)
        diag_note(r->d, t.loc, "expected `,` or `%s` before this", close);
    lex_resync(r->lx);
    return false;
}

/* ---- atoms ---- */

/* At the end of a growing text. */
static void append(Reader *r, char **text, size_t *n, size_t *cap, const char *s)
{
    size_t len = strlen(s);

    if (*n + len + 1 > *cap) {
        char *bigger = arena_alloc(r->mem, *cap = (*n + len + 1) * 2, 1);

        if (*n)
            memcpy(bigger, *text, *n);
        *text = bigger;
    }
    memcpy(*text + *n, s, len + 1);
    *n += len;
}

/* NAME { . NAME | . NUMBER }, joined */
static const char *read_dotted(Reader *r, Token first, Loc *loc)
{
    char *name = NULL;
    size_t n = 0, cap = 0;

    *loc = first.loc;
    if (!lex_is(r->lx, "."))
        return first.text;
    append(r, &name, &n, &cap, first.text);
    while (lex_is(r->lx, ".")) {
        Token part = lex_peek(r->lx, 1);

        if (part.kind != TOK_NAME && !(part.kind == TOK_NUMBER && part.is_int))
            break;
        lex_next(r->lx);
        lex_next(r->lx);
        append(r, &name, &n, &cap, ".");
        append(r, &name, &n, &cap, part.text);
        *loc = loc_span(*loc, part.loc);
    }
    return name;
}

static bool read_args(Reader *r, Expr *e, const char *close, Loc open, const char *open_text, bool named)
{
    int cap = 0;

    while (!lex_is(r->lx, close)) {
        const char *name = NULL;
        Loc name_loc = { 0 };
        Token t = lex_peek(r->lx, 0), u = lex_peek(r->lx, 1);

        /* `fc1: linear(x, 50)` among arguments looks the same as `lr: cosine(0.1)`: who knows the called
         * function's parameters (the elaborator) takes a name that is none of them for a label */
        if (named && t.kind == TOK_NAME && u.kind == TOK_PUNCT && !strcmp(u.text, ":")) {
            name = t.text;
            name_loc = t.loc;
            lex_next(r->lx);
            lex_next(r->lx);
        }
        Expr *a = read_pipe(r);

        if (!a)
            return false;
        if (named && a->kind == EXPR_NAME && lex_is(r->lx, "=")) {
            diag_error(r->d, lex_peek(r->lx, 0).loc, "an argument's name is followed by `:`, as in `%s: ...`", a->name);
            return false;
        }
        if (e->narg == cap) {
            int c1 = cap, c2 = cap, c3 = cap;

            e->arg = arena_grow(r->mem, e->arg, e->narg, &c1, sizeof *e->arg);
            e->argname = arena_grow(r->mem, e->argname, e->narg, &c2, sizeof *e->argname);
            e->argname_loc = arena_grow(r->mem, e->argname_loc, e->narg, &c3, sizeof *e->argname_loc);
            cap = c1;
        }
        e->arg[e->narg] = a;
        e->argname[e->narg] = name;
        e->argname_loc[e->narg++] = name_loc;
        if (!lex_take(r->lx, ","))
            break;
    }
    Token end = lex_peek(r->lx, 0);

    if (!expect_close(r, close, open, open_text))
        return false;
    e->loc = loc_span(e->loc, end.loc);
    return true;
}

static Expr *read_number(Reader *r)
{
    Token t = lex_next(r->lx);
    Expr *e = make(r, EXPR_NUMBER, t.text, t.loc, 0);

    e->number = t.number;
    e->is_int = t.is_int;
    e->integer = t.integer;
    return e;
}

static Expr *read_list(Reader *r)
{
    Token open = lex_next(r->lx);
    Expr *e = make(r, EXPR_LIST, "list", open.loc, 0);

    return read_args(r, e, "]", open.loc, "[", false) ? limited(r, e) : NULL;
}

static Expr *read_group(Reader *r)
{
    Token open = lex_next(r->lx);
    Expr *e = read_pipe(r);
    Token close = lex_peek(r->lx, 0);

    if (!e || !expect_close(r, ")", open.loc, "("))
        return NULL;
    e->loc = loc_span(open.loc, close.loc);
    return e;
}

static Expr *read_call(Reader *r, const char *name, Loc loc)
{
    Token open = lex_next(r->lx);
    Expr *e = make(r, EXPR_CALL, name, loc, 0);

    return read_args(r, e, ")", open.loc, "(", !r->tables) ? limited(r, e) : NULL;
}

/* After `label` or `label[index]` and a colon: the call that it names. */
static Expr *read_labelled(Reader *r, const char *label, Expr *index, Loc loc)
{
    Token t = lex_peek(r->lx, 0);
    Expr *e;
    Loc name_loc;

    if (t.kind != TOK_NAME)
        return unexpected(r, "a call after the label");
    lex_next(r->lx);
    const char *name = read_dotted(r, t, &name_loc);

    if (!lex_is(r->lx, "(")) {
        diag_error(r->d, name_loc, "a label names a call, and `%s` is none", name);
        return NULL;
    }
    if (!(e = read_call(r, name, name_loc)))
        return NULL;
    e->label = label;
    e->label_index = index;
    e->loc = loc_span(loc, e->loc);
    return limited(r, e);
}

static Expr *read_name(Reader *r)
{
    Token t = lex_next(r->lx);
    Loc loc;
    const char *name = read_dotted(r, t, &loc);
    Expr *e, *index = NULL;

    if (lex_is(r->lx, "("))
        return read_call(r, name, loc);
    if (!r->tables && lex_is(r->lx, "[")) {
        Token open = lex_next(r->lx);

        if (!(index = read_pipe(r)) || !expect_close(r, "]", open.loc, "["))
            return NULL;
        if (!lex_is(r->lx, ":")) {
            diag_error(r->d, loc, "`%s[...]` is a label's index and wants `: call(...)` after it", name);
            return NULL;
        }
    }
    if (!r->tables && lex_is(r->lx, ":") && lex_peek(r->lx, 1).kind == TOK_NAME) {
        lex_next(r->lx);
        return read_labelled(r, name, index, loc);
    }
    e = make(r, lex_is(r->lx, "'") ? EXPR_NEXT : EXPR_NAME, name, loc, 0);
    if (e->kind == EXPR_NEXT)
        e->loc = loc_span(loc, lex_next(r->lx).loc);
    return e;
}

static Expr *read_atom(Reader *r)
{
    Token t = lex_peek(r->lx, 0);

    if (t.kind == TOK_NUMBER)
        return read_number(r);
    if (t.kind == TOK_NAME && strcmp(t.text, "and") && strcmp(t.text, "or"))
        return read_name(r);
    if (t.kind == TOK_STRING && !r->tables) {
        lex_next(r->lx);
        return make(r, EXPR_STRING, t.text, t.loc, 0);
    }
    if (lex_is(r->lx, "("))
        return read_group(r);
    if (lex_is(r->lx, "[") && !r->tables)
        return read_list(r);
    return unexpected(r, "an expression");
}

/* ---- operators ---- */

typedef struct Operator { const char *text, *name; int level; } Operator;

/* weakest first; unary minus stands between 4 and the power, `not` below comparison */
enum { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_SUM, LEVEL_PRODUCT, LEVEL_UNARY };

static const Operator operators[] = {
    { "or", "or", LEVEL_OR },        { "and", "and", LEVEL_AND },     { "==", "eq", LEVEL_COMPARE },
    { "!=", "ne", LEVEL_COMPARE },   { "<", "lt", LEVEL_COMPARE },    { "<=", "le", LEVEL_COMPARE },
    { ">", "gt", LEVEL_COMPARE },    { ">=", "ge", LEVEL_COMPARE },   { "+", "add", LEVEL_SUM },
    { "-", "sub", LEVEL_SUM },       { "*", "mul", LEVEL_PRODUCT },   { "/", "div", LEVEL_PRODUCT },
    { "@", "matmul", LEVEL_PRODUCT },
};

static const Operator *operator_here(Reader *r, int level)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (operators[i].level == level && lex_is(r->lx, operators[i].text))
            return &operators[i];
    return NULL;
}

static Expr *binary(Reader *r, const char *name, Loc at, Expr *a, Expr *b)
{
    Expr *e = make(r, EXPR_BINARY, name, loc_span(a->loc, b->loc), 2);

    e->name_loc = at;
    e->arg[0] = a;
    e->arg[1] = b;
    return limited(r, e);
}

static Expr *unary(Reader *r, const char *name, Loc at, Expr *a)
{
    Expr *e = make(r, EXPR_UNARY, name, loc_span(at, a->loc), 1);

    e->name_loc = at;
    e->arg[0] = a;
    return limited(r, e);
}

/* a ^ b ^ c is a ^ (b ^ c), and -a ^ b is -(a ^ b); the exponent may have a sign */
static Expr *read_power(Reader *r)
{
    Expr *a = read_atom(r), *b;
    Token t = lex_peek(r->lx, 0);

    if (!a || !lex_take(r->lx, "^"))
        return a;
    b = read_level(r, LEVEL_UNARY);
    return b ? binary(r, "pow", t.loc, a, b) : NULL;
}

static Expr *read_unary(Reader *r)
{
    Token t = lex_peek(r->lx, 0);
    Expr *a;

    if (!lex_take(r->lx, "-"))
        return read_power(r);
    a = read_level(r, LEVEL_UNARY);
    return a ? unary(r, "neg", t.loc, a) : NULL;
}

static Expr *read_not(Reader *r)
{
    Token t = lex_peek(r->lx, 0);
    Expr *a;

    if (!lex_take(r->lx, "not"))
        return read_level(r, LEVEL_COMPARE);
    a = read_level(r, LEVEL_NOT);
    return a ? unary(r, "not", t.loc, a) : NULL;
}

static Expr *read_binary(Reader *r, int level)
{
    Expr *a = read_level(r, level + 1);
    const Operator *o;

    while (a && (o = operator_here(r, level))) {
        Token t = lex_next(r->lx);
        Expr *b = read_level(r, level + 1);

        if (!b)
            return NULL;
        a = binary(r, o->name, t.loc, a, b);
        if (a && level == LEVEL_COMPARE && operator_here(r, level)) {
            diag_error(r->d, lex_peek(r->lx, 0).loc, "comparisons don't chain: join two with `and`");
            return NULL;
        }
    }
    return a;
}

static Expr *read_level(Reader *r, int level)
{
    Expr *e;

    if (r->depth >= EXPR_DEPTH * (LEVEL_UNARY + 1)) {
        diag_error(r->d, lex_peek(r->lx, 0).loc, "nested more than %d deep", EXPR_DEPTH);
        return NULL;
    }
    r->depth++;
    e = level == LEVEL_UNARY ? read_unary(r) : level == LEVEL_NOT ? read_not(r) : read_binary(r, level);
    r->depth--;
    return e;
}

/* x |> f(a) is f(x, a) */
static Expr *read_pipe(Reader *r)
{
    Expr *a = read_level(r, LEVEL_OR);

    while (a && !r->tables && lex_is(r->lx, "|>")) {
        lex_next(r->lx);
        Expr *f = read_atom(r), *call;

        if (!f)
            return NULL;
        if (f->kind != EXPR_CALL && f->kind != EXPR_NAME) {
            diag_error(r->d, f->loc, "`|>` wants a call after it");
            return NULL;
        }
        call = make(r, EXPR_CALL, f->name, loc_span(a->loc, f->loc), f->narg + 1);
        call->name_loc = f->name_loc;
        call->label = f->label;
        call->label_index = f->label_index;
        call->arg[0] = a;
        for (int i = 0; i < f->narg; i++) {
            call->arg[i + 1] = f->arg[i];
            call->argname[i + 1] = f->argname[i];
            call->argname_loc[i + 1] = f->argname_loc[i];
        }
        a = limited(r, call);
    }
    return a;
}

Expr *expr_parse(Lexer *lx, Arena *mem, Diag *d, bool tables)
{
    Reader r = { lx, mem, d, tables, 0 };

    return read_pipe(&r);
}

Expr **expr_table(Arena *mem, const char *text, int *n)
{
    Diag d;
    Lexer *lx;
    Expr **list = NULL;
    int cap = 0;

    *n = 0;
    diag_init(&d, mem);
    lx = lex_new(mem, &d, diag_source(&d, "<table>", text, strlen(text)));
    if (lex_peek(lx, 0).kind == TOK_END)
        return list;
    do {
        bool none = lex_is(lx, "-") && (lex_peek(lx, 1).kind == TOK_END || !strcmp(lex_peek(lx, 1).text, ";"));

        arena_push(mem, list, *n, cap);
        list[(*n)++] = none ? (lex_next(lx), NULL) : expr_parse(lx, mem, &d, true);
    } while (lex_take(lx, ";"));
    assert(d.nerror == 0 && lex_peek(lx, 0).kind == TOK_END && "a table's text is ours and parses");
    return list;
}
