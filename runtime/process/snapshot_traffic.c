/* The traffic of a snapshot: by route, and by limit. */
#include "process/snapshot.h"

#include "gateway/metrics.h"
#include <math.h>
#include <stdlib.h>

#define FADE_SECONDS 60.0 /* of traffic that ranks a route */
#define CLASSES 6         /* statuses by hundreds; 0: cut without one */

typedef struct route {
    double recent;
    uint64_t requests, classes[CLASSES], request_bytes, response_bytes, aborts, cut;
    gw_histogram duration;
    size_t name, name_len; /* in gw_traffic's text */
    bool gone;             /* no generation has it any more */
} route;

typedef struct limit {
    uint64_t refused;
    size_t route, route_len, name, name_len;
} limit;

struct gw_traffic {
    bool failed;
    double now;
    route *routes, total;
    limit *limits;
    size_t route_count, route_cap, limit_count, limit_cap;
    char *text;
    size_t text_len, text_cap;
    uint64_t refused;
};

/* ---- reading ---- */

static inline uint64_t load(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

/* Room for one more of `size`; false: memory is out. */
static bool room(void **list, size_t count, size_t *cap, size_t more, size_t size)
{
    if (count + more <= *cap)
        return true;
    size_t wanted = *cap ? *cap * 2 : 64;
    while (wanted < count + more)
        wanted *= 2;
    void *bigger = realloc(*list, wanted * size);
    if (!bigger)
        return false;
    *list = bigger;
    *cap = wanted;
    return true;
}

static size_t keep(gw_traffic *t, gw_slice name)
{
    size_t at = t->text_len;
    if (!room((void **)&t->text, at, &t->text_cap, name.len + 1, 1)) {
        t->failed = true;
        return 0;
    }
    if (name.len)
        memcpy(t->text + at, name.ptr, name.len);
    t->text_len += name.len;
    return at;
}

static void add_code(route *r, uint32_t code, uint64_t n)
{
    int status;
    if (!n)
        return;
    gw_metrics_code(code, &status);
    r->classes[status / 100] += n;
    r->requests += n;
}

static void read_cells(route *r, const gw_route_metrics *m)
{
    for (uint32_t w = 0; w < m->block.workers; w++) {
        const gw_route_cells *c = &m->cells[w];
        gw_histogram_add(&r->duration, &c->duration);
        r->request_bytes += load(&c->request_bytes);
        r->response_bytes += load(&c->response_bytes);
        r->aborts += load(&c->client_aborts);
        r->cut += load(&c->cut);
        for (uint32_t i = 0; i < GW_CODES_NEAR; i++) {
            uint16_t key = __atomic_load_n(&c->key[i], __ATOMIC_RELAXED);
            if (key)
                add_code(r, key - 1u, load(&c->count[i]));
        }
        const uint64_t *more = __atomic_load_n(&c->more, __ATOMIC_ACQUIRE);
        for (uint32_t code = 0; more && code < GW_METRICS_CODES; code++)
            add_code(r, code, load(&more[code]));
    }
}

/* Blocks are the registry's, but their rank is the control thread's, which this is. */
static double rank(gw_metrics_block *b, uint64_t requests, double now)
{
    if (b->ranked_at > 0)
        b->recent *= exp((b->ranked_at - now) / FADE_SECONDS);
    b->recent += (double)(requests - b->ranked);
    b->ranked = requests;
    b->ranked_at = now;
    return b->recent;
}

static void add_route(route *sum, const route *r)
{
    for (int i = 0; i < CLASSES; i++)
        sum->classes[i] += r->classes[i];
    for (int i = 0; i < GW_DURATION_BUCKETS; i++)
        sum->duration.bucket[i] += r->duration.bucket[i];
    sum->duration.sum_ns += r->duration.sum_ns;
    sum->requests += r->requests;
    sum->request_bytes += r->request_bytes;
    sum->response_bytes += r->response_bytes;
    sum->aborts += r->aborts;
    sum->cut += r->cut;
}

static void read_route(const gw_metrics_block *b, void *data)
{
    gw_traffic *t = data;
    if (!room((void **)&t->routes, t->route_count, &t->route_cap, 1, sizeof *t->routes)) {
        t->failed = true;
        return;
    }
    route *r = &t->routes[t->route_count++];
    *r = (route){.name_len = b->name.len, .gone = b->references == 0};
    read_cells(r, (const gw_route_metrics *)b);
    r->recent = rank((gw_metrics_block *)b, r->requests, t->now);
    r->name = keep(t, b->name);
    add_route(&t->total, r);
}

static void read_limit(const gw_metrics_block *b, void *data)
{
    gw_traffic *t = data;
    const gw_limiter_metrics *m = (const gw_limiter_metrics *)b;
    if (!room((void **)&t->limits, t->limit_count, &t->limit_cap, 1, sizeof *t->limits)) {
        t->failed = true;
        return;
    }
    limit *l = &t->limits[t->limit_count++];
    *l = (limit){.route_len = b->name.len, .name_len = b->part.len};
    for (uint32_t w = 0; w < b->workers; w++)
        l->refused += load(&m->cells[w].refused);
    l->route = keep(t, b->name);
    l->name = keep(t, b->part);
    t->refused += l->refused;
}

static int by_traffic(const void *a, const void *b)
{
    const route *x = a, *y = b;
    if (x->recent != y->recent)
        return x->recent < y->recent ? 1 : -1;
    if (x->requests != y->requests)
        return x->requests < y->requests ? 1 : -1;
    return x->name < y->name ? -1 : x->name > y->name; /* as they were declared */
}

static int by_refused(const void *a, const void *b)
{
    const limit *x = a, *y = b;
    if (x->refused != y->refused)
        return x->refused < y->refused ? 1 : -1;
    return x->name < y->name ? -1 : x->name > y->name;
}

gw_traffic *gw_traffic_read(double now)
{
    gw_traffic *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->now = now;
    gw_metrics_each(GW_METRICS_ROUTE, read_route, t);
    gw_metrics_each(GW_METRICS_LIMITER, read_limit, t);
    if (t->failed) {
        gw_traffic_free(t);
        return NULL;
    }
    if (t->route_count)
        qsort(t->routes, t->route_count, sizeof *t->routes, by_traffic);
    if (t->limit_count)
        qsort(t->limits, t->limit_count, sizeof *t->limits, by_refused);
    return t;
}

void gw_traffic_free(gw_traffic *t)
{
    if (!t)
        return;
    free(t->routes);
    free(t->limits);
    free(t->text);
    free(t);
}

/* ---- writing ---- */

static void add_list(gw_text *t, const uint64_t *n, int count)
{
    gw_text_lit(t, "[");
    for (int i = 0; i < count; i++) {
        if (i)
            gw_text_lit(t, ",");
        gw_text_u64(t, n[i]);
    }
    gw_text_lit(t, "]");
}

static void add_counts(gw_text *t, const route *r)
{
    gw_text_lit(t, "\"requests\":");
    gw_text_u64(t, r->requests);
    gw_text_lit(t, ",\"classes\":");
    add_list(t, r->classes, CLASSES);
    gw_text_lit(t, ",\"durations\":");
    add_list(t, r->duration.bucket, GW_DURATION_BUCKETS);
    gw_text_printf(t, ",\"seconds\":%.6f,\"bytes_in\":%llu,\"bytes_out\":%llu,\"aborts\":%llu,\"cut\":%llu",
                   (double)r->duration.sum_ns / 1e9, (unsigned long long)r->request_bytes, (unsigned long long)r->response_bytes,
                   (unsigned long long)r->aborts, (unsigned long long)r->cut);
}

void gw_traffic_json(gw_text *t, const gw_traffic *traffic)
{
    gw_text_lit(t, ",\"bounds\":[");
    for (int i = 0; i < GW_DURATION_BUCKETS - 1; i++)
        gw_text_printf(t, "%s%g", i ? "," : "", gw_duration_bounds[i]);
    gw_text_lit(t, "],\"total\":{");
    add_counts(t, &traffic->total);
    gw_text_lit(t, "},\"routes\":[");
    size_t most = traffic->route_count < GW_SNAPSHOT_ROUTES ? traffic->route_count : GW_SNAPSHOT_ROUTES;
    for (size_t i = 0; i < most && !t->cut; i++) {
        const route *r = &traffic->routes[i];
        gw_text_slice(t, i ? GW_SLICE(",{\"name\":") : GW_SLICE("{\"name\":"));
        gw_text_json(t, gw_slice_of(traffic->text + r->name, r->name_len));
        gw_text_slice(t, r->gone ? GW_SLICE(",\"gone\":true,") : GW_SLICE(",\"gone\":false,"));
        add_counts(t, r);
        gw_text_lit(t, "}");
    }
    gw_text_printf(t, "],\"routes_left_out\":%zu,\"limited\":%llu,\"limits\":[", traffic->route_count - most,
                   (unsigned long long)traffic->refused);
    most = traffic->limit_count < GW_SNAPSHOT_LIMITS ? traffic->limit_count : GW_SNAPSHOT_LIMITS;
    for (size_t i = 0; i < most && !t->cut; i++) {
        const limit *l = &traffic->limits[i];
        gw_text_slice(t, i ? GW_SLICE(",{\"route\":") : GW_SLICE("{\"route\":"));
        gw_text_json(t, gw_slice_of(traffic->text + l->route, l->route_len));
        gw_text_lit(t, ",\"limiter\":");
        gw_text_json(t, gw_slice_of(traffic->text + l->name, l->name_len));
        gw_text_printf(t, ",\"refused\":%llu}", (unsigned long long)l->refused);
    }
    gw_text_printf(t, "],\"limits_left_out\":%zu", traffic->limit_count - most);
}
