/* The last request heads of the routes that ask for it (record = true), for operators and for `gateway plan`. One ring a worker, of slots of
 * a fixed size; who wants them visits each worker on its own thread (a round). Nothing is kept unless a script asks.
 *
 * Secrets do not get in: the values of fields and query parameters whose names say that they are secret (gw_recent_secret) stand there as
 * "***". Bodies are not kept. */
#ifndef GW_GATEWAY_RECENT_H
#define GW_GATEWAY_RECENT_H

#include "base/text.h"
#include "gateway/exchange.h"

#define GW_RECENT_HEAD 2000 /* bytes of one head; fields that do not fit are left out */
#define GW_RECENT_MOST 5000 /* heads that a script may ask for */

typedef struct gw_recent_head {
    double at;                  /* wall clock */
    gw_ip client_ip;            /* as the gateway took it */
    uint16_t len;               /* 0: nothing stands here */
    bool cut;                   /* fields were left out */
    char bytes[GW_RECENT_HEAD]; /* "GET /x HTTP/1.1\r\nHost: a\r\n\r\n" */
} gw_recent_head;

typedef struct gw_recent {
    uint32_t cap, count; /* count: slots that have something */
    uint64_t taken;      /* heads so far */
    gw_recent_head head[];
} gw_recent;

/* Keeps the head of a request that has been routed, before its chain runs. Without memory it is not kept. */
void gw_recent_take(gw_exchange *x);
void gw_recent_free(gw_engine *e);

/* A name of a header field or query parameter whose value is not for others: authorization, cookies, keys, tokens, passwords. */
bool gw_recent_secret(gw_slice name);
/* A target with the values of secret parameters masked; into `t`. */
void gw_recent_target(gw_text *t, gw_slice target);

#endif
