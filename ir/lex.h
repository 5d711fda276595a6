/* lex.h - tokens of .nnd text, of the tables' expressions and of .ir files.
 *
 * Comments run from # to the end of the line.  Line ends are tokens (a statement
 * ends with its line) except inside ( ) and [ ] and after an operator or comma.
 */
#ifndef NND_IR_LEX_H
#define NND_IR_LEX_H

#include "ir/diag.h"

typedef enum TokKind {
    TOK_END, TOK_NEWLINE, TOK_NAME, TOK_NUMBER, TOK_STRING,
    TOK_PUNCT,            /* text is the spelling: "(", "->", "<=", "'", "..", "...", "|>", "@", ... */
    TOK_BAD               /* reported already */
} TokKind;

typedef struct Token {
    TokKind     kind;
    Loc         loc;
    const char *text;     /* interned: name, punctuation, or a string's content with escapes resolved */
    double      number;
    bool        is_int;   /* written without point or exponent, and fits an int64 */
    int64_t     integer;
    bool        first;    /* of its line */
} Token;

typedef struct Lexer Lexer;
Lexer *lex_new(Arena *mem, Diag *d, int source);
Token  lex_next(Lexer *lx);
Token  lex_peek(Lexer *lx, int ahead);       /* 0: the token lex_next gives; at most 3 */
bool   lex_is(Lexer *lx, const char *punct_or_word);   /* the next token is this name or punctuation */
bool   lex_take(Lexer *lx, const char *punct_or_word); /* the same, and consumes it */

/* lex_resync - after a bracket that is never closed: line ends count again. */
void   lex_resync(Lexer *lx);

#endif
