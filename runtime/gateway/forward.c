/* To the upstream and back: pick an endpoint, take a pooled connection or make one, send, wait for the head.
 *
 * A connection:   connecting ──► busy (with one exchange) ◄──► idle (in endpoint->worker[].idle) ──► closed
 * The read watcher stays armed in the pool: a backend that closes an idle connection is noticed at the loop's next turn. */
#include "gateway/flow.h"
#include "gateway/metrics.h"
#include <math.h>
#include <stdlib.h>

#define INTERIM_MOST 32 /* 1xx heads for one request */

/* What a backend may send; a head has to fit a standard buffer. */
static const gw_head_limits response_limits = {.request_line = 8192, .header_bytes = 32000, .headers = GW_HEADERS_LIMIT};

static const gw_stream_ops up_ops;

/* ---- connections ---- */

static void endpoint_hold(gw_engine *e, gw_endpoint *endpoint)
{
    endpoint->worker[e->index].uses++;
}

void gw_endpoint_unhold(gw_engine *e, gw_endpoint *endpoint)
{
    gw_endpoint_worker *w = &endpoint->worker[e->index];
    if (--w->uses == 0 && w->dropped)
        gw_endpoint_worker_done(endpoint);
}

void gw_upconn_close(gw_upconn *up)
{
    gw_engine *e = up->engine;
    if (!gw_list_empty(&up->link)) {
        gw_list_remove(&up->link);
        up->endpoint->state->idle[e->index]--;
        GW_COUNT_SMALL(up->endpoint->worker[e->index].idle_count, -1);
    }
    GW_COUNT_SMALL(up->endpoint->worker[e->index].connections, -1);
    gw_list_remove(&up->all);
    gw_stream_close(&up->stream);
    gw_buffer_give(&e->buffers, up->in);
    gw_endpoint *endpoint = up->endpoint;
    gw_slab_give(&e->upconns, up);
    gw_endpoint_unhold(e, endpoint);
}

void gw_endpoint_drop(gw_engine *e, gw_endpoint *endpoint)
{
    gw_endpoint_worker *w = &endpoint->worker[e->index];
    w->uses++; /* so that it does not go while we look */
    w->dropped = true;
    while (!gw_list_empty(&w->idle))
        gw_upconn_close(gw_container_of(w->idle.next, gw_upconn, link));
    gw_endpoint_unhold(e, endpoint);
}

static bool upconn_can_idle(const gw_upconn *up, const gw_exchange *x)
{
    const gw_upstream *u = x->upstream;
    return up->keep && !up->ended && !x->send_broken && (x->in.done || x->body_kept) && x->out.done && !up->in &&
           !gw_stream_blocked(&up->stream) && (u->pool.requests == 0 || up->requests < u->pool.requests) && u->pool.idle > 0 &&
           !up->endpoint->worker[up->engine->index].dropped;
}

void gw_forward_release(gw_exchange *x, bool reusable)
{
    if (gw_unlikely(x->aside != NULL))
        gw_hedge_drop(x);
    gw_forward_let_go(x, reusable);
}

void gw_forward_let_go(gw_exchange *x, bool reusable)
{
    gw_upconn *up = x->up;
    gw_engine *e = x->engine;
    if (x->counted) {
        gw_attempt_over(x);
        x->up_ended = gw_loop_now(e->loop);
    }
    if (!up)
        return;
    x->up = NULL;
    up->x = NULL;
    if (up->in && gw_buffer_used(up->in) == 0) {
        gw_buffer_give(&e->buffers, up->in);
        up->in = NULL;
    }
    if (!reusable || !upconn_can_idle(up, x)) {
        gw_upconn_close(up);
        return;
    }
    gw_endpoint_worker *w = &up->endpoint->worker[e->index];
    uint32_t *idle = &up->endpoint->state->idle[e->index];
    if (*idle >= x->upstream->pool.idle) {
        gw_upconn *oldest = gw_list_empty(&w->idle) ? up : gw_container_of(w->idle.prev, gw_upconn, link);
        if (oldest == up) {
            gw_upconn_close(up);
            return;
        }
        gw_upconn_close(oldest);
    }
    gw_list_push_front(&w->idle, &up->link);
    ++*idle;
    GW_COUNT_SMALL(w->idle_count, 1);
    gw_stream_read_on(&up->stream);
    gw_stream_timeout(&up->stream, x->upstream->pool.idle_for);
}

/* ---- sending ---- */

static void forward_send(gw_exchange *x)
{
    gw_engine *e = x->engine;
    gw_text head = gw_text_on(e->scratch, GW_SCRATCH_BYTES);
    gw_compose_request(x, &head);
    if (head.cut) {
        gw_forward_failed(x, 500, "request head too large to forward", GW_FAULT_OURS);
        return;
    }
    x->state = GW_X_AWAIT;
    x->request_sent = true;
    x->up->requests++;
    memset(&x->up->scan, 0, sizeof x->up->scan);
    if (gw_unlikely(x->upstream->retry.hedge > 0))
        gw_hedge_arm(x);
    gw_relay_request(x, gw_text_done(&head));
}

void gw_forward_try(gw_exchange *x, gw_endpoint *endpoint)
{
    gw_engine *e = x->engine;
    gw_upstream *u = x->upstream;
    x->attempts++;
    endpoint_hold(e, endpoint);
    if (x->endpoint)
        gw_endpoint_unhold(e, x->endpoint);
    x->endpoint = endpoint;
    if (!x->up_started)
        x->up_started = gw_loop_now(e->loop);
    if (gw_unlikely(x->trace != NULL))
        gw_trace_try(x);

    gw_endpoint_worker *w = &endpoint->worker[e->index];
    GW_COUNT_ADD(w->tries, 1);
    if (!x->repeated && !gw_list_empty(&w->idle)) {
        gw_upconn *up = gw_container_of(w->idle.next, gw_upconn, link);
        gw_list_remove(&up->link);
        endpoint->state->idle[e->index]--;
        GW_COUNT_SMALL(w->idle_count, -1);
        GW_COUNT_ADD(e->counters.upstream_reused, 1);
        up->x = x;
        up->keep = false;
        x->up = up;
        x->reused = true;
        forward_send(x);
        return;
    }
    gw_upconn *up = gw_slab_take(&e->upconns);
    if (!up) {
        gw_forward_out_of_memory(x);
        return;
    }
    memset(up, 0, sizeof *up);
    up->engine = e;
    up->x = x;
    up->endpoint = endpoint;
    gw_list_init(&up->link);
    int status = gw_stream_connect(&up->stream, e->loop, &e->buffers, &up_ops, &endpoint->address);
    if (status != GW_OK) {
        gw_slab_give(&e->upconns, up);
        bool ours = status == GW_NOFILES || status == GW_NOMEM;
        gw_forward_failed(x, ours ? 503 : 502, status == GW_NOFILES ? "out of file descriptors" : "upstream connect failed",
                          ours ? GW_FAULT_OURS : GW_FAULT_CONNECT);
        return;
    }
    gw_list_push_back(&e->upconn_list, &up->all);
    endpoint_hold(e, endpoint);
    GW_COUNT_SMALL(w->connections, 1);
    GW_COUNT_UPSTREAM(x, upstream_connects);
    x->up = up;
    x->reused = false;
    x->state = GW_X_CONNECT;
    gw_stream_timeout(&up->stream, u->timeouts.connect);
}

/* ---- the response ---- */

void gw_forward_respond(gw_exchange *x)
{
    gw_engine *e = x->engine;
    gw_response *r = &x->response;
    bool begun = x->answer_status == GW_LIMIT && x->answer_text_len; /* too long for the script: it streams after all */
    if (x->answer_status < 0 && !x->body_replaced && !begun) {       /* a part of the body was taken for Lua and is gone */
        if (x->answer_status == GW_NOMEM) {
            gw_forward_out_of_memory(x);
            return;
        }
        gw_forward_failed(x, 502, "response body broke off", GW_FAULT_OURS);
        return;
    }
    if (x->body_replaced || ((r->status == 204 || r->status == 304) && x->out.framing != GW_FRAMING_NONE)) {
        x->reply.status = r->status;
        if (!x->body_replaced)
            x->reply.body = GW_NO_SLICE;
        gw_reply_send(x);
        return;
    }
    if (x->switching && r->status == 101) {
        gw_text head = gw_text_on(e->scratch, GW_SCRATCH_BYTES);
        gw_compose_interim(x, &head);
        if (head.cut)
            gw_forward_failed(x, 502, "response head too large", GW_FAULT_OURS);
        else
            gw_tunnel_start(x, gw_text_done(&head));
        return;
    }
    if (x->switching || r->status < 200) { /* a script made something else of it, or an interim status of an answer */
        x->reply.status = r->status < 200 ? 500 : r->status;
        gw_reply_send(x);
        return;
    }
    x->chunk_out = x->close_out = false;
    if (x->out.framing == GW_FRAMING_CHUNKED || x->out.framing == GW_FRAMING_CLOSE) {
        if (x->request.minor >= 1)
            x->chunk_out = true;
        else {
            x->close_out = true;
            x->close = true;
        }
    }
    if (e->draining || x->client->close_soon)
        x->close = true;
    if (!x->in.done && !x->body_kept) /* answered before the request was whole: nobody will wait for its rest */
        x->close = true;
    gw_text head = gw_text_on(e->scratch, GW_SCRATCH_BYTES);
    gw_compose_response(x, &head);
    if (head.cut) {
        gw_headers_clear(&r->headers);
        gw_forward_failed(x, 502, "response head too large", GW_FAULT_OURS);
        return;
    }
    x->status = r->status;
    x->state = GW_X_RELAY;
    gw_relay_response(x, gw_text_done(&head));
}

/* The head in x->response is the one that counts: to Lua if it waits for one, and out. */
void gw_forward_answer(gw_exchange *x)
{
    gw_upconn *up = x->up;
    if (!x->wants_resume || x->resumed) {
        gw_forward_respond(x);
        return;
    }
    x->resumed = true;
    x->state = GW_X_CHAIN;
    enum gw_chain_verdict verdict = x->route->chain_ops->resume(x);
    if (verdict == GW_CHAIN_WAIT && !x->answer_wanted) { /* the head must stay where it is */
        gw_stream_read_off(&up->stream);
        gw_stream_timeout(&up->stream, 0);
    }
    gw_exchange_verdict(x, verdict);
}

/* A final head is in x->response. */
static void forward_final(gw_exchange *x)
{
    gw_response *r = &x->response;
    x->up_first = gw_loop_now(x->engine->loop);
    x->error = NULL; /* what an earlier try met is over */
    if (gw_unlikely(x->span != NULL))
        x->span->status = r->status;
    memset(&x->out, 0, sizeof x->out);
    x->out.framing = r->framing;
    x->out.left = r->content_length;
    x->out.done = r->framing == GW_FRAMING_NONE || (r->framing == GW_FRAMING_LENGTH && r->content_length == 0);
    if (r->framing == GW_FRAMING_CHUNKED)
        gw_chunked_init(&x->out.chunked, &x->arena);
    x->up->keep = r->keep_alive && r->framing != GW_FRAMING_CLOSE;
    if (gw_unlikely(r->status >= 500))
        GW_COUNT_ADD(x->endpoint->worker[x->engine->index].failed, 1);
    if (gw_unlikely(gw_attempt_head(x, r->status)) && gw_attempt_may_retry(x, GW_FAULT_STATUS)) {
        x->error = "upstream answered with a status that asks for another try";
        x->failed_status = r->status;
        x->marked = true;
        gw_attempt_over(x); /* before the next pick: who failed may be out by it */
        gw_stream_read_off(&x->up->stream);
        gw_stream_timeout(&x->up->stream, 0);
        gw_retry_begin(x);
        return;
    }
    gw_forward_answer(x);
}

/* Heads in up->in: 1xx pass on, 101 opens the tunnel, the final one decides. */
static void forward_heads(gw_exchange *x)
{
    gw_engine *e = x->engine;
    gw_upconn *up = x->up;
    for (;;) {
        gw_buffer *b = up->in;
        gw_bad_head bad = {502, "bad response head"};
        int n = gw_head_scan(b->bytes + b->start, gw_buffer_used(b), &response_limits, true, &up->scan, &bad);
        if (n == GW_AGAIN) {
            if (up->ended) {
                gw_forward_failed(x, 502, "upstream closed in the middle of the response head", GW_FAULT_RESET);
                return;
            }
            if (gw_buffer_room(b) == 0)
                gw_buffer_compact(b);
            return;
        }
        if (n < 0 ||
            gw_response_parse(&x->response, b->bytes + b->start, (size_t)n, x->request.method, &response_limits, &bad) != GW_OK) {
            gw_forward_failed(x, 502, bad.reason, GW_FAULT_BAD);
            return;
        }
        b->start += (uint32_t)n;
        memset(&up->scan, 0, sizeof up->scan);
        if (gw_unlikely(x->aside || x->pausing))
            gw_hedge_over(x);
        if (x->response.status >= 200) {
            forward_final(x);
            return;
        }
        if (x->response.status == 101) {
            if (!x->request.upgrade || !gw_headers_has(&x->response.headers, GW_H_UPGRADE)) {
                gw_forward_failed(x, 502, "upstream switched protocols without being asked", GW_FAULT_BAD);
                return;
            }
            x->switching = true;
            x->up_first = gw_loop_now(e->loop);
            gw_attempt_head(x, 101);
            if (gw_unlikely(x->span != NULL))
                x->span->status = 101;
            gw_forward_answer(x);
            return;
        }
        if (++x->interim > INTERIM_MOST) {
            gw_forward_failed(x, 502, "upstream sent too many 1xx responses", GW_FAULT_BAD);
            return;
        }
        if (x->request.minor >= 1 && !(x->response.status == 100 && x->continue_sent)) {
            gw_text head = gw_text_on(e->scratch, GW_SCRATCH_BYTES);
            gw_compose_interim(x, &head);
            struct iovec iov = {head.begin, (size_t)(head.at - head.begin)};
            int status = head.cut ? GW_OK : gw_stream_write(&x->client->stream, &iov, 1);
            if (status != GW_OK && status != GW_AGAIN) {
                gw_exchange_client_ended(x, GW_RESET);
                return;
            }
        }
        if (b->start == b->end) {
            gw_buffer_give(&e->buffers, b);
            up->in = NULL;
            if (up->ended)
                gw_forward_failed(x, 502, "upstream closed after a 1xx response", GW_FAULT_RESET);
            return;
        }
    }
}

/* ---- events of the upstream's side ---- */

/* An event of a try that was set aside brings it to the front. */
static inline void up_front(const gw_upconn *up, gw_exchange *x)
{
    if (gw_unlikely(x->up != up))
        gw_hedge_swap(x);
}

/* Lua may look at the head that stands in the buffer, or it is kept while another try waits. */
static bool head_in_use(const gw_exchange *x)
{
    return x->state == GW_X_CHAIN || x->state == GW_X_PAUSE;
}

static void up_readable(gw_stream *s)
{
    gw_upconn *up = (gw_upconn *)s;
    gw_engine *e = up->engine;
    gw_exchange *x = up->x;
    if (!x) { /* idle: an end, or bytes that nobody asked for; either way it is of no more use */
        gw_upconn_close(up);
        return;
    }
    up_front(up, x);
    for (int turn = 0; turn < 8; turn++) {
        if (!up->in && !(up->in = gw_buffer_take(&e->buffers, 0))) {
            gw_forward_out_of_memory(x);
            return;
        }
        gw_buffer *b = up->in;
        uint32_t room = gw_buffer_room(b);
        if (room == 0) {
            gw_stream_read_off(s);
            return;
        }
        int64_t n = gw_stream_read(s, b);
        if (n == GW_AGAIN) {
            if (gw_buffer_used(b) == 0 && !head_in_use(x)) {
                gw_buffer_give(&e->buffers, b);
                up->in = NULL;
            }
            return;
        }
        if (n < 0) {
            up->ended = true;
            up->keep = false;
            gw_stream_read_off(s);
            if (gw_buffer_used(b) == 0 && !head_in_use(x)) {
                gw_buffer_give(&e->buffers, b);
                up->in = NULL;
            }
            if (x->state == GW_X_TUNNEL) {
                if (n == GW_EOF)
                    gw_tunnel_ended(x, false);
                else
                    gw_forward_broke(x, "upstream broke the tunnel");
            } else if (x->state == GW_X_RELAY) {
                if (n == GW_EOF)
                    gw_relay_response_end(x);
                else
                    gw_forward_broke(x, "upstream reset the connection in the middle of the response");
            } else if (x->state == GW_X_CHAIN && x->answer_wanted)
                gw_gather_response_ended(x, (int)n);
            else if (x->state == GW_X_AWAIT)
                gw_forward_failed(x, 502,
                                  up->in        ? "upstream closed in the middle of the response head"
                                  : n == GW_EOF ? "upstream closed without a response"
                                                : "upstream reset the connection",
                                  up->in ? GW_FAULT_RESET : GW_FAULT_RESET | GW_FAULT_SILENT);
            return;
        }
        switch (x->state) {
        case GW_X_TUNNEL:
            gw_tunnel_up_readable(x);
            return;
        case GW_X_AWAIT:
            forward_heads(x);
            return;
        case GW_X_RELAY: {
            bool full = (uint32_t)n == room;
            /* Only a full read says that there is more. */
            if (!gw_relay_response(x, GW_NO_SLICE) || !full || !up->stream.reading)
                return;
            break;
        }
        case GW_X_CHAIN:
            if (x->answer_wanted) {
                gw_gather_response_pump(x);
                return;
            }
            gw_stream_read_off(s);
            return;
        default: /* what comes meanwhile waits */
            gw_stream_read_off(s);
            return;
        }
    }
}

static void up_drained(gw_stream *s)
{
    gw_upconn *up = (gw_upconn *)s;
    gw_exchange *x = up->x;
    if (!x)
        return;
    up_front(up, x);
    if (x->state == GW_X_TUNNEL) {
        gw_tunnel_drained(x, false);
        return;
    }
    if (x->in.done || x->body_kept) {
        if (x->state == GW_X_AWAIT)
            gw_stream_timeout(s, gw_forward_patience(x));
        return;
    }
    gw_relay_request(x, GW_NO_SLICE); /* what was read meanwhile, and on */
}

static void up_connected(gw_stream *s, int status)
{
    gw_upconn *up = (gw_upconn *)s;
    gw_exchange *x = up->x;
    up_front(up, x);
    if (status == GW_OK) {
        forward_send(x);
        return;
    }
    gw_forward_failed(x, 502, status == GW_REFUSED ? "upstream refused the connection" : "upstream connect failed",
                      GW_FAULT_CONNECT);
}

static void up_failed(gw_stream *s, int status)
{
    gw_upconn *up = (gw_upconn *)s;
    gw_exchange *x = up->x;
    (void)status;
    if (!x) {
        gw_upconn_close(up);
        return;
    }
    up_front(up, x);
    if (x->state == GW_X_TUNNEL) {
        gw_forward_broke(x, "upstream broke the tunnel");
        return;
    }
    x->send_broken = true;
    up->keep = false;
    gw_stream_read_on(s);
}

static void up_expired(gw_stream *s)
{
    gw_upconn *up = (gw_upconn *)s;
    gw_exchange *x = up->x;
    if (!x) {
        gw_upconn_close(up);
        return;
    }
    up_front(up, x);
    switch (x->state) {
    case GW_X_CONNECT:
        gw_forward_failed(x, 504, "upstream connect timeout", GW_FAULT_CONNECT);
        break;
    case GW_X_AWAIT:
        gw_forward_failed(x, 504, gw_stream_blocked(s) ? "upstream takes the request too slowly" : "upstream first byte timeout",
                          GW_FAULT_TIMEOUT);
        break;
    case GW_X_CHAIN:
        if (x->answer_wanted)
            gw_gather_response_ended(x, GW_TIMEOUT);
        break;
    case GW_X_TUNNEL:
        gw_exchange_abort(x, "tunnel idle timeout");
        break;
    default:
        gw_forward_broke(x, "upstream idle timeout in the middle of the response");
    }
}

static const gw_stream_ops up_ops = {
    .readable = up_readable,
    .drained = up_drained,
    .connected = up_connected,
    .failed = up_failed,
    .expired = up_expired,
};
