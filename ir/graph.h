/* graph.h - static computation graphs, and the module that holds them.
 *
 * Nodes are immutable, hash-consed when made and stored so that arguments come
 * before users.  So common subexpressions need no pass, dead code is what is
 * not reached when a graph is copied from its writes, a.id == b.id is equality,
 * and a pass writes a new graph instead of damaging its input.
 *
 * A node has one result.  An operation with several (a scan's carries, attention's
 * log-sum-exp) gives the first as its own value and the others through `part`
 * nodes that name it, so that every pass may go on keeping one entry a node; no
 * operation needs that yet.
 */
#ifndef NND_IR_GRAPH_H
#define NND_IR_GRAPH_H

#include "ir/diag.h"
#include "ir/op.h"

typedef struct Module Module;
typedef struct Graph Graph;
typedef struct Plan Plan;

typedef struct Ref { int id; } Ref;        /* 0 is no node; printed %1, %2, ... */

typedef struct Node {
    Op         op;
    int        narg;
    const Ref *arg;
    Attr       attr;
    Type       type;
    Loc        loc;                         /* of the first that made it; not part of its identity */
    const char *why;                        /* what fuse says of it, for people; NULL: nothing */
    int        kernel;                      /* given by fuse: from 1 in order of execution; 0: computed where it is used */
} Node;

/* After the step, slot holds value.  A slot is written at most once in a graph. */
typedef struct Write { int slot; Ref value; Loc loc; } Write;

/* minimize loss over param[]: autodiff writes d loss / d param[i] to the slot grad[i]. */
typedef struct Minimize { Ref loss; int n; const int *param, *grad; Loc loc; } Minimize;

/* The order is that of NndEntryKind; ENTRY_UPDATE is no entry but the graph from gradients
 * to new values, which the pass update joins to each train graph. */
typedef enum EntryKind { ENTRY_INIT, ENTRY_TRAIN, ENTRY_EVAL, ENTRY_INFER, ENTRY_UPDATE, NENTRY } EntryKind;
extern const char *const entry_name[NENTRY];

struct Graph {
    Module   *m;
    EntryKind entry;
    int64_t   batch;                        /* rows of fields, inputs and outputs; 0 for init and update */
    Node     *node;  int nnode, cnode;      /* node[1..nnode-1]; use graph_at */
    Write    *write; int nwrite, cwrite;
    Minimize *min;   int nmin, cmin;
    int       nkernel;                      /* after fuse: kernels 1..nkernel */
    int      *bucket; int nbucket; int *chain;   /* hash table over nodes */
    /* Set by simplify for the copy it makes: asked before a node is made, may give another one's Ref instead. */
    Ref     (*rewrite)(Graph *g, const Node *nd, void *ctx);
    void     *rewrite_ctx;
};

typedef enum SlotKind {
    SLOT_param, SLOT_state, SLOT_optim,     /* outlive a step */
    SLOT_grad,                              /* joins autodiff to update; gone after it */
    SLOT_field, SLOT_input, SLOT_output,    /* a row a sample; type without the batch axis, in a graph with it */
    SLOT_scalar,                            /* f64 without axes: step, steps, epoch, and every `input float` */
    SLOT_metric,                            /* a figure of each batch; the loss is the first */
    NSLOT
} SlotKind;
extern const char *const slot_kind_name[NSLOT];

enum { SPLIT_TRAIN, SPLIT_TEST, SPLIT_VALID, NSPLIT };     /* as NND_SPLIT_* */
extern const char *const split_name[NSPLIT];

typedef enum SourceFormat {                 /* in the order of NndFormat */
    SOURCE_NONE, SOURCE_IDX, SOURCE_NPY, SOURCE_NPZ, SOURCE_CSV, SOURCE_BYTES, SOURCE_CHARACTERS, SOURCE_IMAGES,
    SOURCE_ROWS, SOURCE_SHARE, NSOURCE
} SourceFormat;
extern const char *const source_name[NSOURCE];

/* Where a field's rows of one split come from; the members are those of NndSource in runtime/abi.h. */
typedef struct FieldSource {
    SourceFormat format;
    const char  *file, **part; int npart;
    int64_t      stride, number;
    double       from, to;
} FieldSource;

typedef struct Slot {
    const char *name;
    SlotKind    kind;
    Type        type;
    Loc         loc;
    int64_t     bound;                      /* field, input: values lie in 0..bound-1; 0: no bound */
    double      value;                      /* scalar: what the model text says */
    FieldSource source[NSPLIT];             /* field */
} Slot;

typedef struct Expect { int split, metric, compare; double value; const char *text; Loc loc; } Expect;

/* To what the factors of a contraction may be rounded, where the target is faster for it: sums are of f32 in any case. */
typedef enum Precision { PRECISION_f32, PRECISION_tf32, PRECISION_bf16, NPRECISION } Precision;
extern const char *const precision_name[NPRECISION];

/* The train block's settings, for the image. */
typedef struct TrainInfo {
    bool     present;
    int64_t  epochs, batch;
    uint64_t seed;
    Precision precision;
    int64_t  require_bytes;       /* state and scratch together at most; 0: no matter */
    Expect  *expect; int nexpect;
} TrainInfo;

struct Module {
    Arena      mem;
    Diag       diag;
    const char *name;                       /* the model's */
    const char *text;                       /* the model file's */
    bool       float64;                     /* --float 64: f32 means f64 */
    bool       explain;                     /* graphs are printed with what fuse says of their nodes, as comments */
    Slot      *slot;  int nslot, cslot;
    int       *slot_by_name, nname;         /* slots + 1 by their names' hashes, nname places or none; 0: free */
    Graph    **graph; int ngraph, cgraph;   /* the entries in order, each at its batch */
    Graph     *update;
    Plan     **plan;                        /* after lower: plan[i] of graph[i] */
    TrainInfo  train;
    const char **label; int nlabel, clabel; /* names of the classes */
    /* Dimensions whose size is the caller's choice: while the frontend checks a model it gives the batch a
     * size that nothing else has, and messages print the name where they meet it.  NULL: print numbers. */
    const char *dim_name; int64_t dim_probe;
};

Module *module_new(void);
void    module_free(Module *m);
/* A source whose texts are in mem. */
FieldSource source_copy(Arena *mem, const FieldSource *s);
int     module_slot(Module *m, const char *name);                 /* its number, -1 if there is none */
int     module_add_slot(Module *m, const char *name, SlotKind kind, Type type, Loc loc);
Graph  *module_graph(Module *m, EntryKind e, int64_t batch);      /* NULL if there is none */
void    module_add_graph(Module *m, Graph *g);
/* A slot's type as a graph of this batch sees it: fields, inputs and outputs, which have rows, get the batch axis.
 * So they have fewer than MAX_RANK axes of their own. */
bool    slot_has_rows(SlotKind kind);
/* Does it outlive a step: param, state, optim? */
bool    slot_is_kept(SlotKind kind);
/* A scalar slot's number: 0 step, 1 steps, 2 epoch, which every step has; from 3 on the `input float`s in order. */
int64_t slot_scalar_number(const Module *m, int slot);
Type    slot_type(const Slot *s, int64_t batch);
/* As ty_str, with sizes that are multiples of m->dim_probe printed by m->dim_name. */
char   *ty_str_in(Module *m, const Type *t);

Graph      *graph_new(Module *m, EntryKind e, int64_t batch);
const Node *graph_at(const Graph *g, Ref r);

/* graph_make - a node, or the equal one that is there already.
 * given: the result's type for operations whose rule is `given`; NULL otherwise.
 * On arguments that don't fit: returns id 0 and *error is one sentence; error NULL: asserts. */
Ref graph_make(Graph *g, Op op, Loc loc, int narg, const Ref *arg, Attr attr, const Type *given, const char **error);

/* The same for makers that can't be wrong (passes): asserts that the arguments fit. */
Ref graph_op1(Graph *g, Op op, Loc loc, Ref a);
Ref graph_op2(Graph *g, Op op, Loc loc, Ref a, Ref b);
Ref graph_op3(Graph *g, Op op, Loc loc, Ref a, Ref b, Ref c);
Ref graph_const(Graph *g, Loc loc, Type t, double x);             /* every element x */
Ref graph_read(Graph *g, Loc loc, int slot);
Ref graph_cast(Graph *g, Loc loc, Ref a, Dtype d);                /* a itself if it has that dtype */
Ref graph_axes(Graph *g, Op op, Loc loc, Ref a, int n, const int64_t *axis);          /* sum, max, min */
Ref graph_expand(Graph *g, Loc loc, Ref a, int n, const int64_t *axis, const int64_t *size);
Ref graph_reshape(Graph *g, Loc loc, Ref a, int rank, const int64_t *dim);
Ref graph_transpose(Graph *g, Loc loc, Ref a, const int64_t *perm);
void graph_write(Graph *g, Loc loc, int slot, Ref value);
void graph_minimize(Graph *g, Loc loc, Ref loss, int n, const int *param, const int *grad);

/* graph_copy - what the writes and minimizes of from reach, into a new graph, in from's order.
 *
 * make   gives the copy of each reached node, with its arguments already copied in arg[];
 *        NULL copies as it is.  ctx is handed through.
 * Kernel numbers are copied when make is NULL. */
typedef Ref GraphMake(Graph *to, const Node *nd, const Ref *arg, void *ctx);
Graph *graph_copy(const Graph *from, GraphMake *make, void *ctx);
Ref    graph_clone_node(Graph *to, const Node *nd, const Ref *arg);       /* the default of make */
/* The same without the copying of writes: map[id] is each node's copy; for joining two graphs. */
void   graph_copy_into(Graph *to, const Graph *from, Ref *map, const bool *want, GraphMake *make, void *ctx);
void   graph_reach(const Graph *g, Ref r, bool *want);                    /* marks r and all it depends on */
void   graph_reach_ends(const Graph *g, bool *want);                      /* what writes and losses depend on */
bool  *graph_live(const Graph *g);                                        /* marks of what writes and minimizes reach, by node */
void   graph_copy_ends(Graph *to, const Graph *from, const Ref *map);     /* writes and minimizes, of the copies */
bool   graph_holds(const Graph *g, Op op);

/* Floating-point operations (ir/flops.c): a node's, and those of all that a graph's writes and losses reach. */
double      node_flops(const Graph *g, const Node *nd);
double      graph_flops(const Graph *g);

/* text (ir/graph_text.c) - see ir/README.md for the form.  Reading back gives the same module node by node. */
void    graph_print(FILE *f, const Graph *g);
void    module_print(FILE *f, const Module *m);         /* files, slots, graphs, update, plans */
Module *module_read(const char *name, const char *text, size_t len);      /* messages in m->diag; m->diag.nerror != 0: not to be used but freed */

/* verify (ir/verify.c) - what must hold of a graph; NULL, or one sentence with the node's number and place. */
const char *graph_verify(Graph *g);

#endif
