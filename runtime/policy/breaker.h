/* Circuit breaker: refuses what would fail anyway, and tries again with a few probes.
 *
 *                 failures in a row, or too many of the window: trip
 *        ┌────────┐ ───────────────────────────────────────▶ ┌──────┐
 *        │ closed │                                           │ open │ ◀─┐
 *        └────────┘ ◀──────────┐                             └──────┘   │
 *             all `probes` succeed │                  open_for passed, │   │ a probe fails:
 *                              │                        next allow() │   │ open_for × growth
 *                              │         ┌───────────┐ ◀─────────────┘   │
 *                              └──────── │ half-open │ ──────────────────┘
 *                                        └───────────┘ ⟲ leases ran out: lost probes give their places back
 *
 * All of that is one word, changed by compare-and-swap:
 *
 *      63            32 31       18 17               6 5        2 1     0
 *     | moment: 32 bits | epoch: 14 | count: 12         | trips: 4 | state |
 *
 *     state   0 closed, 1 open, 2 half-open
 *     trips   openings since it was last closed, less one (to 15): the exponent of growth
 *     count   closed: failures in a row. Half-open: | succeeded: 6 | leased, those included: 6 |
 *     epoch   goes up with every change of state, and when leases run out
 *     moment  in ms, modulo 2^32: open: when it opened; half-open: when the last probe was let through
 *
 * allow() gives a ticket, the epoch; success(), failure() and cancel() take it, and results that belong to an older epoch change nothing.
 * Half-open, exactly `probes` requests are let through, whichever threads ask. A probe that does not come back (nobody calls with its
 * ticket) has lost its place when `lease` has passed since the last probe was let through and all places are taken; a new epoch begins,
 * in which the successes so far still count.
 *
 * The rolling window (error_rate) is ten words beside, a tenth of `window` each. They are touched in the closed state only.
 * Spans are kept to a millisecond, and never cut short. When the clock is set back by more than a second, those that are running are over:
 * an open breaker sends its probes. */
#ifndef GW_POLICY_BREAKER_H
#define GW_POLICY_BREAKER_H

#include "policy/keyed_table.h"

#define GW_BREAKER_PROBES_MOST 63
#define GW_BREAKER_FAILURES_MOST 4095
#define GW_BREAKER_TENTHS 10

enum gw_breaker_state { GW_BREAKER_CLOSED = 0, GW_BREAKER_OPEN = 1, GW_BREAKER_HALF_OPEN = 2 };

/* What success() or failure() did to the state. */
enum gw_breaker_change {
    GW_BREAKER_SAME = 0,
    GW_BREAKER_OPENS = 1,   /* closed before */
    GW_BREAKER_REOPENS = 2, /* half-open before */
    GW_BREAKER_CLOSES = 3
};

/* In place of tickets. */
enum gw_breaker_ticket {
    GW_BREAKER_REFUSED = -1,
    GW_BREAKER_ANY = -2 /* the result counts for whatever state the breaker is in; for callers that keep no tickets */
};

/* What users set. 0: the value in brackets. */
typedef struct gw_breaker_settings {
    double open_for;       /* seconds (10) */
    double growth;         /* of open_for with each opening that follows on a failed probe, 1 or more (1) */
    double open_most;      /* seconds that open_for grows to (300, or open_for if that is more) */
    double lease;          /* seconds (30) */
    double error_rate;     /* share of failures in the window, above 0 to 1 (0: not by rate) */
    double window;         /* seconds (10) */
    uint32_t min_requests; /* in the window, before the rate means anything (10) */
    uint32_t failures;     /* in a row (5 where there is no error_rate, else 0: not by failures in a row) */
    uint32_t probes;       /* (1) */
    uint32_t unused;
} gw_breaker_settings;

/* The same, ready for use; shared by breakers that are set alike, and changeable under them. 64 bytes. */
typedef struct gw_breaker_rules {
    _Atomic double growth;
    _Atomic uint32_t open_ms, open_most_ms, lease_ms, tenth_ms;
    _Atomic uint32_t rate_ppm, min_requests, failures, probes;
    char apart[24];
} gw_breaker_rules;

/* 128 bytes. */
typedef struct gw_breaker {
    _Atomic uint64_t word;
    const gw_breaker_rules *rules;
    _Atomic uint32_t opened, closed;            /* times, for metrics */
    _Atomic uint64_t tenths[GW_BREAKER_TENTHS]; /* | number: 16 bits | requests: 24 | failures: 24 | */
    char apart[24];
} gw_breaker;

/* GW_OK or GW_INVALID. Called again, it changes the rules of all breakers that have them; they keep their states. */
GW_API int gw_breaker_rules_init(gw_breaker_rules *r, const gw_breaker_settings *settings);
/* Closed. The rules must outlive it. */
GW_API void gw_breaker_init(gw_breaker *b, const gw_breaker_rules *rules);
/* One with rules of its own (192 bytes). NULL: bad settings, or out of memory. */
GW_API gw_breaker *gw_breaker_new(const gw_breaker_settings *settings);
GW_API void gw_breaker_free(gw_breaker *b);
/* Other settings for one made by gw_breaker_new. GW_OK or GW_INVALID. */
GW_API int gw_breaker_change(gw_breaker *b, const gw_breaker_settings *settings);

/* All below: any thread. */

/* A ticket, 0 or more, or GW_BREAKER_REFUSED. Exactly one of success, failure and cancel is due for a ticket. */
GW_API int gw_breaker_allow(gw_breaker *b, int64_t now);
/* What of it changed the state: enum gw_breaker_change; each change is told to one caller. */
GW_API int gw_breaker_success(gw_breaker *b, int ticket, int64_t now);
GW_API int gw_breaker_failure(gw_breaker *b, int ticket, int64_t now);
/* It came to nothing that says anything (the client went away): a probe's place is free at once. */
GW_API void gw_breaker_cancel(gw_breaker *b, int ticket);

/* enum gw_breaker_state; open becomes half-open when its time has passed, though the probe is still to come. */
GW_API int gw_breaker_state(const gw_breaker *b, int64_t now);
/* Neither open nor half-open, whatever the time. */
GW_API int gw_breaker_is_closed(const gw_breaker *b);
/* allow() would give a ticket now. Takes none. */
GW_API int gw_breaker_ready(const gw_breaker *b, int64_t now);
/* Seconds until asking makes sense: 0 where allow() would give a ticket; half-open with all probes on their way, a second at most. */
GW_API double gw_breaker_retry_after(const gw_breaker *b, int64_t now);
/* Closed, nothing counted, older tickets void. */
GW_API void gw_breaker_reset(gw_breaker *b);
/* Takes over what another one knows (to->rules are its own): state, what was counted; probes that are on their way there have no place
 * here, so that others may go. `to` is nobody else's yet. */
GW_API void gw_breaker_copy(gw_breaker *to, const gw_breaker *from);
/* As gw_breaker_init left it: nothing to know. */
GW_API bool gw_breaker_is_blank(const gw_breaker *b);
/* Open from now on, for open_for. */
GW_API void gw_breaker_trip(gw_breaker *b, int64_t now);

#endif
