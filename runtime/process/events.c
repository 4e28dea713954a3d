#include "process/events.h"

#include "base/hash.h"
#include "process/snapshot.h"
#include "process/supervisor.h"
#include <stdlib.h>

static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                           "X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\nretry: 2000\n\n";

static uint64_t token_of(const gw_supervisor *s)
{
    gw_slice token = s->live->g->operation.admin_token;
    return token.len ? gw_hash(token.ptr, token.len) : 0;
}

void gw_events_init(gw_events *e, gw_supervisor *s)
{
    *e = (gw_events){.supervisor = s};
    gw_list_init(&e->readers);
}

void gw_events_remove(gw_events *e, gw_events_reader *r)
{
    if (!r->link.next)
        return;
    gw_list_remove(&r->link);
    r->link = (gw_list){0};
    if (--e->count == 0)
        gw_ticker_stop(&e->ticker);
}

/* What a reader gets: an event with a snapshot, or, when there is no memory for one, a comment, so that it knows that we are there. */
static bool write_event(gw_events_reader *r, const char *first, uint64_t number, const char *json, size_t len)
{
    static const char comment[] = ":\n\n", end[] = "\n\n";
    char lead[64];
    gw_text t = gw_text_on(lead, sizeof lead);
    struct iovec iov[4];
    int count = 0;
    if (first)
        iov[count++] = (struct iovec){(char *)first, strlen(first)};
    if (json) {
        gw_text_printf(&t, "event: snapshot\nid: %llu\ndata: ", (unsigned long long)number);
        iov[count++] = (struct iovec){lead, gw_text_done(&t).len};
        iov[count++] = (struct iovec){(char *)json, len};
        iov[count++] = (struct iovec){(char *)end, sizeof end - 1};
    } else {
        iov[count++] = (struct iovec){(char *)comment, sizeof comment - 1};
    }
    int wrote = gw_stream_write(r->stream, iov, count);
    return wrote == GW_OK || wrote == GW_AGAIN;
}

void gw_events_end(gw_events *e)
{
    while (!gw_list_empty(&e->readers)) {
        gw_events_reader *r = gw_container_of(e->readers.next, gw_events_reader, link);
        gw_events_remove(e, r);
        r->finish(r);
    }
}

static void on_second(gw_ticker *ticker)
{
    gw_events *e = gw_container_of(ticker, gw_events, ticker);
    gw_supervisor *s = e->supervisor;
    if (!s->live) /* the workers have stopped */
        return;
    if (token_of(s) != e->token) {
        gw_events_end(e);
        return;
    }
    size_t len = 0;
    char *json = gw_snapshot_json(s, &len);
    e->number++;
    for (gw_list *at = e->readers.next, *next; at != &e->readers; at = next) {
        gw_events_reader *r = gw_container_of(at, gw_events_reader, link);
        next = at->next;
        if (gw_stream_blocked(r->stream)) {
            if (++r->passed < GW_EVENTS_PATIENCE)
                continue;
        } else {
            r->passed = 0;
            if (write_event(r, NULL, e->number, json, len))
                continue;
        }
        gw_events_remove(e, r);
        r->lost(r);
    }
    free(json);
    if (s->state != GW_SERVING)
        gw_events_end(e);
}

bool gw_events_add(gw_events *e, gw_events_reader *r)
{
    if (e->count >= GW_EVENTS_READERS)
        return false;
    size_t len;
    char *json = gw_snapshot_json(e->supervisor, &len);
    if (!json)
        return false;
    if (e->count++ == 0) {
        e->token = token_of(e->supervisor);
        gw_ticker_start(e->supervisor->loop, &e->ticker, 1.0, on_second);
    }
    gw_list_push_back(&e->readers, &r->link);
    r->passed = 0;
    bool good = write_event(r, head, ++e->number, json, len);
    free(json);
    if (!good) {
        gw_events_remove(e, r);
        r->lost(r);
    }
    return true;
}
