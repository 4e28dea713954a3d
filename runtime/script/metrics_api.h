/* Scripts' own metrics as compiled Lua holds them. Part of api.h: Lua sees this. See gateway/metrics_script.h.
 *
 * Lua counts by itself: `cell[0] = cell[0] + n` on the cells of its worker, which nobody else writes. Only gauges, which all workers
 * share, are added to here. Label values come as one key: each as "LENGTH:BYTES", in the order of the labels. */
#ifndef GW_SCRIPT_METRICS_API_H
#define GW_SCRIPT_METRICS_API_H

typedef struct gw_lua_metric {
    void *metric;
    int worker, stride; /* doubles of a series */
} gw_lua_metric;

/* kind: 0 counter, 1 gauge, 2 histogram. labels: names with commas between. holder: the Lua state's; NULL: private, to be closed with
 * gw_lua_metric_close. OK, INVALID (a shape that makes no sense), NOMEM. */
GW_API int gw_lua_metric_open(void *holder, gw_lua_metric *m, int kind, const char *name, size_t name_len, const char *labels,
                              size_t labels_len, const double *bounds, int bound_count, double series);
GW_API void gw_lua_metric_close(gw_lua_metric *m);
/* This worker's cells of a series; NULL: it would be one too many. */
GW_API double *gw_lua_metric_cell(gw_lua_metric *m, const char *key, size_t len);
/* Adds to a cell that all workers share. */
GW_API void gw_lua_metric_add(double *cell, double n);
/* Summed over workers, into out[stride]. 0: there is no such series. */
GW_API int gw_lua_metric_read(gw_lua_metric *m, const char *key, size_t len, double *out);
GW_API double gw_lua_metric_dropped(gw_lua_metric *m);

/* For tests. What /metrics says of routes and upstreams, malloc'ed (freed with gw_lua_metrics_free), *len bytes; NULL: no memory. */
GW_API char *gw_lua_metrics_text(size_t *len);
GW_API void gw_lua_metrics_free(char *text);
/* Forgets the counts of routes and upstreams that no generation has any more. */
GW_API void gw_lua_metrics_forget(void);

#endif
