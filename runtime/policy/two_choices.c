#include "policy/two_choices.h"
#include <stdlib.h>

/* Walker's alias method, as Vose builds it ("A linear algorithm for generating random numbers with a given distribution", IEEE TSE 1991):
 * a column for each member, cut in two at `cut`, the lower part its own, the upper part its alias's. */
typedef struct column {
    uint32_t cut; /* of 2^32 */
    uint16_t own, alias;
} column;

struct gw_lottery {
    uint32_t count;
    bool even; /* all weights alike: no columns */
    column column[];
};

gw_lottery *gw_lottery_new(const gw_balancer_table *table, const gw_balancer_group *group)
{
    uint32_t n = group->count;
    gw_lottery *l = malloc(sizeof *l + n * sizeof *l->column);
    /* What each column has left, in units where a full column is group->weight and a member brings its weight times n. */
    uint64_t *left = malloc(n * sizeof *left);
    uint32_t *stack = malloc(n * sizeof *stack);
    if (!l || !left || !stack) {
        free(l);
        free(left);
        free(stack);
        return NULL;
    }
    l->count = n;
    l->even = true;
    uint32_t small = 0, large = n; /* the stack's two ends: columns below the full height grow up, the others down */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t weight = table->seat[group->member[i]].weight;
        l->even = l->even && weight == table->seat[group->member[0]].weight;
        left[i] = (uint64_t)weight * n;
        l->column[i] = (column){UINT32_MAX, group->member[i], group->member[i]};
        if (left[i] < group->weight)
            stack[small++] = i;
        else
            stack[--large] = i;
    }
    while (small > 0 && large < n) {
        uint32_t low = stack[--small], high = stack[large++];
        l->column[low].cut = (uint32_t)(((unsigned __int128)left[low] << 32) / group->weight);
        l->column[low].alias = group->member[high];
        left[high] -= group->weight - left[low];
        if (left[high] < group->weight)
            stack[small++] = high;
        else
            stack[--large] = high;
    }
    free(left);
    free(stack);
    return l;
}

/* 32 random bits: their product with the count has the column above the point and the place in it below. */
static inline uint32_t draw(const gw_lottery *l, uint32_t bits)
{
    uint64_t product = (uint64_t)bits * l->count;
    const column *c = &l->column[product >> 32];
    return gw_either((uint32_t)product < c->cut, c->own, c->alias);
}

int gw_lottery_draw(const gw_lottery *l, const gw_pick *p, uint32_t out[2])
{
    const uint16_t *member = p->group->member;
    uint64_t bits = p->query->random;
    if (gw_likely(p->open && l->even)) {
        uint32_t n = l->count, a = (uint32_t)((bits & UINT32_MAX) * n >> 32);
        out[0] = member[a];
        if (n == 1)
            return 1;
        uint32_t b = (uint32_t)((bits >> 32) * (n - 1) >> 32);
        out[1] = member[b + (b >= a)];
        return 2;
    }
    int found = 0;
    if (gw_likely(p->open)) {
        out[0] = draw(l, (uint32_t)bits);
        out[1] = draw(l, (uint32_t)(bits >> 32));
        if (gw_likely(out[0] != out[1]))
            return 2;
        found = 1;
        bits = gw_mix64(bits);
    }
    for (int round = 0; round < 8; round++) {
        for (int half = 0; half < 2; half++, bits = bits >> 32) {
            uint32_t slot = draw(l, (uint32_t)bits);
            if ((found == 1 && slot == out[0]) || !gw_pick_usable(p, slot))
                continue;
            out[found++] = slot;
            if (found == 2)
                return 2;
        }
        bits = gw_mix64(p->query->random + (uint64_t)(round + 1) * GW_GOLDEN);
    }
    /* Few are left, or one has nearly all of the weight. */
    while (found < 2) {
        int slot = gw_pick_by_weight(p, found ? (int)out[0] : -1);
        if (slot < 0)
            break;
        out[found++] = (uint32_t)slot;
    }
    return found;
}

uint32_t gw_less_loaded(const gw_balancer_table *table, uint32_t a, uint32_t b)
{
    uint64_t of_a = (uint64_t)gw_seat_in_flight(table, a) * table->seat[b].weight;
    uint64_t of_b = (uint64_t)gw_seat_in_flight(table, b) * table->seat[a].weight;
    return gw_either(of_b < of_a, b, a);
}
