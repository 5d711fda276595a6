/* diag.h - the user's mistakes: where, what, and what to do about it.
 *
 * A source file is registered once and every token keeps a Loc into it.  The
 * printed form is
 *
 *   models/mlp.nnd:12:19: error: dot: inner sizes differ, f32[N, 784] by f32[780, 10]
 *      12 |     return sigmoid(x @ w + b)
 *         |                    ^^^^^
 *   models/mlp.nnd:9:5: note: w is declared here
 *       9 |     param w: f32[780, 10] = zeros
 *         |     ^^^^^
 *
 * One mistake, one message: a second error at the same place is dropped.
 */
#ifndef NND_IR_DIAG_H
#define NND_IR_DIAG_H

#include "ir/arena.h"

/* A span of text: file number, line and column from 1 (columns count bytes), length in bytes.  line 0: no place. */
typedef struct Loc { uint16_t file, len; uint32_t line, col; } Loc;

typedef struct Source {
    const char *name;      /* as the user wrote it; "<prelude/loss.nnd>" for built-in text */
    const char *text;      /* NUL-terminated copy in the arena; may hold NULs itself, hence len */
    size_t      len;
} Source;

typedef struct Diag {
    Arena  *mem;
    Source *source; int nsource, csource;
    char   *text;   size_t ntext, ctext;   /* all messages so far, ready to print */
    int     nerror;                        /* errors reported; notes don't count */
    Loc    *seen;   int nseen, cseen;      /* places of errors */
    Loc    *warned; int nwarned, cwarned;
    bool    quiet;                         /* the last error was dropped, so its notes are too */
} Diag;

void diag_init(Diag *d, Arena *mem);
int  diag_source(Diag *d, const char *name, const char *text, size_t len);   /* its number */

/* diag_error returns true if the message was new (a note may follow), false if it was dropped.
 * diag_note belongs to the error before it; notes after a dropped error are dropped as well.
 * After 20 errors one line says that there are more, and the rest is dropped. */
bool diag_error(Diag *d, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_note(Diag *d, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* diag_warning - what is allowed and hardly meant; counts as no error.  True if it was new. */
bool diag_warning(Diag *d, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* diag_near - the nearest of n names to a misspelt one by Damerau distance, at most len/3+1 away and with
 * something in common; NULL if none. */
const char *diag_near(const char *word, const char *const *name, int n);

/* Both in the file's own columns: from the start of a to the end of b (a alone if they are on different lines). */
Loc loc_span(Loc a, Loc b);

#endif
