/* Health, put together: from what active probes, passive counting and a hand on the switch say of each endpoint to the set of those that
 * take requests. Pure: whoever changes a bit has it worked out anew; picks only read the result.
 *
 *   1. Drained endpoints are out, whatever else holds.
 *   2. Healthy is who is neither down actively nor passively; but of those that are down passively only, no more than `max_ejected`
 *      percent (rounded up) stay ejected: the ones that went first.
 *   3. A group (primaries, backups) suffices when at least one, and at least `panic` percent, of its endpoints that are not drained are
 *      healthy. If some group suffices, those before it that do not are passed over whole: the few that are left of them would be the
 *      next to fall.
 *   4. If none suffices, it is panic: all take requests, healthy or not (fail open, try_all), or none (fail closed, refuse). */
#ifndef GW_POLICY_HEALTH_H
#define GW_POLICY_HEALTH_H

#include "base/base.h"

enum gw_health_event { GW_HEALTH_SAME, GW_HEALTH_UP, GW_HEALTH_DOWN };

enum { GW_HEALTH_DOWN_ACTIVE = 1, GW_HEALTH_DOWN_PASSIVE = 2, GW_HEALTH_DRAINED = 4 };

typedef struct gw_health_config {
    uint32_t panic;       /* percent, 0 to 100; 0: only when none is healthy */
    uint32_t max_ejected; /* percent, 0 to 100 */
    bool refuse;          /* in panic nobody takes requests */
} gw_health_config;

typedef struct gw_health_slot {
    uint32_t down;      /* GW_HEALTH_* bits */
    uint32_t group;     /* as gw_balancer_slot's */
    int64_t ejected_at; /* passively, ns */
} gw_health_slot;

typedef struct gw_health_summary {
    uint32_t healthy;  /* after step 2 */
    uint32_t eligible; /* in the end */
    uint32_t drained;
    uint32_t readmitted; /* by max_ejected */
    bool panic;
} gw_health_summary;

/* Writes a mask of those that are out, slot 0 the lowest bit of the first word, (count + 63) / 64 words: what gw_balancer_query wants as
 * `excluded`. Groups are looked at in ascending order. */
GW_API void gw_health_combine(const gw_health_config *config, const gw_health_slot *slots, uint32_t count, uint64_t *excluded,
                              gw_health_summary *summary);

#endif
