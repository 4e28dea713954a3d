/* What the dashboard and `gateway top` show: one JSON object, made on the control thread from what the workers count for themselves, without
 * stopping or asking them. How large it is does not depend on the script: of routes, upstreams, endpoints, limits and plugins it has those
 * that matter most (the most traffic of late, what is down), and says how many it leaves out.
 *
 * Counters only ever grow, over reloads too; rates and percentiles are what lies between two snapshots. Times are seconds since 1970,
 * durations seconds, memory bytes. */
#ifndef GW_PROCESS_SNAPSHOT_H
#define GW_PROCESS_SNAPSHOT_H

#include "base/text.h"

struct gw_supervisor;

#define GW_SNAPSHOT_ROUTES 100
#define GW_SNAPSHOT_UPSTREAMS 60
#define GW_SNAPSHOT_ENDPOINTS 40 /* of each upstream */
#define GW_SNAPSHOT_LIMITS 60
#define GW_SNAPSHOT_PLUGINS 60
#define GW_SNAPSHOT_SLOW 20

/* One line without its end. malloc'ed, *len bytes; NULL: memory is out. */
char *gw_snapshot_json(struct gw_supervisor *s, size_t *len);

/* ---- snapshot_traffic.c ---- */
/* The routes' and limits' counts, read at once so that nothing can vanish meanwhile. */
typedef struct gw_traffic gw_traffic;
gw_traffic *gw_traffic_read(double now); /* seconds of the monotonic clock; NULL: memory is out */
void gw_traffic_free(gw_traffic *traffic);
void gw_traffic_json(gw_text *t, const gw_traffic *traffic); /* members, beginning with a comma */

/* ---- snapshot_upstreams.c ---- */
void gw_upstreams_json(gw_text *t, const struct gw_supervisor *s); /* the same */

#endif
