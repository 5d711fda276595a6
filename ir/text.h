/* text.h - what the printers and readers of .ir text share.  The form stands in ir/README.md. */
#ifndef NND_IR_TEXT_H
#define NND_IR_TEXT_H

#include "ir/graph.h"
#include "ir/lex.h"

/* printing (ir/graph_text.c) */
void text_double(FILE *f, double x);             /* as few digits as read back to the same bits; inf, -inf, nan */
void text_string(FILE *f, const char *s);        /* quoted */
void text_type(FILE *f, const Type *t);
void text_place(FILE *f, Loc loc);               /* " !0:12:9+3", nothing if there is no place */

/* reading (ir/text_read.c) */
enum { NODE_LIMIT = 1 << 20 };                   /* largest node or kernel number in a text */

/* What %n means: node id of the graph numbered graph; id -1 after a mistake in its line. */
typedef struct NodeName { int graph, id; } NodeName;

typedef struct TextReader {
    Module     *m;
    Lexer      *lx;
    const char *text;                            /* all of it, and where its lines start, for names with dots */
    size_t     *line;   int nline;
    int         nfile;                           /* declared so far */
    const char **file;  int cfile;
    NodeName   *name;   int nname;
    int         ngraph;                          /* graphs begun */
    Plan      **plan;   int nplan, cplan;
} TextReader;

/* Each reads one thing, or reports what stands there instead and returns false. */
bool read_error(TextReader *r, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool read_punct(TextReader *r, const char *punct_or_word);
bool read_word(TextReader *r, const char *what, Token *t);
bool read_string(TextReader *r, const char *what, const char **s);
bool read_int(TextReader *r, const char *what, int64_t min, int64_t max, int64_t *x);
bool read_double(TextReader *r, const char *what, double *x);
bool read_type(TextReader *r, Type *t);
bool read_name(TextReader *r, const char **name, Loc *loc);         /* @fc1.weight, any name */
bool read_slot(TextReader *r, int *slot);                           /* @fc1.weight, of a slot that is there */
bool read_place(TextReader *r, Loc *loc);                           /* one that may be missing */
bool read_line_end(TextReader *r);                                  /* leaves it there, for text_skip_line after a mistake */

bool text_at_end(TextReader *r, const char *closing);               /* skips empty lines; at the end of the text or before closing */
void text_skip_line(TextReader *r);

/* ir/graph_read.c: after the word `graph`, to the closing brace. */
bool read_graph(TextReader *r);

#endif
