/* options.h - the command line, parsed by the table options.def. */
#ifndef NND_FRONTEND_OPTIONS_H
#define NND_FRONTEND_OPTIONS_H

#include "frontend/frontend.h"

typedef enum Command {
#define COMMAND(name, operand, doc) CMD_##name,
#include "frontend/options.def"
    NCOMMAND
} Command;

typedef enum OptionId {
#define OPTION(name, letter, kind, operand, commands, doc) OPTION_##name,
#include "frontend/options.def"
    NOPTION
} OptionId;

/* One option's value, by its kind. */
typedef struct OptionValue {
    bool        given;
    const char *text;      /* TEXT, CHOICE */
    int64_t     count;     /* COUNT */
    uint64_t    seed;      /* SEED */
} OptionValue;

typedef struct Options {
    Arena       mem;
    Command     command;
    const char *file;      /* the command's operand, NULL if none was given */
    OptionValue value[NOPTION];
    Define     *define; int ndefine, cdefine;
    char       *error;     /* one sentence, if parsing failed */
} Options;

typedef enum OptionsResult { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG } OptionsResult;

/* options_parse - reads the whole command line.
 *
 * Options stand before or after the command and its file; --name value and --name=value are the same,
 * -- ends the options.  There are no abbreviations: they would freeze the set of names.
 *
 * Returns OPTIONS_RUN; OPTIONS_HELP if help was asked for (o->command is NCOMMAND for the overview); or
 * OPTIONS_WRONG with o->error.  Texts point into argv or o->mem; free with options_free. */
OptionsResult options_parse(Options *o, int argc, char **argv);
void          options_free(Options *o);

/* options_help - the overview (o->command is NCOMMAND) or the command's page. */
void        options_help(FILE *f, Options *o);
const char *command_name(Command c);

/* options_suggest - "; did you mean `--seed`?" if one of n names is near to word, else "".
 * before  what stands before the name when it is written, such as "--" */
const char *options_suggest(Options *o, const char *word, const char *before, const char *const *name, int n);

#endif
