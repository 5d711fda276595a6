/* session.c - the memory of one run, its beginning, and the one place where entries are called.
 *
 * Everything that training will need is allocated here, so that nothing is once it has begun.  Callers can't tell
 * whether an image runs on this processor or on a GPU.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/cuda.h"

const NndEntry *nnd_entry_find(const NndImage *im, NndEntryKind kind, int64_t batch)
{
    for (int i = 0; i < im->nentry; i++)
        if (im->entry[i].kind == kind && (kind == NND_INIT || im->entry[i].batch == batch))
            return &im->entry[i];
    return NULL;
}

enum { LARGE_PAGE = 2 << 20 };

/* In large pages where there are many: a kernel that walks down columns meets a page a row, more than a processor has at hand of small ones. */
static void *room(int64_t nbytes)
{
    int64_t align = nbytes < LARGE_PAGE ? NND_ALIGN : LARGE_PAGE, whole = (nbytes / align + 1) * align;
    void *p = aligned_alloc((size_t)align, (size_t)whole);

#ifdef MADV_HUGEPAGE
    if (p && align == LARGE_PAGE)
        madvise(p, (size_t)whole, MADV_HUGEPAGE);
#endif
    return p;
}

/* count * size zero bytes, aligned; at least some, so that NULL always means failure. */
static void *segment(int64_t count, int64_t size, NndError *err, const char *what)
{
    int64_t nbytes = nnd_mul(count, size);
    void *p = NULL;

    if (nbytes >= 0 && nbytes <= INT64_MAX - LARGE_PAGE)
        p = room(nbytes);
    if (!p)
        nnd_fail(err, NND_E_MEMORY, "out of memory: %lld x %lld bytes of %s", (long long)count, (long long)size, what);
    else
        memset(p, 0, (size_t)nbytes);
    return p;
}

/* What an image asks of the runtime and of the machine. */
static int check_image(const NndImage *im, int64_t scratch, NndError *err)
{
    int nmetric = im->train ? im->train->nmetric : 0;

    if (im->abi != NND_ABI)
        return nnd_fail(err, NND_E_ARG, "the model was compiled for version %u of the runtime, this is %d", im->abi,
                        NND_ABI);
    if (nmetric > NND_MAX_METRIC)
        return nnd_fail(err, NND_E_ARG, "wanted at most %d metrics, found %d", NND_MAX_METRIC, nmetric);
    if (im->train && im->train->require_bytes && im->state_bytes + scratch > im->train->require_bytes)
        return nnd_fail(err, NND_E_EXPECT, "require: memory <= %lld bytes is missed: %lld of state and %lld of scratch are %lld",
                        (long long)im->train->require_bytes, (long long)im->state_bytes, (long long)scratch,
                        (long long)(im->state_bytes + scratch));
    return 0;
}

static int64_t most_scratch(const NndImage *im)
{
    int64_t most = 0;

    for (int i = 0; im->abi == NND_ABI && i < im->nentry; i++)
        if (im->entry[i].scratch_bytes > most)
            most = im->entry[i].scratch_bytes;
    return most;
}

int nnd_session_open_on(NndSession *s, const NndImage *im, int device, int64_t max_rows, NndError *err)
{
    int64_t scratch = most_scratch(im), nmetric = im->abi == NND_ABI && im->train ? im->train->nmetric : 0;
    int rc;

    *s = (NndSession){ .image = im, .nrow = max_rows };
    if ((rc = check_image(im, scratch, err)))
        return rc;
    if (!(s->state = segment(im->state_bytes, 1, err, "state")) || !(s->scratch = segment(im->gpu ? 0 : scratch, 1, err, "scratch"))
        || !(s->row = segment(max_rows, sizeof *s->row, err, "row numbers"))
        || !(s->metric = segment(NND_CHUNK * nmetric, sizeof *s->metric, err, "figures"))) {
        nnd_session_close(s);
        return NND_E_MEMORY;
    }
    if (im->weights)
        memcpy(s->state, im->weights, (size_t)im->state_bytes);
    if (im->gpu && (rc = nnd_cuda_open(&s->cuda, s, device, err)))
        nnd_session_close(s);
    return rc;
}

int nnd_session_open(NndSession *s, const NndImage *im, int64_t max_rows, NndError *err)
{
    return nnd_session_open_on(s, im, 0, max_rows, err);
}

void nnd_session_close(NndSession *s)
{
    nnd_cuda_close(s->cuda);
    free(s->state);
    free(s->scratch);
    free(s->row);
    free(s->metric);
    *s = (NndSession){ 0 };
}

int nnd_session_hold(NndSession *s, const NndData *data, NndError *err)
{
    return s->cuda ? nnd_cuda_hold(s->cuda, data, err) : 0;
}

static int failed(const NndEntry *e, const NndCall *call, int rc, NndError *err)
{
    switch ((NndEntryKind)e->kind) {
    case NND_INIT:  return nnd_fail(err, rc, "the device failed while filling the parameters");
    case NND_TRAIN: return nnd_fail(err, rc, "the device failed in step %lld", (long long)call->step);
    case NND_EVAL:  return nnd_fail(err, rc, "the device failed while evaluating");
    case NND_INFER: break;
    }
    return nnd_fail(err, rc, "the device failed");
}

int nnd_session_run(NndSession *s, const NndEntry *e, const NndCall *call, NndError *err)
{
    NndCall own = *call;
    int rc;

    if (s->cuda)
        return nnd_cuda_run(s->cuda, e, call, err);
    own.state = s->state;
    own.scratch = s->scratch;
    own.par = s->par;
    rc = e->run(s->image, e, &own);
    return rc ? failed(e, call, rc, err) : 0;
}

int nnd_session_fetch(const NndSession *s, NndError *err)
{
    return s->cuda ? nnd_cuda_fetch(s->cuda, err) : 0;
}

void nnd_session_changed(NndSession *s)
{
    if (s->cuda)
        nnd_cuda_changed(s->cuda);
}

int nnd_session_init(NndSession *s, uint64_t seed, NndError *err)
{
    const NndEntry *e = nnd_entry_find(s->image, NND_INIT, 0);
    int rc;

    if (!e)
        return nnd_fail(err, NND_E_ARG, "the model was compiled without its initial values");
    if ((rc = nnd_session_run(s, e, &(NndCall){ .nbatch = 1, .seed = seed, .metric_out = s->metric }, err)))
        return rc;
    s->step = 0;
    return 0;
}
