/* What a reload changed, in lines: "+ route ...", "- upstream ...". */
#ifndef GW_PROCESS_CHANGES_H
#define GW_PROCESS_CHANGES_H

#include "gateway/generation.h"
#include "process/lines.h"

/* Routes, upstreams, endpoints and listening addresses that `g` has and `before` had not, and the other way round. When memory is out there are
 * fewer lines. */
void gw_changes(const gw_generation *before, const gw_generation *g, gw_lines *lines);

#endif
