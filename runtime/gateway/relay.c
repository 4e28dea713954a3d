#include "gateway/flow.h"
#include <stdlib.h>

int64_t gw_body_take(gw_body *b, char *bytes, size_t len, size_t *data, const char **reason)
{
    *data = 0;
    switch (b->framing) {
    case GW_FRAMING_NONE:
        b->done = true;
        return 0;
    case GW_FRAMING_LENGTH: {
        size_t n = len < b->left ? len : (size_t)b->left;
        b->left -= n;
        b->bytes += n;
        b->done = b->left == 0;
        *data = n;
        return (int64_t)n;
    }
    case GW_FRAMING_CLOSE:
        b->bytes += len;
        *data = len;
        return (int64_t)len;
    case GW_FRAMING_CHUNKED: {
        int64_t used = gw_chunked_decode(&b->chunked, bytes, len, data, reason);
        if (used < 0)
            return used;
        b->bytes += *data;
        b->done = b->chunked.done;
        return used;
    }
    }
    return GW_INVALID;
}

/* One chunk of `data`, and the end with its trailers when `done`: pieces into iov; `line` is room for the size. */
static int chunk_pieces(struct iovec *iov, char line[18], gw_slice data, const gw_body *b)
{
    int n = 0;
    if (data.len) {
        iov[n++] = (struct iovec){line, gw_chunked_size_line(data.len, line)};
        iov[n++] = (struct iovec){(void *)data.ptr, data.len};
        iov[n++] = (struct iovec){"\r\n", 2};
    }
    if (b->done) {
        bool trailers = b->framing == GW_FRAMING_CHUNKED && b->chunked.trailers_len > 0;
        iov[n++] = (struct iovec){"0\r\n", 3};
        if (trailers)
            iov[n++] = (struct iovec){b->chunked.trailers, b->chunked.trailers_len};
        iov[n++] = (struct iovec){"\r\n", 2};
    }
    return n;
}

static void request_bad(gw_exchange *x, int status, const char *reason)
{
    x->close = true;
    x->wants_resume = false;
    if (x->response_started) {
        gw_exchange_abort(x, reason);
        return;
    }
    gw_forward_release(x, false);
    gw_headers_clear(&x->response.headers);
    x->in.done = true; /* nothing more is read as a message */
    gw_reply_error(x, status, reason);
}

static void request_out_of_memory(gw_exchange *x)
{
    gw_engine_out_of_memory(x->engine, GW_MEMORY_503);
    request_bad(x, 503, "out of memory");
}

void gw_relay_request(gw_exchange *x, gw_slice head)
{
    gw_client *c = x->client;
    gw_upconn *up = x->up;
    struct iovec iov[10];
    char line[18], first_line[18];
    int n = 0;
    bool begun = !x->body_kept && x->body_text_len; /* it is not kept whole: what was taken of it goes first */
    if (head.len)
        iov[n++] = (struct iovec){(void *)head.ptr, head.len};
    if (x->body_kept) {
        if (gw_relay_chunked(x))
            n += chunk_pieces(iov + n, line, gw_slice_of(x->body_text, x->body_text_len), &x->in);
        else if (x->body_text_len)
            iov[n++] = (struct iovec){x->body_text, x->body_text_len};
    } else if (!x->in.done || begun) {
        static const gw_body more = {.done = false};
        if (begun && x->in.framing == GW_FRAMING_CHUNKED)
            n += chunk_pieces(iov + n, first_line, gw_slice_of(x->body_text, x->body_text_len), &more);
        else if (begun) /* a script began to read it, and did not see it through */
            iov[n++] = (struct iovec){x->body_text, x->body_text_len};
        size_t data = 0;
        const char *reason = "bad request body";
        int64_t used = x->in.done ? 0 : gw_body_take(&x->in, c->in->bytes + c->pos, c->in->end - c->pos, &data, &reason);
        if (used < 0) {
            if (used == GW_NOMEM)
                request_out_of_memory(x);
            else
                request_bad(x, used == GW_LIMIT ? 413 : 400, reason);
            return;
        }
        if (x->in.bytes > x->body_limit) {
            request_bad(x, 413, "request body too large");
            return;
        }
        gw_slice body = {c->in->bytes + c->pos, data};
        c->pos += (uint32_t)used;
        if (x->in.framing == GW_FRAMING_CHUNKED)
            n += chunk_pieces(iov + n, line, body, &x->in);
        else if (data)
            iov[n++] = (struct iovec){(void *)body.ptr, body.len};
    }
    int status = GW_OK;
    if (x->send_broken)
        n = 0; /* read and dropped, so that the answer that may still come reaches the client */
    if (n)
        status = gw_stream_write(&up->stream, iov, n);
    if (begun) {
        free(x->body_text);
        x->body_text = NULL;
        x->body_text_len = x->body_text_cap = 0;
    }
    if (c->pos == c->in->end && c->pos > c->head_end && !x->in.done)
        c->pos = c->in->end = c->head_end;
    if (status == GW_NOMEM) {
        request_out_of_memory(x);
        return;
    }
    if (status == GW_RESET || status == GW_EOF) {
        /* The backend is gone, or answered early and closed. Its side is read to its end either way: the event comes. */
        x->send_broken = true;
        up->keep = false;
        gw_stream_read_on(&up->stream);
        gw_stream_timeout(&up->stream, gw_forward_patience(x));
        return;
    }
    if (status == GW_AGAIN) {
        gw_stream_read_off(&c->stream);
        if (!gw_stream_blocked(&c->stream))
            gw_stream_timeout(&c->stream, 0);
        gw_stream_timeout(&up->stream, x->upstream->timeouts.idle);
        return;
    }
    if (!x->in.done && !x->body_kept) {
        gw_client_want_room(c);
        if (!gw_stream_blocked(&c->stream))
            gw_stream_timeout(&c->stream, x->generation->timeouts.body);
        if (x->state == GW_X_AWAIT)
            gw_stream_timeout(&up->stream, 0); /* the client's turn */
        return;
    }
    if (gw_timeout_armed(&c->stream.timeout) && !gw_stream_blocked(&c->stream))
        gw_timeout_disarm(&c->stream.timeout);
    if (x->state == GW_X_AWAIT)
        gw_stream_timeout(&up->stream, gw_forward_patience(x));
}

bool gw_relay_response(gw_exchange *x, gw_slice head)
{
    gw_engine *e = x->engine;
    gw_upconn *up = x->up;
    gw_buffer *b = up->in;
    struct iovec iov[11];
    char line[18], first_line[18];
    int n = 0;
    size_t data = 0;
    int64_t used = 0;
    gw_slice begun = {x->answer_text,
                      x->body_replaced ? 0 : x->answer_text_len}; /* taken for a script that it was too long for */
    char *at = b ? b->bytes + b->start : NULL;
    if (!x->out.done && b && gw_buffer_used(b) > 0) {
        const char *reason = "bad response body";
        used = gw_body_take(&x->out, at, gw_buffer_used(b), &data, &reason);
        if (used < 0) {
            gw_headers_clear(&x->response.headers);
            if (used == GW_NOMEM)
                gw_forward_out_of_memory(x);
            else
                gw_forward_failed(x, 502, reason, GW_FAULT_BAD);
            return false;
        }
    }
    if (head.len)
        iov[n++] = (struct iovec){(void *)head.ptr, head.len};
    if (gw_unlikely(begun.len > 0)) {
        static const gw_body more = {.done = false};
        if (x->chunk_out)
            n += chunk_pieces(iov + n, first_line, begun, &more);
        else
            iov[n++] = (struct iovec){(void *)begun.ptr, begun.len};
    }
    if (x->chunk_out)
        n += chunk_pieces(iov + n, line, gw_slice_of(at, data), &x->out);
    else if (data)
        iov[n++] = (struct iovec){at, data};
    x->bytes_out += data + begun.len;
    x->response_started = true;
    int status = n ? gw_stream_write(&x->client->stream, iov, n) : GW_OK;
    if (gw_unlikely(begun.len > 0)) {
        free(x->answer_text);
        x->answer_text = NULL;
        x->answer_text_len = x->answer_text_cap = 0;
    }
    if (b) {
        b->start += (uint32_t)used;
        if (b->start == b->end) {
            gw_buffer_give(&e->buffers, b);
            up->in = NULL;
        }
    }
    if (status == GW_NOMEM) {
        gw_exchange_out_of_memory(x);
        return false;
    }
    if (status != GW_OK && status != GW_AGAIN) {
        gw_exchange_client_ended(x, GW_RESET);
        return false;
    }
    if (x->out.done) {
        gw_exchange_complete(x);
        return false;
    }
    if (status == GW_AGAIN || gw_stream_blocked(&x->client->stream)) {
        gw_stream_read_off(&up->stream);
        gw_stream_timeout(&up->stream, 0);
        gw_stream_timeout(&x->client->stream, x->generation->timeouts.body);
        return true;
    }
    if (up->ended) {
        gw_relay_response_end(x);
        return false;
    }
    gw_stream_read_on(&up->stream);
    gw_stream_timeout(&up->stream, x->upstream->timeouts.idle);
    return true;
}

void gw_relay_response_end(gw_exchange *x)
{
    x->up->ended = true;
    if (x->out.done) {
        gw_exchange_complete(x);
        return;
    }
    if (x->out.framing != GW_FRAMING_CLOSE) {
        gw_forward_broke(x, "upstream closed in the middle of the response");
        return;
    }
    x->out.done = true;
    gw_relay_response(x, GW_NO_SLICE);
}
