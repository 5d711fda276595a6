/* parse_block.c - statements and the blocks they stand in; expressions are read by ir/expr.c. */
#include "frontend/parse.h"

#include <string.h>

/* ---- statements ---- */

Ast *parse_new(Parser *p, AstKind kind, const char *name, Loc loc)
{
    Ast *a = arena_new(p->mem, Ast);

    a->kind = kind;
    a->name = name;
    a->loc = loc;
    return a;
}

bool parse_value(Parser *p, Ast *a)
{
    return (a->value = expr_parse(p->lx, p->mem, p->d, false)) && parse_end_statement(p);
}

/* `param name: type = value` after its keyword; a state may be declared likewise. */
static Ast *read_slot(Parser *p, AstKind kind)
{
    Ast *a = parse_new(p, kind, NULL, (Loc){ 0 });

    if (!parse_name(p, "a name", &a->name, &a->loc) || !parse_expect(p, ":", "`: type` after the name") || !parse_type(p, &a->type))
        return NULL;
    if (!lex_take(p->lx, "=")) {
        parse_unexpected(p, "`= initial value`");
        return NULL;
    }
    return parse_value(p, a) ? a : NULL;
}

static Ast *read_for(Parser *p)
{
    Ast *a = parse_new(p, AST_FOR, NULL, (Loc){ 0 });

    if (!parse_name(p, "the loop's variable", &a->name, &a->loc) || !parse_expect(p, "in", "`in`")
        || !(a->value = expr_parse(p->lx, p->mem, p->d, false)) || !parse_expect(p, "..", "`..` and the limit")
        || !(a->limit = expr_parse(p->lx, p->mem, p->d, false)))
        return NULL;
    a->body = parse_block(p, false);
    return a;
}

/* scan g in gates, m in mask { body } after its keyword: values in step, names and values as lists */
static Ast *read_scan(Parser *p, Token word)
{
    Ast *a = parse_new(p, AST_SCAN, word.text, word.loc);
    Expr *list[2];
    int cap[2] = { 0 };

    for (int i = 0; i < 2; i++) {
        list[i] = arena_new(p->mem, Expr);
        list[i]->kind = EXPR_LIST;
        list[i]->name = "list";
    }
    do {
        Expr *name = arena_new(p->mem, Expr), *value;

        name->kind = EXPR_NAME;
        if (!parse_name(p, "the name of a step's part", &name->name, &name->loc) || !parse_expect(p, "in", "`in`")
            || !(value = expr_parse(p->lx, p->mem, p->d, false)))
            return NULL;
        arena_push(p->mem, list[0]->arg, list[0]->narg, cap[0]);
        list[0]->arg[list[0]->narg++] = name;
        arena_push(p->mem, list[1]->arg, list[1]->narg, cap[1]);
        list[1]->arg[list[1]->narg++] = value;
    } while (lex_take(p->lx, ","));
    a->limit = list[0];
    a->value = list[1];
    a->value->loc = a->value->name_loc = loc_span(a->value->arg[0]->loc, a->value->arg[a->value->narg - 1]->loc);
    a->body = parse_block(p, false);
    return a;
}

/* Blocks in blocks, and `else if` after `else if`: each is one deeper for all who read the tree. */
static bool enter(Parser *p, Loc at)
{
    if (++p->depth <= EXPR_DEPTH)
        return true;
    diag_error(p->d, at, "nested more than %d deep", EXPR_DEPTH);
    while (!parse_at_end(p))
        lex_next(p->lx);
    p->unclosed = true;           /* what is skipped may have closed the blocks around */
    return false;
}

static Ast *read_if(Parser *p, Loc loc)
{
    Ast *a = parse_new(p, AST_IF, "if", loc);

    if (!(a->value = expr_parse(p->lx, p->mem, p->d, false)))
        return NULL;
    a->body = parse_block(p, false);
    if (lex_take(p->lx, "else")) {
        Token t = lex_peek(p->lx, 0);

        if (!lex_take(p->lx, "if")) {
            a->other = parse_block(p, false);
        } else if (enter(p, t.loc)) {
            a->other = read_if(p, t.loc);
            p->depth--;
        }
    }
    return a;
}

/* A name, or * and the end of names: *.weight. */
static Expr *read_pattern(Parser *p)
{
    Token star = lex_peek(p->lx, 0);
    Expr *e;

    if (!lex_take(p->lx, "*")) {
        e = expr_parse(p->lx, p->mem, p->d, false);
        if (e && e->kind != EXPR_NAME)
            diag_error(p->d, e->loc, "wants the name of a label or a parameter, such as fc1 or *.weight");
        return e && e->kind == EXPR_NAME ? e : NULL;
    }
    e = arena_new(p->mem, Expr);
    e->kind = EXPR_NAME;
    e->name = "*";
    e->loc = e->name_loc = star.loc;
    while (lex_take(p->lx, ".")) {
        const char *name;
        Loc loc;

        if (!parse_name(p, "a name", &name, &loc))
            return NULL;
        e->name = arena_printf(p->mem, "%s.%s", e->name, name);
        e->loc = e->name_loc = loc_span(star.loc, loc);
    }
    return e;
}

/* Behind a comma: another pattern, or the next value of the setting, which is a call? */
static bool pattern_follows(Parser *p)
{
    Token t = lex_peek(p->lx, 1);

    return lex_is(p->lx, ",") && (!strcmp(t.text, "*") || (t.kind == TOK_NAME && strcmp(lex_peek(p->lx, 2).text, "(")));
}

/* [on pattern, pattern] behind a value of a setting; a list, empty without `on`; NULL after a mistake. */
static Expr *read_on(Parser *p)
{
    Expr *list = arena_new(p->mem, Expr);
    int cap = 0;

    list->kind = EXPR_LIST;
    list->name = "list";
    if (!lex_take(p->lx, "on"))
        return list;
    do {
        Expr *e = read_pattern(p);

        if (!e)
            return NULL;
        arena_push(p->mem, list->arg, list->narg, cap);
        list->arg[list->narg++] = e;
    } while (pattern_follows(p) && lex_take(p->lx, ","));
    return list;
}

/* name: value, value ..., each maybe with patterns behind `on` */
static Ast *read_setting(Parser *p)
{
    Token name = lex_next(p->lx);
    Ast *a = parse_new(p, AST_SETTING, name.text, name.loc);
    Expr *list = arena_new(p->mem, Expr), *on = arena_new(p->mem, Expr);
    int cap = 0, con = 0;

    lex_next(p->lx);
    list->kind = on->kind = EXPR_LIST;
    list->name = on->name = "list";
    do {
        Expr *e = expr_parse(p->lx, p->mem, p->d, false), *names = e ? read_on(p) : NULL;

        if (!e || !names)
            return NULL;
        arena_push(p->mem, list->arg, list->narg, cap);
        list->arg[list->narg++] = e;
        arena_push(p->mem, on->arg, on->narg, con);
        on->arg[on->narg++] = names;
    } while (lex_take(p->lx, ","));
    list->loc = list->name_loc = loc_span(list->arg[0]->loc, list->arg[list->narg - 1]->loc);
    a->value = list;
    a->limit = on;
    return parse_end_statement(p) ? a : NULL;
}

static Ast *read_equation(Parser *p, bool settings)
{
    static const char *const words[] = { "param", "state", "return", "for", "if", "minimize", "metric", "freeze", "then", "scan", "carry",
                                         "collect" };
    static const char *const outside[] = { "show", "import" };
    Token name = lex_peek(p->lx, 0), second = lex_peek(p->lx, 1);
    AstKind kind = AST_ASSIGN;

    if (name.kind != TOK_NAME) {
        parse_unexpected(p, "a statement");
        return NULL;
    }
    for (size_t i = 0; i < sizeof outside / sizeof *outside && second.kind != TOK_PUNCT; i++)
        if (!strcmp(name.text, outside[i])) {
            diag_error(p->d, name.loc, "`%s` stands outside of blocks", name.text);
            return NULL;
        }
    if (second.kind == TOK_PUNCT && !strcmp(second.text, ":")) {
        if (settings)
            return read_setting(p);
        diag_error(p->d, second.loc, "`:` configures a block; a value is computed with `%s = ...`", name.text);
        return NULL;
    }
    lex_next(p->lx);
    if (lex_take(p->lx, "'"))
        kind = AST_NEXT;
    if (!lex_is(p->lx, "=")) {
        const char *near = diag_near(name.text, words, sizeof words / sizeof *words);

        if (near && second.kind == TOK_NAME)
            diag_error(p->d, name.loc, "unknown statement `%s`; did you mean `%s`?", name.text, near);
        else if (second.kind == TOK_PUNCT && kind == AST_ASSIGN)
            diag_error(p->d, name.loc, "a statement gives its value a name: `name = ...`");
        else
            parse_unexpected(p, "`=` after the name");
        return NULL;
    }
    lex_next(p->lx);
    Ast *a = parse_new(p, kind, name.text, name.loc);

    return parse_value(p, a) ? a : NULL;
}

/* metric name = value, collect name = value, after the keyword */
static Ast *read_named(Parser *p, AstKind kind, const char *what)
{
    Ast *a = parse_new(p, kind, NULL, (Loc){ 0 });

    if (!parse_name(p, what, &a->name, &a->loc) || !parse_expect(p, "=", arena_printf(p->mem, "`=` after %s", what)))
        return NULL;
    return parse_value(p, a) ? a : NULL;
}

/* fc1, blocks.0: names of labels or parameters, as a list. */
static Expr *read_names(Parser *p)
{
    Expr *list = arena_new(p->mem, Expr);
    int cap = 0;

    list->kind = EXPR_LIST;
    list->name = "list";
    do {
        Expr *e = expr_parse(p->lx, p->mem, p->d, false);

        if (e && e->kind != EXPR_NAME)
            diag_error(p->d, e->loc, "wants the name of a label or a parameter, such as fc1 or fc1.weight");
        if (!e || e->kind != EXPR_NAME)
            return NULL;
        arena_push(p->mem, list->arg, list->narg, cap);
        list->arg[list->narg++] = e;
    } while (lex_take(p->lx, ","));
    list->loc = list->name_loc = loc_span(list->arg[0]->loc, list->arg[list->narg - 1]->loc);
    return list;
}

/* minimize value [over names [with optimizer]], after its keyword */
static Ast *read_minimize(Parser *p, Token word)
{
    Ast *a = parse_new(p, AST_MINIMIZE, word.text, word.loc);

    if (!(a->value = expr_parse(p->lx, p->mem, p->d, false)) || (lex_take(p->lx, "over") && !(a->limit = read_names(p)))
        || (a->limit && lex_take(p->lx, "with") && !(a->with = expr_parse(p->lx, p->mem, p->d, false))))
        return NULL;
    return parse_end_statement(p) ? a : NULL;
}

/* A word is a keyword only where a statement of that kind can follow, so names may be spelt like it. */
static Ast *read_statement(Parser *p, bool settings)
{
    Token t = lex_peek(p->lx, 0), u = lex_peek(p->lx, 1);
    bool word = t.kind == TOK_NAME && !(u.kind == TOK_PUNCT && (*u.text == '=' || *u.text == '\'' || *u.text == ':'));
    Ast *a;

    if (word && lex_take(p->lx, "param"))
        return read_slot(p, AST_PARAM);
    if (word && lex_take(p->lx, "state"))
        return read_slot(p, AST_STATE);
    if (word && lex_take(p->lx, "metric"))
        return read_named(p, AST_METRIC, "the metric's name");
    if (word && lex_take(p->lx, "scan"))
        return read_scan(p, t);
    if (word && lex_take(p->lx, "carry"))
        return read_slot(p, AST_CARRY);
    if (word && lex_take(p->lx, "collect"))
        return read_named(p, AST_COLLECT, "the name of what is collected");
    if (word && lex_take(p->lx, "for"))
        return read_for(p);
    if (word && lex_take(p->lx, "if"))
        return read_if(p, t.loc);
    if (word && lex_take(p->lx, "return"))
        return parse_value(p, a = parse_new(p, AST_RETURN, t.text, t.loc)) ? a : NULL;
    if (word && lex_take(p->lx, "minimize"))
        return read_minimize(p, t);
    if (word && lex_take(p->lx, "then"))
        return parse_end_statement(p) ? parse_new(p, AST_THEN, t.text, t.loc) : NULL;
    if (word && lex_take(p->lx, "freeze")) {
        a = parse_new(p, AST_FREEZE, t.text, t.loc);
        return (a->value = read_names(p)) && parse_end_statement(p) ? a : NULL;
    }
    return read_equation(p, settings);
}

static bool same_token(Token a, Token b) { return a.loc.line == b.loc.line && a.loc.col == b.loc.col; }

static void skip_token(Parser *p)
{
    Token t = lex_peek(p->lx, 0);

    if (t.kind != TOK_END && t.kind != TOK_NEWLINE && !lex_is(p->lx, "}"))
        lex_next(p->lx);
}

/* Of blocks in blocks the innermost is named. */
static void unclosed_block(Parser *p, Loc open)
{
    Token t = lex_peek(p->lx, 0);

    if (!p->unclosed && diag_error(p->d, open, "this `{` is never closed") && t.kind != TOK_END)
        diag_note(p->d, t.loc, "`%s` begins before it is", t.text);
    p->unclosed = true;
}

Ast *parse_block(Parser *p, bool settings)
{
    Token open = lex_peek(p->lx, 0);
    Ast *first = NULL, **last = &first;

    if (!parse_expect(p, "{", "`{`"))
        return NULL;
    if (!enter(p, open.loc))
        return NULL;
    for (;;) {
        Ast *a;

        parse_skip_newlines(p);
        if (parse_at_end(p)) {
            unclosed_block(p, open.loc);
            break;
        }
        if (lex_take(p->lx, "}"))
            break;
        if (parse_begins_decl(p)) {
            unclosed_block(p, open.loc);
            break;
        }
        if ((a = read_statement(p, settings))) {
            *last = a;
            last = &a->next;
        } else {
            Token t = lex_peek(p->lx, 0);

            parse_skip_line(p);
            if (same_token(t, lex_peek(p->lx, 0)) && !parse_begins_statement(p))      /* it can't begin nor end anything */
                skip_token(p);
        }
    }
    p->depth--;
    return first;
}
