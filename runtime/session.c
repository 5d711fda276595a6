/* session.c - the memory of one run, and its beginning.
 *
 * Everything that training will need is allocated here, so that nothing is once it has begun.
 */
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

/* count * size zero bytes, aligned; at least some, so that NULL always means failure. */
static void *segment(int64_t count, int64_t size, NndError *err, const char *what)
{
    int64_t nbytes = nnd_mul(count, size);
    void *p = NULL;

    if (nbytes >= 0 && nbytes <= INT64_MAX - NND_ALIGN) {
        nbytes = (nbytes / NND_ALIGN + 1) * NND_ALIGN;
        p = aligned_alloc(NND_ALIGN, (size_t)nbytes);
    }
    if (!p)
        nnd_fail(err, NND_E_MEMORY, "out of memory: %lld x %lld bytes of %s", (long long)count, (long long)size, what);
    else
        memset(p, 0, (size_t)nbytes);
    return p;
}

int nnd_session_open(NndSession *s, const NndImage *im, int64_t max_rows, NndError *err)
{
    int64_t scratch = 0, nmetric = im->train ? im->train->nmetric : 0;

    *s = (NndSession){ .image = im, .nrow = max_rows };
    if (im->abi != NND_ABI)
        return nnd_fail(err, NND_E_ARG, "the model was compiled for version %u of the runtime, this is %d", im->abi,
                        NND_ABI);
    if (nmetric > NND_MAX_METRIC)
        return nnd_fail(err, NND_E_ARG, "wanted at most %d metrics, found %lld", NND_MAX_METRIC, (long long)nmetric);
    for (int i = 0; i < im->nentry; i++)
        if (im->entry[i].scratch_bytes > scratch)
            scratch = im->entry[i].scratch_bytes;
    if (im->train && im->train->require_bytes && im->state_bytes + scratch > im->train->require_bytes)
        return nnd_fail(err, NND_E_EXPECT, "require: memory <= %lld bytes is missed: %lld of state and %lld of scratch are %lld",
                        (long long)im->train->require_bytes, (long long)im->state_bytes, (long long)scratch,
                        (long long)(im->state_bytes + scratch));
    if (!(s->state = segment(im->state_bytes, 1, err, "state")) || !(s->scratch = segment(scratch, 1, err, "scratch"))
        || !(s->row = segment(max_rows, sizeof *s->row, err, "row numbers"))
        || !(s->metric = segment(NND_CHUNK * nmetric, sizeof *s->metric, err, "figures"))) {
        nnd_session_close(s);
        return NND_E_MEMORY;
    }
    if (im->weights)
        memcpy(s->state, im->weights, (size_t)im->state_bytes);
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
    NndCall call = { .state = s->state, .scratch = s->scratch, .nbatch = 1, .seed = seed, .metric_out = s->metric,
                     .par = s->par };
    int rc;

    if (!e)
        return nnd_fail(err, NND_E_ARG, "the model was compiled without its initial values");
    if ((rc = e->run(s->image, e, &call)))
        return nnd_fail(err, rc, "the device failed while filling the parameters");
    s->step = 0;
    return 0;
}
