/* Reloads: a generation is built on a thread of its own, one at a time, and put in place on the control thread. Requests that come
 * while one is being built are one further reload: the build under way may have read the files before they changed. */
#ifndef GW_PROCESS_RELOAD_H
#define GW_PROCESS_RELOAD_H

#include "base/log.h"
#include "gateway/generation.h"
#include "net/loop.h"
#include "process/history.h"
#include "process/lines.h"
#include <pthread.h>

struct gw_supervisor;

typedef struct gw_reload_result {
    bool ok;
    bool draining;       /* refused because the gateway ends */
    bool busy;           /* refused because a staged reload is under way */
    uint64_t generation; /* that serves now */
    const char *cause;   /* "SIGHUP", "POST /reload", "files" */
    double at, seconds;  /* when it was asked for (wall), how long it took */
    gw_lines errors;     /* why it was refused */
    gw_lines warnings;
    gw_lines changes; /* against the generation before: changes.h */
} gw_reload_result;

/* Who waits for a reload's end: told once, and out of the list by then. Zeroed before use. */
typedef struct gw_reload_waiter {
    gw_list link;
    void (*done)(struct gw_reload_waiter *w, const gw_reload_result *result);
} gw_reload_waiter;

typedef struct gw_reloads {
    bool building, again;
    bool staged; /* the build under way is of a candidate: process/staged.h */
    const char *cause, *next_cause;
    pthread_t builder;
    gw_mail built;
    gw_generation *g;        /* the builder's, until `built` is posted */
    char *errors, *warnings; /* likewise */
    gw_lines changes;        /* what the generation that was just put in place changed */
    int64_t began_ns;
    double began;
    gw_list waiting, served; /* of gw_reload_waiter: for the next build; for the one under way */
    uint64_t succeeded, refused;
    bool any; /* `last` is filled */
    gw_reload_result last;
    gw_history history;
} gw_reloads;

void gw_reloads_init(struct gw_supervisor *s);
/* `cause` is a literal. `waiter` may be NULL. While the gateway drains, it is refused at once. */
void gw_reload_request(struct gw_supervisor *s, const char *cause, gw_reload_waiter *waiter);
/* The same for a candidate; nothing may be under way. gw_staged_built is told. */
void gw_reload_build_staged(struct gw_supervisor *s);
/* A candidate was put in place, or taken back (`errors` says why, and is taken). */
void gw_reload_staged_ended(struct gw_supervisor *s, bool ok, gw_lines errors);
void gw_reload_waiter_cancel(gw_reload_waiter *w);
/* At the end: waits a little for a build under way, and throws its result away. False: it still runs, and uses what it uses. */
bool gw_reloads_clear(struct gw_supervisor *s);

/* Puts a generation in place, in this order: new sockets are bound, the pointer is swapped, new listeners accept, the old generation
 * retires, old listeners close. Also the first one. False: refused, why is appended to `errors`, nothing changed, and g is freed. */
bool gw_generation_apply(struct gw_supervisor *s, gw_generation *g, gw_lines *errors);
/* The same for a candidate that serves already. False: refused, nothing changed, and it still serves. */
struct gw_live;
bool gw_generation_promote(struct gw_supervisor *s, struct gw_live *live, gw_lines *errors);
uint64_t gw_generation_next_number(struct gw_supervisor *s);

/* One log line with lines of text as its JSON array `member`. */
void gw_reload_log_lines(struct gw_supervisor *s, enum gw_log_level level, const char *message, const char *member,
                         const char *lines);
/* Loads the script for `workers` of them (0: check). NULL: refused. */
gw_generation *gw_load_script(const char *script, uint32_t workers, char **errors, char **warnings);

#endif
