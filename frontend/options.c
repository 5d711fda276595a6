/* options.c - the command line by its table: parsing, help, suggestions.
 *
 * Everything is read before anything runs, so a misspelt option never costs a
 * training run.  A mistake is one sentence that names the word, what was wanted,
 * and the nearest word there is.
 */
#include "frontend/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
#define COMMAND(name, operand, doc) BIT_##name = 1 << CMD_##name,
#include "frontend/options.def"
    TRAIN = BIT_train, EVAL = BIT_eval, PREDICT = BIT_predict, COMPILE = BIT_compile, RUN = BIT_run,
    SUMMARY = BIT_summary, CHECK = BIT_check, DUMP = BIT_dump, PROFILE = BIT_profile, OPT = BIT_opt, REDUCE = BIT_reduce,
    DATA = TRAIN | EVAL | PREDICT | COMPILE | PROFILE,                        /* those that read a data set */
    MODEL = TRAIN | EVAL | PREDICT | COMPILE | RUN | SUMMARY | DUMP | PROFILE,  /* those that compile a model */
    EVERY = (1 << NCOMMAND) - 1
};

typedef enum OptionKind { FLAG, TEXT, COUNT, SEED, CHOICE, DEFINE } OptionKind;

typedef struct CommandRow { const char *name, *operand, *doc; } CommandRow;

typedef struct OptionRow {
    const char *name;      /* as in C: with _ for - */
    char        letter;
    OptionKind  kind;
    const char *operand;
    int         commands;
    const char *doc;
} OptionRow;

static const CommandRow command_row[NCOMMAND] = {
#define COMMAND(name, operand, doc) { #name, operand, doc },
#include "frontend/options.def"
};

static const OptionRow option_row[NOPTION] = {
#define OPTION(name, letter, kind, operand, commands, doc) { #name, letter, kind, operand, commands, doc },
#include "frontend/options.def"
};

/* What is known while words are read: options are checked against the command at the end, as it may stand last. */
typedef struct Reader {
    Options *o;
    int      argc, at;
    char   **argv;
    bool     has_command, options_ended;
} Reader;

static bool wrong(Options *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(Options *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    o->error = arena_vprintf(&o->mem, fmt, ap);
    va_end(ap);
    return false;
}

const char *options_suggest(Options *o, const char *word, const char *before, const char *const *name, int n)
{
    const char *near = diag_near(word, name, n);

    return near ? arena_printf(&o->mem, "; did you mean `%s%s`?", before, near) : "";
}

/* The option's name as it is typed. */
static const char *typed(Options *o, const OptionRow *row)
{
    char *name = arena_strdup(&o->mem, row->name);

    for (char *c = name; *c; c++)
        if (*c == '_')
            *c = '-';
    return name;
}

static Command find_command(const char *name)
{
    int c = 0;

    while (c < NCOMMAND && strcmp(command_row[c].name, name) != 0)
        c++;
    return (Command)c;
}

static bool unknown_command(Options *o, const char *word)
{
    const char *name[NCOMMAND];

    for (int i = 0; i < NCOMMAND; i++)
        name[i] = command_row[i].name;
    return wrong(o, "unknown command `%s`%s", word, options_suggest(o, word, "", name, NCOMMAND));
}

/* Only options of this command are suggested, of any command before one is known. */
static bool unknown_option(Options *o, const char *word, int commands)
{
    const char *name[NOPTION];
    int         n = 0;

    for (int i = 0; i < NOPTION; i++)
        if (option_row[i].commands & commands)
            name[n++] = typed(o, &option_row[i]);
    return wrong(o, "unknown option `--%s`%s", word, options_suggest(o, word, "--", name, n));
}

static bool parse_count(Options *o, const OptionRow *row, const char *word, OptionValue *v)
{
    char *end;

    errno = 0;
    v->count = strtoll(word, &end, 10);
    if (end == word || *end || errno || v->count < 1 || v->count > INT32_MAX)
        return wrong(o, "--%s: wants a whole number from 1, got `%s`", typed(o, row), word);
    return true;
}

static bool parse_seed(Options *o, const OptionRow *row, const char *word, OptionValue *v)
{
    char *end;

    errno = 0;
    v->seed = strtoull(word, &end, 10);
    if (end == word || *end || errno || *word < '0' || *word > '9')
        return wrong(o, "--%s: wants a whole number from 0 to 2^64 - 1, got `%s`", typed(o, row), word);
    return true;
}

/* Is word one of a|b|c? */
static bool in_choices(const char *choices, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = choices; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (len && strncmp(at, word, len) == 0 && (at[len] == '|' || at[len] == '\0'))
            return true;
    }
    return false;
}

static bool parse_choice(Options *o, const OptionRow *row, const char *word, OptionValue *v)
{
    v->text = word;
    if (!in_choices(row->operand, word) || strchr(word, '|'))
        return wrong(o, "--%s: wants one of %s, got `%s`", typed(o, row), row->operand, word);
    return true;
}

static bool parse_define(Options *o, const char *word)
{
    const char *eq = strchr(word, '=');
    char       *end;
    double      x = eq ? strtod(eq + 1, &end) : 0;

    if (!eq || eq == word || end == eq + 1 || *end || !isfinite(x))
        return wrong(o, "-D: wants NAME=NUMBER, got `%s`", word);
    arena_push(&o->mem, o->define, o->ndefine, o->cdefine);
    o->define[o->ndefine++] = (Define){ arena_strndup(&o->mem, word, (size_t)(eq - word)), x };
    return true;
}

static bool parse_value(Options *o, OptionId id, const char *word)
{
    const OptionRow *row = &option_row[id];
    OptionValue     *v = &o->value[id];

    v->given = true;
    switch (row->kind) {
    case FLAG:   return true;
    case TEXT:   v->text = word; return true;
    case COUNT:  return parse_count(o, row, word, v);
    case SEED:   return parse_seed(o, row, word, v);
    case CHOICE: return parse_choice(o, row, word, v);
    case DEFINE: return parse_define(o, word);
    }
    return false;
}

/* word is what followed = or the letter, NULL if nothing did: then the value is the next word. */
static bool take_value(Reader *r, OptionId id, const char *word)
{
    const OptionRow *row = &option_row[id];

    if (row->kind == FLAG) {
        if (word)
            return wrong(r->o, "--%s: takes no value, got `%s`", typed(r->o, row), word);
    } else if (!word) {
        if (r->at >= r->argc)
            return wrong(r->o, "--%s: wants %s after it", typed(r->o, row), row->operand);
        word = r->argv[r->at++];
    }
    return parse_value(r->o, id, word);
}

static bool take_long(Reader *r, const char *word)
{
    const char *eq = strchr(word, '=');
    char       *name = eq ? arena_strndup(&r->o->mem, word, (size_t)(eq - word)) : arena_strdup(&r->o->mem, word);

    for (int i = 0; i < NOPTION; i++)
        if (strcmp(typed(r->o, &option_row[i]), name) == 0)
            return take_value(r, (OptionId)i, eq ? eq + 1 : NULL);
    return unknown_option(r->o, name, r->has_command ? 1 << r->o->command : EVERY);
}

static bool take_short(Reader *r, const char *word)
{
    for (int i = 0; i < NOPTION; i++)
        if (option_row[i].letter && option_row[i].letter == word[0])
            return take_value(r, (OptionId)i, word[1] ? word + 1 : NULL);
    return wrong(r->o, "unknown option `-%s`", word);
}

static bool take_operand(Reader *r, const char *word)
{
    Options *o = r->o;

    if (!r->has_command) {
        o->command = find_command(word);
        r->has_command = true;
        return o->command != NCOMMAND || unknown_command(o, word);
    }
    if (o->file || !*command_row[o->command].operand)
        return wrong(o, "unexpected `%s`", word);
    o->file = word;
    return true;
}

static bool take_word(Reader *r)
{
    const char *word = r->argv[r->at++];

    if (r->options_ended || word[0] != '-' || !word[1])
        return take_operand(r, word);
    if (strcmp(word, "--") == 0) {
        r->options_ended = true;
        return true;
    }
    if (strcmp(word, "--version") == 0 && !r->has_command)
        return take_operand(r, "version");
    return word[1] == '-' ? take_long(r, word + 2) : take_short(r, word + 1);
}

static bool check_options(Options *o)
{
    const CommandRow *c = &command_row[o->command];

    for (int i = 0; i < NOPTION; i++)
        if (o->value[i].given && !(option_row[i].commands & 1 << o->command))
            return unknown_option(o, typed(o, &option_row[i]), 1 << o->command);
    if (!o->file && *c->operand && *c->operand != '[')
        return wrong(o, "wants %s", c->operand);
    return true;
}

OptionsResult options_parse(Options *o, int argc, char **argv)
{
    Reader r = { .o = o, .argc = argc, .at = 1, .argv = argv };

    *o = (Options){ .command = NCOMMAND };
    while (r.at < argc)
        if (!take_word(&r))
            return OPTIONS_WRONG;
    if (o->value[OPTION_help].given)
        return OPTIONS_HELP;
    if (!r.has_command) {
        wrong(o, "wants a command; nnd help lists them");
        return OPTIONS_WRONG;
    }
    if (!check_options(o))
        return OPTIONS_WRONG;
    if (o->command != CMD_help)
        return OPTIONS_RUN;
    o->command = o->file ? find_command(o->file) : NCOMMAND;
    if (o->file && o->command == NCOMMAND) {
        unknown_command(o, o->file);
        return OPTIONS_WRONG;
    }
    return OPTIONS_HELP;
}

void options_free(Options *o)
{
    arena_free(&o->mem);
}

const char *command_name(Command c)
{
    return c < NCOMMAND ? command_row[c].name : NULL;
}

static void help_overview(FILE *f)
{
    fputs("nnd compiles neural networks: a model is text, trained as machine code.\n\n"
          "  nnd train models/mlp.nnd\n\n", f);
    for (int i = 0; i < NCOMMAND; i++)
        fprintf(f, "  nnd %-8s %-10s  %s\n", command_row[i].name, command_row[i].operand, command_row[i].doc);
    fputs("\nnnd COMMAND --help lists a command's options.\n"
          "Results go to stdout, everything else to stderr.  Exit status: 0 well, 1 a mistake in the model,\n"
          "2 in the command line, 3 in data, 4 an expect was missed, 5 training diverged, 6 no such device,\n"
          "70 a fault of nnd's own, 130 interrupted.\n", f);
}

static void help_command(FILE *f, Options *o, Command c)
{
    const CommandRow *row = &command_row[c];

    fprintf(f, "nnd %s%s%s [OPTION...]: %s\n\n", row->name, *row->operand ? " " : "", row->operand, row->doc);
    for (int i = 0; i < NOPTION; i++) {
        const OptionRow *op = &option_row[i];
        const char      *name = typed(o, &option_row[i]);
        char             left[64];

        if (!(op->commands & 1 << c))
            continue;
        if (op->letter)
            snprintf(left, sizeof left, "-%c, --%s %s", op->letter, name, op->operand);
        else
            snprintf(left, sizeof left, "    --%s %s", name, op->operand);
        fprintf(f, "  %-36s  %s\n", left, op->doc);
    }
}

void options_help(FILE *f, Options *o)
{
    if (o->command == NCOMMAND)
        help_overview(f);
    else
        help_command(f, o, o->command);
}
