#include "policy/adaptive.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(sizeof(gw_adaptive) == 2 * GW_CACHE_LINE, "as said in the header");

#define COUNT_BITS 20
#define COUNT_MASK (((uint64_t)1 << COUNT_BITS) - 1)
#define SAMPLE_MOST_US 1e9  /* a quarter of an hour; so a full count does not overflow the sum by much, and one sample never */
#define SMOOTHING 0.2       /* share of the new limit in the old */
#define FOLLOW 0.2          /* share of a lower mean in the baseline */
#define FOLLOW_UP 0.05      /* share of a higher one, where the limit was not in use, so that the queue cannot be ours */
#define ABOVE 1.2           /* times the baseline: no longer noise */
#define EXPERIMENT_AFTER 50 /* intervals */
#define FELL 0.85           /* of the mean before: halving the limit helped */
#define BACK_OFF 0.9        /* on drops */
#define REFUSED_FOR_LEAST 0.001 /* seconds: no answer of 0, which means "in" */
#define LENGTH_MOST_US 10000000 /* an interval is stretched to twice the latency, within this */
#define COMPUTING INT64_MAX

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
    a->exact = initial;
    a->length = interval;
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
            double guess = load(&a->baseline) / 1e6;
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

/* What the mean latency of an interval says of the baseline; whether the limit may follow it. */
static bool learn(gw_adaptive *a, double mean, bool in_use)
{
    double baseline = load(&a->baseline);
    bool normal = a->phase == GW_ADAPTIVE_NORMAL;
    if (baseline == 0) {
        baseline = mean;
    } else if (mean < baseline) {
        baseline += (mean - baseline) * FOLLOW;
    } else if (normal && mean > baseline * ABOVE && !in_use) {
        baseline += (mean - baseline) * FOLLOW_UP;
    }
    if (a->phase == GW_ADAPTIVE_DRAINING) {
        a->phase = GW_ADAPTIVE_MEASURING; /* requests from before the limit was halved have left by now */
    } else if (a->phase == GW_ADAPTIVE_MEASURING) {
        if (mean > a->before * FELL)
            baseline = mean;
        a->phase = GW_ADAPTIVE_NORMAL;
        a->above = 0;
    } else {
        a->above = mean > baseline * ABOVE && in_use ? a->above + 1 : 0;
        if (a->above > EXPERIMENT_AFTER) {
            a->phase = GW_ADAPTIVE_DRAINING;
            a->before = mean;
        }
    }
    store(&a->baseline, baseline);
    return normal && in_use;
}

/* The limit after an interval. Only who has put COMPUTING into a->ends comes here, one at a time. */
static void compute(gw_adaptive *a)
{
    uint64_t samples = atomic_exchange_explicit(&a->samples, 0, memory_order_relaxed), count = samples & COUNT_MASK;
    uint32_t drops = atomic_exchange_explicit(&a->drops, 0, memory_order_relaxed);
    uint32_t peak = atomic_exchange_explicit(&a->peak, load(&a->in_flight), memory_order_relaxed);
    a->length = a->interval;
    if (count) {
        double mean = (double)(samples >> COUNT_BITS) / (double)count;
        if (mean < 1)
            mean = 1;
        if (learn(a, mean, peak >= (load(&a->limit) + 1) / 2) && !drops) {
            double gradient = a->tolerance * load(&a->baseline) / mean;
            gradient = gradient < 0.5 ? 0.5 : gradient > 1 ? 1 : gradient;
            a->exact += (a->exact * gradient + sqrt(a->exact) - a->exact) * SMOOTHING;
        }
        int64_t twice = (int64_t)(2 * mean < LENGTH_MOST_US ? 2 * mean : LENGTH_MOST_US) * 1000;
        a->length = twice > a->interval ? twice : a->interval;
    }
    if (drops)
        a->exact *= BACK_OFF;
    a->exact = a->exact < a->least ? a->least : a->exact > a->most ? a->most : a->exact;
    uint32_t limit = (uint32_t)a->exact;
    if (a->phase != GW_ADAPTIVE_NORMAL)
        limit = limit / 2 > a->least ? limit / 2 : a->least;
    store(&a->limit, limit);
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
    if (gw_likely(now < ends && (ends == COMPUTING || ends - now <= a->interval + LENGTH_MOST_US * (int64_t)1000 + GW_NOW_SLACK)))
        return;
    if (!drops && (samples & COUNT_MASK) < a->samples_least && !load(&a->drops))
        return;
    if (!atomic_compare_exchange_strong_explicit(&a->ends, &ends, COMPUTING, memory_order_acquire, memory_order_relaxed))
        return;
    if (ends != 0) /* the first interval begins with the first requests that leave */
        compute(a);
    atomic_store_explicit(&a->ends, now + a->length, memory_order_release);
}

uint32_t gw_adaptive_limit(const gw_adaptive *a)
{
    return load(&a->limit);
}

uint32_t gw_adaptive_in_flight(const gw_adaptive *a)
{
    return load(&a->in_flight);
}
