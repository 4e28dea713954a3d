#include "policy/breaker_table.h"

#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(sizeof(gw_breakers) == 4 * GW_CACHE_LINE, "as said in the header");

/* What the 56 bits of a slot say: the slot's breaker has been made ready for this key. */
#define READY 1

/* The time does not matter: an open breaker is not forgotten for having waited long enough. */
static enum gw_key_worth worth(const gw_key_table *t, const gw_key_slot *slot, uint64_t tag, int64_t now)
{
    const gw_breakers *b = gw_container_of(t, gw_breakers, table);
    (void)tag, (void)now;
    return gw_breaker_is_closed(&b->breakers[slot - t->slots]) ? GW_KEY_LIVE : GW_KEY_PRECIOUS;
}

size_t gw_breakers_bytes(uint32_t max_keys)
{
    if (max_keys == 0 || max_keys > GW_BREAKERS_MOST)
        return 0;
    return sizeof(gw_breakers) + (size_t)gw_key_table_slots(max_keys) * (sizeof(gw_breaker) + sizeof(gw_key_slot));
}

int gw_breakers_init(gw_breakers *t, const gw_breaker_settings *settings, uint32_t max_keys)
{
    if (!gw_breakers_bytes(max_keys) || gw_breaker_rules_init(&t->rules, settings) != GW_OK)
        return GW_INVALID;
    uint32_t count = gw_key_table_slots(max_keys);
    t->breakers = (gw_breaker *)(t + 1);
    gw_key_table_init(&t->table, (gw_key_slot *)(t->breakers + count), max_keys, worth);
    for (uint32_t i = 0; i < count; i++)
        gw_breaker_init(t->breakers + i, &t->rules);
    return GW_OK;
}

gw_breakers *gw_breakers_new(const gw_breaker_settings *settings, uint32_t max_keys)
{
    size_t bytes = gw_breakers_bytes(max_keys);
    gw_breakers *t = gw_key_table_memory(bytes);
    if (t && gw_breakers_init(t, settings, max_keys) != GW_OK) {
        free(t);
        t = NULL;
    }
    return t;
}

void gw_breakers_free(gw_breakers *t)
{
    free(t);
}

gw_breaker *gw_breakers_of(gw_breakers *t, const char *key, size_t len, int64_t now)
{
    uint64_t tag = gw_key_tag(key, len);
    for (;;) {
        gw_key_slot *slot = gw_key_table_get(&t->table, tag, now);
        gw_breaker *b = t->breakers + (slot - t->table.slots);
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        if (gw_unlikely(!gw_key_is(slot, tag)))
            continue;
        if (gw_likely(gw_key_unpack(state, tag) == READY))
            return b;
        /* The last key's breaker. Two who come here at once reset it twice, before either uses it. */
        gw_breaker_reset(b);
        if (atomic_compare_exchange_strong(&slot->state, &state, gw_key_pack(READY, tag)))
            return b;
    }
}

gw_breaker *gw_breakers_find(const gw_breakers *t, const char *key, size_t len)
{
    uint64_t tag = gw_key_tag(key, len);
    const gw_key_slot *slot = gw_key_table_find(&t->table, tag);
    if (!slot || gw_key_unpack(atomic_load_explicit(&slot->state, memory_order_acquire), tag) != READY)
        return NULL;
    return t->breakers + (slot - t->table.slots);
}

/* Those that are worth it: first open and half-open ones, then closed ones that have counted something, while there is room. */
void gw_breakers_adopt(gw_breakers *t, const gw_breakers *from, int64_t now)
{
    for (int closed = 0; closed < 2; closed++) {
        for (uint32_t i = 0; i < from->table.slot_count; i++) {
            const gw_key_slot *slot = from->table.slots + i;
            const gw_breaker *b = from->breakers + i;
            uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire) & ~GW_KEY_REF_MASK;
            if (tag == 0 || gw_key_unpack(atomic_load_explicit(&slot->state, memory_order_acquire), tag) != READY ||
                gw_breaker_is_closed(b) != closed || gw_breaker_is_blank(b) || (closed && gw_breakers_count(t) >= t->table.most))
                continue;
            gw_key_slot *mine = gw_key_table_get(&t->table, tag, now);
            gw_breaker_copy(t->breakers + (mine - t->table.slots), b);
            atomic_store_explicit(&mine->state, gw_key_pack(READY, tag), memory_order_release);
        }
    }
}

int gw_breakers_change(gw_breakers *t, const gw_breaker_settings *settings)
{
    return gw_breaker_rules_init(&t->rules, settings);
}

uint32_t gw_breakers_count(const gw_breakers *t)
{
    return atomic_load_explicit(&t->table.held, memory_order_relaxed);
}
