/* reduce.c - shrink a module for as long as something still goes wrong with it.
 *
 * A step is an Edit: one thing done to a copy.  Every copy leaves behind what nothing reaches any more, so one
 * edit may take half a graph away; from the last node to the first the large ones come early.  An edit that
 * makes arguments not fit, or a graph that doesn't verify, is no candidate.  What is kept weighs less than what
 * was there, so the search ends.
 */
#include "passes/reduce.h"

#include <string.h>

typedef enum EditKind {
    EDIT_NONE,
    EDIT_GRAPH,        /* without graph number graph */
    EDIT_TRAIN,        /* without the train block and the labels */
    EDIT_LOSS,         /* without minimize number at */
    EDIT_WRITE,        /* without write number at */
    EDIT_ARG,          /* node at becomes its argument number arg */
    EDIT_CONST,        /* node at becomes a constant */
    EDIT_READ,         /* node at becomes a parameter that nothing else uses */
    EDIT_SIZE          /* size becomes less, in every type and attribute */
} EditKind;

typedef struct Edit { EditKind kind; int graph, at, arg; int64_t size, less; } Edit;

typedef struct Copy {
    const Module *from;
    Module       *to;
    Edit          edit;
    bool         *used;        /* slots of from */
    int          *slot;        /* of each, its number in to */
} Copy;

/* Graph number ngraph is the update. */
static Graph *nth_graph(const Module *m, int i) { return i < m->ngraph ? m->graph[i] : m->update; }

static bool here(const Copy *c, int graph, EditKind kind, int at)
{
    return c->edit.kind == kind && c->edit.graph == graph && c->edit.at == at;
}

static bool is_replaced(const Copy *c, int graph, int id)
{
    return here(c, graph, EDIT_ARG, id) || here(c, graph, EDIT_CONST, id) || here(c, graph, EDIT_READ, id);
}

/* ---- what stays ---- */

static void want_down(const Copy *c, int graph, const Graph *g, bool *want)
{
    for (int id = g->nnode - 1; id > 0; id--) {
        const Node *nd = &g->node[id];
        bool        cut = is_replaced(c, graph, id);

        if (!want[id])
            continue;
        for (int i = 0; i < nd->narg; i++)
            want[nd->arg[i].id] |= !cut || (c->edit.kind == EDIT_ARG && c->edit.arg == i);
        if (nd->op == OP_read && !cut)
            c->used[nd->attr.v[0]] = true;
    }
}

/* What the graph's remaining writes and losses reach, and the slots that these take. */
static bool *want_nodes(const Copy *c, int graph, const Graph *g)
{
    bool *want = arena_array(&c->to->mem, bool, g->nnode);

    for (int i = 0; i < g->nwrite; i++) {
        if (here(c, graph, EDIT_WRITE, i))
            continue;
        want[g->write[i].value.id] = true;
        c->used[g->write[i].slot] = true;
    }
    for (int i = 0; i < g->nmin; i++) {
        const Minimize *min = &g->min[i];

        if (here(c, graph, EDIT_LOSS, i))
            continue;
        want[min->loss.id] = true;
        for (int j = 0; j < min->n; j++)
            c->used[min->param[j]] = c->used[min->grad[j]] = true;
    }
    want_down(c, graph, g, want);
    return want;
}

/* ---- copying ---- */

static int64_t new_size(const Copy *c, int64_t n)
{
    return c->edit.kind == EDIT_SIZE && n == c->edit.size ? c->edit.less : n;
}

static Type new_type(const Copy *c, Type t)
{
    for (int i = 0; i < t.rank; i++)
        t.dim[i] = new_size(c, t.dim[i]);
    return t;
}

static Attr new_attr(const Copy *c, const Node *nd)
{
    AttrKind kind = op_info[nd->op].attr;
    Attr     a = attr_make(&c->to->mem, nd->attr.n, nd->attr.v);
    int64_t *v = arena_array(&c->to->mem, int64_t, a.n + 1);

    memcpy(v, a.v, (size_t)a.n * sizeof *v);
    for (int i = 0; i < a.n; i++)
        v[i] = attr_is_size(kind, a.n, i) ? new_size(c, v[i]) : v[i];
    if (kind == ATTR_SLOT)
        v[0] = c->slot[v[0]];
    return (Attr){ a.n, v };
}

static void copy_slots(Copy *c)
{
    for (int i = 0; i < c->from->nslot; i++) {
        const Slot *s = &c->from->slot[i];
        Slot       *to;

        if (!c->used[i])
            continue;
        c->slot[i] = module_add_slot(c->to, s->name, s->kind, new_type(c, s->type), (Loc){ 0 });
        to = &c->to->slot[c->slot[i]];
        to->bound = s->bound;
        to->value = s->value;
        for (int j = 0; j < NSPLIT; j++)
            to->source[j] = source_copy(&c->to->mem, &s->source[j]);
    }
}

static void copy_train(Copy *c)
{
    const Module *from = c->from;
    Module       *to = c->to;

    to->train = from->train;
    to->train.expect = arena_array(&to->mem, Expect, from->train.nexpect + 1);
    for (int i = 0; i < from->train.nexpect; i++) {
        to->train.expect[i] = from->train.expect[i];
        to->train.expect[i].text = arena_strdup(&to->mem, from->train.expect[i].text);
        to->train.expect[i].loc = (Loc){ 0 };
    }
    for (int i = 0; i < from->nlabel; i++) {
        arena_push(&to->mem, to->label, to->nlabel, to->clabel);
        to->label[to->nlabel++] = arena_strdup(&to->mem, from->label[i]);
    }
}

static Ref fresh_read(Copy *c, Graph *g, Type t)
{
    char *name = NULL;

    for (int i = 1; !name || module_slot(c->to, name) >= 0; i++)
        name = arena_printf(&c->to->mem, "r%d", i);
    return graph_read(g, (Loc){ 0 }, module_add_slot(c->to, name, SLOT_param, t, (Loc){ 0 }));
}

/* id 0: the arguments no longer fit. */
static Ref copy_node(Copy *c, int graph, Graph *to, const Node *nd, int id, const Ref *map)
{
    const char *error;
    Ref         arg[3];
    Type        type = new_type(c, nd->type);

    if (here(c, graph, EDIT_ARG, id))
        return map[nd->arg[c->edit.arg].id];
    if (here(c, graph, EDIT_CONST, id))
        return graph_const(to, (Loc){ 0 }, type, 1);
    if (here(c, graph, EDIT_READ, id))
        return fresh_read(c, to, type);
    for (int i = 0; i < nd->narg; i++)
        arg[i] = map[nd->arg[i].id];
    return graph_make(to, nd->op, (Loc){ 0 }, nd->narg, arg, new_attr(c, nd), &type, &error);
}

static void copy_minimize(Copy *c, Graph *to, const Minimize *min, const Ref *map)
{
    int *param = arena_array(&c->to->mem, int, min->n + 1), *grad = arena_array(&c->to->mem, int, min->n + 1);

    for (int i = 0; i < min->n; i++) {
        param[i] = c->slot[min->param[i]];
        grad[i] = c->slot[min->grad[i]];
    }
    graph_minimize(to, (Loc){ 0 }, map[min->loss.id], min->n, param, grad);
}

static bool copy_graph(Copy *c, int graph, const Graph *g, const bool *want)
{
    Graph *to = graph_new(c->to, g->entry, new_size(c, g->batch));
    Ref   *map = arena_array(&c->to->mem, Ref, g->nnode);

    for (int id = 1; id < g->nnode; id++)
        if (want[id] && !(map[id] = copy_node(c, graph, to, &g->node[id], id, map)).id)
            return false;
    for (int i = 0; i < g->nwrite; i++)
        if (!here(c, graph, EDIT_WRITE, i))
            graph_write(to, (Loc){ 0 }, c->slot[g->write[i].slot], map[g->write[i].value.id]);
    for (int i = 0; i < g->nmin; i++)
        if (!here(c, graph, EDIT_LOSS, i))
            copy_minimize(c, to, &g->min[i], map);
    if (g->entry != ENTRY_UPDATE && module_graph(c->to, to->entry, to->batch))
        return false;                          /* two batches have become one */
    module_add_graph(c->to, to);
    return !graph_verify(to);
}

/* The module after an edit, or NULL if that is none. */
static Module *edit_module(const Module *from, const Edit *e)
{
    Copy   c = { .from = from, .to = module_new(), .edit = *e };
    int    n = from->ngraph + (from->update != NULL);
    bool **want = arena_array(&c.to->mem, bool *, n + 1), ok = true;

    c.used = arena_array(&c.to->mem, bool, from->nslot + 1);
    c.slot = arena_array(&c.to->mem, int, from->nslot + 1);
    c.to->name = arena_strdup(&c.to->mem, from->name);
    c.to->float64 = from->float64;
    for (int i = 0; i < n; i++)
        if (!here(&c, i, EDIT_GRAPH, 0))
            want[i] = want_nodes(&c, i, nth_graph(from, i));
    /* expectations name metrics by number */
    for (int i = 0; i < from->nslot && e->kind != EDIT_TRAIN; i++)
        c.used[i] |= from->train.nexpect && from->slot[i].kind == SLOT_metric;
    copy_slots(&c);
    if (e->kind != EDIT_TRAIN)
        copy_train(&c);
    for (int i = 0; i < n && ok; i++)
        ok = !want[i] || copy_graph(&c, i, nth_graph(from, i), want[i]);
    if (ok)
        return c.to;
    module_free(c.to);
    return NULL;
}

Module *reduce_copy(const Module *m) { return edit_module(m, &(Edit){ .kind = EDIT_NONE }); }

/* ---- searching ---- */

typedef struct Search {
    Module      *best;
    ReduceFails *fails;
    void        *ctx;
    int          most;
    Reduction    r;
} Search;

/* An operation costs more than what may replace it; of equals the one with fewer elements is the smaller. */
static double weight(const Module *m)
{
    double w = 2 * m->nslot + m->train.present + m->nlabel, nelem = 0;

    for (int i = 0; i < m->ngraph + (m->update != NULL); i++) {
        const Graph *g = nth_graph(m, i);

        w += 4 + 2 * g->nwrite + 2 * g->nmin;
        nelem += (double)g->batch;
        for (int id = 1; id < g->nnode; id++) {
            w += g->node[id].op == OP_const ? 1 : g->node[id].op == OP_read ? 3 : 8;
            nelem += (double)ty_count(&g->node[id].type);
        }
    }
    return w + nelem / (nelem + 1);
}

static bool still_fails(Search *s, const Module *m)
{
    Module *own = reduce_copy(m);
    bool    failed = s->fails(own, s->ctx);

    module_free(own);
    return failed;
}

static bool may_go_on(const Search *s) { return !s->most || s->r.tried < s->most; }

static bool try_edit(Search *s, Edit e)
{
    Module *m = may_go_on(s) ? edit_module(s->best, &e) : NULL;

    if (!m)
        return false;
    if (weight(m) < weight(s->best)) {
        s->r.tried++;
        if (still_fails(s, m)) {
            s->r.kept++;
            module_free(s->best);
            s->best = m;
            return true;
        }
    }
    module_free(m);
    return false;
}

static int graph_count(const Search *s) { return s->best->ngraph + (s->best->update != NULL); }

/* Each from the last to the first: what stood before keeps its number. */
static bool try_ends(Search *s)
{
    bool better = s->best->train.present || s->best->nlabel ? try_edit(s, (Edit){ .kind = EDIT_TRAIN }) : false;

    for (int i = graph_count(s) - 1; i >= 0 && graph_count(s) > 1; i--)
        better |= try_edit(s, (Edit){ .kind = EDIT_GRAPH, .graph = i });
    for (int i = 0; i < graph_count(s); i++) {
        for (int j = nth_graph(s->best, i)->nmin - 1; j >= 0; j--)
            better |= try_edit(s, (Edit){ .kind = EDIT_LOSS, .graph = i, .at = j });
        for (int j = nth_graph(s->best, i)->nwrite - 1; j >= 0; j--)
            better |= try_edit(s, (Edit){ .kind = EDIT_WRITE, .graph = i, .at = j });
    }
    return better;
}

static bool try_node(Search *s, int graph, int id)
{
    const Graph *g = nth_graph(s->best, graph);
    Node         nd = g->node[id];

    if (nd.op == OP_const)
        return false;
    for (int i = 0; i < nd.narg; i++) {
        if (ty_equal(&nd.type, &g->node[nd.arg[i].id].type)
            && try_edit(s, (Edit){ .kind = EDIT_ARG, .graph = graph, .at = id, .arg = i }))
            return true;
    }
    return try_edit(s, (Edit){ .kind = EDIT_CONST, .graph = graph, .at = id })
        || (nd.op != OP_read && try_edit(s, (Edit){ .kind = EDIT_READ, .graph = graph, .at = id }));
}

static bool try_nodes(Search *s)
{
    bool better = false;

    for (int i = 0; i < graph_count(s); i++) {
        for (int id = nth_graph(s->best, i)->nnode - 1; id > 0; id--) {
            int n = nth_graph(s->best, i)->nnode;

            id = id < n ? id : n - 1;
            better |= id > 0 && try_node(s, i, id);
        }
    }
    return better;
}

static bool try_size(Search *s, int64_t n)
{
    for (int64_t less = 1; less < n; less = less < 4 ? less + 1 : n / 2 > less ? n / 2 : n)
        if (try_edit(s, (Edit){ .kind = EDIT_SIZE, .size = n, .less = less }))
            return true;
    return false;
}

static bool try_sizes(Search *s)
{
    bool better = false;

    for (int i = 0; i < graph_count(s); i++) {
        better |= try_size(s, nth_graph(s->best, i)->batch);
        for (int id = 1; id < nth_graph(s->best, i)->nnode; id++)
            for (int j = 0; id < nth_graph(s->best, i)->nnode && j < nth_graph(s->best, i)->node[id].type.rank; j++)
                better |= try_size(s, nth_graph(s->best, i)->node[id].type.dim[j]);
    }
    return better;
}

const char *reduce_module(Module **m, ReduceFails *fails, void *ctx, int most, Reduction *r)
{
    Search s = { .best = reduce_copy(*m), .fails = fails, .ctx = ctx, .most = most };
    bool   failed = s.best && still_fails(&s, s.best);

    if (failed) {
        for (bool better = true; better && may_go_on(&s);) {
            better = try_ends(&s);
            better |= try_nodes(&s);
            better |= try_sizes(&s);
        }
        module_free(*m);
        *m = s.best;
    } else {
        module_free(s.best);
    }
    if (r)
        *r = s.r;
    return failed ? NULL : "the module does not fail to begin with";
}
