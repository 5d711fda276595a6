/* nnd.h - run a compiled model: data in, trained weights out.
 *
 * Everything a program needs beside its image (abi.h).  No compiler in here, no globals, no exit: a function
 * that can fail returns 0 or an NND_E_* and puts one sentence into err.
 */
#ifndef NND_RUNTIME_NND_H
#define NND_RUNTIME_NND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "runtime/abi.h"

/* nnd_exit_status - what a program tells the shell of a code: 0 well, 2 asked for what can't be done, 3 files and
 * data, 4 missed what is expected, 5 diverged, 6 device or memory, 130 stopped. */
int nnd_exit_status(int code);

typedef struct NndError { int code; char text[1024]; } NndError;

/* nnd_fail - writes code and sentence to err (which may be NULL) and returns code. */
int nnd_fail(NndError *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- arrays and files ---- */

int64_t nnd_dtype_bytes(NndDtype d);
const char *nnd_dtype_name(NndDtype d);
/* a * b * ... without overflow; -1 if it would. */
int64_t nnd_mul(int64_t a, int64_t b);

/* rows of elements as a file has them; free with nnd_array_free */
typedef struct NndArray {
    uint8_t dtype, rank;
    int64_t dim[NND_RANK + 1], nbytes;
    void   *data, *base;     /* base: the allocation that data lies in; NULL: data itself */
} NndArray;
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

/* nnd_npy_read - read a NumPy .npy file (format 1.0 to 3.0), whole.
 *
 * out  on success: dtype (f4, f8, i4, i8, u1, b1, little-endian, in C order; others are refused), rank 0..NND_RANK+1,
 *      elements row-major; free with nnd_array_free
 *
 * The header's sizes are checked against the file's before anything is allocated.  Returns 0, NND_E_FILE,
 * NND_E_FORMAT or NND_E_MEMORY.  NumPy enhancement proposal 1, "A simple file format for NumPy arrays". */
int nnd_npy_read(const char *path, NndArray *out, NndError *err);
/* nnd_npy_write - rank axes of dim, elements row-major; the file is whole or not there (nnd_out_open). */
int nnd_npy_write(const char *path, NndDtype d, int rank, const int64_t *dim, const void *data, NndError *err);

/* A file that comes to be whole or not at all: written beside its place, synced, renamed over it. */
typedef struct NndOut { FILE *f; char path[1024], beside[1040]; } NndOut;
/* nnd_out_open - begins one; a path that is no plain file (/dev/full, a pipe) is written as it is.
 * nnd_out_close - ends it; any failed write since the beginning is reported here and the old file kept.
 * nnd_out_drop - gives it up; does nothing after nnd_out_close.  All NND_E_FILE, with path and the system's reason. */
int  nnd_out_open(NndOut *o, const char *path, NndError *err);
int  nnd_out_close(NndOut *o, NndError *err);
void nnd_out_drop(NndOut *o);

/* nnd_idx_rows - how many rows the file's header promises, after the checks of a header; -1 with err. */
int64_t nnd_idx_rows(const char *path, const NndField *want, NndError *err);

/* ---- data sets ---- */

extern const char *const nnd_split_name[NND_NSPLIT];      /* "train", "test", "valid" */

/* Columns stay as the files have them (u8 pixels); the compiled step gathers rows by number. */
typedef struct NndData {
    int       nfield;
    int64_t   nrow[NND_NSPLIT];                  /* 0: the split is absent */
    NndArray *column[NND_NSPLIT];                /* [nfield] each */
    const void **field[NND_NSPLIT];              /* the columns' data, for NndCall */
    char      directory[512];                    /* where its files are; "": it has none */
    char    **label; int nlabel;                 /* names of classes that the files have themselves; NULL: none */
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
/* nnd_png_version - of libpng, "1.6.39"; NULL if built without it: then PNG files as data are refused. */
const char *nnd_png_version(void);
/* nnd_print_data - a line: the folder, and how many rows each split has. */
void nnd_print_data(FILE *f, const NndData *data);
/* nnd_data_rows - the rows of each split as the first field's files promise, without reading them: what to compile
 * can be known before, and while, the data are read.  Arguments and results as nnd_data_open. */
int  nnd_data_rows(const NndField *field, int nfield, const char *dir, const char *model_dir, int64_t nrow[NND_NSPLIT],
                   NndError *err);

/* ---- what has to be compiled ---- */

typedef struct NndWant { NndEntryKind kind; int64_t batch; } NndWant;
enum { NND_MAX_WANT = 8, NND_EVAL_BATCH = 1024 };

/* nnd_entries_wanted - the entries that training with this batch on these many rows calls.
 *
 * That is init, train at the batch and at the short last one, and, for the test and the valid split if they are
 * there, eval at nnd_eval_batch and at what remains.  Their number goes to *n.  Returns 0, or NND_E_ARG (batch below 1 or larger
 * than the training split, no training split).
 */
int nnd_entries_wanted(int64_t batch, const int64_t nrow[NND_NSPLIT], NndWant want[NND_MAX_WANT], int *n,
                       NndError *err);
/* nnd_eval_batch - the batch with which a split of n >= 1 rows is evaluated: its largest divisor of 64 to
 * NND_EVAL_BATCH that is a multiple of 16, which suits vectors, else its largest one in between; if there is none, NND_EVAL_BATCH, and *rest rows remain.  Else *rest is 0. */
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
typedef struct NndCuda NndCuda;                  /* its part on a GPU (cuda.h) */
typedef struct NndSession {
    const NndImage *image;
    void           *state, *scratch;             /* on a GPU: the host's copy, for which see nnd_session_fetch; NULL */
    int32_t        *row;       int64_t nrow;     /* room for the longest split */
    double         *metric;                      /* [NND_CHUNK][nmetric], the figures of one call's batches */
    const NndPar   *par;                         /* NULL: serial; the caller may set it */
    int64_t         step;                        /* steps done */
    NndCuda        *cuda;                        /* NULL: runs on this processor */
} NndSession;

/* nnd_entry_find - the entry of this kind at this batch, whatever the batch for init; NULL if it was not compiled. */
const NndEntry *nnd_entry_find(const NndImage *im, NndEntryKind kind, int64_t batch);

/* nnd_session_open - allocate all that a run needs; the image must outlive the session.  The state is the image's
 * weights if it has any, else zero: call nnd_session_init.
 * max_rows: of the longest split, 0 if only infer is called.  An image for a GPU takes the first one, nnd_session_open_on that
 * of this number.  NND_E_ARG (image of another version), NND_E_MEMORY (of a GPU with the bytes wanted and free), NND_E_DEVICE. */
int  nnd_session_open(NndSession *s, const NndImage *im, int64_t max_rows, NndError *err);
int  nnd_session_open_on(NndSession *s, const NndImage *im, int device, int64_t max_rows, NndError *err);
void nnd_session_close(NndSession *s);
/* nnd_session_hold - what entries will read of a data set is put where they can; nnd_fit and nnd_evaluate do it themselves.
 *
 * A GPU gets every column that it doesn't have yet, so data that have been held may not change, nor others take their
 * place in memory, until the session is closed or holds other data.  NND_E_MEMORY with the bytes wanted and free. */
int  nnd_session_hold(NndSession *s, const NndData *data, NndError *err);
/* nnd_session_run - every call of an entry: on this processor or on the session's GPU.  The call's state, scratch and par are the
 * session's.  What the entry returned, or NND_E_DEVICE with the device's reason. */
int  nnd_session_run(NndSession *s, const NndEntry *e, const NndCall *call, NndError *err);
/* nnd_session_fetch - brings s->state up to date, before it is read.
 * nnd_session_changed - tells that s->state was written: before the next run its place on a GPU gets it. */
int  nnd_session_fetch(const NndSession *s, NndError *err);
void nnd_session_changed(NndSession *s);
/* nnd_session_init - fill params and states by the image's init entry and go back to step 0. */
int  nnd_session_init(NndSession *s, uint64_t seed, NndError *err);

/* ---- weights ---- */

/* nnd_weights_save - the session's params and states as a safetensors file, row-major, in the order of the image;
 * the optimizer's states stay out.  Whole or not at all (nnd_out_open).  NND_E_FILE, NND_E_MEMORY. */
int  nnd_weights_save(const NndSession *s, const char *path, NndError *err);
/* nnd_weights_load - fills the session's params and states from a safetensors file.
 *
 * Each param must be there exactly once with its shape; a state may be missing if all states are (it keeps its
 * initial value), other names are an error that lists them.  F32 and F64 serve either float dtype, rounded; integers
 * and bool want their own.  Nothing is changed unless all is well.  Refused: a header over 100 MB or longer than the
 * file, names twice, offsets that overlap, leave gaps, run past the end or don't fit dtype and shape.
 * NND_E_FILE, NND_E_FORMAT, NND_E_DATA (another model's weights), NND_E_MEMORY.
 * The format: Hugging Face, "safetensors", README of the reference implementation. */
int  nnd_weights_load(NndSession *s, const char *path, NndError *err);

/* ---- threads ---- */

/* nnd_pool_open - threads - 1 workers and the caller; NULL, with err, if they can't be had (NND_E_ARG, NND_E_MEMORY).
 * nnd_pool_par - who runs parallel loops, for NndSession.par; NULL for a pool of one thread.
 * One loop at a time: a pool belongs to one session. */
typedef struct NndPool NndPool;
enum { NND_MAX_THREADS = 256, NND_MAX_DEVICE = 255 };
NndPool      *nnd_pool_open(int threads, NndError *err);
const NndPar *nnd_pool_par(const NndPool *pool);
void          nnd_pool_close(NndPool *pool);
/* nnd_threads_here - processors that this process may use. */
int           nnd_threads_here(void);

/* Figures of an epoch: loss first, then metrics; means over the rows. */
typedef struct NndEpoch {
    int64_t epoch, steps;              /* from 1; steps done so far */
    double  train[NND_MAX_METRIC], valid[NND_MAX_METRIC], test[NND_MAX_METRIC];
    bool    has_valid, has_test;
    double  seconds;                   /* of training alone */
} NndEpoch;

/* nnd_epoch_figures - those of a split; NULL if the data set has no such split. */
const double *nnd_epoch_figures(const NndEpoch *e, int split);

/* What may differ from the model's text; all zero is a run as described there, but for the seed. */
typedef struct NndFit {
    int64_t       batch, epochs;       /* 0: the model's */
    int64_t       max_steps;           /* of the whole run; 0: no limit */
    uint64_t      seed;                /* as it is: 0 is a seed too; the model's is image->train->seed */
    const double *scalar;              /* NULL: the model's */
    const NndArray *order;             /* i64 [epochs, n], checked by nnd_order_open: rows of each epoch; NULL: shuffled */
    void        (*on_epoch)(void *ctx, const NndEpoch *e);   /* after each epoch, a cut-off one too */
    void        (*on_step)(void *ctx, int64_t step, const double *figure);   /* each batch's figures before its update */
    void         *ctx;
    volatile const int *stop;          /* raised by a signal handler; NULL: never */
} NndFit;

/* nnd_order_open - read the rows of each epoch from an .npy file, i64 [epochs, n]; free with nnd_array_free.
 * Any of the nrow rows of the train split in any number: n may be smaller than it, and a row may come twice.  NND_E_FILE,
 * NND_E_FORMAT, NND_E_DATA (other dtype or rank, a row that the split doesn't have), NND_E_MEMORY. */
int nnd_order_open(NndArray *order, const char *path, int64_t nrow, NndError *err);
/* nnd_rows_trained - the rows of an epoch and of the other splits, of a data set with have rows: what nnd_entries_wanted
 * asks for; order may be NULL. */
void nnd_rows_trained(const int64_t have[NND_NSPLIT], const NndArray *order, int64_t nrow[NND_NSPLIT]);

/* nnd_fit - epochs of shuffled batches, the short last one too, and the valid and test splits evaluated after each.
 *
 * Goes on from s->step, which nnd_session_init sets to 0: a run that was stopped and goes on takes the steps that an
 * undisturbed one takes.  An epoch's figures are means over the rows that it has trained on in this call, each
 * batch's from before its update.  Nothing is allocated.
 * Returns 0, NND_E_DIVERGED (the loss is nan or infinite, with the step; those of the other splits count as well),
 * NND_E_STOPPED, NND_E_ARG (data or batch don't fit the session), or what the entry returned.
 */
int nnd_fit(NndSession *s, const NndData *data, const NndFit *fit, NndError *err);

/* nnd_evaluate - means of loss and metrics over a split's rows, in their order; with the model's scalars. */
int nnd_evaluate(NndSession *s, const NndData *data, int split, double figure[NND_MAX_METRIC], NndError *err);

/* nnd_infer - outputs of n rows by the session's infer entries, the largest batch first.
 *
 * input   ninput arrays of n rows, contiguous;  output  noutput of them, room for n rows each
 * NND_E_ARG if no entries add up to n rows (one of batch 1 always does), or what the entry returned. */
int nnd_infer(NndSession *s, int64_t n, const void *const *input, void *const *output, NndError *err);
/* nnd_predict_files - the same from .npy files to .npy files: one for each input and output of the model, their paths
 * joined by commas.  The files' rows are checked against the model's.  NND_E_FILE, NND_E_FORMAT, NND_E_DATA,
 * NND_E_MEMORY, NND_E_ARG (other numbers of files). */
int nnd_predict_files(NndSession *s, const char *input, const char *output, NndError *err);
/* nnd_field_text - "u8[n, 28, 28]" of a field and the name of its rows' number, cut to size; returns text. */
const char *nnd_field_text(char *text, size_t size, const NndField *f, const char *rows);

/* nnd_expect_holds - does the figure meet what the model file expects? */
bool nnd_expect_holds(const NndExpect *e, double figure);

/* ---- a whole run (run.c): what the driver's train and compiled programs do ---- */

/* What may be told beside the model's text; all zero is a run as described there, but for the seed. */
typedef struct NndRunOptions {
    const char *init;                  /* weights to begin with, instead of the init entry's */
    const char *save;                  /* where the trained weights go */
    const char *log, *log_steps;       /* CSV: figures of each epoch; the loss of each step */
    int64_t     batch, epochs, steps;  /* 0: the model's; steps 0: no limit */
    uint64_t    seed;
    int         threads;               /* 0: all that this process may use */
    int         device;                /* number of the GPU, if the image is for one */
    bool        quiet;                 /* only the last epoch's line */
    bool        judged;                /* the run is the one the text describes: a missed expect is an error */
    volatile const int *stop;
    FILE       *out, *talk;            /* figures; what else there is to say */
    void      (*complain)(void *ctx, const NndError *err);      /* what went wrong, maybe several things */
    void      (*first_step)(void *ctx);/* once, when the first steps are done; NULL: no one wants to know */
    void      (*at_end)(void *ctx, const NndEpoch *epoch, int nepoch);  /* all epochs, after the weights are saved; NULL: not kept */
    void       *ctx;
} NndRunOptions;

/* nnd_run_train - a session opened, initialised, trained, told about, judged and saved.
 *
 * order   of nnd_order_open, or NULL
 * Weights are saved after a run that ended or was stopped, not after one that diverged.  A log that can't be written
 * is complained about, and the run goes on.  Returns 0 or the code of the first thing that went wrong; all have
 * been handed to complain. */
int nnd_run_train(const NndImage *im, const NndData *data, const NndArray *order, const NndRunOptions *o);

/* nnd_print_figures - " loss=0.1234 accuracy=0.987" */
void nnd_print_figures(FILE *f, const NndTrain *t, const double *figure);

#endif
