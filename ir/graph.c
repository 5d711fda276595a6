/* graph.c - making nodes: typed, shared, and stored behind their arguments.
 *
 * A node's identity is its operation, arguments, attribute and type; equal ones are found through a hash
 * table and made once.  Arguments of a commutative operation may stand in either order: the first that
 * was made keeps its own.  Place and kernel number are no part of it.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ir/graph.h"

enum { FIRST_BUCKETS = 64 };

Graph *graph_new(Module *m, EntryKind e, int64_t batch)
{
    Graph *g = arena_new(&m->mem, Graph);

    assert(batch >= 0);
    g->m = m;
    g->entry = e;
    g->batch = batch;
    g->nnode = 1;     /* node 0 is no node */
    g->cnode = FIRST_BUCKETS;
    g->node = arena_array(&m->mem, Node, g->cnode);
    g->chain = arena_array(&m->mem, int, g->cnode);
    g->nbucket = FIRST_BUCKETS;
    g->bucket = arena_array(&m->mem, int, g->nbucket);
    return g;
}

const Node *graph_at(const Graph *g, Ref r)
{
    assert(r.id > 0 && r.id < g->nnode);
    return &g->node[r.id];
}

/* finding equal nodes */

/* The last step of a 64-bit murmur hash, A. Appleby: every bit of x changes half of the result's. */
static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ (h >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ (h >> 33);
}

static bool commutes(const Node *nd) { return nd->narg == 2 && (op_info[nd->op].props & PROP_COMM); }

static uint64_t node_hash(const Node *nd)
{
    uint64_t h = mix((uint64_t)nd->op, (uint64_t)nd->type.dtype);

    if (commutes(nd)) {
        int a = nd->arg[0].id, b = nd->arg[1].id;

        h = mix(mix(h, (uint64_t)(a < b ? a : b)), (uint64_t)(a < b ? b : a));
    } else {
        for (int i = 0; i < nd->narg; i++)
            h = mix(h, (uint64_t)nd->arg[i].id);
    }
    for (int i = 0; i < nd->attr.n; i++)
        h = mix(h, (uint64_t)nd->attr.v[i]);
    for (int i = 0; i < nd->type.rank; i++)
        h = mix(h, (uint64_t)nd->type.dim[i]);
    return h;
}

static bool same_args(const Node *a, const Node *b)
{
    if (commutes(a) && a->arg[0].id == b->arg[1].id && a->arg[1].id == b->arg[0].id)
        return true;
    for (int i = 0; i < a->narg; i++) {
        if (a->arg[i].id != b->arg[i].id)
            return false;
    }
    return true;
}

static bool same_node(const Node *a, const Node *b)
{
    return a->op == b->op && a->narg == b->narg && a->attr.n == b->attr.n && ty_equal(&a->type, &b->type) &&
           same_args(a, b) && (!a->attr.n || !memcmp(a->attr.v, b->attr.v, sizeof *a->attr.v * (size_t)a->attr.n));
}

static Ref find(const Graph *g, const Node *nd)
{
    uint64_t h = node_hash(nd);

    for (int id = g->bucket[h % (uint64_t)g->nbucket]; id; id = g->chain[id]) {
        if (same_node(&g->node[id], nd))
            return (Ref){ id };
    }
    return (Ref){ 0 };
}

static void enter(Graph *g, int id)
{
    int *bucket = &g->bucket[node_hash(&g->node[id]) % (uint64_t)g->nbucket];

    g->chain[id] = *bucket;
    *bucket = id;
}

static void grow(Graph *g)
{
    Arena *mem = &g->m->mem;

    g->node = arena_grow(mem, g->node, g->nnode, &g->cnode, sizeof *g->node);
    g->chain = arena_array(mem, int, g->cnode);
    g->nbucket = g->cnode;
    g->bucket = arena_array(mem, int, g->nbucket);
    for (int id = 1; id < g->nnode; id++)
        enter(g, id);
}

static Ref store(Graph *g, const Node *nd)
{
    Arena *mem = &g->m->mem;
    Ref   *arg = arena_array(mem, Ref, nd->narg);

    if (g->nnode == g->cnode)
        grow(g);
    for (int i = 0; i < nd->narg; i++)
        arg[i] = nd->arg[i];

    Node *to = &g->node[g->nnode];
    *to = *nd;
    to->arg = arg;
    to->attr = attr_make(mem, nd->attr.n, nd->attr.v);
    enter(g, g->nnode);
    return (Ref){ g->nnode++ };
}

/* typing */

/* A read's type is its slot's, as this graph sees it; false if the slot can't be read here. */
static bool read_type(const Graph *g, const Attr *attr, Type *t)
{
    const Module *m = g->m;

    if (attr->n != 1 || attr->v[0] < 0 || attr->v[0] >= m->nslot)
        return false;
    if (slot_has_rows(m->slot[attr->v[0]].kind) && g->batch < 1)
        return false;
    *t = slot_type(&m->slot[attr->v[0]], g->batch);
    return true;
}

static const char *node_type(Graph *g, Node *nd, const Type *given)
{
    Module *m = g->m;
    Type    type[3], of_slot;
    Infer   in = { .mem = &m->mem, .op = nd->op, .narg = nd->narg, .arg = type, .attr = &nd->attr, .given = given,
                   .dim = { m->dim_name, m->dim_probe } };

    for (int i = 0; i < nd->narg && i < 3; i++)
        type[i] = graph_at(g, nd->arg[i])->type;
    if (op_info[nd->op].attr == ATTR_SLOT)
        in.given = read_type(g, &nd->attr, &of_slot) ? &of_slot : NULL;
    nd->type = op_type(&in);
    return nd->type.rank < 0 ? in.error : NULL;
}

Ref graph_make(Graph *g, Op op, Loc loc, int narg, const Ref *arg, Attr attr, const Type *given, const char **error)
{
    Node        nd = { .op = op, .narg = narg, .arg = arg, .attr = attr, .loc = loc };
    const char *why = node_type(g, &nd, given);

    if (why && !error) {
        fprintf(stderr, "graph %s: %s\n", entry_name[g->entry], why);
        assert(!"the maker's arguments fit");
    }
    if (error)
        *error = why;
    if (why)
        return (Ref){ 0 };

    Ref r = find(g, &nd);
    if (!r.id && g->rewrite) {
        r = g->rewrite(g, &nd, g->rewrite_ctx);
        if (!r.id)
            r = find(g, &nd);   /* a rule may have made it on its way to saying no */
    }
    return r.id ? r : store(g, &nd);
}

/* makers that can't be wrong */

static Ref make(Graph *g, Op op, Loc loc, int narg, const Ref *arg, int nattr, const int64_t *v)
{
    return graph_make(g, op, loc, narg, arg, (Attr){ nattr, v }, NULL, NULL);
}

Ref graph_op1(Graph *g, Op op, Loc loc, Ref a) { return make(g, op, loc, 1, &a, 0, NULL); }

Ref graph_op2(Graph *g, Op op, Loc loc, Ref a, Ref b) { return make(g, op, loc, 2, (Ref[]){ a, b }, 0, NULL); }

Ref graph_op3(Graph *g, Op op, Loc loc, Ref a, Ref b, Ref c)
{
    return make(g, op, loc, 3, (Ref[]){ a, b, c }, 0, NULL);
}

Ref graph_const(Graph *g, Loc loc, Type t, double x)
{
    return graph_make(g, OP_const, loc, 0, NULL, attr_double(&g->m->mem, x), &t, NULL);
}

Ref graph_read(Graph *g, Loc loc, int slot)
{
    int64_t number = slot;

    return make(g, OP_read, loc, 0, NULL, 1, &number);
}

Ref graph_cast(Graph *g, Loc loc, Ref a, Dtype d)
{
    int64_t dtype = d;

    return graph_at(g, a)->type.dtype == d ? a : make(g, OP_cast, loc, 1, &a, 1, &dtype);
}

Ref graph_axes(Graph *g, Op op, Loc loc, Ref a, int n, const int64_t *axis)
{
    return make(g, op, loc, 1, &a, n, axis);
}

Ref graph_expand(Graph *g, Loc loc, Ref a, int n, const int64_t *axis, const int64_t *size)
{
    int64_t v[2 * MAX_RANK];

    assert(n >= 0 && n <= MAX_RANK);
    for (int i = 0; i < n; i++) {
        v[i] = axis[i];
        v[n + i] = size[i];
    }
    return make(g, OP_expand, loc, 1, &a, 2 * n, v);
}

Ref graph_reshape(Graph *g, Loc loc, Ref a, int rank, const int64_t *dim)
{
    return make(g, OP_reshape, loc, 1, &a, rank, dim);
}

Ref graph_transpose(Graph *g, Loc loc, Ref a, const int64_t *perm)
{
    return make(g, OP_transpose, loc, 1, &a, graph_at(g, a)->type.rank, perm);
}

void graph_write(Graph *g, Loc loc, int slot, Ref value)
{
    assert(slot >= 0 && slot < g->m->nslot && value.id > 0 && value.id < g->nnode);
    arena_push(&g->m->mem, g->write, g->nwrite, g->cwrite);
    g->write[g->nwrite++] = (Write){ slot, value, loc };
}

static const int *copy_ints(Arena *mem, int n, const int *v)
{
    int *copy = arena_array(mem, int, n);

    for (int i = 0; i < n; i++)
        copy[i] = v[i];
    return copy;
}

void graph_minimize(Graph *g, Loc loc, Ref loss, int n, const int *param, const int *grad)
{
    Arena *mem = &g->m->mem;

    assert(loss.id > 0 && loss.id < g->nnode);
    arena_push(mem, g->min, g->nmin, g->cmin);
    g->min[g->nmin++] = (Minimize){ loss, n, copy_ints(mem, n, param), copy_ints(mem, n, grad), loc };
}
