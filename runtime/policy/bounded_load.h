/* Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016; HAProxy's hash-balance-factor): a slot takes no more
 * than ceil(c · m · w / W) live requests, m of them alive in all, this one included, w its weight of the W of those that can be had; a
 * key whose slot is full goes on to its next preference. For runtime/policy/. */
#ifndef GW_POLICY_BOUNDED_LOAD_H
#define GW_POLICY_BOUNDED_LOAD_H

#include "policy/balancer_parts.h"

typedef struct gw_bound {
    double per_weight; /* live requests that a unit of weight may have; below 0: unbounded */
} gw_bound;

static inline gw_bound gw_bound_of(const gw_pick *p)
{
    const gw_balancer_table *t = p->table;
    if (gw_likely(t->config.load_factor == 0))
        return (gw_bound){-1};
    uint64_t weight = p->group->weight;
    if (!p->open) {
        const gw_slot_mask *x = &p->query->excluded, *y = &p->query->tried;
        for (uint32_t i = 0; i < t->words; i++) {
            uint64_t out =
                i == 0 ? x->word | y->word : (i <= x->words ? x->more[i - 1] : 0) | (i <= y->words ? y->more[i - 1] : 0);
            for (out &= p->group->bits[i]; out; out &= out - 1)
                weight -= t->seat[i * 64 + (uint32_t)__builtin_ctzll(out)].weight;
        }
    }
    uint64_t all = (uint64_t)atomic_load_explicit(&p->state->in_flight, memory_order_relaxed) + 1;
    /* weight 0: nobody can be had, and nobody will be asked */
    return (gw_bound){weight ? (double)t->config.load_factor * (double)all / (100.0 * (double)weight) : 0};
}

/* Whether a slot is below its bound: for whole numbers, n < ceil(x) is n < x. */
static inline bool gw_bound_allows(gw_bound bound, const gw_balancer_table *table, uint32_t slot)
{
    return bound.per_weight < 0 || (double)gw_seat_in_flight(table, slot) < bound.per_weight * table->seat[slot].weight;
}

/* When the walk along a key's preferences came to its end: anybody below the bound, from a place that is the key's own; then `full`, the
 * first preference that could be had but has reached its bound; then (-1) whoever can be had. */
static inline int gw_bound_last(const gw_pick *p, gw_bound bound, int full)
{
    if (full < 0)
        return gw_pick_by_weight(p, -1);
    const gw_balancer_group *g = p->group;
    uint32_t at = (uint32_t)(gw_mix64(p->query->key) % g->count);
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t slot = g->member[at];
        if (gw_bound_allows(bound, p->table, slot) && gw_pick_usable(p, slot))
            return (int)slot;
        at = at + 1 == g->count ? 0 : at + 1;
    }
    return full;
}

#endif
