#include "gateway/fetch.h"
#include "gateway/flow.h"
#include "gateway/origin.h"
#include "http/url.h"
#include <stdio.h>
#include <stdlib.h>

static enum gw_chain_verdict on_answer(gw_exchange *x);
static void on_deadline(gw_timeout *t);

static const gw_chain_ops fetch_ops = {.resume = on_answer};
static const gw_route fetch_route = {.chain = -1, .chain_ops = &fetch_ops, .body_bytes = UINT64_MAX};
static gw_buffer nothing; /* what a client has sent, when there is none; never written to */

/* ---- making ---- */

int gw_fetch_new(gw_engine *e, gw_generation *g, gw_fetch **out)
{
    if (!e->fetches) {
        e->fetches = calloc(1, sizeof *e->fetches);
        if (!e->fetches)
            return GW_NOMEM;
        gw_slab_init(&e->fetches->slab, sizeof(gw_fetch), 8);
    }
    if (e->fetches->live >= GW_FETCHES_MOST)
        return GW_LIMIT;
    gw_fetch *f = gw_slab_take(&e->fetches->slab);
    if (!f)
        return GW_NOMEM;
    memset(f, 0, sizeof *f);
    f->engine = e;
    f->client.engine = e;
    f->client.in = &nothing;
    f->client.stream.io.fd = -1;
    f->client.stream.loop = e->loop;
    gw_timeout_init(&f->client.stream.timeout, NULL);
    gw_timeout_init(&f->deadline, on_deadline);
    gw_list_init(&f->waiting);
    f->x = gw_exchange_begin_inner(&f->client, g, f);
    if (!f->x) {
        gw_slab_give(&e->fetches->slab, f);
        return GW_NOMEM;
    }
    e->fetches->live++;
    gw_exchange *x = f->x;
    x->route = &fetch_route;
    x->request.method = GW_METHOD_GET;
    x->request.method_name = GW_SLICE("GET");
    x->request.minor = 0; /* so that nobody passes an interim response on */
    x->in.done = true;
    x->wants_resume = true;
    *out = f;
    return GW_OK;
}

void gw_fetch_free(gw_fetch *f)
{
    gw_exchange *x = f->x;
    f->x = NULL;
    gw_timeout_disarm(&f->deadline);
    gw_list_remove(&f->waiting);
    if (x)
        gw_exchange_end_inner(x);
    if (f->origin)
        gw_origin_give(f->origin);
    f->engine->fetches->live--;
    gw_slab_give(&f->engine->fetches->slab, f);
}

void gw_fetches_free(gw_engine *e)
{
    if (!e->fetches)
        return;
    gw_origins_free(e->fetches->origins);
    gw_slab_clear(&e->fetches->slab);
    free(e->fetches);
    e->fetches = NULL;
}

/* ---- what is asked ---- */

int gw_fetch_method(gw_fetch *f, gw_slice method)
{
    enum gw_method known = gw_method_of(method);
    if (known == GW_METHOD_NONE || method.len > 32)
        return GW_INVALID;
    if (known == GW_METHOD_CONNECT || known == GW_METHOD_TRACE)
        return GW_REFUSED;
    f->x->request.method = known;
    f->x->request.method_name = gw_arena_copy(&f->x->arena, method);
    return f->x->request.method_name.ptr ? GW_OK : GW_NOMEM;
}

int gw_fetch_header(gw_fetch *f, gw_slice name, gw_slice value)
{
    gw_exchange *x = f->x;
    if (!gw_header_name_valid(name) || !gw_header_value_valid(value))
        return GW_INVALID;
    gw_header field = {.name = name, .value = value, .id = gw_header_id_of(name)};
    if (field.id == GW_H_CONTENT_LENGTH || field.id == GW_H_EXPECT || field.id == GW_H_TRAILER || gw_header_is_hop_by_hop(&field))
        return GW_REFUSED;
    if (field.id == GW_H_HOST) {
        gw_slice host;
        int port;
        if (gw_headers_has(&x->request.headers, GW_H_HOST) || gw_authority_split(value, &host, &port) != GW_OK)
            return GW_INVALID;
    }
    name = gw_arena_copy(&x->arena, name);
    value = gw_arena_copy(&x->arena, value);
    return name.ptr && value.ptr ? gw_headers_add(&x->request.headers, name, value) : GW_NOMEM;
}

int gw_fetch_body(gw_fetch *f, gw_slice body)
{
    gw_exchange *x = f->x;
    x->body_kept = true;
    x->request.framing = GW_FRAMING_LENGTH;
    if (body.len == 0)
        return GW_OK;
    x->body_text = malloc(body.len);
    if (!x->body_text)
        return GW_NOMEM;
    memcpy(x->body_text, body.ptr, body.len);
    x->body_text_len = x->body_text_cap = body.len;
    x->request.content_length = body.len;
    return GW_OK;
}

static int set_path(gw_fetch *f, gw_slice path, gw_slice query)
{
    gw_exchange *x = f->x;
    x->path = gw_arena_copy(&x->arena, path);
    x->query = query.ptr ? gw_arena_copy(&x->arena, query) : GW_NO_SLICE;
    return x->path.ptr && (!query.ptr || x->query.ptr) ? GW_OK : GW_NOMEM;
}

/* For messages: at most so much of a URL. */
static int set_where(gw_fetch *f, gw_slice kind, gw_slice what)
{
    char bytes[GW_FETCH_PROBLEM / 2];
    gw_text t = gw_text_on(bytes, sizeof bytes);
    gw_text_slice(&t, kind);
    gw_text_slice(&t, gw_slice_of(what.ptr, what.len < 100 ? what.len : 100));
    f->where = gw_arena_copy(&f->x->arena, gw_text_done(&t));
    return f->where.ptr ? GW_OK : GW_NOMEM;
}

int gw_fetch_upstream(gw_fetch *f, gw_upstream *u, gw_slice path, const char **reason)
{
    *reason = NULL;
    for (size_t i = 0; i < path.len && !*reason; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        if (c <= 0x20 || c >= 0x7f || c == '#')
            *reason = "it has a character that has to be percent-encoded";
    }
    if (path.len == 0 || path.ptr[0] != '/')
        *reason = "it has to begin with '/'";
    if (*reason)
        return GW_INVALID;
    f->target = u;
    const char *question = memchr(path.ptr, '?', path.len);
    size_t len = question ? (size_t)(question - path.ptr) : path.len;
    int status = set_path(f, gw_slice_of(path.ptr, len), question ? gw_slice_of(question + 1, path.len - len - 1) : GW_NO_SLICE);
    return status == GW_OK ? set_where(f, GW_SLICE("upstream "), u->name) : status;
}

static int take_origin(gw_fetch *f, gw_slice host, uint16_t port, const gw_address *address, const char **reason)
{
    int status = gw_origin_take(f->engine, host, port, address, &f->origin);
    if (status == GW_LIMIT)
        *reason = "too many hosts at once";
    return status;
}

/* "unix:/path:/uri" */
static int unix_url(gw_fetch *f, gw_slice url, const char **reason)
{
    const char *colon = memmem(url.ptr + 5, url.len - 5, ":/", 2);
    gw_slice at = gw_slice_of(url.ptr, colon ? (size_t)(colon - url.ptr) : url.len);
    gw_slice path = colon ? gw_slice_of(colon + 1, url.len - at.len - 1) : GW_SLICE("/");
    gw_address address;
    gw_slice name;
    uint16_t port;
    if (gw_address_parse(at, 0, &address, &name, &port, reason) != GW_ADDRESS_NUMERIC)
        return GW_INVALID;
    int status = take_origin(f, at, 0, &address, reason);
    if (status == GW_OK && !gw_headers_has(&f->x->request.headers, GW_H_HOST))
        status = gw_fetch_header(f, GW_SLICE("Host"), GW_SLICE("localhost"));
    if (status == GW_OK)
        status = gw_fetch_upstream(f, &f->origin->upstream, path, reason);
    f->target = NULL;
    return status == GW_OK ? set_where(f, GW_NO_SLICE, url) : status;
}

int gw_fetch_url(gw_fetch *f, gw_slice text, const char **reason)
{
    gw_url url;
    *reason = NULL;
    if (text.len >= 5 && memcmp(text.ptr, "unix:", 5) == 0)
        return unix_url(f, text, reason);
    if (gw_url_split(text, &url, reason) != GW_OK)
        return GW_INVALID;
    if (gw_slice_equal_nocase(url.scheme, GW_SLICE("https"))) {
        *reason = "https is not available in this version: expected http://";
        return GW_INVALID;
    }
    if (!gw_slice_equal_nocase(url.scheme, GW_SLICE("http"))) {
        *reason = "its scheme is another than http";
        return GW_INVALID;
    }
    if (url.port == 0 || url.host.len > 253) {
        *reason = url.port == 0 ? "it names port 0" : "its host is too long";
        return GW_INVALID;
    }
    gw_slice host = url.host;
    gw_address address;
    gw_ip ip;
    bool fixed = gw_ip_parse(host, &ip) == GW_OK;
    if (fixed) {
        char bytes[80];
        gw_text t = gw_text_on(bytes, sizeof bytes);
        gw_text_slice(&t, host);
        gw_text_lit(&t, ":");
        gw_text_u64(&t, (uint64_t)(url.port < 0 ? 80 : url.port));
        gw_slice name;
        uint16_t port;
        fixed = !t.cut && gw_address_parse(gw_text_done(&t), 80, &address, &name, &port, reason) == GW_ADDRESS_NUMERIC;
        *reason = NULL;
    }
    int status = take_origin(f, host, (uint16_t)(url.port < 0 ? 80 : url.port), fixed ? &address : NULL, reason);
    if (status == GW_OK && !gw_headers_has(&f->x->request.headers, GW_H_HOST))
        status = gw_fetch_header(f, GW_SLICE("Host"), url.port == 80 ? url.host : url.authority);
    if (status == GW_OK)
        status = set_path(f, url.path, url.query);
    return status == GW_OK ? set_where(f, GW_NO_SLICE, text) : status;
}

int gw_fetch_for(gw_fetch *f, const gw_exchange *from)
{
    gw_exchange *x = f->x;
    const gw_headers *theirs = &from->request.headers;
    static const uint8_t handed_on[] = {GW_H_TRACEPARENT, GW_H_TRACESTATE};
    x->client_ip = from->client_ip;
    x->client_ip_len = from->client_ip_len;
    memcpy(x->client_ip_text, from->client_ip_text, from->client_ip_len);
    int status = GW_OK;
    if (from->id.len && !gw_headers_has(&x->request.headers, GW_H_X_REQUEST_ID))
        status = gw_fetch_header(f, GW_SLICE("X-Request-ID"), from->id);
    for (size_t i = 0; i < GW_COUNT(handed_on) && status == GW_OK; i++) {
        const gw_header *h = gw_headers_by_id(theirs, (enum gw_header_id)handed_on[i]);
        if (!h || gw_headers_has(&x->request.headers, (enum gw_header_id)handed_on[i]))
            continue;
        char header[GW_TRACEPARENT_BYTES];
        gw_slice value = h->value;
        if (from->trace &&
            h->id == GW_H_TRACEPARENT) { /* the request's own span is the parent, whichever of its tries came last */
            memcpy(header, from->trace->header, sizeof header);
            memcpy(header + 36, from->trace->span, sizeof from->trace->span);
            value = gw_slice_of(header, sizeof header);
        }
        status = gw_fetch_header(f, h->name, value);
    }
    return status == GW_LIMIT ? GW_OK : status; /* no room for what nobody asked for */
}

/* ---- the end ---- */

/* What went wrong, in words for who fetches; the others are the log's own. */
static const char *words_for(const char *error)
{
    static const char *const words[][2] = {
        {"upstream refused the connection", "connect refused"},
        {"upstream connect failed", "connect failed"},
        {"upstream connect timeout", "connect timeout"},
        {"upstream first byte timeout", "timeout: no response in time"},
        {"upstream takes the request too slowly", "timeout: the request is taken too slowly"},
        {"total timeout", "timeout"},
        {"upstream closed without a response", "closed without a response"},
        {"upstream closed in the middle of the response head", "closed in the middle of the response head"},
        {"upstream closed after a 1xx response", "closed without a response"},
        {"upstream reset the connection", "connection reset"},
        {"upstream sent too many 1xx responses", "too many 1xx responses"},
        {"upstream switched protocols without being asked", "switched protocols without being asked"},
    };
    for (size_t i = 0; i < GW_COUNT(words); i++)
        if (strcmp(words[i][0], error) == 0)
            return words[i][1];
    return error;
}

static void fail(gw_fetch *f, const char *error)
{
    gw_text t = gw_text_on(f->problem, sizeof f->problem - 1);
    gw_text_printf(&t, "%.120s: ", words_for(error ? error : "failed"));
    gw_text_slice(&t, f->where);
    f->problem[gw_text_done(&t).len] = '\0';
    f->good = false;
}

static void finish(gw_fetch *f)
{
    f->phase = GW_FETCH_FINISHING;
    gw_exchange_wake(f->x);
}

static void over(gw_fetch *f)
{
    f->phase = GW_FETCH_OVER;
    gw_timeout_disarm(&f->deadline);
    f->done(f);
}

/* The head's bytes go with the connection: what the caller may look at is copied first. */
static bool keep_head(gw_exchange *x)
{
    gw_headers *h = &x->response.headers;
    for (uint32_t i = 0; i < h->count; i++) {
        h->item[i].name = gw_arena_copy(&x->arena, h->item[i].name);
        h->item[i].value = gw_arena_copy(&x->arena, h->item[i].value);
        if (!h->item[i].name.ptr || !h->item[i].value.ptr)
            return false;
    }
    return true;
}

static void settle(gw_fetch *f)
{
    gw_exchange *x = f->x;
    if (f->good && !keep_head(x))
        fail(f, "out of memory");
    gw_forward_release(x, true);
    if (x->held)
        gw_attempt_leave(x);
    gw_timeout_disarm(&x->total);
    x->state = GW_X_DONE;
    over(f);
}

void gw_fetch_lost(gw_fetch *f, const char *error)
{
    if (!f->x)
        return;                            /* by gw_fetch_free */
    f->where = GW_SLICE("it was cut off"); /* its bytes went with the exchange */
    if (f->phase != GW_FETCH_OVER)
        fail(f, error);
    f->good = false;
    f->x = NULL;
    if (f->phase != GW_FETCH_OVER && f->phase != GW_FETCH_NEW)
        over(f);
}

/* ---- under way ---- */

/* The head is there (or an answer that the gateway made itself), or more of the body. */
static enum gw_chain_verdict on_answer(gw_exchange *x)
{
    gw_fetch *f = x->inner;
    if (f->phase != GW_FETCH_UNDER_WAY)
        return GW_CHAIN_WAIT;
    if (x->reply.status) {
        fail(f, x->error);
        finish(f);
        return GW_CHAIN_WAIT;
    }
    int status = gw_exchange_response_body(x, f->most);
    switch (status) {
    case GW_AGAIN:
        return GW_CHAIN_WAIT;
    case GW_OK:
        f->good = true;
        f->body = x->reply.body;
        break;
    case GW_LIMIT:
        fail(f, "the response body is longer than max_body");
        break;
    case GW_TIMEOUT:
        fail(f, "timeout: the response body did not come in time");
        break;
    case GW_NOMEM:
        fail(f, "out of memory");
        break;
    case GW_INVALID:
        fail(f, "malformed response body");
        break;
    default:
        fail(f, status == GW_EOF ? "closed in the middle of the response body"
                                 : "connection reset in the middle of the response body");
    }
    finish(f);
    return GW_CHAIN_WAIT;
}

void gw_fetch_found(gw_fetch *f, const char *problem)
{
    gw_exchange *x = f->x;
    if (problem) {
        char bytes[120];
        gw_text t = gw_text_on(bytes, sizeof bytes - 1);
        gw_text_printf(&t, "the name cannot be resolved (%.80s)", problem);
        bytes[gw_text_done(&t).len] = '\0';
        fail(f, bytes);
        finish(f);
        return;
    }
    f->phase = GW_FETCH_UNDER_WAY;
    x->upstream = f->target ? f->target : &f->origin->upstream;
    gw_forward_start(x);
}

void gw_fetch_turn(gw_fetch *f)
{
    switch (f->phase) {
    case GW_FETCH_STARTING:
        if (f->target)
            gw_fetch_found(f, NULL);
        else
            gw_origin_resolve(f->origin, f);
        break;
    case GW_FETCH_UNDER_WAY:
        on_answer(f->x);
        break;
    case GW_FETCH_FINISHING:
        settle(f);
        break;
    default:
        break;
    }
}

static void on_deadline(gw_timeout *t)
{
    gw_fetch *f = gw_container_of(t, gw_fetch, deadline);
    switch (f->phase) {
    case GW_FETCH_STARTING: /* its name is being looked up */
        gw_list_remove(&f->waiting);
        fail(f, "timeout");
        finish(f);
        break;
    case GW_FETCH_UNDER_WAY:
        gw_forward_failed(f->x, 504, "total timeout", GW_FAULT_TOTAL);
        break;
    default:
        break;
    }
}

void gw_fetch_start(gw_fetch *f, double seconds, uint64_t most, void (*done)(gw_fetch *f), void *data)
{
    gw_exchange *x = f->x;
    gw_request *r = &x->request;
    f->done = done;
    f->data = data;
    f->most = most;
    if (!x->body_kept && (r->method == GW_METHOD_POST || r->method == GW_METHOD_PUT || r->method == GW_METHOD_PATCH)) {
        x->body_kept = true;
        r->framing = GW_FRAMING_LENGTH;
    }
    f->phase = GW_FETCH_STARTING;
    gw_timeout_arm(f->engine->loop, &f->deadline, seconds);
    gw_exchange_wake(x);
}
