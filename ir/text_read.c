/* text_read.c - the small things that .ir text is made of: numbers, names, types, places.
 *
 * Each function reads one of them; on anything else it reports what was wanted and found, with its
 * place in the .ir text, and the caller gives up on that line.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ir/text.h"

bool read_error(TextReader *r, Loc at, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    diag_error(&r->m->diag, at, "%s", arena_vprintf(&r->m->mem, fmt, ap));
    va_end(ap);
    return false;
}

static const char *found(TextReader *r, const Token *t)
{
    switch (t->kind) {
    case TOK_END:     return "the end of the text";
    case TOK_NEWLINE: return "the end of the line";
    case TOK_NUMBER:  return "a number";
    case TOK_STRING:  return "a string";
    case TOK_NAME:
    case TOK_PUNCT:   return arena_printf(&r->m->mem, "`%s`", t->text);
    case TOK_BAD:     break;
    }
    return "no token";
}

static bool wanted(TextReader *r, const char *what)
{
    Token t = lex_peek(r->lx, 0);

    if (t.kind != TOK_BAD)      /* reported by the lexer */
        read_error(r, t.loc, "wants %s, found %s", what, found(r, &t));
    return false;
}

bool read_punct(TextReader *r, const char *punct_or_word)
{
    if (lex_take(r->lx, punct_or_word))
        return true;
    return wanted(r, arena_printf(&r->m->mem, "`%s`", punct_or_word));
}

bool read_word(TextReader *r, const char *what, Token *t)
{
    if (lex_peek(r->lx, 0).kind != TOK_NAME)
        return wanted(r, what);
    *t = lex_next(r->lx);
    return true;
}

bool read_string(TextReader *r, const char *what, const char **s)
{
    if (lex_peek(r->lx, 0).kind != TOK_STRING)
        return wanted(r, what);
    *s = lex_next(r->lx).text;
    return true;
}

bool read_int(TextReader *r, const char *what, int64_t min, int64_t max, int64_t *x)
{
    bool  negative = min < 0 && lex_take(r->lx, "-");
    Token t = lex_peek(r->lx, 0);

    if (t.kind != TOK_NUMBER)
        return wanted(r, what);
    *x = negative ? -t.integer : t.integer;
    /* -2^63 has no positive twin, so its digits don't fit an integer */
    if (negative && !t.is_int && t.number == 0x1p63)
        *x = INT64_MIN;
    else if (!t.is_int)
        return wanted(r, what);
    lex_next(r->lx);
    if (*x < min || *x > max)
        return read_error(r, t.loc, "%s lies in %" PRId64 "..%" PRId64, what, min, max);
    return true;
}

bool read_double(TextReader *r, const char *what, double *x)
{
    bool  negative = lex_take(r->lx, "-");
    Token t = lex_peek(r->lx, 0);

    if (t.kind == TOK_NUMBER)
        *x = t.number;
    else if (lex_is(r->lx, "inf"))
        *x = (double)INFINITY;
    else if (lex_is(r->lx, "nan"))
        *x = (double)NAN;
    else
        return wanted(r, what);
    lex_next(r->lx);
    if (negative)
        *x = -*x;
    return true;
}

static bool read_dims(TextReader *r, Type *t)
{
    do {
        Loc     at = lex_peek(r->lx, 0).loc;
        int64_t dim;

        if (!read_int(r, "a size", 1, INT64_MAX, &dim))
            return false;
        if (t->rank == MAX_RANK)
            return read_error(r, at, "a type has at most %d axes", MAX_RANK);
        t->dim[t->rank++] = dim;
    } while (lex_take(r->lx, ","));
    return read_punct(r, "]");
}

bool read_type(TextReader *r, Type *t)
{
    Token word;

    if (!read_word(r, "a type", &word))
        return false;
    *t = (Type){ 0 };
    if (!dt_parse(word.text, &t->dtype))
        return read_error(r, word.loc, "wants f32, f64, i32, i64, u8 or bool, found `%s`", word.text);
    if (lex_take(r->lx, "[") && !read_dims(r, t))
        return false;
    return ty_valid(t) || read_error(r, word.loc, "a type too large for memory");
}

/* Names may hold dots and numbers, however the lexer splits them: all that stands without a space between. */
static bool continues(const Token *t, Loc last)
{
    bool part = t->kind == TOK_NAME || t->kind == TOK_NUMBER || (t->kind == TOK_PUNCT && t->text[0] == '.');

    return part && t->loc.line == last.line && t->loc.col == last.col + last.len;
}

bool read_name(TextReader *r, const char **name, Loc *loc)
{
    Token t = lex_peek(r->lx, 0);
    Loc   first = t.loc, last = t.loc;

    if (!lex_take(r->lx, "@"))
        return wanted(r, "`@` and a name");
    while (t = lex_peek(r->lx, 0), continues(&t, last)) {
        last = t.loc;
        lex_next(r->lx);
    }
    if (last.col == first.col)
        return wanted(r, "a name after `@`");

    size_t nbytes = last.col + last.len - first.col - 1;
    *name = arena_strndup(&r->m->mem, r->text + r->line[first.line - 1] + first.col, nbytes);
    *loc = loc_span(first, last);
    return true;
}

bool read_slot(TextReader *r, int *slot)
{
    const char *name;
    Loc         at;

    if (!read_name(r, &name, &at))
        return false;
    *slot = module_slot(r->m, name);
    return *slot >= 0 || read_error(r, at, "there is no slot @%s", name);
}

bool read_place(TextReader *r, Loc *loc)
{
    int64_t file, line, col, len;
    Loc     at = lex_peek(r->lx, 0).loc;

    *loc = (Loc){ 0 };
    if (!lex_take(r->lx, "!"))
        return true;
    if (!read_int(r, "a file's number", 0, UINT16_MAX, &file) || !read_punct(r, ":") ||
        !read_int(r, "a line", 1, UINT32_MAX, &line) || !read_punct(r, ":") ||
        !read_int(r, "a column", 0, UINT32_MAX, &col) || !read_punct(r, "+") ||
        !read_int(r, "a length", 0, UINT16_MAX, &len))
        return false;
    if (file >= r->nfile)
        return read_error(r, at, "there is no line `file %d`", (int)file);
    *loc = (Loc){ (uint16_t)file, (uint16_t)len, (uint32_t)line, (uint32_t)col };
    return true;
}

bool read_line_end(TextReader *r)
{
    TokKind kind = lex_peek(r->lx, 0).kind;

    return kind == TOK_NEWLINE || kind == TOK_END || lex_is(r->lx, "}") || wanted(r, "the end of the line");
}

bool text_at_end(TextReader *r, const char *closing)
{
    while (lex_peek(r->lx, 0).kind == TOK_NEWLINE)
        lex_next(r->lx);
    return lex_peek(r->lx, 0).kind == TOK_END || (closing && lex_is(r->lx, closing));
}

void text_skip_line(TextReader *r)
{
    for (TokKind k = lex_peek(r->lx, 0).kind; k != TOK_END; k = lex_peek(r->lx, 0).kind) {
        lex_next(r->lx);
        if (k == TOK_NEWLINE)
            return;
    }
}
