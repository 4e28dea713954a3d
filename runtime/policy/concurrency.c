#include "policy/concurrency.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"

_Static_assert(sizeof(gw_concurrency) == GW_CACHE_LINE, "as said in the header");
_Static_assert(sizeof(gw_keyed_concurrency) == GW_CACHE_LINE, "as said in the header");

#define MAX_KEYS ((uint32_t)1 << 28)
#define COUNT_MASK ((uint64_t)0xffff)

#define load(field) atomic_load_explicit((field), memory_order_relaxed)
#define store(field, value) atomic_store_explicit((field), (value), memory_order_relaxed)

int gw_concurrency_init(gw_concurrency *c, uint32_t cap)
{
    memset(c, 0, sizeof *c);
    return gw_concurrency_change(c, cap);
}

gw_concurrency *gw_concurrency_new(uint32_t cap)
{
    gw_concurrency *c = aligned_alloc(GW_CACHE_LINE, sizeof *c);
    if (c && gw_concurrency_init(c, cap) != GW_OK) {
        free(c);
        c = NULL;
    }
    return c;
}

void gw_concurrency_free(gw_concurrency *c)
{
    free(c);
}

int gw_concurrency_enter(gw_concurrency *c)
{
    uint32_t cap = load(&c->cap), there = load(&c->in_flight);
    /* Not add and take back: two that overshoot at once would refuse each other a place that is free. */
    do {
        if (there >= cap)
            return GW_LIMIT;
    } while (
        !atomic_compare_exchange_weak_explicit(&c->in_flight, &there, there + 1, memory_order_acq_rel, memory_order_relaxed));
    return GW_OK;
}

void gw_concurrency_leave(gw_concurrency *c)
{
    uint32_t there = load(&c->in_flight);
    /* One leave too many must not open the door for four thousand million. */
    while (there != 0 &&
           !atomic_compare_exchange_weak_explicit(&c->in_flight, &there, there - 1, memory_order_acq_rel, memory_order_relaxed))
        ;
}

uint32_t gw_concurrency_in_flight(const gw_concurrency *c)
{
    return load(&c->in_flight);
}

int gw_concurrency_change(gw_concurrency *c, uint32_t cap)
{
    if (cap == 0)
        return GW_INVALID;
    store(&c->cap, cap);
    return GW_OK;
}

/* ---- for each key ---- */

size_t gw_keyed_concurrency_bytes(uint32_t max_keys)
{
    if (max_keys == 0 || max_keys > MAX_KEYS)
        return 0;
    return sizeof(gw_keyed_concurrency) + ((size_t)max_keys * GW_CONCURRENCY_EACH + GW_CONCURRENCY_WINDOW - 1) * sizeof(uint64_t);
}

int gw_keyed_concurrency_init(gw_keyed_concurrency *c, uint32_t cap, uint32_t max_keys)
{
    if (!gw_keyed_concurrency_bytes(max_keys))
        return GW_INVALID;
    memset(c, 0, sizeof *c);
    c->words = (_Atomic uint64_t *)(c + 1);
    c->homes = max_keys * GW_CONCURRENCY_EACH;
    c->word_count = c->homes + GW_CONCURRENCY_WINDOW - 1;
    return gw_keyed_concurrency_change(c, cap);
}

gw_keyed_concurrency *gw_keyed_concurrency_new(uint32_t cap, uint32_t max_keys)
{
    size_t bytes = gw_keyed_concurrency_bytes(max_keys);
    gw_keyed_concurrency *c = bytes ? calloc(1, bytes) : NULL;
    if (c && gw_keyed_concurrency_init(c, cap, max_keys) != GW_OK) {
        free(c);
        c = NULL;
    }
    return c;
}

void gw_keyed_concurrency_free(gw_keyed_concurrency *c)
{
    free(c);
}

/* Where a key's window begins, by the upper half of its hash; the tag is the lower 48 bits. */
static uint32_t find_window(const gw_keyed_concurrency *c, const char *key, size_t len, uint64_t *tag)
{
    uint64_t hash = gw_hash_keyed(key, len);
    *tag = hash << 16;
    return (uint32_t)((hash >> 32) * c->homes >> 32);
}

/* The word in which the key has requests in flight (not `but`), or -1. */
static int find_word(const gw_keyed_concurrency *c, uint32_t window, uint64_t tag, int but)
{
    for (uint32_t i = window; i < window + GW_CONCURRENCY_WINDOW; i++) {
        uint64_t word = atomic_load(&c->words[i]);
        if ((word & ~COUNT_MASK) == tag && (word & COUNT_MASK) && (int)i != but)
            return (int)i;
    }
    return -1;
}

int gw_keyed_concurrency_enter(gw_keyed_concurrency *c, const char *key, size_t len)
{
    uint64_t tag, word;
    uint32_t window = find_window(c, key, len, &tag), cap = load(&c->cap);
    for (;;) {
        int at = find_word(c, window, tag, -1);
        if (at >= 0) {
            word = atomic_load(&c->words[at]);
            while ((word & ~COUNT_MASK) == tag && (word & COUNT_MASK)) {
                if ((word & COUNT_MASK) >= cap)
                    return GW_LIMIT;
                if (atomic_compare_exchange_weak(&c->words[at], &word, word + 1))
                    return at;
            }
            continue; /* the last one just left, and the word with him */
        }
        for (uint32_t i = window; i < window + GW_CONCURRENCY_WINDOW && at < 0; i++) {
            word = atomic_load(&c->words[i]);
            if (!(word & COUNT_MASK) && atomic_compare_exchange_strong(&c->words[i], &word, tag | 1))
                at = (int)i;
        }
        if (at < 0)
            return GW_LIMIT;
        if (gw_likely(find_word(c, window, tag, at) < 0))
            return at;
        /* Two first requests of a key at the same instant: each sees the other's word, and tries again without its own. */
        gw_keyed_concurrency_leave(c, at);
    }
}

void gw_keyed_concurrency_leave(gw_keyed_concurrency *c, int place)
{
    if (place < 0 || (uint32_t)place >= c->word_count)
        return;
    uint64_t word = atomic_load(&c->words[place]);
    while ((word & COUNT_MASK) && !atomic_compare_exchange_weak(&c->words[place], &word, word - 1))
        ;
}

uint32_t gw_keyed_concurrency_in_flight(const gw_keyed_concurrency *c, const char *key, size_t len)
{
    uint64_t tag;
    uint32_t window = find_window(c, key, len, &tag);
    int at = find_word(c, window, tag, -1);
    return at < 0 ? 0 : (uint32_t)(atomic_load(&c->words[at]) & COUNT_MASK);
}

int gw_keyed_concurrency_change(gw_keyed_concurrency *c, uint32_t cap)
{
    if (cap == 0 || cap > GW_CONCURRENCY_KEYED_MOST)
        return GW_INVALID;
    store(&c->cap, cap);
    return GW_OK;
}
