/* The engine: everything that one worker owns on the data path. One thread, one loop, no locks. */
#ifndef GW_GATEWAY_ENGINE_H
#define GW_GATEWAY_ENGINE_H

#include "base/buffer.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/slab.h"
#include "gateway/generation.h"
#include "gateway/slow.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/stream.h"

#define GW_SCRATCH_BYTES 65536
#define GW_DETACHED_MOST 1000 /* of one worker at a time */
#define GW_ARENAS_KEPT 64

typedef struct gw_counters { /* written by the worker only, read by anyone (relaxed) */
    uint64_t connections_accepted, connections_active, requests, responses[6] /* by hundreds; 0: ended without one */,
        upstream_connects, upstream_reused, upstream_errors, retries, bytes_in, bytes_out, client_aborts, out_of_memory, upgrades;
    uint64_t retries_refused /* by the budget */, hedges, breaker_refused /* picks */, concurrency_refused,
        ejected /* endpoints */, breaker_opened /* again, too */, breaker_closed;
    uint64_t lua_errors /* that ended a request's chain */, lua_overran /* entries that were stopped for running too long */,
        lua_states_lost, lua_states_made /* in their place */;
} gw_counters;

/* Work of a script that belongs to no request. It holds its generation as a request does, and draining waits for it. */
typedef struct gw_detached {
    gw_list link;
    gw_generation *generation;
    void (*end)(struct gw_detached *d); /* at once: the worker stops. Calls gw_engine_undetach */
} gw_detached;

typedef struct gw_engine {
    gw_loop *loop;
    struct ev_loop *ev;
    uint32_t index;
    bool draining;                     /* answer with Connection: close, close what is idle */
    struct gw_staging *staged;         /* a candidate takes some clients (gateway/staging.h); NULL: none does */
    _Atomic(gw_generation *) *current; /* the process's one pointer */
    gw_log_ring *log;
    gw_log_ring *spans;  /* NULL: nothing is exported */
    gw_log_ring *access; /* access lines that do not go where events go; NULL: there is none such */
    gw_buffer_pool buffers;
    gw_slab clients, exchanges, upconns;
    gw_list client_list;   /* every client connection */
    gw_list exchange_list; /* every exchange under way */
    gw_list upconn_list;   /* every upstream connection */
    gw_list detached_list; /* every gw_detached */
    uint32_t detached_count;
    gw_arena arenas[GW_ARENAS_KEPT]; /* of exchanges that ended, each with a block, so that scripts' strings need no malloc */
    uint32_t arena_count;
    gw_random random;
    double date_at; /* second for which `date` was made */
    char date[30];
    double wall_at, wall_ahead; /* loop time when the wall clock was read last, and by how much it was ahead */
    double memory_told;         /* when the log last said that memory ran out */
    gw_slow slow;               /* the slowest requests of late */
    gw_counters counters __attribute__((aligned(GW_CACHE_LINE)));
    struct gw_fetches *fetches; /* what scripts fetch (fetch.h); NULL: nothing yet */
    void (*idle)(
        struct gw_engine *e);       /* told when draining, and the last client connection and the last detached work have gone */
    void *owner;                    /* the worker */
    struct gw_recent *recent;       /* request heads that are kept; NULL: none yet */
    struct gw_remake *remake;       /* the script floor's: makes Lua states anew; NULL: nobody does */
    char scratch[GW_SCRATCH_BYTES]; /* where heads are written before they go out */
} gw_engine;

/* 0 or GW_NOMEM. The loop, log ring and pointer are the caller's. */
int gw_engine_init(gw_engine *e, uint32_t index, gw_loop *loop, gw_log_ring *log, _Atomic(gw_generation *) *current);
/* Closes every connection at once (exchanges are aborted and logged) and frees all. */
void gw_engine_clear(gw_engine *e);

/* Takes an accepted descriptor; a gw_listener's `accept` with the engine as owner. */
void gw_engine_accept(gw_listener *l, int fd, const gw_address *peer);
/* Draining begins: idle client connections close now, the others after their response. */
void gw_engine_drain(gw_engine *e);
/* The generation is current: its timers begin. On the worker's thread. */
void gw_engine_begin(gw_engine *e, gw_generation *g);
/* The generation is no longer current: drop this worker's part as soon as nothing uses it. On the worker's thread. */
void gw_engine_retire(gw_engine *e, gw_generation *g);
/* Takes its place among what is under way, and a reference of its generation; GW_LIMIT: there is too much. Gives both back. */
int gw_engine_detach(gw_engine *e, gw_detached *d);
void gw_engine_undetach(gw_engine *e, gw_detached *d);
/* Whether draining has nothing to wait for any more. */
static inline bool gw_engine_is_idle(const gw_engine *e)
{
    return gw_list_empty(&e->client_list) && gw_list_empty(&e->detached_list);
}
/* Client connections accepted on `at` close as after draining (their listener was removed). */
void gw_engine_close_listener(gw_engine *e, const gw_listener *l);
/* This worker's idle connections to an endpoint that nobody names any more close; the last worker frees it. */
void gw_endpoint_drop(gw_engine *e, gw_endpoint *endpoint);

/* Memory ran out: counted, and `message` goes to the log, at most once a second. True: a line is due; with NULL the caller writes it. */
bool gw_engine_out_of_memory(gw_engine *e, const char *message);

/* "Sat, 31 Jan 2026 12:00:00 GMT", made once a second. */
/* Seconds since 1970 at this loop turn; the clock itself is read every half second. */
double gw_engine_wall(gw_engine *e);
const char *gw_engine_date(gw_engine *e);

#endif
