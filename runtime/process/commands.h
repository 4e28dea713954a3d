/* The table of commands. What completes them in shells is made from it, too (completion.c). */
#ifndef GW_PROCESS_COMMANDS_H
#define GW_PROCESS_COMMANDS_H

#include "process/options.h"

typedef struct gw_command_option {
    const char *name;  /* "--json"; NULL ends a list */
    const char *takes; /* what its value is; NULL: it has none */
    const char *help;  /* for completions; the help text tells it at length */
    size_t at;         /* its member of gw_options: a const char *, or a bool when it takes nothing */
    bool several;      /* a gw_option_list */
} gw_command_option;

typedef struct gw_command_row {
    const char *word, *summary; /* the summary in at most 60 characters */
    enum gw_command command;
    const char *help;
    const char *takes, *may_take; /* the word behind it: must be there, may be there */
    const char *rest;             /* it reads the words behind it itself; what they are */
    const gw_command_option *options;
} gw_command_row;

extern const gw_command_row gw_commands[];
extern const size_t gw_command_count;
extern const char gw_main_help[];

#endif
