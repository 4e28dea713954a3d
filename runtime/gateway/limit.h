/* Limits on routes: how many requests a client, a key or everybody may make, met without entering Lua.
 *
 * A gw_limit is what one generation says of a limit; its counters are shared with all generations that name it (shared.h). A gw_limit_use is
 * one place where a script put it. Nothing here takes a lock or memory beyond the exchange's arena; a key is a slice of the request, hashed
 * with the process's secret, so that no client can choose whose place it takes.
 *
 *   client's request ──► check, in order ──► all admit ──► chain, target ──► response (with RateLimit fields where asked for)
 *                              │
 *                              └─ one refuses ──► 429, Retry-After; nobody further down is asked, and counts nothing
 *
 * Who lacks the header, cookie or query parameter that a limit goes by is known by its address, so that leaving it out helps nobody. IPv6
 * clients are known by their /64. */
#ifndef GW_GATEWAY_LIMIT_H
#define GW_GATEWAY_LIMIT_H

#include "gateway/exchange.h"
#include "gateway/shared.h"

enum gw_limit_by {
    GW_LIMIT_BY_NONE, /* one for all */
    GW_LIMIT_BY_IP,
    GW_LIMIT_BY_HEADER,
    GW_LIMIT_BY_COOKIE,
    GW_LIMIT_BY_QUERY,
    GW_LIMIT_BY_PATH,
    GW_LIMIT_BY_ROUTE,
    GW_LIMIT_BY_SCRIPT /* the script gives the key: gw_limit_check_key */
};

struct gw_limit { /* in its generation's arena */
    gw_shared *shared;
    gw_shared_config config; /* this generation's settings; shared->config once it is applied */
    gw_slice item;           /* its name as an item of the RateLimit fields: "\"api\"" */
    gw_slice policy;         /* the RateLimit-Policy line, line end and all */
};

/* A place in a keyed or plain concurrency limit, in the exchange's arena. */
typedef struct gw_limit_hold {
    struct gw_limit_hold *next;
    const gw_shared *shared;
    int place;
    bool keyed; /* kept here: shared->config is the control thread's */
} gw_limit_hold;

/* GW_OK: admitted. GW_LIMIT: refused; *retry_after: seconds until asking again makes sense. GW_NOMEM. */
int gw_limit_check(gw_exchange *x, const gw_limit_use *use, double *retry_after);
/* The same for a key of the caller's. */
int gw_limit_check_key(gw_exchange *x, const gw_limit_use *use, gw_slice key, double *retry_after);
/* The route's limits in order. False: the exchange has its answer. */
bool gw_limits_admit(gw_exchange *x);
/* Whole seconds for Retry-After: rounded up, at least 1; 0 when waiting does not help. */
uint64_t gw_limit_seconds(double retry_after);
/* Gives back all places in concurrency limits. At the end of the exchange. */
void gw_limit_leave(gw_exchange *x);

/* Fills item and policy from config; `label`: its name in the RateLimit fields. False: memory is out. */
bool gw_limit_describe(gw_limit *limit, gw_arena *arena, gw_slice label);

#endif
