#include "process/snapshot.h"

#include "base/clock.h"
#include "gateway/plugin_counters.h"
#include "net/otlp.h"
#include "process/options.h"
#include "process/supervisor.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define ULL(n) ((unsigned long long)(n))

typedef struct plugin {
    const gw_plugin_use *use;
    gw_plugin_counters c;
} plugin;

/* Everything that takes memory is there before the first byte is written. */
typedef struct snapshot {
    gw_supervisor *s;
    gw_traffic *traffic;
    plugin *plugins;
    uint32_t plugin_count;
    gw_slow_row *slow;
    size_t slow_count;
    double now; /* seconds of the monotonic clock */
    double wall;
} snapshot;

/* ---- the process and its workers ---- */

static uint64_t summed(const gw_supervisor *s, size_t offset)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->worker_count; i++) {
        const char *counters = (const char *)&s->workers[i]->engine.counters;
        sum += __atomic_load_n((const uint64_t *)(const void *)(counters + offset), __ATOMIC_RELAXED);
    }
    return sum;
}
#define SUM(s, field) ULL(summed((s), offsetof(gw_counters, field)))

static uint64_t resident(void)
{
    unsigned long long size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%llu %llu", &size, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void add_process(gw_text *t, const snapshot *sn)
{
    gw_supervisor *s = sn->s;
    struct rusage used = {0};
    getrusage(RUSAGE_SELF, &used);
    gw_text_printf(t, "{\"time\":%.3f,\"version\":\"%s\",\"pid\":%d,\"state\":\"%s\",\"uptime\":%.3f,\"script\":", sn->wall,
                   GW_VERSION, (int)getpid(), s->state == GW_SERVING ? "serving" : "draining",
                   sn->now - (double)s->started_ns / 1e9);
    gw_text_json(t, gw_slice_str(s->script));
    gw_text_printf(t, ",\"cpu_seconds\":%.3f,\"resident_bytes\":%llu",
                   (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
                   ULL(resident()));
    uint64_t ended = 0;
    for (int i = 0; i < 6; i++) /* first: what ends while we look has begun before */
        ended += summed(s, offsetof(gw_counters, responses) + (size_t)i * sizeof(uint64_t));
    gw_text_printf(t, ",\"connections\":{\"active\":%llu,\"accepted\":%llu},\"requests_in_flight\":%llu,\"client_aborts\":%llu",
                   SUM(s, connections_active), SUM(s, connections_accepted), ULL(SUM(s, requests) - ended),
                   SUM(s, client_aborts));
    gw_text_lit(t, ",\"workers\":[");
    for (uint32_t i = 0; i < s->worker_count && !t->cut; i++) {
        const gw_worker *w = s->workers[i];
        const gw_counters *c = &w->engine.counters;
        gw_text_printf(t, "%s{\"index\":%u,\"connections\":%llu,\"requests\":%llu,\"lua_bytes\":%llu}", i ? "," : "", i,
                       ULL(__atomic_load_n(&c->connections_active, __ATOMIC_RELAXED)),
                       ULL(__atomic_load_n(&c->requests, __ATOMIC_RELAXED)),
                       ULL(__atomic_load_n(&w->lua_bytes, __ATOMIC_RELAXED)));
    }
    gw_text_printf(t, "],\"lua\":{\"errors\":%llu,\"runaways\":%llu,\"states_lost\":%llu,\"states_made\":%llu}",
                   SUM(s, lua_errors), SUM(s, lua_overran), SUM(s, lua_states_lost), SUM(s, lua_states_made));
    gw_text_printf(t, ",\"log_lines_dropped\":%llu,\"spans\":{\"exported\":%llu,\"dropped\":%llu}",
                   ULL(gw_log_dropped(s->log) + gw_log_dropped(s->access_log)), ULL(gw_otlp_exported()),
                   ULL(gw_log_dropped(s->span_log)));
}

/* ---- generations ---- */

static void add_generations(gw_text *t, const snapshot *sn)
{
    const gw_supervisor *s = sn->s;
    const gw_generation *g = s->live ? s->live->g : NULL;
    if (g) {
        gw_text_printf(t, ",\"generation\":{\"number\":%llu,\"loaded_at\":%.3f,\"routes\":%u,\"upstreams\":%u}", ULL(g->number),
                       g->loaded_at, g->route_count, g->upstream_count);
    } else {
        gw_text_lit(t, ",\"generation\":null");
    }
    uint32_t told = 0;
    gw_text_printf(t, ",\"generations_draining\":%u,\"draining\":[", s->retired);
    for (gw_list *at = s->draining.next; at != &s->draining && told < GW_HISTORY_MOST; at = at->next, told++) {
        const gw_live *live = gw_container_of(at, gw_live, link);
        gw_text_printf(t, "%s{\"number\":%llu,\"since\":%.3f}", told ? "," : "", ULL(live->g->number), live->retired_at);
    }
    gw_text_printf(t,
                   "],\"reloads\":{\"succeeded\":%llu,\"refused\":%llu,\"building\":%s,\"history\":", ULL(s->reloads.succeeded),
                   ULL(s->reloads.refused), s->reloads.building ? "true" : "false");
    gw_history_json(t, &s->reloads.history);
    gw_text_lit(t, "},\"staged\":");
    gw_staged_status(t, s);
}

/* ---- plugins ---- */

static int by_cost(const void *a, const void *b)
{
    const gw_plugin_counters *x = &((const plugin *)a)->c, *y = &((const plugin *)b)->c;
    if (x->off != y->off)
        return x->off ? -1 : 1;
    if (x->cpu != y->cpu)
        return x->cpu < y->cpu ? 1 : -1;
    return x->calls < y->calls ? 1 : x->calls > y->calls ? -1 : 0;
}

static bool read_plugins(snapshot *sn)
{
    const gw_generation *g = sn->s->live ? sn->s->live->g : NULL;
    int64_t now = gw_clock_monotonic_ns();
    sn->plugin_count = g ? g->plugin_count : 0;
    if (!sn->plugin_count)
        return true;
    sn->plugins = calloc(sn->plugin_count, sizeof *sn->plugins);
    if (!sn->plugins)
        return false;
    for (uint32_t i = 0; i < sn->plugin_count; i++) {
        sn->plugins[i].use = &g->plugins[i];
        gw_plugin_sum(g->plugins[i].plugin, now, &sn->plugins[i].c);
    }
    qsort(sn->plugins, sn->plugin_count, sizeof *sn->plugins, by_cost);
    return true;
}

static void add_plugins(gw_text *t, const snapshot *sn)
{
    static const char *const words[] = {"null", "\"open\"", "\"closed\""};
    uint32_t most = sn->plugin_count < GW_SNAPSHOT_PLUGINS ? sn->plugin_count : GW_SNAPSHOT_PLUGINS;
    gw_text_lit(t, ",\"plugins\":[");
    for (uint32_t i = 0; i < most && !t->cut; i++) {
        const plugin *p = &sn->plugins[i];
        gw_text_slice(t, i ? GW_SLICE(",{\"name\":") : GW_SLICE("{\"name\":"));
        gw_text_json(t, p->use->plugin->name);
        gw_text_printf(t,
                       ",\"function\":%s,\"calls\":%.0f,\"errors\":%.0f,\"runaways\":%.0f,\"cpu_seconds\":%.3f,"
                       "\"on_failure\":%s,\"off\":%s,\"switched_off\":%llu,\"skipped\":%.0f,\"refused\":%.0f}",
                       p->use->plugin->anonymous ? "true" : "false", p->c.calls, p->c.errors, p->c.runaways, p->c.cpu,
                       words[p->use->policy.on_failure], p->c.off ? "true" : "false", ULL(p->c.switched_off), p->c.skipped,
                       p->c.refused);
    }
    gw_text_printf(t, "],\"plugins_left_out\":%u", sn->plugin_count - most);
}

/* ---- slow requests ---- */

static int by_slowness(const void *a, const void *b)
{
    double x = ((const gw_slow_row *)a)->seconds, y = ((const gw_slow_row *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

static bool read_slow(snapshot *sn)
{
    const gw_supervisor *s = sn->s;
    sn->slow = malloc((s->worker_count ? s->worker_count : 1) * GW_SLOW_ROWS * sizeof *sn->slow);
    if (!sn->slow)
        return false;
    for (uint32_t i = 0; i < s->worker_count; i++)
        for (uint32_t row = 0; row < GW_SLOW_ROWS; row++)
            if (gw_slow_read(&s->workers[i]->engine.slow, row, &sn->slow[sn->slow_count]))
                sn->slow_count++;
    if (sn->slow_count)
        qsort(sn->slow, sn->slow_count, sizeof *sn->slow, by_slowness);
    return true;
}

static void add_text(gw_text *t, const char *member, const char *text, size_t len)
{
    gw_text_printf(t, ",\"%s\":", member);
    gw_text_json(t, gw_slice_of(text, len));
}

static void add_slow(gw_text *t, const snapshot *sn)
{
    gw_text_printf(t, ",\"slow_seconds\":%.0f,\"slow\":[", GW_SLOW_SECONDS);
    for (size_t i = 0; i < sn->slow_count && i < GW_SNAPSHOT_SLOW && !t->cut; i++) {
        const gw_slow_row *r = &sn->slow[i];
        gw_text_printf(t, "%s{\"at\":%.3f,\"seconds\":%.6f,\"status\":%u,\"attempts\":%u,\"path_cut\":%s", i ? "," : "",
                       sn->wall - (sn->now - r->at), r->seconds, r->status, r->attempts, r->path_cut ? "true" : "false");
        add_text(t, "method", r->method, r->method_len);
        add_text(t, "path", r->path, r->path_len);
        add_text(t, "route", r->route, r->route_len);
        add_text(t, "upstream", r->upstream, r->upstream_len);
        add_text(t, "endpoint", r->endpoint, r->endpoint_len);
        add_text(t, "id", r->id, r->id_len);
        gw_text_lit(t, "}");
    }
    gw_text_lit(t, "]");
}

/* ---- all of it ---- */

static void render(gw_text *t, void *data)
{
    const snapshot *sn = data;
    add_process(t, sn);
    add_generations(t, sn);
    gw_traffic_json(t, sn->traffic);
    gw_upstreams_json(t, sn->s);
    add_plugins(t, sn);
    add_slow(t, sn);
    gw_text_lit(t, "}");
}

char *gw_snapshot_json(gw_supervisor *s, size_t *len)
{
    snapshot sn = {.s = s, .now = (double)gw_clock_monotonic_ns() / 1e9, .wall = gw_clock_wall()};
    char *json = NULL;
    sn.traffic = gw_traffic_read(sn.now);
    if (sn.traffic && read_plugins(&sn) && read_slow(&sn))
        json = gw_render(render, &sn, len);
    gw_traffic_free(sn.traffic);
    free(sn.plugins);
    free(sn.slow);
    return json;
}
