/* kernel.h - loops and arithmetic: all that a code-generating backend is given.
 *
 * A plan is what one graph became: buffers, and kernels in the order they run.
 * A kernel is a loop nest in a small language:
 *
 *   kernel k2 {
 *     for i0 < 64 par {
 *       local l0 : f32[1] = 0
 *       for i1 < 784 {
 *         %0 = load b3[784*i0 + i1] : f32
 *         %1 = load b0[i1] : f32
 *         %2 = get l0[0] : f32
 *         %3 = fma %0, %1, %2 : f32
 *         set l0[0], %3
 *       }
 *       %4 = get l0[0] : f32
 *       %5 = sigmoid %4 : f32
 *       store b5[i0], %5
 *     }
 *   }
 *
 * Every value is a scalar of one iteration, defined once, visible from there to the end of the body
 * that defines it.  Loop extents are known numbers.  Indices are affine in the loop variables, so a
 * backend knows every stride.  A field buffer is read through the batch's row numbers: load b1[row i0][i1].
 *
 * Three statements let an index leave what loops can say:
 *   %7 = within i0 + i1 - 2 < 28, i2 < 28 : bool     every form lies in 0 .. its size - 1
 *   %8 = load b3[28*i0 + 28*i1 + i2 - 56] : f32 if %7     not touched, and 0, where the value of a `within` is false
 *   pick i9 < 784 = %5                               i9 is the integer %5, put into 0..783; visible like a value
 *   part i9 < 28 = 256*i0 + i1 / 28                  i9 is (256*i0 + i1) / 28 % 28: one digit of a number that is never negative
 *   if %6 { ... }                                    done where %6 is true; what it defines is not seen behind it
 *
 * What loop marks mean (none changes a result, not a bit of it):
 *   par      iterations are independent and may run on any thread; only at the top of a kernel, one or none
 *   vec L    iterations are independent; run L at a time as lanes of a vector, the last group masked
 *   sieve L  its body is values, then one `if` that uses none of them but its condition: conditions are found L at a time,
 *            and iterations where they hold are done one by one, in order
 *   unroll   written out at compile time
 *   blas     the nest is a matrix product, written plainly (kernel_gemm.c), which BLAS may compute: adding up in an order of its own
 * vec L unroll: groups of lanes, and the groups written out.  par and vec can't be on one loop; a vec loop
 * holds no other vec loop.
 *
 * A kernel for a GPU is written for groups of threads that share memory (ir/kernel_group.c):
 *
 *   kernel k2 {
 *     for i0 < 64 grid {
 *       local l0 : f32[1024] group
 *       local l1 : f32[256] each 1 = 0
 *       for i1 < 98 {
 *         for i2 < 256 block { ... set l0[4*i2], %3 ... }
 *         for i2 < 256 block { ... get l0[..] ... set l1[i2], %9 }
 *       }
 *       %10 = fold add l1[0 .. 256] : f32
 *       store b5[i0], %10
 *     }
 *   }
 *
 *   grid     iterations are independent and run on any thread group; 1 to 3 loops at the top, each all of the one around
 *   block    iterations are independent and are the threads of a group.  Loops may stand in each other, with statements between: thread =
 *            (extents inside) * outer + inner.  Extents of inner levels are equal throughout a kernel; the outermost may be shorter, and threads
 *            beyond it skip it.  A group has as many threads as its longest nest (kernel_group).  What stands at an outer level, or at that of the
 *            grid, is done by all its threads alike, but a store by the first of them
 *   async    of a block loop: nothing but copies of f32 from a buffer to a group local, 0 where a load's condition is false, under one vec loop perhaps, or an `if`;
 *            in flight until `wait N`, which stands behind the loops that copy: all but the N latest of them have landed
 *
 * Between a write and another access of a place in group memory by different block loops, and of a buffer by loops of one group, all threads meet:
 * nothing in the text says so.  A vec loop in a block loop is one access of 2 or 4 neighbours; its extent is a multiple of its lanes.
 *
 * Locals have one of four scopes.  Without a word they are private arrays with a name and an initial value, flat.  In a scheduled kernel they are registers:
 * indices into them depend only on unrolled loops, on the vec loop around (coefficient 1, the rest a multiple
 * of L: lanes of vector registers), and on constants.  A local declared inside a vec loop has one copy a lane, in a block loop one a thread.
 *   memory   private too, at any index: not registers; begins as nothing.  Not in kernels for a GPU
 *   group    shared by the threads of a group, at any index; begins as nothing
 *   each K   registers of the group's threads, of thread t from K * t on: t is written out over the block loops around, what is added depends on
 *            unrolled loops, lanes and constants.  `fold` of an `each 1` local takes the threads of an outer level or of all the group; then it is spent
 *
 * mma tf32 l2[at], l0[a : sa], l1[b : sb]   at an outer level of 32 threads: l2, `each K`, K * 32 * (this level's number) + rest: 4 results a thread are
 * added the product of 16 x 8 numbers (tf32) or 16 x 16 (mma bf16) by 8 or 16 x 8 ones in group memory, row i of the first at a + sa * i, of the second
 * at b + sb * i; l1[b : sb turned]: column i of the second is there.  Of lane l they are row l / 4 and row l / 4 + 8, columns 2 * (l % 4) and the one beside it.  Operands are rounded to that format.
 *
 * `kernel k4 "dot tanh" scan 1 28 ...`: kernels of scan 1, which stand one behind the other, run 28 times in that order; in them i0
 * is the number of the step, from 0.
 *
 * fold reduces n = 2^k elements of a local by a fixed tree: while n > 1 { n /= 2; l[i] = op(l[i], l[i+n]) for i < n }.
 * A long reduction along contiguous memory runs in NND_LANES partial results (element i into partial i % NND_LANES)
 * and one fold, on every target, whatever the width of its vectors: so every machine gives the same bits.
 */
#ifndef NND_IR_KERNEL_H
#define NND_IR_KERNEL_H

#include "ir/graph.h"

enum { NND_LANES = 16 };

typedef struct Term { int var; int64_t coef; } Term;
typedef struct Affine { int64_t base; int n; const Term *term; } Affine;   /* base + sum coef * i<var>; each var once, coef != 0, ascending vars */

/* 0 <= at < size */
typedef struct Guard { Affine at; int64_t size; } Guard;

typedef enum Seg {
    SEG_STATE,     /* offset in the state segment */
    SEG_SCRATCH,   /* offset in the entry's scratch */
    SEG_FIELD,     /* a data column, a row picked by number; count is a row's */
    SEG_INPUT,     /* infer's contiguous input; count is the whole batch's */
    SEG_OUTPUT,    /* infer's contiguous output, likewise */
    SEG_SCALAR,    /* one f64: step, steps, epoch or an `input float` */
    SEG_METRIC,    /* one f64: a figure of the batch */
    NSEG
} Seg;
extern const char *const seg_name[NSEG];

typedef struct Buffer {
    Seg     seg;
    int     slot;          /* its slot in the module, -1 for scratch */
    int64_t offset;        /* state, scratch: bytes from the segment's start, a multiple of 64; -1 until the pass memory;
                              field, input, output: number among the module's slots of that kind; metric: likewise;
                              scalar: 0 step, 1 steps, 2 epoch, 3.. the `input float`s in order */
    Dtype   dtype;
    int64_t count;         /* elements */
    int     first, last;   /* kernels between which it is alive (scratch) */
    int     node;          /* the graph's node whose value it holds, 0 if none */
} Buffer;

typedef enum StmtKind {
    ST_FOR,        /* for i<id> < extent [par] [grid] [block [async]] [vec lanes] [sieve lanes] [unroll] { body } */
    ST_LET,        /* %id = op %arg... : dtype             op is a POINT row; cast: from dtype `from` */
    ST_CONST,      /* %id = number : dtype */
    ST_LOAD,       /* %id = load b<buf>[at]                field: load b<buf>[row <row>][at]; if %arg0, a WITHIN's value */
    ST_STORE,      /* store b<buf>[at], %arg0 */
    ST_INDEX,      /* %id = index at : i32 */
    ST_WITHIN,     /* %id = within guard, ... : bool */
    ST_PICK,       /* pick i<id> < extent = %arg0 */
    ST_PART,       /* part i<id> < extent = at / count     at / count % extent */
    ST_IF,         /* if %arg0 { body } */
    ST_RANDOM,     /* %id = random <stream> [at] : f32 */
    ST_LOCAL,      /* local l<id> : dtype[count] [memory] [group] [each <each>] [= number] */
    ST_GET,        /* %id = get l<local>[at] */
    ST_SET,        /* set l<local>[at], %arg0 */
    ST_FOLD,       /* %id = fold op l<local>[at .. count] */
    ST_WAIT,       /* wait count                           all but the `count` latest async loops have landed */
    ST_MMA         /* mma tf32|bf16 l<local>[at], l<operand[0]>[guard[0].at : guard[0].size], l<operand[1]>[guard[1].at : guard[1].size [turned]] */
} StmtKind;

typedef enum Scope { SCOPE_OWN, SCOPE_MEMORY, SCOPE_GROUP, SCOPE_EACH } Scope;

typedef struct Stmt Stmt;
struct Stmt {
    StmtKind kind;
    Loc      loc;
    int      id;           /* value, loop variable or local that it defines, each numbered from 0 in its kernel */
    Op       op;
    Dtype    dtype;        /* of the value, the local, the stored value */
    Dtype    from;         /* compare, cast: dtype of the arguments */
    int      narg, arg[3]; /* values */
    double   number;
    uint32_t stream;
    int      buf, local;
    Affine   at, row;
    int      nguard; Guard *guard;
    int64_t  extent, count;
    bool     par, unroll;
    bool     grid, block, async;
    Scope    scope; int64_t each;      /* of a local */
    bool     bf16; int operand[2];     /* mma: tf32 if not; the locals of its operands */
    bool     turned;                   /* mma: columns of the second operand lie as rows */
    int      lanes;        /* vec: lanes; 0: not a vec loop */
    int      sieve;        /* conditions found together; 0: no sieve */
    bool     blas;
    Stmt    *body;
    Stmt    *next;
};

typedef struct Kernel {
    const char *name;      /* "k2" */
    Loc         loc;       /* of its main operation */
    const char *what;      /* for people: "dot add sigmoid" */
    Stmt       *body;
    int         nvalue, nvar, nlocal;
    double      flops;     /* adds, multiplies and functions of one execution, fma as two */
    int         scan;      /* the scan in whose body it runs, from 1; 0: none.  Kernels of one stand together */
    int64_t     steps;     /* of that scan: i0 is the step, and no loop's variable; 0: none */
    bool        scheduled; /* the rules for locals of scheduled kernels hold */
} Kernel;

struct Plan {
    Module     *m;
    const Graph *graph;
    EntryKind   entry;
    int64_t     batch;
    Buffer     *buf;    int nbuf, cbuf;
    Kernel    **kernel; int nkernel, ckernel;
    int64_t     scratch_bytes;      /* after memory; -1 before */
};

/* Behind the kernels that run together with kernel i: those of its scan; itself, if it is in none. */
int     plan_scan_end(const Plan *p, int i);

/* affine forms */
Affine aff_const(int64_t base);
Affine aff_var(Arena *mem, int var, int64_t coef);
Affine aff_add(Arena *mem, Affine a, Affine b);
Affine aff_scale(Arena *mem, Affine a, int64_t by);
Affine aff_subst(Arena *mem, Affine a, int var, Affine by);     /* var replaced by an affine form */
int64_t aff_coef(Affine a, int var);
bool   aff_equal(Affine a, Affine b);

/* making kernels: statements are appended to a list */
typedef struct KList { Stmt *first, *last; } KList;
Stmt *kern_add(Arena *mem, KList *l, StmtKind kind, Loc loc);
void  kern_append(KList *l, Stmt *s);          /* s and all that follow it */

/* The i-th affine form that s holds, NULL behind the last: at, row, guards. */
Affine *stmt_affine(Stmt *s, int i);
bool    stmt_has(const Stmt *list, StmtKind kind);   /* is there such a one in the list, however deep? */
bool    stmt_has_var(const Stmt *s);           /* defines an index variable: a loop, a pick or a part */

/* Is the body of a block loop shared by threads of its own: does it hold a block loop, a fold over threads or an mma? */
bool    stmt_is_shared(const Stmt *block, const Kernel *k);

/* The thread group of a kernel: threads 0 if it has neither grid nor block loops; inner[d]: extent of block loops that stand in d others, d > 0;
 * grid[0] is the outermost's extent, 1 for loops that aren't there. */
enum { GRID_LOOPS = 3, BLOCK_LOOPS = 3 };
typedef struct Group { int64_t threads, inner[BLOCK_LOOPS], grid[GRID_LOOPS]; int ngrid; } Group;
Group   kernel_group(const Kernel *k);

/* kern_clone - a deep copy in which each loop variable v is var[v] (an affine form over the new variables);
 * values and locals keep their numbers plus value_base and local_base. */
Stmt *kern_clone(Arena *mem, const Stmt *s, const Affine *var, int value_base, int local_base);

Plan *plan_new(Module *m, const Graph *g);
int   plan_buffer(Plan *p, Buffer b);                          /* its number */
/* The slots of a kind are numbered in order; this is a slot's number among its kind. */
int64_t slot_index(const Module *m, int slot);
/* Where a param, state or optim slot lies in the state segment, in bytes, and the segment's size. */
int64_t module_state_offset(const Module *m, int slot);
int64_t module_state_bytes(const Module *m);

/* A matrix of a product: element (i, j) at buf[at + ld*i + j], turned: at buf[at + i + ld*j]. */
typedef struct GemmOperand { int buf; int64_t at, ld; bool turned; } GemmOperand;
/* c[m, n] = a[m, k] * b[k, n] */
typedef struct Gemm { Dtype dtype; int64_t m, n, k; GemmOperand a, b, c; } Gemm;
/* kern_gemm - reads the product that the nest is, if it is one (ir/kernel_gemm.c). */
bool kern_gemm(const Stmt *loop, Gemm *g);

/* text (ir/kernel_text.c) */
void  plan_print(FILE *f, const Plan *p);
void  kernel_print(FILE *f, const Kernel *k);
struct Lexer;
Plan *plan_read(Module *m, struct Lexer *lx);                  /* after the word `plan`; NULL after a reported error */

/* verify (ir/kernel_verify.c): scopes, indices inside their buffers and locals for every iteration, marks where
 * they are allowed, par loops store to places of their own, locals of scheduled kernels; NULL or one sentence. */
const char *plan_verify(const Plan *p, Arena *mem);
/* Its part in ir/kernel_loops.c: iterations of par and vec loops never meet where one of them writes. */
const char *kernel_check_loops(const Plan *p, const Kernel *k, Arena *mem);

/* Another in ir/kernel_group.c: what is said above of thread groups. */
const char *kernel_check_group(const Kernel *k, Arena *mem);

/* walk (ir/walk.c): runs a plan's kernels one scalar at a time, f32 results rounded to float.
 * base[seg]-like access goes through this table; the walker checks every index against count. */
typedef struct WalkEnv {
    void              *state, *scratch;
    const void *const *field;        /* SEG_FIELD and SEG_INPUT: by Buffer.offset */
    void *const       *out;          /* SEG_OUTPUT */
    const int32_t     *row;          /* field rows of this batch */
    const double      *scalar;       /* by Buffer.offset: step, steps, epoch, inputs */
    double            *metric;
    uint64_t           seed; int64_t step;
} WalkEnv;
const char *plan_walk(const Plan *p, const WalkEnv *env, Arena *mem);      /* NULL, or what was out of bounds */

#endif
