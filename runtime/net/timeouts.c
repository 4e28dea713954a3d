/* Timeouts: a hierarchical timing wheel (Varghese and Lauck, 1987) under one ev_timer.
 *
 * Ticks are 1/1024 s. Level 0 has a slot for each of the 64 ticks of the hand's own block, level 1 for each of the 64 blocks of the
 * next larger block, and so on: a timeout stands on the level of the highest group of 6 bits in which its tick differs from the
 * hand's. Hence three things that always hold, and that everything below leans on:
 *   - every filled slot lies after the hand's own slot of its level and in the same block of the level above;
 *   - so whatever stands on a lower level is due before whatever stands on a higher one;
 *   - `wake` is not after the first tick of any filled slot.
 * When the hand comes to a slot of a higher level, its timeouts are put in anew and so come to lower levels.
 *
 * Lazy: disarming only unlinks; the slot's bit stays set and the timer stays armed until it finds the slot empty. */
#include "net/timeouts.h"
#include <math.h>

#define TICKS 1024.0
#define BITS 6
#define MOST_TICKS ((INT64_C(1) << (BITS * (GW_WHEEL_LEVELS - 1))) - 1) /* two years: what is longer is cut */

void gw_timeout_init(gw_timeout *t, void (*expired)(gw_timeout *))
{
    gw_list_init(&t->link);
    t->at = 0;
    t->expired = expired;
}

void gw_timeout_disarm(gw_timeout *t)
{
    gw_list_remove(&t->link);
}

static void wheel_timer_set(gw_loop *loop, int64_t tick)
{
    if (loop->wake == tick)
        return;
    loop->wake = tick;
    if (gw_unlikely(loop->manual))
        return;
    ev_timer_stop(loop->ev, &loop->wheel_timer);
    if (tick == INT64_MAX)
        return;
    double after = (double)tick / TICKS - loop->now;
    ev_timer_set(&loop->wheel_timer, after > 0 ? after : 0., 0.);
    ev_timer_start(loop->ev, &loop->wheel_timer);
}

/* Puts an unlinked timeout into the wheel; returns the first tick of its slot. */
static inline int64_t wheel_put(gw_loop *loop, gw_timeout *t)
{
    int64_t due = (int64_t)(t->at * TICKS) + 1; /* rounded up: never early */
    if (gw_unlikely(due <= loop->tick))
        due = loop->tick + 1;
    int level = (63 - __builtin_clzll((uint64_t)(due ^ loop->tick))) / BITS;
    int slot = (int)(due >> (BITS * level)) & (GW_WHEEL_SLOTS - 1);
    gw_list_push_back(&loop->wheel[level][slot], &t->link);
    loop->filled[level] |= UINT64_C(1) << slot;
    return due >> (BITS * level) << (BITS * level);
}

void gw_timeout_arm(gw_loop *loop, gw_timeout *t, double seconds)
{
    gw_list_remove(&t->link);
    if (!(seconds > 0))
        return;
    if (gw_unlikely(seconds > (double)MOST_TICKS / TICKS))
        seconds = (double)MOST_TICKS / TICKS;
    t->at = loop->now + seconds;
    int64_t first = wheel_put(loop, t);
    if (gw_unlikely(first < loop->wake))
        wheel_timer_set(loop, first);
}

/* The earliest slot that has its bit set: its first tick, or INT64_MAX. */
static int64_t wheel_next(const gw_loop *loop, int *level, int *slot)
{
    for (int l = 0; l < GW_WHEEL_LEVELS; l++) {
        if (!loop->filled[l])
            continue;
        *level = l;
        *slot = __builtin_ctzll(loop->filled[l]);
        int shift = BITS * l;
        return (loop->tick >> (shift + BITS) << (shift + BITS)) | (int64_t)*slot << shift;
    }
    return INT64_MAX;
}

/* Moves all of `from` to `to`, which need not be initialised. */
static void take_all(gw_list *from, gw_list *to)
{
    gw_list_init(to);
    if (gw_list_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    gw_list_init(from);
}

/* Moves the hand to this turn's tick; what is due on the way goes to `due` in order of its ticks. */
static void wheel_advance(gw_loop *loop, gw_list *due)
{
    int level = 0, slot = 0;
    int64_t first;
    while ((first = wheel_next(loop, &level, &slot)) <= loop->now_tick) {
        gw_list here;
        take_all(&loop->wheel[level][slot], &here);
        loop->filled[level] &= ~(UINT64_C(1) << slot);
        loop->tick = first;
        while (!gw_list_empty(&here)) {
            gw_timeout *t = gw_container_of(here.next, gw_timeout, link);
            gw_list_remove(&t->link);
            if ((int64_t)(t->at * TICKS) + 1 <= first)
                gw_list_push_back(due, &t->link);
            else
                wheel_put(loop, t);
        }
    }
    if (loop->tick < loop->now_tick)
        loop->tick = loop->now_tick;
    wheel_timer_set(loop, first);
}

void gw_loop_wheel_expire(gw_loop *loop)
{
    gw_list due;
    gw_list_init(&due);
    loop->wake = INT64_MIN; /* the timer has stopped: it is to be set again, if only for the same tick */
    wheel_advance(loop, &due);
    /* A handler may disarm or move any timeout, also those still waiting here: only the head is looked at, anew each time. */
    while (!gw_list_empty(&due)) {
        gw_timeout *t = gw_container_of(due.next, gw_timeout, link);
        gw_list_remove(&t->link);
        t->expired(t);
    }
}

static void on_wheel_timer(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    gw_loop_wheel_expire(gw_container_of(timer, gw_loop, wheel_timer));
}

void gw_loop_wheel_init(gw_loop *loop)
{
    for (int l = 0; l < GW_WHEEL_LEVELS; l++)
        for (int s = 0; s < GW_WHEEL_SLOTS; s++)
            gw_list_init(&loop->wheel[l][s]);
    loop->tick = loop->now_tick = (int64_t)(loop->now * TICKS);
    loop->wake = INT64_MAX;
    ev_timer_init(&loop->wheel_timer, on_wheel_timer, 0., 0.);
    /* After a stall (a stopped process, a starved machine) what has arrived in time is read before deadlines are judged. */
    ev_set_priority(&loop->wheel_timer, EV_MINPRI);
}

void gw_loop_wheel_turn(gw_loop *loop)
{
    loop->now_tick = (int64_t)(loop->now * TICKS);
    /* With nothing due before, the hand can be moved past empty slots for free, so that arming finds low levels. */
    if (loop->now_tick < loop->wake)
        loop->tick = loop->now_tick;
}

double gw_loop_due(const gw_loop *loop)
{
    return loop->wake == INT64_MAX ? INFINITY : (double)loop->wake / TICKS;
}

/* What is still armed is unlinked, so that disarming it later touches no freed list. */
void gw_loop_wheel_clear(gw_loop *loop)
{
    ev_timer_stop(loop->ev, &loop->wheel_timer);
    for (int l = 0; l < GW_WHEEL_LEVELS; l++)
        for (int s = 0; s < GW_WHEEL_SLOTS; s++)
            while (!gw_list_empty(&loop->wheel[l][s]))
                gw_list_remove(loop->wheel[l][s].next);
}
