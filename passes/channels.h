/* channels.h - a convolution along whose output channels vectors run. */
#ifndef NND_PASSES_CHANNELS_H
#define NND_PASSES_CHANNELS_H

#include "ir/graph.h"

/* The conv nd, of arguments that need no padding, by windows (numbers as its own, 5 an axis): as a product with the channels last, and
 * seen in the order that a conv has.  Id 0 where vectors are better off along the last spatial axis. */
Ref channels_last(Graph *g, const Node *nd, const Ref *arg, const int64_t *windows);

#endif
