/* Inside the gateway floor: who calls whom between client.c, exchange.c, retry.c, forward.c, relay.c, tunnel.c, compose.c, reply.c. */
#ifndef GW_GATEWAY_FLOW_H
#define GW_GATEWAY_FLOW_H

#include "base/text.h"
#include "gateway/client.h"

/* Counters have one writer and many readers: a plain add, seen whole by the others. */
#define GW_COUNT_ADD(field, n) __atomic_store_n(&(field), (field) + (uint64_t)(n), __ATOMIC_RELAXED)

#define GW_COUNT_SMALL(field, n) __atomic_store_n(&(field), (field) + (uint32_t)(n), __ATOMIC_RELAXED)

/* The same for the worker and for the exchange's upstream; for what is rare. */
#define GW_COUNT_UPSTREAM(x, field)                                                                                              \
    do {                                                                                                                         \
        GW_COUNT_ADD((x)->engine->counters.field, 1);                                                                            \
        GW_COUNT_ADD((x)->upstream->metrics->cells[(x)->engine->index].field, 1);                                                \
    } while (0)

#define GW_MEMORY_503 "out of memory: a request is answered with 503" /* for gw_engine_out_of_memory */

/* ---- client.c ---- */
void gw_clients_close_soon(gw_engine *e, const gw_listener *only); /* only NULL: all */

/* ---- exchange.c ---- */
/* Takes a reference to g. NULL: memory is out. */
gw_exchange *gw_exchange_begin(gw_client *c, gw_generation *g);
/* For a script's own request: an exchange that only goes upstream. `c` stands in for a client. NULL: memory is out. */
gw_exchange *gw_exchange_begin_inner(gw_client *c, gw_generation *g, struct gw_fetch *f);
void gw_exchange_end_inner(gw_exchange *x);
/* From START on. head_len bytes at the client's in->start; or `bad` says why there is no good head. May end the exchange. */
void gw_exchange_run(gw_exchange *x, uint32_t head_len, const gw_bad_head *bad);
/* Events of the client's side. Each may end the exchange. */
void gw_exchange_client_readable(gw_exchange *x);
void gw_exchange_client_drained(gw_exchange *x);
void gw_exchange_client_ended(gw_exchange *x, int status); /* GW_EOF or GW_RESET */
void gw_exchange_client_expired(gw_exchange *x);
/* Goes by what the chain said. */
void gw_exchange_verdict(gw_exchange *x, enum gw_chain_verdict verdict);
/* The response is complete as far as we write it: ends the exchange when the client has taken all. */
void gw_exchange_complete(gw_exchange *x);
/* Ends it at once: closes the client's connection so that the client can tell that the answer is not whole. */
void gw_exchange_abort(gw_exchange *x, const char *error);
/* The same because there was no memory to go on with. */
void gw_exchange_out_of_memory(gw_exchange *x);

/* ---- gather.c: bodies into memory for Lua ---- */
void gw_gather_response_pump(gw_exchange *x);
void gw_gather_response_ended(gw_exchange *x, int status); /* the backend's side ended, or a timeout passed */
void gw_gather_pump(gw_exchange *x);
void gw_gather_failed(gw_exchange *x, int status);
/* What a client is told whose body could not be gathered (413, 408, 503, 400), and in which words. */
int gw_gather_http_status(int status);
const char *gw_gather_reason(int status);

/* ---- retry.c: the tries of a request ---- */
void gw_forward_start(gw_exchange *x); /* picks, connects, sends; x->upstream is set */
/* The same from where the body has been gathered. */
void gw_forward_kept(gw_exchange *x);
/* Another try, now or after a while, which has been taken from the budget. The one before is over; x->up, if there is one, has its answer,
 * which goes out when nobody else can be had. */
void gw_retry_begin(gw_exchange *x);

/* ---- forward.c: to the upstream ---- */
struct gw_upconn {
    gw_stream stream; /* first: stream handlers cast */
    gw_engine *engine;
    gw_exchange *x; /* NULL: idle in the pool */
    gw_endpoint *endpoint;
    gw_buffer *in;
    gw_list link; /* endpoint->worker[].idle */
    gw_list all;  /* engine->upconn_list */
    gw_head_scan_state scan;
    uint32_t requests;
    bool keep;  /* may go to the pool: the backend keeps it and the message ended cleanly */
    bool ended; /* the backend ended its side */
};
/* Lets go of the upstream connection (of all, when two tries are under way): into the pool when it can be used again, else closed. The try is over, and judged. */
void gw_forward_release(gw_exchange *x, bool reusable);
/* Of the try in front alone: what gw_forward_release does once there is no other. */
void gw_forward_let_go(gw_exchange *x, bool reusable);
/* To the endpoint that was picked, over a pooled connection or a new one. */
void gw_forward_try(gw_exchange *x, gw_endpoint *endpoint);
/* The head in x->response is the one that counts: to Lua if it waits for one, and out. */
void gw_forward_answer(gw_exchange *x);
/* The final response head is parsed (and the chain done with it): out it goes. */
void gw_forward_respond(gw_exchange *x);
/* What went wrong: bits that gw_retry_spec's `on` names, and others. */
enum {
    GW_FAULT_OURS = 0, /* says nothing of the endpoint */
    GW_FAULT_CONNECT = GW_RETRY_CONNECT,
    GW_FAULT_RESET = GW_RETRY_RESET,
    GW_FAULT_TIMEOUT = GW_RETRY_TIMEOUT,
    GW_FAULT_BAD = 8,     /* its answer cannot be read */
    GW_FAULT_STATUS = 16, /* its answer is one that asks for another try */
    GW_FAULT_SILENT = 32, /* with RESET: not a byte of an answer came */
    GW_FAULT_TOTAL = 64   /* the time for all tries is over */
};
/* An error while forwarding: another try, reply or abort, as the state allows. */
void gw_forward_failed(gw_exchange *x, int status, const char *error, uint32_t fault);
/* The backend's answer broke off: aborts. */
void gw_forward_broke(gw_exchange *x, const char *error);
/* Seconds that a backend has for the head of its answer. */
static inline double gw_forward_patience(const gw_exchange *x)
{
    double try = x->upstream->retry.per_try, first = x->upstream->timeouts.first_byte;
    return gw_unlikely(try > 0) && (try < first || first <= 0) ?
    try : first
        ;
}
/* The same because there was no memory: 503. */
void gw_forward_out_of_memory(gw_exchange *x);
void gw_upconn_close(gw_upconn *up);
void gw_endpoint_unhold(gw_engine *e, gw_endpoint *endpoint);

/* ---- attempt.c: one try at an endpoint ---- */
/* A place with the upstream: its limits, its retry budget. False: it is full, and the client was told. */
bool gw_attempt_enter(gw_exchange *x);
/* All that x->held, but a breaker's ticket. */
void gw_attempt_leave(gw_exchange *x);
/* An endpoint, counted, with its breaker's leave; those that failed this exchange last (`again`: even they, when nobody else is left).
 * NULL: none; x->retry_after says when a breaker may let one through. */
gw_endpoint *gw_attempt_pick(gw_exchange *x, bool again);
/* The try is over: balancer, breaker and passive health learn from x->try_head and x->try_failed. */
void gw_attempt_over(gw_exchange *x);
/* The answer's head is there. True: its status asks for another try. */
bool gw_attempt_head(gw_exchange *x, int status);
/* Whether the request can be sent a second time. */
bool gw_attempt_repeatable(const gw_exchange *x);
/* Whether the upstream's rules allow another try after this fault; then it has been taken from the budget. */
bool gw_attempt_may_retry(gw_exchange *x, uint32_t fault);
/* There is no try to take it for: it goes back to the budget. */
void gw_attempt_give_back(gw_exchange *x);
double gw_attempt_backoff(gw_exchange *x); /* seconds */
/* 503 with Retry-After. */
void gw_attempt_refuse(gw_exchange *x, const char *error, double seconds);

/* ---- hedge.c: a second try beside the first ---- */
void gw_hedge_arm(gw_exchange *x);    /* the request is sent: if its answer is late, there will be a second try */
void gw_hedge_swap(gw_exchange *x);   /* the try aside comes to the front */
void gw_hedge_drop(gw_exchange *x);   /* the try aside is let go */
void gw_hedge_failed(gw_exchange *x); /* the try in front is over (x->try_failed says how): the other takes its place */
void gw_hedge_over(gw_exchange *x);   /* a head came: no hedge any more */

/* ---- relay.c: bodies ---- */
/* Takes body bytes out of their framing, in place: how many of bytes[0, len) were used (what follows belongs to the next message),
 * *data of them, moved to the front, are body. Negative: bad framing, *reason says why. */
int64_t gw_body_take(gw_body *b, char *bytes, size_t len, size_t *data, const char **reason);
/* A kept body goes out by its length, unless there are trailers behind it. */
static inline bool gw_relay_chunked(const gw_exchange *x)
{
    return x->request.framing == GW_FRAMING_CHUNKED && (!x->body_kept || x->in.chunked.trailers_len > 0);
}
/* `head` (may be empty) and what there is of the body, in the client's buffer or kept, go upstream, in the framing that x->in says.
 * May end the exchange. */
void gw_relay_request(gw_exchange *x, gw_slice head);
/* What stands in up->in goes to the client behind `head`. False: the exchange is over. */
bool gw_relay_response(gw_exchange *x, gw_slice head);
void gw_relay_response_end(gw_exchange *x); /* the backend ended its side */

/* ---- tunnel.c ---- */
void gw_tunnel_start(gw_exchange *x, gw_slice head);
void gw_tunnel_client_readable(gw_exchange *x);
void gw_tunnel_up_readable(gw_exchange *x);
void gw_tunnel_drained(gw_exchange *x, bool client_side);
void gw_tunnel_ended(gw_exchange *x, bool client_side);

/* ---- compose.c: heads, into text ---- */
void gw_compose_request(gw_exchange *x, gw_text *t);
void gw_compose_response(gw_exchange *x, gw_text *t);
void gw_compose_interim(gw_exchange *x, gw_text *t); /* 1xx */

/* ---- reply.c ---- */
/* The gateway's own answer: small JSON with the request id. Goes through the chain's resume when Lua waits for a response. When a
 * response has already begun, the exchange is cut instead. */
void gw_reply_error(gw_exchange *x, int status, const char *error);
void gw_reply_answer(gw_exchange *x, const gw_answer *answer);
/* Steps over what is in the buffer of a backend's body that nobody wants. True: nothing of it is still to come. */
bool gw_reply_step_over_response(gw_exchange *x);
/* Sends x->reply with the fields in x->response.headers. */
void gw_reply_send(gw_exchange *x);

/* ---- access_log.c ---- */
void gw_access_log(gw_exchange *x);

#endif
