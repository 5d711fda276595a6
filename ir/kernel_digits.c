/* kernel_digits.c - which digits does a place tell?
 *
 * A scheduled kernel counts its results and cuts the count into indices: `part`s are its digits in a mixed radix.  A sum
 * of digits with weights tells each of them if every weight is more than all smaller ones can add up to.  A form that a condition keeps below
 * some size is such a digit too; one that has to be less than 1 tells its own.
 */
#include "ir/kernel_digits.h"

#include <stdlib.h>

enum { MOST_DIGITS = 64 };

typedef struct Known { int var[MOST_DIGITS]; int n; } Known;

static int64_t size(int64_t x) { return x < 0 ? -x : x; }

static bool knows(const Known *k, int var)
{
    for (int i = 0; i < k->n; i++)
        if (k->var[i] == var)
            return true;
    return false;
}

/* A summand of a form: a variable, or a form that a condition keeps below some size, times each. */
typedef struct Part { Term term; int64_t extent; const Guard *guard; } Part;
typedef struct Parts { Part part[MOST_DIGITS]; int n; } Parts;

static int by_weight(const void *a, const void *b)
{
    int64_t x = size(((const Part *)a)->term.coef), y = size(((const Part *)b)->term.coef);

    return x < y ? -1 : x > y;
}

/* How many times the form of a condition stands in a form; 0: not all of it does. */
static int64_t times_within(Affine a, Affine guard)
{
    int64_t c = guard.n ? aff_coef(a, guard.term[0].var) / guard.term[0].coef : 0;

    for (int i = 0; i < guard.n; i++)
        if (aff_coef(a, guard.term[i].var) != c * guard.term[i].coef)
            return 0;
    return c;
}

static bool in_parts(const Parts *p, int var)
{
    for (int i = 0; i < p->n; i++)
        if (p->part[i].guard && aff_coef(p->part[i].guard->at, var))
            return true;
    return false;
}

/* Conditions first: what they say of a sum of variables is more than what is known of each. */
static bool find_parts(const Digits *d, Affine a, const Stmt *within, Parts *p)
{
    for (int i = 0; within && i < within->nguard; i++) {
        const Guard *g = &within->guard[i];
        int64_t      c = times_within(a, g->at);
        bool         taken = false;

        for (int j = 0; j < g->at.n; j++)
            taken |= in_parts(p, g->at.term[j].var);
        if (c && !taken && g->size > 1 && p->n < MOST_DIGITS)
            p->part[p->n++] = (Part){ { 0, c }, g->size, g };
    }
    for (int i = 0; i < a.n; i++) {
        int var = a.term[i].var;

        if (d->extent[var] == 1 || in_parts(p, var))
            continue;
        if (p->n == MOST_DIGITS)
            return false;
        p->part[p->n++] = (Part){ a.term[i], d->extent[var], NULL };
    }
    return true;
}

/* Adds the variables of a form whose value is known, if it tells them; false if it doesn't. */
static bool learn(const Digits *d, Affine a, const Stmt *within, Known *k)
{
    Parts   p = { .n = 0 };
    int64_t reach = 0;

    if (!find_parts(d, a, within, &p))
        return false;
    qsort(p.part, (size_t)p.n, sizeof *p.part, by_weight);
    for (int i = 0; i < p.n; i++) {
        int64_t more;

        if (size(p.part[i].term.coef) <= reach || __builtin_mul_overflow(size(p.part[i].term.coef), p.part[i].extent - 1, &more)
            || __builtin_add_overflow(reach, more, &reach))
            return false;
    }
    for (int i = 0; i < p.n && k->n < MOST_DIGITS; i++)
        if (p.part[i].guard)
            learn(d, p.part[i].guard->at, NULL, k);
        else if (!knows(k, p.part[i].term.var))
            k->var[k->n++] = p.part[i].term.var;
    return true;
}

static bool most_of(const Digits *d, Affine a, const Stmt *within, int64_t *most)
{
    Parts p = { .n = 0 };

    *most = a.base;
    if (!find_parts(d, a, within, &p))
        return false;
    for (int i = 0; i < p.n; i++) {
        int64_t coef = p.part[i].term.coef, base = p.part[i].guard ? p.part[i].guard->at.base : 0, more;

        if (__builtin_mul_overflow(coef, (coef > 0 ? p.part[i].extent - 1 : 0) - base, &more) || __builtin_add_overflow(*most, more, most))
            return false;
    }
    return true;
}

/* Is the number less than `count` wherever the access is done? */
static bool is_below(const Digits *d, Affine number, int64_t count, const Stmt *within)
{
    int64_t most;

    if (most_of(d, number, within, &most) && most < count)
        return true;
    for (int i = 0; within && i < within->nguard; i++)
        if (aff_equal(within->guard[i].at, number) && within->guard[i].size <= count)
            return true;
    return false;
}

/* All digits of a number, from the lowest on, are known. */
static bool tells_number(const Digits *d, const Known *k, Affine number, const Stmt *within)
{
    int64_t counts = 1;

    for (bool more = true; more && !is_below(d, number, counts, within);) {
        more = false;
        for (int i = 0; i < k->n && !more; i++) {
            const Stmt *p = d->part[k->var[i]];

            if (!p || p->extent == 1 || p->count != counts || !aff_equal(p->at, number) || __builtin_mul_overflow(counts, p->extent, &counts))
                continue;
            more = true;
        }
    }
    return is_below(d, number, counts, within);
}

bool digits_apart(const Digits *d, int var, Affine a, Affine b, const Stmt *within)
{
    Known k = { .n = 0 };

    if (!aff_equal(a, b) || (!learn(d, a, within, &k) && !learn(d, a, NULL, &k)))
        return false;
    for (int i = 0; within && i < within->nguard; i++)
        if (within->guard[i].size == 1)
            learn(d, within->guard[i].at, NULL, &k);
    for (int i = 0; i < k.n && !knows(&k, var); i++) {
        const Stmt *p = d->part[k.var[i]];
        int         n = k.n;

        if (p && tells_number(d, &k, p->at, within) && learn(d, p->at, within, &k) && k.n > n)
            i = -1;
    }
    return knows(&k, var);
}
