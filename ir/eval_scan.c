/* eval_scan.c - the oracle's scans: the body's nodes in order, once a step. */
#include <string.h>

#include "ir/eval_nodes.h"
#include "ir/scan.h"

static void copy_value(const Eval *e, const Tensor *from, Tensor *to)
{
    memcpy(to->data, from->data, (size_t)tensor_bytes(&to->type, e->env->wide));
}

/* Elements of a step's part, and where they stand in the whole: each `inner` in a row, `whole` apart, from `at` on. */
typedef struct Part { int64_t inner, outer, whole, at; } Part;

static Part part_of(const Eval *e, const Type *whole, const Node *nd)
{
    const int64_t *v = nd->attr.v;
    int64_t        step = v[SCAN_BACK] ? v[SCAN_STEPS] - 1 - e->step : e->step;
    Part           p = { 1, 1, 0, 0 };

    for (int i = 0; i < whole->rank; i++)
        *(i < v[SCAN_AXIS] ? &p.outer : &p.inner) *= i == v[SCAN_AXIS] ? 1 : whole->dim[i];
    p.whole = p.inner * v[SCAN_STEPS];
    p.at = p.inner * step;
    return p;
}

void eval_element(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = &e->value[nd->arg[0].id];
    Part          p = part_of(e, &a->type, nd);

    for (int64_t i = 0; i < p.outer * p.inner; i++)
        tensor_set(out, i, tensor_get(a, i / p.inner * p.whole + p.at + i % p.inner, e->env->wide), e->env->wide);
}

static void put_stack(Eval *e, const Node *nd, Tensor *out)
{
    const Tensor *a = &e->value[nd->arg[0].id];
    Part          p = part_of(e, &nd->type, nd);

    for (int64_t i = 0; i < p.outer * p.inner; i++)
        tensor_set(out, i / p.inner * p.whole + p.at + i % p.inner, tensor_get(a, i, e->env->wide), e->env->wide);
}

void eval_carry(Eval *e, const Node *nd, Tensor *out)
{
    if (nd->op == OP_carry && !e->step)
        copy_value(e, &e->value[nd->arg[0].id], out);
    else if (nd->op == OP_next)
        copy_value(e, &e->value[nd->arg[1].id], out);
}

static int number_of(const Eval *e, int id) { return (int)e->g->node[id].attr.v[SCAN_NUMBER] + 1; }

static void run_step(Eval *e, const bool *want, int first, int number)
{
    for (int id = 1; id < first; id++)
        if (want[id] && e->scan[id] == number)
            eval_one(e, id);
    for (int id = first; id < e->g->nnode; id++)
        if (want[id] && e->g->node[id].op == OP_stack && number_of(e, id) == number)
            put_stack(e, &e->g->node[id], &e->value[id]);
    /* all carries at once: a next may be another carry's value */
    for (int id = 1; id < first; id++)
        if (want[id] && e->g->node[id].op == OP_next && e->scan[id] == number)
            copy_value(e, &e->value[id], &e->value[e->g->node[id].arg[0].id]);
}

void eval_scan(Eval *e, const bool *want, int first)
{
    int     number = number_of(e, first);
    int64_t steps = e->g->node[first].attr.v[SCAN_STEPS];

    for (int id = first; id < e->g->nnode; id++)
        if (want[id] && scan_is_result(e->g->node[id].op) && number_of(e, id) == number)
            e->value[id] = tensor_new(e->mem, &e->g->node[id].type, e->env->wide);
    for (e->step = 0; e->step < steps; e->step++)
        run_step(e, want, first, number);
    for (int id = first; id < e->g->nnode; id++)
        if (want[id] && e->g->node[id].op == OP_last && number_of(e, id) == number)
            copy_value(e, &e->value[e->g->node[id].arg[0].id], &e->value[id]);
}
