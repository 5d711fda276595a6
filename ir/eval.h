/* eval.h - the oracle: a graph evaluated one obvious loop an operation.
 *
 * No fusion, no vectors, libm for functions, sums in order.  With wide set, every f32 is computed and
 * stored as a double, so the same graph gives a reference that rounding hardly touches.
 */
#ifndef NND_IR_EVAL_H
#define NND_IR_EVAL_H

#include "ir/graph.h"

/* Elements of type.dtype (of double instead of float if the evaluation is wide), row-major. */
typedef struct Tensor { Type type; void *data; } Tensor;

typedef struct EvalEnv {
    bool     wide;
    uint64_t seed; int64_t step;          /* for random */
    /* The value of a slot as the graph reads it (fields with the batch axis).  wide: f32 slots as doubles. */
    Tensor (*read)(void *ctx, int slot, const Type *type);
    void    *ctx;
} EvalEnv;

/* eval_graph - all nodes that the writes (and minimized losses) need.
 * value   on return: value[id] of each evaluated node, data NULL for the others; g->nnode entries, in mem.
 * Reads of slots happen before any write is handed out: the caller stores value[g->write[i].value.id]. */
void eval_graph(const Graph *g, const EvalEnv *env, Arena *mem, Tensor *value);

double  tensor_get(const Tensor *t, int64_t i, bool wide);
void    tensor_set(Tensor *t, int64_t i, double x, bool wide);
int64_t tensor_bytes(const Type *t, bool wide);
Tensor  tensor_new(Arena *mem, const Type *t, bool wide);

/* eval_point - one scalar of a POINT row; the walker computes with it too.
 * dtype   of the arguments (select: of b); values of ints and bools as doubles are exact up to 2^53.
 * f32 results are computed in float. */
double eval_point(Op op, Dtype dtype, double a, double b, double c);
double eval_cast(Dtype from, Dtype to, double x);

#endif
