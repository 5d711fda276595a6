/* random_graph.h - graphs at random over every row of ops.def, run by the oracle, the walker and the cpu.
 *
 * A graph is a function of its number, and its slots' values are one of their names: so a number repeats a
 * failure, and so does what `nnd reduce` leaves of its text.
 */
#ifndef NND_TESTS_RANDOM_GRAPH_H
#define NND_TESTS_RANDOM_GRAPH_H

#include "ir/eval.h"
#include "tests/unit/arbitrary.h"

/* How a module is compiled; graphs of one block share it.  No lanes: for a GPU, and only walked. */
typedef struct RandomMode { int lanes; bool simplify, skip_fuse, skip_schedule, only_walk, small_caches, blas; } RandomMode;

enum { RANDOM_BLOCK = 64 };

/* All modes come up within 24 blocks. */
RandomMode random_mode(uint64_t number);

/* Adds graph `number` to the module as entry train with batch index + 1.  Arguments are slots of kind param, results
 * of kind param (in place) or state; m->float64 makes every float f64. */
Graph *random_graph(Module *m, uint64_t number, int index);

/* The value of every slot, by its name: its first letter says from where.
 * s [-1, 1], integers 0..3   p [0.1, 2.1], integers 1..3   e what arb_special has   others as s */
void random_fill(const Slot *s, Tensor *t);

/* What the graph writes, in a new graph without scans. */
Graph *random_unroll(const Graph *g);

/* How far a node's value may be from the oracle's, in the max norm (random_bound.c argues each row).
 * err     0: the same value; INFINITY: anything may come out
 * loose   the walker and the cpu may differ as well, by no more than err from the oracle each
 * wild    an integer beyond what the oracle's doubles hold takes part: not to be compared at all */
typedef struct RandomBound { double err; bool loose, wild; } RandomBound;

/* bound[id] of each node that has a value.  rounded: points may round otherwise than written (simplify). */
void random_bounds(const Graph *g, const Tensor *value, bool rounded, RandomBound *bound);

/* random_check - fills the slots, all of kind param or state, and runs each graph three ways (two if mode.only_walk).
 * m's graphs become what the passes make of them.  Returns NULL, or one sentence in mem. */
const char *random_check(Module *m, RandomMode mode, Arena *mem);

/* Terms that one result of a sum or a contraction adds up, at most; 0 for other nodes. */
double random_terms(const Graph *g, const Node *nd);

#endif
