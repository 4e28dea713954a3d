/* The upstreams of a snapshot and their endpoints: those that are in trouble first, so that they are not among what is left out. */
#include "process/snapshot.h"

#include "base/clock.h"
#include "gateway/metrics.h"
#include "process/supervisor.h"

typedef struct tally {
    uint32_t endpoints, down, open, drained, in_flight;
} tally;

static const char *const breaker_words[] = {
    [GW_BREAKER_CLOSED] = "\"closed\"", [GW_BREAKER_OPEN] = "\"open\"", [GW_BREAKER_HALF_OPEN] = "\"half_open\""};

static inline uint64_t load(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

static bool is_down(const gw_endpoint *e)
{
    return atomic_load_explicit(&e->down, memory_order_acquire) & (GW_HEALTH_DOWN_ACTIVE | GW_HEALTH_DOWN_PASSIVE);
}

static bool is_open(const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    return u->breaker_on && gw_breaker_state(&e->breaker, now) != GW_BREAKER_CLOSED;
}

static bool is_drained(const gw_endpoint *e)
{
    return atomic_load_explicit(&e->down, memory_order_acquire) & GW_HEALTH_DRAINED;
}

static bool in_trouble(const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    return is_down(e) || is_open(u, e, now) || is_drained(e);
}

static tally count(const gw_upstream *u, const gw_endpoint_set *set, int64_t now)
{
    tally sum = {.endpoints = set->count};
    for (uint32_t i = 0; i < set->count; i++) {
        const gw_endpoint *e = set->slot[i].endpoint;
        sum.down += is_down(e);
        sum.open += is_open(u, e, now);
        sum.drained += is_drained(e);
        sum.in_flight += atomic_load_explicit(&e->load.in_flight, memory_order_relaxed);
    }
    return sum;
}

static void add_endpoint(gw_text *t, const gw_upstream *u, const gw_endpoint_slot *slot, int64_t now)
{
    const gw_endpoint *e = slot->endpoint;
    uint32_t down = atomic_load_explicit(&e->down, memory_order_acquire);
    bool active = down & GW_HEALTH_DOWN_ACTIVE, passive = down & GW_HEALTH_DOWN_PASSIVE;
    uint64_t tries = 0, failed = 0, idle = 0, all = 0;
    for (uint32_t w = 0; w < e->worker_count; w++) {
        tries += load(&e->worker[w].tries);
        failed += load(&e->worker[w].failed);
        idle += __atomic_load_n(&e->worker[w].idle_count, __ATOMIC_RELAXED);
        all += __atomic_load_n(&e->worker[w].connections, __ATOMIC_RELAXED);
    }
    gw_text_lit(t, "{\"address\":");
    gw_text_json(t, e->text);
    gw_text_printf(t, ",\"weight\":%u,\"backup\":%s,\"healthy\":%s,\"down\":[%s%s%s],\"drained\":%s,\"breaker\":%s", slot->weight,
                   slot->group ? "true" : "false", active || passive ? "false" : "true", active ? "\"active\"" : "",
                   active && passive ? "," : "", passive ? "\"passive\"" : "", down & GW_HEALTH_DRAINED ? "true" : "false",
                   u->breaker_on ? breaker_words[gw_breaker_state(&e->breaker, now)] : "null");
    gw_text_printf(t, ",\"in_flight\":%u,\"tries\":%llu,\"failed\":%llu,\"idle\":%llu,\"busy\":%llu}",
                   atomic_load_explicit(&e->load.in_flight, memory_order_relaxed), (unsigned long long)tries,
                   (unsigned long long)failed, (unsigned long long)idle, (unsigned long long)(all > idle ? all - idle : 0));
}

/* Those of which in_trouble is `trouble`, at most so many more. */
static uint32_t add_endpoints(gw_text *t, const gw_upstream *u, const gw_endpoint_set *set, bool trouble, uint32_t told,
                              int64_t now)
{
    for (uint32_t i = 0; i < set->count && told < GW_SNAPSHOT_ENDPOINTS && !t->cut; i++) {
        if (in_trouble(u, set->slot[i].endpoint, now) != trouble)
            continue;
        if (told++)
            gw_text_lit(t, ",");
        add_endpoint(t, u, &set->slot[i], now);
    }
    return told;
}

static void add_counts(gw_text *t, const gw_upstream_metrics *m)
{
    gw_upstream_cells sum = {0};
    for (uint32_t w = 0; w < m->block.workers; w++) {
        const gw_upstream_cells *c = &m->cells[w];
        gw_histogram_add(&sum.duration, &c->duration);
        for (int i = 0; i < GW_FAILED_COUNT; i++)
            sum.failed[i] += load(&c->failed[i]);
        sum.upstream_connects += load(&c->upstream_connects);
        sum.retries += load(&c->retries);
        sum.retries_refused += load(&c->retries_refused);
        sum.hedges += load(&c->hedges);
        sum.breaker_refused += load(&c->breaker_refused);
        sum.concurrency_refused += load(&c->concurrency_refused);
        sum.ejected += load(&c->ejected);
    }
    gw_text_lit(t, ",\"durations\":[");
    for (int i = 0; i < GW_DURATION_BUCKETS; i++)
        gw_text_printf(t, "%s%llu", i ? "," : "", (unsigned long long)sum.duration.bucket[i]);
    gw_text_printf(t,
                   "],\"failed\":{\"connect\":%llu,\"reset\":%llu,\"timeout\":%llu,\"response\":%llu,\"gateway\":%llu},"
                   "\"connects\":%llu,\"retries\":%llu,\"retries_refused\":%llu,\"hedges\":%llu,"
                   "\"refused\":{\"breaker\":%llu,\"concurrency\":%llu},\"ejections\":%llu",
                   (unsigned long long)sum.failed[GW_FAILED_CONNECT], (unsigned long long)sum.failed[GW_FAILED_RESET],
                   (unsigned long long)sum.failed[GW_FAILED_TIMEOUT], (unsigned long long)sum.failed[GW_FAILED_RESPONSE],
                   (unsigned long long)sum.failed[GW_FAILED_OURS], (unsigned long long)sum.upstream_connects,
                   (unsigned long long)sum.retries, (unsigned long long)sum.retries_refused, (unsigned long long)sum.hedges,
                   (unsigned long long)sum.breaker_refused, (unsigned long long)sum.concurrency_refused,
                   (unsigned long long)sum.ejected);
}

static void add_upstream(gw_text *t, const gw_upstream *u, int64_t now)
{
    gw_endpoint_set *set = atomic_load_explicit(&u->set, memory_order_acquire); /* swapped on this thread only */
    gw_upstream_health_look(u, set);
    tally sum = count(u, set, now);
    gw_text_lit(t, "{\"name\":");
    gw_text_json(t, u->name);
    gw_text_printf(t, ",\"balance\":\"%s\",\"eligible\":%u,\"down\":%u,\"in_flight\":%u", gw_balancer_name(&u->balance),
                   atomic_load_explicit(&set->eligible, memory_order_relaxed), sum.down, sum.in_flight);
    if (u->metrics)
        add_counts(t, u->metrics);
    gw_text_lit(t, ",\"endpoints\":[");
    uint32_t told = add_endpoints(t, u, set, true, 0, now);
    told = add_endpoints(t, u, set, false, told, now);
    gw_text_printf(t, "],\"endpoints_left_out\":%u}", set->count - told);
}

static bool any_trouble(const tally *sum)
{
    return sum->down || sum->open || sum->drained;
}

void gw_upstreams_json(gw_text *t, const gw_supervisor *s)
{
    const gw_generation *g = s->live ? s->live->g : NULL;
    int64_t now = gw_clock_monotonic_ns();
    tally all = {0};
    uint32_t told = 0, there = g ? g->upstream_count : 0;
    gw_text_lit(t, ",\"upstreams\":[");
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < there && !t->cut; i++) {
            const gw_upstream *u = g->upstreams[i];
            tally sum = count(u, atomic_load_explicit(&u->set, memory_order_acquire), now);
            if (pass == 0) {
                all.endpoints += sum.endpoints;
                all.down += sum.down;
                all.open += sum.open;
                all.drained += sum.drained;
                all.in_flight += sum.in_flight;
            }
            if (any_trouble(&sum) != (pass == 0) || told >= GW_SNAPSHOT_UPSTREAMS)
                continue;
            if (told++)
                gw_text_lit(t, ",");
            add_upstream(t, u, now);
        }
    }
    gw_text_printf(t,
                   "],\"upstreams_left_out\":%u,\"endpoints\":{\"count\":%u,\"down\":%u,\"breakers_open\":%u,\"drained\":%u,"
                   "\"in_flight\":%u}",
                   there - told, all.endpoints, all.down, all.open, all.drained, all.in_flight);
}
