/* op_sweep.h - kernels with every operation of ops.def at every dtype, as text. */
#ifndef NND_TESTS_OP_SWEEP_H
#define NND_TESTS_OP_SWEEP_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/op.h"

typedef struct Sweep { FILE *buffers, *kernels; int nbuf, nkernel, n; int64_t at; const char *marks; bool functions; } Sweep;

static inline void sweep_buffer(Sweep *s, Dtype d)
{
    fprintf(s->buffers, "  buffer b%d : scratch+%d %s[%d] live 0..999\n", s->nbuf++, (int)s->at, dt_name(d), s->n);
    s->at += (s->n * dt_bytes(d) + 127) / 64 * 64;
}

/* Three buffers of each dtype stand first; each operation stores to one of its own. */
static inline void sweep_op(Sweep *s, Op op, Dtype from, Dtype to)
{
    const OpInfo *info = &op_info[op];

    fprintf(s->kernels, "  kernel k%d \"\" scheduled flops 0 {\n    for i0 < %d %s {\n", s->nkernel++, s->n, s->marks);
    for (int i = 0; i < info->narg; i++) {
        Dtype d = op == OP_select && i == 0 ? DT_bool : from;

        fprintf(s->kernels, "      %%%d = load b%d[i0] : %s\n", i, (int)d * 3 + i, dt_name(d));
    }
    fprintf(s->kernels, "      %%%d = %s", info->narg, info->name);
    for (int i = 0; i < info->narg; i++)
        fprintf(s->kernels, "%s%%%d", i ? ", " : " ", i);
    fprintf(s->kernels, " : %s", dt_name(to));
    if (from != to)
        fprintf(s->kernels, " from %s", dt_name(from));
    fprintf(s->kernels, "\n      store b%d[i0], %%%d\n    }\n  }\n", s->nbuf, info->narg);
    sweep_buffer(s, to);
}

static inline bool takes(Op op, Dtype d)
{
    const char *rule = op_info[op].type_name;

    return !strcmp(rule, "floats") ? dt_is_float(d) : !strcmp(rule, "logic") ? d == DT_bool : !strcmp(rule, "numeric") ? d != DT_bool : true;
}

/* Polynomials of f32, with bounds of their own: test_same_bits.c, test_own_functions.c. */
static inline bool is_own_function(Op op, Dtype d)
{
    return d == DT_f32 && (op == OP_exp || op == OP_log || op == OP_tanh || op == OP_sigmoid || op == OP_erf || op == OP_sin || op == OP_cos || op == OP_pow);
}

static inline void sweep_ops(Sweep *s)
{
    for (int op = 0; op < NOP; op++) {
        bool compares = !strcmp(op_info[op].type_name, "compare");

        if (op_info[op].cls != CLASS_POINT)
            continue;
        for (int from = 0; from < NDTYPE; from++)
            for (int to = 0; to < NDTYPE; to++) {
                bool result = op == OP_cast ? from != to : to == (compares ? (int)DT_bool : from);

                /* the walker holds 64-bit integers in doubles, which end before those do */
                if (op == OP_cast && dt_is_float((Dtype)from) && to == DT_i64)
                    continue;
                if (!s->functions && (op_info[op].props & PROP_MATH))
                    continue;
                if (result && takes((Op)op, (Dtype)from) && !is_own_function((Op)op, (Dtype)from))
                    sweep_op(s, (Op)op, (Dtype)from, (Dtype)to);
            }
    }
}

/* The text of a module with all of them, to be freed; without `functions` those that round exactly. */
static inline char *sweep_text(const char *how, int n, bool functions)
{
    char *buffers, *kernels, *text;
    size_t nbuffers, nkernels, ntext;
    Sweep s = { .n = n, .marks = how, .functions = functions, .buffers = open_memstream(&buffers, &nbuffers), .kernels = open_memstream(&kernels, &nkernels) };
    FILE *all = open_memstream(&text, &ntext);

    for (int d = 0; d < NDTYPE; d++)
        for (int i = 0; i < 3; i++)
            sweep_buffer(&s, (Dtype)d);
    sweep_ops(&s);
    assert_true(s.nkernel > 60);
    fclose(s.buffers);
    fclose(s.kernels);
    fprintf(all, "nnd-ir 1\nmodule t\ngraph infer 1 {\n}\nplan infer 1 {\n%s  scratch %d\n%s}\n", buffers, (int)s.at, kernels);
    fclose(all);
    free(buffers);
    free(kernels);
    return text;
}

#endif
