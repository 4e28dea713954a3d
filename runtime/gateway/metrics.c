#include "gateway/metrics.h"
#include "base/hash.h"
#include "base/text.h"
#include "gateway/flow.h"
#include "gateway/metrics_page.h"
#include <pthread.h>
#include <stdlib.h>

#define CHAINS 1024        /* of the table of names */
#define EXEMPLAR_EVERY 1.0 /* seconds: an exemplar is as old as that before another takes its place */

const double gw_duration_bounds[GW_DURATION_BUCKETS - 1] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

static const char *const method_names[GW_METRICS_METHODS] = {"GET",   "HEAD",    "POST",    "PUT",   "DELETE",
                                                             "PATCH", "OPTIONS", "CONNECT", "TRACE", "OTHER"};
_Static_assert(GW_METHOD_TRACE - GW_METHOD_GET == 8 && GW_METHOD_OTHER == GW_METHOD_TRACE + 1,
               "methods in the order of their names");

/* ---- the registry ---- */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static gw_metrics_block *registry[CHAINS];
static gw_list registry_all[GW_METRICS_KINDS] = {
    {&registry_all[0], &registry_all[0]},
    {&registry_all[1], &registry_all[1]},
    {&registry_all[2], &registry_all[2]},
};
static gw_list registry_kept = {&registry_kept, &registry_kept};
static uint32_t registry_kept_count;

static const struct {
    size_t head, cell;
} sizes[GW_METRICS_KINDS] = {
    [GW_METRICS_ROUTE] = {sizeof(gw_route_metrics), sizeof(gw_route_cells)},
    [GW_METRICS_UPSTREAM] = {sizeof(gw_upstream_metrics), sizeof(gw_upstream_cells)},
    [GW_METRICS_LIMITER] = {sizeof(gw_limiter_metrics), sizeof(gw_limiter_cells)},
};

static gw_metrics_block *block_new(enum gw_metrics_kind kind, gw_slice name, gw_slice part)
{
    uint32_t workers = gw_registry_workers();
    size_t cells = sizes[kind].head + workers * sizes[kind].cell;
    size_t room = name.len + part.len + 32 + (name.len + part.len) * 3; /* a byte may become three */
    size_t bytes = (cells + room + GW_CACHE_LINE - 1) / GW_CACHE_LINE * GW_CACHE_LINE;
    gw_metrics_block *b = aligned_alloc(GW_CACHE_LINE, bytes);
    if (!b)
        return NULL;
    memset(b, 0, bytes);
    char *at = (char *)b + cells;
    if (name.len)
        memcpy(at, name.ptr, name.len);
    b->name = gw_slice_of(at, name.len);
    at += name.len;
    if (part.len)
        memcpy(at, part.ptr, part.len);
    b->part = gw_slice_of(at, part.len);
    at += part.len;
    gw_text t = gw_text_on(at, (size_t)((char *)b + bytes - at));
    gw_metrics_label(&t, kind == GW_METRICS_UPSTREAM ? "upstream" : "route", b->name);
    if (kind == GW_METRICS_LIMITER) {
        gw_text_lit(&t, ",");
        gw_metrics_label(&t, "limiter", b->part);
    }
    b->labels = gw_text_done(&t);
    b->kind = kind;
    b->workers = workers;
    b->references = 1;
    gw_list_init(&b->kept);
    return b;
}

static void block_delete(gw_metrics_block *b) /* under the lock */
{
    gw_metrics_block **at = &registry[b->hash % CHAINS];
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    gw_list_remove(&b->link);
    if (!gw_list_empty(&b->kept)) {
        gw_list_remove(&b->kept);
        registry_kept_count--;
    }
    if (b->kind == GW_METRICS_ROUTE)
        for (uint32_t i = 0; i < b->workers; i++)
            free(((gw_route_metrics *)b)->cells[i].more);
    free(b);
}

/* No cell has counted anything: all of them are zeros. */
static bool block_empty(const gw_metrics_block *b)
{
    const char *cells = (const char *)b + sizes[b->kind].head;
    for (size_t i = 0, n = b->workers * sizes[b->kind].cell; i < n; i += sizeof(uint64_t))
        if (*(const uint64_t *)(const void *)(cells + i))
            return false;
    return true;
}

static gw_metrics_block *block_open(enum gw_metrics_kind kind, gw_slice name, gw_slice part)
{
    uint64_t hash = gw_mix64(gw_hash(name.ptr, name.len) * 31 + gw_hash(part.ptr, part.len) + kind);
    pthread_mutex_lock(&registry_lock);
    gw_metrics_block *b = registry[hash % CHAINS];
    while (b && !(b->hash == hash && b->kind == kind && b->workers == gw_registry_workers() && b->scope == gw_registry_scope() &&
                  gw_slice_equal(b->name, name) && gw_slice_equal(b->part, part)))
        b = b->next;
    if (b) {
        b->references++;
        if (!gw_list_empty(&b->kept)) {
            gw_list_remove(&b->kept);
            gw_list_init(&b->kept);
            registry_kept_count--;
        }
    } else if ((b = block_new(kind, name, part)) != NULL) {
        b->hash = hash;
        b->scope = gw_registry_scope();
        b->next = registry[hash % CHAINS];
        registry[hash % CHAINS] = b;
        gw_list_push_back(&registry_all[kind], &b->link);
    }
    pthread_mutex_unlock(&registry_lock);
    return b;
}

gw_route_metrics *gw_metrics_route(gw_slice name)
{
    return (gw_route_metrics *)block_open(GW_METRICS_ROUTE, name, GW_NO_SLICE);
}

gw_upstream_metrics *gw_metrics_upstream(gw_slice name)
{
    return (gw_upstream_metrics *)block_open(GW_METRICS_UPSTREAM, name, GW_NO_SLICE);
}

gw_limiter_metrics *gw_metrics_limiter(gw_slice route, gw_slice name)
{
    return (gw_limiter_metrics *)block_open(GW_METRICS_LIMITER, route, name);
}

void gw_metrics_release(gw_metrics_block *b)
{
    if (!b)
        return;
    pthread_mutex_lock(&registry_lock);
    if (--b->references == 0) {
        if (b->scope || block_empty(b)) { /* a test's gateway has no successor */
            block_delete(b);
        } else {
            gw_list_push_back(&registry_kept, &b->kept);
            if (++registry_kept_count > GW_METRICS_KEPT)
                block_delete(gw_container_of(registry_kept.next, gw_metrics_block, kept));
        }
    }
    pthread_mutex_unlock(&registry_lock);
}

void gw_metrics_forget(void)
{
    pthread_mutex_lock(&registry_lock);
    while (!gw_list_empty(&registry_kept))
        block_delete(gw_container_of(registry_kept.next, gw_metrics_block, kept));
    pthread_mutex_unlock(&registry_lock);
}

void gw_metrics_each(enum gw_metrics_kind kind, void (*visit)(const gw_metrics_block *b, void *data), void *data)
{
    pthread_mutex_lock(&registry_lock);
    for (gw_list *at = registry_all[kind].next; at != &registry_all[kind]; at = at->next)
        if (gw_container_of(at, gw_metrics_block, link)->scope == gw_registry_scope())
            visit(gw_container_of(at, gw_metrics_block, link), data);
    pthread_mutex_unlock(&registry_lock);
}

/* ---- reading ---- */

static inline uint64_t load(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

void gw_histogram_add(gw_histogram *sum, const gw_histogram *h)
{
    for (int i = 0; i < GW_DURATION_BUCKETS; i++)
        sum->bucket[i] += load(&h->bucket[i]);
    sum->sum_ns += load(&h->sum_ns);
}

const char *gw_metrics_code(uint32_t code, int *status)
{
    uint32_t s = code % GW_METRICS_STATUSES;
    *status = s ? (int)s + 99 : 0;
    return method_names[code / GW_METRICS_STATUSES];
}

static inline void code_seen(uint64_t *sums, uint64_t *seen, uint32_t code, uint64_t n)
{
    if (!n)
        return;
    sums[code] += n;
    seen[code / 64] |= 1ULL << code % 64;
}

void gw_metrics_codes(const gw_route_metrics *m, uint64_t *sums, uint64_t seen[(GW_METRICS_CODES + 63) / 64])
{
    for (uint32_t w = 0; w < m->block.workers; w++) {
        const gw_route_cells *c = &m->cells[w];
        for (uint32_t i = 0; i < GW_CODES_NEAR; i++) {
            uint16_t key = __atomic_load_n(&c->key[i], __ATOMIC_RELAXED);
            if (key)
                code_seen(sums, seen, key - 1u, load(&c->count[i]));
        }
        const uint64_t *more = __atomic_load_n(&c->more, __ATOMIC_ACQUIRE);
        for (uint32_t code = 0; more && code < GW_METRICS_CODES; code++)
            code_seen(sums, seen, code, load(&more[code]));
    }
}

uint64_t gw_metrics_requests(const gw_route_metrics *m, gw_slice method, int status)
{
    uint64_t seen[(GW_METRICS_CODES + 63) / 64] = {0}, sum = 0;
    uint64_t *sums = calloc(GW_METRICS_CODES, sizeof *sums);
    if (!sums)
        return 0;
    gw_metrics_codes(m, sums, seen);
    for (uint32_t code = 0; code < GW_METRICS_CODES; code++) {
        int its;
        const char *name = gw_metrics_code(code, &its);
        if ((status < 0 || status == its) && (!method.ptr || gw_slice_equal(method, gw_slice_str(name))))
            sum += sums[code];
    }
    free(sums);
    return sum;
}

/* ---- counting ---- */

/* Which bucket; nearly all requests of nearly all gateways are in the first. */
static inline uint32_t bucket_of(double seconds)
{
    uint32_t i = 0;
    while (i < GW_DURATION_BUCKETS - 1 && gw_unlikely(seconds > gw_duration_bounds[i]))
        i++;
    return i;
}

uint32_t gw_histogram_observe(gw_histogram *h, double seconds)
{
    uint32_t i = bucket_of(seconds);
    GW_COUNT_ADD(h->bucket[i], 1);
    if (seconds > 0)
        GW_COUNT_ADD(h->sum_ns, (int64_t)(seconds * 1e9 + 0.5));
    return i;
}

/* The sequence lock without fences, which ThreadSanitizer does not know (Boehm, "Can seqlocks get along with programming language memory
 * models?", 2012): what is stored is released, and what is loaded acquired, so that none of it passes the looks at the version. */
static void exemplar_put(gw_exemplar *ex, gw_slice id, double seconds, double now)
{
    uint32_t version = atomic_load_explicit(&ex->version, memory_order_relaxed);
    if (version & 1 ||
        !atomic_compare_exchange_strong_explicit(&ex->version, &version, version + 1, memory_order_acquire, memory_order_relaxed))
        return;
    uint64_t words[GW_REQUEST_ID_MAX / 8] = {0};
    size_t len = id.len < sizeof words ? id.len : sizeof words;
    memcpy(words, id.ptr, len);
    for (size_t i = 0; i < GW_COUNT(words); i++)
        __atomic_store_n(&ex->id[i], words[i], __ATOMIC_RELEASE);
    __atomic_store_n(&ex->len, (uint32_t)len, __ATOMIC_RELEASE);
    __atomic_store(&ex->seconds, &seconds, __ATOMIC_RELEASE);
    atomic_store_explicit(&ex->at, now, memory_order_release);
    atomic_store_explicit(&ex->version, version + 2, memory_order_release);
}

bool gw_exemplar_read(const gw_exemplar *ex, char id[GW_REQUEST_ID_MAX], size_t *len, double *seconds, double *at)
{
    for (int turn = 0; turn < 4; turn++) {
        uint32_t version = atomic_load_explicit(&ex->version, memory_order_acquire);
        if (!version)
            return false;
        if (version & 1)
            continue;
        uint64_t words[GW_REQUEST_ID_MAX / 8];
        for (size_t i = 0; i < GW_COUNT(words); i++)
            words[i] = __atomic_load_n(&ex->id[i], __ATOMIC_ACQUIRE);
        uint32_t length = __atomic_load_n(&ex->len, __ATOMIC_ACQUIRE);
        __atomic_load(&ex->seconds, seconds, __ATOMIC_ACQUIRE);
        *at = atomic_load_explicit(&ex->at, memory_order_acquire);
        if (atomic_load_explicit(&ex->version, memory_order_relaxed) != version)
            continue;
        memcpy(id, words, sizeof words);
        *len = length;
        return true;
    }
    return false;
}

/* The near room is full: room for all codes, or, without memory, a count that is lost and told as such. */
static void count_far(gw_engine *e, gw_route_cells *c, uint32_t code)
{
    uint64_t *more = c->more;
    if (!more) {
        more = calloc(GW_METRICS_CODES, sizeof *more);
        if (!more) {
            gw_engine_out_of_memory(e, "out of memory: a request is not in the metrics");
            return;
        }
        __atomic_store_n(&c->more, more, __ATOMIC_RELEASE);
    }
    GW_COUNT_ADD(more[code], 1);
}

static inline void count_code(gw_engine *e, gw_route_cells *c, enum gw_method method, int status)
{
    uint32_t m = method == GW_METHOD_NONE || method > GW_METHOD_OTHER ? GW_METRICS_METHODS - 1 : (uint32_t)method - GW_METHOD_GET;
    uint32_t code = m * GW_METRICS_STATUSES + (status >= 100 && status < 600 ? (uint32_t)status - 99 : 0), key = code + 1;
    for (uint32_t i = key % GW_CODES_NEAR, n = 0; n < GW_CODES_NEAR; i = (i + 1) % GW_CODES_NEAR, n++) {
        if (gw_unlikely(c->key[i] == 0))
            __atomic_store_n(&c->key[i], (uint16_t)key, __ATOMIC_RELAXED);
        if (gw_likely(c->key[i] == key)) {
            GW_COUNT_ADD(c->count[i], 1);
            return;
        }
    }
    count_far(e, c, code);
}

/* The request as an exemplar: by its trace, if that can be looked up (it is exported), else, where there is no tracing, by its id, which
 * its log line has. */
static void exemplar_of(const gw_exchange *x, gw_exemplar *ex, double seconds, double now)
{
    gw_slice id = !x->trace ? x->id : x->trace->sampled ? gw_trace_id(x->trace) : GW_NO_SLICE;
    if (id.len)
        exemplar_put(ex, id, seconds, now);
}

void gw_metrics_exchange(gw_exchange *x)
{
    gw_engine *e = x->engine;
    double now = gw_loop_now(e->loop);
    gw_route_metrics *m = x->route ? x->route->metrics : x->generation->unmatched;
    if (gw_likely(m != NULL)) {
        gw_route_cells *c = &m->cells[e->index];
        double seconds = now - x->started;
        if (gw_unlikely(seconds > e->slow.least))
            gw_slow_take(&e->slow, x, seconds, now);
        uint32_t bucket = gw_histogram_observe(&c->duration, seconds);
        count_code(e, c, x->request.method, x->status);
        if (x->in.bytes)
            GW_COUNT_ADD(c->request_bytes, x->in.bytes);
        GW_COUNT_ADD(c->response_bytes, x->bytes_out);
        if (gw_unlikely(x->aborted))
            GW_COUNT_ADD(c->client_aborts, 1);
        else if (gw_unlikely(x->cut))
            GW_COUNT_ADD(c->cut, 1);
        gw_exemplar *ex = &m->exemplar[bucket];
        double at = atomic_load_explicit(&ex->at, memory_order_relaxed);
        if (gw_unlikely(now - at >= EXEMPLAR_EVERY || at <= 0))
            exemplar_of(x, ex, seconds, now);
    }
    if (x->endpoint && x->upstream->metrics)
        gw_histogram_observe(&x->upstream->metrics->cells[e->index].duration,
                             (x->up_ended > 0 ? x->up_ended : now) - x->up_started);
}

void gw_metrics_failed(const gw_exchange *x, uint32_t fault)
{
    enum gw_upstream_fault what = GW_FAILED_OURS;
    if (fault & GW_FAULT_CONNECT)
        what = GW_FAILED_CONNECT;
    else if (fault & GW_FAULT_RESET)
        what = GW_FAILED_RESET;
    else if (fault & (GW_FAULT_TIMEOUT | GW_FAULT_TOTAL))
        what = GW_FAILED_TIMEOUT;
    else if (fault & GW_FAULT_BAD)
        what = GW_FAILED_RESPONSE;
    GW_COUNT_ADD(x->engine->counters.upstream_errors, 1);
    if (x->endpoint)
        GW_COUNT_ADD(x->endpoint->worker[x->engine->index].failed, 1);
    GW_COUNT_ADD(x->upstream->metrics->cells[x->engine->index].failed[what], 1);
}

void gw_metrics_limited(const gw_exchange *x, const struct gw_shared *limiter)
{
    const gw_route *route = x->route;
    for (uint32_t i = 0; route && i < route->limited_count; i++) {
        if (route->limited[i].limiter != limiter)
            continue;
        GW_COUNT_ADD(route->limited[i].metrics->cells[x->engine->index].refused, 1);
        return;
    }
}
