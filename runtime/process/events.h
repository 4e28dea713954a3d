/* GET /events: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), a snapshot a second, the first at once.
 * A snapshot is made once for all that read along, and only while somebody does. Control thread.
 *
 * What a reader has not taken stands in its stream, one event at most: while there is something, it is passed by, and given up when that
 * lasts. A reader that comes back gets the next snapshot; nothing is made up for. */
#ifndef GW_PROCESS_EVENTS_H
#define GW_PROCESS_EVENTS_H

#include "net/stream.h"

struct gw_supervisor;

#define GW_EVENTS_READERS 16
#define GW_EVENTS_PATIENCE 8 /* seconds that a reader may take nothing */

/* In what reads along; zeroed before use. */
typedef struct gw_events_reader {
    gw_list link;
    gw_stream *stream;
    uint32_t passed;                            /* times in a row that it was passed by */
    void (*lost)(struct gw_events_reader *r);   /* it is out, and must close: it reads nothing, or is gone */
    void (*finish)(struct gw_events_reader *r); /* it is out; nothing more comes */
} gw_events_reader;

typedef struct gw_events {
    struct gw_supervisor *supervisor;
    gw_list readers;
    uint32_t count;
    gw_ticker ticker; /* runs while there are readers */
    uint64_t number;  /* of snapshots sent */
    uint64_t token;   /* a digest of the token that readers brought */
} gw_events;

void gw_events_init(gw_events *e, struct gw_supervisor *s);
/* True: head and first event are on their way, and it is in. False: there are too many, or memory is out; nothing was sent. */
bool gw_events_add(gw_events *e, gw_events_reader *r);
void gw_events_remove(gw_events *e, gw_events_reader *r); /* fine when it is not in */
/* Everybody is finished with: the gateway ends, or what they were let in by has changed. */
void gw_events_end(gw_events *e);

#endif
