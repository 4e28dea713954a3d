/* A script's own request: to an upstream of its generation, or to a URL.
 *
 *   new ── method, headers, body, target ──► start ──► STARTING ──► UNDER_WAY ──► FINISHING ──► OVER: `done` was called
 *                                            (names are looked up)  │  deadline, an error ──►    (what came is there until free)
 *                                                                   └── free: cancelled at any time
 *
 * It is an exchange without a client, so everything that proxied requests have is there: balancer, health, breakers, retries, pools, and the
 * strict reading of what backends send. Where an exchange asks its chain (gw_chain_ops.resume), the body is gathered; nothing of it
 * enters Lua. The exchange's request head, its arena and what came in the end belong to the fetch.
 *
 * On the worker's thread. `done` is called from the loop's top, never from within another call. */
#ifndef GW_GATEWAY_FETCH_H
#define GW_GATEWAY_FETCH_H

#include "gateway/client.h"

#define GW_FETCHES_MOST 1000 /* of a worker at once */
#define GW_FETCH_PROBLEM 320

typedef struct gw_origin gw_origin;
typedef struct gw_fetch gw_fetch;

enum gw_fetch_phase { GW_FETCH_NEW, GW_FETCH_STARTING, GW_FETCH_UNDER_WAY, GW_FETCH_FINISHING, GW_FETCH_OVER };

struct gw_fetch {
    gw_client client; /* stands in for one where an exchange's client is looked at */
    gw_engine *engine;
    gw_exchange *x;      /* NULL: it ended under us */
    gw_upstream *target; /* NULL: a URL, of: */
    gw_origin *origin;   /* counted in its uses */
    gw_list waiting;     /* for the origin's addresses */
    gw_timeout deadline; /* of all of it */
    gw_slice where;      /* for messages; in the exchange's arena */
    uint64_t most;       /* bytes of the answer's body */
    void (*done)(gw_fetch *f);
    void *data; /* the caller's */
    uint8_t phase;
    bool good;                      /* with OVER: x->response and `body` are the answer */
    gw_slice body;                  /* the answer's */
    char problem[GW_FETCH_PROBLEM]; /* with OVER and not good */
};

/* GW_LIMIT: too many at once; GW_NOMEM. */
int gw_fetch_new(gw_engine *e, gw_generation *g, gw_fetch **out);
/* Cancels it when it is not over. */
void gw_fetch_free(gw_fetch *f);

/* Until it is started. All copy. GW_INVALID where something is not well-formed, *reason (unless NULL) says why; GW_REFUSED: a header field
 * that frames the connection, a method that cannot be (CONNECT, TRACE); GW_LIMIT: too many fields, or hosts; GW_NOMEM. */
int gw_fetch_method(gw_fetch *f, gw_slice method);
int gw_fetch_header(gw_fetch *f, gw_slice name, gw_slice value);
int gw_fetch_body(gw_fetch *f, gw_slice body);
int gw_fetch_upstream(gw_fetch *f, gw_upstream *u, gw_slice path_and_query, const char **reason);
int gw_fetch_url(gw_fetch *f, gw_slice url, const char **reason);
/* The request that it is made for: client address for the balancer's key; X-Request-ID and trace context are handed on. */
int gw_fetch_for(gw_fetch *f, const gw_exchange *x);

/* `seconds` for all of it; 0: the upstream's timeouts only. */
void gw_fetch_start(gw_fetch *f, double seconds, uint64_t most, void (*done)(gw_fetch *f), void *data);

/* ---- for exchange.c ---- */
void gw_fetch_turn(gw_fetch *f);
void gw_fetch_lost(gw_fetch *f, const char *error); /* its exchange has ended */

/* ---- for origin.c: the addresses are there, or why not ---- */
void gw_fetch_found(gw_fetch *f, const char *problem);

/* ---- for engine.c ---- */
void gw_fetches_free(gw_engine *e); /* no exchange and no upstream connection is left */

/* One worker's; made at its first fetch. */
typedef struct gw_fetches {
    gw_slab slab;
    uint32_t live;
    struct gw_origins *origins;
} gw_fetches;

#endif
