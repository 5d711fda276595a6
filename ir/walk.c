/* walk.c - run a plan one scalar at a time: what every backend's code must do.
 *
 * Loop marks are ignored, since none changes a result.  A value is a double that holds exactly what its dtype
 * holds (floats rounded to float, integers wrapped; 64-bit integers to 53 bits, as everywhere in ir/eval.c), and
 * every index is checked, so a plan that walks without a complaint touches only what is its own.
 */
#include <inttypes.h>
#include <math.h>

#include "ir/eval.h"
#include "ir/kernel.h"
#include "ir/philox.h"

typedef struct WalkLocal { Dtype dtype; Scope scope; int64_t count, each, room; double *cell; } WalkLocal;

typedef struct Walk {
    const Plan    *p;
    const WalkEnv *env;
    Arena         *mem;
    const Kernel  *k;
    int64_t       *var;
    double        *value;
    WalkLocal     *local;
    const char    *error;          /* the first thing that was wrong */
} Walk;

static int64_t at_now(const Walk *w, Affine a)
{
    int64_t x = a.base;

    for (int i = 0; i < a.n; i++)
        x += a.term[i].coef * w->var[a.term[i].var];
    return x;
}

/* ---- memory ---- */

static void *seg_base(const WalkEnv *env, const Buffer *b)
{
    switch (b->seg) {
    case SEG_STATE:   return b->offset < 0 ? NULL : (char *)env->state + b->offset;
    case SEG_SCRATCH: return b->offset < 0 ? NULL : (char *)env->scratch + b->offset;
    case SEG_FIELD:
    case SEG_INPUT:   return (void *)env->field[b->offset];      /* only loads go there */
    case SEG_OUTPUT:  return env->out[b->offset];
    case SEG_SCALAR:  return (void *)(env->scalar + b->offset);  /* likewise */
    case SEG_METRIC:  return env->metric + b->offset;
    case NSEG:        break;
    }
    return NULL;
}

/* The field row that stands at s->row; -1 with an error if there is none. */
static int64_t field_row(Walk *w, const Stmt *s)
{
    int64_t at = at_now(w, s->row);

    if (at >= 0 && at < w->p->batch && w->env->row[at] >= 0)
        return w->env->row[at];
    w->error = arena_printf(w->mem, "%s: row %" PRId64 " of b%d, the batch has %" PRId64, w->k->name, at, s->buf,
                            w->p->batch);
    return -1;
}

/* Where the element is that s loads or stores: the tensor, and its number in it. */
static bool element(Walk *w, const Stmt *s, Tensor *t, int64_t *i)
{
    const Buffer *b = &w->p->buf[s->buf];
    int64_t       row = 0;

    *i = at_now(w, s->at);
    if (*i < 0 || *i >= b->count) {
        w->error = arena_printf(w->mem, "%s: element %" PRId64 " of b%d, it has %" PRId64, w->k->name, *i, s->buf,
                                b->count);
        return false;
    }
    if (b->seg == SEG_FIELD && (row = field_row(w, s)) < 0)
        return false;
    *i += row * b->count;
    *t = (Tensor){ { .dtype = b->dtype }, seg_base(w->env, b) };
    if (!t->data)
        w->error = arena_printf(w->mem, "%s: b%d has no place in memory", w->k->name, s->buf);
    return t->data;
}

/* ---- locals ---- */

/* What group memory begins with, and registers that a fold has spent: who reads it is found out. */
static double unwritten(Dtype d) { return dt_is_float(d) ? (double)NAN : 0; }

static void walk_local(Walk *w, const Stmt *s)
{
    WalkLocal *l = &w->local[s->id];

    if (l->room < s->count) {
        l->cell = arena_array(w->mem, double, s->count);
        l->room = s->count;
    }
    l->count = s->count;
    l->dtype = s->dtype;
    l->scope = s->scope;
    l->each = s->each;
    for (int64_t i = 0; i < s->count; i++)
        l->cell[i] = s->scope == SCOPE_GROUP || s->scope == SCOPE_MEMORY ? unwritten(s->dtype) : eval_cast(DT_f64, s->dtype, s->number);
}

/* The cells of a local from element `at` on, count of which must be there. */
static double *cells_of(Walk *w, int local, Affine from, int64_t count)
{
    const WalkLocal *l = &w->local[local];
    int64_t          at = at_now(w, from);

    if (at >= 0 && count >= 1 && count <= l->count && at <= l->count - count)
        return l->cell + at;
    w->error = arena_printf(w->mem, "%s: element %" PRId64 " of l%d, it has %" PRId64, w->k->name, at, local, l->count);
    return NULL;
}

static double *cells(Walk *w, const Stmt *s, int64_t count) { return cells_of(w, s->local, s->at, count); }

static void walk_fold(Walk *w, const Stmt *s)
{
    double *cell = cells(w, s, s->count);

    if (!cell)
        return;
    for (int64_t n = s->count / 2; n >= 1; n /= 2)
        for (int64_t i = 0; i < n; i++)
            cell[i] = eval_point(s->op, s->dtype, cell[i], cell[i + n], 0);
    w->value[s->id] = cell[0];
    for (int64_t i = 0; i < s->count && w->local[s->local].scope == SCOPE_EACH; i++)
        cell[i] = unwritten(s->dtype);
}

/* x with so many bits of mantissa, to nearest, ties to even. */
static double rounded(double x, int bits)
{
    int    exp;
    double part = frexp(x, &exp);

    return isfinite(x) ? ldexp(rint(ldexp(part, bits)), exp - bits) : x;
}

/* Lane l of a warp holds rows l / 4 and l / 4 + 8 of the result, columns 2 * (l % 4) and the next. */
static void walk_mma(Walk *w, const Stmt *s)
{
    int     depth = s->bf16 ? 16 : 8, bits = s->bf16 ? 8 : 11;
    int64_t sa = s->guard[0].size, sb = s->guard[1].size, each = w->local[s->local].each;
    double *c = cells_of(w, s->local, s->at, 31 * each + 4), *a = cells_of(w, s->operand[0], s->guard[0].at, 15 * sa + depth);
    double *b = cells_of(w, s->operand[1], s->guard[1].at, s->turned ? 7 * sb + depth : (depth - 1) * sb + 8);

    if (!a || !b || !c)
        return;
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            double *cell = &c[(i % 8 * 4 + j / 2) * each + i / 8 * 2 + j % 2], sum = *cell;

            for (int k = 0; k < depth; k++)
                sum += rounded(a[i * sa + k], bits) * rounded(b[s->turned ? j * sb + k : k * sb + j], bits);
            *cell = eval_cast(DT_f64, DT_f32, sum);
        }
}

/* ---- statements ---- */

static double walk_let(const Walk *w, const Stmt *s)
{
    double arg[3] = { 0 };

    for (int i = 0; i < s->narg; i++)
        arg[i] = w->value[s->arg[i]];
    if (s->op == OP_cast)
        return eval_cast(s->from, s->dtype, arg[0]);
    return eval_point(s->op, s->from, arg[0], arg[1], arg[2]);
}

static double walk_within(const Walk *w, const Stmt *s)
{
    for (int i = 0; i < s->nguard; i++) {
        int64_t at = at_now(w, s->guard[i].at);

        if (at < 0 || at >= s->guard[i].size)
            return 0;
    }
    return 1;
}

static void walk_pick(Walk *w, const Stmt *s)
{
    double x = w->value[s->arg[0]], most = (double)(s->extent - 1);

    w->var[s->id] = (int64_t)(x < 0 ? 0 : x > most ? most : x);
}

static double walk_random(const Walk *w, const Stmt *s)
{
    return philox_uniform(w->env->seed, s->stream, (uint32_t)w->env->step, (uint64_t)at_now(w, s->at));
}

static void walk_list(Walk *w, const Stmt *s);

static void walk_for(Walk *w, const Stmt *s)
{
    for (int64_t i = 0; i < s->extent && !w->error; i++) {
        w->var[s->id] = i;
        walk_list(w, s->body);
    }
}

static void walk_memory(Walk *w, const Stmt *s)
{
    Tensor  t;
    int64_t i;

    if (s->kind == ST_LOAD && s->narg && !w->value[s->arg[0]]) {
        w->value[s->id] = 0;
        return;
    }
    if (!element(w, s, &t, &i))
        return;
    if (s->kind == ST_LOAD)
        w->value[s->id] = tensor_get(&t, i, false);
    else
        tensor_set(&t, i, w->value[s->arg[0]], false);
}

static void walk_cell(Walk *w, const Stmt *s)
{
    double *cell = cells(w, s, 1);

    if (!cell)
        return;
    if (s->kind == ST_GET)
        w->value[s->id] = *cell;
    else
        *cell = w->value[s->arg[0]];
}

static void walk_list(Walk *w, const Stmt *s)
{
    for (; s && !w->error; s = s->next)
        switch (s->kind) {
        case ST_FOR:    walk_for(w, s); break;
        case ST_LET:    w->value[s->id] = walk_let(w, s); break;
        case ST_CONST:  w->value[s->id] = eval_cast(DT_f64, s->dtype, s->number); break;
        case ST_LOAD:
        case ST_STORE:  walk_memory(w, s); break;
        case ST_INDEX:  w->value[s->id] = eval_cast(DT_i64, DT_i32, (double)at_now(w, s->at)); break;
        case ST_RANDOM: w->value[s->id] = walk_random(w, s); break;
        case ST_WITHIN: w->value[s->id] = walk_within(w, s); break;
        case ST_PICK:   walk_pick(w, s); break;
        case ST_PART:   w->var[s->id] = at_now(w, s->at) / s->count % s->extent; break;
        case ST_IF:     if (w->value[s->arg[0]]) walk_list(w, s->body); break;
        case ST_LOCAL:  walk_local(w, s); break;
        case ST_GET:
        case ST_SET:    walk_cell(w, s); break;
        case ST_FOLD:   walk_fold(w, s); break;
        case ST_WAIT:   break;
        case ST_MMA:    walk_mma(w, s); break;
        }
}

static void walk_kernel(Walk *w, const Kernel *k, int64_t step)
{
    w->k = k;
    w->var = arena_array(w->mem, int64_t, k->nvar + 1);
    w->value = arena_array(w->mem, double, k->nvalue + 1);
    w->local = arena_array(w->mem, WalkLocal, k->nlocal + 1);
    if (k->scan)
        w->var[0] = step;
    walk_list(w, k->body);
}

const char *plan_walk(const Plan *p, const WalkEnv *env, Arena *mem)
{
    Walk w = { .p = p, .env = env, .mem = mem };

    for (int i = 0, last; i < p->nkernel && !w.error; i = last) {
        const Kernel *k = p->kernel[i];

        last = plan_scan_end(p, i);
        for (int64_t step = 0; step < (k->scan ? k->steps : 1); step++)
            for (int j = i; j < last && !w.error; j++)
                walk_kernel(&w, p->kernel[j], step);
    }
    return w.error;
}
