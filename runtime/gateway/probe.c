#include "gateway/probe.h"

#include "base/text.h"
#include <stdio.h>

/* A head longer than this is no sign of health; it fits into one buffer. */
static const gw_head_limits limits = {.request_line = 8192, .header_bytes = 32768, .headers = GW_HEADERS_LIMIT};

/* ---- the end ---- */

void gw_probe_stop(gw_probe *p)
{
    if (!p->running)
        return;
    p->running = false;
    gw_stream_close(&p->stream);
    gw_buffer_give(p->buffers, p->in);
    gw_buffer_give(p->buffers, p->request);
    p->in = p->request = NULL;
}

static void finish(gw_probe *p, enum gw_probe_verdict verdict, const char *reason)
{
    snprintf(p->reason, sizeof p->reason, "%s", reason);
    gw_probe_stop(p);
    p->done(p, verdict);
}

/* What a status of the floor below says of the endpoint, and the word for it. */
static enum gw_probe_verdict verdict_of(int status, const char **reason)
{
    switch (status) {
    case GW_REFUSED:
        *reason = "connection refused";
        return GW_PROBE_FAILED;
    case GW_TIMEOUT:
        *reason = "timeout";
        return GW_PROBE_FAILED;
    case GW_NOMEM:
    case GW_NOFILES:
        *reason = gw_status_text(status);
        return GW_PROBE_UNKNOWN;
    default:
        *reason = "connection reset";
        return GW_PROBE_FAILED;
    }
}

static void finish_by(gw_probe *p, int status)
{
    const char *reason;
    enum gw_probe_verdict verdict = verdict_of(status, &reason);
    finish(p, verdict, reason);
}

/* ---- the response ---- */

static bool expected(const gw_probe_spec *spec, unsigned status)
{
    return status / 64 < GW_COUNT(spec->expect) && spec->expect[status / 64] >> status % 64 & 1;
}

/* Looks for the text in what has come of the body. `in` holds bytes that were searched before (`kept`), then what is new. */
static void read_body(gw_probe *p)
{
    gw_slice text = p->spec->body;
    char *bytes = p->in->bytes + p->in->start;
    size_t raw = gw_buffer_used(p->in) - p->kept, data = raw;
    bool over = false;
    const char *reason = "";
    switch (p->framing) {
    case GW_FRAMING_NONE:
        data = 0;
        over = true;
        break;
    case GW_FRAMING_LENGTH:
        data = raw < p->left ? raw : (size_t)p->left;
        p->left -= data;
        over = p->left == 0;
        break;
    case GW_FRAMING_CHUNKED: {
        int64_t used = gw_chunked_decode(&p->chunked, bytes + p->kept, raw, &data, &reason);
        if (used < 0) {
            finish(p, GW_PROBE_FAILED, "malformed chunks in the body");
            return;
        }
        over = p->chunked.done;
        break;
    }
    case GW_FRAMING_CLOSE:
        over = p->ended;
        break;
    }
    if (data >= p->budget) {
        data = p->budget;
        over = true;
    }
    p->budget -= (uint32_t)data;
    size_t there = p->kept + data;
    if (memmem(bytes, there, text.ptr, text.len)) {
        finish(p, GW_PROBE_WELL, "");
        return;
    }
    if (over || p->ended) {
        finish(p, GW_PROBE_FAILED, over ? "the body lacks the expected text" : "connection closed within the body");
        return;
    }
    size_t tail = there < text.len - 1 ? there : text.len - 1;
    memmove(p->in->bytes, bytes + there - tail, tail);
    p->in->start = 0;
    p->in->end = p->kept = (uint32_t)tail;
}

static void read_head(gw_probe *p)
{
    gw_bad_head bad = {0};
    char said[sizeof p->reason];
    for (;;) {
        const char *head = p->in->bytes + p->in->start;
        int len = gw_head_scan(head, gw_buffer_used(p->in), &limits, true, &p->scan, &bad);
        if (len == GW_AGAIN) {
            if (p->ended)
                finish(p, GW_PROBE_FAILED, "connection closed before the response");
            return;
        }
        gw_response response;
        if (len < 0 || gw_response_parse(&response, head, (size_t)len, p->method, &limits, &bad) < 0) {
            snprintf(said, sizeof said, "invalid response: %s", bad.reason);
            finish(p, GW_PROBE_FAILED, said);
            return;
        }
        p->in->start += (uint32_t)len;
        p->scan = (gw_head_scan_state){0};
        if (response.status < 200 && response.status != 101)
            continue; /* the final one is still to come */
        if (!expected(p->spec, response.status)) {
            snprintf(said, sizeof said, "status %u", (unsigned)response.status);
            finish(p, GW_PROBE_FAILED, said);
            return;
        }
        if (p->spec->body.len == 0) {
            finish(p, GW_PROBE_WELL, "");
            return;
        }
        p->framing = response.framing;
        p->left = response.content_length;
        p->budget = GW_PROBE_BODY_BYTES;
        p->kept = 0;
        gw_chunked_init(&p->chunked, NULL);
        p->in_body = true;
        read_body(p);
        return;
    }
}

/* ---- the stream's events ---- */

static gw_probe *probe_of(gw_stream *s)
{
    return gw_container_of(s, gw_probe, stream);
}

static void on_readable(gw_stream *s)
{
    gw_probe *p = probe_of(s);
    if (!p->in) /* beside a text that is still to be found in it there has to be room for more */
        p->in = gw_buffer_take(p->buffers, p->spec->body.len < GW_BUFFER_BYTES / 2 ? 0 : p->spec->body.len + GW_BUFFER_BYTES);
    if (!p->in) {
        finish_by(p, GW_NOMEM);
        return;
    }
    if (gw_buffer_room(p->in) == 0)
        gw_buffer_compact(p->in);
    int64_t n = gw_stream_read(s, p->in);
    if (n == GW_AGAIN)
        return;
    if (n < 0 && n != GW_EOF) {
        finish_by(p, (int)n);
        return;
    }
    p->ended = n == GW_EOF;
    if (p->in_body)
        read_body(p);
    else
        read_head(p);
}

static void on_connected(gw_stream *s, int status)
{
    gw_probe *p = probe_of(s);
    if (status < 0) {
        finish_by(p, status);
        return;
    }
    if (p->spec->tcp) {
        finish(p, GW_PROBE_WELL, "");
        return;
    }
    struct iovec iov = {p->request->bytes + p->request->start, gw_buffer_used(p->request)};
    int wrote = gw_stream_write(s, &iov, 1); /* what the kernel does not take now the stream keeps */
    gw_buffer_give(p->buffers, p->request);
    p->request = NULL;
    if (wrote != GW_OK && wrote != GW_AGAIN)
        finish_by(p, wrote);
}

static void on_drained(gw_stream *s)
{
    (void)s; /* the response is waited for anyway */
}

static void on_failed(gw_stream *s, int status)
{
    finish_by(probe_of(s), status);
}

static void on_expired(gw_stream *s)
{
    finish_by(probe_of(s), GW_TIMEOUT);
}

static const gw_stream_ops probe_ops = {
    .readable = on_readable, .connected = on_connected, .drained = on_drained, .failed = on_failed, .expired = on_expired};

/* ---- the beginning ---- */

static size_t request_room(const gw_probe_spec *spec, gw_slice host)
{
    size_t room = spec->method.len + spec->path.len + host.len + 128;
    for (uint32_t i = 0; i < 2 * spec->header_count; i++)
        room += spec->headers[i].len + 4;
    return room;
}

static bool write_request(gw_probe *p, gw_slice host)
{
    const gw_probe_spec *spec = p->spec;
    gw_slice method = spec->method.len ? spec->method : GW_SLICE("GET");
    p->method = gw_method_of(method);
    p->request = gw_buffer_take(p->buffers, request_room(spec, host));
    if (!p->request)
        return false;
    gw_text text = gw_text_on(p->request->bytes, p->request->cap);
    gw_text_slice(&text, method);
    gw_text_lit(&text, " ");
    gw_text_slice(&text, spec->path.len ? spec->path : GW_SLICE("/"));
    gw_text_lit(&text, " HTTP/1.1\r\nHost: ");
    gw_text_slice(&text, host);
    gw_text_lit(&text, "\r\nConnection: close\r\n");
    if (p->method == GW_METHOD_POST || p->method == GW_METHOD_PUT || p->method == GW_METHOD_PATCH)
        gw_text_lit(&text, "Content-Length: 0\r\n");
    for (uint32_t i = 0; i < spec->header_count; i++) {
        gw_text_slice(&text, spec->headers[2 * i]);
        gw_text_lit(&text, ": ");
        gw_text_slice(&text, spec->headers[2 * i + 1]);
        gw_text_lit(&text, "\r\n");
    }
    gw_text_lit(&text, "\r\n");
    p->request->end = (uint32_t)gw_text_done(&text).len;
    return !text.cut;
}

int gw_probe_start(gw_probe *p, const gw_address *to, gw_slice host, enum gw_probe_verdict *verdict)
{
    p->in = p->request = NULL;
    p->scan = (gw_head_scan_state){0};
    p->in_body = p->ended = false;
    p->reason[0] = '\0';
    int status = GW_OK;
    if (!p->spec->tcp && !write_request(p, p->spec->host.len ? p->spec->host : host))
        status = GW_NOMEM;
    if (status == GW_OK)
        status = gw_stream_connect(&p->stream, p->loop, p->buffers, &probe_ops, to);
    if (status < 0) {
        const char *reason;
        *verdict = verdict_of(status, &reason);
        snprintf(p->reason, sizeof p->reason, "%s", reason);
        gw_buffer_give(p->buffers, p->request);
        p->request = NULL;
        return status;
    }
    p->running = true;
    gw_stream_timeout(&p->stream, p->spec->timeout > 0 ? p->spec->timeout : 1);
    return GW_OK;
}

bool gw_probe_spec_same(const gw_probe_spec *a, const gw_probe_spec *b)
{
    if (a->on != b->on || a->tcp != b->tcp || a->timeout != b->timeout || a->header_count != b->header_count)
        return false;
    if (!gw_slice_equal(a->method, b->method) || !gw_slice_equal(a->path, b->path) || !gw_slice_equal(a->host, b->host) ||
        !gw_slice_equal(a->body, b->body) || memcmp(a->expect, b->expect, sizeof a->expect) != 0)
        return false;
    for (uint32_t i = 0; i < 2 * a->header_count; i++)
        if (!gw_slice_equal(a->headers[i], b->headers[i]))
            return false;
    return true;
}
