/* Work that would hold a loop up, done by a few threads beside the loops: password hashes, made to be slow.
 *
 *             submit                    a thread takes it          work() is done              the loop's turn
 *   (caller) ────────► QUEUED ─────────────────► RUNNING ───────────────► POSTED ─────────────────► done(), the caller's again
 *                        │ cancel                  │ cancel                 │ cancel
 *                        ▼                         ▼                        ▼
 *                      drop()                drop(), when work() is over, or the loop's turn comes
 *
 * There is one pool in a process; its threads are made when they are needed first. Submitting takes a lock for a few pointer writes: this is
 * for what takes milliseconds, not for the data path. All functions but work() run on the loop's thread. */
#ifndef GW_NET_OFFLOAD_H
#define GW_NET_OFFLOAD_H

#include "net/loop.h"

#define GW_OFFLOAD_QUEUED_MOST 256
#define GW_OFFLOAD_THREADS_MOST 4

typedef struct gw_offload_job gw_offload_job;
struct gw_offload_job {
    gw_mail mail;
    gw_list link;
    gw_loop *loop;
    uint8_t state;
    bool cancelled;
    void (*work)(gw_offload_job *job); /* on a thread of the pool: may touch nothing but the job */
    void (*done)(gw_offload_job *job); /* may free the job */
    void (*drop)(gw_offload_job *job); /* frees it: it was cancelled. On any thread */
};

/* The caller has set work, done and drop. 0; GW_LIMIT: too much is waiting already; GW_NOMEM: there can be no thread. With a loop by hand
 * (gw_loop_new_manual) the work is done at once, and done() called in the next turn. */
int gw_offload_submit(gw_loop *loop, gw_offload_job *job);
/* The job is nobody's: done() will not be called, drop() now or later. */
void gw_offload_cancel(gw_offload_job *job);
/* Cancels all jobs of a loop that ends: no thread touches it afterwards. gw_loop_free does this. */
void gw_offload_forget(gw_loop *loop);

#endif
