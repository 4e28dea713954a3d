#include "gateway/client.h"
#include "gateway/flow.h"

/* After our last byte, what the client still sends is read and dropped: while it goes on sending, so that a reset does not take away an
 * answer that it has not read yet (it may be in the middle of a large upload). */
#define LINGER_SECONDS 2.0 /* between two pieces */
#define LINGER_MOST 30.0   /* in all */

/* A connection that is to close and was not told so with an answer waits this long, from when it became idle: a request may be on its way,
 * which a close would lose. One that comes is answered, with Connection: close. */
#define LAST_REQUEST_SECONDS 1.0

static const gw_stream_ops client_ops;

static void client_free_now(gw_client *c)
{
    gw_engine *e = c->engine;
    gw_list_remove(&c->link);
    gw_slab_give(&e->clients, c);
    GW_COUNT_ADD(e->counters.connections_active, -1);
    if (e->draining && e->idle && gw_engine_is_idle(e))
        e->idle(e);
}

void gw_client_close(gw_client *c)
{
    gw_stream_close(&c->stream);
    if (c->listener)
        gw_listener_retry(c->listener);
    gw_buffer_give(&c->engine->buffers, c->in);
    c->in = NULL;
    c->state = GW_CLIENT_CLOSED;
    if (!c->processing) /* else the loop frees it */
        client_free_now(c);
}

/* Our side is finished: say so, and read what the peer still sends for a while (RFC 9112 section 9.6). */
static void client_linger(gw_client *c)
{
    c->state = GW_CLIENT_LINGER;
    gw_buffer_give(&c->engine->buffers, c->in);
    c->in = NULL;
    if (c->ended) {
        if (!gw_stream_blocked(&c->stream)) {
            gw_client_close(c);
            return;
        }
    }
    c->linger_until = gw_loop_now(c->engine->loop) + LINGER_MOST;
    gw_stream_shutdown(&c->stream);
    if (!c->ended)
        gw_stream_read_on(&c->stream);
    gw_stream_timeout(&c->stream, LINGER_SECONDS);
}

static void client_idle(gw_client *c)
{
    gw_engine *e = c->engine;
    gw_buffer_give(&e->buffers, c->in);
    c->in = NULL;
    c->state = GW_CLIENT_IDLE;
    if (c->ended) {
        client_linger(c);
        return;
    }
    double idle = atomic_load_explicit(e->current, memory_order_acquire)->timeouts.idle;
    gw_stream_read_on(&c->stream);
    gw_stream_timeout(&c->stream, (e->draining || c->close_soon) && idle > LAST_REQUEST_SECONDS ? LAST_REQUEST_SECONDS : idle);
}

/* It is idle, and its time to go has come: unless something has come, too, which we were too busy to read. */
static void client_go(gw_client *c)
{
    if (gw_stream_alive(&c->stream))
        client_linger(c);
    else
        gw_stream_timeout(&c->stream, LAST_REQUEST_SECONDS);
}

/* It is idle, and to close: at once, when it has been idle for so long that nothing can be on its way. */
static void client_close_idle(gw_client *c)
{
    const gw_generation *g = atomic_load_explicit(c->engine->current, memory_order_acquire);
    double length =
        c->requests ? g->timeouts.idle : g->timeouts.header; /* a reload may have changed them: then it waits too long, or not */
    double left = gw_timeout_armed(&c->stream.timeout) ? c->stream.timeout.at - gw_loop_now(c->engine->loop) : length;
    double wait = LAST_REQUEST_SECONDS - (length - left);
    if (wait > left)
        wait = left;
    if (wait > 0)
        gw_stream_timeout(&c->stream, wait < LAST_REQUEST_SECONDS ? wait : LAST_REQUEST_SECONDS);
    else
        client_go(c);
}

/* Makes room for more of a head: by moving it to the front, or into a larger buffer. The scan has already judged the limits. */
static int client_head_room(gw_client *c, uint32_t limit)
{
    gw_buffer *in = c->in;
    if (gw_buffer_room(in) > 0)
        return GW_OK;
    if (in->start > 0) {
        gw_buffer_compact(in);
        return GW_OK;
    }
    uint64_t want = (uint64_t)in->cap * 2;
    if (want > (uint64_t)limit * 2 + GW_BUFFER_BYTES)
        want = (uint64_t)limit * 2 + GW_BUFFER_BYTES;
    if (want <= in->cap)
        return GW_LIMIT;
    gw_buffer *larger = gw_buffer_take(&c->engine->buffers, want);
    if (!larger)
        return GW_NOMEM;
    memcpy(larger->bytes, in->bytes, in->end);
    larger->end = in->end;
    gw_buffer_give(&c->engine->buffers, in);
    c->in = larger;
    return GW_OK;
}

static void client_out_of_memory(gw_client *c)
{
    gw_engine_out_of_memory(c->engine, "out of memory: a client connection is closed");
    gw_client_close(c);
}

/* Begins an exchange for the head of `len` bytes at in->start, or, with len 0, for one that was refused. */
static void client_begin(gw_client *c, uint32_t len, const gw_bad_head *bad)
{
    gw_engine *e = c->engine;
    gw_generation *g = atomic_load_explicit(e->current, memory_order_acquire);
    gw_exchange *x = gw_exchange_begin(c, g);
    if (!x) {
        client_out_of_memory(c);
        return;
    }
    c->x = x;
    c->state = GW_CLIENT_BUSY;
    c->requests++;
    c->head_end = c->pos = c->in ? c->in->start + len : 0;
    memset(&c->scan, 0, sizeof c->scan);
    gw_stream_timeout(&c->stream, 0);
    gw_exchange_run(x, len, bad);
}

/* Takes one head after the other for as long as there are whole ones and nothing is under way. */
static void client_process(gw_client *c)
{
    if (c->processing)
        return;
    c->processing = true;
    while (c->state == GW_CLIENT_HEAD) {
        gw_buffer *in = c->in;
        if (!in || gw_buffer_used(in) == 0) {
            client_idle(c);
            break;
        }
        const gw_generation *g = atomic_load_explicit(c->engine->current, memory_order_acquire);
        gw_bad_head bad = {0};
        int n = gw_head_scan(in->bytes + in->start, gw_buffer_used(in), &g->head_limits, false, &c->scan, &bad);
        if (n > 0) {
            client_begin(c, (uint32_t)n, NULL);
            continue;
        }
        if (n == GW_INVALID) {
            client_begin(c, 0, &bad);
            continue;
        }
        if (c->ended) { /* half a request */
            gw_client_close(c);
            break;
        }
        int room = client_head_room(c, g->head_limits.header_bytes);
        if (room == GW_LIMIT) {
            client_begin(c, 0, &(gw_bad_head){431, "request head too large"});
            continue;
        }
        if (room != GW_OK) {
            client_out_of_memory(c);
            break;
        }
        if (!gw_timeout_armed(&c->stream.timeout))
            gw_stream_timeout(&c->stream, g->timeouts.header);
        gw_stream_read_on(&c->stream);
        break;
    }
    c->processing = false;
    if (c->state == GW_CLIENT_CLOSED)
        client_free_now(c);
}

void gw_client_next(gw_client *c, bool close)
{
    c->x = NULL;
    if (close) {
        client_linger(c);
        return;
    }
    gw_buffer *in = c->in;
    c->state = GW_CLIENT_HEAD;
    if (in) {
        in->start = c->pos;
        if (in->start == in->end)
            in->start = in->end = 0;
    }
    client_process(c);
}

void gw_client_want_room(gw_client *c)
{
    if (c->in && gw_buffer_room(c->in) == 0)
        gw_stream_read_off(&c->stream);
    else if (!c->ended)
        gw_stream_read_on(&c->stream);
}

static void client_drop_incoming(gw_client *c)
{
    gw_engine *e = c->engine;
    gw_buffer *b = gw_buffer_take(&e->buffers, 0);
    int64_t n = b ? gw_stream_read(&c->stream, b) : GW_RESET;
    gw_buffer_give(&e->buffers, b);
    if (n == GW_AGAIN)
        return;
    if (n < 0 || gw_loop_now(e->loop) > c->linger_until) {
        gw_client_close(c);
        return;
    }
    gw_stream_timeout(&c->stream, LINGER_SECONDS);
}

static void client_readable(gw_stream *s)
{
    gw_client *c = (gw_client *)s;
    gw_engine *e = c->engine;
    if (c->state == GW_CLIENT_LINGER) {
        client_drop_incoming(c);
        return;
    }
    if (!c->in && !(c->in = gw_buffer_take(&e->buffers, 0))) {
        if (c->x)
            gw_exchange_out_of_memory(c->x);
        else
            client_out_of_memory(c);
        return;
    }
    gw_buffer *in = c->in;
    if (c->state == GW_CLIENT_BUSY) {
        if (c->pos == in->end && c->pos > c->head_end) /* all body bytes so far are taken: use the room again */
            c->pos = in->end = c->head_end;
        if (gw_buffer_room(in) == 0) {
            gw_stream_read_off(s);
            return;
        }
    }
    int64_t n = gw_stream_read(s, in);
    if (n == GW_AGAIN) {
        if (c->state == GW_CLIENT_IDLE) {
            gw_buffer_give(&e->buffers, in);
            c->in = NULL;
        }
        return;
    }
    if (n < 0) {
        if (c->x) {
            c->ended = true;
            gw_stream_read_off(s);
            gw_exchange_client_ended(c->x, (int)n);
        } else {
            gw_client_close(c);
        }
        return;
    }
    GW_COUNT_ADD(e->counters.bytes_in, (uint64_t)n);
    if (c->x) {
        gw_exchange_client_readable(c->x);
        return;
    }
    if (c->state == GW_CLIENT_IDLE) {
        c->state = GW_CLIENT_HEAD;
        gw_timeout_disarm(&s->timeout); /* the idle one; the header timeout begins when the head does not come whole */
    }
    client_process(c);
}

static void client_drained(gw_stream *s)
{
    gw_client *c = (gw_client *)s;
    if (c->x)
        gw_exchange_client_drained(c->x);
    else if (c->state == GW_CLIENT_LINGER && c->ended)
        gw_client_close(c);
}

static void client_failed(gw_stream *s, int status)
{
    gw_client *c = (gw_client *)s;
    if (c->x)
        gw_exchange_client_ended(c->x, status == GW_EOF ? GW_RESET : status);
    else
        gw_client_close(c);
}

static void client_expired(gw_stream *s)
{
    gw_client *c = (gw_client *)s;
    switch (c->state) {
    case GW_CLIENT_HEAD:
        client_begin(c, 0, &(gw_bad_head){408, "request head did not come in time"});
        break;
    case GW_CLIENT_BUSY:
        gw_exchange_client_expired(c->x);
        break;
    case GW_CLIENT_IDLE:
        if (c->close_soon || c->engine->draining) {
            client_go(c);
            break;
        }
        gw_client_close(c);
        break;
    default:
        gw_client_close(c);
    }
}

static const gw_stream_ops client_ops = {
    .readable = client_readable,
    .drained = client_drained,
    .failed = client_failed,
    .expired = client_expired,
};

void gw_engine_accept(gw_listener *l, int fd, const gw_address *peer)
{
    gw_engine *e = l->owner;
    gw_client *c = gw_slab_take(&e->clients);
    if (!c) {
        gw_stream lost;
        gw_stream_init(&lost, e->loop, &e->buffers, &client_ops, fd);
        gw_stream_close(&lost);
        gw_engine_out_of_memory(e, "out of memory: a new connection is closed");
        return;
    }
    memset(c, 0, sizeof *c);
    c->engine = e;
    c->listener = l;
    c->ip = gw_ip_of(peer);
    c->close_soon = l->off;
    gw_list_push_back(&e->client_list, &c->link);
    GW_COUNT_ADD(e->counters.connections_accepted, 1);
    GW_COUNT_ADD(e->counters.connections_active, 1);
    gw_stream_init(&c->stream, e->loop, &e->buffers, &client_ops, fd);
    /* A new connection owes a request head: the header timeout, which ends it silently while nothing has come. */
    gw_stream_timeout(&c->stream, atomic_load_explicit(e->current, memory_order_acquire)->timeouts.header);
}

/* Idle ones close now, or when nothing can be on its way any more; the others after what they are at. */
void gw_clients_close_soon(gw_engine *e, const gw_listener *only)
{
    for (gw_list *at = e->client_list.next, *next; at != &e->client_list; at = next) {
        next = at->next;
        gw_client *c = gw_container_of(at, gw_client, link);
        if (only && c->listener != only)
            continue;
        bool known = c->close_soon; /* an idle one already has its time to go */
        c->close_soon = true;
        if (only)
            c->listener = NULL;
        if (c->x && !c->x->response_started)
            c->x->close = true; /* told with the answer */
        else if (c->state == GW_CLIENT_IDLE && !known)
            client_close_idle(c);
    }
}
