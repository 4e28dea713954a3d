#include "policy/balancer_parts.h"
#include <stdlib.h>

static const gw_balancer_ops *const algorithms[] = {&gw_round_robin_ops, &gw_weighted_ops, &gw_least_conn_ops, &gw_hash_ops,
                                                    &gw_maglev_ops,      &gw_ewma_ops,     &gw_random_ops};

int gw_balancer_config_init(gw_balancer_config *config, const char *name)
{
    memset(config, 0, sizeof *config);
    config->decay = 10000000000;
    config->error_penalty = 1000000000;
    config->virtual_nodes = GW_BALANCER_NODES;
    for (size_t i = 0; i < GW_COUNT(algorithms); i++) {
        if (strcmp(algorithms[i]->name, name) == 0) {
            config->ops = algorithms[i];
            return GW_OK;
        }
    }
    return GW_NOTFOUND;
}

bool gw_balancer_by_key(const gw_balancer_config *config)
{
    return config->ops->by_key;
}

const char *gw_balancer_name(const gw_balancer_config *config)
{
    return config->ops->name;
}

void gw_balancer_state_init(gw_balancer_state *state, uint64_t seed)
{
    atomic_init(&state->cursor, seed);
    atomic_init(&state->in_flight, 0);
}

uint64_t gw_balancer_key(const char *bytes, size_t len)
{
    return gw_mix64(gw_crc32(bytes, len));
}

/* ---- tables ---- */

static int check(const gw_balancer_config *config, const gw_balancer_slot *slots, uint32_t count)
{
    if (!config->ops || config->slow_start < 0 || config->decay <= 0 || config->error_penalty < 0 || config->virtual_nodes == 0 ||
        (config->load_factor != 0 && config->load_factor <= 100))
        return GW_INVALID;
    if (count > GW_BALANCER_SLOTS_MOST || config->virtual_nodes > GW_BALANCER_NODES_MOST)
        return GW_LIMIT;
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i].weight > GW_BALANCER_WEIGHT_MOST)
            return GW_LIMIT;
        if (!slots[i].load)
            return GW_INVALID;
    }
    return GW_OK;
}

/* The groups that slots of some weight name, in ascending order. GW_LIMIT: more than a table holds. */
static int find_groups(gw_balancer_table *t, const gw_balancer_slot *slots)
{
    for (uint32_t i = 0; i < t->slot_count; i++) {
        if (slots[i].weight == 0)
            continue;
        uint32_t at = 0;
        while (at < t->group_count && t->group[at].number < slots[i].group)
            at++;
        if (at == t->group_count || t->group[at].number != slots[i].group) {
            if (t->group_count == GW_BALANCER_GROUPS_MOST)
                return GW_LIMIT;
            memmove(&t->group[at + 1], &t->group[at], (t->group_count - at) * sizeof *t->group);
            memset(&t->group[at], 0, sizeof *t->group);
            t->group[at].number = slots[i].group;
            t->group_count++;
        }
        t->group[at].count++;
        t->group[at].weight += slots[i].weight;
    }
    return GW_OK;
}

static int fill_group(gw_balancer_table *t, gw_balancer_group *g, const gw_balancer_slot *slots)
{
    g->member = malloc(g->count * sizeof *g->member);
    g->bits = calloc(t->words, sizeof *g->bits);
    if (!g->member || !g->bits)
        return GW_NOMEM;
    uint32_t filled = 0;
    float average = (float)((double)g->weight / g->count);
    for (uint32_t i = 0; i < t->slot_count; i++) {
        if (slots[i].weight == 0 || slots[i].group != g->number)
            continue;
        g->member[filled++] = (uint16_t)i;
        g->bits[i / 64] |= 1ULL << i % 64;
        t->seat[i].per_request = average / (float)slots[i].weight;
    }
    return t->config.ops->build ? t->config.ops->build(t, g, slots) : GW_OK;
}

int gw_balancer_table_new(const gw_balancer_config *config, const gw_balancer_slot *slots, uint32_t count,
                          gw_balancer_table **out)
{
    *out = NULL;
    int status = check(config, slots, count);
    if (status)
        return status;
    gw_balancer_table *t = calloc(1, sizeof *t);
    if (!t)
        return GW_NOMEM;
    t->config = *config;
    t->slot_count = count;
    t->words = (count + 63) / 64;
    t->seat = calloc(count ? count : 1, sizeof *t->seat);
    status = t->seat ? find_groups(t, slots) : GW_NOMEM;
    for (uint32_t i = 0; i < count && status == GW_OK; i++) {
        t->seat[i].load = slots[i].load;
        t->seat[i].weight = slots[i].weight;
        t->seat[i].identity = gw_mix64(gw_hash(slots[i].name.ptr, slots[i].name.len));
    }
    if (config->ops->prepare)
        config->ops->prepare(t);
    for (uint32_t i = 0; i < t->group_count && status == GW_OK; i++)
        status = fill_group(t, &t->group[i], slots);
    if (status) {
        gw_balancer_table_free(t);
        return status;
    }
    *out = t;
    return GW_OK;
}

void gw_balancer_table_free(gw_balancer_table *table)
{
    if (!table)
        return;
    for (uint32_t i = 0; i < table->group_count; i++) {
        gw_balancer_group *g = &table->group[i];
        if (g->data)
            table->config.ops->release(g->data);
        free(g->member);
        free(g->bits);
    }
    free(table->seat);
    free(table);
}

/* ---- picks ---- */

/* A slot that came back takes part in a share of the picks that grows linearly to all of them: thinning, which needs no other table and
 * works the same in every algorithm. Never less than a hundredth, so that it is heard of at all. */
bool gw_pick_warm(const gw_pick *p, uint32_t slot)
{
    const gw_seat *seat = &p->table->seat[slot];
    int64_t since = atomic_load_explicit(&seat->load->since, memory_order_relaxed);
    if (gw_likely(since == 0))
        return true;
    int64_t full = p->table->config.slow_start, age;
    if (__builtin_sub_overflow(p->query->now, since, &age))
        age = since < 0 ? full : 0;
    if (age >= full)
        return true;
    double share = (double)age / (double)full;
    if (share < 0.01)
        share = 0.01;
    uint64_t draw = gw_mix64(p->chance ^ seat->identity);
    return (double)(draw >> 11) * 0x1p-53 < share;
}

int gw_pick_by_weight(const gw_pick *p, int but)
{
    const gw_balancer_group *g = p->group;
    const gw_seat *seat = p->table->seat;
    uint64_t whole = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->member[i] != but && gw_pick_usable(p, g->member[i]))
            whole += seat[g->member[i]].weight;
    }
    if (whole == 0)
        return -1;
    uint64_t draw = (uint64_t)((unsigned __int128)gw_mix64(p->chance + GW_GOLDEN) * whole >> 64);
    int last = -1;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->member[i] == but || !gw_pick_usable(p, g->member[i]))
            continue;
        last = g->member[i];
        if (draw < seat[last].weight)
            return last;
        draw -= seat[last].weight;
    }
    return last; /* only when a slow start began between the two passes */
}

static inline bool mask_empty(const gw_slot_mask *mask)
{
    return mask->word == 0 && mask->words == 0;
}

static int pick_in_groups(gw_pick *p)
{
    for (uint32_t i = 0; i < p->table->group_count; i++) {
        p->group = &p->table->group[i];
        int slot = p->table->config.ops->pick(p);
        if (gw_unlikely(slot < 0) && p->ramp) {
            /* All that is left is in its slow start: better a cold endpoint than none, or a backup. */
            gw_pick whole = *p;
            whole.ramp = false;
            slot = p->table->config.ops->pick(&whole);
        }
        if (gw_likely(slot >= 0))
            return slot;
    }
    return -1;
}

int gw_balancer_pick(const gw_balancer_table *table, gw_balancer_state *state, const gw_balancer_query *query)
{
    gw_pick p = {.table = table, .state = state, .query = query};
    p.chance = table->config.ops->by_key ? query->key : query->random;
    p.ramp = table->config.slow_start > 0;
    p.open = !p.ramp && mask_empty(&query->excluded) && mask_empty(&query->tried);
    int slot = pick_in_groups(&p);
    if (gw_unlikely(slot < 0))
        return -1;
    if (!table->config.ops->counts)
        atomic_fetch_add_explicit(&table->seat[slot].load->in_flight, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&state->in_flight, 1, memory_order_relaxed);
    return slot;
}

/* Never below zero: one done too many (a script may do that) must not make four billion live requests. */
static void count_down(_Atomic uint32_t *count)
{
    uint32_t n = atomic_load_explicit(count, memory_order_relaxed);
    while (n && !atomic_compare_exchange_weak_explicit(count, &n, n - 1, memory_order_relaxed, memory_order_relaxed))
        ;
}

void gw_balancer_done(const gw_balancer_config *config, gw_balancer_state *state, gw_load *load, int64_t now, bool ok,
                      int64_t latency)
{
    count_down(&load->in_flight);
    count_down(&state->in_flight);
    if (config->ops->observe && latency >= 0)
        config->ops->observe(config, load, now, ok, latency);
}

void gw_balancer_undone(gw_balancer_state *state, gw_load *load)
{
    atomic_fetch_add_explicit(&load->in_flight, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&state->in_flight, 1, memory_order_relaxed);
}
