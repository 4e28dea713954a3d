/* The command line: which command, which script; and the help texts. Pure: prints to the given files, exits never. */
#ifndef GW_PROCESS_OPTIONS_H
#define GW_PROCESS_OPTIONS_H

#include "base/base.h"
#include <stdio.h>

#ifndef GW_VERSION
#define GW_VERSION "0.0.0"
#endif

#define GW_EXIT_USAGE 2 /* wrong words on the command line */

enum gw_command {
    GW_COMMAND_DONE /* help or version was printed */,
    GW_COMMAND_RUN,
    GW_COMMAND_CHECK,
    GW_COMMAND_ROUTES,
    GW_COMMAND_PLUGINS,
    GW_COMMAND_TYPES,
    GW_COMMAND_TEST,
    GW_COMMAND_NEW,
    GW_COMMAND_RELOAD,
    GW_COMMAND_STATUS,
    GW_COMMAND_DRAIN,
    GW_COMMAND_COMPLETION,
    GW_COMMAND_EXPLAIN,
    GW_COMMAND_PLAN,
    GW_COMMAND_TOP
};

#define GW_OPTION_LIST_MOST 8
typedef struct gw_option_list { /* of an option that may be given several times */
    const char *value[GW_OPTION_LIST_MOST];
    int count;
} gw_option_list;

typedef struct gw_options {
    enum gw_command command;
    const char *script; /* of plugins: NAME, or NULL; of types: FOLDER; of completion: SHELL */
    char *const *rest;  /* of test and new: the words behind them */
    int rest_count;
    /* of those that ask a running gateway; NULL: not given */
    const char *admin, *token, *token_file;
    const char *upstream, *endpoint; /* of drain */
    bool undo, json;
    bool once; /* of top */
    /* of reload, when it is staged */
    const char *share, *lasts, *least, *candidate;
    gw_option_list abort_if;
    bool no_wait, promote, back;
} gw_options;

/* 0: go on with *options. GW_INVALID: the words were wrong, why stands on `err`; exit with GW_EXIT_USAGE. */
int gw_options_parse(int argc, char *const argv[], gw_options *options, FILE *out, FILE *err);

#endif
