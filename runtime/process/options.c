#include "process/options.h"

static const char main_help[] = "gateway: an API gateway that is scripted in Lua\n"
                                "\n"
                                "usage:\n"
                                "  gateway [run] SCRIPT     run it in the foreground\n"
                                "  gateway check SCRIPT     load it as a reload would, and say what is wrong with it\n"
                                "  gateway routes SCRIPT    print the routes in the order in which they are tried\n"
                                "  gateway test [PATHS]     run tests of plugins and scripts (busted)\n"
                                "  gateway new plugin NAME  write a plugin and its test, to begin with\n"
                                "  gateway plugins [NAME]   what plugins there are, or what one of them takes\n"
                                "  gateway types FOLDER     write definitions for your editor\n"
                                "  gateway --version        print the version\n"
                                "  gateway COMMAND --help   say more about a command\n"
                                "\n"
                                "example:\n"
                                "  gateway examples/hello.lua &\n"
                                "  curl http://127.0.0.1:8080/hello/world\n";

static const char run_help[] = "usage: gateway [run] SCRIPT\n"
                               "\n"
                               "Runs the gateway in the foreground. Log lines (JSON, one a line) go to stdout.\n"
                               "\n"
                               "Saving the script, a file that it loads, or a plugin reloads it; so do SIGHUP and\n"
                               "POST /reload at the admin address. A script with an error is refused, and the old\n"
                               "one goes on serving.\n"
                               "\n"
                               "SIGTERM and SIGINT drain: no new connections, requests under way end, at most for\n"
                               "the script's timeouts.drain (30 s by default). A second one exits at once.\n"
                               "\n"
                               "exit status: 0 after a drain, 1 when the script or a listener is refused at start,\n"
                               "2 for wrong usage, 130 or 143 after a second SIGINT or SIGTERM.\n"
                               "\n"
                               "example:\n"
                               "  gateway run gateway.lua\n";

static const char check_help[] = "usage: gateway check SCRIPT\n"
                                 "\n"
                                 "Loads the script as a reload would, without listening anywhere. Errors go to\n"
                                 "stderr, one a line, each with its file and line.\n"
                                 "\n"
                                 "exit status: 0 when a reload would take it, 1 when it would refuse it, 2 for wrong\n"
                                 "usage.\n"
                                 "\n"
                                 "example:\n"
                                 "  gateway check gateway.lua && kill -HUP \"$(pidof gateway)\"\n";

static const char routes_help[] = "usage: gateway routes SCRIPT\n"
                                  "\n"
                                  "Prints the script's routes in the order in which they are tried, with what each\n"
                                  "one matches and where it goes.\n"
                                  "\n"
                                  "exit status: as for gateway check.\n"
                                  "\n"
                                  "example:\n"
                                  "  gateway routes gateway.lua\n";

static const char plugins_help[] = "usage: gateway plugins [NAME]\n"
                                   "\n"
                                   "Without NAME: every plugin that a script in this folder finds, and where. With it:\n"
                                   "what the plugin does, and its options with their types and defaults.\n"
                                   "\n"
                                   "Plugins are looked for in plugins/ beside the script, in the folders of the\n"
                                   "environment variable GATEWAY_PLUGINS (a:b), and among the shipped ones.\n"
                                   "\n"
                                   "exit status: 0, or 1 when there is no such plugin or it cannot be loaded, 2 for\n"
                                   "wrong usage.\n"
                                   "\n"
                                   "example:\n"
                                   "  gateway plugins key-auth\n";

static const char types_help[] = "usage: gateway types FOLDER\n"
                                 "\n"
                                 "Writes FOLDER/gateway.lua: the types and descriptions of all that scripts can use,\n"
                                 "for editors that read LuaCATS (lua-language-server), and says how to tell them.\n"
                                 "\n"
                                 "exit status: 0, or 1 when the file cannot be written, 2 for wrong usage.\n"
                                 "\n"
                                 "example:\n"
                                 "  mkdir -p types && gateway types types\n";

static const char test_help[] = "usage: gateway test [PATHS] [OPTIONS OF BUSTED]\n"
                                "\n"
                                "Runs tests of plugins and scripts: files of busted (*_spec.lua), which find the\n"
                                "gateway's library, and with it gateway.testing, without being told where it is.\n"
                                "PATHS are files and folders; spec/ by default, or this folder where there is no\n"
                                "spec/. Everything behind \"test\" is handed to busted: --filter=PATTERN,\n"
                                "--output=TAP, --tags=TAGS, --list and so on; gateway test -- --help prints them all.\n"
                                "\n"
                                "It needs busted: apt-get install lua-busted\n"
                                "\n"
                                "exit status: 0 when every test passed, else 1.\n"
                                "\n"
                                "example:\n"
                                "  gateway new plugin hello && gateway test\n";

static const char new_help[] = "usage: gateway new plugin NAME [--dir FOLDER]\n"
                               "\n"
                               "Writes a plugin to begin with and its test, plugins/NAME.lua and\n"
                               "spec/plugins/NAME_spec.lua, in this folder or in FOLDER. Nothing that is there is\n"
                               "overwritten.\n"
                               "\n"
                               "exit status: 0, or 1 when a file is there already or cannot be written, 2 for\n"
                               "wrong usage.\n"
                               "\n"
                               "example:\n"
                               "  gateway new plugin hello && gateway test spec/plugins/hello_spec.lua\n";

static const struct {
    const char *word;
    enum gw_command command;
    const char *help;
    const char *takes; /* the word behind it; NULL: it may be left out */
    bool rest;         /* reads the words behind it itself */
} commands[] = {
    {"run", GW_COMMAND_RUN, run_help, "SCRIPT", false},
    {"check", GW_COMMAND_CHECK, check_help, "SCRIPT", false},
    {"routes", GW_COMMAND_ROUTES, routes_help, "SCRIPT", false},
    {"plugins", GW_COMMAND_PLUGINS, plugins_help, NULL, false},
    {"types", GW_COMMAND_TYPES, types_help, "FOLDER", false},
    {"test", GW_COMMAND_TEST, test_help, NULL, true},
    {"new", GW_COMMAND_NEW, new_help, NULL, true},
};

static bool is(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || (b && strcmp(word, b) == 0);
}

static int wrong(FILE *err, const char *what, const char *word, const char *command)
{
    fprintf(err, word ? "gateway: %s \"%s\"\n" : "gateway: %s\n", what, word);
    if (command)
        fprintf(err, "try: gateway %s --help\n", command);
    else
        fprintf(err, "try: gateway --help\n");
    return GW_INVALID;
}

/* `format` takes what the command wants, and a word. */
__attribute__((format(printf, 2, 0))) static int wrong_word(FILE *err, const char *format, const char *takes, const char *word,
                                                            const char *command)
{
    fprintf(err, "gateway: ");
    fprintf(err, format, takes ? takes : "NAME", word);
    fprintf(err, "try: gateway %s%s--help\n", command ? command : "", command ? " " : "");
    return GW_INVALID;
}

int gw_options_parse(int argc, char *const argv[], gw_options *options, FILE *out, FILE *err)
{
    *options = (gw_options){.command = GW_COMMAND_RUN};
    const char *help = main_help, *command = NULL, *takes = "SCRIPT";
    int at = 1;
    if (argc > 1) {
        for (size_t i = 0; i < GW_COUNT(commands); i++) {
            if (strcmp(argv[1], commands[i].word) == 0) {
                options->command = commands[i].command;
                help = commands[i].help;
                command = commands[i].word;
                takes = commands[i].takes;
                at = 2;
                if (commands[i].rest && !(argc > 2 && is(argv[2], "--help", "-h"))) {
                    options->rest = argv + 2;
                    options->rest_count = argc - 2;
                    return GW_OK;
                }
            }
        }
    }
    bool only_files = false; /* after "--" */
    for (; at < argc; at++) {
        const char *word = argv[at];
        if (!only_files && strcmp(word, "--") == 0) {
            only_files = true;
        } else if (!only_files && is(word, "--help", "-h")) {
            fputs(help, out);
            options->command = GW_COMMAND_DONE;
            return GW_OK;
        } else if (!only_files && !command && is(word, "--version", "-V")) {
            fputs("gateway " GW_VERSION "\n", out);
            options->command = GW_COMMAND_DONE;
            return GW_OK;
        } else if (!only_files && word[0] == '-' && word[1] != '\0') {
            return wrong(err, "unknown option", word, command);
        } else if (options->script) {
            if (!command && !strpbrk(options->script, "./"))
                return wrong(err, "unknown command", options->script, NULL);
            return wrong_word(err, "one %s is expected, found a second one, \"%s\"\n", takes, word, command);
        } else if (word[0] == '\0') {
            return wrong_word(err, "%s is an empty word%s\n", takes, "", command);
        } else {
            options->script = word;
        }
    }
    if (!options->script && takes)
        return command ? wrong_word(err, "a %s is expected behind the command%s\n", takes, "", command)
                       : wrong(err, "a SCRIPT or a command is expected", NULL, NULL);
    return GW_OK;
}
