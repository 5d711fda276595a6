/* scan.h - loops over steps, in a graph without cycles.
 *
 * A scan is no node but five kinds of them that share a number.  Its body is what depends on an `element` or a `carry`;
 * everything else a body uses comes from outside and is the same in every step.  A carry's `next` gives it its value for the step
 * after; the nexts of a scan are a chain (their third argument), so what leaves the scan, a `last` or a `stack`, names the
 * chain's end and has reached all of them.
 *
 *   %3 = element %1 {0, 28, 1, 0} : f32[64, 28]       step t's part of %1 : f32[64, 28, 28], along axis 1
 *   %4 = carry %2 {0, 28, 0, 0} : f32[64, 28]         %2 in the first step
 *   %5 = add %3, %4 : f32[64, 28]
 *   %6 = next %4, %5, %4 {0, 28, 0, 0} : f32[64, 28]
 *   %7 = last %4, %6 {0, 28, 0, 0} : f32[64, 28]      %4 behind the last step
 *   %8 = stack %5, %6 {0, 28, 1, 0} : f32[64, 28, 28] each step's %5
 *
 * So passes that copy and rewrite nodes need to know nothing of scans; simplify works in bodies, and what does not change from
 * step to step is outside by itself.  What leaves a scan stands behind all of its body.  A scan in a scan is refused.
 */
#ifndef NND_IR_SCAN_H
#define NND_IR_SCAN_H

#include "ir/graph.h"

enum { SCAN_NUMBER, SCAN_STEPS, SCAN_AXIS, SCAN_BACK };     /* what stands in an attribute LOOP; AXIS is a carry's number too */

bool scan_is_result(Op op);                      /* last, stack */
/* The scan in whose body each node is, from 1; 0: in none.  -1 where bodies of two scans meet. */
int *scan_of_nodes(const Graph *g);
int  scan_free_number(const Graph *g);           /* that no scan of g has */
int64_t *scan_steps(const Graph *g);             /* by number of the scan, from 1; 1 for 0, no scan */
const char *scan_fault(Graph *g, int *id);       /* what verify has to say of the scans, and of which node; NULL: nothing */

/* makers; number, steps and back as the attribute has them */
Ref  scan_element(Graph *g, Loc loc, Ref sequence, int64_t number, int64_t axis, bool back);
Ref  scan_carry(Graph *g, Loc loc, Ref init, int64_t number, int64_t steps, int64_t which);
Ref  scan_next(Graph *g, Ref carry, Ref value, Ref before);      /* before: id 0 for the first */
Ref  scan_last(Graph *g, Ref carry, Ref end);
Ref  scan_stack(Graph *g, Loc loc, Ref value, Ref end, int64_t number, int64_t steps, int64_t axis, bool back);

#endif
