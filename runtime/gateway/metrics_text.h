/* What this floor has to tell a scrape, written on a page: routes, limiters, upstreams and their endpoints. On the control thread; workers
 * are not stopped, asked or waited for. */
#ifndef GW_GATEWAY_METRICS_TEXT_H
#define GW_GATEWAY_METRICS_TEXT_H

#include "gateway/metrics.h"
#include "gateway/metrics_page.h"

/* All of it. g: the current generation, whose endpoints are told; NULL: only what outlives generations. `now`: monotonic ns. */
/* The lines of one histogram; exemplars: one for each bucket, or NULL. */
void gw_histogram_write(gw_page *p, gw_slice labels, const gw_histogram *h, const gw_exemplar *exemplars);
void gw_metrics_write(gw_page *p, const gw_generation *g, int64_t now);

#endif
