/* cuda.c - devices, and a session's part on one: memory allocated and filled.
 *
 * All memory is allocated here, its size known from the image, and compared with what is free before anything runs.
 */
#include "runtime/cuda_part.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { PORT_BYTES = 64 << 20 };      /* of inputs and outputs at most, unless one batch has more */

/* ---- devices ---- */

static int describe(const NndDriver *d, int number, NndCudaDevice *to, NndError *err)
{
    size_t nbytes = 0;
    int device, result, rc;

    *to = (NndCudaDevice){ 0 };
    if ((rc = nnd_driver_device(d, number, &device, &to->sm, err)))
        return rc;
    if ((result = d->device_name(to->name, sizeof to->name, device)) || (result = d->device_memory(&nbytes, device)))
        return nnd_fail(err, NND_E_DEVICE, "cuda:%d: %s (%d)", number, nnd_driver_text(d, result), result);
    to->memory_bytes = (int64_t)nbytes;
    return 0;
}

int nnd_cuda_devices(NndCudaDevice *device, int max, int *version, NndError *err)
{
    NndDriver d;
    int n;

    if (nnd_driver_open(&d, err))
        return -1;
    n = d.ndevice;
    *version = d.version;
    for (int i = 0; i < d.ndevice && i < max && n >= 0; i++)
        if (describe(&d, i, &device[i], err))
            n = -1;
    nnd_driver_close(&d);
    return n;
}

int nnd_cuda_device(int number, NndCudaDevice *device, int *version, NndError *err)
{
    NndDriver d;
    int rc = nnd_driver_open(&d, err);

    if (rc)
        return rc;
    *version = d.version;
    rc = describe(&d, number, device, err);
    nnd_driver_close(&d);
    return rc;
}

int64_t nnd_cuda_free(int number)
{
    NndDriver d;
    size_t nfree = 0, ntotal;
    int64_t nbytes = -1;
    int device, sm;
    void *context;

    if (nnd_driver_open(&d, NULL))
        return -1;
    if (!nnd_driver_device(&d, number, &device, &sm, NULL) && !d.context_retain(&context, device)) {
        if (!d.context_use(context) && !d.memory_info(&nfree, &ntotal))
            nbytes = (int64_t)nfree;
        d.context_use(NULL);
        d.context_release(device);
    }
    nnd_driver_close(&d);
    return nbytes;
}

/* ---- messages ---- */

/* Is it a kernel that went wrong (CUresult in the driver API reference)?  From then on every call answers this. */
static bool is_of_a_kernel(int result)
{
    enum { ILLEGAL_ADDRESS = 700, LAUNCH_TIMEOUT = 702, ASSERTION = 710, HARDWARE_STACK = 714, LAUNCH_FAILED = 719 };

    return result == ILLEGAL_ADDRESS || result == LAUNCH_TIMEOUT || result == ASSERTION || (result >= HARDWARE_STACK && result <= LAUNCH_FAILED);
}

/* Which one is known if each is waited for; else whatever was asked next has the answer, and what that was says nothing. */
static int kernel_failed(const NndCuda *c, int result, NndError *err)
{
    static const char *const kind[] = { "init", "train", "eval", "infer" };

    return nnd_fail(err, NND_E_DEVICE, "cuda:%d: a kernel of %s failed: %s (%d); run again with NND_CUDA=sync in the environment to see which",
                    c->number, kind[c->running], nnd_driver_text(&c->driver, result), result);
}

int cuda_failed(const NndCuda *c, int result, NndError *err, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    if (!result)
        return 0;
    if (is_of_a_kernel(result) && !c->how.sync)
        return kernel_failed(c, result, err);
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return nnd_fail(err, result == CUDA_NO_MEMORY ? NND_E_MEMORY : NND_E_DEVICE, "cuda:%d: %s: %s (%d)", c->number, what,
                    nnd_driver_text(&c->driver, result), result);
}

/* ---- memory ---- */

int64_t cuda_row_bytes(const NndField *f)
{
    int64_t n = nnd_dtype_bytes((NndDtype)f->dtype);

    for (int i = 0; i < f->rank; i++)
        n = nnd_mul(n, f->dim[i]);
    return n;
}

/* As many batches of infer at once as fit PORT_BYTES, and at least the largest one. */
static int size_ports(NndCuda *c, NndError *err)
{
    const NndImage *im = c->image;
    int64_t each = 0, most = 0;

    if (im->ninput > NND_MAX_PORT || im->noutput > NND_MAX_PORT || im->nfield > NND_MAX_PORT)
        return nnd_fail(err, NND_E_ARG, "wanted at most %d fields, inputs and outputs, the model has %d, %d and %d", NND_MAX_PORT,
                        im->nfield, im->ninput, im->noutput);
    for (int i = 0; i < im->ninput; i++)
        each += cuda_row_bytes(&im->input[i]);
    for (int i = 0; i < im->noutput; i++)
        each += cuda_row_bytes(&im->output[i]);
    for (int i = 0; i < im->nentry; i++)
        if (im->entry[i].kind == NND_INFER && im->entry[i].batch > most)
            most = im->entry[i].batch;
    c->port_rows = most && each && PORT_BYTES / each > most ? PORT_BYTES / each : most;
    if (c->port_rows > NND_CHUNK * most)
        c->port_rows = NND_CHUNK * most;
    for (int i = 0; i < im->ninput + im->noutput && most; i++) {
        int64_t nbytes = nnd_mul(c->port_rows, cuda_row_bytes(i < im->ninput ? &im->input[i] : &im->output[i - im->ninput]));

        if (nbytes < 0)
            return nnd_fail(err, NND_E_ARG, "the inputs and outputs of a batch have more bytes than can be counted");
        c->port[i] = (uint64_t)c->nbytes[ROOM_PORTS];
        c->nbytes[ROOM_PORTS] += (nbytes + NND_ALIGN - 1) / NND_ALIGN * NND_ALIGN;
    }
    return 0;
}

static int size_rooms(NndCuda *c, const NndSession *s, NndError *err)
{
    const NndImage *im = c->image;

    c->nbytes[ROOM_STATE] = im->state_bytes;
    for (int i = 0; i < im->nentry; i++)
        if (im->entry[i].scratch_bytes > c->nbytes[ROOM_SCRATCH])
            c->nbytes[ROOM_SCRATCH] = im->entry[i].scratch_bytes;
    c->most_rows = s->nrow;
    c->nbytes[ROOM_ROWS] = s->nrow * (int64_t)sizeof *s->row;
    c->nbytes[ROOM_FIGURES] = im->train ? NND_CHUNK * im->train->nmetric * (int64_t)sizeof(double) : 0;
    c->nbytes[ROOM_CONTROL] = sizeof(NndControl);
    if (im->train && im->train->nscalar > NND_MAX_SCALAR)
        return nnd_fail(err, NND_E_ARG, "wanted at most %d inputs of the step, found %d", NND_MAX_SCALAR, im->train->nscalar);
    return size_ports(c, err);
}

static int64_t total(const NndCuda *c)
{
    int64_t sum = 0;

    for (int i = 0; i < NROOM; i++)
        sum += c->nbytes[i];
    return sum;
}

/* Is there room for nbytes more?  what: of them, for the message. */
static int check_free(const NndCuda *c, int64_t nbytes, const char *what, NndError *err)
{
    size_t nfree, ntotal;
    int rc = cuda_failed(c, c->driver.memory_info(&nfree, &ntotal), err, "memory");

    if (rc || nbytes <= (int64_t)nfree)
        return rc;
    return nnd_fail(err, NND_E_MEMORY, "cuda:%d: out of memory: wanted %lld bytes%s, %lld are free", c->number, (long long)nbytes, what,
                    (long long)nfree);
}

/* The driver has the last word: memory may be free in parts that are too small, or have been taken by another program. */
static int new_room(const NndCuda *c, uint64_t *at, int64_t nbytes, int64_t wanted, const char *what, NndError *err)
{
    size_t nfree = 0, ntotal;
    int result = c->driver.memory_new(at, nbytes ? (size_t)nbytes : NND_ALIGN);

    if (result != CUDA_NO_MEMORY)
        return cuda_failed(c, result, err, "%lld bytes of memory", (long long)nbytes);
    c->driver.memory_info(&nfree, &ntotal);
    return nnd_fail(err, NND_E_MEMORY, "cuda:%d: out of memory: wanted %lld bytes%s, not all of %lld that are free can be had", c->number,
                    (long long)wanted, what, (long long)nfree);
}

static int make_rooms(NndCuda *c, NndError *err)
{
    char what[160];
    int rc;

    snprintf(what, sizeof what, " (%lld of state, %lld of scratch, %lld of rows and figures)", (long long)c->nbytes[ROOM_STATE],
             (long long)c->nbytes[ROOM_SCRATCH], (long long)(total(c) - c->nbytes[ROOM_STATE] - c->nbytes[ROOM_SCRATCH]));
    if ((rc = check_free(c, total(c), what, err)))
        return rc;
    for (int i = 0; i < NROOM && !rc; i++)
        rc = new_room(c, &c->at[i], c->nbytes[i], total(c), what, err);
    for (int i = 0; i < c->image->ninput + c->image->noutput; i++)
        c->port[i] += c->at[ROOM_PORTS];
    return rc;
}

/* ---- columns ---- */

static void drop_column(NndCuda *c, CudaColumn *column)
{
    c->driver.memory_free(column->at);
    *column = c->column[--c->ncolumn];
}

static const CudaColumn *find_column(const NndCuda *c, const NndArray *a)
{
    for (int i = 0; i < c->ncolumn; i++)
        if (c->column[i].host == a->data && c->column[i].nbytes == a->nbytes)
            return &c->column[i];
    return NULL;
}

static bool has_column(const NndData *data, const CudaColumn *column)
{
    for (int split = 0; split < NND_NSPLIT; split++)
        for (int i = 0; data->nrow[split] && i < data->nfield; i++)
            if (data->column[split][i].data == column->host && data->column[split][i].nbytes == column->nbytes)
                return true;
    return false;
}

static int add_column(NndCuda *c, const NndArray *a, NndError *err)
{
    CudaColumn column = { .host = a->data, .nbytes = a->nbytes };
    int rc = new_room(c, &column.at, a->nbytes, a->nbytes, " for a column of the data set", err);

    if (rc)
        return rc;
    c->column[c->ncolumn++] = column;
    return cuda_failed(c, c->driver.upload(column.at, a->data, (size_t)a->nbytes, c->stream), err, "a column of the data set");
}

/* The columns that are not there yet: only their bytes, or all of them put there. */
static int add_columns(NndCuda *c, const NndData *data, int64_t *nbytes, NndError *err)
{
    int rc = 0;

    for (int split = 0; split < NND_NSPLIT; split++)
        for (int i = 0; data->nrow[split] && i < data->nfield && !rc; i++) {
            const NndArray *a = &data->column[split][i];

            if (find_column(c, a))
                continue;
            if (nbytes)
                *nbytes += a->nbytes;
            else
                rc = add_column(c, a, err);
        }
    return rc;
}

int nnd_cuda_hold(NndCuda *c, const NndData *data, NndError *err)
{
    int64_t nbytes = 0;
    CudaColumn *more;
    int rc = cuda_failed(c, c->driver.context_use(c->context), err, "context");

    if (rc)
        return rc;
    for (int i = c->ncolumn - 1; i >= 0; i--)
        if (!has_column(data, &c->column[i]))
            drop_column(c, &c->column[i]);
    add_columns(c, data, &nbytes, err);
    if (!nbytes)
        return 0;
    if (!(more = realloc(c->column, (size_t)(c->ncolumn + NND_NSPLIT * data->nfield) * sizeof *more)))
        return nnd_fail(err, NND_E_MEMORY, "out of memory for columns");
    c->column = more;
    if ((rc = check_free(c, nbytes, " for the data set", err)) || (rc = add_columns(c, data, NULL, err)))
        return rc;
    return cuda_failed(c, c->driver.stream_wait(c->stream), err, "the data set");
}

/* ---- the state ---- */

int nnd_cuda_fetch(NndCuda *c, NndError *err)
{
    int rc;

    if (!c->device_newer)
        return 0;
    if ((rc = cuda_failed(c, c->driver.context_use(c->context), err, "context"))
        || (rc = cuda_failed(c, c->driver.download(c->host_state, c->at[ROOM_STATE], (size_t)c->nbytes[ROOM_STATE], c->stream), err,
                             "the state"))
        || (rc = cuda_failed(c, c->driver.stream_wait(c->stream), err, "the state")))
        return rc;
    c->device_newer = false;
    return 0;
}

void nnd_cuda_changed(NndCuda *c) { c->host_newer = true; }

/* ---- open and closed ---- */

static CudaHow read_how(void)
{
    const char *text = getenv("NND_CUDA"), *unroll = text ? strstr(text, "unroll=") : NULL;

    return (CudaHow){ .no_graphs = text && strstr(text, "nographs"), .sync = text && strstr(text, "sync"), .times = text && strstr(text, "times"),
                      .unroll = unroll ? atoi(unroll + strlen("unroll=")) : 0 };
}

/* The context takes longest; meanwhile code is made. */
static int open_device(NndCuda *c, int number, NndError *err)
{
    int rc;

    c->number = number;
    if ((rc = nnd_driver_open(&c->driver, err)) || (rc = nnd_driver_device(&c->driver, number, &c->device, &c->sm, err))
        || (rc = cuda_failed(c, c->driver.device_name(c->name, sizeof c->name, c->device), err, "name")) || (rc = cuda_load_begin(c, err))
        || (rc = cuda_failed(c, c->driver.context_retain(&c->context, c->device), err, "the device cannot be used"))
        || (rc = cuda_failed(c, c->driver.context_use(c->context), err, "context")))
        return rc;
    return cuda_failed(c, c->driver.stream_new(&c->stream, 1), err, "stream");      /* 1: waits for no other stream */
}

int nnd_cuda_open(NndCuda **to, const NndSession *s, int device, NndError *err)
{
    NndCuda *c = calloc(1, sizeof *c);
    int rc;

    *to = NULL;
    if (!c)
        return nnd_fail(err, NND_E_MEMORY, "out of memory for a device");
    c->image = s->image;
    c->host_state = s->state;
    c->host_newer = true;
    c->how = read_how();
    if ((rc = open_device(c, device, err)) || (rc = size_rooms(c, s, err)) || (rc = make_rooms(c, err)) || (rc = cuda_entries(c, err))) {
        nnd_cuda_close(c);
        return rc;
    }
    *to = c;
    return 0;
}

/* After an error that stays (an address outside of memory), the driver refuses all of this, and the context goes with its memory. */
void nnd_cuda_close(NndCuda *c)
{
    if (!c)
        return;
    if (c->context)
        c->driver.context_use(c->context);
    cuda_entries_free(c);
    cuda_load_end(c);
    if (c->context) {
        for (int i = 0; i < NROOM; i++)
            if (c->at[i])
                c->driver.memory_free(c->at[i]);
        while (c->ncolumn)
            drop_column(c, &c->column[c->ncolumn - 1]);
        if (c->stream)
            c->driver.stream_free(c->stream);
        c->driver.context_use(NULL);
        c->driver.context_release(c->device);
    }
    nnd_driver_close(&c->driver);
    free(c->column);
    free(c);
}
