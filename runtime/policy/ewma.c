/* Peak EWMA, after Finagle (com.twitter.finagle.loadbalancer.PeakEwma): an exponentially weighted moving average of latency that jumps up
 * to a peak at once and comes down with time, times the live requests; the less costly of two choices. An error counts as a slow answer,
 * and every further one as twice as slow, so that an endpoint that refuses at once does not look like the fastest.
 *
 *     latency word    63            32 31             0
 *                    | stamp          | cost          |    0: nothing seen yet
 *
 *     cost   float: average latency in ns, 1 or more
 *     stamp  when it was last brought up to date, in 65,536 ns: comes round after 78 hours. Who is asked after so long a rest may look as
 *            if it rested less: that is harmless */
#include "policy/two_choices.h"
#include <stdlib.h>

enum { TICK_SHIFT = 16 };
static const float COST_MOST = 60e9f; /* one minute: errors double up to here */
static const float UNKNOWN = 1e15f;   /* no answer yet, but somebody asks already: let others wait until it is heard of */

static inline uint64_t word_of(uint32_t stamp, float cost)
{
    uint32_t bits;
    memcpy(&bits, &cost, sizeof bits);
    return (uint64_t)stamp << 32 | bits;
}

static inline float cost_of(uint64_t word)
{
    uint32_t bits = (uint32_t)word;
    float cost;
    memcpy(&cost, &bits, sizeof cost);
    return cost;
}

/* 2^-x for x ≥ 0, within 0.02 %: whole powers by the exponent's bits, the rest by a cubic that meets both ends, so that it is continuous
 * and only ever falls. A library's exp would take most of a pick. */
static inline float half_to(float x)
{
    x = x < 120.0f ? x : 120.0f;
    int32_t whole = (int32_t)x;
    uint32_t bits = (uint32_t)(126 - whole) << 23;
    float g = (float)(whole + 1) - x, scale;
    memcpy(&scale, &bits, sizeof scale);
    return scale * ((1 + 0.6958f * g) + g * g * (0.2252f + 0.0790f * g));
}

/* exp(-age / decay) of what a word holds; `rate` is that of decay_rate. */
static inline float weight_of_old(uint32_t tick, uint64_t word, float rate)
{
    uint32_t age = tick - (uint32_t)(word >> 32);
    if (age > UINT32_MAX - (1u << 20)) /* stamped by a thread whose clock was read a little later */
        age = 0;
    return half_to((float)age * rate);
}

/* Halvings a tick. */
static inline float decay_rate(const gw_balancer_config *config)
{
    return 1.44269504f /* log2 e */ * (float)(1 << TICK_SHIFT) / (float)config->decay;
}

static void observe(const gw_balancer_config *config, gw_load *load, int64_t now, bool ok, int64_t latency)
{
    uint32_t tick = (uint32_t)((uint64_t)now >> TICK_SHIFT);
    uint64_t old = atomic_load_explicit(&load->latency, memory_order_relaxed), new;
    do {
        float cost = cost_of(old), sample = (float)latency;
        if (!ok) {
            sample = sample < (float)config->error_penalty ? (float)config->error_penalty : sample;
            sample = sample < 2 * cost ? 2 * cost : sample;
        }
        sample = sample < 1 ? 1 : sample;
        sample = sample > COST_MOST ? COST_MOST : sample;
        if (sample < cost) { /* never of nothing: that costs 0 */
            float keep = weight_of_old(tick, old, decay_rate(config));
            sample = cost * keep + sample * (1 - keep);
            sample = sample < 1 ? 1 : sample;
        }
        new = word_of(tick, sample);
    } while (!atomic_compare_exchange_weak_explicit(&load->latency, &old, new, memory_order_relaxed, memory_order_relaxed));
}

static void prepare(gw_balancer_table *table)
{
    table->decay_rate = decay_rate(&table->config);
}

static int build(const gw_balancer_table *table, gw_balancer_group *g, const gw_balancer_slot *slots)
{
    (void)slots;
    g->data = gw_lottery_new(table, g);
    return g->data ? GW_OK : GW_NOMEM;
}

/* Cost of one more request: cost × (live requests for the weight + 1). The cost fades also while nobody asks, so that a slot that was slow
 * once is tried again. */
static inline float score(const gw_balancer_table *table, uint32_t slot, uint32_t tick, float rate)
{
    const gw_seat *seat = &table->seat[slot];
    float load = (float)atomic_load_explicit(&seat->load->in_flight, memory_order_relaxed) * seat->per_request;
    uint64_t word = atomic_load_explicit(&seat->load->latency, memory_order_relaxed);
    if (word == 0)
        return load == 0 ? 0 : UNKNOWN * load;
    return cost_of(word) * weight_of_old(tick, word, rate) * (load + 1);
}

static int pick(const gw_pick *p)
{
    uint32_t two[2];
    int found = gw_lottery_draw(p->group->data, p, two);
    if (found < 2)
        return found ? (int)two[0] : -1;
    uint32_t tick = (uint32_t)((uint64_t)p->query->now >> TICK_SHIFT);
    float rate = p->table->decay_rate;
    float a = score(p->table, two[0], tick, rate), b = score(p->table, two[1], tick, rate);
    return (int)gw_either(b < a, two[1], two[0]);
}

const gw_balancer_ops gw_ewma_ops = {
    .name = "ewma", .prepare = prepare, .build = build, .release = free, .pick = pick, .observe = observe};
