/* Why a route does not take a request: the first thing that did not match. For `gateway explain`; nothing here is fast. */
#ifndef GW_GATEWAY_ROUTER_EXPLAIN_H
#define GW_GATEWAY_ROUTER_EXPLAIN_H

#include "gateway/router.h"

/* In the order in which they are looked at. */
enum gw_router_miss {
    GW_MISS_NONE, /* everything matches: the first such route takes the request */
    GW_MISS_HOST,
    GW_MISS_PATH,
    GW_MISS_HEADER,
    GW_MISS_METHOD
};

typedef struct gw_router_reason {
    int miss;          /* enum gw_router_miss */
    uint32_t segment;  /* PATH: the first segment that differs, from 1 on */
    gw_slice expected; /* PATH: what the pattern has there; {NULL,0}: the path should have ended before */
    bool parameter;    /* PATH: that is the name of a parameter, which takes any segment but an empty one */
    gw_slice found; /* PATH: what the path has there; {NULL,0}: it ended before. HEADER: the field's value; {NULL,0}: not there */
    uint32_t condition; /* HEADER: which of the route's */
} gw_router_reason;

/* The i-th route in the order in which they are tried (as gw_router_at; false past the end), looked at for itself: whether one before it
 * takes the request does not matter. The rest as for gw_router_find. Slices are of the pattern, the path and the headers. */
GW_API bool gw_router_explain(const gw_router *r, uint32_t i, gw_slice host, gw_slice path, enum gw_method method,
                              gw_slice method_name, const gw_headers *headers, gw_router_reason *out);

#endif
