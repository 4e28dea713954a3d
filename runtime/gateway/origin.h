/* Origins: the hosts of URLs that scripts fetch, each an upstream of one worker's own, so that pools and tries are those of any upstream.
 * Kept while they are used and some after (the least recently used goes when there are too many). Names are looked up when first met and
 * when what is known is old; while a lookup fails, old addresses still serve. */
#ifndef GW_GATEWAY_ORIGIN_H
#define GW_GATEWAY_ORIGIN_H

#include "gateway/fetch.h"

#define GW_ORIGINS_MOST 256        /* of a worker */
#define GW_ORIGIN_IDLE 16          /* idle connections of one */
#define GW_ORIGIN_IDLE_FOR 60.0    /* seconds */
#define GW_ORIGIN_RESOLVE_FOR 30.0 /* seconds after which a name is looked up again */

struct gw_origin {
    gw_upstream upstream;
    gw_list link; /* gw_origins.list, last used first */
    struct gw_origins *owner;
    gw_list waiting; /* of gw_fetch, for addresses */
    uint32_t uses;   /* fetches that name it */
    bool resolving, fixed /* its address is no name */;
    double resolved_at; /* loop time; with addresses */
    uint16_t port;
    gw_slice name; /* "host:port", "[::1]:80", "unix:/path" */
    char host[];   /* NUL-ended: what is looked up; the name stands behind */
};

/* Found or made, and counted as used. `address`: what it is, when it is no name. GW_LIMIT: too many in use; GW_NOMEM. */
int gw_origin_take(gw_engine *e, gw_slice host, uint16_t port, const gw_address *address, gw_origin **out);
void gw_origin_give(gw_origin *o);
/* Has gw_fetch_found called, perhaps from within. */
void gw_origin_resolve(gw_origin *o, gw_fetch *f);

void gw_origins_free(struct gw_origins *origins);
/* For upstream.c: nothing uses this endpoint of an origin any more. */
void gw_origin_endpoint_done(gw_endpoint *e);

#endif
