/* A token bucket for each client (or any key), in a table of fixed size: see token_bucket.h for the bucket, keyed_table.h for the table.
 *
 * A client costs 40 bytes, whatever its key; at most max_clients are known at a time. Who is new when it is full takes the place of one
 * whose bucket is full again (forgetting that one changes nothing), else of the one not seen for longest (CLOCK). Refused requests take
 * nothing, but count as being seen. IPv6 clients should be keyed by their /64: the caller makes the key.
 *
 * The 56 bits of a client: its TAT in units of 64 ns. So rates up to 100,000 a second and client are kept within 0.7 %, those up to
 * 1,000 within 0.01 %. */
#ifndef GW_POLICY_CLIENT_LIMITER_H
#define GW_POLICY_CLIENT_LIMITER_H

#include "policy/keyed_table.h"

/* 192 bytes; its slots stand behind it. */
typedef struct gw_client_limiter {
    gw_key_table table;
    _Atomic double period; /* units of 64 ns a token */
    _Atomic int64_t limit; /* units that a TAT may be ahead */
    _Atomic int64_t idle;  /* units that a client is kept after its bucket is full again */
    char apart[40];
} gw_client_limiter;

/* Bytes of memory for one; 0 when max_clients is 0 or above GW_KEY_MOST. */
GW_API size_t gw_client_limiter_bytes(uint32_t max_clients);
/* On gw_client_limiter_bytes(max_clients) zeroed bytes, aligned to 16. rate and burst as for a token bucket. idle: seconds after its last
 * request that a client is kept; never before its bucket is full, or waiting would be worth more than the rate (0: just until then).
 * GW_OK or GW_INVALID. */
GW_API int gw_client_limiter_init(gw_client_limiter *l, double rate, double burst, double idle, uint32_t max_clients);
/* The same on the heap; NULL: as above, or out of memory. */
GW_API gw_client_limiter *gw_client_limiter_new(double rate, double burst, double idle, uint32_t max_clients);
GW_API void gw_client_limiter_free(gw_client_limiter *l);

/* Takes n tokens of the client's; answers as gw_token_bucket_allow does. Any thread. */
GW_API double gw_client_limiter_allow(gw_client_limiter *l, const char *key, size_t len, double n, int64_t now);
/* Tokens the client has left. A client that is not known has all. Any thread; nothing is changed. */
GW_API double gw_client_limiter_left(const gw_client_limiter *l, const char *key, size_t len, int64_t now);
/* Clients in the table that are not idle: looks at every slot. Any thread. */
GW_API uint32_t gw_client_limiter_clients(const gw_client_limiter *l, int64_t now);
/* Takes over what `from` knows, tokens used staying used under the new rate and burst, so that a reload which changes max_clients
 * refills nobody. `to` is new, and in nobody's hands yet; `from` may go on being asked. */
GW_API void gw_client_limiter_adopt(gw_client_limiter *to, const gw_client_limiter *from, int64_t now);
/* Other settings for the clients it has: what they used stays used. One thread at a time; others may go on asking. GW_OK or GW_INVALID. */
GW_API int gw_client_limiter_change(gw_client_limiter *l, double rate, double burst, double idle, int64_t now);

#endif
