/* profile.h - the clock around every kernel of a training step. */
#ifndef NND_FRONTEND_PROFILE_H
#define NND_FRONTEND_PROFILE_H

#include <stdio.h>

#include "frontend/nnd.h"

/* Who calls kernels, and notes when.  A step calls the plan's kernels in their order, those of a scan once for each of its steps. */
typedef struct Profile {
    NndPar        par;               /* first: kernels are handed this */
    const NndPar *inner;             /* who runs parallel loops; NULL: one thread */
    const Plan   *plan;
    const int    *of;                /* the plan's kernel that each call of a step is; ncall of them */
    int64_t       ncall;
    int64_t       warm, steps;       /* not noted; noted */
    int64_t       done;              /* calls so far, warm ones too */
    double       *begun, *ended;     /* of each noted call, microseconds on one clock */
} Profile;

/* profile_open - for `warm` steps that are not noted and `steps` that are, of plan; in mem. */
void profile_open(Profile *p, const Plan *plan, const NndPar *inner, int64_t warm, int64_t steps, Arena *mem);

/* What one thread of the machine can do: FLOP and bytes a second. */
typedef struct Peak { double flops, bytes; const char *unit; } Peak;

/* profile_print - a line a kernel, the longest first, and the whole step. */
void profile_print(FILE *f, const Profile *p, const Peak *peak, Arena *mem);

/* profile_trace - the noted calls as a Chrome trace (complete events, microseconds).  NND_E_FILE, NND_E_MEMORY. */
int  profile_trace(const Profile *p, const char *path, NndError *err);

/* What a kernel touches, and the model's line that it is of (profile.c), for profile_gpu.c; the text is in mem. */
double      profile_bytes(const Plan *p, const Kernel *k, Arena *mem);
const char *profile_place(const Plan *p, const Kernel *k, Arena *mem);

/* profile_gpu_print - a line a kernel of entry number `entry`, whose plan is `plan`: a prediction for a usual device of the code's
 * generation, beside milliseconds of each launch on `device`; ms NULL: none were measured. */
void profile_gpu_print(FILE *f, const Plan *plan, const NndGpu *gpu, int entry, const double *ms, const char *device, Arena *mem);

#endif
