/* An exchange: one request and its response, from the complete head to the log line.
 *
 *            head parsed, routed                           no Lua
 *   client ───────────────────────► START ──────────────────────────────────────────────┐
 *                                     │ chain                                           ▼
 *                                     ▼        FORWARD, FORWARD_ONLY                  PICK ◄───────────────┐
 *                        ┌────────► CHAIN ─────────────────────────────────────────►    │ endpoint         │ retry: nothing of the
 *                        │ wake      │  │ WAIT: stays                                   ▼                  │ answer came, request can
 *                        └───────────┘  │ RESPOND                               CONNECT / pooled           │ be sent again
 *                                       │                                               │                  │
 *                                       │                                               ▼                  │
 *                                       │                                      AWAIT (head sent; body ─────┘
 *                                       │                                         streams beside)
 *                                       │                                               │ response head; 1xx passes on
 *                                       │                                    FORWARD: CHAIN again (resume)
 *                                       ▼                                               ▼
 *                                     REPLY ──────────────► DONE ◄─────────── RELAY (body streams)  or  TUNNEL (after 101)
 *
 * The request head stays in the client's read buffer for the whole exchange: slices into it are good until DONE. Request body bytes
 * stream through the room behind it. Strings that scripts make live in the exchange's arena. */
#ifndef GW_GATEWAY_EXCHANGE_H
#define GW_GATEWAY_EXCHANGE_H

#include "gateway/engine.h"
#include "http/chunked.h"

#define GW_REQUEST_ID_MAX 64

typedef struct gw_client gw_client;
typedef struct gw_upconn gw_upconn;
typedef struct gw_try gw_try;

enum gw_exchange_state {
    GW_X_START,
    GW_X_CHAIN,
    GW_X_BODY /* gathering the request body, for Lua or so that it can be sent again */,
    GW_X_PAUSE /* before another try */,
    GW_X_CONNECT,
    GW_X_AWAIT,
    GW_X_RELAY,
    GW_X_TUNNEL,
    GW_X_REPLY,
    GW_X_DONE
};

/* A response made here, by a script, a fixed answer or the gateway's own errors. Slices live in the arena or longer. */
typedef struct gw_reply {
    int status;
    gw_slice body;
} gw_reply;

typedef struct gw_body { /* where one direction's incoming body stands */
    enum gw_framing framing;
    bool done;
    uint64_t left;  /* LENGTH */
    uint64_t bytes; /* so far, without framing */
    gw_chunked chunked;
} gw_body;

enum {                        /* what an exchange holds of counts that all workers share */
       GW_HOLDS_TICKET = 1,   /* the breaker's, of the try under way */
       GW_HOLDS_PLACE = 2,    /* in the upstream's concurrency limit */
       GW_HOLDS_ADAPTIVE = 4, /* in its adaptive limit */
       GW_HOLDS_REQUEST = 8,  /* counted as live in its retry budget */
       GW_HOLDS_RETRY = 16    /* taken from that budget */
};

typedef struct gw_exchange {
    gw_engine *engine;
    gw_client *client;      /* of a fetch: one that is none */
    struct gw_fetch *inner; /* a script's own request (fetch.h), which has no client; NULL: a client's */
    gw_upconn *up;
    gw_try *aside; /* a second try under way; NULL: none. hedge.c */
    gw_generation *generation;
    const gw_route *route;        /* NULL: none matched */
    gw_upstream *upstream;        /* chosen by the route's target or by Lua; NULL: none yet */
    gw_endpoint *endpoint;        /* the one tried last; held until the end, for the log line */
    void *task;                   /* the script floor's, while Lua is suspended */
    void *finals;                 /* the script floor's: finalizers to be run at the end; NULL: none */
    gw_list link;                 /* engine->exchange_list */
    struct gw_limit_hold *holds;  /* places in concurrency limits, given back at the end */
    gw_trace *trace;              /* NULL: the generation does not trace */
    gw_span *span;                /* of the try in front; NULL: none is traced */
    gw_access_extra *extras;      /* what a script adds to the log line */
    const gw_slice *kept_headers; /* the response's, for the log line; NULL: none */
    uint16_t extra_bytes, extra_count;
    gw_slice limit_fields; /* RateLimit fields for the response, whole lines */
    gw_timeout total;      /* the upstream's total timeout */
    gw_later later;        /* to go on from the loop's top rather than from deep in a call */
    double waited;         /* seconds that the chain has waited, the wait at hand not included */
    enum gw_exchange_state state;
    gw_slot_mask tried; /* slots of `tried_in` that failed */
    uint32_t attempts;
    int32_t slot;
    uint32_t share;         /* of the route's split: place of the one that was chosen + 1; 0: not yet */
    uint16_t failed_status; /* what the client is told when no other try does better; 0: none failed yet */
    uint8_t held;           /* GW_HOLDS_* */

    bool request_sent : 1;     /* the request head (at least) went to `up` */
    bool response_started : 1; /* something of the response went to the client: it can only be completed or cut */
    bool close : 1;            /* the client connection ends with this exchange */
    bool resumed : 1;          /* chain resumed (or needs no resume) */
    bool wants_resume : 1;     /* FORWARD: Lua waits for the response */
    bool body_replaced : 1;    /* script set response.body: x->reply.body stands for it */
    bool body_wanted : 1;      /* script asked for the request body */
    bool answer_wanted : 1;    /* script waits for the backend's body */
    bool body_kept : 1;        /* body_text holds the whole request body */
    bool reused : 1;           /* `up` came from the pool */
    bool chunk_out : 1;        /* response goes out chunked by us */
    bool close_out : 1;        /* response goes out framed by close */
    bool aborted : 1;          /* the client went away */
    bool continue_sent : 1;
    bool counted : 1;     /* in the endpoint's live requests: a try is under way */
    bool marked : 1;      /* the last try failed: another endpoint first */
    bool keyed : 1;       /* `key` is set */
    bool pausing : 1;     /* `pause` is in use, here or for a hedge */
    bool keep_wanted : 1; /* the body is gathered so that it can be sent again */
    bool try_head : 1;    /* of this try: its response head came */
    bool try_failed : 1;  /* of this try: it speaks against the endpoint */
    bool repeated : 1;    /* met a dead pooled connection once: only fresh ones from now on */
    bool switching : 1;   /* the backend said 101 to our upgrade */
    bool cut : 1;         /* the response was begun and could not be completed, by no fault of the client's */
    bool send_broken : 1; /* the backend takes no more of the request body; its answer may still come */
    bool waiting : 1;     /* `patience` is in use */

    gw_reply reply;
    gw_slice path, query; /* normalised path; what is forwarded (scripts may set both) */
    char *body_text;      /* malloc'ed: the request body gathered for Lua */
    size_t body_text_len, body_text_cap;
    uint64_t body_most;  /* bound on body_text */
    uint64_t body_limit; /* bytes that the request body may have: the route's body_bytes, or less by a script's word */
    int body_status;     /* how gathering ended: GW_OK or why not */
    char *answer_text;   /* malloc'ed: the backend's body gathered for Lua */
    size_t answer_text_len, answer_text_cap;
    uint64_t answer_most;
    int answer_status;
    uint8_t client_ip_len;
    uint8_t interim;                                /* 1xx heads passed on */
    bool https;                                     /* scheme as the client saw it (from a trusted proxy, or TLS) */
    bool trusted;                                   /* the peer is in trusted_proxies */
    gw_slice id;                                    /* request id; empty when switched off */
    const char *error;                              /* for the log line: what went wrong; NULL */
    int status;                                     /* sent to the client; 0: none yet; 499: it went away before */
    double started, up_started, up_first, up_ended; /* loop time; 0: not yet */
    uint64_t bytes_out;                             /* response body bytes to the client */
    gw_body in, out;                                /* request body from the client, response body from the backend */
    gw_arena arena;
    /* everything above is zeroed at the start, nothing below is */
    gw_timeout pause;                /* before another try; while `pausing` */
    gw_timeout patience;             /* with a chain that waits; while `waiting` */
    double wait_began;               /* loop time; while `waiting` */
    const gw_endpoint_set *tried_in; /* that of the last pick */
    uint64_t key;                    /* what hash and maglev pick by; when `keyed` */
    double try_started;              /* loop time of the last pick */
    double retry_after;              /* seconds, from the breakers that refused; INFINITY: none did */
    int32_t ticket;                  /* the breaker's; with GW_HOLDS_TICKET */
    gw_ip client_ip;
    char client_ip_text[48];
    char id_text[GW_REQUEST_ID_MAX];
    gw_found found; /* params */
    gw_request request;
    gw_response response;
} gw_exchange;

/* ---- for the script floor ---- */

/* Goes on after GW_CHAIN_WAIT: the chain's resume is called from the loop's top. */
void gw_exchange_wake(gw_exchange *x);
/* Where a route with a split sends this request, chosen at the first call: place in its shares. -1: it has no split. */
int gw_exchange_choose(gw_exchange *x);
/* What the upstream's balancer picks by, when it is a script that says so (GW_HASH_ON_SCRIPT). */
void gw_exchange_key(gw_exchange *x, gw_slice text);
/* The whole request body, gathered (bounded by the route's body_bytes, or by `most` if that is less). GW_OK: body_text is there.
 * GW_AGAIN: the chain must WAIT; it is woken when it is there, or when it failed. GW_LIMIT (413 unless the script answers otherwise),
 * GW_EOF (the client went away), GW_NOMEM; GW_INVALID: it already streams. */
int gw_exchange_body(gw_exchange *x, uint64_t most);
/* The same for the backend's body, once its head is there (in the chain's resume): GW_OK: reply.body has it, and it is what goes out.
 * GW_LIMIT when its length says so beforehand: it still streams. GW_LIMIT, GW_RESET, GW_EOF (it ended too early), GW_TIMEOUT, GW_INVALID (bad framing): a part is gone, the answer can only be a 502
 * or one that the script makes. */
int gw_exchange_response_body(gw_exchange *x, uint64_t most);

#endif
