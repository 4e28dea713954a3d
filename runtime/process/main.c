/* The command line's end of the gateway: says what was asked for, and exits with what came of it. */
#define _GNU_SOURCE /* strchrnul */
#include "gateway/generation.h"
#include "net/signals.h"
#include "process/completion.h"
#include "process/options.h"
#include "process/reload.h"
#include "process/remote.h"
#include "process/supervisor.h"
#include "process/top.h"
#include "script/script.h"
#include "script/testing.h"
#include <stdlib.h>

/* A message's further lines begin with a tab; a load tells only so many, and how many more there are. */
static unsigned messages_in(const char *text)
{
    unsigned count = 0, more;
    for (const char *at = text; at && *at; at += strcspn(at, "\n"), at += *at == '\n')
        count += sscanf(at, "... and %u more", &more) == 1 ? more : *at != '\t';
    return count;
}

static void print_count(const char *word, unsigned count)
{
    if (count)
        fprintf(stderr, "%u %s%s", count, word, count == 1 ? "" : "s");
}

/* Loads as a reload would, without sockets or workers. NULL: refused, why stands on stderr. */
static gw_generation *load_to_look(const char *script, bool count)
{
    gw_registry_init(1);
    char *found = NULL, *noted = NULL;
    gw_lines errors = {0}, warnings = {0};
    gw_generation *g = gw_load_script(script, 2, &found, &noted); /* two, to see whether they say the same */
    gw_lines_take(&errors, found);
    gw_lines_take(&warnings, noted);
    if (!g)
        fputs(errors.text ? errors.text : "gateway: memory is out\n", stderr);
    if (warnings.text) {
        for (const char *at = warnings.text; *at;) {
            int len = (int)(strchrnul(at, '\n') - at);
            fprintf(stderr, "%s%.*s\n", *at == '\t' ? "" : "warning: ", len, at);
            at += at[len] ? len + 1 : len;
        }
    }
    if (count && (errors.text || warnings.text)) {
        print_count("error", messages_in(errors.text));
        if (errors.text && warnings.text)
            fputs(", ", stderr);
        print_count("warning", messages_in(warnings.text));
        fputc('\n', stderr);
    }
    gw_lines_clear(&errors);
    gw_lines_clear(&warnings);
    return g;
}

/* A full disk or a closed pipe must not look like success. */
static int written(FILE *f, int status)
{
    return fflush(f) == 0 && !ferror(f) ? status : EXIT_FAILURE;
}

static int check(const char *script)
{
    gw_generation *g = load_to_look(script, true);
    if (!g)
        return EXIT_FAILURE;
    printf("ok: %u route%s, %u upstream%s, %u listener%s\n", g->route_count, g->route_count == 1 ? "" : "s", g->upstream_count,
           g->upstream_count == 1 ? "" : "s", g->listen_count, g->listen_count == 1 ? "" : "s");
    gw_generation_free(g, NULL, NULL);
    return written(stdout, EXIT_SUCCESS);
}

static int routes(const char *script)
{
    gw_generation *g = load_to_look(script, false);
    if (!g)
        return EXIT_FAILURE;
    gw_script_print_routes(g, stdout);
    gw_generation_free(g, NULL, NULL);
    return written(stdout, EXIT_SUCCESS);
}

/* A command that is written in Lua. */
static int in_lua(const char *module, const char *word)
{
    char *text = NULL;
    bool good = gw_script_command(module, word, &text);
    if (good)
        fputs(text, stdout);
    else
        fprintf(stderr, "gateway: %s\n", text ? text : "not enough memory");
    free(text);
    return good ? written(stdout, EXIT_SUCCESS) : EXIT_FAILURE;
}

int main(int argc, char *argv[])
{
    gw_options options;
    if (argc == 5 && strcmp(argv[1], GW_PLAN_WORD) == 0)
        return gw_plan_child(argv[2], argv[3], argv[4]);
    gw_signals_ignore_pipe();
    if (gw_options_parse(argc, argv, &options, stdout, stderr) < 0)
        return GW_EXIT_USAGE;
    switch (options.command) {
    case GW_COMMAND_RUN:
        return gw_supervise(options.script, argv);
    case GW_COMMAND_CHECK:
        return check(options.script);
    case GW_COMMAND_ROUTES:
        return routes(options.script);
    case GW_COMMAND_PLUGINS:
        return in_lua("gateway.plugin_docs", options.script);
    case GW_COMMAND_TYPES:
        return in_lua("gateway.types", options.script);
    case GW_COMMAND_EXPLAIN:
        gw_registry_init(1);
        return gw_testing_command("gateway.explain", options.rest, options.rest_count);
    case GW_COMMAND_TEST:
        return gw_testing_command("gateway.testing_command", options.rest, options.rest_count);
    case GW_COMMAND_NEW:
        return gw_testing_command("gateway.testing_new", options.rest, options.rest_count);
    case GW_COMMAND_RELOAD:
    case GW_COMMAND_STATUS:
    case GW_COMMAND_PLAN:
    case GW_COMMAND_DRAIN:
        return gw_remote_command(&options);
    case GW_COMMAND_TOP:
        return gw_top_command(&options);
    case GW_COMMAND_COMPLETION:
        if (gw_completion_write(options.script, stdout))
            return written(stdout, EXIT_SUCCESS);
        fprintf(stderr, "gateway: completion: expected bash, zsh or fish, found \"%s\"\ntry: gateway completion --help\n",
                options.script);
        return GW_EXIT_USAGE;
    default:
        return written(stdout, EXIT_SUCCESS);
    }
}
