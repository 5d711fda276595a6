/* random_graph.c - a graph at random: every row of ops.def, small shapes, values to trip over now and then.
 *
 * Half of the operations are drawn from all rows alike, so a new row is reached without a word here; the other
 * half are those that models are made of.  Arguments are earlier nodes that fit, the later the likelier, or new
 * leaves.  What a row's type rule refuses is drawn again.
 */
#include "tests/random/random_graph.h"

#include <string.h>

#include "ir/scan.h"

enum { MAX_NODES = 40, MAX_GRAPH = 400, MAX_IN = 6, MAX_OUT = 4, ARG_ELEMENTS = 2048, OUT_ELEMENTS = 4096, DOT_WORK = 1 << 15 };
enum { FLOATS = 1 << DT_f32 | 1 << DT_f64, WHOLE = 1 << DT_i32 | 1 << DT_i64 | 1 << DT_u8, ANY = (1 << NDTYPE) - 1 };

typedef struct Gen {
    Module  *m;
    Graph   *g;
    Rng      r;
    uint64_t number;
    bool     edges;              /* slots may hold special values */
    int64_t  size[3];            /* most axes have one of these sizes */
    int      in[MAX_IN], nin;
    bool     closed[MAX_GRAPH];  /* of nodes: in the body of a scan that has ended */
} Gen;

RandomMode random_mode(uint64_t number)
{
    static const int lanes[] = { 16, 8, 4 };
    uint64_t         block = number / RANDOM_BLOCK;

    return (RandomMode){ .lanes = lanes[block % 3], .simplify = block / 3 % 2, .skip_fuse = block % 8 == 6,
                         .skip_schedule = block % 8 == 7 };
}

/* ---- leaves ---- */

static Dtype gen_dtype(Gen *gen, int mask)
{
    for (;;) {
        int   i = rng_below(&gen->r, 12);
        Dtype d = i < 6 ? DT_f32 : i < 7 ? DT_f64 : i < 9 ? DT_i32 : i < 10 ? DT_bool : i < 11 ? DT_u8 : DT_i64;

        if (d == DT_f32 && gen->m->float64)
            d = DT_f64;
        if (mask >> d & 1)
            return d;
        if (!(mask & ~(1 << DT_f32)))
            return DT_f32;
    }
}

static int64_t gen_size(Gen *gen)
{
    static const int64_t size[] = { 1, 1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 24, 31, 33, 64 };

    return size[rng_below(&gen->r, (int)(sizeof size / sizeof *size))];
}

static Type gen_type(Gen *gen, Dtype d)
{
    int64_t dim[3];
    Type    t;

    do {
        int rank = rng_below(&gen->r, 8) ? 1 + rng_below(&gen->r, 3) : 0;

        for (int i = 0; i < rank; i++)
            dim[i] = rng_below(&gen->r, 8) ? gen->size[rng_below(&gen->r, 3)] : gen_size(gen);
        t = ty_make(d, rank, dim);
    } while (ty_count(&t) > ARG_ELEMENTS);
    return t;
}

static Ref gen_read(Gen *gen, Type t, char letter)
{
    char *name = arena_printf(&gen->m->mem, "%c%llu_%d", letter, (unsigned long long)gen->number, gen->m->nslot);
    int   slot = module_add_slot(gen->m, name, SLOT_param, t, (Loc){ 0 });

    if (gen->nin < MAX_IN)
        gen->in[gen->nin++] = slot;
    return graph_read(gen->g, (Loc){ 0 }, slot);
}

static Ref gen_const(Gen *gen, Type t)
{
    static const double value[] = { 0, 1, 2, 0.5, 3, 0.1, -1, -0.0, -0.25, 4, -3 };
    double x = value[rng_below(&gen->r, dt_is_float(t.dtype) ? 11 : 3)];

    if (dt_is_float(t.dtype) && gen->edges && rng_below(&gen->r, 4) == 0)
        x = arb_special(&gen->r, t.dtype);
    return graph_const(gen->g, (Loc){ 0 }, t, t.dtype == DT_bool ? x != 0 : dt_is_float(t.dtype) ? x : floor(x));
}

static char gen_letter(Gen *gen)
{
    return gen->edges && rng_below(&gen->r, 3) == 0 ? 'e' : rng_below(&gen->r, 4) ? 's' : 'p';
}

/* A row without arguments; a type that the row refuses gives a constant. */
static Ref gen_leaf(Gen *gen, Op op, Type t)
{
    const char *error;
    int64_t     v = op == OP_random ? rng_below(&gen->r, 1000) : t.rank ? rng_below(&gen->r, t.rank) : 0;
    Attr        attr = attr_make(&gen->m->mem, op_info[op].attr == ATTR_NONE ? 0 : 1, &v);
    Ref         r;

    if (op == OP_read)
        return gen_read(gen, t, gen_letter(gen));
    if (op == OP_const)
        return gen_const(gen, t);
    r = graph_make(gen->g, op, (Loc){ 0 }, 0, NULL, attr, &t, &error);
    return r.id ? r : gen_const(gen, t);
}

static Ref any_leaf(Gen *gen, Type t)
{
    switch (rng_below(&gen->r, 6)) {
    case 0:  return gen_const(gen, t);
    case 1:  return gen_leaf(gen, dt_is_float(t.dtype) ? OP_random : t.dtype == DT_bool ? OP_training : OP_iota, t);
    default: return gen_leaf(gen, gen->nin < MAX_IN ? OP_read : OP_const, t);
    }
}

/* ---- arguments ---- */

/* A node of one of these dtypes, and of this shape unless like is NULL. */
static Ref gen_arg(Gen *gen, int mask, const Type *like)
{
    int n = gen->g->nnode - 1, id = n ? 1 + rng_below(&gen->r, n) : 0;

    if (n && rng_below(&gen->r, 2)) {
        int later = 1 + rng_below(&gen->r, n);

        id = id > later ? id : later;
    }
    for (int i = 0; i < n && rng_below(&gen->r, 16); i++, id = id > 1 ? id - 1 : n) {
        const Type *t = &gen->g->node[id].type;

        if (!gen->closed[id] && mask >> t->dtype & 1 && ty_count(t) <= ARG_ELEMENTS && (!like || ty_same_shape(t, like)))
            return (Ref){ id };
    }
    Dtype d = gen_dtype(gen, mask);
    return any_leaf(gen, like ? ty_with(*like, d) : gen_type(gen, d));
}

/* Away from 0 where the row's domain says so, most of the time. */
static Ref into_domain(Gen *gen, Op op, Ref a)
{
    Type t = graph_at(gen->g, a)->type;

    if ((op_info[op].domain != DOM_POS && op_info[op].domain != DOM_NZ) || !dt_is_float(t.dtype)
        || rng_below(&gen->r, 4) == 0)
        return a;
    if (rng_below(&gen->r, 2))
        return gen_read(gen, t, 'p');
    a = graph_op1(gen->g, OP_abs, (Loc){ 0 }, a);
    return graph_op2(gen->g, OP_maximum, (Loc){ 0 }, a, graph_const(gen->g, (Loc){ 0 }, t, 0.1));
}

/* What the first argument may be; the type rule has the last word. */
static int first_mask(Gen *gen, Op op)
{
    if (op_info[op].domain == DOM_BOOL || op == OP_select)
        return 1 << DT_bool;
    if (op == OP_one_hot)
        return WHOLE;
    return rng_below(&gen->r, 5) ? FLOATS : ANY;
}

static void gen_args(Gen *gen, Op op, Ref *arg)
{
    for (int i = 0; i < op_info[op].narg; i++) {
        Type first = i ? graph_at(gen->g, arg[0])->type : ty_scalar(DT_f32);
        int  mask = i == 0 ? first_mask(gen, op) : 1 << first.dtype;

        if (op == OP_select && i > 0)
            mask = i == 1 ? ANY : 1 << graph_at(gen->g, arg[1])->type.dtype;
        arg[i] = gen_arg(gen, mask, i && op_info[op].cls == CLASS_POINT ? &first : NULL);
        arg[i] = into_domain(gen, op, arg[i]);
    }
}

/* ---- attributes ---- */

/* Two axes become one, or one becomes two. */
static Attr gen_shape(Gen *gen, const Type *a)
{
    int64_t v[MAX_RANK + 1];
    int     at = rng_below(&gen->r, a->rank), n = 0, split = rng_below(&gen->r, 2);

    for (int i = 0; i < a->rank; i++) {
        int64_t part = 2 + rng_below(&gen->r, 4), dim = a->dim[i];

        if (i == at && split && a->rank < MAX_RANK && dim % part == 0) {
            v[n++] = part;
            v[n++] = dim / part;
        } else if (i == at && !split && n > 0) {
            v[n - 1] *= dim;
        } else {
            v[n++] = dim;
        }
    }
    return attr_make(&gen->m->mem, n, v);
}

static Attr gen_attr(Gen *gen, Op op, const Type *a, const Type *b)
{
    Attr    attr = arb_attr(&gen->r, &gen->m->mem, op_info[op].attr, a, b);
    int64_t f64 = DT_f64;

    if (op_info[op].attr == ATTR_SHAPE && a->rank && rng_below(&gen->r, 2))
        return gen_shape(gen, a);
    if (op_info[op].attr == ATTR_DTYPE && gen->m->float64 && attr.v[0] == DT_f32)
        return attr_make(&gen->m->mem, 1, &f64);
    return attr;
}

/* A tensor as [N, 1, 1, S...], and a few taps for it. */
static void gen_conv_args(Gen *gen, Ref *arg)
{
    Type    t = graph_at(gen->g, arg[0])->type;
    int     spatial = t.rank > 2 ? 2 : t.rank > 1 ? 1 : 0;
    int64_t x[5] = { 1, 1, 1, 1, 1 }, w[5] = { 1, 1 + rng_below(&gen->r, 4), 1, 1, 1 };

    for (int i = 0; i < t.rank; i++)
        x[i < t.rank - spatial ? 0 : 3 + i - (t.rank - spatial)] *= t.dim[i];
    for (int i = 0; i < spatial; i++)
        w[3 + i] = 1 + rng_below(&gen->r, 3);
    arg[0] = graph_reshape(gen->g, (Loc){ 0 }, arg[0], 3 + spatial, x);
    arg[1] = any_leaf(gen, ty_make(t.dtype, 3 + spatial, w));
}

/* Arguments for what asks for more than equal axes, of the ones there are. */
static void gen_fit(Gen *gen, Op op, Ref *arg)
{
    if (op == OP_conv && dt_is_float(graph_at(gen->g, arg[0])->type.dtype))
        gen_conv_args(gen, arg);
    if (op_info[op].attr == ATTR_SCORES && graph_at(gen->g, arg[0])->type.rank > 1 && dt_is_float(graph_at(gen->g, arg[0])->type.dtype)) {
        Type k = graph_at(gen->g, arg[0])->type;

        k.dim[k.rank - 2] = 1 + rng_below(&gen->r, 9);
        arg[1] = any_leaf(gen, k);
        k.dim[k.rank - 1] = 1 + rng_below(&gen->r, 9);
        arg[2] = any_leaf(gen, k);
    }
    if (op == OP_put) {
        Type t = graph_at(gen->g, arg[0])->type;

        arg[1] = gen_arg(gen, 1 << DT_i32, &t);
    }
    if (op == OP_gather)
        arg[1] = gen_arg(gen, WHOLE, NULL);
    if (op == OP_scatter) {
        arg[0] = gen_arg(gen, WHOLE, NULL);
        Type rows = ty_with(graph_at(gen->g, arg[0])->type, gen_dtype(gen, FLOATS));

        if (rows.rank < 3 && ty_count(&rows) < 256)
            rows.dim[rows.rank++] = gen_size(gen);
        arg[1] = any_leaf(gen, rows);
    }
}

/* Multiplications of a contraction. */
static double dot_work(const Attr *attr, const Type *a, const Type *b)
{
    DotAxes d = attr_dot(attr);
    double  n = (double)ty_count(a) * (double)ty_count(b);

    for (int i = 0; i < d.nc; i++)
        n /= (double)a->dim[d.ac[i]];
    for (int i = 0; i < d.nb; i++)
        n /= (double)a->dim[d.ab[i]];
    return n;
}

static bool needs_axes(AttrKind kind) { return kind == ATTR_AXES || kind == ATTR_AXIS; }

static void gen_node(Gen *gen)
{
    static const Op common[] = { OP_add, OP_sub, OP_mul, OP_mul, OP_neg, OP_relu, OP_maximum, OP_tanh, OP_sum, OP_sum,
                                 OP_max, OP_dot, OP_dot, OP_expand, OP_reshape, OP_transpose, OP_select };
    const char *error;
    Op          op = rng_below(&gen->r, 2) ? (Op)rng_below(&gen->r, NOP)
                                           : common[rng_below(&gen->r, (int)(sizeof common / sizeof *common))];
    Ref         arg[3] = { { 0 } };

    if (op == OP_grad || op == OP_variable)      /* of the one a few stand at the end; update ends the other */
        return;
    if (op_info[op].attr == ATTR_LOOP || op == OP_spread || op == OP_collect)     /* they fit only together; made behind autodiff */
        return;
    if (op_info[op].narg == 0) {
        int mask = op == OP_iota ? 1 << DT_i32 : op == OP_training ? 1 << DT_bool : op == OP_random ? FLOATS : ANY;

        gen_leaf(gen, op, gen_type(gen, gen_dtype(gen, mask)));
        return;
    }
    gen_args(gen, op, arg);
    gen_fit(gen, op, arg);
    Type a = graph_at(gen->g, arg[0])->type, b = graph_at(gen->g, arg[op_info[op].narg > 1])->type;
    if (needs_axes(op_info[op].attr) && !a.rank)
        return;
    Attr attr = gen_attr(gen, op, &a, &b);
    if (op == OP_dot && dot_work(&attr, &a, &b) > DOT_WORK)
        return;
    graph_make(gen->g, op, (Loc){ 0 }, op_info[op].narg, arg, attr, NULL, &error);
}

/* ---- scans ---- */

enum { MAX_STEPS = 5, MAX_CARRIES = 2, BODY_NODES = 9 };

typedef struct Loop { int64_t number, steps, back; int body; Ref carry[MAX_CARRIES], end; int ncarry; } Loop;

/* A new sequence's element of each step. */
static Ref gen_element(Gen *gen, const Loop *l, Type t)
{
    int64_t axis = rng_below(&gen->r, t.rank + 1);

    return scan_element(gen->g, (Loc){ 0 }, gen_read(gen, ty_insert(t, 1, &axis, &l->steps), gen_letter(gen)), l->number, axis, l->back);
}

/* The last node in the body of a type, or something made for it. */
static Ref gen_next_value(Gen *gen, const int *scan, int nscan, const Loop *l, Ref carry)
{
    Type t = graph_at(gen->g, carry)->type;

    for (int id = nscan - 1; id > l->body; id -= 1 + rng_below(&gen->r, 2))
        if (scan[id] == l->number + 1 && ty_equal(&graph_at(gen->g, (Ref){ id })->type, &t))
            return (Ref){ id };
    if (t.dtype == DT_bool)
        return graph_op1(gen->g, OP_not, (Loc){ 0 }, carry);
    if (t.dtype == DT_u8)
        return carry;
    return graph_op2(gen->g, dt_is_float(t.dtype) ? OP_sub : OP_add, (Loc){ 0 }, carry, graph_const(gen->g, (Loc){ 0 }, t, 1));
}

/* Closes the scan; the lasts, and stacks of some of the body. */
static void gen_leave(Gen *gen, Loop *l)
{
    int  nscan = gen->g->nnode;
    int *scan = scan_of_nodes(gen->g);

    for (int i = 0; i < l->ncarry; i++)
        l->end = scan_next(gen->g, l->carry[i], gen_next_value(gen, scan, nscan, l, l->carry[i]), l->end);
    nscan = gen->g->nnode;
    scan = scan_of_nodes(gen->g);
    for (int i = 0; i < l->ncarry; i++)
        if (i == 0 || rng_below(&gen->r, 2))
            scan_last(gen->g, l->carry[i], l->end);
    for (int tries = 0, made = 0; tries < 8 && made < 2; tries++) {
        int         id = l->body + rng_below(&gen->r, nscan - l->body);
        const Type *t = &graph_at(gen->g, (Ref){ id })->type;

        if (scan[id] != l->number + 1 || graph_at(gen->g, (Ref){ id })->op == OP_next || ty_count(t) * l->steps > ARG_ELEMENTS || t->rank == MAX_RANK)
            continue;
        scan_stack(gen->g, (Loc){ 0 }, (Ref){ id }, l->end, l->number, l->steps, rng_below(&gen->r, t->rank + 1), rng_below(&gen->r, 2));
        made++;
    }
    for (int id = 1; id < nscan; id++)
        gen->closed[id] = scan[id] != 0;
}

static void gen_scan(Gen *gen)
{
    Loop l = { .number = scan_free_number(gen->g), .steps = 1 + rng_below(&gen->r, MAX_STEPS), .back = rng_below(&gen->r, 2) };
    Type t = gen_type(gen, gen_dtype(gen, rng_below(&gen->r, 4) ? FLOATS : ANY));

    if (ty_count(&t) * l.steps > ARG_ELEMENTS || t.rank == MAX_RANK)
        return;
    l.ncarry = rng_below(&gen->r, MAX_CARRIES + 1);
    l.carry[0] = l.ncarry ? gen_arg(gen, 1 << t.dtype, &t) : (Ref){ 0 };
    l.carry[1] = l.ncarry > 1 ? gen_arg(gen, FLOATS, NULL) : (Ref){ 0 };
    l.body = gen->g->nnode;
    for (int i = 0; i < l.ncarry; i++)
        l.carry[i] = scan_carry(gen->g, (Loc){ 0 }, l.carry[i], l.number, l.steps, i);
    Ref element = gen_element(gen, &l, t);

    if (l.ncarry && rng_below(&gen->r, 2) && dt_is_float(t.dtype))
        graph_op2(gen->g, OP_add, (Loc){ 0 }, element, l.carry[0]);
    for (int k = rng_below(&gen->r, BODY_NODES); k > 0; k--)
        gen_node(gen);
    gen_leave(gen, &l);
}

/* ---- derivatives ---- */

/* One before `below`; 0 if none is found. */
static Ref float_node(Gen *gen, int below)
{
    for (int tries = 0; tries < 20; tries++) {
        int         id = 1 + rng_below(&gen->r, below - 1);
        const Type *t = &gen->g->node[id].type;

        if (!gen->closed[id] && dt_is_float(t->dtype) && ty_count(t) <= OUT_ELEMENTS)
            return (Ref){ id };
    }
    return (Ref){ 0 };
}

/* Some derivatives, and those of what is computed from them. */
static void gen_grads(Gen *gen)
{
    for (int i = 0; i < 2; i++) {
        Ref y = float_node(gen, gen->g->nnode), x = y.id ? float_node(gen, y.id + 1) : y;

        if (x.id)
            graph_op2(gen->g, OP_grad, (Loc){ 0 }, y, x);
        for (int k = 0; k < 4; k++)
            gen_node(gen);
    }
}

/* ---- results ---- */

/* A slot that is read and has the type, so that it is written in place; -1: none, or a slot of its own is better. */
static int in_place(Gen *gen, const Type *t, bool *used)
{
    for (int k = 0; k < gen->nin && rng_below(&gen->r, 4); k++) {
        if (used[k] || !ty_equal(t, &gen->m->slot[gen->in[k]].type))
            continue;
        used[k] = true;
        return gen->in[k];
    }
    return -1;
}

/* Writes some of the last nodes. */
static void gen_writes(Gen *gen)
{
    bool used[MAX_IN] = { false };
    int  nout = 0;

    for (int id = gen->g->nnode - 1; id > 0 && nout < MAX_OUT; id -= 1 + rng_below(&gen->r, 3)) {
        const Type *t = &gen->g->node[id].type;
        int         slot = ty_count(t) <= OUT_ELEMENTS ? in_place(gen, t, used) : -1;

        if (gen->closed[id] || ty_count(t) > OUT_ELEMENTS || (op_info[gen->g->node[id].op].cls == CLASS_EDGE && rng_below(&gen->r, 4)))
            continue;
        if (slot < 0)
            slot = module_add_slot(gen->m, arena_printf(&gen->m->mem, "y%llu_%d", (unsigned long long)gen->number,
                                                        gen->m->nslot), SLOT_state, *t, (Loc){ 0 });
        graph_write(gen->g, (Loc){ 0 }, slot, (Ref){ id });
        nout++;
    }
}

Graph *random_graph(Module *m, uint64_t number, int index)
{
    Rng seed = { number };
    Gen gen = { .m = m, .number = number, .r = { rng_next(&seed) } };
    int nodes = 4 + rng_below(&gen.r, MAX_NODES - 8);

    gen.g = graph_new(m, ENTRY_TRAIN, index + 1);
    gen.edges = rng_below(&gen.r, 8) == 0;
    for (int i = 0; i < 3; i++)
        gen.size[i] = gen_size(&gen);
    for (int k = 2 + rng_below(&gen.r, 2); k > 0; k--)
        gen_read(&gen, gen_type(&gen, gen_dtype(&gen, FLOATS)), gen_letter(&gen));
    for (int tries = 0; gen.g->nnode <= nodes && tries < 1000; tries++) {
        if (number % 5 == 2 && rng_below(&gen.r, 12) == 0 && gen.g->nnode < 60)
            gen_scan(&gen);
        gen_node(&gen);
    }
    if (number % 4 == 3)
        gen_grads(&gen);
    gen_writes(&gen);
    module_add_graph(m, gen.g);
    return gen.g;
}

static uint64_t hash_name(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

void random_fill(const Slot *s, Tensor *t)
{
    Rng   r = { hash_name(s->name) };
    Dtype d = t->type.dtype;

    for (int64_t i = 0; i < ty_count(&t->type); i++) {
        double x;

        if (s->name[0] == 'e')
            x = arb_special(&r, d);
        else if (d == DT_bool)
            x = rng_below(&r, 2);
        else if (dt_is_int(d))
            x = s->name[0] == 'p' ? 1 + rng_below(&r, 3) : rng_below(&r, 4);
        else
            x = s->name[0] == 'p' ? 0.1 + 2 * rng_unit(&r) : 2 * rng_unit(&r) - 1;
        tensor_set(t, i, x, false);
    }
}
