/* The commands that speak to a running gateway, by its admin address: reload, status, drain. */
#ifndef GW_PROCESS_REMOTE_H
#define GW_PROCESS_REMOTE_H

#include "net/ask.h"
#include "process/options.h"

#define GW_TOKEN_MOST 4096

/* Where to ask, and by which token. */
typedef struct gw_remote {
    const char *at; /* as the user says it */
    gw_address to;
    const char *token; /* NULL: none */
    char room[GW_TOKEN_MOST];
} gw_remote;

/* The exit status. */
int gw_remote_command(const gw_options *options);

/* ---- for commands of their own ---- */
/* From the options, the environment and what is usual. False: they are wrong; why stands on stderr. */
bool gw_remote_find(const gw_options *options, gw_remote *remote);
/* Why there was no answer (gw_ask_admin's status). */
const char *gw_remote_why(int status);
/* An answer in words, on stdout; or, when it tells an error, on stderr. `what`: a word that gateway.remote knows. The exit status. */
int gw_remote_print(const char *what, const gw_asked *answer);

#endif
