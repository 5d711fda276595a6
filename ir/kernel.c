/* kernel.c - affine forms, and the making and copying of statements. */
#include "ir/kernel.h"

#include <assert.h>
#include <string.h>

const char *const seg_name[NSEG] = { "state", "scratch", "field", "input", "output", "scalar", "metric" };

Affine aff_const(int64_t base) { return (Affine){ .base = base }; }

Affine aff_var(Arena *mem, int var, int64_t coef)
{
    Term *t = arena_new(mem, Term);

    *t = (Term){ var, coef };
    return coef ? (Affine){ 0, 1, t } : aff_const(0);
}

Affine aff_add(Arena *mem, Affine a, Affine b)
{
    Term *t = arena_array(mem, Term, a.n + b.n);
    Affine r = { a.base + b.base, 0, t };

    for (int i = 0, j = 0; i < a.n || j < b.n;) {
        Term x;

        if (j == b.n || (i < a.n && a.term[i].var < b.term[j].var))
            x = a.term[i++];
        else if (i == a.n || b.term[j].var < a.term[i].var)
            x = b.term[j++];
        else {
            x = (Term){ a.term[i].var, a.term[i].coef + b.term[j].coef };
            i++, j++;
        }
        if (x.coef)
            t[r.n++] = x;
    }
    return r;
}

Affine aff_scale(Arena *mem, Affine a, int64_t by)
{
    Term *t = arena_array(mem, Term, a.n);

    if (!by)
        return aff_const(0);
    for (int i = 0; i < a.n; i++)
        t[i] = (Term){ a.term[i].var, a.term[i].coef * by };
    return (Affine){ a.base * by, a.n, t };
}

int64_t aff_coef(Affine a, int var)
{
    for (int i = 0; i < a.n; i++)
        if (a.term[i].var == var)
            return a.term[i].coef;
    return 0;
}

Affine aff_subst(Arena *mem, Affine a, int var, Affine by)
{
    int64_t coef = aff_coef(a, var);

    if (!coef)
        return a;
    return aff_add(mem, aff_add(mem, a, aff_var(mem, var, -coef)), aff_scale(mem, by, coef));
}

bool aff_equal(Affine a, Affine b)
{
    if (a.base != b.base || a.n != b.n)
        return false;
    for (int i = 0; i < a.n; i++)
        if (a.term[i].var != b.term[i].var || a.term[i].coef != b.term[i].coef)
            return false;
    return true;
}

/* ---- statements ---- */

Stmt *kern_add(Arena *mem, KList *l, StmtKind kind, Loc loc)
{
    Stmt *s = arena_new(mem, Stmt);

    s->kind = kind;
    s->loc = loc;
    s->id = -1;
    if (l->last)
        l->last->next = s;
    else
        l->first = s;
    l->last = s;
    return s;
}

void kern_append(KList *l, Stmt *s)
{
    for (; s; s = s->next) {
        if (l->last)
            l->last->next = s;
        else
            l->first = s;
        l->last = s;
    }
}

Affine *stmt_affine(Stmt *s, int i)
{
    if (i < 2)
        return i ? &s->row : &s->at;
    return i - 2 < s->nguard ? &s->guard[i - 2].at : NULL;
}

bool stmt_has_var(const Stmt *s) { return s->kind == ST_FOR || s->kind == ST_PICK || s->kind == ST_PART; }

static Affine map_affine(Arena *mem, Affine a, const Affine *var)
{
    Affine r = aff_const(a.base);

    for (int i = 0; i < a.n; i++)
        r = aff_add(mem, r, aff_scale(mem, var[a.term[i].var], a.term[i].coef));
    return r;
}

static int loop_variable(Affine a)
{
    assert(a.base == 0 && a.n == 1 && a.term[0].coef == 1 && "a copied loop has a variable of its own");
    return a.term[0].var;
}

static bool is_on_local(StmtKind kind) { return kind == ST_GET || kind == ST_SET || kind == ST_FOLD || kind == ST_MMA; }

Stmt *kern_clone(Arena *mem, const Stmt *s, const Affine *var, int value_base, int local_base)
{
    KList l = { 0 };

    for (; s; s = s->next) {
        Stmt *c = kern_add(mem, &l, s->kind, s->loc);

        *c = *s;
        c->next = NULL;
        c->guard = arena_array(mem, Guard, s->nguard);
        for (int i = 0; i < s->nguard; i++)
            c->guard[i] = s->guard[i];
        for (int i = 0; stmt_affine(c, i); i++)
            *stmt_affine(c, i) = map_affine(mem, *stmt_affine(c, i), var);
        for (int i = 0; i < s->narg; i++)
            c->arg[i] = s->arg[i] + value_base;
        if (stmt_has_var(s))
            c->id = loop_variable(var[s->id]);
        else if (s->kind == ST_LOCAL)
            c->id = s->id + local_base;
        else if (s->id >= 0)
            c->id = s->id + value_base;
        c->local = s->local + (is_on_local(s->kind) ? local_base : 0);
        for (int i = 0; i < 2; i++)
            c->operand[i] = s->operand[i] + (s->kind == ST_MMA ? local_base : 0);
        c->body = kern_clone(mem, s->body, var, value_base, local_base);
    }
    return l.first;
}

/* ---- plans ---- */

Plan *plan_new(Module *m, const Graph *g)
{
    Plan *p = arena_new(&m->mem, Plan);

    p->m = m;
    p->graph = g;
    p->entry = g ? g->entry : ENTRY_INFER;
    p->batch = g ? g->batch : 0;
    p->scratch_bytes = -1;
    return p;
}

int plan_buffer(Plan *p, Buffer b)
{
    arena_push(&p->m->mem, p->buf, p->nbuf, p->cbuf);
    p->buf[p->nbuf] = b;
    return p->nbuf++;
}

/* ---- slots ---- */

int64_t slot_index(const Module *m, int slot)
{
    int64_t n = 0;

    for (int i = 0; i < slot; i++)
        n += m->slot[i].kind == m->slot[slot].kind;
    return n;
}

static int64_t slot_bytes(const Slot *s) { return (ty_count(&s->type) * dt_bytes(s->type.dtype) + 63) / 64 * 64; }

bool stmt_has(const Stmt *s, StmtKind kind)
{
    for (; s; s = s->next)
        if (s->kind == kind || stmt_has(s->body, kind))
            return true;
    return false;
}

int64_t module_state_offset(const Module *m, int slot)
{
    int64_t at = 0;

    for (int i = 0; i < slot; i++)
        if (slot_is_kept(m->slot[i].kind))
            at += slot_bytes(&m->slot[i]);
    return at;
}

int64_t module_state_bytes(const Module *m) { return module_state_offset(m, m->nslot); }

int plan_scan_end(const Plan *p, int i)
{
    int scan = p->kernel[i++]->scan;

    while (scan && i < p->nkernel && p->kernel[i]->scan == scan)
        i++;
    return i;
}
