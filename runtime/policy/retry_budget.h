/* A budget for retries: at any time no more of them than a share of the live requests, so that retries cannot multiply the load of an
 * upstream that is failing. A retry counts from when it is decided, while it waits in its back-off, until it has ended. A minimum lets
 * quiet upstreams retry at all. Hedged requests take from the same budget. Any thread; requests and retries stand in one word, so the
 * decision is exact. */
#ifndef GW_POLICY_RETRY_BUDGET_H
#define GW_POLICY_RETRY_BUDGET_H

#include "base/base.h"

typedef struct gw_retry_budget_config {
    double share;     /* of live requests, 0 to 1: 0.2 allows one retry for five requests */
    uint32_t minimum; /* retries that are always allowed */
} gw_retry_budget_config;

typedef struct gw_retry_budget { /* all zero to begin with; outlives reloads */
    _Atomic uint64_t word;       /* live requests << 32 | retries */
} gw_retry_budget;

/* A request of a client begins, and has ended, retries and all: once each, however many attempts it takes. */
GW_API void gw_retry_budget_enter(gw_retry_budget *b);
GW_API void gw_retry_budget_leave(gw_retry_budget *b);
/* Whether one more retry may be. If so it counts until it is given back. */
GW_API bool gw_retry_budget_take(gw_retry_budget *b, const gw_retry_budget_config *config);
GW_API void gw_retry_budget_give(gw_retry_budget *b);
GW_API uint32_t gw_retry_budget_requests(const gw_retry_budget *b);
GW_API uint32_t gw_retry_budget_retries(const gw_retry_budget *b);

#endif
