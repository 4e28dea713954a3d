/* Least connections: the slot with the fewest live requests for its weight, compared without division (a/v < b/w as a·w < b·v). The count
 * is taken at the pick, so a connection that is still being opened counts, and by compare-and-swap from the value that was compared: two
 * workers that saw the same least loaded slot do not both take it. Among equals, weighted round robin decides, as in nginx: the first of
 * them in the sequence from the shared position on.
 *
 * Up to 64 slots all are compared. Beyond, or when the config says so, two by chance: reading a thousand counters that other workers
 * write costs more than a slightly better choice is worth. */
#include "policy/two_choices.h"
#include "policy/weighted.h"
#include <stdlib.h>

enum { COMPARE_MOST = 64 }; /* equals are bits of a word */

static inline bool compares_two(const gw_balancer_table *table, const gw_balancer_group *g)
{
    return table->config.two_choices || g->count > COMPARE_MOST;
}

static int build(const gw_balancer_table *table, gw_balancer_group *g, const gw_balancer_slot *slots)
{
    if (compares_two(table, g)) {
        g->data = gw_lottery_new(table, g);
    } else {
        uint32_t weights[COMPARE_MOST];
        for (uint32_t i = 0; i < g->count; i++)
            weights[i] = slots[g->member[i]].weight;
        g->data = gw_sequence_new(weights, g->count);
    }
    return g->data ? GW_OK : GW_NOMEM;
}

static int pick_of_two(const gw_pick *p)
{
    uint32_t two[2];
    int found = gw_lottery_draw(p->group->data, p, two);
    if (found == 0)
        return -1;
    uint32_t slot = found == 2 ? gw_less_loaded(p->table, two[0], two[1]) : two[0];
    atomic_fetch_add_explicit(&p->table->seat[slot].load->in_flight, 1, memory_order_relaxed);
    return (int)slot;
}

typedef struct least {
    uint64_t equals; /* members of the least load, by their place in the group; 0: nobody can be had */
    uint64_t count, weight;
} least;

static least compare_all(const gw_pick *p)
{
    const gw_balancer_group *g = p->group;
    least found = {0, 0, 1};
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t slot = g->member[i];
        if (!gw_pick_usable(p, slot))
            continue;
        uint64_t count = gw_seat_in_flight(p->table, slot), weight = p->table->seat[slot].weight;
        uint64_t mine = count * found.weight, its = found.count * weight;
        if (!found.equals || mine < its)
            found = (least){1ULL << i, count, weight};
        else if (mine == its)
            found.equals |= 1ULL << i;
    }
    return found;
}

/* The first of the equals in the sequence; *next is where the sequence goes on behind it. */
static uint32_t break_tie(const gw_sequence *s, uint64_t cursor, uint64_t equals, uint64_t *next)
{
    uint32_t at = (uint32_t)(gw_likely(cursor < s->length) ? cursor : cursor % s->length);
    for (uint32_t walked = 0; walked < s->length && walked < GW_WALK_MOST; walked++) {
        uint32_t member = s->entry[at];
        at = at + 1 == s->length ? 0 : at + 1;
        if (equals >> member & 1) {
            *next = at;
            return member;
        }
    }
    *next = at;
    return (uint32_t)__builtin_ctzll(equals);
}

static int pick(const gw_pick *p)
{
    const gw_balancer_group *g = p->group;
    if (compares_two(p->table, g))
        return pick_of_two(p);
    for (;;) {
        least found = compare_all(p);
        if (!found.equals)
            return -1;
        uint64_t next, cursor = atomic_load_explicit(&p->state->cursor, memory_order_relaxed);
        uint32_t slot = g->member[break_tie(g->data, cursor, found.equals, &next)];
        /* The load of this one of the equals: their ratios are the same, so this comes out even. */
        uint64_t weight = p->table->seat[slot].weight;
        uint32_t count = (uint32_t)(weight == found.weight ? found.count : found.count * weight / found.weight);
        if (!atomic_compare_exchange_strong_explicit(&p->table->seat[slot].load->in_flight, &count, count + 1,
                                                     memory_order_relaxed, memory_order_relaxed))
            continue; /* somebody else picked it, or was done with it: progress was made */
        /* If it has moved meanwhile, somebody broke a tie at the same time: one step for both is as fair. */
        atomic_compare_exchange_strong_explicit(&p->state->cursor, &cursor, next, memory_order_relaxed, memory_order_relaxed);
        return (int)slot;
    }
}

const gw_balancer_ops gw_least_conn_ops = {.name = "least_conn", .counts = true, .build = build, .release = free, .pick = pick};
