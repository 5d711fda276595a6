/* op.h - the table of operations, and what an attribute holds. */
#ifndef NND_IR_OP_H
#define NND_IR_OP_H

#include "ir/type.h"

typedef enum Op {
#define OP(name, nargs, attr, props, type, cls, domain, eval, grad) OP_##name,
#include "ir/ops.def"
#undef OP
    NOP
} Op;

typedef enum Class { CLASS_POINT, CLASS_REDUCE, CLASS_MOVE, CLASS_INDEX, CLASS_FOLD, CLASS_LOOP, CLASS_EDGE } Class;

/* Where tests sample an operation's arguments. */
typedef enum Domain { DOM_ANY, DOM_POS, DOM_UNIT, DOM_NZ, DOM_KINK, DOM_INT, DOM_BOOL, DOM_none } Domain;

enum { PROP_COMM = 1, PROP_CHEAP = 2, PROP_MATH = 4 };

/* An attribute is a list of integers; its kind says what they mean. */
typedef enum AttrKind {
    ATTR_NONE,
    ATTR_AXES,     /* axes of the argument, ascending               sum %1 {0, 2}             */
    ATTR_EXPAND,   /* k axes of the result, ascending, then k sizes  expand %1 {0: 64}         */
    ATTR_SHAPE,    /* sizes of the result                            reshape %1 {64, 784}      */
    ATTR_PERM,     /* result axis i is the argument's axis v[i]      transpose %1 {1, 0}       */
    ATTR_DOT,      /* nb, nc, a's batch axes, b's, a's folded axes, b's   dot %1, %2 {batch 0:0, fold 2:1} */
    ATTR_DTYPE,    /* a Dtype                                        cast %1 {f32}             */
    ATTR_SLOT,     /* a slot's number in the module                  read @fc1.weight          */
    ATTR_VALUE,    /* the bits of a double                           const 0.5                 */
    ATTR_STREAM,   /* 32 bits that name a random stream              random {stream 77}        */
    ATTR_AXIS,     /* one axis of the argument (iota: of the result; gather: axes in front that go along) cumsum %1 {1} */
    ATTR_DEPTH,    /* a size K                                       one_hot %1 {10}           */
    /* lists of groups of numbers */
    ATTR_SLICE,    /* each axis: start, step, count                  slice %1 {0 1 64, 27 -1 28}        */
    ATTR_PAD,      /* each axis: before, behind; last the value      pad %1 {0 0, 1 1} -inf             */
    ATTR_WINDOW,   /* windowed axes: axis, size, stride, dilation    window %1 {2 3 1 1, 3 3 1 1}       */
    ATTR_OVERLAP,  /* the same, and the axis' size in the result     overlap %1 {2 3 1 1 28, 3 3 1 1 28} */
    ATTR_CONV,     /* each spatial axis: stride, before, behind, dilation of x, of w   conv %1, %2 {1 2 2 1 1, 1 2 2 1 1} */
    ATTR_ROWS,     /* axes in front that go along, the number of rows   scatter %1, %2 {0, 256}              */
    ATTR_SCORES,   /* causal (0 or 1), the bits of a double    attention %1, %2, %3 {causal} 0.125, or {all} */
    ATTR_PATCH,    /* each axis: step, window, apart, tap, taps, size (ir/op_sparse.c)   spread %1, %2, %3 {2 2 1 1 3 30} */
    ATTR_TAPS,     /* each axis: tap, taps, size                     collect %1, %2, %3 {1 3 30, 1 3 30} */
    ATTR_LOOP,     /* the scan's number, its steps, an axis or a carry's number, 1: steps run backwards   element %1 {0, 28, 1, 0} */
    NATTR
} AttrKind;

typedef struct Attr { int n; const int64_t *v; } Attr;

/* What a type rule is given; on a mistake it calls infer_error, which puts the operation's name before
 * the sentence, and returns rank -1. */
typedef struct Infer {
    Arena      *mem;
    Op          op;
    int         narg;
    const Type *arg;
    const Attr *attr;
    const Type *given;     /* the type stated by the maker; for rules `given` and `slot` */
    DimName     dim;       /* how messages print the batch; {0}: as a number */
    char       *error;     /* one sentence, "dot: inner sizes differ, ..." */
} Infer;

typedef struct OpInfo {
    const char *name;
    int         narg;
    AttrKind    attr;
    unsigned    props;
    Class       cls;
    Domain      domain;
    Type      (*type)(Infer *);
    const char *type_name;
    const char *gradient;
} OpInfo;

extern const OpInfo op_info[NOP];
extern const char *const class_name[];
extern const char *const domain_name[];

bool op_parse(const char *name, Op *op);

/* Numbers in a group of an attribute of this kind; 0: it has none. */
int attr_group(AttrKind kind);
/* Is number i of such an attribute of n numbers the size of an axis? */
bool attr_is_size(AttrKind kind, int n, int i);

/* op_type - the result's type; rank -1 and in->error set if the arguments or the attribute don't fit. */
Type op_type(Infer *in);
Type infer_error(Infer *in, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

enum { MAX_LOOPS = 1 << 16 };    /* scans of a graph */

/* The parts of a dot's attribute. */
typedef struct DotAxes { int nb, nc; const int64_t *ab, *bb, *ac, *bc; } DotAxes;
DotAxes attr_dot(const Attr *a);
bool    attr_has(const int64_t *v, int n, int64_t x);

double  attr_value(const Attr *a);                       /* of a const; of a pad: attr_pad_value */
double  attr_pad_value(const Attr *a);
double  attr_scale(const Attr *a);                       /* of an attention */
bool    attr_causal(const Attr *a);
Attr    attr_scores(Arena *mem, bool causal, double scale);
Attr    attr_make(Arena *mem, int n, const int64_t *v);  /* a copy in mem */
Attr    attr_double(Arena *mem, double x);
Attr    attr_dot_make(Arena *mem, int nb, const int64_t *ab, const int64_t *bb, int nc, const int64_t *ac, const int64_t *bc);

/* What a conv does along one spatial axis, and sizes that follow from it. */
typedef struct ConvAxis { int64_t stride, before, behind, dilate_x, dilate_w; } ConvAxis;
ConvAxis attr_conv(const Attr *a, int axis);
/* What a spread or collect does along one axis: ir/op_sparse.c; of a collect, only tap, taps and size. */
typedef struct PatchAxis { int64_t step, window, apart, tap, taps, size; } PatchAxis;
int     patch_axes(Op op, const Attr *a);
PatchAxis attr_patch(Op op, const Attr *a, int axis);
/* Elements between the first and the last of n that stand so far apart, both counted. */
int64_t span(int64_t n, int64_t apart);

#endif
