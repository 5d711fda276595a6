/* expr.h - expressions, as .nnd bodies, the gradients in ops.def and the rules in rules.def write them.
 *
 *   or   and   not   == != < <= > >=   + -   * / @   unary -   ^ (right)   call( )  x'  |>
 *
 * |> binds weakest: x |> f(a) is the call f(x, a).
 */
#ifndef NND_IR_EXPR_H
#define NND_IR_EXPR_H

#include "ir/lex.h"

typedef enum ExprKind {
    EXPR_NUMBER,    /* number, is_int, integer */
    EXPR_STRING,    /* name is the text */
    EXPR_NAME,      /* name, dots included: "fc1.weight" */
    EXPR_NEXT,      /* x': name */
    EXPR_CALL,      /* name(arg...), label: name(...), label[index]: name(...); argname[i] NULL if positional */
    EXPR_UNARY,     /* name is the operation: "neg", "not" */
    EXPR_BINARY,    /* name is the operation: "add" "sub" "mul" "div" "pow" "matmul" "eq" "ne" "lt" "le" "gt" "ge" "and" "or" */
    EXPR_LIST       /* [arg, ...] */
} ExprKind;

typedef struct Expr Expr;
struct Expr {
    ExprKind     kind;
    Loc          loc;          /* the whole expression */
    Loc          name_loc;     /* the operator, the called name, or as loc */
    const char  *name;
    const char  *label;        /* of a call, or NULL */
    Expr        *label_index;  /* blocks[l]: ..., or NULL */
    double       number;
    bool         is_int;
    int64_t      integer;
    int          narg;
    Expr       **arg;
    const char **argname;
    Loc         *argname_loc;
    int          height;       /* of the tree, while it is read: never more than EXPR_DEPTH */
};

enum { EXPR_DEPTH = 256 };     /* deeper nesting, and longer sums, are errors of the text: readers of trees recurse */

/* expr_parse - reads one expression; NULL after a reported error.
 * tables: labels, named arguments, strings and lists are not allowed. */
Expr *expr_parse(Lexer *lx, Arena *mem, Diag *d, bool tables);

/* expr_table - the expressions of a table's column, separated by ";".  Text of our own: asserts that it parses.
 * n  on return, their number; an expression that is "-" alone is NULL. */
Expr **expr_table(Arena *mem, const char *text, int *n);

#endif
