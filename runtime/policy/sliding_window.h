/* Sliding window: at most `limit` requests in any `window` seconds, nearly; over all, or for each key.
 *
 * Two counters, weighted: the requests of this fixed window plus those of the one before, the latter taken as spread evenly and counted
 * for the share of it that the sliding window still covers. That is an approximation: where the requests of the window before came
 * late in it, up to that share of them too many get through; never twice the limit at a border, as with plain fixed windows. (The
 * scheme is Cloudflare's, "How we built rate limiting capable of scaling to millions of domains", 2017.) Refused requests do not count.
 *
 * All of it is one word, so that it is exact whichever worker asks:
 *
 *     | number of the window, what is left of 64 bits (56 for a key) | before: c bits | this: c bits |
 *
 * c is 16, or more when the limit needs it, so that 16 bits are left for the number at least. The number is kept modulo its bits: who
 * comes back after exactly so many windows (65,536 at the least) may be met by his old counts, for two windows at most.
 * A clock that is set back counts on in the window it finds; nothing is forgiven. */
#ifndef GW_POLICY_SLIDING_WINDOW_H
#define GW_POLICY_SLIDING_WINDOW_H

#include "policy/keyed_table.h"

#define GW_WINDOW_LIMIT_MOST ((1 << 24) - 1)       /* limit of one for all */
#define GW_WINDOW_KEYED_LIMIT_MOST ((1 << 20) - 1) /* limit of a key */

typedef struct gw_window_rule {
    _Atomic int64_t window; /* ns */
    _Atomic uint32_t limit;
    uint32_t count_bits; /* c; fixed when made */
} gw_window_rule;

/* 64 bytes. */
typedef struct gw_sliding_window {
    _Atomic uint64_t word;
    gw_window_rule rule;
    char apart[40];
} gw_sliding_window;

/* 192 bytes; its slots (40 bytes a key) stand behind it. */
typedef struct gw_keyed_window {
    gw_key_table table;
    gw_window_rule rule;
    char apart[48];
} gw_keyed_window;

/* limit: requests, 1 to GW_WINDOW_LIMIT_MOST. window: seconds, 0.001 or more. GW_OK or GW_INVALID. */
GW_API int gw_sliding_window_init(gw_sliding_window *w, uint32_t limit, double window);
GW_API gw_sliding_window *gw_sliding_window_new(uint32_t limit, double window); /* NULL: as above, or out of memory */
GW_API void gw_sliding_window_free(gw_sliding_window *w);

/* Counts n requests. 0: admitted. Above 0: refused, seconds after which n would be admitted if nobody else came. INFINITY: n is above
 * the limit. Any thread. */
GW_API double gw_sliding_window_allow(gw_sliding_window *w, uint32_t n, int64_t now);
/* Requests that would be admitted now. Any thread. */
GW_API uint32_t gw_sliding_window_left(const gw_sliding_window *w, int64_t now);
/* Other settings; what was counted stays counted. GW_LIMIT: the limit does not fit the counters that it was made with (those fit 65,535 at
 * the least): make a new one. One thread at a time; others may go on asking (one that asks in the very instant in which the window changes
 * may be counted as the first of it). */
GW_API int gw_sliding_window_change(gw_sliding_window *w, uint32_t limit, double window, int64_t now);

/* The same for each key, in a table of fixed size: keyed_table.h. limit: at most GW_WINDOW_KEYED_LIMIT_MOST. */
GW_API size_t gw_keyed_window_bytes(uint32_t max_keys); /* 0: max_keys is 0 or above GW_KEY_MOST */
/* On gw_keyed_window_bytes(max_keys) zeroed bytes, aligned to 16. */
GW_API int gw_keyed_window_init(gw_keyed_window *w, uint32_t limit, double window, uint32_t max_keys);
GW_API gw_keyed_window *gw_keyed_window_new(uint32_t limit, double window, uint32_t max_keys);
GW_API void gw_keyed_window_free(gw_keyed_window *w);
GW_API double gw_keyed_window_allow(gw_keyed_window *w, const char *key, size_t len, uint32_t n, int64_t now);
GW_API uint32_t gw_keyed_window_left(const gw_keyed_window *w, const char *key, size_t len, int64_t now);
/* Another limit. GW_LIMIT: it does not fit the counters: make a new table, and adopt. */
GW_API int gw_keyed_window_change(gw_keyed_window *w, uint32_t limit);
/* Takes over what `from` counted; for another window, another number of keys or a limit that did not fit. `to` is new, and in nobody's
 * hands yet; `from` may go on being asked. */
GW_API void gw_keyed_window_adopt(gw_keyed_window *to, const gw_keyed_window *from, int64_t now);

#endif
