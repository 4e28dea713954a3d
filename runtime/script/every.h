/* Timers of a script, gateway.every: a function that is run again and again for as long as its generation is the current one.
 *
 *            begin                  due                        returned, or failed: logged
 *   (none) ─────────► armed ──────────────────► running ─────────────────────────────────────► armed
 *                       │                        │    ▲
 *                       │ end                    │wait│ wake            timeout: dropped, logged ──► armed
 *                       ▼                        ▼    │                 end: dropped
 *                     (none)                   waiting
 *
 * A run is a gw_task without an exchange. Runs of one timer never overlap: the next begins an interval after the last one began, or at the
 * first multiple of it after that ended. Each timer belongs to one worker of the process, unless it was asked for on each. Nothing here keeps
 * a generation alive: timers end when it retires, whatever they are at. (What gateway.spawn starts is a run, too: script/spawn.h.) */
#ifndef GW_SCRIPT_EVERY_H
#define GW_SCRIPT_EVERY_H

#include "script/task.h"

typedef struct gw_job {
    gw_state *state;
    int index; /* what make_job of lua/gateway/chain.lua is told: the timer, from 1; below 0: of gateway.spawn */
    void (*ended)(struct gw_job *j); /* the run is over, and there is no other; NULL: it is a timer */
    gw_task *task;                   /* of the run under way; NULL: none */
    gw_timeout timer;                /* until the next run, or for the one under way */
    gw_later later;                  /* wakes the run */
    double seconds, jitter /* share of seconds, either way */, most /* of one run, seconds; 0: timeouts.chain */, began;
    bool each_worker, at_once;
    gw_slice source; /* "script.lua:12"; malloc'ed */
} gw_job;

/* Takes over what the script declared: list of { seconds, jitter, timeout, each_worker, at_once, source } on top of the stack, popped.
 * May raise. */
void gw_jobs_take(lua_State *L, gw_state *s);
void gw_jobs_clear(gw_state *s);

/* For script/spawn.c: a run begins, goes on after it was woken, is dropped. */
void gw_job_run(gw_job *j);
void gw_job_go(gw_job *j);
void gw_job_drop(gw_job *j);
/* The timer of a run under way: it took too long. */
void gw_job_timer(gw_timeout *t);

/* gw_generation's script_begin: timers begin. Also for a state that takes another's place. */
void gw_script_begin(void *script, gw_engine *e);
/* gw_generation's script_end: they end, at once, runs under way included. */
void gw_script_end(void *script);

#endif
