/* A dictionary of bounded size that all threads share: keys and values are bytes, values may be numbers and booleans too, and may end
 * after a time.
 *
 * - Size: all memory is taken when it is made (pages are touched when they are first used), and nothing grows after. Where a new entry
 *   finds no room, entries that have ended go first, of a few that are looked at; then the least used: a queue in which who was asked for
 *   since goes to the end again (CLOCK with up to 3 hits). A flood of keys that are seen once evicts its own kind. Each eviction is counted.
 * - Shards: a key belongs to one of up to 64, by its hash; one shard holds 1/shards of the size, which is the most that one entry may be.
 * - Locks: a mutex each shard, held for one operation: a walk down a hash chain, the copy of one value and, for a write, the eviction of at
 *   most as many entries as the new one has units of 128 bytes. Measured, that is 30 to 100 ns for values of a line and some 50 us a megabyte.
 *   Why locks here and nowhere else on the data path: a value longer than a word cannot be changed by compare-and-swap, and a reader without
 *   a lock would have to copy it twice, or retry for as long as others write. The mutex spins before it sleeps (adaptive). Nothing under
 *   it allocates, calls back, or waits for another lock, so a wait ends after at most (threads - 1) operations of others.
 * - Hash: SipHash-1-3 with the process's secret, so nobody who lacks it can choose keys that share a chain or a shard.
 * - An entry costs 44 bytes and its key and its value, rounded up to pieces (pages.h): 128 bytes for small ones.
 *
 * Time: an entry ends at `expires`, and is gone when now >= expires. GW_DICTIONARY_FOR_EVER: never. */
#ifndef GW_POLICY_DICTIONARY_H
#define GW_POLICY_DICTIONARY_H

#include "policy/now.h"

#define GW_DICTIONARY_LEAST ((size_t)64 << 10) /* bytes of a dictionary, at least */
#define GW_DICTIONARY_MOST ((size_t)64 << 30)  /* and at most */
#define GW_DICTIONARY_KEY_MOST 65535           /* bytes of a key */
#define GW_DICTIONARY_FOR_EVER INT64_MAX

enum gw_value_type { GW_VALUE_NONE = 0, GW_VALUE_STRING, GW_VALUE_NUMBER, GW_VALUE_FALSE, GW_VALUE_TRUE };

typedef struct gw_value {
    int type;      /* enum gw_value_type */
    gw_slice text; /* of a string, borrowed */
    double number;
} gw_value;

enum gw_dictionary_mode {
    GW_DICTIONARY_SET,     /* whatever is there */
    GW_DICTIONARY_ADD,     /* only when nothing is */
    GW_DICTIONARY_REPLACE, /* only when something is */
    GW_DICTIONARY_COMPARE  /* only when what is there equals `expected` (GW_VALUE_NONE: nothing is) */
};

typedef struct gw_dictionary_stats {
    uint64_t entries;  /* now; those that have ended, and that nobody has met since, included */
    uint64_t bytes;    /* in use, in pieces */
    uint64_t capacity; /* bytes that entries may use */
    uint64_t share;    /* bytes that one entry may use: key, value and 44 */
    uint64_t hits, misses;
    uint64_t evicted; /* entries that made room before they had ended */
    uint64_t expired; /* entries that had ended when they were met */
    uint64_t refused; /* too large */
} gw_dictionary_stats;

typedef struct gw_dictionary gw_dictionary;

/* bytes: of all its memory, bookkeeping included. NULL: out of range, or out of memory. */
GW_API gw_dictionary *gw_dictionary_new(size_t bytes);
GW_API void gw_dictionary_free(gw_dictionary *d);
GW_API bool gw_dictionary_size_good(size_t bytes);

/* Copies the value: a string into room[0 .. *len). GW_OK; GW_NOTFOUND; GW_LIMIT: it has *len bytes, more than `room_bytes`. *type is what it is,
 * *number set for numbers. */
GW_API int gw_dictionary_get(gw_dictionary *d, gw_slice key, int64_t now, char *room, size_t room_bytes, int *type, size_t *len,
                             double *number);

/* Stores the value until `expires`. GW_OK. GW_LIMIT: larger than a share (what was there stays). GW_NOTFOUND: REPLACE, and nothing is there.
 * GW_REFUSED: ADD, and something is there; COMPARE, and something else is. COMPARE with a value of GW_VALUE_NONE removes. */
GW_API int gw_dictionary_put(gw_dictionary *d, gw_slice key, const gw_value *value, int64_t expires, int mode,
                             const gw_value *expected, int64_t now);

/* Adds n to a number; *result is what it is then. When nothing is there and `init` is given: init + n, until `expires` (an entry that is there
 * keeps its end). GW_OK, GW_NOTFOUND, GW_INVALID (no number is there), GW_LIMIT (the key is too long). */
GW_API int gw_dictionary_incr(gw_dictionary *d, gw_slice key, double n, const double *init, int64_t expires, int64_t now,
                              double *result);

GW_API int gw_dictionary_delete(gw_dictionary *d, gw_slice key, int64_t now);                  /* GW_OK, GW_NOTFOUND */
GW_API int gw_dictionary_ends(gw_dictionary *d, gw_slice key, int64_t now, int64_t *expires);  /* likewise; counts as no hit */
GW_API int gw_dictionary_expire(gw_dictionary *d, gw_slice key, int64_t expires, int64_t now); /* likewise */
GW_API void gw_dictionary_clear(gw_dictionary *d);
GW_API void gw_dictionary_read_stats(gw_dictionary *d, gw_dictionary_stats *stats);

/* Copies what `from` has into `to`, which keeps what it has itself; the oldest first, so that a smaller one keeps the newest. Holds one of from's
 * shards at a time. For control threads. False: memory was out, and some may be missing. */
GW_API bool gw_dictionary_adopt(gw_dictionary *to, gw_dictionary *from, int64_t now);

#endif
