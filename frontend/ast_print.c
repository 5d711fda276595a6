/* ast_print.c - the AST as legal .nnd text; parsing it gives the same tree. */
#include <string.h>

#include "frontend/ast.h"

static void print_expr(FILE *f, const Expr *e, int level);

/* weakest first, as ir/expr.c has them */
static int level_of(const Expr *e)
{
    static const struct { const char *name; int level; } of[] = {
        { "or", 1 }, { "and", 2 }, { "eq", 4 }, { "ne", 4 }, { "lt", 4 }, { "le", 4 }, { "gt", 4 }, { "ge", 4 },
        { "add", 5 }, { "sub", 5 }, { "mul", 6 }, { "div", 6 }, { "matmul", 6 }, { "pow", 8 },
    };

    if (e->kind == EXPR_UNARY)
        return !strcmp(e->name, "not") ? 3 : 7;
    for (size_t i = 0; e->kind == EXPR_BINARY && i < sizeof of / sizeof *of; i++)
        if (!strcmp(of[i].name, e->name))
            return of[i].level;
    return 9;
}

static const char *sign(const char *name)
{
    static const char *const of[][2] = {
        { "or", "or" }, { "and", "and" }, { "eq", "==" }, { "ne", "!=" }, { "lt", "<" }, { "le", "<=" }, { "gt", ">" },
        { "ge", ">=" }, { "add", "+" }, { "sub", "-" }, { "mul", "*" }, { "div", "/" }, { "matmul", "@" }, { "pow", "^" },
    };

    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (!strcmp(of[i][0], name))
            return of[i][1];
    return name;
}

static void print_text(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            fputc('\\', f);
        fputs(*s == '\n' ? "\\n" : *s == '\t' ? "\\t" : (char[]){ *s, 0 }, f);
    }
    fputc('"', f);
}

static void print_args(FILE *f, const Expr *e, const char *open, const char *close)
{
    fputs(open, f);
    for (int i = 0; i < e->narg; i++) {
        fputs(i ? ", " : "", f);
        if (e->argname && e->argname[i])
            fprintf(f, "%s: ", e->argname[i]);
        print_expr(f, e->arg[i], 0);
    }
    fputs(close, f);
}

static void print_call(FILE *f, const Expr *e)
{
    if (e->label)
        fputs(e->label, f);
    if (e->label_index) {
        fputc('[', f);
        print_expr(f, e->label_index, 0);
        fputc(']', f);
    }
    fprintf(f, "%s%s", e->label ? ": " : "", e->name);
    print_args(f, e, "(", ")");
}

static void print_binary(FILE *f, const Expr *e, int level)
{
    bool power = level == 8;

    print_expr(f, e->arg[0], power ? level + 1 : level);
    fprintf(f, power ? "%s" : " %s ", sign(e->name));
    /* comparisons don't chain, a power's exponent is read as one with a sign */
    print_expr(f, e->arg[1], power ? 7 : level + 1);
}

static void print_expr(FILE *f, const Expr *e, int level)
{
    int own = level_of(e);

    if (own < level || (own == 4 && level == 4))
        fputc('(', f);
    switch (e->kind) {
    case EXPR_NUMBER: fputs(e->name, f); break;
    case EXPR_STRING: print_text(f, e->name); break;
    case EXPR_NAME:   fputs(e->name, f); break;
    case EXPR_NEXT:   fprintf(f, "%s'", e->name); break;
    case EXPR_CALL:   print_call(f, e); break;
    case EXPR_UNARY:
        fputs(own == 3 ? "not " : "-", f);
        print_expr(f, e->arg[0], own);
        break;
    case EXPR_BINARY: print_binary(f, e, own); break;
    case EXPR_LIST:   print_args(f, e, "[", "]"); break;
    }
    if (own < level || (own == 4 && level == 4))
        fputc(')', f);
}

static void print_type(FILE *f, const TypeExpr *t)
{
    fputs(t->name, f);
    for (int i = 0; i < t->ndim; i++) {
        fputs(i ? ", " : "[", f);
        print_expr(f, t->dim[i], 0);
        fputs(t->run[i] ? "..." : "", f);
    }
    fputs(t->has_dims ? t->ndim ? "]" : "[]" : "", f);
}

static void print_body(FILE *f, const Ast *a, int indent);

static void print_if(FILE *f, const Ast *a, int indent)
{
    fputs("if ", f);
    print_expr(f, a->value, 0);
    print_body(f, a->body, indent);
    if (a->other && a->other->kind == AST_IF && !a->other->next) {
        fputs(" else ", f);
        print_if(f, a->other, indent);
    } else if (a->other) {
        fputs(" else", f);
        print_body(f, a->other, indent);
    }
}

static void print_statement(FILE *f, const Ast *a, int indent)
{
    fprintf(f, "%*s", 4 * indent, "");
    switch (a->kind) {
    case AST_ASSIGN:   fprintf(f, "%s = ", a->name); break;
    case AST_NEXT:     fprintf(f, "%s' = ", a->name); break;
    case AST_METRIC:   fprintf(f, "metric %s = ", a->name); break;
    case AST_COLLECT:  fprintf(f, "collect %s = ", a->name); break;
    case AST_RETURN:   fputs("return ", f); break;
    case AST_MINIMIZE: fputs("minimize ", f); break;
    case AST_THEN:     fputs("then", f); break;
    case AST_SHOW:     fputs("show ", f); break;
    case AST_FREEZE:
        fputs("freeze ", f);
        print_args(f, a->value, "", "");
        break;
    case AST_PARAM:
    case AST_STATE:
    case AST_CARRY:
        fprintf(f, "%s %s: ", a->kind == AST_PARAM ? "param" : a->kind == AST_STATE ? "state" : "carry", a->name);
        print_type(f, &a->type);
        fputs(" = ", f);
        break;
    case AST_FOR:
        fprintf(f, "for %s in ", a->name);
        print_expr(f, a->value, 0);
        fputs("..", f);
        print_expr(f, a->limit, 0);
        print_body(f, a->body, indent);
        break;
    case AST_SCAN:
        for (int i = 0; i < a->value->narg; i++) {
            fprintf(f, "%s%s in ", i ? ", " : "scan ", a->limit->arg[i]->name);
            print_expr(f, a->value->arg[i], 0);
        }
        print_body(f, a->body, indent);
        break;
    case AST_IF: print_if(f, a, indent); break;
    case AST_SETTING:
        fprintf(f, "%s: ", a->name);
        for (int i = 0; i < a->value->narg; i++) {
            fputs(i ? ", " : "", f);
            print_expr(f, a->value->arg[i], 0);
            if (a->limit->arg[i]->narg)
                print_args(f, a->limit->arg[i], " on ", "");
        }
        break;
    }
    if (a->kind != AST_FOR && a->kind != AST_SCAN && a->kind != AST_IF && a->kind != AST_SETTING && a->kind != AST_FREEZE && a->kind != AST_THEN)
        print_expr(f, a->value, 0);
    if (a->kind == AST_MINIMIZE && a->limit) {
        fputs(" over ", f);
        print_args(f, a->limit, "", "");
    }
    if (a->kind == AST_MINIMIZE && a->with) {
        fputs(" with ", f);
        print_expr(f, a->with, 0);
    }
    fputc('\n', f);
}

static void print_body(FILE *f, const Ast *a, int indent)
{
    fputs(" {\n", f);
    for (; a; a = a->next)
        print_statement(f, a, indent + 1);
    fprintf(f, "%*s}", 4 * indent, "");
}

static void print_params(FILE *f, const Decl *d)
{
    fputc('(', f);
    for (int i = 0; i < d->nparam; i++) {
        fprintf(f, "%s%s: %s", i ? ", " : "", d->param[i].name, d->param[i].input ? "input " : "");
        print_type(f, &d->param[i].type);
        if (d->param[i].init) {
            fputs(" = ", f);
            print_expr(f, d->param[i].init, 0);
        }
    }
    fputc(')', f);
    if (d->result.name) {
        fputs(" -> ", f);
        print_type(f, &d->result);
    }
}

/* A binding with a type is a state in the tree, and has no word in the text. */
static void print_value(FILE *f, const Ast *a)
{
    if (a->kind != AST_STATE) {
        print_statement(f, a, 0);
        return;
    }
    fprintf(f, "%s: ", a->name);
    print_type(f, &a->type);
    fputs(" = ", f);
    print_expr(f, a->value, 0);
    fputc('\n', f);
}

static void print_decl(FILE *f, const Decl *d)
{
    static const char *const word[] = { "const", "data", "model", "fn", "optimizer", "gradients", "train" };

    fprintf(f, "%s %s", word[d->kind], d->name);
    if (d->kind == DECL_CONST) {
        fputs(" = ", f);
        print_expr(f, d->value, 0);
    } else {
        if (d->kind == DECL_TRAIN)
            fprintf(f, " on %s", d->data);
        else
            print_params(f, d);
        print_body(f, d->body, 0);
    }
    fputc('\n', f);
}

void ast_print(FILE *f, const Decl *d)
{
    fputs("nnd 1\n", f);
    for (; d; d = d->next) {
        fputc('\n', f);
        if (d->kind == DECL_VALUE) {
            print_value(f, d->body);
        } else if (d->kind == DECL_IMPORT) {
            fputs("import ", f);
            print_text(f, d->name);
            fputc('\n', f);
        } else {
            print_decl(f, d);
        }
    }
}
