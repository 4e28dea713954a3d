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
#include "policy/active.h"
#include "policy/adaptive.h"
#include "policy/balancer.h"
#include "policy/breaker.h"
#include "policy/concurrency.h"
#include "policy/passive.h"
#include "policy/retry_budget.h"
#include <stdatomic.h>

typedef struct gw_endpoint_worker {   /* one worker's share of an endpoint; only that worker touches it */
    gw_list idle;                     /* idle connections, newest first */
    uint32_t connections, idle_count; /* idle and busy; idle. Written by the worker, read by scrapes (relaxed) */
    uint32_t uses;          /* connections, idle and busy, and exchanges that name the endpoint: it stays while there are any */
    bool dropped;           /* no generation names the endpoint any more: close what becomes idle */
    uint64_t tries, failed; /* begun; that failed, or were answered with 500 and above. Read as `connections` */
} __attribute__((aligned(GW_CACHE_LINE))) gw_endpoint_worker;

typedef struct gw_upstream_state gw_upstream_state;

typedef struct gw_endpoint {
    gw_address address;
    gw_slice text;              /* "10.0.0.1:8080" */
    gw_upstream_state *state;   /* the upstream's; the endpoint holds a reference to it */
    _Atomic uint32_t down;      /* GW_HEALTH_* bits; 0: healthy. Any thread, by atomic or/and; then gw_upstream_health_changed */
    _Atomic int64_t ejected_at; /* passively, ns */
    gw_load load __attribute__((aligned(GW_CACHE_LINE))); /* requests in flight, all workers, counted at pick; latency */
    gw_breaker breaker;                                   /* used when the upstream has one; rules are the state's */
    gw_passive passive;
    gw_active active; /* the prober's */
    void *prober;     /* the prober's own record; control thread */
    /* Changes of its health bits so far: the prober's, and ejections, which workers count. Read by anyone, relaxed. Those of its breaker
     * stand there. */
    _Atomic uint32_t active_downs, active_ups, ejections, ejections_over;
    uint32_t references; /* of sets; under the registry's mutex */
    bool lone;           /* one worker's own, in no registry: origin.c */
    _Atomic uint32_t workers_left;
    uint32_t worker_count;
    gw_list link; /* in its state's list */
    gw_endpoint_worker worker[];
} gw_endpoint;

typedef struct gw_endpoint_slot {
    gw_endpoint *endpoint;
    uint32_t weight;
    uint32_t group; /* 0: primary; 1: backup */
} gw_endpoint_slot;

typedef struct gw_endpoint_set {
    gw_balancer_table *table;
    _Atomic uint64_t *excluded;   /* (count + 63) / 64 words: who takes no requests now, by health */
    _Atomic uint32_t eligible;    /* endpoints that are not excluded */
    _Atomic uint32_t health_seen; /* the state's health_version that `excluded` was worked out for */
    uint32_t count;
    gw_endpoint_slot slot[];
} gw_endpoint_set;

struct gw_upstream_state {
    gw_slice name;
    gw_balancer_state balance; /* position; begins at random */
    gw_retry_budget budget;
    gw_breaker_rules breaker_rules;
    gw_concurrency concurrency;
    gw_list adaptives;               /* adaptive limits, one for each group of settings that a generation names */
    const gw_adaptive *adaptive_now; /* those that apply: control thread */
    int64_t passive_window;          /* the same */
    bool adopted;                    /* the same: some generation has applied */
    _Atomic uint32_t health_version; /* goes up with every change of a health bit */
    uint32_t references;             /* of upstreams and endpoints; under the registry's mutex */
    uint32_t scope;
    gw_list link, endpoints; /* in the registry; its endpoints */
    gw_list drained;         /* marks of gw_upstream_drain, oldest first; under the registry's mutex */
    uint32_t drained_count;
    uint64_t generation; /* number of the last that has it: control thread */
    uint32_t idle[];     /* idle connections of each worker: only that worker touches its own */
};

/* What a key for hash and maglev is made of. */
enum gw_hash_on { GW_HASH_ON_IP, GW_HASH_ON_PATH, GW_HASH_ON_HEADER, GW_HASH_ON_COOKIE, GW_HASH_ON_QUERY, GW_HASH_ON_SCRIPT };

/* Active probes. */
typedef struct gw_probe_spec {
    bool on, tcp; /* tcp: a connection that opens is enough */
    gw_slice method, path, host;
    const gw_slice *headers; /* name, value, name, value, ... */
    uint32_t header_count;   /* pairs */
    uint64_t expect[10];     /* bit s % 64 of expect[s / 64]: status s is well, 0 to 639 */
    gw_slice body;           /* the body has to contain it (within its first 64 KB); {NULL,0}: whatever */
    double timeout;          /* seconds, the whole probe */
    gw_active_config timing;
} gw_probe_spec;

enum { GW_RETRY_CONNECT = 1, GW_RETRY_RESET = 2, GW_RETRY_TIMEOUT = 4 };

typedef struct gw_retry_spec {
    uint32_t attempts;            /* tries in all; 1: no retry (a connect error still goes to another endpoint, as ever) */
    uint32_t on;                  /* GW_RETRY_* */
    uint64_t statuses[10];        /* as gw_probe_spec's expect */
    bool non_idempotent;          /* POST and PATCH too */
    double per_try;               /* seconds until the head of the answer; 0: first_byte */
    double backoff, backoff_most; /* seconds; 0: at once */
    double hedge;                 /* seconds until a second try begins beside the first; 0: never */
    uint64_t body_bytes;          /* a request body up to this length is kept for a repeat */
    gw_retry_budget_config budget;
} gw_retry_spec;

typedef struct gw_upstream_name { /* an endpoint that is a name, looked up again and again */
    const char *name;
    uint16_t port;
    uint32_t weight, group;
    double every;            /* seconds; 0: only at load */
    const gw_address *found; /* what the lookup at load gave, in the arena; NULL: looked up again at once */
    uint32_t found_count;
} gw_upstream_name;

typedef struct gw_upstream {
    gw_slice name;
    gw_slice source; /* "script.lua:12" */
    gw_upstream_state *state;
    struct gw_upstream_metrics *metrics; /* of its name */
    _Atomic(gw_endpoint_set *) set;      /* never NULL; may be empty */
    gw_balancer_config balance;
    bool by_chance; /* picks want random bits */
    bool by_key;    /* picks want a key, made of: */
    enum gw_hash_on hash_on;
    gw_slice hash_name; /* of the header, cookie or query parameter */
    gw_health_config health;
    gw_probe_spec probe;
    bool passive_on;
    gw_passive_config passive;
    bool breaker_on;
    gw_breaker_settings breaker;
    uint64_t
        breaker_statuses[10]; /* what counts as a failure beside connect errors, resets and timeouts; 500 to 599 by default */
    gw_retry_spec retry;
    bool watched; /* something learns from how tries end: breakers, passive health, ewma, retries, an adaptive limit */
    bool guarded; /* has retries, a concurrency limit or an adaptive one: gw_attempt_enter has something to do */
    uint32_t concurrency_most; /* requests in flight over all endpoints: 503 past it; 0: unbounded */
    gw_adaptive *adaptive;     /* the state's; NULL: none. Made by gw_upstream_adaptive */
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
    const uint32_t *fixed_weight, *fixed_group;
    uint32_t fixed_count;
    const gw_upstream_name *names;
    uint32_t name_count;
} gw_upstream;

/* ---- control path ---- */

/* Once, before anything else: how many workers there are. */
void gw_registry_init(uint32_t workers);
/* Number of workers given to gw_registry_init. */
uint32_t gw_registry_workers(void);
/* For tests that run several gateways on one thread: what is opened from here on (also gateway/shared.h) is found only by those of the
 * same scope. 0 at first. */
void gw_registry_enter(uint32_t scope);
uint32_t gw_registry_scope(void);
/* A zeroed upstream in the arena with its state found or made, an empty set and default settings. NULL: memory is out. */
gw_upstream *gw_upstream_new(gw_arena *arena, gw_slice name);
/* An adaptive limit with these settings, found or made. GW_OK, GW_INVALID or GW_NOMEM. */
int gw_upstream_adaptive(gw_upstream *u, const gw_adaptive_settings *settings);
/* A set from addresses, weights and groups (doubles are merged), endpoints found or made; after balance and health are set. NULL: memory is
 * out, or the balancer cannot have so many. */
gw_endpoint_set *gw_endpoint_set_new(const gw_upstream *u, const gw_address *addresses, const uint32_t *weights,
                                     const uint32_t *groups, uint32_t count);
/* Settings that live in the state (breaker rules, concurrency, adaptive) become this upstream's. On apply, on the control thread; what was
 * reset because it no longer means anything is named in `message` (empty: nothing). */
void gw_upstream_adopt(gw_upstream *u, char *message, size_t message_bytes);
/* A health bit of one of its endpoints changed: who is excluded is worked out anew, in this upstream now, in those of other generations
 * before their next pick. Any thread that may read u->set. */
void gw_upstream_health_changed(gw_upstream *u);
/* Works out who is excluded from `set`, if health bits changed since. */
void gw_upstream_health_look(const gw_upstream *u, gw_endpoint_set *set);
static inline bool gw_upstream_health_moved(const gw_upstream *u, const gw_endpoint_set *set)
{
    return atomic_load_explicit(&set->health_seen, memory_order_relaxed) !=
           atomic_load_explicit(&u->state->health_version, memory_order_relaxed);
}
#define GW_DRAINED_MOST 1024 /* marks of an upstream; beyond, the oldest of an endpoint that is not there is forgotten */
/* Drains an endpoint by hand, or takes that back. It is known by its address, for as long as the current generation has an upstream of
 * that name: an endpoint that goes (its name resolves to others, a reload takes it out) and comes back is still drained. GW_OK; GW_AGAIN:
 * it was so already; GW_NOTFOUND: no endpoint has that address, nor a mark; GW_NOMEM. `in_flight`: what it still has to do. */
int gw_upstream_drain(gw_upstream *u, gw_slice address, bool drain, uint32_t *in_flight);
/* Forgets all marks: the current generation has no upstream of that name any more. */
void gw_upstream_forget_drained(gw_upstream *u);
/* Tells the addresses of marks whose endpoints are not there now. */
void gw_upstream_drained_away(const gw_upstream *u, void (*each)(gw_slice address, void *data), void *data);
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
