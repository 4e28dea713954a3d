/* A generation: one load of the script, checked whole, immutable, shared by all workers (each with its own Lua state).
 *
 * Life:  building (control thread) → current (one atomic store) → retired → each worker's last request ends → freed.
 * A worker takes the current pointer when a request's head is complete and counts one reference in its own slot; it gives it back
 * when the exchange ends. When told that a generation is retired and its own count is 0, it drops its Lua state and counts
 * workers_left down; whoever brings that to 0 posts the generation to the control thread, which frees it. */
#ifndef GW_GATEWAY_GENERATION_H
#define GW_GATEWAY_GENERATION_H

#include "base/arena.h"
#include "base/log.h"
#include "gateway/access_log.h"
#include "gateway/plugin_counters.h"
#include "gateway/router.h"
#include "gateway/trace.h"
#include "gateway/upstream.h"
#include "net/address.h"

struct gw_engine;
struct gw_exchange;
typedef struct gw_generation gw_generation;
typedef struct gw_route gw_route;

/* A fixed answer, made at load. */
typedef struct gw_answer {
    int status;
    gw_slice body;
    const gw_header_condition *headers; /* name, value */
    uint32_t header_count;
} gw_answer;

enum gw_target_kind { GW_TARGET_NONE, GW_TARGET_UPSTREAM, GW_TARGET_ANSWER, GW_TARGET_SPLIT, GW_TARGET_SCRIPT };

typedef struct gw_target {
    enum gw_target_kind kind;
    union {
        gw_upstream *upstream;
        const gw_answer *answer;
        struct {
            const struct gw_share *share;
            uint32_t count;
            uint64_t total;
        } split;
    }; /* SCRIPT: the chain's end decides, in Lua */
} gw_target;

typedef struct gw_share { /* one arm of a split: taken when a random number below total falls below `until` */
    uint64_t until;
    gw_target target; /* UPSTREAM or ANSWER */
} gw_share;

/* What the script floor does for a route that has Lua in it. All run on the worker's thread. */
enum gw_chain_verdict {
    GW_CHAIN_FORWARD, /* next() was reached at the end of the chain and Lua waits for the response head: call resume with it */
    GW_CHAIN_FORWARD_ONLY, /* reached by tail calls: no Lua is left, the response needs none */
    GW_CHAIN_RESPOND,      /* the script made a response: x->reply is filled */
    GW_CHAIN_PASS, /* (after resume) the response goes out as x->response now stands, or as x->reply when its body was replaced */
    GW_CHAIN_WAIT, /* Lua waits for something that will call gw_exchange_wake; nothing to do until then */
    GW_CHAIN_FAILED,     /* error: logged by the script floor; answer 500 */
    GW_CHAIN_UNAVAILABLE /* there is no Lua to run it just now: answer 503 */
};
typedef struct gw_chain_ops {
    enum gw_chain_verdict (*start)(struct gw_exchange *x); /* sets x->task when it keeps something */
    enum gw_chain_verdict (*resume)(
        struct gw_exchange *x);            /* response head is in x->response (or x->reply: made by the gateway) */
    void (*cancel)(struct gw_exchange *x); /* the exchange ends, or waited too long, while x->task is set: drop the coroutine */
    void (*finish)(struct gw_exchange *x); /* the exchange ends with x->finals set: run them */
} gw_chain_ops;

/* A limit on a route, met without entering Lua. The object is shared by all generations that name it (gateway/limit.h). */
typedef struct gw_limit gw_limit;
typedef struct gw_limit_use {
    gw_limit *limit;
    int by;           /* enum gw_limit_by */
    gw_slice by_name; /* of the header, cookie or query parameter */
    bool headers;     /* RateLimit fields in the answer */
    int status;       /* of a refusal */
} gw_limit_use;

/* A limiter that stands on a route, in C or in its chain, and where its refusals there are counted. */
typedef struct gw_limited {
    const struct gw_shared *limiter;
    struct gw_limiter_metrics *metrics;
} gw_limited;

struct gw_route {
    const gw_limit_use *limits; /* those before the first Lua function, in order */
    uint32_t limit_count;
    gw_match match;
    gw_slice name; /* label in logs and metrics: the `name` option or the pattern */
    gw_target target;
    int32_t chain; /* index of its chain in each worker's script; -1: no Lua */
    const gw_chain_ops *chain_ops;
    uint64_t body_bytes; /* most a request body may have; UINT64_MAX: unbounded */
    bool access_log;
    bool record;                      /* its request heads are kept (gateway/recent.h) */
    struct gw_route_metrics *metrics; /* of its name; NULL: not counted */
    const gw_limited *limited;
    uint32_t limited_count;
    gw_slice chain_text, target_text; /* its functions and its target in words, for `gateway routes`; {NULL,0}: none */
};

typedef struct gw_listen_spec {
    gw_address at;
    gw_slice text, source;
} gw_listen_spec;

/* How the process is run. */
typedef struct gw_operation_spec {
    gw_slice admin_token; /* what requests to the admin address must bring; {NULL,0}: nothing */
    gw_slice admin_host;  /* a name under which it is asked for; {NULL,0}: none */
    int admin_mode;       /* of its unix socket */
    gw_slice user, group; /* as whom to serve; {NULL,0}: as whoever started it; the user's own group */
    gw_slice user_source;
} gw_operation_spec;

typedef struct gw_plugin_use gw_plugin_use;

typedef struct gw_generation_worker {
    void *script;        /* the script floor's: this worker's Lua state and tasks; NULL when the script is all data */
    uint32_t references; /* exchanges under way on this worker */
    bool retired, begun;
} __attribute__((aligned(GW_CACHE_LINE))) gw_generation_worker;

struct gw_generation {
    uint64_t number;  /* 1, 2, ... */
    gw_arena arena;   /* owns everything below */
    gw_slice script;  /* path of the entry script */
    uint64_t digest;  /* of the specs */
    double loaded_at; /* wall */
    gw_router *router;
    gw_route *routes;
    uint32_t route_count;
    gw_upstream **upstreams;
    uint32_t upstream_count;
    struct gw_route_metrics *unmatched; /* requests that no route took */
    struct gw_limit_use *limits;        /* each place of a limit in the script */
    uint32_t limit_count;
    struct gw_plugin_use {
        gw_plugin *plugin;
        gw_plugin_policy policy;
    } * plugins; /* what is counted by name (gateway/plugin_counters.h); places in here, from 1 on, are what its Lua says where it is */
    uint32_t plugin_count;
    struct gw_shared_use *shared; /* state that outlives generations (gateway/shared.h), and what this one wants it to be */
    uint32_t shared_count;
    struct gw_script_metric_use *metrics; /* that the script declares (gateway/metrics_script.h) */
    uint32_t metric_count;
    gw_listen_spec *listens;
    uint32_t listen_count;
    gw_listen_spec admin; /* .text.ptr NULL: none */
    gw_operation_spec operation;
    uint32_t workers;   /* asked for; 0: auto */
    const char **files; /* everything that was read to build it: to be watched */
    uint32_t file_count;

    gw_head_limits head_limits;
    uint64_t body_bytes;
    bool keep_encoded_slash;
    struct {
        double header, idle, body, drain, upgrade, chain /* that the functions of one request may wait in all */;
    } timeouts; /* client side, seconds */
    struct {
        double cpu; /* seconds of CPU for one entry */
        size_t memory;
    } lua;
    gw_cidr_set *trusted; /* peers whose X-Forwarded-* and Forwarded count; NULL: none */
    bool x_forwarded, forwarded;
    gw_slice via;    /* pseudonym; {NULL,0}: no Via */
    bool watch;      /* saved files reload it */
    bool request_id; /* X-Request-ID made or kept, sent both ways */
    bool access_log;
    double access_sample; /* 0 to 1 */
    gw_access_spec access;
    uint32_t record_keep;  /* request heads that each worker keeps */
    bool record_unmatched; /* of requests that no route took, too */
    gw_trace_spec trace;
    gw_log_target events; /* where the other log lines go */
    gw_slice events_source;
    enum gw_log_level events_level;

    _Atomic uint32_t workers_left;
    uint32_t worker_count;
    void (*script_begin)(void *script,
                         struct gw_engine *e);   /* the generation serves: its timers begin; on that worker's thread */
    void (*script_end)(void *script);            /* it does not any more: they end; on that worker's thread */
    void (*script_close)(void *script);          /* drops one worker's Lua state; on that worker's thread */
    void (*freed)(gw_generation *g, void *data); /* told by the last worker, on its thread: hand it to the control thread */
    void *freed_data;
    gw_generation_worker *worker; /* worker_count of them, aligned */
};

/* A generation with defaults (INTERFACE), everything else zero. NULL: memory is out. */
gw_generation *gw_generation_new(uint32_t worker_count);
/* It serves from now on: what outlives generations (state of upstreams, limits, breakers) goes by its settings. What was reset because its
 * settings changed is told in the log. Control thread. */
void gw_generation_adopt(gw_generation *g, gw_log_ring *ring);
/* `g` has taken the place of `old`, after it was adopted: what belongs to upstreams that it does not have is forgotten. Control thread. */
void gw_generation_replaced(gw_generation *old, const gw_generation *g);
/* Frees all: upstreams are released, scripts that are still open closed (only when no worker ever had it). Control thread. */
void gw_generation_free(gw_generation *g, void (*orphan)(gw_endpoint *e, void *data), void *data);

#endif
