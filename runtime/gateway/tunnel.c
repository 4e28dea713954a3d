/* After a 101: bytes both ways, no more HTTP. Each direction stops reading while the other side cannot take more, and ends by itself. */
#include "gateway/flow.h"

static void tunnel_cut(gw_exchange *x, const char *error)
{
    x->error = error;
    gw_stream_reset(&x->client->stream);
    if (x->up)
        gw_stream_reset(&x->up->stream);
    gw_exchange_abort(x, error);
}

static void tunnel_touch(gw_exchange *x)
{
    gw_stream_timeout(&x->up->stream, x->upstream->timeouts.tunnel);
}

static void tunnel_maybe_over(gw_exchange *x)
{
    if (x->client->ended && x->up->ended && !gw_stream_blocked(&x->up->stream)) {
        x->out.done = true;
        x->close = true;
        gw_exchange_complete(x);
    }
}

/* Client's bytes go up. False: the exchange is over. */
static bool tunnel_up(gw_exchange *x)
{
    gw_client *c = x->client;
    if (c->pos < c->in->end) {
        struct iovec iov = {c->in->bytes + c->pos, c->in->end - c->pos};
        int status = gw_stream_write(&x->up->stream, &iov, 1);
        x->in.bytes += iov.iov_len;
        c->pos = c->in->end = c->head_end;
        if (status == GW_AGAIN)
            gw_stream_read_off(&c->stream);
        else if (status != GW_OK) {
            tunnel_cut(x, "upstream broke the tunnel");
            return false;
        }
    }
    return true;
}

/* Upstream's bytes go down, behind `head`. False: the exchange is over. */
static bool tunnel_down(gw_exchange *x, gw_slice head)
{
    gw_upconn *up = x->up;
    gw_buffer *b = up->in;
    struct iovec iov[2];
    int n = 0;
    if (head.len)
        iov[n++] = (struct iovec){(void *)head.ptr, head.len};
    if (b && gw_buffer_used(b)) {
        iov[n++] = (struct iovec){b->bytes + b->start, gw_buffer_used(b)};
        x->bytes_out += gw_buffer_used(b);
    }
    int status = n ? gw_stream_write(&x->client->stream, iov, n) : GW_OK;
    gw_buffer_give(&x->engine->buffers, b);
    up->in = NULL;
    if (status == GW_AGAIN)
        gw_stream_read_off(&up->stream);
    else if (status != GW_OK) {
        tunnel_cut(x, "client broke the tunnel");
        return false;
    }
    return true;
}

void gw_tunnel_start(gw_exchange *x, gw_slice head)
{
    x->state = GW_X_TUNNEL;
    x->status = 101;
    x->response_started = true;
    x->close = true;
    x->up->keep = false;
    GW_COUNT_ADD(x->engine->counters.upgrades, 1);
    gw_timeout_disarm(&x->total);
    gw_stream_timeout(&x->client->stream, 0);
    if (!tunnel_down(x, head) || !tunnel_up(x))
        return;
    gw_client_want_room(x->client);
    tunnel_touch(x);
    if (x->client->ended)
        gw_tunnel_ended(x, true);
}

void gw_tunnel_client_readable(gw_exchange *x)
{
    if (!tunnel_up(x))
        return;
    tunnel_touch(x);
}

void gw_tunnel_up_readable(gw_exchange *x)
{
    if (!tunnel_down(x, GW_NO_SLICE))
        return;
    tunnel_touch(x);
}

void gw_tunnel_drained(gw_exchange *x, bool client_side)
{
    tunnel_touch(x);
    if (client_side) {
        if (!x->up->ended)
            gw_stream_read_on(&x->up->stream);
    } else if (!x->client->ended)
        gw_stream_read_on(&x->client->stream);
    tunnel_maybe_over(x);
}

void gw_tunnel_ended(gw_exchange *x, bool client_side)
{
    if (client_side) {
        x->client->ended = true;
        gw_stream_shutdown(&x->up->stream);
    } else {
        x->up->ended = true;
        gw_stream_read_off(&x->up->stream);
        gw_stream_shutdown(&x->client->stream);
    }
    tunnel_maybe_over(x);
}
