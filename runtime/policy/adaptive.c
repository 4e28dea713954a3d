#include "policy/adaptive.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(sizeof(gw_adaptive) == 2 * GW_CACHE_LINE, "as said in the header");

#define COUNT_BITS 20
#define COUNT_MASK (((uint64_t)1 << COUNT_BITS) - 1)
#define SAMPLE_MOST_US 1e9 /* a quarter of an hour; so a full count does not overflow the sum by much, and one sample never */
#define SMOOTHING 0.2      /* share of the new limit in the old, as in Gradient2Limit */
#define SLOW_SHARE 0.05    /* of an interval in the slow mean: it remembers some 40 intervals */
#define SLOW_DECAY 0.95    /* when the slow mean is twice too high: it was learnt under overload */
#define BACK_OFF 0.9       /* on drops */
#define REFUSED_FOR_LEAST 0.001 /* seconds: no answer of 0, which means "in" */

#define load(field) atomic_load_explicit((field), memory_order_relaxed)
#define store(field, value) atomic_store_explicit((field), (value), memory_order_relaxed)

static double or_default(double value, double otherwise)
{
    return value == 0 ? otherwise : value;
}

int gw_adaptive_init(gw_adaptive *a, const gw_adaptive_settings *settings)
{
    memset(a, 0, sizeof *a);
    int64_t interval = gw_now_span(or_default(settings->interval, 0.1));
    double tolerance = or_default(settings->tolerance, 1.5);
    uint32_t least = settings->least ? settings->least : 1, most = settings->most ? settings->most : 1000;
    uint32_t initial = settings->initial ? settings->initial : 20, samples = settings->samples ? settings->samples : 10;
    if (interval < 1000000 || !(tolerance >= 1) || !isfinite(tolerance) || least > most || most > (1u << 30) ||
        samples > COUNT_MASK / 2)
        return GW_INVALID;
    initial = initial < least ? least : initial > most ? most : initial;
    a->tolerance = tolerance;
    a->interval = interval;
    a->least = least;
    a->most = most;
    a->samples_least = samples;
    store(&a->limit, initial);
    store(&a->exact, (double)initial);
    return GW_OK;
}

gw_adaptive *gw_adaptive_new(const gw_adaptive_settings *settings)
{
    gw_adaptive *a = aligned_alloc(GW_CACHE_LINE, sizeof *a);
    if (a && gw_adaptive_init(a, settings) != GW_OK) {
        free(a);
        a = NULL;
    }
    return a;
}

void gw_adaptive_free(gw_adaptive *a)
{
    free(a);
}

double gw_adaptive_enter(gw_adaptive *a)
{
    uint32_t there = load(&a->in_flight), limit = load(&a->limit);
    do {
        if (there >= limit) {
            double guess = load(&a->slow) / 1e6;
            return guess > REFUSED_FOR_LEAST ? guess : REFUSED_FOR_LEAST;
        }
    } while (
        !atomic_compare_exchange_weak_explicit(&a->in_flight, &there, there + 1, memory_order_acq_rel, memory_order_relaxed));
    uint32_t peak = load(&a->peak);
    while (there + 1 > peak &&
           !atomic_compare_exchange_weak_explicit(&a->peak, &peak, there + 1, memory_order_relaxed, memory_order_relaxed))
        ;
    return 0;
}

/* The limit after an interval. Only who has moved a->ends comes here; the next one sees what was stored, by acquiring a->ends. */
static void compute(gw_adaptive *a)
{
    uint64_t samples = atomic_exchange_explicit(&a->samples, 0, memory_order_relaxed), count = samples & COUNT_MASK;
    uint32_t drops = atomic_exchange_explicit(&a->drops, 0, memory_order_relaxed);
    uint32_t peak = atomic_exchange_explicit(&a->peak, load(&a->in_flight), memory_order_relaxed);
    double exact = load(&a->exact), slow = load(&a->slow);
    if (count) {
        double mean = (double)(samples >> COUNT_BITS) / (double)count;
        if (mean < 1)
            mean = 1;
        slow = slow > 0 ? slow * (1 - SLOW_SHARE) + mean * SLOW_SHARE : mean;
        if (slow > 2 * mean)
            slow *= SLOW_DECAY;
        store(&a->slow, slow);
        if (!drops && peak * 2 >= load(&a->limit)) {
            double gradient = a->tolerance * slow / mean;
            gradient = gradient < 0.5 ? 0.5 : gradient > 1 ? 1 : gradient;
            exact = exact * (1 - SMOOTHING) + (exact * gradient + sqrt(exact)) * SMOOTHING;
        }
    }
    if (drops)
        exact *= BACK_OFF;
    exact = exact < a->least ? a->least : exact > a->most ? a->most : exact;
    store(&a->exact, exact);
    store(&a->limit, (uint32_t)exact);
}

void gw_adaptive_forget(gw_adaptive *a)
{
    uint32_t there = load(&a->in_flight);
    while (there != 0 &&
           !atomic_compare_exchange_weak_explicit(&a->in_flight, &there, there - 1, memory_order_acq_rel, memory_order_relaxed))
        ;
}

void gw_adaptive_leave(gw_adaptive *a, double seconds, int64_t now)
{
    uint64_t samples = load(&a->samples);
    uint32_t drops = 0;
    if (seconds >= 0) {
        double us = seconds * 1e6;
        uint64_t sample = (uint64_t)(us < SAMPLE_MOST_US ? us : SAMPLE_MOST_US) << COUNT_BITS | 1;
        /* Enough is enough: an interval that nobody ends (a clock that stands still) must not run over. */
        if ((samples & COUNT_MASK) < COUNT_MASK / 2 && samples >> 63 == 0)
            samples = atomic_fetch_add_explicit(&a->samples, sample, memory_order_relaxed) + sample;
    } else {
        drops = atomic_fetch_add_explicit(&a->drops, 1, memory_order_relaxed) + 1;
    }
    gw_adaptive_forget(a);
    now = gw_now_clamp(now);
    int64_t ends = atomic_load_explicit(&a->ends, memory_order_acquire);
    if (gw_likely(now < ends && ends - now <= a->interval + GW_NOW_SLACK))
        return;
    if (!drops && (samples & COUNT_MASK) < a->samples_least && !load(&a->drops))
        return;
    /* The first interval begins with the first request that leaves. */
    bool first = ends == 0;
    if (atomic_compare_exchange_strong_explicit(&a->ends, &ends, now + a->interval, memory_order_acq_rel, memory_order_relaxed) &&
        !first)
        compute(a);
}

uint32_t gw_adaptive_limit(const gw_adaptive *a)
{
    return load(&a->limit);
}

uint32_t gw_adaptive_in_flight(const gw_adaptive *a)
{
    return load(&a->in_flight);
}
