/* header.c - from an image to the C header of its object.
 *
 * The header holds the text of runtime/abi.h, under that file's own guard, so it needs nothing but <stdint.h> and
 * <string.h> and goes along with runtime/nnd.h or another model's header.  C99 and C++ read it without a warning.
 */
#include <ctype.h>
#include <string.h>

#include "backends/backend.h"

typedef struct Header {
    FILE           *f;
    Arena           mem;
    const NndImage *im;
    const char     *upper;     /* the model's name as macros have it */
    int             ninfer;
} Header;

static const char *const c_type[] = { [NND_F32] = "float", [NND_F64] = "double", [NND_I32] = "int32_t",
                                      [NND_I64] = "int64_t", [NND_U8] = "uint8_t", [NND_BOOL] = "uint8_t" };

static char *upper_case(Arena *mem, const char *s)
{
    char *t = arena_strdup(mem, s);

    for (char *c = t; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return t;
}

/* "in.image" -> "in_image", "x" -> "in_x": so that no name is a word of C or C++. */
static const char *argument_name(Header *h, const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    bool has = !strncmp(name, prefix, n) && (!name[n] || name[n] == '.');
    char *t = arena_strdup(&h->mem, has ? name : arena_printf(&h->mem, "%s_%s", prefix, name));

    for (char *c = t; *c; c++)
        if (!isalnum((unsigned char)*c))
            *c = '_';
    return t;
}

/* ---- what the model holds, for people ---- */

static void print_shape(Header *h, int dtype, int rank, const int64_t *dim, int64_t batch)
{
    fprintf(h->f, "%s[", dt_name((Dtype)dtype));
    if (batch)
        fprintf(h->f, "%lld%s", (long long)batch, rank ? ", " : "");
    for (int d = 0; d < rank; d++)
        fprintf(h->f, "%lld%s", (long long)dim[d], d + 1 < rank ? ", " : "");
    fprintf(h->f, "]");
}

/* Are places other than row-major? */
static bool has_layout(const NndVar *v)
{
    int64_t stride = 1;

    for (int d = v->rank - 1; d >= 0; d--) {
        if (v->stride[d] != stride)
            return true;
        stride *= v->dim[d];
    }
    return false;
}

static void print_var(Header *h, const NndVar *v)
{
    fprintf(h->f, " *   %8lld  %s ", (long long)v->offset, v->name);
    print_shape(h, v->dtype, v->rank, v->dim, 0);
    if (has_layout(v)) {
        fprintf(h->f, ", elements apart:");
        for (int d = 0; d < v->rank; d++)
            fprintf(h->f, " %lld", (long long)v->stride[d]);
    }
    fprintf(h->f, "\n");
}

static void print_vars(Header *h)
{
    static const char *const title[] = { [NND_PARAM] = "Parameters", [NND_STATE] = "States",
                                         [NND_OPTIM] = "Of the optimizer" };

    fprintf(h->f, "\n/* The state segment has %lld bytes, aligned to %d.\n", (long long)h->im->state_bytes, NND_ALIGN);
    for (int kind = NND_PARAM; kind <= NND_OPTIM; kind++)
        for (int i = 0, first = 1; i < h->im->nvar; i++) {
            if (h->im->var[i].kind != kind)
                continue;
            if (first)
                fprintf(h->f, " * %s, at bytes of it:\n", title[kind]);
            first = 0;
            print_var(h, &h->im->var[i]);
        }
    fprintf(h->f, " */\n");
}

/* ---- infer ---- */

/* Of entry e: "" if it is the only one, else its batch with what stands before. */
static const char *batch_suffix(Header *h, const NndEntry *e)
{
    return h->ninfer == 1 ? "" : arena_printf(&h->mem, "_%lld", (long long)e->batch);
}

static void print_fields(Header *h, const NndField *f, int n, const char *prefix, int64_t batch)
{
    for (int i = 0; i < n; i++) {
        fprintf(h->f, " * %-9s ", argument_name(h, f[i].name, prefix));
        print_shape(h, f[i].dtype, f[i].rank, f[i].dim, batch);
        if (f[i].bound)
            fprintf(h->f, ", values from 0 to %lld", (long long)f[i].bound - 1);
        fprintf(h->f, "\n");
    }
}

static void print_infer_doc(Header *h, const NndEntry *e)
{
    fprintf(h->f, "\n/* nnd_%s_infer%s - outputs of %lld row%s.\n *\n", h->im->model, batch_suffix(h, e),
            (long long)e->batch, e->batch == 1 ? "" : "s");
    fprintf(h->f, " * state     %lld bytes, aligned to %d, only read; NULL: the image's weights\n",
            (long long)h->im->state_bytes, NND_ALIGN);
    fprintf(h->f, " * scratch   %lld bytes, aligned to %d; each thread needs its own\n", (long long)e->scratch_bytes,
            NND_ALIGN);
    print_fields(h, h->im->input, h->im->ninput, "in", e->batch);
    print_fields(h, h->im->output, h->im->noutput, "out", e->batch);
    fprintf(h->f, " * All row-major.  Returns 0, or -1 if there are no weights.\n */\n");
}

static void print_arguments(Header *h)
{
    fprintf(h->f, "(const void *state, void *scratch");
    for (int i = 0; i < h->im->ninput; i++)
        fprintf(h->f, ", const %s *%s", c_type[h->im->input[i].dtype], argument_name(h, h->im->input[i].name, "in"));
    for (int i = 0; i < h->im->noutput; i++)
        fprintf(h->f, ", %s *%s", c_type[h->im->output[i].dtype], argument_name(h, h->im->output[i].name, "out"));
    fprintf(h->f, ")\n");
}

/* "    TYPE name[N];" and its elements; no array has none. */
static void print_array(Header *h, const char *type, const char *name, const NndField *f, int n, const char *prefix)
{
    fprintf(h->f, "    %s%s[%d];\n", type, name, n ? n : 1);
    for (int i = 0; i < (n ? n : 1); i++)
        fprintf(h->f, "    %s[%d] = %s;\n", name, i, n ? argument_name(h, f[i].name, prefix) : "0");
}

static void print_infer(Header *h, int i)
{
    const NndEntry *e = &h->im->entry[i];
    const char *model = h->im->model;

    print_infer_doc(h, e);
    fprintf(h->f, "static inline int nnd_%s_infer%s", model, batch_suffix(h, e));
    print_arguments(h);
    fprintf(h->f, "{\n    const NndEntry *nnd_entry = &nnd_%s.entry[%d];\n    NndCall nnd_call;\n", model, i);
    print_array(h, "const void *", "nnd_input", h->im->input, h->im->ninput, "in");
    print_array(h, "void *", "nnd_output", h->im->output, h->im->noutput, "out");
    fprintf(h->f,
            "\n    memset(&nnd_call, 0, sizeof nnd_call);\n"
            "    nnd_call.state = (void *)(state ? state : nnd_%s.weights);    /* infer writes nothing there */\n"
            "    nnd_call.scratch = scratch;\n"
            "    nnd_call.field = nnd_input;\n"
            "    nnd_call.out = nnd_output;\n"
            "    nnd_call.nbatch = 1;\n"
            "    return nnd_call.state || !nnd_%s.state_bytes ? nnd_entry->run(&nnd_%s, nnd_entry, &nnd_call) : -1;\n"
            "}\n", model, model, model);
}

/* ---- the whole ---- */

static void print_sizes(Header *h)
{
    const NndImage *im = h->im;

    fprintf(h->f, "\n#define NND_%s_STATE_BYTES %lld\n", h->upper, (long long)im->state_bytes);
    for (int i = 0; i < im->nentry; i++) {
        const NndEntry *e = &im->entry[i];

        if (e->kind != NND_INFER)
            continue;
        fprintf(h->f, "#define NND_%s_INFER%s_BATCH %lld\n", h->upper, batch_suffix(h, e), (long long)e->batch);
        fprintf(h->f, "#define NND_%s_INFER%s_SCRATCH_BYTES %lld\n", h->upper, batch_suffix(h, e),
                (long long)e->scratch_bytes);
    }
}

void header_print(FILE *f, const NndImage *im)
{
    Header h = { .f = f, .im = im };

    h.upper = upper_case(&h.mem, im->model);
    for (int i = 0; i < im->nentry; i++)
        h.ninfer += im->entry[i].kind == NND_INFER;
    fprintf(f, "/* nnd_%s - the compiled model: made by nnd, for the object made with it. */\n", im->model);
    fprintf(f, "#ifndef NND_MODEL_%s_H\n#define NND_MODEL_%s_H\n\n#include <string.h>\n\n", h.upper, h.upper);
    fputs(header_abi_text, f);
    fprintf(f, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\nextern const NndImage nnd_%s;\n", im->model);
    fprintf(f, "#ifdef __cplusplus\n}\n#endif\n");
    print_vars(&h);
    print_sizes(&h);
    for (int i = 0; i < im->nentry; i++)
        if (im->entry[i].kind == NND_INFER)
            print_infer(&h, i);
    fprintf(f, "\n#endif\n");
    arena_free(&h.mem);
}
