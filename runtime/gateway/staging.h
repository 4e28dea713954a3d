/* Two generations at once: while a reload is staged, a share of the clients is served by the candidate, the others by the stable generation.
 *
 * A request takes its generation when its head is read and it is known who the client is: a keyed hash of the client's address (IPv6: its
 * /64), so that a client stays with one. From there on it belongs to that generation to its end, as ever; up to there (bounds on heads,
 * trusted proxies) it is held to the stable one's rules. Each worker has a pointer of its own to this, set and cleared on its thread, and
 * counts in cells of its own; the control thread sums what it reads. When nothing is staged the pointer is NULL. */
#ifndef GW_GATEWAY_STAGING_H
#define GW_GATEWAY_STAGING_H

#include "gateway/metrics.h"

#define GW_STAGED_BUCKETS 176 /* of latencies: 8 to an octave, from 0.1 ms to 400 s */

enum { GW_STABLE, GW_CANDIDATE, GW_STAGED_SIDES };

typedef struct gw_staged_side {
    uint64_t requests;
    uint64_t errors;                    /* answered with 500 to 599, by whomever; or cut by no fault of the client's */
    uint64_t bucket[GW_STAGED_BUCKETS]; /* upgraded connections are in none */
    gw_histogram duration;
} gw_staged_side;

typedef struct gw_staged_cells {
    gw_staged_side side[GW_STAGED_SIDES];
} __attribute__((aligned(GW_CACHE_LINE))) gw_staged_cells;

typedef struct gw_staging {
    gw_generation *candidate;
    uint64_t seed[2];
    uint64_t below; /* of 2^32 hashes */
    uint32_t workers;
    gw_staged_cells cells[];
} gw_staging;

/* share: 0 to 1. NULL: memory is out. Control thread; freed by gw_staging_free when no worker has it. */
gw_staging *gw_staging_new(gw_generation *candidate, double share, uint32_t workers);
void gw_staging_free(gw_staging *s);

/* ---- workers ---- */
/* Moves an exchange that has just begun to the candidate, if its client is one of those. With engine->staged. */
void gw_staging_choose(gw_exchange *x);
/* Counts one that ends. With engine->staged. */
void gw_staging_count(gw_exchange *x);

/* ---- the control thread ---- */
typedef struct gw_staged_sum {
    uint64_t requests, errors;
    uint64_t timed;             /* those that have a latency */
    double mean, p50, p90, p99; /* seconds, at most 9 % above the truth; 0: nothing timed */
} gw_staged_sum;
/* Adds what the workers have so far to *total (zeroed before the first). */
void gw_staging_total(const gw_staging *s, int side, gw_staged_side *total);
void gw_staged_summed(const gw_staged_side *total, gw_staged_sum *out);

/* ---- when to go back ---- */
enum gw_staged_metric { GW_STAGED_ERRORS, GW_STAGED_MEAN, GW_STAGED_P50, GW_STAGED_P90, GW_STAGED_P99 };

/* "errors>1%", "errors>20" (a count), "p99>250ms", "errors>stable+1%", "p99>stable*1.5", "mean>stable*2+10ms". */
typedef struct gw_staged_rule {
    int metric;    /* enum gw_staged_metric */
    bool percent;  /* of ERRORS: the share of requests; else how many */
    double factor; /* times the stable one's; 0: it does not matter */
    double plus;   /* seconds, share (0.01) or count */
    char text[64];
} gw_staged_rule;

/* GW_OK, or GW_INVALID with what was expected in *reason. */
GW_API int gw_staged_rule_parse(gw_slice text, gw_staged_rule *out, const char **reason);
/* Whether the candidate breaks it; `why` says so in words. */
GW_API bool gw_staged_rule_broken(const gw_staged_rule *rule, const gw_staged_sum *stable, const gw_staged_sum *candidate,
                                  char *why, size_t why_bytes);

#endif
