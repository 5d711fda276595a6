/* rules.c - the conditions of rules.def, and the attributes that they give to replacements. */
#include "passes/rules.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

static Ref bound(const Match *mt, char name) { return mt->bound[name - 'a']; }

static const Type *type_of(const Match *mt, char name)
{
    return &graph_at(mt->g, bound(mt, name))->type;
}

static double value_of(const Match *mt, char name)
{
    return attr_value(&graph_at(mt->g, bound(mt, name))->attr);
}

static bool give(Match *mt, int n, const int64_t *v)
{
    mt->attr = attr_make(&mt->g->m->mem, n, v);
    return true;
}

static bool always(Match *mt)
{
    (void)mt;
    return true;
}

static bool whole(Match *mt)     { return dt_is_int(mt->node[0]->type.dtype); }
static bool floats(Match *mt)    { return dt_is_float(mt->node[0]->type.dtype); }
static bool same_type(Match *mt) { return ty_equal(&mt->node[0]->type, type_of(mt, 'x')); }

/* ---- constants ---- */

/* Neither too large for a dtype nor denormal in it, with two binary orders to spare for rounding. */
static bool is_normal(double x, Dtype d)
{
    double least = d == DT_f32 ? FLT_MIN : DBL_MIN, most = d == DT_f32 ? FLT_MAX : DBL_MAX;

    return fabs(x) >= 4 * least && fabs(x) <= most / 4;
}

static bool constants_normal(const Match *mt, double combined)
{
    Dtype d = mt->node[0]->type.dtype;

    return dt_is_float(d) && is_normal(value_of(mt, 'c'), d) && is_normal(value_of(mt, 'd'), d) && is_normal(combined, d);
}

static bool product_normal(Match *mt)  { return constants_normal(mt, value_of(mt, 'c') * value_of(mt, 'd')); }
static bool quotient_normal(Match *mt) { return constants_normal(mt, value_of(mt, 'd') / value_of(mt, 'c')); }
static bool ratio_normal(Match *mt)    { return constants_normal(mt, value_of(mt, 'c') / value_of(mt, 'd')); }

static bool power_of_two(Match *mt)
{
    double c = value_of(mt, 'c');
    int    exponent;

    return is_normal(c, mt->node[0]->type.dtype) && is_normal(1 / c, mt->node[0]->type.dtype)
        && fabs(frexp(c, &exponent)) == 0.5;
}

/* Is every value of from also one of to? */
static bool is_lossless(Dtype from, Dtype to)
{
    switch (from) {
    case DT_bool: return true;
    case DT_u8:   return to != DT_bool;
    case DT_i32:  return to == DT_i32 || to == DT_i64 || to == DT_f64;
    case DT_f32:  return to == DT_f32 || to == DT_f64;
    case DT_i64:  return to == DT_i64;
    case DT_f64:  return to == DT_f64;
    case NDTYPE:  break;
    }
    assert(!"a dtype");
    return false;
}

/* The first of two casts changes no value.  It may still change what the second does: float to integer
 * saturates where integer to integer drops bits. */
static bool first_lossless(Match *mt)
{
    int64_t last = mt->node[0]->type.dtype;
    Dtype   first = mt->node[1]->type.dtype, x = type_of(mt, 'x')->dtype;
    bool    same_kind = dt_is_float(first) == dt_is_float(x);

    if (!is_lossless(x, first) || !(same_kind || !dt_is_int((Dtype)last) || is_lossless(x, (Dtype)last)))
        return false;
    return give(mt, 1, &last);
}

/* ---- movement ---- */

static bool root_shape(Match *mt)
{
    return give(mt, mt->node[0]->type.rank, mt->node[0]->type.dim);
}

static bool perm_identity(Match *mt)
{
    const Attr *perm = &mt->node[0]->attr;

    for (int i = 0; i < perm->n; i++) {
        if (perm->v[i] != i)
            return false;
    }
    return true;
}

static bool perms_compose(Match *mt)
{
    const Attr *outer = &mt->node[0]->attr, *inner = &mt->node[1]->attr;
    int64_t     perm[MAX_RANK];

    for (int i = 0; i < outer->n; i++)
        perm[i] = inner->v[outer->v[i]];
    return give(mt, outer->n, perm);
}

/* An axis of the result is new if the outer expand made it, or if the inner made the axis it was then. */
static bool axes_merge(Match *mt)
{
    const Node *outer = mt->node[0], *inner = mt->node[1];
    int64_t     v[2 * MAX_RANK];
    int         n = 0, between = 0;

    for (int i = 0; i < outer->type.rank; i++) {
        bool is_outer = attr_has(outer->attr.v, outer->attr.n / 2, i);

        if (is_outer || attr_has(inner->attr.v, inner->attr.n / 2, between))
            v[n++] = i;
        between += !is_outer;
    }
    for (int i = 0; i < n; i++)
        v[n + i] = outer->type.dim[v[i]];
    return give(mt, 2 * n, v);
}

static bool inserts_units(Match *mt)
{
    const Attr *axes = &mt->node[0]->attr;

    for (int i = axes->n / 2; i < axes->n; i++) {
        if (axes->v[i] != 1)
            return false;
    }
    return root_shape(mt);
}

/* The reshape leaves the axes that x has as they are, and splits or joins those that the expand made, between them. */
static bool splits_new(Match *mt)
{
    const Node *outer = mt->node[0], *inner = mt->node[1];
    int64_t     v[2 * MAX_RANK];
    int         n = 0, at = 0;

    for (int i = 0; i < inner->type.rank; i++) {
        int64_t count = 1;

        if (!attr_has(inner->attr.v, inner->attr.n / 2, i)) {
            if (at == outer->type.rank || outer->type.dim[at++] != inner->type.dim[i])
                return false;
            continue;
        }
        while (i + 1 < inner->type.rank && attr_has(inner->attr.v, inner->attr.n / 2, i + 1))
            count *= inner->type.dim[i++];
        count *= inner->type.dim[i];
        while (at < outer->type.rank && count % outer->type.dim[at] == 0 && (count > 1 || i + 1 == inner->type.rank)) {
            v[n++] = at;
            count /= outer->type.dim[at++];
        }
        if (count != 1)
            return false;
    }
    if (at != outer->type.rank)
        return false;
    for (int i = 0; i < n; i++)
        v[n + i] = outer->type.dim[v[i]];
    return give(mt, 2 * n, v);
}

static bool takes_all(Match *mt)
{
    const int64_t *v = mt->node[0]->attr.v;

    for (int i = 0; i < type_of(mt, 'x')->rank; i++)
        if (v[3 * i] != 0 || v[3 * i + 1] != 1)
            return false;
    return same_type(mt);
}

static bool folds_units(Match *mt)
{
    const Attr *axes = &mt->node[0]->attr;

    for (int i = 0; i < axes->n; i++) {
        if (type_of(mt, 'x')->dim[axes->v[i]] != 1)
            return false;
    }
    return root_shape(mt);
}

/* ---- dot ---- */

/* Axes that stay in the result keep their order there, so the argument must have them in the same order. */
static bool keeps_free_order(const Attr *perm, int nb, const int64_t *batch, int nc, const int64_t *fold)
{
    int64_t last = -1;

    for (int i = 0; i < perm->n; i++) {
        if (attr_has(batch, nb, i) || attr_has(fold, nc, i))
            continue;
        if (perm->v[i] < last)
            return false;
        last = perm->v[i];
    }
    return true;
}

static const int64_t *through(Arena *mem, const Attr *perm, int n, const int64_t *axis)
{
    int64_t *v = arena_array(mem, int64_t, n);

    for (int i = 0; i < n; i++)
        v[i] = perm->v[axis[i]];
    return v;
}

static bool left_axes(Match *mt)
{
    Arena      *mem = &mt->g->m->mem;
    DotAxes     d = attr_dot(&mt->node[0]->attr);
    const Attr *perm = &mt->node[1]->attr;

    if (!keeps_free_order(perm, d.nb, d.ab, d.nc, d.ac))
        return false;
    mt->attr = attr_dot_make(mem, d.nb, through(mem, perm, d.nb, d.ab), d.bb, d.nc, through(mem, perm, d.nc, d.ac), d.bc);
    return true;
}

static bool right_axes(Match *mt)
{
    Arena      *mem = &mt->g->m->mem;
    DotAxes     d = attr_dot(&mt->node[0]->attr);
    const Attr *perm = &mt->node[1]->attr;

    if (!keeps_free_order(perm, d.nb, d.bb, d.nc, d.bc))
        return false;
    mt->attr = attr_dot_make(mem, d.nb, d.ab, through(mem, perm, d.nb, d.bb), d.nc, d.ac, through(mem, perm, d.nc, d.bc));
    return true;
}

/* dot(y, x) has y's free axes before x's.  Not where someone else needs the dot as it is: that would be a
 * second contraction to save a transpose. */
static bool sides_change(Match *mt)
{
    const Attr *perm = &mt->node[0]->attr;
    DotAxes     d = attr_dot(&mt->node[1]->attr);
    int         nx = type_of(mt, 'x')->rank - d.nb - d.nc, ny = perm->n - d.nb - nx;

    if (mt->arg_shared)
        return false;
    for (int i = 0; i < perm->n; i++) {
        int from = i < d.nb ? i : i < d.nb + ny ? i + nx : i - ny;

        if (perm->v[i] != from)
            return false;
    }
    mt->attr = attr_dot_make(&mt->g->m->mem, d.nb, d.bb, d.ab, d.nc, d.bc, d.ac);
    return true;
}

/* ---- the table ---- */

const RuleInfo rule_info[NRULE] = {
#define RULE(name, pattern, replacement, condition, kind) { #name, pattern, replacement, #condition, condition, kind },
#include "passes/rules.def"
#undef RULE
};

const RuleExpr *rules_parse(Arena *mem)
{
    RuleExpr *rule = arena_array(mem, RuleExpr, NRULE);

    for (int i = 0; i < NRULE; i++) {
        int np, nr;

        rule[i].pattern = expr_table(mem, rule_info[i].pattern, &np)[0];
        rule[i].replacement = expr_table(mem, rule_info[i].replacement, &nr)[0];
        assert(np == 1 && nr == 1 && "one expression a side");
        if (!rules_op(rule[i].pattern, &rule[i].root))
            assert(!"a pattern is an operation");
    }
    return rule;
}

bool rules_number(const Expr *e, double *x)
{
    if (e->kind == EXPR_NUMBER) {
        *x = e->number;
        return true;
    }
    if (e->kind != EXPR_UNARY || strcmp(e->name, "neg") != 0 || e->arg[0]->kind != EXPR_NUMBER)
        return false;
    *x = -e->arg[0]->number;
    return true;
}

bool rules_op(const Expr *e, Op *op)
{
    double x;

    if (e->kind == EXPR_NAME || rules_number(e, &x))
        return false;
    bool found = op_parse(e->name, op);
    assert(found && "a rule names rows of ops.def");
    return found;
}

bool rules_is_const_name(const char *name)
{
    return name[0] >= 'c' && name[0] <= 'e';
}

static bool is_constant(const Expr *e)
{
    bool all = e->kind != EXPR_NAME || rules_is_const_name(e->name);

    for (int i = 0; i < e->narg && all; i++)
        all = is_constant(e->arg[i]);
    return all;
}

/* A contraction or a division costs more than what moves; a reshape moves nothing.  A reduction leaves less for those
 * behind it to do, so it comes early. */
static double own_weight(Op op)
{
    if (op_info[op].cls == CLASS_FOLD || op == OP_div)
        return 4;
    if (op_info[op].cls == CLASS_REDUCE)
        return 2.5;
    return op == OP_reshape ? 2 : 3;
}

double rules_weight(const Expr *e, const double weight[26])
{
    Op     op;
    double sum = 0;

    if (e->kind == EXPR_NAME && !rules_is_const_name(e->name))
        return weight[e->name[0] - 'a'];
    if (is_constant(e) || !rules_op(e, &op))
        return 1;
    for (int i = 0; i < e->narg; i++)
        sum += rules_weight(e->arg[i], weight);
    if (op == OP_neg)
        return sum + 1;
    return own_weight(op) + (op_info[op].props & PROP_MATH ? 4 : 2) * sum;
}
