/* test_threads.c - the pool: every iteration once, whatever the loop and the number of threads; opened and closed
 * often; asleep and awake; more threads than processors.
 *
 * That training gives the same bits with and without one is tested in test_same_bits.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <assert.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "runtime/nnd.h"

enum { MOST = 1000, FORKS = 20000 };

/* Sanitizers need address space of their own and don't live without. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
static const bool sanitized = true;
#elif defined(__has_feature)
static const bool sanitized = __has_feature(thread_sanitizer) || __has_feature(address_sanitizer);
#else
static const bool sanitized = false;
#endif

/* What the loops of these tests work on: NndStep.scratch points to one. */
typedef struct Counts { int64_t n; int32_t times[MOST], piece[MOST]; } Counts;

/* Not atomic: that the caller sees what workers wrote is the pool's affair. */
static void count(const NndStep *s, int64_t first, int64_t last)
{
    Counts *c = s->scratch;

    assert(first >= 0 && first < last && last <= c->n);
    c->piece[first]++;
    for (int64_t i = first; i < last; i++)
        c->times[i]++;
}

static NndPool *open_pool(int threads)
{
    NndError err;
    NndPool *p = nnd_pool_open(threads, &err);

    if (!p)
        print_message("# %s\n", err.text);
    assert_non_null(p);
    return p;
}

static void each_once(const NndPar *par, int threads, int64_t n)
{
    static Counts c;
    NndStep s = { .scratch = &c };
    int pieces = 0;

    memset(&c, 0, sizeof c);
    c.n = n;
    par->run(par, count, &s, n);
    for (int64_t i = 0; i < MOST; i++) {
        assert_int_equal(c.times[i], i < n);
        pieces += c.piece[i];
    }
    assert_int_equal(pieces, n < threads ? n : threads);
}

static void test_each_once(void **state)
{
    static const int threads[] = { 2, 3, 4, 7, 16 };

    (void)state;
    for (int t = 0; t < (int)(sizeof threads / sizeof *threads); t++) {
        NndPool *p = open_pool(threads[t]);

        for (int64_t n = 0; n <= MOST; n += n < 70 ? 1 : 93)
            each_once(nnd_pool_par(p), threads[t], n);
        nnd_pool_close(p);
    }
}

/* Pieces are the same every time: their borders depend on n and the number of threads. */
static void test_same_pieces(void **state)
{
    static Counts a, b;
    NndPool *p = open_pool(3);
    const NndPar *par = nnd_pool_par(p);

    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    a.n = b.n = 100;
    par->run(par, count, &(NndStep){ .scratch = &a }, 100);
    for (int i = 0; i < 100; i++)
        par->run(par, count, &(NndStep){ .scratch = &b }, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(a.piece[i] * 100, b.piece[i]);
    nnd_pool_close(p);
}

/* Each loop adds to what the one before left, wherever that ran. */
static void test_many_forks(void **state)
{
    static Counts c;
    NndStep s = { .scratch = &c };

    (void)state;
    for (int threads = 2; threads <= 4; threads++) {
        NndPool *p = open_pool(threads);
        const NndPar *par = nnd_pool_par(p);

        memset(&c, 0, sizeof c);
        for (int i = 0; i < FORKS; i++) {
            c.n = 1 + i % 13;
            par->run(par, count, &s, c.n);
        }
        for (int i = 0; i < 13; i++)
            assert_int_equal(c.times[i], FORKS / 13 * (13 - i) + (FORKS % 13 > i ? FORKS % 13 - i : 0));
        nnd_pool_close(p);
    }
}

static void rest_us(int64_t us) { nanosleep(&(struct timespec){ 0, us * 1000 }, NULL); }

/* Long enough for the caller to sleep over it, if a worker has the first piece. */
static void slow(const NndStep *s, int64_t first, int64_t last)
{
    if (first == 0)
        rest_us(1000);
    count(s, first, last);
}

/* Pauses around the time after which a worker goes to sleep. */
static void test_sleepers(void **state)
{
    static Counts c;
    NndStep s = { .scratch = &c };
    NndPool *p = open_pool(3);
    const NndPar *par = nnd_pool_par(p);

    (void)state;
    memset(&c, 0, sizeof c);
    c.n = 3;
    for (int i = 0; i < 400; i++) {
        rest_us(i % 100);
        par->run(par, i % 4 ? count : slow, &s, 3);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(c.times[i], 400);
    nnd_pool_close(p);
}

static void test_open_close(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        NndPool *p = open_pool(2 + i % 4);

        if (i % 3 == 1)
            each_once(nnd_pool_par(p), 2 + i % 4, 17);
        if (i % 10 == 2)
            rest_us(200);
        nnd_pool_close(p);
    }
    nnd_pool_close(NULL);
}

/* Several pools at once, each with a caller of its own. */
static void *own_pool(void *arg)
{
    Counts *c = arg;
    NndPool *p = nnd_pool_open(3, NULL);
    NndStep s = { .scratch = c };

    for (int i = 0; i < FORKS / 10 && p; i++)
        nnd_pool_par(p)->run(nnd_pool_par(p), count, &s, c->n);
    nnd_pool_close(p);
    return NULL;
}

static void test_two_pools(void **state)
{
    static Counts c[2];
    pthread_t thread[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        c[i].n = 50;
        assert_int_equal(pthread_create(&thread[i], NULL, own_pool, &c[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        for (int j = 0; j < 50; j++)
            assert_int_equal(c[i].times[j], FORKS / 10);
    }
}

static void test_refused(void **state)
{
    static const int bad[] = { 0, -1, NND_MAX_THREADS + 1 };
    NndPool *p = open_pool(1);

    (void)state;
    assert_null(nnd_pool_par(p));
    assert_null(nnd_pool_par(NULL));
    nnd_pool_close(p);
    for (int i = 0; i < 3; i++) {
        NndError err = { 0 };

        assert_null(nnd_pool_open(bad[i], &err));
        assert_int_equal(err.code, NND_E_ARG);
    }
    assert_true(nnd_threads_here() >= 1);
}

/* No address space for another stack: those that did start are ended. */
static void test_no_threads(void **state)
{
    struct rlimit before, little;
    NndError err = { 0 };
    NndPool *p;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    little = before;
    little.rlim_cur = (rlim_t)400 << 20;
    assert_int_equal(setrlimit(RLIMIT_AS, &little), 0);
    p = nnd_pool_open(NND_MAX_THREADS, &err);
    setrlimit(RLIMIT_AS, &before);
    if (p) {                       /* stacks are so small here that they fit */
        nnd_pool_close(p);
        return;
    }
    assert_int_equal(err.code, NND_E_MEMORY);
    assert_non_null(strstr(err.text, "cannot start"));
    p = open_pool(2);
    each_once(nnd_pool_par(p), 2, 5);
    nnd_pool_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_once),  cmocka_unit_test(test_same_pieces), cmocka_unit_test(test_many_forks),
        cmocka_unit_test(test_sleepers),   cmocka_unit_test(test_open_close),  cmocka_unit_test(test_two_pools),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_no_threads),
    };
    size_t n = sizeof tests / sizeof *tests;

    /* the last one's limit leaves no room for a sanitizer's shadow of memory */
    return _cmocka_run_group_tests("threads", tests, sanitized ? n - 1 : n, NULL, NULL);
}
