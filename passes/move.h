/* move.h - movements that several passes are made of. */
#ifndef NND_PASSES_MOVE_H
#define NND_PASSES_MOVE_H

#include "ir/graph.h"

/* count elements of an axis from start on, in steps. */
Ref move_slice(Graph *g, Loc loc, Ref a, int axis, int64_t start, int64_t step, int64_t count);
Ref move_reverse(Graph *g, Loc loc, Ref a, int axis);
/* Zeros before and behind; a negative number takes elements away there. */
Ref move_pad(Graph *g, Loc loc, Ref a, int axis, int64_t before, int64_t behind);
/* The same for every axis. */
Ref move_frame(Graph *g, Loc loc, Ref a, const int64_t *before, const int64_t *behind);
/* by - 1 zeros between neighbours. */
Ref move_dilate(Graph *g, Loc loc, Ref a, int axis, int64_t by);

/* A cast to the dtype that it has: the value at a place of its own. */
Ref move_own_place(Graph *g, Loc loc, Ref a);

#endif
