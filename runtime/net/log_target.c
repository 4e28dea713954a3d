#define _GNU_SOURCE /* O_CLOEXEC, SOCK_CLOEXEC */
#include "net/log_target.h"

#include "base/clock.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SYSLOG_PATH "unix:/dev/log"
#define SYSLOG_PORT 514
#define PRIORITY 134            /* facility local0, severity informational */
#define RECONNECT_NS 1000000000 /* at most this often */
#define SEND_SECONDS 1          /* a local syslog that takes nothing holds the writer up for so long, and then loses the line */

static bool begins(gw_slice text, gw_slice with, gw_slice *rest)
{
    if (text.len < with.len || memcmp(text.ptr, with.ptr, with.len) != 0)
        return false;
    *rest = gw_slice_of(text.ptr + with.len, text.len - with.len);
    return true;
}

static int parse_address(gw_slice text, int port, gw_address *out)
{
    gw_slice name;
    uint16_t found;
    const char *reason;
    return gw_address_parse(text, port, out, &name, &found, &reason) == GW_ADDRESS_NUMERIC ? GW_OK : GW_INVALID;
}

int gw_log_target_parse(gw_slice text, gw_log_target *out, const char **expected)
{
    gw_slice rest;
    *out = (gw_log_target){.text = text};
    if (gw_slice_equal(text, GW_SLICE("stdout"))) {
        out->kind = GW_LOG_TO_STDOUT;
        return GW_OK;
    }
    if (gw_slice_equal(text, GW_SLICE("stderr"))) {
        out->kind = GW_LOG_TO_STDERR;
        return GW_OK;
    }
    if (gw_slice_equal(text, GW_SLICE("syslog"))) {
        out->kind = GW_LOG_TO_SYSLOG;
        return parse_address(GW_SLICE(SYSLOG_PATH), -1, &out->at);
    }
    if (begins(text, GW_SLICE("syslog:"), &rest)) {
        out->kind = GW_LOG_TO_SYSLOG;
        *expected = "\"syslog\", \"syslog:unix:/path\" or \"syslog:ADDRESS:PORT\" with a numeric address";
        return parse_address(rest, SYSLOG_PORT, &out->at);
    }
    if (begins(text, GW_SLICE("udp:"), &rest)) {
        out->kind = GW_LOG_TO_UDP;
        *expected = "\"udp:ADDRESS:PORT\" with a numeric address";
        if (parse_address(rest, -1, &out->at) != GW_OK)
            return GW_INVALID;
        return out->at.any.sa_family == AF_UNIX ? GW_INVALID : GW_OK;
    }
    out->kind = GW_LOG_TO_FILE;
    *expected = "\"stdout\", \"stderr\", a file such as \"/var/log/gateway/access.log\", \"udp:ADDRESS:PORT\", \"syslog\", "
                "\"syslog:unix:/path\" or \"syslog:ADDRESS:PORT\"";
    return text.len < 4096 && memchr(text.ptr, '/', text.len) && !memchr(text.ptr, '\0', text.len) ? GW_OK : GW_INVALID;
}

static int connect_to(const gw_address *at)
{
    int fd = socket(at->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    struct timeval patience = {.tv_sec = SEND_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, &at->any, at->len) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* ---- datagrams: one line each ---- */

enum framing {
    JSON_ALONE,
    RFC3164, /* "<PRI>Mmm dd hh:mm:ss gateway[PID]: LINE", local time: what a local syslog socket reads (RFC 3164 section 4.1) */
    RFC5424  /* "<PRI>1 TIME HOST gateway PID - - LINE": over the network (RFC 5424 section 6) */
};

typedef struct receiver { /* a sink's data */
    gw_address at;
    enum framing framing;
    int64_t reconnect_after; /* monotonic ns: not before */
    char host[64];           /* RFC5424 */
} receiver;

static receiver *receiver_of(gw_log_sink *s)
{
    return (receiver *)(void *)s->data;
}

/* What stands in front of each line of a batch. */
static gw_slice header(const receiver *r, char *bytes, size_t cap)
{
    gw_text t = gw_text_on(bytes, cap);
    char time_text[32];
    double now = gw_clock_wall();
    if (r->framing == RFC3164) {
        time_t seconds = (time_t)now;
        struct tm local;
        localtime_r(&seconds, &local);
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec"; /* not strftime: it would ask the locale */
        gw_text_printf(&t, "<%d>%.3s %2d %02d:%02d:%02d gateway[%d]: ", PRIORITY, months + 3 * (local.tm_mon % 12), local.tm_mday,
                       local.tm_hour, local.tm_min, local.tm_sec, (int)getpid());
    } else if (r->framing == RFC5424) {
        gw_clock_iso8601(now, time_text);
        gw_text_printf(&t, "<%d>1 %.24s %s gateway %d - - ", PRIORITY, time_text, r->host[0] ? r->host : "-", (int)getpid());
    }
    return gw_text_done(&t);
}

static bool receiver_gone(int error)
{
    return error == ECONNREFUSED || error == ENOTCONN || error == ECONNRESET || error == EPIPE || error == EBADF;
}

static bool reconnected(gw_log_sink *s)
{
    int64_t now = gw_clock_monotonic_ns();
    receiver *r = receiver_of(s);
    if (now < r->reconnect_after)
        return false;
    r->reconnect_after = now + RECONNECT_NS;
    int fd = connect_to(&r->at);
    if (fd < 0)
        return false;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = fd;
    return true;
}

static bool send_line(gw_log_sink *s, gw_slice front, const char *line, size_t len)
{
    struct iovec iov[2] = {{(char *)front.ptr, front.len}, {(char *)line, len}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    for (int try = 0; try < 3; try++) {
        if (sendmsg(s->fd, &message, MSG_NOSIGNAL) >= 0)
            return true;
        /* A datagram that nobody took makes the next call fail: that call has sent nothing yet. So once more, then on a new socket. */
        if (errno != EINTR && !(receiver_gone(errno) && (try == 0 || reconnected(s))))
            return false;
    }
    return false;
}

static uint64_t send_lines(gw_log_sink *s, const struct iovec *iov, int count)
{
    char bytes[160];
    gw_slice front = header(receiver_of(s), bytes, sizeof bytes);
    uint64_t lost = 0;
    for (int i = 0; i < count; i++) {
        const char *at = iov[i].iov_base, *end = at + iov[i].iov_len;
        while (at < end) {
            const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
            if (stop > at && !send_line(s, front, at, (size_t)(stop - at)))
                lost++;
            at = newline ? newline + 1 : end;
        }
    }
    return lost;
}

/* ---- opening ---- */

static int open_file(gw_slice text)
{
    char path[4096];
    memcpy(path, text.ptr, text.len);
    path[text.len] = '\0';
    /* Not blocking, for the sake of pipes: opening one without a reader would wait for ever. */
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (fd < 0)
        return -1;
    struct stat is;
    if (fstat(fd, &is) == 0 && S_ISREG(is.st_mode))
        (void)fcntl(fd, F_SETFL, O_APPEND);
    return fd;
}

gw_log_sink *gw_log_target_open(const gw_log_target *t, char *message, size_t bytes)
{
    bool datagrams = t->kind == GW_LOG_TO_UDP || t->kind == GW_LOG_TO_SYSLOG;
    int fd;
    if (datagrams)
        fd = connect_to(&t->at);
    else if (t->kind == GW_LOG_TO_FILE)
        fd = open_file(t->text);
    else
        fd = fcntl(t->kind == GW_LOG_TO_STDOUT ? STDOUT_FILENO : STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    gw_log_sink *sink = fd < 0 ? NULL : gw_log_sink_new(fd, datagrams ? sizeof(receiver) : 0);
    if (!sink) {
        snprintf(message, bytes, "%s", fd < 0 ? strerror(errno) : "memory is out");
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    if (!datagrams)
        return sink;
    receiver *r = receiver_of(sink);
    r->at = t->at;
    r->framing = t->kind == GW_LOG_TO_UDP ? JSON_ALONE : t->at.any.sa_family == AF_UNIX ? RFC3164 : RFC5424;
    if (gethostname(r->host, sizeof r->host - 1) < 0)
        r->host[0] = '\0';
    sink->send = send_lines;
    return sink;
}
