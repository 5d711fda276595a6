/* fuse.c - give every node to a kernel, or to its users.
 *
 * A kernel computes one domain, the shape of its results: either points alone, or one head (a reduction
 * or a contraction) with points behind it.  Movement, counting and cheap points belong to no kernel
 * (Node.kernel 0): they are computed where they are used, as the kernel's way of reading its arguments.
 *
 * Nodes are taken in order.  A head opens a kernel.  A point joins the kernel that makes one of its
 * arguments when it has that kernel's shape and no path leaves the kernel and comes back; else it
 * floats to its only user, or is computed again if that is cheap; else it opens a kernel.
 * Then points that only other kernels use sink to them when what they need is stored anyway.
 *
 * What is legal (fuse_order.c checks it once more, on the result):
 *   a kernel is convex;
 *   the kernels of a scan's body run together, and what leaves it is there when all of them are done;
 *   readers of a slot come before the kernel that writes it;
 *   a kernel writes a slot in place only if it reads it solely at the element that it writes.
 * A write that can't obey is deferred: its value goes to scratch and a copy at the end writes the slot.
 */
#include "passes/fuse.h"
#include "passes/lower.h"
#include "passes/move.h"

#include <assert.h>
#include <string.h>

/* Recomputing more than this many operations at each use costs more than a store and a load. */
enum { FLOAT_COST = 3 };

/* Elements of a window that are looked at one by one. */
enum { WINDOW = 16 };

static bool is_edge(const Node *nd)  { return op_info[nd->op].cls == CLASS_EDGE; }
static bool is_point(const Node *nd) { return op_info[nd->op].cls == CLASS_POINT; }

static bool is_loop(const Node *nd)  { return op_info[nd->op].cls == CLASS_LOOP; }

static bool is_head(const Node *nd)
{
    return op_info[nd->op].cls == CLASS_REDUCE || op_info[nd->op].cls == CLASS_FOLD;
}

static const Node *at(const Fuse *f, int id) { return &f->g->node[id]; }

/* ---- what must have memory of its own ---- */

/* A reshape whose argument's axes are finer than its own gives the argument only a joint index of
 * several axes.  Points pass that on and a stored value takes it as its offset, but nothing that
 * looks at single axes can. */
static bool takes_joint_index(const Fuse *f, int id, int64_t first)
{
    const Node *nd = at(f, id);

    if (f->must[id] || is_head(nd) || is_loop(nd) || nd->op == OP_const || nd->op == OP_random)
        return true;
    if (nd->op == OP_read) {
        SlotKind kind = f->g->m->slot[nd->attr.v[0]].kind;

        return kind != SLOT_field || (nd->type.rank > 0 && first == nd->type.dim[0]);
    }
    if (!is_point(nd) && nd->op != OP_reshape)
        return false;
    for (int i = 0; i < nd->narg; i++)
        if (!takes_joint_index(f, nd->arg[i].id, first))
            return false;
    return true;
}

/* Each axis of the argument is a product of consecutive axes of the result. */
static bool reshape_refines(const Type *from, const Type *to)
{
    int j = 0;

    for (int i = 0; i < from->rank; i++) {
        int64_t n = 1;

        while (n < from->dim[i] && j < to->rank)
            n *= to->dim[j++];
        if (n != from->dim[i])
            return false;
    }
    return true;
}

/* A contraction would look at each element with a condition, or far from its neighbour: it is better stored once. */
static bool is_stored_first(const Node *nd)
{
    int64_t step = nd->op == OP_slice && nd->type.rank ? nd->attr.v[3 * nd->type.rank - 2] : 1;

    return nd->op == OP_pad || step > 1 || step < -1;
}

static const char read_often[] = "a contraction reads it many times";

static void mark_fold_source(Fuse *f, int id)
{
    const Node *nd = at(f, id);

    if (op_info[nd->op].cls == CLASS_MOVE && !is_stored_first(nd))
        mark_fold_source(f, nd->arg[0].id);
    else if (!is_edge(nd))
        f->must[id] = read_often;
}

/* A contraction reads what is only moved to another place and stored there at that place alone. */
static void unmark_moved(Fuse *f, int id)
{
    bool moved = f->must[id] == read_often;

    for (int user = id + 1; moved && user < f->g->nnode; user++)
        for (int i = 0; i < at(f, user)->narg; i++)
            if (at(f, user)->arg[i].id == id)
                moved &= op_info[at(f, user)->op].cls == CLASS_MOVE && f->must[user];
    if (moved)
        f->must[id] = NULL;
}

static void mark_must(Fuse *f)
{
    for (int i = 0; i < f->g->nwrite; i++) {
        f->must[f->g->write[i].value.id] = "a slot gets it";
        f->nuse[f->g->write[i].value.id]++;
    }
    for (int id = 1; id < f->g->nnode; id++) {
        const Node *nd = at(f, id);

        for (int i = 0; i < nd->narg; i++) {
            f->nuse[nd->arg[i].id]++;
            if (nd->op == OP_next || nd->op == OP_stack)
                f->must[nd->arg[i].id] = "it is kept for another step";
            if (op_info[nd->op].cls == CLASS_FOLD)
                mark_fold_source(f, nd->arg[i].id);
        }
    }
    for (int id = f->g->nnode - 1; id > 0; id--) {
        const Node *nd = at(f, id), *arg = nd->op == OP_reshape ? at(f, nd->arg[0].id) : NULL;

        if (arg && !reshape_refines(&arg->type, &nd->type)
            && !takes_joint_index(f, nd->arg[0].id, nd->type.rank ? nd->type.dim[0] : 1))
            f->must[nd->arg[0].id] = "its axes are joined, and it is looked at by them";
    }
}

/* ---- kernels and what they depend on ---- */

static bool depends(const Fuse *f, int k, int on)
{
    return f->k[k].deps[on / 64] >> (on % 64) & 1;
}

/* k needs `on`, and so does all that needs k. */
static void add_dep(Fuse *f, int k, int on)
{
    if (k == on || depends(f, k, on))
        return;
    /* nothing needs the newest yet */
    for (int j = k == f->nk ? k : 1; j <= f->nk; j++) {
        if (j != k && !depends(f, j, k))
            continue;
        for (int w = 0; w < f->words; w++)
            f->k[j].deps[w] |= f->k[on].deps[w];
        f->k[j].deps[on / 64] |= 1ull << (on % 64);
    }
}

/* The kernels whose results id needs, through nodes that float: visit is called with each, and with
 * whether the way to it leads through points only, so that it is read at the same element. */
typedef bool VisitKernel(Fuse *f, int k, bool same_place, void *ctx);

static bool each_kernel(Fuse *f, int id, bool same_place, VisitKernel *visit, void *ctx)
{
    const Node *nd = at(f, id);
    bool point = is_point(nd);

    for (int i = 0; i < nd->narg; i++) {
        int a = nd->arg[i].id;

        if (f->kernel[a] ? !visit(f, f->kernel[a], same_place && point, ctx)
                         : !each_kernel(f, a, same_place && point, visit, ctx))
            return false;
    }
    return true;
}

static bool visit_add(Fuse *f, int k, bool same_place, void *ctx)
{
    (void)same_place;
    add_dep(f, *(int *)ctx, k);
    return true;
}

typedef struct Last { int best, scan; } Last;

static bool visit_last(Fuse *f, int k, bool same_place, void *ctx)
{
    Last *last = ctx;

    if (same_place && f->k[k].scan == last->scan && k > last->best)
        last->best = k;
    return true;
}

/* k may take a user of kernel j: j is k itself at the same element, or does not need k. */
static bool visit_fits(Fuse *f, int j, bool same_place, void *ctx)
{
    int k = *(int *)ctx;

    return j == k ? same_place : !depends(f, j, k);
}

static void put(Fuse *f, int id, int k)
{
    f->kernel[id] = k;
    f->next[id] = f->k[k].member;
    f->k[k].member = id;
}

static int new_kernel(Fuse *f, int id)
{
    int k = ++f->nk;

    f->k[k].domain = at(f, id)->type;
    f->k[k].deps = arena_array(f->mem, uint64_t, f->words);
    f->k[k].alone = lower_is_rows(at(f, id)->op) || is_loop(at(f, id)) || (f->alone && f->alone[id]);
    f->k[k].scan = at(f, id)->op == OP_carry ? 0 : f->scan[id];
    put(f, id, k);
    each_kernel(f, id, true, visit_add, &k);
    return k;
}

/* ---- slots ---- */

/* Readers of the slots that id writes must not need k, or k could not come after them. */
static bool readers_allow(Fuse *f, int id, int k)
{
    for (int i = 0; i < f->g->nwrite; i++) {
        if (f->g->write[i].value.id != id)
            continue;
        for (int j = 1; j <= f->nk; j++)
            if (j != k && depends(f, j, k) && fuse_reads(f, j, f->g->write[i].slot, false))
                return false;
    }
    return true;
}

/* ---- decisions ---- */

/* Of a window's largest element, the place: found where the element is, as its kernel has the window at hand.  Rows are longer than
 * that, and taken by loops of their own kind. */
static bool try_sibling(Fuse *f, int id)
{
    const Node *nd = at(f, id);
    int         with = fuse_with_attention(f, id);

    if (with && readers_allow(f, id, with)) {
        put(f, id, with);
        return true;
    }
    int64_t each = ty_count(&at(f, nd->arg[0].id)->type) / ty_count(&nd->type);

    for (int j = 1; nd->op == OP_argmax && each <= WINDOW && j < id; j++) {
        const Node *most = at(f, j);

        if ((most->op != OP_first_max && most->op != OP_max) || most->arg[0].id != nd->arg[0].id || most->attr.n != nd->attr.n
            || memcmp(most->attr.v, nd->attr.v, (size_t)nd->attr.n * sizeof *nd->attr.v) || f->scan[j] != f->scan[id]
            || !readers_allow(f, id, f->kernel[j]))
            continue;
        put(f, id, f->kernel[j]);
        return true;
    }
    return false;
}

/* For people: why id is not in kernel k (0: in any), named by one of its nodes.  Returns false. */
static bool apart(Fuse *f, int id, int k, const char *why)
{
    f->why[id] = k ? arena_printf(f->mem, "not with %%%d: %s", f->k[k].member, why) : why;
    return false;
}

static bool try_join(Fuse *f, int id)
{
    Last last = { 0, f->scan[id] };
    int  k;

    if (!is_point(at(f, id)))
        return false;
    if (f->alone && f->alone[id])
        return apart(f, id, 0, "a write that waits for the slot's readers");
    each_kernel(f, id, true, visit_last, &last);
    k = last.best;
    if (!k)
        return false;
    if (f->k[k].alone)
        return apart(f, id, k, "it stores as it goes, and nothing joins it");
    if (!ty_same_shape(&f->k[k].domain, &at(f, id)->type))
        return apart(f, id, k, "its kernel has another shape");
    if (!each_kernel(f, id, true, visit_fits, &k))
        return apart(f, id, k, "what lies between needs its kernel whole");
    if (!readers_allow(f, id, k))
        return apart(f, id, k, "the slot that this writes is read behind it");
    put(f, id, k);
    each_kernel(f, id, true, visit_add, &k);
    return true;
}

/* Operations computed anew at each use if id floats. */
static int float_cost(const Fuse *f, int id)
{
    const Node *nd = at(f, id);
    int cost = op_info[nd->op].cls == CLASS_MOVE || is_edge(nd) ? 0 : op_info[nd->op].props & PROP_MATH ? 20 : 1;

    for (int i = 0; i < nd->narg && cost <= FLOAT_COST; i++)
        if (!f->kernel[nd->arg[i].id])
            cost += float_cost(f, nd->arg[i].id);
    return cost;
}

static bool may_float(const Fuse *f, const double *times, int id)
{
    const Node *nd = at(f, id);

    if (f->must[id])
        return false;
    if (op_info[nd->op].cls == CLASS_MOVE)
        return true;
    return times[id] <= 1.0 || float_cost(f, id) <= FLOAT_COST;
}

/* For people: what became of a node that no kernel took. */
static void tell_apart(Fuse *f, const double *times, int id)
{
    const Node *nd = at(f, id);
    const char *stored = f->must[id];

    if (!f->kernel[id] && is_point(nd))
        f->why[id] = times[id] <= 1.0 ? "computed by its user" : "computed again by its users: cheaper than to store";
    if (!f->kernel[id])
        return;
    if (!stored)
        stored = arena_printf(f->mem, "its users would compute it %.0f times", times[id]);
    f->why[id] = f->why[id] ? arena_printf(f->mem, "%s; stored: %s", f->why[id], stored) : arena_printf(f->mem, "stored: %s", stored);
}

/* For people: a reduction or contraction, and the kernels that make what it takes. */
static bool visit_sources(Fuse *f, int k, bool same_place, void *ctx)
{
    const char **text = ctx;

    (void)same_place;
    char        one[16];

    snprintf(one, sizeof one, "%%%d", f->k[k].member);
    if (!strstr(*text, one))
        *text = arena_printf(f->mem, "%s%s%s", *text, **text ? ", " : "", one);
    return true;
}

static void tell_head(Fuse *f, int id)
{
    const char *sources = "";

    if (!is_head(at(f, id)))
        return;
    each_kernel(f, id, true, visit_sources, &sources);
    if (*sources)
        f->why[id] = arena_printf(f->mem, "not with %s: each result needs many of its elements", sources);
}

/* times[id]: evaluations of an element of id if all movement and points floated to their users. */
static double *count_times(Fuse *f)
{
    double *times = arena_array(f->mem, double, f->g->nnode);

    for (int id = f->g->nnode - 1; id > 0; id--) {
        const Node *nd = at(f, id);

        for (int i = 0; i < nd->narg; i++) {
            double ratio = (double)ty_count(&nd->type) / (double)ty_count(&at(f, nd->arg[i].id)->type);
            double n = op_info[nd->op].cls == CLASS_MOVE ? times[id] * ratio : ratio > 1.0 ? ratio : 1.0;

            if (f->scan[id] && !f->scan[nd->arg[i].id])
                n *= (double)f->steps[f->scan[id]];
            times[nd->arg[i].id] += n;
        }
    }
    return times;
}

/* A cheap point whose users are all elsewhere needs no store if all its arguments are at hand there. */
static bool arg_at_hand(const Fuse *f, const bool *stored, int id, int user)
{
    const Node *nd = at(f, id);

    if (nd->op == OP_read)
        return !fuse_slot_written(f, (int)nd->attr.v[0]);
    return nd->op == OP_const || (f->kernel[id] && stored[id] && f->nuse[id] > 1 && id != user);
}

static void sink(Fuse *f, const bool *stored, const bool *used_inside, int *members)
{
    for (int id = f->g->nnode - 1; id > 0; id--) {
        const Node *nd = at(f, id);
        bool ok = f->kernel[id] && is_point(nd) && op_info[nd->op].props & PROP_CHEAP && !f->must[id]
                  && !used_inside[id] && f->nuse[id] <= 2 && members[f->kernel[id]] > 1;

        for (int i = 0; ok && i < nd->narg; i++)
            ok = arg_at_hand(f, stored, nd->arg[i].id, id);
        if (!ok)
            continue;
        members[f->kernel[id]]--;
        f->kernel[id] = 0;
        f->why[id] = "computed by its users: all that it takes is stored";
    }
}

static void sink_points(Fuse *f)
{
    bool *stored = arena_array(f->mem, bool, f->g->nnode), *inside = arena_array(f->mem, bool, f->g->nnode);
    int *members = arena_array(f->mem, int, f->nk + 1);

    for (int id = 1; id < f->g->nnode; id++) {
        const Node *nd = at(f, id);

        members[f->kernel[id]]++;
        stored[id] |= f->must[id] != NULL;
        for (int i = 0; i < nd->narg; i++) {
            int a = nd->arg[i].id;

            if (f->kernel[a] && f->kernel[a] == f->kernel[id])
                inside[a] = true;
            else
                stored[a] = true;
            if (!f->kernel[a])
                fuse_mark_inside(f, a, f->kernel[id], inside, stored);
        }
    }
    sink(f, stored, inside, members);
}

/* What leaves a scan: all kernels of its body are there, since it stands behind them. */
static void put_result(Fuse *f, int id)
{
    int number = (int)at(f, id)->attr.v[SCAN_NUMBER] + 1, *k = &f->leave[number];

    if (!*k) {
        *k = ++f->nk;
        f->k[*k] = (FuseKernel){ .domain = at(f, id)->type, .deps = arena_array(f->mem, uint64_t, f->words), .alone = true };
        for (int a = 1; a < id; a++)
            if (f->scan[a] == number && f->kernel[a])
                add_dep(f, *k, f->kernel[a]);
    }
    put(f, id, *k);
}

/* The gradient of attention is one kernel: its first node opens it, the others join. */
static void put_group(Fuse *f, int id)
{
    int first = 1, k;

    while (f->group[first] != f->group[id])
        first++;
    if (first == id) {
        f->k[new_kernel(f, id)].alone = true;
        return;
    }
    k = f->kernel[first];
    put(f, id, k);
    each_kernel(f, id, true, visit_add, &k);
}

/* Kernels for all nodes, numbered in order of making. */
static void assign(Fuse *f)
{
    double *times = count_times(f);

    for (int id = 1; id < f->g->nnode; id++) {
        if (is_edge(at(f, id)))
            continue;
        if (scan_is_result(at(f, id)->op))
            put_result(f, id);
        else if (f->group[id])
            put_group(f, id);
        else if (try_sibling(f, id))
            continue;
        else if (is_head(at(f, id)) || is_loop(at(f, id))) {
            tell_head(f, id);
            new_kernel(f, id);
        } else if (!try_join(f, id)) {
            if (!may_float(f, times, id))
                new_kernel(f, id);
            tell_apart(f, times, id);
        }
    }
    sink_points(f);
    fuse_again(f);
}

/* ---- the graph with copies where a write needs one ---- */

/* A field's rows are picked by number, so a joint index that crosses the batch axis can't reach them. */
static Ref prepare_node(Graph *to, const Node *nd, const Ref *arg, void *ctx)
{
    const Node *a = nd->op == OP_reshape ? graph_at(to, arg[0]) : NULL;

    (void)ctx;
    if (a && a->op == OP_read && to->m->slot[a->attr.v[0]].kind == SLOT_field
        && (nd->type.rank == 0 || nd->type.dim[0] != a->type.dim[0])) {
        Ref copy = move_own_place(to, nd->loc, arg[0]);

        return graph_clone_node(to, nd, &copy);
    }
    return graph_clone_node(to, nd, arg);
}

static Graph *prepare(const Graph *from, const bool *defer, bool **alone)
{
    Arena *mem = &from->m->mem;
    Graph *to = graph_new(from->m, from->entry, from->batch);
    Ref *map = arena_array(mem, Ref, from->nnode);
    bool *want = arena_array(mem, bool, from->nnode);
    int *copy = arena_array(mem, int, from->nwrite + 1), nnode;

    graph_reach_ends(from, want);
    graph_copy_into(to, from, map, want, prepare_node, NULL);
    nnode = to->nnode;
    for (int i = 0; i < from->nwrite; i++) {
        const Write *w = &from->write[i];
        Ref v = map[w->value.id];
        bool late = defer[w->slot];

        if (is_edge(graph_at(to, v)) || is_loop(graph_at(to, v)))
            v = move_own_place(to, w->loc, v);
        /* the graph may have such a cast already, and use it: a copy of that then */
        for (bool is_new = false; late && !is_new; is_new = v.id >= nnode)
            v = move_own_place(to, w->loc, v);
        copy[i] = late ? v.id : 0;
        graph_write(to, w->loc, w->slot, v);
    }
    *alone = arena_array(mem, bool, to->nnode);
    for (int i = 0; i < from->nwrite; i++)
        (*alone)[copy[i]] = true;
    (*alone)[0] = false;
    return to;
}

static Graph *fuse_graph(const Graph *from, const Limits *limits)
{
    Arena *mem = &from->m->mem;
    bool *defer = arena_array(mem, bool, from->m->nslot + 1);

    for (;;) {
        Fuse f = { .mem = mem, .limits = limits };
        int slot;

        f.g = prepare(from, defer, &f.alone);
        f.words = f.g->nnode / 64 + 1;
        f.next = arena_array(mem, int, f.g->nnode);
        f.kernel = arena_array(mem, int, f.g->nnode);
        f.must = arena_array(mem, const char *, f.g->nnode);
        f.why = arena_array(mem, const char *, f.g->nnode);
        f.nuse = arena_array(mem, int, f.g->nnode);
        f.k = arena_array(mem, FuseKernel, f.g->nnode + 1);
        f.scan = scan_of_nodes(f.g);
        f.steps = scan_steps(f.g);
        f.leave = arena_array(mem, int, scan_free_number(f.g) + 1);
        mark_must(&f);
        for (int id = f.g->nnode - 1; limits->warp && id > 0; id--)
            unmark_moved(&f, id);
        fuse_attention(&f);
        for (int id = 1; id < f.g->nnode; id++)
            if (f.alone[id])
                f.must[f.g->node[id].arg[0].id] = "a slot gets a copy of it, later";
        assign(&f);
        slot = fuse_order(&f);
        for (int id = 1; id < f.g->nnode; id++)
            f.g->node[id].why = f.why[id];
        if (slot < 0)
            return f.g;
        assert(!defer[slot] && "a deferred write conflicts with nothing");
        defer[slot] = true;
    }
}

void fuse(Module *m, const PassOptions *o)
{
    for (int i = 0; i < m->ngraph; i++)
        m->graph[i] = fuse_graph(m->graph[i], &o->limits);
}
