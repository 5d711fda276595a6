/* module_read.c - a module of .ir text: files, slots, the train block, and the graphs and plans behind them.
 *
 * Every line begins with a word that says what it is.  A line with a mistake is reported and left out;
 * reading goes on with the next, so several mistakes show at once.
 */
#include <inttypes.h>
#include <string.h>

#include "ir/kernel.h"
#include "ir/text.h"

static bool read_module_name(TextReader *r)
{
    Token word;

    if (!read_word(r, "the module's name", &word))
        return false;
    r->m->name = word.text;
    return read_line_end(r);
}

static bool read_float64(TextReader *r)
{
    r->m->float64 = true;
    return read_line_end(r);
}

static bool read_file(TextReader *r)
{
    const char *name;
    int64_t     number;

    if (!read_int(r, "a file's number", r->nfile, r->nfile, &number) || !read_string(r, "a file's name", &name))
        return false;
    if (r->nfile == UINT16_MAX)
        return read_error(r, lex_peek(r->lx, 0).loc, "more than %d files", UINT16_MAX);
    arena_push(&r->m->mem, r->file, r->nfile, r->cfile);
    r->file[r->nfile++] = name;
    return read_line_end(r);
}

static bool read_label(TextReader *r)
{
    Module     *m = r->m;
    const char *name;

    if (!read_string(r, "a class's name", &name))
        return false;
    arena_push(&m->mem, m->label, m->nlabel, m->clabel);
    m->label[m->nlabel++] = name;
    return read_line_end(r);
}

/* slots */

static bool read_kind(TextReader *r, SlotKind *kind)
{
    Token word;

    if (!read_word(r, "a kind of slot", &word))
        return false;
    for (int i = 0; i < NSLOT; i++) {
        if (!strcmp(word.text, slot_kind_name[i])) {
            *kind = (SlotKind)i;
            return true;
        }
    }

    const char *near = diag_near(word.text, slot_kind_name, NSLOT);
    return read_error(r, word.loc, "there is no kind of slot `%s`%s%s%s", word.text, near ? "; do you mean `" : "",
                      near ? near : "", near ? "`?" : "");
}

static bool read_source_parts(TextReader *r, FieldSource *s)
{
    int cap = 0;

    while (lex_peek(r->lx, 0).kind == TOK_STRING) {
        arena_push(&r->m->mem, s->part, s->npart, cap);
        if (!read_string(r, "a part of the file", &s->part[s->npart++]))
            return false;
    }
    return read_punct(r, "stride") && read_int(r, "a number of bytes", 0, INT64_MAX, &s->stride) &&
           read_punct(r, "number") && read_int(r, "a place", 0, INT64_MAX, &s->number) && read_punct(r, "from") &&
           read_double(r, "a share", &s->from) && read_punct(r, "to") && read_double(r, "a share", &s->to) &&
           read_punct(r, ")");
}

/* "name" of an IDX file, another format with what it takes, - for none, or nothing */
static bool read_source(TextReader *r, FieldSource *s)
{
    *s = (FieldSource){ 0 };
    if (lex_take(r->lx, "-"))
        return true;
    if (lex_peek(r->lx, 0).kind == TOK_STRING) {
        s->format = SOURCE_IDX;
        return read_string(r, "a file's name", &s->file);
    }
    for (int i = SOURCE_IDX + 1; i < NSOURCE; i++)
        if (lex_take(r->lx, source_name[i])) {
            s->format = (SourceFormat)i;
            return read_punct(r, "(") && read_string(r, "a file's name", &s->file) && read_source_parts(r, s);
        }
    return true;
}

static bool read_slot_rest(TextReader *r, Slot *s)
{
    if (lex_take(r->lx, "<") && !read_int(r, "a bound", 1, INT64_MAX, &s->bound))
        return false;
    if (lex_take(r->lx, "=") && !read_double(r, "a value", &s->value))
        return false;
    for (int i = 0; i < NSPLIT; i++)
        if (!read_source(r, &s->source[i]))
            return false;
    return read_place(r, &s->loc) && read_line_end(r);
}

static bool read_slot_line(TextReader *r)
{
    Slot s = { 0 };
    Loc  at;

    if (!read_name(r, &s.name, &at) || !read_punct(r, ":") || !read_kind(r, &s.kind) || !read_type(r, &s.type) ||
        !read_slot_rest(r, &s))
        return false;
    if (module_slot(r->m, s.name) >= 0)
        return read_error(r, at, "slot @%s stands above already", s.name);
    if (s.type.rank + slot_has_rows(s.kind) > MAX_RANK)
        return read_error(r, at, "with its batch axis @%s has more than %d axes", s.name, MAX_RANK);

    int number = module_add_slot(r->m, s.name, s.kind, s.type, s.loc);
    s.name = r->m->slot[number].name;
    r->m->slot[number] = s;
    return true;
}

/* the train block */

static bool read_precision(TextReader *r, Precision *p)
{
    Token word;

    if (!read_word(r, "f32, tf32 or bf16", &word))
        return false;
    for (int i = 0; i < NPRECISION; i++)
        if (!strcmp(word.text, precision_name[i])) {
            *p = (Precision)i;
            return true;
        }
    return read_error(r, word.loc, "there is no precision `%s`", word.text);
}

static bool read_train(TextReader *r)
{
    TrainInfo *t = &r->m->train;
    int64_t    seed;

    if (!read_punct(r, "epochs") || !read_int(r, "a number of epochs", 0, INT64_MAX, &t->epochs) ||
        !read_punct(r, "batch") || !read_int(r, "a batch", 0, INT32_MAX, &t->batch) || !read_punct(r, "seed") ||
        !read_int(r, "a seed", INT64_MIN, INT64_MAX, &seed))
        return false;
    if (lex_take(r->lx, "memory") && !read_int(r, "a number of bytes", 1, INT64_MAX, &t->require_bytes))
        return false;
    if (lex_take(r->lx, "precision") && !read_precision(r, &t->precision))
        return false;
    t->seed = (uint64_t)seed;
    t->present = true;
    return read_line_end(r);
}

static bool read_choice(TextReader *r, const char *const *word, int n, int *choice)
{
    for (*choice = 0; *choice < n - 1; ++*choice) {
        if (lex_take(r->lx, word[*choice]))
            return true;
    }
    return read_punct(r, word[n - 1]);
}

/* A metric's number among the slots of its kind. */
static bool read_metric(TextReader *r, int *number)
{
    Loc at = lex_peek(r->lx, 0).loc;
    int slot;

    if (!read_slot(r, &slot))
        return false;
    if (r->m->slot[slot].kind != SLOT_metric)
        return read_error(r, at, "@%s is no metric", r->m->slot[slot].name);
    *number = 0;
    for (int i = 0; i < slot; i++)
        *number += r->m->slot[i].kind == SLOT_metric;
    return true;
}

static bool read_expect(TextReader *r)
{
    static const char *const compare[] = { "<", "<=", "==", ">=", ">" };
    TrainInfo               *t = &r->m->train;
    Expect                   e = { 0 };

    if (!read_choice(r, split_name, NSPLIT, &e.split) || !read_metric(r, &e.metric) ||
        !read_choice(r, compare, 5, &e.compare) || !read_double(r, "a value", &e.value) ||
        !read_string(r, "the expectation as written", &e.text) || !read_place(r, &e.loc) || !read_line_end(r))
        return false;

    Expect *grown = arena_array(&r->m->mem, Expect, t->nexpect + 1);
    if (t->nexpect)
        memcpy(grown, t->expect, sizeof *grown * (size_t)t->nexpect);
    grown[t->nexpect++] = e;
    t->expect = grown;
    return true;
}

/* plans */

static bool read_plan(TextReader *r)
{
    Plan *p = plan_read(r->m, r->lx);

    if (!p) {
        /* reported; nobody knows where the plan would have ended */
        while (lex_peek(r->lx, 0).kind != TOK_END)
            lex_next(r->lx);
        return false;
    }
    arena_push(&r->m->mem, r->plan, r->nplan, r->cplan);
    r->plan[r->nplan++] = p;
    return true;
}

/* Puts each plan beside its graph. */
static void place_plans(TextReader *r)
{
    Module *m = r->m;

    if (!r->nplan)
        return;
    m->plan = arena_array(&m->mem, Plan *, m->ngraph);
    for (int i = 0; i < r->nplan; i++) {
        for (int j = 0; j < m->ngraph; j++) {
            if (m->graph[j]->entry == r->plan[i]->entry && m->graph[j]->batch == r->plan[i]->batch)
                m->plan[j] = r->plan[i];
        }
    }
}

/* the text */

static bool read_item(TextReader *r)
{
    static const struct { const char *word; bool (*read)(TextReader *); } item[] = {
        { "module", read_module_name }, { "float64", read_float64 }, { "file", read_file },
        { "slot", read_slot_line },     { "train", read_train },     { "expect", read_expect },
        { "graph", read_graph },        { "plan", read_plan },       { "label", read_label },
    };
    const int nitem = (int)(sizeof item / sizeof *item);
    Token     word;

    if (!read_word(r, "module, float64, file, slot, label, train, expect, graph or plan", &word))
        return false;
    for (int i = 0; i < nitem; i++) {
        if (!strcmp(word.text, item[i].word))
            return item[i].read(r);
    }
    return read_error(r, word.loc, "wants module, float64, file, slot, label, train, expect, graph or plan, found `%s`",
                      word.text);
}

static bool read_version(TextReader *r)
{
    int64_t version;

    text_at_end(r, NULL);
    return read_punct(r, "nnd") && read_punct(r, "-") && read_punct(r, "ir") &&
           read_int(r, "the form's version", 1, 1, &version) && read_line_end(r);
}

static void find_lines(TextReader *r, size_t len)
{
    size_t n = 1;

    for (size_t i = 0; i < len; i++)
        n += r->text[i] == '\n';
    r->line = arena_array(&r->m->mem, size_t, n);
    r->nline = 1;
    for (size_t i = 0; i < len; i++) {
        if (r->text[i] == '\n')
            r->line[r->nline++] = i + 1;
    }
}

/* From here on places mean the files that the text names, no longer the text itself. */
static void change_sources(TextReader *r)
{
    Diag *d = &r->m->diag;

    d->nsource = 0;
    for (int i = 0; i < r->nfile; i++)
        diag_source(d, r->file[i], "", 0);
}

Module *module_read(const char *name, const char *text, size_t len)
{
    Module    *m = module_new();
    int        source = diag_source(&m->diag, name, text, len);
    TextReader r = { .m = m, .lx = lex_new(&m->mem, &m->diag, source), .text = m->diag.source[source].text };

    find_lines(&r, len);
    if (!read_version(&r))
        return m;
    while (!text_at_end(&r, NULL)) {
        if (!read_item(&r))
            text_skip_line(&r);
    }
    if (m->diag.nerror)
        return m;
    place_plans(&r);
    change_sources(&r);
    return m;
}
