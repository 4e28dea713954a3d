#include "net/raw.h"
#include "base/clock.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

int gw_raw_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0 ? GW_NOFILES : GW_OK;
}

int64_t gw_raw_read(int fd, char *into, size_t room)
{
    for (;;) {
        ssize_t n = recv(fd, into, room, 0);
        if (n > 0)
            return n;
        if (n == 0)
            return GW_EOF;
        if (errno != EINTR)
            return errno == EAGAIN ? GW_AGAIN : GW_RESET;
    }
}

int64_t gw_raw_write(int fd, const char *bytes, size_t len)
{
    for (;;) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (errno != EINTR)
            return errno == EAGAIN || errno == ENOBUFS ? GW_AGAIN : GW_RESET;
    }
}

bool gw_raw_ended(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void gw_raw_shutdown(int fd)
{
    shutdown(fd, SHUT_WR);
}

void gw_raw_close(int fd)
{
    close(fd);
}

void gw_raw_reset(int fd, int other)
{
    if (other < 0) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    } else if (!gw_raw_ended(fd) && send(other, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        shutdown(fd, SHUT_RDWR); /* it takes no more: an end has to do */
    close(fd);
}

int gw_raw_wait(const int fds[], int count, int readers, double seconds)
{
    struct pollfd p[GW_RAW_WAIT_MOST];
    int n = count < GW_RAW_WAIT_MOST ? count : GW_RAW_WAIT_MOST;
    for (int i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = fds[i], .events = i < readers ? POLLIN : POLLOUT};
    double until = (double)gw_clock_monotonic_ns() * 1e-9 + seconds;
    for (;;) {
        double left = until - (double)gw_clock_monotonic_ns() * 1e-9;
        int ready = poll(p, (nfds_t)n, left > 0 ? (int)(left < 1e6 ? left * 1000 : 1e9) + 1 : 0);
        if (ready > 0)
            return GW_OK;
        if (ready == 0 ? left <= 0 : errno != EINTR)
            return GW_TIMEOUT;
    }
}

int gw_raw_connect(const gw_address *to, double seconds)
{
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return GW_NOFILES;
    int on = 1, error = 0, status = GW_OK;
    socklen_t len = sizeof error;
    if (to->any.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, &to->any, to->len) < 0) {
        if (errno != EINPROGRESS && errno != EINTR)
            status = GW_REFUSED;
        else if (gw_raw_wait(&fd, 1, 0, seconds) != GW_OK)
            status = GW_TIMEOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error)
            status = GW_REFUSED;
    }
    if (status == GW_OK)
        return fd;
    close(fd);
    return status;
}

int gw_raw_listen(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 128) == 0 &&
        getsockname(fd, (struct sockaddr *)&at, &len) == 0) {
        *port = ntohs(at.sin_port);
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return GW_NOFILES;
}

int gw_raw_accept(int fd)
{
    for (;;) {
        int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (got >= 0)
            return got;
        if (errno != EINTR && errno != ECONNABORTED)
            return errno == EAGAIN ? GW_AGAIN : GW_NOFILES;
    }
}
