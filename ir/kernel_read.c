/* kernel_read.c - kernels of .ir text, as ir/kernel_text.c prints them.
 *
 * Only the form is looked at here, and that numbers fit; whether a plan holds together is plan_verify's question.
 */
#include <stdlib.h>
#include <string.h>

#include "ir/kernel_read.h"

enum { MAX_DEPTH = 64, MAX_LOCALS = 1 << 16 };

static const int64_t MOST = (int64_t)1 << 48;      /* of a coefficient: sums of a few products stay far from 2^63 */

/* ---- numbers and indices ---- */

static void at_least(int *n, int64_t least)
{
    if (*n < least)
        *n = (int)least;
}

/* b3, i0, l1: a letter and a number */
bool kernel_read_numbered(KernelReader *r, char letter, int64_t most, int *number)
{
    Token t = lex_peek(r->t.lx, 0);
    char *end;

    if (t.kind != TOK_NAME || t.text[0] != letter || t.text[1] < '0' || t.text[1] > '9')
        return read_error(&r->t, t.loc, "wants `%c` and a number", letter);

    unsigned long long x = strtoull(t.text + 1, &end, 10);
    if (*end || x > (unsigned long long)most)
        return read_error(&r->t, t.loc, "wants `%c` and a number up to %lld", letter, (long long)most);
    lex_next(r->t.lx);
    *number = (int)x;
    return true;
}

static bool read_value(KernelReader *r, int *id)
{
    int64_t x;

    if (!read_punct(&r->t, "%") || !read_int(&r->t, "a value's number", 0, NODE_LIMIT, &x))
        return false;
    at_least(&r->k->nvalue, x + 1);
    *id = (int)x;
    return true;
}

/* One of the numbers and products that an index is the sum of; term->var -1: a number. */
static bool read_product(KernelReader *r, bool negative, Term *term)
{
    term->var = -1;
    term->coef = 1;
    if (lex_peek(r->t.lx, 0).kind == TOK_NUMBER) {
        if (!read_int(&r->t, "a number of an index", 0, MOST, &term->coef))
            return false;
        if (lex_take(r->t.lx, "*") && !kernel_read_numbered(r, 'i', NODE_LIMIT, &term->var))
            return false;
    } else if (!kernel_read_numbered(r, 'i', NODE_LIMIT, &term->var)) {
        return false;
    }
    term->coef = negative ? -term->coef : term->coef;
    return true;
}

static bool add_product(KernelReader *r, Affine *a, Term *term, Term x, Loc at)
{
    if (x.var < 0) {
        a->base = x.coef;
        return true;
    }
    if (a->base || (a->n && term[a->n - 1].var >= x.var) || a->n == MAX_DEPTH || !x.coef)
        return read_error(&r->t, at, "an index is a sum over loop variables in ascending order, then a number");
    at_least(&r->k->nvar, x.var + 1);
    term[a->n++] = x;
    return true;
}

static bool read_affine(KernelReader *r, Affine *a)
{
    Term *term = arena_array(&r->t.m->mem, Term, MAX_DEPTH);
    bool  negative = lex_take(r->t.lx, "-"), more = true;

    *a = (Affine){ .term = term };
    while (more) {
        Loc  at = lex_peek(r->t.lx, 0).loc;
        Term x;

        if (!read_product(r, negative, &x) || !add_product(r, a, term, x, at))
            return false;
        negative = x.var >= 0 && lex_is(r->t.lx, "-");
        more = x.var >= 0 && (negative || lex_is(r->t.lx, "+"));
        if (more)
            lex_next(r->t.lx);
    }
    return true;
}

static bool read_at(KernelReader *r, Affine *at)
{
    return read_punct(&r->t, "[") && read_affine(r, at) && read_punct(&r->t, "]");
}

/* ---- values ---- */

static bool read_dtype(KernelReader *r, Dtype *d)
{
    Loc  at = lex_peek(r->t.lx, 0).loc;
    Type t;

    if (!read_type(&r->t, &t))
        return false;
    *d = t.dtype;
    return !t.rank || read_error(&r->t, at, "wants a type without axes");
}

/* Behind a value: " : f32 from i32" */
static bool read_result(KernelReader *r, Stmt *s)
{
    if (!read_punct(&r->t, ":") || !read_dtype(r, &s->dtype))
        return false;
    if (s->kind != ST_LET)
        return true;
    s->from = s->dtype;
    return !lex_take(r->t.lx, "from") || read_dtype(r, &s->from);
}

static bool read_buffer_number(KernelReader *r, Stmt *s)
{
    Loc at = lex_peek(r->t.lx, 0).loc;

    return kernel_read_numbered(r, 'b', NODE_LIMIT, &s->buf) &&
           (s->buf < r->p->nbuf || read_error(&r->t, at, "there is no buffer b%d", s->buf));
}

static bool read_load(KernelReader *r, Stmt *s)
{
    if (!read_buffer_number(r, s))
        return false;
    if (r->p->buf[s->buf].seg != SEG_FIELD)
        return read_at(r, &s->at);
    return read_punct(&r->t, "[") && read_punct(&r->t, "row") && read_affine(r, &s->row) && read_punct(&r->t, "]") &&
           read_at(r, &s->at);
}

static bool read_index(KernelReader *r, Stmt *s) { return read_affine(r, &s->at); }

/* i0 - 2 < 28, i1 < 28 */
static bool read_within(KernelReader *r, Stmt *s)
{
    int room = 0;

    do {
        Guard g;

        if (!read_affine(r, &g.at) || !read_punct(&r->t, "<") || !read_int(&r->t, "a size", 1, MOST, &g.size))
            return false;
        arena_push(&r->t.m->mem, s->guard, s->nguard, room);
        s->guard[s->nguard++] = g;
    } while (lex_take(r->t.lx, ","));
    return true;
}

static bool read_random(KernelReader *r, Stmt *s)
{
    int64_t stream;

    if (!read_int(&r->t, "a stream", 0, UINT32_MAX, &stream))
        return false;
    s->stream = (uint32_t)stream;
    return read_at(r, &s->at);
}

static bool read_local_number(KernelReader *r, Stmt *s)
{
    Loc at = lex_peek(r->t.lx, 0).loc;

    return kernel_read_numbered(r, 'l', MAX_LOCALS, &s->local) &&
           (s->local < r->nlocal || read_error(&r->t, at, "there is no local l%d yet", s->local));
}

static bool read_get(KernelReader *r, Stmt *s) { return read_local_number(r, s) && read_at(r, &s->at); }

static bool read_op(KernelReader *r, Stmt *s)
{
    Token word;

    if (!read_word(&r->t, "an operation", &word))
        return false;
    if (!op_parse(word.text, &s->op) || op_info[s->op].cls != CLASS_POINT)
        return read_error(&r->t, word.loc, "there is no operation `%s` on one element", word.text);
    return true;
}

static bool read_fold(KernelReader *r, Stmt *s)
{
    return read_op(r, s) && read_local_number(r, s) && read_punct(&r->t, "[") && read_affine(r, &s->at) &&
           read_punct(&r->t, "..") && read_int(&r->t, "a number of elements", 1, MOST, &s->count) &&
           read_punct(&r->t, "]");
}

static bool read_let(KernelReader *r, Stmt *s)
{
    if (!read_op(r, s))
        return false;
    for (s->narg = 0; s->narg < op_info[s->op].narg; s->narg++)
        if ((s->narg && !read_punct(&r->t, ",")) || !read_value(r, &s->arg[s->narg]))
            return false;
    return true;
}

static bool starts_number(KernelReader *r)
{
    return lex_peek(r->t.lx, 0).kind == TOK_NUMBER || lex_is(r->t.lx, "-") || lex_is(r->t.lx, "inf") ||
           lex_is(r->t.lx, "nan");
}

/* Behind a load's type: " if %7" */
static bool read_condition(KernelReader *r, Stmt *s)
{
    s->narg = lex_take(r->t.lx, "if");
    return !s->narg || read_value(r, &s->arg[0]);
}

/* %3 = ... : f32 */
static bool read_definition(KernelReader *r, Stmt *s)
{
    static const struct { const char *word; StmtKind kind; bool (*read)(KernelReader *, Stmt *); } form[] = {
        { "load", ST_LOAD, read_load }, { "index", ST_INDEX, read_index }, { "random", ST_RANDOM, read_random },
        { "get", ST_GET, read_get },    { "fold", ST_FOLD, read_fold },   { "within", ST_WITHIN, read_within },
    };

    if (!read_value(r, &s->id) || !read_punct(&r->t, "="))
        return false;
    if (starts_number(r)) {
        s->kind = ST_CONST;
        return read_double(&r->t, "a number", &s->number) && read_result(r, s);
    }
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        if (lex_take(r->t.lx, form[i].word)) {
            s->kind = form[i].kind;
            return form[i].read(r, s) && read_result(r, s) && (s->kind != ST_LOAD || read_condition(r, s));
        }
    }
    s->kind = ST_LET;
    return read_let(r, s) && read_result(r, s);
}

/* ---- other statements ---- */

static bool read_marks(KernelReader *r, Stmt *s)
{
    int64_t lanes = 0;

    s->par = lex_take(r->t.lx, "par");
    s->grid = lex_take(r->t.lx, "grid");
    s->block = lex_take(r->t.lx, "block");
    s->async = s->block && lex_take(r->t.lx, "async");
    if (lex_take(r->t.lx, "vec") && !read_int(&r->t, "a number of lanes", 1, INT16_MAX, &lanes))
        return false;
    s->lanes = (int)lanes;
    lanes = 0;
    if (lex_take(r->t.lx, "sieve") && !read_int(&r->t, "a number of iterations", 1, INT16_MAX, &lanes))
        return false;
    s->sieve = (int)lanes;
    s->unroll = lex_take(r->t.lx, "unroll");
    s->blas = lex_take(r->t.lx, "blas");
    return true;
}

/* A place and statements in braces; `at` is where what they belong to began. */
static bool read_body(KernelReader *r, Stmt *s, Loc at)
{
    if (++r->depth > MAX_DEPTH)
        return read_error(&r->t, at, "more than %d loops in each other", MAX_DEPTH);
    if (!read_place(&r->t, &s->loc) || !read_punct(&r->t, "{") || !kernel_read_list(r, &s->body))
        return false;
    r->depth--;
    return true;
}

static bool read_for(KernelReader *r, Stmt *s)
{
    Loc at = lex_peek(r->t.lx, 0).loc;

    s->kind = ST_FOR;
    if (!kernel_read_numbered(r, 'i', NODE_LIMIT, &s->id) || !read_punct(&r->t, "<") ||
        !read_int(&r->t, "a number of iterations", 1, MOST, &s->extent) || !read_marks(r, s))
        return false;
    at_least(&r->k->nvar, (int64_t)s->id + 1);
    return read_body(r, s, at);
}

static bool read_if(KernelReader *r, Stmt *s)
{
    Loc at = lex_peek(r->t.lx, 0).loc;

    s->kind = ST_IF;
    s->narg = 1;
    return read_value(r, &s->arg[0]) && read_body(r, s, at);
}

static bool read_pick(KernelReader *r, Stmt *s)
{
    s->kind = ST_PICK;
    s->narg = 1;
    if (!kernel_read_numbered(r, 'i', NODE_LIMIT, &s->id) || !read_punct(&r->t, "<") ||
        !read_int(&r->t, "a number of places", 1, MOST, &s->extent) || !read_punct(&r->t, "=") || !read_value(r, &s->arg[0]))
        return false;
    at_least(&r->k->nvar, (int64_t)s->id + 1);
    return true;
}

/* part i9 < 28 = 256*i0 + i1 / 28 */
static bool read_part(KernelReader *r, Stmt *s)
{
    s->kind = ST_PART;
    if (!kernel_read_numbered(r, 'i', NODE_LIMIT, &s->id) || !read_punct(&r->t, "<") ||
        !read_int(&r->t, "a number of places", 1, MOST, &s->extent) || !read_punct(&r->t, "=") || !read_affine(r, &s->at) ||
        !read_punct(&r->t, "/") || !read_int(&r->t, "what a digit counts", 1, MOST, &s->count))
        return false;
    at_least(&r->k->nvar, (int64_t)s->id + 1);
    return true;
}

static bool read_store(KernelReader *r, Stmt *s)
{
    s->kind = ST_STORE;
    s->narg = 1;
    if (!read_buffer_number(r, s) || !read_at(r, &s->at) || !read_punct(&r->t, ",") || !read_value(r, &s->arg[0]))
        return false;
    s->dtype = r->p->buf[s->buf].dtype;
    return true;
}

static bool read_set(KernelReader *r, Stmt *s)
{
    s->kind = ST_SET;
    s->narg = 1;
    if (!read_local_number(r, s) || !read_at(r, &s->at) || !read_punct(&r->t, ",") || !read_value(r, &s->arg[0]))
        return false;
    s->dtype = r->local[s->local];
    return true;
}

/* f32[16]: a dtype and how many of it */
bool kernel_read_array(KernelReader *r, Dtype *d, int64_t *count)
{
    Loc  at = lex_peek(r->t.lx, 0).loc;
    Type t;

    if (!read_type(&r->t, &t))
        return false;
    *d = t.dtype;
    *count = t.dim[0];
    return t.rank == 1 || read_error(&r->t, at, "wants a type with one axis");
}

/* memory, or group, or each 8 = 0, or = 0 */
static bool read_scope(KernelReader *r, Stmt *s)
{
    s->scope = lex_take(r->t.lx, "group") ? SCOPE_GROUP : lex_take(r->t.lx, "memory") ? SCOPE_MEMORY : SCOPE_OWN;
    if (s->scope != SCOPE_OWN)
        return true;
    if (lex_take(r->t.lx, "each")) {
        s->scope = SCOPE_EACH;
        if (!read_int(&r->t, "elements of each thread", 1, MOST, &s->each))
            return false;
    }
    return read_punct(&r->t, "=") && read_double(&r->t, "a number", &s->number);
}

static bool read_local(KernelReader *r, Stmt *s)
{
    s->kind = ST_LOCAL;
    if (!kernel_read_numbered(r, 'l', MAX_LOCALS, &s->id) || !read_punct(&r->t, ":") || !kernel_read_array(r, &s->dtype, &s->count) ||
        !read_scope(r, s))
        return false;
    while (r->nlocal <= s->id) {
        arena_push(&r->t.m->mem, r->local, r->nlocal, r->clocal);
        r->local[r->nlocal++] = s->dtype;
    }
    r->local[s->id] = s->dtype;
    at_least(&r->k->nlocal, (int64_t)s->id + 1);
    return true;
}

static bool read_wait(KernelReader *r, Stmt *s)
{
    s->kind = ST_WAIT;
    return read_int(&r->t, "a number of async loops", 0, INT16_MAX, &s->count);
}

/* l0[i4 : 20], the second perhaps turned */
static bool read_operand(KernelReader *r, Stmt *s, int i)
{
    Stmt of = { .local = 0 };

    if (!read_punct(&r->t, ",") || !read_local_number(r, &of) || !read_punct(&r->t, "[") || !read_affine(r, &s->guard[i].at) ||
        !read_punct(&r->t, ":") || !read_int(&r->t, "elements from row to row", 1, MOST, &s->guard[i].size))
        return false;
    s->operand[i] = of.local;
    s->turned = i && lex_take(r->t.lx, "turned");
    return read_punct(&r->t, "]");
}

static bool read_mma(KernelReader *r, Stmt *s)
{
    Token word;

    s->kind = ST_MMA;
    if (!read_word(&r->t, "tf32 or bf16", &word))
        return false;
    s->bf16 = !strcmp(word.text, "bf16");
    if (!s->bf16 && strcmp(word.text, "tf32"))
        return read_error(&r->t, word.loc, "wants tf32 or bf16");
    s->nguard = 2;
    s->guard = arena_array(&r->t.m->mem, Guard, 2);
    if (!read_local_number(r, s) || !read_at(r, &s->at) || !read_operand(r, s, 0) || !read_operand(r, s, 1))
        return false;
    s->dtype = r->local[s->local];
    return true;
}

static bool read_stmt(KernelReader *r, Stmt *s)
{
    bool ok;

    if (lex_take(r->t.lx, "for"))
        return read_for(r, s) && read_line_end(&r->t);
    if (lex_take(r->t.lx, "if"))
        return read_if(r, s) && read_line_end(&r->t);
    if (lex_take(r->t.lx, "store"))
        ok = read_store(r, s);
    else if (lex_take(r->t.lx, "set"))
        ok = read_set(r, s);
    else if (lex_take(r->t.lx, "pick"))
        ok = read_pick(r, s);
    else if (lex_take(r->t.lx, "part"))
        ok = read_part(r, s);
    else if (lex_take(r->t.lx, "local"))
        ok = read_local(r, s);
    else if (lex_take(r->t.lx, "wait"))
        ok = read_wait(r, s);
    else if (lex_take(r->t.lx, "mma"))
        ok = read_mma(r, s);
    else
        ok = read_definition(r, s);
    return ok && read_place(&r->t, &s->loc) && read_line_end(&r->t);
}

/* Statements to the closing brace. */
bool kernel_read_list(KernelReader *r, Stmt **first)
{
    KList l = { 0 };

    while (!text_at_end(&r->t, "}")) {
        if (!read_stmt(r, kern_add(&r->t.m->mem, &l, ST_CONST, (Loc){ 0 })))
            return false;
    }
    *first = l.first;
    return read_punct(&r->t, "}");
}
