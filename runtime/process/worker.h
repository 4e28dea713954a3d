/* A worker: one thread, one loop, one engine. The supervisor talks to it by mail only.
 *
 * Life, as the supervisor sees it:
 *
 *   made ──gw_worker_start──► running ──drain mail──► draining ──last client gone: idle mail──► (waits)
 *                                                        │                                        │
 *                                                        └──────────── stop mail ◄────────────────┘
 *                                                                         │
 *                                                               ended mail ──join──► freed */
#ifndef GW_PROCESS_WORKER_H
#define GW_PROCESS_WORKER_H

#include "gateway/engine.h"
#include "gateway/metrics.h"
#include "gateway/metrics_page.h"
#include "script/remake.h"
#include <pthread.h>

struct gw_supervisor;

typedef struct gw_worker {
    gw_engine engine;
    gw_loop *loop;
    pthread_t thread;
    bool running; /* the thread was started and not joined; the control thread's */
    bool drain_begun, told_idle, told_out_of_files;
    struct gw_supervisor *supervisor;
    gw_ticker ticker;   /* runs twice a second while it serves */
    bool answered;      /* the service manager's round came by: service.c (relaxed) */
    int64_t tick_due;   /* ns */
    uint64_t lua_bytes; /* in the Lua state of the generation that serves, as of the last tick; read as `lag` is */
    gw_histogram lag;   /* how late it was; written here, read by scrapes (relaxed) */
    gw_remake remake;   /* Lua states made anew: remaking.c */
    struct gw_worker *next_remake;
    gw_mail drain, stop; /* to the worker, once each */
    gw_mail idle, ended; /* to the supervisor, once each */
} gw_worker;

/* All made and ready, but no thread yet. NULL: memory or descriptors are out. */
gw_worker *gw_worker_new(struct gw_supervisor *s, uint32_t index, gw_log_ring *ring);
/* 0, or GW_LIMIT when the system gives no more threads. */
int gw_worker_start(gw_worker *w);
/* The thread has ended (or never began). */
void gw_worker_free(gw_worker *w);

void gw_worker_drain(gw_worker *w); /* connections end when idle; told by gw_supervisor_worker_idle */
void gw_worker_stop(gw_worker *w);  /* everything ends now; told by gw_supervisor_worker_ended */

/* Its histogram of the event loop's lag. Any thread. */
void gw_worker_lag_write(const gw_worker *w, gw_page *p);

/* ---- rounds: the same visit on every worker's thread, then word to the control thread ----
 *
 * All workers are visited at once, each when it comes to its mail; `done` runs after the last. So a round is also a grace period: what
 * a worker picked up from a shared pointer within one turn of its loop, it has let go of by the end of the round. */
typedef struct gw_round gw_round;
typedef void gw_round_visit(gw_worker *w, void *data);
typedef void gw_round_done(struct gw_supervisor *s, void *data);

/* Made before a change, so that the change cannot fail half-way. NULL: memory is out. */
gw_round *gw_round_new(struct gw_supervisor *s, gw_round_visit *visit, gw_round_done *done, void *data);
void gw_round_start(gw_round *r);   /* freed after `done` */
void gw_round_discard(gw_round *r); /* never started; NULL is fine */

#endif
