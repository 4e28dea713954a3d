/* The watchdog: one thread of the process that looks at how long threads have been in Lua, and signals those that have been there too long.
 *
 * A thread that goes in and out of Lua says so by a counter of its own, odd while it is inside: one store in, one out. The watchdog looks
 * at all counters every few milliseconds. One that stands still at an odd number is measured by the thread's CPU clock, so that a thread
 * that is not given the processor is not to blame. Past its budget the thread is signalled; past the budget and GW_WATCHDOG_MERCY again and
 * again, every millisecond. What the signal does is the guard's (guard.c), on the thread itself.
 *
 *   entry even ──► odd ──── budget ────► ASKED (one signal a look) ──── mercy ────► FORCED (a signal every millisecond)
 *
 * When no counter moves for a while it sleeps until a thread that goes in wakes it: an idle gateway has no ticking thread. */
#ifndef GW_SCRIPT_WATCHDOG_H
#define GW_SCRIPT_WATCHDOG_H

#include "base/base.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>

#define GW_WATCHDOG_MERCY 5000000 /* ns of CPU between asking and forcing */

enum gw_watchdog_stage { GW_WATCHDOG_CALM, GW_WATCHDOG_ASKED, GW_WATCHDOG_FORCED };

/* One thread. The memory outlives the thread (it is used again by another), so that the watchdog may always look. */
typedef struct gw_watched {
    _Alignas(GW_CACHE_LINE) _Atomic uint64_t entry; /* odd: inside */
    _Atomic int64_t budget;                         /* ns of CPU for one entry */
    _Atomic uint64_t target;                        /* by the watchdog: the entry that is to end, */
    _Atomic uint32_t stage;                         /* how it asks, */
    _Atomic int64_t ran;                            /* and the CPU time for which it has seen it run, ns */
    _Atomic uint64_t sampled;                       /* by the watchdog: the entry that it met on its round, */
    _Atomic int64_t sample; /* and the CPU time of the thread since the round before, ns: what that entry stands for */
    /* the thread's own */
    const _Atomic int *_Atomic place; /* where in the script it is, to be sampled; NULL: nowhere */
    _Atomic int sampled_place;
    void *state;    /* whose Lua runs; NULL: none */
    uint64_t asked; /* the entry in which the hook was set */
    sigjmp_buf out;
    /* the watchdog's own */
    struct gw_watched *next;
    pthread_t thread;
    clockid_t clock;
    bool used;
    uint64_t seen;
    int64_t began, before; /* of the thread's CPU clock */
} gw_watched;

/* This thread's, joined when it comes for the first time. NULL: no memory, or no watchdog: Lua runs unguarded. */
gw_watched *gw_watchdog_here(void);
/* The same without joining; for a signal handler. */
gw_watched *gw_watchdog_known(void);
/* This thread takes the signal: also after its handler was left by a jump, since sanitizers block all signals in there. */
void gw_watchdog_listen(void);
/* Sets what the signal does; once, before the first thread joins. */
void gw_watchdog_signal_is(void (*handler)(int number, siginfo_t *info, void *context));

extern _Atomic uint32_t gw_watchdog_asleep;
void gw_watchdog_wake(void);

/* In and out. `in` gives the entry's number. */
static inline uint64_t gw_watchdog_in(gw_watched *w)
{
    uint64_t entry = atomic_load_explicit(&w->entry, memory_order_relaxed) + 1;
    /* Sequentially consistent: either the watchdog, going to sleep, sees this, or it is seen to sleep. */
    atomic_store(&w->entry, entry);
    if (gw_unlikely(atomic_load(&gw_watchdog_asleep)))
        gw_watchdog_wake();
    return entry;
}
static inline void gw_watchdog_out(gw_watched *w, uint64_t entry)
{
    atomic_store_explicit(&w->entry, entry + 1, memory_order_release);
}

#endif
