#include "policy/client_limiter.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "policy/token_bucket.h"

_Static_assert(sizeof(gw_client_limiter) == 3 * GW_CACHE_LINE, "as said in the header");
_Static_assert(sizeof(gw_key_slot) * GW_KEY_HOMES(1000) <= 64 * 1000, "what a client may cost");

#define UNIT_BITS 6 /* a unit is 64 ns */
#define UNITS(ns) ((ns) >> UNIT_BITS)
#define SLACK UNITS(GW_NOW_SLACK)

#define load(field) atomic_load_explicit((field), memory_order_relaxed)
#define store(field, value) atomic_store_explicit((field), (value), memory_order_relaxed)

static double seconds(int64_t units)
{
    return (double)units * (double)(1 << UNIT_BITS) / 1e9;
}

static enum gw_key_worth worth(const gw_key_table *t, const gw_key_slot *slot, uint64_t tag, int64_t now)
{
    const gw_client_limiter *l = gw_container_of(t, gw_client_limiter, table);
    int64_t tat = (int64_t)gw_key_unpack(load(&slot->state), tag);
    return UNITS(now) >= tat + load(&l->idle) ? GW_KEY_IDLE : GW_KEY_LIVE;
}

typedef struct settings {
    double period;
    int64_t limit, idle;
} settings;

static int read_settings(settings *s, double rate, double burst, double idle)
{
    int64_t limit, span = gw_now_span(idle);
    if (gw_gcra_settings(rate, burst, &s->period, &limit) != GW_OK || limit > GW_NOW_MOST / 2 || span < 0)
        return GW_INVALID;
    s->period /= 1 << UNIT_BITS;
    s->limit = UNITS(limit);
    if (s->limit == 0)
        s->limit = 1;
    s->idle = UNITS(span) > s->limit ? UNITS(span) - s->limit : 0;
    return GW_OK;
}

static void use_settings(gw_client_limiter *l, const settings *s)
{
    store(&l->period, s->period);
    store(&l->limit, s->limit);
    store(&l->idle, s->idle);
}

size_t gw_client_limiter_bytes(uint32_t max_clients)
{
    if (max_clients == 0 || max_clients > GW_KEY_MOST)
        return 0;
    return sizeof(gw_client_limiter) + (size_t)gw_key_table_slots(max_clients) * sizeof(gw_key_slot);
}

int gw_client_limiter_init(gw_client_limiter *l, double rate, double burst, double idle, uint32_t max_clients)
{
    settings s;
    if (!gw_client_limiter_bytes(max_clients) || read_settings(&s, rate, burst, idle) != GW_OK)
        return GW_INVALID;
    gw_key_table_init(&l->table, (gw_key_slot *)(l + 1), max_clients, worth);
    use_settings(l, &s);
    return GW_OK;
}

gw_client_limiter *gw_client_limiter_new(double rate, double burst, double idle, uint32_t max_clients)
{
    size_t bytes = gw_client_limiter_bytes(max_clients);
    gw_client_limiter *l = gw_key_table_memory(bytes);
    if (l && gw_client_limiter_init(l, rate, burst, idle, max_clients) != GW_OK) {
        free(l);
        l = NULL;
    }
    return l;
}

void gw_client_limiter_free(gw_client_limiter *l)
{
    free(l);
}

double gw_client_limiter_allow(gw_client_limiter *l, const char *key, size_t len, double n, int64_t now)
{
    now = gw_now_clamp(now);
    int64_t limit = load(&l->limit);
    double want = n * load(&l->period);
    if (gw_unlikely(!(want > 0)))
        return n == 0 ? 0 : INFINITY;
    if (gw_unlikely(want >= (double)limit + 1))
        return INFINITY;
    int64_t cost = (int64_t)want;
    if (gw_unlikely(cost == 0))
        cost = 1;
    uint64_t tag = gw_key_tag(key, len);
    for (;;) {
        gw_key_slot *slot = gw_key_table_get(&l->table, tag, now);
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        while (gw_likely(gw_key_is(slot, tag))) {
            int64_t tat = (int64_t)gw_key_unpack(state, tag), next;
            int64_t wait = gw_gcra(tat, UNITS(now), cost, limit, SLACK, &next);
            if (next == tat || atomic_compare_exchange_weak_explicit(&slot->state, &state, gw_key_pack((uint64_t)next, tag),
                                                                     memory_order_acq_rel, memory_order_acquire))
                return seconds(wait);
        }
    }
}

static int64_t debt(int64_t tat, int64_t now, int64_t limit)
{
    int64_t ahead = tat - UNITS(gw_now_clamp(now));
    return ahead < 0 ? 0 : ahead > limit ? limit : ahead;
}

double gw_client_limiter_left(const gw_client_limiter *l, const char *key, size_t len, int64_t now)
{
    uint64_t tag = gw_key_tag(key, len);
    const gw_key_slot *slot = gw_key_table_find(&l->table, tag);
    int64_t limit = load(&l->limit);
    int64_t used = slot ? debt((int64_t)gw_key_unpack(load(&slot->state), tag), now, limit) : 0;
    return (double)(limit - used) / load(&l->period);
}

uint32_t gw_client_limiter_clients(const gw_client_limiter *l, int64_t now)
{
    uint32_t count = 0;
    now = gw_now_clamp(now);
    for (uint32_t i = 0; i < l->table.slot_count; i++) {
        uint64_t tag = load(&l->table.slots[i].tag);
        count += tag != 0 && worth(&l->table, l->table.slots + i, tag & ~GW_KEY_REF_MASK, now) != GW_KEY_IDLE;
    }
    return count;
}

/* A TAT under one period and limit, to the same number of tokens under others. */
static int64_t convert(int64_t tat, const settings *from, const settings *to, int64_t now)
{
    double used = (double)debt(tat, now, from->limit) / from->period * to->period;
    return UNITS(now) + (used < (double)to->limit ? (int64_t)used : to->limit);
}

static settings settings_of(const gw_client_limiter *l)
{
    return (settings){.period = load(&l->period), .limit = load(&l->limit), .idle = load(&l->idle)};
}

void gw_client_limiter_adopt(gw_client_limiter *to, const gw_client_limiter *from, int64_t now)
{
    settings old = settings_of(from), new = settings_of(to);
    now = gw_now_clamp(now);
    for (uint32_t i = 0; i < from->table.slot_count; i++) {
        const gw_key_slot *slot = from->table.slots + i;
        uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire) & ~GW_KEY_REF_MASK;
        int64_t tat = (int64_t)gw_key_unpack(load(&slot->state), tag);
        if (tag == 0 || UNITS(now) >= tat)
            continue;
        gw_key_slot *mine = gw_key_table_get(&to->table, tag, now);
        store(&mine->state, gw_key_pack((uint64_t)convert(tat, &old, &new, now), tag));
    }
}

int gw_client_limiter_change(gw_client_limiter *l, double rate, double burst, double idle, int64_t now)
{
    settings old = settings_of(l), new;
    if (read_settings(&new, rate, burst, idle) != GW_OK)
        return GW_INVALID;
    now = gw_now_clamp(now);
    if (new.period != old.period || new.limit != old.limit) {
        for (uint32_t i = 0; i < l->table.slot_count; i++) {
            gw_key_slot *slot = l->table.slots + i;
            uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
            uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire) & ~GW_KEY_REF_MASK;
            int64_t tat;
            while (tag != 0 && (tat = (int64_t)gw_key_unpack(state, tag)) > UNITS(now) &&
                   !atomic_compare_exchange_weak(&slot->state, &state, gw_key_pack((uint64_t)convert(tat, &old, &new, now), tag)))
                ;
        }
    }
    use_settings(l, &new);
    return GW_OK;
}
