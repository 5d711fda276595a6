/* schedule_gpu.c - kernels for groups of threads: the results of a kernel are counted, and threads take them by number.
 *
 * A number is cut into the indices of the domain's loops (`part`), so neither their extents nor how many there are matters to how
 * threads are grouped.  The innermost index is that along which accesses are side by side; 4 of it are one thread's, where they
 * are one access of 128 bits.  Folded loops stay within a thread here; long ones and contractions have schedules of their own.
 */
#include "passes/schedule_gpu.h"

enum { FEW_THREADS = 32, MOST_THREADS = 256, MANY_RESULTS = 1 << 14 };

/* ---- writing ---- */

void gpu_open(Gpu *g, double share)
{
    Kernel *k = arena_new(g->mem, Kernel), *from = g->nest->k;

    *k = *from;
    k->flops = from->flops * share;
    k->nvalue = k->nlocal = 0;
    k->nvar = k->scan ? 1 : 0;      /* the step keeps its place */
    k->scheduled = true;
    g->nbelow = 0;
    if (g->k)
        k->name = arena_printf(g->mem, "%st", g->k->name);
    g->k = k;
    arena_push(g->mem, g->out->k, g->out->n, g->out->cap);
    g->out->k[g->out->n++] = k;
}

int gpu_var(Gpu *g) { return g->k->nvar++; }

static void keep_bound(Gpu *g, int var, int64_t extent)
{
    while (g->nbelow <= var) {
        arena_push(g->mem, g->below, g->nbelow, g->below_cap);
        g->below[g->nbelow++] = 0;
    }
    g->below[var] = extent;
}

int gpu_var_below(Gpu *g, int64_t extent)
{
    int var = gpu_var(g);

    keep_bound(g, var, extent);
    return var;
}

int gpu_value(Gpu *g) { return g->k->nvalue++; }

int gpu_local(Gpu *g, KList *l, Dtype dtype, int64_t count, Scope scope, int64_t each, double start)
{
    Stmt *s = kern_add(g->mem, l, ST_LOCAL, g->nest->k->loc);

    s->id = g->k->nlocal++;
    s->dtype = dtype;
    s->count = count;
    s->scope = scope;
    s->each = each;
    s->number = start;
    return s->id;
}

/* Is the form sure to stay below that? */
static bool stays_below(const Gpu *g, Affine a, int64_t most)
{
    int64_t reach = a.base;

    for (int i = 0; i < a.n; i++) {
        int64_t below = a.term[i].var < g->nbelow ? g->below[a.term[i].var] : 0;

        if (!below || a.term[i].coef < 0)
            return false;
        reach += a.term[i].coef * (below - 1);
    }
    return a.base >= 0 && reach < most;
}

/* Of the form, the multiples of n, or what else there is. */
static Affine multiples(Gpu *g, Affine a, int64_t n, bool of_n)
{
    Affine r = aff_const(of_n ? a.base / n * n : a.base % n);

    for (int i = 0; i < a.n; i++)
        if ((a.term[i].coef % n == 0) == of_n)
            r = aff_add(g->mem, r, aff_var(g->mem, a.term[i].var, a.term[i].coef));
    return r;
}

Affine gpu_divided(const Gpu *g, Affine a, int64_t by)
{
    Affine r = aff_const(a.base / by);

    for (int i = 0; i < a.n; i++)
        r = aff_add(g->mem, r, aff_var(g->mem, a.term[i].var, a.term[i].coef / by));
    return r;
}

/* Multiples of all that the digits up to this one count say nothing of it, and what stays below `by` neither. */
static Affine shortened(Gpu *g, Affine number, int64_t *by, int64_t extent)
{
    Affine low = multiples(g, number, *by * extent, false);

    number = stays_below(g, low, *by * extent) ? low : number;
    if (*by > 1 && stays_below(g, multiples(g, number, *by, false), *by)) {
        number = gpu_divided(g, multiples(g, number, *by, true), *by);
        *by = 1;
    }
    return number;
}

Affine gpu_part(Gpu *g, KList *l, Affine number, int64_t by, int64_t extent)
{
    Stmt *s;

    if (extent == 1)
        return aff_const(0);
    number = number.base >= 0 ? shortened(g, number, &by, extent) : number;
    if (by == 1 && stays_below(g, number, extent))
        return number;
    s = kern_add(g->mem, l, ST_PART, g->nest->k->loc);
    s->id = gpu_var_below(g, extent);
    s->extent = extent;
    s->count = by;
    s->at = number;
    return aff_var(g->mem, s->id, 1);
}

/* The number that tells digit i: that of the fewest digits from the last on, this one among them, of which a part of the number says
 * all.  So digits that are told together are told of one number, and can be put together again (ir/kernel_digits.c). */
static Affine number_of(Gpu *g, Affine number, const int64_t *extent, int n, int i)
{
    int64_t all = 1;

    for (int k = n - 1; k >= 0; k--) {
        Affine low;

        all *= extent[k];
        low = multiples(g, number, all, false);
        if (k <= i && number.base >= 0 && stays_below(g, low, all))
            return low;
    }
    return number;
}

void gpu_count(Gpu *g, KList *l, Affine number, const int *var, const int64_t *extent, int n, bool wraps)
{
    int64_t by = 1;

    if (n == 1 && !wraps) {
        g->map[var[0]] = number;
        return;
    }
    for (int i = n - 1; i >= 0; i--) {
        g->map[var[i]] = gpu_part(g, l, number_of(g, number, extent, n, i), by, extent[i]);
        by *= extent[i];
    }
}

/* Loops and picks of what is copied are variables of their own. */
static void give_vars(Gpu *g, const Stmt *s)
{
    for (; s; s = s->next) {
        if (stmt_has_var(s))
            g->map[s->id] = aff_var(g->mem, gpu_var(g), 1);
        give_vars(g, s->body);
    }
}

Stmt *gpu_copy(Gpu *g, const Stmt *list)
{
    g->value_base = g->k->nvalue;
    g->k->nvalue += g->nest->k->nvalue;
    give_vars(g, list);
    return kern_clone(g->mem, list, g->map, g->value_base, 0);
}

void gpu_append_copy(Arena *mem, KList *l, const Stmt *s)
{
    Stmt *c = kern_add(mem, l, s->kind, s->loc);

    *c = *s;
    c->next = NULL;
}

static bool defines_var(const Stmt *s, Affine a) { return aff_coef(a, s->id) != 0; }

/* Marks the statements of a list without loops that value rests on. */
static void mark(const Stmt *const *stmt, int n, int value, bool *keep)
{
    for (int i = n - 1; i >= 0; i--) {
        const Stmt *s = stmt[i];

        if (s->kind == ST_PICK || s->id != value || keep[i])
            continue;
        keep[i] = true;
        for (int a = 0; a < s->narg; a++)
            mark(stmt, n, s->arg[a], keep);
        for (int j = 0; j < n; j++) {
            bool used = false;

            if (stmt[j]->kind != ST_PICK || keep[j])
                continue;
            for (int f = 0; stmt_affine((Stmt *)s, f); f++)
                used |= defines_var(stmt[j], *stmt_affine((Stmt *)s, f));
            if (!used)
                continue;
            keep[j] = true;
            mark(stmt, n, stmt[j]->arg[0], keep);
        }
    }
}

Stmt *gpu_slice(Gpu *g, const Stmt *list, int value)
{
    KList        l = { 0 };
    int          n = 0;
    const Stmt **stmt;
    bool        *keep;

    for (const Stmt *s = list; s; s = s->next)
        n++;
    stmt = arena_array(g->mem, const Stmt *, n);
    keep = arena_array(g->mem, bool, n);
    n = 0;
    for (const Stmt *s = list; s; s = s->next)
        stmt[n++] = s;
    mark(stmt, n, value, keep);
    for (int i = 0; i < n; i++)
        if (keep[i]) {
            Stmt *s = kern_add(g->mem, &l, stmt[i]->kind, stmt[i]->loc), *before = l.last;

            *s = *stmt[i];
            s->next = NULL;
            l.last = before;
        }
    return l.first;
}

Stmt *gpu_for(Gpu *g, int var, int64_t extent, Stmt *body) { return sched_for(g->mem, g->nest->k->loc, var, extent, body); }

Stmt *gpu_block(Gpu *g, int var, int64_t extent, Stmt *body)
{
    Stmt *s = gpu_for(g, var, extent, body);

    s->block = true;
    return s;
}

Stmt *gpu_grid(Gpu *g, int var, int64_t extent, Stmt *body)
{
    Stmt *s = gpu_for(g, var, extent, body);

    s->grid = true;
    return s;
}

int gpu_within(Gpu *g, KList *l, const Guard *guard, int n)
{
    Stmt *s = kern_add(g->mem, l, ST_WITHIN, g->nest->k->loc);

    s->id = gpu_value(g);
    s->dtype = DT_bool;
    s->nguard = n;
    s->guard = arena_array(g->mem, Guard, n);
    for (int i = 0; i < n; i++)
        s->guard[i] = guard[i];
    return s->id;
}

Stmt *gpu_inside(Gpu *g, const Guard *guard, int n, Stmt *body)
{
    KList l = { 0 };
    Stmt *s;
    int   value;

    if (!n)
        return body;
    value = gpu_within(g, &l, guard, n);
    s = kern_add(g->mem, &l, ST_IF, g->nest->k->loc);
    s->narg = 1;
    s->arg[0] = value;
    s->body = body;
    return l.first;
}

Stmt *gpu_below(Gpu *g, Affine number, int64_t size, bool always, Stmt *body)
{
    return gpu_inside(g, &(Guard){ number, size }, !always, body);
}

int gpu_const(Gpu *g, KList *l, Dtype dtype, double x)
{
    Stmt *s = kern_add(g->mem, l, ST_CONST, g->nest->k->loc);

    s->id = gpu_value(g);
    s->dtype = dtype;
    s->number = x;
    return s->id;
}

int gpu_get(Gpu *g, KList *l, int local, Dtype dtype, Affine at)
{
    Stmt *s = kern_add(g->mem, l, ST_GET, g->nest->k->loc);

    s->id = gpu_value(g);
    s->dtype = dtype;
    s->local = local;
    s->at = at;
    return s->id;
}

void gpu_set(Gpu *g, KList *l, int local, Dtype dtype, Affine at, int value)
{
    Stmt *s = kern_add(g->mem, l, ST_SET, g->nest->k->loc);

    s->dtype = dtype;
    s->local = local;
    s->at = at;
    s->narg = 1;
    s->arg[0] = value;
}

int gpu_let(Gpu *g, KList *l, Op op, Dtype dtype, Dtype from, int narg, const int *arg)
{
    Stmt *s = kern_add(g->mem, l, ST_LET, g->nest->k->loc);

    s->id = gpu_value(g);
    s->op = op;
    s->dtype = dtype;
    s->from = from;
    s->narg = narg;
    for (int i = 0; i < narg; i++)
        s->arg[i] = arg[i];
    return s->id;
}

int64_t gpu_results(const Nest *nest)
{
    int64_t n = 1;

    for (int i = 0; i < nest->n; i++)
        n *= nest->extent[i];
    return n;
}

/* ---- one thread a result ---- */

/* Is the form a multiple of n but for the one time that var stands in it? */
static bool is_aligned(Affine a, int var, int64_t n)
{
    bool aligned = a.base % n == 0;

    for (int i = 0; i < a.n; i++)
        aligned &= a.term[i].var == var ? a.term[i].coef == 1 : a.term[i].coef % n == 0;
    return aligned;
}

bool gpu_side_by_side(const Nest *nest, const Stmt *list, int var, int lanes)
{
    for (const Stmt *s = list; s; s = s->next) {
        const Buffer *b = s->kind == ST_LOAD || s->kind == ST_STORE ? &nest->p->buf[s->buf] : NULL;

        for (int i = 0; s->kind == ST_WITHIN && i < s->nguard; i++)
            if (aff_coef(s->guard[i].at, var))
                return false;
        if (!b || (!aff_coef(s->at, var) && !aff_coef(s->row, var)))
            continue;
        if (!is_aligned(s->at, var, lanes) || aff_coef(s->row, var) || (b->seg == SEG_FIELD && b->count % lanes))
            return false;
    }
    return true;
}

bool gpu_takes_vectors(const Nest *nest, Stmt *list, int var, int64_t extent, int lanes)
{
    return extent % lanes == 0 && !stmt_has(list, ST_FOR) && !stmt_has(list, ST_PICK) && gpu_side_by_side(nest, list, var, lanes);
}

int gpu_threads(int64_t units)
{
    int threads = MOST_THREADS;

    while (threads > FEW_THREADS && units / threads < GPU_GROUPS)
        threads /= 2;
    return threads;
}

/* Numbers count groups of lanes; the body of one is a vec loop of them. */
static Stmt *one_number(Gpu *g, Affine number, int64_t units, int lanes, bool whole)
{
    Nest *nest = g->nest;
    int   last = nest->n - 1, lane = lanes > 1 ? gpu_var(g) : -1;
    KList l = { 0 };
    Stmt *body;

    if (lanes > 1)
        nest->extent[last] /= lanes;
    gpu_count(g, &l, number, nest->var, nest->extent, nest->n, !whole && stmt_has(nest->body, ST_FOR));
    if (lanes > 1) {
        Affine *at = &g->map[nest->var[last]];

        *at = aff_add(g->mem, aff_scale(g->mem, *at, lanes), aff_var(g->mem, lane, 1));
    }
    body = gpu_copy(g, nest->body);
    if (lanes > 1) {
        body = gpu_for(g, lane, lanes, body);
        body->lanes = lanes;
    }
    kern_append(&l, body);
    return gpu_below(g, number, units, whole, l.first);
}

void gpu_point(Gpu *g)
{
    Nest   *nest = g->nest;
    int64_t total = gpu_results(nest), units;
    int     lanes = widest_float(nest->body) == DT_f64 ? 2 : 4, threads, group, thread;
    Affine  number;

    gpu_open(g, g->k ? 0 : 1);
    g->k->nlocal = nest->k->nlocal;
    if (nest->n && !stmt_has(nest->body, ST_FOR))
        move_last(nest, vector_loop(nest));
    if (total < MANY_RESULTS || !gpu_takes_vectors(nest, nest->body, nest->var[nest->n - 1], nest->extent[nest->n - 1], lanes))
        lanes = 1;
    units = total / lanes;
    threads = gpu_threads(units);
    threads = units < threads ? (int)units : threads;
    group = gpu_var(g);
    thread = gpu_var(g);
    number = aff_add(g->mem, aff_var(g->mem, group, threads), aff_var(g->mem, thread, 1));
    Stmt *body = one_number(g, number, units, lanes, units % threads == 0);

    g->k->body = gpu_grid(g, group, (units + threads - 1) / threads, gpu_block(g, thread, threads, body));
}

void schedule_gpu(Nest *nest, KernelList *out)
{
    Gpu g = { .nest = nest, .mem = nest->mem, .out = out, .map = arena_array(nest->mem, Affine, nest->k->nvar + 1) };

    if (nest->k->scan)
        g.map[0] = aff_var(g.mem, 0, 1);
    if (!gpu_tile(&g) && !gpu_reduce(&g) && !gpu_scatter(&g))
        gpu_point(&g);
}
