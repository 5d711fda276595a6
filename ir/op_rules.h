/* op_rules.h - type rules of ops.def that stand in ir/op_window.c and ir/op_sparse.c, and what they share with those in ir/op.c. */
#ifndef NND_IR_OP_RULES_H
#define NND_IR_OP_RULES_H

#include "ir/op.h"

Type type_slice(Infer *in);
Type type_pad(Infer *in);
Type type_window(Infer *in);
Type type_overlap(Infer *in);
Type type_cumsum(Infer *in);
Type type_conv(Infer *in);
Type type_gather(Infer *in);
Type type_scatter(Infer *in);
Type type_attention(Infer *in);
Type type_attention_lse(Infer *in);

/* ir/op_sparse.c */
Type type_put(Infer *in);
Type type_spread(Infer *in);
Type type_collect(Infer *in);

Type type_expand(Infer *in);

char *infer_str(Infer *in, int i);                      /* the i-th argument's type, for messages */
bool  is_numeric(Dtype d);                              /* arithmetic takes it */

#endif
