#include "policy/token_bucket.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(sizeof(gw_token_bucket) == GW_CACHE_LINE, "a bucket has a cache line");

#define load(field) atomic_load_explicit((field), memory_order_relaxed)
#define store(field, value) atomic_store_explicit((field), (value), memory_order_relaxed)
#define swap(field, expected, value)                                                                                             \
    atomic_compare_exchange_weak_explicit((field), (expected), (value), memory_order_relaxed, memory_order_relaxed)

int gw_gcra_settings(double rate, double burst, double *period, int64_t *limit)
{
    if (!(rate > 0) || !(burst > 0) || !isfinite(rate) || !isfinite(burst))
        return GW_INVALID;
    double each = 1e9 / rate, whole = burst * each;
    if (!(whole >= 1) || !(whole <= (double)GW_NOW_MOST))
        return GW_INVALID;
    *period = each;
    *limit = (int64_t)whole;
    return GW_OK;
}

int gw_token_bucket_init(gw_token_bucket *b, double rate, double burst)
{
    double period;
    int64_t limit;
    int status = gw_gcra_settings(rate, burst, &period, &limit);
    if (status != GW_OK)
        return status;
    memset(b, 0, sizeof *b);
    store(&b->limit, limit);
    store(&b->period, period);
    return GW_OK;
}

gw_token_bucket *gw_token_bucket_new(double rate, double burst)
{
    gw_token_bucket *b = aligned_alloc(GW_CACHE_LINE, sizeof *b);
    if (b && gw_token_bucket_init(b, rate, burst) != GW_OK) {
        free(b);
        b = NULL;
    }
    return b;
}

void gw_token_bucket_free(gw_token_bucket *b)
{
    free(b);
}

double gw_token_bucket_allow(gw_token_bucket *b, double n, int64_t now)
{
    now = gw_now_clamp(now);
    int64_t limit = load(&b->limit);
    double want = n * load(&b->period);
    if (gw_unlikely(!(want > 0)))
        return n == 0 ? 0 : INFINITY;
    if (gw_unlikely(want >= (double)limit + 1))
        return INFINITY;
    /* Rounded down, as the limit is: so `burst` tokens are there at once whatever the period's fraction is. */
    int64_t cost = (int64_t)want;
    if (gw_unlikely(cost == 0))
        cost = 1;
    int64_t tat = load(&b->tat), next, wait;
    do {
        wait = gw_gcra(tat, now, cost, limit, GW_NOW_SLACK, &next);
        if (next == tat)
            return gw_now_seconds(wait);
    } while (!swap(&b->tat, &tat, next));
    return gw_now_seconds(wait);
}

/* How far ahead of now the TAT is. */
static int64_t debt(const gw_token_bucket *b, int64_t now, int64_t limit)
{
    int64_t ahead = load(&b->tat) - gw_now_clamp(now);
    return ahead < 0 ? 0 : ahead > limit ? limit : ahead;
}

double gw_token_bucket_left(const gw_token_bucket *b, int64_t now)
{
    int64_t limit = load(&b->limit);
    return (double)(limit - debt(b, now, limit)) / load(&b->period);
}

double gw_token_bucket_full_after(const gw_token_bucket *b, int64_t now)
{
    return gw_now_seconds(debt(b, now, load(&b->limit)));
}

int gw_token_bucket_change(gw_token_bucket *b, double rate, double burst, int64_t now)
{
    double period, old_period = load(&b->period);
    int64_t limit, old_limit = load(&b->limit);
    int status = gw_gcra_settings(rate, burst, &period, &limit);
    if (status != GW_OK)
        return status;
    if (period == old_period && limit == old_limit)
        return GW_OK;
    now = gw_now_clamp(now);
    int64_t tat = load(&b->tat), next;
    do {
        int64_t ahead = tat - now;
        ahead = ahead < 0 ? 0 : ahead > old_limit ? old_limit : ahead;
        double used = (double)ahead / old_period * period;
        next = now + (used < (double)limit ? (int64_t)used : limit);
    } while (!swap(&b->tat, &tat, next));
    store(&b->period, period);
    store(&b->limit, limit);
    return GW_OK;
}
