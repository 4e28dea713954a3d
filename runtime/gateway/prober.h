/* The prober: keeps the health bits of endpoints. One for the process, on the control thread's loop.
 *
 * It follows the current generation: each endpoint of an upstream with active health is probed again and again (policy/active.h says when,
 * and what the results mean), with a record of its own that the endpoint points at (`prober`). What is known of an endpoint stands in the
 * endpoint, so neither a reload nor a change in DNS forgets it; a reload does not even begin an interval anew. At most
 * GW_PROBES_MOST probes are under way at a time; those that are due beyond that wait their turn.
 *
 * It is also who ends passive ejections (workers begin them, see policy/passive.h).
 *
 * Every change of a bit is one log line ("endpoint down", "endpoint up") and counted in the endpoint. */
#ifndef GW_GATEWAY_PROBER_H
#define GW_GATEWAY_PROBER_H

#include "base/log.h"
#include "gateway/generation.h"
#include "net/loop.h"

#define GW_PROBES_MOST 256 /* connections at a time */

typedef struct gw_prober gw_prober;

gw_prober *gw_prober_new(gw_loop *loop, gw_log_ring *ring); /* NULL: memory is out */
void gw_prober_free(gw_prober *p);                          /* NULL is fine */

/* From now on the endpoints of this generation's upstreams are those that are looked after; NULL: none. To be called when another
 * generation becomes current, and again when a set of its endpoints was replaced; before what it replaced may be freed. */
void gw_prober_follow(gw_prober *p, gw_generation *g);

/* Probes that are under way, and that wait. */
uint32_t gw_prober_running(const gw_prober *p);
uint32_t gw_prober_waiting(const gw_prober *p);

#endif
