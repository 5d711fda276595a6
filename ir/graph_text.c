/* graph_text.c - modules and graphs as text: what ir/module_read.c reads back, node by node.
 *
 * Nodes stand in order of their ids, so a text is as stable as the graph it shows.  A write stands as
 * early as its value and the order of writes allow: next to what it writes.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "ir/kernel.h"
#include "ir/text.h"

void text_double(FILE *f, double x)
{
    char s[40];

    if (isnan(x)) {
        fputs("nan", f);
        return;
    }
    if (x == floor(x) && fabs(x) < 1e15) {
        fprintf(f, "%.0f", x);      /* 10, not 1e+01 */
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, x);
        if (strtod(s, NULL) == x)
            break;
    }
    fputs(s, f);
}

void text_string(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        if (*s == '\n') {
            fputs("\\n", f);
        } else if (*s == '\t') {
            fputs("\\t", f);
        } else {
            if (*s == '"' || *s == '\\')
                fputc('\\', f);
            fputc(*s, f);
        }
    }
    fputc('"', f);
}

void text_type(FILE *f, const Type *t)
{
    fputs(dt_name(t->dtype), f);
    for (int i = 0; i < t->rank; i++)
        fprintf(f, "%s%" PRId64, i ? ", " : "[", t->dim[i]);
    if (t->rank)
        fputc(']', f);
}

void text_place(FILE *f, Loc loc)
{
    if (loc.line)
        fprintf(f, " !%u:%u:%u+%u", loc.file, loc.line, loc.col, loc.len);
}

/* nodes */

static void print_list(FILE *f, int n, const int64_t *v)
{
    fputs(" {", f);
    for (int i = 0; i < n; i++)
        fprintf(f, "%s%" PRId64, i ? ", " : "", v[i]);
    fputc('}', f);
}

static void print_expand(FILE *f, const Attr *a)
{
    int n = a->n / 2;

    fputs(" {", f);
    for (int i = 0; i < n; i++)
        fprintf(f, "%s%" PRId64 ": %" PRId64, i ? ", " : "", a->v[i], a->v[n + i]);
    fputc('}', f);
}

static void print_pairs(FILE *f, const char *word, int n, const int64_t *a, const int64_t *b)
{
    for (int i = 0; i < n; i++)
        fprintf(f, "%s%" PRId64 ":%" PRId64, i ? ", " : word, a[i], b[i]);
}

static void print_dot(FILE *f, const Attr *a)
{
    DotAxes x = attr_dot(a);

    fputs(" {", f);
    print_pairs(f, "batch ", x.nb, x.ab, x.bb);
    if (x.nb && x.nc)
        fputs(", ", f);
    print_pairs(f, "fold ", x.nc, x.ac, x.bc);
    fputc('}', f);
}

/* {0 1 64, 27 -1 28} */
static void print_groups(FILE *f, int n, const int64_t *v, int group)
{
    fputs(" {", f);
    for (int i = 0; i < n; i++)
        fprintf(f, "%s%" PRId64, !i ? "" : i % group ? " " : ", ", v[i]);
    fputc('}', f);
}

static void print_attr(FILE *f, const Module *m, AttrKind kind, const Attr *a)
{
    switch (kind) {
    case ATTR_NONE:   return;
    case ATTR_AXES:
    case ATTR_SHAPE:
    case ATTR_PERM:
    case ATTR_AXIS:
    case ATTR_ROWS:
    case ATTR_LOOP:
    case ATTR_DEPTH:  print_list(f, a->n, a->v); return;
    case ATTR_SLICE:
    case ATTR_WINDOW:
    case ATTR_OVERLAP:
    case ATTR_PATCH:
    case ATTR_TAPS:
    case ATTR_CONV:   print_groups(f, a->n, a->v, attr_group(kind)); return;
    case ATTR_PAD:
        print_groups(f, a->n - 1, a->v, attr_group(kind));
        fputc(' ', f);
        text_double(f, attr_pad_value(a));
        return;
    case ATTR_SCORES:
        fputs(attr_causal(a) ? " {causal} " : " {all} ", f);
        text_double(f, attr_scale(a));
        return;
    case ATTR_EXPAND: print_expand(f, a); return;
    case ATTR_DOT:    print_dot(f, a); return;
    case ATTR_DTYPE:  fprintf(f, " {%s}", dt_name((Dtype)a->v[0])); return;
    case ATTR_SLOT:   fprintf(f, " @%s", m->slot[a->v[0]].name); return;
    case ATTR_VALUE:  fputc(' ', f); text_double(f, attr_value(a)); return;
    case ATTR_STREAM: fprintf(f, " {stream %" PRId64 "}", a->v[0]); return;
    case NATTR:       return;
    }
}

static void print_node(FILE *f, const Module *m, int id, const Node *nd)
{
    fprintf(f, "  %%%d = %s", id, op_info[nd->op].name);
    for (int i = 0; i < nd->narg; i++)
        fprintf(f, "%s%%%d", i ? ", " : " ", nd->arg[i].id);
    print_attr(f, m, op_info[nd->op].attr, &nd->attr);
    fputs(" : ", f);
    text_type(f, &nd->type);
    if (nd->kernel)
        fprintf(f, " in k%d", nd->kernel);
    text_place(f, nd->loc);
    if (m->explain && nd->why)
        fprintf(f, "    # %s", nd->why);
    fputc('\n', f);
}

static void print_minimize(FILE *f, const Module *m, const Minimize *min)
{
    fprintf(f, "  minimize %%%d", min->loss.id);
    for (int i = 0; i < min->n; i++)
        fprintf(f, "%s@%s -> @%s", i ? ", " : " over ", m->slot[min->param[i]].name, m->slot[min->grad[i]].name);
    text_place(f, min->loc);
    fputc('\n', f);
}

static void print_write(FILE *f, const Module *m, const Write *w)
{
    fprintf(f, "  write @%s, %%%d", m->slot[w->slot].name, w->value.id);
    text_place(f, w->loc);
    fputc('\n', f);
}

void graph_print(FILE *f, const Graph *g)
{
    int nmin = 0, nwrite = 0;

    fprintf(f, "graph %s", entry_name[g->entry]);
    if (g->batch)
        fprintf(f, " %" PRId64, g->batch);
    fputs(" {\n", f);
    for (int id = 1; id < g->nnode; id++) {
        print_node(f, g->m, id, &g->node[id]);
        while (nmin < g->nmin && g->min[nmin].loss.id <= id)
            print_minimize(f, g->m, &g->min[nmin++]);
        while (nwrite < g->nwrite && g->write[nwrite].value.id <= id)
            print_write(f, g->m, &g->write[nwrite++]);
    }
    fputs("}\n", f);
}

/* the module around them */

/* "train-images" of an IDX file, else csv("iris.csv" "petal" stride 0 number 0 from 0 to 1) */
static void print_source(FILE *f, const FieldSource *s)
{
    if (s->format == SOURCE_IDX) {
        text_string(f, s->file);
        return;
    }
    fputs(source_name[s->format], f);
    if (s->format == SOURCE_NONE)
        return;
    fputc('(', f);
    text_string(f, s->file);
    for (int i = 0; i < s->npart; i++) {
        fputc(' ', f);
        text_string(f, s->part[i]);
    }
    fprintf(f, " stride %" PRId64 " number %" PRId64 " from ", s->stride, s->number);
    text_double(f, s->from);
    fputs(" to ", f);
    text_double(f, s->to);
    fputc(')', f);
}

static void print_sources(FILE *f, const Slot *s)
{
    int n = NSPLIT;

    while (n && s->source[n - 1].format == SOURCE_NONE)
        n--;
    for (int i = 0; i < n; i++) {
        fputc(' ', f);
        print_source(f, &s->source[i]);
    }
}

static void print_slot(FILE *f, const Slot *s)
{
    fprintf(f, "slot @%s : %s ", s->name, slot_kind_name[s->kind]);
    text_type(f, &s->type);
    if (s->bound)
        fprintf(f, " < %" PRId64, s->bound);
    if (s->kind == SLOT_scalar) {
        fputs(" = ", f);
        text_double(f, s->value);
    }
    print_sources(f, s);
    text_place(f, s->loc);
    fputc('\n', f);
}

static const char *metric_name(const Module *m, int number)
{
    for (int i = 0; i < m->nslot; i++) {
        if (m->slot[i].kind == SLOT_metric && number-- == 0)
            return m->slot[i].name;
    }
    return "";
}

static void print_train(FILE *f, const Module *m)
{
    static const char *const compare[] = { "<", "<=", "==", ">=", ">" };   /* in the order of NndCompare */
    const TrainInfo         *t = &m->train;

    /* a seed is 64 bits, a number of the text a signed integer */
    fprintf(f, "train epochs %" PRId64 " batch %" PRId64 " seed %" PRId64, t->epochs, t->batch, (int64_t)t->seed);
    if (t->require_bytes)
        fprintf(f, " memory %" PRId64, t->require_bytes);
    if (t->precision)
        fprintf(f, " precision %s", precision_name[t->precision]);
    fputc('\n', f);
    for (int i = 0; i < t->nexpect; i++) {
        const Expect *e = &t->expect[i];

        fprintf(f, "expect %s @%s %s ", split_name[e->split], metric_name(m, e->metric), compare[e->compare]);
        text_double(f, e->value);
        fputc(' ', f);
        text_string(f, e->text ? e->text : "");
        text_place(f, e->loc);
        fputc('\n', f);
    }
}

static void print_head(FILE *f, const Module *m)
{
    fputs("nnd-ir 1\n", f);
    if (m->name && *m->name)
        fprintf(f, "module %s\n", m->name);
    if (m->float64)
        fputs("float64\n", f);
    for (int i = 0; i < m->diag.nsource; i++) {
        fprintf(f, "file %d ", i);
        text_string(f, m->diag.source[i].name);
        fputc('\n', f);
    }
    for (int i = 0; i < m->nslot; i++)
        print_slot(f, &m->slot[i]);
    for (int i = 0; i < m->nlabel; i++) {
        fputs("label ", f);
        text_string(f, m->label[i]);
        fputc('\n', f);
    }
    if (m->train.present)
        print_train(f, m);
}

void module_print(FILE *f, const Module *m)
{
    print_head(f, m);
    for (int i = 0; i < m->ngraph; i++) {
        fputc('\n', f);
        graph_print(f, m->graph[i]);
    }
    if (m->update) {
        fputc('\n', f);
        graph_print(f, m->update);
    }
    for (int i = 0; m->plan && i < m->ngraph; i++) {
        if (!m->plan[i])
            continue;
        fputc('\n', f);
        plan_print(f, m->plan[i]);
    }
}
