/* rules.h - the rows of rules.def and what their conditions are given. */
#ifndef NND_PASSES_RULES_H
#define NND_PASSES_RULES_H

#include "ir/expr.h"
#include "ir/graph.h"

enum { RULE_NODES = 4 };                 /* the most operations a pattern has */

/* A pattern that fits. */
typedef struct Match {
    Graph      *g;
    const Node *node[RULE_NODES];        /* its operations in the order the pattern names them from outside in;
                                            node[0], the outermost, is not in the graph yet */
    Ref         bound[26];               /* what each letter stands for */
    bool        arg_shared;              /* node[0]'s first argument has other users, or may have */
    Attr        attr;                    /* set by the condition: attribute of the replacement's outermost operation */
} Match;

typedef bool RuleCondition(Match *mt);

#define EXACT          (-1)
#define REASSOC(ulps)  (ulps)

typedef struct RuleInfo {
    const char    *name, *pattern, *replacement, *condition_name;
    RuleCondition *condition;
    int            ulps;                 /* EXACT, or how far the result may move */
} RuleInfo;

typedef enum Rule {
#define RULE(name, pattern, replacement, condition, kind) RULE_##name,
#include "passes/rules.def"
#undef RULE
    NRULE
} Rule;
extern const RuleInfo rule_info[NRULE];

/* Both sides of a rule, read. */
typedef struct RuleExpr { Expr *pattern, *replacement; Op root; } RuleExpr;      /* root: the pattern's operation */
const RuleExpr *rules_parse(Arena *mem);                    /* NRULE of them */

/* rules_match, rules_replace (match.c) - does a rule fit a node whose arguments are in g, and what takes
 * the node's place then.
 * nd          the node, not in g yet; kept in mt, so it must live until rules_replace
 * arg_shared  see Match */
bool rules_match(const RuleExpr *rule, Rule which, Graph *g, const Node *nd, bool arg_shared, Match *mt);
Ref  rules_replace(const RuleExpr *rule, Rule which, const Match *mt);

/* The operation that an expression names; false for a name or a number. */
bool rules_op(const Expr *e, Op *op);
bool rules_number(const Expr *e, double *x);                /* 2, -2 */
bool rules_is_const_name(const char *name);                 /* c, d, e */

/* rules_weight - the weight of an expression whose names weigh weight[letter] (at least 1).
 *
 * A number, and what is computed from constants alone, weighs 1; a negation 1 more than its argument; any
 * other operation its own weight and twice its arguments' (a library function four times: x^2 may become
 * x * x).  It is linear in the names' weights, so a rule that makes it less when all names weigh 1, and
 * raises no name's factor, always makes it less, wherever the expression stands. */
double rules_weight(const Expr *e, const double weight[26]);

/* fold_constant (fold.c) - the constant that nd is, if its value follows from constants alone; id 0 if it
 * does not, or if finite ones give an infinity or a nan: that is better found where it is computed. */
Ref fold_constant(Graph *g, const Node *nd);

#endif
