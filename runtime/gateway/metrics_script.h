/* Metrics that scripts declare: gateway.counter, gateway.gauge, gateway.histogram.
 *
 * A metric is known by its name and shape (kind, labels, buckets, most series); all Lua states and generations that declare it share it, so
 * it outlives reloads; one of another shape is another metric, which begins anew. It is told to scrapes as long as the current generation
 * declares it.
 *
 * A series is one combination of label values. Its numbers are doubles in cells: of counters and histograms each worker has its own, which
 * it alone writes (compiled Lua does, with a plain add), of gauges all share one.
 *
 *     cells[worker] ─► series 0 │ series 1 │ ...          counter, gauge: { value }
 *                                                         histogram: { bucket, ..., bucket above all bounds, sum }
 *
 * Room for all series is there from the start: making one takes no lock and no memory. Past the bound, series are refused and counted.
 *
 *     slots[hash ...] 0: free ──compare-and-swap──► 1 + place in `series`     never changed again */
#ifndef GW_GATEWAY_METRICS_SCRIPT_H
#define GW_GATEWAY_METRICS_SCRIPT_H

#include "base/list.h"
#include "base/log.h"
#include "gateway/metrics_page.h"
#include <stdatomic.h>

#define GW_SERIES_MOST 100000    /* that a script may ask for */
#define GW_SERIES_TEXT 128       /* bytes of label values for each series, on average */
#define GW_SERIES_TEXT_MOST 1024 /* bytes of one */
#define GW_METRIC_LABELS_MOST 10
#define GW_METRIC_BOUNDS_MOST 60

enum gw_script_metric_kind { GW_SCRIPT_COUNTER, GW_SCRIPT_GAUGE, GW_SCRIPT_HISTOGRAM };

typedef struct gw_script_shape {
    int kind;        /* enum gw_script_metric_kind */
    gw_slice name;   /* of a counter: without "_total" */
    gw_slice labels; /* names, with commas between; {"",0}: none */
    const double *bounds;
    uint32_t bound_count;
    uint32_t most; /* series */
} gw_script_shape;

typedef struct gw_series {
    _Atomic uint32_t ready; /* 1: the rest is there, and it counts */
    uint32_t len;
    uint64_t hash;
    const char *text; /* the label values, each as "LENGTH:BYTES" */
} gw_series;

typedef struct gw_script_metric {
    gw_script_shape shape;
    uint32_t references; /* under the registry's mutex */
    bool listed;         /* in the registry: others may find it */
    uint32_t scope;      /* gw_registry_enter */
    uint32_t workers, cell_sets, stride /* doubles of a series */, slot_mask;
    gw_list link;
    _Atomic uint32_t *slots;
    gw_series *series;
    char *text;
    size_t text_most;
    _Atomic size_t text_used;
    _Atomic uint32_t taken; /* places in `series` that were given out */
    _Atomic uint32_t live;  /* of them, those that count */
    _Atomic uint64_t dropped;
    double *cells[]; /* cell_sets of them */
} gw_script_metric;

/* What one generation says of a metric. */
typedef struct gw_script_metric_use {
    gw_script_metric *metric;
    const char *help;
} gw_script_metric_use;

/* ---- control threads ---- */

/* Found or made, one more reference. `shared` false: one of the caller's own, for one thread. NULL: *status is GW_NOMEM or GW_INVALID. */
gw_script_metric *gw_script_metric_open(const gw_script_shape *shape, bool shared, int *status);
void gw_script_metric_release(gw_script_metric *m); /* NULL is fine */
/* A generation takes over from another: metrics that have another shape than those of the same name before begin anew, which is logged. */
void gw_script_metrics_adopt(const gw_script_metric_use *uses, uint32_t count, const gw_script_metric_use *old,
                             uint32_t old_count, gw_log_ring *log);
void gw_script_metrics_write(gw_page *p, const gw_script_metric_use *uses, uint32_t count);

/* ---- any thread ---- */

/* The cells of a series for a worker, the series found or made; NULL: it would be one too many, or its values are too long. */
double *gw_script_metric_cell(gw_script_metric *m, uint32_t worker, const char *key, size_t len);
/* The numbers of a series, summed over workers, into out[stride]. False: there is no such series. */
bool gw_script_metric_read(const gw_script_metric *m, const char *key, size_t len, double *out);

#endif
