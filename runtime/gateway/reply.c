/* Answers that are made here: the gateway's own errors, fixed answers, what scripts return. */
#include "gateway/flow.h"

static void reply_ready(gw_exchange *x)
{
    if ((x->wants_resume && !x->resumed) || gw_unlikely(x->inner != NULL)) { /* Lua waits for a response: this is one */
        x->resumed = true;
        x->state = GW_X_CHAIN;
        gw_exchange_verdict(x, x->route->chain_ops->resume(x));
        return;
    }
    gw_reply_send(x);
}

void gw_reply_error(gw_exchange *x, int status, const char *error)
{
    if (!x->error)
        x->error = error;
    if (x->response_started) {
        gw_exchange_abort(x, error);
        return;
    }
    gw_forward_release(x, false);
    size_t cap = 512;
    char *bytes = gw_arena_bytes(&x->arena, cap);
    if (!bytes) {
        gw_exchange_out_of_memory(x);
        return;
    }
    /* What went wrong inside is for the log; the client of a 5xx learns the kind only. */
    const char *said = status >= 500 ? gw_reason_phrase(status) : error;
    gw_text t = gw_text_on(bytes, cap);
    gw_text_lit(&t, "{\"error\":");
    gw_text_json(&t, gw_slice_str(said));
    gw_text_lit(&t, ",\"status\":");
    gw_text_u64(&t, (uint64_t)status);
    if (x->id.len) {
        gw_text_lit(&t, ",\"request_id\":");
        gw_text_json(&t, x->id);
    }
    gw_text_lit(&t, "}\n");
    x->reply.status = status;
    x->reply.body = gw_text_done(&t);
    x->response.reason = GW_NO_SLICE;
    x->response.status = (uint16_t)status;
    x->response.minor = 1;
    gw_headers_set(&x->response.headers, GW_SLICE("Content-Type"), GW_SLICE("application/json"));
    reply_ready(x);
}

void gw_reply_answer(gw_exchange *x, const gw_answer *answer)
{
    x->reply.status = answer->status;
    x->reply.body = answer->body;
    x->response.status = (uint16_t)answer->status;
    x->response.minor = 1;
    x->response.reason = GW_NO_SLICE;
    gw_headers_clear(&x->response.headers);
    for (uint32_t i = 0; i < answer->header_count; i++)
        gw_headers_add(&x->response.headers, answer->headers[i].name, answer->headers[i].value);
    reply_ready(x);
}

/* A request body that is already here whole can be stepped over, and the connection goes on; one that is still to come cannot. */
static void reply_step_over_body(gw_exchange *x)
{
    gw_client *c = x->client;
    while (!x->in.done && c->in && c->pos < c->in->end) {
        size_t data;
        const char *reason;
        int64_t used = gw_body_take(&x->in, c->in->bytes + c->pos, c->in->end - c->pos, &data, &reason);
        if (used <= 0)
            break;
        c->pos += (uint32_t)used;
    }
    if (!x->in.done)
        x->close = true;
}

/* The same for a backend's body that a script's answer stands for. True: nothing of it is still to come. */
bool gw_reply_step_over_response(gw_exchange *x)
{
    gw_buffer *b = x->up ? x->up->in : NULL;
    if (b && !x->out.done && gw_buffer_used(b)) {
        size_t data;
        const char *reason;
        int64_t used = gw_body_take(&x->out, b->bytes + b->start, gw_buffer_used(b), &data, &reason);
        if (used < 0)
            return false;
        b->start += (uint32_t)used;
    }
    return x->up && x->out.done;
}

void gw_reply_send(gw_exchange *x)
{
    gw_engine *e = x->engine;
    gw_response *r = &x->response;
    bool whole = gw_reply_step_over_response(x);
    if (!x->in.done)
        reply_step_over_body(x);
    if (e->draining || x->client->close_soon)
        x->close = true;
    if (x->reply.status != r->status) {
        r->status = (uint16_t)x->reply.status;
        r->reason = GW_NO_SLICE;
    }
    if (r->status < 200) { /* an interim status is no answer */
        r->status = 500;
        r->reason = GW_NO_SLICE;
    }
    bool bodiless = r->status == 204 || r->status == 304;
    x->chunk_out = x->close_out = false;
    memset(&x->out, 0, sizeof x->out);
    x->out.framing = bodiless ? GW_FRAMING_NONE : GW_FRAMING_LENGTH;
    x->out.done = true;
    r->content_length = x->reply.body.len;
    gw_text head = gw_text_on(e->scratch, GW_SCRATCH_BYTES);
    gw_compose_response(x, &head);
    if (head.cut) {
        gw_exchange_abort(x, "response head too large");
        return;
    }
    gw_forward_release(x, whole); /* the fields pointed into its buffer until now */
    struct iovec iov[2] = {{head.begin, (size_t)(head.at - head.begin)}};
    int n = 1;
    if (!bodiless && x->request.method != GW_METHOD_HEAD && x->reply.body.len) {
        iov[n++] = (struct iovec){(void *)x->reply.body.ptr, x->reply.body.len};
        x->bytes_out += x->reply.body.len;
    }
    x->status = r->status;
    x->state = GW_X_REPLY;
    x->response_started = true;
    int status = gw_stream_write(&x->client->stream, iov, n);
    if (status == GW_NOMEM) {
        gw_exchange_out_of_memory(x);
        return;
    }
    if (status != GW_OK && status != GW_AGAIN) {
        gw_exchange_client_ended(x, GW_RESET);
        return;
    }
    gw_exchange_complete(x);
}
