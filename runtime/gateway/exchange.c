#include "gateway/exchange.h"
#include "gateway/fetch.h"
#include "gateway/flow.h"
#include "gateway/limit.h"
#include "gateway/metrics.h"
#include "gateway/recent.h"
#include "gateway/staging.h"
#include "http/url.h"
#include <stdlib.h>

static void exchange_total_expired(gw_timeout *t);
static void exchange_later(gw_later *later);
static void exchange_wait_over(gw_exchange *x);

static inline gw_exchange *exchange_new(gw_client *c, gw_generation *g)
{
    gw_engine *e = c->engine;
    gw_exchange *x = gw_slab_take(&e->exchanges);
    if (!x)
        return NULL;
    memset(x, 0, offsetof(gw_exchange, pause));
    x->engine = e;
    x->client = c;
    x->generation = g;
    x->slot = -1;
    x->started = gw_loop_now(e->loop);
    x->request.method = GW_METHOD_NONE;
    x->request.method_name = x->request.target = x->request.host = GW_NO_SLICE;
    x->request.minor = 1;
    gw_headers_clear(&x->request.headers);
    x->request.framing = GW_FRAMING_NONE;
    x->request.expect_continue = x->request.upgrade = x->request.asterisk = false;
    gw_headers_clear(&x->response.headers);
    x->found.param_count = 0;
    x->close = e->draining || c->close_soon;
    if (e->arena_count)
        x->arena = e->arenas[--e->arena_count];
    else
        gw_arena_init(&x->arena, 4096, 0);
    gw_timeout_init(&x->total, exchange_total_expired);
    gw_later_init(&x->later, exchange_later);
    gw_list_push_back(&e->exchange_list, &x->link);
    g->worker[e->index].references++;
    return x;
}

gw_exchange *gw_exchange_begin(gw_client *c, gw_generation *g)
{
    gw_exchange *x = exchange_new(c, g);
    if (gw_likely(x != NULL))
        GW_COUNT_ADD(c->engine->counters.requests, 1);
    return x;
}

gw_exchange *gw_exchange_begin_inner(gw_client *c, gw_generation *g, gw_fetch *f)
{
    gw_exchange *x = exchange_new(c, g);
    if (x)
        x->inner = f;
    return x;
}

/* Finalizers may look at the request, whose bytes are there to the end. Those of the response are not: they stood in the connection's
 * buffer. */
static void exchange_finals(gw_exchange *x)
{
    x->state = GW_X_DONE;
    gw_headers_clear(&x->response.headers);
    x->route->chain_ops->finish(x);
}

/* Counters, the trace, the line in the log. */
static inline void exchange_told(gw_exchange *x)
{
    gw_engine *e = x->engine;
    GW_COUNT_ADD(e->counters.bytes_out, x->bytes_out);
    GW_COUNT_ADD(e->counters.responses[x->status >= 100 && x->status < 600 ? x->status / 100 : 0], 1);
    gw_metrics_exchange(x);
    if (gw_unlikely(e->staged != NULL))
        gw_staging_count(x);
    if (gw_unlikely(x->trace != NULL))
        gw_trace_end(x);
    gw_access_log(x);
}

/* The end of every exchange. `close`: the client connection goes, at once when `cut`. */
static void exchange_end(gw_exchange *x, bool close, bool cut)
{
    gw_engine *e = x->engine;
    gw_client *c = x->client;
    gw_generation *g = x->generation;
    if (gw_unlikely(x->waiting))
        exchange_wait_over(x);
    if (x->task)
        x->route->chain_ops->cancel(x);
    gw_forward_release(x, false);
    if (gw_unlikely(x->finals != NULL))
        exchange_finals(x);
    if (gw_unlikely(x->held))
        gw_attempt_leave(x);
    if (gw_unlikely(x->pausing))
        gw_timeout_disarm(&x->pause);
    gw_timeout_disarm(&x->total);
    gw_later_cancel(&x->later);
    gw_fetch *inner = x->inner;
    const char *error = x->error;
    if (gw_likely(!inner))
        exchange_told(x);
    if (x->endpoint)
        gw_endpoint_unhold(e, x->endpoint);
    if (gw_unlikely(x->holds != NULL))
        gw_limit_leave(x);
    free(x->body_text);
    free(x->answer_text);
    if (x->arena.blocks && e->arena_count < GW_ARENAS_KEPT) {
        gw_arena_rewind(&x->arena);
        e->arenas[e->arena_count++] = x->arena;
    } else
        gw_arena_clear(&x->arena);
    gw_list_remove(&x->link);
    gw_slab_give(&e->exchanges, x);
    gw_generation_worker *mine = &g->worker[e->index];
    if (--mine->references == 0 && mine->retired)
        gw_engine_retire(e, g);
    c->x = NULL;
    if (gw_unlikely(inner != NULL))
        gw_fetch_lost(inner, error);
    else if (cut)
        gw_client_close(c);
    else
        gw_client_next(c, close);
}

void gw_exchange_end_inner(gw_exchange *x)
{
    exchange_end(x, true, true);
}

void gw_exchange_complete(gw_exchange *x)
{
    x->state = GW_X_DONE;
    gw_forward_release(x, true);
    gw_timeout_disarm(&x->total);
    if (gw_stream_blocked(&x->client->stream)) { /* gw_exchange_client_drained comes back here */
        gw_stream_timeout(&x->client->stream, x->generation->timeouts.body);
        return;
    }
    /* What is left of the request body has no reader: the connection cannot carry another request. */
    exchange_end(x, x->close || !x->in.done || x->client->ended, false);
}

void gw_exchange_abort(gw_exchange *x, const char *error)
{
    if (!x->error)
        x->error = error;
    x->cut = x->response_started;
    if (x->close_out) /* an orderly end would look like the end of the body */
        gw_stream_reset(&x->client->stream);
    if (x->response_started && !x->aborted && !x->close_out && gw_stream_open(&x->client->stream)) {
        /* What is queued still goes out; then the end comes before the framing says so. */
        x->state = GW_X_DONE;
        gw_forward_release(x, false);
        exchange_end(x, true, false);
        return;
    }
    exchange_end(x, true, true);
}

void gw_exchange_out_of_memory(gw_exchange *x)
{
    gw_engine_out_of_memory(x->engine, "out of memory: a request is cut");
    gw_exchange_abort(x, "out of memory");
}

static void exchange_client_gone(gw_exchange *x)
{
    x->aborted = true;
    if (x->state != GW_X_DONE) {
        x->error = x->response_started ? "client went away during the response" : "client went away before the response";
        if (!x->status)
            x->status = 499;
    }
    GW_COUNT_ADD(x->engine->counters.client_aborts, 1);
    exchange_end(x, true, true);
}

/* ---- who the client is ---- */

static void exchange_client(gw_exchange *x)
{
    const gw_generation *g = x->generation;
    x->client_ip = x->client->ip;
    x->trusted = g->trusted && gw_cidr_set_has(g->trusted, &x->client->ip);
    if (x->trusted) {
        const gw_headers *h = &x->request.headers;
        const gw_header *proto = gw_headers_by_id(h, GW_H_X_FORWARDED_PROTO);
        x->https = proto && gw_slice_equal_nocase(proto->value, GW_SLICE("https"));
        /* From the right: the first address that is not one of ours (each proxy appends the peer that it saw). */
        for (int i = (int)h->count - 1; i >= 0; i--) {
            if (h->item[i].id != GW_H_X_FORWARDED_FOR)
                continue;
            gw_slice list = h->item[i].value;
            while (list.len > 0) {
                size_t from = list.len;
                while (from > 0 && list.ptr[from - 1] != ',')
                    from--;
                gw_slice one = {list.ptr + from, list.len - from};
                list.len = from ? from - 1 : 0;
                while (one.len && (*one.ptr == ' ' || *one.ptr == '\t'))
                    one.ptr++, one.len--;
                while (one.len && (one.ptr[one.len - 1] == ' ' || one.ptr[one.len - 1] == '\t'))
                    one.len--;
                gw_ip ip;
                if (gw_ip_parse(one, &ip) != GW_OK)
                    goto text; /* beyond a hop that cannot be read, nothing can be believed */
                x->client_ip = ip;
                if (!gw_cidr_set_has(g->trusted, &ip))
                    goto text;
            }
        }
    }
text:
    x->client_ip_len = (uint8_t)gw_ip_text(&x->client_ip, x->client_ip_text);
}

static bool request_id_fits(gw_slice s)
{
    if (s.len == 0 || s.len > GW_REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char ch = (unsigned char)s.ptr[i];
        if (!((ch >= '0' && ch <= '9') || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z') || memchr("-_.+/=:", ch, 7)))
            return false;
    }
    return true;
}

/* The client's id when it is well-formed, else 128 random bits in hex. */
static void exchange_id(gw_exchange *x)
{
    const gw_header *theirs = gw_headers_by_id(&x->request.headers, GW_H_X_REQUEST_ID);
    if (theirs && request_id_fits(theirs->value)) {
        memcpy(x->id_text, theirs->value.ptr, theirs->value.len);
        x->id = gw_slice_of(x->id_text, theirs->value.len);
        return;
    }
    for (int half = 0; half < 2; half++)
        gw_hex16(gw_random_next(&x->engine->random), x->id_text + half * 16);
    x->id = gw_slice_of(x->id_text, 32);
}

/* ---- from the head to the target ---- */

int gw_exchange_choose(gw_exchange *x)
{
    const gw_target *t = &x->route->target;
    if (t->kind != GW_TARGET_SPLIT)
        return -1;
    if (!x->share) {
        uint64_t at = gw_random_next(&x->engine->random) % t->split.total;
        uint32_t i = 0;
        while (i + 1 < t->split.count && at >= t->split.share[i].until)
            i++;
        x->share = i + 1;
    }
    return (int)(x->share - 1);
}

static void exchange_target(gw_exchange *x)
{
    const gw_target *target = &x->route->target;
    if (x->upstream) { /* the script chose */
        gw_forward_start(x);
        return;
    }
    if (target->kind == GW_TARGET_SPLIT)
        target = &target->split.share[gw_exchange_choose(x)].target;
    if (target->kind == GW_TARGET_UPSTREAM)
        x->upstream = target->upstream;
    else if (target->kind == GW_TARGET_ANSWER) {
        gw_reply_answer(x, target->answer);
        return;
    } else {
        gw_reply_error(x, 500, "the route has no target");
        return;
    }
    gw_forward_start(x);
}

/* ---- a chain that waits ---- */

static void exchange_impatient(gw_timeout *t)
{
    gw_exchange *x = gw_container_of(t, gw_exchange, patience);
    exchange_wait_over(x);
    if (!x->task || (x->state != GW_X_CHAIN && x->state != GW_X_BODY))
        return; /* answered already, for another reason */
    x->route->chain_ops->cancel(x);
    x->wants_resume = false;
    gw_headers_clear(&x->response.headers);
    x->body_replaced = false;
    x->error = NULL;
    gw_reply_error(x, 504, "the script waited for longer than timeouts.chain");
}

static void exchange_wait(gw_exchange *x)
{
    double most = x->generation->timeouts.chain, left = most - x->waited;
    if (most <= 0 || x->inner)
        return;
    gw_timeout_init(&x->patience, exchange_impatient);
    x->waiting = true;
    x->wait_began = gw_loop_now(x->engine->loop);
    gw_timeout_arm(x->engine->loop, &x->patience, left > 0.001 ? left : 0.001);
}

static void exchange_wait_over(gw_exchange *x)
{
    x->waiting = false;
    x->waited += gw_loop_now(x->engine->loop) - x->wait_began;
    gw_timeout_disarm(&x->patience);
}

void gw_exchange_verdict(gw_exchange *x, enum gw_chain_verdict verdict)
{
    switch (verdict) {
    case GW_CHAIN_FORWARD:
    case GW_CHAIN_FORWARD_ONLY:
        x->wants_resume = verdict == GW_CHAIN_FORWARD;
        exchange_target(x);
        return;
    case GW_CHAIN_RESPOND:
        x->wants_resume = false;
        gw_reply_send(x);
        return;
    case GW_CHAIN_PASS:
        x->wants_resume = false;
        if (x->reply.status)
            gw_reply_send(x);
        else
            gw_forward_respond(x);
        return;
    case GW_CHAIN_WAIT:
        x->state = x->state == GW_X_BODY ? GW_X_BODY : GW_X_CHAIN;
        if (x->state == GW_X_CHAIN && !x->answer_wanted) /* bodies have timeouts of their own */
            exchange_wait(x);
        return;
    case GW_CHAIN_UNAVAILABLE:
        x->wants_resume = false;
        gw_reply_error(x, 503, "the script is being started again");
        return;
    case GW_CHAIN_FAILED:
        break;
    }
    x->wants_resume = false;
    gw_headers_clear(&x->response.headers);
    x->body_replaced = false;
    if (x->body_status < 0) { /* what the script stumbled over is the client's doing */
        x->close = true;
        gw_reply_error(x, gw_gather_http_status(x->body_status), gw_gather_reason(x->body_status));
        return;
    }
    gw_reply_error(x, 500, "script error");
}

/* Runs what was put off: a chain that was woken. */
static void exchange_later(gw_later *later)
{
    gw_exchange *x = gw_container_of(later, gw_exchange, later);
    if (gw_unlikely(x->inner != NULL)) {
        gw_fetch_turn(x->inner);
        return;
    }
    if (x->keep_wanted && x->state == GW_X_BODY) {
        gw_forward_kept(x);
        return;
    }
    if (!x->task || (x->state != GW_X_CHAIN && x->state != GW_X_BODY))
        return;
    if (x->waiting)
        exchange_wait_over(x);
    x->state = GW_X_CHAIN;
    gw_exchange_verdict(x, x->route->chain_ops->resume(x));
}

void gw_exchange_wake(gw_exchange *x)
{
    gw_loop_later(x->engine->loop, &x->later);
}

static void exchange_refuse(gw_exchange *x, const gw_bad_head *bad)
{
    x->close = true;
    x->in.done = true; /* nothing more is read as a message; the connection lingers and closes */
    if (bad->status == 405)
        gw_headers_set(&x->response.headers, GW_SLICE("Allow"), GW_SLICE("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"));
    gw_reply_error(x, bad->status, bad->reason);
}

void gw_exchange_run(gw_exchange *x, uint32_t head_len, const gw_bad_head *bad)
{
    gw_client *c = x->client;
    gw_engine *e = x->engine;
    gw_generation *g = x->generation;
    gw_request *r = &x->request;
    gw_bad_head why;
    if (!bad && gw_request_parse(r, c->in->bytes + c->in->start, head_len, &g->head_limits, &why) != GW_OK)
        bad = &why;
    if (!bad) {
        x->in.framing = r->framing;
        x->in.left = r->content_length;
        x->in.done = r->framing == GW_FRAMING_NONE || (r->framing == GW_FRAMING_LENGTH && r->content_length == 0);
        if (r->framing == GW_FRAMING_CHUNKED)
            gw_chunked_init(&x->in.chunked, &x->arena);
        if (!r->keep_alive)
            x->close = true;
    }
    exchange_client(x);
    if (gw_unlikely(e->staged != NULL) && !bad) {
        gw_staging_choose(x);
        g = x->generation;
    }
    if (g->request_id)
        exchange_id(x);
    if (gw_unlikely(g->trace.on) && !bad)
        gw_trace_begin(x);
    if (bad) {
        exchange_refuse(x, bad);
        return;
    }
    if (r->asterisk) {
        if (!x->in.done)
            x->close = true;
        static const gw_header_condition allow = {GW_SLICE("Allow"), GW_SLICE("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS")};
        static const gw_answer options = {.status = 204, .headers = &allow, .header_count = 1};
        gw_reply_answer(x, &options);
        return;
    }
    const char *reason;
    if (r->raw_path.len > GW_SCRATCH_BYTES ||
        gw_path_normalise(r->raw_path, g->keep_encoded_slash, e->scratch, &x->path, &reason) != GW_OK) {
        x->path = GW_NO_SLICE;
        exchange_refuse(x, &(gw_bad_head){400, r->raw_path.len > GW_SCRATCH_BYTES ? "path too long" : reason});
        return;
    }
    if (x->path.ptr >= e->scratch && x->path.ptr < e->scratch + GW_SCRATCH_BYTES) {
        x->path = gw_arena_copy(&x->arena, x->path);
        if (!x->path.ptr) {
            gw_exchange_out_of_memory(x);
            return;
        }
    }
    x->query = r->query;
    gw_router_find(g->router, r->host, x->path, r->method, r->method_name, &r->headers, &x->found);
    if (!x->found.route) {
        if (g->record_unmatched)
            gw_recent_take(x);
        if (!x->in.done)
            x->close = true;
        if (x->found.method_only) {
            char allow[1024];
            size_t n = gw_found_allow(&x->found, allow, sizeof allow);
            gw_slice value = gw_arena_copy(&x->arena, gw_slice_of(allow, n));
            if (value.ptr)
                gw_headers_add(&x->response.headers, GW_SLICE("Allow"), value);
            gw_reply_error(x, 405, "method not allowed");
        } else
            gw_reply_error(x, 404, "no route matches");
        return;
    }
    x->route = x->found.route;
    if (gw_unlikely(x->route->record))
        gw_recent_take(x);
    x->body_limit = x->route->body_bytes;
    if (r->framing == GW_FRAMING_LENGTH && r->content_length > x->route->body_bytes) {
        exchange_refuse(x, &(gw_bad_head){413, "request body too large"});
        return;
    }
    if (x->route->limit_count && !gw_limits_admit(x))
        return;
    if (x->route->chain >= 0) {
        x->state = GW_X_CHAIN;
        gw_exchange_verdict(x, x->route->chain_ops->start(x));
        return;
    }
    exchange_target(x);
}

/* ---- events of the client's side ---- */

void gw_exchange_client_readable(gw_exchange *x)
{
    switch (x->state) {
    case GW_X_TUNNEL:
        gw_tunnel_client_readable(x);
        return;
    case GW_X_BODY:
        gw_gather_pump(x);
        return;
    case GW_X_AWAIT:
    case GW_X_RELAY:
        if (!x->in.done && x->request_sent && !x->body_kept) {
            gw_relay_request(x, GW_NO_SLICE);
            return;
        }
        break;
    default:
        break;
    }
    gw_client_want_room(x->client); /* the next request, or a body that nobody reads yet: keep what fits */
}

void gw_exchange_client_drained(gw_exchange *x)
{
    gw_stream_timeout(&x->client->stream, 0);
    if (x->state == GW_X_DONE) {
        gw_exchange_complete(x);
        return;
    }
    if (x->state == GW_X_TUNNEL) {
        gw_tunnel_drained(x, true);
        return;
    }
    if (x->state == GW_X_RELAY && x->up && !x->up->ended) {
        gw_stream_read_on(&x->up->stream);
        gw_stream_timeout(&x->up->stream, x->upstream->timeouts.idle);
    } else if (x->state == GW_X_RELAY && x->up)
        gw_relay_response_end(x);
}

void gw_exchange_client_ended(gw_exchange *x, int status)
{
    if (x->state == GW_X_TUNNEL && status == GW_EOF) {
        gw_tunnel_ended(x, true);
        return;
    }
    if (x->state == GW_X_DONE && status == GW_EOF) /* all is said, some of it still on its way */
        return;
    exchange_client_gone(x);
}

void gw_exchange_client_expired(gw_exchange *x)
{
    if (gw_stream_blocked(&x->client->stream) || x->response_started) {
        x->error = gw_stream_blocked(&x->client->stream) ? "client reads too slowly" : "request body did not come in time";
        x->aborted = true;
        GW_COUNT_ADD(x->engine->counters.client_aborts, 1);
        gw_stream_reset(&x->client->stream);
        exchange_end(x, true, true);
        return;
    }
    /* Only waiting for body bytes arms the timeout otherwise. */
    x->close = true;
    if (x->state == GW_X_BODY) {
        gw_gather_failed(x, GW_TIMEOUT);
        return;
    }
    gw_forward_release(x, false);
    gw_headers_clear(&x->response.headers);
    x->wants_resume = x->body_replaced = false;
    gw_reply_error(x, 408, "request body did not come in time");
}

static void exchange_total_expired(gw_timeout *t)
{
    gw_exchange *x = gw_container_of(t, gw_exchange, total);
    /* The backend is to blame while it is its turn; a client that sends or reads slowly is not its fault. */
    bool waits_for_backend = x->state == GW_X_CONNECT || (x->state == GW_X_AWAIT && (x->in.done || x->body_kept));
    gw_forward_failed(x, 504, "total timeout", waits_for_backend ? GW_FAULT_TOTAL : GW_FAULT_OURS);
}
