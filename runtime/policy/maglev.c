/* Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4): a lookup table
 * that the slots fill by turns, each in the order of a permutation of its own, until it is full. Shares are even to within one entry a
 * slot, a pick is one look, and when a slot comes or goes few of the others' entries change hands.
 *
 *     h = fmix64(fnv1a64(NAME))     offset = h mod M     skip = fmix64(h + golden) mod (M - 1) + 1     permutation[j] = (offset + j·skip) mod M
 *     a key's entry: key mod M
 *
 * Weights, which the paper leaves out: in round k a slot takes an entry only while it has fewer than its weight's share of what the
 * heaviest slot has had. Everybody takes one in the first round, so that no slot is without. Slots take turns in the order of their names,
 * so that the table does not depend on the order in which a name server gave them. */
#include "policy/bounded_load.h"
#include <stdlib.h>

typedef struct turn {
    uint16_t slot;
    uint32_t weight;
    uint32_t at, skip; /* where its permutation stands */
    uint64_t due;      /* takes an entry in round k when k × weight has reached this */
} turn;

static int by_name(const void *a, const void *b, void *data)
{
    const gw_balancer_slot *slots = data;
    const gw_slice *p = &slots[((const turn *)a)->slot].name, *q = &slots[((const turn *)b)->slot].name;
    size_t shorter = p->len < q->len ? p->len : q->len;
    int order = shorter ? memcmp(p->ptr, q->ptr, shorter) : 0;
    return order ? order : (p->len > q->len) - (p->len < q->len);
}

static void fill(uint16_t *entry, turn *turns, uint32_t count, uint32_t heaviest)
{
    bool taken[GW_MAGLEV_SIZE] = {false};
    uint32_t filled = 0;
    for (uint64_t round = 1;; round++) {
        for (uint32_t i = 0; i < count; i++) {
            turn *t = &turns[i];
            if (round * t->weight < t->due)
                continue;
            t->due += heaviest;
            while (taken[t->at])
                t->at = t->at + t->skip >= GW_MAGLEV_SIZE ? t->at + t->skip - GW_MAGLEV_SIZE : t->at + t->skip;
            taken[t->at] = true;
            entry[t->at] = t->slot;
            if (++filled == GW_MAGLEV_SIZE)
                return;
        }
    }
}

static int build(const gw_balancer_table *table, gw_balancer_group *g, const gw_balancer_slot *slots)
{
    uint16_t *entry = malloc(GW_MAGLEV_SIZE * sizeof *entry);
    turn *turns = malloc(g->count * sizeof *turns);
    if (!entry || !turns) {
        free(entry);
        free(turns);
        return GW_NOMEM;
    }
    uint32_t heaviest = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        uint16_t slot = g->member[i];
        uint64_t h = table->seat[slot].identity;
        turns[i] = (turn){slot, slots[slot].weight, (uint32_t)(h % GW_MAGLEV_SIZE),
                          (uint32_t)(gw_mix64(h + GW_GOLDEN) % (GW_MAGLEV_SIZE - 1) + 1), 0};
        heaviest = slots[slot].weight > heaviest ? slots[slot].weight : heaviest;
    }
    qsort_r(turns, g->count, sizeof *turns, by_name, (void *)slots);
    fill(entry, turns, g->count, heaviest);
    free(turns);
    g->data = entry;
    return GW_OK;
}

/* Next preferences: the entries of the key hashed again. (Not the entries beside: permutations of alike skips lie side by side, so the keys
 * of a slot that is out would go to some of the others far more than to the rest.) */
static int pick(const gw_pick *p)
{
    const uint16_t *entry = p->group->data;
    uint64_t key = p->query->key;
    gw_bound bound = gw_bound_of(p);
    int full = -1;
    for (uint32_t walked = 0; walked < GW_WALK_MOST; walked++) {
        uint32_t slot = entry[key % GW_MAGLEV_SIZE];
        if (gw_pick_usable(p, slot)) {
            if (gw_bound_allows(bound, p->table, slot))
                return (int)slot;
            full = full < 0 ? (int)slot : full;
        }
        key = gw_mix64(key + GW_GOLDEN);
    }
    return gw_bound_last(p, bound, full);
}

const gw_balancer_ops gw_maglev_ops = {.name = "maglev", .by_key = true, .build = build, .release = free, .pick = pick};
