/* parse.c - declarations and statements of .nnd; expressions are read by ir/expr.c.
 *
 * After a mistake the reader goes on at the next line, or behind the block in which it stands, so each mistake
 * of a file is reported once.
 */
#include <string.h>

#include "frontend/ast.h"

typedef struct Parser { Arena *mem; Diag *d; Lexer *lx; int depth; } Parser;

static Ast *read_block(Parser *p, bool settings);

/* ---- small things ---- */

static bool at_end(Parser *p) { return lex_peek(p->lx, 0).kind == TOK_END; }

static const char *quoted(Parser *p, const Token *t)
{
    return t->kind == TOK_STRING ? "a string" : t->kind == TOK_END || t->kind == TOK_NEWLINE ? t->text
                                                                                      : arena_printf(p->mem, "`%s`", t->text);
}

static bool unexpected(Parser *p, const char *wanted)
{
    Token t = lex_peek(p->lx, 0);

    if (t.kind != TOK_BAD)
        diag_error(p->d, t.loc, "expected %s, found %s", wanted, quoted(p, &t));
    return false;
}

static bool expect(Parser *p, const char *text, const char *wanted)
{
    return lex_take(p->lx, text) || unexpected(p, wanted);
}

static bool read_name(Parser *p, const char *wanted, const char **name, Loc *loc)
{
    Token t = lex_peek(p->lx, 0);

    if (t.kind != TOK_NAME)
        return unexpected(p, wanted);
    lex_next(p->lx);
    *name = t.text;
    *loc = t.loc;
    return true;
}

static void skip_newlines(Parser *p)
{
    while (lex_peek(p->lx, 0).kind == TOK_NEWLINE)
        lex_next(p->lx);
}

/* To the end of the line, over whole blocks; not over the brace that closes the block around. */
static void skip_line(Parser *p)
{
    int depth = 0;

    for (;;) {
        Token t = lex_peek(p->lx, 0);

        if (t.kind == TOK_END || (depth == 0 && (t.kind == TOK_NEWLINE || lex_is(p->lx, "}"))))
            return;
        depth += lex_is(p->lx, "{");
        depth -= lex_is(p->lx, "}");
        lex_next(p->lx);
    }
}

/* A statement ends with its line, or before the brace that closes its block. */
static bool end_statement(Parser *p)
{
    Token t = lex_peek(p->lx, 0);

    if (t.kind == TOK_NEWLINE || t.kind == TOK_END || lex_is(p->lx, "}"))
        return true;
    if (t.kind != TOK_BAD && lex_is(p->lx, "=") )
        diag_error(p->d, t.loc, "unexpected `=`: a setting is written `name: value`, an equation `name = value`");
    else
        unexpected(p, "the end of the line");
    return false;
}

/* ---- types ---- */

static bool add_dim(Parser *p, TypeExpr *t, int *cap)
{
    int again = *cap;
    Token name = lex_peek(p->lx, 0);

    if (t->ndim == *cap) {
        t->dim = arena_grow(p->mem, t->dim, t->ndim, cap, sizeof *t->dim);
        t->run = arena_grow(p->mem, t->run, t->ndim, &again, sizeof *t->run);
    }
    if (name.kind == TOK_NAME && !strcmp(lex_peek(p->lx, 1).text, "...")) {
        Expr *e = arena_new(p->mem, Expr);

        e->kind = EXPR_NAME;
        e->name = name.text;
        e->loc = e->name_loc = name.loc;
        lex_next(p->lx);
        lex_next(p->lx);
        t->dim[t->ndim] = e;
        t->run[t->ndim++] = true;
        return true;
    }
    if (!(t->dim[t->ndim] = expr_parse(p->lx, p->mem, p->d, true)))
        return false;
    t->run[t->ndim++] = false;
    return true;
}

static bool read_type(Parser *p, TypeExpr *t)
{
    int cap = 0;
    Token open;

    if (!read_name(p, "a type", &t->name, &t->loc))
        return false;
    open = lex_peek(p->lx, 0);
    if (!lex_take(p->lx, "["))
        return true;
    t->has_dims = true;
    while (!lex_is(p->lx, "]")) {
        if (!add_dim(p, t, &cap))
            return false;
        if (!lex_take(p->lx, ","))
            break;
    }
    Token close = lex_peek(p->lx, 0);

    if (!lex_take(p->lx, "]")) {
        diag_error(p->d, open.loc, "this `[` is never closed");
        return false;
    }
    t->loc = loc_span(t->loc, close.loc);
    return true;
}

/* ---- parameters ---- */

static bool read_param(Parser *p, Param *a)
{
    if (!read_name(p, "a parameter's name", &a->name, &a->loc))
        return false;
    if (!lex_take(p->lx, ":")) {
        if (lex_is(p->lx, "="))
            return unexpected(p, "`: type` before a default value");
        return unexpected(p, "`: type` after the parameter's name");
    }
    a->input = lex_is(p->lx, "input") && lex_peek(p->lx, 1).kind == TOK_NAME && lex_take(p->lx, "input");
    if (!read_type(p, &a->type))
        return false;
    return !lex_take(p->lx, "=") || (a->init = expr_parse(p->lx, p->mem, p->d, false)) != NULL;
}

static bool read_params(Parser *p, Decl *d)
{
    Token open = lex_peek(p->lx, 0);
    int cap = 0;

    if (!expect(p, "(", "`(` and parameters"))
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
    if (at_end(p) || lex_is(p->lx, "{") || lex_is(p->lx, "->"))
        diag_error(p->d, open.loc, "this `(` is never closed");
    else
        unexpected(p, "`,` or `)`");
    return false;
}

/* ---- statements ---- */

static Ast *new_ast(Parser *p, AstKind kind, const char *name, Loc loc)
{
    Ast *a = arena_new(p->mem, Ast);

    a->kind = kind;
    a->name = name;
    a->loc = loc;
    return a;
}

static bool read_value(Parser *p, Ast *a)
{
    return (a->value = expr_parse(p->lx, p->mem, p->d, false)) && end_statement(p);
}

/* `param name: type = value` after its keyword; a state may be declared likewise. */
static Ast *read_slot(Parser *p, AstKind kind)
{
    Ast *a = new_ast(p, kind, NULL, (Loc){ 0 });

    if (!read_name(p, "a name", &a->name, &a->loc) || !expect(p, ":", "`: type` after the name") || !read_type(p, &a->type))
        return NULL;
    if (!lex_take(p->lx, "=")) {
        unexpected(p, "`= initial value`");
        return NULL;
    }
    return read_value(p, a) ? a : NULL;
}

static Ast *read_for(Parser *p)
{
    Ast *a = new_ast(p, AST_FOR, NULL, (Loc){ 0 });

    if (!read_name(p, "the loop's variable", &a->name, &a->loc) || !expect(p, "in", "`in`")
        || !(a->value = expr_parse(p->lx, p->mem, p->d, false)) || !expect(p, "..", "`..` and the limit")
        || !(a->limit = expr_parse(p->lx, p->mem, p->d, false)))
        return NULL;
    a->body = read_block(p, false);
    return a;
}

static Ast *read_if(Parser *p, Loc loc)
{
    Ast *a = new_ast(p, AST_IF, "if", loc);

    if (!(a->value = expr_parse(p->lx, p->mem, p->d, false)))
        return NULL;
    a->body = read_block(p, false);
    if (lex_take(p->lx, "else")) {
        Token t = lex_peek(p->lx, 0);

        a->other = lex_take(p->lx, "if") ? read_if(p, t.loc) : read_block(p, false);
    }
    return a;
}

/* name: value, value ... */
static Ast *read_setting(Parser *p)
{
    Token name = lex_next(p->lx);
    Ast *a = new_ast(p, AST_SETTING, name.text, name.loc);
    Expr *list = arena_new(p->mem, Expr);
    int cap = 0;

    lex_next(p->lx);
    list->kind = EXPR_LIST;
    list->name = "list";
    do {
        Expr *e = expr_parse(p->lx, p->mem, p->d, false);

        if (!e)
            return NULL;
        arena_push(p->mem, list->arg, list->narg, cap);
        list->arg[list->narg++] = e;
    } while (lex_take(p->lx, ","));
    list->loc = list->name_loc = loc_span(list->arg[0]->loc, list->arg[list->narg - 1]->loc);
    a->value = list;
    return end_statement(p) ? a : NULL;
}

static Ast *read_equation(Parser *p, bool settings)
{
    static const char *const words[] = { "param", "state", "return", "for", "if", "minimize", "metric" };
    static const char *const later[] = { "import", "freeze", "require", "show", "scan", "then" };
    Token name = lex_peek(p->lx, 0), second = lex_peek(p->lx, 1);
    AstKind kind = AST_ASSIGN;

    if (name.kind != TOK_NAME) {
        unexpected(p, "a statement");
        return NULL;
    }
    for (size_t i = 0; i < sizeof later / sizeof *later && second.kind == TOK_NAME; i++)
        if (!strcmp(name.text, later[i])) {
            diag_error(p->d, name.loc, "`%s` is not supported yet", name.text);
            return NULL;
        }
    if (second.kind == TOK_PUNCT && !strcmp(second.text, ":")) {
        if (settings)
            return read_setting(p);
        diag_error(p->d, second.loc, "`:` configures a block; a value is computed with `%s = ...`", name.text);
        return NULL;
    }
    lex_next(p->lx);
    if (lex_take(p->lx, "'"))
        kind = AST_NEXT;
    if (!lex_is(p->lx, "=")) {
        const char *near = diag_near(name.text, words, sizeof words / sizeof *words);

        if (near && second.kind == TOK_NAME)
            diag_error(p->d, name.loc, "unknown statement `%s`; did you mean `%s`?", name.text, near);
        else
            unexpected(p, kind == AST_NEXT ? "`=` after the name" : "`=` after the name");
        return NULL;
    }
    lex_next(p->lx);
    Ast *a = new_ast(p, kind, name.text, name.loc);

    return read_value(p, a) ? a : NULL;
}

static Ast *read_metric(Parser *p)
{
    Ast *a = new_ast(p, AST_METRIC, NULL, (Loc){ 0 });

    if (!read_name(p, "the metric's name", &a->name, &a->loc) || !expect(p, "=", "`=` after the metric's name"))
        return NULL;
    return read_value(p, a) ? a : NULL;
}

/* A word is a keyword only where a statement of that kind can follow, so names may be spelt like it. */
static Ast *read_statement(Parser *p, bool settings)
{
    Token t = lex_peek(p->lx, 0), u = lex_peek(p->lx, 1);
    bool word = t.kind == TOK_NAME && !(u.kind == TOK_PUNCT && (*u.text == '=' || *u.text == '\'' || *u.text == ':'));
    Ast *a;

    if (word && lex_take(p->lx, "param"))
        return read_slot(p, AST_PARAM);
    if (word && lex_take(p->lx, "state"))
        return read_slot(p, AST_STATE);
    if (word && lex_take(p->lx, "metric"))
        return read_metric(p);
    if (word && lex_take(p->lx, "for"))
        return read_for(p);
    if (word && lex_take(p->lx, "if"))
        return read_if(p, t.loc);
    if (word && (lex_is(p->lx, "return") || lex_is(p->lx, "minimize"))) {
        a = new_ast(p, lex_is(p->lx, "return") ? AST_RETURN : AST_MINIMIZE, t.text, t.loc);
        lex_next(p->lx);
        return read_value(p, a) ? a : NULL;
    }
    return read_equation(p, settings);
}

static Ast *read_block(Parser *p, bool settings)
{
    Token open = lex_peek(p->lx, 0);
    Ast *first = NULL, **last = &first;

    if (!expect(p, "{", "`{`"))
        return NULL;
    if (++p->depth > EXPR_DEPTH) {
        diag_error(p->d, open.loc, "nested more than %d deep", EXPR_DEPTH);
        while (!at_end(p))
            lex_next(p->lx);
        return NULL;
    }
    for (;;) {
        Ast *a;

        skip_newlines(p);
        if (at_end(p)) {
            diag_error(p->d, open.loc, "this `{` is never closed");
            break;
        }
        if (lex_take(p->lx, "}"))
            break;
        if ((a = read_statement(p, settings))) {
            *last = a;
            last = &a->next;
        } else {
            uint32_t line = lex_peek(p->lx, 0).loc.line, col = lex_peek(p->lx, 0).loc.col;

            skip_line(p);
            /* something that can't begin a statement nor end a line */
            if (!at_end(p) && !lex_is(p->lx, "}") && lex_peek(p->lx, 0).kind != TOK_NEWLINE
                && lex_peek(p->lx, 0).loc.line == line && lex_peek(p->lx, 0).loc.col == col)
                lex_next(p->lx);
        }
    }
    p->depth--;
    return first;
}

/* ---- declarations ---- */

static Decl *read_fn(Parser *p, DeclKind kind, const char *word)
{
    Decl *d = arena_new(p->mem, Decl);

    d->kind = kind;
    if (!read_name(p, arena_printf(p->mem, "the %s's name", word), &d->name, &d->loc) || !read_params(p, d))
        return NULL;
    if (lex_take(p->lx, "->") && !read_type(p, &d->result))
        return NULL;
    d->body = read_block(p, kind == DECL_DATA);
    return d;
}

static Decl *read_train(Parser *p)
{
    Decl *d = arena_new(p->mem, Decl);

    d->kind = DECL_TRAIN;
    if (!read_name(p, "the model's name", &d->name, &d->loc) || !expect(p, "on", "`on` and a data block's name")
        || !read_name(p, "a data block's name", &d->data, &d->data_loc))
        return NULL;
    d->body = read_block(p, true);
    return d;
}

static Decl *read_const(Parser *p)
{
    Decl *d = arena_new(p->mem, Decl);

    d->kind = DECL_CONST;
    if (!read_name(p, "the constant's name", &d->name, &d->loc) || !expect(p, "=", "`=` after the constant's name"))
        return NULL;
    if (!(d->value = expr_parse(p->lx, p->mem, p->d, false)) || !end_statement(p))
        return NULL;
    return d;
}

static Decl *read_decl(Parser *p)
{
    static const char *const words[] = { "const", "data", "model", "fn", "optimizer", "train" };
    Token t = lex_peek(p->lx, 0);
    const char *near;

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
    if (lex_take(p->lx, "train"))
        return read_train(p);
    near = t.kind == TOK_NAME ? diag_near(t.text, words, sizeof words / sizeof *words) : NULL;
    if (t.kind == TOK_NAME && (!strcmp(t.text, "import") || !strcmp(t.text, "gradients") || !strcmp(t.text, "show")))
        diag_error(p->d, t.loc, "`%s` is not supported yet", t.text);
    else if (near)
        diag_error(p->d, t.loc, "unknown declaration `%s`; did you mean `%s`?", t.text, near);
    else
        unexpected(p, "const, data, model, fn, optimizer or train");
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
    return end_statement(p);
}

/* Top-level names of things to come, on a line of their own: a declaration may be resumed there. */
static bool begins_decl(Parser *p)
{
    return lex_is(p->lx, "const") || lex_is(p->lx, "data") || lex_is(p->lx, "model") || lex_is(p->lx, "fn")
           || lex_is(p->lx, "optimizer") || lex_is(p->lx, "train");
}

Decl *ast_parse(Arena *mem, Diag *d, int source)
{
    Parser p = { mem, d, lex_new(mem, d, source), 0 };
    Decl *first = NULL, **last = &first;

    skip_newlines(&p);
    if (!read_version(&p))
        skip_line(&p);
    for (skip_newlines(&p); !at_end(&p); skip_newlines(&p)) {
        Decl *one = read_decl(&p);

        if (one) {
            *last = one;
            last = &one->next;
            continue;
        }
        skip_line(&p);
        if (lex_is(p.lx, "}"))
            lex_next(p.lx);
        while (!at_end(&p) && !(lex_peek(p.lx, 0).kind == TOK_NEWLINE) && !begins_decl(&p))
            lex_next(p.lx);
    }
    return first;
}
