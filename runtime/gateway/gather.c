/* Bodies gathered in memory, because a script asked for one, or because the request may have to be sent again. Bounded by the route's limit and by the script's. */
#include "gateway/flow.h"
#include <stdlib.h>

/* Appends to a text that grows by doubling. GW_LIMIT past `most`. */
static int text_add(char **text, size_t *len, size_t *cap, uint64_t most, const char *bytes, size_t more)
{
    if (more == 0)
        return GW_OK;
    if (*len + more > most)
        return GW_LIMIT;
    if (*len + more > *cap) {
        size_t wider = *cap ? *cap * 2 : 4096;
        while (wider < *len + more)
            wider *= 2;
        char *larger = realloc(*text, wider);
        if (!larger)
            return GW_NOMEM;
        *text = larger;
        *cap = wider;
    }
    memcpy(*text + *len, bytes, more);
    *len += more;
    return GW_OK;
}

static uint64_t bound(uint64_t limit, uint64_t most)
{
    most = limit < most ? limit : most;
    return most < SIZE_MAX / 4 ? most : SIZE_MAX / 4;
}

static void gather_done(gw_exchange *x, int status)
{
    if (status == GW_NOMEM)
        gw_engine_out_of_memory(x->engine, GW_MEMORY_503);
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
        int status = text_add(&x->body_text, &x->body_text_len, &x->body_text_cap, x->body_most, c->in->bytes + c->pos, data);
        bool spill = status == GW_LIMIT && x->keep_wanted; /* it goes out all the same: a buffer more than the bound */
        if (spill)
            status = text_add(&x->body_text, &x->body_text_len, &x->body_text_cap, UINT64_MAX, c->in->bytes + c->pos, data);
        if (status != GW_OK)
            return status;
        c->pos += (uint32_t)used;
        if (spill)
            return GW_LIMIT;
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
    if (x->request_sent || x->state == GW_X_DONE)
        return GW_INVALID;
    x->body_most = bound(x->body_limit, most);
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

/* ---- the backend's ---- */

static int answer_done(gw_exchange *x, int status)
{
    x->answer_status = status;
    if (status == GW_OK) {
        x->reply.body = gw_slice_of(x->answer_text ? x->answer_text : "", x->answer_text_len);
        x->body_replaced = true;
    }
    if (x->up)
        gw_stream_timeout(&x->up->stream, 0);
    if (x->answer_wanted) {
        x->answer_wanted = false;
        gw_exchange_wake(x);
    }
    return status;
}

/* Takes what stands in the buffer, behind the head, which stays. GW_OK: whole; GW_AGAIN: more is needed. */
static int answer_take(gw_exchange *x)
{
    gw_buffer *b = x->up->in;
    const char *reason = NULL;
    if (b && !x->out.done && gw_buffer_used(b)) {
        size_t data;
        char *at = b->bytes + b->start;
        int64_t used = gw_body_take(&x->out, at, gw_buffer_used(b), &data, &reason);
        if (used < 0)
            return (int)used;
        int status = text_add(&x->answer_text, &x->answer_text_len, &x->answer_text_cap, x->answer_most, at, data);
        bool spill = status == GW_LIMIT; /* it goes out all the same, what was taken first: a buffer more than the bound */
        if (spill)
            status = text_add(&x->answer_text, &x->answer_text_len, &x->answer_text_cap, UINT64_MAX, at, data);
        if (status != GW_OK)
            return status;
        if (!x->out.done)
            b->end = b->start; /* all was used: the room is free again */
        else
            b->start += (uint32_t)used;
        if (spill)
            return GW_LIMIT;
    }
    return x->out.done ? GW_OK : GW_AGAIN;
}

void gw_gather_response_pump(gw_exchange *x)
{
    int status = answer_take(x);
    if (status != GW_AGAIN) {
        gw_stream_read_off(&x->up->stream);
        answer_done(x, status);
        return;
    }
    gw_stream_timeout(&x->up->stream, x->upstream->timeouts.idle);
}

void gw_gather_response_ended(gw_exchange *x, int status)
{
    if (status == GW_EOF && x->out.framing == GW_FRAMING_CLOSE) {
        x->out.done = true;
        status = GW_OK;
    }
    if (status != GW_OK)
        x->try_failed = true;
    answer_done(x, status);
}

int gw_exchange_response_body(gw_exchange *x, uint64_t most)
{
    if (x->body_replaced || x->reply.status)
        return GW_OK;
    if (x->answer_status < 0 || !x->up || x->switching)
        return x->answer_status < 0 ? x->answer_status : GW_INVALID;
    x->answer_most = bound(x->route->body_bytes, most);
    if (x->out.framing == GW_FRAMING_LENGTH && x->response.content_length > x->answer_most)
        return GW_LIMIT; /* nothing of it is taken: it can still stream */
    int status = answer_take(x);
    if (status != GW_AGAIN)
        return answer_done(x, status);
    if (x->up->ended) {
        gw_gather_response_ended(x, GW_EOF);
        return x->answer_status;
    }
    x->answer_wanted = true;
    gw_stream_read_on(&x->up->stream);
    gw_stream_timeout(&x->up->stream, x->upstream->timeouts.idle);
    return GW_AGAIN;
}
