/* session.c - the memory of one run, and its beginning. */
#include <stdlib.h>
#include <string.h>

#include "runtime/nnd.h"

const NndEntry *nnd_entry_find(const NndImage *im, NndEntryKind kind, int64_t batch)
{
    for (int i = 0; i < im->nentry; i++)
        if (im->entry[i].kind == kind && (kind == NND_INIT || im->entry[i].batch == batch))
            return &im->entry[i];
    return NULL;
}

/* At least one byte, so that NULL always means failure. */
static void *segment(int64_t nbytes, NndError *err, const char *what)
{
    int64_t rounded = (nbytes / NND_ALIGN + 1) * NND_ALIGN;
    void *p = nbytes < 0 ? NULL : aligned_alloc(NND_ALIGN, (size_t)rounded);

    if (!p)
        nnd_fail(err, NND_E_MEMORY, "out of memory: %lld bytes of %s", (long long)nbytes, what);
    else
        memset(p, 0, (size_t)rounded);
    return p;
}

int nnd_session_open(NndSession *s, const NndImage *im, int64_t max_rows, NndError *err)
{
    int64_t scratch = 0, nmetric;

    *s = (NndSession){ .image = im, .nrow = max_rows };
    if (im->abi != NND_ABI)
        return nnd_fail(err, NND_E_ARG, "the model was compiled for version %u of the runtime, this is %d", im->abi, NND_ABI);
    for (int i = 0; i < im->nentry; i++)
        if (im->entry[i].scratch_bytes > scratch)
            scratch = im->entry[i].scratch_bytes;
    if (im->train && im->train->nmetric > NND_MAX_METRIC)
        return nnd_fail(err, NND_E_ARG, "%d metrics, at most %d are kept", im->train->nmetric, NND_MAX_METRIC);
    nmetric = im->train ? nnd_mul(max_rows + 1, im->train->nmetric) : 0;
    if (nmetric < 0 || nnd_mul(nmetric, 8) < 0)
        return nnd_fail(err, NND_E_MEMORY, "out of memory: figures of %lld batches", (long long)max_rows);
    if (!(s->state = segment(im->state_bytes, err, "state")) || !(s->scratch = segment(scratch, err, "scratch"))
        || !(s->row = segment(nnd_mul(max_rows, 4), err, "row numbers"))
        || !(s->metric = segment(nmetric * 8, err, "figures"))) {
        nnd_session_close(s);
        return NND_E_MEMORY;
    }
    return 0;
}

void nnd_session_close(NndSession *s)
{
    free(s->state);
    free(s->scratch);
    free(s->row);
    free(s->metric);
    *s = (NndSession){ 0 };
}

int nnd_session_init(NndSession *s, uint64_t seed, NndError *err)
{
    const NndEntry *e = nnd_entry_find(s->image, NND_INIT, 0);
    NndCall call = { .state = s->state, .scratch = s->scratch, .nbatch = 1, .seed = seed, .metric_out = s->metric, .par = s->par };

    s->step = 0;
    if (!e)
        return nnd_fail(err, NND_E_ARG, "the model was compiled without its initial values");
    return e->run(s->image, e, &call) ? nnd_fail(err, NND_E_DEVICE, "the device failed while filling the parameters") : 0;
}
