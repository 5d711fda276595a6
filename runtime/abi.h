/* abi.h - all that the runtime is given: one constant image a model.
 *
 * A JIT and an ahead-of-time object return the same struct and the runtime
 * can't tell which.  Compiled code is a function of what a call points to: it
 * has no data of its own, so one image serves many sessions and threads.
 *
 * Conventions: sizes in bytes unless the name says otherwise; shapes outermost
 * axis first; tensors row-major unless NndVar.stride says otherwise.
 */
#ifndef NND_RUNTIME_ABI_H
#define NND_RUNTIME_ABI_H

#include <stdint.h>

#define NND_ABI 3
enum { NND_RANK = 8, NND_ALIGN = 64 };   /* largest rank; alignment of segments and of every buffer in them */

typedef enum NndDtype { NND_F32, NND_F64, NND_I32, NND_I64, NND_U8, NND_BOOL } NndDtype;
typedef enum NndEntryKind { NND_INIT, NND_TRAIN, NND_EVAL, NND_INFER } NndEntryKind;
typedef enum NndVarKind { NND_PARAM, NND_STATE, NND_OPTIM } NndVarKind;
enum { NND_SPLIT_TRAIN, NND_SPLIT_TEST, NND_SPLIT_VALID, NND_NSPLIT };

typedef struct NndImage NndImage;
typedef struct NndEntry NndEntry;
typedef struct NndCall NndCall;
typedef struct NndStep NndStep;
typedef struct NndGpu NndGpu;

/* What a function returns: 0, or why it failed. */
enum {
    NND_OK,
    NND_E_FILE,        /* can't be read or written: the system's reason */
    NND_E_FORMAT,      /* not what it should be: wanted and found */
    NND_E_DATA,        /* well-formed, but doesn't fit the model or another file */
    NND_E_ARG,         /* the caller asked for what can't be done */
    NND_E_MEMORY,
    NND_E_DIVERGED,    /* a loss is nan or infinite */
    NND_E_STOPPED,     /* the caller's flag was raised */
    NND_E_DEVICE,
    NND_E_EXPECT       /* ran well, but what the model's text expects does not hold */
};

/* A kernel works on iterations first..last-1 of its outermost parallel loop. */
typedef void NndKernel(const NndStep *s, int64_t first, int64_t last);

/* Who runs parallel loops.  run calls k over pieces that cover 0..n-1 exactly
 * once and returns when all are done. */
typedef struct NndPar {
    void (*run)(const struct NndPar *par, NndKernel *k, const NndStep *s, int64_t n);
} NndPar;

/* One of the values that outlive a step; all lie in one block, the state segment. */
typedef struct NndVar {
    const char *name;                /* "fc1.weight" */
    uint8_t     kind, dtype, rank;   /* NndVarKind, NndDtype */
    int64_t     dim[NND_RANK];
    int64_t     stride[NND_RANK];    /* in elements: the layout in the state segment; files are row-major */
    int64_t     offset;              /* bytes from the start of the state segment */
} NndVar;

typedef enum NndFormat {
    NND_ABSENT,                      /* the split has no rows of its own */
    NND_IDX, NND_NPY, NND_NPZ, NND_CSV, NND_BYTES, NND_CHARACTERS,
    NND_IMAGES,                      /* a folder with a folder for each class */
    NND_ROWS,                        /* no file: the field is the row's number, and there are as many as number says */
    NND_SHARE                        /* the split takes a share of the rows of train: to, 0 to 1 */
} NndFormat;

/* Where a field's rows of one split come from. */
typedef struct NndSource {
    uint8_t            format;       /* NndFormat */
    const char        *file;         /* its name in the data directory */
    const char *const *part;         /* npz: the array's name; csv: the columns' names, or their numbers from 0 */
    int                npart;
    int64_t            stride;       /* bytes, characters: from one row to the next */
    int64_t            number;       /* place of the field; csv: 1 if columns go by number and no line has names; rows: how many */
    double             from, to;     /* bytes, characters: which part of the file, 0 to 1 */
} NndSource;

/* A column of the data set, or an input of infer: one row a sample. */
typedef struct NndField {
    const char *name;
    uint8_t     dtype, rank;         /* rank and dim without the batch axis */
    int64_t     dim[NND_RANK];
    int64_t     bound;               /* integer values must lie in 0..bound-1; 0: no bound is implied */
    NndSource   source[NND_NSPLIT];  /* of the data block */
    const char *const *label;        /* names of its classes, where a source has them as texts and the data block says them */
    int         nlabel;
} NndField;

typedef struct NndScalar {           /* an `input float`: may change between steps, recompiling nothing */
    const char *name;                /* "lr" */
    double      value;               /* what the model text says */
} NndScalar;

typedef enum NndCompare { NND_LT, NND_LE, NND_EQ, NND_GE, NND_GT } NndCompare;
typedef struct NndExpect {           /* expect: test.accuracy >= 0.78 */
    uint8_t     split, metric;       /* NND_SPLIT_*, index into NndTrain.metric */
    uint8_t     compare;             /* NndCompare, figure on the left */
    double      value;
    const char *text;                /* as written, for messages */
} NndExpect;

/* What a training executable needs beside code. */
typedef struct NndTrain {
    const char *const *metric;       /* "loss", then the metrics in the order of the text */
    int                nmetric;      /* including loss */
    const NndScalar   *scalar;
    int                nscalar;
    const NndExpect   *expect;
    int                nexpect;
    int64_t            epochs, batch;
    int64_t            require_bytes;    /* state and scratch together at most; 0: no matter */
    uint64_t           seed;
} NndTrain;

/* One compiled graph at one batch size. */
struct NndEntry {
    uint8_t kind;                    /* NndEntryKind */
    int64_t batch;                   /* rows a batch; 0 for init */
    int64_t scratch_bytes;
    /* Runs call->nbatch batches.  Returns 0, or an NND_E_* of the backend's own device.  NULL if image->gpu is there. */
    int   (*run)(const NndImage *im, const NndEntry *e, const NndCall *call);
};

struct NndImage {
    uint32_t        abi;             /* NND_ABI */
    uint32_t        float64;         /* the model's f32 computes as f64 */
    const char     *model;           /* its name */
    const char     *text;            /* the model file's text */
    int64_t         state_bytes;
    const void     *weights;         /* what the state begins with, state_bytes of it; NULL: run init */
    const NndVar   *var;
    int             nvar;
    const NndField *field;           /* of the data block, in order */
    int             nfield;
    const NndField *input;           /* of infer */
    int             ninput;
    const NndField *output;          /* of infer */
    int             noutput;
    const char *const *label;        /* names of the classes, of the data block; NULL: it gives none */
    int             nlabel;
    const NndEntry *entry;
    int             nentry;
    const NndTrain *train;           /* NULL if the file has no train block */
    const NndGpu   *gpu;             /* NULL: runs on this processor */
    void           *priv;            /* the backend's own */
};

/* ---- on a GPU ----
 *
 * A kernel of the code is k(u64 state, u64 scratch, u64 control, u32 turn, u64 place...), all addresses on the device.
 * A batch is an entry's launches in order, then one thread of nnd_advance(u64 control), which puts the control block on to the
 * next batch: so every batch of a call is launched alike.
 */

/* Launches of one scan stand one behind the other, and all of them are done `steps` times in that order, with turn 0, 1, ... */
typedef struct NndLaunch {
    const char    *kernel;           /* its name in the module */
    uint32_t       grid[3], block;   /* groups of threads, threads of a group */
    uint32_t       shared_bytes;     /* of each group, to be given at the launch */
    int32_t        scan;             /* number of the scan, from 1; 0: none, once, with turn 0 */
    int64_t        steps;            /* of the scan; 1 in none */
    const int64_t *place;            /* values of the kernel's last parameters */
    int            nplace;
    int            part;             /* of the module: where the kernel is */
} NndLaunch;

typedef struct NndGpuEntry { const NndLaunch *launch; int nlaunch; } NndGpuEntry;

/* Code comes in parts, kernels with the group memory they declare, so that several can be translated at a time.  nnd_advance is in the first. */
typedef struct NndGpuPart {
    const char *ptx;                 /* text, with a NUL behind it; NULL: not made yet */
    int64_t     nptx;                /* its characters without that */
    const void *cubin;               /* of ptxas, for cubin_sm alone; NULL: none */
    int64_t     ncubin;
} NndGpuPart;

struct NndGpu {
    const NndGpuPart  *part;
    int                npart;
    int                cubin_sm;
    int                sm;           /* 80: what the text was made for; a device must be at least that */
    const NndGpuEntry *entry;        /* as image->entry */
    int                nentry;
    /* Makes a part's text and what its launches say of shared memory, if that has not been done; threads may make parts at once, and
     * wait for one that another makes.  0, or NND_E_DEVICE with the reason in why.  NULL: all are there. */
    int              (*make)(const NndImage *im, int part, char *why, int64_t nwhy);
};

enum { NND_MAX_SCALAR = 16, NND_MAX_PORT = 32 };

/* In memory of the device: what kernels read of the batch.  The batch's rows begin at row + index * batch (i32), its figures at
 * metric + index * nmetric (f64); infer's inputs and outputs hold all batches of the call, one behind another. */
typedef struct NndControl {
    uint64_t row, metric;
    int64_t  index, step, steps, epoch;
    uint64_t seed;
    double   scalar[NND_MAX_SCALAR];
    uint64_t field[NND_MAX_PORT], out[NND_MAX_PORT];
} NndControl;

struct NndCall {
    void               *state;       /* image->state_bytes, NND_ALIGN-aligned */
    void               *scratch;     /* entry->scratch_bytes, NND_ALIGN-aligned; holds nothing between calls */
    const void *const  *field;       /* train, eval: whole columns of the split; infer: the inputs, contiguous */
    const int32_t      *row;         /* train, eval: row numbers, nbatch * batch of them; NULL for infer, init */
    void *const        *out;         /* infer: the outputs, contiguous */
    int64_t             nbatch;
    int64_t             step;        /* number of the first batch's step, from 1 */
    int64_t             steps, epoch;/* steps of the whole run; epoch from 1 */
    uint64_t            seed;
    const double       *scalar;      /* train->nscalar of them, or NULL for the model's own values */
    double             *metric_out;  /* [nbatch][nmetric], loss first: each batch's figures before its update */
    const NndPar       *par;         /* NULL runs serially */
};

/* What a kernel sees of its batch.  Made by the entry's run on its own stack. */
struct NndStep {
    void              *state, *scratch;
    const void *const *field;
    const int32_t     *row;          /* this batch's rows */
    const int32_t     *next;         /* those of the call's next batch, which kernels fetch ahead; of the last batch, its own */
    void *const       *out;
    int64_t            index;        /* which batch of the call: infer's offset into inputs and outputs */
    int64_t            step, steps, epoch;
    uint64_t           seed;
    const double      *scalar;
    double            *metric;       /* this batch's figures */
    const int64_t     *place;        /* of the kernel that runs, if it is one for several: where its buffers begin, in bytes; its streams */
    int64_t            turn;         /* the step of the scan that runs, from 0 */
};

#endif
