#include "policy/keyed_table.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/hash.h"

_Static_assert(sizeof(gw_key_slot) == 16, "a slot is 16 bytes: with GW_KEY_HOMES that is what a key costs");
_Static_assert(sizeof(gw_key_table) == 2 * GW_CACHE_LINE, "as said in the header");

#define CLAIMED ((uint64_t)0) /* ref of a slot whose claim is not settled */
#define SETTLED ((uint64_t)1) /* and of one that is, without hits */
#define REF_MOST ((uint64_t)3)
#define HUGE_PAGE ((size_t)2 << 20)
#define SWEEP_LEAST 192 /* slots the hand looks at before it takes the least referenced of them: 64 keys of a full table */

uint32_t gw_key_table_slots(uint32_t most)
{
    return GW_KEY_HOMES(most) + GW_KEY_WINDOW - 1;
}

void gw_key_table_init(gw_key_table *t, gw_key_slot *slots, uint32_t most,
                       enum gw_key_worth (*worth)(const gw_key_table *, const gw_key_slot *, uint64_t, int64_t))
{
    memset(t, 0, sizeof *t);
    t->slots = slots;
    t->worth = worth;
    t->most = most;
    t->homes = GW_KEY_HOMES(most);
    t->slot_count = gw_key_table_slots(most);
}

void *gw_key_table_memory(size_t bytes)
{
    bool large = bytes >= HUGE_PAGE / 2;
    size_t align = large ? HUGE_PAGE : GW_CACHE_LINE, whole = (bytes + align - 1) / align * align;
    void *memory = bytes ? aligned_alloc(align, whole) : NULL;
    if (!memory)
        return NULL;
    if (large)
        (void)madvise(memory, whole, MADV_HUGEPAGE); /* where it cannot be, small pages do */
    return memset(memory, 0, whole);
}

uint64_t gw_key_tag(const char *key, size_t len)
{
    uint64_t tag = gw_hash_keyed(key, len) & ~GW_KEY_REF_MASK;
    return gw_likely(tag != 0) ? tag : GW_KEY_REF_MASK + 1;
}

static gw_key_slot *window_of(const gw_key_table *t, uint64_t tag)
{
    return t->slots + ((tag >> 32) * t->homes >> 32);
}

gw_key_slot *gw_key_table_find(const gw_key_table *t, uint64_t tag)
{
    gw_key_slot *slot = window_of(t, tag);
    for (int i = 0; i < GW_KEY_WINDOW; i++) {
        if (gw_key_is(slot + i, tag))
            return slot + i;
    }
    return NULL;
}

/* How little it matters to lose an entry: the lowest goes first. */
static unsigned score(const gw_key_table *t, const gw_key_slot *slot, uint64_t tag, int64_t now)
{
    enum gw_key_worth worth = t->worth(t, slot, tag & ~GW_KEY_REF_MASK, now);
    if (worth == GW_KEY_IDLE)
        return 0;
    return (unsigned)(tag & GW_KEY_REF_MASK) + (worth == GW_KEY_PRECIOUS ? REF_MOST + 1 : 0);
}

/* Moves the hand until it has evicted a key. False: there was nobody. */
static bool evict(gw_key_table *t, int64_t now)
{
    gw_key_slot *least = NULL;
    uint64_t least_tag = 0;
    unsigned least_score = ~0u;
    for (uint64_t step = 0; step < 2 * (uint64_t)t->slot_count + SWEEP_LEAST; step++) {
        if (step >= SWEEP_LEAST && least) {
            if (atomic_compare_exchange_strong(&least->tag, &least_tag, 0))
                return true;
            least = NULL;
            least_score = ~0u;
        }
        gw_key_slot *slot = t->slots + atomic_fetch_add_explicit(&t->hand, 1, memory_order_relaxed) % t->slot_count;
        uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire);
        if (tag == 0 || (tag & GW_KEY_REF_MASK) == CLAIMED)
            continue;
        unsigned s = score(t, slot, tag, now);
        if (s <= SETTLED) {
            if (atomic_compare_exchange_strong(&slot->tag, &tag, 0))
                return true;
            continue;
        }
        if ((tag & GW_KEY_REF_MASK) > SETTLED) {
            uint64_t lower = tag - 1;
            if (!atomic_compare_exchange_strong(&slot->tag, &tag, lower))
                continue;
            tag = lower;
        }
        if (s < least_score) {
            least = slot;
            least_tag = tag;
            least_score = s;
        }
    }
    return least && atomic_compare_exchange_strong(&least->tag, &least_tag, 0);
}

/* Makes the slot the key's, if its tag is still `old`. What the last owner left behind is wiped, unless somebody who found the key at
 * once has written over it. */
static bool claim(gw_key_slot *slot, uint64_t old, uint64_t tag)
{
    uint64_t left = atomic_load(&slot->state);
    if (!atomic_compare_exchange_strong(&slot->tag, &old, tag))
        return false;
    atomic_compare_exchange_strong(&slot->state, &left, 0);
    return true;
}

/* Gives a claim back, if it is still not settled. */
static void give_back(gw_key_table *t, gw_key_slot *slot, uint64_t tag)
{
    uint64_t claimed = tag | CLAIMED;
    if (atomic_compare_exchange_strong(&slot->tag, &claimed, 0))
        atomic_fetch_sub(&t->held, 1);
}

/* Decides on a claim, be it one's own or another thread's: true when the slot is the key's, and it was this thread that settled it. */
static bool settle(gw_key_table *t, gw_key_slot *slot, uint64_t tag)
{
    gw_key_slot *window = window_of(t, tag);
    for (gw_key_slot *other = window; other < window + GW_KEY_WINDOW; other++) {
        uint64_t there = atomic_load(&other->tag);
        if (other == slot || (there & ~GW_KEY_REF_MASK) != tag)
            continue;
        if ((there & GW_KEY_REF_MASK) != CLAIMED || other < slot) {
            give_back(t, slot, tag);
            return false;
        }
        give_back(t, other, tag);
        /* Still there: it was settled before it could be given back, and wins. */
        if ((atomic_load(&other->tag) & ~GW_KEY_REF_MASK) == tag)
            return false;
    }
    uint64_t claimed = tag | CLAIMED;
    return atomic_compare_exchange_strong(&slot->tag, &claimed, tag | SETTLED);
}

/* Claims a slot for a key that is in none; NULL: look again. */
static gw_key_slot *insert(gw_key_table *t, uint64_t tag, int64_t now)
{
    gw_key_slot *window = window_of(t, tag), *slot = NULL, *least = NULL;
    uint64_t least_tag = 0;
    unsigned least_score = ~0u;
    for (int i = 0; i < GW_KEY_WINDOW && !slot; i++) {
        uint64_t there = atomic_load_explicit(&window[i].tag, memory_order_acquire);
        if (there == 0) {
            slot = window + i;
            break;
        }
        if ((there & ~GW_KEY_REF_MASK) == tag)
            return NULL;
        if ((there & GW_KEY_REF_MASK) == CLAIMED)
            continue;
        unsigned s = score(t, window + i, there, now);
        if (s < least_score) {
            least = window + i;
            least_tag = there;
            least_score = s;
        }
    }
    if (gw_unlikely(!slot)) {
        /* The window is full, though the table is at most two fifths full: one goes for another, and the number held stays. */
        if (!least || !claim(least, least_tag, tag | CLAIMED))
            return NULL;
        slot = least;
    } else {
        /* One more, or one for another: whoever comes too late for a place takes that of the key it evicts. */
        uint32_t held = atomic_load(&t->held);
        do {
            if (held >= t->most) {
                if (!evict(t, now))
                    return NULL;
                break;
            }
        } while (!atomic_compare_exchange_weak(&t->held, &held, held + 1));
        if (!claim(slot, 0, tag | CLAIMED)) {
            atomic_fetch_sub(&t->held, 1);
            return NULL;
        }
    }
    return slot;
}

gw_key_slot *gw_key_table_get(gw_key_table *t, uint64_t tag, int64_t now)
{
    for (;;) {
        gw_key_slot *slot = gw_key_table_find(t, tag);
        if (gw_likely(slot != NULL)) {
            uint64_t there = atomic_load_explicit(&slot->tag, memory_order_acquire), ref = there & GW_KEY_REF_MASK;
            if (gw_unlikely((there & ~GW_KEY_REF_MASK) != tag))
                continue;
            if (gw_likely(ref == REF_MOST))
                return slot;
            if (ref != CLAIMED) {
                atomic_compare_exchange_strong_explicit(&slot->tag, &there, there + 1, memory_order_relaxed,
                                                        memory_order_relaxed);
                return slot;
            }
        } else {
            slot = insert(t, tag, now);
        }
        if (slot && settle(t, slot, tag))
            return slot;
    }
}
