/* Drawing two different slots by chance, in proportion to their weights: "the power of two choices" (Mitzenmacher, 1996: the better of two
 * random ones is nearly as good as the best of all, costs the same for any number, and does not send everybody to the same one). For
 * runtime/policy/. */
#ifndef GW_POLICY_TWO_CHOICES_H
#define GW_POLICY_TWO_CHOICES_H

#include "policy/balancer_parts.h"

typedef struct gw_lottery gw_lottery;

/* `which ? yes : no` without a branch: what chance decides no processor predicts. */
static inline uint32_t gw_either(bool which, uint32_t yes, uint32_t no)
{
    return no ^ ((no ^ yes) & -(uint32_t)which);
}

/* Over the members of a group. NULL: memory is out. free() it. */
gw_lottery *gw_lottery_new(const gw_balancer_table *table, const gw_balancer_group *group);
/* Up to two different members that can be had, by query->random. Returns how many: 0 only when there is none. */
int gw_lottery_draw(const gw_lottery *l, const gw_pick *p, uint32_t out[2]);
/* The better of two by live requests for their weight; of equals the first, which chance chose by weight. */
uint32_t gw_less_loaded(const gw_balancer_table *table, uint32_t a, uint32_t b);

#endif
