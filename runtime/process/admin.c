#include "process/admin.h"

#include "base/clock.h"
#include "http/chunked.h"
#include "http/message.h"
#include "http/url.h"
#include "net/stream.h"
#include "process/admin_resources.h"
#include "process/dashboard.h"
#include "process/events.h"
#include "process/metrics.h"
#include "process/recents.h"
#include "process/snapshot.h"
#include "process/privileges.h"
#include "process/supervisor.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLIENTS_MOST 64
#define BODY_MOST 65536 /* a body is read past, up to this much */
#define HEAD_SECONDS 10.0
#define IDLE_SECONDS 30.0
#define LINGER_SECONDS 2.0

static const gw_head_limits head_limits = {.request_line = 2048, .header_bytes = 8192, .headers = 64};

/*    HEAD ──head complete──► BODY ──read past──► answered ──► HEAD (keep-alive)
 *                                      │             └──────► LINGER: our side is shut; what still comes is dropped
 *                                      ├─ POST /reload ──► WAITING ──result──► answered
 *                                      └─ GET /events ──► EVENTS ──drain──► LINGER  */
enum client_state { CLIENT_HEAD, CLIENT_BODY, CLIENT_WAITING, CLIENT_EVENTS, CLIENT_LINGER };

typedef struct gw_admin_client {
    gw_stream stream;
    gw_admin *admin;
    gw_list link;
    gw_buffer *in;
    enum client_state state;
    gw_head_scan_state scan;
    enum gw_admin_action action;
    int status; /* with ACT_ERROR */
    const char *reason;
    const char *allow;  /* with 405 */
    const char *fields; /* more header lines for the answer; NULL: none */
    bool keep;          /* the connection goes on after the answer */
    bool head_only;
    bool openmetrics; /* with ACT_METRICS */
    bool begun;       /* bytes of a request have come: its time runs */
    bool ended;       /* the client sends no more */
    bool processing;  /* on the stack below: closing is left to it */
    bool closed;
    enum gw_framing framing;
    uint64_t body_left;
    gw_chunked chunked;
    gw_reload_waiter waiter;
    gw_admin_wait wait;
    gw_events_reader reader;
    char *names; /* malloc'ed: the upstream and the endpoint to drain stand in it */
    gw_slice upstream, endpoint;
    gw_slice query; /* in `names`, too: of a staged reload */
} gw_admin_client;

struct gw_admin {
    gw_supervisor *supervisor;
    gw_listener listener;
    bool listening, foreign;
    gw_address asked, at;
    int mode;
    char text[GW_ADDRESS_TEXT];
    gw_buffer_pool buffers;
    gw_list clients; /* oldest first */
    size_t client_count;
    gw_events events;
};

/* ---- answers ---- */

static void client_close(gw_admin_client *c)
{
    c->closed = true;
    gw_events_remove(&c->admin->events, &c->reader);
    gw_stream_close(&c->stream);
    if (c->processing)
        return;
    gw_reload_waiter_cancel(&c->waiter);
    gw_admin_wait_cancel(&c->wait);
    gw_buffer_give(&c->admin->buffers, c->in);
    free(c->names);
    gw_list_remove(&c->link);
    c->admin->client_count--;
    free(c);
}

static void answer(gw_admin_client *c, int status, const char *type, const char *body, size_t len)
{
    char head[1200];
    gw_text text = gw_text_on(head, sizeof head);
    gw_text_printf(&text,
                   "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
                   "X-Content-Type-Options: nosniff\r\n",
                   status, gw_reason_phrase(status), type, len);
    if (c->allow)
        gw_text_printf(&text, "Allow: %s\r\n", c->allow);
    if (status == 401)
        gw_text_lit(&text, "WWW-Authenticate: Bearer\r\n");
    if (!c->keep)
        gw_text_lit(&text, "Connection: close\r\n");
    if (c->fields)
        gw_text_slice(&text, gw_slice_str(c->fields));
    c->fields = NULL;
    gw_text_lit(&text, "\r\n");
    gw_slice made = gw_text_done(&text);
    struct iovec iov[2] = {{head, made.len}, {(char *)body, c->head_only ? 0 : len}};
    int wrote = gw_stream_write(&c->stream, iov, iov[1].iov_len ? 2 : 1);
    if (wrote != GW_OK && wrote != GW_AGAIN) {
        client_close(c);
        return;
    }
    c->allow = NULL;
    c->state = CLIENT_HEAD;
    c->scan = (gw_head_scan_state){0};
    c->begun = false;
    gw_stream_timeout(&c->stream, IDLE_SECONDS);
    if (!c->keep || c->ended) {
        c->state = CLIENT_LINGER;
        gw_stream_shutdown(&c->stream);
        gw_stream_timeout(&c->stream, LINGER_SECONDS);
        if (c->ended && !gw_stream_blocked(&c->stream))
            client_close(c);
    }
}

/* `text` is freed. NULL: memory ran out over it. */
static void answer_text(gw_admin_client *c, int status, const char *type, char *text, size_t len)
{
    if (text) {
        answer(c, status, type, text, len);
    } else {
        static const char sorry[] = "{\"error\":\"memory is out\"}\n";
        answer(c, 503, "application/json", sorry, sizeof sorry - 1);
    }
    free(text);
}

static void answer_made(gw_admin_client *c, int status, char *json, size_t len)
{
    answer_text(c, status, "application/json", json, len);
}

static void answer_word(gw_admin_client *c, int status, const char *member, const char *word)
{
    char body[256];
    gw_text text = gw_text_on(body, sizeof body);
    gw_text_printf(&text, "{\"%s\":", member);
    gw_text_json(&text, gw_slice_str(word));
    gw_text_lit(&text, "}\n");
    answer(c, status, "application/json", body, gw_text_done(&text).len);
}

static void client_process(gw_admin_client *c);

static void on_reloaded(gw_reload_waiter *waiter, const gw_reload_result *result)
{
    gw_admin_client *c = gw_container_of(waiter, gw_admin_client, waiter);
    size_t len;
    char *json = gw_reload_json(result, &len);
    bool inside = c->processing;
    c->processing = true;
    answer_made(c, result->ok ? 200 : result->draining ? 503 : result->busy ? 409 : 422, json, len);
    c->processing = inside;
    if (!inside)
        client_process(c); /* closes it when it is closed; else more may have come meanwhile */
}

static void on_waited(gw_admin_wait *wait, int status, char *json, size_t len)
{
    gw_admin_client *c = gw_container_of(wait, gw_admin_client, wait);
    bool inside = c->processing;
    c->processing = true;
    answer_made(c, status, json, len);
    c->processing = inside;
    if (!inside)
        client_process(c);
}

static void wait_for_answer(gw_admin_client *c)
{
    c->state = CLIENT_WAITING;
    gw_stream_timeout(&c->stream, 0);
    c->wait = (gw_admin_wait){.done = on_waited};
}

/* ---- events ---- */

static void on_lost(gw_events_reader *r)
{
    client_close(gw_container_of(r, gw_admin_client, reader));
}

static void on_finish(gw_events_reader *r)
{
    gw_admin_client *c = gw_container_of(r, gw_admin_client, reader);
    c->state = CLIENT_LINGER;
    gw_stream_shutdown(&c->stream);
    gw_stream_timeout(&c->stream, LINGER_SECONDS);
}

static void read_along(gw_admin_client *c)
{
    c->keep = false;
    if (c->head_only) {
        answer(c, 200, "text/event-stream", "", 0);
        return;
    }
    if (c->admin->supervisor->state != GW_SERVING) {
        answer_word(c, 503, "error", "the gateway is draining");
        return;
    }
    c->state = CLIENT_EVENTS;
    gw_stream_timeout(&c->stream, 0);
    c->reader = (gw_events_reader){.stream = &c->stream, .lost = on_lost, .finish = on_finish};
    if (!gw_events_add(&c->admin->events, &c->reader))
        answer_word(c, 503, "error", "too many read along already, or memory is out");
}

static void act(gw_admin_client *c)
{
    gw_supervisor *s = c->admin->supervisor;
    size_t len;
    char *json;
    int status;
    switch (c->action) {
    case ACT_ERROR:
        answer_word(c, c->status, "error", c->reason);
        break;
    case ACT_PAGE: /* it has no secrets: it asks for the token itself, and sends it along with what it asks for */
        c->fields = gw_dashboard_fields();
        if (c->fields)
            answer(c, 200, "text/html; charset=utf-8", gw_dashboard_page, gw_dashboard_page_len);
        else
            answer_word(c, 503, "error", "no digests for the page's policy");
        break;
    case ACT_HELP:
        answer(c, 200, "text/plain; charset=utf-8", gw_admin_help, strlen(gw_admin_help));
        break;
    case ACT_SNAPSHOT:
        json = gw_snapshot_json(s, &len);
        answer_made(c, 200, json, len);
        break;
    case ACT_EVENTS:
        read_along(c);
        break;
    case ACT_HEALTHZ:
        answer_word(c, 200, "status", "alive");
        break;
    case ACT_READYZ:
        if (s->state == GW_SERVING)
            answer_word(c, 200, "status", "ready");
        else
            answer_word(c, 503, "status", "draining");
        break;
    case ACT_STATUS:
        json = gw_status_json(s, &len);
        answer_made(c, 200, json, len);
        break;
    case ACT_METRICS:
        json = gw_metrics_page(s, c->openmetrics, &len);
        answer_text(c, 200, gw_metrics_type(c->openmetrics), json, len);
        break;
    case ACT_DRAIN:
    case ACT_UNDRAIN:
        json = gw_endpoint_drain_json(s, c->upstream, c->endpoint, c->action == ACT_DRAIN, &status, &len);
        answer_made(c, status, json, len);
        break;
    case ACT_END:
        c->keep = false;
        json = gw_drain_json(s, &len);
        answer_made(c, 202, json, len);
        break;
    case ACT_PLAN:
        wait_for_answer(c);
        gw_plan_request(s, c->query, &c->wait);
        break;
    case ACT_RECENT:
        wait_for_answer(c);
        gw_recents_answer(s, &c->wait);
        break;
    case ACT_RELOAD:
        if (c->query.len) {
            wait_for_answer(c);
            gw_staged_request(s, c->query, &c->wait);
            break;
        }
        c->state = CLIENT_WAITING;
        gw_stream_timeout(&c->stream, 0);
        c->waiter = (gw_reload_waiter){.done = on_reloaded};
        gw_reload_request(s, "POST /reload", &c->waiter);
        break;
    }
}

/* ---- requests ---- */

static void refuse(gw_admin_client *c, int status, const char *reason)
{
    c->action = ACT_ERROR;
    c->status = status;
    c->reason = reason;
}

/* The endpoint that a query names is kept until the body has been read past. */
static void take_endpoint(gw_admin_client *c, const gw_request *r)
{
    gw_slice upstream = gw_query_get(r->query, GW_SLICE("upstream")), endpoint = gw_query_get(r->query, GW_SLICE("endpoint"));
    if (upstream.len == 0 || endpoint.len == 0) {
        refuse(c, 400, "expected ?upstream=NAME&endpoint=ADDRESS");
        return;
    }
    char *names = realloc(c->names, upstream.len + endpoint.len);
    if (!names) {
        refuse(c, 503, "memory is out");
        return;
    }
    c->names = names;
    c->upstream = gw_percent_decode(upstream, names);
    c->endpoint = gw_percent_decode(endpoint, names + upstream.len);
}

/* The same for a whole query. */
static void take_query(gw_admin_client *c, gw_slice query)
{
    char *names = realloc(c->names, query.len ? query.len : 1);
    if (!names) {
        refuse(c, 503, "memory is out");
        return;
    }
    c->names = names;
    if (query.len)
        memcpy(names, query.ptr, query.len);
    c->query = gw_slice_of(names, query.len);
}

static void choose(gw_admin_client *c, const gw_request *r)
{
    const char *reason;
    const gw_admin_resource *resource = gw_admin_find(r->raw_path);
    int refused = gw_admin_access(&c->admin->supervisor->live->g->operation, r, c->admin->at.any.sa_family == AF_UNIX,
                                  resource && resource->open, &reason);
    if (refused) {
        refuse(c, refused, reason);
        return;
    }
    if (!resource) {
        refuse(c, 404, "no such resource: GET /help lists them");
        return;
    }
    enum gw_method asked = r->method == GW_METHOD_HEAD ? GW_METHOD_GET : r->method;
    c->action = resource->action;
    if (asked != resource->method) {
        refuse(c, 405, "method not allowed");
        c->allow = resource->method == GW_METHOD_GET ? "GET, HEAD" : "POST";
    } else if (c->action == ACT_DRAIN || c->action == ACT_UNDRAIN) {
        take_endpoint(c, r);
    } else if (c->action == ACT_RELOAD || c->action == ACT_PLAN) {
        take_query(c, r->query);
    } else if (c->action == ACT_METRICS) {
        int at = gw_headers_find(&r->headers, GW_SLICE("Accept"), 0);
        c->openmetrics = at >= 0 && gw_metrics_accept(r->headers.item[at].value);
    }
}

static void take_head(gw_admin_client *c, size_t len)
{
    gw_request request;
    gw_bad_head bad = {0};
    c->head_only = c->keep = false;
    c->framing = GW_FRAMING_NONE;
    c->state = CLIENT_BODY;
    int status = gw_request_parse(&request, c->in->bytes + c->in->start, len, &head_limits, &bad);
    if (status < 0) {
        refuse(c, bad.status, bad.reason);
    } else {
        c->keep = request.keep_alive && c->admin->supervisor->state == GW_SERVING;
        c->head_only = request.method == GW_METHOD_HEAD;
        c->framing = request.framing;
        c->body_left = request.framing == GW_FRAMING_LENGTH ? request.content_length : BODY_MOST;
        gw_chunked_init(&c->chunked, NULL);
        choose(c, &request);
        if (c->framing == GW_FRAMING_LENGTH && c->body_left > BODY_MOST) {
            refuse(c, 413, "a body is read past, but not one as large as this");
            c->keep = false;
            c->framing = GW_FRAMING_NONE;
        } else if (request.expect_continue && c->framing != GW_FRAMING_NONE && gw_buffer_used(c->in) == len) {
            static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
            struct iovec iov = {(char *)go_on, sizeof go_on - 1};
            int wrote = gw_stream_write(&c->stream, &iov, 1);
            if (wrote != GW_OK && wrote != GW_AGAIN)
                client_close(c);
        }
    }
    c->in->start += (uint32_t)len;
}

/* Reads past a body. True: it is behind us. */
static bool skip_body(gw_admin_client *c)
{
    gw_buffer *in = c->in;
    size_t there = gw_buffer_used(in), data;
    if (c->framing == GW_FRAMING_NONE)
        return true;
    if (c->framing == GW_FRAMING_LENGTH) {
        size_t take = there < c->body_left ? there : (size_t)c->body_left;
        in->start += (uint32_t)take;
        c->body_left -= take;
        return c->body_left == 0;
    }
    const char *reason;
    int64_t used = gw_chunked_decode(&c->chunked, in->bytes + in->start, there, &data, &reason);
    if (used < 0 || (uint64_t)used > c->body_left) {
        refuse(c, used < 0 && used != GW_LIMIT ? 400 : 413, "the body is malformed or too large");
        c->keep = false;
        return true;
    }
    in->start += (uint32_t)used;
    c->body_left -= (uint64_t)used;
    return c->chunked.done;
}

/* One step; false when there is nothing more to do for now. */
static bool client_step(gw_admin_client *c)
{
    if (c->closed || c->state == CLIENT_WAITING || gw_stream_blocked(&c->stream) || !c->in)
        return false;
    if (c->state == CLIENT_LINGER || c->state == CLIENT_EVENTS) {
        c->in->start = c->in->end = 0;
        return false;
    }
    if (c->state == CLIENT_HEAD) {
        if (gw_buffer_used(c->in) == 0)
            return false;
        gw_bad_head bad = {0};
        int n = gw_head_scan(c->in->bytes + c->in->start, gw_buffer_used(c->in), &head_limits, false, &c->scan, &bad);
        if (n == GW_AGAIN)
            return false;
        if (n < 0) {
            c->keep = c->head_only = false;
            refuse(c, bad.status, bad.reason);
            act(c);
            return true;
        }
        take_head(c, (size_t)n);
        return true;
    }
    if (!skip_body(c))
        return false;
    act(c);
    return true;
}

static void client_process(gw_admin_client *c)
{
    if (c->processing)
        return;
    c->processing = true;
    while (client_step(c))
        ;
    c->processing = false;
    bool waits = c->state == CLIENT_WAITING || gw_stream_blocked(&c->stream);
    if (c->closed || (c->ended && !waits)) {
        client_close(c);
        return;
    }
    if (c->in && gw_buffer_used(c->in) == 0) {
        gw_buffer_give(&c->admin->buffers, c->in);
        c->in = NULL;
    } else if (c->in && c->state == CLIENT_HEAD && !c->begun && !gw_stream_blocked(&c->stream)) {
        c->begun = true;
        gw_stream_timeout(&c->stream, HEAD_SECONDS);
    }
}

/* ---- the stream's events ---- */

static void on_readable(gw_stream *stream)
{
    gw_admin_client *c = gw_container_of(stream, gw_admin_client, stream);
    if (!c->in)
        c->in = gw_buffer_take(&c->admin->buffers, 0);
    if (!c->in) {
        client_close(c);
        return;
    }
    if (gw_buffer_room(c->in) == 0)
        gw_buffer_compact(c->in);
    if (gw_buffer_room(c->in) == 0) { /* pipelined far ahead of the answers */
        client_close(c);
        return;
    }
    int64_t n = gw_stream_read(stream, c->in);
    if (n == GW_AGAIN)
        return;
    if (n == GW_RESET) {
        client_close(c);
        return;
    }
    if (n == GW_EOF)
        c->ended = true;
    client_process(c);
}

static void on_drained(gw_stream *stream)
{
    client_process(gw_container_of(stream, gw_admin_client, stream));
}

static void on_failed(gw_stream *stream, int status)
{
    (void)status;
    client_close(gw_container_of(stream, gw_admin_client, stream));
}

static void on_expired(gw_stream *stream)
{
    gw_admin_client *c = gw_container_of(stream, gw_admin_client, stream);
    if (!gw_stream_blocked(stream) && (c->state == CLIENT_BODY || (c->state == CLIENT_HEAD && c->begun))) {
        c->keep = c->head_only = false;
        refuse(c, 408, "the request did not come to its end in time");
        c->processing = true;
        act(c);
        c->processing = false;
        client_process(c);
        return;
    }
    client_close(c);
}

static const gw_stream_ops client_ops = {
    .readable = on_readable, .drained = on_drained, .failed = on_failed, .expired = on_expired};

/* ---- the listener ---- */

static bool make_room(gw_admin *a)
{
    for (gw_list *at = a->clients.next; at != &a->clients; at = at->next) {
        gw_admin_client *c = gw_container_of(at, gw_admin_client, link);
        if (c->state == CLIENT_LINGER || (c->state == CLIENT_HEAD && !c->in && !gw_stream_blocked(&c->stream))) {
            client_close(c);
            return true;
        }
    }
    return false;
}

static void on_accept(gw_listener *l, int fd, const gw_address *peer)
{
    (void)peer;
    gw_admin *a = l->owner;
    gw_admin_client *c = a->client_count < CLIENTS_MOST || make_room(a) ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    c->admin = a;
    gw_list_push_back(&a->clients, &c->link);
    a->client_count++;
    gw_stream_init(&c->stream, a->supervisor->loop, &a->buffers, &client_ops, fd);
    gw_stream_timeout(&c->stream, HEAD_SECONDS);
}

gw_admin *gw_admin_new(gw_supervisor *s)
{
    gw_admin *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->supervisor = s;
    gw_buffer_pool_init(&a->buffers, 4);
    gw_list_init(&a->clients);
    gw_events_init(&a->events, s);
    return a;
}

void gw_admin_stop(gw_admin *a)
{
    if (!a->listening)
        return;
    a->listening = false;
    gw_events_end(&a->events);
    gw_listener_drain(&a->listener);
    gw_listen_close(&a->at, 0, NULL, !a->foreign && !a->supervisor->upgrade.handed_over);
    a->text[0] = '\0';
}

void gw_admin_free(gw_admin *a)
{
    if (!a)
        return;
    gw_admin_stop(a);
    while (!gw_list_empty(&a->clients))
        client_close(gw_container_of(a->clients.next, gw_admin_client, link));
    gw_buffer_pool_clear(&a->buffers);
    free(a);
}

bool gw_admin_prepare(gw_admin *a, const gw_generation *g, gw_admin_change *change, gw_lines *errors)
{
    const gw_listen_spec *spec = &g->admin;
    *change = (gw_admin_change){.fd = -1, .listen = spec->text.ptr != NULL, .mode = g->operation.admin_mode};
    if (change->listen == a->listening && (!change->listen || gw_address_equal(&a->asked, &spec->at)))
        return true;
    change->changed = true;
    if (!change->listen)
        return true;
    change->asked = change->at = spec->at;
    gw_inherited *from = gw_inheritance_find(&a->supervisor->inherited, 'a', &spec->at);
    if (from) { /* of one socket: others would be of the same address, and nobody would accept what comes by them */
        from->taken = true;
        change->at = from->at;
        change->fd = from->fds[0];
        change->inherited = true;
        change->foreign = from->foreign;
        for (int i = 1; i < from->count; i++)
            close(from->fds[i]);
        return true;
    }
    char message[256];
    if (gw_listen_bind_mode(&change->at, 1, &change->fd, change->mode, message, sizeof message) == 0)
        return true;
    gw_lines_add(errors, "%.*s: cannot listen on the admin address %s%s\n", (int)spec->source.len, spec->source.ptr, message,
                 gw_privileges_hint(&spec->at));
    change->changed = false;
    return false;
}

void gw_admin_discard(gw_admin_change *change)
{
    if (change->changed && change->listen)
        gw_listen_close(&change->at, 1, &change->fd, !change->inherited);
    change->changed = false;
}

void gw_admin_apply(gw_admin *a, gw_admin_change *change)
{
    if (!change->changed) {
        if (a->listening && a->mode != change->mode && a->at.any.sa_family == AF_UNIX &&
            chmod(a->at.un.sun_path, (mode_t)change->mode) < 0)
            gw_log_event(a->supervisor->ring, GW_LOG_WARN, "the mode of the admin socket could not be changed",
                         "\"error\":\"%s\"", strerror(errno));
        a->mode = change->mode;
        return;
    }
    gw_admin_stop(a);
    if (!change->listen)
        return;
    a->mode = change->mode;
    a->asked = change->asked;
    a->foreign = change->foreign;
    a->at = change->at;
    a->text[gw_address_text(&a->at, a->text)] = '\0';
    a->listening = true;
    a->listener = (gw_listener){.owner = a, .accept = on_accept, .at = change->at};
    gw_listener_start(&a->listener, a->supervisor->loop, change->fd);
}

const char *gw_admin_text(const gw_admin *a)
{
    return a->text;
}

bool gw_admin_handed(const gw_admin *a, gw_handed *handed, int *fd)
{
    if (!a->listening)
        return false;
    *fd = a->listener.io.fd;
    *handed = (gw_handed){.role = 'a', .foreign = a->foreign, .fds = fd, .count = 1};
    handed->zero_port = gw_address_port_chosen(&a->asked);
    handed->ipv4_only = a->asked.both_families && a->at.any.sa_family == AF_INET;
    return true;
}
