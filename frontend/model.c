/* model.c - one .nnd file: parsed once, checked at a batch that fits nothing by chance, built as often as wanted. */
#include "frontend/build.h"

#include <stdlib.h>
#include <string.h>

/* A prime that is no size of anything: what equals it can only be the batch. */
enum { PROBE = 1000003, IMPORTS = 256 };

static void check_names(Model *md)
{
    for (const Decl *a = md->decl; a; a = a->next)
        for (const Decl *c = a->next; c; c = c->next) {
            bool same = a->kind != DECL_TRAIN && c->kind != DECL_TRAIN && !strcmp(a->name, c->name);

            if (a->kind >= DECL_IMPORT || c->kind >= DECL_IMPORT)
                continue;
            /* a user's function may take a built-in or imported one's place */
            if ((same && (a->loc.file == c->loc.file || (a->loc.file > md->user && c->loc.file > md->user))) || (a->kind == DECL_TRAIN && c->kind == DECL_TRAIN)) {
                if (diag_error(&md->diag, c->loc, same ? "`%s` is declared twice" : "a second train block, after that of `%s`", a->name))
                    diag_note(&md->diag, a->loc, "first here");
            }
        }
    for (const Decl *d = md->decl; d; d = d->next)
        for (int i = 1; i < d->nparam; i++)
            for (int j = 0; j < i; j++)
                if (!strcmp(d->param[i].name, d->param[j].name)
                    && diag_error(&md->diag, d->param[i].loc, "`%s` is declared twice", d->param[i].name))
                    diag_note(&md->diag, d->param[j].loc, "first here");
    for (const Decl *d = md->decl; d; d = d->next)
        for (int i = 0; i < d->nparam; i++)
            if (d->param[i].input && (!strcmp(d->param[i].name, "step") || !strcmp(d->param[i].name, "steps")
                                      || !strcmp(d->param[i].name, "epoch")))
                diag_error(&md->diag, d->param[i].loc, "`%s` is a scalar of every step, so no input can have its name",
                           d->param[i].name);
}

/* -D names a const of the user's file. */
static void check_defines(Model *md)
{
    const char **names = NULL, *near;
    int n = 0, cap = 0;

    for (const Decl *d = md->decl; d; d = d->next)
        if (d->kind == DECL_CONST && d->loc.file >= md->user) {
            arena_push(&md->mem, names, n, cap);
            names[n++] = d->name;
        }
    for (int i = 0; md->options && i < md->options->ndefine; i++) {
        bool known = false;

        for (int j = 0; j < n; j++)
            known |= !strcmp(names[j], md->options->define[i].name);
        if (known)
            continue;
        near = diag_near(md->options->define[i].name, names, n);
        diag_error(&md->diag, (Loc){ .file = (uint16_t)md->user },
                   near ? "-D %s: the file has no such const; did you mean `%s`?" : "-D %s: the file has no such const",
                   md->options->define[i].name, near);
    }
}

/* ---- files ---- */

static Decl **behind(Decl **last)
{
    while (*last)
        last = &(*last)->next;
    return last;
}

/* The path of an imported file: as written, beside the file that imports it. */
static const char *beside(Model *md, int source, const char *path)
{
    const char *from = md->diag.source[source].name, *slash = strrchr(from, '/');

    return *path == '/' || !slash ? path : arena_printf(&md->mem, "%.*s%s", (int)(slash - from + 1), from, path);
}

/* Two ways to one file are found by what is in it. */
static bool is_read(const Model *md, const char *name, const char *text, size_t len)
{
    for (int i = md->user; i < md->diag.nsource; i++) {
        const Source *s = &md->diag.source[i];

        if (!strcmp(s->name, name) || (text && s->len == len && !memcmp(s->text, text, len)))
            return true;
    }
    return false;
}

/* Of an imported file the declarations count, not what it trains or shows. */
static Decl *without_runs(Decl *d)
{
    Decl *first = NULL, **last = &first;

    for (Decl *next; d; d = next) {
        next = d->next;
        d->next = NULL;
        if (d->kind != DECL_TRAIN && d->kind != DECL_VALUE && d->kind != DECL_IMPORT) {
            *last = d;
            last = &d->next;
        }
    }
    return first;
}

static Decl *read_imports(Model *md, const Decl *decl, int source);

static Decl *read_import(Model *md, const Decl *import, int source)
{
    const FrontOptions *o = md->options;
    const char *name = beside(md, source, import->name), *text, *why = "this program reads no other files";
    size_t len = 0;
    Decl *own, *first;

    if (is_read(md, name, NULL, 0))
        return NULL;
    if (md->diag.nsource - md->user > IMPORTS) {
        diag_error(&md->diag, import->loc, "more than %d files are imported", IMPORTS);
        return NULL;
    }
    text = o && o->open ? o->open(o->ctx, &md->mem, name, &len, &why) : NULL;
    if (!text) {
        diag_error(&md->diag, import->loc, "cannot read %s: %s", name, why);
        return NULL;
    }
    if (is_read(md, name, text, len))
        return NULL;
    source = diag_source(&md->diag, name, text, len);
    own = ast_parse(&md->mem, &md->diag, source);
    first = read_imports(md, own, source);
    *behind(&first) = without_runs(own);
    return first;
}

/* The declarations of all files that these import, in their order. */
static Decl *read_imports(Model *md, const Decl *decl, int source)
{
    Decl *first = NULL;

    for (const Decl *d = decl; d; d = d->next)
        if (d->kind == DECL_IMPORT)
            *behind(&first) = read_import(md, d, source);
    return first;
}

Model *model_parse(const char *name, const char *text, size_t len, const FrontOptions *o)
{
    Model *md = calloc(1, sizeof *md);
    Decl **last, *own;

    if (!md)
        abort();
    diag_init(&md->diag, &md->mem);
    md->options = o;
    last = &md->decl;
    for (int i = 0; prelude_name(i); i++) {
        int source = diag_source(&md->diag, prelude_name(i), prelude_text(i), strlen(prelude_text(i)));

        *last = ast_parse(&md->mem, &md->diag, source);
        last = behind(last);
    }
    md->user = diag_source(&md->diag, name, text, len);
    md->text = md->diag.source[md->user].text;
    own = ast_parse(&md->mem, &md->diag, md->user);
    *last = read_imports(md, own, md->user);      /* first, so that a file's own declarations win */
    *behind(last) = own;
    check_names(md);
    check_defines(md);
    find_owners(md);
    return md;
}

const Diag *model_diag(const Model *md) { return &md->diag; }

void model_free(Model *md)
{
    if (!md)
        return;
    module_free(md->checked);
    arena_free(&md->mem);
    free(md);
}

void model_print(FILE *f, const Model *md)
{
    const Decl *d = md->decl;

    while (d && d->loc.file != md->user)
        d = d->next;
    ast_print(f, d);
}

static const char *model_name(const Model *md)
{
    const char *name = "model";

    for (const Decl *d = md->decl; d; d = d->next)
        if (d->kind == DECL_MODEL || d->kind == DECL_TRAIN)
            name = d->name;
    return name;
}

static Module *new_module(Model *md)
{
    Module *m = module_new();

    for (int i = 0; i < md->diag.nsource; i++)
        diag_source(&m->diag, md->diag.source[i].name, md->diag.source[i].text, md->diag.source[i].len);
    m->name = arena_strdup(&m->mem, model_name(md));
    m->text = arena_strdup(&m->mem, md->text);
    m->float64 = md->options && md->options->float64;
    return m;
}

/* In a train block's file, unless it is the values that are wanted. */
static bool has_train(const Model *md)
{
    for (const Decl *d = md->decl; d && !md->values; d = d->next)
        if (d->kind == DECL_TRAIN)
            return true;
    return false;
}

/* Initial values belong to the declarations that a train graph (or the model alone) meets on its way. */
static bool build_init(Build *b)
{
    Graph *init = graph_new(b->m, ENTRY_INIT, 0);
    int ngraph = b->m->ngraph;
    Graph *update = b->m->update;
    int64_t batch = b->m->dim_probe ? b->m->dim_probe : 1;
    bool ok;

    b->init = init;
    b->m->update = NULL;
    ok = build_entry(b, has_train(b->md) ? ENTRY_TRAIN : ENTRY_INFER, batch);
    if (ok && has_train(b->md))      /* it may own what training does without */
        ok = build_entry(b, ENTRY_EVAL, batch);
    b->init = NULL;
    b->m->ngraph = ngraph;      /* it was only a way to the declarations */
    b->m->update = update;
    if (ok)
        module_add_graph(b->m, init);
    return ok;
}

static bool build_one(Model *md, Module *m, EntryWant want)
{
    Build b = { .md = md, .m = m, .init_slot = -1 };

    return want.entry == ENTRY_INIT ? build_init(&b) : build_entry(&b, want.entry, md->values ? 1 : want.batch);
}

static bool check_entries(Model *md, Module *m)
{
    static const EntryWant step[] = { { ENTRY_INIT, 0 }, { ENTRY_TRAIN, PROBE }, { ENTRY_EVAL, PROBE }, { ENTRY_INFER, PROBE } };
    bool ok = true;

    for (int i = 0; i < 4; i++)
        if (has_train(md) ? step[i].entry != ENTRY_INFER || model_decl(md) : step[i].entry == ENTRY_INFER || step[i].entry == ENTRY_INIT)
            ok &= build_one(md, m, step[i]);
    return ok;
}

/* The values of a file that has a model as well. */
static bool check_values(Model *md)
{
    Module *m = new_module(md), *checked = md->checked;
    bool ok;

    md->values = true;
    md->checked = m;
    ok = check_entries(md, m);
    md->checked = checked;
    md->values = false;
    module_free(m);
    return ok;
}

const Module *model_check(Model *md)
{
    bool has_model = model_decl(md) || has_train(md), ok = md->diag.nerror == 0;
    Module *m;

    if (!ok)
        return NULL;
    md->values = (md->options && md->options->values) || (!has_model && has_values(md));
    if (!has_model && !md->values) {
        diag_error(&md->diag, (Loc){ .file = (uint16_t)md->user }, "the file has no model");
        return NULL;
    }
    md->checked = m = new_module(md);
    if (!md->values) {
        m->dim_probe = PROBE;
        m->dim_name = "N";
    }
    ok = check_entries(md, m);
    if (!md->values && has_values(md))
        ok &= check_values(md);
    return ok && md->diag.nerror == 0 ? m : NULL;
}

bool model_has_values(const Model *md) { return md->values; }

Module *model_build(Model *md, const EntryWant *want, int nwant)
{
    Module *m = new_module(md);

    for (int i = 0; i < nwant; i++)
        if (!build_one(md, m, want[i])) {
            module_free(m);
            return NULL;
        }
    return m;
}
