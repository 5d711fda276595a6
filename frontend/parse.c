/* parse.c - the declarations of a .nnd file.
 *
 * After a mistake the reader goes on at the next line, or behind the block in which it stands, so each mistake
 * of a file is reported once.
 */
#include "frontend/parse.h"

#include <string.h>

/* ---- parameters ---- */

static bool read_param(Parser *p, Param *a)
{
    if (!parse_name(p, "a parameter's name", &a->name, &a->loc))
        return false;
    if (!lex_take(p->lx, ":")) {
        if (lex_is(p->lx, "="))
            return parse_unexpected(p, "`: type` before a default value");
        return parse_unexpected(p, "`: type` after the parameter's name");
    }
    a->input = lex_is(p->lx, "input") && lex_peek(p->lx, 1).kind == TOK_NAME && lex_take(p->lx, "input");
    if (!parse_type(p, &a->type))
        return false;
    return !lex_take(p->lx, "=") || (a->init = expr_parse(p->lx, p->mem, p->d, false)) != NULL;
}

static bool read_params(Parser *p, Decl *d)
{
    Token open = lex_peek(p->lx, 0);
    int cap = 0;

    if (!parse_expect(p, "(", "`(` and parameters"))
        return false;
    while (!lex_is(p->lx, ")")) {
        Param a = { 0 };

        if (!read_param(p, &a))
            return false;
        arena_push(p->mem, d->param, d->nparam, cap);
        d->param[d->nparam++] = a;
        if (!lex_take(p->lx, ","))
            break;
    }
    if (lex_take(p->lx, ")"))
        return true;
    if (parse_at_end(p) || lex_is(p->lx, "{") || lex_is(p->lx, "->"))
        diag_error(p->d, open.loc, "this `(` is never closed");
    else
        return parse_unexpected(p, "`,` or `)`");
    lex_resync(p->lx);
    return false;
}

/* ---- declarations ---- */

static Decl *read_fn(Parser *p, DeclKind kind, const char *word)
{
    Decl *d = arena_new(p->mem, Decl);

    d->kind = kind;
    if (!parse_name(p, arena_printf(p->mem, "the %s's name", word), &d->name, &d->loc) || !read_params(p, d))
        return NULL;
    if (lex_take(p->lx, "->") && !parse_type(p, &d->result))
        return NULL;
    d->body = parse_block(p, kind == DECL_DATA);
    return d;
}

static Decl *read_train(Parser *p)
{
    Decl *d = arena_new(p->mem, Decl);

    d->kind = DECL_TRAIN;
    if (!parse_name(p, "the model's name", &d->name, &d->loc) || !parse_expect(p, "on", "`on` and a data block's name")
        || !parse_name(p, "a data block's name", &d->data, &d->data_loc))
        return NULL;
    d->body = parse_block(p, true);
    return d;
}

static Decl *read_const(Parser *p)
{
    Decl *d = arena_new(p->mem, Decl);

    d->kind = DECL_CONST;
    if (!parse_name(p, "the constant's name", &d->name, &d->loc))
        return NULL;
    if (lex_is(p->lx, ":")) {
        diag_error(p->d, lex_peek(p->lx, 0).loc, "`:` configures a block; a constant is written `const %s = ...`",
                   d->name);
        return NULL;
    }
    if (!parse_expect(p, "=", "`=` after the constant's name"))
        return NULL;
    if (!(d->value = expr_parse(p->lx, p->mem, p->d, false)) || !parse_end_statement(p))
        return NULL;
    return d;
}

/* import "file.nnd" after its keyword */
static Decl *read_import(Parser *p)
{
    Decl *d = arena_new(p->mem, Decl);
    Token t = lex_peek(p->lx, 0);

    d->kind = DECL_IMPORT;
    d->loc = t.loc;
    d->name = t.text;
    if (t.kind != TOK_STRING || !*t.text) {
        parse_unexpected(p, "a file's name in quotes");
        return NULL;
    }
    lex_next(p->lx);
    return parse_end_statement(p) ? d : NULL;
}

static Decl *new_value(Parser *p, Ast *a)
{
    Decl *d = arena_new(p->mem, Decl);

    d->kind = DECL_VALUE;
    d->loc = a->loc;
    d->name = a->name ? a->name : "";
    d->body = a;
    return d;
}

/* show value, value: each a declaration of its own */
static Decl *read_show(Parser *p)
{
    Decl *first = NULL, **last = &first;

    do {
        Ast *a = parse_new(p, AST_SHOW, NULL, lex_peek(p->lx, 0).loc);

        if (!(a->value = expr_parse(p->lx, p->mem, p->d, false)))
            return NULL;
        *last = new_value(p, a);
        last = &(*last)->next;
    } while (lex_take(p->lx, ","));
    return parse_end_statement(p) ? first : NULL;
}

/* name = value, or name: type = value, which may be random */
static Decl *read_binding(Parser *p)
{
    Token name = lex_next(p->lx);
    Ast *a = parse_new(p, AST_ASSIGN, name.text, name.loc);

    if (lex_take(p->lx, ":")) {
        a->kind = AST_STATE;
        if (!parse_type(p, &a->type))
            return NULL;
    }
    if (!parse_expect(p, "=", a->kind == AST_STATE ? "`= value`" : "`=`") || !parse_value(p, a))
        return NULL;
    return new_value(p, a);
}

static bool at_binding(Parser *p)
{
    Token u = lex_peek(p->lx, 1);

    return lex_peek(p->lx, 0).kind == TOK_NAME && u.kind == TOK_PUNCT && (!strcmp(u.text, "=") || !strcmp(u.text, ":"));
}

static Decl *read_decl(Parser *p)
{
    static const char *const words[] = { "const", "data", "model", "fn", "optimizer", "gradients", "train", "import", "show" };
    Token t = lex_peek(p->lx, 0);
    const char *near;

    if (at_binding(p))
        return read_binding(p);

    if (lex_take(p->lx, "const"))
        return read_const(p);
    if (lex_take(p->lx, "data"))
        return read_fn(p, DECL_DATA, "data block");
    if (lex_take(p->lx, "model"))
        return read_fn(p, DECL_MODEL, "model");
    if (lex_take(p->lx, "fn"))
        return read_fn(p, DECL_FN, "function");
    if (lex_take(p->lx, "optimizer"))
        return read_fn(p, DECL_OPTIMIZER, "optimizer");
    if (lex_take(p->lx, "gradients"))
        return read_fn(p, DECL_GRADIENTS, "gradient function");
    if (lex_take(p->lx, "train"))
        return read_train(p);
    if (lex_take(p->lx, "import"))
        return read_import(p);
    if (lex_take(p->lx, "show"))
        return read_show(p);
    near = t.kind == TOK_NAME ? diag_near(t.text, words, sizeof words / sizeof *words) : NULL;
    if (near)
        diag_error(p->d, t.loc, "unknown declaration `%s`; did you mean `%s`?", t.text, near);
    else
        parse_unexpected(p, "const, data, model, fn, optimizer, gradients, train, import, show or a value's name");
    lex_next(p->lx);      /* so that whatever it is, the reader gets on */
    return NULL;
}

/* `nnd 1`: which language this is. */
static bool read_version(Parser *p)
{
    Token t = lex_peek(p->lx, 0), v = lex_peek(p->lx, 1);

    if (t.kind != TOK_NAME || strcmp(t.text, "nnd") || v.kind != TOK_NUMBER) {
        diag_error(p->d, t.loc, "a model file begins with its version: `nnd 1`");
        return false;
    }
    lex_next(p->lx);
    lex_next(p->lx);
    if (!v.is_int || v.integer != 1) {
        diag_error(p->d, v.loc, "this is version %s of the language; this program knows version 1", v.text);
        return false;
    }
    return parse_end_statement(p);
}

Decl *ast_parse(Arena *mem, Diag *d, int source)
{
    Parser p = { mem, d, lex_new(mem, d, source), 0, false };
    Decl *first = NULL, **last = &first;

    parse_skip_newlines(&p);
    if (!read_version(&p))
        parse_skip_line(&p);
    for (parse_skip_newlines(&p); !parse_at_end(&p); parse_skip_newlines(&p)) {
        int nerror = d->nerror;
        Decl *one;

        p.unclosed = false;
        if ((one = read_decl(&p))) {
            for (*last = one; *last; last = &(*last)->next)
                ;
        } else {
            parse_skip_line(&p);
        }
        if (d->nerror > nerror)
            parse_skip_to_decl(&p);
    }
    return first;
}
