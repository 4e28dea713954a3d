/* The request heads that the workers keep (gateway/recent.h), fetched from them by a round: each copies its own, on its own thread. */
#ifndef GW_PROCESS_RECENTS_H
#define GW_PROCESS_RECENTS_H

#include "base/text.h"
#include "gateway/recent.h"

struct gw_supervisor;
struct gw_admin_wait;

typedef struct gw_recents {
    gw_recent_head *head; /* oldest first */
    size_t count;
    bool lost; /* memory was out somewhere: not all are here */
} gw_recents;

/* `done` gets them on the control thread; they are freed behind it. False: memory is out, or the gateway ends; then it is not called. */
bool gw_recents_fetch(struct gw_supervisor *s, void (*done)(struct gw_supervisor *s, const gw_recents *r, void *data),
                      void *data);
/* For a list of JSON objects, without its brackets: { at, client_ip, method, target, headers: [[name, value], ...], cut }. */
void gw_recents_write(gw_text *t, const gw_recents *r);
/* GET /recent: { heads: [...] }. */
void gw_recents_answer(struct gw_supervisor *s, struct gw_admin_wait *w);

#endif
