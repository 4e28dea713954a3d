/* Adaptive concurrency limit: lets as many requests in as the other side serves without its latency rising.
 *
 * Gradient, as in Netflix's concurrency-limits (GradientLimit, Gradient2Limit) and Envoy's adaptive concurrency filter: once an interval,
 * the mean latency of its requests is held against the latency without a queue, the baseline.
 *
 *     gradient = tolerance × baseline / mean, within 0.5 and 1
 *     limit   := 0.8 × limit + 0.2 × (limit × gradient + √limit)
 *
 * The root is the queue that is allowed, and what lets the limit grow again. An interval in which less than half of the limit was in
 * use says nothing of it and leaves it. Requests that were dropped (timeouts, refusals, resets) have no latency; when there are some,
 * the limit shrinks by a tenth that interval (multiplicative decrease, as AIMD does).
 *
 * The baseline follows a lower mean. A higher one may be a queue of our own making; a baseline that followed it would drift up, and the
 * limit with it, for as long as the overload lasts. So when latency has been above it for EXPERIMENT_AFTER intervals, the limit is halved
 * for two of them:
 *
 *     normal ──▶ draining ──▶ measuring ──▶ normal       latency fell: the queue was ours, the baseline stands
 *                                                        it did not: the other side has become slower, and that is the baseline now
 *
 * Entering and leaving are compare-and-swaps on in_flight; samples gather in one word; the thread whose request ends an interval
 * computes the new limit, the others do not wait for it. */
#ifndef GW_POLICY_ADAPTIVE_H
#define GW_POLICY_ADAPTIVE_H

#include "policy/now.h"

/* 0 in any field: the value in brackets. */
typedef struct gw_adaptive_settings {
    double interval;  /* seconds (0.1) */
    double tolerance; /* latency may rise to this many times the baseline before the limit shrinks (1.5) */
    uint32_t initial; /* limit to begin with (20) */
    uint32_t least;   /* (1) */
    uint32_t most;    /* (1000) */
    uint32_t samples; /* an interval ends after its time and this many requests (10) */
} gw_adaptive_settings;

enum gw_adaptive_phase { GW_ADAPTIVE_NORMAL, GW_ADAPTIVE_DRAINING, GW_ADAPTIVE_MEASURING };

/* 128 bytes. */
typedef struct gw_adaptive {
    _Atomic uint32_t in_flight;
    _Atomic uint32_t limit;
    _Atomic uint32_t peak;    /* most in flight this interval */
    _Atomic uint32_t drops;   /* this interval */
    _Atomic uint64_t samples; /* this interval: | sum of latencies in µs: 44 bits | count: 20 bits | */
    _Atomic int64_t ends;     /* the interval, ns; INT64_MAX while somebody computes */
    _Atomic double baseline;  /* latency without a queue, µs; 0: not known yet */
    char apart[24];
    /* of who computes */
    double exact;   /* the limit before it is rounded down */
    double before;  /* mean latency before the experiment, µs */
    uint32_t above; /* intervals in a row with a latency above the baseline */
    uint32_t phase; /* enum gw_adaptive_phase */
    int64_t length; /* of the next interval, ns */
    /* settings */
    double tolerance;
    int64_t interval;
    uint32_t least, most, samples_least, unused;
} gw_adaptive;

/* GW_OK, or GW_INVALID: numbers that are none, least above most, tolerance below 1, ... */
GW_API int gw_adaptive_init(gw_adaptive *a, const gw_adaptive_settings *settings);
GW_API gw_adaptive *gw_adaptive_new(const gw_adaptive_settings *settings); /* NULL: as above, or out of memory */
GW_API void gw_adaptive_free(gw_adaptive *a);

/* 0: in; then one gw_adaptive_leave is due. Above 0: refused; the seconds to wait are a guess, the latency without a queue. Any thread. */
GW_API double gw_adaptive_enter(gw_adaptive *a);
/* seconds: how long it took; below 0: it was dropped (timed out, refused, reset). Any thread. */
GW_API void gw_adaptive_leave(gw_adaptive *a, double seconds, int64_t now);
/* It left without telling anything, as when the client went away. */
GW_API void gw_adaptive_forget(gw_adaptive *a);
GW_API uint32_t gw_adaptive_limit(const gw_adaptive *a);
GW_API uint32_t gw_adaptive_in_flight(const gw_adaptive *a);

#endif
