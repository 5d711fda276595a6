/* access.c - follow an element back through movement. */
#include "passes/access.h"

#include "ir/scan.h"

#include <assert.h>

Access access_make(const Type *t, const Affine *index)
{
    Access a = { 0 };

    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] > 1)
            a.digit[a.n++] = (Digit){ index[i], t->dim[i] };
    return a;
}

Affine access_offset(Arena *mem, const Access *a)
{
    Affine off = aff_const(0);

    for (int i = 0; i < a->n; i++)
        off = aff_add(mem, aff_scale(mem, off, a->digit[i].size), a->digit[i].at);
    return off;
}

/* Digits from *next on, joined until they count to size. */
static Affine take(Arena *mem, const Access *a, int *next, int64_t size)
{
    Affine at = aff_const(0);
    int64_t n = 1;

    while (n < size) {
        assert(*next < a->n && "an access has as many elements as its tensor");
        n *= a->digit[*next].size;
        at = aff_add(mem, aff_scale(mem, at, a->digit[*next].size), a->digit[*next].at);
        (*next)++;
    }
    assert(n == size && "no digit joins axes that are looked at one by one");
    return at;
}

bool access_fits(const Access *a, const Type *t)
{
    int next = 0;

    for (int i = 0; i < t->rank; i++) {
        int64_t n = 1;

        while (n < t->dim[i] && next < a->n)
            n *= a->digit[next++].size;
        if (n != t->dim[i])
            return false;
    }
    return true;
}

void access_axes(Arena *mem, const Access *a, const Type *t, Affine *index)
{
    int next = 0;

    for (int i = 0; i < t->rank; i++)
        index[i] = take(mem, a, &next, t->dim[i]);
}

void access_row(Arena *mem, const Access *a, const Type *t, Affine *row, Affine *offset)
{
    Access rest = { 0 };
    int next = 0;

    *row = take(mem, a, &next, t->dim[0]);
    while (next < a->n)
        rest.digit[rest.n++] = a->digit[next++];
    *offset = access_offset(mem, &rest);
}

bool access_equal(const Access *a, const Access *b)
{
    if (a->n != b->n)
        return false;
    for (int i = 0; i < a->n; i++)
        if (a->digit[i].size != b->digit[i].size || !aff_equal(a->digit[i].at, b->digit[i].at))
            return false;
    return true;
}

static Affine shifted(Arena *mem, Affine at, int64_t by, int64_t start)
{
    return aff_add(mem, aff_scale(mem, at, by), aff_const(start));
}

/* The index of each axis of the argument of a slice, pad or window. */
static void neighbours(Arena *mem, const Node *nd, const Type *arg, const Affine *index, Affine *out)
{
    const int64_t *v = nd->attr.v;

    for (int i = 0; i < arg->rank; i++)
        out[i] = nd->op == OP_slice ? shifted(mem, index[i], v[3 * i + 1], v[3 * i])
                 : nd->op == OP_pad ? shifted(mem, index[i], 1, -v[2 * i]) : index[i];
    for (int i = 0; nd->op == OP_window && i < nd->attr.n / 4; i++, v += 4)
        out[v[0]] = aff_add(mem, aff_scale(mem, index[v[0]], v[2]), aff_scale(mem, index[arg->rank + i], v[3]));
}

int access_guards(Arena *mem, const Node *nd, const Type *arg, const Access *a, Guard *guard)
{
    Affine index[MAX_RANK], out[MAX_RANK];
    int n = 0;

    if (nd->op != OP_pad)
        return 0;
    access_axes(mem, a, &nd->type, index);
    neighbours(mem, nd, arg, index, out);
    for (int i = 0; i < arg->rank; i++)
        if (nd->attr.v[2 * i] || nd->attr.v[2 * i + 1])
            guard[n++] = (Guard){ out[i], arg->dim[i] };
    return n;
}

Affine access_step(Arena *mem, const Node *nd)
{
    bool back = nd->attr.v[SCAN_BACK];

    return shifted(mem, aff_var(mem, 0, 1), back ? -1 : 1, back ? nd->attr.v[SCAN_STEPS] - 1 : 0);
}

Access access_arg(Arena *mem, const Node *nd, const Type *arg, const Access *a)
{
    Affine index[MAX_RANK], out[MAX_RANK];
    int n = 0;

    switch (nd->op) {
    case OP_reshape:
        return *a;
    case OP_transpose:
        access_axes(mem, a, &nd->type, index);
        for (int i = 0; i < nd->type.rank; i++)
            out[nd->attr.v[i]] = index[i];
        return access_make(arg, out);
    case OP_expand:
        access_axes(mem, a, &nd->type, index);
        for (int i = 0; i < nd->type.rank; i++)
            if (!attr_has(nd->attr.v, nd->attr.n / 2, i))
                out[n++] = index[i];
        return access_make(arg, out);
    case OP_element:
        access_axes(mem, a, &nd->type, index);
        for (int i = 0; i < arg->rank; i++)
            out[i] = i == nd->attr.v[SCAN_AXIS] ? access_step(mem, nd) : index[n++];
        return access_make(arg, out);
    case OP_slice: case OP_pad: case OP_window:
        access_axes(mem, a, &nd->type, index);
        neighbours(mem, nd, arg, index, out);
        return access_make(arg, out);
    case OP_one_hot:
        access_axes(mem, a, &nd->type, index);
        return access_make(arg, index);       /* the class axis is the last */
    default:
        assert(!"movement");
        return *a;
    }
}
