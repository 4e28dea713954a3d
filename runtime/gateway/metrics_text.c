#include "gateway/metrics_text.h"
#include "gateway/metrics.h"
#include "gateway/metrics_script.h"
#include <math.h>
#include <stdlib.h>

static inline uint64_t load(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

#define FAMILY(p, name, type, help) gw_page_family((p), GW_SLICE(name), GW_PAGE_##type, (help))

/* ---- routes ---- */

typedef struct codes {
    gw_page *page;
    uint64_t *sums; /* of one route; zero between routes */
    uint64_t seen[(GW_METRICS_CODES + 63) / 64];
} codes;

static void write_codes(const gw_metrics_block *b, void *data)
{
    codes *c = data;
    gw_metrics_codes((const gw_route_metrics *)b, c->sums, c->seen);
    char bytes[512], *big = NULL;
    size_t room = b->labels.len + 64;
    if (room > sizeof bytes && !(big = malloc(room))) {
        c->page->failed = true;
        return;
    }
    gw_text t = gw_text_on(big ? big : bytes, room);
    gw_text_slice(&t, b->labels);
    for (size_t w = 0; w < GW_COUNT(c->seen); w++)
        for (; c->seen[w]; c->seen[w] &= c->seen[w] - 1) {
            uint32_t code = (uint32_t)w * 64 + (uint32_t)__builtin_ctzll(c->seen[w]);
            int status;
            gw_text labels = t;
            gw_text_lit(&labels, ",method=\"");
            gw_text_slice(&labels, gw_slice_str(gw_metrics_code(code, &status)));
            gw_text_lit(&labels, "\",status=\"");
            gw_text_u64(&labels, (uint64_t)status);
            gw_text_lit(&labels, "\"");
            gw_page_u64(c->page, gw_text_done(&labels), c->sums[code]);
            c->sums[code] = 0;
        }
    free(big);
}

void gw_histogram_write(gw_page *p, gw_slice labels, const gw_histogram *h, const gw_exemplar *exemplars)
{
    uint64_t sum = 0;
    for (int i = 0; i < GW_DURATION_BUCKETS; i++) {
        sum += h->bucket[i];
        gw_page_bucket(p, labels, i < GW_DURATION_BUCKETS - 1 ? gw_duration_bounds[i] : INFINITY, sum);
        char id[GW_REQUEST_ID_MAX];
        size_t len;
        double seconds, at;
        if (exemplars && p->openmetrics && gw_exemplar_read(&exemplars[i], id, &len, &seconds, &at))
            gw_page_exemplar(p, gw_slice_of(id, len), seconds, at);
    }
    gw_page_sum_ns(p, labels, h->sum_ns);
    gw_page_count(p, labels, sum);
}

static void write_route_duration(const gw_metrics_block *b, void *data)
{
    const gw_route_metrics *m = (const gw_route_metrics *)b;
    gw_histogram sum = {0};
    for (uint32_t w = 0; w < b->workers; w++)
        gw_histogram_add(&sum, &m->cells[w].duration);
    gw_histogram_write(data, b->labels, &sum, m->exemplar);
}

static void write_upstream_duration(const gw_metrics_block *b, void *data)
{
    const gw_upstream_metrics *m = (const gw_upstream_metrics *)b;
    gw_histogram sum = {0};
    for (uint32_t w = 0; w < b->workers; w++)
        gw_histogram_add(&sum, &m->cells[w].duration);
    gw_histogram_write(data, b->labels, &sum, NULL);
}

/* ---- plain counts ---- */

/* Where a count stands in a worker's cells, and a label beside the block's own. */
typedef struct count {
    gw_page *page;
    size_t cells, cell, offset;
    gw_slice label;
} count;

static void write_count(const gw_metrics_block *b, void *data)
{
    const count *c = data;
    uint64_t sum = 0;
    const char *cell = (const char *)b + c->cells + c->offset;
    for (uint32_t w = 0; w < b->workers; w++, cell += c->cell)
        sum += load((const uint64_t *)(const void *)cell);
    if (!c->label.len) {
        gw_page_u64(c->page, b->labels, sum);
        return;
    }
    size_t room = b->labels.len + c->label.len + 1;
    char *bytes = malloc(room);
    if (!bytes) {
        c->page->failed = true;
        return;
    }
    gw_text t = gw_text_on(bytes, room);
    gw_text_slice(&t, b->labels);
    gw_text_lit(&t, ",");
    gw_text_slice(&t, c->label);
    gw_page_u64(c->page, gw_text_done(&t), sum);
    free(bytes);
}

#define CELLS(type, member)                                                                                                      \
    .cells = sizeof(gw_##type##_metrics), .cell = sizeof(gw_##type##_cells), .offset = offsetof(gw_##type##_cells, member)

static void write_counts(gw_page *p, enum gw_metrics_kind kind, count c)
{
    c.page = p;
    gw_metrics_each(kind, write_count, &c);
}

static void write_routes(gw_page *p)
{
    codes c = {.page = p, .sums = calloc(GW_METRICS_CODES, sizeof(uint64_t))};
    if (!c.sums) {
        p->failed = true;
        return;
    }
    FAMILY(p, "gateway_requests", COUNTER,
           "Requests that ended, however they ended; status 499: the client went away before its answer, "
           "0: cut without an answer.");
    gw_metrics_each(GW_METRICS_ROUTE, write_codes, &c);
    free(c.sums);
    FAMILY(p, "gateway_request_duration_seconds", HISTOGRAM, "From the complete request head to the end of the answer.");
    gw_metrics_each(GW_METRICS_ROUTE, write_route_duration, p);
    FAMILY(p, "gateway_request_body_bytes", COUNTER, "Bytes of request bodies, without their framing.");
    write_counts(p, GW_METRICS_ROUTE, (count){CELLS(route, request_bytes)});
    FAMILY(p, "gateway_response_body_bytes", COUNTER, "Bytes of response bodies sent to clients, without their framing.");
    write_counts(p, GW_METRICS_ROUTE, (count){CELLS(route, response_bytes)});
    FAMILY(p, "gateway_client_aborts", COUNTER,
           "Requests whose client went away, or was too slow, before the answer was complete.");
    write_counts(p, GW_METRICS_ROUTE, (count){CELLS(route, client_aborts)});
    FAMILY(p, "gateway_responses_cut", COUNTER,
           "Answers that were begun and could not be completed, by no fault of the client's.");
    write_counts(p, GW_METRICS_ROUTE, (count){CELLS(route, cut)});
    FAMILY(p, "gateway_rate_limited", COUNTER, "Requests refused by rate and concurrency limits.");
    write_counts(p, GW_METRICS_LIMITER, (count){CELLS(limiter, refused)});
}

/* ---- upstreams ---- */

static void write_upstreams(gw_page *p)
{
    static const struct {
        enum gw_upstream_fault fault;
        gw_slice label;
    } faults[] = {
        {GW_FAILED_CONNECT, GW_SLICE("reason=\"connect\"")}, {GW_FAILED_RESET, GW_SLICE("reason=\"reset\"")},
        {GW_FAILED_TIMEOUT, GW_SLICE("reason=\"timeout\"")}, {GW_FAILED_RESPONSE, GW_SLICE("reason=\"response\"")},
        {GW_FAILED_OURS, GW_SLICE("reason=\"gateway\"")},
    };
    FAMILY(p, "gateway_upstream_duration_seconds", HISTOGRAM,
           "The upstream's share of a request: from the first try to the end of the last.");
    gw_metrics_each(GW_METRICS_UPSTREAM, write_upstream_duration, p);
    FAMILY(p, "gateway_upstream_errors", COUNTER,
           "Tries that failed: no connection, reset, too slow, an answer that cannot be read or broke off, or by the gateway's "
           "doing.");
    for (size_t i = 0; i < GW_COUNT(faults); i++) {
        count c = {CELLS(upstream, failed), .label = faults[i].label};
        c.offset += faults[i].fault * sizeof(uint64_t);
        write_counts(p, GW_METRICS_UPSTREAM, c);
    }
    FAMILY(p, "gateway_upstream_connects", COUNTER, "Connections begun.");
    write_counts(p, GW_METRICS_UPSTREAM, (count){CELLS(upstream, upstream_connects)});
    FAMILY(p, "gateway_upstream_retries", COUNTER, "Tries after the first, hedges aside.");
    write_counts(p, GW_METRICS_UPSTREAM, (count){CELLS(upstream, retries)});
    FAMILY(p, "gateway_upstream_retries_refused", COUNTER, "Retries and hedges that the retry budget refused.");
    write_counts(p, GW_METRICS_UPSTREAM, (count){CELLS(upstream, retries_refused)});
    FAMILY(p, "gateway_upstream_hedges", COUNTER, "Second tries begun beside a first that was late.");
    write_counts(p, GW_METRICS_UPSTREAM, (count){CELLS(upstream, hedges)});
    FAMILY(p, "gateway_upstream_refused", COUNTER,
           "Picks that an open breaker refused; requests past the upstream's concurrency limit.");
    write_counts(p, GW_METRICS_UPSTREAM, (count){CELLS(upstream, breaker_refused), .label = GW_SLICE("reason=\"breaker\"")});
    write_counts(p, GW_METRICS_UPSTREAM,
                 (count){CELLS(upstream, concurrency_refused), .label = GW_SLICE("reason=\"concurrency\"")});
    FAMILY(p, "gateway_upstream_ejections", COUNTER, "Endpoints taken out because too many requests to them failed.");
    write_counts(p, GW_METRICS_UPSTREAM, (count){CELLS(upstream, ejected)});
}

/* ---- endpoints ---- */

typedef struct endpoints {
    gw_page *page;
    const gw_generation *g;
    int64_t now;
} endpoints;

typedef void write_endpoint(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now);

/* Calls f for each endpoint of the current sets, with its labels. Sets are swapped on this thread only. */
static void each_endpoint(const endpoints *all, write_endpoint *f)
{
    for (uint32_t i = 0; i < all->g->upstream_count && !all->page->failed; i++) {
        const gw_upstream *u = all->g->upstreams[i];
        const gw_endpoint_set *set = atomic_load_explicit(&u->set, memory_order_acquire);
        gw_slice name = u->metrics->block.labels;
        size_t room = name.len + 16 + 3 * GW_ADDRESS_TEXT;
        char *bytes = malloc(room);
        if (!bytes) {
            all->page->failed = true;
            return;
        }
        gw_text t = gw_text_on(bytes, room);
        gw_text_slice(&t, name);
        gw_text_lit(&t, ",");
        for (uint32_t k = 0; k < set->count; k++) {
            gw_text labels = t;
            gw_metrics_label(&labels, "endpoint", set->slot[k].endpoint->text);
            f(all->page, gw_text_done(&labels), u, set->slot[k].endpoint, all->now);
        }
        free(bytes);
    }
}

static void write_healthy(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    (void)u, (void)now;
    uint32_t down = atomic_load_explicit(&e->down, memory_order_relaxed);
    gw_page_u64(p, labels, !(down & (GW_HEALTH_DOWN_ACTIVE | GW_HEALTH_DOWN_PASSIVE)));
}

static void write_drained(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    (void)u, (void)now;
    gw_page_u64(p, labels, (atomic_load_explicit(&e->down, memory_order_relaxed) & GW_HEALTH_DRAINED) != 0);
}

static void write_in_flight(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    (void)u, (void)now;
    gw_page_u64(p, labels, atomic_load_explicit(&e->load.in_flight, memory_order_relaxed));
}

/* A worker may be between two writes while we add: what is idle is then no part of what is there, and never below zero. */
static void pool_of(const gw_endpoint *e, uint64_t *idle, uint64_t *busy)
{
    uint64_t all = 0;
    *idle = 0;
    for (uint32_t w = 0; w < e->worker_count; w++) {
        *idle += __atomic_load_n(&e->worker[w].idle_count, __ATOMIC_RELAXED);
        all += __atomic_load_n(&e->worker[w].connections, __ATOMIC_RELAXED);
    }
    *busy = all > *idle ? all - *idle : 0;
}

static void write_idle(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    (void)u, (void)now;
    uint64_t idle, busy;
    pool_of(e, &idle, &busy);
    gw_page_u64(p, labels, idle);
}

static void write_busy(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    (void)u, (void)now;
    uint64_t idle, busy;
    pool_of(e, &idle, &busy);
    gw_page_u64(p, labels, busy);
}

static void write_breaker(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    if (u->breaker_on)
        gw_page_u64(p, labels, (uint64_t)gw_breaker_state(&e->breaker, now));
}

static void write_opened(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    (void)now;
    if (u->breaker_on)
        gw_page_u64(p, labels, atomic_load_explicit(&e->breaker.opened, memory_order_relaxed));
}

static void write_closed(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    (void)now;
    if (u->breaker_on)
        gw_page_u64(p, labels, atomic_load_explicit(&e->breaker.closed, memory_order_relaxed));
}

static void write_probed_down(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    (void)now;
    if (u->probe.on)
        gw_page_u64(p, labels, atomic_load_explicit(&e->active_downs, memory_order_relaxed));
}

static void write_probed_up(gw_page *p, gw_slice labels, const gw_upstream *u, const gw_endpoint *e, int64_t now)
{
    (void)now;
    if (u->probe.on)
        gw_page_u64(p, labels, atomic_load_explicit(&e->active_ups, memory_order_relaxed));
}

static void write_endpoints(gw_page *p, const gw_generation *g, int64_t now)
{
    endpoints all = {p, g, now};
    FAMILY(p, "gateway_upstream_healthy", GAUGE, "1: neither probes nor requests say that the endpoint is down.");
    each_endpoint(&all, write_healthy);
    FAMILY(p, "gateway_upstream_drained", GAUGE, "1: an operator took the endpoint out of rotation.");
    each_endpoint(&all, write_drained);
    FAMILY(p, "gateway_upstream_requests_in_flight", GAUGE, "Tries under way.");
    each_endpoint(&all, write_in_flight);
    FAMILY(p, "gateway_upstream_connections_idle", GAUGE, "Connections kept for the next request.");
    each_endpoint(&all, write_idle);
    FAMILY(p, "gateway_upstream_connections_busy", GAUGE, "Connections in use, or being opened.");
    each_endpoint(&all, write_busy);
    FAMILY(p, "gateway_breaker_state", GAUGE, "0: closed, 1: open, 2: half-open; of upstreams that have breakers.");
    each_endpoint(&all, write_breaker);
    FAMILY(p, "gateway_breaker_opened", COUNTER, "Times the endpoint's breaker opened.");
    each_endpoint(&all, write_opened);
    FAMILY(p, "gateway_breaker_closed", COUNTER, "Times the endpoint's breaker closed again.");
    each_endpoint(&all, write_closed);
    FAMILY(p, "gateway_upstream_probed_down", COUNTER, "Times active probes took the endpoint out.");
    each_endpoint(&all, write_probed_down);
    FAMILY(p, "gateway_upstream_probed_up", COUNTER, "Times active probes let the endpoint in again.");
    each_endpoint(&all, write_probed_up);
}

void gw_metrics_write(gw_page *p, const gw_generation *g, int64_t now)
{
    write_routes(p);
    write_upstreams(p);
    if (g)
        write_endpoints(p, g, now);
    gw_script_metrics_write(p, g ? g->metrics : NULL, g ? g->metric_count : 0);
}
