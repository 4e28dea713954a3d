/* GET /metrics: everything that the process counts, as one page. */
#ifndef GW_PROCESS_METRICS_H
#define GW_PROCESS_METRICS_H

#include "base/base.h"
#include "gateway/metrics_page.h"

struct gw_generation;
struct gw_supervisor;

/* Which form an Accept field asks for ({NULL,0}: none was sent). True: OpenMetrics, when it is named and not liked less than plain text. */
bool gw_metrics_accept(gw_slice accept);
/* The media type of a page. */
const char *gw_metrics_type(bool openmetrics);
/* malloc'ed, *len bytes; NULL: memory is out. On the control thread. */
char *gw_metrics_page(struct gw_supervisor *s, bool openmetrics, size_t *len);

/* ---- metrics_plugins.c ---- */
void gw_metrics_plugins(gw_page *p, const struct gw_generation *g, int64_t now);

/* ---- metrics_process.c ---- */
/* The process as the kernel sees it: process_cpu_seconds_total and the like. `started`: wall time. */
void gw_metrics_process(gw_page *p, double started);

/* ---- metrics_shared.c ---- */
/* The dictionaries that the generation (or NULL) has. */
void gw_metrics_shared(gw_page *p, const struct gw_generation *g);

#endif
