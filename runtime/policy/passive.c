/*     bucket   63        36 35        18 17         0
 *             | slice      | succeeded  | failed     |
 *
 *     slice   now / (window / 10), its lowest 28 bits: which tenth of a window the counts belong to. Who finds another slice in its bucket
 *             begins it anew: so nobody has to empty buckets in time. It comes round after 2^28 tenths (310 days for a window of one
 *             second); counts so old are outdone by the first result */
#include "policy/passive.h"
#include <stdatomic.h>

enum { COUNT_BITS = 18, SLICE_BITS = 28 };
static const uint64_t COUNT_MOST = (1u << COUNT_BITS) - 1;
static const uint64_t SLICE_MASK = (1u << SLICE_BITS) - 1;

static inline uint64_t slice_of(const gw_passive_config *config, int64_t now)
{
    int64_t length = config->window / GW_PASSIVE_BUCKETS;
    return (uint64_t)(now < 0 ? 0 : now) / (uint64_t)(length > 0 ? length : 1);
}

static inline uint64_t pack(uint64_t slice, uint64_t succeeded, uint64_t failed)
{
    return (slice & SLICE_MASK) << 2 * COUNT_BITS | succeeded << COUNT_BITS | failed;
}

static void count(gw_passive *p, uint64_t slice, bool ok)
{
    _Atomic uint64_t *bucket = &p->bucket[slice % GW_PASSIVE_BUCKETS];
    uint64_t old = atomic_load_explicit(bucket, memory_order_relaxed), new;
    do {
        uint64_t succeeded = 0, failed = 0;
        if (old >> 2 * COUNT_BITS == (slice & SLICE_MASK)) {
            succeeded = old >> COUNT_BITS & COUNT_MOST;
            failed = old & COUNT_MOST;
            if ((ok ? succeeded : failed) == COUNT_MOST) {
                succeeded /= 2;
                failed /= 2;
            }
        }
        new = pack(slice, succeeded + ok, failed + !ok);
    } while (!atomic_compare_exchange_weak_explicit(bucket, &old, new, memory_order_relaxed, memory_order_relaxed));
}

void gw_passive_counts(const gw_passive *p, const gw_passive_config *config, int64_t now, uint32_t *succeeded, uint32_t *failed)
{
    uint64_t slice = slice_of(config, now);
    *succeeded = *failed = 0;
    for (uint32_t i = 0; i < GW_PASSIVE_BUCKETS; i++) {
        uint64_t word = atomic_load_explicit(&p->bucket[i], memory_order_relaxed);
        /* Written by a thread whose clock was read a little later: as good as now. */
        uint64_t age = (slice - (word >> 2 * COUNT_BITS)) & SLICE_MASK, ahead = SLICE_MASK + 1 - age;
        if (age < GW_PASSIVE_BUCKETS || ahead < GW_PASSIVE_BUCKETS) {
            *succeeded += (uint32_t)(word >> COUNT_BITS & COUNT_MOST);
            *failed += (uint32_t)(word & COUNT_MOST);
        }
    }
}

int gw_passive_record(gw_passive *p, const gw_passive_config *config, int64_t now, bool ok)
{
    if (atomic_load_explicit(&p->until, memory_order_acquire) != 0)
        return GW_HEALTH_SAME;
    count(p, slice_of(config, now), ok);
    if (ok)
        return GW_HEALTH_SAME;
    uint32_t succeeded, failed;
    gw_passive_counts(p, config, now, &succeeded, &failed);
    uint64_t all = (uint64_t)succeeded + failed;
    /* A billionth for rates that binary fractions cannot say: 0.07 × 100 is a little more than 7. */
    if (all < config->min_requests || (double)failed + 1e-9 < config->error_rate * (double)all)
        return GW_HEALTH_SAME;
    int64_t none = 0, length = config->eject_for > 0 ? config->eject_for : config->window, until;
    if (__builtin_add_overflow(now, length, &until))
        until = INT64_MAX;
    if (until == 0)
        until = 1;
    if (!atomic_compare_exchange_strong_explicit(&p->until, &none, until, memory_order_acq_rel, memory_order_relaxed))
        return GW_HEALTH_SAME;
    for (uint32_t i = 0; i < GW_PASSIVE_BUCKETS; i++)
        atomic_store_explicit(&p->bucket[i], 0, memory_order_relaxed);
    return GW_HEALTH_DOWN;
}

int gw_passive_tick(gw_passive *p, int64_t now)
{
    int64_t until = atomic_load_explicit(&p->until, memory_order_relaxed);
    if (until == 0 || now < until)
        return GW_HEALTH_SAME;
    if (!atomic_compare_exchange_strong_explicit(&p->until, &until, 0, memory_order_acq_rel, memory_order_relaxed))
        return GW_HEALTH_SAME;
    return GW_HEALTH_UP;
}

int64_t gw_passive_until(const gw_passive *p)
{
    return atomic_load_explicit(&p->until, memory_order_relaxed);
}
