/* Streams: reads and writes that cost one system call each, and what does not fit kept until it does. */
#include "net/stream.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define PIECES 16 /* what is left over is written in as many at a time */
/* Pieces that are together no longer than this go out as one: the copy costs less than the kernel's walk over a list. */
#define FLAT_MOST 2048

static int status_of(int error)
{
    switch (error) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case EADDRNOTAVAIL: /* no local port left, or no such address */
    case EAFNOSUPPORT:
    case ENOENT: /* no such unix socket, */
    case EACCES: /* or not for us */
    case EPERM:  /* a firewall of this machine */
    case EAGAIN: /* a unix socket with a full backlog */
        return GW_REFUSED;
    case ETIMEDOUT:
        return GW_TIMEOUT;
    case EMFILE:
    case ENFILE:
        return GW_NOFILES;
    case ENOMEM:
    case ENOBUFS:
        return GW_NOMEM;
    default:
        return GW_RESET;
    }
}

/* Makes the watcher watch what the stream waits for; the kernel is told at the end of the turn, and only of a real change. */
static void watch(gw_stream *s)
{
    int want = 0;
    if (s->connecting)
        want = EV_WRITE;
    else
        want = (s->reading && !s->read_ended ? EV_READ : 0) | (s->overflow ? EV_WRITE : 0);
    int have = ev_is_active(&s->io) ? s->io.events & (EV_READ | EV_WRITE) : 0;
    if (want == have)
        return;
    ev_io_stop(s->loop->ev, &s->io);
    if (want) {
        ev_io_modify(&s->io, want);
        ev_io_start(s->loop->ev, &s->io);
    }
}

static void overflow_drop(gw_stream *s)
{
    while (s->overflow) {
        gw_buffer *b = s->overflow;
        s->overflow = b->next;
        gw_buffer_give(s->buffers, b);
    }
}

/* Sends pieces once. Bytes sent, GW_AGAIN or GW_RESET. */
static int64_t send_pieces(gw_stream *s, const struct iovec *iov, int count)
{
    for (;;) {
        ssize_t n;
        if (count == 1) {
            n = send(s->io.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
        } else {
            struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
            n = sendmsg(s->io.fd, &message, MSG_NOSIGNAL);
        }
        if (gw_likely(n >= 0))
            return n;
        if (errno == EINTR)
            continue;
        /* ENOBUFS and ENOMEM pass: the write watcher tries again. */
        if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
            return GW_AGAIN;
        /* send() takes the socket's error away, so the read side would see a clean end after it: remember. EPIPE comes after
         * an end that was in order, or after our own shutdown. */
        if (errno != EPIPE)
            s->broken = 1;
        return GW_RESET;
    }
}

/* Writes what is left over. GW_OK: all of it; GW_AGAIN: not yet; GW_RESET. */
static int flush(gw_stream *s)
{
    while (s->overflow) {
        struct iovec iov[PIECES];
        int count = 0;
        size_t total = 0;
        for (gw_buffer *b = s->overflow; b && count < PIECES; b = b->next) {
            iov[count++] = (struct iovec){b->bytes + b->start, gw_buffer_used(b)};
            total += gw_buffer_used(b);
        }
        int64_t sent = send_pieces(s, iov, count);
        if (sent < 0)
            return (int)sent;
        bool part = (size_t)sent < total;
        while (s->overflow && sent >= gw_buffer_used(s->overflow)) {
            gw_buffer *b = s->overflow;
            sent -= gw_buffer_used(b);
            s->overflow = b->next;
            gw_buffer_give(s->buffers, b);
        }
        if (part) {
            s->overflow->start += (uint32_t)sent;
            return GW_AGAIN;
        }
    }
    return GW_OK;
}

static void finish_connect(gw_stream *s)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(s->io.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    s->connecting = 0;
    if (error) {
        gw_stream_close(s);
        s->ops->connected(s, status_of(error));
        return;
    }
    watch(s);
    s->ops->connected(s, GW_OK);
}

/* One handler an event at most: after it the stream may be gone. What else was there comes again in the next turn. */
static void on_event(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    gw_stream *s = gw_container_of(io, gw_stream, io);
    if (gw_unlikely(events & EV_ERROR)) { /* the kernel would not watch the descriptor; libev has stopped the watcher */
        if (s->connecting) {
            gw_stream_close(s);
            s->ops->connected(s, GW_NOMEM);
        } else {
            s->broken = 1;
            overflow_drop(s);
            s->ops->failed(s, GW_NOMEM);
        }
        return;
    }
    if (gw_unlikely(s->connecting)) {
        finish_connect(s);
        return;
    }
    if (gw_unlikely(events & EV_WRITE) && s->overflow) {
        int status = flush(s);
        if (status == GW_OK) {
            if (s->shut_when_drained)
                gw_stream_shutdown(s);
            watch(s);
            s->ops->drained(s);
            return;
        }
        if (status != GW_AGAIN) {
            overflow_drop(s);
            watch(s);
            s->ops->failed(s, status);
            return;
        }
    }
    if (gw_likely(events & EV_READ) && s->reading && !s->read_ended)
        s->ops->readable(s);
}

static void on_timeout(gw_timeout *t)
{
    gw_stream *s = gw_container_of(t, gw_stream, timeout);
    s->ops->expired(s);
}

static void stream_set(gw_stream *s, gw_loop *loop, gw_buffer_pool *buffers, const gw_stream_ops *ops, int fd, int events)
{
    memset(s, 0, sizeof *s);
    ev_io_init(&s->io, on_event, fd, events);
    s->loop = loop;
    s->ops = ops;
    s->buffers = buffers;
    s->reading = 1;
    gw_timeout_init(&s->timeout, on_timeout);
}

void gw_stream_init(gw_stream *s, gw_loop *loop, gw_buffer_pool *buffers, const gw_stream_ops *ops, int fd)
{
    stream_set(s, loop, buffers, ops, fd, EV_READ);
    ev_io_start(loop->ev, &s->io);
}

int gw_stream_connect(gw_stream *s, gw_loop *loop, gw_buffer_pool *buffers, const gw_stream_ops *ops, const gw_address *to)
{
    stream_set(s, loop, buffers, ops, -1, EV_READ);
    if (gw_unlikely(loop->connect != NULL))
        return loop->connect(loop, s, to);
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return status_of(errno);
    if (to->any.sa_family != AF_UNIX) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* cannot fail on a TCP socket; without it only slower */
    }
    int rc = connect(fd, &to->any, to->len);
    if (rc < 0 && errno != EINPROGRESS && errno != EINTR) {
        int status = status_of(errno);
        close(fd);
        return status;
    }
    s->connecting = 1;
    if (rc == 0) {
        /* Connected at once: armed as it will stay, and told from the loop as if it had taken time. */
        ev_io_set(&s->io, fd, EV_READ);
        ev_io_start(loop->ev, &s->io);
        ev_feed_event(loop->ev, &s->io, EV_WRITE);
    } else {
        ev_io_set(&s->io, fd, EV_WRITE);
        ev_io_start(loop->ev, &s->io);
    }
    return GW_OK;
}

void gw_stream_connecting(gw_stream *s, int fd)
{
    ev_io_set(&s->io, fd, EV_READ);
    s->connecting = 1;
}

void gw_stream_connected(gw_stream *s, int status)
{
    if (status == GW_OK) {
        ev_io_start(s->loop->ev, &s->io);
        ev_feed_event(s->loop->ev, &s->io, EV_WRITE);
        return;
    }
    gw_stream_close(s);
    s->ops->connected(s, status);
}

void gw_stream_close(gw_stream *s)
{
    if (s->io.fd < 0)
        return;
    ev_io_stop(s->loop->ev, &s->io);
    gw_timeout_disarm(&s->timeout);
    overflow_drop(s);
    close(s->io.fd);
    s->io.fd = -1;
    s->connecting = 0;
}

void gw_stream_reset(gw_stream *s)
{
    if (s->io.fd < 0)
        return;
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(s->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    gw_stream_close(s);
}

/* After an end or an error the descriptor stays readable for ever: stop watching, or the loop would spin. */
static int64_t read_ends(gw_stream *s, int64_t status)
{
    s->read_ended = 1;
    watch(s);
    return status;
}

int64_t gw_stream_read(gw_stream *s, gw_buffer *into)
{
    if (gw_unlikely(s->io.fd < 0))
        return GW_RESET;
    for (;;) {
        ssize_t n = recv(s->io.fd, into->bytes + into->end, gw_buffer_room(into), 0);
        if (gw_likely(n > 0)) {
            into->end += (uint32_t)n;
            return n;
        }
        if (n == 0) {
            if (gw_buffer_room(into) == 0)
                return GW_LIMIT;
            return read_ends(s, s->broken ? GW_RESET : GW_EOF);
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
            return GW_AGAIN;
        return read_ends(s, GW_RESET);
    }
}

/* Copies what the kernel did not take behind what is already left over. */
static int keep(gw_stream *s, const struct iovec *iov, int count, size_t skip)
{
    gw_buffer *last = s->overflow;
    while (last && last->next)
        last = last->next;
    for (int i = 0; i < count; i++) {
        const char *from = iov[i].iov_base;
        size_t len = iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        from += skip;
        len -= skip;
        skip = 0;
        while (len) {
            if (!last || gw_buffer_room(last) == 0) {
                gw_buffer *b = gw_buffer_take(s->buffers, 0);
                if (!b)
                    return GW_NOMEM;
                b->next = NULL;
                if (last)
                    last->next = b;
                else
                    s->overflow = b;
                last = b;
            }
            size_t part = len < gw_buffer_room(last) ? len : gw_buffer_room(last);
            memcpy(last->bytes + last->end, from, part);
            last->end += (uint32_t)part;
            from += part;
            len -= part;
        }
    }
    return GW_AGAIN;
}

int gw_stream_write(gw_stream *s, const struct iovec *iov, int count)
{
    if (gw_unlikely(s->io.fd < 0 || s->write_shut || s->shut_when_drained))
        return GW_RESET;
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    if (gw_unlikely(total == 0))
        return s->overflow ? GW_AGAIN : GW_OK;
    char flat[FLAT_MOST];
    struct iovec one = {flat, total};
    if (count > 1 && total <= sizeof flat) {
        char *at = flat;
        for (int i = 0; i < count; i++)
            if (iov[i].iov_len) {
                memcpy(at, iov[i].iov_base, iov[i].iov_len);
                at += iov[i].iov_len;
            }
        iov = &one;
        count = 1;
    }
    int64_t sent = 0;
    if (gw_likely(!s->overflow)) {
        sent = send_pieces(s, iov, count);
        if (gw_likely(sent == (int64_t)total))
            return GW_OK;
        if (sent == GW_RESET)
            return GW_RESET;
        if (sent < 0)
            sent = 0;
    }
    int status = keep(s, iov, count, (size_t)sent);
    if (status == GW_NOMEM)
        overflow_drop(s); /* a hole in the bytes must never be closed by what comes later */
    watch(s);
    return status;
}

void gw_stream_read_on(gw_stream *s)
{
    s->reading = 1;
    if (s->io.fd >= 0)
        watch(s);
}

void gw_stream_read_off(gw_stream *s)
{
    s->reading = 0;
    if (s->io.fd >= 0)
        watch(s);
}

void gw_stream_shutdown(gw_stream *s)
{
    if (s->io.fd < 0 || s->write_shut)
        return;
    if (s->overflow) {
        s->shut_when_drained = 1;
        return;
    }
    s->shut_when_drained = 0;
    s->write_shut = 1;
    shutdown(s->io.fd, SHUT_WR); /* fails only on a connection that is broken, which reading will tell */
}

bool gw_stream_alive(gw_stream *s)
{
    if (s->io.fd < 0 || s->broken || s->read_ended)
        return false;
    char byte;
    return recv(s->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

int gw_stream_fd(const gw_stream *s)
{
    return s->io.fd;
}
