/* autodiff.h - the state of one reverse walk. */
#ifndef NND_PASSES_AUTODIFF_H
#define NND_PASSES_AUTODIFF_H

#include "ir/scan.h"
#include "passes/gradient.h"

typedef struct Walk {
    const Gradient *table;
    Graph          *g;
    Ref             y;
    bool           *on_path;   /* of nodes up to y: lies between y and a target */
    Ref            *adjoint;
    const int      *scan;      /* of nodes up to y: the scan in whose body they are, 0: none */
    const int      *first;     /* by a scan's number from 0: the first on the path of what leaves it, 0: nothing */
} Walk;

/* Does an adjoint of nd's argument i help to get at a target? */
bool walk_leads(const Walk *w, const Node *nd, int i);
void walk_add(Walk *w, Ref to, Ref part, Loc loc);

/* passes/autodiff_scan.c */
const int *walk_first_results(const Walk *w, Ref y);
/* From the adjoints of all that leaves a scan to those of what its body uses; first: the first of what leaves it. */
void walk_scan(Walk *w, int first);

#endif
