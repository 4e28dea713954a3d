/* What plugins did, and the script's other functions, in the page of metrics: by the names that /status has for them. */
#include "process/metrics.h"

#include "gateway/generation.h"
#include "gateway/plugin_counters.h"
#include <stdlib.h>

typedef struct family {
    const char *name, *help;
    size_t offset; /* of a double in gw_plugin_counters */
} family;

#define AT(field) offsetof(gw_plugin_counters, field)

static const family families[] = {
    {"gateway_plugin_calls", "Calls of a plugin, or of a function of the script (\"file:line\").", AT(calls)},
    {"gateway_plugin_errors", "Errors that it raised.", AT(errors)},
    {"gateway_plugin_runaways", "Times that it was stopped because it ran for too long.", AT(runaways)},
    {"gateway_plugin_cpu_seconds", "CPU time in it, sampled a hundred times a second.", AT(cpu)},
    {"gateway_plugin_skipped", "Requests that went past it while it was switched off.", AT(skipped)},
    {"gateway_plugin_refused", "Requests refused with 503 while it was switched off.", AT(refused)},
};

typedef struct row {
    gw_plugin_counters counters;
    gw_slice labels; /* malloc'ed */
} row;

static bool read_row(row *r, const gw_plugin *plugin, int64_t now)
{
    size_t room = plugin->name.len * 3 + 16;
    char *bytes = malloc(room);
    if (!bytes)
        return false;
    gw_text t = gw_text_on(bytes, room);
    gw_metrics_label(&t, "plugin", plugin->name);
    r->labels = gw_text_done(&t);
    gw_plugin_sum(plugin, now, &r->counters);
    return true;
}

void gw_metrics_plugins(gw_page *p, const gw_generation *g, int64_t now)
{
    uint32_t count = g ? g->plugin_count : 0, read = 0;
    row *rows = calloc(count ? count : 1, sizeof *rows);
    while (rows && read < count && read_row(&rows[read], g->plugins[read].plugin, now))
        read++;
    if (read < count || !rows) {
        p->failed = true;
        goto end;
    }
    for (size_t f = 0; f < GW_COUNT(families); f++) {
        gw_page_family(p, gw_slice_str(families[f].name), GW_PAGE_COUNTER, families[f].help);
        for (uint32_t i = 0; i < count; i++)
            gw_page_double(p, rows[i].labels,
                           *(const double *)(const void *)((const char *)&rows[i].counters + families[f].offset));
    }
    gw_page_family(p, GW_SLICE("gateway_plugin_switched_off"), GW_PAGE_COUNTER,
                   "Times it was switched off because it kept failing.");
    for (uint32_t i = 0; i < count; i++)
        gw_page_u64(p, rows[i].labels, rows[i].counters.switched_off);
    gw_page_family(p, GW_SLICE("gateway_plugin_off"), GW_PAGE_GAUGE, "1: it is switched off now.");
    for (uint32_t i = 0; i < count; i++)
        gw_page_u64(p, rows[i].labels, rows[i].counters.off);
end:
    for (uint32_t i = 0; i < read; i++)
        free((char *)rows[i].labels.ptr);
    free(rows);
}
