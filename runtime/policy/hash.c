/* Consistent hashing on a ring (Karger et al., 1997): each slot stands on it at `virtual_nodes` points a unit of weight; a key belongs to
 * the first point at or behind its own, round the end to the beginning. When a slot comes or goes, only the keys between its points and
 * those before them move: about 1/N.
 *
 *     point i of slot NAME    fmix64(crc32("NAME-i")) >> 32        a key's place    key >> 32
 *
 * CRC-32 alone is linear over GF(2): names that differ in one place would stand at a fixed exclusive-or of each other; hence the
 * finaliser. Where two points fall together the one of the smaller name stands first, so that the ring does not depend on the order of the
 * slots. A table of 2^b starts, one for each value of the highest b bits, leaves the binary search some four points to look at: with
 * fewer, the table itself would push the points out of the cache. */
#include "policy/bounded_load.h"
#include <stdio.h>
#include <stdlib.h>

enum { POINTS_MOST = 1 << 20 }; /* 8 MB: beyond, all slots have fewer points, in proportion, at least one */

typedef struct point {
    uint32_t at;
    uint32_t slot;
} point;

typedef struct ring {
    uint32_t count;
    uint32_t shift;  /* place >> shift is the index into start */
    uint32_t *start; /* start[v]: the first point whose highest bits are v or more; one entry more than there are values */
    point point[];
} ring;

static uint32_t points_of(const gw_balancer_table *table, const gw_balancer_group *g, uint32_t weight)
{
    uint64_t all = g->weight * table->config.virtual_nodes, mine = (uint64_t)weight * table->config.virtual_nodes;
    if (all > POINTS_MOST)
        mine = (uint64_t)((unsigned __int128)mine * POINTS_MOST / all);
    return mine ? (uint32_t)mine : 1;
}

static int by_place(const void *a, const void *b, void *data)
{
    const point *x = a, *y = b;
    const gw_balancer_slot *slots = data;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    const gw_slice *p = &slots[x->slot].name, *q = &slots[y->slot].name;
    size_t shorter = p->len < q->len ? p->len : q->len;
    int order = shorter ? memcmp(p->ptr, q->ptr, shorter) : 0;
    return order ? order : (p->len > q->len) - (p->len < q->len);
}

/* Returns false when memory is out. */
static bool add_points(ring *r, const gw_balancer_slot *slots, uint32_t slot, uint32_t count)
{
    enum { NUMBER = 12 };
    gw_slice name = slots[slot].name;
    char *text = malloc(name.len + NUMBER);
    if (!text)
        return false;
    if (name.len)
        memcpy(text, name.ptr, name.len);
    for (uint32_t i = 0; i < count; i++) {
        int digits = snprintf(text + name.len, NUMBER, "-%u", i);
        uint64_t at = gw_mix64(gw_crc32(text, name.len + (size_t)digits)) >> 32;
        r->point[r->count++] = (point){(uint32_t)at, slot};
    }
    free(text);
    return true;
}

static void release(void *data)
{
    ring *r = data;
    free(r->start);
    free(r);
}

static int build(const gw_balancer_table *table, gw_balancer_group *g, const gw_balancer_slot *slots)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->count; i++)
        count += points_of(table, g, slots[g->member[i]].weight);
    uint32_t bits = 1;
    while (4u << bits < count)
        bits++;
    ring *r = malloc(sizeof *r + count * sizeof *r->point);
    if (!r)
        return GW_NOMEM;
    r->count = 0;
    r->shift = 32 - bits;
    r->start = malloc((((size_t)1 << bits) + 1) * sizeof *r->start);
    bool complete = r->start != NULL;
    for (uint32_t i = 0; i < g->count && complete; i++)
        complete = add_points(r, slots, g->member[i], points_of(table, g, slots[g->member[i]].weight));
    if (!complete) {
        release(r);
        return GW_NOMEM;
    }
    qsort_r(r->point, r->count, sizeof *r->point, by_place, (void *)slots);
    uint32_t at = 0;
    for (uint32_t v = 0; v < 1u << bits; v++) {
        while (at < r->count && r->point[at].at >> r->shift < v)
            at++;
        r->start[v] = at;
    }
    r->start[1u << bits] = r->count;
    g->data = r;
    return GW_OK;
}

/* Index of the first point at or behind the place. The halves are chosen without a branch: no processor predicts them. */
static inline uint32_t find(const ring *r, uint32_t place)
{
    uint32_t low = r->start[place >> r->shift], left = r->start[(place >> r->shift) + 1] - low;
    while (left > 0) {
        uint32_t half = (left + 1) / 2;
        low += half & -(uint32_t)(r->point[low + half - 1].at < place);
        left -= half;
    }
    return low == r->count ? 0 : low;
}

/* Points of slots that are out are walked over: the next point's slot is the key's next preference, so the keys of a slot that is out
 * spread over all others, and come back to it. */
static int pick(const gw_pick *p)
{
    const ring *r = p->group->data;
    uint32_t at = find(r, (uint32_t)(p->query->key >> 32));
    gw_bound bound = gw_bound_of(p);
    int full = -1; /* the first preference that has reached its bound */
    for (uint32_t walked = 0; walked < r->count && walked < GW_WALK_MOST; walked++) {
        uint32_t slot = r->point[at].slot;
        if (gw_pick_usable(p, slot)) {
            if (gw_bound_allows(bound, p->table, slot))
                return (int)slot;
            full = full < 0 ? (int)slot : full;
        }
        at = at + 1 == r->count ? 0 : at + 1;
    }
    return gw_bound_last(p, bound, full);
}

const gw_balancer_ops gw_hash_ops = {.name = "hash", .by_key = true, .build = build, .release = release, .pick = pick};
