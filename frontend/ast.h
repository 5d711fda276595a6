/* ast.h - a .nnd file as it was written: names, calls, places. */
#ifndef NND_FRONTEND_AST_H
#define NND_FRONTEND_AST_H

#include "ir/expr.h"

/* f32[N, 784], int, tensor; a dim is an expression, or a run of axes `S...`. */
typedef struct TypeExpr {
    Loc         loc;
    const char *name;             /* NULL: no type was written */
    int         ndim;
    bool        has_dims;
    Expr      **dim;              /* of a run: the name S */
    bool       *run;
} TypeExpr;

typedef struct Param { const char *name; Loc loc; TypeExpr type; bool input; Expr *init; } Param;

typedef enum AstKind {
    AST_ASSIGN,     /* name = value */
    AST_NEXT,       /* name' = value */
    AST_PARAM,      /* param name: type = value */
    AST_STATE,      /* state name: type = value */
    AST_RETURN,     /* return value */
    AST_FOR,        /* for name in value..limit { body } */
    AST_SCAN,       /* scan name, name in value, value { body }: the values a list, in limit the names */
    AST_CARRY,      /* carry name: type = value; in a scan */
    AST_COLLECT,    /* collect name = value; in a scan */
    AST_IF,         /* if value { body } else { other } */
    AST_MINIMIZE,   /* minimize value [over name, name [with optimizer]]: the names in limit, a list, or NULL */
    AST_THEN,       /* then: between losses, alone on its line */
    AST_FREEZE,     /* freeze name, name: a list */
    AST_SHOW,       /* show value; outside of blocks only */
    AST_METRIC,     /* metric name = value */
    AST_SETTING     /* name: value [on pattern, ...] [, value ...]: the values a list, in limit a list of patterns for each */
} AstKind;

typedef struct Ast Ast;
struct Ast {
    AstKind     kind;
    Loc         loc;
    const char *name;
    TypeExpr    type;
    Expr       *value, *limit, *with;
    Ast        *body, *other, *next;
};

typedef enum DeclKind {
    DECL_CONST, DECL_DATA, DECL_MODEL, DECL_FN, DECL_OPTIMIZER, DECL_GRADIENTS, DECL_TRAIN,
    DECL_IMPORT,                  /* name is the path as written */
    DECL_VALUE                    /* a statement outside of blocks: name = value, name: type = value, show value */
} DeclKind;

typedef struct Decl Decl;
struct Decl {
    DeclKind    kind;
    Loc         loc;              /* of the name */
    const char *name;             /* of train: the model's */
    const char *data;             /* of train: the data block's */
    Loc         data_loc;
    Param      *param; int nparam;
    TypeExpr    result;
    Expr       *value;            /* of a const */
    Ast        *body;             /* of data: settings; of a value: its one statement */
    bool        owns;             /* of fn, model: it or what it calls has parameters or states (find_owners) */
    Decl       *next;
};

/* ast_parse - the declarations of one source, in order; mistakes are reported to d and skipped over. */
Decl *ast_parse(Arena *mem, Diag *d, int source);

/* ast_print - as legal .nnd text again. */
void  ast_print(FILE *f, const Decl *decl);

#endif
