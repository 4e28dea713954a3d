/* Counts of the data path, by route and by upstream, kept over reloads.
 *
 * A block belongs to a name (a route's label, an upstream, a limiter on a route). A generation opens the blocks that it needs while it is
 * built, finds those of the generation before, and gives them back when it is freed; so a reload loses no count. Each worker has cells of
 * its own in a block: it adds to them without atomics, a scrape sums what it reads (relaxed loads) and disturbs nobody.
 *
 *   opened by a generation ◄──────── opened again, by name ───────┐
 *        │ the last one gives it back                             │
 *        ├── counted something ──► kept, still told to scrapes ───┘   (the GW_METRICS_KEPT that went last; older ones are forgotten)
 *        └── all zero ──► freed
 *
 * No name here comes from a client, so how much there is depends on the script alone. What a client can choose are methods (those the
 * gateway knows, and OTHER) and, with a backend's help, statuses: a block has room for GW_CODES_NEAR pairs of them, and grows once, to
 * room for all, when that is not enough. */
#ifndef GW_GATEWAY_METRICS_H
#define GW_GATEWAY_METRICS_H

#include "base/list.h"
#include "gateway/exchange.h"

#define GW_DURATION_BUCKETS 12 /* the last: above all bounds */
#define GW_CODES_NEAR 32
#define GW_METRICS_KEPT 1000
#define GW_METRICS_UNMATCHED "(none)" /* the label of requests that no route took; an empty one would be none to Prometheus */
#define GW_METRICS_METHODS 10         /* GET ... TRACE, and OTHER, which is also what a head that cannot be read asked for */
#define GW_METRICS_STATUSES 501       /* 100 to 599; and 0: cut without an answer */
#define GW_METRICS_CODES (GW_METRICS_METHODS * GW_METRICS_STATUSES)

extern const double gw_duration_bounds[GW_DURATION_BUCKETS - 1]; /* seconds; a bucket has what is not above its bound */

typedef struct gw_histogram {
    uint64_t bucket[GW_DURATION_BUCKETS]; /* each by itself, not cumulated */
    uint64_t sum_ns;
} gw_histogram;

/* A request that stands for a bucket: its trace id, how long it took, when it ended. Written by any worker, under a sequence lock that
 * is only tried: who meets another passes by. */
typedef struct gw_exemplar {
    _Atomic uint32_t version; /* 0: none yet; odd: being written */
    uint32_t len;
    double seconds;
    _Atomic double at; /* loop time */
    uint64_t id[GW_REQUEST_ID_MAX / 8];
} gw_exemplar;

typedef struct gw_route_cells { /* one worker's */
    gw_histogram duration;
    uint64_t request_bytes, response_bytes; /* of bodies */
    uint64_t client_aborts;                 /* the client went away before its answer was complete */
    uint64_t cut;                           /* the answer was begun and could not be completed */
    uint16_t key[GW_CODES_NEAR];            /* 1 + place among all codes; 0: free */
    uint64_t count[GW_CODES_NEAR];
    uint64_t *more; /* GW_METRICS_CODES of them; NULL: not needed yet. Set once */
} __attribute__((aligned(GW_CACHE_LINE))) gw_route_cells;

enum gw_upstream_fault {
    GW_FAILED_CONNECT,
    GW_FAILED_RESET,
    GW_FAILED_TIMEOUT,
    GW_FAILED_RESPONSE,
    GW_FAILED_OURS,
    GW_FAILED_COUNT
};

typedef struct gw_upstream_cells {
    gw_histogram duration; /* from the first try to the end of the last */
    uint64_t failed[GW_FAILED_COUNT];
    uint64_t upstream_connects, retries, retries_refused, hedges, breaker_refused, concurrency_refused, ejected;
} __attribute__((aligned(GW_CACHE_LINE))) gw_upstream_cells;

typedef struct gw_limiter_cells {
    uint64_t refused;
} __attribute__((aligned(GW_CACHE_LINE))) gw_limiter_cells;

enum gw_metrics_kind { GW_METRICS_ROUTE, GW_METRICS_UPSTREAM, GW_METRICS_LIMITER, GW_METRICS_KINDS };

/* What all blocks begin with. */
typedef struct gw_metrics_block {
    enum gw_metrics_kind kind;
    gw_slice name, part; /* of the route or upstream; of the limiter */
    gw_slice labels;     /* as a scrape has them: route="/api" */
    uint64_t hash;
    uint32_t references;           /* of generations; 0: kept */
    uint32_t workers, scope;       /* scope: gw_registry_enter */
    gw_list link, kept;            /* all of its kind, oldest first; those that no generation has, longest without first */
    struct gw_metrics_block *next; /* with the same hash */
    uint64_t ranked;               /* requests so far, when the control thread last ranked it; and: */
    double recent, ranked_at;      /* of late, fading away over a minute; seconds of the monotonic clock */
} gw_metrics_block;

typedef struct gw_route_metrics {
    gw_metrics_block block;
    gw_exemplar exemplar[GW_DURATION_BUCKETS];
    gw_route_cells cells[];
} gw_route_metrics;

typedef struct gw_upstream_metrics {
    gw_metrics_block block;
    gw_upstream_cells cells[];
} gw_upstream_metrics;

typedef struct gw_limiter_metrics {
    gw_metrics_block block;
    gw_limiter_cells cells[];
} gw_limiter_metrics;

/* ---- control threads ---- */

/* Found or made; NULL: memory is out. */
gw_route_metrics *gw_metrics_route(gw_slice name);
gw_upstream_metrics *gw_metrics_upstream(gw_slice name);
gw_limiter_metrics *gw_metrics_limiter(gw_slice route, gw_slice name);
void gw_metrics_release(gw_metrics_block *b); /* NULL is fine */

/* Forgets what is kept for the time being: for tests that begin anew. */
void gw_metrics_forget(void);

/* Each block of a kind, oldest first, while nobody can open or release one. */
void gw_metrics_each(enum gw_metrics_kind kind, void (*visit)(const gw_metrics_block *b, void *data), void *data);
/* Adds up what the workers have. */
void gw_histogram_add(gw_histogram *sum, const gw_histogram *h);
/* Requests of a route so far. method: a name, {NULL,0} for all; status: -1 for all. */
uint64_t gw_metrics_requests(const gw_route_metrics *m, gw_slice method, int status);
/* A whole exemplar; false: there is none, or it is being written. */
bool gw_exemplar_read(const gw_exemplar *ex, char id[GW_REQUEST_ID_MAX], size_t *len, double *seconds, double *at);
/* The name and status of a code, from 0 on. */
const char *gw_metrics_code(uint32_t code, int *status);
/* All codes that were counted, summed over workers, into sums[GW_METRICS_CODES] (zeroed by the caller): marks those in `seen`, a bit each. */
void gw_metrics_codes(const gw_route_metrics *m, uint64_t *sums, uint64_t seen[(GW_METRICS_CODES + 63) / 64]);

/* ---- workers ---- */

/* One more of `seconds`; its bucket. The histogram's only writer. */
uint32_t gw_histogram_observe(gw_histogram *h, double seconds);
/* Counts an exchange that ends, once, however it ended. */
void gw_metrics_exchange(gw_exchange *x);
/* A try at the upstream failed; GW_FAULT_*. */
void gw_metrics_failed(const gw_exchange *x, uint32_t fault);
/* A limit has refused. */
void gw_metrics_limited(const gw_exchange *x, const struct gw_shared *limiter);

#endif
