/* nvptx.h - the state while a kernel becomes code for a GPU. */
#ifndef NND_BACKENDS_NVPTX_H
#define NND_BACKENDS_NVPTX_H

#include "backends/cpu.h"
#include "backends/nvptx_target.h"

/* LLVM's numbers of the memory spaces. */
enum { SPACE_GLOBAL = 1, SPACE_SHARED = 3 };

/* What threads have done to memory since they last met (nvptx_meet.c). */
typedef struct Meet Meet;

/* Which threads run the statements at hand. */
typedef struct Level {
    int          depth;          /* block loops around */
    int64_t      threads;        /* do all the same; 1: each does its own */
    LLVMValueRef thread;         /* number among those, i32 */
    bool         parted;         /* not all of the group come here */
} Level;

typedef struct NvptxKernel {
    const NvptxSm *sm;
    Group          group;
    Level          level;
    LLVMValueRef   control;
    const Stmt   **local;        /* each local's declaration */
    LLVMValueRef  *group_local;  /* address of each that lies in group memory */
    LLVMValueRef  *fold_array;   /* of each value that is a fold over warps: where in group memory */
    int64_t        group_bytes;  /* of group memory, without folds */
    int64_t        shared_bytes; /* to be given at the launch */
    int64_t       *extent;       /* each index variable is below that */
    bool          *is_block;     /* index variables of block loops */
    bool           in_async;     /* in a loop that copies, and */
    const Stmt   **copied;       /* of each value there: its load */
    Meet          *meet;
    char           why[200];     /* the first thing that can't be written; "": nothing so far */
} NvptxKernel;

extern const EmitTarget nvptx_emit_target;

/* kernels (nvptx_kernel.c) */
LLVMValueRef nvptx_kernel(Emit *e, const Kernel *k, bool shared, const char *name);
void         nvptx_launch(const Kernel *k, NndLaunch *to);                    /* fills in grid and block */
void         nvptx_advance(Emit *e);                                          /* the function nnd_advance */
LLVMValueRef nvptx_call(Emit *e, const char *name, LLVMValueRef *arg, int narg);        /* an intrinsic that has one type */
void         nvptx_refuse(Emit *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));        /* no code for the module */

/* statements of thread groups (nvptx_group.c) */
bool         nvptx_statement(Emit *e, const Stmt *s);
void         nvptx_locals(Emit *e);                                           /* group memory of the kernel */
LLVMValueRef nvptx_shared(Emit *e, LLVMTypeRef type, const char *name);       /* more of it */
Place        nvptx_place(Emit *e, int local, Affine at);                      /* in it */
Stmt         nvptx_own(Emit *e, const Stmt *s);                               /* s, its place that among the thread's own registers */

/* folds (nvptx_fold.c), products by tensor cores (nvptx_mma.c) */
LLVMValueRef nvptx_fold(Emit *e, const Stmt *s);
LLVMValueRef nvptx_lanes(Emit *e, int64_t n);        /* of a warp, as bits: those of the n that share the level */
void         nvptx_mma(Emit *e, const Stmt *s);

/* Where threads must meet (nvptx_meet.c).  before: s, which stands at a level that threads share, is going to be written.
 * turn: so is turn i of an unrolled loop there, or the loop ends (-1).  loop: so is a running one.  branch: an `if` begins, ends. */
Meet        *nvptx_meet_new(Emit *e);
void         nvptx_meet_before(Emit *e, const Stmt *s);
void         nvptx_meet_turn(Emit *e, const Stmt *loop, int64_t i);
void         nvptx_meet_loop(Emit *e, const Stmt *loop);
Meet        *nvptx_meet_inside(Emit *e, const Stmt *block);                   /* a level of its own begins, and */
void         nvptx_meet_outside(Emit *e, const Stmt *block, Meet *outside);   /* ends */
Meet        *nvptx_meet_branch(Emit *e);
void         nvptx_meet_rejoin(Emit *e, const Meet *before);
void         nvptx_barrier(Emit *e);                                          /* all threads of the level meet here */

#endif
