/* State that a script names and that outlives generations: limiters, breakers, dictionaries, shared by all workers.
 *
 * A piece of state is known by what it is called (`word`, "rate_limit") and by its name ("api", or "gateway.lua:12" where the script gave
 * none). A load opens what its script declares: it finds what is there already, or makes it. Settings stay as they are until the
 * generation is applied; so a load that is refused changes nothing.
 *
 *   opened again, settings the same, or such that can change in place     the same object; gw_shared_apply changes it
 *   opened with settings that need another object (the size of a          a new object, next to the old one, which old generations
 *   table, what it counts by)                                             go on using; gw_shared_apply takes over what still means
 *                                                                         something, and says what does not
 *
 * References: of generations, and of Lua states that hold a pointer. The last one frees. The registry is under a mutex: control threads, and
 * workers when they drop a Lua state, never a request. */
#ifndef GW_GATEWAY_SHARED_H
#define GW_GATEWAY_SHARED_H

#include "base/list.h"
#include "gateway/roster.h"
#include "policy/breaker_table.h"
#include "policy/client_limiter.h"
#include "policy/concurrency.h"
#include "policy/dictionary.h"
#include "policy/sliding_window.h"
#include "policy/token_bucket.h"

enum gw_shared_kind {
    GW_SHARED_TOKEN_BUCKET,
    GW_SHARED_CLIENT_LIMITER,
    GW_SHARED_WINDOW,
    GW_SHARED_KEYED_WINDOW,
    GW_SHARED_CONCURRENCY,
    GW_SHARED_KEYED_CONCURRENCY,
    GW_SHARED_BREAKER,
    GW_SHARED_BREAKERS,
    GW_SHARED_ROSTER, /* endpoints of a balancer or of health by hand */
    GW_SHARED_DICTIONARY,
    GW_SHARED_KINDS
};

typedef struct gw_shared_config {
    int kind;                    /* enum gw_shared_kind */
    uint32_t keys;               /* most that a keyed one knows */
    double rate, burst, idle;    /* token bucket, client limiter */
    uint32_t limit;              /* windows: requests; concurrency: in flight */
    double window;               /* seconds */
    gw_breaker_settings breaker; /* breaker, breakers */
    size_t bytes;                /* dictionary */
    gw_slice by;                 /* what keys are: "header:x-api-key". Keys of another kind mean nothing */
} gw_shared_config;

typedef struct gw_shared {
    union {
        void *object;
        gw_token_bucket *bucket;
        gw_client_limiter *clients;
        gw_sliding_window *window;
        gw_keyed_window *keyed_window;
        gw_concurrency *concurrency;
        gw_keyed_concurrency *keyed_concurrency;
        gw_breaker *breaker;
        gw_breakers *breakers;
        gw_roster *roster;
        gw_dictionary *dictionary;
    };
    gw_slice word, name;
    gw_shared_config config; /* as applied last; control threads, under the mutex */
    uint64_t hash;           /* of word and name */
    uint64_t applied;        /* goes up with each that is applied; 0: not yet */
    uint32_t references;
    struct gw_shared *before; /* kept because this one counts what is still in flight there; NULL: none */
    gw_list link;
    _Atomic uint64_t refused __attribute__((aligned(GW_CACHE_LINE))); /* requests that it refused, since it was made */
} gw_shared;

typedef struct gw_shared_use {
    gw_shared *shared;
    gw_shared_config config; /* `by` in the arena */
} gw_shared_use;

/* Found or made; one more reference. NULL: *status is GW_NOMEM, or GW_INVALID for settings that make no sense. Any thread. */
gw_shared *gw_shared_open(gw_slice word, gw_slice name, const gw_shared_config *config, int *status);
/* One that nobody else can find (word and name empty), for scripts outside a gateway. */
gw_shared *gw_shared_private(const gw_shared_config *config, int *status);
void gw_shared_release(gw_shared *s); /* NULL is fine */

/* The generation that opened it with these settings serves from now on. What began anew though there was one of that name is told in
 * `message` (empty: nothing). Control thread. `now`: monotonic ns. */
void gw_shared_apply(gw_shared *s, const gw_shared_config *config, int64_t now, char *message, size_t message_bytes);

/* "token_bucket", "client_limiter", "sliding_window", "keyed_window", "concurrency", "keyed_concurrency", "breaker", "breakers", "endpoints",
 * "dictionary". */
const char *gw_shared_kind_name(int kind);
int gw_shared_kind_of(const char *name); /* GW_NOTFOUND: none is called that (or name is NULL) */

#endif
