/* Random with two choices: two slots by weight, the one with fewer live requests for its weight. */
#include "policy/two_choices.h"
#include <stdlib.h>

static int build(const gw_balancer_table *table, gw_balancer_group *g, const gw_balancer_slot *slots)
{
    (void)slots;
    g->data = gw_lottery_new(table, g);
    return g->data ? GW_OK : GW_NOMEM;
}

static int pick(const gw_pick *p)
{
    uint32_t two[2];
    int found = gw_lottery_draw(p->group->data, p, two);
    if (found < 2)
        return found ? (int)two[0] : -1;
    return (int)gw_less_loaded(p->table, two[0], two[1]);
}

const gw_balancer_ops gw_random_ops = {.name = "random", .build = build, .release = free, .pick = pick};
