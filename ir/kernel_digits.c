/* kernel_digits.c - which digits does a place tell?
 *
 * A scheduled kernel counts its results and cuts the count into indices: `part`s are its digits in a mixed radix.  A sum
 * of digits with weights tells each of them if every weight is more than all smaller ones can add up to.  A form that has to be less than 1 tells its own.
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

static int by_weight(const void *a, const void *b)
{
    int64_t x = size(((const Term *)a)->coef), y = size(((const Term *)b)->coef);

    return x < y ? -1 : x > y;
}

/* Adds the variables of a form whose value is known, if it tells them; false if it doesn't. */
static bool learn(const Digits *d, Affine a, Known *k)
{
    Term    term[MOST_DIGITS];
    int64_t reach = 0;
    int     n = 0;

    for (int i = 0; i < a.n; i++)
        if (d->extent[a.term[i].var] > 1) {
            if (n == MOST_DIGITS)
                return false;
            term[n++] = a.term[i];
        }
    qsort(term, (size_t)n, sizeof *term, by_weight);
    for (int i = 0; i < n; i++) {
        int64_t more;

        if (size(term[i].coef) <= reach || __builtin_mul_overflow(size(term[i].coef), d->extent[term[i].var] - 1, &more)
            || __builtin_add_overflow(reach, more, &reach))
            return false;
    }
    for (int i = 0; i < n && k->n < MOST_DIGITS; i++)
        if (!knows(k, term[i].var))
            k->var[k->n++] = term[i].var;
    return true;
}

static bool most_of(const Digits *d, Affine a, int64_t *most)
{
    *most = a.base;
    for (int i = 0; i < a.n; i++) {
        int64_t more;

        if (a.term[i].coef > 0 && (__builtin_mul_overflow(a.term[i].coef, d->extent[a.term[i].var] - 1, &more)
                                   || __builtin_add_overflow(*most, more, most)))
            return false;
    }
    return true;
}

/* Is the number less than `count` wherever the access is done? */
static bool is_below(const Digits *d, Affine number, int64_t count, const Stmt *within)
{
    int64_t most;

    if (most_of(d, number, &most) && most < count)
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

    if (!aff_equal(a, b) || !learn(d, a, &k))
        return false;
    for (int i = 0; within && i < within->nguard; i++)
        if (within->guard[i].size == 1)
            learn(d, within->guard[i].at, &k);
    for (int i = 0; i < k.n && !knows(&k, var); i++) {
        const Stmt *p = d->part[k.var[i]];
        int         n = k.n;

        if (p && tells_number(d, &k, p->at, within) && learn(d, p->at, &k) && k.n > n)
            i = -1;
    }
    return knows(&k, var);
}
