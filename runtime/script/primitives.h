/* The traffic primitives as scripts hold them: token buckets, limiters, windows, breakers, balancers, health. Part of api.h: Lua sees this.
 *
 * A handle is a Lua object; what it points to is shared by all workers and outlives generations (gateway/shared.h), or, outside of a
 * gateway, belongs to the handle alone. Time is taken here, so that no 64-bit integer crosses the FFI, unless the handle's clock is set by
 * hand. Spans are seconds. Nothing here calls back into Lua; only making and closing take locks and memory. */
#ifndef GW_SCRIPT_PRIMITIVES_H
#define GW_SCRIPT_PRIMITIVES_H

/* One handle a class, all of one form, so that each class can have methods of its own. */
#define GW_LUA_HANDLE(name)                                                                                                      \
    typedef struct name {                                                                                                        \
        void *object; /* the bucket, limiter, ... */                                                                             \
        void *shared; /* what owns it */                                                                                         \
        double now;   /* seconds, when `manual` */                                                                               \
        int manual, unused;                                                                                                      \
    } name
GW_LUA_HANDLE(gw_lua_handle);
GW_LUA_HANDLE(gw_lua_token_bucket);
GW_LUA_HANDLE(gw_lua_client_limiter);
GW_LUA_HANDLE(gw_lua_sliding_window);
GW_LUA_HANDLE(gw_lua_breaker);
GW_LUA_HANDLE(gw_lua_breakers);
GW_LUA_HANDLE(gw_lua_balancer);
GW_LUA_HANDLE(gw_lua_health);
GW_LUA_HANDLE(gw_lua_dictionary); /* dictionary.h */
#undef GW_LUA_HANDLE

/* Settings of any of them; what does not belong is 0. */
typedef struct gw_lua_settings {
    double keys, rate, burst, idle, limit, window;
    double open_for, growth, open_most, lease, error_rate, min_requests, failures, probes;
    double bytes;
} gw_lua_settings;

typedef struct gw_lua_endpoint {
    const char *name;
    size_t len;
    double weight, group;
} gw_lua_endpoint;

typedef struct gw_lua_balancing { /* 0: the balancer's default */
    double slow_start, decay, error_penalty, virtual_nodes, load_factor /* 1.25 */, two_choices;
} gw_lua_balancing;

typedef struct gw_lua_watching {
    double active, rise, fall; /* active, passive: 1 when that is looked at */
    double passive, window, eject_for, error_rate, min_requests;
    double combined, panic, max_ejected, refuse; /* combined 0: healthy is who is not down, and no more to it */
} gw_lua_watching;

/* Opens state of a kind ("token_bucket", see gateway/shared.h). holder: the Lua state's, which gives it back when it ends; NULL: private,
 * to be closed with gw_lua_close. GW_OK, INVALID (settings out of range), NOMEM. */
GW_API int gw_lua_open(void *holder, gw_lua_handle *h, const char *kind, const char *word, size_t word_len, const char *name,
                       size_t name_len, const gw_lua_settings *settings, const char *by, size_t by_len);
GW_API void gw_lua_close(gw_lua_handle *h);

/* 0: let in; above 0: refused, seconds to wait; infinity: never. */
GW_API double gw_lua_token_bucket_allow(gw_lua_token_bucket *h, double n);
GW_API double gw_lua_token_bucket_left(gw_lua_token_bucket *h);
GW_API double gw_lua_client_limiter_allow(gw_lua_client_limiter *h, const char *key, size_t len, double n);
GW_API double gw_lua_client_limiter_left(gw_lua_client_limiter *h, const char *key, size_t len);
GW_API double gw_lua_client_limiter_clients(gw_lua_client_limiter *h);
GW_API double gw_lua_sliding_window_allow(gw_lua_sliding_window *h, const char *key, size_t len);
GW_API double gw_lua_sliding_window_left(gw_lua_sliding_window *h, const char *key, size_t len);

/* A ticket, 0 or more, or -1: refused. Results take the ticket, or -2: whatever state the breaker is in. */
GW_API int gw_lua_breaker_allow(gw_lua_breaker *h);
GW_API void gw_lua_breaker_success(gw_lua_breaker *h, int ticket);
GW_API void gw_lua_breaker_failure(gw_lua_breaker *h, int ticket);
GW_API void gw_lua_breaker_cancel(gw_lua_breaker *h, int ticket);
GW_API void gw_lua_breaker_reset(gw_lua_breaker *h);
GW_API void gw_lua_breaker_trip(gw_lua_breaker *h);
GW_API int gw_lua_breaker_state(gw_lua_breaker *h); /* 0 closed, 1 open, 2 half-open */
GW_API double gw_lua_breaker_retry_after(gw_lua_breaker *h);
/* The key's breaker: what a gw_lua_breaker's `object` is to be. */
GW_API void *gw_lua_breakers_of(gw_lua_breakers *h, const char *key, size_t len);
GW_API double gw_lua_breakers_count(gw_lua_breakers *h);

/* ---- lua_balancing.c: `shared` of the handle is a roster that gw_lua_open has opened; `object` is made here ---- */
GW_API int gw_lua_balancer_build(void *holder, gw_lua_balancer *h, const char *algorithm, const gw_lua_endpoint *endpoints,
                                 int count, const gw_lua_balancing *settings);
GW_API void gw_lua_balancer_close(gw_lua_balancer *h); /* private ones */
/* Endpoints that `health` (of the same endpoints in the same order, outliving this) takes out get nothing. */
GW_API void gw_lua_balancer_watch(gw_lua_balancer *h, gw_lua_health *health);
/* The endpoint's place in the list, from 0 on; -1: none can be had. */
GW_API int gw_lua_balancer_next(gw_lua_balancer *h, const char *key, size_t len);
GW_API void gw_lua_balancer_done(gw_lua_balancer *h, int place, int ok, double seconds); /* seconds below 0: not known */
GW_API int gw_lua_balancer_in_flight(gw_lua_balancer *h, int place);

GW_API int gw_lua_health_build(void *holder, gw_lua_health *h, const gw_lua_endpoint *endpoints, int count,
                               const gw_lua_watching *settings);
GW_API void gw_lua_health_close(gw_lua_health *h); /* private ones */
GW_API int gw_lua_health_healthy(gw_lua_health *h, int place);
/* A probe's result, a request's result: 1: it came back with this; -1: it went down; 0: neither. */
GW_API int gw_lua_health_probe(gw_lua_health *h, int place, int ok);
GW_API int gw_lua_health_record(gw_lua_health *h, int place, int ok);
GW_API void gw_lua_health_drain(gw_lua_health *h, int place, int drained);

#ifndef GW_CDEF
#include "gateway/shared.h"
#include "net/loop.h"
#include "secure/owned.h"

/* What a Lua state holds, given back when it ends. */
typedef struct gw_lua_hold {
    struct gw_lua_hold *next;
    void (*release)(void *object);
    void *object;
} gw_lua_hold;
typedef struct gw_lua_holder {
    uint32_t worker; /* whose Lua state it is: metrics have cells for each */
    gw_lua_hold *first;
    gw_owned *owned; /* what the state's scripts made of runtime/secure */
    bool collected;  /* nothing is held: the collector gives back what scripts made, as for private ones (testing.h) */
} gw_lua_holder;

/* False: memory is out, and the object is as it was. */
bool gw_lua_hold_add(gw_lua_holder *holder, void (*release)(void *object), void *object);
void gw_lua_holder_clear(gw_lua_holder *holder);

/* This thread's Lua runs on that loop from now on: time is the loop's, read once a turn, as for the limits that C asks. Without one (a script
 * that loads, a test) the clock is read. */
void gw_lua_clock(const gw_loop *loop);
int64_t gw_lua_now(double now, int manual);
#endif

#endif
