/* One thread's event loop: libev behind a few words, lazy timeouts, and a mailbox for other threads.
 *
 * Time: gw_loop_now() is read once a loop turn (ev_now): monotonic-ish wall seconds as double; use it for everything on the worker.
 * Timeouts are lazy: nodes of one length stand in one list in order of arming, and each list has one ev_timer, so arming and
 * disarming are a few pointer writes. Precision: not before the deadline, and within about 10 ms after it. */
#ifndef GW_NET_LOOP_H
#define GW_NET_LOOP_H

#include "base/base.h"
#include "base/list.h"
#include <ev.h>

typedef struct gw_loop gw_loop;

gw_loop *gw_loop_new(void); /* NULL when memory or descriptors are out */
void gw_loop_free(gw_loop *loop);
void gw_loop_run(gw_loop *loop);  /* until gw_loop_stop; on the thread that owns the loop */
void gw_loop_stop(gw_loop *loop); /* from that thread */
struct ev_loop *gw_loop_ev(gw_loop *loop);

static inline double gw_loop_now(struct ev_loop *ev)
{
    return ev_now(ev);
}

/* ---- mailbox: any thread posts, the loop's thread runs; in the order posted ---- */
typedef struct gw_mail {
    struct gw_mail *next;
    void (*run)(struct gw_mail *mail, void *owner); /* owner: what gw_loop_set_owner said; may free the mail */
} gw_mail;
void gw_loop_set_owner(gw_loop *loop, void *owner);
void gw_loop_post(gw_loop *loop, gw_mail *mail); /* lock-free; the mail stays the poster's until run */

/* ---- timeouts ---- */
typedef struct gw_timeout gw_timeout;
typedef struct gw_timeout_list gw_timeout_list;
struct gw_timeout {
    gw_list link;
    double at;                         /* due; by gw_loop_now */
    gw_timeout_list *list;             /* hint: the list it was in last; NULL at first */
    void (*expired)(gw_timeout *t);    /* already disarmed; may arm again */
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
typedef struct gw_ticker {          /* a repeating timer */
    ev_timer timer;
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
