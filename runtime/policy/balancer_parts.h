/* What the files of the balancers share: the vtable, the table, and one pick on its way. For runtime/policy/ only. */
#ifndef GW_POLICY_BALANCER_PARTS_H
#define GW_POLICY_BALANCER_PARTS_H

#include "base/hash.h"
#include "policy/balancer.h"
#include <stdatomic.h>

#define GW_GOLDEN 0x9e3779b97f4a7c15ULL /* 2^64 / golden ratio, odd: its multiples are far apart */

/* How many entries of a sequence or ring a pick walks over before it goes over the slots themselves: bounds a pick while slots that hold
 * nearly all of the weight are out. */
enum { GW_WALK_MOST = 1024 };

typedef struct gw_seat { /* what picks read of a slot */
    gw_load *load;
    uint64_t identity; /* hash of its name */
    uint32_t weight;
    float per_request; /* average weight of the group over its own: what one live request weighs here */
} gw_seat;

/* Slots of one priority, those of weight 0 left out; never empty. */
typedef struct gw_balancer_group {
    uint16_t *member; /* slots, ascending */
    uint64_t *bits;   /* the same as a mask of table->words words */
    uint32_t count;
    uint32_t number;
    uint64_t weight; /* of all its members */
    void *data;      /* the algorithm's */
} gw_balancer_group;

struct gw_balancer_table {
    gw_balancer_config config;
    uint32_t slot_count;
    uint32_t words; /* of a mask over all slots */
    uint32_t group_count;
    float decay_rate;                                 /* ewma.c */
    gw_seat *seat;                                    /* by slot */
    gw_balancer_group group[GW_BALANCER_GROUPS_MOST]; /* the first choice first */
};

/* One pick in one group. */
typedef struct gw_pick {
    const gw_balancer_table *table;
    const gw_balancer_group *group;
    gw_balancer_state *state;
    const gw_balancer_query *query;
    uint64_t chance; /* what decides in a slow start: the key where there is one, so that a key goes back once and for all */
    bool open;       /* neither masks nor slow starts: every member can be had */
    bool ramp;       /* slow starts count */
} gw_pick;

struct gw_balancer_ops {
    const char *name;
    bool by_key;
    bool counts; /* pick has counted the live request itself */
    /* Of the whole table, before its groups. NULL: nothing to prepare. */
    void (*prepare)(gw_balancer_table *table);
    /* Makes group->data from the members; `slots` has their names. NULL: nothing to make. */
    int (*build)(const gw_balancer_table *table, gw_balancer_group *group, const gw_balancer_slot *slots);
    void (*release)(void *data);
    /* A member that can be had, or -1 when there is none. */
    int (*pick)(const gw_pick *p);
    /* How a request ended. NULL: nothing to learn. */
    void (*observe)(const gw_balancer_config *config, gw_load *load, int64_t now, bool ok, int64_t latency);
};

extern const gw_balancer_ops gw_round_robin_ops, gw_weighted_ops, gw_least_conn_ops, gw_hash_ops, gw_maglev_ops, gw_ewma_ops,
    gw_random_ops;

/* Whether the slow start of a slot lets this pick have it. */
bool gw_pick_warm(const gw_pick *p, uint32_t slot);
/* A member that can be had and is not `but` (-1: any), by chance in proportion to weights; over all slots, for when short ways failed. */
int gw_pick_by_weight(const gw_pick *p, int but);

/* Whether a slot can be had: asked for each candidate as it is met. */
static inline bool gw_pick_usable(const gw_pick *p, uint32_t slot)
{
    if (gw_likely(p->open))
        return true;
    if (gw_slot_mask_has(&p->query->excluded, slot) || gw_slot_mask_has(&p->query->tried, slot))
        return false;
    return !p->ramp || gw_pick_warm(p, slot);
}

static inline uint32_t gw_seat_in_flight(const gw_balancer_table *table, uint32_t slot)
{
    return atomic_load_explicit(&table->seat[slot].load->in_flight, memory_order_relaxed);
}

#endif
