/* lower.c - write each kernel of a fused graph as a loop nest over buffers.
 *
 * A kernel becomes loops over its domain; the body computes the stored values of its nodes at one element,
 * asking backwards: a node of another kernel is a load, a point is an operation on its arguments at the same
 * element, movement is another element of its argument.  All values come before all stores, so a slot
 * written in place has been read by then.
 *
 * Loops are plain here; schedule marks and splits them.  Only the order of summation is settled
 * (lower_head.c), because it decides the bits.
 */
#include "passes/lower.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- statements ---- */

Stmt *low_add(Lower *lo, StmtKind kind, Loc loc)
{
    return kern_add(lo->mem, lo->out, kind, loc);
}

int low_let(Lower *lo, Loc loc, Op op, Dtype dtype, Dtype from, int narg, const int *arg)
{
    Stmt *s = low_add(lo, ST_LET, loc);

    s->id = lo->k->nvalue++;
    s->op = op;
    s->dtype = dtype;
    s->from = from;
    s->narg = narg;
    memcpy(s->arg, arg, (size_t)narg * sizeof *arg);
    return s->id;
}

int low_const(Lower *lo, Loc loc, Dtype dtype, double x)
{
    Stmt *s = low_add(lo, ST_CONST, loc);

    s->id = lo->k->nvalue++;
    s->dtype = dtype;
    s->number = x;
    return s->id;
}

int low_index(Lower *lo, Loc loc, Affine at)
{
    Stmt *s = low_add(lo, ST_INDEX, loc);

    s->id = lo->k->nvalue++;
    s->dtype = DT_i32;
    s->at = at;
    return s->id;
}

int low_cast(Lower *lo, Loc loc, int value, Dtype from, Dtype to)
{
    return from == to ? value : low_let(lo, loc, OP_cast, to, from, 1, &value);
}

int low_pick(Lower *lo, Loc loc, int value, int64_t extent)
{
    Stmt *s = low_add(lo, ST_PICK, loc);

    s->id = lo->k->nvar++;
    s->extent = extent;
    s->narg = 1;
    s->arg[0] = value;
    return s->id;
}

static int low_within(Lower *lo, Loc loc, const Guard *guard, int n)
{
    Stmt *s = low_add(lo, ST_WITHIN, loc);

    s->id = lo->k->nvalue++;
    s->dtype = DT_bool;
    s->guard = arena_array(lo->mem, Guard, n);
    s->nguard = n;
    memcpy(s->guard, guard, (size_t)n * sizeof *guard);
    return s->id;
}

void low_open(Lower *lo, Open *o, Loc loc, int var, int64_t extent)
{
    o->loop = low_add(lo, ST_FOR, loc);
    o->loop->id = var;
    o->loop->extent = extent;
    o->outer = lo->out;
    o->body = (KList){ 0 };
    lo->out = &o->body;
}

void low_close(Lower *lo, Open *o)
{
    o->loop->body = o->body.first;
    lo->out = o->outer;
}

int low_load(Lower *lo, const Node *nd, int buf, const Access *a)
{
    Stmt *s = low_add(lo, ST_LOAD, nd->loc);

    s->id = lo->k->nvalue++;
    s->dtype = nd->type.dtype;
    s->buf = buf;
    s->narg = lo->guards.condition >= 0;
    s->arg[0] = lo->guards.condition;
    if (lo->p->buf[buf].seg == SEG_FIELD)
        access_row(lo->mem, a, &nd->type, &s->row, &s->at);
    else
        s->at = access_offset(lo->mem, a);
    return s->id;
}

/* ---- values ---- */

static int read_slot(Lower *lo, const Node *nd, const Access *a)
{
    return low_load(lo, nd, lo->slot_buf[nd->attr.v[0]], a);
}

static int random_value(Lower *lo, const Node *nd, const Access *a)
{
    Stmt *s = low_add(lo, ST_RANDOM, nd->loc);

    s->id = lo->k->nvalue++;
    s->dtype = nd->type.dtype;
    s->stream = (uint32_t)nd->attr.v[0];
    s->at = access_offset(lo->mem, a);
    return s->id;
}

static int point_value(Lower *lo, const Node *nd, const Access *a)
{
    int arg[3];

    for (int i = 0; i < nd->narg; i++)
        arg[i] = lower_value(lo, nd->arg[i].id, a);
    Dtype from = lo->g->node[nd->arg[nd->op == OP_select].id].type.dtype;

    /* a value stands for itself: only its place in memory made these nodes */
    if (nd->op == OP_stop_gradient || (nd->op == OP_cast && from == nd->type.dtype))
        return arg[0];
    return low_let(lo, nd->loc, nd->op, nd->type.dtype, from, nd->narg, arg);
}

/* The guards that already hold and these. */
static Guards more_guards(Lower *lo, Loc loc, const Guard *guard, int n)
{
    Guards all = { .n = lo->guards.n + n };

    all.guard = arena_array(lo->mem, Guard, all.n);
    if (lo->guards.n)
        memcpy(all.guard, lo->guards.guard, (size_t)lo->guards.n * sizeof *guard);
    memcpy(all.guard + lo->guards.n, guard, (size_t)n * sizeof *guard);
    all.condition = low_within(lo, loc, all.guard, all.n);
    return all;
}

/* The value is a load under the condition, so it is 0 where that is false. */
static bool is_zero_outside(const Lower *lo, int value, int condition)
{
    const Stmt *s = lo->out->last;

    return s->kind == ST_LOAD && s->id == value && s->narg && s->arg[0] == condition;
}

int lower_guarded(Lower *lo, int id, const Access *a, const Guard *guard, int n, double otherwise)
{
    const Node *nd = &lo->g->node[id];
    Guards before = lo->guards;
    int arg[3];

    if (!n)
        return lower_value(lo, id, a);
    lo->guards = more_guards(lo, nd->loc, guard, n);
    arg[0] = before.n ? low_within(lo, nd->loc, guard, n) : lo->guards.condition;
    arg[1] = lower_value(lo, id, a);
    bool done = otherwise == 0 && !signbit(otherwise) && !before.n && is_zero_outside(lo, arg[1], arg[0]);

    lo->guards = before;
    if (done)
        return arg[1];
    arg[2] = low_const(lo, nd->loc, nd->type.dtype, otherwise);
    return low_let(lo, nd->loc, OP_select, nd->type.dtype, nd->type.dtype, 3, arg);
}

static int move_value(Lower *lo, const Node *nd, const Access *a)
{
    const Type *type = &lo->g->node[nd->arg[0].id].type;
    Access arg = access_arg(lo->mem, nd, type, a);
    Guard guard[MAX_RANK];
    int n = access_guards(lo->mem, nd, type, a, guard);

    return lower_guarded(lo, nd->arg[0].id, &arg, guard, n, nd->op == OP_pad ? attr_pad_value(&nd->attr) : 0);
}

/* Rows [B..., V, R...] by numbers [B..., I...] at [B..., I..., R...]. */
static int gather_value(Lower *lo, const Node *nd, const Access *a)
{
    const Node *rows = &lo->g->node[nd->arg[0].id], *numbers = &lo->g->node[nd->arg[1].id];
    int nb = (int)nd->attr.v[0], picked;
    Affine index[MAX_RANK], of[MAX_RANK];
    Access at;

    access_axes(lo->mem, a, &nd->type, index);
    at = access_make(&numbers->type, index);
    picked = low_pick(lo, nd->loc, lower_value(lo, nd->arg[1].id, &at), rows->type.dim[nb]);
    memcpy(of, index, (size_t)nb * sizeof *of);
    of[nb] = aff_var(lo->mem, picked, 1);
    memcpy(of + nb + 1, index + numbers->type.rank, (size_t)(rows->type.rank - nb - 1) * sizeof *of);
    at = access_make(&rows->type, of);
    return lower_value(lo, nd->arg[0].id, &at);
}

static int one_hot_value(Lower *lo, const Node *nd, const Access *a)
{
    const Node *label = &lo->g->node[nd->arg[0].id];
    Access of = access_arg(lo->mem, nd, &label->type, a);
    Affine index[MAX_RANK];
    int eq[2];

    access_axes(lo->mem, a, &nd->type, index);
    eq[0] = low_cast(lo, nd->loc, lower_value(lo, nd->arg[0].id, &of), label->type.dtype, DT_i32);
    eq[1] = low_index(lo, nd->loc, index[nd->type.rank - 1]);
    return low_let(lo, nd->loc, OP_eq, DT_bool, DT_i32, 2, eq);
}

/* The value where the place along the new axes is `at`, 0 elsewhere. */
static int put_value(Lower *lo, const Node *nd, const Access *a)
{
    const Type *type = &lo->g->node[nd->arg[0].id].type;
    Affine index[MAX_RANK], from[MAX_RANK], place = aff_const(0);
    int eq[2], arg[3], n = 0;

    access_axes(lo->mem, a, &nd->type, index);
    for (int i = 0; i < nd->type.rank; i++)
        if (attr_has(nd->attr.v, nd->attr.n / 2, i))
            place = aff_add(lo->mem, aff_scale(lo->mem, place, nd->type.dim[i]), index[i]);
        else
            from[n++] = index[i];
    Access at = access_make(type, from);

    eq[0] = lower_value(lo, nd->arg[1].id, &at);
    eq[1] = low_index(lo, nd->loc, place);
    arg[0] = low_let(lo, nd->loc, OP_eq, DT_bool, DT_i32, 2, eq);
    arg[1] = lower_value(lo, nd->arg[0].id, &at);
    arg[2] = low_const(lo, nd->loc, nd->type.dtype, 0);
    return low_let(lo, nd->loc, OP_select, nd->type.dtype, nd->type.dtype, 3, arg);
}

static int index_value(Lower *lo, const Node *nd, const Access *a)
{
    Affine index[MAX_RANK];

    if (nd->op == OP_one_hot)
        return one_hot_value(lo, nd, a);
    if (nd->op == OP_put)
        return put_value(lo, nd, a);
    if (nd->op == OP_random)
        return random_value(lo, nd, a);
    if (nd->op == OP_gather)
        return gather_value(lo, nd, a);
    access_axes(lo->mem, a, &nd->type, index);
    return low_index(lo, nd->loc, index[nd->attr.v[0]]);
}

static int compute(Lower *lo, const Node *nd, const Access *a)
{
    switch (op_info[nd->op].cls) {
    case CLASS_POINT:
        return point_value(lo, nd, a);
    case CLASS_MOVE:
        return move_value(lo, nd, a);
    case CLASS_INDEX:
        return index_value(lo, nd, a);
    case CLASS_REDUCE:
    case CLASS_FOLD:
        return lower_head(lo, nd);
    case CLASS_LOOP:
        return lower_value(lo, nd->arg[nd->op == OP_next].id, a);
    case CLASS_EDGE:
        return nd->op == OP_read ? read_slot(lo, nd, a) : low_const(lo, nd->loc, nd->type.dtype, attr_value(&nd->attr));
    }
    return -1;
}

int lower_value(Lower *lo, int id, const Access *a)
{
    const Node *nd = &lo->g->node[id];
    int value;

    for (int i = 0; i < lo->nmemo; i++)
        if (lo->memo[i].node == id && lo->memo[i].condition == lo->guards.condition && access_equal(&lo->memo[i].at, a))
            return lo->memo[i].value;
    if (nd->kernel && nd->kernel != lo->number)
        value = low_load(lo, nd, lo->home[id], a);
    else
        value = compute(lo, nd, a);
    arena_push(lo->mem, lo->memo, lo->nmemo, lo->cmemo);
    lo->memo[lo->nmemo++] = (Memo){ id, *a, lo->guards.condition, value };
    return value;
}

/* ---- stores ---- */

void low_store(Lower *lo, const Node *nd, int buf, const Access *a, int value)
{
    Dtype dtype = lo->p->buf[buf].dtype;
    int stored = low_cast(lo, nd->loc, value, nd->type.dtype, dtype);
    Stmt *s = low_add(lo, ST_STORE, nd->loc);

    s->buf = buf;
    s->dtype = dtype;
    s->at = access_offset(lo->mem, a);
    s->narg = 1;
    s->arg[0] = stored;
}

static bool wanted(const Lower *lo, int id)
{
    if (lo->home[id] >= 0 || lo->stack[id])
        return true;
    for (int i = 0; i < lo->g->nwrite; i++)
        if (lo->g->write[i].value.id == id)
            return true;
    return false;
}

/* Into the place of this step among all steps. */
static void store_step(Lower *lo, const Node *stack, int buf, const Access *here, int value)
{
    const Node *nd = &lo->g->node[stack->arg[0].id];
    Affine index[MAX_RANK], all[MAX_RANK];
    Access at;

    access_axes(lo->mem, here, &nd->type, index);
    for (int i = 0, n = 0; i < stack->type.rank; i++)
        all[i] = i == stack->attr.v[SCAN_AXIS] ? access_step(lo->mem, stack) : index[n++];
    at = access_make(&stack->type, all);
    low_store(lo, nd, buf, &at, value);
}

static void store_node(Lower *lo, int id, const Access *here)
{
    const Node *nd = &lo->g->node[id];
    int value = lower_value(lo, id, here);

    if (lo->home[id] >= 0)
        low_store(lo, nd, lo->home[id], here, value);
    for (int s = lo->stack[id]; s; s = lo->next_stack[s])
        store_step(lo, &lo->g->node[s], lo->home[s], here, value);
    for (int i = 0; i < lo->g->nwrite; i++) {
        int buf = lo->slot_buf[lo->g->write[i].slot];

        if (lo->g->write[i].value.id == id && buf != lo->home[id])
            low_store(lo, nd, buf, here, value);
    }
}

/* ---- kernels ---- */

static bool is_head(const Node *nd)
{
    return op_info[nd->op].cls == CLASS_REDUCE || op_info[nd->op].cls == CLASS_FOLD;
}

/* The head first: schedule looks for its loops at the start. */
static void write_body(Lower *lo, const int *member, int n)
{
    Access here = access_make(&lo->domain, lo->index);

    for (int i = 0; i < n; i++)
        if (is_head(&lo->g->node[member[i]]))
            lower_value(lo, member[i], &here);
    for (int i = 0; i < n; i++)
        if (wanted(lo, member[i]))
            lower_value(lo, member[i], &here);
    for (int i = 0; i < n; i++)
        if (wanted(lo, member[i]))
            store_node(lo, member[i], &here);
}

static const Node *main_node(const Lower *lo, const int *member, int n)
{
    for (int i = 0; i < n; i++)
        if (is_head(&lo->g->node[member[i]]))
            return &lo->g->node[member[i]];
    return &lo->g->node[member[0]];
}

/* For people: "dot add sigmoid", the first few. */
static const char *describe(Lower *lo, const int *member, int n)
{
    const char *text = op_info[lo->g->node[member[0]].op].name;

    for (int i = 1; i < n && i < 6; i++)
        text = arena_printf(lo->mem, "%s %s", text, op_info[lo->g->node[member[i]].op].name);
    return n > 6 ? arena_printf(lo->mem, "%s ...", text) : text;
}

static double stmt_flops(const Stmt *s)
{
    double n = 0;

    for (; s; s = s->next) {
        if (s->kind == ST_FOR)
            n += (double)s->extent * stmt_flops(s->body);
        else if (s->kind == ST_FOLD)
            n += (double)s->count - 1;
        else if (s->kind == ST_LET && dt_is_float(s->dtype) && s->op != OP_cast && s->op != OP_select)
            n += s->op == OP_fma ? 2 : 1;
    }
    return n;
}

/* The gradient of attention that the kernel is, all of it; NULL: it is something else. */
static const AttentionGradient *kernel_gradient(const Lower *lo, int number)
{
    for (int i = 0; i < lo->ngradient; i++)
        if (lo->g->node[lo->gradient[i].p].kernel == number)
            return &lo->gradient[i];
    return NULL;
}

/* Those whose nodes fuse put into one kernel. */
static void find_gradients(Lower *lo)
{
    AttentionGradient *all;
    int                n = attention_gradients(lo->g, &all), member[ATTENTION_NODES];

    lo->gradient = arena_array(lo->mem, AttentionGradient, n);
    for (int i = 0; i < n; i++) {
        bool one = true;

        for (int j = attention_members(lo->g, &all[i], member) - 1; j >= 0; j--)
            one &= lo->g->node[member[j]].kernel == lo->g->node[all[i].p].kernel;
        if (one)
            lo->gradient[lo->ngradient++] = all[i];
    }
}

static Type kernel_domain(const Lower *lo, const Node *nd, Type last)
{
    const AttentionGradient *a = kernel_gradient(lo, lo->number);

    if (lower_is_rows(nd->op))
        return lower_rows_domain(lo, nd);
    if (!a)
        return last;
    last = lo->g->node[a->score].type;
    last.rank = a->rank - 2;
    return last;
}

static double kernel_flops(const Lower *lo, const Node *nd)
{
    if (kernel_gradient(lo, lo->number))
        return lower_attention_gradient_flops(lo, kernel_gradient(lo, lo->number));
    if (lower_is_attention(nd->op))
        return lower_attention_flops(lo, nd);
    return lower_is_sparse(nd->op) ? lower_sparse_flops(lo, nd) : stmt_flops(lo->k->body);
}

/* Loops over the domain's axes longer than 1, outermost first; the body goes into the last. */
static Stmt *domain_loops(Lower *lo, Loc loc, Stmt **innermost)
{
    Stmt *top = NULL;

    *innermost = NULL;
    for (int i = 0; i < lo->domain.rank; i++) {
        KList one = { 0 };

        lo->index[i] = aff_const(0);
        if (lo->domain.dim[i] == 1)
            continue;
        Stmt *loop = kern_add(lo->mem, &one, ST_FOR, loc);

        loop->id = lo->k->nvar++;
        loop->extent = lo->domain.dim[i];
        lo->index[i] = aff_var(lo->mem, loop->id, 1);
        if (*innermost)
            (*innermost)->body = loop;
        else
            top = loop;
        *innermost = loop;
    }
    return top;
}

/* Attention is written for a GPU's threads at once: its tiles follow from what it is. */
static bool writes_groups(const Lower *lo, const Node *nd)
{
    return lo->limits->warp && (lower_is_attention(nd->op) || kernel_gradient(lo, lo->number));
}

static Kernel *lower_kernel(Lower *lo, int number, const int *member, int n)
{
    const Node *nd = main_node(lo, member, n);
    KList body = { 0 };
    Stmt *innermost = NULL, *loops;

    lo->k = arena_new(lo->mem, Kernel);
    lo->k->name = arena_printf(lo->mem, "k%d", number);
    lo->k->loc = nd->loc;
    lo->k->what = describe(lo, member, n);
    lo->number = number;
    lo->k->scan = nd->op == OP_carry ? 0 : lo->scan[member[0]];
    lo->k->steps = lo->k->scan ? lo->steps[lo->k->scan] : 0;
    lo->k->nvar = lo->k->scan ? 1 : 0;
    lo->domain = kernel_domain(lo, nd, lo->g->node[member[n - 1]].type);
    lo->nmemo = 0;
    lo->guards = (Guards){ .condition = -1 };
    lo->k->scheduled = writes_groups(lo, nd);
    loops = lo->k->scheduled ? NULL : domain_loops(lo, nd->loc, &innermost);
    lo->out = &body;
    if (lower_is_rows(nd->op))
        lower_rows(lo, nd);
    else if (kernel_gradient(lo, number))
        (lo->limits->warp ? lower_attention_gradient_groups : lower_attention_gradient)(lo, kernel_gradient(lo, number));
    else
        write_body(lo, member, n);
    if (innermost)
        innermost->body = body.first;
    lo->k->body = loops ? loops : body.first;
    lo->k->flops = kernel_flops(lo, nd);
    return lo->k;
}

/* ---- the plan ---- */

/* What leaves a scan has the number of its last kernel, but nothing computes it there. */
static int computing_kernel(const Node *nd) { return scan_is_result(nd->op) ? 0 : nd->kernel; }

static Plan *lower_graph(Module *m, const Graph *g, const PassOptions *o)
{
    Lower lo = { .m = m, .limits = &o->limits, .g = g, .mem = &m->mem, .p = plan_new(m, g), .in_order = o->limits.warp != 0 };
    int *first = arena_array(lo.mem, int, g->nkernel + 2), *member = arena_array(lo.mem, int, g->nnode);

    lo.scan = scan_of_nodes(g);
    lo.steps = scan_steps(g);
    lower_buffers(&lo);
    find_gradients(&lo);
    for (int id = 1; id < g->nnode; id++)
        first[computing_kernel(&g->node[id])]++;
    for (int k = 0, n = 0; k <= g->nkernel; k++) {      /* counts to places; kernel 0 is no kernel */
        int count = k ? first[k] : 0;

        first[k] = n;
        n += count;
    }
    first[g->nkernel + 1] = 0;
    for (int id = 1; id < g->nnode; id++)
        if (computing_kernel(&g->node[id]))
            member[first[g->node[id].kernel]++] = id;
    for (int k = 1; k <= g->nkernel; k++) {
        int from = k == 1 ? 0 : first[k - 1];

        arena_push(lo.mem, lo.p->kernel, lo.p->nkernel, lo.p->ckernel);
        lo.p->kernel[lo.p->nkernel++] = lower_kernel(&lo, k, member + from, first[k] - from);
    }
    return lo.p;
}

void lower(Module *m, const PassOptions *o)
{
    m->plan = arena_array(&m->mem, Plan *, m->ngraph + 1);
    for (int i = 0; i < m->ngraph; i++)
        m->plan[i] = lower_graph(m, m->graph[i], o);
}
