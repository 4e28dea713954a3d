/* Concurrency limit: at most `cap` requests in flight, over all or for each key. Who was let in must leave, exactly once.
 *
 * When a place will be free cannot be known, so refusals carry no time to wait; callers say GW_CONCURRENCY_RETRY seconds.
 *
 * Keys stand in a table of fixed size, one word each, found by scanning GW_CONCURRENCY_WINDOW words from where the hash points:
 *
 *     | 48 bits of keyed hash         | in flight: 16 bits, 1 or more |     a key
 *     | number that no other claim has | 0                            |     a claim: a first request is about to put its key here
 *     | 0                                                             |     free
 *
 * A key with nobody in flight is in no word, so there is nothing to evict, and the table needs room only for keys with requests in flight.
 * When a window is full of those, a new key is refused. Keys that share 48 bits and a neighbourhood share one cap (one pair in about a
 * million tables of a million keys in flight at once).
 *
 * A key is in one word at most, so that its cap is exact: its first request claims a free word, looks through the window for the key, undoes
 * all other claims that it meets, and only then swaps its own claim, if that is still there, for the key. Of two that claim at once, who
 * looks later sees the other: a claim, which it undoes, or the key. Which key a claim is for does not show, so those of other keys are
 * undone as well; whoever was undone begins again. At first the claim in front wins; but nobody waits for one whose thread does not run. */
#ifndef GW_POLICY_CONCURRENCY_H
#define GW_POLICY_CONCURRENCY_H

#include "base/base.h"

#define GW_CONCURRENCY_RETRY 1          /* seconds */
#define GW_CONCURRENCY_WINDOW 32        /* words a key may stand in */
#define GW_CONCURRENCY_EACH 3           /* words for each key that may be in flight: short scans */
#define GW_CONCURRENCY_KEYED_MOST 65535 /* cap of a key */

/* 64 bytes. */
typedef struct gw_concurrency {
    _Atomic uint32_t in_flight, cap;
    char apart[56];
} gw_concurrency;

/* cap: 1 or more. GW_OK or GW_INVALID. */
GW_API int gw_concurrency_init(gw_concurrency *c, uint32_t cap);
GW_API gw_concurrency *gw_concurrency_new(uint32_t cap); /* NULL: as above, or out of memory */
GW_API void gw_concurrency_free(gw_concurrency *c);
/* GW_OK: in; GW_LIMIT: full. Any thread. */
GW_API int gw_concurrency_enter(gw_concurrency *c);
GW_API void gw_concurrency_leave(gw_concurrency *c);
GW_API uint32_t gw_concurrency_in_flight(const gw_concurrency *c);
/* Another cap. Those in flight stay; nobody enters until there are fewer. Any thread. GW_OK or GW_INVALID. */
GW_API int gw_concurrency_change(gw_concurrency *c, uint32_t cap);

/* 64 bytes; its words (24 bytes a key) stand behind it. */
typedef struct gw_keyed_concurrency gw_keyed_concurrency;
struct gw_keyed_concurrency {
    _Atomic uint64_t *words;
    _Atomic(const gw_keyed_concurrency *) older; /* those in flight there count here, too; NULL: none */
    uint32_t homes, word_count;
    _Atomic uint32_t cap;
    char apart[36];
};

GW_API size_t gw_keyed_concurrency_bytes(uint32_t max_keys); /* 0: max_keys is 0 or above 2^28 */
/* On gw_keyed_concurrency_bytes(max_keys) zeroed bytes, aligned to 8. cap: 1 to GW_CONCURRENCY_KEYED_MOST. GW_OK or GW_INVALID. */
GW_API int gw_keyed_concurrency_init(gw_keyed_concurrency *c, uint32_t cap, uint32_t max_keys);
GW_API gw_keyed_concurrency *gw_keyed_concurrency_new(uint32_t cap, uint32_t max_keys); /* NULL: as above, or out of memory */
GW_API void gw_keyed_concurrency_free(gw_keyed_concurrency *c);
/* In: a place, 0 or more, to leave by. GW_LIMIT: the key's cap is reached, or there is no room for another key. Any thread. */
GW_API int gw_keyed_concurrency_enter(gw_keyed_concurrency *c, const char *key, size_t len);
GW_API void gw_keyed_concurrency_leave(gw_keyed_concurrency *c, int place);
GW_API uint32_t gw_keyed_concurrency_in_flight(const gw_keyed_concurrency *c, const char *key, size_t len);
GW_API int gw_keyed_concurrency_change(gw_keyed_concurrency *c, uint32_t cap);
/* Takes the place of another table (NULL: no longer): who is in flight there counts against the caps here, until it leaves there. Exact
 * as soon as nobody enters there any more. `older` has to stay for as long as `c`. */
GW_API void gw_keyed_concurrency_follow(gw_keyed_concurrency *c, const gw_keyed_concurrency *older);
/* Nobody is in flight, in older ones neither. Looks at every word. */
GW_API bool gw_keyed_concurrency_idle(const gw_keyed_concurrency *c);
/* Keys that it was made for. */
GW_API uint32_t gw_keyed_concurrency_keys(const gw_keyed_concurrency *c);

#endif
