/* One thread's event loop: libev behind a few words, lazy timeouts, and a mailbox for other threads.
 *
 * Time: gw_loop_now() is the monotonic clock in seconds, taken once a loop turn from what libev has read anyway: no call, no jump
 * when the system's clock is set. Its base is that of gw_clock_monotonic_ns, so all loops of the process agree. For a date use
 * gw_clock_wall. Before the loop runs it is the time of gw_loop_new.
 *
 * Timeouts are lazy: they stand in a hierarchical wheel under one ev_timer, so arming and disarming are a few pointer writes
 * whatever their lengths, and nothing is kept for a length. Precision: not before the deadline, and within about 10 ms after it. */
#ifndef GW_NET_LOOP_H
#define GW_NET_LOOP_H

#include "base/base.h"
#include "base/list.h"
#include <ev.h>

typedef struct gw_loop gw_loop;
typedef struct gw_mail gw_mail;

#define GW_WHEEL_LEVELS 7
#define GW_WHEEL_SLOTS 64

struct gw_stream;
struct gw_address;

/* Only `now` is for others, by gw_loop_now. */
struct gw_loop {
    double now;
    struct ev_loop *ev;
    void *owner;
    /* timeouts.c */
    int64_t now_tick, tick, wake; /* this turn; the wheel's hand; nothing in the wheel is due before `wake` */
    uint64_t filled[GW_WHEEL_LEVELS];
    gw_list wheel[GW_WHEEL_LEVELS][GW_WHEEL_SLOTS];
    ev_timer wheel_timer;
    /* loop.c */
    double clock_base;
    ev_timer clock; /* never fires: what remains of it tells libev's monotonic time */
    ev_check turn;
    ev_prepare laters_run;
    ev_idle laters_more;
    gw_list laters;
    ev_io mail_io;     /* an eventfd */
    bool manual, busy; /* gw_loop_new_manual; its last step found something to do */
    /* Takes the place of connecting; NULL: none. See gw_stream_connecting. */
    int (*connect)(struct gw_loop *loop, struct gw_stream *s, const struct gw_address *to);
    /* Takes the place of looking names up, for resolvers on this loop; NULL: none. GW_OK and one address, or GW_NOTFOUND. */
    int (*resolve)(struct gw_loop *loop, const char *name, uint16_t port, struct gw_address *to);
    _Alignas(64) _Atomic(gw_mail *) mails; /* newest first; the only member that other threads touch */
};

gw_loop *gw_loop_new(void);       /* NULL when memory or descriptors are out */
void gw_loop_free(gw_loop *loop); /* mails and laters that have not run are dropped */
void gw_loop_run(gw_loop *loop);  /* until gw_loop_stop; on the thread that owns the loop */
void gw_loop_stop(gw_loop *loop); /* from that thread */
struct ev_loop *gw_loop_ev(gw_loop *loop);

static inline double gw_loop_now(const gw_loop *loop)
{
    return loop->now;
}

/* ---- a loop by hand, for tests: its time moves only when it is told to, and it never waits ---- */
gw_loop *gw_loop_new_manual(double now);
bool gw_loop_step(gw_loop *loop);        /* whatever is ready now; false: there was nothing */
double gw_loop_due(const gw_loop *loop); /* a time not after the first that a timeout or ticker is due; INFINITY: none is armed */
void gw_loop_at(gw_loop *loop, double now); /* it is so late now: runs what is due. Never backwards */

/* ---- mailbox: any thread posts, the loop's thread runs; in the order posted ---- */
struct gw_mail {
    struct gw_mail *next;
    void (*run)(struct gw_mail *mail, void *owner); /* owner: what gw_loop_set_owner said; may free the mail */
};
void gw_loop_set_owner(gw_loop *loop, void *owner);
void gw_loop_post(gw_loop *loop, gw_mail *mail); /* lock-free; the mail stays the poster's until run */

/* ---- timeouts ---- */
typedef struct gw_timeout gw_timeout;
struct gw_timeout {
    gw_list link;
    double at;                      /* due; by gw_loop_now */
    void (*expired)(gw_timeout *t); /* already disarmed; may arm again */
};
void gw_timeout_init(gw_timeout *t, void (*expired)(gw_timeout *));
/* Due `seconds` from now; arming an armed one moves it. seconds <= 0 disarms. */
void gw_timeout_arm(gw_loop *loop, gw_timeout *t, double seconds);
void gw_timeout_disarm(gw_timeout *t);
static inline bool gw_timeout_armed(const gw_timeout *t)
{
    return !gw_list_empty(&t->link);
}

/* ---- small conveniences for code above that may not touch libev's calls itself ---- */
typedef struct gw_ticker { /* a repeating timer */
    ev_timer timer;
    gw_timeout timeout; /* with a manual loop, in the timer's place */
    double every;
    gw_loop *loop;
    void (*tick)(struct gw_ticker *t);
} gw_ticker;
void gw_ticker_start(gw_loop *loop, gw_ticker *t, double every, void (*tick)(gw_ticker *));
void gw_ticker_stop(gw_ticker *t);

/* Runs `f(data)` at the start of the next turn (before waiting): to break recursion. The node is the caller's. */
typedef struct gw_later {
    gw_list link;
    void (*run)(struct gw_later *later);
} gw_later;
void gw_later_init(gw_later *later, void (*run)(gw_later *));
void gw_loop_later(gw_loop *loop, gw_later *later); /* twice is once */
void gw_later_cancel(gw_later *later);

#endif
