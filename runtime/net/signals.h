/* Signals as events of a loop (signalfd): handlers run between other events, never in the middle of one.
 *
 * The numbers must be blocked in every thread (gw_signals_block, before the first thread is made: threads inherit it), or the
 * kernel's own action is taken instead. */
#ifndef GW_NET_SIGNALS_H
#define GW_NET_SIGNALS_H

#include "net/loop.h"

typedef struct gw_signals gw_signals;
struct gw_signals {
    ev_io io;
    gw_loop *loop;
    void *owner;
    void (*received)(gw_signals *s, int number, int from_pid); /* from_pid: 0 when the kernel sent it (Ctrl-C) */
};

/* Blocks these signals on the calling thread. */
void gw_signals_block(const int numbers[], size_t count);
/* Blocks everything but what a fault of the thread's own raises: for threads that have no business with signals. */
void gw_signals_block_all(void);
/* SIGPIPE is ignored from now on: writing to a broken pipe is an error code, no death. */
void gw_signals_ignore_pipe(void);

/* Begins to receive. 0, GW_NOFILES or GW_NOMEM. `owner` and `received` are the caller's to set first. */
int gw_signals_start(gw_signals *s, gw_loop *loop, const int numbers[], size_t count);
void gw_signals_stop(gw_signals *s);

#endif
