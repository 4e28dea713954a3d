/* What compiled Lua calls for its metrics: see metrics_api.h. */
#include "script/api.h"
#include "gateway/metrics_script.h"
#include "gateway/metrics_text.h"
#include "script/script.h"
#include "script/state.h"
#include <stdlib.h>

static void release_metric(void *metric)
{
    gw_script_metric_release(metric);
}

int gw_lua_metric_open(void *holder, gw_lua_metric *m, int kind, const char *name, size_t name_len, const char *labels,
                       size_t labels_len, const double *bounds, int bound_count, double series)
{
    gw_script_shape shape = {
        .kind = kind,
        .name = gw_slice_of(name, name_len),
        .labels = gw_slice_of(labels, labels_len),
        .bounds = bounds,
        .bound_count = bound_count > 0 ? (uint32_t)bound_count : 0,
        .most = series >= 1 && series <= GW_SERIES_MOST ? (uint32_t)series : 0,
    };
    int status;
    gw_script_metric *metric = gw_script_metric_open(&shape, holder != NULL, &status);
    if (!metric)
        return status;
    if (holder && !gw_lua_hold_add(holder, release_metric, metric)) {
        gw_script_metric_release(metric);
        return GW_NOMEM;
    }
    m->metric = metric;
    m->worker = holder ? (int)((gw_lua_holder *)holder)->worker : 0;
    m->stride = (int)metric->stride;
    return GW_OK;
}

void gw_lua_metric_close(gw_lua_metric *m)
{
    gw_script_metric_release(m->metric);
    m->metric = NULL;
}

double *gw_lua_metric_cell(gw_lua_metric *m, const char *key, size_t len)
{
    return gw_script_metric_cell(m->metric, (uint32_t)m->worker, key, len);
}

void gw_lua_metric_add(double *cell, double n)
{
    double before, after;
    __atomic_load(cell, &before, __ATOMIC_RELAXED);
    do
        after = before + n;
    while (!__atomic_compare_exchange(cell, &before, &after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

int gw_lua_metric_read(gw_lua_metric *m, const char *key, size_t len, double *out)
{
    return gw_script_metric_read(m->metric, key, len, out);
}

double gw_lua_metric_dropped(gw_lua_metric *m)
{
    const gw_script_metric *metric = m->metric;
    return (double)atomic_load_explicit(&metric->dropped, memory_order_relaxed);
}

uint64_t gw_script_memory(const void *script)
{
    const gw_state *s = script;
    return s ? s->used : 0;
}

/* ---- for tests ---- */

char *gw_lua_metrics_text(size_t *len)
{
    gw_page p;
    gw_page_init(&p, false);
    gw_metrics_write(&p, NULL, 0);
    gw_page_end(&p);
    *len = p.len;
    if (p.failed)
        gw_page_clear(&p);
    return p.bytes;
}

void gw_lua_metrics_free(char *text)
{
    free(text);
}

void gw_lua_metrics_forget(void)
{
    gw_metrics_forget();
}
