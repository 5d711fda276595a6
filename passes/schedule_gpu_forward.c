/* schedule_gpu_forward.c - what a thread has stored it need not load again.
 *
 * A kernel of points behind another one's looks up at its number what that one left there.  Once both are one list, its
 * value is used, and the store goes if nothing else in the plan looks there.  Digits of one number are counted once, and
 * all digits together are the number, so that places which are the same look the same.
 */
#include "passes/schedule_gpu_merge.h"
#include "passes/schedule_gpu_rows.h"

/* The value that lies at a place. */
typedef struct Known { int buf, value; Affine at, row; } Known;

typedef struct Forward {
    const Plan *p;
    Arena      *mem;
    Affine      number;         /* of the thread */
    int64_t     units;          /* that is below */
    int         conditions;     /* around */
    Known      *known; int n, cap;
    const Stmt **part; int npart, cpart;
    Affine     *var;            /* by variable: what it is now */
    int        *value;          /* by value */
} Forward;

static const Stmt *find_part(const Forward *f, int64_t by)
{
    for (int i = 0; i < f->npart; i++)
        if (f->part[i]->count == by && aff_equal(f->part[i]->at, f->number))
            return f->part[i];
    return NULL;
}

/* All digits of the thread's number, each as often as it counts, are that number. */
static Affine counted(Forward *f, Affine a)
{
    const Stmt *lowest = find_part(f, 1), *s = lowest;
    int64_t     times = lowest ? aff_coef(a, lowest->id) : 0, by = 1;
    Affine      rest = a;

    while (times && s && by < f->units && aff_coef(a, s->id) == times * by) {
        rest = aff_add(f->mem, rest, aff_var(f->mem, s->id, -times * by));
        by *= s->extent;
        s = find_part(f, by);
    }
    return times && by >= f->units ? aff_add(f->mem, rest, aff_scale(f->mem, f->number, times)) : a;
}

static Affine renamed(Forward *f, Affine a)
{
    Affine to = aff_const(a.base);

    for (int i = 0; i < a.n; i++)
        to = aff_add(f->mem, to, aff_scale(f->mem, f->var[a.term[i].var], a.term[i].coef));
    return to;
}

static void rename_uses(Forward *f, Stmt *s)
{
    for (int i = 0; stmt_affine(s, i); i++)
        *stmt_affine(s, i) = renamed(f, *stmt_affine(s, i));
    for (int i = 0; i < s->narg; i++)
        s->arg[i] = f->value[s->arg[i]];
    if (!f->conditions && (s->kind == ST_STORE || (s->kind == ST_LOAD && !s->narg)))
        s->at = counted(f, s->at);      /* conditions are on digits, and what is done under them has to keep to these */
}

static bool known_part(Forward *f, const Stmt *s)
{
    for (int i = 0; i < f->npart; i++) {
        const Stmt *o = f->part[i];

        if (o->extent != s->extent || o->count != s->count || !aff_equal(o->at, s->at))
            continue;
        f->var[s->id] = aff_var(f->mem, o->id, 1);
        return true;
    }
    arena_push(f->mem, f->part, f->npart, f->cpart);
    f->part[f->npart++] = s;
    return false;
}

static bool known_load(Forward *f, const Stmt *s)
{
    if (s->narg)
        return false;
    for (int i = 0; i < f->n; i++) {
        const Known *k = &f->known[i];

        if (k->buf != s->buf || !aff_equal(k->at, s->at) || !aff_equal(k->row, s->row))
            continue;
        f->value[s->id] = k->value;
        return true;
    }
    return false;
}

static void learn(Forward *f, const Stmt *s, int value)
{
    arena_push(f->mem, f->known, f->n, f->cap);
    f->known[f->n++] = (Known){ s->buf, value, s->at, s->row };
}

static void forget(Forward *f, int buf)
{
    int n = 0;

    for (int i = 0; i < f->n; i++)
        if (!gpu_same_memory(f->p, f->known[i].buf, buf))
            f->known[n++] = f->known[i];
    f->n = n;
}

static void forget_stored(Forward *f, const Stmt *s)
{
    for (; s; s = s->next) {
        if (s->kind == ST_STORE)
            forget(f, s->buf);
        forget_stored(f, s->body);
    }
}

static Stmt *forward_list(Forward *f, Stmt *list);

/* What is known around holds inside, if nothing there changes it; what is known inside does not outside. */
static void forward_body(Forward *f, Stmt *s)
{
    int n, npart = f->npart;

    forget_stored(f, s->body);
    n = f->n;
    f->conditions += s->kind == ST_IF;
    s->body = forward_list(f, s->body);
    f->conditions -= s->kind == ST_IF;
    f->n = n;
    f->npart = npart;
}

/* Is the statement needless, as what it defines is there? */
static bool is_known(Forward *f, Stmt *s)
{
    if (s->kind == ST_PART)
        return known_part(f, s);
    if (s->kind == ST_LOAD && known_load(f, s))
        return true;
    if (s->kind == ST_LOAD && !s->narg)
        learn(f, s, s->id);
    if (s->kind == ST_STORE) {
        forget(f, s->buf);
        learn(f, s, s->arg[0]);
    }
    return false;
}

static Stmt *forward_list(Forward *f, Stmt *list)
{
    for (Stmt **s = &list; *s;) {
        rename_uses(f, *s);
        if (is_known(f, *s)) {
            *s = (*s)->next;
            continue;
        }
        if ((*s)->body)
            forward_body(f, *s);
        s = &(*s)->next;
    }
    return list;
}

/* Two loops over lanes, of which the second follows the first, are one. */
static void join_lanes(Forward *f, Stmt *list)
{
    Stmt *a = NULL, **b = NULL;

    for (Stmt **s = &list; *s; s = &(*s)->next) {
        if ((*s)->kind != ST_FOR || !(*s)->lanes) {
            if ((*s)->kind != ST_PART)
                return;
        } else if (a) {
            b = s;
        } else {
            a = *s;
        }
    }
    if (!b || a->lanes != (*b)->lanes || a->extent != (*b)->extent || (*b)->next)
        return;
    f->var[(*b)->id] = aff_var(f->mem, a->id, 1);
    for (Stmt *s = a->body; ; s = s->next)
        if (!s->next) {
            s->next = (*b)->body;
            break;
        }
    *b = NULL;
}

/* Parts first: all of a list's are seen before its loops. */
static Stmt *parts_first(Stmt *list)
{
    KList part = { 0 }, other = { 0 };

    for (Stmt *s = list, *next; s; s = next) {
        next = s->next;
        s->next = NULL;
        kern_append(s->kind == ST_PART ? &part : &other, s);
    }
    kern_append(&part, other.first);
    return part.first;
}

Stmt *gpu_forward(const Plan *p, const Kernel *k, Affine number, int64_t units, Stmt *list)
{
    Arena  *mem = &p->m->mem;
    Forward f = { .p = p, .mem = mem, .number = number, .units = units, .var = arena_array(mem, Affine, k->nvar + 1), .value = arena_array(mem, int, k->nvalue + 1) };

    for (int i = 0; i < k->nvar; i++)
        f.var[i] = aff_var(mem, i, 1);
    for (int i = 0; i < k->nvalue; i++)
        f.value[i] = i;
    list = parts_first(list);
    join_lanes(&f, list);
    return forward_list(&f, list);
}

/* ---- stores that nothing looks at ---- */

static void find_loads(const Stmt *s, bool *loaded)
{
    for (; s; s = s->next) {
        if (s->kind == ST_LOAD)
            loaded[s->buf] = true;
        find_loads(s->body, loaded);
    }
}

static Stmt *without(const Plan *p, Stmt *list, const bool *loaded)
{
    for (Stmt **s = &list; *s;) {
        if ((*s)->kind == ST_STORE && p->buf[(*s)->buf].seg == SEG_SCRATCH && !loaded[(*s)->buf]) {
            *s = (*s)->next;
            continue;
        }
        (*s)->body = without(p, (*s)->body, loaded);
        s = &(*s)->next;
    }
    return list;
}

void gpu_drop_stores(Plan *p)
{
    bool *loaded = arena_array(&p->m->mem, bool, p->nbuf + 1);

    for (int i = 0; i < p->nkernel; i++)
        find_loads(p->kernel[i]->body, loaded);
    for (int i = 0; i < p->nkernel; i++)
        p->kernel[i]->body = without(p, p->kernel[i]->body, loaded);
}
