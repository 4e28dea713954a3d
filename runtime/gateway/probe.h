/* One probe of an endpoint: a connection of its own, a request, a verdict.
 *
 *     idle ──gw_probe_start──► connecting ──► head ──► body ──► done: well, not well, or nothing known
 *                                   └── tcp ──────────────────►        (the whole of it within spec->timeout)
 *
 * A response is judged as early as it can be: by its status when no text is looked for in its body, else as soon as the text is found.
 * What follows is not read; the connection ends with the probe (the request said so). */
#ifndef GW_GATEWAY_PROBE_H
#define GW_GATEWAY_PROBE_H

#include "gateway/upstream.h"
#include "http/chunked.h"
#include "http/message.h"
#include "net/stream.h"

#define GW_PROBE_BODY_BYTES 65536 /* of a body are searched for the text that it should contain */

enum gw_probe_verdict {
    GW_PROBE_WELL,
    GW_PROBE_FAILED,
    GW_PROBE_UNKNOWN /* it could not be made: memory or descriptors are out on this side, which says nothing of the endpoint */
};

typedef struct gw_probe gw_probe;
struct gw_probe {
    /* the owner's, before gw_probe_start */
    gw_loop *loop;
    gw_buffer_pool *buffers;
    const gw_probe_spec *spec; /* may be replaced by an equal one while the probe is under way */
    void (*done)(gw_probe *p, enum gw_probe_verdict verdict);
    char reason[160]; /* when it did not go well: "status 500", "connection refused", "timeout"; filled before `done` */
    /* the probe's */
    gw_stream stream;
    gw_buffer *in;
    gw_buffer *request;
    gw_head_scan_state scan;
    gw_chunked chunked;
    enum gw_framing framing;
    enum gw_method method;
    uint64_t left;   /* of a body with a length */
    uint32_t kept;   /* bytes at the front of `in` that were searched, but may be the beginning of the text */
    uint32_t budget; /* bytes of the body that are still looked at */
    bool running, in_body, ended;
};

/* `host`: what Host says when the spec names none. GW_OK: `done` will be called, once, never from inside of this call, and may start the
 * probe again or free it. Negative: it came to its end at once; the verdict is in *verdict, `done` will not be called. */
int gw_probe_start(gw_probe *p, const gw_address *to, gw_slice host, enum gw_probe_verdict *verdict);
/* Ends it without a verdict. Fine when it is not under way. */
void gw_probe_stop(gw_probe *p);
/* Whether both ask and expect the same: then a probe that was begun by one can be judged by the other. */
bool gw_probe_spec_same(const gw_probe_spec *a, const gw_probe_spec *b);

#endif
