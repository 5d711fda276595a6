/* fuzz_model.c - any bytes as a model: messages, or a module that verifies. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Not every reader stops at the length: the text ends in a 0, as a file's does when it has been read. */
static char *text_of(const uint8_t *data, size_t n)
{
    char *text = calloc(n + 1, 1);

    if (!text)
        abort();
    if (n)
        memcpy(text, data, n);
    return text;
}

static void check_built(const Module *m)
{
    for (int i = 0; i < m->ngraph; i++) {
        const char *why = graph_verify(m->graph[i]);

        if (why) {
            fprintf(stderr, "%s\n", why);
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    FrontOptions  o = { 0 };
    char         *text = text_of(data, n);
    Model        *md = model_parse("fuzz.nnd", text, n, &o);
    const Module *m = model_check(md);
    const Diag   *d = model_diag(md);

    if ((m != NULL) != (d->nerror == 0) || (d->nerror && !d->ntext))
        abort();
    if (m)
        check_built(m);
    model_free(md);
    free(text);
    return 0;
}
