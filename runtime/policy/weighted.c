/* Smooth weighted round robin: nginx, commit 52327e0627f4 (ngx_http_upstream_round_robin.c, 2012). On each pick every peer's current
 * weight grows by its weight, the largest is taken (the first of equals), and the sum of all weights is taken off it: weights 5, 1, 1 give
 * a a b a c a a, where naive rounds give a a a a a b c.
 *
 * nginx keeps the current weights in each worker (or under a lock, in a zone). After as many picks as the sum of the weights they are all
 * zero again: so the sequence is periodic, and can be worked out when the table is made. What threads share is one position. */
#include "policy/weighted.h"
#include "policy/balancer_parts.h"
#include <stdlib.h>

enum { TURN_MOST = 65536 };
static const uint64_t STEPS_MOST = 1u << 26; /* entries × weights: some 50 ms on the control path */

static uint32_t divisor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The weights in lowest terms, scaled if need be. Returns their sum. */
static uint32_t reduce(const uint32_t *weights, uint32_t count, uint32_t *reduced)
{
    uint32_t common = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        common = divisor(weights[i], common);
        sum += weights[i];
    }
    sum /= common;
    uint64_t scaled = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t w = weights[i] / common;
        if (sum > TURN_MOST) {
            w = w * TURN_MOST / sum;
            w += w == 0;
        }
        reduced[i] = (uint32_t)w;
        scaled += w;
    }
    return (uint32_t)scaled; /* at most TURN_MOST + count */
}

static void fill_smooth(gw_sequence *s, const uint32_t *weights, uint32_t count, int64_t *current)
{
    for (uint32_t i = 0; i < count; i++)
        current[i] = 0;
    for (uint32_t at = 0; at < s->length; at++) {
        uint32_t best = 0;
        for (uint32_t i = 0; i < count; i++) {
            current[i] += weights[i];
            if (current[i] > current[best])
                best = i;
        }
        current[best] -= s->length;
        s->entry[at] = (uint16_t)best;
    }
}

/* Thousands of endpoints of large weights: the k-th turn of weight w is due at (k + 1/2) / w. As smooth, the same shares, sorted in no
 * time, though not nginx's very order. */
typedef struct due {
    uint64_t at; /* fixed point, 40 bits */
    uint32_t entry;
} due;

static int due_order(const void *a, const void *b)
{
    const due *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->entry < y->entry ? -1 : x->entry > y->entry;
}

static bool fill_due(gw_sequence *s, const uint32_t *weights, uint32_t count)
{
    due *all = malloc(s->length * sizeof *all);
    if (!all)
        return false;
    uint32_t filled = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < weights[i]; k++)
            all[filled++] = (due){((2 * (uint64_t)k + 1) << 40) / (2 * (uint64_t)weights[i]), i};
    }
    qsort(all, filled, sizeof *all, due_order);
    for (uint32_t i = 0; i < filled; i++)
        s->entry[i] = (uint16_t)all[i].entry;
    free(all);
    return true;
}

gw_sequence *gw_sequence_new(const uint32_t *weights, uint32_t count)
{
    uint32_t *reduced = malloc(count * sizeof *reduced);
    if (!reduced)
        return NULL;
    uint32_t length = reduce(weights, count, reduced);
    gw_sequence *s = malloc(sizeof *s + length * sizeof *s->entry);
    bool done = false;
    if (s) {
        s->length = length;
        if ((uint64_t)length * count <= STEPS_MOST) {
            int64_t *current = malloc(count * sizeof *current);
            if (current) {
                fill_smooth(s, reduced, count, current);
                done = true;
            }
            free(current);
        } else {
            done = fill_due(s, reduced, count);
        }
    }
    free(reduced);
    if (!done) {
        free(s);
        s = NULL;
    }
    return s;
}

static int build(const gw_balancer_table *table, gw_balancer_group *g, const gw_balancer_slot *slots)
{
    (void)table;
    uint32_t *weights = malloc(g->count * sizeof *weights);
    if (!weights)
        return GW_NOMEM;
    for (uint32_t i = 0; i < g->count; i++)
        weights[i] = slots[g->member[i]].weight;
    gw_sequence *s = gw_sequence_new(weights, g->count);
    free(weights);
    if (!s)
        return GW_NOMEM;
    for (uint32_t i = 0; i < s->length; i++)
        s->entry[i] = g->member[s->entry[i]];
    g->data = s;
    return GW_OK;
}

/* As in round robin, the position moves behind the entry that was taken: over a whole turn the slots that are left get just their weights'
 * shares. Where nearly the whole turn belongs to slots that are out, chance decides instead of a long walk: the same shares. */
static int pick(const gw_pick *p)
{
    const gw_sequence *s = p->group->data;
    uint64_t cursor = atomic_load_explicit(&p->state->cursor, memory_order_relaxed);
    for (;;) {
        uint32_t at = (uint32_t)(gw_likely(cursor < s->length) ? cursor : cursor % s->length), walked = 0;
        while (!gw_pick_usable(p, s->entry[at])) {
            if (++walked == s->length || walked == GW_WALK_MOST)
                return gw_pick_by_weight(p, -1);
            at = at + 1 == s->length ? 0 : at + 1;
        }
        uint64_t next = at + 1 == s->length ? 0 : at + 1;
        if (atomic_compare_exchange_weak_explicit(&p->state->cursor, &cursor, next, memory_order_relaxed, memory_order_relaxed))
            return s->entry[at];
    }
}

const gw_balancer_ops gw_weighted_ops = {.name = "weighted", .build = build, .release = free, .pick = pick};
