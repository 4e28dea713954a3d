/* Binary upgrade: SIGUSR2 starts the program anew, by the path it was started with, and hands it the listening sockets. When it serves, this process
 * drains and ends; when it does not come to that, this one goes on as if nothing had been. */
#ifndef GW_PROCESS_UPGRADE_H
#define GW_PROCESS_UPGRADE_H

#include "net/handover.h"

struct gw_supervisor;

typedef struct gw_upgrade {
    char *path; /* of the program, absolute, as it was given: a link is followed anew */
    char *const *argv;
    gw_successor successor;
    int64_t began_ns;
    bool wanted;        /* when the build under way has ended */
    bool missed_reload; /* files changed meanwhile */
    bool handed_over;   /* the successor serves: sockets and their paths are its */
} gw_upgrade;

/* Notes how the program was started. 0 or GW_NOMEM. */
int gw_upgrade_init(gw_upgrade *u, char *const argv[]);
void gw_upgrade_clear(gw_upgrade *u);
void gw_upgrade_request(struct gw_supervisor *s);
/* A build has ended. */
void gw_upgrade_waiting(struct gw_supervisor *s);
/* A successor is on its way: this process must not change what it listens at. */
bool gw_upgrade_pending(const struct gw_supervisor *s);
/* The process is to end: so is a successor that does not serve yet; one that just began to is told. */
void gw_upgrade_cancel(struct gw_supervisor *s);

#endif
