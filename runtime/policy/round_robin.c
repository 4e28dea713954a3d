/* Round robin: one shared cursor, whichever worker asks, so that the sequence is one for the whole node. */
#include "policy/balancer_parts.h"

/* The cursor is the member whose turn it is; it moves behind the one that was taken, over those that are out, so that whoever stands
 * behind a gap does not get the gap's share too. One compare-and-swap a pick: the picks of all threads make the very sequence that one
 * thread's would. A cursor beyond the end (at first, or when members left) counts modulo. */
static int pick(const gw_pick *p)
{
    const gw_balancer_group *g = p->group;
    uint64_t cursor = atomic_load_explicit(&p->state->cursor, memory_order_relaxed);
    for (;;) {
        uint32_t from = (uint32_t)(gw_likely(cursor < g->count) ? cursor : cursor % g->count), at = from;
        while (!gw_pick_usable(p, g->member[at])) {
            at = at + 1 == g->count ? 0 : at + 1;
            if (at == from)
                return -1;
        }
        uint64_t next = at + 1 == g->count ? 0 : at + 1;
        if (atomic_compare_exchange_weak_explicit(&p->state->cursor, &cursor, next, memory_order_relaxed, memory_order_relaxed))
            return g->member[at];
    }
}

const gw_balancer_ops gw_round_robin_ops = {.name = "round_robin", .pick = pick};
