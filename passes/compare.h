/* compare.h - run a module's entries on made-up values after every stage, and see that nothing changed. */
#ifndef NND_PASSES_COMPARE_H
#define NND_PASSES_COMPARE_H

#include "passes/pass.h"

/* An entry's memory with made-up values, the same for a slot whenever they are drawn. */
typedef struct CompareData {
    WalkEnv     env;              /* env.scratch: NULL */
    const void **field;
    void       **out;
    int32_t     *row;
    double      *metric;
    int          nmetric;
    double      *scalar;
} CompareData;

typedef struct Compare Compare;

/* Lives in mem, which outlives it. */
Compare *compare_new(Arena *mem);

/* compare_pass - evaluates every graph (walks its plan where there is one) and compares every slot that the stage
 * before wrote, which must still be written.  Returns NULL, or one sentence: "fuse: entry train 64: write @x element 5
 * differs: 1.25 before, 1.5 after".  Entries of more than 5e7 FLOPs are left out. */
const char *compare_pass(Compare *c, Module *m, const char *stage);

/* For code that is run elsewhere: the memory for graph number i of m (false: it is too large to be compared), and
 * the comparison of what lies in that memory after the run. */
bool        compare_data(Module *m, int i, Arena *mem, CompareData *d);
const char *compare_ran(Compare *c, Module *m, int i, const char *stage, const CompareData *d);

#endif
