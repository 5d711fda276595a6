/* build_settings.c - the settings of a train block, for the image. */
#include "frontend/build.h"

#include <string.h>

const Ast *find_setting(const Decl *t, const char *name)
{
    for (const Ast *a = t->body; a; a = a->next)
        if (a->kind == AST_SETTING && !strcmp(a->name, name))
            return a;
    return NULL;
}

static const char *const setting_name[] = { "optimizer", "batch", "epochs", "seed", "expect", "require", "precision" };
enum { NSETTING = sizeof setting_name / sizeof *setting_name };

bool is_train_setting(const char *name)
{
    for (int i = 0; i < NSETTING; i++)
        if (!strcmp(setting_name[i], name))
            return true;
    return false;
}

static bool whole_setting(Build *b, const Ast *a, int64_t least, int64_t *out)
{
    if (a->value->narg != 1) {
        build_error(b, a->value->loc, "%s wants one whole number, got %d values", a->name, a->value->narg);
        return false;
    }
    if (!build_int(b, a->value->arg[0], a->name, out))
        return false;
    if (*out < least) {
        build_error(b, a->value->loc, "%s is at least %lld, got %lld", a->name, (long long)least, (long long)*out);
        return false;
    }
    return true;
}

static int metric_number(Build *b, const char *name)
{
    int n = 0;

    for (int i = 0; i < b->m->nslot; i++) {
        if (b->m->slot[i].kind != SLOT_metric)
            continue;
        if (!strcmp(b->m->slot[i].name, name))
            return n;
        n++;
    }
    return -1;
}

static const char *near_metric(Build *b, const char *name)
{
    const char **list = arena_array(&b->md->mem, const char *, b->m->nslot + 1);
    int n = 0;

    for (int i = 0; i < b->m->nslot; i++)
        if (b->m->slot[i].kind == SLOT_metric)
            list[n++] = b->m->slot[i].name;
    return diag_near(name, list, n);
}

static const char *source_text(Build *b, Loc at)
{
    const Source *s = &b->md->diag.source[at.file];
    const char *line = s->text, *end = s->text + s->len;

    for (uint32_t i = 1; i < at.line; i++)      /* a comment may hold any byte, zero too */
        line = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
    return arena_strndup(&b->m->mem, line + at.col - 1, at.len);
}

static void add_expect(Build *b, Expect x)
{
    TrainInfo *t = &b->m->train;
    Expect *more = arena_array(&b->m->mem, Expect, t->nexpect + 1);

    if (t->nexpect)
        memcpy(more, t->expect, (size_t)t->nexpect * sizeof *more);
    more[t->nexpect++] = x;
    t->expect = more;
}

/* A source with a mistake is one. */
static bool has_rows(const Model *md, int split)
{
    const Decl *data = find_decl(md, train_decl(md)->data);

    return !data || find_setting(data, split_name[split]);
}

/* test.accuracy >= 0.78 */
static bool build_expect(Build *b, const Expr *e)
{
    static const char *const ops[] = { "lt", "le", "eq", "ge", "gt" };
    Expect x = { .compare = -1, .loc = e->loc };
    const char *dot = e->kind == EXPR_BINARY && e->arg[0]->kind == EXPR_NAME ? strchr(e->arg[0]->name, '.') : NULL;
    Value v;

    for (int i = 0; dot && i < 5; i++)
        if (!strcmp(e->name, ops[i]))
            x.compare = i;
    x.split = NSPLIT;
    for (int i = 0; x.compare >= 0 && i < NSPLIT; i++)
        if ((size_t)(dot - e->arg[0]->name) == strlen(split_name[i])
            && !memcmp(e->arg[0]->name, split_name[i], strlen(split_name[i])))
            x.split = i;
    if (x.split == NSPLIT) {
        build_error(b, e->loc, "expect wants a comparison such as test.accuracy >= 0.9");
        return false;
    }
    if ((x.metric = metric_number(b, dot + 1)) < 0) {
        const char *near = near_metric(b, dot + 1);

        build_error(b, e->arg[0]->loc, near ? "no metric is called `%s`; did you mean `%s`?" : "no metric is called `%s`",
                    dot + 1, near);
        return false;
    }
    if (!has_rows(b->md, x.split)) {
        build_error(b, e->arg[0]->loc, "expect: the data block has no `%s`", split_name[x.split]);
        return false;
    }
    v = build_value(b, e->arg[1]);
    if (v.kind != VAL_NUMBER) {
        if (v.kind)
            build_error(b, e->arg[1]->loc, "expect wants a number on the right");
        return false;
    }
    x.value = v.number;
    x.text = source_text(b, e->loc);
    add_expect(b, x);
    return true;
}

/* require: memory <= 64MiB */
static bool build_require(Build *b, const Ast *a)
{
    const Expr *e = a->value->narg == 1 ? a->value->arg[0] : NULL;
    int64_t bytes;

    if (!e || e->kind != EXPR_BINARY || strcmp(e->name, "le") || e->arg[0]->kind != EXPR_NAME || strcmp(e->arg[0]->name, "memory")) {
        build_error(b, a->value->loc, "require wants a bound such as memory <= 64MiB");
        return false;
    }
    if (!build_int(b, e->arg[1], "require: memory", &bytes))
        return false;
    if (bytes < 1) {
        build_error(b, e->arg[1]->loc, "require: memory is at least 1 byte, got %lld", (long long)bytes);
        return false;
    }
    b->m->train.require_bytes = bytes;
    return true;
}

const Decl *gradient_function(const Model *md, const char *name)
{
    const Decl *d = find_decl(md, name);

    return d && d->kind == DECL_GRADIENTS ? d : NULL;
}

static bool unknown_train_setting(Build *b, const Ast *a)
{
    const char **name = NULL, *near;
    int n = 0, cap = 0;

    for (int i = 0; i < NSETTING; i++) {
        arena_push(&b->md->mem, name, n, cap);
        name[n++] = setting_name[i];
    }
    for (const Decl *d = b->md->decl; d; d = d->next)
        if (d->kind == DECL_GRADIENTS) {
            arena_push(&b->md->mem, name, n, cap);
            name[n++] = d->name;
        }
    near = diag_near(a->name, name, n);
    build_error(b, a->loc, near ? "unknown setting `%s` of a train block; did you mean `%s`?"
                                : "unknown setting `%s` of a train block: optimizer, batch, epochs, seed, expect, require, precision "
                                  "and the functions of gradients are known", a->name, near);
    return false;
}

/* Patterns stand behind optimizers, and each of them is of some parameter. */
static bool check_patterns(Build *b, const Ast *a)
{
    bool ok = true;

    for (int i = 0; i < a->limit->narg; i++) {
        const Expr *on = a->limit->arg[i];

        if (on->narg && strcmp(a->name, "optimizer")) {
            build_error(b, on->arg[0]->loc, "`on` stands behind an optimizer, `%s` is for all parameters", a->name);
            return false;
        }
        ok &= build_check_names(b, on);
    }
    return ok;
}

static bool build_precision(Build *b, const Ast *a)
{
    const Expr *e = a->value->narg == 1 ? a->value->arg[0] : NULL;

    for (int i = 0; e && e->kind == EXPR_NAME && i < NPRECISION; i++)
        if (!strcmp(e->name, precision_name[i])) {
            b->m->train.precision = (Precision)i;
            return true;
        }
    build_error(b, a->value->loc, "precision is one of f32, tf32, bf16");
    return false;
}

static bool build_setting(Build *b, const Ast *a)
{
    TrainInfo *t = &b->m->train;
    Optimizer *list;
    int64_t x;
    int n;

    if (!strcmp(a->name, "optimizer"))      /* is checked where it is used, or here if a mistake keeps it from that */
        return b->m->update || b->m != b->md->checked || build_optimizers(b, train_decl(b->md), NULL, &list, &n);
    if (!strcmp(a->name, "batch"))
        return whole_setting(b, a, 1, &t->batch);
    if (!strcmp(a->name, "epochs"))
        return whole_setting(b, a, 1, &t->epochs);
    if (!strcmp(a->name, "seed")) {
        if (!whole_setting(b, a, 0, &x))
            return false;
        t->seed = (uint64_t)x;
        return true;
    }
    if (!strcmp(a->name, "expect")) {
        bool ok = true;

        for (int i = 0; i < a->value->narg; i++)
            ok &= build_expect(b, a->value->arg[i]);
        return ok;
    }
    if (!strcmp(a->name, "require"))
        return build_require(b, a);
    if (!strcmp(a->name, "precision"))
        return build_precision(b, a);
    return gradient_function(b->md, a->name) || unknown_train_setting(b, a);
}

/* Settings are read once a module, after all figures are known. */
bool build_settings(Build *b, const Decl *t)
{
    bool ok = true;

    if (b->m->train.present)
        return true;
    b->m->train = (TrainInfo){ .present = true, .epochs = 1, .batch = 64 };
    for (const Ast *a = t->body; a; a = a->next) {
        if (a->kind != AST_SETTING)
            continue;
        ok &= build_setting(b, a) && check_patterns(b, a);
        for (const Ast *c = a->next; c; c = c->next)
            if (c->kind == AST_SETTING && !strcmp(a->name, c->name) && strcmp(a->name, "expect")) {
                build_error(b, c->loc, "`%s` is set twice", c->name);
                build_note(b, a->loc, "first here");
                ok = false;
            }
    }
    return ok;
}
