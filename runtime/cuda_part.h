/* cuda_part.h - a session's part on a GPU, for cuda.c, cuda_load.c and cuda_run.c. */
#ifndef NND_RUNTIME_CUDA_PART_H
#define NND_RUNTIME_CUDA_PART_H

#include <pthread.h>

#include "runtime/cuda.h"
#include "runtime/cuda_driver.h"

/* Memory of the device, by what it is for. */
typedef enum CudaRoom { ROOM_STATE, ROOM_SCRATCH, ROOM_ROWS, ROOM_FIGURES, ROOM_PORTS, ROOM_CONTROL, NROOM } CudaRoom;

/* A column of a data set in memory of the device. */
typedef struct CudaColumn { const void *host; uint64_t at; int64_t nbytes; } CudaColumn;

/* A row of an entry's table, ready to go: its function, and where its parameters lie. */
typedef struct CudaLaunch { void *function; const NndLaunch *row; void **param; } CudaLaunch;

/* A part of the code (cuda_load.c), in the order of what happens to it.  Called: an entry wants it.  Done: module is there, or error says why not. */
typedef enum CudaStage { STAGE_NONE, STAGE_MAKING, STAGE_MADE, STAGE_LOADING, STAGE_DONE } CudaStage;
typedef struct CudaModule { void *module; CudaStage stage; bool called; NndError error; } CudaModule;

enum { CUDA_THREADS = 16 };

/* Batches of an entry as one graph of the driver. */
typedef struct CudaGraph { void *ready; bool tried; } CudaGraph;

typedef struct CudaEntry {
    CudaLaunch *launch;
    int         nlaunch;
    int64_t     count;               /* kernels of a batch, each turn of a scan counted */
    int         unroll;              /* batches of the graph `several` */
    bool        ready;               /* its functions are there */
    bool        called;              /* once at least */
    CudaGraph   one, several;
} CudaEntry;

/* How runs go, by words in the environment variable NND_CUDA: for tests and measurements. */
typedef struct CudaHow {
    bool no_graphs;                  /* "nographs": kernels are launched one by one */
    bool sync;                       /* "sync": every kernel is waited for, so that an error has its name; no graphs */
    bool times;                      /* "times": stderr is told how long each part of the code took */
    int  unroll;                     /* "unroll=N": batches of a graph; 0: chosen */
} CudaHow;

struct NndCuda {
    NndDriver       driver;
    CudaHow         how;
    int             number, sm, device;     /* cuda:0, 90, the driver's handle */
    char            name[128];
    void           *context, *stream, *advance;
    CudaModule     *module;          /* [image->gpu->npart] */
    pthread_t       thread[CUDA_THREADS];
    int             nthread;
    bool            stop;            /* under the lock: no more parts */
    pthread_mutex_t lock;
    pthread_cond_t  changed;         /* one of these two, or a part's stage */
    const NndImage *image;
    void           *host_state;      /* the session's */
    uint64_t        at[NROOM];
    int64_t         nbytes[NROOM];
    CudaColumn     *column;          /* [ncolumn], of all splits */
    int             ncolumn;
    int64_t         most_rows;       /* row numbers at ROOM_ROWS */
    uint64_t        port[2 * NND_MAX_PORT];         /* inputs, then outputs, within ROOM_PORTS */
    int64_t         port_rows;       /* each port has room for so many */
    CudaEntry      *entry;           /* [image->nentry] */
    CudaLaunch     *launch;          /* of all entries, one behind another; their parameters */
    void          **param;
    int32_t         turn;            /* what launches point to */
    NndControl      control;
    NndEntryKind    running;         /* the entry that was called last */
    bool            host_newer, device_newer;
};

/* cuda_failed - 0 if result is; else the message "cuda:0: WHAT: what the driver says", and NND_E_DEVICE or NND_E_MEMORY.  A kernel that
 * has failed is told as that, whatever was asked. */
int cuda_failed(const NndCuda *c, int result, NndError *err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* cuda_load_begin - threads begin to make the code's parts; cuda_load_end - no more of them, and all modules go.
 * cuda_load_entry - the parts of e, and the first, as modules; the caller does what no thread has begun. */
int  cuda_load_begin(NndCuda *c, NndError *err);
void cuda_load_end(NndCuda *c);
int  cuda_load_entry(NndCuda *c, const CudaEntry *e, NndError *err);
/* cuda_entries - c->entry from the image's tables; cuda_ready - e's kernels found in their modules; cuda_entries_free - the tables
 * and graphs. */
int  cuda_entries(NndCuda *c, NndError *err);
int  cuda_ready(NndCuda *c, CudaEntry *e, NndError *err);
void cuda_entries_free(NndCuda *c);
/* cuda_row_bytes - of a row of an input or output. */
int64_t cuda_row_bytes(const NndField *f);

#endif
