#include "process/metrics.h"

#include "base/clock.h"
#include "gateway/metrics_text.h"
#include "net/otlp.h"
#include "process/supervisor.h"
#include <math.h>
#include <stdlib.h>

#define FAMILY(p, name, type, help) gw_page_family((p), GW_SLICE(name), GW_PAGE_##type, (help))

/* ---- which form ---- */

static gw_slice trimmed(gw_slice s)
{
    while (s.len && (*s.ptr == ' ' || *s.ptr == '\t'))
        s.ptr++, s.len--;
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* What stands before the next `by`, which is taken off *rest. */
static gw_slice piece(gw_slice *rest, char by)
{
    const char *end = rest->len ? memchr(rest->ptr, by, rest->len) : NULL;
    gw_slice out = gw_slice_of(rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len);
    size_t used = out.len + (end ? 1 : 0);
    rest->ptr += used, rest->len -= used;
    return trimmed(out);
}

/* A weight in thousandths (RFC 9110 section 12.4.2); what is no weight counts as 1. */
static int weight_of(gw_slice q)
{
    if (q.len == 0 || (q.ptr[0] != '0' && q.ptr[0] != '1'))
        return 1000;
    if (q.ptr[0] == '1')
        return 1000;
    int weight = 0, scale = 100;
    for (size_t i = 2; i < q.len && i < 5 && q.ptr[i] >= '0' && q.ptr[i] <= '9'; i++, scale /= 10)
        weight += (q.ptr[i] - '0') * scale;
    return weight;
}

bool gw_metrics_accept(gw_slice accept)
{
    int open = 0, text = 0;
    while (accept.len) {
        gw_slice range = piece(&accept, ',');
        gw_slice type = piece(&range, ';');
        int weight = 1000;
        while (range.len) {
            gw_slice parameter = piece(&range, ';');
            if (parameter.len > 2 && (parameter.ptr[0] | 0x20) == 'q' && parameter.ptr[1] == '=')
                weight = weight_of(gw_slice_of(parameter.ptr + 2, parameter.len - 2));
        }
        if (gw_slice_equal_nocase(type, GW_SLICE("application/openmetrics-text")))
            open = weight > open ? weight : open;
        else if (gw_slice_equal_nocase(type, GW_SLICE("text/plain")) || gw_slice_equal_nocase(type, GW_SLICE("text/*")))
            text = weight > text ? weight : text;
    }
    return open > 0 && open >= text;
}

const char *gw_metrics_type(bool openmetrics)
{
    return openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                       : "text/plain; version=0.0.4; charset=utf-8";
}

/* ---- the workers' counters ---- */

static uint64_t summed(const gw_supervisor *s, size_t offset)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->worker_count; i++) {
        const char *counters = (const char *)&s->workers[i]->engine.counters;
        sum += __atomic_load_n((const uint64_t *)(const void *)(counters + offset), __ATOMIC_RELAXED);
    }
    return sum;
}
#define SUM(s, field) summed((s), offsetof(gw_counters, field))

static uint64_t in_flight(const gw_supervisor *s)
{
    uint64_t ended = 0;
    for (int i = 0; i < 6; i++) /* first: what ends while we look has begun before */
        ended += summed(s, offsetof(gw_counters, responses) + (size_t)i * sizeof(uint64_t));
    return SUM(s, requests) - ended;
}

static void write_workers(gw_page *p, const gw_supervisor *s)
{
    FAMILY(p, "gateway_workers", GAUGE, "Threads that serve.");
    gw_page_u64(p, GW_NO_SLICE, s->worker_count);
    FAMILY(p, "gateway_connections_active", GAUGE, "Client connections that are open.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, connections_active));
    FAMILY(p, "gateway_connections_accepted", COUNTER, "Client connections accepted.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, connections_accepted));
    FAMILY(p, "gateway_requests_in_flight", GAUGE, "Requests under way.");
    gw_page_u64(p, GW_NO_SLICE, in_flight(s));
    FAMILY(p, "gateway_client_received_bytes", COUNTER, "Bytes read from clients, heads and framing included.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, bytes_in));
    FAMILY(p, "gateway_upstream_connections_reused", COUNTER, "Tries that took a connection from the pool.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, upstream_reused));
    FAMILY(p, "gateway_upgrades", COUNTER, "Connections that became tunnels, such as WebSockets.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, upgrades));
    FAMILY(p, "gateway_out_of_memory", COUNTER, "Times a worker could not have the memory that it asked for.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, out_of_memory));
    FAMILY(p, "gateway_log_lines_dropped", COUNTER, "Log lines lost because their reader was too slow.");
    gw_page_u64(p, GW_SLICE("log=\"events\""), gw_log_dropped(s->log));
    gw_page_u64(p, GW_SLICE("log=\"access\""), gw_log_dropped(s->access_log));
    FAMILY(p, "gateway_trace_spans_exported", COUNTER, "Spans that the collector took.");
    gw_page_u64(p, GW_NO_SLICE, gw_otlp_exported());
    FAMILY(p, "gateway_trace_spans_dropped", COUNTER, "Spans lost because the collector was too slow, or not there.");
    gw_page_u64(p, GW_NO_SLICE, gw_log_dropped(s->span_log));
    FAMILY(p, "gateway_event_loop_lag_seconds", HISTOGRAM,
           "How much later than it should a timer of each worker ran, looked at twice a second.");
    for (uint32_t i = 0; i < s->worker_count; i++)
        gw_worker_lag_write(s->workers[i], p);
}

static void write_lua(gw_page *p, const gw_supervisor *s)
{
    FAMILY(p, "gateway_lua_memory_bytes", GAUGE, "Memory of each worker's Lua state, looked at twice a second.");
    for (uint32_t i = 0; i < s->worker_count; i++) {
        char bytes[32];
        gw_text labels = gw_text_on(bytes, sizeof bytes);
        gw_text_printf(&labels, "worker=\"%u\"", i);
        gw_page_u64(p, gw_text_done(&labels), __atomic_load_n(&s->workers[i]->lua_bytes, __ATOMIC_RELAXED));
    }
    FAMILY(p, "gateway_lua_errors", COUNTER, "Requests whose chain ended in an error of the script's.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, lua_errors));
    FAMILY(p, "gateway_lua_runaways", COUNTER, "Times a script was stopped because it ran for too long.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, lua_overran));
    FAMILY(p, "gateway_lua_states_lost", COUNTER,
           "Lua states given up because the script in them could not be stopped otherwise.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, lua_states_lost));
    FAMILY(p, "gateway_lua_states_made", COUNTER, "Lua states made in place of those that were lost.");
    gw_page_u64(p, GW_NO_SLICE, SUM(s, lua_states_made));
}

/* ---- generations and reloads ---- */

static void write_generations(gw_page *p, const gw_supervisor *s)
{
    const gw_reloads *r = &s->reloads;
    const gw_generation *g = s->live ? s->live->g : NULL;
    FAMILY(p, "gateway_generation", GAUGE, "Number of the generation that serves; each load of the script that is taken is one.");
    gw_page_u64(p, GW_NO_SLICE, g ? g->number : 0);
    FAMILY(p, "gateway_generations_draining", GAUGE, "Replaced generations that still have requests.");
    gw_page_u64(p, GW_NO_SLICE, s->retired);
    FAMILY(p, "gateway_reloads", COUNTER, "Reloads, by how they ended; a refused one leaves the old generation serving.");
    gw_page_u64(p, GW_SLICE("result=\"success\""), r->succeeded);
    gw_page_u64(p, GW_SLICE("result=\"refused\""), r->refused);
    FAMILY(p, "gateway_last_reload_successful", GAUGE, "1: the last reload was taken, or there was none yet.");
    gw_page_u64(p, GW_NO_SLICE, !r->any || r->last.ok);
    FAMILY(p, "gateway_last_reload_timestamp_seconds", GAUGE,
           "When the last load of the script was asked for, in seconds since 1970.");
    gw_page_double(p, GW_NO_SLICE, r->any ? r->last.at : s->started_at);
    FAMILY(p, "gateway_last_reload_success_timestamp_seconds", GAUGE,
           "When the generation that serves was loaded, in seconds since 1970.");
    gw_page_double(p, GW_NO_SLICE, g ? g->loaded_at : 0);
}

/* ---- all of it ---- */

char *gw_metrics_page(gw_supervisor *s, bool openmetrics, size_t *len)
{
    gw_page p;
    int64_t now = gw_clock_monotonic_ns();
    gw_page_init(&p, openmetrics);
    p.wall = gw_clock_wall() - (double)now / 1e9;
    FAMILY(&p, "gateway_build_info", GAUGE, "1; the version is its label.");
    gw_page_u64(&p, GW_SLICE("version=\"" GW_VERSION "\""), 1);
    gw_metrics_write(&p, s->live ? s->live->g : NULL, now);
    gw_metrics_shared(&p, s->live ? s->live->g : NULL);
    write_workers(&p, s);
    write_lua(&p, s);
    gw_metrics_plugins(&p, s->live ? s->live->g : NULL, now);
    write_generations(&p, s);
    gw_staged_metrics(&p, s);
    gw_metrics_process(&p, s->started_at);
    gw_page_end(&p);
    if (p.failed) {
        gw_page_clear(&p);
        return NULL;
    }
    *len = p.len;
    return p.bytes;
}
