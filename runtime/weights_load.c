/* weights_load.c - from a safetensors file to a session's state, all of it or nothing.
 *
 * A file is not believed: first the header alone is checked (every tensor's offsets fit its dtype and shape, all
 * together cover the elements once), then against the model; then the elements go to a copy of the state, which
 * replaces the state at the end.
 */
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "runtime/in.h"
#include "runtime/weights.h"

enum { MAX_HEADER = 100000000 };      /* as the reference implementation has it */

/* The format's dtypes.  Some have no name in a model: a file may be whole and still no use. */
static const struct { const char *name; int8_t size, dtype; } file_type[] = {
    { "F32", 4, NND_F32 }, { "F64", 8, NND_F64 }, { "I32", 4, NND_I32 }, { "I64", 8, NND_I64 }, { "U8", 1, NND_U8 },
    { "BOOL", 1, NND_BOOL }, { "F16", 2, -1 }, { "BF16", 2, -1 }, { "F8_E5M2", 1, -1 }, { "F8_E4M3", 1, -1 },
    { "I8", 1, -1 }, { "I16", 2, -1 }, { "U16", 2, -1 }, { "U32", 4, -1 }, { "U64", 8, -1 },
};
enum { NTYPE = sizeof file_type / sizeof *file_type };

typedef struct Tensor {
    const char   *name;
    const json_t *shape;
    int           type;              /* of file_type */
    bool          is_used;
    int64_t       begin, end;        /* bytes from the start of the elements */
} Tensor;

typedef struct Load {
    NndIn          in;
    int64_t        start;            /* of the elements */
    json_t        *root;
    Tensor        *tensor;           /* by begin, then by end */
    int64_t        ntensor;
    const NndImage *image;
    const Tensor **of_var;           /* [nvar]; NULL: the file doesn't have it */
    NndError      *err;
} Load;

static const char *shown(char name[64], const char *from) { return nnd_in_text(name, 64, from, strlen(from)); }

static int no_memory(Load *l, const char *what)
{
    return nnd_fail(l->err, NND_E_MEMORY, "%s: out of memory for %s", l->in.path, what);
}

static int bad_tensor(Load *l, const Tensor *t, const char *what)
{
    char name[64];

    return nnd_fail(l->err, NND_E_FORMAT, "%s: damaged header: tensor %s: %s", l->in.path, shown(name, t->name), what);
}

/* ---- the header alone ---- */

static int parse_header(Load *l, const char *text, int64_t length)
{
    json_error_t why;
    char found[128];

    if (length < 2 || text[0] != '{')
        return nnd_fail(l->err, NND_E_FORMAT,
                        "%s: not a safetensors file: wanted `{` after the header's length, found `%s`",
                        l->in.path, nnd_in_text(found, 8, text, (size_t)length));
    if ((l->root = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &why)))
        return 0;
    if (json_error_code(&why) == json_error_out_of_memory)
        return no_memory(l, "its header");
    return nnd_fail(l->err, NND_E_FORMAT, "%s: damaged header: byte %d: %s", l->in.path, why.position,
                    nnd_in_text(found, sizeof found, why.text, strlen(why.text)));
}

static int read_header(Load *l)
{
    uint64_t length = 0;
    char *text;
    int rc;

    if (l->in.nbytes < 8)
        return nnd_fail(l->err, NND_E_FORMAT,
                        "%s: not a safetensors file: wanted 8 bytes of the header's length, found %lld",
                        l->in.path, (long long)l->in.nbytes);
    if ((rc = nnd_in_read(&l->in, 0, &length, 8, l->err)))
        return rc;
    if (length > MAX_HEADER)
        return nnd_fail(l->err, NND_E_FORMAT, "%s: wanted a header of at most %d bytes, found %llu", l->in.path,
                        MAX_HEADER,
                        (unsigned long long)length);
    if ((int64_t)length > l->in.nbytes - 8)
        return nnd_fail(l->err, NND_E_FORMAT, "%s: wanted a header of %llu bytes, found %lld", l->in.path,
                        (unsigned long long)length, (long long)(l->in.nbytes - 8));
    if (!(text = malloc(length + 1)))
        return no_memory(l, "its header");
    l->start = 8 + (int64_t)length;
    if (!(rc = nnd_in_read(&l->in, 8, text, (int64_t)length, l->err)))
        rc = parse_header(l, text, (int64_t)length);
    free(text);
    return rc;
}

/* Do the offsets lie in the file, and are they what dtype and shape need? */
static int check_size(Load *l, const Tensor *t)
{
    int64_t n = file_type[t->type].size, most = l->in.nbytes - l->start;
    bool none = false;

    for (size_t i = 0; i < json_array_size(t->shape); i++) {
        json_t *size = json_array_get(t->shape, i);
        int64_t dim = json_is_integer(size) ? json_integer_value(size) : -1;

        if (dim < 0)
            return bad_tensor(l, t, "wanted whole numbers from 0 as its shape");
        none |= !dim;
        n = nnd_mul(n, dim ? dim : 1);
    }
    if (n < 0)
        return bad_tensor(l, t, "its shape has more elements than can be counted");
    if (t->begin < 0 || t->end < t->begin)
        return bad_tensor(l, t, "wanted data_offsets that ascend from 0");
    if (t->end > most)
        return bad_tensor(l, t, "its data_offsets run past the file's end");
    return t->end - t->begin != (none ? 0 : n) ? bad_tensor(l, t, "its data_offsets don't fit its dtype and shape") : 0;
}

static int read_tensor(Load *l, Tensor *t, const char *name, json_t *one)
{
    const json_t *type = json_object_get(one, "dtype"), *place = json_object_get(one, "data_offsets");
    const json_t *begin = json_array_get(place, 0), *end = json_array_get(place, 1);

    *t = (Tensor){ .name = name, .shape = json_object_get(one, "shape") };
    if (json_object_size(one) != 3 || !json_is_string(type) || !json_is_array(t->shape) || json_array_size(place) != 2
        || !json_is_integer(begin) || !json_is_integer(end))
        return bad_tensor(l, t,
                          "wanted dtype, a text, shape, a list, data_offsets, two whole numbers, and nothing else");
    while (t->type < NTYPE && strcmp(file_type[t->type].name, json_string_value(type)))
        t->type++;
    if (t->type == NTYPE)
        return bad_tensor(l, t, "its dtype is none of the format's");
    t->begin = json_integer_value(begin);
    t->end = json_integer_value(end);
    return check_size(l, t);
}

static int by_place(const void *a, const void *b)
{
    const Tensor *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* All elements belong to exactly one tensor. */
static int check_cover(Load *l)
{
    char name[64], other[64];
    int64_t at = 0, most = l->in.nbytes - l->start;

    qsort(l->tensor, (size_t)l->ntensor, sizeof *l->tensor, by_place);
    for (int64_t i = 0; i < l->ntensor; i++) {
        const Tensor *t = &l->tensor[i];

        if (t->begin > at)
            return nnd_fail(l->err, NND_E_FORMAT,
                            "%s: damaged header: no tensor has the bytes from %lld to %lld, before %s",
                            l->in.path, (long long)at, (long long)t->begin, shown(name, t->name));
        if (t->begin < at)
            return nnd_fail(l->err, NND_E_FORMAT, "%s: damaged header: tensors %s and %s overlap", l->in.path,
                            shown(name, t[-1].name), shown(other, t->name));
        at = t->end;
    }
    if (at < most)
        return nnd_fail(l->err, NND_E_FORMAT, "%s: wanted %lld bytes of elements, as its header promises, found %lld",
                        l->in.path, (long long)at, (long long)most);
    return 0;
}

static int read_tensors(Load *l)
{
    const char *name;
    json_t *one;
    int rc;

    if (!(l->tensor = calloc(json_object_size(l->root) + 1, sizeof *l->tensor)))
        return no_memory(l, "its header");
    json_object_foreach(l->root, name, one) {
        if (!strcmp(name, "__metadata__"))
            continue;
        if ((rc = read_tensor(l, &l->tensor[l->ntensor++], name, one)))
            return rc;
    }
    return check_cover(l);
}

/* ---- against the model ---- */

static bool has_shape(const Tensor *t, const NndVar *v)
{
    bool same = json_array_size(t->shape) == v->rank;

    for (int i = 0; i < v->rank && same; i++)
        same = json_integer_value(json_array_get(t->shape, (size_t)i)) == v->dim[i];
    return same;
}

static bool is_float(int dtype) { return dtype == NND_F32 || dtype == NND_F64; }

static void add_dim(char *text, size_t size, int64_t dim)
{
    size_t at = strlen(text);

    snprintf(text + at, size - at, "%s%lld", at > 1 ? ", " : "", (long long)dim);
}

static int check_fit(Load *l, const NndVar *v, const Tensor *t)
{
    int type = file_type[t->type].dtype;
    char want[128] = "[", found[128] = "[";

    if (type != v->dtype && !(is_float(type) && is_float(v->dtype)))
        return nnd_fail(l->err, NND_E_DATA, "%s: wanted %s for %s, found %s", l->in.path,
                        is_float(v->dtype) ? "F32 or F64" : file_dtype((NndDtype)v->dtype), v->name,
                        file_type[t->type].name);
    if (has_shape(t, v))
        return 0;
    for (int i = 0; i < v->rank; i++)
        add_dim(want, sizeof want, v->dim[i]);
    for (size_t i = 0; i < json_array_size(t->shape) && i < 2 * NND_RANK; i++)
        add_dim(found, sizeof found, json_integer_value(json_array_get(t->shape, i)));
    return nnd_fail(l->err, NND_E_DATA, "%s: wanted the shape %s] for %s, found %s]", l->in.path, want, v->name, found);
}

typedef struct List { char text[320]; size_t at; int64_t n; } List;

/* As many names as there is room for; their number is told in any case. */
static void list_name(List *list, const char *from)
{
    char name[64];
    size_t room = sizeof list->text - list->at, need;

    need = (size_t)snprintf(list->text + list->at, room, "%s%s", list->n++ ? ", " : "", shown(name, from));
    if (need < room)
        list->at += need;
    else
        snprintf(list->text + sizeof list->text - 6, 6, ", ...");
}

/* Names that are only in the model or only in the file. */
static int check_names(Load *l)
{
    List missing = { 0 }, extra = { 0 };
    const NndImage *im = l->image;
    bool any_state = false;

    for (int i = 0; i < im->nvar; i++)
        any_state |= im->var[i].kind == NND_STATE && l->of_var[i];
    for (int i = 0; i < im->nvar; i++)
        if (!l->of_var[i] && (im->var[i].kind == NND_PARAM || (im->var[i].kind == NND_STATE && any_state)))
            list_name(&missing, im->var[i].name);
    for (int64_t i = 0; i < l->ntensor; i++)
        if (!l->tensor[i].is_used)
            list_name(&extra, l->tensor[i].name);
    if (!missing.n && !extra.n)
        return 0;
    return nnd_fail(l->err, NND_E_DATA, "%s: weights of another model: %s%.0lld%s%s%s%s%.0lld%s%s", l->in.path,
                    missing.n ? "it lacks " : "", (long long)missing.n, missing.n ? ": " : "", missing.text,
                    missing.n && extra.n ? "; " : "", extra.n ? "the model lacks " : "", (long long)extra.n,
                    extra.n ? ": " : "", extra.text);
}

/* Tensors by name; the offsets' order is no help, so their names are sorted apart. */
static int by_name(const void *a, const void *b)
{
    return strcmp((*(Tensor *const *)a)->name, (*(Tensor *const *)b)->name);
}

static int match(Load *l)
{
    const NndImage *im = l->image;
    Tensor **sorted = calloc((size_t)l->ntensor + 1, sizeof *sorted);
    int rc = 0;

    if (!sorted || !(l->of_var = calloc((size_t)im->nvar + 1, sizeof *l->of_var))) {
        free(sorted);
        return no_memory(l, "names");
    }
    for (int64_t i = 0; i < l->ntensor; i++)
        sorted[i] = &l->tensor[i];
    qsort(sorted, (size_t)l->ntensor, sizeof *sorted, by_name);
    for (int i = 0; i < im->nvar; i++) {
        Tensor key = { .name = im->var[i].name }, *k = &key;
        Tensor **t = is_saved(&im->var[i]) ? bsearch(&k, sorted, (size_t)l->ntensor, sizeof *sorted, by_name) : NULL;

        if (t) {
            (*t)->is_used = true;
            l->of_var[i] = *t;
        }
    }
    free(sorted);
    rc = check_names(l);
    for (int i = 0; i < im->nvar && !rc; i++)
        if (l->of_var[i])
            rc = check_fit(l, &im->var[i], l->of_var[i]);
    return rc;
}

/* ---- elements ---- */

static void convert(void *to, NndDtype d, const void *from, NndDtype is)
{
    if (d == is)
        memcpy(to, from, (size_t)nnd_dtype_bytes(d));
    else if (d == NND_F32)
        *(float *)to = (float)*(const double *)from;
    else
        *(double *)to = *(const float *)from;
}

/* buffer has room for the tensor as the file has it */
static int fill(Load *l, const NndVar *v, const Tensor *t, void *buffer, char *state)
{
    NndDtype d = (NndDtype)v->dtype, is = (NndDtype)file_type[t->type].dtype;
    int64_t size = nnd_dtype_bytes(is), n = (t->end - t->begin) / size, bad;
    Walk w = { .var = v };
    int rc = nnd_in_read(&l->in, l->start + t->begin, buffer, t->end - t->begin, l->err);

    if (rc)
        return rc;
    if (is == NND_BOOL && !nnd_in_bools(buffer, n, &bad))
        return nnd_fail(l->err, NND_E_FORMAT, "%s: wanted 0 or 1 in every bool of %s, found %d in element %lld",
                        l->in.path,
                        v->name, ((unsigned char *)buffer)[bad], (long long)bad);
    for (int64_t i = 0; i < n; i++, walk_on(&w))
        convert(state + v->offset + w.offset * nnd_dtype_bytes(d), d, (char *)buffer + i * size, is);
    return 0;
}

static int fill_all(Load *l, NndSession *s)
{
    const NndImage *im = l->image;
    int64_t most = 0;
    char *state, *buffer;
    int rc = 0;

    for (int i = 0; i < im->nvar; i++)
        if (l->of_var[i] && l->of_var[i]->end - l->of_var[i]->begin > most)
            most = l->of_var[i]->end - l->of_var[i]->begin;
    state = malloc((size_t)im->state_bytes + 1);
    buffer = malloc((size_t)most + 1);
    if (!state || !buffer)
        rc = no_memory(l, "a copy of the weights");
    else if (!(rc = nnd_session_fetch(s, l->err)))
        memcpy(state, s->state, (size_t)im->state_bytes);
    for (int i = 0; i < im->nvar && !rc; i++)
        if (l->of_var[i])
            rc = fill(l, &im->var[i], l->of_var[i], buffer, state);
    if (!rc) {
        memcpy(s->state, state, (size_t)im->state_bytes);
        nnd_session_changed(s);
    }
    free(state);
    free(buffer);
    return rc;
}

int nnd_weights_load(NndSession *s, const char *path, NndError *err)
{
    Load l = { .image = s->image, .err = err };
    int rc = nnd_in_open(&l.in, path, err);

    if (rc)
        return rc;
    if (!(rc = read_header(&l)) && !(rc = read_tensors(&l)) && !(rc = match(&l)))
        rc = fill_all(&l, s);
    nnd_in_close(&l.in);
    json_decref(l.root);
    free(l.tensor);
    free(l.of_var);
    return rc;
}
