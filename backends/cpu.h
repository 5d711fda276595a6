/* cpu.h - plans as LLVM IR: the state while one is emitted, and what differs between targets. */
#ifndef NND_BACKENDS_CPU_H
#define NND_BACKENDS_CPU_H

#include <llvm-c/Core.h>

#include "backends/backend.h"

/* Where a local lives: in registers, a cell for each run of `width` elements; on the stack if some place in it
 * is known only when the kernel runs. */
typedef struct LocalRegs {
    bool          declared;    /* in a body that is being emitted */
    bool          on_stack;
    bool          in_group;    /* nowhere here: in memory that a thread group shares */
    int           width;       /* elements of a cell */
    int           copies;      /* lanes of the vec loop it is declared in, each with its own; 0: in none */
    Dtype         dtype;
    int           ncell;
    int64_t       run;         /* all that reaches it is a vec loop of so many, from a place on that is whole cells: lanes behind them hold
                                * nothing; 0: not known yet, -1: not so */
    LLVMValueRef *cell;        /* vectors of `width`, or of `copies`, or single values */
    LLVMValueRef  stack;       /* element i of lane l at [i * copies + l] */
} LocalRegs;

typedef struct TurnBlock TurnBlock;
typedef struct Emit Emit;

/* What a batch is told beside its buffers. */
typedef enum StepPart { STEP_SEED, STEP_NUMBER, STEP_TURN } StepPart;

/* What differs between a processor and a GPU while kernels are written. */
typedef struct EmitTarget {
    bool         hints;                /* memory is asked for ahead (cpu_fetch.c) */
    int          constants;            /* LLVM's number of the memory that tables of the code are in */
    bool         wide;                 /* vectors are memory accesses of that many bytes at once: alignment is said, conditions are no masks */
    LLVMValueRef (*base)(Emit *e, const Buffer *b, int i);        /* where buffer number i of the kernel begins; a scalar: its value */
    LLVMValueRef (*rows)(Emit *e, bool next);                     /* the batch's row numbers; those of the next batch */
    LLVMValueRef (*step)(Emit *e, StepPart part);                 /* i64 */
    LLVMValueRef (*place)(Emit *e, int i);                        /* of a shared kernel: the value at place i, i64 */
    LLVMValueRef (*function)(Emit *e, Op op, Dtype d, LLVMValueRef *arg);       /* OP_exp ... OP_pow */
    bool         (*statement)(Emit *e, const Stmt *s);            /* what it has its own way for, which it has then written; may be NULL */
} EmitTarget;

struct Emit {
    const EmitTarget  *target;
    Module            *m;
    Arena             *mem;
    LLVMContextRef     C;
    LLVMModuleRef      M;
    LLVMBuilderRef     B;

    /* the plan being emitted */
    const Plan        *p;
    bool               blas;           /* likewise */
    bool               through_par;    /* all kernels, as BackendOptions says */

    /* the kernel being emitted */
    const Kernel      *k;
    LLVMValueRef       fn, step;
    LLVMTypeRef        index;      /* of index variables and places: i64, or i32 where that holds all of the kernel's */
    struct NvptxKernel *gpu;       /* of the nvptx backend */
    LLVMValueRef      *base;       /* of each buffer used: a pointer to its first element; of a scalar: its value */
    LLVMValueRef      *scope;      /* of each buffer used, and last of the row numbers: its alias scope, and */
    LLVMValueRef      *apart;      /* the list of those that share no memory with it */
    bool              *constant;   /* of each buffer used, and of the row numbers: the kernel only reads it */
    LLVMValueRef       rows, next_rows;
    bool               shared;     /* buffers lie where NndStep.place says */
    LLVMValueRef      *var;        /* each index variable, of type index; inside a vec loop: of lane 0, a vector if it was picked lane by lane */
    LLVMValueRef      *value;      /* scalar, or a vector of `lanes` */
    LocalRegs         *local;

    /* the vec loop around, if any */
    int                vec_var;    /* -1: none */
    int                lanes, active;    /* lanes of its vectors; how many of them count */
    TurnBlock         *turn;       /* the unrolled loop around whose loads are turned in registers, NULL: none */
};

/* types and constants (cpu_value.c) */
LLVMTypeRef  cpu_scalar_type(Emit *e, Dtype d);            /* of a value; bool is i1 */
LLVMTypeRef  cpu_memory_type(Emit *e, Dtype d);            /* in memory; bool is i8 */
LLVMTypeRef  cpu_type_like(LLVMTypeRef scalar, LLVMValueRef like);            /* scalar, or a vector as long as like's */
bool         cpu_is_vector(LLVMValueRef v);
LLVMValueRef cpu_splat(Emit *e, LLVMValueRef v, int lanes);
LLVMValueRef cpu_vector(Emit *e, LLVMValueRef v);          /* splat to the vec loop's lanes unless it is a vector */
LLVMValueRef cpu_i64(Emit *e, int64_t x);
LLVMValueRef cpu_i32(Emit *e, int64_t x);
LLVMValueRef cpu_number(Emit *e, int64_t x);               /* of type index */
LLVMValueRef cpu_float(LLVMValueRef like, double x);       /* constants of like's type */
LLVMValueRef cpu_int(LLVMValueRef like, int64_t x);
LLVMValueRef cpu_const(Emit *e, Dtype d, double x);
LLVMValueRef cpu_shuffle(Emit *e, LLVMValueRef a, LLVMValueRef b, const int *lane, int n);
LLVMValueRef cpu_part(Emit *e, LLVMValueRef v, int from, int n);              /* lanes from.. of a vector */
LLVMValueRef cpu_join(Emit *e, LLVMValueRef *v, int n);                       /* n vectors of equal length, one behind the other, as one; n is a power of two */
/* hints (cpu_fetch.c): what s reads of another row, which begins at `row`; what is loaded behind a loop that folds */
void         cpu_fetch_row(Emit *e, const Stmt *s, LLVMValueRef row);
void         cpu_fetch_behind(Emit *e, const Stmt *loop);

LLVMValueRef cpu_intrinsic(Emit *e, const char *name, LLVMTypeRef *overload, int noverload, LLVMValueRef *arg, int narg);
LLVMValueRef cpu_intrinsic1(Emit *e, const char *name, LLVMValueRef a);       /* overloaded on its argument's type */

/* one operation of ops.def on values of equal length (cpu_op.c) */
LLVMValueRef cpu_function(Emit *e, Op op, Dtype d, LLVMValueRef *arg);        /* of f64, and what cpu_math.c lacks, by the C library */
LLVMValueRef cpu_own_function(Emit *e, Op op, Dtype d, LLVMValueRef *arg);    /* the same without a library (cpu_math64.c, cpu_angle.c) */
LLVMValueRef cpu_op(Emit *e, Op op, Dtype dtype, Dtype from, LLVMValueRef *arg, int narg);

/* functions of f32 as polynomials (cpu_math.c), random bits (cpu_random.c); error bounds in backends/README.md */
LLVMValueRef cpu_exp(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_log(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_tanh(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_sigmoid(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_erf(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_sin(Emit *e, LLVMValueRef x);             /* these three through f64 (cpu_math64.c) */
LLVMValueRef cpu_cos(Emit *e, LLVMValueRef x);
LLVMValueRef cpu_pow(Emit *e, LLVMValueRef x, LLVMValueRef y);
LLVMValueRef cpu_random(Emit *e, LLVMValueRef index, LLVMValueRef seed, LLVMValueRef step, LLVMValueRef stream, Dtype d);          /* stream: i32 */

/* memory (cpu_memory.c): inside a vec loop, vectors.  A place is where lane 0 is and how far the next lane's is. */
typedef struct Place {
    LLVMValueRef pointer;
    int64_t      stride;
    int          align;          /* of all lanes together, in bytes */
    Dtype        dtype;
    int          scope;          /* -1: the stack */
    /* of a load: bool, or lanes of it, NULL if it has none; and an element that may be touched where it is false */
    LLVMValueRef condition, safe;
} Place;
/* What base + at, with all lanes, is a multiple of, in bytes; the base is one of from_align, elements have nbytes. */
int          cpu_align(const Emit *e, Affine at, int64_t nbytes, int64_t from_align);
bool         cpu_source(Emit *e, const Stmt *s, Place *at);      /* of a load; false: each lane has a place of its own */
LLVMValueRef cpu_load_place(Emit *e, const Place *at);
void         cpu_store_place(Emit *e, const Place *at, LLVMValueRef v);
LLVMValueRef cpu_load(Emit *e, const Stmt *s);
void         cpu_store(Emit *e, const Stmt *s);
LLVMValueRef cpu_element(Emit *e, LLVMValueRef pointer, LLVMTypeRef type, Affine at, int64_t scale);   /* &pointer[at * scale] */
bool         cpu_known(Emit *e, Affine at, int64_t *x);    /* at lane 0, if no running loop takes part */
LLVMValueRef cpu_index(Emit *e, Affine at, LLVMTypeRef type);       /* the affine form itself, a vector if it varies */
LLVMValueRef cpu_mask(Emit *e);                            /* which lanes count; constant */
int64_t      cpu_lane_stride(const Emit *e, Affine a);

/* indices that loops can't say, and loads through them (cpu_index.c) */
bool         cpu_is_picked(const Emit *e, Affine a);       /* holds a variable that was picked lane by lane */
LLVMValueRef cpu_picked_index(Emit *e, Affine at, LLVMTypeRef type);
/* The index variables as this lane has them where s looks; the vec loop's is lane 0's. */
LLVMValueRef *cpu_lane_vars(Emit *e, const Stmt *s, int lane);
LLVMValueRef cpu_within(Emit *e, const Stmt *s);
LLVMValueRef cpu_pick(Emit *e, const Stmt *s);
LLVMValueRef cpu_digit(Emit *e, const Stmt *s);            /* of ST_PART */

/* transposed operands in blocks (cpu_turn.c) */
TurnBlock   *cpu_turn_block(Emit *e, const Stmt *side);    /* of an unrolled loop around a vec loop; NULL if it is none */
LLVMValueRef cpu_turned(Emit *e, const Stmt *s);           /* the load's vector in this iteration; NULL: to be loaded on its own */
LLVMValueRef cpu_load_row(Emit *e, const Stmt *s, int lane, int64_t n);

/* where a kernel's buffers are, and which share memory (cpu_buffer.c); on a processor, from an NndStep (cpu_step.c) */
extern const EmitTarget cpu_emit_target;
void         cpu_bases(Emit *e);
void         cpu_set_scope(Emit *e, LLVMValueRef access, int scope);
LLVMValueRef cpu_member(Emit *e, LLVMValueRef object, size_t offset, LLVMTypeRef type);        /* loads it */
LLVMValueRef cpu_bytes(Emit *e, LLVMValueRef p, LLVMValueRef nbytes);                          /* p + nbytes */

/* a matrix product by BLAS (cpu_gemm.c) */
void         cpu_gemm(Emit *e, const Gemm *g);

/* kernels that are one function (cpu_share.c) */
int         *cpu_share(Emit *e, bool *shared);             /* of each kernel of the plan: the first that is equal to it; marks those that others are */
int          cpu_kernel_buffers(Emit *e, const Kernel *k, int **buf);          /* in the order of NndStep.place; behind them */
int          cpu_kernel_streams(Emit *e, const Kernel *k, const Stmt ***random);          /* its random statements */
bool         cpu_is_placed(const Buffer *b);
/* The bytes at which the kernel's buffers begin, then its streams: how many, and as a constant of the code. */
int          cpu_place_values(Emit *e, const Kernel *k, int64_t **value);
LLVMValueRef cpu_places(Emit *e, const Kernel *k, const char *name);
bool         cpu_may_overlap(const Plan *p, int i, int j);                     /* buffers (cpu_buffer.c) */

/* locals (cpu_local.c) */
void         cpu_plan_locals(Emit *e);                     /* registers or stack, for each local of the kernel */
bool         cpu_is_cell_loop(const Emit *e, const Stmt *loop);     /* reaches cells along its variable: must be written out */
void         cpu_local(Emit *e, const Stmt *s);
LLVMValueRef cpu_get(Emit *e, const Stmt *s);
void         cpu_set(Emit *e, const Stmt *s);
void         cpu_put(Emit *e, const Stmt *s, LLVMValueRef v);            /* the same with another value */
LLVMValueRef cpu_fold(Emit *e, const Stmt *s);
int64_t      cpu_known_place(Emit *e, Affine at);
LLVMValueRef cpu_fold2(Emit *e, const Stmt *s, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef cpu_fold_cells(Emit *e, const Stmt *s);       /* the cell that is left when whole cells have been folded; NULL: they aren't whole */
bool         cpu_fold_together(Emit *e, const Stmt *loop); /* loops that only fold results into another local (cpu_fold.c) */

/* plans (cpu_buffer.c): p is going to be emitted */
void         cpu_open_plan(Emit *e, const Plan *p);
const char  *cpu_kernel_symbol(Arena *mem, const Plan *p, int i);       /* numbered: a plan may have several kernels of one name */

/* loops (cpu_kernel.c) and entries (cpu_entry.c) */
LLVMValueRef cpu_kernel(Emit *e, const Kernel *k, bool shared, const char *name);
void         cpu_open_kernel(Emit *e, const Kernel *k, bool shared, LLVMValueRef fn);      /* its state, at the function's start */
void         cpu_statements(Emit *e, const Stmt *list);
void         cpu_if(Emit *e, LLVMValueRef condition, const Stmt *body);
int          cpu_loop_lanes(const Emit *e, const Stmt *loop);       /* marks count in scheduled kernels only */
bool         cpu_is_unrolled(const Emit *e, const Stmt *loop);
/* place[i]: the table of kernel i, NULL if it has a function of its own. */
void         cpu_entry(Emit *e, LLVMValueRef *kernel, LLVMValueRef *place, const char *name);
const char  *cpu_entry_symbol(Arena *mem, const Plan *p);
bool         cpu_is_parallel(const Kernel *k);

/* cpu_write_image - im as an object for this processor (cpu.c), which holds no code. */
bool         cpu_write_image(const NndImage *im, bool as_program, FILE *f, char *why, size_t nwhy);

/* the image as constants (cpu_image.c): exported is nnd_<model>, or a program's nnd_program_image, a pointer to it */
void         cpu_image(LLVMModuleRef M, Arena *mem, const NndImage *im, LLVMValueRef *run, bool as_program);

#endif
