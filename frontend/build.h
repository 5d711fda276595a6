/* build.h - the elaborator: functions are unfolded at their calls, names become nodes.
 *
 * What a name means while a body is read:
 *   number   known now: integers exactly, floats as double, truths; dimensions are integers
 *   text, list, runs of axes, `all`
 *   node     of the graph; a step scalar is an f64 node without axes made of constants, settings and step scalars
 */
#ifndef NND_FRONTEND_BUILD_H
#define NND_FRONTEND_BUILD_H

#include "frontend/ast.h"
#include "frontend/frontend.h"

typedef enum ValueKind { VAL_NONE, VAL_NUMBER, VAL_TEXT, VAL_LIST, VAL_RUN, VAL_ALL, VAL_NODE } ValueKind;

typedef struct Value {
    ValueKind   kind;
    Loc         loc;          /* where it came to be, for notes */
    bool        is_int, is_truth;
    bool        of_batch;     /* a number made of the batch, which is the caller's choice: no structure depends on it */
    double      number;
    int64_t     integer;
    const char *text;
    const Expr *list;
    int         nrun; int64_t run[MAX_RANK];
    Ref         ref;
    const Graph *graph;       /* whose node ref is */
    bool        step_scalar;
    bool        step_truth;   /* a comparison of step scalars: it chooses between them */
    unsigned    kept;         /* axes of size 1 that a reduction kept: they stretch */
} Value;

/* value.kind VAL_NONE: the statement that gives it has a mistake, which was reported. */
typedef struct Name { const char *name; Value value; int slot; Value next; bool has_next; } Name;

/* One call's names. */
typedef struct Scope {
    Name        *name; int n, cap;
    const char  *prefix;      /* of the parameters declared here: "fc1." or "" */
    bool         is_optimizer;
    bool         unsure;      /* names may be missing because of a reported mistake: unknown ones are not */
    bool         shared;      /* of an instance that is used again: what it declares is there already */
    /* labels used, "" of the unlabelled model, and counts of unlabelled layers */
    struct Label { const char *name; Loc loc; const Decl *fn; } *label; int nlabel, clabel;
    const char **counted; int *count; int ncounted, ccounted;
    Value        result;
    bool         returned;
} Scope;

/* What a scan keeps from step to step, and what it leaves behind; the scan whose body is being read. */
typedef struct ScanName { const char *name; Loc loc; Ref ref; Value next; } ScanName;
typedef struct ScanBody {
    Loc       loc;
    const Scope *scope;       /* the body's own: calls in it have others */
    int64_t   number, steps;
    ScanName *carry;   int ncarry, ccarry;
    ScanName *collect; int ncollect, ccollect;
} ScanBody;

/* A call being unfolded; errors in built-in text are reported at the innermost caller of the user's. */
typedef struct Frame { const Decl *fn; Loc call; struct Frame *up; } Frame;

/* A const being computed. */
typedef struct Constant { const Decl *decl; struct Constant *up; } Constant;

struct Model {
    Arena               mem;
    Diag                diag;
    const FrontOptions *options;
    Decl               *decl;         /* the prelude's, then the user's */
    int                 user;         /* source number of the user's file */
    const char         *text;
    Module             *checked;
    bool                values;       /* what is built are the file's own values, not its model */
    Define              unused;
};

/* The parameters that a loss trains, and the slots of their gradients. */
typedef struct Trained { int n; int *param, *grad; bool reached; } Trained;

/* One loss of the step: what it trains, and the optimizer behind `with`, or NULL for the train block's. */
typedef struct Learning { Trained trained; Ref loss; const Expr *with; const char *label; Loc loc; } Learning;

/* An optimizer's call, its settings by parameter; on: the names of its parameters, or NULL for all; label: of the loss it
 * stands behind, which is in the names of its inputs. */
typedef struct Optimizer { const Decl *fn; const Expr *call, *on; const char *label; Value *setting; } Optimizer;

/* While a function of all gradients is unfolded: its settings, the gradients as they came and their slots. */
typedef struct EachSum { const Expr *e; Value sum; } EachSum;
typedef struct Each { const Decl *fn; const Value *setting, *g; const int *slot; int n; EachSum *sum; int nsum, csum; } Each;

typedef struct Build {
    Model  *md;
    Module *m;
    Graph  *g;                /* the graph that nodes go to */
    Graph  *init;             /* where initial values go; NULL: they are not wanted */
    bool    training;
    Scope  *scope;
    Frame  *frame;
    Constant *constant;
    int     depth;            /* calls being unfolded */
    int     nesting;          /* expressions being built, over all calls */
    int     nunfolded;        /* calls and loop steps of this graph */
    /* while an initial value is computed */
    int     init_slot;        /* -1: no */
    int     nrandom;          /* random numbers drawn for it */
    int     nnoise;           /* calls of random(x) in this graph */
    int     nvariable;        /* calls of variable(e) in this graph */
    Learning *learn; int nlearn, clearn;      /* of this graph, in the order of the text */
    int     nmoved;           /* of them those before the last `then`: what they train has its new values */
    Loc     then;
    ScanBody *scan;           /* NULL: no scan's body is being read */
    Each       *each;         /* NULL: no function of gradients is being unfolded */
    const char **declared; int ndeclared, cdeclared;     /* slots of this graph, to find two of one name */
    bool    failed;
} Build;

/* errors: false or VAL_NONE is handed upwards, nothing else is reported */
Value build_error(Build *b, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void  build_warning(Build *b, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void  build_note(Build *b, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void  build_note_value(Build *b, const Expr *e, const Value *v);      /* where a named value was declared */
const char *build_describe(Build *b, const Value *v);                 /* "f32[N, 784]", "0.5", "a text" */

/* values (build_value.c) */
Value value_int(int64_t i);
Value value_size(const Build *b, int64_t n);                          /* of an axis or a tensor: it may be the batch */
Value value_float(double x);
Value value_truth(bool t);
Value value_node(Build *b, Ref r, Loc loc);
bool  value_known(const Value *v);                                    /* a number */
const Type *value_type(const Build *b, const Value *v);
Dtype build_float(const Build *b);                                    /* f32, or f64 under --float 64 */
/* Two operands brought to one type: numbers take the other's, step scalars too, axes are expanded. */
bool  build_unify(Build *b, Loc at, const char *what, const Expr *ea, Value *va, const Expr *eb, Value *vb, bool compare);
Value build_node_of(Build *b, Loc at, const Value *v, const Type *like);   /* a number or step scalar as a node of like's type */
Ref   build_make(Build *b, Op op, Loc at, int narg, const Ref *arg, int nattr, const int64_t *attr, const Type *given);

/* names */
Name *scope_find(Scope *s, const char *name);
Name *scope_set(Build *b, const char *name, Value v);
Value build_scalar(Build *b, Loc at, const char *name, double value); /* a scalar slot's value, the slot made if it is new */
const Decl *find_decl(const Model *md, const char *name);

/* numbers (build_number.c) */
bool  is_compare(const char *op);
bool  known_point(Build *b, const Expr *e, Op op, const Value *a, Value *out);         /* false: only the graph knows it */
Value build_number_op(Build *b, const Expr *e, const char *op, const Value *a, const Value *c);

Ref   build_slot_now(Build *b, Loc loc, int slot);                     /* build_body.c: a param's or state's value at this place */

/* expressions (build_expr.c), builtins (build_builtin.c), calls (build_call.c), bodies (build_body.c) */
Value build_value(Build *b, const Expr *e);
bool  build_int(Build *b, const Expr *e, const char *what, int64_t *out);   /* a whole number known now, not of the batch */
bool  build_size(Build *b, const Expr *e, const char *what, int64_t *out);  /* a whole number, or a multiple of the batch */
bool  size_of(Build *b, Loc at, const char *what, const Value *v, int64_t *out);
bool  build_fixed(Build *b, Loc at, const char *what, const Value *v);      /* an error if it depends on the batch */
bool  build_unfold(Build *b, Loc at);                                 /* counts what is written out, an error if it is too much */
bool  build_run(Build *b, const Expr *list, const char *what, Value *run);  /* the whole numbers of a list, as a run */
bool  build_truth(Build *b, const Expr *e, bool *out);                /* a truth known now */
Value build_point(Build *b, const Expr *e, Op op, int narg, Value *arg);
bool  build_builtin(Build *b, const Expr *e, Value *out);             /* false: no builtin has this name */
bool  is_builtin_op(Op op);                                           /* it may be called by its name */
void  find_labels(const Expr *e);                                     /* turns argument names of no builtin into labels */
const char *builtin_name(int i);                                     /* of the i-th builtin, NULL behind the last */
Value build_grad(Build *b, const Expr *e, Op op);                      /* build_grad.c */
Value build_variable(Build *b, const Expr *e, Op op);
bool *build_flow(Build *b, Ref y);                                    /* the nodes that a derivative of y flows back to, by number */
Value build_call(Build *b, const Expr *e);
/* again: an instance that is used once more, with the parameters of the first use */
Value build_instance(Build *b, const Decl *d, const Expr *call, const Value *arg, Loc at, const char *prefix, bool again);
/* scans (build_scan.c) */
bool  build_scan(Build *b, const Ast *a);
bool  build_carry(Build *b, const Ast *a);
bool  build_collect(Build *b, const Ast *a);
bool  build_is_carry(const Build *b, const char *name);
bool  build_carry_next(Build *b, const Ast *a);
bool  build_in_body(Build *b, Ref r);                                 /* it is another value in each step of a scan */
/* false after a mistake, and then all other mistakes are reported too */
bool  build_body(Build *b, const Ast *a);
bool  build_type(Build *b, const TypeExpr *t, Type *out);             /* all its dims are known */
bool  bind_type(Build *b, const TypeExpr *t, const Value *v, Loc at, const char *who);   /* binds its dims' names */
bool  bind_argument(Build *b, const Decl *d, const Param *p, Value *v, Loc at);       /* and sets its name */
void  build_note_decl(Build *b, const Decl *d);                       /* "`linear` is declared here" */
const char *near_callable(Build *b, const char *name);
/* Sets Decl.owns of the functions that declare slots or call one that does: their calls are instances with names. */
void  find_owners(Model *md);

/* the train block: who is meant (build_data.c), settings (build_settings.c), entries (build_train.c) */
const Decl *train_decl(const Model *md);
const Decl *model_decl(const Model *md);                              /* the train block's, or the first; NULL: none */
const Decl *wanted_decl(Build *b, DeclKind kind, const char *word, const char *name, Loc loc);
bool  read_fields(Build *b, const Decl *data);                        /* the fields' names in scope, as nodes */
/* A split's source (build_source.c); first: the slot of the first field, or -1 after a mistake in one. */
bool  build_source(Build *b, const Decl *data, int first, const Ast *setting, int split);
const Ast *find_setting(const Decl *train, const char *name);
bool  is_train_setting(const char *name);
bool  build_settings(Build *b, const Decl *train);

/* optimizers (build_optimizer.c): that behind a loss's `with`, or else those of the train block */
bool  build_optimizers(Build *b, const Decl *train, const Learning *l, Optimizer **list, int *n);
const Optimizer *optimizer_of(Build *b, const Optimizer *list, int n, int param);     /* the first that is on it; NULL after a mistake */
bool  name_matches(const char *slot, const char *pattern);            /* fc1, fc1.weight, *.weight, * */
bool  build_entry(Build *b, EntryKind e, int64_t batch);
/* The slot of an input or output of the model, whose type t has the batch in front; -1 after a mistake. */
int   build_row_slot(Build *b, Loc loc, const char *name, SlotKind kind, Type t);

/* A figure of each batch: false unless v is one number (build_train.c). */
bool  build_figure(Build *b, Loc loc, const char *name, const Value *v);

/* losses (build_minimize.c) */
bool  build_minimize(Build *b, const Decl *train, const Ast *a);
bool  build_is_moved(const Build *b, int slot);                       /* it is trained by a loss before `then` */
bool  build_check_names(Build *b, const Expr *names);                 /* each stands for parameters that the step has met */
bool  check_frozen(Build *b, const Decl *train);                      /* the names behind `freeze` are there */

/* the update graph (build_update.c) */
bool  build_update(Build *b, const Decl *train);
bool  build_then(Build *b, const Decl *train, const Ast *a);          /* the update of what is trained before it, in the step itself */
Value build_sum_each(Build *b, const Expr *e);
const Decl *gradient_function(const Model *md, const char *name);     /* that this setting names; NULL: none */

/* a file's own values (build_run.c): bindings in order, an output for each show */
bool  build_values(Build *b);
bool  has_values(const Model *md);

const char *prelude_name(int i);      /* of the i-th built-in file, NULL behind the last (prelude.c, made by embed.sh) */
const char *prelude_text(int i);

#endif
