/* Adaptive concurrency limit: lets as many requests in as the other side serves without its latency rising.
 *
 * Gradient, as in Netflix's concurrency-limits (Gradient2Limit) and Envoy's adaptive concurrency filter: once an interval, the mean latency
 * of that interval is held against a slowly moving mean of the intervals before.
 *
 *     gradient = tolerance × slow mean / this interval's mean, within 0.5 and 1
 *     limit   := smoothed(limit × gradient + √limit)
 *
 * The root is the queue that is allowed, and what lets the limit grow again. An interval in which less than half of the limit was in
 * use says nothing and changes nothing. Requests that were dropped (timeouts, refusals, resets) have no latency; when there are some,
 * the limit shrinks by a tenth that interval (multiplicative decrease, as AIMD does).
 *
 * Entering and leaving are compare-and-swaps on in_flight; samples gather in one word; the thread whose request ends an interval
 * computes the new limit, the others do not wait for it. */
#ifndef GW_POLICY_ADAPTIVE_H
#define GW_POLICY_ADAPTIVE_H

#include "policy/now.h"

/* 0 in any field: the value in brackets. */
typedef struct gw_adaptive_settings {
    double interval;  /* seconds (0.1) */
    double tolerance; /* latency may rise to this many times the slow mean before the limit shrinks (1.5) */
    uint32_t initial; /* limit to begin with (20) */
    uint32_t least;   /* (1) */
    uint32_t most;    /* (1000) */
    uint32_t samples; /* an interval ends after its time and this many requests (10) */
} gw_adaptive_settings;

/* 128 bytes. */
typedef struct gw_adaptive {
    _Atomic uint32_t in_flight;
    _Atomic uint32_t limit;
    _Atomic uint32_t peak;    /* most in flight this interval */
    _Atomic uint32_t drops;   /* this interval */
    _Atomic uint64_t samples; /* this interval: | sum of latencies in µs: 44 bits | count: 20 bits | */
    _Atomic int64_t ends;     /* the interval, ns; whoever moves it on computes */
    char apart[32];
    _Atomic double exact; /* the limit before it is rounded down; written by who computes only, as is: */
    _Atomic double slow;  /* mean latency, µs; 0: none yet */
    double tolerance;
    int64_t interval;
    uint32_t least, most, samples_least;
    char apart_too[20];
} gw_adaptive;

/* GW_OK, or GW_INVALID: numbers that are none, least above most, tolerance below 1, ... */
GW_API int gw_adaptive_init(gw_adaptive *a, const gw_adaptive_settings *settings);
GW_API gw_adaptive *gw_adaptive_new(const gw_adaptive_settings *settings); /* NULL: as above, or out of memory */
GW_API void gw_adaptive_free(gw_adaptive *a);

/* 0: in; then one gw_adaptive_leave is due. Above 0: refused; the seconds to wait are a guess, the slow mean of the latency. Any thread. */
GW_API double gw_adaptive_enter(gw_adaptive *a);
/* seconds: how long it took; below 0: it was dropped (timed out, refused, reset). Any thread. */
GW_API void gw_adaptive_leave(gw_adaptive *a, double seconds, int64_t now);
/* It left without telling anything, as when the client went away. */
GW_API void gw_adaptive_forget(gw_adaptive *a);
GW_API uint32_t gw_adaptive_limit(const gw_adaptive *a);
GW_API uint32_t gw_adaptive_in_flight(const gw_adaptive *a);

#endif
