/* What each plugin has done, and whether it is switched off. Functions of the script that are no plugin are counted likewise, under the
 * "file:line" where they begin.
 *
 * A record belongs to a name and outlives generations: the next one that has a plugin of that name finds it, the last one frees it. Each
 * worker counts in a cell of its own (compiled Lua adds to `calls`); readers sum them (gw_plugin_sum: any thread, relaxed).
 *
 *   ON ── `failures` of them within `within` ──► OFF for `off_for` seconds ──► ON
 *
 * A failure is an error that the plugin raised, or that it ran too long; a response of whatever status is none. While it is off, a plugin
 * is skipped (fail open), or its requests get 503 (fail closed). */
#ifndef GW_GATEWAY_PLUGIN_COUNTERS_H
#define GW_GATEWAY_PLUGIN_COUNTERS_H

#include "base/base.h"
#include <stdatomic.h>

#define GW_PLUGIN_FAILURES_MOST 1000

enum gw_on_failure { GW_ON_FAILURE_NOTHING, GW_ON_FAILURE_OPEN, GW_ON_FAILURE_CLOSED };

typedef struct gw_plugin_policy {
    int on_failure; /* enum gw_on_failure */
    uint32_t failures;
    double within, off_for; /* seconds */
} gw_plugin_policy;

/* One worker's. Doubles, which compiled Lua adds to without boxing; whole to 2^53. */
typedef struct gw_plugin_cell {
    double calls, errors, runaways; /* runaways are no errors besides */
    double cpu;                     /* seconds, sampled a hundred times a second; of runaways all of it */
    double skipped, refused;        /* while it was off: requests that went past it, requests that got 503 */
    const double *off_until;        /* of the record: 0: it is on; seconds of the monotonic clock */
} __attribute__((aligned(GW_CACHE_LINE))) gw_plugin_cell;

typedef struct gw_plugin {
    struct gw_plugin *next; /* registry */
    gw_slice name;
    uint32_t scope, uses, workers;
    bool anonymous; /* a function of the script */
    _Atomic(const gw_plugin_policy *) policy;
    double off_until;              /* read by compiled Lua; written by workers, one of which wins */
    _Atomic uint64_t switched_off; /* times */
    _Atomic uint32_t failed;       /* place in `when`, counted on */
    _Atomic int64_t *when;         /* ns: the last failures, GW_PLUGIN_FAILURES_MOST of them; NULL: no policy ever */
    gw_plugin_policy policies[2];  /* the current one and the one before, which a worker may still read */
    gw_plugin_cell cells[];
} gw_plugin;

/* The sums over all workers; also what metrics are made of: gw_plugin_sum for each of gw_generation's `plugins`. */
typedef struct gw_plugin_counters {
    double calls, errors, runaways, cpu, skipped, refused;
    uint64_t switched_off;
    bool off;
} gw_plugin_counters;
void gw_plugin_sum(const gw_plugin *p, int64_t now_ns, gw_plugin_counters *out);

/* Finds or makes the record of a name. Control thread. NULL: memory is out. */
gw_plugin *gw_plugin_open(gw_slice name, bool anonymous, uint32_t workers);
void gw_plugin_release(gw_plugin *p);
/* Its generation is current now. */
void gw_plugin_apply(gw_plugin *p, const gw_plugin_policy *policy);

/* It failed on that worker. True: this switched it off. */
bool gw_plugin_failed(gw_plugin *p, uint32_t worker, bool runaway, int64_t now_ns);
/* It is to be left out. Switches it on again when its time is over. */
bool gw_plugin_is_off(gw_plugin *p, int64_t now_ns);

#endif
