/* Balancers: which endpoint takes the next request. Selection only: health, breakers and what a request has tried already come in as
 * masks of slots that are out of the question.
 *
 *   gw_balancer_config   the algorithm and its settings                              a generation's
 *   gw_balancer_table    what an algorithm computes from the slots (ring, Maglev     immutable; made anew when endpoints or weights
 *                        table, sequence of weights); seven algorithms, one vtable   change; freed when no thread can be inside a pick
 *   gw_balancer_state    position and live requests, all in atomics                  an upstream's; outlives reloads
 *   gw_load              an endpoint's live requests, latency, time of return        an endpoint's; outlives reloads
 *
 * So a reload or a change in DNS makes a new table over the same states, and nothing starts anew. Any thread may pick and finish at any
 * time; nothing takes a lock. `now` is monotonic nanoseconds.
 *
 *     round_robin  in turn; weights do not count                              least_conn  fewest live requests for its weight
 *     weighted     nginx's smooth weighted round robin                        ewma        peak EWMA of latency, two choices
 *     hash         ring of virtual nodes, by key                              random      two choices, fewer live requests
 *     maglev       Maglev's lookup table, by key
 *
 * In each of them: a slot of weight 0 takes nothing; a group of slots is only asked when no slot of a lower group can be had; a slot in
 * its slow start takes part in a growing share of the picks. */
#ifndef GW_POLICY_BALANCER_H
#define GW_POLICY_BALANCER_H

#include "base/base.h"

typedef struct gw_balancer_ops gw_balancer_ops; /* one algorithm: balancer_parts.h */
typedef struct gw_balancer_table gw_balancer_table;

enum {
    GW_BALANCER_SLOTS_MOST = 65535,
    GW_BALANCER_WEIGHT_MOST = 1000000,
    GW_BALANCER_GROUPS_MOST = 16, /* different ones in a table */
    GW_BALANCER_NODES = 150,      /* virtual nodes a weight unit, unless told otherwise */
    GW_BALANCER_NODES_MOST = 65536,
    GW_MAGLEV_SIZE = 65537 /* entries of Maglev's table: a prime, as the paper's small table */
};

/* What an endpoint carries, whichever table names it. All zero to begin with. Give it a cache line of its own. */
typedef struct gw_load {
    _Atomic uint64_t latency;   /* ewma.c draws it; 0: nothing seen yet */
    _Atomic int64_t since;      /* when it came, or came back, ns: its slow start counts from here; 0: it has none */
    _Atomic uint32_t in_flight; /* requests picked and not done */
} gw_load;

/* What an upstream carries, whichever table is in place. */
typedef struct gw_balancer_state {
    _Atomic uint64_t cursor;
    _Atomic uint32_t in_flight; /* over all endpoints, those included that no table names any more */
} gw_balancer_state;

typedef struct gw_balancer_config {
    const gw_balancer_ops *ops;
    int64_t slow_start;     /* ns until a slot that came back has its whole share, growing linearly; 0: at once */
    int64_t decay;          /* ewma: ns in which an old latency loses all but 1/e of its weight; 10 s */
    int64_t error_penalty;  /* ewma: an error counts as an answer that took at least this long, ns; 1 s */
    uint32_t virtual_nodes; /* hash: a weight unit; GW_BALANCER_NODES */
    uint32_t load_factor; /* hash, maglev: most live requests of a slot, in percent of its fair share (above 100, as in HAProxy's
                             * hash-balance-factor); 0: unbounded */
    bool two_choices;     /* least_conn: compare two by chance, not all, even for few (beyond 64 slots it always does) */
} gw_balancer_config;

typedef struct gw_balancer_slot {
    gw_slice
        name; /* identity, no two alike: "10.0.0.1:8080". hash and maglev place the slot by it, wherever it stands in the array */
    gw_load *load;   /* outlives the table */
    uint32_t weight; /* 0: takes nothing */
    uint32_t group;  /* 0: primary; a higher one: backup */
} gw_balancer_slot;

/* A set of slots. Slots 0 to 63 are bits of `word`, the 64 from 64 on of more[0], and so on; beyond more[words - 1] no slot is in it. */
typedef struct gw_slot_mask {
    uint64_t word;
    const uint64_t *more;
    uint32_t words; /* of `more` */
} gw_slot_mask;

typedef struct gw_balancer_query {
    gw_slot_mask excluded; /* not healthy, drained, breaker open: the same for many picks */
    gw_slot_mask tried;    /* this request's own */
    uint64_t key;          /* hash, maglev: gw_balancer_key of what to hash on */
    uint64_t random;       /* 64 random bits: ewma, random, least_conn with two choices, slow start */
    int64_t now;           /* slow start, ewma */
} gw_balancer_query;

/* Defaults for an algorithm by its name. GW_NOTFOUND: there is none of that name. */
GW_API int gw_balancer_config_init(gw_balancer_config *config, const char *name);
/* Whether picks read query.key; query.random is always welcome. */
GW_API bool gw_balancer_by_key(const gw_balancer_config *config);
GW_API const char *gw_balancer_name(const gw_balancer_config *config);

/* `seed`: random bits, so that neither restarts nor the nodes of a fleet all begin with the first endpoint; 0 begins with the first. */
GW_API void gw_balancer_state_init(gw_balancer_state *state, uint64_t seed);

/* Control path. `slots` and names are borrowed for the call, loads for the table's life. Zero slots are fine. GW_LIMIT: too many slots,
 * groups or virtual nodes, or a weight too large; GW_INVALID: a load is missing, or a setting makes no sense; GW_NOMEM. */
GW_API int gw_balancer_table_new(const gw_balancer_config *config, const gw_balancer_slot *slots, uint32_t count,
                                 gw_balancer_table **out);
GW_API void gw_balancer_table_free(gw_balancer_table *table); /* NULL is fine */

/* The slot for a request, its live request counted at once; -1 when none is left. */
GW_API int gw_balancer_pick(const gw_balancer_table *table, gw_balancer_state *state, const gw_balancer_query *query);
/* The request that was picked for `load` has ended, whatever became of the table meanwhile. `latency` (ns, until the head of the answer)
 * and `ok` teach ewma; negative: there is nothing to learn (the client went away). */
GW_API void gw_balancer_done(const gw_balancer_config *config, gw_balancer_state *state, gw_load *load, int64_t now, bool ok,
                             int64_t latency);
/* It had not: what was learnt stays, and it is counted as live again. */
GW_API void gw_balancer_undone(gw_balancer_state *state, gw_load *load);

/* A key from bytes: CRC-32, spread over 64 bits by a finaliser (CRC is linear: alike keys would stand in rows). Without a seed, so that
 * all nodes of a fleet send a key to the same endpoint. */
GW_API uint64_t gw_balancer_key(const char *bytes, size_t len);

/* A mask over an array of words, slot 0 the lowest bit of the first. */
#ifndef GW_CDEF
static inline gw_slot_mask gw_slot_mask_of(const uint64_t *words, uint32_t count)
{
    return count ? (gw_slot_mask){words[0], words + 1, count - 1} : (gw_slot_mask){0, NULL, 0};
}

static inline bool gw_slot_mask_has(const gw_slot_mask *mask, uint32_t slot)
{
    if (gw_likely(slot < 64))
        return mask->word >> slot & 1;
    uint32_t at = slot / 64 - 1;
    return at < mask->words && mask->more[at] >> slot % 64 & 1;
}
#endif

#endif
