/* image.c - the parts of an image that every backend fills alike.
 *
 * Everything is copied into one arena that the image owns, so it may outlive the module.
 */
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"

_Static_assert((int)DT_f32 == NND_F32 && (int)DT_f64 == NND_F64 && (int)DT_i32 == NND_I32 && (int)DT_i64 == NND_I64
               && (int)DT_u8 == NND_U8 && (int)DT_bool == NND_BOOL && (int)ENTRY_INIT == NND_INIT
               && (int)ENTRY_TRAIN == NND_TRAIN && (int)ENTRY_EVAL == NND_EVAL && (int)ENTRY_INFER == NND_INFER
               && (int)SLOT_param == NND_PARAM && (int)SLOT_state == NND_STATE && (int)SLOT_optim == NND_OPTIM
               && (int)MAX_RANK == NND_RANK && (int)NSPLIT == NND_NSPLIT && (int)SOURCE_SHARE == NND_SHARE,
               "the image speaks of dtypes, entries and slots as the compiler does");

typedef struct Owned { NndImage image; Arena mem; } Owned;      /* image first: freed through it */

static int count_slots(const Module *m, SlotKind from, SlotKind to)
{
    int n = 0;

    for (int i = 0; i < m->nslot; i++)
        n += m->slot[i].kind >= from && m->slot[i].kind <= to;
    return n;
}

static char *copy_text(Arena *mem, const char *s) { return s ? arena_strdup(mem, s) : NULL; }

static void fill_vars(Owned *o, const Module *m)
{
    NndVar *v = arena_array(&o->mem, NndVar, count_slots(m, SLOT_param, SLOT_optim) + 1);

    o->image.var = v;
    for (int i = 0; i < m->nslot; i++) {
        const Slot *s = &m->slot[i];
        int64_t stride = 1;

        if (s->kind > SLOT_optim)
            continue;
        *v = (NndVar){ .name = copy_text(&o->mem, s->name), .kind = (uint8_t)s->kind, .dtype = (uint8_t)s->type.dtype,
                       .rank = (uint8_t)s->type.rank, .offset = module_state_offset(m, i) };
        for (int d = s->type.rank - 1; d >= 0; d--) {
            v->dim[d] = s->type.dim[d];
            v->stride[d] = stride;
            stride *= s->type.dim[d];
        }
        v++;
        o->image.nvar++;
    }
}

/* A slot "in.image" is the input image: within the model a field may have the same name. */
static const char *port_name(const char *slot)
{
    return !strncmp(slot, "in.", 3) ? slot + 3 : !strncmp(slot, "out.", 4) ? slot + 4 : slot;
}

static const char **copy_texts(Arena *mem, const char *const *text, int n)
{
    const char **to = n ? arena_array(mem, const char *, n) : NULL;

    for (int i = 0; i < n; i++)
        to[i] = arena_strdup(mem, text[i]);
    return to;
}

/* Do the rows hold names of classes, which become numbers when they are read? */
static bool has_names(const Slot *s)
{
    SourceFormat f = s->source[SPLIT_TRAIN].format;

    return !s->type.rank && (f == SOURCE_CSV || f == SOURCE_IMAGES) && s->type.dtype != DT_f32 && s->type.dtype != DT_f64;
}

NndField image_field(Arena *mem, const Module *m, const Slot *s)
{
    NndField f = { .name = copy_text(mem, s->kind == SLOT_field ? s->name : port_name(s->name)),
                   .dtype = (uint8_t)s->type.dtype, .rank = (uint8_t)s->type.rank, .bound = s->bound };

    memcpy(f.dim, s->type.dim, sizeof s->type.dim);
    for (int i = 0; i < NSPLIT; i++) {
        const FieldSource *from = &s->source[i];

        f.source[i] = (NndSource){ .format = (uint8_t)from->format, .file = copy_text(mem, from->file),
                                   .part = copy_texts(mem, from->part, from->npart), .npart = from->npart,
                                   .stride = from->stride, .number = from->number, .from = from->from, .to = from->to };
    }
    if (has_names(s)) {
        f.label = copy_texts(mem, m->label, m->nlabel);
        f.nlabel = m->nlabel;
    }
    return f;
}

static const NndField *fill_fields(Owned *o, const Module *m, SlotKind kind, int *n)
{
    NndField *f = arena_array(&o->mem, NndField, count_slots(m, kind, kind) + 1);

    for (int i = 0; i < m->nslot; i++) {
        const Slot *s = &m->slot[i];

        if (s->kind != kind)
            continue;
        f[(*n)++] = image_field(&o->mem, m, s);
    }
    return f;
}

static void fill_entries(Owned *o, const Module *m)
{
    NndEntry *e = arena_array(&o->mem, NndEntry, m->ngraph + 1);

    for (int i = 0; i < m->ngraph; i++)
        e[i] = (NndEntry){ .kind = (uint8_t)m->graph[i]->entry, .batch = m->graph[i]->batch,
                           .scratch_bytes = m->plan && m->plan[i]->scratch_bytes > 0 ? m->plan[i]->scratch_bytes : 0 };
    o->image.entry = e;
    o->image.nentry = m->ngraph;
}

static void fill_figures(Owned *o, const Module *m, NndTrain *t)
{
    const char **metric = arena_array(&o->mem, const char *, m->nslot + 1);
    NndScalar *scalar = arena_array(&o->mem, NndScalar, m->nslot + 1);

    for (int i = 0; i < m->nslot; i++) {
        const Slot *s = &m->slot[i];

        if (s->kind == SLOT_metric)
            metric[t->nmetric++] = copy_text(&o->mem, s->name);
        if (s->kind == SLOT_scalar && slot_scalar_number(m, i) >= 3)
            scalar[t->nscalar++] = (NndScalar){ copy_text(&o->mem, s->name), s->value };
    }
    t->metric = metric;
    t->scalar = scalar;
}

static void fill_train(Owned *o, const Module *m)
{
    NndTrain *t = arena_new(&o->mem, NndTrain);
    NndExpect *x = arena_array(&o->mem, NndExpect, m->train.nexpect + 1);

    *t = (NndTrain){ .epochs = m->train.epochs, .batch = m->train.batch, .seed = m->train.seed,
                     .require_bytes = m->train.require_bytes, .expect = x,
                     .nexpect = m->train.nexpect };
    for (int i = 0; i < m->train.nexpect; i++) {
        const Expect *e = &m->train.expect[i];

        x[i] = (NndExpect){ .split = (uint8_t)e->split, .metric = (uint8_t)e->metric, .compare = (uint8_t)e->compare,
                            .value = e->value, .text = copy_text(&o->mem, e->text) };
    }
    fill_figures(o, m, t);
    o->image.train = t;
}

static void fill_labels(Owned *o, const Module *m)
{
    o->image.label = copy_texts(&o->mem, m->label, m->nlabel);
    o->image.nlabel = m->nlabel;
}

NndImage *image_new(const Module *m)
{
    Owned *o = calloc(1, sizeof *o);

    if (!o)
        abort();
    o->image.abi = NND_ABI;
    o->image.float64 = m->float64;
    o->image.model = copy_text(&o->mem, m->name);
    o->image.text = copy_text(&o->mem, m->text);
    fill_labels(o, m);
    o->image.state_bytes = module_state_bytes(m);
    fill_vars(o, m);
    o->image.field = fill_fields(o, m, SLOT_field, &o->image.nfield);
    o->image.input = fill_fields(o, m, SLOT_input, &o->image.ninput);
    o->image.output = fill_fields(o, m, SLOT_output, &o->image.noutput);
    fill_entries(o, m);
    if (m->train.present)
        fill_train(o, m);
    return &o->image;
}

void image_free(NndImage *im)
{
    Owned *o = (Owned *)im;

    if (!o)
        return;
    arena_free(&o->mem);
    free(o);
}
