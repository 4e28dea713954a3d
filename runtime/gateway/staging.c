#include "gateway/staging.h"

#include "base/hash.h"
#include "gateway/flow.h"
#include <math.h>
#include <stdlib.h>

#define BUCKET_FIRST 1e-4 /* seconds: what the first has at most */
#define BUCKETS_OCTAVE 8

/* ---- life ---- */

gw_staging *gw_staging_new(gw_generation *candidate, double share, uint32_t workers)
{
    size_t bytes = (sizeof(gw_staging) + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE + workers * sizeof(gw_staged_cells);
    gw_staging *s = aligned_alloc(GW_CACHE_LINE, bytes);
    if (!s)
        return NULL;
    memset(s, 0, bytes);
    gw_random random;
    gw_random_seed(&random);
    s->candidate = candidate;
    s->seed[0] = gw_random_next(&random);
    s->seed[1] = gw_random_next(&random);
    s->below = (uint64_t)llround(share * 4294967296.0);
    s->workers = workers;
    return s;
}

void gw_staging_free(gw_staging *s)
{
    free(s);
}

/* ---- workers ---- */

static bool takes(const gw_staging *s, const gw_ip *ip)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    bool v4 = memcmp(ip->bytes, mapped, sizeof mapped) == 0;
    return gw_siphash13((const char *)ip->bytes, v4 ? sizeof ip->bytes : 8, s->seed[0], s->seed[1]) >> 32 < s->below;
}

void gw_staging_choose(gw_exchange *x)
{
    const gw_staging *s = x->engine->staged;
    if (x->generation == s->candidate || !takes(s, &x->client_ip)) /* the first: it has been promoted a moment ago */
        return;
    x->generation->worker[x->engine->index].references--; /* the current generation is not retired: nothing else to do */
    x->generation = s->candidate;
    s->candidate->worker[x->engine->index].references++;
}

static uint32_t bucket_of(double seconds)
{
    if (!(seconds > BUCKET_FIRST))
        return 0;
    double at = ceil(log2(seconds / BUCKET_FIRST) * BUCKETS_OCTAVE);
    return at >= GW_STAGED_BUCKETS - 1 ? GW_STAGED_BUCKETS - 1 : (uint32_t)at;
}

void gw_staging_count(gw_exchange *x)
{
    gw_engine *e = x->engine;
    gw_staging *s = e->staged;
    int side = x->generation == s->candidate ? GW_CANDIDATE : GW_STABLE;
    if (side == GW_STABLE && x->generation != atomic_load_explicit(e->current, memory_order_relaxed))
        return; /* of one before both */
    gw_staged_side *c = &s->cells[e->index].side[side];
    GW_COUNT_ADD(c->requests, 1);
    if (x->status >= 500 || x->cut)
        GW_COUNT_ADD(c->errors, 1);
    if (x->status == 101)
        return;
    double seconds = gw_loop_now(e->loop) - x->started;
    GW_COUNT_ADD(c->bucket[bucket_of(seconds)], 1);
    gw_histogram_observe(&c->duration, seconds);
}

/* ---- summing ---- */

static uint64_t read_one(const uint64_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

void gw_staging_total(const gw_staging *s, int side, gw_staged_side *total)
{
    for (uint32_t w = 0; w < s->workers; w++) {
        const gw_staged_side *c = &s->cells[w].side[side];
        total->requests += read_one(&c->requests);
        total->errors += read_one(&c->errors);
        for (uint32_t i = 0; i < GW_STAGED_BUCKETS; i++)
            total->bucket[i] += read_one(&c->bucket[i]);
        gw_histogram_add(&total->duration, &c->duration);
    }
}

static double quantile(const gw_staged_side *t, uint64_t count, double q)
{
    uint64_t want = (uint64_t)ceil(q * (double)count), seen = 0;
    for (uint32_t i = 0; i < GW_STAGED_BUCKETS; i++) {
        seen += t->bucket[i];
        if (seen >= want)
            return BUCKET_FIRST * exp2((double)i / BUCKETS_OCTAVE);
    }
    return 0;
}

void gw_staged_summed(const gw_staged_side *t, gw_staged_sum *out)
{
    *out = (gw_staged_sum){.requests = t->requests, .errors = t->errors};
    for (uint32_t i = 0; i < GW_STAGED_BUCKETS; i++)
        out->timed += t->bucket[i];
    if (!out->timed)
        return;
    out->mean = (double)t->duration.sum_ns / 1e9 / (double)out->timed;
    out->p50 = quantile(t, out->timed, 0.5);
    out->p90 = quantile(t, out->timed, 0.9);
    out->p99 = quantile(t, out->timed, 0.99);
}
