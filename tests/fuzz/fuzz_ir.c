/* fuzz_ir.c - any bytes as a module's text: messages, or a module that reads back as it was printed.
 *
 * Whether graphs and plans that were read verify is not the question, only that verifying returns.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/graph.h"
#include "ir/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char *print(const Module *m, size_t *len)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, len);

    if (!f)
        abort();
    module_print(f, m);
    fclose(f);
    return text;
}

static void verify(Module *m)
{
    for (int i = 0; i < m->ngraph; i++)
        graph_verify(m->graph[i]);
    if (m->update)
        graph_verify(m->update);
    for (int i = 0; i < m->ngraph && m->plan; i++)
        if (m->plan[i])
            plan_verify(m->plan[i], &m->mem);
}

static void check_again(const Module *m)
{
    size_t  len, again_len;
    char   *text = print(m, &len);
    Module *again = module_read("again.ir", text, len);

    if (again->diag.nerror) {
        fprintf(stderr, "%s\n%.*s", text, (int)again->diag.ntext, again->diag.text);
        abort();
    }
    char *again_text = print(again, &again_len);
    if (len != again_len || memcmp(text, again_text, len)) {
        fprintf(stderr, "---- printed\n%s---- read and printed\n%s", text, again_text);
        abort();
    }
    free(text);
    free(again_text);
    module_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = calloc(n + 1, 1);

    if (!text)
        abort();
    if (n)
        memcpy(text, data, n);
    Module *m = module_read("fuzz.ir", text, n);
    if (m->diag.nerror && !m->diag.ntext)
        abort();
    if (!m->diag.nerror) {
        verify(m);
        check_again(m);
    }
    module_free(m);
    free(text);
    return 0;
}
