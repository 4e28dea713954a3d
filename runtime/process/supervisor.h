/* The supervisor: the control thread's state. It owns signals, file watching, the admin listener, the building of generations (on a
 * thread of its own), the looking up of names, and the life of the workers. Everything in here is touched by that thread only, except
 * where a field says otherwise.
 *
 *   gw_supervise ─► SERVING ──SIGTERM, SIGINT──► DRAINING ──all workers idle, or time is up──► STOPPING ──all ended──► returns */
#ifndef GW_PROCESS_SUPERVISOR_H
#define GW_PROCESS_SUPERVISOR_H

#include "gateway/prober.h"
#include "net/resolver.h"
#include "net/signals.h"
#include "process/plan.h"
#include "process/reload.h"
#include "process/remaking.h"
#include "process/service.h"
#include "process/staged.h"
#include "process/upgrade.h"
#include "process/worker.h"

struct gw_admin;
struct gw_watch;

enum gw_supervisor_state { GW_SERVING, GW_DRAINING, GW_STOPPING };

/* Something that may be given back only while no generation is being built: a build that is refused frees at once the endpoints that
 * nobody else names, and must not be made the last owner of one that workers still hold connections to. */
typedef struct gw_release {
    struct gw_release *next;
    void (*run)(struct gw_supervisor *s, struct gw_release *r);
} gw_release;

/* A generation that workers use or used. */
typedef struct gw_live {
    gw_generation *g;
    struct gw_supervisor *supervisor;
    struct gw_names *names; /* lookups that go on while it is current; NULL: none */
    gw_round *begin, *retire;
    gw_mail freed; /* the last worker is done with it */
    gw_release release;
    gw_list link;      /* while it drains: in the supervisor's `draining`, oldest first */
    double retired_at; /* wall; likewise */
} gw_live;

typedef struct gw_supervisor {
    const char *script;
    gw_loop *loop;
    gw_log *log;
    gw_log *span_log;                 /* spans, on their way to a collector */
    gw_log_ring *span_events;         /* the span writer's, into `log` */
    gw_log *access_log;               /* of access lines that do not go where `log` goes */
    gw_log_ring *ring;                /* the control thread's */
    _Atomic(gw_generation *) current; /* read by every worker */
    gw_live *live;                    /* of `current` */
    uint32_t retired;                 /* generations that still drain */
    gw_list draining;                 /* of gw_live: those */
    uint32_t worker_count;            /* fixed for the life of the process */
    gw_worker **workers;
    gw_list recents_waiting; /* of gw_admin_wait: for a round that fetches request heads */
    uint32_t workers_running, workers_idle, workers_ended;
    gw_list listening; /* of gw_listening */
    gw_signals signals;
    gw_resolver *resolver;
    gw_prober *prober;
    gw_reloads reloads;
    gw_remaking remaking;
    gw_inheritance inherited; /* until the first generation has taken what it wants */
    gw_upgrade upgrade;
    gw_service service;
    gw_staged staged;
    gw_plan plan;
    uint64_t numbered; /* generations so far, candidates that were taken back included */
    struct gw_watch *watch;
    struct gw_admin *admin;
    gw_release *releases;      /* waiting for a build to end */
    gw_list orphans, dropping; /* endpoints that nobody names, by their link: waiting; on their round */
    gw_round *drop;
    gw_timeout deadline; /* of the drain */
    enum gw_supervisor_state state;
    int64_t started_ns;
    double started_at; /* the same as wall time */
    int stop_signal;   /* the first one; 0: none */
} gw_supervisor;

/* Runs the gateway until it is told to end; the process's exit status. */
int gw_supervise(const char *script, char *const argv[]);

/* Ends the gateway in order: `why` stands in the log. Seconds that it may take. Only while it serves. */
double gw_supervisor_drain(gw_supervisor *s, const char *why);
uint64_t gw_supervisor_connections(const gw_supervisor *s);

/* How many workers `asked` means: itself, or for 0 the processors this process may use. */
uint32_t gw_workers_meant(uint32_t asked);

/* ---- from the workers' mails ---- */
void gw_supervisor_worker_idle(gw_supervisor *s, gw_worker *w);
void gw_supervisor_worker_ended(gw_supervisor *s, gw_worker *w);

/* ---- release.c: giving back what outlived its generation ---- */
void gw_release_soon(gw_supervisor *s, gw_release *r); /* now, or when the build under way has ended */
void gw_release_waiting(gw_supervisor *s);             /* a build has ended */
void gw_release_at_end(gw_supervisor *s);              /* the workers' threads have ended */
/* gw_endpoint_set_free's and gw_generation_free's `orphan`, with the supervisor as data. */
void gw_release_orphan(gw_endpoint *e, void *data);
/* NULL: memory is out; then the generation is still the caller's. */
gw_live *gw_live_new(gw_supervisor *s, gw_generation *g);
void gw_live_begin(gw_live *live);   /* it serves: its timers begin. A second time does nothing */
void gw_live_discard(gw_live *live); /* never published: frees it and its generation */
void gw_live_retire(gw_live *live);  /* no longer current: it is freed when the last request has left it */

/* ---- listening.c: sockets by generation ---- */
typedef struct gw_listening gw_listening;
struct gw_listening {
    gw_list link;
    gw_address asked, at;       /* they differ for port 0 */
    char text[GW_ADDRESS_TEXT]; /* of `at` */
    bool wanted;                /* by the generation that is being prepared */
    bool inherited, foreign;    /* from a predecessor or systemd; systemd's: its path is not removed */
    uint32_t count; /* of `socket`: one a worker, or more, when a predecessor had more: then worker i has i, i + workers, ... */
    gw_round *add, *remove;
    struct gw_listening_socket {
        gw_listener listener; /* its worker's */
        int fd;               /* its number: for the control thread, to hand over */
    } __attribute__((aligned(GW_CACHE_LINE))) socket[];
};
typedef struct gw_listening_change {
    gw_list added;
    uint32_t added_count, removed_count;
} gw_listening_change;
/* Binds what is new in `g`. False: something could not be bound; what it was stands in `errors`, and nothing is left open. */
struct gw_lines;
bool gw_listening_prepare(gw_supervisor *s, const gw_generation *g, gw_listening_change *change, struct gw_lines *errors);
void gw_listening_discard(gw_listening_change *change);
void gw_listening_add(gw_supervisor *s, gw_listening_change *change); /* the new ones begin to accept */
void gw_listening_remove_unwanted(gw_supervisor *s);
void gw_listening_remove_all(gw_supervisor *s);

/* ---- logging.c: where logs go, by generation ---- */
typedef struct gw_logging_change {
    gw_log_sink *events, *access, *spans; /* NULL: stays */
} gw_logging_change;
/* Opens what `g` wants and is not open. False: what could not be opened stands in `errors`. */
bool gw_logging_prepare(gw_supervisor *s, const gw_generation *g, gw_logging_change *change, struct gw_lines *errors);
void gw_logging_discard(gw_logging_change *change);
void gw_logging_apply(gw_supervisor *s, const gw_generation *g, gw_logging_change *change);
/* SIGUSR1: files are opened anew, so that what was renamed is let go. */
void gw_logging_reopen(gw_supervisor *s);

/* ---- names.c: endpoints that are names, looked up again and again ---- */
typedef struct gw_names gw_names;
/* *names NULL: nothing to look up. 0 or GW_NOMEM. */
int gw_names_new(gw_supervisor *s, gw_generation *g, gw_names **names);
void gw_names_start(gw_names *names);
void gw_names_stop(
    gw_names *names); /* the generation is no longer current; frees itself when its last lookup has ended. NULL is fine */

#endif
