/* nnd.c - the program: a command line in, an exit status out. */
#include "frontend/nnd.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* The one mutable global of the project: set by Ctrl-C, asked for between batches. */
static volatile int interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

/* ---- the rest ---- */

static int cmd_version(Options *o)
{
    (void)o;
    puts("nnd " NND_VERSION);
    return EXIT_WELL;
}

/* A second Ctrl-C ends the program at once. */
static void catch_interrupt(void)
{
    struct sigaction once = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND };

    sigaction(SIGINT, &once, NULL);
}

static int run(Options *o)
{
    switch (o->command) {
    case CMD_train:   catch_interrupt(); return cmd_train(o, &interrupted);
    case CMD_eval:    return cmd_eval(o);
    case CMD_predict: return cmd_predict(o);
    case CMD_compile: return cmd_compile(o);
    case CMD_run:     return cmd_run(o);
    case CMD_summary: return cmd_summary(o);
    case CMD_reduce:  return cmd_reduce(o);
    case CMD_profile: return cmd_profile(o);
    case CMD_devices: return cmd_devices(o);
    case CMD_check:   return cmd_check(o);
    case CMD_dump:    return cmd_dump(o);
    case CMD_opt:     return cmd_opt(o);
    case CMD_ops:     return list_ops(stdout), EXIT_WELL;
    case CMD_rules:   return list_rules(stdout), EXIT_WELL;
    case CMD_passes:  return list_passes(stdout), EXIT_WELL;
    case CMD_targets: return list_targets(stdout), EXIT_WELL;
    case CMD_version: return cmd_version(o);
    case CMD_help:    /* options_parse answers it */
    case NCOMMAND:    break;
    }
    return EXIT_OURS;
}

/* What was printed must have arrived: a full disk is not a success. */
static int flush_results(const Options *o, int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    return complain(o, status ? status : EXIT_DATA, "cannot write the results: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    Options o;
    int     status = EXIT_WELL;

    signal(SIGXFSZ, SIG_IGN);      /* a file that may not grow is a failed write, told like others */
    switch (options_parse(&o, argc, argv)) {
    case OPTIONS_RUN:   status = run(&o); break;
    case OPTIONS_HELP:  options_help(stdout, &o); break;
    case OPTIONS_WRONG: status = complain(&o, EXIT_USAGE, "%s", o.error); break;
    }
    status = flush_results(&o, status);
    options_free(&o);
    return status;
}
