/* Staged reloads: a candidate generation takes a share of the clients for a while, beside the stable one, and is put in place if it does
 * well, or taken back.
 *
 *   POST /reload?share=5%&for=60 ──► BUILDING ──► STAGED ──time is up, or by hand──► put in place as every reload is (the stable one retires)
 *        │ refused: 400, 409, 422       │            └──a condition, by hand, SIGTERM──► the candidate retires; the stable one goes on
 *        ▼                              ▼ refused: 422
 *
 * Both generations serve: routes, chains, upstreams, limits and answers are a generation's own. What is one for all stays the stable one's
 * until the end: listening sockets, the admin address, logs, bounds on request heads, trusted proxies, health probes, the settings of
 * limits, breakers and whatever else generations share. While one is staged another reload is refused, or, when nobody waits for it (a
 * signal, a saved file), put off to the end. */
#ifndef GW_PROCESS_STAGED_H
#define GW_PROCESS_STAGED_H

#include "gateway/metrics_page.h"
#include "gateway/staging.h"
#include "net/loop.h"
#include "process/lines.h"

struct gw_supervisor;
struct gw_live;
struct gw_round;
struct gw_admin_wait;

#define GW_STAGED_RULES_MOST 8

enum gw_staged_state { GW_STAGED_NOT, GW_STAGED_BUILDING, GW_STAGED_ON };

typedef struct gw_staged_outcome {
    bool promoted;
    uint64_t generation; /* the candidate's */
    double at;           /* wall */
    char reason[256];
    gw_staged_sum sum[GW_STAGED_SIDES];
} gw_staged_outcome;

typedef struct gw_staged {
    enum gw_staged_state state;
    /* what was asked for */
    char *script; /* malloc'ed: another than the gateway's own; NULL: that */
    double share, seconds;
    uint32_t least; /* requests of the candidate, below which no condition is looked at */
    gw_staged_rule rule[GW_STAGED_RULES_MOST];
    uint32_t rule_count;
    bool wait;       /* whoever asked waits for the end */
    gw_list waiting; /* of gw_admin_wait */
    /* while it is on */
    gw_staging *staging;
    struct gw_live *live; /* the candidate's */
    struct gw_round *end;
    gw_ticker ticker;
    int64_t began_ns;
    double began;
    /* afterwards */
    gw_staging *ending; /* workers may still have it */
    bool any;
    gw_staged_outcome last;
    gw_staged_side total[GW_STAGED_SIDES]; /* of all that have ended */
    const char *put_off;                   /* cause of a reload that waits for the end; NULL: none */
} gw_staged;

void gw_staged_init(struct gw_supervisor *s);
/* The query of POST /reload: share, for, abort_if (several), min, script, wait=0; or end=promote|back. Told by `w`: 200 when it was put in
 * place (or staged, with wait=0: 202), 409 when it was taken back or something is in the way, 422 when it could not be built. */
void gw_staged_request(struct gw_supervisor *s, gw_slice query, struct gw_admin_wait *w);
/* From the builder: the candidate, or NULL: it was refused. Takes g. */
void gw_staged_built(struct gw_supervisor *s, gw_generation *g, gw_lines *errors);
/* The refusal stands in s->reloads.last. */
void gw_staged_refused(struct gw_supervisor *s);
/* It is taken back, if there is one. */
void gw_staged_stop(struct gw_supervisor *s, const char *reason);
/* At the very end. */
void gw_staged_clear(struct gw_supervisor *s);

/* Its member of /status: null, or an object; and what became of the last one. */
void gw_staged_status(gw_text *t, const struct gw_supervisor *s);
void gw_staged_metrics(gw_page *p, const struct gw_supervisor *s);

#endif
