/* Upstreams and their endpoints: what a generation says of them (settings, which endpoints) and what outlives generations (state).
 *
 *   gw_upstream        owned by one generation: settings, and an atomic pointer to its present endpoint set
 *   gw_endpoint_set    immutable; swapped when a name resolves anew; freed after every worker has passed through its loop
 *   gw_endpoint        shared by all generations that name the same upstream and address: in-flight count, health bits, and each
 *                      worker's idle connections. Kept by references of sets; when the last is gone, workers close what they have
 *   gw_upstream_state  shared by all generations that name the same upstream: the balancer's position
 *
 * The registry (control threads only, under a mutex) finds endpoints and states by name. */
#ifndef GW_GATEWAY_UPSTREAM_H
#define GW_GATEWAY_UPSTREAM_H

#include "base/arena.h"
#include "base/list.h"
#include "net/address.h"
#include <stdatomic.h>

typedef struct gw_endpoint_worker { /* one worker's share of an endpoint; only that worker touches it */
    gw_list idle;                   /* idle connections, newest first */
    uint32_t uses; /* connections, idle and busy, and exchanges that name the endpoint: it stays while there are any */
    bool dropped;  /* no generation names the endpoint any more: close what becomes idle */
} __attribute__((aligned(GW_CACHE_LINE))) gw_endpoint_worker;

enum { GW_ENDPOINT_DOWN_ACTIVE = 1, GW_ENDPOINT_DOWN_PASSIVE = 2, GW_ENDPOINT_DRAINED = 4 };

typedef struct gw_upstream_state gw_upstream_state;

typedef struct gw_endpoint {
    gw_address address;
    gw_slice text;              /* "10.0.0.1:8080" */
    gw_upstream_state *state;   /* the upstream's; the endpoint holds a reference to it */
    _Atomic uint32_t in_flight; /* requests, all workers; counted at pick */
    _Atomic uint32_t down;      /* GW_ENDPOINT_DOWN_* bits; 0: healthy. Written by health checkers */
    uint32_t references;        /* of sets; under the registry's mutex */
    _Atomic uint32_t workers_left;
    uint32_t worker_count;
    gw_list link; /* in its state's list */
    gw_endpoint_worker worker[];
} gw_endpoint;

typedef struct gw_endpoint_slot {
    gw_endpoint *endpoint;
    uint32_t weight;
} gw_endpoint_slot;

typedef struct gw_endpoint_set {
    uint32_t count;
    gw_endpoint_slot slot[];
} gw_endpoint_set;

struct gw_upstream_state {
    gw_slice name;
    _Atomic uint64_t cursor; /* round robin; begins at random */
    uint32_t references;     /* of upstreams and endpoints; under the registry's mutex */
    gw_list link, endpoints; /* in the registry; its endpoints */
    uint32_t idle[];         /* idle connections of each worker: only that worker touches its own */
};

/* Picks an endpoint: selection only, knows nothing of health. `tried` has a bit for each slot that is out of the question (tried
 * already, unhealthy, breaker open); a balancer gives the best slot without its bit, or -1 when none is left. Slots from 64 on have
 * no bit: they count as not tried. */
typedef struct gw_balancer {
    const char *name;
    int (*pick)(gw_upstream_state *state, const gw_endpoint_set *set, uint64_t tried, uint64_t key);
} gw_balancer;
extern const gw_balancer gw_balancer_round_robin;

typedef struct gw_upstream_name { /* an endpoint that is a name, looked up again and again */
    const char *name;
    uint16_t port;
    uint32_t weight;
    double every;            /* seconds; 0: only at load */
    const gw_address *found; /* what the lookup at load gave, in the arena; NULL: looked up again at once */
    uint32_t found_count;
} gw_upstream_name;

typedef struct gw_upstream {
    gw_slice name;
    gw_slice source; /* "script.lua:12" */
    gw_upstream_state *state;
    _Atomic(gw_endpoint_set *) set; /* never NULL; may be empty */
    const gw_balancer *balancer;
    struct {
        double connect, first_byte, idle, total, tunnel;
    } timeouts; /* seconds; total 0: none; tunnel: idle after a 101 */
    struct {
        uint32_t idle;
        double idle_for;
        uint32_t requests;
    } pool;        /* idle: for each worker; requests: 0 is unbounded */
    gw_slice host; /* Host to send; {NULL,0}: the client's */
    /* fixed endpoints and names, as the script gave them; the control path makes sets of them */
    const gw_address *fixed;
    const uint32_t *fixed_weight;
    uint32_t fixed_count;
    const gw_upstream_name *names;
    uint32_t name_count;
    void *control; /* the supervisor's (resolve timers); NULL on the data path */
} gw_upstream;

/* ---- control path ---- */

/* Once, before anything else: how many workers there are. */
void gw_registry_init(uint32_t workers);
/* Number of workers given to gw_registry_init. */
uint32_t gw_registry_workers(void);
/* A zeroed upstream in the arena with its state found or made, an empty set and default settings. NULL: memory is out. */
gw_upstream *gw_upstream_new(gw_arena *arena, gw_slice name);
/* A set from addresses and weights (doubles are merged), endpoints found or made. NULL: memory is out. */
gw_endpoint_set *gw_endpoint_set_new(const gw_upstream *u, const gw_address *addresses, const uint32_t *weights, uint32_t count);
/* Puts a new set in place; returns the old one, to be freed with gw_endpoint_set_free when every worker has passed its loop. */
gw_endpoint_set *gw_upstream_swap(gw_upstream *u, gw_endpoint_set *set);
/* Gives the references back. Endpoints that nobody names any more are handed to `orphan` (unless NULL: then freed at once, which only is
 * right when no worker ever saw them): their workers must run gw_endpoint_drop, the last frees it. */
void gw_endpoint_set_free(gw_endpoint_set *set, void (*orphan)(gw_endpoint *e, void *data), void *data);
/* One worker has no more use of an endpoint that nobody names; the last one frees it. Any thread. */
void gw_endpoint_worker_done(gw_endpoint *e);
/* Gives the state and the present set back (the memory of *u is the arena's). */
void gw_upstream_release(gw_upstream *u, void (*orphan)(gw_endpoint *e, void *data), void *data);

#endif
