/* Saves that should reload: the script, what it loaded, and the plugins beside it.
 *
 * A burst of events is one look; a look compares contents, and only content that changed asks for a reload. */
#ifndef GW_PROCESS_WATCH_H
#define GW_PROCESS_WATCH_H

#include "base/base.h"

struct gw_supervisor;
typedef struct gw_watch gw_watch;

/* NULL: it cannot be (then *reason says why); the gateway runs without it. */
gw_watch *gw_watch_new(struct gw_supervisor *s, const char **reason);
void gw_watch_free(gw_watch *w); /* NULL is fine */

/* A load begins: what the files hold from now on counts as seen by it or as changed after it. NULL is fine. */
void gw_watch_loading(gw_watch *w);
/* It has ended, well or badly: watches what it read. When something changed meanwhile, a further reload is asked for. */
void gw_watch_loaded(gw_watch *w);

#endif
