/* gateway.user: who the process is once it listens. */
#ifndef GW_PROCESS_PRIVILEGES_H
#define GW_PROCESS_PRIVILEGES_H

#include "gateway/generation.h"
#include "process/lines.h"

struct gw_supervisor;

/* Before the first generation is put in place: whether its gateway.user can be become, and can read what a reload would. False: why is appended. */
bool gw_privileges_check(const char *script, const gw_generation *g, gw_lines *errors);
/* After that, before workers run: becomes the user, without supplementary groups, for good. False: why is appended, and the process must end. Without
 * gateway.user: nothing. */
bool gw_privileges_drop(struct gw_supervisor *s, const gw_generation *g, gw_lines *errors);
/* What may help when an address could not be bound: " (...)" or "". */
const char *gw_privileges_hint(const gw_address *at);

#endif
