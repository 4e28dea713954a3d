/* Heads as they go out: written from the parsed model, never copied framing (RFC 9112 section 6, RFC 9110 section 7.6). */
#include "gateway/flow.h"

static void field(gw_text *t, gw_slice name, gw_slice value)
{
    size_t need = name.len + value.len + 4;
    if (gw_unlikely((size_t)(t->end - t->at) < need)) {
        t->cut = true;
        return;
    }
    char *at = t->at;
    memcpy(at, name.ptr, name.len);
    at += name.len;
    *at++ = ':';
    *at++ = ' ';
    if (value.len)
        memcpy(at, value.ptr, value.len);
    at += value.len;
    *at++ = '\r';
    *at++ = '\n';
    t->at = at;
}

/* The fields whose ids are not in `drop` and that Connection does not name. Neighbours that stand one behind the other as they would be
 * written ("plain": checked byte by byte when they were read) go in one piece. */
static void fields(gw_text *t, const gw_headers *h, uint64_t drop)
{
    const gw_header *end = h->item + h->count;
    for (const gw_header *f = h->item; f < end; f++) {
        if ((drop >> f->id & 1) || f->nominated)
            continue;
        if (!f->plain) {
            field(t, f->name, f->value);
            continue;
        }
        const char *from = f->name.ptr, *to = f->value.ptr + f->value.len + 2;
        while (f + 1 < end && f[1].plain && f[1].name.ptr == to && !(drop >> f[1].id & 1) && !f[1].nominated) {
            f++;
            to = f->value.ptr + f->value.len + 2;
        }
        gw_text_add(t, from, (size_t)(to - from));
    }
}

#define BIT(id) (1ULL << (id))
/* Fields that are written from the model, or not at all. */
#define FRAMING_AND_HOPS                                                                                                         \
    (BIT(GW_H_CONTENT_LENGTH) | BIT(GW_H_TRANSFER_ENCODING) | BIT(GW_H_CONNECTION) | BIT(GW_H_KEEP_ALIVE) |                      \
     BIT(GW_H_PROXY_CONNECTION) | BIT(GW_H_TE) | BIT(GW_H_TRAILER) | BIT(GW_H_UPGRADE) | BIT(GW_H_PROXY_AUTHENTICATE) |          \
     BIT(GW_H_PROXY_AUTHORIZATION) | BIT(GW_H_HTTP2_SETTINGS))
#define FORWARDED_BY (BIT(GW_H_X_FORWARDED_FOR) | BIT(GW_H_X_FORWARDED_PROTO) | BIT(GW_H_X_FORWARDED_HOST))
#define FORWARDED_MORE (BIT(GW_H_X_FORWARDED_PORT) | BIT(GW_H_X_REAL_IP))

static void version_token(gw_text *t, uint8_t minor)
{
    gw_text_add(t, minor ? "1.1 " : "1.0 ", 4);
}

/* name: old values joined, and one more element, built of up to five pieces. */
static void field_grown(gw_exchange *x, gw_text *t, gw_slice name, bool keep_old, const gw_slice *more, int count)
{
    gw_text_slice(t, name);
    gw_text_lit(t, ": ");
    if (keep_old) {
        gw_slice old = gw_headers_joined(&x->request.headers, name, &x->arena);
        if (old.len) {
            gw_text_slice(t, old);
            gw_text_lit(t, ", ");
        }
    }
    for (int i = 0; i < count; i++)
        gw_text_slice(t, more[i]);
    gw_text_lit(t, "\r\n");
}

static void forwarded_fields(gw_exchange *x, gw_text *t)
{
    const gw_generation *g = x->generation;
    const gw_headers *h = &x->request.headers;
    char peer_text[48];
    gw_slice peer = {x->client_ip_text, x->client_ip_len};
    if (x->trusted) /* client_ip may be further away than who is connected */
        peer = gw_slice_of(peer_text, gw_ip_text(&x->client->ip, peer_text));
    const gw_header *host = gw_headers_by_id(h, GW_H_HOST);
    gw_slice scheme = x->https ? GW_SLICE("https") : GW_SLICE("http");
    if (g->x_forwarded) {
        const gw_header *proto = x->trusted ? gw_headers_by_id(h, GW_H_X_FORWARDED_PROTO) : NULL;
        const gw_header *named = x->trusted ? gw_headers_by_id(h, GW_H_X_FORWARDED_HOST) : NULL;
        if (x->trusted && gw_headers_has(h, GW_H_X_FORWARDED_FOR))
            field_grown(x, t, GW_SLICE("X-Forwarded-For"), true, &peer, 1);
        else
            field(t, GW_SLICE("X-Forwarded-For"), peer);
        field(t, GW_SLICE("X-Forwarded-Proto"), proto ? proto->value : scheme);
        if (named || host)
            field(t, GW_SLICE("X-Forwarded-Host"), named ? named->value : host->value);
    }
    if (g->forwarded) { /* RFC 7239 */
        bool v6 = memchr(peer.ptr, ':', peer.len) != NULL;
        gw_slice more[8];
        int n = 0;
        more[n++] = v6 ? GW_SLICE("for=\"[") : GW_SLICE("for=");
        more[n++] = peer;
        if (v6)
            more[n++] = GW_SLICE("]\"");
        more[n++] = GW_SLICE(";proto=");
        more[n++] = scheme;
        if (host) {
            more[n++] = GW_SLICE(";host=\"");
            more[n++] = host->value;
            more[n++] = GW_SLICE("\"");
        }
        field_grown(x, t, GW_SLICE("Forwarded"), x->trusted, more, n);
    }
}

/* A script's own request: what it said, and nothing that speaks of a client. */
static void compose_fetch(gw_exchange *x, gw_text *t)
{
    const gw_request *r = &x->request;
    gw_text_slice(t, r->method_name);
    gw_text_lit(t, " ");
    gw_text_slice(t, x->path);
    if (x->query.ptr) {
        gw_text_lit(t, "?");
        gw_text_slice(t, x->query);
    }
    gw_text_lit(t, " HTTP/1.1\r\n");
    const gw_header *host = gw_headers_by_id(&r->headers, GW_H_HOST);
    field(t, GW_SLICE("Host"), host ? host->value : x->upstream->host.ptr ? x->upstream->host : x->endpoint->text);
    fields(t, &r->headers, FRAMING_AND_HOPS | BIT(GW_H_HOST));
    if (r->framing != GW_FRAMING_NONE) {
        gw_text_lit(t, "Content-Length: ");
        gw_text_u64(t, x->body_text_len);
        gw_text_lit(t, "\r\n");
    }
    gw_text_lit(t, "\r\n");
}

void gw_compose_request(gw_exchange *x, gw_text *t)
{
    const gw_generation *g = x->generation;
    const gw_request *r = &x->request;
    const gw_headers *h = &r->headers;
    if (gw_unlikely(x->inner != NULL)) {
        compose_fetch(x, t);
        return;
    }
    gw_text_slice(t, r->method_name);
    gw_text_lit(t, " ");
    gw_text_slice(t, x->path);
    if (x->query.ptr) {
        gw_text_lit(t, "?");
        gw_text_slice(t, x->query);
    }
    gw_text_lit(t, " HTTP/1.1\r\n");

    gw_slice host = x->upstream->host;
    const gw_header *theirs = gw_headers_by_id(h, GW_H_HOST);
    if (!host.ptr)
        host = theirs ? theirs->value : x->endpoint->text;
    field(t, GW_SLICE("Host"), host);

    uint64_t drop = FRAMING_AND_HOPS | BIT(GW_H_HOST);
    if (g->x_forwarded || !x->trusted)
        drop |= FORWARDED_BY;
    if (!x->trusted)
        drop |= FORWARDED_MORE | BIT(GW_H_FORWARDED);
    if (g->forwarded)
        drop |= BIT(GW_H_FORWARDED);
    if (x->id.len)
        drop |= BIT(GW_H_X_REQUEST_ID);
    if (g->via.ptr)
        drop |= BIT(GW_H_VIA);
    if (x->body_kept || x->continue_sent || !r->expect_continue)
        drop |= BIT(GW_H_EXPECT);
    fields(t, h, drop);
    if (g->x_forwarded || g->forwarded)
        forwarded_fields(x, t);
    if (x->id.len)
        field(t, GW_SLICE("X-Request-ID"), x->id);
    if (g->via.ptr) {
        gw_slice more[2] = {r->minor ? GW_SLICE("1.1 ") : GW_SLICE("1.0 "), g->via};
        field_grown(x, t, GW_SLICE("Via"), true, more, 2);
    }
    if (r->upgrade) {
        const gw_header *up = gw_headers_by_id(h, GW_H_UPGRADE);
        if (up) { /* unless a script took it away */
            gw_text_lit(t, "Connection: upgrade\r\n");
            field(t, GW_SLICE("Upgrade"), up->value);
        }
    }
    if (gw_relay_chunked(x))
        gw_text_lit(t, "Transfer-Encoding: chunked\r\n");
    else if (r->framing != GW_FRAMING_NONE) {
        gw_text_lit(t, "Content-Length: ");
        gw_text_u64(t, x->body_kept ? x->body_text_len : r->content_length);
        gw_text_lit(t, "\r\n");
    }
    gw_text_lit(t, "\r\n");
}

static void status_line(gw_text *t, int status, gw_slice reason)
{
    char code[4] = {(char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10), (char)('0' + status % 10), ' '};
    gw_text_lit(t, "HTTP/1.1 ");
    gw_text_add(t, code, 4);
    gw_text_slice(t, reason);
    gw_text_lit(t, "\r\n");
}

void gw_compose_interim(gw_exchange *x, gw_text *t)
{
    status_line(t, x->response.status, x->response.reason);
    fields(t, &x->response.headers, FRAMING_AND_HOPS);
    if (x->response.status == 101) {
        gw_text_lit(t, "Connection: upgrade\r\n");
        const gw_header *up = gw_headers_by_id(&x->response.headers, GW_H_UPGRADE);
        if (!up) /* a script took it away */
            up = gw_headers_by_id(&x->request.headers, GW_H_UPGRADE);
        if (up)
            field(t, GW_SLICE("Upgrade"), up->value);
        if (x->id.len)
            field(t, GW_SLICE("X-Request-ID"), x->id);
    }
    gw_text_lit(t, "\r\n");
}

void gw_compose_response(gw_exchange *x, gw_text *t)
{
    const gw_generation *g = x->generation;
    const gw_response *r = &x->response;
    const gw_headers *h = &r->headers;
    if (gw_unlikely(g->access.response_header_count))
        gw_access_keep_response(x);
    gw_slice reason = r->reason;
    if (!reason.ptr)
        reason = gw_slice_str(gw_reason_phrase(r->status));
    status_line(t, r->status, reason);
    uint64_t drop = FRAMING_AND_HOPS;
    if (x->id.len)
        drop |= BIT(GW_H_X_REQUEST_ID);
    if (g->via.ptr)
        drop |= BIT(GW_H_VIA);
    fields(t, h, drop);
    if (!gw_headers_has(h, GW_H_DATE))
        field(t, GW_SLICE("Date"), gw_slice_of(gw_engine_date(x->engine), 29));
    if (x->id.len)
        field(t, GW_SLICE("X-Request-ID"), x->id);
    if (g->via.ptr) {
        gw_text_lit(t, "Via: ");
        gw_slice old = gw_headers_joined(h, GW_SLICE("Via"), &x->arena);
        if (old.len) {
            gw_text_slice(t, old);
            gw_text_lit(t, ", ");
        }
        version_token(t, r->minor);
        gw_text_slice(t, g->via);
        gw_text_lit(t, "\r\n");
    }
    if (gw_unlikely(x->limit_fields.len))
        gw_text_slice(t, x->limit_fields);
    /* What describes the length (RFC 9110 section 8.6: never in 1xx and 204; in HEAD and 304 what a GET would have said). */
    if (x->chunk_out)
        gw_text_lit(t, "Transfer-Encoding: chunked\r\n");
    else if (x->out.framing == GW_FRAMING_LENGTH) {
        gw_text_lit(t, "Content-Length: ");
        gw_text_u64(t, r->content_length);
        gw_text_lit(t, "\r\n");
    } else if (x->out.framing == GW_FRAMING_NONE && r->status != 204 && !x->body_replaced && !x->reply.status) {
        const gw_header *length = gw_headers_by_id(h, GW_H_CONTENT_LENGTH);
        if (length)
            field(t, GW_SLICE("Content-Length"), length->value);
    }
    if (x->close)
        gw_text_lit(t, "Connection: close\r\n");
    else if (x->request.minor == 0)
        gw_text_lit(t, "Connection: keep-alive\r\n");
    gw_text_lit(t, "\r\n");
}
