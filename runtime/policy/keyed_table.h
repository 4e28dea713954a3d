/* A word of state for each key, in a table of fixed size: what the keyed limiters and the keyed breakers stand on.
 *
 * No locks: a slot is found by scanning GW_KEY_WINDOW slots from where the key's hash points (linear probing; two and a half slots a key keep
 * the scans short), and is claimed, evicted and handed on by compare-and-swap on its tag alone.
 *
 *     tag     | 62 bits of keyed hash                          | ref (2) |    0: the slot is free
 *     state   | check (8) | 56 bits that belong to the user of the table |
 *
 * - `check` repeats 8 bits of the tag. A thread that is still at work for a key that was evicted meanwhile writes the old key's check,
 *   and the new key's readers see that those 56 bits are not theirs; they read as 0, which must mean "nothing known".
 * - ref: 0: the slot is claimed, but the claim is not settled; else 1 and the hits that CLOCK knows of, at most 2.
 * - Eviction is generalised CLOCK: a hit raises ref, the hand lowers it, and takes the first that has no hits left. A new key has none, so a flood of keys that are seen once evicts its own kind, and a key that is asked for once a turn of the hand
 *   stays. Before all that, whatever the user says is not worth keeping (idle) goes first. At most `most` keys are held, exactly.
 * - Keys are known by 62 bits of SipHash-1-3 with the process's secret. Two keys that share them share one state: among a million keys
 *   one in nine million tables has such a pair, and nobody who lacks the secret can choose one. So keys may have any length and contents,
 *   and a key costs 40 bytes: two and a half slots of 16.
 * - Threads that bring the same new key at the same moment may claim several slots. So a claim is settled before anybody uses the slot:
 *   whoever meets one that is not (its maker need not come back) looks through the window; a settled slot of the same key wins over all
 *   claims, else the first claim does, and the others are given back. One compare-and-swap on the tag decides it. */
#ifndef GW_POLICY_KEYED_TABLE_H
#define GW_POLICY_KEYED_TABLE_H

#include "policy/now.h"

#ifndef GW_CDEF
#include <stdatomic.h>
#endif

#define GW_KEY_WINDOW 32 /* slots a key may stand in */
/* Places where windows begin, for so many keys that may be held: two and a half slots a key. Fewer, and full windows throw out keys that are
 * in use; more, and the table falls out of the cache sooner, which is what a large one costs. */
#define GW_KEY_HOMES(most) ((uint32_t)((uint64_t)(most)*5 / 2))
#define GW_KEY_MOST (1 << 28) /* keys at most */

typedef struct gw_key_slot {
    _Atomic uint64_t tag, state;
} gw_key_slot;

typedef struct gw_key_table gw_key_table;

/* What an entry is worth to the user of the table. Called while evicting, by any thread. */
enum gw_key_worth {
    GW_KEY_IDLE,    /* forgetting it changes nothing */
    GW_KEY_LIVE,    /* kept by CLOCK */
    GW_KEY_PRECIOUS /* goes only when all around it are the same */
};

/* 128 bytes; what changes has a cache line apart from what does not. */
struct gw_key_table {
    gw_key_slot *slots;
    enum gw_key_worth (*worth)(const gw_key_table *table, const gw_key_slot *slot, uint64_t tag, int64_t now);
    uint32_t homes;      /* slots where a window can begin */
    uint32_t slot_count; /* homes + GW_KEY_WINDOW - 1: windows need not wrap */
    uint32_t most;
    char apart[36];
    _Atomic uint32_t held; /* keys now, those being claimed included */
    _Atomic uint32_t hand;
    char apart_too[56];
};

/* Slots that a table for `most` keys has. */
GW_API uint32_t gw_key_table_slots(uint32_t most);

#ifndef GW_CDEF
/* slots: gw_key_table_slots(most) of them, zeroed. */
void gw_key_table_init(gw_key_table *t, gw_key_slot *slots, uint32_t most,
                       enum gw_key_worth (*worth)(const gw_key_table *, const gw_key_slot *, uint64_t, int64_t));

/* Zeroed memory for a table with all that belongs to it; free() takes it back. A large one stands on huge pages where the system has them:
 * keys hash all over it, and the walk through page tables that each would cost takes longer than all the rest. NULL: out of memory. */
void *gw_key_table_memory(size_t bytes);

/* The tag (ref 0) of a key. */
uint64_t gw_key_tag(const char *key, size_t len);
/* The key's slot, or NULL. Counts as no hit. */
gw_key_slot *gw_key_table_find(const gw_key_table *t, uint64_t tag);
/* The key's slot, made if need be. It may be another key's a moment later: read the state, then ask gw_key_is before believing it. */
gw_key_slot *gw_key_table_get(gw_key_table *t, uint64_t tag, int64_t now);

#define GW_KEY_STATE_BITS 56
#define GW_KEY_STATE_MASK (((uint64_t)1 << GW_KEY_STATE_BITS) - 1)
#define GW_KEY_REF_MASK ((uint64_t)3)

static inline bool gw_key_is(const gw_key_slot *slot, uint64_t tag)
{
    return (atomic_load_explicit(&slot->tag, memory_order_acquire) & ~GW_KEY_REF_MASK) == tag;
}

/* The user's 56 bits, 0 when the word is another key's. */
static inline uint64_t gw_key_unpack(uint64_t state, uint64_t tag)
{
    return state >> GW_KEY_STATE_BITS == (tag >> 2 & 0xff) ? state & GW_KEY_STATE_MASK : 0;
}

static inline uint64_t gw_key_pack(uint64_t bits, uint64_t tag)
{
    return (tag >> 2) << GW_KEY_STATE_BITS | bits;
}
#endif

#endif
