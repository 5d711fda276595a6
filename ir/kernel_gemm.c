/* kernel_gemm.c - the matrix product that a loop nest is, if it is one that BLAS has.
 *
 *   for i < m blas { for j < n { local l : t[1] = 0; for k < depth { l += a[..] * b[..] }; store c[..], l } }
 *
 * with a, b and c dense matrices, each row by row or, of a and b, column by column.
 */
#include "ir/kernel.h"

enum { FOLDED = 5 };     /* load, load, get, fma, set */

static bool is_cell(const Stmt *s, StmtKind kind, const Stmt *local)
{
    return s && s->kind == kind && s->local == local->id && !s->at.n && !s->at.base;
}

/* The element of a matrix of `rows` x `columns` at (row, column): its leading dimension, and whether it lies column by column. */
static bool is_matrix(const Stmt *s, int row, int64_t rows, int column, int64_t columns, GemmOperand *o)
{
    int64_t r = aff_coef(s->at, row), c = aff_coef(s->at, column);

    if (s->narg > (s->kind == ST_STORE) || s->row.n || s->row.base || s->at.n != 2)
        return false;
    o->turned = c != 1;
    o->ld = o->turned ? c : r;
    o->buf = s->buf;
    o->at = s->at.base;
    return (o->turned ? r == 1 && c >= rows : r >= columns) && o->ld <= INT32_MAX;
}

static bool read_fold(const Stmt *fold, const Stmt *local, const Stmt *step[FOLDED])
{
    const Stmt *s = fold->body;

    for (int i = 0; i < FOLDED; i++, s = s->next) {
        if (!s)
            return false;
        step[i] = s;
    }
    if (s || step[0]->kind != ST_LOAD || step[1]->kind != ST_LOAD || !is_cell(step[2], ST_GET, local) || !is_cell(step[4], ST_SET, local)
        || step[3]->kind != ST_LET || step[3]->op != OP_fma)
        return false;
    return step[3]->arg[0] == step[0]->id && step[3]->arg[1] == step[1]->id && step[3]->arg[2] == step[2]->id
           && step[4]->arg[0] == step[3]->id;
}

bool kern_gemm(const Stmt *loop, Gemm *g)
{
    const Stmt *j = loop->body, *local, *k, *get, *store, *step[FOLDED];

    if (!j || j->kind != ST_FOR || j->next || !(local = j->body) || local->kind != ST_LOCAL || local->count != 1 || local->number != 0
        || !(k = local->next) || k->kind != ST_FOR || !read_fold(k, local, step))
        return false;
    get = k->next;
    if (!is_cell(get, ST_GET, local) || !(store = get->next) || store->kind != ST_STORE || store->next || store->arg[0] != get->id
        || !dt_is_float(local->dtype) || step[0]->dtype != local->dtype || step[1]->dtype != local->dtype)
        return false;
    *g = (Gemm){ .dtype = local->dtype, .m = loop->extent, .n = j->extent, .k = k->extent };
    return g->m <= INT32_MAX && g->n <= INT32_MAX && g->k <= INT32_MAX && is_matrix(step[0], loop->id, g->m, k->id, g->k, &g->a)
           && is_matrix(step[1], k->id, g->k, j->id, g->n, &g->b) && is_matrix(store, loop->id, g->m, j->id, g->n, &g->c) && !g->c.turned;
}
