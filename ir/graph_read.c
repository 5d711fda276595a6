/* graph_read.c - one graph of a .ir text.
 *
 * Nodes are made through graph_make, so a text can't state what the type rules don't give: the type that
 * stands there is compared with the one that follows.  Numbers are names of this text alone; a node that
 * is there already is not made again, and both numbers mean it.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ir/text.h"

enum { MAX_ARGS = 3, MAX_ATTR = 2 + 5 * MAX_RANK };

typedef struct NodeText {
    Op      op;
    Loc     at, type_at;             /* in the .ir text */
    Ref     arg[MAX_ARGS];
    int64_t attr[MAX_ATTR];
    Attr    value;
    Type    type;
    int64_t kernel;
    Loc     loc;                     /* the place that the text gives */
} NodeText;

/* numbers and what they mean */

static NodeName *name_of(TextReader *r, int64_t number)
{
    if (number >= r->nname) {
        int       n = (int)number < 512 ? 1024 : (int)number * 2;
        NodeName *grown = arena_array(&r->m->mem, NodeName, n);

        if (r->nname)
            memcpy(grown, r->name, sizeof *grown * (size_t)r->nname);
        r->name = grown;
        r->nname = n;
    }
    return &r->name[number];
}

static void define(TextReader *r, int64_t number, int id) { *name_of(r, number) = (NodeName){ r->ngraph, id }; }

/* %3, of a node defined above.  After a mistake in that node's line its users fail silently. */
static bool read_ref(TextReader *r, Ref *ref)
{
    Loc     at = lex_peek(r->lx, 0).loc;
    int64_t number;

    if (!read_punct(r, "%") || !read_int(r, "a node's number", 1, NODE_LIMIT, &number))
        return false;

    const NodeName *n = name_of(r, number);
    if (n->graph != r->ngraph)
        return read_error(r, at, "%%%" PRId64 " is not defined above", number);
    ref->id = n->id;
    return n->id > 0;
}

/* attributes */

static bool read_list(TextReader *r, NodeText *t)
{
    if (!read_punct(r, "{"))
        return false;
    for (t->value.n = 0; !lex_is(r->lx, "}"); t->value.n++) {
        if (t->value.n == MAX_RANK)
            return read_error(r, t->at, "more than %d numbers", MAX_RANK);
        if ((t->value.n && !read_punct(r, ",")) || !read_int(r, "a number", 0, INT64_MAX, &t->attr[t->value.n]))
            return false;
    }
    return read_punct(r, "}");
}

/* {0 1 64, 27 -1 28}: groups of so many numbers */
static bool read_groups(TextReader *r, NodeText *t, int group)
{
    if (!read_punct(r, "{"))
        return false;
    for (t->value.n = 0; !lex_is(r->lx, "}") || t->value.n % group; t->value.n++) {
        bool next = t->value.n && t->value.n % group == 0;

        if (next && t->value.n == group * MAX_RANK)
            return read_error(r, t->at, "more than %d axes", MAX_RANK);
        if ((next && !read_punct(r, ",")) || !read_int(r, "a number", INT64_MIN, INT64_MAX, &t->attr[t->value.n]))
            return false;
    }
    return read_punct(r, "}");
}

static bool read_pad(TextReader *r, NodeText *t)
{
    double x;

    if (!read_groups(r, t, attr_group(ATTR_PAD)) || !read_double(r, "the value around", &x))
        return false;
    t->attr[t->value.n++] = attr_double(&r->m->mem, x).v[0];
    return true;
}

/* {causal} 0.125 */
static bool read_scores(TextReader *r, NodeText *t)
{
    double scale;
    bool   causal;

    if (!read_punct(r, "{"))
        return false;
    causal = lex_take(r->lx, "causal");
    if ((!causal && !read_punct(r, "all")) || !read_punct(r, "}") || !read_double(r, "the scale of scores", &scale))
        return false;
    t->value = attr_scores(&r->m->mem, causal, scale);
    return true;
}

/* k: v pairs into a[] and b[], until something else follows the comma */
static bool read_pairs(TextReader *r, int64_t *a, int64_t *b, int *n)
{
    for (*n = 0; lex_peek(r->lx, 0).kind == TOK_NUMBER; ++*n) {
        if (*n == MAX_RANK)
            return read_error(r, lex_peek(r->lx, 0).loc, "more than %d pairs", MAX_RANK);
        if (!read_int(r, "an axis", 0, MAX_RANK, &a[*n]) || !read_punct(r, ":") ||
            !read_int(r, "a number", 0, INT64_MAX, &b[*n]))
            return false;
        if (!lex_take(r->lx, ",")) {
            ++*n;
            return true;
        }
    }
    return true;
}

static bool read_expand(TextReader *r, NodeText *t)
{
    int64_t axis[MAX_RANK], size[MAX_RANK];
    int     n;

    if (!read_punct(r, "{") || !read_pairs(r, axis, size, &n) || !read_punct(r, "}"))
        return false;
    memcpy(t->attr, axis, sizeof *axis * (size_t)n);
    memcpy(t->attr + n, size, sizeof *size * (size_t)n);
    t->value.n = 2 * n;
    return true;
}

static bool read_dot(TextReader *r, NodeText *t)
{
    int64_t ab[MAX_RANK], bb[MAX_RANK], ac[MAX_RANK], bc[MAX_RANK];
    int     nb = 0, nc = 0;

    if (!read_punct(r, "{") || (lex_take(r->lx, "batch") && !read_pairs(r, ab, bb, &nb)) ||
        (lex_take(r->lx, "fold") && !read_pairs(r, ac, bc, &nc)) || !read_punct(r, "}"))
        return false;
    t->value = attr_dot_make(&r->m->mem, nb, ab, bb, nc, ac, bc);
    return true;
}

static bool read_dtype(TextReader *r, NodeText *t)
{
    Token word;
    Dtype d;

    if (!read_punct(r, "{") || !read_word(r, "a dtype", &word))
        return false;
    if (!dt_parse(word.text, &d))
        return read_error(r, word.loc, "wants f32, f64, i32, i64, u8 or bool, found `%s`", word.text);
    t->attr[0] = d;
    t->value.n = 1;
    return read_punct(r, "}");
}

static bool read_stream(TextReader *r, NodeText *t)
{
    t->value.n = 1;
    return read_punct(r, "{") && read_punct(r, "stream") && read_int(r, "a stream", 0, UINT32_MAX, &t->attr[0]) &&
           read_punct(r, "}");
}

static bool read_attr(TextReader *r, NodeText *t)
{
    double x;
    int    slot;

    t->value.v = t->attr;
    switch (op_info[t->op].attr) {
    case ATTR_NONE:   return true;
    case ATTR_AXES:
    case ATTR_SHAPE:
    case ATTR_PERM:
    case ATTR_AXIS:
    case ATTR_ROWS:
    case ATTR_LOOP:
    case ATTR_DEPTH:  return read_list(r, t);
    case ATTR_SLICE:
    case ATTR_WINDOW:
    case ATTR_OVERLAP:
    case ATTR_PATCH:
    case ATTR_TAPS:
    case ATTR_CONV:   return read_groups(r, t, attr_group(op_info[t->op].attr));
    case ATTR_PAD:    return read_pad(r, t);
    case ATTR_SCORES: return read_scores(r, t);
    case ATTR_EXPAND: return read_expand(r, t);
    case ATTR_DOT:    return read_dot(r, t);
    case ATTR_DTYPE:  return read_dtype(r, t);
    case ATTR_STREAM: return read_stream(r, t);
    case ATTR_SLOT:
        if (!read_slot(r, &slot))
            return false;
        t->attr[0] = slot;
        t->value.n = 1;
        return true;
    case ATTR_VALUE:
        if (!read_double(r, "a number", &x))
            return false;
        t->value = attr_double(&r->m->mem, x);
        return true;
    case NATTR:       break;
    }
    return false;
}

/* nodes */

static bool read_op(TextReader *r, NodeText *t)
{
    const char *name[NOP];
    Token       word;

    if (!read_word(r, "an operation", &word))
        return false;
    t->at = word.loc;
    if (op_parse(word.text, &t->op))
        return true;
    for (int i = 0; i < NOP; i++)
        name[i] = op_info[i].name;

    const char *near = diag_near(word.text, name, NOP);
    return read_error(r, word.loc, "there is no operation `%s`%s%s%s", word.text, near ? "; do you mean `" : "",
                      near ? near : "", near ? "`?" : "");
}

/* k2 */
static bool read_kernel(TextReader *r, int64_t *kernel)
{
    Token word;

    if (!lex_take(r->lx, "in"))
        return true;
    if (!read_word(r, "a kernel", &word))
        return false;

    char *end = "";
    *kernel = word.text[0] == 'k' ? strtol(word.text + 1, &end, 10) : 0;
    if (*kernel < 1 || *kernel > NODE_LIMIT || *end)
        return read_error(r, word.loc, "wants a kernel, k1 to k%d, found `%s`", NODE_LIMIT, word.text);
    return true;
}

static bool read_args(TextReader *r, NodeText *t)
{
    for (int i = 0; i < op_info[t->op].narg; i++) {
        if ((i && !read_punct(r, ",")) || !read_ref(r, &t->arg[i]))
            return false;
    }
    return true;
}

static bool read_node_text(TextReader *r, NodeText *t)
{
    if (!read_punct(r, "=") || !read_op(r, t) || !read_args(r, t) || !read_attr(r, t) || !read_punct(r, ":"))
        return false;
    t->type_at = lex_peek(r->lx, 0).loc;
    return read_type(r, &t->type) && read_kernel(r, &t->kernel) && read_place(r, &t->loc) && read_line_end(r);
}

static bool make_node(TextReader *r, Graph *g, const NodeText *t, Ref *made)
{
    const char *error;
    int         known = g->nnode;

    *made = graph_make(g, t->op, t->loc, op_info[t->op].narg, t->arg, t->value, &t->type, &error);
    if (!made->id)
        return read_error(r, t->at, "%s", error);

    Node *nd = &g->node[made->id];
    if (!ty_equal(&nd->type, &t->type))
        return read_error(r, t->type_at, "%s gives %s, not %s", op_info[t->op].name, ty_str(&r->m->mem, &nd->type),
                          ty_str(&r->m->mem, &t->type));
    if (made->id == known)
        nd->kernel = (int)t->kernel;
    if (g->nkernel < nd->kernel)
        g->nkernel = nd->kernel;
    return true;
}

static bool read_node(TextReader *r, Graph *g)
{
    NodeText t = { .op = NOP };
    Loc      at = lex_peek(r->lx, 0).loc;
    int64_t  number;
    Ref      made;

    if (!read_punct(r, "%") || !read_int(r, "a node's number", 1, NODE_LIMIT, &number))
        return false;
    if (name_of(r, number)->graph == r->ngraph)
        return read_error(r, at, "%%%" PRId64 " is defined twice", number);
    define(r, number, -1);
    if (!read_node_text(r, &t) || !make_node(r, g, &t, &made))
        return false;
    define(r, number, made.id);
    return true;
}

/* what flows out */

static bool read_write(TextReader *r, Graph *g)
{
    int slot;
    Ref value;
    Loc loc;

    if (!read_slot(r, &slot) || !read_punct(r, ",") || !read_ref(r, &value) || !read_place(r, &loc) ||
        !read_line_end(r))
        return false;
    graph_write(g, loc, slot, value);
    return true;
}

static bool read_minimize(TextReader *r, Graph *g)
{
    Arena *mem = &r->m->mem;
    int   *param = NULL, *grad = NULL, n = 0, cparam = 0, cgrad = 0;
    Ref    loss;
    Loc    loc;

    if (!read_ref(r, &loss))
        return false;
    for (bool more = lex_take(r->lx, "over"); more; more = lex_take(r->lx, ","), n++) {
        arena_push(mem, param, n, cparam);
        arena_push(mem, grad, n, cgrad);
        if (!read_slot(r, &param[n]) || !read_punct(r, "->") || !read_slot(r, &grad[n]))
            return false;
    }
    if (!read_place(r, &loc) || !read_line_end(r))
        return false;
    graph_minimize(g, loc, loss, n, param, grad);
    return true;
}

static bool read_line(TextReader *r, Graph *g)
{
    if (lex_take(r->lx, "write"))
        return read_write(r, g);
    if (lex_take(r->lx, "minimize"))
        return read_minimize(r, g);
    return read_node(r, g);
}

static bool read_entry(TextReader *r, EntryKind *entry, int64_t *batch)
{
    Token word;

    *batch = 0;
    if (!read_word(r, "init, train, eval, infer or update", &word))
        return false;
    for (int i = 0; i < NENTRY; i++) {
        if (strcmp(word.text, entry_name[i]))
            continue;
        *entry = (EntryKind)i;
        if (lex_peek(r->lx, 0).kind == TOK_NUMBER && !read_int(r, "a batch", 1, INT32_MAX, batch))
            return false;
        if (!module_graph(r->m, *entry, *batch))
            return read_punct(r, "{");
        return read_error(r, word.loc, "graph %s %d stands above already", word.text, (int)*batch);
    }
    return read_error(r, word.loc, "wants init, train, eval, infer or update, found `%s`", word.text);
}

/* After a mistake in a graph's first line: its other lines say nothing to whoever reads the module. */
static bool skip_graph(TextReader *r)
{
    text_skip_line(r);
    while (!text_at_end(r, "}") && (lex_is(r->lx, "%") || lex_is(r->lx, "write") || lex_is(r->lx, "minimize")))
        text_skip_line(r);
    lex_take(r->lx, "}");
    return false;
}

bool read_graph(TextReader *r)
{
    EntryKind entry = ENTRY_INIT;
    int64_t   batch;

    if (!read_entry(r, &entry, &batch))
        return skip_graph(r);

    Graph *g = graph_new(r->m, entry, batch);
    r->ngraph++;
    while (!text_at_end(r, "}")) {
        if (!read_line(r, g))
            text_skip_line(r);
    }
    if (!read_punct(r, "}"))
        return false;
    module_add_graph(r->m, g);
    return read_line_end(r);
}
