/* What the service manager is told (net/notify.h): that we serve, reload, end, or have a successor; and signs of life, for as long as every worker's
 * loop turns. */
#ifndef GW_PROCESS_SERVICE_H
#define GW_PROCESS_SERVICE_H

#include "net/loop.h"
#include "net/notify.h"

struct gw_supervisor;

typedef struct gw_service {
    gw_notify notify;
    gw_ticker ticker;
    bool ticking, asked; /* a round is on its way through the workers */
    bool told_stuck;
} gw_service;

void gw_service_open(struct gw_supervisor *s);
void gw_service_close(struct gw_supervisor *s);
void gw_service_ready(struct gw_supervisor *s);   /* it serves: signs of life begin */
void gw_service_loading(struct gw_supervisor *s); /* a reload begins */
void gw_service_loaded(struct gw_supervisor *s, bool ok);
void gw_service_stopping(struct gw_supervisor *s, double seconds);
void gw_service_succeeded(struct gw_supervisor *s, int pid); /* that process is the main one now; this one says nothing more */

#endif
