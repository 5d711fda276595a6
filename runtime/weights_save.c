/* weights_save.c - from a session's state to a safetensors file.
 *
 * The header is padded with spaces so that the elements begin at a multiple of 8.
 */
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "runtime/in.h"
#include "runtime/weights.h"

static json_t *describe(const NndVar *v, int64_t begin, int64_t end)
{
    json_t *shape = json_array(), *one;
    bool whole = shape;

    for (int i = 0; i < v->rank && whole; i++)
        whole = !json_array_append_new(shape, json_integer(v->dim[i]));
    if (!whole) {
        json_decref(shape);
        return NULL;
    }
    one = json_pack("{s:s, s:o, s:[I,I]}", "dtype", file_dtype((NndDtype)v->dtype), "shape", shape, "data_offsets",
                    (json_int_t)begin, (json_int_t)end);
    return one;
}

static int64_t var_bytes(const NndVar *v)
{
    return nnd_mul(nnd_in_count(v->rank, v->dim), nnd_dtype_bytes((NndDtype)v->dtype));
}

/* The header's text, to be freed; NULL if there is no memory for it. */
static char *make_header(const NndImage *im)
{
    json_t *root = json_object();
    int64_t at = 0;
    char *text = NULL;
    bool whole = root;

    for (int i = 0; i < im->nvar && whole; i++) {
        const NndVar *v = &im->var[i];

        if (!is_saved(v))
            continue;
        whole = !json_object_set_new(root, v->name, describe(v, at, at + var_bytes(v)));
        at += var_bytes(v);
    }
    if (whole)
        text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static void write_var(FILE *f, const NndVar *v, const void *state)
{
    const char *data = (const char *)state + v->offset;
    int64_t size = nnd_dtype_bytes((NndDtype)v->dtype), n = nnd_in_count(v->rank, v->dim);
    Walk w = { .var = v };

    if (n && is_row_major(v)) {
        fwrite(data, (size_t)size, (size_t)n, f);
        return;
    }
    for (int64_t i = 0; i < n && !ferror(f); i++, walk_on(&w))
        fwrite(data + w.offset * size, (size_t)size, 1, f);
}

int nnd_weights_save(const NndSession *s, const char *path, NndError *err)
{
    const NndImage *im = s->image;
    uint64_t used, length;
    char *header;
    NndOut o;
    int rc = nnd_session_fetch(s, err);

    if (rc)
        return rc;
    if (!(header = make_header(im)))
        return nnd_fail(err, NND_E_MEMORY, "%s: out of memory for its header", path);
    used = strlen(header);
    length = (used + 7) / 8 * 8;
    if (!(rc = nnd_out_open(&o, path, err))) {
        fwrite(&length, 1, sizeof length, o.f);
        fprintf(o.f, "%s%*s", header, (int)(length - used), "");
        for (int i = 0; i < im->nvar && !ferror(o.f); i++)
            if (is_saved(&im->var[i]))
                write_var(o.f, &im->var[i], s->state);
        rc = nnd_out_close(&o, err);
    }
    free(header);
    return rc;
}
