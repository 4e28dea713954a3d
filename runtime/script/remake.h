/* Another state in place of one that was given up: the script runs again, on a thread of the control floor's, and has to say the same as
 * its generation did.
 *
 *            given up: gw_remake_begin                 made: swapped in, who waits is woken
 *   whole ─────────────────────────────► WITHOUT ───────────────────────────────────────────► whole (and a spare is asked for)
 *     ▲                                     │  time is up, or the script failed or said something else
 *     │  made after all                     ▼
 *     └───────────────────────────────── HOPELESS: answers 503 at once, tries again with growing pauses
 *
 * From its first loss on a state has a spare in readiness, so that the next loss costs no one a wait.
 *
 * A worker remakes one state at a time; its record lives as long as the worker. Between `ask` and the return of the mail, what is in
 * the record is the control floor's, save for `shell`, which is the worker's. */
#ifndef GW_SCRIPT_REMAKE_H
#define GW_SCRIPT_REMAKE_H

#include "net/loop.h"
#include "script/state.h"

#define GW_REMAKE_WAIT 5.0 /* seconds that requests wait for a state */

typedef struct gw_remake {
    void (*ask)(struct gw_remake
                    *r); /* by the control floor: have gw_remake_run called on a thread that may block, then gw_remake_back on the
                                       * worker's. On the worker's thread */
    gw_mail mail;
    gw_engine *engine;
    bool busy;
    gw_state *shell; /* whom it is for; NULL: has ended meanwhile */
    uint32_t index;
    char *path;
    const char *library;
    uint64_t digest;
    size_t memory;
    int64_t budget;
    struct gw_generation *generation; /* not to be looked into: it may end meanwhile */
    uint32_t plugin_count;
    gw_state *made;    /* NULL: failed */
    char failure[512]; /* why */
} gw_remake;

/* On the worker's thread: `s` is being given up. */
void gw_remake_begin(gw_state *s);
/* The state that serves this worker's part of a generation now; NULL: none does, and the exchange has to wait or, *hopeless, to do without. */
gw_state *gw_remake_state(gw_generation *g, gw_engine *e, bool *hopeless);
/* Runs the script. Touches only the record. Any thread but a worker's. */
void gw_remake_run(gw_remake *r);
/* Brings the result home. On the worker's thread. */
void gw_remake_back(gw_remake *r);
/* At the end, with the worker's thread gone: frees what never came home. */
void gw_remake_clear(gw_remake *r);
/* The state ends: on its worker's thread, or where no worker ever had it. */
void gw_remake_forget(gw_state *s);
/* load.c: the script run once more, in a fresh state that is ready for its worker. NULL: why stands in `failure`. */
gw_state *gw_script_again(gw_remake *r);
/* task.c: requests that wait for this state, or for the one that came in its place, look again. */
void gw_script_wake_waiting(gw_state *s);

#endif
