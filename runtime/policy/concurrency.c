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

/* ---- a key's word ---- */

#define CLAIM_YIELDS 16 /* times that a claim gives way to one in front of it */

/* Where a key's window begins, by the upper half of its hash; the tag is the lower 48 bits. */
static inline uint64_t tag_of(uint64_t hash)
{
    return hash << 16;
}

static inline uint32_t window_of(const gw_keyed_concurrency *c, uint64_t hash)
{
    return (uint32_t)((hash >> 32) * c->homes >> 32);
}

static inline bool is_of(uint64_t word, uint64_t tag)
{
    return (word & ~COUNT_MASK) == tag && (word & COUNT_MASK);
}

static inline bool is_claim(uint64_t word)
{
    return word != 0 && !(word & COUNT_MASK);
}

/* A claim that no other equals, so that whoever compares knows that it is still this one: number of the thread, and of its claims. */
static uint64_t claim_new(void)
{
    static _Atomic uint32_t threads;
    static _Thread_local uint32_t thread, count;
    while (gw_unlikely(!thread))
        thread = (atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1) & 0xffff;
    return (uint64_t)thread << 48 | (uint64_t)++count << 16;
}

/* The word in which the key has requests in flight, or -1. */
static int find_word(const gw_keyed_concurrency *c, uint32_t window, uint64_t tag)
{
    for (uint32_t i = window; i < window + GW_CONCURRENCY_WINDOW; i++) {
        if (is_of(atomic_load(&c->words[i]), tag))
            return (int)i;
    }
    return -1;
}

/* Puts the claim into a free word, or over somebody else's claim when there is none. -1: all are taken by keys. */
static int claim_word(gw_keyed_concurrency *c, uint32_t window, uint64_t claim)
{
    for (int over = 0; over < 2; over++) {
        for (uint32_t i = window; i < window + GW_CONCURRENCY_WINDOW; i++) {
            uint64_t word = atomic_load(&c->words[i]);
            if ((word == 0 || (over && is_claim(word))) && atomic_compare_exchange_strong(&c->words[i], &word, claim))
                return (int)i;
        }
    }
    return -1;
}

/* Whether the claim may become the key's: the key is in no other word, and all other claims that could become the same key's are gone. */
static bool claim_alone(gw_keyed_concurrency *c, uint32_t window, uint64_t tag, uint32_t mine, bool give_way)
{
    for (uint32_t i = window; i < window + GW_CONCURRENCY_WINDOW; i++) {
        uint64_t word = atomic_load(&c->words[i]);
        while (i != mine && is_claim(word)) {
            if (give_way && i < mine)
                return false;
            if (atomic_compare_exchange_strong(&c->words[i], &word, 0))
                word = 0;
        }
        if (is_of(word, tag))
            return false;
    }
    return true;
}

/* ---- entering and leaving ---- */

static uint32_t count_of(const gw_keyed_concurrency *c, uint64_t hash)
{
    int at = find_word(c, window_of(c, hash), tag_of(hash));
    uint64_t word = at < 0 ? 0 : atomic_load(&c->words[at]);
    return is_of(word, tag_of(hash)) ? (uint32_t)(word & COUNT_MASK) : 0;
}

/* Of the key, in the tables that this one has taken the place of. */
static uint32_t count_before(const gw_keyed_concurrency *c, uint64_t hash)
{
    uint32_t count = 0;
    for (c = atomic_load_explicit(&c->older, memory_order_acquire); gw_unlikely(c != NULL);
         c = atomic_load_explicit(&c->older, memory_order_acquire))
        count += count_of(c, hash);
    return count;
}

int gw_keyed_concurrency_enter(gw_keyed_concurrency *c, const char *key, size_t len)
{
    uint64_t hash = gw_hash_keyed(key, len), tag = tag_of(hash);
    uint32_t window = window_of(c, hash), cap = load(&c->cap), before = count_before(c, hash);
    if (gw_unlikely(before >= cap))
        return GW_LIMIT;
    cap -= before;
    for (int tries = 0;; tries++) {
        int at = find_word(c, window, tag);
        if (at >= 0) {
            uint64_t word = atomic_load(&c->words[at]);
            while (is_of(word, tag)) {
                if ((word & COUNT_MASK) >= cap)
                    return GW_LIMIT;
                if (atomic_compare_exchange_weak(&c->words[at], &word, word + 1))
                    return at;
            }
            continue; /* the last one just left, and the word with him */
        }
        uint64_t claim = claim_new(), there = claim;
        at = claim_word(c, window, claim);
        if (at < 0)
            return GW_LIMIT;
        if (gw_likely(claim_alone(c, window, tag, (uint32_t)at, tries < CLAIM_YIELDS))) {
            if (gw_likely(atomic_compare_exchange_strong(&c->words[at], &there, tag | 1)))
                return at;
        } else
            atomic_compare_exchange_strong(&c->words[at], &there, 0);
    }
}

void gw_keyed_concurrency_leave(gw_keyed_concurrency *c, int place)
{
    if (place < 0 || (uint32_t)place >= c->word_count)
        return;
    uint64_t word = atomic_load(&c->words[place]);
    while ((word & COUNT_MASK) && !atomic_compare_exchange_weak(&c->words[place], &word, (word & COUNT_MASK) == 1 ? 0 : word - 1))
        ;
}

uint32_t gw_keyed_concurrency_in_flight(const gw_keyed_concurrency *c, const char *key, size_t len)
{
    uint64_t hash = gw_hash_keyed(key, len);
    return count_of(c, hash) + count_before(c, hash);
}

bool gw_keyed_concurrency_idle(const gw_keyed_concurrency *c)
{
    for (; c; c = atomic_load_explicit(&c->older, memory_order_acquire)) {
        for (uint32_t i = 0; i < c->word_count; i++) {
            if (load(&c->words[i]) & COUNT_MASK)
                return false;
        }
    }
    return true;
}

void gw_keyed_concurrency_follow(gw_keyed_concurrency *c, const gw_keyed_concurrency *older)
{
    atomic_store_explicit(&c->older, older, memory_order_release);
}

uint32_t gw_keyed_concurrency_keys(const gw_keyed_concurrency *c)
{
    return c->homes / GW_CONCURRENCY_EACH;
}

int gw_keyed_concurrency_change(gw_keyed_concurrency *c, uint32_t cap)
{
    if (cap == 0 || cap > GW_CONCURRENCY_KEYED_MOST)
        return GW_INVALID;
    store(&c->cap, cap);
    return GW_OK;
}
