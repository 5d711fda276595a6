/* lower_tile.c - statements of kernels that write their own tiles: loops, locals and what is done with them. */
#include "passes/lower_tile.h"

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

void tile_open_if(const Tiles *t, Open *o, Affine at, int64_t size)
{
    Stmt *s = low_add(t->lo, ST_WITHIN, t->loc);

    s->id = t->lo->k->nvalue++;
    s->dtype = DT_bool;
    s->nguard = 1;
    s->guard = arena_new(t->mem, Guard);
    *s->guard = (Guard){ at, size };
    o->loop = low_add(t->lo, ST_IF, t->loc);
    o->loop->narg = 1;
    o->loop->arg[0] = s->id;
    o->outer = t->lo->out;
    o->body = (KList){ 0 };
    t->lo->out = &o->body;
}

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

/* NND_LANES of a local folded to one */
int tile_fold(const Tiles *t, Op op, int local, Affine at)
{
    Stmt *s = on_local(t, ST_FOLD, local, at);

    s->op = op;
    s->count = NND_LANES;
    return s->id = t->lo->k->nvalue++;
}

int tile_let(const Tiles *t, Op op, int x, int y, int z)
{
    return low_let(t->lo, t->loc, op, t->dtype, t->dtype, op_info[op].narg, (int[]){ x, y, z });
}
