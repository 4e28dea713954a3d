/* Passive health: an endpoint whose requests fail too often is ejected for a while. The rate is taken over a sliding window of buckets, and
 * only once there were enough requests to speak of a rate. All state is in atomics of a fixed size: any thread records.
 *
 *                 error rate reached, on a failure: DOWN
 *     counting ──────────────────────────────────────────▶ ejected        results of requests picked earlier are not counted
 *        ▲                                                     │
 *        └───────────────── eject_for is over: UP ─────────────┘          counting begins anew */
#ifndef GW_POLICY_PASSIVE_H
#define GW_POLICY_PASSIVE_H

#include "policy/health.h"

enum { GW_PASSIVE_BUCKETS = 10 };

typedef struct gw_passive_config {
    int64_t window;        /* ns; a result counts for nine tenths of it at least, all of it at most */
    int64_t eject_for;     /* ns; 0: as long as the window */
    double error_rate;     /* 0 to 1: this share of failures, or more */
    uint32_t min_requests; /* fewer in the window say nothing */
} gw_passive_config;

typedef struct gw_passive {                      /* all zero to begin with */
    _Atomic uint64_t bucket[GW_PASSIVE_BUCKETS]; /* passive.c draws it */
    _Atomic int64_t until;                       /* ns: ejected until then; 0: not ejected */
} gw_passive;

/* A request's result. GW_HEALTH_DOWN: with it the endpoint is ejected (told to one caller only); GW_HEALTH_SAME. */
GW_API int gw_passive_record(gw_passive *p, const gw_passive_config *config, int64_t now, bool ok);
/* To be called now and then, or at p->until. GW_HEALTH_UP: it is back (told to one caller only: who starts its slow start);
 * GW_HEALTH_SAME. */
GW_API int gw_passive_tick(gw_passive *p, int64_t now);
/* Until when it is ejected, ns; 0: it is not. It stays ejected until a tick. */
GW_API int64_t gw_passive_until(const gw_passive *p);
/* What the window holds. Counts are halved together where a tenth of the window has seen more than 262,143 of a kind. */
GW_API void gw_passive_counts(const gw_passive *p, const gw_passive_config *config, int64_t now, uint32_t *succeeded,
                              uint32_t *failed);

#endif
