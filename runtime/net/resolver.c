/* Names to addresses: c-ares on the loop. It waits on nothing itself: it names the sockets it wants watched and the time it wants to
 * be called at the latest. */
#include "net/resolver.h"
#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* One of c-ares's sockets. */
typedef struct watched {
    ev_io io;
    gw_resolver *resolver;
    struct watched *next;
} watched;

struct gw_resolver {
    gw_loop *loop;
    ares_channel channel;
    watched *sockets;
    gw_timeout timeout;
    int inside;  /* calls into c-ares that are on the stack */
    bool doomed; /* gw_resolver_free was called inside of one */
};

typedef struct query {
    gw_resolved *done;
    void *data;
    uint16_t port;
    bool localhost;
} query;

static int status_of(int ares)
{
    switch (ares) {
    case ARES_SUCCESS:
        return GW_OK;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
        return GW_NOTFOUND;
    case ARES_ENOMEM:
        return GW_NOMEM;
    case ARES_ETIMEOUT:
        return GW_TIMEOUT;
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED:
        return GW_EOF;
    case ARES_EBADNAME:
    case ARES_EBADSTR:
    case ARES_EFORMERR:
        return GW_INVALID;
    default:
        return GW_REFUSED; /* SERVFAIL, REFUSED, no server reached, an answer that makes no sense */
    }
}

/* ---- calls into c-ares ----
 *
 * Its callbacks run inside of its functions, and it must not be destroyed in them: that waits until the outermost call is over. */

static void destroy(gw_resolver *r)
{
    r->inside++; /* the callbacks of what is under way */
    ares_destroy(r->channel);
    gw_timeout_disarm(&r->timeout);
    while (r->sockets) { /* c-ares has told to drop each; this is for none to be left behind */
        watched *w = r->sockets;
        r->sockets = w->next;
        ev_io_stop(r->loop->ev, &w->io);
        free(w);
    }
    free(r);
}

static void enter(gw_resolver *r)
{
    r->inside++;
}

static void leave(gw_resolver *r)
{
    if (--r->inside > 0)
        return;
    if (r->doomed) {
        destroy(r);
        return;
    }
    struct timeval tv;
    struct timeval *wait = ares_timeout(r->channel, NULL, &tv);
    double seconds = wait ? (double)wait->tv_sec + (double)wait->tv_usec / 1e6 : 0;
    if (wait && seconds < 0.001)
        seconds = 0.001; /* 0 would disarm */
    gw_timeout_arm(r->loop, &r->timeout, seconds);
}

static void on_socket(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    gw_resolver *r = gw_container_of(io, watched, io)->resolver;
    int fd = io->fd; /* the watcher may be gone before the second argument is used */
    enter(r);
    ares_process_fd(r->channel, events & EV_READ ? fd : ARES_SOCKET_BAD, events & EV_WRITE ? fd : ARES_SOCKET_BAD);
    leave(r);
}

static void on_timeout(gw_timeout *t)
{
    gw_resolver *r = gw_container_of(t, gw_resolver, timeout);
    enter(r);
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    leave(r);
}

static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    gw_resolver *r = data;
    watched **at = &r->sockets;
    while (*at && (*at)->io.fd != fd)
        at = &(*at)->next;
    watched *w = *at;
    int events = (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0);
    if (!events) {
        if (w) {
            *at = w->next;
            ev_io_stop(r->loop->ev, &w->io);
            free(w);
        }
        return;
    }
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w)
            return; /* the query on it will meet its timeout */
        w->resolver = r;
        ev_init(&w->io, on_socket);
        w->next = r->sockets;
        r->sockets = w;
    }
    ev_io_stop(r->loop->ev, &w->io);
    ev_io_set(&w->io, fd, events);
    ev_io_start(r->loop->ev, &w->io);
}

/* ---- answers ---- */

static int by_bytes(const void *a, const void *b)
{
    const gw_address *x = a, *y = b;
    if (x->any.sa_family != y->any.sa_family)
        return x->any.sa_family < y->any.sa_family ? -1 : 1;
    if (x->any.sa_family == AF_INET)
        return memcmp(&x->v4.sin_addr, &y->v4.sin_addr, sizeof x->v4.sin_addr);
    return memcmp(&x->v6.sin6_addr, &y->v6.sin6_addr, sizeof x->v6.sin6_addr);
}

static bool take_address(const struct sockaddr *from, uint16_t port, gw_address *to)
{
    memset(to, 0, sizeof *to);
    if (from->sa_family == AF_INET) {
        memcpy(&to->v4, from, sizeof to->v4);
        to->v4.sin_port = htons(port);
        to->len = sizeof to->v4;
        return true;
    }
    if (from->sa_family == AF_INET6) {
        memcpy(&to->v6, from, sizeof to->v6);
        to->v6.sin6_port = htons(port);
        to->len = sizeof to->v6;
        return true;
    }
    return false;
}

/* Every address of the answer, sorted, without doubles, then cut: so that the same answer in another order gives the same list. */
static size_t take_answer(const struct ares_addrinfo *answer, uint16_t port, gw_address *out, size_t most)
{
    size_t count = 0;
    for (const struct ares_addrinfo_node *n = answer->nodes; n; n = n->ai_next) {
        gw_address a;
        if (!take_address(n->ai_addr, port, &a))
            continue;
        /* By insertion: lists are short, and a long one keeps its least. */
        size_t i = count;
        while (i > 0 && by_bytes(&a, &out[i - 1]) < 0)
            i--;
        if ((i > 0 && by_bytes(&a, &out[i - 1]) == 0) || i == most)
            continue;
        size_t behind = (count < most ? count : most - 1) - i;
        memmove(&out[i + 1], &out[i], behind * sizeof *out);
        out[i] = a;
        count += count < most;
    }
    return count;
}

/* An IP needs no resolver (and c-ares 1.18 asks the servers about some all the same). */
static size_t take_literal(const char *name, uint16_t port, gw_address *out)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, name, &v4.sin_addr) == 1)
        return take_address((const struct sockaddr *)&v4, port, out);
    if (inet_pton(AF_INET6, name, &v6.sin6_addr) == 1)
        return take_address((const struct sockaddr *)&v6, port, out);
    return 0;
}

/* RFC 6761 section 6.3: "localhost" is the loopback address, with or without /etc/hosts. */
static size_t take_localhost(uint16_t port, gw_address *out)
{
    const struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    take_address((const struct sockaddr *)&v4, port, &out[0]);
    take_address((const struct sockaddr *)&v6, port, &out[1]);
    return 2;
}

static void on_answer(void *data, int status, int timeouts, struct ares_addrinfo *answer)
{
    (void)timeouts;
    query *q = data;
    gw_address addresses[GW_RESOLVED_MAX];
    size_t count = 0;
    if (status == ARES_SUCCESS)
        count = take_answer(answer, q->port, addresses, GW_RESOLVED_MAX);
    if (answer)
        ares_freeaddrinfo(answer);
    if (count == 0 && q->localhost && status != ARES_EDESTRUCTION && status != ARES_ECANCELLED)
        count = take_localhost(q->port, addresses);
    else if (count == 0 && status == ARES_SUCCESS)
        status = ARES_ENODATA;
    gw_resolved *done = q->done;
    void *owner = q->data;
    free(q);
    if (count)
        done(owner, GW_OK, NULL, addresses, count);
    else
        done(owner, status_of(status), ares_strerror(status), NULL, 0);
}

void gw_resolve(gw_resolver *r, const char *name, uint16_t port, gw_resolved *done, void *data)
{
    if (r->doomed) {
        done(data, GW_EOF, ares_strerror(ARES_EDESTRUCTION), NULL, 0);
        return;
    }
    gw_address literal;
    if (take_literal(name, port, &literal)) {
        enter(r); /* the callback may free the resolver */
        done(data, GW_OK, NULL, &literal, 1);
        leave(r);
        return;
    }
    if (gw_unlikely(r->loop->resolve != NULL)) {
        int status = r->loop->resolve(r->loop, name, port, &literal);
        enter(r);
        if (status == GW_OK)
            done(data, GW_OK, NULL, &literal, 1);
        else
            done(data, status, "nobody plays it in this test", NULL, 0);
        leave(r);
        return;
    }
    query *q = malloc(sizeof *q);
    if (!q) {
        done(data, GW_NOMEM, ares_strerror(ARES_ENOMEM), NULL, 0);
        return;
    }
    gw_slice text = gw_slice_str(name);
    *q = (query){.done = done, .data = data, .port = port};
    q->localhost = gw_slice_equal_nocase(text, GW_SLICE("localhost")) || gw_slice_equal_nocase(text, GW_SLICE("localhost."));
    /* NOSORT: sorting by RFC 6724 opens a socket for each address, and we sort anyway. ENVHOSTS: CARES_HOSTS may name another file
     * than /etc/hosts, for tests. */
    const struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_NOSORT | ARES_AI_ENVHOSTS, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    enter(r);
    ares_getaddrinfo(r->channel, name, NULL, &hints, on_answer, q);
    leave(r);
}

/* ---- the resolver ---- */

static int library_status;

static void library_start(void)
{
    library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

gw_resolver *gw_resolver_new(gw_loop *loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, library_start);
    if (library_status != ARES_SUCCESS)
        return NULL;
    gw_resolver *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->loop = loop;
    gw_timeout_init(&r->timeout, on_timeout);
    char lookups[] = "fb";
    struct ares_options options = {.lookups = lookups, .sock_state_cb = on_socket_state, .sock_state_cb_data = r};
    if (ares_init_options(&r->channel, &options, ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS) {
        free(r);
        return NULL;
    }
    const char *servers = getenv("GATEWAY_RESOLVER");
    if (servers && *servers && ares_set_servers_ports_csv(r->channel, servers) != ARES_SUCCESS) {
        ares_destroy(r->channel);
        free(r);
        return NULL;
    }
    return r;
}

void gw_resolver_free(gw_resolver *r)
{
    if (!r || r->doomed)
        return;
    r->doomed = true;
    if (r->inside == 0)
        destroy(r);
}

/* ---- waiting for one answer ---- */

typedef struct waiting {
    gw_loop *loop;
    gw_timeout deadline;
    int status;
    bool over;
    gw_address *addresses;
    size_t *count;
    char *message;
    size_t message_bytes;
} waiting;

static void wait_over(waiting *w, int status, const char *message)
{
    w->status = status;
    w->over = true;
    if (message)
        snprintf(w->message, w->message_bytes, "%s", message);
    gw_loop_stop(w->loop);
}

static void on_wait_answer(void *data, int status, const char *message, const gw_address *addresses, size_t count)
{
    waiting *w = data;
    if (w->over)
        return; /* the deadline was first */
    if (status == GW_OK) {
        memcpy(w->addresses, addresses, count * sizeof *addresses);
        *w->count = count;
    }
    wait_over(w, status, message);
}

static void on_wait_deadline(gw_timeout *t)
{
    wait_over(gw_container_of(t, waiting, deadline), GW_TIMEOUT, "no answer in time");
}

int gw_resolve_now(const char *name, uint16_t port, double seconds, gw_address *addresses, size_t *count, char *message,
                   size_t message_bytes)
{
    *count = 0;
    gw_loop *loop = gw_loop_new();
    gw_resolver *r = loop ? gw_resolver_new(loop) : NULL;
    if (!r) {
        gw_loop_free(loop);
        snprintf(message, message_bytes, "the resolver cannot be started (memory, descriptors, or GATEWAY_RESOLVER)");
        return GW_NOMEM;
    }
    waiting w = {.loop = loop, .addresses = addresses, .count = count, .message = message, .message_bytes = message_bytes};
    gw_timeout_init(&w.deadline, on_wait_deadline);
    gw_timeout_arm(loop, &w.deadline, seconds > 0 ? seconds : 0.001);
    gw_resolve(r, name, port, on_wait_answer, &w);
    if (!w.over)
        gw_loop_run(loop);
    gw_resolver_free(r);
    gw_timeout_disarm(&w.deadline);
    gw_loop_free(loop);
    return w.status;
}
