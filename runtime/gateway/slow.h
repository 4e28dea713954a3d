/* The slowest requests of the last minutes: a small table for each worker, which operators see. The worker compares each request that ends
 * with the fastest one of its table, and only what is slower touches it, so at rest it costs one comparison.
 *
 * Readers, on any thread, disturb nobody: each row stands under a sequence lock of its own whose only writer is the worker; a row that
 * is being written is left out. Paths stand there without their query. */
#ifndef GW_GATEWAY_SLOW_H
#define GW_GATEWAY_SLOW_H

#include "base/base.h"

#define GW_SLOW_ROWS 16
#define GW_SLOW_SECONDS 300.0 /* how long a row stays */
#define GW_SLOW_PATH 160      /* bytes of a path; longer ones are cut */
#define GW_SLOW_NAME 64
#define GW_SLOW_WORDS ((GW_SLOW_PATH + 5 * GW_SLOW_NAME + 32) / 8)

struct gw_exchange;

/* What it is read as. Texts are cut to their room. */
typedef struct gw_slow_row {
    double at, seconds; /* loop time at which it ended; how long it took */
    uint16_t status, attempts;
    uint8_t method_len, path_len, route_len, upstream_len, endpoint_len, id_len;
    bool path_cut;
    uint8_t reserved[5];
    char path[GW_SLOW_PATH], method[GW_SLOW_NAME], route[GW_SLOW_NAME], upstream[GW_SLOW_NAME], endpoint[GW_SLOW_NAME],
        id[GW_SLOW_NAME]; /* of its trace, or of itself; empty: none */
} gw_slow_row;
_Static_assert(sizeof(gw_slow_row) == GW_SLOW_WORDS * 8, "whole words");

typedef struct gw_slow {
    double least; /* what is not slower is of no interest. The worker's, as are these: */
    double at[GW_SLOW_ROWS], seconds[GW_SLOW_ROWS];
    uint32_t version[GW_SLOW_ROWS]; /* odd: being written */
    uint64_t words[GW_SLOW_ROWS][GW_SLOW_WORDS];
} gw_slow;

/* ---- the worker ---- */
/* A request that took longer than slow->least has ended. */
void gw_slow_take(gw_slow *slow, const struct gw_exchange *x, double seconds, double now);
/* Rows that are too old go. Now and then. */
void gw_slow_age(gw_slow *slow, double now);

/* ---- anyone ---- */
/* False: there is no such row, or it is being written. */
bool gw_slow_read(const gw_slow *slow, uint32_t row, gw_slow_row *out);

#endif
