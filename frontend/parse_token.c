/* parse_token.c - the parser's small change: expecting, skipping behind a mistake, types. */
#include "frontend/parse.h"

#include <string.h>

/* ---- small things ---- */

bool parse_at_end(Parser *p) { return lex_peek(p->lx, 0).kind == TOK_END; }

static const char *quoted(Parser *p, const Token *t)
{
    return t->kind == TOK_STRING ? "a string" : t->kind == TOK_END || t->kind == TOK_NEWLINE ? t->text
                                                                                      : arena_printf(p->mem, "`%s`", t->text);
}

bool parse_unexpected(Parser *p, const char *wanted)
{
    Token t = lex_peek(p->lx, 0);

    if (t.kind != TOK_BAD)
        diag_error(p->d, t.loc, "expected %s, found %s", wanted, quoted(p, &t));
    return false;
}

bool parse_expect(Parser *p, const char *text, const char *wanted)
{
    return lex_take(p->lx, text) || parse_unexpected(p, wanted);
}

bool parse_name(Parser *p, const char *wanted, const char **name, Loc *loc)
{
    Token t = lex_peek(p->lx, 0);

    if (t.kind != TOK_NAME)
        return parse_unexpected(p, wanted);
    lex_next(p->lx);
    *name = t.text;
    *loc = t.loc;
    return true;
}

void parse_skip_newlines(Parser *p)
{
    while (lex_peek(p->lx, 0).kind == TOK_NEWLINE)
        lex_next(p->lx);
}

static bool at_decl_word(Parser *p)
{
    return lex_is(p->lx, "const") || lex_is(p->lx, "data") || lex_is(p->lx, "model") || lex_is(p->lx, "fn")
           || lex_is(p->lx, "optimizer") || lex_is(p->lx, "gradients") || lex_is(p->lx, "train")
           || (lex_is(p->lx, "show") && lex_peek(p->lx, 0).loc.col == 1);
}

/* A declaration at the start of a line, wherever the text before it stopped. */
bool parse_begins_decl(Parser *p)
{
    Token t = lex_peek(p->lx, 0), u = lex_peek(p->lx, 1);

    return t.first && !u.first && ((at_decl_word(p) && u.kind == TOK_NAME) || (lex_is(p->lx, "import") && u.kind == TOK_STRING));
}

/* The same for a statement, behind a bracket that was never closed. */
bool parse_begins_statement(Parser *p)
{
    static const char *const words[] = { "param", "state", "return", "for", "if", "minimize", "metric" };
    Token t = lex_peek(p->lx, 0), u = lex_peek(p->lx, 1);

    if (t.kind != TOK_NAME || !t.first || u.first)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(t.text, words[i]) && u.kind != TOK_PUNCT)
            return true;
    return u.kind == TOK_PUNCT && (!strcmp(u.text, "=") || !strcmp(u.text, "'"));
}

/* To the end of the line, over whole blocks; not over the brace that closes the block around. */
void parse_skip_line(Parser *p)
{
    int depth = 0;

    for (;;) {
        Token t = lex_peek(p->lx, 0);

        if (t.kind == TOK_END || (depth == 0 && (t.kind == TOK_NEWLINE || lex_is(p->lx, "}"))))
            return;
        if (parse_begins_decl(p) || (depth == 0 && parse_begins_statement(p))) {
            lex_resync(p->lx);
            return;
        }
        depth += lex_is(p->lx, "{");
        depth -= lex_is(p->lx, "}");
        lex_next(p->lx);
    }
}

/* What is left of a declaration with a mistake is indented: so at the very start of a line one of the words, or any
 * word before another or before a text, begins something new, even if it is misspelt. */
void parse_skip_to_decl(Parser *p)
{
    while (!parse_at_end(p) && !parse_begins_decl(p)) {
        Token t = lex_peek(p->lx, 0), u = lex_peek(p->lx, 1);

        if (t.kind == TOK_NAME && t.first && t.loc.col == 1 && !u.first
            && (u.kind == TOK_NAME || u.kind == TOK_STRING || at_decl_word(p)
                || (u.kind == TOK_PUNCT && (!strcmp(u.text, "=") || !strcmp(u.text, ":")))))
            break;
        lex_next(p->lx);
    }
    lex_resync(p->lx);
}

/* A statement ends with its line, or before the brace that closes its block. */
bool parse_end_statement(Parser *p)
{
    Token t = lex_peek(p->lx, 0);

    if (t.kind == TOK_NEWLINE || t.kind == TOK_END || lex_is(p->lx, "}"))
        return true;
    if (t.kind != TOK_BAD && lex_is(p->lx, "=") )
        diag_error(p->d, t.loc, "unexpected `=`: a setting is written `name: value`, an equation `name = value`");
    else
        parse_unexpected(p, "the end of the line");
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

/* What can't stand between brackets shows that they were forgotten. */
static bool unclosed_dims(Parser *p, Loc open)
{
    static const char *const outside[] = { ")", "{", "}", "=", "->" };
    Token t = lex_peek(p->lx, 0);
    bool left = t.kind == TOK_END || t.kind == TOK_NEWLINE || t.first;

    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        left = left || lex_is(p->lx, outside[i]);
    if (!left)
        return parse_unexpected(p, "`,` or `]`");
    diag_error(p->d, open, "this `[` is never closed");
    lex_resync(p->lx);
    return false;
}

bool parse_type(Parser *p, TypeExpr *t)
{
    int cap = 0;
    Token open;

    if (!parse_name(p, "a type", &t->name, &t->loc))
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

    if (!lex_take(p->lx, "]"))
        return unclosed_dims(p, open.loc);
    t->loc = loc_span(t->loc, close.loc);
    return true;
}
