/* few.h - is this a run under sanitizers (NND_FEW)?  It looks for mistakes in memory, for which a part of what is random, or the same at
 * two widths or in two orders, will do; the release build's tests run all of it. */
#ifndef NND_TESTS_FEW_H
#define NND_TESTS_FEW_H

#include <stdbool.h>
#include <stdlib.h>

static inline bool few(void) { return getenv("NND_FEW"); }

#endif
