/* Distributed tracing: W3C Trace Context (https://www.w3.org/TR/trace-context/, level 1) continued or begun, and spans for OpenTelemetry.
 *
 * A request is a server span; each try at an upstream is a client span below it, and it is the client span's id that the backend gets as its
 * parent. Whether a trace is sampled is decided at the head: as the parent says, else by chance; spans of requests that failed are exported
 * all the same when the script wants that. Spans are written as lines of JSON into the engine's `spans` ring; net/otlp.h sends them on.
 *
 * Nothing of this costs a request of a generation that declares no tracing: its traceparent, if any, passes through untouched. */
#ifndef GW_GATEWAY_TRACE_H
#define GW_GATEWAY_TRACE_H

#include "net/otlp.h"

struct gw_exchange;

#define GW_TRACEPARENT_BYTES 55 /* "00-" 32 hex "-" 16 hex "-" 2 hex */
#define GW_TRACE_SPANS_MOST 64  /* spans below its own that one request has at most */

typedef struct gw_trace_spec {
    bool on;
    bool middleware;   /* a span for each, too */
    bool errors;       /* spans of requests that failed, whether sampled or not */
    double ratio;      /* of traces that begin here: how many are sampled, 0 to 1 */
    gw_otlp_spec otlp; /* .url.ptr NULL: nothing is exported */
    gw_slice source;
} gw_trace_spec;

/* One try at an upstream, or one middleware. In the exchange's arena. */
typedef struct gw_span {
    struct gw_span *next;
    const struct gw_span *parent; /* the middleware around it; NULL: the request itself */
    gw_slice name;                /* of a middleware; {NULL,0}: a try */
    char id[16];
    double started, ended; /* loop time; ended 0: not yet */
    gw_slice endpoint;     /* in the arena */
    const char *error;
    uint32_t number;
    uint16_t status; /* 0: none came */
} gw_span;

typedef struct gw_trace {
    char header[GW_TRACEPARENT_BYTES]; /* traceparent as it goes upstream; the trace's id stands in it */
    char parent[16], span[16];         /* ids in hex; of this request's own span */
    bool has_parent, sampled;
    uint32_t count;
    double wall; /* at loop time 0; when spans are written */
    gw_span *first, **last;
    gw_span *open; /* the innermost middleware that runs */
} gw_trace;

static inline gw_slice gw_trace_id(const gw_trace *t)
{
    return (gw_slice){t->header + 3, 32};
}

/* Takes up the request's traceparent, or begins a trace. Without memory the request goes on untraced. */
void gw_trace_begin(struct gw_exchange *x);
/* A try begins: x->span. */
void gw_trace_try(struct gw_exchange *x);
/* The try of x->span is over. */
void gw_trace_try_over(struct gw_exchange *x);
/* A middleware begins (`name` is copied); NULL: there is no trace, or it has spans enough. */
gw_span *gw_trace_enter(struct gw_exchange *x, gw_slice name);
/* It is over: whatever began in it is, too. NULL is fine. */
void gw_trace_leave(struct gw_exchange *x, gw_span *s);
/* The exchange ends: spans go into the ring, if they are wanted. */
void gw_trace_end(struct gw_exchange *x);

/* ---- pure ---- */
/* Reads version 00 (and what higher versions have in common with it); false: begin anew. */
GW_API bool gw_traceparent_parse(const char *bytes, size_t len, char id[32], char parent[16], bool *sampled);

#endif
