/* fuse.h - the state of fuse while it works on one graph. */
#ifndef NND_PASSES_FUSE_H
#define NND_PASSES_FUSE_H

#include "ir/scan.h"
#include "passes/pass.h"

typedef struct FuseKernel {
    Type      domain;      /* shape of its results */
    uint64_t *deps;        /* bit j: needs kernel j, directly or not */
    int       member;      /* its nodes: this one, then Fuse.next of it, ...; those that sank are still listed */
    int       scan;        /* in whose body it runs, 0: none */
    bool      alone;       /* a deferred write's copy, or it stores as it goes: nothing joins it */
} FuseKernel;

typedef struct Fuse {
    Graph      *g;
    Arena      *mem;
    const Limits *limits;
    int        *kernel;    /* of each node; 0: floats to its users */
    const char **must;     /* why it needs memory: written, or read many times by a contraction; NULL: it may do without */
    const char **why;      /* of each node, for people: why it is not with its neighbours, or is */
    int        *nuse;      /* users, a write counts as one */
    bool       *alone;     /* copies made for deferred writes */
    FuseKernel *k;         /* k[1..nk] */
    int        *next;      /* of each node: another of its kernel, 0 ends */
    const int  *scan;      /* of each node, as scan_of_nodes */
    const int64_t *steps;  /* of each scan */
    int        *leave;     /* of each scan: the kernel that stands for all of it and computes nothing; 0: none yet */
    int        *group;     /* of each node: the gradient of attention that it is part of, from 1; 0: of none */
    int         nk, words; /* kernels so far; words of deps */
} Fuse;

/* Does kernel k read the slot's value from before the step?  elsewhere: only reads at other elements
 * than the one being written, or inside its head's loops. */
bool fuse_reads(const Fuse *f, int k, int slot, bool elsewhere);
bool fuse_slot_written(const Fuse *f, int slot);

/* Node id floats and is used by kernel k: marks what k uses through it as used inside k or stored for it. */
void fuse_mark_inside(const Fuse *f, int id, int k, bool *inside, bool *stored);

/* What of attention goes together (fuse_attention.c): sets group; the kernel that finds id besides what it is for, 0: none. */
void fuse_attention(Fuse *f);
int  fuse_with_attention(const Fuse *f, int id);

/* What is stored only for other kernels floats, where it follows from one stored value at little cost (fuse_again.c). */
void fuse_again(Fuse *f);

/* fuse_order - numbers kernels in an order in which they can run and writes the numbers to the nodes.
 * Returns -1, or a slot whose write must be deferred before there is such an order. */
int fuse_order(Fuse *f);

#endif
