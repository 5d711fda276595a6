/* diag.c - messages with a place: file, line, column, the line itself, a caret. */
#include "ir/diag.h"

#include <string.h>

enum { ERROR_LIMIT = 20, CLIP = 120, TAB = 4 };   /* columns of source shown; a tab shows as so many blanks */

void diag_init(Diag *d, Arena *mem) { *d = (Diag){ .mem = mem }; }

int diag_source(Diag *d, const char *name, const char *text, size_t len)
{
    /* some editors begin a file with a byte order mark, which is no part of its first line */
    size_t mark = len >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0;
    char *copy = arena_alloc(d->mem, len + 1, 1);

    text += mark;
    len -= mark;
    if (len)
        memcpy(copy, text, len);
    arena_push(d->mem, d->source, d->nsource, d->csource);
    d->source[d->nsource] = (Source){ arena_strdup(d->mem, name), copy, len };
    return d->nsource++;
}

/* ---- text ---- */

static void add_bytes(Diag *d, const char *s, size_t n)
{
    if (d->ntext + n + 1 > d->ctext) {
        size_t cap = (d->ntext + n + 1) * 2;
        char *bigger = arena_alloc(d->mem, cap, 1);

        if (d->ntext)
            memcpy(bigger, d->text, d->ntext);
        d->text = bigger;
        d->ctext = cap;
    }
    memcpy(d->text + d->ntext, s, n);
    d->ntext += n;
    d->text[d->ntext] = '\0';
}

static void add(Diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(Diag *d, const char *fmt, ...)
{
    va_list ap;
    char *s;

    va_start(ap, fmt);
    s = arena_vprintf(d->mem, fmt, ap);
    va_end(ap);
    add_bytes(d, s, strlen(s));
}

/* The line's bytes, without its end. */
static const char *find_line(const Source *s, uint32_t line, size_t *len)
{
    const char *p = s->text, *end = s->text + s->len;

    for (uint32_t i = 1; i < line && p < end; i++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));

        p = nl ? nl + 1 : end;
    }
    const char *nl = memchr(p, '\n', (size_t)(end - p));

    *len = (size_t)((nl ? nl : end) - p);
    if (*len && p[*len - 1] == '\r')
        (*len)--;
    return p;
}

/* Bytes of the UTF-8 character at p, 1 for what is none. */
static size_t character(const char *p, size_t left)
{
    unsigned char c = (unsigned char)*p;
    size_t n = c < 0xC2 || c > 0xF4 ? 1 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;

    for (size_t i = 1; i < n; i++)
        if (i >= left || ((unsigned char)p[i] & 0xC0) != 0x80)
            return 1;
    /* longer than needed, a surrogate, or beyond the last: Unicode 15, table 3-7 */
    unsigned char second = n > 2 ? (unsigned char)p[1] : 0xA0;

    if ((c == 0xE0 && second < 0xA0) || (c == 0xED && second > 0x9F) || (c == 0xF0 && second < 0x90)
        || (c == 0xF4 && second > 0x8F))
        return 1;
    return n;
}

/* One character as it shows: tabs as blanks, bytes that are no text as '?'. */
static int show(Diag *d, const char *p, size_t n)
{
    if (*p == '\t') {
        add(d, "%*s", TAB, "");
        return TAB;
    }
    if (n == 1 && ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7F))
        add_bytes(d, "?", 1);
    else
        add_bytes(d, p, n);
    return 1;
}

/* The line and the marks under it; from a long line the part around the place. */
static void add_excerpt(Diag *d, const Source *s, Loc at)
{
    size_t len, i = 0;
    const char *line = find_line(s, at.line, &len);
    size_t from = at.col ? at.col - 1 : 0, to = from + (at.len ? at.len : 1);
    int before = 0, under = 0, shown = 0;

    if (from > CLIP - 40)
        i = from - (CLIP - 40);
    while (i < from && i < len && ((unsigned char)line[i] & 0xC0) == 0x80)
        i++;
    add(d, "%5u | %s", at.line, i ? "..." : "");
    before = i ? 3 : 0;
    for (size_t n; i < len && shown < CLIP; i += n) {
        int width;

        n = character(line + i, len - i);
        width = show(d, line + i, n);
        shown += width;
        before += i + n <= from ? width : 0;
        under += i + n > from && i < to ? width : 0;
    }
    add(d, "%s\n      | %*s", i < len ? "..." : "", before, "");
    for (int j = 0; j < (under ? under : 1); j++)
        add_bytes(d, "^", 1);
    add_bytes(d, "\n", 1);
}

static void add_message(Diag *d, Loc at, const char *kind, const char *text)
{
    if (!at.line || at.file >= d->nsource) {
        add(d, "%s%s%s: %s\n", at.file < d->nsource ? d->source[at.file].name : "", at.file < d->nsource ? ": " : "",
            kind, text);
        return;
    }
    add(d, "%s:%u:%u: %s: %s\n", d->source[at.file].name, at.line, at.col, kind, text);
    add_excerpt(d, &d->source[at.file], at);
}

/* ---- errors ---- */

static bool is_among(const Loc *seen, int n, Loc at)
{
    for (int i = 0; i < n; i++)
        if (seen[i].file == at.file && seen[i].line == at.line && seen[i].col == at.col)
            return true;
    return false;
}

static bool was_seen(Diag *d, Loc at)
{
    if (is_among(d->seen, d->nseen, at))
        return true;
    arena_push(d->mem, d->seen, d->nseen, d->cseen);
    d->seen[d->nseen++] = at;
    return false;
}

/* An error at the place of a warning is still news. */
static bool was_warned(Diag *d, Loc at)
{
    if (is_among(d->warned, d->nwarned, at))
        return true;
    arena_push(d->mem, d->warned, d->nwarned, d->cwarned);
    d->warned[d->nwarned++] = at;
    return false;
}

bool diag_error(Diag *d, Loc at, const char *fmt, ...)
{
    va_list ap;

    d->quiet = true;
    if (d->nerror > ERROR_LIMIT || (at.line && was_seen(d, at)))
        return false;
    if (++d->nerror > ERROR_LIMIT) {
        add(d, "there are more errors\n");
        return false;
    }
    d->quiet = false;
    va_start(ap, fmt);
    add_message(d, at, "error", arena_vprintf(d->mem, fmt, ap));
    va_end(ap);
    return true;
}

bool diag_warning(Diag *d, Loc at, const char *fmt, ...)
{
    va_list ap;

    d->quiet = true;
    if (d->nerror > ERROR_LIMIT || (at.line && was_warned(d, at)))
        return false;
    d->quiet = false;
    va_start(ap, fmt);
    add_message(d, at, "warning", arena_vprintf(d->mem, fmt, ap));
    va_end(ap);
    return true;
}

void diag_note(Diag *d, Loc at, const char *fmt, ...)
{
    va_list ap;

    if (d->quiet)
        return;
    va_start(ap, fmt);
    add_message(d, at, "note", arena_vprintf(d->mem, fmt, ap));
    va_end(ap);
}

Loc loc_span(Loc a, Loc b)
{
    Loc r = a;

    if (a.file == b.file && a.line == b.line && b.col >= a.col) {
        uint32_t len = b.col + b.len - a.col;

        r.len = len > UINT16_MAX ? UINT16_MAX : (uint16_t)len;
    }
    return r;
}

/* ---- names ---- */

enum { WORD = 64 };

/* Damerau's distance (insert, delete, change, swap neighbours), by the usual table of three rows. */
static int distance(const char *a, int n, const char *b, int m)
{
    int row[3][WORD + 1];

    for (int j = 0; j <= m; j++)
        row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];

        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = up[j - 1] + (a[i - 1] != b[j - 1]);

            best = up[j] + 1 < best ? up[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best)
                best = up2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *diag_near(const char *word, const char *const *name, int n)
{
    size_t len = strlen(word);
    int best = (int)(len / 3 + 1) + 1;
    const char *near = NULL;

    for (int i = 0; i < n && len <= WORD; i++) {
        size_t m = strlen(name[i]);
        int d = m > WORD ? best : distance(word, (int)len, name[i], (int)m);

        if (d < best && d < (int)(len < m ? len : m)) {
            best = d;
            near = name[i];
        }
    }
    return near;
}
