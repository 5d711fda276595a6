/* cpu_rig.h - a plan's machine code against the walker of ir/walk.c, byte by byte.
 *
 * Both start from the same memory and run two batches.  Columns, inputs and outputs end where a page begins that
 * nobody may touch, so a vector that reaches over an end is caught.
 */
#ifndef NND_TESTS_CPU_RIG_H
#define NND_TESTS_CPU_RIG_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/backend.h"
#include "tests/unit/arbitrary.h"

enum { RIG_ROWS = 40, RIG_SLOTS = 8, RIG_BATCHES = 2 };

/* One side's memory: what it reads is shared, what it writes is its own. */
typedef struct RigSide { char *state, *scratch; void *out[RIG_SLOTS]; double metric[RIG_BATCHES * RIG_SLOTS]; } RigSide;

typedef struct Rig {
    Module     *m;
    const Plan *p;
    Rng         rng;
    bool        extreme;           /* nan, infinities, zeros and denormals among the values */
    RigSide     code, walk;
    void       *field[RIG_SLOTS];
    int32_t    *row;
    double      scalar[3 + RIG_SLOTS];
    const NndPar *par;
    void      **mapped; size_t *nmapped; int nmap;
} Rig;

/* nbytes that end at a page that faults. */
static inline void *rig_map(Rig *r, size_t nbytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (nbytes + page - 1) / page * page;
    char *p = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(p, MAP_FAILED);
    assert_int_equal(mprotect(p + whole, page, PROT_NONE), 0);
    r->mapped = realloc(r->mapped, (size_t)(r->nmap + 1) * sizeof *r->mapped);
    r->nmapped = realloc(r->nmapped, (size_t)(r->nmap + 1) * sizeof *r->nmapped);
    r->mapped[r->nmap] = p;
    r->nmapped[r->nmap++] = whole + page;
    return p + whole - nbytes;
}

static inline double rig_value(Rig *r, Dtype d)
{
    static const double extreme[] = { 0, -0.0, INFINITY, -INFINITY, NAN, 0x1p-149, -0x1p-140, 3e38, -1e30, 1, 2147483648.0,
                                      -2147483649.0, 255.5, 256, -1, 0.5, -0.75 };

    if (dt_is_float(d) && r->extreme && rng_below(&r->rng, 2))
        return extreme[rng_below(&r->rng, (int)(sizeof extreme / sizeof *extreme))];
    if (dt_is_float(d))
        return (rng_unit(&r->rng) - 0.5) * 4;
    if (d == DT_i32)
        return rng_below(&r->rng, 2) ? rng_below(&r->rng, 5) - 2 : (double)(int32_t)rng_next(&r->rng);
    if (d == DT_i64)           /* the walker is exact up to 2^53, also for products */
        return rng_below(&r->rng, 2) ? rng_below(&r->rng, 5) - 2 : rng_below(&r->rng, 1 << 27) - (1 << 26);
    return rng_below(&r->rng, d == DT_bool ? 2 : 256);
}

static inline void rig_fill(Rig *r, void *data, Dtype d, int64_t n)
{
    Tensor t = { { .dtype = d }, data };

    for (int64_t i = 0; i < n; i++)
        tensor_set(&t, i, rig_value(r, d), false);
}

static inline void rig_columns(Rig *r)
{
    for (int i = 0; i < r->p->nbuf; i++) {
        const Buffer *b = &r->p->buf[i];
        int64_t n = b->count * (b->seg == SEG_FIELD ? RIG_ROWS : RIG_BATCHES);

        if (b->seg == SEG_FIELD || b->seg == SEG_INPUT) {
            r->field[b->offset] = rig_map(r, (size_t)(n * dt_bytes(b->dtype)));
            rig_fill(r, r->field[b->offset], b->dtype, n);
        } else if (b->seg == SEG_OUTPUT) {
            r->code.out[b->offset] = rig_map(r, (size_t)(n * dt_bytes(b->dtype)));
            r->walk.out[b->offset] = rig_map(r, (size_t)(n * dt_bytes(b->dtype)));
        }
    }
}

/* State and scratch hold 0xA5 between their buffers, which must stay. */
static inline void rig_segments(Rig *r, size_t state_bytes, size_t scratch_bytes)
{
    r->code.state = rig_map(r, state_bytes);
    r->walk.state = rig_map(r, state_bytes);
    r->code.scratch = rig_map(r, scratch_bytes);
    r->walk.scratch = rig_map(r, scratch_bytes);
    memset(r->code.state, 0xA5, state_bytes);
    memset(r->code.scratch, 0xA5, scratch_bytes);
    for (int i = 0; i < r->p->nbuf; i++) {
        const Buffer *b = &r->p->buf[i];

        if (b->seg == SEG_STATE || b->seg == SEG_SCRATCH)
            rig_fill(r, (b->seg == SEG_STATE ? r->code.state : r->code.scratch) + b->offset, b->dtype, b->count);
    }
    memcpy(r->walk.state, r->code.state, state_bytes);
    memcpy(r->walk.scratch, r->code.scratch, scratch_bytes);
}

static inline void rig_open(Rig *r, const char *text)
{
    const char *fault;

    r->m = module_read("test", text, strlen(text));
    if (r->m->diag.nerror)
        fail_msg("%s\n%s", r->m->diag.text, text);
    r->p = r->m->plan[0];
    fault = plan_verify(r->p, &r->m->mem);
    if (fault)
        fail_msg("%s\n%s", fault, text);
    rig_columns(r);
    rig_segments(r, (size_t)module_state_bytes(r->m), (size_t)(r->p->scratch_bytes + 63) / 64 * 64);
    r->row = rig_map(r, (size_t)(r->p->batch * RIG_BATCHES) * sizeof *r->row);
    for (int i = 0; i < r->p->batch * RIG_BATCHES; i++)
        r->row[i] = rng_below(&r->rng, RIG_ROWS);
    for (int i = 0; i < 3 + RIG_SLOTS; i++)
        r->scalar[i] = i < 3 ? (double[]){ 7, 20, 3 }[i] : 0.25 + i;
}

static inline void rig_close(Rig *r)
{
    for (int i = 0; i < r->nmap; i++)
        munmap(r->mapped[i], r->nmapped[i]);
    free(r->mapped);
    free(r->nmapped);
    module_free(r->m);
}

static inline void rig_run_code(Rig *r, const BackendOptions *o)
{
    char why[512];
    NndImage *im = backend_cpu.load(r->m, o, why, sizeof why);
    NndCall call = { .state = r->code.state, .scratch = r->code.scratch, .field = (const void *const *)r->field,
                     .row = r->row, .out = r->code.out, .nbatch = RIG_BATCHES, .step = 7, .steps = 20, .epoch = 3,
                     .seed = 0x123456789abcdefu, .scalar = r->scalar + 3, .metric_out = r->code.metric, .par = r->par };

    if (!im)
        fail_msg("%s", why);
    assert_int_equal(im->entry[0].run(im, &im->entry[0], &call), 0);
    backend_cpu.unload(im);
}

static inline int rig_metrics(const Rig *r)
{
    int n = 0;

    for (int i = 0; i < r->m->nslot; i++)
        n += r->m->slot[i].kind == SLOT_metric;
    return n;
}

static inline void rig_walk_batch(Rig *r, int batch)
{
    const void *field[RIG_SLOTS] = { 0 };
    void *out[RIG_SLOTS] = { 0 };
    Arena mem = { 0 };

    for (int i = 0; i < r->p->nbuf; i++) {
        const Buffer *b = &r->p->buf[i];
        int64_t at = batch * b->count * dt_bytes(b->dtype);

        if (b->seg == SEG_FIELD || b->seg == SEG_INPUT)
            field[b->offset] = (char *)r->field[b->offset] + (b->seg == SEG_INPUT ? at : 0);
        else if (b->seg == SEG_OUTPUT)
            out[b->offset] = (char *)r->walk.out[b->offset] + at;
    }
    r->scalar[0] = 7 + batch;
    WalkEnv env = { .state = r->walk.state, .scratch = r->walk.scratch, .field = field, .out = out,
                    .row = r->row + batch * r->p->batch, .scalar = r->scalar,
                    .metric = r->walk.metric + batch * rig_metrics(r), .seed = 0x123456789abcdefu, .step = 7 + batch };
    const char *fault = plan_walk(r->p, &env, &mem);

    if (fault)
        fail_msg("%s", fault);
    arena_free(&mem);
}

/* Equal bits, or both nan: which nan is nobody's promise. */
static inline void rig_compare(const Rig *r, const char *what, const void *code, const void *walk, Dtype d, int64_t n)
{
    Tensor a = { { .dtype = d }, (void *)code }, b = { { .dtype = d }, (void *)walk };
    size_t size = (size_t)dt_bytes(d);

    for (int64_t i = 0; i < n; i++) {
        double x = tensor_get(&a, i, false), y = tensor_get(&b, i, false);

        if (memcmp((const char *)code + (size_t)i * size, (const char *)walk + (size_t)i * size, size) && (x == x || y == y)) {
            plan_print(stderr, r->p);
            fail_msg("%s[%d]: code gives %.9g, the walker %.9g", what, (int)i, x, y);
        }
    }
}

/* What lies between buffers. */
static inline void rig_compare_gaps(const Rig *r, Seg seg, const char *code, int64_t nbytes)
{
    for (int64_t at = 0; at < nbytes; at++) {
        bool in = false;

        for (int i = 0; i < r->p->nbuf; i++) {
            const Buffer *b = &r->p->buf[i];

            in |= b->seg == seg && at >= b->offset && at < b->offset + b->count * dt_bytes(b->dtype);
        }
        if (!in && (unsigned char)code[at] != 0xA5) {
            plan_print(stderr, r->p);
            fail_msg("%s byte %d is in no buffer and was written", seg_name[seg], (int)at);
        }
    }
}

static inline void rig_compare_all(const Rig *r)
{
    for (int i = 0; i < r->p->nbuf; i++) {
        const Buffer *b = &r->p->buf[i];
        char *what = arena_printf(&r->m->mem, "b%d", i);

        if (b->seg == SEG_STATE)
            rig_compare(r, what, r->code.state + b->offset, r->walk.state + b->offset, b->dtype, b->count);
        else if (b->seg == SEG_SCRATCH)
            rig_compare(r, what, r->code.scratch + b->offset, r->walk.scratch + b->offset, b->dtype, b->count);
        else if (b->seg == SEG_OUTPUT)
            rig_compare(r, what, r->code.out[b->offset], r->walk.out[b->offset], b->dtype, b->count * RIG_BATCHES);
    }
    rig_compare(r, "metric", r->code.metric, r->walk.metric, DT_f64, RIG_BATCHES * RIG_SLOTS);
    rig_compare_gaps(r, SEG_STATE, r->code.state, module_state_bytes(r->m));
    rig_compare_gaps(r, SEG_SCRATCH, r->code.scratch, r->p->scratch_bytes);
}

/* The plan of the text, as code and walked, does the same. */
static inline void rig_same(Rig *r, const char *text, const BackendOptions *o)
{
    rig_open(r, text);
    rig_run_code(r, o);
    for (int i = 0; i < RIG_BATCHES; i++)
        rig_walk_batch(r, i);
    rig_compare_all(r);
    rig_close(r);
}

#endif
