/* A client connection: reads heads, hands each to an exchange, one at a time, in order; idle in between.
 *
 *            first byte            head complete             exchange ended
 *   IDLE ───────────────► HEAD ───────────────────► BUSY ───────────────────┬──► IDLE, or HEAD again (pipelined bytes)
 *    │ idle timeout        │ header timeout: 408                            └──► LINGER (close wanted)
 *    ▼                     ▼
 *  closed                 BUSY (error reply)                               LINGER: our side is shut; what still comes is read
 *                                                                          and dropped, so that the answer is not lost to a reset
 *
 * The read buffer is there only while something is in it or an exchange uses it. */
#ifndef GW_GATEWAY_CLIENT_H
#define GW_GATEWAY_CLIENT_H

#include "gateway/exchange.h"

enum gw_client_state { GW_CLIENT_IDLE, GW_CLIENT_HEAD, GW_CLIENT_BUSY, GW_CLIENT_LINGER, GW_CLIENT_CLOSED };

struct gw_client {
    gw_stream stream; /* first: stream handlers cast */
    gw_engine *engine;
    gw_exchange *x;        /* with BUSY */
    gw_buffer *in;         /* [start: head of the message at hand … end) */
    gw_listener *listener; /* it came by; NULL: that is gone */
    gw_list link;          /* engine->client_list */
    double linger_until;   /* with LINGER: loop time */
    gw_head_scan_state scan;
    uint32_t pos;      /* with BUSY: first byte in `in` behind the head that nobody has taken yet */
    uint32_t head_end; /* with BUSY: where the head ends in `in` */
    uint32_t requests;
    uint8_t state;
    bool processing; /* inside the loop over pipelined heads */
    bool close_soon; /* draining, or its listener was removed */
    bool ended;      /* the peer ended its side */
    gw_ip ip;
    uint16_t port;
};

/* The exchange is over and freed: next request, idle, or close. */
void gw_client_next(gw_client *c, bool close);
/* Closes at once and frees; the exchange must be gone. */
void gw_client_close(gw_client *c);
/* Switches reading on or off by whether there is room for more. */
void gw_client_want_room(gw_client *c);

#endif
