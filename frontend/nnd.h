/* nnd.h - the program's own: what its commands share.
 *
 * Results go to stdout, conversation to stderr.  Everything below returns its failures; only here do they become
 * text and a status.  With compile.h this is where the folders are joined: commands include it and nothing else.
 */
#ifndef NND_FRONTEND_NND_H
#define NND_FRONTEND_NND_H

#include "frontend/compile.h"
#include "frontend/options.h"
#include "passes/reduce.h"
#include "runtime/cuda.h"
#include "runtime/nnd.h"
#include "runtime/plot.h"

/* What the shell is told. */
enum {
    EXIT_WELL = 0, EXIT_MODEL = 1, EXIT_USAGE = 2, EXIT_DATA = 3, EXIT_EXPECT = 4, EXIT_DIVERGED = 5,
    EXIT_DEVICE = 6, EXIT_OURS = 70, EXIT_INTERRUPTED = 130
};

enum { DUMP_BATCH = 64, OPT_LANES = 16, MAX_WANT = 8, MAX_NAMES = 64, PREDICT_BATCH = 64, GRID_COLUMNS = 5, MAX_GRID = 100 };

/* At -O0: a kernel of fewer operations takes longer to compile as vectors than to run a few times one by one. */
enum { PLAIN_FLOPS = 1 << 21 };

/* ---- messages (job.c) ---- */

/* "nnd train: error: ..." to stderr; returns the status. */
int complain(const Options *o, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A fault of ours, with what is needed to look into it; EXIT_OURS. */
int complain_ours(const Options *o, const char *why);
/* What the runtime found wrong: its sentence, and the status that goes with its code. */
int complain_runtime(const Options *o, const NndError *err);
/* Prints the messages about a text; returns the number of errors. */
int report(const Diag *d);
/* The command's file whole, and its length; NULL after a complaint. */
char *read_text(Options *o, size_t *len);

/* ---- jobs (job.c) ---- */

typedef struct BlasTable BlasTable;

/* A model that has been checked, and what it is compiled for. */
typedef struct Job {
    Options       *o;
    FrontOptions   front;
    Model         *model;
    const Module  *checked;
    CompileOptions compile;
    bool           skip[NPASS];
    char           device[256];
    BlasTable     *blas;             /* of --blas auto, else NULL */
    double         begun_ms;         /* on compile_clock_ms */
} Job;

/* job_open - from the options to a checked model; a status.  Close it in any case. */
int  job_open(Job *j, Options *o);
void job_close(Job *j);
/* target_open - the backend, the device and its limits that --target and --cpu ask for (target.c); a status. */
int  target_open(Job *j);
/* blas_open - what --blas asks for (blas.c); a status.  blas_close - writes the table that auto has measured. */
int  blas_open(Job *j);
void blas_close(Job *j);
/* target_name_gpu - "sm_87", what code for a GPU of that generation (88, say) is made for: the last one known that is not later.  false if
 * none is: the GPU is too old. */
bool target_name_gpu(int sm, char *name, size_t nname);
/* target_here - the same for this processor, whatever they ask for. */
int  target_here(Job *j);
/* The entries that a model has, those with rows at each of the batch sizes; at most MAX_WANT. */
int  all_entries(const Job *j, int nbatch, const int64_t *batch, EntryWant *want);
/* The folder of the model's file, where its data may lie as well. */
const char *model_folder(Options *o);

/* Opens the data block's files as --data and the other places say, for the model that was checked; a status. */
int  open_data(Job *j, NndData *data, bool quiet);
/* Compiles what the runtime wants; a status. */
int  compile_wanted(Job *j, Compiled *code, const NndWant *needs, int n);
/* The weights of --weights in an open session, which begins with its initial values; a status. */
int  open_weights(Job *j, NndSession *s, const NndImage *im, int64_t max_rows);
/* A session of the image on the device of --target; a status. */
int  open_session(Job *j, NndSession *s, const NndImage *im, int64_t max_rows);
/* As many threads as --threads says, else all; NULL in *pool for one, and on a GPU; a status. */
int  open_pool(Job *j, NndPool **pool);

/* ---- commands, a file each; all return a status ---- */

int cmd_train(Options *o, volatile const int *interrupted);
int cmd_eval(Options *o);
int cmd_predict(Options *o);
int cmd_compile(Options *o);
int cmd_run(Options *o);
int cmd_profile(Options *o);
int cmd_summary(Options *o);
int cmd_check(Options *o);
int cmd_dump(Options *o);
int cmd_opt(Options *o);
int cmd_reduce(Options *o);
int cmd_devices(Options *o);

#endif
