/* Active health: what the results of probes say of an endpoint, and when to probe next. Touched by the one prober only; what others read
 * of it is the endpoint's health bit, which the prober sets on UP and DOWN.
 *
 *                  first probe succeeds: SAME (it was taken for healthy)
 *     unknown ─┬──────────────────────────────────────────▶ healthy ◀─┐
 *              │                                               │      │ `rise` successes in a row: UP
 *              │ first probe fails: DOWN    `fall` failures in │      │
 *              └─────────────────────────▶ unhealthy ◀─────────┘ ─────┘
 *                                                  a row: DOWN
 *
 * An endpoint takes requests from the start, and a dead one is found with one probe, not with `fall`. */
#ifndef GW_POLICY_ACTIVE_H
#define GW_POLICY_ACTIVE_H

#include "policy/health.h"

typedef struct gw_active_config {
    int64_t interval;           /* ns from the end of one probe to the next */
    int64_t unhealthy_interval; /* the same while it is unhealthy and the last probe failed; 0: as `interval` */
    double jitter;              /* 0 to 1: an interval is longer or shorter by up to this share of it, by chance */
    uint32_t rise, fall;        /* 0 counts as 1 */
} gw_active_config;

typedef struct gw_active { /* all zero to begin with */
    bool known, unhealthy;
    uint32_t streak; /* results in a row that speak against the present state */
} gw_active;

/* A probe's result: GW_HEALTH_UP or GW_HEALTH_DOWN when the state changes with it, else GW_HEALTH_SAME. */
GW_API int gw_active_result(gw_active *a, const gw_active_config *config, bool ok);
/* Nanoseconds until the next probe, by 64 random bits. Before the first: anywhere within an interval, so that the probes of many endpoints
 * do not all go out at once. */
GW_API int64_t gw_active_wait(const gw_active *a, const gw_active_config *config, uint64_t random);

#endif
