/* One request to a gateway's admin address, by a command that waits for the answer: a connection of its own, blocking. */
#ifndef GW_NET_ASK_H
#define GW_NET_ASK_H

#include "net/address.h"

typedef struct gw_ask {
    const char *method, *path; /* a path with its query, as they go on the wire */
    const char *token;         /* NULL: none */
    double seconds;            /* for all of it */
} gw_ask;

typedef struct gw_asked {
    int status;
    char *text; /* malloc'ed, NUL-terminated: the whole answer; the body in it */
    const char *body;
    size_t body_len;
} gw_asked;

/* 0; or GW_REFUSED: nobody there; GW_TIMEOUT; GW_RESET: it ended too early; GW_INVALID: no answer of a gateway's; GW_NOMEM, GW_NOFILES. */
int gw_ask_admin(const gw_address *to, const gw_ask *ask, gw_asked *answer);
void gw_asked_free(gw_asked *answer);

#endif
