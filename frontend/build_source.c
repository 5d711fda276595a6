/* build_source.c - where the rows of a split come from: idx, npy, npz, csv, bytes, characters, images, a number of
 * rows, or a share. */
#include "frontend/build.h"

#include <string.h>

/* One source of a data block; slot NULL after a mistake in a field: then it is looked at but not kept. */
typedef struct SourceCall {
    Build       *b;
    const Decl  *d;
    const Ast   *a;
    const Expr  *e;
    Slot        *slot;        /* of the first field */
    int          split;
    SourceFormat format;
    int          nplain;      /* arguments without a name, which come first */
} SourceCall;

static bool is_whole(const Slot *s) { return s->type.dtype != DT_f32 && s->type.dtype != DT_f64 && s->type.dtype != DT_bool; }

static FieldSource *source_of(SourceCall *c, int field) { return &c->slot[field].source[c->split]; }

static const char *text_of(SourceCall *c, const Expr *e, const char *what)
{
    if (e->kind == EXPR_STRING && *e->name)
        return arena_strdup(&c->b->m->mem, e->name);
    build_error(c->b, e->loc, "%s is a text", what);
    return NULL;
}

static void note_fields(SourceCall *c) { build_note(c->b, c->d->loc, "the fields of `%s`", c->d->name); }

static bool count_is(SourceCall *c, int n, const char *what)
{
    if (n == c->d->nparam)
        return true;
    build_error(c->b, c->e->loc, "%s: %d %s%s for %d field%s", c->a->name, n, what, n == 1 ? "" : "s", c->d->nparam,
                c->d->nparam == 1 ? "" : "s");
    note_fields(c);
    return false;
}

/* ---- files of arrays ---- */

static bool read_files(SourceCall *c)
{
    if (!count_is(c, c->nplain, "file"))
        return false;
    for (int i = 0; i < c->nplain; i++) {
        const char *file = text_of(c, c->e->arg[i], "a file's name");

        if (!file)
            return false;
        if (c->slot)
            *source_of(c, i) = (FieldSource){ .format = c->format, .file = file };
    }
    return true;
}

/* ---- columns ---- */

/* A column's name, or its number as a text; *number: which of the two, -1 as long as none has stood there. */
static const char *read_column(SourceCall *c, const Expr *e, int *number)
{
    bool    named = e->kind == EXPR_STRING;
    int64_t at;

    if (*number >= 0 && *number == named) {
        build_error(c->b, e->loc, "columns go by name or by number, not both: names stand in the file's first line");
        return NULL;
    }
    *number = !named;
    if (named)
        return text_of(c, e, "a column");
    if (!build_int(c->b, e, "a column's number", &at))
        return NULL;
    if (at >= 0 && at <= INT16_MAX)
        return arena_printf(&c->b->m->mem, "%lld", (long long)at);
    build_error(c->b, e->loc, "columns are numbered from 0, got %lld", (long long)at);
    return NULL;
}

static bool columns_fit(SourceCall *c, const Expr *e, const Slot *s, int n)
{
    bool list = e->kind == EXPR_LIST;

    if (s->type.rank == list && (!list || s->type.dim[0] == n))
        return true;
    build_error(c->b, e->loc, list ? "csv: %d columns in a list are for a field of that many numbers, `%s` is %s"
                                   : "csv: %d column is for a field of one number, `%s` is %s; several stand in a list",
                n, s->name, ty_str_in(c->b->m, &s->type));
    note_fields(c);
    return false;
}

static bool read_columns(SourceCall *c, int field, const char *file, int *number)
{
    const Expr  *e = c->e->arg[field + 1], *one[] = { e };
    bool         list = e->kind == EXPR_LIST;
    int          n = list ? e->narg : 1;
    const char **part = arena_array(&c->b->m->mem, const char *, n + 1);

    for (int i = 0; i < n; i++)
        if (!(part[i] = read_column(c, list ? e->arg[i] : one[i], number)))
            return false;
    if (!c->slot)
        return true;
    *source_of(c, field) = (FieldSource){ .format = c->format, .file = file, .part = part, .npart = n, .number = *number };
    return c->format != SOURCE_CSV || columns_fit(c, e, &c->slot[field], n);
}

/* "file", and what of it each field takes: a column, a list of them, an array */
static bool read_parts(SourceCall *c)
{
    const char *file = c->nplain ? text_of(c, c->e->arg[0], "a file's name") : NULL;
    int         number = -1;

    if (c->nplain && !file)
        return false;
    if (!count_is(c, c->nplain - (c->nplain > 0), c->format == SOURCE_CSV ? "column" : "array"))
        return false;
    for (int i = 0; i < c->d->nparam; i++) {
        if (c->format == SOURCE_NPZ && !text_of(c, c->e->arg[i + 1], "an array's name"))
            return false;
        if (!read_columns(c, i, file, &number))
            return false;
    }
    return true;
}

/* ---- windows ---- */

static bool windows_fit(SourceCall *c)
{
    for (int i = 0; i < c->d->nparam; i++) {
        const Slot *s = &c->slot[i];

        if (s->type.rank == 1 && is_whole(s) && s->type.dim[0] == c->slot->type.dim[0])
            continue;
        build_error(c->b, c->e->loc, "%s wants fields of one length such as u8[128], `%s` is %s", c->e->name, s->name,
                    ty_str_in(c->b->m, &s->type));
        note_fields(c);
        return false;
    }
    return true;
}

static bool read_share(SourceCall *c, const Expr *e, const char *what, double *share)
{
    Value v = build_value(c->b, e);

    if (v.kind == VAL_NUMBER && v.number >= 0 && v.number <= 1) {
        *share = v.number;
        return true;
    }
    if (v.kind)
        build_error(c->b, e->loc, "%s wants a share from 0 to 1, got %s", what, build_describe(c->b, &v));
    return false;
}

/* window:, stride:, from:, to: behind the file */
static bool read_window_setting(SourceCall *c, int i, int64_t *window, FieldSource *s)
{
    static const char *const names[] = { "window", "stride", "from", "to" };
    const char *name = c->e->argname[i], *near = diag_near(name, names, 4);
    const Expr *e = c->e->arg[i];
    int64_t    *size = !strcmp(name, "window") ? window : &s->stride;

    if (!strcmp(name, "from") || !strcmp(name, "to"))
        return read_share(c, e, name, *name == 'f' ? &s->from : &s->to);
    if (strcmp(name, "window") && strcmp(name, "stride")) {
        build_error(c->b, e->loc, near ? "%s takes no `%s`; did you mean `%s`?"
                                       : "%s takes no `%s`: window, stride, from and to are known", c->e->name, name, near);
        return false;
    }
    if (!build_int(c->b, e, name, size))
        return false;
    if (*size >= 1)
        return true;
    build_error(c->b, e->loc, "%s is at least 1, got %lld", name, (long long)*size);
    return false;
}

static bool read_windows(SourceCall *c)
{
    const char *file = c->nplain == 1 ? text_of(c, c->e->arg[0], "a file's name") : NULL;
    FieldSource s = { .format = c->format, .file = file, .to = 1 };
    int64_t     window = 0;

    if (c->nplain != 1)
        build_error(c->b, c->e->loc, "%s wants one file: %s(\"book.txt\", window: 128)", c->e->name, c->e->name);
    if (!file)
        return false;
    for (int i = 1; i < c->e->narg; i++)
        if (!read_window_setting(c, i, &window, &s))
            return false;
    if (s.from >= s.to) {
        build_error(c->b, c->e->loc, "%s: nothing lies from %g to %g", c->e->name, s.from, s.to);
        return false;
    }
    if (!c->slot)
        return true;
    if (!windows_fit(c))
        return false;
    if (window && window != c->slot->type.dim[0]) {
        build_error(c->b, c->e->loc, "%s: the window is %lld, `%s` is %s", c->e->name, (long long)window, c->slot->name,
                    ty_str_in(c->b->m, &c->slot->type));
        note_fields(c);
        return false;
    }
    s.stride = s.stride ? s.stride : c->slot->type.dim[0];
    for (s.number = 0; s.number < c->d->nparam; s.number++)
        *source_of(c, (int)s.number) = s;
    return true;
}

/* ---- images ---- */

static bool is_picture(const Slot *s)
{
    return s->type.dtype == DT_u8 && (s->type.rank == 2 || (s->type.rank == 3 && s->type.dim[0] == 3));
}

static bool read_images(SourceCall *c)
{
    const char *file = c->nplain == 1 ? text_of(c, c->e->arg[0], "a folder's name") : NULL;

    if (c->nplain != 1)
        build_error(c->b, c->e->loc, "images wants one folder, which has a folder for each class");
    if (!file || !c->slot)
        return file != NULL;
    if (c->d->nparam != 2 || !is_picture(c->slot) || c->slot[1].type.rank || !is_whole(&c->slot[1])) {
        build_error(c->b, c->e->loc, "images wants two fields: an image, u8[H, W] in grey or u8[3, H, W] in colour, and a whole "
                    "number for its class");
        note_fields(c);
        return false;
    }
    for (int i = 0; i < 2; i++)
        *source_of(c, i) = (FieldSource){ .format = c->format, .file = file, .number = i };
    return true;
}

/* ---- no file ---- */

/* rows(1000): the field is the row's number. */
static bool read_rows(SourceCall *c)
{
    int64_t n, most;

    if (c->nplain != 1) {
        build_error(c->b, c->e->loc, "rows wants how many there are: rows(1000)");
        return false;
    }
    if (!build_int(c->b, c->e->arg[0], "a number of rows", &n))
        return false;
    if (!c->slot)
        return true;
    if (c->d->nparam != 1 || c->slot->type.rank || !is_whole(c->slot)) {
        build_error(c->b, c->e->loc, "rows wants one field of one whole number, such as i32");
        note_fields(c);
        return false;
    }
    most = c->slot->type.dtype == DT_u8 ? UINT8_MAX + 1 : INT32_MAX;
    if (n < 1 || n > most) {
        build_error(c->b, c->e->arg[0]->loc, "rows of %s: wanted 1 to %lld, got %lld", ty_str_in(c->b->m, &c->slot->type),
                    (long long)most, (long long)n);
        return false;
    }
    *source_of(c, 0) = (FieldSource){ .format = c->format, .file = "", .number = n };
    return true;
}

/* ---- any ---- */

static bool plain_first(SourceCall *c)
{
    while (c->nplain < c->e->narg && !(c->e->argname && c->e->argname[c->nplain]))
        c->nplain++;
    for (int i = c->nplain; i < c->e->narg; i++)
        if (!c->e->argname[i]) {
            build_error(c->b, c->e->arg[i]->loc, "%s: what has a name stands last", c->e->name);
            return false;
        }
    if (c->nplain == c->e->narg || c->format == SOURCE_BYTES || c->format == SOURCE_CHARACTERS)
        return true;
    build_error(c->b, c->e->arg[c->nplain]->loc, "%s takes no `%s`", c->e->name, c->e->argname[c->nplain]);
    return false;
}

/* valid: 0.1 */
static bool share_of_train(SourceCall *c, const Expr *e)
{
    double share;

    if (!read_share(c, e, c->a->name, &share))
        return false;
    if (share == 0 || share == 1) {
        build_error(c->b, e->loc, "%s: a share above 0 and below 1 leaves rows to both", c->a->name);
        return false;
    }
    for (int i = 0; i < c->d->nparam && c->slot; i++)
        *source_of(c, i) = (FieldSource){ .format = SOURCE_SHARE, .file = "", .to = share };
    return true;
}

bool build_source(Build *b, const Decl *d, int first, const Ast *a, int split)
{
    const Expr *e = a->value->narg == 1 ? a->value->arg[0] : NULL;
    SourceCall  c = { .b = b, .d = d, .a = a, .e = e, .slot = first < 0 ? NULL : &b->m->slot[first], .split = split };

    if (e && e->kind != EXPR_CALL && split == SPLIT_VALID)
        return share_of_train(&c, e);
    for (int i = SOURCE_IDX; e && e->kind == EXPR_CALL && i < SOURCE_SHARE; i++)
        if (!strcmp(e->name, source_name[i]))
            c.format = (SourceFormat)i;
    if (!c.format) {
        const char *near = e && e->kind == EXPR_CALL ? diag_near(e->name, source_name + SOURCE_IDX, SOURCE_SHARE - SOURCE_IDX) : NULL;

        build_error(b, a->value->loc, near ? "unknown source `%s`; did you mean `%s`?"
                    : "%s wants a source such as idx(\"file\", ...): idx, npy, npz, csv, bytes, characters, images and rows are known",
                    near ? e->name : a->name, near);
        return false;
    }
    if (!plain_first(&c))
        return false;
    switch (c.format) {
    case SOURCE_IDX:
    case SOURCE_NPY:        return read_files(&c);
    case SOURCE_NPZ:
    case SOURCE_CSV:        return read_parts(&c);
    case SOURCE_BYTES:
    case SOURCE_CHARACTERS: return read_windows(&c);
    case SOURCE_IMAGES:     return read_images(&c);
    case SOURCE_ROWS:       return read_rows(&c);
    case SOURCE_NONE:
    case SOURCE_SHARE:
    case NSOURCE:           break;
    }
    return false;
}
