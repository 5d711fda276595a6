/* nnd.h - run a compiled model: data in, trained weights out.
 *
 * Everything a program needs beside its image (abi.h).  No compiler in here, no globals, no exit: a function
 * that can fail returns 0 or an NND_E_* and puts one sentence into err.
 */
#ifndef NND_RUNTIME_NND_H
#define NND_RUNTIME_NND_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/abi.h"

enum {
    NND_OK,
    NND_E_FILE,        /* can't be read or written: the system's reason */
    NND_E_FORMAT,      /* not what it should be: wanted and found */
    NND_E_DATA,        /* well-formed, but doesn't fit the model or another file */
    NND_E_ARG,         /* the caller asked for what can't be done */
    NND_E_MEMORY,
    NND_E_DIVERGED,    /* a loss is nan or infinite */
    NND_E_STOPPED,     /* the caller's flag was raised */
    NND_E_DEVICE
};

typedef struct NndError { int code; char text[1024]; } NndError;

/* nnd_fail - writes code and sentence to err (which may be NULL) and returns code. */
int nnd_fail(NndError *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- arrays and files ---- */

int64_t nnd_dtype_bytes(NndDtype d);
const char *nnd_dtype_name(NndDtype d);
/* a * b * ... without overflow; -1 if it would. */
int64_t nnd_mul(int64_t a, int64_t b);

/* rows of elements as a file has them; free with nnd_array_free */
typedef struct NndArray { uint8_t dtype, rank; int64_t dim[NND_RANK + 1]; int64_t nbytes; void *data; } NndArray;
void nnd_array_free(NndArray *a);

/* nnd_idx_read - read an IDX file, plain or .gz, whole.
 *
 * path   the file; its first bytes tell gzip from plain
 * want   dtype, rank and dims of one row, as the data block declares them
 * out    on success: dtype, shape [n, ...], n * ... elements, row-major; free with nnd_array_free
 *
 * Sizes in the header are checked against the bytes that are there before anything is allocated; what a packed
 * file will give is not known, so there memory also grows with what has come out of it.  A file of f32 serves an
 * f64 field, which is what an f32 field becomes under --float 64.  Returns 0, NND_E_FILE (cannot be read),
 * NND_E_FORMAT (not IDX, another dtype, rank or row shape, damaged, too short, too long) or NND_E_MEMORY.
 * Y. LeCun, C. Cortes, "The MNIST database", file format section.
 */
int nnd_idx_read(const char *path, const NndField *want, NndArray *out, NndError *err);

/* ---- data sets ---- */

/* Columns stay as the files have them (u8 pixels); the compiled step gathers rows by number. */
typedef struct NndData {
    int       nfield;
    int64_t   nrow[NND_NSPLIT];                  /* 0: the split is absent */
    NndArray *column[NND_NSPLIT];                /* [nfield] each */
    const void **field[NND_NSPLIT];              /* the columns' data, for NndCall */
    char      directory[512];                    /* where its files are */
} NndData;

/* nnd_data_open - find and read the files of all fields.
 *
 * field      of the data block; not kept
 * dir        look only here; NULL: $NND_DATA, then model_dir, then the places where Debian puts data sets
 * model_dir  directory of the model file, may be NULL
 *
 * A name is tried as it is and with `-idx` spelt `.idx`, each plain and with .gz.  All files come from one
 * directory, the first that has the first file, so that two data sets never mix; dir and $NND_DATA may also be the
 * parent of that directory.  All fields of a split have the same number of rows, and integers lie below their
 * field's bound: checked here, once.  Returns 0, NND_E_FILE, NND_E_FORMAT, NND_E_DATA or NND_E_MEMORY; after an
 * error data is empty and need not be closed.
 */
int  nnd_data_open(NndData *data, const NndField *field, int nfield, const char *dir, const char *model_dir,
                   NndError *err);
void nnd_data_close(NndData *data);

/* ---- what has to be compiled ---- */

typedef struct NndWant { NndEntryKind kind; int64_t batch; } NndWant;
enum { NND_MAX_WANT = 8, NND_EVAL_BATCH = 1024 };

/* nnd_entries_wanted - the entries that training with this batch on these many rows calls.
 *
 * That is init, train at the batch and at the short last one, and, if there is a test split, eval at
 * nnd_eval_batch and at what remains.  Their number goes to *n.  Returns 0, or NND_E_ARG (batch below 1 or larger
 * than the training split, no training split).
 */
int nnd_entries_wanted(int64_t batch, const int64_t nrow[NND_NSPLIT], NndWant want[NND_MAX_WANT], int *n,
                       NndError *err);
/* nnd_eval_batch - the batch with which a split of n >= 1 rows is evaluated: its largest divisor of at most
 * NND_EVAL_BATCH; if that is below 64, NND_EVAL_BATCH, and *rest rows remain.  Else *rest is 0. */
int64_t nnd_eval_batch(int64_t n, int64_t *rest);

/* ---- random numbers ---- */

/* nnd_shuffle - row[0..n-1] becomes the order of epoch (from 1): a permutation of 0..n-1 that depends on n, seed and
 * epoch alone.
 * R. Durstenfeld, "Algorithm 235: random permutation", CACM 7(7), 1964. */
void nnd_shuffle(int32_t *row, int64_t n, uint64_t seed, int64_t epoch);

/* ---- sessions ---- */

enum { NND_MAX_METRIC = 32, NND_CHUNK = 256 };   /* figures kept of a batch; most batches in one call */

/* One run of a model: the image's state and the memory that its entries need, allocated once.  Several sessions may
 * share an image, each on its own thread. */
typedef struct NndSession {
    const NndImage *image;
    void           *state, *scratch;
    int32_t        *row;       int64_t nrow;     /* room for the longest split */
    double         *metric;                      /* [NND_CHUNK][nmetric], the figures of one call's batches */
    const NndPar   *par;                         /* NULL: serial; the caller may set it */
    int64_t         step;                        /* steps done */
} NndSession;

/* nnd_entry_find - the entry of this kind at this batch, whatever the batch for init; NULL if it was not compiled. */
const NndEntry *nnd_entry_find(const NndImage *im, NndEntryKind kind, int64_t batch);

/* nnd_session_open - allocate all that a run needs; the image must outlive the session.
 * max_rows: of the longest split, 0 if only infer is called.  NND_E_ARG (image of another version), NND_E_MEMORY. */
int  nnd_session_open(NndSession *s, const NndImage *im, int64_t max_rows, NndError *err);
void nnd_session_close(NndSession *s);
/* nnd_session_init - fill params and states by the image's init entry and go back to step 0. */
int  nnd_session_init(NndSession *s, uint64_t seed, NndError *err);

/* Figures of an epoch: loss first, then metrics; means over the rows. */
typedef struct NndEpoch {
    int64_t epoch, steps;              /* from 1; steps done so far */
    double  train[NND_MAX_METRIC], test[NND_MAX_METRIC];
    bool    has_test;
    double  seconds;                   /* of training alone */
} NndEpoch;

/* What may differ from the model's text; all zero is a run as described there, but for the seed. */
typedef struct NndFit {
    int64_t       batch, epochs;       /* 0: the model's */
    int64_t       max_steps;           /* of the whole run; 0: no limit */
    uint64_t      seed;                /* as it is: 0 is a seed too; the model's is image->train->seed */
    const double *scalar;              /* NULL: the model's */
    void        (*on_epoch)(void *ctx, const NndEpoch *e);   /* after each epoch, a cut-off one too */
    void         *ctx;
    volatile const int *stop;          /* raised by a signal handler; NULL: never */
} NndFit;

/* nnd_fit - epochs of shuffled batches, the short last one too, and the test split evaluated after each.
 *
 * Goes on from s->step, which nnd_session_init sets to 0: a run that was stopped and goes on takes the steps that an
 * undisturbed one takes.  An epoch's figures are means over the rows that it has trained on in this call, each
 * batch's from before its update.  Nothing is allocated.
 * Returns 0, NND_E_DIVERGED (the loss is nan or infinite, with the step; that of the test split counts as well),
 * NND_E_STOPPED, NND_E_ARG (data or batch don't fit the session), or what the entry returned.
 */
int nnd_fit(NndSession *s, const NndData *data, const NndFit *fit, NndError *err);

/* nnd_evaluate - means of loss and metrics over a split's rows, in their order; with the model's scalars. */
int nnd_evaluate(NndSession *s, const NndData *data, int split, double figure[NND_MAX_METRIC], NndError *err);

/* nnd_expect_holds - does the figure meet what the model file expects? */
bool nnd_expect_holds(const NndExpect *e, double figure);

#endif
