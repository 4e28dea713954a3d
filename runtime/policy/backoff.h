/* How long to wait before a retry: exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", AWS, 2015). */
#ifndef GW_POLICY_BACKOFF_H
#define GW_POLICY_BACKOFF_H

#include "base/base.h"

/* Nanoseconds, evenly spread over 0 to min(most, base × 2^retry), by 64 random bits. `retry`: 0 is the first. Never negative, however
 * large the arguments; 0 when base or most are not above 0. */
GW_API int64_t gw_backoff(int64_t base, int64_t most, uint32_t retry, uint64_t random);

#endif
