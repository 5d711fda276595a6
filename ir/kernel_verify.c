/* kernel_verify.c - what must hold of a plan, whoever made it.
 *
 * Indices are affine and extents are known, so the least and the greatest place that a statement touches are
 * found without running anything.  The walker and the backends rely on every line of this.
 */
#include <inttypes.h>
#include <string.h>

#include "ir/kernel.h"

enum { MAX_VEC = 64, MAX_THREADS = 1024 };

typedef struct Check {
    const Plan   *p;
    Arena        *mem;
    const Kernel *k;
    int           number;                 /* of the kernel in the plan */
    /* by value, loop variable and local: the statement that defines it, and whether it can be seen here */
    const Stmt  **value, **var, **local;
    bool         *value_on, *var_on, *local_on;
    const Stmt  **local_vec;              /* the vec loop that a local is declared in, or NULL */
    const Stmt   *vec;                    /* the loop around, or NULL */
    const Stmt   *within;                 /* all that the `if`s around hold to, if they are `within`; NULL: nothing */
    const char   *error;
} Check;

static bool fault(Check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fault(Check *c, const char *fmt, ...)
{
    char    batch[32] = "";
    va_list ap;

    if (c->p->batch)
        snprintf(batch, sizeof batch, " %" PRId64, c->p->batch);
    va_start(ap, fmt);
    c->error = arena_printf(c->mem, "plan %s%s%s%s: %s", entry_name[c->p->entry], batch, c->k ? ", kernel " : "",
                            c->k ? c->k->name : "", arena_vprintf(c->mem, fmt, ap));
    va_end(ap);
    return false;
}

/* ---- indices ---- */

/* The least and the greatest value over all iterations of the loops around. */
static bool range(Check *c, Affine a, int64_t *least, int64_t *most)
{
    *least = *most = a.base;
    for (int i = 0; i < a.n; i++) {
        int     var = a.term[i].var;
        int64_t reach;

        if (var < 0 || var >= c->k->nvar || !c->var_on[var])
            return fault(c, "an index depends on i%d, which is no loop around it", var);
        if (i && a.term[i - 1].var >= var)
            return fault(c, "an index has the terms i%d and i%d out of order", a.term[i - 1].var, var);
        if (!a.term[i].coef)
            return fault(c, "an index has i%d 0 times", var);
        if (__builtin_mul_overflow(a.term[i].coef, c->var[var]->extent - 1, &reach) ||
            __builtin_add_overflow(reach < 0 ? *least : *most, reach, reach < 0 ? least : most))
            return fault(c, "an index is too large");
    }
    return true;
}

/* What is known of an index: it is rest + some number from least to most. */
typedef struct Known { Affine rest; int64_t least, most, low, high; } Known;   /* low .. high: all of it together */

static int64_t size(int64_t x) { return x < 0 ? -x : x; }

/* by times the form of g is taken out of the rest; counted is what of its range is inside.  False: too large, or a fault. */
static bool take_guard(Check *c, Known k, const Guard *g, int64_t by, Known *out)
{
    static const int64_t most = (int64_t)1 << 52;
    int64_t              largest = size(g->at.base) | g->size, reach, first, last;

    for (int i = 0; i < g->at.n; i++)
        largest |= size(g->at.term[i].coef);
    if (__builtin_mul_overflow(largest, size(by), &reach) || reach > most)
        return false;
    if (!range(c, g->at, &first, &last))
        return false;
    first = first < 0 ? 0 : first < g->size ? first : g->size - 1;
    last = last >= g->size ? g->size - 1 : last < first ? first : last;
    k.least += by * (by < 0 ? last : first);
    k.most += by * (by < 0 ? first : last);
    k.rest = aff_add(c->mem, k.rest, aff_scale(c->mem, g->at, -by));
    *out = k;
    return range(c, k.rest, &out->low, &out->high) && !__builtin_add_overflow(out->low, k.least, &out->low)
        && !__builtin_add_overflow(out->high, k.most, &out->high);
}

static bool narrower(Check *c, Known *k, const Guard *g)
{
    for (int i = 0; i < g->at.n; i++) {
        int64_t by = aff_coef(k->rest, g->at.term[i].var) / g->at.term[i].coef;
        Known   next;

        if (by && take_guard(c, *k, g, by, &next) && next.high - next.low < k->high - k->low) {
            *k = next;
            return true;
        }
    }
    return false;
}

/* A guard that no value of its variables meets. */
static bool never_holds(Check *c, const Guard *g)
{
    int64_t first, last;

    return range(c, g->at, &first, &last) && (last < 0 || first >= g->size);
}

/* The range where guards hold, 0 where they never do: a part of a may be a multiple of a guarded form, and has its range then.  Which guard
 * is looked at first matters, so each is; what lies in all the ranges found remains. */
static bool guarded_range(Check *c, Affine a, const Stmt *within, int64_t *least, int64_t *most)
{
    int n = within ? within->nguard : 0;
    int64_t low, high;

    if (!range(c, a, &low, &high))
        return false;
    for (int i = 0; i < n; i++)
        if (never_holds(c, &within->guard[i])) {
            *least = *most = 0;
            return true;
        }
    *least = low;
    *most = high;
    for (int first = 0; first < n && size(low) < INT64_MAX / 4 && size(high) < INT64_MAX / 4; first++) {
        Known k = { .rest = a, .low = low, .high = high };

        for (int i = 0; i < n; i++)
            narrower(c, &k, &within->guard[(first + i) % n]);
        *least = k.low > *least ? k.low : *least;
        *most = k.high < *most ? k.high : *most;
    }
    return !c->error;
}

static bool inside(Check *c, const char *what, int number, Affine at, const Stmt *within, int64_t elements, int64_t count)
{
    int64_t least, most;

    if (!guarded_range(c, at, within, &least, &most))
        return false;
    if (least < 0 || elements > count || most > count - elements)
        return fault(c, "%s%d is touched at %" PRId64 " .. %" PRId64 ", it has %" PRId64 " elements", what, number,
                     least, most > INT64_MAX - elements ? most : most + elements - 1, count);
    return true;
}

/* ---- what is defined ---- */

static bool define(Check *c, const char *what, const Stmt *s, int n, const Stmt **by, bool *on)
{
    if (s->id < 0 || s->id >= n)
        return fault(c, "%s%d is not among the kernel's %d", what, s->id, n);
    if (by[s->id])
        return fault(c, "%s%d is defined twice", what, s->id);
    by[s->id] = s;
    return on[s->id] = true;
}

static bool define_value(Check *c, const Stmt *s) { return define(c, "%", s, c->k->nvalue, c->value, c->value_on); }

static bool use(Check *c, int id, Dtype dtype)
{
    if (id < 0 || id >= c->k->nvalue || !c->value_on[id])
        return fault(c, "%%%d is used where it can't be seen", id);
    if (c->value[id]->dtype != dtype)
        return fault(c, "%%%d is %s, wanted is %s", id, dt_name(c->value[id]->dtype), dt_name(dtype));
    return true;
}

static bool check_args(Check *c, const Stmt *s, int n)
{
    return s->narg == n || fault(c, "%d arguments where %d are wanted", s->narg, n);
}

/* ---- points ---- */

static bool dtype_fits(const char *rule, Dtype d)
{
    if (!strcmp(rule, "floats"))
        return dt_is_float(d);
    if (!strcmp(rule, "logic"))
        return d == DT_bool;
    return strcmp(rule, "numeric") || d != DT_bool;
}

static bool check_let(Check *c, const Stmt *s)
{
    const OpInfo *op = s->op < NOP ? &op_info[s->op] : NULL;
    bool          compares = op && !strcmp(op->type_name, "compare"), same = op && !compares && s->op != OP_cast;

    if (!op || op->cls != CLASS_POINT)
        return fault(c, "%%%d is no operation on one element", s->id);
    if (!check_args(c, s, op->narg))
        return false;
    if (s->dtype >= NDTYPE || s->from >= NDTYPE || (compares && s->dtype != DT_bool) || (same && s->from != s->dtype) ||
        !dtype_fits(op->type_name, s->dtype))
        return fault(c, "%%%d: %s from %s to %s", s->id, op->name, s->from < NDTYPE ? dt_name(s->from) : "?",
                     s->dtype < NDTYPE ? dt_name(s->dtype) : "?");
    for (int i = 0; i < s->narg; i++)
        if (!use(c, s->arg[i], s->op == OP_select && i == 0 ? DT_bool : s->from))
            return false;
    return define_value(c, s);
}

/* ---- memory ---- */

/* The guards of both; either may be NULL. */
static const Stmt *both(Check *c, const Stmt *a, const Stmt *b)
{
    Stmt *all;

    if (!a || !b)
        return a ? a : b;
    all = arena_new(c->mem, Stmt);
    all->nguard = a->nguard + b->nguard;
    all->guard = arena_array(c->mem, Guard, all->nguard);
    memcpy(all->guard, a->guard, (size_t)a->nguard * sizeof *all->guard);
    memcpy(all->guard + a->nguard, b->guard, (size_t)b->nguard * sizeof *all->guard);
    return all;
}

static bool check_buffer_use(Check *c, const Stmt *s)
{
    const Stmt   *within = both(c, s->kind == ST_LOAD && s->narg ? c->value[s->arg[0]] : NULL, c->within);
    const Buffer *b;

    if (s->buf < 0 || s->buf >= c->p->nbuf)
        return fault(c, "there is no b%d", s->buf);
    b = &c->p->buf[s->buf];
    if (s->dtype != b->dtype)
        return fault(c, "b%d holds %s, not %s", s->buf, dt_name(b->dtype), s->dtype < NDTYPE ? dt_name(s->dtype) : "?");
    if (b->seg == SEG_SCRATCH && c->p->scratch_bytes >= 0 && (c->number < b->first || c->number > b->last))
        return fault(c, "b%d is touched when it is not alive", s->buf);
    if (b->seg == SEG_FIELD && !inside(c, "the row of b", s->buf, s->row, within, 1, c->p->batch))
        return false;
    return inside(c, "b", s->buf, s->at, within, 1, b->count);
}

static bool check_load(Check *c, const Stmt *s)
{
    if (s->narg && (!check_args(c, s, 1) || !use(c, s->arg[0], DT_bool)))
        return false;
    if (s->narg && c->value[s->arg[0]]->kind != ST_WITHIN)
        return fault(c, "%%%d, a load's condition, is no `within`", s->arg[0]);
    if (!check_buffer_use(c, s))
        return false;
    if (c->p->buf[s->buf].seg == SEG_OUTPUT || c->p->buf[s->buf].seg == SEG_METRIC)
        return fault(c, "b%d is loaded, it only flows out", s->buf);
    return define_value(c, s);
}

static bool check_store(Check *c, const Stmt *s)
{
    if (!check_args(c, s, 1) || !use(c, s->arg[0], s->dtype) || !check_buffer_use(c, s))
        return false;
    switch (c->p->buf[s->buf].seg) {
    case SEG_FIELD: case SEG_INPUT: case SEG_SCALAR: case NSEG:
        return fault(c, "b%d is stored to, it only flows in", s->buf);
    case SEG_STATE: case SEG_SCRATCH: case SEG_OUTPUT: case SEG_METRIC:
        break;
    }
    return true;
}

/* ---- locals ---- */

static bool check_declaration(Check *c, const Stmt *s)
{
    if (s->dtype >= NDTYPE || s->count < 1 || s->count > 1 << 20 || (s->scope == SCOPE_EACH && s->each < 1))
        return fault(c, "l%d: no array of registers", s->id);
    if (!define(c, "l", s, c->k->nlocal, c->local, c->local_on))
        return false;
    c->local_vec[s->id] = c->vec;
    return true;
}

/* In a scheduled kernel a local is registers: which one is known when code is made. */
static bool check_register(Check *c, const Stmt *s)
{
    int64_t      lane = c->vec ? aff_coef(s->at, c->vec->id) : 0;
    const Stmt  *inside_vec = c->local_vec[s->local];

    if (lane && (lane != 1 || s->kind == ST_FOLD || inside_vec == c->vec))
        return fault(c, "l%d is not reached lane by lane", s->local);
    if (lane && !c->vec->unroll && c->vec->extent / c->vec->lanes > 1)
        return fault(c, "l%d is reached along a vec loop that is not unrolled", s->local);
    if (lane && s->at.base % c->vec->lanes)
        return fault(c, "l%d is reached across vectors", s->local);
    for (int i = 0; i < s->at.n; i++) {
        const Stmt *loop = c->var[s->at.term[i].var];

        if (lane && loop == c->vec)
            continue;
        if (!loop->unroll)
            return fault(c, "the place in l%d depends on i%d, which is not unrolled", s->local, loop->id);
        if (lane && s->at.term[i].coef % c->vec->lanes)
            return fault(c, "l%d is reached across vectors", s->local);
    }
    return true;
}

static bool check_local(Check *c, const Stmt *s, int64_t elements)
{
    if (s->local < 0 || s->local >= c->k->nlocal || !c->local_on[s->local])
        return fault(c, "l%d is used where it can't be seen", s->local);
    if (c->local[s->local]->dtype != s->dtype)
        return fault(c, "l%d is %s", s->local, dt_name(c->local[s->local]->dtype));
    if (!inside(c, "l", s->local, s->at, c->within, elements, c->local[s->local]->count))
        return false;
    return !c->k->scheduled || c->local[s->local]->scope != SCOPE_OWN || check_register(c, s);
}

static bool check_mma(Check *c, const Stmt *s)
{
    int64_t depth = s->bf16 ? 16 : 8, span[2] = { 15, s->turned ? 7 : depth - 1 }, row[2] = { depth, s->turned ? depth : 8 };

    if (s->dtype != DT_f32 || s->nguard != 2 || !check_local(c, s, 1))
        return c->error ? false : fault(c, "an mma of %s", s->dtype < NDTYPE ? dt_name(s->dtype) : "?");
    for (int i = 0; i < 2; i++) {
        Stmt of = { .kind = ST_GET, .local = s->operand[i], .at = s->guard[i].at, .dtype = DT_f32 };

        if (s->guard[i].size < 1 || s->guard[i].size > 1 << 20)
            return fault(c, "rows of an mma are %" PRId64 " apart", s->guard[i].size);
        if (!check_local(c, &of, span[i] * s->guard[i].size + row[i]))
            return false;
    }
    return true;
}

static bool check_fold(Check *c, const Stmt *s)
{
    if (s->op != OP_add && s->op != OP_maximum && s->op != OP_minimum)
        return fault(c, "a fold by %s", s->op < NOP ? op_info[s->op].name : "?");
    bool threads = s->local >= 0 && s->local < c->k->nlocal && c->local_on[s->local] && c->local[s->local]->scope == SCOPE_EACH;

    if (s->count < 1 || s->count > (threads ? MAX_THREADS : MAX_VEC) || (s->count & (s->count - 1)))
        return fault(c, "a fold of %" PRId64 " elements, no power of two up to %d", s->count,
                     threads ? MAX_THREADS : MAX_VEC);
    return check_local(c, s, s->count) && define_value(c, s);
}

/* ---- statements ---- */

static bool check_list(Check *c, const Stmt *s);
static bool check_stmt(Check *c, const Stmt *s);

static bool check_marks(Check *c, const Stmt *s)
{
    if (s->extent < 1)
        return fault(c, "i%d runs %" PRId64 " times", s->id, s->extent);
    if (s->par && (s != c->k->body || s->next))
        return fault(c, "the loop i%d is parallel, but not all of its kernel", s->id);
    if (s->par && (s->lanes || s->unroll))
        return fault(c, "the loop i%d is parallel and has another mark", s->id);
    if (s->lanes && (s->lanes < 2 || s->lanes > MAX_VEC))
        return fault(c, "the loop i%d has %d lanes", s->id, s->lanes);
    if (s->sieve && (s->sieve < 2 || s->sieve > MAX_VEC || s->lanes || s->par || s->unroll || c->vec))
        return fault(c, "the loop i%d is a sieve of %d, and something else or in a vec loop", s->id, s->sieve);
    if (s->lanes && c->vec)
        return fault(c, "the vec loop i%d stands in the vec loop i%d", s->id, c->vec->id);
    return true;
}

/* What a body defines is out of sight behind it. */
static void leave(Check *c, const Stmt *s)
{
    for (; s; s = s->next) {
        if (s->kind == ST_LOCAL)
            c->local_on[s->id] = false;
        else if (s->kind == ST_PICK || s->kind == ST_PART)
            c->var_on[s->id] = false;
        else if (s->kind != ST_FOR && s->kind != ST_IF && s->id >= 0 && s->kind != ST_STORE && s->kind != ST_SET && s->kind != ST_MMA)
            c->value_on[s->id] = false;
    }
}

/* if %c { body }: values before it in a sieve are lanes of a vector, so the body sees none of them. */
static bool check_if(Check *c, const Stmt *s)
{
    if (c->vec)
        return fault(c, "an `if` stands in the vec loop i%d", c->vec->id);
    const Stmt *within = c->within;

    if (!check_args(c, s, 1) || !use(c, s->arg[0], DT_bool))
        return false;
    if (c->value[s->arg[0]]->kind == ST_WITHIN)
        c->within = both(c, c->value[s->arg[0]], within);
    if (!check_list(c, s->body))
        return false;
    leave(c, s->body);
    c->within = within;
    return true;
}

/* Values without effect, then one `if`. */
static bool check_sieve(Check *c, const Stmt *loop)
{
    const Stmt *s = loop->body;

    for (; s && s->kind != ST_IF; s = s->next)
        if ((s->kind != ST_LET && s->kind != ST_CONST && s->kind != ST_LOAD && s->kind != ST_INDEX) || !check_stmt(c, s))
            return c->error ? false : fault(c, "the sieve i%d holds more than values and an `if`", loop->id);
    if (!s || s->next)
        return fault(c, "the sieve i%d does not end with one `if`", loop->id);
    if (!use(c, s->arg[0], DT_bool))
        return false;
    leave(c, loop->body);
    c->value_on[s->arg[0]] = true;
    return check_if(c, s);
}

static bool check_for(Check *c, const Stmt *s)
{
    const Stmt *vec = c->vec;

    if (!check_marks(c, s) || !define(c, "i", s, c->k->nvar, c->var, c->var_on))
        return false;
    if (s->lanes)
        c->vec = s;
    if (s->sieve ? !check_sieve(c, s) : !check_list(c, s->body))
        return false;
    leave(c, s->body);
    c->var_on[s->id] = false;
    c->vec = vec;
    return true;
}

static bool check_index(Check *c, const Stmt *s)
{
    int64_t least, most;

    if (s->kind == ST_INDEX ? s->dtype != DT_i32 : !dt_is_float(s->dtype))
        return fault(c, "%%%d is no %s", s->id, s->kind == ST_INDEX ? "i32" : "float");
    return range(c, s->at, &least, &most) && define_value(c, s);
}

static bool check_within(Check *c, const Stmt *s)
{
    int64_t least, most;

    if (s->dtype != DT_bool || s->nguard < 1)
        return fault(c, "%%%d is no bool of guards", s->id);
    for (int i = 0; i < s->nguard; i++)
        if (s->guard[i].size < 1)
            return fault(c, "%%%d asks for an index below %" PRId64, s->id, s->guard[i].size);
        else if (!range(c, s->guard[i].at, &least, &most))
            return false;
    return define_value(c, s);
}

static bool check_pick(Check *c, const Stmt *s)
{
    if (s->extent < 1 || s->extent > (int64_t)1 << 53)
        return fault(c, "i%d is picked out of %" PRId64, s->id, s->extent);
    if (!check_args(c, s, 1) || s->arg[0] < 0 || s->arg[0] >= c->k->nvalue || !c->value_on[s->arg[0]])
        return fault(c, "i%d is picked by a value that can't be seen", s->id);
    if (!dt_is_int(c->value[s->arg[0]]->dtype))
        return fault(c, "i%d is picked by %s", s->id, dt_name(c->value[s->arg[0]]->dtype));
    return define(c, "i", s, c->k->nvar, c->var, c->var_on);
}

static bool check_part(Check *c, const Stmt *s)
{
    int64_t least, most;

    if (s->extent < 1 || s->count < 1)
        return fault(c, "i%d is part %" PRId64 " of what counts %" PRId64, s->id, s->extent, s->count);
    if (!guarded_range(c, s->at, c->within, &least, &most))
        return false;
    if (least < 0)
        return fault(c, "i%d is part of a number that may be %" PRId64, s->id, least);
    return define(c, "i", s, c->k->nvar, c->var, c->var_on);
}

static bool check_stmt(Check *c, const Stmt *s)
{
    switch (s->kind) {
    case ST_FOR:    return check_for(c, s);
    case ST_LET:    return check_let(c, s);
    case ST_CONST:  return s->dtype < NDTYPE ? define_value(c, s) : fault(c, "%%%d has no dtype", s->id);
    case ST_LOAD:   return check_load(c, s);
    case ST_STORE:  return check_store(c, s);
    case ST_INDEX:
    case ST_RANDOM: return check_index(c, s);
    case ST_LOCAL:  return check_declaration(c, s);
    case ST_GET:    return check_local(c, s, 1) && define_value(c, s);
    case ST_SET:    return check_args(c, s, 1) && use(c, s->arg[0], s->dtype) && check_local(c, s, 1);
    case ST_FOLD:   return check_fold(c, s);
    case ST_WITHIN: return check_within(c, s);
    case ST_PICK:   return check_pick(c, s);
    case ST_PART:   return check_part(c, s);
    case ST_IF:     return check_if(c, s);
    case ST_WAIT:   return s->count >= 0 || fault(c, "a wait for %" PRId64, s->count);
    case ST_MMA:    return check_mma(c, s);
    }
    return fault(c, "no such statement");
}

static bool check_list(Check *c, const Stmt *s)
{
    for (; s; s = s->next)
        if (!check_stmt(c, s))
            return false;
    return true;
}

static bool check_kernel(Check *c, int number)
{
    const Kernel *k = c->p->kernel[number];
    const char   *why;

    c->k = k;
    c->number = number;
    c->vec = NULL;
    c->value = arena_array(c->mem, const Stmt *, k->nvalue + 1);
    c->var = arena_array(c->mem, const Stmt *, k->nvar + 1);
    c->local = arena_array(c->mem, const Stmt *, k->nlocal + 1);
    c->local_vec = arena_array(c->mem, const Stmt *, k->nlocal + 1);
    c->value_on = arena_array(c->mem, bool, k->nvalue + 1);
    c->var_on = arena_array(c->mem, bool, k->nvar + 1);
    c->local_on = arena_array(c->mem, bool, k->nlocal + 1);
    if (k->scan) {
        Stmt *step = arena_new(c->mem, Stmt);     /* the loop around is the plan's */

        step->extent = k->steps;
        c->var[0] = step;
        c->var_on[0] = true;
    }
    if (!check_list(c, k->body))
        return false;
    if ((why = kernel_check_group(k, c->mem)))
        return fault(c, "%s", why);
    return !(why = kernel_check_loops(c->p, k, c->mem)) || fault(c, "%s", why);
}

/* ---- buffers ---- */

static bool check_place(Check *c, int i, const Buffer *b, int64_t segment_bytes)
{
    if (c->p->scratch_bytes < 0 && b->offset == -1)
        return true;
    if (b->offset < 0 || b->offset % 64)
        return fault(c, "b%d lies at %" PRId64 ", no multiple of 64", i, b->offset);
    if (b->offset > segment_bytes || b->count * dt_bytes(b->dtype) > segment_bytes - b->offset)
        return fault(c, "b%d ends behind its segment", i);
    return true;
}

static bool check_overlap(Check *c, int i)
{
    const Buffer *a = &c->p->buf[i];

    for (int j = 0; j < i; j++) {
        const Buffer *b = &c->p->buf[j];
        bool          together = a->first <= b->last && b->first <= a->last;

        if (b->seg == SEG_SCRATCH && together && a->offset < b->offset + b->count * dt_bytes(b->dtype) &&
            b->offset < a->offset + a->count * dt_bytes(a->dtype))
            return fault(c, "b%d and b%d lie at one place at the same time", j, i);
    }
    return true;
}

static bool check_buffer(Check *c, int i)
{
    const Module *m = c->p->m;
    const Buffer *b = &c->p->buf[i];

    if (b->seg >= NSEG || b->dtype >= NDTYPE || b->count < 1 || b->count > INT64_MAX / 16)
        return fault(c, "b%d is no buffer", i);
    if (b->seg == SEG_SCRATCH)
        return check_place(c, i, b, c->p->scratch_bytes) && (c->p->scratch_bytes < 0 || check_overlap(c, i));
    if (b->slot < 0 || b->slot >= m->nslot)
        return fault(c, "b%d has no slot", i);
    if (b->seg == SEG_STATE)
        return check_place(c, i, b, module_state_bytes(m));
    if (b->seg == SEG_SCALAR ? b->offset < 0 || b->offset > m->nslot + 3 : b->offset != slot_index(m, b->slot))
        return fault(c, "b%d has the number %" PRId64 " among the slots like @%s", i, b->offset, m->slot[b->slot].name);
    return true;
}

const char *plan_verify(const Plan *p, Arena *mem)
{
    Check c = { .p = p, .mem = mem };

    for (int i = 0; i < p->nbuf; i++)
        if (!check_buffer(&c, i))
            return c.error;
    for (int i = 0; i < p->nkernel; i++)
        if (!check_kernel(&c, i))
            return c.error;
    return NULL;
}
