/* lower_tile.c - statements of kernels that write their own tiles: loops, locals and what is done with them. */
#include "passes/lower_tile.h"

#include <string.h>

void tile_open(const Tiles *t, Open *o, int64_t extent, Affine *index)
{
    int var = t->lo->k->nvar++;

    *index = aff_var(t->mem, var, 1);
    low_open(t->lo, o, t->loc, var, extent);
}

void tile_open_unrolled(const Tiles *t, Open *o, int64_t extent, Affine *index)
{
    tile_open(t, o, extent, index);
    o->loop->unroll = true;
}

void tile_open_lanes(const Tiles *t, Open *o, int64_t extent, Affine *index)
{
    tile_open_unrolled(t, o, extent, index);
    o->loop->lanes = NND_LANES;
}

void tile_open_block(const Tiles *t, Open *o, int64_t extent, Affine *index)
{
    tile_open(t, o, extent, index);
    o->loop->block = true;
}

void tile_open_grid(const Tiles *t, Open *o, int64_t extent, Affine *index)
{
    tile_open(t, o, extent, index);
    o->loop->grid = true;
}

int tile_within(const Tiles *t, const Guard *guard, int n)
{
    Stmt *s = low_add(t->lo, ST_WITHIN, t->loc);

    s->dtype = DT_bool;
    s->nguard = n;
    s->guard = arena_array(t->mem, Guard, n);
    memcpy(s->guard, guard, (size_t)n * sizeof *guard);
    return s->id = t->lo->k->nvalue++;
}

void tile_open_where(const Tiles *t, Open *o, const Guard *guard, int n)
{
    int within = tile_within(t, guard, n);

    o->loop = low_add(t->lo, ST_IF, t->loc);
    o->loop->narg = 1;
    o->loop->arg[0] = within;
    o->outer = t->lo->out;
    o->body = (KList){ 0 };
    t->lo->out = &o->body;
}

void tile_open_if(const Tiles *t, Open *o, Affine at, int64_t size) { tile_open_where(t, o, &(Guard){ at, size }, 1); }

void tile_close_all(const Tiles *t, Open *o, int n)
{
    while (n > 0)
        low_close(t->lo, &o[--n]);
}

Affine tile_plus(const Tiles *t, Affine x, Affine y) { return aff_add(t->mem, x, y); }

Affine tile_place(const Tiles *t, Affine row, int64_t width, Affine column) { return tile_plus(t, aff_scale(t->mem, row, width), column); }

int tile_declare(const Tiles *t, int64_t count, double start, Scope scope)
{
    Stmt *s = low_add(t->lo, ST_LOCAL, t->loc);

    s->dtype = t->dtype;
    s->count = count;
    s->number = start;
    s->scope = scope;
    return s->id = t->lo->k->nlocal++;
}

int tile_declare_each(const Tiles *t, int64_t threads, int64_t each, double start)
{
    int   id = tile_declare(t, threads * each, start, SCOPE_EACH);

    t->lo->out->last->each = each;
    return id;
}

Affine tile_part(const Tiles *t, Affine number, int64_t by, int64_t extent)
{
    Stmt *s;

    if (extent == 1)
        return aff_const(0);
    s = low_add(t->lo, ST_PART, t->loc);
    s->id = t->lo->k->nvar++;
    s->extent = extent;
    s->count = by;
    s->at = number;
    return aff_var(t->mem, s->id, 1);
}

static Stmt *on_local(const Tiles *t, StmtKind kind, int local, Affine at)
{
    Stmt *s = low_add(t->lo, kind, t->loc);

    s->dtype = t->dtype;
    s->local = local;
    s->at = at;
    return s;
}

int tile_get(const Tiles *t, int local, Affine at)
{
    Stmt *s = on_local(t, ST_GET, local, at);

    return s->id = t->lo->k->nvalue++;
}

void tile_set(const Tiles *t, int local, Affine at, int value)
{
    Stmt *s = on_local(t, ST_SET, local, at);

    s->narg = 1;
    s->arg[0] = value;
}

int tile_fold(const Tiles *t, Op op, int local, Affine at, int64_t count)
{
    Stmt *s = on_local(t, ST_FOLD, local, at);

    s->op = op;
    s->count = count;
    return s->id = t->lo->k->nvalue++;
}

int tile_let(const Tiles *t, Op op, int x, int y, int z)
{
    return low_let(t->lo, t->loc, op, t->dtype, t->dtype, op_info[op].narg, (int[]){ x, y, z });
}

int tile_number(const Tiles *t, double x) { return low_const(t->lo, t->loc, t->dtype, x); }

/* ---- matrices ---- */

static const Node *node(const Lower *lo, int id) { return &lo->g->node[id]; }

TileMatrix tile_matrix(const Lower *lo, int id)
{
    int        rank = lo->domain.rank + 2;
    TileMatrix m = { .node = id, .row = rank - 2, .column = rank - 1 };

    for (int i = 0; i < rank - 2; i++)
        m.batch[i] = i;
    return m;
}

TileMatrix tile_operand(const Lower *lo, int dot, int which)
{
    DotAxes    d = attr_dot(&node(lo, dot)->attr);
    TileMatrix m = { .node = node(lo, dot)->arg[which].id, .column = (int)(which ? d.bc[0] : d.ac[0]) };

    for (int i = 0; i < node(lo, m.node)->type.rank; i++)
        if (i != m.column && !attr_has(which ? d.bb : d.ab, d.nb, i))
            m.row = i;
    for (int i = 0; i < d.nb; i++)
        m.batch[i] = (int)(which ? d.bb : d.ab)[i];
    return m;
}

int64_t tile_rows(const Lower *lo, const TileMatrix *m) { return node(lo, m->node)->type.dim[m->row]; }

int64_t tile_columns(const Lower *lo, const TileMatrix *m) { return node(lo, m->node)->type.dim[m->column]; }

static Access access_of(const Lower *lo, const TileMatrix *m, Affine row, Affine column)
{
    Affine index[MAX_RANK];

    for (int i = 0; i < lo->domain.rank; i++)
        index[m->batch[i]] = lo->index[i];
    index[m->row] = row;
    index[m->column] = column;
    return access_make(&node(lo, m->node)->type, index);
}

TileMatrix tile_turned(const Lower *lo, int id)
{
    const Node *nd = node(lo, id);
    TileMatrix  from = tile_matrix(lo, nd->arg[0].id), m = { .node = id };

    for (int i = 0; i < nd->type.rank; i++) {
        int axis = (int)nd->attr.v[i];

        *(axis == from.row ? &m.row : axis == from.column ? &m.column : &m.batch[axis]) = i;
    }
    return m;
}

int tile_value(const Tiles *t, const TileMatrix *m, Affine row, Affine column, const Guard *guard, int n)
{
    Access at = access_of(t->lo, m, row, column);

    t->lo->nmemo = 0;
    return lower_guarded(t->lo, m->node, &at, guard, n, 0);
}

int tile_load(const Tiles *t, int id, Affine row, Affine column)
{
    TileMatrix m = tile_matrix(t->lo, id);
    Access     at = access_of(t->lo, &m, row, column);

    return low_load(t->lo, node(t->lo, id), t->lo->home[id], &at);
}

static void store(const Tiles *t, TileMatrix m, Affine row, Affine column, int value)
{
    Access at = access_of(t->lo, &m, row, column);

    if (t->lo->home[m.node] >= 0)
        low_store(t->lo, node(t->lo, m.node), t->lo->home[m.node], &at, value);
}

void tile_store(const Tiles *t, int id, Affine row, Affine column, int value)
{
    const Lower *lo = t->lo;

    store(t, tile_matrix(lo, id), row, column, value);
    for (int i = id + 1; i < lo->g->nnode; i++)
        if (node(lo, i)->kernel == lo->number && node(lo, i)->op == OP_transpose && node(lo, i)->arg[0].id == id)
            store(t, tile_turned(lo, i), row, column, value);
}
