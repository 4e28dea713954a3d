/* Lua states made anew, one at a time, on a thread of their own beside that of reloads (script/remake.h). */
#ifndef GW_PROCESS_REMAKING_H
#define GW_PROCESS_REMAKING_H

#include "net/loop.h"
#include <pthread.h>

struct gw_supervisor;
struct gw_worker;
struct gw_remake;

typedef struct gw_remaking {
    bool busy;
    pthread_t thread;
    gw_mail made;              /* from the thread */
    struct gw_worker *at_work; /* whose it is, with `busy` */
    struct gw_worker *first;   /* those that wait, by their next_remake */
} gw_remaking;

void gw_remaking_init(struct gw_supervisor *s);
/* The worker's record, ready to be asked. */
void gw_remaking_serve(struct gw_worker *w);
/* At the end: waits a little for the thread. False: it still runs, and uses what it uses. */
bool gw_remaking_clear(struct gw_supervisor *s);

#endif
