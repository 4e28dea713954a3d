/* The commands: their words, options and help texts. A new one is a row of the table, and a case in main.c. */
#include "process/commands.h"

const char gw_main_help[] = "gateway: an API gateway that is scripted in Lua\n"
                            "\n"
                            "usage:\n"
                            "  gateway [run] SCRIPT     run it in the foreground\n"
                            "  gateway check SCRIPT     load it as a reload would, and say what is wrong with it\n"
                            "  gateway routes SCRIPT    print the routes in the order in which they are tried\n"
                            "  gateway explain SCRIPT GET URL\n"
                            "                           tell what becomes of a request, and why\n"
                            "  gateway test [PATHS]     run tests of plugins and scripts (busted)\n"
                            "  gateway new plugin NAME  write a plugin and its test, to begin with\n"
                            "  gateway plugins [NAME]   what plugins there are, or what one of them takes\n"
                            "  gateway types FOLDER     write definitions for your editor\n"
                            "  gateway plan SCRIPT      tell what a script would change in the running gateway\n"
                            "  gateway reload           have the running gateway load its script anew\n"
                            "  gateway status           what the running gateway is at\n"
                            "  gateway top              the same live, with rates, in one screen\n"
                            "  gateway drain            end it in order, or take an endpoint out of rotation\n"
                            "  gateway completion SHELL print completions for bash, zsh or fish\n"
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

static const char explain_help[] = "usage: gateway explain SCRIPT [METHOD] URL [OPTIONS]\n"
                                   "\n"
                                   "Tells what the script would do with a request: which route takes it and why not the\n"
                                   "others, what each middleware does with it, which upstream and endpoint it goes to,\n"
                                   "and the head that is sent there. The functions really run, on a clock of their own;\n"
                                   "nobody is asked: backends, and whoever the functions ask, are played. Secrets are\n"
                                   "masked.\n"
                                   "\n"
                                   "  -H 'Name: value'     a header field; several are fine\n"
                                   "  -d BODY              a body (then the method is POST unless another is named)\n"
                                   "  --from IP            the address it comes from; 127.0.0.1\n"
                                   "  --response STATUS    what the backend answers; 200\n"
                                   "  --json               as JSON\n"
                                   "\n"
                                   "exit status: 0, also when the request would be refused; 1 when the script cannot be\n"
                                   "loaded, 2 for wrong usage.\n"
                                   "\n"
                                   "example:\n"
                                   "  gateway explain gateway.lua GET http://api.example.com/users/7 -H 'X-Version: 2'\n";

#define ASKING                                                                                                                   \
    "  --admin ADDRESS      where it answers: 127.0.0.1:9901, unix:/path; or the variable\n"                                     \
    "                       GATEWAY_ADMIN says so (127.0.0.1:9901)\n"                                                            \
    "  --token-file FILE    holds the token that gateway.admin asks for; or GATEWAY_TOKEN_FILE,\n"                               \
    "                       or GATEWAY_TOKEN, the token itself\n"                                                                \
    "  --token TOKEN        the token itself: others on this machine see it in the list of\n"                                    \
    "                       processes\n"

static const char reload_help[] = "usage: gateway reload [OPTIONS]\n"
                                  "       gateway reload --share 5% [--for 60s] [--abort-if 'errors>1%'] [OPTIONS]\n"
                                  "       gateway reload --promote | --back\n"
                                  "\n"
                                  "Has the running gateway load its script anew, waits for the end of it, and prints\n"
                                  "what changed: routes, upstreams, endpoints, listeners. When it is refused, the\n"
                                  "old one goes on, and every error is printed with its file and line.\n"
                                  "\n"
                                  "With --share it is staged: first that part of the clients is served by the new\n"
                                  "generation, each client by one of the two, while both are compared (gateway status\n"
                                  "tells how they do). At the end of the time it is put in place for all; when a\n"
                                  "condition is met it is taken back. Which of both it was, and why, is printed.\n"
                                  "\n"
                                  "  --share PART         of the clients: 5%\n"
                                  "  --for TIME           how long: 500ms, 60s (by default), 10m\n"
                                  "  --abort-if CONDITION errors>1% (answers of 500 to 599), errors>20, p99>250ms (or mean,\n"
                                  "                       p50, p90), errors>stable+1%, p99>stable*1.5; several are fine\n"
                                  "  --min COUNT          requests of the new one before a condition counts (20)\n"
                                  "  --script PATH        another script than the gateway's own, which a later reload\n"
                                  "                       loads again\n"
                                  "  --no-wait            ends when both serve\n"
                                  "  --promote, --back    end it now: put it in place, or take it back\n" ASKING "\n"
                                  "exit status: 0 when it serves (or, with --no-wait, is staged), 1 when it was refused,\n"
                                  "taken back or could not be asked, 2 for wrong usage.\n"
                                  "\n"
                                  "example:\n"
                                  "  gateway reload --share 5% --for 5m --abort-if 'errors>1%' --abort-if 'p99>250ms'\n";

static const char plan_help[] = "usage: gateway plan NEW_SCRIPT [--json] [OPTIONS]\n"
                                "\n"
                                "Tells what NEW_SCRIPT would change in the running gateway: routes, upstreams and their\n"
                                "endpoints, listeners, settings; and, for each of the last requests (of routes with\n"
                                "record = true, or all by gateway.record { all = true }), its route, what the\n"
                                "middleware does, its upstream and its status, before and after. The functions really\n"
                                "run, in a process beside the gateway; nobody is asked, and nothing is swapped. Secrets\n"
                                "were masked when the requests were recorded: what checks them refuses both times.\n"
                                "\n"
                                "  --json               as JSON\n" ASKING "\n"
                                "exit status: 0, or 1 when NEW_SCRIPT has errors, which are printed, or the gateway\n"
                                "could not be asked, 2 for wrong usage.\n"
                                "\n"
                                "example:\n"
                                "  gateway plan gateway.new.lua && gateway reload --share 5% --script gateway.new.lua\n";

static const char status_help[] = "usage: gateway status [--json] [OPTIONS]\n"
                                  "\n"
                                  "Prints what the running gateway is at: workers, connections, requests, upstreams\n"
                                  "with their endpoints' health and breakers, the last reload, Lua.\n"
                                  "\n"
                                  "  --json               as JSON, as /status gives it\n" ASKING "\n"
                                  "exit status: 0, or 1 when it could not be asked, 2 for wrong usage.\n"
                                  "\n"
                                  "example:\n"
                                  "  gateway status --admin unix:/run/gateway/admin\n";

static const char top_help[] = "usage: gateway top [--once] [OPTIONS]\n"
                               "\n"
                               "One screen of what the running gateway is at, anew each second: traffic, errors and\n"
                               "latency by route, endpoints with health and breakers, the slowest requests, plugins.\n"
                               "Rates and percentiles are of the last five seconds. q quits.\n"
                               "\n"
                               "  --once               looks for a second, prints it all once, without colours; so it does\n"
                               "                       where the output is no terminal\n" ASKING "\n"
                               "exit status: 0, or 1 when it could not be asked, 2 for wrong usage.\n"
                               "\n"
                               "example:\n"
                               "  gateway top --admin unix:/run/gateway/admin\n";

static const char drain_help[] = "usage: gateway drain [OPTIONS]\n"
                                 "       gateway drain --upstream NAME --endpoint ADDRESS [--undo] [OPTIONS]\n"
                                 "\n"
                                 "With an endpoint: takes it out of rotation; requests under way finish. --undo lets it\n"
                                 "in again. It stays out over reloads, until it leaves the script.\n"
                                 "\n"
                                 "Without one: ends the gateway in order, as SIGTERM does: no new connections, requests\n"
                                 "under way end, at most for the script's timeouts.drain (30 s by default).\n"
                                 "\n"
                                 "  --upstream NAME      the endpoint's upstream\n"
                                 "  --endpoint ADDRESS   as gateway status prints it\n"
                                 "  --undo               it takes requests again\n" ASKING "\n"
                                 "exit status: 0, or 1 when there is no such endpoint or the gateway could not be asked,\n"
                                 "2 for wrong usage.\n"
                                 "\n"
                                 "example:\n"
                                 "  gateway drain --upstream users --endpoint 10.0.0.1:8080\n";

static const char completion_help[] = "usage: gateway completion bash|zsh|fish\n"
                                      "\n"
                                      "Prints what completes this command's words in a shell.\n"
                                      "\n"
                                      "exit status: 0, or 2 for wrong usage.\n"
                                      "\n"
                                      "example:\n"
                                      "  gateway completion bash > ~/.local/share/bash-completion/completions/gateway\n";

/* ---- options ---- */

#define TEXT(name, takes, field, help)                                                                                           \
    {                                                                                                                            \
        name, takes, help, offsetof(gw_options, field), false                                                                    \
    }
#define SWITCH(name, field, help)                                                                                                \
    {                                                                                                                            \
        name, NULL, help, offsetof(gw_options, field), false                                                                     \
    }
#define ASKED                                                                                                                    \
    TEXT("--admin", "ADDRESS", admin, "where the gateway answers"),                                                              \
        TEXT("--token", "TOKEN", token, "the admin address's token"),                                                            \
        TEXT("--token-file", "FILE", token_file, "a file that holds it")

/* Of commands that read their words themselves: for completions. */
static const gw_command_option explain_options[] = {{"--from", "IP", "the address it comes from", 0, false},
                                                    {"--response", "STATUS", "what the backend answers", 0, false},
                                                    {"--json", NULL, "as JSON", 0, false},
                                                    {0}};
static const gw_command_option new_options[] = {{"--dir", "FOLDER", "where to write", 0, false}, {0}};

static const gw_command_option reload_options[] = {
    TEXT("--share", "PART", share, "the part of the clients that it begins with"),
    TEXT("--for", "TIME", lasts, "how long both serve"),
    {"--abort-if", "CONDITION", "when to take it back", offsetof(gw_options, abort_if), .several = true},
    TEXT("--min", "COUNT", least, "requests before a condition counts"),
    TEXT("--script", "FILE", candidate, "another script than the gateway's own"),
    SWITCH("--no-wait", no_wait, "ends when both serve"),
    SWITCH("--promote", promote, "put the staged one in place now"),
    SWITCH("--back", back, "take the staged one back now"),
    ASKED,
    {0}};
static const gw_command_option status_options[] = {SWITCH("--json", json, "as JSON"), ASKED, {0}};
static const gw_command_option top_options[] = {SWITCH("--once", once, "print it once"), ASKED, {0}};
static const gw_command_option drain_options[] = {TEXT("--upstream", "NAME", upstream, "the endpoint's upstream"),
                                                  TEXT("--endpoint", "ADDRESS", endpoint, "the endpoint to take out"),
                                                  SWITCH("--undo", undo, "it takes requests again"),
                                                  ASKED,
                                                  {0}};

const gw_command_row gw_commands[] = {
    {"run", "run the gateway in the foreground", GW_COMMAND_RUN, run_help, .takes = "SCRIPT"},
    {"check", "say what is wrong with a script", GW_COMMAND_CHECK, check_help, .takes = "SCRIPT"},
    {"routes", "print the routes in the order in which they are tried", GW_COMMAND_ROUTES, routes_help, .takes = "SCRIPT"},
    {"explain", "tell what becomes of a request, and why", GW_COMMAND_EXPLAIN, explain_help, .rest = "SCRIPT",
     .options = explain_options},
    {"plugins", "what plugins there are, or what one of them takes", GW_COMMAND_PLUGINS, plugins_help, .may_take = "NAME"},
    {"types", "write definitions for your editor", GW_COMMAND_TYPES, types_help, .takes = "FOLDER"},
    {"test", "run tests of plugins and scripts", GW_COMMAND_TEST, test_help, .rest = "PATH"},
    {"new", "write a plugin and its test, to begin with", GW_COMMAND_NEW, new_help, .rest = "plugin", .options = new_options},
    {"plan", "tell what a script would change, and do nothing", GW_COMMAND_PLAN, plan_help, .takes = "SCRIPT",
     .options = status_options},
    {"reload", "have the running gateway load its script anew", GW_COMMAND_RELOAD, reload_help, .options = reload_options},
    {"status", "what the running gateway is at", GW_COMMAND_STATUS, status_help, .options = status_options},
    {"top", "watch the running gateway, in one screen", GW_COMMAND_TOP, top_help, .options = top_options},
    {"drain", "end the gateway in order, or take an endpoint out", GW_COMMAND_DRAIN, drain_help, .options = drain_options},
    {"completion", "print completions for a shell", GW_COMMAND_COMPLETION, completion_help, .takes = "SHELL"},
};
const size_t gw_command_count = GW_COUNT(gw_commands);
