/* lex.c - tokens. */
#include "ir/lex.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { AHEAD = 4 };

struct Lexer {
    Arena      *mem;
    Diag       *d;
    const char *p, *end, *line_start;
    uint32_t    line;
    uint16_t    file;
    int         depth;            /* open ( and [ */
    bool        joined;           /* the last token lets the line go on */
    bool        after_name_dot;   /* blocks.0.w: what follows is a name's part, not a number with a point */
    Token       ahead[AHEAD];
    int         nahead;
};

static const char *const punct[] = { "...", "->", "<=", ">=", "==", "!=", "|>", "..", "(", ")", "[", "]", "{", "}", ",",
                                     ":",   "=",  "<",  ">",  "+",  "-",  "*",  "/",  "^", "@", "%", "!", ".", "'", ";", "?" };

Lexer *lex_new(Arena *mem, Diag *d, int source)
{
    Lexer *lx = arena_new(mem, Lexer);
    const Source *s = &d->source[source];

    lx->mem = mem;
    lx->d = d;
    lx->p = lx->line_start = s->text;
    lx->end = s->text + s->len;
    lx->line = 1;
    lx->file = (uint16_t)source;
    lx->joined = true;            /* no empty statement at the start */
    return lx;
}

/* One mistake, one message: what a line's error leaves behind is no other mistake. */
static void lex_error(Lexer *lx, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void lex_error(Lexer *lx, Loc at, const char *fmt, ...)
{
    va_list ap;

    for (int i = lx->d->nseen; i-- > 0; )
        if (lx->d->seen[i].file == at.file && lx->d->seen[i].line == at.line)
            return;
    va_start(ap, fmt);
    diag_error(lx->d, at, "%s", arena_vprintf(lx->mem, fmt, ap));
    va_end(ap);
}

static Loc loc_here(const Lexer *lx, const char *from)
{
    size_t len = (size_t)(lx->p - from);

    return (Loc){ lx->file, len > UINT16_MAX ? UINT16_MAX : (uint16_t)len, lx->line, (uint32_t)(from - lx->line_start) + 1 };
}

static bool is_word(int c) { return isalnum(c) || c == '_'; }

static int at(const Lexer *lx, int i) { return lx->p + i < lx->end ? (unsigned char)lx->p[i] : 0; }

static Token lex_name(Lexer *lx)
{
    const char *from = lx->p;
    Token t = { .kind = TOK_NAME };

    while (lx->p < lx->end && is_word((unsigned char)*lx->p))
        lx->p++;
    t.text = arena_strndup(lx->mem, from, (size_t)(lx->p - from));
    t.loc = loc_here(lx, from);
    return t;
}

/* Bytes may be counted in larger units: 64MiB is a whole number.  Its factor, 1 if no unit follows. */
static int64_t lex_unit(Lexer *lx)
{
    static const struct { const char *name; int64_t bytes; } unit[] = {
        { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 }, { "kB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 },
    };

    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++) {
        int n = (int)strlen(unit[i].name);

        if (lx->end - lx->p >= n && !strncmp(lx->p, unit[i].name, (size_t)n) && !is_word(at(lx, n))) {
            lx->p += n;
            return unit[i].bytes;
        }
    }
    return 1;
}

static void scale_number(Lexer *lx, Token *t, const char *from)
{
    int64_t bytes = lex_unit(lx);

    if (bytes == 1)
        return;
    t->text = arena_strndup(lx->mem, from, (size_t)(lx->p - from));
    t->number *= (double)bytes;
    t->is_int = t->is_int && !__builtin_mul_overflow(t->integer, bytes, &t->integer);
}

/* Digits, and unless they are part of a dotted name a fraction and an exponent; `1..4` is no fraction. */
static Token lex_number(Lexer *lx)
{
    const char *from = lx->p;
    Token t = { .kind = TOK_NUMBER, .is_int = true };

    while (isdigit(at(lx, 0)))
        lx->p++;
    if (!lx->after_name_dot) {
        if (at(lx, 0) == '.' && isdigit(at(lx, 1))) {
            t.is_int = false;
            for (lx->p++; isdigit(at(lx, 0)); lx->p++)
                ;
        }
        int sign = at(lx, 1) == '+' || at(lx, 1) == '-';

        if ((at(lx, 0) == 'e' || at(lx, 0) == 'E') && isdigit(at(lx, 1 + sign))) {
            t.is_int = false;
            for (lx->p += 1 + sign; isdigit(at(lx, 0)); lx->p++)
                ;
        }
    }
    t.text = arena_strndup(lx->mem, from, (size_t)(lx->p - from));
    t.number = strtod(t.text, NULL);
    if (t.is_int) {
        errno = 0;
        t.integer = strtoll(t.text, NULL, 10);
        t.is_int = errno == 0;
        if (!lx->after_name_dot)
            scale_number(lx, &t, from);
    }
    t.loc = loc_here(lx, from);
    if (is_word(at(lx, 0)) && !lx->after_name_dot) {
        while (is_word(at(lx, 0)))
            lx->p++;
        lex_error(lx, loc_here(lx, from), "a number ends before letters begin: %.*s", (int)(lx->p - from), from);
        t.kind = TOK_BAD;
    }
    return t;
}

static Token lex_string(Lexer *lx)
{
    const char *from = lx->p++;
    Token t = { .kind = TOK_STRING };
    char *out = arena_alloc(lx->mem, 1, 1);
    size_t n = 0, cap = 1;

    while (lx->p < lx->end && *lx->p != '"' && *lx->p != '\n') {
        char c = *lx->p++;

        if (c == '\\' && lx->p < lx->end && *lx->p != '\n') {
            c = *lx->p++;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        if (n + 1 >= cap) {
            char *bigger = arena_alloc(lx->mem, cap * 2 + 16, 1);

            memcpy(bigger, out, n);
            out = bigger;
            cap = cap * 2 + 16;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    t.text = out;
    if (lx->p < lx->end && *lx->p == '"') {
        lx->p++;
        t.loc = loc_here(lx, from);
        if (memchr(out, '\0', n)) {
            lex_error(lx, t.loc, "this string has a NUL byte in it");
            t.kind = TOK_BAD;
        }
    } else {
        t.loc = loc_here(lx, from);
        lex_error(lx, t.loc, "this string is never closed");
        t.kind = TOK_BAD;
    }
    return t;
}

static Token lex_punct(Lexer *lx)
{
    const char *from = lx->p;
    Token t = { .kind = TOK_PUNCT };

    for (size_t i = 0; i < sizeof punct / sizeof *punct; i++) {
        size_t n = strlen(punct[i]);

        if ((size_t)(lx->end - lx->p) >= n && !memcmp(lx->p, punct[i], n)) {
            lx->p += n;
            t.text = punct[i];
            t.loc = loc_here(lx, from);
            return t;
        }
    }
    /* one message for a run of bytes that begin nothing */
    while (lx->p < lx->end && ((unsigned char)*lx->p >= 0x80 || (unsigned char)*lx->p < 0x20) && *lx->p != '\n')
        lx->p++;
    if (lx->p == from)
        lx->p++;
    t.kind = TOK_BAD;
    t.text = "";
    t.loc = loc_here(lx, from);
    if (isprint((unsigned char)*from))
        lex_error(lx, t.loc, "unexpected character `%c`", *from);
    else
        lex_error(lx, t.loc, "unexpected bytes, not text of a model");
    return t;
}

static void skip_blank(Lexer *lx)
{
    while (lx->p < lx->end) {
        if (*lx->p == '#')
            while (lx->p < lx->end && *lx->p != '\n')
                lx->p++;
        else if (*lx->p == ' ' || *lx->p == '\t' || *lx->p == '\r')
            lx->p++;
        else
            return;
    }
}

static Token newline(Lexer *lx)
{
    Token t = { .kind = TOK_NEWLINE, .text = "end of line", .loc = loc_here(lx, lx->p) };

    lx->p++;
    lx->line++;
    lx->line_start = lx->p;
    return t;
}

static bool lets_line_go_on(const Token *t)
{
    static const char *const op[] = { ",", "+", "-", "*", "/", "^", "@", "|>", "=", "==", "!=", "<", "<=", ">", ">=" };

    if (t->kind == TOK_NAME)
        return !strcmp(t->text, "and") || !strcmp(t->text, "or") || !strcmp(t->text, "not");
    for (size_t i = 0; t->kind == TOK_PUNCT && i < sizeof op / sizeof *op; i++)
        if (!strcmp(t->text, op[i]))
            return true;
    return false;
}

static Token scan(Lexer *lx)
{
    bool first = lx->p == lx->line_start;
    Token t;

    for (;;) {
        skip_blank(lx);
        if (lx->p >= lx->end)
            return (Token){ .kind = TOK_END, .text = "end of file", .loc = loc_here(lx, lx->p) };
        if (*lx->p != '\n')
            break;
        t = newline(lx);
        first = true;
        if (lx->depth == 0 && !lx->joined) {
            lx->joined = true;
            return t;
        }
    }
    if (isdigit((unsigned char)*lx->p))
        t = lex_number(lx);
    else if (is_word((unsigned char)*lx->p))
        t = lex_name(lx);
    else if (*lx->p == '"')
        t = lex_string(lx);
    else
        t = lex_punct(lx);
    t.first = first;
    return t;
}

/* Brackets and operators decide whether the next line end is a token. */
static Token next(Lexer *lx)
{
    const char *before = lx->p;
    bool touches = before > lx->line_start && (is_word((unsigned char)before[-1]));
    Token t = scan(lx);

    if (t.kind == TOK_NEWLINE || t.kind == TOK_END)
        return t;
    lx->after_name_dot = t.kind == TOK_PUNCT && !strcmp(t.text, ".") && touches;
    if (t.kind == TOK_PUNCT && (*t.text == '(' || *t.text == '['))
        lx->depth++;
    else if (t.kind == TOK_PUNCT && (*t.text == ')' || *t.text == ']'))
        lx->depth -= lx->depth > 0;
    lx->joined = lets_line_go_on(&t);
    return t;
}

Token lex_peek(Lexer *lx, int ahead)
{
    while (lx->nahead <= ahead)
        lx->ahead[lx->nahead++] = next(lx);
    return lx->ahead[ahead];
}

Token lex_next(Lexer *lx)
{
    Token t = lex_peek(lx, 0);

    memmove(lx->ahead, lx->ahead + 1, sizeof lx->ahead[0] * (size_t)--lx->nahead);
    return t;
}

bool lex_is(Lexer *lx, const char *word)
{
    Token t = lex_peek(lx, 0);

    return (t.kind == TOK_NAME || t.kind == TOK_PUNCT) && !strcmp(t.text, word);
}

bool lex_take(Lexer *lx, const char *word)
{
    if (!lex_is(lx, word))
        return false;
    lex_next(lx);
    return true;
}

void lex_resync(Lexer *lx) { lx->depth = 0; }
