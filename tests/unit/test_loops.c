/* test_loops.c - what the verifier takes for independent iterations is independent.
 *
 * Small kernels with arbitrary indices are run through by counting; a collision that the verifier has not refused is
 * a mistake.  It may refuse what would do no harm, but not what lower and schedule write: tiles, transposed results,
 * remainders, sums in registers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ir/kernel.h"
#include "tests/unit/arbitrary.h"

enum { ROUNDS = 20000, COUNT = 64 };

/* One kernel over @p : f32[64]; b1 is the same slot again. */
static Module *read_kernel(const char *body)
{
    char text[2048];
    int  n = snprintf(text, sizeof text,
                      "nnd-ir 1\nslot @p : state f32[64]\ngraph train 1 {\n  %%1 = read @p : f32[64]\n}\nplan train 1 {\n"
                      "  buffer b0 : state+0 f32[64] @p\n  buffer b1 : state+0 f32[64] @p\n  scratch 0\n"
                      "  kernel k1 \"\" scheduled flops 0 {\n%s\n}\n}\n",
                      body);
    Module *m = module_read("<text>", text, (size_t)n);

    if (m->diag.nerror)
        fail_msg("%s\n%s", body, m->diag.text);
    return m;
}

static const char *const fine[] = {
    "for i0 < 64 par {\n%0 = load b0[i0] : f32\nstore b0[i0], %0\n}",                              /* in place */
    "for i0 < 8 par {\nfor i1 < 8 {\n%0 = 1 : f32\nstore b0[i0 + 8*i1], %0\n}\n}",                 /* transposed */
    "for i0 < 8 par {\nfor i1 < 7 {\n%0 = 1 : f32\nstore b0[i0 + 8*i1], %0\n}\n%1 = 2 : f32\nstore b0[i0 + 56], %1\n}",
    "for i0 < 5 par {\nfor i1 < 6 {\n%0 = 1 : f32\nstore b0[12*i0 + 2*i1], %0\n}\n%1 = 1 : f32\nstore b0[12*i0 + 1], %1\n}",
    "for i0 < 4 par {\nfor i1 < 3 {\nfor i2 < 4 vec 4 {\n%0 = 1 : f32\nstore b0[16*i0 + 4*i1 + i2], %0\n}\n}\n}",
    "for i0 < 8 par {\n%0 = load b0[-8*i0 + 56] : f32\nstore b1[-8*i0 + 57], %0\n}",               /* falling, side by side */
    "local l0 : f32[16] = 0\nfor i0 < 4 {\nfor i1 < 16 vec 8 unroll {\n%0 = get l0[i1] : f32\nset l0[i1], %0\n}\n}",
    "for i0 < 8 vec 8 {\nlocal l0 : f32[1] = 0\n%0 = 1 : f32\nset l0[0], %0\n%1 = fold add l0[0 .. 1] : f32\n}",
    "for i0 < 1 par {\n%0 = 1 : f32\nstore b0[0], %0\n}",                                          /* only one iteration */
    "for i0 < 8 par {\n%0 = load b0[0] : f32\n}",                                                  /* nothing is written */
    "for i0 < 2 grid {\nfor i1 < 30 block {\npart i2 < 6 = 30*i0 + i1 / 1\npart i3 < 10 = 30*i0 + i1 / 6\n"     /* a transposed count */
    "%0 = 1 : f32\nstore b0[10*i2 + i3], %0\n}\n}",
    "for i0 < 2 grid {\nfor i1 < 32 block {\n%1 = within 32*i0 + i1 < 60 : bool\nif %1 {\n"                      /* and one with a rest */
    "part i2 < 6 = 32*i0 + i1 / 1\npart i3 < 10 = 32*i0 + i1 / 6\n%0 = 1 : f32\nstore b0[10*i2 + i3], %0\n}\n}\n}",
    "for i0 < 2 grid {\nlocal l0 : f32[16] group\nfor i1 < 16 block {\npart i2 < 4 = i1 / 1\npart i3 < 4 = i1 / 4\n"
    "%0 = 1 : f32\nset l0[4*i2 + i3], %0\npart i4 < 32 = 16*i0 + i1 / 1\nstore b0[i4], %0\n}\n}",               /* a number of a number */
};

typedef struct Mistake { const char *body, *says; } Mistake;

static const Mistake mistake[] = {
    { "for i0 < 4 par {\n%0 = load b0[i0 + 1] : f32\nstore b0[i0], %0\n}",
      "the parallel loop i0 store to and load from the same place of b0" },
    { "for i0 < 4 par {\n%0 = load b1[0] : f32\nstore b0[i0], %0\n}",
      "the parallel loop i0 store to and load from the same place of b0" },
    { "for i0 < 4 par {\nfor i1 < 3 {\n%0 = 1 : f32\nstore b0[2*i0 + i1], %0\n}\n}",
      "the parallel loop i0 store to the same place of b0" },
    { "for i0 < 4 par {\nfor i1 < 3 {\n%0 = 1 : f32\nstore b0[2*i0 + 6*i1], %0\n}\n}", "store to the same place of b0" },
    { "for i0 < 2 grid {\nfor i1 < 32 block {\npart i2 < 6 = 32*i0 + i1 / 1\npart i3 < 10 = 32*i0 + i1 / 6\n"
      "%0 = 1 : f32\nstore b0[10*i2 + i3], %0\n}\n}", "the grid loop i0 store to the same place of b0" },     /* begins again */
    { "for i0 < 2 grid {\nfor i1 < 30 block {\npart i2 < 6 = 30*i0 + i1 / 1\npart i3 < 10 = 30*i0 + i1 / 6\n"
      "%0 = 1 : f32\nstore b0[5*i2 + i3], %0\n}\n}", "the grid loop i0 store to the same place of b0" },
    { "for i0 < 2 grid {\nfor i1 < 30 block {\npart i3 < 10 = 30*i0 + i1 / 6\n%0 = 1 : f32\nstore b0[i3], %0\n}\n}",
      "the grid loop i0 store to the same place of b0" },
    { "for i0 < 2 grid {\nlocal l0 : f32[16] group\nfor i1 < 16 block {\npart i2 < 4 = i1 / 1\n%0 = get l0[i1] : f32\nset l0[i2], %0\n}\n}",
      "the block loop i1 store to and load from the same place of l0" },
    { "for i0 < 8 vec 8 {\n%0 = 1 : f32\nstore b0[0], %0\n}", "the vec loop i0 store to the same place of b0" },
    { "for i0 < 2 {\nfor i1 < 8 vec 8 {\n%0 = load b0[8*i0] : f32\nstore b0[8*i0 + i1], %0\n}\n}",
      "the vec loop i1 store to and load from the same place of b0" },
    { "local l0 : f32[1] = 0\nfor i0 < 8 vec 8 {\n%0 = 1 : f32\nset l0[0], %0\n}",
      "the vec loop i0 store to the same place of l0" },
    { "local l0 : f32[8] = 0\nfor i0 < 8 vec 8 {\n%0 = fold add l0[0 .. 8] : f32\n}",
      "the vec loop i0 store to the same place of l0" },
};

static void test_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        Module     *m = read_kernel(fine[i]);
        const char *why = plan_verify(m->plan[0], &m->mem);

        if (why)
            fail_msg("%s\n%s", fine[i], why);
        module_free(m);
    }
    for (size_t i = 0; i < sizeof mistake / sizeof *mistake; i++) {
        Module     *m = read_kernel(mistake[i].body);
        const char *why = plan_verify(m->plan[0], &m->mem);

        if (!why || !strstr(why, mistake[i].says))
            fail_msg("%s\nwants \"%s\", says \"%s\"", mistake[i].body, mistake[i].says, why ? why : "nothing");
        module_free(m);
    }
}

/* ---- by counting ---- */

/* Loops 0..2 in each other; the one that is looked at is 0 (parallel) or 1 (vec).  Two statements in the innermost. */
typedef struct Small { int64_t extent[3], coef[2][3], base[2]; bool stores[2]; int looked_at; } Small;

static Small arb_small(Rng *r)
{
    static const int64_t coef[] = { 0, 1, 1, 2, 3, 4, 4, 6, 8, 12, -1, -4 };
    Small s = { .stores = { true, rng_below(r, 2) }, .looked_at = rng_below(r, 2) };
    bool  alike = rng_below(r, 2);

    for (int k = 0; k < 3; k++) {
        s.extent[k] = 1 + rng_below(r, 4);
        for (int i = 0; i < 2; i++)
            s.coef[i][k] = coef[rng_below(r, 12)];
        if (alike || k == s.looked_at)
            s.coef[1][k] = s.coef[0][k];
    }
    for (int i = 0; i < 2; i++)
        s.base[i] = rng_below(r, 2) ? 0 : rng_below(r, 30);
    return s;
}

static int64_t place(const Small *s, int i, const int64_t *var)
{
    return s->base[i] + s->coef[i][0] * var[0] + s->coef[i][1] * var[1] + s->coef[i][2] * var[2];
}

/* -1: not inside the array; else whether two iterations meet */
static int meet(const Small *s)
{
    /* by place: 1 + the iteration that stored there, that loaded; everything is looked at for each value of what is around */
    int64_t around = s->looked_at ? s->extent[0] : 1;

    for (int64_t out = 0; out < around; out++) {
        unsigned stored[COUNT] = { 0 }, touched[COUNT] = { 0 };

        for (int64_t n = 0; n < s->extent[0] * s->extent[1] * s->extent[2]; n++) {
            int64_t var[3] = { n / s->extent[2] / s->extent[1], n / s->extent[2] % s->extent[1], n % s->extent[2] };

            if (s->looked_at && var[0] != out)
                continue;
            for (int i = 0; i < 2; i++) {
                int64_t at = place(s, i, var);

                if (at < 0 || at >= COUNT)
                    return -1;
                touched[at] |= 1u << var[s->looked_at];
                stored[at] |= s->stores[i] ? 1u << var[s->looked_at] : 0;
            }
        }
        for (int i = 0; i < COUNT; i++)
            if (stored[i] && (touched[i] & (touched[i] - 1)))
                return 1;
    }
    return 0;
}

static Affine small_affine(Arena *mem, const Small *s, int i)
{
    Affine a = aff_const(s->base[i]);

    for (int k = 0; k < 3; k++)
        a = aff_add(mem, a, aff_var(mem, k, s->coef[i][k]));
    return a;
}

static const char *ask(Arena *mem, const Small *s)
{
    Buffer buf = { .seg = SEG_SCRATCH, .dtype = DT_f32, .count = COUNT };
    Plan   p = { .buf = &buf, .nbuf = 1 };
    KList  list[4] = { { 0 } };
    Kernel k = { .name = "k", .nvar = 3 };

    for (int i = 0; i < 2; i++) {
        Stmt *access = kern_add(mem, &list[3], s->stores[i] ? ST_STORE : ST_LOAD, (Loc){ 0 });

        access->at = small_affine(mem, s, i);
    }
    for (int v = 2; v >= 0; v--) {
        Stmt *loop = kern_add(mem, &list[v], ST_FOR, (Loc){ 0 });

        loop->id = v;
        loop->extent = s->extent[v];
        loop->par = v == 0 && s->looked_at == 0;
        loop->lanes = v == 1 && s->looked_at == 1 ? 4 : 0;
        loop->body = list[v + 1].first;
    }
    k.body = list[0].first;
    return kernel_check_loops(&p, &k, mem);
}

static void test_counted(void **state)
{
    Rng r = { 3 };
    int passed = 0, harmless = 0;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        Arena mem = { 0 };
        Small s = arb_small(&r);
        int   met = meet(&s);
        bool  refused = met >= 0 && ask(&mem, &s);

        if (met == 1 && !refused)
            fail_msg("round %d: %lld*i0 + %lld*i1 + %lld*i2 + %lld and %lld*i0 + %lld*i1 + %lld*i2 + %lld meet", i,
                     (long long)s.coef[0][0], (long long)s.coef[0][1], (long long)s.coef[0][2], (long long)s.base[0],
                     (long long)s.coef[1][0], (long long)s.coef[1][1], (long long)s.coef[1][2], (long long)s.base[1]);
        passed += met == 0 && !refused;
        harmless += met == 0 && refused;
        arena_free(&mem);
    }
    assert_true(passed > ROUNDS / 20 && passed > harmless);
}

/* ---- digits ---- */

/* store b0[weight[0]*i2 + weight[1]*i3 + weight[2]*i1], i2 and i3 digits of coef[0]*i0 + coef[1]*i1, where most[0]*i2 + most[1]*i1 < below, if
 * that is not 0; i0 is looked at */
typedef struct Cut { int64_t extent[2], coef[2], digit[2], by[2], weight[3], most[2], below; } Cut;

static Cut arb_cut(Rng *r)
{
    Cut c;

    for (int i = 0; i < 2; i++) {
        c.extent[i] = 1 + rng_below(r, 5);
        c.digit[i] = 1 + rng_below(r, 5);
    }
    c.coef[1] = 1 + rng_below(r, 2);
    c.coef[0] = rng_below(r, 3) ? c.coef[1] * c.extent[1] : 1 + rng_below(r, 5);
    c.by[0] = rng_below(r, 5) ? 1 : 2;
    c.by[1] = rng_below(r, 4) ? c.digit[0] * c.by[0] : 1 + rng_below(r, 4);
    for (int i = 0; i < 3; i++)
        c.weight[i] = rng_below(r, i < 2 ? 8 : 3);
    for (int i = 0; i < 2; i++)
        c.most[i] = rng_below(r, 3);
    c.below = rng_below(r, 2) * (1 + rng_below(r, 4));
    return c;
}

static int64_t cut_place(const Cut *c, int64_t i0, int64_t i1)
{
    int64_t number = c->coef[0] * i0 + c->coef[1] * i1;

    return c->weight[0] * (number / c->by[0] % c->digit[0]) + c->weight[1] * (number / c->by[1] % c->digit[1]) + c->weight[2] * i1;
}

static bool cut_stores(const Cut *c, int64_t i0, int64_t i1)
{
    int64_t number = c->coef[0] * i0 + c->coef[1] * i1;

    return !c->below || c->most[0] * (number / c->by[0] % c->digit[0]) + c->most[1] * i1 < c->below;
}

static bool cut_meets(const Cut *c)
{
    for (int64_t p = 0; p < c->extent[0] * c->extent[1]; p++)
        for (int64_t q = 0; q < c->extent[0] * c->extent[1]; q++)
            if (p / c->extent[1] != q / c->extent[1] && cut_stores(c, p / c->extent[1], p % c->extent[1])
                && cut_stores(c, q / c->extent[1], q % c->extent[1])
                && cut_place(c, p / c->extent[1], p % c->extent[1]) == cut_place(c, q / c->extent[1], q % c->extent[1]))
                return true;
    return false;
}

static Stmt *cut_within(Arena *mem, const Cut *c, Stmt *body)
{
    Guard *guard = arena_new(mem, Guard);
    KList  l = { 0 };

    *guard = (Guard){ aff_add(mem, aff_var(mem, 2, c->most[0]), aff_var(mem, 1, c->most[1])), c->below };
    *kern_add(mem, &l, ST_WITHIN, (Loc){ 0 }) = (Stmt){ .kind = ST_WITHIN, .dtype = DT_bool, .nguard = 1, .guard = guard };
    *kern_add(mem, &l, ST_IF, (Loc){ 0 }) = (Stmt){ .kind = ST_IF, .narg = 1, .body = body };
    return l.first;
}

static const char *ask_cut(Arena *mem, const Cut *c)
{
    Buffer buf = { .seg = SEG_SCRATCH, .dtype = DT_f32, .count = COUNT };
    Plan   p = { .buf = &buf, .nbuf = 1 };
    KList  list[3] = { { 0 } }, stored = { 0 };
    Kernel k = { .name = "k", .nvar = 4, .nvalue = 1 };
    Affine number = aff_add(mem, aff_var(mem, 0, c->coef[0]), aff_var(mem, 1, c->coef[1]));
    Stmt  *s;

    for (int i = 0; i < 2; i++) {
        s = kern_add(mem, &list[2], ST_PART, (Loc){ 0 });
        *s = (Stmt){ .kind = ST_PART, .id = 2 + i, .extent = c->digit[i], .count = c->by[i], .at = number };
    }
    s = kern_add(mem, &stored, ST_STORE, (Loc){ 0 });
    s->at = aff_add(mem, aff_add(mem, aff_var(mem, 2, c->weight[0]), aff_var(mem, 3, c->weight[1])), aff_var(mem, 1, c->weight[2]));
    kern_append(&list[2], c->below ? cut_within(mem, c, stored.first) : stored.first);
    for (int v = 1; v >= 0; v--) {
        s = kern_add(mem, &list[v], ST_FOR, (Loc){ 0 });
        s->id = v;
        s->extent = c->extent[v];
        s->par = v == 0;
        s->body = list[v + 1].first;
    }
    k.body = list[0].first;
    return kernel_check_loops(&p, &k, mem);
}

static void test_digits(void **state)
{
    Rng r = { 5 };
    int passed = 0;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        Arena mem = { 0 };
        Cut   c = arb_cut(&r);
        bool  meets = cut_meets(&c), refused = ask_cut(&mem, &c);

        if (meets && !refused)
            fail_msg("round %d: digits %lld and %lld meet", i, (long long)c.digit[0], (long long)c.digit[1]);
        passed += !meets && !refused && c.extent[0] > 1;
        arena_free(&mem);
    }
    assert_true(passed > ROUNDS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_known), cmocka_unit_test(test_counted), cmocka_unit_test(test_digits) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
