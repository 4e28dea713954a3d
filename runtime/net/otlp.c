#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include "net/otlp.h"

#include "base/clock.h"
#include "base/text.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH_SPANS 512
#define BATCH_BYTES (1u << 20)
#define ANSWER_BYTES 4096
#define TELL_NS 60000000000 /* losses are told at most this often */
#define DEFAULT_PORT 4318   /* of OTLP over HTTP */

typedef struct exporter { /* a sink's data */
    char *head, *front;   /* of each request; of each body */
    char host[256], port[8];
    double timeout;
    gw_log_ring *events;
    int64_t tell_after;
    uint64_t untold;
} exporter;

static _Atomic uint64_t exported;

uint64_t gw_otlp_exported(void)
{
    return atomic_load_explicit(&exported, memory_order_relaxed);
}

/* ---- the address ---- */

int gw_otlp_parse(gw_slice url, gw_otlp_spec *out, const char **reason)
{
    static const char scheme[] = "http://";
    *reason = "expected \"http://HOST:PORT/PATH\"";
    if (url.len <= sizeof scheme - 1 || memcmp(url.ptr, scheme, sizeof scheme - 1) != 0)
        return GW_INVALID;
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.ptr[i] <= 0x20 || (unsigned char)url.ptr[i] >= 0x7f)
            return GW_INVALID;
    const char *at = url.ptr + sizeof scheme - 1, *end = url.ptr + url.len;
    const char *slash = memchr(at, '/', (size_t)(end - at)), *stop = slash ? slash : end, *colon;
    if (memchr(at, '@', (size_t)(stop - at))) {
        *reason = "a name and a password belong in headers, not in the URL";
        return GW_INVALID;
    }
    if (at < stop && *at == '[') {
        const char *bracket = memchr(at, ']', (size_t)(stop - at));
        if (!bracket)
            return GW_INVALID;
        out->host = gw_slice_of(at + 1, (size_t)(bracket - at - 1));
        colon = bracket + 1 < stop ? bracket + 1 : NULL;
        if (colon && *colon != ':')
            return GW_INVALID;
    } else {
        colon = memchr(at, ':', (size_t)(stop - at));
        out->host = gw_slice_of(at, (size_t)((colon ? colon : stop) - at));
    }
    uint32_t port = colon ? 0 : DEFAULT_PORT;
    for (const char *digit = colon ? colon + 1 : stop; digit < stop; digit++) {
        if (*digit < '0' || *digit > '9' || (port = port * 10 + (uint32_t)(*digit - '0')) > 65535)
            return GW_INVALID;
    }
    if (port == 0 || out->host.len == 0 || out->host.len > 253)
        return GW_INVALID;
    out->url = url;
    out->port = (uint16_t)port;
    out->path = slash && end - slash > 1 ? gw_slice_of(slash, (size_t)(end - slash)) : GW_SLICE("/v1/traces");
    return GW_OK;
}

/* ---- one exchange with the collector; all of it may wait, on the writer's thread ---- */

static bool wait_for(int fd, short what, int64_t until)
{
    for (;;) {
        int64_t left = until - gw_clock_monotonic_ns();
        if (left <= 0)
            return false;
        struct pollfd p = {.fd = fd, .events = what};
        int n = poll(&p, 1, (int)(left / 1000000) + 1);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

static int connect_one(const struct addrinfo *a, int64_t until)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int error = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        socklen_t len = sizeof error;
        if (!wait_for(fd, POLLOUT, until))
            error = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
            error = errno;
    }
    if (error == 0)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

static int connect_collector(const exporter *e, int64_t until, const char **why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
    int status = getaddrinfo(e->host, e->port, &hints, &list);
    if (status != 0) {
        *why = gai_strerror(status);
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
        fd = connect_one(a, until);
    if (fd < 0)
        *why = strerror(errno);
    freeaddrinfo(list);
    return fd;
}

static bool send_all(int fd, struct iovec *iov, int count, int64_t until)
{
    while (count) {
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR || (errno == EAGAIN && wait_for(fd, POLLOUT, until)))
                continue;
            return false;
        }
        size_t sent = (size_t)n;
        while (count && sent >= iov->iov_len) {
            sent -= iov->iov_len;
            iov++, count--;
        }
        if (count) {
            iov->iov_base = (char *)iov->iov_base + sent;
            iov->iov_len -= sent;
        }
    }
    return true;
}

/* The status, or 0. Only the status line matters: the connection is closed after it. */
static int read_status(int fd, int64_t until)
{
    char answer[ANSWER_BYTES];
    size_t have = 0;
    while (have < 13) {
        ssize_t n = recv(fd, answer + have, sizeof answer - have, 0);
        if (n < 0 && (errno == EINTR || (errno == EAGAIN && wait_for(fd, POLLIN, until))))
            continue;
        if (n <= 0)
            return 0;
        have += (size_t)n;
    }
    if (memcmp(answer, "HTTP/1.", 7) != 0 || answer[8] != ' ')
        return 0;
    int status = 0;
    for (int i = 9; i < 12; i++) {
        if (answer[i] < '0' || answer[i] > '9')
            return 0;
        status = status * 10 + answer[i] - '0';
    }
    return status;
}

/* `count` is at most 6. */
static bool post(const exporter *e, const struct iovec *body, int count, size_t bytes, char *why, size_t why_bytes)
{
    int64_t until = gw_clock_monotonic_ns() + (int64_t)(e->timeout * 1e9);
    const char *reason = NULL;
    int fd = connect_collector(e, until, &reason);
    if (fd < 0) {
        snprintf(why, why_bytes, "%s", reason);
        return false;
    }
    char length[48];
    int n = snprintf(length, sizeof length, "Content-Length: %zu\r\n\r\n", bytes);
    struct iovec iov[8];
    iov[0] = (struct iovec){e->head, strlen(e->head)};
    iov[1] = (struct iovec){length, (size_t)n};
    memcpy(iov + 2, body, (size_t)count * sizeof *body);
    int status = -1;
    if (send_all(fd, iov, 2 + count, until))
        status = read_status(fd, until);
    close(fd);
    if (status >= 200 && status < 300)
        return true;
    if (status > 0)
        snprintf(why, why_bytes, "status %d", status);
    else
        snprintf(why, why_bytes, "%s", status < 0 ? "it takes nothing" : "no answer");
    return false;
}

static uint64_t send_batch(gw_log_sink *s, char *text, size_t len, uint64_t spans)
{
    exporter *e = (exporter *)(void *)s->data;
    static const char back[] = "]}]}]}";
    struct iovec body[3] = {
        {e->front, strlen(e->front)}, {text, len - 1}, {(char *)back, sizeof back - 1}}; /* without the last comma */
    char why[128] = "";
    if (post(e, body, 3, body[0].iov_len + len - 1 + sizeof back - 1, why, sizeof why)) {
        atomic_fetch_add_explicit(&exported, spans, memory_order_relaxed);
        return 0;
    }
    e->untold += spans;
    int64_t now = gw_clock_monotonic_ns();
    if (now >= e->tell_after) {
        e->tell_after = now + TELL_NS;
        char escaped[256];
        gw_text t = gw_text_on(escaped, sizeof escaped);
        gw_text_json(&t, gw_slice_str(why));
        gw_log_event(e->events, GW_LOG_WARN, "spans could not be sent to the collector: they are lost",
                     "\"host\":\"%s\",\"port\":%s,\"error\":%.*s,\"spans\":%llu", e->host, e->port, (int)(t.at - t.begin),
                     t.begin, (unsigned long long)e->untold);
        e->untold = 0;
    }
    return spans;
}

/* Lines become members of a JSON list. */
static uint64_t send_spans(gw_log_sink *s, const struct iovec *iov, int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    char *text = malloc(bytes + 1);
    uint64_t lost = 0, spans = 0;
    size_t len = 0;
    for (int i = 0; i < count; i++) {
        const char *at = iov[i].iov_base, *end = at + iov[i].iov_len;
        while (at < end) {
            const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
            if (stop > at && !text)
                lost++;
            else if (stop > at && *at == '{' &&
                     memcmp(at, "{\"traceId\"", 10) == 0) { /* not the log's own line about lost ones */
                memcpy(text + len, at, (size_t)(stop - at));
                len += (size_t)(stop - at);
                text[len++] = ',';
                if (++spans == BATCH_SPANS || len > BATCH_BYTES) {
                    lost += send_batch(s, text, len, spans);
                    spans = len = 0;
                }
            }
            at = newline ? newline + 1 : end;
        }
    }
    if (spans)
        lost += send_batch(s, text, len, spans);
    free(text);
    return lost;
}

static void forget(gw_log_sink *s)
{
    exporter *e = (exporter *)(void *)s->data;
    free(e->head);
    free(e->front);
}

gw_log_sink *gw_otlp_sink_new(const gw_otlp_spec *spec, gw_log_ring *events)
{
    gw_log_sink *s = gw_log_sink_new(-1, sizeof(exporter));
    if (!s)
        return NULL;
    exporter *e = (exporter *)(void *)s->data;
    s->send = send_spans;
    s->forget = forget;
    s->gather_ns = 1000000000;
    e->events = events;
    e->timeout = spec->timeout;
    snprintf(e->host, sizeof e->host, "%.*s", (int)spec->host.len, spec->host.ptr);
    snprintf(e->port, sizeof e->port, "%u", spec->port);
    char service[512];
    gw_text name = gw_text_on(service, sizeof service);
    gw_text_json(&name, spec->service);
    bool v6 = strchr(e->host, ':') != NULL;
    if (asprintf(&e->head,
                 "POST %.*s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: gateway/" GW_VERSION
                 "\r\nContent-Type: application/json\r\nConnection: close\r\n%.*s",
                 (int)spec->path.len, spec->path.ptr, v6 ? "[" : "", e->host, v6 ? "]" : "", e->port, (int)spec->headers.len,
                 spec->headers.ptr ? spec->headers.ptr : "") < 0)
        e->head = NULL;
    if (asprintf(&e->front,
                 "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":%.*s}},"
                 "{\"key\":\"service.version\",\"value\":{\"stringValue\":\"" GW_VERSION
                 "\"}}]},\"scopeSpans\":[{\"scope\":{\"name\":\"gateway\",\"version\":\"" GW_VERSION "\"},\"spans\":[",
                 (int)(name.at - name.begin), name.begin) < 0)
        e->front = NULL;
    if (!e->head || !e->front) {
        gw_log_sink_free(s);
        return NULL;
    }
    return s;
}
