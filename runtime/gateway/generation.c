#include "gateway/generation.h"
#include "base/clock.h"
#include "base/text.h"
#include "gateway/metrics.h"
#include "gateway/metrics_script.h"
#include "gateway/shared.h"
#include <stdlib.h>

static void release_metrics(gw_generation *g)
{
    for (uint32_t i = 0; i < g->route_count; i++) {
        const gw_route *route = &g->routes[i];
        for (uint32_t k = 0; k < route->limited_count; k++)
            if (route->limited[k].metrics)
                gw_metrics_release(&route->limited[k].metrics->block);
        if (route->metrics)
            gw_metrics_release(&route->metrics->block);
    }
    for (uint32_t i = 0; i < g->metric_count; i++)
        gw_script_metric_release(g->metrics[i].metric);
    if (g->unmatched)
        gw_metrics_release(&g->unmatched->block);
}

gw_generation *gw_generation_new(uint32_t worker_count)
{
    gw_generation *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    size_t bytes = (worker_count ? worker_count : 1) * sizeof(gw_generation_worker);
    g->worker = aligned_alloc(GW_CACHE_LINE, bytes);
    g->router = gw_router_new();
    g->unmatched = gw_metrics_route(GW_SLICE(GW_METRICS_UNMATCHED));
    if (!g->worker || !g->router || !g->unmatched) {
        free(g->worker);
        gw_router_free(g->router);
        release_metrics(g);
        free(g);
        return NULL;
    }
    memset(g->worker, 0, bytes);
    gw_arena_init(&g->arena, 16384, 0);
    g->worker_count = worker_count;
    atomic_init(&g->workers_left, worker_count);
    g->head_limits = (gw_head_limits){.request_line = 8192, .header_bytes = 16384, .headers = 100};
    g->body_bytes = 10 << 20;
    g->timeouts.header = 10;
    g->timeouts.idle = 75;
    g->timeouts.body = 30;
    g->timeouts.drain = 30;
    g->timeouts.upgrade = 60;
    g->lua.cpu = 0.05;
    g->lua.memory = (size_t)256 << 20;
    g->timeouts.chain = 60;
    g->x_forwarded = true;
    g->request_id = g->watch = true;
    g->access_log = true;
    g->access_sample = 1;
    g->record_keep = 200;
    g->access.fields = GW_ACCESS_DEFAULT;
    g->access.to.text = g->events.text = GW_SLICE("stdout");
    return g;
}

void gw_generation_free(gw_generation *g, void (*orphan)(gw_endpoint *e, void *data), void *data)
{
    if (!g)
        return;
    for (uint32_t i = 0; i < g->worker_count; i++)
        if (g->worker[i].script)
            g->script_close(g->worker[i].script);
    for (uint32_t i = 0; i < g->shared_count; i++)
        gw_shared_release(g->shared[i].shared);
    for (uint32_t i = 0; i < g->plugin_count; i++)
        gw_plugin_release(g->plugins[i].plugin);
    for (uint32_t i = 0; i < g->upstream_count; i++)
        gw_upstream_release(g->upstreams[i], orphan, data);
    release_metrics(g);
    gw_router_free(g->router);
    gw_cidr_set_free(g->trusted);
    free(g->worker);
    gw_arena_clear(&g->arena);
    free(g);
}

/* What outlives generations goes by the new one's settings from here on. */
static void adopt_state(gw_generation *g, gw_log_ring *ring)
{
    for (uint32_t i = 0; i < g->upstream_count; i++) {
        gw_upstream *u = g->upstreams[i];
        char message[512] = "", bytes[1024];
        gw_upstream_adopt(u, message, sizeof message);
        u->state->generation = g->number;
        if (!message[0])
            continue;
        gw_text text = gw_text_on(bytes, sizeof bytes);
        gw_text_lit(&text, "\"upstream\":");
        gw_text_json(&text, u->name);
        gw_text_lit(&text, ",\"reset\":");
        gw_text_json(&text, gw_slice_str(message));
        gw_slice fields = gw_text_done(&text);
        gw_log_event(ring, GW_LOG_WARN, "upstream state reset because its settings changed", "%.*s", (int)fields.len, fields.ptr);
    }
}

/* Limits, breakers and whatever else the script named: settings change, or a new object takes over from the old one. */
static void adopt_shared(const gw_generation *g, gw_log_ring *ring)
{
    int64_t now = gw_clock_monotonic_ns();
    for (uint32_t i = 0; i < g->shared_count; i++) {
        char message[512], bytes[1024];
        gw_shared_apply(g->shared[i].shared, &g->shared[i].config, now, message, sizeof message);
        if (!message[0])
            continue;
        gw_text text = gw_text_on(bytes, sizeof bytes);
        gw_text_json(&text, gw_slice_str(message));
        gw_slice reset = gw_text_done(&text);
        gw_log_event(ring, GW_LOG_WARN, "state was reset because its settings changed", "\"reset\":%.*s", (int)reset.len,
                     reset.ptr);
    }
}

void gw_generation_adopt(gw_generation *g, gw_log_ring *ring)
{
    adopt_state(g, ring);
    adopt_shared(g, ring);
    for (uint32_t i = 0; i < g->plugin_count; i++)
        gw_plugin_apply(g->plugins[i].plugin, &g->plugins[i].policy);
}

void gw_generation_replaced(gw_generation *old, const gw_generation *g)
{
    for (uint32_t i = 0; i < old->upstream_count; i++) {
        if (old->upstreams[i]->state->generation != g->number)
            gw_upstream_forget_drained(old->upstreams[i]);
    }
}
