/* gateway.spawn: a function that runs beside everything else, once. It outlives the request that started it, and is waited for when its generation
 * retires or the worker drains, for as long as its timeout. */
#ifndef GW_SCRIPT_SPAWN_H
#define GW_SCRIPT_SPAWN_H

#include "script/waits.h"

/* The function that Lua keeps under `id` (above 0) runs from the loop's next turn on, for `seconds` at most (0: timeouts.chain). OK, LIMIT, NOMEM. */
GW_API int gw_lua_spawn(gw_lua_waits *waits, int id, double seconds);

#endif
