/* frontend.h - from .nnd text to a module of graphs. */
#ifndef NND_FRONTEND_FRONTEND_H
#define NND_FRONTEND_FRONTEND_H

#include "ir/graph.h"

/* -D name=value: replaces the value of a const of the model file. */
typedef struct Define { const char *name; double value; } Define;

typedef struct FrontOptions {
    bool          float64;
    const Define *define; int ndefine;
    bool          values;            /* the file's own values are wanted (nnd run), not its model */
    /* The text of an imported file, in mem; NULL with the reason in *why.  open NULL: there are no other files. */
    const char *(*open)(void *ctx, Arena *mem, const char *path, size_t *len, const char **why);
    void         *ctx;
} FrontOptions;

/* A parsed file: its AST, the prelude's, and the messages about them. */
typedef struct Model Model;

/* model_parse - never NULL.  name is what messages call the file.  The options must outlive the model. */
Model      *model_parse(const char *name, const char *text, size_t len, const FrontOptions *o);
const Diag *model_diag(const Model *md);          /* nerror and text, of everything done with md so far */
void        model_free(Model *md);
void        model_print(FILE *f, const Model *md);   /* the user's AST as text (nnd dump --after parse) */

/* model_check - builds every entry with the batch N at a size that nothing else has, so that a shape which
 * fits by chance doesn't pass.  All mistakes are reported to the model's diag.  Returns the module, from which
 * fields, bounds, files, scalars, metrics and TrainInfo can be read (owned by the model), or NULL after errors. */
const Module *model_check(Model *md);

/* After model_check: what model_build makes are the file's own values, init and one infer of batch 1. */
bool          model_has_values(const Model *md);

typedef struct EntryWant { EntryKind entry; int64_t batch; } EntryWant;

/* model_build - the module with just these entries at these batch sizes; of a model that model_check passed.
 * steps, epoch etc. are scalars, so nothing else is fixed here.  The caller frees it with module_free.
 * The module holds the update graph if a train entry is wanted. */
Module *model_build(Model *md, const EntryWant *want, int nwant);

#endif
