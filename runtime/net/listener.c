/* Listening sockets: bound on the control thread, accepted from on a worker's. */
#define _GNU_SOURCE /* accept4 */
#include "net/listener.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACCEPT_MOST 64 /* in one turn */
#define PAUSE_SECONDS 0.1

static int fail(const gw_address *at, const char *what, int error, char *message, size_t message_bytes)
{
    char text[GW_ADDRESS_TEXT];
    gw_address_text(at, text);
    snprintf(message, message_bytes, "%s: %s: %s", text, what, strerror(error));
    return error == EMFILE || error == ENFILE ? GW_NOFILES : error == ENOMEM || error == ENOBUFS ? GW_NOMEM : GW_REFUSED;
}

static void close_all(int count, int fds[])
{
    for (int i = 0; i < count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

/* ---- TCP ---- */

/* A bound socket; on failure -1 with *error and the step that failed in *what. */
static int bind_tcp(const gw_address *at, bool reuse_port, int *error, const char **what)
{
    const int on = 1, v6_only = !at->both_families;
    *what = "socket";
    int fd = socket(at->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *error = errno;
        return -1;
    }
    *what = "cannot set socket options";
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        (at->any.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) < 0))
        goto failed;
    /* Accepted sockets inherit it: a system call less for each connection. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *what = "cannot bind";
    if (bind(fd, &at->any, at->len) == 0)
        return fd;
failed:
    *error = errno;
    close(fd);
    return -1;
}

static uint16_t *port_of(gw_address *at)
{
    return at->any.sa_family == AF_INET ? &at->v4.sin_port : &at->v6.sin6_port;
}

static int listen_tcp(gw_address *at, int count, int fds[], char *message, size_t message_bytes)
{
    gw_address bound = *at;
    const char *what = "";
    int error = 0;
    /* The first socket is a probe without SO_REUSEPORT: it fails where anybody listens, were it another gateway of this user. With
     * port 0 the kernel picks a port that nobody has. */
    int probe = bind_tcp(&bound, false, &error, &what);
    if (probe < 0 && at->both_families && (error == EAFNOSUPPORT || error == EADDRNOTAVAIL)) {
        /* No IPv6 on this machine. */
        memset(&bound, 0, sizeof bound);
        bound.v4.sin_family = AF_INET;
        bound.v4.sin_port = at->v6.sin6_port;
        bound.len = sizeof bound.v4;
        probe = bind_tcp(&bound, false, &error, &what);
    }
    if (probe < 0)
        return fail(at, what, error, message, message_bytes);
    if (*port_of(&bound) != 0) {
        /* It never listens: who connected to it would be reset when it closes. A bind with SO_REUSEADDR fails where anybody listens. */
        close(probe);
        probe = -1;
    }
    for (int i = 0; i < count; i++) {
        fds[i] = bind_tcp(&bound, true, &error, &what);
        if (fds[i] >= 0 && *port_of(&bound) == 0) {
            gw_address chosen = {.len = sizeof chosen.v6};
            if (getsockname(fds[i], &chosen.any, &chosen.len) == 0) {
                *port_of(&bound) = *port_of(&chosen);
            } else {
                what = "getsockname", error = errno;
                close(fds[i]);
                fds[i] = -1;
            }
        }
        if (fds[i] >= 0 && listen(fds[i], GW_LISTEN_BACKLOG) < 0) {
            what = "cannot listen", error = errno;
            close(fds[i]);
            fds[i] = -1;
        }
        if (fds[i] < 0) {
            close_all(i, fds);
            if (probe >= 0)
                close(probe);
            return fail(at, what, error, message, message_bytes);
        }
    }
    if (probe >= 0)
        close(probe);
    *port_of(at) = *port_of(&bound);
    return 0;
}

/* ---- unix ---- */

/* Makes way for a bind: a socket that nobody listens on is removed; everything else stays and is an error. 0 or errno. */
static int clear_path(const gw_address *at)
{
    struct stat st;
    if (lstat(at->un.sun_path, &st) < 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(st.st_mode))
        return EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int error = connect(fd, &at->any, at->len) == 0 ? 0 : errno;
    close(fd);
    if (error == ENOENT)
        return 0;
    if (error != ECONNREFUSED)
        return error == 0 || error == EAGAIN ? EADDRINUSE : error; /* EAGAIN: its backlog is full */
    return unlink(at->un.sun_path) < 0 && errno != ENOENT ? errno : 0;
}

static int listen_unix(gw_address *at, int count, int fds[], int mode, char *message, size_t message_bytes)
{
    int error = clear_path(at);
    if (error)
        return fail(at, "cannot bind", error, message, message_bytes);
    const char *what = "socket";
    fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fds[0] < 0)
        return fail(at, what, errno, message, message_bytes);
    /* The path is made with the mode that the socket has, less the umask: nobody gets in before the chmod, which puts back what the umask
     * took. */
    what = "cannot set the mode";
    if (mode >= 0 && fchmod(fds[0], (mode_t)mode) < 0) {
        error = errno;
        close_all(1, fds);
        return fail(at, what, error, message, message_bytes);
    }
    what = "cannot bind";
    if (bind(fds[0], &at->any, at->len) < 0) {
        error = errno;
        close_all(1, fds);
        return fail(at, what, error, message, message_bytes);
    }
    int made = 1;
    what = "cannot set the mode";
    if (mode >= 0 && chmod(at->un.sun_path, (mode_t)mode) < 0)
        goto failed;
    what = "cannot listen";
    if (listen(fds[0], GW_LISTEN_BACKLOG) < 0)
        goto failed;
    what = "dup";
    for (; made < count; made++)
        if ((fds[made] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0)) < 0)
            goto failed;
    return 0;
failed:
    error = errno;
    close_all(made, fds);
    unlink(at->un.sun_path);
    return fail(at, what, error, message, message_bytes);
}

int gw_listen_bind(gw_address *at, int count, int fds[], char *message, size_t message_bytes)
{
    return gw_listen_bind_mode(at, count, fds, -1, message, message_bytes);
}

int gw_listen_bind_mode(gw_address *at, int count, int fds[], int mode, char *message, size_t message_bytes)
{
    for (int i = 0; i < count; i++)
        fds[i] = -1;
    if (count < 1) {
        snprintf(message, message_bytes, "no worker to listen for");
        return GW_INVALID;
    }
    switch (at->any.sa_family) {
    case AF_INET:
    case AF_INET6:
        return listen_tcp(at, count, fds, message, message_bytes);
    case AF_UNIX:
        return listen_unix(at, count, fds, mode, message, message_bytes);
    default:
        snprintf(message, message_bytes, "not an address to listen on");
        return GW_INVALID;
    }
}

void gw_listen_close(const gw_address *at, int count, int fds[], bool unlink_path)
{
    close_all(count, fds);
    if (unlink_path && at->any.sa_family == AF_UNIX)
        unlink(at->un.sun_path);
}

/* ---- accepting ---- */

static void pause_accepting(gw_listener *l, int error)
{
    ev_io_stop(l->loop->ev, &l->io);
    gw_timeout_arm(l->loop, &l->pause, PAUSE_SECONDS);
    if (l->paused)
        return;
    l->paused = true;
    l->pauses++;
    if (l->out_of_files)
        l->out_of_files(l, error);
}

/* True: there may be more (one was accepted, or one was lost on the way). */
static bool accept_one(gw_listener *l)
{
    gw_address peer;
    memset(&peer, 0, sizeof peer);
    peer.len = sizeof peer.un; /* the largest of the union */
    int fd = accept4(l->io.fd, &peer.any, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (gw_likely(fd >= 0)) {
        l->accepted++;
        l->accept(l, fd, &peer);
        return true;
    }
    switch (errno) {
    case EAGAIN:
        l->paused = false;
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!l->off)
            pause_accepting(l, errno);
        return false;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
        return false; /* not a listening socket: trying again in this turn helps nobody */
    default:
        /* EINTR, ECONNABORTED, EPERM of a firewall, and the new connection's own network errors (accept(2)): that one is gone, the
         * next may be well. */
        return true;
    }
}

static void on_connection(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev, (void)events;
    gw_listener *l = gw_container_of(io, gw_listener, io);
    for (int i = 0; i < ACCEPT_MOST && !l->off; i++) /* the handler may drain us */
        if (!accept_one(l))
            return;
}

static void on_pause_over(gw_timeout *t)
{
    gw_listener *l = gw_container_of(t, gw_listener, pause);
    ev_io_start(l->loop->ev, &l->io);
}

void gw_listener_start(gw_listener *l, gw_loop *loop, int fd)
{
    l->loop = loop;
    l->paused = l->off = false;
    l->accepted = l->pauses = 0;
    gw_timeout_init(&l->pause, on_pause_over);
    ev_io_init(&l->io, on_connection, fd, EV_READ);
    ev_io_start(loop->ev, &l->io);
}

void gw_listener_drain(gw_listener *l)
{
    if (l->off)
        return;
    l->off = true; /* first: a handler may call this again */
    while (accept_one(l))
        ;
    ev_io_stop(l->loop->ev, &l->io);
    gw_timeout_disarm(&l->pause);
    close(l->io.fd);
    l->io.fd = -1;
}

void gw_listener_retry(gw_listener *l)
{
    if (gw_likely(!l->paused) || l->off || !gw_timeout_armed(&l->pause))
        return;
    gw_timeout_disarm(&l->pause);
    ev_io_start(l->loop->ev, &l->io);
}
