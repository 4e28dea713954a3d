/* What /status says, and a reload's result: JSON. */
#include "base/clock.h"
#include "gateway/shared.h"
#include "process/admin.h"
#include "process/options.h"
#include "process/supervisor.h"
#include <stdatomic.h>
#include <unistd.h>

#define COUNT(field) ((unsigned long long)__atomic_load_n(&(field), __ATOMIC_RELAXED))

static void add_time(gw_text *t, double wall)
{
    char text[25];
    gw_clock_iso8601(wall, text);
    gw_text_printf(t, "\"%s\"", text);
}

static void add_bool(gw_text *t, bool value)
{
    gw_text_slice(t, value ? GW_SLICE("true") : GW_SLICE("false"));
}

static void add_worker(gw_text *t, const gw_worker *w)
{
    const gw_counters *c = &w->engine.counters;
    gw_text_printf(
        t,
        "{\"index\":%u,\"connections\":{\"active\":%llu,\"accepted\":%llu},\"requests\":%llu,\"responses\":{\"1xx\":%llu,"
        "\"2xx\":%llu,\"3xx\":%llu,\"4xx\":%llu,\"5xx\":%llu},",
        w->engine.index, COUNT(c->connections_active), COUNT(c->connections_accepted), COUNT(c->requests), COUNT(c->responses[1]),
        COUNT(c->responses[2]), COUNT(c->responses[3]), COUNT(c->responses[4]), COUNT(c->responses[5]));
    gw_text_printf(t,
                   "\"upstream\":{\"connects\":%llu,\"reused\":%llu,\"errors\":%llu,\"retries\":%llu,"
                   "\"retries_refused\":%llu,\"hedges\":%llu,\"breaker_refused\":%llu,\"concurrency_refused\":%llu,"
                   "\"ejected\":%llu,\"breaker_opened\":%llu,\"breaker_closed\":%llu},\"bytes\":{\"in\":%llu,"
                   "\"out\":%llu},\"client_aborts\":%llu,\"upgrades\":%llu,\"out_of_memory\":%llu,"
                   "\"lua\":{\"memory\":%llu,\"overran\":%llu,\"states_lost\":%llu,\"states_made\":%llu}}",
                   COUNT(c->upstream_connects), COUNT(c->upstream_reused), COUNT(c->upstream_errors), COUNT(c->retries),
                   COUNT(c->retries_refused), COUNT(c->hedges), COUNT(c->breaker_refused), COUNT(c->concurrency_refused),
                   COUNT(c->ejected), COUNT(c->breaker_opened), COUNT(c->breaker_closed), COUNT(c->bytes_in), COUNT(c->bytes_out),
                   COUNT(c->client_aborts), COUNT(c->upgrades), COUNT(c->out_of_memory), COUNT(w->lua_bytes),
                   COUNT(c->lua_overran), COUNT(c->lua_states_lost), COUNT(c->lua_states_made));
}

static void add_result(gw_text *t, const gw_reload_result *r)
{
    gw_text_lit(t, "{\"ok\":");
    add_bool(t, r->ok);
    gw_text_printf(t, ",\"generation\":%llu,\"cause\":\"%s\",\"at\":", (unsigned long long)r->generation, r->cause);
    add_time(t, r->at);
    gw_text_lit(t, ",\"seconds\":");
    gw_text_fixed(t, r->seconds, 6);
    gw_text_lit(t, ",\"errors\":[");
    gw_lines_json(t, r->errors.text, false);
    gw_text_lit(t, "],\"warnings\":[");
    gw_lines_json(t, r->warnings.text, false);
    gw_text_lit(t, "],\"changes\":[");
    gw_lines_json(t, r->changes.text, false);
    gw_text_lit(t, "]}");
}

void gw_result_status(gw_text *t, const gw_supervisor *s)
{
    if (s->reloads.any)
        add_result(t, &s->reloads.last);
    else
        gw_text_lit(t, "null");
}

static void add_generation(gw_text *t, const gw_generation *g)
{
    gw_text_printf(t, "{\"number\":%llu,\"digest\":\"%016llx\",\"loaded_at\":", (unsigned long long)g->number,
                   (unsigned long long)g->digest);
    add_time(t, g->loaded_at);
    gw_text_printf(t, ",\"routes\":%u,\"upstreams\":%u}", g->route_count, g->upstream_count);
}

/* Limits on routes, with how many requests each has refused since it was made. */
static void add_limits(gw_text *t, const gw_generation *g)
{
    bool first = true;
    gw_text_lit(t, ",\"limits\":[");
    for (uint32_t i = 0; i < g->shared_count && !t->cut; i++) {
        const gw_shared *s = g->shared[i].shared;
        bool rate = gw_slice_equal(s->word, GW_SLICE("rate_limit"));
        if (!rate && !gw_slice_equal(s->word, GW_SLICE("concurrency_limit")))
            continue;
        if (!first)
            gw_text_lit(t, ",");
        first = false;
        gw_text_lit(t, "{\"name\":");
        gw_text_json(t, s->name);
        gw_text_printf(t, ",\"kind\":\"%s\",\"refused\":%llu}", gw_shared_kind_name(s->config.kind),
                       (unsigned long long)atomic_load_explicit(&s->refused, memory_order_relaxed));
    }
    gw_text_lit(t, "]");
}

static void add_plugins(gw_text *t, const gw_generation *g)
{
    static const char *const words[] = {"null", "\"open\"", "\"closed\""};
    int64_t now = gw_clock_monotonic_ns();
    gw_text_lit(t, ",\"plugins\":[");
    for (uint32_t i = 0; i < g->plugin_count && !t->cut; i++) {
        gw_plugin_counters c;
        gw_plugin_sum(g->plugins[i].plugin, now, &c);
        if (i)
            gw_text_lit(t, ",");
        gw_text_lit(t, "{\"name\":");
        gw_text_json(t, g->plugins[i].plugin->name);
        gw_text_printf(t, ",\"calls\":%.0f,\"errors\":%.0f,\"runaways\":%.0f,\"cpu_seconds\":%.3f,\"on_failure\":%s,\"off\":",
                       c.calls, c.errors, c.runaways, c.cpu, words[g->plugins[i].policy.on_failure]);
        add_bool(t, c.off);
        gw_text_printf(t, ",\"switched_off\":%llu,\"skipped\":%.0f,\"refused\":%.0f}", (unsigned long long)c.switched_off,
                       c.skipped, c.refused);
    }
    gw_text_lit(t, "]");
}

static void render_status(gw_text *t, void *data)
{
    gw_supervisor *s = data;
    const gw_generation *g = s->live->g;
    gw_text_printf(t, "{\"version\":\"%s\",\"pid\":%d,\"state\":\"%s\",\"uptime\":", GW_VERSION, (int)getpid(),
                   s->state == GW_SERVING ? "serving" : "draining");
    gw_text_fixed(t, (double)(gw_clock_monotonic_ns() - s->started_ns) / 1e9, 3);
    gw_text_lit(t, ",\"script\":");
    gw_text_json(t, gw_slice_str(s->script));
    gw_text_lit(t, ",\"generation\":");
    add_generation(t, g);
    gw_text_printf(t, ",\"generations_draining\":%u,\"workers\":[", s->retired);
    for (uint32_t i = 0; i < s->worker_count; i++) {
        if (i)
            gw_text_lit(t, ",");
        add_worker(t, s->workers[i]);
    }
    gw_text_lit(t, "],\"listeners\":[");
    for (gw_list *at = s->listening.next; at != &s->listening; at = at->next) {
        if (at != s->listening.next)
            gw_text_lit(t, ",");
        gw_text_lit(t, "{\"address\":");
        gw_text_json(t, gw_slice_str(gw_container_of(at, gw_listening, link)->text));
        gw_text_lit(t, "}");
    }
    gw_text_lit(t, "],\"upstreams\":[");
    for (uint32_t i = 0; i < g->upstream_count && !t->cut; i++) {
        if (i)
            gw_text_lit(t, ",");
        gw_endpoints_status(t, g->upstreams[i]);
    }
    gw_text_lit(t, "]");
    add_limits(t, g);
    add_plugins(t, g);
    gw_text_printf(t, ",\"reloads\":{\"succeeded\":%llu,\"refused\":%llu,\"building\":", (unsigned long long)s->reloads.succeeded,
                   (unsigned long long)s->reloads.refused);
    add_bool(t, s->reloads.building);
    gw_text_lit(t, ",\"last\":");
    gw_result_status(t, s);
    gw_text_lit(t, ",\"staged\":");
    gw_staged_status(t, s);
    gw_text_printf(t, "},\"log_lines_dropped\":%llu,\"spans\":{\"exported\":%llu,\"dropped\":%llu}}\n",
                   (unsigned long long)(gw_log_dropped(s->log) + gw_log_dropped(s->access_log)),
                   (unsigned long long)gw_otlp_exported(), (unsigned long long)gw_log_dropped(s->span_log));
}

static void render_result(gw_text *t, void *data)
{
    add_result(t, data);
    gw_text_lit(t, "\n");
}

char *gw_status_json(gw_supervisor *s, size_t *len)
{
    return gw_render(render_status, s, len);
}

char *gw_reload_json(const gw_reload_result *result, size_t *len)
{
    return gw_render(render_result, (void *)result, len);
}
