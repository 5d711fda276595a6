/* fuse_again.c - what follows from one value is computed again from it, where that costs less than to store it.
 *
 * A kernel that gives others several values which all follow, point by point, from one of its own, as gelu leaves x / 2, 1 + erf and
 * exp for its gradient, stores that one instead: the others float, so that whoever uses them computes them from it.  The same
 * operations on the same numbers, and so the same bits.
 */
#include "passes/fuse.h"

/* Cycles of a vector: to store it in memory and load it once more, when caches can't hold it; a function, any other operation. */
enum { STORE_COST = 50, FUNCTION_COST = 20, FEW_BYTES = 1 << 20, MOST_NODES = 32 };

typedef struct Again {
    Fuse *f;
    int **user;                /* of each node, ended by 0 */
    int   from;                /* the value that would be stored */
    bool *follows;             /* from it and constants, point by point, in its kernel or in none */
    int   node[MOST_NODES], n; /* those which follow, in order */
    bool *floats;              /* would be computed again */
} Again;

static const Node *at(const Again *a, int id) { return &a->f->g->node[id]; }

static int **list_users(Fuse *f)
{
    int **user = arena_array(f->mem, int *, f->g->nnode), *n = arena_array(f->mem, int, f->g->nnode);

    for (int id = 1; id < f->g->nnode; id++)
        for (int i = 0; i < f->g->node[id].narg; i++)
            n[f->g->node[id].arg[i].id]++;
    for (int id = 0; id < f->g->nnode; id++)
        user[id] = arena_array(f->mem, int, n[id] + 1);
    for (int id = 1; id < f->g->nnode; id++)
        for (int i = 0; i < f->g->node[id].narg; i++)
            user[f->g->node[id].arg[i].id][--n[f->g->node[id].arg[i].id]] = id;
    return user;
}

/* Do kernels other than k use id, themselves or through what floats? */
static bool is_used_elsewhere(const Again *a, int id, int k)
{
    for (const int *u = a->user[id]; *u; u++)
        if (a->f->kernel[*u] ? a->f->kernel[*u] != k : is_used_elsewhere(a, *u, k))
            return true;
    return false;
}

static bool is_stored(const Again *a, int id) { return a->f->must[id] || is_used_elsewhere(a, id, a->f->kernel[id]); }

static int64_t bytes(const Again *a) { return ty_count(&at(a, a->from)->type) * dt_bytes(at(a, a->from)->type.dtype); }

static bool follows(const Again *a, int id)
{
    const Node *nd = at(a, id);
    bool        any = false;

    if (op_info[nd->op].cls != CLASS_POINT || a->f->must[id] || (a->f->kernel[id] && a->f->kernel[id] != a->f->kernel[a->from]))
        return false;
    for (int i = 0; i < nd->narg; i++) {
        int arg = nd->arg[i].id;

        if (arg != a->from && !a->follows[arg] && at(a, arg)->op != OP_const)
            return false;
        any |= at(a, arg)->op != OP_const;
    }
    return any;
}

/* id and what it follows by will be computed again: their cost, each counted once. */
static int let_float(Again *a, int id)
{
    const Node *nd = at(a, id);
    int         cost = op_info[nd->op].props & PROP_MATH ? FUNCTION_COST : 1;

    if (id == a->from || a->floats[id] || nd->op == OP_const)
        return 0;
    a->floats[id] = true;
    for (int i = 0; i < nd->narg; i++)
        cost += let_float(a, nd->arg[i].id);
    return cost;
}

/* Everything that follows from a->from, by its users and theirs. */
static void collect(Again *a)
{
    a->n = 0;
    for (int next = -1; next < a->n && a->n < MOST_NODES; next++)
        for (const int *u = a->user[next < 0 ? a->from : a->node[next]]; *u && a->n < MOST_NODES; u++)
            if (!a->follows[*u] && follows(a, *u)) {
                a->follows[*u] = true;
                a->node[a->n++] = *u;
            }
}

typedef struct Takers { int kernel[MOST_NODES], n; } Takers;

/* The kernels other than k which use id, added to t; false: one does so in another way than point by point, where it would be computed
 * more than once. */
static bool add_takers(const Again *a, int id, int k, Takers *t)
{
    const Fuse *f = a->f;

    for (const int *u = a->user[id]; *u; u++) {
        int of = f->kernel[*u], j = 0;

        if (a->follows[*u] || of == k)
            continue;
        if (op_info[at(a, *u)->op].cls != CLASS_POINT || f->scan[*u] != f->scan[a->from] || (!of && !add_takers(a, *u, k, t)))
            return false;
        while (j < t->n && t->kernel[j] != of)
            j++;
        if (j == MOST_NODES)
            return false;
        if (of && j == t->n)
            t->kernel[t->n++] = of;
    }
    return true;
}

/* What is won, in cycles of a vector, if all that is stored of what follows floats. */
static int weigh(Again *a)
{
    int    saved = is_stored(a, a->from) ? 0 : -1, cost = 0;
    Takers takers = { .n = 0 };

    for (int i = 0; i < a->n; i++) {
        if (!add_takers(a, a->node[i], a->f->kernel[a->from], &takers))
            return 0;
        if (!a->f->kernel[a->node[i]] || !is_stored(a, a->node[i]))
            continue;
        saved++;
        cost += let_float(a, a->node[i]);
    }
    if (saved < 1 || saved * bytes(a) < FEW_BYTES)
        return 0;
    return saved * STORE_COST - cost * takers.n;
}

static void float_all(Again *a)
{
    Fuse *f = a->f;

    for (int i = 0; i < a->n; i++)
        if (a->floats[a->node[i]]) {
            f->kernel[a->node[i]] = 0;
            f->why[a->node[i]] = arena_printf(f->mem, "computed again by its users, from %%%d", a->from);
        }
    f->why[a->from] = "stored: what its users want follows from it";
}

static void forget(Again *a)
{
    for (int i = 0; i < a->n; i++)
        a->follows[a->node[i]] = a->floats[a->node[i]] = false;
}

void fuse_again(Fuse *f)
{
    Again a = { .f = f, .user = list_users(f), .follows = arena_array(f->mem, bool, f->g->nnode),
                .floats = arena_array(f->mem, bool, f->g->nnode) };

    for (a.from = 1; a.from < f->g->nnode; a.from++) {
        if (!f->kernel[a.from] || f->k[f->kernel[a.from]].alone || bytes(&a) * MOST_NODES < FEW_BYTES)
            continue;
        collect(&a);
        if (a.n && weigh(&a) > 0)
            float_all(&a);
        forget(&a);
    }
}
