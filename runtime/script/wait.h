/* What a task waits for: timers and fetches, in C's memory, so that they can be cancelled when the Lua state is gone.
 *
 *   gw_waiting   one a task that waits; made at its first wait, gone when the task's work is over. It stands in the state's list of losers
 *   gw_wait      one thing that is waited for; belongs to a gw_waiting
 *
 * When a wait is over, the task is woken: from the loop's top, so that C never enters Lua from within. */
#ifndef GW_SCRIPT_WAIT_H
#define GW_SCRIPT_WAIT_H

#include "script/guard.h"
#include "script/task.h"

typedef struct gw_waiting {
    gw_loser loser;
    gw_state *state;
    gw_exchange *exchange; /* to be woken; NULL: a timer's run, by: */
    gw_later *later;
    gw_list waits;
    uint32_t count; /* of waits */
    bool finals;    /* exchange->finals is this task */
} gw_waiting;

typedef struct gw_wait {
    gw_list link;
    gw_waiting *owner;
    gw_timeout timer;
    void (*end)(struct gw_wait *w); /* what else it holds is let go; NULL: nothing */
    void *held;                     /* that */
    bool over;
} gw_wait;

void gw_waits_init(gw_state *s);
/* After the losers were told. */
void gw_waits_clear(gw_state *s);

/* A wait of the task that runs, not begun. NULL: s->waits.status says why. */
gw_wait *gw_wait_new(gw_state *s);
/* It has come: the task is woken. */
void gw_wait_over(gw_wait *w);
void gw_wait_end(gw_wait *w);

/* NULL: memory is out. */
gw_waiting *gw_waiting_of(gw_task *t);
/* Cancels all that a task waits for. */
void gw_waiting_clear(gw_waiting *waiting);
/* The same, and the record of it goes, too. */
void gw_waiting_end(gw_waiting *waiting);
static inline void gw_task_waits_no_more(gw_task *t)
{
    if (gw_unlikely(t->waiting != NULL)) {
        gw_waiting_end(t->waiting);
        t->waiting = NULL;
    }
}

#endif
