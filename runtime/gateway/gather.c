/* The request body gathered in memory, because a script asked for it. Bounded by the route's limit and by the script's. */
#include "gateway/flow.h"
#include <stdlib.h>

static int gather_room(gw_exchange *x, size_t more)
{
    if (x->body_text_len + more > x->body_most)
        return GW_LIMIT;
    if (x->body_text_len + more <= x->body_text_cap)
        return GW_OK;
    size_t cap = x->body_text_cap ? x->body_text_cap * 2 : 4096;
    while (cap < x->body_text_len + more)
        cap *= 2;
    char *larger = realloc(x->body_text, cap);
    if (!larger)
        return GW_NOMEM;
    x->body_text = larger;
    x->body_text_cap = cap;
    return GW_OK;
}

static void gather_done(gw_exchange *x, int status)
{
    x->body_status = status;
    x->body_kept = status == GW_OK;
    gw_stream_timeout(&x->client->stream, 0);
    if (x->body_wanted) {
        x->body_wanted = false;
        gw_exchange_wake(x);
    }
}

/* Takes what stands in the client's buffer. GW_OK: whole; GW_AGAIN: more is needed. */
static int gather_take(gw_exchange *x)
{
    gw_client *c = x->client;
    const char *reason = NULL;
    while (!x->in.done && c->in && c->pos < c->in->end) {
        size_t data;
        int64_t used = gw_body_take(&x->in, c->in->bytes + c->pos, c->in->end - c->pos, &data, &reason);
        if (used < 0) {
            x->close = true;
            if (!x->error)
                x->error = reason;
            return (int)used;
        }
        int status = gather_room(x, data);
        if (status != GW_OK)
            return status;
        if (data) {
            memcpy(x->body_text + x->body_text_len, c->in->bytes + c->pos, data);
            x->body_text_len += data;
        }
        c->pos += (uint32_t)used;
    }
    return x->in.done ? GW_OK : GW_AGAIN;
}

void gw_gather_pump(gw_exchange *x)
{
    int status = gather_take(x);
    if (status != GW_AGAIN) {
        gather_done(x, status);
        return;
    }
    if (x->client->pos == x->client->in->end)
        x->client->pos = x->client->in->end = x->client->head_end;
    gw_stream_read_on(&x->client->stream);
    gw_stream_timeout(&x->client->stream, x->generation->timeouts.body);
}

void gw_gather_failed(gw_exchange *x, int status)
{
    gather_done(x, status);
}

int gw_gather_http_status(int status)
{
    return status == GW_LIMIT ? 413 : status == GW_TIMEOUT ? 408 : status == GW_NOMEM ? 503 : 400;
}

const char *gw_gather_reason(int status)
{
    return status == GW_LIMIT     ? "request body too large"
           : status == GW_TIMEOUT ? "request body did not come in time"
           : status == GW_NOMEM   ? "out of memory"
                                  : "bad request body";
}

int gw_exchange_body(gw_exchange *x, uint64_t most)
{
    if (x->body_kept || x->body_status < 0)
        return x->body_kept ? GW_OK : x->body_status;
    if (x->request_sent)
        return GW_INVALID;
    x->body_most = x->route->body_bytes < most ? x->route->body_bytes : most;
    if (x->body_most > SIZE_MAX / 4)
        x->body_most = SIZE_MAX / 4;
    if (x->in.framing == GW_FRAMING_LENGTH && x->request.content_length > x->body_most)
        return x->body_status = GW_LIMIT;
    int status = gather_take(x);
    if (status != GW_AGAIN) {
        gather_done(x, status);
        return status;
    }
    if (x->client->ended)
        return x->body_status = GW_EOF;
    if (x->request.expect_continue && !x->continue_sent && x->request.minor >= 1) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        struct iovec iov = {(void *)go_on, sizeof go_on - 1};
        int sent = gw_stream_write(&x->client->stream, &iov, 1);
        if (sent != GW_OK && sent != GW_AGAIN)
            return x->body_status = sent;
        x->continue_sent = true;
    }
    x->body_wanted = true;
    x->state = GW_X_BODY;
    if (x->client->pos == x->client->in->end)
        x->client->pos = x->client->in->end = x->client->head_end;
    gw_stream_read_on(&x->client->stream);
    gw_stream_timeout(&x->client->stream, x->generation->timeouts.body);
    return GW_AGAIN;
}
