/* Endpoints that a script balances or watches by hand, known by name: what each carries, whichever generation's balancer names it.
 *
 * The balancer's table itself is made anew by each Lua state (it is immutable and computed from the script alone); live requests,
 * latencies, health and the position are here, so that they are one for all workers and outlive reloads. A record is kept as long as some
 * balancer or health object names it. Taking and giving records is under a mutex; what is in them is in atomics. */
#ifndef GW_GATEWAY_ROSTER_H
#define GW_GATEWAY_ROSTER_H

#include "base/list.h"
#include "policy/active.h"
#include "policy/balancer.h"
#include "policy/passive.h"
#include <pthread.h>

typedef struct gw_roster_entry {
    gw_load load __attribute__((aligned(GW_CACHE_LINE)));
    gw_passive passive;
    _Atomic uint64_t active; /* a gw_active, all of it in one word: any thread records */
    _Atomic uint32_t down;   /* GW_HEALTH_* bits */
    _Atomic int64_t ejected_at;
    uint32_t references;
    gw_list link;
    gw_slice name;
} gw_roster_entry;

typedef struct gw_roster {
    gw_balancer_state balance;
    _Atomic uint32_t version; /* goes up with every change of a health bit */
    pthread_mutex_t lock;
    gw_list entries;
} gw_roster;

gw_roster *gw_roster_new(void); /* NULL: memory is out */
void gw_roster_free(gw_roster *r);
/* Found or made; one more reference. NULL: memory is out. */
gw_roster_entry *gw_roster_take(gw_roster *r, gw_slice name);
void gw_roster_give(gw_roster *r, gw_roster_entry *e);

#endif
