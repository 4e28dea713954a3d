/* A page of metrics that grows: Prometheus text 0.0.4, or OpenMetrics 1.0. Which is which is known here and nowhere else.
 *
 *     gw_page p;
 *     gw_page_init(&p, false);
 *     gw_page_family(&p, "gateway_upgrades", GW_PAGE_COUNTER, "Connections ...");
 *     gw_page_u64(&p, GW_NO_SLICE, 12);              gateway_upgrades_total 12
 *     gw_page_end(&p);
 *
 * Counters are named without their "_total". When memory runs out the page is `failed`, and writing on it does nothing. */
#ifndef GW_GATEWAY_METRICS_PAGE_H
#define GW_GATEWAY_METRICS_PAGE_H

#include "base/text.h"

enum gw_page_type { GW_PAGE_COUNTER, GW_PAGE_GAUGE, GW_PAGE_HISTOGRAM };

typedef struct gw_page {
    char *bytes; /* malloc'ed */
    size_t len, cap;
    bool failed, openmetrics;
    gw_slice family;
    enum gw_page_type type;
    double wall; /* seconds since 1970 at loop time 0: for exemplars */
} gw_page;

void gw_page_init(gw_page *p, bool openmetrics);
void gw_page_clear(gw_page *p);
/* Ends the page. */
void gw_page_end(gw_page *p);

/* `name` lives until the next family. */
void gw_page_family(gw_page *p, gw_slice name, enum gw_page_type type, const char *help);
/* One series of the family: labels as text (route="/",method="GET"), {NULL,0}: none. */
void gw_page_u64(gw_page *p, gw_slice labels, uint64_t value);
void gw_page_double(gw_page *p, gw_slice labels, double value);
/* One line of a histogram: _bucket (with le), _sum, _count. */
void gw_page_bucket(gw_page *p, gw_slice labels, double bound, uint64_t count); /* INFINITY: the last */
/* What belongs to the line before: for histograms and counters in OpenMetrics; nothing otherwise. */
void gw_page_exemplar(gw_page *p, gw_slice id, double value, double at);
void gw_page_sum(gw_page *p, gw_slice labels, double value);
void gw_page_sum_ns(gw_page *p, gw_slice labels, uint64_t ns);
void gw_page_count(gw_page *p, gw_slice labels, uint64_t count);

/* name="value", escaped; bytes that are no UTF-8 become U+FFFD. At most 3 bytes of text for one of the value. */
void gw_metrics_label(gw_text *t, const char *name, gw_slice value);

#endif
