/* kernel_text.c - plans and kernels as text: what ir/kernel_read.c reads back, statement by statement.
 *
 *   plan train 64 {
 *     buffer b0 : state+0 f32[39200] @fc1.weight
 *     buffer b1 : field 0 u8[784] @image
 *     buffer b2 : scratch+? f32[3200] live 1..3 node 12
 *     scratch 12800
 *     kernel k1 "dot add sigmoid" scheduled flops 5017600 !0:12:9+3 {
 *       ...
 *     }
 *   }
 *
 * An offset that is still unknown is `?`.  `from` names the dtype of the arguments where it isn't the result's.
 */
#include <inttypes.h>

#include "ir/kernel.h"
#include "ir/text.h"

static void print_affine(FILE *f, Affine a)
{
    for (int i = 0; i < a.n; i++) {
        int64_t coef = a.term[i].coef;
        /* as an unsigned number the least int64 has a size, too */
        uint64_t size = coef < 0 ? 0 - (uint64_t)coef : (uint64_t)coef;

        fputs(coef < 0 ? (i ? " - " : "-") : (i ? " + " : ""), f);
        if (size != 1)
            fprintf(f, "%" PRIu64 "*", size);
        fprintf(f, "i%d", a.term[i].var);
    }
    if (!a.n)
        fprintf(f, "%" PRId64, a.base);
    else if (a.base)
        fprintf(f, " %c %" PRIu64, a.base < 0 ? '-' : '+', a.base < 0 ? 0 - (uint64_t)a.base : (uint64_t)a.base);
}

static void print_at(FILE *f, char what, int number, Affine at)
{
    fprintf(f, "%c%d[", what, number);
    print_affine(f, at);
    fputc(']', f);
}

/* p NULL: no one knows which buffers are fields, and a row is printed where it isn't 0. */
static void print_load(FILE *f, const Plan *p, const Stmt *s)
{
    bool field = p ? p->buf[s->buf].seg == SEG_FIELD : s->row.n || s->row.base;

    fputs("load ", f);
    if (!field) {
        print_at(f, 'b', s->buf, s->at);
        return;
    }
    fprintf(f, "b%d[row ", s->buf);
    print_affine(f, s->row);
    fputs("][", f);
    print_affine(f, s->at);
    fputc(']', f);
}

static void print_guards(FILE *f, const Stmt *s)
{
    fputs("within", f);
    for (int i = 0; i < s->nguard; i++) {
        fputs(i ? ", " : " ", f);
        print_affine(f, s->guard[i].at);
        fprintf(f, " < %" PRId64, s->guard[i].size);
    }
}

static void print_let(FILE *f, const Stmt *s)
{
    fputs(op_info[s->op].name, f);
    for (int i = 0; i < s->narg; i++)
        fprintf(f, "%s%%%d", i ? ", " : " ", s->arg[i]);
}

static void print_value(FILE *f, const Plan *p, const Stmt *s)
{
    fprintf(f, "%%%d = ", s->id);
    switch (s->kind) {
    case ST_LET:    print_let(f, s); break;
    case ST_CONST:  text_double(f, s->number); break;
    case ST_LOAD:   print_load(f, p, s); break;
    case ST_INDEX:  fputs("index ", f); print_affine(f, s->at); break;
    case ST_WITHIN: print_guards(f, s); break;
    case ST_RANDOM: fprintf(f, "random %" PRIu32 " [", s->stream); print_affine(f, s->at); fputc(']', f); break;
    case ST_GET:    fputs("get ", f); print_at(f, 'l', s->local, s->at); break;
    case ST_FOLD:
        fprintf(f, "fold %s l%d[", op_info[s->op].name, s->local);
        print_affine(f, s->at);
        fprintf(f, " .. %" PRId64 "]", s->count);
        break;
    case ST_FOR: case ST_STORE: case ST_LOCAL: case ST_SET: case ST_PICK: case ST_PART: case ST_IF: case ST_WAIT: case ST_MMA: break;
    }
    fprintf(f, " : %s", dt_name(s->dtype));
    if (s->kind == ST_LET && s->from != s->dtype)
        fprintf(f, " from %s", dt_name(s->from));
    if (s->kind == ST_LOAD && s->narg)
        fprintf(f, " if %%%d", s->arg[0]);
}

static void print_for(FILE *f, const Stmt *s)
{
    fprintf(f, "for i%d < %" PRId64, s->id, s->extent);
    if (s->par)
        fputs(" par", f);
    if (s->grid)
        fputs(" grid", f);
    if (s->block)
        fputs(s->async ? " block async" : " block", f);
    if (s->lanes)
        fprintf(f, " vec %d", s->lanes);
    if (s->sieve)
        fprintf(f, " sieve %d", s->sieve);
    if (s->unroll)
        fputs(" unroll", f);
    if (s->blas)
        fputs(" blas", f);
}

static void print_local(FILE *f, const Stmt *s)
{
    fprintf(f, "local l%d : %s[%" PRId64 "]", s->id, dt_name(s->dtype), s->count);
    if (s->scope == SCOPE_GROUP || s->scope == SCOPE_MEMORY) {
        fputs(s->scope == SCOPE_GROUP ? " group" : " memory", f);
        return;
    }
    if (s->scope == SCOPE_EACH)
        fprintf(f, " each %" PRId64, s->each);
    fputs(" = ", f);
    text_double(f, s->number);
}

/* mma tf32 l2[8*i3], l0[i4 : 20], l1[i5 : 72] */
static void print_mma(FILE *f, const Stmt *s)
{
    fputs(s->bf16 ? "mma bf16 " : "mma tf32 ", f);
    print_at(f, 'l', s->local, s->at);
    for (int i = 0; i < 2; i++) {
        fprintf(f, ", l%d[", s->operand[i]);
        print_affine(f, s->guard[i].at);
        fprintf(f, " : %" PRId64 "%s]", s->guard[i].size, i && s->turned ? " turned" : "");
    }
}

static void print_stmt(FILE *f, const Plan *p, const Stmt *s)
{
    switch (s->kind) {
    case ST_STORE:
        fputs("store ", f);
        print_at(f, 'b', s->buf, s->at);
        fprintf(f, ", %%%d", s->arg[0]);
        break;
    case ST_SET:
        fputs("set ", f);
        print_at(f, 'l', s->local, s->at);
        fprintf(f, ", %%%d", s->arg[0]);
        break;
    case ST_LOCAL:
        print_local(f, s);
        break;
    case ST_WAIT:
        fprintf(f, "wait %" PRId64, s->count);
        break;
    case ST_MMA:
        print_mma(f, s);
        break;
    case ST_PICK:
        fprintf(f, "pick i%d < %" PRId64 " = %%%d", s->id, s->extent, s->arg[0]);
        break;
    case ST_PART:
        fprintf(f, "part i%d < %" PRId64 " = ", s->id, s->extent);
        print_affine(f, s->at);
        fprintf(f, " / %" PRId64, s->count);
        break;
    case ST_LET: case ST_CONST: case ST_LOAD: case ST_INDEX: case ST_RANDOM: case ST_GET: case ST_FOLD:
    case ST_WITHIN:
        print_value(f, p, s);
        break;
    case ST_FOR:
        print_for(f, s);
        break;
    case ST_IF:
        fprintf(f, "if %%%d", s->arg[0]);
        break;
    }
    text_place(f, s->loc);
}

static void print_list(FILE *f, const Plan *p, const Stmt *s, int indent)
{
    for (; s; s = s->next) {
        fprintf(f, "%*s", indent, "");
        print_stmt(f, p, s);
        if (s->kind == ST_FOR || s->kind == ST_IF) {
            fputs(" {\n", f);
            print_list(f, p, s->body, indent + 2);
            fprintf(f, "%*s}", indent, "");
        }
        fputc('\n', f);
    }
}

static void print_kernel(FILE *f, const Plan *p, const Kernel *k, int indent)
{
    fprintf(f, "%*skernel %s ", indent, "", k->name);
    text_string(f, k->what ? k->what : "");
    if (k->scan)
        fprintf(f, " scan %d %" PRId64, k->scan, k->steps);
    if (k->scheduled)
        fputs(" scheduled", f);
    fputs(" flops ", f);
    text_double(f, k->flops);
    text_place(f, k->loc);
    fputs(" {\n", f);
    print_list(f, p, k->body, indent + 2);
    fprintf(f, "%*s}\n", indent, "");
}

void kernel_print(FILE *f, const Kernel *k) { print_kernel(f, NULL, k, 0); }

static void print_buffer(FILE *f, const Plan *p, int i)
{
    const Buffer *b = &p->buf[i];
    bool          has_bytes = b->seg == SEG_STATE || b->seg == SEG_SCRATCH;

    fprintf(f, "  buffer b%d : %s%s", i, seg_name[b->seg], has_bytes ? "+" : " ");
    if (b->offset < 0)
        fputc('?', f);
    else
        fprintf(f, "%" PRId64, b->offset);
    fprintf(f, " %s[%" PRId64 "]", dt_name(b->dtype), b->count);
    if (b->slot >= 0)
        fprintf(f, " @%s", p->m->slot[b->slot].name);
    if (b->seg == SEG_SCRATCH)
        fprintf(f, " live %d..%d", b->first, b->last);
    if (b->node)
        fprintf(f, " node %d", b->node);
    fputc('\n', f);
}

void plan_print(FILE *f, const Plan *p)
{
    fprintf(f, "plan %s", entry_name[p->entry]);
    if (p->batch)
        fprintf(f, " %" PRId64, p->batch);
    fputs(" {\n", f);
    for (int i = 0; i < p->nbuf; i++)
        print_buffer(f, p, i);
    if (p->scratch_bytes >= 0)
        fprintf(f, "  scratch %" PRId64 "\n", p->scratch_bytes);
    for (int i = 0; i < p->nkernel; i++)
        print_kernel(f, p, p->kernel[i], 2);
    fputs("}\n", f);
}
