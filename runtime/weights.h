/* weights.h - what reading and writing of safetensors files share: dtypes' names and the way through a layout.
 *
 *   8 bytes little-endian: the header's length; the header, JSON, maybe with spaces at its end; the elements
 *   {"fc1.weight":{"dtype":"F32","shape":[784,128],"data_offsets":[0,401408]}, ...}
 */
#ifndef NND_RUNTIME_WEIGHTS_H
#define NND_RUNTIME_WEIGHTS_H

#include "runtime/nnd.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and memory is written as it is");

/* A way through a variable's elements in the order of a file; offset is in elements. */
typedef struct Walk { const NndVar *var; int64_t at[NND_RANK], offset; } Walk;

/* To the next element, back to the first after the last. */
static inline void walk_on(Walk *w)
{
    const NndVar *v = w->var;

    for (int i = v->rank - 1; i >= 0; i--) {
        w->offset += v->stride[i];
        if (++w->at[i] < v->dim[i])
            return;
        w->offset -= v->stride[i] * v->dim[i];
        w->at[i] = 0;
    }
}

/* Does the state segment have it as a file does? */
static inline bool is_row_major(const NndVar *v)
{
    int64_t stride = 1;

    for (int i = v->rank - 1; i >= 0; stride *= v->dim[i--])
        if (v->dim[i] > 1 && v->stride[i] != stride)
            return false;
    return true;
}

/* What a file holds of an image: the optimizer's states end with the run. */
static inline bool is_saved(const NndVar *v) { return v->kind != NND_OPTIM; }

static inline const char *file_dtype(NndDtype d)
{
    static const char *const name[] = {
        [NND_F32] = "F32", [NND_F64] = "F64", [NND_I32] = "I32", [NND_I64] = "I64",
        [NND_U8] = "U8", [NND_BOOL] = "BOOL",
    };

    return name[d];
}

#endif
