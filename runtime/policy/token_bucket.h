/* Token bucket: `rate` tokens a second, at most `burst` kept. One word for the whole node, whichever worker asks.
 *
 * The generic cell rate algorithm, ITU-T I.371 annex A, in its virtual scheduling form: the word is the theoretical arrival time (TAT),
 * the moment at which the bucket is full again. Taking n tokens moves it by n periods; that is refused when it would come to stand
 * more than `burst` periods ahead. So there is nothing to refill and no timer, and a refused request changes nothing.
 *
 *     now          TAT                  now + limit
 *      |------------|------------------------|           limit = burst × period
 *        used tokens      tokens left
 *
 * A clock that is set back leaves the bucket empty at worst: a TAT further ahead than any admission can have put it is pulled back. */
#ifndef GW_POLICY_TOKEN_BUCKET_H
#define GW_POLICY_TOKEN_BUCKET_H

#include "policy/now.h"

/* 64 bytes: a cache line of its own. */
typedef struct gw_token_bucket {
    _Atomic int64_t tat;   /* theoretical arrival time, ns */
    _Atomic int64_t limit; /* ns that TAT may be ahead: burst × period */
    _Atomic double period; /* ns a token */
    char apart[40];
} gw_token_bucket;

/* A full bucket. rate: tokens a second, burst: tokens, both above 0, fractions welcome. GW_OK, or GW_INVALID: not numbers above 0, or a
 * bucket that takes longer than 73 years to fill. */
GW_API int gw_token_bucket_init(gw_token_bucket *b, double rate, double burst);
/* The same on the heap; NULL: as above, or out of memory. */
GW_API gw_token_bucket *gw_token_bucket_new(double rate, double burst);
GW_API void gw_token_bucket_free(gw_token_bucket *b);

/* Takes n tokens. 0: taken. Above 0: refused, the seconds after which they will be there (if nobody else takes them). INFINITY: never,
 * because n is above burst, or no number of 0 or more. Any thread. */
GW_API double gw_token_bucket_allow(gw_token_bucket *b, double n, int64_t now);
/* Tokens left, 0 to burst. Any thread. */
GW_API double gw_token_bucket_left(const gw_token_bucket *b, int64_t now);
/* Seconds until it is full. Any thread. */
GW_API double gw_token_bucket_full_after(const gw_token_bucket *b, int64_t now);
/* New settings: the tokens used stay used, so that a reload does not refill it. One thread at a time; others may go on asking. */
GW_API int gw_token_bucket_change(gw_token_bucket *b, double rate, double burst, int64_t now);

#ifndef GW_CDEF
/* The decision on its own, in any unit of time: 0 when `cost` may be taken at `now`, else the wait. *next is the TAT to store; where it
 * equals tat, nothing changes (a refusal changes it only where the clock was set back). 0 < cost <= limit. */
static inline int64_t gw_gcra(int64_t tat, int64_t now, int64_t cost, int64_t limit, int64_t slack, int64_t *next)
{
    if (gw_unlikely(tat - now > limit + slack)) {
        *next = now + limit;
        return cost;
    }
    int64_t after = (tat > now ? tat : now) + cost, wait = after - now - limit;
    *next = wait > 0 ? tat : after;
    return wait > 0 ? wait : 0;
}

/* Period and limit in ns for these settings, or GW_INVALID. */
int gw_gcra_settings(double rate, double burst, double *period, int64_t *limit);
#endif

#endif
