/* parse.h - what the files of the parser share. */
#ifndef NND_FRONTEND_PARSE_H
#define NND_FRONTEND_PARSE_H

#include "frontend/ast.h"

typedef struct Parser {
    Arena *mem;
    Diag  *d;
    Lexer *lx;
    int    depth;          /* of blocks */
    bool   unclosed;       /* a block of this declaration was reported as never closed */
} Parser;

/* false after a reported mistake (parse_token.c) */
bool parse_at_end(Parser *p);
bool parse_unexpected(Parser *p, const char *wanted);
bool parse_expect(Parser *p, const char *text, const char *wanted);
bool parse_name(Parser *p, const char *wanted, const char **name, Loc *loc);
bool parse_end_statement(Parser *p);       /* a statement ends with its line, or before the brace that closes its block */
bool parse_type(Parser *p, TypeExpr *t);

/* going on behind a mistake */
void parse_skip_newlines(Parser *p);
void parse_skip_line(Parser *p);
bool parse_begins_decl(Parser *p);
bool parse_begins_statement(Parser *p);
void parse_skip_to_decl(Parser *p);        /* to what looks like a declaration, known or misspelt */

/* An expression, and the end of its statement. */
bool parse_value(Parser *p, Ast *a);
Ast *parse_new(Parser *p, AstKind kind, const char *name, Loc loc);

/* The statements between braces (parse_block.c); settings: of a data or train block, where `name: value` may stand. */
Ast *parse_block(Parser *p, bool settings);

#endif
